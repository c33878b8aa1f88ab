"""A job and what became of it, in the words of Kaldi's runners: logs with a head and a tail, failed jobs by number."""

import contextlib
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

ENDS = re.compile(r"^# (?:Ended \(code (\d+)\)|Finished at .* with status (\d+)$)", re.MULTILINE)  # ours and run.pl's; queue.pl's and slurm.pl's


class Job(NamedTuple):
    number: int
    log: str
    command: str


class Outcome(NamedTuple):
    """code: exit status, below 0 for a signal, None where the job was not run to an end. why: in words, where more is known than the code."""

    code: int | None
    why: str = ""


class Stopped(Exception):
    """A signal asked this program to end; args[0] is its number."""


def say(message):
    with contextlib.suppress(OSError):  # nobody reads, or the terminal is gone; the exit status must still tell
        print(f"submit.py: {message}", file=sys.stderr, flush=True)


def date():
    return time.strftime("%a %b %e %H:%M:%S %Z %Y")


def earlier_outcomes(jobs, pick):
    """{number: Outcome} of the jobs that an earlier run has settled: those that succeeded and, unless failed ones are picked, those that failed."""
    outcomes = {}
    for job in jobs:
        ends = ENDS.findall(end_of_log(job.log))
        if ends and ((code := int(ends[-1][0] or ends[-1][1])) == 0 or pick == "incomplete"):
            outcomes[job.number] = Outcome(code)
    return outcomes


def end_of_log(path, size=16384):
    try:
        with open(path, "rb") as log:
            log.seek(0, 2)
            log.seek(max(0, log.tell() - size))
            return log.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def failed_among(jobs, outcomes):
    return [job for job in jobs if job.number not in outcomes or outcomes[job.number].code != 0]


def again(failed, total, outcomes, left):
    """Make ready for another try of failed jobs, and say so: their outcomes are forgotten, their logs put aside as LOG.1, LOG.2, …"""
    for job in failed:
        outcomes.pop(job.number, None)
        with contextlib.suppress(FileNotFoundError):
            os.rename(job.log, f"{job.log}.{1 + sum(other.name.startswith(f'{Path(job.log).name}.') for other in Path(job.log).parent.iterdir())}")
    numbers = ", ".join(str(job.number) for job in failed[:20]) + (", ..." if len(failed) > 20 else "")
    say(f"{len(failed)} / {total} failed and are run again ({left} {'tries' if left > 1 else 'try'} left): {numbers}")


def report(jobs, outcomes, name, log):
    """Say what failed, with the end of the first failed log; returns the exit status. name, log: the array's, e.g. JOB and x.JOB.log"""
    failed = failed_among(jobs, outcomes)
    if not failed:
        return 0
    ended = [job for job in failed if job.number in outcomes and outcomes[job.number].code is not None]
    first = (ended or failed)[0]
    if len(jobs) == 1:
        say(f"job failed, log is in {first.log} ({in_words(outcomes.get(first.number))})")
    else:
        say(f"{len(failed)} / {len(jobs)} failed, log is in {log.replace(name, '*')}")
        shown = [f"{job.number} ({in_words(outcomes.get(job.number))})" for job in failed[:20]]
        say(f"failed jobs: {', '.join(shown)}{', ...' if len(failed) > 20 else ''}")
    if name is None and "JOB" in log:
        say("probably you forgot to put JOB=1:$nj in your script.")
    lines = [line for line in end_of_log(first.log).splitlines() if not re.match(r"# (Accounting: |Ended \()", line)]
    say("\n    ".join([f"the end of {first.log}:", *lines[-12:]]))
    return 1


def in_words(outcome):
    """What became of a job as a person needs it; 137 is what bash makes of a child's signal 9."""
    if outcome is None:
        return "not run"
    code, why = outcome
    if why:
        return why
    if code is None:
        return "ended before it was done"
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return "killed by signal 9: out of memory?"
    return f"code {code}" if code >= 0 else f"killed by signal {-code}"
