"""Experiment directories: exp/x/{model.json, epoch-NNN.safetensors, average.safetensors, best, final, …}, all an extractor needs to know of itself."""

import json
import re
from pathlib import Path

from pytorch.files import read_json, sha256, whole_file
from pytorch.program import Fail

VAD = ("vad_energy_threshold", "vad_energy_mean_scale", "vad_frames_context", "vad_proportion_threshold")  # of vad.json, as energy_vad() takes them


class Experiment:
    """A trained network's folder.

    settings (model.json): {model, args, feat_dim, features, cmn, voiced, vad, loss, targets, classes, …}
    vad: the vad.json of the training data, where the network takes voiced frames alone
    """

    def __init__(self, path):
        self.path = Path(path)
        if self.path.is_file():
            raise Fail(f"{self.path}: a file; where it is a packaged extractor, name the experiment directory that it was made of")
        if not (self.path / "model.json").is_file():
            raise Fail(f"{self.path}: no experiment (model.json is missing); train one with steps/train.py")
        self.settings = read_json(self.path / "model.json")

    def epoch(self, which):
        """The epoch `which` -> its number, or 'average'.

        which: best (final, where there was no validation), final, average, a number, or the folder of a validation by steps/validate.py
        """
        if (Path(which) / "validate.json").is_file():
            found = read_json(Path(which) / "validate.json")
            epoch = self.epoch(str(found["epoch"]))
            if sha256(self.weights(epoch)) != found["weights_sha256"]:
                raise Fail(f"{which}: measured on other weights than those of {self.path}; run steps/validate.py anew")
            return epoch
        if which == "best" and not (self.path / "best").exists() and (self.path / "final").exists():
            which = "final"
        if which in ("best", "final"):
            if not (self.path / "final").exists():
                raise Fail(f"{self.path}: the training is not finished; go on with it, or name an epoch: --epoch N")
            which = (self.path / which).read_text().strip()
        if which == "average":
            if not self.weights(which).exists():
                raise Fail(f"{self.path}: no average of epochs; train with --average-last N")
            return which
        if not re.fullmatch(r"[0-9]{1,9}", which):
            expected = "best, final, average, a number, or the folder of a validation (validate_NAME of steps/validate.py)"
            raise Fail(f"{self.path}: '{which}' is no epoch; {expected} is expected")
        if not self.weights(int(which)).exists():
            there = ", ".join(str(number) for number in self.epochs()) or "none"
            raise Fail(f"{self.path}: no weights of epoch {which}; there are {there}")
        return int(which)

    def weights(self, epoch):
        """epoch: what epoch() gives"""
        return self.path / ("average.safetensors" if epoch == "average" else f"epoch-{epoch:03d}.safetensors")

    def epochs(self):
        return sorted(int(re.search(r"\d+", path.name)[0]) for path in self.path.glob("epoch-*.safetensors"))

    def check_features(self, settings, where):
        """Fail where features with other settings than the network's are offered to it."""
        own = self.settings["features"]
        settings = settings if isinstance(settings, dict) else {}
        for name in {**own, **settings}:
            if own.get(name) != settings.get(name):
                here, there = (json.dumps(side.get(name)).strip('"') for side in (settings, own))
                remedy = "make the features anew, or leave feats.scp out: they are then computed from wav.scp"
                raise Fail(f"{where}: made with --{name.replace('_', '-')} {here}, {self.path} was trained on {there}; {remedy}")

    def check_decisions(self, settings, where):
        """Fail where voiced frames were found otherwise than those that the network was trained on, as far as both say how."""
        own = self.settings.get("vad")
        for name in VAD:
            here, there = ((side if isinstance(side, dict) else {}).get(name) for side in (settings, own))
            if None not in (here, there) and here != there:
                what = f"decided with --{name.replace('_', '-')} {here}, {self.path} was trained on {there}"
                raise Fail(f"{where}: {what}; decide anew as there, with steps/compute_vad.py --overwrite true")

    def load(self, epoch, device):
        """-> the model with the weights of an epoch, in evaluation mode"""
        from pytorch.models import build_model

        model = build_model(self.settings["model"], self.settings["feat_dim"], self.settings["args"])
        return self._filled(model, epoch, "model.").to(device)

    def load_network(self, epoch, device):
        """-> the Network of model and loss with the weights of an epoch, in evaluation mode, so that classes and numbers can be predicted"""
        from pytorch.losses import build_loss
        from pytorch.models import build_model
        from pytorch.network import Network

        model = build_model(self.settings["model"], self.settings["feat_dim"], self.settings["args"])
        loss = dict(self.settings["loss"] or {})
        if "in_dim" not in loss:
            raise Fail(f"{self.path}: the weights of its loss were not kept; an experiment trained here has them")
        in_dim, name = loss.pop("in_dim"), loss.pop("name")
        network = Network(model, build_loss(name, in_dim, len(self.settings["classes"]), loss))
        return self._filled(network, epoch, "").to(device)

    def _filled(self, module, epoch, prefix):
        import safetensors.torch

        try:
            tensors = safetensors.torch.load_file(self.weights(epoch))
            module.load_state_dict({name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)})
        except Exception as error:
            raise Fail(f"{self.weights(epoch)}: damaged, or of another network ({str(error).splitlines()[0]})") from None
        return module.eval()


def best_epoch(rows, column=None, better="lower"):
    """The epoch with the best figure in `column` of rows {epoch: …, column: figure or None}, the latest of equals; the last where none has one."""
    judged = [row for row in rows if column and row.get(column) is not None]
    if not judged:
        return int(rows[-1]["epoch"])
    sign = 1 if better == "lower" else -1
    return int(min(judged, key=lambda row: (sign * row[column], -row["epoch"]))["epoch"])


def save_tensors(path, tensors, metadata=None):
    """Write {name: tensor} as safetensors, whole or not at all; metadata: a JSON value stored in the same file."""
    import safetensors.torch

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = safetensors.torch.save(plain, {"state": json.dumps(metadata)} if metadata is not None else None)
    with whole_file(path, "wb") as file:
        file.write(data)


def load_tensors(path):
    """-> {name: tensor}, the metadata saved with them"""
    import safetensors

    try:
        with safetensors.safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads((file.metadata() or {}).get("state", "null"))  # noqa: SIM118
    except (safetensors.SafetensorError, ValueError) as error:
        raise Fail(f"{path}: damaged ({error}); remove it to go on from the beginning") from None
