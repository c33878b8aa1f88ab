#!/usr/bin/env python3
"""Check a data directory by Kaldi's rules, and that its recordings and archives are there.

Every table and trial list that is there is looked at, and the first trouble of each is told. Ends in a short table of what the directory holds.

Reads   <data>/{utt2spk,spk2utt,wav.scp,segments,utt2X,spk2X,reco2X,X.scp,text,trials,…}
Writes  nothing; a line on stderr for each table in which something is wrong, and exit status 1. With --report a JSON file
e.g.    utils/validate_data_dir.py data/train
        utils/validate_data_dir.py --feats true --check-audio true --report exp/train.json data/train
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import REST, DataDir, read_table
from pytorch.data.edit import durations, read_any, table_names, trial_names
from pytorch.data.recordings import add_allow_cmd_option
from pytorch.data.rules import Entries, check_text, check_values, number_of, speaker_disorder
from pytorch.data.trials import read_trials
from pytorch.files import read_json, write_json
from pytorch.program import Fail, Parser, boolean, run

MOST_SHOWN = 20  # recordings in trouble, by line


def main():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("--feats", type=boolean, default=False, help="feats.scp must be there, with settings, whole, as long as utt2num_frames and vad.scp")
    parser.add_argument("--wav", type=boolean, default=True, help="wav.scp must be there")
    parser.add_argument("--text", type=boolean, default=False, help="text must be there")
    parser.add_argument("--non-print", type=boolean, default=False, help="text may hold characters that cannot be printed")
    parser.add_argument("--spk-prefix", type=boolean, default=True, help="utterances must sort by speaker: speaker ids must be prefixes of utterance ids")
    parser.add_argument("--check-files", type=boolean, default=True, help="the files that wav.scp, feats.scp, … name must be there")
    parser.add_argument("--check-audio", type=boolean, default=False, help="open every recording: rate, length (and utt2dur), silence, clipping, doubles")
    add_allow_cmd_option(parser)
    parser.add_argument("--report", type=Path, help="write what was found to this JSON file")
    args = parser.parse_args()
    check = Check(DataDir(args.data), args)
    check.all()
    for warning in check.warnings:
        print(f"validate_data_dir: warning: {warning}", file=sys.stderr)
    for trouble in check.troubles:
        print(f"validate_data_dir.py: {trouble}", file=sys.stderr)
    facts = check.facts()
    if args.report:
        write_json(args.report, facts)
    if not check.troubles:
        print(f"validate_data_dir: {args.data} is valid")
        print("\n".join(table_of(facts)))
    if check.audio:
        from pytorch.data.check_audio import report_lines

        print(f"validate_data_dir: the recordings of {args.data}")
        print("\n".join(report_lines(check.audio)))
    return 1 if check.troubles else 0


class Check:
    """One look at a data directory. troubles, warnings: lines; tables: {name: number of entries} of those without trouble"""

    def __init__(self, data, args):
        self.data, self.args = data, args
        self.troubles, self.warnings, self.tables = [], [], {}
        self.audio = None
        self._entries = Entries(look=args.check_files)

    def all(self):
        if not self._try(lambda: self.data.utt2spk):
            for name in table_names(self.data):  # their keys have nothing to be compared with, but they can be read
                self._try(read_table, self.data / name, REST)
            return
        self._try(self.speakers)
        for name, wanted, remedy in (
            ("wav.scp", self.args.wav or self.data.has("segments"), ""),
            ("text", self.args.text, ""),
            ("feats.scp", self.args.feats, f"make it with steps/make_feats.py {self.data.path}"),
        ):
            if wanted and not self.data.has(name):
                self.troubles.append(f"{self.data / name}: no such file{'; ' + remedy if remedy else ''}")
        self._try(self.spk2utt)
        for name in table_names(self.data):
            self._try(self.table, name)
        for name in trial_names(self.data):
            self._try(self.trials, name)
        for name in ("feats", "vad"):
            self._try(self.settings, name)
        if self.args.feats and self.args.check_files and "feats.scp" in self.tables:
            self._try(self.frames)
            if "vad.scp" in self.tables:
                self._try(self.decisions)
        self._try(self.frame_shift)
        if len(self.data.spk2utt) == 1:
            self.warnings.append(f"{self.data.path} has one speaker only")
        if self.args.check_audio and self.data.has("wav.scp") and not self.troubles:
            self._try(self.recordings)

    def _try(self, look, *args):
        """-> whether look(*args) found nothing wrong"""
        try:
            look(*args)
        except Fail as error:
            if str(error) not in self.troubles:  # broken segments stop every table of recordings
                self.troubles.append(str(error))
            return False
        return True

    def speakers(self):
        wrong = speaker_disorder(self.data.utt2spk)
        if wrong and self.args.spk_prefix:
            number, before, after = wrong
            raise Fail(
                f"{self.data / 'utt2spk'}:{number}: speaker '{after}' after '{before}'; speaker ids must be prefixes of utterance ids, as <spk>-<utt>: "
                "utils/copy_data_dir.py --spk-as-prefix true makes them so, or pass --spk-prefix false"
            )

    def spk2utt(self):
        """spk2utt, where it is there, must say what utt2spk says."""
        if not self.data.has("spk2utt"):
            return
        listed = {spk: words.split() for spk, words in read_table(self.data / "spk2utt", REST).items()}
        for spk in sorted(listed.keys() | self.data.spk2utt.keys()):
            if listed.get(spk) != self.data.spk2utt.get(spk):
                remedy = f"make it anew with: utils/utt2spk_to_spk2utt.py {self.data / 'utt2spk'} {self.data / 'spk2utt'}"
                raise Fail(f"{self.data / 'spk2utt'}: not what utt2spk says of speaker '{spk}'; {remedy}")

    def table(self, name):
        path = self.data / name
        if name == "segments":
            assert self.data.segments  # read first: what is wrong in it stops all tables of recordings, and is told once
        table = read_any(self.data, name)
        check_values(path, table)
        if name == "text":
            check_text(path, table, self.args.non_print)
        elif name == "reco2file_and_channel" and any(value.split()[1] == "1" for value in table.values()):
            self.warnings.append(f"{path}: channel 1 where A or B is usual")
        elif name.endswith(".scp"):
            self._entries.check(path, table)
        self.tables[name] = len(table)

    def trials(self, name):
        """Both ids of a trial are utterances, or speakers; what it is tested against may also be a model enrolled elsewhere."""
        path = self.data / name
        text = path.read_bytes()
        if b"\r" in text:
            number = text.count(b"\n", 0, text.index(b"\r")) + 1
            raise Fail(f"{path}:{number}: Windows line ending; remove them with utils/fix_data_dir.py {self.data.path}")
        if text.startswith(b"\xef\xbb\xbf"):
            raise Fail(f"{path}:1: starts with a byte order mark; remove it with utils/fix_data_dir.py {self.data.path}")
        if not text.endswith(b"\n"):
            lacks = "the last line lacks its newline, the list may be cut off; make it anew" if text else "empty; make it anew, or remove it"
            raise Fail(f"{path}: {lacks}")
        enrols, tests, _ = read_trials(path)
        here = self.data.utt2spk.keys() | self.data.spk2utt.keys()
        if strays := [number for number, test in enumerate(tests, 1) if test not in here]:
            which = f"'{tests[strays[0] - 1]}' is neither an utterance nor a speaker of utt2spk ({len(strays)} such lines)"
            raise Fail(f"{path}:{strays[0]}: {which}; run utils/fix_data_dir.py")
        if models := sorted(set(enrols) - here):
            self.warnings.append(f"{path}: {len(models)} ids to be tested against are not in utt2spk, so enrolled elsewhere: {', '.join(models[:5])}")

    def frames(self):
        """The header of every matrix: the archives must be whole, and have the frames that utt2num_frames has."""
        from pytorch.data.ark import ArkReader

        feats = ArkReader(self.data / "feats.scp")
        found = {utt: feats.shape(utt)[0] for utt in feats}
        if "utt2num_frames" not in self.tables:
            return
        table = self.data.per_utt("utt2num_frames")
        if wrong := [utt for utt, number in table.items() if int(number) != found[utt]]:
            first = f"'{wrong[0]}' has {table[wrong[0]]} frames there, but {found[wrong[0]]} by feats.scp ({len(wrong)} such)"
            remedy = f"make it anew with utils/get_utt2num_frames.py --overwrite true {self.data.path}"
            raise Fail(f"{self.data / 'utt2num_frames'}: {first}; {remedy}")

    def decisions(self):
        """A vector of vad.scp has a decision for each frame."""
        from pytorch.data.ark import ArkReader

        feats, vad = ArkReader(self.data / "feats.scp"), ArkReader(self.data / "vad.scp")
        frames, found = ({utt: reader.shape(utt)[0] for utt in reader} for reader in (feats, vad))
        if wrong := [utt for utt in found if found[utt] != frames[utt]]:
            first = f"'{wrong[0]}' has {found[wrong[0]]} decisions but {frames[wrong[0]]} frames ({len(wrong)} such)"
            raise Fail(f"{vad.scp}: {first}; run steps/compute_vad.py --overwrite true {self.data.path}")

    def settings(self, name):
        """feats.json and vad.json: what steps need to know of features. Kaldi's own directories have none."""
        path = self.data / f"{name}.json"
        if path.exists() and not isinstance(read_json(path), dict):
            raise Fail(f"{path}: the settings of {name}.scp as name and value were expected; make {name}.scp anew")
        if path.exists() or not self.data.has(f"{name}.scp"):
            return
        remedy = {"feats": "utils/adopt_feats.py", "vad": "steps/compute_vad.py"}[name]
        trouble = f"{path}: no such file; it holds the settings of {name}.scp, see {remedy} {self.data.path}"
        if self.args.feats:
            raise Fail(trouble)
        self.warnings.append(trouble)

    def frame_shift(self):
        path = self.data / "frame_shift"
        if path.exists():
            shift = number_of(path.read_text(encoding="utf-8", errors="replace"))
            if shift is None or shift <= 0:
                raise Fail(f"{path}: one number of seconds above 0 expected")

    def recordings(self):
        """Open them all. What stops a step is a trouble, told line by line as far as there are few; the rest is a warning."""
        from pytorch.data.check_audio import check_audio

        self.audio = check_audio(self.data, tuple(self.args.allow_cmd or ()))
        errors = self.audio["errors"]
        self.troubles += errors[:MOST_SHOWN]
        if len(errors) > MOST_SHOWN:
            self.troubles.append(f"{self.data.path}: and {len(errors) - MOST_SHOWN} more such; --report lists all")
        self.warnings += [f"{self.data.path}: {warning}" for warning in self.audio["warnings"]]

    def facts(self):
        """What was found, for the report."""
        found = {"data": str(self.data.path), "valid": not self.troubles, "troubles": self.troubles, "warnings": self.warnings}
        if "utt2spk" in vars(self.data):  # read, so there and sound
            sizes = sorted(map(len, self.data.spk2utt.values()))
            found |= {"utterances": len(self.data.utt2spk), "speakers": len(sizes)}
            found["utterances_per_speaker"] = {"least": sizes[0], "median": sizes[len(sizes) // 2], "most": sizes[-1]}
        if not self.troubles:
            found |= {"recordings": self.tables.get("wav.scp", 0), "hours": self.hours(), "tables": self.tables}
        if self.audio is not None:
            found["audio"] = self.audio
        return found

    def hours(self):
        """The length of all utterances, by a table or the recordings that were opened; None where neither tells."""
        seconds = durations(self.data)
        if seconds is not None:
            return round(sum(seconds.values()) / 3600, 4)
        if self.audio and self.audio["seconds"]:
            return round(self.audio["seconds"]["total"] / 3600, 4)
        if self.data.has("utt2num_frames") and self.data.has("feats.json"):
            shift = read_json(self.data / "feats.json").get("frame_shift")
            if isinstance(shift, (int, float)):
                return round(sum(map(int, self.data.per_utt("utt2num_frames").values())) * shift / 3.6e6, 4)
        return None


def table_of(facts):
    spread = facts["utterances_per_speaker"]
    yield f"  utterances  {facts['utterances']}"
    yield f"  speakers    {facts['speakers']} ({spread['least']} to {spread['most']} utterances, median {spread['median']})"
    yield f"  recordings  {facts['recordings'] or 'no wav.scp'}"
    yield f"  hours       {'unknown, make utt2dur with utils/get_utt2dur.py' if facts['hours'] is None else format(facts['hours'], '.2f')}"
    yield f"  tables      {' '.join(name for name in facts['tables'] if name != 'wav.scp') or '-'}"


if __name__ == "__main__":
    run(main)
