"""local/make_mini.py: the embedded corpus."""

import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import pytest

from pytorch.files import whole_file

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = ROOT / "local" / "make_mini.py"
TINY = ("--num-speakers=12", "--utts-per-session=2")
TABLES = ("spk2gender", "spk2utt", "text", "utt2dur", "utt2session", "utt2spk", "wav.scp")


def make(out, *options, cwd=None, environment=None):
    command = [sys.executable, str(PROGRAM), str(out), *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **(environment or {})})


def made(out, *options, **keywords):
    done = make(out, *options, **keywords)
    assert done.returncode == 0, done.stderr
    return out


def contents(out):
    """{name: hash} of all recordings and tables; the folder's own name, which wav.scp holds, is left out."""
    files = sorted(path for path in Path(out).rglob("*") if path.is_file() and ".done" not in path.parts)
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes().replace(str(out).encode(), b"")).hexdigest() for path in files}


def read(path):
    return dict(line.split(None, 1) for line in path.read_text().splitlines())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Made by two processes; tests that change it give it back as it was."""
    return made(tmp_path_factory.mktemp("mini") / "data", *TINY, "--num-workers=2")


def test_one_process_gives_the_same_bytes_as_two(corpus, tmp_path):
    assert contents(made(tmp_path / "data", *TINY, "--num-workers=1")) == contents(corpus)


def test_another_seed_gives_other_bytes(corpus, tmp_path):
    ours, theirs = contents(corpus), contents(made(tmp_path / "data", *TINY, "--seed=2"))
    assert not set(ours.values()) & {theirs[name] for name in theirs if name.endswith(".wav")}


def test_a_speaker_does_not_depend_on_how_many_there_are(corpus, tmp_path):
    more = made(tmp_path / "data", "--num-speakers=14", "--utts-per-session=1")
    assert (more / "wav/m001/m001-b-01.wav").read_bytes() == (corpus / "wav/m001/m001-b-01.wav").read_bytes()


def test_no_recording_is_there_twice(corpus):
    recordings = [path.read_bytes() for path in corpus.rglob("*.wav")]
    assert len(recordings) == len(set(recordings)) == 12 * 2 * 2


def test_the_sets_have_no_speaker_in_common_and_both_sexes(corpus):
    speakers = [set(read(corpus / name / "spk2gender")) for name in ("train", "valid", "test")]
    assert len(set.union(*speakers)) == sum(map(len, speakers)) == 12
    for name in ("train", "valid", "test"):
        assert set(read(corpus / name / "spk2gender").values()) == {"m", "f"}


@pytest.mark.parametrize("name", ["train", "valid", "test"])
def test_the_tables_are_sorted_and_agree(corpus, name):
    path = corpus / name
    assert sorted(file.name for file in path.iterdir()) == sorted(TABLES)
    for table in TABLES:
        keys = [line.split()[0].encode() for line in (path / table).read_text().splitlines()]
        assert keys == sorted(set(keys)), table
    utt2spk = read(path / "utt2spk")
    for table in ("text", "utt2dur", "utt2session", "wav.scp"):
        assert read(path / table).keys() == utt2spk.keys(), table
    assert {utt: spk for spk, utts in read(path / "spk2utt").items() for utt in utts.split()} == utt2spk
    assert read(path / "spk2gender").keys() == set(utt2spk.values())
    for utt, session in read(path / "utt2session").items():
        assert utt.startswith(utt2spk[utt] + "-") and session in (utt2spk[utt] + "-a", utt2spk[utt] + "-b")


@pytest.mark.parametrize("name", ["train", "valid", "test"])
def test_the_recordings_are_16_khz_mono_16_bits_and_as_long_as_utt2dur_says(corpus, name):
    durations = read(corpus / name / "utt2dur")
    for utt, path in read(corpus / name / "wav.scp").items():
        assert Path(path).is_absolute()
        with wave.open(path) as wav:
            assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (16000, 1, 2)
            assert float(durations[utt]) == pytest.approx(wav.getnframes() / 16000, abs=1e-4)
            samples = memoryview(wav.readframes(wav.getnframes())).cast("h")
        assert 1.2 < float(durations[utt]) < 6
        assert 100 < (sum(sample * sample for sample in samples) / len(samples)) ** 0.5 < 8000


def test_a_relative_folder_is_the_same_place(corpus, tmp_path):
    made(Path("data"), *TINY, cwd=tmp_path)
    assert contents(tmp_path / "data") == contents(corpus)


def test_espeak_finds_its_data_at_the_end_of_a_long_path(corpus, tmp_path):
    long = tmp_path / ("x" * 200)
    long.mkdir()
    (long / "espeakng_loader").symlink_to(Path(importlib.util.find_spec("espeakng_loader").origin).parent)
    out = made(tmp_path / "data", *TINY, environment={"PYTHONPATH": str(long)})
    assert contents(out) == contents(corpus)


def test_a_second_run_does_nothing(corpus):
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*.wav")}
    done = make(corpus, *TINY, "--num-workers=1")
    assert (done.returncode, done.stdout) == (0, f"make_mini: {corpus} is there already\n")
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*.wav")} == before


def test_a_lost_recording_is_made_again(corpus):
    before = contents(corpus)
    (corpus / "wav/m001/m001-a-01.wav").unlink()
    done = make(corpus, *TINY)
    assert done.returncode == 0 and "m001-a-01.wav is missing" in done.stderr
    assert contents(corpus) == before


def test_a_changed_option_stops_with_its_name_and_overwrite_true_makes_the_corpus_anew(corpus, tmp_path):
    out = made(tmp_path / "data", "--num-speakers=14", "--utts-per-session=2")
    with whole_file(out / "wav/m001/m001-a-01.wav") as file:
        unfinished = Path(file.name)  # what a killed run may leave
    unfinished.touch()
    done = make(out, *TINY)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "--num-speakers was 14, now 12" in done.stderr and "--overwrite true" in done.stderr
    made(out, *TINY, "--overwrite=true")
    assert contents(out) == contents(corpus)


@pytest.mark.parametrize("last", [signal.SIGKILL, signal.SIGTERM])
def test_killed_in_the_middle_and_started_again_it_ends_with_the_same_bytes(corpus, tmp_path, last):
    out = tmp_path / "data"
    process = subprocess.Popen([sys.executable, str(PROGRAM), str(out), "--num-speakers=80", "--num-workers=2"], stderr=subprocess.PIPE, text=True)
    while not list(out.rglob("*.wav")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(last)
    _, errors = process.communicate()
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143}[last]
    assert errors == {signal.SIGKILL: "", signal.SIGTERM: "make_mini.py: terminated\n"}[last]
    assert not list(out.rglob("wav.scp"))
    made(out, *TINY)
    assert contents(out) == contents(corpus)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num-speakers=11"], "--num-speakers: 12 or more expected, not '11'"),
        (["--num-speakers=many"], "--num-speakers: a whole number above 0 expected, not 'many'"),
        (["--utts-per-session=0"], "--utts-per-session: a whole number above 0 expected, not '0'"),
        (["--seed=-1"], "--seed: a whole number, 0 or more expected, not '-1'"),
        (["--overwrite=yes"], "--overwrite: true or false expected, not 'yes'"),
        (["--num-speaker=12"], "unknown option --num-speaker (is --num-speakers meant?)"),
    ],
)
def test_a_wrong_option_is_exit_status_2(tmp_path, options, message):
    done = make(tmp_path / "data", *options)
    assert done.returncode == 2 and message in done.stderr
    assert not (tmp_path / "data").exists()


def test_without_espeakng_loader_it_says_so_in_one_line(tmp_path):
    (tmp_path / "espeakng_loader.py").write_text("raise ModuleNotFoundError(\"No module named 'espeakng_loader'\", name='espeakng_loader')\n")
    done = make(tmp_path / "data", *TINY, environment={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "package espeakng_loader" in done.stderr


def test_a_voice_that_espeak_lacks_is_named(tmp_path):
    (tmp_path / "espeakng_loader.py").write_text(f"def get_data_path():\n    return {str(tmp_path)!r}\n")
    done = make(tmp_path / "data", *TINY, environment={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "voices/!v/m1: espeak-ng lacks this voice" in done.stderr


def test_a_full_disk_is_one_line(tmp_path):
    limited = f"ulimit -f 40; exec {sys.executable} {PROGRAM} {tmp_path / 'data'} --num-speakers=12"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.endswith(".wav: File too large\n") and done.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("*.tmp")) and not list(tmp_path.rglob("wav.scp"))


def test_help_imports_neither_numpy_nor_torch():
    done = subprocess.run([sys.executable, "-X", "importtime", str(PROGRAM), "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--utts-per-session" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"numpy", "torch", "scipy", "espeakng_loader"}
