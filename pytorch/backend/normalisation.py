"""Score normalisation against a cohort of speakers: S-, Z- and T-norm, with all of the cohort or the highest scores of each side (adaptive).

P. Matějka et al., Analysis of score normalization in multilingual speaker recognition, Interspeech 2017: its AS-norm1.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pytorch.program import Fail

SCORES = 2**23  # in memory at a time


def rows_at_once(size):
    """How many rows are scored against a cohort of this size at a time. Rows that begin at a multiple of it have the same bytes without those before."""
    return max(1, SCORES // size)


def cohort_statistics(rows, cohort, offsets, top_n):
    """Mean and standard deviation of the scores of each row against a cohort.

    rows: (N, dim) float32; cohort: (C, dim) float32; offsets: (C,), added to the scores of each member
    top_n: how many of the highest scores count, C for all
    Returns (N,) and (N,) float64.
    """
    size, found = len(cohort), np.empty((2, len(rows)))
    number = rows_at_once(size)
    members, extra = np.ascontiguousarray(cohort.T), np.asarray(offsets, dtype=np.float32)
    buffer = np.empty((min(number, len(rows)), size), dtype=np.float32)

    def reduce(scores, out):
        scores += extra
        if top_n < size:
            scores.partition(size - top_n, axis=1)
        top = scores[:, size - top_n :]
        out[0], out[1] = top.mean(1), top.std(1)

    workers = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(rows), number):
            scores = np.matmul(rows[start : start + number], members, out=buffer[: len(rows) - start])
            step = -(-len(scores) // workers)
            parts = [slice(first, first + step) for first in range(0, len(scores), step)]
            block = found[:, start : start + number]
            list(pool.map(lambda part, scores=scores, block=block: reduce(scores[part], block[:, part]), parts))
    return found[0], found[1]


def statistics_of_models(models, cohort, top_n):
    """Of the models, scored against the cohort as tests (Z-norm). models, cohort: Side -> mean (N,), deviation (N,)"""
    found = np.empty((2, len(models.rows)))
    for kind in np.unique(models.kinds):
        rows = models.kinds == kind
        found[:, rows] = cohort_statistics(models.rows[rows], cohort.rows, cohort.offsets[kind], top_n)
    return found[0] + models.offsets[0], found[1]


def statistics_of_tests(tests, cohort, top_n):
    """Of the tests, scored against the cohort as models of one utterance each (T-norm). tests: Side for such models; cohort: Side"""
    mean, deviation = cohort_statistics(tests.rows, cohort.rows, cohort.offsets[0], top_n)
    return mean + tests.offsets[0], deviation


def check_deviations(deviations, names, where):
    """Fail where scores against the cohort are all alike, so that nothing can be divided by their deviation."""
    flat = np.flatnonzero(~(deviations > 1e-7))
    if len(flat):
        what = f"the scores of '{names[flat[0]]}' against the cohort are all alike ({len(flat)} such)"
        raise Fail(f"{where}: {what}; take another cohort, or a greater --top-n")
