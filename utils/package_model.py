#!/usr/bin/env python3
"""Put an extractor into one file, which steps/extract.py, extract_windows.py, embed.py, verify.py, enrol.py and identify.py take in place of exp/x.

Reads   <exp>    experiment directory: network, what it is given, the weights of one epoch (not those of its loss)
        --backend, --calibration, --threshold: what decisions are made with
Writes  <out>    safetensors with JSON in its metadata and a checksum; nothing in it is code
e.g.    utils/package_model.py --epoch final --backend exp/x/backend --calibration exp/x/calibration_plda.json exp/x x.safetensors
"""

import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.extracting import add_decision_options, add_extractor_options
from pytorch.files import need_file
from pytorch.package import PACKAGE, Package, identity, open_experiment, seed_of, write_checked
from pytorch.program import Fail, Parser, boolean, commit, run


def main():
    parser = Parser(__doc__)
    add_extractor_options(parser)
    parser.add_argument("out", type=Path, help="file of the extractor, made")
    add_decision_options(parser)
    parser.add_argument("--vad", type=Path, metavar="FILE", help="vad.json: find voiced frames so, not as in training")
    parser.add_argument("--overwrite", type=boolean, default=False, help="replace a file that is there")
    args = parser.parse_args()
    experiment = open_experiment(args.exp)
    if isinstance(experiment, Package):
        raise Fail(f"{args.exp}: is a file of an extractor already; name the experiment directory")
    if args.layer == "classes":
        raise Fail("--layer classes: an extractor in a file has no loss; name a layer of the network")
    if args.out.exists() and not args.overwrite:
        raise Fail(f"{args.out}: is there; move it away, or pass --overwrite true to replace it")
    for path in (args.calibration, args.vad):
        if path:
            need_file(path)
    epoch = experiment.epoch(args.epoch)

    from pytorch.extractor import Extractor

    extractor = Extractor(args.exp, args.epoch, args.layer, "cpu", vad=args.vad, backend=args.backend, scoring=args.scoring,
                          calibration=args.calibration, threshold=args.threshold)  # fmt: skip
    backend = extractor.backend if args.backend else None
    facts = {
        "settings": experiment.settings,
        "epoch": epoch,
        "seed": seed_of(experiment),
        "identity": identity(experiment, epoch),
        "layer": extractor.layer,
        "vad": extractor.vad,
        "backend": {"length_norm": backend.length_norm, "digests": backend.digests, "network": backend.network} if backend else None,
        "scoring": extractor.scoring,
        "kind": extractor.kind,
        "calibration": asdict(extractor.calibration) if extractor.calibration else None,
        "threshold": args.threshold,
        "commit": commit(),
    }
    write_checked(args.out, tensors_of(extractor, backend), facts, PACKAGE)
    parts = [f"{args.exp}, epoch {epoch}", *(["back-end"] * bool(backend)), *(["calibration"] * bool(extractor.calibration))]
    if extractor.threshold is not None:
        parts.append(f"threshold {extractor.threshold:.6g}")
    print(f"package_model: {', '.join(parts)} in {args.out}, {args.out.stat().st_size / 1e6:.1f} MB")


def tensors_of(extractor, backend):
    """{name: array} of the network, and of the back-end"""
    tensors = {f"model.{name}": tensor.detach().numpy() for name, tensor in extractor.model.model.state_dict().items()}
    if backend is None:
        return tensors
    parts = {"mean": backend.mean, "transform": backend.transform}
    if backend.plda:
        parts |= {f"plda.{name}": getattr(backend.plda, name) for name in ("mean", "transform", "psi")}
    return tensors | {f"backend.{name}": array for name, array in parts.items() if array is not None}


if __name__ == "__main__":
    run(main)
