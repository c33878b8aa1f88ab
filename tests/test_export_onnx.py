"""utils/export_onnx.py and pytorch/onnx_export.py: onnxruntime gives what torch gives, for every network; the file says what it is; or there is no file."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from narrow import SMALL, inputs, more_frames, trained
from support import failure

from pytorch.arguments import typed
from pytorch.experiment import save_tensors
from pytorch.files import sha256, write_json
from pytorch.models import MODELS, network_class
from pytorch.onnx_export import PACKAGES, compare, extractor_of, need_packages, to_onnx

PROGRAM = "utils/export_onnx.py"
SHALLOW = {"campplus": {"blocks": "1,1,1"}, "mfa_conformer": {"blocks": 1}, "cnn_transformer": {"layers": 1}}


def about_of(name, model, cmn="none"):
    return {
        "network": name,
        "input": model.input,
        "feat_dim": str(SMALL[name][0]),
        "cmn": cmn,
        "voiced": "false",
        "layer": model.output,
        "min_frames": str(model.min_frames),
    }


def build_args(name):
    """All arguments of the narrow network, those not given included."""
    return typed("--model-args", name, network_class(name), SMALL[name][1])


def by_onnxruntime(data, x):
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (found,) = session.run(["embedding"], {session.get_inputs()[0].name: np.asarray(x, dtype=np.float32)})
    return found


@pytest.fixture(scope="module")
def exported():
    """-> a narrow x-vector from which the mean is subtracted before, what is said of it, its file"""
    model = trained("xvector")
    about = about_of("xvector", model, "mean")
    return model, about, to_onnx(extractor_of(model, "mean"), about)


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_gives_the_embeddings_of_every_network(name):
    model = trained(name, SHALLOW.get(name))
    about = about_of(name, model)
    data = to_onnx(extractor_of(model, "none"), about)
    (taken,), (given,) = onnx.load_from_string(data).graph.input, onnx.load_from_string(data).graph.output
    axes = [axis.dim_param or axis.dim_value for axis in taken.type.tensor_type.shape.dim]
    assert axes == (["batch", "samples"] if model.input == "wave" else ["batch", "frames", SMALL[name][0]])
    assert [axis.dim_param or axis.dim_value for axis in given.type.tensor_type.shape.dim] == ["batch", model.embed_dim]
    for batch, length in ((1, model.min_frames), (4, model.min_frames + more_frames(model, 33)), (2, model.min_frames + more_frames(model, 150) + 1)):
        x = inputs(name, model, batch, length)
        with torch.inference_mode():
            wanted = model.embed(x).numpy()
        found = by_onnxruntime(data, x.squeeze(2) if model.input == "wave" else x)
        assert (np.linalg.norm(found - wanted, axis=1) <= 1e-4 * np.linalg.norm(wanted, axis=1)).all()
    assert compare(data, extractor_of(model, "none"), about) <= 1e-4


def experiment(folder, name="xvector", change=None, **settings):
    """An experiment with a narrow network -> the network"""
    model = trained(name)
    tensors = {f"model.{key}": tensor for key, tensor in model.state_dict().items()}
    if change:
        change(tensors)
    save_tensors(folder / "epoch-002.safetensors", tensors)
    (folder / "final").write_text("2\n")
    own = {"feature": "fbank", "sample_frequency": 8000.0}
    write_json(
        folder / "model.json",
        {
            "model": name, "args": SMALL[name][1], "feat_dim": SMALL[name][0], "features": own, "cmn": "mean", "voiced": True, "loss": {"name": "am"},
            "targets": {"what": "utt2spk", "kind": "classes"}, "classes": ["anna", "jürgen"], "commit": "c0ffee", **settings,
        },
    )  # fmt: skip
    return model


def test_the_program_writes_what_the_experiment_gives_and_says_what_it_is(program, tmp_path):
    model = experiment(tmp_path / "exp")
    done = program(PROGRAM, tmp_path / "exp", tmp_path / "x.onnx")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"export_onnx: {tmp_path}/x.onnx, xvector of epoch 2, 0.0 MB; the mean is subtracted inside; onnxruntime's embeddings are ")
    x = 5 + 2 * torch.randn(3, 40, 12)
    with torch.inference_mode():
        wanted = model.embed(x - x.mean(1, keepdim=True)).numpy()
    np.testing.assert_allclose(by_onnxruntime((tmp_path / "x.onnx").read_bytes(), x), wanted, atol=1e-4 * np.abs(wanted).max())

    proto = onnx.load(tmp_path / "x.onnx")
    assert proto.producer_name == "embark"
    assert proto.doc_string == (
        "Embeddings of xvector, layer segment6. Input: features made with the settings in the metadata, of voiced frames only; their mean over the utterance "
        "is subtracted inside; all of a batch have one length, 15 or more."
    )
    told = {one.key: one.value for one in proto.metadata_props}
    assert told.pop("commit")
    words = {name: told.pop(name) for name in ("network", "input", "cmn", "layer", "weights_sha256", "trained_with_commit")}
    assert words == {
        "network": "xvector", "input": "feats", "cmn": "mean", "layer": "segment6", "trained_with_commit": "c0ffee",
        "weights_sha256": sha256(tmp_path / "exp/epoch-002.safetensors"),
    }  # fmt: skip
    assert {name: json.loads(text) for name, text in told.items()} == {
        "network_args": build_args("xvector"), "feat_dim": 12, "sample_rate": 8000.0,
        "features": {"feature": "fbank", "sample_frequency": 8000.0}, "cmn_in_graph": True, "voiced": True, "embed_dim": 8, "min_frames": 15,
        "loss": {"name": "am"}, "targets": {"what": "utt2spk", "kind": "classes"}, "classes": ["anna", "jürgen"], "epoch": 2,
    }  # fmt: skip
    assert str(tmp_path).encode() not in (tmp_path / "x.onnx").read_bytes()
    assert b".py" not in (tmp_path / "x.onnx").read_bytes()


@pytest.mark.long
def test_a_second_export_is_free_and_a_layer_must_be_there(program, tmp_path):
    experiment(tmp_path / "exp")
    assert program(PROGRAM, tmp_path / "exp", tmp_path / "x.onnx").returncode == 0
    again = program(PROGRAM, tmp_path / "exp", tmp_path / "x.onnx")
    assert (again.returncode, again.stdout) == (0, f"export_onnx: {tmp_path}/x.onnx is there\n")
    other = program(PROGRAM, "--layer", "segment8", tmp_path / "exp", tmp_path / "y.onnx")
    assert (other.returncode, other.stderr) == (1, "export_onnx.py: --layer segment8: segment6, segment7 are what embeddings can be taken from\n")


@pytest.mark.long
def test_another_layer_is_exported_where_it_is_asked_for():
    model = trained("xvector")
    data = to_onnx(extractor_of(model, "none", "segment7"), about_of("xvector", model))
    x = inputs("xvector", model, 2, 30)
    with torch.inference_mode():
        wanted = model.embed(x, layer="segment7").numpy()
    np.testing.assert_allclose(by_onnxruntime(data, x), wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.long
@pytest.mark.parametrize("content", [b"", b"no ONNX", b"\x08\x07\x12\x00"])
def test_another_file_is_replaced_only_where_that_is_asked_for(program, tmp_path, content):
    experiment(tmp_path / "exp", cmn="none")
    (tmp_path / "x.onnx").write_bytes(content)
    done = program(PROGRAM, tmp_path / "exp", tmp_path / "x.onnx")
    message = f"export_onnx.py: {tmp_path}/x.onnx: is there, and is not of these weights; move it away, or pass --overwrite true to replace it\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)
    assert (tmp_path / "x.onnx").read_bytes() == content
    if not content:
        done = program(PROGRAM, "--overwrite", "true", tmp_path / "exp", tmp_path / "x.onnx")
        assert "; no mean is subtracted; " in done.stdout
        onnx.checker.check_model(onnx.load(tmp_path / "x.onnx"))


@pytest.mark.long
def test_where_the_embeddings_are_others_nothing_is_written(program, tmp_path):
    def spoil(tensors):
        tensors["model.segment6.bias"][0] = float("nan")

    experiment(tmp_path / "exp", change=spoil)
    done = program(PROGRAM, tmp_path / "exp", tmp_path / "x.onnx")
    message = f"export_onnx.py: {tmp_path}/x.onnx: not written: onnxruntime's embeddings of 1 x 15 frames are off by nan, not at most 0.0001\n"
    assert (done.returncode, done.stderr) == (1, message)
    assert not (tmp_path / "x.onnx").exists()


def test_onnxruntime_gives_the_embeddings_and_a_difference_in_the_fourth_digit_is_seen(exported):
    model, about, data = exported
    assert compare(data, extractor_of(model, "mean"), about) <= 1e-4
    assert " are off by " in failure(compare, data, extractor_of(model, "none"), about)
    other = trained("xvector")
    with torch.no_grad():
        other.segment6.weight.mul_(1.001)
    assert " are off by " in failure(compare, data, extractor_of(other, "mean"), about)


def test_packages_that_are_missing_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert failure(need_packages) == (
        f"an ONNX file is written with packages that this Python lacks; install them with: {sys.executable} -m pip install "
        f"onnxscript=={PACKAGES['onnxscript']} onnxruntime=={PACKAGES['onnxruntime']}"
    )


def test_the_packages_are_those_of_the_tests(root):
    pinned = (root / "tests/requirements.txt").read_text().split()
    assert {f"{name}=={version}" for name, version in PACKAGES.items()} <= set(pinned)
