#!/usr/bin/env python3
"""Make an experiment of a network that was trained with another toolkit, which steps/extract.py then takes as one of ours.

Nothing in the checkpoint is run: it is read as weights or refused. Its size is told from the shapes of the weights. Every weight must find its place, but
for those that no embedding depends on, such as a classifier's.

Reads   <checkpoint>                          as the toolkit, or whoever published it, saved it
Writes  <exp>/{model.json,opts.json,epoch-001.safetensors,best,final}
e.g.    utils/import_weights.py --from wespeaker avg_model.pt exp/resnet34
        steps/make_feats.py --num-mel-bins 80 --window-type hamming data/test && steps/extract.py exp/resnet34 data/test exp/resnet34/test
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.features.options import FeatureOptions
from pytorch.features.wave_input import raw_input_of
from pytorch.files import need_file, sha256
from pytorch.foreign import PEERS, check_torch, import_network, load_peer
from pytorch.marker import Marker
from pytorch.models import parse_model_args
from pytorch.program import Fail, Parser, boolean, run


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("checkpoint", type=Path, help="file of the weights")
    parser.add_argument("exp", type=Path, help="experiment directory, made")
    parser.add_argument("--from", dest="peer", choices=tuple(PEERS), required=True, help="whose it is")
    parser.add_argument("--model", default="", help="which of their networks, where the names in the file do not tell")
    parser.add_argument("--model-args", default="", help="arguments of our network that its shapes do not tell, such as 'heads=16'")
    parser.add_argument("--overwrite", type=boolean, default=False, help="import anew where other options or another network were used")
    return parser.parse_args()


def main():
    args = parse_args()
    need_file(args.checkpoint)
    check_torch()
    more, networks = parse_model_args(args.model_args), load_peer(args.peer).networks
    if args.model and args.model not in networks:
        raise Fail(f"--model {args.model}: {args.peer} has {', '.join(networks)} here")
    options = {"from": args.peer, "model": args.model, "model_args": args.model_args, "seed": 0}
    marker = Marker(args.exp / ".done" / "import_weights.json", options, {"checkpoint": sha256(args.checkpoint)})
    marker.lock()
    if marker.is_done(args.overwrite):
        print(f"import_weights: {args.exp} is there")
        return
    marker.claim([args.exp / "model.json"], args.overwrite)

    from pytorch.imported import write_imported
    from pytorch.models import network_class

    found = import_network(args.checkpoint, args.peer, args.model, more)
    network = found.network
    if found.features:
        features = FeatureOptions(**found.features, num_mel_bins=found.feat_dim).to_json()
    else:
        features = raw_input_of(network_class(network.model), found.args).settings
    settings = {
        "model": network.model, "args": found.args, "feat_dim": found.feat_dim, "features": features,
        "cmn": network.cmn, "voiced": False, "loss": {"name": "softmax"}, "classes": [],
    }  # fmt: skip
    write_imported(args.exp, marker, settings, found.tensors)
    print(f"import_weights: {args.exp}, {network.model} with {found.parameters:,} parameters, embeddings of {found.embed_dim}")


if __name__ == "__main__":
    run(main)
