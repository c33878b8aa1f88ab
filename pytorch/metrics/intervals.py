"""How far figures would move with other speakers: intervals by a bootstrap over the speakers on both sides of the trials."""

import numpy as np

from pytorch.metrics.detection import Detection


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
    ends = [(1 - level) / 2, (1 + level) / 2]
    return {name: np.quantile([run[name] for run in found], ends, axis=0).T.tolist() for name in found[0]}


def _sorted_sides(scores, kind, enrols, tests):
    order = np.argsort(np.asarray(scores)[kind], kind="stable")
    return [np.asarray(side, dtype=np.int32)[kind][order] for side in (enrols, tests)]
