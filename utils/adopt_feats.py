#!/usr/bin/env python3
"""Take over features that were made elsewhere, by Kaldi for one: say with which settings, and write what later steps ask for.

Reads   <data>/{utt2spk,feats.scp}          features of Kaldi or kaldiio; wav.scp, segments where they are there
Writes  <data>/feats.json, feats.sha256, utt2num_frames
e.g.    utils/adopt_feats.py --feature mfcc --config conf/mfcc.conf data/train

The settings are believed after a look: the number of columns must fit, and where wav.scp is there, the features of some
recordings are computed and compared. Kaldi dithers unless told not to, so the comparison is of averages.
"""

import hashlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir, write_table
from pytorch.data.recordings import Recordings, add_audio_options, audio_options_of
from pytorch.features.options import add_feature_options, feature_options_of
from pytorch.files import need_file, whole_file, write_json
from pytorch.program import Fail, Parser, boolean, count, run
from pytorch.progress import track

LARGEST = 0.5  # mean distance of two values that dither and compression may make


def main():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory")
    add_feature_options(parser)
    add_audio_options(parser)
    parser.add_argument("--check", type=count, default=3, help="recordings whose features are computed and compared; 0: none")
    parser.add_argument("--overwrite", type=boolean, default=False, help="replace the feats.json that is there")
    args = parser.parse_args()
    options = feature_options_of(args)
    data = DataDir(args.data)
    need_file(data / "feats.scp", f"make features with steps/make_feats.py {data.path}")
    if data.has("feats.json") and not args.overwrite:
        raise Fail(f"{data / 'feats.json'}: is there; pass --overwrite true to replace it")
    if data.has("wav.scp") and args.check:
        compare(data, options, Recordings(data, options.sample_frequency, **audio_options_of(args)), args.check)

    frames, digest = measure(data, options)
    write_table(data / "utt2num_frames", frames)
    with whole_file(data / "feats.sha256") as file:
        file.write(digest + "\n")
    write_json(data / "feats.json", options.to_json())
    print(f"adopt_feats: {data.path}: {options.feature} of {len(frames)} utterances, {options.dim} columns, {sum(frames.values())} frames")


def measure(data, options):
    """-> {utt: frames}, one hash of all values"""
    from pytorch.data.ark import ArkReader
    from pytorch.data.frames import check_keys

    reader = ArkReader(data / "feats.scp")
    check_keys(data, reader)
    frames, digest = {}, hashlib.sha256()
    for utt in track(list(data.utt2spk), len(data.utt2spk), "utterances"):
        matrix = reader[utt]
        if matrix.ndim != 2 or matrix.shape[1] != options.dim:
            raise Fail(f"{reader.scp}: '{utt}' has the shape {matrix.shape}, these settings give {options.dim} columns; pass those it was made with")
        if len(matrix) == 0:
            raise Fail(f"{reader.scp}: '{utt}' has no frame; remove it with utils/fix_data_dir.py")
        frames[utt] = len(matrix)
        digest.update(f"{utt} {matrix.shape}".encode() + matrix.tobytes())
    return frames, digest.hexdigest()


def compare(data, options, recordings, num):
    """Fail where stored features are not like those that the settings give."""
    import numpy as np
    import torch

    from pytorch.data.ark import ArkReader
    from pytorch.features.kaldi import Features

    reader, features = ArkReader(data / "feats.scp"), Features(options)
    utts = list(data.utt2spk)
    for utt in utts[:: max(1, len(utts) // num)][:num]:
        stored, computed = reader[utt], features(torch.from_numpy(recordings.read(utt)), utt).numpy()
        if stored.shape != computed.shape:
            raise Fail(f"{reader.scp}: '{utt}' has the shape {stored.shape}, these settings give {computed.shape}; pass those it was made with, or --check 0")
        distance = float(np.abs(stored - computed).mean())
        if distance > LARGEST:
            raise Fail(f"{reader.scp}: '{utt}' is not what these settings give (mean distance {distance:.2g}); pass those it was made with, or --check 0")


if __name__ == "__main__":
    run(main)
