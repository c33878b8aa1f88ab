"""Experiment directories: exp/x/{model.json, epoch-NNN.safetensors, best, final, …}, everything an extractor needs to know of itself."""

import json
import re
from pathlib import Path

from pytorch.files import read_json, whole_file
from pytorch.program import Fail


class Experiment:
    """A trained network's folder.

    settings (model.json): {model, args, feat_dim, features, cmn, voiced, loss, classes, …}
    """

    def __init__(self, path):
        self.path = Path(path)
        if not (self.path / "model.json").is_file():
            raise Fail(f"{self.path}: no experiment (model.json is missing); train one with steps/train.py")
        self.settings = read_json(self.path / "model.json")

    def epoch(self, which):
        """The number of the epoch `which`: best, final or a number. `best` is final where there was no validation."""
        if which == "best" and not (self.path / "best").exists() and (self.path / "final").exists():
            which = "final"
        if which in ("best", "final"):
            if not (self.path / "final").exists():
                raise Fail(f"{self.path}: the training is not finished; go on with it, or name an epoch: --epoch N")
            which = (self.path / which).read_text().strip()
        if not re.fullmatch(r"[0-9]{1,9}", which):
            raise Fail(f"{self.path}: '{which}' is no epoch; best, final or a number is expected")
        if not self.weights(int(which)).exists():
            there = ", ".join(str(number) for number in self.epochs()) or "none"
            raise Fail(f"{self.path}: no weights of epoch {which}; there are {there}")
        return int(which)

    def weights(self, epoch):
        return self.path / f"epoch-{epoch:03d}.safetensors"

    def epochs(self):
        return sorted(int(re.search(r"\d+", path.name)[0]) for path in self.path.glob("epoch-*.safetensors"))

    def check_features(self, settings, where):
        """Fail where features with other settings than the network's are offered to it."""
        own = self.settings["features"]
        settings = settings if isinstance(settings, dict) else {}
        for name in {**own, **settings}:
            if own.get(name) != settings.get(name):
                here, there = (json.dumps(side.get(name)).strip('"') for side in (settings, own))
                raise Fail(f"{where}: made with --{name.replace('_', '-')} {here}, {self.path} was trained on {there}; make the features anew")

    def load(self, epoch, device):
        """-> the network with the weights of an epoch, in evaluation mode"""
        import safetensors.torch

        from pytorch.models import build_model

        model = build_model(self.settings["model"], self.settings["feat_dim"], self.settings["args"])
        try:
            tensors = safetensors.torch.load_file(self.weights(epoch))
            model.load_state_dict({name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")})
        except Exception as error:
            raise Fail(f"{self.weights(epoch)}: damaged, or of another network ({str(error).splitlines()[0]})") from None
        return model.eval().to(device)


def best_epoch(rows):
    """The epoch with the lowest validation EER, the latest of equals; the last epoch without validation."""
    return int(min(rows, key=lambda row: (row["valid_eer"] or 0.0, -row["epoch"]))["epoch"])


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
