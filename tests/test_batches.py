"""pytorch/training/batches.py: a batch is what its sampler drew, whoever reads it; short utterances; parts for several processes; failures of readers."""

import os
import signal
from types import SimpleNamespace

import kaldiio
import numpy as np
import pytest
import torch
from support import failure, write_feats

from pytorch.data.data_dir import DataDir, write_table
from pytorch.data.frames import stored_frames
from pytorch.data.wav_ark import WavArkWriter
from pytorch.data.waves import open_waves
from pytorch.features.options import FeatureOptions
from pytorch.features.wave_input import WaveInput
from pytorch.program import Fail
from pytorch.training.batches import Batches, load_batches
from pytorch.training.sampler import build_sampler

CPU = torch.device("cpu")
LENGTHS = [30, 12, 25, 40, 9, 30, 22, 35, 50, 28, 31, 17]
GROUPS = np.arange(12) // 3


class Waves:
    """Waveforms in memory, with the face of a source: sample k of utterance u is 1000 u + k + 1."""

    row_shape, dtype, sec_per_unit, name = (), np.int16, 1 / 16000, "wav.scp"

    def __init__(self, lengths=LENGTHS):
        self.lengths = np.array(lengths)
        self._waves = [(1000 * utt + np.arange(length) + 1).astype(np.int16) for utt, length in enumerate(lengths)]

    def units(self, num_frames):
        return num_frames

    def need_length(self, least):
        assert self.lengths.min() >= least

    def whole(self, index):
        return self._waves[index]

    def crop(self, index, start, out):
        out[:] = self._waves[index][start : start + len(out)]


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Frames of an archive, and its matrices as kaldiio reads them."""
    folder = tmp_path_factory.mktemp("batches")
    chance = np.random.default_rng(0)
    utts = [f"s{number // 3}-{number:02d}" for number in range(12)]
    write_table(folder / "utt2spk", {utt: utt[:2] for utt in utts})
    write_feats(folder, {utt: chance.standard_normal((length, 4), dtype=np.float32) for utt, length in zip(utts, LENGTHS, strict=True)})
    theirs = dict(kaldiio.load_scp(str(folder / "feats.scp")))
    return SimpleNamespace(source=stored_frames(DataDir(folder), False), matrices=[theirs[utt] for utt in utts])


def batches_of(source, kind="utterance", batch_size=6, crops=(10, 20), short="repeat", part=(0, 1), targets=GROUPS, **more):
    if kind != "utterance":
        more["groups"] = GROUPS
    return Batches(source, targets, build_sampler(kind, source, batch_size, *crops, 1, short, **more), short, part)


def places_of(batches, epochs):
    return [(epoch, step) for epoch in range(1, epochs + 1) for step in range(batches.sampler.steps_per_epoch)]


def assert_same(found, expected):
    found = list(found)
    assert len(found) == len(expected)
    for batch, other in zip(found, expected, strict=True):
        for tensor, wanted in zip(batch, other, strict=True):
            assert tensor.dtype == wanted.dtype
            assert torch.equal(tensor, wanted)


# ---- what a batch holds


def test_a_batch_is_the_crops_that_the_sampler_drew(frames):
    batches = batches_of(frames.source, short="drop")
    seen = 0
    for place in places_of(batches, 4):
        x, y, utts = batches[place]
        indices, starts, length = batches.sampler.draw(*place)
        assert (x.dtype, x.shape, y.dtype, utts.tolist()) == (torch.float32, (6, length, 4), torch.int64, indices.tolist())
        assert y.tolist() == GROUPS[indices].tolist()
        for row, index, start in zip(x.numpy(), indices, starts, strict=True):
            np.testing.assert_array_equal(row, frames.matrices[index][start : start + length])
            seen += 1
    assert seen == 48


def test_waves_stay_integers():
    source = Waves()
    x, _, utts = batches_of(source, short="drop")[1, 0]
    assert (x.dtype, x.shape[0], x.dim()) == (torch.int16, 6, 2)
    np.testing.assert_array_equal(np.diff(x.numpy(), axis=1), 1)
    assert (x[:, 0].numpy() // 1000).tolist() == utts.tolist()


def test_waves_of_an_archive_are_those_kaldiio_reads(tmp_path):
    chance = np.random.default_rng(0)
    with WavArkWriter(tmp_path / "wav.ark", tmp_path / "wav.scp", 16000) as ark:
        for number in range(12):
            ark.write(f"u{number:02d}", chance.integers(-32768, 32768, 800 + 400 * number))
    write_table(tmp_path / "utt2spk", {f"u{number:02d}": "spk" for number in range(12)})
    theirs = [wave for _, (_, wave) in sorted(kaldiio.load_scp(str(tmp_path / "wav.scp")).items())]
    batches = batches_of(open_waves(DataDir(tmp_path), WaveInput(16000.0, FeatureOptions())), crops=(5, 6))
    for place in places_of(batches, 3):
        x, _, _ = batches[place]
        indices, starts, length = batches.sampler.draw(*place)
        assert length in (400 + 4 * 160, 400 + 5 * 160)
        for row, index, start in zip(x.numpy(), indices, starts, strict=True):
            np.testing.assert_array_equal(row, theirs[index][(start + np.arange(length)) % len(theirs[index])])


def test_several_chunks_of_an_utterance_have_one_target():
    batches = batches_of(Waves(), "speaker", batch_size=12, utts_per_spk=2, chunks_per_utt=3, short="drop")
    x, y, utts = batches[1, 0]
    assert (len(x), len(y), len(utts)) == (12, 4, 12)
    assert y.tolist() == GROUPS[utts.numpy()[::3]].tolist()
    assert (utts.reshape(4, 3) == utts.reshape(4, 3)[:, :1]).all()


def test_targets_of_two_columns_come_as_they_are():
    targets = np.stack([GROUPS, 10.0 + np.arange(12)], axis=1).astype(np.float32)
    _, y, utts = batches_of(Waves(), targets=targets)[1, 0]
    assert y.dtype == torch.float32
    np.testing.assert_array_equal(y.numpy(), targets[utts.numpy()])


# ---- short utterances


def one_crop(source, length, short, step):
    batches = batches_of(source, batch_size=1, crops=(length, length), short=short, targets=np.zeros(1), steps_per_epoch=100)
    return batches[1, step][0][0].numpy(), batches.sampler.draw(1, step)[1][0]


@pytest.mark.parametrize("length", [8, 20])
def test_repeated_utterances_go_on_from_their_beginning(length):
    begins = set()
    for step in range(40):
        crop, start = one_crop(Waves([7]), length, "repeat", step)
        assert crop.tolist() == [(start + place) % 7 + 1 for place in range(length)]
        begins.add(start)
    assert begins == set(range(7))


def test_padded_waves_are_followed_by_zeros():
    for step in range(5):
        assert one_crop(Waves([4]), 7, "pad", step)[0].tolist() == [1, 2, 3, 4, 0, 0, 0]


def test_padded_features_are_followed_by_their_last_frame(frames):
    batches = batches_of(frames.source, batch_size=12, crops=(30, 30), short="pad")
    x, _, utts = batches[1, 0]
    _, starts, _ = batches.sampler.draw(1, 0)
    for row, index, start in zip(x.numpy(), utts.tolist(), starts, strict=True):
        matrix = frames.matrices[index]
        expected = matrix[start : start + 30] if len(matrix) >= 30 else np.pad(matrix, [(0, 30 - len(matrix)), (0, 0)], mode="edge")
        np.testing.assert_array_equal(row, expected)


# ---- readers


@pytest.mark.parametrize("kind", ["utterance", "class", "speaker"])
def test_a_batch_is_the_same_whoever_reads_it_and_after_a_restart(kind, frames):
    def new():
        return batches_of(frames.source, kind, batch_size=5)

    places = places_of(new(), 9)
    whole = [new()[place] for place in places]
    for num_workers in (0, 1, 2):
        assert_same(load_batches(new(), places, num_workers, CPU), whole)
        assert_same(load_batches(new(), places[11:], num_workers, CPU), whole[11:])


def test_what_readers_made_is_not_overwritten_by_what_they_make_next(frames):
    batches = batches_of(frames.source, batch_size=5)
    places = places_of(batches, 40)
    assert_same(list(load_batches(batches, places, 1, CPU)), [batches[place] for place in places])


def test_readers_hand_over_waves_and_columns_of_targets():
    batches = batches_of(Waves(), targets=np.ones((12, 2), dtype=np.float32))
    places = places_of(batches, 3)
    assert_same(load_batches(batches, places, 1, CPU), [batches[place] for place in places])


def test_readers_do_not_touch_the_random_numbers_of_the_training(frames):
    batches = batches_of(frames.source)
    before = torch.get_rng_state()
    for num_workers in (0, 1):
        next(load_batches(batches, [(1, 0)], num_workers, CPU))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_for_a_card_the_next_batch_is_made_ready_in_pinned_memory(num_workers, frames, monkeypatch):
    pinned = []

    def pin(tensor):  # where there is no card, memory cannot be pinned
        pinned.append(tensor.clone())
        return pinned[-1]

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    batches = batches_of(frames.source)
    places = places_of(batches, 6)
    found = list(load_batches(batches, places, num_workers, torch.device("cuda")))
    assert all(any(tensor is other for other in pinned) for batch in found for tensor in batch)
    assert_same(found, [batches[place] for place in places])


class Broken(Waves):
    def crop(self, index, start, out):
        raise Fail("wav.scp: 'utt': the archive has been cut since it was opened; make it anew")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_failure_of_a_reader_is_the_line_it_is_here(num_workers, device):
    loaded = load_batches(batches_of(Broken()), [(1, 0)], num_workers, torch.device(device))
    assert failure(next, loaded) == "wav.scp: 'utt': the archive has been cut since it was opened; make it anew"


class Killed(Waves):
    def crop(self, index, start, out):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_reader_that_is_killed_ends_the_reading():
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        next(load_batches(batches_of(Killed()), [(1, 0)], 1, CPU))


# ---- parts


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize(("kind", "more"), [("utterance", {}), ("speaker", {"utts_per_spk": 2, "chunks_per_utt": 2})])
def test_the_parts_of_all_processes_are_the_whole(kind, more, world, frames):
    whole = batches_of(frames.source, kind, batch_size=24, **more)
    parts = [batches_of(frames.source, kind, batch_size=24, part=(rank, world), **more) for rank in range(world)]
    for place in places_of(whole, 2):
        x, y, utts = whole[place]
        together = [part[place] for part in parts]
        assert {len(part[0]) for part in together} == {24 // world}
        groups = whole.sampler.together
        for number, tensor in ((0, x), (2, utts)):
            rows = [part[number].reshape(-1, groups, *tensor.shape[1:]) for part in together]
            assert torch.equal(torch.stack(rows, 1).reshape(tensor.shape), tensor)
        rows = [part[1].reshape(-1, groups // whole.sampler.chunks) for part in together]
        assert torch.equal(torch.stack(rows, 1).flatten(), y)


def test_a_speaker_of_a_batch_stays_in_one_process():
    part = batches_of(Waves(), "speaker", batch_size=8, utts_per_spk=4, part=(1, 2))
    assert len(set(part[1, 0][1].tolist())) == 1


def test_a_batch_that_cannot_be_shared_evenly_is_refused():
    message = failure(batches_of, Waves(), batch_size=8, part=(0, 3))
    assert message == "a batch of 8 crops cannot be shared evenly by 3 processes; make it a multiple of 3"
    message = failure(batches_of, Waves(), "speaker", batch_size=12, utts_per_spk=3, part=(0, 3))
    assert message == "a batch of 4 times 3 crops that belong together cannot be shared evenly by 3 processes; make it a multiple of 3"
