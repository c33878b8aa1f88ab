"""utils/perturb_data_dir_speed.py: Kaldi's directories of faster and slower recordings."""

import shutil
import subprocess

import numpy as np
import pytest
from data_dirs import call, files, refuse, small, succeed, with_segments, write

from pytorch.data.commands import output_of
from pytorch.program import Fail


@pytest.fixture
def data(tmp_path):
    return small(tmp_path / "data")


def perturb(*words):
    return succeed("perturb_data_dir_speed", *words)


def test_a_speed_makes_new_utterances_recordings_and_speakers(data, tmp_path):
    write(data, utt2dur="a-1 0.9\na-2 1.8\nb-1 2.7\nb-2 1\n", text="a-1 so\na-2 so\nb-1 so\nb-2 so\n", spk2gender="a m\nb f\n")
    perturb(0.9, data, tmp_path / "new")
    found = files(tmp_path / "new")
    assert found["utt2spk"] == "sp0.9-a-1 sp0.9-a\nsp0.9-a-2 sp0.9-a\nsp0.9-b-1 sp0.9-b\nsp0.9-b-2 sp0.9-b\n"
    assert found["spk2gender"] == "sp0.9-a m\nsp0.9-b f\n"
    assert found["text"].startswith("sp0.9-a-1 so\n")
    assert found["utt2uniq"].startswith("sp0.9-a-1 a-1\nsp0.9-a-2 a-2\n")
    assert found["wav.scp"].startswith(f"sp0.9-a-1 sox -t wav {tmp_path}/silence.wav -t wav - speed 0.9 |\n")
    assert found["utt2dur"] == "sp0.9-a-1 1.000000\nsp0.9-a-2 2.000000\nsp0.9-b-1 3.000000\nsp0.9-b-2 1.111111\n"
    succeed("validate_data_dir", tmp_path / "new")


def test_speakers_can_stay_and_then_ids_get_a_suffix(data, tmp_path):
    perturb("--include-spk-prefix", "false", "1.1", data, tmp_path / "new")
    assert files(tmp_path / "new")["utt2spk"] == "a-1-sp1.1 a\na-2-sp1.1 a\nb-1-sp1.1 b\nb-2-sp1.1 b\n"
    assert files(tmp_path / "new")["utt2uniq"].startswith("a-1-sp1.1 a-1\n")


def test_segments_and_durations_of_recordings_are_divided_too(tmp_path):
    data = with_segments(tmp_path / "data", reco2dur="r1 5\nr2 2\n")
    perturb(1.25, data, tmp_path / "new")
    found = files(tmp_path / "new")
    assert found["segments"].splitlines()[0] == "sp1.25-a-1 sp1.25-r1 0.000000 1.200000"
    assert found["segments"].splitlines()[3] == "sp1.25-b-2 sp1.25-r2 0.200000 0.800000"
    assert found["reco2dur"] == "sp1.25-r1 4.000000\nsp1.25-r2 1.600000\n"
    assert found["wav.scp"].startswith("sp1.25-r1 sox -t wav /r1.wav -t wav - speed 1.25 |\n")
    assert "sp1.25-a-1 a-1\n" in found["utt2uniq"]


def test_several_factors_make_one_directory(data, tmp_path):
    perturb("0.9,1.0,1.1", data, tmp_path / "new")
    found = files(tmp_path / "new")
    assert [line.split()[0] for line in found["spk2utt"].splitlines()] == ["a", "b", "sp0.9-a", "sp0.9-b", "sp1.1-a", "sp1.1-b"]
    assert found["wav.scp"].startswith(f"a-1 {tmp_path}/silence.wav\n")
    assert "a-1 a-1\n" in found["utt2uniq"] and "sp1.1-b-2 b-2\n" in found["utt2uniq"]
    perturb("--always-include-prefix", "true", "1.0", data, tmp_path / "one")
    assert files(tmp_path / "one")["utt2spk"].startswith("sp1.0-a-1 sp1.0-a\n")
    assert files(tmp_path / "one")["wav.scp"].startswith(f"sp1.0-a-1 {tmp_path}/silence.wav\n")


def test_features_and_trials_stay_behind(data, tmp_path):
    for name in ("feats.scp", "vad.scp", "cmvn.scp", "utt2num_frames"):
        keys = ("a", "b") if name == "cmvn.scp" else ("a-1", "a-2", "b-1", "b-2")
        write(data, **{name.replace(".", "__"): "".join(f"{key} 1\n" for key in keys)})
    write(data, feats__json="{}", feats__sha256="1" * 64 + "\n", frame_shift="0.01\n", trials="a-1 b-1 nontarget\n", trials_hard="a-1 b-1 nontarget\n")
    perturb(0.9, data, tmp_path / "new")
    assert sorted(files(tmp_path / "new")) == ["spk2utt", "utt2spk", "utt2uniq", "wav.scp"]


@pytest.mark.parametrize(
    "entry, expected",
    [
        ("/x/a.WAV", "sox -t wav /x/a.WAV -t wav - speed 0.9 |"),
        ("/x/my file.wav", "sox -t wav '/x/my file.wav' -t wav - speed 0.9 |"),
        ("/x/it's.flac", "sox '/x/it'\"'\"'s.flac' -t wav - speed 0.9 |"),
        ("/x/my.M4a", "ffmpeg -nostdin -loglevel error -i /x/my.M4a -f wav - | sox -t wav - -t wav - speed 0.9 |"),
        ("/x/my tune.mp4", "ffmpeg -nostdin -loglevel error -i '/x/my tune.mp4' -f wav - | sox -t wav - -t wav - speed 0.9 |"),
        ("/x/a.aac", "ffmpeg -nostdin -loglevel error -i /x/a.aac -f wav - | sox -t wav - -t wav - speed 0.9 |"),
        ("sph2pipe -f wav x.sph |", "sph2pipe -f wav x.sph | sox -t wav - -t wav - speed 0.9 |"),
        ("/x/wav.ark:123", "wav-copy /x/wav.ark:123 - | sox -t wav - -t wav - speed 0.9 |"),
    ],
)
def test_recordings_are_played_by_sox_whatever_they_are(data, tmp_path, monkeypatch, entry, expected):
    monkeypatch.setattr(shutil, "which", lambda program: f"/bin/{program}")
    write(data, wav__scp=f"a-1 {entry}\na-2 /x\nb-1 /x\nb-2 /x\n")
    perturb(0.9, data, tmp_path / "new")
    assert files(tmp_path / "new")["wav.scp"].splitlines()[0] == f"sp0.9-a-1 {expected}"


def test_recordings_in_an_archive_need_kaldis_program(data, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    write(data, wav__scp="a-1 /x\na-2 /x.ark:12\nb-1 /x\nb-2 /x\n")
    message = f"{data}/wav.scp: 'a-2': /x.ark:12: recordings in an archive need Kaldi's wav-copy here; perturb before they are packed"
    assert refuse("perturb_data_dir_speed", 0.9, data, tmp_path / "new") == message


def test_durations_that_are_none_are_refused(data, tmp_path):
    write(data, utt2dur="a-1 1\na-2 x\nb-1 1\nb-2 1\n")
    assert refuse("perturb_data_dir_speed", 0.9, data, tmp_path / "new") == f"{data}/utt2dur:2: 'a-2': seconds above 0 expected, not 'x'"


def test_without_sox_a_warning_is_given(data, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    done = call("perturb_data_dir_speed", 0.9, data, tmp_path / "new")
    assert done.status == 0
    assert done.err == "perturb_data_dir_speed: warning: no sox on this machine; the recordings can be read only where there is one\n"


def test_what_is_written_for_m4a_may_be_run_and_ffmpeg_is_missed_too(data, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    write(data, wav__scp="a-1 /x.m4a\na-2 /x\nb-1 /x\nb-2 /x\n")
    done = call("perturb_data_dir_speed", 0.9, data, tmp_path / "new")
    assert [line.split()[3] for line in done.err.splitlines()] == ["ffmpeg", "sox"]
    entry = files(tmp_path / "new")["wav.scp"].splitlines()[0].partition(" ")[2]
    with pytest.raises(Fail, match="the program 'ffmpeg' is not installed"):  # so its arguments, and sox's, are allowed
        output_of(entry)


@pytest.mark.parametrize("factor", ["0", "-1", "x", "0.9,", "0.9, 1.1", "1,1.0", "20", "nan"])
def test_wrong_factors_exit_with_2(data, tmp_path, factor):
    done = call("perturb_data_dir_speed", factor, data, tmp_path / "new")
    assert (done.status, done.out) == (2, "")


@pytest.mark.skipif(shutil.which("sox") is None, reason="no sox")
def test_what_sox_plays_is_slower_by_the_factor(tmp_path):
    import soundfile

    soundfile.write(tmp_path / "my tone.wav", np.sin(np.arange(16000) * 0.1), 16000)
    data = write(tmp_path / "data", utt2spk="a-1 a\n", wav__scp=f"a-1 {tmp_path}/my tone.wav\n")
    perturb(0.8, data, tmp_path / "new")
    command = files(tmp_path / "new")["wav.scp"].partition(" ")[2].rstrip().removesuffix("|")
    wav = subprocess.run(["bash", "-c", command], capture_output=True, check=True).stdout
    (tmp_path / "slow.wav").write_bytes(wav)
    samples, _ = soundfile.read(tmp_path / "slow.wav")
    assert len(samples) == 20000
