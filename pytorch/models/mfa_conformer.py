"""MFA-Conformer: the outputs of all blocks of a Conformer, side by side.

Zhang et al., "MFA-Conformer: multi-scale feature aggregation Conformer for automatic speaker verification", Interspeech 2022 (arXiv 2203.15249), figure 1;
Gulati et al., "Conformer", Interspeech 2020, figure 1. F columns, T frames:

    layer        what                                                               output
    subsampling  3x3 convolution, stride 2, ReLU, linear                            T/2 x 256
    block 1…6    x + 1/2 feed-forward 2048                                          T/2 x 256
                 x + attention of 4 heads, with positions
                 x + convolution: 1x1, GLU, depthwise 15, BatchNorm, Swish, 1x1
                 x + 1/2 feed-forward 2048, LayerNorm
    aggregate    the six outputs side by side, LayerNorm                            T/2 x 1536
    pooling      attentive statistics with context, BatchNorm                       3072
    fc                                                                              192        the embedding

LayerNorm stands before each of the four parts of a block. Positions are those of the frames that are attended to, as in the authors' code, which leaves
out the shift that would make them relative.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from pytorch.arguments import need_at_most
from pytorch.models.padding import after_conv, blank, frame_mask
from pytorch.models.pooling import AttentiveStatistics
from pytorch.program import Fail


class MfaConformer(nn.Module):
    input, masks_padding, min_frames = "feats", True, 3
    layers, output = ("embedding",), "embedding"

    def __init__(self, feat_dim, blocks=6, dim=256, heads=4, feedforward_dim=2048, kernel=15, embed_dim=192, attention_dim=128, dropout=0.1):
        super().__init__()
        if dim % heads or dim % 2:
            raise Fail(f"--model-args: dim={dim}: a multiple of heads={heads}, and even, expected")
        if kernel % 2 == 0:
            raise Fail(f"--model-args: kernel={kernel}: an odd number expected")
        if feat_dim < 3:
            raise Fail(f"mfa_conformer: features of {feat_dim} columns; 3 or more are needed")
        need_at_most("--model-args", 1, dropout=dropout)
        self.embed_dim, self.dim = embed_dim, dim
        self.conv = nn.Conv2d(1, dim, 3, 2)
        self.enter = nn.Linear(dim * ((feat_dim - 1) // 2), dim)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(dim, heads, feedforward_dim, kernel, dropout) for _ in range(blocks))
        self.norm = _norm(blocks * dim)
        self.pooling = AttentiveStatistics(blocks * dim, attention_dim, norm=True)
        self.pooling_norm = nn.BatchNorm1d(self.pooling.out_dim)
        self.fc = nn.Linear(self.pooling.out_dim, embed_dim)

    def frames(self, x, lengths=None):
        """x: (B, T, feat_dim) -> (B, blocks * dim, T / 2), lengths of these"""
        h = F.relu(self.conv(blank(x.transpose(1, 2), lengths).unsqueeze(1)))  # (B, dim, feat_dim / 2, T / 2)
        lengths = after_conv(lengths, 3, 2)
        h = self.dropout(self.enter(h.flatten(1, 2).transpose(1, 2)) * math.sqrt(self.dim))  # (B, T / 2, dim)
        positions = self.dropout(_positions(h.shape[1], self.dim, h.device).to(h.dtype))
        outputs = []
        for block in self.blocks:
            h = block(h, positions, lengths)
            outputs.append(h)
        return self.norm(torch.cat(outputs, dim=2)).transpose(1, 2), lengths

    def embed(self, x, lengths=None, layer=None):
        """x: (B, T, feat_dim) with T >= min_frames; lengths: (B,) frames of each utterance, the rest is padding
        -> (B, embed_dim), the same whatever the padding"""
        return self.fc(self.pooling_norm(self.pooling(*self.frames(x, lengths))))

    def forward(self, x, lengths=None):
        """x, lengths: as of embed -> (B, embed_dim), what the loss classifies: the embedding"""
        return self.embed(x, lengths)


class Block(nn.Module):
    def __init__(self, dim, heads, feedforward_dim, kernel, dropout):
        super().__init__()
        self.before, self.after = FeedForward(dim, feedforward_dim, dropout), FeedForward(dim, feedforward_dim, dropout)
        self.attention, self.convolution = Attention(dim, heads), Convolution(dim, kernel)
        self.norms = nn.ModuleList(_norm(dim) for _ in range(5))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, positions, lengths=None):
        """x: (B, T, dim), positions: (T, dim) -> (B, T, dim)"""
        x = x + 0.5 * self.dropout(self.before(self.norms[0](x)))
        x = x + self.dropout(self.attention(self.norms[1](x), positions, lengths))
        x = x + self.dropout(self.convolution(self.norms[2](x), lengths))
        x = x + 0.5 * self.dropout(self.after(self.norms[3](x)))
        return self.norms[4](x)


class FeedForward(nn.Sequential):
    def __init__(self, dim, inner, dropout):
        super().__init__(nn.Linear(dim, inner), nn.SiLU(), nn.Dropout(dropout), nn.Linear(inner, dim))


class Attention(nn.Module):
    """Dai et al., "Transformer-XL", section 3.3: scores of contents and of positions, each with a bias."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.mix = (nn.Linear(dim, dim) for _ in range(4))
        self.position = nn.Linear(dim, dim, bias=False)
        self.content_bias, self.position_bias = (nn.Parameter(nn.init.xavier_uniform_(torch.empty(heads, dim // heads))) for _ in range(2))

    def forward(self, x, positions, lengths=None):
        query, key, value, place = (
            part.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for part in (self.query(x), self.key(x), self.value(x), self.position(positions))
        )  # (B, heads, T, d); place: (heads, T, d)
        # (query + content_bias) key + (query + position_bias) place = query (key + place) + a bias of each frame
        bias = (key * self.content_bias.unsqueeze(1)).sum(3) + (place * self.position_bias.unsqueeze(1)).sum(2)  # (B, heads, T)
        bias = bias.unsqueeze(2) / math.sqrt(key.shape[3])
        if lengths is not None:
            bias = bias.masked_fill(~frame_mask(bias, lengths), -math.inf)
        mixed = F.scaled_dot_product_attention(query, key + place, value, bias.to(query.dtype))
        return self.mix(mixed.transpose(1, 2).flatten(2))


class Convolution(nn.Module):
    fused_norms = (("conv", "norm"),)  # see inference.py

    def __init__(self, dim, kernel):
        super().__init__()
        self.enter, self.conv = nn.Conv1d(dim, 2 * dim, 1), nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm, self.leave = nn.BatchNorm1d(dim), nn.Conv1d(dim, dim, 1)

    def forward(self, x, lengths=None):
        h = blank(F.glu(self.enter(x.transpose(1, 2)), dim=1), lengths)
        return self.leave(F.silu(self.norm(self.conv(h)))).transpose(1, 2)


def _norm(dim):
    return nn.LayerNorm(dim, eps=1e-12)


def _positions(frames, dim, device):
    """Sines and cosines of each frame's number, by turns -> (frames, dim)"""
    slow = torch.exp(torch.arange(0, dim, 2, device=device) * (-math.log(10000.0) / dim))
    angles = torch.arange(frames, device=device).unsqueeze(1) * slow
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
