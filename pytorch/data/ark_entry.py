"""What an scp file says of an object: `path.ark:123`, `path.mat` (the object is the file), either with a range `[a:b]` or `[a:b,c:d]` behind it."""

import re

from pytorch.program import Fail

_ENTRY = re.compile(r"([^\0]+?)(?::(\d{1,18}))?(\[[^\[\]]*\])?")
_RANGE = re.compile(r"\[(?::|(\d{1,9}):(\d{1,9}))?(?:,(?::|(\d{1,9}):(\d{1,9}))?)?\]")
_EXCESS = 3  # rows that a range may ask for beyond the last, as in Kaldi, where lengths were rounded


def split_entry(entry):
    """-> path, offset, and None or the range ((first row, last row) or None, (first column, last column) or None)"""
    match = _ENTRY.fullmatch(entry)
    if match is None or entry == "-" or entry.startswith(("|", ":")) or entry.endswith("|"):
        remedy = "; commands are not run here, write what it prints to an archive" if "|" in entry else ""
        raise Fail(f"an entry path.ark:offset was expected, not '{entry[:80]}'{remedy}")
    path, offset, span = match.groups()
    return path, int(offset or 0), span and _parse_range(span)


def _parse_range(span):
    match = _RANGE.fullmatch(span)
    if match is None:
        raise Fail(f"a range [first:last] or [first:last,first:last] was expected, not '{span[:80]}'")
    limits = [int(number) if number else None for number in match.groups()]
    return limits[:2], limits[2:]


def window_of(span, shape):
    """What a range takes of an object of that shape: -> first row, first column, shape, and whether rows beyond the last were asked for."""
    (first, last), (left, right) = span
    if not shape or (left is not None and len(shape) == 1):
        raise Fail(f"the range in the scp does not suit the shape {shape}")
    row, rows, is_clipped = _limits("rows", first, last, shape[0], _EXCESS)
    column, columns, _ = _limits("columns", left, right, shape[1], 0) if len(shape) == 2 else (0, 0, False)
    return row, column, (rows, columns)[: len(shape)], is_clipped


def _limits(what, first, last, size, excess):
    """-> the first, how many, whether clipped; first and last are both taken"""
    if first is None:
        return 0, size, False
    if not first <= last < size + excess or first >= size:
        raise Fail(f"{what} {first} to {last} are asked for in the scp, there are {size}, from 0 on")
    return first, min(last, size - 1) + 1 - first, last >= size
