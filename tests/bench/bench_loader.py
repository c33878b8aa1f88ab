#!/usr/bin/env python3
"""Batches of random crops, ready to train on: how many crops a second, beside a plain DataLoader whose Dataset reads whole matrices with kaldiio.

Both read the same archives from the page cache. A plain DataLoader is what one writes first: load_mat, a random crop, batches put together by torch.
A million utterances: how long it takes, and how much memory, from a data directory to the first batch.

Reads   nothing
Writes  figures on stdout; archives in a temporary folder, 0.5 GB, gone afterwards
e.g.    tests/bench/bench_loader.py
        tests/bench/bench_loader.py --utts 500 --seconds 0.5 --million 0
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from pytorch.program import Parser, count, positive_float, positive_int, run

DIM, CROP = 80, 200
SHORTEST, LONGEST = 400, 1200  # frames of an utterance, about VoxCeleb's
KINDS = {"float32": None, "compression method 3": 3}
READERS = (0, 1, 2)


def main():
    parser = Parser(__doc__)
    parser.add_argument("--utts", type=positive_int, default=1000, help="utterances of 400 to 1200 frames and 80 columns")
    parser.add_argument("--batch-size", type=positive_int, default=64, help="crops of 200 frames in a batch")
    parser.add_argument("--seconds", type=positive_float, default=0.5, help="of each measurement; the median of five is shown")
    parser.add_argument("--million", type=count, default=1_000_000, help="utterances of the large data directory; 0: not measured")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the archives are made")
    parser.add_argument("--start", type=Path, help="measure how training begins on this data directory, as a process of its own")
    args = parser.parse_args()
    if args.start:
        start(args.start)
        return
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="bench_loader.") as folder:
        for name, method in KINDS.items():
            write_data(Path(folder) / name, args.utts, method)
        show_rates(Path(folder), args)
        if args.million:
            show_start(Path(folder), args)


def write_data(path, utts, method):
    """A data directory with features."""
    import numpy as np

    from pytorch.data.ark import ArkWriter
    from pytorch.data.data_dir import write_table
    from pytorch.files import write_json

    chance = np.random.default_rng(0)
    lengths = {f"spk{utt % 50:02d}-{utt:07d}": int(length) for utt, length in enumerate(chance.integers(SHORTEST, LONGEST + 1, utts))}
    path.mkdir()
    with ArkWriter(path / "feats.ark", path / "feats.scp", compress=method) as ark:
        for utt, length in lengths.items():
            ark.write(utt, chance.standard_normal((length, DIM), dtype=np.float32))
    write_table(path / "utt2spk", {utt: utt[:5] for utt in lengths})
    write_table(path / "utt2num_frames", lengths)
    write_json(path / "feats.json", {"num_mel_bins": DIM})


# ---- what is measured: each makes an endless iterator over batches


def ours(path, batch_size, num_workers):
    import itertools

    import torch

    from pytorch.training.batches import load_batches

    batches = batches_of(path, "utterance", batch_size)
    return iter(load_batches(batches, zip(itertools.repeat(1), itertools.count()), num_workers, torch.device("cpu")))


def batches_of(path, kind, batch_size):
    import numpy as np

    from pytorch.data.data_dir import DataDir
    from pytorch.data.frames import stored_frames
    from pytorch.training.batches import Batches
    from pytorch.training.sampler import build_sampler

    data = DataDir(path)
    source = stored_frames(data, False)
    number = {spk: place for place, spk in enumerate(data.spk2utt)}
    speakers = np.fromiter((number[spk] for spk in data.utt2spk.values()), np.int64, len(source.utts))
    return Batches(source, speakers, build_sampler(kind, source, batch_size, CROP, CROP, 1, groups=speakers))


def plain(path, batch_size, num_workers):
    import kaldiio
    import numpy as np
    import torch
    from torch.utils.data import DataLoader, Dataset

    class Plain(Dataset):
        def __init__(self):
            lines = (path / "feats.scp").read_text().splitlines()
            self.places = [line.split(None, 1)[1] for line in lines]

        def __len__(self):
            return 1_000_000_000

        def __getitem__(self, number):
            matrix = kaldiio.load_mat(self.places[torch.randint(len(self.places), ()).item()])
            begin = np.random.randint(len(matrix) - CROP + 1)
            return torch.tensor(matrix[begin : begin + CROP]), 0

    return iter(DataLoader(Plain(), batch_size=batch_size, num_workers=num_workers))


def show_rates(folder, args):
    import torch

    torch.set_num_threads(1)
    ways = [(kind, readers, way) for kind in KINDS for readers in READERS for way in (plain, ours)]
    rates = {name: [] for name in ways}
    for _ in range(5):  # in turn, so that what else the machine does falls on all alike
        for kind, readers, way in ways:
            rates[kind, readers, way].append(rate(way(folder / kind, args.batch_size, readers), args))
    medians = {name: median(found) for name, found in rates.items()}
    best = {kind: max(medians[kind, readers, plain] for readers in READERS) for kind in KINDS}
    print(f"crops of {CROP} x {DIM} a second in batches of {args.batch_size}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, this run's included:")
    print(f"  {'':24} {'processes':>9} {'plain':>9} {'ours':>9}   ratio   to the best plain one")
    for kind in KINDS:
        for readers in READERS:
            theirs, own = medians[kind, readers, plain], medians[kind, readers, ours]
            print(f"  {kind:24} {readers or 'in place':>9} {theirs:9,.0f} {own:9,.0f}   {own / theirs:5.1f}   {own / best[kind]:5.1f}")


def rate(batches, args):
    """-> crops a second, once all readers are at work"""
    for _ in range(20):
        next(batches)
    begin, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - begin) < args.seconds:
        next(batches)
        done += 1
    return args.batch_size * done / spent


# ---- a large data directory


def show_start(folder, args):
    small = folder / "float32"
    entries = [line.split(None, 1)[1] for line in (small / "feats.scp").read_text().splitlines()]
    lengths = [line.split()[1] for line in (small / "utt2num_frames").read_text().splitlines()]
    large = folder / "large"
    large.mkdir()
    for name, values in {"feats.scp": entries, "utt2num_frames": lengths, "utt2spk": None}.items():
        with open(large / name, "w") as file:
            for number in range(args.million):
                spk = f"spk{number // 10:06d}"
                file.write(f"{spk}-{number:08d} {values[number % len(values)] if values else spk}\n")
    (large / "feats.json").write_text((small / "feats.json").read_text())
    print(f"\n{args.million} utterances, ten of each speaker, from a data directory to the first batch:", flush=True)
    subprocess.run([sys.executable, __file__, "--start", str(large)], check=True)


def start(path):
    begin = time.perf_counter()
    for kind in ("utterance", "class", "speaker"):
        batches = batches_of(path, kind, 64)
        batches[1, 0]
        seconds = time.perf_counter() - begin
        begin = time.perf_counter()
        for step in range(1, 101):
            batches.sampler.draw(1, step)
        drawn = (time.perf_counter() - begin) / 100
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"  sampler {kind:10} {seconds:6.1f} s, {peak:6.0f} MB (at most, so far), {1e6 * drawn:6.0f} µs to draw a batch of 64", flush=True)
        begin = time.perf_counter()


if __name__ == "__main__":
    run(main)
