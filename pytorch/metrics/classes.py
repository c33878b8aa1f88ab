"""How well predicted classes are those wanted: shares of utterances, and means over the classes, which count alike however large they are."""

import numpy as np


def accuracy(found, wanted):
    """Share of the utterances whose class was found, 0 to 1. found, wanted: (N,) classes, as numbers or as words."""
    found, wanted = _pair(found, wanted)
    return float(np.mean(found == wanted))


def uar(found, wanted):
    """Unweighted average recall, 0 to 1: the mean, over the classes that occur in `wanted`, of the share of a class that was found."""
    counts, classes = confusion_matrix(found, wanted)
    there = counts.sum(1)
    return float(np.mean(np.diag(counts)[there > 0] / there[there > 0]))


def macro_f1(found, wanted):
    """Mean over the classes of 2 * right / (found + wanted), 0 to 1. A class that was found but is nowhere wanted counts too, with 0."""
    counts, _ = confusion_matrix(found, wanted)
    return float(np.mean(2 * np.diag(counts) / (counts.sum(0) + counts.sum(1))))


def tolerant_f1(found, wanted, tolerance=1):
    """macro_f1 for ordered classes, where one at most `tolerance` places beside the one wanted counts as right.

    found, wanted: (N,) places of the classes in their order, whole numbers
    """
    found, wanted = _pair(found, wanted)
    return macro_f1(np.where(np.abs(found - wanted) <= tolerance, wanted, found), wanted)


def confusion_matrix(found, wanted):
    """-> (counts, classes): counts[i, j] utterances of class i were found to be of class j; classes: those that occur, sorted."""
    found, wanted = _pair(found, wanted)
    classes, places = np.unique(np.concatenate([wanted, found]), return_inverse=True)
    rows, columns = places[: len(wanted)], places[len(wanted) :]
    number = len(classes)
    return np.bincount(rows * number + columns, minlength=number * number).reshape(number, number), classes


def _pair(found, wanted):
    found, wanted = np.asarray(found), np.asarray(wanted)
    if found.shape != wanted.shape or found.ndim != 1 or not len(found):
        raise ValueError(f"as many classes found as wanted, and at least one, are needed, not the shapes {found.shape} and {wanted.shape}")
    return found, wanted
