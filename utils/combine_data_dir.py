#!/usr/bin/env python3
"""Combine data directories into one.

A table comes along if all directories have it; the others are named. utt2uniq and segments are written out where a directory lacks them. A speaker
or a recording may be in several directories, an utterance in one only. Feature settings must be the same.

Reads   <data>/{utt2spk,…} of each
Writes  <out>                  a whole data directory; feats.scp and vad.scp name the archives where they are
e.g.    utils/combine_data_dir.py data/train_augmented data/train data/train_noise data/train_music
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.data.edit import OF_FEATURES, NewDataDir, Part, write_parts
from pytorch.marker import options_of
from pytorch.program import Parser, boolean, run


def main():
    parser = Parser(__doc__)
    parser.add_argument("out", type=Path, help="data directory to be made")
    parser.add_argument("data", type=Path, nargs="+", help="data directories")
    parser.add_argument("--feats", type=boolean, default=True, help="take features, decisions and frame counts along where all directories have them")
    parser.add_argument("--overwrite", type=boolean, default=False, help="replace a data directory that is there")
    args = parser.parse_args()
    sources = [DataDir(path) for path in args.data]
    new = NewDataDir(args.out, "combine_data_dir", options_of(args, without=("data", "out")), sources, args.overwrite)
    if new.is_done():
        print(f"combine_data_dir: {args.out} is there")
        return
    parts = [Part(data) for data in sources]
    with new as folder:
        notes = write_parts(folder, parts, leave_out=set() if args.feats else OF_FEATURES)
    for note in notes:
        print(f"combine_data_dir: {note}")
    speakers = len({spk for data in sources for spk in data.spk2utt})
    print(f"combine_data_dir: {args.out}: {sum(len(data.utt2spk) for data in sources)} utterances of {speakers} speakers")


if __name__ == "__main__":
    run(main)
