#!/usr/bin/env python3
"""Extract the embeddings of sliding windows: what was trained on utterances, applied along a recording.

Reads   <exp>    as steps/extract.py does
        <data>   a data directory, whose utterances the windows are laid through, or an audio file
Writes  <out>/{segments,utt2spk,spk2utt,wav.scp,xvector.scp,xvector.ark}    as Kaldi's diarization has them: each window is an utterance, its "speaker"
                                                                            the utterance it is of; xvector.json as of steps/extract.py
        <out>/npy/<utterance>.npy, metadata.json                            a matrix (windows, dim) for each utterance, for pytorch.windows.Windows
e.g.    steps/extract_windows.py --window 2 --period 0.2 exp/sinctdnn data/meetings exp/sinctdnn/meetings
        steps/extract_windows.py --epoch exp/sinctdnn/validate_dev --step-ratio 0.25 exp/sinctdnn meeting.wav exp/sinctdnn/meeting

A window is embedded as an utterance of its own, all its frames. Where the period does not lead to the end of a recording, the last window is laid so that
it ends there; a shorter recording is one window. In the matrices the last window has the place that the period gives it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import REST, DataDir, read_table, spk2utt_of, write_data_dir, write_table
from pytorch.data.ids import utt_id
from pytorch.extracting import Extraction, add_extraction_options, add_extractor_options
from pytorch.files import need_file, read_json, whole_file, write_json
from pytorch.jobs import Shards
from pytorch.marker import Marker
from pytorch.network_input import NetworkInput
from pytorch.package import open_experiment
from pytorch.program import Fail, Parser, boolean, positive_float, run


def parse_args():
    parser = Parser(__doc__)
    add_extractor_options(parser)
    parser.add_argument("data", type=Path, help="data directory with recordings or features, or an audio file")
    parser.add_argument("out", type=Path, help="folder of the embeddings, made")
    parser.add_argument("--window", type=positive_float, default=2.0, help="length of a window, in seconds")
    parser.add_argument("--period", type=positive_float, metavar="SEC", help="from the beginning of a window to that of the next, in seconds")
    parser.add_argument("--step-ratio", type=positive_float, metavar="SHARE", help="the same as a share of the window; 0.1 without either")
    parser.add_argument("--npy", type=boolean, default=True, help="write a matrix for each utterance too")
    add_extraction_options(parser)
    args = parser.parse_args()
    if args.period and args.step_ratio:
        parser.error("argument --step-ratio: not with --period, which says the same")
    args.period = args.period or args.window * (args.step_ratio or 0.1)
    return args


def main():
    args = parse_args()
    experiment = open_experiment(args.exp)
    experiment.settings = experiment.settings | {"voiced": False}  # a window has all its frames
    data = directory_of(args)
    given = NetworkInput(experiment, data, args)
    extraction = WindowExtraction("extract_windows", experiment, data, given, args)
    windows = extraction.windows()
    options = extraction.options() | {"window": args.window, "period": args.period}
    marker = Marker(args.out / ".done/extract_windows.json", options, {**extraction.identity, **given.inputs})
    shards = Shards(args, marker, args.out, "xvector", sorted(windows.utts))
    if shards.is_done():
        write_matrices(args, windows, extraction)
        print(f"extract_windows: the embeddings in {args.out} are there")
        return
    if not shards.is_worker:
        extraction.prepare()
        (args.out / "npy/metadata.json").unlink(missing_ok=True)
    shards.work(extraction.vectors, log_folder=args.out / "log", items=extraction.batches, what="batches")
    if shards.is_worker:
        return
    outputs = write_tables(args.out, data, windows)
    write_json(args.out / "xvector.json", extraction.facts())
    shards.finish([args.out / "xvector.json", *outputs])
    write_matrices(args, windows, extraction)
    what = f"{len(windows.utts)} windows of {len(data.utt2spk)} utterances of {args.data}"
    print(f"extract_windows: {what} in {args.out}, by epoch {extraction.epoch} of {args.exp}")


def directory_of(args):
    """The DataDir; of an audio file one in <out>/recordings."""
    if not args.data.is_file():
        return DataDir(args.data)
    path, folder = need_file(args.data).resolve(), args.out / "recordings"
    name = utt_id(path.name)
    if not (folder / "utt2spk").exists() or read_table(folder / "wav.scp", REST) != {name: str(path)}:
        write_data_dir(folder, {name: str(path)}, {name: name})
    return DataDir(folder)


class WindowExtraction(Extraction):
    """The work of one job on windows."""

    _windows = _front = _window = None

    def windows(self):
        """-> WindowSource"""
        if self._windows is None:
            from pytorch.windows import LEAST_SEC, WindowSource

            source, self._front = self.given.open()
            self._window, step = (round(seconds / source.sec_per_unit) for seconds in (self.args.window, self.args.period))
            if step < 1 or self.args.period < LEAST_SEC:
                raise Fail(f"--period {self.args.period:g}: too short, {max(LEAST_SEC, source.sec_per_unit):g} s is the least")
            source.need_length(source.units(1))
            self._windows = WindowSource(source, self._window, step)
        return self._windows

    def open(self):
        return self.windows(), self._front

    def choose_chunks(self):
        """Recordings shorter than the network takes are padded."""
        from pytorch.extraction import Chunks, units

        least = self.source.source.least_of(self.model)
        if self._window < least:
            raise Fail(f"--window {self.args.window:g}: the network takes no less than {least * self.source.sec_per_unit:.3g} s")
        return Chunks(None, self.model.min_frames, units(self.source, self._front, self.args.batch_frames))


def write_tables(out, data, windows):
    """-> the files: each window as an utterance of a data directory"""
    segments, utt2spk = {}, {}
    for index, (name, (number, _, _)) in enumerate(zip(windows.utts, windows.places, strict=True)):
        utt = windows.source.utts[number]
        rec, start = (utt, 0.0) if data.segments is None else data.segments[utt][:2]
        segments[name] = [rec, *(f"{start + time:.9f}".rstrip("0").rstrip(".") for time in windows.seconds(index))]
        utt2spk[name] = utt
    tables = {"segments": segments, "utt2spk": utt2spk, "spk2utt": spk2utt_of(utt2spk)} | ({"wav.scp": data.wav_scp} if data.has("wav.scp") else {})
    for name, table in tables.items():
        write_table(out / name, table)
    return [out / name for name in tables]


def write_matrices(args, windows, extraction):
    """npy/, where it is asked for and not there; metadata.json, without which it is not read, comes last."""
    folder = args.out / "npy"
    if not args.npy or (folder / "metadata.json").exists():
        return
    import numpy as np

    from pytorch.data.ark import read_matrix
    from pytorch.windows import matrix_path, write_metadata

    names, numbers = {}, {}
    for name, (number, _, _) in zip(windows.utts, windows.places, strict=True):
        names.setdefault(windows.source.utts[number], []).append(name)
    for utt, own in names.items():
        matrix = read_matrix(args.out / "xvector.scp", own)
        with whole_file(matrix_path(folder, utt), "wb") as file:
            np.save(file, matrix, allow_pickle=False)
        numbers[utt] = len(own)
    facts = {name: value for name, value in read_json(args.out / "xvector.json").items() if name not in ("features", "inputs")}
    duration, step = (round(seconds / windows.sec_per_unit) * windows.sec_per_unit for seconds in (args.window, args.period))
    write_metadata(folder, duration, step, matrix.shape[1], recordings=numbers, **facts)


if __name__ == "__main__":
    run(main)
