"""What a report reads: figures of steps/eer.py with their scores and trials, and the figures of a training."""

from dataclasses import dataclass
from pathlib import Path

from pytorch.data.trials import join_scores, read_trials
from pytorch.files import need_file, read_json, sha256
from pytorch.program import Fail

PRIORS = ("0.01", "0.05", "0.001")


@dataclass
class System:
    """One row of the results: the JSON of steps/eer.py and, found and unchanged since, the two files it was made from."""

    name: str
    json: Path
    facts: dict
    trials: Path
    scores: Path
    epoch: int | None  # of the embeddings behind the scores, where xvector.json says it


def own_results(exp):
    """-> [(name, path), …] of exp/*/eer*.json; test/eer.json of exp/x is x/test, test/eer-asnorm.json is x/test asnorm"""
    experiment = exp.resolve().name
    found = sorted(path for path in exp.glob("*/eer*.json") if not path.parent.name.startswith("."))
    return [(f"{experiment}/{path.parent.name} {path.stem[3:].strip('-_.')}".strip(), path) for path in found]


def find_system(name, path):
    facts = read_json(path)
    _check(path, facts)
    files = {what: _find(path, facts, what) for what in ("trials", "scores")}
    vectors = files["scores"].parent / "xvector.json"
    return System(name, path, facts, epoch=read_facts(vectors).get("epoch"), **files)


def read_facts(path):
    """The {name: value} of a JSON file; empty without the file."""
    facts = read_json(path) if path.is_file() else {}
    if not isinstance(facts, dict):
        raise Fail(f"{path}: {{name: value, …}} expected; the program that makes this file writes it so, make it anew")
    return facts


def _check(path, facts):
    """Fail unless `facts` is what steps/eer.py writes."""

    def is_number(value):
        return isinstance(value, int | float) and not isinstance(value, bool)

    wanted = {
        "eer": lambda value: is_number(value) and 0 <= value <= 1,
        "min_dcf": lambda value: isinstance(value, dict) and all(is_number(value.get(prior)) for prior in PRIORS),
        **dict.fromkeys(("targets", "nontargets"), lambda value: isinstance(value, int) and value > 0),
        **dict.fromkeys(("trials", "trials_sha256", "scores"), lambda value: isinstance(value, str) and value),
    }
    bad = [name for name, accept in wanted.items() if not isinstance(facts, dict) or not accept(facts.get(name))]
    if bad:
        raise Fail(f"{path}: no figures of steps/eer.py ({', '.join(bad)} missing or malformed); make them anew with it")


def _find(path, facts, what):
    """The trials or scores behind the figures in `path`: as recorded, seen from here or from a folder above `path`, or beside `path`.

    Their hash tells the right file from one of the same name; without any left Fail.
    """
    recorded = Path(facts[what])
    places = [recorded, path.parent / recorded.name, *(folder / recorded for folder in path.resolve().parents)]
    there = [place for place in places if place.is_file()]
    if not there:
        scores = " score the trials with steps/score_cosine.py," if what == "scores" else ""
        raise Fail(f"{recorded}: no such file, and {path} was made from it; bring it back, or{scores} make the figures anew with steps/eer.py")
    digest = facts.get(f"{what}_sha256")
    unchanged = [place for place in there if digest is None or sha256(place) == digest]
    if not unchanged:
        raise Fail(f"{there[0]}: not the file that {path} was made from; make the figures anew: steps/eer.py {facts['trials']} {facts['scores']} {path}")
    return unchanged[0]


def read_scores(systems):
    """-> for each system its (scores, labels), two lists in the order of its trial list. Fails where they do not give the recorded EER."""
    from pytorch.metrics import eer

    lists, found = {}, []
    for system in systems:
        key = system.facts["trials_sha256"]
        if key not in lists:
            enrols, tests, labels = read_trials(system.trials)
            lists[key] = list(zip(enrols, tests, strict=True)), labels
        pairs, labels = lists[key]
        scores = join_scores(system.trials, pairs, system.scores)
        counts = (sum(labels), len(labels) - sum(labels))
        if counts != (system.facts["targets"], system.facts["nontargets"]) or abs(eer(scores, labels)[0] - system.facts["eer"]) > 1e-5:
            again = f"steps/eer.py {system.trials} {system.scores} {system.json}"
            raise Fail(f"{system.json}: {system.scores} does not give these figures; make them anew: {again}")
        found.append((scores, labels))
    return found


def same_trials(systems):
    """-> {hash of a trial list: names of the systems scored on it}"""
    groups = {}
    for system in systems:
        groups.setdefault(system.facts["trials_sha256"], []).append(system.name)
    return groups


def read_training(exp):
    """The rows of train.tsv as {column: number or None}; none without the file."""
    path = exp / "train.tsv"
    if not path.exists():
        return []
    header, *lines = need_file(path, "train anew with steps/train.py --overwrite true").read_text(encoding="utf-8", errors="replace").splitlines()
    columns = header.split("\t")
    if missing := {"epoch", "loss", "accuracy", "lr", "valid_eer", "skipped", "seconds"} - set(columns):
        raise Fail(f"{path}:1: no column {min(missing)}; steps/train.py writes this file, train anew with it")
    rows = []
    for number, line in enumerate(lines, 2):
        try:
            rows.append({name: float(cell) if cell else None for name, cell in zip(columns, line.split("\t"), strict=True)})
        except ValueError:
            raise Fail(f"{path}:{number}: {len(columns)} numbers expected, not '{line[:80]}'; train anew with steps/train.py --overwrite true") from None
        if not (rows[-1]["epoch"] or 0) >= 1:  # not a number, too
            raise Fail(f"{path}:{number}: the number of the epoch is missing; train anew with steps/train.py --overwrite true")
    return rows
