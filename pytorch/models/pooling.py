"""Pooling of frames into one vector."""

import torch


def mean_std(h, lengths=None):
    """Mean and standard deviation over time, the latter with Kaldi's floor: sqrt(max(E[x^2] - mean^2, 1e-10)).

    h: (B, dim, T); lengths: (B,) frames that count, all where None. Returns (B, 2 dim) float32.
    """
    h = h.float()
    if lengths is None:
        mean = h.mean(2)
        var = (h - mean.unsqueeze(2)).square().mean(2)
    else:
        mask = (torch.arange(h.shape[2], device=h.device) < lengths[:, None]).unsqueeze(1)  # (B, 1, T)
        num = lengths[:, None].to(h.dtype)
        mean = (h * mask).sum(2) / num
        var = ((h - mean.unsqueeze(2)) * mask).square().sum(2) / num
    return torch.cat([mean, var.clamp(min=1e-10).sqrt()], dim=1)
