"""wespeaker (github.com/wenet-e2e/wespeaker): model_N.pt and avg_model.pt of its recipes and its published models.

    theirs                                  ours
    ResNet18 … ResNet293                    resnet
    SimAM_ResNet34_ASP, SimAM_ResNet100_ASP resnet gate=simam pooling=asp
    ECAPA_TDNN_c512, _GLOB_c1024, …         ecapa summed=false, embed_norm where it is there
    CAMPPlus                                campplus

Features are its recipes': 80 mel filters of a Hamming window without dither, the mean of the utterance subtracted. `two_emb_layer` networks are refused:
the embedding is after a second layer there.
"""

from pytorch.foreign import Network, Peer
from pytorch.foreign.families import CAMPPLUS, campplus_sizes, ecapa_parts, resnet_rows, resnet_sizes

FEATURES = {"feature": "fbank", "window_type": "hamming"}


BLOCK = "layer<i+2>.se_res2block."  # of ECAPA-TDNN
ECAPA = (
    ("layer1.conv.*", "layer1.conv.*"),
    ("layer1.bn.*", "layer1.norm.*"),
    (BLOCK + "0.conv.*", "blocks.<i>.enter.conv.*"),
    (BLOCK + "0.bn.*", "blocks.<i>.enter.norm.*"),
    (BLOCK + "1.convs.<j>.*", "blocks.<i>.convs.<j>.conv.*"),
    (BLOCK + "1.bns.<j>.*", "blocks.<i>.convs.<j>.norm.*"),
    (BLOCK + "2.conv.*", "blocks.<i>.leave.conv.*"),
    (BLOCK + "2.bn.*", "blocks.<i>.leave.norm.*"),
    (BLOCK + "3.linear1.*", "blocks.<i>.squeeze.*"),
    (BLOCK + "3.linear2.*", "blocks.<i>.excite.*"),
    ("conv.*", "layer5.*"),
    ("pool.linear1.*", "pooling.hidden.*"),
    ("pool.linear2.*", "pooling.scores.*"),
    ("bn.*", "pooling_norm.*"),
    ("linear.*", "fc.*"),
    ("bn2.*", "embed_norm.*"),
)


def resnet(shapes):
    feat_dim, args = resnet_sizes(shapes, "", "seg_1")
    return feat_dim, {**args, "pooling": "tstp"}


def simam(shapes):
    feat_dim, args = resnet_sizes(shapes, "front.", "bottleneck")
    return feat_dim, {**args, "gate": "simam", "pooling": "asp"}


def ecapa(shapes):
    feat_dim, args = ecapa_parts(shapes, "layer1.conv.weight", "conv.weight", "linear.weight", BLOCK.replace("<i+2>", "2") + "1.convs.<i>.weight")
    hidden, se = shapes.of("pool.linear1.weight", 3), shapes.of(BLOCK.replace("<i+2>", "2") + "3.linear1.weight", 2)
    sizes = {"attention_dim": hidden[0], "context": hidden[1] == 3 * args["out_dim"], "se_dim": se[0]}
    return feat_dim, {**args, **sizes, "summed": False, "embed_norm": "bn2.weight" in shapes}


def campplus(shapes):
    feat_dim, args = campplus_sizes(shapes)
    return feat_dim, {**args, "std_eps": 1e-7}


PEER = Peer(
    networks={
        "resnet": Network("resnet", ("seg_1.weight", "layer1.<i>.conv1.weight"), (*resnet_rows(), ("seg_1.*", "embedding.*")), resnet, FEATURES, "mean"),
        "simam_resnet": Network(
            "resnet",
            ("front.conv1.weight", "bottleneck.weight"),
            (
                *resnet_rows("front."),
                ("pooling.attention.0.*", "pooling.hidden.*"),
                ("pooling.attention.2.*", "pooling.activation.1.*"),
                ("pooling.attention.3.*", "pooling.scores.*"),
                ("bottleneck.*", "embedding.*"),
            ),
            simam,
            FEATURES,
            "mean",
        ),
        "ecapa": Network("ecapa", ("layer2.se_res2block.0.conv.weight", "linear.weight"), ECAPA, ecapa, FEATURES, "mean"),
        "campplus": Network("campplus", ("xvector.block1.tdnnd1.linear1.weight",), CAMPPLUS, campplus, FEATURES, "mean"),
    },
    dead=("projection.**",),
)
