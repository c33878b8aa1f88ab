"""SpeechBrain's ECAPA-TDNN (github.com/speechbrain/speechbrain): embedding_model.ckpt of its recipes and of what is published with them.

Ours is ecapa with the options that make it SpeechBrain's: reflected ends, a BatchNorm after the layers are joined, blocks that pass the first part of
their channels. Its features are its own: filters of another shape, decibels, no pre-emphasis, at most 80 dB below the loudest. Those that come next are
torchaudio's with the same frames; embeddings of them are not the original's, so they must be asked for. The mean of the utterance is subtracted.
"""

from pytorch.foreign import Network, Peer
from pytorch.foreign.families import speechbrain_ecapa_rows, speechbrain_ecapa_sizes

FEATURES = {"feature": "melspec", "window_type": "hamming"}
DIFFERS = "SpeechBrain's filters, decibels and their floor are not among the features here, and what comes next gives other embeddings than the original's"

PEER = Peer(
    networks={
        "ecapa": Network(
            "ecapa", ("asp.tdnn.conv.conv.weight",), speechbrain_ecapa_rows, speechbrain_ecapa_sizes, FEATURES, "mean", differs=DIFFERS, alike=False
        )
    }
)
