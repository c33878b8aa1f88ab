"""pytorch/features/front.py: what a batch becomes on the device is what each utterance becomes alone, and what make_feats.py stores."""

import kaldi_native_fbank
import numpy as np
import pytest
import soundfile
import torch
from support import failure
from torch.utils._python_dispatch import TorchDispatchMode

from pytorch.data.ark import ArkReader
from pytorch.data.data_dir import write_data_dir
from pytorch.features.front import Front, frames_of
from pytorch.features.kaldi import Features
from pytorch.features.options import FeatureOptions
from pytorch.features.wave_input import WaveInput, raw_input_of, wave_input_of
from pytorch.models import network_class

OPTIONS = {
    "fbank": {},
    "fbank with all frames": {"snip_edges": False, "use_energy": True, "num_mel_bins": 8},
    "fbank, odd shift": {"sample_frequency": 8000.0, "frame_shift": 7.3},
    "fbank, mean and derivatives": {"subtract_mean": True, "norm_vars": True, "delta_order": 2},
    "fbank, derivatives of all frames": {"snip_edges": False, "delta_order": 1, "delta_window": 3},
    "mfcc": {"feature": "mfcc"},
    "spectrogram": {"feature": "spectrogram", "raw_energy": False},
    "melspec": {"feature": "melspec"},
    "melspec of whole frames": {"feature": "melspec", "snip_edges": True},
    "mfsc": {"feature": "mfsc"},
    "sbfbank": {"feature": "sbfbank", "top_db": 20.0},
    "tfmel": {"feature": "tfmel"},
    "tfmel of whole frames, as it is": {"feature": "tfmel", "snip_edges": True, "normalise_samples": False},
    "melspec, normalised": {"feature": "melspec", "normalise_samples": True, "reflect_preemphasis": True, "preemphasis_coefficient": 0.97, "log_offset": 1e-6},
    "mfsc with pre-emphasis": {"feature": "mfsc", "preemphasis_coefficient": 0.9, "snip_edges": False, "delta_order": 1},
}


@pytest.fixture(params=OPTIONS.values(), ids=OPTIONS)
def options(request):
    return FeatureOptions(**request.param)


@pytest.fixture(scope="module")
def wavs():
    """Waveforms of several lengths; the third has one frame only."""
    chance = np.random.default_rng(0)
    return [chance.integers(-20000, 20000, num).astype(np.int16) for num in (8000, 7873, 512, 4001, 7999)]


@pytest.fixture(scope="module")
def batch(wavs):
    """(5, 8000) int16, the padding being noise, and lengths"""
    x = torch.from_numpy(np.random.default_rng(1).integers(-99, 99, (len(wavs), 8000)).astype(np.int16))
    for row, wav in zip(x, wavs, strict=True):
        row[: len(wav)] = torch.from_numpy(wav)
    return x, torch.tensor([len(wav) for wav in wavs])


# ---- features of waveforms


def test_a_padded_batch_has_the_features_of_each_waveform_alone(options, wavs, batch):
    alone = Features(options).many([torch.from_numpy(wav).float() for wav in wavs])
    x, lengths = Front("none", options)(*batch)
    assert lengths.tolist() == [len(matrix) for matrix in alone] == [options.num_frames(len(wav)) for wav in wavs]
    assert x.shape == (5, max(lengths), options.dim) and x.dtype == torch.float32
    for row, matrix in zip(x, alone, strict=True):
        np.testing.assert_allclose(row[: len(matrix)], matrix, atol=1e-4)
        assert not row[len(matrix) :].any()


def test_a_batch_of_one_length_needs_no_lengths(options, wavs):
    x, lengths = Front("none", options)(torch.from_numpy(np.stack([wavs[0], wavs[0][::-1].copy()])))
    assert lengths is None
    np.testing.assert_allclose(x[0], Features(options)(torch.from_numpy(wavs[0]).float()), atol=1e-4)
    assert x.shape == (2, options.num_frames(8000), options.dim)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["--num-mel-bins", 20], FeatureOptions(num_mel_bins=20)),
        (["--feature", "mfcc", "--snip-edges", "false"], FeatureOptions(feature="mfcc", snip_edges=False)),
    ],
    ids=["fbank", "mfcc"],
)
def test_features_are_those_that_make_feats_stores_and_another_program_computes(words, options, wavs, batch, tmp_path, program):
    paths = {f"u{number}": tmp_path / f"{number}.wav" for number in range(len(wavs))}
    for path, wav in zip(paths.values(), wavs, strict=True):
        soundfile.write(path, wav, 16000)
    write_data_dir(tmp_path / "data", paths, dict.fromkeys(paths, "s"))
    done = program("steps/make_feats.py", *words, "--compress", 0, tmp_path / "data")
    assert done.returncode == 0, done.stderr
    stored = ArkReader(tmp_path / "data/feats.scp")
    x, lengths = Front("none", options)(*batch)
    for row, length, utt, wav in zip(x, lengths, paths, wavs, strict=True):
        np.testing.assert_allclose(row[:length], stored[utt], atol=1e-4)
        np.testing.assert_allclose(row[:length], of_kaldi_native_fbank(options, wav), atol=2e-3)


def of_kaldi_native_fbank(options, wav):
    is_mfcc = options.feature == "mfcc"
    theirs = (kaldi_native_fbank.MfccOptions if is_mfcc else kaldi_native_fbank.FbankOptions)()
    theirs.frame_opts.dither, theirs.frame_opts.snip_edges, theirs.mel_opts.num_bins = 0, options.snip_edges, options.num_mel_bins
    computer = (kaldi_native_fbank.OnlineMfcc if is_mfcc else kaldi_native_fbank.OnlineFbank)(theirs)
    computer.accept_waveform(16000, wav.astype(np.float32).tolist())
    computer.input_finished()
    return np.stack([computer.get_frame(number) for number in range(computer.num_frames_ready)])


def test_a_waveform_too_short_for_a_frame_has_none():
    x, lengths = Front("none", FeatureOptions())(torch.ones(2, 300), torch.tensor([300, 20]))
    assert x.shape == (2, 0, 23) and lengths.tolist() == [0, 0]
    x, lengths = Front("none", FeatureOptions())(torch.ones(2, 900), torch.tensor([900, 399]))
    assert lengths.tolist() == [4, 0] and not x[1].any() and x.isfinite().all()


def test_numbers_of_frames_are_those_of_the_options_for_arrays_and_tensors(options):
    samples = np.arange(3000)
    expected = [options.num_frames(int(num)) for num in samples]
    assert frames_of(samples, options).tolist() == expected
    assert frames_of(torch.from_numpy(samples), options).tolist() == expected
    least = FeatureOptions(min_duration=0.05)
    assert frames_of(samples, least).tolist() == [least.num_frames(int(num)) for num in samples]


def test_dither_is_drawn_by_the_generator_of_torch_and_left_out_where_asked(batch):
    front, clean = Front("none", FeatureOptions(dither=1.0)), Front("none", FeatureOptions())(*batch)[0]
    torch.manual_seed(3)
    first, second = (front(*batch)[0] for _ in range(2))
    torch.manual_seed(3)
    assert torch.equal(front(*batch)[0], first) and not torch.equal(second, first) and not torch.equal(first, clean)
    assert torch.equal(front(*batch, dither=False)[0], clean)


# ---- samples


def test_networks_of_waveforms_get_the_samples_as_they_are_and_no_padding(batch, wavs):
    x, lengths = Front("mean")(*batch)
    assert x.shape == (5, 8000, 1) and x.dtype == torch.float32 and lengths is batch[1]
    for row, wav in zip(x, wavs, strict=True):
        np.testing.assert_array_equal(row[: len(wav), 0], wav)
        assert not row[len(wav) :].any()


def test_samples_may_be_floats(batch):
    for front in (Front("none"), Front("mean", FeatureOptions())):
        assert torch.equal(front(*batch)[0], front(batch[0].float(), batch[1])[0])


# ---- mean


@pytest.mark.parametrize("cmn", ["mean", "none"])
def test_the_mean_is_that_of_the_frames_that_count(cmn):
    x, lengths = torch.randn(3, 40, 5) + 7, torch.tensor([40, 1, 23])
    given, found = Front(cmn)(x, lengths)
    assert found is lengths
    for row, out, length in zip(x, given, lengths, strict=True):
        np.testing.assert_allclose(out[:length], row[:length] - (row[:length].mean(0) if cmn == "mean" else 0), atol=1e-5)
        assert not out[length:].any()
    np.testing.assert_allclose(Front(cmn)(x)[0], x - (x.mean(1, keepdim=True) if cmn == "mean" else 0), atol=1e-5)


def test_the_mean_is_subtracted_from_computed_features_too(batch):
    x, lengths = Front("none", FeatureOptions())(*batch)
    again, _ = Front("mean")(x, lengths)
    np.testing.assert_allclose(Front("mean", FeatureOptions())(*batch)[0], again, atol=1e-6)


# ---- how


class Watch(TorchDispatchMode):
    """Fails where the value of a tensor is asked for, or a shape depends on values: on a card both wait for it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert not any(name in str(func) for name in ("_local_scalar_dense", "nonzero", "masked_select", "unique", "aten.equal", "is_nonzero")), func
        return func(*args, **(kwargs or {}))


def test_no_value_is_asked_of_the_device(options, batch):
    for front in (Front("mean", options), Front("mean")):
        front(*batch)  # filters are made once
        with Watch():
            front(*batch)
            front(batch[0])
    with pytest.raises(AssertionError), Watch():
        batch[1].max().item()


def test_autocast_and_inference_leave_features_exact_and_training_possible(batch):
    front = Front("mean", FeatureOptions())
    with torch.inference_mode():
        first = front(*batch)[0].clone()
    with torch.autocast("cpu", torch.bfloat16):
        x = front(*batch)[0]
    assert torch.equal(x, first) and x.dtype == torch.float32 and not x.requires_grad
    weights = torch.ones(23, 2, requires_grad=True)
    (x @ weights).sum().backward()
    assert weights.grad.isfinite().all()


# ---- what a network is given


def test_a_crop_of_so_many_frames_gives_so_many(options):
    for frames in (1, 2, 5, 200):
        assert options.num_frames(WaveInput(options.sample_frequency, options).samples(frames)) == frames


def test_crops_of_samples_are_counted_in_10_ms():
    assert [WaveInput(rate).samples(200) for rate in (8000.0, 16000.0, 44100.0)] == [16000, 32000, 88200]


def test_settings_say_what_a_network_is_given_and_give_it_back(options):
    for wanted in (WaveInput(options.sample_frequency, options), WaveInput(8000.0)):
        back = wave_input_of(wanted.settings, "model.json")
        assert (back.rate, back.dim, back.settings) == (wanted.rate, wanted.dim, wanted.settings)
    assert WaveInput(8000.0).settings == {"input": "wave", "sample_frequency": 8000.0}


def test_settings_of_features_that_are_made_in_several_steps_are_refused():
    message = "x/model.json: its features were made with cmn, vtln_map, which cannot be computed from recordings here; make them by the same steps"
    assert failure(wave_input_of, FeatureOptions().to_json() | {"cmn": "sliding", "vtln_map": True}, "x/model.json") == message


def test_a_network_of_waveforms_says_its_rate():
    network = network_class("sinctdnn")
    assert [raw_input_of(network, args).rate for args in ({}, {"sample_rate": "8000"})] == [16000.0, 8000.0]
    assert failure(raw_input_of, network, {"sample_rate": "fast"}).startswith("--model-args: sample_rate=fast: ")
