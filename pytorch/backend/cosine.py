"""Cosine scoring of trials, vectorised."""

import numpy as np

from pytorch.program import Fail

BLOCK = 65536  # trials at a time: bounds the memory gathered at once


def unit_length(vectors, names, where):
    """(N, dim) -> the same with every row of length 1. Fails where a row is zero or not finite, naming it and the file."""
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    bad = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
    if len(bad):
        kind = "zero" if norms[bad[0]] == 0 else "not finite"
        raise Fail(f"{where}: the embedding of '{names[bad[0]]}' is {kind} ({len(bad)} such); look at its recording, extract anew")
    return (vectors / norms[:, None]).astype(np.float32)


def cosine_scores(vectors, enrols, tests):
    """vectors: (N, dim) of unit length; enrols, tests: (M,) row numbers -> (M,) float32 cosines"""
    scores = np.empty(len(enrols), dtype=np.float32)
    for start in range(0, len(enrols), BLOCK):
        block = slice(start, start + BLOCK)
        scores[block] = np.einsum("md,md->m", vectors[enrols[block]], vectors[tests[block]])
    return scores
