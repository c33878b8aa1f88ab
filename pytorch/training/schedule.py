"""Learning rates, optimisers and margins as functions of the step."""

import math

import torch


def lr_share(schedule, step, total, warmup, final_share):
    """The learning rate at a step (0-based) as a share of its peak: linear warm-up, then `schedule` down to final_share at the last step."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - 1 - warmup))
    if schedule == "cosine":
        return final_share + (1 - final_share) * 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "exponential":
        return final_share**progress
    assert schedule == "constant", schedule
    return 1.0


def margin_share(epoch_progress, warmup_epochs):
    """The margin as a share of its final value: grows linearly over the first warmup_epochs epochs (epoch_progress counts them, fractions included)."""
    return 1.0 if warmup_epochs == 0 else min(1.0, epoch_progress / warmup_epochs)


def build_optimizer(name, parameters, lr, weight_decay, momentum):
    if name == "sgd":
        return torch.optim.SGD(parameters, lr, momentum=momentum, nesterov=momentum > 0, weight_decay=weight_decay)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name](parameters, lr, weight_decay=weight_decay)
