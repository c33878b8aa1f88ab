"""Weights as a whole: which stand still, their running average, the average of several epochs."""

import safetensors.torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pytorch.program import Fail


def freeze(network, names):
    """Keep the submodules `names` ('frames', 'frames.0') as they are: no gradients, and running statistics as in evaluation.

    The latter lasts until network.train() is called: call freeze() after each.
    """
    for name in names:
        known = [child for child, _ in network.named_modules()]
        if name not in known or not name:
            raise Fail(f"--freeze: the network has no part '{name}'; it has {', '.join(child for child in known if child and child.count('.') < 2)}")
        network.get_submodule(name).requires_grad_(False).eval()


def running_average(model, decay):
    """A module whose .module follows `model`: after each step, .update_parameters(model) makes it decay * itself + (1 - decay) * model.

    The first update copies. Its state_dict() is what a resumed training needs.
    """
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def average_epochs(paths):
    """The mean of the tensors of several files of weights, computed in double precision -> {name: tensor}; whole numbers are those of the last.

    paths: safetensors files of one network, e.g. exp/x/epoch-021.safetensors to epoch-030
    """
    sums, last = {}, {}
    for path in paths:
        try:
            last = safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise Fail(f"{path}: damaged ({error}); leave this epoch out of the average") from None
        if sums and {name: tensor.shape for name, tensor in last.items()} != {name: tensor.shape for name, tensor in sums.items()}:
            raise Fail(f"{path}: the weights of another network than {paths[0]}; average epochs of one experiment")
        for name, tensor in last.items():
            sums[name] = tensor.double() + sums.get(name, 0)
    return {name: (sums[name] / len(paths)).to(tensor.dtype) if tensor.is_floating_point() else tensor for name, tensor in last.items()}
