"""Kaldi's compressed matrices: float32 kept in two bytes or one, encoded to the byte as Kaldi does and decoded to its values.

A compressed matrix is a token, the least value and the span of all values (float32), rows and columns (int32), then the codes.
`CM2` and `CM3` keep a value as uint16 or uint8, row by row: least + span · code / 65535 (255).
`CM` keeps a value as uint8, column by column, each column with a scale of its own: four values, stored as in CM2, that the codes 0, 64, 192 and 255
stand for; between them the scale is linear. They are the column's least, its quartiles and its greatest.
Method: Kaldi's compressed-matrix.h, http://kaldi-asr.org/doc/classkaldi_1_1CompressedMatrix.html.
"""

import struct

import numpy as np

from pytorch.program import Fail

METHODS = {  # Kaldi's --compression-method -> what it does
    1: "CM, or CM2 where there are 8 rows or fewer",
    2: "CM: a byte a value, a scale for each column",
    3: "CM2: two bytes a value",
    4: "CM2 for whole numbers from -32768 to 32767",
    5: "CM3: a byte a value",
    6: "CM3 for whole numbers from 0 to 255",
    7: "CM3 for values from 0 to 1",
}
HEADER = struct.Struct("<ffii")  # least, span, rows, columns
_FIXED = {4: (-32768, 65535), 6: (0, 255), 7: (0, 1)}  # method -> least, span
_STEPS = (0, 64, 192, 255)  # codes of the four values of a column's scale
_STEP = {1: 1 / 255, 2: 1 / 65535}  # bytes of a code -> from one code to the next, as a share of the span
_F = np.float32
_RAMPS = [np.arange(low, high, dtype=_F)[:, None] / _F(step) for low, high, step in ((0, 65, 64), (1, 129, 128), (1, 64, 1))]


def check_range(matrix, method):
    """Fail where `method` would clip values of the matrix, as Kaldi does without a word."""
    if method in _FIXED and matrix.size:
        least, span = _FIXED[method]
        low, high = matrix.min(), matrix.max()
        if low < least or high > least + span:
            raise Fail(f"values from {low:g} to {high:g}, but compression method {method} keeps {least} to {least + span}; use method 3")


def encode(matrix, method):
    """matrix: (rows, columns) float32, finite -> the bytes of the object, from its token on; method: one of METHODS.

    Values outside the range of methods 4, 6 and 7 are clipped. Fails where the span of the values is beyond float32.
    """
    rows, columns = matrix.shape
    if matrix.size == 0:
        return b"CM " + HEADER.pack(0, 0, 0, 0)
    if method == 1:
        method = 2 if rows > 8 else 3
    least, span = map(_F, _FIXED.get(method) or _span_of(matrix))
    header = HEADER.pack(least, span, rows, columns)
    if method == 2:
        columns_first = np.ascontiguousarray(matrix.T)
        scales = _scales_of(columns_first, least, span)
        return b"CM " + header + scales.tobytes() + _column_codes(columns_first, _scale_values(scales, least, span)).tobytes()
    kind, token = ("<u2", b"CM2 ") if method in (3, 4) else ("u1", b"CM3 ")
    return token + header + _codes(matrix, least, span, kind).tobytes()


def decode(codes, least, span, out=None):
    """codes: uint16 or uint8 of any shape -> their values as float32, put into `out` where it is given."""
    step = _F(float(span) * _STEP[codes.itemsize])
    out = np.multiply(codes, step, out=out, dtype=_F, casting="unsafe")
    out += _F(least)
    return out


def decode_columns(codes, scales, least, span, out):
    """codes: (columns, rows) uint8 and scales: (columns, 4) uint16 of a CM matrix -> out: (rows, columns) float32"""
    p = np.ascontiguousarray(_scale_values(scales, least, span).T)
    rise = p[1:] - p[:-1]
    values = np.empty((256, p.shape[1]), dtype=_F)  # what each code stands for in each column
    np.multiply(rise[0], _RAMPS[0], out=values[:65])
    np.multiply(rise[1], _RAMPS[1], out=values[65:193])
    values[:65] += p[0]
    values[65:193] += p[1]
    values[193:] = rise[2] * _RAMPS[2] * np.float64(1 / 63) + p[2]  # in double, as Kaldi has it; where it divides by 64 or 128 that is the same
    places = np.multiply(codes.T, values.shape[1], dtype=np.intp, casting="unsafe", order="C")
    places += np.arange(values.shape[1])
    values.take(places, out=out, mode="clip")  # all lie inside; clip is the mode that needs no copy of out


def _span_of(matrix):
    least, greatest = _F(matrix.min()), _F(matrix.max())
    with np.errstate(over="ignore"):
        if greatest == least:
            greatest = _F(float(least) + (1 + abs(float(least))))
        span = greatest - least
    if not np.isfinite(span):
        raise Fail(f"values from {least:g} to {greatest:g}: their span is beyond what a compressed matrix can keep")
    return least, span


def _codes(values, least, span, kind):
    """The nearest code of each value, as Kaldi rounds: in float32 up to the last sum."""
    share = np.clip((values - least) / span, _F(0), _F(1))
    return (share * _F(np.iinfo(kind).max) + np.float64(0.499)).astype(kind)


def _scales_of(x, least, span):
    """x: (columns, rows) -> (columns, 4) uint16: the codes of each column's least, quartiles and greatest, made to grow from one to the next."""
    rows = x.shape[1]
    places = [0, rows // 4, 3 * (rows // 4), rows - 1] if rows >= 5 else range(rows)
    codes = _codes(np.sort(x, axis=1)[:, places], least, span, "<u2").astype(np.int64)
    scales = np.empty((len(x), 4), dtype="<u2")
    lowest = np.zeros(len(x), dtype=np.int64)
    for place, highest in enumerate((65532, 65533, 65534, 65535)):
        value = np.minimum(np.maximum(codes[:, place], lowest), highest) if place < len(places) else lowest
        scales[:, place] = value
        lowest = value + 1
    return scales


def _scale_values(scales, least, span):
    return scales * (_F(span) * _F(1 / 65535)) + _F(least)


def _column_codes(x, p):
    """x: (columns, rows), p: (columns, 4) the values of each column's scale -> (columns, rows) uint8"""
    parts = []
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # of the parts that are not chosen
        for first, last, low, high in zip(_STEPS, _STEPS[1:], p.T[:-1, :, None], p.T[1:, :, None], strict=False):
            steps = (x - low) / (high - low) * _F(last - first) + np.float64(0.5)
            parts.append(first + np.clip(steps, 0, last - first).astype("u1"))
    return np.where(x < p[:, 1:2], parts[0], np.where(x < p[:, 2:3], parts[1], parts[2]))
