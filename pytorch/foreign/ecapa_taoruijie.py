"""TaoRuijie's ECAPA-TDNN (github.com/TaoRuijie/ECAPA-TDNN): pretrain.model and the model files of its training.

Ours is ecapa with attention_norm=true attention_dim=256 std_floor=1e-4. Features are torchaudio's: 80 mel filters (20 to 7600 Hz) of the powers of a
periodic Hamming window of 400 samples in an FFT of 512, after a pre-emphasis of the signal, to which 1e-6 is added for the logarithm; samples are between
-1 and 1 there, so here it is 1e-6 times 2^30.
"""

from pytorch.foreign import Network, Peer, as_linear
from pytorch.foreign.families import ecapa_parts

FEATURES = {
    "feature": "melspec",
    "preemphasis_coefficient": 0.97,
    "reflect_preemphasis": True,
    "window_type": "hamming",
    "fft_samples": 512,
    "low_freq": 20.0,
    "high_freq": 7600.0,
    "log_offset": 1e-6 * 2**30,
}
LAYER, BLOCK = "layer<i+1>.", "blocks.<i>."
NAMES = (
    ("conv1.*", "layer1.conv.*"),
    ("bn1.*", "layer1.norm.*"),
    (LAYER + "conv1.*", BLOCK + "enter.conv.*"),
    (LAYER + "bn1.*", BLOCK + "enter.norm.*"),
    (LAYER + "convs.<j>.*", BLOCK + "convs.<j>.conv.*"),
    (LAYER + "bns.<j>.*", BLOCK + "convs.<j>.norm.*"),
    (LAYER + "conv3.*", BLOCK + "leave.conv.*"),
    (LAYER + "bn3.*", BLOCK + "leave.norm.*"),
    (LAYER + "se.se.1.*", BLOCK + "squeeze.*", as_linear),
    (LAYER + "se.se.3.*", BLOCK + "excite.*", as_linear),
    ("layer4.*", "layer5.*"),
    ("attention.0.*", "pooling.hidden.*"),
    ("attention.2.*", "pooling.activation.1.*"),
    ("attention.4.*", "pooling.scores.*"),
    ("bn5.*", "pooling_norm.*"),
    ("fc6.*", "fc.*"),
    ("bn6.*", "embed_norm.*"),
)


def sizes(shapes):
    feat_dim, args = ecapa_parts(shapes, "conv1.weight", "layer4.weight", "fc6.weight", "layer1.convs.<i>.weight")
    hidden, inputs, _ = shapes.of("attention.0.weight", 3)
    told = {"attention_dim": hidden, "context": inputs == 3 * args["out_dim"], "se_dim": shapes.of("layer1.se.se.1.weight", 3)[0]}
    return feat_dim, {**args, **told, "attention_norm": True, "std_floor": 1e-4}


PEER = Peer(
    networks={"ecapa": Network("ecapa", ("layer1.se.se.1.weight",), NAMES, sizes, FEATURES, "mean")},
    prefix="speaker_encoder.",
    dead=("speaker_encoder.torchfbank.**", "speaker_loss.**"),
)
