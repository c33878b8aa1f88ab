"""A data directory as a torch Dataset, for training loops of one's own with a plain DataLoader. docs/data.md has an example."""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

from pytorch.data.data_dir import DataDir
from pytorch.data.frames import stored_frames
from pytorch.data.recordings import Recordings
from pytorch.data.targets import read_targets
from pytorch.features.cmvn import subtract_mean
from pytorch.features.online import computed_frames, read_feature_options
from pytorch.features.options import FeatureOptions
from pytorch.files import need_file
from pytorch.program import Fail


class SpeechDataset(Dataset):
    """The utterances of a data directory: features, stored or computed when they are asked for, and what is to be learnt of them.

    dataset[i] -> {"feature": (T, dim) float32 tensor, "label": int (a class), np.float32 (a number) or (2,) float32 tensor of both, "utt": its id}

    data: a DataDir or its path
    targets, kind: what is learnt, as read_targets() in data/targets.py has it: a table utt2X or "utterance", "classes", "numbers" or "both"; None: no label
    classes: names of the classes in their order: of another dataset (valid: `classes=train.classes`), or the path of a file, one a line; None: those found
    features: None: feats.scp; FeatureOptions, or the path of a file of such options (conf/fbank.conf): computed from wav.scp as steps/make_feats.py does
    save: folder that keeps what was computed, for the next epoch and the next training; None: nothing is kept
    voiced: only the frames that vad.scp calls voiced
    crop_frames: frames of each item, so that items make a batch: a random part of longer utterances, shorter ones are repeated; a function of seed, epoch
        and index alone, whatever the number of workers. None: whole utterances; make batches of them with pad_batch
    cmn: "mean": subtract from each column its mean over the item
    channel, resample, allow_cmd: of recordings, as for Recordings

    classes, dim, frames.settings and targets.values tell the names of the classes, the columns of features, how they were made, and all targets.
    Fails where anything is missing, at once where that can be known; a bad recording when it is asked for.
    """

    def __init__(
        self, data, targets="utt2spk", *, kind="classes", classes=None, features=None, save=None, voiced=False, crop_frames=None, cmn="none", seed=0,
        channel=None, resample=False, allow_cmd=(),
    ):  # fmt: skip
        _check(kind, crop_frames, cmn, seed)
        data = data if isinstance(data, DataDir) else DataDir(data)
        classes = Path(classes) if isinstance(classes, str) else classes
        self.targets = None if targets is None else read_targets(data, targets, kind, classes)
        self.classes = self.targets.classes if self.targets else []
        self.crop_frames, self.cmn, self.seed = crop_frames, cmn, seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # workers that live on see it change
        if features is None:
            _refuse(save=save, channel=channel, resample=resample, allow_cmd=allow_cmd)
            need_file(data / "feats.scp", f"make it with steps/make_feats.py {data.path}, or have features computed, with features=")
            self.frames = stored_frames(data, voiced)
        else:
            options = _options(features)
            data.recording_tables(voiced)  # fails where one is not there
            recordings = Recordings(data, options.sample_frequency, channel, resample, allow_cmd)
            self.frames = computed_frames(data, voiced, options, recordings, save)
            if recordings.shortened:
                warnings.warn(f"{data / 'segments'}: {len(recordings.shortened)} utterances end behind their recordings and are cut there", stacklevel=2)
        self.dim = self.frames.dim
        self._need_frames(data)

    def __len__(self):
        return len(self.frames.utts)

    def __getitem__(self, index):
        index = range(len(self))[index]
        frames = self.frames.whole(index) if self.crop_frames is None else self._crop(index)
        feature = torch.from_numpy(frames.astype(np.float32, copy=False))
        item = {"feature": subtract_mean(feature) if self.cmn == "mean" else feature, "utt": self.frames.utts[index]}
        return item if self.targets is None else item | {"label": self._label(index)}

    def set_epoch(self, epoch):
        """Draw the crops of this epoch from now on; without it all epochs have the same. Say it before the loader is iterated over."""
        self._epoch.fill_(epoch)

    def _crop(self, index):
        length, total = self.crop_frames, int(self.frames.lengths[index])
        chance = np.random.default_rng([self.seed, int(self._epoch), index])
        if total < length:
            return self.frames.whole(index)[(int(chance.integers(total)) + np.arange(length)) % total]
        crop = np.empty((length, self.dim), dtype=np.float32)
        self.frames.crop(index, int(chance.integers(total - length + 1)), crop)
        return crop

    def _label(self, index):
        value = self.targets.values[index]
        return {"classes": int, "numbers": np.float32, "both": torch.from_numpy}[self.targets.kind](value)

    def _need_frames(self, data):
        empty = [utt for utt, length in zip(self.frames.utts, self.frames.lengths, strict=True) if length == 0]
        if empty:
            names = ", ".join(empty[:5]) + (", …" if len(empty) > 5 else "")
            remedy = "leave them out with utils/subset_data_dir.py (--min-dur, --min-frames or --min-voiced-frames)"
            raise Fail(f"{data.path}: {len(empty)} utterances have no frame that could be taken: {names}; {remedy}")


def pad_batch(items):
    """For DataLoader(…, collate_fn=pad_batch): items of a SpeechDataset, of any lengths, as a batch.

    -> {"feature": (B, T, dim) with zeros behind the shorter ones, "length": (B,) int64, their frames, "label": (B,) or (B, 2) tensor, "utt": list of B}
    """
    features = [item["feature"] for item in items]
    rest = default_collate([{name: value for name, value in item.items() if name != "feature"} for item in items])
    lengths = torch.tensor([len(feature) for feature in features])
    return {"feature": torch.nn.utils.rnn.pad_sequence(features, batch_first=True), "length": lengths, **rest}


def _check(kind, crop_frames, cmn, seed):
    for name, value, known in (("kind", kind, ("classes", "numbers", "both")), ("cmn", cmn, ("none", "mean"))):
        if value not in known:
            raise Fail(f"{name} {value!r}: {', '.join(known)} expected")
    if crop_frames is not None and not (isinstance(crop_frames, int) and crop_frames >= 1):
        raise Fail(f"crop_frames {crop_frames!r}: a whole number above 0 expected, or None for whole utterances")
    if not (isinstance(seed, int) and 0 <= seed < 1 << 32):
        raise Fail(f"seed {seed!r}: a whole number, 0 or more and less than 2^32, expected")


def _options(features):
    if isinstance(features, str | Path):
        return read_feature_options(features)
    if not isinstance(features, FeatureOptions):
        raise Fail(f"features {features!r}: FeatureOptions, the path of a file of them, or None for feats.scp expected")
    return features


def _refuse(**only_computed):
    for name, value in only_computed.items():
        if value is not None and value is not False and value != ():
            raise Fail(f"{name} {value!r}: only with features to be computed; say which with features=")
