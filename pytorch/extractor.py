"""An extractor for programs of one's own: audio in, embeddings and decisions out. docs/extraction.md shows it at work."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pytorch.backend.calibration import Calibration, probability
from pytorch.backend.cosine import unit_length
from pytorch.backend.folder import Backend
from pytorch.backend.pairs import Cosine, all_scores
from pytorch.data.audio import at_rate, check_rate, in_16_bit_range, read_audio
from pytorch.device import choose_device
from pytorch.experiment import VAD
from pytorch.extracting import layer_of
from pytorch.extraction import Embedder, embed_batch, frames_at_once, plan_source
from pytorch.features.front import Front
from pytorch.features.kaldi import Features
from pytorch.features.options import has_energy_first
from pytorch.features.vad import energy_vad, voiced_frames
from pytorch.features.wave_input import wave_input_of
from pytorch.files import read_json
from pytorch.origin import check_kind, kind_differences, other_network, score_kind
from pytorch.package import Package, identity, open_experiment
from pytorch.program import Fail

SCORINGS = ("cosine", "plda")
_AT_ONCE = 10  # batches whose recordings are read together
_MOST_SCORES = 1 << 24  # of a gallery at a time


@dataclass(frozen=True)
class Decision:
    """score: greater is more alike; threshold: at which the claim is accepted, None where there is none; accepted: None without a threshold
    llr, probability, prior: natural log-likelihood ratio, probability of one speaker, and the prior of the calibration that it is told for; None without one"""

    score: float
    threshold: float | None
    accepted: bool | None
    llr: float | None
    probability: float | None
    prior: float | None


class Extractor:
    """A trained network as a function of recordings, and what decides by its embeddings.

    path: an experiment directory, or a file of utils/package_model.py, which may hold what the other arguments say; they go before it, and where by them
        the scores are of another kind, its calibration and its threshold count no more
    epoch, layer: as of steps/extract.py; device: auto, cpu, cuda or cuda:N
    channel, resample: as of Recordings in pytorch/data/recordings.py
    vad: for networks trained on voiced frames, a vad.json of steps/compute_vad.py; None: as those of the training were found
    backend: folder of steps/train_backend.py; scoring: "plda" or "cosine"; None: PLDA where the back-end has one
    calibration: a file of steps/train_calibration.py, of scores of this kind alone
    threshold: least score at which two voices count as one; None: where the calibration says that costs are least, if there is one
    batch_frames: frames, of 10 ms, in a batch; None: 20000 on a card, 500 on a CPU
    """

    def __init__(
        self, path, epoch="best", layer=None, device="auto", channel=None, resample=False, vad=None,
        backend=None, scoring=None, calibration=None, threshold=None, batch_frames=None,
    ):  # fmt: skip
        experiment = open_experiment(path)
        held = experiment.facts if isinstance(experiment, Package) else {}
        self.path, self.settings = experiment.path, experiment.settings
        self.channel, self.resample = channel, resample
        self.wanted = wave_input_of(self.settings["features"], experiment.path if held else experiment.path / "model.json")
        self.vad = vad_settings(experiment, vad)
        self.epoch, self.layer = experiment.epoch(epoch), layer_of(experiment, layer)
        self.identity = identity(experiment, self.epoch) | {"layer": self.layer, "vad": self.vad}
        self.network = {"weights_sha256": self.identity["weights"], "features": self.settings["features"]} | ({"layer": self.layer} if self.layer else {})
        self.backend = Backend.load(backend) if backend else (experiment.backend() if held else None) or Backend()
        if backend:
            self._check_backend()
        self.scoring = scoring_of(self.backend, scoring or (None if backend else held.get("scoring")))
        self.kind = self._kind()
        own = held if not kind_differences(held.get("kind"), self.kind) else {}
        self.calibration = load_calibration(calibration, self.kind, self.path) if calibration else experiment.calibration() if own else None
        self.threshold = choose_threshold(threshold if threshold is not None or calibration else own.get("threshold"), self.calibration)
        self.device = choose_device(device)
        self.batch_frames = frames_at_once(batch_frames, self.device)
        self.model = Embedder.load(experiment, self.epoch, self.device, self.layer)
        self._features = None
        if self.vad:
            self._features = Features(replace(self.wanted.options, dither=0.0))
        self._front = Front(self.settings["cmn"], None if self.vad else self.wanted.options)

    def _check_backend(self):
        """Fail where the back-end was trained on another network's embeddings."""
        if odd := other_network(self.backend.network, self.network):
            what = f"its back-end is of another network than {self.path}, epoch {self.epoch} ({odd} differs)"
            raise Fail(f"{self.backend.folder}: {what}; name its epoch, with --epoch final for instance, or train a back-end of this network")

    def _kind(self):
        """Of its scores, see score_kind(); None where the back-end does not tell what it is, as in files of extractors of before it did."""
        held, plda = self.backend.digests, self.scoring == "plda"
        if self.backend.mean is not None and not held:
            return None
        where = self.backend.folder if held else None
        return score_kind(plda, held, self.network, held.get("mean.vec"), length_norm=self.backend.length_norm, where=where)

    # ---- embeddings

    def embed(self, audio):
        """audio: path of a recording, or (samples, rate): one channel, of integers or of floats between -1 and 1 -> (dim,) float32"""
        return self.embed_all([audio])[0]

    def embed_all(self, audios, ids=None):
        """audios: a list, or an iterable, of what embed() takes; ids: theirs, for messages, where they are not paths -> (N, dim) float32"""
        found, held, names, size = [], [], [], 0
        most = _AT_ONCE * (self.wanted.samples(self.batch_frames) if not self.vad else self.batch_frames)
        for number, audio in enumerate(audios):
            name = ids[number] if ids else str(audio) if isinstance(audio, str | Path) else f"recording {number}"
            held.append(self._given(audio, name))
            names.append(name)
            size += len(held[-1])
            if size >= most:
                found.append(self._embed(held, names))
                held, names, size = [], [], 0
        if held:
            found.append(self._embed(held, names))
        if not found:
            raise Fail("no recordings to embed")
        return np.concatenate(found)

    def _given(self, audio, name):
        """Of a recording, what the front takes: samples, or the voiced frames of its features."""
        samples = self._samples(audio, name)
        if not self.vad:
            return samples
        frames = self._features(torch.from_numpy(samples)).numpy()
        if not len(frames):
            raise Fail(f"{name}: too short for a frame of its features")
        try:
            return frames[voiced_frames(energy_vad(frames[:, 0], *(self.vad[option] for option in VAD)), len(frames))]
        except Fail as error:
            raise Fail(f"{name}: {error}") from None

    def _samples(self, audio, name):
        if isinstance(audio, str | Path):
            return read_audio(audio, self.wanted.rate, self.channel, self.resample)
        try:
            samples, rate = audio
            samples = np.asarray(samples)
        except (TypeError, ValueError):
            raise Fail(f"{name}: a path or (samples, rate) expected") from None
        if samples.ndim != 1 or not len(samples) or samples.dtype.kind not in "if" or samples.dtype.itemsize == 1:
            raise Fail(f"{name}: one channel of samples expected, integers of 16 or 32 bits or floats, not {samples.dtype} {samples.shape}")
        check_rate(_Rated(name, rate), self.wanted.rate, self.resample)
        return at_rate(in_16_bit_range(samples, name), rate, self.wanted.rate)

    def _embed(self, arrays, names):
        source = _Held(arrays, self.wanted)
        lengths = self._front.lengths(source)
        if lengths.min() < self.model.min_frames:
            index = int(lengths.argmin())
            kind = "voiced frames" if self.vad else "samples" if self.wanted.options is None else "frames"
            raise Fail(f"{names[index]}: {lengths[index]} {kind}, but the network takes no less than {self.model.min_frames}")
        found = [None] * len(arrays)
        for batch in plan_source(source, self._front, self.batch_frames, self.model.masks_padding):
            for index, vector in zip(batch, embed_batch(self.model, [arrays[index] for index in batch], self._front, self.device), strict=True):
                if not np.isfinite(vector).all() or not vector.any():
                    raise Fail(f"{names[index]}: its embedding is zero or not finite; look at the recording, and at the network's training")
                found[index] = vector
        return np.stack(found)

    # ---- decisions

    def verify(self, enrolled, test):
        """enrolled: a recording of the claimed speaker, or a list of several; test: the recording in question -> Decision"""
        enrolled = enrolled if isinstance(enrolled, list) else [enrolled]
        vectors = self.embed_all([*enrolled, test])
        mean = vectors[:-1].mean(0, dtype=np.float64).astype(np.float32)
        return self.decide(float(self.scores(mean[None], [len(enrolled)], vectors[-1:])[0, 0]))

    def scores(self, models, counts, tests, model_names=None, test_names=None):
        """models: (S, dim) embeddings, each the mean of counts (S,) utterances; tests: (N, dim); names are for messages -> (S, N) float32"""
        self._check_backend()  # what a file holds may be of another layer than was asked for
        scorer = self.backend.plda if self.scoring == "plda" else Cosine()
        counts = np.asarray(counts)
        models = self._prepared(models, model_names or [f"enrolled {number}" for number in range(len(models))])
        tests = self._prepared(tests, test_names or [f"test {number}" for number in range(len(tests))])
        return all_scores(scorer.models(models, counts), scorer.tests(tests, counts))

    def _prepared(self, vectors, names):
        vectors = self.backend.prepare(np.asarray(vectors), names, self.path)
        return vectors if self.scoring == "plda" else unit_length(vectors, names, self.path)

    def decide(self, score):
        """score -> Decision"""
        accepted = None if self.threshold is None else score >= self.threshold
        llr = chance = prior = None
        if self.calibration:
            llr = float(self.calibration.llrs([[score]])[0])
            prior = self.calibration.p_target
            chance = float(probability(llr, prior))
        return Decision(score, self.threshold, accepted, llr, chance, prior)

    def identify(self, gallery, audios, top=1):
        """gallery: a Gallery made with this extractor; audios: as of embed_all -> for each its `top` speakers [(speaker, Decision), …], the best first.

        Who is not accepted is not known: where the first Decision says so, the voice is of nobody in the gallery.
        """
        return self.identify_vectors(gallery, self.embed_all(audios), top)

    def identify_vectors(self, gallery, vectors, top=1, names=None):
        """The same of embeddings (N, dim)."""
        gallery.check(self)
        if not gallery.speakers:
            raise Fail("nobody is enrolled in the gallery; do that first, with steps/enrol.py")
        speakers, models, counts = gallery.matrix()
        step, found = max(1, _MOST_SCORES // len(speakers)), []
        for start in range(0, len(vectors), step):
            block = slice(start, start + step)
            for scores in self.scores(models, counts, vectors[block], speakers, names[block] if names else None).T:
                order = np.argsort(-scores, kind="stable")[:top]
                found.append([(speakers[place], self.decide(float(scores[place]))) for place in order])
        return found


@dataclass(frozen=True)
class _Rated:
    """Samples, as check_rate() asks for them."""

    name: str
    rate: int


class _Held:
    """Arrays at hand as a source: samples, or frames."""

    def __init__(self, arrays, wanted):
        self.wanted, self.row_shape = wanted, arrays[0].shape[1:]
        self.lengths = np.array([len(array) for array in arrays])

    def units(self, num_frames):
        return self.wanted.samples(num_frames)


# ---- what decisions are made with


def vad_settings(experiment, path):
    """The settings of the decision on voiced frames, None where the network takes all. path: of a vad.json, None: what the experiment holds"""
    if not experiment.settings["voiced"]:
        if path:
            raise Fail(f"{path}: {experiment.path} was not trained on voiced frames; leave out what decides on them")
        return None
    held = experiment.facts if isinstance(experiment, Package) else experiment.settings
    settings = read_json(path) if path else held.get("vad")
    if not isinstance(settings, dict) or not all(isinstance(settings.get(name), int | float) for name in VAD):
        if path:
            raise Fail(f"{path}: {', '.join(VAD)} were expected; give the vad.json of steps/compute_vad.py")
        remedy = "say it with a vad.json of steps/compute_vad.py (--vad FILE), best that of the training data"
        raise Fail(f"{experiment.path}: was trained on voiced frames and does not tell how they are found; {remedy}")
    if not has_energy_first(experiment.settings["features"]):
        raise Fail(f"{experiment.path}: column 0 of its features is no energy, so voiced frames cannot be found by it here")
    return {name: settings[name] for name in VAD}


def scoring_of(backend, wanted):
    """-> "plda" or "cosine" """
    if wanted not in (None, *SCORINGS):
        raise Fail(f"scoring {wanted}: {', '.join(SCORINGS)} expected")
    if wanted == "plda" and not backend.plda:
        raise Fail(f"scoring plda: {backend.folder} has none; train one with steps/train_backend.py, or score by cosine")
    return wanted or ("plda" if backend.plda else "cosine")


def load_calibration(path, kind, where):
    """-> Calibration, of one score alone. kind: of the scores that it is for, which are those of `where`"""
    calibration = Calibration.load(path)
    if len(calibration.systems) > 1 or calibration.quality:
        raise Fail(f"{path}: fuses several systems or asks for measures of quality, but here is one score; train a calibration of it alone")
    if calibration.weights[0] <= 0:
        raise Fail(f"{path}: higher scores mean lower ratios in it; train it anew")
    check_kind(path, calibration.kind(calibration.systems[0]), where, kind)
    return calibration


def choose_threshold(threshold, calibration):
    """The one that is said; else the score at which the calibration's ratio makes both errors cost the same at its prior; else None."""
    if threshold is not None or calibration is None:
        return threshold
    prior = calibration.p_target
    return float((np.log((1 - prior) / prior) - calibration.offset) / calibration.weights[0])
