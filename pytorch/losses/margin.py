"""Softmax over cosines with a margin: AM, AAM, COCO; sub-centres, inter-top-k penalty, AdaCos scale, sampled classes."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from pytorch.losses.base import Loss, hits
from pytorch.losses.partial import rows_of, sample_classes
from pytorch.program import Fail

AdaCos = Literal["none", "fixed", "dynamic"]


class CosineSoftmax(Loss):
    """Cross-entropy of scaled cosines between x and the centres of the classes, the target's cosine made smaller by a margin.

    scale: of the cosines. adacos fixed: sqrt(2) ln(C - 1) in its place; dynamic: it begins there and follows the angles. Zhang et al., "AdaCos", CVPR
        2019, sections 4.1 and 4.2
    subcentres: centres of each class, of which the nearest to an example counts. Deng et al., "Sub-center ArcFace", ECCV 2020
    topk, topk_margin: for each example the topk nearest wrong classes come nearer by topk_margin. Zhao et al., "Multi-query multi-head attention
        pooling and inter-topK penalty for speaker verification", ICASSP 2022
    sampled_classes: how many classes take part in a training step, those of the batch among them; 0: all (see partial.py)
    Both margins grow with the stage's margin_share. A subclass says in _moved what a margin does to a cosine.
    """

    def __init__(self, in_dim, num_classes, scale, margin, adacos, subcentres, topk, topk_margin, sampled_classes):
        super().__init__()
        if adacos != "none" and num_classes < 4:
            raise Fail(f"--loss-args: adacos={adacos}: 4 classes or more are needed, there are {num_classes}: with fewer its scale is below 1")
        self.margin, self.adacos, self.topk, self.topk_margin = margin, adacos, topk, topk_margin
        self.sampled_classes = sampled_classes if sampled_classes < num_classes else 0
        self.has_margin, self.of_whole_batch = margin > 0 or topk > 0, adacos == "dynamic"
        self.weight = nn.Parameter(torch.empty(num_classes, subcentres * in_dim))  # one row a class: what is sampled and updated as one
        nn.init.xavier_normal_(self.weight)
        if adacos != "none":
            scale = math.sqrt(2) * math.log(num_classes - 1)  # AdaCos, section 4.1
        if adacos == "dynamic":
            self.register_buffer("scale", torch.tensor(scale))
        else:
            self.scale = scale

    def _scores(self, x):
        return self._cosines(x, self.weight)

    def _loss(self, x, targets, stage):
        weight = self.weight
        if self.training and self.sampled_classes:
            classes, targets = sample_classes(targets, len(weight), self.sampled_classes, stage, self.of_whole_batch)
            weight = rows_of(weight, classes)
        cosines = self._cosines(x, weight)
        if self.training and self.adacos == "dynamic":
            self._follow_angles(cosines.detach(), targets)
        return F.cross_entropy(self.scale * self._with_margins(cosines, targets, stage), targets), hits(cosines, targets)

    def _cosines(self, x, weight):
        """x: (B, in_dim); weight: (S, subcentres * in_dim), rows of self.weight -> (B, S); a little less than 1 at most, for the sake of its arc's slope"""
        centres = weight.to(x.dtype).view(-1, x.shape[1])  # (S * subcentres, in_dim)
        lengths = torch.linalg.vector_norm(centres, dim=1).clamp(min=1e-12)
        cosines = (F.linear(F.normalize(x), centres) / lengths).view(len(x), len(weight), -1)  # fewer passes over the centres than to normalise them
        cosines = cosines.squeeze(2) if cosines.shape[2] == 1 else cosines.max(2).values
        return cosines.clamp(-1 + 1e-7, 1 - 1e-7)

    def _with_margins(self, cosines, targets, stage):
        """cosines: (B, S) -> the same with those of targets, and of their nearest rivals, moved"""
        targets = targets[:, None]
        moved = self._moved(cosines.gather(1, targets), self.margin * stage.margin_share, stage)
        if self.topk:
            others = cosines.detach().scatter(1, targets, -2.0)
            rivals = others.topk(min(self.topk, cosines.shape[1] - 1), dim=1).indices
            cosines = cosines.scatter(1, rivals, self._moved(cosines.gather(1, rivals), -self.topk_margin * stage.margin_share, stage))
        return cosines.scatter(1, targets, moved)

    @torch.no_grad()
    def _follow_angles(self, cosines, targets):
        """AdaCos, section 4.2: ln(B_avg) / cos(min(pi/4, median angle)), B_avg: mean over examples of the sum of exp(scale cos) over wrong classes."""
        targets = targets[:, None]
        median = torch.arccos(cosines.gather(1, targets)).median()
        log_sum = torch.logsumexp((self.scale * cosines).scatter(1, targets, -math.inf).flatten(), 0) - math.log(len(cosines))  # log of B_avg
        self.scale.copy_(log_sum / torch.cos(median.clamp(max=math.pi / 4)))


class AdditiveMargin(CosineSoftmax):
    """AM-softmax, CosFace: cos(angle) - margin. Wang et al., "Additive margin softmax for face verification", SPL 2018.

    anneal: the target's cosine is (cos_m + a cos) / (1 + a), where a falls with the step as annealing() says: for training without margin schedule
    """

    def __init__(
        self, in_dim, num_classes, scale=30.0, margin=0.2, anneal=False, adacos: AdaCos = "none", subcentres=1, topk=0, topk_margin=0.06, sampled_classes=0
    ):  # fmt: skip
        super().__init__(in_dim, num_classes, scale, margin, adacos, subcentres, topk, topk_margin, sampled_classes)
        self.anneal, self.has_margin = anneal, self.has_margin and not anneal

    def _moved(self, cosines, margin, stage):
        return cosines - (margin / (1 + annealing(stage.step)) if self.anneal else margin)


class AdditiveAngularMargin(CosineSoftmax):
    """AAM-softmax: cos(angle + margin) for the target class. Deng et al., "ArcFace", CVPR 2019, eq. 3.

    Where angle + margin would pass pi, the target's cosine is lowered by margin * sin(margin) instead, so that it stays monotone.
    margin_unit: of margin and topk_margin
    """

    def __init__(
        self, in_dim, num_classes, scale=30.0, margin=0.2, margin_unit: Literal["rad", "deg"] = "rad", adacos: AdaCos = "none", subcentres=1, topk=0,
        topk_margin=0.06, sampled_classes=0,
    ):  # fmt: skip
        unit, remedy = (math.pi / 180, "") if margin_unit == "deg" else (1.0, "; for degrees say margin_unit=deg")
        for name, value in (("margin", margin), ("topk_margin", topk_margin)):
            if value * unit > math.pi / 2:
                raise Fail(f"--loss-args: {name}={value:g} {margin_unit}: more than a right angle{remedy}")
        super().__init__(in_dim, num_classes, scale, margin * unit, adacos, subcentres, topk, topk_margin * unit, sampled_classes)

    def _moved(self, cosines, margin, stage):
        moved = cosines * math.cos(margin) - (1 - cosines.square()).sqrt() * math.sin(margin)  # cos(angle + margin)
        return torch.where(cosines > math.cos(math.pi - margin), moved, cosines - margin * math.sin(margin)) if margin > 0 else moved


class CongenerousCosine(CosineSoftmax):
    """COCO: softmax of scaled cosines, without margin. Liu et al., "Rethinking feature discrimination and polymerization", arXiv 1710.00870.

    The paper's scale comes from the wished loss; 6.25 is what pyannote.audio 1.1 has.
    """

    def __init__(self, in_dim, num_classes, scale=6.25, sampled_classes=0):
        super().__init__(in_dim, num_classes, scale, 0.0, "none", 1, 0, 0.0, sampled_classes)

    def _moved(self, cosines, margin, stage):
        return cosines


def annealing(step):
    """The weight a of the cosine without margin beside the one with: 1000 at the first step, 8.3 after 100,000, falling to 0."""
    return 1000 / (1 + 1e-4 * step) ** 2
