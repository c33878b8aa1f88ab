"""3D-Speaker (github.com/modelscope/3D-Speaker): the .bin, .pt and .ckpt files of its published models, and embedding_model.ckpt of its recipes.

    theirs                                  ours
    CAMPPlus                                campplus
    ERes2NetV2, of any width and scale      eres2netv2
    ECAPA_TDNN, which is SpeechBrain's      ecapa with the options that make it so
    ResNet                                  resnet, where `two_emb_layer` is false

Features are its recipes': 80 mel filters of a Povey window without dither, the mean of the utterance subtracted. It takes samples between -1 and 1 and
lets no filter's energy fall below 2^-23 of these, which is 2^7 of samples in the range of 16-bit integers.
ERes2Net (without V2) and the networks on top of others are not here.
"""

from pytorch.foreign import Network, Peer
from pytorch.foreign.families import CAMPPLUS, campplus_sizes, resnet_rows, resnet_sizes, speechbrain_ecapa_rows, speechbrain_ecapa_sizes

FEATURES = {"feature": "fbank", "log_floor": 2.0**-23 * 2**30}

THEIRS, OURS = "layer<i+1>.<j>.", "stages.<i>.<j>."
ERES2NETV2 = (
    ("conv1.weight", "conv1.weight"),
    ("bn1.*", "norm1.*"),
    (THEIRS + "conv1.weight", OURS + "enter.0.weight"),
    (THEIRS + "bn1.*", OURS + "enter.1.*"),
    (THEIRS + "convs.<k>.weight", OURS + "convs.<k>.0.weight"),
    (THEIRS + "bns.<k>.*", OURS + "convs.<k>.1.*"),
    (THEIRS + "fuse_models.<k>.local_att.<n>.*", OURS + "fusions.<k>.attention.<n>.*"),
    (THEIRS + "conv3.weight", OURS + "leave.0.weight"),
    (THEIRS + "bn3.*", OURS + "leave.1.*"),
    (THEIRS + "shortcut.<k>.*", OURS + "shortcut.<k>.*"),
    ("layer3_ds.weight", "down.weight"),
    ("fuse34.local_att.<n>.*", "fuse.attention.<n>.*"),
    ("seg_1.*", "embedding.*"),
)


def eres2netv2(shapes):
    width = shapes.of("conv1.weight", 4)[0]
    part, outputs = shapes.of("layer1.0.convs.0.weight", 4)[0], shapes.of("layer1.0.conv3.weight", 4)[0]
    embed_dim, pooled = shapes.of("seg_1.weight", 2)
    base_width = -(-64 * part // width)  # the least of which a part has so many channels
    args = {"width": width, "base_width": base_width, "parts": shapes.count("layer1.0.convs.<i>.weight"), "expansion": outputs // width}
    return 8 * (pooled // (16 * outputs)), {**args, "embed_dim": embed_dim, "std_eps": 1e-8}


def resnet(shapes):
    feat_dim, args = resnet_sizes(shapes, "", "seg_1")
    return feat_dim, {**args, "std_eps": 1e-8}


PEER = Peer(
    networks={
        "campplus": Network("campplus", ("xvector.block1.tdnnd1.linear1.weight",), CAMPPLUS, campplus_sizes, FEATURES, "mean"),
        "ecapa": Network("ecapa", ("asp.tdnn.conv.conv.weight",), speechbrain_ecapa_rows, speechbrain_ecapa_sizes, FEATURES, "mean"),
        "eres2netv2": Network("eres2netv2", ("layer3_ds.weight",), ERES2NETV2, eres2netv2, FEATURES, "mean"),
        "resnet": Network(
            "resnet",
            ("seg_1.weight", "layer1.<i>.conv1.weight"),
            (*resnet_rows(), ("seg_1.*", "embedding.*")),
            resnet,
            FEATURES,
            "mean",
            lacks=("layer1.<i>.convs.**",),
        ),
    }
)
