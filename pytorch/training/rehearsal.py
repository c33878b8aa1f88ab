"""Before the first epoch: does the largest batch fit, does the loss begin where it should; and the learning rate range test."""

import math
import zlib

import torch
import torch.nn.functional as F

from pytorch.device import autocast
from pytorch.files import whole_file
from pytorch.losses.base import Stage
from pytorch.training.schedule import range_test_lr, suggest_lr
from pytorch.training.step import LOSS, SEEN

RECENT = 10  # steps of a range test over whose mean loss it is decided whether it has gone far enough: that of one batch says little


def rehearse(update, batches):
    """Forward and backward through the largest batch there can be, which leaves no trace: out of memory is known now, not hours later.

    -> the loss at margin 0 and scale 1, the cross-entropy of the bare scores, which begins near log(classes); None for losses not over classes
    """
    network, sampler = update.network, batches.sampler
    x, targets, _ = batches[1, 0]
    longest = -(-sampler.max_length // x.shape[1])
    x = x.repeat(1, longest, *[1] * (x.dim() - 2))[:, : sampler.max_length].to(update.device)
    targets = targets.to(update.device)
    update.buffers.keep()
    update.backward(x, targets, sampler.batch_size // sampler.chunks, Stage(0.0, 0, 0))
    start = None
    if network.loss.measure == "accuracy" and network.loss.scores_are_logits:
        with torch.no_grad(), autocast(update.device, update.options.precision):
            rows = slice(0, len(x), sampler.chunks)
            scores = network.loss.scores(network.model(update.front(x[rows])[0]))
        start = F.cross_entropy(scores.float(), (targets if targets.dim() == 1 else targets[:, 0]).long())
        start = update.processes.sum(start).item() / update.processes.world
    update.optimizer.zero_grad(set_to_none=True)
    update.buffers.restore_unless(torch.zeros((), dtype=torch.bool, device=update.device))
    return start


def range_test(path, update, batches, seed, steps):
    """Learning rates from 1e-6 to 10, a step each, until the loss, over some steps, is four times its least.

    Smith, WACV 2017, section 3.3. Writes a table `lr loss` to path -> the suggested peak, None where the loss fell nowhere; the same in all processes. The
    network is spoilt afterwards.
    """
    lrs, losses, least = [range_test_lr(step, steps) for step in range(steps)], [], math.inf
    sampler, processes = batches.sampler, update.processes
    for step, lr in enumerate(lrs):
        torch.manual_seed(zlib.crc32(f"{seed} {step}".encode()))
        x, targets, _ = batches[step // sampler.steps_per_epoch + 1, step % sampler.steps_per_epoch]
        update.totals.zero_()
        update(x, targets, sampler.batch_size // sampler.chunks, lr, Stage(0.0, step, seed))
        totals = processes.sum(update.totals).tolist()
        losses.append(totals[LOSS] / totals[SEEN] if totals[SEEN] else math.inf)
        recent = sum(losses[-RECENT:]) / RECENT if len(losses) >= RECENT else math.inf
        least = min(least, recent)
        if losses[-1] == math.inf or recent > 4 * least:
            break
    if not processes.first:
        return suggest_lr(lrs, losses)
    with whole_file(path) as file:
        file.write("lr\tloss\n")
        file.writelines(f"{lr:.6g}\t{loss:.6g}\n" for lr, loss in zip(lrs, losses, strict=False))
    return suggest_lr(lrs, losses)
