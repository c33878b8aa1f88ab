"""What may stand in the tables of a data directory, besides their keys."""

import os
import re

from pytorch.data.ark_entry import split_entry
from pytorch.data.source import split_entry as split_recording
from pytorch.program import Fail

_RANGE = re.compile(r"\[[\d:,]*\]$")
_NO_PATH = {"~": "~ is not understood here; write the whole path", "|": "a command that is written to; one that is read from ends in |"}


def value_rule(name):
    """-> (accept, expected) for the table `name`: a function of the rest of a line, and what it accepts, in words; (None, "") where anything goes."""
    return _RULES.get(name, (None, ""))


def check_values(path, table):
    """Fail where a value of {key: rest of the line}, in the order of the file, is not one its table may have."""
    accept, expected = value_rule(path.name)
    if accept is None:
        return
    for number, (key, value) in enumerate(table.items(), 1):
        if not accept(value):
            raise Fail(f"{path}:{number}: '{key}': {expected} expected, not '{value[:40]}'")


def check_text(path, table, non_print=False):
    """Fail on transcriptions Kaldi would stumble over: characters that cannot be printed (unless `non_print`), its own symbols as words."""
    for number, (utt, words) in enumerate(table.items(), 1):
        if not non_print and not words.replace("\t", " ").isprintable():
            odd = next(char for char in words if not char.isprintable() and char != "\t")
            raise Fail(f"{path}:{number}: '{utt}': the character U+{ord(odd):04X} cannot be printed; remove it, or pass --non-print true")
        if odd := {"<s>", "</s>", "#0"}.intersection(words.split()):
            raise Fail(f"{path}:{number}: '{utt}': the word {min(odd)} is Kaldi's own; remove it")


class Entries:
    """Checks that the entries of scp files can be read, and, where `look` is true, that what they name is there."""

    def __init__(self, look=True):
        self._look = look
        self._sizes = {}  # of archives that are there

    def check(self, path, table):
        """Fail at the first entry of {key: entry} that names nothing, or a file that is missing or ends before the offset."""
        find = self._trouble_of_recording if path.name == "wav.scp" else self._trouble_of_object
        for number, (key, entry) in enumerate(table.items(), 1):
            archive, _, offset = entry.rpartition(":")
            if archive in self._sizes and offset.isdecimal() and int(offset) < self._sizes[archive]:
                continue  # as nearly all of a large archive
            if trouble := find(entry):
                raise Fail(f"{path}:{number}: '{key}': {trouble}")

    def _trouble_of_recording(self, entry):
        if entry[0] in _NO_PATH:
            return f"{entry[:200]}: {_NO_PATH[entry[0]]}"
        if is_command(entry):
            return None  # what it would do is looked at when it is run
        place = split_recording(entry)
        if place is None:
            return f"{entry[:200]}: no such file" if self._look and not os.path.isfile(entry) else None
        return self._trouble_of_place(entry, *place)

    def _trouble_of_object(self, entry):
        if entry[0] in _NO_PATH:
            return f"{entry[:200]}: {_NO_PATH[entry[0]]}"
        try:
            archive, offset, _ = split_entry(entry)
        except Fail as error:
            return str(error)
        return self._trouble_of_place(entry, archive, offset)

    def _trouble_of_place(self, entry, archive, offset):
        if archive not in self._sizes:
            if self._look and not os.path.isfile(archive):
                return f"{entry[:200]}: no such file"
            self._sizes[archive] = os.path.getsize(archive) if self._look else float("inf")
        size = self._sizes[archive]
        return None if offset < size else f"{entry[:200]}: the archive ends before, at {size} bytes; make it anew"


def is_command(entry):
    """Whether the entry of an scp file is a command, `sox … |`."""
    return entry.endswith("|")


def file_of(entry):
    """The file that the entry of an scp file names, itself no command: of `path.ark:12[0:9]`, path.ark."""
    entry = _RANGE.sub("", entry)
    place = split_recording(entry)
    return place[0] if place else entry


def speaker_disorder(utt2spk):
    """(number of the line, speaker of the line before, its speaker) where utt2spk, sorted by utterance, is not sorted by speaker; None where it is."""
    before = ""
    for number, speaker in enumerate(utt2spk.values(), 1):
        if speaker < before:
            return number, before, speaker
        before = speaker
    return None


def number_of(text):
    """A decimal number, or None; what Python reads besides (1_000, nan, inf) is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") and "_" not in text else None


def _number(accept):
    def rule(text):
        value = number_of(text)
        return value is not None and accept(value)

    return rule


def _file_and_channel(text):
    words = text.split()
    return len(words) == 2 and words[1] in ("A", "B", "1")


def _segment(text):
    words = text.split()
    start, end = (number_of(word) for word in words[1:]) if len(words) == 3 else (None, None)
    return start is not None and end is not None and 0 <= start < end


_SECONDS = (_number(lambda value: value > 0), "seconds above 0")
_AGE = (_number(lambda value: value >= 0), "a number, 0 or more,")
_WARP = (_number(lambda value: 0.5 < value < 1.5), "a factor between 0.5 and 1.5")
_WORD = (lambda text: len(text.split()) == 1, "one word")
_RULES = {
    "segments": (_segment, "`recording start end` with times in seconds, 0 <= start < end,"),
    "utt2dur": _SECONDS,
    "reco2dur": _SECONDS,
    "utt2num_frames": (lambda text: text.isascii() and text.isdecimal() and int(text) > 0, "a whole number above 0"),
    "spk2gender": (lambda text: text in ("m", "f"), "m or f"),
    "utt2age": _AGE,
    "spk2age": _AGE,
    "utt2warp": _WARP,
    "spk2warp": _WARP,
    "utt2lang": _WORD,
    "utt2uniq": _WORD,
    "utt2label": _WORD,
    "utt2session": _WORD,
    "reco2file_and_channel": (_file_and_channel, "a file and A or B"),
}
