"""Trial lists: lines of `enrol-utt test-utt target|nontarget`, and how to draw one."""

import random
from pathlib import Path

from pytorch.files import need_file, whole_file
from pytorch.program import Fail


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


def draw_trials(data, seed, nontargets_per_target=2):
    """Draw trials from a data directory: all target pairs, and non-target pairs by chance.

    data: a DataDir. Where it has utt2session, both sides of a target trial are of different sessions. Where it has
    spk2gender, half of the non-target pairs are of one sex (as far as there are such pairs), half of two.
    nontargets_per_target: how many non-target pairs for each target pair, at most all there are
    Returns a sorted list of (utt, utt, bool), the same for the same seed; Fails where no target pair can be made.
    """
    spk2utt, utt2spk = data.spk2utt, data.utt2spk
    session = data.per_utt("utt2session") if data.has("utt2session") else None
    gender = data.per_spk("spk2gender") if data.has("spk2gender") else None
    targets = [
        (first, second, True)
        for utts in spk2utt.values()
        for place, first in enumerate(utts)
        for second in utts[place + 1 :]
        if session is None or session[first] != session[second]
    ]
    if not targets:
        what = "two utterances" if session is None else "utterances of two sessions"
        raise Fail(f"{data.path}: no speaker has {what}, so no target trial can be made; add recordings, or give a trial list of your own")
    if len(spk2utt) < 2:
        raise Fail(f"{data.path}: one speaker only, so no non-target trial can be made; add speakers")
    chance = random.Random(seed)
    wanted = nontargets_per_target * len(targets)
    groups = [[], []]  # of two sexes, of one sex (all where the sexes are not known)
    speakers = list(spk2utt)
    for place, one in enumerate(speakers):
        for other in speakers[place + 1 :]:
            groups[gender is None or gender[one] == gender[other]].append((one, other))
    drawn = set()
    for pairs, number in zip(groups, _halves(groups, spk2utt, wanted), strict=True):
        drawn |= _draw_pairs(pairs, spk2utt, number, chance)
    trials = targets + [(first, second, False) for first, second in drawn]
    assert all((utt2spk[first] == utt2spk[second]) == label for first, second, label in trials)
    return sorted(trials)


def _halves(groups, spk2utt, wanted):
    """How many pairs to draw from each group: half of `wanted` each, more from one where the other is too small."""
    there = [sum(len(spk2utt[one]) * len(spk2utt[other]) for one, other in pairs) for pairs in groups]
    first = min(there[0], max(wanted // 2, wanted - there[1]))
    return first, min(there[1], wanted - first)


def _draw_pairs(speaker_pairs, spk2utt, number, chance):
    """`number` different utterance pairs, spread evenly over the speaker pairs."""
    drawn = set()
    pools = []
    for one, other in speaker_pairs:
        size = len(spk2utt[one]) * len(spk2utt[other]) if number else 0
        picks = (divmod(pick, len(spk2utt[other])) for pick in chance.sample(range(size), min(size, number // len(speaker_pairs) + 1)))
        pools.append([tuple(sorted((spk2utt[one][first], spk2utt[other][second]))) for first, second in picks])
    chance.shuffle(pools)
    depth = 0
    while len(drawn) < number:
        layer = [pool[depth] for pool in pools if depth < len(pool)]
        if not layer:  # the pools were cut evenly; take what is left from those with more
            left = {tuple(sorted((a, b))) for one, other in speaker_pairs for a in spk2utt[one] for b in spk2utt[other]} - drawn
            return drawn | set(chance.sample(sorted(left), number - len(drawn)))
        drawn.update(layer[: number - len(drawn)])
        depth += 1
    return drawn


def write_trials(path, trials):
    with whole_file(Path(path)) as file:
        for first, second, label in trials:
            file.write(f"{first} {second} {'target' if label else 'nontarget'}\n")
