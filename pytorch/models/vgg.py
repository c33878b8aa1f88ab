"""VGG over log-mel spectrograms with attention pooling: VGG3L, VGG4L.

India, Safari, Hernando, "Double multi-head attention for speaker verification", ICASSP 2021 (arXiv 2007.13199), figure 2 and table 1.
VGG4L with K = 1024, 80 mel filters and T frames:

    layer      kernel, each followed by ReLU     output (channels x filters x frames)
    block1     3x3, 3x3, max 2x2                 K/8 x 40 x T/2      VGG3L has no such block: its first has K/4 channels
    block2     3x3, 3x3, max 2x2                 K/4 x 20 x T/4
    block3     3x3, 3x3, max 2x2                 K/2 x 10 x T/8
    block4     3x3, 3x3, max 2x2                 K x 5 x T/16        5120 channels a frame are pooled; VGG3L: K x 10, 10240
    pooling    double multi-head attention       5120/32 = 160
    fc1        ReLU                              400                 emb1
    fc2        ReLU, BatchNorm                   400                 emb2, the embedding of the paper
    fc3                                          400                 emb3, what the loss takes cosines of

The maxima of an odd number of rows or frames keep the last one. There are no norms between the convolutions.
"""

from typing import Literal

import torch.nn.functional as F
from torch import nn

from pytorch.models.padding import blank
from pytorch.models.pooling import PoolingName, build_pooling
from pytorch.program import Fail


class VGG4L(nn.Module):
    """channels: K; heads, head_drop: of the poolings that have them; output: which of emb1, emb2, emb3 is the embedding, where none is named"""

    input, masks_padding, min_frames = "feats", True, 1
    layers = ("emb1", "emb2", "emb3")
    shares = (8, 4, 2, 1)  # K by what, block by block

    def __init__(
        self, feat_dim, channels=1024, pooling: PoolingName = "dmha", heads=32, head_drop=0.3, embed_dim=400, output: Literal["emb1", "emb2", "emb3"] = "emb2"
    ):
        super().__init__()
        if channels % self.shares[0]:
            raise Fail(f"--model-args: channels={channels}: a multiple of {self.shares[0]} expected")
        self.embed_dim, self.output = embed_dim, output
        self.blocks, inputs, filters = nn.ModuleList(), 1, feat_dim
        for share in self.shares:
            outputs = channels // share
            self.blocks.append(nn.ModuleList([nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)]))
            inputs, filters = outputs, -(-filters // 2)
        self.pooling = build_pooling(pooling, channels * filters, heads=heads, head_drop=head_drop)
        self.fc1 = nn.Linear(self.pooling.out_dim, embed_dim)
        self.fc2 = nn.Linear(embed_dim, embed_dim)
        self.norm = nn.BatchNorm1d(embed_dim)
        self.fc3 = nn.Linear(embed_dim, embed_dim)

    def frames(self, x, lengths=None):
        """x: (B, T, feat_dim) -> (B, channels * filters, T / 16), lengths of these"""
        h = blank(x.transpose(1, 2).unsqueeze(1), lengths)  # (B, 1, feat_dim, T)
        for first, second in self.blocks:
            h = blank(F.relu(first(h)), lengths)
            h = blank(F.relu(second(h)), lengths)
            h = F.max_pool2d(h, 2, ceil_mode=True)  # (B, K/8 …, filters/2, T/2)
            lengths = None if lengths is None else (lengths + 1) // 2
        return h.flatten(1, 2), lengths

    def embeddings(self, x, lengths=None):
        """-> emb1, emb2, emb3, each (B, embed_dim)"""
        emb1 = F.relu(self.fc1(self.pooling(*self.frames(x, lengths))))
        emb2 = self.norm(F.relu(self.fc2(emb1)))
        return emb1, emb2, self.fc3(emb2)

    def embed(self, x, lengths=None, layer=None):
        """x: (B, T, feat_dim); lengths: (B,) frames of each utterance, the rest is padding -> (B, embed_dim), the same whatever the padding"""
        return self.embeddings(x, lengths)[self.layers.index(layer or self.output)]

    def forward(self, x, lengths=None):
        """x, lengths: as of embed -> (B, embed_dim), what the loss classifies: emb3"""
        return self.embeddings(x, lengths)[2]


class VGG3L(VGG4L):
    shares = (4, 2, 1)
