"""Parallel steps: a step given `--nj N --cmd RUNNER` submits itself as JOB=1:N and joins what came back.

RUNNER is utils/submit.py or any program with the command line of Kaldi's run.pl, queue.pl and slurm.pl.
"""

import argparse
import contextlib
import hashlib
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
from pytorch.progress import LINE


def add_job_options(parser):
    parser.add_argument("--nj", type=positive_int, help="number of parallel jobs; without it the work is done in place")
    parser.add_argument("--cmd", default="submit.py", help="runner of the jobs: utils/submit.py, or a site's run.pl, queue.pl, slurm.pl")
    parser.add_argument("--job", type=positive_int, help=argparse.SUPPRESS)  # which of --nj this process is; set by submit()


def submit(args, log_folder):
    """Run this very command line as args.nj jobs and wait. Logs: <log_folder>/<program>.JOB.log. Fails if a job failed."""
    words = [sys.executable, str(_program()), *_without_cmd(sys.argv[1:])]
    log = str(_log(log_folder))
    name = "JOB"
    while any(name in word for word in [*words, log]):  # runners replace the name wherever it stands, in a path too
        name += "_"
    for job in range(1, args.nj + 1):
        Path(f"{log}.{job}.log").unlink(missing_ok=True)  # an old one would be taken for progress
    words[2:2] = ["--job", name]
    process = subprocess.Popen([*_runner(args.cmd), f"{name}=1:{args.nj}", f"{log}.{name}.log", *map(quote, words)])
    threading.Thread(target=_show_progress, args=(log, args.nj, process), daemon=True).start()
    if _wait(process) != 0:
        raise Fail(f"jobs failed, see {log}.*.log; started again, only what is missing is done")


def submit_alone(args, log_folder):
    """Run this very command line as one job, show its log as it grows, and wait. Log: <log_folder>/<program>.log."""
    log = _log(log_folder).with_suffix(".log")
    lock = hold(log.with_suffix(".lock"), _program().stem)  # the log is one submission's at a time
    if log.exists():  # of a run that was interrupted: kept
        log.rename(log.with_name(f"{log.stem}.{1 + len(list(log.parent.glob(f'{log.stem}.*.log')))}.log"))
    print(f"{_program().stem}: log in {log}", flush=True)
    words = [sys.executable, str(_program()), "--job", "1", *_without_cmd(sys.argv[1:])]
    process = subprocess.Popen([*_runner(args.cmd), str(log), *map(quote, words)])
    follower = threading.Thread(target=_follow, args=(log, process), daemon=True)
    follower.start()
    status = _wait(process)
    follower.join()
    lock.close()
    if status != 0:
        raise Fail(f"the job failed, see {log}; started again, it goes on from where it was saved")


def _program():
    return Path(sys.argv[0]).resolve()


def _log(folder):
    log = Path(folder).resolve() / _program().stem
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
    except (KeyboardInterrupt, Terminated):
        process.terminate()
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

    part_inputs: {input of the marker: function of share}, for inputs of which a part needs only its share (an audio file that is mended
    then spoils only the share it is in); share(items) picks the job's of all items
    """

    def __init__(self, args, marker, folder, name, part_inputs=None):
        self.args, self.marker, self.folder, self.name = args, marker, Path(folder), name
        self.nj, self.job = args.nj or 1, args.job or 1
        self.is_worker = args.job is not None
        self.part_inputs = part_inputs or {}
        marker.asked["inputs"]["folder"] = str(self.folder.resolve())  # the scp names the archives by their whole path
        common = {key: value for key, value in marker.asked["inputs"].items() if key not in self.part_inputs}
        asked = hashlib.sha256(json.dumps([marker.asked["options"], common], sort_keys=True).encode()).hexdigest()
        self.parts = self.folder / ".parts" / f"{marker.path.stem}-{asked[:12]}"
        self.ark, self.scp = self._part(f"{name}.ark", self.job), self._part(f"{name}.scp", self.job)
        self._tables = []

    def is_done(self):
        """For the step as a whole: lock it, then True where nothing is to be done. A worker's own share is looked at in work()."""
        if self.is_worker:
            return False
        self.marker.lock()
        if self.marker.is_done(self.args.overwrite):
            return True
        self.marker.claim([self.folder / f"{self.name}.scp"], self.args.overwrite)
        if self.args.overwrite:
            self._clear_parts()
        self.marker.begin()
        return False

    def work(self, compute, log_folder):
        """Do this job's share with compute(share); or submit all jobs and wait. Fail where a share did not come back."""
        if self.args.nj and not self.is_worker:
            submit(self.args, log_folder)
        else:
            marker = self._part_marker(self.job)
            marker.lock()
            if not marker.matches():
                compute(self._share(self.job))
                marker.finish([self.ark, self.scp, *self._tables])
        if not self.is_worker:
            if lost := [str(job) for job in self._jobs() if not self._part_marker(job).matches()]:
                raise Fail(f"{self.folder}: of {self.nj} jobs, these did not come back: {', '.join(lost[:20])}; see {log_folder}, run again")
            (self.folder / f"{self.name}.scp").unlink(missing_ok=True)  # what an earlier run made gives way; scp first, so that none is read half

    def write_digests(self, ark):
        """Keep what an ArkWriter has written, as digests: finish() makes one of all, <folder>/<name>.sha256, by which later steps see a change."""
        self.write_table("digests", ark.digests)

    def write_table(self, name, table):
        """Write this job's part of a table."""
        path = self._part(name, self.job)
        write_table(path, table)
        self._tables.append(path)

    def join_tables(self, name):
        """The parts of all jobs as one table."""
        return {key: value for job in self._jobs() for key, value in self._read_part(name, job).items()}

    def finish(self, keys, outputs):
        """Check that all `keys` came back, write the scp and the marker, remove the parts and what an earlier split left."""
        scp, arks, places = self.folder / f"{self.name}.scp", [], {}
        for job in self._jobs():
            arks.append(self.folder.resolve() / (f"{self.name}.ark" if self.nj == 1 else f"{self.name}.{job}.ark"))
            places |= {key: f"{arks[-1]}:{place.rpartition(':')[2]}" for key, place in self._read_part(f"{self.name}.scp", job).items()}
        if missing := [key for key in keys if key not in places]:
            raise Fail(f"{self.folder}: {len(missing)} of {len(keys)} utterances did not come back: {', '.join(missing[:5])}; see the logs, run again")
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
        self.marker.finish([scp, content, *arks, *outputs])
        self._clear_parts()

    def _jobs(self):
        return range(1, self.nj + 1)

    def _share(self, job):
        return lambda items: items[job - 1 :: self.nj]  # neighbours, of like length, spread over the jobs

    def _part(self, name, job):
        return self.parts / f"{name}.{job}-of-{self.nj}"

    def _part_marker(self, job):
        inputs = {**self.marker.asked["inputs"], **{name: of(self._share(job)) for name, of in self.part_inputs.items()}}
        return Marker(self.parts / ".done" / f"{self.marker.path.stem}.{job}-of-{self.nj}.json", self.marker.asked["options"], inputs)

    def _read_part(self, name, job):
        path = self._part(name, job)
        return read_table(path, REST) if not path.exists() or path.stat().st_size else {}  # a job may have had nothing to do

    def _clear_parts(self):
        """Remove the parts of this step, whatever was asked, and not those of another at work in the same folder."""
        for old in self.parts.parent.glob(f"{self.marker.path.stem}-*"):
            shutil.rmtree(old, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.parts.parent.rmdir()
