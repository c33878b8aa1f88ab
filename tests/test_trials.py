"""pytorch/data/trials.py: trial lists read, or refused with their line; drawn evenly, alike everywhere, and without listing all pairs."""

import hashlib
import itertools
import subprocess
import sys
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import failure
from trial_data import check, make_data, speakers

from pytorch.data import trials as module
from pytorch.data.data_dir import DataDir, write_table
from pytorch.data.trials import Pairs, check_disjoint, draw_trials, read_trials, usable_utts, write_trials

GOLDEN = Path(__file__).parent / "kaldi_golden"


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ---- reading


def test_trials_are_read_in_their_order(tmp_path):
    path = write(tmp_path / "trials", "b a target\na b nontarget\n  a   a\ttarget  \nü é nontarget")
    assert read_trials(path) == (["b", "a", "a", "ü"], ["a", "b", "a", "é"], [True, False, True, False])


def test_kaldis_trials_are_read():
    enrols, tests, labels = read_trials(GOLDEN / "x.trials")
    assert len(enrols) == len(tests) == 4950
    assert sum(labels) == (GOLDEN / "x.trials").read_text().count(" target\n")


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "{path}: empty"),
        ("a b target\na c\n", "{path}:2: `enrol-utt test-utt target|nontarget` expected, not 'a c'"),
        ("a b target x\n", "{path}:1: `enrol-utt test-utt target|nontarget` expected, not 'a b target x'"),
        ("a b target\n\na c target\n", "{path}:2: `enrol-utt test-utt target|nontarget` expected, not ''"),
        ("1 a b\n", "{path}:1: target or nontarget expected, not 'b'"),
        ("a b Target\n", "{path}:1: target or nontarget expected, not 'Target'"),
        ("a b target\na c nontarge", "{path}:2: target or nontarget expected, not 'nontarge'"),
        ("a b target\nb a target\na b target\n", "{path}:3: the trial 'a b' stands twice; keep one line of it"),
        ("a b target\na b nontarget\n", "{path}:2: the trial 'a b' stands twice; keep one line of it"),
        (b"a b target\na \xff target\n", "{path}: not a text file (not UTF-8)"),
    ],
)
def test_broken_trials_are_refused_with_their_line(tmp_path, content, message):
    path = write(tmp_path / "trials", content)
    assert failure(read_trials, path) == message.format(path=path)


def test_missing_trials_are_refused(tmp_path):
    assert failure(read_trials, tmp_path / "trials") == f"{tmp_path}/trials: no such file"


# ---- drawing


@pytest.mark.parametrize("numbers", [(3, 3, 3), (2, 1), (1, 1, 1, 2), (10, 1, 4, 2, 7), (2,) * 20])
@pytest.mark.parametrize("share", [1, 2, 5])
def test_all_target_pairs_are_drawn_and_as_many_nontarget_pairs_as_asked_for_or_there(tmp_path, numbers, share):
    utt2spk = speakers(*numbers)
    targets, others = check(draw_trials(make_data(tmp_path / "d", utt2spk), 0, share), utt2spk)
    expected = {pair for pair in itertools.combinations(sorted(utt2spk), 2) if utt2spk[pair[0]] == utt2spk[pair[1]]}
    assert {trial[:2] for trial in targets} == expected
    there = len(utt2spk) * (len(utt2spk) - 1) // 2 - len(expected)
    assert len(others) == min(there, share * len(expected))


def test_the_same_seed_draws_the_same_trials_and_another_others(tmp_path):
    data = make_data(tmp_path / "d", speakers(*[4] * 10), spk2gender={f"s{spk:02d}": "mf"[spk % 2] for spk in range(10)})
    first = draw_trials(data, 3)
    assert draw_trials(DataDir(tmp_path / "d"), 3) == first
    assert draw_trials(data, 4) != first


def test_nontarget_pairs_are_spread_over_the_pairs_of_speakers(tmp_path):
    utt2spk = speakers(*[10] * 6)
    _, others = check(draw_trials(make_data(tmp_path / "d", utt2spk), 0, 1), utt2spk)
    counts = dict.fromkeys(itertools.combinations(sorted(set(utt2spk.values())), 2), 0)
    for one, other, _ in others:
        counts[utt2spk[one], utt2spk[other]] += 1
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("share", [1, 2, 3])
def test_half_of_the_nontarget_pairs_are_of_one_sex(tmp_path, share):
    utt2spk = speakers(*[4] * 8)
    sex = {f"s{spk:02d}": "mf"[spk % 2] for spk in range(8)}
    _, others = check(draw_trials(make_data(tmp_path / "d", utt2spk, spk2gender=sex), 0, share), utt2spk)
    of_one = sum(sex[utt2spk[one]] == sex[utt2spk[other]] for one, other, _ in others)
    assert len(others) == share * 8 * 6
    assert of_one == len(others) - len(others) // 2


@pytest.mark.parametrize(
    "numbers, sexes, share, of_two, of_one",
    [
        ((3, 3, 3), "mmm", 2, 0, 18),
        ((3, 3), "mf", 1, 6, 0),
        ((3, 3), "mf", 9, 9, 0),
        ((2, 2, 2), "mmf", 2, 3, 3),
        ((2, 2, 2), "mmf", 3, 5, 4),
        ((2, 2, 2), "mmf", 4, 8, 4),
    ],
)
def test_where_one_kind_of_pair_runs_out_more_are_drawn_of_the_other(tmp_path, numbers, sexes, share, of_two, of_one):
    utt2spk = speakers(*numbers)
    sex = {f"s{spk:02d}": letter for spk, letter in enumerate(sexes)}
    _, others = check(draw_trials(make_data(tmp_path / "d", utt2spk, spk2gender=sex), 0, share), utt2spk)
    assert sum(sex[utt2spk[one]] != sex[utt2spk[other]] for one, other, _ in others) == of_two
    assert sum(sex[utt2spk[one]] == sex[utt2spk[other]] for one, other, _ in others) == of_one


def test_target_pairs_are_of_two_sessions_where_sessions_are_known(tmp_path):
    utt2spk = speakers(4, 4)
    session = {utt: f"day{int(utt[-1]) // 2}" for utt in utt2spk}
    targets, others = check(draw_trials(make_data(tmp_path / "d", utt2spk, utt2session=session), 0), utt2spk)
    assert len(targets) == 2 * 4
    assert all(session[one] != session[other] for one, other, _ in targets)
    assert len(others) == 16


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=7), st.integers(1, 4), st.randoms(use_true_random=False))
def test_every_list_drawn_is_sound(tmp_path_factory, numbers, share, chance):
    utt2spk = speakers(*numbers)
    sex = {spk: chance.choice("mf") for spk in sorted(set(utt2spk.values()))}
    data = make_data(tmp_path_factory.mktemp("d"), utt2spk, spk2gender=sex)
    if max(numbers) == 1:
        failure(draw_trials, data, 0, share)
        return
    targets, others = check(draw_trials(data, chance.randrange(1000), share), utt2spk)
    assert len(targets) == sum(number * (number - 1) // 2 for number in numbers)
    there = len(utt2spk) * (len(utt2spk) - 1) // 2 - len(targets)
    assert len(others) == min(there, share * len(targets))


@pytest.mark.parametrize(
    "numbers, message",
    [
        ((1, 1, 1), "no speaker has two utterances, so no target trial can be made; add recordings, or give a trial list of your own"),
        ((1,), "no speaker has two utterances, so no target trial can be made; add recordings, or give a trial list of your own"),
        ((5,), "one speaker only, so no non-target trial can be made; add speakers"),
    ],
)
def test_data_that_allow_no_trials_are_refused(tmp_path, numbers, message):
    assert failure(draw_trials, make_data(tmp_path / "d", speakers(*numbers)), 0) == f"{tmp_path}/d: {message}"


def test_one_session_a_speaker_is_refused(tmp_path):
    utt2spk = speakers(3, 3)
    data = make_data(tmp_path / "d", utt2spk, utt2session=dict.fromkeys(utt2spk, "day1"))
    message = "no speaker has utterances of two sessions, so no target trial can be made; add recordings, or give a trial list of your own"
    assert failure(draw_trials, data, 0) == f"{tmp_path}/d: {message}"


def test_what_is_drawn_is_written_and_read_back(tmp_path):
    trials = draw_trials(make_data(tmp_path / "d", speakers(3, 2)), 0)
    write_trials(tmp_path / "d/trials", trials)
    assert list(zip(*read_trials(tmp_path / "d/trials"), strict=True)) == trials


# ---- the same list everywhere

SEX = {f"s{spk:02d}": "mf"[spk % 2] for spk in range(40)}


def sha_of(trials):
    return hashlib.sha256("".join(f"{first} {second} {label}\n" for first, second, label in trials).encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    "numbers, choice, expected",
    [
        ((4,) * 8, {}, "8746e3db56137fee"),
        ((3, 1, 4, 1, 5, 9, 2, 6), {"nontargets_per_target": 5}, "65d6067b028dfd6e"),
        ((2,) * 40, {"num_targets": 20, "num_nontargets": 30}, "4d3f35cb34a00567"),
    ],
)
def test_lists_are_those_that_every_python_and_machine_draws(tmp_path, numbers, choice, expected):
    utt2spk = speakers(*numbers)
    data = make_data(tmp_path / "d", utt2spk, spk2gender={spk: SEX[spk] for spk in set(utt2spk.values())})
    assert sha_of(draw_trials(data, 7, **choice)) == expected


@pytest.mark.parametrize("name, expected", [("valid", "6b214e735c84131c"), ("test", "48d5ca6b2ff3a48e")])
def test_the_lists_of_an4_are_those_that_its_results_name(tmp_path_factory, corpora, root, name, expected):
    out = tmp_path_factory.getbasetemp() / "an4"
    if not out.exists():
        conf = root / "egs/an4/v1/conf"
        lists = ["--valid-list", conf / "valid_speakers", "--test-list", conf / "test_speakers"]
        subprocess.run([sys.executable, root / "local/make_an4.py", *lists, corpora / "an4", out], check=True)
    write_trials(out / name / "trials", draw_trials(DataDir(out / name), 0))
    assert hashlib.sha256((out / name / "trials").read_bytes()).hexdigest().startswith(expected)


# ---- pairs by number


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3)), min_size=1, max_size=9), st.booleans())
def test_pairs_are_those_of_a_loop_over_all_in_its_order(cells, same):
    groups, sizes = zip(*cells, strict=True)
    utts = [[f"{cell}-{utt}" for utt in range(size)] for cell, size in enumerate(sizes)]
    pairs = Pairs(utts, groups, same)
    expected = [pair for pair in itertools.combinations(range(len(cells)), 2) if (groups[pair[0]] == groups[pair[1]]) == same]
    assert [pairs[number] for number in range(len(pairs))] == expected
    assert pairs.num_utt_pairs == sum(sizes[first] * sizes[second] for first, second in expected)
    of_utts = [pairs.utt_pair(number, item) for number in range(len(pairs)) for item in range(pairs.size(number))]
    assert set(of_utts) == {tuple(sorted(pair)) for first, second in expected for pair in itertools.product(utts[first], utts[second])}
    assert len(set(of_utts)) == len(of_utts)


def test_few_trials_of_thousands_of_speakers_need_no_list_of_their_pairs(tmp_path):
    utt2spk = {f"s{spk:04d}-u{utt}": f"s{spk:04d}" for spk in range(4000) for utt in range(2)}
    data = make_data(tmp_path / "d", utt2spk, spk2gender={f"s{spk:04d}": "mf"[spk % 2] for spk in range(4000)})
    tracemalloc.start()
    targets, others = check(draw_trials(data, 0, num_targets=100, num_nontargets=200), utt2spk)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(targets), len(others)) == (100, 200)
    assert len({utt2spk[one] for one, _, _ in targets}) == 100
    assert sum((int(one[1:5]) - int(other[1:5])) % 2 == 0 for one, other, _ in others) == 100
    assert peak < 40e6  # the pairs of speakers, 8 million of them, would be a gigabyte


def test_more_trials_than_memory_is_meant_for_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 10)
    data = make_data(tmp_path / "d", speakers(6, 6))
    assert failure(draw_trials, data, 0) == f"{tmp_path}/d: 30 target pairs are too many for a list of all; choose some with --num-targets"
    message = "8 target and 16 nontarget trials are too many; choose fewer with --num-targets and --num-nontargets"
    assert failure(draw_trials, data, 0, num_targets=8) == f"{tmp_path}/d: {message}"
    assert len(draw_trials(data, 0, num_targets=4, num_nontargets=6)) == 10


# ---- what is asked for


@pytest.mark.parametrize("num_targets, num_nontargets", [(1, 1), (5, 40), (18, 3), (25, 100)])
def test_as_many_trials_are_drawn_as_asked_for_or_there(tmp_path, num_targets, num_nontargets):
    utt2spk = speakers(2, 3, 4, 5)
    targets, others = check(draw_trials(make_data(tmp_path / "d", utt2spk), 0, num_targets=num_targets, num_nontargets=num_nontargets), utt2spk)
    assert len(targets) == min(num_targets, 1 + 3 + 6 + 10)
    assert len(others) == min(num_nontargets, 14 * 13 // 2 - 20)


def test_some_target_pairs_are_spread_over_the_speakers(tmp_path):
    utt2spk = speakers(2, 3, 20, 20)
    targets, _ = check(draw_trials(make_data(tmp_path / "d", utt2spk), 0, num_targets=24), utt2spk)
    assert Counter(utt2spk[one] for one, _, _ in targets) == {"s00": 1, "s01": 3, "s02": 10, "s03": 10}


def test_where_some_pairs_of_speakers_have_few_utterances_the_others_stand_in_evenly(tmp_path):
    utt2spk = speakers(1, 1, 10, 10, 10)
    _, others = check(draw_trials(make_data(tmp_path / "d", utt2spk), 0, num_nontargets=1 + 6 * 10 + 3 * 40), utt2spk)
    counts = Counter((utt2spk[one], utt2spk[other]) for one, other, _ in others)
    assert sorted(counts.values()) == [1] + [10] * 6 + [40] * 3


def test_hard_pairs_are_alike_in_every_table_named(tmp_path):
    utt2spk = speakers(*[3] * 12)
    country = {spk: "xyz"[int(spk[1:]) // 4] for spk in set(utt2spk.values())}
    age = {utt: str(int(utt[-1]) % 2) for utt in utt2spk}
    data = make_data(tmp_path / "d", utt2spk, spk2gender={spk: SEX[spk] for spk in country}, spk2country=country, utt2age=age)
    targets, others = check(draw_trials(data, 0, 1, same=("spk2gender", "spk2country", "utt2age")), utt2spk)
    assert len(targets) == 36
    assert len(others) == 6 * (2 * 2 + 1)  # six pairs of speakers alike, two utterances each of one age and one of the other
    for one, other, _ in others:
        first, second = utt2spk[one], utt2spk[other]
        assert (SEX[first], country[first], age[one]) == (SEX[second], country[second], age[other])


def test_targets_differ_in_the_table_named_or_in_none(tmp_path):
    utt2spk = speakers(4, 4)
    session, device = {utt: utt[-1] for utt in utt2spk}, {utt: str(int(utt[-1]) // 3) for utt in utt2spk}
    data = make_data(tmp_path / "d", utt2spk, utt2session=session, utt2device=device)
    targets, _ = check(draw_trials(data, 0, differ="utt2device"), utt2spk)
    assert len(targets) == 2 * 3 and all(device[one] != device[other] for one, other, _ in targets)
    write_table(tmp_path / "d/utt2session", dict.fromkeys(utt2spk, "day1"))
    assert len(check(draw_trials(DataDir(tmp_path / "d"), 0, differ=""), utt2spk)[0]) == 2 * 6


def test_one_utterance_of_each_session_is_used(tmp_path):
    utt2spk = speakers(6, 4, 1)
    data = make_data(tmp_path / "d", utt2spk, utt2session={utt: str(int(utt[-1]) // 2) for utt in utt2spk})
    kept = usable_utts(data, 0, one_per="utt2session")
    assert {spk: [int(utt[-1]) // 2 for utt in utts] for spk, utts in kept.items()} == {"s00": [0, 1, 2], "s01": [0, 1], "s02": [0]}
    assert usable_utts(data, 0, one_per="utt2session") == kept
    assert any(usable_utts(data, seed, one_per="utt2session") != kept for seed in range(1, 9))
    targets, others = check(draw_trials(data, 0, 9, spk2utt=kept), utt2spk)
    assert (len(targets), len(others)) == (3 + 1, 3 * 2 + 3 + 2)


def test_short_utterances_and_speakers_of_nothing_else_are_not_used(tmp_path):
    utt2spk = speakers(2, 2)
    data = make_data(tmp_path / "d", utt2spk, utt2dur={"s00-u00": 2.0, "s00-u01": 1.99, "s01-u00": 1, "s01-u01": 1})
    assert usable_utts(data, 0, min_dur_sec=2) == {"s00": ["s00-u00"]}
    assert failure(usable_utts, data, 0, min_dur_sec=3) == f"{tmp_path}/d: no utterance of 3 s or more; lower --min-dur"


def test_segments_tell_durations_too(tmp_path):
    data = make_data(tmp_path / "d", speakers(2))
    write_table(tmp_path / "d/segments", {"s00-u00": "r 1 2.5", "s00-u01": "r 1 3.5"})
    assert usable_utts(data, 0, min_dur_sec=2) == {"s00": ["s00-u01"]}


def test_durations_that_are_missing_or_no_numbers_are_refused(tmp_path):
    data = make_data(tmp_path / "d", speakers(1, 1))
    assert failure(usable_utts, data, 0, min_dur_sec=2) == f"{tmp_path}/d/utt2dur: no such file; make it with utils/get_utt2dur.py {tmp_path}/d"
    write_table(tmp_path / "d/utt2dur", {"s00-u00": 2, "s01-u00": "long"})
    assert failure(usable_utts, data, 0, min_dur_sec=2) == f"{tmp_path}/d/utt2dur:2: 's01-u00': seconds above 0 expected, not 'long'"


@pytest.mark.parametrize(
    "tables, choice, message",
    [
        ({}, {"same": ("spk2gender",)}, "no two speakers are alike in spk2gender, so no non-target trial can be made; name fewer tables in --same"),
        (
            {"utt2day": "1"},
            {"differ": "utt2day"},
            "no speaker has utterances of two values in utt2day, so no target trial can be made; add recordings, or give a trial list of your own",
        ),
    ],
)
def test_choices_that_leave_no_pair_are_refused(tmp_path, tables, choice, message):
    utt2spk = speakers(2, 2)
    tables = {name: dict.fromkeys(utt2spk, value) for name, value in tables.items()}
    data = make_data(tmp_path / "d", utt2spk, spk2gender={"s00": "m", "s01": "f"}, **tables)
    assert failure(draw_trials, data, 0, **choice) == f"{tmp_path}/d: {message}"


def test_speakers_that_are_in_training_data_too_are_refused(tmp_path):
    data = make_data(tmp_path / "d", speakers(1, 1, 1))
    train = make_data(tmp_path / "train", {"s01-x": "s01", "s02-x": "s02", "t-1": "t"})
    message = f"{tmp_path}/d/utt2spk: speaker 's01' is in {{}} too (2 such); the speakers must be others"
    assert failure(check_disjoint, data, train.path) == message.format(train.path)
    path = write(tmp_path / "list", "s02\n\nt\n")
    assert failure(check_disjoint, data, path) == f"{tmp_path}/d/utt2spk: speaker 's02' is in {path} too (1 such); the speakers must be others"
    check_disjoint(data, write(tmp_path / "list", "s0\ns0200\n"))
