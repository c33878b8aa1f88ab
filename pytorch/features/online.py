"""Features computed when they are asked for, from the recordings of a data directory, by the code that makes stored ones."""

import hashlib
import re
from pathlib import Path

import numpy as np

from pytorch.data.frames import Frames
from pytorch.features.options import add_feature_options, feature_options_of
from pytorch.files import whole_file
from pytorch.program import Fail, Parser


def read_feature_options(path):
    """A file of feature options alone, one --name=value a line (conf/fbank.conf) -> FeatureOptions"""
    parser = _FileParser(path)
    add_feature_options(parser)
    args = parser.parse_args(["--config", str(path)])
    try:
        return feature_options_of(args)
    except Fail as error:
        unsaid = not re.search(r"^\s*--feature\s*=", Path(path).read_text(), re.MULTILINE)
        raise Fail(f"{path}: {error}{'; or say --feature=… in it, which is fbank where nothing is said' if unsaid else ''}") from None


def computed_frames(data, voiced, options, recordings, save=None):
    """-> Frames of a DataDir that has no stored features.

    options: FeatureOptions; recordings: a Recordings of the same DataDir
    save: folder in which the features of each utterance are kept once they are computed, and looked for first; None: nothing is kept
    """
    return Frames(data, Computed(data, options, recordings, save), voiced)


class Computed:
    """The features of each utterance, computed whole when a part of them is asked for. The last utterance's are kept at hand."""

    def __init__(self, data, options, recordings, save):
        self.name, self.settings, self.dim = data / "wav.scp", options.to_json(), options.dim
        self._options, self._recordings, self._save = options, recordings, save and Path(save)
        self._features = None
        self._last = (None, None)

    def total(self, utt):
        return self._options.num_frames(self._recordings.samples(utt))

    def whole(self, utt):
        return np.array(self._saved(utt) if self._save else self._whole(utt))

    def rows(self, utt, start, num, out=None):
        part = (self._saved(utt) if self._save else self._whole(utt))[start : start + num]
        if out is None:
            return np.array(part)
        out[:] = part
        return out

    def __getstate__(self):  # worker processes make their own
        return {**self.__dict__, "_features": None, "_last": (None, None)}

    def _whole(self, utt):
        if self._last[0] != utt:
            self._last = (utt, self._compute(utt))
        return self._last[1]

    def _compute(self, utt):
        import torch

        from pytorch.features.kaldi import Features

        if self._features is None:
            self._features = Features(self._options)
        frames = self._features(torch.from_numpy(self._recordings.read(utt)), utt).numpy()
        if len(frames) != self.total(utt):
            raise Fail(f"{self.name}: '{utt}': {len(frames)} frames where its header promised {self.total(utt)}; make or copy the recording anew")
        return frames

    def _saved(self, utt):
        """The features of an utterance out of the folder, by memory map; computed and put there if they are not. The name is a hash of all they depend on."""
        heard = "" if self._recordings.channel is None else f" channel {self._recordings.channel}"
        made_of = f"{utt} {self._recordings.source(utt)} {self.settings}{heard}"
        path = self._save / f"{hashlib.sha256(made_of.encode()).hexdigest()}.npy"
        if not path.exists():
            frames = self._compute(utt)
            with whole_file(path, "wb") as file:
                np.save(file, frames, allow_pickle=False)
        try:
            frames = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise Fail(f"{path}: damaged ({error}); remove it") from None
        if frames.shape != (self.total(utt), self.dim):
            raise Fail(f"{path}: the shape {frames.shape} instead of {(self.total(utt), self.dim)}, which '{utt}' has; remove it")
        return frames


class _FileParser(Parser):
    """Of options in a file, whose mistakes are Fails and no reason to leave the process."""

    def __init__(self, path):
        super().__init__("")
        self.prog, self._path = "a file of feature options", path

    def error(self, message):
        raise Fail(message if str(self._path) in message else f"{self._path}: {message}")
