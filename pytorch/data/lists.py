"""Other people's lists of recordings: paths, `path label window`, CSV and JSON. Read to entries, written from data directories."""

import csv
import io
import json
import os
import re
from dataclasses import dataclass, field

from pytorch.data.entries import Entry
from pytorch.data.ids import stem_of
from pytorch.data.lines import read_lines, read_text
from pytorch.program import Fail

WINDOW_HOP_SEC = 0.5  # from one fixed window of a `path label window` list to the next
UNKNOWN = ("", "?")  # values that say nothing
TABLE = re.compile("(utt|spk)2[a-z][a-z0-9_]*")
OURS = {"utt2spk", "spk2utt", "utt2path", "utt2uniq", "utt2num_frames", "spk2name"}  # made here or by other tools, never by a list

# What columns (keys) of CSV and JSON lists are called, by what they hold
COLUMNS = {
    "path": ("file_name", "filename", "audio_filepath", "wav", "path", "file"),
    "id": ("id", "key", "utt"),
    "spk": ("spk", "spk_id", "speaker", "speaker_id"),
    "label": ("label",),
    "start": ("start", "offset"),
    "end": ("end", "stop"),
    "duration": ("duration", "dur", "length"),
}


@dataclass
class Conventions:
    """How a list is to be understood.

    root: goes before relative paths; extension: of paths that have none
    label_as: what labels are: "spk" for speakers, else X for the table utt2X; None where the list has none
    spk_folder: which folder of a path is its speaker, 1 for the first, -1 for the last; 0 for none
    columns: {what: column}, where the names of COLUMNS do not do; set_column: the column that tells the data directory
    times_hz: in which unit start and end are, 1 for seconds, else samples at this rate; None for seconds that are seen to be such
    window_sec: length of the fixed windows of `path label window`; window_as: what they become, pieces ("segments") or numbers ("utt2window")
    """

    root: str = "."
    extension: str = ".wav"
    label_as: str | None = None
    spk_folder: int = 0
    columns: dict = field(default_factory=dict)
    set_column: str | None = None
    times_hz: float | None = None
    window_sec: float = 3.5
    window_as: str = "segments"
    unused: set = field(default_factory=set)  # columns of the list that were not read

    def __post_init__(self):
        self.root = os.path.abspath(self.root)

    def locate(self, text, place):
        """The path of a list -> (its name there, the absolute path)."""
        text = text.strip()
        if match := re.fullmatch(r"(?:\$(data_)?(root|folder)|\{(data_)?(root|folder)\})/+(.+)", text):  # SpeechBrain's {data_root}/x.wav
            text = match[5]
        if text.endswith("|"):
            raise Fail(f"{place}: '{text[:80]}' is a command, not a path; write a wav.scp for it by hand")
        if not stem_of(text) or re.search("[\x00-\x1f\x7f\ud800-\udfff]", text):
            raise Fail(f"{place}: {text[:80]!r} is no path")
        if text.startswith("/") and (whole := os.path.normpath(text)).startswith(self.root.rstrip("/") + "/"):
            text = whole[len(self.root.rstrip("/")) + 1 :]
        name = "/".join(part for part in text.split("/") if part not in ("", "."))
        name = "/" + name if text.startswith("/") else name
        bare = stem_of(name) == name
        return name, os.path.normpath(os.path.join(self.root, name)) + (self.extension if bare else "")

    def entry(self, place, path, **more):
        name, audio = self.locate(path, place)
        if more.get("spk") is None and self.spk_folder:
            more["spk"] = self._folder(name, place)
        return Entry(place, name, audio, **more)

    def labelled(self, label):
        """What an entry takes from a label."""
        label = known(label)
        return {"spk": label} if self.label_as == "spk" else {"tables": {f"utt2{self.label_as}": label}}

    def _folder(self, name, place):
        folders = name.strip("/").split("/")[:-1]
        wanted = self.spk_folder
        if not -len(folders) <= wanted <= len(folders):
            raise Fail(f"{place}: '{name}' has {len(folders)} folders, so no speaker by --spk-folder {wanted}")
        return folders[wanted - 1 if wanted > 0 else wanted]


def known(value):
    """A value of a list without its blanks; None where it says nothing."""
    value = value.strip()
    return None if value in UNKNOWN else value


def read_files(path, rules):
    """A path a line, with or without extension."""
    return [rules.entry(f"{path}:{number}", line) for number, line in read_lines(path)]


def read_labels(path, rules):
    """Lines of `path label window`: -1 for the whole recording, k for the k-th window of rules.window_sec, each WINDOW_HOP_SEC later.

    Windows as utt2window stay numbers: each line is an utterance of the whole recording, whose crops --sampler windows of steps/train.py takes there.
    """
    entries = []
    for number, line in read_lines(path):
        place, words = f"{path}:{number}", line.rsplit(None, 2)
        if len(words) != 3 or not re.fullmatch(r"-1|\d{1,9}", words[2]):
            raise Fail(f"{place}: `path label window` expected, with -1 or the number of a window, not '{line[:80]}'")
        more = rules.labelled(words[1])
        if rules.window_as == "utt2window":
            window = int(words[2])
            more |= {"tables": {**more.get("tables", {}), "utt2window": str(window)}, "window": None if window < 0 else window}
        elif words[2] != "-1":
            start = int(words[2]) * WINDOW_HOP_SEC
            more |= {"start": start, "end": start + rules.window_sec}
        entries.append(rules.entry(place, words[0], **more))
    return entries


def read_csv(path, rules):
    """CSV with a header; commas, semicolons or tabs, whichever the header has most of."""
    text = read_text(path)
    header_line = text.lstrip().split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header_line.count), strict=True)
    header, entries, columns = None, [], None
    try:
        for row in reader:
            place = f"{path}:{reader.line_num}"
            if not any(cell.strip() for cell in row):
                continue
            if header is None:
                header = [cell.strip() for cell in row]
                if len(set(header)) < len(header):
                    raise Fail(f"{place}: two columns have one name: {', '.join(header)[:80]}")
                columns = _columns(header, rules, place)
                continue
            if len(row) != len(header):
                raise Fail(f"{place}: {len(row)} columns, {len(header)} in the header")
            entries.append(_entry_of_row(dict(zip(header, row, strict=True)), columns, rules, place))
    except csv.Error as error:
        raise Fail(f"{path}:{reader.line_num}: not CSV ({error})") from None
    if not entries:
        raise Fail(f"{path}: no entry in it, only a header")
    return entries


def read_json(path, rules):
    """JSON lines, or one object of objects by their id, or one array of objects."""
    found, entries = {}, []
    for place, row in _json_rows(path):
        if not isinstance(row, dict):
            raise Fail(f'{place}: an object expected, as in {{"audio_filepath": …}}')
        names = tuple(row)
        columns = found.get(names)
        if columns is None:
            columns = found[names] = _columns(names, rules, place)
        needed = {*columns.values()}
        entries.append(_entry_of_row({name: _scalar(row[name], name, place) for name in names if name in needed}, columns, rules, place))
    if not entries:
        raise Fail(f"{path}: no entry in it")
    return entries


def _json_rows(path):
    def unique(pairs):
        row = dict(pairs)
        if len(row) < len(pairs):
            names = [name for name, _ in pairs]
            raise Fail(f"{path}: {max(names, key=names.count)!r} stands twice in one object; keep one")
        return row

    text = read_text(path, cut_is_seen=True)
    try:
        whole = json.loads(text, object_pairs_hook=unique)
    except ValueError:
        whole = None
    if isinstance(whole, list):
        return [(f"{path}: entry {number}", row) for number, row in enumerate(whole, 1)]
    if isinstance(whole, dict) and whole and all(isinstance(row, dict) for row in whole.values()):
        return [(f"{path}: entry {key!r}", {"id": key, **row}) for key, row in whole.items()]
    return [(f"{path}:{number}", _json_line(line, f"{path}:{number}")) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _json_line(line, place):
    try:
        return json.loads(line)
    except ValueError as error:
        raise Fail(f"{place}: not JSON ({error}): '{line[:60]}'") from None


def _scalar(value, name, place):
    if value is None:
        return ""
    if isinstance(value, dict | list):
        raise Fail(f"{place}: '{name}' is no single value")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _columns(names, rules, place):
    """Which column holds what -> {what: column}, tables by their name."""
    lower = {name.lower(): name for name in names}
    columns = {}
    for what, candidates in COLUMNS.items():
        here = [lower[name] for name in candidates if name in lower]
        if what in rules.columns:
            continue
        if len(here) > 1:
            raise Fail(f"{place}: '{here[0]}' and '{here[1]}' could both be the {what}; say which with --columns {what}=…")
        if here:
            columns[what] = here[0]
    columns |= {name: name for name in names if TABLE.fullmatch(name) and name not in OURS}
    asked = rules.columns | ({"set": rules.set_column} if rules.set_column else {})
    for what, name in asked.items():
        if name not in names:
            raise Fail(f"{place}: no column '{name}' for the {what}; there are: {', '.join(names)[:200]}")
    columns = {what: name for what, name in columns.items() if name not in asked.values()} | asked
    if "path" not in columns:
        raise Fail(f"{place}: no column {' or '.join(COLUMNS['path'])}; name the one of the paths with --columns path=…")
    if "label" in columns and not rules.label_as:
        raise Fail(f"{place}: there are labels ('{columns['label']}'); say what they are with --label-as spk, label, age, …")
    if "label" in columns and rules.label_as == "spk" and "spk" in columns:
        raise Fail(f"{place}: both '{columns['label']}' and '{columns['spk']}' would be the speaker; take another --label-as")
    rules.unused |= set(names) - set(columns.values())
    return columns


def _entry_of_row(row, columns, rules, place):
    def value(what):
        return known(row[columns[what]]) if what in columns else None

    if value("path") is None:
        raise Fail(f"{place}: no path in column '{columns['path']}'")
    more = {"spk": value("spk"), "key": value("id"), "tables": {name: value(name) for name in columns if TABLE.fullmatch(name)}}
    if "label" in columns:
        made = rules.labelled(row[columns["label"]])
        more |= {"tables": more["tables"] | made["tables"]} if "tables" in made else made
    if "set" in columns:
        more["set"] = value("set")
    start, end = _times(value, rules, place)
    return rules.entry(place, value("path"), start=start, end=end, **more)


def _times(value, rules, place):
    """Start and end in seconds, None where the entry is a whole recording."""
    if value("start") is None:
        if value("end") is not None:
            raise Fail(f"{place}: an end without a start")
        return None, None
    start = _number(value("start"), place)
    if value("end") is None and value("duration") is None:
        raise Fail(f"{place}: a start without an end or a duration")
    hz = rules.times_hz or 1
    end = _number(value("end"), place) if value("end") is not None else start + _number(value("duration"), place) * hz
    if rules.times_hz is None and end - start >= 1000 and f"{value('start')}{value('end')}".isdecimal():
        raise Fail(f"{place}: from {value('start')} to {value('end')}: if these are samples, say at which rate with --times-hz; --times-hz 1 if seconds")
    if not 0 <= start <= end:
        raise Fail(f"{place}: from {start / hz:g} to {end / hz:g} s; 0 <= start < end is needed")
    return start / hz, end / hz


def _number(text, place):
    try:
        number = float(text)
    except ValueError:
        raise Fail(f"{place}: a time expected, not '{text[:40]}'") from None
    if not abs(number) < float("inf"):
        raise Fail(f"{place}: a time expected, not '{text[:40]}'")
    return number
