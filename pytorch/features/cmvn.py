"""Mean normalisation of features."""

import torch


def subtract_mean(x, lengths=None):
    """Subtract from each utterance the mean of its frames.

    x: (B, T, dim); lengths: (B,) frames of each, the rest is padding and becomes 0. Returns (B, T, dim).
    """
    if lengths is None:
        return x - x.mean(1, keepdim=True)
    mask = (torch.arange(x.shape[1], device=x.device) < lengths[:, None]).unsqueeze(2)  # (B, T, 1)
    x = x * mask
    return (x - x.sum(1, keepdim=True) / lengths[:, None, None]) * mask
