"""A network as a table: what each layer gives, costs and sees. Worked out on torch's meta device, where numbers have shapes but no values."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pytorch.models.pooling import POOLINGS

LONG = 403603  # frames or samples: a time axis is then longer than any other, and known by its length


@dataclass
class Row:
    """shape: of the output, without the batch; field: frames (samples of a waveform) that one value of it sees, before what comes from all of them
    whole: it sees the whole utterance, through a gate, a norm, attention or pooling; pooled: there is no time axis any more"""

    name: str
    kind: str
    shape: tuple
    parameters: int
    macs: int
    field: int
    whole: bool
    pooled: bool


def describe(model, feat_dim, frames):
    """-> list of Row, one a layer, in the order in which they are used. model: its weights become shapes; frames: of the utterance (samples of a waveform)"""
    model = model.to("meta").eval()
    seen, fields = _seen(model, feat_dim, frames), _seen(model, feat_dim, LONG)
    macs = _macs(model, feat_dim, frames)
    rows = []
    for name, module in _layers(model, "", seen):
        parameters = sum(weight.numel() for weight in module.parameters())
        shape, field = seen[name][1], fields[name][2]
        if parameters or macs.get(name) or isinstance(module, tuple(POOLINGS.values())):
            rows.append(Row(name, type(module).__name__, shape, parameters, macs.get(name, 0), field.size, field.whole, field.pooled))
    return sorted(rows, key=lambda row: seen[row.name][0])


def _layers(module, prefix, seen):
    """Yield name and module of the rows: the children that are called; those of lists, and of sequences of several layers, instead of these."""
    for name, child in module.named_children():
        if prefix + name not in seen or (isinstance(child, nn.Sequential) and _is_several(child)):
            yield from _layers(child, f"{prefix}{name}.", seen)
        else:
            yield prefix + name, child


def _is_several(sequence):
    return any(list(inner.children()) for inner in sequence) or sum(isinstance(inner, nn.Linear | nn.Conv1d | nn.Conv2d) for inner in sequence) > 1


class _Embed(nn.Module):
    """Calls the network as a module, so that its layers are counted by their names in it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model.embed(x)


def _macs(model, feat_dim, frames):
    """{layer: multiplications with addition in its convolutions, matrices and attention}; '' is all"""
    counter = FlopCounterMode(display=False, depth=None)
    with counter:
        _Embed(model)(torch.empty(1, frames, feat_dim, device="meta"))
    counts = {name.removeprefix("_Embed.model").removeprefix("."): sum(of.values()) // 2 for name, of in counter.get_flop_counts().items()}
    return {**counts, "": counts["Global"]}


def total_macs(model, feat_dim, frames):
    """model: its weights become shapes"""
    return _macs(model.to("meta").eval(), feat_dim, frames)[""]


# ---- what a value sees


@dataclass(frozen=True)
class Field:
    """size: places of the input that a value sees; step: how many the next value is further; time: length of the time axis"""

    size: int
    step: int
    time: int
    whole: bool = False
    pooled: bool = False


class Seen(torch.Tensor):
    """A tensor that knows its Field, and hands it on to what is computed from it."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = super().__torch_function__(func, types, args, kwargs)
        inputs = [arg for arg in _tensors([*args, *kwargs.values()]) if hasattr(arg, "field")]
        if inputs:
            for one in _tensors([out]):
                one.field = _field(func.__name__, inputs, one, args, kwargs)
        return out


def _tensors(values):
    for value in values:
        if isinstance(value, Seen):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


WINDOWS = ("conv1d", "conv2d", "max_pool1d", "max_pool2d")
WHOLE = ("instance_norm", "group_norm", "scaled_dot_product_attention", "multi_head_attention_forward")
CUT = ("pad", "__getitem__", "repeat_interleave")  # the time axis stays where it is, and changes its length
RESHAPED = ("unflatten", "view", "reshape", "flatten")


def _field(name, inputs, out, args, kwargs):
    """The Field of `out`, which the function `name` makes of `inputs`. The time axis is known by its length."""
    alive = [one.field for one in inputs if not one.field.pooled] or [one.field for one in inputs]
    size, step, time = (max(getattr(field, what) for field in alive) for what in ("size", "step", "time"))
    whole, pooled = any(one.field.whole for one in inputs), all(one.field.pooled for one in inputs)
    if pooled:
        return Field(size, step, time, True, True)
    if name in WINDOWS:
        kernel, stride, dilation = _window(name, args, kwargs)
        return Field(size + (kernel - 1) * dilation * step, step * stride, out.shape[-1], whole)
    if name in CUT and time in inputs[0].shape and out.dim() == inputs[0].dim():
        new = out.shape[inputs[0].shape.index(time)]
        return Field(size, step * time // new if name == "repeat_interleave" else step, new, whole)
    for one in inputs:
        if time in one.shape and time not in out.shape and name not in RESHAPED:  # summed away
            return Field(size, step, time, True, True)
        if name == "softmax" and one.shape[args[1] if len(args) > 1 else kwargs["dim"]] == time:
            whole = True
    return Field(size, step, time, whole or name in WHOLE)


def _window(name, args, kwargs):
    """Kernel, stride and dilation along the last axis."""
    if name.startswith("conv"):
        names = ("stride", "padding", "dilation")
        given = dict.fromkeys(names, 1) | dict(zip(names, args[3:], strict=False)) | kwargs
        return args[1].shape[-1], _last(given["stride"]), _last(given["dilation"])
    kernel = _last(args[1] if len(args) > 1 else kwargs["kernel_size"])
    return kernel, _last(args[2] if len(args) > 2 else kwargs.get("stride")) or kernel, 1


def _last(value):
    return value[-1] if isinstance(value, list | tuple) else value


def _seen(model, feat_dim, frames):
    """{layer: (place in the order, shape of its output, Field of it)} of all modules that are called."""
    found, names, handles = {}, {module: name for name, module in model.named_modules()}, []

    def note(module, args, output):
        one = next(iter(_tensors([output])), None)
        if one is not None:
            found.setdefault(names[module], (len(found), tuple(one.shape[1:]), one.field))

    handles = [module.register_forward_hook(note) for module in names]
    x = torch.empty(1, frames, feat_dim, device="meta").as_subclass(Seen)
    x.field = Field(1, 1, frames)
    model.embed(x)
    for handle in handles:
        handle.remove()
    return found
