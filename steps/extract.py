#!/usr/bin/env python3
"""Extract the embedding of each utterance with a trained network.

Reads   <exp>/{model.json,epoch-NNN.safetensors}    <data>/{utt2spk,feats.scp,feats.json,vad.scp}
Writes  <out>/xvector.ark (xvector.JOB.ark with --nj), xvector.scp, xvector.json (network, epoch, hash of its weights)
e.g.    steps/extract.py --nj 4 exp/xvector data/test exp/xvector/test
"""

import sys
from operator import itemgetter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.experiment import Experiment
from pytorch.files import read_json, sha256, write_json
from pytorch.jobs import Shards, add_job_options
from pytorch.marker import Marker
from pytorch.program import Fail, Parser, boolean, positive_int, run


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
    shards = Shards(args, Marker(args.out / ".done/extract.json", {"batch_frames": args.batch_frames}, inputs), args.out, "xvector", list(data.utt2spk))
    if shards.is_done():
        print(f"extract: the embeddings in {args.out} are there")
        return
    extraction = Extraction(experiment, epoch, data, args)
    shards.work(extraction.vectors, log_folder=args.out / "log", items=extraction.batches, what="batches")
    if shards.is_worker:
        return
    write_json(args.out / "xvector.json", facts)
    shards.finish([args.out / "xvector.json"])
    print(f"extract: {len(data.utt2spk)} embeddings of {data.path} in {args.out}, by epoch {epoch} of {args.exp}")


class Extraction:
    """The work of one job: the network and the frames, loaded when the job knows that it has something to do."""

    def __init__(self, experiment, epoch, data, args):
        self.experiment, self.epoch, self.data, self.args = experiment, epoch, data, args

    def batches(self):
        """Lists of indices of utterances; of all jobs, for jobs share out whole batches and so compute the same values however many they are."""
        import torch

        from pytorch.data.frames import stored_frames
        from pytorch.device import choose_device
        from pytorch.extraction import plan_batches

        torch.set_num_threads(self.args.num_threads)
        self.device = choose_device(self.args.device)
        self.model = self.experiment.load(self.epoch, self.device)
        self.frames = stored_frames(self.data, self.experiment.settings["voiced"])
        self.frames.need_length(self.model.min_frames)
        return plan_batches(self.frames.lengths, self.args.batch_frames, self.model.masks_padding)

    def vectors(self, batches):
        """Yield each utterance of the batches with its embedding, by utterance."""
        import numpy as np

        from pytorch.extraction import embed_utterances

        for utt, vector in sorted(embed_utterances(self.model, self.frames, batches, self.experiment.settings["cmn"], self.device), key=itemgetter(0)):
            if not np.isfinite(vector).all() or not vector.any():
                raise Fail(f"{self.data.path}: the embedding of '{utt}' is zero or not finite; look at its recording, and at the network's training")
            yield utt, vector, {}


if __name__ == "__main__":
    run(main)
