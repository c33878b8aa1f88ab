"""Losses over distances between embeddings: to a centre (centre loss), of pairs (contrastive), of triplets. No loop over pairs: matrices of the batch."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from pytorch.losses.base import Loss
from pytorch.losses.classification import Softmax

Metric = Literal["cosine", "angular", "euclidean"]
LARGEST = {"cosine": 2.0, "angular": math.pi, "euclidean": 2.0}  # distance of two embeddings of length 1


class Centre(Softmax):
    """Cross-entropy plus weight times half the mean squared cosine distance to the learnt centre of one's class.

    Wen et al., "A discriminative feature learning approach for deep face recognition", ECCV 2016, eq. 5, with distance 1 - cos as in pyannote.audio 1.1.
    """

    def __init__(self, in_dim, num_classes, weight=1.0, bias=False):
        super().__init__(in_dim, num_classes, bias)
        self.weight = weight
        self.centres = nn.Parameter(torch.randn(num_classes, in_dim))

    def _loss(self, x, targets, stage):
        loss, right = super()._loss(x, targets, stage)
        distances = 1 - F.cosine_similarity(x, self.centres[targets].to(x.dtype))  # (B,)
        return loss + self.weight * distances.square().mean() / 2, right


class _OfPairs(Loss):
    measure = None
    needs_pairs = of_whole_batch = True

    def __init__(self, margin, metric):
        super().__init__()
        self.margin, self.metric = margin * LARGEST[metric], metric


class Contrastive(_OfPairs):
    """Over all pairs of the batch: d^2 / 2 for two of a class, max(0, margin - d)^2 / 2 for others; the mean. Hadsell et al., CVPR 2006, eq. 4.

    margin: share of the largest distance; metric: of embeddings scaled to length 1
    """

    def __init__(self, in_dim, num_classes, metric: Metric = "cosine", margin=0.2):
        super().__init__(margin, metric)

    def _loss(self, x, targets, stage):
        first, second = torch.triu_indices(len(x), len(x), 1, device=x.device)
        apart = distances(x, self.metric)[first, second]  # (B (B - 1) / 2,)
        losses = torch.where(targets[first] == targets[second], apart.square(), (self.margin - apart).clamp(min=0).square())
        return losses.sum() / (2 * max(1, len(losses))), None


class Triplet(_OfPairs):
    """Over triplets of the batch, delta = d(anchor, positive) - d(anchor, negative) clamped; the mean, 0 where there is no triplet.

    clamp, with margin m: positive: max(0, delta + m), Schroff et al., "FaceNet", CVPR 2015, eq. 3; sigmoid: 1 / (1 + exp(-10 (delta + m)));
        softmargin: ln(1 + exp(delta)), Hermans et al., "In defense of the triplet loss", 2017
    sampling all: every triplet; hard: of each anchor the farthest positive and the nearest negative; negative: of each anchor and positive the nearest
        negative; easy: triplets with delta <= 0. `all` and `easy` take memory for B^3 numbers.
    margin: share of the largest distance; metric: of embeddings scaled to length 1
    """

    def __init__(
        self, in_dim, num_classes, metric: Metric = "cosine", margin=0.2, clamp: Literal["positive", "sigmoid", "softmargin"] = "positive",
        sampling: Literal["all", "hard", "negative", "easy"] = "all",
    ):  # fmt: skip
        super().__init__(margin, metric)
        self.clamp, self.sampling = clamp, sampling

    def _loss(self, x, targets, stage):
        apart = distances(x, self.metric)  # (B, B)
        same = targets[:, None] == targets
        others = ~same
        positives = same & ~torch.eye(len(x), dtype=torch.bool, device=x.device)
        nearest = apart.masked_fill(same, math.inf).amin(1)  # (B,) infinite where all are of one class
        if self.sampling == "hard":
            delta = apart.masked_fill(~positives, -math.inf).amax(1) - nearest
            chosen = positives.any(1) & others.any(1)
        elif self.sampling == "negative":
            delta = apart - nearest[:, None]
            chosen = positives & others.any(1)[:, None]
        else:
            delta = apart[:, :, None] - apart[:, None, :]  # (anchor, positive, negative)
            chosen = positives[:, :, None] & others[:, None, :]
            if self.sampling == "easy":
                chosen &= delta.detach() <= 0
        losses = self._clamped(delta.masked_fill(~chosen, 0))
        return losses.masked_fill(~chosen, 0).sum() / chosen.sum().clamp(min=1), None

    def _clamped(self, delta):
        if self.clamp == "positive":
            return (delta + self.margin).clamp(min=0)
        return torch.sigmoid(10 * (delta + self.margin)) if self.clamp == "sigmoid" else F.softplus(delta)


def distances(x, metric):
    """x: (B, dim) -> (B, B), of the rows scaled to length 1: 1 - cos, their angle, or the length of their difference"""
    x = F.normalize(x)
    if metric == "euclidean":
        return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    cosines = x @ x.T
    return 1 - cosines if metric == "cosine" else torch.arccos(cosines.clamp(-1 + 1e-6, 1 - 1e-6))
