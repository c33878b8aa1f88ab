"""Sliding windows: pytorch/windows.py and steps/extract_windows.py."""

import json
import shutil

import kaldiio
import numpy as np
import pytest
import soundfile
from experiments import XVECTOR, call, write_experiment
from hypothesis import given
from hypothesis import strategies as st
from support import failure, write_feats

from pytorch.data.data_dir import REST, read_table, write_data_dir
from pytorch.features.options import FeatureOptions
from pytorch.windows import Windows, window_starts

STEP = "steps/extract_windows.py"
FEATURES = FeatureOptions(num_mel_bins=24)
SINC = {"sinc_dim": "8", "conv_dim": "6", "frame_dim": "8", "stats_dim": "8", "embed_dim": "6"}
LENGTHS = {"a": 40000, "b": 8000, "c": 33000}  # samples: the last window of c is laid at its end, b is shorter than a window


# ---- the class


def numbered(count, duration=2.0, step=0.2, start=0.0):
    """Windows whose vectors are their numbers."""
    return Windows(np.arange(count, dtype=np.float32)[:, None].repeat(3, 1), duration, step, start)


def numbers(vectors):
    return vectors[:, 0].astype(int).tolist()


@pytest.mark.parametrize(
    ("step", "mode", "fixed", "count"),
    [
        (0.2, "loose", None, 61), (0.2, "strict", None, 41), (0.2, "center", None, 51),
        (0.2, "loose", 10, 60), (0.2, "strict", 10, 41), (0.2, "center", 10, 50),
        (0.5, "loose", None, 25), (0.5, "strict", None, 17), (0.5, "center", None, 21),
    ],
)  # fmt: skip
def test_crops_from_10_to_20_seconds_have_the_numbers_of_windows_of_pyannote_core(step, mode, fixed, count):
    assert numbered(500, step=step).crop(10, 20, mode, fixed).shape == (count, 3)


@pytest.mark.parametrize(("mode", "first", "last"), [("loose", 40, 100), ("strict", 50, 90), ("center", 45, 95)])
def test_crops_are_of_the_windows_that_overlap_lie_inside_or_are_nearest(mode, first, last):
    assert numbers(numbered(500).crop(10, 20, mode)) == list(range(first, last + 1))


def test_the_beginning_of_the_first_window_counts():
    assert numbers(numbered(10, start=100.0).crop(100, 100.5)) == [0, 1, 2]


def test_windows_that_are_not_there_are_left_out():
    assert numbers(numbered(5).crop(0.3, 100)) == [0, 1, 2, 3, 4]
    assert numbers(numbered(60).crop(10, 20, "strict")) == list(range(50, 60))


@pytest.mark.parametrize("mode", ["loose", "strict", "center"])
def test_a_part_without_windows_gives_none_of_them(mode):
    assert numbered(5).crop(100, 110, mode).shape == (0, 3)
    assert numbered(5).crop(-100, -90, mode).shape == (0, 3)
    assert numbered(0).crop(0, 10, mode, fixed=10).shape == (0, 3)


def test_a_fixed_number_of_windows_repeats_those_at_the_edges():
    assert numbers(numbered(5).crop(-0.4, 2.6, "center", fixed=3.0)) == [0] * 7 + [0, 1, 2, 3, 4] + [4] * 3
    assert numbers(numbered(3).crop(50, 52, "strict", fixed=2.2)) == [2, 2]
    assert numbers(numbered(3).crop(-50, -48, "loose", fixed=0.4)) == [0] * 12


def test_a_part_shorter_than_a_window_has_none_inside():
    assert numbered(50).crop(3, 4, "strict").shape == (0, 3)
    assert numbered(50).crop(3, 4, "strict", fixed=1).shape == (0, 3)


def test_iteration_gives_times_and_vectors():
    windows = numbered(3, start=1.0)
    assert [(pytest.approx(times), int(vector[0])) for times, vector in windows] == [((1.0, 3.0), 0), ((1.2, 3.2), 1), ((1.4, 3.4), 2)]
    assert (len(windows), windows.shape) == (3, (3, 3))


@given(st.integers(0, 300), st.sampled_from(["loose", "strict", "center"]), st.integers(0, 600), st.integers(0, 300), st.sampled_from([0.1, 0.25, 0.5]))
def test_crops_follow_from_the_times_of_the_windows(count, mode, tenths, length, step):
    windows, start, end = numbered(count, step=step), tenths / 10, (tenths + length) / 10
    expected = []
    for index in range(count):
        first, last = index * step, index * step + 2.0
        inside = {"loose": last >= start - 1e-9 and first <= end + 1e-9, "strict": first >= start - 1e-9 and last <= end + 1e-9}
        if inside.get(mode, round((start - 1) / step) <= index <= round((end - 1) / step)):
            expected.append(index)
    assert numbers(windows.crop(start, end, mode)) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"mode": "middle"}, "mode 'middle': loose, strict, center expected"),
        ({"end": 0.5}, "from 1 to 0.5 s, fixed None: start <= end, and a length above 0 expected"),
        ({"end": float("nan")}, "from 1 to nan s, fixed None: start <= end, and a length above 0 expected"),
        ({"fixed": 0}, "from 1 to 2 s, fixed 0: start <= end, and a length above 0 expected"),
    ],
)
def test_a_crop_that_makes_no_sense_is_refused(words, message):
    assert failure(numbered(5).crop, **{"start": 1, "end": 2, **words}) == message


def test_windows_without_rows_of_vectors_are_refused():
    message = "windows of 2 s every 0.2 s with vectors of the shape (5,): (windows, dim) and times above 0 expected"
    assert failure(Windows, np.zeros(5), 2, 0.2) == message


@pytest.mark.parametrize(
    ("total", "starts"),
    [(100, [0]), (50, [0]), (120, [0, 20]), (130, [0, 20, 30]), (121, [0, 20]), (122, [0, 20, 22]), (139, [0, 20, 39]), (140, [0, 20, 40])],
)
def test_the_last_window_ends_with_the_recording(total, starts):
    assert window_starts(total, 100, 20, 2) == starts


# ---- the program


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A data directory of recordings; only to be read, but for what is packed."""
    folder = tmp_path_factory.mktemp("recorded")
    chance = np.random.default_rng(1)
    for utt, length in LENGTHS.items():
        soundfile.write(folder / f"{utt}.wav", (chance.standard_normal(length) * 3000).astype(np.int16), 16000)
    write_data_dir(folder / "data", {utt: folder / f"{utt}.wav" for utt in LENGTHS}, {utt: utt for utt in LENGTHS})
    return folder / "data"


@pytest.fixture(scope="module")
def raw_exp(tmp_path_factory):
    return write_experiment(tmp_path_factory.mktemp("raw") / "x", {"input": "wave", "sample_frequency": 16000.0}, "sinctdnn", SINC, 1, "none", False)


@pytest.fixture(scope="module")
def feature_exp(tmp_path_factory):
    """A network of features, which was trained on voiced frames."""
    return write_experiment(tmp_path_factory.mktemp("features") / "x", FEATURES.to_json())


@pytest.fixture(scope="module")
def laid(tmp_path_factory, raw_exp, recorded, program):
    """Windows of 1 s every 0.5 s; only to be read."""
    out = tmp_path_factory.mktemp("out") / "w"
    done = program(STEP, "--window", 1, "--period", 0.5, "--batch-frames", 350, raw_exp, recorded, out)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"extract_windows: 9 windows of 3 utterances of {recorded} in {out}, by epoch 2 of {raw_exp}\n")
    return out


def vectors_in(out):
    return {utt: np.array(vector) for utt, vector in kaldiio.load_scp(str(out / "xvector.scp")).items()}


def assert_alike(one, other, atol=1e-4):
    assert list(one) == list(other)
    for utt in one:
        np.testing.assert_allclose(one[utt], other[utt], atol=atol, rtol=atol)


def test_windows_are_utterances_of_kaldis_segments(laid):
    assert read_table(laid / "segments", REST) == {
        "a-00000000-00001000": "a 0 1", "a-00000500-00001500": "a 0.5 1.5", "a-00001000-00002000": "a 1 2", "a-00001500-00002500": "a 1.5 2.5",
        "b-00000000-00000500": "b 0 0.5",
        "c-00000000-00001000": "c 0 1", "c-00000500-00001500": "c 0.5 1.5", "c-00001000-00002000": "c 1 2", "c-00001062-00002062": "c 1.0625 2.0625",
    }  # fmt: skip
    assert read_table(laid / "utt2spk") == {name: name[0] for name in read_table(laid / "xvector.scp", REST)}
    assert list(read_table(laid / "wav.scp", REST)) == ["a", "b", "c"]


@pytest.mark.parametrize("which", ["raw_exp", "plain"])
def test_a_windows_embedding_is_that_of_the_segment_extracted_as_an_utterance(which, raw_exp, recorded, tmp_path, request):
    exp = raw_exp if which == "raw_exp" else write_experiment(tmp_path / "x", FEATURES.to_json(), voiced=False)
    call("extract_windows", "--window", 1, "--period", 0.5, exp, recorded, tmp_path / "w")
    segments = tmp_path / "segments"
    segments.mkdir()
    for name in ("segments", "utt2spk", "spk2utt", "wav.scp"):
        shutil.copy(tmp_path / "w" / name, segments)
    call("extract", exp, segments, tmp_path / "xv")
    assert_alike(vectors_in(tmp_path / "w"), vectors_in(tmp_path / "xv"))


def test_windows_of_segments_have_times_of_the_recording(raw_exp, recorded, tmp_path):
    write_data_dir(tmp_path / "data", {"r": recorded.parent / "a.wav"}, {"s-1": "s", "s-2": "s"}, segments={"s-1": "r 0.3 1.5", "s-2": "r 1.5 2.5"})
    call("extract_windows", "--window", 1, "--period", 0.1, raw_exp, tmp_path / "data", tmp_path / "w")
    assert list(read_table(tmp_path / "w/segments", REST).values()) == ["r 0.3 1.3", "r 0.4 1.4", "r 0.5 1.5", "r 1.5 2.5"]
    whole = tmp_path / "whole"
    write_data_dir(whole, {"r": recorded.parent / "a.wav"}, {"r": "r"})
    call("extract_windows", "--window", 1, "--period", 0.1, raw_exp, whole, tmp_path / "all")
    one, other = vectors_in(tmp_path / "w"), vectors_in(tmp_path / "all")
    np.testing.assert_allclose(one["s-1-00000100-00001100"], other["r-00000400-00001400"], atol=1e-4)
    np.testing.assert_allclose(one["s-2-00000000-00001000"], other["r-00001500-00002500"], atol=1e-4)


def test_jobs_lay_the_same_windows(laid, raw_exp, recorded, tmp_path, program):
    done = program(STEP, "--window", 1, "--step-ratio", 0.5, "--batch-frames", 350, "--nj", 2, raw_exp, recorded, tmp_path / "w")
    assert (done.returncode, done.stderr) == (0, "")
    one, two = vectors_in(laid), vectors_in(tmp_path / "w")
    assert list(one) == list(two)
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], strict=True)


def test_matrices_hold_the_vectors_in_the_order_of_time(laid, recorded):
    facts = json.loads((laid / "npy/metadata.json").read_text())
    assert {name: facts[name] for name in ("start", "duration", "step", "dimension", "recordings", "epoch", "data")} == {
        "data": str(recorded), "start": 0.0, "duration": 1.0, "step": 0.5, "dimension": 6, "recordings": {"a": 4, "b": 1, "c": 4}, "epoch": 2,
    }  # fmt: skip
    vectors = vectors_in(laid)
    for utt in LENGTHS:
        windows = Windows.load(laid / "npy", utt)
        np.testing.assert_array_equal(windows.vectors, np.stack([vectors[name] for name in vectors if name.startswith(f"{utt}-")]))
        assert windows.crop(0, 0.1).shape == (1, 6)


def test_what_is_there_is_not_made_again_and_a_matrix_that_was_removed_is(laid, raw_exp, recorded, tmp_path):
    out = shutil.copytree(laid, tmp_path / "w")
    words = ["--window", 1, "--period", 0.5, "--batch-frames", 350, raw_exp, recorded, out]
    message = f"{out}: extract_windows was done otherwise: folder has changed. Pass --overwrite true to do it anew"
    assert failure(call, "extract_windows", *words) == message
    shutil.rmtree(out)
    call("extract_windows", *words)
    (out / "npy/metadata.json").unlink()
    assert call("extract_windows", *words) == f"extract_windows: the embeddings in {out} are there\n"
    assert (out / "npy/metadata.json").read_text() == (laid / "npy/metadata.json").read_text()
    message = f"{out}: extract_windows was done otherwise: --period was 0.5, now 0.25. Pass --overwrite true to do it anew"
    assert failure(call, "extract_windows", *words[:3], 0.25, *words[4:]) == message


def test_an_audio_file_is_enough(laid, raw_exp, recorded, tmp_path):
    call("extract_windows", "--window", 1, "--period", 0.5, raw_exp, recorded.parent / "c.wav", tmp_path / "w")
    expected = {name: vector for name, vector in vectors_in(laid).items() if name.startswith("c-")}
    assert_alike(vectors_in(tmp_path / "w"), expected)


def test_stored_features_are_cut_as_they_are_voiced_or_not(feature_exp, tmp_path):
    import torch

    from pytorch.experiment import Experiment

    feats = {"u": np.random.default_rng(0).standard_normal((250, 24)) * 3 + 10, "v": np.random.default_rng(1).standard_normal((9, 24))}
    write_data_dir(tmp_path / "data", {utt: f"/nowhere/{utt}.wav" for utt in feats}, {utt: utt for utt in feats})
    write_feats(tmp_path / "data", feats)
    settings = json.loads((feature_exp / "model.json").read_text())
    exp = write_experiment(tmp_path / "x", FeatureOptions(use_energy=True).to_json())
    assert settings["voiced"]
    call("extract_windows", exp, tmp_path / "data", tmp_path / "w")
    found = vectors_in(tmp_path / "w")
    assert list(found) == ["u-00000000-00002000", "u-00000200-00002200", "u-00000400-00002400", "u-00000500-00002500", "v-00000000-00000090"]
    model = Experiment(exp).load(2, torch.device("cpu"))
    frames = torch.from_numpy(feats["u"][20:220].astype(np.float32))
    with torch.inference_mode():
        expected = model.embed((frames - frames.mean(0))[None])[0].numpy()
    np.testing.assert_allclose(found["u-00000200-00002200"], expected, atol=1e-4)
    frames = torch.from_numpy(feats["v"].astype(np.float32))
    frames = frames - frames.mean(0)
    with torch.inference_mode():
        expected = model.embed(torch.cat([frames[:1].expand(3, -1), frames, frames[-1:].expand(3, -1)])[None])[0].numpy()
    np.testing.assert_allclose(found["v-00000000-00000090"], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--window", 0.05], "--window 0.05: the network takes no less than 0.157 s"),
        (["--period", 0.0001], "--period 0.0001: too short, 0.001 s is the least"),
    ],
)
def test_times_too_short_are_refused(words, message, raw_exp, recorded, tmp_path):
    assert failure(call, "extract_windows", *words, raw_exp, recorded, tmp_path / "w") == message


def test_a_period_said_twice_ends_with_status_2(raw_exp, recorded, tmp_path, program):
    done = program(STEP, "--period", 1, "--step-ratio", 0.5, raw_exp, recorded, tmp_path / "w")
    assert (done.returncode, done.stderr) == (2, "extract_windows.py: argument --step-ratio: not with --period, which says the same; see --help\n")


@pytest.mark.parametrize(
    ("spoil", "recording", "message"),
    [
        (lambda npy: None, "z", "{npy}: has no windows of 'z', only of a, b, c; extract them with steps/extract_windows.py"),
        (lambda npy: None, "../a", "'../a' cannot be the name of a file in {npy}; give the recording another id"),
        (lambda npy: (npy / "a.npy").unlink(), "a", "{npy}/a.npy: no such file; extract the windows of 'a' with steps/extract_windows.py"),
        (
            lambda npy: np.save(npy / "a.npy", np.zeros((4, 5))),
            "a",
            "{npy}/a.npy: the shape (4, 5) is not the one that metadata.json tells; extract the windows anew",
        ),
        (lambda npy: (npy / "metadata.json").unlink(), "a", "{npy}/metadata.json: no such file"),
        (
            lambda npy: (npy / "metadata.json").write_text("[1]"),
            "a",
            "{npy}/metadata.json: start, duration, step, dimension were expected, as numbers ([1]); extract the windows anew",
        ),
    ],
    ids=["unknown", "outside", "missing", "other shape", "no metadata", "other metadata"],
)
def test_matrices_that_are_not_what_they_should_be_are_refused(spoil, recording, message, laid, tmp_path):
    npy = shutil.copytree(laid / "npy", tmp_path / "npy")
    spoil(npy)
    assert failure(Windows.load, npy, recording) == message.format(npy=npy)


def test_a_matrix_that_was_cut_off_is_refused(laid, tmp_path):
    npy = shutil.copytree(laid / "npy", tmp_path / "npy")
    (npy / "a.npy").write_bytes((npy / "a.npy").read_bytes()[:-8])
    assert failure(Windows.load, npy, "a").startswith(f"{npy}/a.npy: damaged (")


def test_the_best_epoch_of_a_validation_is_taken(raw_exp, recorded, laid, tmp_path):
    from pytorch.files import sha256, write_json

    (tmp_path / "validate_dev").mkdir()
    write_json(tmp_path / "validate_dev/validate.json", {"epoch": 1, "weights_sha256": sha256(raw_exp / "epoch-001.safetensors")})
    words = ["--window", 1, "--period", 0.5, "--epoch", tmp_path / "validate_dev", raw_exp, recorded, tmp_path / "w"]
    assert call("extract_windows", *words).endswith(f", by epoch 1 of {raw_exp}\n")


def test_windows_of_real_recordings_are_those_of_their_segments(corpora, tmp_path):
    path = min((corpora / "an4/wav").glob("*/*/*.wav"))
    exp = write_experiment(tmp_path / "x", FEATURES.to_json(), args=XVECTOR, voiced=False)
    call("extract_windows", "--window", 1, "--period", 0.3, exp, path, tmp_path / "w")
    recording = tmp_path / "w/recordings"
    write_data_dir(
        tmp_path / "cut", read_table(recording / "wav.scp", REST), read_table(tmp_path / "w/utt2spk"), segments=read_table(tmp_path / "w/segments", REST)
    )
    call("extract", exp, tmp_path / "cut", tmp_path / "xv")
    assert_alike(vectors_in(tmp_path / "w"), vectors_in(tmp_path / "xv"))
