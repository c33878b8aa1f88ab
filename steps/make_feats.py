#!/usr/bin/env python3
"""Compute the features of a data directory: Kaldi's fbank, MFCC and spectrogram, mel spectrograms.

Reads   <data>/{wav.scp,segments,utt2spk}   recordings: files, places in archives, or commands
Writes  <data>/feats.ark (feats.JOB.ark with --nj), feats.scp, feats.json (the settings), utt2num_frames
        <data>/log/make_feats.failed        utterances whose recordings could not be read, with the reason; the others are kept for the next run
e.g.    steps/make_feats.py --feature mfcc --config conf/mfcc.conf --nj 4 data/train
        steps/make_feats.py --num-mel-bins 80 data/train
"""

import sys
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir, read_table, write_table
from pytorch.data.recordings import Recordings, add_audio_options, audio_options_of
from pytorch.device import choose_device
from pytorch.features.options import add_feature_options, feature_options_of
from pytorch.files import read_json, sha256, write_json
from pytorch.jobs import Shards, add_job_options
from pytorch.marker import Marker
from pytorch.program import Fail, Parser, boolean, count, run

AT_ONCE = 64  # utterances on a card


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory")
    add_feature_options(parser)
    add_audio_options(parser)
    parser.add_argument("--vtln-map", type=Path, help="warp factors, by utterance or by speaker (utt2warp, spk2warp), in place of --vtln-warp")
    parser.add_argument("--compress", type=int, choices=range(8), default=3, help="Kaldi's compression method, 3: two bytes a value; 0: none, four bytes")
    parser.add_argument("--max-fail", type=count, default=0, help="recordings that may fail; they have no features then")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N; a card pays for packed recordings (steps/pack_wavs.py)")
    parser.add_argument("--overwrite", type=boolean, default=False, help="compute anew where other features are there")
    add_job_options(parser)
    return parser.parse_args()


def main():
    args = parse_args()
    options = feature_options_of(args)
    data = DataDir(args.data)
    recordings = Recordings(data, options.sample_frequency, **audio_options_of(args))
    utts, warps = list(data.utt2spk), warps_of(data, args.vtln_map)
    settings = options.to_json() | ({"vtln_map": True} if args.vtln_map else {})
    tables = ["wav.scp"] + (["segments"] if data.has("segments") else [])
    inputs = {name: sha256(data / name) for name in tables} | {"audio": "of the share" if args.job else recordings.fingerprint(utts)}
    if args.vtln_map:
        inputs["vtln_map"] = sha256(args.vtln_map)
    asked = {**settings, "min_duration": options.min_duration, "channel": args.channel, "resample": args.resample, "compress": args.compress}
    marker = Marker(data / ".done/make_feats.json", asked, inputs)
    shards = Shards(
        args, marker, data.path, "feats", utts, ("utt2num_frames", "resampled"),
        source_of=lambda utt: f"{recordings.source(utt)}{warps.get(utt, '')}", compress=args.compress,
    )  # fmt: skip
    if shards.is_done():
        print(f"make_feats: the features of {data.path} are there")
        return
    failed = shards.work(
        lambda utts: compute(recordings, utts, options, choose_device(args.device), warps),
        log_folder=data / "log", weight_of=recordings.size, group_of=recordings.recording, max_fail=args.max_fail,
    )  # fmt: skip
    if shards.is_worker:
        return

    frames, resampled = shards.join_tables("utt2num_frames"), list(shards.join_tables("resampled").values()).count("1")
    write_table(data / "utt2num_frames", frames)
    write_json(data / "feats.json", settings)
    shards.finish([data / "feats.json", data / "utt2num_frames"], failed)
    total = sum(map(int, frames.values()))
    hours = total * options.frame_shift / 3.6e6
    note = f"; {resampled} resampled to {options.sample_frequency:g} Hz" if resampled else ""
    print(f"make_feats: {data.path}: {options.feature} of {len(frames)} utterances, {options.dim} columns, {total} frames, {hours:.2f} h{note}")
    if data.has("vad.scp") and not has_new_decisions(data):
        remedy = f"run steps/compute_vad.py --overwrite true {data.path}"
        print(f"make_feats: warning: {data / 'vad.scp'} is of the old features: {remedy}", file=sys.stderr)
    if failed:
        print(f"make_feats: {len(failed)} of the utterances have no features; remove them from the tables with utils/fix_data_dir.py {data.path}")


def has_new_decisions(data):
    """Whether steps/compute_vad.py has decided on features of these values."""
    marker = data / ".done/compute_vad.json"
    found = read_json(marker) if marker.exists() else {}
    return found.get("inputs", {}).get("feats.sha256") == sha256(data / "feats.sha256")


def warps_of(data, path):
    """{utt: warp factor} of a table by utterance or by speaker; {} without one."""
    if path is None:
        return {}
    table = read_table(path)
    warps = {utt: table.get(utt, table.get(spk)) for utt, spk in data.utt2spk.items()}
    for utt, warp in warps.items():
        if warp is None:
            raise Fail(f"{path}: has neither '{utt}' nor its speaker '{data.utt2spk[utt]}'")
        try:
            warps[utt] = float(warp)
        except ValueError:
            warps[utt] = 0.0
        if not 0.5 < warps[utt] < 1.5:
            raise Fail(f"{path}: '{utt}': a warp factor between 0.5 and 1.5 expected, not '{warp}'")
    return warps


def compute(recordings, utts, options, device, warps):
    """Yield each utterance with its features, or why it has none. warps: {utt: factor}, that of the options where it has none


    On a CPU one thread and one utterance at a time: the fastest there, and the same values in any split. On a card many utterances at a time.
    """
    import torch

    from pytorch.features.kaldi import Features

    torch.set_num_threads(1)
    features = Features(options, device)
    utts = iter(utts)
    while group := list(islice(utts, 1 if device.type == "cpu" else AT_ONCE)):
        sounds = {utt: read(recordings, utt, options) for utt in group}
        there = [utt for utt in group if not isinstance(sounds[utt], Fail)]
        matrices = dict(zip(there, features.many([torch.from_numpy(sounds[utt]) for utt in there], there, list(map(warps.get, there))), strict=True))
        for utt in group:
            if utt in matrices:
                row = {"utt2num_frames": len(matrices[utt]), "resampled": int(recordings.recording(utt) in recordings.resampled)}
                yield utt, matrices[utt].cpu().numpy(), row
            else:
                yield utt, sounds[utt], None


def read(recordings, utt, options):
    """-> the samples of an utterance, or the Fail why it has none"""
    try:
        wav = recordings.read(utt)
    except Fail as error:
        return error
    return wav if options.num_frames(len(wav)) else Fail(f"{recordings.place(utt)}: {len(wav)} samples, too short for one frame; remove it")


if __name__ == "__main__":
    run(main)
