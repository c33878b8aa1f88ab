"""The trials a system errs on most, and where their recordings lie."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pytorch.report.sources import find_data


@dataclass
class Side:
    """One side of a trial; what: the speaker and the sex, as far as known; href: of the recording, None where it is not a file by itself"""

    name: str
    what: str = ""
    href: str | None = None


def worst_trials(systems, scored, named, number, folder):
    """-> [(system, {kind: [(score, Side, Side), …]}), …] of own systems whose scores are there: targets with the lowest scores, others with the highest.

    named: DataDirs the user named; number: of trials of a kind; folder: where the page will lie
    """
    import numpy as np

    found, known = [], {}
    for system, trials in zip(systems, scored, strict=True):
        if trials is None or not system.is_own or not number:
            continue
        voices = []
        for data in find_data(system.json, system.facts, named):
            place = data.path.resolve()
            if place not in known:
                known[place] = Voices(data, folder)
            voices.append(known[place])
        kinds = {}
        for name, kind, sign in (("targets", True, 1), ("non-targets", False, -1)):
            places = np.flatnonzero(trials.labels == kind)
            places = places[np.argsort(sign * trials.scores[places], kind="stable")[:number]]
            kinds[name] = [(float(trials.scores[place]), *(_side(utt, voices) for utt in trials.pairs[place])) for place in places]
        found.append((system, kinds))
    return found


def _side(name, voices):
    return next((side for voice in voices if (side := voice.side(name))), Side(name))


class Voices:
    """What a data directory says of ids of trials: utterances, or speakers."""

    def __init__(self, data, folder):
        self.data, self.folder = data, folder.resolve()
        self.sexes = data.per_spk("spk2gender") if data.has("spk2gender") else {}
        self.sounds = data.wav_scp if data.has("wav.scp") else {}

    def side(self, name):
        """-> Side; None where the directory does not know the id"""
        speaker = self.data.utt2spk.get(name)
        if speaker is None and name not in self.data.spk2utt:
            return None
        sex = self.sexes.get(speaker or name)
        return Side(name, " ".join(filter(None, (speaker, f"({sex})" if sex else ""))), self._href(name) if speaker else None)

    def _href(self, utt):
        rec, span = utt, ""
        if self.data.segments:
            rec, start, end = self.data.segments[utt]
            span = f"#t={start:g},{end:g}"  # browsers play that part
        path = Path(self.sounds.get(rec, ""))
        return f"{address(path, self.folder)}{span}" if path.is_file() else None


def address(path, folder):
    """The address of a file as a page in `folder` names it: relative where both lie in one tree, so that the tree can be moved."""
    path = Path(os.path.abspath(path))
    if os.path.commonpath([path, folder]) == os.sep:
        return path.as_uri()
    return quote(os.path.relpath(path, folder), safe="/")
