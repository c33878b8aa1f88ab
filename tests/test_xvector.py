"""pytorch/models/xvector.py: the network is Kaldi's."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

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
    """The network by its formulas, in double precision -> embedding, output of tdnn7"""

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
