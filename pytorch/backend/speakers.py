"""Labelled embeddings: what LDA and PLDA are estimated from, and the means of speakers."""

from dataclasses import dataclass

import numpy as np

ROWS = 16384  # vectors in double precision at a time


@dataclass
class Moments:
    """First and second moments of labelled vectors, in float64.

    mean: (dim,) of all vectors; counts: (speakers,); means: (speakers, dim), less `mean`; scatter: (dim, dim), sum of (x - mean)(x - mean)'
    """

    mean: np.ndarray
    counts: np.ndarray
    means: np.ndarray
    scatter: np.ndarray

    @property
    def between(self):
        """(dim, dim): the part of the scatter that is of the speakers' means"""
        return self.means.T @ (self.counts[:, None] * self.means)


def moments(vectors, labels):
    """vectors: (N, dim); labels: (N,) whole numbers from 0, each there -> Moments"""
    mean = vectors.mean(0, dtype=np.float64)
    counts = np.bincount(labels)
    sums, scatter = np.zeros((len(counts), len(mean))), np.zeros((len(mean), len(mean)))
    for own, block in _by_label(vectors, labels):
        block -= mean
        scatter += block.T @ block
        _add_up(sums, own, block)
    return Moments(mean, counts, sums / counts[:, None], scatter)


def speaker_means(vectors, labels):
    """-> (speakers, dim) float32: the mean of each label's vectors, and (speakers,): how many there are"""
    counts = np.bincount(labels)
    sums = np.zeros((len(counts), vectors.shape[1]))
    for own, block in _by_label(vectors, labels):
        _add_up(sums, own, block)
    return (sums / counts[:, None]).astype(np.float32), counts


def _by_label(vectors, labels):
    """Yield (labels, vectors in float64) block by block, sorted by label."""
    order = np.argsort(labels, kind="stable")
    for start in range(0, len(order), ROWS):
        rows = order[start : start + ROWS]
        yield labels[rows], vectors[rows].astype(np.float64)


def _add_up(sums, labels, block):
    firsts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    sums[labels[firsts]] += np.add.reduceat(block, firsts)
