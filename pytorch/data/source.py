"""The bytes of a recording, read by place: a file, a part of an archive, or memory."""

import io
import os
import re
import stat

from pytorch.program import Fail

_ENTRY = re.compile(r"([^\0]+?):(\d{1,18})")


class CutOff(Fail):
    """A recording whose end is missing."""


class NoSamples(Fail):
    """A recording with nothing in it."""


def split_entry(entry):
    """`path.ark:123` of a wav.scp -> ("path.ark", 123); None where the entry is no place in an archive."""
    match = _ENTRY.fullmatch(entry)
    return match and (match[1], int(match[2]))


class Source:
    """The bytes of a recording.

    name: for messages; size: in bytes; path: of the file, where it is a file as a whole; riff: its WAV header, where that is known already
    """

    def __init__(self, name, read, size, path=None, close=None, riff=None):
        self.name, self.size, self.path, self.riff = name, size, path, riff
        self._read, self._close = read, close

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._close:
            self._close()

    def read(self, place, num):
        """-> bytes, fewer than `num` at the end"""
        return self._read(place, max(0, min(num, self.size - place)))

    def part(self, name, start, size, riff=None):
        """`size` bytes from `start` on, as a source; it lives no longer than this one."""
        assert start + size <= self.size
        return Source(name, lambda place, num: self._read(start + place, num), size, riff=riff)

    def stream(self):
        """The bytes as an open file, for libraries."""
        return open(self.path, "rb") if self.path else io.BytesIO(self.read(0, self.size))


def file_source(path):
    """A file. Fails, without naming the utterance, where there is none, or nothing in it."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
            raise Fail(f"{path}: not readable as audio (not a file)")
        file = open(path, "rb")
    except (OSError, ValueError) as error:
        raise Fail(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if status.st_size == 0:
        file.close()
        raise NoSamples(f"{path}: empty file")

    def read(place, num):
        file.seek(place)
        return file.read(num)

    return Source(str(path), read, status.st_size, path, file.close)


def bytes_source(name, content):
    """Bytes at hand, or a mapped file, which several threads may then read."""
    return Source(name, lambda place, num: content[place : place + num], len(content))
