"""pytorch/features/online.py and steps/train.py --online-feats: features computed while training are those that would be stored."""

import numpy as np
import pytest
import soundfile
from support import failure

from pytorch.data.data_dir import DataDir, write_data_dir
from pytorch.data.frames import stored_frames
from pytorch.data.recordings import Recordings
from pytorch.features.online import computed_frames
from pytorch.features.options import FeatureOptions

OPTIONS = FeatureOptions(num_mel_bins=8, use_energy=True)
CONF = "--num-mel-bins=8\n--use-energy=true\n"
TINY = [
    "--epochs=2", "--batch-size=4", "--min-frames=20", "--max-frames=30", "--voiced=false", "--device=cpu", "--num-threads=1", "--warmup-steps=2",
    "--model-args", "frame_dim=8 stats_dim=8 embed_dim=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory, program):
    """A data directory of 12 recordings of 3 speakers, stored features (not compressed) beside them."""
    folder = tmp_path_factory.mktemp("online")
    chance = np.random.default_rng(0)
    paths = {f"s{number % 3}-{number}": folder / f"{number}.wav" for number in range(12)}
    for number, path in enumerate(paths.values()):
        soundfile.write(path, 0.1 * chance.standard_normal(6000 + 400 * number), 16000, subtype="PCM_16")
    write_data_dir(folder / "data", paths, {utt: utt[:2] for utt in paths})
    (folder / "fbank.conf").write_text(CONF)
    done = program("steps/make_feats.py", "--config", folder / "fbank.conf", "--compress", 0, folder / "data")
    assert done.returncode == 0, done.stderr
    return DataDir(folder / "data")


def computed(data, save=None):
    return computed_frames(data, False, OPTIONS, Recordings(data, 16000), save)


@pytest.mark.parametrize("saved", [False, True])
def test_computed_frames_are_the_stored_ones(saved, data, tmp_path):
    stored, online = stored_frames(data, False), computed(data, tmp_path / "saved" if saved else None)
    assert (online.utts, online.dim, online.settings) == (stored.utts, stored.dim, stored.settings)
    np.testing.assert_array_equal(online.lengths, stored.lengths)
    for _ in range(2):  # the second time out of the folder
        for index in range(len(stored.utts)):
            np.testing.assert_array_equal(online.whole(index), stored.whole(index))
            crops = np.empty((2, 20, stored.dim), dtype=np.float32)
            for frames, crop in zip((online, stored), crops, strict=True):
                frames.crop(index, 3, crop)
            np.testing.assert_array_equal(crops[0], crops[1])
            np.testing.assert_array_equal(crops[0], stored.whole(index)[3:23])


def test_saved_features_are_taken_without_the_recordings(data, tmp_path):
    first = computed(data, tmp_path)
    expected = [first.whole(index) for index in range(len(first.utts))]
    second = computed(data, tmp_path)
    second._source._compute = lambda utt: pytest.fail("computed again")
    for index, matrix in enumerate(expected):
        np.testing.assert_array_equal(second.whole(index), matrix)


def test_saved_features_of_other_settings_are_not_taken(data, tmp_path):
    computed(data, tmp_path).whole(0)
    other = computed_frames(data, False, FeatureOptions(num_mel_bins=9, use_energy=True), Recordings(data, 16000), tmp_path)
    assert other.whole(0).shape[1] == 10


def test_a_damaged_saved_file_is_named(data, tmp_path):
    frames = computed(data, tmp_path)
    frames.whole(0)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    assert failure(computed(data, tmp_path).whole, 0).startswith(f"{path}: damaged (")


def test_training_on_computed_features_gives_the_weights_of_training_on_stored_ones(data, tmp_path, program):
    conf = data.path.parent / "fbank.conf"
    runs = {"stored": [], "online": ["--online-feats", conf], "saved": ["--online-feats", conf, "--save-feats", tmp_path / "kept", "--num-workers", 1]}
    for name, words in runs.items():
        done = program("steps/train.py", *TINY, *words, data.path, tmp_path / name)
        assert done.returncode == 0, done.stderr
    weights = {name: (tmp_path / name / "epoch-002.safetensors").read_bytes() for name in runs}
    assert weights["online"] == weights["stored"] and weights["saved"] == weights["stored"]
    assert len(list((tmp_path / "kept").iterdir())) == 12


def test_other_settings_of_computed_features_stop_a_second_run(data, tmp_path, program):
    conf = tmp_path / "x.conf"
    conf.write_text(CONF)
    assert program("steps/train.py", *TINY, "--online-feats", conf, data.path, tmp_path / "x").returncode == 0
    conf.write_text(CONF.replace("8", "9"))
    done = program("steps/train.py", *TINY, "--online-feats", conf, data.path, tmp_path / "x")
    assert done.returncode == 1
    assert "train was done otherwise: --features was " in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--save-feats", "x"], 1, "--save-feats: only with --online-feats; stored features have been computed already"),
        (["--online-feats", "none.conf"], 2, "--config none.conf: No such file or directory; see --help"),
        (["--channel", "1"], 1, "--channel: only with --online-feats; stored features have been computed already"),
    ],
)
def test_options_that_do_not_fit_are_refused(words, status, message, data, tmp_path, program):
    done = program("steps/train.py", *TINY, *words, data.path, tmp_path / "x")
    assert (done.returncode, done.stderr) == (status, f"train.py: {message}\n")


def test_voiced_frames_that_nobody_decided_on_are_asked_for(data, tmp_path, program):
    words = [word for word in TINY if word != "--voiced=false"]
    done = program("steps/train.py", *words, "--online-feats", data.path.parent / "fbank.conf", data.path, tmp_path / "x")
    assert done.returncode == 1
    assert done.stderr.startswith(f"train.py: {data.path}/vad.scp: no such file; voiced frames are asked for; pass --voiced false, or ")
