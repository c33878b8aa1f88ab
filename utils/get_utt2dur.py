#!/usr/bin/env python3
"""Write the durations of the utterances of a data directory.

They come from segments where there are some, else from the recordings (their headers, where these tell), else, without recordings, from the number
of frames, as Kaldi does: frame shift * (frames + 1.5). A table that is there, whole and not made by this program, stays as it is.

Reads   <data>/{utt2spk,segments,wav.scp}; without wav.scp utt2num_frames, with feats.json or frame_shift
Writes  <data>/utt2dur, and with --reco2dur true reco2dur: seconds
e.g.    utils/get_utt2dur.py data/train
        utils/get_utt2dur.py --read-entire-file true --reco2dur true data/train
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir, write_table
from pytorch.data.edit import read_any
from pytorch.data.recordings import Recordings, add_allow_cmd_option
from pytorch.data.rules import check_values, number_of
from pytorch.files import read_json, sha256
from pytorch.marker import Marker
from pytorch.program import Fail, Parser, boolean, run
from pytorch.progress import track

MOST_SHOWN = 20


def main():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("--read-entire-file", type=boolean, default=False, help="decode the recordings instead of trusting their headers")
    parser.add_argument("--reco2dur", type=boolean, default=False, help="write the durations of the recordings too")
    add_allow_cmd_option(parser)
    parser.add_argument("--overwrite", type=boolean, default=False, help="make the tables anew")
    args = parser.parse_args()
    data = DataDir(args.data)
    wanted = ["utt2dur"] + (["reco2dur"] if args.reco2dur else [])
    from_recordings = data.has("wav.scp") and (args.reco2dur or data.segments is None)
    if args.reco2dur and not from_recordings:
        raise Fail(f"{data / 'wav.scp'}: no such file; reco2dur is made from the recordings")
    recordings = Recordings(data, None, allow_cmd=args.allow_cmd or ()) if from_recordings else None
    marker = Marker(data / ".done/get_utt2dur.json", {"read_entire_file": args.read_entire_file, "reco2dur": args.reco2dur}, inputs_of(data, recordings))
    marker.lock()
    if not marker.path.exists() and not args.overwrite and all(data.has(name) for name in wanted):
        check_tables(data, wanted)
        print(f"get_utt2dur: {' and '.join(wanted)} of {data.path}: there already, but not made here; left alone, --overwrite true replaces it")
        return
    if marker.is_done(args.overwrite):
        print(f"get_utt2dur: the durations of {data.path} are there")
        return

    marker.claim([data / name for name in wanted], args.overwrite)
    by_rec = seconds_of(recordings, args.read_entire_file) if recordings else {}
    cut = data.segments and {utt: end - start for utt, (_, start, end) in data.segments.items()}
    durations = cut or by_rec or from_frames(data)
    for name, table in zip(wanted, (durations, by_rec), strict=False):
        write_table(data / name, {key: f"{seconds:.6f}" for key, seconds in table.items()})
    marker.finish([data / name for name in wanted])
    origin = "segments" if data.segments is not None else "the recordings" if recordings else "the numbers of frames"
    print(f"get_utt2dur: {data.path}: {len(durations)} utterances, {sum(durations.values()) / 3600:.2f} h, from {origin}")


def inputs_of(data, recordings):
    names = ["utt2spk", *(name for name in ("wav.scp", "segments", "utt2num_frames", "feats.json", "frame_shift") if data.has(name))]
    if data.has("wav.scp") or data.has("segments"):
        names = [name for name in names if name in ("utt2spk", "wav.scp", "segments")]
    inputs = {name: sha256(data / name) for name in names}
    return inputs | ({"audio": recordings.fingerprint(data.utt2spk)} if recordings else {})


def check_tables(data, names):
    for name in names:
        check_values(data / name, read_any(data, name))


def seconds_of(recordings, entire):
    """{recording: seconds}. All are tried before it fails, and the bad ones listed."""
    seconds, bad = {}, []
    for rec in track(recordings.wav_scp, len(recordings.wav_scp), "recordings"):
        try:
            seconds[rec] = decoded(recordings, rec) if entire else recordings.seconds(rec)
            if seconds[rec] == 0:
                raise Fail(f"{recordings.place(rec) if recordings.segments is None else rec}: no samples in it")
        except Fail as error:
            bad.append(str(error))
    for message in bad[:MOST_SHOWN]:
        print(f"get_utt2dur: {message}", file=sys.stderr)
    if bad:
        more = f", the first {MOST_SHOWN} of them above" if len(bad) > MOST_SHOWN else ""
        raise Fail(f"{recordings.data.path}: {len(bad)} of {len(recordings.wav_scp)} recordings have no duration{more}; mend them, or remove them from wav.scp")
    return seconds


def decoded(recordings, rec):
    with recordings.open(rec) as audio:
        return sum(map(len, audio.blocks())) / audio.rate


def from_frames(data):
    if not data.has("utt2num_frames"):
        raise Fail(f"{data.path}: no wav.scp, segments or utt2num_frames to tell durations from; make the last with utils/get_utt2num_frames.py")
    frames = data.per_utt("utt2num_frames")
    check_values(data / "utt2num_frames", frames)
    shift = frame_shift(data)
    return {utt: shift * (int(number) + 1.5) for utt, number in frames.items()}


def frame_shift(data):
    """Seconds from one frame to the next: feats.json has milliseconds, Kaldi's frame_shift seconds."""
    if data.has("feats.json"):
        settings = read_json(data / "feats.json")
        shift = settings.get("frame_shift") if isinstance(settings, dict) else None
        if not isinstance(shift, int | float) or not shift > 0:
            raise Fail(f"{data / 'feats.json'}: no frame_shift, milliseconds above 0, in it; make the features anew")
        return shift / 1000
    if not data.has("frame_shift"):
        raise Fail(f"{data.path}: neither feats.json nor frame_shift tells how far apart the frames are; write it, in seconds, to {data / 'frame_shift'}")
    shift = number_of((data / "frame_shift").read_text(encoding="utf-8", errors="replace"))
    if shift is None or not 0 < shift < 1:
        raise Fail(f"{data / 'frame_shift'}: seconds above 0 and below 1 expected")
    return shift


if __name__ == "__main__":
    run(main)
