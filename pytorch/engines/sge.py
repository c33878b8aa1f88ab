"""Grid Engine: what cluster.py needs of it, by qsub, qstat, qacct and qdel."""

import getpass
import re

from pytorch.engines.commands import answer

NAME = "Grid Engine"
CONF = "conf/queue.conf"
BUILTIN = """
command qsub -v PATH -cwd -S /bin/bash -j y -l arch=*64*
option mem=* -l mem_free=$0
option mem=0
option time=* -l h_rt=$0
option num_threads=* -pe smp $0
option num_threads=1
option max_jobs_run=* -tc $0
option gpu=* -l gpu=$0
option gpu=0
option nodes=1
"""
CANCEL = "qdel"
ASK_WHY = "qstat -j tells why"
PICKS_GPUS = False
SPANS_NODES = False
PASSING = r"gdi request|qmaster|commlib error"


def numbers_by_task(numbers):
    """{task: job's number}: qsub knows ranges only, so that tasks of other numbers are counted from 1. Empty where they are the same."""
    numbers = sorted(numbers)
    return {} if numbers[-1] - numbers[0] == len(numbers) - 1 else dict(enumerate(numbers, 1))


def array_words(numbers, limit, title, spool, has_limit):
    """Options of an array over these numbers; the limit is an option of the settings."""
    numbers = sorted(numbers_by_task(numbers) or numbers)
    return ["-terse", "-N", title, "-o", f"{spool}/$TASK_ID.out", "-t", f"{numbers[0]}-{numbers[-1]}"]


def job_of(printed):
    """The job's id in what qsub printed."""
    found = re.findall(r"^(\d+)\b|^Your job(?:-array)? (\d+)", printed, re.MULTILINE)
    return next((first or second for first, second in reversed(found)), None)


def find(title):
    """The id of the job of this name, None where there is none, or where Grid Engine does not answer."""
    found = re.search(r"^job_number:\s+(\d+)", answer(["qstat", "-j", title]).out, re.MULTILINE)
    return found[1] if found else None


def states(job):
    """{task: (state, reason)} of the tasks that wait or run; None where Grid Engine does not answer."""
    asked = answer(["qstat", "-u", getpass.getuser(), "-g", "d"])
    if not asked.ok:
        return None
    rows = [line.split() for line in asked.out.splitlines()]
    return {int(row[-1]): (row[4], "") for row in rows if len(row) > 7 and row[0] == job and row[-1].isdigit()}


def name_of(job, task):
    return f"{job}.{task}"


def is_stuck(state, reason):
    """True for a task in error state: it would wait for ever."""
    return "E" in state


def record(job, task):
    """What the accounting file says of a task that has ended, and whether it ended badly for certain."""
    asked = answer(["qacct", "-j", job, "-t", str(task)])
    fields = dict(re.findall(r"^(failed|exit_status|ru_wallclock|maxvmem)\s+(.*?)\s*$", asked.out, re.MULTILINE))
    if not asked.ok or not fields:
        return "", False
    bad = fields.get("failed", "0").split()[0] != "0" or fields.get("exit_status", "0").split()[0] != "0"
    return ", ".join(f"{name} {value}" for name, value in fields.items()), bad
