"""Embeddings of sliding windows: which windows a recording has, their vectors, crops of them. Needs numpy alone."""

import json
import math
from pathlib import Path, PurePosixPath

import numpy as np

from pytorch.files import read_json, write_json
from pytorch.program import Fail

CLOSE = 1e-6  # of a step: places that fall on a window but for rounding fall on it
MOST_NAMED = 5  # recordings, where one is not there
LEAST_SEC = 0.001  # between windows: their names tell them apart by milliseconds


def window_starts(total, window, step, least):
    """Where the windows of a recording of `total` units begin: every `step` as long as they fit; where `least` units or more are left, one more that
    ends with the recording, as long as the others; a shorter recording is one window by itself. -> list of int, never empty"""
    starts = list(range(0, max(0, total - window) + 1, step))
    left = total - window - starts[-1]
    return [*starts, total - window] if left >= least else starts


class Windows:
    """The vectors of a recording's windows, window i being [start + i * step, start + i * step + duration], in seconds.

    vectors: (N, dim) array. The last window of a recording that the step does not end at stands at this place too, up to a step later than it is.
    len(), shape and iteration, over ((from, to), vector), are as those of a list of windows; windows.crop() takes those of a part of the recording.
    """

    def __init__(self, vectors, duration, step, start=0.0):
        self.vectors = np.asarray(vectors)
        if self.vectors.ndim != 2 or not (duration > 0 and step > 0):
            raise Fail(f"windows of {duration} s every {step} s with vectors of the shape {self.vectors.shape}: (windows, dim) and times above 0 expected")
        self.duration, self.step, self.start = duration, step, start

    @classmethod
    def load(cls, folder, recording):
        """recording: its id; folder: npy/ of steps/extract_windows.py. The vectors are mapped into memory, not read."""
        facts = read_metadata(folder)
        path, known = matrix_path(folder, recording), facts.get("recordings", {})
        if known and recording not in known:
            there = ", ".join(list(known)[:MOST_NAMED]) + (f", … ({len(known)})" if len(known) > MOST_NAMED else "")
            raise Fail(f"{folder}: has no windows of '{recording}', only of {there}; extract them with steps/extract_windows.py")
        try:
            vectors = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise Fail(f"{path}: no such file; extract the windows of '{recording}' with steps/extract_windows.py") from None
        except (OSError, ValueError, EOFError) as error:
            raise Fail(f"{path}: damaged ({error}); extract the windows anew") from None
        if vectors.ndim != 2 or vectors.shape != (known.get(recording, len(vectors)), facts["dimension"]):
            raise Fail(f"{path}: the shape {vectors.shape} is not the one that metadata.json tells; extract the windows anew")
        return cls(vectors, facts["duration"], facts["step"], facts["start"])

    def __len__(self):
        return len(self.vectors)

    @property
    def shape(self):
        return self.vectors.shape

    def __getitem__(self, index):
        """-> (from, to) of window `index` in seconds; a window needs not to be there to have a place"""
        first = self.start + index * self.step
        return first, first + self.duration

    def __iter__(self):
        for index, vector in enumerate(self.vectors):
            yield self[index], vector

    def crop(self, start, end, mode="loose", fixed=None):
        """The vectors of a part of the recording, from `start` to `end` in seconds -> (windows, dim)

        mode: loose: windows that overlap it, or touch it; strict: windows inside it; center: from the window whose middle is nearest to `start` to the
        one whose middle is nearest to `end`
        fixed: None: windows that are not there are left out, so it may be (0, dim); else the length in seconds that decides how many windows come,
        whatever `end`: the first and the last vector are repeated for those beyond the edges
        """
        if mode not in ("loose", "strict", "center"):
            raise Fail(f"mode {mode!r}: loose, strict, center expected")
        if not (math.isfinite(start) and math.isfinite(end) and start <= end and (fixed is None or 0 < fixed < math.inf)):
            raise Fail(f"from {start} to {end} s, fixed {fixed}: start <= end, and a length above 0 expected")
        first, last = self._range(start, end, mode)
        if fixed is not None:
            last = first + self._number(fixed, mode) - 1
        places = np.arange(first, last + 1)
        if fixed is None or not len(self):
            return self.vectors[places[(places >= 0) & (places < len(self))]]
        return self.vectors[np.clip(places, 0, len(self) - 1)]

    def _range(self, start, end, mode):
        """-> the numbers of the first and of the last window"""
        if mode == "center":
            return tuple(round(_rounded((time - self.start - self.duration / 2) / self.step)) for time in (start, end))
        earlier, later = (self.duration, 0) if mode == "loose" else (0, self.duration)
        return math.ceil(_rounded((start - earlier - self.start) / self.step)), math.floor(_rounded((end - later - self.start) / self.step))

    def _number(self, fixed, mode):
        if mode == "center":
            return round(_rounded(fixed / self.step))
        if mode == "loose":
            return math.floor(_rounded((fixed + self.duration) / self.step))
        return max(0, math.floor(_rounded((fixed - self.duration) / self.step)) + 1)


def _rounded(number):
    whole = round(number)
    return whole if abs(number - whole) < CLOSE else number


class WindowSource:
    """The windows of the utterances of a source (Frames or Waves) as utterances of their own, for pytorch/extraction.py.

    window, step: in units of the source; places: [(utterance's number, first, length), …]; utts: `<utterance>-<from>-<to>`, in milliseconds
    """

    def __init__(self, source, window, step):
        self.source, self.utts, self.places = source, [], []
        self.row_shape, self.dtype, self.settings, self.dim, self.name = source.row_shape, source.dtype, source.settings, source.dim, source.name
        self.sec_per_unit = source.sec_per_unit
        if not source.row_shape:
            self.wanted = source.wanted
        least = math.ceil(LEAST_SEC / self.sec_per_unit)
        for number, (utt, total) in enumerate(zip(source.utts, source.lengths.tolist(), strict=True)):
            for first in window_starts(total, window, step, least):
                length = min(window, total)
                times = (round(1000 * place * self.sec_per_unit) for place in (first, first + length))
                self.utts.append("-".join([utt, *(f"{time:08d}" for time in times)]))
                self.places.append((number, first, length))
        self.lengths = np.array([length for *_, length in self.places])
        if len(set(self.utts)) < len(self.utts):
            raise Fail(f"{source.name}: the names of windows would not tell those of one utterance from another's; give the utterances other ids")

    def units(self, num_frames):
        return self.source.units(num_frames)

    def need_length(self, least):
        self.source.need_length(least)

    def whole(self, index):
        number, first, length = self.places[index]
        out = np.empty((length, *self.row_shape), dtype=self.dtype)
        self.source.crop(number, first, out)
        return out

    def seconds(self, index):
        """-> from, to, in the utterance"""
        _, first, length = self.places[index]
        return first * self.sec_per_unit, (first + length) * self.sec_per_unit


# ---- windows as files


def matrix_path(folder, recording):
    """Where the matrix of a recording lies. Fails for an id that would lead out of the folder."""
    parts = PurePosixPath(recording).parts
    if not parts or recording.startswith("/") or ".." in parts:
        raise Fail(f"'{recording}' cannot be the name of a file in {folder}; give the recording another id")
    return Path(folder) / f"{recording}.npy"


def write_metadata(folder, duration, step, dimension, **more):
    write_json(Path(folder) / "metadata.json", {"start": 0.0, "duration": duration, "step": step, "dimension": dimension, **more})


def read_metadata(folder):
    path = Path(folder) / "metadata.json"
    facts = read_json(path)
    names = ("start", "duration", "step", "dimension")
    if not isinstance(facts, dict) or not all(isinstance(facts.get(name), int | float) and math.isfinite(facts[name]) for name in names):
        raise Fail(f"{path}: {', '.join(names)} were expected, as numbers ({json.dumps(facts)[:80]}); extract the windows anew")
    return facts
