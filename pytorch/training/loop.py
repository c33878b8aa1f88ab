"""The training loop, read top to bottom."""

import os
import signal
import sys
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from pytorch.device import autocast
from pytorch.experiment import best_epoch, save_tensors
from pytorch.features.cmvn import subtract_mean
from pytorch.files import whole_file
from pytorch.losses.base import Stage
from pytorch.program import Fail, Terminated
from pytorch.progress import clock
from pytorch.training.batches import load_batches
from pytorch.training.checkpoint import load_state, save_state
from pytorch.training.optimizers import build_optimizer, clip_gradients, gradient_numbers, take_step
from pytorch.training.schedule import lr_share, margin_share, one_cycle_share

COLUMNS = ("epoch", "step", "loss", "accuracy", "lr", "margin_share", "valid_eer", "skipped", "utts_per_sec", "data_wait", "seconds")


@dataclass
class Progress:
    """Where a training stands; saved with its state. The sums are of the epoch under way."""

    epoch: int = 1
    step: int = 0  # steps done in this epoch
    loss: float = 0.0
    correct: int = 0
    seen: int = 0
    skipped: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    bad_in_a_row: int = 0
    lr: float = 0.0  # of the last step
    margin_share: float = 0.0
    rows: list = field(default_factory=list)  # of train.tsv, one for each finished epoch


class Network(nn.Module):
    """Model and loss as one module: their state is saved, moved and optimised together."""

    def __init__(self, model, loss):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, x, targets, stage):
        return self.loss(self.model(x), targets, stage)


def train(folder, network, crops, validation, options, device):
    """Train `network` on `crops` (a Crops) into the experiment `folder`; goes on from state/ where one is there.

    validation: a Validation or None; options: the parsed options of steps/train.py
    Writes epoch-NNN.safetensors, train.tsv, tensorboard/ after each epoch, `best` and `final` at the end. Returns the rows of train.tsv.
    """
    from torch.utils.tensorboard import SummaryWriter

    folder, state = Path(folder), Path(folder) / "state" / "state.safetensors"
    network = network.to(device).train()
    optimizer = build_optimizer(options.optimizer, network.parameters(), options.lr, options.weight_decay, options.momentum)
    progress = Progress()
    if state.exists():
        progress = Progress(**load_state(state, network, optimizer))
        print(f"going on after epoch {progress.epoch - 1}, step {progress.step}", flush=True)
    steps = crops.steps_per_epoch
    total = options.epochs * steps
    done = (progress.epoch - 1) * steps + progress.step
    stop = _StopSignal()  # before the readers start, who would take a handler that raises with them
    batches = iter(load_batches(crops, [(n // steps + 1, n % steps) for n in range(done, total)], options.num_workers, device))
    board = SummaryWriter(folder / "tensorboard", purge_step=progress.epoch)
    buffers = list(network.buffers())
    kept = [buffer.clone() for buffer in buffers]
    started, shown = time.monotonic(), time.monotonic()

    while progress.epoch <= options.epochs:
        epoch_started = time.monotonic() - progress.seconds
        while progress.step < steps:
            asked = time.monotonic()
            try:
                x, targets, utts = next(batches)
            except RuntimeError:
                if not stop.asked:
                    raise
                _stop(state, network, optimizer, progress)  # the readers were ended by the same signal
            progress.waited += time.monotonic() - asked
            x, targets = x.to(device, non_blocking=True), targets.to(device, non_blocking=True)
            if options.cmn == "mean":
                x = subtract_mean(x)

            global_step = (progress.epoch - 1) * steps + progress.step
            progress.lr = options.lr * _lr_share(options, global_step, total)
            for group in optimizer.param_groups:
                group["lr"] = progress.lr
            progress.margin_share = margin_share(global_step / steps, options.margin_warmup_epochs)
            torch.manual_seed(zlib.crc32(f"{options.seed} {global_step}".encode()))  # dropout and the like depend on seed and step alone

            for copy, buffer in zip(kept, buffers, strict=True):  # running statistics, which a step that is skipped must not touch
                copy.copy_(buffer)
            with autocast(device, options.precision):
                loss, right = network(x, targets, Stage(progress.margin_share, global_step, options.seed))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = clip_gradients(network.parameters(), options.clip_grad or float("inf"))
            if torch.isfinite(loss) & torch.isfinite(norm):
                take_step(optimizer)
                progress.loss += loss.item() * len(targets)
                progress.correct += int(right.sum())
                progress.seen += len(targets)
                progress.bad_in_a_row = 0
            else:
                for copy, buffer in zip(kept, buffers, strict=True):
                    buffer.copy_(copy)
                _count_bad(progress, options.max_bad_steps, [crops.frames.utts[index] for index in utts], network, loss)
            progress.step += 1
            progress.seconds = time.monotonic() - epoch_started

            if stop.asked:
                _stop(state, network, optimizer, progress)
            if time.monotonic() - shown > 15:
                left = (time.monotonic() - started) * (total - global_step - 1) / (global_step + 1 - done)
                loss_so_far = progress.loss / max(1, progress.seen)
                print(f"  epoch {progress.epoch}, step {progress.step} of {steps}, loss {loss_so_far:.3f}, {clock(left)} left", flush=True)
                shown = time.monotonic()

        _check_sound(network, progress)
        if validation:  # it may take longer than one who stops us waits
            save_state(state, network, optimizer, vars(progress))
        row = _row(progress)
        row["valid_eer"] = validation.eer(network.model, device) if validation else None
        progress.rows.append(row)
        _report(row, options.epochs, board, (time.monotonic() - started) * (total - progress.epoch * steps) / max(1, progress.epoch * steps - done))
        save_tensors(folder / f"epoch-{progress.epoch:03d}.safetensors", {f"model.{name}": tensor for name, tensor in network.model.state_dict().items()})
        _write_tsv(folder / "train.tsv", progress.rows)
        progress = Progress(epoch=progress.epoch + 1, rows=progress.rows, bad_in_a_row=progress.bad_in_a_row)
        save_state(state, network, optimizer, vars(progress))
        _drop_old_epochs(folder, progress.rows, options.keep_last)
        shown = time.monotonic()

    board.close()
    _write_number(folder / "best", best_epoch(progress.rows))
    _write_number(folder / "final", options.epochs)
    return progress.rows


def _lr_share(options, step, total):
    if options.schedule == "one-cycle":
        return one_cycle_share(step, total, options.pct_start, options.div_factor, options.final_div_factor)
    return lr_share(options.schedule, step, total, options.warmup_steps, options.final_lr_share)


def _stop(state, network, optimizer, progress):
    save_state(state, network, optimizer, vars(progress))
    print(f"stopped in epoch {progress.epoch} after step {progress.step}; started again, it goes on from there", file=sys.stderr, flush=True)
    raise Terminated


def _row(progress):
    seen, seconds = progress.seen, max(1e-9, progress.seconds)
    values = (progress.loss / seen, progress.correct / seen, progress.lr, progress.margin_share, None, progress.skipped)
    return dict(zip(COLUMNS, (progress.epoch, progress.step, *values, progress.seen / seconds, progress.waited / seconds, seconds), strict=True))


def _report(row, epochs, board, left):
    valid = "" if row["valid_eer"] is None else f", valid EER {100 * row['valid_eer']:.2f} %"
    skipped = f", {row['skipped']} steps skipped" if row["skipped"] else ""
    print(
        f"epoch {row['epoch']} of {epochs}: loss {row['loss']:.4f}, accuracy {100 * row['accuracy']:.1f} %, lr {row['lr']:.2e}{valid}{skipped}, "
        f"{row['utts_per_sec']:.0f} utts/s, data wait {100 * row['data_wait']:.0f} %, {clock(left)} left",
        flush=True,
    )
    for name in COLUMNS[2:]:
        if row[name] is not None:
            board.add_scalar(f"train/{name}" if name != "valid_eer" else "valid/eer", row[name], row["epoch"])
    board.flush()


def _write_tsv(path, rows):
    def cell(value):
        return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)

    with whole_file(path) as file:
        file.write("\t".join(COLUMNS) + "\n")
        for row in rows:
            file.write("\t".join(cell(row[name]) for name in COLUMNS) + "\n")


def _write_number(path, number):
    with whole_file(path) as file:
        file.write(f"{number}\n")


def _drop_old_epochs(folder, rows, keep_last):
    """Remove weights beyond the last `keep_last` epochs (0: keep all), never the best."""
    if keep_last:
        best = best_epoch(rows)
        for row in rows[:-keep_last]:
            if row["epoch"] != best:
                (folder / f"epoch-{row['epoch']:03d}.safetensors").unlink(missing_ok=True)


def _count_bad(progress, limit, utts, network, loss):
    """A loss or gradient that is not finite: the step is skipped; `limit` in a row end the training with the names one needs."""
    progress.skipped += 1
    progress.bad_in_a_row += 1
    if progress.bad_in_a_row >= limit:
        gradients = {name: gradient_numbers(weight) for name, weight in network.named_parameters() if weight.grad is not None}
        broken = next((name for name, gradient in gradients.items() if not torch.isfinite(gradient).all()), "none")
        raise Fail(
            f"{limit} steps in a row with a loss or gradient that is not finite (loss {loss.item():.3g}, first such gradient: {broken}); the last batch "
            f"held {', '.join(sorted(set(utts))[:5])}, …; look at these recordings, or lower --lr; the last good epoch is kept"
        )


def _check_sound(network, progress):
    """Fail rather than keep the weights of an epoch that came to nothing."""
    remedy = "lower --lr, or look at the features; the epochs before are kept"
    if not progress.seen:
        raise Fail(f"epoch {progress.epoch}: none of its {progress.step} steps had a finite loss and gradient: {remedy}")
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise Fail(f"epoch {progress.epoch}: the values of {name} are not finite any more: {remedy}")


class _StopSignal:
    """SIGTERM, SIGHUP and Ctrl-C ask the loop to save its state after the step under way; a later one ends the program at once."""

    def __init__(self):
        self.asked = None  # when, seconds
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, self._ask)

    def _ask(self, signum, frame):
        if self.asked and time.monotonic() - self.asked > 3:  # else the same stop: schedulers signal a job, and the runner that passes it on
            os._exit(143)
        self.asked = self.asked or time.monotonic()
