"""M4A, MP4 and AAC files, decoded with PyAV, whose wheel carries its decoder.

The bytes are handed to the decoder of one container format, so that no name or list in a file is ever opened. PyAV is an optional package.
"""

import struct
import sys
from contextlib import contextmanager

import numpy as np

from pytorch.data.source import CutOff
from pytorch.program import Fail

_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")  # an MP4 file begins with one of these
_MOST_BOXES = 1_000_000
_BLOCK = 1 << 20  # samples decoded at a time
_SHORT_SEC = 0.1  # by which decoded sound may fall short of what the container announces: encoders round to blocks
_KINDS = {"int16", "int32", "float32", "float64"}


def is_m4a(head):
    """Whether the first 12 bytes are those of an MP4 file, or of AAC in ADTS frames."""
    return head[4:8] in _BOXES or _is_adts(head)


def _is_adts(head):
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0


class M4a:
    """The one sound track of an M4A, MP4 or AAC file; see open_audio() in audio.py."""

    seekable = False

    def __init__(self, source):
        try:
            import av
        except ModuleNotFoundError:
            remedy = f"install it with: {sys.executable} -m pip install av==18.1.0"
            raise Fail(f"{source.name}: M4A and AAC files are read with PyAV, which this Python lacks; {remedy}") from None
        adts = _is_adts(source.read(0, 2))
        (_check_adts if adts else _check_boxes)(source)
        self.name, self._failure, self._stream = source.name, av.FFmpegError, source.stream()
        with self._refusals():
            self._container = av.open(self._stream, format="aac" if adts else "mov")
            tracks = self._container.streams.audio
            if len(tracks) != 1:
                raise Fail(f"{source.name}: {len(tracks)} sound tracks, one expected; take one out first")
            codec = tracks[0].codec_context
            self.rate, self.channels, self.form = codec.sample_rate, codec.channels, f"{'AAC' if adts else 'M4A'} {codec.name.upper()}"
            known = not adts and tracks[0].duration is not None
            self.frames = round(tracks[0].duration * tracks[0].time_base * self.rate) if known else None

    def blocks(self):
        """Yields (num, channels) float32, int16 or int32. The decoder's padding behind the announced end is left out, as ffmpeg does."""
        got, held = 0, []
        with self._refusals():
            for frame in self._container.decode(audio=0):
                if (frame.sample_rate, frame.layout.nb_channels) != (self.rate, self.channels):
                    raise Fail(f"{self.name}: rate or channels change in the middle; convert it to WAV or FLAC")
                held.append(self._array(frame)[: None if self.frames is None else max(0, self.frames - got)])
                got += len(held[-1])
                if sum(map(len, held)) * self.channels >= _BLOCK:
                    yield np.concatenate(held)
                    held = []
        if self.frames is not None and got < self.frames - _SHORT_SEC * self.rate:
            raise CutOff(f"{self.name}: cut off, {got} of {self.frames} samples are there; copy or make it anew")
        if held:
            yield np.concatenate(held)

    def close(self):
        self._container.close()
        self._stream.close()

    def _array(self, frame):
        array = frame.to_ndarray()
        if array.dtype.name not in _KINDS:
            raise Fail(f"{self.name}: samples of the kind {frame.format.name} are not read; convert it to WAV or FLAC")
        return array.T if frame.format.is_planar else array.reshape(-1, self.channels)

    @contextmanager
    def _refusals(self):
        try:
            yield
        except self._failure as error:
            raise Fail(f"{self.name}: not readable as audio ({error.strerror})") from None


def _check_boxes(source):
    """Fail where one of the boxes an MP4 file consists of is not there to its end."""
    place = 0
    for _ in range(_MOST_BOXES):
        if place >= source.size:
            return
        head = source.read(place, 16)
        size = int.from_bytes(head[:4], "big")
        if size == 1 and len(head) == 16:
            size = int.from_bytes(head[8:], "big")
        if size == 0:  # to the end of the file
            return
        missing = place + max(size, 8) - source.size
        if missing > 0:
            raise CutOff(f"{source.name}: cut off, {missing} bytes are missing; copy or make it anew")
        place += max(size, 8)


def _check_adts(source):
    """Fail where the last of the frames is not there to its end."""
    content = source.read(0, source.size)
    place = 0
    while place < len(content) and content[place : place + 3] != b"TAG":
        head = content[place : place + 7]
        size = (struct.unpack(">I", head[3:7])[0] >> 13) & 0x1FFF if len(head) == 7 else 8192
        if not _is_adts(head) or size < 7:
            raise Fail(f"{source.name}: not readable as audio (no AAC frame where one was expected, at byte {place})")
        if place + size > len(content):
            raise CutOff(f"{source.name}: cut off inside its last frame; copy or make it anew")
        place += size
