"""Run by test_parallel.py under torchrun: every network, narrow, and every loss, are trained for two steps by the processes together.

parallel_networks.py FOLDER: writes FOLDER/NAME.RANK for each that came to its end: `same` or the weights that differ from those of the first process.
"""

import os
import sys
from argparse import Namespace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).parent)]

VARIANTS = {  # of networks that build other layers when asked to, beside those of narrow.py as they are
    "xvector segment7=false": {"segment7": False},
    "xvector output=segment7": {"output": "segment7"},
    "xvector_wide output=fc2": {"output": "fc2"},
    "etdnn segment12=false": {"segment12": False},
    "ftdnn segment12=false": {"segment12": False},
    "sinctdnn segment7=true": {"segment7": True, "scale": "logistic"},
    "vgg3l output=emb1": {"output": "emb1", "pooling": "astp"},
    "age_resnet output=emb1": {"output": "emb1"},
    "gelu_resnet output=emb1": {"output": "emb1"},
    "resnet gate=se": {"gate": "se", "pooling": "asp"},
    "ecapa summed=false": {"summed": False, "context": False, "attention_norm": True},
    "redimnet2 group_norm=true": {"group_norm": True},
}
LOSSES = {  # of an x-vector network
    "softmax": {},
    "am": {},
    "aam sampled": {"sampled_classes": 4},
    "coco": {},
    "centre": {},
    "contrastive": {},
    "triplet": {},
    "cumulative": {},
    "distance": {},
    "regression": {},
    "joint": {},
    "joint sampled": {"classes": "aam", "classes.sampled_classes": 4},
}
CLASSES = 6


def trained(name, processes):
    """Two steps of the network or loss `name` -> the weights"""
    import torch
    from narrow import inputs, more_frames, small

    from pytorch.losses import build_loss, targets_of
    from pytorch.losses.base import Stage
    from pytorch.network import Network
    from pytorch.training.optimizers import build_optimizer, weight_groups
    from pytorch.training.step import Update

    kind, word = name.split()[0], "softmax"
    if name in LOSSES:
        kind, word = "xvector", kind
    model = small(kind, VARIANTS.get(name))
    torch.manual_seed(1)
    x = inputs(kind, model, 8, model.min_frames + more_frames(model, 20))
    classes, values = torch.arange(8) % CLASSES, torch.linspace(20, 60, 8)
    targets = {"classes": classes, "numbers": values, "both": torch.stack([classes.float(), values], dim=1)}[targets_of(word)]
    with torch.no_grad():
        width = model(x).shape[1]
    network = Network(model, build_loss(word, width, CLASSES, LOSSES.get(name, {}), targets)).train()
    options = Namespace(clip_grad=5.0, accumulate=2 if name == "xvector segment7=false" else 1, precision="fp32")
    optimizer = build_optimizer("sgd", weight_groups(network, True), 0.01, 0.0, 0.9)
    update = Update(network, lambda x: (x, None), optimizer, options, torch.device("cpu"), processes)
    own = slice(processes.rank, None, processes.world)
    for step in range(2):
        update(x[own], targets[own], len(x), 0.01, Stage(0.5, step, 0))
    assert not update.totals[3], "steps were skipped"
    return dict(network.named_parameters())


def main(folder):
    import torch
    from narrow import SMALL
    from torch import distributed

    from pytorch.training.parallel import Processes

    torch.set_num_threads(1)
    processes = Processes()
    processes.join(torch.device("cpu"), {"options": {}, "inputs": {}})
    for name in [*SMALL, *VARIANTS, *LOSSES]:
        weights = trained(name, processes)
        differing = []
        for weight, values in weights.items():
            first = values.detach().clone()
            distributed.broadcast(first, 0)
            if not torch.equal(first, values):
                differing.append(weight)
        (folder / f"{name}.{processes.rank}").write_text(" ".join(differing) or "same")
    processes.leave()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
