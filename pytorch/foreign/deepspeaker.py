"""The double-attention systems (github.com/miquelindia90/DoubleAttentionSpeakerVerification, DeepSpeaker; DoubleAttentionAgeClassification): .chkpt files.

    theirs                                     ours
    VGG3L, VGG4L, of any kernel_size           vgg3l, vgg4l channels=kernel_size
    ResNet34, ResNet101 of DeepSpeaker         gelu_resnet depth=34, 101
    the ResNet of the age classification       age_resnet average_time=true
    Attention, MHA, DoubleMHA                  pooling=sap, mha, dmha

The embedding of the VGGs is emb2, as in the paper. Kernels lie over frames x filters there, over filters x frames here. b1 and b3 are BatchNorms that they
never use. Features are `--feature mfsc`, the mean of the utterance subtracted. The settings in the file, a Namespace, are not looked at.

DeepSpeaker (its ResNets, and its VGG4L, whose files look like the others': --model deepspeaker_vgg4l) takes emb3, of other features: powers, in filters of
one area, of samples that are 0.03 times as large, which lifts the floor and, with the mean taken off, does nothing else.
"""

from pytorch.foreign import Network, Peer
from pytorch.program import Fail

FEATURES = {"feature": "mfsc"}
LATER_FEATURES = {"feature": "mfsc", "use_power": True, "mel_norm": "slaney", "log_floor": 1111.11}


def filters_first(x):
    """A kernel over frames x filters"""
    return x.transpose(2, 3) if x.dim() == 4 else x


def transposed(x):
    return x.T if x.dim() == 2 else x


TAIL = (
    ("poolingLayer.utteranceAttention.query", "pooling.attention.query", transposed),
    ("poolingLayer.headsAttention.att", "pooling.query"),
    ("poolingLayer.query", "pooling.query", transposed),
    ("poolingLayer.att", "pooling.query", transposed),
    ("fc<i>.*", "fc<i>.*"),
    ("b2.*", "norm.*"),
    ("preLayer.*", "fc3.*"),
)
VGG = (
    ("front_end.conv<i+1>1.weight", "blocks.<i>.0.weight", filters_first),
    ("front_end.conv<i+1>1.bias", "blocks.<i>.0.bias"),
    ("front_end.conv<i+1>2.weight", "blocks.<i>.1.weight", filters_first),
    ("front_end.conv<i+1>2.bias", "blocks.<i>.1.bias"),
    *TAIL,
)
AGE = (
    ("front_end.conv1.weight", "conv1.0.weight", filters_first),
    ("front_end.bn1.*", "conv1.1.*"),
    *((f"front_end.layer{i + 1}.<j>.conv<k>.weight", f"blocks.<j+{2 * i}>.conv<k>.0.weight", filters_first) for i in (0, 1, 2)),
    *((f"front_end.layer{i + 1}.<j>.bn<k>.*", f"blocks.<j+{2 * i}>.conv<k>.1.*") for i in (0, 1, 2)),
    *((f"front_end.layer{i + 1}.<j>.downsample.<k>.*", f"blocks.<j+{2 * i}>.shortcut.<k>.*", filters_first) for i in (0, 1, 2)),
    *TAIL,
)
RESNET = (
    ("front_end.block<i+1>.block<j>.conv<k>.weight", "groups.<i>.<j>.conv<k>.weight", filters_first),
    ("front_end.block<i+1>.block<j>.conv<k>.bias", "groups.<i>.<j>.conv<k>.bias"),
    ("front_end.block<i+1>.block<j>.bn<k>.*", "groups.<i>.<j>.norm<k>.*"),
    *TAIL,
)


def tail(shapes):
    """-> channels that are pooled, arguments of the pooling and the layers after it"""
    embed_dim = shapes.of("fc2.weight", 2)[0]
    name = "poolingLayer.utteranceAttention.query"
    if name in shapes:
        part, heads = shapes.of(name, 2)
        return part * heads, {"pooling": "dmha", "heads": heads, "embed_dim": embed_dim}
    if "poolingLayer.query" in shapes:
        part, heads = shapes.of("poolingLayer.query", 2)
        return part * heads, {"pooling": "mha", "heads": heads, "embed_dim": embed_dim}
    return shapes.of("poolingLayer.att", 2)[0], {"pooling": "sap", "embed_dim": embed_dim}


def vgg(layers):
    """layers: maxima that halve the filters"""

    def sizes(shapes):
        channels = shapes.of(f"front_end.conv{layers}2.weight", 4)[0]
        pooled, args = tail(shapes)
        return _filters(shapes, pooled, channels) * 2**layers, {"channels": channels, **args}

    return sizes


def later_vgg(shapes):
    feat_dim, args = vgg(4)(shapes)
    return feat_dim, {**args, "output": "emb3"}


def _filters(shapes, pooled, channels):
    """Rows of the last maps"""
    if pooled % channels:
        raise Fail(f"{shapes.path}: {pooled} channels are pooled, which are no multiple of the {channels} of the last layer; damaged")
    return pooled // channels


def resnet(shapes):
    from pytorch.models.gelu_resnet import DEPTHS

    counts = tuple(shapes.count(f"front_end.block{group}.block<i>.conv1.weight") for group in (1, 2, 3, 4))
    depths = [depth for depth, blocks in DEPTHS.items() if blocks == counts]
    if not depths:
        raise Fail(f"{shapes.path}: {', '.join(map(str, counts))} blocks; the ResNets here have depths {', '.join(map(str, DEPTHS))}")
    channels = shapes.of("front_end.block4.block0.conv1.weight", 4)[0]
    pooled, args = tail(shapes)
    return _filters(shapes, pooled, channels) * 16, {"depth": depths[0], "channels": channels, **args}


def age(shapes):
    pooled, args = tail(shapes)
    return 80, {"channels": 2 * pooled, "average_time": True, **args}  # filters are averaged: the weights do not tell how many


PEER = Peer(
    networks={
        "vgg3l": Network("vgg3l", ("front_end.conv32.weight",), VGG, vgg(3), FEATURES, "mean", lacks=("front_end.conv4**",)),
        "vgg4l": Network("vgg4l", ("front_end.conv42.weight",), VGG, vgg(4), FEATURES, "mean"),
        "resnet": Network("gelu_resnet", ("front_end.block1.block0.conv1.weight",), RESNET, resnet, LATER_FEATURES, "mean"),
        "deepspeaker_vgg4l": Network("vgg4l", (), VGG, later_vgg, LATER_FEATURES, "mean", lacks=("**",)),
        "age_resnet": Network("age_resnet", ("front_end.layer1.0.conv1.weight",), AGE, age, FEATURES, "mean"),
    },
    inside=("model",),
    dead=("predictionLayer.**", "b1.*", "b3.*", "front_end.fc.*"),
    classes=("argparse.Namespace",),
)
