#!/usr/bin/env python3
"""Extract the embedding of each utterance with a trained network.

Reads   <exp>/{model.json,epoch-NNN.safetensors}    <data>/{utt2spk,feats.scp,feats.json,vad.scp}
Writes  <out>/xvector.ark (xvector.JOB.ark with --nj), xvector.scp, xvector.json (network, epoch, hash of its weights)
e.g.    steps/extract.py --nj 4 exp/xvector data/test exp/xvector/test
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.experiment import Experiment
from pytorch.files import read_json, sha256, write_json
from pytorch.jobs import Shards, add_job_options
from pytorch.marker import Marker
from pytorch.program import Fail, Parser, boolean, positive_int, run
from pytorch.progress import track


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("exp", type=Path, help="experiment directory of steps/train.py")
    parser.add_argument("data", type=Path, help="data directory with the features the network was trained on")
    parser.add_argument("out", type=Path, help="folder of the embeddings, made")
    parser.add_argument("--epoch", default="best", help="best, final or a number")
    parser.add_argument("--batch-frames", type=positive_int, default=20000, help="frames in a batch of like utterances; lower it when memory runs out")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--num-threads", type=positive_int, default=1, help="threads of each job on a CPU")
    parser.add_argument("--overwrite", type=boolean, default=False, help="extract anew where other embeddings are there")
    add_job_options(parser)
    return parser.parse_args()


def main():
    args = parse_args()
    experiment = Experiment(args.exp)
    settings = experiment.settings
    data = DataDir(args.data)
    tables = data.feature_tables(settings["voiced"])
    experiment.check_features(read_json(data / "feats.json"), data / "feats.json")
    epoch = experiment.epoch(args.epoch)
    seed = read_json(args.exp / "opts.json")["options"]["seed"]
    weights = sha256(experiment.weights(epoch))
    facts = {"experiment": str(args.exp), "seed": seed, "epoch": epoch, "weights_sha256": weights, "features": settings["features"]}
    inputs = {"weights": weights, "model.json": sha256(args.exp / "model.json"), **{name: sha256(path) for name, path in tables.items()}}
    shards = Shards(args, Marker(args.out / ".done/extract.json", {"batch_frames": args.batch_frames}, inputs), args.out, "xvector")
    if shards.is_done():
        print(f"extract: the embeddings in {args.out} are there")
        return
    shards.work(lambda share: extract(experiment, epoch, data, args, share, shards), log_folder=args.out / "log")
    if shards.is_worker:
        return
    write_json(args.out / "xvector.json", facts)
    shards.finish(list(data.utt2spk), [args.out / "xvector.json"])
    print(f"extract: {len(data.utt2spk)} embeddings of {data.path} in {args.out}, by epoch {epoch} of {args.exp}")


def extract(experiment, epoch, data, args, share, shards):
    import numpy as np
    import torch

    from pytorch.data.ark import ArkWriter
    from pytorch.data.frames import Frames
    from pytorch.device import choose_device
    from pytorch.extraction import embed_utterances, plan_batches

    torch.set_num_threads(args.num_threads)
    device = choose_device(args.device)
    settings = experiment.settings
    model = experiment.load(epoch, device)
    frames = Frames(data, settings["voiced"])
    frames.need_length(model.min_frames, f"remove them from {data.path}")
    batches = share(plan_batches(frames.lengths, args.batch_frames))
    embeddings = embed_utterances(model, frames, batches, settings["cmn"], device)
    with ArkWriter(shards.ark, shards.scp) as ark:
        for utt, vector in track(embeddings, sum(map(len, batches)), "utterances"):
            if not np.isfinite(vector).all() or not vector.any():
                raise Fail(f"{data.path}: the embedding of '{utt}' is zero or not finite; look at its recording, and at the network's training")
            ark.write(utt, vector)
    shards.write_digests(ark)


if __name__ == "__main__":
    run(main)
