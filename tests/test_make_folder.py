"""local/make_folder.py: a folder of recordings per speaker or per class becomes data directories."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytorch.data.data_dir import DataDir
from pytorch.data.ids import path_of

ROOT = Path(__file__).resolve().parents[1]
SETS = ("train", "valid", "test")
PEOPLE = tuple("anna bert carl dora emil fred gina hans ines jan".split())


def put(folder, *paths):
    """Files of a few bytes, each with its own content; what is listed is never opened."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path, encoding="utf-8", errors="surrogateescape")
    return folder


def people(folder, names=PEOPLE, number=3, below=""):
    return put(folder, *(f"{name}/{below}{take}.wav" for name in names for take in range(1, number + 1)))


def make(folder, out, *options):
    command = [sys.executable, ROOT / "local/make_folder.py", *options, folder, out]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


def made(folder, out, *options):
    result = make(folder, out, *options)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refused(folder, out, *options, status=1):
    """The one line with which the program ends."""
    result = make(folder, out, *options)
    assert result.returncode == status, result.stderr
    assert result.stderr.count("\n") == 1
    return result.stderr


def table(path):
    return dict(line.split(None, 1) for line in path.read_text(encoding="utf-8").splitlines())


def speakers(out):
    return {name: set(table(out / name / "utt2spk").values()) for name in SETS if (out / name / "utt2spk").exists()}


# ---- layouts


def test_each_recording_is_in_one_set_and_each_speaker_too(tmp_path, program):
    folder = people(tmp_path / "wavs")
    made(folder, tmp_path / "data")
    found = speakers(tmp_path / "data")
    assert [len(found[name]) for name in SETS] == [6, 2, 2]
    assert set().union(*found.values()) == set(PEOPLE)
    paths = [path.strip() for name in SETS for path in table(tmp_path / "data" / name / "wav.scp").values()]
    assert sorted(paths) == sorted(map(str, folder.rglob("*.wav")))
    for name in SETS:
        assert program("utils/validate_data_dir.py", tmp_path / "data" / name).returncode == 0


def test_the_speaker_is_the_first_folder_and_the_id_tells_the_path(tmp_path):
    folder = people(tmp_path / "wavs", below="deep/er/")
    made(folder, tmp_path / "data", "--valid", "0", "--test", "0")
    data = DataDir(tmp_path / "data/train")
    assert data.utt2spk["anna-deep-er-1"] == "anna"
    assert {utt: f"{folder}/{path_of(utt)}.wav" for utt in data.utt2spk} == data.wav_scp


def test_trials_are_of_the_speakers_of_their_set_and_say_the_truth(tmp_path):
    made(people(tmp_path / "wavs"), tmp_path / "data")
    for name in ("valid", "test"):
        utt2spk = table(tmp_path / "data" / name / "utt2spk")
        trials = [line.split() for line in (tmp_path / "data" / name / "trials").read_text().splitlines()]
        assert {label for _, _, label in trials} == {"target", "nontarget"}
        assert all((utt2spk[enrol] == utt2spk[test]) == (label == "target") for enrol, test, label in trials)
    assert not (tmp_path / "data/train/trials").exists()


def test_the_second_folder_is_a_session_and_target_trials_are_across_sessions(tmp_path):
    folder = put(tmp_path / "wavs", *(f"{name}/video {day}/{take}.m4a" for name in PEOPLE for day in (1, 2) for take in (1, 2)))
    made(folder, tmp_path / "data", "--layout", "spk/session")
    session = table(tmp_path / "data/test/utt2session")
    assert len(set(session.values())) == 2
    trials = [line.split() for line in (tmp_path / "data/test/trials").read_text().splitlines()]
    assert all(session[enrol] != session[test] for enrol, test, label in trials if label == "target")


def test_classes_are_divided_evenly_and_each_utterance_is_its_own_speaker(tmp_path):
    folder = put(tmp_path / "wavs", *(f"{kind}/{take}.wav" for kind, number in (("calm", 40), ("very-angry", 20)) for take in range(number)))
    said = made(folder, tmp_path / "data", "--layout", "class", "--label", "utt2mood")
    for name, numbers in (("train", (28, 14)), ("valid", (4, 2)), ("test", (8, 4))):
        labels = list(table(tmp_path / "data" / name / "utt2mood").values())
        assert (labels.count("calm"), labels.count("very-angry")) == numbers
        assert all(utt == spk for utt, spk in table(tmp_path / "data" / name / "utt2spk").items())
        assert not (tmp_path / "data" / name / "trials").exists()
    assert "12 utterances; 8 calm, 4 very-angry" in said


def test_speakers_of_several_classes_are_in_one_set_with_all_of_them(tmp_path, program):
    folder = put(tmp_path / "wavs", *(f"{mood}/{name}/{take}.wav" for mood in ("calm", "angry") for name in PEOPLE for take in (1, 2)))
    made(folder, tmp_path / "data", "--layout", "class/spk")
    found = speakers(tmp_path / "data")
    assert sum(map(len, found.values())) == len(set().union(*found.values())) == 10
    for name in SETS:
        assert set(table(tmp_path / "data" / name / "utt2label").values()) == {"calm", "angry"}
        assert program("utils/validate_data_dir.py", tmp_path / "data" / name).returncode == 0


def test_speakers_of_one_class_each_are_divided_by_class(tmp_path):
    folder = put(tmp_path / "wavs", *(f"{age}/{age}{number}/{take}.wav" for age in ("old", "young") for number in range(10) for take in (1, 2)))
    made(folder, tmp_path / "data", "--layout", "class/spk", "--label", "utt2group")
    for name, number in (("train", 7), ("valid", 1), ("test", 2)):
        labels = list(table(tmp_path / "data" / name / "utt2group").values())
        assert labels.count("old") == labels.count("young") == 2 * number


# ---- who is held out


def test_the_same_seed_chooses_the_same_speakers_and_another_others(tmp_path):
    folder = people(tmp_path / "wavs", [f"s{number:02d}" for number in range(40)], 2)
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        made(folder, tmp_path / out, "--seed", seed)
    assert speakers(tmp_path / "a") == speakers(tmp_path / "b") != speakers(tmp_path / "c")
    assert (tmp_path / "a/test/trials").read_bytes() == (tmp_path / "b/test/trials").read_bytes()


def test_a_new_speaker_moves_few_of_the_others(tmp_path):
    folder = people(tmp_path / "wavs", [f"s{number:02d}" for number in range(40)], 2)
    made(folder, tmp_path / "a")
    people(folder, ["zoe"], 2)
    made(folder, tmp_path / "b")
    before, after = speakers(tmp_path / "a"), speakers(tmp_path / "b")
    assert sum(len(before[name] - after[name]) for name in SETS) <= 4


def test_both_sexes_are_in_each_set(tmp_path):
    folder = people(tmp_path / "wavs", [f"s{number:02d}" for number in range(40)], 2)
    (folder / "spk2gender").write_text("".join(f"s{number:02d} {'f' if number < 10 else 'm'}\n" for number in range(40)))
    made(folder, tmp_path / "data")
    for name, women, men in (("train", 7, 21), ("valid", 1, 3), ("test", 2, 6)):
        sexes = list(table(tmp_path / "data" / name / "spk2gender").values())
        assert (sexes.count("f"), sexes.count("m")) == (women, men)


def test_numbers_and_lists_choose_as_they_say(tmp_path):
    folder = people(tmp_path / "wavs", (*PEOPLE, "jean paul", "anna-maria"))
    (tmp_path / "list").write_text("# to test with\njean paul\nanna-maria # the younger\ncarl\n")
    made(folder, tmp_path / "data", "--valid", "4", "--test", tmp_path / "list")
    assert speakers(tmp_path / "data")["test"] == {"jean=20paul", "anna~maria", "carl"}
    assert len(speakers(tmp_path / "data")["valid"]) == 4


def test_everything_can_be_for_one_set(tmp_path):
    folder = people(tmp_path / "wavs")
    made(folder, tmp_path / "a", "--valid", "0", "--test", "1.0")
    assert speakers(tmp_path / "a") == {"test": set(PEOPLE)}
    made(folder, tmp_path / "b", "--valid", "0", "--test", "0.0")
    assert speakers(tmp_path / "b") == {"train": set(PEOPLE)}


def test_target_trials_can_be_limited(tmp_path):
    made(people(tmp_path / "wavs", number=6), tmp_path / "data", "--num-targets", "7", "--nontargets-per-target", "3")
    labels = [line.split()[2] for line in (tmp_path / "data/test/trials").read_text().splitlines()]
    assert (labels.count("target"), labels.count("nontarget")) == (7, 21)


# ---- names


def test_names_with_blanks_and_of_any_script_become_ids_and_stay_paths(tmp_path, program):
    names = ("Ünal Öz", "anna", "anna maria", "anna-maria", "anna!", "愛", "100%", "a=20b", "e\u0301", "\u00e9")
    folder = people(tmp_path / "wavs", names, below="día 1/ä-")
    made(folder, tmp_path / "data")
    utts = [utt for name in SETS for utt in table(tmp_path / "data" / name / "utt2spk")]
    assert len(set(utts)) == 30
    assert {f"{folder}/{path_of(utt)}.wav" for utt in utts} == set(map(str, folder.rglob("*.wav")))
    for name in SETS:
        assert program("utils/validate_data_dir.py", tmp_path / "data" / name).returncode == 0


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cc", "Cs")), min_size=1, max_size=8), min_size=8, max_size=12, unique=True)
)
def test_any_names_are_divided_without_loss(tmp_path, names):
    for folder in ("wavs", "data"):
        shutil.rmtree(tmp_path / folder, ignore_errors=True)
    names = [name.replace(".", "·", 1) if name.startswith(".") else name for name in names]
    made(people(tmp_path / "wavs", names, 2), tmp_path / "data")
    data = [DataDir(tmp_path / "data" / name) for name in SETS]
    assert sorted(path for each in data for path in each.wav_scp.values()) == sorted(map(str, (tmp_path / "wavs").rglob("*.wav")))
    assert len({spk for each in data for spk in each.spk2utt}) == len(set(names))
    for each in data:
        assert list(each.utt2spk.values()) == sorted(each.utt2spk.values())


def test_the_sexes_are_found_by_the_folders_names_and_by_ids(tmp_path):
    folder = people(tmp_path / "wavs", (*PEOPLE, "jean paul", "jean-luc"))
    rows = dict.fromkeys(PEOPLE, "f") | {"jean=20paul": "m", "jean-luc": "m"}
    (tmp_path / "sexes").write_text("".join(f"{spk} {rows[spk]}\n" for spk in sorted(rows)))
    made(folder, tmp_path / "data", "--spk2gender", tmp_path / "sexes", "--valid", "0", "--test", "0")
    assert table(tmp_path / "data/train/spk2gender")["jean~luc"] == "m"


# ---- what is left out


def test_what_is_left_out_is_counted_and_listed(tmp_path):
    folder = people(tmp_path / "wavs")
    put(folder, "README", "anna/notes.txt", "anna/.DS_Store", "bert/._1.wav", ".git/x.wav", "cover.JPG", "few/1.wav", "few/2.wav")
    (folder / "nobody/nothing").mkdir(parents=True)
    said = made(folder, tmp_path / "data", "--min-utts", "3")
    listed = (tmp_path / "data/left_out.tsv").read_text().splitlines()
    assert listed == [
        "path\twhy",
        ".git\thidden",
        "README\tno ending",
        "anna/.DS_Store\thidden",
        "anna/notes.txt\t.txt",
        "bert/._1.wav\thidden",
        "cover.JPG\t.jpg",
        "few/1.wav\tof a speaker with fewer than 3",
        "few/2.wav\tof a speaker with fewer than 3",
        "nobody\tfolder without recordings",
    ]
    assert "left out: 3 hidden, 2 of a speaker with fewer than 3, " in said
    assert set().union(*speakers(tmp_path / "data").values()) == set(PEOPLE)


def test_capital_endings_count_and_others_can_be_named(tmp_path):
    folder = put(tmp_path / "wavs", *(f"{name}/{take}.SPH" for name in PEOPLE for take in (1, 2)))
    assert "no file of it ends in .flac .m4a .mp3 .ogg .opus .wav (left out: 20 .sph)" in refused(folder, tmp_path / "data")
    made(folder, tmp_path / "data", "--extensions", "sph,.wav")
    assert sum(len(table(tmp_path / "data" / name / "wav.scp")) for name in SETS) == 20


def test_a_linked_folder_is_a_speaker_like_any_other(tmp_path):
    folder = people(tmp_path / "wavs")
    (folder / "xena").symlink_to(people(tmp_path / "elsewhere", ["xena"]) / "xena")
    made(folder, tmp_path / "data", "--valid", "0", "--test", "0")
    assert table(tmp_path / "data/train/wav.scp")["xena-1"] == str(folder / "xena/1.wav")


# ---- mistakes, each in one line


@pytest.mark.parametrize("link, to", [("anna/again", ".."), ("zoe", "anna"), ("zoe/1.wav", "../anna/1.wav")])
def test_what_is_there_twice_by_a_link_is_refused(tmp_path, link, to):
    folder = people(tmp_path / "wavs")
    (folder / link).parent.mkdir(exist_ok=True)
    (folder / link).symlink_to(to)
    assert "once more, by a link; remove one of them" in refused(folder, tmp_path / "data")


def test_a_hard_link_under_another_speaker_is_refused(tmp_path):
    folder = people(tmp_path / "wavs")
    os.link(folder / "anna/1.wav", folder / "bert/9.wav")
    assert f"{folder}/bert/9.wav: is {folder}/anna/1.wav once more" in refused(folder, tmp_path / "data")


def test_two_endings_of_one_name_are_refused(tmp_path):
    folder = put(people(tmp_path / "wavs"), "anna/1.flac")
    assert "has its id, anna-1; remove one of them, or name one ending in --extensions" in refused(folder, tmp_path / "data")
    made(folder, tmp_path / "data", "--extensions", "wav")


def test_names_that_no_table_can_hold_are_refused(tmp_path):
    folder = put(people(tmp_path / "wavs"), "anna/a\nb.wav")
    assert "a line break, another control character or a byte that is not UTF-8 in the name; rename it" in refused(folder, tmp_path / "data")
    os.rename(folder / "anna/a\nb.wav", os.fsencode(folder) + b"/anna/\xff.wav")
    assert "a byte that is not UTF-8 in the name; rename it" in refused(folder, tmp_path / "data")
    os.rename(os.fsencode(folder) + b"/anna/\xff.wav", os.fsencode(folder) + b"/anna/\xff.t\tx")  # no recording: left out, and listed in one line
    made(folder, tmp_path / "data")
    assert (tmp_path / "data/left_out.tsv").read_text().splitlines()[1] == "anna/\\udcff.t\\tx\t.t\\tx"


def test_broken_files_are_refused(tmp_path):
    folder = people(tmp_path / "wavs")
    (folder / "anna/9.wav").symlink_to("nowhere.wav")
    assert "anna/9.wav: a link to nothing, or no file of bytes" in refused(folder, tmp_path / "data")
    (folder / "anna/9.wav").unlink()
    (folder / "anna/9.wav").touch()
    assert "anna/9.wav: an empty file; get it anew, or remove it" in refused(folder, tmp_path / "data")


@pytest.mark.parametrize(
    "layout, path, shape",
    [
        ("spk", "stray.wav", "<spk>/…"),
        ("spk/session", "anna/1.wav", "<spk>/<session>/…"),
        ("class", "1.wav", "<class>/…"),
        ("class/spk", "a/1.wav", "<class>/<spk>/…"),
    ],
)
def test_a_recording_above_its_level_is_refused(tmp_path, layout, path, shape):
    assert f"{shape} expected; move it, or choose another --layout" in refused(put(tmp_path / "wavs", path), tmp_path / "data", "--layout", layout)


def test_a_folder_above_the_right_one_is_refused(tmp_path):
    people(tmp_path / "corpus/wavs")
    assert "one speaker only, 'wavs'; name the folder in which each speaker has its own" in refused(tmp_path / "corpus", tmp_path / "data")
    assert "one class only, 'wavs'" in refused(tmp_path / "corpus", tmp_path / "data", "--layout", "class/spk")


@pytest.mark.parametrize("layout, below", [("spk", ""), ("spk/session", "day/")])
def test_one_speaker_is_enough_where_nothing_is_held_out(tmp_path, program, layout, below):
    folder = people(tmp_path / "wavs", ["anna"], below=below)
    said = made(folder, tmp_path / "data", "--layout", layout, "--valid", "0", "--test", "0")
    assert "make_folder: one speaker only, 'anna': data to enrol, not to train on\n" in said
    assert speakers(tmp_path / "data") == {"train": {"anna"}}
    assert program("utils/validate_data_dir.py", tmp_path / "data/train").returncode == 0
    for options in (["--valid", "0"], ["--test", "0"], ["--valid", "0", "--test", "1.0"]):
        message = refused(folder, tmp_path / "b", "--layout", layout, *options)
        assert message.endswith("or choose another --layout; or pass --valid 0 --test 0 for data to enrol\n")
    people(folder, ["bert"], below=below)
    assert "one speaker only" not in made(folder, tmp_path / "c", "--layout", layout, "--valid", "0", "--test", "0")


@pytest.mark.parametrize(
    "options, message",
    [
        (["--test", "1"], "of 10 speakers, one would be for test; trials need two: raise --test, or pass --test 0"),
        (["--test", "9"], "--valid 0.1 asks for 2 of 10 speakers, 1 left to choose from; lower it, or add recordings"),
        (["--test", "11"], "--test 11 asks for 11 of 10 speakers, 10 left to choose from; lower it, or add recordings"),
        (["--test", "7"], "of 10 speakers, 1 would be left to train on; lower --valid and --test, or add recordings"),
        (["--min-utts", "4"], "--min-utts 4 leaves nothing, the most recordings of a speaker are 3"),
        (["--spk2gender", "nowhere"], "nowhere: no such file"),
    ],
)
def test_too_few_speakers_are_refused(tmp_path, options, message):
    assert message in refused(people(tmp_path / "wavs"), tmp_path / "data", *options)
    assert not (tmp_path / "data").exists()


def test_classes_that_their_table_cannot_take_are_refused(tmp_path):
    folder = put(tmp_path / "wavs", *(f"{age}/{take}.wav" for age in ("16", "31 to 45") for take in range(9)))
    message = refused(folder, tmp_path / "data", "--layout", "class", "--label", "utt2age")
    assert "class '31=20to=2045' cannot go to utt2age, a number" in message
    assert message.endswith("choose another --label\n")
    made(folder, tmp_path / "data", "--layout", "class", "--label", "utt2years")


def test_a_class_with_nothing_left_to_train_on_is_refused(tmp_path):
    folder = put(tmp_path / "wavs", *(f"calm/{take}.wav" for take in range(6)), "angry/1.wav")
    made(folder, tmp_path / "data", "--layout", "class")
    assert "angry" in table(tmp_path / "data/train/utt2label").values()
    (tmp_path / "list").write_text("angry-1\n")
    message = refused(folder, tmp_path / "b", "--layout", "class", "--test", tmp_path / "list")
    assert "nothing of class 'angry' would be left to train on" in message


def test_classes_that_are_too_small_to_share_are_refused(tmp_path):
    folder = put(tmp_path / "wavs", "calm/1.wav", "angry/1.wav")
    message = refused(folder, tmp_path / "data", "--layout", "class")
    assert "--test 0.2 asks for 2 of 2 utterances, 0 left to choose from, with one of each class kept to train on" in message


@pytest.mark.parametrize(
    "text, message",
    [
        ("zoe\n", "'zoe' is not in the folder, or is left out (1 such)"),
        ("anna\nanna\n", ":2: 'anna' stands twice, in line 1 too; keep one of them"),
        ("# nobody\n", "no name in it"),
        ("\n", "no entry in it"),
        ("anna\nbert", "the last line lacks its newline"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path, text, message):
    (tmp_path / "list").write_text(text)
    assert f"{tmp_path}/list:" in (line := refused(people(tmp_path / "wavs"), tmp_path / "data", "--test", tmp_path / "list"))
    assert message in line


def test_a_name_in_both_lists_is_refused(tmp_path):
    (tmp_path / "valid").write_text("anna\nbert\n")
    (tmp_path / "test").write_text("bert\ncarl\n")
    line = refused(people(tmp_path / "wavs"), tmp_path / "data", "--valid", tmp_path / "valid", "--test", tmp_path / "test")
    assert f"'bert' is in {tmp_path}/valid too" in line


@pytest.mark.parametrize(
    "text, message",
    [
        ("anna x\n", "spk2gender:1: 'anna': m or f expected, not 'x'"),
        ("anna f\n", "'bert' is not in it (9 such); add the sex of every speaker, or do without the table"),
    ],
)
def test_a_wrong_table_of_sexes_is_refused(tmp_path, text, message):
    (people(tmp_path / "wavs") / "spk2gender").write_text(text)
    assert message in refused(tmp_path / "wavs", tmp_path / "data")


@pytest.mark.parametrize(
    "options, message",
    [
        (["--test", "1.5"], "a share from 0.0 to 1.0 or a whole number expected, not '1.5'"),
        (["--test=-1"], "a share from 0.0 to 1.0 or a whole number expected, not '-1'"),
        (["--valid", "nan"], "a share from 0.0 to 1.0 or a whole number expected, not 'nan'"),
        (["--valid", "some"], "a share (0.2), a whole number or a file of names expected; there is no file 'some'"),
        (["--test", "1.0"], "all leaves nothing for --valid 0.1; pass --valid 0"),
        (["--extensions", "wav,"], "endings such as wav,flac expected, not 'wav,'"),
        (["--layout", "speaker"], "invalid choice: 'speaker'"),
        (["--layout", "class", "--label", "label"], "the name of a table such as utt2label or utt2age expected, not 'label'"),
        (["--layout", "class", "--label", "utt2spk"], "the name of a table such as utt2label or utt2age expected, not 'utt2spk'"),
        (["--layout", "class", "--spk2gender", "x"], "in layout class the speakers are not known"),
    ],
)
def test_wrong_options_are_status_2(tmp_path, options, message):
    assert message in refused(people(tmp_path / "wavs"), tmp_path / "data", *options, status=2)


def test_wrong_places_are_refused(tmp_path):
    folder = people(tmp_path / "wavs")
    assert "no such folder" in refused(tmp_path / "nowhere", tmp_path / "data")
    for out in (folder, folder / "data"):
        assert "lies in the folder of the recordings; name another place" in refused(folder, out)


# ---- once, again, otherwise


def test_a_second_run_does_nothing_and_a_changed_one_stops(tmp_path):
    folder = people(tmp_path / "wavs")
    made(folder, tmp_path / "data")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").glob("[a-z]*/*")}
    assert "is prepared" in made(folder, tmp_path / "data")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").glob("[a-z]*/*")} == stamps
    assert "--test was 0.2, now 3" in refused(folder, tmp_path / "data", "--test", "3")
    put(folder, "anna/4.wav")
    assert "recordings has changed" in refused(folder, tmp_path / "data")
    made(folder, tmp_path / "data", "--overwrite", "true")
    assert any("anna-4" in table(tmp_path / "data" / name / "utt2spk") for name in SETS)


def test_one_and_all_are_different_options(tmp_path):
    folder = people(tmp_path / "wavs")
    made(folder, tmp_path / "data", "--valid", "0", "--test", "1.0")
    assert "one would be for test" in refused(folder, tmp_path / "data", "--valid", "0", "--test", "1")


def test_tables_of_an_older_division_do_not_stay(tmp_path):
    folder = people(tmp_path / "wavs")
    made(folder, tmp_path / "data")
    made(folder, tmp_path / "data", "--valid", "0", "--overwrite", "true")
    assert list((tmp_path / "data/valid").iterdir()) == []


def test_directories_of_others_are_not_replaced(tmp_path):
    folder = people(tmp_path / "wavs")
    put(tmp_path / "data", "train/utt2spk")
    assert "is there, but make_folder did not make it" in refused(folder, tmp_path / "data")
    assert (tmp_path / "data/train/utt2spk").read_text() == "train/utt2spk"


def test_killed_and_started_again_it_ends_with_the_same_tables(tmp_path):
    folder = people(tmp_path / "wavs", [f"s{number:03d}" for number in range(200)], 5)
    made(folder, tmp_path / "whole")
    command = [sys.executable, str(ROOT / "local/make_folder.py"), str(folder), str(tmp_path / "data")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "data/train/utt2spk").exists() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    made(folder, tmp_path / "data")
    for path in (tmp_path / "whole").rglob("*/*"):
        if path.is_file() and ".done" not in path.parts:
            assert (tmp_path / "data" / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes()


# ---- real folders


def test_the_folders_of_an4_become_valid_data_directories(corpora, tmp_path, program):
    if not (corpora / "an4/wav/an4_clstk").is_dir():
        pytest.skip(f"no AN4 in {corpora}")
    made(corpora / "an4/wav/an4_clstk", tmp_path / "data")
    found = speakers(tmp_path / "data")
    assert set().union(*found.values()) == {path.name for path in (corpora / "an4/wav/an4_clstk").iterdir()}
    for name in SETS:
        assert program("utils/validate_data_dir.py", tmp_path / "data" / name).returncode == 0
