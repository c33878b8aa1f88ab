"""CAM++.

Wang et al., "CAM++: a fast and efficient network for speaker verification using context-aware masking", Interspeech 2023 (arXiv 2303.00332), figure 1.
80 mel filters, T frames; each convolution with BatchNorm and ReLU, after it in the front end, before it elsewhere:

    layer       kernel, stride, dilation                                    output
    front end   3x3; two stages of two residual blocks [3x3, 3x3], 3x3      32 x 10 x T: each halves the filters, none the frames
    tdnn        5, stride 2                                                 128 x T/2
    block1      12 layers: 1; masked 3                                      128 + 12 x 32 = 512, 1 -> 256
    block2      24 layers: 1; masked 3, dilation 2                          256 + 24 x 32 = 1024, 1 -> 512
    block3      16 layers: 1; masked 3, dilation 2                          512 + 16 x 32 = 1024, 1 -> 512
    pooling     mean, standard deviation                                    1024
    dense       BatchNorm without scale and offset                          512         the embedding

A layer of a block sees all that came before it (1 -> 128 channels) and adds 32 channels, each multiplied by a mask between 0 and 1 that two small
layers make of the mean of the utterance and the mean of the 100 frames around.
"""

import re

import torch
import torch.nn.functional as F
from torch import nn

from pytorch.models.padding import after_conv, blank, masked_mean, widened
from pytorch.models.pooling import PoolingName, build_pooling
from pytorch.program import Fail

SEGMENT = 100  # frames that share a local mask


class CamPlusPlus(nn.Module):
    """blocks: layers of each block; heads: of the poolings that have them; std_eps: added to the variances of tstp"""

    input, masks_padding, min_frames = "feats", True, 1
    layers, output = ("embedding",), "embedding"

    def __init__(
        self, feat_dim, front_dim=32, channels=128, growth=32, layer_dim=128, blocks="12,24,16", embed_dim=512, pooling: PoolingName = "tstp", heads=8,
        std_eps=0.0,
    ):  # fmt: skip
        super().__init__()
        self.embed_dim = embed_dim
        self.front = FrontEnd(front_dim)
        filters = feat_dim
        for _ in range(3):
            filters = after_conv(filters, 3, 2, padding=1)
        self.tdnn = nn.Sequential(nn.Conv1d(front_dim * filters, channels, 5, 2, 2, bias=False), nn.BatchNorm1d(channels), nn.ReLU())
        self.blocks = nn.ModuleList()
        for count, dilation in zip(_numbers(blocks), (1, 2, 2), strict=True):
            layers = nn.ModuleList(MaskedLayer(channels + i * growth, layer_dim, growth, dilation) for i in range(count))
            channels += count * growth
            self.blocks.append(nn.ModuleList([layers, nn.Sequential(nn.BatchNorm1d(channels), nn.ReLU(), nn.Conv1d(channels, channels // 2, 1, bias=False))]))
            channels //= 2
        self.norm = nn.BatchNorm1d(channels)
        self.pooling = build_pooling(pooling, channels, heads=heads, eps=std_eps)
        self.dense = nn.Linear(self.pooling.out_dim, embed_dim, bias=False)
        self.embed_norm = nn.BatchNorm1d(embed_dim, affine=False)

    def frames(self, x, lengths=None):
        """x: (B, T, feat_dim) -> (B, channels, T / 2), lengths of these"""
        h = self.front(x.transpose(1, 2).unsqueeze(1), lengths)  # (B, front_dim * filters, T)
        h, lengths = self.tdnn(h), after_conv(lengths, 5, 2, padding=2)  # (B, channels, T / 2)
        for layers, transit in self.blocks:
            for layer in layers:
                h = torch.cat([h, layer(h, lengths)], dim=1)
            h = transit(h)
        return F.relu(self.norm(h)), lengths

    def embed(self, x, lengths=None, layer=None):
        """x: (B, T, feat_dim); lengths: (B,) frames of each utterance, the rest is padding -> (B, embed_dim), the same whatever the padding"""
        return self.embed_norm(self.dense(self.pooling(*self.frames(x, lengths))))

    def forward(self, x, lengths=None):
        """x, lengths: as of embed -> (B, embed_dim), what the loss classifies: the embedding"""
        return self.embed(x, lengths)


class FrontEnd(nn.Module):
    """Residual convolutions over filters and frames, of which the filters become an eighth."""

    fused_norms = (("enter", "enter_norm"), ("leave", "leave_norm"))  # see inference.py

    def __init__(self, channels):
        super().__init__()
        self.enter = nn.Conv2d(1, channels, 3, 1, 1, bias=False)
        self.enter_norm = nn.BatchNorm2d(channels)
        self.blocks = nn.ModuleList(ResidualBlock(channels, stride) for stride in (2, 1, 2, 1))
        self.leave = nn.Conv2d(channels, channels, 3, (2, 1), 1, bias=False)
        self.leave_norm = nn.BatchNorm2d(channels)

    def forward(self, x, lengths=None):
        """x: (B, 1, filters, T) -> (B, channels * filters / 8, T), zero where padding is"""
        h = blank(F.relu(self.enter_norm(self.enter(blank(x, lengths)))), lengths)
        for block in self.blocks:
            h = block(h, lengths)
        return blank(F.relu(self.leave_norm(self.leave(h))), lengths).flatten(1, 2)


class ResidualBlock(nn.Module):
    fused_norms = (("conv1", "norm1"), ("conv2", "norm2"))  # see inference.py

    def __init__(self, channels, stride):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(channels, channels, 3, (stride, 1), 1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.norm2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, channels, 1, (stride, 1), bias=False), nn.BatchNorm2d(channels))

    def forward(self, x, lengths=None):
        h = blank(F.relu(self.norm1(self.conv1(x))), lengths)
        return blank(F.relu(self.norm2(self.conv2(h)) + self.shortcut(x)), lengths)


class MaskedLayer(nn.Module):
    """A dense layer, whose output is multiplied by a mask from the context: section 2.2."""

    def __init__(self, inputs, layer_dim, growth, dilation):
        super().__init__()
        self.enter = nn.Sequential(nn.BatchNorm1d(inputs), nn.ReLU(), nn.Conv1d(inputs, layer_dim, 1, bias=False), nn.BatchNorm1d(layer_dim), nn.ReLU())
        self.conv = nn.Conv1d(layer_dim, growth, 3, 1, dilation, dilation, bias=False)
        inner = max(1, layer_dim // 2)
        self.context = nn.Sequential(nn.Conv1d(layer_dim, inner, 1), nn.ReLU(), nn.Conv1d(inner, growth, 1), nn.Sigmoid())

    def forward(self, h, lengths=None):
        """h: (B, inputs, T) -> (B, growth, T)"""
        h = blank(self.enter(h), lengths)
        around = segment_means(h, lengths) + masked_mean(h, lengths, keepdim=True)  # (B, layer_dim, segments)
        mask = self.context(around.to(h.dtype)).repeat_interleave(SEGMENT, dim=2)
        return self.conv(h) * mask[:, :, : h.shape[2]]


def segment_means(h, lengths=None):
    """h: (B, dim, T), zero where padding is -> means of each SEGMENT frames, of those that count: (B, dim, T / SEGMENT rounded up)"""
    segments = F.pad(widened(h), (0, -h.shape[2] % SEGMENT)).unflatten(2, (-1, SEGMENT))
    starts = SEGMENT * torch.arange(segments.shape[2], device=h.device)
    ends = h.shape[2] if lengths is None else lengths[:, None, None]
    return segments.sum(3) / (ends - starts).clamp(1, SEGMENT)


def _numbers(text):
    if not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3}){2}", text, re.ASCII):
        raise Fail(f"--model-args: blocks={text}: three numbers of layers expected, such as 12,24,16")
    return map(int, text.split(","))
