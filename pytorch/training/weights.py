"""Weights and running statistics as a whole: which stand still, what is put back after a bad step, running averages, averages of epochs."""

import copy

import safetensors.torch
import torch

from pytorch.program import Fail


def freeze(network, names):
    """Keep the submodules `names` ('frames', 'frames.0') as they are: no gradients, and running statistics as in evaluation.

    The latter lasts until network.train() is called: call freeze() after each.
    """
    need_parts(network, names)
    for name in names:
        network.get_submodule(name).requires_grad_(False).eval()


def need_parts(network, names):
    """Fail where the network has no submodule of one of these names."""
    known = [child for child, _ in network.named_modules() if child]
    for name in names:
        if name not in known:
            raise Fail(f"--freeze: the network has no part '{name}'; it has {', '.join(child for child in known if child.count('.') < 2)}")


class Buffers:
    """The buffers of a network (running statistics): kept before a step, put back after a bad one.

    They become views of one tensor for each type, so that either takes an operation or two and nobody waits for a card to say whether the step was good.
    """

    def __init__(self, network):
        places = {}  # of each buffer: the modules and names that have it
        for module in network.modules():
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    places.setdefault(id(buffer), (buffer, []))[1].append((module, name))
        self._now = []
        for dtype in sorted({buffer.dtype for buffer, _ in places.values()}, key=str):
            of_type = [(buffer, owners) for buffer, owners in places.values() if buffer.dtype == dtype]
            flat = torch.cat([buffer.flatten() for buffer, _ in of_type])
            for part, (buffer, owners) in zip(flat.split([buffer.numel() for buffer, _ in of_type]), of_type, strict=True):
                for module, name in owners:
                    module._buffers[name] = part.view(buffer.shape).data  # without it autograd takes a change of one for a change of all
            self._now.append(flat)
        self._kept = [flat.clone() for flat in self._now]

    def keep(self):
        for kept, flat in zip(self._kept, self._now, strict=True):
            kept.copy_(flat)

    def restore_unless(self, good):
        """good: () bool tensor on the buffers' device"""
        for kept, flat in zip(self._kept, self._now, strict=True):
            torch.where(good, flat, kept, out=flat)


class RunningAverage:
    """A copy of a network that follows it (EMA): after step t it is d * itself + (1 - d) * network, d = min(decay, (1 + t) / (10 + t)).

    The first steps count for more so that the initial weights are soon forgotten. Running statistics are averaged too, whole numbers taken over.
    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992; d as in TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, network, decay):
        self.network, self.decay = copy.deepcopy(network).eval().requires_grad_(False), decay

    @torch.no_grad()
    def follow(self, network, step, good):
        """step: updates done before this one; good: () bool tensor, False where the step was skipped"""
        own, others = list(self.network.state_dict().values()), list(network.state_dict().values())
        real = [place for place, tensor in enumerate(own) if tensor.is_floating_point()]
        gaps = torch._foreach_sub([others[place] for place in real], [own[place] for place in real])
        torch._foreach_mul_(gaps, good * (1 - min(self.decay, (1 + step) / (10 + step))))
        torch._foreach_add_([own[place] for place in real], gaps)
        for place in set(range(len(own))) - set(real):
            own[place].copy_(others[place])


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
