"""The state of a training on disk: everything that makes a resumed run equal to an uninterrupted one, in one safetensors file."""

from pytorch.experiment import load_tensors, save_tensors
from pytorch.program import Fail


def save_state(path, network, optimizer, progress, average=None):
    """network: an nn.Module of model and loss; progress: a JSON value (epoch, step, sums, rows of train.tsv, …); average: a model that follows, or None"""
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    plain = {}
    for number, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if hasattr(value, "shape"):
                tensors[f"optimizer.{number}.{name}"] = value
            elif value is not None:
                plain[f"{number}.{name}"] = value
    save_tensors(path, tensors, {"progress": progress, "optimizer": plain})


def load_state(path, network, optimizer, average=None):
    """Put the state back into network, optimizer and average -> progress"""
    tensors, metadata = load_tensors(path)
    try:
        if average is not None:
            average.load_state_dict(_below("average.", tensors))
        return _put_back(tensors, metadata, network, optimizer)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise Fail(f"{path}: the state of another network or program ({reason}); remove it to go on from the beginning") from None


def _put_back(tensors, metadata, network, optimizer):
    network.load_state_dict(_below("network.", tensors))
    state = {}
    for key, value in [*metadata["optimizer"].items(), *_below("optimizer.", tensors).items()]:
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return metadata["progress"]


def _below(prefix, tensors):
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
