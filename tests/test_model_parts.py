"""pytorch/models: dimensions that papers give, and parts that have a formula of their own."""

import numpy as np
import pytest
import torch

from pytorch.models import build_model
from pytorch.models.campplus import SEGMENT, segment_means
from pytorch.models.ftdnn import FTdnn
from pytorch.models.redimnet import GroupNorm
from pytorch.models.resnet import SimAM
from pytorch.models.sinctdnn import InstanceNorm, SincFilters, SincTDNN
from pytorch.models.vgg import VGG3L, VGG4L


def count(module):
    return sum(weight.numel() for weight in module.parameters())


# ---- VGG


@pytest.mark.parametrize("network, channels, frames", [(VGG4L, 5120, 22), (VGG3L, 10240, 44)])
def test_a_frame_of_vgg_has_as_many_channels_as_in_the_paper(network, channels, frames):
    with torch.device("meta"):
        model = network(80)
        h, _ = model.frames(torch.empty(2, 350, 80))
    assert h.shape == (2, channels, frames)
    assert model.pooling.out_dim == channels // 32


def test_the_loss_classifies_the_third_output_and_the_embedding_is_the_second():
    model = VGG4L(12, 16, heads=4, embed_dim=8).eval()
    x = torch.randn(2, 20, 12)
    emb1, emb2, emb3 = model.embeddings(x)
    assert (emb1 >= 0).all()
    assert torch.equal(model.embed(x), emb2)
    assert torch.equal(model(x), emb3)
    torch.testing.assert_close(emb3, model.fc3(emb2))


# ---- SincTDNN


def test_the_parts_of_sinctdnn_are_as_large_as_the_originals():
    model = SincTDNN(1, segment7=True)
    assert count(model.sincnet) == 42_682
    assert count(model.tdnn) == 2_763_704
    assert count(model.segment6) + count(model.segment7) == 1_799_168


@torch.inference_mode()
@pytest.mark.parametrize("samples, frames", [(32000, 233), (8000, 55), (2511, 15), (2646, 16)])
def test_sincnet_makes_as_many_frames_as_the_original(samples, frames):
    model = build_model("sinctdnn", 1, {"sinc_dim": 8, "conv_dim": 8, "frame_dim": 8, "stats_dim": 8})
    assert model.sincnet(torch.randn(1, samples))[0].shape[2] == frames
    assert model.sincnet.samples_of(frames) <= samples < model.sincnet.samples_of(frames + 1)


def sinc_filter(low, high, window):
    """Ravanelli and Bengio, eq. 4, at 16 kHz: the difference of two sinc under a window, divided by twice the band."""
    time = np.arange(-125, 126) / 16000
    return window * (2 * high * np.sinc(2 * high * time) - 2 * low * np.sinc(2 * low * time)) / (2 * (high - low))


def test_the_filters_are_differences_of_sinc():
    filters = SincFilters(20, 16000)
    found = filters().detach().numpy()[:, 0]
    left = 0.54 - 0.46 * np.cos(2 * np.pi * np.linspace(0, 124.5, 125) / 251)  # the original's window
    window = np.concatenate([left, [1], left[::-1]])
    for low_hz, band_hz, one in zip(filters.low_hz.tolist(), filters.band_hz.tolist(), found, strict=True):
        np.testing.assert_allclose(one, sinc_filter(50 + low_hz, min(8000, 100 + low_hz + band_hz), window), atol=2e-5)


def test_filters_in_pairs_are_a_quarter_of_a_period_apart():
    filters = SincFilters(40, 16000, pairs=True)
    even, odd = filters().detach().double().squeeze(1).chunk(2)
    torch.testing.assert_close(even, even.flip(1))
    torch.testing.assert_close(odd, -odd.flip(1))
    low, high = 50 + filters.low_hz.detach(), (100 + filters.low_hz + filters.band_hz).detach().clamp(max=8000)
    for number in (8, 12, 16):  # wide enough for 251 samples
        middle = round(float(low[number] + high[number]) / 2 / 16000 * 4096)
        gains = [torch.fft.rfft(one[number], 4096).abs() for one in (even, odd)]
        assert gains[0][middle] == pytest.approx(gains[1][middle].item(), rel=0.05)
        assert gains[0].argmax().item() == pytest.approx(middle, abs=float(high[number] - low[number]) / 16000 * 4096)


def test_instance_norm_leaves_padding_out():
    norm, h = InstanceNorm(3), torch.randn(2, 3, 9) * 5 + 2
    torch.testing.assert_close(norm(h), torch.nn.functional.instance_norm(h), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm(h, torch.tensor([9, 4]))[1, :, :4], norm(h[1:, :, :4])[0], rtol=1e-5, atol=1e-5)


def test_the_loudness_of_a_waveform_does_not_matter():
    model = build_model("sinctdnn", 1, {"sinc_dim": 8, "conv_dim": 8, "frame_dim": 8, "stats_dim": 8}).eval()
    x = torch.randn(1, 6000) * 3000
    torch.testing.assert_close(model.embed(x), model.embed(x / 3), rtol=1e-3, atol=1e-4)


# ---- others


def test_training_draws_the_first_factors_of_ftdnn_towards_semi_orthogonality():
    torch.manual_seed(0)
    model = FTdnn(5, 8, 16, 4, 16, 8)

    def away():
        """The largest distance of M M' from a multiple of the identity, relative."""
        found = []
        for layer in model.factorised:
            matrix = layer.first.weight.detach().flatten(1)
            product = matrix @ matrix.T
            found.append(((product - product.trace() / 4 * torch.eye(4)).norm() / product.norm()).item())
        return max(found)

    assert away() < 1e-5  # from the start
    with torch.no_grad():
        for layer in model.factorised:
            layer.first.weight.add_(0.1 * torch.randn_like(layer.first.weight))
    before, kept = away(), [layer.first.weight.clone() for layer in model.factorised]
    assert before > 0.1
    model.eval()(torch.randn(2, 40, 5))
    assert all(torch.equal(layer.first.weight, old) for layer, old in zip(model.factorised, kept, strict=True))
    for _ in range(10):
        model.train()(torch.randn(2, 40, 5))
    assert away() < 1e-3


def test_simam_is_its_formula():
    h = torch.randn(2, 3, 4, 5)
    away = (h - h.mean((2, 3), keepdim=True)).square()
    energy = away / (4 * (h.var((2, 3), keepdim=True) + 1e-4)) + 0.5
    torch.testing.assert_close(SimAM(3)(h), h * torch.sigmoid(energy))


def test_means_of_segments_are_of_the_frames_there_are():
    h = torch.randn(2, 3, 2 * SEGMENT + 30)
    h[1, :, SEGMENT + 7 :] = 0
    found = segment_means(h, torch.tensor([2 * SEGMENT + 30, SEGMENT + 7]))
    torch.testing.assert_close(found[0], torch.stack([part.mean(1) for part in h[0].split(SEGMENT, 1)], 1))
    torch.testing.assert_close(found[1, :, :2], torch.stack([h[1, :, :SEGMENT].mean(1), h[1, :, SEGMENT : SEGMENT + 7].mean(1)], 1))
    torch.testing.assert_close(segment_means(h)[0], found[0])


def test_group_norm_leaves_padding_out():
    norm, h = GroupNorm(2, 6), torch.randn(2, 6, 9)
    torch.testing.assert_close(norm(h, torch.tensor([9, 9])), norm(h), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm(h, torch.tensor([9, 4]))[1, :, :4], norm(h[1:, :, :4])[0], rtol=1e-5, atol=1e-5)
