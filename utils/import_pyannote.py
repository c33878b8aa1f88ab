#!/usr/bin/env python3
"""Make data directories of a protocol of pyannote's database.yml.

A subset with trials, or without an annotation, becomes a data directory of whole files; another one of the turns of its annotation (RTTM), cut to
what is annotated (UEM). Speakers of files in a subset with trials are those of its annotation, where each file has one.

Reads   <database.yml>, the lists, RTTM, UEM and trial files that it names, and whether the recordings are there
Writes  <out>/{train,development,test}/{wav.scp,utt2spk,spk2utt,reco2uri}, segments or trials; spk2name where speakers are called otherwise;
        <out>/import_pyannote.dropped, what was left out
e.g.    utils/import_pyannote.py --protocol AMI.SpeakerDiarization.only_words database.yml data/ami
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.entries import Drops, add_drop_option, build, summary_of, without_doubles, without_empty, without_missing, write_directories
from pytorch.data.foreign_trials import check_speakers, find_trials
from pytorch.data.pyannote import SUBSETS, Database
from pytorch.files import sha256_of_sizes
from pytorch.marker import Marker, options_of
from pytorch.program import Fail, Parser, boolean, run


def main():
    parser = Parser(__doc__)
    parser.add_argument("database", type=Path, metavar="database.yml", help="as pyannote.database reads it")
    parser.add_argument("out", type=Path, help="folder of the data directories, made")
    parser.add_argument("--protocol", required=True, help="Database.Task.Protocol")
    parser.add_argument("--subsets", type=subset_names, help=f"which, with commas between; all of {', '.join(SUBSETS)} that there are by default")
    parser.add_argument("--check-files", type=boolean, default=True, help="the recordings must be there")
    parser.add_argument("--check-speakers", type=boolean, default=True, help="labels of trials must be what the annotation says")
    add_drop_option(parser, "missing", "double", "empty")
    parser.add_argument("--overwrite", type=boolean, default=False, help="import anew where it was done otherwise")
    args = parser.parse_args()
    database = Database(args.database, args.check_files)
    subsets = database.protocol(args.protocol, args.subsets or SUBSETS)
    drops = Drops(args.drop)
    for subset in subsets.values():
        subset.entries = without_doubles(without_empty(subset.entries, drops), drops)
    inputs = database.fingerprints()
    if args.check_files:
        inputs["the audio"] = sha256_of_sizes(sorted({entry.audio for subset in subsets.values() for entry in subset.entries}))
    marker = Marker(args.out / ".done/import_pyannote.json", options_of(args, without=("database", "out")), inputs)
    marker.lock()
    if marker.is_done(args.overwrite):
        print(f"import_pyannote: {args.out} is there")
        return

    directories, trials, remarks = {}, {}, {}
    for name, subset in subsets.items():
        entries = subset.entries
        if args.check_files:
            entries = without_missing(entries, drops, f"correct Databases in {args.database}")
        if not entries:
            raise Fail(f"{args.database}: nothing of {args.protocol}.{name} is left to import")
        folder = args.out / name
        directories[folder], more = build(entries, drops, "uri")
        remarks[folder] = subset.remarks + more
        if subset.trials is not None:
            utts = {uri: utt for utt, uri in directories[folder]["reco2uri"].items()}
            trials[folder] = find_trials(subset.trials, utts.get, f"{args.protocol}.{name}", drops)
            if args.check_speakers:
                check_speakers(trials[folder], directories[folder]["utt2spk"], f"{args.protocol}.{name}")
    dropped = args.out / "import_pyannote.dropped"
    write_directories(directories, marker, drops, dropped, args.overwrite, trials)
    for folder, tables in directories.items():
        more = [f"{len(trials[folder])} trials"] if folder in trials else []
        print(f"import_pyannote: {folder}: {'; '.join([summary_of(tables), *more, *remarks[folder]])}")
    if drops.lines:
        print(f"import_pyannote: left out, see {dropped}: {drops.summary()}")


def subset_names(text):
    names = text.split(",")
    if unknown := [name for name in names if name not in SUBSETS]:
        raise argparse.ArgumentTypeError(f"{', '.join(SUBSETS)} with commas between them expected, not '{unknown[0]}'")
    return names


if __name__ == "__main__":
    run(main)
