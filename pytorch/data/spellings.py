"""What others call the recordings and utterances of a data directory, and back: for lists and trials that go out or come in."""

import os
import re
from functools import cached_property

from pytorch.data.data_dir import REST
from pytorch.data.ids import path_of, stem_of
from pytorch.program import Fail


def recording_names(data, root=None, ext=None):
    """{recording: name}: its path below `root`; without a root what the list it came from calls it (reco2path, utt2path, reco2uri), else its whole path.

    ext: True for names with the extension of the file, False for names without, None for names as they are
    """
    table = next((name for name in ("reco2path", "utt2path", "reco2uri") if data.has(name)), None)
    if root is None and table is not None:
        names = data.per_rec(table, REST)
    else:
        names = audio_paths(data)
        if root is not None:
            names = {rec: _below(path, os.path.abspath(root), data, number) for number, (rec, path) in enumerate(names.items(), 1)}
    if ext is None:
        return names
    endings = {rec: os.path.splitext(path)[1] for rec, path in audio_paths(data).items()} if ext else dict.fromkeys(names, "")
    return {rec: stem_of(name) + endings[rec] for rec, name in names.items()}


def audio_paths(data):
    """{recording: path}. Fails where wav.scp has a command or a place in an archive."""
    for number, (rec, entry) in enumerate(data.wav_scp.items(), 1):
        if entry.endswith("|") or re.search(r":\d+$", entry):
            raise Fail(f"{data / 'wav.scp'}:{number}: '{rec}' is no file of its own: {entry[:80]}; a list of paths cannot name it")
    return data.wav_scp


def utt_recordings(data):
    """{utterance: its recording}"""
    return {utt: utt for utt in data.utt2spk} if data.segments is None else {utt: rec for utt, (rec, _, _) in data.segments.items()}


def speaker_names(data):
    """{speaker: what the list calls it}, the id where no list says otherwise."""
    names = data.per_spk("spk2name", REST) if data.has("spk2name") else {}
    return {spk: names.get(spk, spk) for spk in data.spk2utt}


class UttFinder:
    """The utterances of a data directory by what others call them: the id, the path in a list (utt2path, reco2uri), the path in wav.scp.

    Extensions do not matter. root: goes before relative paths that are to be found in wav.scp. A name of several utterances finds none.
    """

    def __init__(self, data, root=None):
        self.data, self.root = data, os.path.abspath(root or ".")
        recordings = utt_recordings(data)
        of_rec = {}
        for utt, rec in recordings.items():
            of_rec[rec] = utt if rec not in of_rec else None
        self.by_path = {}
        for table in ("utt2path", "reco2path", "reco2uri", "wav.scp"):
            if data.has(table):
                for rec, path in data.per_rec(table, REST).items():
                    self._add(stem_of(path), of_rec[rec])

    def find(self, name):
        """-> the utterance, None where there is none of that name."""
        if name in self.data.utt2spk:
            return name
        stem = stem_of(name)
        return self.by_path.get(stem) or self.by_path.get(os.path.normpath(os.path.join(self.root, stem))) or self.decoded.get(stem)

    @cached_property
    def decoded(self):
        """Utterances by the paths that their ids tell, for lists whose ids were paths of another folder than those of the audio."""
        return {path: utt for utt in self.data.utt2spk if (path := path_of(utt))}

    def _add(self, path, utt):
        self.by_path[path] = utt if self.by_path.get(path, utt) == utt else None


def _below(path, root, data, number):
    if not path.startswith(root.rstrip("/") + "/"):
        raise Fail(f"{data / 'wav.scp'}:{number}: {path} is not below --root {root}")
    return os.path.relpath(path, root)
