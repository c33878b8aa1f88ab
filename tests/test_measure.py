"""pytorch/metrics/{classes,numbers}.py and steps/measure.py: predictions judged as scikit-learn and scipy judge them."""

import json

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from pytorch.data.data_dir import write_table
from pytorch.files import sha256
from pytorch.metrics import accuracy, ccc, confusion_matrix, macro_f1, mae, pearson, rmse, spearman, tolerant_f1, uar

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


# ---- steps/measure.py


@pytest.fixture
def measure(program, tmp_path):
    def call(wanted, found, *words):
        write_table(tmp_path / "wanted", wanted)
        write_table(tmp_path / "found", found)
        return program("steps/measure.py", *words, tmp_path / "wanted", tmp_path / "found", tmp_path / "x.json")

    return call


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
