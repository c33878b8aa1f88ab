"""pytorch/training/sampler.py: which utterances are drawn, how often, from where; epochs; what is left out; everything by seed and step alone."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from arks import memory_below
from support import failure

from pytorch.data.data_dir import DataDir, write_table
from pytorch.training.sampler import build_sampler, epoch_steps

FRAMES_10 = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
GROUPS_10 = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])


def features(lengths):
    """What a sampler asks of Frames: 10 ms a unit."""
    return _source(lengths, lambda num_frames: num_frames, 0.01)


def waves(lengths):
    """What it asks of Waves at 16 kHz: 25 ms windows each 10 ms."""
    return _source(lengths, lambda num_frames: 160 * num_frames + 240, 1 / 16000)


def _source(lengths, units, sec_per_unit):
    lengths = np.array(lengths, dtype=np.int64)
    utts = [f"u{number:02d}" for number in range(len(lengths))] if len(lengths) < 100 else None
    return SimpleNamespace(utts=utts, lengths=lengths, name="feats.scp", units=units, sec_per_unit=sec_per_unit, need_length=lambda least: None)


def build(kind="utterance", lengths=FRAMES_10, batch_size=4, crops=(10, 10), seed=1, source=features, **more):
    if kind in ("class", "speaker"):
        more.setdefault("groups", GROUPS_10)
    return build_sampler(kind, source(lengths), batch_size, *crops, seed, **more)


def draws(sampler, epochs):
    return [sampler.draw(epoch, step) for epoch in range(1, epochs + 1) for step in range(sampler.steps_per_epoch)]


def utts(sampler, epochs):
    return np.concatenate([indices for indices, _, _ in draws(sampler, epochs)])


def groups_of(indices):
    return GROUPS_10[indices].tolist()


# ---- epochs


def test_five_days_of_two_seconds_in_batches_of_256_are_844_batches():
    assert epoch_steps(1_092_009, 256, 1, 2.0, days=5.0) == 844
    assert build(batch_size=256, crops=(200, 200), days=5.0).steps_per_epoch == 844
    assert build(batch_size=256, crops=(198, 198), source=waves, lengths=[50_000], days=5.0).steps_per_epoch == 846  # of 1.995 s


def test_days_count_the_mean_length_of_crops():
    assert build(batch_size=256, crops=(100, 300), days=5.0).steps_per_epoch == 844


@pytest.mark.parametrize(("passes", "steps"), [(0.0, 3), (1.0, 3), (2.0, 5), (0.4, 1), (0.41, 2)])
def test_passes_go_over_as_many_utterances_as_there_are(passes, steps):
    assert build(passes=passes).steps_per_epoch == steps


def test_a_pass_counts_utterances_not_their_chunks():
    assert build("speaker", batch_size=6, spk_per_batch=1, utts_per_spk=2, chunks_per_utt=3).steps_per_epoch == 5


def test_steps_are_taken_as_they_are_given():
    assert build(steps_per_epoch=7).steps_per_epoch == 7


@pytest.mark.parametrize("more", [{"steps_per_epoch": 7, "passes": 1.0}, {"steps_per_epoch": 7, "days": 1.0}, {"days": 1.0, "passes": 1.0}])
def test_two_lengths_of_an_epoch_are_refused(more):
    assert failure(build, **more) == "--steps-per-epoch, --passes-per-epoch and --days-per-epoch each say how long an epoch is; give one of them"


# ---- by seed and step alone


@pytest.mark.parametrize("kind", ["utterance", "class", "speaker"])
def test_a_batch_depends_on_seed_epoch_and_step_alone(kind):
    def sampler(seed=1):
        return build(kind, crops=(5, 9), seed=seed)

    whole, after = draws(sampler(), 5), sampler()
    steps = after.steps_per_epoch
    for number in (14, 3, 7, 7, 0):  # in any order, on a sampler that drew nothing before
        again = after.draw(number // steps + 1, number % steps)
        for found, expected in zip(again, whole[number], strict=True):
            np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(utts(sampler(2), 5), utts(sampler(), 5))


def test_the_length_of_epochs_changes_nothing_but_where_they_end():
    np.testing.assert_array_equal(utts(build(steps_per_epoch=6), 1), utts(build(steps_per_epoch=2), 3))


@pytest.mark.parametrize("batch_size", [1, 3, 4, 23])
@pytest.mark.parametrize("steps", [1, 3, 7])
def test_each_utterance_comes_equally_often_over_epochs(batch_size, steps):
    drawn = utts(build(batch_size=batch_size, steps_per_epoch=steps), 11)
    for begin in range(0, len(drawn) - 9, 10):
        assert sorted(drawn[begin : begin + 10]) == list(range(10))


def test_passes_have_different_orders():
    drawn = utts(build(batch_size=10), 20).reshape(20, 10)
    assert len({tuple(order) for order in drawn.tolist()}) == 20


# ---- lengths and starts


def test_lengths_are_even_between_the_shortest_and_the_longest_and_one_a_batch():
    sampler = build(crops=(5, 9), steps_per_epoch=1000)
    found = Counter(length for _, _, length in draws(sampler, 1))
    assert set(found) == {5, 6, 7, 8, 9}
    assert min(found.values()) > 160
    assert sampler.max_length == 9


def test_lengths_of_waves_are_samples_of_whole_frames():
    sampler = build(lengths=[3000] * 4, crops=(5, 6), source=waves)
    assert {length for _, _, length in draws(sampler, 20)} == {1040, 1200}
    assert sampler.max_length == 1200


@pytest.mark.parametrize(("total", "places"), [(13, 4), (10, 1), (7, 7)])  # one shorter than the crop may begin anywhere
def test_starts_are_even_over_all_places_a_crop_can_have(total, places):
    found = Counter(np.concatenate([starts for _, starts, _ in draws(build(lengths=[total], steps_per_epoch=400), 1)]).tolist())
    assert set(found) == set(range(places))
    assert min(found.values()) > 0.75 * 1600 / places


# ---- classes


def test_each_class_comes_equally_often():
    drawn = utts(build("class", batch_size=4, steps_per_epoch=3), 50)
    for begin in range(0, len(drawn) - 2, 3):
        assert sorted(groups_of(drawn[begin : begin + 3])) == [0, 1, 2]


def test_utterances_of_a_class_are_drawn_evenly_however_long():
    found = Counter(utts(build("class", batch_size=3, steps_per_epoch=4000), 1).tolist())
    assert len(found) == 10
    for utt, times in found.items():
        assert abs(times - 4000 / (4, 3, 3)[GROUPS_10[utt]]) < 130, utt


def test_classes_that_no_utterance_has_are_not_drawn():
    groups = np.array([7, 7, 3, 3, 3])
    sampler = build("class", lengths=[20] * 5, batch_size=2, groups=groups)
    assert sorted(groups[sampler.draw(1, 0)[0]]) == [3, 7]
    assert sampler.summary == "5 utterances of 2 classes"


def test_a_batch_has_no_utterance_of_a_class_twice_while_it_has_others():
    sampler = build("class", batch_size=9, steps_per_epoch=50)  # three of each class, which have four, three and three
    assert all(len(set(indices.tolist())) == 9 for indices, _, _ in draws(sampler, 1))


@pytest.mark.parametrize("kind", ["class", "speaker"])
def test_numbers_have_no_classes(kind):
    assert failure(build, kind, groups=None) == f"--sampler {kind}: the targets are numbers, which have no classes; choose another sampler"


# ---- speakers


@pytest.mark.parametrize(("spk_per_batch", "utts_per_spk", "chunks"), [(2, 1, 1), (2, 2, 1), (3, 2, 3), (1, 3, 2)])
def test_a_batch_has_speakers_utterances_and_chunks_as_asked(spk_per_batch, utts_per_spk, chunks):
    more = {"spk_per_batch": spk_per_batch, "utts_per_spk": utts_per_spk, "chunks_per_utt": chunks}
    sampler = build("speaker", batch_size=99, steps_per_epoch=30, **more)
    assert (sampler.batch_size, sampler.chunks, sampler.together) == (spk_per_batch * utts_per_spk * chunks, chunks, utts_per_spk * chunks)
    for indices, starts, _ in draws(sampler, 1):
        assert (len(indices), len(starts)) == (sampler.batch_size,) * 2
        rows = indices.reshape(spk_per_batch, utts_per_spk, chunks)
        assert (rows == rows[:, :, :1]).all()
        spks = GROUPS_10[rows[:, :, 0]]
        assert (spks == spks[:, :1]).all()


def test_speakers_come_in_a_cycle_all_of_them_once_before_one_comes_again():
    sampler = build("speaker", batch_size=4, utts_per_spk=2, steps_per_epoch=5)  # two of three speakers a batch
    spks = groups_of(utts(sampler, 9)[::2])
    for begin in range(0, len(spks) - 2, 3):
        assert sorted(spks[begin : begin + 3]) == [0, 1, 2]


def test_as_many_speakers_as_fill_the_batch():
    sampler = build("speaker", batch_size=12, utts_per_spk=2, chunks_per_utt=2)
    assert set(groups_of(sampler.draw(1, 0)[0])) == {0, 1, 2}
    assert sampler.batch_size == 12


def test_utterances_are_drawn_in_proportion_to_their_length():
    found = Counter(utts(build("speaker", batch_size=3, steps_per_epoch=6000), 1).tolist())
    for utt, length in enumerate(FRAMES_10):
        of_speaker = np.bincount(GROUPS_10, FRAMES_10)[GROUPS_10[utt]]
        expected = 6000 * length / of_speaker
        assert abs(found[utt] - expected) < 4 * np.sqrt(expected), utt


def test_utterances_are_drawn_evenly_where_asked():
    found = Counter(utts(build("speaker", batch_size=3, steps_per_epoch=6000, by_duration=False), 1).tolist())
    for utt in range(10):
        assert abs(found[utt] - 6000 / (4, 3, 3)[GROUPS_10[utt]]) < 160, utt


def successive(lengths, num, pairs):
    """The probability that both of a pair are among `num` drawn one after the other, each in proportion to length among those left: all orders summed."""
    found = dict.fromkeys(pairs, 0.0)

    def go(taken, share):
        if len(taken) == num:
            for pair in pairs:
                found[pair] += share * (set(pair) <= set(taken))
            return
        left = [utt for utt in range(len(lengths)) if utt not in taken]
        for utt in left:
            go([*taken, utt], share * lengths[utt] / sum(lengths[other] for other in left))

    go([], 1.0)
    return found


@pytest.mark.parametrize("lengths", [[10, 20, 30, 40], [1, 1, 1, 1000]])  # the second needs the list of those left
def test_utterances_without_repeats_are_drawn_in_proportion_among_those_left(lengths):
    sampler = build("speaker", lengths=lengths, crops=(1, 1), spk_per_batch=1, utts_per_spk=2, groups=np.zeros(4, dtype=int), steps_per_epoch=6000)
    drawn = [tuple(sorted(indices.tolist())) for indices, _, _ in draws(sampler, 1)]
    assert all(first != second for first, second in drawn)
    for pair, share in successive(lengths, 2, sorted(set(drawn))).items():
        assert abs(drawn.count(pair) - 6000 * share) < 4 * np.sqrt(6000 * share), pair


def test_a_speaker_that_comes_twice_in_a_batch_brings_other_utterances():
    sampler = build("speaker", batch_size=4, groups=np.repeat([0, 1], 5), steps_per_epoch=100)  # each of two speakers twice
    assert all(len(set(indices.tolist())) == 4 for indices, _, _ in draws(sampler, 1))


def test_a_speaker_with_too_few_utterances_brings_each_as_often_as_any_other():
    sampler = build("speaker", spk_per_batch=1, utts_per_spk=7, steps_per_epoch=60)
    for indices, _, _ in draws(sampler, 1):
        times = Counter(indices.tolist())
        assert len(times) == (4 if GROUPS_10[indices[0]] == 0 else 3)
        assert max(times.values()) - min(times.values()) <= 1


def test_speakers_with_too_little_speech_are_left_out_and_counted():
    sampler = build("speaker", batch_size=2, min_spk_sec=1.5)  # 1.0, 1.8 and 2.7 s
    assert set(groups_of(utts(sampler, 5))) == {1, 2}
    assert sampler.summary == "6 utterances of 2 speakers; left out: 4 utterances of speakers with less than 1.5 s, with them 1 of 3 speakers"
    ((why, indices),) = sampler.dropped.items()
    assert (why, indices.tolist()) == ("of speakers with less than 1.5 s", [0, 1, 2, 3])


def test_speech_is_counted_after_short_utterances_are_left_out():
    sampler = build("speaker", batch_size=2, min_spk_sec=2.0, crops=(60, 80), short="drop")
    assert set(utts(sampler, 5)) == {7, 8, 9}
    assert list(sampler.dropped) == ["shorter than 80 frames", "of speakers with less than 2 s"]


def test_no_speaker_with_enough_speech_is_an_error():
    expected = "feats.scp: no speaker has 3 s to draw from, the one with most has 2.7 s; lower --min-spk-sec"
    assert failure(build, "speaker", min_spk_sec=3.0) == expected


def test_more_speakers_a_batch_than_there_are_are_refused():
    assert failure(build, "speaker", spk_per_batch=4) == "--spk-per-batch 4: there are 3 speakers to draw from"
    assert failure(build, "speaker", spk_per_batch=3, min_spk_sec=1.5) == "--spk-per-batch 3: there are 2 speakers to draw from"


def test_a_batch_that_speakers_do_not_fill_is_refused():
    message = failure(build, "speaker", batch_size=64, utts_per_spk=3, chunks_per_utt=2)
    assert message == "--batch-size 64: --utts-per-spk 3 and --chunks-per-utt 2 need a multiple of 6, or give --spk-per-batch"


@pytest.mark.parametrize("more", [{"spk_per_batch": 2}, {"utts_per_spk": 2}, {"chunks_per_utt": 2}, {"min_spk_sec": 2.0}, {"by_duration": False}])
@pytest.mark.parametrize("kind", ["utterance", "class", "windows"])
def test_options_of_the_speaker_sampler_go_with_it_alone(kind, more):
    assert failure(build, kind, **more) == f"--{next(iter(more)).replace('_', '-')}: only with --sampler speaker"


# ---- windows


def table(folder, lines):
    write_table(folder / "utt2spk", dict.fromkeys(lines, "spk"))
    write_table(folder / "utt2window", lines)
    return DataDir(folder)


def test_windows_begin_each_half_second_and_come_once_a_pass(tmp_path):
    data = table(tmp_path, {"u00": "-1", "u01": "0", "u02": "3"})
    sampler = build("windows", lengths=[300, 300, 300], batch_size=3, crops=(100, 150), data=data)
    found = {0: set(), 1: set(), 2: set()}
    for indices, starts, length in draws(sampler, 50):
        assert sorted(indices.tolist()) == [0, 1, 2]
        assert starts[indices == 0][0] + length <= 300
        for utt, start in zip(indices.tolist(), starts.tolist(), strict=True):
            found[utt].add(start)
    assert (found[1], found[2]) == ({0}, {150})
    assert len(found[0]) > 30


def test_windows_of_waves_are_samples(tmp_path):
    sampler = build("windows", lengths=[48000], batch_size=1, source=waves, data=table(tmp_path, {"u00": "2"}))
    assert sampler.draw(1, 0)[1].tolist() == [16000]


def test_a_window_that_leaves_no_whole_crop_is_named(tmp_path):
    data = table(tmp_path, {"u00": "0", "u01": "3", "u02": "4"})
    message = failure(build, "windows", lengths=[300, 299, 300], crops=(100, 150), data=data)
    says = "window 3 ends 3 s after the beginning, 2.99 s of it are there (1 more are so); lower --max-frames, or take the line out"
    assert message == f"{tmp_path}/utt2window:2: 'u01': {says}"
    build("windows", lengths=[300, 299, 350], crops=(100, 149), data=data)


def test_windows_of_short_utterances_that_are_left_out_are_not_looked_at(tmp_path):
    sampler = build("windows", lengths=[300, 90], crops=(100, 100), data=table(tmp_path, {"u00": "0", "u01": "3"}), short="drop")
    assert set(utts(sampler, 5)) == {0}


@pytest.mark.parametrize("value", ["-2", "1.5", "x", "+1", "٣", "12345678901", "-0", "--1"])
def test_what_is_no_window_is_named(value, tmp_path):
    data = table(tmp_path, {"u00": "0", "u01": value})
    assert failure(build, "windows", lengths=[90, 90], data=data) == f"{tmp_path}/utt2window:2: 'u01': -1 or the number of a window expected, not '{value}'"


def test_without_a_table_of_windows_there_are_none(tmp_path):
    message = failure(build, "windows", data=DataDir(tmp_path))
    assert message == f"{tmp_path}/utt2window: no such file; lines of `utterance k`, -1 for any place, say which window of each utterance is wanted"


# ---- short utterances


def test_short_utterances_are_left_out_where_asked_and_counted():
    sampler = build(crops=(30, 45), short="drop")
    assert set(utts(sampler, 5)) == {4, 5, 6, 7, 8, 9}
    assert sampler.steps_per_epoch == 2
    assert sampler.dropped["shorter than 45 frames"].tolist() == [0, 1, 2, 3]
    assert sampler.summary == "6 utterances; left out: 4 utterances shorter than 45 frames"


def test_classes_of_which_nothing_is_left_are_counted():
    sampler = build("class", batch_size=2, crops=(40, 45), short="drop")
    assert sampler.summary == "6 utterances of 2 classes; left out: 4 utterances shorter than 45 frames, with them 1 of 3 classes"


@pytest.mark.parametrize(("short", "said"), [("repeat", "repeated"), ("pad", "padded")])
def test_short_utterances_are_counted(short, said):
    assert build(crops=(30, 45), short=short).summary == f"10 utterances, 4 shorter than 45 frames ({said} where a crop is longer)"


def test_nothing_left_is_an_error():
    expected = "feats.scp: all 10 utterances are shorter than 101 frames; lower --max-frames, or take --short repeat"
    assert failure(build, crops=(50, 101), short="drop") == expected


@pytest.mark.parametrize("short", ["repeat", "pad"])
def test_utterances_with_nothing_in_them_are_refused_by_their_source(short):
    from pytorch.program import Fail

    def refuse(least):
        raise Fail(f"{least} asked for")

    source = features([0, 10])
    source.need_length = refuse
    assert failure(build_sampler, "utterance", source, 2, 5, 5, 1, short) == "1 asked for"
    assert set(utts(build_sampler("utterance", source, 2, 5, 5, 1, "drop"), 3)) == {1}


# ---- size


@pytest.mark.parametrize("kind", ["utterance", "class", "speaker"])
def test_a_million_utterances_of_a_hundred_thousand_speakers_take_little_memory(kind):
    chance = np.random.default_rng(0)
    groups = chance.permutation(1_000_000) % 100_000
    source = features(chance.integers(100, 2000, 1_000_000))
    with memory_below(80e6):
        more = {"groups": groups} if kind != "utterance" else {}
        sampler = build_sampler(kind, source, 256, 200, 400, 1, **more)
        for epoch in (1, 3):
            sampler.draw(epoch, 7)
    assert sampler.steps_per_epoch == 3907
