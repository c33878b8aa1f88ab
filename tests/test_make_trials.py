"""utils/make_trials.py: a list drawn once, left alone when it is another's, refused in one line."""

import pytest
from data_dirs import call, refuse, succeed
from trial_data import make_data, speakers

from pytorch.data.data_dir import DataDir, write_table
from pytorch.data.trials import draw_trials, read_trials


@pytest.fixture
def data(tmp_path):
    make_data(tmp_path / "d", speakers(3, 3, 1), spk2gender={"s00": "m", "s01": "f", "s02": "m"})
    return tmp_path / "d"


def test_it_draws_and_then_has_nothing_to_do(data):
    out = succeed("make_trials", data)
    note = "1 speakers have one utterance only, no target trials of them"
    assert out == f"make_trials: {data}/trials: 6 target and 12 nontarget trials of 3 speakers; {note}\n"
    assert list(zip(*read_trials(data / "trials"), strict=True)) == draw_trials(DataDir(data), 0)
    before = (data / "trials").stat()
    assert succeed("make_trials", data) == f"make_trials: {data}/trials is there\n"
    assert (data / "trials").stat().st_mtime_ns == before.st_mtime_ns


def test_it_stops_where_an_option_or_an_input_was_changed(data):
    succeed("make_trials", data)
    first = (data / "trials").read_bytes()
    message = refuse("make_trials", "--seed", "1", "--nontargets-per-target=1", data)
    changes = "--nontargets-per-target was 2, now 1; --seed was 0, now 1"
    assert message == f"{data}: make_trials was done otherwise: {changes}. Pass --overwrite true to do it anew"
    write_table(data / "spk2gender", {"s00": "m", "s01": "m", "s02": "m"})
    message = refuse("make_trials", data)
    assert message == f"{data}: make_trials was done otherwise: spk2gender has changed. Pass --overwrite true to do it anew"
    assert (data / "trials").read_bytes() == first
    succeed("make_trials", "--seed", "1", "--nontargets-per-target=1", "--overwrite", "true", data)
    assert (data / "trials").read_text().count(" nontarget") == 6


def test_it_leaves_a_list_that_it_did_not_draw(data):
    (data / "trials").write_text("s00-u00 s00-u01 target\n")
    message = refuse("make_trials", data)
    assert message == f"{data}/trials: is there, but make_trials did not make it; move it away, or pass --overwrite true to replace it"
    assert (data / "trials").read_text() == "s00-u00 s00-u01 target\n"
    succeed("make_trials", "--overwrite", "true", data)
    assert len(read_trials(data / "trials")[0]) == 18


def test_it_leaves_a_list_that_was_edited_and_draws_a_missing_one_anew(data):
    succeed("make_trials", data)
    first = (data / "trials").read_bytes()
    (data / "trials").write_text("a b target\n")
    message = f"{data}/trials: was changed since make_trials made it; move it away, or pass --overwrite true to make it anew"
    assert refuse("make_trials", data) == message
    assert (data / "trials").read_text() == "a b target\n"
    (data / "trials").unlink()
    done = call("make_trials", data)
    assert (done.status, done.err) == (0, "make_trials: trials is missing; made anew\n")
    assert (data / "trials").read_bytes() == first


def test_it_refuses_in_one_line(data, tmp_path):
    message = refuse("make_trials", tmp_path / "none")
    assert message == f"{tmp_path}/none: no such data directory; it is made by stage 1 of a recipe, or with local/make_X.py"
    (data / "utt2spk").write_text("a-1 a\nb-1 b\n")
    message = refuse("make_trials", data)
    assert message.startswith(f"{data}/spk2gender: ")
    (data / "spk2gender").unlink()
    message = refuse("make_trials", data)
    assert message.startswith(f"{data}: no speaker has two utterances")
    assert not (data / "trials").exists()


def test_the_draw_does_not_depend_on_the_interpreters_hash_seed(tmp_path, program):
    lists = []
    for hash_seed in "12":
        make_data(tmp_path / hash_seed, speakers(*[4] * 8))
        program("utils/make_trials.py", tmp_path / hash_seed, env={"PYTHONHASHSEED": hash_seed, "PATH": ""})
        lists.append((tmp_path / hash_seed / "trials").read_bytes())
    assert lists[0] == lists[1]


def test_a_second_list_stands_beside_the_first(data):
    succeed("make_trials", data)
    first = (data / "trials").read_bytes()
    write_table(data / "spk2gender", {"s00": "m", "s01": "m", "s02": "f"})
    options = ["--name", "trials_hard", "--num-targets", "4", "--num-nontargets", "3", "--same", "spk2gender"]
    note = "1 speakers have one utterance only, no target trials of them"
    assert succeed("make_trials", *options, data) == f"make_trials: {data}/trials_hard: 4 target and 3 nontarget trials of 3 speakers; {note}\n"
    assert succeed("make_trials", *options, data) == f"make_trials: {data}/trials_hard is there\n"
    assert (data / "trials").read_bytes() == first
    _, _, labels = read_trials(data / "trials_hard")
    assert (len(labels), sum(labels)) == (7, 4)


def test_what_was_not_used_and_what_is_not_there_is_told(data):
    write_table(data / "utt2dur", {f"s0{spk}-u0{utt}": 1 + utt for spk, utt in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0))})
    out = succeed("make_trials", "--min-dur", "1.5", "--num-targets", "9", "--num-nontargets", "9", data)
    notes = "4 of 7 utterances used; there are no more target pairs, 9 were asked for; there are no more non-target pairs, 9 were asked for"
    assert out == f"make_trials: {data}/trials: 2 target and 4 nontarget trials of 2 speakers; {notes}\n"


def test_one_utterance_a_session_and_any_sessions_as_asked(data):
    sessions = {utt: "b" if utt.endswith("2") else "a" for utt in DataDir(data).utt2spk}
    write_table(data / "utt2session", sessions)
    assert ": 2 target and " in succeed("make_trials", "--one-per", "utt2session", data)
    assert ": 6 target and " in succeed("make_trials", "--differ", "none", "--overwrite", "true", data)
    assert ": 4 target and " in succeed("make_trials", "--overwrite", "true", data)


def test_the_tables_it_reads_are_watched(data):
    options = ["--same", "spk2accent", data]
    write_table(data / "spk2accent", {"s00": "x", "s01": "x", "s02": "y"})
    succeed("make_trials", *options)
    write_table(data / "spk2accent", {"s00": "x", "s01": "x", "s02": "x"})
    assert refuse("make_trials", *options) == f"{data}: make_trials was done otherwise: spk2accent has changed. Pass --overwrite true to do it anew"


def test_speakers_must_be_others_than_those_named(data, tmp_path):
    make_data(tmp_path / "train", {"s01-x": "s01"})
    message = f"{data}/utt2spk: speaker 's01' is in {tmp_path}/train too (1 such); the speakers must be others"
    assert refuse("make_trials", "--disjoint-from", tmp_path / "train", data) == message
    assert not (data / "trials").exists()
    (tmp_path / "list").write_text("s03\n")
    succeed("make_trials", "--disjoint-from", tmp_path / "list", data)


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "the following arguments are required: data"),
        (["--num-targets", "0", "d"], "argument --num-targets: a whole number above 0 expected, not '0'"),
        (["--same", "gender", "d"], "argument --same: spk2X and utt2X expected, not 'gender'"),
        (["--same", "spk2gender,", "d"], "argument --same: spk2X and utt2X expected, not ''"),
        (["--differ", "spk2gender", "d"], "argument --differ: utt2X or none expected, not 'spk2gender'"),
        (["--one-per", "utt2../x", "d"], "argument --one-per: utt2X expected, not 'utt2../x'"),
        (["--name", "list", "d"], "argument --name: a name that begins with trials expected, not 'list'"),
        (["--min-dur", "-1", "d"], "argument --min-dur: a number above 0 expected, not '-1'"),
        (["d", "e"], "unrecognized arguments: e"),
    ],
)
def test_wrong_command_lines_exit_with_2(words, message):
    done = call("make_trials", *words)
    assert (done.status, done.out, done.err) == (2, "", f"make_trials.py: {message}; see --help\n")


def test_missing_inputs_are_told_of_without_heavy_imports(program, tmp_path):
    for package in ("torch", "numpy", "sklearn", "scipy", "kaldiio"):
        (tmp_path / f"{package}.py").write_text("raise AssertionError")
    done = program("utils/make_trials.py", tmp_path / "none", env={"PYTHONPATH": str(tmp_path), "PATH": ""})
    message = "no such data directory; it is made by stage 1 of a recipe, or with local/make_X.py"
    assert (done.returncode, done.stderr) == (1, f"make_trials.py: {tmp_path}/none: {message}\n")
