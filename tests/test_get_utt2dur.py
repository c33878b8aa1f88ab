"""utils/get_utt2dur.py: durations from segments, recordings or frames."""

import json

import numpy as np
import pytest
import soundfile
from sounds import NOISE, RATE, put_first, tone, wav_stream, write_m4a, write_program

from pytorch.data.data_dir import read_table, write_data_dir, write_table

TOOL = "utils/get_utt2dur.py"
NO_SHIFT = "neither feats.json nor frame_shift tells how far apart the frames are"


@pytest.fixture
def data(tmp_path):
    """A data directory of a WAV of 0.05 s, a FLAC of 0.5 s at 8 kHz, a command of 0.25 s and an M4A of 0.1 s."""
    soundfile.write(tmp_path / "a.wav", np.stack([NOISE, NOISE], axis=1), RATE)
    soundfile.write(tmp_path / "b.flac", tone(0.5, rate=8000), 8000)
    (tmp_path / "c.wav").write_bytes(wav_stream(tone(0.25)))
    write_m4a(tmp_path / "d.m4a", tone(0.1), codec="alac")
    entries = {"a": tmp_path / "a.wav", "b": tmp_path / "b.flac", "c": f"cat {tmp_path}/c.wav |", "d": tmp_path / "d.m4a"}
    write_data_dir(tmp_path / "data", entries, dict.fromkeys(entries, "spk"))
    return tmp_path / "data"


def made(program, *words):
    done = program(TOOL, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(program, *words):
    done = program(TOOL, *words)
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize("entire", ["false", "true"])
def test_durations_come_from_the_recordings(program, data, entire):
    said = made(program, "--read-entire-file", entire, data)
    assert said == f"get_utt2dur: {data}: 4 utterances, 0.00 h, from the recordings\n"
    assert (data / "utt2dur").read_text() == "a 0.050000\nb 0.500000\nc 0.250000\nd 0.100000\n"


def test_durations_come_from_segments_even_without_recordings(program, data):
    write_data_dir(data, {"r": "no.wav"}, {"u": "spk", "v": "spk"}, segments={"u": "r 0.5 1.25", "v": "r 1 100.1"})
    said = made(program, data)
    assert said == f"get_utt2dur: {data}: 2 utterances, 0.03 h, from segments\n"
    assert (data / "utt2dur").read_text() == "u 0.750000\nv 99.100000\n"
    (data / "utt2dur").unlink()
    (data / "wav.scp").unlink()
    made(program, "--overwrite", "true", data)
    assert (data / "utt2dur").read_text() == "u 0.750000\nv 99.100000\n"


def test_durations_of_recordings_are_written_when_asked_for(program, data, tmp_path):
    write_data_dir(data, {"r": tmp_path / "a.wav"}, {"u": "spk", "v": "spk"}, segments={"u": "r 0 0.01", "v": "r 0.02 0.05"})
    made(program, "--reco2dur", "true", data)
    assert (data / "utt2dur").read_text() == "u 0.010000\nv 0.030000\n"
    assert (data / "reco2dur").read_text() == "r 0.050000\n"


@pytest.mark.parametrize("name, content", [("frame_shift", "0.01\n"), ("feats.json", json.dumps({"frame_shift": 10.0}))])
def test_durations_come_from_frames_where_there_is_no_sound(program, data, name, content):
    (data / "wav.scp").unlink()
    write_table(data / "utt2num_frames", {"a": 98, "b": 1, "c": 20, "d": 3})
    (data / name).write_text(content)
    said = made(program, data)
    assert said == f"get_utt2dur: {data}: 4 utterances, 0.00 h, from the numbers of frames\n"
    assert (data / "utt2dur").read_text() == "a 0.995000\nb 0.025000\nc 0.215000\nd 0.045000\n"


def test_a_second_run_does_nothing_and_a_changed_recording_is_noticed(program, data, tmp_path):
    made(program, data)
    assert made(program, data) == f"get_utt2dur: the durations of {data} are there\n"
    soundfile.write(tmp_path / "a.wav", NOISE[:400], RATE)
    assert refused(program, data) == f"get_utt2dur.py: {data}: get_utt2dur was done otherwise: audio has changed. Pass --overwrite true to do it anew\n"
    made(program, "--overwrite", "true", data)
    assert read_table(data / "utt2dur")["a"] == "0.025000"


def test_a_whole_table_of_somebody_elses_stays(program, data):
    write_table(data / "utt2dur", {"a": 1, "b": 2, "c": 3, "d": 4})
    assert made(program, data) == f"get_utt2dur: utt2dur of {data}: there already, but not made here; left alone, --overwrite true replaces it\n"
    assert read_table(data / "utt2dur")["a"] == "1"
    made(program, "--overwrite", "true", data)
    assert read_table(data / "utt2dur")["a"] == "0.050000"


@pytest.mark.parametrize(
    "table, message",
    [
        ("a 1\nb 2\nc 3\n", "{data}/utt2dur: 'd' is in utt2spk but not in utt2dur; run utils/fix_data_dir.py"),
        ("a 1\nb 2\nc 0\nd 4\n", "{data}/utt2dur:3: 'c': seconds above 0 expected, not '0'"),
    ],
)
def test_a_table_of_somebody_elses_that_is_not_whole_is_refused(program, data, table, message):
    (data / "utt2dur").write_text(table)
    assert refused(program, data) == f"get_utt2dur.py: {message.format(data=data)}\n"
    made(program, "--overwrite", "true", data)


def test_bad_recordings_are_listed_and_nothing_is_written(program, data, tmp_path):
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:-4])
    (tmp_path / "d.m4a").unlink()
    assert refused(program, data) == (
        f"get_utt2dur: {data}/wav.scp:1: 'a': {tmp_path}/a.wav: cut off, 799 of 800 samples are there; copy or make it anew\n"
        f"get_utt2dur: {data}/wav.scp:4: 'd': {tmp_path}/d.m4a: No such file or directory\n"
        f"get_utt2dur.py: {data}: 2 of 4 recordings have no duration; mend them, or remove them from wav.scp\n"
    )
    assert not (data / "utt2dur").exists()


def test_a_header_that_lies_is_found_by_reading_all(program, data, tmp_path):
    """A FLAC without its end has its whole length in its header."""
    path = tmp_path / "b.flac"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refused(program, "--read-entire-file", "true", data).startswith(f"get_utt2dur: {data}/wav.scp:2: 'b': {path}: ")


def test_a_recording_without_samples_is_listed(program, data, tmp_path):
    soundfile.write(tmp_path / "a.wav", NOISE[:0], RATE)
    assert refused(program, data).startswith(f"get_utt2dur: {data}/wav.scp:1: 'a': {tmp_path}/a.wav: no samples in it\n")


def test_a_program_must_be_allowed(program, data, tmp_path, monkeypatch):
    put_first(monkeypatch, tmp_path / "bin")
    write_program(tmp_path / "bin", "mine", "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())")
    write_data_dir(data, {"a": f"mine {tmp_path}/c.wav |"}, {"a": "spk"})
    assert "'mine' is not among the programs that wav.scp may run" in refused(program, data)
    made(program, "--allow-cmd", "mine", data)
    assert (data / "utt2dur").read_text() == "a 0.250000\n"


@pytest.mark.parametrize(
    "files, words, message",
    [
        ({}, [], "{data}: no wav.scp, segments or utt2num_frames to tell durations from; make the last with utils/get_utt2num_frames.py"),
        ({}, ["--reco2dur", "true"], "{data}/wav.scp: no such file; reco2dur is made from the recordings"),
        ({"utt2num_frames": "a 9\n"}, [], f"{{data}}: {NO_SHIFT}; write it, in seconds, to {{data}}/frame_shift"),
        ({"utt2num_frames": "a 9\n", "frame_shift": "ten"}, [], "{data}/frame_shift: seconds above 0 and below 1 expected"),
        ({"utt2num_frames": "a 9\n", "frame_shift": "10"}, [], "{data}/frame_shift: seconds above 0 and below 1 expected"),
        ({"utt2num_frames": "a 9\n", "feats.json": "{}"}, [], "{data}/feats.json: no frame_shift, milliseconds above 0, in it; make the features anew"),
        ({"utt2num_frames": "a 9\n", "feats.json": "[]"}, [], "{data}/feats.json: no frame_shift, milliseconds above 0, in it; make the features anew"),
        ({"utt2num_frames": "a x\n", "frame_shift": "0.01"}, [], "{data}/utt2num_frames:1: 'a': a whole number above 0 expected, not 'x'"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(program, tmp_path, files, words, message):
    data = tmp_path / "data"
    write_data_dir(data, {"a": "x"}, {"a": "spk"})
    (data / "wav.scp").unlink()
    for name, content in files.items():
        (data / name).write_text(content)
    assert refused(program, *words, data) == f"get_utt2dur.py: {message.format(data=data)}\n"


def test_real_recordings_have_the_durations_of_their_index(program, corpora, tmp_path):
    index = [line.split("\t") for line in (corpora / "metadata.tsv").read_text().splitlines()]
    path, seconds = index[0].index("path"), index[0].index("seconds")
    rows = {f"u{number}": row for number, row in enumerate(index[1:]) if number % 20 == 0}
    write_data_dir(tmp_path / "data", {utt: corpora / row[path] for utt, row in rows.items()}, dict.fromkeys(rows, "u"))
    made(program, tmp_path / "data")
    found = read_table(tmp_path / "data/utt2dur")
    assert all(float(found[utt]) == pytest.approx(float(row[seconds]), abs=0.006) for utt, row in rows.items())
