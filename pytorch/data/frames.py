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
    """

    def __init__(self, data, source, voiced):
        self.utts, self.settings, self.dim, self._source = list(data.utt2spk), source.settings, source.dim, source
        self.lengths = totals = np.array([source.total(utt) for utt in self.utts], dtype=np.int64)
        self._vad = None
        if voiced:
            self._vad = ArkReader(data / "vad.scp")
            check_keys(data, self._vad)
            self.lengths = np.array([self._voiced_of(utt, total) for utt, total in zip(self.utts, totals, strict=True)], dtype=np.int64)

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
        short = [utt for utt, length in zip(self.utts, self.lengths, strict=True) if length < least]
        if short:
            kind = "frames" if self._vad is None else "voiced frames"
            names = ", ".join(short[:5]) + (", …" if len(short) > 5 else "")
            remedy = f"leave them out with utils/subset_data_dir.py --min-{kind.replace(' ', '-')} {least}"
            raise Fail(f"{self._source.name}: {len(short)} utterances have fewer than {least} {kind}, the least the network takes: {names}; {remedy}")

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
    """The features in feats.scp, read by memory map."""

    def __init__(self, data):
        self.settings = read_json(data / "feats.json")
        if not isinstance(self.settings, dict):
            raise Fail(f"{data / 'feats.json'}: the settings of features as name and value were expected; make the features anew")
        self._feats = ArkReader(data / "feats.scp")
        check_keys(data, self._feats)
        self.name = self._feats.scp
        self._first = next(iter(data.utt2spk))
        self.dim = self._feats.shape(self._first)[-1]
        self._written = data.per_utt("utt2num_frames") if data.has("utt2num_frames") else None

    def total(self, utt):
        """The number of frames, which must be the one that was written: a damaged header can look sound."""
        shape = self._feats.shape(utt)
        if len(shape) != 2 or shape[1] != self.dim:
            raise Fail(f"{self.name}: '{utt}' has the shape {shape}, but '{self._first}' has {self.dim} columns; make the features anew")
        if self._written and self._written[utt] != str(shape[0]):
            raise Fail(f"{self.name}: '{utt}' has {shape[0]} frames, but {self._written[utt]} in utt2num_frames; make the features anew")
        return shape[0]

    def whole(self, utt):
        return self._feats[utt]

    def rows(self, utt, start, num, out=None):
        return self._feats.rows(utt, start, num, out)


def check_keys(data, reader):
    """Fail unless the keys of an ArkReader are the utterances of the DataDir."""
    if reader.places.keys() != data.utt2spk.keys():
        odd = min(reader.places.keys() ^ data.utt2spk.keys())
        where = "but has no entry in it" if odd in data.utt2spk else "there but not in utt2spk"
        raise Fail(f"{reader.scp}: '{odd}' is {'in utt2spk ' if odd in data.utt2spk else ''}{where}; make the features anew")
