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

from torch import nn

from pytorch.models.pooling import mean_std


class XVector(nn.Module):
    """x-vector TDNN.

    segment7 false: for margin losses, there is no segment7 and the embedding is segment6 normalised over the training data (BatchNorm), which
    is what the loss takes cosines of.
    """

    input, masks_padding, min_frames = "feats", True, 15  # no padding: the frame layers see 7 frames to each side

    def __init__(self, feat_dim, frame_dim=512, stats_dim=1500, embed_dim=512, segment7=True):
        super().__init__()
        self.embed_dim = embed_dim
        self.frames = nn.Sequential(
            _layer(feat_dim, frame_dim, 5, 1),
            _layer(frame_dim, frame_dim, 3, 2),
            _layer(frame_dim, frame_dim, 3, 3),
            _layer(frame_dim, frame_dim, 1, 1),
            _layer(frame_dim, stats_dim, 1, 1),
        )
        self.segment6 = nn.Linear(2 * stats_dim, embed_dim)
        if segment7:
            self.normalise = nn.Identity()
            self.segment7 = nn.Sequential(nn.ReLU(), _norm(embed_dim), nn.Linear(embed_dim, embed_dim), nn.ReLU(), _norm(embed_dim))
        else:
            self.normalise = _norm(embed_dim)
            self.segment7 = nn.Identity()

    def embed(self, x, lengths=None):
        """x: (B, T, feat_dim) with T >= min_frames; lengths: (B,) frames of each utterance, the rest is padding
        -> (B, embed_dim), the same whatever the padding"""
        h = self.frames(x.transpose(1, 2))  # (B, stats_dim, T - 14)
        stats = mean_std(h, None if lengths is None else lengths - self.min_frames + 1)  # (B, 2 stats_dim)
        return self.normalise(self.segment6(stats))

    def forward(self, x):
        """x: (B, T, feat_dim) -> (B, embed_dim), what the loss classifies"""
        return self.segment7(self.embed(x))


def _layer(inputs, outputs, kernel, dilation):
    return nn.Sequential(nn.Conv1d(inputs, outputs, kernel, dilation=dilation), nn.ReLU(), _norm(outputs))


def _norm(dim):
    return nn.BatchNorm1d(dim, eps=1e-3, affine=False)
