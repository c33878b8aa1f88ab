"""Kaldi's archives: written whole, read by key or from end to end.

Archives are mapped into memory, so that a part of a matrix costs that part alone, whether it is compressed or not. Nothing that stands in an scp
or an archive is run: archives are opened by path, pipes are refused, and every size is held against the file before memory is taken.
Archives of words (of kaldi's `ark,t:` with tokens) are tables: data_dir.read_table reads them.
"""

import hashlib
import mmap
import os
import re
import stat
import sys
import time
from array import array as numbers
from bisect import bisect
from pathlib import Path

import numpy as np

from pytorch.data.ark_entry import split_entry, window_of
from pytorch.data.ark_objects import FORMS, look, pack, read
from pytorch.data.ark_text import text_of
from pytorch.data.compressed import check_range
from pytorch.data.data_dir import REST, read_table, write_table
from pytorch.files import whole_file
from pytorch.program import Fail

_KEY = re.compile(rb"([^\0-\x20\x7f]{1,4096})[ \t]")
_MOST_MAPPED = 256  # archives at a time; each takes a file descriptor
_MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
_MOST_ROWS = 2**31 - 1


class ArkWriter:
    """Write vectors, matrices or numbers to the archive `path` and their places to `scp`; both appear whole at the end, ark first.

    with ArkWriter("x/feats.ark", "x/feats.scp") as ark: ark.write("utt1", array)

    compress: None, or how to compress matrices, by Kaldi's number (compressed.METHODS): they are then kept in less than float32 has
    text: write Kaldi's text form, whose numbers have 7 digits
    dtype: what is written, np.float32, np.float64 or np.int32
    digests: {key: SHA-256 of its array}, as it will be read: the same values have the same one however they are spread over archives
    """

    def __init__(self, path, scp, compress=None, text=False, dtype=np.float32):
        assert not (compress and (text or dtype != np.float32)), "text, doubles and integers are not compressed"
        self.path, self.scp = Path(path).resolve(), Path(scp)
        self.compress, self.text, self.dtype = compress, text, np.dtype(dtype)

    def __enter__(self):
        self._context = whole_file(self.path, "wb")
        self._file = self._context.__enter__()
        self._places, self.digests = {}, {}
        return self

    def write(self, key, array):
        """array: (dim,) or (rows, columns), all values finite; a number by itself has no axes."""
        self._begin(key)
        try:
            value = as_stored(array, self.dtype)
            pieces, stored = object_of(value, self.compress, self.text)
        except Fail as error:
            raise Fail(f"{self.path}: '{key}': {error}") from None
        self._put(key, pieces, stored)

    def copy(self, key, reader):
        """Write the object that an ArkReader has under `key` as it lies there: what is compressed does not lose a second time."""
        self._begin(key)
        self._put(key, [reader.stored(key)], reader[key])

    def _begin(self, key):
        if key.split() != [key]:
            raise Fail(f"{self.path}: {key!r} cannot be an id: empty or with blanks")
        if key in self._places:
            raise Fail(f"{self.path}: '{key}' comes twice")

    def _put(self, key, pieces, stored):
        self._file.write(f"{key} ".encode())
        self._places[key] = f"{self.path}:{self._file.tell()}"
        self._file.writelines(pieces)
        digest = hashlib.sha256(repr(stored.shape).encode())
        digest.update(stored)
        self.digests[key] = digest.hexdigest()

    def __exit__(self, kind, error, trace):
        self._context.__exit__(kind, error, trace)
        if kind is None:
            write_table(self.scp, self._places)


def as_stored(array, dtype):
    """The values as an archive of `dtype` has them. Fails where it cannot have them. No values of two axes are 0 x 0, as in Kaldi."""
    value = np.asarray(array)
    if dtype.kind == "i" and (value.dtype.kind not in "iub" or not (value == value.astype(dtype)).all()):
        raise Fail("whole numbers of 32 bits were expected")
    with np.errstate(over="ignore"):
        value = np.asarray(value, dtype=dtype, order="C")
    assert value.ndim <= 2, "an archive has matrices, vectors and numbers"
    if max(value.shape, default=0) > _MOST_ROWS:
        raise Fail(f"{' x '.join(map(str, value.shape))} values are more than Kaldi's archives can have")
    if not np.isfinite(value).all():
        raise Fail("the values are not all finite")
    return value if value.size or value.ndim < 2 else np.empty((0, 0), dtype=dtype)


def object_of(value, compress, text):
    """-> the pieces of the object that keeps `value`, and the array that an ArkReader makes of them"""
    if compress:
        if value.ndim != 2:
            raise Fail("only matrices can be compressed")
        check_range(value, compress)
    pieces = [text_of(value).encode()] if text else pack(value, compress)
    if text or compress:
        data = b"".join(pieces)
        form, shape, _ = look(data, 0, "array" if value.ndim else "int" if value.dtype.kind == "i" else "float")
        value = read(data, 0, form, shape)
    if value.dtype == np.float64:
        with np.errstate(over="ignore"):
            value = value.astype(np.float32)
    return pieces, value


class ArkReader:
    """Random access to the objects that one or more scp files name; see ark_entry.py for what can stand in them.

    reader[key] -> (dim,) or (rows, columns) float32; vectors of integers are int32
    kind: "array", or "int" or "float" where the archives hold numbers by themselves; exact: what is kept in float64 comes as float64
    Fails naming scp, key, archive and offset where an archive is missing, cut off or not what it should be.
    """

    def __init__(self, scp, kind="array", exact=False):
        self._scps = [Path(scp)] if isinstance(scp, (str, Path)) else [Path(path) for path in scp]
        self.scp = self._scps[0] if len(self._scps) == 1 else ",".join(map(str, self._scps))  # as messages name it
        self.kind, self._exact = kind, exact
        self.places = {}  # key -> its number in the arrays below, which keep a million keys small
        self._first_of = []  # for each scp, the number of its first key
        self._paths, self._maps = {}, {}
        self._archives, self._offsets = numbers("i"), numbers("q")
        self._has_warned = False
        self._ranges, self._windows = {}, {}  # number -> what the scp says, and what that comes to: first row, first column, shape
        for path in self._scps:
            self._first_of.append(len(self.places))
            self._read_scp(path)
        self._paths, self._keys = list(self._paths), list(self.places)
        self._forms = bytearray(len(self.places))  # 0: not looked at yet; else one more than its place in FORMS
        self._rows, self._columns = (numbers("i", bytes(4 * len(self.places))) for _ in range(2))

    def _read_scp(self, scp):
        for line, (key, entry) in enumerate(read_table(scp, REST).items(), 1):
            path, _, offset = entry.rpartition(":")
            span = None
            if path not in self._paths or len(offset) > 18 or not offset.isdecimal():  # a path that was looked at before needs no second look
                try:
                    path, offset, span = split_entry(entry)
                except Fail as error:
                    raise Fail(f"{scp}:{line}: '{key}': {error}") from None
            if key in self.places:
                raise Fail(f"{scp}:{line}: '{key}' is in {self._scp_of(self.places[key])} too; keep one of them")
            if span:
                self._ranges[len(self.places)] = span
            self.places[key] = len(self.places)
            self._archives.append(self._paths.setdefault(path, len(self._paths)))
            self._offsets.append(int(offset))

    def __contains__(self, key):
        return key in self.places

    def __iter__(self):
        return iter(self.places)

    def __len__(self):
        return len(self.places)

    def __getstate__(self):  # worker processes map the archives themselves
        return {**self.__dict__, "_maps": {}, "_forms": bytearray(len(self.places))}

    def archives(self):
        """The paths of all archives named, each once."""
        return sorted(self._paths)

    def shape(self, key):
        return self._known(key)[-1]

    def __getitem__(self, key):
        number, form, stored, row, column, shape = self._known(key)
        return self._take(number, form, stored, row, column, np.empty(shape, dtype=self._dtype(form)))

    def rows(self, key, start, num, out=None):
        """-> (num, columns): the rows from `start` on. out: an array of that shape to put them into, in place of a new one"""
        number, form, stored, row, column, shape = self._known(key)
        if not 0 <= start <= start + num <= shape[0]:
            raise Fail(f"{self._name(number)} has {shape[0]} rows, {start} to {start + num - 1} were asked for")
        if out is None:
            out = np.empty((num, *shape[1:]), dtype=self._dtype(form))
        return self._take(number, form, stored, row + start, column, out)

    def column(self, key, index):
        """-> (rows,): one column of a matrix"""
        number, form, stored, row, column, shape = self._known(key)
        if len(shape) != 2 or not 0 <= index < shape[1]:
            raise Fail(f"{self._name(number)} has the shape {shape}, column {index} was asked for")
        return self._take(number, form, stored, row, column + index, np.empty((shape[0], 1), dtype=self._dtype(form)))[:, 0]

    def stored(self, key):
        """-> bytes: the object as it lies in its archive, from its \\0B on"""
        number = self._known(key)[0]
        assert number not in self._ranges, "a part of an object is no object"
        data, place = self._map(number), self._offsets[number]
        return data[place : look(data, place, self.kind)[2]]

    def _known(self, key):
        """-> number, form, shape in the archive, and the window on it: first row, first column, shape"""
        try:
            number = self.places[key]
        except KeyError:
            raise Fail(f"{self.scp}: no entry '{key}'") from None
        if not self._forms[number]:
            self._look(number)
        form = FORMS[self._forms[number] - 1]
        stored = (self._rows[number], self._columns[number])[: form.axes]
        return number, form, stored, *self._windows.get(number, (0, 0, stored))

    def _dtype(self, form):
        return form.dtype if self._exact or form.dtype.kind == "i" else np.float32

    def _look(self, number):
        """Look at an object for the first time: its header is held against the archive, its form and shape are kept."""
        data = self._map(number)
        try:
            form, shape, _ = look(data, self._offsets[number], self.kind, self._neighbour(number))
            if number in self._ranges:
                *window, is_clipped = window_of(self._ranges[number], shape)
                self._windows[number] = tuple(window)
                if is_clipped and not self._has_warned:
                    self._has_warned = True
                    print(f"warning: {self._name(number)}: the scp asks for rows beyond the last, {shape[0] - 1}; clipped (said once)", file=sys.stderr)
        except Fail as error:
            raise Fail(f"{self._name(number)}: {error}") from None
        self._rows[number], self._columns[number] = (*shape, 0, 0)[:2]
        self._forms[number] = FORMS.index(form) + 1

    def _neighbour(self, number):
        """The next key and place in the same archive, for an archive that was written in the order of the scp."""
        after = number + 1
        if after == len(self._keys) or self._archives[after] != self._archives[number] or self._offsets[after] <= self._offsets[number]:
            return None
        return self._keys[after].encode(), self._offsets[after]

    def _take(self, number, form, stored, row, column, out):
        data = self._map(number)
        try:
            form.fill(data, self._offsets[number], stored, row, column, out)
        except Fail as error:
            raise Fail(f"{self._name(number)}: {error}") from None
        return out

    def _map(self, number):
        """The archive of an object, mapped into memory."""
        archive = self._archives[number]
        try:
            data = self._maps.get(archive) or self._open(archive)
            data.need_whole()
        except Fail as error:
            raise Fail(f"{self._scp_of(number)}: '{self._keys[number]}': {self._paths[archive]}: {error}") from None
        return data

    def _open(self, archive):
        if len(self._maps) == _MOST_MAPPED:
            self._maps.pop(next(iter(self._maps)))
        self._maps[archive] = Archive(self._paths[archive], "make the archive anew or, if it has moved, run utils/relocate_data_dir.py")
        if sum(map(len, self._maps.values())) > _MEMORY / 2:
            for data in self._maps.values():
                data.ahead = True
        return self._maps[archive]

    def _name(self, number):
        """An object as messages name it."""
        return f"{self._scp_of(number)}: '{self._keys[number]}': {self._paths[self._archives[number]]}, offset {self._offsets[number]}"

    def _scp_of(self, number):
        return self._scps[bisect(self._first_of, number) - 1]


class Archive(mmap.mmap):
    """An archive mapped into memory.

    ahead: whether the disk should be asked for all of a part before it is touched. Page after page as they are touched they come three times slower;
    but where they are in memory already, to ask takes as long as to copy them.
    if_missing: what to do where there is no such file
    """

    ahead = False
    _due = 0.0

    def __new__(cls, path, if_missing="make the archive anew"):
        try:
            if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
                raise Fail("not a file that can be mapped into memory, as archives are")
            with open(path, "rb") as file:
                archive = super().__new__(cls, file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError as error:
            raise Fail(f"{error.strerror}; {if_missing}") from None
        except OSError as error:
            raise Fail(f"{error.strerror}; make the archive anew") from None
        except ValueError:
            raise Fail("empty; make the archive anew") from None
        if archive[:2] == b"\x1f\x8b":
            raise Fail("packed with gzip; unpack it first")
        return archive

    def need_whole(self):
        """Fail where the file has been cut since: to touch what is gone would end the process. To ask takes a while, so not more often than is of use."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + 0.001
            if self.size() < len(self):
                raise Fail("the archive has been cut since it was opened; make it anew")


def read_ark(path, kind="array", in_order=True):
    """Yield (key, array) of a whole archive from its beginning, in the precision it has: float32, float64 (so also what is text), int32.

    kind: "array", or "int" or "float" where it holds numbers by themselves; in_order: keys must be in byte order, each once
    """
    try:
        data = Archive(path)
    except Fail as error:
        raise Fail(f"{path}: {error}") from None
    data.madvise(mmap.MADV_SEQUENTIAL)
    place, previous = 0, ""
    while place < len(data):
        try:
            data.need_whole()
        except Fail as error:
            raise Fail(f"{path}: {error}") from None
        key, start = _key_at(path, data, place)
        if in_order and key <= previous:
            trouble = "comes twice" if key == previous else f"comes after '{previous}'"
            raise Fail(f"{path}: '{key}', offset {start}: {trouble}; the keys of an archive must be in byte order, each once")
        try:
            form, shape, place = look(data, start, kind)
            value = read(data, start, form, shape)
        except Fail as error:
            raise Fail(f"{path}: '{key}', offset {start}: {error}") from None
        yield key, value
        previous = key


def _key_at(path, data, place):
    match = _KEY.match(data, place)
    try:
        return match[1].decode(), match.end()
    except (TypeError, UnicodeDecodeError):
        what = "blank line; remove it" if data[place] in b"\r\n" else "a key and a blank were expected: no archive, or a damaged one"
        raise Fail(f"{path}, offset {place}: {what}") from None


def read_object(path, kind="array"):
    """The array in a file that holds one object without a key, such as Kaldi's mean.vec and transform.mat; its precision as of read_ark."""
    try:
        data = Archive(path)
        form, shape, end = look(data, 0, kind)
        if data[end : end + 100].strip():
            raise Fail("one object without a key was expected, more is there")
        return read(data, 0, form, shape)
    except Fail as error:
        raise Fail(f"{path}: {error}") from None


def write_object(path, array, text=False, dtype=np.float32):
    """Write one vector or matrix without a key; Kaldi reads both forms."""
    try:
        pieces, _ = object_of(as_stored(array, np.dtype(dtype)), None, text)
    except Fail as error:
        raise Fail(f"{path}: {error}") from None
    with whole_file(path, "wb") as file:
        file.writelines(pieces)


def read_matrix(scp, keys):
    """The vectors of `keys` as one (len(keys), dim) float32 matrix. Fails where one is missing or of another dimension."""
    reader = ArkReader(scp)
    dim = reader.shape(keys[0])[:1]
    matrix = np.empty((len(keys), *dim), dtype=np.float32)
    for row, key in enumerate(keys):
        if reader.shape(key) != dim:
            raise Fail(f"{reader.scp}: '{key}' has the shape {reader.shape(key)}, '{keys[0]}' {reader.shape(keys[0])}; all must be vectors of one dimension")
        reader.rows(key, 0, *dim, out=matrix[row])
    return matrix
