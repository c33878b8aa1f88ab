"""What is learnt of each utterance: a class (its speaker, its label, itself), a number (an age), or both. Light to import."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from pytorch.data.data_dir import read_table
from pytorch.data.lines import read_lines
from pytorch.program import Fail

UTTERANCE = "utterance"  # in place of a table: each utterance is a class of its own
_TABLE = re.compile(r"utt2\w+", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_MOST = 3.4e38  # of a float32


@dataclass(frozen=True)
class Targets:
    """The targets of the utterances of a data directory, in the order of its utt2spk.

    what: the tables they come from; kind: "classes", "numbers" or "both"
    values: (N,) int64 class numbers; (N,) float32 numbers; (N, 2) float32 of both
    classes: names of the classes by their number; [] for numbers
    """

    what: str
    kind: str
    values: object
    classes: list = field(repr=False)

    @property
    def of_classes(self):
        """(N,) int64: the class numbers, of `both` too"""
        return (self.values if self.kind == "classes" else self.values[:, 0]).astype("int64")

    @property
    def empty_classes(self):
        """The names of the classes that no utterance has."""
        there = set(self.of_classes.tolist()) if self.classes else ()
        return [name for number, name in enumerate(self.classes) if number not in there]


def read_targets(data, what, kind, classes=None, ordered=False):
    """-> Targets of the DataDir `data`

    what: utt2spk or any other table utt2X, of classes or of numbers as `kind` says; `utterance`; for "both" a table of classes and one of numbers
        with a comma between them, `utt2label,utt2age`
    classes: None where a training begins: the classes that are found, sorted, as numbers where all are numbers; a Path, where it begins too: of the
        file that names them in their order (see read_classes), all of which must be found but for `ordered` ones; a list: those of a training, for
        data that need not have them all ([], a training of numbers)
    ordered: the classes have an order (see losses.has_order), by which a class without examples can be learnt from its neighbours
    Fails name the table, the line, the utterance and the value.
    """
    import numpy as np

    names = what.split(",")
    if len(names) != (2 if kind == "both" else 1):
        wanted = {"both": "a table of classes and one of numbers, 'utt2label,utt2age',", "classes": "one table of classes", "numbers": "one table of numbers"}
        raise Fail(f"--targets {what}: {wanted[kind]} expected for this loss")
    if kind == "numbers" and isinstance(classes, Path):
        raise Fail(f"--classes {classes}: this loss learns numbers, which have no classes; leave it out")
    begins = classes is None or isinstance(classes, Path)
    found, numbers = [], None
    if kind != "numbers":
        found, classes = _classes(data, names[0], classes, ordered)
    if kind != "classes":
        numbers = _numbers(data, names[-1])
        if begins and len(set(numbers)) == 1:
            raise Fail(f"{data / names[-1]}: one number only, {numbers[0]:g}; two or more are needed to learn from")
    if kind == "both":
        return Targets(what, kind, np.array([found, numbers], dtype=np.float32).T.copy(), classes)
    return Targets(what, kind, np.array(found, dtype=np.int64) if kind == "classes" else np.array(numbers, dtype=np.float32), classes or [])


def read_classes(path):
    """The names of classes in their order, one a line -> list of str"""
    names, place = [], {}
    for number, line in read_lines(path):
        if line.split() != [line]:
            raise Fail(f"{path}:{number}: one name without blanks expected, not '{line[:80]}'")
        if line in place:
            raise Fail(f"{path}:{number}: '{line}' is also in line {place[line]}; keep one of them")
        place[line] = number
        names.append(line)
    return names


def _classes(data, name, classes, ordered):
    """-> the class numbers of the utterances, the names of the classes"""
    values = list(data.utt2spk) if name == UTTERANCE else _column(data, name)
    begins, file = classes is None or isinstance(classes, Path), classes
    there = set(values)
    if begins and len(there) == 1:
        kind = "speaker" if name == "utt2spk" else "class"
        raise Fail(f"{_path(data, name)}: one {kind} only, '{values[0]}'; two or more are needed to tell apart")
    if classes is None:
        if ordered and not all(map(_NUMBER.fullmatch, there)):
            raise Fail(f"{_path(data, name)}: this loss learns the order of the classes, which names like '{values[0]}' do not tell; give --classes FILE")
        classes = _sorted(data, name, there)
    elif begins:
        classes = read_classes(file)
        missing = [] if ordered else [one for one in classes if one not in there]
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            remedy = "take it out; only losses over ordered classes can do without"
            raise Fail(f"{file}: '{missing[0]}'{more}: no utterance has it in {_path(data, name)}; {remedy}")
    number = {one: place for place, one in enumerate(classes)}
    if not there <= number.keys():
        place, value = next((place, value) for place, value in enumerate(values) if value not in number)
        where = f"in {file}" if begins else "among those of the training"
        known = ", ".join(classes[:8]) + (f", … ({len(classes)})" if len(classes) > 8 else "")
        raise Fail(f"{_place(data, name, place)}: the class '{value}' is not {where}: {known or 'none'}")
    return [number[value] for value in values], list(classes)


def _sorted(data, name, there):
    """Names of classes in byte order; as numbers where all are numbers."""
    if not all(map(_NUMBER.fullmatch, there)):
        return sorted(there)
    names = sorted(there, key=lambda one: (float(one), one))
    for one, other in zip(names, names[1:], strict=False):
        if float(one) == float(other) and name not in ("utt2spk", UTTERANCE):
            raise Fail(f"{data / name}: the classes '{one}' and '{other}' are one number; write it alike everywhere")
    return names


def _numbers(data, name):
    values = _column(data, name)
    for place, value in enumerate(values):
        if not _NUMBER.fullmatch(value) or not abs(float(value)) < _MOST:
            raise Fail(f"{_place(data, name, place)}: a number expected, not '{value[:40]}'")
    return list(map(float, values))


def _column(data, name):
    """The values of the table `name` in the order of utt2spk. Every utterance must have one."""
    if not _TABLE.fullmatch(name):
        raise Fail(f"--targets {name}: utt2spk, another table utt2X, or for classes '{UTTERANCE}' expected")
    if not data.has(name):
        raise Fail(f"{data / name}: no such file; there are {', '.join(sorted(path.name for path in data.path.glob('utt2*')))}")
    table = data.utt2spk if name == "utt2spk" else read_table(data / name)
    missing = [utt for utt in data.utt2spk if utt not in table]
    if missing:
        remedy = f"add them, or leave these utterances out with utils/fix_data_dir.py {data.path}, which keeps the old tables in .backup"
        raise Fail(f"{data / name}: '{missing[0]}' has no target ({len(missing)} of {len(data.utt2spk)} utterances have none); {remedy}")
    if len(table) > len(data.utt2spk):
        data.per_utt(name)  # which says what is there too much
    return [table[utt] for utt in data.utt2spk]


def _path(data, name):
    return data / ("utt2spk" if name == UTTERANCE else name)


def _place(data, name, place):
    """File, line and utterance of the value at `place`: keys are sorted and the same in all tables, so that they stand in the same lines."""
    return f"{_path(data, name)}:{place + 1}: '{list(data.utt2spk)[place]}'"
