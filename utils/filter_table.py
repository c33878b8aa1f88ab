#!/usr/bin/env python3
"""Keep the lines of a table whose key stands in a list of ids, in their order.

Reads   <ids>      ids, the first field of each line: a list or another table
        <table>    lines of which one field is compared; default: standard input
Writes  <out>      the lines kept, as they were; default: standard output
e.g.    utils/filter_table.py conf/valid_speakers data/all/spk2gender > spk2gender
        utils/filter_table.py --field 2 --exclude true conf/test_speakers < data/all/utt2spk > utt2spk
"""

import contextlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.files import whole_file
from pytorch.program import Fail, Parser, boolean, positive_int, run


def main():
    parser = Parser(__doc__)
    parser.add_argument("ids", type=Path, help="list of ids")
    parser.add_argument("table", nargs="?", default="-", help="table, - for standard input")
    parser.add_argument("out", nargs="?", default="-", help="file of the lines kept, - for standard output")
    parser.add_argument("-f", "--field", type=positive_int, default=1, help="which field of the table is compared, 1 being the first")
    parser.add_argument("--exclude", type=boolean, default=False, help="keep the other lines")
    args = parser.parse_args()
    ids = read_ids(args.ids)
    place = "standard input" if args.table == "-" else args.table
    source = contextlib.nullcontext(sys.stdin.buffer) if args.table == "-" else open(args.table, "rb")
    target = contextlib.nullcontext(sys.stdout.buffer) if args.out == "-" else whole_file(args.out, "wb")
    number = matched = 0
    with source as lines, target as out:
        for number, line in enumerate(lines, 1):
            words = line.split(None, args.field)
            if len(words) < args.field:
                raise Fail(f"{place}:{number}: no field {args.field} in '{line.decode(errors='replace').strip()[:80]}'")
            found = words[args.field - 1] in ids
            matched += found
            if found != args.exclude:
                out.write(line if line.endswith(b"\n") else line + b"\n")
    if not matched:
        kept = "all are kept" if args.exclude else "none is kept"
        print(f"warning: {args.ids}: none of its {len(ids)} ids is field {args.field} of one of the {number} lines of {place}; {kept}", file=sys.stderr)


def read_ids(path):
    ids = set()
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            words = line.split(None, 1)
            if not words:
                raise Fail(f"{path}:{number}: blank line; remove it")
            ids.add(words[0])
    if not ids:
        raise Fail(f"{path}: no id in it")
    return ids


if __name__ == "__main__":
    run(main)
