"""Mel filters: Kaldi's, with vocal tract length normalisation, and torchaudio's MelSpectrogram's, both tables from torchaudio; SpeechBrain's, ReDimNet2's."""

import math
import warnings

import torch
import torchaudio

from pytorch.features.options import TORCHAUDIO
from pytorch.program import Fail

GROUP = 16  # filters in a product on a CPU: a product of other widths takes up to three times as long


class Filters:
    """Energies in mel filters.

    filters(spectrum, out): (frames, bins) -> out: (frames, num_mel_bins)
    spectrum: powers (or magnitudes) of the bins from 0 Hz upwards; pairs=True: of each bin two numbers that are to be added

    A filter sees a small stretch of the spectrum, so neighbouring filters are made to products with the stretch that they share.
    """

    def __init__(self, options, warp, device, pairs):
        banks = mel_banks(options, warp)
        empty = int((banks.sum(0) == 0).sum())
        if empty:
            raise Fail(f"--num-mel-bins {options.num_mel_bins}: {empty} of these filters are too narrow to hold a bin of the spectrum; ask for fewer")
        num = options.num_mel_bins
        group = min(num, GROUP) if device.type == "cpu" else num  # on a card one product costs less than several
        self.products = []
        for start in range(0, num, group):
            start = min(start, num - group)  # the last one shares filters with the one before, to be as wide
            columns = slice(start, start + group)
            used = banks[:, columns].any(1).nonzero().flatten()
            matrix = banks[used[0] : used[-1] + 1, columns]
            first = int(used[0])
            if pairs:
                first, matrix = 2 * first, matrix.repeat_interleave(2, dim=0)
            self.products.append((slice(first, first + len(matrix)), columns, matrix.contiguous().to(device)))

    def __call__(self, spectrum, out):
        for bins, columns, matrix in self.products:
            torch.mm(spectrum[:, bins], matrix, out=out[:, columns])
        return out


def mel_banks(o, warp=1.0):
    """-> (bins, num_mel_bins), the weight of each bin of the spectrum in each filter. Kaldi's lack the bin at half the sample rate."""
    if o.feature == "sbfbank":
        return _symmetric_banks(o)
    if o.feature == "tfmel":
        return _stretched_banks(o)
    if o.feature in TORCHAUDIO:
        norm = None if o.mel_norm == "none" else o.mel_norm
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of empty filters, which Filters refuses
            return torchaudio.functional.melscale_fbanks(
                o.padded_samples // 2 + 1, o.low_freq, o.top_freq, o.num_mel_bins, o.sample_frequency, norm, o.mel_scale
            )
    o.check_warp(warp)
    kaldi = torchaudio.compliance.kaldi
    banks, _ = kaldi.get_mel_banks(
        o.num_mel_bins, o.padded_samples, o.sample_frequency, o.low_freq, o.high_freq, o.vtln_low, o.vtln_high, vtln_warp_factor=warp
    )
    return banks.T


def _symmetric_banks(o):
    """SpeechBrain's: a triangle that falls on the right as it rises on the left, from the centre of the filter below. In single precision, as there."""
    lowest, highest = (2595 * math.log10(1 + hz / 700) for hz in (o.low_freq, o.top_freq))
    centres = 700 * (10 ** (torch.linspace(lowest, highest, o.num_mel_bins + 2) / 2595) - 1)
    bins = torch.linspace(0, o.sample_frequency / 2, o.padded_samples // 2 + 1).unsqueeze(1)
    return (1 - ((bins - centres[1:-1]) / centres.diff()[:-1]).abs()).clamp(min=0)


def _stretched_banks(o):
    """ReDimNet2's: triangles over mel as Kaldi's are, the bins below half the sample rate spread from 0 to it, of which the first is left out."""
    bins = torch.linspace(0, o.sample_frequency // 2, o.padded_samples // 2, dtype=torch.float64).unsqueeze(1)
    bins = 2595 * torch.log10(1 + bins / 700)
    lowest, highest = (2595 * math.log10(1 + hz / 700) for hz in (o.low_freq, o.top_freq))
    edges = torch.linspace(lowest, highest, o.num_mel_bins + 2, dtype=torch.float64)
    width = edges[1] - edges[0]
    banks = torch.minimum((bins - edges[:-2]) / width, (edges[2:] - bins) / width).clamp(min=0)
    banks[0] = 0
    return banks.float()
