#!/usr/bin/env python3
"""Prepare features for a network: derivatives where asked for, mean normalisation, then only the voiced frames.

Reads   <data>/{utt2spk,feats.scp,feats.json}, vad.scp and vad.json with --voiced true, and its other tables
Writes  <out>                   a data directory with the same tables
        <out>/feats.ark (feats.JOB.ark with --nj), feats.scp, feats.json (the settings, and what was done to them), utt2num_frames
        <out>/log/prepare_feats.failed   utterances without a voiced frame
e.g.    steps/prepare_feats.py --nj 4 data/train data/train_no_sil
        steps/prepare_feats.py --cmn sliding-var --voiced false data/test data/test_cmn
"""

import hashlib
import json
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir, write_table
from pytorch.data.edit import OF_FEATURES, Part, table_names, write_parts
from pytorch.files import read_json, sha256, write_json
from pytorch.jobs import Shards, add_job_options
from pytorch.marker import Marker, options_of
from pytorch.program import Fail, Parser, boolean, count, positive_int, run

CMN = ("none", "mean", "mean-var", "sliding", "sliding-var")


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory with features")
    parser.add_argument("out", type=Path, help="data directory to make")
    parser.add_argument("--delta-order", type=int, choices=(0, 1, 2), default=0, help="append derivatives in time, of first, or of first and second order")
    parser.add_argument("--delta-window", type=positive_int, default=2, help="frames to each side that a derivative is made of")
    parser.add_argument("--cmn", choices=CMN, default="sliding", help="what to normalise: mean, or mean and variance, of the utterance or in a sliding window")
    parser.add_argument("--cmn-window", type=positive_int, default=300, help="sliding: frames in the window")
    parser.add_argument("--cmn-center", type=boolean, default=True, help="sliding: the window lies around the frame; false: before it")
    parser.add_argument("--min-cmn-window", type=positive_int, default=100, help="sliding, not centred: least number of frames, at the start")
    parser.add_argument("--voiced", type=boolean, default=True, help="keep only the frames that vad.scp calls voiced")
    parser.add_argument("--compress", type=int, choices=range(8), default=3, help="Kaldi's compression method, 3: two bytes a value; 0: none, four bytes")
    parser.add_argument("--max-fail", type=count, default=0, help="utterances without a voiced frame that may be left out")
    parser.add_argument("--overwrite", type=boolean, default=False, help="prepare anew where other features are there")
    add_job_options(parser)
    return parser.parse_args()


def main():
    args = parse_args()
    data = DataDir(args.data)
    if args.out.resolve() == data.path.resolve():
        raise Fail(f"{args.out}: the features would replace those they are made of; name another folder")
    tables = data.feature_tables(args.voiced) | {name: data / name for name in table_names(data)}
    settings = prepared_settings(data, args)
    inputs = {name: sha256(path) for name, path in tables.items()}
    marker = Marker(args.out / ".done/prepare_feats.json", options_of(args, without=("data", "out")), inputs)
    made_of = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()
    utts = list(data.utt2spk)
    shards = Shards(args, marker, args.out, "feats", utts, ("utt2num_frames",), source_of=lambda utt: made_of, compress=args.compress)
    if not args.job:
        marker.claim([args.out / "utt2spk"], args.overwrite)
    if shards.is_done():
        print(f"prepare_feats: the features of {args.out} are there")
        return
    failed = shards.work(lambda utts: prepare(data, utts, args), log_folder=args.out / "log", max_fail=args.max_fail)
    if shards.is_worker:
        return

    replaced = OF_FEATURES if args.voiced else OF_FEATURES - {"vad.scp", "frame_shift"}
    for name in replaced | {"vad.json", "vad.sha256"}:
        (args.out / name).unlink(missing_ok=True)  # of an earlier run
    for note in write_parts(args.out, [Part(data, [utt for utt in utts if utt not in failed])], leave_out=replaced):
        print(f"prepare_feats: {note}", file=sys.stderr)
    frames = {utt: int(num) for utt, num in shards.join_tables("utt2num_frames").items()}
    write_table(args.out / "utt2num_frames", frames)
    write_json(args.out / "feats.json", settings)
    shards.finish([args.out / name for name in ("feats.json", "utt2num_frames", "utt2spk")], failed)
    print(f"prepare_feats: {args.out}: {sum(frames.values())} frames of {len(frames)} utterances")


def prepared_settings(data, args):
    """What feats.json will hold: the settings the features were made with and what is done to them here, by the names of the options."""
    path = data / "feats.json"
    settings = read_settings(path, "features")
    if settings.get("cmn") or settings.get("voiced"):
        raise Fail(f"{path}: these features were prepared already; prepare those they were made of")
    if args.delta_order:
        if settings.get("delta_order"):
            raise Fail(f"{path}: these features have derivatives already; pass --delta-order 0")
        settings |= {"delta_order": args.delta_order, "delta_window": args.delta_window}
    if args.cmn != "none":
        settings |= {"cmn": args.cmn}
    if args.cmn.startswith("sliding"):
        settings |= {"cmn_window": args.cmn_window, "cmn_center": args.cmn_center}
        settings |= {} if args.cmn_center else {"min_cmn_window": args.min_cmn_window}
    if args.voiced:
        settings |= {"voiced": True, **read_settings(data / "vad.json", "decisions")}
    return settings


def read_settings(path, what):
    settings = read_json(path)
    if not isinstance(settings, dict):
        raise Fail(f"{path}: settings as name and value were expected; make the {what} anew")
    return settings


def prepare(data, utts, args):
    """Yield each utterance with its prepared features, or why it has none."""
    import torch

    from pytorch.data.ark import ArkReader
    from pytorch.features.deltas import add_deltas
    from pytorch.features.vad import voiced_frames

    torch.set_num_threads(1)
    feats, vad = ArkReader(data / "feats.scp"), ArkReader(data / "vad.scp") if args.voiced else None
    normalise = normaliser(args)
    for utt in utts:
        x = torch.from_numpy(feats[utt])
        if x.dim() != 2 or x.shape[0] == 0:
            raise Fail(f"{feats.scp}: '{utt}' has the shape {tuple(x.shape)}, frames of features were expected")
        x = normalise(add_deltas(x, args.delta_order, args.delta_window))
        if args.voiced:
            try:
                x = x[voiced_frames(vad[utt], len(x))]
            except Fail as error:
                yield utt, Fail(f"{vad.scp}: '{utt}': {error}"), None
                continue
        yield utt, x.numpy(), {"utt2num_frames": len(x)}


def normaliser(args):
    """The function (T, dim) -> (T, dim) that --cmn names."""
    from pytorch.features.cmvn import SlidingCmn, subtract_mean

    variance = args.cmn.endswith("-var")
    if args.cmn == "none":
        return lambda x: x
    if args.cmn.startswith("mean"):
        return partial(subtract_mean, norm_vars=variance)
    return SlidingCmn(args.cmn_window, args.cmn_center, args.min_cmn_window, variance)


if __name__ == "__main__":
    run(main)
