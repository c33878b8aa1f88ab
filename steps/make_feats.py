#!/usr/bin/env python3
"""Compute the features of a data directory: Kaldi's fbank or MFCC.

Reads   <data>/{wav.scp,utt2spk}
Writes  <data>/feats.ark (feats.JOB.ark with --nj), feats.scp, feats.json (the settings), utt2num_frames
e.g.    steps/make_feats.py --feature mfcc --config conf/mfcc.conf --nj 4 data/train
        steps/make_feats.py --num-mel-bins 80 data/train
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir, write_table
from pytorch.features.options import add_feature_options, feature_options_of
from pytorch.files import sha256, sha256_of_sizes, write_json
from pytorch.jobs import Shards, add_job_options
from pytorch.marker import Marker
from pytorch.program import Fail, Parser, boolean, run
from pytorch.progress import track


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory")
    add_feature_options(parser)
    parser.add_argument("--overwrite", type=boolean, default=False, help="compute anew where other features are there")
    add_job_options(parser)
    return parser.parse_args()


def main():
    args = parse_args()
    options = feature_options_of(args)
    data = DataDir(args.data)
    utts = list(data.wav_scp)

    def audio(share):
        return sha256_of_sizes(data.wav_scp[utt] for utt in share(utts))

    inputs = {"wav.scp": sha256(data / "wav.scp"), "audio": "of the share" if args.job else audio(list)}
    shards = Shards(args, Marker(data / ".done/make_feats.json", options.to_json(), inputs), data.path, "feats", {"audio": audio})
    if shards.is_done():
        print(f"make_feats: the features of {data.path} are there")
        return
    shards.work(lambda share: compute(data, share(utts), options, shards), log_folder=data / "log")
    if shards.is_worker:
        return

    frames = shards.join_tables("utt2num_frames")
    write_table(data / "utt2num_frames", frames)
    write_json(data / "feats.json", options.to_json())
    shards.finish(utts, [data / "feats.json", data / "utt2num_frames"])
    total = sum(map(int, frames.values()))
    hours = total * options.frame_shift / 3.6e6
    print(f"make_feats: {data.path}: {options.feature} of {len(utts)} utterances, {options.dim} columns, {total} frames, {hours:.2f} h")


def compute(data, utts, options, shards):
    """Features of the utterances of one job. One thread and one utterance at a time: the fastest on a CPU, and the same values in any split."""
    import torch

    from pytorch.data.ark import ArkWriter
    from pytorch.data.audio import read_audio
    from pytorch.features.kaldi import Features

    torch.set_num_threads(1)
    features = Features(options)
    line = {utt: number for number, utt in enumerate(data.wav_scp, 1)}
    frames = {}
    with ArkWriter(shards.ark, shards.scp) as ark:
        for utt in track(utts, len(utts), "utterances"):
            try:
                wav = read_audio(data.wav_scp[utt], options.sample_frequency)
            except Fail as error:
                raise Fail(f"{data / 'wav.scp'}:{line[utt]}: '{utt}': {error}") from None
            matrix = features(torch.from_numpy(wav), utt)
            if len(matrix) == 0:
                raise Fail(f"{data / 'wav.scp'}:{line[utt]}: '{utt}': {data.wav_scp[utt]}: {len(wav)} samples, too short for one frame; remove it")
            ark.write(utt, matrix.numpy())
            frames[utt] = len(matrix)
    shards.write_table("utt2num_frames", frames)
    shards.write_digests(ark)


if __name__ == "__main__":
    run(main)
