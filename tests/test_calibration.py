"""pytorch/backend/calibration.py, pytorch/calibrating.py, steps/train_calibration.py and apply_calibration.py: scores become log-likelihood ratios."""

import argparse
import json
import math

import numpy as np
import pytest
import scipy.optimize
from support import failure

from pytorch.backend.calibration import Calibration, probability, train
from pytorch.calibrating import Columns
from pytorch.data.ark import ArkWriter
from pytorch.data.data_dir import write_table
from pytorch.metrics import Detection


def llrs_of_normals(seed, targets, others, distance=2.5):
    """Scores that are log-likelihood ratios: of two normal distributions `distance` apart."""
    rng = np.random.default_rng(seed)
    labels = np.arange(targets + others) < targets
    return distance * (rng.normal(size=len(labels)) + np.where(labels, distance / 2, -distance / 2)), labels


def objective(parameters, columns, labels, p_target):
    """Prior-weighted cross-entropy in nats, as the papers write it."""
    log_odds = columns @ parameters[:-1] + parameters[-1] + np.log(p_target / (1 - p_target))
    return p_target * np.mean(np.logaddexp(0, -log_odds[labels])) + (1 - p_target) * np.mean(np.logaddexp(0, log_odds[~labels]))


@pytest.mark.parametrize("p_target", [0.01, 0.05, 0.5, 0.9])
def test_training_finds_the_minimum_that_scipy_finds(p_target):
    scores, labels = llrs_of_normals(1, 300, 900)
    noise = np.random.default_rng(2).normal(size=(len(scores), 1))
    columns = np.concatenate([0.1 * scores[:, None] + 5, 100 * noise], axis=1)
    weights, offset = train(columns, labels, p_target)
    found = objective(np.array([*weights, offset]), columns, labels, p_target)
    best = scipy.optimize.minimize(objective, [1.0, 0.0, 0.0], (columns / [1, 100], labels, p_target), method="BFGS", options={"gtol": 1e-10})
    assert found == pytest.approx(best.fun, abs=1e-7)
    np.testing.assert_allclose(weights * [1, 100], best.x[:2], rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("p_target", [0.01, 0.05, 0.5])
def test_calibration_brings_scaled_and_shifted_ratios_back(p_target):
    llrs, labels = llrs_of_normals(3, 20_000, 60_000)
    weights, offset = train(0.05 * llrs[:, None] + 0.4, labels, p_target)
    assert weights[0] == pytest.approx(20, rel=0.08)
    assert offset == pytest.approx(-8, rel=0.08)


def test_calibrated_scores_of_other_trials_are_judged_as_well_as_their_order_allows():
    llrs, labels = llrs_of_normals(4, 5000, 20_000)
    others, kinds = llrs_of_normals(5, 5000, 20_000)
    weights, offset = train(0.1 * llrs[:, None] - 3, labels, 0.05)
    before = Detection(0.1 * others - 3, kinds).figures([(0.05, 1, 1)])
    after = Detection((0.1 * others - 3) * weights[0] + offset, kinds).figures([(0.05, 1, 1)])
    assert after["act_dcf"][0] < 1.05 * after["min_dcf"][0] < before["act_dcf"][0]
    assert after["cllr"] < 1.02 * after["min_cllr"] < before["cllr"]


def test_fusion_is_better_than_either_system():
    rng = np.random.default_rng(6)
    truth, labels = llrs_of_normals(7, 5000, 20_000)
    columns = truth[:, None] + rng.normal(0, 2.5, (len(truth), 2))
    weights, offset = train(columns, labels, 0.5)
    fused = Detection(columns @ weights + offset, labels)
    assert fused.eer() < min(Detection(column, labels).eer() for column in columns.T) - 0.005
    assert fused.cllr() < fused.figures([])["min_cllr"] * 1.02


def test_trials_without_an_error_still_have_finite_weights():
    weights, offset = train(np.array([[1.0], [2.0], [3.0], [4.0]]), [False, False, True, True], 0.5)
    assert np.isfinite([*weights, offset]).all()
    assert weights[0] * 2.5 + offset == pytest.approx(0, abs=1e-3)


def test_probabilities_follow_from_ratio_and_prior():
    assert probability(0.0, 0.2) == pytest.approx(0.2)
    assert probability([math.log(3), -math.log(3)], 0.5) == pytest.approx([0.75, 0.25])


# ---- the columns

TRIALS = "a a target\na b nontarget\nb b target\nb c nontarget\nc c target\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "trials").write_text(TRIALS)
    (tmp_path / "scores").write_text("c c 5\na a 1\na b 2\nb b 0.5\nb c -4\n")
    write_table(tmp_path / "utt2dur", {"a": 1.0, "b": math.e, "c": math.e**2, "d": 3})
    with ArkWriter(tmp_path / "xvector.ark", tmp_path / "xvector.scp") as ark:
        for utt, length in (("a", 1.0), ("b", 2.0), ("c", 4.0)):
            ark.write(utt, np.array([0.6 * length, 0.8 * length], dtype=np.float32))
    return tmp_path


def columns(folder, *scores, quality=()):
    return Columns(argparse.Namespace(trials=folder / "trials", scores=[str(word) for word in scores], quality=[folder / name for name in quality]))


def test_columns_are_scores_and_logarithms_of_both_sides_quality(folder):
    given = columns(folder, folder / "scores", quality=["utt2dur", "xvector.scp"])
    pairs, labels, found = given.read()
    assert pairs[3] == ("b", "c") and labels.tolist() == [True, False, True, False, True]
    two = math.log(2)
    expected = [[1, 0, 0, 0, 0], [2, 0, 1, 0, two], [0.5, 1, 1, two, two], [-4, 1, 2, two, 2 * two], [5, 2, 2, 2 * two, 2 * two]]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert given.names()[1] == "log of the lower utt2dur"


@pytest.mark.parametrize(
    "words, message",
    [
        (["x", "y"], "x: of several systems, each needs a name, NAME=x"),
        (["a=x", "y"], "y: of several systems, each needs a name, NAME=y"),
        (["a="], "a=: NAME=FILE expected"),
        (["=x"], "=x: NAME=FILE expected"),
        (["a=x", "a=y"], "a=y: two systems are named 'a'; give each a name of its own"),
        (["a=none"], "none: no such file; score the trials with steps/score_cosine.py"),
    ],
)
def test_systems_without_a_name_or_a_file_are_refused(folder, words, message):
    assert failure(columns, folder, *words) == message


@pytest.mark.parametrize("name, remedy", [("utt2dur", "make it with utils/get_utt2dur.py {t}/sub"), ("utt2snr", "it is to hold a measure of quality")])
def test_quality_without_a_file_is_refused(folder, name, remedy):
    assert failure(columns, folder, folder / "scores", quality=[f"sub/{name}"]) == f"{folder}/sub/{name}: no such file; {remedy.format(t=folder)}"


def test_two_tables_of_one_name_are_refused(folder):
    message = failure(columns, folder, folder / "scores", quality=["utt2dur", "utt2dur"])
    assert message == "--quality: two tables of one name; they are found again by it, so give each a name of its own"


def test_quality_that_is_missing_or_not_above_zero_is_refused(folder):
    write_table(folder / "short", {"a": 1, "b": 2})
    write_table(folder / "zero", {"a": 1, "b": 0, "c": "nan"})
    with ArkWriter(folder / "nought.ark", folder / "nought.scp") as ark:
        for utt in "abc":
            ark.write(utt, np.zeros(2, dtype=np.float32))
    for name, message in (
        ("short", "{t}/trials: 'c' has no value in {t}/short (1 such); make that table for all utterances of the trials"),
        ("zero", "{t}/zero: 'b': a number above 0 expected (2 such)"),
        ("nought.scp", "{t}/nought.scp: 'a': an embedding with a length above 0 expected (3 such)"),
    ):
        given = columns(folder, folder / "scores", quality=[name])
        assert failure(given.read) == message.format(t=folder)


# ---- the file


@pytest.mark.parametrize(
    "change", [{"weights": []}, {"weights": [1, 2]}, {"offset": "1"}, {"systems": []}, {"more": 1}, {"weights": [float("inf")]}, {"systems": 3}]
)
def test_files_that_hold_no_calibration_are_refused(tmp_path, change):
    path = tmp_path / "x.json"
    Calibration(["scores"], [], [2.0], 1.0, 0.05).save(path)
    assert Calibration.load(path).llrs([[1.0], [3.0]]).tolist() == [3.0, 7.0]
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert failure(Calibration.load, path) == f"{path}: no calibration; make it with steps/train_calibration.py"
    path.write_text("[]")
    assert failure(Calibration.load, path) == f"{path}: no calibration; make it with steps/train_calibration.py"


# ---- the programs


def refused(done, name):
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{name}: ") and done.stderr.count("\n") == 1
    return done.stderr.removeprefix(f"{name}: ").rstrip("\n")


def test_what_was_trained_on_one_list_is_applied_to_another(program, folder):
    done = program(
        "steps/train_calibration.py", "--quality", folder / "utt2dur", folder / "trials", f"x={folder}/scores", f"y={folder}/scores", folder / "cal.json"
    )
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    calibration = Calibration.load(folder / "cal.json")
    assert (calibration.systems, calibration.quality, calibration.p_target, calibration.facts["targets"]) == (["x", "y"], ["utt2dur"], 0.05, 3)
    (folder / "t2").mkdir()
    (folder / "t2/trials").write_text("c b target\n")
    (folder / "t2/one").write_text("c b 7\n")
    (folder / "t2/two").write_text("c b -1\n")
    done = program(
        "steps/apply_calibration.py",
        "--quality",
        folder / "utt2dur",
        folder / "cal.json",
        folder / "t2/trials",
        f"y={folder}/t2/two",
        f"x={folder}/t2/one",
        folder / "t2/llrs",
    )
    assert (done.returncode, done.stderr) == (0, "")
    expected = np.dot(calibration.weights, [7, -1, 1, 2]) + calibration.offset
    enrol, test, llr = (folder / "t2/llrs").read_text().split()
    assert (enrol, test) == ("c", "b")
    assert float(llr) == pytest.approx(expected, abs=1e-5)


@pytest.fixture
def trained(folder):
    Calibration(["scores"], [], [2.0], 1.0, 0.05).save(folder / "cal.json")
    return folder


def test_both_programs_run_again_do_nothing_and_stop_where_something_changed(program, trained):
    (trained / "cal.json").unlink()
    for name, words in (
        ("train_calibration", (trained / "trials", trained / "scores", trained / "cal.json")),
        ("apply_calibration", (trained / "cal.json", trained / "trials", trained / "scores", trained / "llrs")),
    ):
        (trained / "scores").write_text("c c 5\na a 1\na b 2\nb b 0.5\nb c -4\n")
        assert program(f"steps/{name}.py", *words).returncode == 0
        assert program(f"steps/{name}.py", *words).stdout == f"{name}: {words[-1]} is there\n"
        (trained / "scores").write_text("c c 5\na a 1\na b 2\nb b 0.5\nb c -5\n")
        assert "scores of scores has changed. Pass --overwrite true" in refused(program(f"steps/{name}.py", *words), f"{name}.py")
        assert program(f"steps/{name}.py", "--overwrite", "true", *words).returncode == 0


def test_training_warns_where_no_trial_is_wrong(program, trained):
    (trained / "scores").write_text("c c 5\na a 4\na b 2\nb b 3\nb c -4\n")
    done = program("steps/train_calibration.py", "--overwrite", "true", trained / "trials", trained / "scores", trained / "cal.json")
    assert done.returncode == 0
    assert done.stderr.endswith("so the scale of the ratios is not learnt, only bounded; take more trials\n")


@pytest.mark.parametrize(
    "scores, message",
    [
        ("c c 1\na a 1\na b 1\nb b 1\nb c 1\n", "{t}/trials: all trials have the same value of 'scores', so nothing can be learnt from it; leave it out"),
        ("c c 1\na a 1\na b 2\nb b 1.5\nb c 3\n", "{t}/scores: target trials have the lower scores; turn the sign of scores that are distances"),
        ("c c 1\na a 1\na b 2\nb b 1.5\n", "{t}/scores: no score for 'b c' of {t}/trials (1 such); score the same list"),
    ],
)
def test_training_refuses_scores_it_cannot_learn_from(program, folder, scores, message):
    (folder / "scores").write_text(scores)
    done = program("steps/train_calibration.py", folder / "trials", folder / "scores", folder / "cal.json")
    assert refused(done, "train_calibration.py") == message.format(t=folder)
    assert not (folder / "cal.json").exists()


def test_training_refuses_trials_of_one_kind_and_other_names(program, folder):
    (folder / "trials").write_text(TRIALS.replace("nontarget", "target"))
    done = program("steps/train_calibration.py", folder / "trials", folder / "scores", folder / "cal.json")
    assert refused(done, "train_calibration.py") == f"{folder}/trials: target trials only; calibration needs both kinds"
    done = program("steps/train_calibration.py", folder / "trials", folder / "scores", folder / "cal")
    assert refused(done, "train_calibration.py") == f"{folder}/cal: a name that ends in .json is expected for the calibration"


@pytest.mark.parametrize("prior", ["0", "1", "nan", "half"])
def test_training_refuses_priors_that_are_none(program, prior):
    done = program("steps/train_calibration.py", "--p-target", prior, "trials", "scores", "x.json")
    message = f"train_calibration.py: argument --p-target: a number between 0 and 1 expected, not '{prior}'; see --help\n"
    assert (done.returncode, done.stderr) == (2, message)


@pytest.mark.parametrize(
    "words, message",
    [
        (("{t}/none.json", "{t}/trials", "{t}/scores"), "{t}/none.json: no such file; make it with steps/train_calibration.py"),
        (("{t}/cal.json", "{t}/none", "{t}/scores"), "{t}/none: no such file; draw a list with utils/make_trials.py"),
        (("{t}/cal.json", "{t}/trials", "{t}/none"), "{t}/none: no such file; score the trials with steps/score_cosine.py"),
        (("{t}/cal.json", "{t}/trials", "b={t}/scores"), "{t}/cal.json: trained on the scores of 'scores', here are those of 'b'; give the same systems"),
        (
            ("--quality={t}/utt2dur", "{t}/cal.json", "{t}/trials", "{t}/scores"),
            "{t}/cal.json: trained with none as --quality, here is 'utt2dur'; give files of the same names",
        ),
    ],
)
def test_applying_refuses_what_the_training_did_not_have(program, trained, words, message):
    done = program("steps/apply_calibration.py", *(word.format(t=trained) for word in words), trained / "llrs")
    assert refused(done, "apply_calibration.py") == message.format(t=trained)
    assert not (trained / "llrs").exists()


def test_applying_leaves_a_file_that_it_did_not_make(program, trained):
    (trained / "llrs").write_text("mine\n")
    done = program("steps/apply_calibration.py", trained / "cal.json", trained / "trials", trained / "scores", trained / "llrs")
    assert "did not make it" in refused(done, "apply_calibration.py")
    assert (trained / "llrs").read_text() == "mine\n"
