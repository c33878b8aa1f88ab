"""The factorised TDNN: each weight matrix is the product of two, the first of which is kept semi-orthogonal.

Povey et al., "Semi-orthogonal low-rank matrix factorization for deep neural networks", Interspeech 2018; Villalba et al., "State-of-the-art speaker
recognition with neural network embeddings in NIST SRE18 and Speakers in the Wild evaluations", CSL 2020, table 3:

    layer      first factor     second factor    also of layers    output, inner
    frame1     t-2 … t+2                                           512
    frame2     t-2, t           t, t+2                             1024, 256
    frame3     t                t                                  1024, 256
    frame4     t-3, t           t, t+3                             1024, 256
    frame5     t                t                3                 1024, 256
    frame6     t-3, t           t, t+3                             1024, 256
    frame7     t-3, t           t, t+3           2, 4              1024, 256
    frame8     t-3, t           t, t+3                             1024, 256
    frame9     t                t                4, 6              1024, 256
    frame10    t                                                   2048
    stats      the utterance                                       4096
    segment11                                                      512      the embedding: before the non-linearity
    segment12                                                      512

Layers are followed by ReLU and BatchNorm (without scale and offset, as Kaldi's); inputs of several layers are put side by side.
"""

import torch
import torch.nn.functional as F
from torch import nn

from pytorch.models.pooling import mean_std

LAYERS = ((2, 2, ()), (3, 0, ()), (4, 3, ()), (5, 0, (3,)), (6, 3, ()), (7, 3, (2, 4)), (8, 3, ()), (9, 0, (4, 6)))  # number, context, also of layers


class FTdnn(nn.Module):
    """segment12 false: for margin losses, there is no segment12 and the embedding is segment11 normalised over the training data."""

    input, masks_padding, min_frames = "feats", True, 33  # no padding: the frame layers see 16 frames to each side
    output = "segment11"

    def __init__(self, feat_dim, first_dim=512, frame_dim=1024, inner_dim=256, stats_dim=2048, embed_dim=512, segment12=True):
        super().__init__()
        self.embed_dim, self.layers = embed_dim, ("segment11", "segment12") if segment12 else ("segment11",)
        self.frame1 = nn.Sequential(nn.Conv1d(feat_dim, first_dim, 5), nn.ReLU(), _norm(first_dim))
        self.factorised = nn.ModuleList(
            Factorised(first_dim if number == 2 else frame_dim * (1 + len(others)), frame_dim, inner_dim, context) for number, context, others in LAYERS
        )
        self.frame10 = nn.Sequential(nn.Conv1d(frame_dim, stats_dim, 1), nn.ReLU(), _norm(stats_dim))
        self.segment11 = nn.Linear(2 * stats_dim, embed_dim)
        self.normalise = nn.Identity() if segment12 else _norm(embed_dim)
        self.segment12 = (
            nn.Sequential(nn.ReLU(), _norm(embed_dim), nn.Linear(embed_dim, embed_dim), nn.ReLU(), _norm(embed_dim)) if segment12 else nn.Identity()
        )

    def frames(self, x):
        """x: (B, T, feat_dim) -> (B, stats_dim, T - 32)"""
        h = self.frame1(x.transpose(1, 2))
        outputs = {}
        for (number, _, others), layer in zip(LAYERS, self.factorised, strict=True):
            if others:
                h = torch.cat([h, *(_middle(outputs[other], h.shape[2]) for other in others)], dim=1)
            h = outputs[number] = layer(h)
        return self.frame10(h)

    def embed(self, x, lengths=None, layer=None):
        """x: (B, T, feat_dim) with T >= min_frames; lengths: (B,) frames of each utterance, the rest is padding
        -> (B, embed_dim), the same whatever the padding"""
        segment11 = self.normalise(self.segment11(mean_std(self.frames(x), None if lengths is None else lengths - self.min_frames + 1)))
        return self.segment12[:3](segment11) if layer == "segment12" else segment11

    def forward(self, x, lengths=None):
        """x, lengths: as of embed -> (B, embed_dim), what the loss classifies. While training, the first factors take a step towards semi-orthogonality."""
        if self.training:
            for layer in self.factorised:
                layer.constrain()
        return self.segment12(self.embed(x, lengths, "segment11"))


class Factorised(nn.Module):
    def __init__(self, inputs, outputs, inner, context):
        super().__init__()
        kernel, dilation = (2, context) if context else (1, 1)
        self.first = nn.Conv1d(inputs, inner, kernel, dilation=dilation, bias=False)
        self.second = nn.Conv1d(inner, outputs, kernel, dilation=dilation)
        self.norm = _norm(outputs)
        with torch.no_grad():
            self.first.weight.copy_(nn.init.orthogonal_(torch.empty(inner, inputs * kernel)).view_as(self.first.weight))

    def forward(self, h):
        """(B, inputs, T) -> (B, outputs, T - 2 context)"""
        return self.norm(F.relu(self.second(self.first(h))))

    @torch.no_grad()
    def constrain(self):
        """A step of Povey et al., section 2.3, with a floating scale: M M' towards a multiple of the identity, for M (or M') with rows <= columns."""
        matrix = self.first.weight.flatten(1)  # (inner, inputs * kernel), a view: what is added below is added to the weights
        tall = matrix.shape[0] > matrix.shape[1]
        rows = matrix.T if tall else matrix
        product = rows @ rows.T
        scale = product.square().sum() / product.trace()  # the square of eq. 5's alpha
        step = (product / scale - torch.eye(len(product), device=product.device)) @ rows / 2  # eq. 3 and 4 with nu = 1 / (8 alpha^2)
        matrix.sub_(step.T if tall else step)


def _middle(h, frames):
    """The frames in the middle of h: (B, dim, T)"""
    start = (h.shape[2] - frames) // 2
    return h[:, :, start : start + frames]


def _norm(dim):
    return nn.BatchNorm1d(dim, eps=1e-3, affine=False)
