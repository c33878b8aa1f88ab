"""pytorch/models/pooling.py: every pooling equals its formula in double precision, whatever the padding."""

import math
import typing

import numpy as np
import pytest
import torch
from support import failure

from pytorch.models.padding import after_conv, blank, masked_mean
from pytorch.models.pooling import POOLINGS, PoolingName, build_pooling, mean_std

DIM, HEADS = 12, 3
OPTIONS = {"heads": HEADS, "bottleneck": 5, "queries": 2, "head_drop": 0.3}
OUT_DIM = {"tap": DIM, "tstp": 2 * DIM, "sap": DIM, "mha": DIM, "dmha": DIM // HEADS, "asp": 2 * DIM, "astp": 2 * DIM, "mqmha": 4 * DIM}


def pooling(name, **more):
    torch.manual_seed(0)
    return build_pooling(name, DIM, **{**OPTIONS, **more}).eval()


def softmax(scores, axis):
    weights = np.exp(scores - scores.max(axis, keepdims=True))
    return weights / weights.sum(axis, keepdims=True)


def weighted_stats(h, weights):
    mean = (h * weights).sum(-1)
    return mean, np.sqrt((h**2 * weights).sum(-1) - mean**2)


def naive_mha(pool, h):
    """(DIM, T) -> (HEADS, DIM / HEADS), head by head"""
    query, parts = pool.query.detach().numpy().astype(np.float64), []
    for head, own in enumerate(np.split(h, len(query))):
        parts.append(own @ softmax(query[head] @ own / math.sqrt(len(query)), 0))
    return np.array(parts)


def naive_dmha(pool, h):
    parts = naive_mha(pool.attention, h)
    return softmax(parts @ pool.query.detach().numpy()[:, 0].astype(np.float64), 0) @ parts


def naive_affine(conv, x, group=slice(None)):
    return conv.weight.detach().numpy().astype(np.float64)[group, :, 0] @ x + conv.bias.detach().numpy().astype(np.float64)[group, None]


def naive_astp(pool, h):
    context = np.concatenate([h.mean(1), h.std(1, ddof=1)])[:, None].repeat(h.shape[1], 1)
    hidden = np.tanh(naive_affine(pool.hidden, np.concatenate([h, context]) if pool.context else h))
    return np.concatenate(weighted_stats(h, softmax(naive_affine(pool.scores, hidden), 1)))


def naive_asp(pool, h):
    norm = pool.activation[1]
    hidden = np.maximum(naive_affine(pool.hidden, h), 0)
    hidden = (hidden - norm.running_mean.numpy()[:, None]) / np.sqrt(norm.running_var.numpy()[:, None] + norm.eps)
    return np.concatenate(weighted_stats(h, softmax(naive_affine(pool.scores, hidden), 1)))


def naive_mqmha(pool, h):
    """All queries of all heads one by one: for each query, for each head, mean and deviation."""
    size, found = DIM // HEADS, []
    for query in range(2):
        for head, own in enumerate(np.split(h, HEADS)):
            place = 2 * head + query
            hidden = np.tanh(naive_affine(pool.hidden, own, slice(5 * place, 5 * place + 5)))
            weights = softmax(naive_affine(pool.scores, hidden, slice(size * place, size * place + size)), 1)
            found += weighted_stats(own, weights)
    return np.concatenate(found)


NAIVE = {
    "tap": lambda pool, h: h.mean(1),
    "tstp": lambda pool, h: np.concatenate([h.mean(1), np.sqrt(h.var(1, ddof=1) + 1e-7)]),
    "sap": lambda pool, h: naive_mha(pool, h)[0],
    "mha": lambda pool, h: naive_mha(pool, h).ravel(),
    "dmha": naive_dmha,
    "asp": naive_asp,
    "astp": naive_astp,
    "mqmha": naive_mqmha,
}


@pytest.mark.parametrize("name", POOLINGS)
def test_a_pooling_equals_its_formula(name):
    pool, h = pooling(name), 2 * torch.randn(4, DIM, 9) + 1
    found = pool(h)
    assert found.shape == (4, pool.out_dim) == (4, OUT_DIM[name])
    assert found.dtype == torch.float32
    for row, frames in zip(found.detach().numpy(), h.numpy().astype(np.float64), strict=True):
        np.testing.assert_allclose(row, NAIVE[name](pool, frames), rtol=1e-5, atol=1e-5)


def test_attentive_statistics_without_context_equal_their_formula():
    pool, h = pooling("astp", context=False), torch.randn(1, DIM, 9)
    np.testing.assert_allclose(pool(h).detach().numpy()[0], naive_astp(pool, h[0].numpy().astype(np.float64)), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("filler", [0.0, 1e4])
@pytest.mark.parametrize("name", [*POOLINGS, "astp with a normalised hidden layer"])
def test_padding_changes_nothing(name, filler):
    pool = pooling(name[:4], norm=True) if " " in name else pooling(name)
    lengths = [11, 1, 2, 7]
    h = torch.randn(4, DIM, 11)
    for row, length in zip(h, lengths, strict=True):
        row[:, length:] = filler
    alone = torch.cat([pool(row[None, :, :length]) for row, length in zip(h, lengths, strict=True)])
    torch.testing.assert_close(pool(h, torch.tensor(lengths)), alone, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(pool(h, torch.tensor([11] * 4)), pool(h), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", POOLINGS)
def test_one_frame_and_constant_frames_give_finite_values_and_gradients(name):
    pool = pooling(name).train()
    for h in (torch.randn(4, DIM, 1), torch.full((4, DIM, 6), 2.0)):
        h.requires_grad_()
        found = pool(h)
        found.sum().backward()
        assert torch.isfinite(found).all()
        assert torch.isfinite(h.grad).all()
        assert all(torch.isfinite(weight.grad).all() for weight in pool.parameters())


@pytest.mark.parametrize("lengths", [None, [7, 4]], ids=["whole", "padded"])
@pytest.mark.parametrize("name", POOLINGS)
def test_gradients_equal_finite_differences_in_double_precision(name, lengths):
    pool = pooling(name).double()
    lengths = None if lengths is None else torch.tensor(lengths)
    frames = (torch.randn(2, DIM, 7, dtype=torch.float64) + 1).requires_grad_()
    names, weights = zip(*pool.named_parameters(), strict=True) if list(pool.parameters()) else ((), ())

    def pooled(h, *values):
        return torch.func.functional_call(pool, dict(zip(names, values, strict=True)), (h, lengths))

    assert torch.autograd.gradcheck(pooled, (frames, *weights))


@torch.inference_mode()
@pytest.mark.parametrize("name", POOLINGS)
def test_statistics_are_single_precision_under_autocast(name):
    pool, h = pooling(name), (torch.randn(4, DIM, 300) + 10).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = pool(h)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, pool(h.float()), rtol=0.02, atol=0.02)


def test_mean_std_gives_mean_and_standard_deviation():
    h = np.random.default_rng(0).normal(100, 3, (2, 6, 50)).astype(np.float32)
    wide = h.astype(np.float64)
    np.testing.assert_allclose(mean_std(torch.from_numpy(h)), np.concatenate([wide.mean(2), wide.std(2)], axis=1), rtol=1e-5)
    np.testing.assert_allclose(mean_std(torch.from_numpy(h), correction=1), np.concatenate([wide.mean(2), wide.std(2, ddof=1)], axis=1), rtol=1e-5)
    part = mean_std(torch.from_numpy(h), torch.tensor([50, 7]), correction=1)[1]
    np.testing.assert_allclose(part, np.concatenate([wide[1, :, :7].mean(1), wide[1, :, :7].std(1, ddof=1)]), rtol=1e-5)


def test_mean_std_has_kaldis_floor():
    np.testing.assert_allclose(mean_std(torch.full((1, 2, 9), 4.0)), [[4, 4, 1e-5, 1e-5]], rtol=1e-6)
    np.testing.assert_allclose(mean_std(torch.full((1, 1, 9), 4.0), eps=1e-4), [[4, 1e-2]], rtol=1e-4)


# ---- double multi-head attention


def test_self_attention_is_multi_head_attention_with_one_head():
    assert [tuple(weight.shape) for weight in pooling("sap").parameters()] == [(1, DIM)]


@pytest.mark.parametrize("asked, share", [(0.3, 1 / 3), (0.25, 1 / 4), (0.5, 1 / 2), (0.15, 1 / 6)])
def test_heads_are_dropped_with_the_share_of_the_published_code(asked, share):
    pool = pooling("dmha", head_drop=asked, heads=4).train()
    assert pool.drop == share
    with torch.no_grad():
        pool.attention.query.zero_()
        pool.query.zero_()
    torch.manual_seed(0)
    h = torch.zeros(4000, DIM, 1)
    h[:, ::3] = torch.arange(4.0)[:, None]  # each part's first channel holds the number of the head
    found = pool(h)[:, 0]  # the mean of the numbers of the heads that are left
    assert (found == 1.5).sum().item() / 4000 == pytest.approx(
        sum(share**n * (1 - share) ** (4 - n) * {0: 1, 2: 2, 4: 1}.get(n, 0) for n in range(5)), abs=0.03
    )


def test_an_utterance_that_would_lose_all_heads_keeps_them_all():
    pool = pooling("dmha", heads=1, head_drop=0.5).train()
    h = torch.randn(50, DIM, 4)
    torch.testing.assert_close(pool(h), pool.eval()(h))


def test_no_head_is_dropped_outside_training_or_where_none_is_asked_for():
    h = torch.randn(20, DIM, 4)
    pool = pooling("dmha")
    assert torch.equal(pool(h), pool(h))
    never = pooling("dmha", head_drop=0.0).train()
    assert torch.equal(never(h), never.eval()(h))


# ---- building


def test_the_names_a_network_can_be_given_are_those_there_are():
    assert typing.get_args(PoolingName) == tuple(POOLINGS)


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("mha", {"heads": 5}, "heads=5: a divisor of the 12 channels that are pooled expected"),
        ("dmha", {"heads": 7}, "heads=7: a divisor of the 12 channels that are pooled expected"),
        ("mqmha", {"heads": 8}, "heads=8: a divisor of the 12 channels that are pooled expected"),
        ("dmha", {"head_drop": 0.6}, "head_drop=0.6: at most 0.5 expected"),
    ],
)
def test_what_cannot_be_built_is_refused(name, options, message):
    assert failure(build_pooling, name, DIM, **{**OPTIONS, **options}) == f"--model-args: {message}"


# ---- padding


def test_blank_puts_zeros_beyond_the_end():
    h = torch.ones(2, 3, 2, 4)
    found = blank(h, torch.tensor([4, 1]))
    assert torch.equal(found[0], h[0])
    assert found[1].sum().item() == 6
    assert found[1, ..., 0].sum().item() == 6
    assert blank(h, None) is h


def test_masked_mean_is_the_mean_of_what_counts():
    h = torch.randn(2, 3, 5, 4)
    found = masked_mean(h, torch.tensor([4, 2]))
    torch.testing.assert_close(found[0], h[0].mean(-1))
    torch.testing.assert_close(found[1], h[1, ..., :2].mean(-1))
    assert masked_mean(h, torch.tensor([4, 2]), keepdim=True).shape == (2, 3, 5, 1)


@pytest.mark.parametrize("kernel, stride, dilation, padding", [(5, 1, 1, 0), (3, 2, 1, 1), (3, 1, 3, 0), (1, 2, 1, 0), (251, 10, 1, 0), (3, 3, 1, 0)])
def test_after_conv_counts_the_frames_of_a_convolution(kernel, stride, dilation, padding):
    conv = torch.nn.Conv1d(1, 1, kernel, stride, padding, dilation)
    for length in (251, 300, 301, 302, 303):
        assert after_conv(torch.tensor([length]), kernel, stride, dilation, padding).item() == conv(torch.zeros(1, 1, length)).shape[2]
    assert after_conv(None, kernel, stride, dilation, padding) is None
