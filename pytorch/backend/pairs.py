"""Scores that are scalar products of an enrolled and a tested vector, plus what belongs to each of the two by itself: the cosine, and the PLDA's."""

from dataclasses import dataclass

import numpy as np

from pytorch.backend.cosine import products

ROWS = 16  # of a matrix of scores at a time: they stay in the processor's cache


@dataclass
class Side:
    """One side of the trials: those enrolled, or those tested.

    rows: (N, dim) float32
    offsets: (kinds, N) float64, added to every score of a row. What a test's is can depend on the kind of the enrolled (how many utterances it has);
    those enrolled have one themselves
    kinds: (N,) of those enrolled: which row of the tests' offsets is theirs
    """

    rows: np.ndarray
    offsets: np.ndarray
    kinds: np.ndarray | None = None


def pair_scores(models, tests, first, second):
    """models, tests: Side; first, second: (M,) their row numbers -> (M,) float64 scores"""
    scores = products(models.rows, tests.rows, first, second).astype(np.float64)
    scores += models.offsets[0, first]
    scores += tests.offsets[models.kinds[first], second]
    return scores


def all_scores(models, tests):
    """Every model against every test. models, tests: Side -> (models, tests) float32 scores"""
    scores = models.rows @ tests.rows.T
    of_models, of_tests = models.offsets[0].astype(np.float32), tests.offsets.astype(np.float32)
    for start in range(0, len(scores), ROWS):
        block = slice(start, start + ROWS)
        scores[block] += of_tests[models.kinds[block]] + of_models[block, None]
    return scores


class Cosine:
    """Scores of vectors of unit length."""

    def models(self, vectors, counts):
        """counts: of how many utterances each enrolled vector is the mean; the cosine does not ask"""
        return Side(vectors, np.zeros((1, len(vectors))), np.zeros(len(vectors), dtype=np.intp))

    def tests(self, vectors, counts):
        return Side(vectors, np.zeros((1, len(vectors))))  # of one kind, whatever the counts
