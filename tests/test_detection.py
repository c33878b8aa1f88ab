"""pytorch/metrics/{detection,intervals,subsets}.py and steps/eer.py on data directories: costs and Cllr by definition, intervals over speakers, subsets."""

import json
from fractions import Fraction

import numpy as np
import pytest
import scipy.spatial
import scipy.special
import sklearn.isotonic
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from trial_data import make_data, speakers

from pytorch.data.trials import draw_trials, write_trials
from pytorch.metrics import Detection, eer, error_rates, min_dcf
from pytorch.metrics.detection import PIECE, convex_hull
from pytorch.metrics.intervals import speaker_intervals
from pytorch.metrics.subsets import by_duration, by_sex

COSTS = [(0.01, 1.0, 1.0), (0.05, 1.0, 1.0), (0.5, 10.0, 1.0)]
TIED = st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=40).filter(lambda pairs: len({label for _, label in pairs}) == 2)


def columns(pairs):
    return np.array([score for score, _ in pairs], dtype=float), np.array([label for _, label in pairs])


def normal(seed, targets, others, distance=2.0):
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(distance / 2, 1, targets), rng.normal(-distance / 2, 1, others)])
    order = rng.permutation(len(scores))
    return scores[order], (np.arange(len(scores)) < targets)[order]


# ---- figures of other people's programs


def test_a_small_list_has_the_figures_of_llreval():
    """Computed with llreval 0.0.3 (its EER by a search that ends at 1e-11)."""
    targets = [2.5, 1.0, -0.5, 3.0, 0.25, 2.5, 4.0, -1.5, 1.0, 0.0]
    others = [-3.0, -1.5, 0.25, -2.0, 1.0, -4.5, -0.75, 0.5, -1.5, 2.0, -2.25, -5.0, 0.0, -0.5, -3.5]
    found = Detection(targets + others, [True] * 10 + [False] * 15).figures([(0.01, 1, 1), (0.05, 1, 1), (0.4, 1, 1)])
    assert found["rocch_eer"] == pytest.approx(0.25882352938242126, abs=1e-9)
    assert found["cllr"] == pytest.approx(0.707583668318479, rel=1e-12)
    assert found["min_cllr"] == pytest.approx(0.5821951956552008, rel=1e-12)
    assert found["min_dcf"] == pytest.approx([0.6, 0.6, 0.6], rel=1e-12)
    assert found["act_dcf"] == pytest.approx([1.0, 0.8, 0.7], rel=1e-12)


def test_normal_scores_have_the_figures_of_their_formulas():
    """Log-likelihood ratios of two normal distributions: calibrated as they are, EER = Phi(-distance / 2)."""
    rng = np.random.default_rng(1)
    x, labels = normal(2, 200_000, 200_000, 3.0)
    found = Detection(3.0 * x, labels).figures([(0.05, 1, 1)])
    assert found["eer"] == pytest.approx(scipy.special.ndtr(-1.5), abs=0.001)
    assert found["rocch_eer"] == pytest.approx(found["eer"], abs=0.0005)
    assert found["act_dcf"] == pytest.approx(found["min_dcf"], abs=0.005)
    assert found["cllr"] == pytest.approx(found["min_cllr"], abs=0.001)
    noise = 3.0 * (1.5 + rng.normal(size=200_000))
    assert found["cllr"] == pytest.approx(np.mean(np.logaddexp(0, -noise)) / np.log(2), abs=0.003)


def test_normal_ratios_have_the_cllr_that_rocanalysis_tells_of_them():
    """Means of 2 and -2, deviations of 2: 0.5140558 in the tests of davidavdav/ROCAnalysis.jl; the scores are quantiles, which chance does not move."""
    quantiles = scipy.special.ndtri((np.arange(100_000) + 0.5) / 100_000)
    found = Detection(np.concatenate([2 + 2 * quantiles, -2 + 2 * quantiles]), np.repeat([True, False], 100_000)).figures([])
    assert found["cllr"] == pytest.approx(0.5140558, abs=5e-6)
    assert found["min_cllr"] == pytest.approx(0.5140558, abs=1e-4)
    assert [found["eer"], found["rocch_eer"]] == pytest.approx([scipy.special.ndtr(-1)] * 2, abs=1e-5)


# ---- figures by their definitions


@settings(max_examples=200, deadline=None)
@given(TIED)
def test_the_eer_of_the_hull_is_the_least_of_all_lines_between_operating_points(pairs):
    """Below the diagonal crossing of every chord lies none: the hull is their lower edge."""
    scores, labels = columns(pairs)
    p_miss, p_fa, _ = error_rates(scores, labels)
    gaps = p_fa - p_miss
    chords = [p_miss[i] + gaps[i] / (gaps[i] - gaps[j]) * (p_miss[j] - p_miss[i]) for i in range(len(gaps)) for j in range(len(gaps)) if gaps[i] > 0 >= gaps[j]]
    figures = Detection(scores, labels).figures([])
    assert figures["rocch_eer"] == pytest.approx(min(chords), abs=1e-12)
    assert figures["rocch_eer"] <= figures["eer"] + 1e-12


@settings(max_examples=200, deadline=None)
@given(TIED, st.floats(0.001, 0.999), st.sampled_from([0.5, 1.0, 10.0]))
def test_act_dcf_counts_the_errors_of_the_bayes_decision(pairs, p_target, c_miss):
    scores, labels = columns(pairs)
    threshold = Fraction(1 - p_target) / Fraction(c_miss * p_target)
    accepted = [Fraction(float(np.exp(score))) > threshold for score in scores]
    missed = sum(not a for a, label in zip(accepted, labels, strict=True) if label) / labels.sum()
    passed = sum(a for a, label in zip(accepted, labels, strict=True) if not label) / (~labels).sum()
    found = Detection(scores, labels)
    expected = (c_miss * p_target * missed + (1 - p_target) * passed) / min(c_miss * p_target, 1 - p_target)
    assert found.act_dcf(p_target, c_miss) == pytest.approx(expected, rel=1e-9)
    assert found.act_dcf(p_target, c_miss) >= found.min_dcf(p_target, c_miss) - 1e-12


@settings(max_examples=200, deadline=None)
@given(TIED)
def test_cllr_is_the_mean_cross_entropy_of_both_kinds(pairs):
    scores, labels = columns(pairs)
    probabilities = scipy.special.expit(scores)
    weights = np.where(labels, 0.5 / labels.sum(), 0.5 / (~labels).sum())
    expected = sklearn.metrics.log_loss(labels, probabilities, sample_weight=weights) / np.log(2)
    assert Detection(scores, labels).cllr() == pytest.approx(expected, rel=1e-9)


@settings(max_examples=200, deadline=None)
@given(TIED)
def test_min_cllr_is_the_cllr_of_isotonic_regression(pairs):
    scores, labels = columns(pairs)
    share = sklearn.isotonic.IsotonicRegression().fit(scores, labels).predict(scores)
    with np.errstate(divide="ignore"):
        llrs = scipy.special.logit(share) - np.log(labels.sum() / (~labels).sum())
    expected = (np.mean(np.logaddexp(0, -llrs[labels])) + np.mean(np.logaddexp(0, llrs[~labels]))) / 2 / np.log(2)
    figures = Detection(scores, labels).figures([])
    assert figures["min_cllr"] == pytest.approx(expected, abs=1e-6)  # scikit-learn pools ties in single precision
    assert figures["min_cllr"] <= figures["cllr"] + 1e-12


@settings(max_examples=200, deadline=None)
@given(TIED)
def test_costs_told_from_the_hull_are_those_of_all_operating_points(pairs):
    scores, labels = columns(pairs)
    found = Detection(scores, labels)
    assert found.figures(COSTS)["min_dcf"] == pytest.approx([found.min_dcf(*cost) for cost in COSTS], rel=1e-12)


@settings(max_examples=100, deadline=None)
@given(TIED, st.sampled_from([np.arctan, lambda x: 3 * x + 7, lambda x: x**3]))
def test_rising_functions_change_nothing_that_is_told_of_the_order(pairs, function):
    scores, labels = columns(pairs)
    one, other = (Detection(values, labels).figures(COSTS) for values in (scores, function(scores)))
    assert [one[name] for name in ("eer", "rocch_eer", "min_dcf", "min_cllr")] == [other[name] for name in ("eer", "rocch_eer", "min_dcf", "min_cllr")]


@pytest.mark.parametrize("targets, others", [(1, 1), (5, 900), (900, 5), (30, 30)])
def test_constant_scores_tell_nothing(targets, others):
    figures = Detection(np.zeros(targets + others), np.arange(targets + others) < targets).figures([(0.01, 1, 1)])
    assert figures == {"eer": 0.5, "rocch_eer": 0.5, "min_dcf": [1.0], "act_dcf": [1.0], "min_cllr": 1.0, "cllr": 1.0}


@pytest.mark.parametrize("targets, others, digits", [(PIECE, 3 * PIECE, 9), (2 * PIECE, 1000, 9), (PIECE, PIECE, 2)])
def test_lists_longer_than_a_piece_have_the_same_figures(targets, others, digits):
    scores, labels = normal(3, targets, others)
    scores = scores.round(digits)
    p_miss, p_fa, thresholds = error_rates(scores, labels)
    found = Detection(scores, labels)
    after = int(np.argmax(p_miss >= p_fa))
    assert found.eer_threshold() == thresholds[after]
    assert p_miss[after - 1] <= found.eer() <= p_miss[after]
    assert found.min_dcf(0.05) == pytest.approx((0.05 * p_miss + 0.95 * p_fa).min() / 0.05, rel=1e-12)
    assert found.figures([(0.05, 1, 1)])["min_dcf"] == pytest.approx([found.min_dcf(0.05)], rel=1e-12)
    assert found.cllr() == pytest.approx((np.mean(np.logaddexp(0, -scores[labels])) + np.mean(np.logaddexp(0, scores[~labels]))) / 2 / np.log(2), rel=1e-9)


def test_the_hull_is_that_of_scipy():
    scores, labels = normal(4, 2 * PIECE, 2 * PIECE)
    p_miss, p_fa, _ = error_rates(scores, labels)
    missed, rejected = (p_miss * labels.sum()).round(), ((1 - p_fa) * (~labels).sum()).round()
    corners = scipy.spatial.ConvexHull(np.stack([rejected, missed], axis=1)).vertices
    below = sorted({(rejected[i], missed[i]) for i in corners if missed[i] <= rejected[i]})
    found = convex_hull(missed, rejected)
    assert list(zip(found[1].tolist(), found[0].tolist(), strict=True)) == below


# ---- weights, and intervals over speakers


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans(), st.integers(0, 3)), min_size=2, max_size=30))
def test_a_weight_counts_a_trial_so_many_times(rows):
    scores, labels, weights = (np.array(column) for column in zip(*rows, strict=True))
    repeated, kinds = np.repeat(scores, weights), np.repeat(labels, weights)
    if kinds.all() or not kinds.any():
        return
    sides = [weights[kind][np.argsort(scores[kind], kind="stable")].astype(float) for kind in (labels, ~labels)]
    one, other = Detection(scores, labels).figures(COSTS, sides), Detection(repeated, kinds).figures(COSTS)
    for name, value in other.items():
        assert one[name] == pytest.approx(value, rel=1e-9, abs=1e-12)


def paired(seed, spks, utts):
    """Scores of all pairs of utterances whose speakers differ in how well they are told apart -> scores, labels, enrols, tests"""
    rng = np.random.default_rng(seed)
    spk = np.repeat(np.arange(spks), utts)
    one, other = np.triu_indices(len(spk), 1)
    enrols, tests = spk[one], spk[other]
    labels = enrols == tests
    ease = rng.normal(0, 0.7, spks)
    scores = np.where(labels, 2 + ease[enrols], ease[enrols] + ease[tests]) + rng.normal(size=len(one))
    return scores, labels, enrols, tests


def test_intervals_hold_the_figure_and_narrow_with_more_speakers():
    widths = []
    for spks in (10, 80):
        trials = paired(5, spks, 4)
        ends = speaker_intervals(*trials, COSTS, resamples=200)
        figures = Detection(*trials[:2]).figures(COSTS)
        low, high = ends["eer"]
        assert low < figures["eer"] < high
        assert [len(pair) for pair in ends["min_dcf"]] == [2] * len(COSTS)
        widths.append(high - low)
    assert widths[1] < widths[0] / 1.5


def test_intervals_over_speakers_hold_the_true_rate_about_as_often_as_they_say():
    rates = [eer(*paired(seed, 30, 3)[:2])[0] for seed in range(1000, 1060)]
    hits = 0
    for seed in range(40):
        low, high = speaker_intervals(*paired(seed, 30, 3), [], resamples=100)["eer"]
        hits += low <= np.mean(rates) <= high
    assert hits >= 34


def test_intervals_are_the_same_for_the_same_seed():
    trials = paired(6, 8, 3)
    assert speaker_intervals(*trials, COSTS, 20, seed=1) == speaker_intervals(*trials, COSTS, 20, seed=1)
    assert speaker_intervals(*trials, COSTS, 20, seed=1) != speaker_intervals(*trials, COSTS, 20, seed=2)


def test_one_speaker_has_no_interval():
    with pytest.raises(ValueError, match="two speakers or more are needed"):
        speaker_intervals([0.0, 1.0], [True, False], [0, 0], [0, 0], COSTS)


# ---- subsets


def test_subsets_by_sex_have_all_targets_and_the_nontargets_of_their_kind():
    found = by_sex([True, True, False, False, False], ["f", "m", "f", "f", "m"], ["f", "m", "f", "m", "m"])
    assert {name: np.flatnonzero(mask).tolist() for name, mask in found.items()} == {
        "same sex": [0, 1, 2, 4],
        "cross sex": [0, 1, 3],
        "both f": [0, 2],
        "both m": [1, 4],
    }


def test_subsets_by_duration_are_cut_at_their_edges():
    found = by_duration([1.9, 2.0, 4.99, 5.0, 60.0], [2.0, 5.0])
    assert {name: np.flatnonzero(mask).tolist() for name, mask in found.items()} == {"under 2 s": [0], "2 to 5 s": [1, 2], "5 s or more": [3, 4]}


# ---- steps/eer.py with a data directory


@pytest.fixture
def scored(tmp_path):
    """Six speakers with trials and scores in tmp_path."""
    utt2spk = speakers(*[4] * 6)
    sexes = {spk: "fm"[number % 2] for number, spk in enumerate(sorted(set(utt2spk.values())))}
    data = make_data(tmp_path / "data", utt2spk, spk2gender=sexes, utt2dur={utt: 1.5 + number % 4 for number, utt in enumerate(utt2spk)})
    trials = draw_trials(data, 0)
    write_trials(tmp_path / "data/trials", trials)
    rng = np.random.default_rng(0)
    lines = [f"{one} {other} {rng.normal() + 2 * label:.4f}\n" for one, other, label in trials]
    (tmp_path / "scores").write_text("".join(lines))
    return tmp_path


def test_eer_tells_intervals_and_subsets_of_a_data_directory(program, scored):
    words = ("--resamples", 50, "--durations", "2,3", "--costs", "0.2,5,1")
    done = program("steps/eer.py", "--data", scored / "data", *words, scored / "data/trials", scored / "scores", scored / "eer.json")
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads((scored / "eer.json").read_text())
    assert result["data"] == str(scored / "data")
    assert list(result["min_dcf"]) == list(result["act_dcf"]) == ["0.01", "0.05", "0.001", "0.2,5,1"]
    ends = result["intervals"]
    assert {name: ends[name] for name in ("level", "speakers", "resamples", "seed")} == {"level": 0.95, "speakers": 6, "resamples": 50, "seed": 0}
    assert ends["eer"][0] < result["eer"] < ends["eer"][1]
    assert len(ends["min_dcf"]["0.2,5,1"]) == 2
    assert list(result["subsets"]) == ["same sex", "cross sex", "both f", "both m", "under 2 s", "2 to 3 s", "3 s or more"]
    assert result["subsets"]["same sex"]["targets"] == result["subsets"]["cross sex"]["targets"] == result["targets"]
    assert sum(result["subsets"][name]["nontargets"] for name in ("same sex", "cross sex")) == result["nontargets"]
    printed = done.stdout.splitlines()
    assert printed[3].startswith("95 % over 6 speakers: EER ")
    assert printed[4].startswith("same sex: EER ")


def test_eer_says_where_a_subset_has_trials_of_one_kind_only_and_leaves_out_those_without_any(program, scored):
    trials, scores = scored / "trials", scored / "scores"
    trials.write_text("s00-u00 s01-u00 nontarget\ns00-u02 s00-u03 target\n")
    scores.write_text("s00-u00 s01-u00 0\ns00-u02 s00-u03 1\n")
    done = program("steps/eer.py", "--data", scored / "data", "--resamples", 0, "--durations", "2,3,30", trials, scores, scored / "eer.json")
    counts = ["under 2 s: no figures, 0 target and 1 nontarget trials", "3 to 30 s: no figures, 1 target and 0 nontarget trials"]
    assert [line for line in done.stdout.splitlines() if "no figures" in line and " s: " in line] == counts
    assert done.stdout.splitlines()[-1] == counts[1]
    assert "95 %" not in done.stdout
    assert json.loads((scored / "eer.json").read_text())["subsets"]["2 to 3 s"] == {"targets": 0, "nontargets": 0}


@pytest.mark.parametrize("resamples", [0, 20])
def test_eer_prints_one_line_where_that_is_asked_for_and_writes_the_same(program, scored, resamples):
    words = ("steps/eer.py", "--data", scored / "data", "--resamples", resamples, scored / "data/trials", scored / "scores")
    whole, brief = program(*words, scored / "whole.json"), program(*words, scored / "brief.json", "--brief", "true")
    assert (scored / "brief.json").read_bytes() == (scored / "whole.json").read_bytes()
    first = whole.stdout.splitlines()[0]
    if resamples:
        low, high = json.loads((scored / "brief.json").read_text())["intervals"]["eer"]
        first = first.replace(" %, ", f" % (95 %: {100 * low:.2f} to {100 * high:.2f}), ", 1)
    assert brief.stdout == f"{first}\n"


def test_eer_takes_speakers_as_the_ids_of_enrolments(program, scored):
    trials, scores = scored / "trials", scored / "scores"
    trials.write_text("s00 s00-u01 target\ns01 s00-u01 nontarget\ns02 s02-u01 target\n")
    scores.write_text("s00 s00-u01 1\ns01 s00-u01 0\ns02 s02-u01 2\n")
    done = program("steps/eer.py", "--data", scored / "data", "--resamples", 5, trials, scores)
    assert (done.returncode, done.stderr) == (0, "")
    assert "95 % over 3 speakers: EER 0.00 to 0.00 %" in done.stdout


@pytest.mark.parametrize(
    "line, message",
    [
        ("s00-u00 s01-u00 target", "'s00-u00 s01-u00' is target, but the speakers are 's00' and 's01' by {t}/data/utt2spk; one of the two is wrong"),
        ("s00-u00 s00-u01 nontarget", "'s00-u00 s00-u01' is nontarget, but the speakers are 's00' and 's00' by {t}/data/utt2spk; one of the two is wrong"),
        ("s00-u00 x target", "'x' is neither an utterance nor a speaker of {t}/data; name the directory of these trials with --data"),
    ],
)
def test_eer_refuses_trials_that_the_data_directory_contradicts(program, scored, line, message):
    (scored / "trials").write_text(f"{line}\ns02-u00 s02-u01 target\ns02-u00 s03-u01 nontarget\n")
    done = program("steps/eer.py", "--data", scored / "data", scored / "trials", scored / "scores", scored / "eer.json")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"eer.py: {scored}/trials: {message.format(t=scored)}\n")
    assert not (scored / "eer.json").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        (("--costs", "1,1,1"), "argument --costs: P,MISS,FA expected, a prior between 0 and 1 and two costs above 0, e.g. 0.01,10,1, not '1,1,1'"),
        (("--costs", "0.1,1"), "argument --costs: P,MISS,FA expected, a prior between 0 and 1 and two costs above 0, e.g. 0.01,10,1, not '0.1,1'"),
        (("--costs", "0.1,nan,1"), "argument --costs: P,MISS,FA expected, a prior between 0 and 1 and two costs above 0, e.g. 0.01,10,1, not '0.1,nan,1'"),
        (("--durations", "5,2"), "argument --durations: rising seconds expected, e.g. 2,5,10, not '5,2'"),
        (("--durations", "0"), "argument --durations: a number above 0 expected, not '0'"),
    ],
)
def test_eer_refuses_wrong_options(program, words, message):
    done = program("steps/eer.py", *words, "trials", "scores")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"eer.py: {message}; see --help\n")


def test_min_dcf_of_the_plain_function_is_that_of_the_list():
    scores, labels = normal(7, 50, 500)
    assert min_dcf(scores, labels, 0.05) == Detection(scores, labels).min_dcf(0.05)
