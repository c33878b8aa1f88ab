"""utils/adopt_feats.py: features of Kaldi, or made by another program, are taken over with the settings one says."""

import json
import shutil

import kaldiio
import numpy as np
import pytest

from pytorch.data.data_dir import DataDir, write_data_dir
from pytorch.data.frames import stored_frames

TOOL = "utils/adopt_feats.py"
FBANK80 = ["--num-mel-bins", 80]


@pytest.fixture
def data(golden, tmp_path):
    """Kaldi's own fbank of two recordings, which lie beside them."""
    folder = tmp_path / "data"
    utts = ("s0-u1", "s2-u0")
    write_data_dir(folder, {utt: golden / f"{utt}.wav" for utt in utts}, {utt: utt[:2] for utt in utts})
    shutil.copy(golden / "fbank80_d0.ark", tmp_path / "raw.ark")
    feats = dict(kaldiio.load_ark(str(tmp_path / "raw.ark")))
    kaldiio.save_ark(str(tmp_path / "feats.ark"), {utt: feats[utt] for utt in utts}, scp=str(folder / "feats.scp"))
    return folder


def test_features_of_kaldi_are_taken_over(data, program):
    done = program(TOOL, *FBANK80, data)
    assert done.returncode == 0, done.stderr
    frames = stored_frames(DataDir(data), False)
    stored = kaldiio.load_scp(str(data / "feats.scp"))
    assert done.stdout == f"adopt_feats: {data}: fbank of 2 utterances, 80 columns, {sum(map(len, stored.values()))} frames\n"
    for index, utt in enumerate(frames.utts):
        np.testing.assert_array_equal(frames.whole(index), stored[utt])
    assert json.loads((data / "feats.json").read_text())["num_mel_bins"] == 80


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-mel-bins", 40], "'s0-u1' has the shape (205, 80), these settings give (205, 40); pass those it was made with, or --check 0"),
        ([*FBANK80, "--snip-edges", "false"], "'s0-u1' has the shape (205, 80), these settings give (207, 80); pass those it was made with, or --check 0"),
        ([*FBANK80, "--low-freq", 300], "'s0-u1' is not what these settings give (mean distance "),
        (["--num-mel-bins", 40, "--check", 0], "'s0-u1' has the shape (205, 80), these settings give 40 columns; pass those it was made with"),
    ],
)
def test_settings_that_are_not_theirs_are_found_out(words, message, data, program):
    done = program(TOOL, *words, data)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"adopt_feats.py: {data}/feats.scp: {message}")
    assert not (data / "feats.json").exists()


def test_settings_that_are_there_are_replaced_only_when_told_to(data, program):
    (data / "feats.json").write_text("{}\n")
    done = program(TOOL, *FBANK80, data)
    assert (done.returncode, done.stderr) == (1, f"adopt_feats.py: {data}/feats.json: is there; pass --overwrite true to replace it\n")
    assert program(TOOL, *FBANK80, "--overwrite", "true", data).returncode == 0


def test_without_features_it_says_what_to_do(data, program):
    (data / "feats.scp").unlink()
    done = program(TOOL, data)
    assert (done.returncode, done.stderr) == (1, f"adopt_feats.py: {data}/feats.scp: no such file; make features with steps/make_feats.py {data}\n")
