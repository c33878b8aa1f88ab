"""ECAPA-TDNN.

Desplanques, Thienpondt, Demuynck, "ECAPA-TDNN: emphasized channel attention, propagation and aggregation in TDNN based speaker verification",
Interspeech 2020 (arXiv 2005.07143), figure 2. C = 512 or 1024 channels; each convolution is followed by ReLU and BatchNorm.

    layer     kernel, dilation                                        output
    layer1    5, 1                                                    C
    block1    1; 3 in 8 parts, 2; 1; squeeze-excitation over 128      C          input + block, of the sum of all layers before
    block2    1; 3 in 8 parts, 3; 1; squeeze-excitation over 128      C
    block3    1; 3 in 8 parts, 4; 1; squeeze-excitation over 128      C
    layer5    1, of the three blocks side by side, no BatchNorm       1536
    pooling   attentive statistics with context over 128, BatchNorm   3072
    fc        BatchNorm                                               192        the embedding

6.19 and 14.65 million parameters for 80 mel filters, as wespeaker's of the same widths.
"""

import torch
import torch.nn.functional as F
from torch import nn

from pytorch.arguments import need_above_zero
from pytorch.models.padding import blank, masked_mean
from pytorch.models.pooling import PoolingName, build_pooling
from pytorch.program import Fail


class Ecapa(nn.Module):
    """summed: false, where the input of a block is the one block before it; embed_norm: false, where the embedding has no BatchNorm;
    attention_norm: BatchNorm in the attention's hidden layer, as in the first public implementations; heads: of the poolings that have them
    reflect: convolutions see the reflected ends of an utterance instead of zeros; frames_norm: BatchNorm after layer5; std_floor, biased: of astp"""

    input = "feats"
    layers, output = ("embedding",), "embedding"

    def __init__(
        self, feat_dim, channels=512, out_dim=1536, embed_dim=192, parts=8, se_dim=128, pooling: PoolingName = "astp", attention_dim=128, context=True,
        attention_norm=False, heads=8, summed=True, embed_norm=True, reflect=False, frames_norm=False, std_floor=1e-7, biased=False,
    ):  # fmt: skip
        super().__init__()
        if channels % parts or parts < 2:
            raise Fail(f"--model-args: channels={channels}: a multiple of parts={parts} (2 or more) expected")
        need_above_zero("--model-args", std_floor=std_floor)
        self.embed_dim, self.summed = embed_dim, summed
        self.masks_padding, self.min_frames = not reflect, 5 if reflect else 1  # what is reflected is less than all
        mode = "reflect" if reflect else "zeros"
        self.layer1 = ConvReluNorm(feat_dim, channels, 5, mode=mode)
        self.blocks = nn.ModuleList(Res2Block(channels, dilation, parts, se_dim, mode) for dilation in (2, 3, 4))
        self.layer5 = nn.Conv1d(3 * channels, out_dim, 1)
        self.frames_norm = nn.BatchNorm1d(out_dim) if frames_norm else nn.Identity()
        options = {"context": context, "norm": attention_norm, "floor": std_floor, "biased": biased, "heads": heads}
        self.pooling = build_pooling(pooling, out_dim, bottleneck=attention_dim, **options)
        self.pooling_norm = nn.BatchNorm1d(self.pooling.out_dim)
        self.fc = nn.Linear(self.pooling.out_dim, embed_dim)
        self.embed_norm = nn.BatchNorm1d(embed_dim) if embed_norm else nn.Identity()

    def frames(self, x, lengths=None):
        """x: (B, T, feat_dim) -> (B, out_dim, T)"""
        h = self.layer1(blank(x.transpose(1, 2), lengths))  # (B, channels, T)
        outputs = []
        for block in self.blocks:
            out = block(h, lengths)
            h = h + out if self.summed else out
            outputs.append(out)
        return self.frames_norm(F.relu(self.layer5(torch.cat(outputs, dim=1))))

    def embed(self, x, lengths=None, layer=None):
        """x: (B, T, feat_dim); lengths: (B,) frames of each utterance, the rest is padding -> (B, embed_dim), the same whatever the padding,
        which there may not be with reflect"""
        assert lengths is None or self.masks_padding or (lengths == x.shape[1]).all(), "utterances of one length expected"
        stats = self.pooling(self.frames(x, lengths), lengths)  # (B, 2 out_dim)
        return self.embed_norm(self.fc(self.pooling_norm(stats)))

    def forward(self, x, lengths=None):
        """x, lengths: as of embed -> (B, embed_dim), what the loss classifies: the embedding"""
        return self.embed(x, lengths)


class ConvReluNorm(nn.Module):
    def __init__(self, inputs, outputs, kernel=1, dilation=1, mode="zeros"):
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation, padding=dilation * (kernel - 1) // 2, padding_mode=mode)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, h):
        return self.norm(F.relu(self.conv(h)))


class Res2Block(nn.Module):
    """Squeeze-excitation of a Res2Net block: all parts of the channels but the last are convolved, each added to the one after it before that."""

    def __init__(self, channels, dilation, parts, se_dim, mode):
        super().__init__()
        self.width = channels // parts
        self.enter = ConvReluNorm(channels, channels)
        self.convs = nn.ModuleList(ConvReluNorm(self.width, self.width, 3, dilation, mode) for _ in range(parts - 1))
        self.leave = ConvReluNorm(channels, channels)
        self.squeeze = nn.Linear(channels, se_dim)
        self.excite = nn.Linear(se_dim, channels)

    def forward(self, x, lengths=None):
        *parts, last = self.enter(x).split(self.width, dim=1)
        outputs = []
        for part, conv in zip(parts, self.convs, strict=True):
            outputs.append(conv(blank(outputs[-1] + part if outputs else part, lengths)))
        h = self.leave(torch.cat([*outputs, last], dim=1))  # (B, channels, T)
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(masked_mean(h, lengths)))))
        return x + h * gate.unsqueeze(2)
