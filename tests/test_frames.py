"""pytorch/data/frames.py: stored features as a network sees them, their lengths by table where one tells them."""

import numpy as np
import pytest
from support import failure, write_feats, write_vad

from pytorch.data.data_dir import DataDir, write_data_dir, write_table
from pytorch.data.frames import stored_frames

FEATS = {f"s{number}-0": np.random.default_rng(number).standard_normal((20 + number, 5)).astype(np.float32) for number in range(4)}


@pytest.fixture
def data(tmp_path):
    """A data directory of features with their lengths."""
    write_data_dir(tmp_path / "data", {utt: f"/nowhere/{utt}.wav" for utt in FEATS}, {utt: utt[:2] for utt in FEATS})
    write_feats(tmp_path / "data", FEATS)
    write_table(tmp_path / "data/utt2num_frames", {utt: len(matrix) for utt, matrix in FEATS.items()})
    return DataDir(tmp_path / "data")


def test_frames_have_the_face_of_a_source(data):
    class Network:
        min_frames = 15

    frames = stored_frames(data, False)
    assert (frames.utts, frames.lengths.tolist(), frames.dim) == (list(FEATS), [20, 21, 22, 23], 5)
    assert (frames.row_shape, frames.dtype, frames.units(200), frames.sec_per_unit, frames.least_of(Network)) == ((5,), np.float32, 200, 0.01, 15)
    assert frames.name == data / "feats.scp"


@pytest.mark.parametrize("has_lengths", [True, False])
@pytest.mark.parametrize("voiced", [True, False])
def test_whole_utterances_and_crops_are_what_was_written(has_lengths, voiced, data):
    keep = {utt: np.arange(len(matrix)) % 3 > 0 for utt, matrix in FEATS.items()}
    write_vad(data.path, keep)
    if not has_lengths:
        (data / "utt2num_frames").unlink()
    frames = stored_frames(data, voiced)
    for index, (utt, matrix) in enumerate(FEATS.items()):
        expected = matrix[keep[utt]] if voiced else matrix
        assert frames.lengths[index] == len(expected)
        np.testing.assert_array_equal(frames.whole(index), expected, strict=True)
        out = np.empty((7, 5), dtype=np.float32)
        frames.crop(index, 4, out)
        np.testing.assert_array_equal(out, expected[4:11])


def test_where_a_table_tells_the_lengths_no_more_than_one_header_is_read(data):
    frames = stored_frames(data, False)
    assert list(frames._source._feats._forms) == [frames._source._feats._forms[0], 0, 0, 0]
    (data / "utt2num_frames").unlink()
    assert all(stored_frames(DataDir(data.path), False)._source._feats._forms)


@pytest.mark.parametrize("read", [lambda frames: frames.whole(2), lambda frames: frames.crop(2, 0, np.empty((3, 5), dtype=np.float32))], ids=["whole", "crop"])
def test_a_header_that_is_not_what_was_written_is_refused_when_it_is_read(read, data):
    write_table(data / "utt2num_frames", dict.fromkeys(FEATS, 23))
    write_feats(data.path, FEATS | {"s0-0": np.ones((23, 5))})
    frames = stored_frames(data, False)
    assert failure(read, frames) == f"{data / 'feats.scp'}: 's2-0' has 22 frames, but 23 in utt2num_frames; make the features anew"
    write_feats(data.path, FEATS | {"s2-0": np.ones((22, 6))})
    frames = stored_frames(lengths_of(data), False)
    message = f"{data / 'feats.scp'}: 's2-0' has the shape (22, 6), but 's0-0' has 5 columns; make the features anew"
    assert failure(read, frames) == message
    (data / "utt2num_frames").unlink()
    assert failure(stored_frames, data, False) == message


def lengths_of(data):
    write_table(data / "utt2num_frames", {utt: len(matrix) for utt, matrix in FEATS.items()})
    return DataDir(data.path)


@pytest.mark.parametrize("value", ["many", "2.5", "-3", "²"])
def test_a_length_that_is_no_number_of_frames_is_refused(value, data):
    write_table(data / "utt2num_frames", dict.fromkeys(FEATS, 20) | {"s2-0": value})
    remedy = "write it with utils/get_utt2num_frames.py --overwrite true"
    assert failure(stored_frames, data, False) == f"{data / 'utt2num_frames'}:3: 's2-0': a number of frames expected, not '{value}'; {remedy}"


def test_short_utterances_are_named(data):
    remedy = "leave them out with utils/subset_data_dir.py --min-frames 22"
    message = f"{data / 'feats.scp'}: 2 utterances have fewer than 22 frames, the least the network takes: s0-0, s1-0; {remedy}"
    assert failure(stored_frames(data, False).need_length, 22) == message
