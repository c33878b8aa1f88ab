"""melspec and mfsc equal torchaudio's MelSpectrogram, librosa's golden outputs and a composition of torch's own parts; sbfbank equals SpeechBrain's;
tfmel equals a plain rendering of its formulas; filters equal kaldi-native-fbank's."""

from pathlib import Path

import kaldi_native_fbank
import numpy as np
import pytest
import torch
import torchaudio
from kaldi_outputs import UTTS, golden_wav, speech_like
from support import failure

from pytorch.features.kaldi import Features
from pytorch.features.mel import Filters, mel_banks
from pytorch.features.options import FeatureOptions

LIBROSA = Path(__file__).parent / "librosa_golden"
SPEECHBRAIN = Path(__file__).parent / "speechbrain_golden"


def compute(wav, **options):
    return Features(FeatureOptions(**options))(torch.from_numpy(wav)).numpy()


# ---- mfsc


@pytest.mark.parametrize("utt", UTTS)
def test_mfsc_equals_librosas(utt):
    found = compute(golden_wav(utt), feature="mfsc")
    expected = np.loadtxt(LIBROSA / f"mfsc_{utt}.txt")
    assert expected.shape == (-(-len(found) // 10), 80)
    np.testing.assert_allclose(found[::10], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("norm_vars", [False, True])
@pytest.mark.parametrize("utt", UTTS)
def test_mfsc_equals_a_composition_of_torchs_parts(utt, norm_vars):
    y = torch.from_numpy(golden_wav(utt)).double()
    y = torch.cat([y[:1] * 0.03, y[1:] - 0.97 * y[:-1]])
    window = torch.hamming_window(400, periodic=True, dtype=torch.float64)
    spectrum = torch.stft(y, 512, 160, 400, window, center=False, return_complex=True).abs()
    banks = torchaudio.functional.melscale_fbanks(257, 0, 8000, 80, 16000, norm=None, mel_scale="slaney").double()
    expected = (spectrum.T @ banks).clamp(min=1).log().numpy()
    expected -= expected.mean(0)
    if norm_vars:
        expected /= np.where(expected.std(0) > 0.01, expected.std(0), 1)
    np.testing.assert_allclose(compute(golden_wav(utt), feature="mfsc", subtract_mean=True, norm_vars=norm_vars), expected, rtol=0, atol=1e-4)


def test_mfsc_is_melspec_with_other_settings():
    settings = {"preemphasis_coefficient": 0.97, "window_type": "hamming", "snip_edges": True, "mel_scale": "slaney", "use_power": False, "log_floor": 1.0}
    wav = golden_wav("s0-u1")
    np.testing.assert_array_equal(compute(wav, feature="melspec", **settings), compute(wav, feature="mfsc"))


def test_the_mfsc_of_silence_is_zero():
    assert compute(np.zeros(4000, dtype=np.float32), feature="mfsc").max() == 0


# ---- melspec

MELSPEC = {
    "defaults": ({}, {}),
    "magnitudes": ({"use_power": False}, {"power": 1.0}),
    "not centred": ({"snip_edges": True}, {"center": False}),
    "longer FFT": ({"fft_samples": 1024, "num_mel_bins": 128}, {"n_fft": 1024, "n_mels": 128}),
    "FFT of the frame": ({"round_to_power_of_two": False, "num_mel_bins": 40}, {"n_fft": 400, "n_mels": 40}),
    "odd FFT": ({"fft_samples": 555}, {"n_fft": 555}),
    "slaney": ({"mel_scale": "slaney", "mel_norm": "slaney"}, {"mel_scale": "slaney", "norm": "slaney"}),
    "areas": ({"mel_norm": "slaney"}, {"norm": "slaney"}),
    "band": ({"low_freq": 60.0, "high_freq": -400.0, "num_mel_bins": 40}, {"f_min": 60.0, "f_max": 7600.0, "n_mels": 40}),
    "hamming": ({"window_type": "hamming"}, {"window_fn": torch.hamming_window}),
    "rectangular": ({"window_type": "rectangular"}, {"window_fn": torch.ones}),
    "other frames": ({"frame_length": 50.0, "frame_shift": 12.5}, {"win_length": 800, "hop_length": 200, "n_fft": 1024}),
}


@pytest.mark.parametrize("case", MELSPEC)
def test_melspec_equals_torchaudios(case):
    ours, theirs = MELSPEC[case]
    transform = torchaudio.transforms.MelSpectrogram(**{"n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 80, **theirs})
    for wav in (golden_wav("s0-u1"), speech_like(9999)[2000:]):
        expected = transform(torch.from_numpy(wav)).T.numpy()
        energies = compute(wav, feature="melspec", use_log_fbank=False, **ours)
        assert energies.shape == expected.shape
        np.testing.assert_allclose(energies, expected, rtol=1e-3, atol=1e-6 * expected.max())
        np.testing.assert_allclose(compute(wav, feature="melspec", **ours), np.log(np.maximum(energies, 2.0**-23)), rtol=0, atol=1e-4)


def test_the_floor_of_the_logarithm_can_be_set():
    wav = golden_wav("s0-u1")
    energies = compute(wav, feature="melspec", use_log_fbank=False)
    np.testing.assert_allclose(compute(wav, feature="melspec", log_floor=1e6), np.log(np.maximum(energies, 1e6)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"fft_samples": 1024}, {"snip_edges": True}, {"feature": "mfsc"}], ids=str)
@pytest.mark.parametrize("samples", [0, 1, 2, 159, 160, 161, 256, 257, 399, 400, 511, 512, 513, 671, 672, 1024, 5000])
def test_the_number_of_frames_is_as_announced(options, samples):
    options = {"feature": "melspec", **options}
    found = compute(speech_like(samples), **options)
    assert found.shape == (FeatureOptions(**options).num_frames(samples), 80)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("samples, centred, whole", [(16000, 101, 97), (512, 4, 1), (511, 4, 0), (1, 1, 0), (0, 0, 0)])
def test_the_number_of_frames_is_that_of_an_stft(samples, centred, whole):
    assert FeatureOptions(feature="melspec").num_frames(samples) == centred
    assert FeatureOptions(feature="mfsc").num_frames(samples) == whole


@pytest.mark.parametrize("samples", [30, 100, 256])
def test_a_signal_shorter_than_the_window_is_reflected_as_numpy_does(samples):
    wav = golden_wav("s0-u1")[8000 : 8000 + samples]
    longer = np.pad(wav, 256, mode="reflect")
    expected = compute(longer, feature="melspec", snip_edges=True)
    np.testing.assert_allclose(compute(wav, feature="melspec"), expected, rtol=0, atol=1e-3)


# ---- filters


@pytest.mark.parametrize("warp", [0.8, 1.0, 1.2])
@pytest.mark.parametrize("options", [{}, {"num_mel_bins": 40, "low_freq": 60.0, "high_freq": -200.0, "vtln_low": 80.0, "vtln_high": 7000.0}], ids=str)
def test_filters_equal_kaldi_native_fbanks(options, warp):
    o = FeatureOptions(**options)
    theirs = kaldi_native_fbank.MelBanksOptions()
    theirs.num_bins, theirs.low_freq, theirs.high_freq, theirs.vtln_low, theirs.vtln_high = o.num_mel_bins, o.low_freq, o.high_freq, o.vtln_low, o.vtln_high
    expected = np.array(kaldi_native_fbank.MelBanks(theirs, kaldi_native_fbank.FrameExtractionOptions(), warp).get_matrix())
    found = mel_banks(o, warp).T.numpy()
    np.testing.assert_allclose(found, expected[:, : found.shape[1]], rtol=0, atol=2e-5)
    assert (expected[:, found.shape[1] :] == 0).all()


@pytest.mark.parametrize("options", [{}, {"num_mel_bins": 80}, {"num_mel_bins": 7}, {"feature": "mfsc"}, {"feature": "melspec", "num_mel_bins": 17}], ids=str)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_filters_in_groups_are_the_same_as_one_product(options, device):
    o = FeatureOptions(**options)
    banks = mel_banks(o)
    spectrum = torch.rand(50, len(banks) + 1)
    filters = Filters(o, 1.0, torch.device(device), pairs=False)
    assert {columns.stop - columns.start for _, columns, _ in filters.products} == {min(16, o.num_mel_bins) if device == "cpu" else o.num_mel_bins}
    if device == "cpu":
        torch.testing.assert_close(filters(spectrum, torch.empty(50, o.num_mel_bins)), spectrum[:, : len(banks)] @ banks, rtol=1e-5, atol=1e-5)
        pairs = torch.rand(50, 2 * len(banks) + 2)
        expected = pairs.view(50, -1, 2).sum(2)[:, : len(banks)] @ banks
        torch.testing.assert_close(Filters(o, 1.0, torch.device(device), pairs=True)(pairs, torch.empty(50, o.num_mel_bins)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind, num, empty", [("fbank", 200, 10), ("melspec", 200, 12), ("mfsc", 400, 95)])
def test_more_filters_than_the_spectrum_can_fill_are_refused(kind, num, empty):
    message = f"--num-mel-bins {num}: {empty} of these filters are too narrow to hold a bin of the spectrum; ask for fewer"
    assert failure(Features, FeatureOptions(feature=kind, num_mel_bins=num)) == message


# ---- sbfbank


@pytest.mark.parametrize("utt", UTTS[:2])
def test_sbfbank_equals_speechbrains(utt):
    found = compute(golden_wav(utt), feature="sbfbank")
    expected = np.loadtxt(SPEECHBRAIN / f"fbank_{utt}.txt")
    assert expected.shape == (-(-len(found) // 10), 80)
    np.testing.assert_allclose(found[::10], expected, rtol=0, atol=1e-3)  # decibels


@pytest.mark.parametrize("samples", [1, 150, 399, 400, 401, 8000])
@pytest.mark.parametrize("top_db", [80.0, 20.0])
def test_sbfbank_equals_a_composition_of_torchs_parts(samples, top_db):
    wav = speech_like(8000)[:samples]
    y = torch.from_numpy(wav).double() / 32768
    spectrum = torch.stft(y, 400, 160, 400, torch.hamming_window(400, dtype=torch.float64), pad_mode="constant", return_complex=True)
    edges = 700 * (10 ** (torch.linspace(0, 2595 * np.log10(1 + 8000 / 700), 82, dtype=torch.float64) / 2595) - 1)
    banks = torch.zeros(201, 80, dtype=torch.float64)
    for column in range(80):
        width, centre = edges[column + 1] - edges[column], edges[column + 1]
        for place in range(201):
            banks[place, column] = max(0.0, 1 - abs(40 * place - centre) / width)
    expected = 10 * (spectrum.abs().square().T @ banks).clamp(min=1e-10).log10()
    expected = expected.clamp(min=expected.max() - top_db)
    found = compute(wav, feature="sbfbank", top_db=top_db)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.01)


def test_sbfbank_of_silence_is_its_floor():
    np.testing.assert_allclose(compute(np.zeros(800, dtype=np.float32), feature="sbfbank"), np.full((6, 80), -100.0), rtol=0, atol=1e-4)


# ---- tfmel and normalised samples


def tfmel_by_hand(wav, normalise, bins=72, eps=1e-8):
    """Frame by frame and filter by filter, in double precision, from samples between -1 and 1"""
    x = wav.astype(np.float64) / 32768
    if normalise:
        x = (x - x.mean()) / (x.std() + eps)
    x = np.concatenate([[x[0] - 0.97 * x[1]], x[1:] - 0.97 * x[:-1]])
    x = np.concatenate([np.zeros(80), x, np.zeros(80)])
    edges = np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 7600 / 700), bins + 2)
    rows = []
    for start in range(0, len(x) - 399, 160):
        frame = x[start : start + 400] * np.hamming(400)
        powers = np.clip(np.abs(np.fft.fft(frame, 512)[:256]) ** 2, eps, 1 / eps)
        row = []
        for low, centre, high in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
            mels = 2595 * np.log10(1 + 8000 * np.arange(1, 256) / 255 / 700)
            row.append(sum(np.maximum(0, np.minimum((mels - low) / (centre - low), (high - mels) / (high - centre))) * powers[1:]))
        rows.append(np.log(np.clip(row, eps, 1 / eps) + eps))
    return np.array(rows)


@pytest.mark.parametrize("samples", [240, 399, 400, 401, 3000])
@pytest.mark.parametrize("normalise", [True, False])
def test_tfmel_equals_its_formulas(samples, normalise):
    wav = golden_wav("s0-u1")[8000 : 8000 + samples]
    expected = tfmel_by_hand(wav, normalise)
    found = compute(wav, feature="tfmel", normalise_samples=normalise)
    assert found.shape == expected.shape == ((samples - 80) // 160, 72)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("samples", [0, 1, 2, 239])
def test_tfmel_of_less_than_240_samples_has_no_frame(samples):
    assert compute(speech_like(samples), feature="tfmel").shape == (0, 72)


def test_tfmel_of_silence_is_its_floor():
    silence = np.zeros(800, dtype=np.float32)
    found = compute(silence, feature="tfmel")
    np.testing.assert_allclose(found, tfmel_by_hand(silence, True), rtol=0, atol=1e-4)
    assert found.min() == pytest.approx(np.log(2e-8), abs=1e-4)


def test_the_bounds_of_tfmel_hold_for_powers_and_energies():
    wav = golden_wav("s0-u1")[8000:10000]
    np.testing.assert_allclose(compute(wav, feature="tfmel", log_floor=0.3), tfmel_by_hand(wav, True, eps=0.3), rtol=0, atol=1e-3)


@pytest.mark.parametrize("samples", [2, 400, 3000])
def test_normalised_melspec_equals_a_composition_of_torchs_parts(samples):
    wav = golden_wav("s0-u1")[8000 : 8000 + samples]
    y = torch.from_numpy(wav).double() / 32768
    y = (y - y.mean()) / (y.std(correction=0) + 1e-6)
    y = torch.nn.functional.pad(y[None, None], (1, 0), mode="reflect")[0, 0]
    y = torch.from_numpy(np.pad((y[1:] - 0.97 * y[:-1]).numpy(), 256, mode="reflect"))
    spectrum = torch.stft(y, 512, 160, 400, torch.hamming_window(400, dtype=torch.float64), center=False, return_complex=True).abs().square()
    banks = torchaudio.functional.melscale_fbanks(257, 20, 7600, 72, 16000, norm=None, mel_scale="htk").double()
    options = {"num_mel_bins": 72, "window_type": "hamming", "low_freq": 20.0, "high_freq": 7600.0, "preemphasis_coefficient": 0.97, "log_offset": 1e-6}
    found = compute(wav, feature="melspec", normalise_samples=True, reflect_preemphasis=True, **options)
    np.testing.assert_allclose(found, (spectrum.T @ banks + 1e-6).log(), rtol=0, atol=1e-3)
