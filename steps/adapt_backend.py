#!/usr/bin/env python3
"""Adapt a back-end to other recordings by unlabelled embeddings of them: their mean takes the place of its mean, LDA stays,
and what they vary more than the PLDA expects is added to its covariances within and between speakers (Kaldi's ivector-adapt-plda).

Reads   <backend>      of steps/train_backend.py, with a PLDA
        <xvector.scp>  embeddings of the other kind, all of them
Writes  <adapted>      a back-end
e.g.    steps/adapt_backend.py exp/x/backend exp/x/unlabelled/xvector.scp exp/x/backend_adapted
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.files import need_file, sha256
from pytorch.marker import Marker, options_of
from pytorch.origin import check_network, network_of
from pytorch.program import Fail, Parser, boolean, commit, non_negative_float, run
from pytorch.scoring import fingerprints


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("backend", type=Path, help="back-end of steps/train_backend.py")
    parser.add_argument("xvectors", type=Path, metavar="xvector.scp", help="embeddings to adapt to")
    parser.add_argument("adapted", type=Path, help="folder of the new back-end, made")
    parser.add_argument("--within-covar-scale", type=non_negative_float, default=0.3, help="how much of the excess is variance within speakers")
    parser.add_argument("--between-covar-scale", type=non_negative_float, default=0.7, help="how much of it is variance between speakers")
    parser.add_argument("--mean-diff-scale", type=non_negative_float, default=1.0, help="how much the difference of the means counts as variance")
    parser.add_argument("--overwrite", type=boolean, default=False, help="adapt anew where it was done otherwise")
    return parser.parse_args()


def main():
    args = parse_args()
    need_file(args.xvectors, "make it with steps/extract.py")

    from pytorch.backend.folder import FILES, Backend, files_of

    if args.adapted.resolve() == args.backend.resolve():
        raise Fail(f"{args.adapted}: is the back-end to be adapted itself; name another folder")
    names, _ = files_of(args.backend)
    if "plda" not in names:
        raise Fail(f"{args.backend}: has no PLDA; train one with steps/train_backend.py --plda true")
    check_network(args.xvectors, network_of(args.backend), args.backend, "adapt it to embeddings of its own")
    inputs = {f"the back-end's {name}": sha256(args.backend / name) for name in names} | fingerprints(args.xvectors, args.xvectors.name)
    marker = Marker(args.adapted / ".done/adapt_backend.json", options_of(args, ("backend", "xvectors", "adapted")), inputs)
    marker.lock()
    if marker.is_done(args.overwrite):
        print(f"adapt_backend: {args.adapted} is there")
        return
    marker.claim([args.adapted / name for name in (*FILES, "backend.json")], args.overwrite)

    from pytorch.backend.folder import read_mean
    from pytorch.backend.plda import adapt_plda
    from pytorch.data.ark import ArkReader, read_matrix

    backend = Backend.load(args.backend)
    backend.mean, backend.mean_path = read_mean(args.xvectors), args.xvectors
    utts = list(ArkReader(args.xvectors))
    if len(utts) < 2:
        raise Fail(f"{args.xvectors}: one embedding only, of which nothing can be learnt; adapt to more")
    vectors = backend.prepare(read_matrix(args.xvectors, utts), utts, args.xvectors)
    backend.plda = adapt_plda(backend.plda, vectors, args.within_covar_scale, args.between_covar_scale, args.mean_diff_scale)
    marker.begin()
    facts = {"adapted_from": str(args.backend), "utterances": len(utts), "embeddings": str(args.xvectors)}
    facts |= {"network": network_of(args.backend) | network_of(args.xvectors), "inputs": inputs, "commit": commit()}
    marker.finish(backend.save(args.adapted, facts))
    print(f"adapt_backend: {args.backend} adapted to {len(utts)} embeddings in {args.adapted}")


if __name__ == "__main__":
    run(main)
