"""ResNets with GELU over log-mel spectrograms, with attention pooling.

The later front ends of DeepSpeaker (2023) under the tail of India et al., ICASSP 2021. Depth 34, K = 256, 80 mel filters, T frames:

    layer      kernel                              output (channels x filters x frames)
    group1     [3x3, 3x3] x 3, max 3x3, 2          K/8 x 40 x T/2
    group2     [3x3, 3x3] x 4, max 3x3, 2          K/4 x 20 x T/4
    group3     [3x3, 3x3] x 6, max 3x3, 2          K/2 x 10 x T/8        depth 101: 23 blocks
    group4     [3x3, 3x3] x 3, max 3x3, 2          K x 5 x T/16          1280 channels a frame are pooled
    pooling    self-attention                      1280
    fc1        ReLU                                400                   emb1
    fc2        ReLU, BatchNorm                     400                   emb2
    fc3                                            400                   emb3, the embedding and what the loss takes cosines of

Convolutions have biases and are followed by BatchNorm and GELU: the last of a block after its input was added, which the first block of a group leaves
out. Maxima lie inside of the map: of an odd number of rows or frames as of the even one below.
"""

import math
from typing import Literal

import torch.nn.functional as F
from torch import nn

from pytorch.models.padding import blank, frame_mask
from pytorch.models.pooling import PoolingName, build_pooling
from pytorch.program import Fail

DEPTHS = {34: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # blocks of each group


class GeluResNet(nn.Module):
    """channels: K; heads, head_drop: of the poolings that have them; output: which of emb1, emb2, emb3 is the embedding, where none is named"""

    input, masks_padding, min_frames = "feats", True, 16
    layers = ("emb1", "emb2", "emb3")

    def __init__(
        self, feat_dim, depth=34, channels=256, pooling: PoolingName = "sap", heads=16, head_drop=0.25, embed_dim=400,
        output: Literal["emb1", "emb2", "emb3"] = "emb3",
    ):  # fmt: skip
        super().__init__()
        if depth not in DEPTHS:
            raise Fail(f"--model-args: depth={depth}: one of {', '.join(map(str, DEPTHS))} expected")
        if channels % 8:
            raise Fail(f"--model-args: channels={channels}: a multiple of 8 expected")
        if feat_dim < 16:
            raise Fail(f"gelu_resnet: features of {feat_dim} columns; 16 or more are needed")
        self.embed_dim, self.output = embed_dim, output
        self.groups, inputs = nn.ModuleList(), 1
        for count, share in zip(DEPTHS[depth], (8, 4, 2, 1), strict=True):
            outputs = channels // share
            self.groups.append(nn.ModuleList(Block(outputs if number else inputs, outputs) for number in range(count)))
            inputs = outputs
        self.pooling = build_pooling(pooling, channels * (feat_dim // 16), heads=heads, head_drop=head_drop)
        self.fc1 = nn.Linear(self.pooling.out_dim, embed_dim)
        self.fc2 = nn.Linear(embed_dim, embed_dim)
        self.norm = nn.BatchNorm1d(embed_dim)
        self.fc3 = nn.Linear(embed_dim, embed_dim)

    def frames(self, x, lengths=None):
        """x: (B, T, feat_dim) -> (B, channels * filters, T / 16), lengths of these"""
        h = blank(x.transpose(1, 2).unsqueeze(1), lengths)  # (B, 1, feat_dim, T)
        for group in self.groups:
            for block in group:
                h = block(h, lengths)
            h, lengths = _maxima(h, lengths)  # (B, K/8 …, filters/2, T/2)
        return h.flatten(1, 2), lengths

    def embeddings(self, x, lengths=None):
        """-> emb1, emb2, emb3, each (B, embed_dim)"""
        emb1 = F.relu(self.fc1(self.pooling(*self.frames(x, lengths))))
        emb2 = self.norm(F.relu(self.fc2(emb1)))
        return emb1, emb2, self.fc3(emb2)

    def embed(self, x, lengths=None, layer=None):
        """x: (B, T, feat_dim) with T >= min_frames; lengths: (B,) frames of each utterance, the rest is padding
        -> (B, embed_dim), the same whatever the padding"""
        return self.embeddings(x, lengths)[self.layers.index(layer or self.output)]

    def forward(self, x, lengths=None):
        """x, lengths: as of embed -> (B, embed_dim), what the loss classifies: emb3"""
        return self.embeddings(x, lengths)[2]


class Block(nn.Module):
    fused_norms = (("conv1", "norm1"), ("conv2", "norm2"))  # see inference.py

    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)

    def forward(self, x, lengths=None):
        """x: (B, inputs, filters, T), zero where padding is -> (B, outputs, filters, T), zero likewise"""
        h = blank(F.gelu(self.norm1(self.conv1(x))), lengths)
        h = self.norm2(self.conv2(h))
        return blank(F.gelu(h + x if h.shape[1] == x.shape[1] else h), lengths)


def _maxima(h, lengths):
    """3x3, 2 on each way; windows at the far ends see what there is of them, and no padding: (B, …, T) -> (B, …, T / 2), lengths of these"""
    if lengths is not None:
        h, lengths = h.masked_fill(~frame_mask(h, lengths), -math.inf), lengths // 2
    return blank(F.max_pool2d(h, 3, 2, ceil_mode=True), lengths), lengths
