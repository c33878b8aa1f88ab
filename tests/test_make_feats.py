"""steps/make_feats.py: features of a data directory, in place and in jobs, and what it says of bad input."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

from pytorch.data.data_dir import read_table, write_data_dir
from pytorch.features.options import FeatureOptions

ROOT = Path(__file__).resolve().parents[1]
STEP = "steps/make_feats.py"


def sound(speaker, sec, seed):
    """Tones of one pitch for each speaker, in noise."""
    chance = np.random.default_rng([speaker, seed])
    time = np.arange(int(16000 * sec)) / 16000
    tones = sum(np.sin(2 * np.pi * (90 + 30 * speaker) * k * time) / k for k in range(1, 6))
    return (0.1 * tones + 0.01 * chance.standard_normal(len(time))).astype(np.float32)


@pytest.fixture(scope="module")
def wavs(tmp_path_factory):
    """{utt: path} of 6 speakers with 4 recordings each"""
    folder = tmp_path_factory.mktemp("wavs")
    paths = {}
    for speaker in range(6):
        for number in range(4):
            utt = f"s{speaker}-{number}"
            paths[utt] = folder / f"{utt}.wav"
            soundfile.write(paths[utt], sound(speaker, 0.3 + 0.1 * number + 0.05 * speaker, number), 16000)
    return paths


def data_of(folder, wavs, num=None):
    """A data directory of the first `num` recordings."""
    table = {utt: str(path) for utt, path in list(wavs.items())[:num]}
    write_data_dir(folder, table, {utt: utt[:2] for utt in table})
    return folder


@pytest.fixture
def data(tmp_path, wavs):
    """A data directory of six recordings, without features."""
    return data_of(tmp_path / "data", wavs, 6)


@pytest.fixture(scope="module")
def made(tmp_path_factory, wavs, program):
    """A data directory of all recordings with features made in place; only to be read."""
    folder = data_of(tmp_path_factory.mktemp("made") / "data", wavs)
    done = program(STEP, folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"make_feats: {folder}: fbank of 24 utterances, 23 columns, {frames_in(folder)} frames, 0.00 h\n"
    return folder


@pytest.fixture
def lent(made, tmp_path):
    """`made` for a test that changes it; put back afterwards."""
    shutil.copytree(made, tmp_path / "kept")
    yield made
    shutil.rmtree(made)
    shutil.copytree(tmp_path / "kept", made)


def frames_in(folder):
    return sum(map(int, read_table(folder / "utt2num_frames").values()))


def feats_in(folder):
    """As kaldiio reads them, lent out of the archives."""
    return {utt: np.array(matrix) for utt, matrix in kaldiio.load_scp(str(folder / "feats.scp")).items()}


def bytes_in(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock"}


def stamps_in(folder):
    """The identity of each file: one that is written anew gets another."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()}


def assert_same(one, other):
    assert list(one) == list(other)
    for utt in one:
        np.testing.assert_array_equal(one[utt], other[utt], strict=True)


def started(*words, **more):
    command = [sys.executable, str(ROOT / STEP), *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def eventually(is_true):
    for _ in range(12000):
        if is_true():
            return True
        time.sleep(0.005)
    return False


# ---- what it makes


def test_features_are_those_of_the_library_and_kaldiio_reads_them(made, wavs):
    import torch

    from pytorch.features.kaldi import Features

    features = Features(FeatureOptions())
    found = feats_in(made)
    assert list(found) == sorted(wavs)
    for utt, path in wavs.items():
        samples = soundfile.read(path, dtype="int16")[0].astype(np.float32)
        expected = features(torch.from_numpy(samples)).numpy()
        np.testing.assert_allclose(found[utt], expected, rtol=0, atol=np.ptp(expected) / 65535)  # two bytes a value
    assert (made / "feats.ark").read_bytes().count(b"\0BCM2 ") == len(wavs)


def test_without_compression_features_are_those_of_the_library_to_the_bit(wavs, tmp_path, program):
    import torch

    from pytorch.features.kaldi import Features

    folder = data_of(tmp_path / "data", wavs, 4)
    assert program(STEP, "--compress", 0, folder).returncode == 0
    features = Features(FeatureOptions())
    for utt, matrix in feats_in(folder).items():
        samples = soundfile.read(wavs[utt], dtype="int16")[0].astype(np.float32)
        np.testing.assert_array_equal(matrix, features(torch.from_numpy(samples)).numpy(), strict=True)


def test_settings_and_numbers_of_frames_lie_beside_the_features(made):
    assert json.loads((made / "feats.json").read_text()) == FeatureOptions().to_json()
    assert read_table(made / "utt2num_frames") == {utt: str(len(matrix)) for utt, matrix in feats_in(made).items()}


def test_nothing_but_results_stays(made):
    names = {path.name for path in made.iterdir()}
    assert names == {".done", "wav.scp", "utt2spk", "spk2utt", "feats.ark", "feats.scp", "feats.sha256", "feats.json", "utt2num_frames"}
    (sources,) = (made / ".done").glob("make_feats-*.sources")
    assert {path.name for path in (made / ".done").iterdir()} == {"make_feats.json", "make_feats.lock", sources.name}


@pytest.mark.parametrize("nj", [1, 3])
def test_jobs_make_the_same_features_as_working_in_place(nj, made, wavs, tmp_path, program):
    folder = data_of(tmp_path / "data", wavs)
    done = program(STEP, "--nj", nj, folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert_same(feats_in(folder), feats_in(made))
    for name in ("utt2num_frames", "feats.json"):
        assert (folder / name).read_bytes() == (made / name).read_bytes()
    arks = ["feats.ark"] if nj == 1 else [f"feats.{job}.ark" for job in range(1, nj + 1)]
    assert sorted(path.name for path in folder.glob("*.ark")) == arks
    assert sorted(path.name for path in (folder / "log").iterdir()) == [f"make_feats.{job}.log" for job in range(1, nj + 1)]
    assert not (folder / ".parts").exists()


def test_more_jobs_than_utterances_make_the_same_features(made, wavs, tmp_path, program):
    folder = data_of(tmp_path / "data", wavs, 3)
    assert program(STEP, "--nj", 5, folder).returncode == 0
    found = feats_in(made)
    assert_same(feats_in(folder), {utt: found[utt] for utt in list(wavs)[:3]})


def test_another_number_of_jobs_does_not_make_them_again(lent, program):
    before = stamps_in(lent)
    done = program(STEP, "--nj", 2, "--cmd", "submit.py --max-jobs-run 1", lent)
    assert (done.returncode, done.stdout) == (0, f"make_feats: the features of {lent} are there\n")
    assert stamps_in(lent) == before


def test_another_split_leaves_no_archive_of_the_first_and_none_of_the_users_own_is_lost(lent, program):
    (lent / "feats.mine.ark").write_text("mine")
    before = feats_in(lent)
    assert program(STEP, "--overwrite", "true", "--nj", 2, lent).returncode == 0
    assert sorted(path.name for path in lent.glob("*.ark")) == ["feats.1.ark", "feats.2.ark", "feats.mine.ark"]
    assert_same(feats_in(lent), before)


def test_a_config_file_with_comments_sets_options_and_the_command_line_wins(data, program):
    config = data.parent / "mfcc.conf"
    config.write_text("# MFCC as in the paper\n--feature=mfcc\n--num-ceps=20  # all but three\n\n--num_mel_bins=23\n")
    assert program(STEP, "--num-ceps", 7, "--config", config, data).returncode == 0
    settings = json.loads((data / "feats.json").read_text())
    assert (settings["feature"], settings["num_ceps"], settings["num_mel_bins"]) == ("mfcc", 7, 23)
    assert {matrix.shape[1] for matrix in feats_in(data).values()} == {7}


def test_commands_archives_and_segments_give_the_features_of_the_samples_they_hold(wavs, tmp_path, program):
    import torch

    from pytorch.features.kaldi import Features

    whole, path = soundfile.read(wavs["s5-3"], dtype="int16")[0], str(wavs["s5-3"])
    kaldiio.save_ark(str(tmp_path / "wav.ark"), {"x": (16000, whole)})
    folder = tmp_path / "data"
    write_data_dir(folder, {"a": f"cat {path} |", "b": f"{tmp_path}/wav.ark:2", "c": path}, {f"s-{rec}": "s" for rec in "abc"})
    (folder / "segments").write_text("s-a a 0.1 0.4\ns-b b 0.1 0.4\ns-c c 0.1 0.4\n")
    assert program(STEP, "--compress", 0, "--nj", 2, folder).returncode == 0
    expected = Features(FeatureOptions())(torch.from_numpy(whole[1600:6400].astype(np.float32))).numpy()
    for matrix in feats_in(folder).values():
        np.testing.assert_array_equal(matrix, expected, strict=True)


@pytest.mark.parametrize("by", ["utterance", "speaker"])
def test_warp_factors_of_a_table_are_those_of_the_library(by, wavs, tmp_path, program):
    import torch

    from pytorch.features.kaldi import Features

    folder = data_of(tmp_path / "data", wavs, 8)
    utts = list(wavs)[:8]
    factors = {utt: 1.1 if utt[:2] == "s0" else 0.9 for utt in utts}
    (tmp_path / "warps").write_text("".join(f"{utt} {factor}\n" for utt, factor in factors.items()) if by == "utterance" else "s0 1.1\ns1 0.9\n")
    assert program(STEP, "--compress", 0, "--vtln-map", tmp_path / "warps", folder).returncode == 0
    features = Features(FeatureOptions())
    for utt, matrix in feats_in(folder).items():
        samples = torch.from_numpy(soundfile.read(wavs[utt], dtype="int16")[0].astype(np.float32))
        np.testing.assert_array_equal(matrix, features(samples, utt, warp=factors[utt]).numpy(), strict=True)
        assert not np.array_equal(matrix, features(samples, utt).numpy())
    assert json.loads((folder / "feats.json").read_text())["vtln_map"] is True
    (tmp_path / "warps").write_text("s0 1.2\ns1 0.9\n")
    done = program(STEP, "--compress", 0, "--vtln-map", tmp_path / "warps", folder)
    assert (done.returncode, "vtln_map has changed" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s1 1.0\n", "has neither 's0-0' nor its speaker 's0'"),
        ("s0 much\ns1 1\n", "'s0-0': a warp factor between 0.5 and 1.5 expected, not 'much'"),
        ("s0 2\ns1 1\n", "'s0-0': a warp factor between 0.5 and 1.5 expected, not '2'"),
    ],
)
def test_wrong_warp_factors_are_refused(text, message, data, program):
    table = data.parent / "warps"
    table.write_text(text)
    done = program(STEP, "--vtln-map", table, data)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"make_feats.py: {table}: {message}\n")


def test_a_path_with_blanks_quotes_and_the_runners_own_word_works_in_jobs(wavs, tmp_path, made, program):
    folder = data_of(tmp_path / 'JOB\'s "$HOME" & JOB_ ü;x' / "my data", wavs, 4)
    done = program(STEP, "--nj", 2, folder)
    assert (done.returncode, done.stderr) == (0, "")
    found = feats_in(made)
    assert list(read_table(folder / "feats.scp", None)) == list(wavs)[:4]
    assert_same(feats_in(folder), {utt: found[utt] for utt in list(wavs)[:4]})


# ---- run again


def test_a_second_run_does_nothing(lent, program):
    before = stamps_in(lent)
    done = program(STEP, lent)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"make_feats: the features of {lent} are there\n", "")
    assert stamps_in(lent) == before


def test_a_changed_option_stops_with_its_name_and_both_values(lent, program):
    before = bytes_in(lent)
    done = program(STEP, "--num-mel-bins", 40, "--snip-edges", "false", lent)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"make_feats.py: {lent}: make_feats was done otherwise: --num-mel-bins was 23, now 40; --snip-edges was true, now false. "
        "Pass --overwrite true to do it anew\n"
    )
    assert bytes_in(lent) == before


def test_decisions_that_are_left_of_older_features_are_said(lent, program):
    options = ("--use-energy", "true", "--overwrite", "true", lent)
    assert program(STEP, *options).returncode == 0
    assert program("steps/compute_vad.py", lent).returncode == 0
    assert program(STEP, *options).stderr == "", "the features are the same again"
    done = program(STEP, "--low-freq", 100, *options)
    warning = f"make_feats: warning: {lent}/vad.scp is of the old features: run steps/compute_vad.py --overwrite true {lent}\n"
    assert (done.returncode, done.stderr) == (0, warning)
    assert program("steps/compute_vad.py", "--overwrite", "true", lent).returncode == 0


def test_overwrite_makes_them_anew_with_other_options(lent, program):
    assert program(STEP, "--num-mel-bins", 40, "--overwrite", "true", lent).returncode == 0
    assert {matrix.shape[1] for matrix in feats_in(lent).values()} == {40}
    assert json.loads((lent / "feats.json").read_text())["num_mel_bins"] == 40


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            lambda folder: (folder / "wav.scp").write_text((folder / "wav.scp").read_text().replace("s0-1.wav", "s0-0.wav")),
            "audio has changed; wav.scp has changed",
        ),
        (lambda folder: soundfile.write(folder.parent / "own.wav", sound(1, 0.5, 9), 16000), "audio has changed"),
    ],
    ids=["other paths in wav.scp", "audio of another size"],
)
def test_changed_input_stops(change, what, made, wavs, tmp_path, program):
    own = {**wavs, "s0-0": tmp_path / "own.wav"}
    shutil.copy(wavs["s0-0"], own["s0-0"])
    folder = data_of(tmp_path / "data", own, 2)
    assert program(STEP, folder).returncode == 0
    change(folder)
    done = program(STEP, folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"make_feats.py: {folder}: make_feats was done otherwise: {what}. Pass --overwrite true to do it anew\n"


def test_a_missing_archive_is_made_anew_and_a_damaged_one_when_told_to(lent, program):
    before = feats_in(lent)
    ark = lent / "feats.ark"
    ark.write_bytes(ark.read_bytes()[:-100])
    done = program(STEP, lent)
    message = f"{ark}: was changed since make_feats made it; move it away, or pass --overwrite true to make it anew"
    assert (done.returncode, done.stderr) == (1, f"make_feats.py: {message}\n")
    ark.unlink()
    done = program(STEP, lent)
    assert (done.returncode, done.stderr) == (0, "make_feats: feats.ark is missing; made anew\n")
    assert_same(feats_in(lent), before)


def test_features_of_somebody_else_are_replaced_only_with_overwrite(data, program):
    (data / "feats.scp").write_text("s0-0 /from/kaldi/feats.ark:5\n")
    done = program(STEP, data)
    assert (done.returncode, done.stdout) == (1, "")
    message = f"{data}/feats.scp: is there, but make_feats did not make it; move it away, or pass --overwrite true to replace it"
    assert done.stderr == f"make_feats.py: {message}\n"
    assert (data / "feats.scp").read_text() == "s0-0 /from/kaldi/feats.ark:5\n"
    assert program(STEP, "--overwrite", "true", data).returncode == 0
    assert len(feats_in(data)) == 6


# ---- bad input


def stereo(path):
    soundfile.write(path, np.zeros((8000, 2), dtype=np.float32), 16000)


BAD_WAVS = {
    "missing": (lambda path: path.unlink(), "No such file or directory"),
    "empty": (lambda path: path.write_bytes(b""), "empty file"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:4000]), "cut off, 1978 of 8000 samples are there; copy or make it anew"),
    "8 kHz": (
        lambda path: soundfile.write(path, sound(1, 1, 0), 8000),
        "8000 Hz, 16000 Hz expected; convert it with --resample true, or set --sample-frequency where a program has it",
    ),
    "stereo": (stereo, "2 channels, one expected; say which to take with --channel, 0 is the first"),
    "10 samples": (lambda path: soundfile.write(path, sound(1, 1, 0)[:10], 16000), "10 samples, too short for one frame; remove it"),
    "text": (lambda path: path.write_text("hello\n"), "not readable as audio (Format not recognised)"),
}


@pytest.mark.parametrize("kind", BAD_WAVS)
def test_a_bad_recording_is_named_with_its_line_and_utterance(kind, wavs, tmp_path, program):
    own = {**wavs, "s0-1": tmp_path / "own.wav"}
    soundfile.write(own["s0-1"], sound(0, 0.5, 0), 16000)
    spoil, message = BAD_WAVS[kind]
    spoil(own["s0-1"])
    folder = data_of(tmp_path / "data", own, 3)
    done = program(STEP, folder)
    assert (done.returncode, done.stdout) == (1, "")
    trouble = f"{folder}/wav.scp:2: 's0-1': {own['s0-1']}: {message}"
    remedy = "the others are kept: mend or remove these and run again, or leave them out with --max-fail 1"
    summary = f"{folder}: 1 of 3 utterances failed, listed in {folder}/log/make_feats.failed; {remedy}"
    assert done.stderr == f"make_feats: {trouble}\nmake_feats.py: {summary}\n"
    assert (folder / "log/make_feats.failed").read_text() == f"s0-1 {trouble}\n"
    assert not (folder / "feats.scp").exists()
    assert not list(folder.glob("*.ark"))


@pytest.fixture
def broken(wavs, tmp_path):
    """A data directory of four recordings of its own, the second of them empty -> (folder, {utt: path})"""
    own = {utt: tmp_path / f"{utt}.wav" for utt in list(wavs)[:4]}
    for utt, path in own.items():
        shutil.copy(wavs[utt], path)
    own["s0-1"].write_bytes(b"")
    return data_of(tmp_path / "data", own), own


@pytest.mark.parametrize("words", [[], ["--nj", 2]])
@pytest.mark.parametrize("mended", ["recording", "wav.scp"])
def test_a_second_run_computes_only_what_failed(words, mended, broken, wavs, made, program):
    folder, own = broken
    assert program(STEP, *words, folder).returncode == 1
    for utt, path in own.items():
        if utt != "s0-1":  # would not be readable
            path.write_bytes(b"x" * path.stat().st_size)
    if mended == "recording":
        shutil.copy(wavs["s0-1"], own["s0-1"])
    else:
        (folder / "wav.scp").write_text((folder / "wav.scp").read_text().replace(str(own["s0-1"]), str(wavs["s0-1"])))
    done = program(STEP, *words, folder)
    assert (done.returncode, done.stderr) == (0, "")
    found = feats_in(made)
    assert_same(feats_in(folder), {utt: found[utt] for utt in own})
    assert not (folder / "log/make_feats.failed").exists()


def test_another_number_of_jobs_takes_over_what_was_computed(broken, wavs, made, program):
    folder, own = broken
    assert program(STEP, "--nj", 3, folder).returncode == 1
    shutil.copy(wavs["s0-1"], own["s0-1"])
    own["s0-0"].write_bytes(b"x" * own["s0-0"].stat().st_size)
    assert program(STEP, "--nj", 2, folder).returncode == 0
    found = feats_in(made)
    assert_same(feats_in(folder), {utt: found[utt] for utt in own})


def test_with_other_options_nothing_is_taken_over(broken, wavs, program):
    folder, own = broken
    assert program(STEP, folder).returncode == 1
    shutil.copy(wavs["s0-1"], own["s0-1"])
    assert program(STEP, "--num-mel-bins", 40, folder).returncode == 0
    assert {matrix.shape[1] for matrix in feats_in(folder).values()} == {40}


def test_recordings_that_may_fail_are_left_out_and_listed(broken, program):
    folder, own = broken
    done = program(STEP, "--max-fail", 1, folder)
    assert done.returncode == 0
    assert done.stdout.startswith(f"make_feats: {folder}: fbank of 3 utterances, ")
    assert done.stdout.endswith(f"make_feats: 1 of the utterances have no features; remove them from the tables with utils/fix_data_dir.py {folder}\n")
    assert done.stderr.endswith("/log/make_feats.failed; they are left out\n")
    assert list(feats_in(folder)) == list(read_table(folder / "utt2num_frames")) == ["s0-0", "s0-2", "s0-3"]


@pytest.mark.parametrize("words", [[], ["--nj", 2]])
def test_after_what_failed_was_removed_nothing_is_done_again(words, broken, program):
    folder, own = broken
    assert program(STEP, *words, "--max-fail", 1, folder).returncode == 0
    before = feats_in(folder)
    assert program("utils/fix_data_dir.py", folder).returncode == 0
    for path in own.values():
        path.write_bytes(b"x" * path.stat().st_size)  # would not be readable
    for _ in range(2):
        done = program(STEP, *words, folder)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"make_feats: the features of {folder} are there\n", "")
    assert_same(feats_in(folder), before)


@pytest.mark.parametrize("words", [[], ["--nj", 2]])
def test_what_failed_is_added_when_it_was_mended(words, broken, wavs, made, program):
    folder, own = broken
    assert program(STEP, *words, "--max-fail", 1, folder).returncode == 0
    for utt, path in own.items():
        if utt != "s0-1":
            path.write_bytes(b"x" * path.stat().st_size)
    shutil.copy(wavs["s0-1"], own["s0-1"])
    done = program(STEP, *words, folder)
    assert (done.returncode, done.stderr) == (0, "")
    found = feats_in(made)
    assert_same(feats_in(folder), {utt: found[utt] for utt in own})
    assert list(read_table(folder / "utt2num_frames")) == list(own)


def test_a_table_of_features_that_points_elsewhere_is_not_believed(broken, wavs, made, program):
    folder, own = broken
    shutil.copy(wavs["s0-1"], own["s0-1"])
    assert program(STEP, folder).returncode == 0
    table = read_table(folder / "feats.scp", None)
    (folder / "feats.scp").write_text(f"s0-0 {table['s0-1']}\n" + "".join(f"{utt} {table[utt]}\n" for utt in list(own)[1:]))
    data_of(folder, {**own, "s5-3": wavs["s5-3"]})
    assert program(STEP, folder).returncode == 0
    found = feats_in(made)
    assert_same(feats_in(folder), {utt: found[utt] for utt in [*own, "s5-3"]})


def test_a_recording_added_to_the_tables_is_all_that_is_computed(broken, wavs, made, program):
    folder, own = broken
    shutil.copy(wavs["s0-1"], own["s0-1"])
    assert program(STEP, folder).returncode == 0
    for path in own.values():
        path.write_bytes(b"x" * path.stat().st_size)
    data_of(folder, {**own, "s5-3": wavs["s5-3"]})
    done = program(STEP, folder)
    assert (done.returncode, done.stderr) == (0, "")
    found = feats_in(made)
    assert_same(feats_in(folder), {utt: found[utt] for utt in [*own, "s5-3"]})


def test_recordings_that_all_fail_are_an_error_whatever_is_allowed(broken, program):
    folder, own = broken
    for path in own.values():
        path.write_bytes(b"")
    done = program(STEP, "--max-fail", 100, folder)
    assert done.returncode == 1
    message = f"{folder}: 4 of 4 utterances failed, listed in {folder}/log/make_feats.failed: all of them; mend what the line above says and run again"
    assert done.stderr.endswith(f"make_feats.py: {message}\n")
    assert done.stderr.count("\n") == 2


def test_recordings_that_fail_alike_are_told_of_in_one_line(broken, program):
    folder, own = broken
    for place, path in enumerate(own.values()):
        if place != 1:
            soundfile.write(path, sound(1, 1, 0), 8000)
    done = program(STEP, folder)
    first, *others = list(own)[:1] + list(own)[2:]
    alike, empty, summary = done.stderr.splitlines()
    remedy = "8000 Hz, 16000 Hz expected; convert it with --resample true, or set --sample-frequency where a program has it"
    assert alike == f"make_feats: {folder}/wav.scp:1: '{first}': {own[first]}: {remedy} (and 2 more: {', '.join(others)})"
    assert empty == f"make_feats: {folder}/wav.scp:2: 's0-1': {own['s0-1']}: empty file"
    assert summary.endswith(f"listed in {folder}/log/make_feats.failed: all of them; mend them and run again")


def test_it_says_how_many_reasons_of_failures_are_not_shown(tmp_path, program):
    own = {f"s-{number:02d}": tmp_path / f"{number}.wav" for number in range(23)}
    for number, path in enumerate(own.values(), 1):
        soundfile.write(path, np.zeros(min(number, 22), dtype=np.int16), 16000)
    folder = data_of(tmp_path / "data", own)
    lines = program(STEP, folder).stderr.splitlines()
    assert len(lines) == 22
    assert lines[0].endswith(": 22 samples, too short for one frame; remove it (and 1 more: s-22)")
    assert lines[20] == "make_feats: 20 of 22 reasons shown"
    assert len((folder / "log/make_feats.failed").read_text().splitlines()) == 23


def test_a_bad_recording_leaves_an_earlier_result_whole(wavs, tmp_path, program):
    own = {**wavs, "s0-1": tmp_path / "own.wav"}
    shutil.copy(wavs["s0-1"], own["s0-1"])
    folder = data_of(tmp_path / "data", own, 4)
    assert program(STEP, "--nj", 2, folder).returncode == 0
    results = [folder / name for name in ("feats.scp", "feats.1.ark", "feats.2.ark", "feats.json", "utt2num_frames")]
    before = {path: path.read_bytes() for path in results}
    own["s0-1"].write_bytes(b"")
    assert program(STEP, "--nj", 2, "--low-freq", 100, "--overwrite", "true", folder).returncode == 1
    assert {path: path.read_bytes() for path in results} == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-mel-bins", "many"], "argument --num-mel-bins: a whole number above 0 expected, not 'many'"),
        (["--num-mel-bins", "0"], "argument --num-mel-bins: a whole number above 0 expected, not '0'"),
        (["--snip-edges", "False"], "argument --snip-edges: true or false expected, not 'False'"),
        (["--dither", "nan"], "argument --dither: a number, 0 or more expected, not 'nan'"),
        (["--feature", "plp"], "argument --feature: invalid choice: 'plp' (choose from "),
        (["--num-mel", "40"], "unknown option --num-mel (is --num-mel-bins meant?)"),
        (["--nj", "0"], "argument --nj: a whole number above 0 expected, not '0'"),
        (["--nj"], "argument --nj: expected one argument"),
        (["--config", "none.conf"], "--config none.conf: No such file or directory"),
    ],
)
def test_a_wrong_option_ends_with_status_2(words, message, data, program):
    done = program(STEP, data, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert {path.name for path in data.iterdir()} == {"wav.scp", "utt2spk", "spk2utt"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--num-bins=40\n", ":1: make_feats.py has no option --num-bins (is --num-mel-bins meant?)"),
        ("# x\n--num-mel-bins 40\n", ":2: --name=value expected, not '--num-mel-bins 40'"),
        ("num-mel-bins=40\n", ":1: --name=value expected, not 'num-mel-bins=40'"),
    ],
)
def test_a_wrong_line_of_a_config_file_ends_with_status_2_and_its_number(text, message, data, program):
    config = data.parent / "x.conf"
    config.write_text(text)
    done = program(STEP, "--config", config, data)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"make_feats.py: {config}{message}; see --help\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--low-freq", "9000"], "--low-freq 9000 --high-freq 0: 0 <= low < high <= 8000 Hz (half of --sample-frequency) is needed"),
        (["--feature", "mfcc", "--num-ceps", "30"], "--num-ceps 30: more than --num-mel-bins 23"),
        (["--nj", "2", "--cmd", "no_such.pl --mem 4G"], "--cmd no_such.pl --mem 4G: no program 'no_such.pl'"),
        (["--nj", "2", "--cmd", ""], "--cmd: empty"),
    ],
)
def test_options_that_do_not_go_together_end_with_one_line(words, message, data, program):
    done = program(STEP, data, *words)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"make_feats.py: {message}\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "wav.scp").unlink(), "/wav.scp: no such file"),
        (lambda folder: (folder / "utt2spk").write_text(""), "/utt2spk: empty"),
        (
            lambda folder: (folder / "utt2spk").write_text("s0-0 s0\n"),
            "/wav.scp: 's0-1' is in wav.scp but not in utt2spk (and 4 more); run utils/fix_data_dir.py",
        ),
        (shutil.rmtree, ": no such data directory; it is made by stage 1 of a recipe, or with local/make_X.py"),
    ],
    ids=["no wav.scp", "empty utt2spk", "other utterances", "no folder"],
)
def test_a_bad_data_directory_ends_with_one_line(spoil, message, data, program):
    spoil(data)
    done = program(STEP, data)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"make_feats.py: {data}{message}\n")


def test_a_job_that_lies_about_its_success_is_found_out(data, program):
    liar = data.parent / "liar.sh"
    liar.write_text("#!/bin/sh\nexit 0\n")
    liar.chmod(0o755)
    done = program(STEP, "--nj", 3, "--cmd", liar, data)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"make_feats.py: {data}: of 3 jobs, these did not come back: 1, 2, 3; see {data}/log, run again\n"


# ---- interrupted, and at once


@pytest.fixture(scope="module")
def many(tmp_path_factory, wavs, program):
    """A data directory so long that it can be interrupted, and its features made in peace."""
    folder = tmp_path_factory.mktemp("many") / "data"
    paths = [str(path) for path in wavs.values()]
    table = {f"s{number:04d}": paths[number % len(paths)] for number in range(1200)}
    write_data_dir(folder, table, {utt: utt[:3] for utt in table})
    assert program(STEP, folder).returncode == 0
    return folder


def tables_without_features(many, folder):
    folder.mkdir()
    for name in ("wav.scp", "utt2spk", "spk2utt"):
        shutil.copy(many / name, folder)
    return folder


def is_writing(folder):
    return any(path.stat().st_size for path in folder.glob(".parts/*/.feats.ark.*.tmp"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_in_the_middle_and_run_again_it_makes_the_same_bytes(number, many, tmp_path, program):
    folder = tables_without_features(many, tmp_path / "data")
    process = started(folder)
    assert eventually(lambda: is_writing(folder))
    process.send_signal(number)
    process.communicate()
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143}[number]
    assert not (folder / "feats.scp").exists()
    assert not list(folder.glob("*.ark"))

    assert program(STEP, folder).returncode == 0
    assert (folder / "feats.ark").read_bytes() == (many / "feats.ark").read_bytes()
    assert (folder / "feats.scp").read_text() == (many / "feats.scp").read_text().replace(str(many), str(folder))
    assert {path.name for path in folder.iterdir()} == {path.name for path in many.iterdir()}


def test_killed_while_jobs_run_and_run_again_it_makes_the_same_values(many, tmp_path, program):
    folder = tables_without_features(many, tmp_path / "data")
    process = started("--nj", 2, folder)
    assert eventually(lambda: is_writing(folder))
    process.kill()  # its jobs live on for a while
    process.communicate()
    assert not (folder / "feats.scp").exists()

    done = program(STEP, "--nj", 2, folder)
    assert done.returncode == 0, done.stderr
    assert_same(feats_in(folder), feats_in(many))


def test_of_two_at_once_the_second_waits_and_finds_the_work_done(many, tmp_path):
    folder = tables_without_features(many, tmp_path / "data")
    first = started(folder)
    assert eventually(lambda: is_writing(folder))
    second = started(folder)
    said, second_said = first.communicate(), second.communicate()
    assert (first.returncode, second.returncode) == (0, 0)
    assert said[0].startswith(f"make_feats: {folder}: fbank of 1200 utterances")
    assert second_said[0] == f"make_feats: the features of {folder} are there\n"
    assert second_said[1].startswith(f"make_feats: waiting for process {first.pid} on ")
    assert (folder / "feats.ark").read_bytes() == (many / "feats.ark").read_bytes()
