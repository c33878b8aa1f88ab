"""Figures of quality: detection scores (detection, intervals, subsets), predicted classes (classes) and predicted numbers (numbers)."""

from pytorch.metrics.classes import accuracy, confusion_matrix, macro_f1, tolerant_f1, uar
from pytorch.metrics.detection import Detection, eer, error_rates, min_dcf
from pytorch.metrics.numbers import ccc, mae, pearson, rmse, spearman

__all__ = [
    "Detection",
    "accuracy",
    "ccc",
    "confusion_matrix",
    "eer",
    "error_rates",
    "macro_f1",
    "mae",
    "min_dcf",
    "pearson",
    "rmse",
    "spearman",
    "tolerant_f1",
    "uar",
]
