"""Files that others recorded the names of: found again wherever the experiment lies by now, and known by their hashes."""

from pathlib import Path

from pytorch.data.data_dir import DataDir
from pytorch.files import read_json, sha256
from pytorch.program import Fail


def read_facts(path, **kinds):
    """The {name: value} of a JSON file; empty without the file. kinds: of what type values must be that are there, and not null."""
    facts = read_json(path) if path.is_file() else {}
    if not isinstance(facts, dict):
        raise Fail(f"{path}: {{name: value, …}} expected; the program that makes this file writes it so, make it anew")
    if odd := [name for name, kind in kinds.items() if not isinstance(facts.get(name), kind | None)]:
        raise Fail(f"{path}: {odd[0]} is malformed; the program that makes this file writes it otherwise, make it anew")
    return {name: value for name, value in facts.items() if name not in kinds or value is not None}


def read_model(exp):
    return read_facts(exp / "model.json", features=dict, args=dict, loss=dict, targets=dict, classes=list)


def read_opts(exp):
    return read_facts(exp / "opts.json", options=dict, inputs=dict)


def is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_interval(value):
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value))


def check_facts(path, facts, wanted, program):
    """Fail unless a JSON has what the program that makes it writes. wanted: {name: accept(value)}"""
    bad = [name for name, accept in wanted.items() if not isinstance(facts, dict) or not accept(facts.get(name))]
    if bad:
        raise Fail(f"{path}: no figures of {program} ({', '.join(bad)} missing or malformed); make them anew with it")


def find_recorded(path, facts, what, again):
    """The file behind the figures in `path` that facts[what] names: as recorded, seen from here or from a folder above `path`, or beside `path`.

    Its hash tells the right file from one of the same name. None where there is none any more; Fail where there are only others.
    """
    recorded = Path(facts[what])
    there = [place for place in _places(recorded, path) if place.is_file()]
    digest = facts.get(f"{what}_sha256")
    unchanged = [place for place in there if digest is None or sha256(place) == digest]
    if there and not unchanged:
        raise Fail(f"{there[0]}: not the file that {path} was made from; make the figures anew: {again}")
    return unchanged[0] if unchanged else None


def _places(recorded, path):
    return [recorded, path.parent / recorded.name, *(folder / recorded for folder in path.resolve().parents)]


def find_data(path, facts, named):
    """Data directories that may be those of the figures in `path`, likeliest first: as facts["data"] says, where the trials lie, those the user named."""
    recorded = [Path(facts["data"])] if isinstance(facts.get("data"), str) and facts["data"] else []
    if isinstance(facts.get("trials"), str):
        recorded.append(Path(facts["trials"]).parent)
    there = [folder for name in recorded for folder in _places(name, path) if (folder / "utt2spk").is_file()]
    return [*map(DataDir, dict.fromkeys(there)), *named]
