"""Enrolled speakers: their mean embeddings in a file, to tell who speaks."""

from pathlib import Path

import numpy as np

from pytorch.package import GALLERY, read_facts, read_tensors, write_checked
from pytorch.program import Fail


class Gallery:
    """speakers: {id: ((dim,) float32, the mean of the embeddings of some utterances; how many)}; identity: of the Extractor that all of them are of."""

    def __init__(self, identity, speakers=None):
        self.identity, self.speakers, self._matrix = identity, speakers or {}, None

    @classmethod
    def of(cls, extractor):
        """An empty one."""
        return cls(extractor.identity)

    @classmethod
    def load(cls, path):
        facts = read_facts(path, GALLERY, "no gallery of steps/enrol.py")
        tensors = read_tensors(path)
        found = zip(facts["speakers"], tensors["vectors"], tensors["counts"].tolist(), strict=True) if facts["speakers"] else ()
        return cls(facts["identity"], {spk: (vector, count) for spk, vector, count in found})

    def save(self, path):
        """Write the file, whole or not at all."""
        speakers, vectors, counts = self.matrix()
        write_checked(Path(path), {"vectors": vectors, "counts": counts}, {"speakers": speakers, "identity": self.identity}, GALLERY)

    def check(self, extractor, where="the gallery"):
        """Fail where it is of another extractor."""
        if self.identity != extractor.identity:
            names = [name for name in self.identity | extractor.identity if self.identity.get(name) != extractor.identity.get(name)]
            raise Fail(f"{where}: enrolled with another extractor than {extractor.path}, not alike: {', '.join(names)}; enrol with this one")

    def enrol(self, speaker, vectors, replace=False):
        """vectors: (n, dim) embeddings of utterances. Fails where the speaker is there already, unless `replace`."""
        if not speaker or speaker.split() != [speaker]:
            raise Fail(f"{speaker!r} cannot be the id of a speaker: empty or with blanks")
        if speaker in self.speakers and not replace:
            raise Fail(f"'{speaker}' is enrolled already; pass --overwrite true to enrol the speaker anew")
        self.speakers[speaker] = np.asarray(vectors).mean(0, dtype=np.float64).astype(np.float32), len(vectors)
        self._matrix = None

    def remove(self, speaker):
        if speaker not in self.speakers:
            raise Fail(f"'{speaker}' is not enrolled")
        del self.speakers[speaker]
        self._matrix = None

    def matrix(self):
        """-> ids in byte order, (S, dim) float32, (S,) int64"""
        if self._matrix is None:
            names = sorted(self.speakers)
            vectors = np.stack([self.speakers[name][0] for name in names]) if names else np.empty((0, 0), dtype=np.float32)
            self._matrix = names, vectors, np.array([self.speakers[name][1] for name in names], dtype=np.int64)
        return self._matrix
