"""Embeddings as points of a plane, with what is known of their utterances."""

import random
import re
from dataclasses import dataclass
from pathlib import Path

from pytorch.data.data_dir import REST, DataDir
from pytorch.data.rules import number_of
from pytorch.files import sha256
from pytorch.program import Fail
from pytorch.report.sources import find_data, read_facts

UTTS_PER_SPK = 20  # of a speaker at most, where not all embeddings are drawn
DIMS = 50  # that a PCA leaves for t-SNE
NO_TRAITS = {"utt2spk", "spk2utt", "utt2num_frames", "utt2uniq"}  # tables that say nothing of voices
MOST_TRAITS = 8


@dataclass
class Cloud:
    """Embeddings in two dimensions.

    utts: drawn, of `there` in `scp`; speakers: of each; points: (N, 2) from 0 to 1; method: in words
    traits: {table without utt2 or spk2: value of each utterance, floats where all are numbers}
    """

    name: str
    scp: Path
    there: int
    utts: list
    speakers: list
    points: object
    method: str
    traits: dict


def own_clouds(exp, named, how, most):
    """Embeddings in exp/*/xvector.scp -> [Cloud], [a word on each folder whose embeddings are not drawn]

    named: DataDirs the user named; how: tsne or pca; most: embeddings drawn at most
    """
    clouds, left_out = [], []
    for scp in sorted(exp.glob("*/xvector.scp")):
        cloud = _read_cloud(scp, named, how, most)
        if isinstance(cloud, Cloud):
            clouds.append(cloud)
        else:
            left_out.append(cloud)
    return clouds, left_out


def _read_cloud(scp, named, how, most):
    from pytorch.data.ark import ArkReader, read_matrix

    reader = ArkReader(scp)
    data = _data_of(scp, reader, named)
    if data is None:
        return f"The {len(reader)} embeddings in {scp} are not drawn: the data directory of their utterances is not known; name it with --data."
    utts = _choose(list(reader), data.utt2spk, most)
    if len(utts) < 3:
        return f"The embeddings in {scp} are not drawn: {len(utts)} of them are too few."
    points, method = project(read_matrix(scp, utts), how, scp)
    return Cloud(scp.parent.name, scp, len(reader), utts, [data.utt2spk[utt] for utt in utts], points, method, _traits(data, utts))


def _data_of(scp, reader, named):
    """The first DataDir that may be that of the embeddings and has all their utterances, with the speakers they had; None."""
    folder = scp.parent
    candidates = [(scp, read_facts(folder / "xvector.json")), *((path, read_facts(path)) for path in sorted(folder.glob("eer*.json")))]
    for path, facts in candidates:
        known = facts["inputs"].get("utt2spk") if isinstance(facts.get("inputs"), dict) else None
        for data in find_data(path, facts, []):
            if all(utt in data.utt2spk for utt in reader) and known in (None, sha256(data / "utt2spk")):
                return data
    own = [DataDir(folder)] if (folder / "utt2spk").is_file() else []  # of steps/extract_windows.py
    return next((data for data in own + named if all(utt in data.utt2spk for utt in reader)), None)


def _choose(utts, spk_of, most):
    """At most `most` of the utterances: all, or whole speakers by chance with UTTS_PER_SPK utterances at most; always the same of the same."""
    if len(utts) <= most:
        return utts
    chance, by_spk = random.Random(0), {}
    for utt in utts:
        by_spk.setdefault(spk_of[utt], []).append(utt)
    chosen = []
    for spk in chance.sample(sorted(by_spk), len(by_spk)):
        own = by_spk[spk]
        chosen += chance.sample(own, min(len(own), UTTS_PER_SPK, most - len(chosen)))
        if len(chosen) == most:
            break
    return sorted(chosen)


def project(vectors, how, where):
    """(N, dim) embeddings -> (N, 2) from 0 to 1, how it was done in words. Their mean is subtracted and their length made 1 before."""
    import numpy as np

    vectors = vectors.astype(np.float64)
    if not np.isfinite(vectors).all():
        raise Fail(f"{where}: an embedding that is not finite; extract anew")
    vectors -= vectors.mean(0)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    components, share = _pca(vectors, DIMS)
    if how == "tsne" and len(vectors) > 4 and np.ptp(components) > 1e-9:
        points, method = _tsne(components), f"t-SNE after a PCA to {components.shape[1]} dimensions"
    else:
        points, method = components[:, :2], f"PCA: the first two components, {100 * share:.0f} % of the variance"
    low, high = points.min(0), points.max(0)
    return (points - (low + high) / 2) / max((high - low).max(), 1e-12) + 0.5, method


def _pca(vectors, dims):
    """-> (N, dims) principal components, each with the sign that makes its largest loading positive; the share of variance of the first two."""
    import numpy as np

    centred = vectors - vectors.mean(0)
    left, sizes, rows = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(rows[np.arange(len(rows)), np.abs(rows).argmax(1)])
    kept = max(2, min(dims, int((sizes > 1e-9 * max(sizes[0], 1e-12)).sum())))
    components = (left * sizes * signs)[:, :kept]
    if components.shape[1] < 2:
        components = np.pad(components, ((0, 0), (0, 1)))
    return components, (sizes[:2] ** 2).sum() / max((sizes**2).sum(), 1e-12)


def _tsne(components):
    """van der Maaten and Hinton, JMLR 9, 2008; from the same start for the same embeddings: their first two components, moved a little.

    Points at one place would end in a crash of the tree that scikit-learn puts them in.
    """
    import numpy as np
    from sklearn.manifold import TSNE

    start = 1e-4 * (components[:, :2] / components[:, 0].std() + 0.01 * np.random.default_rng(0).normal(size=(len(components), 2)))
    perplexity = min(30.0, (len(components) - 1) / 3)
    made = TSNE(2, perplexity=perplexity, init=start.astype(np.float32), learning_rate="auto", random_state=0, n_jobs=1).fit_transform(components)
    return made.astype(float)


def _traits(data, utts):
    """{name: values} of the tables of the data directory by which the embeddings differ."""
    names = sorted(path.name for path in data.path.iterdir() if re.fullmatch(r"(utt|spk)2\w+", path.name) and path.name not in NO_TRAITS)
    found = {}
    for name in names:
        if name.startswith("spk2"):
            table = data.per_spk(name, REST)
            values = [table[data.utt2spk[utt]] for utt in utts]
        else:
            table = data.per_utt(name, REST)
            values = [table[utt] for utt in utts]
        numbers = [number_of(value) for value in values]
        if len(set(values)) > 1 and len(found) < MOST_TRAITS:
            found[name[4:]] = values if None in numbers else numbers
    return found
