"""utils/submit.py: the command line of Kaldi's run.pl on this machine."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytorch.jobs import quote

SUBMIT = Path(__file__).resolve().parents[1] / "utils" / "submit.py"
PRINT_WORDS = "import json, sys; print(json.dumps(sys.argv[1:]))"
DATE = r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ \d{4}"


@pytest.fixture(autouse=True)
def work_in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def submit(*words, **options):
    return subprocess.run([sys.executable, SUBMIT, *map(str, words)], capture_output=True, text=True, timeout=60, **options)


def loaded():
    spec = importlib.util.spec_from_file_location("submit", SUBMIT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def output_of(log):
    """What the job itself printed."""
    lines = Path(log).read_text().splitlines()
    return "\n".join(line for line in lines if not line.startswith("#"))


def started(*words):
    return subprocess.Popen([sys.executable, SUBMIT, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def eventually(is_true):
    for _ in range(1000):
        if is_true():
            return True
        time.sleep(0.02)
    return False


def pid_in(path):
    assert eventually(lambda: Path(path).exists() and Path(path).read_text().endswith("\n"))
    return int(Path(path).read_text())


def is_gone(pid):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return state == "" or state.startswith("Z")


# ---- jobs and numbers


def test_a_single_job_runs_without_a_range_and_makes_its_log_folder():
    assert submit("a/b/one.log", "echo", "hello").returncode == 0
    assert output_of("a/b/one.log") == "hello"


def test_success_is_silent():
    done = submit("JOB=1:2", "x.JOB.log", "true")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_number_replaces_the_name_inside_words_and_in_the_log():
    assert submit("JOB=1:2", "logJOB/x.JOB.log", "echo", "xJOBx", "JOB.JOB").returncode == 0
    assert output_of("log2/x.2.log") == "x2x 2.2"


def test_a_range_may_start_above_one():
    assert submit("JOB=3:5", "x.JOB.log", "echo", "JOB").returncode == 0
    assert sorted(path.name for path in Path().glob("x.*.log")) == ["x.3.log", "x.4.log", "x.5.log"]


def test_a_range_of_one_number_is_one_job():
    assert submit("SPLIT=4", "x.SPLIT.log", "echo", "SPLIT").returncode == 0
    assert output_of("x.4.log") == "4"


def test_options_stand_on_both_sides_of_the_range():
    done = submit("--mem", "4G", "--num_threads=2", "JOB=1:2", "--max-jobs-run", "1", "-tc", "2", "x.JOB.log", "echo", "--mem", "JOB")
    assert done.returncode == 0, done.stderr
    assert output_of("x.1.log") == "--mem 1"


def test_all_jobs_of_an_array_run_though_fewer_may_run_at_a_time():
    assert submit("--max-jobs-run", "2", "JOB=1:30", "x.JOB.log", "echo", "JOB").returncode == 0
    assert [output_of(f"x.{n}.log") for n in range(1, 31)] == [str(n) for n in range(1, 31)]


def test_no_more_jobs_run_at_a_time_than_asked_for():
    script = "mkdir running.JOB; set -- running.*; echo $#; sleep 0.1; rmdir running.JOB"
    assert submit("--max-jobs-run", "2", "JOB=1:6", "x.JOB.log", "bash", "-c", quote(script)).returncode == 0
    assert max(int(output_of(f"x.{n}.log")) for n in range(1, 7)) <= 2


def test_the_default_limit_is_the_processors_or_all_jobs_if_there_are_few_more(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(10))
    default_limit = loaded().default_limit
    assert [default_limit(jobs, gpu=0) for jobs in (3, 13, 14, 100)] == [3, 13, 10, 10]


def test_the_default_limit_of_gpu_jobs_is_the_gpus_that_nvidia_smi_lists(monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: A'\necho 'GPU 1: A'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert loaded().default_limit(8, gpu=1) == 2


def test_without_gpus_gpu_jobs_run_one_at_a_time_and_a_warning_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert loaded().default_limit(8, gpu=1) == 1
    assert "warning: nvidia-smi finds no GPU" in capsys.readouterr().err


# ---- words


NASTY = ["a b", "", "a'b", 'a"b', """ '" """, "$HOME", "$(touch x)", "`x`", "a\nb"]
NASTY += ["-n", "\\", "naïve 声", "*", "a\\ b", "~", "a;b|c&d>e", "!x", "#", "\t"]


def test_words_quoted_by_a_step_reach_the_program_unchanged():
    done = submit("one.log", sys.executable, "-c", quote(PRINT_WORDS), *map(quote, NASTY))
    assert done.returncode == 0, done.stderr
    printed = next(line for line in Path("one.log").read_text().splitlines() if line.startswith("["))
    assert json.loads(printed) == NASTY


def test_words_without_blanks_are_shell_operators():
    assert submit("one.log", "echo", "b", "a", "|", "tr", "a", "c", ">", "out", "&&", "echo", "done", ";", "echo", "$((1+1))").returncode == 0
    assert Path("out").read_text() == "b c\n"
    assert output_of("one.log") == "done\n2"


def test_a_dollar_expands_in_a_word_with_blanks():
    assert submit("one.log", "echo", "<$WHO  x>", env={**os.environ, "WHO": "me"}).returncode == 0
    assert output_of("one.log") == "<me  x>"


def test_a_word_with_blanks_and_a_double_quote_is_taken_literally():
    assert submit("one.log", "echo", '"$WHO  x"').returncode == 0
    assert output_of("one.log") == '"$WHO  x"'


def test_an_empty_word_stays_a_word():
    assert submit("one.log", "printf", "<%s>", "", "a").returncode == 1  # < is an operator here, as in Kaldi
    assert submit("one.log", "printf", "[%s]", "", "a").returncode == 0
    assert "[][a]" in Path("one.log").read_text()


def test_a_command_in_one_quoted_string_is_one_word():
    done = submit("one.log", "exit 3")
    assert done.returncode == 1
    assert "exit 3: command not found" in Path("one.log").read_text()
    assert "# Ended (code 127) at" in Path("one.log").read_text()


def test_a_failure_inside_a_pipe_fails_the_job():
    assert submit("one.log", "false", "|", "true").returncode == 1


# ---- environment


def test_a_job_has_no_standard_input():
    assert submit("one.log", "cat", input="secret").returncode == 0
    assert output_of("one.log") == ""


def test_num_threads_becomes_omp_num_threads_and_stands_in_the_log():
    assert submit("--num-threads", "3", "one.log", "echo", "$OMP_NUM_THREADS").returncode == 0
    assert output_of("one.log") == "3"
    assert "# Accounting: time=0 threads=3" in Path("one.log").read_text()


# ---- the log


def test_the_log_has_kaldis_head_and_tail():
    assert submit("JOB=2:3", "x.JOB.log", "echo", "a b", "JOB", ";", "exit", "JOB").returncode == 1
    pattern = (
        rf'# echo "a b" 3 ; exit 3 \n# Started at {DATE}\n#\na b 3\n'
        rf"# Accounting: time=\d+ threads=1\n# Ended \(code 3\) at {DATE}, elapsed time \d+ seconds\n"
    )
    assert re.fullmatch(pattern, Path("x.3.log").read_text())


def test_stderr_is_in_the_log_in_the_order_of_writing():
    assert submit("one.log", "echo", "a", ";", "echo", "b", ">&2", ";", "echo", "c").returncode == 0
    assert output_of("one.log") == "a\nb\nc"


def test_a_log_of_an_earlier_run_is_overwritten():
    submit("one.log", "echo", "a long line of the first run")
    submit("one.log", "echo", "second")
    assert "first" not in Path("one.log").read_text()


def test_a_job_killed_by_a_signal_says_so_in_its_log_and_in_the_failure():
    done = submit("one.log", "kill", "-9", "$$")
    assert done.returncode == 1
    assert "# Ended (code 0; signal 9) at" in Path("one.log").read_text()
    assert done.stderr.startswith("submit.py: job failed, log is in one.log (killed by signal 9: out of memory?)\n")


def test_a_killed_child_of_a_job_is_named_too():
    done = submit("one.log", "bash", "-c", quote("kill -9 $$"), ";", "exit", "$?")
    assert "(killed by signal 9: out of memory?)" in done.stderr


# ---- failures


def test_a_failed_job_is_reported_with_the_end_of_its_log():
    done = submit("one.log", "seq", "100", ";", "exit", "7")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[:2] == ["submit.py: job failed, log is in one.log (code 7)", "submit.py: the end of one.log:"]
    assert lines[2:] == [f"    {n}" for n in range(89, 101)]


def test_failed_jobs_of_an_array_are_counted_and_named():
    done = submit("JOB=1:4", "d/c.JOB.log", "test", "JOB", "-lt", "3", "||", "exit", "JOB")
    assert done.returncode == 1
    assert "submit.py: 2 / 4 failed, log is in d/c.*.log\n" in done.stderr
    assert "submit.py: failed jobs: 3 (code 3), 4 (code 4)\n" in done.stderr
    assert "submit.py: the end of d/c.3.log:\n" in done.stderr


def test_a_forgotten_range_is_guessed():
    done = submit("x.JOB.log", "false")
    assert done.returncode == 1
    assert "submit.py: probably you forgot to put JOB=1:$nj in your script." in done.stderr


def test_a_log_that_cannot_be_written_is_one_line():
    Path("file").write_text("")
    done = submit("file/one.log", "true")
    assert done.returncode == 1
    assert done.stderr == "submit.py: file: File exists\n"


def test_a_long_array_tells_now_and_then_how_many_jobs_are_done():
    script = f"import sys; sys.path.insert(0, '{SUBMIT.parent}'); import submit; submit.REPORT_SEC = 0; submit.run(submit.main)"
    words = ["--max-jobs-run", "1", "JOB=1:3", "x.JOB.log", "true"]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=60)
    assert done.stderr == "submit.py: 1 of 3 jobs done\nsubmit.py: 2 of 3 jobs done\n"


def test_a_failure_that_nobody_reads_is_still_a_failure():
    done = subprocess.run(["bash", "-c", f'"{sys.executable}" "{SUBMIT}" x.log false 2>&1 | true; exit "${{PIPESTATUS[0]}}"'], timeout=60)
    assert done.returncode == 1


# ---- --pick


def test_pick_failed_runs_only_what_did_not_succeed():
    assert submit("JOB=1:3", "x.JOB.log", "test", "JOB", "-ne", "2").returncode == 1
    Path("x.3.log").write_text("# cut short\n")
    assert submit("--pick", "failed", "JOB=1:3", "x.JOB.log", "echo", "again").returncode == 0
    assert [output_of(f"x.{n}.log") for n in (1, 2, 3)] == ["", "again", "again"]


def test_pick_incomplete_runs_only_what_did_not_end_and_still_counts_failures():
    assert submit("JOB=1:3", "x.JOB.log", "test", "JOB", "-ne", "2").returncode == 1
    Path("x.3.log").unlink()
    done = submit("--pick", "incomplete", "JOB=1:3", "x.JOB.log", "echo", "again")
    assert done.returncode == 1
    assert "1 / 3 failed" in done.stderr
    assert [output_of(f"x.{n}.log") for n in (1, 2, 3)] == ["", "", "again"]


def test_pick_takes_a_killed_job_for_incomplete():
    submit("one.log", "kill", "-9", "$$")
    assert submit("--pick", "incomplete", "one.log", "echo", "again").returncode == 0
    assert output_of("one.log") == "again"


def test_pick_all_runs_everything():
    submit("one.log", "true")
    assert submit("--pick", "all", "one.log", "echo", "again").returncode == 0
    assert output_of("one.log") == "again"


# ---- wrong usage


@pytest.mark.parametrize(
    "words, status, message",
    [
        (["JOB=1:2", "x.log", "true"], 1, "you are trying to run a parallel job but you are putting the output into just one log file (x.log)"),
        (["JOB=0:2", "x.JOB.log", "true"], 255, "range JOB=0:2: numbers from 1 on expected"),
        (["JOB=3:2", "x.JOB.log", "true"], 255, "range JOB=3:2: numbers from 1 on expected, the first not above the last"),
        (["JOB=1:", "x.JOB.log", "true"], 255, "range JOB=1:: NAME=first:last expected"),
        (["JOB=-1:2", "x.JOB.log", "true"], 255, "range JOB=-1:2: NAME=first:last expected"),
        (["JOB=1:2"], 255, "a log file and a command are needed"),
        (["x.log"], 255, "a log file and a command are needed"),
        (["--bogus", "3", "x.log", "true"], 2, "unrecognized arguments: --bogus 3"),
        (["-l", "ram_free=2G", "x.log", "true"], 2, "unrecognized arguments: -l ram_free=2G"),
        (["--max-jobs-run", "0", "x.log", "true"], 2, "a whole number above 0 expected, not '0'"),
        (["--engine", "pbs", "x.log", "true"], 2, "invalid choice: 'pbs'"),
        (["--pick", "some", "x.log", "true"], 2, "invalid choice: 'some'"),
        (["--mem", "much", "x.log", "true"], 2, "an amount such as 4G expected, not 'much'"),
        (["--mem"], 2, "expected one argument"),
    ],
)
def test_wrong_usage_is_an_error(words, status, message):
    done = submit(*words)
    assert done.returncode == status
    assert message in done.stderr
    assert not list(Path().glob("x.*"))


def test_help_shows_an_example():
    done = submit("--help")
    assert done.returncode == 0
    assert r"e.g.    utils/submit.py --max-jobs-run 2 JOB=1:4 exp/log/sort.JOB.log sort exp/list.JOB \> exp/sorted.JOB" in done.stdout


# ---- signals


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_jobs_and_their_children(number, status):
    process = started("--max-jobs-run", "2", "JOB=1:4", "x.JOB.log", "sleep", "600", "&", "echo", "$!", ">", "pid.JOB", ";", "wait")
    pids = [pid_in("pid.1"), pid_in("pid.2")]
    process.send_signal(number)
    assert process.wait(timeout=60) == status
    assert process.stderr.read() == f"submit.py: {number.name}: ending the jobs\n"
    assert all(is_gone(pid) for pid in pids)
    assert "signal 15) at" in Path("x.1.log").read_text()
    assert not Path("x.3.log").exists()


def test_a_hangup_that_nohup_ignores_ends_nothing():
    process = subprocess.Popen(["nohup", sys.executable, SUBMIT, "x.log", "echo", "$$", ">", "pid", ";", "sleep", "0.3"], stderr=subprocess.DEVNULL)
    pid_in("pid")
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 0


def test_jobs_end_when_the_submitter_is_killed_outright():
    process = started("x.log", "sleep", "600", "&", "echo", "$!", ">", "pid", ";", "wait")
    pid = pid_in("pid")
    process.kill()
    process.wait()
    assert eventually(lambda: is_gone(pid))


def test_a_job_that_ignores_term_is_killed(monkeypatch):
    module = loaded()
    monkeypatch.setattr(module, "GRACE_SEC", 0.2)
    process = subprocess.Popen(["bash", "-c", "trap '' TERM; echo $$ > pid; while :; do sleep 600; done"], process_group=0)
    pid_in("pid")
    module.end_groups({process.pid}, collect=process.poll)
    assert process.wait(timeout=60) == -signal.SIGKILL
