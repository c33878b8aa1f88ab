"""The samples of a data directory's recordings, for networks whose features are computed on the device, or that take waveforms."""

import mmap
import os
import shlex
import subprocess
import sys

import numpy as np

from pytorch.data.ark import Archive
from pytorch.data.audio import open_audio
from pytorch.data.data_dir import REST, DataDir
from pytorch.data.recordings import Recordings
from pytorch.data.source import bytes_source, file_source, split_entry
from pytorch.data.wav_ark import recording_at
from pytorch.files import read_json, sha256
from pytorch.marker import Marker
from pytorch.program import ROOT, Fail

_MOST_MAPPED = 256  # archives at a time; each takes a file descriptor
_DECIMALS = 6  # of a duration in seconds that tells the samples exactly
_MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class Waves:
    """16-bit recordings of one channel that lie in archives, each utterance by itself, whole or in crops, by memory map.

    data: the DataDir whose utterances they are; wanted: a WaveInput (pytorch/features/wave_input.py), what the network is given of them
    home: the DataDir whose wav.scp names the archives, and whose utt2dur, if it is there, their lengths; packed() finds it
    utts: list of str; lengths: (N,) int64, samples of each utterance; settings, dim: of what the network is given; name: of wav.scp, for messages
    row_shape, dtype: of one unit, which is a sample here (of frames.py's Frames it is a frame)
    """

    row_shape, dtype = (), np.int16

    def __init__(self, data, wanted, home):
        self.utts, self.wanted, self.name = list(data.utt2spk), wanted, home / "wav.scp"
        self.settings, self.dim, self.sec_per_unit = wanted.settings, wanted.dim, 1 / wanted.rate
        assert home.utt2spk.keys() == data.utt2spk.keys()
        self._paths, self._maps = {}, {}
        self._archives, self._offsets = np.empty(len(self.utts), dtype=np.int32), np.empty(len(self.utts), dtype=np.int64)
        self._starts = np.zeros(len(self.utts), dtype=np.int64)  # where in their archives the samples begin; 0: not looked at yet
        for index, entry in enumerate(home.per_rec("wav.scp", REST).values()):
            path, self._offsets[index] = split_entry(entry)
            self._archives[index] = self._paths.setdefault(path, len(self._paths))
        self._paths = list(self._paths)
        self.lengths = _samples_of(home, wanted.rate)
        self._told_by = None if self.lengths is None else home / "utt2dur"
        if self.lengths is None:
            self.lengths = np.zeros(len(self.utts), dtype=np.int64)
            for index in range(len(self.utts)):
                self._look(index)

    def __getstate__(self):  # worker processes map the archives themselves
        return {**self.__dict__, "_maps": {}}

    def units(self, num_frames):
        """How many samples a crop of so many frames has."""
        return self.wanted.samples(num_frames)

    def least_of(self, model):
        """The least number of samples that a network takes."""
        return model.min_frames if self.wanted.options is None else self.units(model.min_frames)

    def whole(self, index):
        """-> (lengths[index],) int16"""
        out = np.empty(self.lengths[index], dtype=np.int16)
        self.crop(index, 0, out)
        return out

    def crop(self, index, start, out):
        """Samples from `start` on into out: (num,) int16"""
        first = (self._starts[index] or self._look(index)) + 2 * start
        assert 0 <= start <= start + len(out) <= self.lengths[index]
        archive = self._map(index)
        if archive.ahead:
            page = first - first % mmap.PAGESIZE
            archive.madvise(mmap.MADV_WILLNEED, page, first - page + 2 * len(out))
        out[:] = np.ndarray(len(out), "<i2", archive, first)

    def need_length(self, least):
        """Fail where an utterance has fewer than `least` samples, with the names of the first ones."""
        short = [self.utts[index] for index in np.flatnonzero(self.lengths < least)]
        if short:
            seconds = -(-least * 1000 // int(self.wanted.rate)) / 1000
            names = ", ".join(short[:5]) + (", …" if len(short) > 5 else "")
            remedy = f"leave them out with utils/subset_data_dir.py --min-dur {seconds:g}"
            raise Fail(f"{self.name}: {len(short)} utterances have fewer than {least} samples, the least the network takes: {names}; {remedy}")

    def _look(self, index):
        """Hold the header of a recording against what is known -> the place of its samples, which is kept."""
        archive, number, place = self._map(index), self._archives[index], int(self._offsets[index])
        try:
            source = recording_at(bytes_source(self._paths[number], archive), place)
            frames = _samples_in(source, self.wanted.rate)
            if self._told_by and self.lengths[index] != frames:
                remedy = f"remove {self._told_by}, or write it anew with utils/get_utt2dur.py"
                raise Fail(f"{source.name}: {frames} samples, but {self.lengths[index]} by {self._told_by}; {remedy}")
        except Fail as error:
            raise Fail(f"{self.name}: '{self.utts[index]}': {error}") from None
        self.lengths[index], self._starts[index] = frames, place + source.riff.place
        return self._starts[index]

    def _map(self, index):
        """The archive of a recording, mapped into memory."""
        number = self._archives[index]
        try:
            archive = self._maps.get(number) or self._open(number)
            archive.need_whole()
        except Fail as error:
            raise Fail(f"{self.name}: '{self.utts[index]}': {self._paths[number]}: {error}") from None
        return archive

    def _open(self, number):
        if len(self._maps) == _MOST_MAPPED:
            self._maps.pop(next(iter(self._maps)))
        self._maps[number] = Archive(self._paths[number], "pack the recordings anew or, if it has moved, run utils/relocate_data_dir.py")
        if sum(map(len, self._maps.values())) > _MEMORY / 2:
            for archive in self._maps.values():
                archive.ahead = True
        return self._maps[number]


def open_waves(data, wanted, channel=None, resample=False, allow_cmd=()):
    """-> Waves of a DataDir. What does not lie in archives of 16-bit samples is packed first, see packed().

    wanted: a WaveInput; channel, resample, allow_cmd: as of Recordings
    """
    return Waves(data, wanted, packed(data, wanted.rate, channel, resample, allow_cmd))


def packed(data, rate, channel=None, resample=False, allow_cmd=()):
    """-> the DataDir whose wav.scp names archives of 16-bit samples, one channel, `rate` Hz, of the utterances of the DataDir `data`.

    That is `data` itself where its wav.scp does. Otherwise its recordings are packed by steps/pack_wavs.py, which is said, into a folder in it,
    <data>/packed/<rate>, which is used as long as the recordings stay what they were. What was interrupted is gone on with.
    """
    if _is_packed(data, rate, channel):
        return data
    if rate != int(rate):
        raise Fail(f"{data.path}: its recordings cannot be packed at {rate:g} Hz; a whole number is needed")
    folder = data / "packed" / (f"{int(rate)}" + ("" if channel is None else f"_channel{channel}") + ("_resampled" if resample else ""))
    recordings = Recordings(data, rate, channel, resample, allow_cmd)
    inputs = {name: sha256(data / name) for name in ("wav.scp", "segments") if data.has(name)}
    inputs |= {"audio": recordings.fingerprint(data.utt2spk), "folder": str(folder.resolve())}  # the archives are named by their whole path
    marker = Marker(folder / ".done/packed.json", {}, inputs)
    if not marker.matches():
        try:
            marker.lock()
        except OSError as error:
            raise Fail(f"{folder}: {error.strerror}; pack the recordings elsewhere with steps/pack_wavs.py") from None
    if not marker.matches():  # it may have been packed while the lock was waited for
        step = folder / ".done/pack_wavs.json"
        is_outdated = step.exists() and read_json(step).get("outputs") is not None and not marker.is_begun()
        marker.begin()
        print(f"the recordings of {data.path} are no archives of 16-bit samples at {rate:g} Hz: they are packed first, in {folder}", flush=True)
        _pack(data, folder, rate, channel, resample, allow_cmd, is_outdated)
        archives = {split_entry(entry)[0] for entry in DataDir(folder).wav_scp.values()}
        marker.finish([folder / "wav.scp", folder / "utt2dur", *sorted(archives)])
    return DataDir(folder)


def _pack(data, folder, rate, channel, resample, allow_cmd, overwrite):
    words = ["--sample-frequency", str(int(rate)), *(["--resample", "true"] if resample else [])]
    words += [] if channel is None else ["--channel", str(channel)]
    for name in allow_cmd:
        words += ["--allow-cmd", name]
    more = ["--overwrite", str(overwrite).lower(), str(data.path), str(folder)]
    process = subprocess.Popen([sys.executable, str(ROOT / "steps/pack_wavs.py"), *words, *more], stdin=subprocess.DEVNULL)
    try:
        status = process.wait()
    except BaseException:  # a signal: it puts away what it has
        process.terminate()
        process.wait()
        raise
    if status:
        command = shlex.join(["steps/pack_wavs.py", *words, "--max-fail", "N", str(data.path), f"{data.path}_packed"])
        raise Fail(f"{data.path}: its recordings were not packed, see above; mend them, or leave up to N out with `{command}` and take that directory")


def _is_packed(data, rate, channel):
    """Whether all entries of wav.scp lie in archives, whose first ones are what is wanted."""
    if data.segments is not None or channel:
        return False
    looked_at = set()
    for utt, entry in data.wav_scp.items():
        place = split_entry(entry)
        if place is None:
            return False
        if place[0] not in looked_at:
            looked_at.add(place[0])
            try:
                with file_source(place[0]) as archive:
                    if _trouble(recording_at(archive, place[1]), rate):
                        return False
            except Fail as error:
                raise Fail(f"{data / 'wav.scp'}: '{utt}': {error}") from None
    return True


def _samples_in(source, rate):
    """The number of samples of a recording, which must be as they are wanted."""
    if trouble := _trouble(source, rate):
        raise Fail(f"{source.name}: {trouble}; pack the recordings with steps/pack_wavs.py")
    with open_audio(source) as audio:
        return audio.frames


def _trouble(source, rate):
    """What is not as it is wanted in a recording, None where all is."""
    riff = source.riff
    if riff is None or not riff.is_pcm_16 or riff.byte_order != "<":
        return "not 16-bit WAV"
    if riff.channels != 1:
        return f"{riff.channels} channels, one expected"
    return None if riff.rate == rate else f"{riff.rate} Hz, {rate:g} Hz expected"


def _samples_of(home, rate):
    """The number of samples of each utterance by utt2dur, (N,) int64; None where it is not there or not exact enough."""
    if not home.has("utt2dur"):
        return None
    texts = list(home.per_utt("utt2dur").values())
    if any(len(text.partition(".")[2]) < _DECIMALS for text in texts):
        return None
    try:
        samples = np.array(list(map(float, texts))) * rate
    except ValueError:
        return None
    exact = np.rint(samples)
    return exact.astype(np.int64) if (np.abs(samples - exact) < 0.1).all() else None
