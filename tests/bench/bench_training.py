#!/usr/bin/env python3
"""A training step, and a training fed from archives: utterances a second, beside the step one writes first.

The plain step: float32, convolutions as torch lays them out, torch's AdamW as it comes, torch's clipping, the loss looked at after each step.
Ours: that of steps/train.py with its defaults: bf16 where the hardware multiplies it, 2-D networks channels last, fused AdamW, freed memory kept.
Both take the same batches from memory, in one process in which freed memory is kept, which helps the plain step too; the ratio is the median over rounds in
which each has its turn. Fed: ours, with crops cut from an archive in the
page cache, and the share of the time that it waits for them. With a card: the share of its matrix rate (6 operations for each multiplication of the
forward pass) and how much of the unfed rate is left when fed, which is how busy the card is.

Reads   nothing
Writes  figures on stdout; an archive in a temporary folder, gone afterwards
e.g.    tests/bench/bench_training.py
        tests/bench/bench_training.py --device cuda --batch-size 256 --num-workers 8 --compile true --networks xvector resnet34 ecapa1024
"""

import argparse
import contextlib
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
    print(f"{'network':12}{'plain ms':>10}{'ours ms':>10}{'ratio':>7}{'utts/s':>9}{'fed utts/s':>12}{'data wait':>11}{'of matrix rate':>16}{'busy':>7}")
    plain_steps = {network: steps_of(network, args, device, ours=False) for network in args.networks}
    with tempfile.TemporaryDirectory(prefix="bench_training.") as folder:
        batches = batches_of(Path(folder), args.batch_size)
        for network in args.networks:
            plain = [seconds_a_step(plain_steps[network], args, device) for _ in range(2)]  # before glibc is told to keep memory
            step = steps_of(network, args, device, ours=True)
            keep_memory()
            ratios, times = [], []
            for _ in range(args.rounds):
                plain.append(seconds_a_step(plain_steps[network], args, device))
                times.append(seconds_a_step(step, args, device))
                ratios.append(plain[-1] / times[-1])
            fed, waited = fed_rate(step, batches, args, device)
            unfed = args.batch_size / median(times)
            share = f"{100 * 6 * macs_of(network) * unfed / PEAK[name.split(' NVL')[0]]:.0f} %" if name.split(" NVL")[0] in PEAK else "-"
            print(
                f"{network:12}{1e3 * median(plain):10.0f}{1e3 * median(times):10.0f}{median(ratios):7.2f}{unfed:9.0f}{fed:12.0f}{100 * waited:9.1f} %"
                f"{share:>16}{100 * fed / unfed:5.0f} %",
                flush=True,
            )


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
