"""Families of networks that several peers have: their names, and their sizes as the shapes of the weights tell them."""

from pytorch.foreign import as_linear
from pytorch.program import Fail

LAYER = "xvector.block<i+1>.tdnnd<j+1>."  # of CAM++
CAMPPLUS = (
    ("head.conv1.weight", "front.enter.weight"),
    ("head.bn1.*", "front.enter_norm.*"),
    *((f"head.layer{i + 1}.<j>.conv<k>.weight", f"front.blocks.<j+{2 * i}>.conv<k>.weight") for i in (0, 1)),
    *((f"head.layer{i + 1}.<j>.bn<k>.*", f"front.blocks.<j+{2 * i}>.norm<k>.*") for i in (0, 1)),
    *((f"head.layer{i + 1}.<j>.shortcut.<k>.*", f"front.blocks.<j+{2 * i}>.shortcut.<k>.*") for i in (0, 1)),
    ("head.conv2.weight", "front.leave.weight"),
    ("head.bn2.*", "front.leave_norm.*"),
    ("xvector.tdnn.linear.weight", "tdnn.0.weight"),
    ("xvector.tdnn.nonlinear.batchnorm.*", "tdnn.1.*"),
    (LAYER + "nonlinear1.batchnorm.*", "blocks.<i>.0.<j>.enter.0.*"),
    (LAYER + "linear1.weight", "blocks.<i>.0.<j>.enter.2.weight"),
    (LAYER + "nonlinear2.batchnorm.*", "blocks.<i>.0.<j>.enter.3.*"),
    (LAYER + "cam_layer.linear_local.weight", "blocks.<i>.0.<j>.conv.weight"),
    (LAYER + "cam_layer.linear1.*", "blocks.<i>.0.<j>.context.0.*"),
    (LAYER + "cam_layer.linear2.*", "blocks.<i>.0.<j>.context.2.*"),
    ("xvector.transit<i+1>.nonlinear.batchnorm.*", "blocks.<i>.1.0.*"),
    ("xvector.transit<i+1>.linear.weight", "blocks.<i>.1.2.weight"),
    ("xvector.out_nonlinear.batchnorm.*", "norm.*"),
    ("xvector.dense.linear.weight", "dense.weight", as_linear),
    ("xvector.dense.nonlinear.batchnorm.*", "embed_norm.*"),
)


def resnet_rows(theirs=""):
    """Rows of a ResNet whose front end's names begin with `theirs`."""
    block, ours = f"{theirs}layer<i+1>.<j>.", "stages.<i>.<j>."
    return (
        (f"{theirs}conv1.weight", "conv1.weight"),
        (f"{theirs}bn1.*", "norm1.*"),
        (f"{block}conv<k>.weight", f"{ours}conv<k>.weight"),
        (f"{block}bn<k>.*", f"{ours}norm<k>.*"),
        (f"{block}downsample.<k>.*", f"{ours}shortcut.<k>.*"),
        (f"{block}shortcut.<k>.*", f"{ours}shortcut.<k>.*"),
    )


def resnet_sizes(shapes, prefix, embedding):
    """-> columns of the features, {depth, width, embed_dim}; embedding: name of the last layer; the pooling gives two values for one"""
    from pytorch.models.resnet import DEPTHS

    width = shapes.of(f"{prefix}conv1.weight", 4)[0]
    embed_dim, pooled = shapes.of(f"{embedding}.weight", 2)
    counts = tuple(shapes.count(f"{prefix}layer{number}.<i>.conv1.weight") for number in (1, 2, 3, 4))
    convs = 3 if f"{prefix}layer1.0.conv3.weight" in shapes else 2
    depths = [depth for depth, kind in DEPTHS.items() if kind == (counts, convs)]
    if not depths:
        raise Fail(f"{shapes.path}: {', '.join(map(str, counts))} blocks of {convs} convolutions; the ResNets here have depths {', '.join(map(str, DEPTHS))}")
    channels = 8 * width * (4 if convs == 3 else 1)
    return 8 * (pooled // (2 * channels)), {"depth": depths[0], "width": width, "embed_dim": embed_dim}


def ecapa_parts(shapes, first, last, embedding, part):
    """-> columns of the features, {channels, out_dim, embed_dim, parts}; first, last, embedding: names; part: pattern of a block's convolutions of parts"""
    channels, feat_dim, _ = shapes.of(first, 3)
    return feat_dim, {"channels": channels, "out_dim": shapes.of(last, 3)[0], "embed_dim": shapes[embedding][0], "parts": shapes.count(part) + 1}


def speechbrain_ecapa_rows(args):
    """Rows of SpeechBrain's ECAPA-TDNN, which passes the first part of a block's channels and convolves the others; ours passes the last."""

    def rotated_rows(x):
        return x.roll(-(len(x) // args["parts"]), 0)

    def rotated_columns(x):
        return x.roll(-(x.shape[1] // args["parts"]), 1) if x.dim() > 1 else x

    block, ours = "blocks.<i+1>.", "blocks.<i>."
    return (
        ("blocks.0.conv.conv.*", "layer1.conv.*"),
        ("blocks.0.norm.norm.*", "layer1.norm.*"),
        (block + "tdnn1.conv.conv.*", ours + "enter.conv.*", rotated_rows),
        (block + "tdnn1.norm.norm.*", ours + "enter.norm.*", rotated_rows),
        (block + "res2net_block.blocks.<j>.conv.conv.*", ours + "convs.<j>.conv.*"),
        (block + "res2net_block.blocks.<j>.norm.norm.*", ours + "convs.<j>.norm.*"),
        (block + "tdnn2.conv.conv.weight", ours + "leave.conv.weight", rotated_columns),
        (block + "tdnn2.conv.conv.bias", ours + "leave.conv.bias"),
        (block + "tdnn2.norm.norm.*", ours + "leave.norm.*"),
        (block + "se_block.conv1.conv.*", ours + "squeeze.*", as_linear),
        (block + "se_block.conv2.conv.*", ours + "excite.*", as_linear),
        ("mfa.conv.conv.*", "layer5.*"),
        ("mfa.norm.norm.*", "frames_norm.*"),
        ("asp.tdnn.conv.conv.*", "pooling.hidden.*"),
        ("asp.tdnn.norm.norm.*", "pooling.activation.1.*"),
        ("asp.conv.conv.*", "pooling.scores.*"),
        ("asp_bn.norm.*", "pooling_norm.*"),
        ("fc.conv.*", "fc.*", as_linear),
    )


def speechbrain_ecapa_sizes(shapes):
    """-> columns of the features, arguments of ecapa"""
    names = ("blocks.0.conv.conv.weight", "mfa.conv.conv.weight", "fc.conv.weight", "blocks.1.res2net_block.blocks.<i>.conv.conv.weight")
    feat_dim, args = ecapa_parts(shapes, *names)
    hidden, inputs, _ = shapes.of("asp.tdnn.conv.conv.weight", 3)
    se_dim = shapes.of("blocks.1.se_block.conv1.conv.weight", 3)[0]
    told = {"attention_dim": hidden, "context": inputs == 3 * args["out_dim"], "se_dim": se_dim}
    fixed = {"summed": False, "embed_norm": False, "reflect": True, "frames_norm": True, "attention_norm": True, "std_floor": 1e-12, "biased": True}
    return feat_dim, {**args, **told, **fixed}


def campplus_sizes(shapes):
    """-> columns of the features, arguments of campplus"""
    front = shapes.of("head.conv1.weight", 4)[0]
    channels, inputs, _ = shapes.of("xvector.tdnn.linear.weight", 3)
    growth, layer_dim, _ = shapes.of("xvector.block1.tdnnd1.cam_layer.linear_local.weight", 3)
    counts = [shapes.count(f"xvector.block{number}.tdnnd<i>.linear1.weight") for number in (1, 2, 3)]
    sizes = {"front_dim": front, "channels": channels, "growth": growth, "layer_dim": layer_dim, "blocks": ",".join(map(str, counts))}
    return 8 * (inputs // front), {**sizes, "embed_dim": shapes["xvector.dense.linear.weight"][0]}
