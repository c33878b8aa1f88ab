#!/usr/bin/env python3
"""Split a data directory into pieces of about as many utterances each, whole speakers to one piece.

Reads   <data>/{utt2spk,…}
Writes  <data>/split<n>/1 … <data>/split<n>/<n>      data directories; split<n>utt with --per-utt
e.g.    utils/split_data_dir.py data/train 8
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.data.edit import NewDataDir, Part, write_pieces
from pytorch.marker import options_of
from pytorch.program import Fail, Parser, boolean, positive_int, run


def main():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("pieces", type=positive_int, help="number of pieces")
    parser.add_argument("--per-utt", type=boolean, default=False, help="split anywhere, within speakers too")
    parser.add_argument("--overwrite", type=boolean, default=False, help="split anew")
    args = parser.parse_args()
    data = DataDir(args.data)
    out = args.data / f"split{args.pieces}{'utt' if args.per_utt else ''}"
    new = NewDataDir(out, "split_data_dir", options_of(args, without=("data",)), [data], args.overwrite)
    if new.is_done():
        print(f"split_data_dir: {out} is there")
        return
    pieces = by_utterance(data, args.pieces) if args.per_utt else by_speaker(data, args.pieces)
    with new as folder:
        write_pieces(folder, [Part(data, utts) for utts in pieces])
    sizes = sorted(map(len, pieces))
    print(f"split_data_dir: {out}: {args.pieces} pieces of {sizes[0]} to {sizes[-1]} utterances")


def by_utterance(data, number):
    """Neighbours; the first pieces get one more where the division leaves a rest, as Kaldi has it."""
    utts = list(data.utt2spk)
    if number > len(utts):
        raise Fail(f"{data.path}: {len(utts)} utterances cannot be split into {number} pieces; ask for fewer")
    size, rest = divmod(len(utts), number)
    return [utts[piece * size + min(piece, rest) : (piece + 1) * size + min(piece + 1, rest)] for piece in range(number)]


def by_speaker(data, number):
    """Neighbouring speakers: as many in each piece at first, then speakers at a border change sides while that evens out the two pieces (as Kaldi does)."""
    speakers = list(data.spk2utt)
    if number > len(speakers):
        raise Fail(f"{data.path}: {len(speakers)} speakers cannot be split into {number} pieces; ask for fewer, or pass --per-utt true")
    sizes = [len(data.spk2utt[spk]) for spk in speakers]
    borders = [piece * len(speakers) // number for piece in range(number + 1)]
    totals = [sum(sizes[first:last]) for first, last in zip(borders, borders[1:], strict=False)]
    while sum(_move(borders, totals, sizes, piece) for piece in range(1, number)):
        pass
    return [[utt for spk in speakers[first:last] for utt in data.spk2utt[spk]] for first, last in zip(borders, borders[1:], strict=False)]


def _move(borders, totals, sizes, piece):
    """Move one speaker over the border before `piece` if the two pieces become more even by it. -> whether one moved"""
    difference = totals[piece - 1] - totals[piece]
    border = borders[piece]
    step = -1 if difference > 0 else 1
    size = sizes[border - 1] if step < 0 else sizes[border]
    alone = border - borders[piece - 1] == 1 if step < 0 else borders[piece + 1] - border == 1
    if alone or abs(difference + 2 * step * size) >= abs(difference):
        return False
    borders[piece] += step
    totals[piece - 1] += step * size
    totals[piece] -= step * size
    return True


if __name__ == "__main__":
    run(main)
