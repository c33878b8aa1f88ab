"""Batches of crops: what a sampler drew, cut from a source into one array, here or by processes that read ahead."""

import ctypes
import functools
import itertools
import mmap
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from pytorch.program import Fail

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
AHEAD = 4  # batches that each reading process is ahead


class Batches(Dataset):
    """The batches that a Sampler draws of a source (Frames or Waves); item (epoch, step) is a whole batch.

    targets: (N,) or (N, 2), of the utterances of the source
    short: where an utterance is shorter than the crop, "repeat": it goes on from its beginning, however often; "pad": behind its end stand zeros
        (waveforms) or its last frame (features: what is zero after the mean was subtracted is not known yet)
    part: (rank, world), for several processes that share a batch: which of its groups are this one's; rows that belong together stay so

    An item is (x: (rows, length, *row_shape) of the source's dtype, y: (rows / chunks,) or (rows / chunks, 2), indices of the utterances: (rows,)).
    """

    def __init__(self, source, targets, sampler, short="repeat", part=(0, 1)):
        assert short in ("repeat", "pad", "drop") and len(targets) == len(source.lengths)
        self.source, self.targets, self.sampler, self._pads = source, np.asarray(targets), sampler, short == "pad"
        rank, world = part
        num_groups = sampler.batch_size // sampler.together
        if num_groups % world:
            what = "crops" if sampler.together == 1 else f"times {sampler.together} crops that belong together"
            raise Fail(f"a batch of {num_groups} {what} cannot be shared evenly by {world} processes; make it a multiple of {world}")
        self._rows = np.arange(sampler.batch_size).reshape(num_groups, -1)[rank::world].ravel()

    def __getitem__(self, place):
        return tuple(map(torch.from_numpy, self.read(place)))

    @property
    def largest(self):
        """Bytes of the x of the largest batch."""
        return len(self._rows) * self.sampler.max_length * int(np.prod(self.source.row_shape, dtype=int)) * np.dtype(self.source.dtype).itemsize

    def read(self, place, memory=None):
        """An item as arrays, x in `memory` (a buffer of `largest` bytes) where that is given."""
        indices, starts, length = self.sampler.draw(*place)
        indices, starts = indices[self._rows], starts[self._rows]
        x = np.ndarray((len(indices), length, *self.source.row_shape), self.source.dtype, memory)
        for out, index, start, total in zip(x, indices.tolist(), starts.tolist(), self.source.lengths[indices].tolist(), strict=True):
            if total >= length:
                self.source.crop(index, start, out)
            elif self._pads:
                self.source.crop(index, 0, out[:total])
                out[total:] = out[total - 1] if self.source.row_shape else 0
            else:
                out[:] = self.source.whole(index)[(start + np.arange(length)) % total]
        return x, self.targets[indices[:: self.sampler.chunks]], indices


def load_batches(batches, places, num_workers, device):
    """Yield the items of `batches` (a Batches) at `places` [(epoch, step), …], read ahead by num_workers processes (0: none), which start at once.

    What is yielded belongs to the caller. For a card it lies in pinned memory, and the next batch is made ready by a thread meanwhile.
    """
    keep = torch.Tensor.pin_memory if device.type == "cuda" else torch.Tensor.clone
    if num_workers:
        coming = _take(*_start_readers(batches, places, num_workers), keep)
    elif device.type == "cuda":
        coming = (tuple(map(keep, batches[place])) for place in places)
    else:
        coming = (batches[place] for place in places)
    return _one_ahead(coming) if device.type == "cuda" else coming


def _start_readers(batches, places, num_workers):
    """-> an iterator over what the readers answer, the memory they share with this process, the bytes of a slot of it

    A slot for each batch under way and one for that which is being taken. Memory that is used again and again costs a tenth of what
    new shared memory for each batch does, and /dev/shm may be small.
    """
    size = -(-batches.largest // mmap.PAGESIZE) * mmap.PAGESIZE
    slots = num_workers * AHEAD + 1
    memory = mmap.mmap(-1, slots * size)
    loader = DataLoader(
        _Slots(batches, memory, size), batch_size=None, sampler=zip(itertools.cycle(range(slots)), places, strict=False), num_workers=num_workers,
        prefetch_factor=AHEAD, collate_fn=_unchanged, worker_init_fn=functools.partial(_begin_reader, os.getpid()), multiprocessing_context="fork",
        generator=torch.Generator(),  # its seed is not asked of the global one, which the weights depend on
    )  # fmt: skip
    return iter(loader), memory, size


class _Slots(Dataset):
    """What readers do: item (slot, place) puts the batch at a place into a slot of the shared memory."""

    def __init__(self, batches, memory, size):
        self._batches, self._memory, self._size = batches, memoryview(memory), size

    def __getitem__(self, item):
        slot, place = item
        try:
            x, *rest = self._batches.read(place, self._memory[slot * self._size : (slot + 1) * self._size])
        except Fail as error:
            return str(error)
        return slot, x.shape, x.dtype, *rest


def _take(answers, memory, size, keep):
    for answer in answers:
        if isinstance(answer, str):
            break
        slot, shape, dtype, *rest = answer
        x = np.ndarray(shape, dtype, memory, slot * size)
        yield tuple(keep(torch.from_numpy(array)) for array in (x, *rest))
    else:
        return
    del answers  # here and now: the failure would keep the readers until some other thread clears it away, which can take seconds
    raise Fail(answer)


def _one_ahead(coming):
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, coming, None)
        while (batch := following.result()) is not None:
            following = thread.submit(next, coming, None)
            yield batch


def _unchanged(value):
    return value


def _begin_reader(parent, worker):
    """A signal to all processes of a job: the loop ends its step and saves its state, which it could not if its readers fell. They end with it, or soon.

    parent: the process number of the loop. A reader that outlived one that was killed would keep the lock of its experiment for ever: torch's readers
    look every few seconds whether the parent they began with is still there, too late where it was killed before they first looked.
    """
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(8))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
