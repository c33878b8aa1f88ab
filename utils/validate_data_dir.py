#!/usr/bin/env python3
"""Check a data directory by Kaldi's rules, and that its recordings are there.

Reads   <data>/{utt2spk,spk2utt,wav.scp,…}   every table that is there: sorted, unique, whole lines, the keys of utt2spk
Writes  nothing; one line on stderr and exit status 1 where something is wrong
e.g.    utils/validate_data_dir.py data/train
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import REST, DataDir, read_table
from pytorch.program import Fail, Parser, boolean, run

NOT_PER_UTT = {"utt2spk", "spk2utt", "wav.scp"}


def main():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("--feats", type=boolean, default=False, help="feats.scp must be there")
    parser.add_argument("--wav", type=boolean, default=True, help="wav.scp must be there")
    parser.add_argument("--spk-prefix", type=boolean, default=True, help="utterances must sort by speaker: speaker ids must be prefixes of utterance ids")
    args = parser.parse_args()
    data = DataDir(args.data)
    check_speakers(data, args.spk_prefix)
    if args.wav or data.has("wav.scp"):
        check_recordings(data)
    if args.feats and not data.has("feats.scp"):
        raise Fail(f"{data / 'feats.scp'}: no such file; make it with steps/make_feats.py {data.path}")
    checked = check_tables(data)
    if len(data.spk2utt) == 1:
        print(f"validate_data_dir: warning: {data.path} has one speaker only", file=sys.stderr)
    print(f"validate_data_dir: {data.path} is valid: {len(data.utt2spk)} utterances of {len(data.spk2utt)} speakers; {', '.join(checked)}")


def check_speakers(data, spk_prefix):
    speakers = list(data.utt2spk.values())
    for number, (before, after) in enumerate(zip(speakers, speakers[1:], strict=False), 2):
        if spk_prefix and after < before:
            raise Fail(
                f"{data / 'utt2spk'}:{number}: speaker '{after}' after '{before}'; make speaker ids prefixes of utterance ids, "
                "as <spk>-<utt>, or pass --spk-prefix false"
            )
    if not data.has("spk2utt"):
        return
    listed = {spk: words.split() for spk, words in read_table(data / "spk2utt", REST).items()}
    if listed != data.spk2utt:
        raise Fail(f"{data / 'spk2utt'}: not what utt2spk says; make it anew from utt2spk")


def check_recordings(data):
    for number, (utt, path) in enumerate(data.wav_scp.items(), 1):
        place = f"{data / 'wav.scp'}:{number}: '{utt}': {path}"
        if path.startswith("~"):
            raise Fail(f"{place}: ~ is not understood here; write the whole path")
        if not Path(path).is_file():
            raise Fail(f"{place}: no such file")


def check_tables(data):
    """Every further table that is there: utt2X by utterance, spk2X by speaker, X.scp by utterance. -> their names"""
    checked = []
    for path in sorted(data.path.iterdir()):
        name = path.name
        if name in NOT_PER_UTT or not path.is_file() or name.startswith("."):
            continue
        if name.startswith("spk2") or name == "cmvn.scp":
            table = data.per_spk(name, REST)
        elif name.startswith(("utt2", "reco2dur")) or name == "text" or name.endswith(".scp"):
            table = data.per_utt(name, REST)
        else:
            continue
        check_values(path, table)
        checked.append(name)
    return checked


def check_values(path, table):
    """The values of the tables that have a fixed form."""
    rules = {
        "utt2num_frames": (lambda value: value.isdecimal() and int(value) > 0, "a whole number above 0"),
        "utt2dur": (is_positive, "seconds above 0"),
        "spk2gender": (lambda value: value in ("m", "f"), "m or f"),
    }
    accept, expected = rules.get(path.name, (lambda value: True, ""))
    for number, (key, value) in enumerate(table.items(), 1):
        if not accept(value):
            raise Fail(f"{path}:{number}: '{key}': {expected} expected, not '{value[:40]}'")


def is_positive(text):
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False


if __name__ == "__main__":
    run(main)
