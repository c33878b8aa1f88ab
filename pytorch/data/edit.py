"""Data directories made from others: some of the utterances, other ids, several together. The new one appears whole or not at all."""

import errno
import itertools
import json
import os
import re
import shutil
import socket
import sys
from pathlib import Path

from pytorch.data.data_dir import REST, DataDir, key_of, read_table, spk2utt_of, write_table
from pytorch.data.rules import check_values
from pytorch.data.trials import read_trials, write_trials
from pytorch.files import need_file, read_json, sha256, sync_folder, whole_file, write_json
from pytorch.marker import Marker, differences
from pytorch.program import Fail

OF_FEATURES = {"feats.scp", "vad.scp", "cmvn.scp", "utt2num_frames", "frame_shift"}  # true of one set of features only
SYNTHESISED = {"utt2uniq", "segments"}  # what a directory without them says can be written out
_ARCHIVES = ("feats", "vad")  # NAME.scp comes with NAME.json, its settings, and NAME.sha256, a hash of its values
_BESIDE = {f"{name}.{kind}" for name in _ARCHIVES for kind in ("json", "sha256")} | {"frame_shift"}
_MADE = re.compile(r"log|q|packed|split\d+(utt)?|(feats|vad|wav)(\.\d+)?\.ark|wav\.sha256")  # by steps, in their place; not carried and not worth a word

_LEFT_OUT = re.compile(r"(import_\w+|trials[\w.-]*)\.dropped")  # what import programs left out; not carried, but said
_TRIALS = re.compile(r"trials[\w.-]*")


def table_names(data):
    """The names of a data directory's tables, sorted, without utt2spk and spk2utt."""
    names = sorted(path.name for path in data.path.iterdir() if path.is_file())
    return [name for name in names if key_of(name) and not name.startswith(".") and name not in ("utt2spk", "spk2utt")]


def trial_names(data):
    """The names of a data directory's trial lists, sorted: trials, and files named alike one of whose first lines is a trial."""
    names = sorted(path.name for path in data.path.iterdir() if _TRIALS.fullmatch(path.name) and path.is_file() and not _LEFT_OUT.fullmatch(path.name))
    return [name for name in names if name == "trials" or _has_labels(data / name)]


def _has_labels(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return any(line.split()[2:] in (["target"], ["nontarget"]) for line in itertools.islice(file, 10))


def unknown_names(data):
    """The names of files and folders that are neither tables nor trials nor made by a step: nobody here knows what they are keyed by."""
    trials = trial_names(data)
    names = sorted(path.name for path in data.path.iterdir())
    return [name for name in names if not (name.startswith(".") or key_of(name) or name in _BESIDE or name in trials or _MADE.fullmatch(name))]


def read_any(data, name):
    """The table `name`, whatever it is keyed by, as {key: rest of the line}. Fails where its keys are not those of the directory."""
    return {"utt": data.per_utt, "spk": data.per_spk, "rec": data.per_rec}[key_of(name)](name, REST)


def durations(data):
    """{utt: seconds} of a data directory from utt2dur, segments or reco2dur, whichever is there first; None where none is."""
    if not data.has("utt2dur") and data.segments is not None:
        return {utt: end - start for utt, (_, start, end) in data.segments.items()}
    for name in ("utt2dur", "reco2dur"):
        if data.has(name):
            table = read_any(data, name)
            check_values(data / name, table)
            return {utt: float(value) for utt, value in table.items()}
    return None


def put_table(path, table):
    """Write {key: [word, …] or value} to a file, or to standard output where path is "-"."""
    if path != "-":
        write_table(path, table)
        return
    for key, value in sorted(table.items()):
        sys.stdout.write(f"{key} {' '.join(value) if isinstance(value, list) else value}\n")


class Part:
    """What one data directory gives to a new one.

    data: DataDir; utts: the utterances taken (default: all); utt_id, spk_id, rec_id: functions of an old id that give the new one.
    Without segments the recordings are the utterances, and are renamed with them.
    ids: {"utt" | "spk" | "rec": {old: new}} of what is taken
    """

    def __init__(self, data, utts=None, utt_id=str, spk_id=str, rec_id=str):
        self.data = data
        utts = data.utt2spk if utts is None else utts
        speakers = {data.utt2spk[utt] for utt in utts}
        self.ids = {"utt": {utt: utt_id(utt) for utt in utts}, "spk": {spk: spk_id(spk) for spk in speakers}}
        self.ids["rec"] = self.ids["utt"]
        if data.segments is not None:
            self.ids["rec"] = {rec: rec_id(rec) for rec in {data.segments[utt][0] for utt in utts}}
        self.renamed = any(old != new for old, new in self.ids["utt"].items())

    def names(self):
        """The tables it gives; new ids come with utt2uniq, which maps them to the old ones."""
        return {*table_names(self.data), *(["utt2uniq"] if self.renamed else [])}

    def read(self, name):
        """The source's whole table under the old ids."""
        if name == "utt2spk":
            return self.data.utt2spk
        if self.data.has(name):
            return read_any(self.data, name)
        if name == "utt2uniq":
            return {utt: utt for utt in self.data.utt2spk}
        assert name == "segments"
        seconds = durations(self.data)
        if seconds is None:
            path = self.data.path
            raise Fail(f"{path}: no segments and no utt2dur, but the other directories have segments; run utils/get_utt2dur.py {path} first")
        return {utt: f"{utt} 0 {length:.6f}" for utt, length in seconds.items()}

    def pick(self, name, whole):
        """What is taken of a whole table, under the new ids."""
        table = {new: whole[old] for old, new in self.ids[key_of(name)].items()}
        if name == "utt2spk":
            return {utt: self.ids["spk"][spk] for utt, spk in table.items()}
        if name == "segments":
            return {utt: self._segment(*value.split()) for utt, value in table.items()}
        return table

    def table(self, name):
        return self.pick(name, self.read(name))

    def _segment(self, rec, start, end):
        return f"{self.ids['rec'][rec]} {start} {end}"


def write_parts(folder, parts, leave_out=frozenset()):
    """Write the tables of `parts` as one data directory into `folder`: those that every part has.

    leave_out: names of files not wanted; trials stands for all trial lists
    Returns what was left out and why, in sentences.
    """
    _check_apart(parts)
    names, left = _common([part.names() - leave_out for part in parts])
    utt2spk = _joined("utt2spk", parts)
    if not utt2spk:
        raise Fail(f"{', '.join(str(part.data.path) for part in parts)}: no utterance is left")
    notes = [f"left out, as not every directory has it: {', '.join(sorted(left))}"] if left else []
    for name in sorted(names):
        table = _joined(name, parts)
        if table is None:
            notes.append(f"left out, as its speakers' values are not the same everywhere: {name}")
        else:
            write_table(folder / name, table)
    write_table(folder / "spk2utt", spk2utt_of(utt2spk))
    write_table(folder / "utt2spk", utt2spk)
    return notes + _write_beside(folder, parts, names, leave_out)


def write_pieces(folder, parts):
    """Write `parts` of one data directory as data directories <folder>/1, 2, …; each table is read once. Trials are not carried."""
    data = parts[0].data
    pieces = [(folder / str(number), part) for number, part in enumerate(parts, 1)]
    for name in ["utt2spk", *table_names(data)]:
        whole = parts[0].read(name)
        for piece, part in pieces:
            write_table(piece / name, part.pick(name, whole))
    for piece, part in pieces:
        write_table(piece / "spk2utt", spk2utt_of(part.pick("utt2spk", data.utt2spk)))
        _write_beside(piece, [part], set(table_names(data)), leave_out={"trials"})


def _common(sets):
    anywhere = set.union(*sets)
    everywhere = set.intersection(*sets)
    everywhere |= anywhere & (SYNTHESISED if "wav.scp" in everywhere else {"utt2uniq"})  # without recordings, segments say nothing
    return everywhere, anywhere - everywhere


def _check_apart(parts):
    """An utterance must come from one part only."""
    seen = set()
    for part in parts:
        ids = set()
        for utt in part.ids["utt"].values():
            if utt in ids:
                raise Fail(f"{part.data.path}: two utterances would both be called '{utt}'; give other prefixes")
            ids.add(utt)
        if both := seen & ids:
            utt = min(both)
            first = next(other.data.path for other in parts if utt in other.ids["utt"].values())
            more = f" (and {len(both) - 1} more)" if len(both) > 1 else ""
            raise Fail(f"'{utt}' is in {first} and in {part.data.path}{more}; give one other ids with utils/copy_data_dir.py, or leave it out")
        seen |= ids


def _joined(name, parts):
    """One table of all parts. Speakers and recordings may come from several if they say the same; None where those of an scp by speaker do not."""
    joined = parts[0].table(name)
    for place, part in enumerate(parts[1:], 1):
        table = part.table(name)
        for key in joined.keys() & table.keys():
            if joined[key] != table[key]:
                if key_of(name) == "spk" and name.endswith(".scp"):
                    return None
                first = next(other.data for other in parts[:place] if key in other.table(name))
                raise Fail(f"{part.data / name}: '{key}' has '{table[key][:80]}', but '{joined[key][:80]}' in {first / name}; mend one of them")
        joined |= table
    return joined


def _write_beside(folder, parts, names, leave_out):
    """The files that are no tables: settings and hashes of features, frame_shift, trials."""
    notes = []
    for name in _ARCHIVES:
        if f"{name}.scp" in names:
            _write_settings(folder, f"{name}.json", parts)
            _write_hashes(folder, f"{name}.sha256", parts)
    if "frame_shift" not in leave_out:
        notes += _write_frame_shift(folder, [part.data for part in parts])
    if "trials" not in leave_out:
        notes += _write_trials(folder, parts)
    unknown = sorted({str(part.data / name) for part in parts for name in unknown_names(part.data)})
    return notes + ([f"not carried, being no tables: {', '.join(unknown)}"] if unknown else [])


def _write_settings(folder, name, parts):
    """The settings of features, which must be the same everywhere."""
    first, settings = None, None
    for part in parts:
        path = part.data / name
        found = read_json(path) if path.exists() else None
        if first is None:
            first, settings = path, found
        elif found != settings:
            raise Fail(f"{path}: {_two_sides(found, settings, first)}; make the features of both alike, or leave them out with --feats false")
    if settings is not None:
        write_json(folder / name, settings)


def _two_sides(here, there, other):
    """How two settings differ, in words."""
    if here is None or there is None:
        return f"there, but {other} is missing" if there is None else f"missing, but {other} is there"
    if not (isinstance(here, dict) and isinstance(there, dict)):
        return f"other settings than {other}"
    names = [name for name in {**there, **here} if here.get(name, ...) != there.get(name, ...)][:4]
    one, two = (", ".join(f"{name} {json.dumps(side[name]) if name in side else 'unset'}" for name in names) for side in (here, there))
    return f"{one}, but {two} in {other}"


def _write_hashes(folder, name, parts):
    """One line for each directory whose features these are: the hash found there, and where. Kaldi's own directories have none."""
    lines = {}
    for part in parts:
        if part.data.has(name):
            lines |= dict.fromkeys(_hash_lines(part.data, name))
    if lines:
        with whole_file(folder / name) as file:
            file.writelines(f"{line}\n" for line in lines)


def _hash_lines(data, name):
    path = data / name
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        lines = []
    if len(lines) == 1 and re.fullmatch(r"[0-9a-f]{64}", lines[0]):
        return [f"{lines[0]} {data.path.resolve()}"]
    if not lines or not all(re.fullmatch(r"[0-9a-f]{64} /.*", line) for line in lines):
        raise Fail(f"{path}: a hash of values expected, alone or with the folder it was found in; make the features anew")
    return lines


def _write_frame_shift(folder, sources):
    paths = [data / "frame_shift" for data in sources if data.has("frame_shift")]
    found = {path: path.read_text(encoding="utf-8", errors="replace").strip() for path in paths}
    for path, shift in found.items():
        first, expected = next(iter(found.items()))
        if shift != expected:
            raise Fail(f"{path}: {shift}, but {expected} in {first}; frames of two distances cannot be together, leave them out with --feats false")
    if found and len(found) == len(sources):
        with whole_file(folder / "frame_shift") as file:
            file.write(f"{shift}\n")
    return ["left out, as not every directory has it: frame_shift"] if 0 < len(found) < len(sources) else []


def _write_trials(folder, parts):
    """Trial lists under the new ids, those that every part has. Left out are those of utterances and speakers that are not taken; ids of neither stay."""
    sets = [set(trial_names(part.data)) for part in parts]
    everywhere = set.intersection(*sets)
    left = set.union(*sets) - everywhere
    notes = [f"left out, as not every directory has it: {', '.join(sorted(left))}"] if left else []
    return notes + [note for name in sorted(everywhere) for note in _write_trial_list(folder, name, parts)]


def _write_trial_list(folder, name, parts):
    kept, total = {}, 0
    for part in parts:
        data, ids = part.data, {**part.ids["spk"], **part.ids["utt"]}
        trials = list(zip(*read_trials(data / name), strict=True))
        gone = (data.utt2spk.keys() | data.spk2utt.keys()) - ids.keys()
        kept |= {(ids.get(one, one), ids.get(other, other), label): None for one, other, label in trials if one not in gone and other not in gone}
        total += len(trials)
    if kept:
        write_trials(folder / name, kept)
    if len(kept) == total:
        return []
    return [f"{name}: {total - len(kept)} of {total} left out, as their utterances are" + ("" if kept else "; none is left, so there is no list")]


class NewDataDir:
    """A folder that a program makes from data directories, whole or not at all.

    new = NewDataDir(path, "subset_data_dir", options, sources, overwrite)
    if not new.is_done():
        with new as folder: …   # write into `folder`; afterwards it is renamed to `path`

    options: {name: value} that decide what is made; sources: DataDirs; more_inputs: {name: path} of other files read
    Made again with the same options from the same tables, nothing is done, but tables that the sources got since are named. Otherwise it fails,
    and `overwrite` replaces the folder, if it is one such a program makes and nothing needs what lies in it.
    """

    def __init__(self, path, program, options, sources, overwrite=False, more_inputs=None):
        self.path, self.program, self.sources, self.overwrite = Path(path), program, sources, overwrite
        self.place = Path(os.path.realpath(path))
        for data in sources:
            if data.path.resolve() == self.place or self.place in data.path.resolve().parents:
                raise Fail(f"{path}: {data.path} lies there; choose another folder for the new one")
        self.options = {**options, "sources": [str(data.path.resolve()) for data in sources]}
        self.inputs = {str(file): sha256(file) for data in sources for file in _inputs_of(data)}
        self.inputs |= {name: sha256(file) for name, file in (more_inputs or {}).items()}

    def is_done(self):
        """True where the folder is there as asked. Fails where something else is, unless it is to be replaced."""
        if not self.place.exists() or (self.place.is_dir() and not any(self.place.iterdir())):
            return False
        if self.overwrite:
            self._check_replaceable()
            return False
        path = self._marker(self.place, {}).path
        found = read_json(path) if path.exists() else None
        if not (isinstance(found, dict) and isinstance(found.get("inputs"), dict)):
            raise Fail(f"{self.path}: is there, but {self.program} did not make it; choose another folder, or pass --overwrite true to replace it")
        since = [name for name in self.inputs if name not in found["inputs"]]
        old = self._marker(self.place, {name: value for name, value in self.inputs.items() if name not in since})
        if old.matches():
            if since:
                names = ", ".join(Path(name).name for name in since)
                print(f"{self.program}: {self.path} was made before there was {names}, which it lacks; --overwrite true makes it anew", file=sys.stderr)
            return True
        changes = differences(found, old.asked)
        what = f"{self.program} was done otherwise: {'; '.join(changes)}" if changes else f"was changed since {self.program} made it"
        raise Fail(f"{self.path}: {what}. Pass --overwrite true to make it anew")

    def __enter__(self):
        self.place.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = self.place.with_name(f".{self.place.name}.{socket.gethostname()}.{os.getpid()}.tmp")
        self._temporary.mkdir()
        return self._temporary

    def __exit__(self, kind, error, trace):
        try:
            if kind is None:
                self._finish()
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _finish(self):
        folder = self._temporary
        self._check_not_needed(folder)
        marker = self._marker(folder, self.inputs)
        marker.finish([path for path in sorted(folder.rglob("*")) if path.is_file()])
        sync_folder(folder)
        old = None
        if self.overwrite and self.place.is_dir() and any(self.place.iterdir()):
            old = folder.with_suffix(".old")
            os.rename(self.place, old)
        try:
            os.rename(folder, self.place)
        except BaseException as failed:
            if old:
                os.rename(old, self.place)
            if isinstance(failed, OSError) and failed.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise Fail(f"{self.path}: was made by another process meanwhile") from None
            raise
        sync_folder(self.place.parent)
        if old:
            shutil.rmtree(old)

    def _marker(self, folder, inputs):
        return Marker(folder / f".done/{self.program}.json", self.options, inputs)

    def _check_replaceable(self):
        """What is to be replaced must be a data directory (or a folder of pieces of one), with nothing in it that no program here makes."""
        if not self.place.is_dir():
            raise Fail(f"{self.path}: a file, not a data directory; remove it yourself")
        pieces = sorted(path for path in self.place.iterdir() if path.name.isdecimal() and path.is_dir())
        for folder in pieces or [self.place]:
            if not (folder / "utt2spk").is_file():
                raise Fail(f"{folder}: no data directory (it has no utt2spk), so it is not replaced; remove it yourself")
        here = [path for path in self.place.iterdir() if path not in pieces and not path.name.startswith(".")] if pieces else []
        there = [folder / name for folder in pieces or [self.place] for name in unknown_names(DataDir(folder))]
        odd = [str(path) for path in here] + [str(path) for path in there if not _LEFT_OUT.fullmatch(path.name)]
        if odd:
            raise Fail(f"{odd[0]}: not made by a program here, so {self.path} is not replaced; move it away, or remove the folder yourself")

    def _check_not_needed(self, folder):
        """The archives a new scp names must not lie in the folder to be replaced."""
        if self.overwrite:
            for path in sorted(folder.rglob("*.scp")):
                for key, entry in read_table(path, REST).items():
                    if f"{self.place}/" in entry or f"{self.path}/" in entry:
                        raise Fail(f"{self.path}: is not replaced, as '{key}' of the new {path.name} lies in it: {entry[:200]}; choose another folder")


def _inputs_of(data):
    """The files of a data directory that decide what is made of it."""
    need_file(data / "utt2spk")
    names = ["utt2spk", *table_names(data), *sorted([name for name in _BESIDE if data.has(name)] + trial_names(data))]
    return [data.path.resolve() / name for name in names]
