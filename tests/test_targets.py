"""pytorch/data/targets.py: what is learnt of each utterance, in the order of utt2spk, and every way in which it can be missing."""

import numpy as np
import pytest
from data_dirs import succeed, write
from support import failure

from pytorch.data.data_dir import DataDir, write_data_dir, write_table
from pytorch.data.targets import read_classes, read_targets
from pytorch.losses import LOSSES, has_order, targets_of

UTTS = ("a-1", "a-2", "b-1", "c-1")


@pytest.fixture
def data(tmp_path):
    """Four utterances of three speakers."""
    write(tmp_path / "data", utt2spk="a-1 a\na-2 a\nb-1 b\nc-1 c\n", spk2utt="a a-1 a-2\nb b-1\nc c-1\n")
    return DataDir(tmp_path / "data")


def put(data, name, *values, utts=UTTS):
    (data / name).write_text("".join(f"{utt} {value}\n" for utt, value in zip(utts, values, strict=True)))


def ages(data):
    put(data, "utt2age", "21", "33.5", "45", "57")


# ---- classes


def test_speakers_are_numbered_in_byte_order(data):
    targets = read_targets(data, "utt2spk", "classes")
    assert (targets.what, targets.kind, targets.classes) == ("utt2spk", "classes", ["a", "b", "c"])
    assert targets.values.dtype == np.int64
    assert targets.values.tolist() == targets.of_classes.tolist() == [0, 0, 1, 2]


def test_any_table_of_utterances_has_classes(data):
    put(data, "utt2accent", "x", "y", "x", "é")
    targets = read_targets(data, "utt2accent", "classes")
    assert (targets.values.tolist(), targets.classes, targets.empty_classes) == ([0, 1, 0, 2], ["x", "y", "é"], [])


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (("10", "9", "2", "9"), ["2", "9", "10"]),  # Karolinska's scale
        (("-1.5", "1e1", "2", "2"), ["-1.5", "2", "1e1"]),
        (("10", "9", "2", "x"), ["10", "2", "9", "x"]),
        (("10", "9", "nan", "2"), ["10", "2", "9", "nan"]),
        (("10", "9", "1_0", "2"), ["10", "1_0", "2", "9"]),
    ],
)
def test_classes_are_sorted_as_numbers_where_all_are_numbers(values, classes, data):
    put(data, "utt2label", *values)
    targets = read_targets(data, "utt2label", "classes")
    assert targets.classes == classes
    assert [classes[number] for number in targets.values] == list(values)


def test_two_spellings_of_a_number_are_refused_as_classes(data):
    put(data, "utt2label", "7", "7.0", "8", "9")
    assert failure(read_targets, data, "utt2label", "classes") == f"{data / 'utt2label'}: the classes '7' and '7.0' are one number; write it alike everywhere"


def test_speakers_may_be_called_1_and_01(data):
    put(data, "utt2spk", "1", "1", "01", "2")
    assert read_targets(data, "utt2spk", "classes").classes == ["01", "1", "2"]


def test_each_utterance_can_be_a_class_of_its_own(data):
    targets = read_targets(data, "utterance", "classes")
    assert (targets.values.tolist(), targets.classes) == ([0, 1, 2, 3], list(UTTS))


def test_one_class_is_nothing_to_learn(data):
    put(data, "utt2label", "x", "x", "x", "x")
    assert failure(read_targets, data, "utt2label", "classes") == f"{data / 'utt2label'}: one class only, 'x'; two or more are needed to tell apart"
    put(data, "utt2spk", "a", "a", "a", "a")
    assert failure(read_targets, DataDir(data.path), "utt2spk", "classes").startswith(f"{data / 'utt2spk'}: one speaker only, 'a'; ")


def test_validation_has_the_numbers_of_the_training(data):
    put(data, "utt2label", "z", "x", "x", "x")
    targets = read_targets(data, "utt2label", "classes", ["x", "y", "z"])
    assert (targets.values.tolist(), targets.classes, targets.empty_classes) == ([2, 0, 0, 0], ["x", "y", "z"], ["y"])
    put(data, "utt2label", "z", "z", "z", "z")
    assert read_targets(data, "utt2label", "classes", ["x", "y", "z"]).values.tolist() == [2, 2, 2, 2]


def test_a_class_that_the_training_has_not_is_named(data):
    put(data, "utt2label", "x", "x", "w", "v")
    message = failure(read_targets, data, "utt2label", "classes", ["x", "y"])
    assert message == f"{data / 'utt2label'}:3: 'b-1': the class 'w' is not among those of the training: x, y"
    many = failure(read_targets, data, "utterance", "classes", list("abcdefghij"))
    assert many == f"{data / 'utt2spk'}:1: 'a-1': the class 'a-1' is not among those of the training: a, b, c, d, e, f, g, h, … (10)"


# ---- their order, from a file


def order(tmp_path, text="teens\ntwenties\nthirties\n"):
    (tmp_path / "ages").write_text(text)
    return tmp_path / "ages"


def test_a_file_gives_the_classes_their_order(data, tmp_path):
    put(data, "utt2label", "thirties", "twenties", "teens", "teens")
    targets = read_targets(data, "utt2label", "classes", order(tmp_path))
    assert (targets.values.tolist(), targets.classes) == ([2, 1, 0, 0], ["teens", "twenties", "thirties"])


def test_a_class_that_is_not_in_the_file_is_named(data, tmp_path):
    put(data, "utt2label", "teens", "twenties", "thirties", "fourties")
    message = failure(read_targets, data, "utt2label", "classes", order(tmp_path))
    assert message == f"{data / 'utt2label'}:4: 'c-1': the class 'fourties' is not in {tmp_path}/ages: teens, twenties, thirties"


def test_a_class_without_examples_is_named_unless_classes_are_ordered(data, tmp_path):
    put(data, "utt2label", "teens", "thirties", "teens", "teens")
    path = order(tmp_path)
    message = failure(read_targets, data, "utt2label", "classes", path)
    table = data / "utt2label"
    assert message == f"{path}: 'twenties': no utterance has it in {table}; take it out; only losses over ordered classes can do without"
    targets = read_targets(data, "utt2label", "classes", path, ordered=True)
    assert (targets.values.tolist(), targets.empty_classes) == ([0, 2, 0, 0], ["twenties"])
    (tmp_path / "ages").write_text("teens\nthirties\nforties\nfifties\n")
    assert failure(read_targets, data, "utt2label", "classes", path).startswith(f"{path}: 'forties' (and 1 more): no utterance has it in ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("teens\ntwenties\nteens\n", "3: 'teens' is also in line 1; keep one of them"),
        ("teens\n20 to 29\n", "2: one name without blanks expected, not '20 to 29'"),
        ("teens\ntwenties", "2: the last line lacks its newline, the list may be cut off; if it is whole, add one with: echo >> {path}"),
        ("\n", " no entry in it"),
    ],
)
def test_a_wrong_file_of_classes_is_told_by_its_line(text, message, tmp_path):
    path = order(tmp_path, text)
    assert failure(read_classes, path) == f"{path}:" + message.replace("{path}", str(path))


def test_windows_line_endings_in_a_file_of_classes_are_no_part_of_names(tmp_path):
    assert read_classes(order(tmp_path, "teens\r\ntwenties\r\n")) == ["teens", "twenties"]


def test_numbers_have_no_file_of_classes(data, tmp_path):
    ages(data)
    message = failure(read_targets, data, "utt2age", "numbers", order(tmp_path))
    assert message == f"--classes {tmp_path}/ages: this loss learns numbers, which have no classes; leave it out"


# ---- numbers, and both


def test_numbers_are_floats(data):
    ages(data)
    targets = read_targets(data, "utt2age", "numbers")
    assert (targets.values.dtype, targets.values.tolist(), targets.classes, targets.empty_classes) == (np.float32, [21.0, 33.5, 45.0, 57.0], [], [])


@pytest.mark.parametrize("value", ["x", "nan", "inf", "-inf", "1e39", "1_0", "0x10", "21y", "٣"])
def test_what_is_no_finite_number_is_named(value, data):
    put(data, "utt2age", "21", "33", value, "57")
    assert failure(read_targets, data, "utt2age", "numbers") == f"{data / 'utt2age'}:3: 'b-1': a number expected, not '{value}'"


def test_one_number_is_nothing_to_learn_but_something_to_validate(data):
    put(data, "utt2age", "21", "21", "21.0", "21")
    assert failure(read_targets, data, "utt2age", "numbers") == f"{data / 'utt2age'}: one number only, 21; two or more are needed to learn from"
    assert read_targets(data, "utt2age", "numbers", []).values.tolist() == [21.0] * 4


def test_a_class_and_a_number_stand_side_by_side(data):
    ages(data)
    put(data, "utt2label", "old", "young", "old", "old")
    targets = read_targets(data, "utt2label,utt2age", "both")
    assert (targets.values.dtype, targets.values.flags.c_contiguous) == (np.float32, True)
    assert targets.values.tolist() == [[0, 21], [1, 33.5], [0, 45], [0, 57]]
    assert (targets.of_classes.tolist(), targets.of_classes.dtype, targets.classes, targets.empty_classes) == ([0, 1, 0, 0], np.int64, ["old", "young"], [])
    assert read_targets(data, "utterance,utt2age", "both").values[:, 0].tolist() == [0, 1, 2, 3]
    assert read_targets(data, "utt2label,utt2age", "both", ["young", "old"]).values[:, 0].tolist() == [1, 0, 1, 1]


# ---- every utterance needs one


def test_utterances_without_target_are_counted_and_the_remedy_works(data):
    put(data, "utt2label", "x", "y", utts=("a-2", "c-1"))
    message = failure(read_targets, data, "utt2label", "classes")
    remedy = f"add them, or leave these utterances out with utils/fix_data_dir.py {data.path}, which keeps the old tables in .backup"
    assert message == f"{data / 'utt2label'}: 'a-1' has no target (2 of 4 utterances have none); {remedy}"
    put(data, "wav.scp", *(f"/{utt}.wav" for utt in UTTS))
    succeed("fix_data_dir", data.path)
    targets = read_targets(DataDir(data.path), "utt2label", "classes")
    assert (targets.values.tolist(), targets.classes) == ([0, 1], ["x", "y"])


def test_targets_of_utterances_that_are_not_there_are_named(data):
    put(data, "utt2label", "x", "y", "x", "x", "y", utts=("a-1", "a-2", "b-1", "b-2", "c-1"))
    message = failure(read_targets, data, "utt2label", "classes")
    assert message == f"{data.path}/utt2label: 'b-2' is in utt2label but not in utt2spk; run utils/fix_data_dir.py"


def test_a_table_that_is_not_there_is_asked_for_beside_those_that_are(data):
    ages(data)
    assert failure(read_targets, data, "utt2label", "classes") == f"{data / 'utt2label'}: no such file; there are utt2age, utt2spk"


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ("label", "classes", "label: utt2spk, another table utt2X, or for classes 'utterance' expected"),
        ("utt2../x", "classes", "utt2../x: utt2spk, another table utt2X, or for classes 'utterance' expected"),
        ("utterance", "numbers", "utterance: utt2spk, another table utt2X, or for classes 'utterance' expected"),
        ("utt2spk,utt2age", "classes", "utt2spk,utt2age: one table of classes expected for this loss"),
        ("utt2spk,utt2age", "numbers", "utt2spk,utt2age: one table of numbers expected for this loss"),
        ("utt2age", "both", "utt2age: a table of classes and one of numbers, 'utt2label,utt2age', expected for this loss"),
    ],
)
def test_targets_that_cannot_be_meant_are_refused(what, kind, message, data):
    ages(data)
    assert failure(read_targets, data, what, kind) == f"--targets {message}"


# ---- what losses learn


def test_each_loss_says_what_it_learns():
    kinds = {name: targets_of(name) for name in LOSSES}
    assert kinds.pop("regression") == "numbers"
    assert kinds.pop("joint") == "both"
    assert set(kinds.values()) == {"classes"}


def test_classes_have_an_order_for_ordinal_losses_alone():
    assert {name for name in LOSSES if has_order(name, {})} == {"cumulative", "distance"}
    assert has_order("joint", {"classes": "cumulative", "share": "0.5"})
    assert not has_order("joint", {"classes": "am"})
    assert not has_order("joint", {"classes": "no such"})


def test_classes_by_name_have_no_order_that_an_ordinal_loss_could_learn(tmp_path):
    write_data_dir(tmp_path, {utt: f"/nowhere/{utt}.wav" for utt in ("a-1", "a-2")}, {"a-1": "a", "a-2": "a"})
    write_table(tmp_path / "utt2label", {"a-1": "teen", "a-2": "adult"})
    message = failure(read_targets, DataDir(tmp_path), "utt2label", "classes", None, True)
    assert message == f"{tmp_path}/utt2label: this loss learns the order of the classes, which names like 'teen' do not tell; give --classes FILE"
    write_table(tmp_path / "utt2label", {"a-1": "10", "a-2": "9"})
    assert read_targets(DataDir(tmp_path), "utt2label", "classes", None, True).classes == ["9", "10"]
