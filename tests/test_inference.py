"""pytorch/models/inference.py: networks without the norms behind their convolutions give the same embeddings."""

import pytest
import torch
from narrow import SMALL, inputs, more_frames, trained
from torch import nn

from pytorch.models import MODELS
from pytorch.models.inference import fused
from pytorch.models.resnet import ResNet

VARIANTS = [
    ("resnet", {"depth": 50, "width": 2, "gate": "se"}),
    ("resnet", {"gate": "simam"}),
    ("image_resnet", {"depth": 50, "width": 2}),
    ("redimnet", {"size": "b3"}),
]
LEFT = {"resnet": 0, "campplus": None, "eres2netv2": 0, "image_resnet": 0, "gelu_resnet": 1, "age_resnet": 1, "cnn_transformer": 0}  # norms; None: some


def norms_in(network):
    return [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


@torch.inference_mode()
@pytest.mark.parametrize(("name", "more"), [(name, {}) for name in MODELS] + VARIANTS)
def test_fused_networks_give_the_same_embeddings_padded_too(name, more):
    network = trained(name, more).double()
    with torch.no_grad():
        for norm in norms_in(network):  # as trained ones: no scale of 1, no offset of 0
            if norm.affine:
                norm.weight.uniform_(0.5, 2)
                norm.bias.normal_()
    least = network.min_frames + more_frames(network, 30)
    x = inputs(name, network, 3, least + more_frames(network, 7)).double()
    lengths = torch.tensor([x.shape[1], least, least]) if network.masks_padding else None
    before = [network.embed(x, lengths, layer) for layer in network.layers]
    norms = len(norms_in(network))
    fused(network)
    for old, new in zip(before, (network.embed(x, lengths, layer) for layer in network.layers), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-9, atol=1e-9 * old.abs().max().item())
    assert len(norms_in(network)) <= norms


@pytest.mark.parametrize(("name", "left"), LEFT.items())
def test_all_norms_behind_a_convolution_are_gone(name, left):
    """Those that are left stand behind a fully connected layer, or before their convolution."""
    network = fused(trained(name))
    if left is None:
        assert all(isinstance(norm, nn.BatchNorm1d) for norm in norms_in(network))
    else:
        assert len(norms_in(network)) == left


def test_every_pair_that_is_named_is_a_convolution_and_its_norm():
    for name in SMALL:
        for module in trained(name).modules():
            for conv, norm in getattr(module, "fused_norms", ()):
                convs, norms = getattr(module, conv), getattr(module, norm)
                for one, other in zip(*((found if isinstance(found, nn.ModuleList) else [found]) for found in (convs, norms)), strict=True):
                    assert isinstance(one, (nn.Conv1d, nn.Conv2d)) and one.out_channels == other.num_features


def test_a_network_in_training_is_not_fused():
    with pytest.raises(AssertionError):
        fused(ResNet(8, depth=18, width=2).train())
