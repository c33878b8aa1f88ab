"""Programs that train back-ends, score trials and normalise scores, from files to files."""

import argparse
import json
import re
import shutil

import numpy as np
import pytest
import soundfile
from experiments import step
from kaldi_outputs import GOLDEN
from support import failure

from pytorch.backend.folder import Backend
from pytorch.backend.plda import Plda
from pytorch.data.ark import ArkWriter, read_ark
from pytorch.data.data_dir import read_table, write_data_dir, write_table
from pytorch.marker import Marker
from pytorch.metrics import eer
from pytorch.scoring import PATHS, Scoring, facts_path, read_facts, score_marker, write_scores


def write_vectors(path, table):
    path.parent.mkdir(exist_ok=True, parents=True)
    with ArkWriter(path.with_suffix(".ark"), path.with_suffix(".scp")) as ark:
        for key, vector in table.items():
            ark.write(key, vector)
    return path.with_suffix(".scp")


def drawn(prefix, speakers, utts, seed, dim=4):
    """{utt: vector} of a few speakers, far from the origin"""
    chance = np.random.default_rng(seed)
    table = {}
    for spk in range(speakers):
        own = chance.normal(size=dim) * 2 + 5
        table |= {f"{prefix}{spk:02d}-{utt}": (own + chance.normal(size=dim)).astype(np.float32) for utt in range(utts)}
    return table


def spk(utt):
    return utt.partition("-")[0]


@pytest.fixture
def home(tmp_path):
    """train: 8 speakers of 4 utterances; test: 5 of 3, trials of all pairs, and of speakers by their first two against the third ones."""
    train, test = drawn("a", 8, 4, 0), drawn("b", 5, 3, 1)
    write_vectors(tmp_path / "train/xvector", train)
    write_vectors(tmp_path / "test/xvector", test)
    write_data_dir(tmp_path / "train", dict.fromkeys(train, "x"), {utt: spk(utt) for utt in train})
    pairs = [(one, other) for one in test for other in test if one < other]
    (tmp_path / "trials").write_text("".join(f"{one} {other} {'target' if spk(one) == spk(other) else 'nontarget'}\n" for one, other in pairs))
    (tmp_path / "spk2utt").write_text("".join(f"b{number:02d} b{number:02d}-0 b{number:02d}-1\n" for number in range(5)))
    of_speakers = [(f"b{one:02d}", f"b{other:02d}-2", one == other) for one in range(5) for other in range(5)]
    (tmp_path / "spk_trials").write_text("".join(f"{one} {other} {'target' if same else 'nontarget'}\n" for one, other, same in of_speakers))
    return tmp_path


@pytest.fixture
def backend(home):
    """A back-end that was not trained: LDA to 3 of 4."""
    Backend(np.full(4, 5.0), np.eye(4)[:3] + 0.1, True, Plda(np.zeros(3), np.eye(3), np.array([4.0, 2, 1]))).save(home / "backend", {})
    return home / "backend"


@pytest.fixture
def vectors(home):
    return dict(read_ark(home / "test/xvector.ark"))


def scoring(home, name="score_cosine", trials="trials", **paths):
    options = dict.fromkeys(PATHS) | {"trials": home / trials, "xvectors": home / "test/xvector.scp"} | paths
    return Scoring(name, argparse.Namespace(**options, **({} if "smoothing" in paths else {"smoothing": 0.0})))


def scored(path):
    return {tuple(line.split()[:2]): float(line.split()[2]) for line in path.read_text().splitlines()}


def good(done):
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refused(done):
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    return done.stderr.rstrip("\n")


# ---- the whole way


def test_kaldis_scores_come_out_of_the_programs(program, tmp_path):
    table, utt2spk = dict(read_ark(GOLDEN / "x.txt")), read_table(GOLDEN / "x.utt2spk")
    write_data_dir(tmp_path / "d", dict.fromkeys(utt2spk, "x"), utt2spk)
    scp = write_vectors(tmp_path / "x/xvector", table)
    shutil.copy(GOLDEN / "x.trials", tmp_path / "trials")
    good(program("steps/train_backend.py", "--length-norm", "false", tmp_path / "d", scp, tmp_path / "b"))
    good(program("steps/score_plda.py", tmp_path / "b", tmp_path / "trials", scp, tmp_path / "x/scores"))
    kaldis, ours = scored(GOLDEN / "plda_scores.txt"), scored(tmp_path / "x/scores")
    assert ours.keys() == kaldis.keys()
    assert [ours[pair] for pair in kaldis] == pytest.approx(list(kaldis.values()), abs=1.5e-5)


def test_a_back_end_is_trained_applied_adapted_and_its_scores_are_normalised(home, program):
    train = home / "train", home / "train/xvector.scp"
    said = good(program("steps/train_backend.py", "--lda-dim", "3", *train, home / "b"))
    assert said == f"train_backend: mean, LDA to 3 of 4 dimensions, PLDA of 32 embeddings of 8 speakers in {home}/b\n"
    test = home / "trials", home / "test/xvector.scp"
    said = good(program("steps/score_plda.py", home / "b", *test, home / "test/plda"))
    assert said == f"score_plda: 105 trials in {home}/test/plda\n"
    said = good(program("steps/normalise_scores.py", "--top-n", "5", home / "test/plda", *train, home / "test/norm"))
    assert said == f"normalise_scores: 105 trials in {home}/test/norm, s-norm by 5 of 8 speakers\n"
    said = good(program("steps/adapt_backend.py", home / "b", home / "test/xvector.scp", home / "b2"))
    assert said == f"adapt_backend: {home}/b adapted to 15 embeddings in {home}/b2\n"
    adapted, vectors = Backend.load(home / "b2"), np.array(list(dict(read_ark(home / "test/xvector.ark")).values()))
    np.testing.assert_allclose(adapted.mean, vectors.mean(0, dtype=float), rtol=1e-6)
    np.testing.assert_array_equal(adapted.transform, Backend.load(home / "b").transform)
    # again: nothing is done
    assert good(program("steps/train_backend.py", "--lda-dim", "3", *train, home / "b")) == f"train_backend: {home}/b is there\n"
    assert good(program("steps/adapt_backend.py", home / "b", home / "test/xvector.scp", home / "b2")) == f"adapt_backend: {home}/b2 is there\n"
    again = program("steps/normalise_scores.py", "--top-n", "5", home / "test/plda", *train, home / "test/norm")
    assert good(again) == f"normalise_scores: {home}/test/norm is there\n"
    # with other options: nothing is done either
    message = refused(program("steps/train_backend.py", "--lda-dim", "2", *train, home / "b"))
    assert message == f"train_backend.py: {home}/b: train_backend was done otherwise: --lda-dim was 3, now 2. Pass --overwrite true to do it anew"
    message = refused(program("steps/normalise_scores.py", "--top-n", "0", home / "test/plda", *train, home / "test/norm"))
    assert "--top-n was 5, now 0" in message


def test_train_backend_warns_of_directions_without_variance(home, program):
    flat = {utt: np.r_[vector[:3], int(utt[1:3])] for utt, vector in read_ark(home / "train/xvector.ark")}
    scp = write_vectors(home / "flat/xvector", flat)
    done = program("steps/train_backend.py", "--lda-dim", "3", "--plda", "false", home / "train", scp, home / "b")
    what = "1 of 4 directions hardly vary within speakers, --covariance-floor holds them; more utterances would help"
    assert (done.returncode, done.stderr) == (0, f"train_backend: warning: {what}\n")
    assert sorted(path.name for path in (home / "b").iterdir() if path.is_file()) == ["backend.json", "mean.vec", "transform.mat"]


@pytest.mark.parametrize(
    "words, message",
    [
        (("--lda-dim", "8"), "{t}/train: LDA to 8 dimensions of 4, with 8 speakers: they differ in 4 at most; choose a lower --lda-dim"),
        ((), "{t}/xvector.scp: no such file; make it with steps/extract.py"),
    ],
)
def test_train_backend_says_what_is_wrong(home, program, words, message):
    scp = home / "train/xvector.scp" if words else home / "xvector.scp"
    assert refused(program("steps/train_backend.py", *words, home / "train", scp, home / "b")) == "train_backend.py: " + message.format(t=home)
    assert not (home / "b/mean.vec").exists()


@pytest.mark.parametrize(
    "new, one, message",
    [
        ("backend", False, "{t}/backend: is the back-end to be adapted itself; name another folder"),
        ("new", True, "{t}/test/xvector.scp: one embedding only, of which nothing can be learnt; adapt to more"),
    ],
)
def test_adapt_backend_says_what_is_wrong(home, backend, program, new, one, message):
    if one:
        write_vectors(home / "test/xvector", {"a": np.ones(4)})
    assert refused(program("steps/adapt_backend.py", backend, home / "test/xvector.scp", home / new)) == "adapt_backend.py: " + message.format(t=home)


@pytest.mark.parametrize(
    "words",
    [("score_plda.py", "--num-utts", "n", "b", "t", "x", "s"), ("normalise_scores.py", "--top-n", "1", "s", "d", "x", "n"), ("score_plda.py", "t", "x", "s")],
)
def test_options_that_make_no_sense_are_status_2(program, words):
    done = program(f"steps/{words[0]}", *words[1:])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


# ---- what is scored


def scores_of(job):
    from pytorch.backend.pairs import pair_scores

    trials = job.read()
    return dict(zip(zip(trials.enrols, trials.tests, strict=True), pair_scores(*trials.sides(), *trials.rows()), strict=True))


def cosine(one, other):
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


def test_the_back_ends_mean_and_lda_come_before_the_cosine(home, backend, vectors):
    def prepared(vector):
        return (np.eye(4)[:3] + 0.1) @ (vector.astype(float) - 5)

    for (one, other), score in scores_of(scoring(home, backend=backend)).items():
        assert score == pytest.approx(cosine(prepared(vectors[one]), prepared(vectors[other])), abs=1e-6)


def test_another_mean_takes_the_place_of_the_back_ends(home, backend, vectors):
    (home / "mean.vec").write_text(" [ 1 2 3 4 ]\n")
    found = scores_of(scoring(home, backend=backend, mean=str(home / "mean.vec")))
    none = scores_of(scoring(home, backend=backend, mean="none"))
    matrix = np.eye(4)[:3] + 0.1
    for one, other in found:
        mean = np.array([1, 2, 3, 4])
        assert found[one, other] == pytest.approx(cosine(matrix @ (vectors[one] - mean), matrix @ (vectors[other] - mean)), abs=1e-6)
        assert none[one, other] == pytest.approx(cosine(matrix @ vectors[one], matrix @ vectors[other]), abs=1e-6)


def test_a_speaker_is_the_mean_of_its_utterances(home, vectors):
    found = scores_of(scoring(home, trials="spk_trials", enrol_spk2utt=home / "spk2utt"))
    assert len(found) == 25
    for (one, other), score in found.items():
        assert score == pytest.approx(cosine((vectors[f"{one}-0"] + vectors[f"{one}-1"]) / 2, vectors[other]), abs=1e-6)


def test_plda_counts_the_utterances_of_a_speaker(home, backend, vectors):
    """By a table of speakers, and by their means with a table of numbers: the same; other than if they were single utterances."""
    by_table = scores_of(scoring(home, "score_plda", "spk_trials", enrol_spk2utt=home / "spk2utt", backend=backend))
    means = {f"b{number:02d}": (vectors[f"b{number:02d}-0"] + vectors[f"b{number:02d}-1"]) / 2 for number in range(5)}
    write_vectors(home / "spk/xvector", means)
    write_table(home / "num_utts", dict.fromkeys(means, 2))
    by_number = scores_of(scoring(home, "score_plda", "spk_trials", enrol=home / "spk/xvector.scp", num_utts=home / "num_utts", backend=backend))
    as_one = scores_of(scoring(home, "score_plda", "spk_trials", enrol=home / "spk/xvector.scp", backend=backend))
    assert list(by_table.values()) == pytest.approx(list(by_number.values()), abs=1e-5)
    assert list(by_table.values()) != pytest.approx(list(as_one.values()), abs=0.1)


def test_smoothing_changes_plda_scores(home, backend):
    plain, smooth = (scores_of(scoring(home, "score_plda", backend=backend, smoothing=smoothing)) for smoothing in (0.0, 0.5))
    assert np.abs(np.array(list(smooth.values()))).mean() < np.abs(np.array(list(plain.values()))).mean()


def test_the_order_of_trials_does_not_change_their_scores(home, backend):
    before = {name: scores_of(scoring(home, name, backend=backend)) for name in ("score_cosine", "score_plda")}
    lines = (home / "trials").read_text().splitlines(keepends=True)
    (home / "trials").write_text("".join(sorted(lines, key=lambda line: line[::-1])))
    assert {name: scores_of(scoring(home, name, backend=backend)) for name in before} == before


def shorten(name, keep):
    """The table with only the first lines."""

    def harm(home):
        (home / name).write_text("".join((home / name).read_text().splitlines(keepends=True)[:keep]))

    return harm


@pytest.mark.parametrize(
    "harm, message",
    [
        (shorten("spk2utt", 3), "{t}/spk_trials: 'b03' is not a speaker of {t}/spk2utt (2 such); enrol them, or draw other trials"),
        (
            lambda home: write_table(home / "spk2utt", {f"b{number:02d}": "b00-0 z" for number in range(5)}),
            "{t}/spk2utt: 'z' has no embedding in {t}/test/xvector.scp (5 such); extract them, or leave them out",
        ),
        (lambda home: (home / "spk2utt").write_text("b00 u u\n"), "{t}/spk2utt:1: 'b00' has an utterance twice; keep one of them"),
        (lambda home: (home / "spk2utt").write_text(""), "{t}/spk2utt: empty"),
        (lambda home: (home / "spk2utt").write_text("b00 x\r\n"), "{t}/spk2utt:1: Windows line ending; remove them with: sed -i 's/\\r$//' {t}/spk2utt"),
    ],
)
def test_enrolment_says_what_is_wrong(home, harm, message):
    harm(home)
    assert failure(lambda: scoring(home, trials="spk_trials", enrol_spk2utt=home / "spk2utt").read()) == message.format(t=home)


@pytest.mark.parametrize(
    "table, message",
    [
        (dict.fromkeys(("b00", "b01"), 2), "{t}/n: 'b02' of the trials is not there (3 such); make it of the same speakers"),
        (dict.fromkeys(("b00", "b01"), 0), "{t}/n:1: 'b00': a number of utterances expected, not '0'"),
        (dict.fromkeys(("b00", "b01"), "two"), "{t}/n:1: 'b00': a number of utterances expected, not 'two'"),
    ],
)
def test_numbers_of_utterances_are_checked(home, backend, table, message):
    write_table(home / "n", table)
    write_vectors(home / "spk/xvector", {f"b{number:02d}": np.arange(4) for number in range(5)})
    job = scoring(home, "score_plda", "spk_trials", backend=backend, enrol=home / "spk/xvector.scp", num_utts=home / "n")
    assert failure(job.read) == message.format(t=home)


def test_files_named_must_be_there(home, backend):
    for what, remedy in {"enrol": "; it holds the embeddings of those enrolled; make it with steps/extract.py", "enrol_spk2utt": "", "num_utts": ""}.items():
        assert failure(scoring, home, "score_plda", backend=backend, **{what: home / "none.scp"}) == f"{home}/none.scp: no such file{remedy}"


def test_a_back_end_without_plda_is_refused_by_score_plda(home):
    Backend(np.zeros(4)).save(home / "b", {})
    assert failure(scoring(home, "score_plda", backend=home / "b").read) == f"{home}/b: has no PLDA; train one with steps/train_backend.py --plda true"


def test_scores_that_are_not_finite_are_not_written(tmp_path):
    marker = Marker(tmp_path / ".done/x.json", {}, {})
    message = failure(write_scores, tmp_path / "scores", ["a", "b"], ["c", "d"], np.array([1, np.inf]), marker, {})
    assert message == f"{tmp_path}/scores: the score of 'b d' is not finite (1 such); look at their embeddings and the back-end"
    assert not (tmp_path / "scores").exists()


# ---- normalisation


def write_some(home, job, name="scores"):
    found = scores_of(job)
    marker = score_marker(job.name, home / f"test/{name}", job.options(), job.inputs)
    write_scores(home / f"test/{name}", *zip(*found, strict=True), np.array(list(found.values())), marker, job.facts())
    return home / f"test/{name}"


@pytest.mark.parametrize(
    "norm, top_n, of",
    [("s", 3, "speakers"), ("z", 3, "speakers"), ("t", 3, "speakers"), ("s", 0, "speakers"), ("z", 0, "utterances"), ("t", 9, "utterances")],
)
def test_normalised_scores_are_those_of_the_formula(home, program, vectors, norm, top_n, of):
    train = dict(read_ark(home / "train/xvector.ark"))
    scores = write_some(home, scoring(home, mean=str(home / "train/xvector.scp")))
    options = ("--norm", norm, "--top-n", top_n, "--cohort", of)
    good(program("steps/normalise_scores.py", *options, scores, home / "train", home / "train/xvector.scp", home / "test/norm"))
    mean = np.mean(list(train.values()), 0, dtype=float)
    cohort = [vector.astype(float) - mean for vector in train.values()]
    if of == "speakers":
        cohort = [np.mean([train[utt] for utt in train if spk(utt) == own], 0, dtype=float) - mean for own in sorted(set(map(spk, train)))]

    def statistics(vector):
        highest = sorted((cosine(vector, other) for other in cohort), reverse=True)[: top_n or None]
        return np.mean(highest), np.std(highest)

    for (one, other), score in scored(home / "test/norm").items():
        sides = [vectors[one].astype(float) - mean, vectors[other].astype(float) - mean]
        both = [(cosine(*sides) - of_mean) / deviation for of_mean, deviation in map(statistics, sides)]
        assert score == pytest.approx({"s": sum(both) / 2, "z": both[0], "t": both[1]}[norm], abs=2e-4)
    facts = json.loads((home / "test/norm.json").read_text())
    assert (facts["norm"], facts["top_n"], facts["cohort"], facts["size"]) == (norm, top_n, of, 8 if of == "speakers" else 32)


def trials_too(home):
    utts = {**dict(read_ark(home / "train/xvector.ark")), **dict(read_ark(home / "test/xvector.ark"))}
    write_vectors(home / "train/xvector", utts)
    write_data_dir(home / "train", dict.fromkeys(utts, "x"), {utt: spk(utt) for utt in utts})


def other_dim(home):
    write_vectors(home / "train/xvector", {utt: np.r_[vector, 1] for utt, vector in read_ark(home / "train/xvector.ark")})


@pytest.mark.parametrize(
    "harm, message",
    [
        (trials_too, "{t}/train/utt2spk: 'b00-0' is in the trials too (15 such); the cohort must be of others"),
        (other_dim, "{t}/train/xvector.scp: dimension 5, but the trials' embeddings have 4; both must come from one network"),
        (
            lambda home: (home / "train/utt2spk").write_text("a00-0 a00\na01-0 a01\n"),
            "{t}/train: a cohort of 2 speakers, --top-n 3 of them were asked for; choose fewer, or 0 for all of two or more",
        ),
        (
            lambda home: (home / "test/scores.json").unlink(),
            "{t}/test/scores.json: no such file; it says how {t}/test/scores were made; score the trials anew with steps/score_cosine.py or score_plda.py",
        ),
        (
            lambda home: write_vectors(home / "test/xvector", drawn("b", 5, 3, 7)) and (home / "test/xvector.sha256").write_text("x\n"),
            "{t}/test/scores: xvector.scp (values) has changed since they were made; score the trials anew with steps/score_cosine.py",
        ),
    ],
    ids=["trials", "dimension", "few", "facts", "changed"],
)
def test_normalise_scores_says_what_is_wrong(home, program, harm, message):
    scores = write_some(home, scoring(home))
    harm(home)
    done = program("steps/normalise_scores.py", "--top-n", "3", scores, home / "train", home / "train/xvector.scp", home / "test/norm")
    assert refused(done) == "normalise_scores.py: " + message.format(t=home)
    assert not (home / "test/norm").exists()


def test_only_scores_as_they_were_made_can_be_normalised(home):
    scores = write_some(home, scoring(home))
    text = scores.read_text()
    scores.write_text(text.replace("0", "1", 1))
    assert failure(read_facts, scores) == f"{scores}: not the scores that {scores}.json was written with; score the trials anew"
    scores.write_text(text)
    whole = json.loads(facts_path(scores).read_text())
    for facts in ({}, [], {**whole, "program": "normalise_scores"}, {**whole, "program": "score_plda"}, {**whole, "files": {"trials": 1, "xvectors": 2}}):
        facts_path(scores).write_text(json.dumps(facts))
        assert failure(read_facts, scores) == f"{scores}.json: not of steps/score_cosine.py or score_plda.py; only their scores can be normalised"


# ---- by several jobs


SCORINGS = {
    "score_cosine": "--backend {t}/backend {t}/trials {t}/test/xvector.scp",
    "score_plda": "--enrol-spk2utt {t}/uneven --smoothing 0.1 {t}/backend {t}/spk_trials {t}/test/xvector.scp",
    "normalise_scores": "--top-n 5 {t}/test/plda {t}/train {t}/train/xvector.scp",
}


@pytest.fixture
def uneven(home, backend):
    """Speakers of one utterance and of two, and their scores by the PLDA."""
    (home / "uneven").write_text("b00 b00-0\nb01 b01-0 b01-1\nb02 b02-0\nb03 b03-0 b03-1\nb04 b04-0\n")
    job = scoring(home, "score_plda", "spk_trials", enrol_spk2utt=home / "uneven", backend=backend)
    return write_some(home, job, "plda")


@pytest.mark.parametrize("name", SCORINGS)
def test_any_number_of_jobs_writes_the_same_bytes(home, uneven, program, name):
    words = SCORINGS[name].format(t=home).split()
    good(program(f"steps/{name}.py", *words, home / "one/s"))
    said = good(program(f"steps/{name}.py", "--nj", 40 if name == "normalise_scores" else 3, *words, home / "more/s"))
    assert said.startswith(f"{name}: ")
    assert (home / "more/s").read_bytes() == (home / "one/s").read_bytes()
    assert json.loads((home / "more/s.json").read_text()) == json.loads((home / "one/s.json").read_text())
    logs = sorted(path.name for path in (home / "more/log").iterdir())
    assert logs == [f"{name}.s.{job}.log" for job in (1, 2, 3)]  # there are no more than three blocks of rows to normalise by
    assert not (home / "more/.parts").exists()


@pytest.mark.parametrize("kind", ["z", "t", "s"])
def test_statistics_of_ranges_of_blocks_are_those_of_the_whole(home, uneven, monkeypatch, kind):
    normalise_scores = step("normalise_scores")

    monkeypatch.setattr("pytorch.backend.normalisation.SCORES", 40)  # two rows of 20 scores
    trials, chance = Scoring.of_scores(uneven).read(), np.random.default_rng(0)
    arrays, blocks = normalise_scores.cohort_arrays(trials, chance.normal(size=(20, 3)).astype(np.float32), kind)
    assert blocks == {"z": 3, "t": 3, "s": 6}[kind]  # of five models, three of one kind and two of another; of five tests
    whole = normalise_scores.range_statistics(arrays, 0, blocks, 6)
    parts = [normalise_scores.range_statistics(arrays, block, block + 1, 6) for block in range(blocks)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    assert whole.shape == (2, {"z": 5, "t": 5, "s": 10}[kind])


@pytest.fixture
def runner(tmp_path):
    """runner("2") is a runner of which only job 2 runs, and which says that all is well, or with status=1 that it is not."""

    def make(jobs, status=0):
        path = tmp_path / f"run{jobs}.sh"
        job = 'bash -c "${*//JOB/$n}" >"${log//JOB/$n}" 2>&1'
        lines = ["#!/usr/bin/env bash", "log=$2", "shift 2", f"for n in {jobs}; do {job} || exit; done", f"exit {status}"]
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o755)
        return str(path)

    return make


def test_pieces_that_are_there_are_not_computed_again(home, program, runner):
    words = ("steps/score_cosine.py", home / "trials", home / "test/xvector.scp", home / "out/s", "--nj", 2, "--cmd")
    message = refused(program(*words, runner("1", status=1)))
    assert message == f"score_cosine.py: jobs failed, see {home}/out/log/score_cosine.s.*.log; started again, only what is missing is done"
    good(program(*words, runner("2")))
    good(program("steps/score_cosine.py", home / "trials", home / "test/xvector.scp", home / "one/s"))
    assert (home / "out/s").read_bytes() == (home / "one/s").read_bytes()
    assert sorted(path.name for path in (home / "out").iterdir()) == [".done", "log", "s", "s.json"]


def test_a_job_that_does_not_come_back_is_named(home, program, runner):
    words = ("steps/score_cosine.py", home / "trials", home / "test/xvector.scp", home / "out/s", "--nj", 2, "--cmd")
    message = refused(program(*words, runner("2")))
    assert re.fullmatch(
        rf"score_cosine.py: {home}/out/.parts/score_cosine.s/\w+: of 2 jobs, these did not come back: 1; see {home}/out/log, run again", message
    )
    assert not (home / "out/s").exists()


def test_a_job_whose_step_has_gone_says_so(home, program):
    message = refused(program("steps/score_cosine.py", home / "trials", home / "test/xvector.scp", home / "out/s", "--nj", 2, "--job", 1))
    what = "no such folder; what the step reads has changed since it was started, or it has ended: start it again"
    assert re.fullmatch(rf"score_cosine.py: {home}/out/.parts/score_cosine.s/\w+: {what}", message)


def test_overwrite_takes_no_piece_of_an_earlier_run(home, program, runner):
    words = ("steps/score_cosine.py", home / "trials", home / "test/xvector.scp", home / "out/s", "--nj", 2, "--cmd")
    refused(program(*words, runner("1", status=1)))
    assert "these did not come back: 1; " in refused(program(*words, runner("2"), "--overwrite", "true"))


def test_overwrite_takes_the_pieces_of_jobs_that_submit_py_finds_again(home, program, runner):
    """Started on a cluster with --overwrite true, the connection was lost; started again as before."""
    words = ("steps/score_cosine.py", home / "trials", home / "test/xvector.scp", home / "out/s", "--nj", 2, "--overwrite", "true", "--cmd")
    refused(program(*words, runner("1", status=1)))
    (home / "out/q").mkdir()
    (home / "out/q/score_cosine.s.json").write_text("{}\n")
    good(program(*words, runner("2")))


def test_scores_of_somebody_else_are_not_replaced(home, program):
    (home / "test/s").write_text("a b 1\n")
    message = refused(program("steps/score_cosine.py", "--nj", 2, home / "trials", home / "test/xvector.scp", home / "test/s"))
    assert message == f"score_cosine.py: {home}/test/s: is there, but score_cosine.s did not make it; move it away, or pass --overwrite true to replace it"
    assert not (home / "test/log").exists()


# ---- real speech


def spectrum(path):
    """-> (60,): mean and deviation of the energy in 30 bands, in logarithms"""
    samples, _ = soundfile.read(path)
    frames = np.lib.stride_tricks.sliding_window_view(samples, 400)[::160] * np.hanning(400)
    power = np.abs(np.fft.rfft(frames, 512)[:, 1:241]) ** 2
    bands = np.log(power.reshape(len(frames), 30, 8).sum(2) + 1e-6)
    return np.r_[bands.mean(0), bands.std(0)]


def test_lda_and_plda_find_speakers_of_an4_better_than_the_cosine(corpora, program, tmp_path):
    """On mean and deviation of the spectrum, no network trained; 36 speakers to train the back-end on, 20 others to tell apart."""
    conf = GOLDEN.parents[1] / "egs/an4/v1/conf"
    if not (corpora / "an4").is_dir():
        pytest.skip("no AN4 among the corpora")
    lists = ("--valid-list", conf / "valid_speakers", "--test-list", conf / "test_speakers")
    good(program("local/make_an4.py", *lists, corpora / "an4", tmp_path))
    good(program("utils/make_trials.py", tmp_path / "test"))
    for name in ("train", "test"):
        write_vectors(tmp_path / name / "xvector", {utt: spectrum(path) for utt, path in read_table(tmp_path / name / "wav.scp").items()})
    train, test = (tmp_path / "train", tmp_path / "train/xvector.scp"), (tmp_path / "test/trials", tmp_path / "test/xvector.scp")
    good(program("steps/train_backend.py", "--lda-dim", "30", *train, tmp_path / "b"))
    good(program("steps/score_cosine.py", "--mean", train[1], *test, tmp_path / "cosine"))
    good(program("steps/score_cosine.py", "--backend", tmp_path / "b", *test, tmp_path / "lda"))
    good(program("steps/normalise_scores.py", "--top-n", "20", tmp_path / "lda", *train, tmp_path / "lda_asnorm"))
    good(program("steps/score_plda.py", tmp_path / "b", *test, tmp_path / "plda"))
    labels = [line.split()[2] == "target" for line in test[0].read_text().splitlines()]
    rates = {name: eer(np.array(list(scored(tmp_path / name).values())), np.array(labels))[0] for name in ("cosine", "lda", "lda_asnorm", "plda")}
    assert max(rates["plda"], rates["lda"], rates["lda_asnorm"]) < 0.8 * rates["cosine"], rates
