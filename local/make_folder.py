#!/usr/bin/env python3
"""Make data directories of a folder of recordings: a folder for each speaker, or for each class.

Reads   <folder>/**         names only, no recording is opened; --layout says what the folders of the first levels are:
          spk               <folder>/<speaker>/**/<file>
          spk/session       <folder>/<speaker>/<session>/**/<file>, as in VoxCeleb; target trials are then across sessions
          class             <folder>/<class>/**/<file>; the speakers are not known, an utterance is taken for a speaker of its own
          class/spk         <folder>/<class>/<speaker>/**/<file>; one name is one speaker, whatever the class
        <folder>/spk2gender lines of `speaker m|f`, where it is there; --spk2gender names another place
Writes  <out>/{train,valid,test}/{wav.scp,utt2spk,spk2utt}    of different speakers; utt2session, utt2label, spk2gender where they are known
        <out>/{valid,test}/trials                             drawn as by utils/make_trials.py; layouts spk and spk/session
        <out>/left_out.tsv                                    files and folders that were not taken, and why
e.g.    local/make_folder.py --test 20 corpora/mine data
        local/make_folder.py --layout class/spk --label utt2emotion corpora/emotions data

Ids are made of paths, see pytorch/data/ids.py: anna/monday/01.wav becomes anna-monday-01. Who is held out depends on the names and --seed, evenly
over sexes and classes; a new speaker moves few of the others. Links are followed; hidden files, whose names begin with a dot, are left out.
"""

import argparse
import hashlib
import os
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir, read_table, write_data_dir
from pytorch.data.ids import is_id, spk_id, utt_id
from pytorch.data.names import read_names
from pytorch.data.rules import value_rule
from pytorch.data.trials import draw_trials, write_trials
from pytorch.files import sha256, sha256_of_sizes, whole_file
from pytorch.marker import Marker, options_of
from pytorch.program import Fail, Parser, boolean, count, positive_int, run

SETS = ("train", "valid", "test")
LAYOUTS = ("spk", "spk/session", "class", "class/spk")
BAD_IN_A_PATH = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # the last are bytes that are not UTF-8
TABLES = ("utt2spk", "spk2utt", "wav.scp", "spk2gender", "utt2session", "trials")
NO_LABELS = {*TABLES, "utt2dur", "utt2num_frames", "utt2uniq", "utt2warp"}  # tables that say something else


@dataclass
class Recording:
    path: str
    spk: str  # its id; that of the utterance, where the speakers are not known
    group: str  # the speaker or, where they are not known, the class, as the folder names it
    session: str | None
    label: str | None


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("folder", type=Path, help="folder of the recordings")
    parser.add_argument("out", type=Path, help="folder of the data directories, made")
    parser.add_argument("--layout", choices=LAYOUTS, default="spk", help="what the folders of the first levels are")
    parser.add_argument("--label", metavar="utt2X", default="utt2label", help="layouts with classes: the table they go to")
    parser.add_argument("--valid", type=share, default="0.1", help="speakers (layout class: utterances) to validate with; see --test")
    parser.add_argument("--test", type=share, default="0.2", help="to test with: a share (0.2; 1.0: all), a number (20; 0: none) or a file with a name a line")
    parser.add_argument("--seed", type=count, default=0, help="of the choice of speakers and of the trials")
    parser.add_argument("--min-utts", type=positive_int, default=1, help="leave out speakers (layout class: classes) with fewer recordings")
    parser.add_argument("--extensions", type=endings, default="wav,flac,ogg,opus,mp3,m4a", help="endings of recordings, in small or capital letters")
    parser.add_argument("--spk2gender", type=Path, help="table of the speakers' sexes (default: that of the folder, where there is one)")
    parser.add_argument("--num-targets", type=positive_int, default=100000, help="target trials of a set at most, spread over its speakers")
    parser.add_argument("--nontargets-per-target", type=positive_int, default=2, help="non-target trials for each target trial, where there are as many")
    parser.add_argument("--overwrite", type=boolean, default=False, help="make anew where it was made otherwise")
    args = parser.parse_args()
    if not (args.label.startswith("utt2") and args.label.isidentifier()) or args.label in NO_LABELS:
        parser.error(f"argument --label: the name of a table such as utt2label or utt2age expected, not '{args.label}'")
    if args.spk2gender and args.layout == "class":
        parser.error("argument --spk2gender: in layout class the speakers are not known")
    for one, other in (("valid", "test"), ("test", "valid")):
        if is_all(getattr(args, one)) and number_of(getattr(args, other)) != 0:
            parser.error(f"argument --{one}: all leaves nothing for --{other} {getattr(args, other)}; pass --{other} 0")
    return args


def share(text):
    """A share, a number or a file of names; kept as text, see number_of."""
    number = number_of(text)
    if number is None and not os.path.isfile(text):
        raise argparse.ArgumentTypeError(f"a share (0.2), a whole number or a file of names expected; there is no file '{text}'")
    if number is not None and not (number >= 0 if isinstance(number, int) else 0 < number <= 1):
        raise argparse.ArgumentTypeError(f"a share from 0.0 to 1.0 or a whole number expected, not '{text}'")
    return text


def number_of(text):
    """A whole number as int, a share as float (0 for 0.0), None for anything else. 1 is one speaker, 1.0 all."""
    for kind in (int, float):
        try:
            return kind(text) or 0
        except ValueError:
            continue
    return None


def is_all(text):
    return isinstance(number_of(text), float) and number_of(text) == 1


def is_undivided(args):
    """Whether nothing is held out; one speaker is then enough."""
    return number_of(args.valid) == number_of(args.test) == 0


def endings(text):
    found = {"." + word.strip().lstrip(".").lower() for word in text.split(",")}
    if "." in found:
        raise argparse.ArgumentTypeError(f"endings such as wav,flac expected, not '{text}'")
    return tuple(sorted(found))


def main():
    args = parse_args()
    if not args.folder.is_dir():
        raise Fail(f"{args.folder}: no such folder")
    folder, out = args.folder.resolve(), args.out.resolve()
    if out == folder or folder in out.parents:
        raise Fail(f"{args.out}: lies in the folder of the recordings; name another place for the data directories")
    paths, left_out = list_recordings(folder, args)
    recordings = describe(folder, paths, args)
    left_out += drop_small(recordings, args)
    sexes = read_sexes(recordings, args)
    sets = divide(recordings, sexes, args)
    marker = marker_of(recordings, args)
    marker.lock()
    if marker.is_done(args.overwrite):
        print(f"make_folder: {args.out} is prepared")
        return

    marker.claim([args.out / name / "utt2spk" for name in SETS], args.overwrite)
    marker.begin()
    withdraw_tables(args)
    made = [args.out / "left_out.tsv"]
    write_left_out(made[0], folder, left_out)
    for name, utts in sets.items():
        made += write_set(args.out / name, {utt: recordings[utt] for utt in utts}, sexes, args)
    marker.finish(made)
    if len(names := {recording.spk for recording in recordings.values()}) == 1:
        print(f"make_folder: one speaker only, '{min(names)}': data to enrol, not to train on")
    if left_out:
        print(f"make_folder: left out: {left_in_words(left_out)}; listed in {made[0]}")
    print(f"make_folder: names only were read; to open every recording: utils/validate_data_dir.py --check-audio true {args.out / next(iter(sets))}")


def marker_of(recordings, args):
    numbers = {name: number_of(getattr(args, name)) for name in ("valid", "test")}
    files = {f"the file of --{name}": getattr(args, name) for name, number in numbers.items() if number is None}
    if path := sexes_path(args):
        files["spk2gender"] = path
    inputs = {"recordings": sha256_of_sizes(recording.path for recording in recordings.values())}
    inputs |= {what: sha256(path) for what, path in files.items()}
    options = options_of(args, without=("folder", "out", "spk2gender")) | {
        name: "a file" if number is None else str(number) for name, number in numbers.items()
    }
    return Marker(args.out / ".done/make_folder.json", options, inputs)


# ---- what is in the folder


def list_recordings(folder, args):
    """-> ([path relative to the folder, …], [(path, why it is left out), …]). Fails on what is there twice by a link: a recording has one speaker."""
    found, left_out, seen, folders = [], [], {}, []
    waiting = [str(folder)]
    while waiting:
        place = waiting.pop()
        check_once(place, os.stat(place), seen)
        folders.append(os.path.relpath(place, folder))
        for entry in os.scandir(place):
            ending = os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith("."):
                left_out.append((entry.path, "hidden"))
            elif entry.is_dir():
                waiting.append(entry.path)
            elif ending in args.extensions:
                check_recording(entry, seen)
                found.append(os.path.relpath(entry.path, folder))
            else:
                left_out.append((entry.path, ending or "no ending"))
    if not found:
        kinds = f" (left out: {left_in_words(left_out)})" if left_out else ""
        raise Fail(f"{folder}: no file of it ends in {' '.join(args.extensions)}{kinds}; name other endings with --extensions")
    full = {parent for path in found for parent in parents(path)}
    empty = {path for path in folders if path not in full and path.count("/") <= args.layout.count("/")} - {"."}
    left_out += [(str(folder / path), "folder without recordings") for path in empty if os.path.dirname(path) not in empty]
    return sorted(found), left_out


def parents(path):
    while path := os.path.dirname(path):
        yield path


def check_recording(entry, seen):
    if BAD_IN_A_PATH.search(entry.path):
        raise Fail(f"{ascii(entry.path)}: a line break, another control character or a byte that is not UTF-8 in the name; rename it")
    if not entry.is_file():
        raise Fail(f"{entry.path}: a link to nothing, or no file of bytes; mend or remove it")
    status = entry.stat()
    if status.st_size == 0:
        raise Fail(f"{entry.path}: an empty file; get it anew, or remove it")
    check_once(entry.path, status, seen)


def check_once(path, status, seen):
    known = seen.setdefault((status.st_dev, status.st_ino), path)
    if known != path:
        first, second = sorted((known, path))
        raise Fail(f"{second}: is {first} once more, by a link; remove one of them")


def describe(folder, paths, args):
    """-> {utt: Recording} in the order of the ids. Fails where a file lies above its level, and where two have one id."""
    levels, recordings = args.layout.split("/"), {}
    for path in paths:
        names = path.split("/")
        if len(names) <= len(levels):
            shape = "".join(f"<{level}>/" for level in levels)
            raise Fail(f"{folder / path}: {folder}/{shape}… expected; move it, or choose another --layout")
        level = dict(zip(levels, names, strict=False))
        spk = level.get("spk")
        utt = utt_id(path, spk)
        if utt in recordings:
            raise Fail(f"{folder / path}: {recordings[utt].path} has its id, {utt}; remove one of them, or name one ending in --extensions")
        session = word(level["session"]) if "session" in level else None
        label = word(level["class"]) if "class" in level else None
        recordings[utt] = Recording(str(folder / path), spk_id(spk) if spk else utt, spk or level["class"], session, label)
    return dict(sorted(recordings.items()))


def word(name):
    """A name as a value of a table: itself, but where it has blanks or the like. Different names stay different."""
    return name if is_id(name) and "=" not in name else spk_id(name)


def drop_small(recordings, args):
    """Remove the recordings of speakers (layout class: of classes) that have too few -> [(path, why), …]"""
    numbers = Counter(recording.group for recording in recordings.values())
    if max(numbers.values()) < args.min_utts:
        raise Fail(f"{args.folder}: --min-utts {args.min_utts} leaves nothing, the most recordings of a {group_name(args)} are {max(numbers.values())}")
    small = [utt for utt, recording in recordings.items() if numbers[recording.group] < args.min_utts]
    return [(recordings.pop(utt).path, f"of a {group_name(args)} with fewer than {args.min_utts}") for utt in small]


def group_name(args):
    return "class" if args.layout == "class" else "speaker"


def sexes_path(args):
    path = args.spk2gender or args.folder / "spk2gender"
    return path if args.layout != "class" and (args.spk2gender or path.is_file()) else None


def read_sexes(recordings, args):
    """-> {spk: m or f}; empty where the sexes are not known. The table names speakers as the folder does, or by their ids."""
    path = sexes_path(args)
    if path is None:
        return {}
    speakers = {recording.spk for recording in recordings.values()}
    sexes = {}
    for number, (name, sex) in enumerate(read_table(path).items(), 1):
        if sex not in ("m", "f"):
            raise Fail(f"{path}:{number}: '{name}': m or f expected, not '{sex[:40]}'")
        sexes[meant(name, speakers)] = sex
    if missing := speakers - sexes.keys():
        raise Fail(f"{path}: '{min(missing)}' is not in it ({len(missing)} such); add the sex of every speaker, or do without the table")
    return {spk: sexes[spk] for spk in speakers}


def meant(name, ids):
    """The id of the one whom a table or list calls `name`: so the folder is called, or it is the id itself."""
    return spk_id(name) if spk_id(name) in ids else name


# ---- who is in which set


def divide(recordings, sexes, args):
    """-> {set: [utt, …]}, sets without any left out. What is divided are speakers; where they are not known, utterances."""
    check_levels(recordings, args)
    strata = strata_of(recordings, sexes)
    chosen = {name: listed(getattr(args, name), strata) for name in ("test", "valid") if number_of(getattr(args, name)) is None}
    for name in ("test", "valid"):
        if name not in chosen:
            taken = set().union(*chosen.values())
            chosen[name] = draw(name, {spk: stratum for spk, stratum in strata.items() if spk not in taken}, len(strata), args)
    if both := chosen["test"] & chosen["valid"]:
        raise Fail(f"{args.test}: '{min(both)}' is in {args.valid} too")
    chosen["train"] = strata.keys() - chosen["test"] - chosen["valid"]
    check_numbers(chosen, args)
    set_of = {spk: name for name, speakers in chosen.items() for spk in speakers}
    sets = {name: [] for name in SETS if chosen[name]}
    for utt, recording in recordings.items():
        sets[set_of[recording.spk]].append(utt)
    check_classes(recordings, sets, args)
    return sets


def strata_of(recordings, sexes):
    """{speaker: its stratum}, of which each set is to have a fair part: the speaker's classes and sex, as far as they are known."""
    labels = {}
    for recording in recordings.values():
        labels.setdefault(recording.spk, set()).add(recording.label or "")
    return {spk: (*sorted(labels[spk]), sexes.get(spk, "")) for spk in labels}


def check_levels(recordings, args):
    """Fail where there is nothing to tell apart, most often because a folder above the right one was named, and on labels that no table takes."""
    found = recordings.values()
    for what, names in (("class", {recording.label for recording in found}), ("speaker", {recording.spk for recording in found})):
        may_be_one = what == "speaker" and is_undivided(args)
        if len(names) == 1 and None not in names and not may_be_one:
            whole = "; or pass --valid 0 --test 0 for data to enrol" if what == "speaker" else ""
            raise Fail(f"{args.folder}: one {what} only, '{min(names)}'; name the folder in which each {what} has its own, or choose another --layout{whole}")
    accept, expected = value_rule(args.label)
    for recording in found:
        if recording.label is not None and accept and not accept(recording.label):
            raise Fail(f"{args.folder}: class '{recording.label}' cannot go to {args.label}, {expected} expected; choose another --label")


def check_classes(recordings, sets, args):
    trained = {recordings[utt].label for utt in sets.get("train", recordings)}
    if strange := {recording.label for recording in recordings.values()} - trained:
        raise Fail(f"{args.folder}: nothing of class '{min(strange)}' would be left to train on; lower --valid and --test, or choose another --seed")


def listed(path, known):
    names = {meant(name, known) for name in read_names(path)}
    if missing := names - known.keys():
        raise Fail(f"{path}: '{min(missing)}' is not in the folder, or is left out ({len(missing)} such)")
    return names


def draw(name, free, total, args):
    """Choose a set of the speakers {speaker: stratum}: of each stratum its part, those whose names and the seed give the smallest hashes."""
    asked = number_of(getattr(args, name))
    number = asked if isinstance(asked, int) else min(total, max(2, round(asked * total)))
    rows = {}
    for spk in sorted(free, key=lambda spk: hashlib.sha256(f"{args.seed} {spk}".encode()).digest()):
        rows.setdefault(free[spk], []).append(spk)
    kept = "class" in args.layout and not is_all(getattr(args, name))  # one of each class, to train on
    room = {stratum: len(row) - (kept and len(stratum) == 2) for stratum, row in rows.items()}
    if number > sum(room.values()):
        left = f"{sum(room.values())} left to choose from" + (", with one of each class kept to train on" if kept else "")
        raise Fail(f"{args.folder}: --{name} {getattr(args, name)} asks for {number} of {total} {units(args)}, {left}; lower it, or add recordings")
    due = {stratum: number * len(row) / len(free) for stratum, row in rows.items()}
    taken = {stratum: min(room[stratum], int(due[stratum])) for stratum in room}
    for _ in range(number - sum(taken.values())):
        taken[max((stratum for stratum in room if taken[stratum] < room[stratum]), key=lambda stratum: due[stratum] - taken[stratum])] += 1
    return {spk for stratum, row in rows.items() for spk in row[: taken[stratum]]}


def check_numbers(chosen, args):
    """Fail where a set is too small for what it is for."""
    total = f"{args.folder}: of {sum(map(len, chosen.values()))} {units(args)}"
    if len(chosen["train"]) < 2 and not is_all(args.valid) and not is_all(args.test) and not is_undivided(args):
        raise Fail(f"{total}, {len(chosen['train'])} would be left to train on; lower --valid and --test, or add recordings")
    for name in ("valid", "test"):
        if has_trials(args) and len(chosen[name]) == 1:
            raise Fail(f"{total}, one would be for {name}; trials need two: raise --{name}, or pass --{name} 0")


def units(args):
    return "utterances" if args.layout == "class" else "speakers"


def has_trials(args):
    return "class" not in args.layout


# ---- what is written


def withdraw_tables(args):
    """Take away the tables of an older division while they are replaced: who finds them can trust them."""
    for name in SETS:
        for table in (*TABLES, args.label):
            (args.out / name / table).unlink(missing_ok=True)


def write_left_out(path, folder, left_out):
    with whole_file(path) as file:
        file.write("path\twhy\n")
        for left, why in sorted(left_out):
            file.write(f"{one_line(os.path.relpath(left, folder))}\t{one_line(why)}\n")


def one_line(text):
    return BAD_IN_A_PATH.sub(lambda match: ascii(match[0])[1:-1], text)


def left_in_words(left_out):
    return ", ".join(f"{number} {one_line(why)}" for why, number in Counter(why for _, why in left_out).most_common())


def write_set(path, recordings, sexes, args):
    """Write a data directory, with trials where they can be drawn -> the paths of its tables."""
    utt2spk = {utt: recording.spk for utt, recording in recordings.items()}
    tables = {}
    if sexes:
        tables["spk2gender"] = {spk: sexes[spk] for spk in utt2spk.values()}
    if "session" in args.layout:
        tables["utt2session"] = {utt: recording.session for utt, recording in recordings.items()}
    if "class" in args.layout:
        tables[args.label] = {utt: recording.label for utt, recording in recordings.items()}
    write_data_dir(path, {utt: recording.path for utt, recording in recordings.items()}, utt2spk, **tables)
    made = [path / name for name in ("wav.scp", "utt2spk", "spk2utt", *tables)]
    words = [f"{len(utt2spk)} utterances" + ("" if args.layout == "class" else f" of {len(set(utt2spk.values()))} speakers")]
    if "class" in args.layout:
        words.append(classes_in_words(Counter(tables[args.label].values())))
    if has_trials(args) and path.name != "train":
        words.append(write_trials_of(path, args))
        made.append(path / "trials")
    print(f"make_folder: {path}: {'; '.join(words)}")
    return made


def classes_in_words(numbers):
    if len(numbers) > 10:
        return f"{len(numbers)} classes of {min(numbers.values())} to {max(numbers.values())}"
    return ", ".join(f"{number} {label}" for label, number in sorted(numbers.items()))


def write_trials_of(path, args):
    """Draw the trials of a data directory -> what they are, in words."""
    data = DataDir(path)
    trials = draw_trials(data, args.seed, args.nontargets_per_target, num_targets=args.num_targets)
    write_trials(path / "trials", trials)
    with_target = {data.utt2spk[enrol] for enrol, _, label in trials if label}
    targets = sum(label for _, _, label in trials)
    alone = len(data.spk2utt) - len(with_target)
    note = f", no target trial of {alone} of the speakers" if alone else ""
    return f"{targets} target and {len(trials) - targets} nontarget trials{note}"


if __name__ == "__main__":
    run(main)
