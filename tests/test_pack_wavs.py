"""steps/pack_wavs.py: recordings and segments as 16-bit samples in archives that kaldiio, and so Kaldi, reads."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
from sounds import NOISE, RATE, tone, wav_stream, write_m4a

from pytorch.data.data_dir import REST, DataDir, read_table, write_data_dir, write_table
from pytorch.data.recordings import Recordings
from pytorch.files import write_json

ROOT = Path(__file__).resolve().parents[1]
STEP = "steps/pack_wavs.py"
SOUNDS = {f"s{number // 3}-{number}": np.roll(np.concatenate([NOISE, tone(0.1 * (number + 1))]), number) for number in range(9)}


def data_of(folder, wav_scp, **tables):
    write_data_dir(folder, wav_scp, {utt: utt[:2] for utt in tables.get("segments", wav_scp)}, **tables)
    return folder


@pytest.fixture(scope="module")
def wavs(tmp_path_factory):
    """{utt: path}"""
    folder = tmp_path_factory.mktemp("wavs")
    for utt, samples in SOUNDS.items():
        soundfile.write(folder / f"{utt}.wav", samples, RATE)
    return {utt: folder / f"{utt}.wav" for utt in SOUNDS}


@pytest.fixture
def data(tmp_path, wavs):
    return data_of(
        tmp_path / "data", wavs, spk2gender={"s0": "m", "s1": "f", "s2": "m"}, utt2age=dict.fromkeys(wavs, 30), text=dict.fromkeys(wavs, "two words")
    )


def packed(program, *words, status=0):
    done = program(STEP, *words)
    assert done.returncode == status, done.stderr
    return done


def in_archives(folder):
    """{utt: (rate, samples)} as kaldiio reads them: int16, or floats below 1 where they are FLAC"""
    return {utt: (rate, np.array(samples)) for utt, (rate, samples) in kaldiio.load_scp(str(folder / "wav.scp")).items()}


def bytes_in(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock" and path.parent.name != "log"}


# ---- what it makes


@pytest.mark.parametrize("jobs", [[], ["--nj", 3]])
def test_16_bit_recordings_are_packed_as_they_are(program, data, tmp_path, jobs):
    out = tmp_path / "out"
    done = packed(program, *jobs, data, out)
    hours = sum(map(len, SOUNDS.values())) / RATE / 3600
    assert done.stdout.splitlines()[-1] == f"pack_wavs: {out}: 9 utterances, 16000 Hz, {hours:.2f} h as pcm"
    found = in_archives(out)
    assert list(found) == list(SOUNDS)
    for utt, (rate, samples) in found.items():
        assert (rate, samples.dtype) == (RATE, np.int16)
        np.testing.assert_array_equal(samples, SOUNDS[utt])
    archives = sorted(out.glob("*.ark"))
    assert [path.name for path in archives] == (["wav.1.ark", "wav.2.ark", "wav.3.ark"] if jobs else ["wav.ark"])
    together = {key: samples for path in archives for key, (_, samples) in kaldiio.load_ark(str(path))}
    assert {key: samples.tobytes() for key, samples in together.items()} == {utt: samples.tobytes() for utt, samples in SOUNDS.items()}


def test_flac_is_exact_and_half_as_large(program, data, tmp_path):
    packed(program, "--format", "flac", "--nj", 2, data, tmp_path / "out")
    for utt, (rate, samples) in in_archives(tmp_path / "out").items():
        assert rate == RATE
        np.testing.assert_array_equal(samples * 32768, SOUNDS[utt])
    assert sorted(key for number in (1, 2) for key, _ in kaldiio.load_ark(str(tmp_path / f"out/wav.{number}.ark"))) == list(SOUNDS)


def test_the_output_is_a_data_directory_with_the_same_tables(program, data, tmp_path):
    out = tmp_path / "out"
    packed(program, data, out)
    for name in ("utt2spk", "spk2utt", "spk2gender", "utt2age", "text"):
        assert (out / name).read_bytes() == (data / name).read_bytes()
    assert {utt: float(seconds) for utt, seconds in read_table(out / "utt2dur").items()} == {utt: round(len(sound) / RATE, 6) for utt, sound in SOUNDS.items()}
    checked = program("utils/validate_data_dir.py", out)
    assert checked.returncode == 0, checked.stderr
    recordings = Recordings(DataDir(out), RATE)
    np.testing.assert_array_equal(recordings.read("s1-4"), SOUNDS["s1-4"])


def test_trials_come_along_without_those_of_utterances_that_are_left_out(program, data, tmp_path):
    (data / "trials").write_text("s0-0 s0-1 target\ns0-0 s1-3 nontarget\ns0-0 s2-7 nontarget\n")
    packed(program, data, tmp_path / "out")
    assert (tmp_path / "out/trials").read_bytes() == (data / "trials").read_bytes()
    write_table(data / "wav.scp", {**read_table(data / "wav.scp", REST), "s2-7": "no.wav"})
    done = packed(program, "--max-fail", 1, data, tmp_path / "part")
    assert "pack_wavs: trials: 1 of 3 left out, as their utterances are\n" in done.stdout
    assert (tmp_path / "part/trials").read_text() == "s0-0 s0-1 target\ns0-0 s1-3 nontarget\n"
    (data / "trials").write_text("s0-0 s0-1 target\n")
    assert "trials has changed" in packed(program, data, tmp_path / "out", status=1).stderr


def test_jobs_and_forms_give_the_same_values(program, data, tmp_path):
    hashes = set()
    for number, words in enumerate([[], ["--nj", 2], ["--nj", 4], ["--format", "flac"]]):
        packed(program, *words, data, tmp_path / str(number))
        hashes.add((tmp_path / str(number) / "wav.sha256").read_text())
    assert len(hashes) == 1


def test_segments_become_utterances(program, tmp_path, wavs):
    times = {"s1-4-a": "s1-4 0.0125 0.1", "s1-4-b": "s1-4 0.1 0.5", "s2-8-a": "s2-8 0 0.95", "s2-8-b": "s2-8 0.5 1.25"}
    data = data_of(tmp_path / "data", {rec: wavs[rec] for rec in ("s1-4", "s2-8")}, segments=times, reco2dur={"s1-4": 0.55, "s2-8": 0.95})
    done = packed(program, "--nj", 2, data, tmp_path / "out")
    assert "pack_wavs: 1 segments cut at the end of their recordings, by 0.30 s at most: s2-8-b\n" in done.stdout
    assert "pack_wavs: not carried: reco2dur\n" in done.stdout
    found = in_archives(tmp_path / "out")
    assert list(found) == list(times)
    np.testing.assert_array_equal(found["s1-4-a"][1], SOUNDS["s1-4"][200:1600])
    np.testing.assert_array_equal(found["s2-8-b"][1], SOUNDS["s2-8"][8000:])
    assert not (tmp_path / "out/segments").exists()
    assert read_table(tmp_path / "out/utt2dur")["s1-4-a"] == "0.087500"


def test_recordings_of_all_kinds_are_packed(program, tmp_path, wavs):
    (tmp_path / "stream.wav").write_bytes(wav_stream(SOUNDS["s0-0"]))
    soundfile.write(tmp_path / "x.flac", SOUNDS["s0-1"], RATE)
    write_m4a(tmp_path / "x.m4a", SOUNDS["s0-2"], codec="alac")
    data = data_of(tmp_path / "data", {"s0-0": f"cat {tmp_path}/stream.wav |", "s0-1": tmp_path / "x.flac", "s0-2": tmp_path / "x.m4a", "s1-4": wavs["s1-4"]})
    packed(program, data, tmp_path / "once")
    packed(program, tmp_path / "once", tmp_path / "twice")
    for folder in ("once", "twice"):
        for utt, (_, samples) in in_archives(tmp_path / folder).items():
            np.testing.assert_array_equal(samples, SOUNDS[utt])


def test_other_samples_are_rounded_and_those_beyond_full_scale_clipped_and_counted(program, tmp_path):
    values = np.array([0.25, 0.5, -0.5, 1.5, -1.5, 2.51, 32767.4, 32768, 32769, 1e6, -32768, -32769, -1e6])
    soundfile.write(tmp_path / "x.wav", (values / 32768).astype(np.float64), RATE, subtype="DOUBLE")
    data = data_of(tmp_path / "data", {"s0-0": tmp_path / "x.wav"})
    done = packed(program, data, tmp_path / "out")
    assert done.stderr == "pack_wavs: warning: 4 samples of 1 utterances were beyond full scale and are clipped: s0-0\n"
    expected = [0, 0, 0, 2, -2, 3, 32767, 32767, 32767, 32767, -32768, -32768, -32768]
    np.testing.assert_array_equal(in_archives(tmp_path / "out")["s0-0"][1], expected)


def test_another_rate_is_converted_when_asked_and_said(program, tmp_path, wavs):
    soundfile.write(tmp_path / "x.wav", tone(0.5, rate=8000), 8000)
    data = data_of(tmp_path / "data", {"s0-0": wavs["s0-0"], "s0-1": tmp_path / "x.wav"})
    failed = packed(program, data, tmp_path / "out", status=1)
    assert "8000 Hz, 16000 Hz expected; convert it with --resample true, or set --sample-frequency where a program has it" in failed.stderr
    done = packed(program, "--resample", "true", data, tmp_path / "out")
    assert "pack_wavs: 1 utterances converted to 16000 Hz\n" in done.stdout
    rate, samples = in_archives(tmp_path / "out")["s0-1"]
    assert (rate, len(samples)) == (16000, 8000)
    np.testing.assert_allclose(samples[1000:7000], tone(0.5)[1000:7000], rtol=0, atol=3)


def test_a_channel_is_taken(program, tmp_path):
    soundfile.write(tmp_path / "x.wav", np.stack([NOISE, NOISE[::-1]], axis=1), RATE)
    data = data_of(tmp_path / "data", {"s0-0": tmp_path / "x.wav"})
    packed(program, "--channel", 1, data, tmp_path / "out")
    np.testing.assert_array_equal(in_archives(tmp_path / "out")["s0-0"][1], NOISE[::-1])


def test_features_are_not_carried_and_it_says_so(program, data, tmp_path, wavs):
    assert program("steps/make_feats.py", data).returncode == 0
    done = packed(program, data, tmp_path / "out")
    assert "pack_wavs: not carried: feats.scp, utt2num_frames\n" in done.stdout
    assert not list((tmp_path / "out").glob("feats*"))
    assert program("steps/make_feats.py", tmp_path / "out").returncode == 0
    before, after = (kaldiio.load_scp(str(folder / "feats.scp")) for folder in (data, tmp_path / "out"))
    assert all(np.array_equal(before[utt], after[utt]) for utt in wavs)


# ---- again, interrupted, changed


def test_a_second_run_does_nothing(program, data, tmp_path):
    packed(program, data, tmp_path / "out")
    before = bytes_in(tmp_path / "out")
    done = packed(program, "--nj", 2, data, tmp_path / "out")
    assert done.stdout == f"pack_wavs: the recordings of {data} are packed in {tmp_path}/out\n"
    assert bytes_in(tmp_path / "out") == before


def test_other_options_stop_with_their_names(program, data, tmp_path):
    packed(program, data, tmp_path / "out")
    done = packed(program, "--format", "flac", "--allow-cmd", "x", data, tmp_path / "out", status=1)
    expected = f"{tmp_path}/out: pack_wavs was done otherwise: --format was pcm, now flac. Pass --overwrite true to do it anew"
    assert done.stderr == f"pack_wavs.py: {expected}\n"
    packed(program, "--format", "flac", "--overwrite", "true", data, tmp_path / "out")
    assert in_archives(tmp_path / "out")["s0-0"][1].dtype == np.float64


def test_other_tables_stop(program, data, tmp_path):
    packed(program, data, tmp_path / "out")
    write_table(data / "spk2gender", {"s0": "f", "s1": "f", "s2": "m"})
    done = packed(program, data, tmp_path / "out", status=1)
    assert done.stderr.endswith("pack_wavs was done otherwise: spk2gender has changed. Pass --overwrite true to do it anew\n")


def test_the_data_directory_itself_is_not_written_over(program, data):
    done = packed(program, data, data / "../data", status=1)
    assert done.stderr.endswith("is the data directory itself, whose wav.scp would be replaced; choose another folder\n")


def test_a_directory_of_somebody_elses_is_not_written_over(program, data, tmp_path, wavs):
    other = data_of(tmp_path / "other", wavs)
    done = packed(program, data, other, status=1)
    expected = f"{other}/wav.scp: is there, but pack_wavs did not make it; move it away, or pass --overwrite true to replace it"
    assert done.stderr == f"pack_wavs.py: {expected}\n"
    assert read_table(other / "wav.scp", REST)["s0-0"] == str(wavs["s0-0"])


def test_bad_recordings_are_listed_and_the_others_kept(program, data, tmp_path):
    cut = tmp_path / "cut.wav"
    soundfile.write(cut, SOUNDS["s1-4"], RATE)
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-100])
    table = read_table(data / "wav.scp", REST)
    write_table(data / "wav.scp", {**table, "s1-4": cut, "s2-7": tmp_path / "no.wav"})
    done = packed(program, "--nj", 2, data, tmp_path / "out", status=1)
    assert not (tmp_path / "out/wav.scp").exists()
    failed = read_table(tmp_path / "out/log/pack_wavs.failed", REST)
    assert failed["s1-4"].endswith(f"'s1-4': {cut}: cut off, {len(SOUNDS['s1-4']) - 50} of {len(SOUNDS['s1-4'])} samples are there; copy or make it anew")
    assert failed["s2-7"].endswith(f"'s2-7': {tmp_path}/no.wav: No such file or directory")
    assert failed.keys() == {"s1-4", "s2-7"}
    assert "2 of 9 utterances failed" in done.stderr
    cut.write_bytes(whole)
    soundfile.write(tmp_path / "no.wav", SOUNDS["s2-7"], RATE)
    packed(program, "--nj", 2, data, tmp_path / "out")
    for utt, (_, samples) in in_archives(tmp_path / "out").items():
        np.testing.assert_array_equal(samples, SOUNDS[utt])


def test_bad_recordings_may_be_left_out_of_all_tables(program, data, tmp_path):
    write_table(data / "wav.scp", {**read_table(data / "wav.scp", REST), "s2-6": "no.wav", "s2-7": "no.wav", "s2-8": "no.wav"})
    packed(program, "--max-fail", 3, data, tmp_path / "out")
    assert list(read_table(tmp_path / "out/utt2age")) == [utt for utt in sorted(SOUNDS) if not utt.startswith("s2")]
    assert read_table(tmp_path / "out/spk2gender") == {"s0": "m", "s1": "f"}
    assert program("utils/validate_data_dir.py", tmp_path / "out").returncode == 0


def test_killed_at_any_moment_it_ends_with_the_same(program, data, tmp_path):
    packed(program, data, tmp_path / "whole")
    expected = {utt: samples.tobytes() for utt, (_, samples) in in_archives(tmp_path / "whole").items()}
    for number, wait in enumerate([0.05, 0.1, 0.15, 0.2, 0.3]):
        out = tmp_path / str(number)
        process = subprocess.Popen([sys.executable, ROOT / STEP, data, out], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        packed(program, data, out)
        assert {utt: samples.tobytes() for utt, (_, samples) in in_archives(out).items()} == expected
        assert (out / "wav.sha256").read_text() == (tmp_path / "whole/wav.sha256").read_text()


def test_killed_before_its_last_word_it_takes_what_lies_there(program, data, tmp_path):
    out = tmp_path / "out"
    packed(program, data, out)
    expected = {utt: samples.tobytes() for utt, (_, samples) in in_archives(out).items()}
    marker = out / ".done/pack_wavs.json"
    write_json(marker, json.loads(marker.read_text()) | {"outputs": None})
    packed(program, data, out)
    assert {utt: samples.tobytes() for utt, (_, samples) in in_archives(out).items()} == expected
    assert json.loads(marker.read_text())["outputs"]


def test_a_full_disk_is_one_line(data, tmp_path):
    command = ["bash", "-c", f"ulimit -f 20; exec {sys.executable} {ROOT / STEP} {data} {tmp_path}/out"]  # no file above 20 KiB
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.endswith(": File too large\n")
    assert done.stderr.count("\n") == 1
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_the_marker_holds_what_the_result_depends_on(program, data, tmp_path):
    packed(program, data, tmp_path / "out")
    marker = json.loads((tmp_path / "out/.done/pack_wavs.json").read_text())
    assert marker["options"] == {"format": "pcm", "sample_frequency": 16000, "channel": None, "resample": False}
    assert marker["inputs"].keys() == {"utt2spk", "wav.scp", "spk2gender", "text", "utt2age", "audio", "folder"}


def test_an4_is_packed_exactly(program, corpora, tmp_path):
    paths = {f"{path.parent.name}-{path.stem}": path for path in sorted((corpora / "an4/wav").glob("*/*/*.wav"))[:60]}
    write_data_dir(tmp_path / "data", paths, {utt: utt.split("-")[0] for utt in paths})
    packed(program, "--nj", 2, tmp_path / "data", tmp_path / "out")
    found = in_archives(tmp_path / "out")
    assert len(found) == len(paths)
    for utt, path in paths.items():
        np.testing.assert_array_equal(found[utt][1], soundfile.read(path, dtype="int16")[0])
