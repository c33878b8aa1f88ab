"""utils/import_weights.py: checkpoints of others become experiments, weight by weight, or are refused in one line.

The names of theirs are written here anew: a network of ours gives the weights, renamed by the peer's scheme, and the import must give them back.
"""

import argparse
import enum
import json
import os
import re
import sys
import types
from dataclasses import dataclass

import kaldiio
import numpy as np
import pytest
import safetensors.torch
import torch
import torchaudio
from support import failure, write_archive

from pytorch.data.data_dir import write_data_dir
from pytorch.experiment import Experiment
from pytorch.features.kaldi import Features
from pytorch.features.options import FeatureOptions
from pytorch.foreign import PEERS, Shapes, check_torch, import_network, load_peer
from pytorch.models import build_model
from pytorch.models.redimnet import SIZES, SIZES2

PROGRAM = "utils/import_weights.py"


def resnet_names(front="", shortcut="downsample", embedding="seg_1"):
    def name(ours):
        ours = re.sub(r"^stages\.(\d)", lambda number: f"layer{int(number[1]) + 1}", ours)
        ours = ours.replace("norm", "bn").replace("shortcut", shortcut)
        return ours.replace("embedding", embedding) if ours.startswith("embedding") else front + ours

    return name


def simam_names(ours):
    if ours.startswith("pooling"):
        return ours.replace("hidden", "attention.0").replace("activation.1", "attention.2").replace("scores", "attention.3")
    return resnet_names("front.", embedding="bottleneck")(ours)


def campplus_names(ours):
    ours = re.sub(r"^front\.blocks\.(\d)", lambda number: f"head.layer{int(number[1]) // 2 + 1}.{int(number[1]) % 2}", ours)
    ours = ours.replace("front.enter_norm", "head.bn1").replace("front.leave_norm", "head.bn2").replace("front.enter", "head.conv1")
    ours = ours.replace("front.leave", "head.conv2").replace(".norm1", ".bn1").replace(".norm2", ".bn2")
    ours = re.sub(r"^blocks\.(\d)\.0\.(\d+)\.", lambda place: f"xvector.block{int(place[1]) + 1}.tdnnd{int(place[2]) + 1}.", ours)
    ours = re.sub(r"^blocks\.(\d)\.1\.0", lambda place: f"xvector.transit{int(place[1]) + 1}.nonlinear.batchnorm", ours)
    ours = re.sub(r"^blocks\.(\d)\.1\.2", lambda place: f"xvector.transit{int(place[1]) + 1}.linear", ours)
    for mine, theirs in (
        (".enter.0.", ".nonlinear1.batchnorm."), (".enter.2.", ".linear1."), (".enter.3.", ".nonlinear2.batchnorm."),
        (".conv.", ".cam_layer.linear_local."), (".context.0.", ".cam_layer.linear1."), (".context.2.", ".cam_layer.linear2."),
    ):  # fmt: skip
        ours = ours.replace(mine, theirs) if ours.startswith("xvector.block") else ours
    ours = re.sub("^tdnn.0", "xvector.tdnn.linear", ours)
    ours = re.sub("^tdnn.1", "xvector.tdnn.nonlinear.batchnorm", ours)
    ours = re.sub("^norm", "xvector.out_nonlinear.batchnorm", ours)
    ours = re.sub("^dense", "xvector.dense.linear", ours)
    return re.sub("^embed_norm", "xvector.dense.nonlinear.batchnorm", ours)


def wespeaker_ecapa_names(ours):
    ours = re.sub(r"^blocks\.(\d)\.convs\.(\d)\.conv", lambda place: f"layer{int(place[1]) + 2}.se_res2block.1.convs.{place[2]}", ours)
    ours = re.sub(r"^blocks\.(\d)\.convs\.(\d)\.norm", lambda place: f"layer{int(place[1]) + 2}.se_res2block.1.bns.{place[2]}", ours)
    ours = re.sub(r"^blocks\.(\d)\.", lambda place: f"layer{int(place[1]) + 2}.se_res2block.", ours)
    ours = ours.replace("block.enter", "block.0").replace("block.leave", "block.2").replace("squeeze", "3.linear1").replace("excite", "3.linear2")
    ours = re.sub("^layer5", "conv", ours).replace("pooling_norm", "bn").replace("embed_norm", "bn2").replace(".norm.", ".bn.")
    return re.sub("^fc", "linear", ours).replace("pooling.hidden", "pool.linear1").replace("pooling.scores", "pool.linear2")


def eres2netv2_names(ours):
    ours = re.sub(r"^stages\.(\d)", lambda number: f"layer{int(number[1]) + 1}", ours)
    ours = re.sub(r"\.convs\.(\d)\.0\.", r".convs.\1.", ours)
    ours = re.sub(r"\.convs\.(\d)\.1\.", r".bns.\1.", ours)
    ours = re.sub(r"\.fusions\.(\d)\.attention\.", r".fuse_models.\1.local_att.", ours)
    for mine, theirs in (("enter.0", "conv1"), ("enter.1", "bn1"), ("leave.0", "conv3"), ("leave.1", "bn3"), ("fuse.attention", "fuse34.local_att")):
        ours = ours.replace(mine, theirs)
    return ours.replace("norm1", "bn1").replace("down.", "layer3_ds.").replace("embedding", "seg_1")


def speechbrain_names(ours):
    ours = re.sub(r"^blocks\.(\d)\.", lambda number: f"blocks.{int(number[1]) + 1}.", ours)
    ours = re.sub(r"\.(conv|norm)\.", r".\1.\1.", ours).replace(".convs.", ".res2net_block.blocks.")
    ours = ours.replace("enter", "tdnn1").replace("leave", "tdnn2").replace("squeeze", "se_block.conv1.conv").replace("excite", "se_block.conv2.conv")
    for mine, theirs in (
        ("layer1.", "blocks.0."), ("layer5.", "mfa.conv.conv."), ("frames_norm.", "mfa.norm.norm."), ("pooling.hidden.", "asp.tdnn.conv.conv."),
        ("pooling.activation.1.", "asp.tdnn.norm.norm."), ("pooling.scores.", "asp.conv.conv."), ("pooling_norm.", "asp_bn.norm."), ("fc.", "fc.conv."),
    ):  # fmt: skip
        ours = theirs + ours[len(mine) :] if ours.startswith(mine) else ours
    return ours


def taoruijie_names(ours):
    ours = re.sub(r"^blocks\.(\d)\.convs\.(\d)\.conv", lambda place: f"layer{int(place[1]) + 1}.convs.{place[2]}", ours)
    ours = re.sub(r"^blocks\.(\d)\.convs\.(\d)\.norm", lambda place: f"layer{int(place[1]) + 1}.bns.{place[2]}", ours)
    for mine, theirs in (
        ("layer1.conv", "conv1"), ("layer1.norm", "bn1"), ("layer5", "layer4"), ("pooling.hidden", "attention.0"),
        ("pooling.activation.1", "attention.2"), ("pooling.scores", "attention.4"), ("pooling_norm", "bn5"), ("fc", "fc6"), ("embed_norm", "bn6"),
    ):  # fmt: skip
        ours = theirs + ours[len(mine) :] if ours.startswith(mine + ".") else ours
    ours = re.sub(r"^blocks\.(\d)\.", lambda place: f"layer{int(place[1]) + 1}.", ours)
    for mine, theirs in (
        ("enter.conv", "conv1"), ("enter.norm", "bn1"), ("leave.conv", "conv3"), ("leave.norm", "bn3"), ("squeeze", "se.se.1"), ("excite", "se.se.3"),
    ):  # fmt: skip
        ours = ours.replace(mine, theirs)
    return "speaker_encoder." + ours


def deepspeaker_names(ours):
    ours = re.sub(r"^blocks\.(\d)\.(\d)\.(weight|bias)", lambda place: f"front_end.conv{int(place[1]) + 1}{int(place[2]) + 1}.{place[3]}", ours)
    ours = ours.replace("pooling.attention.query", "poolingLayer.utteranceAttention.query").replace("fc3.", "preLayer.")
    return re.sub("^norm", "b2", ours)


def dmha_names(ours):
    return deepspeaker_names(ours).replace("pooling.query", "poolingLayer.headsAttention.att")


def mha_names(ours):
    return deepspeaker_names(ours).replace("pooling.query", "poolingLayer.query")


def sap_names(ours):
    return deepspeaker_names(ours).replace("pooling.query", "poolingLayer.att")


def age_names(ours):
    ours = re.sub(r"^blocks\.(\d)", lambda number: f"front_end.layer{int(number[1]) // 2 + 1}.{int(number[1]) % 2}", ours)
    ours = re.sub(r"conv(\d)\.0\.", r"conv\1.", ours)
    ours = re.sub(r"conv(\d)\.1\.", r"bn\1.", ours).replace("shortcut", "downsample")
    return dmha_names("front_end." + ours if ours.startswith(("conv", "bn")) else ours)


def gelu_names(ours):
    found = re.match(r"groups\.(\d)\.(\d+)\.", ours)
    return f"front_end.block{int(found[1]) + 1}.block{found[2]}." + ours[found.end() :].replace("norm", "bn") if found else sap_names(ours)


def turned(ours, x):
    """Kernels over frames x filters, queries with a column for each head; the query over heads is as it is."""
    if x.dim() == 4:
        return x.transpose(2, 3)
    return x.T if ours.endswith("query") and x.shape[1] > 1 else x


def one_more(*names):
    """The weights of these layers are convolutions over one value in theirs."""
    return lambda ours, x: x.unsqueeze(2) if ours.endswith("weight") and any(name in ours for name in names) else x


def first_part_passed(ours, x):
    """SpeechBrain's blocks hold the part of the channels that is not convolved first, ours last."""
    parts = 4
    if ".enter." in ours and x.dim():
        x = torch.cat([x[-(len(x) // parts) :], x[: -(len(x) // parts)]])
    if ours.endswith("leave.conv.weight"):
        x = torch.cat([x[:, -(x.shape[1] // parts) :], x[:, : -(x.shape[1] // parts)]], dim=1)
    return one_more("squeeze", "excite", "fc.")(ours, x)


def xvec_names(ours):
    ours = re.sub(r"^frames\.(\d)\.0", lambda number: f"frame_{int(number[1]) + 1}.conv_1d", ours)
    ours = re.sub(r"^frames\.(\d)\.2", lambda number: f"frame_{int(number[1]) + 1}.bn", ours)
    return ours.replace("segment6", "seg_1").replace("segment7.1", "seg_bn_1").replace("segment7.2", "seg_2")


def redimnet_names(size):
    stages = SIZES[size][3]

    def name(ours):
        if ours == "aggregate.weight":
            return f"backbone.inputs_weights.{len(stages)}"
        ours = re.sub(r"^stages\.(\d)\.sum\.weight", r"backbone.inputs_weights.\1", ours)
        ours = ours.replace("stem_norm", "backbone.stem.1") if ours.startswith("stem_norm") else re.sub("^stem", "backbone.stem.0", ours)
        ours = re.sub("^embedding", "seg_1", ours).replace("pooling.hidden", "pool.linear1").replace("pooling.scores", "pool.linear2")
        found = re.match(r"stages\.(\d)\.", ours)
        if not found:
            return ours
        _, count, expand, _ = stages[int(found[1])]
        stage, last = f"backbone.stage{found[1]}.", count + 1 + (expand != 1)
        ours = stage + ours[found.end() :]
        ours = ours.replace(stage + "enter", stage + "0").replace(stage + "leave", f"{stage}{count + 1}")
        ours = re.sub(rf"^{stage}blocks\.(\d+)\.", lambda number: f"{stage}{int(number[1]) + 1}.conv_block.", ours)
        if ".conv_block." in ours:
            for mine, theirs in (("gate.0", "se.squeeze"), ("gate.2", "se.exitation"), (".conv.", ".dwconvs.0."), (".mix.", ".pwconv1.")):
                ours = ours.replace(mine, theirs)
            return re.sub(r"mix(\d)", r"conv\1pw", re.sub(r"norm(\d)", r"bn\1", ours))
        return context_names(stage, last + 1, ours)

    return name


def context_names(stage, place, ours):
    for mine, theirs in (
        ("reduce.", "red_dim_conv.0."), ("reduce_norm.", "red_dim_conv.1."), ("expand.", "exp_dim_conv."), ("mix.", "tcm.4.attention.out_proj."),
        ("attention_norm.", "tcm.4.layer_norm."), ("norm.", "tcm.4.final_layer_norm."), ("feedforward.0.", "tcm.4.feed_forward.intermediate_dense."),
        ("feedforward.2.", "tcm.4.feed_forward.output_dense."), ("query.", "tcm.4.attention.q_proj."), ("key.", "tcm.4.attention.k_proj."),
        ("value.", "tcm.4.attention.v_proj."),
    ):  # fmt: skip
        ours = ours.replace(f"{stage}context.{mine}", f"{stage}{place}.{theirs}")
    for mine, theirs in (("convs", "dwconvs.0"), ("norms", "norm"), ("mixes", "pwconv1")):
        ours = re.sub(rf"context\.{mine}\.(\d)", rf"{place}.tcm.\1.{theirs}", ours)
    return ours


def redimnet2_names(size):
    stages = SIZES2[size][3]
    last = [count + 3 + (expand != 1) for _, count, expand, _ in stages]  # where the map becomes one of frames

    def name(ours):
        for mine, theirs in (
            ("stem.", "backbone.stem.0."), ("stem_norm.", "backbone.stem.1."), ("aggregate.weight", "backbone.fin_wght1d.w"), ("out.", "backbone.head."),
            ("norms.0.", "backbone.stem_gnorm."), ("pooling.hidden", "pool.linear1"), ("pooling.scores", "pool.linear2"), ("norm.", "bn."),
            ("embedding.", "linear."),
        ):  # fmt: skip
            if ours.startswith(mine):
                return theirs + ours[len(mine) :]
        if found := re.match(r"norms\.(\d)\.", ours):
            number = int(found[1]) - 1
            return f"backbone.stage{number}.{last[number] + 3}." + ours[found.end() :]
        number = int(re.match(r"stages\.(\d)\.", ours)[1])
        stage = f"backbone.stage{number}."
        ours = stage + ours[9:]
        ours = ours.replace(stage + "sum.weight", stage + "0.w").replace(stage + "enter", stage + "2").replace(stage + "leave", f"{stage}{last[number] - 1}")
        found = re.match(rf"{re.escape(stage)}blocks\.(\d+)\.", ours)
        if found:
            inner = re.sub(r"mix(\d)", r"conv\1pw", re.sub(r"norm(\d)", r"bn\1", ours[found.end() :]))
            return f"{stage}{int(found[1]) + 3}.conv_block.{inner}"
        return context_names(stage, last[number] + 1, ours)

    return name


def by_channel(ours, x):
    """The pooling of ReDimNet2's authors has the values of a map channel by channel, ours filter by filter: 192 and 9 of b3."""
    place = 1 if ours in ("pooling.hidden.weight", "embedding.weight") else 0
    if place or ours.startswith(("pooling.scores", "norm.")) and x.dim():
        x = x.unflatten(place, (-1, 9, 192)).transpose(place + 1, place + 2).flatten(place, place + 2)
    return batch_axis(ours, x)


def batch_axis(ours, x):
    return x[None] if ours == "aggregate.weight" or ours.endswith("sum.weight") else x


def sincnet_names(ours):
    for mine, theirs in (("waveform_norm", "wav_norm1d"), ("filters.", "conv1d.0.filterbank."), ("norms", "norm1d")):
        ours = ours.replace("sincnet." + mine, "sincnet." + theirs)
    ours = re.sub(r"^sincnet\.convs\.(\d)", lambda number: f"sincnet.conv1d.{int(number[1]) + 1}", ours)
    return re.sub(r"(low|band)_hz$", r"\1_hz_", re.sub("^tdnn", "tdnns", ours))


def sinctdnn_names(ours):
    for mine, theirs in (("waveform_norm", "waveform_normalize_"), ("filters.", "conv1d_.0."), ("norms", "instance_norm1d_")):
        ours = ours.replace("sincnet." + mine, "sincnet_." + theirs)
    ours = re.sub(r"^sincnet\.convs\.(\d)", lambda number: f"sincnet_.conv1d_.{int(number[1]) + 1}", ours)
    ours = re.sub(r"^tdnn\.(\d)\.", r"tdnn_.tdnn.\1.temporal_conv.", ours)
    ours = ours.replace("parametrizations.weight.original0", "weight_g").replace("parametrizations.weight.original1", "weight_v")
    ours = ours.replace("normalise.", "embedding_.batch_normalize_.").replace("length_norm.", "embedding_.scaling.batch_norm.")
    return re.sub(r"(low|band)_hz$", r"\1_hz_", re.sub("^segment6", "tdnn_.segment6", ours))


def as_column(ours, x):
    return x.unsqueeze(1) if ours.endswith("_hz") else x


NARROW = {"frame_dim": 8, "stats_dim": 12, "embed_dim": 6}
ECAPA = {"channels": 16, "out_dim": 24, "embed_dim": 12, "parts": 4, "se_dim": 6, "attention_dim": 10}
SPEECHBRAIN = {"summed": False, "embed_norm": False, "reflect": True, "frames_norm": True, "attention_norm": True, "std_floor": 1e-12, "biased": True}
CAMPPLUS = {"front_dim": 4, "channels": 8, "growth": 4, "layer_dim": 8, "blocks": "2,1,2", "embed_dim": 12}
ERES2NETV2 = {"width": 8, "base_width": 24, "parts": 3, "expansion": 4, "embed_dim": 12, "std_eps": 1e-8}
CASES = {  # peer, columns, our network, its arguments, the name in theirs, the tensor in theirs, what else is in the file
    "wespeaker-resnet": ("wespeaker", 40, "resnet", {"depth": 18, "width": 2, "embed_dim": 6}, resnet_names(), None, ["projection.weight"]),
    "wespeaker-bottleneck": ("wespeaker", 16, "resnet", {"depth": 50, "width": 1, "embed_dim": 6}, resnet_names(), None, []),
    "wespeaker-simam": (
        "wespeaker", 16, "resnet", {"depth": 34, "width": 2, "embed_dim": 6, "gate": "simam", "pooling": "asp"}, simam_names, None, ["projection.weight"],
    ),
    "wespeaker-ecapa": ("wespeaker", 80, "ecapa", {**ECAPA, "summed": False, "embed_norm": False}, wespeaker_ecapa_names, None, ["projection.weight"]),
    "wespeaker-ecapa-frame": ("wespeaker", 24, "ecapa", {**ECAPA, "summed": False, "context": False}, wespeaker_ecapa_names, None, []),
    "wespeaker-campplus": ("wespeaker", 80, "campplus", {**CAMPPLUS, "std_eps": 1e-7}, campplus_names, one_more("dense"), []),
    "wespeaker-xvec": (
        "wespeaker", 20, "xvector",
        {**NARROW, "segment7_norm": False, "output": "segment7", "norm_eps": 1e-5, "std_eps": 1e-7, "unbiased": True}, xvec_names, None, ["projection.weight"],
    ),
    **{
        f"wespeaker-redimnet-{size}": (
            "wespeaker", 72, "redimnet", {"size": size, "embed_dim": 6, "pooling_norm": False}, redimnet_names(size), batch_axis, ["backbone.inputs_weights.0"],
        )
        for size in ("b1", "b3", "b5")
    },
    **{
        f"wespeaker-redimnet2-{size}": (
            "wespeaker", 72, "redimnet2", {"size": size, "embed_dim": 6, **more}, redimnet2_names(size), batch_axis, ["backbone.stage0.0.w"],
        )
        for size, more in (
            ("b0", {"out": 64, "out_by_filter": False}), ("b3_wespeaker", {"out": 64, "out_by_filter": False}), ("b4", {"out": 0}),
            ("b6", {"out": 224, "out_by_filter": True, "group_norm": True}),
        )
    },
    "3dspeaker-campplus": ("3dspeaker", 80, "campplus", CAMPPLUS, campplus_names, one_more("dense"), []),
    "3dspeaker-eres2netv2": ("3dspeaker", 16, "eres2netv2", ERES2NETV2, eres2netv2_names, None, []),
    "3dspeaker-resnet": (
        "3dspeaker", 16, "resnet", {"depth": 34, "width": 2, "embed_dim": 6, "std_eps": 1e-8}, resnet_names(shortcut="shortcut"), None, [],
    ),
    "3dspeaker-ecapa": ("3dspeaker", 80, "ecapa", {**ECAPA, **SPEECHBRAIN}, speechbrain_names, first_part_passed, []),
    "ecapa_taoruijie": (
        "ecapa_taoruijie", 80, "ecapa", {**ECAPA, "attention_norm": True, "std_floor": 1e-4}, taoruijie_names, one_more("squeeze", "excite"),
        ["speaker_loss.weight", "speaker_encoder.torchfbank.1.mel_scale.fb"],
    ),
    "deepspeaker-vgg4l": (
        "deepspeaker", 80, "vgg4l", {"channels": 16, "pooling": "dmha", "heads": 4, "embed_dim": 6}, dmha_names, turned,
        ["b1.weight", "b3.running_mean", "predictionLayer.W"],
    ),
    "deepspeaker-vgg3l": ("deepspeaker", 24, "vgg3l", {"channels": 8, "pooling": "mha", "heads": 2, "embed_dim": 6}, mha_names, turned, []),
    "deepspeaker-sap": ("deepspeaker", 80, "vgg4l", {"channels": 8, "pooling": "sap", "embed_dim": 6}, sap_names, turned, []),
    "deepspeaker-age": (
        "deepspeaker", 80, "age_resnet", {"channels": 16, "pooling": "dmha", "heads": 4, "embed_dim": 6, "average_time": True}, age_names, turned,
        ["front_end.fc.weight", "predictionLayer.W"],
    ),
    **{
        f"deepspeaker-resnet{depth}": (
            "deepspeaker", 80, "gelu_resnet", {"depth": depth, "channels": 8, "pooling": "sap", "embed_dim": 6, "output": "emb3"}, gelu_names, turned,
            ["b1.weight", "predictionLayer.W"],
        )
        for depth in (34, 101)
    },
    "pyannote": (
        "pyannote", 40, "resnet", {"depth": 34, "width": 2, "embed_dim": 6, "std_eps": 0.0},
        lambda ours: "resnet." + resnet_names(shortcut="shortcut")(ours), None, [],
    ),
    "pyannote-sincnet": (
        "pyannote", 1, "xvector_sincnet", {"sinc_dim": 8, "conv_dim": 6, **NARROW}, sincnet_names, as_column,
        ["sincnet.conv1d.0.filterbank.window_", "sincnet.conv1d.0.filterbank.n_", "loss_func.W"],
    ),
    "pyannote-mfcc": (
        "pyannote", 1, "xvector_mfcc", {"num_ceps": 10, **NARROW}, sincnet_names, None, ["mfcc.MelSpectrogram.spectrogram.window"],
    ),
    "pyannote-sinctdnn": (
        "pyannote", 1, "sinctdnn", {"sinc_dim": 8, "conv_dim": 6, **NARROW}, sinctdnn_names, as_column, ["tdnn_.segment7.weight", "tdnn_.segment7.bias"],
    ),
    "pyannote-sinctdnn-normed": (
        "pyannote", 1, "sinctdnn", {"sinc_dim": 8, "conv_dim": 6, **NARROW, "batch_normalize": True, "scale": "logistic", "waveform_normalize": False},
        sinctdnn_names, as_column, ["linear_.weight"],
    ),
    "speechbrain": ("speechbrain", 80, "ecapa", {**ECAPA, **SPEECHBRAIN}, speechbrain_names, first_part_passed, []),
    "redimnet2-b0": ("redimnet2", 72, "redimnet2", {"size": "b0", "embed_dim": 6, "out": 8, "group_norm": True}, redimnet2_names("b0"), batch_axis, []),
    "redimnet2-b3": (
        "redimnet2", 72, "redimnet2", {"size": "b3", "embed_dim": 6, "group_norm": True}, redimnet2_names("b3"), by_channel, ["backbone.stage0.0.w"],
    ),
}  # fmt: skip


def network(case):
    """-> our network with weights of its own everywhere"""
    _, feat_dim, name, args, *_ = CASES[case]
    torch.manual_seed(7)
    model = build_model(name, feat_dim, args).eval()
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if key.endswith("running_var") else tensor.normal_(0, 0.3)
    return model


def their_state(case, model):
    *_, name_of, change, more = CASES[case]
    state = {name_of(ours): change(ours, tensor) if change else tensor for ours, tensor in model.state_dict().items()}
    return {**state, **{name: torch.zeros(3, 2) for name in more}, **(front_of("spec.") if case.startswith("redimnet2") else {})}


def front_of(prefix, columns=72):
    """What a TFMelBanks holds: waves under a window, filters over 256 bins spread from 0 Hz to 8000, the pre-emphasis."""
    times, bins = np.arange(400), np.arange(256)[:, None]
    mels, edges = 2595 * np.log10(1 + 8000 * bins / 255 / 700), np.linspace(*(2595 * np.log10(1 + hz / 700) for hz in (20, 7600)), columns + 2)
    filters = np.minimum((mels - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - mels) / np.diff(edges)[1:]).clip(0)
    filters[0] = 0
    held = {
        "1.flipped_filter": np.array([[[-0.97, 1]]]), "2.real_kernel_pt": (np.hamming(400) * np.cos(2 * np.pi * bins * times / 512))[:, None],
        "2.image_kernel_pt": (np.hamming(400) * np.sin(2 * np.pi * bins * times / 512))[:, None], "2.melbanks_pt": filters.T[:, :, None],
    }  # fmt: skip
    return {f"{prefix}torchfbank.{name}": torch.from_numpy(np.ascontiguousarray(x)).float() for name, x in held.items()}


SETTINGS = {"agg_gnorm": True, "causal": "none", "hop_length": 160, "return_2d_output": True, "spec_params": {"do_preemph": True, "norm_signal": True}}


@pytest.fixture
def saved(tmp_path, pyannote_classes):
    """saved(case) -> path of a checkpoint, our network with the same weights; saved(case, change) with the file's state changed in place"""

    def save(case, change=None):
        model = network(case)
        state = their_state(case, model)
        if change:
            change(state)
        path = tmp_path / "peer.pt"
        torch.save(wrapped(case, state), path)
        sys.modules.pop("pyannote.audio.core.task", None)
        return path, model

    return save


def wrapped(case, state):
    """What the peer's file holds."""
    if case.startswith("deepspeaker"):
        return {"model": state, "optimizer": {"state": {}}, "settings": argparse.Namespace(front_end="VGG4L", heads_number=4), "epoch": 3, "step": 2000}
    if case in ("pyannote", "pyannote-sincnet", "pyannote-mfcc"):
        kept = {"versions": {"torch": torch.__version__}, "specifications": Specifications(Problem.REPRESENTATION)}
        return {"state_dict": state, "pyannote.audio": kept, "pytorch-lightning_version": "2.0.8"}
    return {"state_dict": state, "model_config": SETTINGS} if case.startswith("redimnet2") else state


class Problem(enum.Enum):
    REPRESENTATION = 1


@dataclass
class Specifications:
    problem: Problem


@pytest.fixture
def pyannote_classes(monkeypatch):
    """Classes of the names that pyannote.audio's files hold, there while one is written and gone when it is read."""
    module = types.ModuleType("pyannote.audio.core.task")
    for cls in (Problem, Specifications):
        monkeypatch.setattr(cls, "__module__", module.__name__)
        setattr(module, cls.__name__, cls)
    for parent in ("pyannote", "pyannote.audio", "pyannote.audio.core"):
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.parametrize("case", CASES)
def test_the_weights_of_a_peer_find_their_places(case, saved):
    peer, feat_dim, name, args, *_ = CASES[case]
    path, model = saved(case)
    found = import_network(path, peer, "", {})
    assert (found.network.model, found.feat_dim) == (name, feat_dim)
    assert {key: found.args[key] for key in args} == args
    wanted = model.state_dict()
    assert list(found.tensors) == list(wanted)
    for key, tensor in wanted.items():
        assert torch.equal(found.tensors[key], torch.zeros((), dtype=torch.long) if key.endswith("tracked") else tensor), key
    assert found.parameters == sum(weight.numel() for weight in model.parameters())


def test_every_network_of_every_peer_has_a_test():
    tested = {(CASES[case][0], CASES[case][2]) for case in CASES}
    assert {(peer, one.model) for peer in PEERS for one in load_peer(peer).networks.values()} <= tested


def test_a_redimnet_of_no_published_size_is_refused(saved):
    def shorten(state):
        for name in [name for name in state if name.startswith("backbone.stage0.2.")]:
            del state[name]

    path, _ = saved("wespeaker-redimnet-b1", shorten)
    message = "12 channels, blocks 0 1 0 3 0 4 0 5 0 3 0 0 in groups of 12: no ReDimNet B0 to B6"
    assert failure(import_network, path, "wespeaker", "", {}) == f"{path}: {message}"


def test_a_redimnet2_of_no_published_size_is_refused(saved):
    def shorten(state):
        for name in [name for name in state if name.startswith("backbone.stage0.4.")]:
            del state[name]

    path, _ = saved("wespeaker-redimnet2-b0", shorten)
    message = "12 channels, blocks 1 3 4 5 4 3 of 24 24 24 48 48 96: no ReDimNet2 B0 to B6"
    assert failure(import_network, path, "wespeaker", "", {}) == f"{path}: {message}"
    path, _ = saved("wespeaker-redimnet2-b0", lambda state: [state.pop(f"backbone.head.{name}") for name in ("weight", "bias")])
    assert failure(import_network, path, "wespeaker", "", {}) == (
        f"{path}: a ReDimNet2 like b0 without 'backbone.head': the order in which its values are pooled is told by no weight"
    )


def test_frames_that_are_no_multiple_of_the_channels_are_refused(saved):
    path, _ = saved("wespeaker-redimnet2-b0", lambda state: state.update({"backbone.fin_wght1d.w": torch.zeros(1, 7, 6, 1)}))
    message = f"{path}: frames of 6 values, which are no multiple of the 12 channels; damaged"
    assert failure(import_network, path, "wespeaker", "", {}) == message


def test_a_network_with_features_of_its_own_is_refused(saved):
    path, _ = saved("wespeaker-redimnet2-b0", lambda state: state.update({"frontend.model.torchfbank.2.melbanks_pt": torch.zeros(72, 256, 1)}))
    assert "1 weights have no place in wespeaker's redimnet2: frontend.model" in failure(import_network, path, "wespeaker", "", {})


TFMEL = {
    "feature": "tfmel",
    "sample_frequency": 16000.0,
    "frame_length": 25.0,
    "frame_shift": 10.0,
    "window_type": "hamming",
    "low_freq": 20.0,
    "high_freq": 7600.0,
}
TFMEL |= {"normalise_samples": True, "reflect_preemphasis": True, "preemphasis_coefficient": 0.97, "log_floor": 1e-8}


@pytest.mark.parametrize("prefix", ["frontend.spec.", "spec."])
@pytest.mark.parametrize("case, columns", [("wespeaker-redimnet2-b0", 72), ("wespeaker-ecapa", 80)])
def test_a_front_end_of_wespeaker_tells_the_features(program, saved, tmp_path, prefix, case, columns):
    path, model = saved(case, lambda state: state.update(front_of(prefix, columns)))
    found = import_network(path, "wespeaker", "", {})
    assert found.features == TFMEL
    assert list(found.tensors) == list(model.state_dict())
    path, _ = saved(case, lambda state: state.update({name: x.half() for name, x in {**state, **front_of(prefix, columns)}.items() if x.is_floating_point()}))
    assert import_network(path, "wespeaker", "", {}).features == TFMEL


def of_authors(saved, change=None, settings=()):
    """-> a file of ReDimNet2's authors with its front end, or its settings, changed"""
    path, _ = saved("redimnet2-b0", change)
    state = torch.load(path, weights_only=True)
    torch.save({**state, "model_config": {name: value for name, value in {**state["model_config"], **dict(settings)}.items() if value is not ...}}, path)
    return path


def test_the_settings_of_redimnet2s_authors_tell_the_features(saved):
    path = of_authors(saved, settings={"hop_length": 240, "spec_params": {"eps": 1e-6}})
    wanted = {**TFMEL, "frame_shift": 15.0, "normalise_samples": False, "log_floor": 1e-6}
    assert import_network(path, "redimnet2", "", {}).features == wanted
    path = of_authors(saved, lambda state: state.pop("spec.torchfbank.1.flipped_filter"))
    assert import_network(path, "redimnet2", "", {}).features == {**TFMEL, "preemphasis_coefficient": 0.0}


@pytest.mark.parametrize("normalise, offset", [(True, 1e-6), (False, 1e-6 * 2**30)])
def test_mel_spectrograms_of_redimnet2s_authors_are_told_too(saved, normalise, offset):
    def other(state):
        for name in [name for name in state if name.startswith("spec.torchfbank.2")]:
            del state[name]
        banks = torchaudio.functional.melscale_fbanks(257, 20, 7600, 72, 16000)
        state |= {"spec.torchfbank.2.spectrogram.window": torch.hamming_window(400), "spec.torchfbank.2.mel_scale.fb": banks}

    found = import_network(of_authors(saved, other, {"spec_params": {"norm_signal": normalise}}), "redimnet2", "", {}).features
    wanted = {**TFMEL, "feature": "melspec", "normalise_samples": normalise, "log_offset": offset}
    del wanted["log_floor"]
    assert found == wanted


def replaced(name, tensor):
    return lambda state: state.update({f"spec.torchfbank.{name}": tensor})


@pytest.mark.parametrize(
    "change, settings, message",
    [
        (None, {"return_2d_output": ...}, "its settings do not say whether it pools maps ('return_2d_output')"),
        (None, {"dual_agg": True}, "its settings ask for 'dual_agg', which is not here"),
        (None, {"causal": "full"}, "its settings ask for 'causal', which is not here"),
        (None, {"agg_gnorm": 4}, "its settings ask for norms over 4 groups ('agg_gnorm'), one a channel are here"),
        (None, {"spec_params": ...}, "its settings do not say how features are computed ('spec_params')"),
        (None, {"spec_params": {"spec_norm": "bn"}}, "its features are normalised by 'bn', not by their mean, which is not done here"),
        (None, {"hop_length": "long"}, "its settings hold hop_length 'long', where a number was expected"),
        (None, {"hop_length": 1600}, "its features cannot be made here: --frame-length 25: shorter than --frame-shift 100"),
        (None, {"spec_params": {"f_max": 7000}}, "computes features whose filters are not as tfmel's here, with 72 filters; they cannot be made"),
        (
            replaced("2.real_kernel_pt", torch.ones(256, 1, 400)), {},
            "computes features whose window is not as tfmel's here, with 72 filters; they cannot be made",
        ),
        (replaced("1.flipped_filter", torch.ones(1, 1, 2)), {}, "'torchfbank.1.flipped_filter' is no pre-emphasis; damaged, or of another version"),
        (replaced("2.melbanks_pt", torch.ones(72, 256)), {}, "'torchfbank.2.melbanks_pt' is 72 x 256, where 3 dimensions were expected; damaged"),
        (replaced("3.weight", torch.ones(2)), {}, "computes features with 'torchfbank.3.weight'; they cannot be made here"),
        (
            lambda state: [state.pop(name) for name in list(state) if name.startswith("spec.")], {},
            "computes features but holds no filters; they cannot be made here",
        ),
        (lambda state: state.pop("spec.torchfbank.2.real_kernel_pt"), {}, "has no 'torchfbank.2.real_kernel_pt'; damaged, or of another version"),
    ],
)  # fmt: skip
def test_front_ends_and_settings_that_are_not_known_are_one_line(saved, change, settings, message):
    path = of_authors(saved, change, settings)
    assert failure(import_network, path, "redimnet2", "", {}).startswith(f"{path}: {message}")


def test_a_pooling_of_another_size_than_the_maps_is_one_line(saved):
    path, _ = saved("redimnet2-b3", lambda state: state.update({"bn.bias": torch.zeros(5)}))
    message = f"{path}: 'bn.bias' is of 5 values, where a multiple of 1728 was expected; damaged"
    assert failure(import_network, path, "redimnet2", "", {}) == message


def test_a_file_of_redimnet2_without_settings_is_refused(saved):
    path, _ = saved("redimnet2-b0")
    torch.save(torch.load(path, weights_only=True)["state_dict"], path)
    assert failure(import_network, path, "redimnet2", "", {}) == f"{path}: has no 'model_config', the settings of the network; is it this peer's?"


def test_features_of_a_front_end_are_its_formulas(program, saved, tmp_path, noise):
    found = features_of(program, saved, tmp_path, "redimnet2-b0", noise * 32768)
    assert json.loads((tmp_path / "exp/model.json").read_text())["features"]["feature"] == "tfmel"
    held = {name.removeprefix("torchfbank."): x for name, x in front_of("").items()}
    x = torch.from_numpy((noise - noise.mean()) / noise.std()).float()
    x = torch.nn.functional.conv1d(torch.nn.functional.pad(x[None, None], (1, 0), mode="reflect"), held["1.flipped_filter"])
    powers = sum(torch.nn.functional.conv1d(x, held[f"2.{part}_kernel_pt"], stride=160, padding=80).square() for part in ("real", "image"))
    theirs = (torch.nn.functional.conv1d(powers.clamp(1e-8, 1e8), held["2.melbanks_pt"]).clamp(1e-8, 1e8) + 1e-8).log()[0].T
    np.testing.assert_allclose(found, theirs - theirs.mean(0), rtol=0, atol=2e-3)


def test_what_is_told_by_no_weight_can_be_said(saved):
    path, _ = saved("pyannote-sinctdnn")
    assert import_network(path, "pyannote", "", {"stride": "10", "scale": "unit"}).args["stride"] == 10


def test_the_later_vgg_is_taken_by_its_name(saved):
    path, _ = saved("deepspeaker-vgg4l")
    first, later = (import_network(path, "deepspeaker", name, {}) for name in ("", "deepspeaker_vgg4l"))
    assert (first.args["output"], later.args["output"]) == ("emb2", "emb3")
    assert later.network.features == {**first.network.features, "use_power": True, "mel_norm": "slaney", "log_floor": 1111.11}
    assert all(torch.equal(later.tensors[name], tensor) for name, tensor in first.tensors.items())


def test_networks_on_waveforms_are_left_as_such(program, saved, tmp_path):
    done, _, _ = imported(program, saved, tmp_path, "pyannote-sincnet")
    assert (done.returncode, done.stderr) == (0, "")
    settings = Experiment(tmp_path / "exp").settings
    assert settings["features"] == {"input": "wave", "sample_frequency": 16000.0}
    assert (settings["feat_dim"], settings["cmn"], settings["voiced"]) == (1, "none", False)


def test_names_of_parallel_training_are_taken_off(saved, tmp_path):
    path, model = saved("wespeaker-ecapa")
    torch.save({f"module.{name}": tensor for name, tensor in torch.load(path, weights_only=True).items()}, tmp_path / "parallel.pt")
    found = import_network(tmp_path / "parallel.pt", "wespeaker", "", {})
    assert torch.equal(found.tensors["fc.weight"], model.fc.weight)


def test_half_precision_becomes_single(saved):
    path, _ = saved("wespeaker-ecapa", lambda state: state.update({name: x.half() for name, x in state.items() if x.is_floating_point()}))
    assert {x.dtype for x in import_network(path, "wespeaker", "", {}).tensors.values()} == {torch.float32, torch.long}


def imported(program, saved, tmp_path, case, *options):
    path, model = saved(case)
    done = program(PROGRAM, "--from", CASES[case][0], *options, path, tmp_path / "exp")
    return done, path, model


def data_of(folder, settings, dim):
    rng = np.random.default_rng(3)
    feats = {f"s{number}-a": rng.normal(2, 3, (60 + number, dim)).astype(np.float32) for number in range(3)}
    write_data_dir(folder, {utt: f"/nowhere/{utt}.wav" for utt in feats}, {utt: utt[:2] for utt in feats})
    write_archive(folder, "feats", feats, settings)
    return feats


@pytest.mark.parametrize("case", ["wespeaker-ecapa", "speechbrain"])
def test_extraction_takes_the_experiment(program, saved, tmp_path, case):
    done, _, model = imported(program, saved, tmp_path, case)
    assert (done.returncode, done.stderr) == (0, "")
    count = sum(weight.numel() for weight in model.parameters())
    assert done.stdout == f"import_weights: {tmp_path}/exp, ecapa with {count:,} parameters, embeddings of 12\n"
    settings = Experiment(tmp_path / "exp").settings
    feats = data_of(tmp_path / "data", settings["features"], 80)
    done = program("steps/extract.py", tmp_path / "exp", tmp_path / "data", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    found = kaldiio.load_scp(str(tmp_path / "out/xvector.scp"))
    for utt, frames in feats.items():
        x = torch.from_numpy(frames - frames.mean(0))
        with torch.inference_mode():
            np.testing.assert_allclose(found[utt], model.embed(x[None])[0], rtol=0, atol=1e-4)


def features_of(program, saved, tmp_path, case, wav):
    """Features of samples in the range of 16-bit integers, with the settings that the import wrote, less their mean -> (frames, columns)"""
    imported(program, saved, tmp_path, case)
    settings = json.loads((tmp_path / "exp/model.json").read_text())
    assert (settings["cmn"], settings["voiced"]) == ("mean", False)
    found = Features(FeatureOptions(**settings["features"]))(torch.from_numpy(wav.astype(np.float32)), "utt")
    return found - found.mean(0)


@pytest.fixture
def noise():
    """Samples between -1 and 1, of 16 bits, from loud to nearly none."""
    samples = np.random.default_rng(5).normal(size=8000) * np.geomspace(3000, 0.3, 8000)
    return samples.round() / 32768


def test_features_of_wespeaker_are_its_recipes(program, saved, tmp_path, noise):
    wav = torch.from_numpy(noise.astype(np.float32) * 32768)[None]
    theirs = torchaudio.compliance.kaldi.fbank(wav, num_mel_bins=80, dither=0.0, window_type="hamming")
    found = features_of(program, saved, tmp_path, "wespeaker-ecapa", noise * 32768)
    np.testing.assert_allclose(found, theirs - theirs.mean(0), rtol=0, atol=2e-3)


def test_features_of_3dspeaker_are_its_recipes(program, saved, tmp_path, noise):
    theirs = torchaudio.compliance.kaldi.fbank(torch.from_numpy(noise.astype(np.float32))[None], num_mel_bins=80, dither=0.0)
    assert (theirs == theirs.min()).sum() > 100  # its floor matters
    found = features_of(program, saved, tmp_path, "3dspeaker-campplus", noise * 32768)
    np.testing.assert_allclose(found, theirs - theirs.mean(0), rtol=0, atol=2e-3)


def test_features_of_taoruijie_are_its_codes(program, saved, tmp_path, noise):
    mel = torchaudio.transforms.MelSpectrogram(
        16000, n_fft=512, win_length=400, hop_length=160, f_min=20, f_max=7600, window_fn=torch.hamming_window, n_mels=80
    )
    wav = torch.from_numpy(noise.astype(np.float32))
    before = torch.cat([wav[1:2], wav[:-1]])
    theirs = (mel(wav - 0.97 * before) + 1e-6).log().T
    found = features_of(program, saved, tmp_path, "ecapa_taoruijie", noise * 32768)
    assert found.shape == theirs.shape
    np.testing.assert_allclose(found, theirs - theirs.mean(0), rtol=0, atol=2e-3)


def test_features_of_deepspeakers_resnets_are_its_codes(program, saved, tmp_path, noise):
    wav = torch.from_numpy(noise.astype(np.float32)) * 32768
    wav = 0.03 * torch.cat([wav[:1], wav[1:] - 0.97 * wav[:-1]])
    mel = torchaudio.transforms.MelSpectrogram(
        16000, n_fft=512, win_length=400, hop_length=160, n_mels=80, mel_scale="slaney", norm="slaney", window_fn=torch.hamming_window, center=False
    )
    theirs = mel(wav).clamp(min=1).log().T
    assert (theirs == 0).sum() > 100  # its floor matters
    found = features_of(program, saved, tmp_path, "deepspeaker-resnet34", noise * 32768)
    np.testing.assert_allclose(found, theirs - theirs.mean(0), rtol=0, atol=2e-3)


def test_features_of_speechbrain_are_its_recipes(program, saved, tmp_path, noise):
    wav = torch.from_numpy(noise.astype(np.float32))
    powers = torch.stft(wav, 400, 160, 400, torch.hamming_window(400), pad_mode="constant", return_complex=True).abs().square()
    found = features_of(program, saved, tmp_path, "speechbrain", noise * 32768)
    assert found.shape == (51, 80)
    assert json.loads((tmp_path / "exp/model.json").read_text())["features"]["feature"] == "sbfbank"
    # each filter is as wide to the right as to the left; the highest are wide enough to weigh their bins by hand
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 82) / 2595) - 1)
    weights = np.maximum(0, 1 - np.abs(40 * np.arange(201) - edges[80]) / (edges[80] - edges[79]))
    decibels = 10 * np.log10(np.maximum(weights @ powers.numpy(), 1e-10))
    np.testing.assert_allclose(found[:20, 79] - found[0, 79], decibels[:20] - decibels[0], rtol=0, atol=1e-3)


def test_a_second_import_is_free_and_another_one_stops(program, saved, tmp_path):
    imported(program, saved, tmp_path, "wespeaker-ecapa")
    done, path, _ = imported(program, saved, tmp_path, "wespeaker-ecapa")
    assert (done.returncode, done.stdout) == (0, f"import_weights: {tmp_path}/exp is there\n")
    done = program(PROGRAM, "--from", "wespeaker", "--model", "ecapa", path, tmp_path / "exp")
    assert done.returncode == 1
    assert "--model was , now ecapa" in done.stderr


def test_what_was_trained_is_not_replaced(program, saved, tmp_path):
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp/model.json").write_text("{}")
    done, *_ = imported(program, saved, tmp_path, "wespeaker-ecapa")
    assert done.returncode == 1
    assert done.stderr.startswith(f"import_weights.py: {tmp_path}/exp/model.json: is there, but import_weights did not make it; move it away")


@pytest.mark.parametrize(
    "options, status, message",
    [
        ((), 2, "the following arguments are required: --from"),
        (("--from", "kaldi"), 2, "argument --from: invalid choice: 'kaldi'"),
        (("--from", "wespeaker", "--model", "vgg"), 1, "--model vgg: wespeaker has resnet, simam_resnet, ecapa, campplus, xvec, redimnet, redimnet2 here"),
        (("--from", "wespeaker", "--model-args", "width"), 1, "--model-args: name=value expected, not 'width'"),
        (("--from", "wespeaker", "--model-args", "wide=3"), 1, "{path}: --model-args: ecapa has no argument 'wide'; it has channels=512,"),
        (("--from", "wespeaker", "--model-args", "channels=20"), 1, "{path}: 'layer1.conv.weight' is 16 x 80 x 5 here, 20 x 80 x 5 in wespeaker's "),
        (("--from", "wespeaker", "--model", "resnet"), 1, "{path}: has no 'conv1.weight'; damaged, or of another version"),
        (("--from", "3dspeaker"), 1, "{path}: the names in it are of none of 3dspeaker's campplus, ecapa, eres2netv2, resnet; name it: --model"),
    ],
)
def test_wrong_options_are_one_line(program, saved, tmp_path, options, status, message):
    path, _ = saved("wespeaker-ecapa")
    done = program(PROGRAM, *options, path, tmp_path / "exp")
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(f"import_weights.py: {message.format(path=path)}")
    assert done.stderr.count("\n") == 1


def test_a_file_that_is_not_there_is_one_line(program, tmp_path):
    done = program(PROGRAM, "--from", "wespeaker", tmp_path / "none.pt", tmp_path / "exp")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"import_weights.py: {tmp_path}/none.pt: ")


BROKEN = [
    (lambda state: state.update(extra=torch.zeros(2)), "1 weights have no place in wespeaker's ecapa: extra; it is of another network or version"),
    (
        lambda state: state.update({"layer9.se_res2block.0.conv.weight": torch.zeros(2)}),
        "1 weights have no place in wespeaker's ecapa of this size: layer9.se_res2block.0.conv.weight; give its sizes with --model-args",
    ),
    (lambda state: state.pop("bn.running_var"), "1 weights of wespeaker's ecapa are not in it, called here: pooling_norm.running_var; cut off, or of another"),
    (lambda state: state.pop("pool.linear1.weight"), "has no 'pool.linear1.weight'; damaged, or of another version"),
    (lambda state: state.update({"conv.weight": torch.zeros(24, 47, 1)}), "'conv.weight' is 24 x 47 x 1 here, 24 x 48 x 1 in wespeaker's ecapa of this size"),
    (lambda state: state.update({"conv.weight": torch.zeros(24, 48)}), "'conv.weight' is 24 x 48, where 3 dimensions were expected; damaged, or of another"),
    (lambda state: state.update({"layer1.conv.weight": torch.zeros(16, 0, 5)}), "'layer1.conv.weight' is 16 x 0 x 5, where 3 dimensions were expected"),
    (lambda state: state.update({"linear.bias": torch.full((12,), float("nan"))}), "'linear.bias' holds values that are not finite; its training went astray"),
    (lambda state: state.update({"linear.bias": torch.zeros(12, dtype=torch.long)}), "'linear.bias' is no tensor of real numbers; damaged, or of another"),
    *(
        (lambda state, odd=odd: state.update({"linear.bias": odd()}), "'linear.bias' is no tensor of real numbers; damaged, or of another version")
        for odd in (
            lambda: torch.zeros(12).to(torch.float8_e4m3fn),
            lambda: torch.eye(12).to_sparse_csr(),
            lambda: torch.nested.nested_tensor([torch.zeros(12)]),
            lambda: torch.zeros(1).expand(10**5, 10**5),
        )
    ),
    (
        lambda state: state.update({"linear.bias": torch.full((12,), 1e300, dtype=torch.float64)}),
        "'linear.bias' holds values that are not finite; its training",
    ),
    (lambda state: state["bn.running_var"].neg_(), "'bn.running_var' holds variances below 0; damaged, or of another version"),
    (lambda state: state.update(state_dict={}), "'state_dict' holds names of its own where a weight was expected; is it this peer's?"),
    (lambda state: state.update({"linear.bias": [1.0]}), "'linear.bias' is no tensor of real numbers; damaged, or of another version"),
    (lambda state: state.clear(), "names with weights were expected; is it this peer's?"),
    (lambda state: state.update({3: torch.zeros(2)}), "names with weights were expected; is it this peer's?"),
    (
        lambda state: [state.pop(name) for name in list(state)[:-1]],
        "the names in it are of none of wespeaker's resnet, simam_resnet, ecapa, campplus, xvec, redimnet, redimnet2; name it",
    ),
]


@pytest.mark.parametrize("change, message", BROKEN, ids=[str(number) for number in range(len(BROKEN))])
@pytest.mark.filterwarnings("ignore:.*([Ss]parse|nested tensors)")  # kinds that torch itself calls unfinished
def test_weights_that_do_not_fit_are_one_line(saved, change, message):
    path, _ = saved("wespeaker-ecapa", change)
    assert failure(import_network, path, "wespeaker", "", {}).startswith(f"{path}: {message}")


def test_a_file_without_the_key_of_the_weights_is_refused(saved):
    path, _ = saved("wespeaker-ecapa")
    assert failure(import_network, path, "deepspeaker", "", {}) == f"{path}: has no 'model', below which the weights were expected; is it this peer's?"


def test_a_pooling_that_does_not_fit_its_layers_is_refused(saved):
    path, _ = saved("deepspeaker-vgg4l", lambda state: state.update({"poolingLayer.utteranceAttention.query": torch.zeros(5, 5)}))
    assert failure(import_network, path, "deepspeaker", "", {}) == (
        f"{path}: 25 channels are pooled, which are no multiple of the 16 of the last layer; damaged"
    )


def test_another_number_of_blocks_is_refused(saved):
    path, _ = saved("deepspeaker-resnet34", lambda state: [state.pop(name) for name in list(state) if name.startswith("front_end.block3.block5.")])
    message = f"{path}: 3, 4, 5, 3 blocks; the ResNets here have depths 34, 101"
    assert failure(import_network, path, "deepspeaker", "", {}) == message


def test_two_names_of_one_weight_are_refused(saved):
    path, _ = saved("wespeaker-resnet", lambda state: state.update({"layer2.0.shortcut.0.weight": state["layer2.0.downsample.0.weight"]}))
    assert failure(import_network, path, "wespeaker", "", {}) == (
        f"{path}: 'layer2.0.downsample.0.weight' and 'layer2.0.shortcut.0.weight' are the same weight here; damaged, or of another version"
    )


def test_a_resnet_of_an_unknown_depth_is_refused(saved):
    path, _ = saved("wespeaker-resnet", lambda state: [state.pop(name) for name in list(state) if name.startswith("layer3.1.")])
    assert failure(import_network, path, "wespeaker", "", {}) == (
        f"{path}: 2, 2, 1, 2 blocks of 2 convolutions; the ResNets here have depths 18, 34, 100, 50, 101, 152, 221, 293"
    )


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("peer", PEERS)
def test_code_in_a_checkpoint_is_refused_and_not_run(saved, tmp_path, peer):
    path, _ = saved("wespeaker-ecapa", lambda state: state.update(settings=Hostile(tmp_path / "ran")))
    message = failure(import_network, path, peer, "", {})
    assert message.startswith(f"{path}: holds ")
    assert message.endswith("mkdir, more than weights: it is not read, for reading it could run code")
    assert not (tmp_path / "ran").exists()


def test_a_class_that_is_not_known_is_refused(saved):
    path, _ = saved("wespeaker-ecapa", lambda state: state.update(settings=argparse.Namespace(width=3)))
    message = failure(import_network, path, "wespeaker", "", {})
    assert message == f"{path}: holds argparse.Namespace, more than weights: it is not read, for reading it could run code"


def test_a_file_cut_off_anywhere_is_one_line(saved, tmp_path):
    path, _ = saved("wespeaker-ecapa")
    whole = path.read_bytes()
    for end in (0, 1, 10, len(whole) // 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        assert failure(import_network, path, "wespeaker", "", {}) == f"{path}: no checkpoint of torch, cut off, or with more than weights in it"


@pytest.mark.parametrize("content", [b"hello\n", b"\x80\x02}q\x00.", b"PK\x03\x04"], ids=["text", "pickle", "zip"])
def test_another_kind_of_file_is_one_line(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    assert failure(import_network, tmp_path / "x.pt", "wespeaker", "", {}).startswith(f"{tmp_path}/x.pt: no")


def test_a_safetensors_file_is_named_as_such(tmp_path):
    path = tmp_path / "x.pt"
    safetensors.torch.save_file({"a": torch.zeros(2)}, path)
    wanted = "a checkpoint of torch (.pt, .ckpt) is expected; an experiment of this project needs no import"
    assert failure(import_network, path, "wespeaker", "", {}) == f"{path}: is a safetensors file; {wanted}"


def test_a_torch_that_is_too_old_is_refused(monkeypatch):
    monkeypatch.setattr("pytorch.foreign.version", lambda name: "2.9.1+cu126")
    assert failure(check_torch) == "torch 2.9.1+cu126 cannot read files of others safely; 2.10 or newer is needed, see requirements.txt"


def test_blocks_are_counted_by_their_numbers():
    shapes = Shapes("x.pt", {name: torch.zeros(1) for name in ("a.0.w", "a.1.w", "a.1.b", "a.11.w", "a.01.w", "b.2.w")})
    assert shapes.count("a.<i>.w") == 3
