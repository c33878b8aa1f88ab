"""Archives of recordings: waveforms as Kaldi keeps them (`key ` and a WAV file, again and again), or compressed as kaldiio keeps them.

kaldiio's form, for any format soundfile writes: `AUDIO`, the number of bytes of a length, the length, little end first, a file of that length. Both are read
here by place alone: kaldiio would also unpickle what asks for it.
"""

import hashlib
import io
import mmap
from pathlib import Path

import numpy as np

from pytorch.data.audio import channel_of, decode, in_16_bit_range, open_audio
from pytorch.data.data_dir import REST, read_table, write_table
from pytorch.data.riff import BYTE_ORDERS, pcm_16_header, riff_of
from pytorch.data.source import CutOff, bytes_source, split_entry
from pytorch.files import whole_file
from pytorch.program import Fail

FORMATS = ("pcm", "flac")
_MOST_BYTES = 0xFFFFFFFF - 36  # of samples, in a WAV file


def recording_at(archive, place):
    """The recording that begins at a place of an archive, as a Source. Nothing is read but its header; all sizes are checked against the archive's."""
    name = f"{archive.name}, offset {place}"
    if place >= archive.size:
        raise CutOff(f"{name}: the archive ends before, at {archive.size} bytes; make it anew")
    head = archive.read(place, 14)
    if head[:5] == b"AUDIO":
        return _kaldiios(archive, place, head, name)
    if head[:4] not in BYTE_ORDERS:
        raise Fail(f"{name}: no recording begins there, WAV or AUDIO was expected, {head[:5]!r} found")
    riff = riff_of(archive.part(name, place, archive.size - place).read)
    if riff is None:
        raise Fail(f"{name}: damaged WAV header")
    if riff.is_open:
        raise Fail(f"{name}: a WAV header that leaves the length open, so that its end in the archive is not known; make it anew")
    return archive.part(name, place, min(archive.size - place, riff.place + riff.size), riff)


def _kaldiios(archive, place, head, name):
    bytes_of_length = head[5] if len(head) > 5 else 0
    if not 1 <= bytes_of_length <= 8 or len(head) < 6 + bytes_of_length:
        raise Fail(f"{name}: damaged header")
    start, size = place + 6 + bytes_of_length, int.from_bytes(head[6 : 6 + bytes_of_length], "little")
    if start + size > archive.size:
        raise CutOff(f"{name}: cut off, {archive.size - start} of {size} bytes are there; make the archive anew")
    return archive.part(name, start, size)


class WavArkWriter:
    """Write recordings of one channel to the archive `path` and their places to `scp`; both appear whole at the end, archive first.

    rate: Hz; form: "pcm", WAV, which Kaldi reads too, or "flac", about half of that, which kaldiio reads
    digests: {key: SHA-256 of its rate and samples}, the same in both forms
    """

    def __init__(self, path, scp, rate, form="pcm"):
        assert form in FORMATS, form
        self.path, self.scp, self.rate, self.form = Path(path).resolve(), Path(scp), rate, form

    def __enter__(self):
        self._context = whole_file(self.path, "wb")
        self._file = self._context.__enter__()
        self._places, self.digests = {}, {}
        return self

    def write(self, key, samples):
        """samples: (num,) int16"""
        if key.split() != [key]:
            raise Fail(f"{self.path}: {key!r} cannot be an id: empty or with blanks")
        samples = np.ascontiguousarray(samples, dtype="<i2")
        self._places[key] = f"{self.path}:{self._file.tell() + len(key.encode()) + 1}"
        self.digests[key] = hashlib.sha256(f"{self.rate} ".encode() + samples.tobytes()).hexdigest()
        self._file.write(key.encode() + b" ")
        if self.form == "pcm":
            if samples.nbytes > _MOST_BYTES:
                raise Fail(f"{self.path}: '{key}': {samples.nbytes} bytes of samples, a WAV file holds 4 GiB; cut it with segments, or pack as flac")
            self._file.write(pcm_16_header(self.rate, samples.nbytes) + samples.tobytes())
        else:
            content = _flac(samples, self.rate)
            length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "little")
            self._file.write(b"AUDIO" + bytes([len(length)]) + length + content)

    def copy(self, key, reader):
        """Write the samples that a WavArkReader has under a key, of an archive written here with this rate."""
        self.write(key, reader[key].astype(np.int16))

    def __exit__(self, kind, error, trace):
        self._context.__exit__(kind, error, trace)
        if kind is None:
            write_table(self.scp, self._places)


def _flac(samples, rate):
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()


class WavArkReader:
    """Random access to the recordings of an scp file of archives. Archives are mapped into memory: a crop of 16-bit WAV costs the crop.

    channel: which one to take, from 0, where recordings have several
    reader[key] -> (samples,) float32, -32768 to 32767; reader.crop(key, start, num) -> (num,) of it
    Fails naming scp, key, archive and offset where an archive is missing, cut off or not what it should be.
    """

    def __init__(self, scp, channel=None):
        self.scp, self.channel = scp, channel
        self.places = read_table(scp, REST)
        self._maps = {}

    def __contains__(self, key):
        return key in self.places

    def __iter__(self):
        return iter(self.places)

    def __len__(self):
        return len(self.places)

    def archives(self):
        """The paths of all archives named, each once."""
        return sorted({place.rpartition(":")[0] for place in self.places.values()})

    def __getstate__(self):  # worker processes map the archives themselves
        return {**self.__dict__, "_maps": {}}

    def header(self, key):
        """-> rate in Hz, number of samples"""
        return self._with(key, lambda audio: (audio.rate, audio.frames))

    def shape(self, key):
        """-> (samples,)"""
        return self.header(key)[1:]

    def __getitem__(self, key):
        return self._with(key, lambda audio: in_16_bit_range(decode(audio, self.channel), audio.name))

    def crop(self, key, start, num):
        """Samples start to start + num; Fail where the recording does not have them all."""

        def cut(audio):
            if not audio.seekable:
                return in_16_bit_range(decode(audio, self.channel)[start : start + num], audio.name)
            return in_16_bit_range(audio.read(start, num)[:, channel_of(audio, self.channel)], audio.name)

        samples = self._with(key, cut)
        if len(samples) < num:
            raise Fail(f"{self.scp}: '{key}': samples {start} to {start + num} were asked for, it has {self.header(key)[1]}")
        return samples

    def _with(self, key, use):
        try:
            with open_audio(recording_at(*self._archive(key))) as audio:
                return use(audio)
        except Fail as error:
            raise Fail(f"{self.scp}: '{key}': {error}") from None

    def _archive(self, key):
        """-> the mapped archive as a Source, the place in it"""
        if key not in self.places:
            raise Fail("no such entry")
        entry = split_entry(self.places[key])
        if entry is None:
            raise Fail(f"an entry path.ark:offset was expected, not '{self.places[key][:80]}'; pack the recordings with steps/pack_wavs.py")
        path, place = entry
        if path not in self._maps:
            try:
                with open(path, "rb") as file:
                    self._maps[path] = bytes_source(path, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            except (OSError, ValueError) as error:  # ValueError: nothing in it
                raise Fail(f"{path}: {getattr(error, 'strerror', None) or 'empty'}; make the archive anew") from None
        return self._maps[path], place
