#!/usr/bin/env python3
"""Extraction: seconds of audio embedded a second, beside one utterance after the other.

Plain: each utterance by itself through the network as it was trained, float32. Ours: what steps/extract.py does, batches of like length through the network
without the norms behind its convolutions, 2-D ones channels last; bf16: the same with --precision bf16, on a card, and on a CPU that multiplies it. All take
the same utterances of 2 to 8 s from memory, their features computed before, in turns; the ratio is the median over rounds. Apart: how far an embedding of ours
is from the plain one, at most, as a share of its length.

Reads   nothing
Writes  figures on stdout
e.g.    tests/bench/bench_extraction.py
        tests/bench/bench_extraction.py --device cuda --utterances 2000 --networks xvector resnet34 ecapa1024
"""

import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bench_training import DIM, NETWORKS

from pytorch.program import Parser, positive_int, run


def main():
    parser = Parser(__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["xvector", "ecapa512", "resnet34"], help="networks")
    parser.add_argument("--utterances", type=positive_int, default=40, help="of 2 to 8 s")
    parser.add_argument("--rounds", type=positive_int, default=5, help="of each measurement")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--num-threads", type=positive_int, default=1, help="threads on a CPU")
    args = parser.parse_args()

    import numpy as np
    import torch

    from pytorch.device import choose_device, keep_memory, multiplies_bf16

    device = choose_device(args.device)
    torch.set_num_threads(args.num_threads)
    keep_memory()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {args.num_threads} threads"
    rng = np.random.default_rng(0)
    utterances = [rng.standard_normal((length, DIM), dtype=np.float32) for length in rng.integers(200, 800, args.utterances)]
    seconds = sum(map(len, utterances)) / 100
    print(f"{name}, torch {torch.__version__}, {args.utterances} utterances, {seconds:.0f} s of audio")
    kinds = ["plain", "ours", *(["bf16"] if device.type == "cuda" or multiplies_bf16() else [])]
    columns = ["plain x real time", "ours x real time", "ratio", "apart", *(["bf16 x real time", "bf16 ratio", "bf16 apart"] if len(kinds) > 2 else [])]
    print(f"{'network':11}" + "".join(f"{column:>{len(column) + 2}}" for column in columns))
    for network in args.networks:
        ways = {kind: way_of(kind, network, utterances, device) for kind in kinds}
        vectors = {kind: way() for kind, way in ways.items()}  # and warm
        times = {kind: [] for kind in kinds}
        for _ in range(args.rounds):
            for kind, way in ways.items():
                started = time.perf_counter()
                way()
                times[kind].append(time.perf_counter() - started)
        figures = [f"{seconds / median(times['plain']):.0f}"]
        for kind in kinds[1:]:
            ratio = median(plain / new for plain, new in zip(times["plain"], times[kind], strict=True))
            apart = np.linalg.norm(vectors[kind] - vectors["plain"], axis=1) / np.linalg.norm(vectors["plain"], axis=1)
            figures += [f"{seconds / median(times[kind]):.0f}", f"{ratio:.2f}", f"{apart.max():.0e}"]
        print(f"{network:11}" + "".join(f"{figure:>{len(column) + 2}}" for figure, column in zip(figures, columns, strict=True)), flush=True)


def way_of(kind, network, utterances, device):
    """-> a function of nothing that gives the (N, dim) embeddings"""
    import numpy as np
    import torch

    from pytorch.extraction import Embedder, embed_batch, frames_at_once, plan_batches
    from pytorch.features.front import Front
    from pytorch.models import build_model

    name, model_args = NETWORKS[network]
    torch.manual_seed(0)
    model = build_model(name, DIM, model_args).to(device).eval()
    front = Front("mean")
    lengths = np.array([len(utterance) for utterance in utterances])
    batches = [[index] for index in range(len(utterances))]
    if kind != "plain":
        model = Embedder.of(model, precision="bf16" if kind == "bf16" else "fp32")
        batches = plan_batches(lengths, frames_at_once(None, device), model.masks_padding)

    def embed():
        found = np.zeros((len(utterances), model.embed_dim if kind == "plain" else model.model.embed_dim), np.float32)
        for batch in batches:
            found[batch] = embed_batch(model, [utterances[index] for index in batch], front, device)
        return found

    return embed


if __name__ == "__main__":
    run(main)
