"""The recordings of a data directory: files, places in archives and commands of wav.scp, as a whole or in the pieces that segments names."""

import hashlib
import os
from contextlib import ExitStack, contextmanager

from pytorch.data.commands import files_of, output_of
from pytorch.data.source import CutOff, bytes_source, file_source, split_entry
from pytorch.program import Fail, boolean, count

OVERSHOOT_SEC = 0.5  # by which a segment may end behind its recording, as in Kaldi's extract-segments; it is cut there and counted


def add_audio_options(parser):
    parser.add_argument("--channel", type=count, help="channel to take, 0 is the first; without it recordings must have one")
    parser.add_argument("--resample", type=boolean, default=False, help="convert recordings of another rate; they are errors otherwise")
    add_allow_cmd_option(parser)


def add_allow_cmd_option(parser):
    parser.add_argument("--allow-cmd", action="append", metavar="NAME", help="a program that commands in wav.scp may run besides the listed ones; repeatable")


def audio_options_of(args):
    """What Recordings is given of a command line. allow_cmd cannot change a result."""
    return {"channel": args.channel, "resample": args.resample, "allow_cmd": tuple(args.allow_cmd or ())}


class Recordings:
    """The sound of the utterances of a DataDir.

    rate: the sample rate expected, Hz; None: recordings come at their own
    channel: which one to take, from 0; None: recordings must have one
    resample: convert recordings of another rate, which otherwise fail; allow_cmd: programs that commands may run besides the listed ones
    resampled: the recordings that were converted; shortened: {utt: seconds} that segments went beyond the end of their recordings; both of what was read here
    Fails name wav.scp or segments, the line and the id.
    """

    def __init__(self, data, rate, channel=None, resample=False, allow_cmd=()):
        self.data, self.rate, self.channel, self.resample, self.allow_cmd = data, rate, channel, resample, tuple(allow_cmd)
        self.segments, self.wav_scp = data.segments, data.wav_scp
        self.resampled, self.shortened = set(), {}
        self._headers, self._archives, self._durations = {}, {}, None
        self._last = None

    def __getstate__(self):  # worker processes open recordings themselves
        return {**self.__dict__, "_last": None}

    # ---- samples

    def read(self, utt):
        """-> (samples,) float32, -32768 to 32767, at the rate expected"""
        from pytorch.data.audio import at_rate, decode, in_16_bit_range

        if self.segments is None:
            with self.open(utt) as audio:
                self._check_rate(audio)
                own, samples = audio.rate, in_16_bit_range(decode(audio, self.channel), audio.name)
        else:
            own, samples = self._piece(utt)
        if self.rate is None or own == self.rate:
            return samples
        self.resampled.add(self.recording(utt))
        return at_rate(samples, own, self.rate)

    def samples(self, utt):
        """How many samples read() gives, by the header of the recording; one that does not tell (a command, AAC) is decoded."""
        from pytorch.data.audio import frames_at_rate

        rec = self.recording(utt)
        own, frames = self.header(rec)
        if self.segments is not None:
            first, last = self.span(utt, own, frames)
            frames = last - first
        return frames if self.rate is None else frames_at_rate(frames, own, self.rate)

    def seconds(self, rec):
        """The duration of a recording, by its header where that tells."""
        rate, frames = self.header(rec)
        return frames / rate

    def header(self, rec):
        """-> own rate in Hz, samples of each channel"""
        if rec not in self._headers:
            with self.open(rec) as audio:
                self._check_rate(audio)
                frames = sum(map(len, audio.blocks())) if audio.frames is None else audio.frames
                self._headers[rec] = audio.rate, frames
        return self._headers[rec]

    @contextmanager
    def open(self, rec):
        """A recording as open_audio() in audio.py has it. Fails of the block under `with` are this recording's and named so."""
        from pytorch.data.audio import open_audio

        with self._named(rec), ExitStack() as stack:
            yield stack.enter_context(open_audio(self._source(rec, stack)))

    # ---- what they are

    def recording(self, utt):
        """The id of the recording that an utterance is in."""
        return utt if self.segments is None else self.segments[utt][0]

    def place(self, utt):
        """Where an utterance stands, for messages."""
        if self.segments is None:
            return f"{_line(self.data / 'wav.scp', self.wav_scp, utt)}: {self.wav_scp[utt][:200]}"
        return _line(self.data / "segments", self.segments, utt)

    def size(self, utt):
        """How long an utterance is beside others of the directory, cheaply: in seconds if segments or utt2dur tell, else in bytes."""
        if self.segments is not None:
            return self.segments[utt][2] - self.segments[utt][1]
        if self._durations is None:
            self._durations = self.data.per_utt("utt2dur") if self.data.has("utt2dur") else {}
        if self._durations:
            return float(self._durations[utt])
        return max(1, sum(size for _, size in self._sizes(utt)))

    def source(self, utt):
        """A hash of what an utterance is made of: its entry, its times, the sizes of the files."""
        rec = self.recording(utt)
        times = "" if self.segments is None else self.segments[utt][1:]
        return hashlib.sha256(f"{self.wav_scp[rec]} {times} {self._sizes(rec)}".encode()).hexdigest()[:32]

    def fingerprint(self, utts):
        """One hash of all that is heard in the utterances, for done-markers."""
        return hashlib.sha256("".join(f"{utt} {self.source(utt)}\n" for utt in utts).encode()).hexdigest()

    # ---- how

    @contextmanager
    def _named(self, rec):
        try:
            yield
        except Fail as error:
            raise type(error)(f"{_line(self.data / 'wav.scp', self.wav_scp, rec)}: {error}") from None

    def _source(self, rec, stack):
        entry = self.wav_scp[rec]
        if entry.startswith("|"):
            raise Fail(f"{entry[:200]}: a command that is written to; one that is read from ends in |")
        if entry.endswith("|"):
            try:
                return bytes_source(entry[:200], output_of(entry, self.allow_cmd))
            except Fail as error:
                raise Fail(f"{entry[:200]}: {error}") from None
        if (place := split_entry(entry)) is None:
            return stack.enter_context(file_source(entry))
        from pytorch.data.wav_ark import recording_at

        return recording_at(stack.enter_context(file_source(place[0])), place[1])

    def _check_rate(self, audio):
        from pytorch.data.audio import check_rate

        if self.rate is not None:
            check_rate(audio, self.rate, self.resample)

    def _sizes(self, rec):
        """[(file, its size; -1: not there)] of the files an entry names."""
        entry = self.wav_scp[rec]
        if entry.endswith("|"):
            return [(word, size) for word in files_of(entry) if (size := _size(word)) >= 0]
        if (place := split_entry(entry)) is None:
            return [(entry, _size(entry))]
        if place[0] not in self._archives:
            self._archives[place[0]] = _size(place[0])
        return [(place[0], self._archives[place[0]])]

    # ---- segments

    def _piece(self, utt):
        """-> own rate, (samples,) float32 of an utterance of segments"""
        from pytorch.data.audio import in_16_bit_range

        rec = self.segments[utt][0]
        rate, frames, read, name = self._kept(rec)
        first, last = self.span(utt, rate, frames)
        with self._named(rec):
            samples = read(first, last - first)
            if len(samples) < last - first:
                raise CutOff(f"{name}: cut off, {first + len(samples)} of {frames} samples are there; copy or make it anew")
            return rate, in_16_bit_range(samples, name)

    def _kept(self, rec):
        """-> rate, samples, a function (start, num) -> samples, name. The last recording stays open, or decoded, for the next utterance in it."""
        from pytorch.data.audio import channel_of, decode

        wanted = rec, os.getpid()  # a forked process would share the place in an open file with others
        if self._last and self._last[0] == wanted:
            return self._last[1]
        if self._last:
            self._last[2].close()
            self._last = None
        with ExitStack() as stack:
            audio = stack.enter_context(self.open(rec))
            self._check_rate(audio)
            index = channel_of(audio, self.channel)
            if audio.seekable:
                kept = audio.rate, audio.frames, lambda start, num: audio.read(start, num)[:, index], audio.name
                self._last = wanted, kept, stack.pop_all()
            else:
                samples = decode(audio, self.channel)
                kept = audio.rate, len(samples), lambda start, num: samples[start : start + num], audio.name
                self._last = wanted, kept, ExitStack()
        return kept

    def span(self, utt, rate, frames):
        """The samples of an utterance, from and to: those before a time, as in Kaldi; a time meant to fall on a sample falls on it."""
        rec, start, end = self.segments[utt]
        first, last = (int(time * rate + 1e-4) for time in (start, end))
        if last > frames + int(OVERSHOOT_SEC * rate):
            raise Fail(f"{self.place(utt)}: ends at {end:g} s, but its recording '{rec}' at {frames / rate:.2f} s; mend its times or remove it")
        if first >= min(last, frames):
            raise Fail(f"{self.place(utt)}: from {start:g} to {end:g} s there is no sample of '{rec}', which ends at {frames / rate:.2f} s")
        if last > frames:
            self.shortened[utt] = (last - frames) / rate
        return first, min(last, frames)


def _line(path, table, key):
    number = next(number for number, other in enumerate(table, 1) if other == key)
    return f"{path}:{number}: '{key}'"


def _size(path):
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return -1
