"""pytorch/metrics/detection.py, backend/cosine.py, scores of data/trials.py and the programs on them: trials scored and judged exactly, or refused."""

import itertools
import json
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scipy.spatial.distance
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from support import failure
from trial_data import make_data, speakers

from pytorch.backend.cosine import BLOCK, cosine_scores, unit_length
from pytorch.data.ark import ArkWriter
from pytorch.data.data_dir import write_table
from pytorch.data.trials import draw_trials, join_scores, read_trials, write_trials
from pytorch.files import sha256
from pytorch.metrics import eer, error_rates, min_dcf

GOLDEN = Path(__file__).parent / "kaldi_golden"


# ---- error rates against brute force

TIED = st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=40).filter(lambda pairs: len({label for _, label in pairs}) == 2)


def points_by_definition(pairs):
    """(p_miss, p_fa, threshold) at every threshold that makes a difference, as exact fractions."""
    targets = [score for score, label in pairs if label]
    others = [score for score, label in pairs if not label]
    points = []
    for threshold in [-np.inf, *sorted({score for score, _ in pairs})]:
        missed = sum(not score > threshold for score in targets)
        accepted = sum(score > threshold for score in others)
        points.append((Fraction(missed, len(targets)), Fraction(accepted, len(others)), threshold))
    return points


def eer_by_definition(points):
    """Where the straight line from one operating point to the next meets p_miss = p_fa."""
    for (miss, fa, _), (next_miss, next_fa, threshold) in itertools.pairwise(points):
        if next_miss >= next_fa:
            share = (fa - miss) / ((fa - miss) + (next_miss - next_fa))
            return miss + share * (next_miss - miss), threshold
    raise AssertionError


def columns(pairs):
    return np.array([score for score, _ in pairs]), np.array([label for _, label in pairs])


@settings(max_examples=300, deadline=None)
@given(TIED)
def test_operating_points_equal_brute_force_over_all_thresholds(pairs):
    p_miss, p_fa, thresholds = error_rates(*columns(pairs))
    expected = points_by_definition(pairs)
    assert thresholds.tolist() == [threshold for *_, threshold in expected]
    assert p_miss.tolist() == [float(miss) for miss, *_ in expected]
    assert p_fa.tolist() == [float(fa) for _, fa, _ in expected]


@settings(max_examples=300, deadline=None)
@given(TIED)
def test_the_eer_and_its_threshold_equal_brute_force(pairs):
    rate, threshold = eer(*columns(pairs))
    expected, expected_threshold = eer_by_definition(points_by_definition(pairs))
    assert rate == pytest.approx(float(expected), abs=1e-12)
    assert threshold == expected_threshold


COSTS = st.sampled_from([0.5, 1.0, 10.0])


@settings(max_examples=300, deadline=None)
@given(TIED, st.sampled_from([0.001, 0.01, 0.05, 0.5, 0.9]), COSTS, COSTS)
def test_min_dcf_equals_brute_force_over_all_thresholds(pairs, p_target, c_miss, c_fa):
    costs = [c_miss * p_target * miss + c_fa * (1 - p_target) * fa for miss, fa, _ in points_by_definition(pairs)]
    expected = float(min(costs)) / min(c_miss * p_target, c_fa * (1 - p_target))
    found = min_dcf(*columns(pairs), p_target, c_miss, c_fa)
    assert found == pytest.approx(expected, rel=1e-12)
    assert 0 <= found <= 1


@settings(max_examples=100, deadline=None)
@given(TIED, st.randoms())
def test_the_order_of_trials_does_not_matter(pairs, chance):
    shuffled = chance.sample(pairs, len(pairs))
    assert eer(*columns(shuffled)) == eer(*columns(pairs))
    assert min_dcf(*columns(shuffled), 0.05) == min_dcf(*columns(pairs), 0.05)


@settings(max_examples=100, deadline=None)
@given(TIED, st.sampled_from([np.exp, np.arctan, lambda x: 3 * x + 7, lambda x: x**3]))
def test_rising_functions_of_the_scores_change_no_rate(pairs, function):
    scores, labels = columns(pairs)
    assert eer(function(scores.astype(float)), labels)[0] == eer(scores, labels)[0]
    assert min_dcf(function(scores.astype(float)), labels, 0.01) == min_dcf(scores, labels, 0.01)


# ---- error rates against scikit-learn


@pytest.fixture(scope="module", params=[(200, 1000, 1.0), (50, 50, 0.3), (1000, 20, 2.5)], ids=str)
def scored(request):
    targets, others, distance = request.param
    rng = np.random.default_rng(targets)
    scores = np.concatenate([rng.normal(distance, 1, targets), rng.normal(0, 1, others)])
    order = rng.permutation(len(scores))
    return scores[order], (np.arange(len(scores)) < targets)[order]


def test_operating_points_lie_on_scikit_learns_roc_curve(scored):
    scores, labels = scored
    p_miss, p_fa, _ = error_rates(scores, labels)
    fpr, tpr, _ = sklearn.metrics.roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(p_fa[::-1], fpr, atol=1e-12)
    np.testing.assert_allclose(1 - p_miss[::-1], tpr, atol=1e-12)


def test_operating_points_hold_scikit_learns_det_curve(scored):
    scores, labels = scored
    p_miss, p_fa, _ = error_rates(scores, labels)
    fpr, fnr, _ = sklearn.metrics.det_curve(labels, scores)
    ours = set(zip(p_fa.round(9).tolist(), p_miss.round(9).tolist(), strict=True))
    assert set(zip(fpr.round(9).tolist(), fnr.round(9).tolist(), strict=True)) <= ours


def test_the_eer_and_min_dcf_equal_those_of_scikit_learns_roc_curve(scored):
    scores, labels = scored
    fpr, tpr, _ = sklearn.metrics.roc_curve(labels, scores, drop_intermediate=False)
    place = np.argmin(np.abs(fpr - (1 - tpr)))
    step = 1 / min(labels.sum(), (~labels).sum())
    assert eer(scores, labels)[0] == pytest.approx(fpr[place], abs=step)
    assert min_dcf(scores, labels, 0.05) == pytest.approx((0.05 * (1 - tpr) + 0.95 * fpr).min() / 0.05, rel=1e-12)


def test_the_threshold_has_about_the_error_rate_on_both_sides(scored):
    scores, labels = scored
    rate, threshold = eer(scores, labels)
    assert np.mean(scores[labels] <= threshold) == pytest.approx(rate, abs=1 / labels.sum())
    assert np.mean(scores[~labels] > threshold) == pytest.approx(rate, abs=1 / (~labels).sum())


# ---- error rates one can tell by heart


@pytest.mark.parametrize(
    "targets, others, rate",
    [
        ([0, 0, 0], [0, 0], 0.5),
        ([1], [1], 0.5),
        ([1], [0], 0.0),
        ([0], [1], 1.0),
        ([5, 6, 7], [1, 2, 3, 4], 0.0),
        ([1, 2, 3], [5, 6, 7, 8], 1.0),
        ([1, 3], [2, 0], 0.5),
        ([1, 2, 3, 4], [0, 0.5, 1.5, -1], 0.25),
    ],
)
def test_simple_lists_have_the_eer_one_expects(targets, others, rate):
    labels = [True] * len(targets) + [False] * len(others)
    assert eer(targets + others, labels)[0] == rate


def test_min_dcf_of_perfect_and_of_useless_scores():
    labels = [True, True, False, False]
    assert min_dcf([4, 3, 2, 1], labels, 0.01) == 0
    assert min_dcf([1, 1, 1, 1], labels, 0.01) == 1
    assert min_dcf([1, 2, 3, 4], labels, 0.01) == 1
    assert min_dcf([1, 1, 1, 1], labels, 0.9) == 1


def test_kaldis_golden_scores_have_kaldis_eer():
    labels = {tuple(line.split()[:2]): line.split()[2] == "target" for line in (GOLDEN / "x.trials").read_text().splitlines()}
    rows = [line.split() for line in (GOLDEN / "cosine_scores.txt").read_text().splitlines()]
    scores = np.array([float(row[2]) for row in rows])
    wanted = np.array([labels[row[0], row[1]] for row in rows])
    targets, others = np.sort(scores[wanted]), np.sort(scores[~wanted])
    place = next(p for p in range(len(targets)) if others[len(others) - 1 - int(len(others) * p / len(targets))] < targets[p])  # compute-eer's rule
    assert eer(scores, wanted)[0] == pytest.approx(place / len(targets), abs=1 / len(targets))


@pytest.mark.parametrize("labels", [[True, True], [False, False], []])
def test_trials_of_one_kind_have_no_error_rate(labels):
    for function in (error_rates, eer, lambda scores, labels: min_dcf(scores, labels, 0.01)):
        with pytest.raises(ValueError, match="trials of both kinds are needed"):
            function(np.arange(len(labels)), labels)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_have_no_error_rate(bad):
    with pytest.raises(ValueError, match="not finite"):
        eer([0.0, bad, 1.0], [True, False, True])


# ---- cosine scores


def golden_vectors():
    rows = [line.replace("[", "").replace("]", "").split() for line in (GOLDEN / "x.txt").read_text().splitlines()]
    return [row[0] for row in rows], np.array([row[1:] for row in rows], dtype=np.float32)


def test_cosine_scores_equal_kaldis():
    names, vectors = golden_vectors()
    place = {name: row for row, name in enumerate(names)}
    rows = [line.split() for line in (GOLDEN / "cosine_scores.txt").read_text().splitlines()]
    enrols, tests = ([place[row[side]] for row in rows] for side in (0, 1))
    found = cosine_scores(unit_length(vectors, names, "x.scp"), enrols, tests)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [float(row[2]) for row in rows], rtol=0, atol=2e-6)


def test_cosine_scores_equal_scikit_learns_and_scipys():
    vectors = np.random.default_rng(1).standard_normal((30, 192)).astype(np.float32) * np.geomspace(1e-3, 1e3, 30, dtype=np.float32)[:, None]
    enrols, tests = (side.ravel() for side in np.indices((30, 30)))
    found = cosine_scores(unit_length(vectors, [""] * 30, ""), enrols, tests).reshape(30, 30)
    np.testing.assert_allclose(found, sklearn.metrics.pairwise.cosine_similarity(vectors), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found[0, 1], 1 - scipy.spatial.distance.cosine(vectors[0].astype(float), vectors[1].astype(float)), rtol=0, atol=1e-6)


def test_trials_beyond_a_block_are_scored_alike():
    vectors = unit_length(np.random.default_rng(2).standard_normal((50, 8)).astype(np.float32), [""] * 50, "")
    enrols, tests = np.random.default_rng(3).integers(0, 50, (2, BLOCK + 7))
    found = cosine_scores(vectors, enrols, tests)
    np.testing.assert_allclose(found, np.sum(vectors[enrols] * vectors[tests], axis=1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_vectors_of_any_scale_get_unit_length(scale):
    vectors = (np.random.default_rng(4).standard_normal((5, 16)) * scale).astype(np.float32)
    found = unit_length(vectors, list("abcde"), "x.scp")
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("bad, kind", [(0.0, "zero"), (np.nan, "not finite"), (np.inf, "not finite")])
def test_vectors_without_direction_are_refused_by_name(bad, kind):
    vectors = np.ones((4, 3), dtype=np.float32)
    vectors[[1, 3]] = bad
    message = failure(unit_length, vectors, ["a", "b", "c", "d"], "exp/x.scp")
    assert message == f"exp/x.scp: the embedding of 'b' is {kind} (2 such); look at its recording, extract anew"


# ---- reading scores


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


PAIRS = [("a", "b"), ("b", "a"), ("c", "c")]


def test_scores_are_joined_by_their_trial_whatever_their_order(tmp_path):
    path = write(tmp_path / "scores", "c c -3e-1\na b 1\nb  a\t0.25 \n")
    assert join_scores("trials", PAIRS, path) == [1.0, 0.25, -0.3]


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "{path}: empty; score the trials with steps/score_cosine.py"),
        ("a b 1\nb a 1\n", "{path}: no score for 'c c' of data/trials (1 such); score the same list"),
        ("c c 1\n", "{path}: no score for 'a b' of data/trials (2 such); score the same list"),
        ("a b 1\nb a 1\nc c 1\na c 1\n", "{path}:4: the trial 'a c' is not in data/trials; score the same list"),
        ("a b 1\na b 1\nb a 1\nc c 1\n", "{path}:2: the trial 'a b' is scored twice; score the list anew"),
        ("a b 1\nb a\nc c 1\n", "{path}:2: `enrol-utt test-utt score` expected, not 'b a'"),
        ("a b 1 2\n", "{path}:1: `enrol-utt test-utt score` expected, not 'a b 1 2'"),
        ("a b one\n", "{path}:1: `enrol-utt test-utt score` expected, not 'a b one'"),
        ("a b target\n", "{path}:1: `enrol-utt test-utt score` expected, not 'a b target'"),
        ("\n", "{path}:1: `enrol-utt test-utt score` expected, not ''"),
        ("a b 1\nb a nan\nc c 1\n", "{path}:2: a score that is not finite; look at the embeddings of 'b' and 'a'"),
        ("a b inf\n", "{path}:1: a score that is not finite; look at the embeddings of 'a' and 'b'"),
        ("a b -inf\n", "{path}:1: a score that is not finite; look at the embeddings of 'a' and 'b'"),
        ("a b 1\nb a 1\nc c 0.1", "{path}:3: the last line lacks its newline, the score may be cut off; score the list anew"),
        (b"a b 1\nb \xff 1\n", "{path}: not a text file (not UTF-8)"),
    ],
)
def test_broken_scores_are_refused_with_their_line(tmp_path, content, message):
    path = write(tmp_path / "scores", content)
    assert failure(join_scores, "data/trials", PAIRS, path) == message.format(path=path)


def test_missing_scores_are_refused(tmp_path):
    assert failure(join_scores, "trials", PAIRS, tmp_path / "none") == f"{tmp_path}/none: no such file; score the trials with steps/score_cosine.py"


# ---- the programs


def refused(done, name):
    """The one line on stderr of a program that ended with status 1."""
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{name}: ")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix(f"{name}: ").rstrip("\n")


def succeeded(done):
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def vectors(tmp_path):
    """Embeddings of three speakers in x/xvector.scp and trials; -> {utt: vector}"""
    rng = random.Random(5)
    found = {utt: np.array([rng.gauss(10 * int(spk[1:]) - 9, 2) for _ in range(4)], dtype=np.float32) for utt, spk in speakers(3, 3, 2).items()}
    write_vectors(tmp_path / "x/xvector", found)
    write_trials(tmp_path / "trials", draw_trials(make_data(tmp_path / "d", speakers(3, 3, 2)), 0))
    return found


def write_vectors(path, table):
    path.parent.mkdir(exist_ok=True)
    with ArkWriter(path.with_suffix(".ark"), path.with_suffix(".scp")) as ark:
        for utt, vector in table.items():
            ark.write(utt, vector)


@pytest.fixture
def score(program, tmp_path):
    """score(option, …) runs steps/score_cosine.py on these embeddings"""
    return lambda *options: program("steps/score_cosine.py", *options, tmp_path / "trials", tmp_path / "x/xvector.scp", tmp_path / "x/scores")


def scores_of(path):
    return {tuple(line.split()[:2]): float(line.split()[2]) for line in path.read_text().splitlines()}


def test_score_cosine_scores_every_trial(score, vectors, tmp_path):
    pairs = list(zip(*read_trials(tmp_path / "trials")[:2], strict=True))
    assert succeeded(score()) == f"score_cosine: {len(pairs)} trials in {tmp_path}/x/scores\n"
    found = scores_of(tmp_path / "x/scores")
    assert list(found) == pairs
    for (one, other), value in found.items():
        assert value == pytest.approx(1 - scipy.spatial.distance.cosine(vectors[one].astype(float), vectors[other].astype(float)), abs=2e-6)


def test_score_cosine_subtracts_the_mean_asked_for(score, vectors, tmp_path):
    others = {"a": np.float32([1, 2, 3, 4]), "b": np.float32([3, 2, 1, 0])}
    write_vectors(tmp_path / "train/xvector", others)
    succeeded(score("--mean", tmp_path / "train/xvector.scp"))
    for (one, other), value in scores_of(tmp_path / "x/scores").items():
        assert value == pytest.approx(1 - scipy.spatial.distance.cosine(vectors[one].astype(float) - 2, vectors[other].astype(float) - 2), abs=2e-6)


def test_score_cosine_run_again_does_nothing(score, vectors, tmp_path):
    succeeded(score())
    before = (tmp_path / "x/scores").stat().st_mtime_ns
    assert succeeded(score()) == f"score_cosine: {tmp_path}/x/scores is there\n"
    assert (tmp_path / "x/scores").stat().st_mtime_ns == before


def test_score_cosine_leaves_scores_that_it_did_not_make(score, vectors, tmp_path):
    write(tmp_path / "x/scores", "a b 1\n")
    message = f"{tmp_path}/x/scores: is there, but score_cosine.scores did not make it; move it away, or pass --overwrite true to replace it"
    assert refused(score(), "score_cosine.py") == message
    assert (tmp_path / "x/scores").read_text() == "a b 1\n"
    succeeded(score("--overwrite", "true"))
    assert len(scores_of(tmp_path / "x/scores")) > 1


def test_score_cosine_stops_where_the_mean_was_changed(score, vectors, tmp_path):
    mean = tmp_path / "train/xvector"
    write_vectors(mean, {"a": np.float32([1, 2, 3, 4])})
    succeeded(score("--mean", mean.with_suffix(".scp")))
    first = (tmp_path / "x/scores").read_bytes()
    message = refused(score(), "score_cosine.py")
    assert message.startswith(f"{tmp_path}/x: score_cosine.scores was done otherwise: --mean was true, now false; --mean has changed")
    assert message.endswith(". Pass --overwrite true to do it anew")
    write_vectors(mean, {"a": np.float32([1, 2, 3, 4]), "b": np.float32([5, 6, 7, 8])})
    message = refused(score("--mean", mean.with_suffix(".scp")), "score_cosine.py")
    assert message.startswith(f"{tmp_path}/x: score_cosine.scores was done otherwise: --mean has changed")
    assert (tmp_path / "x/scores").read_bytes() == first
    succeeded(score("--mean", mean.with_suffix(".scp"), "--overwrite", "true"))
    assert (tmp_path / "x/scores").read_bytes() != first


def test_score_cosine_stops_where_trials_or_embeddings_were_changed(score, vectors, tmp_path):
    succeeded(score())
    with open(tmp_path / "trials", "a") as file:
        file.write("s02-u00 s02-u00 target\n")
    assert refused(score(), "score_cosine.py").startswith(f"{tmp_path}/x: score_cosine.scores was done otherwise: trial list has changed. ")
    succeeded(score("--overwrite", "true"))
    write_vectors(tmp_path / "x/xvector", {**vectors, "s99": np.ones(4)})
    assert "xvector.scp has changed" in refused(score(), "score_cosine.py")


@pytest.mark.parametrize(
    "missing, message",
    [
        ("trials", "{t}/trials: no such file; draw a list with utils/make_trials.py"),
        ("x/xvector.scp", "{t}/x/xvector.scp: no such file; make it with steps/extract.py"),
        (
            "x/xvector.ark",
            "{t}/x/xvector.scp: 's00-u00': {t}/x/xvector.ark: No such file or directory; "
            "make the archive anew or, if it has moved, run utils/relocate_data_dir.py",
        ),
    ],
)
def test_score_cosine_refuses_missing_files(score, vectors, tmp_path, missing, message):
    (tmp_path / missing).unlink()
    assert refused(score(), "score_cosine.py") == message.format(t=tmp_path)
    assert not (tmp_path / "x/scores").exists()


def test_score_cosine_refuses_a_missing_mean(score, vectors, tmp_path):
    message = refused(score("--mean", tmp_path / "none.scp"), "score_cosine.py")
    assert message == f"{tmp_path}/none.scp: no such file; it holds the embeddings whose mean is to be subtracted; make it with steps/extract.py"
    assert not (tmp_path / "x/scores").exists()


def test_score_cosine_refuses_trials_without_an_embedding(score, vectors, tmp_path):
    write_vectors(tmp_path / "x/xvector", {utt: vector for utt, vector in vectors.items() if not utt.startswith("s02")})
    message = f"{tmp_path}/trials: 's02-u00' has no embedding in {tmp_path}/x/xvector.scp (2 such); extract them, or draw other trials"
    assert refused(score(), "score_cosine.py") == message


def test_score_cosine_refuses_an_embedding_of_zeros(score, vectors, tmp_path):
    write_vectors(tmp_path / "x/xvector", {**vectors, "s01-u01": np.zeros(4)})
    message = f"{tmp_path}/x/xvector.scp: the embedding of 's01-u01' is zero (1 such); look at its recording, extract anew"
    assert refused(score(), "score_cosine.py") == message


def test_score_cosine_refuses_embeddings_of_several_dimensions(score, vectors, tmp_path):
    write_vectors(tmp_path / "x/xvector", {**vectors, "s01-u01": np.ones(5)})
    message = f"{tmp_path}/x/xvector.scp: 's01-u01' has the shape (5,), 's00-u00' (4,); all must be vectors of one dimension"
    assert refused(score(), "score_cosine.py") == message


def test_score_cosine_refuses_a_mean_of_another_dimension(score, vectors, tmp_path):
    write_vectors(tmp_path / "train/xvector", {"a": np.ones(5)})
    message = f"{tmp_path}/train/xvector.scp: dimension 5, but {tmp_path}/x/xvector.scp has 4; both must come from one network"
    assert refused(score("--mean", tmp_path / "train/xvector.scp"), "score_cosine.py") == message


def test_score_cosine_refuses_matrices(score, vectors, tmp_path):
    write_vectors(tmp_path / "x/xvector", {utt: vector[None] for utt, vector in vectors.items()})
    assert "all must be vectors of one dimension" in refused(score(), "score_cosine.py")


def test_score_cosine_refuses_a_command_in_the_scp_and_runs_none(score, vectors, tmp_path):
    write_table(tmp_path / "x/xvector.scp", dict.fromkeys(vectors, f"touch {tmp_path}/ran |"))
    assert "an entry path.ark:offset was expected" in refused(score(), "score_cosine.py")
    assert not (tmp_path / "ran").exists()


TRIALS = "a b target\na c nontarget\nb c nontarget\nb b target\n"


def test_eer_prints_and_writes_the_figures(program, tmp_path):
    trials, scores = write(tmp_path / "trials", TRIALS), write(tmp_path / "scores", "b b 0.9\na b 0.2\na c 0.5\nb c 0.1\n")
    out = succeeded(program("steps/eer.py", trials, scores, tmp_path / "eer.json"))
    assert out.splitlines() == [
        "EER 50.00 %, minDCF(0.01) 0.5000, minDCF(0.05) 0.5000, minDCF(0.001) 0.5000 (2 target, 2 nontarget trials)",
        "convex hull: EER 25.00 %, minCllr 0.5000",
        "scores as log-likelihood ratios: actDCF(0.01) 1.0000, actDCF(0.05) 1.0000, actDCF(0.001) 1.0000, Cllr 0.9586",
    ]
    result = json.loads((tmp_path / "eer.json").read_text())
    assert result.pop("commit")
    assert result == {
        "eer": 0.5,
        "eer_threshold": 0.2,
        "rocch_eer": 0.25,
        "min_dcf": {"0.01": 0.5, "0.05": 0.5, "0.001": 0.5},
        "act_dcf": {"0.01": 1.0, "0.05": 1.0, "0.001": 1.0},
        "min_cllr": 0.5,
        "cllr": 0.958587,
        "targets": 2,
        "nontargets": 2,
        "trials": str(trials),
        "trials_sha256": sha256(trials),
        "scores": str(scores),
        "scores_sha256": sha256(scores),
        "seed": None,
    }


def test_eer_without_a_file_writes_none(program, tmp_path):
    succeeded(program("steps/eer.py", write(tmp_path / "trials", TRIALS), write(tmp_path / "scores", "b b 1\na b 1\na c 0\nb c 0\n")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores", "trials"]


def test_eer_tells_the_seed_of_the_training_behind_the_scores(program, tmp_path):
    write(tmp_path / "scores", "b b 1\na b 1\na c 0\nb c 0\n")
    write(tmp_path / "xvector.json", json.dumps({"seed": 17}))
    succeeded(program("steps/eer.py", write(tmp_path / "trials", TRIALS), tmp_path / "scores", tmp_path / "eer.json"))
    assert json.loads((tmp_path / "eer.json").read_text())["seed"] == 17


@pytest.mark.parametrize(
    "trials, scores, message",
    [
        (None, "a b 1\n", "{t}/trials: no such file"),
        (TRIALS, None, "{t}/scores: no such file; score the trials with steps/score_cosine.py"),
        ("a b target\nb b target\n", "a b 1\nb b 1\n", "{t}/trials: target trials only; error rates need both kinds"),
        ("a b nontarget\n", "a b 1\n", "{t}/trials: nontarget trials only; error rates need both kinds"),
        (TRIALS, "a b 1\n", "{t}/scores: no score for 'a c' of {t}/trials (3 such); score the same list"),
        (TRIALS, "a d 1\n", "{t}/scores:1: the trial 'a d' is not in {t}/trials; score the same list"),
        (TRIALS, "a b 1\na b 2\n", "{t}/scores:2: the trial 'a b' is scored twice; score the list anew"),
        (TRIALS, "a b nan\n", "{t}/scores:1: a score that is not finite; look at the embeddings of 'a' and 'b'"),
        (b"\xff\xfe", "a b 1\n", "{t}/trials: not a text file (not UTF-8)"),
    ],
)
def test_eer_refuses_in_one_line(program, tmp_path, trials, scores, message):
    for name, content in (("trials", trials), ("scores", scores)):
        if content is not None:
            write(tmp_path / name, content)
    done = program("steps/eer.py", tmp_path / "trials", tmp_path / "scores", tmp_path / "eer.json")
    assert refused(done, "eer.py") == message.format(t=tmp_path)
    assert not (tmp_path / "eer.json").exists()


@pytest.mark.parametrize("name", ["steps/eer.py", "steps/score_cosine.py"])
@pytest.mark.parametrize("words", [[], ["--none", "x", "y", "z"], ["a", "b", "c", "d", "e"]])
def test_wrong_command_lines_exit_with_2(program, name, words):
    done = program(name, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and done.stderr.endswith("; see --help\n")


@pytest.mark.parametrize("name, words", [("steps/eer.py", 2), ("steps/score_cosine.py", 3)])
def test_missing_inputs_are_told_of_without_heavy_imports(program, tmp_path, name, words):
    for package in ("torch", "numpy", "sklearn", "scipy", "kaldiio"):
        write(tmp_path / f"{package}.py", "raise AssertionError")
    done = program(name, *[tmp_path / "none"] * words, env={"PYTHONPATH": str(tmp_path), "PATH": ""})
    assert refused(done, name.partition("/")[2]).startswith(f"{tmp_path}/none: no such ")
