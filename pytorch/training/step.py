"""One update: forward, backward, clipping, and the optimiser unless something is not finite. Nothing here waits for a card."""

from collections import deque

import torch

from pytorch.device import autocast
from pytorch.training.optimizers import average_rows, clip_gradients, parts_of_batch, take_step
from pytorch.training.weights import Buffers

LOSS, FIGURE, SEEN, SKIPPED, BAD_IN_A_ROW = range(5)  # of Update.totals


class Update:
    """Updates of a Network by batches.

    front: a Front; average: a RunningAverage or None; processes: a Processes; options: those of steps/train.py
    totals: (5,) float64 on the device: sums of loss and of figures over the examples seen, their number, steps skipped, steps skipped in a row
    """

    def __init__(self, network, front, optimizer, options, device, processes, average=None):
        self.network, self.front, self.optimizer, self.options, self.device, self.average = network, front, optimizer, options, device, average
        self.processes = processes
        self.totals = torch.zeros(5, dtype=torch.float64, device=device)
        self._weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        self.buffers = Buffers(network)
        self._called = processes.wrap(network)

    def __call__(self, x, targets, total, lr, stage, asked=(0, 0, 0)):
        """x, targets: this process's part of a batch of `total` examples, anywhere; lr: of this step; asked: numbers that processes tell one another

        -> float64 on the device: steps skipped in a row; with several processes the largest of what any asked after it
        """
        x, targets = x.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.buffers.keep()
        loss, figure = self.backward(x, targets, total, stage)
        if self.processes.world > 1:
            average_rows(self._weights)
        norm = clip_gradients(self._weights, self.options.clip_grad or float("inf"))
        bad = ~(torch.isfinite(loss) & torch.isfinite(norm))
        if self.processes.world > 1:
            numbers = [torch.full((), number, dtype=torch.float64, device=self.device) for number in asked]  # a copy to a card would wait for it
            told = self.processes.largest(torch.stack([bad.double(), *numbers]))
            bad = told[0] > 0
        good = ~bad
        take_step(self.optimizer, good)
        self.buffers.restore_unless(good)
        if self.average:
            self.average.follow(self.network, stage.step, good)
        self.totals[:3] += torch.where(good, torch.stack([loss.double() * len(targets), figure, torch.full_like(figure, len(targets))]), 0.0)
        self.totals[SKIPPED] += bad
        self.totals[BAD_IN_A_ROW] = torch.where(bad, self.totals[BAD_IN_A_ROW] + 1, 0.0)
        return torch.cat([self.totals[BAD_IN_A_ROW:], told[1:]]) if self.processes.world > 1 else self.totals[BAD_IN_A_ROW:]

    def backward(self, x, targets, total, stage):
        """Gradients of the mean loss of the batch -> it, the sum of the figures of its examples"""
        self.optimizer.zero_grad(set_to_none=True)
        mean, figure = torch.zeros((), device=self.device), torch.zeros((), dtype=torch.float64, device=self.device)
        parts = list(parts_of_batch(x, targets, min(self.options.accumulate, len(targets))))
        for number, (part, wanted, share) in enumerate(parts, 1):
            with self.processes.without_averaging(self._called) if number < len(parts) else torch.enable_grad():
                loss, figures = self.forward(part, wanted, stage)
                mean += share * loss.detach()
                # processes' gradients are averaged: each counts by the examples it has
                (loss * (share * len(targets) * self.processes.world / total)).backward()
            if figures is not None:
                figure += figures.sum()
        return mean, figure

    def forward(self, x, targets, stage):
        """-> loss, figures, as in training"""
        x, _ = self.front(x)
        with autocast(self.device, self.options.precision):
            return self._called(x, targets, stage, len(x) // len(targets))


class News:
    """What a card found out about the last steps, read two steps later so that it has always work queued; on a CPU it is known at once.

    The lag is the same for all processes, so that they act on what they hear at the same step.
    """

    def __init__(self, device):
        self.lag = 2 if device.type == "cuda" else 0
        self._coming = deque()

    def of(self, place, values, asked):
        """place: of a step; values, asked: what Update gave and was given -> [(place, skipped in a row, *asked by any), …] of the steps known by now"""
        if self.lag:
            copy = torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)
            ready = torch.cuda.Event()
            ready.record()
            self._coming.append((place, copy, asked, ready))
        else:
            self._coming.append((place, values, asked, None))
        return self._known(self.lag)

    def rest(self):
        return self._known(0)

    def _known(self, lag):
        known = []
        while len(self._coming) > lag:
            place, values, asked, ready = self._coming.popleft()
            if ready:
                ready.synchronize()
            bad, *others = values.tolist()
            known.append((place, int(bad), *(others or asked)))
        return known
