"""What all losses share: their face, their precision, what they know of the training besides a batch."""

from dataclasses import dataclass

import torch
from torch import distributed, nn


@dataclass(frozen=True)
class Stage:
    """Where a training stands, as far as a loss may depend on it: a function of the options and the step alone, the same when resumed."""

    margin_share: float = 1.0  # the margin as a share of its final value
    step: int = 0  # updates done, over all epochs
    seed: int = 0


AT_THE_END = Stage()  # full margin


class Loss(nn.Module):
    """A loss over a batch of network outputs, computed in float32 at least whatever the network's precision.

    `measure` names the figure of each example that comes beside the loss: 'accuracy' (1 where its class was right, else 0), 'error' (absolute, in the
    unit of the targets), or None where there is none: then accuracy is left empty, and what was learnt is seen on trials alone.
    `needs_pairs`: a batch teaches nothing unless several of its examples are of one class.
    `of_whole_batch`: the loss of a batch is not the mean of those of its parts; each of the processes that share a batch then computes it over all of it.
    """

    measure = "accuracy"
    needs_pairs = False
    of_whole_batch = False
    has_margin = False  # that grows with the stage's margin_share
    scores_are_logits = True  # of losses over classes: their cross-entropy is what a softmax would cost

    def fit(self, targets):
        """targets: (N,) of the training data. Learn what must be known of them before the first step: nothing, unless a loss says otherwise."""

    def forward(self, x, targets, stage=AT_THE_END):
        """x: (B, in_dim); targets: (B,) class numbers or values -> mean loss, (B,) figures of what `measure` names or None"""
        with torch.autocast(x.device.type, enabled=False):
            x = _float(x)
            if not (self.of_whole_batch and torch.is_grad_enabled() and distributed.is_available() and distributed.is_initialized()):
                return self._loss(x, targets, stage)
            loss, figures = self._loss(_Gathered.apply(x), _gathered(targets), stage)
            return loss, None if figures is None else _own(figures, len(x))

    def scores(self, x):
        """x: (B, in_dim) -> (B, num_classes): logits, or cosines without margin and scale; for losses over classes"""
        with torch.autocast(x.device.type, enabled=False):
            return self._scores(_float(x))

    def predict(self, x):
        """x: (B, in_dim) -> (B,) the class number, or the value, that each is taken for; not for losses without a measure"""
        return self.scores(x).argmax(1)


def hits(scores, targets):
    """(B, classes), (B,) -> (B,) float: 1 where the highest score is the target's"""
    return (scores.argmax(1) == targets).float()


class _Gathered(torch.autograd.Function):
    """(B, dim) of each process -> (world B, dim), all of them, one process after the other.

    Every process computes the same loss of it, so that each knows the gradient of its own rows without asking the others. It is taken `world` times,
    because the gradients that processes make of it in what lies before are averaged.
    """

    @staticmethod
    def forward(ctx, x):
        ctx.rows = len(x)
        return _gathered(x)

    @staticmethod
    def backward(ctx, gradient):
        return _own(gradient, ctx.rows) * distributed.get_world_size()


def _gathered(x):
    parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, x.detach().contiguous())
    return torch.cat(parts)


def _own(gathered, rows):
    return gathered[distributed.get_rank() * rows :][:rows]


def _float(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))
