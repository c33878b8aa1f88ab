"""Jobs on this machine: each a process group of its own, which ends with its submitter, however that ends."""

import contextlib
import os
import signal
import sys
import time
from collections import deque

from pytorch.engines.cards import visible_cards
from pytorch.engines.jobs import Outcome, Stopped, date, say
from pytorch.engines.signals import STOPPING, stop_heard
from pytorch.program import ROOT, Fail

GRACE_SEC = 10  # between TERM and KILL
REPORT_SEC = 30  # between two lines "3 of 8 jobs done"


def default_limit(jobs, gpu):
    """How many jobs to run at a time: as many as cards allow or there are processors, or all of them if a few more than there are processors."""
    if gpu:
        cards = len(visible_cards())
        if cards < gpu:
            there = f"{cards} of the {gpu} cards asked for are here" if cards else "nvidia-smi finds no card on this machine"
            raise Fail(f"--gpu {gpu}: {there}; leave --gpu out to run without cards, or use a machine or cluster that has them")
        return cards // gpu
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 10
    return jobs if jobs < 1.4 * cpus else cpus


def run_jobs(jobs, limit, threads, outcomes, bell, gpu=0, stop_early=False):
    """Run jobs, `limit` at a time, and set outcomes[number] of each. Whatever happens, none is left running.

    bell: of bell_of_signals(); gpu: cards of each job; stop_early: the first job that fails ends the others
    """
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads)) if threads else os.environ
    guard = start_guard()
    waiting, running = deque(jobs), {}
    reported_at, reported = time.monotonic(), 0

    def collect():
        for pid, code in ended_children():
            if pid in running:
                job, began = running.pop(pid)
                outcomes[job.number] = Outcome(code)
                tell(guard, pid)
                close_log(job, code, time.time() - began, threads or 1)

    try:
        while waiting or running:
            while waiting and len(running) < limit:
                job = waiting.popleft()
                pid = start(job, environment, gpu)
                running[pid] = job, time.time()
                tell(guard, pid)
            number = stop_heard(bell, REPORT_SEC)
            if number is not None:
                say(f"{signal.Signals(number).name}: ending the jobs")
                raise Stopped(number)
            collect()
            if stop_early and any(job.number in outcomes and outcomes[job.number].code != 0 for job in jobs):
                break
            done = len(jobs) - len(waiting) - len(running)
            if time.monotonic() - reported_at > REPORT_SEC and reported < done < len(jobs):
                say(f"{done} of {len(jobs)} jobs done")
                reported_at, reported = time.monotonic(), done
    finally:
        ended = {job.number for job, _ in running.values()}
        end_groups(set(running), collect)
        for number in ended & outcomes.keys():
            if outcomes[number].code < 0:
                outcomes[number] = Outcome(None)
        os.close(guard)


def start(job, environment, gpu):
    """Start a job as the leader of a process group of its own; returns its process id."""
    os.makedirs(os.path.dirname(job.log) or ".", exist_ok=True)
    with open(job.log, "w", encoding="utf-8", errors="surrogateescape") as log:
        log.write(f"# {job.command}\n# Started at {date()}\n#\n")
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, job.log, os.O_WRONLY | os.O_APPEND, 0),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    words = ["bash", "-o", "pipefail", "-c", job.command]
    if gpu:
        words = [sys.executable, str(ROOT / "utils/use_gpus.py"), str(gpu), *words]
    return os.posix_spawnp(words[0], words, environment, file_actions=files, setpgroup=0, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])


def close_log(job, code, elapsed, threads):
    how = f"code {code}" if code >= 0 else f"code 0; signal {-code}"
    with open(job.log, "a") as log:
        log.write(f"# Accounting: time={elapsed:.0f} threads={threads}\n# Ended ({how}) at {date()}, elapsed time {elapsed:.0f} seconds\n")


def ended_children():
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def end_groups(groups, collect=lambda: None):
    """End process groups: TERM, and after a while KILL for what is left of them. `collect` is called meanwhile, to take leave of ended children."""
    left = signal_groups(groups, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SEC
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        collect()
        left = signal_groups(left, 0)
    if signal_groups(left, signal.SIGKILL):
        time.sleep(0.05)
        collect()


def signal_groups(groups, number):
    """Send a signal (0: none) to process groups; returns those that exist."""
    there = set()
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
            there.add(group)
    return there


def start_guard():
    """Fork a process that ends the jobs if this one is killed outright; returns a pipe for tell(), whose closing is the guard's cue."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            os.setpgid(0, 0)  # a signal to our group is not for the guard
            for number in STOPPING:
                signal.signal(number, signal.SIG_IGN)
            os.close(writer)
            nowhere = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(nowhere, descriptor)
            groups = set()
            with open(reader) as lines:
                for line in lines:
                    groups ^= {int(line)}
            end_groups(groups)
        finally:
            os._exit(0)
    os.close(reader)
    return writer


def tell(guard, group):
    """Tell the guard of a process group, once at its start and once at its end."""
    with contextlib.suppress(BrokenPipeError):
        os.write(guard, f"{group}\n".encode())
