"""An x-vector network with wider context, as used for speech and its paralinguistics.

Of Egas-López's dnn_embeddings_pytorch (after pytorch_xvectors of the USC SAIL group); Snyder et al., ICASSP 2018, with longer kernels. F columns:

    layer   kernel, dilation                      output
    tdnn1   5, 1                                  512
    tdnn2   5, 2                                  512
    tdnn3   7, 3                                  512
    tdnn4   1, 1                                  512
    tdnn5   1, 1                                  1500
    stats   mean, standard deviation (unbiased)   3000
    fc1                                           512       the embedding: before the non-linearity
    fc2                                           512       or this one
    fc3     the loss'                             classes

Layers are followed by ReLU, BatchNorm without scale and offset, and dropout. 6,101,478 parameters for F = 46 and 10 classes, those of fc3 included.
"""

from typing import Literal

import torch
from torch import nn

from pytorch.arguments import need_at_most
from pytorch.models.pooling import mean_std


class WideXVector(nn.Module):
    """noise: standard deviation of what is added to the frames before they are pooled, while training
    output: the layer that is the embedding, if none is named"""

    input, masks_padding, min_frames = "feats", True, 31  # no padding: the frame layers see 15 frames to each side
    layers = ("fc1", "fc2")

    def __init__(self, feat_dim, frame_dim=512, stats_dim=1500, embed_dim=512, dropout=0.0, noise=1e-5, output: Literal["fc1", "fc2"] = "fc1"):
        super().__init__()
        need_at_most("--model-args", 1, dropout=dropout)
        self.embed_dim, self.noise, self.output = embed_dim, noise, output
        self.frames = nn.Sequential(
            nn.Conv1d(feat_dim, frame_dim, 5, dilation=1), *_after(frame_dim, dropout),
            nn.Conv1d(frame_dim, frame_dim, 5, dilation=2), *_after(frame_dim, dropout),
            nn.Conv1d(frame_dim, frame_dim, 7, dilation=3), *_after(frame_dim, dropout),
            nn.Conv1d(frame_dim, frame_dim, 1), *_after(frame_dim, dropout),
            nn.Conv1d(frame_dim, stats_dim, 1), *_after(stats_dim, dropout),
        )  # fmt: skip
        self.fc1, self.after1 = nn.Linear(2 * stats_dim, embed_dim), nn.Sequential(*_after(embed_dim, dropout))
        self.fc2, self.after2 = nn.Linear(embed_dim, embed_dim), nn.Sequential(*_after(embed_dim, dropout))

    def embeddings(self, x, lengths=None):
        """-> fc1, fc2, each (B, embed_dim)"""
        h = self.frames(x.transpose(1, 2))  # (B, stats_dim, T - 30)
        if self.training and self.noise:
            h = h + self.noise * torch.randn_like(h)
        fc1 = self.fc1(mean_std(h, None if lengths is None else lengths - self.min_frames + 1, correction=1))
        return fc1, self.fc2(self.after1(fc1))

    def embed(self, x, lengths=None, layer=None):
        """x: (B, T, feat_dim) with T >= min_frames; lengths: (B,) frames of each utterance, the rest is padding
        -> (B, embed_dim), the same whatever the padding"""
        return self.embeddings(x, lengths)[self.layers.index(layer or self.output)]

    def forward(self, x, lengths=None):
        """x, lengths: as of embed -> (B, embed_dim), what the loss classifies: fc2 after its ReLU, norm and dropout"""
        return self.after2(self.embeddings(x, lengths)[1])


def _after(dim, dropout):
    return nn.ReLU(), nn.BatchNorm1d(dim, affine=False), nn.Dropout(dropout)
