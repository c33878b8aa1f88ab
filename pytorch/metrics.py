"""Error rates of detection scores: exact, with tied scores as one operating point."""

import numpy as np


def error_rates(scores, labels):
    """All operating points of a detector that accepts scores above a threshold, one for each distinct score and one that accepts all.

    scores: (N,) numbers; labels: (N,) True for targets, both kinds present
    Returns (p_miss, p_fa, thresholds), each (points,), from accepting all to rejecting all: a trial is accepted at point i
    where score > thresholds[i]; thresholds[0] is -inf. p_miss rises from 0 to 1, p_fa falls from 1 to 0.
    """
    scores = np.asarray(scores, dtype=np.float64)
    labels = np.asarray(labels, dtype=bool)
    if not np.isfinite(scores).all():
        raise ValueError("scores that are not finite")
    targets = int(labels.sum())
    if targets in (0, len(labels)):
        raise ValueError("trials of both kinds are needed")
    order = np.argsort(scores, kind="stable")
    scores, labels = scores[order], labels[order]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # last place of each distinct score
    missed = np.cumsum(labels)[last]
    rejected = last + 1 - missed
    p_miss = np.concatenate([[0.0], missed / targets])
    nontargets = len(labels) - targets
    p_fa = np.concatenate([[1.0], (nontargets - rejected) / nontargets])
    return p_miss, p_fa, np.concatenate([[-np.inf], scores[last]])


def eer(scores, labels):
    """Equal error rate, 0 to 1: where the line through neighbouring operating points crosses p_miss = p_fa.

    Constant scores give 0.5. Returns (rate, threshold): the threshold of the first point with p_miss >= p_fa.
    """
    p_miss, p_fa, thresholds = error_rates(scores, labels)
    after = int(np.argmax(p_miss >= p_fa))
    before = after - 1  # point 0 has p_miss 0 < p_fa 1, so there is one before
    gap_before, gap_after = p_fa[before] - p_miss[before], p_miss[after] - p_fa[after]
    share = gap_before / (gap_before + gap_after)
    return float(p_miss[before] + share * (p_miss[after] - p_miss[before])), float(thresholds[after])


def min_dcf(scores, labels, p_target, c_miss=1.0, c_fa=1.0):
    """Least detection cost over all thresholds, divided by the cost of the better blind decision (NIST SRE; so at most 1)."""
    p_miss, p_fa, _ = error_rates(scores, labels)
    costs = c_miss * p_target * p_miss + c_fa * (1 - p_target) * p_fa
    return float(costs.min() / min(c_miss * p_target, c_fa * (1 - p_target)))
