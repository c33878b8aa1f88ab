"""Jobs on a cluster: submitted as an array to Slurm or Grid Engine, waited for, found again.

What lies where, for the log exp/x/log/make_feats.JOB.log (beside the folder log, or in the log's own folder where that has another name):

    exp/x/q/make_feats.sh     the script of every task, as it was submitted
    exp/x/q/make_feats.json   of which job this is the script; there for as long as somebody waits for it
    exp/x/q/make_feats.lock   held by the submitter
    exp/x/q/make_feats-ID/    what tasks leave: N.began, N.done with exit status and seconds, N.out with what the engine itself says

A task has ended when its N.done is there. The engine is asked only now and then, for tasks that vanish without: it may forget jobs, or not answer.
A submitter that is killed or loses its terminal leaves the array running; the next one of the same command finds q/make_feats.json and waits on.
"""

import contextlib
import os
import re
import secrets
import shlex
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from pytorch.engines import sge, slurm
from pytorch.engines.commands import answer
from pytorch.engines.config import words_for
from pytorch.engines.jobs import Outcome, Stopped, again, date, end_of_log, failed_among, say
from pytorch.engines.signals import bell_of_signals, stop_heard
from pytorch.files import read_json, whole_file, write_json
from pytorch.marker import hold
from pytorch.program import ROOT, Fail

ENGINES = {"slurm": slurm, "sge": sge}
TASK = Path(__file__).with_name("task.sh")
CARRIED = ("PATH", "LC_ALL", "PYTHONUNBUFFERED", "LD_LIBRARY_PATH")  # of the environment, whatever a login shell there makes of it; the rest is the cluster's
ASK_SEC = (2, 30)  # between two questions to the engine: at first, at last
LOST_SEC, SURE_SEC = 60, 2  # how long the file of an ended task may take from its machine to this one; where the engine says that it ended badly
LEAVE_SEC = 10  # how long cancelled tasks are waited for
REPORT_SEC = 30
TRIES, PAUSE_SEC = 4, 10  # to submit, where the engine does not answer
MEMORY = r"(?i)exceeded.*memory limit|oom.?kill|out.of.memory"
MEMORY_IN_LOG = r"MemoryError|std::bad_alloc|(?:[Cc]annot|can't) allocate memory|out of memory on cpu|failed to map segment|[Tt]hread creation failed"
TIME = r"DUE TO TIME LIMIT|TIMEOUT"


class Array:
    """The jobs of one command line on a cluster.

    engine: a name of ENGINES; settings: see config.py; asked: {option: value} for them; more: words for the submitting program
    name, log, command: as in the command line, with the job's number not put in; time_sec: the limit, where there is one
    """

    def __init__(self, engine, settings, asked, more, name, log, command, limit, time_sec):
        self.engine, self.settings, self.asked, self.more = ENGINES[engine], settings, asked, more
        self.name, self.log, self.command, self.limit, self.time_sec = name or "", log, command, limit, time_sec
        self.home, self.stem = _places(self.log, self.name)
        self.state = self.home / f"{self.stem}.json"
        self.request = {"engine": engine, "name": self.name, "log": self.log, "command": command, "folder": os.getcwd()}
        self.job = self.title = self.numbers = self.bell = None

    # ---- the whole

    def run(self, jobs, outcomes, retries=0, stop_early=False):
        """Run jobs and set outcomes[number] of each; on INT and TERM they are cancelled, on HUP left running, and Stopped is raised."""
        self.home.mkdir(parents=True, exist_ok=True)
        lock = hold(self.home / f"{self.stem}.lock", self.stem)
        self.bell = bell_of_signals()  # only now: while it waits for the lock, a signal ends it as usual
        for job in jobs:
            os.makedirs(os.path.dirname(job.log) or ".", exist_ok=True)
        self._take_up(jobs, outcomes, stop_early)
        waiting = [job for job in jobs if job.number not in outcomes]
        for left in range(retries, -1, -1):
            if waiting:
                self._submit(waiting)
                self._wait(outcomes, stop_early)
            waiting = failed_among(jobs, outcomes)
            if not left or not waiting or stop_early:
                break
            again(waiting, len(jobs), outcomes, left)
        lock.close()

    def _take_up(self, jobs, outcomes, stop_early):
        """Wait for the array of an earlier submitter of this command, which was killed or lost its connection."""
        if not self.state.exists():
            return
        found = read_json(self.state)
        self.title, self.numbers = found["title"], found["numbers"]
        engine = ENGINES[found["request"]["engine"]]
        self.job = found["job"] or engine.find(self.title)
        states = engine.states(self.job) if self.job else {}
        if found["request"] != self.request:
            if states is None or states:
                cancel = f"wait for it, or end it with '{engine.CANCEL} {self.job}'"
                what = f"job {self.job} of an earlier, different command writes this log ({self.state})"
                raise Fail(f"{self.log}: {what}; {cancel}")
            self._forget()
            return
        ended = self._ended()
        if not ended and not states and states is not None:
            self._forget()  # it never came to be, or was lost before anything ran
            return
        if states == {} and len(ended) == len(self.numbers):
            say(f"{self._who()} of an earlier start has ended meanwhile: its jobs that succeeded are not run again")
            outcomes |= {number: outcome for number, outcome in ended.items() if outcome.code == 0}
            self._forget()
            return
        say(f"{self._who()} of an earlier start is there: waiting for it")
        mine = {}
        self._wait(mine, stop_early)
        outcomes |= {job.number: mine[job.number] for job in jobs if job.number in mine}

    def _who(self):
        return f"{self.engine.NAME}'s job {self.job}"

    # ---- submitting

    def _submit(self, jobs):
        self.numbers = [job.number for job in jobs]
        title = re.sub(r"[^A-Za-z0-9_.-]", "_", self.stem)
        self.title = f"{title if title[0].isalpha() else 'j' + title}-{secrets.token_hex(3)}"
        self.job = None
        self.spool.mkdir()
        for job in jobs:
            Path(job.log).unlink(missing_ok=True)  # of an earlier run: not to be taken for this one's
        script = self.home / f"{self.stem}.sh"
        with whole_file(script) as file:
            file.write(self._script())
        asked = {**self.asked, "max_jobs_run": str(self.limit)} if self.limit and len(jobs) > 1 else dict(self.asked)
        has_limit = any(name == "max_jobs_run" for name, _ in self.settings.options)
        if self.engine is slurm and not has_limit:
            asked.pop("max_jobs_run", None)  # a part of --array
        words = words_for(self.settings, asked)
        words += [*self.more, *self.engine.array_words(self.numbers, self.limit, self.title, self.spool, has_limit), str(script)]
        if shutil.which(words[0]) is None:
            remedy = "submit from a machine of the cluster, or use another engine"
            raise Fail(f"--engine {self.request['engine']}: no program '{words[0]}' on this machine; {remedy}")
        write_json(self.state, self._to_json())  # before the array, so that it is found by its name if we are killed right after
        try:
            self.job = self._submitted(words)
        except BaseException:
            self._forget()
            raise
        write_json(self.state, self._to_json())

    def _submitted(self, words):
        """Submit, again and again where the engine does not answer; returns the job's id."""
        for left in range(TRIES - 1, -1, -1):
            asked = answer(words)
            job = self.engine.job_of(asked.out) if asked.ok else None
            if job is not None:
                return job
            lines = [line.strip() for line in (asked.err + asked.out).splitlines() if line.strip()] or ["it said nothing"]
            trouble = "; ".join(lines[:3])
            if not left or not re.search(self.engine.PASSING, trouble):
                raise Fail(f"{self.engine.NAME} did not take the job: {trouble} (command: {shlex.join(words)})")
            say(f"{self.engine.NAME} does not answer: {trouble}; trying again in {PAUSE_SEC} s")
            self._pause(PAUSE_SEC)
            if job := self.engine.find(self.title):  # it took the job all the same
                return job
        raise AssertionError("the last try returns or fails")

    def _pause(self, seconds):
        if (number := stop_heard(self.bell, seconds)) is not None:
            raise Stopped(number)

    def _to_json(self):
        return {"request": self.request, "title": self.title, "job": self.job, "numbers": self.numbers, "host": os.uname().nodename, "submitted": date()}

    def _script(self):
        """Texts and numbers for task.sh, then task.sh."""
        carried = [f"export {name}={shlex.quote(os.environ[name])}" for name in CARRIED if name in os.environ]
        texts = {"name": self.name, "log": self.log, "command": self.command, "folder": os.getcwd(), "spool": str(self.spool)}
        gpu, nodes, threads = (self.asked.get(name, "") for name in ("gpu", "nodes", "num_threads"))
        gpu = gpu or self.settings.defaults.get("gpu", "0")
        use_gpus = [] if self.engine.PICKS_GPUS else [sys.executable, str(ROOT / "utils/use_gpus.py"), gpu]
        by_task = " ".join(f"[{task}]={number}" for task, number in self.engine.numbers_by_task(self.numbers).items())
        lines = ["#!/bin/bash", *carried, *(f"{name}={shlex.quote(text)}" for name, text in texts.items())]
        lines += [f"threads={threads} gpu={gpu if gpu.isdigit() else 1} nodes={nodes or 1}", f"numbers=({by_task})", f"use_gpus=({shlex.join(use_gpus)})", ""]
        return "\n".join(lines) + TASK.read_text(encoding="utf-8")

    @property
    def spool(self):
        return self.home / self.title

    # ---- waiting

    def _wait(self, outcomes, stop_early):
        """Wait until every task has left its N.done, or is known to be lost."""
        pause, ask_sec, asked_at, missed_at = 0.1, ASK_SEC[0], time.monotonic(), {}
        reported_at, reported, was_told = time.monotonic(), 0, False
        while True:
            outcomes |= {number: self._explained(outcome, number) for number, outcome in self._ended().items() if number not in outcomes}
            left = [number for number in self.numbers if number not in outcomes]
            if left and time.monotonic() - asked_at > ask_sec:
                self._look_for(left, missed_at, outcomes)
                asked_at, ask_sec = time.monotonic(), min(1.3 * ask_sec, ASK_SEC[1])
                left = [number for number in left if number not in outcomes]
            failed = [number for number in self.numbers if number in outcomes and outcomes[number].code != 0]
            if left and stop_early and failed:
                say(f"job {failed[0]} failed: ending the others")
                self._cancel()
                ended = self._ended()
                outcomes |= {number: Outcome(None) for number in left if (self.spool / f"{number}.began").exists()}
                outcomes |= {number: ended[number] for number in left if number in ended and ended[number].code >= 0}
                break
            if not left:
                break
            done = len(self.numbers) - len(left)
            if time.monotonic() - reported_at > REPORT_SEC and reported < done:
                say(f"{done} of {len(self.numbers)} jobs done")
                reported_at, reported = time.monotonic(), done
            elif time.monotonic() - reported_at > REPORT_SEC and not any(self.spool.glob("*.began")) and not was_told:
                was_told = self._tell_of_queue()
            number = stop_heard(self.bell, pause)
            if number is not None:
                self._stop(number)
            pause = min(1.2 * pause, 3)
        self._forget()

    def _tell_of_queue(self):
        states = self.engine.states(self.job) if self.job else None
        why = ", ".join(sorted({" ".join(state).strip() for state in (states or {}).values()}))
        say(f"{self._who()} waits in the queue{f' ({why})' if why else ''}")
        return True

    def _ended(self):
        """{number: Outcome} of the tasks whose N.done is there."""
        outcomes = {}
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self.spool):  # reading the folder, not asking for a file, makes NFS look anew
                number, _, kind = entry.name.partition(".")
                if kind == "done" and number.isdigit():
                    status = int(Path(entry).read_text().split()[0])
                    outcomes[int(number)] = Outcome(128 - status if 128 < status <= 192 else status)
        return outcomes

    def _look_for(self, left, missed_at, outcomes):
        """Ask the engine for tasks that have not ended; those it has not, and that left no N.done in time, are lost."""
        if self.job is None:
            self.job = self.engine.find(self.title)
        states = self.engine.states(self.job) if self.job else None
        if states is None:
            return
        tasks = {number: task for task, number in self.engine.numbers_by_task(self.numbers).items()}
        with tempfile.NamedTemporaryFile(dir=self.spool, prefix=".kick"):  # a change of ours makes NFS read the folder anew
            ended = self._ended()
        for number in left:
            task = tasks.get(number, number)
            if task in states:
                missed_at.pop(number, None)
                if self.engine.is_stuck(*states[task]):
                    answer([self.engine.CANCEL, self.engine.name_of(self.job, task)])
                    outcomes[number] = Outcome(None, f"put in error state by {self.engine.NAME}: {self._last_words(number) or self.engine.ASK_WHY}")
                continue
            if number in ended:
                continue
            record, bad = self.engine.record(self.job, task)
            missing_sec = time.monotonic() - missed_at.setdefault(number, time.monotonic())
            if missing_sec > (SURE_SEC if bad else LOST_SEC):
                outcomes[number] = self._lost(number, record)

    def _lost(self, number, record):
        """The outcome of a task that was ended from outside, said in its log too."""
        why = self._limit_met(number, record)
        if not why:
            words = "; ".join(text for text in (record, self._last_words(number)) if text)
            why = f"ended by {self.engine.NAME}{': ' + words if words else ''}: cancelled, or its machine is gone or does not see {self.home}?"
        log = Path(self.log.replace(self.name, str(number)) if self.name else self.log)
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"# {why}\n")
        return Outcome(None, why)

    def _explained(self, outcome, number):
        return outcome if outcome.code == 0 else Outcome(outcome.code, self._limit_met(number, "", outcome.code))

    def _limit_met(self, number, record, code=None):
        """Which limit ended a task and the option that raises it; nothing where none did."""
        words = f"{record} {self._out(number)}"
        log = self.log.replace(self.name, str(number)) if self.name else self.log
        if re.search(MEMORY, words) or (code is not None and code > 0 and self._asked("mem") and re.search(MEMORY_IN_LOG, end_of_log(log, 2048))):
            return f"out of memory: raise --mem, {self._now('mem')}"
        took = re.search(r"ru_wallclock (\d+)", record)
        ran_out = self.time_sec and (float(took[1]) if took else time.time() - self._began(number)) >= self.time_sec
        if re.search(TIME, words) or (ran_out and (code is None or code < 0)):
            return f"out of time: raise --time, {self._now('time')}"
        return "cancelled" if "CANCELLED" in words else ""

    def _asked(self, option):
        return self.asked.get(option) or self.settings.defaults.get(option)

    def _now(self, option):
        return f"now {self._asked(option)}" if self._asked(option) else "the cluster's own limit held"

    def _began(self, number):
        try:
            return float((self.spool / f"{number}.began").read_text())
        except (FileNotFoundError, ValueError):
            return time.time()

    def _out(self, number):
        task = next((task for task, other in self.engine.numbers_by_task(self.numbers).items() if other == number), number)
        return end_of_log(self.spool / f"{task}.out", 4096)

    def _last_words(self, number):
        return "".join(self._out(number).splitlines()[-1:]).strip()

    # ---- ending

    def _stop(self, number):
        """What a signal asks for: a lost terminal (HUP) leaves the array running, Ctrl-C and TERM end it."""
        name = signal.Signals(number).name
        if number == signal.SIGHUP:
            say(f"{name}: {self._who()} goes on; started again, this command finds it ({self.engine.CANCEL} {self.job} ends it)")
        else:
            say(f"{name}: ending {self._who()}")
            if self._cancel():
                self._forget()
        raise Stopped(number)

    def _cancel(self):
        """End all tasks; False, with a word to the user, where the engine does not answer."""
        self.job = self.job or self.engine.find(self.title)
        if self.job is None:
            say(f"{self.engine.NAME} does not answer: if it has a job {self.title}, end it")
            return False
        asked = answer([self.engine.CANCEL, self.job])
        if not asked.ok and self.engine.states(self.job) != {}:
            say(f"{self.engine.NAME} does not answer ({asked.err.strip()}): end the jobs with '{self.engine.CANCEL} {self.job}'")
            return False
        deadline = time.monotonic() + LEAVE_SEC
        while self.engine.states(self.job) != {} and time.monotonic() < deadline:
            time.sleep(0.2)
        return True

    def _forget(self):
        """The array has ended and its outcomes are known: remove what was kept to find it again."""
        self.state.unlink(missing_ok=True)
        shutil.rmtree(self.spool, ignore_errors=True)


def _places(log, name):
    """(folder of what is kept beside a log, its stem): exp/x/log/foo.JOB.log gives exp/x/q and foo."""
    path = Path(log)
    folder = path.parent
    while name and name in str(folder):
        folder = folder.parent
    if folder.name == "log":
        folder = folder.parent
    stem = path.name.removesuffix(".log")
    if name:
        stem = stem.replace(f".{name}", "").replace(name, "")
    return Path.cwd() / folder / "q", stem or "jobs"
