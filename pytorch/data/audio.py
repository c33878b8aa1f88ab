"""Audio files, read with soundfile. Samples are float32 in the range of 16-bit integers, as Kaldi's features expect."""

import os
import struct

import numpy as np

from pytorch.program import Fail

FORMATS = ("WAV", "WAVEX", "FLAC", "OGG", "MP3")  # soundfile reads more, but takes cut-off files of other formats for shorter ones


def read_audio(path, rate):
    """Read a recording of one channel -> (samples,) float32, -32768 to 32767.

    rate: the sample rate expected, Hz
    Fails, without naming the utterance, where the file is missing, empty, cut off, of another rate or has several channels.
    """
    import soundfile

    try:
        size = os.stat(path).st_size
    except OSError as error:
        raise Fail(f"{path}: {error.strerror}") from None
    if size == 0:
        raise Fail(f"{path}: empty file")
    try:
        with soundfile.SoundFile(path) as file:
            if file.format not in FORMATS:
                raise Fail(f"{path}: {file.format} files are not read, {', '.join(FORMATS)} are; convert it to WAV or FLAC")
            if file.samplerate != rate:
                raise Fail(f"{path}: {file.samplerate} Hz, {rate:g} Hz expected; resample the recording, or set --sample-frequency")
            if file.channels != 1:
                raise Fail(f"{path}: {file.channels} channels, one expected; take one channel first")
            integers = file.subtype == "PCM_16"
            samples = file.read(dtype="int16" if integers else "float32")
            announced = _riff_frames(path) if file.format in ("WAV", "WAVEX") else file.frames
    except soundfile.LibsndfileError as error:
        raise Fail(f"{path}: not readable as audio ({error.error_string.rstrip('.')})") from None
    except (TypeError, ValueError) as error:  # soundfile's: headerless files, formats it cannot seek in
        raise Fail(f"{path}: not readable as audio ({error})") from None
    if file.format == "OGG" and not _ogg_is_whole(path):
        raise Fail(f"{path}: cut off, the end of the Ogg stream is missing; copy or make it anew")
    if len(samples) < announced:
        raise Fail(f"{path}: cut off, {len(samples)} of {announced} samples are there; copy or make it anew")
    if len(samples) == 0:
        raise Fail(f"{path}: no samples in it")
    samples = samples.astype(np.float32) if integers else samples * np.float32(32768)
    if not np.isfinite(samples).all():
        raise Fail(f"{path}: samples that are not finite")
    return samples


def _ogg_is_whole(path):
    """Whether an Ogg file ends with a whole page that is marked as the last; soundfile takes a cut-off file for a shorter one."""
    with open(path, "rb") as file:
        tail = file.read()[-65307:]  # no page is longer
    page = tail[tail.rfind(b"OggS") :]
    return len(page) > 27 and bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])


def _riff_frames(path):
    """The number of frames a WAV header announces; soundfile takes a cut-off file for a shorter one. 0 where it is open-ended (streams)."""
    with open(path, "rb") as file:
        if file.read(12)[:4] != b"RIFF":
            return 0
        align = 0
        while len(head := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            if name == b"fmt ":
                align = struct.unpack_from("<H", chunk := file.read(size), 12)[0]
                file.seek(len(chunk) % 2, os.SEEK_CUR)
            elif name == b"data":
                return 0 if size in (0, 0x7FFFF000, 0xFFFFFFFF) or not align else size // align
            else:
                file.seek(size + size % 2, os.SEEK_CUR)
    return 0
