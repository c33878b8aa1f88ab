#!/usr/bin/env python3
"""Write how many frames each utterance has.

From the headers of the archives where there is feats.scp. Otherwise from utt2dur (or segments), by the frames feats.json describes, or else Kaldi's
default of 25 ms every 10 ms, whole frames only.

Reads   <data>/feats.scp, or utt2dur and feats.json
Writes  <data>/utt2num_frames
e.g.    utils/get_utt2num_frames.py data/train
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import REST, DataDir, write_table
from pytorch.data.edit import durations
from pytorch.features.options import FeatureOptions
from pytorch.files import read_json
from pytorch.program import Fail, Parser, boolean, run


def main():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("--overwrite", type=boolean, default=False, help="replace an utt2num_frames that says otherwise")
    args = parser.parse_args()
    data = DataDir(args.data)
    frames = of_archives(data) if data.has("feats.scp") else of_durations(data)
    if none := [utt for utt, number in frames.items() if number < 1]:
        raise Fail(f"{data.path}: {len(none)} utterances have no frame: {', '.join(none[:5])}; leave them out with utils/subset_data_dir.py --min-dur")
    path = data / "utt2num_frames"
    if path.exists() and not args.overwrite:
        changed = [utt for utt, number in data.per_utt("utt2num_frames").items() if number != str(frames[utt])]
        if changed:
            there = f"'{changed[0]}' has {data.per_utt('utt2num_frames')[changed[0]]} frames there, {frames[changed[0]]} by what was found now"
            raise Fail(f"{path}: {there} ({len(changed)} such); pass --overwrite true to replace it")
        print(f"get_utt2num_frames: {path} is there")
        return
    write_table(path, frames)
    print(f"get_utt2num_frames: {path}: {sum(frames.values())} frames of {len(frames)} utterances")


def of_archives(data):
    from pytorch.data.ark import ArkReader

    data.per_utt("feats.scp", REST)
    feats = ArkReader(data / "feats.scp")
    return {utt: feats.shape(utt)[0] for utt in data.utt2spk}


def of_durations(data):
    seconds = durations(data)
    if seconds is None:
        raise Fail(f"{data.path}: neither feats.scp nor utt2dur; run utils/get_utt2dur.py {data.path} first")
    settings = read_json(data / "feats.json") if data.has("feats.json") else {}
    try:
        options = FeatureOptions(**settings)
    except TypeError:
        raise Fail(f"{data / 'feats.json'}: not the settings of features that are made here; make the features first") from None
    return {utt: options.num_frames(round(length * options.sample_frequency)) for utt, length in seconds.items()}


if __name__ == "__main__":
    run(main)
