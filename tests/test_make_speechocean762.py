"""local/make_speechocean762.py, on a tree of the corpus' layout and on the corpus itself."""

import subprocess
import sys
from pathlib import Path

import pytest
from support import failure

from pytorch.data.data_dir import DataDir
from pytorch.data.names import read_names

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "egs/speechocean762/v1/conf/valid_speakers"
SETS = ("train", "valid", "test")
PEOPLE = {"train": {"0005": "m 6", "0026": "f 6", "1203": "m 7", "9034": "f 15"}, "test": {"0003": "m 6", "9617": "f 35"}}


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key}\t{value}\n" for key, value in rows))


@pytest.fixture
def corpus(tmp_path):
    """Six speakers of three utterances: the corpus' names, tabs, and spk2age in the order of nothing in particular."""
    for part, speakers in PEOPLE.items():
        utts = [(f"0{spk}{number:04d}", spk) for spk in speakers for number in (3, 10, 24)]
        for utt, spk in utts:
            path = tmp_path / f"corpus/WAVE/SPEAKER{spk}/{utt}.WAV"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(utt)
        folder = tmp_path / "corpus" / part
        lines(folder / "wav.scp", [(utt, f"WAVE/SPEAKER{spk}/{utt}.WAV") for utt, spk in utts])
        lines(folder / "utt2spk", utts)
        lines(folder / "text", [(utt, "MARK IS GOING") for utt, _ in utts])
        lines(folder / "spk2gender", [(spk, of.split()[0]) for spk, of in speakers.items()])
        lines(folder / "spk2age", [(spk, of.split()[1]) for spk, of in reversed(speakers.items())])
    (tmp_path / "valid").write_text("# a boy\n1203  # seven years\n")
    return tmp_path / "corpus"


def make(corpus, *options, valid=None):
    command = [
        sys.executable,
        ROOT / "local/make_speechocean762.py",
        "--valid-list",
        valid or corpus.parent / "valid",
        *options,
        corpus,
        corpus.parent / "data",
    ]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


def refused(corpus, *options, status=1, **more):
    result = make(corpus, *options, **more)
    assert result.returncode == status, result.stderr
    assert result.stderr.count("\n") == 1
    assert not (corpus.parent / "data/train/utt2spk").exists()
    return result.stderr


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# ---- what is made


def test_the_corpus_test_speakers_are_the_test_set_and_the_listed_ones_validate(corpus, program):
    assert make(corpus).returncode == 0
    found = {name: set(DataDir(corpus.parent / "data" / name).spk2utt) for name in SETS}
    assert found == {"train": {"0005", "0026", "9034"}, "valid": {"1203"}, "test": {"0003", "9617"}}
    for name in SETS:
        assert program("utils/validate_data_dir.py", corpus.parent / "data" / name).returncode == 0


def test_ids_begin_with_the_speaker_and_each_table_is_there(corpus):
    assert make(corpus).returncode == 0
    data = DataDir(corpus.parent / "data/test")
    assert data.utt2spk["9617-096170010"] == "9617"
    assert data.wav_scp["9617-096170010"] == str(corpus / "WAVE/SPEAKER9617/096170010.WAV")
    assert data.per_utt("utt2age")["9617-096170010"] == data.per_spk("spk2age")["9617"] == "35"
    assert data.per_spk("spk2gender") == {"0003": "m", "9617": "f"}
    assert data.per_utt("text", None)["9617-096170010"] == "MARK IS GOING"


def test_a_second_run_does_nothing_and_a_changed_list_stops(corpus):
    assert make(corpus).returncode == 0
    assert "is prepared" in make(corpus).stdout
    (corpus.parent / "valid").write_text("0005\n")
    result = make(corpus)
    assert result.returncode == 1
    assert "valid has changed. Pass --overwrite true" in result.stderr
    assert make(corpus, "--overwrite", "true").returncode == 0
    assert set(DataDir(corpus.parent / "data/valid").spk2utt) == {"0005"}


# ---- mistakes, each in one line


def test_a_folder_that_is_not_the_corpus_is_refused(corpus):
    assert "train/wav.scp: no such file; corpus (--corpus of a recipe) must be the folder of speechocean762 itself" in refused(corpus / "WAVE")


@pytest.mark.parametrize("name", ["wav.scp", "utt2spk", "spk2gender", "spk2age", "text"])
def test_each_table_must_be_there_and_whole(corpus, name):
    path = corpus / "test" / name
    path.write_text(path.read_text()[:-1])
    assert f"{path}:" in (line := refused(corpus))
    assert "the last line lacks its newline" in line
    path.write_text("")
    assert f"{path}: empty" in refused(corpus)
    path.unlink()
    assert f"{path}: no such file" in refused(corpus)


@pytest.mark.parametrize(
    "name, old, new, message",
    [
        (
            "train/wav.scp",
            "000050003\tW",
            "000050004\tW",
            "train/wav.scp: '000050003' is in utt2spk but not here; get the corpus anew, or cut all its tables alike",
        ),
        ("train/text", "000050003\t", "000050001\t", "train/text: '000050001' is not in utt2spk"),
        ("train/text", "000050003\tMARK IS GOING", "000050003\t", "train/text:1: two fields expected, not '000050003'"),
        ("train/utt2spk", "000050010", "000050003", "train/utt2spk:2: '000050003' stands twice; get the corpus anew"),
        ("test/spk2age", "9617\t", "9618\t", "test/spk2age: '9617' is in utt2spk but not here"),
        ("test/spk2age", "35", "-", "test/spk2age: years expected for '9617', not '-'"),
        ("test/spk2gender", "\tm", "\tmale", "test/spk2gender: m or f expected for '0003', not 'male'"),
        ("test/wav.scp", "000030003.WAV", "lost.WAV", "test/wav.scp: '000030003': "),
    ],
)
def test_wrong_tables_are_refused(corpus, name, old, new, message):
    edit(corpus / name, old, new)
    assert message in refused(corpus)


def test_a_missing_recording_is_refused(corpus):
    (corpus / "WAVE/SPEAKER0005/000050010.WAV").unlink()
    assert "WAVE/SPEAKER0005/000050010.WAV is missing; the corpus must be whole, or cut its tables" in refused(corpus)


def test_a_speaker_of_both_parts_is_refused(corpus):
    for name in ("wav.scp", "utt2spk", "spk2gender", "spk2age", "text"):
        path = corpus / "test" / name
        path.write_text(path.read_text() + "".join(line + "\n" for line in (corpus / "train" / name).read_text().splitlines() if "0026" in line[:5]))
    assert "speaker '0026' is in train/ and in test/" in refused(corpus)


@pytest.mark.parametrize(
    "names, message",
    [
        ("0003\n", "speaker '0003' is not in "),
        ("4711\n", "speaker '4711' is not in "),
        ("0005\n0026\n1203\n", "fewer than two speakers are left to train on"),
    ],
)
def test_a_validation_list_that_does_not_fit_is_refused(corpus, names, message):
    (corpus.parent / "valid").write_text(names)
    assert message in refused(corpus)


def test_directories_of_others_are_not_replaced(corpus):
    lines(corpus.parent / "data/test/utt2spk", [("a", "b")])
    assert "is there, but make_speechocean762 did not make it" in refused(corpus)


# ---- lists of names


def test_names_are_read_with_comments_and_in_order(tmp_path):
    (tmp_path / "list").write_text("# who\nzoe\n\n  anna maria  # the elder\n")
    assert read_names(tmp_path / "list") == ["zoe", "anna maria"]


@pytest.mark.parametrize(
    "text, message",
    [
        (b"", "{path}: no entry in it"),
        (b"# nobody\n", "{path}: no name in it"),
        (b"anna\n\nanna\n", "{path}:3: 'anna' stands twice, in line 1 too; keep one of them"),
        (b"anna\nbert", "{path}:2: the last line lacks its newline"),
        (b"\xff\n", "{path}: not a text file (byte 0 is not UTF-8)"),
    ],
)
def test_lists_that_are_wrong_are_refused(tmp_path, text, message):
    (tmp_path / "list").write_bytes(text)
    assert failure(read_names, tmp_path / "list").startswith(message.format(path=tmp_path / "list"))


# ---- the corpus


def test_the_corpus_is_prepared_whole(corpora, tmp_path, program):
    source = corpora / "speechocean762"
    if not source.is_dir():
        pytest.skip(f"no speechocean762 in {corpora}")
    assert program("local/make_speechocean762.py", "--valid-list", LIST, source, tmp_path / "data").returncode == 0
    data = {name: DataDir(tmp_path / "data" / name) for name in SETS}
    assert sum(len(each.utt2spk) for each in data.values()) == len(list(source.glob("WAVE/*/*.WAV")))
    speakers = {name: set(each.spk2utt) for name, each in data.items()}
    assert speakers["test"] == {line.split()[0] for line in (source / "test/spk2utt").read_text().splitlines()}
    assert speakers["train"] | speakers["valid"] == {line.split()[0] for line in (source / "train/spk2utt").read_text().splitlines()}
    assert not speakers["train"] & speakers["valid"]
    assert sorted(data["valid"].per_spk("spk2gender").values()) == ["f"] * 5 + ["m"] * 5
    assert sum(int(age) < 12 for age in data["valid"].per_spk("spk2age").values()) == 5
    for name in SETS:
        assert program("utils/validate_data_dir.py", tmp_path / "data" / name).returncode == 0
