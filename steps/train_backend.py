#!/usr/bin/env python3
"""Train a back-end on labelled embeddings: the mean that is subtracted, LDA, PLDA. All as Kaldi's recipes do it, in this order:
embeddings less the mean, LDA, length sqrt(dim), PLDA.

Reads   <data>/utt2spk   the utterances to train on, and their speakers
        <xvector.scp>    their embeddings, others are not used
Writes  <backend>/{mean.vec,transform.mat,plda}    Kaldi's formats, as text
        <backend>/backend.json                     which of them there are, with their hashes, and how they were made
e.g.    steps/train_backend.py --lda-dim 150 data/train exp/x/train/xvector.scp exp/x/backend
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.files import need_file, sha256
from pytorch.marker import Marker, options_of
from pytorch.origin import network_of
from pytorch.program import Fail, Parser, boolean, commit, count, fraction, positive_float, positive_int, run
from pytorch.scoring import fingerprints


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory with the speakers of the utterances")
    parser.add_argument("xvectors", type=Path, metavar="xvector.scp", help="embeddings of steps/extract.py")
    parser.add_argument("backend", type=Path, help="folder of the back-end, made")
    parser.add_argument("--lda-dim", type=count, default=0, help="dimensions that LDA keeps, fewer than there are speakers; 0: no LDA")
    parser.add_argument("--total-covariance-factor", type=fraction, default=0.0, help="what LDA makes white: covariance within speakers 0, of all vectors 1")
    parser.add_argument("--covariance-floor", type=positive_float, default=1e-6, help="least variance that LDA divides by, of the greatest")
    parser.add_argument("--length-norm", type=boolean, default=True, help="give vectors the length sqrt(dim) before PLDA")
    parser.add_argument("--plda", type=boolean, default=True, help="train a PLDA")
    parser.add_argument("--plda-iters", type=positive_int, default=10, help="iterations of expectation maximisation")
    parser.add_argument("--overwrite", type=boolean, default=False, help="train anew where it was done otherwise")
    return parser.parse_args()


def main():
    args = parse_args()
    data = DataDir(args.data)
    need_file(args.xvectors, "make it with steps/extract.py")
    inputs = {"utt2spk": sha256(need_file(data / "utt2spk")), **fingerprints(args.xvectors, args.xvectors.name)}
    marker = Marker(args.backend / ".done/train_backend.json", options_of(args, ("data", "xvectors", "backend")), inputs)
    marker.lock()
    if marker.is_done(args.overwrite):
        print(f"train_backend: {args.backend} is there")
        return
    marker.claim([args.backend / name for name in ("mean.vec", "transform.mat", "plda", "backend.json")], args.overwrite)

    from pytorch.backend.folder import read_labelled

    vectors, labels, utts, spks = read_labelled(data, args.xvectors)
    backend = train(args, vectors, labels, utts)
    marker.begin()
    facts = {"lda_dim": args.lda_dim, "utterances": len(utts), "speakers": len(spks), "embeddings": str(args.xvectors)}
    facts |= {"network": network_of(args.xvectors), "inputs": inputs, "commit": commit()}
    marker.finish(backend.save(args.backend, facts))
    parts = ["mean"] + [f"LDA to {args.lda_dim} of {vectors.shape[1]} dimensions"] * bool(args.lda_dim) + ["PLDA"] * args.plda
    print(f"train_backend: {', '.join(parts)} of {len(utts)} embeddings of {len(spks)} speakers in {args.backend}")


def train(args, vectors, labels, utts):
    """-> Backend"""
    from pytorch.backend.folder import Backend
    from pytorch.backend.lda import train_lda
    from pytorch.backend.plda import train_plda
    from pytorch.backend.speakers import moments

    try:
        of_all = moments(vectors, labels)
        backend = Backend(of_all.mean, length_norm=args.length_norm, folder=args.backend)
        if args.lda_dim:
            backend.transform, floored = train_lda(of_all, args.lda_dim, args.total_covariance_factor, args.covariance_floor)
            if floored:
                what = f"{floored} of {vectors.shape[1]} directions hardly vary within speakers"
                print(f"train_backend: warning: {what}, --covariance-floor holds them; more utterances would help", file=sys.stderr)
        if args.plda:
            backend.plda = train_plda(moments(backend.prepare(vectors, utts, args.xvectors), labels), args.plda_iters)
    except Fail as error:
        raise error if str(error).startswith(str(args.xvectors)) else Fail(f"{args.data}: {error}") from None
    return backend


if __name__ == "__main__":
    run(main)
