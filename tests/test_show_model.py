"""utils/show_model.py and pytorch/models/describe.py: a network as a table, with the counts that papers give."""

import re
from itertools import combinations
from pathlib import Path

import pytest
import torch

from pytorch.files import write_json
from pytorch.models import MODELS, build_model, network_class, parse_model_args
from pytorch.models.describe import describe, total_macs

PROGRAM = "utils/show_model.py"
NARROW = "frame_dim=8 stats_dim=12 embed_dim=6"


def rows_of(name, feat_dim, args, frames):
    with torch.device("meta"):
        model = build_model(name, feat_dim, args)
    return {row.name: row for row in describe(model, feat_dim, frames)}


def test_the_rows_of_the_x_vector_are_kaldis_layers():
    rows = rows_of("xvector", 30, {}, 100)
    assert [(row.name, row.shape, row.macs, row.field, row.pooled) for row in rows.values()][:6] == [
        ("frames.0", (512, 96), 5 * 30 * 512 * 96, 5, False),
        ("frames.1", (512, 92), 3 * 512 * 512 * 92, 9, False),
        ("frames.2", (512, 86), 3 * 512 * 512 * 86, 15, False),
        ("frames.3", (512, 86), 512 * 512 * 86, 15, False),
        ("frames.4", (1500, 86), 512 * 1500 * 86, 15, False),
        ("segment6", (512,), 3000 * 512, 15, True),
    ]


@pytest.mark.parametrize("name", MODELS)
def test_rows_hold_all_parameters_and_multiplications(name):
    feat_dim = 1 if network_class(name).input == "wave" else 72
    frames = 6000 if feat_dim == 1 else 60
    with torch.device("meta"):
        model = build_model(name, feat_dim, {})
    count = sum(weight.numel() for weight in model.parameters())
    rows = describe(model, feat_dim, frames)
    used_later = count - sum(row.parameters for row in rows)  # what the loss sees comes after the embedding
    assert used_later == {"xvector": 512 * 513, "etdnn": 512 * 513, "ftdnn": 512 * 513}.get(name, 0)
    assert sum(row.macs for row in rows) == total_macs(model, feat_dim, frames)


DOC = Path(__file__).parents[1] / "docs/networks.md"
TABLE = [
    [cell.strip() for cell in line.split("|")[1:-1]] for line in DOC.read_text().splitlines() if line.startswith("| ") and line.split("|")[1].strip() in MODELS
]
SIZES = [row for row in TABLE if len(row) == 8]


def test_the_documentation_has_every_network():
    assert {row[0] for row in SIZES} == set(MODELS)


@pytest.mark.parametrize("name, args, feat_dim, parameters, _, gmac, published, remark", SIZES, ids=[" ".join(row[:3]) for row in SIZES])
def test_the_sizes_in_the_documentation_are_true_and_near_the_published(name, args, feat_dim, parameters, _, gmac, published, remark):
    with torch.device("meta"):
        model = build_model(name, int(feat_dim), parse_model_args(args))
    assert f"{sum(weight.numel() for weight in model.parameters()):,}" == parameters
    found = total_macs(model, int(feat_dim), 32000 if feat_dim == "1" else 200) / 1e9
    assert f"{found:.3f}" == gmac
    if published and name != "redimnet":  # the configurations of which are not public
        assert 0.93 * float(published) < found + once_a_frame(model) < 1.007 * float(published)


def once_a_frame(model):
    """GMAC that are spared where the context of attentive statistics, of 200 frames, is computed once"""
    pooling = getattr(model, "pooling", None)
    return 199 * (pooling.hidden.weight.numel() * 2 // 3) / 1e9 if getattr(pooling, "context", False) else 0


@pytest.mark.parametrize("name, args, _, parameters, published, gmac, of_theirs, remark", SIZES, ids=[" ".join(row[:3]) for row in SIZES])
def test_published_counts_are_ours_or_the_difference_is_explained(name, args, _, parameters, published, gmac, of_theirs, remark):
    found = int(parameters.replace(",", ""))
    if published.endswith(" M"):
        figure = published.removesuffix(" M")
        scale = 10 ** len(figure.partition(".")[2])
        rounded, cut = round(scale * found / 1e6) / scale, found * scale // 10**6 / scale
        assert float(figure) in (rounded, cut) or "configuration" in remark
    elif published:
        said = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]{2,}", remark)]
        sums = {sum(some) for num in range(len(said) + 1) for some in combinations(said, num)}
        assert int(published.replace(",", "")) - found in sums


@pytest.mark.parametrize(
    "name, feat_dim, args, layer, sees",
    [
        ("xvector_wide", 20, {}, "frames.16", 31),
        ("etdnn", 20, {}, "frames.9", 23),
        ("ftdnn", 20, {}, "frame10", 33),
        ("sinctdnn", 1, {}, "sincnet", 621),
        ("sinctdnn", 1, {}, "tdnn.4", 2511),
        ("xvector_sincnet", 1, {}, "sincnet", 991),
        ("vgg4l", 80, {"channels": 16, "heads": 4}, "blocks.3.1", 68),
        ("resnet", 80, {"width": 4}, "stages.0.0", 7),
        # stem, two stages of convolutions and a context of 7, 19, 31 and 59, a third one at half the rate
        ("redimnet2", 24, {"size": "b0", "channels": 4}, "stages.2", 3 + (4 * 2 + 112) + (6 * 2 + 112) + 1 + 2 * (8 * 2 + 112)),
        ("image_resnet", 80, {"width": 4}, "stages.0.0", 27),  # 7, with the maximum 11, four steps on at each side and again
    ],
)
def test_a_layer_sees_as_far_as_its_kernels_reach(name, feat_dim, args, layer, sees):
    rows = rows_of(name, feat_dim, args, 16000 if feat_dim == 1 else 300)
    assert rows[layer].field == sees
    assert rows[layer].whole == (feat_dim == 1 or name == "redimnet2")  # norms over the utterance, attention


def test_a_gate_from_the_utterance_is_said():
    rows = rows_of("ecapa", 20, {"channels": 16}, 101)
    assert not rows["layer1"].whole
    assert rows["blocks.0"].whole
    assert not rows["blocks.0"].pooled
    assert rows["pooling"].pooled


def test_the_program_prints_the_table(program):
    done = program(PROGRAM, "xvector", "--model-args", NARROW, "--feat-dim", 20, "--frames", 50, "--batch-size", 2)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:2] == [
        "xvector: 1,580 parameters (42 of them after the embedding, for the loss), 0.06 million multiplications for 50 frames of 20 columns",
        "embeddings of 6, taken from segment6 of segment6, segment7; least length 15; padding is left out exactly",
    ]
    assert lines[3].split() == ["layer", "kind", "output", "parameters", "MMAC", "sees"]
    assert lines[4].split() == ["frames.0", "Sequential", "8", "x", "46", "808", "0.04", "5"]
    assert re.fullmatch(r"cpu \(1 thread, fp32, 2 at a time\): [\d,.]+ embeddings a second, [\d,]+ times real time", lines[-1])


@pytest.mark.parametrize("words, at_once", [(["xvector", "--frames", 150], 3), (["xvector", "--frames", 600], 1), (["sinctdnn"], 2)])
def test_the_rate_is_of_as_many_at_a_time_as_are_extracted(program, words, at_once):
    done = program(PROGRAM, *words, "--model-args", NARROW)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"cpu (1 thread, fp32, {at_once} at a time)" in done.stdout


def test_waveforms_have_one_column_whatever_is_said(program):
    done = program(PROGRAM, "sinctdnn", "--model-args", NARROW, "--rate", "false")
    assert done.returncode == 0
    assert "multiplications for 32000 samples" in done.stdout
    assert "least length 2511" in done.stdout
    assert "621 *" in done.stdout


def test_an_experiment_is_shown_with_its_own_arguments(program, tmp_path):
    write_json(tmp_path / "model.json", {"model": "vgg4l", "feat_dim": 24, "args": {"channels": 16, "heads": 4, "embed_dim": 8, "output": "emb3"}})
    done = program(PROGRAM, tmp_path, "--rate", "false")
    assert (done.returncode, done.stderr) == (0, "")
    assert "for 200 frames of 24 columns\nembeddings of 8, taken from emb3 of emb1, emb2, emb3; least length 1;" in done.stdout
    again = program(PROGRAM, tmp_path, "--model-args", "channels=8")
    assert (again.returncode, again.stderr) == (1, f"show_model.py: --model-args: {tmp_path} has its own\n")


def test_a_file_in_place_of_an_experiment_directory_is_said(tmp_path, program):
    (tmp_path / "x.model").write_text("x")
    done = program(PROGRAM, tmp_path / "x.model")
    message = "a file; where it is a packaged extractor, name the experiment directory that it was made of"
    assert (done.returncode, done.stderr) == (1, f"show_model.py: {tmp_path}/x.model: {message}\n")


@pytest.mark.parametrize(
    "words, message",
    [
        (["resnett"], f"resnett: no network, and no experiment; the networks are {', '.join(MODELS)}"),
        (["xvector", "--frames", "100000000"], "--frames, --feat-dim: 100,000,000 values at most can be looked at"),
        (["xvector", "--feat-dim", "1" + 20 * "0"], "--frames, --feat-dim: 100,000,000 values at most can be looked at"),
        (["xvector", "--frames", "14"], "--frames 14: xvector needs 15 or more"),
        (
            ["xvector", "--model-args", "width=5"],
            "--model-args: xvector has no argument 'width'; it has frame_dim=512, stats_dim=1500, embed_dim=512, segment7=true, segment7_norm=true, "
            "output=segment6, norm_eps=0.001, std_eps=0.0, unbiased=false",
        ),
    ],
)
def test_what_cannot_be_shown_is_one_line(program, words, message):
    done = program(PROGRAM, *words, "--rate", "false")
    assert (done.returncode, done.stderr) == (1, f"show_model.py: {message}\n")
