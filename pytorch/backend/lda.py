"""Linear discriminant analysis as Kaldi's ivector-compute-lda does it."""

import numpy as np

from pytorch.program import Fail


def train_lda(moments, dim, total_covariance_factor=0.0, covariance_floor=1e-6):
    """The directions in which speakers differ most, against how much one of them varies.

    moments: of the labelled vectors, see speakers.py
    total_covariance_factor: what is made white, from 0, the covariance within speakers, to 1, that of all vectors
    covariance_floor: least eigenvalue of that, of the greatest
    Returns (dim, D) float64, to be applied to vectors less their mean, and how many directions were floored.
    """
    check_speakers(moments)
    speakers, of = moments.means.shape
    if dim > min(of, speakers - 1):
        raise Fail(f"LDA to {dim} dimensions of {of}, with {speakers} speakers: they differ in {min(of, speakers - 1)} at most; choose a lower --lda-dim")
    number = moments.counts.sum()
    total, between = moments.scatter / number, moments.between / number
    white, floored = _whitening(total_covariance_factor * total + (1 - total_covariance_factor) * (total - between), covariance_floor)
    _, directions = np.linalg.eigh(white @ between @ white.T)
    return directions[:, ::-1][:, :dim].T @ white, floored


def check_speakers(moments):
    """Fail where how speakers differ, or how one varies, cannot be seen."""
    if len(moments.counts) < 2:
        raise Fail("one speaker only, so how speakers differ cannot be seen; add others")
    if moments.counts.max() < 2:
        raise Fail("no speaker has two utterances, so how one speaker varies cannot be seen; add utterances")


def _whitening(covariance, floor):
    values, vectors = np.linalg.eigh(covariance)
    if values[-1] <= 0:
        raise Fail("the embeddings of each speaker are all alike, so how one speaker varies cannot be seen; add other utterances")
    least = floor * values[-1]
    floored = int((values < least).sum())
    return vectors.T / np.sqrt(np.maximum(values, least))[:, None], floored
