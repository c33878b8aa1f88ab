"""What lies in Kaldi's archives: the forms of vectors, matrices and numbers, each measured before it is read.

A form has `axes`, the `dtype` of its values, and
    measure(data, place) -> (shape, end)                   of the object that begins at `place` of a mapped archive; Fails where it is damaged
    fill(data, place, shape, row, column, out)             out: what is wanted of it, from that row and column on
measure() holds every size against the archive's own before anything is taken by it. Formats: http://kaldi-asr.org/doc/io.html.
"""

import math
import mmap
import re
import struct

import numpy as np

from pytorch.data import compressed
from pytorch.data.ark_text import TextIntegers, TextMatrix, TextNumber, TextVector, begins_a_line, is_bracketed, is_vector
from pytorch.program import Fail

KINDS = ("array", "int", "float")  # vectors and matrices; numbers by themselves, which only their reader can tell apart
_GREATEST = float(np.finfo(np.float32).max)
_FOLLOWING = re.compile(rb"([^\0-\x20\x7f]{1,4096})[ \t]+(?=\0B|\[)")  # a binary object: the next key, up to its object
_ELEMENT = np.dtype([("size", "i1"), ("value", "<i4")])  # of a vector of integers


class Plain:
    """Vectors and matrices as they are, row by row."""

    def __init__(self, dtype, axes):
        self.dtype, self.axes = np.dtype(dtype), axes
        self._sizes = struct.Struct("<" + "bi" * axes)
        self._header, self._size = 5 + self._sizes.size, self.dtype.itemsize

    def measure(self, data, place):
        sizes = _unpack(self._sizes, data, place + 5)
        shape = sizes[1::2]
        if set(sizes[::2]) != {4} or min(shape) < 0:
            raise Fail("damaged header")
        return shape, place + self._header + self._size * math.prod(shape)

    def fill(self, data, place, shape, row, column, out):
        start = place + self._header + row * self._size * (shape[1] if self.axes == 2 else 1)
        array = _lent(data, start, (len(out), *shape[1:]), self.dtype)
        out[...] = array if out.shape[1:] == shape[1:] else array[:, column : column + out.shape[1]]


class Coded:
    """Compressed matrices row by row: CM2 and CM3."""

    axes, dtype = 2, np.dtype(np.float32)

    def __init__(self, codes):
        self._codes = np.dtype(codes)

    def measure(self, data, place):
        _, _, *shape = _compressed_header(data, place + 6)
        return tuple(shape), place + 22 + self._codes.itemsize * math.prod(shape)

    def fill(self, data, place, shape, row, column, out):
        least, span, rows, columns = compressed.HEADER.unpack_from(data, place + 6)
        codes = _lent(data, place + 22 + row * columns * self._codes.itemsize, (len(out), columns), self._codes)
        compressed.decode(codes[:, column : column + out.shape[1]], least, span, out)


class ColumnCoded:
    """Compressed matrices column by column: CM."""

    axes, dtype = 2, np.dtype(np.float32)

    def measure(self, data, place):
        _, _, rows, columns = _compressed_header(data, place + 5)
        return (rows, columns), place + 21 + 8 * columns + rows * columns

    def fill(self, data, place, shape, row, column, out):
        least, span, rows, columns = compressed.HEADER.unpack_from(data, place + 5)
        wanted = slice(column, column + out.shape[1])
        scales = np.ndarray((columns, 4), "<u2", data, place + 21)[wanted]
        codes = np.ndarray((columns, rows), "u1", data, place + 21 + 8 * columns)[wanted, row : row + len(out)]
        compressed.decode_columns(codes, scales, least, span, out)


class Integers:
    """A vector of int32, each with its size before it."""

    axes, dtype = 1, np.dtype(np.int32)

    def measure(self, data, place):
        _, size = _unpack(struct.Struct("<bi"), data, place + 2)
        end = place + 7 + 5 * size
        if size < 0 or end > len(data) or (self._elements(data, place, 0, size)["size"] != 4).any():
            raise Fail("neither a vector of integers nor a matrix; of numbers by themselves say the kind (copy_ark.py: --kind int or --kind float)")
        return (size,), end

    def fill(self, data, place, shape, row, column, out):
        out[...] = self._elements(data, place, row, len(out))["value"]

    def _elements(self, data, place, first, num):
        return np.ndarray(num, _ELEMENT, data, place + 7 + 5 * first)


class Number:
    """One number by itself, its size before it."""

    axes = 0

    def __init__(self, dtype):
        self.dtype = np.dtype(dtype)

    def measure(self, data, place):
        end = place + 3 + self.dtype.itemsize
        if self.dtype == np.float32 and end <= len(data) and 0 < abs(np.ndarray((), self.dtype, data, place + 3)) < np.finfo(np.float32).tiny:
            raise Fail("a number that only an integer looks like; read it as int (copy_ark.py: --kind int)")
        return (), end

    def fill(self, data, place, shape, row, column, out):
        out[...] = np.ndarray((), self.dtype, data, place + 3)


_BINARY = {
    b"FM ": Plain("<f4", 2),
    b"DM ": Plain("<f8", 2),
    b"FV ": Plain("<f4", 1),
    b"DV ": Plain("<f8", 1),
    b"CM ": ColumnCoded(),
    b"CM2": Coded("<u2"),
    b"CM3": Coded("u1"),
}
_NUMBERS = {("array", 4): Integers(), ("int", 4): Number("<i4"), ("float", 4): Number("<f4"), ("float", 8): Number("<f8")}
_TEXT = {"array": TextIntegers(), "int": TextNumber(np.int32), "float": TextNumber(np.float64)}
_IN_BRACKETS = (TextMatrix(), TextVector())
FORMS = (*_BINARY.values(), *_NUMBERS.values(), *_TEXT.values(), *_IN_BRACKETS)


def look(data, place, kind, neighbour=None):
    """-> the form, shape and end of the object at `place` of a mapped archive. Fails where there is none of the kind, or it is damaged.

    neighbour: the next one that is known to lie in the archive, (key, place), if any
    """
    assert kind in KINDS, kind
    form = _form(data, place, kind)
    shape, end = form.measure(data, place)
    size = " x ".join(map(str, shape)) or 1
    if end > len(data):
        raise Fail(f"{size} values are announced but the archive ends before; make it anew")
    if data[place : place + 2] == b"\0B" and end < len(data) and not _is_followed(data, end, neighbour):
        raise Fail(f"no other key follows its {size} values: a damaged header; make the archive anew")
    return form, shape, end


def _is_followed(data, end, neighbour):
    """Whether a key stands behind a binary object: else its sizes are wrong, though they fit the archive."""
    match = _FOLLOWING.match(data, end)
    if match is None or not match[1].decode(errors="replace").replace("\ufffd", "\0").isprintable():
        return False
    if neighbour is None:
        return True
    key, place = neighbour
    start = place - len(key) - 1
    return end <= start or data[start : place - 1] != key  # an scp can have other keys than the archive, as that of a copy with prefixes


def _form(data, place, kind):
    if data[place : place + 2] != b"\0B":
        return _text_form(data, place, kind)
    token = data[place + 2 : place + 5]
    if len(token) < 3:
        raise Fail("the archive ends inside a header")
    form = _BINARY.get(token) if kind == "array" else None
    if form is None:
        form = _NUMBERS.get((kind, token[0]))
    if form is None:
        expected = {"array": "a vector or a matrix", "int": "an integer", "float": "a number"}[kind]
        raise Fail(f"an object of type {token!r}, {expected} was expected")
    if form in (_BINARY[b"CM2"], _BINARY[b"CM3"]) and data[place + 5 : place + 6] != b" ":
        raise Fail("damaged header")
    return form


def _text_form(data, place, kind):
    if kind == "array" and is_bracketed(data, place):
        return _IN_BRACKETS[is_vector(data, place)]
    numbers = b"-+.0123456789naifNAIF \t\n" if kind == "float" else b"-0123456789 \t\n"
    if place >= len(data) or data[place] not in numbers or not begins_a_line(data, place):
        raise Fail("no vector, matrix or number begins there")
    return _TEXT[kind]


def _lent(data, start, shape, dtype):
    """Values where they lie in the archive."""
    if getattr(data, "ahead", False):
        page = start - start % mmap.PAGESIZE
        data.madvise(mmap.MADV_WILLNEED, page, start - page + dtype.itemsize * math.prod(shape))
    return np.ndarray(shape, dtype, data, start)


def _unpack(header, data, place):
    if place + header.size > len(data):
        raise Fail("the archive ends inside a header")
    return header.unpack_from(data, place)


def _compressed_header(data, place):
    least, span, rows, columns = _unpack(compressed.HEADER, data, place)
    if not (least >= -_GREATEST and span >= 0 and least + span <= _GREATEST) or min(rows, columns) < 0:
        raise Fail("damaged header")
    return least, span, rows, columns


def read(data, place, form, shape):
    """The whole object, in the precision it is kept in."""
    value = np.empty(shape, dtype=form.dtype)
    form.fill(data, place, shape, 0, 0, value)
    return value


def pack(value, compress=None):
    """An array -> the pieces of its object, from its \\0B on. compress: method for matrices; see compressed.METHODS"""
    if value.dtype.kind == "i":
        sizes = np.full(value.size, 4, dtype=_ELEMENT)
        sizes["value"] = value
        return [b"\0B", b"\4" + struct.pack("<i", value.size) if value.ndim else b"", sizes]
    if value.ndim == 0:
        return [b"\0B", bytes([value.itemsize]), value]
    if compress and value.ndim == 2:
        return [b"\0B", compressed.encode(value, compress)]
    token = next(token for token, form in _BINARY.items() if type(form) is Plain and (form.dtype, form.axes) == (value.dtype, value.ndim))
    return [b"\0B", token, *(struct.pack("<bi", 4, size) for size in value.shape), value]
