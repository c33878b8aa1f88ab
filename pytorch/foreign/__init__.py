"""Networks of others: how their checkpoints are read without running anything in them, and how their weights become ours.

PEERS says which there are; each is a file here with the table of its names. Such a file holds one Peer:
    networks    {name: Network}, what of theirs is known
    inside      names below which the weights lie in the file, one level each; none where they are the file itself
    bare        whether the file may be the weights themselves all the same
    prefix      of the names of the weights, taken off where it is there
    dead        patterns of names that no embedding depends on
    classes     names of classes that such a file may hold besides tensors: nothing is imported, what stands in for them does nothing
    fronts      prefixes of the names of a front end's tensors, of a network that computes features itself: they tell the features, see fronts.py
    settings    name under which the file holds the network's settings; "" where it holds none

A pattern is a name in which <i> stands for a number, <i+1> for one more than it, * for a word without a dot and ** for anything.
"""

import importlib
import re
from dataclasses import dataclass, field
from importlib.metadata import version

from pytorch.program import Fail

PEERS = {  # name: file
    "wespeaker": "wespeaker",
    "3dspeaker": "threedspeaker",
    "ecapa_taoruijie": "ecapa_taoruijie",
    "speechbrain": "speechbrain",
    "deepspeaker": "deepspeaker",
    "pyannote": "pyannote",
    "redimnet2": "redimnet2",
}
COUNTED = ".num_batches_tracked"  # of a BatchNorm: no embedding depends on it
SAFE_TORCH = (2, 10)  # before it, torch.load(weights_only=True) could be made to do more than read


@dataclass(frozen=True)
class Network:
    """A network of a peer's.

    model: ours; marks: patterns of names, all of which such a file has; lacks: patterns, none of which it has ("**": it is taken by its name only)
    names: rows (theirs, ours) or (theirs, ours, change): patterns, and the function that changes the tensor; or a function of our arguments that gives them
    sizes: Shapes -> (columns of the features, {argument of our network: value}); all that can be told from the shapes
    features: options of FeatureOptions; num_mel_bins are the columns; None: waveforms; of a network with a front end, those that this one tells
    cmn: mean or none
    prepare: (Shapes, tensors) -> tensors, before their names are looked at; None: as they are
    """

    model: str
    marks: tuple
    names: object
    sizes: object
    features: dict | None
    cmn: str
    lacks: tuple = ()
    prepare: object = None


@dataclass(frozen=True)
class Peer:
    networks: dict
    inside: tuple = ()
    bare: bool = False
    prefix: str = ""
    dead: tuple = ()
    classes: tuple = ()
    fronts: tuple = ()
    settings: str = ""


@dataclass
class Imported:
    """What an experiment is made of. features: options of FeatureOptions, None for waveforms; tensors: {name in our network: tensor}, all of its state"""

    network: Network
    features: dict | None
    feat_dim: int
    args: dict
    tensors: dict = field(repr=False)
    embed_dim: int
    parameters: int


class Shapes(dict):
    """{name: shape}; Fails with the file's name where one is asked for that is not there. settings: of the network, as the file has them"""

    def __init__(self, path, tensors, settings=None):
        super().__init__({name: tuple(tensor.shape) for name, tensor in tensors.items()})
        self.path, self.settings = path, settings or {}

    def __missing__(self, name):
        raise Fail(f"{self.path}: has no '{name}'; damaged, or of another version")

    def of(self, name, dims):
        """The shape of `name`, which must have so many dimensions."""
        if len(self[name]) != dims or 0 in self[name]:
            raise Fail(f"{self.path}: '{name}' is {_times(self[name])}, where {dims} dimensions were expected; damaged, or of another version")
        return self[name]

    def count(self, pattern):
        """How many numbers <i> there are in names that match the pattern."""
        found = map(_regex(pattern).fullmatch, self)
        return len({match["i"] for match in found if match})


def as_linear(x):
    """A convolution over one value"""
    return x.flatten(1) if x.dim() > 2 and x[0, 0].numel() == 1 else x


def load_peer(name):
    return importlib.import_module(f"pytorch.foreign.{PEERS[name]}").PEER


def check_torch():
    """Fail where torch is too old to read files of others."""
    found = version("torch")
    if tuple(map(int, re.findall(r"\d+", found)[:2])) < SAFE_TORCH:
        raise Fail(f"torch {found} cannot read files of others safely; {'.'.join(map(str, SAFE_TORCH))} or newer is needed, see requirements.txt")


def import_network(path, peer_name, name, more):
    """Read a checkpoint -> Imported.

    name: of the network, "" for the one whose names the file has; more: {argument of our network: value} that overrides what the shapes tell
    """
    import torch

    from pytorch.arguments import typed
    from pytorch.foreign.fronts import features_of
    from pytorch.models import build_model, network_class

    peer = load_peer(peer_name)
    tensors, front, settings = read_weights(path, peer)
    name = _which(path, peer_name, peer, tensors, name)
    network, shapes = peer.networks[name], Shapes(path, tensors, settings)
    feat_dim, args = network.sizes(shapes)
    tensors = network.prepare(shapes, tensors) if network.prepare else tensors
    features = features_of(shapes, front, feat_dim) if front or network.features == {} else network.features
    try:
        args = typed("--model-args", network.model, network_class(network.model), {**args, **more})
        with torch.device("meta"):
            model = build_model(network.model, feat_dim, args)
    except Fail as error:
        raise Fail(f"{path}: {error}") from None
    state = _filled(path, f"{peer_name}'s {name}", _renamed(path, network, args, tensors, f"{peer_name}'s {name}"), model.state_dict())
    return Imported(network, features, feat_dim, args, state, model.embed_dim, sum(weight.numel() for weight in model.parameters()))


def read_weights(path, peer):
    """A peer's checkpoint -> {name: float32 tensor} of the weights that an embedding can depend on; of its front end; the network's settings"""
    import torch

    state = _read(path, peer.classes)
    settings = state.get(peer.settings) if peer.settings and isinstance(state, dict) else {}
    if not isinstance(settings, dict):
        raise Fail(f"{path}: has no '{peer.settings}', the settings of the network; is it this peer's?")
    alone = peer.bare and isinstance(state, dict) and not set(peer.inside) & set(state)
    for key in () if alone else peer.inside:
        if not isinstance(state, dict) or key not in state:
            raise Fail(f"{path}: has no '{key}', below which the weights were expected; is it this peer's?")
        state = state[key]
    if not isinstance(state, dict) or not state or not all(isinstance(name, str) for name in state):
        raise Fail(f"{path}: names with weights were expected; is it this peer's?")
    if all(name.startswith("module.") for name in state):  # trained on several cards
        state = {name[7:]: value for name, value in state.items()}
    weights, front = {}, {}
    for name, value in state.items():
        if not name.endswith(COUNTED) and not _any(peer.dead, name):
            if isinstance(value, dict):
                raise Fail(f"{path}: '{name}' holds names of its own where a weight was expected; is it this peer's?")
            if not isinstance(value, torch.Tensor) or not _is_plain(value):
                raise Fail(f"{path}: '{name}' is no tensor of real numbers; damaged, or of another version")
            value = value.float()
            if not torch.isfinite(value).all():
                raise Fail(f"{path}: '{name}' holds values that are not finite; its training went astray")
            if name.endswith(".running_var") and (value < 0).any():
                raise Fail(f"{path}: '{name}' holds variances below 0; damaged, or of another version")
            prefix = next(filter(name.startswith, peer.fronts), None)
            if prefix is None:
                weights[name.removeprefix(peer.prefix)] = value
            else:
                front[name.removeprefix(prefix)] = value
    return weights, front, settings


def _is_plain(tensor):
    """Whether it is one of real numbers, each of which lies in the file."""
    import torch

    real = tensor.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64) and tensor.device.type == "cpu"
    return real and tensor.layout == torch.strided and not tensor.is_nested and tensor.numel() * tensor.itemsize <= tensor.untyped_storage().nbytes()


def _read(path, classes):
    import torch

    with open(path, "rb"):
        pass  # where it cannot be opened, the system's own words
    standing_in = [(type("Ignored", (Ignored,), {}), name) for name in classes]
    try:
        with torch.serialization.safe_globals(standing_in):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of damaged files, any
        named = re.search(r"GLOBAL (\S+) (?:was not an allowed global|whose module)", str(error))
        if named:
            raise Fail(f"{path}: holds {named[1]}, more than weights: it is not read, for reading it could run code") from None
        if _is_safetensors(path):
            wanted = "a checkpoint of torch (.pt, .ckpt) is expected; an experiment of this project needs no import"
            raise Fail(f"{path}: is a safetensors file; {wanted}") from None
        raise Fail(f"{path}: no checkpoint of torch, cut off, or with more than weights in it") from None


def _is_safetensors(path):
    """Whether it begins as one: the size of a header, and the JSON that this is."""
    with open(path, "rb") as file:
        head, size = file.read(9), file.seek(0, 2)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


class Ignored:
    """Stands in for a class that a checkpoint names; takes whatever it is given and keeps nothing."""

    def __init__(self, *args, **more):
        pass

    def __setstate__(self, state):
        pass


def _which(path, peer_name, peer, tensors, name):
    if name:
        if name not in peer.networks:
            raise Fail(f"--model {name}: {peer_name} has {', '.join(peer.networks)} here")
        return name
    fitting = [
        key
        for key, network in peer.networks.items()
        if all(any(map(_regex(mark).fullmatch, tensors)) for mark in network.marks) and not any(_any(network.lacks, name) for name in tensors)
    ]
    if len(fitting) != 1:
        raise Fail(
            f"{path}: the names in it are of {'several' if fitting else 'none'} of {peer_name}'s {', '.join(fitting or peer.networks)}; name it: --model"
        )
    return fitting[0]


def _renamed(path, network, args, tensors, what):
    """{name: tensor} of theirs -> {name of ours: (name of theirs, tensor)}"""
    names = network.names(args) if callable(network.names) else network.names
    rows = [(_regex(theirs), ours, change[0] if change else None) for theirs, ours, *change in names]
    state, unknown = {}, []
    for name, tensor in tensors.items():
        row = next((row for row in rows if row[0].fullmatch(name)), None)
        if row is None:
            unknown.append(name)
            continue
        pattern, ours, change = row
        new = _written(ours, pattern.fullmatch(name))
        if new in state:
            raise Fail(f"{path}: '{state[new][0]}' and '{name}' are the same weight here; damaged, or of another version")
        state[new] = (name, change(tensor) if change else tensor)
    if unknown:
        raise Fail(f"{path}: {len(unknown)} weights have no place in {what}: {_few(unknown)}; it is of another network or version")
    return state


def _filled(path, what, found, wanted):
    """found: {name: (theirs, tensor)}; wanted: state of our network, shapes only -> {name: tensor}, all of `wanted`"""
    import torch

    counters = {name for name in wanted if name.endswith(COUNTED)}
    left = [theirs for name, (theirs, _) in found.items() if name not in wanted]
    if left:
        raise Fail(f"{path}: {len(left)} weights have no place in {what} of this size: {_few(left)}; give its sizes with --model-args")
    missing = [name for name in wanted if name not in found and name not in counters]
    if missing:
        raise Fail(f"{path}: {len(missing)} weights of {what} are not in it, called here: {_few(missing)}; cut off, or of another version or size")
    for name, (theirs, tensor) in found.items():
        if tensor.shape != wanted[name].shape:
            raise Fail(
                f"{path}: '{theirs}' is {_times(tensor.shape)} here, {_times(wanted[name].shape)} in {what} of this size; give its sizes with --model-args"
            )
    return {name: torch.zeros((), dtype=torch.long) if name in counters else found[name][1] for name in wanted}


def _any(patterns, name):
    return any(_regex(pattern).fullmatch(name) for pattern in patterns)


def _regex(pattern):
    """'layer<i+1>.*' -> a compiled expression with the groups i_1 (the number, 1 more than i) and rest"""
    found = ""
    for piece in re.split(r"(<\w(?:\+\d)?>|\*\*|\*)", pattern):
        if piece.startswith("<"):
            found += f"(?P<{piece[1]}{'_' + piece[3] if piece[2] == '+' else ''}>0|[1-9][0-9]{{0,4}})"
        else:
            found += {"**": "(?P<rest>.*)", "*": r"(?P<rest>[^.]+)"}.get(piece, re.escape(piece))
    return re.compile(found)


def _written(pattern, match):
    """The name of ours for what matched a name of theirs."""
    numbers = {group[0]: int(value) - int(group[2:] or 0) for group, value in match.groupdict().items() if group != "rest"}
    words = re.sub(r"<(\w)(?:\+(\d))?>", lambda piece: str(numbers[piece[1]] + int(piece[2] or 0)), pattern)
    return words.replace("*", match.groupdict().get("rest", ""))


def _few(names):
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _times(shape):
    return " x ".join(map(str, shape)) or "a number"
