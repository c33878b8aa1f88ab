"""Softmax and cross-entropy: plain, weighted by class, focal, smoothed."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from pytorch.arguments import need_at_most
from pytorch.losses.base import Loss, hits
from pytorch.program import Fail


class Softmax(Loss):
    """Linear layer and cross-entropy.

    class_weights: of examples, by the counts n_c of their classes among N training examples; the loss is the weighted mean.
        complement: 1 - n_c / N; inverse: N / (C n_c), which lets every class weigh the same
    focus: gamma of the focal loss, (1 - p)^gamma times the cross-entropy. Lin et al., "Focal loss for dense object detection", ICCV 2017, eq. 4 and 5.
    smoothing: share of the target spread over all classes. Szegedy et al., "Rethinking the Inception architecture", CVPR 2016, section 7.
    """

    def __init__(
        self, in_dim, num_classes, bias=True, class_weights: Literal["none", "complement", "inverse"] = "none", focus=0.0, smoothing=0.0
    ):  # fmt: skip
        super().__init__()
        if focus and smoothing:
            raise Fail("--loss-args: focus and smoothing exclude each other: a smoothed target has no one probability to focus on")
        need_at_most("--loss-args", 1, smoothing=smoothing)
        self.linear = nn.Linear(in_dim, num_classes, bias)
        self.class_weights, self.focus, self.smoothing, self.of_whole_batch = class_weights, focus, smoothing, class_weights != "none"
        self.register_buffer("weights", torch.ones(num_classes) if class_weights != "none" else None)

    def fit(self, targets):
        if self.weights is not None:
            self.weights.copy_(weights_of_classes(targets, len(self.weights), self.class_weights))

    def _scores(self, x):
        return self.linear(x)  # (B, num_classes)

    def _loss(self, x, targets, stage):
        logits = self.linear(x)
        return self._cross_entropy(logits, targets), hits(logits, targets)

    def _cross_entropy(self, logits, targets):
        if not self.focus:
            return F.cross_entropy(logits, targets, self.weights, label_smoothing=self.smoothing)
        minus_log_p = F.cross_entropy(logits, targets, reduction="none")  # (B,)
        unlike = -torch.expm1(-minus_log_p)  # 1 - p
        focal = unlike.clamp(min=1e-7) ** self.focus * minus_log_p  # eq. 4; the floor keeps the gradient of powers below 1 finite
        return focal.mean() if self.weights is None else weighted_mean(focal, self.weights[targets])


def weights_of_classes(targets, num_classes, kind):
    """targets: (N,) class numbers -> (num_classes,) weights of examples, as told at Softmax; 0 for a class without examples"""
    counts = torch.bincount(targets.long(), minlength=num_classes).double()
    there = counts > 0
    if kind == "complement":
        return torch.where(there, 1 - counts / counts.sum(), 0)
    return torch.where(there, counts.sum() / (there.sum() * counts.clamp(min=1)), 0)


def weighted_mean(losses, weights):
    """(B,), (B,) -> the mean of losses where each counts by its weight, as that of torch's weighted cross-entropy"""
    return (losses * weights).sum() / weights.sum()
