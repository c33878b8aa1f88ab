"""Other people's trial lists: label first (VoxCeleb, pyannote), label last (Kaldi, wespeaker), clients and impostors in two files."""

from pytorch.data.lines import read_lines
from pytorch.program import Fail

LABELS = dict.fromkeys(("1", "target", "tgt", "client", "true"), True) | dict.fromkeys(("0", "nontarget", "non-target", "imp", "impostor", "false"), False)


def read_label_first(paths):
    """Lines of `1 enrol test` -> [(place, enrol, test, label), …], and so the others here."""
    return [(place, enrol, test, _label(label, place)) for place, (label, enrol, test) in _words(_only(paths), "label enrol test")]


def read_label_last(paths):
    """Lines of `enrol test target`"""
    return [(place, enrol, test, _label(label, place)) for place, (enrol, test, label) in _words(_only(paths), "enrol test label")]


def read_clients_impostors(paths):
    """Two files of `enrol test`, of target and of non-target trials."""
    if len(paths) != 2:
        raise Fail(f"two lists are needed, clients and impostors, {len(paths)} given")
    return [(place, enrol, test, label) for path, label in zip(paths, (True, False), strict=True) for place, (enrol, test) in _words(path, "enrol test")]


READERS = {"voxceleb": read_label_first, "kaldi": read_label_last, "clients-impostors": read_clients_impostors}


def trial_lists(kind, trials):
    """Trials [(enrol, test, label), …] as the lines of a list, or of two: clients and impostors -> [[line, …], …]"""
    if kind == "clients-impostors":
        return [[f"{enrol} {test}\n" for enrol, test, label in trials if label == wanted] for wanted in (True, False)]
    if kind == "voxceleb":
        return [[f"{int(label)} {enrol} {test}\n" for enrol, test, label in trials]]
    return [[f"{enrol} {test} {_word(label)}\n" for enrol, test, label in trials]]


def find_trials(trials, find, data, drops):
    """Foreign trials as trials of utterances, in their order: [(enrol, test, label), …].

    find: from a name to an utterance of the data directory, None where there is none
    drops: may leave out trials of `missing` utterances and `double` ones
    """
    there, missing, double, seen = [], [], [], {}
    for place, enrol, test, label in trials:
        pair = find(enrol), find(test)
        if None in pair:
            missing.append((place, f"'{test if pair[0] else enrol}' is not in {data}"))
            continue
        first, label_before = seen.setdefault(pair, (place, label))
        if label_before != label:
            raise Fail(f"{place}: '{enrol} {test}' is {_word(label)} here and {_word(label_before)} in {first}; correct one")
        if first != place:
            double.append((place, f"'{enrol} {test}' stands in {first} too"))
            continue
        there.append((*pair, label))
    drops.leave_out("missing", missing, "say where its path begins (--root), complete the data directory")
    drops.leave_out("double", double, "keep one")
    return there


def check_speakers(trials, utt2spk, where):
    """Fails where the labels of trials are not what utt2spk says. One that knows no speakers says nothing. where: its name, for the message"""
    if all(utt == spk for utt, spk in utt2spk.items()):
        return
    odd = [(enrol, test, label) for enrol, test, label in trials if (utt2spk[enrol] == utt2spk[test]) != label]
    if odd:
        enrol, test, label = odd[0]
        what = f"'{enrol}' and '{test}' are of {'two speakers' if label else 'one speaker'}, but a {_word(label)} trial ({len(odd)} such)"
        raise Fail(f"{where}: {what}; correct it, or pass --check-speakers false")


def _only(paths):
    if len(paths) != 1:
        raise Fail(f"one list is needed, {len(paths)} given")
    return paths[0]


def _words(path, expected):
    for number, line in read_lines(path):
        words = line.split()
        if len(words) != len(expected.split()):
            raise Fail(f"{path}:{number}: `{expected}` expected, not '{line[:80]}'")
        yield f"{path}:{number}", words


def _label(word, place):
    label = LABELS.get(word.lower())
    if label is None:
        raise Fail(f"{place}: 1 or target, 0 or nontarget expected, not '{word[:40]}'")
    return label


def _word(label):
    return "target" if label else "nontarget"
