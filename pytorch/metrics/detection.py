"""Error rates and costs of detection scores: exact, with tied scores as one operating point.

Definitions: Brümmer and de Villiers, "The BOSARIS toolkit", arXiv 1304.2865 (convex hull, costs); Brümmer and du Preez, "Application-independent
evaluation of speaker detection", Computer Speech and Language 20, 2006 (Cllr and the least one).
"""

import bisect
from functools import cached_property

import numpy as np

PIECE = 1 << 16  # points or trials worked at together, so that they stay in the cache


def error_rates(scores, labels):
    """All operating points of a detector that accepts scores above a threshold, one for each distinct score and one that accepts all.

    scores: (N,) numbers; labels: (N,) True for targets, both kinds present
    Returns (p_miss, p_fa, thresholds), each (points,), from accepting all to rejecting all: a trial is accepted at point i
    where score > thresholds[i]; thresholds[0] is -inf. p_miss rises from 0 to 1, p_fa falls from 1 to 0.
    """
    scores, labels = _checked(scores, labels)
    order = np.argsort(scores, kind="stable")
    scores, labels = scores[order], labels[order]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # last place of each distinct score
    missed = np.cumsum(labels)[last]
    rejected = last + 1 - missed
    targets, nontargets = missed[-1], rejected[-1]
    p_miss = np.concatenate([[0.0], missed / targets])
    p_fa = np.concatenate([[1.0], (nontargets - rejected) / nontargets])
    return p_miss, p_fa, np.concatenate([[-np.inf], scores[last]])


def eer(scores, labels):
    """Equal error rate, 0 to 1, and its threshold; see Detection.eer and Detection.eer_threshold."""
    found = Detection(scores, labels)
    return found.eer(), found.eer_threshold()


def min_dcf(scores, labels, p_target, c_miss=1.0, c_fa=1.0):
    """Least detection cost over all thresholds, see Detection.min_dcf."""
    return Detection(scores, labels).min_dcf(p_target, c_miss, c_fa)


class Detection:
    """The trials of a detector, sorted once; each figure is then told in less time than that took.

    scores: (N,) numbers; labels: (N,) True for targets, both kinds present. ValueError where a score is not finite or a kind is missing.
    Where `weights` are given, whole numbers for the sorted targets and for the sorted non-targets, each trial counts so many times (a bootstrap).
    """

    def __init__(self, scores, labels):
        scores, labels = _checked(scores, labels)
        self.targets, self.nontargets = scores[labels], scores[~labels]
        self.targets.sort()
        self.nontargets.sort()

    @cached_property
    def _corners(self):
        """Where the staircase of operating points turns -> (targets rejected, non-targets rejected, distinct scores of the rarer kind).

        Before and after each distinct score of the kind with fewer trials, and both ends: between these only trials of the other kind are
        rejected, so every operating point lies on the line from one corner to the next.
        """
        kinds = [self.targets, self.nontargets]
        rarer = int(len(kinds[1]) < len(kinds[0]))
        few, many = kinds[rarer], kinds[1 - rarer]
        first = np.flatnonzero(np.append(True, few[1:] != few[:-1]))
        distinct = few if len(first) == len(few) else few[first]
        corners = np.zeros((2, 2 * len(distinct) + 2), dtype=np.int32 if len(many) < 2**31 else np.int64)
        corners[:, -1] = len(few), len(many)
        corners[0, 1:-1:2], corners[0, 2:-2:2], corners[0, -2] = first, first[1:], len(few)
        before = np.searchsorted(many, distinct, "left")
        corners[1, 1:-1:2] = corners[1, 2:-1:2] = before
        tied = np.flatnonzero(many[np.minimum(before, len(many) - 1)] == distinct)
        corners[1, 2 * tied + 2] = np.searchsorted(many, distinct[tied], "right")
        return corners[rarer], corners[1 - rarer], distinct

    def _counts(self, weights=None):
        """-> (targets rejected, non-targets rejected) at the corners, from accepting all to rejecting all."""
        missed, rejected, _ = self._corners
        if weights is None:
            return missed, rejected
        return tuple(_running_sum(part)[places] for part, places in zip(weights, (missed, rejected), strict=True))

    def eer(self):
        """Equal error rate, 0 to 1: where the line through neighbouring operating points crosses p_miss = p_fa. Constant scores give 0.5."""
        return _crossing(*self._counts())

    def eer_threshold(self):
        """The least of the scores at which, rejecting it and all below, p_miss >= p_fa."""
        missed, rejected, distinct = self._corners
        after = _first_past_diagonal(missed, rejected)
        if after % 2 == 0:  # from before a score of the rarer kind to after it
            return float(distinct[after // 2 - 1])
        kinds = ((missed, self.targets), (rejected, self.nontargets))
        counts, scores = max(kinds, key=lambda kind: kind[0][after] - kind[0][after - 1])  # the only kind rejected on the way
        low, high = counts[after - 1] + 1, counts[after] + 1
        way = np.arange(low, high)
        ends = (way, rejected[after]) if scores is self.targets else (missed[after], way)
        enough = ends[0] / missed[-1] >= (rejected[-1] - ends[1]) / rejected[-1]
        return float(scores[low + np.argmax(enough) - 1])

    def figures(self, costs, weights=None):
        """All figures -> {"eer", "rocch_eer", "cllr", "min_cllr": float, "min_dcf", "act_dcf": [one for each of the costs]}

        costs: [(p_target, c_miss, c_fa), …]. eer: see there; rocch_eer: the same of the convex hull, at most as large; min_dcf, min_cllr: the
        least over all thresholds and all monotone maps of the scores; act_dcf, cllr: of the scores taken as natural log-likelihood ratios.
        """
        counts = self._counts(weights)
        hull = convex_hull(*counts)
        return {
            "eer": _crossing(*counts),
            "rocch_eer": _crossing(*hull),
            "min_dcf": [_least_cost(*hull, *cost) for cost in costs],
            "act_dcf": [self.act_dcf(*cost, weights=weights) for cost in costs],
            "min_cllr": _hull_cllr(*hull),
            "cllr": self.cllr(weights),
        }

    def min_dcf(self, p_target, c_miss=1.0, c_fa=1.0):
        """Least detection cost over all thresholds, divided by the cost of the better blind decision (NIST SRE; so at most 1)."""
        return _least_cost(*self._counts(), p_target, c_miss, c_fa)

    def act_dcf(self, p_target, c_miss=1.0, c_fa=1.0, weights=None):
        """Detection cost of the Bayes decision, divided as in min_dcf: scores above log(c_fa (1 - p_target) / (c_miss p_target)) are accepted."""
        threshold = np.log(c_fa * (1 - p_target)) - np.log(c_miss * p_target)
        below = []
        for scores, part in zip((self.targets, self.nontargets), weights or (None, None), strict=True):
            place = np.searchsorted(scores, threshold, "right")
            below.append(place / len(scores) if part is None else part[:place].sum() / part.sum())
        return float(_cost(below[0], 1 - below[1], p_target, c_miss, c_fa))

    def cllr(self, weights=None):
        """Cost of log-likelihood ratios in bits, averaged over all priors: 0 is perfect, scores that are all 0 give 1, wrong ones more."""
        if weights is None:
            means = [sum(losses.sum() for losses in _losses(*kind)) / len(kind[0]) for kind in self._signed]
        else:
            means = [part @ losses / part.sum() for part, losses in zip(weights, self._all_losses, strict=True)]
        return float(sum(means) / 2)

    @property
    def _signed(self):
        return (self.targets, -1), (self.nontargets, 1)

    @cached_property
    def _all_losses(self):
        return [np.concatenate(list(_losses(*kind))) for kind in self._signed]


def _checked(scores, labels):
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    if not np.isfinite(scores).all():
        raise ValueError("scores that are not finite")
    if scores.shape != labels.shape or scores.ndim != 1 or labels.all() or not labels.any():
        raise ValueError("trials of both kinds are needed")
    return scores, labels


def convex_hull(missed, rejected):
    """Lower convex hull of operating points, numbers of targets and of non-targets rejected, from accepting all to rejecting all -> the same of its vertices.

    It is what the best monotone map of the scores reaches, found by pooling adjacent violators among the steps of the staircase.
    """
    from sklearn.isotonic import isotonic_regression

    pieces = [_candidates(missed[start : start + PIECE + 1], rejected[start : start + PIECE + 1]) + start for start in range(0, len(missed) - 1, PIECE)]
    kept = np.append(0, np.concatenate(pieces))
    missed, rejected = missed[kept].astype(np.float64), rejected[kept].astype(np.float64)
    misses, passes = np.diff(missed), np.diff(rejected)
    slopes = isotonic_regression(misses / (misses + passes), sample_weight=misses + passes)
    vertices = np.append(0, np.flatnonzero(np.append(slopes[1:] != slopes[:-1], True)) + 1)
    return missed[vertices], rejected[vertices]


def _candidates(missed, rejected):
    """The places, but for the first, of the points of a piece that may be vertices of the hull: where the line bends down there is none."""
    places = np.flatnonzero((np.diff(missed) > 0) | (np.diff(rejected) > 0)) + 1
    before = len(missed)
    while len(places) < before:
        before = len(places)
        misses, passes = (np.diff(part[places].astype(np.int64), prepend=part[0]) for part in (missed, rejected))
        places = places[np.append(misses[:-1] * passes[1:] < misses[1:] * passes[:-1], True)[: len(places)]]
    return places


def _losses(scores, sign):
    """log2(1 + exp(sign * score)), by pieces."""
    for start in range(0, len(scores), PIECE):
        x = sign * scores[start : start + PIECE]
        yield (np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))) / np.log(2)


def _running_sum(weights):
    return np.concatenate([[0], np.cumsum(weights)])


def _first_past_diagonal(missed, rejected):
    """The first of the points, from accepting all to rejecting all, at which p_miss >= p_fa; never point 0."""
    return bisect.bisect_left(range(len(missed)), True, key=lambda i: missed[i] / missed[-1] >= (rejected[-1] - rejected[i]) / rejected[-1])


def _crossing(missed, rejected):
    """p_miss where the line through the points crosses p_miss = p_fa."""
    after = _first_past_diagonal(missed, rejected)
    ends = slice(after - 1, after + 1)
    p_miss, p_fa = missed[ends] / missed[-1], (rejected[-1] - rejected[ends]) / rejected[-1]
    gaps = p_fa - p_miss  # above 0 before, 0 or less after
    return float(p_miss[0] + gaps[0] / (gaps[0] - gaps[1]) * (p_miss[1] - p_miss[0]))


def _least_cost(missed, rejected, *cost):
    return float(_cost(missed / missed[-1], (rejected[-1] - rejected) / rejected[-1], *cost).min())


def _cost(p_miss, p_fa, p_target, c_miss, c_fa):
    return (c_miss * p_target * p_miss + c_fa * (1 - p_target) * p_fa) / min(c_miss * p_target, c_fa * (1 - p_target))


def _hull_cllr(missed, rejected):
    """Cllr where each edge of the hull has the log-likelihood ratio of its two shares."""
    misses, passes = np.diff(missed) / missed[-1], np.diff(rejected) / rejected[-1]
    both = (misses > 0) & (passes > 0)  # an edge of one kind alone costs nothing
    misses, passes = misses[both], passes[both]
    return float(np.sum(misses * np.log2(1 + passes / misses) + passes * np.log2(1 + misses / passes)) / 2)
