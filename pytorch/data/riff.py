"""The headers of WAV files (RIFF, RIFX, RF64): how the samples are stored, where they lie, how many there should be."""

import struct
from typing import NamedTuple

BYTE_ORDERS = {b"RIFF": "<", b"RIFX": ">", b"RF64": "<"}
_OPEN = (0x7FFFF000, 0xFFFFFFFF)  # sizes that sox, ffmpeg and others write where they cannot know it yet
_EXTENSIBLE = 0xFFFE
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")  # of the subformats that are format tags
_MOST_CHUNKS = 1000
_MOST_USUAL = 128  # bytes that hold a usual header as a whole


class Riff(NamedTuple):
    """What a WAV header says. Sizes and places in bytes, counted from the start of the header."""

    byte_order: str  # "<" or ">"
    tag: int  # 1: integers, 3: float, 6: A-law, 7: mu-law, …
    channels: int
    rate: int
    align: int  # bytes of one sample of all channels, or of a block in formats that have blocks
    bits: int
    place: int  # of the samples
    size: int  # of the samples
    is_open: bool  # the header was written before the length was known: the samples go on to the end, `size` says nothing

    @property
    def is_pcm_16(self):
        return self.tag == 1 and self.bits == 16 and self.align == 2 * self.channels > 0 and self.rate > 0


def riff_of(read):
    """The header at the start of what read(place, num) -> bytes reads; None where there is no whole WAV header."""
    head = read(0, _MOST_USUAL)
    if head[:4] not in BYTE_ORDERS or head[8:12] != b"WAVE":
        return None

    def at(place, num):
        return head[place : place + num] if place + num <= _MOST_USUAL else read(place, num)

    order = BYTE_ORDERS[head[:4]]
    whole = struct.unpack_from(order + "I", head, 4)[0]
    form, long_size, place = None, None, 12
    for _ in range(_MOST_CHUNKS):
        chunk = at(place, 8)
        if len(chunk) < 8:
            return None
        name, size = struct.unpack(order + "4sI", chunk)
        place += 8
        if name == b"fmt ":
            form = _format_of(at(place, min(size, 40)), order)
        elif name == b"ds64" and head[:4] == b"RF64":
            long_size = int.from_bytes(at(place + 8, 8), "little")
        elif name == b"data":
            if long_size is not None and size == 0xFFFFFFFF:
                return form and Riff(order, *form, place, long_size, False)
            # as in Kaldi, a size of 0 leaves the length open; unless the size of the whole counts what follows
            is_open = size in _OPEN or (size == 0 and (whole + 8 <= place or whole == 0xFFFFFFFF))
            return form and Riff(order, *form, place, size, is_open)
        place += size + size % 2
    return None


def _format_of(content, order):
    """-> tag, channels, rate, align, bits; None where the chunk is too short."""
    if len(content) < 16:
        return None
    tag, channels, rate, _, align, bits = struct.unpack_from(order + "HHIIHH", content)
    if tag == _EXTENSIBLE and content[26:40] == _GUID_TAIL:
        tag = struct.unpack_from(order + "H", content, 24)[0]
    return tag, channels, rate, align, bits


def pcm_16_header(rate, size, channels=1):
    """The 44 bytes before `size` bytes of 16-bit samples."""
    return struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVEfmt ", 16, 1, channels, rate, 2 * channels * rate, 2 * channels, 16, b"data", size)
