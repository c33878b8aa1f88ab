"""Two-covariance PLDA: a speaker's mean is Gaussian, so are its utterances around it. Model, training and scores are those of Kaldi's ivector-*plda*.

S. Ioffe, Probabilistic linear discriminant analysis, ECCV 2006.
"""

from dataclasses import dataclass

import numpy as np

from pytorch.backend.lda import check_speakers
from pytorch.backend.pairs import Side
from pytorch.program import Fail

ROWS = 8192  # vectors in double precision at a time


@dataclass
class Plda:
    """transform: (dim, dim) makes the covariance within speakers unit and that between them diag(psi); mean, psi: (dim,); all float64

    length_norm: scale what is scored to the length expected of a vector of its kind
    """

    mean: np.ndarray
    transform: np.ndarray
    psi: np.ndarray
    length_norm: bool = True

    def smoothed(self, factor):
        """With `factor` times the covariance between speakers added to that within."""
        within = 1 + factor * self.psi
        return Plda(self.mean, self.transform / np.sqrt(within)[:, None], self.psi / within, self.length_norm)

    def project(self, vectors, counts):
        """vectors: (N, dim), each the mean of counts (N,) utterances -> (N, dim) float64, where the covariances are diagonal"""
        found = (vectors - self.mean) @ self.transform.T
        if self.length_norm:
            kinds, which = np.unique(counts, return_inverse=True)
            inverse = 1 / (self.psi + 1 / kinds[:, None])
            expected = (found**2 @ inverse.T)[np.arange(len(found)), which]
            with np.errstate(divide="ignore", invalid="ignore"):
                found *= np.sqrt(len(self.psi) / expected)[:, None]
        return found

    def models(self, vectors, counts):
        """Those enrolled: vectors (N, dim), each the mean of counts (N,) utterances.

        The log-likelihood ratio log N(u; m, v) - log N(u; 0, 1 + psi) of a test u, with m = n psi / (n psi + 1) times what is enrolled and
        v = 1 + psi / (n psi + 1), is taken apart into what is linear in u (rows), and what is of m or of u alone (offsets).
        """
        kinds, which = np.unique(counts, return_inverse=True)
        psi, n = self.psi, kinds[:, None]
        linear = n * psi / ((n + 1) * psi + 1)  # of m/v
        square = -0.5 * linear * n * psi / (n * psi + 1)  # of -m'm/2v
        constant = 0.5 * np.log((1 + psi) * (n * psi + 1) / ((n + 1) * psi + 1)).sum(1)
        rows, offsets = np.empty(vectors.shape, dtype=np.float32), np.empty((1, len(vectors)))
        for block, found in self._projected(vectors, counts):
            kind = which[block]
            offsets[0, block] = np.einsum("nd,nd,nd->n", found, found, square[kind]) + constant[kind]
            rows[block] = found * linear[kind]
        return Side(rows, offsets, which)

    def tests(self, vectors, counts):
        """Those tested, against models of these counts: rows (N, dim), offsets (distinct counts, N)"""
        psi, n = self.psi, np.unique(counts)[:, None]
        square = -0.5 * n * psi**2 / (((n + 1) * psi + 1) * (1 + psi))  # of -u'u/2 (1/v - 1/(1 + psi))
        rows, offsets = np.empty(vectors.shape, dtype=np.float32), np.empty((len(n), len(vectors)))
        for block, found in self._projected(vectors, np.ones(len(vectors), dtype=int)):
            offsets[:, block] = square @ (found**2).T
            rows[block] = found
        return Side(rows, offsets)

    def _projected(self, vectors, counts):
        for start in range(0, len(vectors), ROWS):
            block = slice(start, start + ROWS)
            yield block, self.project(vectors[block], counts[block])


def train_plda(moments, iterations=10):
    """Expectation maximisation from unit covariances. moments: of the labelled vectors, see speakers.py -> Plda

    The eigenvectors of the two covariances make every step of it diagonal, whatever the numbers of utterances.
    """
    check_speakers(moments)
    speakers, dim = moments.means.shape
    number = moments.counts.sum()
    if number <= dim:
        raise Fail(f"{number} utterances are too few for a PLDA of {dim} dimensions; add more, or choose a lower --lda-dim")
    centre = moments.means.mean(0)
    means, n = moments.means - centre, moments.counts[:, None]
    scatter = moments.scatter - moments.between
    within, between = np.eye(dim), np.eye(dim)
    for _ in range(iterations):
        psi, basis = _diagonal(between, within)
        own = means @ basis
        spread = psi / (1 + n * psi)  # variance of a speaker's mean, given its n utterances
        rest = own / (1 + n * psi)  # the utterances' mean less the speaker's most likely one
        likely = own - rest
        back = within @ basis  # inverse of basis'
        within_stats = rest.T @ (n * rest) + np.diag((n * spread).sum(0))
        between_stats = likely.T @ likely + np.diag(spread.sum(0))
        within = (scatter + back @ within_stats @ back.T) / number
        between = back @ between_stats @ back.T / speakers
    psi, basis = _diagonal(between, within)
    return Plda(moments.mean + centre, basis.T, psi)


def adapt_plda(plda, vectors, within_covar_scale=0.3, between_covar_scale=0.7, mean_diff_scale=1.0):
    """A PLDA for unlabelled vectors (N, dim) of another kind, as Kaldi's ivector-adapt-plda makes it.

    Where these vary more than the model says, the excess is added to it, in parts, to within and between speakers. mean_diff_scale: how much the
    difference of the means counts as variance
    """
    mean, covariance = _mean_and_covariance(vectors)
    difference = mean - plda.mean
    covariance += mean_diff_scale * np.outer(difference, difference)
    inverse = np.linalg.inv(plda.transform)
    within, between = inverse @ inverse.T, (inverse * plda.psi) @ inverse.T
    variances, basis = _diagonal(covariance, within + between)
    back = (within + between) @ basis
    excess = (back * np.maximum(variances - 1, 0)) @ back.T
    psi, basis = _diagonal(between + between_covar_scale * excess, within + within_covar_scale * excess)
    return Plda(mean, basis.T, psi, plda.length_norm)


def _mean_and_covariance(vectors):
    mean = vectors.mean(0, dtype=np.float64)
    covariance = np.zeros((len(mean), len(mean)))
    for start in range(0, len(vectors), ROWS):
        block = vectors[start : start + ROWS] - mean
        covariance += block.T @ block
    return mean, covariance / len(vectors)


def _diagonal(first, second):
    """-> psi (dim,), greatest first, and basis (dim, dim) with basis' second basis = I and basis' first basis = diag(psi)"""
    from scipy.linalg import LinAlgError, eigh

    try:
        psi, basis = eigh((first + first.T) / 2, (second + second.T) / 2)
    except LinAlgError:
        raise Fail("the embeddings do not vary in all their dimensions, so there is no PLDA of them; reduce these with a lower --lda-dim") from None
    return np.maximum(psi[::-1], 0), basis[:, ::-1]
