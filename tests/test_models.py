"""pytorch/models and pytorch/losses.py: the x-vector network is Kaldi's, embeddings do not depend on padding, losses equal their formulas."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support import failure

from pytorch.losses import AdditiveAngularMargin, Softmax, build_loss
from pytorch.models import MODELS, build_model, parse_model_args
from pytorch.models.pooling import mean_std
from pytorch.models.xvector import XVector

GOLDEN = Path(__file__).parent / "kaldi_golden"
WIDTHS = {"frame_dim": 16, "stats_dim": 24, "embed_dim": 12}


def small_network(feat_dim=5, seed=0, **more):
    """A network with running statistics that differ from channel to channel, in evaluation mode."""
    torch.manual_seed(seed)
    network = XVector(feat_dim, **WIDTHS, **more).train()
    for _ in range(5):
        network(3 * torch.randn(8, 30, feat_dim) + 1)
    return network.eval()


# ---- Kaldi's network


def toy_parameters():
    """Kaldi's nnet3 text -> {component: {"LinearParams": array, …}}"""
    text = (GOLDEN / "xvector_toy_final.txt").read_text()
    found = {}
    for name, body in re.findall(r"<ComponentName> (\S+) (.*?)</\w+>", text, re.S):
        found[name] = {
            key: np.array([row.split() for row in rows.strip().split("\n")], dtype=np.float64)
            for key, rows in re.findall(r"<(\w+)>\s+\[(.*?)\]", body, re.S)
            if rows.strip()
        }
        found[name] |= {key: float(number) for key, number in re.findall(r"<(\w+)> ([\d.e+-]+)(?= )", body)}
    return found


TOY = toy_parameters()


def golden_matrices(name):
    text = (GOLDEN / name).read_text()
    return {utt: np.array([row.split() for row in body.strip().split("\n")], dtype=np.float32) for utt, body in re.findall(r"(\S+)  \[(.*?)\]", text, re.S)}


def toy_network():
    """XVector with the weights of Kaldi's toy."""
    network = XVector(30, **WIDTHS)
    layers = [(layer[0], layer[2], f"tdnn{number}") for number, layer in enumerate(network.frames, 1)]
    layers += [(network.segment6, network.segment7[1], "tdnn6"), (network.segment7[2], network.segment7[4], "tdnn7")]
    with torch.no_grad():
        for affine, norm, name in layers:
            weight = torch.from_numpy(TOY[f"{name}.affine"]["LinearParams"]).float()
            if affine.weight.dim() == 3:  # Kaldi appends frames, each with all its columns
                outputs, inputs, width = affine.weight.shape
                weight = weight.reshape(outputs, width, inputs).transpose(1, 2)
            affine.weight.copy_(weight)
            affine.bias.copy_(torch.from_numpy(TOY[f"{name}.affine"]["BiasParams"][0]))
            norm.running_mean.copy_(torch.from_numpy(TOY[f"{name}.batchnorm"]["StatsMean"][0]))
            norm.running_var.copy_(torch.from_numpy(TOY[f"{name}.batchnorm"]["StatsVar"][0]))
            assert TOY[f"{name}.batchnorm"]["Epsilon"] == norm.eps
            assert TOY[f"{name}.batchnorm"]["TargetRms"] == 1
    return network.eval()


def toy_forward(feats):
    """kaldi.md, section 8, in double precision -> embedding, output of tdnn7"""

    def affine(name, x):
        return x @ TOY[f"{name}.affine"]["LinearParams"].T + TOY[f"{name}.affine"]["BiasParams"][0]

    def relu_norm(name, x):
        norm = TOY[f"{name}.batchnorm"]
        return (np.maximum(x, 0) - norm["StatsMean"][0]) / np.sqrt(norm["StatsVar"][0] + norm["Epsilon"])

    x = feats.astype(np.float64)
    for name, offsets in [("tdnn1", (-2, -1, 0, 1, 2)), ("tdnn2", (-2, 0, 2)), ("tdnn3", (-3, 0, 3)), ("tdnn4", (0,)), ("tdnn5", (0,))]:
        frames = range(-offsets[0], len(x) - offsets[-1])
        x = relu_norm(name, affine(name, np.array([np.concatenate([x[frame + offset] for offset in offsets]) for frame in frames])))
    stats = np.concatenate([x.mean(0), np.sqrt(np.maximum((x**2).mean(0) - x.mean(0) ** 2, 1e-10))])
    embedding = affine("tdnn6", stats)
    return embedding, relu_norm("tdnn7", affine("tdnn7", relu_norm("tdnn6", embedding)))


@torch.inference_mode()
def test_embeddings_equal_those_of_kaldis_network():
    network = toy_network()
    expected = golden_matrices("xvector_toy_full.txt")
    feats = golden_matrices("xvector_toy_feats.txt")
    assert len(expected) == 12
    assert sorted(expected) == sorted(feats)
    for utt in expected:
        np.testing.assert_allclose(network.embed(torch.from_numpy(feats[utt])[None])[0], expected[utt][0], rtol=0, atol=1e-4)


@torch.inference_mode()
def test_a_padded_batch_gives_kaldis_embeddings():
    feats, expected = golden_matrices("xvector_toy_feats.txt"), golden_matrices("xvector_toy_full.txt")
    batch = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(feats[utt]) for utt in feats], batch_first=True)
    found = toy_network().embed(batch, torch.tensor([len(feats[utt]) for utt in feats]))
    np.testing.assert_allclose(found, np.concatenate([expected[utt] for utt in feats]), rtol=0, atol=1e-4)


@torch.inference_mode()
def test_what_the_loss_sees_is_kaldis_tdnn7():
    network = toy_network()
    for feats in list(golden_matrices("xvector_toy_feats.txt").values())[:3]:
        embedding, last = toy_forward(feats)
        np.testing.assert_allclose(network.embed(torch.from_numpy(feats)[None])[0], embedding, rtol=0, atol=1e-4)
        np.testing.assert_allclose(network(torch.from_numpy(feats)[None])[0], last, rtol=0, atol=1e-3)


def test_the_network_has_as_many_parameters_as_kaldis():
    network = XVector(30)
    assert sum(parameter.numel() for parameter in network.parameters()) == 4482524
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert {name.rpartition(".")[2] for name, _ in network.named_parameters()} == {"weight", "bias"}
    assert sum(parameter.numel() for parameter in build_loss("softmax", 512, 7323, 0, 0).parameters()) == 513 * 7323


@torch.inference_mode()
def test_without_segment7_the_loss_sees_the_embedding_which_is_segment6_normalised():
    network = small_network(segment7=False)
    x = torch.randn(3, 20, 5)
    affine = network.segment6(mean_std(network.frames(x.transpose(1, 2))))
    norm = network.normalise
    torch.testing.assert_close(network.embed(x), (affine - norm.running_mean) / torch.sqrt(norm.running_var + 1e-3), rtol=1e-5, atol=1e-5)
    assert torch.equal(network(x), network.embed(x))
    assert sum(parameter.numel() for parameter in XVector(30, segment7=False).parameters()) == 4482524 - 513 * 512


# ---- lengths and padding


@torch.inference_mode()
def test_fifteen_frames_are_the_least():
    network = small_network()
    assert network.min_frames == 15
    assert network.embed(torch.randn(2, 15, 5)).shape == (2, 12)
    with pytest.raises(RuntimeError, match="[Kk]ernel size"):
        network.embed(torch.randn(2, 14, 5))


def test_one_frame_at_the_pooling_gives_finite_values_and_gradients():
    network = small_network().train()
    found = network(torch.randn(4, 15, 5))
    found.square().sum().backward()
    assert torch.isfinite(found).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


@torch.inference_mode()
def test_a_constant_input_gives_a_finite_embedding():
    assert torch.isfinite(small_network().embed(torch.full((1, 50, 5), 3.0))).all()


@torch.inference_mode()
@pytest.mark.parametrize("filler", [0.0, 7.0, -1e4])
@pytest.mark.parametrize("segment7", [True, False])
def test_a_padded_batch_equals_its_utterances_one_by_one(filler, segment7):
    network = small_network(segment7=segment7)
    lengths = [100, 15, 16, 57, 99]
    x = torch.randn(len(lengths), 100, 5) + torch.arange(5.0)[:, None, None]
    for row, length in zip(x, lengths, strict=True):
        row[length:] = filler
    together = network.embed(x, torch.tensor(lengths))
    alone = torch.cat([network.embed(row[None, :length]) for row, length in zip(x, lengths, strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert alone.std(0).min() > 1e-3  # that it is not the bias alone that is compared


@torch.inference_mode()
def test_full_lengths_are_the_same_as_none():
    network, x = small_network(), torch.randn(3, 40, 5)
    torch.testing.assert_close(network.embed(x, torch.tensor([40, 40, 40])), network.embed(x), rtol=1e-5, atol=1e-5)


def test_pooling_gives_mean_and_standard_deviation():
    h = np.random.default_rng(0).normal(100, 3, (2, 6, 50)).astype(np.float32)
    found = mean_std(torch.from_numpy(h))
    assert found.shape == (2, 12)
    np.testing.assert_allclose(found, np.concatenate([h.mean(2), h.astype(np.float64).std(2)], axis=1), rtol=1e-5)
    part = mean_std(torch.from_numpy(h), torch.tensor([50, 7]))[1]
    np.testing.assert_allclose(part, np.concatenate([h[1, :, :7].mean(1), h[1, :, :7].astype(np.float64).std(1)]), rtol=1e-5)


def test_pooling_has_kaldis_floor():
    found = mean_std(torch.full((1, 2, 9), 4.0))
    np.testing.assert_allclose(found, [[4, 4, 1e-5, 1e-5]], rtol=1e-6)


def test_pooling_is_single_precision_whatever_comes_in():
    h = torch.randn(2, 3, 400)
    found = mean_std(h.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, mean_std(h.bfloat16().float()))


# ---- building


def test_a_network_is_built_by_name_with_typed_arguments():
    network = build_model("xvector", 7, {"frame_dim": "16", "stats_dim": 24, "embed_dim": "12", "segment7": "false"})
    assert isinstance(network, XVector)
    assert network.embed_dim == 12
    assert network(torch.randn(2, 20, 7)).shape == (2, 12)
    assert not any(name.startswith("segment7") for name, _ in network.named_parameters())


def test_the_registry_is_literal():
    for name, (file, cls) in MODELS.items():
        assert (Path(__file__).parents[1] / f"pytorch/models/{file}.py").exists()
        assert build_model(name, 30, {}).__class__.__name__ == cls


KNOWN = "frame_dim=512, stats_dim=1500, embed_dim=512, segment7=true"


@pytest.mark.parametrize(
    "args, message",
    [
        ({"width": "5"}, f"xvector has no argument 'width'; it has {KNOWN}"),
        ({"feat_dim": "5"}, f"xvector has no argument 'feat_dim'; it has {KNOWN}"),
        ({"frame_dim": "wide"}, f"frame_dim=wide: int expected; xvector has {KNOWN}"),
        ({"frame_dim": "12.5"}, f"frame_dim=12.5: int expected; xvector has {KNOWN}"),
        ({"segment7": "yes"}, f"segment7=yes: bool expected; xvector has {KNOWN}"),
        ({"segment7": "True"}, f"segment7=True: bool expected; xvector has {KNOWN}"),
        ({"embed_dim": "0"}, "embed_dim=0: 1 or more expected"),
        ({"embed_dim": "-3"}, "embed_dim=-3: 1 or more expected"),
    ],
)
def test_arguments_a_network_does_not_have_are_refused(args, message):
    assert failure(build_model, "xvector", 30, args) == f"--model-args: {message}"


def test_model_args_are_pairs():
    assert parse_model_args("a=1  b=x=y") == {"a": "1", "b": "x=y"}
    assert parse_model_args("") == {}


@pytest.mark.parametrize("word", ["a", "=1", "a=", "="])
def test_model_args_that_are_no_pairs_are_refused(word):
    assert failure(parse_model_args, f"b=1 {word}") == f"--model-args: name=value expected, not '{word}'"


# ---- losses


def naive_aam(x, weight, targets, scale, margin):
    """Deng et al., eq. 3, in double precision, by the angle itself; beyond pi - margin the line that follows on -> mean loss, cosines"""
    cosines = (x / x.norm(dim=1, keepdim=True)) @ (weight / weight.norm(dim=1, keepdim=True)).T
    logits = scale * cosines
    rows = torch.arange(len(x))
    angle = torch.arccos(cosines[rows, targets])
    logits[rows, targets] = scale * torch.where(angle + margin <= math.pi, torch.cos(angle + margin), torch.cos(angle) - margin * math.sin(margin))
    return -(logits[rows, targets] - torch.logsumexp(logits, 1)).mean(), cosines


def batch(seed=0, size=40, dim=8, classes=6):
    """x, targets and a loss' weights; the first half of x lies near its class, a quarter opposite to it."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, dim, generator=generator)
    targets = torch.randint(classes, (size,), generator=generator)
    side = torch.ones(size, 1)
    side[size // 2 :] = -1
    side[3 * size // 4 :] = 0
    x = 3 * side * weight[targets] + 0.4 * torch.randn(size, dim, generator=generator)
    return x, targets, weight


def aam(weight, scale, margin):
    loss = AdditiveAngularMargin(weight.shape[1], len(weight), scale, margin)
    with torch.no_grad():
        loss.weight.copy_(weight)
    return loss


@pytest.mark.parametrize("scale, margin", [(30.0, 0.2), (32.0, 0.5), (64.0, 0.35), (1.0, 0.0), (10.0, 1.2)])
def test_aam_equals_the_formula(scale, margin):
    x, targets, weight = batch()
    x.requires_grad_()
    loss = aam(weight, scale, margin)
    found, cosines = loss(x, targets)
    x64, weight64 = x.detach().double().requires_grad_(), weight.double().requires_grad_()
    expected, expected_cosines = naive_aam(x64, weight64, targets, scale, margin)
    assert (torch.arccos(expected_cosines[torch.arange(40), targets]) + margin > math.pi).any() or margin == 0
    assert found.dtype == cosines.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    torch.testing.assert_close(cosines.double(), expected_cosines, rtol=0, atol=1e-6)
    found.backward()
    expected.backward()
    torch.testing.assert_close(x.grad.double(), x64.grad, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(loss.weight.grad.double(), weight64.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("margin", [0.1, 0.2, 0.5, 1.0])
def test_the_logit_of_the_target_falls_with_its_angle_all_the_way(margin):
    angles = torch.linspace(0.001, math.pi - 0.001, 400, dtype=torch.float64)
    x = torch.stack([angles.cos(), angles.sin(), torch.zeros(400)], dim=1)
    loss = aam(torch.tensor([[1.0, 0, 0], [0, 0, 1]]), 1.0, margin)  # the other class is at a right angle to all of x
    losses = torch.stack([loss(row[None], torch.tensor([0]))[0] for row in x]).double()
    logits = -torch.log(torch.expm1(losses))
    assert (logits.diff() < 0).all()
    torch.testing.assert_close(logits[angles + margin < math.pi], torch.cos(angles + margin)[angles + margin < math.pi], rtol=0, atol=1e-4)


def test_aam_without_margin_is_the_scaled_cosine_softmax():
    x, targets, weight = batch()
    expected = F.cross_entropy(30 * F.cosine_similarity(x[:, None], weight[None], dim=2), targets)
    assert aam(weight, 30.0, 0.0)(x, targets)[0].item() == pytest.approx(expected.item(), rel=1e-5)
    assert aam(weight, 30.0, 0.3)(x, targets, margin_share=0.0)[0].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_margin_share_scales_the_margin():
    x, targets, weight = batch()
    assert aam(weight, 30.0, 0.4)(x, targets, margin_share=0.25)[0].item() == pytest.approx(aam(weight, 30.0, 0.1)(x, targets)[0].item(), rel=1e-6)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("margin", [0.0, 0.2, 1.0])
def test_gradients_are_finite_where_the_cosine_is_one_or_minus_one(sign, margin):
    _, targets, weight = batch()
    loss = aam(weight, 30.0, margin)
    x = (sign * weight[targets]).requires_grad_()
    found, cosines = loss(x, targets)
    assert cosines[torch.arange(len(x)), targets].abs().min() > 0.999999
    found.backward()
    assert torch.isfinite(found)
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(loss.weight.grad).all()


def test_gradients_are_finite_for_a_vector_of_zeros():
    _, _, weight = batch()
    loss, x = aam(weight, 30.0, 0.2), torch.zeros(1, 8, requires_grad=True)
    loss(x, torch.tensor([0]))[0].backward()
    assert torch.isfinite(x.grad).all()


def test_softmax_equals_torchs_cross_entropy_of_a_linear_layer():
    x, targets, _ = batch()
    loss = Softmax(8, 6)
    found, logits = loss(x, targets)
    expected = x.double() @ loss.linear.weight.double().T + loss.linear.bias.double()
    torch.testing.assert_close(logits.double(), expected, rtol=1e-5, atol=1e-5)
    assert found.item() == pytest.approx(F.cross_entropy(expected, targets).item(), rel=1e-6)


@pytest.mark.parametrize("name", ["softmax", "aam"])
def test_losses_are_single_precision_under_autocast(name):
    x, targets, _ = batch()
    torch.manual_seed(0)
    loss = build_loss(name, 8, 6, 30.0, 0.2)
    expected, expected_logits = loss(x, targets)
    with torch.autocast("cpu", torch.bfloat16):
        found, logits = loss(x, targets)
        of_half, _ = loss(x.bfloat16(), targets)
    assert found.dtype == logits.dtype == of_half.dtype == torch.float32
    assert torch.equal(found, expected)
    assert torch.equal(logits, expected_logits)
    assert torch.equal(of_half, loss(x.bfloat16().float(), targets)[0])


@pytest.mark.parametrize("name", ["softmax", "aam"])
def test_losses_learn_what_can_be_told_apart(name):
    torch.manual_seed(0)
    x, targets = torch.eye(4).repeat(5, 1), torch.arange(4).repeat(5)
    loss = build_loss(name, 4, 4, 30.0, 0.2)
    optimizer = torch.optim.SGD(loss.parameters(), 0.5)
    first = loss(x, targets)[0].item()
    for _ in range(50):
        optimizer.zero_grad()
        loss(x, targets)[0].backward()
        optimizer.step()
    last, logits = loss(x, targets)
    assert last.item() < 0.5 * first
    assert (logits.argmax(1) == targets).all()
