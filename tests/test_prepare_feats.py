"""steps/prepare_feats.py: derivatives, normalisation and voiced frames of a whole data directory, and what it says of bad input."""

import gc
import importlib.util
import json
import shutil
import sys

import kaldiio
import numpy as np
import pytest
import torch
import torchaudio
from kaldi_outputs import GOLDEN, MFCC30, UTTS, golden_arrays
from support import failure, write_archive

from pytorch.data.data_dir import read_table, write_data_dir, write_table
from pytorch.features.cmvn import SlidingCmn
from pytorch.files import write_json

STEP = "steps/prepare_feats.py"
VAD = {"vad_energy_mean_scale": 0.5, "vad_energy_threshold": 5.5, "vad_frames_context": 2, "vad_proportion_threshold": 0.12}


@pytest.fixture
def data(tmp_path):
    """A data directory of Kaldi's own features and decisions."""
    folder = tmp_path / "data"
    write_data_dir(folder, {utt: GOLDEN / f"{utt}.wav" for utt in UTTS}, {utt: utt[:2] for utt in UTTS}, spk2gender={"s0": "f", "s2": "m"}, utt2dur=durations())
    write_archive(folder, "feats", dict(kaldiio.load_ark(str(GOLDEN / "mfcc30_d0.ark"))), MFCC30.to_json())
    write_archive(folder, "vad", dict(kaldiio.load_ark(str(GOLDEN / "vad.ark"))), VAD)
    write_table(folder / "utt2num_frames", {utt: len(matrix) for utt, matrix in golden_arrays("mfcc30_d0.txt").items()})
    (folder / "trials").write_text(f"{UTTS[0]} {UTTS[1]} nontarget\n")
    return folder


def durations():
    return {utt: f"{kaldiio.load_mat(str(GOLDEN / f'{utt}.wav'))[1].shape[0] / 16000:.2f}" for utt in UTTS}


@pytest.fixture
def prepare(root, monkeypatch, capsys):
    """prepare(word, …) runs the step in this process, which has torch already -> what it printed on stdout"""
    spec = importlib.util.spec_from_file_location("prepare_feats", root / STEP)
    step = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(step)

    def call(*words):
        gc.collect()  # locks of an earlier call
        monkeypatch.setattr(sys, "argv", [str(root / STEP), *map(str, words)])
        step.main()
        return capsys.readouterr().out

    return call


def feats_in(folder):
    return {utt: np.array(matrix) for utt, matrix in kaldiio.load_scp(str(folder / "feats.scp")).items()}


def settings_in(folder):
    return json.loads((folder / "feats.json").read_text())


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_voiced_frames_are_those_of_kaldi(data, tmp_path, program):
    out = tmp_path / "out"
    done = program(STEP, "--cmn", "none", "--compress", 0, data, out)
    assert (done.returncode, done.stderr) == (0, "")
    expected = golden_arrays("voiced.txt")
    assert done.stdout == f"prepare_feats: {out}: {sum(map(len, expected.values()))} frames of 2 utterances\n"
    found = feats_in(out)
    assert list(found) == list(UTTS)
    for utt in UTTS:
        np.testing.assert_allclose(found[utt], expected[utt], rtol=0, atol=1e-5)
    assert read_table(out / "utt2num_frames") == {utt: str(len(matrix)) for utt, matrix in expected.items()}
    assert settings_in(out) == {**MFCC30.to_json(), "voiced": True, **VAD}


@pytest.mark.parametrize(
    "name, words, settings",
    [
        ("cmvn_center_true.txt", ["--cmn-window", 100], {"cmn": "sliding", "cmn_window": 100, "cmn_center": True}),
        (
            "cmvn_center_false.txt",
            ["--cmn-window", 100, "--cmn-center", "false", "--min-cmn-window", 50],
            {"cmn": "sliding", "cmn_window": 100, "cmn_center": False, "min_cmn_window": 50},
        ),
        ("cmvn_vars.txt", ["--cmn", "sliding-var"], {"cmn": "sliding-var", "cmn_window": 300, "cmn_center": True}),
    ],
)
def test_a_sliding_window_is_that_of_kaldi(name, words, settings, data, tmp_path, prepare):
    out = tmp_path / "out"
    prepare("--voiced", "false", "--compress", 0, *words, data, out)
    for utt, matrix in feats_in(out).items():
        np.testing.assert_allclose(matrix, golden_arrays(name)[utt], rtol=0, atol=3e-5)
    assert settings_in(out) == {**MFCC30.to_json(), **settings}


def test_the_chain_is_derivatives_then_normalisation_then_selection(data, tmp_path, prepare):
    out = tmp_path / "out"
    prepare("--delta-order", 1, "--compress", 0, data, out)
    vad = {utt: vector > 0 for utt, vector in kaldiio.load_ark(str(GOLDEN / "vad.ark"))}
    for utt, matrix in feats_in(out).items():
        x = torch.from_numpy(golden_arrays("mfcc30_d0.txt")[utt])
        x = torch.cat([x, torchaudio.functional.compute_deltas(x.T, win_length=5, mode="replicate").T], dim=1)
        np.testing.assert_allclose(matrix, SlidingCmn(300, True)(x).numpy()[vad[utt]], rtol=0, atol=1e-4)
    assert settings_in(out).items() >= {"delta_order": 1, "delta_window": 2, "cmn": "sliding", "cmn_window": 300, "voiced": True}.items()


@pytest.mark.parametrize("kind", ["mean", "mean-var"])
def test_the_mean_can_be_that_of_the_utterance(kind, data, tmp_path, prepare):
    out = tmp_path / "out"
    prepare("--cmn", kind, "--voiced", "false", "--compress", 0, data, out)
    for utt, matrix in feats_in(out).items():
        x = golden_arrays("mfcc30_d0.txt")[utt]
        expected = (x - x.mean(0)) / (x.std(0) if kind == "mean-var" else 1)
        np.testing.assert_allclose(matrix, expected, rtol=0, atol=1e-4)
    assert settings_in(out) == {**MFCC30.to_json(), "cmn": kind}


def test_features_are_compressed_unless_told_not_to(data, tmp_path, prepare):
    for out, words in ((tmp_path / "two", []), (tmp_path / "four", ["--compress", 0])):
        prepare(*words, data, out)
    two, four = feats_in(tmp_path / "two"), feats_in(tmp_path / "four")
    for utt in UTTS:
        np.testing.assert_allclose(two[utt], four[utt], rtol=0, atol=1e-3)
    sizes = [(tmp_path / name / "feats.ark").stat().st_size for name in ("two", "four")]
    assert 0.45 < sizes[0] / sizes[1] < 0.55


@pytest.mark.parametrize("nj", [1, 5])
def test_jobs_make_the_same_features(nj, data, tmp_path, prepare):
    prepare(data, tmp_path / "alone")
    prepare("--nj", nj, data, tmp_path / "out")
    alone, found = feats_in(tmp_path / "alone"), feats_in(tmp_path / "out")
    assert list(found) == list(alone)
    for utt in UTTS:
        np.testing.assert_array_equal(found[utt], alone[utt])
    assert (tmp_path / "out/feats.sha256").read_text() == (tmp_path / "alone/feats.sha256").read_text()


# ---- the data directory


def test_the_other_tables_are_carried(data, tmp_path, prepare):
    out = tmp_path / "out"
    prepare(data, out)
    for name in ("utt2spk", "spk2utt", "wav.scp", "spk2gender", "utt2dur", "trials"):
        assert (out / name).read_text() == (data / name).read_text()
    assert not (out / "vad.scp").exists()


def test_decisions_are_carried_where_all_frames_stay(data, tmp_path, prepare):
    out = tmp_path / "out"
    prepare("--voiced", "false", data, out)
    assert (out / "vad.scp").read_text() == (data / "vad.scp").read_text()
    assert json.loads((out / "vad.json").read_text()) == VAD
    prepare("--overwrite", "true", data, out)
    assert not [path.name for path in out.glob("vad*")]


def test_the_directory_made_is_valid(data, tmp_path, prepare, program):
    prepare(data, tmp_path / "out")
    done = program("utils/validate_data_dir.py", "--feats", "true", tmp_path / "out")
    assert done.returncode == 0, done.stderr


def test_a_second_run_finds_the_work_done(data, tmp_path, prepare):
    out = tmp_path / "out"
    prepare(data, out)
    before = snapshot(out)
    assert prepare("--nj", 2, data, out) == f"prepare_feats: the features of {out} are there\n"
    assert snapshot(out) == before


def test_other_options_stop_and_say_which(data, tmp_path, prepare, program):
    out = tmp_path / "out"
    prepare(data, out)
    before = snapshot(out)
    done = program(STEP, "--cmn-window", 200, data, out)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (f"prepare_feats.py: {out}: prepare_feats was done otherwise: --cmn-window was 300, now 200. Pass --overwrite true to do it anew\n")
    assert snapshot(out) == before
    prepare("--cmn-window", 200, "--overwrite", "true", data, out)
    assert settings_in(out)["cmn_window"] == 200


def test_a_changed_table_is_noticed(data, tmp_path, prepare, program):
    out = tmp_path / "out"
    prepare(data, out)
    write_table(data / "spk2gender", {"s0": "m", "s2": "m"})
    done = program(STEP, data, out)
    assert done.returncode == 1
    assert "spk2gender has changed" in done.stderr
    prepare("--overwrite", "true", data, out)
    assert (out / "spk2gender").read_text() == "s0 m\ns2 m\n"


# ---- what goes wrong


def fail(program, *words):
    done = program(STEP, *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    return done.stderr.replace("prepare_feats.py: ", "")


def without_voice(data, utt):
    vad = dict(kaldiio.load_ark(str(GOLDEN / "vad.ark")))
    vad[utt] = np.zeros_like(vad[utt])
    write_archive(data, "vad", vad, VAD)


def test_an_utterance_without_voiced_frames_is_named(data, tmp_path, program):
    without_voice(data, "s0-u1")
    out = tmp_path / "out"
    line = f"{data}/vad.scp: 's0-u1': none of 207 frames is voiced"
    stderr = fail(program, data, out)
    assert f"prepare_feats: {line}\n" in stderr
    assert stderr.endswith("or leave them out with --max-fail 1\n")
    assert (out / "log/prepare_feats.failed").read_text() == f"s0-u1 {line}\n"
    assert not (out / "feats.scp").exists()


def test_utterances_without_voiced_frames_can_be_left_out(data, tmp_path, prepare, program):
    without_voice(data, "s0-u1")
    out = tmp_path / "out"
    prepare("--max-fail", 1, data, out)
    assert list(feats_in(out)) == ["s2-u0"]
    for name in ("utt2spk", "wav.scp", "utt2dur", "utt2num_frames", "feats.scp"):
        assert list(read_table(out / name)) == ["s2-u0"]
    assert read_table(out / "spk2gender") == {"s2": "m"}
    assert not (out / "trials").exists()
    assert program("utils/validate_data_dir.py", "--feats", "true", out)


@pytest.mark.parametrize(
    "decisions, words",
    [
        (np.ones(206, dtype=np.float32), "206 decisions but 207 frames; run steps/compute_vad.py --overwrite true anew"),
        (np.full(207, 0.5, dtype=np.float32), "decisions other than 0 and 1"),
        (np.ones((207, 1), dtype=np.float32), "207 x 1 decisions but 207 frames; run steps/compute_vad.py --overwrite true anew"),
    ],
    ids=["length", "values", "matrix"],
)
def test_decisions_that_cannot_be_are_named(decisions, words, data, tmp_path, prepare, capsys):
    write_archive(data, "vad", {**dict(kaldiio.load_ark(str(GOLDEN / "vad.ark"))), "s0-u1": decisions}, VAD)
    assert "1 of 2 utterances failed" in failure(prepare, data, tmp_path / "out")
    assert capsys.readouterr().err == f"prepare_feats: {data}/vad.scp: 's0-u1': {words}\n"


def test_features_that_were_prepared_are_not_prepared_again(data, tmp_path, prepare, program):
    prepare(data, tmp_path / "out")
    stderr = fail(program, "--voiced", "false", tmp_path / "out", tmp_path / "again")
    assert stderr == f"{tmp_path}/out/feats.json: these features were prepared already; prepare those they were made of\n"


def test_derivatives_are_not_appended_twice(data, tmp_path, program):
    write_json(data / "feats.json", {**MFCC30.to_json(), "delta_order": 2, "delta_window": 2})
    stderr = fail(program, "--delta-order", 1, data, tmp_path / "out")
    assert stderr == f"{data}/feats.json: these features have derivatives already; pass --delta-order 0\n"


@pytest.mark.parametrize("name, what", [("feats", "features"), ("vad", "decisions")])
def test_settings_of_another_form_are_refused(name, what, data, tmp_path, program):
    write_json(data / f"{name}.json", ["mfcc"])
    assert fail(program, data, tmp_path / "out") == f"{data}/{name}.json: settings as name and value were expected; make the {what} anew\n"


def test_the_data_directory_cannot_be_made_into_itself(data, program):
    assert fail(program, data, f"{data}/.") == f"{data}: the features would replace those they are made of; name another folder\n"


def test_a_directory_of_somebody_elses_stays(data, tmp_path, program):
    out = tmp_path / "out"
    shutil.copytree(data, out)
    before = snapshot(out)
    expected = f"{out}/utt2spk: is there, but prepare_feats did not make it; move it away, or pass --overwrite true to replace it\n"
    assert fail(program, data, out) == expected
    assert snapshot(out) == before


@pytest.mark.parametrize("name, remedy", [("feats.scp", "make_feats"), ("vad.scp", "compute_vad"), ("utt2spk", "no such file")])
def test_a_missing_table_comes_with_its_remedy(name, remedy, data, tmp_path, program):
    (data / name).unlink()
    stderr = fail(program, data, tmp_path / "out")
    assert stderr.startswith(f"{data}/{name}: ")
    assert remedy in stderr
    assert not (tmp_path / "out").exists()


def test_a_vector_among_the_features_is_named(data, tmp_path, prepare):
    write_archive(data, "feats", {utt: np.ones(5, dtype=np.float32) for utt in UTTS}, MFCC30.to_json())
    assert failure(prepare, data, tmp_path / "out") == f"{data}/feats.scp: 's0-u1' has the shape (5,), frames of features were expected"
