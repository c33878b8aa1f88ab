"""SpeechBrain's ECAPA-TDNN (github.com/speechbrain/speechbrain): embedding_model.ckpt of its recipes and of what is published with them.

Ours is ecapa with the options that make it SpeechBrain's: reflected ends, a BatchNorm after the layers are joined, blocks that pass the first part of
their channels. Features are its Fbank, `--feature sbfbank`, the mean of the utterance subtracted; recordings have the 16 kHz of its recipes.
"""

from pytorch.foreign import Network, Peer
from pytorch.foreign.families import speechbrain_ecapa_rows, speechbrain_ecapa_sizes

PEER = Peer(
    networks={
        "ecapa": Network("ecapa", ("asp.tdnn.conv.conv.weight",), speechbrain_ecapa_rows, speechbrain_ecapa_sizes, {"feature": "sbfbank"}, "mean"),
    }
)
