"""The predictions of a report: figures of steps/measure.py, and the predicted and true numbers themselves."""

import random
from dataclasses import dataclass
from pathlib import Path

from pytorch.data.data_dir import read_table
from pytorch.data.rules import number_of
from pytorch.files import read_json
from pytorch.program import Fail
from pytorch.report.sources import check_facts, find_recorded, is_count, is_interval, is_number

FIGURES = {"classes": ("accuracy", "uar", "macro_f1"), "numbers": ("mae", "rmse", "mae_of_mean", "pearson", "spearman", "ccc")}
DRAWN = 2000  # utterances in a picture at most


@dataclass
class Prediction:
    """The JSON of steps/measure.py; points: of numbers [(utt, wanted, found), …], DRAWN of them at most, or None where a table is not there any more"""

    name: str
    json: Path
    facts: dict
    points: list | None = None


def find_prediction(name, path):
    facts = read_json(path)
    _check(path, facts)
    return Prediction(name, path, facts, _read_points(path, facts) if facts["kind"] == "numbers" else None)


def _check(path, facts):
    """Fail unless `facts` is what steps/measure.py writes."""
    kind = facts.get("kind") if isinstance(facts, dict) else None
    wanted = {
        "kind": lambda value: isinstance(value, str) and value in FIGURES,
        "utts": lambda value: is_count(value) and value > 0,
        **dict.fromkeys(FIGURES.get(kind, ()), is_number),
        **dict.fromkeys(("wanted", "found"), lambda value: isinstance(value, str) and value),
        "intervals": lambda value: (
            value is None or (isinstance(value, dict) and all(is_interval(value[name]) for name in FIGURES.get(kind, ()) if name in value))
        ),
    }
    check_facts(path, facts, wanted, "steps/measure.py")
    if kind == "classes":
        number = len(facts["classes"]) if isinstance(facts.get("classes"), list) else 0

        def is_square(counts):
            rows = isinstance(counts, list) and len(counts) == number > 0
            return rows and all(isinstance(row, list) and len(row) == number and all(map(is_count, row)) for row in counts)

        check_facts(path, facts, {"classes": lambda _: number > 0, "confusion": is_square}, "steps/measure.py")


def _read_points(path, facts):
    again = f"steps/measure.py --kind numbers {facts['wanted']} {facts['found']} {path}"
    files = [find_recorded(path, facts, what, again) for what in ("wanted", "found")]
    if None in files:
        return None
    wanted, found = map(read_table, files)
    if wanted.keys() != found.keys() or len(wanted) != facts["utts"]:
        raise Fail(f"{path}: {files[0]} and {files[1]} are not of {facts['utts']} utterances; make the figures anew: {again}")
    utts = list(wanted)
    chosen = utts if len(utts) <= DRAWN else sorted(random.Random(0).sample(utts, DRAWN))
    points = [(utt, number_of(wanted[utt]), number_of(found[utt])) for utt in chosen]
    if odd := [utt for utt, *values in points if None in values]:
        raise Fail(f"{path}: no number for '{odd[0]}' in {files[0]} or {files[1]}; make the figures anew: {again}")
    return points
