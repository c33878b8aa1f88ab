#!/usr/bin/env python3
"""Make a trial list of a data directory from somebody else's.

--from voxceleb            label first: `1 a.wav b.wav`; pyannote's too
       kaldi               label last: `a b target`, `a.wav b.wav 0`, wespeaker's too
       clients-impostors   two lists of `a b`, the target trials and the others

Enrolment and test are found in the data directory by utterance id, by the path in the list that it came from (utt2path), or by the path in wav.scp below
--root; with or without extension. Labels are 1, target, tgt, client, true and 0, nontarget, imp, impostor, false.

Reads   <list>…, <data>/{utt2spk,utt2path,wav.scp}
Writes  <data>/trials (--name for another): lines of `enrol-utt test-utt target|nontarget` in the order of the list; <data>/trials.dropped, what was left out
e.g.    utils/import_trials.py --from voxceleb veri_test2.txt data/vox1_test
        utils/import_trials.py --from clients-impostors clients.ndx impostors.ndx data/valid
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.data.entries import Drops, add_drop_option
from pytorch.data.foreign_trials import READERS, check_speakers, find_trials
from pytorch.data.spellings import UttFinder
from pytorch.data.trials import add_name_option, write_trials
from pytorch.files import sha256
from pytorch.marker import Marker, options_of
from pytorch.program import Fail, Parser, boolean, run


def main():
    parser = Parser(__doc__)
    parser.add_argument("lists", type=Path, nargs="+", metavar="list", help="the list, or clients and impostors")
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("--from", dest="kind", choices=READERS, required=True, help="kind of list, see above")
    parser.add_argument("--root", type=os.path.abspath, help="folder that goes before relative paths to find them in wav.scp")
    add_name_option(parser)
    parser.add_argument("--check-speakers", type=boolean, default=True, help="labels must be what utt2spk says, where it knows speakers")
    add_drop_option(parser, "missing", "double")
    parser.add_argument("--overwrite", type=boolean, default=False, help="import anew where it was done otherwise")
    args = parser.parse_args()
    if len(args.lists) != (2 if args.kind == "clients-impostors" else 1):
        parser.error(f"--from {args.kind} takes {'two lists' if args.kind == 'clients-impostors' else 'one list'}, {len(args.lists)} given")
    data = DataDir(args.data)
    out, dropped = data / args.name, data / f"{args.name}.dropped"
    found = READERS[args.kind](args.lists)
    tables = ("utt2spk", "segments", "utt2path", "reco2path", "reco2uri", "wav.scp")
    inputs = {f"list {number}": sha256(path) for number, path in enumerate(args.lists, 1)} | {name: sha256(data / name) for name in tables if data.has(name)}
    marker = Marker(data / f".done/import_{args.name}.json", options_of(args, without=("lists", "data", "kind")) | {"from": args.kind}, inputs)
    marker.lock()
    if marker.is_done(args.overwrite):
        print(f"import_trials: {out} is there")
        return

    drops = Drops(args.drop)
    trials = find_trials(found, UttFinder(data, args.root).find, data.path, drops)
    if not trials:
        raise Fail(f"{args.lists[0]}: no trial of it is left, all were left out by --drop")
    if args.check_speakers:
        check_speakers(trials, data.utt2spk, data / "utt2spk")
    marker.claim([out, dropped], args.overwrite)
    marker.begin()
    dropped.unlink(missing_ok=True)
    write_trials(out, trials)
    if drops.lines:
        drops.write(dropped)
    marker.finish([out] + ([dropped] if drops.lines else []))
    targets = sum(label for _, _, label in trials)
    print(f"import_trials: {out}: {targets} target and {len(trials) - targets} nontarget trials")
    if drops.lines:
        print(f"import_trials: left out, see {dropped}: {drops.summary()}")


if __name__ == "__main__":
    run(main)
