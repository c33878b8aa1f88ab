#!/usr/bin/env python3
"""Time and memory of the data-directory tools on a large directory, beside GNU sort on the same tables in the same run.

Reads   nothing
Writes  a table on standard output; its data lies in a temporary folder
e.g.    tests/bench/bench_data_dir.py
        tests/bench/bench_data_dir.py --utts 100000
"""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from pytorch.program import ROOT, Fail, Parser, positive_int, run

TABLES = ("wav.scp", "utt2spk", "utt2dur", "utt2num_frames", "feats.scp")


def main():
    parser = Parser(__doc__)
    parser.add_argument("--utts", type=positive_int, default=1_000_000, help="utterances")
    parser.add_argument("--speakers", type=positive_int, default=7_000, help="speakers")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        data = folder / "data"
        make(data, folder, args.utts, args.speakers)
        size = sum((data / name).stat().st_size for name in TABLES)
        print(f"{args.utts} utterances of {args.speakers} speakers, {len(TABLES)} tables of {size / 1e6:.0f} MB")
        print(f"{'':28}{'seconds':>9}{'MB':>7}{'x sort -c':>11}{'x sort':>8}")
        bare, full = sort_time(data, "-c"), sort_time(data)
        show("sort -c of all tables", *bare, bare[0], full[0])
        show("sort of all tables", *full, bare[0], full[0])
        for label, words in programs(data, folder, args.utts):
            show(label, *measure([sys.executable, ROOT / "utils" / words[0], *words[1:]]), bare[0], full[0])


def programs(data, folder, utts):
    """What is measured: labels and command lines."""
    mess = folder / "mess"
    yield "validate", ("validate_data_dir.py", data)
    yield "validate, files not looked at", ("validate_data_dir.py", "--check-files", "false", data)
    yield "fix, nothing to mend", ("fix_data_dir.py", data)
    make_mess(data, mess)
    yield "fix, all tables to mend", ("fix_data_dir.py", mess)
    yield "subset, half", ("subset_data_dir.py", "--num", utts // 2, data, folder / "half")
    yield "subset, half (again: done)", ("subset_data_dir.py", "--num", utts // 2, data, folder / "half")
    yield "subset, by length", ("subset_data_dir.py", "--min-frames", "400", "--min-utts-per-spk", "8", data, folder / "long")
    yield "copy with prefixes", ("copy_data_dir.py", "--utt-prefix", "x-", "--spk-prefix", "x-", data, folder / "copy")
    yield "combine two", ("combine_data_dir.py", folder / "both", data, folder / "copy")
    yield "split in 40", ("split_data_dir.py", data, "40")


def make(data, folder, utts, speakers):
    """A data directory of VoxCeleb's kind. Recordings are one empty file a speaker, archives are long holes."""
    for number in range(40):
        with open(folder / f"raw_mfcc.{number}.ark", "wb") as file:
            file.truncate(1 << 40)
    data.mkdir()
    with ExitStack() as stack:
        tables = [stack.enter_context(open(data / name, "w")) for name in TABLES]
        for number in range(utts):
            spk = f"id{10000 + number * speakers // utts}"
            wav = f"{folder}/{spk}.wav"
            place = f"{folder}/raw_mfcc.{number % 40}.ark:{17 + number * 25000}"
            for table, value in zip(tables, (wav, spk, 4 + number % 16, 400 + number % 1600, place), strict=True):
                table.write(f"{spk}-{number:07d}Xy_Qz-00001 {value}\n")
    for speaker in range(speakers):
        (folder / f"id{10000 + speaker}.wav").touch()


def make_mess(data, mess):
    """The same directory with every table out of order, and some utterances missing from one."""
    mess.mkdir()
    for name in TABLES:
        less = 100 if name == "feats.scp" else 0
        command = f"half=$(($(wc -l < '{data / name}') / 2)); tail -n +$half '{data / name}'; head -n $((half - 1 - {less})) '{data / name}'"
        subprocess.run(["bash", "-c", f"{{ {command}; }} > '{mess / name}'"], check=True)


def sort_time(data, *options):
    """-> seconds and MB of GNU sort over all tables; with -c, it only checks the order of the keys"""
    found = []
    for name in TABLES:
        command = f"cut -d' ' -f1 '{data / name}' | sort -uc" if options else f"sort '{data / name}' > '{data.parent}/sorted'"
        found.append(measure(["env", "LC_ALL=C", "bash", "-c", command]))
    return sum(seconds for seconds, _ in found), max(megabytes for _, megabytes in found)


def measure(words):
    """Run a command. -> seconds, MB of its largest process"""
    start = time.monotonic()
    process = subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise Fail(f"{' '.join(map(str, words))}: ended with {os.waitstatus_to_exitcode(status)}")
    return time.monotonic() - start, usage.ru_maxrss / 1024


def show(label, seconds, megabytes, bare, full):
    print(f"{label:28}{seconds:9.2f}{megabytes:7.0f}{seconds / bare:11.1f}{seconds / full:8.1f}")


if __name__ == "__main__":
    run(main)
