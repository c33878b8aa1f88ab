#!/usr/bin/env python3
"""Score trials by the cosine of two embeddings.

Reads   <trials>       lines of `enrol-utt test-utt target|nontarget`
        <xvector.scp>  embeddings; --mean: embeddings whose mean is first subtracted from both sides, e.g. those of the training data
Writes  <scores>       lines of `enrol-utt test-utt score`
e.g.    steps/score_cosine.py --mean exp/x/train/xvector.scp data/test/trials exp/x/test/xvector.scp exp/x/test/scores
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.trials import read_trials
from pytorch.files import need_file, sha256, sha256_of_sizes, whole_file
from pytorch.marker import Marker
from pytorch.program import Fail, Parser, boolean, run


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("trials", type=Path, help="trial list")
    parser.add_argument("xvectors", type=Path, help="xvector.scp of steps/extract.py")
    parser.add_argument("scores", type=Path, help="file of scores, made")
    parser.add_argument("--mean", type=Path, metavar="SCP", help="subtract the mean of these embeddings; without it none is subtracted")
    parser.add_argument("--overwrite", type=boolean, default=False, help="score anew where it was done otherwise")
    return parser.parse_args()


def main():
    args = parse_args()
    need_file(args.trials, "draw a list with utils/make_trials.py")
    need_file(args.xvectors, "make it with steps/extract.py")
    inputs = {"trial list": sha256(args.trials), **fingerprints(args.xvectors, args.xvectors.name)}
    if args.mean:
        need_file(args.mean, "it holds the embeddings whose mean is to be subtracted; make it with steps/extract.py")
        inputs |= fingerprints(args.mean, "--mean")
    marker = Marker(args.scores.parent / ".done" / f"score_cosine.{args.scores.name}.json", {"mean": bool(args.mean)}, inputs)
    marker.lock()
    if marker.is_done(args.overwrite):
        print(f"score_cosine: {args.scores} is there")
        return

    import numpy as np

    from pytorch.backend.cosine import cosine_scores, unit_length
    from pytorch.data.ark import ArkReader, read_matrix

    enrols, tests, _ = read_trials(args.trials)
    names = sorted({*enrols, *tests})
    reader = ArkReader(args.xvectors)
    if missing := [name for name in names if name not in reader]:
        raise Fail(f"{args.trials}: '{missing[0]}' has no embedding in {args.xvectors} ({len(missing)} such); extract them, or draw other trials")
    vectors = read_matrix(args.xvectors, names)
    if args.mean:
        others = read_matrix(args.mean, list(ArkReader(args.mean)))
        if others.shape[1] != vectors.shape[1]:
            raise Fail(f"{args.mean}: dimension {others.shape[1]}, but {args.xvectors} has {vectors.shape[1]}; both must come from one network")
        if not np.isfinite(others).all():
            raise Fail(f"{args.mean}: embeddings that are not finite; extract them anew")
        vectors = vectors - others.mean(0, dtype=np.float64).astype(np.float32)
    vectors = unit_length(vectors, names, args.xvectors)
    place = {name: row for row, name in enumerate(names)}
    scores = cosine_scores(vectors, np.array([place[name] for name in enrols]), np.array([place[name] for name in tests]))
    marker.claim([args.scores], args.overwrite)
    marker.begin()
    with whole_file(args.scores) as file:
        file.writelines(f"{enrol} {test} {score:.6f}\n" for enrol, test, score in zip(enrols, tests, scores.tolist(), strict=True))
    marker.finish([args.scores])
    print(f"score_cosine: {len(scores)} trials in {args.scores}")


def fingerprints(scp, what):
    """Hash of an scp and of what it was made with it (xvector.json, xvector.sha256), and the sizes of its archives."""
    from pytorch.data.ark import ArkReader

    found = {what: sha256(scp), f"{what} (archives)": sha256_of_sizes(ArkReader(scp).archives())}
    beside = {"network": scp.with_suffix(".json"), "values": scp.with_suffix(".sha256")}
    return found | {f"{what} ({name})": sha256(path) for name, path in beside.items() if path.exists()}


if __name__ == "__main__":
    run(main)
