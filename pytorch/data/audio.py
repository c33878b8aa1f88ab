"""Recordings as samples: float32 in the range of 16-bit integers, as Kaldi's features expect.

16-bit WAV, the commonest by far, is read here: a piece costs the piece. Other WAV, FLAC, OGG and MP3 are read with soundfile, M4A and AAC with PyAV.
What is cut off is refused in all of them.
"""

import io
import math
import struct
from contextlib import contextmanager
from functools import lru_cache

import numpy as np

from pytorch.data.m4a import M4a, is_m4a
from pytorch.data.riff import riff_of
from pytorch.data.source import CutOff, NoSamples, file_source
from pytorch.program import Fail

FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3")  # soundfile reads more, but takes cut-off files of other formats for shorter ones
_SEEKABLE = ("WAV", "WAVEX", "RF64", "FLAC")
_INTEGERS = {"PCM_16": "int16", "PCM_S8": "int16", "PCM_U8": "int16", "PCM_24": "int32", "PCM_32": "int32"}  # subtypes that are exact as integers
_BLOCK = 1 << 20  # samples decoded at a time
_UNKNOWN = 1 << 62  # more samples than this stand for a length left open
_MOST_OF_MP3 = 64  # samples of a byte: 24 at the lowest bit rate there is
_MOST_TAPS = 1 << 24  # of a resampling filter


def read_audio(path, rate, channel=None, resample=False):
    """Read an audio file -> (samples,) float32, -32768 to 32767.

    rate: the sample rate expected, Hz; channel: which one to take, from 0, None where there is to be one only; resample: convert other rates
    Fails, without naming the utterance, where the file is missing, empty, cut off, of another rate or has several channels.
    """
    with file_source(path) as source, open_audio(source) as audio:
        check_rate(audio, rate, resample)
        return at_rate(in_16_bit_range(decode(audio, channel), audio.name), audio.rate, rate)


@contextmanager
def open_audio(source):
    """Open what a Source holds.

    -> an object with name, rate (Hz), channels, frames (samples of each channel; None where only decoding tells), form ("WAV PCM_16"),
       blocks(), which yields arrays (num, channels) of integers or floats, and seekable: whether read(start, num) costs no more than about the piece
    Fails where it is no audio, or is seen to be cut off.
    """
    audio = _audio_of(source)
    try:
        yield audio
    finally:
        audio.close()


def _audio_of(source):
    riff = source.riff or riff_of(source.read)
    if riff and not riff.is_open and source.size < riff.place + riff.size:
        align = max(1, riff.align)
        raise CutOff(f"{source.name}: cut off, {(source.size - riff.place) // align} of {riff.size // align} samples are there; copy or make it anew")
    if riff and riff.is_pcm_16:
        return _Wav(source, riff)
    if riff is None and is_m4a(source.read(0, 12)):
        return M4a(source)
    return _Sound(source, riff)


class _Wav:
    """16-bit WAV."""

    seekable = True

    def __init__(self, source, riff):
        size = source.size - riff.place if riff.is_open else riff.size
        self._source, self._place, self._dtype = source, riff.place, riff.byte_order + "i2"
        self.name, self.rate, self.channels, self.form = source.name, riff.rate, riff.channels, "WAV PCM_16"
        self.frames, odd = divmod(size, riff.align)
        if odd and riff.is_open:
            raise CutOff(f"{source.name}: cut off, it ends inside a sample; copy or make it anew")

    def read(self, start, num):
        """-> (num, channels) int16, fewer at the end"""
        width = 2 * self.channels
        size = max(0, min(num, self.frames - start)) * width
        content = self._source.read(self._place + start * width, size)
        if len(content) < size:
            raise CutOff(f"{self.name}: cut off while it is read, samples {start} to {start + num} are not all there; copy or make it anew")
        return np.frombuffer(content, dtype=self._dtype).reshape(-1, self.channels)

    def blocks(self):
        num = max(1, _BLOCK // self.channels)
        for start in range(0, self.frames, num):
            yield self.read(start, num)

    def close(self):
        """The source is the caller's."""


class _Sound:
    """Anything soundfile reads and is known to notice the end of."""

    def __init__(self, source, riff):
        import soundfile

        self.name, self._failure = source.name, soundfile.LibsndfileError
        with self._refusals():
            self._file = file = soundfile.SoundFile(_for_soundfile(source, riff))
        self.rate, self.channels, self.frames, self.form = file.samplerate, file.channels, file.frames, f"{file.format} {file.subtype}"
        self.seekable = file.format in _SEEKABLE and file.seekable()
        self._dtype = _INTEGERS.get(file.subtype, "float32")
        # soundfile seeks after each read, and behind a seam MP3 is decoded without what it needs of the frames before: it is read at once
        self._most = self.frames if file.format == "MP3" else max(1, _BLOCK // self.channels)
        if trouble := self._trouble(source):
            file.close()
            raise trouble

    def read(self, start, num):
        """-> (num, channels) int16, int32 or float32, fewer at the end"""
        with self._refusals():
            self._file.seek(min(start, self.frames))
            return self._file.read(num, dtype=self._dtype, always_2d=True)

    def blocks(self):
        got = 0
        while got < self.frames:
            block = self._next()
            if len(block) == 0:
                raise CutOff(f"{self.name}: cut off, {got} of {self.frames} samples are there; copy or make it anew")
            got += len(block)
            yield block

    def close(self):
        self._file.close()

    def _next(self):
        with self._refusals():
            return self._file.read(self._most, dtype=self._dtype, always_2d=True)

    def _trouble(self, source):
        if self._file.format not in FORMATS:
            return Fail(f"{self.name}: {self._file.format} files are not read, {', '.join(FORMATS)} and M4A are; convert it to WAV or FLAC")
        if self._file.format == "OGG" and not _ogg_is_whole(source):
            return CutOff(f"{self.name}: cut off, the end of the Ogg stream is missing; copy or make it anew")
        if self._file.format == "MP3" and self.frames > _MOST_OF_MP3 * source.size:
            return CutOff(f"{self.name}: cut off, {self.frames} samples are announced in {source.size} bytes; copy or make it anew")
        if self.frames > _UNKNOWN:
            return Fail(f"{self.name}: its header does not say how long it is, so a cut-off one could not be told; write it anew, to a file, not a pipe")
        return None

    @contextmanager
    def _refusals(self):
        try:
            yield
        except self._failure as error:
            raise Fail(f"{self.name}: not readable as audio ({error.error_string.rstrip('.')})") from None
        except (TypeError, ValueError) as error:  # soundfile's: headerless files, formats it cannot seek in
            raise Fail(f"{self.name}: not readable as audio ({error})") from None


def _for_soundfile(source, riff):
    """The path of a file; else its bytes, the length filled in where a WAV header leaves it open."""
    if riff and riff.is_open:
        content = bytearray(source.read(0, source.size))
        struct.pack_into(riff.byte_order + "I", content, 4, min(len(content) - 8, 0xFFFFFFFF))
        struct.pack_into(riff.byte_order + "I", content, riff.place - 4, min(len(content) - riff.place, 0xFFFFFFFF))
        return io.BytesIO(content)
    return source.path or io.BytesIO(source.read(0, source.size))


def _ogg_is_whole(source):
    """Whether an Ogg file ends with a whole page that is marked as the last; soundfile takes a cut-off file for a shorter one."""
    most = 65307  # bytes of a page
    tail = source.read(max(0, source.size - most), most)
    page = tail[tail.rfind(b"OggS") :]
    return len(page) > 27 and bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])


# ---- one channel, one range, one rate


def decode(audio, channel=None):
    """One channel of an open recording as a whole -> (samples,) as it is stored. Fails where there is not that channel, or nothing in it."""
    index = channel_of(audio, channel)
    parts = [block[:, index] for block in audio.blocks()]
    if not parts:
        raise NoSamples(f"{audio.name}: no samples in it")
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def channel_of(audio, channel):
    """The index of the channel to take."""
    if channel is None and audio.channels != 1:
        raise Fail(f"{audio.name}: {audio.channels} channels, one expected; say which to take with --channel, 0 is the first")
    if channel is not None and channel >= audio.channels:
        raise Fail(f"{audio.name}: no channel {channel}, it has {audio.channels}, 0 is the first")
    return channel or 0


def in_16_bit_range(samples, name):
    """Samples as they are stored -> float32: 16-bit integers as they are, deeper ones with their lower bits as fractions, floats times 32768."""
    if samples.dtype.kind == "i":
        return samples.astype(np.float32) if samples.dtype.itemsize == 2 else np.multiply(samples, 1 / 65536, dtype=np.float32)
    if not np.isfinite(samples).all():
        raise Fail(f"{name}: samples that are not finite")
    return np.multiply(samples, 32768, dtype=np.float32)


def check_rate(audio, rate, resample):
    """Fail where a recording is of another rate than expected and is not to be converted, or cannot be."""
    if audio.rate == rate:
        return
    if not resample:
        raise Fail(f"{audio.name}: {audio.rate} Hz, {rate:g} Hz expected; convert it with --resample true, or set --sample-frequency where a program has it")
    common = math.gcd(audio.rate, int(rate))
    if rate != int(rate) or (audio.rate // common + 200) * (rate // common) > _MOST_TAPS:
        raise Fail(f"{audio.name}: {audio.rate} Hz cannot be converted to {rate:g} Hz here, their ratio takes too long a filter; convert it with sox first")


def at_rate(samples, old, new):
    """Samples at another rate -> (ceil(samples * new / old),) float32: torchaudio's band-limited interpolation by a sinc under a Kaiser window,
    64 zero crossings wide, roll-off 0.9476 of the lower Nyquist frequency, beta 14.77; the quality that librosa calls kaiser_best."""
    if old == new:
        return samples
    import torch

    old, new = int(old), int(new)
    padded = np.concatenate([samples, np.zeros(256 * (1 + old // new), dtype=np.float32)])  # torchaudio rounds great lengths to 24 bits
    return _resampler(old, new)(torch.from_numpy(padded)).numpy()[: frames_at_rate(len(samples), old, new)]


def frames_at_rate(frames, old, new):
    """How many samples at_rate() makes of `frames`."""
    return -(-frames * int(new) // int(old)) if old != new else frames


@lru_cache(maxsize=8)
def _resampler(old, new):
    import torchaudio

    return torchaudio.transforms.Resample(
        old, new, resampling_method="sinc_interp_kaiser", lowpass_filter_width=64, rolloff=0.9475937167399596, beta=14.769656459379492
    )
