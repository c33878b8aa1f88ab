"""utils/submit.py: the command line of Kaldi's run.pl on this machine, and what holds on every engine before anything is submitted."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytorch.engines import local, signals
from pytorch.jobs import quote

SUBMIT = Path(__file__).resolve().parents[1] / "utils" / "submit.py"
PRINT_WORDS = "import json, sys; print(json.dumps(sys.argv[1:]))"
DATE = r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ \d{4}"


@pytest.fixture(autouse=True)
def work_in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def submit(*words, **options):
    return subprocess.run([sys.executable, SUBMIT, *map(str, words)], capture_output=True, text=True, timeout=60, **options)


@pytest.fixture
def cards(monkeypatch, tmp_path):
    """cards(2) makes an nvidia-smi that lists two cards; cards(2, busy=[0]) one on whose first card somebody computes."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    uuid = f"GPU-{os.getpid()}-{time.time_ns()}"

    def make(number, busy=()):
        listed = "".join(f"echo {card}, {uuid}-{card}; " for card in range(number))
        used = "".join(f"echo {uuid}-{card}, 1234; " for card in busy)
        program = tmp_path / "bin/nvidia-smi"
        program.write_text(f'#!/bin/sh\ncase "$*" in *query-gpu=index,uuid*) {listed or ":"};; *) {used or ":"};; esac\n'.replace("; ;;", ";;"))
        program.chmod(0o755)
        return uuid

    return make


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
    assert [local.default_limit(jobs, gpu=0) for jobs in (3, 13, 14, 100)] == [3, 13, 10, 10]


# ---- cards


def test_each_job_gets_a_card_that_no_other_has(cards):
    cards(2)
    words = "mkdir card$CUDA_VISIBLE_DEVICES && sleep 0.5 && rmdir card$CUDA_VISIBLE_DEVICES ; echo $CUDA_VISIBLE_DEVICES $CUDA_DEVICE_ORDER".split()
    done = submit("--gpu", "1", "JOB=1:4", "x.JOB.log", *words)
    assert done.returncode == 0, done.stderr
    assert {output_of(f"x.{n}.log") for n in range(1, 5)} == {"0 PCI_BUS_ID", "1 PCI_BUS_ID"}


def test_a_job_may_have_several_cards(cards):
    cards(3)
    assert local.default_limit(8, gpu=1) == 3
    assert local.default_limit(8, gpu=2) == 1
    assert submit("--gpu", "2", "x.log", "echo", "$CUDA_VISIBLE_DEVICES").returncode == 0
    assert output_of("x.log") == "0,1"


def test_a_card_on_which_somebody_computes_is_left_alone(cards):
    cards(2, busy=[0])
    assert submit("--gpu", "1", "x.log", "echo", "$CUDA_VISIBLE_DEVICES").returncode == 0
    assert output_of("x.log") == "1"


def test_cards_are_chosen_among_those_that_the_environment_allows(cards, monkeypatch):
    uuid = cards(3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"2,{uuid}-1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    assert submit("--gpu", "1", "x.log", "echo", "$CUDA_VISIBLE_DEVICES").returncode == 0
    assert output_of("x.log") == "2"
    assert "--gpu 2: 1 of the 2 cards asked for are here" in submit("--gpu", "2", "y.log", "true").stderr


def test_a_job_waits_for_a_card_that_another_submission_uses_and_says_so_in_its_log(cards):
    cards(1)
    first = started("--gpu", "1", "a.log", "touch", "begun", ";", "while", "test", "!", "-e", "enough", ";", "do", "sleep", "0.1", ";", "done")
    assert eventually(Path("begun").exists)
    second = started("--gpu", "1", "b.log", "true")
    assert eventually(lambda: Path("b.log").exists() and "waiting for 1 free cards of 1" in Path("b.log").read_text())
    Path("enough").touch()
    assert (first.wait(timeout=60), second.wait(timeout=60)) == (0, 0)


def test_without_cards_jobs_that_ask_for_one_do_not_run(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = submit("--gpu", "1", "x.log", "true")
    assert done.returncode == 1
    assert "submit.py: --gpu 1: nvidia-smi finds no card on this machine; leave --gpu out to run without cards" in done.stderr
    assert not Path("x.log").exists()


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
    script = (
        f"import sys; sys.path.insert(0, '{SUBMIT.parent}'); import submit; from pytorch.engines import local; local.REPORT_SEC = 0; submit.run(submit.main)"
    )
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
        (["--retries", "x", "x.log", "true"], 2, "a whole number, 0 or more expected, not 'x'"),
        (["--stop-early", "yes", "x.log", "true"], 2, "true or false expected, not 'yes'"),
        (["--time", "soon", "x.log", "true"], 2, "a limit such as 90 (minutes), 1:30:00 or 2-12 (days-hours) expected, not 'soon'"),
        (["--time", "0", "x.log", "true"], 2, "a limit above 0 expected, not '0'"),
        (["--mem", "4000", "x.log", "true"], 2, "an amount such as 4G expected, not '4000'"),
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
    monkeypatch.setattr(local, "GRACE_SEC", 0.2)
    process = subprocess.Popen(["bash", "-c", "trap '' TERM; echo $$ > pid; while :; do sleep 600; done"], process_group=0)
    pid_in("pid")
    local.end_groups({process.pid}, collect=process.poll)
    assert process.wait(timeout=60) == -signal.SIGKILL


# ---- clusters, up to what is handed to them


@pytest.fixture
def sbatch(tmp_path, monkeypatch):
    """An sbatch that writes down its words and refuses; returns a function that submits and gives those words, up to ours."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/sbatch"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > words\necho "sbatch: error: no" >&2\nexit 1\n')
    program.chmod(0o755)
    (tmp_path / "bin/qsub").write_text(program.read_text())
    (tmp_path / "bin/qsub").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")

    def words_of(*words, engine="slurm", own="--parsable"):
        done = submit("--engine", engine, *words)
        assert done.returncode == 1 and "did not take the job: sbatch: error: no (command: " in done.stderr, done.stderr
        found = Path("words").read_text().splitlines()
        return found[: found.index(own)], found

    return words_of


def test_options_become_those_of_slurm(sbatch):
    words, _ = sbatch("--mem", "4g", "--num-threads", "2", "--gpu", "1", "--time", "1-12", "--nodes", "2", "-p", "long", "x.log", "true")
    assert words == "--export=PATH --mem=4G --cpus-per-task=2 --gres=gpu:1 --time=36:00:00 --nodes=2 --ntasks-per-node=1 -p long".split()


def test_options_become_those_of_grid_engine(sbatch):
    words, _ = sbatch("--mem", "1.5G", "--num-threads", "2", "--gpu", "1", "--time", "90", "-q", "a.q", "-V", "x.log", "true", engine="sge", own="-terse")
    assert words == "-v PATH -cwd -S /bin/bash -j y -l arch=*64* -l mem_free=1536M -pe smp 2 -l gpu=1 -l h_rt=1:30:00 -q a.q -V".split()


def test_the_limit_of_an_array_and_its_numbers_are_the_engines_own_words(sbatch):
    for n in (1, 2, 4):
        Path(f"x.{n}.log").write_text("# Ended (code 0) at some time, elapsed time 0 seconds\n")
    picked = ["--pick", "failed", "-tc", "5", "JOB=1:7", "x.JOB.log", "true"]
    assert "--array=3,5-7%5" in sbatch(*picked)[1]
    words = " ".join(sbatch(*picked, engine="sge", own="-terse")[1])
    assert " -tc 5 " in words and " -t 1-4 " in words


def test_a_value_of_its_own_wins_over_any_value_and_defaults_fill_in(sbatch):
    lines = ["command sbatch", "default queue=short", "option queue=short -p 'a b'", "option queue=* -p $0", "option mem=0", "option mem=* --mem=$0"]
    Path("my.conf").write_text("\n".join(lines))
    assert sbatch("--config", "my.conf", "--mem", "0", "x.log", "true")[0] == ["-p", "a b"]
    assert sbatch("--config", "my.conf", "--mem", "1G", "--queue", "long", "x.log", "true")[0] == ["-p", "long", "--mem=1G"]


def test_kaldis_own_queue_conf_is_understood(sbatch):
    lines = """# Default configuration
command qsub -v PATH -cwd -S /bin/bash -j y -l arch=*64*
option mem=* -l mem_free=$0,ram_free=$0
option mem=0          # Do not add anything to qsub_opts
option num_threads=* -pe smp $0
option num_threads=1  # Do not add anything to qsub_opts
option max_jobs_run=* -tc $0
default gpu=0
option gpu=0
option gpu=* -l gpu=$0 -q '*.q'
"""
    Path("conf").mkdir()
    Path("conf/queue.conf").write_text(lines)
    words, _ = sbatch("--mem", "4G", "--gpu", "2", "--num-threads", "1", "x.log", "true", engine="sge", own="-terse")
    assert words == "-v PATH -cwd -S /bin/bash -j y -l arch=*64* -l mem_free=4G,ram_free=4G -l gpu=2 -q *.q".split()


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "my.conf: no line 'command PROGRAM …'"),
        ("command sbatch\noptions mem=*\n", "my.conf:2: 'command PROGRAM …', 'option name=value …' or 'default name=value' expected, not 'options mem=*'"),
        ("command sbatch\noption mem\n", "my.conf:2: "),
        ("command sbatch 'a\n", "my.conf:1: no closing quotation"),
        ("command sbatch\n", "--mem 1G: no line for it in my.conf: 'option mem=* …' says what it adds to sbatch"),
        ("command nosuchprogram\noption mem=*\n", "--engine slurm: no program 'nosuchprogram' on this machine; submit from a machine of the cluster"),
    ],
)
def test_wrong_settings_are_one_line(text, message):
    Path("my.conf").write_text(text)
    done = submit("--engine", "slurm", "--config", "my.conf", "--mem", "1G", "x.log", "true")
    assert done.returncode == 1
    assert done.stderr.startswith(f"submit.py: {message}")
    assert done.stderr.count("\n") == 1


def test_settings_that_are_named_must_be_there():
    done = submit("--engine", "slurm", "--config", "no.conf", "x.log", "true")
    assert (done.returncode, done.stderr) == (1, "submit.py: no.conf: No such file or directory\n")


def test_an_option_that_neither_we_nor_the_settings_have_is_status_2():
    done = submit("--engine", "slurm", "--bogus", "3", "x.log", "true")
    assert done.returncode == 2
    assert "--bogus: neither submit.py nor conf/slurm.conf (there is none; the built-in lines hold) has this option" in done.stderr


@pytest.mark.parametrize("name", ["exp/x/log/foo.JOB.log", "exp/x/foo.JOB.log", "exp/x/log/JOB/foo.log"])
def test_what_is_kept_lies_where_kaldi_keeps_it(name, sbatch):
    sbatch("JOB=1:2", name, "true")
    folder = Path("exp/x/q")
    assert (folder / "foo.sh").exists()


def test_a_cluster_that_does_not_answer_is_asked_again(tmp_path, monkeypatch):
    from pytorch.engines import cluster
    from pytorch.engines.commands import Answer
    from pytorch.engines.config import parse_settings
    from pytorch.engines.slurm import BUILTIN

    answers = [Answer(False, "", "sbatch: error: Socket timed out on send/recv operation"), Answer(False, "", ""), Answer(True, "17\n", "")]
    monkeypatch.setattr(cluster, "answer", lambda words: answers.pop(0))
    monkeypatch.setattr(cluster.slurm, "answer", lambda words: answers.pop(0))
    monkeypatch.setattr(cluster, "PAUSE_SEC", 0.01)
    array = cluster.Array("slurm", parse_settings(BUILTIN, "built in"), {}, [], None, "x.log", "true", None, None)
    array.title, array.bell = "x", signals.bell_of_signals()
    assert array._submitted(["sbatch"]) == "17"


def test_the_first_failed_job_ends_the_others_when_asked_to():
    done = submit("--stop-early", "true", "--max-jobs-run", "2", "JOB=1:3", "x.JOB.log", "test", "JOB", "=", "1", "&&", "exit", "3", ";", "sleep", "600")
    assert done.returncode == 1
    assert "failed jobs: 1 (code 3), 2 (ended before it was done), 3 (not run)\n" in done.stderr


def test_retries_run_failed_jobs_again_and_keep_their_logs():
    assert submit("--retries", "1", "JOB=1:2", "y.JOB.log", "test", "JOB", "=", "1", "||", "rmdir", "d", "||", "!", "mkdir", "d").returncode == 0
    assert Path("y.2.log.1").exists() and not Path("y.1.log.1").exists()


def test_several_machines_are_no_local_matter():
    done = submit("--nodes", "2", "x.log", "true")
    assert (done.returncode, done.stderr) == (1, "submit.py: --nodes 2: this machine is one; --engine slurm has more\n")


def test_pick_understands_the_logs_of_a_sites_queue_pl():
    Path("x.1.log").write_text("# Accounting: time=1 threads=1\n# Finished at Sat Nov 21 05:06:45 UTC 2026 with status 0\n")
    Path("x.2.log").write_text("# Accounting: time=1 threads=1\n# Finished at Sat Nov 21 05:06:45 UTC 2026 with status 1\n")
    assert submit("--pick", "failed", "JOB=1:2", "x.JOB.log", "echo", "again").returncode == 0
    assert [output_of(f"x.{n}.log") for n in (1, 2)] == ["", "again"]
