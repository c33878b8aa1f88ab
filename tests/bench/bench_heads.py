#!/usr/bin/env python3
"""What a training step costs with heads of many classes: all of them, or a sample in each step.

Writes  a table: milliseconds a step (network, AAM head, clipping, optimiser), least of --repeats turns of all heads, three steps each, and the ratio to the
        first head
e.g.    tests/bench/bench_heads.py --classes 6000,100000 --sampled-classes 6000 --num-threads 1
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from pytorch.program import Parser, count, positive_int, run


def main():
    parser = Parser(__doc__)
    parser.add_argument("--classes", default="6000,100000", help="numbers of classes, the first is what others are compared with")
    parser.add_argument("--sampled-classes", type=positive_int, default=6000, help="classes of a step, for heads with more")
    parser.add_argument("--batch-size", type=positive_int, default=64, help="crops in a batch")
    parser.add_argument("--frames", type=positive_int, default=200, help="length of a crop")
    parser.add_argument("--frame-dim", type=positive_int, default=128, help="width of the network, an x-vector")
    parser.add_argument("--embed-dim", type=positive_int, default=256, help="dimension of what the head classifies")
    parser.add_argument("--optimizer", choices=("adamw", "adam", "sgd", "rmsprop"), default="adamw", help="optimiser")
    parser.add_argument("--repeats", type=positive_int, default=7, help="turns")
    parser.add_argument("--num-threads", type=count, default=0, help="threads; 0: one a core")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where")
    args = parser.parse_args()

    import torch

    if args.num_threads:
        torch.set_num_threads(args.num_threads)
    heads = []
    for classes in map(int, args.classes.split(",")):
        heads.append((classes, 0))
        if args.sampled_classes < classes:
            heads.append((classes, args.sampled_classes))
    steps = {head: make_step(args, *head) for head in heads}
    least = dict.fromkeys(heads, float("inf"))
    for turn in range(args.repeats):
        for head, step in steps.items():
            for place in range(4):
                started = time.perf_counter()
                step(4 * turn + place)
                if args.device == "cuda":
                    torch.cuda.synchronize()
                if place:  # the first finds the caches full of another head
                    least[head] = min(least[head], time.perf_counter() - started)
    print("classes  in a step       ms  ratio")
    for (classes, sampled), seconds in least.items():
        print(f"{classes:7d}  {sampled or 'all':>9}  {1000 * seconds:7.1f}  {seconds / least[heads[0]]:5.2f}")


def make_step(args, classes, sampled):
    """-> step(number), which does one update of a network with a head of its own"""
    import torch

    from pytorch.losses import build_loss
    from pytorch.losses.base import Stage
    from pytorch.models import build_model
    from pytorch.training.optimizers import build_optimizer, clip_gradients, take_step

    torch.manual_seed(1)
    model = build_model("xvector", 80, {"frame_dim": args.frame_dim, "stats_dim": 3 * args.frame_dim, "embed_dim": args.embed_dim}).to(args.device)
    loss = build_loss("aam", args.embed_dim, classes, {"sampled_classes": sampled}).to(args.device)
    weights = [*model.parameters(), *loss.parameters()]
    optimizer = build_optimizer(args.optimizer, weights, 1e-3, 1e-2, 0.9)
    x = torch.randn(args.batch_size, args.frames, 80, device=args.device)

    def step(number):
        targets = torch.randint(classes, (args.batch_size,), generator=torch.Generator().manual_seed(number)).to(args.device)
        value, _ = loss(model(x), targets, Stage(1.0, number, 1))
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        clip_gradients(weights, 5.0)
        take_step(optimizer)

    return step


if __name__ == "__main__":
    run(main)
