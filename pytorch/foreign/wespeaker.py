"""wespeaker (github.com/wenet-e2e/wespeaker): model_N.pt and avg_model.pt of its recipes and its published models.

    theirs                                  ours
    ResNet18 … ResNet293                    resnet
    SimAM_ResNet34_ASP, SimAM_ResNet100_ASP resnet gate=simam pooling=asp
    ECAPA_TDNN_c512, _GLOB_c1024, …         ecapa summed=false, embed_norm where it is there
    CAMPPlus                                campplus
    ReDimNetB0 … ReDimNetB6                 redimnet pooling_norm=false
    ReDimNet2B0 … ReDimNet2B6               redimnet2 with their out
    XVEC                                    xvector output=segment7, with the norms and deviations of that code

Features are its recipes': 80 mel filters of a Hamming window without dither, the mean of the utterance subtracted; of networks with `frontend: tfmel`, and of
ReDimNet2s with `spec`, what their front ends tell, see fronts.py. `two_emb_layer` networks are refused: the embedding is after a second layer there; so are
networks on top of others (`frontend: s3prl` and the like).
"""

from pytorch.foreign import Network, Peer
from pytorch.foreign.families import CAMPPLUS, campplus_sizes, ecapa_parts, resnet_rows, resnet_sizes
from pytorch.program import Fail

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


XVEC = (
    *((f"frame_{i + 1}.conv_1d.*", f"frames.{i}.0.*") for i in range(5)),
    *((f"frame_{i + 1}.bn.*", f"frames.{i}.2.*") for i in range(5)),
    ("seg_1.*", "segment6.*"),
    ("seg_bn_1.*", "segment7.1.*"),
    ("seg_2.*", "segment7.2.*"),
)


def xvec(shapes):
    frame_dim, feat_dim, _ = shapes.of("frame_1.conv_1d.weight", 3)
    sizes = {"frame_dim": frame_dim, "stats_dim": shapes.of("frame_5.conv_1d.weight", 3)[0], "embed_dim": shapes.of("seg_2.weight", 2)[0]}
    return feat_dim, {**sizes, "segment7_norm": False, "output": "segment7", "norm_eps": 1e-5, "std_eps": 1e-7, "unbiased": True}


CONTEXT = (  # of a stage of ReDimNet
    ("red_dim_conv.0.*", "reduce.*"),
    ("red_dim_conv.1.*", "reduce_norm.*"),
    ("tcm.<k>.dwconvs.0.*", "convs.<k>.*"),
    ("tcm.<k>.norm.*", "norms.<k>.*"),
    ("tcm.<k>.pwconv1.*", "mixes.<k>.*"),
    ("tcm.4.attention.q_proj.*", "query.*"),
    ("tcm.4.attention.k_proj.*", "key.*"),
    ("tcm.4.attention.v_proj.*", "value.*"),
    ("tcm.4.attention.out_proj.*", "mix.*"),
    ("tcm.4.layer_norm.*", "attention_norm.*"),
    ("tcm.4.feed_forward.intermediate_dense.*", "feedforward.0.*"),
    ("tcm.4.feed_forward.output_dense.*", "feedforward.2.*"),
    ("tcm.4.final_layer_norm.*", "norm.*"),
    ("exp_dim_conv.*", "expand.*"),
)


def redimnet_rows(args):
    from pytorch.models.redimnet import SIZES

    *_, stages = SIZES[args["size"]]
    rows = [("backbone.stem.0.*", "stem.*"), ("backbone.stem.1.*", "stem_norm.*")]
    rows += [(f"backbone.inputs_weights.{len(stages)}", "aggregate.weight", as_sum), ("backbone.inputs_weights.<i>", "stages.<i>.sum.weight", as_sum)]
    for number, (_, count, expand, _) in enumerate(stages):
        theirs, ours = f"backbone.stage{number}.", f"stages.{number}."
        rows.append((f"{theirs}0.*", f"{ours}enter.*"))
        for block in range(count):
            inner, own = f"{theirs}{block + 1}.conv_block.", f"{ours}blocks.{block}."
            rows += [(f"{inner}conv<k>.*", f"{own}conv<k>.*"), (f"{inner}conv<k>pw.*", f"{own}mix<k>.*"), (f"{inner}bn<k>.*", f"{own}norm<k>.*")]
            rows += [(f"{inner}se.squeeze.*", f"{own}gate.0.*"), (f"{inner}se.exitation.*", f"{own}gate.2.*")]
            rows += [(f"{inner}dwconvs.0.*", f"{own}conv.*"), (f"{inner}norm.*", f"{own}norm.*"), (f"{inner}pwconv1.*", f"{own}mix.*")]
        place = count + 1
        if expand != 1:
            rows.append((f"{theirs}{place}.<k>.*", f"{ours}leave.<k>.*"))
            place += 1
        rows += [(f"{theirs}{place + 1}.{one}", f"{ours}context.{other}") for one, other in CONTEXT]  # there, a change of shape lies between
    return (*rows, ("pool.linear1.*", "pooling.hidden.*"), ("pool.linear2.*", "pooling.scores.*"), ("seg_1.*", "embedding.*"))


def as_sum(x):
    """Weights of earlier outputs: without the axis of the batch"""
    return x[0] if x.dim() == 4 else x


def redimnet(shapes):
    from pytorch.models.redimnet import SIZES

    channels = shapes.of("backbone.stem.0.weight", 4)[0]
    counts = [shapes.count(f"backbone.stage{number}.<i>.conv_block.{word}.weight") for number in range(6) for word in ("conv1", "pwconv1")]
    grouped = next((shapes[name][1] for name in shapes if name.endswith(("0.1.conv_block.conv1.weight", "0.1.conv_block.dwconvs.0.weight"))), 0)
    for size, (own, group, kind, stages) in SIZES.items():
        wanted = [n for place in range(6) for n in _by_kind(kind, stages[place][1] if place < len(stages) else 0)]
        inner = stages[0][0] * own * stages[0][2]  # channels of the first stage's blocks
        if (own, wanted, inner // max(1, inner // group)) == (channels, counts, grouped):
            pooled = shapes.of("seg_1.weight", 2)
            return pooled[1] // (2 * channels), {"size": size, "embed_dim": pooled[0], "pooling": "astp", "pooling_norm": False}
    raise Fail(f"{shapes.path}: {channels} channels, blocks {' '.join(map(str, counts))} in groups of {grouped}: no ReDimNet B0 to B6")


def redimnet2_rows(args):
    from pytorch.models.redimnet import SIZES2

    *_, stages = SIZES2[args["size"]]
    rows = [("backbone.stem.0.*", "stem.*"), ("backbone.stem.1.*", "stem_norm.*"), ("backbone.stem_gnorm.*", "norms.0.*")]
    rows += [("backbone.fin_wght1d.w", "aggregate.weight", as_sum), ("backbone.stage<i>.0.w", "stages.<i>.sum.weight", as_sum)]
    for number, (_, count, expand, _) in enumerate(stages):
        theirs, ours = f"backbone.stage{number}.", f"stages.{number}."
        rows.append((f"{theirs}2.*", f"{ours}enter.*"))  # before it, the sum and a change of shape
        for block in range(count):
            inner, own = f"{theirs}{block + 3}.conv_block.", f"{ours}blocks.{block}."
            rows += [(f"{inner}conv<k>.*", f"{own}conv<k>.*"), (f"{inner}conv<k>pw.*", f"{own}mix<k>.*"), (f"{inner}bn<k>.*", f"{own}norm<k>.*")]
        place = count + 3
        if expand != 1:
            rows.append((f"{theirs}{place}.<k>.*", f"{ours}leave.<k>.*"))
            place += 1
        rows += [(f"{theirs}{place + 1}.{one}", f"{ours}context.{other}") for one, other in CONTEXT]  # before it, a change of shape
        rows.append((f"{theirs}{place + 3}.*", f"norms.{number + 1}.*"))  # before it, frames are repeated
    rows += [("backbone.head.*", "out.*"), ("pool.linear1.*", "pooling.hidden.*"), ("pool.linear2.*", "pooling.scores.*")]
    return (*rows, ("bn.*", "norm.*"), ("linear.*", "embedding.*"))


def redimnet2(shapes):
    from pytorch.models.redimnet import SIZES2

    channels, values = shapes.of("backbone.stem.0.weight", 4)[0], shapes.of("backbone.fin_wght1d.w", 4)[2]
    if values % channels:
        raise Fail(f"{shapes.path}: frames of {values} values, which are no multiple of the {channels} channels; damaged")
    counts = [shapes.count(f"backbone.stage{number}.<i>.conv_block.conv1.weight") for number in range(6)]
    entered = [shapes.of(f"backbone.stage{number}.2.weight", 4)[0] for number in range(6)]
    for size, (own, _, _, stages) in SIZES2.items():
        if (own, counts, entered) == (channels, [stage[1] for stage in stages], _entered(own, stages)):
            args = {"size": size, "embed_dim": shapes.of("linear.weight", 2)[0], "pooling": "astp", "group_norm": "backbone.stem_gnorm.weight" in shapes}
            if "backbone.head.weight" in shapes:
                by_filter = len(shapes["backbone.head.weight"]) == 4
                args |= {"out": shapes.of("backbone.head.weight", 4 if by_filter else 3)[0], "out_by_filter": by_filter}
            elif size != "b4" and not shapes.settings:  # the only published one without, pooled as it comes
                raise Fail(f"{shapes.path}: a ReDimNet2 like {size} without 'backbone.head': the order in which its values are pooled is told by no weight")
            return values // channels, args
    raise Fail(f"{shapes.path}: {channels} channels, blocks {' '.join(map(str, counts))} of {' '.join(map(str, entered))}: no ReDimNet2 B0 to B6")


def _entered(channels, stages):
    """Channels of the blocks, stage by stage"""
    found = []
    for step, _, expand, _ in stages:
        found.append(int(step * channels * expand))
        channels *= step
    return found


def _by_kind(kind, count):
    return (0, count) if kind == "convnext" else (count, 0)


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
        "xvec": Network("xvector", ("frame_1.conv_1d.weight", "seg_2.weight"), XVEC, xvec, FEATURES, "mean"),
        "redimnet": Network(
            "redimnet", ("backbone.stem.0.weight", "backbone.inputs_weights.1", "pool.linear1.weight"), redimnet_rows, redimnet, FEATURES, "mean"
        ),
        "redimnet2": Network("redimnet2", ("backbone.fin_wght1d.w", "pool.linear1.weight"), redimnet2_rows, redimnet2, FEATURES, "mean"),
    },
    dead=("projection.**", "backbone.inputs_weights.0", "backbone.stage0.0.w"),
    fronts=("frontend.spec.", "spec."),
)
