#!/usr/bin/env python3
"""Show a network as a table: layer, output, parameters, multiplications, what a value sees; and how fast steps/extract.py embeds with it.

Multiplications (each with an addition) are those of convolutions, matrices and attention, for one utterance.
`sees` counts frames of the features (samples of a waveform); * stands where the whole utterance counts too, by a gate, a norm or attention.

Reads   <exp>/model.json     where an experiment is named instead of a network
e.g.    utils/show_model.py ecapa --model-args channels=1024
        utils/show_model.py exp/xvector
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.experiment import Experiment
from pytorch.models import MODELS, ON_WAVES, build_model, network_class, parse_model_args
from pytorch.program import Fail, Parser, boolean, count, positive_int, run

SECONDS = 2  # of an utterance, where --frames does not say otherwise
SHIFT, RATE = 0.01, 16000  # seconds from frame to frame, samples a second
MOST = 10**8  # values of an utterance


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("model", help="name of a network, or an experiment directory")
    parser.add_argument("--model-args", default="", help="arguments of the network, 'name=value name=value'; a wrong one lists them all")
    parser.add_argument("--feat-dim", type=positive_int, default=80, help="columns of the features; waveforms have one")
    parser.add_argument("--frames", type=count, default=0, help="length of the utterance in frames (samples of a waveform); 0: two seconds")
    parser.add_argument("--rate", type=boolean, default=True, help="measure how fast it embeds, on the CPU and on a card where there is one")
    parser.add_argument("--batch-size", type=count, default=0, help="utterances at a time, for the rate; 0: as many as steps/extract.py takes")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="precision, for the rate")
    parser.add_argument("--num-threads", type=positive_int, default=1, help="threads on the CPU, for the rate")
    return parser.parse_args()


def main():
    args = parse_args()
    name, feat_dim, model_args = asked_for(args)
    if (1 if name in ON_WAVES else feat_dim) * max(args.frames, int(SECONDS / SHIFT)) > MOST:
        raise Fail(f"--frames, --feat-dim: {MOST:,} values at most can be looked at")

    import torch

    from pytorch.models.describe import describe

    with torch.device("meta"):  # shapes alone
        model = build(name, feat_dim, model_args)
    feat_dim = 1 if model.input == "wave" else feat_dim
    frames = args.frames or (SECONDS * RATE if model.input == "wave" else int(SECONDS / SHIFT))
    if frames < model.min_frames:
        raise Fail(f"--frames {frames}: {name} needs {model.min_frames} or more")
    rows = describe(model, feat_dim, frames)
    print(f"{headline(name, model, rows, feat_dim, frames)}\n")
    print_table(rows)
    if args.rate:
        torch.set_num_threads(args.num_threads)
        print()
        for device in [torch.device("cpu")] + [torch.device("cuda")] * torch.cuda.is_available():
            print(measured(build(name, feat_dim, model_args), args, device, feat_dim, frames))


def asked_for(args):
    """-> name, feat_dim, arguments of the network"""
    if args.model in MODELS:
        return args.model, args.feat_dim, parse_model_args(args.model_args)
    if not (Path(args.model) / "model.json").is_file() and not Path(args.model).is_file():
        raise Fail(f"{args.model}: no network, and no experiment; the networks are {', '.join(MODELS)}")
    if args.model_args:
        raise Fail(f"--model-args: {args.model} has its own")
    settings = Experiment(args.model).settings
    return settings["model"], settings["feat_dim"], settings["args"]


def build(name, feat_dim, model_args):
    return build_model(name, 1 if network_class(name).input == "wave" else feat_dim, model_args)


def headline(name, model, rows, feat_dim, frames):
    parameters = sum(weight.numel() for weight in model.parameters())
    later = parameters - sum(row.parameters for row in rows)
    later = f" ({later:,} of them after the embedding, for the loss)" if later else ""
    macs = sum(row.macs for row in rows) / 1e6
    what = f"{frames} samples" if model.input == "wave" else f"{frames} frames of {feat_dim} columns"
    padding = "padding is left out exactly" if model.masks_padding else "batches need utterances of one length"
    layers = f", taken from {model.output} of {', '.join(model.layers)}" if len(model.layers) > 1 else ""
    return (
        f"{name}: {parameters:,} parameters{later}, {macs:,.2f} million multiplications for {what}\n"
        f"embeddings of {model.embed_dim}{layers}; least length {model.min_frames}; {padding}"
    )


def print_table(rows):
    lines = [("layer", "kind", "output", "parameters", "MMAC", "sees")]
    for row in rows:
        sees = "all" if row.pooled else f"{row.field:,}{' *' if row.whole else ''}"
        lines.append((row.name, row.kind, " x ".join(map(str, row.shape)), f"{row.parameters:,}", f"{row.macs / 1e6:,.2f}", sees))
    lines.append(("", "", "", f"{sum(row.parameters for row in rows):,}", f"{sum(row.macs for row in rows) / 1e6:,.2f}", ""))
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    for line in lines:
        left = "  ".join(cell.ljust(width) for cell, width in zip(line[:3], widths, strict=False))
        right = "  ".join(cell.rjust(width) for cell, width in zip(line[3:5], widths[3:], strict=False))
        print(f"{left}  {right}  {line[5]}".rstrip())


def measured(model, args, device, feat_dim, frames):
    """The best of the passes, as steps/extract.py makes them, that fit into a second or two, at least two."""
    import time

    import torch

    from pytorch.device import keep_memory
    from pytorch.extraction import Embedder, frames_at_once

    keep_memory()
    is_wave = model.input == "wave"
    seconds = frames / RATE if is_wave else frames * SHIFT
    batch = args.batch_size or max(1, int(frames_at_once(None, device) * SHIFT / seconds))
    embedder = Embedder.of(model.eval().to(device), precision=args.precision)
    x = torch.randn(batch, frames, feat_dim, device=device) * (1000 if is_wave else 1)
    times, started = [], time.monotonic()
    with torch.inference_mode():
        while len(times) < 3 or time.monotonic() - started < 1.5:
            before = time.monotonic()
            embedder.embed(x).float().cpu()
            times.append(time.monotonic() - before)
    rate = batch / min(times[1:])
    where = f"{args.num_threads} thread{'s' * (args.num_threads > 1)}" if device.type == "cpu" else torch.cuda.get_device_name(device)
    return f"{device.type} ({where}, {args.precision}, {batch} at a time): {rate:,.1f} embeddings a second, {rate * seconds:,.0f} times real time"


if __name__ == "__main__":
    run(main)
