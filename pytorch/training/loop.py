"""The training loop, read top to bottom."""

import os
import signal
import sys
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import torch

from pytorch.experiment import best_epoch, save_tensors
from pytorch.losses.base import Stage
from pytorch.program import Fail, Terminated
from pytorch.training.batches import load_batches
from pytorch.training.checkpoint import load_state, save_state
from pytorch.training.log import Log, figures_of
from pytorch.training.optimizers import gradient_numbers
from pytorch.training.schedule import lr_at, margin_share, validations_since_best
from pytorch.training.step import BAD_IN_A_ROW, SEEN, SKIPPED, News
from pytorch.training.validation import MEASURES
from pytorch.training.weights import average_epochs

SHOWN_EVERY = 15  # seconds between the lines of an epoch under way

KEPT_BAD = 10  # batches without a finite loss or gradient, of each process


@dataclass
class Progress:
    """Where a training stands; saved with its state. What is not of the rows is of the epoch under way."""

    epoch: int = 1
    step: int = 0  # steps done in this epoch
    totals: list = field(default_factory=lambda: [0.0] * 5)  # see step.py
    seconds: float = 0.0
    waited: float = 0.0  # of the seconds, for data
    audio_sec: float = 0.0  # length of what was seen
    lr: float = 0.0  # of the last step
    margin_share: float = 0.0
    rows: list = field(default_factory=list)  # of train.tsv, one for each finished epoch


def train(folder, update, batches, validation, options):
    """Train by `update` (an Update) on `batches` (a Batches) into the experiment `folder`; goes on from state/ where one is there.

    validation: a Validation or None; options: those of steps/train.py. Of several processes the first writes.
    Writes epoch-NNN.safetensors, train.tsv, tensorboard/ after each epoch, average.safetensors, `best` and `final` at the end. Returns the rows of train.tsv.
    """
    folder, state = Path(folder), Path(folder) / "state" / "state.safetensors"
    network, optimizer, average, device, processes = update.network, update.optimizer, update.average, update.device, update.processes
    followed = average.network if average else network  # what is kept and validated
    progress = Progress()
    if any(processes.of_first([state.exists()])):
        progress = Progress(**load_state(state, network, optimizer, followed if average else None))
        if processes.of_first([progress.epoch, progress.step]) != [progress.epoch, progress.step]:
            raise Fail(f"{state}: process {processes.rank + 1} of {processes.world} reads an older one than the first; start it again")
        if processes.first:
            print(f"going on after epoch {progress.epoch - 1}, step {progress.step}", flush=True)

    def take_up(totals):
        update.totals.copy_(torch.tensor(totals, dtype=torch.float64))  # which is that of the sums: any less would round them

    take_up(progress.totals if processes.first else [0.0] * SKIPPED + progress.totals[SKIPPED:])
    sampler = batches.sampler
    steps = sampler.steps_per_epoch
    total = options.epochs * steps
    done = (progress.epoch - 1) * steps + progress.step
    stop = StopSignal()  # before the readers start, who would take a handler that raises with them
    coming = iter(load_batches(batches, ((n // steps + 1, n % steps) for n in range(done, total)), options.num_workers, device))
    log = Log(folder, network.loss.measure, options.epochs, progress.epoch) if processes.first else None
    news = News(device)
    started = shown = saved = time.monotonic()
    saved_at = shown_at = (0, 0)  # the steps by which the state was saved, a line shown: what was asked for before has been done

    def sums():
        """Of all processes; each has counted the same steps as skipped"""
        return processes.sum(update.totals).tolist()[:SKIPPED] + update.totals.tolist()[SKIPPED:]

    def save():
        progress.totals = sums()
        if processes.first:
            save_state(state, network, optimizer, vars(progress), followed if average else None)
            take_up(progress.totals)
        else:
            update.totals[:SKIPPED] = 0  # they are with the first from now on

    def hear(told):
        """Act on what became known of earlier steps; all processes hear the same at the same step."""
        nonlocal saved, shown, saved_at, shown_at
        for place, bad_in_a_row, stopping, saving, showing in told:
            if bad_in_a_row:
                tell_of_bad(folder, batches, place, bad_in_a_row, options.max_bad_steps, network, processes)
            if stopping:
                save()
                if processes.first:
                    print(f"stopped in epoch {progress.epoch} after step {progress.step}; started again, it goes on from there", file=sys.stderr, flush=True)
                raise Terminated
            if saving and place > saved_at:
                save()
                saved, saved_at = time.monotonic(), (progress.epoch, progress.step - 1)
            if showing and place > shown_at:
                totals = sums()
                shown, shown_at = time.monotonic(), (progress.epoch, progress.step - 1)
                if log:
                    log.line(progress, totals, steps, (shown - started) * (total - global_step - 1) / (global_step + 1 - done))

    while progress.epoch <= options.epochs and not (options.early_stop and has_stalled(progress.rows, validation, options)):
        epoch_started = time.monotonic() - progress.seconds
        while progress.step < steps:
            asked_at = time.monotonic()
            try:
                x, targets, _ = next(coming)
            except RuntimeError:
                if not stop.asked:
                    raise
                # the readers were ended by the same signal; other processes may wait for this one at the step
                coming = iter(load_batches(batches, ((progress.epoch, step) for step in range(progress.step, steps)), 0, device))
                x, targets, _ = next(coming)
            progress.waited += time.monotonic() - asked_at

            global_step = (progress.epoch - 1) * steps + progress.step
            progress.lr = options.lr * lr_at(options, global_step, total, steps, plateau_values(progress.rows, validation, options))
            progress.margin_share = 1.0
            if network.loss.has_margin:
                progress.margin_share = margin_share(global_step / steps, options.margin_warmup_epochs, options.margin_start_epoch, options.margin_shape)
            # dropout and the like depend on seed, step and process alone
            torch.manual_seed(zlib.crc32(f"{options.seed} {global_step}{f' {processes.rank}' * (processes.rank > 0)}".encode()))
            now = time.monotonic()
            asked = (float(bool(stop.asked)), float(0 < options.save_minutes * 60 < now - saved), float(now - shown > SHOWN_EVERY))
            examples = sampler.batch_size // sampler.chunks
            verdict = update(x, targets, examples, progress.lr, Stage(progress.margin_share, global_step, options.seed), asked)
            progress.step += 1
            progress.audio_sec += x.shape[1] * batches.source.sec_per_unit * sampler.batch_size
            progress.seconds = time.monotonic() - epoch_started
            hear(news.of((progress.epoch, progress.step - 1), verdict, asked))

        hear(news.rest())
        totals = sums()
        check_sound(network, progress, totals[SEEN])
        validated = validation and (progress.epoch % options.validate_every == 0 or progress.epoch == options.epochs)
        if validated:  # it may take longer than one who stops us waits
            save()
        row = {"epoch": progress.epoch, "step": progress.step, **figures_of(progress, totals, network.loss.measure, device)}
        row |= dict.fromkeys(validation.columns) if validation else {}
        if validated:
            figures = validation.measure(followed, update.front, device)
            row |= dict(zip(figures, processes.of_first(list(figures.values())), strict=True))  # other machines may round otherwise
        progress.rows.append(row)
        if log:
            log.epoch(progress.rows, (time.monotonic() - started) * (total - progress.epoch * steps) / max(1, progress.epoch * steps - done))
            save_tensors(folder / f"epoch-{progress.epoch:03d}.safetensors", followed.state_dict())
        progress = Progress(epoch=progress.epoch + 1, totals=[0.0] * BAD_IN_A_ROW + totals[BAD_IN_A_ROW:], rows=progress.rows)
        take_up(progress.totals)
        save()
        saved = shown = time.monotonic()
        if log:
            drop_old_epochs(folder, progress.rows, best_of(progress.rows, validation), options.keep_last)

    if log:
        if progress.epoch <= options.epochs:
            print(f"{options.early_stop} validations without a better {validation.select}: the training ends after epoch {progress.epoch - 1}", flush=True)
        log.close()
        if options.average_last:
            write_average(folder, progress.rows, options.average_last)
        log.number("best", best_of(progress.rows, validation))
        log.number("final", progress.epoch - 1)
    return progress.rows


def selected(rows, validation):
    """The figures of validated epochs that choose the best, turned so that less is better"""
    sign = 1 if MEASURES[validation.select] == "lower" else -1
    return [sign * row[f"valid_{validation.select}"] for row in rows]


def has_stalled(rows, validation, options):
    """Whether the last --early-stop validations brought nothing better"""
    return validations_since_best(selected(of_turn(rows, options), validation)) >= options.early_stop


def plateau_values(rows, validation, options):
    """What --schedule plateau judges by: the validations so far, without any the loss of each epoch"""
    return selected(of_turn(rows, options), validation) if validation else [row["loss"] for row in rows]


def of_turn(rows, options):
    """Those of the epochs whose turn validation was by --validate-every. The last epoch is validated without that: it is there to be chosen, and changes
    nothing for a training that goes on from it because more epochs are asked for."""
    return [row for row in rows if row["epoch"] % options.validate_every == 0]


def best_of(rows, validation):
    return best_epoch(rows, f"valid_{validation.select}", MEASURES[validation.select]) if validation else best_epoch(rows)


def write_average(folder, rows, last):
    epochs = [row["epoch"] for row in rows][-last:]
    save_tensors(folder / "average.safetensors", average_epochs([folder / f"epoch-{epoch:03d}.safetensors" for epoch in epochs]))
    print(f"average of epochs {epochs[0]} to {epochs[-1]}: average.safetensors, --epoch average", flush=True)


def drop_old_epochs(folder, rows, best, keep_last):
    """Remove weights beyond the last `keep_last` epochs (0: keep all), never the best."""
    if keep_last:
        for row in rows[:-keep_last]:
            if row["epoch"] != best:
                (folder / f"epoch-{row['epoch']:03d}.safetensors").unlink(missing_ok=True)


def tell_of_bad(folder, batches, place, bad_in_a_row, limit, network, processes):
    """A step's loss or gradient was not finite and it was skipped: its batch is kept; `limit` in a row end the training with the names one needs."""
    x, targets, indices = batches[place]
    utts = sorted({batches.source.utts[index] for index in batches.sampler.draw(*place)[0].tolist()})  # of all processes
    held = ", ".join(utts[:5]) + (", …" if len(utts) > 5 else "")
    kept = folder / "bad" / f"epoch-{place[0]:03d}-step-{place[1] + 1:05d}.rank-{processes.rank}.safetensors"
    said = ""
    if len(list(kept.parent.glob(f"*.rank-{processes.rank}.safetensors"))) < KEPT_BAD:
        save_tensors(kept, {"x": x, "targets": targets}, {"utterances": [batches.source.utts[index] for index in indices.tolist()]})
        said = f"; kept in {kept}"
    if processes.first:
        print(f"epoch {place[0]}, step {place[1] + 1}: loss or gradient not finite, step skipped; it held {held}{said}", file=sys.stderr, flush=True)
    if bad_in_a_row >= limit:
        gradients = {name: gradient_numbers(weight) for name, weight in network.named_parameters() if weight.grad is not None}
        broken = next((name for name, gradient in gradients.items() if not torch.isfinite(gradient).all()), "none")
        raise Fail(
            f"{limit} steps in a row with a loss or gradient that is not finite (first such gradient: {broken}); the last batch held {held}; "
            f"look at these recordings, or lower --lr; the last good epoch is kept"
        )


def check_sound(network, progress, seen):
    """Fail rather than keep the weights of an epoch that came to nothing."""
    remedy = "lower --lr, or look at the features; the epochs before are kept"
    if not seen:
        raise Fail(f"epoch {progress.epoch}: none of its {progress.step} steps had a finite loss and gradient: {remedy}")
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise Fail(f"epoch {progress.epoch}: the values of {name} are not finite any more: {remedy}")


class StopSignal:
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
