"""How near predicted numbers are to those wanted, and whether they rise and fall together."""

import numpy as np


def mae(found, wanted):
    """Mean absolute error, in the unit of the numbers. found, wanted: (N,) finite numbers."""
    found, wanted = _pair(found, wanted)
    return float(np.mean(np.abs(found - wanted)))


def rmse(found, wanted):
    """Root of the mean squared error, in the unit of the numbers."""
    found, wanted = _pair(found, wanted)
    return float(np.sqrt(np.mean((found - wanted) ** 2)))


def pearson(found, wanted):
    """Pearson's correlation, -1 to 1; 0 where all numbers found are alike. Wanted numbers that are all alike have none (ValueError)."""
    found, wanted = _spread(found, wanted)
    found, wanted = found - found.mean(), wanted - wanted.mean()
    size = np.sqrt(np.sum(found**2)) * np.sqrt(np.sum(wanted**2))
    return float(np.clip(np.sum(found * wanted) / size, -1, 1)) if size else 0.0


def spearman(found, wanted):
    """Spearman's rank correlation, -1 to 1: Pearson's of the ranks, tied numbers sharing the mean of theirs."""
    found, wanted = _spread(found, wanted)
    return pearson(ranks(found), ranks(wanted))


def ccc(found, wanted):
    """Concordance correlation, -1 to 1: 2 cov / (var + var' + (mean - mean')^2), moments over N.

    Lin, "A concordance correlation coefficient to evaluate reproducibility", Biometrics 45, 1989.
    """
    found, wanted = _spread(found, wanted)
    covariance = np.mean((found - found.mean()) * (wanted - wanted.mean()))
    return float(2 * covariance / (found.var() + wanted.var() + (found.mean() - wanted.mean()) ** 2))


def ranks(values):
    """(N,) numbers -> their ranks from 1, tied ones at the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[places]


def _pair(found, wanted):
    found, wanted = np.asarray(found, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    if found.shape != wanted.shape or found.ndim != 1 or not len(found):
        raise ValueError(f"as many numbers found as wanted, and at least one, are needed, not the shapes {found.shape} and {wanted.shape}")
    if not (np.isfinite(found).all() and np.isfinite(wanted).all()):
        raise ValueError("numbers that are not finite")
    return found, wanted


def _spread(found, wanted):
    found, wanted = _pair(found, wanted)
    if (wanted == wanted[0]).all():
        raise ValueError("numbers wanted that are all alike, so nothing can rise and fall with them")
    return found, wanted
