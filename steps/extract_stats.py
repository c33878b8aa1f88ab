#!/usr/bin/env python3
"""Describe each utterance by the mean and standard deviation of its features: the training-free baseline that a network has to beat.

Reads   <data>/{utt2spk,feats.scp,feats.json,vad.scp}
Writes  <out>/xvector.ark, xvector.scp, xvector.json: as steps/extract.py does, of twice the features' dimension
e.g.    steps/extract_stats.py data/test exp/stats/test
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.files import read_json, sha256, write_json
from pytorch.jobs import Shards, add_job_options
from pytorch.marker import Marker
from pytorch.program import Parser, boolean, run


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory with features")
    parser.add_argument("out", type=Path, help="folder of the vectors, made")
    parser.add_argument("--voiced", type=boolean, default=True, help="only the frames that vad.scp calls voiced")
    parser.add_argument("--overwrite", type=boolean, default=False, help="make anew where others are there")
    add_job_options(parser)
    return parser.parse_args()


def main():
    args = parse_args()
    data = DataDir(args.data)
    inputs = {name: sha256(path) for name, path in data.feature_tables(args.voiced).items()}
    shards = Shards(args, Marker(args.out / ".done/extract_stats.json", {"voiced": args.voiced}, inputs), args.out, "xvector", list(data.utt2spk))
    if shards.is_done():
        print(f"extract_stats: the vectors in {args.out} are there")
        return
    shards.work(lambda utts: describe(data, args.voiced, utts), log_folder=args.out / "log")
    if shards.is_worker:
        return
    facts = {"experiment": "mean and standard deviation", "features": read_json(data / "feats.json"), "data": str(args.data), "inputs": inputs}
    write_json(args.out / "xvector.json", facts)
    shards.finish([args.out / "xvector.json"])
    print(f"extract_stats: {len(data.utt2spk)} vectors of {data.path} in {args.out}")


def describe(data, voiced, utts):
    """Yield each utterance with its vector."""
    import numpy as np

    from pytorch.data.frames import stored_frames

    frames = stored_frames(data, voiced)
    frames.need_length(2)
    number = {utt: index for index, utt in enumerate(frames.utts)}
    for utt in utts:
        matrix = frames.whole(number[utt]).astype(np.float64)
        yield utt, np.concatenate([matrix.mean(0), matrix.std(0)]), {}


if __name__ == "__main__":
    run(main)
