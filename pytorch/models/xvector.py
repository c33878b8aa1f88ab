"""The x-vector network with Kaldi's topology.

Snyder et al., "X-vectors: robust DNN embeddings for speaker recognition", ICASSP 2018, table 1; sizes of Kaldi's egs/voxceleb/v2.

    layer      context            in x out
    frame1     t-2 … t+2          5 feat x 512
    frame2     t-2, t, t+2        1536 x 512
    frame3     t-3, t, t+3        1536 x 512
    frame4     t                  512 x 512
    frame5     t                  512 x 1500
    stats      the utterance      1500 x 3000
    segment6                      3000 x 512    the embedding: before the non-linearity
    segment7                      512 x 512
"""

from typing import Literal

from torch import nn

from pytorch.arguments import need_above_zero
from pytorch.models.pooling import mean_std
from pytorch.program import Fail


class XVector(nn.Module):
    """x-vector TDNN.

    segment7 false: for margin losses, there is no segment7 and the embedding is segment6 normalised over the training data (BatchNorm), which
    is what the loss takes cosines of; segment7_norm false: segment7 ends with its linear layer, and the loss sees that
    output: the layer that is the embedding, if none is named
    norm_eps: added to the variances of the norms; std_eps: to those that are pooled; unbiased: the latter divided by one less than the frames
    """

    input, masks_padding, min_frames = "feats", True, 15  # no padding: the frame layers see 7 frames to each side

    def __init__(
        self, feat_dim, frame_dim=512, stats_dim=1500, embed_dim=512, segment7=True, segment7_norm=True,
        output: Literal["segment6", "segment7"] = "segment6", norm_eps=1e-3, std_eps=0.0, unbiased=False,
    ):  # fmt: skip
        super().__init__()
        self.embed_dim, self.output, self.layers = embed_dim, output, ("segment6", "segment7") if segment7 else ("segment6",)
        need_above_zero("--model-args", norm_eps=norm_eps)
        if output not in self.layers:
            raise Fail(f"--model-args: output={output}: not with segment7=false")
        self.std_eps, self.unbiased = std_eps, unbiased
        self.frames = nn.Sequential(
            _layer(feat_dim, frame_dim, 5, 1, norm_eps),
            _layer(frame_dim, frame_dim, 3, 2, norm_eps),
            _layer(frame_dim, frame_dim, 3, 3, norm_eps),
            _layer(frame_dim, frame_dim, 1, 1, norm_eps),
            _layer(frame_dim, stats_dim, 1, 1, norm_eps),
        )
        self.segment6 = nn.Linear(2 * stats_dim, embed_dim)
        if segment7:
            self.normalise = nn.Identity()
            after = [nn.ReLU(), _norm(embed_dim, norm_eps)]
            self.segment7 = nn.Sequential(nn.ReLU(), _norm(embed_dim, norm_eps), nn.Linear(embed_dim, embed_dim), *(after if segment7_norm else []))
        else:
            self.normalise = _norm(embed_dim, norm_eps)
            self.segment7 = nn.Identity()

    def embed(self, x, lengths=None, layer=None):
        """x: (B, T, feat_dim) with T >= min_frames; lengths: (B,) frames of each utterance, the rest is padding
        -> (B, embed_dim), the same whatever the padding"""
        h = self.frames(x.transpose(1, 2))  # (B, stats_dim, T - 14)
        stats = mean_std(h, None if lengths is None else lengths - self.min_frames + 1, int(self.unbiased), self.std_eps)  # (B, 2 stats_dim)
        segment6 = self.normalise(self.segment6(stats))
        return self.segment7[:3](segment6) if (layer or self.output) == "segment7" else segment6

    def forward(self, x, lengths=None):
        """x, lengths: as of embed -> (B, embed_dim), what the loss classifies"""
        return self.segment7(self.embed(x, lengths, "segment6"))


def _layer(inputs, outputs, kernel, dilation, norm_eps):
    return nn.Sequential(nn.Conv1d(inputs, outputs, kernel, dilation=dilation), nn.ReLU(), _norm(outputs, norm_eps))


def _norm(dim, eps):
    return nn.BatchNorm1d(dim, eps=eps, affine=False)
