#!/usr/bin/env python3
"""Make a data directory whose recordings are played faster or slower, by sox as they are read; ffmpeg hands it those in M4A, MP4 and AAC.

Several factors, joined by commas, give one directory with all of them; 0.9,1.0,1.1 is Kaldi's three-way perturbation. By default a speed makes new
speakers: utterance, recording and speaker ids get the prefix sp<factor>-. Features do not come along. utt2uniq maps new ids to old ones.

Reads   <data>/{utt2spk,wav.scp,…}
Writes  <out>                  a whole data directory: wav.scp with sox commands; times and durations divided by the factor
e.g.    utils/perturb_data_dir_speed.py 0.9,1.0,1.1 data/train data/train_sp
"""

import argparse
import shlex
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.data.edit import OF_FEATURES, NewDataDir, Part, write_parts
from pytorch.data.rules import check_values, is_command
from pytorch.data.source import split_entry
from pytorch.marker import options_of
from pytorch.program import Fail, Parser, boolean, positive_float, run

NOT_FOR_SOX = (".m4a", ".mp4", ".aac")


def factors(text):
    words = text.split(",")
    for word in words:
        if not 0.1 <= positive_float(word) <= 10 or word.strip() != word:
            raise argparse.ArgumentTypeError(f"factors from 0.1 to 10, joined by commas, expected, not '{text}'")
    if len(set(map(float, words))) < len(words):
        raise argparse.ArgumentTypeError(f"a factor twice in '{text}'")
    return words


def main():
    parser = Parser(__doc__)
    parser.add_argument("factors", type=factors, help="speeds: one, or several joined by commas; 1 and 1.0 leave the directory as it is")
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("out", type=Path, help="data directory to be made")
    parser.add_argument("--include-spk-prefix", type=boolean, default=True, help="a speed makes new speakers; false: the same, and ids get a suffix")
    parser.add_argument("--always-include-prefix", type=boolean, default=False, help="the factor 1 too gets its prefix")
    parser.add_argument("--overwrite", type=boolean, default=False, help="replace a data directory that is there")
    args = parser.parse_args()
    data = DataDir(args.data)
    new = NewDataDir(args.out, "perturb_data_dir_speed", options_of(args, without=("data", "out")), [data], args.overwrite)
    if new.is_done():
        print(f"perturb_data_dir_speed: {args.out} is there")
        return
    parts = [Perturbed(data, factor, args) for factor in args.factors]
    with new as folder:
        notes = write_parts(folder, parts, leave_out=OF_FEATURES | {"trials"})
    for note in notes:
        print(f"perturb_data_dir_speed: {note}")
    for program in sorted(set.union(*(part.programs for part in parts))):
        if shutil.which(program) is None:
            print(f"perturb_data_dir_speed: warning: no {program} on this machine; the recordings can be read only where there is one", file=sys.stderr)
    speakers = len({spk for part in parts for spk in part.ids["spk"].values()})
    print(f"perturb_data_dir_speed: {args.out}: {len(data.utt2spk) * len(parts)} utterances of {speakers} speakers")


class Perturbed(Part):
    """A data directory at another speed. programs: those that its wav.scp, once written, runs besides the ones it ran before"""

    def __init__(self, data, factor, args):
        self.factor, self.plain, self.programs = factor, float(factor) == 1, set()
        label = "" if self.plain and not args.always_include_prefix else f"sp{factor}"
        prefix = f"{label}-" if label and args.include_spk_prefix else ""
        suffix = f"-{label}" if label and not args.include_spk_prefix else ""

        def rename(name):
            return f"{prefix}{name}{suffix}"

        super().__init__(data, utt_id=rename, spk_id=lambda spk: f"{prefix}{spk}", rec_id=rename)

    def read(self, name):
        table = super().read(name)
        check_values(self.data / name, table)
        return table

    def pick(self, name, whole):
        table = super().pick(name, whole)
        if self.plain:
            return table
        if name == "wav.scp":
            return {new: self._entry(old, whole[old]) for old, new in self.ids["rec"].items()}
        if name in ("utt2dur", "reco2dur"):
            return {key: self._scaled(value) for key, value in table.items()}
        if name == "segments":
            times = ((utt, value.split()) for utt, value in table.items())
            return {utt: f"{rec} {self._scaled(start)} {self._scaled(end)}" for utt, (rec, start, end) in times}
        return table

    def _scaled(self, seconds):
        return f"{float(seconds) / float(self.factor):.6f}"

    def _entry(self, rec, entry):
        """Kaldi's three cases: a command, an archive, a file; and a file that sox cannot read."""
        self.programs.add("sox")
        if is_command(entry):
            return f"{entry} sox -t wav - -t wav - speed {self.factor} |"
        if split_entry(entry):
            if shutil.which("wav-copy") is None:
                raise Fail(f"{self.data / 'wav.scp'}: '{rec}': {entry}: recordings in an archive need Kaldi's wav-copy here; perturb before they are packed")
            return f"wav-copy {shlex.quote(entry)} - | sox -t wav - -t wav - speed {self.factor} |"
        if entry.lower().endswith(NOT_FOR_SOX):
            self.programs.add("ffmpeg")
            return f"ffmpeg -nostdin -loglevel error -i {shlex.quote(entry)} -f wav - | sox -t wav - -t wav - speed {self.factor} |"
        kind = "-t wav " if entry.lower().endswith(".wav") else ""  # of others, sox knows the kind by the name
        return f"sox {kind}{shlex.quote(entry)} -t wav - speed {self.factor} |"


if __name__ == "__main__":
    run(main)
