"""A small ResNet over log-mel spectrograms with attention pooling, for the age of speakers.

The front end and tail of DoubleAttentionAgeClassification (2023), after India et al., ICASSP 2021. K = 512, 80 mel filters, T frames:

    layer      kernel, stride                 output (channels x filters x frames)
    conv1      3x3                            K/8 x 80 x T
               max 3x3, 2                     K/8 x 40 x T/2
    stage1     [3x3, 3x3] x 2                 K/8 x 40 x T/2
    stage2     [3x3, 3x3] x 2                 K/4 x 40 x T/2
    stage3     [3x3, 3x3] x 2                 K/2 x 40 x T/2
    mean       over filters                   K/2 x T/2
    pooling    double multi-head attention    K/2/32 = 8
    fc1        ReLU, dropout                  400                       emb1
    fc2        ReLU, BatchNorm, dropout       400                       emb2, the embedding
    fc3                                       400                       emb3, what the loss classifies: classes, or ordinal targets

Each convolution is followed by BatchNorm and ReLU. The original averages over the frames too, which leaves the attention over time nothing to choose from:
average_time=true. With 32 heads a bottleneck of 8 values comes before fc1.
"""

from typing import Literal

import torch.nn.functional as F
from torch import nn

from pytorch.arguments import need_at_most
from pytorch.models.padding import after_conv, blank, masked_mean
from pytorch.models.pooling import PoolingName, build_pooling
from pytorch.program import Fail


class AgeResNet(nn.Module):
    """channels: K; heads, head_drop: of the poolings that have them; output: which of emb1, emb2, emb3 is the embedding, where none is named"""

    input, masks_padding, min_frames = "feats", True, 1
    layers = ("emb1", "emb2", "emb3")

    def __init__(
        self, feat_dim, channels=512, pooling: PoolingName = "dmha", heads=32, head_drop=0.3, embed_dim=400, dropout=0.0, average_time=False,
        output: Literal["emb1", "emb2", "emb3"] = "emb2",
    ):  # fmt: skip
        super().__init__()
        if channels % 8:
            raise Fail(f"--model-args: channels={channels}: a multiple of 8 expected")
        need_at_most("--model-args", 1, dropout=dropout)
        self.embed_dim, self.output, self.average_time = embed_dim, output, average_time
        self.conv1, inputs = _conv_norm(1, channels // 8, 3), channels // 8
        self.blocks = nn.ModuleList()
        for outputs in (channels // 8, channels // 4, channels // 2):
            self.blocks += [Block(inputs, outputs), Block(outputs, outputs)]
            inputs = outputs
        self.pooling = build_pooling(pooling, inputs, heads=heads, head_drop=head_drop)
        self.fc1 = nn.Linear(self.pooling.out_dim, embed_dim)
        self.fc2 = nn.Linear(embed_dim, embed_dim)
        self.norm = nn.BatchNorm1d(embed_dim)
        self.fc3 = nn.Linear(embed_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def frames(self, x, lengths=None):
        """x: (B, T, feat_dim) -> (B, channels / 2, T / 2), lengths of these"""
        h = blank(x.transpose(1, 2).unsqueeze(1), lengths)  # (B, 1, feat_dim, T)
        h = blank(F.relu(self.conv1(h)), lengths)
        h, lengths = F.max_pool2d(h, 3, 2, 1), after_conv(lengths, 3, 2, padding=1)  # (B, channels / 8, feat_dim / 2, T / 2)
        h = blank(h, lengths)
        for block in self.blocks:
            h = block(h, lengths)
        return h.mean(2), lengths

    def embeddings(self, x, lengths=None):
        """-> emb1, emb2, emb3, each (B, embed_dim)"""
        h, lengths = self.frames(x, lengths)
        if self.average_time:
            h, lengths = masked_mean(h, lengths, keepdim=True), None
        emb1 = self.dropout(F.relu(self.fc1(self.pooling(h, lengths))))
        emb2 = self.dropout(self.norm(F.relu(self.fc2(emb1))))
        return emb1, emb2, self.fc3(emb2)

    def embed(self, x, lengths=None, layer=None):
        """x: (B, T, feat_dim); lengths: (B,) frames of each utterance, the rest is padding -> (B, embed_dim), the same whatever the padding"""
        return self.embeddings(x, lengths)[self.layers.index(layer or self.output)]

    def forward(self, x, lengths=None):
        """x, lengths: as of embed -> (B, embed_dim), what the loss classifies: emb3"""
        return self.embeddings(x, lengths)[2]


class Block(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1, self.conv2 = _conv_norm(inputs, outputs, 3), _conv_norm(outputs, outputs, 3)
        self.shortcut = nn.Identity() if inputs == outputs else _conv_norm(inputs, outputs, 1)

    def forward(self, x, lengths=None):
        """x: (B, inputs, filters, T), zero where padding is -> (B, outputs, filters, T), zero likewise"""
        h = self.conv2(blank(F.relu(self.conv1(x)), lengths))
        return blank(F.relu(h + self.shortcut(x)), lengths)


def _conv_norm(inputs, outputs, kernel):
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs))
