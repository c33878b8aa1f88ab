"""Kaldi's archives: float vectors and matrices, written and read by kaldiio, partial reads by memory map.

kaldiio runs commands that stand in scp files and unpickles objects that ask for it, so it never sees a name or a byte
that was not looked at here first: archives are opened by path alone, and the header of every object is checked
against the file's size before its data is touched. Formats: Kaldi's, http://kaldi-asr.org/doc/io.html.
"""

import hashlib
import io
import mmap
import re
import struct
from pathlib import Path

import numpy as np

from pytorch.data.data_dir import REST, read_table, write_table
from pytorch.files import whole_file
from pytorch.program import Fail

_PLAIN = {b"FM ": ("<f4", 2), b"DM ": ("<f8", 2), b"FV ": ("<f4", 1), b"DV ": ("<f8", 1)}  # token -> dtype, axes
_COMPRESSED = {b"CM ": 1, b"CM2": 2, b"CM3": 1}  # token -> bytes per value
_ENTRY = re.compile(r"([^\0]+?):(\d{1,18})")


class ArkWriter:
    """Write float32 vectors and matrices to the archive `path` and their places to `scp`; both appear whole at the end, ark first.

    with ArkWriter("x/feats.ark", "x/feats.scp") as ark: ark.write("utt1", array)

    digests: {key: SHA-256 of its array}, in which the same values are the same however they are spread over archives
    """

    def __init__(self, path, scp):
        self.path, self.scp = Path(path).resolve(), Path(scp)

    def __enter__(self):
        self._context = whole_file(self.path, "wb")
        self._file = self._context.__enter__()
        self._places, self.digests = {}, {}
        return self

    def write(self, key, array):
        """array: (dim,) or (rows, columns), all values finite."""
        import kaldiio

        array = np.ascontiguousarray(array, dtype=np.float32)
        if key.split() != [key]:
            raise Fail(f"{self.path}: {key!r} cannot be an id: empty or with blanks")
        if not np.isfinite(array).all():
            raise Fail(f"{self.path}: the values of '{key}' are not all finite")
        self._places[key] = f"{self.path}:{self._file.tell() + len(key.encode()) + 1}"
        self.digests[key] = hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()
        kaldiio.save_ark(self._file, {key: array})

    def __exit__(self, kind, error, trace):
        self._context.__exit__(kind, error, trace)
        if kind is None:
            write_table(self.scp, self._places)


class ArkReader:
    """Random access to the arrays an scp file names. Archives are mapped into memory, so a crop costs the crop.

    reader[key] -> (dim,) or (rows, columns) float32; reader.rows(key, start, num) -> (num, columns) float32
    Fails naming scp, key and offset where an archive is missing, cut off or not what it should be.
    """

    def __init__(self, scp):
        self.scp = Path(scp)
        self.places = read_table(self.scp, REST)
        self._maps = {}

    def __contains__(self, key):
        return key in self.places

    def __iter__(self):
        return iter(self.places)

    def __len__(self):
        return len(self.places)

    def __getstate__(self):  # worker processes map the archives themselves
        return {**self.__dict__, "_maps": {}}

    def archives(self):
        """The paths of all archives named, each once."""
        return sorted({self._split(key)[0] for key in self.places})

    def shape(self, key):
        return self._header(key)[2]

    def __getitem__(self, key):
        return np.array(self._array(key), dtype=np.float32)

    def rows(self, key, start, num):
        return np.array(self._array(key)[start : start + num], dtype=np.float32)

    def column(self, key, index):
        return np.array(self._array(key)[:, index], dtype=np.float32)

    def _array(self, key):
        """The array as it lies in the archive, uncompressed ones without a copy."""
        data, token, shape, start = self._header(key)
        if token in _PLAIN:
            return np.ndarray(shape, dtype=_PLAIN[token][0], buffer=data, offset=start)
        import kaldiio.matio

        place = self._split(key)[1]
        return kaldiio.matio.read_matrix_or_vector(io.BytesIO(data[place : place + 32 + shape[1] * 8 + shape[0] * shape[1] * 2]))

    def _header(self, key):
        """-> the mapped archive, the object's token, its shape, the offset of its values (of its header, if compressed)."""
        path, place = self._split(key)
        data = self._map(path, key)
        if place + 10 > len(data) or data[place : place + 2] != b"\0B":
            raise self._bad(key, path, place, "no binary object starts there; text archives are not read")
        token = data[place + 2 : place + 5]
        if token in _PLAIN:
            kind, axes = _PLAIN[token]
            start = place + 5 + 5 * axes
            if start > len(data):
                raise self._bad(key, path, place, "the archive ends inside a header")
            sizes = struct.unpack("<" + "Bi" * axes, data[place + 5 : start])
            shape, size = sizes[1::2], np.dtype(kind).itemsize
            if set(sizes[::2]) != {4} or min(shape) < 0:
                raise self._bad(key, path, place, "damaged header")
        elif token in _COMPRESSED:
            start = place + 5 + (token != b"CM ")
            if start + 16 > len(data):
                raise self._bad(key, path, place, "the archive ends inside a header")
            least, span, rows, columns = struct.unpack("<ffii", data[start : start + 16])
            shape, size = (rows, columns), _COMPRESSED[token]
            if data[start - 1 : start] != b" " or not np.isfinite(least + span) or min(shape) < 0:
                raise self._bad(key, path, place, "damaged header")
            start += 16 + (8 * shape[1] if token == b"CM " else 0)
        else:
            raise self._bad(key, path, place, f"an object of type {token!r}, a float vector or matrix was expected")
        if start + size * int(np.prod(shape, dtype=np.int64)) > len(data):
            raise self._bad(key, path, place, f"{' x '.join(map(str, shape))} values are announced but the archive ends before; make it anew")
        return data, token, shape, start

    def _split(self, key):
        try:
            entry = self.places[key]
        except KeyError:
            raise Fail(f"{self.scp}: no entry '{key}'") from None
        match = _ENTRY.fullmatch(entry)
        if match is None or entry.startswith("|"):
            raise Fail(f"{self.scp}: '{key}': an entry path.ark:offset was expected, not '{entry[:80]}'")
        return match[1], int(match[2])

    def _map(self, path, key):
        if path not in self._maps:
            try:
                with open(path, "rb") as file:
                    self._maps[path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except OSError as error:
                raise Fail(f"{self.scp}: '{key}': {path}: {error.strerror}; make the archive anew") from None
            except ValueError:
                raise Fail(f"{self.scp}: '{key}': {path}: empty; make the archive anew") from None
        return self._maps[path]

    def _bad(self, key, path, place, what):
        return Fail(f"{self.scp}: '{key}': {path}, offset {place}: {what}")


def read_matrix(scp, keys):
    """The vectors of `keys` as one (len(keys), dim) float32 matrix. Fails where one is missing or of another dimension."""
    reader = ArkReader(scp)
    first = reader[keys[0]]
    matrix = np.empty((len(keys), first.shape[0]), dtype=np.float32)
    for row, key in enumerate(keys):
        vector = reader._array(key)
        if vector.shape != first.shape or vector.ndim != 1:
            raise Fail(f"{reader.scp}: '{key}' has the shape {vector.shape}, '{keys[0]}' {first.shape}; all must be vectors of one dimension")
        matrix[row] = vector
    return matrix
