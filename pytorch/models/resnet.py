"""ResNets over spectrograms with pooling over time (r-vector).

He et al., "Deep residual learning for image recognition", CVPR 2016, table 1; Zeinali et al., "BUT system description to VoxCeleb speaker recognition
challenge 2019" (arXiv 1910.12592), table 2. Width w = 32, 80 mel filters, T frames, depth 34:

    layer     kernel, stride                output (channels x filters x frames)
    conv1     3x3                           w x 80 x T
    stage1    [3x3, 3x3] x 3                w x 80 x T
    stage2    [3x3, 3x3] x 4, 2             2w x 40 x T/2
    stage3    [3x3, 3x3] x 6, 2             4w x 20 x T/4
    stage4    [3x3, 3x3] x 3, 2             8w x 10 x T/8
    pooling   mean, standard deviation      2 x 80w = 5120
    embedding                               256

From depth 50 on a block is [1x1, 3x3, 1x1 with four times the channels]. Each convolution is followed by BatchNorm, and by ReLU: the last of a block
after the input was added. What a block computes can be gated before that:
    se        squeeze-excitation: Hu et al., CVPR 2018; a gate for each channel, from its mean over filters and frames
    simam     Yang et al., "SimAM", ICML 2021, eq. 5; a gate for each value, from its distance to its channel's mean, without parameters
SimAM-ResNet34 and 100 (Qin et al., ICASSP 2022): width=64 gate=simam pooling=asp.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from pytorch.models.padding import after_conv, blank, masked_mean
from pytorch.models.pooling import PoolingName, build_pooling
from pytorch.program import Fail

DEPTHS = {  # blocks of each stage, convolutions in a block
    18: ((2, 2, 2, 2), 2),
    34: ((3, 4, 6, 3), 2),
    100: ((6, 16, 24, 3), 2),
    50: ((3, 4, 6, 3), 3),
    101: ((3, 4, 23, 3), 3),
    152: ((3, 8, 36, 3), 3),
    221: ((6, 16, 48, 3), 3),
    293: ((10, 20, 64, 3), 3),
}


class ResNet(nn.Module):
    """heads: of the poolings that have them; std_eps: added to the variances of tstp"""

    input, masks_padding, min_frames = "feats", True, 1
    layers, output = ("embedding",), "embedding"
    fused_norms = (("conv1", "norm1"),)  # see inference.py

    def __init__(
        self, feat_dim, depth=34, width=32, embed_dim=256, pooling: PoolingName = "tstp", gate: Literal["none", "se", "simam"] = "none", heads=8,
        std_eps=1e-7,
    ):  # fmt: skip
        super().__init__()
        if depth not in DEPTHS:
            raise Fail(f"--model-args: depth={depth}: one of {', '.join(map(str, sorted(DEPTHS)))} expected")
        self.embed_dim = embed_dim
        self.conv1, self.norm1 = nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.stages, channels, filters = nn.ModuleList(), width, feat_dim
        blocks, convs = DEPTHS[depth]
        for number, count in enumerate(blocks):
            stage = nn.ModuleList()
            for stride in [min(2, number + 1)] + [1] * (count - 1):
                stage.append((Basic, Bottleneck)[convs - 2](channels, width << number, stride, gate))
                channels, filters = stage[-1].out_channels, after_conv(filters, 3, stride, padding=1)
            self.stages.append(stage)
        self.pooling = build_pooling(pooling, channels * filters, heads=heads, eps=std_eps)
        self.embedding = nn.Linear(self.pooling.out_dim, embed_dim)

    def frames(self, x, lengths=None):
        """x: (B, T, feat_dim) -> (B, channels * filters, T / 8), lengths of these"""
        h = blank(x.transpose(1, 2).unsqueeze(1), lengths)  # (B, 1, feat_dim, T)
        h = blank(F.relu_(self.norm1(self.conv1(h))), lengths)  # (B, width, feat_dim, T)
        for stage in self.stages:
            for block in stage:
                h, lengths = block(h, lengths)  # (B, 8 width, feat_dim / 8, T / 8) at the end
        return h.flatten(1, 2), lengths

    def embed(self, x, lengths=None, layer=None):
        """x: (B, T, feat_dim); lengths: (B,) frames of each utterance, the rest is padding -> (B, embed_dim), the same whatever the padding"""
        return self.embedding(self.pooling(*self.frames(x, lengths)))

    def forward(self, x, lengths=None):
        """x, lengths: as of embed -> (B, embed_dim), what the loss classifies: the embedding"""
        return self.embed(x, lengths)


class Block(nn.Module):
    """A residual block; the last convolution of a subclass gives out_channels."""

    def __init__(self, inputs, outputs, stride, gate):
        super().__init__()
        self.out_channels, self.stride = outputs, stride
        self.gate = GATES[gate](outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x, lengths=None):
        """x: (B, inputs, filters, T), zero where padding is -> (B, out_channels, filters / stride, T / stride), zero likewise; lengths of these"""
        new = after_conv(lengths, 3, self.stride, padding=1)
        h = self.gate(self.convolved(x, lengths, new), new)
        return blank(F.relu_(h.add_(self.shortcut(x))), new), new


class Basic(Block):
    fused_norms = (("conv1", "norm1"), ("conv2", "norm2"))  # see inference.py

    def __init__(self, inputs, channels, stride, gate):
        super().__init__(inputs, channels, stride, gate)
        self.conv1, self.norm1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.norm2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)

    def convolved(self, x, lengths, new):
        h = blank(F.relu_(self.norm1(self.conv1(x))), new)
        return self.norm2(self.conv2(h))


class Bottleneck(Block):
    fused_norms = (("conv1", "norm1"), ("conv2", "norm2"), ("conv3", "norm3"))  # see inference.py

    def __init__(self, inputs, channels, stride, gate):
        super().__init__(inputs, 4 * channels, stride, gate)
        self.conv1, self.norm1 = nn.Conv2d(inputs, channels, 1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.norm2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels)
        self.conv3, self.norm3 = nn.Conv2d(channels, 4 * channels, 1, bias=False), nn.BatchNorm2d(4 * channels)

    def convolved(self, x, lengths, new):
        h = blank(F.relu_(self.norm1(self.conv1(x))), lengths)
        h = F.relu_(self.norm2(self.conv2(h)))
        return self.norm3(self.conv3(h))


class NoGate(nn.Module):
    def __init__(self, channels):
        super().__init__()

    def forward(self, h, lengths=None):
        return h


class SqueezeExcitation(nn.Module):
    def __init__(self, channels, reduction=8):
        super().__init__()
        self.squeeze = nn.Linear(channels, max(1, channels // reduction))
        self.excite = nn.Linear(max(1, channels // reduction), channels)

    def forward(self, h, lengths=None):
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(masked_mean(h.mean(2), lengths)))))
        return h * gate[:, :, None, None]


class SimAM(nn.Module):
    def __init__(self, channels):
        super().__init__()

    def forward(self, h, lengths=None):
        frames = torch.full((len(h),), h.shape[3], device=h.device) if lengths is None else lengths
        others = (h.shape[2] * frames - 1).clamp(min=1).view(-1, 1, 1, 1)
        mean = masked_mean(h, lengths, keepdim=True).mean(2, keepdim=True)  # (B, channels, 1, 1)
        away = blank((h - mean).square(), lengths)
        var = away.sum((2, 3), keepdim=True) / others
        return h * torch.sigmoid(away / (4 * (var + 1e-4)) + 0.5).to(h.dtype)


GATES = {"none": NoGate, "se": SqueezeExcitation, "simam": SimAM}
