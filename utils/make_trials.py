#!/usr/bin/env python3
"""Draw a trial list from a data directory: target pairs, all or some, and non-target pairs by chance.

Pairs are spread evenly: target pairs over the speakers, non-target pairs over the pairs of speakers, as far as these have so many.

Reads   <data>/{utt2spk,spk2gender,utt2session}   with spk2gender, half of the non-target pairs are of one sex, half of two;
                                                  with utt2session, target pairs are of different sessions
        <data>/utt2dur (--min-dur), and tables named in --same, --differ and --one-per
Writes  <data>/trials (--name for another)        lines of `enrol-utt test-utt target|nontarget`
e.g.    utils/make_trials.py --nontargets-per-target 2 data/test
        utils/make_trials.py --name trials_hard --num-targets 20000 --num-nontargets 20000 --same spk2gender,spk2nationality --one-per utt2session data/test
"""

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.data.trials import add_name_option, check_disjoint, draw_trials, usable_utts, write_trials
from pytorch.files import sha256
from pytorch.marker import Marker, options_of
from pytorch.program import Parser, boolean, count, positive_float, positive_int, run


def main():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory")
    add_name_option(parser)
    parser.add_argument("--num-targets", type=positive_int, help="target pairs, where there are as many; all by default")
    parser.add_argument("--num-nontargets", type=positive_int, help="non-target pairs, where there are as many; overrides --nontargets-per-target")
    parser.add_argument("--nontargets-per-target", type=positive_int, default=2, help="non-target pairs for each target pair, where there are as many")
    parser.add_argument("--same", type=tables("spk2X and utt2X", "(spk|utt)2"), help="tables: non-target pairs are alike in all of them, as in spk2gender")
    parser.add_argument(
        "--differ", type=table("utt2X or none", "utt2|none$"), help="table: target pairs differ in it; utt2session where there is one by default"
    )
    parser.add_argument("--one-per", type=table("utt2X", "utt2"), help="table: of a speaker's utterances of one value, one is used, as in utt2session")
    parser.add_argument("--min-dur", type=positive_float, help="utterances shorter than so many seconds are not used")
    parser.add_argument("--disjoint-from", action="append", metavar="PATH", help="data directory, or list of speakers, that must have none of these speakers")
    parser.add_argument("--seed", type=count, default=0, help="of the choice")
    parser.add_argument("--overwrite", type=boolean, default=False, help="draw anew where another list was drawn")
    args = parser.parse_args()
    data, out = DataDir(args.data), args.data / args.name
    marker = Marker(data / f".done/make_{args.name}.json", options_of(args, without=("data", "name", "disjoint_from")), fingerprints(data, args))
    marker.lock()
    if marker.is_done(args.overwrite):
        print(f"make_trials: {out} is there")
        return
    for path in args.disjoint_from or ():
        check_disjoint(data, path)
    spk2utt = usable_utts(data, args.seed, args.min_dur or 0, args.one_per)
    differ = "" if args.differ == "none" else args.differ
    choice = {"num_targets": args.num_targets, "num_nontargets": args.num_nontargets, "same": args.same or (), "differ": differ, "spk2utt": spk2utt}
    trials = draw_trials(data, args.seed, args.nontargets_per_target, **choice)
    marker.claim([out], args.overwrite)
    marker.begin()
    write_trials(out, trials)
    marker.finish([out])
    targets = sum(label for _, _, label in trials)
    remarks = "".join(f"; {remark}" for remark in remarks_on(data, args, spk2utt, targets, len(trials) - targets))
    print(f"make_trials: {out}: {targets} target and {len(trials) - targets} nontarget trials of {len(spk2utt)} speakers{remarks}")


def fingerprints(data, args):
    names = {"utt2spk", "spk2gender", "utt2session", args.differ, args.one_per, *(args.same or ()), "utt2dur" if args.min_dur else None}
    inputs = {name: sha256(data / name) for name in sorted(names - {None, "none"}) if data.has(name)}
    for path in args.disjoint_from or ():
        path = Path(path)
        inputs[f"--disjoint-from {path}"] = sha256(path / "utt2spk" if path.is_dir() else path)
    return inputs


def remarks_on(data, args, spk2utt, targets, nontargets):
    """What the user should know of the list, in words."""
    used = sum(map(len, spk2utt.values()))
    if used < len(data.utt2spk):
        yield f"{used} of {len(data.utt2spk)} utterances used"
    if alone := sum(len(utts) == 1 for utts in spk2utt.values()):
        yield f"{alone} speakers have one utterance only, no target trials of them"
    for asked, there, what in ((args.num_targets, targets, "target"), (args.num_nontargets, nontargets, "non-target")):
        if asked and there < asked:
            yield f"there are no more {what} pairs, {asked} were asked for"


def table(expected, pattern):
    def parse(text):
        if not re.match(pattern, text) or "/" in text:
            raise argparse.ArgumentTypeError(f"{expected} expected, not '{text}'")
        return text

    return parse


def tables(expected, pattern):
    return lambda text: [table(expected, pattern)(word) for word in text.split(",")]


if __name__ == "__main__":
    run(main)
