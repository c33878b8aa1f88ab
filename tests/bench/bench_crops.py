#!/usr/bin/env python3
"""Random crops of mapped archives: how many a second, and what memory they take.

Reads   nothing
Writes  figures on stdout; archives in a temporary folder, about 1.2 GB, gone afterwards
e.g.    tests/bench/bench_crops.py
        tests/bench/bench_crops.py --utts 500 --seconds 0.2 --folder /dev/shm
"""

import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from pytorch.program import Parser, positive_float, positive_int, run

DIM, LENGTH, CROP = 80, 300, 200
KINDS = {"float32": {}, **{f"method {method}": {"compress": method} for method in (3, 5, 2)}}  # 1 is 2, or 3 for the shortest; 4, 6, 7 are kept as 3, 5, 5
LIMIT = "numpy.memmap of the same bytes, the limit"
MILLION = 1_000_000


def main():
    parser = Parser(__doc__)
    parser.add_argument("--utts", type=positive_int, default=5000, help="utterances of 300 frames and 80 columns")
    parser.add_argument("--processes", type=positive_int, default=2, help="that crop at the same time")
    parser.add_argument("--seconds", type=positive_float, default=1.0, help="of each measurement; the median of five is shown")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the archives are made")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=args.folder, prefix="bench_crops."))
    try:
        write_archives(folder, args.utts)
        show_rates(folder, args)
        show_cold(folder, args)
        show_memory(folder, args)
    finally:
        shutil.rmtree(folder)


def write_archives(folder, utts):
    import numpy as np

    from pytorch.data.ark import ArkWriter
    from pytorch.data.data_dir import write_table

    print(f"{utts} utterances of {LENGTH} x {DIM} values; written in MB of float32 a second:")
    for kind, options in KINDS.items():
        chance = np.random.default_rng(0)
        start = spent = time.perf_counter()
        with ArkWriter(folder / f"{kind}.ark", folder / f"{kind}.scp", **options) as ark:
            for utt in range(utts):
                matrix = chance.standard_normal((LENGTH, DIM), dtype=np.float32)
                before = time.perf_counter()
                ark.write(f"utt{utt:07d}", matrix)
                spent += time.perf_counter() - before
        print(f"  {kind:10} {utts * LENGTH * DIM * 4 / 1e6 / (spent - start):8.0f}   {os.path.getsize(folder / f'{kind}.ark') / 1e6:.0f} MB")
    places = (folder / "float32.scp").read_text().splitlines()
    write_table(folder / "small.scp", dict(line.split(None, 1) for line in places[: -(-utts // 10)]))
    write_table(folder / "million.scp", {f"spk{utt % 1000:05d}-utt{utt:09d}": f"{folder}/float32.ark:{12 + 96_027 * (utt % utts)}" for utt in range(MILLION)})


# ---- what is measured: each makes a function of (key, start) that gives a crop


def ark_reader(folder, kind):
    from pytorch.data.ark import ArkReader

    reader = ArkReader(folder / f"{kind}.scp")
    return lambda key, start: reader.rows(key, start, CROP)


def ark_reader_into(folder, kind):
    import numpy as np

    from pytorch.data.ark import ArkReader

    reader, out = ArkReader(folder / f"{kind}.scp"), np.empty((CROP, DIM), dtype=np.float32)
    return lambda key, start: reader.rows(key, start, CROP, out)


def kaldiio_range(folder, kind):
    import kaldiio

    places = dict(line.split(None, 1) for line in (folder / f"{kind}.scp").read_text().splitlines())
    return lambda key, start: kaldiio.load_mat(f"{places[key]}[{start}:{start + CROP - 1}]")


def plain_memmap(folder, kind):
    import numpy as np

    places = {line.split()[0]: int(line.rpartition(":")[2]) for line in (folder / f"{kind}.scp").read_text().splitlines()}
    data = np.memmap(folder / f"{kind}.ark", mode="r")
    size = CROP * DIM * 4

    def crop(key, start):
        place = places[key] + 15 + start * DIM * 4
        return np.array(data[place : place + size].view("<f4").reshape(CROP, DIM))

    return crop


def show_rates(folder, args):
    ways = {LIMIT: (plain_memmap, "float32")}
    for kind in KINDS:
        ways |= {f"ArkReader {kind}": (ark_reader, kind), f"kaldiio range {kind}": (kaldiio_range, kind)}
    ways["ArkReader float32, out="] = (ark_reader_into, "float32")
    rates = {name: [] for name in ways}
    for _ in range(5):  # in turn, so that what else the machine does falls on all alike
        for name, (way, kind) in ways.items():
            rates[name].append(rate(way, folder, kind, args))
    medians = {name: [median(column) for column in zip(*found, strict=True)] for name, found in rates.items()}
    print(f"\ncrops of {CROP} x {DIM} from the page cache, {args.processes} processes, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}:")
    print(f"  {'':42} {'a second':>9}   {'a CPU second':>12}   of the limit")
    for name, (wall, cpu) in medians.items():
        theirs = medians.get(name.replace("ArkReader", "kaldiio range").removesuffix(", out="))
        beside = f"   {cpu / theirs[1]:4.1f} x kaldiio" if name.startswith("ArkReader") else ""
        print(f"  {name:42} {wall:9,.0f}   {cpu:12,.0f}   {cpu / medians[LIMIT][1]:12.2f}{beside}")


def rate(way, folder, kind, args):
    """-> crops a second of all processes together, and crops of a second of one core's time"""
    start, found = multiprocessing.Barrier(args.processes), multiprocessing.Queue()
    workers = [multiprocessing.Process(target=crop_along, args=(way, folder, kind, args, seed, start, found)) for seed in range(args.processes)]
    for worker in workers:
        worker.start()
    results = [found.get() for _ in workers]
    for worker in workers:
        worker.join()
    return sum(wall for wall, _ in results), sum(cpu for _, cpu in results) / len(results)


def crop_along(way, folder, kind, args, seed, start, found):
    import numpy as np

    crop = way(folder, kind)
    chance = np.random.default_rng(seed)
    utts = [f"utt{utt:07d}" for utt in chance.integers(0, args.utts, 20_000)]
    starts = chance.integers(0, LENGTH - CROP + 1, 20_000).tolist()
    for utt in range(args.utts):  # each page once, and each header
        crop(f"utt{utt:07d}", 0), crop(f"utt{utt:07d}", LENGTH - CROP)
    start.wait()
    begin, begin_cpu, done = time.perf_counter(), time.process_time(), 0
    while (spent := time.perf_counter() - begin) < args.seconds:
        for place in range(done % 20_000, done % 20_000 + 50):
            crop(utts[place], starts[place])
        done += 50
    found.put((done / spent, done / (time.process_time() - begin_cpu)))


# ---- archives that are not in memory


def show_cold(folder, args):
    from pytorch.data.ark import ArkReader

    reader = ArkReader(folder / "float32.scp")
    for key in reader:  # the headers, as at the start of a training
        reader.shape(key)
    found = {False: [], True: []}
    for seed in range(5):
        for ahead, rates in found.items():
            rates.append(cold_rate(reader, ahead, seed))
    print("\ncrops a second of an archive that is not in memory, one process:")
    print(f"  {'page after page, as they are touched':42} {median(found[False]):9,.0f}")
    print(f"  {'asked for together (archives beyond memory)':42} {median(found[True]):9,.0f}")


def cold_rate(reader, ahead, seed):
    import numpy as np

    reader._maps.clear()  # pages that are mapped stay in memory
    with open(reader.archives()[0], "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    reader._map(0).ahead = ahead
    keys = np.random.default_rng(seed).permutation(list(reader))[:500].tolist()
    begin = time.perf_counter()
    for key in keys:
        reader.rows(key, 50, CROP)
    return len(keys) / (time.perf_counter() - begin)


# ---- memory


def show_memory(folder, args):
    print("\nmemory of a process that has cropped every utterance (RssAnon, less that of one that has opened nothing: the keys):")
    base = resident(None, folder)[0]
    for what, scp in ((f"{-(-args.utts // 10)} utterances", "small"), (f"{args.utts} utterances", "float32")):
        print(f"  {what:42} {resident(scp, folder)[0] - base:9.1f} MB")
    size, spent = resident("million", folder)
    print(f"  {'a million keys, opened only':42} {size - base:9.1f} MB, in {spent:.1f} s")


def resident(scp, folder):
    """-> RssAnon in MB and seconds to open the scp, of a new process"""
    found = multiprocessing.get_context("spawn").Queue()
    worker = multiprocessing.get_context("spawn").Process(target=crop_all, args=(scp, folder, found))
    worker.start()
    result = found.get()
    worker.join()
    return result


def crop_all(scp, folder, found):
    from pytorch.data.ark import ArkReader

    begin = time.perf_counter()
    reader = ArkReader(folder / f"{scp}.scp") if scp else []
    spent = time.perf_counter() - begin
    for key in reader if scp != "million" else []:
        reader.rows(key, 50, CROP)
    status = Path("/proc/self/status").read_text()
    found.put((int(status.partition("RssAnon:")[2].split()[0]) / 1024, spent))


if __name__ == "__main__":
    run(main)
