#!/usr/bin/env python3
"""Turn a table `spk utt1 utt2 …` around: for each utterance a line with its speaker.

Reads   <table>    lines of `spk utt1 utt2 …`, sorted; default: standard input
Writes  <out>      lines of `utt spk`, sorted; default: standard output
e.g.    utils/spk2utt_to_utt2spk.py data/train/spk2utt data/train/utt2spk
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import REST, read_table
from pytorch.data.edit import put_table
from pytorch.program import Fail, Parser, run


def main():
    parser = Parser(__doc__)
    parser.add_argument("table", nargs="?", default="-", help="table, - for standard input")
    parser.add_argument("out", nargs="?", default="-", help="table to be made, - for standard output")
    args = parser.parse_args()
    path = "/dev/stdin" if args.table == "-" else args.table
    utt2spk = {}
    for number, (spk, utts) in enumerate(read_table(path, REST).items(), 1):
        for utt in utts.split():
            if utt in utt2spk:
                raise Fail(f"{path}:{number}: '{utt}' of speaker '{spk}' is there already, of speaker '{utt2spk[utt]}'; it can have one only")
            utt2spk[utt] = spk
    put_table(args.out, utt2spk)


if __name__ == "__main__":
    run(main)
