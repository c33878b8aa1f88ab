"""Experiment directories with untrained networks, and steps run on them inside the test's process."""

import contextlib
import importlib.util
import io
import sys
from functools import cache

import pytest
import torch

from pytorch.experiment import save_tensors
from pytorch.files import write_json
from pytorch.models import build_model
from pytorch.program import ROOT

XVECTOR = {"frame_dim": "8", "stats_dim": "8", "embed_dim": "6"}


def write_experiment(folder, features, model="xvector", args=XVECTOR, feat_dim=24, cmn="mean", voiced=True, epochs=2, seed=1, **more):
    """features: settings as in feats.json; more: of model.json. The weights are drawn by `seed` and the number of the epoch; the last is the best."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"model": model, "args": args, "feat_dim": feat_dim, "features": features, "cmn": cmn, "voiced": voiced, "loss": {"name": "aam"}, "classes": []}
    write_json(folder / "model.json", settings | more)
    write_json(folder / "opts.json", {"options": {"seed": seed}})
    for epoch in range(1, epochs + 1):
        with torch.random.fork_rng():
            torch.manual_seed(100 * seed + epoch)
            network = build_model(model, feat_dim, args)
        save_tensors(folder / f"epoch-{epoch:03d}.safetensors", {f"model.{name}": tensor for name, tensor in network.state_dict().items()})
    for name in ("best", "final"):
        (folder / name).write_text(f"{epochs}\n")
    return folder


@cache
def step(name):
    """The module that steps/<name>.py is."""
    spec = importlib.util.spec_from_file_location(f"steps_{name}", ROOT / f"steps/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(name, *words):
    """Run steps/<name>.py inside the test's process, which spares the start of torch -> what it printed. Fails are raised."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(sys, "argv", [str(ROOT / f"steps/{name}.py"), *map(str, words)])
        step(name).main()
    return out.getvalue()
