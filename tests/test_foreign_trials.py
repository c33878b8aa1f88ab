"""utils/import_trials.py and export_trials.py: trial lists of VoxCeleb, Kaldi, wespeaker, and of clients and impostors, in and out."""

import os

import pytest
from data_dirs import call, files, refuse, succeed

from pytorch.data.trials import read_trials

PATHS = {"a-1": "a/1.wav", "a-2": "a/2.wav", "b-v~1-1": "b/v-1/1.wav"}


@pytest.fixture
def data(tmp_path):
    (tmp_path / "l").write_text("".join(f"{path}\n" for path in PATHS.values()))
    options = ["--from", "files", "--spk-folder", "1", "--check-files", "false", "--root", "/corpus"]
    succeed("import_list", *options, tmp_path / "l", tmp_path / "d")
    return tmp_path / "d"


def imported(data, kind, *contents, options=()):
    """Import trials -> the trial list"""
    lists = [data.parent / f"list{number}" for number in range(len(contents))]
    for path, content in zip(lists, contents, strict=True):
        path.write_text(content)
    succeed("import_trials", "--from", kind, *options, *lists, data)
    return (data / "trials").read_text()


def not_imported(data, kind, *contents, options=()):
    """The line with which the import ends, the lists being called L0, L1 and the data directory D"""
    lists = [data.parent / f"list{number}" for number in range(len(contents))]
    for path, content in zip(lists, contents, strict=True):
        path.write_text(content)
    message = refuse("import_trials", "--from", kind, *options, *lists, data)
    assert not (data / "trials").exists()
    return message.replace(str(data.parent / "list"), "L").replace(str(data), "D")


TRIALS = "b-v~1-1 a-1 nontarget\na-1 a-2 target\na-2 a-1 target\n"


@pytest.mark.parametrize("ending", [".wav", "", ".m4a"])
def test_voxcelebs_lists_have_the_label_first(data, ending):
    content = f"0 b/v-1/1{ending} a/1{ending}\r\n1 a/1{ending} ./a/2{ending}\r\n\r\n1 a/2{ending} a//1{ending}\r\n"
    assert imported(data, "voxceleb", content) == TRIALS


@pytest.mark.parametrize("yes", ["target", "1", "tgt", "client", "true", "Target"])
@pytest.mark.parametrize("no", ["nontarget", "0", "imp", "impostor", "false", "non-target"])
def test_kaldis_lists_have_the_label_last_in_many_spellings(data, yes, no):
    assert imported(data, "kaldi", f"b/v-1/1.wav a-1 {no}\na-1 a/2 {yes}\na-2 a-1 {yes}\n") == TRIALS


def test_clients_and_impostors_are_two_lists(data):
    assert imported(data, "clients-impostors", "a/1 a/2\n\n  \na/2 a/1\n", "b/v-1/1 a/1\n") == "a-1 a-2 target\na-2 a-1 target\nb-v~1-1 a-1 nontarget\n"


def test_utterances_are_found_by_their_files_whatever_they_are_called(data, tmp_path):
    (data / "utt2path").unlink()
    for name in ("wav.scp", "utt2spk", "spk2utt"):
        (data / name).write_text((data / name).read_text().replace("a-1", "a-x").replace("a-2", "a-y").replace("b-v~1-1", "b-z"))
    content = "1 corpus/a/1 corpus/a/2.wav\n0 /corpus/a/1.wav corpus/b/v-1/1\n"
    assert imported(data, "voxceleb", content, options=["--root", "/"]) == "a-x a-y target\na-x b-z nontarget\n"
    message = "L0:1: 'corpus/a/1' is not in D (and 1 more); say where its path begins (--root), complete the data directory, or pass --drop missing"
    (data / "trials").unlink()
    assert not_imported(data, "voxceleb", content, options=["--overwrite", "true"]) == message


def test_utterances_are_found_by_the_path_that_their_id_tells(data, tmp_path):
    (tmp_path / "l").write_text('{"key": "x/1.wav", "wav": "/e/1.wav", "spk": "x"}\n{"key": "x/2.wav", "wav": "/e/2.wav", "spk": "x"}\n')
    succeed("import_list", "--from", "json", "--check-files", "false", tmp_path / "l", tmp_path / "e")
    assert imported(tmp_path / "e", "kaldi", "x/1.wav x/2.wav target\n") == "x-1 x-2 target\n"


def test_a_recording_of_several_utterances_is_none(tmp_path):
    (tmp_path / "l").write_text("path,spk,start,end\nr,x,0,1\nr,x,1,2\ns,y,0,1\n")
    succeed("import_list", "--from", "csv", "--check-files", "false", tmp_path / "l", tmp_path / "d")
    assert not_imported(tmp_path / "d", "kaldi", "s r 0\n").startswith("L0:1: 'r' is not in D; ")
    assert imported(tmp_path / "d", "kaldi", "s x--r-00000000-00001000 0\n") == "y--s-00000000-00001000 x--r-00000000-00001000 nontarget\n"


def test_trials_of_missing_utterances_and_double_ones_may_be_left_out(data):
    content = "1 a/1 a/2\n1 a/1 a/3\n0 c/1 a/1\n1 a/1 a/2\n"
    done = call("import_trials", "--from", "voxceleb", "--drop", "missing,double", _put(data, content), data)
    left_out = f"import_trials: left out, see {data}/trials.dropped: 2 missing, 1 double\n"
    assert done.out == f"import_trials: {data}/trials: 1 target and 0 nontarget trials\n{left_out}"
    assert len((data / "trials.dropped").read_text().splitlines()) == 3
    succeed("import_trials", "--from", "voxceleb", "--overwrite", "true", _put(data, "1 a/1 a/2\n"), data)
    assert not (data / "trials.dropped").exists()


def _put(data, content):
    (data.parent / "list").write_text(content)
    return data.parent / "list"


@pytest.mark.parametrize(
    "kind, contents, message",
    [
        ("voxceleb", ["1 a/1\n"], "L0:1: `label enrol test` expected, not '1 a/1'"),
        ("voxceleb", ["1 a/1 a/2\na/1 a/2 1\n"], "L0:2: 1 or target, 0 or nontarget expected, not 'a/1'"),
        ("kaldi", ["1 a/1 a/2\n"], "L0:1: 1 or target, 0 or nontarget expected, not 'a/2'"),
        ("kaldi", ["a/1 a/2 b target\n"], "L0:1: `enrol test label` expected, not 'a/1 a/2 b target'"),
        ("kaldi", ["\n"], "L0: no entry in it"),
        ("kaldi", ["a/1 a/2 1\na/1 b/v-1/1 0"], "L0:2: the last line lacks its newline, the list may be cut off; if it is whole, add one with: echo >> L0"),
        ("clients-impostors", ["a/1 a/2\n", "a/1 b/v-1/1 0\n"], "L1:1: `enrol test` expected, not 'a/1 b/v-1/1 0'"),
        ("clients-impostors", ["a/1 a/2\n", "a/1 a/2\n"], "L1:1: 'a/1 a/2' is nontarget here and target in L0:1; correct one"),
        ("kaldi", ["a/1 a/2 1\na-1 a/2 1\n"], "L0:2: 'a-1 a/2' stands in L0:1 too; keep one, or pass --drop double"),
        (
            "kaldi",
            ["a/1 a/2 0\na/1 b/v-1/1 1\n"],
            "D/utt2spk: 'a-1' and 'a-2' are of one speaker, but a nontarget trial (2 such); correct it, or pass --check-speakers false",
        ),
    ],
)
def test_broken_lists_are_refused_with_their_line(data, kind, contents, message):
    assert not_imported(data, kind, *contents) == message


def test_a_list_of_which_nothing_is_left_is_refused(data):
    assert not_imported(data, "kaldi", "x y 1\n", options=["--drop", "missing"]) == "L0: no trial of it is left, all were left out by --drop"


def test_speakers_are_not_compared_where_that_is_asked_for_or_none_are_known(data):
    assert imported(data, "kaldi", "a/1 a/2 0\n", options=["--check-speakers", "false"]) == "a-1 a-2 nontarget\n"
    (data / "utt2spk").write_text("a-1 a-1\na-2 a-2\nb-v~1-1 b-v~1-1\n")
    assert imported(data, "kaldi", "a/1 a/2 1\n", options=["--overwrite", "true"]) == "a-1 a-2 target\n"


def test_an_import_is_done_once_and_several_lists_stand_side_by_side(data):
    path = _put(data, "a/1 a/2 1\n")
    succeed("import_trials", "--from", "kaldi", path, data)
    assert succeed("import_trials", "--from", "kaldi", path, data) == f"import_trials: {data}/trials is there\n"
    _put(data, "a/1 b/v-1/1 0\n")
    message = f"{data}: import_trials was done otherwise: list 1 has changed. Pass --overwrite true to do it anew"
    assert refuse("import_trials", "--from", "kaldi", path, data) == message
    succeed("import_trials", "--from", "kaldi", "--name", "trials_h", path, data)
    assert (data / "trials").read_text() == "a-1 a-2 target\n"
    assert (data / "trials_h").read_text() == "a-1 b-v~1-1 nontarget\n"


def test_a_drawn_list_is_not_replaced_unasked(data):
    succeed("make_trials", data)
    path = _put(data, "a/1 a/2 1\n")
    message = f"{data}/trials: is there, but import_trials did not make it; move it away, or pass --overwrite true to replace it"
    assert refuse("import_trials", "--from", "kaldi", path, data) == message


@pytest.mark.parametrize(
    "program, words, message",
    [
        ("import_trials", ["--from", "kaldi", "d"], "the following arguments are required: data"),
        ("import_trials", ["--from", "kaldi", "a", "b", "d"], "--from kaldi takes one list, 2 given"),
        ("import_trials", ["--from", "clients-impostors", "a", "d"], "--from clients-impostors takes two lists, 1 given"),
        ("import_trials", ["--from", "kaldi", "--drop", "unknown", "a", "d"], "argument --drop: missing, double can be left out, not 'unknown'"),
        ("export_trials", ["--to", "voxceleb", "d", "a", "b"], "--to voxceleb makes one list, 2 named"),
        ("export_trials", ["--to", "clients-impostors", "d", "a"], "--to clients-impostors makes two lists, 1 named"),
    ],
)
def test_wrong_command_lines_exit_with_2(program, words, message):
    done = call(program, *words)
    assert (done.status, done.out, done.err) == (2, "", f"{program}.py: {message}; see --help\n")


# ---- and back


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("voxceleb", ["0 b/v-1/1.wav a/1.wav\n1 a/1.wav a/2.wav\n1 a/2.wav a/1.wav\n"]),
        ("kaldi", ["b/v-1/1.wav a/1.wav nontarget\na/1.wav a/2.wav target\na/2.wav a/1.wav target\n"]),
        ("clients-impostors", ["a/1.wav a/2.wav\na/2.wav a/1.wav\n", "b/v-1/1.wav a/1.wav\n"]),
    ],
)
def test_lists_go_out_with_the_names_they_came_with_and_come_back(data, kind, expected):
    (data / "trials").write_text(TRIALS)
    lists = [data.parent / f"out{number}" for number in range(len(expected))]
    succeed("export_trials", "--to", kind, data, *lists)
    assert [path.read_text() for path in lists] == expected
    (data / "trials").unlink()
    succeed("import_trials", "--from", kind, *lists, data)
    assert sorted((data / "trials").read_text().splitlines()) == sorted(TRIALS.splitlines())


@pytest.mark.parametrize(
    "options, enrol",
    [
        (["--ext", "false"], "a/1"),
        (["--names", "id"], "a-1"),
        (["--root", "/corpus/a"], "1.wav"),
    ],
)
def test_names_are_those_asked_for(data, options, enrol):
    (data / "trials").write_text("a-1 a-2 target\n")
    for name in ("utt2spk", "spk2utt", "wav.scp", "utt2path"):
        (data / name).write_text("".join(line for line in (data / name).open() if not line.startswith("b")))
    succeed("export_trials", "--to", "voxceleb", *options, data, data.parent / "o")
    assert (data.parent / "o").read_text().split()[1] == enrol


def test_what_cannot_go_out_is_told_of(data, tmp_path):
    (data / "trials").write_text("a-1 c target\n")
    words = ["--to", "kaldi", data, tmp_path / "o"]
    assert refuse("export_trials", *words) == f"{data}/trials: 'c' is not in {data}/utt2spk"
    (data / "utt2path").write_text("a-1 a/1.wav\na-2 a/2 b.wav\nb-v~1-1 b\n")
    assert refuse("export_trials", *words) == f"{data}: 'a/2 b.wav': a path with a blank cannot stand in this kind of list; pass --names id"
    (data / "segments").write_text("a-1 r 0 1\na-2 r 1 2\nb-v~1-1 r 2 3\n")
    message = f"{data}/segments: utterances are pieces of recordings, and have no paths of their own; pass --names id"
    assert refuse("export_trials", *words) == message
    assert refuse("export_trials", "--name", "trials_x", *words) == f"{data}/trials_x: no such file"
    assert not os.path.exists(tmp_path / "o")


@pytest.mark.parametrize("corpus", ["an4", "speechocean762"])
def test_the_lists_of_real_corpora_come_back_byte_for_byte(tmp_path, corpora, corpus):
    trials = corpora / f"trials/{corpus}.trials"
    paths = sorted({path for line in trials.read_text().splitlines() for path in line.split()[:2]})
    (tmp_path / "l").write_text("".join(f"{path}\n" for path in paths))
    succeed("import_list", "--from", "files", "--root", corpora, "--spk-folder", "-1", tmp_path / "l", tmp_path / "d")
    succeed("validate_data_dir", tmp_path / "d")
    succeed("import_trials", "--from", "kaldi", trials, tmp_path / "d")
    enrols, _, labels = read_trials(tmp_path / "d/trials")
    assert (sum(labels), len(labels) - sum(labels)) == {"an4": (1181, 3543), "speechocean762": (2480, 7440)}[corpus]
    succeed("export_trials", "--to", "kaldi", tmp_path / "d", tmp_path / "o")
    assert (tmp_path / "o").read_bytes() == trials.read_bytes()
    assert "trials.dropped" not in files(tmp_path / "d")
