#!/usr/bin/env python3
"""Write a trial list of a data directory for somebody else's programs.

--to voxceleb            label first: `1 a.wav b.wav`; pyannote's too
     kaldi               label last, with names of files: `a.wav b.wav target`, as wespeaker has it
     clients-impostors   two lists of `a b`, the target trials and the others

Utterances are named by their paths in the list that the data directory came from (utt2path), else by those of wav.scp; with --root, below that folder.

Reads   <data>/trials (--name for another), <data>/{utt2spk,utt2path,wav.scp}
Writes  <list>, or <clients> and <impostors>
e.g.    utils/export_trials.py --to voxceleb --root /corpora/vox1/wav data/vox1_test veri_test.txt
        utils/export_trials.py --to clients-impostors --ext false data/valid clients.ndx impostors.ndx
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.data.exports import check_words, write_lists
from pytorch.data.foreign_trials import READERS, trial_lists
from pytorch.data.spellings import recording_names
from pytorch.data.trials import add_name_option, read_trials
from pytorch.program import Fail, Parser, boolean, run


def main():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("lists", type=Path, nargs="+", metavar="list", help="the list, or clients and impostors, made")
    parser.add_argument("--to", dest="kind", choices=READERS, required=True, help="kind of list, see above")
    parser.add_argument("--names", choices=("path", "id"), default="path", help="what utterances are called")
    parser.add_argument("--root", help="folder that paths are to begin below; as in the list the data came from by default")
    parser.add_argument("--ext", type=boolean, help="paths with the extension of the file, or without; as in that list by default")
    add_name_option(parser)
    parser.add_argument("--overwrite", type=boolean, default=False, help="replace another list of that name")
    args = parser.parse_args()
    if len(args.lists) != (2 if args.kind == "clients-impostors" else 1):
        parser.error(f"--to {args.kind} makes {'two lists' if args.kind == 'clients-impostors' else 'one list'}, {len(args.lists)} named")
    data = DataDir(args.data)
    enrols, tests, labels = read_trials(data / args.name)
    names = utt_names(data, args)
    if odd := next((utt for utt in (*enrols, *tests) if utt not in names), None):
        raise Fail(f"{data / args.name}: '{odd}' is not in {data / 'utt2spk'}")
    trials = [(names[enrol], names[test], label) for enrol, test, label in zip(enrols, tests, labels, strict=True)]
    written = write_lists({path: "".join(lines) for path, lines in zip(args.lists, trial_lists(args.kind, trials), strict=True)}, args.overwrite)
    for path in args.lists:
        print(f"export_trials: {path} {'is written' if path in written else 'is there'}")


def utt_names(data, args):
    """{utterance: what the list is to call it}"""
    if args.names == "id":
        return {utt: utt for utt in data.utt2spk}
    if data.segments:
        raise Fail(f"{data / 'segments'}: utterances are pieces of recordings, and have no paths of their own; pass --names id")
    names = recording_names(data, args.root, args.ext)
    check_words(data, names.values(), "a path", "pass --names id")
    return names


if __name__ == "__main__":
    run(main)
