"""The losses: what is trained on top of a network, and left behind when it is used. LOSSES says which there are; one is imported when it is built."""

import importlib

from pytorch.arguments import parse_pairs, typed
from pytorch.program import Fail

LOSSES = {  # name: (file, class)
    "softmax": ("classification", "Softmax"),
    "am": ("margin", "AdditiveMargin"),
    "aam": ("margin", "AdditiveAngularMargin"),
    "coco": ("margin", "CongenerousCosine"),
    "centre": ("metric", "Centre"),
    "contrastive": ("metric", "Contrastive"),
    "triplet": ("metric", "Triplet"),
    "cumulative": ("ordinal", "Cumulative"),
    "distance": ("ordinal", "Distance"),
    "regression": ("regression", "Regression"),
    "joint": ("joint", "Joint"),
}


def targets_of(name):
    """What the loss `name` learns of an example: "classes", "numbers" or "both"."""
    return {"regression": "numbers", "joint": "both"}.get(LOSSES[name][0], "classes")


def has_order(name, args):
    """Whether the classes of the loss `name`, with these arguments, have an order: one without examples is then learnt from its neighbours."""
    inner = args.get("classes", "softmax") if name == "joint" else name
    return LOSSES.get(inner, ("", ""))[0] == "ordinal"


def build_loss(name, in_dim, num_classes, args, targets=None):
    """Build the loss `name` for network outputs of in_dim values; args: {argument of its constructor: str or value}.

    targets: all targets of the training data, from which a loss learns class counts or mean and deviation before the first step: (N,) class numbers
    or values, (N, 2) of both for `joint`, whose arguments `classes.x` and `numbers.x` go to its two parts. Returns a Loss (see base.py).
    """
    import torch

    file, cls = LOSSES[name]
    constructor = getattr(importlib.import_module(f"pytorch.losses.{file}"), cls)
    parts = {}
    if name == "joint":
        inner = args.get("classes", "softmax")
        if inner not in LOSSES or LOSSES[inner][0] not in ("classification", "margin", "ordinal"):
            raise Fail(f"--loss-args: classes={inner}: the name of a loss over classes expected")
        for part, of in (("classes", inner), ("numbers", "regression")):
            parts[part] = build_loss(of, in_dim, num_classes, {key.partition(".")[2]: args[key] for key in args if key.startswith(f"{part}.")})
        args = {key: value for key, value in args.items() if key != "classes" and not key.startswith(("classes.", "numbers."))}
    loss = constructor(in_dim, num_classes, **parts, **typed("--loss-args", name, constructor, args))
    if targets is not None:
        loss.fit(torch.as_tensor(targets))
    return loss


def parse_loss_args(text):
    """'scale=30 margin=0.2' -> {'scale': '30', 'margin': '0.2'}"""
    return parse_pairs("--loss-args", text)
