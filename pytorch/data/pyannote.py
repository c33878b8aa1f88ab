"""pyannote.database's database.yml: its protocols as entries and trials.

https://github.com/pyannote/pyannote-database: Databases has the paths of recordings, Protocols/<database>/<task>/<protocol>/<subset> names lists
of recordings (uri), RTTM (annotation), UEM (annotated) and trials; paths are relative to database.yml. The database X combines others.
"""

import glob
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from pytorch.data.entries import Entry
from pytorch.data.foreign_trials import read_label_first
from pytorch.data.lines import read_lines, read_text
from pytorch.data.rttm import cut, read_rttm, read_uem
from pytorch.files import sha256
from pytorch.program import Fail

SUBSETS = ("train", "development", "test")


@dataclass
class Subset:
    """What a subset of a protocol holds.

    entries: whole files where it has trials or no annotation, else turns; trials: as in foreign_trials, None where it has none; remarks: for the user
    """

    entries: list = field(default_factory=list)
    trials: list | None = None
    remarks: list = field(default_factory=list)


class Database:
    """A database.yml. The recordings are looked for where it says, as long as check_files; else its first path is taken as it is."""

    def __init__(self, path, check_files=True):
        self.path, self.check_files = Path(path), check_files
        self.content = _read_yaml(self.path)
        self.files = {self.path}  # that were read

    def protocol(self, name, wanted=SUBSETS):
        """`Database.Task.Protocol` -> {subset: Subset}; the only one of a Collection is `files`."""
        section = self._section(name)
        if "uri" in section:  # a Collection
            return {"files": self._read(name, "files", section, section.get("scope"))}
        found = {subset: self._subset(name, subset) for subset in SUBSETS if subset in section and subset in wanted}
        if not found:
            raise Fail(f"{self.path}: {name} has none of the subsets {', '.join(wanted)}")
        return found

    def fingerprints(self):
        """{file: hash} of what was read, named from the folder of database.yml on."""
        return {os.path.relpath(path, self.path.parent): sha256(path) for path in sorted(self.files)}

    def _subset(self, name, subset):
        section = self._section(name)
        if not isinstance(section.get(subset), dict):
            raise Fail(f"{self.path}: {name} has no subset {subset}")
        if not name.startswith("X."):
            trials = section.get(f"{subset}_trial")
            return self._read(name, subset, section[subset] | (trials if isinstance(trials, dict) else {}), section.get("scope"))
        merged = Subset()
        for other, parts in section[subset].items():
            if str(other).startswith("X."):
                raise Fail(f"{self.path}: {name}: {other} is a combination itself; name what it combines")
            for part in parts if isinstance(parts, list) else [parts]:
                one = self._subset(str(other), part)
                merged.entries += one.entries
                merged.remarks += one.remarks
                merged.trials = merged.trials if one.trials is None else (merged.trials or []) + one.trials
        return merged

    def _section(self, name):
        if name.count(".") != 2:
            raise Fail(f"{self.path}: Database.Task.Protocol expected, not '{name}'")
        section = self.content.get("Protocols")
        for word in name.split("."):
            if not isinstance(section, dict) or word not in section:
                names = ", ".join(map(str, section)) if isinstance(section, dict) else "nothing"
                raise Fail(f"{self.path}: no protocol {name}: '{word}' is not among {names[:200]}")
            section = section[word]
        if not isinstance(section, dict):
            raise Fail(f"{self.path}: {name} has no subsets")
        return section

    def _read(self, name, subset, section, scope):
        """A subset that names files of its own."""
        places = {}  # {uri: where it is named}
        if "uri" in section:
            path = self._file(section["uri"])
            for number, uri in read_lines(path):
                if uri in places:
                    raise Fail(f"{path}:{number}: '{uri}' stands in line {places[uri].rpartition(':')[2]} too; keep one of them")
                places[uri] = f"{path}:{number}"
        turns, regions = (self._load(section, key, reader, places) for key, reader in (("annotation", read_rttm), ("annotated", read_uem)))
        trials = read_label_first([self._file(section["trial"])]) if "trial" in section else None
        if not places:  # the files that the others name, as pyannote does
            named = [(turn.uri, turn.place) for turn in regions or turns or ()] or [(uri, place) for place, *pair, _ in trials or () for uri in pair]
            places = dict(reversed(named))  # the place where each stands first
        if not places:
            raise Fail(f"{self.path}: {name}.{subset} names no recordings: no uri, annotation or trial")
        audio = {uri: self._audio(name.partition(".")[0], subset, uri, place) for uri, place in places.items()}
        turns, remarks = self._turns(turns, regions, places, scope)
        if trials is None and turns is not None:
            entries = [Entry(turn.place, turn.uri, audio[turn.uri], turn.speaker, start=turn.start, end=turn.end) for turn in turns]
            return Subset(entries, None, remarks)
        speakers = {uri: set() for uri in places}
        for turn in turns or ():
            speakers[turn.uri].add(turn.speaker)
        known = all(len(names) == 1 for names in speakers.values())
        if turns and not known:
            remarks.append("some files have no speaker or several, so all are taken as unknown")
        entries = [Entry(place, uri, audio[uri], min(speakers[uri]) if known else None) for uri, place in places.items()]
        return Subset(entries, trials, remarks)

    def _turns(self, turns, regions, places, scope):
        """The turns of the files in question inside the annotated regions, speakers told apart by file where their names are the file's own."""
        if turns is None:
            return None, []
        turns = [turn for turn in turns if turn.uri in places]
        inside = turns if regions is None else cut(turns, regions)
        remarks = []
        if outside := len(turns) - len({turn.place for turn in inside}):
            remarks.append(f"{outside} turns lie outside of the annotated regions")
        if silent := len(places.keys() - {turn.uri for turn in inside}):
            remarks.append(f"{silent} files have no turn")
        if scope == "file":
            for turn in inside:
                turn.speaker = f"{turn.uri}/{turn.speaker}"
        return inside, remarks

    def _load(self, section, key, reader, uris):
        """What the files of `key` hold, None where there is no such key; a path with {uri} is one file for each."""
        if key not in section:
            return None
        template = section[key]
        if not isinstance(template, str) or "{uri}" not in template:
            return reader(self._file(template))
        return [turn for uri in uris for turn in reader(self._file(template.replace("{uri}", uri)))]

    def _file(self, value):
        if not isinstance(value, str):
            raise Fail(f"{self.path}: the path of a file expected, not '{str(value)[:80]}'")
        self.files.add(self.path.parent / value)
        return self.path.parent / value

    def _audio(self, database, subset, uri, place):
        """The recording of a file, by the templates of Databases."""
        databases = self.content.get("Databases")
        templates = databases.get(database) if isinstance(databases, dict) else None
        templates = [templates] if isinstance(templates, str) else templates
        if not templates or not isinstance(templates, list) or not all(isinstance(template, str) for template in templates):
            raise Fail(f"{self.path}: Databases has no paths of {database}, so nothing tells where '{uri}' ({place}) lies")
        paths = []
        for template in templates:
            pattern = glob.has_magic(template)
            path = template.replace("{database}", database).replace("{subset}", subset).replace("{uri}", glob.escape(uri) if pattern else uri)
            path = os.path.normpath(os.path.join(os.path.abspath(self.path.parent), path))
            if match := re.search(r"\{\w*\}", path):
                raise Fail(f"{self.path}: Databases.{database}: {match[0]} is not understood, {{uri}}, {{database}} and {{subset}} are")
            found = sorted(glob.glob(path)) if pattern else [path] if os.path.isfile(path) or not self.check_files else []
            if len(found) > 1:
                raise Fail(f"{self.path}: Databases.{database}: '{uri}' could be {found[0]} and {found[1]}; make the pattern narrower")
            if found:
                return found[0]
            paths.append(path)
        if not self.check_files:
            raise Fail(f"{self.path}: Databases.{database}: a pattern cannot tell where '{uri}' lies while it is not there; name its path")
        return paths[0]  # which is not there, as without_missing will see


def _read_yaml(path):
    text = read_text(path, cut_is_seen=True)
    try:
        import yaml
    except ModuleNotFoundError:
        raise Fail(f"{path}: reading YAML needs the package PyYAML; install it with: {sys.executable} -m pip install PyYAML==6.0.3") from None
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise Fail(f"{path}:{mark.line + 1 if mark else 1}: not YAML ({getattr(error, 'problem', None) or 'unreadable'})") from None
    if not isinstance(content, dict):
        raise Fail(f"{path}: a database.yml with Databases and Protocols expected")
    return content
