"""utils/import_list.py and export_list.py: lists of paths, `path label window`, CSV and JSON become data directories and come back."""

import csv
import json

import pytest
from data_dirs import call, files, refuse, succeed
from hypothesis import given, settings
from hypothesis import strategies as st

from pytorch.data.data_dir import REST, DataDir, read_table
from pytorch.data.ids import AUDIO_EXTENSIONS, stem_of

HOME = "/none"  # recordings that are not looked for


def put(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


def audio(folder, *paths):
    for path in paths:
        put((folder / path).parent, (folder / path).name, "x")
    return folder


def imported(tmp_path, kind, content, *options, out="d"):
    """Import a list whose recordings are not looked for -> {file: content} of the data directory"""
    path = put(tmp_path, f"list.{kind}", content)
    succeed("import_list", "--from", kind, "--check-files", "false", "--root", HOME, *options, path, tmp_path / out)
    return files(tmp_path / out)


def not_imported(tmp_path, kind, content, *options):
    """The line with which the import of a list ends, where the list is called L."""
    path = put(tmp_path, f"list.{kind}", content)
    message = refuse("import_list", "--from", kind, "--check-files", "false", "--root", HOME, *options, path, tmp_path / "d")
    assert not (tmp_path / "d/utt2spk").exists()
    return message.replace(str(path), "L")


# ---- a path a line


@pytest.mark.parametrize("ending", ["", ".wav"])
def test_paths_with_and_without_extension_name_the_same_recordings(tmp_path, ending):
    tables = imported(tmp_path, "files", f"id1/v-1/00001{ending}\n\nid2/v/00001{ending}\n", "--spk-folder", "1")
    assert tables == {
        "wav.scp": "id1-v~1-00001 /none/id1/v-1/00001.wav\nid2-v-00001 /none/id2/v/00001.wav\n",
        "utt2spk": "id1-v~1-00001 id1\nid2-v-00001 id2\n",
        "spk2utt": "id1 id1-v~1-00001\nid2 id2-v-00001\n",
        "utt2path": f"id1-v~1-00001 id1/v-1/00001{ending}\nid2-v-00001 id2/v/00001{ending}\n",
    }
    succeed("validate_data_dir", "--check-files", "false", tmp_path / "d")


def test_paths_may_have_blanks_and_any_letters(tmp_path):
    tables = imported(tmp_path, "files", "Anna Blüm/1 a.flac\n", "--spk-folder", "-1")
    assert tables["wav.scp"] == "Anna=20Blüm-1=20a /none/Anna Blüm/1 a.flac\n"
    assert tables["utt2path"] == "Anna=20Blüm-1=20a Anna Blüm/1 a.flac\n"
    assert tables["spk2name"] == "Anna=20Blüm Anna Blüm\n"


def test_utterances_of_unknown_speakers_are_their_own(tmp_path):
    assert imported(tmp_path, "files", "b.wav\na.wav\n")["utt2spk"] == "a a\nb b\n"


def test_ids_of_absolute_paths_begin_below_the_root(tmp_path):
    tables = imported(tmp_path, "files", "/none/a/1.wav\n/none/./b//2.wav\n/elsewhere/3.wav\nc/4.wav\n")
    assert tables["wav.scp"] == "=2Felsewhere-3 /elsewhere/3.wav\na-1 /none/a/1.wav\nb-2 /none/b/2.wav\nc-4 /none/c/4.wav\n"


@pytest.mark.parametrize("extension", ["m4a", ".m4a"])
def test_another_extension_can_be_named(tmp_path, extension):
    assert imported(tmp_path, "files", "a/1\na/2.wav\n", "--ext", extension)["wav.scp"] == "a-1 /none/a/1.m4a\na-2 /none/a/2.wav\n"


def test_byte_order_marks_and_windows_line_endings_do_no_harm(tmp_path):
    assert imported(tmp_path, "files", "\ufeffa.wav\r\nb.wav\r\n")["utt2spk"] == "a a\nb b\n"


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "L: no entry in it"),
        ("\n \n", "L: no entry in it"),
        ("a.wav\nb.wav", "L:2: the last line lacks its newline, the list may be cut off; if it is whole, add one with: echo >> L"),
        (b"a.wav\n\xff.wav\n", "L: not a text file (byte 6 is not UTF-8)"),
        ("a.wav\n./a.wav\n", "L:2: 'a.wav' stands in line 1 too; keep one of them, or pass --drop double"),
        ("a.wav\nb.wav\na\nb\na\n", "L:3: 'a' stands in line 1 too (and 2 more); keep one of them, or pass --drop double"),
        ("a.wav\na.flac\n", "L:2: 'a.flac' and 'a.wav' (line 1) would both be 'a'; keep one of them"),
        ("sph2pipe a.sph |\n", "L:1: 'sph2pipe a.sph |' is a command, not a path; write a wav.scp for it by hand"),
        ("a.wav\nb\x00.wav\n", "L:2: the control character U+0000; remove it, the list may be damaged"),
        ("a.wav\rb.wav\r", "L:1: the control character U+000D; remove it, the list may be damaged"),
        (".\n", "L:1: '.' is no path"),
    ],
)
def test_broken_lists_are_refused_with_their_line(tmp_path, content, message):
    assert not_imported(tmp_path, "files", content) == message


def test_a_folder_that_is_not_there_cannot_be_the_speaker(tmp_path):
    assert not_imported(tmp_path, "files", "a/b/1.wav\n2.wav\n", "--spk-folder", "1") == "L:2: '2.wav' has 0 folders, so no speaker by --spk-folder 1"
    assert not_imported(tmp_path, "files", "a/1.wav\n", "--spk-folder", "-2") == "L:1: 'a/1.wav' has 1 folders, so no speaker by --spk-folder -2"


# ---- recordings that are not there


def test_missing_recordings_are_named_and_may_be_left_out(tmp_path):
    root, path = audio(tmp_path / "audio", "a.wav"), put(tmp_path, "l", "a\nb\nc\n")
    options = ["--from", "files", "--root", root, path, tmp_path / "d"]
    remedy = "say where the recordings are (--root, --ext), or pass --drop missing"
    assert refuse("import_list", *options) == f"{path}:2: {root}/b.wav: no such file (and 1 more); {remedy}"
    out = succeed("import_list", "--drop", "missing,double", *options)
    assert out.endswith(f"import_list: left out, see {tmp_path}/d/import_list.dropped: 2 missing\n")
    assert files(tmp_path / "d")["utt2spk"] == "a a\n"
    dropped = f"missing {path}:2: {root}/b.wav: no such file\nmissing {path}:3: {root}/c.wav: no such file\n"
    assert files(tmp_path / "d")["import_list.dropped"] == dropped
    (root / "a.wav").unlink()
    message = f"{path}: no entry of it is left, all were left out by --drop"
    assert refuse("import_list", "--overwrite", "true", "--drop", "missing", *options) == message


# ---- path label window

WHOLE_AMONG_PIECES = (
    "L:1: 'a' has no start and end, though others have; "
    "give all, or none, or split the list in two, whole recordings (window -1) and pieces, and import each by itself"
)
TRAINING_LIST = "x/2.wav 0 -1\nx/1.wav 0 3\nx/1.wav 0 0\nx/1.wav 0 -1\ny/b c 1 12\n"  # as DeepSpeakerVGG has them


def test_labels_become_speakers_or_tables(tmp_path):
    content = "x/2.wav 0 -1\nx/1.wav 0 -1\ny/b c 1 -1\n"
    tables = imported(tmp_path, "labels", content, "--label-as", "spk")
    assert tables["utt2spk"] == "0--x-1 0\n0--x-2 0\n1--y-b=20c 1\n"
    tables = imported(tmp_path, "labels", content, "--label-as", "age", "--spk-folder", "1", out="e")
    assert tables["utt2spk"] == "x-1 x\nx-2 x\ny-b=20c y\n"
    assert tables["utt2age"] == "x-1 0\nx-2 0\ny-b=20c 1\n"


def test_windows_become_segments(tmp_path):
    tables = imported(tmp_path, "labels", "x/1 7 0\nx/1 7 3\n", "--label-as", "spk")
    assert tables == {
        "segments": "7--x-1-00000000-00003500 x-1 0.0 3.5\n7--x-1-00001500-00005000 x-1 1.5 5.0\n",
        "utt2spk": "7--x-1-00000000-00003500 7\n7--x-1-00001500-00005000 7\n",
        "spk2utt": "7 7--x-1-00000000-00003500 7--x-1-00001500-00005000\n",
        "wav.scp": "x-1 /none/x/1.wav\n",
        "reco2path": "x-1 x/1\n",
    }
    tables = imported(tmp_path, "labels", "x/1 7 1\n", "--label-as", "label", "--window-sec", "0.25", out="e")
    assert tables["segments"] == "x-1-00000500-00000750 x-1 0.5 0.75\n"
    assert tables["utt2label"] == "x-1-00000500-00000750 7\n"


def test_windows_become_numbers_of_as_many_utterances_where_asked(tmp_path):
    tables = imported(tmp_path, "labels", TRAINING_LIST, "--label-as", "spk", "--window-as", "utt2window")
    assert tables == {
        "utt2window": "0--x-1 -1\n0--x-1-w00000 0\n0--x-1-w00003 3\n0--x-2 -1\n1--y-b=20c-w00012 12\n",
        "utt2spk": "0--x-1 0\n0--x-1-w00000 0\n0--x-1-w00003 0\n0--x-2 0\n1--y-b=20c-w00012 1\n",
        "spk2utt": "0 0--x-1 0--x-1-w00000 0--x-1-w00003 0--x-2\n1 1--y-b=20c-w00012\n",
        "wav.scp": "".join(
            f"{utt} /none/{path}.wav\n"
            for utt, path in [("0--x-1", "x/1"), ("0--x-1-w00000", "x/1"), ("0--x-1-w00003", "x/1"), ("0--x-2", "x/2"), ("1--y-b=20c-w00012", "y/b c")]
        ),
        "utt2path": "0--x-1 x/1.wav\n0--x-1-w00000 x/1.wav\n0--x-1-w00003 x/1.wav\n0--x-2 x/2.wav\n1--y-b=20c-w00012 y/b c\n",
    }
    succeed("validate_data_dir", "--check-files", "false", tmp_path / "d")
    tables = imported(tmp_path, "labels", "x/1 30 007\nx/1 30 1\n", "--label-as", "age", "--spk-folder", "1", "--window-as", "utt2window", out="e")
    assert tables["utt2window"] == "x-1-w00001 1\nx-1-w00007 7\n"
    assert tables["utt2age"] == "x-1-w00001 30\nx-1-w00007 30\n"


@pytest.mark.parametrize(
    "content, message",
    [
        ("a 0\n", "L:1: `path label window` expected, with -1 or the number of a window, not 'a 0'"),
        ("a 0 -1\nb 0 -2\n", "L:2: `path label window` expected, with -1 or the number of a window, not 'b 0 -2'"),
        ("a 0 x\n", "L:1: `path label window` expected, with -1 or the number of a window, not 'a 0 x'"),
        ("a 0 -1\nb 1 2\n", WHOLE_AMONG_PIECES),
        ("a 0 -1\nb 1 -1\na 1 -1\n", "L:3: 'a' stands in line 1 too, and there otherwise; keep one of them"),
        ("a 0 -1\nb ? -1\n", "L:2: 'b' has no speaker, though others have; complete the list, or pass --drop unknown"),
    ],
)
def test_broken_label_lists_are_refused_with_their_line(tmp_path, content, message):
    assert not_imported(tmp_path, "labels", content, "--label-as", "spk") == message


@pytest.mark.parametrize(
    "content, message",
    [
        ("a 0 -2\n", "L:1: `path label window` expected, with -1 or the number of a window, not 'a 0 -2'"),
        ("a 0 1\nb 0 1\na.wav 0 01\n", "L:3: 'a.wav' stands in line 1 too; keep one of them, or pass --drop double"),
        ("a 0 1\na 0 2\na 1 1\n", "L:3: 'a' stands in line 1 too, and there otherwise; keep one of them"),
        ("a 0 1\na/w00001 0 -1\n", "L:2: 'a/w00001' and 'a' (line 1) would both be '0--a-w00001'; keep one of them"),
    ],
)
def test_broken_lists_of_numbered_windows_are_refused_with_their_line(tmp_path, content, message):
    assert not_imported(tmp_path, "labels", content, "--label-as", "spk", "--window-as", "utt2window") == message


# ---- CSV


@pytest.mark.parametrize("column", ["file_name", "filename"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_is_read_with_either_name_of_the_column_and_any_delimiter(tmp_path, column, delimiter):
    content = f'{column},label\ntrain_0001.wav,7\n"train 2.wav",3\n'.replace(",", delimiter)
    tables = imported(tmp_path, "csv", content, "--label-as", "kss")
    assert tables["utt2kss"] == "train=202 3\ntrain_0001 7\n"
    assert tables["utt2spk"] == "train=202 train=202\ntrain_0001 train_0001\n"


SLEEPINESS = "file_name,label\ntrain_0001.wav,7\ntrain_0002.wav,3\ndevel_0001.wav,1\ntest_0001.wav,?\ntest_0002.wav,?\n"


def test_sets_are_told_by_the_beginning_of_file_names_and_unknown_labels_are_not_written(tmp_path):
    path = put(tmp_path, "labels.csv", SLEEPINESS)
    options = ["--label-as", "label", "--set-prefixes", "train,dev,test", "--check-files", "false"]
    out = succeed("import_list", "--from", "csv", *options, path, tmp_path / "d")
    assert (
        "d/test: 2 utterances of 2 speakers; utt2path, utt2spk, wav.scp; speakers are unknown, each utterance is its own; utt2label is unknown for all" in out
    )
    assert files(tmp_path / "d/train")["utt2label"] == "train_0001 7\ntrain_0002 3\n"
    assert files(tmp_path / "d/dev")["utt2label"] == "devel_0001 1\n"
    assert files(tmp_path / "d/test").keys() == {"utt2spk", "spk2utt", "utt2path", "wav.scp"}


@pytest.mark.parametrize(
    "prefixes, message",
    [
        ("train,dev", "L:5: the file name of 'test_0001.wav' begins with no set of --set-prefixes; it must be one"),
        ("train,dev,devel,test", "L:4: the file name of 'devel_0001.wav' begins with dev and devel of --set-prefixes; it must be one"),
    ],
)
def test_a_file_must_be_of_one_set(tmp_path, prefixes, message):
    assert not_imported(tmp_path, "csv", SLEEPINESS, "--label-as", "label", "--set-prefixes", prefixes) == message


def test_sets_are_told_by_a_column(tmp_path):
    imported(tmp_path, "csv", "path,split,spk\na.wav,train,x\nb.wav,test,y\n", "--set-column", "split")
    assert files(tmp_path / "d/train")["utt2spk"] == "x--a x\n"
    assert files(tmp_path / "d/test")["utt2spk"] == "y--b y\n"
    message = not_imported(tmp_path / "e", "csv", "path,split\na.wav,train\nb.wav,../x\n", "--set-column", "split")
    assert message == "L:3: '../x' cannot be the name of a data directory"
    message = not_imported(tmp_path / "e", "csv", "path,split\na.wav,train\nb.wav,\n", "--set-column", "split")
    assert message == "L:3: '?' cannot be the name of a data directory"


def test_some_unknown_labels_are_left_out_where_that_is_allowed(tmp_path):
    content = "filename,label,sex\na.wav,7,f\nb.wav,?,f\nc.wav,,m\nd.wav,1,?\n"
    options = ["--label-as", "label", "--columns", "spk2gender=sex"]
    message = "L:5: 'd.wav' has no spk2gender, though others have; complete the list, or pass --drop unknown"
    assert not_imported(tmp_path, "csv", content, *options) == message
    assert imported(tmp_path, "csv", content, *options, "--drop", "unknown")["utt2label"] == "a 7\n"
    assert len(files(tmp_path / "d")["import_list.dropped"].splitlines()) == 3


def test_columns_of_tables_are_taken_by_their_own_name_and_others_are_told_of(tmp_path):
    path = put(tmp_path, "l", "path,spk,utt2age,spk2gender,note,utt2spk\na.wav,x,20,m,n,q\nb.wav,x,30,m,,q\n")
    out = succeed("import_list", "--from", "csv", "--check-files", "false", path, tmp_path / "d")
    assert out.endswith("import_list: columns not used: note, utt2spk\n")
    tables = files(tmp_path / "d")
    assert (tables["utt2age"], tables["spk2gender"]) == ("x--a 20\nx--b 30\n", "x m\n")


def test_start_and_end_make_segments(tmp_path):
    tables = imported(tmp_path, "csv", "wav,spk,start,stop\na.wav,x,0.5,1.25\na.wav,y,1,2\n")
    assert tables["segments"] == "x--a-00000500-00001250 a 0.5 1.25\ny--a-00001000-00002000 a 1.0 2.0\n"


def test_speechbrains_csv_of_samples_is_understood(tmp_path):
    rows = ("ID,duration,wav,start,stop,spk_id", "id1--v--1_0_3,5,$data_root/id1/v/1.wav,0,48000,id1", "id1--v--1_3_5,5,$data_root/id1/v/1.wav,48000,80000,id1")
    content = "\n".join(rows) + "\n"
    message = "L:2: from 0 to 48000: if these are samples, say at which rate with --times-hz; --times-hz 1 if seconds"
    assert not_imported(tmp_path, "csv", content) == message
    tables = imported(tmp_path, "csv", content, "--times-hz", "16000")
    assert tables["segments"] == "id1--v--1_0_3 id1-v-1 0.0 3.0\nid1--v--1_3_5 id1-v-1 3.0 5.0\n"
    assert tables["wav.scp"] == "id1-v-1 /none/id1/v/1.wav\n"


@pytest.mark.parametrize(
    "content, options, message",
    [
        ("file_name,spk\n", [], "L: no entry in it, only a header"),
        (
            "name,label\na,1\n",
            [],
            "L:1: no column file_name or filename or audio_filepath or wav or path or file; name the one of the paths with --columns path=…",
        ),
        ("path,file\na,b\n", [], "L:1: 'path' and 'file' could both be the path; say which with --columns path=…"),
        ("path,path\na,b\n", [], "L:1: two columns have one name: path, path"),
        ("path,label\na,1\n", [], "L:1: there are labels ('label'); say what they are with --label-as spk, label, age, …"),
        ("path,label,spk\na,1,2\n", ["--label-as", "spk"], "L:1: both 'label' and 'spk' would be the speaker; take another --label-as"),
        ("path,spk\na,1\nb\n", [], "L:3: 1 columns, 2 in the header"),
        ("path,spk\na,1\n,1\n", [], "L:3: no path in column 'path'"),
        ('path,spk\na,1\n"b,1\n', [], "L:3: not CSV (unexpected end of data)"),
        ("path\na\n", ["--set-column", "set"], "L:1: no column 'set' for the set; there are: path"),
        ("path\na\n", ["--columns", "spk=who"], "L:1: no column 'who' for the spk; there are: path"),
        ("path,sex,spk\na,f,x\nb,m,x\n", ["--columns", "spk2gender=sex"], "L:3: spk2gender of speaker 'x' is 'm' here and 'f' in line 2; correct one"),
        ("path,start,end\na,1,x\n", [], "L:2: a time expected, not 'x'"),
        ("path,start,end\na,1,nan\n", [], "L:2: a time expected, not 'nan'"),
        ("path,start,end\na,2,1\n", [], "L:2: from 2 to 1 s; 0 <= start < end is needed"),
        ("path,start,end\na,-1,1\n", [], "L:2: from -1 to 1 s; 0 <= start < end is needed"),
        ("path,start,end\na,1,1\n", [], "L:2: 'a' from 1.0 to 1.0 s is empty; remove it, or pass --drop empty"),
        ("path,start\na,1\n", [], "L:2: a start without an end or a duration"),
        ("path,end\na,1\n", [], "L:2: an end without a start"),
        ("path,spk2gender\na,female\n", [], "L:2: spk2gender of 'a': m or f expected, not 'female'"),
        ("path,label\na,very tired\n", ["--label-as", "label"], "L:2: utt2label of 'a': one word expected, not 'very tired'"),
        ("path,label\na,old\n", ["--label-as", "age"], "L:2: utt2age of 'a': a number, 0 or more, expected, not 'old'"),
        ("path,set\na.wav,x\na.wav,y\n", ["--set-column", "set"], "L:3: 'a.wav' stands in line 2 too, and there otherwise; keep one of them"),
    ],
)
def test_broken_csv_is_refused_with_its_line(tmp_path, content, options, message):
    assert not_imported(tmp_path, "csv", content, *options) == message


# ---- JSON


def test_nemos_manifest_is_understood(tmp_path):
    rows = [
        {"audio_filepath": "/none/b/2.wav", "offset": 0.5, "duration": 2.25, "label": "anna", "text": "-"},
        {"audio_filepath": "a.wav", "offset": 0, "duration": 1, "label": 3},
    ]
    content = "".join(json.dumps(row) + "\n" for row in rows)
    tables = imported(tmp_path, "json", content, "--label-as", "spk")
    assert tables["segments"] == "3--a-00000000-00001000 a 0.0 1.0\nanna--b-2-00000500-00002750 b-2 0.5 2.75\n"
    assert tables["reco2path"] == "a a.wav\nb-2 b/2.wav\n"


@pytest.mark.parametrize("name", ["spk", "speaker"])
def test_wespeakers_list_keeps_its_keys_where_they_can_be_ids(tmp_path, name):
    content = f'{{"key": "id1-v--1", "wav": "/x/1.wav", "{name}": "id1"}}\n{{"key": "id2-a", "wav": "/x/2.wav", "{name}": "id2"}}\n'
    assert imported(tmp_path, "json", content)["utt2spk"] == "id1-v--1 id1\nid2-a id2\n"
    content = content.replace("id1-v--1", "id1/v/1.wav")
    assert imported(tmp_path, "json", content, out="e")["utt2spk"] == "id1-v-1 id1\nid2--id2~a id2\n"


@pytest.mark.parametrize(
    "keys, speakers",
    [
        (("a-1", "b-1"), ("b", "a")),  # do not begin with their speaker
        (("a-1", "a-b-1", "a-c"), ("a", "a-b", "a")),  # do not sort by speaker
        (("a b", "c"), (None, None)),
        (("a/b", "c"), (None, None)),
    ],
)
def test_keys_that_cannot_be_ids_are_made_into_some_all_alike(tmp_path, keys, speakers):
    content = "".join(json.dumps({"id": key, "path": f"{key}.wav", "spk": spk}) + "\n" for key, spk in zip(keys, speakers, strict=True))
    imported(tmp_path, "json", content)
    data = DataDir(tmp_path / "d")
    assert not set(keys) & set(data.utt2spk) - {"c"}
    succeed("validate_data_dir", "--check-files", "false", tmp_path / "d")


def test_speechbrains_object_of_objects_and_an_array_are_understood(tmp_path):
    rows = {"spk1-u1": {"wav": "{data_root}/u1.wav", "length": 2.5, "spk_id": "spk1"}, "spk2-u2": {"wav": "{data_root}/u2.wav", "length": 1, "spk_id": "spk2"}}
    tables = imported(tmp_path, "json", json.dumps(rows, indent=1))
    assert tables["wav.scp"] == "spk1-u1 /none/u1.wav\nspk2-u2 /none/u2.wav\n"
    assert tables["utt2spk"] == "spk1-u1 spk1\nspk2-u2 spk2\n"
    array = json.dumps([{"id": key, **row} for key, row in rows.items()])
    assert imported(tmp_path, "json", array, out="e") == tables


@pytest.mark.parametrize(
    "content, message",
    [
        ("{}\n", "L:1: no column file_name or filename or audio_filepath or wav or path or file; name the one of the paths with --columns path=…"),
        ("[]", "L: no entry in it"),
        ('{"wav": "a"}\n{"wav": "b"', "L:2: not JSON (Expecting ',' delimiter: line 1 column 12 (char 11)): '{\"wav\": \"b\"'"),
        ('{"wav": "a"}\n3\n', 'L:2: an object expected, as in {"audio_filepath": …}'),
        ('["a"]', 'L: entry 1: an object expected, as in {"audio_filepath": …}'),
        ('{"wav": ["a"]}\n', "L:1: 'wav' is no single value"),
        ('{"wav": "a\\ud800"}\n', "L:1: 'a\\ud800' is no path"),
        ('{"wav": "a\\u0007"}\n', "L:1: 'a\\x07' is no path"),
        ('{"wav": "a\\nb"}\n', "L:1: 'a\\nb' is no path"),
        ('{"x": {"wav": "a"}, "x": {"wav": "b"}}', "L: 'x' stands twice in one object; keep one"),
        ('{"x": {"wav": "a"}, "y": {"wav": "a"}}', "L: entry 'y': 'a' stands in entry 'x' too, and there otherwise; keep one of them"),
        ('{"wav": "a", "offset": 1}\n', "L:1: a start without an end or a duration"),
        ('{"wav": "a", "spk": "x"}\n{"wav": "b", "spk": null}\n', "L:2: 'b' has no speaker, though others have; complete the list, or pass --drop unknown"),
    ],
)
def test_broken_json_is_refused_with_its_place(tmp_path, content, message):
    assert not_imported(tmp_path, "json", content) == message


# ---- what holds of all kinds


@pytest.fixture
def lists(tmp_path):
    """A list of two recordings that are there, and how to import it."""
    audio(tmp_path / "audio", "a/1.wav", "b/1.wav")
    path = put(tmp_path, "l", "a/1\nb/1\n")
    return ["--from", "files", "--root", tmp_path / "audio", path, tmp_path / "d"]


def test_an_import_is_done_once(lists, tmp_path):
    first = succeed("import_list", *lists)
    assert first == f"import_list: {tmp_path}/d: 2 utterances of 2 speakers; utt2path, utt2spk, wav.scp; speakers are unknown, each utterance is its own\n"
    before = (tmp_path / "d/utt2spk").stat().st_mtime_ns
    assert succeed("import_list", *lists) == f"import_list: {tmp_path}/d is there\n"
    assert (tmp_path / "d/utt2spk").stat().st_mtime_ns == before
    succeed("validate_data_dir", tmp_path / "d")


def test_other_options_lists_and_recordings_stop_it_and_overwrite_leaves_nothing_behind(lists, tmp_path):
    succeed("import_list", *lists)
    message = f"{tmp_path}/d: import_list was done otherwise: {{}}. Pass --overwrite true to do it anew"
    assert refuse("import_list", "--spk-folder", "1", *lists) == message.format("--spk-folder was unset, now 1")
    put(tmp_path / "audio/a", "1.wav", "longer")
    assert refuse("import_list", *lists) == message.format("the audio has changed")
    put(tmp_path, "l", "a/1\n")
    assert refuse("import_list", *lists) == message.format("the audio has changed; the list has changed")
    assert refuse("import_list", "--from", "json", *lists[2:]).startswith(f"{tmp_path}/l:1: not JSON")
    put(tmp_path, "l", "a/1 x 0\n")
    words = ["--from", "labels", "--label-as", "spk", *lists[2:]]
    succeed("import_list", "--overwrite", "true", *words)
    assert files(tmp_path / "d").keys() == {"segments", "spk2utt", "utt2spk", "wav.scp", "reco2path"}


def test_a_directory_of_somebody_else_is_left_alone(lists, tmp_path):
    put(tmp_path / "d", "utt2spk", "x y\n")
    message = f"{tmp_path}/d/utt2spk: is there, but import_list did not make it; move it away, or pass --overwrite true to replace it"
    assert refuse("import_list", *lists) == message
    assert files(tmp_path / "d") == {"utt2spk": "x y\n"}


def test_a_list_that_is_not_there_is_told_of(tmp_path):
    assert refuse("import_list", "--from", "files", tmp_path / "l", tmp_path / "d") == f"{tmp_path}/l: no such file"


@pytest.mark.parametrize(
    "words, message",
    [
        (["l", "d"], "the following arguments are required: --from"),
        (["--from", "labels", "l", "d"], "--label-as is needed with --from labels: spk, label, age, …"),
        (["--from", "files", "--label-as", "spk", "l", "d"], "--label-as goes with --from labels and csv and json, not files"),
        (["--from", "json", "--window-sec", "2", "l", "d"], "--window-sec goes with --from labels, not json"),
        (["--from", "csv", "--window-as", "segments", "l", "d"], "--window-as goes with --from labels, not csv"),
        (
            ["--from", "labels", "--label-as", "spk", "--window-as", "utt2window", "--window-sec", "2", "l", "d"],
            "--window-sec goes with --window-as segments; the length of crops is a matter of the training",
        ),
        (["--from", "csv", "--uem", "u", "l", "d"], "--uem goes with --from rttm, not csv"),
        (["--from", "csv", "--set-column", "a", "--set-prefixes", "b", "l", "d"], "--set-column and --set-prefixes do not go together"),
        (["--from", "files", "--ext", "", "l", "d"], "argument --ext: an extension as .wav expected, not ''"),
        (["--from", "labels", "--label-as", "path", "l", "d"], "argument --label-as: utt2path is not made of lists"),
        (["--from", "labels", "--label-as", "A/b", "l", "d"], "argument --label-as: spk, label, age or the like expected, not 'A/b'"),
        (
            ["--from", "csv", "--columns", "sex", "l", "d"],
            "argument --columns: what=column,… expected with path, id, spk, label, start, end, duration, utt2X or spk2X for what, not 'sex'",
        ),
        (["--from", "files", "--set-prefixes", "a,../b", "l", "d"], "argument --set-prefixes: names with commas between them expected, not '../b'"),
        (["--from", "files", "--drop", "all", "l", "d"], "argument --drop: missing, unknown, double, empty can be left out, not 'all'"),
    ],
)
def test_wrong_command_lines_exit_with_2(words, message):
    done = call("import_list", *words)
    assert (done.status, done.out, done.err) == (2, "", f"import_list.py: {message}; see --help\n")


# ---- and back


def exported(kind, data, *options):
    path = data.parent / f"out.{kind}"
    succeed("export_list", "--to", kind, "--overwrite", "true", *options, data, path)
    return path.read_text()


LABELS = "x/2 0 -1\nx/1.wav 0 -1\ny/b c 1 -1\nz 2 -1\n"


def test_label_lists_come_back_as_they_were(tmp_path):
    imported(tmp_path, "labels", LABELS, "--label-as", "spk")
    assert sorted(exported("labels", tmp_path / "d").splitlines()) == sorted(LABELS.splitlines())
    assert not (tmp_path / "out.labels.classes").exists()
    windows = "x/1 0 0\nx/1 0 11\ny/1 1 2\n"
    imported(tmp_path, "labels", windows, "--label-as", "age", "--window-sec", "2", out="e")
    assert exported("labels", tmp_path / "e", "--label-as", "age") == windows
    imported(tmp_path, "labels", TRAINING_LIST, "--label-as", "spk", "--window-as", "utt2window", out="f")
    assert sorted(exported("labels", tmp_path / "f").splitlines()) == sorted(TRAINING_LIST.splitlines())


def test_file_lists_come_back_with_or_without_root_and_extension(tmp_path):
    imported(tmp_path, "files", "x/2\nx/1.flac\n")
    assert exported("files", tmp_path / "d") == "x/1.flac\nx/2\n"
    assert exported("files", tmp_path / "d", "--ext", "true") == "x/1.flac\nx/2.wav\n"
    assert exported("files", tmp_path / "d", "--ext", "false") == "x/1\nx/2\n"
    assert exported("files", tmp_path / "d", "--root", "/") == "none/x/1.flac\nnone/x/2.wav\n"
    (tmp_path / "d/utt2path").unlink()
    assert exported("files", tmp_path / "d") == "/none/x/1.flac\n/none/x/2.wav\n"
    message = f"{tmp_path}/d/wav.scp:1: /none/x/1.flac is not below --root /no"
    assert refuse("export_list", "--to", "files", "--root", "/no", tmp_path / "d", tmp_path / "o") == message


def test_labels_of_other_names_are_numbered_and_the_numbers_kept(tmp_path):
    imported(tmp_path, "csv", "path,label,spk\na,10,anna\nb,9,bert\nc,10,carl\n", "--label-as", "age")
    assert exported("labels", tmp_path / "d", "--label-as", "age") == "a 1 -1\nb 0 -1\nc 1 -1\n"
    assert (tmp_path / "out.labels.classes").read_text() == "9 0\n10 1\n"
    assert exported("labels", tmp_path / "d") == "a 0 -1\nb 1 -1\nc 2 -1\n"
    assert (tmp_path / "out.labels.classes").read_text() == "anna 0\nbert 1\ncarl 2\n"


def test_csv_comes_back_with_all_tables_and_gives_the_same_data_directory(tmp_path):
    content = 'path,spk,utt2age,spk2gender,start,end\n"a, b.wav",Anna-1,20,f,0,1.5\nc.wav,Anna-1,21,f,1,2\nc.wav,é,30,m,2,3\n'
    tables = imported(tmp_path, "csv", content)
    text = exported("csv", tmp_path / "d")
    rows = list(csv.DictReader(text.splitlines()))
    assert [(row["file_name"], row["spk"], row["utt2age"], row["spk2gender"], row["start"], row["end"]) for row in rows] == [
        ("a, b.wav", "Anna-1", "20", "f", "0.0", "1.5"),
        ("c.wav", "Anna-1", "21", "f", "1.0", "2.0"),
        ("c.wav", "é", "30", "m", "2.0", "3.0"),
    ]
    (tmp_path / "list.csv").write_text(text)
    again = imported(tmp_path, "csv", (tmp_path / "list.csv").read_text().replace("id,", "number,", 1), out="e")
    assert again == tables


def test_nemo_and_wespeaker_lists_are_json_that_comes_back(tmp_path):
    tables = imported(tmp_path, "csv", "path,spk,start,end\na.wav,x,0.5,1.25\nb.wav,y,1,2\n")
    rows = [json.loads(line) for line in exported("nemo", tmp_path / "d").splitlines()]
    assert rows == [
        {"audio_filepath": "a.wav", "offset": 0.5, "duration": 0.75, "label": "x"},
        {"audio_filepath": "b.wav", "offset": 1.0, "duration": 1.0, "label": "y"},
    ]
    assert imported(tmp_path, "json", exported("nemo", tmp_path / "d"), "--label-as", "spk", out="e") == tables
    message = f"{tmp_path}/d/segments: wespeaker's lists name whole recordings alone; cut the recordings first"
    assert refuse("export_list", "--to", "wespeaker", tmp_path / "d", tmp_path / "o") == message
    tables = imported(tmp_path, "csv", "path,spk\nx/ä.wav,x\ny/1.wav,y\n", out="f")
    text = exported("wespeaker", tmp_path / "f")
    assert [json.loads(line) for line in text.splitlines()] == [{"key": "x-ä", "wav": "x/ä.wav", "spk": "x"}, {"key": "y-1", "wav": "y/1.wav", "spk": "y"}]
    assert imported(tmp_path, "json", text, out="g") == tables


def test_whole_recordings_go_to_nemo_with_their_durations(tmp_path):
    imported(tmp_path, "files", "a\n")
    message = f"{tmp_path}/d/utt2dur: no such file; make it with utils/get_utt2dur.py {tmp_path}/d"
    assert refuse("export_list", "--to", "nemo", tmp_path / "d", tmp_path / "o") == message
    put(tmp_path / "d", "utt2dur", "a 2.5\n")
    assert json.loads(exported("nemo", tmp_path / "d")) == {"audio_filepath": "a", "duration": 2.5, "label": "a"}


@pytest.mark.parametrize("times", ["0.3 1.3", "0 1\nx r 0.5 2"])
def test_pieces_that_are_no_fixed_windows_cannot_be_label_lists(tmp_path, times):
    put(tmp_path / "d", "segments", f"w r {times}\n")
    put(tmp_path / "d", "wav.scp", "r /r.wav\n")
    put(tmp_path / "d", "utt2spk", "".join(f"{line.split()[0]} s\n" for line in (tmp_path / "d/segments").read_text().splitlines()))
    message = refuse("export_list", "--to", "labels", tmp_path / "d", tmp_path / "o")
    assert message.endswith(": `path label window` knows windows of one length at multiples of 0.5 s alone")
    assert message.startswith(f"{tmp_path}/d/segments:{1 if len(times) < 9 else 2}: ")


@pytest.mark.parametrize("entry", ["sox a.wav -t wav - |", "wav.1.ark:123"])
def test_what_is_no_file_cannot_be_listed(tmp_path, entry):
    put(tmp_path / "d", "wav.scp", f"a {entry}\n")
    put(tmp_path / "d", "utt2spk", "a a\n")
    message = f"{tmp_path}/d/wav.scp:1: 'a' is no file of its own: {entry}; a list of paths cannot name it"
    assert refuse("export_list", "--to", "files", tmp_path / "d", tmp_path / "o") == message


def test_a_list_is_written_once_and_another_one_left_alone(tmp_path):
    imported(tmp_path, "files", "a\nb\n")
    words = ["--to", "files", tmp_path / "d", tmp_path / "o"]
    assert succeed("export_list", *words) == f"export_list: {tmp_path}/o has 2 utterances of {tmp_path}/d\n"
    assert succeed("export_list", *words) == f"export_list: {tmp_path}/o is there\n"
    put(tmp_path, "o", "other\n")
    message = f"{tmp_path}/o: is there, and is another list; move it away, or pass --overwrite true to replace it"
    assert refuse("export_list", *words) == message
    succeed("export_list", "--overwrite", "true", *words)
    assert (tmp_path / "o").read_text() == "a\nb\n"


NAME = st.text(st.sampled_from("ab-~=_. é,;\"'|$"), min_size=1, max_size=5).map(str.strip).filter(lambda text: text not in ("", ".", "..", "?"))
PATH = st.lists(NAME, min_size=1, max_size=3).map("/".join).filter(lambda path: not path.startswith("$") and not path.endswith("|"))
ROWS = st.lists(st.tuples(PATH, NAME), min_size=1, max_size=6, unique_by=lambda row: stem_of(row[0]))


@settings(max_examples=30, deadline=None)
@given(ROWS, st.sampled_from(["csv", "json"]))
def test_any_paths_and_speakers_make_a_valid_directory_that_gives_them_back(tmp_path_factory, rows, kind):
    tmp_path = tmp_path_factory.mktemp("t")
    if kind == "csv":
        with open(tmp_path / "rows", "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("path", "spk"), *rows])
    else:
        (tmp_path / "rows").write_text("".join(json.dumps({"path": path, "spk": spk}) + "\n" for path, spk in rows))
    succeed("import_list", "--from", kind, "--check-files", "false", tmp_path / "rows", tmp_path / "d")
    succeed("validate_data_dir", "--check-files", "false", tmp_path / "d")
    paths, names = read_table(tmp_path / "d/utt2path", REST), exported("csv", tmp_path / "d")
    assert sorted(paths.values()) == sorted(path for path, _ in rows)
    real = [(path if stem_of(path) != path else f"{path}.wav", spk) for path, spk in rows]
    assert sorted((row["file_name"], row["spk"]) for row in csv.DictReader(names.splitlines())) == sorted(real)


def test_extensions_of_audio_are_written_small_and_with_a_dot():
    assert all(ending == ending.lower() and ending.startswith(".") for ending in AUDIO_EXTENSIONS)
