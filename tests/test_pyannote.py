"""utils/import_pyannote.py: protocols of a database.yml become data directories."""

import sys

import pytest
from data_dirs import call, files, refuse, succeed

from pytorch.data.data_dir import DataDir

DATABASE = """\
Databases:
  Meetings: audio/{uri}.wav
  Vox:
    - nowhere/{uri}.wav
    - "audio/*/{uri}.flac"
Protocols:
  Meetings:
    SpeakerDiarization:
      Cut:
        train: {uri: lists/train.lst, annotation: all.rttm, annotated: train.uem}
        test: {annotation: "rttm/{uri}.rttm", uri: lists/test.lst}
      Local:
        scope: file
        train: {annotation: all.rttm}
    Collection:
      All: {uri: lists/train.lst}
  Vox:
    SpeakerVerification:
      One:
        train: {annotation: vox.rttm}
        development: {uri: lists/vox.lst, annotation: vox.rttm, trial: trials.txt}
        test: {trial: trials.txt}
      Split:
        test: {annotation: vox.rttm}
        test_trial: {trial: trials.txt}
  X:
    SpeakerDiarization:
      Both:
        train:
          Meetings.SpeakerDiarization.Cut: [train, test]
          Vox.SpeakerVerification.One: train
      Nested:
        train: {X.SpeakerDiarization.Both: [train]}
"""


def turn(uri, start, duration, spk):
    return f"SPEAKER {uri} 1 {start} {duration} <NA> <NA> {spk} <NA> <NA>\n"


@pytest.fixture
def here(tmp_path):
    """A small database: meetings m1 to m3 with speakers a and b, and files x/1, x/2, y/1 of one speaker each."""
    content = {
        "database.yml": DATABASE,
        "lists/train.lst": "m1\nm2\n",
        "lists/test.lst": "m3\n",
        "lists/vox.lst": "x/1\nx/2\ny/1\n",
        "all.rttm": turn("m1", 0, 2, "a") + turn("m1", 1, 4, "b") + turn("m1", 8, 1, "a") + turn("m3", 0, 1, "b"),
        "rttm/m3.rttm": turn("m3", 0.5, 1, "c"),
        "train.uem": "m1 NA 0 3\n",
        "vox.rttm": turn("x/1", 0, 1, "x") + turn("x/2", 0, 1, "x") + turn("x/2", 2, 1, "x") + turn("y/1", 0, 1, "y"),
        "trials.txt": "1 x/1 x/2\n0 x/1 y/1\n",
    }
    for name in ("m1.wav", "m2.wav", "m3.wav", "v/x/1.flac", "v/x/2.flac", "v/y/1.flac"):
        content[f"audio/{name}"] = "x"
    for name, text in content.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def imported(here, protocol, *options):
    """-> what was printed"""
    return succeed("import_pyannote", "--protocol", protocol, *options, here / "database.yml", here / "out").replace(str(here), "")


def refused(here, protocol, *options):
    message = refuse("import_pyannote", "--protocol", protocol, *options, here / "database.yml", here / "out")
    assert not (here / "out/train").exists()
    return message.replace(f"{here}/", "")


def rewrite(here, old, new, name="database.yml"):
    text = (here / name).read_text()
    assert old in text
    (here / name).write_text(text.replace(old, new))


def test_the_turns_of_a_subset_inside_its_regions_become_utterances(here):
    out = imported(here, "Meetings.SpeakerDiarization.Cut")
    made = "2 utterances of 2 speakers in 1 recordings; reco2uri, segments, utt2spk, wav.scp"
    assert f"/out/train: {made}; 1 turns lie outside of the annotated regions; 1 files have no turn\n" in out
    assert files(here / "out/train") == {
        "segments": "a--m1-00000000-00002000 m1 0.0 2.0\nb--m1-00001000-00003000 m1 1.0 3.0\n",
        "utt2spk": "a--m1-00000000-00002000 a\nb--m1-00001000-00003000 b\n",
        "spk2utt": "a a--m1-00000000-00002000\nb b--m1-00001000-00003000\n",
        "wav.scp": f"m1 {here}/audio/m1.wav\n",
        "reco2uri": "m1 m1\n",
    }
    assert files(here / "out/test")["utt2spk"] == "c--m3-00000500-00001500 c\n"
    succeed("validate_data_dir", here / "out/train")


def test_speakers_named_within_a_file_are_told_apart_by_file(here):
    imported(here, "Meetings.SpeakerDiarization.Local")
    assert set(DataDir(here / "out/train").spk2utt) == {"m1=2Fa", "m1=2Fb", "m3=2Fb"}
    assert files(here / "out/train")["spk2name"] == "m1=2Fa m1/a\nm1=2Fb m1/b\nm3=2Fb m3/b\n"


def test_a_subset_with_trials_is_of_whole_files(here):
    out = imported(here, "Vox.SpeakerVerification.One")
    assert "/out/development: 3 utterances of 2 speakers; reco2uri, utt2spk, wav.scp; 2 trials\n" in out
    development, test = files(here / "out/development"), files(here / "out/test")
    assert development["utt2spk"] == "x-1 x\nx-2 x\ny-1 y\n"
    assert development["wav.scp"] == "".join(f"{utt} {here}/audio/v/{utt.replace('-', '/')}.flac\n" for utt in ("x-1", "x-2", "y-1"))
    assert development["trials"] == test["trials"] == "x-1 x-2 target\nx-1 y-1 nontarget\n"
    assert test["utt2spk"] == "x-1 x-1\nx-2 x-2\ny-1 y-1\n"
    assert len(DataDir(here / "out/train").segments) == 4
    succeed("validate_data_dir", here / "out/development")


def test_trials_may_stand_in_a_section_of_their_own(here):
    imported(here, "Vox.SpeakerVerification.Split")
    assert files(here / "out/test")["trials"] == "x-1 x-2 target\nx-1 y-1 nontarget\n"


def test_files_of_several_speakers_are_of_unknown_ones_where_trials_are_of_files(here):
    rewrite(here, turn("x/2", 2, 1, "x"), turn("x/2", 2, 1, "z"), "vox.rttm")
    out = imported(here, "Vox.SpeakerVerification.Split")
    assert "; some files have no speaker or several, so all are taken as unknown" in out
    assert files(here / "out/test")["utt2spk"] == "x-1 x-1\nx-2 x-2\ny-1 y-1\n"


def test_trials_that_contradict_the_annotation_are_refused(here):
    rewrite(here, "0 x/1 y/1", "1 x/1 y/1", "trials.txt")
    message = "'x-1' and 'y-1' are of two speakers, but a target trial (1 such); correct it, or pass --check-speakers false"
    assert refused(here, "Vox.SpeakerVerification.Split") == f"Vox.SpeakerVerification.Split.test: {message}"
    imported(here, "Vox.SpeakerVerification.Split", "--check-speakers", "false")


def test_a_collection_is_one_directory_of_files(here):
    imported(here, "Meetings.Collection.All")
    assert files(here / "out/files")["utt2spk"] == "m1 m1\nm2 m2\n"


def test_combined_protocols_are_read_from_those_that_they_name(here):
    imported(here, "X.SpeakerDiarization.Both")
    assert set(DataDir(here / "out/train").spk2utt) == {"a", "b", "c", "x", "y"}


def test_subsets_can_be_chosen(here):
    imported(here, "Vox.SpeakerVerification.One", "--subsets", "test,train")
    assert sorted(path.name for path in (here / "out").iterdir() if not path.name.startswith(".")) == ["test", "train"]


def test_missing_recordings_are_named_and_may_be_left_out(here):
    (here / "audio/v/x/2.flac").unlink()
    message = "vox.rttm:2: nowhere/x/2.wav: no such file; correct Databases in database.yml, or pass --drop missing"
    assert refused(here, "Vox.SpeakerVerification.Split") == message
    out = imported(here, "Vox.SpeakerVerification.Split", "--drop", "missing")
    assert out.endswith("import_pyannote: left out, see /out/import_pyannote.dropped: 2 missing\n")
    assert files(here / "out/test")["trials"] == "x-1 y-1 nontarget\n"


def test_recordings_need_not_be_there_where_they_are_not_looked_for(here):
    (here / "audio/m1.wav").unlink()
    imported(here, "Meetings.Collection.All", "--check-files", "false")
    assert files(here / "out/files")["wav.scp"] == f"m1 {here}/audio/m1.wav\nm2 {here}/audio/m2.wav\n"


def test_a_pattern_without_its_recordings_tells_no_path(here):
    (here / "audio/v/x/2.flac").unlink()
    rewrite(here, "    - nowhere/{uri}.wav\n", "")
    message = "database.yml: Databases.Vox: a pattern cannot tell where 'x/2' lies while it is not there; name its path"
    assert refused(here, "Vox.SpeakerVerification.Split", "--check-files", "false") == message


def test_a_recording_that_is_listed_twice_is_refused(here):
    (here / "lists/train.lst").write_text("m1\nm2\nm1\n")
    assert refused(here, "Meetings.Collection.All") == "lists/train.lst:3: 'm1' stands in line 1 too; keep one of them"


def test_an_import_is_done_once_and_knows_all_files_it_read(here):
    imported(here, "Meetings.SpeakerDiarization.Cut")
    assert imported(here, "Meetings.SpeakerDiarization.Cut") == "import_pyannote: /out is there\n"
    (here / "train.uem").write_text("m1 NA 0 2\n")
    message = "out: import_pyannote was done otherwise: train.uem has changed. Pass --overwrite true to do it anew"
    words = ["--protocol", "Meetings.SpeakerDiarization.Cut", here / "database.yml", here / "out"]
    assert refuse("import_pyannote", *words) == f"{here}/{message}"
    imported(here, "Vox.SpeakerVerification.Split", "--overwrite", "true")
    assert not files(here / "out/train") and files(here / "out/test").keys() == {"reco2uri", "spk2utt", "trials", "utt2spk", "wav.scp"}


@pytest.mark.parametrize(
    "protocol, old, new, message",
    [
        ("Meetings.Nothing.Cut", "", "", "database.yml: no protocol Meetings.Nothing.Cut: 'Nothing' is not among SpeakerDiarization, Collection"),
        ("Meetings.SpeakerDiarization", "", "", "database.yml: Database.Task.Protocol expected, not 'Meetings.SpeakerDiarization'"),
        ("Meetings.Collection.All", "All: {uri: lists/train.lst}", "All: 3", "database.yml: Meetings.Collection.All has no subsets"),
        ("Meetings.Collection.All", "All: {uri", "All: {list", "database.yml: Meetings.Collection.All has none of the subsets train, development, test"),
        ("Meetings.Collection.All", "All: {uri: lists/train.lst}", "All: {uri: [a]}", "database.yml: the path of a file expected, not '['a']'"),
        ("Meetings.Collection.All", "lists/train.lst}", "none.lst}", "none.lst: no such file"),
        (
            "Meetings.Collection.All",
            "  Meetings: audio/{uri}.wav",
            "  Other: a",
            "database.yml: Databases has no paths of Meetings, so nothing tells where 'm1' (lists/train.lst:1) lies",
        ),
        (
            "Meetings.Collection.All",
            "audio/{uri}.wav",
            '"audio/m*.wav"',
            "database.yml: Databases.Meetings: 'm1' could be audio/m1.wav and audio/m2.wav; make the pattern narrower",
        ),
        (
            "Meetings.Collection.All",
            "audio/{uri}.wav",
            "audio/{name}.wav",
            "database.yml: Databases.Meetings: {name} is not understood, {uri}, {database} and {subset} are",
        ),
        ("Meetings.SpeakerDiarization.Cut", "rttm/{uri}.rttm", "{uri}.rttm", "m3.rttm: no such file"),
        (
            "Meetings.SpeakerDiarization.Local",
            "{annotation: all.rttm}",
            "{}",
            "database.yml: Meetings.SpeakerDiarization.Local.train names no recordings: no uri, annotation or trial",
        ),
        ("Meetings.SpeakerDiarization.Local", "{annotation: all.rttm}", "[]", "database.yml: Meetings.SpeakerDiarization.Local has no subset train"),
        (
            "X.SpeakerDiarization.Nested",
            "",
            "",
            "database.yml: X.SpeakerDiarization.Nested: X.SpeakerDiarization.Both is a combination itself; name what it combines",
        ),
        ("X.SpeakerDiarization.Both", "Cut: [train, test]", "Cut: [train, dev]", "database.yml: Meetings.SpeakerDiarization.Cut has no subset dev"),
        (
            "Meetings.Collection.All",
            "Databases:",
            "Database:",
            "database.yml: Databases has no paths of Meetings, so nothing tells where 'm1' (lists/train.lst:1) lies",
        ),
        (
            "Meetings.Collection.All",
            "  Meetings: audio/{uri}.wav",
            "  Meetings: [3]",
            "database.yml: Databases has no paths of Meetings, so nothing tells where 'm1' (lists/train.lst:1) lies",
        ),
        ("Meetings.Collection.All", "Databases:", "Databases: [", "database.yml:2: not YAML (expected ',' or ']', but got '{')"),
        ("Meetings.Collection.All", DATABASE, "- a\n", "database.yml: a database.yml with Databases and Protocols expected"),
        (
            "Meetings.Collection.All",
            DATABASE,
            "!!python/object/apply:os.system [touch x]\n",
            "database.yml:1: not YAML (could not determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:os.system')",
        ),
    ],
)
def test_broken_databases_are_refused_in_one_line(here, protocol, old, new, message):
    rewrite(here, old, new)
    assert refused(here, protocol) == message


def test_without_pyyaml_the_package_is_named(here, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    message = f"database.yml: reading YAML needs the package PyYAML; install it with: {sys.executable} -m pip install PyYAML==6.0.3"
    assert refused(here, "Meetings.Collection.All") == message


@pytest.mark.parametrize(
    "words, message",
    [
        (["d.yml", "out"], "the following arguments are required: --protocol"),
        (
            ["--protocol", "A.B.C", "--subsets", "dev", "d.yml", "out"],
            "argument --subsets: train, development, test with commas between them expected, not 'dev'",
        ),
    ],
)
def test_wrong_command_lines_exit_with_2(words, message):
    done = call("import_pyannote", *words)
    assert (done.status, done.out, done.err) == (2, "", f"import_pyannote.py: {message}; see --help\n")


def test_a_subset_of_nothing_is_refused(here):
    (here / "train.uem").write_text("m2 NA 0 3\n")
    message = "database.yml: nothing of Meetings.SpeakerDiarization.Cut.train is left to import"
    assert refused(here, "Meetings.SpeakerDiarization.Cut") == message
