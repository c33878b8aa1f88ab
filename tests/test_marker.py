"""pytorch/marker.py and whole files: a step is done as asked, or it did not happen."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from support import failure

from pytorch.files import need_file, read_json, sha256, sha256_of_sizes, whole_file, write_json
from pytorch.marker import Marker, options_of
from pytorch.program import ROOT, Fail, Parser, boolean, positive_int


def make(folder, options=None, inputs=None, **more):
    options = {"rate": 5, "quick": True} if options is None else options
    return Marker(folder / ".done/step.json", options, {"wav.scp": "abc"} if inputs is None else inputs, **more)


@pytest.fixture
def done(tmp_path):
    """A folder in which the step was finished; its outputs are out and sub/more."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "out").write_text("12345")
    (tmp_path / "sub/more").write_text("")
    make(tmp_path).finish([tmp_path / "out", tmp_path / "sub/more"])
    return tmp_path


# ---- done, changed, damaged, overwrite


def test_a_step_that_never_ran_is_not_done(tmp_path):
    marker = make(tmp_path)
    assert not marker.is_done()
    assert not marker.is_begun()
    assert not marker.matches()
    assert list(tmp_path.iterdir()) == []


def test_a_finished_step_is_done_for_the_same_options_and_inputs(done, capsys):
    assert make(done).is_done()
    assert make(done).matches()
    assert not make(done).is_begun()
    assert capsys.readouterr().err == ""


def test_the_marker_can_be_read(done):
    assert json.loads((done / ".done/step.json").read_text()) == {
        "options": {"rate": 5, "quick": True},
        "inputs": {"wav.scp": "abc"},
        "outputs": {"out": 5, "sub/more": 0},
    }


def test_a_done_step_is_found_from_another_folder(done, monkeypatch):
    monkeypatch.chdir(done)
    assert Marker(".done/step.json", {"rate": 5, "quick": True}, {"wav.scp": "abc"}).is_done()


def test_a_folder_that_was_moved_is_still_done(done, tmp_path_factory):
    moved = tmp_path_factory.mktemp("x") / "moved"
    done.rename(moved)
    assert make(moved).is_done()


@pytest.mark.parametrize(
    "options, inputs, changes",
    [
        ({"rate": 6, "quick": True}, None, "--rate was 5, now 6"),
        ({"rate": 5, "quick": False}, None, "--quick was true, now false"),
        ({"quick": True}, None, "--rate was 5, now unset"),
        ({"rate": 5, "quick": True, "num_mel_bins": 80}, None, "--num-mel-bins was unset, now 80"),
        ({"rate": 6, "quick": False}, None, "--quick was true, now false; --rate was 5, now 6"),
        (None, {"wav.scp": "xyz"}, "wav.scp has changed"),
        (None, {}, "wav.scp has changed"),
        (None, {"wav.scp": "abc", "audio": "1"}, "audio has changed"),
        ({"rate": 6, "quick": True}, {"wav.scp": "x"}, "--rate was 5, now 6; wav.scp has changed"),
        (dict.fromkeys("abcde", 1), None, "--a was unset, now 1; --b was unset, now 1; --c was unset, now 1; --d was unset, now 1; and 3 more"),
    ],
)
def test_another_option_or_input_stops_with_its_name_and_values(done, options, inputs, changes):
    marker = make(done, options, inputs)
    assert failure(marker.is_done) == f"{done}: step was done otherwise: {changes}. Pass --overwrite true to do it anew"
    assert not marker.matches()
    assert make(done).is_done()


def test_overwrite_does_anew_whatever_is_there(done):
    assert not make(done).is_done(overwrite=True)
    assert not make(done, {"rate": 6}).is_done(overwrite=True)


def test_the_outputs_of_a_step_are_known_where_it_was_done_as_asked_be_they_there_or_not(done):
    assert sorted(make(done).outputs()) == ["out", "sub/more"]
    (done / "out").unlink()
    assert sorted(make(done).outputs()) == ["out", "sub/more"]
    assert make(done, {"rate": 6}).outputs() == []
    make(done).begin()
    assert make(done).outputs() == []


@pytest.mark.parametrize("damage", ["shorter", "longer", "missing"])
@pytest.mark.parametrize("name", ["out", "sub/more"])
def test_an_output_that_is_missing_is_made_anew_and_one_that_was_changed_stops(done, capsys, damage, name):
    path = done / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_text("1" * 4 if damage == "shorter" else "1" * 6)
    assert not make(done).matches()
    assert capsys.readouterr().err == ""
    if damage == "missing":
        assert not make(done).is_done()
        assert capsys.readouterr().err == f"step: {name} is missing; made anew\n"
    else:
        with pytest.raises(Fail, match=f"{name}: was changed since step made it; move it away, or pass --overwrite true to make it anew"):
            make(done).is_done()
        assert not make(done).is_done(overwrite=True)


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "null", '{"options": {}}', b"\xff\xfe"])
def test_a_damaged_marker_is_no_marker(done, content):
    (done / ".done/step.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert not make(done).is_done()
    assert not make(done).is_begun()
    assert not make(done).matches()


def test_options_that_json_cannot_tell_apart_are_equal(tmp_path):
    marker = make(tmp_path, {"widths": (1, 2), "args": {"a": (3,)}, "none": None, "lr": 1e-3})
    marker.finish([])
    assert make(tmp_path, {"widths": [1, 2], "args": {"a": [3]}, "none": None, "lr": 0.001}).is_done()


def test_an_output_that_was_not_made_is_our_mistake(tmp_path):
    with pytest.raises(AssertionError, match="an output is missing"):
        make(tmp_path).finish([tmp_path / "none"])
    assert not make(tmp_path).is_done()


# ---- begun


@pytest.mark.parametrize("resumable", [True, False])
def test_a_step_begun_can_be_taken_up_with_the_same_options(tmp_path, resumable):
    make(tmp_path, resumable=resumable).begin()
    assert make(tmp_path, resumable=resumable).is_begun()
    assert not make(tmp_path, resumable=resumable).is_done()
    assert not make(tmp_path, resumable=resumable).matches()


def test_a_long_step_begun_stops_where_an_option_was_changed(tmp_path):
    make(tmp_path, resumable=True).begin()
    other = make(tmp_path, {"rate": 6, "quick": True}, resumable=True)
    assert not other.is_begun()
    assert failure(other.is_done) == f"{tmp_path}: step was begun otherwise: --rate was 5, now 6. Pass --overwrite true to do it anew"
    assert not other.is_done(overwrite=True)


def test_a_short_step_begun_is_made_anew_where_an_option_was_changed(tmp_path):
    make(tmp_path).begin()
    other = make(tmp_path, {"rate": 6, "quick": True})
    assert not other.is_begun()
    assert not other.is_done()


def test_a_step_begun_and_finished_is_done(tmp_path):
    marker = make(tmp_path)
    marker.begin()
    (tmp_path / "out").write_text("x")
    marker.finish([tmp_path / "out"])
    assert marker.is_done()
    assert not marker.is_begun()


# ---- what somebody else made


def test_what_the_step_did_not_make_is_not_replaced(tmp_path):
    (tmp_path / "out").write_text("precious")
    message = f"{tmp_path}/out: is there, but step did not make it; move it away, or pass --overwrite true to replace it"
    assert failure(make(tmp_path).claim, [tmp_path / "none", tmp_path / "out"]) == message
    make(tmp_path).claim([tmp_path / "out"], overwrite=True)
    make(tmp_path).claim([tmp_path / "none"])


@pytest.mark.parametrize("state", ["begun", "done"])
def test_what_the_step_made_itself_is_replaced(tmp_path, state):
    (tmp_path / "out").write_text("own")
    marker = make(tmp_path)
    marker.begin()
    if state == "done":
        marker.finish([tmp_path / "out"])
    make(tmp_path, {"rate": 6}).claim([tmp_path / "out"])


# ---- which options count


def test_options_that_cannot_change_a_result_do_not_count():
    parser = Parser("doc")
    parser.add_argument("data")
    parser.add_argument("--nj", type=positive_int)
    parser.add_argument("--cmd", default="submit.py")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--overwrite", type=boolean, default=False)
    parser.add_argument("--num-mel-bins", type=positive_int, default=23)
    args = parser.parse_args(["x", "--nj", "4", "--cmd=queue.pl", "--overwrite", "true"])
    assert options_of(args, without=("data",)) == {"num_mel_bins": 23}


# ---- two processes at once

STEP = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from pytorch.marker import Marker
folder, name = Path(sys.argv[1]), sys.argv[2]
marker = Marker(folder / ".done/step.json", {{}}, {{}})
marker.lock()
(folder / f"{{name}}-holds").touch()
if marker.is_done():
    print("is there")
else:
    for _ in range(1000):
        if (folder / "go on").exists():
            break
        time.sleep(0.01)
    (folder / "out").write_text(name)
    marker.finish([folder / "out"])
    print("made")
"""


def start(folder, name):
    return subprocess.Popen([sys.executable, "-c", STEP, str(folder), name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_a_second_process_waits_and_then_finds_the_work_done(tmp_path):
    first = start(tmp_path, "first")
    wait_for((tmp_path / "first-holds").exists)
    second = start(tmp_path, "second")
    said = second.stderr.readline()
    assert said == f"step: waiting for process {first.pid} on {os.uname().nodename}, which is at this step already\n"
    assert not (tmp_path / "second-holds").exists()
    (tmp_path / "go on").touch()
    assert first.communicate(timeout=60) == ("made\n", "")
    assert second.communicate(timeout=60) == ("is there\n", "")
    assert (tmp_path / "out").read_text() == "first"


def test_a_process_that_was_killed_holds_nothing(tmp_path):
    first = start(tmp_path, "first")
    wait_for((tmp_path / "first-holds").exists)
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    (tmp_path / "go on").touch()
    assert start(tmp_path, "second").communicate(timeout=60) == ("made\n", "")


def test_one_process_can_hold_several_steps(tmp_path):
    markers = [Marker(tmp_path / f".done/{name}.json", {}, {}) for name in "ab"]
    for marker in markers:
        marker.lock()
    assert sorted(path.name for path in (tmp_path / ".done").iterdir()) == ["a.lock", "b.lock"]


def test_a_disk_that_takes_nothing_is_told_with_the_file_that_it_did_not_take(tmp_path):
    """A limit on the size of files is met where a full disk is: in writing who holds the step."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    main = "run(lambda: hold(Path(sys.argv[1]), 'step'))"
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom pathlib import Path\nfrom pytorch.marker import hold\nfrom pytorch.program import run\n"
    done = subprocess.run([sys.executable, "-c", f"{script}{limit}\n{main}", tmp_path / "step.lock"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, f"-c: {tmp_path}/step.lock: File too large\n")


# ---- whole files


def test_a_file_is_there_whole_at_the_end_and_not_before(tmp_path):
    with whole_file(tmp_path / "sub/x") as file:
        file.write("ü\n")
        file.flush()
        assert not (tmp_path / "sub/x").exists()
    assert (tmp_path / "sub/x").read_bytes() == "ü\n".encode()
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["x"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("mode", ["w", "wb"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error, mode):
    (tmp_path / "x").write_text("old")

    def fail_between():
        with whole_file(tmp_path / "x", mode) as file:
            file.write("new" if mode == "w" else b"new")
            raise error

    pytest.raises(error, fail_between)
    assert (tmp_path / "x").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_failure_without_an_old_file_leaves_nothing(tmp_path):
    def fail_at_once():
        with whole_file(tmp_path / "x"):
            raise ValueError

    pytest.raises(ValueError, fail_at_once)
    assert list(tmp_path.iterdir()) == []


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path):
    (tmp_path / "x").write_text("old")
    script = f"""
import sys, os, signal
sys.path.insert(0, {str(ROOT)!r})
from pytorch.files import whole_file
with whole_file(sys.argv[1]) as file:
    file.write("new")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "x")])
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "x").read_text() == "old"


def test_json_is_written_for_people_and_read_back(tmp_path):
    write_json(tmp_path / "x.json", {"b": 1, "a": [True, None]})
    assert (tmp_path / "x.json").read_text().startswith('{\n "b": 1,\n')
    assert read_json(tmp_path / "x.json") == {"b": 1, "a": [True, None]}


def test_a_value_json_cannot_hold_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "x.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"a": {1, 2}})
    assert read_json(tmp_path / "x.json") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"{} x"])
def test_broken_json_is_refused(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    assert failure(read_json, tmp_path / "x.json").startswith(f"{tmp_path}/x.json: not JSON (")


def test_missing_json_is_refused(tmp_path):
    assert failure(read_json, tmp_path / "x.json") == f"{tmp_path}/x.json: no such file"


def test_a_file_needed_must_be_there_and_hold_something(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "full").write_text("x")
    assert need_file(tmp_path / "full") == tmp_path / "full"
    assert failure(need_file, tmp_path / "none") == f"{tmp_path}/none: no such file"
    assert failure(need_file, tmp_path / "none", "make it") == f"{tmp_path}/none: no such file; make it"
    assert failure(need_file, tmp_path / "empty", "make it") == f"{tmp_path}/empty: empty; make it"
    assert failure(need_file, tmp_path) == f"{tmp_path}: no such file"


def test_fingerprints_see_content_and_sizes(tmp_path):
    one, other = tmp_path / "a", tmp_path / "b"
    one.write_text("abc")
    other.write_text("abd")
    assert sha256(one) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(one) != sha256(other)
    before = sha256_of_sizes([one, other])
    assert sha256_of_sizes([other, one]) != before
    one.write_text("xyz")
    assert sha256_of_sizes([one, other]) == before
    one.write_text("longer")
    changed = sha256_of_sizes([one, other])
    one.unlink()
    assert len({before, changed, sha256_of_sizes([one, other])}) == 3
