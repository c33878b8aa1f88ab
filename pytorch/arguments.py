"""Arguments of networks and losses on the command line: 'name=value name=value', each with the type of its default."""

import inspect
import math
import typing

from pytorch.program import Fail

LARGEST, LEAST, MOST = 10**7, 1e-30, 1e6  # of whole numbers; of others, but for 0: what is beyond is no size or share of anything, and float32 may not hold it


def parse_pairs(option, text):
    """'width=128 stats=true' -> {'width': '128', 'stats': 'true'}; option: its name, for messages"""
    pairs = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if not equals or not name or not value:
            raise Fail(f"{option}: name=value expected, not '{word}'")
        if name in pairs:
            raise Fail(f"{option}: {name} stands twice")
        pairs[name] = value
    return pairs


def typed(option, name, constructor, args):
    """Every argument with a default of `constructor`, which builds what is called `name`: the values in args, turned into the type of the default.

    args: {argument: str or value}. Numbers are not negative and of a size that can be meant, whole ones 1 or more unless the default is 0; a Literal is one
    of its words.
    """
    parameters = {p.name: p for p in inspect.signature(constructor).parameters.values() if p.default is not p.empty}
    values = {key: p.default for key, p in parameters.items()}
    known = ", ".join(shown(key, value) for key, value in values.items())
    for key, value in args.items():
        if key not in parameters:
            raise Fail(f"{option}: {name} has no argument '{key}'; it has {known or 'none'}")
        default, words = parameters[key].default, typing.get_args(parameters[key].annotation)
        kind = type(default)
        try:
            value = value if isinstance(value, kind) else {"true": True, "false": False}[value] if kind is bool else kind(value)
        except (ValueError, KeyError):
            raise Fail(f"{option}: {key}={value}: {kind.__name__} expected; {name} has {known}") from None
        if words and value not in words:
            raise Fail(f"{option}: {key}={value}: {', '.join(words[:-1])} or {words[-1]} expected")
        if kind is int and value < min(default, 1):
            raise Fail(f"{option}: {key}={value}: {min(default, 1)} or more expected")
        if kind is float and not 0 <= value < math.inf:
            raise Fail(f"{option}: {key}={value}: a number, 0 or more, expected")
        if kind is int and value > LARGEST:
            raise Fail(f"{option}: {key}={value}: {LARGEST} at most expected")
        if kind is float and value and not LEAST <= value <= MOST:
            raise Fail(f"{option}: {key}={value}: 0, or a number from {LEAST:g} to {MOST:.0f}, expected")
        values[key] = value
    return values


def need_at_most(option, limit, **values):
    """Fail where one of the arguments is above limit."""
    for name, value in values.items():
        if value > limit:
            raise Fail(f"{option}: {name}={value:g}: at most {limit:g} expected")


def need_above_zero(option, **values):
    """Fail where one of the arguments is 0."""
    for name, value in values.items():
        if value == 0:
            raise Fail(f"{option}: {name}=0: a number above 0 expected")


def shown(name, value):
    """An argument as it is given on the command line: `stats=true`"""
    return f"{name}={str(value).lower() if isinstance(value, bool) else value}"
