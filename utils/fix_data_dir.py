#!/usr/bin/env python3
"""Mend a data directory: sort its tables, and keep the utterances, speakers and recordings that are in all of them.

Mended in the text: order, Windows line endings, a byte order mark, blank and doubled lines, a missing newline at the end; spk2utt is made anew.
An utterance goes if a table of utterances lacks it, if its speaker is missing from a table of speakers, or its recording from a table of
recordings; so does one whose utt2dur, utt2num_frames, reco2dur or segments line says nothing usable. Then utils/validate_data_dir.py finds the
tables in agreement. Nothing is changed where no utterance would be left, or where two lines contradict each other.

Reads   <data>/{utt2spk,…}       every utt2X, spk2X, reco2X, X.scp, text, segments; trials and further trial lists
Writes  the same, where something is to be mended; <data>/.backup/ what they were, NAME.1, NAME.2, … from later runs, and `dropped`, the utterances
        that went in all runs, with the tables
e.g.    utils/fix_data_dir.py data/train
"""

import filecmp
import itertools
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import REST, DataDir, key_of, read_table, spk2utt_of, write_table
from pytorch.data.edit import table_names, trial_names
from pytorch.data.rules import speaker_disorder, value_rule
from pytorch.data.trials import read_trials, write_trials
from pytorch.files import whole_file
from pytorch.program import Fail, Parser, boolean, run

MUST_BE_USABLE = ("segments", "utt2dur", "utt2num_frames", "reco2dur")  # a line that breaks the rule of its table counts as missing
SHOWN = 5  # ids in a message


def main():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("--utt-extra-files", default="", metavar="NAMES", help="further tables by utterance: filtered too, but no utterance goes by them")
    parser.add_argument("--spk-extra-files", default="", metavar="NAMES", help="further tables by speaker: filtered too, but no speaker goes by them")
    parser.add_argument("--spk-prefix", type=boolean, default=True, help="utterances must sort by speaker: speaker ids must be prefixes of utterance ids")
    args = parser.parse_args()
    data = DataDir(args.data)
    fix = Fix(data, {**dict.fromkeys(args.utt_extra_files.split(), "utt"), **dict.fromkeys(args.spk_extra_files.split(), "spk")})
    wrong = speaker_disorder(fix.utt2spk) if args.spk_prefix else None
    if wrong:
        raise Fail(
            f"{data / 'utt2spk'}: sorted by utterance, speaker '{wrong[2]}' stands after '{wrong[1]}'; speaker ids must be prefixes of utterance ids: fix it "
            "with --spk-prefix false, and then make them so with utils/copy_data_dir.py --spk-as-prefix true"
        )
    changed = fix.write()
    for line in fix.lines():
        print(f"fix_data_dir: {line}")
    total = len(fix.utt2spk) + len(fix.dropped)
    kept = f"kept {len(fix.utt2spk)} of {total} utterances" if fix.dropped else f"kept all {total} utterances"
    print(f"fix_data_dir: {data.path}: {kept}; {f'old files are kept in {data.path}/.backup' if changed else 'nothing was changed'}")


class Fix:
    """What is to be done to a data directory.

    extra: {name: "utt" | "spk"} of tables nobody knows
    utt2spk: what is left of it; dropped: {utt: the table it went by}; mended: {name: what is mended in its text, in words}
    """

    def __init__(self, data, extra):
        self.data, self._extra = data, extra
        if missing := [name for name in extra if not data.has(name)]:
            raise Fail(f"{data / missing[0]}: no such file")
        self.kinds = {name: key_of(name) for name in table_names(data)} | extra
        self.mended, self.dropped, self._stray, self._sizes = {}, {}, {}, {}
        self._strangers = set()  # utterances that utt2spk does not know
        if not data.has("utt2spk"):
            remedy = f"; make it with: utils/spk2utt_to_utt2spk.py {data / 'spk2utt'} {data / 'utt2spk'}" if data.has("spk2utt") else ""
            raise Fail(f"{data / 'utt2spk'}: no such file{remedy}")
        self.utt2spk, without = self._read("utt2spk")
        self.dropped |= dict.fromkeys(sorted(without), "utt2spk")
        self._all = self.utt2spk
        if data.has("segments"):
            self._rec = {utt: value.split()[0] for utt, value in self._read("segments")[0].items()}
        else:
            self._rec = {}
            self.kinds = {name: "utt" if kind == "rec" else kind for name, kind in self.kinds.items()}
        for name in sorted(self.kinds, key=lambda name: name != "segments"):
            self._compare(name, may_drop=name not in extra)
        if not self.utt2spk:
            others = [f"{name} has {some(strays)} instead" for name, strays in self._stray.items()]
            raise Fail(f"{data.path}: no utterance would be left, so nothing is changed; {'; '.join([*self._reasons(), *others])}")

    def _read(self, name):
        """-> the table, and the keys that have no usable line"""
        table, without, mended = read_loose(self.data / name, one_word=name == "utt2spk")
        if mended:
            self.mended[name] = mended
        return table, without

    def _key(self, kind):
        """The function that gives an utterance's key in a table of that kind."""
        return {"utt": str, "spk": self._all.get, "rec": self._rec.get}[kind]

    def _compare(self, name, may_drop):
        """Drop the utterances a table lacks; remember what it has too much."""
        table, _ = self._read(name)
        self._sizes[name] = len(table)
        kind, key = self.kinds[name], self._key(self.kinds[name])
        if may_drop:
            lost = self.utt2spk.keys() - table.keys() if kind == "utt" else {utt for utt in self.utt2spk if key(utt) not in table}
            self.dropped |= dict.fromkeys(sorted(lost), name)
            if lost:
                self.utt2spk = {utt: spk for utt, spk in self.utt2spk.items() if utt not in lost}
        known = self._all.keys() if kind == "utt" else set(map(key, self._all))
        if strays := table.keys() - known:
            self._stray[name] = strays
            if kind == "utt":
                self._strangers |= strays

    def _wanted(self, kind):
        return self.utt2spk.keys() if kind == "utt" else set(map(self._key(kind), self.utt2spk))

    def write(self):
        """Write what has to change, each old file kept in .backup. utt2spk goes last: stopped halfway and started again, the same is left. -> their names"""
        stage = self.data / f".fix.{os.getpid()}.tmp"
        try:
            changed = self._stage(stage)
            if changed:
                (self.data / ".backup").mkdir(exist_ok=True)
            if self.dropped:
                self._list_dropped(self.data / ".backup/dropped")
            for name in changed:
                self._replace(stage / name, self.data / name)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
        return changed

    def _list_dropped(self, path):
        """Add to the list of earlier runs; a run that is taken up again adds nothing twice."""
        before = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        known = set(before)
        lines = [f"{utt} {name}\n" for utt, name in sorted(self.dropped.items())]
        with whole_file(path) as file:
            file.writelines(before + [line for line in lines if line not in known])

    def _stage(self, stage):
        """Write the files that must change into a folder. -> their names; one that is not there is to go"""
        changed = [name for name in trial_names(self.data) if self._stage_trials(stage, name)]
        for name, kind in self.kinds.items():
            wanted = self._wanted(kind)
            has_others = self.dropped if name in self._extra else self._sizes[name] > len(wanted)  # others than extra ones have all that is wanted
            if name in self.mended or name in self._stray or has_others:
                if table := {key: value for key, value in read_loose(self.data / name)[0].items() if key in wanted}:
                    write_table(stage / name, table)
                changed.append(name)
        spk2utt = spk2utt_of(self.utt2spk)
        if not self._is_there(spk2utt):
            write_table(stage / "spk2utt", spk2utt)
            changed.append("spk2utt")
        if "utt2spk" in self.mended or self.dropped:
            write_table(stage / "utt2spk", self.utt2spk)
            changed.append("utt2spk")
        return changed

    def _is_there(self, spk2utt):
        try:
            return {spk: words.split() for spk, words in read_table(self.data / "spk2utt", REST).items()} == spk2utt
        except Fail:
            return False

    def _stage_trials(self, stage, name):
        """-> whether the list must change. What is tested must be here; models may come from elsewhere, unless they are what went."""
        text, mended = mend_text(read_utf8(self.data / name))
        if not text.strip():
            raise Fail(f"{self.data / name}: empty; make it anew, or remove it")
        trials = [(one.removeprefix("\ufeff"), other, label) for one, other, label in zip(*read_trials(self.data / name), strict=True)]
        here = self.utt2spk.keys() | set(self.utt2spk.values())
        gone = (self.dropped.keys() | self._strangers | set(self._all.values())) - here
        kept = [(one, other, label) for one, other, label in trials if one not in gone and other in here]
        if len(kept) < len(trials):
            mended.append(f"{len(trials) - len(kept)} of {len(trials)} went with their utterances")
        if not mended:
            return False
        self.mended[name] = mended
        if kept:
            write_trials(stage / name, kept)
        return True

    def _replace(self, new, old):
        if old.exists():
            self._back_up(old, new.with_name(f"{old.name}.old"))
        if new.exists():
            os.replace(new, old)
        else:
            old.unlink()

    def _back_up(self, old, copy):
        """Keep a file as it is beside those of earlier runs, the oldest of which has the plain name."""
        plain = self.data / ".backup" / old.name
        for backup in itertools.chain([plain], (plain.with_name(f"{old.name}.{number}") for number in itertools.count(1))):
            if not backup.exists():
                shutil.copy2(old, copy)
                os.replace(copy, backup)
                return
            if filecmp.cmp(old, backup, shallow=False):  # as where a run was stopped
                return

    def lines(self):
        """What was found, in sentences."""
        for name, words in self.mended.items():
            yield f"{name}: {', '.join(words)}"
        for name, strays in self._stray.items():
            what = {"utt": "utterances", "spk": "speakers", "rec": "recordings"}[self.kinds[name]]
            where = "segments" if self.kinds[name] == "rec" else "utt2spk"
            yield f"{name}: entries removed, as their {what} are not in {where}: {len(strays)} ({some(strays)})"
        yield from self._reasons()
        if self.dropped:
            yield f"all that went are listed in {self.data.path}/.backup/dropped"

    def _reasons(self):
        for name in ("utt2spk", *self.kinds):
            if lost := [utt for utt, by in self.dropped.items() if by == name]:
                yield f"utterances that went, having no usable line in {name}: {len(lost)} ({some(lost)})"


def some(ids):
    return ", ".join(sorted(ids)[:SHOWN]) + (", …" if len(ids) > SHOWN else "")


def read_loose(path, one_word=False):
    """Read a table as read_table does, but mend what can be mended.

    -> {key: rest of the line} in byte order, {keys that have no usable line}, what was mended, in words.
    Lines without a value, or whose value says nothing usable, are left out. Fails where a key has two values.
    """
    text, mended = mend_text(read_utf8(path))
    accept = value_rule(path.name)[0] if path.name in MUST_BE_USABLE else None
    table, without, blank, doubled, useless, ordered, previous = {}, set(), 0, 0, 0, True, ""
    for number, line in enumerate(text.split("\n")[:-1], 1):
        words = line.split(None, 1)
        if not words:
            blank += 1
            continue
        value = words[1].rstrip() if len(words) == 2 else ""
        if not value or (accept and not accept(value)):
            useless += 1
            without.add(words[0])
            continue
        if one_word and len(value.split()) != 1:
            raise Fail(f"{path}:{number}: two fields expected, {1 + len(value.split())} found: '{line[:80]}'; mend or remove the line")
        key = words[0]
        if key in table:
            if table[key] != value:
                raise Fail(f"{path}:{number}: '{key}' stands twice, with '{value[:40]}' here and '{table[key][:40]}' before; keep one line of it")
            doubled += 1
            continue
        ordered &= key > previous
        table[key] = value
        previous = key
    if not table:
        raise Fail(f"{path}: {'empty' if not text else 'no usable line in it'}; make it anew, or remove it")
    mended += ["sorted"] * (not ordered)
    mended += [f"{what} lines removed: {number}" for number, what in ((blank, "blank"), (doubled, "doubled"), (useless, "useless")) if number]
    return (table if ordered else dict(sorted(table.items()))), without - table.keys(), mended


def read_utf8(path):
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise Fail(f"{path}: not a text file (byte {error.start} is not UTF-8)") from None


def mend_text(text):
    mended = []
    if text.startswith("\ufeff"):
        text, mended = text[1:], ["byte order mark removed"]
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        mended.append("Windows line endings removed")
    if text and not text.endswith("\n"):
        text += "\n"
        mended.append("a newline added at the end (look whether the last line is whole)")
    return text, mended


if __name__ == "__main__":
    run(main)
