"""Pooling of frames into one vector. Statistics are float32 (of double: double) and leave padding out.

    name    class                       output     source
    tap     TemporalAverage             dim        mean over time
    tstp    TemporalStatistics          2 dim      mean and standard deviation: Snyder et al., Interspeech 2017
    sap     SelfAttention               dim        weighted mean, one query: Cai et al., Odyssey 2018, without their hidden layer
    mha     MultiHeadAttention          dim        a query for each part of the channels: India et al., Interspeech 2019
    dmha    DoubleMultiHeadAttention    dim/heads  then attention over these parts: India et al., ICASSP 2021 (arXiv 2007.13199)
    asp     FrameAttentiveStatistics    2 dim      weighted mean and deviation: Okabe et al., Interspeech 2018, here with weights of each channel
    astp    AttentiveStatistics         2 dim      weights from the utterance's context too: Desplanques et al., Interspeech 2020 (ECAPA-TDNN)
    mqmha   MultiQueryMultiHead         2 dim Q    Q sets of weights for each part of the channels: Zhao et al., ICASSP 2022

All are called with h: (B, dim, T) and lengths: (B,) frames that count, all where None, and give (B, out_dim).
"""

import inspect
import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from pytorch.arguments import need_at_most
from pytorch.models.padding import blank, frame_mask, masked_mean, widened
from pytorch.program import Fail

PoolingName = Literal["tap", "tstp", "sap", "mha", "dmha", "asp", "astp", "mqmha"]


def build_pooling(name, dim, **options):
    """The pooling `name` of `dim` channels; of the options (heads, queries, …) it takes those that it has."""
    known = inspect.signature(POOLINGS[name]).parameters
    return POOLINGS[name](dim, **{key: value for key, value in options.items() if key in known})


def mean_std(h, lengths=None, correction=0, eps=0.0):
    """Mean and standard deviation over time, the latter with Kaldi's floor: sqrt(max(variance, 1e-10) + eps).

    h: (B, dim, T); lengths: (B,) frames that count, all where None; correction 1: the variance without bias, n - 1 below the sum (1 for one frame).
    Returns (B, 2 dim).
    """
    h = widened(h)
    if lengths is None:
        mean, squares = _Moments.apply(h) if _learns(h) else _moments(h)
        var = squares / max(1, h.shape[2] - correction)
    else:
        mean = blank(h, lengths).sum(2) / lengths[:, None]
        var = blank(h - mean.unsqueeze(2), lengths).square().sum(2) / (lengths[:, None] - correction).clamp(min=1)
    return torch.cat([mean, (var.clamp(min=1e-10) + eps).sqrt()], dim=1)


def _moments(h):
    mean = h.mean(2)
    return mean, torch.linalg.vector_norm(h - mean.unsqueeze(2), dim=2).square()


class _Moments(torch.autograd.Function):
    """Mean over T and sum of squared differences from it. The gradient is linear in h: two passes over it instead of autograd's seven."""

    @staticmethod
    def forward(ctx, h):
        mean, squares = _moments(h)
        ctx.save_for_backward(h, mean)
        return mean, squares

    @staticmethod
    @once_differentiable
    def backward(ctx, of_mean, of_squares):
        h, mean = ctx.saved_tensors
        slope = 2 * of_squares
        shift = of_mean / h.shape[2] - slope * mean
        return (h * slope.unsqueeze(2)).add_(shift.unsqueeze(2))


def _learns(*tensors):
    """Whether gradients are wanted, of plain tensors: what only looks at shapes, or exports, sees the operations themselves"""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors) and all(type(tensor) is torch.Tensor for tensor in tensors)


def softmax_over_time(scores, lengths=None):
    """scores: (B, …, T) -> weights that sum to 1 over the frames that count"""
    return widened(blank_scores(scores, lengths)).softmax(-1)


def blank_scores(scores, lengths):
    """scores: (B, …, T) with -inf, which becomes a weight of 0, for the frames that do not count"""
    return scores if lengths is None else scores.masked_fill(~frame_mask(scores, lengths), -math.inf)


def attended_mean_std(h, scores, lengths, floor):
    """Mean and standard deviation with weights softmax over the frames that count of scores. h, scores: (…, T), may be broadcast -> (…) each"""
    h, scores = widened(h), widened(blank_scores(scores, lengths))
    mean, var = _Attended.apply(h, scores) if _learns(h, scores) else _attended(h, scores.softmax(-1))
    return mean, var.clamp(min=floor).sqrt()


def _attended(h, weights):
    mean = (weights * h).sum(-1)
    return mean, (h - mean.unsqueeze(-1)).square_().mul_(weights).sum(-1)


class _Attended(torch.autograd.Function):
    """Softmax and both moments in one: of their gradients most terms cancel, and most of what is left is shared."""

    @staticmethod
    def forward(ctx, h, scores):
        weights = scores.softmax(-1)
        mean, var = _attended(h, weights)
        ctx.save_for_backward(h, weights, mean, var)
        return mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx, of_mean, of_var):
        h, weights, mean, var = ctx.saved_tensors
        of_mean, of_var, of_level = of_mean.unsqueeze(-1), of_var.unsqueeze(-1), (of_var * var).unsqueeze(-1)
        centred = h - mean.unsqueeze(-1)
        slope = centred * of_var
        of_h = torch.add(of_mean, slope, alpha=2).mul_(weights)
        of_scores = slope.add_(of_mean).mul_(centred).sub_(of_level).mul_(weights)
        return of_h.sum_to_size(h.shape), of_scores


class TemporalAverage(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.out_dim = dim

    def forward(self, h, lengths=None):
        return masked_mean(h, lengths)


class TemporalStatistics(nn.Module):
    """The variance without bias, plus eps: as the r-vector systems that publish their weights have it."""

    def __init__(self, dim, eps=1e-7):
        super().__init__()
        self.out_dim, self.eps = 2 * dim, eps

    def forward(self, h, lengths=None):
        return mean_std(h, lengths, correction=1, eps=self.eps)


class MultiHeadAttention(nn.Module):
    """Each head h of d = dim/heads channels: weights softmax over t of k_th . q_h / sqrt(heads).

    The paper divides by sqrt(d); its published code, and the weights trained with it, by sqrt(heads), as is done here.
    """

    def __init__(self, dim, heads=32):
        super().__init__()
        if dim % heads:
            raise Fail(f"--model-args: heads={heads}: a divisor of the {dim} channels that are pooled expected")
        self.out_dim, self.heads = dim, heads
        self.query = nn.Parameter(torch.empty(heads, dim // heads))
        nn.init.xavier_normal_(self.query)

    def parts(self, h, lengths=None):
        """-> (B, heads, dim/heads): the weighted mean of each part"""
        h = widened(h).unflatten(1, (self.heads, -1))  # (B, heads, d, T)
        scores = (h * widened(self.query).unsqueeze(-1)).sum(2) / math.sqrt(self.heads)  # (B, heads, T)
        return (h * softmax_over_time(scores, lengths).unsqueeze(2)).sum(-1)

    def forward(self, h, lengths=None):
        return self.parts(h, lengths).flatten(1)


class SelfAttention(MultiHeadAttention):
    def __init__(self, dim):
        super().__init__(dim, heads=1)


class DoubleMultiHeadAttention(nn.Module):
    """Multi-head attention, then the heads' vectors c_h weighted by softmax over h of c_h . u.

    head_drop: while training, heads are left out of the second softmax with the probability 1/int(1/head_drop) (0.3: a third), as in the published
    code; an utterance that would lose all of them keeps all.
    """

    def __init__(self, dim, heads=32, head_drop=0.3):
        super().__init__()
        need_at_most("--model-args", 0.5, head_drop=head_drop)
        self.attention = MultiHeadAttention(dim, heads)
        self.out_dim = dim // heads
        self.query = nn.Parameter(torch.empty(self.out_dim, 1))
        nn.init.xavier_normal_(self.query)
        self.drop = 1 / int(1 / head_drop) if head_drop else 0.0

    def forward(self, h, lengths=None):
        parts = self.attention.parts(h, lengths)  # (B, heads, d)
        scores = (parts * widened(self.query).squeeze(1)).sum(2)  # (B, heads)
        if self.training and self.drop:
            dropped = torch.rand_like(scores) < self.drop
            dropped &= ~dropped.all(1, keepdim=True)
            scores = scores.masked_fill(dropped, -math.inf)
        return (parts * scores.softmax(1).unsqueeze(2)).sum(1)


class AttentiveStatistics(nn.Module):
    """Weights softmax over t of V f(W x_t + b) + k for each channel, f: tanh; ECAPA-TDNN's equations 3 to 6.

    context: x_t has the utterance's mean and standard deviation beside the frame
    norm: f is tanh of BatchNorm of ReLU, as in the first public ECAPA-TDNNs
    floor: of the weighted variance, and added to the context's; biased: the context's is divided by the number of frames, not by one less
    """

    def __init__(self, dim, bottleneck=128, context=True, norm=False, floor=1e-7, biased=False):
        super().__init__()
        self.out_dim, self.context, self.floor, self.biased = 2 * dim, context, floor, biased
        self.hidden = nn.Conv1d(3 * dim if context else dim, bottleneck, 1)
        self.activation = nn.Sequential(nn.ReLU(), nn.BatchNorm1d(bottleneck), nn.Tanh()) if norm else nn.Tanh()
        self.scores = nn.Conv1d(bottleneck, dim, 1)

    def forward(self, h, lengths=None):
        wide = widened(h)
        scores = self.scores(self.activation(self.hidden_of(h, wide, lengths)))
        return torch.cat(attended_mean_std(wide, scores, lengths, self.floor), dim=1)

    def hidden_of(self, h, wide, lengths):
        """W x_t, of which the context's part, the same for all frames, is computed once; wide: h, widened"""
        if not self.context:
            return self.hidden(h)
        stats = mean_std(wide, lengths, correction=0 if self.biased else 1, eps=self.floor).to(h.dtype)  # (B, 2 dim)
        of_frame, of_context = self.hidden.weight.split([h.shape[1], stats.shape[1]], dim=1)
        return F.conv1d(h, of_frame, self.hidden.bias) + F.linear(stats, of_context.squeeze(2)).unsqueeze(2)


class FrameAttentiveStatistics(AttentiveStatistics):
    """f: BatchNorm of ReLU, and the frame alone."""

    def __init__(self, dim, bottleneck=128):
        super().__init__(dim, bottleneck, context=False, floor=1e-5)
        self.activation = nn.Sequential(nn.ReLU(), nn.BatchNorm1d(bottleneck))


class MultiQueryMultiHead(nn.Module):
    """Attentive statistics of each of `heads` parts of the channels, with `queries` small networks (one hidden layer of `bottleneck`) for each."""

    def __init__(self, dim, heads=8, queries=2, bottleneck=64):
        super().__init__()
        if dim % heads:
            raise Fail(f"--model-args: heads={heads}: a divisor of the {dim} channels that are pooled expected")
        self.out_dim, self.heads, self.queries = 2 * dim * queries, heads, queries
        self.hidden = nn.Conv1d(dim, heads * queries * bottleneck, 1, groups=heads)
        self.scores = nn.Conv1d(heads * queries * bottleneck, dim * queries, 1, groups=heads * queries)

    def forward(self, h, lengths=None):
        scores = self.scores(torch.tanh(self.hidden(h))).unflatten(1, (self.heads, self.queries, -1))  # (B, heads, queries, d, T)
        parts = h.unflatten(1, (self.heads, 1, -1))  # (B, heads, 1, d, T)
        mean, std = attended_mean_std(parts, scores, lengths, 1e-7)
        return torch.stack([mean, std], dim=3).transpose(1, 2).flatten(1)  # (B, queries, heads, 2, d) made flat


POOLINGS = {
    "tap": TemporalAverage,
    "tstp": TemporalStatistics,
    "sap": SelfAttention,
    "mha": MultiHeadAttention,
    "dmha": DoubleMultiHeadAttention,
    "asp": FrameAttentiveStatistics,
    "astp": AttentiveStatistics,
    "mqmha": MultiQueryMultiHead,
}
