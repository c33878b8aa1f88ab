"""How far figures would move with other speakers: intervals by a bootstrap over the speakers on both sides of trials, and over those of utterances."""

import numpy as np

from pytorch.metrics.detection import Detection

MOST = 1 << 20  # weights, of resamples times utterances, at a time


def speaker_intervals(scores, labels, enrols, tests, costs, resamples=1000, seed=0, level=0.95):
    """Percentile intervals of all figures of Detection.figures.

    scores: (N,); labels: (N,) True for targets; enrols, tests: (N,) numbers of the speakers of both sides, from 0 on
    Each resample draws as many speakers as there are, with replacement. One that is drawn k times brings its target trials k times, and its
    non-target trials with one drawn m times count k * m times: trials that share a speaker rise and fall together, whichever side it stands on.
    Copies of one speaker make no non-target trials with each other. Davezies, D'Haultfœuille and Guyonvarch, "Empirical process results for
    exchangeable arrays", Annals of Statistics 49, 2021, show this scheme to be valid for data indexed by pairs. A resample without trials of
    both kinds is drawn anew. ValueError with fewer than two speakers.
    Returns {name of the figure: [low, high]}, for figures of several costs {name: [[low, high], …]}.
    """
    labels = np.asarray(labels, dtype=bool)
    detection = Detection(scores, labels)
    speakers = 1 + max(np.max(enrols), np.max(tests))
    if speakers < 2:
        raise ValueError("two speakers or more are needed")
    targets, nontargets = (_sorted_sides(scores, kind, enrols, tests) for kind in (labels, ~labels))
    chance = np.random.default_rng(seed)
    found = []
    while len(found) < resamples:
        drawn = np.bincount(chance.integers(0, speakers, speakers), minlength=speakers).astype(np.float64)
        weights = drawn[targets[0]], drawn[nontargets[0]] * drawn[nontargets[1]]
        if weights[0].any() and weights[1].any():
            found.append(detection.figures(costs, weights))
    return {name: _ends([run[name] for run in found], level) for name in found[0]}


def _ends(values, level):
    """(resamples, …) values of a figure -> [low, high], or [[low, high], …]"""
    return np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0).T.tolist()


def _sorted_sides(scores, kind, enrols, tests):
    order = np.argsort(np.asarray(scores)[kind], kind="stable")
    return [np.asarray(side, dtype=np.int32)[kind][order] for side in (enrols, tests)]


# ---- of predicted classes and numbers


def utterance_intervals(figures, spks, resamples=1000, seed=0, level=0.95):
    """Percentile intervals of figures of utterances.

    figures: a function of weights (R, N), how often each utterance counts in R resamples -> {name: (R,)}, nan where a resample has no such figure
    spks: (N,) numbers of the utterances' speakers, each from 0 on
    Each resample draws as many speakers as there are, with replacement, and the utterances of one that is drawn k times count k times. A resample
    that has not all figures is drawn anew. ValueError with fewer than two speakers.
    Returns {name of the figure: [low, high]}.
    """
    speakers = 1 + np.max(spks)
    if speakers < 2:
        raise ValueError("two speakers or more are needed")
    chance, found, missing = np.random.default_rng(seed), [], resamples
    while missing:
        drawn = chance.multinomial(speakers, np.full(speakers, 1 / speakers), size=min(missing, 1 + MOST // len(spks)))
        told = figures(drawn[:, spks].astype(np.float64))
        whole = np.isfinite(list(told.values())).all(0)
        found.append({name: values[whole] for name, values in told.items()})
        missing -= int(whole.sum())
    return {name: _ends(np.concatenate([part[name] for part in found]), level) for name in found[0]}


def class_figures(weights, found, wanted, tolerance=None):
    """The figures of pytorch/metrics/classes.py, for R resamples at once -> {name: (R,)}

    weights: (R, N); found, wanted: (N,) places of the classes in their order; tolerance: of tolerant F1, which is left out with None
    """
    number = 1 + max(found.max(), wanted.max())
    there, right = _sums(weights, wanted, number), _sums(weights * (found == wanted), wanted, number)
    told = {"accuracy": right.sum(1) / weights.sum(1), "uar": _mean_of_shares(right, there), "macro_f1": _f1(weights, found, wanted, number)}
    if tolerance is not None:
        told["tolerant_f1"] = _f1(weights, np.where(np.abs(found - wanted) <= tolerance, wanted, found), wanted, number)
    return told


def number_figures(weights, found, wanted):
    """The figures of pytorch/metrics/numbers.py, for R resamples at once -> {name: (R,)}; correlations are nan where all numbers wanted are alike.

    weights: (R, N) whole numbers; found, wanted: (N,)
    """
    error, total = found - wanted, weights.sum(1)
    ranked = _moments(weights, _ranks(weights, found), _ranks(weights, wanted))
    plain = _moments(weights, found, wanted)
    found_alike, wanted_alike = ranked[0] == 0, ranked[1] == 0  # ranks are exact, moments of the numbers themselves are rounded
    told = {"mae": weights @ np.abs(error) / total, "rmse": np.sqrt(weights @ error**2 / total)}
    for name, (one, other, covariance, _) in (("pearson", plain), ("spearman", ranked)):
        size = np.where(found_alike, 0, np.sqrt(one * other))
        told[name] = np.where(size > 0, np.clip(covariance / np.where(size > 0, size, 1), -1, 1), 0)
    one, other, covariance, shift = plain
    size = one + other + shift**2
    told["ccc"] = 2 * covariance / np.where(size > 0, size, 1)
    for name in ("pearson", "spearman", "ccc"):
        told[name] = np.where(wanted_alike, np.nan, told[name])
    return told


def _f1(weights, found, wanted, number):
    right = _sums(weights * (found == wanted), wanted, number)
    return _mean_of_shares(2 * right, _sums(weights, wanted, number) + _sums(weights, found, number))


def _sums(weights, places, number):
    """(R, N) weights, (N,) places from 0 to number - 1 -> (R, number): the weight at each place"""
    import scipy.sparse

    is_at = scipy.sparse.csr_array((np.ones(len(places)), (np.arange(len(places)), places)), shape=(len(places), number))
    return weights @ is_at


def _mean_of_shares(parts, wholes):
    """(R, C) -> (R,): the mean of parts / wholes over the classes that are there"""
    return (parts / np.maximum(wholes, 1)).sum(1) / (wholes > 0).sum(1)


def _ranks(weights, values):
    """(R, N) -> ranks of the values in each resample, tied ones at the mean of theirs; see ranks() of pytorch/metrics/numbers.py"""
    distinct, places = np.unique(values, return_inverse=True)
    counts = _sums(weights, places, len(distinct))
    return (np.cumsum(counts, axis=1) - (counts - 1) / 2)[:, places]


def _moments(weights, one, other):
    """(R, N) weights of (N,) or (R, N) numbers -> (R,) each: variances of both, covariance, difference of the means"""
    total = weights.sum(1, keepdims=True)
    means = [(weights * values).sum(1, keepdims=True) / total for values in (one, other)]
    one, other = one - means[0], other - means[1]
    parts = [(weights * product).sum(1) / total[:, 0] for product in (one * one, other * other, one * other)]
    return *parts, (means[0] - means[1])[:, 0]
