"""The processes that train one network together: one for each card, started by torchrun; one alone without."""

import contextlib
import json
import os
import signal
from datetime import timedelta

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from pytorch.launch import STOPS
from pytorch.marker import differences
from pytorch.program import Fail

WAIT = timedelta(minutes=30)  # for a process that validates, or reads a slow disk; one that died is noticed at once


class Processes:
    """This process among those of the training. rank: 0 writes the files; world: how many there are"""

    def __init__(self):
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))

    @property
    def first(self):
        return self.rank == 0

    def device(self, device):
        """The card of this process where each has its own -> torch.device"""
        local = int(os.environ.get("LOCAL_RANK", 0))
        if self.world == 1 or device.type != "cuda":
            return device
        if local >= torch.cuda.device_count():
            raise Fail(f"process {self.rank} of {self.world} has no card of its own: this machine has {torch.cuda.device_count()}; start one process a card")
        torch.cuda.set_device(local)  # else each would take memory of the first card, too
        return torch.device("cuda", local)

    def join(self, device, asked):
        """Meet the others; a no-op for one alone. asked: of the Marker; fails where this process was asked for something else, or reads other data."""
        self._device = device
        if self.world == 1:
            return
        before = [signal.signal(number, signal.SIG_DFL) for number in STOPS]  # nothing is under way; a handler would be heard after the wait alone
        if device.type == "cuda":
            distributed.init_process_group("nccl", timeout=WAIT, device_id=device)
        else:
            distributed.init_process_group("gloo", timeout=WAIT)
        for number, handler in zip(STOPS, before, strict=True):
            signal.signal(number, handler)
        if changes := differences(json.loads(self._text_of_first(json.dumps(asked))), asked):
            raise Fail(f"process {self.rank + 1} of {self.world} sees something else than the first: {'; '.join(changes)}; give all machines the same data")

    def leave(self):
        """Part in peace; after a failure the others are not waited for."""
        if self.world > 1:
            distributed.destroy_process_group()

    def wrap(self, network):
        """The network as it is called in training: gradients become means over all processes while the backward pass still runs."""
        if self.world == 1:
            return network
        # their sparse gradients are averaged by optimizers.average_rows
        sampled = [f"{name}.weight" for name, module in network.named_modules() if getattr(module, "sampled_classes", 0)]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(network, sampled)
        return DistributedDataParallel(network, gradient_as_bucket_view=True)

    def without_averaging(self, network):
        """A context for all parts of a batch but the last."""
        return network.no_sync() if self.world > 1 else contextlib.nullcontext()

    def of_first(self, numbers):
        """Numbers as the first process has them -> list of floats"""
        return self._from_first(torch.tensor(numbers, dtype=torch.float64)).tolist()

    def _text_of_first(self, text):
        coded = torch.tensor(list(text.encode()), dtype=torch.uint8)
        size = int(self.of_first([len(coded)])[0])
        return bytes(self._from_first(coded if self.first else torch.zeros(size, dtype=torch.uint8)).tolist()).decode()

    def _from_first(self, tensor):
        if self.world > 1:
            tensor = tensor.to(self._device)
            distributed.broadcast(tensor, 0)
        return tensor

    def sum(self, tensor):
        return self._reduced(tensor, "SUM")

    def largest(self, tensor):
        return self._reduced(tensor, "MAX")

    def _reduced(self, tensor, how):
        if self.world > 1:
            tensor = tensor.clone()
            distributed.all_reduce(tensor, getattr(distributed.ReduceOp, how))
        return tensor
