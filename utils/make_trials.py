#!/usr/bin/env python3
"""Draw a trial list from a data directory: all target pairs, and non-target pairs by chance.

Reads   <data>/{utt2spk,spk2gender,utt2session}   with spk2gender, half of the non-target pairs are of one sex, half of two;
                                                  with utt2session, target pairs are of different sessions
Writes  <data>/trials                             lines of `enrol-utt test-utt target|nontarget`
e.g.    utils/make_trials.py --nontargets-per-target 2 data/test
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.data.trials import draw_trials, write_trials
from pytorch.files import sha256
from pytorch.marker import Marker, options_of
from pytorch.program import Parser, boolean, count, positive_int, run


def main():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("--nontargets-per-target", type=positive_int, default=2, help="non-target pairs for each target pair, where there are as many")
    parser.add_argument("--seed", type=count, default=0, help="of the choice")
    parser.add_argument("--overwrite", type=boolean, default=False, help="draw anew where another list was drawn")
    args = parser.parse_args()
    data = DataDir(args.data)
    inputs = {name: sha256(data / name) for name in ("utt2spk", "spk2gender", "utt2session") if data.has(name)}
    marker = Marker(data / ".done/make_trials.json", options_of(args, without=("data",)), inputs)
    marker.lock()
    if marker.is_done(args.overwrite):
        print(f"make_trials: {data / 'trials'} is there")
        return
    trials = draw_trials(data, args.seed, args.nontargets_per_target)
    marker.claim([data / "trials"], args.overwrite)
    marker.begin()
    write_trials(data / "trials", trials)
    marker.finish([data / "trials"])
    targets = sum(label for _, _, label in trials)
    alone = sum(len(utts) == 1 for utts in data.spk2utt.values())
    note = f"; {alone} speakers have one utterance only, no target trials of them" if alone else ""
    print(f"make_trials: {data / 'trials'}: {targets} target and {len(trials) - targets} nontarget trials of {len(data.spk2utt)} speakers{note}")


if __name__ == "__main__":
    run(main)
