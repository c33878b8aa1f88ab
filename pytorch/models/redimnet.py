"""ReDimNet and ReDimNet2: maps that are two-dimensional for convolutions and one-dimensional for context over time, by turns.

Yakovlev et al., "Reshape dimensions network for speaker recognition", Interspeech 2024 (arXiv 2407.18223); "ReDimNet2: scaling speaker verification via
time-pooled dimension reshaping", Interspeech 2026 (arXiv 2603.11841). C channels, F filters, T frames; C x F values a frame from end to end:

    layer       what                                                                   output
    stem        3x3 convolution, norm over channels                                    C x F x T, as CF x T
    stage i     weighted sum of all outputs so far, a weight for each of the CF        CF x T
                convolution sf x st, stride sf x st                                    c sf e x f/sf x T/st     ReDimNet: st = 1
                n residual blocks of 3x3 convolutions                                  c sf e x f/sf x T/st
                where e is not 1: back to c sf channels                                c sf x f/sf x T/st
                context: 1x1 to CF/r; depthwise 7, 19, 31, 59; attention; 1x1, added   CF x T/st
                repeated st times in time                                              CF x T
    aggregate   weighted sum of all outputs; ReDimNet2: where `out` is given, 1x1      CF x T or out x T, or out x f x T
    pooling     attentive statistics with context, BatchNorm                           2 CF or so
    embedding                                                                          192

sf, n, e, r of each stage are below, by size; ReDimNet2 divides time by 1, 1, 2, 2, 4, 4. ReDimNet2's b3, b4 and b6 are the published recipes'. The
others are published inside of checkpoints only; here they are wespeaker's for ReDimNet, and for ReDimNet2 wespeaker's stages with the `out` that comes
next to the published counts. b3_wespeaker is what wespeaker calls B3.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from pytorch.models.padding import blank, frame_mask, masked_mean, widened
from pytorch.models.pooling import PoolingName, build_pooling
from pytorch.program import Fail

HEADS = 4
# size: channels, channels of a group of the 3x3 convolutions, their kind, stages (sf, n, e, r; r 0: no context)
SIZES = {
    "b0": (10, 1, "basic", ((1, 2, 1, 30), (2, 3, 2, 30), (1, 3, 3, 30), (2, 4, 2, 10), (1, 3, 1, 10))),
    "b1": (12, 8, "convnext", ((1, 2, 1, 0), (2, 3, 1, 0), (3, 4, 1, 12), (2, 5, 1, 12), (2, 3, 1, 8))),
    "b2": (16, 4, "convnext", ((1, 2, 1, 12), (2, 2, 1, 12), (1, 3, 1, 12), (2, 4, 1, 8), (1, 4, 1, 8), (2, 4, 1, 4))),
    "b3": (16, 1, "gated", ((1, 6, 4, 32), (2, 6, 2, 32), (1, 8, 2, 32), (2, 10, 2, 16), (1, 10, 1, 16), (2, 8, 1, 16))),
    "b4": (32, 1, "gated", ((1, 4, 2, 48), (2, 4, 2, 48), (1, 6, 2, 48), (2, 6, 1, 32), (1, 8, 1, 24), (2, 4, 1, 16))),
    "b5": (32, 16, "gated", ((1, 4, 2, 48), (2, 4, 2, 48), (1, 6, 2, 48), (2, 6, 1, 32), (1, 8, 1, 24), (2, 4, 1, 16))),
    "b6": (32, 32, "basic", ((1, 4, 4, 32), (2, 6, 2, 32), (1, 6, 2, 24), (3, 8, 1, 24), (1, 8, 1, 16), (2, 8, 1, 16))),
}
# size: channels, out (0: none), whether out is for each filter, stages (sf, n, e, r)
SIZES2 = {
    "b0": (12, 64, True, ((1, 2, 2, 36), (2, 3, 1, 36), (1, 4, 1, 36), (2, 5, 1, 36), (1, 4, 1, 18), (2, 3, 1, 18))),
    "b1": (16, 0, False, ((1, 2, 2, 32), (2, 3, 1, 32), (1, 4, 1, 32), (2, 5, 1, 32), (1, 4, 1, 16), (2, 3, 1, 16))),
    "b2": (20, 0, False, ((1, 2, 2, 40), (2, 3, 1, 30), (1, 4, 1, 30), (3, 5, 1, 20), (1, 4, 1, 20), (2, 3, 1, 10))),
    "b3": (24, 0, False, ((1, 2, 4, 24), (2, 3, 3, 24), (1, 4, 2, 24), (2, 5, 1, 24), (1, 4, 1, 24), (2, 3, 1, 24))),
    "b4": (32, 0, False, ((1, 2, 4, 24), (2, 3, 3, 24), (1, 4, 2, 24), (2, 5, 1, 24), (1, 4, 1, 24), (2, 3, 1, 24))),
    "b5": (48, 256, True, ((1, 2, 4, 48), (2, 3, 3, 48), (1, 4, 2, 48), (2, 5, 1, 48), (1, 4, 1, 32), (2, 3, 1, 32))),
    "b6": (64, 224, True, ((1, 3, 3, 64), (2, 4, 2, 64), (1, 5, 2, 48), (2, 5, 1, 48), (1, 4, 0.75, 32), (2, 3, 0.5, 24))),
    "b3_wespeaker": (24, 64, False, ((1, 2, 2, 36), (2, 3, 1, 36), (1, 4, 1, 36), (2, 5, 1, 36), (1, 4, 1, 18), (2, 3, 1, 18))),
}
STEPS2 = (1, 1, 2, 2, 4, 4)  # of time, stage by stage, in ReDimNet2
SizeName = Literal["b0", "b1", "b2", "b3", "b4", "b5", "b6"]
SizeName2 = Literal["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b3_wespeaker"]


class ReDimNet(nn.Module):
    """channels: C, 0 for that of the size; pooling_norm: false, where what is pooled has no BatchNorm"""

    input, masks_padding, min_frames = "feats", True, 1
    layers, output = ("embedding",), "embedding"

    def __init__(self, feat_dim, size: SizeName = "b2", channels=0, embed_dim=192, pooling: PoolingName = "astp", heads=8, pooling_norm=True):
        super().__init__()
        own, group, kind, stages = SIZES[size]
        channels = channels or own
        _check_filters(feat_dim, size, [stage[0] for stage in stages])
        self.embed_dim = embed_dim
        self.stem, self.stem_norm = nn.Conv2d(1, channels, 3, padding=1), ChannelNorm(channels)
        self.stages, c, f, known = nn.ModuleList(), channels, feat_dim, 1
        for step, count, expand, reduce in stages:
            inner = step * c * expand
            enter = nn.Conv2d(c, inner, (step, 1), (step, 1))
            c, f = step * c, f // step
            leave = nn.Sequential() if expand == 1 else _squeeze(inner, c, group)
            self.stages.append(Stage(known, f * c, f, enter, [_block(kind, inner, f, group) for _ in range(count)], leave, reduce))
            known += 1
        self.aggregate = WeightedSum(known, c * f)
        self.pooling = build_pooling(pooling, c * f, heads=heads)
        self.norm = nn.BatchNorm1d(self.pooling.out_dim) if pooling_norm else nn.Identity()
        self.embedding = nn.Linear(self.pooling.out_dim, embed_dim)

    def frames(self, x, lengths=None):
        """x: (B, T, feat_dim) -> (B, C * F, T)"""
        h = self.stem_norm(self.stem(blank(x.transpose(1, 2).unsqueeze(1), lengths)))  # (B, C, F, T)
        outputs = [_flat(h)]
        for stage in self.stages:
            outputs.append(stage(outputs, lengths))
        return self.aggregate(outputs)

    def embed(self, x, lengths=None, layer=None):
        """x: (B, T, feat_dim); lengths: (B,) frames of each utterance, the rest is padding -> (B, embed_dim), the same whatever the padding"""
        return self.embedding(self.norm(self.pooling(self.frames(x, lengths), lengths)))

    def forward(self, x, lengths=None):
        """x, lengths: as of embed -> (B, embed_dim), what the loss classifies: the embedding"""
        return self.embed(x, lengths)


class ReDimNet2(nn.Module):
    """channels: C, 0 for that of the size; group_norm: each output is normalised, for each of C groups of channels, before it is aggregated;
    out: outputs of the last 1x1, 0 for those of the size; where they are given, out_by_filter: whether they are of each filter or of a frame.
    Frames beyond a multiple of 4 are left out, as in the original."""

    input, masks_padding, min_frames = "feats", True, 4
    layers, output = ("embedding",), "embedding"

    def __init__(
        self, feat_dim, size: SizeName2 = "b2", channels=0, embed_dim=192, pooling: PoolingName = "astp", heads=8, group_norm=False, out=0, out_by_filter=True
    ):
        super().__init__()
        own, own_out, own_by_filter, stages = SIZES2[size]
        channels = channels or own
        out, self.by_filter = (out, out_by_filter) if out else (own_out, own_by_filter)
        _check_filters(feat_dim, size, [stage[0] for stage in stages])
        self.embed_dim = embed_dim
        self.stem, self.stem_norm = nn.Conv2d(1, channels, 3, padding=1), ChannelNorm(channels)
        self.norms = nn.ModuleList(GroupNorm(channels, channels * feat_dim) for _ in range(len(stages) + 1)) if group_norm else None
        self.stages, c, f, known = nn.ModuleList(), channels, feat_dim, 1
        for (step, count, expand, reduce), time in zip(stages, STEPS2, strict=True):
            inner = int(step * c * expand)
            enter = nn.Conv2d(c, inner, (step, time), (step, time), groups=math.gcd(c, inner))
            c, f = step * c, f // step
            leave = nn.Sequential() if expand == 1 else nn.Sequential(nn.Conv2d(inner, c, 1), nn.BatchNorm2d(c, eps=1e-6))
            self.stages.append(Stage(known, f * c, f, enter, [Basic(inner, 1) for _ in range(count)], leave, reduce))
            known += 1
        self.aggregate, self.filters = WeightedSum(known, c * f), f
        self.out = None
        if out:
            self.out = nn.Conv2d(c, out, 1) if self.by_filter else nn.Conv1d(c * f, out, 1)
        self.pooling = build_pooling(pooling, (out * f if self.by_filter else out) or c * f, heads=heads)
        self.norm = nn.BatchNorm1d(self.pooling.out_dim)
        self.embedding = nn.Linear(self.pooling.out_dim, embed_dim)

    def frames(self, x, lengths=None):
        """x: (B, T, feat_dim) -> (B, out * f or C * F, T), T and lengths being multiples of 4 now; lengths"""
        x = F.pad(x, (0, 0, 0, -(x.shape[1] % 4)))  # a slice as an exporter can follow it
        lengths = None if lengths is None else lengths // 4 * 4
        h = self.stem_norm(self.stem(blank(x.transpose(1, 2).unsqueeze(1), lengths)))  # (B, C, F, T)
        outputs = [self._normed(_flat(h), lengths, 0)]
        for number, stage in enumerate(self.stages, 1):
            outputs.append(self._normed(stage(outputs, lengths), lengths, number))
        h = self.aggregate(outputs)
        if self.out is not None:
            h = self.out(_map(h, self.filters) if self.by_filter else h).flatten(1, -2)
        return h, lengths

    def _normed(self, h, lengths, number):
        return h if self.norms is None else self.norms[number](h, lengths)

    def embed(self, x, lengths=None, layer=None):
        """x: (B, T, feat_dim) with T >= min_frames; lengths: (B,) frames of each utterance, the rest is padding
        -> (B, embed_dim), the same whatever the padding"""
        return self.embedding(self.norm(self.pooling(*self.frames(x, lengths))))

    def forward(self, x, lengths=None):
        """x, lengths: as of embed -> (B, embed_dim), what the loss classifies: the embedding"""
        return self.embed(x, lengths)


class Stage(nn.Module):
    """enter: the convolution that has the strides; blocks, leave: on maps; reduce: CF by what is the width of the context, 0 for none"""

    def __init__(self, known, values, filters, enter, blocks, leave, reduce):
        super().__init__()
        self.filters = filters * enter.stride[0]  # on the way in
        self.sum = WeightedSum(known, values) if known > 1 else None
        self.enter, self.blocks, self.leave = enter, nn.ModuleList(blocks), leave
        self.context = Context(values, values // reduce) if reduce else None

    def forward(self, outputs, lengths=None):
        """outputs: of all stages before, (B, CF, T) -> (B, CF, T)"""
        h = self.enter(_map(self.sum(outputs) if self.sum else outputs[0], self.filters))  # (B, c sf e, f / sf, T / st)
        step = self.enter.stride[1]
        lengths = None if lengths is None else lengths // step
        for block in self.blocks:
            h = block(h, lengths)
        h = _flat(self.leave(h if len(self.leave) == 0 else blank(h, lengths)))  # (B, CF, T / st)
        if self.context is not None:
            h = self.context(h, lengths)
        return h.repeat_interleave(step, dim=2) if step > 1 else h


class WeightedSum(nn.Module):
    """Of `known` outputs, with weights that sum to 1 for each value of a frame."""

    def __init__(self, known, values):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(known, values, 1))

    def forward(self, outputs):
        return sum(weight * output for weight, output in zip(self.weight.softmax(0).to(outputs[0].dtype), outputs, strict=True))


class Context(nn.Module):
    """Of a frame in time: section 2.3 of the first paper, the variant of convolutions and attention."""

    fused_norms = (("convs", "norms"),)  # see inference.py

    def __init__(self, values, dim):
        super().__init__()
        dim = max(1, dim // HEADS) * HEADS
        self.reduce, self.reduce_norm = nn.Conv1d(values, dim, 1), ChannelNorm(dim)
        self.convs = nn.ModuleList(nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim) for kernel in (7, 19, 31, 59))
        self.norms = nn.ModuleList(nn.BatchNorm1d(dim) for _ in self.convs)
        self.mixes = nn.ModuleList(nn.Conv1d(dim, dim, 1) for _ in self.convs)
        self.query, self.key, self.value, self.mix = (nn.Linear(dim, dim) for _ in range(4))
        self.attention_norm, self.norm = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.feedforward = nn.Sequential(nn.Linear(dim, dim), nn.GELU("tanh"), nn.Linear(dim, dim))
        self.expand = nn.Conv1d(dim, values, 1)

    def forward(self, x, lengths=None):
        """(B, values, T) -> (B, values, T)"""
        h = self.reduce_norm(self.reduce(x))  # (B, dim, T)
        for conv, norm, mix in zip(self.convs, self.norms, self.mixes, strict=True):
            h = h + mix(F.gelu(norm(conv(blank(h, lengths)))))
        h = h.transpose(1, 2)  # (B, T, dim)
        h = self.attention_norm(h + self.attend(h, lengths))
        h = self.norm(h + self.feedforward(h))
        return x + self.expand(h.transpose(1, 2))

    def attend(self, h, lengths):
        query, key, value = (part(h).unflatten(2, (HEADS, -1)).transpose(1, 2) for part in (self.query, self.key, self.value))  # (B, heads, T, d)
        mask = None if lengths is None else frame_mask(h.transpose(1, 2), lengths).unsqueeze(1)  # (B, 1, 1, T)
        return self.mix(F.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).flatten(2))


class Basic(nn.Module):
    """group: channels of a group of the 3x3 convolutions; gate: squeeze-excitation of `gate` filters, from their means over channels and time"""

    fused_norms = (("mix2", "norm2"),)  # see inference.py

    def __init__(self, channels, group, gate=0):
        super().__init__()
        groups = _groups(channels, group)
        self.conv1, self.mix1 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False, groups=groups), nn.Conv2d(channels, channels, 1)
        self.conv2, self.mix2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False, groups=groups), nn.Conv2d(channels, channels, 1)
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        inner = min(64, max(channels, 32))
        self.gate = nn.Sequential(nn.Linear(gate, inner), nn.ReLU(), nn.Linear(inner, gate), nn.Sigmoid()) if gate else None

    def forward(self, x, lengths=None):
        """(B, channels, filters, T) -> the same"""
        h = self.norm1(F.relu(self.mix1(self.conv1(blank(x, lengths)))))
        h = self.norm2(self.mix2(self.conv2(blank(h, lengths))))
        if self.gate is not None:
            h = h * self.gate(masked_mean(h.mean(1), lengths))[:, None, :, None]
        return F.relu(h + x)


class ConvNext(nn.Module):
    fused_norms = (("conv", "norm"),)  # see inference.py

    def __init__(self, channels, group):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 3, padding=1, groups=_groups(channels, group)), nn.BatchNorm2d(channels)
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x, lengths=None):
        """(B, channels, filters, T) -> the same"""
        return x + self.mix(F.gelu(self.norm(self.conv(blank(x, lengths)))))


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over axis 1."""

    def __init__(self, dim):
        super().__init__(dim, eps=1e-6)

    def forward(self, h):
        return super().forward(h.movedim(1, -1)).movedim(-1, 1)


class GroupNorm(nn.GroupNorm):
    """Over a group of channels and the frames that count. h: (B, dim, T)"""

    def forward(self, h, lengths=None):
        if lengths is None:
            return super().forward(h)
        groups = widened(h).unflatten(1, (self.num_groups, -1))
        centred = blank(groups - masked_mean(groups, lengths, keepdim=True).mean(2, keepdim=True), lengths)
        scale = (masked_mean(centred.square(), lengths, keepdim=True).mean(2, keepdim=True) + self.eps).rsqrt()
        return (centred * scale).flatten(1, 2) * self.weight.unsqueeze(1) + self.bias.unsqueeze(1)


def _block(kind, channels, filters, group):
    return ConvNext(channels, group) if kind == "convnext" else Basic(channels, group, filters if kind == "gated" else 0)


def _squeeze(inner, channels, group):
    return nn.Sequential(
        nn.Conv2d(inner, channels, 3, padding=1, groups=_groups(channels, group)),
        nn.BatchNorm2d(channels, eps=1e-6),
        nn.GELU(),
        nn.Conv2d(channels, channels, 1),
    )


def _groups(channels, group):
    groups = max(1, channels // group)
    if channels % groups:
        raise Fail(f"--model-args: channels: {channels} of them in a layer cannot be split into {groups} groups; a multiple of {group} expected")
    return groups


def _flat(h):
    """(B, c, f, T) -> (B, f c, T)"""
    return h.transpose(1, 2).flatten(1, 2)


def _map(h, filters):
    """(B, f c, T) -> (B, c, f, T)"""
    return h.unflatten(1, (filters, -1)).transpose(1, 2)


def _check_filters(feat_dim, size, steps):
    if feat_dim % math.prod(steps):
        raise Fail(f"features of {feat_dim} columns: size={size} needs a multiple of {math.prod(steps)}, 72 as published")
