#!/usr/bin/env python3
"""Turn a table `key value` around: for each value a line with its keys. Of utt2spk it makes spk2utt, of utt2label the utterances of each label.

Reads   <table>    lines of `utt spk`, sorted; default: standard input
Writes  <out>      lines of `spk utt1 utt2 …`, sorted; default: standard output
e.g.    utils/utt2spk_to_spk2utt.py data/train/utt2spk data/train/spk2utt
        utils/utt2spk_to_spk2utt.py < data/train/utt2label
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import read_table, spk2utt_of
from pytorch.data.edit import put_table
from pytorch.program import Parser, run


def main():
    parser = Parser(__doc__)
    parser.add_argument("table", nargs="?", default="-", help="table of two columns, - for standard input")
    parser.add_argument("out", nargs="?", default="-", help="table to be made, - for standard output")
    args = parser.parse_args()
    put_table(args.out, spk2utt_of(read_table("/dev/stdin" if args.table == "-" else args.table)))


if __name__ == "__main__":
    run(main)
