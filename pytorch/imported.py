"""Experiment directories of networks that were trained elsewhere."""

import sys
from importlib.metadata import version

from pytorch.experiment import save_tensors
from pytorch.files import whole_file, write_json
from pytorch.program import commit


def write_imported(folder, marker, settings, tensors):
    """Write an experiment of one epoch that steps/extract.py takes, and finish the marker.

    settings: model.json without the commit; tensors: {name in the network: tensor}, all of its state; marker: a Marker, claimed
    """
    outputs = [folder / name for name in ("opts.json", "model.json", "epoch-001.safetensors", "best", "final")]
    marker.begin()
    for old in (folder / "best", folder / "final", folder / "train.tsv", *folder.glob("epoch-*.safetensors")):
        old.unlink(missing_ok=True)
    made_by = {"commit": commit(), "python": sys.version.split()[0], "torch": version("torch")}
    write_json(folder / "opts.json", {**made_by, **marker.asked})
    write_json(folder / "model.json", {**settings, "commit": commit()})
    save_tensors(folder / "epoch-001.safetensors", {f"model.{name}": tensor for name, tensor in tensors.items()})
    for name in ("best", "final"):
        with whole_file(folder / name) as file:
            file.write("1\n")
    marker.finish(outputs)
