"""An experiment's extractor as an ONNX file: the network with its weights, and the mean subtraction where the experiment has it, for programs without torch.

    input       feats (batch, frames, columns), float32; wave (batch, samples) in the range of 16-bit integers, for networks on waveforms
    output      embedding (batch, dimension)
    metadata    facts(): names with text, JSON where it is more than a word; what makes the features is not in the graph, its settings are here

All utterances of a batch have one length. onnx, onnxscript and onnxruntime are optional packages.
"""

import importlib.util
import json
import logging
import sys
import warnings

from pytorch.arguments import typed
from pytorch.models import network_class
from pytorch.program import Fail, commit

PACKAGES = {"onnx": "1.23.2", "onnxscript": "0.7.2", "onnxruntime": "1.31.1"}
TOLERANCE = 1e-4  # by which embeddings may differ from torch's, of their length
FRAMES, SAMPLES = (1, 60, 203, 400), (1, 7000, 20001, 40000)  # beyond the least length, of the utterances that are compared
BATCHES = (1, 2, 3)


def need_packages():
    missing = [f"{name}=={version}" for name, version in PACKAGES.items() if importlib.util.find_spec(name) is None]
    if missing:
        raise Fail(f"an ONNX file is written with packages that this Python lacks; install them with: {sys.executable} -m pip install {' '.join(missing)}")


def facts(experiment, epoch, model, layer, weights_sha256):
    """What the file says of itself: {name: text}, without the commit of the export."""
    own = experiment.settings
    features, args = own["features"], typed("--model-args", own["model"], network_class(own["model"]), own["args"])
    more = {
        "network": own["model"],
        "network_args": args,
        "input": model.input,
        "feat_dim": own["feat_dim"],
        "sample_rate": features.get("sample_frequency", args.get("sample_rate")),
        "features": features,
        "cmn": own["cmn"],
        "cmn_in_graph": own["cmn"] != "none",
        "voiced": own["voiced"],
        "embed_dim": model.embed_dim,
        "layer": layer or model.output,
        "min_frames": model.min_frames,
        "loss": own["loss"],
        "targets": own.get("targets"),
        "classes": own["classes"],
        "epoch": epoch,
        "weights_sha256": weights_sha256,
        "trained_with_commit": own["commit"],
    }
    return {name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for name, value in more.items()}


def stored_facts(path):
    """The facts() in a file; {} where it is no ONNX file."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError:
        return {}
    return {one.key: one.value for one in model.metadata_props if one.key != "commit"}


def extractor_of(model, cmn, layer=None):
    """-> a module: x -> embeddings of a layer, the mean of each utterance subtracted before unless cmn is none"""
    from torch import nn

    from pytorch.features.cmvn import subtract_mean

    class Extractor(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model.embed(subtract_mean(x) if cmn == "mean" else x, None, layer)

    return Extractor().eval()


def to_onnx(extractor, about):
    """The extractor as the bytes of an ONNX file, both axes of its input free. about: {name: text}"""
    import onnx
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    model = extractor.model
    name, time = ("wave", "samples") if model.input == "wave" else ("feats", "frames")
    x = example(model, about, 2, model.min_frames + _steps(model)[1])
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its kernels, and those of other backends, have lengths that cannot be followed
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)  # it misses torchvision, which nothing here uses
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings(action="ignore"):
            program = torch.onnx.export(
                extractor, (x,), input_names=[name], output_names=["embedding"], dynamo=True, dynamic_shapes=({0: "batch", 1: time},), verbose=False
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    proto = program.model_proto
    proto.producer_name, proto.doc_string = "embark", _words(about)
    for part in (proto, proto.graph, *proto.graph.node, *proto.graph.input, *proto.graph.output, *proto.graph.value_info, *proto.graph.initializer):
        del part.metadata_props[:]  # where in which program each came from
    onnx.helper.set_model_props(proto, {**about, "commit": commit()})
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString()


def compare(data, extractor, about, num_threads=1):
    """-> the largest difference of embeddings by onnxruntime from torch's, of their length, over several lengths and batch sizes. Fails above TOLERANCE."""
    import numpy as np
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    model, largest = extractor.model, 0.0
    for length in (model.min_frames, *(model.min_frames + more for more in _steps(model))):
        for batch in BATCHES:
            x = example(model, about, batch, length)
            with torch.inference_mode():
                wanted = extractor(x).numpy()
            (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
            off = np.linalg.norm(found - wanted, axis=1) if found.shape == wanted.shape else np.full(batch, np.inf)
            share = float((off / np.maximum(np.linalg.norm(wanted, axis=1), 1e-30)).max())
            if not share <= TOLERANCE:
                units = "samples" if model.input == "wave" else "frames"
                raise Fail(f"onnxruntime's embeddings of {batch} x {length} {units} are off by {share:.1e}, not at most {TOLERANCE:g}")
            largest = max(largest, share)
    return largest


def example(model, about, batch, length):
    """Noise that looks like what the network takes, the same for the same shape."""
    import torch

    generator = torch.Generator().manual_seed(batch * 1000003 + length)
    if model.input == "wave":
        return 1000 * torch.randn(batch, length, generator=generator)
    columns = int(about["feat_dim"])
    return 2 * torch.randn(batch, length, columns, generator=generator) + 3 * torch.randn(batch, 1, columns, generator=generator)


def _steps(model):
    return SAMPLES if model.input == "wave" else FRAMES


def _words(about):
    if about["input"] == "wave":
        taken = "samples of waveforms in the range of 16-bit integers"
    else:
        mean = "; their mean over the utterance is subtracted inside" if about["cmn"] == "mean" else ""
        voiced = ", of voiced frames only" if about["voiced"] == "true" else ""
        taken = f"features made with the settings in the metadata{voiced}{mean}"
    return f"Embeddings of {about['network']}, layer {about['layer']}. Input: {taken}; all of a batch have one length, {about['min_frames']} or more."
