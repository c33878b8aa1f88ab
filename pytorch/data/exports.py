"""Data directories as other people's lists."""

import csv
import io
import json
import os
from pathlib import Path

from pytorch.data.data_dir import REST
from pytorch.data.ids import stem_of
from pytorch.data.lists import OURS, TABLE, WINDOW_HOP_SEC
from pytorch.data.rttm import rttm_line, uem_line
from pytorch.data.spellings import audio_paths, speaker_names, utt_recordings
from pytorch.data.trials import utt_durations
from pytorch.files import whole_file
from pytorch.program import Fail


def files_list(data, names, label_as):
    """A recording a line. All here take {recording: name} and what labels are ("spk", or X for utt2X), and give {what is added to the list's name: text}."""
    return {"": "".join(f"{names[rec]}\n" for rec in data.recordings)}


def labels_list(data, names, label_as):
    """`path label window`. Labels that are not the numbers from 0 on are numbered, `.classes` tells how."""
    labels, windows = labels_of(data, label_as), _windows(data)
    numbers = _class_numbers(set(labels.values()))
    recordings = utt_recordings(data)
    lists = {"": "".join(f"{names[recordings[utt]]} {numbers[label]} {windows[utt]}\n" for utt, label in labels.items())}
    if any(label != str(number) for label, number in numbers.items()):
        lists[".classes"] = "".join(f"{label} {number}\n" for label, number in numbers.items())
    return lists


def csv_list(data, names, label_as):
    """Columns id, file_name, spk, start and end with segments, and every utt2X and spk2X of the data directory."""
    speakers = _known_speakers(data)
    tables = {path.name for path in data.path.iterdir() if TABLE.fullmatch(path.name)} - OURS
    columns = {name: data.per_spk(name, REST) if name.startswith("spk2") else data.per_utt(name, REST) for name in sorted(tables)}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "file_name", *(["spk"] if speakers else []), *(["start", "end"] if data.segments else []), *columns])
    for utt, rec in utt_recordings(data).items():
        spk = data.utt2spk[utt]
        times = data.segments[utt][1:] if data.segments else []
        values = [table[spk if name.startswith("spk2") else utt] for name, table in columns.items()]
        writer.writerow([utt, names[rec], *([speakers[spk]] if speakers else []), *times, *values])
    return {"": text.getvalue()}


def nemo_list(data, names, label_as):
    """JSON lines of audio_filepath, offset (with segments), duration and label."""
    labels, times = labels_of(data, label_as), _times(data)
    lines = []
    for utt, rec in utt_recordings(data).items():
        start, end = times[utt]
        offset = {"offset": start} if data.segments else {}
        lines.append({"audio_filepath": names[rec], **offset, "duration": round(end - start, 6), "label": labels[utt]})
    return {"": _json_lines(lines)}


def wespeaker_list(data, names, label_as):
    """JSON lines of key, wav and spk: wespeaker's raw.list."""
    if data.segments:
        raise Fail(f"{data / 'segments'}: wespeaker's lists name whole recordings alone; cut the recordings first")
    labels = labels_of(data, label_as)
    return {"": _json_lines({"key": utt, "wav": names[utt], "spk": labels[utt]} for utt in data.utt2spk)}


def rttm_list(data, names, label_as):
    """Who speaks when: each utterance is a turn. The name of a recording is its path without extension."""
    labels, times, recordings = labels_of(data, label_as), _times(data), utt_recordings(data)
    check_words(data, labels.values(), "a speaker", "use csv or nemo")
    check_words(data, names.values(), "a recording", "use csv or nemo")
    ordered = sorted(data.utt2spk, key=lambda utt: (recordings[utt], *times[utt]))
    return {"": "".join(rttm_line(names[recordings[utt]], *times[utt], labels[utt]) for utt in ordered)}


def uem_list(data, names, label_as):
    """Regions: what utterances cover of each recording."""
    times, recordings = _times(data), utt_recordings(data)
    check_words(data, names.values(), "a recording", "use csv or nemo")
    lines, reach = [], None
    for utt in sorted(data.utt2spk, key=lambda utt: (recordings[utt], *times[utt])):
        start, end = times[utt]
        if reach and reach[0] == recordings[utt] and start <= reach[2]:
            reach[2] = max(reach[2], end)
        else:
            reach = [recordings[utt], start, end]
            lines.append(reach)
    return {"": "".join(uem_line(names[rec], start, end) for rec, start, end in lines)}


WRITERS = {
    "files": files_list,
    "labels": labels_list,
    "csv": csv_list,
    "nemo": nemo_list,
    "wespeaker": wespeaker_list,
    "rttm": rttm_list,
    "uem": uem_list,
}


def file_names(data, names):
    """{recording: name}: those of `names` without the extension of audio get that of the file, or are the file's path where it is called otherwise."""
    bare = {rec for rec, name in names.items() if stem_of(name) == name}
    return {rec: _file_name(names[rec], path) if rec in bare else names[rec] for rec, path in audio_paths(data).items()} if bare else names


def labels_of(data, label_as):
    """{utterance: label}: the speaker as the list it came from calls it, or the value of utt2X."""
    if label_as != "spk":
        return data.per_utt(f"utt2{label_as}", REST)
    names = speaker_names(data)
    return {utt: names[spk] for utt, spk in data.utt2spk.items()}


def write_lists(lists, overwrite):
    """Write {path: text}; -> the paths written, without those that are there already. Fails where another text is there, unless `overwrite`."""
    new = {Path(path): text for path, text in lists.items() if not (Path(path).is_file() and Path(path).read_bytes() == text.encode())}
    for path in new:
        if path.exists() and not overwrite:
            raise Fail(f"{path}: is there, and is another list; move it away, or pass --overwrite true to replace it")
    for path, text in new.items():
        with whole_file(path) as file:
            file.write(text)
    return list(new)


def check_words(data, values, what, remedy):
    """Fail where a value with a blank in it would be two fields of a line."""
    if odd := next((value for value in values if len(value.split()) != 1), None):
        raise Fail(f"{data.path}: '{odd}': {what} with a blank cannot stand in this kind of list; {remedy}")


def _file_name(name, path):
    full = name + os.path.splitext(path)[1]
    return full if f"/{path}".endswith("/" + full.lstrip("/")) else path


def _class_numbers(labels):
    """{label: number}: the labels themselves where they are 0, 1, …, else numbered, numbers by their size, others by their letters."""
    whole = all(label.isdecimal() and label.isascii() for label in labels)
    ordered = sorted(labels, key=lambda label: (int(label), label) if whole else label)
    return {label: number for number, label in enumerate(ordered)}


def _windows(data):
    """{utterance: its number as a fixed window, "-1" for a whole recording}"""
    if not data.segments and data.has("utt2window"):
        return data.per_utt("utt2window")
    if not data.segments:
        return dict.fromkeys(data.utt2spk, "-1")
    windows, lengths = {}, set()
    for number, (utt, (_, start, end)) in enumerate(data.segments.items(), 1):
        windows[utt] = round(start / WINDOW_HOP_SEC)
        lengths.add(round(end - start, 3))
        if abs(windows[utt] * WINDOW_HOP_SEC - start) > 1e-4 or len(lengths) > 1:
            what = f"`path label window` knows windows of one length at multiples of {WINDOW_HOP_SEC} s alone"
            raise Fail(f"{data / 'segments'}:{number}: '{utt}' from {start:g} to {end:g} s: {what}")
    return windows


def _times(data):
    """{utterance: (start, end)} in seconds"""
    if data.segments:
        return {utt: (start, end) for utt, (_, start, end) in data.segments.items()}
    return {utt: (0.0, seconds) for utt, seconds in utt_durations(data).items()}


def _known_speakers(data):
    """{speaker: name}; nothing where each utterance is its own."""
    return {} if all(utt == spk for utt, spk in data.utt2spk.items()) else speaker_names(data)


def _json_lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
