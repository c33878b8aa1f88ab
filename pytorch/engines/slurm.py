"""Slurm: what cluster.py needs of it, by sbatch, squeue, scontrol and scancel. No accounting database is needed."""

import re

from pytorch.engines.commands import answer

NAME = "Slurm"
CONF = "conf/slurm.conf"
BUILTIN = """
command sbatch --export=PATH
option mem=* --mem=$0
option mem=0
option time=* --time=$0
option num_threads=* --cpus-per-task=$0
option nodes=* --nodes=$0 --ntasks-per-node=1
option nodes=1
option gpu=* --gres=gpu:$0
option gpu=0
"""
CANCEL = "scancel"
ASK_WHY = "the machine could not begin it, see the log of its slurmd"
PICKS_GPUS = True
SPANS_NODES = True
PASSING = r"Socket timed out|Unable to contact slurm controller|Zero Bytes were transmitted|temporarily unavailable|Connection refused"
ENDED = {"BOOT_FAIL", "CANCELLED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"}  # and not completed


def numbers_by_task(numbers):
    """Tasks have the jobs' own numbers."""
    return {}


def array_words(numbers, limit, title, spool, has_limit):
    """Options of an array over these numbers, `limit` at a time."""
    at_a_time = f"%{limit}" if limit and not has_limit else ""
    output = f"{spool}/%a.out" if "%" not in str(spool) else f"{str(spool).replace('%', '%%')}/%a.out"
    return ["--parsable", "--open-mode=append", f"--job-name={title}", f"--output={output}", f"--array={_ranges(numbers)}{at_a_time}"]


def _ranges(numbers):
    """1,3-5 for [1, 3, 4, 5]."""
    parts = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def job_of(printed):
    """The job's id in what sbatch printed."""
    found = re.findall(r"^(?:Submitted batch job )?(\d+)", printed, re.MULTILINE)
    return found[-1] if found else None


def find(title):
    """The id of the job of this name, None where there is none, or where Slurm does not answer."""
    asked = answer(["squeue", "-h", "-r", f"--name={title}", "-o", "%F"])
    return asked.out.split()[0] if asked.ok and asked.out.split() else None


def states(job):
    """{task: (state, reason)} of the tasks that wait or run; None where Slurm does not answer."""
    asked = answer(["squeue", "-h", "-r", "-j", job, "-o", "%K|%T|%r"])
    if not asked.ok:
        return {} if "Invalid job id" in asked.err else None
    rows = [line.split("|", 2) for line in asked.out.splitlines()]
    return {int(task): (state, reason) for task, state, reason in rows if task.isdigit()}


def name_of(job, task):
    return f"{job}_{task}"


def is_stuck(state, reason):
    """True for a task that a machine could not begin: Slurm holds it back, and it would wait for ever."""
    return state == "PENDING" and "launch failed" in reason.replace("_", " ")


def record(job, task):
    """What Slurm still knows of a task that has ended, and whether it ended badly for certain."""
    asked = answer(["scontrol", "-o", "show", "job", f"{job}_{task}"])
    state = re.search(r"\bJobState=(\w+)", asked.out)
    if not asked.ok or not state:
        return "", False
    return " ".join(re.findall(r"\b(?:JobState|Reason|ExitCode)=\S+", asked.out)), state[1] in ENDED
