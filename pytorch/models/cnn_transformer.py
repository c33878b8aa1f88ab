"""Two small 2-D CNNs and a Transformer encoder side by side.

Zenkov, "Parallel is all you want" (2020), in the form of Egas-López's dnn_embeddings_pytorch (TransformerPrime). F columns (a multiple of 4, 32 or more),
T frames:

    layer         kernel, what follows                                         output (channels x filters x frames)
    cnn a and b   conv1: 3x3, BatchNorm, ReLU, max 2x2, dropout 0.3            16 x F/2 x T/2
    each          conv2: 3x3, BatchNorm, ReLU, max 4x4, dropout 0.3            32 x F/8 x T/8
                  conv3: 3x3, BatchNorm, ReLU, max 4x4, dropout 0.3            64 x F/32 x T/32
    transformer   max over 4 frames; 4 encoder layers of width F, 4 heads,     F x T/4
                  feed-forward 512, norms after the sums, no positions
    embedding     means over time, side by side                                2 x 64 F/32 + F

The original takes crops of one length and flattens the CNNs' last maps instead of averaging them over time.
"""

import torch
import torch.nn.functional as F
from torch import nn

from pytorch.arguments import need_at_most
from pytorch.models.padding import after_conv, blank, frame_mask, masked_mean
from pytorch.program import Fail


class CnnTransformer(nn.Module):
    """cnn_dropout: after each block of the CNNs; dropout: inside the encoder layers"""

    input, masks_padding, min_frames = "feats", True, 32
    layers, output = ("embedding",), "embedding"

    def __init__(self, feat_dim, channels=16, layers=4, heads=4, feedforward_dim=512, cnn_dropout=0.3, dropout=0.4):
        super().__init__()
        if feat_dim % heads or feat_dim < 32:
            raise Fail(f"cnn_transformer: features of {feat_dim} columns; 32 or more, a multiple of heads={heads}, are needed")
        need_at_most("--model-args", 1, cnn_dropout=cnn_dropout, dropout=dropout)
        self.embed_dim = 2 * 4 * channels * (feat_dim // 32) + feat_dim
        self.cnns = nn.ModuleList(
            nn.ModuleList(_block(inputs, outputs, cnn_dropout) for inputs, outputs in ((1, channels), (channels, 2 * channels), (2 * channels, 4 * channels)))
            for _ in range(2)
        )
        self.encoder = nn.ModuleList(nn.TransformerEncoderLayer(feat_dim, heads, feedforward_dim, dropout, batch_first=True) for _ in range(layers))

    def embed(self, x, lengths=None, layer=None):
        """x: (B, T, feat_dim) with T >= min_frames; lengths: (B,) frames of each utterance, the rest is padding
        -> (B, embed_dim), the same whatever the padding"""
        x = blank(x.transpose(1, 2), lengths)  # (B, feat_dim, T)
        maps = [_mean_map(cnn, x, lengths) for cnn in self.cnns]
        h, lengths = F.max_pool2d(x, (1, 4)).transpose(1, 2), after_conv(lengths, 4, 4)  # (B, T / 4, feat_dim)
        padding = None if lengths is None else ~frame_mask(h.transpose(1, 2), lengths).squeeze(1)
        for layer in self.encoder:
            h = layer(h, src_key_padding_mask=padding)
        return torch.cat([*maps, masked_mean(h.transpose(1, 2), lengths)], dim=1)

    def forward(self, x, lengths=None):
        """x, lengths: as of embed -> (B, embed_dim), what the loss classifies: the embedding"""
        return self.embed(x, lengths)


def _block(inputs, outputs, dropout):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.Dropout(dropout))


def _mean_map(cnn, x, lengths):
    """x: (B, feat_dim, T), zero where padding is -> (B, 4 channels * feat_dim / 32): the last map of a CNN, averaged over time"""
    h = x.unsqueeze(1)  # (B, 1, feat_dim, T)
    for block, size in zip(cnn, (2, 4, 4), strict=True):
        h, lengths = F.max_pool2d(block(h), size), after_conv(lengths, size, size)
        h = blank(h, lengths)
    return masked_mean(h, lengths).flatten(1)
