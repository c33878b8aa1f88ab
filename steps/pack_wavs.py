#!/usr/bin/env python3
"""Pack the recordings of a data directory into archives: 16-bit samples, one channel, one rate, each utterance by itself.

Commands are run, compressed audio is decoded and segments are cut once, here, instead of each time the recordings are read. 16-bit recordings
keep their very samples; others are rounded to 16 bits, and samples beyond full scale are clipped and counted.

Reads   <data>/{wav.scp,segments,utt2spk,…}
Writes  <out>/wav.ark (wav.JOB.ark with --nj), wav.scp, utt2dur, and of <data> the tables by utterance and by speaker and the trials; no features
        <out>/log/pack_wavs.failed   utterances whose recordings could not be read, with the reason; the others are kept for the next run
e.g.    steps/pack_wavs.py --nj 4 data/train data/train_packed
        steps/pack_wavs.py --format flac --sample-frequency 8000 --resample true data/train data/train_8k
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir, key_of, write_table
from pytorch.data.edit import OF_FEATURES, Part, table_names, trial_names, write_parts
from pytorch.data.recordings import Recordings, add_audio_options, audio_options_of
from pytorch.files import sha256
from pytorch.jobs import Shards, add_job_options
from pytorch.marker import Marker
from pytorch.program import Fail, Parser, boolean, count, positive_int, run

REPLACED = {"wav.scp", "segments", "utt2dur"}  # written here, or needed no more
COUNTS = ("clipped", "resampled", "shortened")  # of an utterance: samples, 1 or 0, seconds


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("out", type=Path, help="data directory to be made")
    parser.add_argument("--format", choices=("pcm", "flac"), default="pcm", help="pcm: WAV, which Kaldi reads too; flac: about half the size, read by kaldiio")
    parser.add_argument("--sample-frequency", type=positive_int, default=16000, help="sample rate of all, Hz")
    add_audio_options(parser)
    parser.add_argument("--max-fail", type=count, default=0, help="utterances whose recordings may fail; they are left out of <out>")
    parser.add_argument("--overwrite", type=boolean, default=False, help="pack anew where it was done otherwise")
    add_job_options(parser)
    return parser.parse_args()


def main():
    args = parse_args()
    data = DataDir(args.data)
    if args.out.resolve() == args.data.resolve():
        raise Fail(f"{args.out}: is the data directory itself, whose wav.scp would be replaced; choose another folder")
    recordings = Recordings(data, args.sample_frequency, **audio_options_of(args))
    utts, names = list(data.utt2spk), table_names(data)
    carried = [name for name in names if key_of(name) in ("utt", "spk") and not name.endswith(".scp") and name not in OF_FEATURES | REPLACED]
    inputs = {name: sha256(data / name) for name in ("utt2spk", "wav.scp", "segments", *trial_names(data), *carried) if data.has(name)}
    inputs["audio"] = "of the share" if args.job else recordings.fingerprint(utts)
    options = {name: getattr(args, name) for name in ("format", "sample_frequency", "channel", "resample")}
    marker = Marker(args.out / ".done/pack_wavs.json", options, inputs)
    classes = {"writer": partial(archive, rate=args.sample_frequency, form=args.format), "reader": packed}
    shards = Shards(args, marker, args.out, "wav", utts, ("utt2dur", *COUNTS), source_of=recordings.source, **classes)
    if shards.is_done():
        print(f"pack_wavs: the recordings of {data.path} are packed in {args.out}")
        return
    failed = shards.work(
        lambda utts: compute(recordings, utts),
        log_folder=args.out / "log", weight_of=recordings.size, group_of=recordings.recording, max_fail=args.max_fail,
    )  # fmt: skip
    if shards.is_worker:
        return

    durations = shards.join_tables("utt2dur")
    notes = write_parts(args.out, [Part(data, list(durations))], leave_out={"frame_shift", *names} - set(carried))
    write_table(args.out / "utt2dur", durations)
    report(shards, args)
    for note in notes:
        print(f"pack_wavs: {note}")
    if left := [name for name in names if name not in carried and name not in REPLACED]:
        print(f"pack_wavs: not carried: {', '.join(left)}")
    trials = [name for name in trial_names(data) if (args.out / name).exists()]
    shards.finish([args.out / name for name in ("utt2spk", "spk2utt", "utt2dur", *carried, *trials)], failed)
    hours = sum(map(float, durations.values())) / 3600
    print(f"pack_wavs: {args.out}: {len(durations)} utterances, {args.sample_frequency} Hz, {hours:.2f} h as {args.format}")


def archive(ark, scp, rate, form):
    from pytorch.data.wav_ark import WavArkWriter

    return WavArkWriter(ark, scp, rate, form)


def packed(scp):
    from pytorch.data.wav_ark import WavArkReader

    return WavArkReader(scp)


def compute(recordings, utts):
    """Yield each utterance with its samples, (num,) int16, or why it has none."""
    for utt in utts:
        try:
            samples, clipped = rounded(recordings.read(utt))
        except Fail as error:
            yield utt, error, None
            continue
        row = {"utt2dur": f"{len(samples) / recordings.rate:.6f}", "clipped": clipped, "resampled": int(recordings.recording(utt) in recordings.resampled)}
        yield utt, samples, {**row, "shortened": f"{recordings.shortened.get(utt, 0):.6f}"}


def rounded(samples):
    """(num,) float32 -> (num,) int16, and how many samples were beyond full scale."""
    import numpy as np

    clipped = int(np.count_nonzero((samples > 32768) | (samples < -32768)))
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16), clipped


def report(shards, args):
    """Say what was done to the samples."""
    clipped, resampled, shortened = ({utt: float(value) for utt, value in shards.join_tables(name).items() if float(value)} for name in COUNTS)
    if resampled:
        print(f"pack_wavs: {len(resampled)} utterances converted to {args.sample_frequency} Hz")
    if shortened:
        print(f"pack_wavs: {len(shortened)} segments cut at the end of their recordings, by {max(shortened.values()):.2f} s at most: {first(shortened)}")
    if clipped:
        what = f"{sum(clipped.values()):.0f} samples of {len(clipped)} utterances"
        print(f"pack_wavs: warning: {what} were beyond full scale and are clipped: {first(clipped)}", file=sys.stderr)


def first(table):
    return ", ".join(list(table)[:5]) + (", …" if len(table) > 5 else "")


if __name__ == "__main__":
    run(main)
