"""Kaldi's fbank and MFCC in torch: one implementation for CPU and GPU, one waveform or a batch.

Numerics: Kaldi's feature-window.cc, mel-computations.cc, feature-fbank.cc and feature-mfcc.cc; mel filters and DCT from torchaudio.
"""

import math
import zlib

import torch
import torchaudio

from pytorch.program import Fail

FLOOR = torch.finfo(torch.float32).eps  # 1.1921e-7, below which Kaldi lets no energy fall before its logarithm


class Features:
    """Compute the features that `options` (FeatureOptions) describe.

    features(wav): (B, samples) or (samples,) float32 in the range of 16-bit integers -> (B, T, dim) or (T, dim) float32
    All waveforms of a batch have one length. T = options.num_frames(samples); 0 frames give an empty result.
    """

    def __init__(self, options, device="cpu"):
        o = self.options = options
        self.padded = 1 << (o.window_samples - 1).bit_length() if o.round_to_power_of_two else o.window_samples
        self.window = _window(o).to(device)
        banks, _ = torchaudio.compliance.kaldi.get_mel_banks(
            o.num_mel_bins, self.padded, o.sample_frequency, o.low_freq, o.high_freq, vtln_low=100.0, vtln_high=-500.0, vtln_warp_factor=1.0
        )
        empty = int((banks.sum(1) == 0).sum())
        if empty:
            raise Fail(f"--num-mel-bins {o.num_mel_bins}: {empty} of these filters are too narrow to hold a bin of the spectrum; ask for fewer")
        self.banks = banks.T.contiguous().to(device)  # (padded / 2, bins): the bin at half the sample rate is left out
        if o.feature == "mfcc":
            dct = torchaudio.functional.create_dct(o.num_mel_bins, o.num_mel_bins, norm="ortho")[:, : o.num_ceps]
            if o.cepstral_lifter > 0:
                order = torch.arange(o.num_ceps)
                dct = dct * (1 + 0.5 * o.cepstral_lifter * torch.sin(math.pi * order / o.cepstral_lifter))
            self.dct = dct.contiguous().to(device)

    def __call__(self, wav, utt=""):
        """utt: the utterance's name, which seeds its dither."""
        if wav.dim() == 1:
            return self(wav[None], utt)[0]
        o = self.options
        if o.num_frames(wav.shape[1]) == 0:
            return wav.new_zeros(wav.shape[0], 0, o.dim)
        if o.dither > 0:
            wav = wav + o.dither * self._noise(wav, utt)
        frames = self._frames(wav)  # (B, T, window)
        if o.remove_dc_offset:
            frames = frames - frames.mean(-1, keepdim=True)
        energy = self._log_energy(frames) if o.use_energy and o.raw_energy else None
        x = frames.new_zeros(*frames.shape[:2], self.padded)
        body = x[..., : o.window_samples]
        body.copy_(frames)
        body[..., 1:] -= o.preemphasis_coefficient * frames[..., :-1]
        body[..., 0] -= o.preemphasis_coefficient * frames[..., 0]
        body *= self.window
        if o.use_energy and not o.raw_energy:
            energy = self._log_energy(body)
        spectrum = torch.view_as_real(torch.fft.rfft(x)).square_().sum(-1)[..., :-1]
        mel = (spectrum if o.use_power else spectrum.sqrt()) @ self.banks  # (B, T, bins)
        if o.feature == "fbank":
            mel = mel.clamp_(min=FLOOR).log_() if o.use_log_fbank else mel
            return torch.cat([energy, mel], dim=-1) if o.use_energy else mel
        cepstra = mel.clamp_(min=FLOOR).log_() @ self.dct
        if o.use_energy:
            cepstra[..., :1] = energy
        return cepstra

    def _frames(self, wav):
        o = self.options
        if not o.snip_edges:
            samples, num = wav.shape[1], o.num_frames(wav.shape[1])
            left = o.window_samples // 2 - o.shift_samples // 2
            right = (num - 1) * o.shift_samples + o.window_samples - left - samples
            place = torch.cat([torch.arange(-left, 0), torch.arange(samples, samples + max(right, 0))]).remainder(2 * samples)
            edges = wav[:, torch.where(place < samples, place, 2 * samples - 1 - place).to(wav.device)]  # -1 -> 0, -2 -> 1, n -> n-1
            wav = torch.cat([edges[:, :left], wav, edges[:, left:]], dim=1)
            return wav.unfold(1, o.window_samples, o.shift_samples)[:, :num]
        return wav.unfold(1, o.window_samples, o.shift_samples)

    def _log_energy(self, frames):
        floor = max(FLOOR, self.options.energy_floor)
        return frames.square().sum(-1, keepdim=True).clamp_(min=floor).log_()

    def _noise(self, wav, utt):
        generator = torch.Generator().manual_seed(zlib.crc32(utt.encode(), self.options.seed))  # of a seed, torch's CPU generator takes 32 bits
        return torch.randn(wav.shape, generator=generator).to(wav.device)


def _window(o):
    phase = torch.arange(o.window_samples, dtype=torch.float64) * (2 * math.pi / (o.window_samples - 1))
    hanning = 0.5 - 0.5 * phase.cos()
    return {
        "povey": hanning**0.85,
        "hanning": hanning,
        "hamming": 0.54 - 0.46 * phase.cos(),
        "rectangular": torch.ones_like(phase),
        "blackman": o.blackman_coeff - 0.5 * phase.cos() + (0.5 - o.blackman_coeff) * (2 * phase).cos(),
    }[o.window_type].float()
