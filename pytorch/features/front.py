"""What happens on the device between a batch of crops and the network: features of waveforms, the mean subtracted. The same in training and extraction.

No value is brought back from the device: lengths are tensors, shapes follow from the shape of the batch.
"""

import torch

from pytorch.features.cmvn import subtract_mean
from pytorch.features.deltas import add_deltas
from pytorch.features.kaldi import Features, deviation_floor, emphasised
from pytorch.features.options import KALDI, ZERO_EDGES


class Front:
    """front(x, lengths=None) -> what the network takes, float32, also under autocast, without gradient; and its lengths (None stays None).

    x: (B, T, dim) float32 features, which keep their columns and lengths
       (B, samples) int16 or float32 waveforms in the range of 16-bit integers: with options their features (B, T, dim), where each utterance has
       options.num_frames(samples) frames; without options (B, samples, 1), as networks that take waveforms expect them
    lengths: (B,) int64, frames or samples of each utterance; the rest is padding, and becomes 0
    cmn: "mean", subtracted from features (not from samples) over each utterance, or "none"
    options: FeatureOptions of the features of waveforms; None: there are none, or the network takes them as they are
    dither: whether the noise the options may ask for is added, drawn by torch's generator of the device
    """

    def __init__(self, cmn, options=None):
        assert cmn in ("mean", "none"), cmn
        self.cmn, self.options = cmn, options
        self._features = {}

    @torch.no_grad()
    def __call__(self, x, lengths=None, dither=True):
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            if x.dim() == 2:
                if self.options is None:
                    return masked(x, lengths).unsqueeze(2), lengths
                x, lengths = self._features_on(x.device).batch(x, lengths, dither)
            return (subtract_mean(x, lengths) if self.cmn == "mean" else masked(x, lengths)), lengths

    def lengths(self, source):
        """(N,) of what the network is given of each utterance of a Frames or Waves, in frames, or samples where it takes them."""
        if source.row_shape or self.options is None:
            return source.lengths
        return frames_of(source.lengths, self.options)

    def _features_on(self, device):
        if device not in self._features:
            with torch.inference_mode(False):  # they must serve outside it too
                self._features[device] = BatchFeatures(self.options, device)
        return self._features[device]


class BatchFeatures(Features):
    """The features of a batch of waveforms on one device, all rows at once."""

    def batch(self, x, lengths=None, dither=True):
        """x: (B, samples) float32; lengths: (B,) int64 or None -> (B, T, dim), frames of each row or None; what is beyond them is 0"""
        o = self.options
        num = o.num_frames(x.shape[1])
        if num == 0:
            return x.new_zeros(len(x), 0, o.dim), None if lengths is None else torch.zeros_like(lengths)
        if o.dither and dither:
            x = x + o.dither * torch.randn_like(x)
        x = self._rows(self._frames(self._edged(x, lengths, num)), self._filters_of(o.vtln_warp)).unflatten(0, (len(x), -1))[:, :num]
        return self._finished(x, None if lengths is None else frames_of(lengths, o))

    def _edged(self, x, lengths, num):
        """The samples that the frames are cut from, reflected at the edges of each row -> (B, (num - 1) * shift + window)"""
        o = self.options
        if o.normalise_samples:
            x = normalised(x, lengths, deviation_floor(o))
        if o.feature not in KALDI:
            x = emphasised(masked(x, lengths) if o.reflect_preemphasis else x, o)
        first, last = o.first_sample, o.first_sample + (num - 1) * o.shift_samples + o.window_samples
        if o.feature in ZERO_EDGES:
            return torch.nn.functional.pad(masked(x, lengths), (-first, last - x.shape[1]))
        if o.snip_edges:
            return x[:, first:last]
        repeats = int(o.feature in KALDI)  # sample 0 stands at place -1; otherwise sample 1
        places = torch.arange(first, last, device=x.device).expand(len(x), -1)
        samples = x.shape[1] if lengths is None else lengths[:, None]
        period = 2 * samples - 2 * (1 - repeats)
        period = max(1, period) if lengths is None else period.clamp(min=1)
        places = places.remainder(period)
        return x.gather(1, torch.minimum(places, period - repeats - places).clamp(min=0))

    def _frames(self, x):
        """Lay the rows one after the other, at multiples of the shift: (B, samples) -> (B * num, window), some behind each row's own that cross its border"""
        window, shift = self.options.window_samples, self.options.shift_samples
        rows = torch.nn.functional.pad(x, (0, -x.shape[1] % shift)).flatten()
        return torch.nn.functional.pad(rows, (0, window - shift)).unfold(0, window, shift)

    def _finished(self, x, lengths):
        """What looks at whole utterances: their loudest values, their means, then derivatives."""
        o = self.options
        if o.feature == "sbfbank":
            x = torch.maximum(x, masked(x, lengths, -torch.inf).amax((1, 2), keepdim=True) - o.top_db)
        if o.subtract_mean:
            x = subtract_mean(x, lengths, o.norm_vars)
        if o.delta_order:
            if lengths is not None:  # as at the end of an utterance alone, the last frame is repeated
                places = torch.minimum(torch.arange(x.shape[1], device=x.device), (lengths - 1).clamp(min=0)[:, None])
                x = x.gather(1, places.unsqueeze(2).expand(-1, -1, x.shape[2]))
            x = add_deltas(x, o.delta_order, o.delta_window)
        return masked(x, lengths), lengths


def frames_of(samples, options):
    """options.num_frames() of a tensor or an array of integers"""
    o = options
    frames = ((samples - o.least_samples) // o.shift_samples + 1).clip(min=0)
    return frames * (samples >= max(1, o.min_duration * o.sample_frequency))


def normalised(x, lengths, floor):
    """x: (B, samples) -> the same with mean 0 and deviation 1, or a little less: `floor` is added to what it is divided by; what is beyond lengths is 0"""
    x = masked(x, lengths)
    num = x.shape[1] if lengths is None else lengths[:, None].clamp(min=1)
    x = masked(x - x.sum(1, keepdim=True) / num, lengths)
    return x / ((x.square().sum(1, keepdim=True) / num).sqrt() + floor)


def masked(x, lengths, value=0):
    """x: (B, T, …) with `value` for what is beyond lengths: (B,); None: as it is"""
    if lengths is None:
        return x
    beyond = torch.arange(x.shape[1], device=x.device) >= lengths[:, None]
    return x.masked_fill(beyond if x.dim() == 2 else beyond.unsqueeze(2), value)
