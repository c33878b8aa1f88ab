"""Trial lists: lines of `enrol-utt test-utt target|nontarget`, and how to draw one."""

import argparse
import bisect
import itertools
import random
import re
from pathlib import Path

from pytorch.data.data_dir import REST, DataDir
from pytorch.data.lines import read_lines
from pytorch.data.rules import check_values
from pytorch.files import need_file, whole_file
from pytorch.program import Fail

LARGEST = 5_000_000  # trials drawn at once: about 1.5 GB of memory


def add_name_option(parser):
    parser.add_argument("--name", type=_file_name, default="trials", help="of the list in the data directory, as in trials_hard for a second one")


def _file_name(text):
    if not re.fullmatch(r"trials[\w.-]*", text):
        raise argparse.ArgumentTypeError(f"a name that begins with trials expected, not '{text}'")
    return text


def read_trials(path):
    """-> (enrol ids, test ids, labels): three lists of equal length, labels True for target trials."""
    need_file(path)
    enrols, tests, labels = [], [], []
    known = {"target": True, "nontarget": False}
    seen = set()
    with open(path, encoding="utf-8") as file:
        for number, line in _lines(file, path):
            words = line.split()
            if len(words) != 3:
                raise Fail(f"{path}:{number}: `enrol-utt test-utt target|nontarget` expected, not '{line.strip()[:80]}'")
            if words[2] not in known:
                raise Fail(f"{path}:{number}: target or nontarget expected, not '{words[2]}'")
            pair = (words[0], words[1])
            if pair in seen:
                raise Fail(f"{path}:{number}: the trial '{words[0]} {words[1]}' stands twice; keep one line of it")
            seen.add(pair)
            enrols.append(words[0])
            tests.append(words[1])
            labels.append(known[words[2]])
    return enrols, tests, labels


def _lines(file, path):
    try:
        yield from enumerate(file, 1)
    except UnicodeDecodeError:
        raise Fail(f"{path}: not a text file (not UTF-8)") from None


def join_scores(trials, pairs, path):
    """The scores of a trial list, joined by the two ids of each trial, never by order.

    trials: name of the list, for messages; pairs: its [(enrol, test), …]; path: file of `enrol-utt test-utt score`
    Returns a list of float in the order of `pairs`; Fails on missing, extra, double, malformed and non-finite scores.
    """
    need_file(path, "score the trials with steps/score_cosine.py")
    place = {pair: row for row, pair in enumerate(pairs)}
    scores = [None] * len(pairs)
    with open(path, encoding="utf-8") as file:
        for number, line in _lines(file, path):
            words = line.split()
            try:
                enrol, test, text = words
                score = float(text)
            except ValueError:
                raise Fail(f"{path}:{number}: `enrol-utt test-utt score` expected, not '{line.strip()[:80]}'") from None
            if not line.endswith("\n"):
                raise Fail(f"{path}:{number}: the last line lacks its newline, the score may be cut off; score the list anew")
            row = place.get((enrol, test))
            if row is None:
                raise Fail(f"{path}:{number}: the trial '{enrol} {test}' is not in {trials}; score the same list")
            if scores[row] is not None:
                raise Fail(f"{path}:{number}: the trial '{enrol} {test}' is scored twice; score the list anew")
            if not abs(score) < float("inf"):
                raise Fail(f"{path}:{number}: a score that is not finite; look at the embeddings of '{enrol}' and '{test}'")
            scores[row] = score
    if None in scores:
        enrol, test = pairs[scores.index(None)]
        raise Fail(f"{path}: no score for '{enrol} {test}' of {trials} ({scores.count(None)} such); score the same list")
    return scores


def usable_utts(data, seed, min_dur_sec=0.0, one_per=None):
    """The utterances that trials are drawn from, by speaker: {spk: [utt, …]}, speakers without any left out.

    data: a DataDir; min_dur_sec: shorter ones by utt2dur or segments are left out
    one_per: a table such as utt2session; of all utterances of a speaker with one value in it, one is kept, by chance
    """
    kept = data.utt2spk.keys()
    if min_dur_sec:
        kept = {utt for utt, seconds in utt_durations(data).items() if seconds >= min_dur_sec}
        if not kept:
            raise Fail(f"{data.path}: no utterance of {min_dur_sec:g} s or more; lower --min-dur")
    spk2utt = {spk: left for spk, utts in data.spk2utt.items() if (left := [utt for utt in utts if utt in kept])}
    if one_per is None:
        return spk2utt
    value_of = data.per_utt(one_per, REST)
    chance = random.Random(seed)
    return {spk: sorted(chance.choice(alike) for alike in _grouped(utts, value_of.get).values()) for spk, utts in spk2utt.items()}


def check_disjoint(data, path):
    """Fail where a speaker of the data directory is one of `path` too: a data directory, or a list with a speaker's id at the head of each line."""
    others = DataDir(path).spk2utt if Path(path).is_dir() else {line.split()[0] for _, line in read_lines(path)}
    if both := [spk for spk in data.spk2utt if spk in others]:
        raise Fail(f"{data / 'utt2spk'}: speaker '{both[0]}' is in {path} too ({len(both)} such); the speakers must be others")


def utt_durations(data):
    """{utt: seconds} by utt2dur, else by segments. Fails where there is neither."""
    if data.segments and not data.has("utt2dur"):
        return {utt: end - start for utt, (_, start, end) in data.segments.items()}
    need_file(data / "utt2dur", f"make it with utils/get_utt2dur.py {data.path}")
    table = data.per_utt("utt2dur")
    check_values(data / "utt2dur", table)
    return {utt: float(text) for utt, text in table.items()}


def _grouped(items, value_of):
    groups = {}
    for item in items:
        groups.setdefault(value_of(item), []).append(item)
    return groups


def draw_trials(data, seed, nontargets_per_target=2, *, num_targets=None, num_nontargets=None, same=(), differ=None, spk2utt=None):
    """Draw trials from a data directory: target pairs, all or some, and non-target pairs by chance, evenly over the pairs of speakers.

    data: a DataDir. Where it has spk2gender, half of the non-target pairs are of one sex (as far as there are such pairs), half of two.
    num_targets: None for all target pairs, else so many, spread evenly over the speakers
    num_nontargets: how many non-target pairs; None for nontargets_per_target times the target pairs. At most all there are
    same: tables (spk2X, utt2X) in which both sides of a non-target trial have the same value; then nothing is halved by sex
    differ: a table utt2X in which both sides of a target trial have different values; None for utt2session where it is there, "" for none
    spk2utt: the utterances to use, see usable_utts; all by default
    Memory and time grow with the utterances and the trials, not with the pairs there are.
    Returns a sorted list of (utt, utt, bool), the same for the same seed; Fails where no pair of a kind can be made.
    """
    spk2utt = data.spk2utt if spk2utt is None else spk2utt
    chance = random.Random(seed)
    kinds = _nontarget_pairs(data, spk2utt, same)
    targets = _draw_targets(data, spk2utt, num_targets, differ, chance)
    if len(spk2utt) < 2:
        raise Fail(f"{data.path}: one speaker only, so no non-target trial can be made; add speakers")
    wanted = nontargets_per_target * len(targets) if num_nontargets is None else num_nontargets
    numbers = _halves(kinds, wanted)
    if len(targets) + sum(numbers) > LARGEST:
        what = f"{len(targets)} target and {sum(numbers)} nontarget trials are too many"
        raise Fail(f"{data.path}: {what}; choose fewer with --num-targets and --num-nontargets")
    trials = [(first, second, True) for first, second in targets]
    for pairs, number in zip(kinds, numbers, strict=True):
        trials += [(first, second, False) for first, second in _draw_nontargets(pairs, number, chance)]
    assert all((data.utt2spk[first] == data.utt2spk[second]) == label for first, second, label in trials)
    return sorted(trials)


class Pairs:
    """All pairs of cells (lists of utterances), in order, addressed by their number instead of listed.

    groups: the group of each cell. Pairs are of two cells of one group (same=True) or of two groups (same=False).
    """

    def __init__(self, cells, groups, same):
        self.cells, self.groups, self.same = cells, groups, same
        self.members = _grouped(range(len(cells)), groups.__getitem__)
        self.place = {cell: place for members in self.members.values() for place, cell in enumerate(members)}
        partners = [self._partners(cell) for cell in range(len(cells))]
        self.before = list(itertools.accumulate(partners, initial=0))  # how many pairs begin with an earlier cell
        self.num_utt_pairs = self._num_utt_pairs()

    def __len__(self):
        return self.before[-1]

    def __getitem__(self, number):
        first = bisect.bisect_right(self.before, number) - 1
        skip = number - self.before[first]
        members, place = self.members[self.groups[first]], self.place[first]
        if self.same:
            return first, members[place + 1 + skip]
        # the cell after `skip` others: as many places further as there are members of the first one's group on the way
        passed = bisect.bisect_right(range(place + 1, len(members)), skip, key=lambda later: members[later] - first - 1 - (later - place - 1))
        return first, first + 1 + skip + passed

    def size(self, number):
        first, second = self[number]
        return len(self.cells[first]) * len(self.cells[second])

    def utt_pair(self, number, item):
        """The utterance pair `item`, from 0 to size(number) - 1, of a pair of cells."""
        first, second = self[number]
        one, other = divmod(item, len(self.cells[second]))
        return tuple(sorted((self.cells[first][one], self.cells[second][other])))

    def _partners(self, cell):
        alike = len(self.members[self.groups[cell]]) - self.place[cell] - 1
        return alike if self.same else len(self.cells) - cell - 1 - alike

    def _num_utt_pairs(self):
        def of(sizes):
            return (sum(sizes) ** 2 - sum(size**2 for size in sizes)) // 2

        alike = sum(of([len(self.cells[cell]) for cell in members]) for members in self.members.values())
        return alike if self.same else of([len(cell) for cell in self.cells]) - alike


def _draw_targets(data, spk2utt, number, differ, chance):
    """`number` target pairs, or all."""
    if differ is None:
        differ = "utt2session" if data.has("utt2session") else ""
    value_of = data.per_utt(differ, REST) if differ else None
    pools = []
    for utts in spk2utt.values():
        groups = [value_of[utt] for utt in utts] if differ else range(len(utts))
        pools.append(Pairs([[utt] for utt in utts], groups, same=False))
    there = sum(map(len, pools))
    if not there:
        what = {"": "two utterances", "utt2session": "utterances of two sessions"}.get(differ, f"utterances of two values in {differ}")
        raise Fail(f"{data.path}: no speaker has {what}, so no target trial can be made; add recordings, or give a trial list of your own")
    if number is None:
        if there > LARGEST:
            raise Fail(f"{data.path}: {there} target pairs are too many for a list of all; choose some with --num-targets")
        return [pool.utt_pair(pair, 0) for pool in pools for pair in range(len(pool))]
    return [pools[pool].utt_pair(pair, 0) for pool, pair in _spread([len(pool) for pool in pools], min(number, there), chance)]


def _nontarget_pairs(data, spk2utt, same):
    """-> [Pairs]: those alike in `same`, or those of two sexes and those of one (all, where the sexes are not known)"""
    if same:
        pairs = Pairs(*_cells_alike(data, spk2utt, same), same=True)
        if len(spk2utt) > 1 and not len(pairs):
            raise Fail(f"{data.path}: no two speakers are alike in {' and '.join(same)}, so no non-target trial can be made; name fewer tables in --same")
        return [pairs]
    gender = data.per_spk("spk2gender") if data.has("spk2gender") else None
    groups = [gender[spk] if gender else "" for spk in spk2utt]
    return [Pairs(list(spk2utt.values()), groups, same=one_sex) for one_sex in (False, True)]


def _halves(kinds, wanted):
    """How many utterance pairs to draw of each kind: half of `wanted` each, more of one where the other is too small."""
    there = [pairs.num_utt_pairs for pairs in kinds]
    if len(kinds) == 1:
        return [min(wanted, *there)]
    first = min(there[0], max(wanted // 2, wanted - there[1]))
    return [first, min(there[1], wanted - first)]


def _cells_alike(data, spk2utt, same):
    """Utterances that are of one speaker and alike in all utt2X of `same` are a cell. -> (cells, the group of each)"""
    tables = [(name.startswith("spk2"), data.per_spk(name, REST) if name.startswith("spk2") else data.per_utt(name, REST)) for name in same]
    groups, cells = [], []
    for spk, utts in spk2utt.items():
        for values, alike in sorted(_grouped(utts, lambda utt, spk=spk: tuple(table[spk if of_spk else utt] for of_spk, table in tables)).items()):
            groups.append(values)
            cells.append(alike)
    return cells, groups


def _draw_nontargets(pairs, number, chance):
    """`number` different utterance pairs, spread evenly over the pairs of cells, or over as many of them, by chance, as pairs are wanted."""
    if not number:
        return []
    chosen = range(len(pairs)) if number >= len(pairs) else chance.sample(range(len(pairs)), number)
    return [pairs.utt_pair(chosen[pool], item) for pool, item in _spread([pairs.size(pair) for pair in chosen], number, chance)]


def _spread(sizes, number, chance):
    """Choose `number` of the items of many pools, from each pool as many as from the others as far as it has them.

    sizes: how many items each pool has, together `number` or more
    Returns [(pool, item), …].
    """
    cut = max(number // len(sizes) + 1, _level(sizes, number))
    pools = [[(pool, item) for item in chance.sample(range(size), min(size, cut))] for pool, size in enumerate(sizes)]
    chance.shuffle(pools)
    drawn, depth = [], 0
    while len(drawn) < number:
        pools = [pool for pool in pools if depth < len(pool)]
        drawn += [pool[depth] for pool in pools[: number - len(drawn)]]
        depth += 1
    return drawn


def _level(sizes, number):
    """The least number of items such that pools cut to it hold `number` together."""
    for place, size in enumerate(sorted(sizes)):
        pools = len(sizes) - place
        if size * pools >= number:
            return -(-number // pools)
        number -= size
    raise AssertionError("the pools hold too little")


def write_trials(path, trials):
    with whole_file(Path(path)) as file:
        for first, second, label in trials:
            file.write(f"{first} {second} {'target' if label else 'nontarget'}\n")
