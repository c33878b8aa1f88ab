#!/usr/bin/env python3
"""Write an experiment's extractor as an ONNX file, for programs that have no torch: features (or waveforms) in, embeddings out.

Batch and length are free; all utterances of a batch have one length. The mean is subtracted inside where the experiment subtracts it; features and the choice
of voiced frames are not inside, their settings stand in the metadata, with sample rate, network, labels, epoch and commit. Before the file is written,
onnxruntime's embeddings of several lengths and batch sizes are compared with torch's: more than 1e-4 of their length apart, and nothing is written.

Reads   <exp>/{model.json,epoch-NNN.safetensors}
Writes  <out>                                       about as large as the weights
e.g.    utils/export_onnx.py exp/xvector xvector.onnx
        utils/export_onnx.py --epoch final exp/ecapa ecapa.onnx
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.experiment import Experiment
from pytorch.files import sha256, whole_file
from pytorch.models import check_layer
from pytorch.onnx_export import compare, extractor_of, facts, need_packages, stored_facts, to_onnx
from pytorch.program import Fail, Parser, boolean, positive_int, run


def main():
    parser = Parser(__doc__)
    parser.add_argument("exp", type=Path, help="experiment directory")
    parser.add_argument("out", type=Path, help="ONNX file, made")
    parser.add_argument("--epoch", default="best", help="best, final, average or a number")
    parser.add_argument("--layer", help="which layer the embedding is, of networks with several (utils/show_model.py); as in training by default")
    parser.add_argument("--num-threads", type=positive_int, default=1, help="threads of the comparison")
    parser.add_argument("--overwrite", type=boolean, default=False, help="replace another file of that name")
    args = parser.parse_args()
    experiment = Experiment(args.exp)
    epoch = experiment.epoch(args.epoch)
    weights = sha256(experiment.weights(epoch))
    need_packages()

    import torch

    torch.set_num_threads(args.num_threads)
    model = experiment.load(epoch, torch.device("cpu"))
    check_layer(model, args.layer)
    about = facts(experiment, epoch, model, args.layer, weights)
    if args.out.exists():
        if stored_facts(args.out) == about:
            print(f"export_onnx: {args.out} is there")
            return
        if not args.overwrite:
            raise Fail(f"{args.out}: is there, and is not of these weights; move it away, or pass --overwrite true to replace it")
    extractor = extractor_of(model, experiment.settings["cmn"], args.layer)
    data = to_onnx(extractor, about)
    try:
        largest = compare(data, extractor, about, args.num_threads)
    except Fail as error:
        raise Fail(f"{args.out}: not written: {error}") from None
    with whole_file(args.out, "wb") as file:
        file.write(data)
    inside = "the mean is subtracted inside" if experiment.settings["cmn"] == "mean" else "no mean is subtracted"
    size = f"{len(data) / 1e6:,.1f} MB"
    print(f"export_onnx: {args.out}, {about['network']} of epoch {epoch}, {size}; {inside}; onnxruntime's embeddings are {largest:.0e} off torch's")


if __name__ == "__main__":
    run(main)
