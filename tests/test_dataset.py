"""pytorch/dataset.py: a data directory as a torch Dataset, and the example of docs/data.md."""

import os
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
import soundfile
import torch
from support import failure, write_vad
from torch.utils.data import ConcatDataset, DataLoader

from pytorch.data.data_dir import DataDir, write_data_dir, write_table
from pytorch.dataset import SpeechDataset, pad_batch
from pytorch.features.options import FeatureOptions

FBANK = FeatureOptions(num_mel_bins=8)
CONF = "--num-mel-bins=8\n"


def recordings(folder, samples, channels=1):
    """Noise, one file for each number of samples -> {utt: path}, three speakers taking turns"""
    chance = np.random.default_rng(0)
    paths = {f"s{number % 3}-{number:02d}": folder / f"{number}.wav" for number in range(len(samples))}
    for path, num in zip(paths.values(), samples, strict=True):
        soundfile.write(path, 0.1 * chance.standard_normal((num, channels)), 16000, subtype="PCM_16")
    return paths


def make(folder, paths):
    write_data_dir(folder, paths, {utt: utt[:2] for utt in paths}, utt2age={utt: 20 + 2.5 * int(utt[3:]) for utt in paths})
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory, program):
    """A data directory of 12 recordings of 36 to 69 frames, 3 speakers, stored features beside them."""
    folder = tmp_path_factory.mktemp("dataset")
    path = make(folder / "data", recordings(folder, [6000 + 480 * number for number in range(12)]))
    (folder / "fbank.conf").write_text(CONF)
    done = program("steps/make_feats.py", "--config", folder / "fbank.conf", path)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def bare(tmp_path):
    """A data directory of three recordings and nothing else."""
    return make(tmp_path / "bare", recordings(tmp_path, [6000, 7000, 8000]))


def epoch_of(loader):
    """{utt: (features, label)} of one pass"""
    found = {}
    for batch in loader:
        found |= {utt: (x, y) for utt, x, y in zip(batch["utt"], batch["feature"], batch["label"], strict=True)}
    return found


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[utt][0], second[utt][0]) and first[utt][1] == second[utt][1] for utt in first)


# ---- items


def test_an_item_is_a_matrix_a_class_and_an_id(data):
    dataset = SpeechDataset(data)
    item = dataset[1]
    assert (len(dataset), dataset.dim, dataset.classes) == (12, 8, ["s0", "s1", "s2"])
    assert dataset.frames.utts[:5] == ["s0-00", "s0-03", "s0-06", "s0-09", "s1-01"]
    assert (item["utt"], item["label"], type(item["label"])) == ("s0-03", 0, int)
    assert (item["feature"].dtype, item["feature"].shape) == (torch.float32, (1 + (6000 + 480 * 3 - 400) // 160, 8))
    assert [dataset[index]["label"] for index in (0, 4, 8)] == [0, 1, 2]
    assert dataset[-1]["utt"] == "s2-11"
    assert [item["utt"] for item in dataset] == dataset.frames.utts


def test_computed_items_are_the_stored_ones_to_rounding(data, tmp_path):
    stored = SpeechDataset(data)
    for features in (FBANK, data.parent / "fbank.conf", str(data.parent / "fbank.conf")):
        computed = SpeechDataset(data, features=features, save=tmp_path)
        assert computed.frames.settings == stored.frames.settings
        for one, other in zip(computed, stored, strict=True):
            assert (one["utt"], one["label"]) == (other["utt"], other["label"])
            step = (one["feature"].max() - one["feature"].min()) / 65535
            torch.testing.assert_close(one["feature"], other["feature"], rtol=0, atol=float(step))
    assert len(list(tmp_path.iterdir())) == 12


def test_derivatives_and_kinds_of_features_are_passed_on(bare):
    dataset = SpeechDataset(bare, features=FeatureOptions(feature="mfcc", num_ceps=5, delta_order=2, snip_edges=False))
    assert (dataset.dim, dataset[0]["feature"].shape) == (15, (38, 15))


@pytest.mark.parametrize("crop_frames", [None, 20])
def test_the_mean_of_what_an_item_holds_is_subtracted(crop_frames, data):
    plain = SpeechDataset(data, crop_frames=crop_frames)[3]["feature"]
    feature = SpeechDataset(data, crop_frames=crop_frames, cmn="mean")[3]["feature"]
    torch.testing.assert_close(feature, plain - plain.mean(0))


def test_only_voiced_frames_are_taken_where_asked(bare):
    whole = SpeechDataset(bare, features=FBANK)
    frames = {item["utt"]: item["feature"] for item in whole}
    write_vad(bare, {utt: (np.arange(len(x)) % 3 == 0).astype(np.float32) for utt, x in frames.items()})
    for item in SpeechDataset(bare, features=FBANK, voiced=True):
        torch.testing.assert_close(item["feature"], frames[item["utt"]][::3], rtol=0, atol=0)
    crop = SpeechDataset(bare, features=FBANK, voiced=True, crop_frames=5)[0]["feature"]
    voiced = frames["s0-00"][::3]
    assert any(torch.equal(crop, voiced[start : start + 5]) for start in range(len(voiced) - 4))


# ---- labels


def test_numbers_are_labels_that_come_as_float32(data):
    batch = next(iter(DataLoader(SpeechDataset(data, "utt2age", kind="numbers", crop_frames=5), batch_size=3)))
    assert (batch["label"].dtype, batch["label"].tolist()) == (torch.float32, [20.0, 27.5, 35.0])


def test_classes_are_labels_that_come_as_int64(data):
    batch = next(iter(DataLoader(SpeechDataset(data, "utterance", crop_frames=5), batch_size=3)))
    assert (batch["label"].dtype, batch["label"].tolist()) == (torch.int64, [0, 1, 2])


def test_a_class_and_a_number_come_as_two_columns(data):
    batch = next(iter(DataLoader(SpeechDataset(data, "utt2spk,utt2age", kind="both", crop_frames=5), batch_size=12)))
    assert (batch["label"].dtype, batch["label"].shape) == (torch.float32, (12, 2))
    assert batch["label"][[0, 4]].tolist() == [[0, 20], [1, 22.5]]


def test_a_dataset_without_targets_has_no_labels(data):
    dataset = SpeechDataset(data, targets=None)
    assert dataset[0].keys() == {"feature", "utt"}
    assert next(iter(DataLoader(dataset, batch_size=2, collate_fn=pad_batch))).keys() == {"feature", "length", "utt"}


def test_validation_takes_the_classes_of_the_training(data, bare):
    write_table(bare / "utt2label", {"s0-00": "2", "s1-01": "10", "s2-02": "2"})
    train = SpeechDataset(bare, "utt2label", features=FBANK)
    write_table(bare / "utt2label", {"s0-00": "10", "s1-01": "10", "s2-02": "10"})
    valid = SpeechDataset(bare, "utt2label", features=FBANK, classes=train.classes)
    assert [item["label"] for item in ConcatDataset([train, valid])] == [0, 1, 0, 1, 1, 1]


def test_a_file_may_give_the_classes_their_order(bare, tmp_path):
    write_table(bare / "utt2label", {"s0-00": "teens", "s1-01": "thirties", "s2-02": "teens"})
    (tmp_path / "ages").write_text("thirties\nteens\n")
    for path in (tmp_path / "ages", str(tmp_path / "ages")):
        dataset = SpeechDataset(bare, "utt2label", features=FBANK, classes=path)
        assert (dataset.classes, [item["label"] for item in dataset]) == (["thirties", "teens"], [1, 0, 1])


# ---- crops


def test_a_crop_is_a_stretch_of_its_utterance_and_changes_with_epoch_and_seed(data):
    whole = [item["feature"] for item in SpeechDataset(data)]

    def starts(seed, epoch):
        dataset = SpeechDataset(data, crop_frames=20, seed=seed)
        dataset.set_epoch(epoch)
        crops = [item["feature"] for item in dataset]
        return [
            next(start for start in range(len(x) - 19) if torch.equal(crop, x[start : start + 20])) for crop, x in zip(crops, whole, strict=True)
        ]  # fmt: skip

    assert starts(0, 1) == starts(0, 1)
    assert len({tuple(starts(*place)) for place in ((0, 0), (0, 1), (1, 0), (1, 1))}) == 4


def test_all_places_of_a_crop_are_drawn(bare):
    dataset = SpeechDataset(bare, targets=None, features=FBANK, crop_frames=34)
    whole = SpeechDataset(bare, targets=None, features=FBANK)[0]["feature"]
    assert len(whole) == 36
    seen = set()
    for epoch in range(30):
        dataset.set_epoch(epoch)
        seen |= {start for start in range(3) if torch.equal(dataset[0]["feature"], whole[start : start + 34])}
    assert seen == {0, 1, 2}


def test_utterances_shorter_than_the_crop_are_repeated(data):
    whole = SpeechDataset(data)[0]["feature"]
    crop = SpeechDataset(data, crop_frames=100)[0]["feature"]
    assert len(whole) == 36
    turned = next(start for start in range(36) if torch.equal(crop[:36], whole.roll(-start, 0)))
    torch.testing.assert_close(crop, whole.roll(-turned, 0).repeat(3, 1)[:100], rtol=0, atol=0)


def test_crops_do_not_depend_on_the_number_of_workers_even_of_ones_that_live_on(data):
    datasets = [SpeechDataset(data, crop_frames=20, seed=3) for _ in range(2)]
    alone = DataLoader(datasets[0], batch_size=5, shuffle=True, generator=torch.Generator().manual_seed(1))
    several = DataLoader(datasets[1], batch_size=5, shuffle=True, generator=torch.Generator().manual_seed(2), num_workers=2, persistent_workers=True)
    epochs = []
    for epoch in (1, 2):
        for dataset in datasets:
            dataset.set_epoch(epoch)
        epochs.append(epoch_of(alone))
        assert same(epochs[-1], epoch_of(several))
    assert not same(*epochs)


# ---- whole utterances


def test_whole_utterances_are_padded_with_zeros_behind_them(data):
    dataset = SpeechDataset(data, cmn="mean")
    batch = pad_batch([dataset[0], dataset[3], dataset[4]])
    assert batch["length"].tolist() == [36, 63, 39]
    assert (batch["feature"].shape, batch["label"].tolist(), batch["utt"]) == ((3, 63, 8), [0, 0, 1], ["s0-00", "s0-09", "s1-01"])
    for row, index in enumerate((0, 3, 4)):
        x = dataset[index]["feature"]
        torch.testing.assert_close(batch["feature"][row, : len(x)], x, rtol=0, atol=0)
        assert not batch["feature"][row, len(x) :].any()


# ---- real speech


def test_two_epochs_of_an4_computed_and_saved_equal_the_stored_features(corpora, tmp_path, program):
    paths = {f"{path.parent.name}-{path.stem}": path for path in sorted((corpora / "an4/wav").glob("*/*/*.wav"))[:60]}
    if not paths:
        pytest.skip(f"no AN4 in {corpora}")
    utt2spk = {utt: utt.partition("-")[0] for utt in paths}
    write_data_dir(tmp_path / "an4", paths, utt2spk)
    conf = tmp_path / "mfcc.conf"
    conf.write_text("--feature=mfcc\n--num-ceps=23\n--delta-order=1\n--snip-edges=false\n")
    done = program("steps/make_feats.py", "--config", conf, "--compress", 0, tmp_path / "an4")
    assert done.returncode == 0, done.stderr
    stored = SpeechDataset(tmp_path / "an4", crop_frames=150, seed=1)
    computed = SpeechDataset(tmp_path / "an4", features=conf, save=tmp_path / "saved", crop_frames=150, seed=1)
    loader = DataLoader(computed, batch_size=16, shuffle=True, num_workers=2)
    for epoch in (1, 2):
        for dataset in (stored, computed):
            dataset.set_epoch(epoch)
        found = epoch_of(loader)
        assert len(list((tmp_path / "saved").iterdir())) == 60
        assert same(found, {item["utt"]: (item["feature"], item["label"]) for item in stored})
        assert {utt: stored.classes[label] for utt, (_, label) in found.items()} == utt2spk


# ---- the example


def test_the_example_of_the_documentation_runs(root, tmp_path):
    section = (root / "docs/data.md").read_text().partition("## Your own training loop")[2]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    assert len(code.splitlines()) < 30
    paths = recordings(tmp_path, [8000] * 40)
    make(tmp_path / "data/train", paths)
    write_table(tmp_path / "data/train/utt2label", {utt: int(utt[3:]) % 4 + 1 for utt in paths})
    (tmp_path / "example.py").write_text(code)
    done = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(root)})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert re.fullmatch(r"epoch 1: loss \d\.\d{3}\nepoch 2: loss \d\.\d{3}\n", done.stdout)


# ---- what is wrong


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"save": "x"}, "save 'x': only with features to be computed; say which with features="),
        ({"channel": 0}, "channel 0: only with features to be computed; say which with features="),
        ({"resample": True}, "resample True: only with features to be computed; say which with features="),
        ({"allow_cmd": ("sph",)}, "allow_cmd ('sph',): only with features to be computed; say which with features="),
        ({"kind": "class"}, "kind 'class': classes, numbers, both expected"),
        ({"cmn": True}, "cmn True: none, mean expected"),
        ({"crop_frames": 0}, "crop_frames 0: a whole number above 0 expected, or None for whole utterances"),
        ({"crop_frames": 2.5}, "crop_frames 2.5: a whole number above 0 expected, or None for whole utterances"),
        ({"seed": -1}, "seed -1: a whole number, 0 or more and less than 2^32, expected"),
        ({"features": {"num_ceps": 3}}, "features {'num_ceps': 3}: FeatureOptions, the path of a file of them, or None for feats.scp expected"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(words, message, data):
    assert failure(SpeechDataset, data, **words) == message


def test_features_that_are_not_there_are_asked_for(bare):
    remedy = f"make it with steps/make_feats.py {bare}, or have features computed, with features="
    assert failure(SpeechDataset, bare) == f"{bare}/feats.scp: no such file; {remedy}"


def test_voiced_frames_that_nobody_decided_on_are_asked_for(bare):
    assert failure(SpeechDataset, bare, features=FBANK, voiced=True).startswith(f"{bare}/vad.scp: no such file; ")


def test_a_directory_that_is_not_there_is_named(tmp_path):
    assert failure(SpeechDataset, tmp_path / "none") == f"{tmp_path}/none: no such data directory; it is made by stage 1 of a recipe, or with local/make_X.py"


def test_a_recording_too_short_for_a_frame_is_named(tmp_path):
    path = make(tmp_path / "data", recordings(tmp_path, [6000, 300, 6000]))
    remedy = "leave them out with utils/subset_data_dir.py (--min-dur, --min-frames or --min-voiced-frames)"
    assert failure(SpeechDataset, path, features=FBANK) == f"{path}: 1 utterances have no frame that could be taken: s1-01; {remedy}"


def test_a_recording_of_another_rate_is_named_before_training_begins(bare):
    message = failure(SpeechDataset, bare, features=FeatureOptions(sample_frequency=8000))
    assert message.startswith(f"{bare}/wav.scp:1: 's0-00': ")
    assert SpeechDataset(bare, features=FeatureOptions(sample_frequency=8000), resample=True)[0]["feature"].shape == (36, 23)


def test_a_recording_that_was_damaged_since_is_named_by_the_loader(bare):
    dataset = SpeechDataset(bare, features=FBANK, crop_frames=10)
    path = bare.parent / "1.wav"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(Exception, match=f"{bare}/wav.scp:2: 's1-01'"):
        list(DataLoader(dataset, batch_size=1, num_workers=1))


def test_segments_that_were_cut_short_are_counted(tmp_path):
    recordings(tmp_path, [16000])
    path = tmp_path / "data"
    write_data_dir(path, {"r": tmp_path / "0.wav"}, {"a-1": "a", "b-1": "b"}, segments={"a-1": "r 0 0.5", "b-1": "r 0.5 1.25"})
    with pytest.warns(UserWarning, match=f"^{path}/segments: 1 utterances end behind their recordings and are cut there$"):
        dataset = SpeechDataset(DataDir(path), features=FBANK)
    assert [len(item["feature"]) for item in dataset] == [48, 48]


def test_nothing_is_warned_of_where_nothing_is_amiss(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for words in ({}, {"features": FBANK}, {"crop_frames": 10}, {"crop_frames": 100, "cmn": "mean"}):
            next(iter(DataLoader(SpeechDataset(data, **words), batch_size=2, collate_fn=pad_batch)))


def test_an_index_beyond_the_end_is_an_error(data):
    with pytest.raises(IndexError):
        SpeechDataset(data)[12]
