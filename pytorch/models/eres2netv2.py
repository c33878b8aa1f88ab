"""ERes2NetV2.

Chen et al., "ERes2NetV2: boosting short-duration speaker verification performance with computational efficiency", Interspeech 2024 (arXiv 2406.02167),
figure 2 and table 1. m = 64 channels, 80 mel filters, T frames:

    layer     blocks                                                                   output (channels x filters x frames)
    conv1     3x3                                                                      m x 80 x T
    stage1    3 x [1x1, two parts of 26 channels by 3x3 one after the other, 1x1]      2m x 80 x T
    stage2    4 x the same, of 52 channels, stride 2                                   4m x 40 x T/2
    stage3    6 x the same, of 104 channels, stride 2; parts are fused by attention    8m x 20 x T/4
    stage4    3 x the same, of 208 channels, stride 2; parts are fused by attention    16m x 10 x T/8
    fusion    of stage 4 and stage 3 (3x3, stride 2) by attention                      16m x 10 x T/8
    pooling   mean, standard deviation                                                 2 x 10240
    embedding                                                                          192

A part of a block is added to the next one, or fused with it, before that is convolved. Fused are x and y as a x + (2 - a) y, where a, between 0 and 2,
comes from two small layers over both (section 2.1). Convolutions are followed by BatchNorm and a ReLU that ends at 20.
"""

import torch
import torch.nn.functional as F
from torch import nn

from pytorch.models.padding import after_conv, blank
from pytorch.models.pooling import PoolingName, build_pooling

BLOCKS = (3, 4, 6, 3)


class ERes2NetV2(nn.Module):
    """base_width: channels of a part, in 64ths of the stage's; parts: of a block; expansion: of a block's output; heads: of the poolings that have them;
    std_eps: added to the variances of tstp"""

    input, masks_padding, min_frames = "feats", True, 1
    layers, output = ("embedding",), "embedding"
    fused_norms = (("conv1", "norm1"),)  # see inference.py

    def __init__(
        self, feat_dim, width=64, base_width=26, parts=2, expansion=2, embed_dim=192, pooling: PoolingName = "tstp", heads=8, std_eps=1e-7,
    ):  # fmt: skip
        super().__init__()
        self.embed_dim = embed_dim
        self.conv1, self.norm1 = nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.stages, inputs, filters = nn.ModuleList(), width, feat_dim
        for number, count in enumerate(BLOCKS):
            stage = nn.ModuleList()
            for stride in [min(2, number + 1)] + [1] * (count - 1):
                channels = width << number
                stage.append(Block(inputs, max(1, channels * base_width // 64), parts, expansion * channels, stride, fused=number >= 2))
                inputs, filters = expansion * channels, after_conv(filters, 3, stride, padding=1)
            self.stages.append(stage)
        self.down = nn.Conv2d(inputs // 2, inputs, 3, 2, 1, bias=False)
        self.fuse = Fusion(inputs)
        self.pooling = build_pooling(pooling, inputs * filters, heads=heads, eps=std_eps)
        self.embedding = nn.Linear(self.pooling.out_dim, embed_dim)

    def frames(self, x, lengths=None):
        """x: (B, T, feat_dim) -> (B, channels * filters, T / 8), lengths of these"""
        h = blank(x.transpose(1, 2).unsqueeze(1), lengths)  # (B, 1, feat_dim, T)
        h = F.relu(self.norm1(self.conv1(h)))  # (B, width, feat_dim, T)
        for stage in self.stages:
            before = h
            for block in stage:
                h, lengths = block(h, lengths)  # (B, 16 width, feat_dim / 8, T / 8) at the end
        return self.fuse(h, self.down(before)).flatten(1, 2), lengths

    def embed(self, x, lengths=None, layer=None):
        """x: (B, T, feat_dim); lengths: (B,) frames of each utterance, the rest is padding -> (B, embed_dim), the same whatever the padding"""
        return self.embedding(self.pooling(*self.frames(x, lengths)))

    def forward(self, x, lengths=None):
        """x, lengths: as of embed -> (B, embed_dim), what the loss classifies: the embedding"""
        return self.embed(x, lengths)


class Block(nn.Module):
    """width: channels of each of the parts; fused: parts by attention, else by sum"""

    def __init__(self, inputs, width, parts, outputs, stride, fused):
        super().__init__()
        self.width, self.stride = width, stride
        self.enter = _conv_norm(inputs, parts * width, 1, stride)
        self.convs = nn.ModuleList(_conv_norm(width, width, 3) for _ in range(parts))
        self.fusions = nn.ModuleList(Fusion(width) for _ in range(parts - 1)) if fused else None
        self.leave = _conv_norm(parts * width, outputs, 1)
        self.shortcut = nn.Identity() if stride == 1 and inputs == outputs else _conv_norm(inputs, outputs, 1, stride)

    def forward(self, x, lengths=None):
        """x: (B, inputs, filters, T) -> (B, outputs, filters / stride, T / stride), zero where padding is; lengths of these"""
        lengths = after_conv(lengths, 1, self.stride)
        parts = _clipped(self.enter(x)).split(self.width, dim=1)
        done = []
        for number, (part, conv) in enumerate(zip(parts, self.convs, strict=True)):
            if number:
                part = done[-1] + part if self.fusions is None else self.fusions[number - 1](done[-1], part)
            done.append(_clipped(conv(blank(part, lengths))))
        return blank(_clipped(self.leave(torch.cat(done, dim=1)) + self.shortcut(x)), lengths), lengths


class Fusion(nn.Module):
    """Attentional feature fusion."""

    def __init__(self, channels):
        super().__init__()
        inner = max(1, channels // 4)
        self.attention = nn.Sequential(
            nn.Conv2d(2 * channels, inner, 1), nn.BatchNorm2d(inner), nn.SiLU(), nn.Conv2d(inner, channels, 1), nn.BatchNorm2d(channels), nn.Tanh()
        )

    def forward(self, x, y):
        """(B, channels, filters, T), twice -> the same once"""
        share = self.attention(torch.cat([x, y], dim=1))
        return x * (1 + share) + y * (1 - share)


def _conv_norm(inputs, outputs, kernel, stride=1):
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs))


def _clipped(h):
    return h.clamp(0, 20)
