"""The extended TDNN, with a dense layer after each that looks around.

Snyder et al., "Speaker recognition for multi-speaker conversations using x-vectors", ICASSP 2019, table 1:

    layer       context            output
    frame1      t-2 … t+2          512
    frame2      t                  512
    frame3      t-2, t, t+2        512
    frame4      t                  512
    frame5      t-3, t, t+3        512
    frame6      t                  512
    frame7      t-4, t, t+4        512
    frame8      t                  512
    frame9      t                  512
    frame10     t                  1500
    stats       the utterance      3000
    segment11                      512     the embedding: before the non-linearity
    segment12                      512

Layers are followed by ReLU and BatchNorm (without scale and offset, as Kaldi's).
"""

from torch import nn

from pytorch.models.pooling import mean_std


class ETdnn(nn.Module):
    """segment12 false: for margin losses, there is no segment12 and the embedding is segment11 normalised over the training data."""

    input, masks_padding, min_frames = "feats", True, 23  # no padding: the frame layers see 11 frames to each side
    output = "segment11"

    def __init__(self, feat_dim, frame_dim=512, stats_dim=1500, embed_dim=512, segment12=True):
        super().__init__()
        self.embed_dim, self.layers = embed_dim, ("segment11", "segment12") if segment12 else ("segment11",)
        layers = [_layer(feat_dim, frame_dim, 5, 1), _layer(frame_dim, frame_dim)]
        for dilation in (2, 3, 4):
            layers += [_layer(frame_dim, frame_dim, 3, dilation), _layer(frame_dim, frame_dim)]
        self.frames = nn.Sequential(*layers, _layer(frame_dim, frame_dim), _layer(frame_dim, stats_dim))
        self.segment11 = nn.Linear(2 * stats_dim, embed_dim)
        self.normalise = nn.Identity() if segment12 else _norm(embed_dim)
        self.segment12 = (
            nn.Sequential(nn.ReLU(), _norm(embed_dim), nn.Linear(embed_dim, embed_dim), nn.ReLU(), _norm(embed_dim)) if segment12 else nn.Identity()
        )

    def embed(self, x, lengths=None, layer=None):
        """x: (B, T, feat_dim) with T >= min_frames; lengths: (B,) frames of each utterance, the rest is padding
        -> (B, embed_dim), the same whatever the padding"""
        h = self.frames(x.transpose(1, 2))  # (B, stats_dim, T - 22)
        segment11 = self.normalise(self.segment11(mean_std(h, None if lengths is None else lengths - self.min_frames + 1)))
        return self.segment12[:3](segment11) if layer == "segment12" else segment11

    def forward(self, x, lengths=None):
        """x, lengths: as of embed -> (B, embed_dim), what the loss classifies"""
        return self.segment12(self.embed(x, lengths, "segment11"))


def _layer(inputs, outputs, kernel=1, dilation=1):
    return nn.Sequential(nn.Conv1d(inputs, outputs, kernel, dilation=dilation), nn.ReLU(), _norm(outputs))


def _norm(dim):
    return nn.BatchNorm1d(dim, eps=1e-3, affine=False)
