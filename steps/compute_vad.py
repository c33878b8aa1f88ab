#!/usr/bin/env python3
"""Decide which frames are voiced, by their energy as Kaldi does.

Reads   <data>/{feats.scp,feats.json}   column 0 must be an energy: mfcc, or fbank with --use-energy true
Writes  <data>/vad.ark, vad.scp         a vector of 0 and 1 for each utterance; vad.json, the settings
e.g.    steps/compute_vad.py --config conf/vad.conf data/train
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.features.options import has_energy_first
from pytorch.files import read_json, sha256, write_json
from pytorch.jobs import Shards, add_job_options
from pytorch.marker import Marker, options_of
from pytorch.program import Fail, Parser, boolean, count, finite_float, fraction, run


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory with features")
    parser.add_argument("--vad-energy-threshold", type=finite_float, default=5.0, help="constant of the threshold of the log energy")
    parser.add_argument("--vad-energy-mean-scale", type=finite_float, default=0.5, help="share of the utterance's mean log energy in the threshold")
    parser.add_argument("--vad-frames-context", type=count, default=0, help="frames to each side that take part in a decision")
    parser.add_argument("--vad-proportion-threshold", type=fraction, default=0.6, help="share of these frames above the threshold that makes a frame voiced")
    parser.add_argument("--overwrite", type=boolean, default=False, help="decide anew where other decisions are there")
    add_job_options(parser)
    return parser.parse_args()


def main():
    args = parse_args()
    data = DataDir(args.data)
    tables = data.feature_tables(voiced=False)
    settings = read_json(data / "feats.json")
    if not isinstance(settings, dict) or not has_energy_first(settings):
        remedy = "make them with --use-energy true, or use mfcc, or train on all frames: steps/train.py --voiced false"
        raise Fail(f"{data / 'feats.json'}: column 0 of these features is no energy; {remedy}")
    options = options_of(args, without=("data",))
    inputs = {name: sha256(path) for name, path in tables.items()}
    shards = Shards(args, Marker(data / ".done/compute_vad.json", options, inputs), data.path, "vad", list(data.utt2spk), tables=("voiced",))
    if shards.is_done():
        print(f"compute_vad: the decisions of {data.path} are there")
        return
    shards.work(lambda utts: decide(data, utts, args), log_folder=data / "log")
    if shards.is_worker:
        return

    counts = {utt: tuple(map(int, words.split())) for utt, words in shards.join_tables("voiced").items()}
    write_json(data / "vad.json", options)
    shards.finish([data / "vad.json"])
    voiced, total = (sum(column) for column in zip(*counts.values(), strict=True))
    silent = [utt for utt, (voiced_here, _) in counts.items() if voiced_here == 0]
    print(f"compute_vad: {data.path}: {100 * voiced / total:.1f} % of {total} frames are voiced")
    if silent:
        print(f"compute_vad: warning: {len(silent)} utterances have no voiced frame: {', '.join(silent[:5])}", file=sys.stderr)


def decide(data, utts, args):
    """Yield each utterance with its decisions."""
    from pytorch.data.ark import ArkReader
    from pytorch.features.vad import energy_vad

    feats = ArkReader(data / "feats.scp")
    for utt in utts:
        shape = feats.shape(utt)
        if len(shape) != 2 or min(shape) == 0:
            raise Fail(f"{feats.scp}: '{utt}' has the shape {shape}, features with an energy in column 0 were expected")
        vad = energy_vad(feats.column(utt, 0), args.vad_energy_threshold, args.vad_energy_mean_scale, args.vad_frames_context, args.vad_proportion_threshold)
        yield utt, vad, {"voiced": f"{int(vad.sum())} {len(vad)}"}


if __name__ == "__main__":
    run(main)
