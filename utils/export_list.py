#!/usr/bin/env python3
"""Write the recordings of a data directory as a list for somebody else's programs.

--to files       a path a line
     labels      lines of `path label window`, window -1 for whole recordings; <list>.classes has the numbers of labels that are not 0, 1, …
     csv         id, file_name, spk, start and end with segments, every utt2X and spk2X
     nemo        JSON lines of audio_filepath, offset, duration, label
     wespeaker   JSON lines of key, wav, spk (raw.list)
     rttm        who speaks when; a recording is named by its path without extension
     uem         what of each recording the utterances cover

Paths are those of the list that the data directory came from (utt2path), else those of wav.scp; with --root, below that folder. In csv they have
the extension of the file also where that list, such as an RTTM, has none.

Reads   <data>/{wav.scp,utt2spk,segments,utt2path,spk2name,…}; utt2dur for nemo, rttm and uem without segments
Writes  <list>
e.g.    utils/export_list.py --to labels --root /corpora/vox2 --ext false data/train train.lst
        utils/export_list.py --to rttm data/ami_test test.rttm
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.data.exports import WRITERS, file_names, write_lists
from pytorch.data.spellings import recording_names
from pytorch.program import Parser, boolean, run


def main():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("list", type=Path, help="the list, made")
    parser.add_argument("--to", dest="kind", choices=WRITERS, required=True, help="kind of list, see above")
    parser.add_argument("--root", help="folder that paths are to begin below; as in the list the data came from by default")
    parser.add_argument("--ext", type=boolean, help="paths with the extension of the file, or without; as in that list by default, csv: with")
    parser.add_argument("--label-as", default="spk", help="what labels are: spk, or label, age, … for utt2label, utt2age, …")
    parser.add_argument("--overwrite", type=boolean, default=False, help="replace another list of that name")
    args = parser.parse_args()
    data = DataDir(args.data)
    names = recording_names(data, args.root, False if args.kind in ("rttm", "uem") else args.ext)
    if args.kind == "csv" and args.root is None and args.ext is None:
        names = file_names(data, names)
    lists = {Path(f"{args.list}{more}"): text for more, text in WRITERS[args.kind](data, names, args.label_as).items()}
    written = write_lists(lists, args.overwrite)
    for path in lists:
        print(f"export_list: {path} {f'has {len(data.utt2spk)} utterances of {data.path}' if path in written else 'is there'}")


if __name__ == "__main__":
    run(main)
