#!/usr/bin/env python3
"""Predict classes or numbers from embeddings.

Reads   <predictor>    folder of steps/train_predictor.py
        <xvector.scp>  embeddings of the network it was trained on
Writes  <found>        lines of `utt value`, one for each embedding, as steps/measure.py takes them
e.g.    steps/predict.py exp/x/age exp/x/test/xvector.scp exp/x/test/utt2age_found

With --fuse, the mean of several predictors is told, each with its own embeddings of the same utterances (of networks of several seeds, for instance):
of numbers before they are rounded and kept in range, as the first says; of classes the mean of probabilities (logistic), of margins (svm) or of votes.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import write_table
from pytorch.files import need_file, sha256
from pytorch.marker import Marker
from pytorch.program import Fail, Parser, boolean, run
from pytorch.scoring import fingerprints


def main():
    parser = Parser(__doc__)
    parser.add_argument("predictor", type=Path, help="folder of the predictor")
    parser.add_argument("xvectors", type=Path, metavar="xvector.scp", help="embeddings of steps/extract.py")
    parser.add_argument("found", type=Path, help="table of what is predicted, made")
    parser.add_argument("--fuse", type=Path, nargs=2, action="append", default=[], metavar=("DIR", "SCP"), help="one more predictor and its embeddings")
    parser.add_argument("--overwrite", type=boolean, default=False, help="predict anew where it was done otherwise")
    args = parser.parse_args()
    systems = [(args.predictor, args.xvectors), *args.fuse]
    marker = Marker(args.found.parent / ".done" / f"predict.{args.found.name}.json", {"fuse": len(args.fuse)}, inputs_of(systems))
    marker.lock()
    if marker.is_done(args.overwrite):
        print(f"predict: {args.found} is there")
        return
    marker.claim([args.found], args.overwrite)

    first, outputs = None, 0
    for folder, scp in systems:
        predictor, utts, found = outputs_of(folder, scp)
        if first is None:
            first, known = predictor, utts
        check_alike(systems, folder, scp, first, predictor, known, utts)
        outputs = outputs + found / len(systems)
    marker.begin()
    write_table(args.found, dict(zip(known, first.words(outputs), strict=True)))
    marker.finish([args.found])
    fused = f" by {len(systems)} predictors" if args.fuse else ""
    print(f"predict: {first.facts.get('targets', first.design.kind)} of {len(known)} utterances{fused} in {args.found}")


def inputs_of(systems):
    """{what it is: fingerprint}"""
    inputs = {}
    for number, (folder, scp) in enumerate(systems):
        need_file(folder / "predictor.json", "make it with steps/train_predictor.py")
        need_file(scp, "make it with steps/extract.py")
        which = f"--fuse {number} " if number else ""
        inputs |= {f"{which}predictor": sha256(folder / "predictor.json"), **fingerprints(scp, f"{which}{scp.name}")}
    return inputs


def outputs_of(folder, scp):
    """-> the Predictor, the utterances, its outputs for them"""
    import numpy as np

    from pytorch.backend.predictors import Predictor
    from pytorch.data.ark import ArkReader, read_matrix
    from pytorch.origin import check_network

    predictor = Predictor.load(folder)
    check_network(scp, predictor.facts.get("network", {}), folder)
    utts = list(ArkReader(scp))
    vectors = read_matrix(scp, utts)
    if vectors.shape[1] != len(predictor.mean):
        raise Fail(f"{scp}: embeddings of {vectors.shape[1]} dimensions, but {folder} was trained on {len(predictor.mean)}; both must come from one network")
    if not np.isfinite(vectors).all():
        bad = utts[int(np.flatnonzero(~np.isfinite(vectors).all(1))[0])]
        raise Fail(f"{scp}: the embedding of '{bad}' is not finite; look at its recording, extract anew")
    return predictor, utts, predictor.outputs(vectors)


def check_alike(systems, folder, scp, first, predictor, known, utts):
    """Fail where two predictors cannot be fused: other utterances, classes or outputs."""
    if known != utts:
        odd = min(set(known) ^ set(utts))
        where, other = (systems[0][1], scp) if odd in set(known) else (scp, systems[0][1])
        raise Fail(f"{other}: '{odd}' of {where} is not there; predictors are fused over the same utterances")
    if (first.unit, first.classes) != (predictor.unit, predictor.classes):
        what = f"classes {', '.join(predictor.classes[:8])}" if first.unit == predictor.unit else f"predicts {predictor.unit}"
        other = f"classes {', '.join(first.classes[:8])}" if first.unit == predictor.unit else first.unit
        raise Fail(f"{folder}: {what}, {systems[0][0]} {other}; only what is alike has a mean")


if __name__ == "__main__":
    run(main)
