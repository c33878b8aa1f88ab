"""Validation: error rates of trials, classes and numbers told of whole utterances, each embedded once. Light to import."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pytorch.data.foreign_trials import find_trials, read_clients_impostors, trial_lists
from pytorch.data.spellings import UttFinder
from pytorch.data.targets import UTTERANCE, read_targets
from pytorch.data.trials import read_trials
from pytorch.files import sha256
from pytorch.program import Fail

MEASURES = {  # what is better
    "eer": "lower", "min_dcf": "lower", "loss": "lower", "accuracy": "higher", "macro_f1": "higher", "uar": "higher", "mae": "lower", "spearman": "higher",
}  # fmt: skip
WORST = {"eer": 1.0, "min_dcf": 1.0, "loss": float("inf"), "accuracy": 0.0, "macro_f1": 0.0, "uar": 0.0, "mae": float("inf"), "spearman": -1.0}
OF_TRIALS, OF_CLASSES, OF_NUMBERS = ("eer", "min_dcf"), ("loss", "accuracy", "macro_f1", "uar"), ("loss", "mae", "spearman")
FIRST_CHOICE = ("uar", "mae", "eer")  # of what is measured, the one that chooses the best epoch where nothing else is asked for
DCF_PRIOR = 0.01
ROUNDING = 1e-6  # of the largest of single precision numbers: differences below come of the batches


class Validation:
    """What is measured on a validation set: how well trials are told apart, classes and numbers are told, whichever it has.

    columns: the names of the figures, valid_eer, …; select: the measure that chooses the best epoch, by MEASURES[select] the lower or the higher one
    """

    def __init__(self, data, source, targets, trials, select, settings, least, batch_frames=None):
        """data: a DataDir; source: its Frames or Waves; targets: its Targets or None, see validation_targets; trials: its Trials or None, see find_valid_trials

        select: a measure, or None for the default: uar for classes, mae for numbers, eer for trials alone; settings: of the training's features;
        least: the least number of units that the network takes
        """
        if source.settings != settings:
            raise Fail(f"{data / 'feats.json'}: other feature settings than the training data's; make the features of both alike")
        source.need_length(least)
        self.source, self.targets, self.batch_frames = source, targets, batch_frames
        self.trials = None if trials is None else _places(trials, source.utts, data)
        self.measures = measures_of(targets, trials)
        self.columns = [f"valid_{name}" for name in self.measures]
        self.select = choose_measure(select, self.measures, data)

    def measure(self, network, front, device):
        """-> {column: figure}, the same in all processes of a training; the worst there is where what comes of the network is not finite.

        network: a Network, whose loss is not asked where there are trials only; front: the Front before it
        """
        modes = {module: module.training for module in network.modules()}
        network.eval()
        _share_buffers(network)
        figures = dict.fromkeys(self.measures)
        vectors = None
        if self.trials:
            vectors = self._vectors(network.model, front, device)
            figures |= self._of_trials(vectors)
        if self.targets:
            classified = _Classified(network.model)
            if not self._are_alike(network.model, classified, front, device):
                vectors = self._vectors(classified, front, device)
            elif vectors is None:
                vectors = self._vectors(network.model, front, device)
            figures |= self._of_targets(network.loss, vectors, device)
        for module, training in modes.items():
            module.training = training
        return {f"valid_{name}": _finite(figures[name], WORST[name]) for name in self.measures}

    def _vectors(self, model, front, device):
        """-> (N, dim) float32, the vector of each utterance; processes share the batches out and add up what each has found."""
        import numpy as np
        import torch

        from pytorch.extraction import embed_utterances, frames_at_once, plan_source

        rank, world = _process()
        batches = plan_source(self.source, front, frames_at_once(self.batch_frames, device), model.masks_padding)
        place = {utt: row for row, utt in enumerate(self.source.utts)}
        found = list(embed_utterances(model, self.source, batches[rank::world], front, device))
        dim = int(_reduced(torch.tensor(len(found[0][1]) if found else 0, device=device), "MAX"))
        matrix = np.zeros((len(place), dim), dtype=np.float32)
        for utt, vector in found:
            matrix[place[utt]] = vector
        return _reduced(torch.from_numpy(matrix).to(device), "SUM").cpu().numpy() if world > 1 else matrix

    def _are_alike(self, model, classified, front, device):
        """Whether the loss sees the embedding itself, so that one pass serves both: asked of the network, with the shortest utterance."""
        import numpy as np
        import torch

        from pytorch.extraction import embed_utterances

        shortest = [[int(np.argmin(self.source.lengths))]]
        (_, one), (_, other) = (next(iter(embed_utterances(view, self.source, shortest, front, device))) for view in (model, classified))
        return bool(_reduced(torch.tensor(int(np.array_equal(one, other)), device=device), "MIN"))

    def _of_trials(self, vectors):
        """-> {measure: value} of cosines between embeddings from which the mean of the set is subtracted"""
        import numpy as np

        from pytorch.backend.cosine import cosine_scores, unit_length
        from pytorch.metrics import eer, min_dcf

        with np.errstate(over="ignore", invalid="ignore"):
            vectors = vectors - vectors.mean(0, dtype=np.float64).astype(np.float32)
        if not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
            return {name: WORST[name] for name in OF_TRIALS}
        enrols, tests, labels = self.trials
        scores = cosine_scores(unit_length(vectors, self.source.utts, "validation"), enrols, tests)
        return {"eer": eer(scores, labels)[0], "min_dcf": min_dcf(scores, labels, DCF_PRIOR)}

    def _of_targets(self, loss, outputs, device):
        """-> {measure: value} of what the loss predicts from (N, dim) outputs of the network; the loss itself at its full margin, over all at once"""
        import numpy as np
        import torch

        from pytorch import metrics

        kind, wanted = self.targets.kind, self.targets.values
        figures = {name: WORST[name] for name in self.measures if name not in OF_TRIALS}
        if not np.isfinite(outputs).all():
            return figures
        x = torch.from_numpy(outputs).to(device)
        with torch.no_grad():
            figures["loss"] = float(loss(x, torch.from_numpy(wanted).to(device))[0])
            found = loss.predict(x).cpu().numpy()
            numbers = loss.numbers.predict(x).cpu().numpy() if kind == "both" else found
        if kind != "numbers":
            figures |= {name: getattr(metrics, name)(found, self.targets.of_classes) for name in ("accuracy", "macro_f1", "uar")}
        if kind != "classes" and np.isfinite(numbers).all():
            if np.ptp(numbers) <= ROUNDING * np.abs(numbers).max():
                numbers = np.full_like(numbers, numbers[0])  # all alike, but for what the batch around each changes: that is no rank
            wanted = wanted[:, 1] if kind == "both" else wanted
            figures |= {name: getattr(metrics, name)(numbers, wanted) for name in ("mae", "spearman") if name in self.measures}
        return figures


class _Classified:
    """A model whose embeddings are what the loss classifies."""

    def __init__(self, model):
        self.model = model

    def __getattr__(self, name):
        return getattr(self.model, name)

    def embed(self, x, lengths=None):
        return self.model(x, lengths)


@dataclass(frozen=True)
class Trials:
    """name: of the list or lists; sha256: of the list, of two lists that of the one utils/import_trials.py makes of them; utterances and labels by trial"""

    name: str
    sha256: str
    enrols: list
    tests: list
    labels: list


def measures_of(targets, trials):
    """The names of what is measured, in their order. targets: a Targets or None; trials: Trials or None"""
    names = list(OF_TRIALS) if trials else []
    if targets and targets.kind != "numbers":
        names += OF_CLASSES
    if targets and targets.kind != "classes":
        numbers = targets.values if targets.kind == "numbers" else targets.values[:, 1]
        alike = (numbers == numbers[0]).all()  # nothing can rise and fall with them
        names += [name for name in OF_NUMBERS if name not in names and not (alike and name == "spearman")]
    return names


def choose_measure(select, measures, data):
    """-> the measure that chooses the best epoch: `select`, or where that is None the first choice among `measures`. Fails where it is not among them."""
    if not measures:
        raise Fail(f"{data / 'trials'}: no such file; draw it with utils/make_trials.py {data.path}")
    if select is not None and select not in measures:
        raise Fail(f"--select {select}: not measured on {data.path}, where there are {', '.join(measures)}")
    return select or next(name for name in FIRST_CHOICE if name in measures)


def validation_targets(data, settings, trials):
    """What classes or numbers the utterances of a validation set have that the network can tell -> Targets, None where its trials say how good it is.

    settings: of model.json: targets, classes, loss. A network that tells speakers, or one trained with pairs or triplets, tells nothing of held-out
    data but by trials; so does any where the data have trials but not the table it was trained on.
    """
    learnt = settings.get("targets") or {"what": "utt2spk", "kind": "classes"}  # a network that was trained elsewhere
    names = learnt["what"].split(",")
    if names[0] in ("utt2spk", UTTERANCE) or settings["loss"]["name"] in ("contrastive", "triplet"):
        return None
    if missing := [name for name in names if not data.has(name)]:
        if trials:
            return None
        raise Fail(f"{data / missing[0]}: no such file; the network was trained on it: write it, or draw trials with utils/make_trials.py {data.path}")
    return read_targets(data, learnt["what"], learnt["kind"], settings["classes"])


def find_valid_trials(data, given=None):
    """-> the Trials of a validation set, None where it has none.

    data: a DataDir; given: None for its file `trials`, or what --valid-trials says: a file in Kaldi's form, or two lists of `enrol test`,
    CLIENTS,IMPOSTORS, whose names are found in `data` as utils/import_trials.py finds them
    """
    if given is None and not data.has("trials"):
        return None
    if given is None or "," not in str(given) or Path(given).is_file():
        path = Path(given or data / "trials")
        enrols, tests, labels = read_trials(path)
        for utt in (*enrols, *tests):
            if utt not in data.utt2spk:
                raise Fail(f"{path}: '{utt}' is not in {data.path}; draw the trials anew")
        name, digest = str(path), sha256(path)
    else:
        paths = [Path(path) for path in str(given).split(",")]
        if len(paths) != 2:
            raise Fail(f"--valid-trials {given}: a file, or two, CLIENTS,IMPOSTORS, expected, not {len(paths)}")
        trials = find_trials(read_clients_impostors(paths), UttFinder(data).find, data.path, _NothingLeftOut())
        _check_labels(trials, data, paths)
        enrols, tests, labels = map(list, zip(*trials, strict=True))
        name, digest = str(given), hashlib.sha256("".join(trial_lists("kaldi", trials)[0]).encode()).hexdigest()
    if len(set(labels)) < 2:
        raise Fail(f"{name}: target and nontarget trials are both needed")
    return Trials(name, digest, enrols, tests, labels)


class _NothingLeftOut:
    """Stands where utils/import_trials.py has its --drop."""

    def leave_out(self, kind, bad, remedy):
        if bad:
            place, what = bad[0]
            more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
            raise Fail(f"{place}: {what}{more}; {remedy}, or make trials of the lists with utils/import_trials.py --drop {kind}")


def _check_labels(trials, data, paths):
    """Fail where a client trial is of two speakers, or an impostor trial of one: the lists may be the wrong way round."""
    if all(utt == spk for utt, spk in data.utt2spk.items()):
        return  # the directory knows no speakers
    odd = [(enrol, test, label) for enrol, test, label in trials if (data.utt2spk[enrol] == data.utt2spk[test]) != label]
    if odd:
        enrol, test, label = odd[0]
        what = f"'{enrol}' and '{test}' are of {'two speakers' if label else 'one speaker'} by {data / 'utt2spk'} ({len(odd)} such)"
        raise Fail(f"{paths[0 if label else 1]}: {what}; clients stand before impostors; correct it, or see utils/import_trials.py --check-speakers false")


def _places(trials, utts, data):
    """-> (enrols, tests, labels) as arrays, utterances by their number in `utts`"""
    import numpy as np

    number = {utt: place for place, utt in enumerate(utts)}
    sides = [np.array([number[utt] for utt in side]) for side in (trials.enrols, trials.tests)]
    return *sides, np.array(trials.labels)


def _process():
    """-> the number of this process among those that train together, how many they are"""
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def _share_buffers(network):
    """Running statistics are those of the batches that a process has seen: all take those of the first, whose weights are the ones that are kept."""
    from torch import distributed

    if _process()[1] > 1:
        for tensor in network.buffers():
            distributed.broadcast(tensor, 0)


def _reduced(tensor, how):
    """The sum, the largest, … of a tensor over the processes that train together."""
    from torch import distributed

    if _process()[1] > 1:
        distributed.all_reduce(tensor, getattr(distributed.ReduceOp, how))
    return tensor


def _finite(value, worst):
    return value if abs(value) < float("inf") else worst  # of nan, too
