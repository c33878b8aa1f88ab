"""pytorch/models: what every network must do, narrow and with few frames; how large each is at the widths of its paper; how one is built."""

import copy
import importlib
import math
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from narrow import SMALL, inputs, more_frames, small, trained
from support import failure

from pytorch.models import MODELS, build_model, check_layer, network_class, parse_model_args
from pytorch.models.xvector import XVector

VARIANTS = [  # further ones whose padding and gradients are asked for
    ("xvector", {"segment7": False}),
    ("xvector", {"segment7_norm": False, "output": "segment7", "std_eps": 1e-7, "unbiased": True}),
    ("etdnn", {"segment12": False}),
    ("ftdnn", {"segment12": False}),
    ("ecapa", {"summed": False, "embed_norm": False, "context": False, "attention_norm": True}),
    ("resnet", {"depth": 50, "width": 2}),
    ("resnet", {"gate": "se", "pooling": "asp"}),
    ("resnet", {"gate": "simam", "pooling": "mqmha"}),
    ("vgg4l", {"pooling": "astp", "output": "emb3"}),
    ("sinctdnn", {"segment7": True, "batch_normalize": True, "scale": "logistic"}),
    ("sinctdnn", {"waveform_normalize": False, "instance_normalize": False, "scale": "unit"}),
    ("eres2netv2", {"parts": 4, "expansion": 4, "pooling": "tap"}),
    ("redimnet", {"size": "b1", "channels": 8}),
    ("redimnet", {"size": "b3", "pooling_norm": False}),
    ("redimnet2", {"size": "b6", "group_norm": True}),
    ("redimnet2", {"size": "b1"}),
    ("image_resnet", {"depth": 50, "width": 2}),
    ("age_resnet", {"pooling": "sap"}),
    ("gelu_resnet", {"pooling": "dmha", "heads": 4, "output": "emb2"}),
]
CASES = [(name, {}) for name in MODELS] + VARIANTS
IDS = [" ".join([name, *(f"{key}={value}" for key, value in more.items())]) for name, more in CASES]


def test_each_network_has_a_narrow_one_here():
    assert SMALL.keys() == MODELS.keys()


@torch.inference_mode()
@pytest.mark.parametrize("name", MODELS)
def test_a_network_says_what_it_takes_and_gives(name):
    network = small(name).eval()
    assert network.input in ("feats", "wave")
    assert isinstance(network.masks_padding, bool)
    x = inputs(name, network, 2, network.min_frames + more_frames(network, 20))
    found = network.embed(x)
    assert found.shape == (2, network.embed_dim)
    assert torch.isfinite(found).all()
    assert network(x).dim() == 2
    if network.input == "wave":
        assert torch.equal(network.embed(x.squeeze(2)), found)
    assert network.output in network.layers
    assert torch.equal(network.embed(x, layer=network.output), found)
    for layer in network.layers:
        assert network.embed(x, layer=layer).shape == (2, network.embed_dim)


LAYERS = {  # of the networks that have several, and what the loss sees of the last one
    "xvector": (("segment6", "segment7"), lambda network, last: network.segment7[3:](last)),
    "xvector_wide": (("fc1", "fc2"), lambda network, last: network.after2(last)),
    "etdnn": (("segment11", "segment12"), lambda network, last: network.segment12[3:](last)),
    "ftdnn": (("segment11", "segment12"), lambda network, last: network.segment12[3:](last)),
    "vgg3l": (("emb1", "emb2", "emb3"), lambda network, last: last),
    "vgg4l": (("emb1", "emb2", "emb3"), lambda network, last: last),
    "age_resnet": (("emb1", "emb2", "emb3"), lambda network, last: last),
    "gelu_resnet": (("emb1", "emb2", "emb3"), lambda network, last: last),
    "sinctdnn": (("segment6", "segment7"), lambda network, last: F.relu(last)),
}


@torch.inference_mode()
@pytest.mark.parametrize("name", MODELS)
def test_layers_are_chosen_by_name_and_taken_before_their_non_linearity(name):
    network = trained(name, {"segment7": True} if name == "sinctdnn" else None)
    layers, seen = LAYERS.get(name, (("embedding",), lambda network, last: last))
    assert network.layers == layers
    x = inputs(name, network, 3, network.min_frames + more_frames(network, 25))
    found = [network.embed(x, None, layer) for layer in layers]
    assert len({tuple(one.flatten().tolist()) for one in found}) == len(layers)
    torch.testing.assert_close(seen(network, found[-1]), network(x))
    if layers[0] in ("segment6", "segment11", "fc1"):  # emb1 is taken after it
        assert all((one < 0).any() for one in found)
    check_layer(network, layers[-1])
    check_layer(network, None)


@pytest.mark.parametrize(
    "name, more, layers", [("xvector", {"segment7": False}, "segment6 is"), ("vgg4l", {}, "emb1, emb2, emb3 are"), ("resnet", {}, "embedding is")]
)
def test_a_layer_a_network_does_not_have_is_refused(name, more, layers):
    assert failure(check_layer, small(name, more), "fc1") == f"--layer fc1: {layers} what embeddings can be taken from"


@pytest.mark.parametrize("name, more", CASES, ids=IDS)
def test_the_least_length_is_enough_and_less_is_not(name, more):
    network = small(name, more).train()
    network(inputs(name, network, 3, network.min_frames)).square().sum().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())
    network.eval()
    with torch.inference_mode():
        assert torch.isfinite(network.embed(inputs(name, network, 2, network.min_frames))).all()
        if network.min_frames > 1:
            with pytest.raises(RuntimeError):
                network.embed(inputs(name, network, 2, network.min_frames - 1))


@torch.inference_mode()
@pytest.mark.parametrize("name, more", CASES, ids=IDS)
def test_a_batch_gives_what_its_utterances_give_one_by_one(name, more):
    network = trained(name, more).double()  # so that what differs does so by more than rounding
    longest = network.min_frames + more_frames(network, 71)
    lengths = torch.tensor([longest, network.min_frames, network.min_frames + more_frames(network, 1), longest - 1, longest * 2 // 3])
    for call in (network.embed, network):  # the embedding, what the loss classifies
        x = inputs(name, network, 5, longest).double()
        alone = torch.cat([call(row[None]) for row in x])
        assert alone.std(0).max() > 0.01  # the utterances are told apart, which the bias alone could not
        near = {"rtol": 0, "atol": 1e-6 * alone.abs().max().item()}
        torch.testing.assert_close(call(x), alone, **near)
        torch.testing.assert_close(call(x, torch.tensor([longest] * 5)), alone, **near)
        if network.masks_padding:
            alone = torch.cat([call(row[None, :length]) for row, length in zip(x, lengths, strict=True)])
            for filler in (0.0, 1e3, math.nan):
                for row, length in zip(x, lengths, strict=True):
                    row[length:] = filler
                torch.testing.assert_close(call(x, lengths), alone, **near)


@pytest.mark.parametrize("name, more", CASES, ids=IDS)
def test_every_weight_is_learnt(name, more):
    network = small(name, more).train()
    network(inputs(name, network, 6, network.min_frames + more_frames(network, 30))).square().sum().backward()
    assert not [weight for weight, value in network.named_parameters() if value.grad is None]
    assert all(torch.isfinite(value.grad).all() for value in network.parameters())


@torch.inference_mode()
@pytest.mark.parametrize("name", MODELS)
def test_half_precision_changes_no_more_than_rounding_does(name):
    network = trained(name)
    x = inputs(name, network, 16, network.min_frames + more_frames(network, 60))
    exact = network.embed(x)
    assert network.embed(x).dtype == torch.float32
    longer, lengths = F.pad(x, (0, 0, 0, more_frames(network, 9)), value=100.0), torch.full((16,), x.shape[1])
    with torch.autocast("cpu", torch.bfloat16):
        found = network.embed(x).float()
        padded = network.embed(longer, lengths).float() if network.masks_padding else found
    weights = copy.deepcopy(network.state_dict())
    network.load_state_dict({key: value.bfloat16() for key, value in weights.items()})
    rounded = network.embed(x.bfloat16().float())
    assert (found - exact).norm() < 4 * (rounded - exact).norm()
    assert (padded - exact).norm() < 4 * (rounded - exact).norm()


@pytest.mark.parametrize("name", MODELS)
def test_a_network_learns_to_tell_two_speakers_apart(name):
    network = small(name)
    length = network.min_frames + more_frames(network, 20)
    pattern = torch.randn(2, length, SMALL[name][0], generator=torch.Generator().manual_seed(1))
    targets = torch.arange(8) % 2
    x = (2 if network.input == "feats" else 1000) * (pattern[targets] + 0.3 * torch.randn(8, length, SMALL[name][0]))
    head = torch.nn.Linear(network.eval()(x).shape[1], 2)
    optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()], 0.01)
    network.train()
    for _ in range(30):
        optimizer.zero_grad()
        loss = F.cross_entropy(head(network(x)), targets)
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert (head(network(x)).argmax(1) == targets).all()


@torch.inference_mode()
@pytest.mark.parametrize("name", MODELS)
def test_weights_are_all_that_an_embedding_depends_on(name):
    network, other = trained(name), small(name, {}).eval()
    other.load_state_dict(copy.deepcopy(network.state_dict()))
    x = inputs(name, network, 2, network.min_frames + more_frames(network, 10))
    assert torch.equal(network.embed(x), other.embed(x))


@pytest.mark.parametrize("name", MODELS)
def test_the_docstring_has_the_papers_table(name):
    doc = importlib.import_module(f"pytorch.models.{MODELS[name][0]}").__doc__
    assert re.search(r"\b(19|20)\d\d\b", doc)  # the paper's year
    assert len(re.findall(r"^    \w", doc, re.MULTILINE)) >= 5


@pytest.mark.parametrize(
    "name, feat_dim, args, message",
    [
        ("resnet", 80, {"depth": "35"}, "--model-args: depth=35: one of 18, 34, 50, 100, 101, 152, 221, 293 expected"),
        ("resnet", 80, {"gate": "relu"}, "--model-args: gate=relu: none, se or simam expected"),
        ("resnet", 80, {"pooling": "max"}, "--model-args: pooling=max: tap, tstp, sap, mha, dmha, asp, astp or mqmha expected"),
        ("image_resnet", 80, {"depth": "19"}, "--model-args: depth=19: one of 18, 34, 50, 101, 152 expected"),
        ("vgg4l", 80, {"channels": "20"}, "--model-args: channels=20: a multiple of 8 expected"),
        ("vgg4l", 80, {"output": "fc1"}, "--model-args: output=fc1: emb1, emb2 or emb3 expected"),
        ("age_resnet", 80, {"channels": "20"}, "--model-args: channels=20: a multiple of 8 expected"),
        ("gelu_resnet", 80, {"channels": "20"}, "--model-args: channels=20: a multiple of 8 expected"),
        ("gelu_resnet", 80, {"depth": "18"}, "--model-args: depth=18: one of 34, 101 expected"),
        ("gelu_resnet", 15, {}, "gelu_resnet: features of 15 columns; 16 or more are needed"),
        ("xvector", 80, {"segment7": "false", "output": "segment7"}, "--model-args: output=segment7: not with segment7=false"),
        ("ecapa", 80, {"channels": "20"}, "--model-args: channels=20: a multiple of parts=8 (2 or more) expected"),
        ("ecapa", 80, {"parts": "1"}, "--model-args: channels=512: a multiple of parts=1 (2 or more) expected"),
        ("campplus", 80, {"blocks": "1,2"}, "--model-args: blocks=1,2: three numbers of layers expected, such as 12,24,16"),
        ("campplus", 80, {"blocks": "²,1,1"}, "--model-args: blocks=²,1,1: three numbers of layers expected, such as 12,24,16"),
        ("xvector", 80, {"norm_eps": "0"}, "--model-args: norm_eps=0: a number above 0 expected"),
        ("ecapa", 80, {"std_floor": "0"}, "--model-args: std_floor=0: a number above 0 expected"),
        ("xvector_mfcc", 1, {"sample_rate": "80"}, "--model-args: sample_rate=80: 1000 or more expected"),
        ("campplus", 80, {"blocks": "1,0,2"}, "--model-args: blocks=1,0,2: three numbers of layers expected, such as 12,24,16"),
        ("xvector_sincnet", 1, {"sinc_dim": "9"}, "--model-args: sinc_dim=9: an even number expected, the filters are in pairs"),
        ("sinctdnn", 1, {"scale": "two"}, "--model-args: scale=two: none, unit or logistic expected"),
        ("xvector_mfcc", 1, {"num_ceps": "129"}, "--model-args: num_ceps=129: at most 128 expected"),
        ("sinctdnn", 1, {"sample_rate": "80"}, "--model-args: sample_rate=80: 1000 or more expected"),
        ("sinctdnn", 1, {"dropout": "1.5"}, "--model-args: dropout=1.5: at most 1 expected"),
        ("xvector_wide", 30, {"dropout": "1.5"}, "--model-args: dropout=1.5: at most 1 expected"),
        ("age_resnet", 30, {"dropout": "1.5"}, "--model-args: dropout=1.5: at most 1 expected"),
        ("mfa_conformer", 30, {"dropout": "1.5"}, "--model-args: dropout=1.5: at most 1 expected"),
        ("cnn_transformer", 32, {"cnn_dropout": "1.5"}, "--model-args: cnn_dropout=1.5: at most 1 expected"),
        (
            "redimnet",
            72,
            {"size": "b1", "channels": "29"},
            "--model-args: channels: 29 of them in a layer cannot be split into 3 groups; a multiple of 8 expected",
        ),
        ("sinctdnn", 80, {}, "this network takes waveforms, one value a sample; these are features of 80 columns"),
        ("redimnet2", 80, {"size": "b2"}, "features of 80 columns: size=b2 needs a multiple of 12, 72 as published"),
        ("redimnet", 80, {"size": "b1"}, "features of 80 columns: size=b1 needs a multiple of 24, 72 as published"),
        ("redimnet", 72, {"size": "b7"}, "--model-args: size=b7: b0, b1, b2, b3, b4, b5 or b6 expected"),
        ("mfa_conformer", 80, {"dim": "30"}, "--model-args: dim=30: a multiple of heads=4, and even, expected"),
        ("mfa_conformer", 80, {"kernel": "4"}, "--model-args: kernel=4: an odd number expected"),
        ("mfa_conformer", 2, {}, "mfa_conformer: features of 2 columns; 3 or more are needed"),
        ("cnn_transformer", 30, {}, "cnn_transformer: features of 30 columns; 32 or more, a multiple of heads=4, are needed"),
    ],
)
def test_arguments_that_make_no_network_are_one_line(name, feat_dim, args, message):
    assert failure(build_model, name, feat_dim, args) == message


# ---- building


def test_a_network_is_built_by_name_with_typed_arguments():
    network = build_model("xvector", 7, {"frame_dim": "16", "stats_dim": 24, "embed_dim": "12", "segment7": "false"})
    assert isinstance(network, XVector)
    assert network.embed_dim == 12
    assert network(torch.randn(2, 20, 7)).shape == (2, 12)
    assert not any(name.startswith("segment7") for name, _ in network.named_parameters())


def test_the_registry_is_literal():
    for name, (file, cls) in MODELS.items():
        assert (Path(__file__).parents[1] / f"pytorch/models/{file}.py").exists()
        assert network_class(name).__name__ == cls


KNOWN = "frame_dim=512, stats_dim=1500, embed_dim=512, segment7=true, segment7_norm=true, output=segment6, norm_eps=0.001, std_eps=0.0, unbiased=false"


@pytest.mark.parametrize(
    "args, message",
    [
        ({"width": "5"}, f"xvector has no argument 'width'; it has {KNOWN}"),
        ({"feat_dim": "5"}, f"xvector has no argument 'feat_dim'; it has {KNOWN}"),
        ({"frame_dim": "wide"}, f"frame_dim=wide: int expected; xvector has {KNOWN}"),
        ({"frame_dim": "12.5"}, f"frame_dim=12.5: int expected; xvector has {KNOWN}"),
        ({"segment7": "yes"}, f"segment7=yes: bool expected; xvector has {KNOWN}"),
        ({"segment7": "True"}, f"segment7=True: bool expected; xvector has {KNOWN}"),
        ({"embed_dim": "0"}, "embed_dim=0: 1 or more expected"),
        ({"embed_dim": "-3"}, "embed_dim=-3: 1 or more expected"),
    ],
)
def test_arguments_a_network_does_not_have_are_refused(args, message):
    assert failure(build_model, "xvector", 30, args) == f"--model-args: {message}"


def test_model_args_are_pairs():
    assert parse_model_args("a=1  b=x=y") == {"a": "1", "b": "x=y"}
    assert parse_model_args("") == {}


@pytest.mark.parametrize("word", ["a", "=1", "a=", "="])
def test_model_args_that_are_no_pairs_are_refused(word):
    assert failure(parse_model_args, f"b=1 {word}") == f"--model-args: name=value expected, not '{word}'"
