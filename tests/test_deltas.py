"""pytorch/features/deltas.py: derivatives in time equal the definition of Kaldi's add-deltas, and torchaudio's where both mean the same."""

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st
from kaldi_outputs import golden_arrays, golden_wav
from torch.testing import assert_close

from pytorch.features.deltas import add_deltas
from pytorch.features.kaldi import Features
from pytorch.features.options import FeatureOptions

MFCC = torch.from_numpy(golden_arrays("mfcc30_d0.txt")["s0-u1"])


def by_definition(x, order, window):
    """Frame by frame in double precision: a filter of the order's length, whose places beyond the edges read the first or last frame."""
    scales = [np.ones(1)]
    for _ in range(order):
        ramp = np.arange(-window, window + 1) / np.square(np.arange(-window, window + 1)).sum()
        scales.append(np.convolve(scales[-1], ramp))
    out = []
    for frame in range(len(x)):
        row = []
        for scale in scales:
            reach = len(scale) // 2
            places = np.clip(np.arange(frame - reach, frame + reach + 1), 0, len(x) - 1)
            row.append(scale @ x[places].astype(np.float64))
        out.append(np.concatenate(row))
    return np.array(out).reshape(len(x), -1)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 30), st.integers(1, 4), st.integers(0, 3), st.integers(1, 4), st.integers(0, 99))
def test_derivatives_equal_their_definition(frames, dim, order, window, seed):
    x = np.random.default_rng(seed).normal(0, 10, (frames, dim)).astype(np.float32)
    found = add_deltas(torch.from_numpy(x), order, window)
    assert found.shape == (frames, dim * (1 + order))
    np.testing.assert_allclose(found.numpy(), by_definition(x, order, window), rtol=0, atol=2e-5)


def torchaudios(x, window):
    return torchaudio.functional.compute_deltas(x.T, win_length=2 * window + 1, mode="replicate").T


@pytest.mark.parametrize("window", [1, 2, 3, 5])
def test_the_first_derivative_equals_torchaudios(window):
    assert_close(add_deltas(MFCC, 1, window)[:, 30:], torchaudios(MFCC, window), rtol=0, atol=1e-4)


@pytest.mark.parametrize("window", [1, 2, 3])
def test_the_second_derivative_equals_torchaudios_twice_away_from_the_edges(window):
    second, theirs = add_deltas(MFCC, 2, window)[:, 60:], torchaudios(torchaudios(MFCC, window), window)
    assert_close(second[window:-window], theirs[window:-window], rtol=0, atol=1e-4)


def test_the_second_derivative_at_the_edge_is_not_the_derivative_of_the_first():
    second, twice = add_deltas(MFCC, 2)[:, 60:], torchaudios(torchaudios(MFCC, 2), 2)
    assert (second[0] - twice[0]).abs().max() > 0.1


def test_derivatives_run_over_time_and_not_over_columns():
    still = torch.arange(5.0).expand(20, 5)
    assert_close(add_deltas(still, 2), torch.cat([still, torch.zeros(20, 10)], dim=1))
    rising = torch.arange(20.0)[:, None].expand(20, 5)
    assert_close(add_deltas(rising, 1)[2:-2, 5:], torch.ones(16, 5))


def test_the_columns_come_first_and_unchanged():
    assert torch.equal(add_deltas(MFCC, 2)[:, :30], MFCC)
    assert torch.equal(add_deltas(MFCC, 0), MFCC)


def test_one_frame_has_no_slope_and_no_frames_have_none():
    assert_close(add_deltas(torch.ones(1, 3), 2), torch.tensor([[1.0, 1, 1, 0, 0, 0, 0, 0, 0]]))
    assert add_deltas(torch.ones(0, 3), 2).shape == (0, 9)


def test_a_batch_equals_its_utterances():
    batch = torch.stack([MFCC[:50], MFCC[100:150]])
    for row, x in zip(add_deltas(batch, 2), batch, strict=True):
        assert torch.equal(row, add_deltas(x, 2))


@pytest.mark.parametrize("order", [1, 2])
def test_features_come_with_derivatives_where_asked(order):
    wav = torch.from_numpy(golden_wav("s0-u1"))
    plain = Features(FeatureOptions(feature="mfcc"))(wav)
    assert torch.equal(Features(FeatureOptions(feature="mfcc", delta_order=order, delta_window=3))(wav), add_deltas(plain, order, 3))
