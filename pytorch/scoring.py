"""What programs that score trials share: their options, what is read, and what is written beside the scores."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from pytorch.data.data_dir import REST, read_table
from pytorch.data.trials import read_trials
from pytorch.files import need_file, read_json, sha256, sha256_of_sizes, whole_file, write_json
from pytorch.marker import Marker
from pytorch.origin import check_network, network_of, score_kind
from pytorch.pieces import Pieces
from pytorch.program import Fail, commit

PROGRAMS = {"score_cosine": {"trials", "xvectors"}, "score_plda": {"trials", "xvectors", "backend"}}  # with what each needs
PATHS = ("trials", "xvectors", "backend", "mean", "enrol", "enrol_spk2utt", "num_utts")


def add_scoring_options(parser):
    parser.add_argument("--mean", metavar="SCP", help="subtract the mean of these embeddings, or a vector of Kaldi's, in place of the back-end's; or none")
    parser.add_argument("--enrol", type=Path, metavar="SCP", help="embeddings of those enrolled, the first ids of the trials; else they are among the others")
    parser.add_argument("--enrol-spk2utt", type=Path, metavar="FILE", help="the first ids are speakers with these utterances; the mean of their embeddings")


def add_scoring_files(parser):
    parser.add_argument("trials", type=Path, help="trial list")
    parser.add_argument("xvectors", type=Path, help="xvector.scp of steps/extract.py")
    parser.add_argument("scores", type=Path, help="file of scores, made")


class Scoring:
    """A list of trials to be scored: checked, then read.

    name: of the program; args: its options
    """

    def __init__(self, name, args):
        self.name, self.args = name, args
        options = vars(args)
        self.paths = {what: options[what] for what in PATHS if options.get(what)}
        self.smoothing = options.get("smoothing", 0.0)
        if self.paths.get("mean") in (None, "none"):
            self.paths.pop("mean", None)
        else:
            self.paths["mean"] = Path(self.paths["mean"])
        self.no_mean = options.get("mean") == "none"
        self.length_norm = False
        self.inputs = self._inputs()
        self._check_networks()

    def options(self):
        """What the marker compares."""
        given = {what: what in self.paths for what in ("mean", "backend", "enrol", "enrol_spk2utt", "num_utts") if what in vars(self.args)}
        return given | {"mean": "none" if self.no_mean else given["mean"]} | ({"smoothing": self.smoothing} if self.name == "score_plda" else {})

    def _inputs(self):
        paths = self.paths
        need_file(paths["trials"], "draw a list with utils/make_trials.py")
        need_file(paths["xvectors"], "make it with steps/extract.py")
        inputs = {"trial list": sha256(paths["trials"]), **fingerprints(paths["xvectors"], paths["xvectors"].name)}
        if "mean" in paths:
            need_file(paths["mean"], "it holds the embeddings whose mean is to be subtracted; make it with steps/extract.py")
            inputs |= fingerprints(paths["mean"], "--mean")
        if "enrol" in paths:
            need_file(paths["enrol"], "it holds the embeddings of those enrolled; make it with steps/extract.py")
            inputs |= fingerprints(paths["enrol"], "--enrol")
        for what in ("enrol_spk2utt", "num_utts"):
            if what in paths:
                inputs[f"--{what.replace('_', '-')}"] = sha256(need_file(paths[what]))
        if "backend" in paths:
            from pytorch.backend.folder import files_of

            names, self.length_norm = files_of(paths["backend"], need_mean=not (self.no_mean or "mean" in paths))
            inputs |= {f"the back-end's {name}": sha256(paths["backend"] / name) for name in names if name != "plda" or self.name == "score_plda"}
        return inputs

    def _check_networks(self):
        """Fail where two of what is read come from different networks."""
        seen = []
        for what, remedy in (("xvectors", ""), ("enrol", "extract both with one"), ("mean", "extract both with one"), ("backend", "train one of this network")):
            if what in self.paths:
                for path in seen:
                    check_network(self.paths[what], network_of(path), path, remedy)
                seen.append(self.paths[what])

    def kind(self):
        """Of the scores, see score_kind()"""
        own = "the back-end's "
        digests = {name.removeprefix(own): digest for name, digest in self.inputs.items() if name.startswith(own)}
        mean = None if self.no_mean else fingerprint_of(self.inputs, "--mean") if "mean" in self.paths else digests.get("mean.vec")
        is_plda = self.name == "score_plda"
        return score_kind(is_plda, digests, network_of(self.paths["xvectors"]), mean, self.smoothing, self.length_norm, self.paths.get("backend"))

    def facts(self):
        """What stands beside the scores: enough to score other pairs just so."""
        return {
            "program": self.name,
            "files": {what: str(Path(path).resolve()) for what, path in self.paths.items()},
            "no_mean": self.no_mean,
            "smoothing": self.smoothing,
            "inputs": self.inputs,
            "kind": self.kind(),
        }

    @classmethod
    def of_scores(cls, scores):
        """The scoring behind a file of scores. Fails where the scores, or what they were made of, have changed since."""
        facts = read_facts(scores)
        args = argparse.Namespace(**dict.fromkeys(PATHS), smoothing=facts["smoothing"])
        for what, path in facts["files"].items():
            setattr(args, what, Path(path))
        if facts["no_mean"]:
            args.mean = "none"
        scoring = cls(facts["program"], args)
        if changed := [what for what in scoring.inputs | facts["inputs"] if scoring.inputs.get(what) != facts["inputs"].get(what)]:
            raise Fail(f"{scores}: {changed[0]} has changed since they were made; score the trials anew with steps/{facts['program']}.py")
        return scoring

    def read(self):
        """-> Trials"""
        import numpy as np

        from pytorch.backend.cosine import unit_length
        from pytorch.backend.pairs import Cosine

        backend = self._backend()
        scorer = Cosine()
        if self.name == "score_plda":
            scorer = backend.plda.smoothed(self.smoothing) if self.smoothing else backend.plda
        enrols, tests, _ = read_trials(self.paths["trials"])
        enrolled, tested = sorted(set(enrols)), sorted(set(tests))

        def prepare(vectors, names, where):
            vectors = backend.prepare(vectors, names, where)
            return unit_length(vectors, names, where) if isinstance(scorer, Cosine) else vectors

        counts = np.ones(len(enrolled), dtype=int)
        if "enrol" in self.paths or "enrol_spk2utt" in self.paths:
            vectors, counts = self._enrolled(enrolled)
            models = prepare(vectors, enrolled, self.paths.get("enrol_spk2utt", self.paths.get("enrol")))
            others = prepare(self._embeddings(self.paths["xvectors"], tested), tested, self.paths["xvectors"])
        else:
            names = sorted({*enrolled, *tested})
            vectors = prepare(self._embeddings(self.paths["xvectors"], names), names, self.paths["xvectors"])
            place = {name: row for row, name in enumerate(names)}
            models, others = (vectors[[place[name] for name in side]] for side in (enrolled, tested))
        if "num_utts" in self.paths:
            counts = self._num_utts(enrolled)
        return Trials(scorer, prepare, enrols, tests, enrolled, tested, models, counts, others)

    def _backend(self):
        from pytorch.backend.folder import Backend, read_mean

        backend = Backend.load(self.paths["backend"], need_mean=not (self.no_mean or "mean" in self.paths)) if "backend" in self.paths else Backend()
        if self.name == "score_plda" and not backend.plda:
            raise Fail(f"{self.paths['backend']}: has no PLDA; train one with steps/train_backend.py --plda true")
        if self.no_mean:
            backend.mean = None
        elif "mean" in self.paths:
            backend.mean, backend.mean_path = read_mean(self.paths["mean"]), self.paths["mean"]
        return backend

    def _embeddings(self, scp, names):
        from pytorch.data.ark import ArkReader, read_matrix

        reader = ArkReader(scp)
        if missing := [name for name in names if name not in reader]:
            trials = self.paths["trials"]
            raise Fail(f"{trials}: '{missing[0]}' has no embedding in {scp} ({len(missing)} such); extract them, or draw other trials")
        return read_matrix(scp, names)

    def _enrolled(self, names):
        """-> their embeddings, and of how many utterances each is the mean"""
        import numpy as np

        from pytorch.backend.speakers import speaker_means
        from pytorch.data.ark import ArkReader, read_matrix

        scp = self.paths.get("enrol", self.paths["xvectors"])
        if "enrol_spk2utt" not in self.paths:
            return self._embeddings(scp, names), np.ones(len(names), dtype=int)
        path = self.paths["enrol_spk2utt"]
        spk2utt = {spk: words.split() for spk, words in read_table(path, REST).items()}
        for number, (spk, utts) in enumerate(spk2utt.items(), 1):
            if len(set(utts)) < len(utts):
                raise Fail(f"{path}:{number}: '{spk}' has an utterance twice; keep one of them")
        if missing := [name for name in names if name not in spk2utt]:
            raise Fail(f"{self.paths['trials']}: '{missing[0]}' is not a speaker of {path} ({len(missing)} such); enrol them, or draw other trials")
        utts = [utt for spk in names for utt in spk2utt[spk]]
        reader = ArkReader(scp)
        if missing := [utt for utt in utts if utt not in reader]:
            raise Fail(f"{path}: '{missing[0]}' has no embedding in {scp} ({len(missing)} such); extract them, or leave them out")
        labels = np.repeat(np.arange(len(names)), [len(spk2utt[spk]) for spk in names])
        return speaker_means(read_matrix(scp, utts), labels)

    def _num_utts(self, names):
        import numpy as np

        path = self.paths["num_utts"]
        table = read_table(path)
        for number, (spk, text) in enumerate(table.items(), 1):
            if not text.isdecimal() or not 0 < int(text) < 10**9:
                raise Fail(f"{path}:{number}: '{spk}': a number of utterances expected, not '{text[:40]}'")
        if missing := [name for name in names if name not in table]:
            raise Fail(f"{path}: '{missing[0]}' of the trials is not there ({len(missing)} such); make it of the same speakers")
        return np.array([int(table[name]) for name in names])


@dataclass
class Trials:
    """Trials with the embeddings of both sides, prepared for their scorer."""

    scorer: object  # pytorch.backend.pairs.Cosine or pytorch.backend.plda.Plda
    prepare: object  # prepare(vectors, names, where) does to others what was done to these
    enrols: list  # ids of each trial
    tests: list
    enrolled: list  # each id once
    tested: list
    models: object  # (enrolled, dim) their vectors
    counts: object  # (enrolled,) how many utterances are behind each
    others: object  # (tested, dim)

    def sides(self):
        """-> those enrolled, those tested: pytorch.backend.pairs.Side"""
        return self.scorer.models(self.models, self.counts), self.scorer.tests(self.others, self.counts)

    def rows(self):
        """-> (M,) row of each trial among those enrolled, and among those tested"""
        import numpy as np

        found = []
        for names, ids in ((self.enrolled, self.enrols), (self.tested, self.tests)):
            place = {name: row for row, name in enumerate(names)}
            found.append(np.array([place[name] for name in ids]))
        return found

    def arrays(self):
        """-> {name: array}, for range_scores()"""
        models, tests = self.sides()
        first, second = self.rows()
        of_models = {"models": models.rows, "models_offsets": models.offsets, "kinds": models.kinds}
        return {**of_models, "tests": tests.rows, "tests_offsets": tests.offsets, "first": first, "second": second}


def score_trials(scoring, args):
    """The work of a program: score, write, say so."""
    marker = score_marker(scoring.name, args.scores, scoring.options(), scoring.inputs)
    pieces = score_pieces(args, args.scores, marker)
    if pieces.is_worker:
        pieces.work(range_scores)
        return
    if pieces.is_done([args.scores]):
        print(f"{scoring.name}: {args.scores} is there")
        return
    trials = scoring.read()
    values = pieces.values(trials.arrays(), len(trials.enrols), range_scores)
    write_scores(args.scores, trials.enrols, trials.tests, values, marker, scoring.facts())
    pieces.clear()
    print(f"{scoring.name}: {len(values)} trials in {args.scores}")


def range_scores(arrays, start, stop):
    """Scores of trials `start` to `stop` -> float64. arrays: of Trials.arrays()"""
    from pytorch.backend.pairs import Side, pair_scores

    models = Side(arrays["models"], arrays["models_offsets"], arrays["kinds"])
    return pair_scores(models, Side(arrays["tests"], arrays["tests_offsets"]), arrays["first"][start:stop], arrays["second"][start:stop])


def score_pieces(args, scores, marker):
    return Pieces(args, marker, Path(scores).parent / "log")


def read_facts(scores):
    """What stands beside scores that steps/score_cosine.py or score_plda.py made."""
    need_file(scores, "score the trials with steps/score_cosine.py or score_plda.py")
    path = facts_path(scores)
    need_file(path, f"it says how {scores} were made; score the trials anew with steps/score_cosine.py or score_plda.py")
    facts = read_json(path)
    if not _is_of_ours(facts):
        raise Fail(f"{path}: not of steps/score_cosine.py or score_plda.py; only their scores can be normalised")
    if facts["scores_sha256"] != sha256(scores):
        raise Fail(f"{scores}: not the scores that {path} was written with; score the trials anew")
    return facts


def kind_of_scores(scores):
    """The kind of scores as score_kind() has it, where the file beside them tells it; None of scores made by other programs."""
    path = facts_path(scores)
    try:
        facts = read_json(path) if path.is_file() else None
    except Fail:  # a file of that name that is somebody else's
        return None
    return facts.get("kind") if isinstance(facts, dict) and facts.get("scores_sha256") == sha256(scores) else None


def _is_of_ours(facts):
    kinds = {"program": str, "files": dict, "no_mean": bool, "smoothing": int | float, "inputs": dict, "scores_sha256": str}
    if not isinstance(facts, dict) or not all(isinstance(facts.get(what), kind) for what, kind in kinds.items()):
        return False
    files, needed = facts["files"], PROGRAMS.get(facts["program"], {None})
    return needed <= files.keys() <= set(PATHS) and all(isinstance(path, str) for path in files.values())


def facts_path(scores):
    return Path(scores).with_name(f"{Path(scores).name}.json")


def score_marker(name, scores, options, inputs):
    return Marker(Path(scores).parent / ".done" / f"{name}.{Path(scores).name}.json", options, inputs)


def write_scores(path, enrols, tests, values, marker, facts):
    """Write lines of `enrol test score`, and the facts beside them."""
    import numpy as np

    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise Fail(f"{path}: the score of '{enrols[bad[0]]} {tests[bad[0]]}' is not finite ({len(bad)} such); look at their embeddings and the back-end")
    marker.begin()
    with whole_file(path) as file:
        file.writelines(f"{enrol} {test} {score:.6f}\n" for enrol, test, score in zip(enrols, tests, values.tolist(), strict=True))
    write_json(facts_path(path), {**facts, "scores_sha256": sha256(path), "commit": commit()})
    marker.finish([path, facts_path(path)])


def fingerprint_of(inputs, what):
    """One hash of fingerprints(): of the values where it is known, else of the file."""
    return inputs.get(f"{what} (values)", inputs[what])


def fingerprints(scp, what):
    """Hash of an scp and of what it was made with it (xvector.json, xvector.sha256), and the sizes of its archives; of another file its hash."""
    if scp.suffix != ".scp":
        return {what: sha256(scp)}
    from pytorch.data.ark import ArkReader

    found = {what: sha256(scp), f"{what} (archives)": sha256_of_sizes(ArkReader(scp).archives())}
    beside = {"network": scp.with_suffix(".json"), "values": scp.with_suffix(".sha256")}
    return found | {f"{what} ({name})": sha256(path) for name, path in beside.items() if path.exists()}
