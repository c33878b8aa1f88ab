"""One file in place of an experiment directory: a network, what it is given, its weights, and what decisions are made with. Light to import.

A safetensors file, with JSON in its metadata and a checksum over all of it. utils/package_model.py writes it, whatever takes an experiment here reads it.
"""

import hashlib
import json
from pathlib import Path

from pytorch.experiment import Experiment
from pytorch.files import read_json, sha256, whole_file
from pytorch.program import Fail

PACKAGE, GALLERY = "embark extractor 1", "embark gallery 1"
_MOST_HEADER = 100 << 20  # bytes, as safetensors itself has it


def open_experiment(path):
    """-> an Experiment: of a directory, or of a file of utils/package_model.py"""
    path = Path(path)
    return Package(path) if path.is_file() else Experiment(path)


def identity(experiment, epoch):
    """What tells one extractor from another, for done-markers and galleries: the same of a directory and of the file that was made of it."""
    if isinstance(experiment, Package):
        return experiment.facts["identity"]
    return {"weights": sha256(experiment.weights(epoch)), "model.json": sha256(experiment.path / "model.json")}


def seed_of(experiment):
    if isinstance(experiment, Package):
        return experiment.facts["seed"]
    return read_json(experiment.path / "opts.json")["options"]["seed"]


class Package(Experiment):
    """A file of utils/package_model.py.

    facts: {settings, epoch, seed, identity, layer, vad, backend, kind, calibration, threshold, commit}; settings as those of an Experiment
    """

    def __init__(self, path):
        self.path = Path(path)
        self.facts = read_facts(self.path, PACKAGE, "no extractor of utils/package_model.py; give one, or an experiment directory")
        self.settings = self.facts["settings"]

    def epoch(self, which):
        if which not in ("best", str(self.facts["epoch"])):
            raise Fail(f"{self.path}: holds epoch {self.facts['epoch']} alone, not '{which}'; leave --epoch out, or name the experiment directory")
        return self.facts["epoch"]

    def weights(self, epoch):
        return self.path

    def load_network(self, epoch, device):
        raise Fail(f"{self.path}: holds no loss, so no scores of classes; name the experiment directory")

    def backend(self):
        """-> Backend, None where it holds none"""
        if self.facts["backend"] is None:
            return None
        from pytorch.backend.folder import Backend
        from pytorch.backend.plda import Plda

        found = {name.removeprefix("backend."): array for name, array in read_tensors(self.path).items() if name.startswith("backend.")}
        plda = Plda(*(found[f"plda.{name}"] for name in ("mean", "transform", "psi"))) if "plda.psi" in found else None
        held = self.facts["backend"]
        return Backend(found.get("mean"), found.get("transform"), held["length_norm"], plda, self.path, held.get("digests"), held.get("network"))

    def calibration(self):
        """-> Calibration, None where it holds none"""
        if self.facts["calibration"] is None:
            return None
        from pytorch.backend.calibration import Calibration

        return Calibration(**self.facts["calibration"])


# ---- safetensors files with facts and a checksum


def write_checked(path, tensors, facts, form):
    """tensors: {name: array}; facts: a JSON object; form: what kind of file it is. The file appears whole or not at all."""
    import safetensors.numpy

    text = json.dumps(facts, sort_keys=True)
    header, data = _parts(safetensors.numpy.save(tensors), path)
    metadata = {"format": form, "facts": text, "sha256": _digest(form, text, header, data)}
    with whole_file(path, "wb") as file:
        file.write(safetensors.numpy.save(tensors, metadata))


def read_facts(path, form, otherwise):
    """The facts of a file of write_checked(), once its checksum was found to be right. otherwise: what to say of a file that is something else"""
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise Fail(f"{path}: no such file") from None
    header, data = _parts(content, path, otherwise)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.get("format") != form or not isinstance(metadata.get("facts"), str):
        raise Fail(f"{path}: {otherwise}")
    if metadata.get("sha256") != _digest(form, metadata["facts"], header, data):
        raise Fail(f"{path}: damaged, its checksum is another; make or copy it anew")
    return json.loads(metadata["facts"])


def read_tensors(path):
    """{name: array} of a file whose facts were read."""
    import safetensors.numpy

    return safetensors.numpy.load_file(path)


def _parts(content, path, otherwise="no safetensors file"):
    """-> the header, and the bytes behind it"""
    size = int.from_bytes(content[:8], "little")
    try:
        if len(content) < 10 or size > min(_MOST_HEADER, len(content) - 8):
            raise ValueError
        header = json.loads(content[8 : 8 + size])
        if not isinstance(header, dict):
            raise ValueError
    except ValueError:
        raise Fail(f"{path}: {otherwise}") from None
    return header, memoryview(content)[8 + size :]


def _digest(form, facts, header, data):
    digest = hashlib.sha256(json.dumps([form, facts, header], sort_keys=True).encode())
    digest.update(data)
    return digest.hexdigest()
