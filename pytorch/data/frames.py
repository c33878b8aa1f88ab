"""The frames of a data directory as a network sees them."""

import numpy as np

from pytorch.data.ark import ArkReader
from pytorch.files import read_json
from pytorch.program import Fail


class Frames:
    """Features of the utterances of a data directory, whole or in crops, voiced frames only where asked.

    data: a DataDir; source: where features come from, Stored or pytorch/features/online.py's Computed
    voiced: only the frames that vad.scp calls voiced
    utts: list of str; lengths: (N,) int64, frames of each utterance, after the selection of voiced ones; dim; settings: of the features, as in feats.json
    name: of the file they come from, for messages; row_shape, dtype: of one unit, which is a frame here (of waves.py's Waves it is a sample)
    """

    dtype = np.float32

    def __init__(self, data, source, voiced):
        self.utts, self.settings, self.dim, self._source = list(data.utt2spk), source.settings, source.dim, source
        self.name, self.row_shape = source.name, (source.dim,)
        self.lengths = totals = np.fromiter(map(source.total, self.utts), dtype=np.int64, count=len(self.utts))
        self._vad = None
        if voiced:
            self._vad = ArkReader(data / "vad.scp")
            check_keys(data, self._vad)
            self.lengths = np.fromiter(map(self._voiced_of, self.utts, totals), dtype=np.int64, count=len(self.utts))

    @property
    def sec_per_unit(self):
        return self.settings.get("frame_shift", 10.0) / 1000

    def units(self, num_frames):
        """How many units of `lengths` a crop of so many frames has."""
        return num_frames

    def least_of(self, model):
        """The least number of units that a network takes."""
        return model.min_frames

    def whole(self, index):
        """-> (lengths[index], dim) float32"""
        utt = self.utts[index]
        if self._vad is None:
            return self._source.whole(utt)
        return self._source.whole(utt)[self._vad[utt] > 0]

    def crop(self, index, start, out):
        """Frames from `start` on, counted among the voiced ones where only those are wanted, into out: (num, dim) float32"""
        utt = self.utts[index]
        if self._vad is None:
            self._source.rows(utt, start, len(out), out)
        else:
            places = np.flatnonzero(self._vad[utt])[start : start + len(out)]
            np.take(self._source.rows(utt, places[0], places[-1] + 1 - places[0]), places - places[0], axis=0, out=out)

    def need_length(self, least):
        """Fail where an utterance has fewer than `least` frames, with the names of the first ones."""
        short = [self.utts[index] for index in np.flatnonzero(self.lengths < least)]
        if short:
            kind = "frames" if self._vad is None else "voiced frames"
            names = ", ".join(short[:5]) + (", …" if len(short) > 5 else "")
            remedy = f"leave them out with utils/subset_data_dir.py --min-{kind.replace(' ', '-')} {least}"
            raise Fail(f"{self.name}: {len(short)} utterances have fewer than {least} {kind}, the least the network takes: {names}; {remedy}")

    def _voiced_of(self, utt, total):
        vad = self._vad[utt]
        if len(vad) != total:
            raise Fail(f"{self._vad.scp}: '{utt}' has {len(vad)} decisions but {total} frames; run steps/compute_vad.py --overwrite true anew")
        return int(np.count_nonzero(vad))


def stored_frames(data, voiced):
    """-> Frames of a DataDir with feats.scp and feats.json, and vad.scp where `voiced` is true."""
    data.feature_tables(voiced)
    return Frames(data, Stored(data), voiced)


class Stored:
    """The features in feats.scp, read by memory map.

    Where utt2num_frames tells the lengths, no archive is looked at until features are read: a million headers take their time.
    """

    def __init__(self, data):
        self.settings = read_json(data / "feats.json")
        if not isinstance(self.settings, dict):
            raise Fail(f"{data / 'feats.json'}: the settings of features as name and value were expected; make the features anew")
        self._feats = ArkReader(data / "feats.scp")
        check_keys(data, self._feats)
        self.name = self._feats.scp
        self._first = next(iter(data.utt2spk))
        self.dim = self._feats.shape(self._first)[-1]
        self._written = _numbers(data) if data.has("utt2num_frames") else None
        self._checked(self._first)

    def total(self, utt):
        """The number of frames: the one that was written, or that of the header where none was."""
        return self._checked(utt) if self._written is None else self._written[utt]

    def whole(self, utt):
        self._checked(utt)
        return self._feats[utt]

    def rows(self, utt, start, num, out=None):
        self._checked(utt)
        return self._feats.rows(utt, start, num, out)

    def _checked(self, utt):
        """The number of frames by the header, which must be the one that was written: a damaged header can look sound."""
        shape = self._feats.shape(utt)
        if len(shape) != 2 or shape[1] != self.dim:
            raise Fail(f"{self.name}: '{utt}' has the shape {shape}, but '{self._first}' has {self.dim} columns; make the features anew")
        if self._written and self._written[utt] != shape[0]:
            raise Fail(f"{self.name}: '{utt}' has {shape[0]} frames, but {self._written[utt]} in utt2num_frames; make the features anew")
        return shape[0]


def _numbers(data):
    """{utt: frames} of utt2num_frames"""
    table = data.per_utt("utt2num_frames")
    for number, (utt, value) in enumerate(table.items(), 1):
        if not value.isascii() or not value.isdigit():
            place = f"{data / 'utt2num_frames'}:{number}: '{utt}'"
            raise Fail(f"{place}: a number of frames expected, not '{value[:80]}'; write it with utils/get_utt2num_frames.py --overwrite true")
        table[utt] = int(value)
    return table


def check_keys(data, reader):
    """Fail unless the keys of an ArkReader are the utterances of the DataDir."""
    if reader.places.keys() != data.utt2spk.keys():
        odd = min(reader.places.keys() ^ data.utt2spk.keys())
        where = "but has no entry in it" if odd in data.utt2spk else "there but not in utt2spk"
        raise Fail(f"{reader.scp}: '{odd}' is {'in utt2spk ' if odd in data.utt2spk else ''}{where}; make the features anew")
