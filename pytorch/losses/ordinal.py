"""Losses over classes that have an order (ages, degrees of sleepiness): a neighbour of the right class is less wrong than a far one."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from pytorch.arguments import need_at_most
from pytorch.losses.base import Loss, hits
from pytorch.losses.classification import Softmax, weighted_mean, weights_of_classes

ClassWeights = Literal["none", "complement", "inverse"]


class Cumulative(Loss):
    """Output j says whether the class is j or higher: class k has the targets 1 up to and with k, 0 beyond. Squared errors of sigmoids, summed.

    Cheng et al., "A neural network approach to ordinal regression", IJCNN 2008. The class is the last output before the first that is not above 1/2.
    class_weights: of examples, as at Softmax; the loss is the weighted mean
    """

    scores_are_logits = False

    def __init__(self, in_dim, num_classes, class_weights: ClassWeights = "none"):
        super().__init__()
        self.linear, self.class_weights, self.of_whole_batch = nn.Linear(in_dim, num_classes), class_weights, class_weights != "none"
        self.register_buffer("weights", torch.ones(num_classes))

    def fit(self, targets):
        if self.class_weights != "none":
            self.weights.copy_(weights_of_classes(targets, len(self.weights), self.class_weights))

    def _scores(self, x):
        """(B, num_classes): 1 for the class, 0 for others"""
        passed = (self.linear(x) > 0).long().cumprod(1).sum(1)
        return F.one_hot((passed - 1).clamp(min=0), len(self.weights)).to(x.dtype)

    def _loss(self, x, targets, stage):
        wanted = (torch.arange(len(self.weights), device=x.device) <= targets[:, None]).to(x.dtype)  # (B, num_classes)
        losses = (torch.sigmoid(self.linear(x)) - wanted).square().sum(1)
        return weighted_mean(losses, self.weights[targets]), hits(self._scores(x), targets)


class Distance(Softmax):
    """Squared errors of probabilities that count the more, the farther a class j is from the right one k; share of it, the rest is cross-entropy.

    The sum over j of ((|k - j| + 1)^power p_j - [j = k])^2. power 1 and share 1/2, over weighted classes, is what
    DoubleAttentionAgeClassification (2023) aims at.
    class_weights: of the cross-entropy, as at Softmax
    """

    def __init__(self, in_dim, num_classes, power=1.0, share=1.0, class_weights: ClassWeights = "none"):
        super().__init__(in_dim, num_classes, class_weights=class_weights)
        need_at_most("--loss-args", 1, share=share)
        self.power, self.share = power, share

    def _loss(self, x, targets, stage):
        logits = self.linear(x)
        numbers = torch.arange(logits.shape[1], device=x.device)
        away = (numbers - targets[:, None]).abs()  # (B, num_classes)
        errors = (away + 1).to(x.dtype) ** self.power * logits.softmax(1) - (away == 0).to(x.dtype)
        loss = self.share * errors.square().sum(1).mean() + (1 - self.share) * self._cross_entropy(logits, targets)
        return loss, hits(logits, targets)
