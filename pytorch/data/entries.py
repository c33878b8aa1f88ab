"""From the entries of somebody else's list to data directories: ids, tables, what is left out, writing."""

import argparse
import os
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

from pytorch.data.data_dir import write_data_dir
from pytorch.data.ids import is_id, spk_id, utt_id
from pytorch.data.rules import value_rule
from pytorch.data.trials import write_trials
from pytorch.files import read_json, whole_file
from pytorch.program import Fail


@dataclass(slots=True)
class Entry:
    """One utterance of a list. Names and values are as in the list; None where it does not say, `?` included."""

    place: str  # file and line, for messages
    name: str  # what the list calls the recording; the id is made of it
    audio: str  # absolute path
    spk: str | None = None
    key: str | None = None  # an id that the list gives
    start: float | None = None  # seconds; None for the whole recording
    end: float | None = None
    window: int | None = None  # of a recording that can be several utterances, by the number of a fixed window of it
    tables: dict = field(default_factory=dict)  # {utt2X or spk2X: value}
    set: str | None = None  # the data directory it belongs to


class Drops:
    """What an import may leave out, and what it has left out: `missing` recordings, `unknown` speakers or labels where others have one,
    what stands in the list `double`, `empty` segments."""

    def __init__(self, allowed=()):
        self.allowed, self.lines = set(allowed), []

    def leave_out(self, kind, bad, remedy):
        """bad: [(place, what is wrong), …]. Fails with the first unless this kind may be left out."""
        if bad and kind not in self.allowed:
            place, what = bad[0]
            raise Fail(f"{place}: {what}{f' (and {len(bad) - 1} more)' if len(bad) > 1 else ''}; {remedy}, or pass --drop {kind}")
        self.lines += [f"{kind} {place}: {what}" for place, what in bad]

    def write(self, path):
        with whole_file(path) as file:
            file.writelines(f"{line}\n" for line in self.lines)

    def summary(self):
        """In words, e.g. `3 missing, 1 double`."""
        return ", ".join(f"{number} {kind}" for kind, number in Counter(line.partition(" ")[0] for line in self.lines).items())


def add_drop_option(parser, *kinds):
    parser.add_argument("--drop", type=_kinds_of(kinds), default="", help=f"what may be left out, with commas between: {', '.join(kinds)}")


def _kinds_of(kinds):
    def parse(text):
        words = [word for word in text.split(",") if word]
        if unknown := [word for word in words if word not in kinds]:
            raise argparse.ArgumentTypeError(f"{', '.join(kinds)} can be left out, not '{unknown[0]}'")
        return sorted(set(words))

    return parse


def without_missing(entries, drops, remedy="say where the recordings are (--root, --ext)"):
    """The entries whose recordings are there."""
    there = {}
    for entry in entries:
        if entry.audio not in there:
            there[entry.audio] = os.path.isfile(entry.audio)
    bad = [(entry.place, f"{entry.audio}: no such file") for entry in entries if not there[entry.audio]]
    drops.leave_out("missing", bad, remedy)
    return [entry for entry in entries if there[entry.audio]] if bad else entries


def without_empty(entries, drops):
    """The entries that last: ids tell segments apart by their milliseconds, so that is the least."""
    empty = [entry for entry in entries if entry.start is not None and round(entry.end * 1000) <= round(entry.start * 1000)]
    bad = [(entry.place, f"'{entry.name}' from {seconds(entry.start)} to {seconds(entry.end)} s is empty") for entry in empty]
    drops.leave_out("empty", bad, "remove it")
    left_out = set(map(id, empty))
    return [entry for entry in entries if id(entry) not in left_out] if empty else entries


def without_doubles(entries, drops):
    """Each recording, or piece of one, once. Fails where one stands twice with two speakers, labels or sets."""
    seen, bad = {}, []
    for entry in entries:
        whole = entry.start is None  # else two speakers may talk at a time
        first = seen.setdefault((entry.audio, entry.start, entry.end, entry.window, None if whole else entry.spk), entry)
        if first is entry:
            continue
        if (first.spk, first.tables, first.set, first.key) != (entry.spk, entry.tables, entry.set, entry.key):
            raise Fail(f"{entry.place}: '{entry.name}' stands in {line_of(first)} too, and there otherwise; keep one of them")
        bad.append((entry.place, f"'{entry.name}' stands in {line_of(first)} too"))
    drops.leave_out("double", bad, "keep one of them")
    return list(seen.values()) if bad else entries


def line_of(entry):
    """The place of an entry without its file: `line 3`."""
    tail = entry.place.rpartition(":")[2].strip()
    return f"line {tail}" if tail.isdecimal() else tail


def build(entries, drops, naming="path"):
    """The tables of a data directory, {name: {key: value}}, and remarks for the user.

    naming: "path" or "uri", what the list's names are; they are kept in utt2path, reco2path (with segments) or reco2uri
    Ids: those that the list gives, where all of them can be ids as they stand; else made of the names, see pytorch/data/ids.py. An
    utterance without a speaker is its own. With segments, `-<start>-<end>` in milliseconds is added; to a fixed window of a whole recording, `-w<number>`.
    """
    entries, known, remarks = _without_unknown(entries, drops)
    segmented = any(entry.start is not None for entry in entries)
    if segmented and (whole := next((entry for entry in entries if entry.start is None), None)):
        remedy = "give all, or none, or split the list in two, whole recordings (window -1) and pieces, and import each by itself"
        raise Fail(f"{whole.place}: '{whole.name}' has no start and end, though others have; {remedy}")
    kept = _ids_fit(entries)
    utts = _utts(entries, kept, segmented)
    utt2spk = {utt: utt if entry.spk is None else entry.spk if kept else spk_id(entry.spk) for utt, entry in utts.items()}
    assert all(utt2spk[one] <= utt2spk[other] for one, other in pairwise(sorted(utt2spk)))
    tables = {"utt2spk": utt2spk}
    recordings = utts
    if segmented:
        recordings = _recordings(entries)
        tables["segments"] = {utt: [utt_id(entry.name), seconds(entry.start), seconds(entry.end)] for utt, entry in utts.items()}
    tables["wav.scp"] = {rec: entry.audio for rec, entry in recordings.items()}
    tables["reco2uri" if naming == "uri" else "reco2path" if segmented else "utt2path"] = {rec: entry.name for rec, entry in recordings.items()}
    if any(entry.spk not in (None, utt2spk[utt]) for utt, entry in utts.items()):
        tables["spk2name"] = {utt2spk[utt]: entry.spk for utt, entry in utts.items()}
    for name in known:
        _check_values(name, entries)
        tables[name] = _per_spk(name, utts, utt2spk) if name.startswith("spk2") else {utt: entry.tables[name] for utt, entry in utts.items()}
    return tables, remarks


def summary_of(tables):
    """The tables of a data directory in words."""
    speakers = len(set(tables["utt2spk"].values()))
    pieces = f" in {len(tables['wav.scp'])} recordings" if "segments" in tables else ""
    return f"{len(tables['utt2spk'])} utterances of {speakers} speakers{pieces}; {', '.join(sorted(tables))}"


def seconds(value):
    """A time with up to six decimals, as in 3.5 and 12.0."""
    text = f"{value:.6f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def _without_unknown(entries, drops):
    """-> (entries in which all that is known of some is known of all, names of tables that are known, remarks)"""
    known, remarks = [], []
    for name in (None, *sorted({name for entry in entries for name in entry.tables})):
        lacking = [entry for entry in entries if (entry.spk if name is None else entry.tables.get(name)) is None]
        if len(lacking) == len(entries):
            remarks += [f"{name} is unknown for all, not written"] if name else ["speakers are unknown, each utterance is its own"]
            continue
        what = name or "speaker"
        drops.leave_out("unknown", [(entry.place, f"'{entry.name}' has no {what}, though others have") for entry in lacking], "complete the list")
        if lacking:
            entries = [entry for entry in entries if (entry.spk if name is None else entry.tables.get(name)) is not None]
        known += [name] if name else []
    return entries, known, remarks


def _ids_fit(entries):
    """True where all ids of the list, and its speakers, can be ids here as they stand."""
    if any(entry.key is None or not is_id(entry.key) or not (entry.spk is None or is_id(entry.spk)) for entry in entries):
        return False
    pairs = sorted((entry.key, entry.key if entry.spk is None else entry.spk) for entry in entries)
    prefixed = all(utt == spk or utt.startswith(f"{spk}-") for utt, spk in pairs)
    return prefixed and all(one[0] != other[0] and one[1] <= other[1] for one, other in pairwise(pairs))


def _utts(entries, kept, segmented):
    """-> {utterance: entry}"""
    utts = {}
    for entry in entries:
        utt = entry.key if kept else utt_id(entry.key or entry.name, entry.spk)
        if segmented and entry.key is None:
            utt += f"-{round(entry.start * 1000):08d}-{round(entry.end * 1000):08d}"
        if entry.window is not None:
            utt += f"-w{entry.window:05d}"
        _claim(utts, utt, entry)
    return utts


def _recordings(entries):
    """-> {recording: entry}"""
    recordings = {}
    for entry in entries:
        rec = utt_id(entry.name)
        if rec not in recordings or recordings[rec].audio != entry.audio:
            _claim(recordings, rec, entry)
    return recordings


def _claim(table, key, entry):
    if key in table:
        other = table[key]
        raise Fail(f"{entry.place}: '{entry.key or entry.name}' and '{other.key or other.name}' ({line_of(other)}) would both be '{key}'; keep one of them")
    table[key] = entry


def _check_values(name, entries):
    accept, expected = value_rule(name)
    if accept and (odd := next((entry for entry in entries if not accept(entry.tables[name])), None)):
        raise Fail(f"{odd.place}: {name} of '{odd.name}': {expected} expected, not '{odd.tables[name][:40]}'")


def _per_spk(name, utts, utt2spk):
    table, first = {}, {}
    for utt, entry in utts.items():
        spk, value = utt2spk[utt], entry.tables[name]
        if table.setdefault(spk, value) != value:
            raise Fail(f"{entry.place}: {name} of speaker '{entry.spk}' is '{value}' here and '{table[spk]}' in {line_of(first[spk])}; correct one")
        first.setdefault(spk, entry)
    return table


def write_directories(directories, marker, drops, dropped, overwrite, trials=None):
    """Write data directories and finish the step.

    directories: {folder: {table: {key: value}}}; trials: {folder: [(enrol, test, label), …]}
    dropped: where the list of what was left out goes, if anything was
    What an earlier run of the step has made is removed first: no table of it stays beside the new ones.
    """
    outputs = [folder / name for folder, tables in directories.items() for name in (*tables, "spk2utt")]
    outputs += [folder / "trials" for folder in trials or ()]
    marker.claim(outputs + [dropped], overwrite)
    for path in _made_before(marker):
        path.unlink(missing_ok=True)
    marker.begin()
    for folder, tables in directories.items():
        rest = {name: table for name, table in tables.items() if name not in ("wav.scp", "utt2spk")}
        write_data_dir(folder, tables["wav.scp"], tables["utt2spk"], **rest)
    for folder, pairs in (trials or {}).items():
        write_trials(folder / "trials", pairs)
    if drops.lines:
        drops.write(dropped)
        outputs.append(dropped)
    marker.finish(outputs)


def _made_before(marker):
    try:
        found = read_json(marker.path)
    except Fail:
        return []
    names = found.get("outputs") if isinstance(found, dict) else None
    return [marker.path.parent.parent / name for name in names or ()]
