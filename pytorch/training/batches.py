"""What a batch holds: crops of one length, drawn by (seed, epoch, step) alone, whatever the number of readers."""

import os
import signal

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset


class Crops(Dataset):
    """Batches of crops of the training features; item (epoch, step) is a whole batch.

    frames: a Frames; targets: (N,) class of each of its utterances; sampler: 'utterance', each once an epoch in random order, or
    'speaker', each speaker as often as any other; min_frames, max_frames: range of the crop length, one length a batch.
    Utterances shorter than the crop are repeated.
    An item is (x: (batch_size, T, dim) float32, y: (batch_size,) int64, indices of the utterances: (batch_size,)).
    """

    def __init__(self, frames, targets, batch_size, min_frames, max_frames, sampler, steps_per_epoch, seed):
        self.frames, self.targets, self.batch_size, self.seed, self.sampler = frames, np.asarray(targets), batch_size, seed, sampler
        self.crop_range = (min_frames, max_frames)
        self.steps_per_epoch = steps_per_epoch or -(-len(self.targets) // batch_size)
        self._of_class = [np.flatnonzero(self.targets == label) for label in range(int(self.targets.max()) + 1)]
        self._order = (None, None)

    def __getitem__(self, place):
        epoch, step = place
        chance = np.random.default_rng([self.seed, epoch, step])
        length = int(chance.integers(self.crop_range[0], self.crop_range[1] + 1))
        indices = self._draw(epoch, step, chance)
        x = np.empty((len(indices), length, self.frames.dim), dtype=np.float32)
        for row, index in enumerate(indices):
            total = int(self.frames.lengths[index])
            if total >= length:
                self.frames.crop(index, int(chance.integers(total - length + 1)), x[row])
            else:
                whole = self.frames.whole(index)
                x[row] = whole[(int(chance.integers(total)) + np.arange(length)) % total]
        return torch.from_numpy(x), torch.from_numpy(self.targets[indices]), torch.from_numpy(indices)

    def _draw(self, epoch, step, chance):
        """The utterances of a batch: a stretch of the epoch's endless shuffled list (of utterances, or of speakers)."""
        stretch = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        items = len(self.targets) if self.sampler == "utterance" else len(self._of_class)
        drawn = np.empty(self.batch_size, dtype=np.int64)
        for turn in np.unique(stretch // items):  # each turn through the list has its own order
            here = stretch // items == turn
            drawn[here] = self._permutation(epoch, int(turn), items)[stretch[here] % items]
        if self.sampler == "utterance":
            return drawn
        return np.array([chance.choice(self._of_class[label]) for label in drawn], dtype=np.int64)

    def _permutation(self, epoch, turn, items):
        if self._order[0] != (epoch, turn):
            self._order = ((epoch, turn), np.random.default_rng([self.seed, epoch, turn, 1]).permutation(items))
        return self._order[1]


def load_batches(crops, places, num_workers, device):
    """A DataLoader over the batches at `places` [(epoch, step), …], read ahead by num_workers processes (0: none)."""
    return DataLoader(
        crops, batch_size=None, sampler=places, num_workers=num_workers, pin_memory=device.type == "cuda",
        prefetch_factor=4 if num_workers else None, worker_init_fn=_outlive_sigterm,
    )  # fmt: skip


def _outlive_sigterm(worker):
    """A signal to all processes of a job: the loop ends its step and saves its state, which it could not if its readers fell. They end with it, or soon."""
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(8))
