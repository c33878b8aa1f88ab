"""Classification losses over speakers. Cosines and logits are computed in float32, whatever the network's precision."""

import math

import torch
import torch.nn.functional as F
from torch import nn


def build_loss(name, in_dim, num_classes, scale, margin):
    if name == "softmax":
        return Softmax(in_dim, num_classes)
    assert name == "aam", name
    return AdditiveAngularMargin(in_dim, num_classes, scale, margin)


class Softmax(nn.Module):
    """Linear layer and cross-entropy."""

    def __init__(self, in_dim, num_classes):
        super().__init__()
        self.linear = nn.Linear(in_dim, num_classes)

    def forward(self, x, targets, margin_share=1.0):
        """x: (B, in_dim), targets: (B,) class numbers -> mean loss, logits (B, num_classes)"""
        with torch.autocast(x.device.type, enabled=False):
            logits = self.linear(x.float())
            return F.cross_entropy(logits, targets), logits


class AdditiveAngularMargin(nn.Module):
    """AAM-softmax: cos(angle + margin) for the target class. Deng et al., "ArcFace", CVPR 2019, eq. 3.

    Where angle + margin would pass pi, the target's cosine is lowered by margin * sin(margin) instead, so that it stays monotone.
    margin: radians; margin_share scales it, for schedules that begin without margin.
    """

    def __init__(self, in_dim, num_classes, scale=30.0, margin=0.2):
        super().__init__()
        self.scale, self.margin = scale, margin
        self.weight = nn.Parameter(torch.empty(num_classes, in_dim))
        nn.init.xavier_normal_(self.weight)

    def forward(self, x, targets, margin_share=1.0):
        """x: (B, in_dim), targets: (B,) class numbers -> mean loss, cosines (B, num_classes)"""
        with torch.autocast(x.device.type, enabled=False):
            margin = self.margin * margin_share
            cosines = F.linear(F.normalize(x.float()), F.normalize(self.weight.float())).clamp(-1 + 1e-7, 1 - 1e-7)
            target = cosines.gather(1, targets[:, None])
            moved = target * math.cos(margin) - (1 - target.square()).sqrt() * math.sin(margin)  # cos(angle + margin)
            moved = torch.where(target > math.cos(math.pi - margin), moved, target - margin * math.sin(margin))
            return F.cross_entropy(self.scale * cosines.scatter(1, targets[:, None], moved), targets), cosines
