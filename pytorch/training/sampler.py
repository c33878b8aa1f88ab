"""Which crops a batch holds: utterances, where the crops begin, how long they are, as a function of seed, epoch and step alone.

A draw costs what the batch costs, however many utterances there are: shuffled lists are made once a pass, utterances are found by bisection in sums over all.
"""

import math

import numpy as np

from pytorch.data.data_dir import DataDir
from pytorch.data.lists import WINDOW_HOP_SEC
from pytorch.program import Fail

SEC_PER_DAY = 86400
_ORDER, _BATCH = 1, 2  # what a random generator is for; the first number of its seed
_TRIES = 8  # at utterances that a batch has not yet, before those left are listed


class Sampler:
    """What all samplers share.

    batch_size: rows of a batch; chunks: rows that follow each other and give one embedding; together: rows that one process takes whole, a multiple of chunks
    max_length: of a crop, in units of the source; steps_per_epoch
    dropped: {why: indices of utterances that are never drawn}; summary: what is drawn from, for the log
    """

    def __init__(self, source, kept, seed, crops, rows, chunks=1, together=1):
        self.batch_size, self.chunks, self.together = rows, chunks, together
        self.max_length, self.steps_per_epoch, self.dropped, self.summary = source.units(crops[1]), 0, {}, ""
        self._lengths, self._units, self._kept, self._seed, self._crops = source.lengths, source.units, kept, seed, crops

    def draw(self, epoch, step):
        """epoch from 1, step from 0 -> (indices: (rows,) int64, starts: (rows,) int64, length), the last two in units of the source.

        Where an utterance is shorter than `length`, its start is any place of it.
        """
        number = (epoch - 1) * self.steps_per_epoch + step
        chance = np.random.default_rng([_BATCH, self._seed, number])
        length = self._units(int(chance.integers(self._crops[0], self._crops[1] + 1)))
        indices = self._draw_utts(number, chance)
        return indices, self._draw_starts(indices, length, chance), length

    def _draw_utts(self, number, chance):
        raise NotImplementedError

    def _draw_starts(self, indices, length, chance):
        totals = self._lengths[indices]
        return chance.integers(np.where(totals >= length, totals - length + 1, totals))


class UtteranceSampler(Sampler):
    """Each utterance once in a pass, in random order; passes follow each other without regard to epochs."""

    def __init__(self, source, kept, seed, crops, rows):
        super().__init__(source, kept, seed, crops, rows)
        self._cycle = Cycle(len(kept), seed)

    def _draw_utts(self, number, chance):
        return self._kept[self._cycle.stretch(number * self.batch_size, self.batch_size)]


class WindowSampler(UtteranceSampler):
    """Fixed windows, each once in a pass. windows: (N,) int64, where the crop of an utterance begins, in units of the source; -1: anywhere"""

    def __init__(self, source, kept, seed, crops, rows, windows):
        super().__init__(source, kept, seed, crops, rows)
        self._windows = windows

    def _draw_starts(self, indices, length, chance):
        windows = self._windows[indices]
        return np.where(windows < 0, super()._draw_starts(indices, length, chance), windows)


class GroupSampler(Sampler):
    """Groups (speakers, classes) in a shuffled cycle, `utts` utterances of each, `chunks` crops of each utterance.

    groups: (N,) int64, the group of each utterance; by_duration: utterances are drawn in proportion to their length, else evenly
    A batch has no utterance twice where the group has enough; where it has not, each as often as any other of the group.
    Method: SpeechSegmentGenerator of pyannote.audio 1.1 (per_fold, per_label, per_turn).
    """

    def __init__(self, source, kept, seed, crops, groups_per_batch, utts, chunks, groups, by_duration):
        super().__init__(source, kept, seed, crops, groups_per_batch * utts * chunks, chunks, utts * chunks)
        self._utts, self._groups_per_batch = utts, groups_per_batch
        order = np.argsort(groups[kept], kind="stable")
        self._order = kept[order]
        begins = np.flatnonzero(np.diff(groups[self._order], prepend=-1))
        self._begins = np.append(begins, len(kept))  # of the groups in _order, and the end of the last
        weights = source.lengths[self._order] if by_duration else np.ones(len(kept), dtype=np.int64)
        self._sums = np.append(0, np.cumsum(weights))
        self.num_groups = len(begins)
        self._cycle = Cycle(self.num_groups, seed)

    def _draw_utts(self, number, chance):
        groups = self._cycle.stretch(number * self._groups_per_batch, self._groups_per_batch)
        places = self._draw_places(np.repeat(groups, self._utts), chance)
        return np.repeat(self._order[places], self.chunks)

    def _draw_places(self, groups, chance):
        """groups: (num,), which may have a group several times -> (num,) places in _order.

        What one draws again and again by weight is, without what came before, what one draws from those left: the first ones to come are kept.
        """
        places, wanted = np.empty(len(groups), dtype=np.int64), np.ones(len(groups), dtype=bool)
        for _ in range(_TRIES):
            low, high = (self._sums[self._begins[groups[wanted] + end]] for end in (0, 1))
            places[wanted] = np.searchsorted(self._sums, chance.integers(low, high), side="right") - 1
            wanted[:] = True
            wanted[np.unique(places, return_index=True)[1]] = False
            if not wanted.any():
                return places
        for group in np.unique(groups[wanted]):
            here = groups == group
            places[here & wanted] = self._draw_left(group, places[here & ~wanted], np.count_nonzero(here & wanted), chance)
        return places

    def _draw_left(self, group, taken, num, chance):
        """`num` places of a group, by weight among those not taken; then of all, pass after pass."""
        everything = np.arange(self._begins[group], self._begins[group + 1])
        left, drawn = np.setdiff1d(everything, taken), []
        while num > 0:
            times = chance.exponential(size=len(left)) / (self._sums[left + 1] - self._sums[left])  # until each is drawn for the first time
            drawn.append(left[np.argsort(times)[:num]])
            num -= len(left)
            left = everything
        return np.concatenate(drawn)


class Cycle:
    """The numbers 0 to num - 1 in an endless shuffled list: each pass has an order of its own."""

    def __init__(self, num, seed):
        self._num, self._seed, self._orders = num, seed, {}

    def stretch(self, start, num):
        """-> (num,) int64: the numbers at the places from `start` on"""
        turns, places = np.divmod(np.arange(start, start + num), self._num)
        drawn = np.empty(num, dtype=np.int64)
        for turn in range(turns[0], turns[-1] + 1):
            here = turns == turn
            drawn[here] = self._order(turn)[places[here]]
        return drawn

    def _order(self, turn):
        if turn not in self._orders:
            self._orders = {old: order for old, order in self._orders.items() if old == turn - 1}  # a batch can begin in the last pass
            self._orders[turn] = np.random.default_rng([_ORDER, self._seed, turn]).permutation(self._num)
        return self._orders[turn]


def build_sampler(
    kind, source, batch_size, min_frames, max_frames, seed, short="repeat", *, steps_per_epoch=0, passes=0.0, days=0.0,
    groups=None, spk_per_batch=0, utts_per_spk=1, chunks_per_utt=1, min_spk_sec=0.0, by_duration=True, data=None,
):  # fmt: skip
    """-> a Sampler of a source of features (Frames) or waveforms (Waves).

    kind      utterance: each equally often; class: each class of `groups` equally often, utterances of it evenly;
              speaker: speakers of `groups` in turn, utterances of them by duration; windows: the fixed windows in utt2window of `data`, a DataDir
    batch_size, min_frames, max_frames: rows of a batch, and the range of the length of their crops, one length a batch; seed: 0 to 2^32 - 1
    short     of an utterance with less than max_frames: "repeat" or "pad", which is done in Batches, "drop": it is left out
    steps_per_epoch, or passes: an epoch has as many utterances as the data, so many times, or days: so many days of audio; none: one pass
    speaker   spk_per_batch, 0: as many as fill batch_size, else batch_size does not count; utts_per_spk; chunks_per_utt: crops of an utterance, one embedding;
              min_spk_sec: speakers with less are left out; by_duration: false draws a speaker's utterances evenly
    Fails where the options cannot be met, naming those of steps/train.py.
    """
    assert min_frames <= max_frames and 0 <= seed < 1 << 32 and short in ("repeat", "pad", "drop")
    if kind != "speaker":
        of_speakers = {"spk-per-batch": spk_per_batch == 0, "utts-per-spk": utts_per_spk == 1, "chunks-per-utt": chunks_per_utt == 1}
        for name, is_default in {**of_speakers, "min-spk-sec": min_spk_sec == 0, "by-duration": by_duration}.items():
            if not is_default:
                raise Fail(f"--{name}: only with --sampler speaker")
    if kind in ("class", "speaker") and groups is None:
        raise Fail(f"--sampler {kind}: the targets are numbers, which have no classes; choose another sampler")
    kept, dropped = _keep(source, max_frames, short, groups if kind == "speaker" else None, min_spk_sec)
    common = (source, kept, seed, (min_frames, max_frames))
    if kind == "utterance":
        sampler = UtteranceSampler(*common, batch_size)
    elif kind == "windows":
        sampler = WindowSampler(*common, batch_size, read_windows(data, source, kept, source.units(max_frames)))
    elif kind == "class":
        sampler = GroupSampler(*common, batch_size, 1, 1, groups, False)
    else:
        assert kind == "speaker", kind
        there = len(np.unique(groups[kept]))
        spk = _spk_per_batch(batch_size, spk_per_batch, utts_per_spk, chunks_per_utt, there)
        sampler = GroupSampler(*common, spk, utts_per_spk, chunks_per_utt, groups, by_duration)
    crop_sec = (source.units(min_frames) + source.units(max_frames)) / 2 * source.sec_per_unit
    sampler.steps_per_epoch = epoch_steps(len(kept), sampler.batch_size, sampler.chunks, crop_sec, steps_per_epoch, passes, days)
    sampler.dropped, sampler.summary = dropped, _summary(kind, source, kept, dropped, max_frames, short, groups)
    return sampler


def epoch_steps(num_utts, rows, chunks, crop_sec, steps=0, passes=0.0, days=0.0):
    """The batches of an epoch, by one of three measures. crop_sec: mean duration of a row, s"""
    if (steps > 0) + (passes > 0) + (days > 0) > 1:
        raise Fail("--steps-per-epoch, --passes-per-epoch and --days-per-epoch each say how long an epoch is; give one of them")
    if steps:
        return steps
    if days:
        return math.ceil(days * SEC_PER_DAY / (crop_sec * rows))
    return math.ceil((passes or 1.0) * num_utts * chunks / rows)


def read_windows(data, source, kept, longest):
    """utt2window of a DataDir: -1, or k for the window that begins k times half a second (50 frames of 10 ms) after the beginning of the utterance.

    kept: utterances of the source that are drawn from, whose windows must leave room for `longest` units
    Returns (N,) int64, where they begin, in units of the source; -1 stays.
    """
    assert isinstance(data, DataDir)
    if not data.has("utt2window"):
        raise Fail(f"{data / 'utt2window'}: no such file; lines of `utterance k`, -1 for any place, say which window of each utterance is wanted")
    table = data.per_utt("utt2window")
    windows = np.empty(len(table), dtype=np.int64)
    for number, (utt, value) in enumerate(table.items()):
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 10) or (value != digits and value != "-1"):
            raise Fail(f"{data / 'utt2window'}:{number + 1}: '{utt}': -1 or the number of a window expected, not '{value[:80]}'")
        windows[number] = int(value)
    starts = np.where(windows < 0, -1, np.rint(windows * (WINDOW_HOP_SEC / source.sec_per_unit)).astype(np.int64))
    beyond = kept[(starts[kept] >= 0) & (starts[kept] + longest > source.lengths[kept])]
    if len(beyond):
        first = beyond[0]
        more = f" ({len(beyond) - 1} more are so)" if len(beyond) > 1 else ""
        where = f"window {windows[first]} ends {(starts[first] + longest) * source.sec_per_unit:g} s after the beginning"
        has = f"{source.lengths[first] * source.sec_per_unit:g} s of it are there"
        raise Fail(f"{data / 'utt2window'}:{first + 1}: '{source.utts[first]}': {where}, {has}{more}; lower --max-frames, or take the line out")
    return starts


def _keep(source, max_frames, short, groups, min_spk_sec):
    """-> indices of the utterances to draw from, {why: indices} of the others"""
    kept, dropped = np.arange(len(source.lengths)), {}
    if short == "drop":
        enough = source.lengths >= source.units(max_frames)
        kept, dropped[f"shorter than {max_frames} frames"] = kept[enough], kept[~enough]
        if not len(kept):
            raise Fail(f"{source.name}: all {len(enough)} utterances are shorter than {max_frames} frames; lower --max-frames, or take --short repeat")
    else:
        source.need_length(1)
    if groups is not None and min_spk_sec:
        seconds = np.bincount(groups[kept], source.lengths[kept]) * source.sec_per_unit
        enough = seconds[groups[kept]] >= min_spk_sec
        if not enough.any():
            longest = f"the one with most has {seconds.max():.1f} s"
            raise Fail(f"{source.name}: no speaker has {min_spk_sec:g} s to draw from, {longest}; lower --min-spk-sec")
        kept, dropped[f"of speakers with less than {min_spk_sec:g} s"] = kept[enough], kept[~enough]
    return kept, dropped


def _spk_per_batch(batch_size, spk_per_batch, utts_per_spk, chunks_per_utt, there):
    of_one = utts_per_spk * chunks_per_utt
    if spk_per_batch > there:
        raise Fail(f"--spk-per-batch {spk_per_batch}: there are {there} speakers to draw from")
    if not spk_per_batch and batch_size % of_one:
        made = f"--utts-per-spk {utts_per_spk} and --chunks-per-utt {chunks_per_utt}"
        raise Fail(f"--batch-size {batch_size}: {made} need a multiple of {of_one}, or give --spk-per-batch")
    return spk_per_batch or batch_size // of_one


def _summary(kind, source, kept, dropped, max_frames, short, groups):
    text, of = f"{len(kept)} utterances", {"class": "classes", "speaker": "speakers"}.get(kind)
    if of:
        there = len(np.unique(groups[kept]))
        text += f" of {there} {of}"
    num_short = np.count_nonzero(source.lengths[kept] < source.units(max_frames))
    if num_short:
        text += f", {num_short} shorter than {max_frames} frames ({'repeated' if short == 'repeat' else 'padded'} where a crop is longer)"
    left_out = [f"{len(indices)} utterances {why}" for why, indices in dropped.items() if len(indices)]
    if left_out and of and (gone := len(np.unique(groups)) - there):
        left_out.append(f"with them {gone} of {there + gone} {of}")
    return text + (f"; left out: {', '.join(left_out)}" if left_out else "")
