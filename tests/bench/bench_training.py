#!/usr/bin/env python3
"""A training step, and a training fed from archives: utterances a second, beside the step one writes first.

The plain step: float32, convolutions as torch lays them out, torch's AdamW as it comes, torch's clipping, the loss looked at after each step; in a
process of its own, with memory as glibc manages it. Ours: that of steps/train.py with its defaults: bf16 where the hardware multiplies it, 2-D networks
channels last, fused AdamW, freed memory kept. Both take the same batch from memory, in turns; the ratio is the median over rounds. Of matrix rate: 6
operations for each multiplication of the forward pass, a second, as a share of what the device's matrix units do: on a card by its data sheet, on a CPU by
the best of torch's own products and convolutions here, at the precision of ours. At most: the ratio if ours reached that rate. Fed: ours, with crops cut from
an archive in the page cache, and the share of the time that it waits for them; busy: how much of the unfed rate is left.

Reads   nothing
Writes  figures on stdout; an archive in a temporary folder, gone afterwards
e.g.    tests/bench/bench_training.py
        tests/bench/bench_training.py --device cuda --batch-size 256 --num-workers 8 --compile true --networks xvector resnet34 ecapa1024
"""

import argparse
import contextlib
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from pytorch.program import Parser, boolean, count, positive_float, positive_int, run

NETWORKS = {
    "xvector": ("xvector", {}),
    "ecapa512": ("ecapa", {"channels": "512"}),
    "ecapa1024": ("ecapa", {"channels": "1024"}),
    "resnet34": ("resnet", {}),
}
DIM, FRAMES, SPEAKERS = 80, 200, 6000
PEAK = {"NVIDIA H200": 989e12, "NVIDIA H100": 989e12, "NVIDIA A100": 312e12}  # bf16 operations a second, dense, by their data sheets


def main():
    parser = Parser(__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["xvector", "ecapa512", "resnet34"], help="networks")
    parser.add_argument("--batch-size", type=positive_int, default=32, help="crops of 200 frames and 80 columns")
    parser.add_argument("--rounds", type=positive_int, default=5, help="of each measurement")
    parser.add_argument("--seconds", type=positive_float, default=2.0, help="of a turn, and at least two steps")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--num-workers", type=count, default=0, help="processes that read, when fed")
    parser.add_argument("--num-threads", type=count, default=0, help="threads on a CPU; 0: one a core")
    parser.add_argument("--compile", type=boolean, default=False, help="torch.compile ours")
    args = parser.parse_args()

    import torch

    from pytorch.device import choose_device, keep_memory

    device = choose_device(args.device)
    if args.num_threads:
        torch.set_num_threads(args.num_threads)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}, torch {torch.__version__}, {args.batch_size} x {FRAMES} x {DIM}, {SPEAKERS} speakers")
    keep_memory()
    rate = PEAK.get(name.split(" NVL")[0]) if device.type == "cuda" else matrix_rate()
    print(f"matrix rate {rate / 1e9:.0f} GFLOP/s" if rate else "matrix rate unknown")
    columns = ("plain ms", "ours ms", "ratio", "at most", "of matrix rate", "utts/s", "fed utts/s", "data wait", "busy")
    print(f"{'network':11}" + "".join(f"{column:>{len(column) + 2}}" for column in columns))
    with tempfile.TemporaryDirectory(prefix="bench_training.") as folder, PlainSteps(args) as plain_steps:
        batches = batches_of(Path(folder), args.batch_size)
        for network in args.networks:
            step = steps_of(network, args, device, ours=True)
            plain, times = [], []
            for _ in range(args.rounds):
                plain.append(plain_steps.seconds(network))
                times.append(seconds_a_step(step, args, device))
            fed, waited = fed_rate(step, batches, args, device)
            unfed = args.batch_size / median(times)
            shortest = 6 * macs_of(network) * args.batch_size / rate if rate else float("nan")
            figures = (
                f"{1e3 * median(plain):.0f}", f"{1e3 * median(times):.0f}", f"{median(a / b for a, b in zip(plain, times, strict=True)):.2f}",
                f"{median(plain) / shortest:.2f}", f"{100 * shortest / median(times):.0f} %", f"{unfed:.0f}", f"{fed:.0f}", f"{100 * waited:.1f} %",
                f"{100 * fed / unfed:.0f} %",
            )  # fmt: skip
            print(f"{network:11}" + "".join(f"{figure:>{len(column) + 2}}" for figure, column in zip(figures, columns, strict=True)), flush=True)


class PlainSteps:
    """A process that runs plain steps when it is asked to"""

    def __init__(self, args):
        spawn = multiprocessing.get_context("spawn")
        self.ends, other = spawn.Pipe()
        self.process = spawn.Process(target=run_plain_steps, args=(args, other), daemon=True)
        self.process.start()

    def seconds(self, network):
        self.ends.send(network)
        return self.ends.recv()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.terminate()
        self.process.join()


def run_plain_steps(args, asked):
    import torch

    from pytorch.device import choose_device

    device = choose_device(args.device)
    if args.num_threads:
        torch.set_num_threads(args.num_threads)
    kept = {}
    while True:
        network = asked.recv()
        if network not in kept:
            kept = {network: steps_of(network, args, device, ours=False)}
        asked.send(seconds_a_step(kept[network], args, device))


def matrix_rate():
    """-> operations a second of the best of torch's products and convolutions, in bf16 where the hardware multiplies it"""
    import torch
    import torch.nn.functional as F

    from pytorch.device import multiplies_bf16

    dtype = torch.bfloat16 if multiplies_bf16() else torch.float32
    square = torch.randn(1024, 1024).to(dtype)
    maps = torch.randn(32, 256, 8, 25).to(dtype, memory_format=torch.channels_last)
    kernels = torch.randn(256, 256, 3, 3).to(dtype, memory_format=torch.channels_last)
    kinds = ((lambda: square @ square, 2 * 1024**3), (lambda: F.conv2d(maps, kernels), 2 * 32 * 6 * 23 * 256 * 256 * 9))
    best = 0.0
    with torch.inference_mode():
        for _ in range(30):
            for compute, operations in kinds:
                began = time.perf_counter()
                compute()
                best = max(best, operations / (time.perf_counter() - began))
    return best


def steps_of(name, args, device, ours):
    """-> step(x, y) on the device"""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from pytorch.losses import build_loss
    from pytorch.models import build_model
    from pytorch.network import Network

    torch.manual_seed(0)
    network, model_args = NETWORKS[name]
    model = build_model(network, DIM, model_args)
    model.eval()
    with torch.no_grad():
        in_dim = model(torch.zeros(1, FRAMES, DIM)).shape[1]
    if not ours:
        head = nn.Parameter(nn.init.xavier_normal_(torch.empty(SPEAKERS, in_dim)).to(device))
        model.to(device).train()
        weights = [*model.parameters(), head]
        optimizer = torch.optim.AdamW(weights, 1e-3)

        def plain(x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(30 * F.linear(F.normalize(model(x)), F.normalize(head)), y)
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 5.0)
            optimizer.step()
            loss.item()

        return plain

    from pytorch.device import channels_last, compile_model
    from pytorch.features.front import Front
    from pytorch.losses.base import Stage
    from pytorch.training.assemble import update_of
    from pytorch.training.parallel import Processes

    if channels_last(model, device, "auto"):
        model.to(memory_format=torch.channels_last)
    if args.compile:
        compile_model(model)
    options = argparse.Namespace(freeze=[], optimizer="adamw", lr=1e-3, weight_decay=1e-2, momentum=0.9, ema=0.0, accumulate=1, clip_grad=5.0, precision="auto")
    training = argparse.Namespace(network=Network(model, build_loss("aam", in_dim, SPEAKERS, {})).to(device), front=Front("none"))
    update = update_of(training, options, device, Processes())
    return lambda x, y: update(x, y, len(y), 1e-3, Stage())


def seconds_a_step(step, args, device):
    import torch

    chance = torch.Generator().manual_seed(0)
    x = torch.randn(args.batch_size, FRAMES, DIM, generator=chance).to(device)
    y = torch.randint(SPEAKERS, (args.batch_size,), generator=chance).to(device)
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    step(x, y)
    wait()
    began, done = time.perf_counter(), 0
    while done < 2 or time.perf_counter() - began < args.seconds:
        for _ in range(10 if device.type == "cuda" else 1):
            step(x, y)
            done += 1
        wait()
    return (time.perf_counter() - began) / done


def batches_of(folder, batch_size):
    """Batches of an archive of 600 utterances, as steps/make_feats.py writes it"""
    import numpy as np

    from pytorch.data.ark import ArkWriter
    from pytorch.data.data_dir import DataDir, write_data_dir, write_table
    from pytorch.data.frames import stored_frames
    from pytorch.files import write_json
    from pytorch.training.batches import Batches
    from pytorch.training.sampler import build_sampler

    chance = np.random.default_rng(0)
    lengths = {f"s{utt % 50:02d}-{utt:04d}": int(chance.integers(400, 1200)) for utt in range(600)}
    write_data_dir(folder, {utt: f"/nowhere/{utt}.wav" for utt in lengths}, {utt: utt[:3] for utt in lengths})
    with ArkWriter(folder / "feats.ark", folder / "feats.scp", compress=3) as ark:
        for utt in sorted(lengths):
            ark.write(utt, chance.standard_normal((lengths[utt], DIM), dtype=np.float32))
    write_table(folder / "utt2num_frames", {utt: str(length) for utt, length in lengths.items()})
    write_json(folder / "feats.json", {"frame_shift": 10.0})
    frames = stored_frames(DataDir(folder), False)
    targets = chance.integers(0, SPEAKERS, len(lengths))
    return Batches(frames, targets, build_sampler("utterance", frames, batch_size, FRAMES, FRAMES, 1, steps_per_epoch=10**6))


def fed_rate(step, batches, args, device):
    """-> utterances a second, the share of the time spent waiting for batches"""
    import torch

    from pytorch.training.batches import load_batches

    coming = load_batches(batches, ((1, number) for number in range(10**6)), args.num_workers, device)
    with contextlib.closing(coming) if hasattr(coming, "close") else contextlib.nullcontext():
        waited, done, began = 0.0, -2, 0.0  # two to begin with
        while done < 3 or time.perf_counter() - began < 3 * args.seconds:
            if done == 0:
                waited = 0.0
                began = time.perf_counter()
            asked = time.perf_counter()
            x, y, _ = next(coming)
            waited += time.perf_counter() - asked
            step(x, y)
            done += 1
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
    return args.batch_size * done / seconds, waited / seconds


def macs_of(name):
    from pytorch.models import build_model
    from pytorch.models.describe import total_macs

    network, model_args = NETWORKS[name]
    return total_macs(build_model(network, DIM, model_args), DIM, FRAMES)


if __name__ == "__main__":
    run(main)
