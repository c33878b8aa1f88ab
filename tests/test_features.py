"""pytorch/features: fbank, MFCC, spectrogram and voice activity equal Kaldi's golden outputs, kaldi-native-fbank and torchaudio."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import kaldi_native_fbank
import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kaldi_outputs import MFCC30, UTTS, golden_arrays, golden_vad, golden_wav, speech_like
from support import failure
from torch.utils._python_dispatch import TorchDispatchMode

from pytorch.features.kaldi import FLOOR, Features
from pytorch.features.options import FeatureOptions, add_feature_options, feature_options_of, has_energy_first
from pytorch.features.vad import energy_vad, voiced_frames
from pytorch.program import Parser


def compute(wav, utt="", **options):
    return Features(FeatureOptions(**options))(torch.from_numpy(wav), utt).numpy()


def compute_with_knf(wav, **options):
    """The same by kaldi-native-fbank, every option set by hand: its own dither is not 0."""
    o = FeatureOptions(**options)
    theirs = kaldi_native_fbank.FbankOptions() if o.feature == "fbank" else kaldi_native_fbank.MfccOptions()
    frame, mel = theirs.frame_opts, theirs.mel_opts
    frame.samp_freq, frame.frame_length_ms, frame.frame_shift_ms, frame.dither = o.sample_frequency, o.frame_length, o.frame_shift, 0.0
    frame.preemph_coeff, frame.remove_dc_offset, frame.window_type, frame.blackman_coeff = (
        o.preemphasis_coefficient,
        o.remove_dc_offset,
        o.window_type,
        o.blackman_coeff,
    )
    frame.round_to_power_of_two, frame.snip_edges = o.round_to_power_of_two, o.snip_edges
    mel.num_bins, mel.low_freq, mel.high_freq = o.num_mel_bins, o.low_freq, o.high_freq
    theirs.use_energy, theirs.raw_energy, theirs.energy_floor, theirs.htk_compat = o.use_energy, o.raw_energy, o.energy_floor, o.htk_compat
    if o.feature == "fbank":
        theirs.use_log_fbank, theirs.use_power = o.use_log_fbank, o.use_power
        stream = kaldi_native_fbank.OnlineFbank(theirs)
    else:
        theirs.num_ceps, theirs.cepstral_lifter = o.num_ceps, o.cepstral_lifter
        stream = kaldi_native_fbank.OnlineMfcc(theirs)
    stream.accept_waveform(o.sample_frequency, wav.tolist())
    stream.input_finished()
    return np.array([stream.get_frame(number) for number in range(stream.num_frames_ready)], dtype=np.float32).reshape(-1, o.dim)


# ---- Kaldi's own outputs


@pytest.mark.parametrize(
    "name, options",
    [
        ("mfcc30_d0.txt", MFCC30),
        ("fbank80_d0.txt", FeatureOptions(num_mel_bins=80)),
        ("fbank40e_d0.txt", FeatureOptions(num_mel_bins=40, low_freq=20.0, high_freq=7600.0, snip_edges=False, energy_floor=1.0, use_energy=True)),
    ],
)
@pytest.mark.parametrize("utt", UTTS)
def test_features_equal_kaldis(name, options, utt):
    expected = golden_arrays(name)[utt]
    found = Features(options)(torch.from_numpy(golden_wav(utt))).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("utt", UTTS)
def test_voice_activity_equals_kaldis(utt):
    settings_of_recipe = {"threshold": 5.5, "mean_scale": 0.5, "context": 2, "proportion": 0.12}
    expected = golden_vad()[utt]
    from_kaldis = energy_vad(golden_arrays("mfcc30_d0.txt")[utt][:, 0], **settings_of_recipe)
    from_ours = energy_vad(Features(MFCC30)(torch.from_numpy(golden_wav(utt)))[:, 0].numpy(), **settings_of_recipe)
    assert 0 < expected.mean() <= 1
    np.testing.assert_array_equal(from_kaldis, expected)
    np.testing.assert_array_equal(from_ours, expected)
    assert from_ours.dtype == np.float32


# ---- kaldi-native-fbank

FBANK = {
    "defaults": {},
    "snip_edges false": {"snip_edges": False},
    "80 bins": {"num_mel_bins": 80},
    "fewest bins": {"num_mel_bins": 4},
    "hamming": {"window_type": "hamming"},
    "hanning": {"window_type": "hanning"},
    "rectangular": {"window_type": "rectangular"},
    "blackman": {"window_type": "blackman"},
    "blackman of another constant": {"window_type": "blackman", "blackman_coeff": 0.3},
    "raw energy": {"use_energy": True},
    "windowed energy": {"use_energy": True, "raw_energy": False},
    "energy with a floor": {"use_energy": True, "energy_floor": 1e9},
    "windowed energy with a floor": {"use_energy": True, "raw_energy": False, "energy_floor": 1e7},
    "a floor below 1": {"use_energy": True, "energy_floor": 1e-9},
    "magnitudes": {"use_power": False},
    "low and high": {"low_freq": 0.0, "high_freq": 7600.0},
    "high from the top": {"low_freq": 100.0, "high_freq": -400.0},
    "with offset": {"remove_dc_offset": False},
    "with offset, energy": {"remove_dc_offset": False, "use_energy": True},
    "no pre-emphasis": {"preemphasis_coefficient": 0.0},
    "no power of two": {"round_to_power_of_two": False},
    "no power of two, edges": {"round_to_power_of_two": False, "snip_edges": False, "use_energy": True},
    "longer frames": {"frame_length": 32.0, "frame_shift": 16.0},
    "shorter shift": {"frame_shift": 2.5, "snip_edges": False},
    "no overlap": {"frame_length": 20.0, "frame_shift": 20.0, "snip_edges": False},
    "odd lengths": {"frame_length": 25.07, "frame_shift": 9.94, "snip_edges": False},
    "8 kHz": {"sample_frequency": 8000.0, "low_freq": 20.0, "high_freq": 3700.0},
    "8 kHz, edges": {"sample_frequency": 8000.0, "num_mel_bins": 40, "snip_edges": False},
    "11025 Hz": {"sample_frequency": 11025.0, "snip_edges": False},
    "44100 Hz": {"sample_frequency": 44100.0, "num_mel_bins": 64},
    "48 kHz": {"sample_frequency": 48000.0, "round_to_power_of_two": False},
    "sine": {"window_type": "sine"},
    "energy last": {"use_energy": True, "htk_compat": True},
    "htk without energy": {"htk_compat": True},
    "no pre-emphasis, offset kept": {"preemphasis_coefficient": 0.0, "remove_dc_offset": False},
}
MFCC = {
    "defaults": {},
    "recipe": {"low_freq": 20.0, "high_freq": 7600.0, "num_mel_bins": 30, "num_ceps": 30, "snip_edges": False},
    "telephone recipe": {"sample_frequency": 8000.0, "low_freq": 20.0, "high_freq": 3700.0, "num_ceps": 23, "snip_edges": False},
    "C0": {"use_energy": False},
    "windowed energy with a floor": {"raw_energy": False, "energy_floor": 1e8},
    "no lifter": {"cepstral_lifter": 0.0},
    "another lifter": {"cepstral_lifter": 35.5, "num_ceps": 20},
    "all cepstra": {"num_ceps": 23},
    "one cepstrum": {"num_ceps": 1},
    "hamming": {"window_type": "hamming", "round_to_power_of_two": False},
    "energy last": {"htk_compat": True},
    "C0 last": {"htk_compat": True, "use_energy": False},
}
CASES = {f"fbank {name}": {"feature": "fbank", **options} for name, options in FBANK.items()}
CASES |= {f"mfcc {name}": {"feature": "mfcc", **options} for name, options in MFCC.items()}


@pytest.mark.parametrize("case", CASES)
def test_features_equal_kaldi_native_fbanks(case):
    options = CASES[case]
    rate = options.get("sample_frequency", 16000.0)
    signals = [speech_like(int(0.4 * rate), rate), golden_wav("s0-u1")[5000:17345], golden_wav("s2-u0")[15000:29000]]
    for wav in signals:
        found, expected = compute(wav, **options), compute_with_knf(wav, **options)
        assert found.dtype == np.float32
        assert found.shape == expected.shape
        assert len(found) > 10
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("use_power", [True, False])
def test_energies_without_logarithm_equal_kaldi_native_fbanks(use_power):
    options = {"use_log_fbank": False, "use_power": use_power}
    wav = golden_wav("s0-u1")
    np.testing.assert_allclose(compute(wav, **options), compute_with_knf(wav, **options), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("snip_edges", [True, False])
@pytest.mark.parametrize("kind", ["fbank", "mfcc"])
def test_features_equal_torchaudios(kind, snip_edges):
    wav = golden_wav("s2-u0")
    options = {"num_mel_bins": 40, "low_freq": 60.0, "high_freq": -200.0, "snip_edges": snip_edges, "window_type": "hamming"}
    theirs = {"fbank": torchaudio.compliance.kaldi.fbank, "mfcc": torchaudio.compliance.kaldi.mfcc}[kind]
    found = compute(wav, feature=kind, use_energy=True, **options)
    expected = theirs(torch.from_numpy(wav)[None], sample_frequency=16000.0, dither=0.0, use_energy=True, energy_floor=0.0, **options).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3)


RATES = st.sampled_from([8000.0, 16000.0, 22050.0])
ANY_OPTIONS = st.fixed_dictionaries(
    {
        "feature": st.sampled_from(["fbank", "mfcc"]),
        "sample_frequency": RATES,
        "frame_length": st.sampled_from([20.0, 25.0, 32.0]),
        "frame_shift": st.sampled_from([5.0, 10.0, 12.5, 20.0]),
        "preemphasis_coefficient": st.sampled_from([0.0, 0.5, 0.97, 1.0]),
        "remove_dc_offset": st.booleans(),
        "window_type": st.sampled_from(["povey", "hamming", "hanning", "sine", "rectangular", "blackman"]),
        "snip_edges": st.booleans(),
        "num_mel_bins": st.sampled_from([13, 23, 30, 40]),
        "low_freq": st.sampled_from([0.0, 20.0, 300.0]),
        "high_freq": st.sampled_from([0.0, -300.0, 3700.0]),
        "use_energy": st.booleans(),
        "raw_energy": st.booleans(),
        "energy_floor": st.sampled_from([0.0, 1.0, 1e9]),
        "htk_compat": st.booleans(),
    }
)


@settings(max_examples=60, deadline=None)
@given(ANY_OPTIONS, st.integers(0, 3000))
def test_features_of_any_options_equal_kaldi_native_fbanks(options, samples):
    options["remove_dc_offset"] |= options["low_freq"] == 0  # the offset itself would be all there is in the first filter
    wav = speech_like(9000, options["sample_frequency"])[4000 : 4000 + samples]
    found, expected = compute(wav, **options), compute_with_knf(wav, **options)
    assert found.shape == expected.shape == (FeatureOptions(**options).num_frames(samples), FeatureOptions(**options).dim)
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-3)


@pytest.mark.parametrize("options", [{}, {"snip_edges": False}, {"raw_energy": False}, {"energy_floor": 1e9}, {"round_to_power_of_two": False}], ids=str)
def test_a_spectrogram_equals_torchaudios(options):
    wav = golden_wav("s0-u1")
    found = compute(wav, feature="spectrogram", window_type="hanning", **options)
    expected = torchaudio.compliance.kaldi.spectrogram(torch.from_numpy(wav)[None], **{"energy_floor": 0.0, "window_type": "hanning", **options}).numpy()
    assert found.shape == expected.shape == (len(found), FeatureOptions(feature="spectrogram", **options).dim)
    quiet = expected < 3  # powers near rounding
    np.testing.assert_allclose(found[~quiet], expected[~quiet], rtol=0, atol=2e-3)
    assert quiet.mean() < 0.1
    np.testing.assert_allclose(np.exp(found), np.exp(expected), rtol=1e-3, atol=1)


def test_the_spectrogram_of_silence_lies_at_kaldis_floor():
    np.testing.assert_allclose(compute(np.zeros(4000, dtype=np.float32), feature="spectrogram"), math.log(1.1920929e-07), rtol=1e-6)


# ---- vocal tract length


@pytest.mark.parametrize("kind", ["fbank", "mfcc"])
@pytest.mark.parametrize("warp", [0.85, 1.15])
def test_warped_features_equal_torchaudios(kind, warp):
    wav = golden_wav("s0-u1")
    options = {"num_mel_bins": 30, "vtln_low": 60.0, "vtln_high": 7000.0, "vtln_warp": warp}
    theirs = {"fbank": torchaudio.compliance.kaldi.fbank, "mfcc": torchaudio.compliance.kaldi.mfcc}[kind]
    expected = theirs(torch.from_numpy(wav)[None], energy_floor=0.0, use_energy=kind == "mfcc", **options).numpy()
    np.testing.assert_allclose(compute(wav, feature=kind, **options), expected, rtol=0, atol=2e-3)


def test_the_factor_of_an_utterance_takes_the_place_of_the_option():
    wav = torch.from_numpy(golden_wav("s0-u1"))
    plain = Features(FeatureOptions())
    for warp in (0.9, 1.1):
        warped = Features(FeatureOptions(vtln_warp=warp))(wav)
        assert torch.equal(plain(wav, warp=warp), warped)
        assert not torch.allclose(plain(wav), warped, atol=0.1)
    for one, warp in zip(plain.many([wav, wav, wav], warps=[1.1, None, 0.9]), (1.1, 1.0, 0.9), strict=True):
        torch.testing.assert_close(one, plain(wav, warp=warp), rtol=0, atol=2e-4)


# ---- how many frames

LENGTHS = [0, 1, 39, 40, 79, 80, 81, 119, 120, 121, 159, 160, 199, 200, 239, 240, 241, 399, 400, 401, 559, 560, 561, 1000, 1001]


@pytest.mark.parametrize("snip_edges", [True, False])
@pytest.mark.parametrize("samples", LENGTHS)
def test_the_number_of_frames_is_as_announced_and_as_kaldis(samples, snip_edges):
    options = {"snip_edges": snip_edges}
    wav = speech_like(samples)
    found, expected = compute(wav, **options), compute_with_knf(wav, **options)
    assert found.shape == expected.shape == (FeatureOptions(**options).num_frames(samples), 23)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("samples, snipped, whole", [(16000, 98, 100), (400, 1, 3), (399, 0, 2), (80, 0, 1), (79, 0, 0), (0, 0, 0)])
def test_the_number_of_frames_is_kaldis(samples, snipped, whole):
    assert FeatureOptions().num_frames(samples) == snipped
    assert FeatureOptions(snip_edges=False).num_frames(samples) == whole


@pytest.mark.parametrize("kind", ["fbank", "mfcc"])
@pytest.mark.parametrize("samples", [100, 200, 350])
def test_a_signal_shorter_than_the_window_is_reflected_as_often_as_needed(kind, samples):
    options = {"feature": kind, "snip_edges": False, "frame_length": 60.0}
    wav = golden_wav("s0-u1")[8000 : 8000 + samples]
    np.testing.assert_allclose(compute(wav, **options), compute_with_knf(wav, **options), rtol=0, atol=2e-3)


# ---- batches


@pytest.mark.parametrize("options", [{"num_mel_bins": 80}, {"feature": "mfcc", "snip_edges": False}, {"use_energy": True, "raw_energy": False}], ids=str)
def test_a_batch_equals_its_utterances_one_by_one(options):
    features = Features(FeatureOptions(**options))
    batch = torch.from_numpy(np.stack([golden_wav("s0-u1")[:8000], golden_wav("s2-u0")[:8000], speech_like(8000)]))
    found = features(batch)
    assert found.shape == (3, features.options.num_frames(8000), features.options.dim)
    for row, wav in zip(found, batch, strict=True):
        torch.testing.assert_close(row, features(wav), rtol=0, atol=2e-4)


MANY = [
    {"num_mel_bins": 40},
    {"feature": "mfcc", "snip_edges": False},
    {"frame_shift": 12.5, "frame_length": 32.0, "dither": 1.0},
    {"feature": "mfsc"},
    {"feature": "melspec", "frame_shift": 7.0},
    {"feature": "sbfbank", "top_db": 30.0},
    {"feature": "tfmel", "num_mel_bins": 40},
    {"feature": "spectrogram", "subtract_mean": True},
    {"feature": "mfcc", "delta_order": 2, "subtract_mean": True, "norm_vars": True},
]


@pytest.mark.parametrize("options", MANY, ids=str)
def test_many_waveforms_at_once_give_what_each_gives_alone(options):
    features = Features(FeatureOptions(**options))
    lengths = {"a": 8000, "b": 100, "c": 16013, "d": 400, "e": 700, "f": 0, "g": 12345}
    wavs = [torch.from_numpy(golden_wav("s0-u1")[:samples]) for samples in lengths.values()]
    for utt, wav, found in zip(lengths, wavs, features.many(wavs, list(lengths)), strict=True):
        alone = features(wav, utt)
        assert found.shape == alone.shape == (features.options.num_frames(len(wav)), features.options.dim)
        torch.testing.assert_close(found, alone, rtol=0, atol=5e-4)


def test_none_of_many_waveforms_may_be_long_enough():
    assert [matrix.shape for matrix in Features(FeatureOptions()).many([torch.zeros(3), torch.zeros(0)])] == [(0, 23), (0, 23)]


def test_a_long_waveform_gives_what_its_parts_give():
    wav = torch.from_numpy(speech_like(160 * 1300 + 240))
    features = Features(FeatureOptions())
    whole = features(wav)
    assert len(whole) == 1300
    torch.testing.assert_close(whole[:700], features(wav[: 160 * 699 + 400]), rtol=0, atol=2e-4)
    torch.testing.assert_close(whole[700:], features(wav[160 * 700 :]), rtol=0, atol=2e-4)


def test_a_result_is_not_changed_by_the_next_one():
    features = Features(FeatureOptions())
    first = features(torch.from_numpy(golden_wav("s0-u1")))
    kept = first.clone()
    features(torch.from_numpy(golden_wav("s2-u0")))
    assert torch.equal(first, kept)


def test_several_threads_can_share_one_object():
    features = Features(MFCC30)
    wavs = [torch.from_numpy(golden_wav(utt)) for utt in UTTS] * 10
    alone = [features(wav) for wav in wavs]
    with ThreadPoolExecutor(4) as pool:
        for found, expected in zip(pool.map(features, wavs), alone, strict=True):
            assert torch.equal(found, expected)


def test_a_training_in_bf16_gets_features_in_float32():
    wav = torch.from_numpy(golden_wav("s0-u1"))
    features = Features(MFCC30)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(features(wav), features(wav))
        inside = features(wav)
    assert torch.equal(inside, features(wav))


def test_an_object_used_in_inference_mode_can_be_used_outside():
    wav = torch.from_numpy(golden_wav("s0-u1"))
    features = Features(MFCC30)
    with torch.inference_mode():
        inside = features(wav).clone()
    assert torch.equal(features(wav), inside)


def test_features_can_be_the_input_of_a_network_that_learns():
    layer = torch.nn.Linear(23, 1)
    layer(Features(FeatureOptions())(torch.from_numpy(golden_wav("s0-u1")))).sum().backward()
    assert layer.weight.grad.abs().sum() > 0


def test_a_batch_too_short_for_a_frame_is_empty():
    assert Features(FeatureOptions())(torch.zeros(3, 399)).shape == (3, 0, 23)


def test_the_waveform_is_left_as_it_was():
    wav = torch.from_numpy(golden_wav("s0-u1"))
    before = wav.clone()
    Features(FeatureOptions(snip_edges=False, dither=1.0))(wav)
    assert torch.equal(wav, before)


@pytest.mark.parametrize("options", [MFCC30, FeatureOptions(use_energy=True, raw_energy=False, dither=1.0)], ids=["mfcc", "fbank"])
def test_nothing_is_computed_in_double_precision(options):
    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            doubles.extend(str(function) for tensor in torch.utils._pytree.tree_leaves(result) if getattr(tensor, "dtype", None) == torch.float64)
            return result

    features = Features(options)
    doubles = []
    with Seen():
        assert features(torch.from_numpy(golden_wav("s0-u1"))).dtype == torch.float32
    assert doubles == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
@pytest.mark.parametrize("options", [MFCC30.to_json(), {"num_mel_bins": 80, "use_energy": True}, *MANY], ids=str)
def test_a_card_computes_what_the_cpu_computes(options):
    options = FeatureOptions(**options)
    wavs = {utt: torch.from_numpy(golden_wav(utt)) for utt in UTTS}
    card, cpu = Features(options, "cuda"), Features(options)
    for (utt, wav), found in zip(wavs.items(), card.many(list(wavs.values()), list(wavs)), strict=True):
        assert found.is_cuda
        for one in (found, card(wav.cuda(), utt)):
            torch.testing.assert_close(one.cpu(), cpu(wav, utt), rtol=0, atol=2e-3)


# ---- silence and dither


@pytest.mark.parametrize("kind", ["fbank", "mfcc"])
@pytest.mark.parametrize("value", [0.0, 123.0, -32768.0])
def test_a_constant_signal_gives_finite_features(kind, value):
    assert np.isfinite(compute(np.full(4000, value, dtype=np.float32), feature=kind, use_energy=True)).all()


def test_silence_lies_at_kaldis_floor():
    found = compute(np.zeros(4000, dtype=np.float32), use_energy=True)
    np.testing.assert_allclose(found, math.log(1.1920929e-07), rtol=1e-6)
    assert pytest.approx(1.1920929e-07) == FLOOR


def test_dither_is_the_same_for_an_utterance_whenever_it_is_computed():
    features = Features(FeatureOptions(dither=1.0))
    wav = torch.from_numpy(golden_wav("s0-u1"))
    first = features(wav, "s0-u1")
    features(wav, "other")
    torch.manual_seed(7)
    state = torch.get_rng_state()
    assert torch.equal(features(wav, "s0-u1"), first)
    assert torch.equal(Features(FeatureOptions(dither=1.0))(wav, "s0-u1"), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_each_utterance_of_a_batch_has_the_dither_of_its_own_name():
    features = Features(FeatureOptions(dither=1.0))
    wav = torch.zeros(4000)
    a, b = features(torch.stack([wav, wav]), ["a", "b"])
    assert torch.equal(a, features(wav, "a"))
    torch.testing.assert_close(b, features(wav, "b"), rtol=0, atol=2e-4)


def test_dither_differs_by_utterance_and_by_seed():
    wav = golden_wav("s0-u1")
    found = [compute(wav, utt, dither=1.0, seed=seed) for utt, seed in [("a", 0), ("b", 0), ("a", 1), ("a", 2**32 - 1)]]
    found.append(compute(wav, dither=0.0))
    for place, one in enumerate(found):
        for other in found[place + 1 :]:
            assert np.abs(one - other).max() > 1e-3


def test_no_dither_does_not_depend_on_the_utterance():
    wav = golden_wav("s0-u1")
    np.testing.assert_array_equal(compute(wav, "a"), compute(wav, "b", seed=3))


@pytest.mark.parametrize("dither", [0.5, 1.0, 30.0])
def test_dither_has_the_standard_deviation_asked_for(dither):
    energies = compute(np.zeros(160000, dtype=np.float32), dither=dither, use_energy=True, remove_dc_offset=False)[:, 0]
    assert math.sqrt(np.exp(energies).mean() / 400) == pytest.approx(dither, rel=0.02)


# ---- options


@pytest.mark.parametrize(
    "options, message",
    [
        ({"low_freq": 4000.0, "high_freq": 4000.0}, "--low-freq 4000 --high-freq 4000: 0 <= low < high <= 8000 Hz (half of --sample-frequency) is needed"),
        ({"high_freq": 8000.5}, "--low-freq 20 --high-freq 8000.5: 0 <= low < high <= 8000 Hz (half of --sample-frequency) is needed"),
        ({"high_freq": -7990.0}, "--low-freq 20 --high-freq -7990: 0 <= low < high <= 8000 Hz (half of --sample-frequency) is needed"),
        ({"low_freq": -1.0}, "--low-freq -1 --high-freq 0: 0 <= low < high <= 8000 Hz (half of --sample-frequency) is needed"),
        (
            {"sample_frequency": 8000.0, "high_freq": 7600.0},
            "--low-freq 20 --high-freq 7600: 0 <= low < high <= 4000 Hz (half of --sample-frequency) is needed",
        ),
        ({"feature": "mfcc", "num_ceps": 24}, "--num-ceps 24: more than --num-mel-bins 23"),
        ({"frame_length": 9.0}, "--frame-length 9: shorter than --frame-shift 10"),
        ({"frame_length": 0.1, "frame_shift": 0.05}, "--frame-length 0.1 --frame-shift 0.05: less than a sample at 16000 Hz"),
        ({"frame_shift": 0.05}, "--frame-length 25 --frame-shift 0.05: less than a sample at 16000 Hz"),
        ({"num_mel_bins": 3}, "--num-mel-bins 3: 4 or more are needed"),
        ({"seed": 2**32}, "--seed 4294967296: less than 2^32 is needed"),
        ({"num_ceps": 7}, "--num-ceps: no option of --feature fbank; leave it out"),
        ({"cepstral_lifter": 3.0}, "--cepstral-lifter: no option of --feature fbank; leave it out"),
        ({"mel_scale": "slaney"}, "--mel-scale: no option of --feature fbank; leave it out"),
        ({"feature": "mfcc", "log_floor": 1.0}, "--log-floor: no option of --feature mfcc; leave it out"),
        ({"feature": "mfcc", "use_log_fbank": False}, "--use-log-fbank: no option of --feature mfcc; leave it out"),
        ({"feature": "spectrogram", "num_mel_bins": 30}, "--num-mel-bins: no option of --feature spectrogram; leave it out"),
        ({"feature": "spectrogram", "use_energy": True}, "--use-energy: no option of --feature spectrogram; leave it out"),
        ({"feature": "mfsc", "use_energy": True}, "--use-energy: no option of --feature mfsc; leave it out"),
        ({"feature": "melspec", "vtln_warp": 1.1}, "--vtln-warp: no option of --feature melspec; leave it out"),
        ({"feature": "melspec", "top_db": 60.0}, "--top-db: no option of --feature melspec; leave it out"),
        ({"feature": "sbfbank", "mel_scale": "slaney"}, "--mel-scale: no option of --feature sbfbank; leave it out"),
        ({"feature": "sbfbank", "preemphasis_coefficient": 0.9}, "--preemphasis-coefficient: no option of --feature sbfbank; leave it out"),
        ({"feature": "fbank", "normalise_samples": True}, "--normalise-samples: no option of --feature fbank; leave it out"),
        ({"feature": "tfmel", "use_power": False}, "--use-power: no option of --feature tfmel; leave it out"),
        ({"feature": "tfmel", "log_floor": 1.0}, "--log-floor 1: less than 1 is needed, for its inverse is the ceiling"),
        ({"feature": "melspec", "fft_samples": 256}, "--fft-samples 256: less than a frame, which has 400 samples"),
        ({"norm_vars": True}, "--norm-vars true: needs --subtract-mean true"),
        (
            {"vtln_warp": 1.1, "vtln_low": 10.0},
            "--vtln-warp 1.1 --vtln-low 10 --vtln-high 7500: both must lie, before and after the warping and in this order, inside the filters' edges",
        ),
        (
            {"vtln_warp": 0.9, "high_freq": 7400.0},
            "--vtln-warp 0.9 --vtln-low 100 --vtln-high 7500: both must lie, before and after the warping and in this order, inside the filters' edges",
        ),
        (
            {"sample_frequency": 11025.0, "round_to_power_of_two": False},
            "--frame-length 25: 275 samples, an even number is needed with --round-to-power-of-two false",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    assert failure(FeatureOptions, **options) == message


def test_the_largest_number_of_ceps_and_the_top_frequency_are_allowed():
    assert compute(speech_like(4000), feature="mfcc", num_ceps=23, low_freq=0.0, high_freq=8000.0).shape == (23, 23)


def test_a_factor_that_cannot_be_is_refused():
    message = "--vtln-warp 90 --vtln-low 100 --vtln-high 7500: both must lie, before and after the warping and in this order, inside the filters' edges"
    assert failure(Features(FeatureOptions()), torch.zeros(4000), warp=90.0) == message


WIDTHS = [
    ({}, 23),
    ({"use_energy": True}, 24),
    ({"feature": "mfcc"}, 13),
    ({"feature": "mfcc", "use_energy": False}, 13),
    ({"feature": "spectrogram"}, 257),
    ({"feature": "melspec"}, 80),
    ({"feature": "mfsc"}, 80),
    ({"feature": "sbfbank"}, 80),
    ({"feature": "tfmel"}, 72),
    ({"feature": "mfcc", "delta_order": 2}, 39),
    ({"use_energy": True, "delta_order": 1}, 48),
]


@pytest.mark.parametrize("options, dim", WIDTHS, ids=str)
def test_the_number_of_columns_is_as_announced(options, dim):
    assert FeatureOptions(**options).dim == dim
    assert compute(speech_like(4000), **options).shape[1] == dim


def parse(*words):
    parser = Parser("doc")
    add_feature_options(parser)
    return feature_options_of(parser.parse_args(list(words)))


def test_the_command_line_has_the_defaults_of_the_options():
    assert parse() == FeatureOptions()
    assert parse("--feature", "mfcc") == FeatureOptions(feature="mfcc")


def test_a_configuration_of_kaldis_is_understood(tmp_path):
    config = tmp_path / "mfcc.conf"
    config.write_text(
        "--sample-frequency=16000\n--frame-length=25 # the default is 25\n--low-freq=20 # the default.\n--high-freq=7600 # the default is zero meaning "
        "use the Nyquist (4k in this case).\n--num-mel-bins=30\n--num-ceps=30\n--snip-edges=false\n"
    )
    assert parse("--feature", "mfcc", "--config", str(config)) == MFCC30


@pytest.mark.parametrize("words", [["--high-freq", "-400"], ["--high-freq=-400"]])
def test_negative_frequencies_can_be_given(words):
    assert parse(*words).high_freq == -400


SETS = [
    {},
    {"feature": "mfcc", "num_ceps": 20},
    {"use_energy": True, "dither": 1.0, "seed": 5},
    {"window_type": "blackman"},
    {"feature": "mfcc", "htk_compat": True, "vtln_warp": 1.1},
    {"feature": "spectrogram", "raw_energy": False},
    {"feature": "melspec", "fft_samples": 1024},
    {"feature": "sbfbank", "top_db": 60.0, "num_mel_bins": 40},
    {"feature": "tfmel", "normalise_samples": False, "reflect_preemphasis": False},
    {"feature": "melspec", "normalise_samples": True, "reflect_preemphasis": True, "preemphasis_coefficient": 0.9},
    {"feature": "mfsc", "subtract_mean": True, "norm_vars": True, "delta_order": 1, "delta_window": 3},
]


@pytest.mark.parametrize("options", SETS, ids=str)
def test_settings_written_as_json_make_the_same_features(options):
    one = FeatureOptions(**options)
    settings_read = json.loads(json.dumps(one.to_json()))
    again = FeatureOptions(**settings_read)
    assert again.to_json() == settings_read
    assert options.items() <= settings_read.items() | {("feature", one.feature)}
    wav = torch.from_numpy(speech_like(4000))
    assert torch.equal(Features(one)(wav), Features(again)(wav))


UNUSED = [{"blackman_coeff": 0.1}, {"seed": 9}, {"vtln_low": 60.0}, {"vtln_high": -300.0}, {"delta_window": 3}, {"min_duration": 0.5}]


@pytest.mark.parametrize("unused", UNUSED, ids=str)
def test_settings_that_change_nothing_are_not_written(unused):
    assert FeatureOptions(**unused).to_json() == FeatureOptions().to_json()


FIRST = """
{"feature": "fbank", "sample_frequency": 16000.0, "frame_length": 25.0, "frame_shift": 10.0, "dither": 0.0, "preemphasis_coefficient": 0.97,
 "remove_dc_offset": true, "window_type": "povey", "round_to_power_of_two": true, "snip_edges": true, "num_mel_bins": 23, "low_freq": 20.0,
 "high_freq": 0.0, "use_energy": false, "raw_energy": true, "energy_floor": 0.0, "use_log_fbank": true, "use_power": true}

{"feature": "mfcc", "sample_frequency": 16000.0, "frame_length": 25.0, "frame_shift": 10.0, "dither": 0.0, "preemphasis_coefficient": 0.97,
 "remove_dc_offset": true, "window_type": "povey", "round_to_power_of_two": true, "snip_edges": true, "num_mel_bins": 23, "low_freq": 20.0,
 "high_freq": 0.0, "use_energy": true, "raw_energy": true, "energy_floor": 0.0, "use_power": true, "num_ceps": 13, "cepstral_lifter": 22.0}
"""


@pytest.mark.parametrize("text", FIRST.split("\n\n"), ids=["fbank", "mfcc"])
def test_the_settings_of_features_made_by_the_first_version_mean_the_same(text):
    found = json.loads(text)
    assert FeatureOptions(**found) == FeatureOptions(feature=found["feature"])
    assert FeatureOptions(feature=found["feature"]).to_json() == found


def test_a_recording_of_less_than_the_minimum_duration_has_no_frame():
    options = FeatureOptions(min_duration=0.5)
    assert options.num_frames(8000) == 48
    assert options.num_frames(7999) == 0
    assert compute(speech_like(7999), min_duration=0.5).shape == (0, 23)


@pytest.mark.parametrize(
    "options, first",
    [
        ({}, False),
        ({"use_energy": True}, True),
        ({"use_energy": True, "htk_compat": True}, False),
        ({"feature": "mfcc"}, True),
        ({"feature": "mfcc", "use_energy": False}, True),
        ({"feature": "mfcc", "subtract_mean": True}, False),
        ({"feature": "mfcc", "delta_order": 2}, True),
        ({"feature": "spectrogram"}, True),
        ({"feature": "mfsc"}, False),
    ],
    ids=str,
)
def test_settings_tell_whether_column_0_is_an_energy(options, first):
    assert has_energy_first(FeatureOptions(**options).to_json()) is first
    assert has_energy_first({**FeatureOptions(**options).to_json(), "cmn": "sliding"}) is False


# ---- voice activity


def energy_vad_by_definition(energy, threshold, mean_scale, context, proportion):
    """Kaldi's compute-vad, frame by frame; the threshold exact, the share in single precision as Kaldi computes it."""
    limit = Fraction(threshold) + Fraction(mean_scale) * Fraction(sum(energy), len(energy))
    voiced = []
    for frame in range(len(energy)):
        window = energy[max(0, frame - context) : frame + context + 1]
        above = sum(value > limit for value in window)
        voiced.append(float(np.float32(above) >= np.float32(len(window)) * np.float32(proportion)))
    return voiced


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(-16, 16), min_size=1, max_size=40),
    st.sampled_from([0.0, 0.5, 5.0, 5.5, -3.25]),
    st.sampled_from([0.0, 0.5, 1.0, -0.5]),
    st.integers(0, 45),
    st.integers(0, 100).map(lambda share: share / 100),
)
@example([9] * 15 + [0] * 10, 5.0, 0.0, 24, 0.6)
@example([9] * 7 + [0] * 18, 5.0, 0.0, 24, 0.28)
def test_voice_activity_equals_its_definition(energy, threshold, mean_scale, context, proportion):
    found = energy_vad(np.array(energy, dtype=np.float32), threshold, mean_scale, context, proportion)
    assert found.tolist() == energy_vad_by_definition(energy, threshold, mean_scale, context, proportion)


def test_silence_alone_is_unvoiced_and_speech_alone_voiced():
    assert energy_vad(np.full(50, -16.0, dtype=np.float32)).sum() == 0
    assert energy_vad(np.full(50, 20.0, dtype=np.float32)).sum() == 50


# ---- voiced frames


@pytest.mark.parametrize("utt", UTTS)
def test_voiced_frames_equal_kaldis(utt):
    feats = golden_arrays("mfcc30_d0.txt")[utt]
    np.testing.assert_array_equal(feats[voiced_frames(golden_vad()[utt], len(feats))], golden_arrays("voiced.txt")[utt])


@pytest.mark.parametrize(
    "decisions, message",
    [
        ([1, 0], "2 decisions but 3 frames; run steps/compute_vad.py --overwrite true anew"),
        ([[1, 0, 1]], "1 x 3 decisions but 3 frames; run steps/compute_vad.py --overwrite true anew"),
        ([1, 0.5, 0], "decisions other than 0 and 1"),
        ([1, 2, 0], "decisions other than 0 and 1"),
        ([1, math.nan, 0], "decisions other than 0 and 1"),
        ([0, 0, 0], "none of 3 frames is voiced"),
    ],
)
def test_decisions_that_cannot_be_are_refused(decisions, message):
    assert failure(voiced_frames, np.array(decisions, dtype=np.float32), 3) == message
