#!/usr/bin/env python3
"""Prepare CMU AN4 for speaker verification: train, valid and test directories of different speakers.

Reads   <corpus>/etc/an4_{train,test}.fileids, <corpus>/wav/<fileid>.wav     the corpus' own layout, files in RIFF (WAV)
        <valid-list>, <test-list>                                            speakers held out, one a line
Writes  <out>/{train,valid,test}/{wav.scp,utt2spk,spk2utt,spk2gender,text}
e.g.    local/make_an4.py --valid-list conf/valid_speakers --test-list conf/test_speakers corpora/an4 data

The corpus: https://www.speech.cs.cmu.edu/databases/an4/ (CMU's census recordings of 1991, 16 kHz, 84 speakers; BSD-style licence),
with WAV files at https://github.com/cmusphinx/an4. The first letter of a speaker's id tells the sex.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import write_data_dir
from pytorch.data.names import read_names
from pytorch.files import need_file, sha256, sha256_of_sizes
from pytorch.marker import Marker
from pytorch.program import Fail, Parser, boolean, run

SETS = ("train", "valid", "test")
LISTS = ("an4_train", "an4_test")
TABLES = ("wav.scp", "utt2spk", "spk2utt", "spk2gender", "text")


def main():
    parser = Parser(__doc__)
    parser.add_argument("corpus", type=Path, help="folder with etc/ and wav/ of AN4")
    parser.add_argument("out", type=Path, help="folder of the data directories, made")
    parser.add_argument("--valid-list", type=Path, required=True, help="speakers of the validation set")
    parser.add_argument("--test-list", type=Path, required=True, help="speakers of the test set")
    parser.add_argument("--overwrite", type=boolean, default=False, help="prepare anew where it was done otherwise")
    args = parser.parse_args()
    names = [f"etc/{name}.{kind}" for name in LISTS for kind in ("fileids", "transcription")]
    files = [need_file(args.corpus / name, "corpus (--corpus of a recipe) must be the folder of AN4 itself") for name in names]
    recordings = read_fileids(args.corpus)
    held_out = {"valid": read_names(args.valid_list), "test": read_names(args.test_list)}
    check_speakers(held_out, {spk for spk, _ in recordings.values()}, args)
    inputs = {path.name: sha256(path) for path in (*files, args.valid_list, args.test_list)}
    inputs["audio"] = sha256_of_sizes(path for _, path in recordings.values())
    marker = Marker(args.out / ".done/make_an4.json", {}, inputs)
    marker.lock()
    if marker.is_done(args.overwrite):
        print(f"make_an4: {args.out} is prepared")
        return

    marker.claim([args.out / name / "utt2spk" for name in SETS], args.overwrite)
    marker.begin()
    text = read_transcriptions(args.corpus)
    for name in SETS:
        utts = {utt: row for utt, row in recordings.items() if set_of(row[0], held_out) == name}
        write_data_dir(
            args.out / name,
            wav_scp={utt: path.resolve() for utt, (_, path) in utts.items()},
            utt2spk={utt: spk for utt, (spk, _) in utts.items()},
            spk2gender={spk: spk[0] for spk, _ in utts.values()},
            text={utt: text.get(path.stem, "<unknown>") for utt, (_, path) in utts.items()},
        )
        print(f"make_an4: {args.out / name}: {len(utts)} utterances of {len({spk for spk, _ in utts.values()})} speakers")
    marker.finish(args.out / name / table for name in SETS for table in TABLES)


def read_fileids(corpus):
    """-> {utt: (spk, path)} of all lists; utterance ids are <spk>-<file name>."""
    recordings = {}
    for name in LISTS:
        path = corpus / f"etc/{name}.fileids"
        for number, line in enumerate(path.read_text().split("\n"), 1):
            if not line.strip():
                continue
            parts = line.strip().split("/")
            if len(parts) != 3 or parts[1][0] not in "fm":
                raise Fail(f"{path}:{number}: `folder/speaker/file` with a speaker of f… or m… expected, not '{line}'")
            wav = corpus / "wav" / f"{line.strip()}.wav"
            if not wav.is_file():
                raise Fail(f"{path}:{number}: {wav} is missing; the corpus must be whole, or cut its lists to what is there")
            recordings[f"{parts[1]}-{parts[2]}"] = (parts[1], wav)
    return recordings


def read_transcriptions(corpus):
    """-> {file name: words}; lines are `<s> WORDS </s> (file)` or `WORDS (file)`."""
    text = {}
    for name in LISTS:
        for line in (corpus / f"etc/{name}.transcription").read_text().splitlines():
            match = re.fullmatch(r"\s*(?:<s>)?\s*(.*?)\s*(?:</s>)?\s*\((\S+)\)\s*", line)
            if match and match[1]:
                text[match[2]] = match[1]
    return text


def check_speakers(held_out, known, args):
    for path, speakers in ((args.valid_list, held_out["valid"]), (args.test_list, held_out["test"])):
        for spk in speakers:
            if spk not in known:
                raise Fail(f"{path}: speaker '{spk}' is not in {args.corpus}")
    if both := set(held_out["valid"]) & set(held_out["test"]):
        raise Fail(f"{args.test_list}: speaker '{min(both)}' is in {args.valid_list} too")
    if len(known) - len(held_out["valid"]) - len(held_out["test"]) < 2:
        raise Fail(f"{args.test_list}: fewer than two speakers are left to train on")


def set_of(spk, held_out):
    return next((name for name, speakers in held_out.items() if spk in speakers), "train")


if __name__ == "__main__":
    run(main)
