"""Cosine scoring: the scalar product of vectors of unit length."""

import numpy as np

from pytorch.program import Fail

BLOCK = 4096  # trials or vectors at a time: they stay in the processor's cache


def unit_length(vectors, names, where):
    """(N, dim) -> the same with every row of length 1. Fails where a row is zero or not finite, naming it and the file."""
    found, norms = np.empty(vectors.shape, dtype=np.float32), np.empty(len(vectors))
    for start in range(0, len(vectors), BLOCK):
        block = slice(start, start + BLOCK)
        rows = vectors[block].astype(np.float64)
        norms[block] = lengths(rows)
        with np.errstate(divide="ignore", invalid="ignore"):
            rows /= norms[block, None]
            found[block] = rows
    check_lengths(norms, names, where)
    return found


def lengths(vectors):
    """(N, dim) -> (N,)"""
    return np.sqrt(np.einsum("nd,nd->n", vectors, vectors))


def check_lengths(norms, names, where):
    """Fail where the length of a vector is zero or not finite, naming it and the file."""
    bad = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
    if len(bad):
        kind = "zero" if norms[bad[0]] == 0 else "not finite"
        raise Fail(f"{where}: the embedding of '{names[bad[0]]}' is {kind} ({len(bad)} such); look at its recording, extract anew")


def cosine_scores(vectors, enrols, tests):
    """vectors: (N, dim) of unit length; enrols, tests: (M,) row numbers -> (M,) float32 cosines"""
    return products(vectors, vectors, enrols, tests)


def products(left, right, first, second):
    """left, right: (N, dim) float32; first, second: (M,) row numbers -> (M,) float32 scalar products"""
    found = np.empty(len(first), dtype=np.float32)
    for start in range(0, len(first), BLOCK):
        block = slice(start, start + BLOCK)
        found[block] = np.einsum("md,md->m", left[first[block]], right[second[block]])
    return found
