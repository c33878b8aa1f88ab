"""Losses over numbers (age in years): squared and absolute errors, concordance."""

from typing import Literal

import torch
from torch import nn

from pytorch.losses.base import Loss


class Regression(Loss):
    """A linear layer to one number, in deviations from the mean of the training targets, so that it begins near them whatever their unit.

    kind mse, l1: mean squared, mean absolute error, in deviations; ccc: 1 - concordance correlation coefficient of the batch,
        2 cov / (var + var' + (mean - mean')^2). Lin, "A concordance correlation coefficient to evaluate reproducibility", Biometrics 45, 1989.
    """

    measure = "error"

    def __init__(self, in_dim, num_classes, kind: Literal["mse", "l1", "ccc"] = "mse"):
        super().__init__()
        self.linear, self.kind, self.of_whole_batch = nn.Linear(in_dim, 1), kind, kind == "ccc"
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))

    def fit(self, targets):
        std, mean = torch.std_mean(targets.double(), correction=0)
        self.mean.copy_(mean)
        self.deviation.copy_(std if std > 0 else 1)

    def predict(self, x):
        """x: (B, in_dim) -> (B,) in the unit of the targets"""
        with torch.autocast(x.device.type, enabled=False):
            return self.mean + self.deviation * self.linear(x.to(self.linear.weight.dtype)).squeeze(1)

    def _loss(self, x, targets, stage):
        found = self.linear(x).squeeze(1)  # (B,) deviations
        wanted = (targets - self.mean) / self.deviation
        wanted = wanted.to(x.dtype)
        errors = (self.deviation * (found - wanted)).abs().detach()
        if self.kind == "ccc":
            return 1 - concordance(found, wanted), errors
        return ((found - wanted).square() if self.kind == "mse" else (found - wanted).abs()).mean(), errors


def concordance(x, y):
    """(B,), (B,) -> the concordance correlation coefficient, -1 to 1; 0 where both are constant"""
    var_x, mean_x = torch.var_mean(x, correction=0)
    var_y, mean_y = torch.var_mean(y, correction=0)
    cov = ((x - mean_x) * (y - mean_y)).mean()
    return 2 * cov / (var_x + var_y + (mean_x - mean_y).square() + 1e-8)
