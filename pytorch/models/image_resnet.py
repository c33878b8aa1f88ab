"""ResNets as for images, on one channel: a spectrogram.

He et al., "Deep residual learning for image recognition", CVPR 2016, table 1, with the layers of torchvision. F columns, T frames, depth 18:

    layer    kernel, stride               output (channels x filters x frames)
    conv1    7x7, 2                       64 x F/2 x T/2
             max 3x3, 2                   64 x F/4 x T/4
    stage1   [3x3, 3x3] x 2               64 x F/4 x T/4
    stage2   [3x3, 3x3] x 2, 2            128 x F/8 x T/8
    stage3   [3x3, 3x3] x 2, 2            256 x F/16 x T/16
    stage4   [3x3, 3x3] x 2, 2            512 x F/32 x T/32
    mean     over filters and frames      512                  the embedding; 2048 from depth 50 on

From depth 50 on a block is [1x1, 3x3, 1x1 with four times the channels]. Each convolution is followed by BatchNorm, and by ReLU: the last of a block
after the input was added.
"""

import torch.nn.functional as F
from torch import nn

from pytorch.models.padding import after_conv, blank, masked_mean
from pytorch.program import Fail

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}  # blocks of each stage


class ImageResNet(nn.Module):
    input, masks_padding, min_frames = "feats", True, 1
    layers, output = ("embedding",), "embedding"
    fused_norms = (("conv1", "norm1"),)  # see inference.py

    def __init__(self, feat_dim, depth=18, width=64):
        super().__init__()
        if depth not in DEPTHS:
            raise Fail(f"--model-args: depth={depth}: one of {', '.join(map(str, DEPTHS))} expected")
        self.conv1, self.norm1 = nn.Conv2d(1, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.stages, inputs = nn.ModuleList(), width
        for number, count in enumerate(DEPTHS[depth]):
            stage = nn.ModuleList()
            for stride in [min(2, number + 1)] + [1] * (count - 1):
                stage.append(Block(inputs, width << number, stride, wide=depth >= 50))
                inputs = stage[-1].out_channels
            self.stages.append(stage)
        self.embed_dim = inputs

    def embed(self, x, lengths=None, layer=None):
        """x: (B, T, feat_dim); lengths: (B,) frames of each utterance, the rest is padding -> (B, embed_dim), the same whatever the padding"""
        h = blank(x.transpose(1, 2).unsqueeze(1), lengths)  # (B, 1, feat_dim, T)
        lengths = after_conv(lengths, 7, 2, padding=3)
        h = blank(F.relu(self.norm1(self.conv1(h))), lengths)  # (B, width, feat_dim / 2, T / 2)
        h, lengths = F.max_pool2d(h, 3, 2, 1), after_conv(lengths, 3, 2, padding=1)  # (B, width, feat_dim / 4, T / 4)
        h = blank(h, lengths)
        for stage in self.stages:
            for block in stage:
                h, lengths = block(h, lengths)  # (B, 8 width, feat_dim / 32, T / 32) at the end
        return masked_mean(h, lengths).mean(2)

    def forward(self, x, lengths=None):
        """x, lengths: as of embed -> (B, embed_dim), what the loss classifies: the embedding"""
        return self.embed(x, lengths)


class Block(nn.Module):
    """A residual block; wide: with 1x1 convolutions around it, to and from a quarter of the channels."""

    def __init__(self, inputs, channels, stride, wide):
        super().__init__()
        self.stride, self.out_channels = stride, 4 * channels if wide else channels
        self.enter = _conv_norm(inputs, channels, 1) if wide else None
        self.conv1 = _conv_norm(channels if wide else inputs, channels, 3, stride)
        self.conv2 = _conv_norm(channels, self.out_channels, 1 if wide else 3)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != self.out_channels:
            self.shortcut = _conv_norm(inputs, self.out_channels, 1, stride)

    def forward(self, x, lengths=None):
        """x: (B, inputs, filters, T), zero where padding is -> (B, out_channels, filters / stride, T / stride), zero likewise; lengths of these"""
        new = after_conv(lengths, 3, self.stride, padding=1)
        h = x if self.enter is None else blank(F.relu(self.enter(x)), lengths)
        h = self.conv2(blank(F.relu(self.conv1(h)), new))
        return blank(F.relu(h + self.shortcut(x)), new), new


def _conv_norm(inputs, outputs, kernel, stride=1):
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs))
