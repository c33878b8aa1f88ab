#!/usr/bin/env python3
"""Prepare speechocean762 for speaker verification or age estimation: train, valid and test directories of different speakers.

Reads   <corpus>/{train,test}/{wav.scp,utt2spk,spk2gender,spk2age,text}    the corpus' own layout; paths in wav.scp begin at <corpus>
        <valid-list>                                                       speakers of its train part to validate with, one a line
Writes  <out>/{train,valid,test}/{wav.scp,utt2spk,spk2utt,spk2gender,spk2age,utt2age,text}
e.g.    local/make_speechocean762.py --valid-list conf/valid_speakers corpora/speechocean762 data

The corpus: https://www.openslr.org/101 (English read by 250 speakers of Mandarin, 16 kHz, half of them children; half a gigabyte), also at
https://github.com/jimbozhang/speechocean762. Its test part, of other speakers, stays the test set. Utterance ids become <spk>-<its id>.
A cut of the corpus will do, as long as its tables are cut to the recordings that are there.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import write_data_dir
from pytorch.data.lists import read_lines
from pytorch.data.names import read_names
from pytorch.files import need_file, sha256, sha256_of_sizes
from pytorch.marker import Marker
from pytorch.program import Fail, Parser, boolean, run

PARTS = ("train", "test")
SETS = ("train", "valid", "test")
SOURCES = ("wav.scp", "utt2spk", "spk2gender", "spk2age", "text")
TABLES = (*SOURCES, "spk2utt", "utt2age")


def main():
    parser = Parser(__doc__)
    parser.add_argument("corpus", type=Path, help="folder with WAVE/, train/ and test/ of speechocean762")
    parser.add_argument("out", type=Path, help="folder of the data directories, made")
    parser.add_argument("--valid-list", type=Path, required=True, help="speakers of the validation set")
    parser.add_argument("--overwrite", type=boolean, default=False, help="prepare anew where it was done otherwise")
    args = parser.parse_args()
    remedy = "corpus (--corpus of a recipe) must be the folder of speechocean762 itself"
    files = [need_file(args.corpus / part / name, remedy) for part in PARTS for name in SOURCES]
    parts = {part: read_part(args.corpus, part) for part in PARTS}
    valid = read_names(args.valid_list)
    check_speakers(parts, valid, args)
    inputs = {f"{path.parent.name}/{path.name}": sha256(path) for path in files} | {args.valid_list.name: sha256(args.valid_list)}
    inputs["audio"] = sha256_of_sizes(path for part in parts.values() for path in part["wav.scp"].values())
    marker = Marker(args.out / ".done/make_speechocean762.json", {}, inputs)
    marker.lock()
    if marker.is_done(args.overwrite):
        print(f"make_speechocean762: {args.out} is prepared")
        return

    marker.claim([args.out / name / "utt2spk" for name in SETS], args.overwrite)
    marker.begin()
    speakers = {name: list(parts[name]["spk2gender"]) for name in PARTS}
    speakers["valid"] = valid
    speakers["train"] = [spk for spk in speakers["train"] if spk not in valid]
    for name in SETS:
        write_set(args.out / name, parts["test" if name == "test" else "train"], set(speakers[name]))
    marker.finish(args.out / name / table for name in SETS for table in TABLES)


def read_part(corpus, part):
    """-> {table: {utterance or speaker: value}} of one of the corpus' two parts, with whole paths in wav.scp."""
    tables = {name: read_source(corpus / part / name) for name in SOURCES}
    utts, speakers = tables["utt2spk"], set(tables["utt2spk"].values())
    for name, table in tables.items():
        known = speakers if name.startswith("spk2") else utts.keys()
        if strange := known ^ table.keys():
            where = "not in utt2spk" if min(strange) in table else "in utt2spk but not here"
            raise Fail(f"{corpus / part / name}: '{min(strange)}' is {where}; get the corpus anew, or cut all its tables alike")
    for spk, gender in tables["spk2gender"].items():
        if gender not in ("m", "f"):
            raise Fail(f"{corpus / part / 'spk2gender'}: m or f expected for '{spk}', not '{gender}'")
    for spk, age in tables["spk2age"].items():
        if not (age.isascii() and age.isdecimal() and 0 < int(age) < 120):
            raise Fail(f"{corpus / part / 'spk2age'}: years expected for '{spk}', not '{age}'")
    tables["wav.scp"] = {utt: whole_path(corpus, part, utt, path) for utt, path in tables["wav.scp"].items()}
    return tables


def read_source(path):
    """{key: rest of the line} of one of the corpus' tables. Not all of them are sorted by key, spk2age is not."""
    table = {}
    for number, line in read_lines(path):
        key, *value = line.split(None, 1)
        if not value:
            raise Fail(f"{path}:{number}: two fields expected, not '{line[:80]}'")
        if key in table:
            raise Fail(f"{path}:{number}: '{key}' stands twice; get the corpus anew")
        table[key] = value[0]
    return table


def whole_path(corpus, part, utt, path):
    whole = corpus / path
    if not whole.is_file():
        raise Fail(f"{corpus / part / 'wav.scp'}: '{utt}': {whole} is missing; the corpus must be whole, or cut its tables to what is there")
    return whole.resolve()


def check_speakers(parts, valid, args):
    train, test = (parts[part]["spk2gender"].keys() for part in PARTS)
    if both := train & test:
        raise Fail(f"{args.corpus}: speaker '{min(both)}' is in train/ and in test/; get the corpus anew")
    for spk in valid:
        if spk not in train:
            raise Fail(f"{args.valid_list}: speaker '{spk}' is not in {args.corpus / 'train/utt2spk'}")
    if len(train) - len(valid) < 2:
        raise Fail(f"{args.valid_list}: fewer than two speakers are left to train on")


def write_set(path, part, speakers):
    """Write the data directory of some of a part's speakers."""
    old = {utt: spk for utt, spk in part["utt2spk"].items() if spk in speakers}
    new = {utt: f"{spk}-{utt}" for utt, spk in old.items()}
    write_data_dir(
        path,
        wav_scp={new[utt]: part["wav.scp"][utt] for utt in old},
        utt2spk={new[utt]: spk for utt, spk in old.items()},
        spk2gender={spk: part["spk2gender"][spk] for spk in speakers},
        spk2age={spk: part["spk2age"][spk] for spk in speakers},
        utt2age={new[utt]: part["spk2age"][spk] for utt, spk in old.items()},
        text={new[utt]: part["text"][utt] for utt in old},
    )
    print(f"make_speechocean762: {path}: {len(old)} utterances of {len(speakers)} speakers")


if __name__ == "__main__":
    run(main)
