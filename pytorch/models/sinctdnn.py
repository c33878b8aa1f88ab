"""Networks on raw waveforms: SincTDNN, and the two x-vector networks that came after it in pyannote.audio.

Ravanelli, Bengio, "Speaker recognition from raw waveform with SincNet", SLT 2018; Coria et al., "A comparison of metric learning loss functions for
end-to-end speaker verification", SLSP 2020, section 3, and pyannote.audio 1.1 (SincTDNN), 2.1 (XVectorSincNet, XVectorMFCC).

    layer           kernel  stride                          channels     after it
    waveform                                                1            mean and variance of the utterance made 0 and 1, scale and offset learnt
    sinc            251     5 (10: XVectorSincNet)          80           absolute value, max of 3, the same norm, LeakyReLU 0.2 (0.01)
    conv1           5       1                               60           max of 3, norm, LeakyReLU
    conv2           5       1                               60           max of 3, norm, LeakyReLU: a frame every 135 (270) samples
    frame1          5       1, weight norm                  512          ReLU                      XVectorSincNet, XVectorMFCC:
    frame2          3       1, weight norm, dilation 2      512          ReLU                      no weight norm, LeakyReLU 0.01 and
    frame3          3       1, weight norm, dilation 3      512          ReLU                      BatchNorm instead of ReLU
    frame4          1       1, weight norm                  512          ReLU
    frame5          1       1, weight norm                  1500         ReLU
    stats                                                   3000         mean and standard deviation without bias
    segment6                                                512          the embedding: before the non-linearity
    segment7                                                512          where asked for: ReLU before and after

Waveforms are (B, samples) or (B, samples, 1) float32 in the range of 16-bit integers, as pytorch/data/recordings.py reads them; lengths and min_frames
count samples. XVectorMFCC computes 40 MFCC of its own (torchaudio's, 400 samples every 200), in place of SincNet.
"""

import math
import warnings
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from pytorch.arguments import need_at_most
from pytorch.models.padding import after_conv, blank, masked_mean, widened
from pytorch.models.pooling import mean_std
from pytorch.program import Fail

TDNN = ((5, 1), (3, 2), (3, 3), (1, 1), (1, 1))  # kernel, dilation


class SincTDNN(nn.Module):
    """stride: of the sinc filters; batch_normalize: embeddings with mean 0 and variance 1 over the training data; scale: none, unit (length 1) or
    logistic (length between 0 and 1); segment7: false, where the loss classifies the embedding itself"""

    input, masks_padding, output = "wave", True, "segment6"

    def __init__(
        self, feat_dim, stride=5, sinc_dim=80, conv_dim=60, frame_dim=512, stats_dim=1500, embed_dim=512, waveform_normalize=True,
        instance_normalize=True, dropout=0.0, batch_normalize=False, scale: Literal["none", "unit", "logistic"] = "none", segment7=False, sample_rate=16000,
    ):  # fmt: skip
        super().__init__()
        _one_channel(feat_dim)
        need_at_most("--model-args", 1, dropout=dropout)
        self.embed_dim, self.scale, self.layers = embed_dim, scale, ("segment6", "segment7") if segment7 else ("segment6",)
        filters = SincFilters(sinc_dim, sample_rate)
        self.sincnet = SincNet(filters, conv_dim, stride, 0.2, waveform_normalize, instance_normalize, dropout)
        self.min_frames = self.sincnet.samples_of(_tdnn_context() + 1)
        dims = [conv_dim, *[frame_dim] * 4, stats_dim]
        self.tdnn = nn.ModuleList(weight_norm(nn.Conv1d(dims[i], dims[i + 1], kernel, dilation=dilation)) for i, (kernel, dilation) in enumerate(TDNN))
        self.segment6 = nn.Linear(2 * stats_dim, embed_dim)
        self.segment7 = nn.Linear(embed_dim, embed_dim) if segment7 else None
        self.normalise = nn.BatchNorm1d(embed_dim, affine=False) if batch_normalize else nn.Identity()
        self.length_norm = nn.BatchNorm1d(1) if scale == "logistic" else None

    def embed(self, x, lengths=None, layer=None):
        """x: (B, samples) or (B, samples, 1), min_frames or more; lengths: (B,) samples of each utterance, the rest is padding
        -> (B, embed_dim), the same whatever the padding"""
        h, lengths = self.sincnet(x, lengths)  # (B, conv_dim, frames)
        for conv in self.tdnn:
            h = F.relu(conv(h))  # (B, stats_dim, frames - 14)
        stats = mean_std(h, None if lengths is None else lengths - _tdnn_context(), correction=1)
        segment6 = self._scaled(self.normalise(self.segment6(stats)))
        return self.segment7(F.relu(segment6)) if layer == "segment7" else segment6

    def _scaled(self, x):
        if self.scale == "none":
            return x
        length = widened(x).norm(dim=1, keepdim=True)
        return x * (torch.sigmoid(self.length_norm(length)) if self.scale == "logistic" else 1.0) / (length + 1e-6)

    def forward(self, x, lengths=None):
        """x, lengths: as of embed -> (B, embed_dim), what the loss classifies"""
        return self.embed(x, lengths) if self.segment7 is None else F.relu(self.embed(x, lengths, "segment7"))


class XVectorSincNet(nn.Module):
    """SincNet with pairs of an even and an odd filter for each band, as in pyannote.audio 2.1 and later; 10 samples between frames of the filters."""

    input, masks_padding = "wave", True
    layers, output = ("embedding",), "embedding"

    def __init__(self, feat_dim, stride=10, sinc_dim=80, conv_dim=60, frame_dim=512, stats_dim=1500, embed_dim=512, sample_rate=16000):
        super().__init__()
        _one_channel(feat_dim)
        if sinc_dim % 2:
            raise Fail(f"--model-args: sinc_dim={sinc_dim}: an even number expected, the filters are in pairs")
        self.embed_dim = embed_dim
        self.sincnet = SincNet(SincFilters(sinc_dim, sample_rate, pairs=True), conv_dim, stride, 0.01)
        self.min_frames = self.sincnet.samples_of(_tdnn_context() + 1)
        self.tdnn = _normed_tdnn(conv_dim, frame_dim, stats_dim)
        self.embedding = nn.Linear(2 * stats_dim, embed_dim)

    def embed(self, x, lengths=None, layer=None):
        """As SincTDNN.embed."""
        h, lengths = self.sincnet(x, lengths)
        return self.embedding(mean_std(self.tdnn(h), None if lengths is None else lengths - _tdnn_context(), correction=1))

    def forward(self, x, lengths=None):
        """x, lengths: as of embed -> (B, embed_dim), what the loss classifies: the embedding"""
        return self.embed(x, lengths)


class XVectorMFCC(nn.Module):
    """The MFCC reflect the waveform at its ends and have a floor below the utterance's maximum: padding cannot be left out."""

    input, masks_padding = "wave", False
    layers, output = ("embedding",), "embedding"

    def __init__(self, feat_dim, num_ceps=40, frame_dim=512, stats_dim=1500, embed_dim=512, sample_rate=16000):
        super().__init__()
        from torchaudio.transforms import MFCC

        _one_channel(feat_dim)
        _check_rate(sample_rate)
        need_at_most("--model-args", 128, num_ceps=num_ceps)
        self.embed_dim = embed_dim
        with torch.device("cpu"), warnings.catch_warnings(action="ignore"):  # 128 mel filters are too many for 400 samples: the lowest are empty, there as here
            self.mfcc = MFCC(sample_rate, num_ceps)
        own = self.mfcc.MelSpectrogram
        own.spectrogram = Powers(own.n_fft, own.hop_length)
        self.min_frames = _tdnn_context() * own.hop_length
        self.tdnn = _normed_tdnn(num_ceps, frame_dim, stats_dim)
        self.embedding = nn.Linear(2 * stats_dim, embed_dim)

    def embed(self, x, lengths=None, layer=None):
        """x: (B, samples) or (B, samples, 1); lengths: None, or (B,) all equal to samples -> (B, embed_dim)"""
        assert lengths is None or (lengths == x.shape[1]).all(), "utterances of one length expected"
        with _full_precision(x):
            h = self.mfcc(widened(x).flatten(1).unsqueeze(1) / 32768).squeeze(1)  # (B, num_ceps, 1 + samples // 200)
        return self.embedding(mean_std(self.tdnn(h), correction=1))

    def forward(self, x, lengths=None):
        """x, lengths: as of embed -> (B, embed_dim), what the loss classifies: the embedding"""
        return self.embed(x, lengths)


class Powers(nn.Module):
    """Powers of the spectrum under a Hann window, as torchaudio's Spectrogram gives them: by a product with sines and cosines, since the FFT of other
    runtimes for lengths that are no power of two is less exact than embeddings need."""

    def __init__(self, length, shift):
        super().__init__()
        self.length, self.shift = length, shift
        places = torch.arange(length, device="cpu")
        phases = 2 * math.pi / length * torch.outer(torch.arange(length // 2 + 1, device="cpu"), places).remainder(length).double()
        window = 0.5 - 0.5 * torch.cos(2 * math.pi / length * places.double())
        self.register_buffer("basis", (torch.cat([phases.cos(), phases.sin()]) * window).float().unsqueeze(1), persistent=False)

    def forward(self, x):
        """x: (B, 1, samples) -> (B, 1, length / 2 + 1, 1 + samples // shift)"""
        half = self.length // 2
        parts = F.conv1d(F.pad(x, (half, half), mode="reflect"), self.basis, stride=self.shift).square()
        return (parts[:, : half + 1] + parts[:, half + 1 :]).unsqueeze(1)


class SincNet(nn.Module):
    """Waveform to frames; without zero-padding, so that norms over the frames that count are all that padding needs."""

    def __init__(self, filters, conv_dim, stride, slope, waveform_normalize=True, instance_normalize=True, dropout=0.0):
        super().__init__()
        self.stride, self.slope = stride, slope
        self.filters = filters
        self.waveform_norm = InstanceNorm(1) if waveform_normalize else None
        self.convs = nn.ModuleList([nn.Conv1d(filters.number, conv_dim, 5), nn.Conv1d(conv_dim, conv_dim, 5)])
        self.norms = nn.ModuleList(InstanceNorm(dim) for dim in (filters.number, conv_dim, conv_dim)) if instance_normalize else [None] * 3
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, lengths=None):
        """x: (B, samples) or (B, samples, 1) -> (B, conv_dim, frames), frames of each utterance"""
        with _full_precision(x):  # bands far below the loudest would be lost in bf16
            h = widened(x).flatten(1).unsqueeze(1) / 32768
            if self.waveform_norm is not None:
                h = self.waveform_norm(h, lengths)
            h = F.conv1d(h, self.filters(), stride=self.stride).abs()  # (B, sinc_dim, (samples - 251) / stride + 1)
            h, lengths = self._pooled(h, after_conv(lengths, self.filters.kernel, self.stride), self.norms[0])
        for conv, norm in zip(self.convs, self.norms[1:], strict=True):
            h, lengths = self._pooled(conv(h), after_conv(lengths, 5), norm)  # (B, conv_dim, (frames - 4) / 3)
        return h, lengths

    def _pooled(self, h, lengths, norm):
        h, lengths = F.max_pool1d(h, 3), after_conv(lengths, 3, 3)
        return self.dropout(F.leaky_relu(h if norm is None else norm(h, lengths), self.slope)), lengths

    def samples_of(self, frames):
        """The least number of samples that gives so many frames."""
        return (((frames * 3 + 4) * 3 + 4) * 3 - 1) * self.stride + self.filters.kernel


class SincFilters(nn.Module):
    """Band-pass filters of which the lower edge and the width are learnt: the difference of two sinc, under a Hamming window.

    pairs: half of the filters, and as many that are odd where those are even (cosine instead of sine), as asteroid-filterbanks has them; the window's
    samples differ a little between the two as well.
    """

    kernel, min_low_hz, min_band_hz = 251, 50.0, 50.0

    def __init__(self, number, sample_rate, pairs=False):
        super().__init__()
        _check_rate(sample_rate)
        self.number, self.pairs, self.highest = number, pairs, sample_rate / 2
        lowest, top = 2595 * math.log10(1 + 30 / 700), 2595 * math.log10(1 + (sample_rate / 2 - self.min_low_hz - self.min_band_hz) / 700)
        hz = 700 * (10 ** (torch.linspace(lowest, top, number // (1 + pairs) + 1, dtype=torch.float64) / 2595) - 1)  # evenly on the mel scale
        self.low_hz = nn.Parameter(hz[:-1].float())
        self.band_hz = nn.Parameter(hz.diff().float())
        half = self.kernel // 2
        places = torch.arange(half) if pairs else torch.linspace(0, self.kernel / 2 - 1, half)
        self.register_buffer("window", 0.54 - 0.46 * torch.cos(2 * math.pi * places / (self.kernel - pairs)), persistent=False)
        self.register_buffer("radians", 2 * math.pi * torch.arange(-half, 0.0) / sample_rate, persistent=False)  # for each Hz, the left half

    def forward(self):
        """-> (number, 1, kernel)"""
        low = self.min_low_hz + self.low_hz.abs()
        high = (low + self.min_band_hz + self.band_hz.abs()).clamp(self.min_low_hz, self.highest)
        band = (2 * (high - low)).unsqueeze(1)
        low, high = low.unsqueeze(1) * self.radians, high.unsqueeze(1) * self.radians
        even = (high.sin() - low.sin()) / (self.radians / 2) * self.window / band
        filters = torch.cat([even, torch.ones_like(band), even.flip(1)], dim=1)
        if self.pairs:
            odd = (low.cos() - high.cos()) / (self.radians / 2) * self.window / band
            filters = torch.cat([filters, torch.cat([odd, torch.zeros_like(band), -odd.flip(1)], dim=1)])
        return filters.unsqueeze(1)


class InstanceNorm(nn.Module):
    """Each channel of each utterance with mean 0 and variance 1 over the frames that count, then scale and offset."""

    def __init__(self, dim):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, h, lengths=None):
        if lengths is None:
            return F.instance_norm(widened(h), weight=self.weight, bias=self.bias)
        h = widened(h)
        centred = blank(h - masked_mean(h, lengths, keepdim=True), lengths)
        scale = (masked_mean(centred.square(), lengths, keepdim=True) + 1e-5).rsqrt()
        return centred * scale * self.weight.unsqueeze(1) + self.bias.unsqueeze(1)


def _one_channel(feat_dim):
    if feat_dim != 1:
        raise Fail(f"this network takes waveforms, one value a sample; these are features of {feat_dim} columns")


def _check_rate(sample_rate):
    if sample_rate < 1000:
        raise Fail(f"--model-args: sample_rate={sample_rate}: 1000 or more expected")


def _full_precision(x):
    return torch.autocast("cuda" if x.is_cuda else "cpu", enabled=False)


def _tdnn_context():
    return sum((kernel - 1) * dilation for kernel, dilation in TDNN)  # 14 frames


def _normed_tdnn(inputs, frame_dim, stats_dim):
    dims, layers = [inputs, *[frame_dim] * 4, stats_dim], []
    for i, (kernel, dilation) in enumerate(TDNN):
        layers += [nn.Conv1d(dims[i], dims[i + 1], kernel, dilation=dilation), nn.LeakyReLU(), nn.BatchNorm1d(dims[i + 1])]
    return nn.Sequential(*layers)
