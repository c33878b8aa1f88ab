"""pytorch/features: fbank, MFCC, voice activity and mean normalisation equal Kaldi's golden outputs, kaldi-native-fbank and torchaudio."""

import json
import math
import re
from fractions import Fraction
from pathlib import Path

import kaldi_native_fbank
import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import failure
from torch.utils._python_dispatch import TorchDispatchMode

from pytorch.data.audio import read_audio
from pytorch.features.cmvn import subtract_mean
from pytorch.features.kaldi import FLOOR, Features
from pytorch.features.options import FeatureOptions, add_feature_options, feature_options_of
from pytorch.features.vad import energy_vad
from pytorch.program import Parser

GOLDEN = Path(__file__).parent / "kaldi_golden"
UTTS = ("s0-u1", "s2-u0")
MFCC30 = FeatureOptions(feature="mfcc", low_freq=20.0, high_freq=7600.0, num_mel_bins=30, num_ceps=30, snip_edges=False)


def golden_arrays(name):
    text = (GOLDEN / name).read_text()
    return {utt: np.array([row.split() for row in body.strip().split("\n")], dtype=np.float32) for utt, body in re.findall(r"(\S+)  \[\n(.*?) \]", text, re.S)}


def golden_wav(utt):
    return read_audio(GOLDEN / f"{utt}.wav", 16000)


def speech_like(samples, rate=16000):
    """Harmonics of a moving pitch that come and go, noise, an offset, and digital silence at the end."""
    time = np.arange(samples) / rate
    phase = 2 * np.pi * np.cumsum(120 + 20 * np.sin(2 * np.pi * 2 * time)) / rate
    voice = sum(np.sin(order * phase) / order for order in range(1, 20)) * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * time))
    wav = 3000 * voice + 50 * np.random.default_rng(samples).standard_normal(samples) + 100
    wav[int(0.9 * samples) :] = 0
    return wav.astype(np.float32)


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
    theirs.use_energy, theirs.raw_energy, theirs.energy_floor = o.use_energy, o.raw_energy, o.energy_floor
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


def golden_vad():
    return {utt: np.array(words.split(), dtype=np.float32) for utt, words in re.findall(r"(\S+)  \[ (.*) \]", (GOLDEN / "vad.txt").read_text())}


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
@pytest.mark.parametrize("options", [MFCC30, FeatureOptions(num_mel_bins=80, use_energy=True)], ids=["mfcc", "fbank"])
def test_a_card_computes_what_the_cpu_computes(options):
    wav = torch.from_numpy(golden_wav("s0-u1"))
    torch.testing.assert_close(Features(options, "cuda")(wav.cuda()).cpu(), Features(options)(wav), rtol=0, atol=2e-3)


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
        (
            {"sample_frequency": 11025.0, "round_to_power_of_two": False},
            "--frame-length 25: 275 samples, an even number is needed with --round-to-power-of-two false",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    assert failure(FeatureOptions, **options) == message


def test_more_filters_than_the_spectrum_can_fill_are_refused():
    message = "--num-mel-bins 200: 10 of these filters are too narrow to hold a bin of the spectrum; ask for fewer"
    assert failure(Features, FeatureOptions(num_mel_bins=200)) == message


def test_the_largest_number_of_ceps_and_the_top_frequency_are_allowed():
    assert compute(speech_like(4000), feature="mfcc", num_ceps=23, low_freq=0.0, high_freq=8000.0).shape == (23, 23)


WIDTHS = [({}, 23), ({"use_energy": True}, 24), ({"feature": "mfcc"}, 13), ({"feature": "mfcc", "use_energy": False}, 13)]


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


SETS = [{}, {"feature": "mfcc", "num_ceps": 20}, {"use_energy": True, "dither": 1.0, "seed": 5}, {"window_type": "blackman"}]


@pytest.mark.parametrize("options", SETS, ids=str)
def test_settings_written_as_json_make_the_same_features(options):
    one = FeatureOptions(**options)
    settings_read = json.loads(json.dumps(one.to_json()))
    again = FeatureOptions(**settings_read)
    assert again.to_json() == settings_read
    wav = torch.from_numpy(speech_like(4000))
    assert torch.equal(Features(one)(wav), Features(again)(wav))


@pytest.mark.parametrize("unused", [{"num_ceps": 7}, {"cepstral_lifter": 3.0}, {"blackman_coeff": 0.1}, {"seed": 9}], ids=str)
def test_settings_that_change_nothing_are_not_written(unused):
    assert FeatureOptions(**unused).to_json() == FeatureOptions().to_json()


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


# ---- mean normalisation

BATCH = torch.from_numpy(np.random.default_rng(0).normal(20, 5, (3, 17, 4)).astype(np.float32))


def test_the_mean_of_each_utterance_becomes_zero():
    found = subtract_mean(BATCH)
    np.testing.assert_allclose(found.numpy(), BATCH.numpy() - BATCH.numpy().mean(1, keepdims=True), rtol=0, atol=1e-5)


def test_padding_takes_no_part_in_the_mean_and_becomes_zero():
    lengths = [17, 5, 1]
    found = subtract_mean(BATCH, torch.tensor(lengths))
    for row, wide, length in zip(found, BATCH, lengths, strict=True):
        torch.testing.assert_close(row[:length], subtract_mean(wide[None, :length])[0], rtol=0, atol=1e-5)
        assert torch.equal(row[length:], torch.zeros(17 - length, 4))


def test_the_result_does_not_depend_on_what_the_padding_holds():
    lengths = torch.tensor([17, 5, 1])
    other = BATCH.clone()
    other[1, 5:], other[2, 1:] = 1e6, -1e6
    assert torch.equal(subtract_mean(BATCH, lengths), subtract_mean(other, lengths))


def test_full_lengths_are_the_same_as_none():
    torch.testing.assert_close(subtract_mean(BATCH, torch.tensor([17, 17, 17])), subtract_mean(BATCH), rtol=0, atol=1e-5)
