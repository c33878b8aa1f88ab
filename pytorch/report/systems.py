"""The systems of a report: figures of steps/eer.py, with the scores and trials they were made from."""

from dataclasses import dataclass
from pathlib import Path

from pytorch.data.trials import join_scores, read_trials
from pytorch.files import read_json
from pytorch.program import Fail
from pytorch.report.sources import check_facts, find_recorded, is_count, is_interval, is_number, read_facts

PRIORS = ("0.01", "0.05", "0.001")


@dataclass
class System:
    """One row of the results: the JSON of steps/eer.py and, where they are there still, the two files it was made from."""

    name: str
    json: Path
    facts: dict
    trials: Path | None
    scores: Path | None
    epoch: int | None  # of the embeddings behind the scores, where xvector.json says it
    are_llrs: bool  # whether the scores are meant as natural log-likelihood ratios
    is_own: bool  # of the experiment that is reported, not one it is compared with


@dataclass
class Scored:
    """The trials of a system with their scores, in the order of the trial list."""

    pairs: list  # (enrol, test)
    scores: object  # (N,) float64
    labels: object  # (N,) bool, True for targets


def own_results(exp):
    """-> [(name, path), …] of exp/*/eer*.json; test/eer.json of exp/x is x/test, test/eer-asnorm.json is x/test asnorm"""
    return named_results(exp, "eer")


def named_results(exp, kind):
    """-> [(name, path), …] of exp/*/<kind>*.json"""
    experiment = exp.resolve().name
    found = sorted(path for path in exp.glob(f"*/{kind}*.json") if not path.parent.name.startswith("."))
    return [(f"{experiment}/{path.parent.name} {path.stem[len(kind) :].strip('-_.')}".strip(), path) for path in found]


def find_system(name, path, is_own, llrs=()):
    """llrs: names of systems whose scores are log-likelihood ratios, though no file of ours beside them says it"""
    facts = read_json(path)
    _check(path, facts)
    again = f"steps/eer.py {facts['trials']} {facts['scores']} {path}"
    files = {what: find_recorded(path, facts, what, again) for what in ("trials", "scores")}
    epoch = read_facts(files["scores"].parent / "xvector.json").get("epoch") if files["scores"] else None
    return System(name, path, facts, epoch=epoch, are_llrs=name in llrs or _made_as_llrs(files["scores"]), is_own=is_own, **files)


def _made_as_llrs(scores):
    """Whether steps/apply_calibration.py or score_plda.py made the scores."""
    if scores is None:
        return False
    calibrated = scores.parent / ".done" / f"apply_calibration.{scores.name}.json"
    return calibrated.is_file() or read_facts(scores.with_name(f"{scores.name}.json")).get("program") == "score_plda"


def _check(path, facts):
    """Fail unless `facts` is what steps/eer.py writes; figures that came to it later may be missing."""

    def of_priors(value):
        return isinstance(value, dict) and all(is_number(value.get(prior)) for prior in PRIORS)

    def if_there(accept):
        return lambda value: value is None or accept(value)

    def are_intervals(value):
        if not isinstance(value, dict) or not all(isinstance(value.get(kind), dict) for kind in ("min_dcf", "act_dcf")):
            return False
        costs = [value[kind].get(prior) for kind in ("min_dcf", "act_dcf") for prior in PRIORS]
        return all(map(is_interval, [value.get("eer"), value.get("cllr"), value.get("min_cllr"), *costs]))

    def are_subsets(value):
        return isinstance(value, dict) and all(map(is_subset, value.values()))

    def is_subset(part):
        counted = isinstance(part, dict) and is_count(part.get("targets")) and is_count(part.get("nontargets"))
        return counted and ("eer" not in part or (is_number(part["eer"]) and of_priors(part.get("min_dcf"))))

    wanted = {
        "eer": lambda value: is_number(value) and 0 <= value <= 1,
        "min_dcf": of_priors,
        **dict.fromkeys(("targets", "nontargets"), lambda value: is_count(value) and value > 0),
        **dict.fromkeys(("trials", "trials_sha256", "scores"), lambda value: isinstance(value, str) and value),
        "act_dcf": if_there(of_priors),
        **dict.fromkeys(("cllr", "min_cllr"), if_there(is_number)),
        "intervals": if_there(are_intervals),
        "subsets": if_there(are_subsets),
    }
    check_facts(path, facts, wanted, "steps/eer.py")


def read_scores(systems):
    """-> for each system its Scored, None where its trials or scores are not there any more. Fails where they do not give the recorded EER."""
    import numpy as np

    from pytorch.metrics import eer

    lists, found = {}, []
    for system in systems:
        if system.scores is None or system.trials is None:
            found.append(None)
            continue
        key = system.facts["trials_sha256"]
        if key not in lists:
            enrols, tests, labels = read_trials(system.trials)
            lists[key] = list(zip(enrols, tests, strict=True)), np.array(labels)
        pairs, labels = lists[key]
        scores = np.array(join_scores(system.trials, pairs, system.scores))
        counts = [int(labels.sum()), int((~labels).sum())]
        if counts != [system.facts["targets"], system.facts["nontargets"]] or abs(eer(scores, labels)[0] - system.facts["eer"]) > 1e-5:
            again = f"steps/eer.py {system.trials} {system.scores} {system.json}"
            raise Fail(f"{system.json}: {system.scores} does not give these figures; make them anew: {again}")
        found.append(Scored(pairs, scores, labels))
    return found


def same_trials(systems):
    """-> {hash of a trial list: names of the systems scored on it}"""
    groups = {}
    for system in systems:
        groups.setdefault(system.facts["trials_sha256"], []).append(system.name)
    return groups
