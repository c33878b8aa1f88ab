"""Features in torch: one implementation for CPU and GPU, one waveform or many.

Numerics: Kaldi's feature-window.cc, mel-computations.cc, feature-fbank.cc, feature-mfcc.cc and feature-spectrogram.cc;
torchaudio's MelSpectrogram for melspec and mfsc, SpeechBrain's Fbank for sbfbank, ReDimNet2's TFMelBanks for tfmel.
Only double precision in what is made once: windows.
"""

import math
import zlib
from itertools import accumulate

import torch
import torchaudio

from pytorch.features.cmvn import subtract_mean
from pytorch.features.deltas import add_deltas
from pytorch.features.mel import Filters
from pytorch.features.options import FLOOR, KALDI, ZERO_EDGES

BLOCK = 512  # frames computed at a time on a CPU: buffers stay in the cache, calls are few
BLOCK_OF_CARD = 1 << 14


class Features:
    """Compute the features that `options` (FeatureOptions) describe.

    features(wav): (samples,) float32 in the range of 16-bit integers -> (T, dim) float32 on `device`
    features(wavs): (B, samples) -> (B, T, dim)
    features.many([wav, …]): waveforms of any length -> a list of (T, dim)
    T = options.num_frames(samples); 0 frames give an empty result. Waveforms may lie on any device. No gradient is computed.
    """

    def __init__(self, options, device="cpu"):
        o = self.options = options
        self.device = torch.device(device)
        self._window = window_of(o).to(self.device)
        self._block = BLOCK if self.device.type == "cpu" else BLOCK_OF_CARD
        self._buffers = []  # kept from call to call, one pair for each thread at work: new memory of this size costs as much as the arithmetic
        self._filters = {}
        self._filters_of(o.vtln_warp)
        if o.feature == "mfcc":
            self._dct = _dct(o).to(self.device)

    def __call__(self, wav, utt="", warp=None):
        """utt: the utterance's name, which seeds its dither (a list of names for a batch); warp: its factor, in place of --vtln-warp."""
        if wav.dim() == 1:
            return self.many([wav], [utt], [warp])[0]
        assert utt == "" or not isinstance(utt, str), "a batch has a list of names"
        return torch.stack(self.many(list(wav), utt or None, [warp] * len(wav)))

    @torch.no_grad()
    def many(self, wavs, utts=None, warps=None):
        """Features of several waveforms at once, which pays on a card. utts: their names; warps: their factors."""
        assert utts or not self.options.dither, "dither is drawn by the utterance's name"
        warps = [self.options.vtln_warp if warp is None else warp for warp in warps or [None] * len(wavs)]
        found = [None] * len(wavs)
        for warp in dict.fromkeys(warps):
            places = [place for place in range(len(wavs)) if warps[place] == warp]
            signals = [self._signal(wavs[place], utts[place] if utts else "") for place in places]
            for place, matrix in zip(places, self._compute(signals, self._filters_of(warp)), strict=True):
                found[place] = self._finish(matrix)
        return found

    # ---- from waveforms to frames

    def _signal(self, wav, utt):
        """The samples that the frames are cut from: with dither, with reflected edges -> (1 + (T - 1) * shift + window - 1,), or empty for T = 0."""
        o = self.options
        num = o.num_frames(len(wav))
        if num == 0:
            return wav[:0]
        if o.dither > 0:
            generator = torch.Generator().manual_seed(zlib.crc32(utt.encode(), o.seed))  # of a seed, torch's CPU generator takes 32 bits
            wav = wav + o.dither * torch.randn(wav.shape, generator=generator).to(wav.device)
        if o.normalise_samples:
            wav = wav - wav.mean()
            wav = wav / (wav.square().mean().sqrt() + deviation_floor(o))
        if o.feature not in KALDI:
            wav = emphasised(wav, o)
        first, last = o.first_sample, o.first_sample + (num - 1) * o.shift_samples + o.window_samples
        if o.feature in ZERO_EDGES:
            return torch.nn.functional.pad(wav, (-first, last - len(wav)))
        return _cut(wav, first, last, repeat_edge=o.feature in KALDI)

    def _compute(self, signals, filters):
        """Lay the signals one after the other, at multiples of the shift, and compute all frames as those of one. Those across a border are dropped."""
        window, shift = self.options.window_samples, self.options.shift_samples
        nums = [1 + (len(signal) - window) // shift if len(signal) else 0 for signal in signals]
        starts = accumulate((-(-len(signal) // shift) for signal in signals), initial=0)  # in frames
        signal = signals[0] if len(signals) == 1 else torch.cat([torch.nn.functional.pad(signal, (0, -len(signal) % shift)) for signal in signals])
        signal = signal.to(self.device, torch.float32)
        if not any(nums):
            return [signal.new_zeros(0, self.options.static_dim) for _ in signals]
        matrix = self._rows(signal.unfold(0, window, shift), filters)
        return [matrix[start : start + num] for start, num in zip(starts, nums, strict=False)]

    # ---- from frames to features

    def _rows(self, frames, filters):
        """frames: (T, window), overlapping, not changed -> (T, static_dim)"""
        o = self.options
        out = frames.new_empty(len(frames), o.static_dim)
        blocks = -(-len(frames) // self._block)
        size = -(-len(frames) // blocks)
        work, padded = buffers = self._take_buffers()
        compute = self._kaldi_block if o.feature in KALDI else self._mel_block
        with torch.autocast(self.device.type, enabled=False):  # features of a training in bf16 are float32 too
            for block, rows in zip(frames.split(size), out.split(size), strict=True):
                compute(block, work[: len(block)], padded[: len(block)], rows, filters)
        self._buffers.append(buffers)
        return out

    def _take_buffers(self):
        """-> two of (block, window) and (block, FFT), the second zero beyond the window"""
        try:
            return self._buffers.pop()
        except IndexError:  # the first call, or other threads have them
            o = self.options
        with torch.inference_mode(False):  # they must serve outside it too
            return torch.empty(self._block, o.window_samples, device=self.device), torch.zeros(self._block, o.padded_samples, device=self.device)

    def _kaldi_block(self, frames, work, padded, out, filters):
        o = self.options
        if o.remove_dc_offset:
            frames = torch.sub(frames, frames.mean(1, keepdim=True), out=work)
        energy = self._log_energy(frames) if o.raw_energy else None
        x = padded[:, : o.window_samples]
        torch.sub(frames[:, 1:], frames[:, :-1], alpha=o.preemphasis_coefficient, out=x[:, 1:])
        torch.mul(frames[:, :1], 1 - o.preemphasis_coefficient, out=x[:, :1])
        x *= self._window
        if not o.raw_energy:
            energy = self._log_energy(x)
        if o.feature == "spectrogram":
            torch.clamp(_power(padded), min=FLOOR, out=out).log_()
            out[:, 0] = energy
        elif o.feature == "fbank":
            bins = out[:, int(o.use_energy and not o.htk_compat) :][:, : o.num_mel_bins]
            self._mel(padded, filters, bins)
            if o.use_log_fbank:
                bins.clamp_(min=o.log_floor).log_()
        else:
            mel = self._mel(padded, filters, out.new_empty(len(out), o.num_mel_bins))
            torch.mm(mel.clamp_(min=FLOOR).log_(), self._dct, out=out)
        if o.use_energy:
            out[:, -1 if o.htk_compat else 0] = energy

    def _mel_block(self, frames, work, padded, out, filters):
        o = self.options
        torch.mul(frames, self._window, out=padded[:, : o.window_samples])
        if o.feature == "tfmel":
            bounds = o.log_floor, 1 / o.log_floor
            filters(_power(padded).clamp_(*bounds), out).clamp_(*bounds).add_(o.log_floor).log_()
            return
        self._mel(padded, filters, out)
        if o.feature == "sbfbank":
            out.clamp_(min=o.log_floor).log10_().mul_(10)
        elif o.use_log_fbank:
            out.add_(o.log_offset).clamp_(min=o.log_floor).log_()

    def _mel(self, padded, filters, out):
        if self.options.use_power:
            return filters(torch.view_as_real(torch.fft.rfft(padded)).square_().flatten(1), out)  # real and imaginary parts are added by the product
        return filters(_power(padded).sqrt_(), out)

    def _log_energy(self, frames):
        o = self.options
        if not (o.use_energy or o.feature == "spectrogram"):
            return None
        return torch.linalg.vector_norm(frames, dim=1).square_().clamp_(min=max(FLOOR, o.energy_floor)).log_()

    def _finish(self, matrix):
        """What looks at the whole utterance: its loudest value, its mean, then derivatives."""
        o = self.options
        if o.feature == "sbfbank" and len(matrix):
            matrix = torch.maximum(matrix, matrix.max() - o.top_db)
        if o.subtract_mean and len(matrix):
            matrix = subtract_mean(matrix, norm_vars=o.norm_vars)
        return add_deltas(matrix, o.delta_order, o.delta_window) if o.delta_order else matrix

    def _filters_of(self, warp):
        if self.options.feature == "spectrogram":
            return None
        if warp not in self._filters:
            self._filters[warp] = Filters(self.options, warp, self.device, pairs=self.options.use_power and self.options.feature != "tfmel")
        return self._filters[warp]


def emphasised(x, o):
    """x: (…, samples) -> the same with the pre-emphasis of the whole signal that options ask for"""
    if not o.preemphasis_coefficient:
        return x
    before = x[..., 1:2] if o.reflect_preemphasis else x[..., :1]
    before = before if before.shape[-1] else torch.zeros_like(x)  # of one sample
    return torch.sub(x, torch.cat([before, x[..., :-1]], dim=-1), alpha=o.preemphasis_coefficient)


def deviation_floor(o):
    """Added to the deviation that samples are divided by: 1e-6, of tfmel its log_floor, for samples between -1 and 1."""
    return 2**15 * (o.log_floor if o.feature == "tfmel" else 1e-6)


def _cut(wav, first, last, repeat_edge):
    """Samples first to last, reflected beyond the edges as often as needed. repeat_edge: place -1 is sample 0 (Kaldi), otherwise sample 1 (numpy's reflect)."""
    samples = len(wav)
    left, right = max(0, -first), max(0, last - samples)
    if left == right == 0:
        return wav[first:last]
    place = torch.cat([torch.arange(-left, 0, device=wav.device), torch.arange(samples, samples + right, device=wav.device)])
    period = 2 * samples if repeat_edge else max(1, 2 * samples - 2)
    place = place.remainder(period)
    edges = wav[torch.minimum(place, period - int(repeat_edge) - place)]
    return torch.cat([edges[:left], wav[max(0, first) : last], edges[left:]])


def _power(padded):
    """Squared magnitudes of the spectra of frames -> (T, bins)"""
    real, imaginary = torch.view_as_real(torch.fft.rfft(padded)).unbind(-1)
    return (real * real).addcmul_(imaginary, imaginary)


def window_of(o):
    """-> (window_samples,), scaled to samples in the range of 16-bit integers where samples between -1 and 1 are expected"""
    length = o.window_samples
    symmetric = o.feature in KALDI or o.feature == "tfmel"
    phase = torch.arange(length, dtype=torch.float64) * (2 * math.pi / (length - 1 if symmetric else length))
    of_one = o.feature in ZERO_EDGES and not o.normalise_samples  # samples between -1 and 1 are expected
    hanning = 0.5 - 0.5 * phase.cos()
    return {
        "povey": hanning**0.85,
        "hanning": hanning,
        "sine": (0.5 * phase).sin(),
        "hamming": 0.54 - 0.46 * phase.cos(),
        "rectangular": torch.ones_like(phase),
        "blackman": o.blackman_coeff - 0.5 * phase.cos() + (0.5 - o.blackman_coeff) * (2 * phase).cos(),
    }[o.window_type].float() * (2**-15 if of_one else 1)


def _dct(o):
    """-> (num_mel_bins, num_ceps), the lifter included"""
    dct = torchaudio.functional.create_dct(o.num_mel_bins, o.num_mel_bins, norm="ortho")[:, : o.num_ceps]
    if o.cepstral_lifter > 0:
        order = torch.arange(o.num_ceps)
        dct = dct * (1 + 0.5 * o.cepstral_lifter * torch.sin(math.pi * order / o.cepstral_lifter))
    if o.htk_compat:
        scale = 1 if o.use_energy else math.sqrt(2)
        dct = torch.cat([dct[:, 1:], dct[:, :1] * scale], dim=1)
    return dct.contiguous()
