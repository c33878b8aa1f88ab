"""From embeddings to classes or numbers: support vectors, ridge and logistic regression.

scikit-learn fits them to embeddings of mean 0 and deviation 1 in each dimension; what it found is kept as plain arrays, and the few lines that predict
from these are ours. Nothing here is drawn by chance: the same data give the same predictor.

    numbers   svm        nu-SVR (libsvm; Schölkopf and others, "New support vector algorithms", Neural Computation 12, 2000), linear or RBF
              ridge      linear, squared errors; its alpha is 1 / C
    classes   svm linear one class against the others, squared hinge (liblinear, primal: with fewer dimensions than utterances it is the quick way)
              svm rbf    each class against each other one, by votes (libsvm)
              logistic   multinomial, L2

C weighs the errors of all utterances against the size of the weights. For libsvm the kernel's matrix is computed once and serves every C.
"""

import hashlib
import os
import warnings
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np

from pytorch.files import need_file, read_json, sha256, whole_file, write_json
from pytorch.metrics import macro_f1, mae, spearman, uar
from pytorch.program import Fail

ROWS = 1024  # embeddings at a time
MAX_ITER = 10000  # of liblinear and of logistic regression
CACHE_MB = 500  # of libsvm, for rows of the kernel's matrix it has signed
MOST_OF_MEMORY = 0.8
FIGURES = {"spearman": (spearman, 1), "mae": (mae, -1), "uar": (uar, 1), "macro_f1": (macro_f1, 1)}  # how well a predictor does; 1: more is better
FIGURES_OF = {"numbers": ("spearman", "mae"), "classes": ("uar", "macro_f1")}
WEIGHTS = "predictor.safetensors"


@dataclass(frozen=True)
class Finish:
    """What is done to a predicted number: scale * number + shift, rounded, kept within the range of the numbers that were learnt."""

    scale: float = 1.0
    shift: float = 0.0
    whole: bool = False
    low: float = -np.inf
    high: float = np.inf

    def __call__(self, numbers):
        """(N,) after scale and shift -> (N,)"""
        return np.clip(np.rint(numbers) if self.whole else numbers, self.low, self.high)


def mapping(found, wanted):
    """-> (scale, shift), by which the numbers found have the mean and the deviation of those wanted"""
    deviation = found.std()
    scale = wanted.std() / deviation if deviation else 0.0
    return float(scale), float(wanted.mean() - scale * found.mean())


@dataclass(frozen=True)
class Design:
    """What kind of predictor is fitted.

    kind: numbers or classes; model: svm, ridge or logistic; kernel: linear or rbf; nu: of nu-SVR; balanced: weigh classes as if all had as many utterances
    """

    kind: str
    model: str
    kernel: str = "linear"
    nu: float = 0.5
    balanced: bool = True

    @property
    def needs_kernel(self):
        return self.kernel == "rbf" or (self.model == "svm" and self.kind == "numbers")


@dataclass(frozen=True)
class Predictor:
    """A fitted predictor: all that is needed to predict, and facts about how it was made.

    mean, deviation: (dim,) of the embeddings it was fitted to; weights: (outputs, dim) or, with an RBF kernel, (outputs, vectors); offset: (outputs,)
    vectors: (vectors, dim) float32, the embeddings that support an RBF kernel of this gamma
    outputs: one for numbers; for classes one each, or with an RBF kernel one for each pair, above 0 for the later class
    """

    design: Design
    classes: list
    mean: np.ndarray
    deviation: np.ndarray
    weights: np.ndarray
    offset: np.ndarray
    vectors: np.ndarray = None
    gamma: float = None
    finish: Finish = Finish()
    converged: bool = True
    facts: dict = field(default_factory=dict)

    def outputs(self, vectors):
        """vectors: (N, dim) -> float64 (N,) numbers, scaled and shifted; or (N, classes), the greater the more likely: see `unit`"""
        found = np.empty((len(vectors), len(self.weights)))
        for start in range(0, len(vectors), ROWS):
            block = slice(start, start + ROWS)
            x = self._standard(vectors[block])
            found[block] = (x if self.vectors is None else rbf(x, self._support, self.gamma)) @ self.weights.T + self.offset
        if self.design.kind == "numbers":
            return self.finish.scale * found[:, 0] + self.finish.shift
        if self.unit == "votes":
            return votes(found, len(self.classes))
        return softmax(found) if self.unit == "probabilities" else found

    @property
    def unit(self):
        """Of the outputs"""
        if self.design.kind == "numbers":
            return "numbers"
        return "probabilities" if self.design.model == "logistic" else "votes" if self.vectors is not None else "margins"

    def decide(self, outputs):
        """-> (N,) numbers as they are told, or (N,) int64 numbers of classes"""
        return self.finish(outputs) if self.design.kind == "numbers" else outputs.argmax(1)

    def words(self, outputs):
        """-> what is told of each utterance, as text"""
        if self.design.kind == "numbers":
            return [f"{value:.6g}" for value in self.decide(outputs).tolist()]
        return [self.classes[number] for number in self.decide(outputs).tolist()]

    def figures(self, vectors, wanted):
        """How well it does on embeddings whose numbers, or numbers of classes, are known -> {name: float}"""
        found = self.decide(self.outputs(vectors))
        return {name: FIGURES[name][0](found, wanted) for name in FIGURES_OF[self.design.kind]}

    def _standard(self, vectors):
        return (vectors.astype(np.float64) - self.mean) / self.deviation

    @cached_property
    def _support(self):
        return self._standard(self.vectors)

    def save(self, folder):
        """Write predictor.safetensors and predictor.json -> their paths"""
        import safetensors.numpy

        folder = Path(folder)
        arrays = {name: getattr(self, name) for name in ("mean", "deviation", "weights", "offset", "vectors")}
        data = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None})
        finish = asdict(self.finish) | {"low": _finite(self.finish.low), "high": _finite(self.finish.high)}
        model = {**asdict(self.design), "classes": self.classes, "gamma": self.gamma, "finish": finish, "weights_sha256": hashlib.sha256(data).hexdigest()}
        with whole_file(folder / WEIGHTS, "wb") as file:
            file.write(data)
        write_json(folder / "predictor.json", {**model, "facts": self.facts})
        return [folder / WEIGHTS, folder / "predictor.json"]

    @classmethod
    def load(cls, folder):
        """Fails where a file is missing, damaged or not of the other."""
        import safetensors
        import safetensors.numpy

        folder = Path(folder)
        found = read_json(need_predictor(folder))
        path = need_file(folder / WEIGHTS, f"{folder}/predictor.json belongs to it; bring it back, or train the predictor anew")
        if not isinstance(found, dict) or sha256(path) != found.get("weights_sha256"):
            raise Fail(f"{path}: is not what {folder}/predictor.json was written with; bring it back, or train the predictor anew")
        try:
            arrays = safetensors.numpy.load(path.read_bytes())
            finish = found["finish"] | {"low": _or(found["finish"]["low"], -np.inf), "high": _or(found["finish"]["high"], np.inf)}
            design = Design(**{name: found[name] for name in ("kind", "model", "kernel", "nu", "balanced")})
            made = cls(design, found["classes"], gamma=found["gamma"], finish=Finish(**finish), facts=found["facts"], **arrays)
            made.check()
        except (safetensors.SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise Fail(f"{folder}/predictor.json: no predictor of steps/train_predictor.py ({str(error)[:80]}); train it anew") from None
        return made

    def check(self):
        """ValueError unless its parts fit together."""
        if self.design.kind not in FIGURES_OF:
            raise ValueError("neither of numbers nor of classes")
        dim, classes = len(self.mean), len(self.classes)
        columns = dim if self.vectors is None else len(self.vectors)
        rows = 1 if self.design.kind == "numbers" else classes if self.vectors is None else classes * (classes - 1) // 2
        shapes = {"mean": (dim,), "deviation": (dim,), "weights": (rows, columns), "offset": (rows,)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} of another shape than the rest")
        if (self.vectors is None) != (self.design.kernel == "linear"):
            raise ValueError("support vectors do not fit the kernel")
        if self.vectors is not None and (self.vectors.shape[1:] != (dim,) or not self.gamma > 0):
            raise ValueError("support vectors of another shape than the rest, or no gamma")


def need_predictor(folder):
    """-> the file that says what the predictor of a folder is"""
    return need_file(Path(folder) / "predictor.json", "make it with steps/train_predictor.py")


def fits(design, vectors, targets, classes, costs, gammas):
    """Yield (C, gamma, Predictor) for each C and, with an RBF kernel, each gamma.

    vectors: (N, dim); targets: (N,) numbers, or numbers of classes; classes: their names, [] for numbers; gammas: of exp(-gamma |x - y|^2)
    """
    mean, deviation = standardisation(vectors)
    x = (vectors.astype(np.float64) - mean) / deviation
    if design.needs_kernel:
        check_memory(len(x))
    for gamma in gammas if design.kernel == "rbf" else [None]:
        matrix = None
        if design.needs_kernel:
            matrix = x @ x.T if gamma is None else rbf(x, x, gamma)
        for cost in costs:
            weights, offset, support, converged = _fit(design, x, matrix, targets, cost)
            kept = None if design.kernel == "linear" else np.asarray(vectors[support], dtype=np.float32)
            yield cost, gamma, Predictor(design, classes, mean, deviation, weights, offset, kept, gamma, converged=converged)


def standardisation(vectors):
    """(N, dim) -> mean and deviation of each dimension, 1 where all values are alike; float64"""
    mean, deviation = vectors.mean(0, dtype=np.float64), vectors.std(0, dtype=np.float64)
    return mean, np.where(np.ptp(vectors, axis=0) == 0, 1.0, deviation)


def check_memory(number):
    """Fail where the kernel's matrix of so many utterances is more than the machine holds."""
    need, there = 8 * number**2, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if need > MOST_OF_MEMORY * there:
        what = f"this svm needs {need / 2**30:.0f} GB for the kernel's matrix of {number} utterances, the machine has {there / 2**30:.0f}"
        raise Fail(f"{what}; take fewer with utils/subset_data_dir.py, or a linear model that needs none: ridge for numbers, svm or logistic for classes")


def rbf(x, support, gamma):
    """(N, dim), (S, dim) -> (N, S): exp(-gamma |x - s|^2)"""
    found = x @ support.T
    found *= 2
    found -= (x**2).sum(1)[:, None]
    found -= (support**2).sum(1)
    np.minimum(found, 0, out=found)  # rounding alone takes a distance below 0
    found *= gamma
    return np.exp(found, out=found)


def _fit(design, x, matrix, targets, cost):
    """-> weights, offset, rows of the support vectors (None but for RBF), whether the solver came to its end"""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told by what is returned
        if design.kind == "numbers":
            return _ridge(x, targets, cost) if design.model == "ridge" else _nu_svr(design, x, matrix, targets, cost)
        class_weight = "balanced" if design.balanced else None
        return _svc(matrix, targets, cost, class_weight) if design.kernel == "rbf" else _linear_classes(design.model, x, targets, cost, class_weight)


def _ridge(x, targets, cost):
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=1 / cost).fit(x, targets)
    return model.coef_[None], np.array([model.intercept_]), None, True


def _nu_svr(design, x, matrix, targets, cost):
    from sklearn.svm import NuSVR

    model = NuSVR(kernel="precomputed", C=cost, nu=design.nu, cache_size=CACHE_MB).fit(matrix, targets)
    if design.kernel == "linear":
        return model.dual_coef_ @ x[model.support_], model.intercept_.copy(), None, True
    return model.dual_coef_, model.intercept_.copy(), model.support_, True


def _linear_classes(name, x, targets, cost, class_weight):
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    if name == "svm":
        model = LinearSVC(C=cost, dual=False, class_weight=class_weight, max_iter=MAX_ITER)
    else:
        model = LogisticRegression(C=cost, class_weight=class_weight, max_iter=MAX_ITER, tol=1e-6)
    model.fit(x, targets)
    weights, offset = model.coef_, model.intercept_
    if len(weights) == 1:  # of two classes it has the later one's alone
        first = -1 if name == "svm" else 0
        weights, offset = np.concatenate([first * weights, weights]), np.concatenate([first * offset, offset])
    return weights, offset, None, bool(np.max(model.n_iter_) < MAX_ITER)


def _svc(matrix, targets, cost, class_weight):
    """Weights of all pairs of classes from libsvm's, which has for each vector those of the pairs that its class is in."""
    from sklearn.svm import SVC

    model = SVC(kernel="precomputed", C=cost, class_weight=class_weight, cache_size=CACHE_MB).fit(matrix, targets)
    if len(model.classes_) == 2:
        return model.dual_coef_, model.intercept_.copy(), model.support_, True
    pairs = list(combinations(range(len(model.classes_)), 2))
    of = np.repeat(np.arange(len(model.classes_)), model.n_support_)
    weights = np.zeros((len(pairs), len(of)))
    for row, (one, other) in enumerate(pairs):
        weights[row, of == one] = -model.dual_coef_[other - 1, of == one]
        weights[row, of == other] = -model.dual_coef_[one, of == other]
    return weights, -model.intercept_, model.support_, True


def votes(margins, classes):
    """(N, pairs), above 0 for the later class of the pair -> (N, classes): the pairs it won, and less than a third more by which margins"""
    won, sums = np.zeros((len(margins), classes)), np.zeros((len(margins), classes))
    for margin, (one, other) in zip(margins.T, combinations(range(classes), 2), strict=True):
        won[:, one] += margin <= 0
        won[:, other] += margin > 0
        sums[:, one] -= margin
        sums[:, other] += margin
    return won + sums / (3 * (np.abs(sums) + 1))


def softmax(x):
    """(N, classes) -> probabilities"""
    x = np.exp(x - x.max(1, keepdims=True))
    return x / x.sum(1, keepdims=True)


def _finite(value):
    return value if np.isfinite(value) else None


def _or(value, instead):
    return instead if value is None else value
