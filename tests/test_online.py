"""pytorch/features/online.py and steps/train.py --online-feats: features computed when they are asked for are those that would be stored."""

import numpy as np
import pytest
import soundfile
from kaldiio import load_scp
from support import failure

from pytorch.data.data_dir import DataDir, write_data_dir
from pytorch.data.frames import stored_frames
from pytorch.data.recordings import Recordings
from pytorch.features.online import computed_frames, read_feature_options
from pytorch.features.options import KINDS, FeatureOptions

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


def test_saved_features_of_another_channel_are_not_taken(tmp_path):
    soundfile.write(tmp_path / "x.wav", 0.1 * np.random.default_rng(0).standard_normal((6000, 2)), 16000, subtype="PCM_16")
    write_data_dir(tmp_path / "data", {"a-1": tmp_path / "x.wav"}, {"a-1": "a"})
    data = DataDir(tmp_path / "data")
    first, second = (computed_frames(data, False, OPTIONS, Recordings(data, 16000, channel), tmp_path / "kept").whole(0) for channel in (0, 1))
    assert len(list((tmp_path / "kept").iterdir())) == 2
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("size", [0, 10, 100, -4])
def test_a_damaged_saved_file_is_named(size, data, tmp_path):
    frames = computed(data, tmp_path)
    frames.whole(0)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:size])
    assert failure(computed(data, tmp_path).whole, 0).startswith(f"{path}: damaged (")


def test_a_saved_file_of_another_shape_is_named(data, tmp_path):
    computed(data, tmp_path).whole(0)
    (path,) = tmp_path.iterdir()
    np.save(path, np.zeros((3, 9), dtype=np.float32))
    assert failure(computed(data, tmp_path).whole, 0) == f"{path}: the shape (3, 9) instead of (36, 9), which 's0-0' has; remove it"


def test_features_that_could_not_be_kept_leave_no_part_of_them(data, tmp_path, monkeypatch):
    def full(file, array, allow_pickle):
        file.write(b"x" * 10)
        raise OSError(28, "No space left on device")

    frames = computed(data, tmp_path)
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space left on device"):
        frames.whole(0)
    assert not list(tmp_path.iterdir())


# ---- options in a file


def test_a_file_of_feature_options_is_read(tmp_path):
    (tmp_path / "x.conf").write_text("# comment\n--feature=mfcc\n--num_ceps=20\n\n--use-energy=false  # C0\n")
    assert read_feature_options(tmp_path / "x.conf") == FeatureOptions(feature="mfcc", num_ceps=20, use_energy=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--num-mel-bin=8\n", "{path}:1: a file of feature options has no option --num-mel-bin (is --num-mel-bins meant?)"),
        ("--nj=8\n", "{path}:1: a file of feature options has no option --nj"),
        ("num-mel-bins=8\n", "{path}:1: --name=value expected, not 'num-mel-bins=8'"),
        ("--num-mel-bins=x\n", "{path}: argument --num-mel-bins: a whole number above 0 expected, not 'x'"),
        ("--feature=fbanks\n", "{path}: argument --feature: invalid choice: 'fbanks' (choose from {kinds})"),
        ("--num-ceps=8\n", "{path}: --num-ceps: no option of --feature fbank; leave it out; or say --feature=… in it, which is fbank where nothing is said"),
    ],
)
def test_wrong_feature_options_in_a_file_are_named(text, message, tmp_path):
    path = tmp_path / "x.conf"
    path.write_text(text)
    assert failure(read_feature_options, path) == message.format(path=path, kinds=", ".join(map(repr, KINDS)))


def test_a_file_of_feature_options_that_is_not_there_is_named(tmp_path):
    assert failure(read_feature_options, tmp_path / "x.conf") == f"--config {tmp_path}/x.conf: No such file or directory"


# ---- while training


def test_other_settings_of_computed_features_stop_a_second_run(data, tmp_path, program):
    conf = tmp_path / "x.conf"
    conf.write_text(CONF)
    assert program("steps/train.py", *TINY, "--online-feats", conf, data.path, tmp_path / "x").returncode == 0
    conf.write_text(CONF.replace("8", "9"))
    done = program("steps/train.py", *TINY, "--online-feats", conf, data.path, tmp_path / "x")
    assert done.returncode == 1
    assert "train was done otherwise: --features was " in done.stderr


def test_a_network_of_computed_features_is_given_such_whatever_features_are_stored(data, tmp_path, program):
    assert program("steps/train.py", *TINY, "--online-feats", data.path.parent / "fbank.conf", data.path, tmp_path / "x").returncode == 0
    recordings = dict(line.split() for line in (data / "wav.scp").read_text().splitlines())
    for name, stored in (("bare", False), ("others", True)):
        write_data_dir(tmp_path / name, recordings, data.utt2spk)
        if stored:
            assert program("steps/make_feats.py", "--feature", "mfcc", tmp_path / name).returncode == 0
        done = program("steps/extract.py", "--device", "cpu", tmp_path / "x", tmp_path / name, tmp_path / f"{name}_xv")
        assert done.returncode == 0, done.stderr
    found = [dict(load_scp(str(tmp_path / f"{name}_xv/xvector.scp"))) for name in ("bare", "others")]
    assert len(found[0]) == 12
    for utt, vector in found[0].items():
        np.testing.assert_array_equal(found[1][utt], vector)
