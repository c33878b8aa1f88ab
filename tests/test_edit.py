"""pytorch/data/edit.py: a data directory made from others comes with all that belongs to it, and appears whole or not at all."""

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from data_dirs import call, files, refuse, small, succeed, with_segments, write
from support import write_feats, write_vad

from pytorch.data.data_dir import DataDir, read_table
from pytorch.data.edit import NewDataDir


@pytest.fixture
def data(tmp_path):
    return small(tmp_path / "data")


def subset(*words):
    return succeed("subset_data_dir", "--num", 2, *words)


# ---- what comes along


def test_every_table_comes_along(data, tmp_path):
    tables = {"text": "so so", "utt2label": "x", "utt2age": "7", "utt2mood": "glad to be here", "feats.scp": "/f.ark:1", "vad.scp": "/v.ark:1", "reco2dur": "1"}
    for name, value in tables.items():
        write(data, **{name.replace(".", "__"): "".join(f"{utt} {value}\n" for utt in ("a-1", "a-2", "b-1", "b-2"))})
    write(data, spk2gender="a m\nb f\n", spk2shoes="a 43 44\nb 38\n", cmvn__scp="a /c.ark:1\nb /c.ark:2\n")
    subset(data, tmp_path / "new")
    found = files(tmp_path / "new")
    assert found.keys() == {*tables, "wav.scp", "utt2spk", "spk2utt", "spk2gender", "spk2shoes", "cmvn.scp"}
    assert {name: found[name] for name in tables} == {name: f"a-2 {value}\nb-2 {value}\n" for name, value in tables.items()}
    assert found["spk2utt"] == "a a-2\nb b-2\n"
    assert found["spk2shoes"] == "a 43 44\nb 38\n"
    succeed("validate_data_dir", "--check-files", "false", tmp_path / "new")


def test_speakers_and_recordings_without_utterances_stay_behind(tmp_path):
    data = with_segments(tmp_path / "data", reco2dur="r1 5\nr2 5\n", spk2gender="a m\nb f\n")
    succeed("subset_data_dir", "--first", 2, data, tmp_path / "new")
    assert files(tmp_path / "new") == {
        "utt2spk": "a-1 a\na-2 a\n",
        "spk2utt": "a a-1 a-2\n",
        "segments": "a-1 r1 0 1.5\na-2 r1 2 3\n",
        "wav.scp": "r1 /r1.wav\n",
        "reco2dur": "r1 5\n",
        "spk2gender": "a m\n",
    }


def test_features_come_with_their_settings_and_with_the_hash_of_their_values_and_where_it_was_found(data, tmp_path):
    utts = ("a-1", "a-2", "b-1", "b-2")
    write_feats(data, {utt: np.full((3, 24), number, np.float32) for number, utt in enumerate(utts)})
    write_vad(data, {utt: np.ones(3, np.float32) for utt in utts})
    one, two = "1" * 64, "2" * 64
    write(data, feats__sha256=f"{one}\n", vad__sha256=f"{two}\n")
    subset(data, tmp_path / "new")
    succeed("subset_data_dir", "--first", 1, tmp_path / "new", tmp_path / "newer")
    for folder in ("new", "newer"):
        found = files(tmp_path / folder)
        assert found["feats.sha256"] == f"{one} {data.resolve()}\n"
        assert found["vad.sha256"] == f"{two} {data.resolve()}\n"
        assert found["feats.json"] == (data / "feats.json").read_text()
        assert found["vad.json"] == (data / "vad.json").read_text()
        succeed("validate_data_dir", "--feats", "true", tmp_path / folder)
        assert DataDir(tmp_path / folder).feature_tables(voiced=True)
    write(data, feats__sha256=f"{two}\n")
    with pytest.raises(Exception, match="were changed since"):
        DataDir(tmp_path / "newer").feature_tables(voiced=False)


@pytest.mark.parametrize("content", ["", "not a hash\n", "1" * 64 + " x\n", b"\xff\xfe"])
def test_a_hash_that_is_none_is_refused(data, tmp_path, content):
    write(data, feats__scp="a-1 x:1\na-2 x:2\nb-1 x:3\nb-2 x:4\n", feats__sha256=content)
    message = refuse("subset_data_dir", "--num", 2, data, tmp_path / "new")
    assert message == f"{data}/feats.sha256: a hash of values expected, alone or with the folder it was found in; make the features anew"


def test_what_is_no_table_is_named_and_what_steps_have_made_stays_without_a_word(data, tmp_path):
    write(data, README="hello", feats__ark="", feats__3__ark="", frame_shift="0.01\n", **{".hidden": ""})
    for folder in ("log", "split4", "split4utt", "conf", ".done", ".backup"):
        (data / folder).mkdir()
    out = subset(data, tmp_path / "new")
    assert f"subset_data_dir: not carried, being no tables: {data}/README, {data}/conf\n" in out
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [".done", "frame_shift", "spk2utt", "utt2spk", "wav.scp"]
    assert (tmp_path / "new/frame_shift").read_text() == "0.01\n"


def test_trials_of_utterances_that_are_left_out_are_left_out_and_counted(data, tmp_path):
    write(data, trials="a-2 b-2 nontarget\na-1 a-2 target\nmodel3 b-2 target\nb b-2 target\n")
    assert "subset_data_dir: trials: 1 of 4 left out, as their utterances are\n" in subset(data, tmp_path / "new")
    assert (tmp_path / "new/trials").read_text() == "a-2 b-2 nontarget\nmodel3 b-2 target\nb b-2 target\n"


def test_trials_of_which_none_is_left_are_no_list(data, tmp_path):
    write(data, trials="a-1 a-2 target\n")
    out = subset(data, tmp_path / "new")
    assert "trials: 1 of 1 left out, as their utterances are; none is left, so there is no list\n" in out
    assert not (tmp_path / "new/trials").exists()


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("utt2spk", None, "utt2spk: no such file"),
        ("utt2spk", "a-1 a\na-1 a\n", "utt2spk:2: 'a-1' stands twice; keep one line of it"),
        ("utt2age", "a-1 4\n", "utt2age: 'a-2' is in utt2spk but not in utt2age (and 2 more); run utils/fix_data_dir.py"),
        ("spk2age", "a 4\r\nb 5\r\n", "spk2age:1: Windows line ending; remove them with: sed -i 's/\\r$//' {data}/spk2age"),
    ],
)
def test_a_broken_source_is_refused_and_nothing_is_made(data, tmp_path, name, content, message):
    (data / name).unlink() if content is None else write(data, **{name: content})
    assert refuse("subset_data_dir", "--first", 1, data, tmp_path / "new") == f"{data}/{message.format(data=data)}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "silence.wav"]


def test_ids_beyond_ascii_are_kept(tmp_path):
    data = write(tmp_path / "data", utt2spk="ü-1 ü\n愛-1 愛\n", wav__scp="ü-1 /ü.wav\n愛-1 /x.wav\n")
    subset(data, tmp_path / "new")
    assert files(tmp_path / "new")["spk2utt"] == "ü ü-1\n愛 愛-1\n"


# ---- made again


def test_made_again_nothing_is_done(data, tmp_path):
    subset(data, tmp_path / "new")
    before = (tmp_path / "new/utt2spk").stat()
    assert subset(data, tmp_path / "new") == f"subset_data_dir: {tmp_path}/new is there\n"
    assert (tmp_path / "new/utt2spk").stat() == before


def test_made_otherwise_it_stops_and_says_how_until_told_to_overwrite(data, tmp_path):
    subset(data, tmp_path / "new")
    again = ("--first", 1, data, tmp_path / "new")
    message = f"{tmp_path}/new: subset_data_dir was done otherwise: --first was unset, now 1; --num was 2, now unset. Pass --overwrite true to make it anew"
    assert refuse("subset_data_dir", *again) == message
    assert len(read_table(tmp_path / "new/utt2spk")) == 2
    succeed("subset_data_dir", "--overwrite", "true", *again)
    assert len(read_table(tmp_path / "new/utt2spk")) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "new", "silence.wav"]


def test_a_source_that_has_changed_stops_it(data, tmp_path):
    subset(data, tmp_path / "new")
    write(data, wav__scp="a-1 /x\na-2 /x\nb-1 /x\nb-2 /x\n")
    message = f"{tmp_path}/new: subset_data_dir was done otherwise: {data.resolve()}/wav.scp has changed. Pass --overwrite true to make it anew"
    assert refuse("subset_data_dir", "--num", 2, data, tmp_path / "new") == message


def test_tables_the_source_has_got_since_are_named_and_stop_nothing(data, tmp_path):
    """A recipe that makes the features of both directories later can be run again."""
    subset(data, tmp_path / "new")
    write(data, utt2age="a-1 1\na-2 1\nb-1 1\nb-2 1\n")
    done = call("subset_data_dir", "--num", 2, data, tmp_path / "new")
    assert (done.status, done.out) == (0, f"subset_data_dir: {tmp_path}/new is there\n")
    assert done.err == f"subset_data_dir: {tmp_path}/new was made before there was utt2age, which it lacks; --overwrite true makes it anew\n"


def test_an_output_that_was_changed_stops_it(data, tmp_path):
    subset(data, tmp_path / "new")
    write(tmp_path / "new", wav__scp="a-2 /x\nb-2 /x\n")
    message = f"{tmp_path}/new: was changed since subset_data_dir made it. Pass --overwrite true to make it anew"
    assert refuse("subset_data_dir", "--num", 2, data, tmp_path / "new") == message


# ---- what is in the way


def test_a_directory_made_by_something_else_is_not_replaced(data, tmp_path):
    other = small(tmp_path / "new")
    message = f"{other}: is there, but subset_data_dir did not make it; choose another folder, or pass --overwrite true to replace it"
    assert refuse("subset_data_dir", "--num", 2, data, other) == message
    assert len(read_table(other / "utt2spk")) == 4
    subset("--overwrite", "true", data, other)
    assert len(read_table(other / "utt2spk")) == 2


@pytest.mark.parametrize("content", ["[]", "{}", '{"inputs": 3}'])
def test_a_marker_that_is_none_counts_as_something_else(data, tmp_path, content):
    subset(data, tmp_path / "new")
    (tmp_path / "new/.done/subset_data_dir.json").write_text(content)
    assert "subset_data_dir did not make it" in refuse("subset_data_dir", "--num", 2, data, tmp_path / "new")


def test_an_empty_folder_is_not_in_the_way(data, tmp_path):
    (tmp_path / "new").mkdir()
    subset(data, tmp_path / "new")


@pytest.mark.parametrize(
    "content, message",
    [
        ({"thesis.tex": ""}, "{new}: no data directory (it has no utt2spk), so it is not replaced; remove it yourself"),
        (
            {"utt2spk": "", "thesis.tex": ""},
            "{new}/thesis.tex: not made by a program here, so {new} is not replaced; move it away, or remove the folder yourself",
        ),
    ],
)
def test_a_folder_with_something_else_in_it_is_never_replaced(data, tmp_path, content, message):
    new = write(tmp_path / "new", **content)
    assert refuse("subset_data_dir", "--num", 2, "--overwrite", "true", data, new) == message.format(new=new)
    assert files(new) == content


def test_a_file_is_never_replaced(data, tmp_path):
    (tmp_path / "new").write_text("x")
    expected = f"{tmp_path}/new: a file, not a data directory; remove it yourself"
    assert refuse("subset_data_dir", "--num", 2, "--overwrite", "true", data, tmp_path / "new") == expected


@pytest.mark.parametrize("place", ["data", "."])
def test_a_source_is_never_replaced(data, tmp_path, place):
    expected = f"{tmp_path / place}: {data} lies there; choose another folder for the new one"
    assert refuse("subset_data_dir", "--num", 2, "--overwrite", "true", data, tmp_path / place) == expected
    assert len(read_table(data / "utt2spk")) == 4


def test_archives_that_are_needed_are_never_removed(data, tmp_path):
    """data's features lie in the folder to be replaced."""
    new = small(tmp_path / "new")
    write_feats(new, {utt: np.zeros((3, 24), np.float32) for utt in ("a-1", "a-2", "b-1", "b-2")})
    shutil.copy(new / "feats.scp", data)
    shutil.copy(new / "feats.json", data)
    message = refuse("subset_data_dir", "--num", 2, "--overwrite", "true", data, new)
    assert message.startswith(f"{new}: is not replaced, as 'a-2' of the new feats.scp lies in it: {new}/feats.ark:")
    assert (new / "feats.ark").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "new", "silence.wav"]


def test_of_two_that_make_the_same_directory_one_fails(data, tmp_path):
    first, second = (NewDataDir(tmp_path / "new", "test", {"of": name}, [DataDir(data)]) for name in "ab")
    with pytest.raises(Exception, match="was made by another process meanwhile"), second as folder:
        write(folder, utt2spk="a-1 a\n")
        second._temporary = folder.rename(tmp_path / ".other")
        with first as inner:
            write(inner, utt2spk="a-2 a\n")
    assert files(tmp_path / "new") == {"utt2spk": "a-2 a\n"}


# ---- whole or not at all


def test_a_failure_leaves_what_was_there(data, tmp_path, monkeypatch):
    subset(data, tmp_path / "new")
    before = files(tmp_path / "new")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            call("subset_data_dir", "--first", 1, "--overwrite", "true", data, tmp_path / "new")
    with monkeypatch.context() as patched:
        rename = os.rename
        patched.setattr(os, "rename", lambda old, new: full() if old.name.endswith(".tmp") else rename(old, new))
        with pytest.raises(OSError, match="No space left"):
            call("subset_data_dir", "--first", 1, "--overwrite", "true", data, tmp_path / "new")
    assert files(tmp_path / "new") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "new", "silence.wav"]


def test_a_killed_program_leaves_no_half_directory(tmp_path, root):
    utts = [f"a-{number:06d}" for number in range(60000)]
    data = write(tmp_path / "data", utt2spk="".join(f"{utt} a\n" for utt in utts), **{f"utt2x{n}": "".join(f"{utt} 1\n" for utt in utts) for n in range(5)})
    process = subprocess.Popen([sys.executable, root / "utils/subset_data_dir.py", "--num", "50000", data, tmp_path / "new"], stdout=subprocess.PIPE)
    while process.poll() is None and not list(tmp_path.glob(".new.*/utt2x*")):
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert not (tmp_path / "new").exists()
    succeed("subset_data_dir", "--num", 50000, data, tmp_path / "new")
    assert len(read_table(tmp_path / "new/utt2x4")) == 50000
