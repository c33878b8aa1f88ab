"""Calibration and fusion: scores of one or several systems, and quality measures, mapped to log-likelihood ratios by one affine function.

Prior-weighted logistic regression: Brümmer and others, "Fusion of heterogeneous speaker recognition systems in the STBU submission for the NIST
SRE 2006", IEEE Transactions on Audio, Speech and Language Processing 15, 2007; Brümmer and de Villiers, "The BOSARIS toolkit", arXiv 1304.2865.
"""

from dataclasses import asdict, dataclass, field

import numpy as np

from pytorch.files import read_json, write_json
from pytorch.program import Fail

PENALTY = 1e-6  # on the squared weights of columns of deviation 1: so little that it only matters where no trial is wrong, as weights grow without end there


@dataclass
class Calibration:
    """Natural log-likelihood ratio = columns · weights + offset.

    systems: the names of the scores, which are the first columns; quality: the names of the quality measures, two columns each, see pytorch/calibrating.py;
    p_target: the prior it was trained for; facts: what it was trained on
    """

    systems: list
    quality: list
    weights: list
    offset: float
    p_target: float
    facts: dict = field(default_factory=dict)

    def llrs(self, columns):
        """columns: (N, C) -> (N,) float64"""
        return np.asarray(columns, dtype=np.float64) @ np.array(self.weights) + self.offset

    def kind(self, system):
        """Of the scores of a system that it was trained on, see score_kind() in pytorch/origin.py; None where nothing is known."""
        kinds = self.facts.get("kinds")
        return kinds.get(system) if isinstance(kinds, dict) else None

    def save(self, path):
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path):
        found = read_json(path)
        try:
            calibration = cls(**found)
            numbers = [*calibration.weights, calibration.offset, calibration.p_target]
            names = [*calibration.systems, *calibration.quality]
            whole = all(isinstance(x, int | float) and abs(x) < float("inf") for x in numbers) and all(isinstance(name, str) for name in names)
            whole = whole and isinstance(calibration.facts, dict)
        except TypeError:
            whole = False
        if not whole or not calibration.systems or len(calibration.weights) != len(calibration.systems) + 2 * len(calibration.quality):
            raise Fail(f"{path}: no calibration; make it with steps/train_calibration.py")
        return calibration


def probability(llr, p_target):
    """The probability that a trial is a target one, given its log-likelihood ratio and the prior of targets."""
    return 1 / (1 + np.exp(-(np.asarray(llr) + _logit(p_target))))


def train(columns, labels, p_target):
    """The affine function that gives the least prior-weighted cross-entropy.

    columns: (N, C) numbers; labels: (N,) True for targets, both kinds present. Both kinds of trials are weighted as if targets had the prior p_target,
    however many there are. -> (weights (C,), offset). ValueError with the number of a column whose values are all alike.
    """
    from sklearn.linear_model import LogisticRegression

    columns, labels = np.asarray(columns, dtype=np.float64), np.asarray(labels, dtype=bool)
    mean, deviation = columns.mean(0), columns.std(0)
    flat = np.flatnonzero(np.ptp(columns, axis=0) == 0)
    if len(flat):
        raise ValueError(int(flat[0]))
    shares = np.where(labels, p_target / labels.sum(), (1 - p_target) / (~labels).sum())
    model = LogisticRegression(C=1 / PENALTY, solver="newton-cholesky", tol=1e-9, max_iter=1000)
    model.fit((columns - mean) / deviation, labels, sample_weight=shares)
    weights = model.coef_[0] / deviation
    return weights, float(model.intercept_[0] - weights @ mean - _logit(p_target))


def _logit(probability):
    return np.log(probability) - np.log1p(-probability)
