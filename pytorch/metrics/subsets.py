"""Which trials are alike: of one sex, of two, of short or long utterances."""

import numpy as np


def by_sex(labels, enrol_sexes, test_sexes):
    """-> {name: (N,) True for the trials of the subset}. labels: (N,) True for targets; the sexes of both sides: (N,) words.

    The non-target trials of one sex or of two stand against all target trials, which are of one sex always.
    """
    labels, enrol_sexes, test_sexes = (np.asarray(column) for column in (labels, enrol_sexes, test_sexes))
    same = enrol_sexes == test_sexes
    found = {"same sex": labels | same, "cross sex": labels | ~same}
    return found | {f"both {sex}": same & (enrol_sexes == sex) for sex in np.unique(enrol_sexes).tolist()}


def by_duration(seconds, edges):
    """-> {name: (N,) True for the trials of the subset}. seconds: (N,) of the shorter side; edges: where one bin ends and the next begins."""
    bins = np.searchsorted(edges, seconds, "right")
    names = [f"under {edges[0]:g} s", *(f"{low:g} to {high:g} s" for low, high in zip(edges, edges[1:], strict=False)), f"{edges[-1]:g} s or more"]
    return {name: bins == number for number, name in enumerate(names)}
