"""utils/copy_data_dir.py: ids with prefixes and suffixes, in every table."""

import numpy as np
import pytest
from data_dirs import call, files, refuse, small, succeed, with_segments, write
from support import write_feats, write_vad


@pytest.fixture
def data(tmp_path):
    return small(tmp_path / "data")


def test_without_options_it_is_a_copy(data, tmp_path):
    write(data, utt2age="a-1 1\na-2 2\nb-1 3\nb-2 4\n", spk2gender="a m\nb f\n", trials="b-1 a-1 nontarget\na-1 a-2 target\n")
    write(data, trials_hard="a-2 b-1 nontarget\n", **{"trials.2": "b-1 b-2 target\n"})
    succeed("copy_data_dir", data, tmp_path / "new")
    assert files(tmp_path / "new") == files(data)


def test_a_copy_for_other_features_has_none(data, tmp_path):
    write_feats(data, {utt: np.zeros((3, 24), np.float32) for utt in ("a-1", "a-2", "b-1", "b-2")})
    write_vad(data, {utt: np.ones(3, np.float32) for utt in ("a-1", "a-2", "b-1", "b-2")})
    write(data, utt2num_frames="a-1 3\na-2 3\nb-1 3\nb-2 3\n", utt2age="a-1 1\na-2 2\nb-1 3\nb-2 4\n", trials="a-1 a-2 target\n")
    succeed("copy_data_dir", "--feats", "false", data, tmp_path / "new")
    assert sorted(files(tmp_path / "new")) == ["spk2utt", "trials", "utt2age", "utt2spk", "wav.scp"]
    message = refuse("copy_data_dir", data, tmp_path / "new")
    assert message == f"{tmp_path}/new: copy_data_dir was done otherwise: --feats was false, now unset. Pass --overwrite true to make it anew"
    succeed("copy_data_dir", data, tmp_path / "whole")
    assert {"feats.scp", "feats.json", "vad.scp", "vad.json", "utt2num_frames"} <= files(tmp_path / "whole").keys()


def test_ids_are_renamed_in_every_table(data, tmp_path):
    write(
        data,
        text="a-1 a-1 so\na-2 a\nb-1 b\nb-2 b\n",
        utt2mood="a-1 x\na-2 x\nb-1 x\nb-2 x\n",
        spk2gender="a m\nb f\n",
        reco2dur="a-1 1\na-2 2\nb-1 3\nb-2 4\n",
    )
    write(data, trials="a-1 b-2 nontarget\na a-2 target\nmodel a-1 target\n", trials_hard="a-1 b-1 nontarget\n")
    succeed("copy_data_dir", "--utt-prefix", "x-", "--utt-suffix=-y", "--spk-prefix=x-", "--spk-suffix", "_z", data, tmp_path / "new")
    wav = f"{tmp_path}/silence.wav"
    assert files(tmp_path / "new") == {
        "utt2spk": "x-a-1-y x-a_z\nx-a-2-y x-a_z\nx-b-1-y x-b_z\nx-b-2-y x-b_z\n",
        "spk2utt": "x-a_z x-a-1-y x-a-2-y\nx-b_z x-b-1-y x-b-2-y\n",
        "wav.scp": f"x-a-1-y {wav}\nx-a-2-y {wav}\nx-b-1-y {wav}\nx-b-2-y {wav}\n",
        "text": "x-a-1-y a-1 so\nx-a-2-y a\nx-b-1-y b\nx-b-2-y b\n",
        "utt2mood": "x-a-1-y x\nx-a-2-y x\nx-b-1-y x\nx-b-2-y x\n",
        "spk2gender": "x-a_z m\nx-b_z f\n",
        "reco2dur": "x-a-1-y 1\nx-a-2-y 2\nx-b-1-y 3\nx-b-2-y 4\n",
        "utt2uniq": "x-a-1-y a-1\nx-a-2-y a-2\nx-b-1-y b-1\nx-b-2-y b-2\n",
        "trials": "x-a-1-y x-b-2-y nontarget\nx-a_z x-a-2-y target\nmodel x-a-1-y target\n",
        "trials_hard": "x-a-1-y x-b-1-y nontarget\n",
    }
    succeed("validate_data_dir", "--spk-prefix", "false", tmp_path / "new")


def test_utt2uniq_goes_on_to_name_the_first_utterance(data, tmp_path):
    """Kaldi's own moves a freshly written utt2uniq away where the source had none."""
    succeed("copy_data_dir", "--utt-suffix=-noise", data, tmp_path / "noisy")
    succeed("copy_data_dir", "--utt-suffix=-far", tmp_path / "noisy", tmp_path / "far")
    assert files(tmp_path / "far")["utt2uniq"] == "a-1-noise-far a-1\na-2-noise-far a-2\nb-1-noise-far b-1\nb-2-noise-far b-2\n"


def test_recordings_keep_their_ids(tmp_path):
    data = with_segments(tmp_path / "data", reco2dur="r1 5\nr2 5\n")
    succeed("copy_data_dir", "--utt-suffix=-x", data, tmp_path / "new")
    found = files(tmp_path / "new")
    assert found["segments"] == "a-1-x r1 0 1.5\na-2-x r1 2 3\nb-1-x r1 3 4\nb-2-x r2 0.25 1\n"
    assert found["wav.scp"] == "r1 /r1.wav\nr2 /r2.wav\n"
    assert found["reco2dur"] == "r1 5\nr2 5\n"


def test_speakers_can_be_put_before_their_utterances(tmp_path):
    data = write(tmp_path / "data", utt2spk="1 b\n2 a\na-3 a\nb 4\n", wav__scp="1 /1\n2 /2\na-3 /3\nb /4\n")
    succeed("copy_data_dir", "--spk-as-prefix", "true", data, tmp_path / "new")
    assert files(tmp_path / "new")["utt2spk"] == "4-b 4\na-2 a\na-3 a\nb-1 b\n"
    assert files(tmp_path / "new")["utt2uniq"] == "4-b b\na-2 2\na-3 a-3\nb-1 1\n"
    succeed("validate_data_dir", "--check-files", "false", tmp_path / "new")


@pytest.mark.parametrize(
    "utt2spk, options, message",
    [
        ("1 a\na-1 a\n", ["--spk-as-prefix", "true"], "two utterances would both be called 'a-1'; give other prefixes"),
        (
            "a-z a\nb-b a+\n",
            ["--spk-as-prefix", "true"],
            "'a+' begins as 'a' does and sorts after it, but its utterances sort before; rename one of these speakers",
        ),
        (
            "a-1 a\nb-1 b\n",
            ["--utt-prefix", "x-", "--spk-as-prefix", "true", "--spk-prefix", "a"],
            None,
        ),
        ("a1 a\nb1 b\n", ["--spk-as-prefix", "false"], None),
        ("1 b\n2 a\n", ["--utt-suffix=-x"], None),
        (
            "ab-1 ab\nabc-1 abc\n",
            ["--spk-suffix=z"],
            "under the new ids, utterances of 'abz' stand before those of 'abcz'; give --spk-prefix and --utt-prefix alike",
        ),
    ],
)
def test_new_ids_sort_by_speaker_if_the_old_ones_did(tmp_path, utt2spk, options, message):
    data = write(tmp_path / "data", utt2spk=utt2spk)
    if message is None:
        succeed("copy_data_dir", *options, data, tmp_path / "new")
    else:
        assert refuse("copy_data_dir", *options, data, tmp_path / "new") == f"{data}: {message}"


@pytest.mark.parametrize("words", [["--utt-prefix", "a b"], ["--spk-suffix", "\n"], ["--utt-prefix"], ["--spk-as-prefix", "yes"]])
def test_wrong_command_lines_exit_with_2(data, tmp_path, words):
    done = call("copy_data_dir", data, tmp_path / "new", *words)
    assert (done.status, done.out) == (2, "")
    assert done.err.endswith("; see --help\n")
