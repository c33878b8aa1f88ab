"""The text forms of what lies in Kaldi's archives, as forms for ark_objects.py, and how they are written.

    matrix       ` [` new line, then a row a line, the last with ` ]` behind it
    vector       ` [ 1 2 3 ]`
    integers     `1 2 3 ` and a new line
    a number     `1.5 ` and a new line
Numbers are written with 7 digits, as Kaldi does. An empty matrix and an empty vector look alike: ` [ ]` is read as a matrix of no rows.
"""

import numpy as np

from pytorch.program import Fail

_OF_NUMBERS = b"0123456789+-.eE \t\nnaifNAIF"  # nan and inf are numbers
_CHUNK = 1 << 16
_LONGEST_KEY = 4096


def text_of(value):
    """An array of numbers -> its text, from the blank or number that follows the key to the end of its last line."""
    if value.dtype.kind == "i":
        return "".join(f"{number} " for number in np.atleast_1d(value).tolist()) + "\n"
    if value.ndim == 0:
        return f"{value.item():.7g} \n"
    if value.size == 0:
        return " [ ]\n"
    row = "%.7g " * value.shape[-1]
    if value.ndim == 1:
        return f" [ {row % tuple(value.tolist())}]\n"
    return " [" + "".join(f"\n  {row % tuple(values)}" for values in value.tolist()) + "]\n"


class TextMatrix:
    axes, dtype = 2, np.dtype(np.float64)

    def measure(self, data, place):
        body, end = _body(data, place)
        widths = {len(line.split()) for line in _lines(body)}
        if len(widths) > 1:
            raise Fail(f"rows of {' and '.join(map(str, sorted(widths)[:2]))} values in one matrix")
        return (len(_lines(body)), *widths) if widths else (0, 0), end

    def fill(self, data, place, shape, row, column, out):
        lines = _lines(_body(data, place)[0])[row : row + len(out)]
        if out.size:
            out[...] = _numbers([line.split() for line in lines])[:, column : column + out.shape[1]]


class TextVector:
    axes, dtype = 1, np.dtype(np.float64)

    def measure(self, data, place):
        body, end = _body(data, place)
        return (len(body.split()),), end

    def fill(self, data, place, shape, row, column, out):
        out[...] = _numbers(_body(data, place)[0].split()[row : row + len(out)])


class TextIntegers:
    axes, dtype = 1, np.dtype(np.int32)

    def measure(self, data, place):
        words, end = _words(data, place)
        _integers(words)
        return (len(words),), end

    def fill(self, data, place, shape, row, column, out):
        out[...] = _integers(_words(data, place)[0][row : row + len(out)])


class TextNumber:
    """One number on a line. dtype: np.int32 or np.float64"""

    axes = 0

    def __init__(self, dtype):
        self.dtype = np.dtype(dtype)
        self._parse = _integers if self.dtype.kind == "i" else _numbers

    def measure(self, data, place):
        words, end = _words(data, place)
        if len(words) != 1:
            raise Fail(f"one number was expected, {len(words)} words are there")
        if odd := words[0].translate(None, _OF_NUMBERS):
            raise Fail(f"{_shown(odd[:1])} in a number")
        self._parse(words)
        return (), end

    def fill(self, data, place, shape, row, column, out):
        out[...] = self._parse(_words(data, place)[0])[0]


def is_bracketed(data, place):
    return data[place : place + 100].lstrip(b" \t").startswith(b"[")


def is_vector(data, place):
    """Whether what stands in brackets is a vector: numbers that begin on the line of the bracket and end there."""
    body = _body(data, place)[0]
    return b"\n" not in body and bool(body.split())


def begins_a_line(data, place):
    """Whether nothing but a key and a blank stands before `place` in its line: what is not in brackets could else begin anywhere."""
    before = data[max(0, place - _LONGEST_KEY) : place]
    line = before[before.rfind(b"\n") + 1 :]
    return place == 0 or (line[-1:] in (b" ", b"\t") and len(line.split()) == 1 and not line[:1].isspace())


def _body(data, place):
    """What stands in brackets, and where the object ends."""
    start = data.find(b"[", place) + 1
    stop = _end_of_numbers(data, start)
    if stop == len(data):
        raise Fail("the archive ends before the ] of this object; make it anew")
    if b"\r" in data[stop : stop + 2]:
        raise Fail("Windows line endings; remove them with: sed -i 's/\\r$//'")
    if data[stop : stop + 1] != b"]":
        raise Fail(f"{_shown(data[stop : stop + 1])} among the numbers of this object")
    if data[stop + 1 : stop + 2] not in (b"\n", b""):
        raise Fail("the ] of this object does not end its line")
    return data[start:stop], min(stop + 2, len(data))


def _end_of_numbers(data, start):
    """The place of the first character that no number has."""
    for place in range(start, len(data), _CHUNK):
        if odd := data[place : place + _CHUNK].translate(None, _OF_NUMBERS):
            return data.find(odd[:1], place)
    return len(data)


def _lines(body):
    return [line for line in body.split(b"\n") if line.strip()]


def _words(data, place):
    """The words of a line, and where the next line begins."""
    stop = data.find(b"\n", place)
    if stop < 0:
        raise Fail("the last line lacks its newline, the archive may be cut off; make it anew")
    line = data[place:stop]
    if line.endswith(b"\r"):
        raise Fail("Windows line endings; remove them with: sed -i 's/\\r$//'")
    return line.split(), stop + 1


def _numbers(words):
    try:
        return np.array(words or [], dtype=np.float64)
    except ValueError:
        raise Fail("what stands there are no numbers") from None


def _integers(words):
    try:
        if odd := [word for word in words if not word.removeprefix(b"-").isdigit()]:
            raise Fail(f"whole numbers were expected, not {_shown(odd[0][:40])}")
        return np.array([int(word[:40]) for word in words], dtype=np.int32)
    except OverflowError:
        raise Fail(f"{_shown(max(words, key=len)[:40])} is beyond a whole number of 32 bits") from None


def _shown(word):
    return f"'{word.decode(errors='backslashreplace')}'" if word.isascii() else repr(word)
