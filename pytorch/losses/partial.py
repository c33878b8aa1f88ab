"""A sample of the classes for each step, so that a step with a hundred thousand classes costs what one with thousands does.

An et al., "Partial FC: training 10 million identities on a single machine", ICCV workshops 2021, section 3: classes of the batch always, others at random.
The gradient of the weights is sparse: the rows of the sample. training/optimizers.py updates these rows alone.
"""

import zlib

import torch
from torch import distributed

torch.sparse.check_sparse_tensor_invariants.disable()  # as it is anyway, but torch wants it said and warns otherwise


def sample_classes(targets, num_classes, size, stage, of_whole_batch=False):
    """The classes of a step: all targets', and random others up to `size` (or as many as targets, where these are more).

    targets: (B,) class numbers -> classes: (size,) ascending, the same for the same targets, seed and step on whatever device;
    places: (B,) where each target stands among them. With several processes the targets of all are in, and all have the same sample.
    of_whole_batch: they are of all processes already
    """
    everyones = targets if of_whole_batch else _of_all_processes(targets)
    size = min(num_classes, max(size, len(everyones)))
    chance = torch.Generator().manual_seed(zlib.crc32(f"{stage.seed} {stage.step} classes".encode()))
    rank = torch.rand(num_classes, generator=chance, dtype=torch.float64, pin_memory=targets.is_cuda).to(targets.device, non_blocking=True)
    rank.index_fill_(0, everyones, 2.0)
    classes = rank.topk(size, sorted=False).indices.sort().values
    return classes, torch.searchsorted(classes, targets)


def rows_of(weight, classes):
    """weight: (C, dim); classes: (S,) ascending -> (S, dim), with a sparse gradient for weight"""
    return _Rows.apply(weight, classes)


class _Rows(torch.autograd.Function):
    """What F.embedding(…, sparse=True) does, but with a gradient that is known to be coalesced: no sorting, no waiting for a card to have counted."""

    @staticmethod
    def forward(ctx, weight, classes):
        ctx.save_for_backward(classes)
        ctx.shape = weight.shape
        return weight.index_select(0, classes)

    @staticmethod
    def backward(ctx, gradient):
        (classes,) = ctx.saved_tensors
        return torch.sparse_coo_tensor(classes[None], gradient, ctx.shape, is_coalesced=True, check_invariants=False), None


def _of_all_processes(targets):
    if not (distributed.is_available() and distributed.is_initialized()):
        return targets
    gathered = [torch.empty_like(targets) for _ in range(distributed.get_world_size())]
    distributed.all_gather(gathered, targets)
    return torch.cat(gathered)
