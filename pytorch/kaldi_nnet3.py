"""Kaldi's nnet3 x-vector networks, in text form, as networks of ours: no Kaldi is needed to use an extractor that was trained with it."""

import math
import re
from dataclasses import dataclass

import numpy as np

from pytorch.program import Fail

TOPOLOGIES = {  # (kernel, dilation) of the frame layers: network, its layers over segments
    ((5, 1), (3, 2), (3, 3), (1, 1), (1, 1)): ("xvector", ("segment6", "segment7")),
    ((5, 1), (1, 1), (3, 2), (1, 1), (3, 3), (1, 1), (3, 4), (1, 1), (1, 1), (1, 1)): ("etdnn", ("segment11", "segment12")),
}
DROPOUT = ("DropoutComponent", "GeneralDropoutComponent", "NoOpComponent")  # nothing outside training
REMEDY = "only x-vector networks as Kaldi's egs/*/v2 train them can be imported"


@dataclass
class Layer:
    """An affine component, with the frames that it puts side by side, ReLU and BatchNorm after it."""

    name: str
    offsets: tuple
    weight: np.ndarray  # (outputs, inputs * frames)
    bias: np.ndarray
    mean: np.ndarray | None = None
    var: np.ndarray | None = None  # with which x becomes (x - mean) / sqrt(var + 0.001), whatever Kaldi's epsilon and target


class Nnet3:
    """A network in Kaldi's text form (nnet3-copy --binary=false): its layers over frames and, after the pooling, over segments."""

    def __init__(self, path):
        self.path = path
        head, components = self._read()
        self.frames, self.segments = [], []
        layers, source = self.frames, "input"
        self.feat_dim = self._input_dim(head)
        for number, name, component, descriptor in self._nodes(head):
            where = f"{path}:{number}"
            if component not in components:
                raise Fail(f"{where}: the component '{component}' is not in the file; it is damaged")
            kind, text = components[component]
            taken, offsets = _descriptor(descriptor, where)
            if taken != source:
                raise Fail(f"{where}: '{name}' takes '{taken}', not '{source}' before it; {REMEDY}")
            if kind.endswith("AffineComponent"):
                if len(self.segments) < 2:  # a third one classifies
                    layers.append(Layer(name, offsets, self._array(text, "LinearParams", name, 2), self._array(text, "BiasParams", name, 1)))
            elif kind == "BatchNormComponent" and layers and layers[-1].mean is None:
                layers[-1].mean, layers[-1].var = self._batch_norm(text, name)
            elif kind == "StatisticsPoolingComponent" and self.frames:
                self._check_pooling(text, name)
                layers = self.segments
            elif kind not in ("RectifiedLinearComponent", "StatisticsExtractionComponent", "LogSoftmaxComponent", *DROPOUT):
                raise Fail(f"{where}: a {kind}; {REMEDY}")
            source = name

    def network(self):
        """-> name of our network, its arguments, {name: float32 array} of its parameters and statistics"""
        shape = tuple((len(layer.offsets), _dilation(layer)) for layer in self.frames)
        if shape not in TOPOLOGIES or len(self.segments) < 2:
            found = ", ".join(f"{kernel} frames {dilation} apart" for kernel, dilation in shape)
            raise Fail(f"{self.path}: layers over {found or 'no frames'} and {len(self.segments)} over segments; {REMEDY}")
        name, (first, second) = TOPOLOGIES[shape]
        *inner, last = self.frames
        embedding, after = self.segments[:2]
        self._check_sizes(inner, last, embedding, after)
        tensors = {}
        for number, layer in enumerate(self.frames):
            tensors |= _named(layer, f"frames.{number}.0", f"frames.{number}.2", len(layer.offsets))
        tensors |= _named(embedding, first, f"{second}.1") | _named(after, f"{second}.2", f"{second}.4")
        args = {"frame_dim": len(inner[0].bias), "stats_dim": len(last.bias), "embed_dim": len(embedding.bias), second: True}
        return name, args, tensors

    def _read(self):
        """-> the lines of the configuration, {component: (kind, text)}"""
        data = self.path.read_bytes()
        if data[:2] == b"\0B":
            raise Fail(f"{self.path}: in Kaldi's binary form; make it text first: nnet3-copy --binary=false {self.path} final.txt")
        text = data.decode("utf-8", "replace")
        head, marker, body = text.partition("<NumComponents>")
        if not text.lstrip().startswith("<Nnet3>") or not marker or not body.rstrip().endswith("</Nnet3>"):
            raise Fail(f"{self.path}: no nnet3 network in text form, or cut off (<Nnet3> … </Nnet3> expected)")
        parts = re.split(r"<ComponentName> (\S+) <(\w+)> ", body)[1:]
        components = dict(zip(parts[::3], zip(parts[1::3], parts[2::3], strict=True), strict=True))
        expected = body.split(maxsplit=1)[0]
        if str(len(components)) != expected:
            raise Fail(f"{self.path}: {expected} components are announced, {len(components)} are there; it is damaged")
        return head.splitlines(), components

    def _input_dim(self, head):
        found = [re.fullmatch(r"input-node name=(\S+) dim=(\d+)", line.strip()) for line in head if line.startswith("input-node")]
        if len(found) != 1 or not found[0] or found[0][1] != "input":
            raise Fail(f"{self.path}: one line 'input-node name=input dim=N' expected; {REMEDY}")
        return int(found[0][2])

    def _nodes(self, head):
        """Yield line number, name, component and descriptor of each component-node."""
        for number, line in enumerate(head, 1):
            if line.startswith("component-node"):
                found = re.fullmatch(r"component-node name=(\S+) component=(\S+) input=(.+)", line.strip())
                if not found:
                    raise Fail(f"{self.path}:{number}: 'component-node name=… component=… input=…' expected")
                yield number, *found.groups()
            elif line.split("=")[0].split(" ")[0] not in ("", "<Nnet3>", "input-node", "output-node"):
                raise Fail(f"{self.path}:{number}: '{line.split()[0]}'; {REMEDY}")

    def _array(self, text, key, name, dims):
        """The matrix (2) or vector (1) after <key>."""
        found = re.search(rf"<{key}>\s+\[([^\]]*)\]", text)
        if not found:
            raise Fail(f"{self.path}: '{name}' has no <{key}>; it is damaged")
        rows = [row.split() for row in found[1].split("\n") if row.strip()]
        try:
            array = np.array(rows, dtype=np.float32)
        except ValueError:
            raise Fail(f"{self.path}: <{key}> of '{name}': rows of numbers, equally many in each, expected; it is damaged") from None
        if not array.size or not np.isfinite(array).all() or (dims == 1 and len(array) != 1):
            raise Fail(f"{self.path}: <{key}> of '{name}': finite numbers expected; it is damaged")
        return array if dims == 2 else array[0]

    def _number(self, text, key, name):
        found = re.search(rf"<{key}> (\S+)", text)
        if not found:
            raise Fail(f"{self.path}: '{name}' has no <{key}>; it is damaged")
        return found[1]

    def _batch_norm(self, text, name):
        """-> mean and variance as of a BatchNorm1d(eps=1e-3): Kaldi's has an epsilon of its own and a root mean square that it aims at"""
        if self._number(text, "Dim", name) != self._number(text, "BlockDim", name):
            raise Fail(f"{self.path}: '{name}' normalises in blocks; {REMEDY}")
        epsilon, target = (self._positive(text, key, name) for key in ("Epsilon", "TargetRms"))
        var = self._array(text, "StatsVar", name, 1).astype(np.float64)
        if var.min() < -epsilon / 2:
            raise Fail(f"{self.path}: '{name}' has a variance of {var.min():g}; it is damaged")
        return self._array(text, "StatsMean", name, 1), ((var + epsilon) / target**2 - 1e-3).astype(np.float32)

    def _positive(self, text, key, name):
        """The number after <key>: neither 0 nor more than a float32 takes."""
        word = self._number(text, key, name)
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not 1e-12 < value < 1e12:
            raise Fail(f"{self.path}: '{name}' has <{key}> {word}; a number above 0 expected, it is damaged")
        return value

    def _check_pooling(self, text, name):
        for key, expected in (("NumLogCountFeatures", "0"), ("OutputStddevs", "T")):
            if self._number(text, key, name) != expected:
                raise Fail(f"{self.path}: '{name}' has <{key}> {self._number(text, key, name)}; mean and standard deviation alone expected")

    def _check_sizes(self, inner, last, embedding, after):
        """Fail unless the sizes of all layers fit, and those are equal that our networks have equal."""
        dims = [self.feat_dim, *(len(layer.bias) for layer in self.frames), 2 * len(last.bias), len(embedding.bias)]
        inputs = [*dims[: len(self.frames)], *dims[-2:]]
        for layer, dim in zip([*self.frames, embedding, after], inputs, strict=True):
            if layer.weight.shape != (len(layer.bias), dim * len(layer.offsets)):
                raise Fail(f"{self.path}: '{layer.name}' has {layer.weight.shape[0]} x {layer.weight.shape[1]} weights; it is damaged")
            if layer.mean is None or len(layer.mean) != len(layer.bias) or len(layer.var) != len(layer.bias):
                raise Fail(f"{self.path}: '{layer.name}' has no normalisation of its {len(layer.bias)} outputs after it; {REMEDY}")
        if len({len(layer.bias) for layer in inner}) > 1 or len(after.bias) != len(embedding.bias):
            raise Fail(f"{self.path}: layers of {', '.join(map(str, dims[1:-2]))} and {len(embedding.bias)}, {len(after.bias)}; {REMEDY}")


def _descriptor(text, where):
    """'Append(Offset(x, -2), x, Offset(x, 2))' -> 'x', (-2, 0, 2)"""
    inner = re.fullmatch(r"Append\((.*)\)", text)
    offsets, sources = [], set()
    for part in re.findall(r"\w+\([^()]*\)|[^,\s]+", inner[1] if inner else text):
        found = re.fullmatch(r"(?:Offset\((\S+), (-?\d+)\)|Round\((\S+), 1\)|([^()\s]+))", part)
        if not found:
            raise Fail(f"{where}: the input '{text}'; {REMEDY}")
        sources.add(found[1] or found[3] or found[4])
        offsets.append(int(found[2] or 0))
    if len(sources) != 1:
        raise Fail(f"{where}: the input '{text}'; {REMEDY}")
    return sources.pop(), tuple(offsets)


def _dilation(layer):
    """The distance of the frames of a layer; 0 where they do not lie evenly around the one in the middle."""
    steps = {after - before for before, after in zip(layer.offsets, layer.offsets[1:], strict=False)} or {1}
    return steps.pop() if len(steps) == 1 and sum(layer.offsets) == 0 else 0


def _named(layer, affine, norm, kernel=None):
    """kernel: where the affine part is a convolution; Kaldi puts frames side by side, each with all its columns."""
    weight = layer.weight
    if kernel:
        weight = weight.reshape(len(weight), kernel, -1).transpose(0, 2, 1)
    return {
        f"{affine}.weight": np.ascontiguousarray(weight), f"{affine}.bias": layer.bias,
        f"{norm}.running_mean": layer.mean, f"{norm}.running_var": layer.var, f"{norm}.num_batches_tracked": np.array(0),
    }  # fmt: skip
