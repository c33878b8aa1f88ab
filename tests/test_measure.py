"""pytorch/metrics/{classes,numbers}.py and steps/measure.py: predictions judged as scikit-learn and scipy judge them."""

import json

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from pytorch.data.data_dir import write_data_dir, write_table
from pytorch.files import sha256
from pytorch.metrics import accuracy, ccc, confusion_matrix, macro_f1, mae, pearson, rmse, spearman, tolerant_f1, uar
from pytorch.metrics.intervals import class_figures, number_figures, utterance_intervals

CLASSES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=40)
NUMBERS = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=40).filter(lambda rows: len({b for _, b in rows}) > 1)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
@settings(max_examples=200, deadline=None)
@given(CLASSES)
def test_figures_of_classes_are_those_of_scikit_learn(rows):
    found, wanted = np.array(rows).T
    assert accuracy(found, wanted) == pytest.approx(sklearn.metrics.accuracy_score(wanted, found))
    assert uar(found, wanted) == pytest.approx(sklearn.metrics.balanced_accuracy_score(wanted, found))
    assert macro_f1(found, wanted) == pytest.approx(sklearn.metrics.f1_score(wanted, found, average="macro"))
    counts, classes = confusion_matrix(found, wanted)
    assert counts.tolist() == sklearn.metrics.confusion_matrix(wanted, found).tolist()
    assert classes.tolist() == np.unique(rows).tolist()


@settings(max_examples=200, deadline=None)
@given(CLASSES, st.integers(0, 6))
def test_tolerant_f1_takes_neighbours_for_right(rows, tolerance):
    found, wanted = np.array(rows).T
    forgiven = [b if abs(a - b) <= tolerance else a for a, b in rows]
    assert tolerant_f1(found, wanted, tolerance) == pytest.approx(sklearn.metrics.f1_score(wanted, forgiven, average="macro"))
    assert tolerant_f1(found, wanted, 5) == 1
    assert tolerant_f1(found, wanted, 0) == macro_f1(found, wanted)


def test_classes_may_be_words():
    assert accuracy(["a", "b"], ["a", "c"]) == 0.5
    assert confusion_matrix(["a", "b"], ["a", "c"])[1].tolist() == ["a", "b", "c"]


@pytest.mark.filterwarnings("ignore:An input array is constant")
@settings(max_examples=200, deadline=None)
@given(NUMBERS)
def test_figures_of_numbers_are_those_of_scikit_learn_and_scipy(rows):
    found, wanted = np.array(rows, dtype=float).T
    assert mae(found, wanted) == pytest.approx(sklearn.metrics.mean_absolute_error(wanted, found))
    assert rmse(found, wanted) == pytest.approx(sklearn.metrics.root_mean_squared_error(wanted, found))
    constant = np.ptp(found) == 0
    assert pearson(found, wanted) == pytest.approx(0 if constant else scipy.stats.pearsonr(found, wanted)[0], abs=1e-12)
    assert spearman(found, wanted) == pytest.approx(0 if constant else scipy.stats.spearmanr(found, wanted)[0], abs=1e-12)
    covariance = np.cov(found, wanted, bias=True)
    expected = 2 * covariance[0, 1] / (covariance[0, 0] + covariance[1, 1] + (found.mean() - wanted.mean()) ** 2)
    assert ccc(found, wanted) == pytest.approx(expected, abs=1e-12)


def test_concordance_is_one_for_equal_numbers_only():
    assert ccc([1, 2, 4], [1, 2, 4]) == 1
    assert ccc([2, 3, 5], [1, 2, 4]) < 1 == pytest.approx(pearson([2, 3, 5], [1, 2, 4]))


@pytest.mark.parametrize("function", [accuracy, uar, macro_f1, tolerant_f1, mae, rmse, pearson, spearman, ccc])
@pytest.mark.parametrize("found, wanted", [([], []), ([1], [1, 2]), ([[1]], [[1]])])
def test_lists_of_unequal_or_no_length_have_no_figure(function, found, wanted):
    with pytest.raises(ValueError, match="and at least one, are needed"):
        function(found, wanted)


@pytest.mark.parametrize("function", [mae, rmse, pearson, spearman, ccc])
def test_numbers_that_are_not_finite_have_no_figure(function):
    with pytest.raises(ValueError, match="not finite"):
        function([1, np.nan], [1, 2])


@pytest.mark.parametrize("function", [pearson, spearman, ccc])
def test_wanted_numbers_that_are_all_alike_have_no_correlation(function):
    with pytest.raises(ValueError, match="all alike"):
        function([1, 2], [3, 3])


# ---- intervals over speakers

WEIGHTED = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


@settings(max_examples=150, deadline=None)
@given(WEIGHTED)
def test_a_weight_counts_an_utterance_so_many_times(rows):
    found, wanted, *weights = np.array(rows).T
    if min(part.sum() for part in weights) == 0:
        return
    classes, numbers = class_figures(np.stack(weights), found, wanted, 1), number_figures(np.stack(weights), found, wanted)
    assert list(classes) == ["accuracy", "uar", "macro_f1", "tolerant_f1"] and list(numbers) == ["mae", "rmse", "pearson", "spearman", "ccc"]
    for run, part in enumerate(weights):
        repeated = np.repeat(found, part), np.repeat(wanted, part)
        for name, function in (("accuracy", accuracy), ("uar", uar), ("macro_f1", macro_f1), ("tolerant_f1", tolerant_f1)):
            assert classes[name][run] == pytest.approx(function(*repeated), abs=1e-12), name
        for name, function in (("mae", mae), ("rmse", rmse), ("pearson", pearson), ("spearman", spearman), ("ccc", ccc)):
            if name in ("mae", "rmse") or np.ptp(repeated[1]):
                assert numbers[name][run] == pytest.approx(function(*repeated), abs=1e-12), name
            else:
                assert np.isnan(numbers[name][run]), name


def ages(seed, spks, utts=4):
    """Ages of speakers, found with an error that is a speaker's own and one that is an utterance's -> found, wanted, speakers"""
    chance = np.random.default_rng(seed)
    of_spk = np.repeat(np.arange(spks), utts)
    wanted = chance.uniform(20, 60, spks)[of_spk]
    return wanted + chance.normal(0, 6, spks)[of_spk] + chance.normal(0, 1, len(of_spk)), wanted, of_spk


def interval_of(found, wanted, spks, resamples=200):
    return utterance_intervals(lambda weights: number_figures(weights, found, wanted), spks, resamples)


def test_intervals_over_speakers_hold_the_true_error_about_as_often_as_they_say():
    true = np.mean([mae(*ages(seed, 40)[:2]) for seed in range(1000, 1300)])
    ends = [interval_of(*ages(seed, 40))["mae"] for seed in range(100)]
    assert 85 <= sum(low <= true <= high for low, high in ends) <= 99
    alone = [interval_of(*ages(seed, 40)[:2], np.arange(160))["mae"] for seed in range(20)]
    assert np.mean(np.diff(alone)) < 0.7 * np.mean(np.diff(ends[:20])), "utterances of one speaker are not independent"


def test_intervals_hold_the_figure_and_are_the_same_again():
    found, wanted, spks = ages(1, 160)
    ends = interval_of(found, wanted, spks)
    for name, function in (("mae", mae), ("rmse", rmse), ("pearson", pearson), ("spearman", spearman), ("ccc", ccc)):
        low, high = ends[name]
        assert low < function(found, wanted) < high, name
    assert interval_of(found, wanted, spks) == ends


def test_resamples_in_pieces_are_as_many_as_asked_for(monkeypatch):
    monkeypatch.setattr("pytorch.metrics.intervals.MOST", 100)
    seen = []
    utterance_intervals(lambda weights: seen.append(weights) or {"sum": weights.sum(1)}, np.repeat(np.arange(5), 7), 20)
    assert [len(part) for part in seen] == [3] * 6 + [2]
    drawn = np.concatenate(seen)[:, ::7]
    assert (drawn.sum(1) == 5).all() and (np.concatenate(seen) == np.repeat(drawn, 7, axis=1)).all()


def test_a_resample_without_a_correlation_is_drawn_anew():
    """Two speakers of one age each: a resample of one of them has none."""
    ends = utterance_intervals(lambda weights: number_figures(weights, np.array([1.0, 2.0, 3.0]), np.array([4.0, 4.0, 5.0])), np.array([0, 0, 1]), 50)
    assert np.isfinite(list(ends.values())).all()


def test_one_speaker_has_no_interval():
    with pytest.raises(ValueError, match="two speakers or more are needed"):
        interval_of(np.array([1.0, 2.0]), np.array([1.0, 3.0]), [0, 0])


# ---- steps/measure.py


@pytest.fixture
def measure(program, tmp_path):
    def call(wanted, found, *words):
        write_table(tmp_path / "wanted", wanted)
        write_table(tmp_path / "found", found)
        return program("steps/measure.py", *words, tmp_path / "wanted", tmp_path / "found", tmp_path / "x.json")

    return call


def test_numbers_taken_for_classes_are_refused(measure, tmp_path):
    done = measure({"a": 13, "b": 14}, {"a": 13, "b": 14.27})
    remedy = "numbers are measured with --kind numbers, classes not all wanted here with --classes FILE"
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"measure.py: {tmp_path}/found:2: '14.27' is no class of the wanted table; {remedy}\n"
    assert measure({"a": 13, "b": 14}, {"a": 13, "b": 15}).returncode == 0, "a class that was learnt may be wanted nowhere"
    assert measure({"a": 0.5, "b": 1.5}, {"a": 0.5, "b": 0.5}).returncode == 0, "a class may be a number with a point"


def test_measure_tells_the_figures_of_classes(measure, tmp_path):
    done = measure({"a": 20, "b": 30, "c": 100, "d": 30}, {"d": 20, "b": 30, "a": 20, "c": 20})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "accuracy 50.00 %, UAR 50.00 %, macro F1 38.89 %, tolerant F1 55.56 % (4 utterances, 3 classes)",
        "wanted \\ found  20  30  100",
        "20               1   0    0",
        "30               1   1    0",
        "100              1   0    0",
    ]
    result = json.loads((tmp_path / "x.json").read_text())
    assert result.pop("commit")
    assert result == {
        "kind": "classes",
        "utts": 4,
        "accuracy": 0.5,
        "uar": 0.5,
        "macro_f1": 0.388889,
        "tolerant_f1": 0.555556,
        "classes": ["20", "30", "100"],
        "confusion": [[1, 0, 0], [1, 1, 0], [1, 0, 0]],
        "wanted": str(tmp_path / "wanted"),
        "wanted_sha256": sha256(tmp_path / "wanted"),
        "found": str(tmp_path / "found"),
        "found_sha256": sha256(tmp_path / "found"),
    }


def test_words_have_neighbours_only_where_their_order_is_told(measure, tmp_path):
    tables = {"a": "low", "b": "high", "c": "middle"}, {"a": "middle", "b": "low", "c": "middle"}
    assert "tolerant" not in measure(*tables).stdout
    (tmp_path / "order").write_text("low\nmiddle\nhigh\n")
    assert "tolerant F1 55.56 % (3 utterances, 3 classes)" in measure(*tables, "--classes", tmp_path / "order").stdout
    (tmp_path / "order").write_text("low\nhigh\n")
    done = measure(*tables, "--classes", tmp_path / "order")
    message = f"measure.py: {tmp_path}/order: the class 'middle' of the tables is not there (1 such); name all classes\n"
    assert (done.returncode, done.stderr) == (1, message)


def test_measure_tells_the_figures_of_numbers(measure, tmp_path):
    done = measure({"a": 20, "b": 30.5, "c": 40}, {"a": 22, "b": 30.5, "c": 36}, "--kind", "numbers")
    assert done.stdout == "MAE 2 (of the mean 6.778), RMSE 2.582, Pearson 0.9956, Spearman 1.0000, CCC 0.9336 (3 utterances)\n"
    result = json.loads((tmp_path / "x.json").read_text())
    assert (result["kind"], result["mae"], result["spearman"]) == ("numbers", 2.0, 1.0)


@pytest.fixture
def spoken(tmp_path):
    """A data directory with utterances a, b of x, c of y, d of z."""
    return write_data_dir(tmp_path / "data", {}, {"a": "x", "b": "x", "c": "y", "d": "z"})


def test_measure_tells_intervals_over_the_speakers_of_a_data_directory(measure, spoken, tmp_path):
    words = ("--data", tmp_path / "data", "--resamples", 40, "--seed", 3)
    done = measure({"a": 20, "b": 30, "d": 30}, {"a": 20, "b": 20, "d": 30}, *words)
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads((tmp_path / "x.json").read_text())
    assert result["data"] == str(tmp_path / "data")
    ends = result["intervals"]
    assert {name: ends.pop(name) for name in ("level", "speakers", "resamples", "seed")} == {"level": 0.95, "speakers": 2, "resamples": 40, "seed": 3}
    assert ends["accuracy"] == [0.5, 1.0] and list(ends) == ["accuracy", "uar", "macro_f1", "tolerant_f1"]
    told = "95 % over 2 speakers: accuracy 50.00 to 100.00 %, UAR 50.00 to 100.00 %, macro F1 33.33 to 100.00 %, tolerant F1 100.00 to 100.00 %"
    assert done.stdout.splitlines()[1] == told
    done = measure({"a": 20, "b": 30, "c": 25, "d": 30}, {"a": 22, "b": 27, "c": 21, "d": 29}, *words, "--kind", "numbers")
    ends = json.loads((tmp_path / "x.json").read_text())["intervals"]
    assert ends["mae"] == [1.75, 3.25] and list(ends)[4:] == ["mae", "rmse", "pearson", "spearman", "ccc"]
    assert done.stdout.splitlines()[1].startswith("95 % over 3 speakers: MAE 1.75 to 3.25, RMSE ")
    measure({"a": 20, "b": 30}, {"a": 20, "b": 20}, "--data", tmp_path / "data", "--resamples", 0)
    assert "intervals" not in json.loads((tmp_path / "x.json").read_text())


@pytest.mark.parametrize(
    "utts, message",
    [
        ("ae", "{t}/wanted: 'e' is no utterance of {t}/data (1 such); name the directory of these utterances with --data"),
        ("ab", "{t}/data/utt2spk: all utterances are of 'x', and intervals are over speakers; pass --resamples 0"),
    ],
)
def test_measure_refuses_intervals_without_speakers(measure, spoken, tmp_path, utts, message):
    done = measure(dict(zip(utts, (1, 2), strict=True)), dict.fromkeys(utts, 1), "--data", tmp_path / "data")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"measure.py: {message.format(t=tmp_path)}\n")


@pytest.mark.parametrize(
    "wanted, found, words, message",
    [
        ({"a": 1, "b": 2}, {"a": 1}, (), "{t}/found: no value for 'b' of {t}/wanted (1 such); both tables must be of the same utterances"),
        ({"a": 1}, {"a": 1, "b": 2}, (), "{t}/wanted: no value for 'b' of {t}/found (1 such); both tables must be of the same utterances"),
        ({"a": 30, "b": 2}, {"a": "30.0", "b": 2}, (), "{t}/found: the classes '30' and '30.0' are one number; write it alike in both tables"),
        ({"a": 1, "b": 2}, {"a": 1, "b": "x"}, ("--kind", "numbers"), "{t}/found:2: a number expected, not 'x'"),
        ({"a": "nan", "b": 2}, {"a": 1, "b": 2}, ("--kind", "numbers"), "{t}/wanted:1: a number expected, not 'nan'"),
        (
            {"a": 2, "b": 2.0},
            {"a": 1, "b": 2},
            ("--kind", "numbers"),
            "{t}/wanted: all values are 2, so nothing can rise and fall with them; measure utterances that differ",
        ),
    ],
)
def test_measure_refuses_in_one_line(measure, tmp_path, wanted, found, words, message):
    done = measure(wanted, found, *words)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"measure.py: {message.format(t=tmp_path)}\n")
    assert not (tmp_path / "x.json").exists()


def test_measure_refuses_classes_of_numbers_and_other_names(program):
    done = program("steps/measure.py", "--kind", "numbers", "--classes", "x", "a", "b")
    assert (done.returncode, done.stderr) == (2, "measure.py: argument --classes: numbers have no classes; see --help\n")
    done = program("steps/measure.py", "a", "b", "c")
    assert (done.returncode, done.stderr) == (1, "measure.py: c: a name that ends in .json is expected for the figures\n")
