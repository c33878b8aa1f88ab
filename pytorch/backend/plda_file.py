"""Kaldi's PLDA files: `<Plda>`, mean, transform and psi, `</Plda>`, as text or binary. Written as text, with all digits a double has."""

import re
import struct

import numpy as np

from pytorch.backend.plda import Plda
from pytorch.data.ark import Archive
from pytorch.data.ark_text import TextMatrix, TextVector
from pytorch.files import need_file
from pytorch.program import Fail

_TYPES = {b"F": np.dtype("<f4"), b"D": np.dtype("<f8")}


def read_plda(path):
    need_file(path, "make it with steps/train_backend.py")
    try:
        data = Archive(path)
        mean, transform, psi = _binary(data) if data[:2] == b"\0B" else _text(data)
        dim = len(mean)
        if transform.shape != (dim, dim) or psi.shape != (dim,) or not dim:
            shape = " x ".join(map(str, transform.shape))
            raise Fail(f"a mean of {dim}, a transform of {shape} and {len(psi)} variances do not fit together; the file is damaged")
        if not (np.isfinite(mean).all() and np.isfinite(transform).all() and np.isfinite(psi).all() and (psi >= 0).all()):
            raise Fail("values that are not finite, or variances below 0; train it anew")
    except Fail as error:
        raise Fail(f"{path}: {error}") from None
    return Plda(mean, transform, psi)


def plda_text(plda):
    """A Plda as a file of Kaldi's."""
    return f"<Plda>  {_brackets(plda.mean)} {_brackets(plda.transform)} {_brackets(plda.psi)}</Plda> "


def numbers_text(array):
    """One vector or matrix as a file without a key, such as mean.vec and transform.mat; pytorch.data.ark.read_object reads it, and so does Kaldi."""
    return f" {_brackets(array)}"


def _brackets(array):
    rows = [" ".join(map(repr, row)) for row in np.atleast_2d(np.asarray(array, dtype=np.float64)).tolist()]
    return f"[ {rows[0]} ]\n" if array.ndim == 1 else "[\n  " + "\n  ".join(rows) + " ]\n"


def _text(data):
    if not data[:8].startswith(b"<Plda> "):
        raise Fail("no PLDA: it does not begin with <Plda>")
    place, found = 7, []
    for form in (TextVector(), TextMatrix(), TextVector()):
        shape, end = form.measure(data, place)
        found.append(np.empty(shape))
        form.fill(data, place, shape, 0, 0, found[-1])
        place = end
    _check_end(data, place)
    return found


def _binary(data):
    if data[2:9] != b"<Plda> ":
        raise Fail("no PLDA: it does not begin with <Plda>")
    place, found = 9, []
    for axes, letter in ((1, b"V"), (2, b"M"), (1, b"V")):
        kind, sizes = data[place : place + 3], struct.Struct("<" + "bi" * axes)
        if kind[1:] != letter + b" " or kind[:1] not in _TYPES or place + 3 + sizes.size > len(data):
            raise Fail("a mean, a matrix and variances were expected; the file is damaged or cut off")
        words, dtype = sizes.unpack_from(data, place + 3), _TYPES[kind[:1]]
        place += 3 + sizes.size
        number = int(np.prod(words[1::2], dtype=object))
        if set(words[::2]) != {4} or min(words[1::2]) < 0 or place + number * dtype.itemsize > len(data):
            raise Fail("its sizes do not fit the file; it is damaged or cut off")
        found.append(np.ndarray(words[1::2], dtype, data, place).astype(np.float64))
        place += number * dtype.itemsize
    _check_end(data, place)
    return found


def _check_end(data, place):
    if not re.fullmatch(rb"\s*</Plda>\s*", data[place : place + 100]) or place + 100 < len(data):
        raise Fail("it does not end with </Plda>; it is damaged or cut off")
