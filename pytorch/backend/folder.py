"""A back-end: what is done to embeddings before they are scored, and the PLDA that scores them, in a folder.

    mean.vec        subtracted
    transform.mat   LDA, where there is one; a last column more than the embeddings have is added to its result
    plda            where there is one; its vectors have first the length sqrt(dim)
    backend.json    which of these there are, with their hashes, and how they were made; a folder of Kaldi's has none

The order is that of Kaldi's recipes: less the mean, LDA, length, PLDA.
"""

import hashlib
from pathlib import Path

import numpy as np

from pytorch.backend.cosine import check_lengths, lengths
from pytorch.backend.plda_file import numbers_text, plda_text, read_plda
from pytorch.data.ark import ArkReader, read_matrix, read_object
from pytorch.files import need_file, read_json, sha256, whole_file, write_json
from pytorch.origin import network_of
from pytorch.program import Fail

FILES = ("mean.vec", "transform.mat", "plda")
ROWS = 16384  # vectors in double precision at a time


class Backend:
    """mean: (D,) or None; transform: (dim, D) or (dim, D + 1) or None; length_norm: whether vectors get the length sqrt(dim); plda: Plda or None

    digests: {file: its hash} of what it was read from; network: what is known of the one it was trained on, see network_of() in pytorch/origin.py
    """

    def __init__(self, mean=None, transform=None, length_norm=False, plda=None, folder=Path(), digests=None, network=None):
        self.mean, self.transform, self.length_norm, self.plda, self.folder = mean, transform, length_norm, plda, Path(folder)
        self.digests, self.network = digests or {}, network or {}
        self.mean_path = self.folder / "mean.vec"

    @classmethod
    def load(cls, folder, need_mean=True):
        folder = Path(folder)
        names, length_norm = files_of(folder, need_mean)
        mean = read_vector(folder / "mean.vec") if "mean.vec" in names else None
        transform = None
        if "transform.mat" in names:
            transform = np.asarray(read_object(folder / "transform.mat"), dtype=np.float64)
            if transform.ndim != 2 or not transform.size or not np.isfinite(transform).all():
                raise Fail(f"{folder}/transform.mat: one finite matrix was expected; train it anew")
        digests = {name: sha256(folder / name) for name in names}
        return cls(mean, transform, length_norm, read_plda(folder / "plda") if "plda" in names else None, folder, digests, network_of(folder))

    def save(self, folder, facts):
        """Write the folder. backend.json comes first: until all is there as it says, the folder is refused. -> the files"""
        folder = Path(folder)
        made = {"mean.vec": numbers_text(self.mean)}
        if self.transform is not None:
            made["transform.mat"] = numbers_text(self.transform)
        if self.plda:
            made["plda"] = plda_text(self.plda)
        digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in made.items()}
        write_json(folder / "backend.json", {"files": digests, "length_norm": self.length_norm, **facts})
        for name in FILES:
            if name in made:
                with whole_file(folder / name) as file:
                    file.write(made[name])
            else:
                (folder / name).unlink(missing_ok=True)
        return [folder / name for name in (*made, "backend.json")]

    def prepare(self, vectors, names, where):
        """vectors: (N, D) of these names, from the file `where` -> (N, dim) float32. Fails where they do not fit the back-end, or have no length."""
        if self.mean is not None and len(self.mean) != vectors.shape[1]:
            what = f"dimension {len(self.mean)}, but {where} has {vectors.shape[1]}"
            raise Fail(f"{self.mean_path}: {what}; both must come from one network")
        matrix, offset = self._affine(vectors.shape[1], where)
        dim = vectors.shape[1] if matrix is None else len(matrix)
        if self.plda and len(self.plda.mean) != dim:
            raise Fail(f"{self.folder}/plda: of {len(self.plda.mean)} dimensions, but what comes to it has {dim}; train them together")
        found, norms = np.empty((len(vectors), dim), dtype=np.float32), np.empty(len(vectors))
        for start in range(0, len(vectors), ROWS):
            block = slice(start, start + ROWS)
            rows = vectors[block].astype(np.float64)
            if self.mean is not None:
                rows -= self.mean
            if matrix is not None:
                rows = rows @ matrix.T + offset
            norms[block] = lengths(rows)
            if self.length_norm:
                with np.errstate(divide="ignore", invalid="ignore"):
                    rows *= (np.sqrt(dim) / norms[block])[:, None]
            found[block] = rows
        check_lengths(norms, names, where)
        return found

    def _affine(self, dim, where):
        """The transform and what it adds. Fails where that takes off, once more, the mean that is subtracted."""
        if self.transform is None:
            return None, None
        if self.transform.shape[1] not in (dim, dim + 1):
            what = f"for embeddings of {self.transform.shape[1]} dimensions, but {where} has {dim}"
            raise Fail(f"{self.folder}/transform.mat: {what}; both must come from one network")
        matrix, offset = self.transform[:, :dim], self.transform[:, dim:].sum(1)
        if self.mean is not None and offset.any() and np.linalg.norm(offset + matrix @ self.mean) < 0.5 * np.linalg.norm(offset):
            what = f"its last column subtracts the mean already, and {self.mean_path.name} would once more"
            raise Fail(f"{self.folder}/transform.mat: {what}; pass --mean none, or train it on vectors less their mean")
        return matrix, offset


def files_of(folder, need_mean=True):
    """-> the files that a back-end has, and whether it normalises lengths. Fails where one is missing or is not the one it was made with.

    need_mean: whether a folder of Kaldi's must have a mean, for no other is given
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise Fail(f"{folder}: no such folder; make it with steps/train_backend.py")
    facts = folder / "backend.json"
    found = [name for name in FILES if (folder / name).exists()]
    if not facts.exists():
        if not found:
            raise Fail(f"{folder}: no back-end in it; make one with steps/train_backend.py")
        if need_mean:
            need_file(folder / "mean.vec", "it is what is subtracted; bring it, or say another with --mean, or --mean none")
        return found, True
    facts = read_json(facts)
    if not isinstance(facts, dict) or not isinstance(facts.get("files"), dict) or "mean.vec" not in facts["files"] or "length_norm" not in facts:
        raise Fail(f"{folder}/backend.json: files and length_norm were expected; make it anew with steps/train_backend.py")
    for name, digest in facts["files"].items():
        if sha256(need_file(folder / name, f"{folder}/backend.json names it; bring it back, or train the back-end anew")) != digest:
            raise Fail(f"{folder}/{name}: was changed since the back-end was made; bring it back, or train the back-end anew")
    if extra := [name for name in found if name not in facts["files"]]:
        raise Fail(f"{folder}/{extra[0]}: is not of this back-end, {folder}/backend.json does not name it; move it away")
    return list(facts["files"]), bool(facts["length_norm"])


def read_vector(path):
    vector = np.asarray(read_object(path), dtype=np.float64)
    if vector.ndim != 1 or not len(vector) or not np.isfinite(vector).all():
        raise Fail(f"{path}: one finite vector was expected; make it anew")
    return vector


def read_mean(path):
    """The mean of embeddings (an scp), or a mean in a file of its own."""
    if path.suffix != ".scp":
        return read_vector(path)
    vectors = read_matrix(path, list(ArkReader(path)))
    if not np.isfinite(vectors).all():
        raise Fail(f"{path}: embeddings that are not finite; extract them anew")
    return vectors.mean(0, dtype=np.float64)


def read_labelled(data, scp):
    """The embeddings of a data directory's utterances.

    data: a DataDir; scp: embeddings, of others too
    Returns (N, D) float32, labels (N,) and the utterances and speakers by name.
    """
    utts, spks = list(data.utt2spk), list(data.spk2utt)
    reader = ArkReader(scp)
    if missing := [utt for utt in utts if utt not in reader]:
        raise Fail(f"{data / 'utt2spk'}: '{missing[0]}' has no embedding in {scp} ({len(missing)} such); extract them, or leave them out")
    vectors = read_matrix(scp, utts)
    if not np.isfinite(vectors).all():
        bad = utts[int(np.flatnonzero(~np.isfinite(vectors).all(1))[0])]
        raise Fail(f"{scp}: the embedding of '{bad}' is not finite; look at its recording, extract anew")
    place = {spk: number for number, spk in enumerate(spks)}
    return vectors, np.array([place[data.utt2spk[utt]] for utt in utts]), utts, spks
