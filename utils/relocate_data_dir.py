#!/usr/bin/env python3
"""Tell a data directory that files have moved: replace the beginning of paths in wav.scp, feats.scp and all other scp files.

Paths are changed in plain entries, in archive:offset entries and among the words of commands, and where feats.sha256 names the folder features come from.
Nothing is written unless every file so named is there; entries that lie elsewhere stay, and are counted.
With --absolute true, relative paths become absolute ones instead, as Kaldi needs them.
What features and decisions were made can be used as it is; the step that made them, if it is run again, finds other paths and asks for --overwrite true.

Reads   <data>/*.scp, *.sha256
Writes  the same
e.g.    utils/relocate_data_dir.py --from /old/corpora --to /mnt/corpora data/train
        utils/relocate_data_dir.py --absolute true data/train
"""

import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.commands import files_of
from pytorch.data.data_dir import REST, DataDir, read_table, write_table
from pytorch.data.edit import table_names
from pytorch.data.rules import file_of, is_command
from pytorch.files import whole_file
from pytorch.program import Fail, Parser, boolean, run

_WORD_STARTS = r"(?<![^\s'\"=])"  # in a command: after a blank, a quote or --option=
_WORD_ENDS = r"(?=$|[\s'\"|])"


def main():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("--from", dest="old", metavar="OLD", help="beginning of the paths as they are, whole names of folders")
    parser.add_argument("--to", dest="new", metavar="NEW", help="what it becomes")
    parser.add_argument("--absolute", type=boolean, default=False, help="put the current folder before relative paths")
    parser.add_argument("--check-files", type=boolean, default=True, help="the files must be where the new paths name them")
    parser.add_argument("--dry-run", type=boolean, default=False, help="say what would be changed, and write nothing")
    args = parser.parse_args()
    if bool(args.old) != bool(args.new) or args.absolute == bool(args.old):
        parser.error("either --from OLD --to NEW or --absolute true is needed")
    data = DataDir(args.data)
    move = Absolute() if args.absolute else Prefix(args.old, args.new)
    tables, counts = moved_tables(data, move)
    hashes, counted = moved_hashes(data, move)
    counts |= counted
    if args.check_files:
        check(data, move)
    if not args.dry_run:
        for name, table in tables.items():
            write_table(data / name, table)
        for name, lines in hashes.items():
            with whole_file(data / name) as file:
                file.writelines(lines)
    if not move.moved:
        if move.others or move.kept == 0:
            raise Fail(f"{data.path}: no path in {', '.join(counts) or 'it'} begins with {move.before}; {move.example()}")
        print(f"relocate_data_dir: {data.path}: nothing to do, {move.kept} paths are as they should be")
        return
    for name, (count, total, others) in counts.items():
        print(f"relocate_data_dir: {data / name}: {count} of {total} entries {'would be' if args.dry_run else 'were'} changed")
        if others:
            print(f"relocate_data_dir: {data / name}: {len(others)} lie elsewhere and stay, the first is {others[0][:200]}")


def moved_tables(data, move):
    """-> {name: table} of the scp files that change, {name: (entries that change, entries, those elsewhere)} of all"""
    tables, counts = {}, {}
    for name in table_names(data):
        if name.endswith(".scp"):
            old, before = read_table(data / name, REST), len(move.others)
            new = {key: move.command(entry) if is_command(entry) else move.path(entry) for key, entry in old.items()}
            counts[name] = (sum(new[key] != entry for key, entry in old.items()), len(old), move.others[before:])
            if counts[name][0]:
                tables[name] = new
    return tables, counts


def moved_hashes(data, move):
    """The same of feats.sha256 and vad.sha256, with lines for tables; those that name no other folder are not counted."""
    changed, counts = {}, {}
    for name in ("feats.sha256", "vad.sha256"):
        if data.has(name):
            lines = (data / name).read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
            words, before = [line.partition(" ") for line in lines], len(move.others)
            new = [f"{value} {move.path(folder.rstrip())}\n" if folder else line for line, (value, _, folder) in zip(lines, words, strict=True)]
            if any(folder for _, _, folder in words):
                counts[name] = (sum(old != line for old, line in zip(lines, new, strict=True)), len(lines), move.others[before:])
            if new != lines:
                changed[name] = new
    return changed, counts


def check(data, move):
    if missing := [path for path in sorted(move.moved) if not os.path.exists(path)]:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise Fail(f"{data.path}: {missing[0]} would be named, but is not there{more}; nothing was changed")


class Prefix:
    """Replaces the beginning of paths. moved: the new paths; kept: how many were as they should be already; others: the entries elsewhere"""

    def __init__(self, old, new):
        self.before, self._new = old.rstrip("/") or "/", os.path.abspath(new)
        self._old = old.rstrip("/")
        self.moved, self.kept, self.others = set(), 0, []
        self._in_command = re.compile(_WORD_STARTS + re.escape(self._old) + (f"(?=/|{_WORD_ENDS})" if self._old else "(?=/)"))

    def path(self, entry):
        """A path, path:offset or path:offset[range]."""
        if self._is_new(entry):
            self.kept += 1
        elif _begins(entry, self._old):
            entry = self._new.rstrip("/") + entry[len(self._old) :]
            self.moved.add(file_of(entry))
        else:
            self.others.append(entry)
        return entry

    def command(self, entry):
        if any(map(self._is_new, files_of(entry))):
            self.kept += 1
            return entry
        if not self._in_command.search(entry):
            if "/" in entry:  # else it reads no file of any folder
                self.others.append(entry)
            return entry
        if self._new.split() != [self._new]:
            raise Fail(f"--to {self._new}: has blanks, which commands in wav.scp would take for the end of a word")
        entry = self._in_command.sub(self._new.rstrip("/").replace("\\", r"\\"), entry)
        self.moved |= {word for word in files_of(entry) if self._is_new(word)}
        return entry

    def example(self):
        if not self.others:
            return "there are none"
        already = f"{self.kept} lie under {self._new} already, but " if self.kept else ""
        return f"{already}{len(self.others)} lie elsewhere, the first is {self.others[0][:200]}; nothing was changed"

    def _is_new(self, path):
        return _begins(path, self._new) and len(self._new) >= len(self._old)


def _begins(path, folder):
    return path.startswith(folder) and path[len(folder) : len(folder) + 1] in ("/", "", ":")


class Absolute:
    """Puts the current folder before relative paths. In commands, relative paths are the words that name a file."""

    before = "a relative path"

    def __init__(self):
        self.moved, self.kept, self.others = set(), 0, []

    def path(self, entry):
        if entry.startswith("/"):
            self.kept += 1
            return entry
        entry = os.path.join(os.getcwd(), os.path.normpath(entry))
        self.moved.add(file_of(entry))
        return entry

    def command(self, entry):
        words = {word for word in files_of(entry) if not word.startswith("/") and os.path.isfile(word)}
        self.kept += not words
        for word in sorted(words):
            path = os.path.join(os.getcwd(), os.path.normpath(word))
            entry = re.sub(_WORD_STARTS + re.escape(word) + _WORD_ENDS, lambda match, path=path: path, entry)
            self.moved.add(path)
        return entry

    def example(self):
        return "there are no scp files"


if __name__ == "__main__":
    run(main)
