"""Normalisation of features by the mean, and the deviation, of an utterance or of a window that slides along it."""

from dataclasses import dataclass

import torch

LEAST_STD = 0.01  # of a column that is divided by its standard deviation over the utterance
LEAST_VARIANCE = 1e-10  # in a sliding window; Kaldi's


def subtract_mean(x, lengths=None, norm_vars=False):
    """Subtract from each utterance the mean of its frames.

    x: (..., T, dim); lengths: (B,) frames of each of (B, T, dim), the rest is padding and becomes 0
    norm_vars: divide by the standard deviation too; columns whose deviation is not above LEAST_STD are not divided
    Returns the shape of x.
    """
    if lengths is None:
        mask, frames = 1, x.shape[-2]
        x = x - x.mean(-2, keepdim=True)
    else:
        mask = (torch.arange(x.shape[1], device=x.device) < lengths[:, None]).unsqueeze(2)  # (B, T, 1)
        frames = lengths[:, None, None]
        x = x * mask
        x = (x - x.sum(1, keepdim=True) / frames) * mask
    if norm_vars:
        std = (x.square().sum(-2, keepdim=True) / frames).sqrt()
        x = x / torch.where(std > LEAST_STD, std, 1.0)
    return x


@dataclass(frozen=True)
class SlidingCmn:
    """Kaldi's apply-cmvn-sliding: subtract the mean of the frames in a window around each frame, or up to it.

    window: frames; center: the window lies around the frame, moved inward at the edges; otherwise it is the frame and `window` before it
    min_window: frames that a window which is not centred has at least, taken from what follows
    norm_vars: divide by the window's standard deviation too

    cmn(x): (T, dim) -> (T, dim)
    cmn.crop(rows, start, num, total): frames start to start + num of a longer x, of which only what is needed is read
    Sums run in double precision.
    """

    window: int = 600
    center: bool = False
    min_window: int = 100
    norm_vars: bool = False

    def __call__(self, x):
        return self.crop(lambda start, num: x[start : start + num], 0, len(x), len(x))

    def crop(self, rows, start, num, total):
        """rows(first, num): reads frames first to first + num of an utterance with `total` frames -> (num, dim) tensor or array."""
        if num == 0:
            return torch.as_tensor(rows(start, 0))
        first, last = self.bounds(torch.arange(start, start + num), total)
        begin, end = min(int(first[0]), start), max(int(last[-1]), start + num)
        x = torch.as_tensor(rows(begin, end - begin))
        return self._normalise(x, slice(start - begin, start - begin + num), (first - begin).to(x.device), (last - begin).to(x.device))

    def bounds(self, frames, total):
        """The windows [first, last) of frames, by Kaldi's rules. frames: (num,) int64 -> two of (num,), both increasing."""
        if self.center:
            first = frames - self.window // 2
            last = first + self.window
        else:
            first, last = frames - self.window, frames + 1
        last = last - first.clamp(max=0)
        first = first.clamp(min=0)
        if not self.center:
            last = torch.where(last > frames, (frames + 1).clamp(min=self.min_window), last)
        over = (last - total).clamp(min=0)
        return (first - over).clamp(min=0), last - over

    def _normalise(self, x, rows, first, last):
        origin = x.mean(0)  # sums of small numbers are exacter
        x = x - origin
        count = (last - first).unsqueeze(1)
        mean = _window_sums(x, first, last) / count
        centred = x[rows] - mean
        if self.norm_vars:
            variance = (_window_sums(x.double().square(), first, last) / count - mean.square()).clamp(min=LEAST_VARIANCE)
            centred = torch.where(count > 1, centred * variance.rsqrt(), 0.0)
        return centred.float()


def _window_sums(x, first, last):
    """Sums of the rows [first, last) -> (num, dim) double"""
    sums = torch.nn.functional.pad(x.cumsum(0, dtype=torch.float64), (0, 0, 1, 0))  # (T + 1, dim), of none to all rows
    return sums.index_select(0, last) - sums.index_select(0, first)
