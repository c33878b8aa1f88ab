#!/usr/bin/env python3
"""Make data directories of somebody else's list of recordings.

--from files    a path a line, with or without extension
       labels   lines of `path label window`: -1 for the whole recording, k for the window that begins at k times 0.5 s (see --window-as)
       csv      a header, and columns file_name or filename (or path, wav, …), label, spk, start, end, utt2X, spk2X, …
       json     JSON lines, an array, or an object of objects by their id: NeMo, wespeaker, SpeechBrain
       rttm     who speaks when: utterances are the turns
       uem      regions of recordings: utterances are the regions

Ids are made of the paths, so that different paths have different ids (`id10270/5r0dWxy17C8/00001.wav` is `id10270-5r0dWxy17C8-00001`), or
are those of the list (columns id, key) where all of them begin with their speaker and have no blanks and slashes. Values that are empty or
`?` are unknown: a table of nothing else is not written, and utterances of which no speaker is known are each their own.

Reads   <list>, and whether the recordings are there
Writes  <out>/{wav.scp,utt2spk,spk2utt}, segments where the list has times, utt2X and spk2X that it has;
        utt2path (reco2path with segments, reco2uri of RTTM and UEM), what the list calls each; spk2name where speakers are called otherwise;
        <out>/import_list.dropped, what was left out.  With --set-column or --set-prefixes: <out>/<set>/…
e.g.    utils/import_list.py --from labels --label-as spk --root /corpora/vox2 train.lst data/train
        utils/import_list.py --from csv --label-as sleepiness --set-prefixes train,dev,test --root wav labels.csv data
        utils/import_list.py --from rttm --audio "{uri}/audio/{uri}.Mix-Headset.wav" --root amicorpus test.rttm data/ami_test
"""

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.entries import Drops, add_drop_option, build, summary_of, without_doubles, without_empty, without_missing, write_directories
from pytorch.data.lists import COLUMNS, OURS, TABLE, Conventions, read_csv, read_files, read_json, read_labels
from pytorch.data.rttm import cut, read_rttm, read_uem, turn_entries
from pytorch.files import sha256, sha256_of_sizes
from pytorch.marker import Marker, options_of
from pytorch.program import Fail, Parser, boolean, positive_float, run

READERS = {"files": read_files, "labels": read_labels, "csv": read_csv, "json": read_json, "rttm": read_rttm, "uem": read_uem}
ROWS = ("csv", "json")
# Options that go with some kinds of list only
KINDS_OF = {
    "label_as": ("labels", *ROWS),
    "columns": ROWS,
    "set_column": ROWS,
    "times_hz": ROWS,
    "set_prefixes": ("files", "labels", *ROWS),
    "spk_folder": ("files", "labels", *ROWS),
    "window_sec": ("labels",),
    "window_as": ("labels",),
    "audio": ("rttm", "uem"),
    "uem": ("rttm",),
}


def main():
    args = parse_args()
    names = ("label_as", "spk_folder", "columns", "set_column", "times_hz", "window_sec", "window_as")
    more = {name: getattr(args, name) for name in names if getattr(args, name)}
    rules = Conventions(args.root, args.ext, **more)
    drops = Drops(args.drop)
    entries = without_doubles(without_empty(read_entries(args, rules), drops), drops)
    inputs = {name: sha256(path) for name, path in (("the list", args.list), ("the UEM", args.uem)) if path}
    if args.check_files:
        inputs["the audio"] = sha256_of_sizes(sorted({entry.audio for entry in entries}))
    options = options_of(args, without=("list", "out", "uem", "kind")) | {"from": args.kind, "root": rules.root}
    marker = Marker(args.out / ".done/import_list.json", options, inputs)
    marker.lock()
    if marker.is_done(args.overwrite):
        print(f"import_list: {args.out} is there")
        return

    if args.check_files:
        entries = without_missing(entries, drops)
    naming = "uri" if args.kind in ("rttm", "uem") else "path"
    built = {folder: build(members, drops, naming) for folder, members in sorted(sets_of(entries, args).items())}
    dropped = args.out / "import_list.dropped"
    write_directories({folder: tables for folder, (tables, _) in built.items()}, marker, drops, dropped, args.overwrite)
    for folder, (tables, remarks) in built.items():
        print(f"import_list: {folder}: {'; '.join([summary_of(tables), *remarks])}")
    if rules.unused:
        print(f"import_list: columns not used: {', '.join(sorted(rules.unused))}")
    if drops.lines:
        print(f"import_list: left out, see {dropped}: {drops.summary()}")


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("list", type=Path, help="the list")
    parser.add_argument("out", type=Path, help="data directory, or folder of one for each set, made")
    parser.add_argument("--from", dest="kind", choices=READERS, required=True, help="kind of list, see above")
    parser.add_argument("--root", default=".", help="folder that goes before relative paths; ids of absolute paths below it begin after it")
    parser.add_argument("--ext", type=extension, default=".wav", help="extension of paths that have none")
    parser.add_argument("--label-as", type=label_name, help="what labels are: spk, or label, age, … for utt2label, utt2age, …")
    parser.add_argument("--spk-folder", type=int, help="the folder of a path that is its speaker: 1 the first, -1 the one of the file; none by default")
    parser.add_argument("--columns", type=column_names, help=f"what=column,…: which hold {', '.join(COLUMNS)} or a table, as in spk2gender=sex")
    parser.add_argument("--set-column", help="column that names the set of each line")
    parser.add_argument("--set-prefixes", type=set_names, help="sets, with commas between: a file is of the one that its name begins with")
    parser.add_argument("--times-hz", type=positive_float, help="start and end are samples at this rate (SpeechBrain: 16000); seconds by default")
    parser.add_argument("--window-sec", type=positive_float, help="length of the windows of `path label window`, 3.5 by default")
    window_as = "windows: segments, pieces of recordings (default); utt2window, numbers for steps/train.py --sampler windows, -1 for any place"
    parser.add_argument("--window-as", choices=("segments", "utt2window"), help=window_as)
    parser.add_argument("--audio", help="path of a recording, with {uri} for its name; {uri} by default")
    parser.add_argument("--uem", type=Path, help="keep what lies in these regions")
    parser.add_argument("--check-files", type=boolean, default=True, help="the recordings must be there")
    add_drop_option(parser, "missing", "unknown", "double", "empty")
    parser.add_argument("--overwrite", type=boolean, default=False, help="import anew where it was done otherwise")
    args = parser.parse_args()
    for name, kinds in KINDS_OF.items():
        if getattr(args, name) is not None and args.kind not in kinds:
            parser.error(f"--{name.replace('_', '-')} goes with --from {' and '.join(kinds)}, not {args.kind}")
    if args.kind == "labels" and not args.label_as:
        parser.error("--label-as is needed with --from labels: spk, label, age, …")
    if args.window_as == "utt2window" and args.window_sec:
        parser.error("--window-sec goes with --window-as segments; the length of crops is a matter of the training")
    if args.set_column and args.set_prefixes:
        parser.error("--set-column and --set-prefixes do not go together")
    return args


def extension(text):
    return "." + _match(r"\.?(\w+)", text, "an extension as .wav")[1]


def label_name(text):
    if f"utt2{text}" in OURS and text != "spk":
        raise argparse.ArgumentTypeError(f"utt2{text} is not made of lists")
    return _match("[a-z][a-z0-9_]*", text, "spk, label, age or the like")[0]


def column_names(text):
    names = {}
    for word in text.split(","):
        what, _, column = word.partition("=")
        if not column or what in OURS or not (what in COLUMNS or TABLE.fullmatch(what)):
            raise argparse.ArgumentTypeError(f"what=column,… expected with {', '.join(COLUMNS)}, utt2X or spk2X for what, not '{word}'")
        names[what] = column
    return names


def set_names(text):
    return [_match(r"\w[\w.-]*", word, "names with commas between them")[0] for word in text.split(",")]


def _match(pattern, text, expected):
    if not (match := re.fullmatch(pattern, text)):
        raise argparse.ArgumentTypeError(f"{expected} expected, not '{text}'")
    return match


def read_entries(args, rules):
    if args.kind not in ("rttm", "uem"):
        return READERS[args.kind](args.list, rules)
    turns = READERS[args.kind](args.list)
    if args.uem:
        turns = cut(turns, read_uem(args.uem))
        if not turns:
            raise Fail(f"{args.list}: no turn of it lies in a region of {args.uem}")
    return turn_entries(turns, rules, args.audio or "{uri}")


def sets_of(entries, args):
    """-> {folder: [Entry, …]}"""
    if not entries:
        raise Fail(f"{args.list}: no entry of it is left, all were left out by --drop")
    if not args.set_column and not args.set_prefixes:
        return {args.out: entries}
    sets = {}
    for entry in entries:
        sets.setdefault(args.out / _set_of(entry, args.set_prefixes), []).append(entry)
    return sets


def _set_of(entry, prefixes):
    if prefixes is None:
        if entry.set is None or not re.fullmatch(r"\w[\w.-]*", entry.set):
            raise Fail(f"{entry.place}: '{entry.set or '?'}' cannot be the name of a data directory")
        return entry.set
    fitting = [prefix for prefix in prefixes if entry.name.rpartition("/")[2].startswith(prefix)]
    if len(fitting) != 1:
        raise Fail(f"{entry.place}: the file name of '{entry.name}' begins with {' and '.join(fitting) or 'no set'} of --set-prefixes; it must be one")
    return fitting[0]


if __name__ == "__main__":
    run(main)
