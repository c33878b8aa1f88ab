#!/usr/bin/env python3
"""Run a command, or an array of commands, on this machine, each with its own log: the command line of Kaldi's run.pl.

JOB=1:n      run n jobs (3:5 runs three); JOB, or any other name, is replaced by the job's number wherever it stands in LOG and command
LOG          what the command prints; of several jobs each has its own, so that JOB must be in the name
command...   a word without blanks reaches bash as it stands, so that \\|, \\> or \\&\\& as a word of its own is an operator there; a word with
             blanks is put in double quotes, where $ expands, or in single quotes if it contains a double one

Reads   LOG            of an earlier run, with --pick
Writes  LOG            the command, what it printed, its exit code and time
e.g.    utils/submit.py --max-jobs-run 2 JOB=1:4 exp/log/sort.JOB.log sort exp/list.JOB \\> exp/sorted.JOB

Exit status: 0 all jobs succeeded, 1 a job failed, 2 wrong option, 255 other wrong usage, 128 + number of the signal that ended it.
Jobs run with `pipefail` and without standard input. A signal to this program (INT, TERM, HUP) ends its jobs with all their children.
"""

import argparse
import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.program import Fail, count, positive_int, run

GRACE_SEC = 10  # between TERM and KILL
REPORT_SEC = 30  # between two lines "3 of 8 jobs done"
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Job(NamedTuple):
    number: int
    log: str
    command: str


class Stopped(Exception):
    """A signal asked this program to end; args[0] is its number."""


def main():
    args = parse_command_line(sys.argv[1:])
    command = "".join(f"{quote(word)} " for word in args.command)
    jobs = [Job(n, put_number(args.log, args.name, n), put_number(command, args.name, n)) for n in args.numbers]
    if len(jobs) > 1 and args.name not in args.log:
        mistake = f"you are trying to run a parallel job but you are putting the output into just one log file ({args.log})"
        raise Fail(f"{mistake}: {args.name} must be in its name")
    codes = {} if args.pick == "all" else earlier_codes(jobs, args.pick)
    waiting = [job for job in jobs if job.number not in codes]
    limit = min(args.max_jobs_run) if args.max_jobs_run else default_limit(len(jobs), args.gpu)
    try:
        run_jobs(waiting, limit, args.num_threads, codes)
    except Stopped as stopped:
        return 128 + stopped.args[0]
    return report(jobs, codes, args)


def say(message):
    with contextlib.suppress(BrokenPipeError):  # nobody reads; the exit status must still tell
        print(f"submit.py: {message}", file=sys.stderr, flush=True)


# ---- the command line


def parse_command_line(words):
    parser = argparse.ArgumentParser(
        prog="submit.py",
        usage="%(prog)s [options] [JOB=1:n] LOG command...",
        description=__doc__.strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--engine", choices=["local"], default="local", help="where the jobs run (default: local, this machine)")
    limit_help = "jobs at a time (default: as many as there are processors or, with --gpu, GPUs)"
    parser.add_argument("--max-jobs-run", "-tc", type=positive_int, action="append", metavar="N", help=limit_help)
    parser.add_argument("--num-threads", type=positive_int, metavar="N", help="threads of each job, given to it as OMP_NUM_THREADS")
    parser.add_argument("--gpu", type=count, default=0, metavar="N", help="GPUs of each job; here, as many jobs at a time as there are GPUs")
    pick_help = "by the logs of an earlier run, leave out the jobs that succeeded (failed), or all that ended (incomplete) (default: all)"
    parser.add_argument("--pick", choices=["all", "failed", "incomplete"], default="all", help=pick_help)
    parser.add_argument("--mem", type=memory, help="memory of each job, e.g. 4G; of no effect here")
    parser.add_argument("--time", help="time limit; of no effect here")
    parser.add_argument("--nodes", type=positive_int, metavar="N", help="machines of each job; of no effect here")
    parser.add_argument("--config", metavar="FILE", help="settings of a cluster; of no effect here")
    options, job_range, rest = split(words)
    args = parser.parse_args(options)
    args.name, args.numbers = parse_range(job_range)
    if len(rest) < 2:
        misuse("a log file and a command are needed")
    args.log, args.command = rest[0], rest[1:]
    return args


def split(words):
    """A command line in three: options, which may stand on both sides of the range; the range or None; log and command."""
    options, job_range, place = [], None, 0
    while place < len(words):
        word = words[place]
        if word.startswith("-"):
            name, equals, value = word.partition("=")
            options.append((name.replace("_", "-") if name.startswith("--") else name) + equals + value)
            if not equals and word not in ("-h", "--help"):
                place += 1
                options += words[place : place + 1]
        elif job_range is None and re.fullmatch(r"[A-Za-z_0-9]+=[^/]*", word):
            job_range = word
        else:
            break
        place += 1
    return options, job_range, words[place:]


def parse_range(text):
    """NAME=a:b or NAME=a as the name and its numbers; without a range, no name and one job."""
    if text is None:
        return None, range(1, 2)
    match = re.fullmatch(r"(\w+)=(\d+)(?::(\d+))?", text, re.ASCII)
    if not match:
        misuse(f"range {text}: NAME=first:last expected, e.g. JOB=1:4")
    first, last = int(match[2]), int(match[3] or match[2])
    if first < 1 or last < first:
        misuse(f"range {text}: numbers from 1 on expected, the first not above the last")
    return match[1], range(first, last + 1)


def memory(text):
    if not re.fullmatch(r"\d+(\.\d+)?[kKmMgGtT]?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"an amount such as 4G expected, not '{text}'")
    return text


def misuse(message):
    say(f"{message}; see submit.py --help")
    sys.exit(255)


def quote(word):
    """A word of the command as bash gets it, by Kaldi's rule (which words without blanks use to be operators)."""
    if re.fullmatch(r"\S+", word, re.ASCII):
        return word
    return f"'{word}'" if '"' in word else f'"{word}"'


def put_number(text, name, number):
    return text if name is None else text.replace(name, str(number))


def default_limit(jobs, gpu):
    """How many jobs to run at a time: as many as there are GPUs or processors, or all of them if a few more than there are processors."""
    if gpu:
        try:
            listed = subprocess.run(["nvidia-smi", "-L"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        except OSError:
            listed = ""
        gpus = sum(line.startswith("GPU ") for line in listed.splitlines())
        if not gpus:
            say("warning: nvidia-smi finds no GPU; one job at a time")
        return gpus or 1
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 10
    return jobs if jobs < 1.4 * cpus else cpus


# ---- running


def run_jobs(jobs, limit, threads, codes):
    """Run jobs, `limit` at a time, and set codes[number] to the exit code of each, below 0 for a signal. Whatever happens, none is left running."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads)) if threads else os.environ
    guard, bell = start_guard(), bell_of_signals()
    waiting, running = deque(jobs), {}
    reported_at, reported = time.monotonic(), 0

    def collect():
        for pid, code in ended_children():
            if pid in running:
                job, began = running.pop(pid)
                codes[job.number] = code
                tell(guard, pid)
                close_log(job, code, time.time() - began, threads or 1)

    try:
        while waiting or running:
            while waiting and len(running) < limit:
                job = waiting.popleft()
                pid = start(job, environment)
                running[pid] = job, time.time()
                tell(guard, pid)
            select.select([bell], [], [], REPORT_SEC)
            for number in heard(bell):
                if number in STOPPING:
                    say(f"{signal.Signals(number).name}: ending the jobs")
                    raise Stopped(number)
            collect()
            done = len(jobs) - len(waiting) - len(running)
            if time.monotonic() - reported_at > REPORT_SEC and reported < done < len(jobs):
                say(f"{done} of {len(jobs)} jobs done")
                reported_at, reported = time.monotonic(), done
    finally:
        end_groups(set(running), collect)


def start(job, environment):
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
    return os.posix_spawnp("bash", words, environment, file_actions=files, setpgroup=0, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])


def close_log(job, code, elapsed, threads):
    how = f"code {code}" if code >= 0 else f"code 0; signal {-code}"
    with open(job.log, "a") as log:
        log.write(f"# Accounting: time={elapsed:.0f} threads={threads}\n# Ended ({how}) at {date()}, elapsed time {elapsed:.0f} seconds\n")


def date():
    return time.strftime("%a %b %e %H:%M:%S %Z %Y")


def bell_of_signals():
    """A pipe that gets the number of every signal that matters, so that one select() waits for jobs, signals and the clock."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, *STOPPING):
        if number == signal.SIGCHLD or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores HUP: so do we
            signal.signal(number, lambda *_: None)
    return reader


def heard(bell):
    try:
        return os.read(bell, 4096)
    except BlockingIOError:
        return b""


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


# ---- logs and results


def earlier_codes(jobs, pick):
    """{number: code} of the jobs that an earlier run has settled: those that succeeded and, unless failed ones are picked, those that failed."""
    codes = {}
    for job in jobs:
        ends = re.findall(r"^# Ended \(code (\d+)\)", end_of_log(job.log), re.M)
        if ends and (int(ends[-1]) == 0 or pick == "incomplete"):
            codes[job.number] = int(ends[-1])
    return codes


def end_of_log(path, size=16384):
    try:
        with open(path, "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - size))
            return log.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def report(jobs, codes, args):
    """Say what failed, with the end of the first failed log; returns the exit status."""
    failed = [job for job in jobs if codes[job.number] != 0]
    if not failed:
        return 0
    first = failed[0]
    if len(jobs) == 1:
        say(f"job failed, log is in {first.log} ({in_words(codes[first.number])})")
    else:
        say(f"{len(failed)} / {len(jobs)} failed, log is in {args.log.replace(args.name, '*')}")
        shown = [f"{job.number} ({in_words(codes[job.number])})" for job in failed[:20]]
        say(f"failed jobs: {', '.join(shown)}{', ...' if len(failed) > 20 else ''}")
    if args.name is None and "JOB" in args.log:
        say("probably you forgot to put JOB=1:$nj in your script.")
    lines = [line for line in end_of_log(first.log).splitlines() if not re.match(r"# (Accounting: |Ended \()", line)]
    say("\n    ".join([f"the end of {first.log}:", *lines[-12:]]))
    return 1


def in_words(code):
    """An exit code as a person needs it; 137 is what bash makes of a child's signal 9."""
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return "killed by signal 9: out of memory?"
    return f"code {code}" if code >= 0 else f"killed by signal {-code}"


if __name__ == "__main__":
    run(main)
