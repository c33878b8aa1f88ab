"""Derivatives of features in time, as Kaldi's add-deltas computes them."""

import torch


def delta_scales(order, window):
    """The filter of a derivative: the regression slope over 2 * window + 1 frames, convolved with itself order times -> (2 * order * window + 1,) list."""
    ramp = [offset / sum(place * place for place in range(-window, window + 1)) for offset in range(-window, window + 1)]
    scales = [1.0]
    for _ in range(order):
        longer = [0.0] * (len(scales) + 2 * window)
        for place, scale in enumerate(scales):
            for step, slope in enumerate(ramp):
                longer[place + step] += scale * slope
        scales = longer
    return scales


def add_deltas(x, order, window=2):
    """Append the derivatives of first to order-th order to the columns.

    x: (..., T, dim) -> (..., T, dim * (1 + order)), static columns first
    Each derivative is one filter over the frames of x, of which the first and last are repeated beyond the edges;
    so near the edges the second derivative is not the derivative of the first.
    """
    frames, dim = x.shape[-2:]
    out = x.new_zeros(*x.shape[:-1], dim * (1 + order))
    out[..., :dim] = x
    if frames == 0:
        return out
    reach = order * window
    padded = x[..., torch.arange(-reach, frames + reach, device=x.device).clamp(0, frames - 1), :]
    for rank in range(1, order + 1):
        columns = out[..., rank * dim : (rank + 1) * dim]
        for offset, scale in enumerate(delta_scales(rank, window), reach - rank * window):
            if scale:
                columns.add_(padded[..., offset : offset + frames, :], alpha=scale)
    return out
