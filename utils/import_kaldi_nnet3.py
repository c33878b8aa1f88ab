#!/usr/bin/env python3
"""Make an experiment of an x-vector network trained with Kaldi, which steps/extract.py then takes as one of ours.

The embeddings are those of nnet3-xvector-compute. Features and their normalisation are not part of Kaldi's file: they must be as in the recipe
the network is from (egs/voxceleb/v2: 30 MFCC, sliding mean normalisation over 300 frames, voiced frames only).

Reads   <raw>                                     nnet3 network in text form: nnet3-copy --binary=false final.raw final.txt
        <data>/{utt2spk,feats.scp,feats.json}     a data directory with the features that the network is for; vad.json, how voiced frames are found
Writes  <exp>/{model.json,opts.json,epoch-001.safetensors,best,final}
e.g.    utils/import_kaldi_nnet3.py final.txt data/test exp/kaldi && steps/extract.py exp/kaldi data/test exp/kaldi/test
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.files import need_file, read_json, sha256
from pytorch.marker import Marker
from pytorch.program import Fail, Parser, boolean, run


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("raw", type=Path, help="network in Kaldi's text form")
    parser.add_argument("data", type=Path, help="data directory whose features have the settings that the network was trained with")
    parser.add_argument("exp", type=Path, help="experiment directory, made")
    parser.add_argument("--cmn", choices=("mean", "none"), default="none", help="mean: subtract the utterance's, where the features were not normalised")
    parser.add_argument("--voiced", type=boolean, default=True, help="only frames that vad.scp calls voiced; false where the features hold no others")
    parser.add_argument("--overwrite", type=boolean, default=False, help="import anew where other options or another network were used")
    return parser.parse_args()


def main():
    args = parse_args()
    need_file(args.raw)
    data = DataDir(args.data)
    tables = data.feature_tables(False)
    options = {"cmn": args.cmn, "voiced": args.voiced, "seed": 0}
    inputs = {"network": sha256(args.raw), "feats.json": sha256(tables["feats.json"])}
    vad = data / "vad.json" if args.voiced and data.has("vad.json") else None
    marker = Marker(args.exp / ".done" / "import_kaldi_nnet3.json", options, inputs | ({"vad.json": sha256(vad)} if vad else {}))
    marker.lock()
    if marker.is_done(args.overwrite):
        print(f"import_kaldi_nnet3: {args.exp} is there")
        return
    marker.claim([args.exp / "model.json"], args.overwrite)

    import torch

    from pytorch.data.frames import stored_frames
    from pytorch.imported import write_imported
    from pytorch.kaldi_nnet3 import Nnet3
    from pytorch.models import build_model

    nnet = Nnet3(args.raw)
    name, model_args, tensors = nnet.network()
    frames = stored_frames(data, False)
    if frames.dim != nnet.feat_dim:
        raise Fail(f"{args.data}: features of {frames.dim} columns, but {args.raw} takes {nnet.feat_dim}; make them with the options of its recipe")
    model = build_model(name, nnet.feat_dim, model_args)
    model.load_state_dict({key: torch.from_numpy(array) for key, array in tensors.items()})
    settings = {
        "model": name,
        "args": model_args,
        "feat_dim": nnet.feat_dim,
        "features": frames.settings,
        "cmn": args.cmn,
        "voiced": args.voiced,
        "vad": read_json(vad) if vad else None,
        "loss": {"name": "softmax"},
        "classes": [],
    }
    write_imported(args.exp, marker, settings, model.state_dict())
    count = sum(weight.numel() for weight in model.parameters())
    print(f"import_kaldi_nnet3: {args.exp}, {name} with {count:,} parameters; embeddings of {model.embed_dim} are the output of '{nnet.segments[0].name}'")


if __name__ == "__main__":
    run(main)
