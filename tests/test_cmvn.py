"""pytorch/features/cmvn.py: normalisation equals Kaldi's golden outputs, torchaudio's sliding window and the definition."""

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kaldi_outputs import UTTS, golden_arrays, golden_wav
from torch.testing import assert_close

from pytorch.features.cmvn import SlidingCmn, subtract_mean
from pytorch.features.kaldi import Features
from pytorch.features.options import FeatureOptions

BATCH = torch.from_numpy(np.random.default_rng(0).normal(20, 5, (3, 17, 4)).astype(np.float32))


# ---- over the utterance


def test_the_mean_of_each_utterance_becomes_zero():
    found = subtract_mean(BATCH)
    np.testing.assert_allclose(found.numpy(), BATCH.numpy() - BATCH.numpy().mean(1, keepdims=True), rtol=0, atol=1e-5)


def test_an_utterance_alone_is_the_same_as_in_a_batch():
    assert_close(subtract_mean(BATCH[1], norm_vars=True), subtract_mean(BATCH, norm_vars=True)[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm_vars", [False, True])
def test_padding_takes_no_part_in_the_mean_and_becomes_zero(norm_vars):
    lengths = [17, 5, 1]
    found = subtract_mean(BATCH, torch.tensor(lengths), norm_vars)
    for row, wide, length in zip(found, BATCH, lengths, strict=True):
        assert_close(row[:length], subtract_mean(wide[None, :length], norm_vars=norm_vars)[0], rtol=0, atol=1e-5)
        assert torch.equal(row[length:], torch.zeros(17 - length, 4))


def test_the_result_does_not_depend_on_what_the_padding_holds():
    lengths = torch.tensor([17, 5, 1])
    other = BATCH.clone()
    other[1, 5:], other[2, 1:] = 1e6, -1e6
    assert torch.equal(subtract_mean(BATCH, lengths), subtract_mean(other, lengths))


def test_full_lengths_are_the_same_as_none():
    assert_close(subtract_mean(BATCH, torch.tensor([17, 17, 17])), subtract_mean(BATCH), rtol=0, atol=1e-5)


def test_the_deviation_becomes_one_but_for_columns_that_hardly_move():
    x = BATCH[0].clone()
    x[:, 1] = 7.0
    x[:, 2] = 7.0 + 0.02 * torch.arange(17) / 17
    found = subtract_mean(x, norm_vars=True).numpy()
    still = x.numpy() - x.numpy().mean(0)
    np.testing.assert_allclose(found[:, [0, 3]], still[:, [0, 3]] / x.numpy().std(0)[[0, 3]], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found[:, [1, 2]], still[:, [1, 2]], rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm_vars", [False, True])
def test_features_come_normalised_where_asked(norm_vars):
    wav = torch.from_numpy(golden_wav("s0-u1"))
    found = Features(FeatureOptions(feature="mfsc", subtract_mean=True, norm_vars=norm_vars))(wav).numpy()
    plain = Features(FeatureOptions(feature="mfsc"))(wav).numpy()
    expected = plain - plain.mean(0)
    if norm_vars:
        expected /= np.where(plain.std(0) > 0.01, plain.std(0), 1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


# ---- in a sliding window


@pytest.mark.parametrize(
    "name, cmn",
    [
        ("cmvn_center_true.txt", SlidingCmn(window=100, center=True)),
        ("cmvn_center_false.txt", SlidingCmn(window=100, center=False, min_window=50)),
        ("cmvn_vars.txt", SlidingCmn(window=300, center=True, norm_vars=True)),
    ],
)
@pytest.mark.parametrize("utt", UTTS)
def test_a_sliding_window_normalises_as_kaldi(name, cmn, utt):
    found = cmn(torch.from_numpy(golden_arrays("mfcc30_d0.txt")[utt]))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), golden_arrays(name)[utt], rtol=0, atol=2e-5)


def by_definition(x, window, center, min_window, norm_vars):
    """Frame by frame, the window as Kaldi's documentation has it, in double precision."""
    out = []
    for frame in range(len(x)):
        if center:
            first = max(0, min(frame - window // 2, len(x) - window))
            last = min(len(x), first + window)
        else:
            first, last = max(0, frame - window), frame + 1
            if last < min_window and first == 0:
                last = min(len(x), min_window)
        part = x[first:last].astype(np.float64)
        row = x[frame] - part.mean(0)
        if norm_vars:
            row = row / np.sqrt(np.maximum(part.var(0), 1e-10)) if len(part) > 1 else np.zeros_like(row)
        out.append(row)
    return np.array(out).reshape(x.shape)


WINDOWS = st.tuples(st.integers(2, 40), st.booleans(), st.integers(1, 40), st.booleans()).map(lambda words: (*words[:2], min(words[2], words[0]), words[3]))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 90), WINDOWS, st.integers(0, 99))
@example(1, (10, False, 1, True), 0)
@example(2, (2, True, 1, True), 0)
def test_a_sliding_window_equals_its_definition(frames, window, seed):
    x = np.random.default_rng(seed).normal(20, 5, (frames, 3)).astype(np.float32)
    np.testing.assert_allclose(SlidingCmn(*window)(torch.from_numpy(x)).numpy(), by_definition(x, *window), rtol=0, atol=2e-5)


@pytest.mark.parametrize("norm_vars", [False, True])
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("frames", [2, 50, 100, 101, 207])
def test_a_sliding_window_equals_torchaudios(frames, center, norm_vars):
    x = torch.from_numpy(golden_arrays("mfcc30_d0.txt")["s0-u1"])[:frames]
    expected = torchaudio.functional.sliding_window_cmn(x.double(), 100, 50, center, norm_vars).float()
    assert_close(SlidingCmn(100, center, 50, norm_vars)(x), expected, rtol=0, atol=1e-4)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 200), WINDOWS)
def test_a_crop_equals_the_crop_of_the_whole_and_reads_only_what_it_needs(data, frames, window):
    x = torch.from_numpy(np.random.default_rng(frames).normal(20, 5, (frames, 3)).astype(np.float32))
    start = data.draw(st.integers(0, frames))
    num = data.draw(st.integers(0, frames - start))
    reads = []

    def rows(first, count):
        reads.append(count)
        assert 0 <= first <= first + count <= frames
        return x[first : first + count].numpy()

    cmn = SlidingCmn(*window)
    assert_close(cmn.crop(rows, start, num, frames), cmn(x)[start : start + num], rtol=0, atol=1e-5)
    assert len(reads) == 1
    assert reads[0] <= num + 2 * max(window[0], window[2])


@pytest.mark.parametrize("norm_vars", [False, True])
def test_sums_stay_exact_in_a_long_utterance_far_from_zero(norm_vars):
    x = (3000 + np.random.default_rng(0).normal(0, 1, (30000, 2))).astype(np.float32)
    found = SlidingCmn(300, True, norm_vars=norm_vars)(torch.from_numpy(x)).numpy()
    part = slice(20000, 20300)
    expected = x[20150].astype(np.float64) - x[part].astype(np.float64).mean(0)
    if norm_vars:
        expected /= x[part].astype(np.float64).std(0)
    np.testing.assert_allclose(found[20150], expected, rtol=0, atol=2e-5)


def test_a_column_that_never_moves_is_zero_and_finite():
    found = SlidingCmn(10, True, norm_vars=True)(torch.full((50, 2), 7.0))
    assert torch.equal(found, torch.zeros(50, 2))


def test_no_frames_give_none():
    assert SlidingCmn()(torch.zeros(0, 3)).shape == (0, 3)
