#!/usr/bin/env python3
"""Run a command, or an array of commands, on this machine, Slurm or Grid Engine, each with its own log: the command line of Kaldi's run.pl and queue.pl.

JOB=1:n      run n jobs (3:5 runs three); JOB, or any other name, is replaced by the job's number wherever it stands in LOG and command
LOG          what the command prints; of several jobs each has its own, so that JOB must be in the name
command...   a word without blanks reaches bash as it stands, so that \\|, \\> or \\&\\& as a word of its own is an operator there; a word with
             blanks is put in double quotes, where $ expands, or in single quotes if it contains a double one

Reads   LOG            of an earlier run, with --pick
        --config FILE  how options become those of sbatch or qsub, in Kaldi's grammar; else conf/slurm.conf or conf/queue.conf in the working
                       folder or the checkout, else built-in lines (docs/slurm.md, docs/gridengine.md). Options that such a file adds work here too,
                       and single-dash ones such as `-p gpu` or `-q long.q` are handed on
Writes  LOG            the command, what it printed, its exit code and time
        q/             on a cluster: the script that was submitted and, while jobs run, what is needed to find them again
e.g.    utils/submit.py --max-jobs-run 2 JOB=1:4 exp/log/sort.JOB.log sort exp/list.JOB \\> exp/sorted.JOB

Exit status: 0 all jobs succeeded, 1 a job failed, 2 wrong option, 255 other wrong usage, 128 + number of the signal that ended it.
Jobs run with `pipefail` and without standard input. INT and TERM end the jobs with all their children. HUP, a lost terminal, does so on this machine;
jobs on a cluster go on, as they do where this program is killed: the same command started again finds them and waits for them.
"""

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.engines.jobs import Job, Stopped, again, earlier_outcomes, failed_among, report, say
from pytorch.engines.signals import bell_of_signals
from pytorch.program import Fail, boolean, count, positive_int, run


def main():
    args = parse_command_line(sys.argv[1:])
    command = "".join(f"{quote(word)} " for word in args.command)
    jobs = [Job(n, put_number(args.log, args.name, n), put_number(command, args.name, n)) for n in args.numbers]
    if len(jobs) > 1 and args.name not in args.log:
        mistake = f"you are trying to run a parallel job but you are putting the output into just one log file ({args.log})"
        raise Fail(f"{mistake}: {args.name} must be in its name")
    outcomes = {} if args.pick == "all" else earlier_outcomes(jobs, args.pick)
    waiting = [job for job in jobs if job.number not in outcomes]
    try:
        (run_here if args.engine == "local" else run_on_cluster)(args, command, waiting, outcomes)
    except Stopped as stopped:
        return 128 + stopped.args[0]
    return report(jobs, outcomes, args.name, args.log)


def run_here(args, command, jobs, outcomes):
    from pytorch.engines.local import default_limit, run_jobs

    if args.nodes > 1:
        raise Fail(f"--nodes {args.nodes}: this machine is one; --engine slurm has more")
    limit = default_limit(len(jobs), args.gpu)
    if args.max_jobs_run:
        limit = min(limit, *args.max_jobs_run) if args.gpu else min(args.max_jobs_run)
    bell = bell_of_signals()
    for left in range(args.retries, -1, -1):
        run_jobs(jobs, limit, args.num_threads, outcomes, bell, args.gpu, args.stop_early)
        jobs = failed_among(jobs, outcomes)
        if not left or not jobs or args.stop_early:
            return
        again(jobs, len(args.numbers), outcomes, left)


def run_on_cluster(args, command, jobs, outcomes):
    from pytorch.engines.cluster import ENGINES, Array
    from pytorch.engines.config import find_settings

    engine = ENGINES[args.engine]
    if args.nodes > 1 and not engine.SPANS_NODES:
        raise Fail(f"--nodes {args.nodes}: {engine.NAME} runs each job on one machine here; --gpu n takes n cards of one")
    settings = find_settings(args.config, engine.CONF, engine.BUILTIN)
    asked, more = {}, []
    for name, value in args.others:
        key = name[2:].replace("-", "_")
        if not name.startswith("--"):
            more += [name] if value is None else [name, value]
        elif value is not None and any(option == key for option, _ in settings.options):
            asked[key] = value
        else:
            wrong_option(f"{name}: neither submit.py nor {settings.source} has this option")
    given = {"mem": args.mem, "num_threads": args.num_threads, "gpu": args.gpu, "time": args.time and args.time[0], "nodes": args.nodes}
    asked |= {name: str(value) for name, value in given.items() if value is not None and not (name == "nodes" and value == 1)}
    limit = min(args.max_jobs_run) if args.max_jobs_run else None
    time_sec = args.time[1] if args.time else None
    array = Array(args.engine, settings, asked, more, args.name, args.log, command, limit, time_sec)
    if jobs:
        array.run(jobs, outcomes, args.retries, args.stop_early)


# ---- the command line


def parse_command_line(words):
    parser = argparse.ArgumentParser(
        prog="submit.py",
        usage="%(prog)s [options] [JOB=1:n] LOG command...",
        description=__doc__.strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--engine", choices=["local", "slurm", "sge"], default="local", help="where jobs run: here, Slurm, Grid Engine (default: local, here)")
    limit_help = "jobs at a time (default: here as many as there are processors or, with --gpu, cards for; on a cluster as many as it allows)"
    parser.add_argument("--max-jobs-run", "-tc", type=positive_int, action="append", metavar="N", help=limit_help)
    parser.add_argument("--mem", type=memory, metavar="SIZE", help="memory of each job, e.g. 4G; of no effect here")
    threads_help = "threads of each job, given to it as OMP_NUM_THREADS (default: on a cluster the processors it gives, one)"
    parser.add_argument("--num-threads", type=positive_int, metavar="N", help=threads_help)
    gpu_help = "graphics cards of each job, which sees no others; here and on Grid Engine free ones are picked"
    parser.add_argument("--gpu", type=count, metavar="N", help=gpu_help)
    parser.add_argument("--nodes", type=positive_int, metavar="N", default=1, help="machines of each job, which runs once on each, for torchrun; on Slurm")
    parser.add_argument("--time", type=time_limit, metavar="LIMIT", help="time of each job, as Slurm writes it: MIN, H:MM:SS or D-HH; of no effect here")
    parser.add_argument("--config", metavar="FILE", help="how options become those of sbatch or qsub; of no effect here")
    pick_help = "by the logs of an earlier run, leave out the jobs that succeeded (failed), or all that ended (incomplete) (default: all)"
    parser.add_argument("--pick", choices=["all", "failed", "incomplete"], default="all", help=pick_help)
    parser.add_argument("--retries", type=count, default=0, metavar="N", help="run failed jobs again, at most so many times (default: 0)")
    parser.add_argument("--stop-early", type=boolean, default=False, metavar="true|false", help="the first job that fails ends the others (default: false)")
    known = {"-h", "--help", "-tc", *(f"--{name.replace('_', '-')}" for name in vars(parser.parse_args([])))}
    options, others, job_range, rest = split(words, known)
    args = parser.parse_args(options)
    if others and args.engine == "local":
        parser.error(f"unrecognized arguments: {' '.join(word for pair in others for word in pair if word is not None)}")
    args.others = others
    args.name, args.numbers = parse_range(job_range)
    if len(rest) < 2:
        misuse("a log file and a command are needed")
    args.log, args.command = rest[0], rest[1:]
    return args


def split(words, known):
    """A command line in four: our options, which may stand on both sides of the range; others as pairs; the range or None; log and command."""
    options, others, job_range, place = [], [], None, 0
    while place < len(words):
        word = words[place]
        if word.startswith("-"):
            name, equals, value = word.partition("=")
            name = name.replace("_", "-") if name.startswith("--") else name
            if name in ("-h", "--help"):
                options.append(name)
            elif name == "-V":  # of qsub; takes no value
                others.append((name, None))
            else:
                if not equals:
                    place += 1
                    value = words[place] if place < len(words) else None
                if name in known:
                    options += [name] if value is None else [f"{name}={value}"] if name.startswith("--") else [name, value]
                elif name != "-sync":  # of qsub; this program waits in any case
                    others.append((name, value))
        elif job_range is None and re.fullmatch(r"[A-Za-z_0-9]+=[^/]*", word):
            job_range = word
        else:
            break
        place += 1
    return options, others, job_range, words[place:]


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
    """An amount such as 4G, in whole units as all engines take it: 1.5G is 1536M."""
    match = re.fullmatch(r"(\d+)(\.\d+)?([kmgt])", text, re.ASCII | re.IGNORECASE)
    if text == "0" or (match and not match[2]):
        return text.upper()
    if not match or match[3] in "kK":
        raise argparse.ArgumentTypeError(f"an amount such as 4G expected, not '{text}'")
    return f"{round(float(match[1] + match[2]) * 1024)}{'KMG'['MGT'.index(match[3].upper())]}"


def time_limit(text):
    """A limit as Slurm writes it (MIN, MIN:SS, H:MM:SS, D-H, D-H:MM, D-H:MM:SS) as (H:MM:SS, seconds)."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text, re.ASCII)
    if not match:
        raise argparse.ArgumentTypeError(f"a limit such as 90 (minutes), 1:30:00 or 2-12 (days-hours) expected, not '{text}'")
    days, *parts = match.groups()
    parts = [int(part) for part in parts if part is not None]
    units = [3600, 60, 1] if days or len(parts) == 3 else [60, 1]
    seconds = 86400 * int(days or 0) + sum(part * unit for part, unit in zip(parts, units, strict=False))
    if not seconds:
        raise argparse.ArgumentTypeError(f"a limit above 0 expected, not '{text}'")
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}", seconds


def wrong_option(message):
    say(f"{message}; see submit.py --help")
    sys.exit(2)


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


if __name__ == "__main__":
    run(main)
