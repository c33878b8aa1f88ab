"""Parallel steps: a step given `--nj N --cmd RUNNER` submits itself as JOB=1:N and joins what came back.

RUNNER is utils/submit.py or any program with the command line of Kaldi's run.pl, queue.pl and slurm.pl.
"""

import argparse
import contextlib
import hashlib
import heapq
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from pytorch.data.data_dir import REST, read_table, write_table
from pytorch.files import whole_file
from pytorch.marker import Marker, hold
from pytorch.program import ROOT, Fail, Terminated, positive_int
from pytorch.progress import LINE, track

NOT_STARTED = "no job was started, see above; mend --cmd or what it asks for, and run again"
SHOWN = 20  # reasons of failures; all of them are in a file


def add_job_options(parser):
    parser.add_argument("--nj", type=positive_int, help="number of parallel jobs; without it the work is done in place")
    parser.add_argument("--cmd", default="submit.py", help="runner of the jobs: utils/submit.py, or a site's run.pl, queue.pl, slurm.pl")
    parser.add_argument("--job", type=positive_int, help=argparse.SUPPRESS)  # which of --nj this process is; set by submit()


def submit(args, log_folder, name_of_log=None):
    """Run this very command line as args.nj jobs and wait. Logs: <log_folder>/<program, or name_of_log>.JOB.log. Fails if a job failed."""
    words = [sys.executable, str(_program()), *_without_cmd(sys.argv[1:])]
    log = str(_log(log_folder, name_of_log))
    name = "JOB"
    while any(name in word for word in [*words, log]):  # runners replace the name wherever it stands, in a path too
        name += "_"
    runner = _runner(args.cmd)
    if not {"slurm", "sge"} & set(runner):  # there, jobs of an earlier run may still write; submit.py looks after it
        for job in range(1, args.nj + 1):
            Path(f"{log}.{job}.log").unlink(missing_ok=True)  # an old one would be taken for progress
    words[2:2] = ["--job", name]
    process = subprocess.Popen([*runner, f"{name}=1:{args.nj}", f"{log}.{name}.log", *map(quote, words)])
    threading.Thread(target=_show_progress, args=(log, args.nj, process), daemon=True).start()
    if _wait(process) != 0:
        if not any(Path(f"{log}.{job}.log").exists() for job in range(1, args.nj + 1)):
            raise Fail(NOT_STARTED)
        raise Fail(f"jobs failed, see {log}.*.log; started again, only what is missing is done")


def submit_alone(args, log_folder, resources=()):
    """Run this very command line as one job, show its log as it grows, and wait. Log: <log_folder>/<program>.log.

    resources: options of the runner, as --gpu 2, that come before those of args.cmd, which win
    """
    log = _log(log_folder).with_suffix(".log")
    lock = hold(log.with_suffix(".lock"), _program().stem)  # the log is one submission's at a time
    if log.exists() and not is_found_again(log_folder, log.stem):  # of a run that was interrupted: kept
        log.rename(log.with_name(f"{log.stem}.{1 + len(list(log.parent.glob(f'{log.stem}.*.log')))}.log"))
    print(f"{_program().stem}: log in {log}", flush=True)
    words = [sys.executable, str(_program()), "--job", "1", *_without_cmd(sys.argv[1:])]
    runner = _runner(args.cmd)
    program = 2 if runner[0] == sys.executable else 1
    process = subprocess.Popen([*runner[:program], *resources, *runner[program:], str(log), *map(quote, words)])
    follower = threading.Thread(target=_follow, args=(log, process), daemon=True)
    follower.start()
    status = _wait(process)
    follower.join()
    lock.close()
    if status != 0:
        if not log.exists():
            raise Fail(NOT_STARTED)
        raise Fail(f"the job failed, see {log}; started again, it goes on from where it was saved")


def is_found_again(log_folder, name):
    """True where submit.py has kept how to find jobs of an earlier start: they may still write these logs, or have ended meanwhile."""
    return (Path(log_folder).resolve().parent / "q" / f"{name}.json").exists()


def _program():
    return Path(sys.argv[0]).resolve()


def _log(folder, name=None):
    log = Path(folder).resolve() / (name or _program().stem)
    log.parent.mkdir(parents=True, exist_ok=True)
    return log


def _runner(cmd):
    """The runner's command line, its program absolute: utils/ is looked into before PATH."""
    runner = shlex.split(cmd)
    if not runner:
        raise Fail("--cmd: empty")
    found = shutil.which(runner[0], path=f"{ROOT}/utils:{os.environ.get('PATH', '')}")
    if found is None:
        raise Fail(f"--cmd {cmd}: no program '{runner[0]}'")
    return [*([sys.executable] if found.endswith(".py") else []), found, *runner[1:]]


def _wait(process):
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    except Terminated as stopped:
        process.send_signal(*stopped.args)  # a lost terminal (HUP) leaves jobs on a cluster running
        process.wait()
        raise


def _show_progress(log, nj, process):
    """While jobs run, add up every so often what their logs say of their progress (see progress.py)."""
    while process.poll() is None:
        time.sleep(15)
        found = [LINE.findall(path.read_text(errors="replace")) for job in range(1, nj + 1) if (path := Path(f"{log}.{job}.log")).exists()]
        last = [lines[-1] for lines in found if lines]
        if last and process.poll() is None:
            done, total = (sum(int(line[place]) for line in last) for place in (0, 1))
            share = f"{done} of {total} {last[0][2]} ({100 * done / total:.0f} %)"
            print(f"  {share} in {len(last)} of {nj} jobs, logs in {log}.*.log", file=sys.stderr, flush=True)


def _follow(log, process):
    """Print what a job writes to its log (not the runner's own # lines) until the job has ended and all is read."""
    place = 0
    ended = False
    while not ended:
        ended = process.poll() is not None
        if log.exists():
            with open(log, "rb") as file:
                file.seek(place)
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            place += len(whole)
            for line in whole.decode(errors="replace").splitlines():
                if not line.startswith("#"):
                    print(line, flush=True)
        if not ended:
            time.sleep(0.3)


def _without_cmd(words):
    kept, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word == "--cmd":
            skip = True
        elif not word.startswith("--cmd="):
            kept.append(word)
    return kept


def quote(word):
    """A word that reaches the program unchanged through runners that hand arguments without blanks to bash as they stand
    (kaldi.pl's rule: a word with blanks is put in double quotes, where $ still expands): no blanks are left in it."""
    if re.fullmatch(r"[A-Za-z0-9_./:=,@%+-]+", word):
        return word
    return "$'" + "".join(char if char.isalnum() and char.isascii() else "".join(f"\\x{byte:02x}" for byte in os.fsencode(char)) for char in word) + "'"


class Shards:
    """A parallel step that makes archives: each job its share, then one scp over all.

    With one job the archive is <folder>/<name>.ark, with several <name>.JOB.ark; the scp is <name>.scp, the same keys and values either way.
    Until all shares are done they lie in <folder>/.parts/<step>-<hash of what was asked>: what an earlier run made stays whole, and no value
    of one run gets among those of another. A finished share has its own marker there, so a second run does only what is missing.

    keys: the ids that shall come back
    tables: names of the tables that compute() fills beside the archive
    source_of(key): fingerprint of what a value is made of, for steps that read recordings: a recording that cannot be read then does not stop the others,
    and a second run, of any split, computes only those that failed, were added or have changed; one that only came or went does not make it another step
    compress: Kaldi's compression method for matrices, 0 for none
    writer, reader: the classes of the archive, where it is not one of arrays
    """

    def __init__(self, args, marker, folder, name, keys, tables=(), source_of=None, compress=0, writer=None, reader=None):
        self.args, self.marker, self.folder, self.name, self.keys = args, marker, Path(folder), name, keys
        self.tables, self.source_of, self.compress, self.writer, self.reader = tables, source_of, compress, writer, reader
        if args.nj:
            args.nj = min(args.nj, len(keys))
        self.nj, self.job = args.nj or 1, args.job or 1
        self.is_worker = args.job is not None
        marker.asked["inputs"]["folder"] = str(self.folder.resolve())  # the scp names the archives by their whole path
        self._inputs = {"folder": marker.asked["inputs"]["folder"]} if source_of else marker.asked["inputs"]  # of a part
        self.parts = self.folder / ".parts" / f"{marker.path.stem}-{hash_of(marker.asked['options'], self._inputs)}"

    def is_done(self):
        """For the step as a whole: lock it, then True where nothing is to be done. A worker's own share is looked at in work()."""
        if self.is_worker:
            return False
        self.marker.lock()
        if not self.args.overwrite and self._has_same_sources():
            if self._recorded().keys() == set(self.keys) and self.marker.is_whole():
                self.marker.adopt()
                return True
            self.marker.begin()
            return False
        if self.marker.is_done(self.args.overwrite):
            self._clear_parts()  # of a run that was killed at its very end
            return True
        self.marker.claim([self.folder / f"{self.name}.scp"], self.args.overwrite)
        if self.args.overwrite or not self.marker.is_under_way():  # else what was to be added to a finished archive still is
            self._forget_result()
        self.marker.begin()
        return False

    def _has_same_sources(self):
        """True where the step was done with these options and no recording has changed: utterances have come or gone, or failed before."""
        if not self.source_of or not self.marker.differs_only_in(("wav.scp", "segments", "audio")):
            return False
        recorded = self._recorded()
        return bool(recorded) and all(recorded[key][0] == self.source_of(key) for key in self.keys if key in recorded)

    def _recorded(self):
        """{key: [source, values of the tables, place]} of the finished archive, where it was made with these options."""
        path = self._sources_path()
        return {key: values.split("\t") for key, values in read_table(path, REST).items()} if path.exists() else {}

    def _forget_result(self):
        for path in self.marker.path.parent.glob(f"{self.marker.path.stem}-*.sources"):
            path.unlink()

    def _sources_path(self):
        return self.marker.path.with_name(f"{self.parts.name}.sources")

    def work(self, compute, log_folder, items=None, what="utterances", weight_of=None, group_of=None, max_fail=0):
        """Do this job's share, or submit all jobs and wait. Fail where a share did not come back, or more than max_fail keys failed.

        compute(items) yields (key, array or Fail, {table: value}) in the order of the keys
        items(): what is shared out and given to compute, `what` by name; the keys, where it is not given
        weight_of(item): how much work it is; group_of(item): items that one job should have together
        Returns {key: message} of the keys that failed.
        """
        if self.args.overwrite and not self.is_worker and not is_found_again(log_folder, self.marker.path.stem):
            self._clear_parts()
        if self.args.nj and not self.is_worker:
            submit(self.args, log_folder)
        else:
            self._work_share(compute, deal(items() if items else self.keys, self.nj, self.job, weight_of, group_of), what)
        if self.is_worker:
            return {}
        check_came_back(self.folder, self.nj, self._part_marker, log_folder)
        failed = self.join_tables("failed") if self.source_of else {}
        self._report(failed, Path(log_folder) / f"{self.marker.path.stem}.failed", max_fail)
        (self.folder / f"{self.name}.scp").unlink(missing_ok=True)  # what an earlier run made gives way; scp first, so that none is read half
        return failed

    def join_tables(self, name):
        """The parts of all jobs as one table."""
        return {key: value for job in self._jobs() for key, value in self._read_part(name, job).items()}

    def finish(self, outputs, failed=()):
        """Check that all keys but `failed` came back, write the scp and the marker, remove the parts and what an earlier split left."""
        scp, arks, places = self.folder / f"{self.name}.scp", [], {}
        for job in self._jobs():
            arks.append(self.folder.resolve() / (f"{self.name}.ark" if self.nj == 1 else f"{self.name}.{job}.ark"))
            places |= {key: f"{arks[-1]}:{place.rpartition(':')[2]}" for key, place in self._read_part(f"{self.name}.scp", job).items()}
        if missing := [key for key in self.keys if key not in places and key not in failed]:
            raise Fail(f"{self.folder}: {len(missing)} of {len(self.keys)} utterances did not come back: {', '.join(missing[:5])}; see the logs, run again")
        self._forget_result()
        for job, ark in enumerate(arks, 1):
            os.replace(self._part(f"{self.name}.ark", job), ark)
        digests = sorted(self.join_tables("digests").items())
        content = self.folder / f"{self.name}.sha256"
        with whole_file(content) as file:
            file.write(hashlib.sha256(repr(digests).encode()).hexdigest() + "\n")
        write_table(scp, places)
        for old in arks[0].parent.glob(f"{self.name}.*ark"):
            if old not in arks and re.fullmatch(rf"{re.escape(self.name)}(\.\d+)?\.ark", old.name):
                old.unlink(missing_ok=True)
        if self.source_of:
            columns = [self.join_tables(name) for name in ("sources", *self.tables)]
            write_table(self._sources_path(), {key: "\t".join([*(column[key] for column in columns), places[key]]) for key in places})
        self.marker.finish([scp, content, *arks, *outputs])
        self._clear_parts()

    def _work_share(self, compute, share, what):
        marker = self._part_marker(self.job)
        marker.lock()
        sources = {key: self.source_of(key) for key in share} if self.source_of else {}
        if marker.matches() and (not self.source_of or (self._read_part("sources", self.job) == sources and not self._read_part("failed", self.job))):
            return
        from pytorch.data.ark import ArkWriter

        kept = self._kept(sources)
        missing = [item for item in share if not self.source_of or item not in kept]
        computed = compute(track(missing, len(missing), what))
        tables, failed = {name: {} for name in self.tables}, {}
        ark, scp = self._part(f"{self.name}.ark", self.job), self._part(f"{self.name}.scp", self.job)
        found = ((key, reader, row) for key, (reader, row) in sorted(kept.items()))
        with self.writer(ark, scp) if self.writer else ArkWriter(ark, scp, compress=self.compress or None) as archive:
            for key, value, row in heapq.merge(found, computed, key=lambda entry: entry[0]):
                if isinstance(value, Fail):
                    failed[key] = str(value)
                    continue
                if key in kept:
                    archive.copy(key, value)
                else:
                    archive.write(key, value)
                for name in self.tables:
                    tables[name][key] = row[name]
            marker.begin()  # other jobs that take over from this part see that it changes
        parts = {**tables, "digests": archive.digests, "sources": sources, "failed": failed}
        for name, table in parts.items():
            write_table(self._part(name, self.job), table)
        marker.finish([ark, scp, *(self._part(name, self.job) for name in parts)])

    def _kept(self, sources):
        """What earlier runs of any split made of the same sources: {key: (reader of its archive, {table: value})}."""
        kept = self._kept_of_result(sources)
        if sources and self.parts.is_dir():
            for path in self.parts.glob(f"{self.name}.scp.*-of-*"):
                job, _, nj = path.name.removeprefix(f"{self.name}.scp.").partition("-of-")
                kept |= self._kept_of(int(job), int(nj), sources)
        return kept

    def _kept_of_result(self, sources):
        """The same of the finished archive, which stays as it is until all jobs are done."""
        scp = self.folder / f"{self.name}.scp"
        recorded = self._recorded() if sources and not self.args.overwrite else {}
        if not recorded or not scp.exists():
            return {}
        from pytorch.data.ark import ArkReader

        reader = (self.reader or ArkReader)(scp)
        if not all(Path(path).exists() for path in reader.archives()):
            return {}
        now = read_table(scp, REST)  # lines may have gone since, but not point elsewhere
        same = [key for key, source in sources.items() if key in recorded and recorded[key][0] == source and now.get(key) == recorded[key][-1]]
        return {key: (reader, dict(zip(self.tables, recorded[key][1:-1], strict=True))) for key in same}

    def _kept_of(self, job, nj, sources):
        from pytorch.data.ark import ArkReader

        marker, scp = self._part_marker(job, nj), self._part(f"{self.name}.scp", job, nj)
        if not marker.matches() or not scp.stat().st_size:
            return {}
        before = marker.path.read_bytes()
        reader, tables = (self.reader or ArkReader)(scp), {name: self._read_part(name, job, nj) for name in self.tables}
        same = [key for key, source in self._read_part("sources", job, nj).items() if sources.get(key) == source and key in reader]
        if not same or reader.shape(same[0]) is None or marker.path.read_bytes() != before:  # with the archive open: its job has not begun to replace it
            return {}
        return {key: (reader, {name: tables[name][key] for name in self.tables}) for key in same}

    def _report(self, failed, path, max_fail):
        path.unlink(missing_ok=True)
        if not failed:
            return
        write_table(path, failed)
        alike = {}
        for key, message in failed.items():
            alike.setdefault(reason_of(message), []).append(key)
        for keys in sorted(alike.values(), key=len, reverse=True)[:SHOWN]:
            more = f" (and {len(keys) - 1} more: {', '.join(keys[1:6])}{', …' if len(keys) > 6 else ''})" if len(keys) > 1 else ""
            print(f"{self.marker.path.stem}: {failed[keys[0]]}{more}", file=sys.stderr)
        if len(alike) > SHOWN:
            print(f"{self.marker.path.stem}: {SHOWN} of {len(alike)} reasons shown", file=sys.stderr)
        what = f"{self.folder}: {len(failed)} of {len(self.keys)} utterances failed, listed in {path}"
        if len(failed) == len(self.keys):
            raise Fail(f"{what}: all of them; mend {'what the line above says' if len(alike) == 1 else 'them'} and run again")
        if len(failed) > max_fail:
            raise Fail(f"{what}; the others are kept: mend or remove these and run again, or leave them out with --max-fail {len(failed)}")
        print(f"{self.marker.path.stem}: warning: {what}; they are left out", file=sys.stderr)

    def _jobs(self):
        return range(1, self.nj + 1)

    def _part(self, name, job, nj=None):
        return self.parts / f"{name}.{job}-of-{nj or self.nj}"

    def _part_marker(self, job, nj=None):
        return Marker(self.parts / ".done" / f"{self.marker.path.stem}.{job}-of-{nj or self.nj}.json", self.marker.asked["options"], self._inputs)

    def _read_part(self, name, job, nj=None):
        path = self._part(name, job, nj)
        return read_table(path, REST) if not path.exists() or path.stat().st_size else {}  # a job may have had nothing to do

    def _clear_parts(self):
        """Remove the parts of this step, whatever was asked, and not those of another at work in the same folder."""
        for old in self.parts.parent.glob(f"{self.marker.path.stem}-*"):
            shutil.rmtree(old, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.parts.parent.rmdir()


def hash_of(options, inputs):
    return hashlib.sha256(json.dumps([options, inputs], sort_keys=True).encode()).hexdigest()[:12]


def check_came_back(folder, nj, marker_of, log_folder):
    if lost := [str(job) for job in range(1, nj + 1) if not marker_of(job).matches()]:
        raise Fail(f"{folder}: of {nj} jobs, these did not come back: {', '.join(lost[:20])}; see {log_folder}, run again")


def reason_of(message):
    """What is the same of recordings that fail alike: a message without `wav.scp:1: 'utt': file: ` before it."""
    return re.sub(r"^.*?: '.*?': (.*?: )?", "", message)


def deal(items, nj, job, weight_of=None, group_of=None):
    """The share of one job: like amounts of work for all, groups kept together, the order of `items` kept.

    The heaviest groups are dealt first, to and fro: 1 2 3 3 2 1 1 2 3 …
    """
    groups = {}
    for place, item in enumerate(items):
        groups.setdefault(group_of(item) if group_of else place, []).append(place)
    if weight_of:
        weights = {group: sum(weight_of(items[place]) for place in places) for group, places in groups.items()}
        groups = dict(sorted(groups.items(), key=lambda entry: -weights[entry[0]]))
    mine = [places for turn, places in enumerate(groups.values()) if job - 1 in (turn % (2 * nj), 2 * nj - 1 - turn % (2 * nj))]
    return [items[place] for place in sorted(place for places in mine for place in places)]
