"""The frames of a data directory as a network sees them: feats.scp, voiced frames only where asked."""

import numpy as np

from pytorch.data.ark import ArkReader
from pytorch.files import read_json
from pytorch.program import Fail


class Frames:
    """Features of a data directory, read by memory map.

    data: a DataDir with feats.scp and feats.json, and vad.scp where voiced is true
    utts: list of str; lengths: (N,) int64, frames of each utterance, after the selection of voiced ones; settings: feats.json
    """

    def __init__(self, data, voiced):
        data.feature_tables(voiced)
        self.settings = read_json(data / "feats.json")
        if not isinstance(self.settings, dict):
            raise Fail(f"{data / 'feats.json'}: the settings of features as name and value were expected; make the features anew")
        self.utts = list(data.utt2spk)
        self._feats = ArkReader(data / "feats.scp")
        self._check_keys(data, self._feats)
        self.dim = self._feats.shape(self.utts[0])[-1]
        totals = np.array([self._frames_of(utt) for utt in self.utts], dtype=np.int64)
        self._check_totals(data, totals)
        self._vad = None
        self.lengths = totals
        if voiced:
            self._vad = ArkReader(data / "vad.scp")
            self._check_keys(data, self._vad)
            self.lengths = np.array([self._voiced_of(utt, total) for utt, total in zip(self.utts, totals, strict=True)], dtype=np.int64)

    def whole(self, index):
        """-> (lengths[index], dim) float32"""
        utt = self.utts[index]
        if self._vad is None:
            return self._feats[utt]
        return self._feats[utt][self._vad[utt] > 0]

    def crop(self, index, start, num):
        """Frames start to start + num, counted among the voiced ones where only those are wanted -> (num, dim) float32"""
        utt = self.utts[index]
        if self._vad is None:
            return self._feats.rows(utt, start, num)
        places = np.flatnonzero(self._vad[utt])[start : start + num]
        return self._feats.rows(utt, places[0], places[-1] + 1 - places[0])[places - places[0]]

    def need_length(self, least, remedy):
        """Fail where an utterance has fewer than `least` frames, with the names of the first ones."""
        short = [utt for utt, length in zip(self.utts, self.lengths, strict=True) if length < least]
        if short:
            kind = "frames" if self._vad is None else "voiced frames"
            names = ", ".join(short[:5]) + (", …" if len(short) > 5 else "")
            raise Fail(f"{self._feats.scp}: {len(short)} utterances have fewer than {least} {kind}, the least the network takes: {names}; {remedy}")

    def _check_keys(self, data, reader):
        if reader.places.keys() != set(self.utts):
            odd = sorted(reader.places.keys() ^ set(self.utts))[0]
            where = "but has no entry in it" if odd in data.utt2spk else "there but not in utt2spk"
            raise Fail(f"{reader.scp}: '{odd}' is {'in utt2spk ' if odd in data.utt2spk else ''}{where}; make the features anew")

    def _check_totals(self, data, totals):
        """The numbers of frames must be those that were written: a damaged header can look sound."""
        if data.has("utt2num_frames"):
            table = data.per_utt("utt2num_frames")
            for utt, total in zip(self.utts, totals, strict=True):
                if table[utt] != str(total):
                    raise Fail(f"{self._feats.scp}: '{utt}' has {total} frames, but {table[utt]} in utt2num_frames; make the features anew")

    def _frames_of(self, utt):
        shape = self._feats.shape(utt)
        if len(shape) != 2 or shape[1] != self.dim:
            raise Fail(f"{self._feats.scp}: '{utt}' has the shape {shape}, but '{self.utts[0]}' has {self.dim} columns; make the features anew")
        return shape[0]

    def _voiced_of(self, utt, total):
        vad = self._vad[utt]
        if len(vad) != total:
            raise Fail(f"{self._vad.scp}: '{utt}' has {len(vad)} decisions but {total} frames; run steps/compute_vad.py --overwrite true anew")
        return int(np.count_nonzero(vad))
