#!/usr/bin/env python3
"""Make a data directory of some of the utterances of another: by number, by a list, by length.

Utterances too short or too long go first, then speakers with too few of them; the choice is made among what is left. All tables come along.

Reads   <data>/{utt2spk,…}     utt2num_frames, utt2dur or vad.scp where lengths are asked for
Writes  <out>                  a whole data directory; feats.scp and vad.scp name the archives where they are
e.g.    utils/subset_data_dir.py --num 1000 data/train data/train_1000
        utils/subset_data_dir.py --min-frames 400 --min-utts-per-spk 8 data/train data/train_long
        utils/subset_data_dir.py --spk-list conf/valid_speakers data/all data/valid
"""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import REST, DataDir
from pytorch.data.edit import NewDataDir, Part, durations, write_parts
from pytorch.data.rules import check_values
from pytorch.files import need_file
from pytorch.marker import options_of
from pytorch.program import Fail, Parser, boolean, count, non_negative_float, positive_float, positive_int, run

FILTERS = ("min_frames", "max_frames", "min_voiced_frames", "min_dur", "max_dur", "min_utts_per_spk")


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("out", type=Path, help="data directory to be made")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--num", type=positive_int, metavar="N", help="N utterances, evenly spread over the list")
    choice.add_argument("--first", type=positive_int, metavar="N", help="the first N utterances")
    choice.add_argument("--last", type=positive_int, metavar="N", help="the last N utterances")
    choice.add_argument("--random", type=positive_int, metavar="N", help="N utterances drawn by chance")
    choice.add_argument("--shortest", type=positive_int, metavar="N", help="the N shortest utterances")
    choice.add_argument("--longest", type=positive_int, metavar="N", help="the N longest utterances")
    choice.add_argument("--per-spk", type=positive_int, metavar="N", help="N utterances of each speaker, evenly spread; all where there are fewer")
    choice.add_argument("--speakers", type=positive_int, metavar="N", help="all utterances of speakers drawn by chance, until there are at least N utterances")
    choice.add_argument("--utt-list", type=Path, metavar="FILE", help="the utterances named in the first column of FILE")
    choice.add_argument("--spk-list", type=Path, metavar="FILE", help="the speakers named in the first column of FILE")
    parser.add_argument("--min-frames", type=positive_int, help="leave out utterances with fewer frames")
    parser.add_argument("--max-frames", type=positive_int, help="leave out utterances with more frames")
    parser.add_argument("--min-voiced-frames", type=positive_int, help="leave out utterances with fewer voiced frames (vad.scp)")
    parser.add_argument("--min-dur", type=non_negative_float, help="leave out utterances shorter than this, seconds")
    parser.add_argument("--max-dur", type=positive_float, help="leave out utterances longer than this, seconds")
    parser.add_argument("--min-utts-per-spk", type=positive_int, help="leave out speakers with fewer utterances")
    parser.add_argument("--seed", type=count, default=0, help="of --random and --speakers")
    parser.add_argument("--overwrite", type=boolean, default=False, help="replace a data directory that is there")
    args = parser.parse_args()
    if all(getattr(args, name) is None for name in (*CHOICES, *FILTERS)):
        parser.error("say which utterances: --num, --first, --utt-list, --min-frames, …")
    return args


def main():
    args = parse_args()
    data = DataDir(args.data)
    lists = {f"--{name.replace('_', '-')}": need_file(path) for name in ("utt_list", "spk_list") if (path := getattr(args, name))}
    options = options_of(args, without=("data", "out", "utt_list", "spk_list"))
    new = NewDataDir(args.out, "subset_data_dir", options, [data], args.overwrite, lists)
    if new.is_done():
        print(f"subset_data_dir: {args.out} is there")
        return
    utts, dropped = long_enough(data, args)
    for name, choose in CHOICES.items():
        if getattr(args, name) is not None:
            utts = choose(data, utts, getattr(args, name), random.Random(args.seed))
    if not utts:
        raise Fail(f"{args.data}: no utterance is left ({'; '.join(dropped)})")
    with new as folder:
        notes = write_parts(folder, [Part(data, utts)])
    for note in dropped + notes:
        print(f"subset_data_dir: {note}")
    speakers = len({data.utt2spk[utt] for utt in utts})
    print(f"subset_data_dir: {args.out}: {len(utts)} of {len(data.utt2spk)} utterances, {speakers} of {len(data.spk2utt)} speakers")


# ---- who is left out


def long_enough(data, args):
    """-> the utterances the length options leave, and what went, in words"""
    utts, dropped = list(data.utt2spk), []
    for least, most, lengths, unit in (
        (args.min_frames, args.max_frames, frames, "frames"),
        (args.min_voiced_frames, None, voiced_frames, "voiced frames"),
        (args.min_dur, args.max_dur, seconds, "s"),
    ):
        if least is None and most is None:
            continue
        length = lengths(data)
        kept = [utt for utt in utts if (least is None or length[utt] >= least) and (most is None or length[utt] <= most)]
        bounds = " or ".join(([f"fewer than {least:g}"] if least is not None else []) + ([f"more than {most:g}"] if most is not None else []))
        dropped.append(f"left out, with {bounds} {unit}: {len(utts) - len(kept)} utterances")
        utts = kept
    if args.min_utts_per_spk:
        speakers = by_speaker(data, utts)
        few = {spk for spk in speakers if len(speakers[spk]) < args.min_utts_per_spk}
        kept = [utt for utt in utts if data.utt2spk[utt] not in few]
        dropped.append(f"left out, with fewer than {args.min_utts_per_spk} utterances: {len(few)} speakers, {len(utts) - len(kept)} utterances")
        utts = kept
    return utts, dropped


def frames(data):
    if not data.has("utt2num_frames"):
        raise Fail(f"{data / 'utt2num_frames'}: no such file; make it with utils/get_utt2num_frames.py {data.path}")
    table = data.per_utt("utt2num_frames")
    check_values(data / "utt2num_frames", table)
    return {utt: int(number) for utt, number in table.items()}


def voiced_frames(data):
    from pytorch.data.ark import ArkReader

    need_file(data / "vad.scp", f"make it with steps/compute_vad.py {data.path}")
    data.per_utt("vad.scp", REST)
    vad = ArkReader(data / "vad.scp")
    return {utt: int((vad[utt] > 0).sum()) for utt in data.utt2spk}


def seconds(data):
    found = durations(data)
    if found is None:
        raise Fail(f"{data / 'utt2dur'}: no such file; make it with utils/get_utt2dur.py {data.path}")
    return found


def lengths(data):
    """{utt: frames or seconds}, whichever is known."""
    return frames(data) if data.has("utt2num_frames") else seconds(data)


# ---- the choice: functions of the data directory, the utterances left, the option's value and a random.Random


def spread(items, number):
    """`number` of the items, in the middle of as many equal shares of the list."""
    return [items[(2 * place + 1) * len(items) // (2 * number)] for place in range(number)]


def need(utts, number):
    if number > len(utts):
        raise Fail(f"{number} utterances are asked for, but there are {len(utts)}")
    return utts


def by_speaker(data, utts):
    speakers = {}
    for utt in utts:
        speakers.setdefault(data.utt2spk[utt], []).append(utt)
    return speakers


def per_speaker(data, utts, number, chance):
    chosen = []
    speakers = by_speaker(data, utts)
    for own in speakers.values():
        chosen += spread(own, min(number, len(own)))
    if few := sum(len(own) < number for own in speakers.values()):
        print(f"subset_data_dir: all of theirs are taken of those with fewer than {number} utterances: {few} of {len(speakers)} speakers")
    return chosen


def some_speakers(data, utts, number, chance):
    speakers = by_speaker(data, need(utts, number))
    order = sorted(speakers)
    chance.shuffle(order)
    chosen = []
    for spk in order:
        if len(chosen) >= number:
            break
        chosen += speakers[spk]
    return chosen


def by_length(data, utts, number, longest):
    length = lengths(data)
    return sorted(need(utts, number), key=lambda utt: ((-length[utt] if longest else length[utt]), utt))[:number]


def in_list(data, utts, path, known, what):
    """The utterances of which known(utt) stands in the list; all that the list names must be there."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise Fail(f"{path}: not a text file (not UTF-8)") from None
    names = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if words and not words[0].startswith("#"):
            names.setdefault(words[0], number)
    there = {known(utt) for utt in data.utt2spk}
    if missing := [name for name in names if name not in there]:
        remedy = f"take those that are there with utils/filter_table.py {data / ('utt2spk' if what == 'utterance' else 'spk2utt')} {path}"
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise Fail(f"{path}:{names[missing[0]]}: {data.path} has no {what} '{missing[0]}'{more}; {remedy}")
    return [utt for utt in utts if known(utt) in names]


CHOICES = {
    "num": lambda data, utts, number, chance: spread(need(utts, number), number),
    "first": lambda data, utts, number, chance: need(utts, number)[:number],
    "last": lambda data, utts, number, chance: need(utts, number)[-number:],
    "random": lambda data, utts, number, chance: chance.sample(need(utts, number), number),
    "shortest": lambda data, utts, number, chance: by_length(data, utts, number, longest=False),
    "longest": lambda data, utts, number, chance: by_length(data, utts, number, longest=True),
    "per_spk": per_speaker,
    "speakers": some_speakers,
    "utt_list": lambda data, utts, path, chance: in_list(data, utts, path, str, "utterance"),
    "spk_list": lambda data, utts, path, chance: in_list(data, utts, path, data.utt2spk.get, "speaker"),
}


if __name__ == "__main__":
    run(main)
