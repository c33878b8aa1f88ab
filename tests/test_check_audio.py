"""pytorch/data/check_audio.py: what is wrong with the recordings of a data directory."""

import json

import numpy as np
import pytest
import soundfile
from sounds import NOISE, RATE, tone, wav_stream, write_m4a

from pytorch.data.check_audio import ERRORS, WARNINGS, check_audio, report_lines
from pytorch.data.data_dir import DataDir, write_data_dir

SOUND = tone(1, top=5000)


def report_of(folder, wav_scp, segments=None):
    tables = {"segments": segments} if segments else {}
    write_data_dir(folder / "data", wav_scp, dict.fromkeys(segments or wav_scp, "spk"), **tables)
    return json.loads(json.dumps(check_audio(DataDir(folder / "data"))))


def found_in(folder, sounds, **more):
    """What is found in recordings of these samples beside two that are in order: {kind: ids}."""
    sounds = {"good1": tone(1, hz=300, top=5000), "good2": tone(1, hz=500, top=5000), **sounds}
    for name, samples in sounds.items():
        soundfile.write(folder / f"{name}.wav", samples, more.get("rate", {}).get(name, RATE), subtype="FLOAT" if samples.dtype.kind == "f" else "PCM_16")
    report = report_of(folder, {name: folder / f"{name}.wav" for name in sounds})
    assert report["errors"] == []
    return {kind: ids for kind, ids in report["found"].items() if ids}


def test_sound_recordings_give_no_trouble(tmp_path):
    soundfile.write(tmp_path / "a.wav", SOUND, RATE)
    soundfile.write(tmp_path / "b.flac", tone(2, hz=300), RATE)
    (tmp_path / "c.wav").write_bytes(wav_stream(tone(3, hz=400)))
    write_m4a(tmp_path / "d.m4a", tone(4, hz=500), codec="alac")
    report = report_of(tmp_path, {"a": tmp_path / "a.wav", "b": tmp_path / "b.flac", "c": f"cat {tmp_path}/c.wav |", "d": tmp_path / "d.m4a"})
    assert report == {
        "recordings": 4,
        "rates": {"16000": 4},
        "channels": {"1": 4},
        "forms": {"WAV PCM_16": 2, "FLAC PCM_16": 1, "M4A ALAC": 1},
        "seconds": {"shortest": 1, "median": 3, "longest": 4, "total": 10},
        "found": {kind: [] for kind in (*ERRORS, *WARNINGS)},
        "levels": {},
        "errors": [],
        "warnings": [],
    }
    assert list(report_lines(report)) == [
        "  recordings  4",
        "  length      10 s together, 1.00 to 4.00 s, median 3.00 s",
        "  rates       16000 Hz: 4",
        "  channels    1: 4",
        "  forms       WAV PCM_16: 2, FLAC PCM_16: 1, M4A ALAC: 1",
        "  no trouble  all can be read, none is silent, clipped, of another kind, or there twice",
    ]


def test_recordings_that_cannot_be_read_are_told_apart_and_do_not_stop_the_others(tmp_path):
    soundfile.write(tmp_path / "good.wav", SOUND, RATE)
    content = (tmp_path / "good.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[:-2])
    (tmp_path / "text.wav").write_text("hello\n")
    (tmp_path / "void.wav").touch()
    soundfile.write(tmp_path / "none.wav", SOUND[:0], RATE)
    names = ("cut", "good", "no", "none", "text", "void")
    report = report_of(tmp_path, {name: tmp_path / f"{name}.wav" for name in names})
    assert {kind: ids for kind, ids in report["found"].items() if ids} == {"unreadable": ["no", "text"], "cut_off": ["cut"], "empty": ["none", "void"]}
    start = f"{tmp_path}/data/wav.scp"
    assert report["errors"] == [
        f"{start}:1: 'cut': {tmp_path}/cut.wav: cut off, 15999 of 16000 samples are there; copy or make it anew",
        f"{start}:3: 'no': {tmp_path}/no.wav: No such file or directory",
        f"{start}:4: 'none': {tmp_path}/none.wav: no samples in it",
        f"{start}:5: 'text': {tmp_path}/text.wav: not readable as audio (Format not recognised)",
        f"{start}:6: 'void': {tmp_path}/void.wav: empty file",
    ]
    assert list(report_lines(report))[-3:] == [
        "  2           cannot be read: no, text",
        "  1           cut off: cut",
        "  2           without samples: none, void",
    ]


def test_nothing_readable_at_all_is_a_report_too(tmp_path):
    report = report_of(tmp_path, {"a": "no.wav"})
    assert report["seconds"] is None
    assert list(report_lines(report)) == ["  recordings  1", "  1           cannot be read: a"]


@pytest.mark.parametrize("samples", [np.zeros(16000, dtype=np.int16), (tone(1, top=30)), (1e-5 * np.sin(np.arange(16000))).astype(np.float32)])
def test_silence_is_found(tmp_path, samples):
    assert found_in(tmp_path, {"bad": samples})["silent"] == ["bad"]


def test_dropouts_are_found(tmp_path):
    gaps = np.where(np.arange(16000) % 1000 < 600, 0, tone(1) + 1).astype(np.int16)
    assert found_in(tmp_path, {"bad": gaps}) == {"mostly_zero": ["bad"]}


def test_clipping_is_found_by_share_and_by_runs(tmp_path):
    loud = np.clip(2.0 * tone(1, top=30000), -32768, 32767).astype(np.int16)
    run = SOUND.copy()
    run[100:110] = 32767
    touched = SOUND.copy()
    touched[100:109] = -32768
    above = (tone(1, top=30000) / 20000).astype(np.float32)
    assert found_in(tmp_path, {"above": above, "loud": loud, "run": run, "touched": touched}) == {"clipped": ["above", "loud", "run"]}


def test_an_offset_is_found(tmp_path):
    assert found_in(tmp_path, {"bad": SOUND + np.int16(400), "fine": SOUND + np.int16(300)}) == {"dc_offset": ["bad"]}


def test_short_utterances_are_found(tmp_path):
    assert found_in(tmp_path, {"bad": SOUND[:3999], "fine": SOUND[:4000]}) == {"short": ["bad"]}


def test_another_rate_or_number_of_channels_than_most_is_found(tmp_path):
    sounds = {"other": np.stack([SOUND, SOUND], axis=1), "slow": SOUND}
    assert found_in(tmp_path, sounds, rate={"slow": 8000}) == {"other_channels": ["other"], "other_rate": ["slow"]}


def test_doubles_are_found_by_their_samples_whatever_the_file(tmp_path):
    soundfile.write(tmp_path / "a.wav", SOUND, RATE)
    soundfile.write(tmp_path / "b.flac", SOUND, RATE)
    soundfile.write(tmp_path / "c.wav", SOUND / 32768, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "d.wav", SOUND + np.int16(1), RATE)
    soundfile.write(tmp_path / "e.wav", SOUND, 8000)
    names = ("a.wav", "b.flac", "c.wav", "d.wav", "e.wav")
    report = report_of(tmp_path, {name[0]: tmp_path / name for name in names})
    assert report["found"]["duplicates"] == [["a", "b", "c"]]
    assert "3 with the very samples of another: a = b = c" in report["warnings"]


def test_levels_of_those_that_stand_out_are_told(tmp_path):
    loud = np.where(np.arange(1600) % 2, 32767, -32768).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", loud, RATE)
    soundfile.write(tmp_path / "b.wav", np.zeros(16000, dtype=np.int16), RATE)
    report = report_of(tmp_path, {"a": tmp_path / "a.wav", "b": tmp_path / "b.wav"})
    assert report["levels"] == {
        "a": {"db": 0, "peak_db": 0, "zero": 0, "full": 1, "run": 1600, "dc": pytest.approx(-0.5 / 32768)},
        "b": {"db": -200, "peak_db": -200, "zero": 1, "full": 0, "run": 0, "dc": 0},
    }


def test_segments_beyond_their_recording_are_errors_and_short_ones_warnings(tmp_path):
    soundfile.write(tmp_path / "r.wav", SOUND, RATE)
    report = report_of(tmp_path, {"r": tmp_path / "r.wav"}, {"a": "r 0 1", "b": "r 0.5 1.49", "c": "r 0.5 1.51", "d": "r 1 1.2", "e": "r 0 0.2"})
    assert {kind: ids for kind, ids in report["found"].items() if ids} == {"beyond_end": ["c", "d"], "short": ["e"]}
    assert report["errors"] == [
        f"{tmp_path}/data/segments:3: 'c': ends at 1.51 s, but its recording 'r' at 1.00 s; mend its times or remove it",
        f"{tmp_path}/data/segments:4: 'd': from 1 to 1.2 s there is no sample of 'r', which ends at 1.00 s",
    ]


def test_long_recordings_are_heard_block_by_block(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.tile(NOISE, 50), RATE)
    soundfile.write(tmp_path / "b.flac", np.tile(NOISE, 50), RATE)
    whole = report_of(tmp_path, {"a": tmp_path / "a.wav", "b": tmp_path / "b.flac"})
    monkeypatch.setattr("pytorch.data.audio._BLOCK", 777)
    in_blocks = report_of(tmp_path, {"a": tmp_path / "a.wav", "b": tmp_path / "b.flac"})
    assert in_blocks["found"] == whole["found"]
    assert in_blocks["found"]["duplicates"] == [["a", "b"]]


def test_real_corpora_have_no_trouble_that_was_not_known(corpora, tmp_path):
    paths = {f"{path.parent.name}-{path.stem}": path for path in sorted((corpora / "an4/wav").glob("*/*/*.wav"))}
    report = report_of(tmp_path, paths)
    assert report["rates"] == {"16000": len(paths)}
    assert report["forms"] == {"WAV PCM_16": len(paths)}
    assert {kind: ids for kind, ids in report["found"].items() if ids} == {"dc_offset": ["mgah-cen4-mgah-b"]}
