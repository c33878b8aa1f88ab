"""The networks: one file each. MODELS says which there are; a network is imported when it is built."""

import importlib
import inspect

from pytorch.program import Fail

MODELS = {  # name: (file, class)
    "xvector": ("xvector", "XVector"),
}


def build_model(name, feat_dim, args):
    """Build the network `name` for features of `feat_dim` columns; args: {argument of its constructor: str or value}."""
    file, cls = MODELS[name]
    constructor = getattr(importlib.import_module(f"pytorch.models.{file}"), cls)
    return constructor(feat_dim, **_typed(name, constructor, args))


def parse_model_args(text):
    """'width=128 stats=true' -> {'width': '128', 'stats': 'true'}"""
    pairs = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if not equals or not name or not value:
            raise Fail(f"--model-args: name=value expected, not '{word}'")
        if name in pairs:
            raise Fail(f"--model-args: {name} stands twice")
        pairs[name] = value
    return pairs


def _typed(name, constructor, args):
    """Every argument of the constructor with its value, words turned into the type of the default."""
    defaults = {p.name: p.default for p in inspect.signature(constructor).parameters.values() if p.default is not p.empty}
    known = ", ".join(f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in defaults.items())
    values = dict(defaults)
    for key, value in args.items():
        if key not in defaults:
            raise Fail(f"--model-args: {name} has no argument '{key}'; it has {known}")
        kind = type(defaults[key])
        try:
            values[key] = value if isinstance(value, kind) else {"true": True, "false": False}[value] if kind is bool else kind(value)
        except (ValueError, KeyError):
            raise Fail(f"--model-args: {key}={value}: {kind.__name__} expected; {name} has {known}") from None
        if kind is int and values[key] < 1:
            raise Fail(f"--model-args: {key}={value}: 1 or more expected")
    return values
