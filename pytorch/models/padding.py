"""Utterances of several lengths in one batch: which frames are padding, and how a convolution is kept from seeing them.

A network masks padding exactly when whatever the padding holds, the embedding is the one of the utterance alone. Convolutions that pad with zeros
look beyond the end of an utterance: there `blank` puts the zeros that they would find if the utterance were alone.
"""

import torch


def widened(h):
    """h in float32, or more where it has more: what sums over frames are computed in"""
    return h.float() if h.dtype in (torch.bfloat16, torch.float16) else h


def frame_mask(h, lengths):
    """lengths: (B,) -> (B, 1, …, T) bool, true for the frames of h: (B, …, T) that count"""
    mask = torch.arange(h.shape[-1], device=h.device) < lengths[:, None]
    return mask.view(len(h), *[1] * (h.dim() - 2), -1)


def blank(h, lengths):
    """h: (B, …, T) with zeros for the frames that do not count; lengths: (B,), or None where all count"""
    return h if lengths is None else h.masked_fill(~frame_mask(h, lengths), 0)


def masked_mean(h, lengths, keepdim=False):
    """Mean over the last axis, float32 or wider. h: (B, …, T); lengths: (B,) or None -> (B, …)"""
    h = widened(h)
    if lengths is None:
        return h.mean(-1, keepdim=keepdim)
    return blank(h, lengths).sum(-1, keepdim=keepdim) / lengths.view(-1, *[1] * (h.dim() - (1 if keepdim else 2)))


def after_conv(lengths, kernel, stride=1, dilation=1, padding=0):
    """Frames that a convolution, or a pooling without ceil_mode, makes of `lengths`, a number, a tensor or None."""
    return None if lengths is None else (lengths + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
