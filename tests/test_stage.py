"""utils/stage.sh: stages of a recipe."""

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

UTILS = Path(__file__).resolve().parents[1] / "utils"
RECIPE = f"""#!/usr/bin/env bash
# Three stages.
set -euo pipefail
stage=1  # first stage to run
stop_stage=3  # last stage to run
step=:  # what stage 2 runs
data=data  # a word

. {UTILS}/parse_options.sh
. {UTILS}/stage.sh

if stage 1 "make data"; then
  echo one
fi

if stage 2 "train"; then
  for part in a b; do
    $step "$part"
  done
fi

if stage 3 "score"; then
  echo three
fi
"""
TIME = r"\d\d:\d\d:\d\d"


@pytest.fixture(autouse=True)
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(RECIPE)


def write(text, path="run.sh"):
    Path(path).write_text(text)
    Path(path).chmod(0o755)


def run(*words, script="./run.sh"):
    return subprocess.run([script, *words], capture_output=True, text=True, timeout=60)


def fails(*words):
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


# ---- which stages run


def test_all_stages_run_with_a_head_and_a_time_each():
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    pattern = (
        rf"== stage 1, {TIME}: make data\none\n== stage 1 took \d+ s\n"
        rf"== stage 2, {TIME}: train\n== stage 2 took \d+ s\n"
        rf"== stage 3, {TIME}: score\nthree\n== stage 3 took \d+ s\n"
    )
    assert re.fullmatch(pattern, done.stdout)


@pytest.mark.parametrize(
    "words, ran",
    [
        (["--stage", "2"], ["2", "3"]),
        (["--stop-stage", "2"], ["1", "2"]),
        (["--stage=2", "--stop_stage=2"], ["2"]),
        (["--stage", "3"], ["3"]),
    ],
)
def test_stage_and_stop_stage_choose(words, ran):
    done = run(*words)
    assert done.returncode == 0
    assert re.findall(rf"^== stage (\d+), {TIME}", done.stdout, re.M) == ran
    assert re.findall(r"^== stage (\d+) took", done.stdout, re.M) == ran


def test_stages_may_begin_at_zero():
    write(RECIPE.replace("stage=1  #", "stage=0  #").replace("if stage 1 ", "if stage 0 "))
    assert run().returncode == 0
    assert run("--stage", "0", "--stop-stage", "0").stdout.count("==") == 2


def test_the_time_of_a_long_stage_is_in_minutes_or_hours():
    write(RECIPE.replace("echo one", "SECONDS=201").replace("echo three", "((SECONDS += 7500))"))
    out = run().stdout
    assert "== stage 1 took 3:21 min\n" in out
    assert "== stage 3 took 2:05 h\n" in out


# ---- ranges in which nothing runs


@pytest.mark.parametrize(
    "words, message",
    [
        (["--stage", "9"], "--stage 9: run.sh has stages 1 to 3"),
        (["--stage", "0"], "--stage 0: run.sh has stages 1 to 3"),
        (["--stage", "-1"], "--stage -1: run.sh has stages 1 to 3"),
        (["--stop-stage", "4"], "--stop-stage 4: run.sh has stages 1 to 3"),
        (["--stop-stage", "0"], "--stop-stage 0: run.sh has stages 1 to 3"),
        (["--stage", "3", "--stop-stage", "2"], "--stage 3 --stop-stage 2: no stage would run"),
        (["--stage", "x"], "--stage: a whole number expected, not 'x'"),
        (["--stage", "08"], "--stage: a whole number expected, not '08'"),
        (["--stop-stage", "99999999999999999999"], "--stop-stage: a whole number expected, not '99999999999999999999'"),
    ],
)
def test_a_wrong_range_is_one_line_and_exit_status_2(words, message):
    assert fails(*words) == f"run.sh: {message}\n"


def test_a_stage_that_is_empty_by_default_is_an_error():
    write(RECIPE.replace("stage=1  #", "stage=  #"))
    assert fails() == "run.sh: --stage: a whole number expected, not ''\n"


def test_a_recipe_without_stages_is_an_error():
    write(RECIPE.replace("if stage", "if  stage"))
    assert fails() == "run.sh: no line begins with 'if stage N '\n"


# ---- failures


def test_a_failed_stage_says_how_to_go_on_and_keeps_the_exit_status():
    write("exit 7", "seven.sh")
    done = run("--step", "bash seven.sh")
    assert done.returncode == 7
    assert done.stderr == r"run.sh: stage 2 failed; once mended, go on with: ./run.sh --stage 2 --step bash\ seven.sh" + "\n"
    assert "stage 2 took" not in done.stdout


def test_the_line_to_go_on_with_repeats_the_other_options_quoted():
    done = run("--stage=2", "--data", "a b\"c'$x", "--step=false", "--stage", "2")
    assert done.returncode == 1
    words = done.stderr.partition("go on with: ")[2]
    repeated = subprocess.run(["bash", "-c", f"printf '%s\\n' {words}"], capture_output=True, text=True).stdout
    assert repeated.splitlines() == ["./run.sh", "--stage", "2", "--data", "a b\"c'$x", "--step=false"]


def test_a_failure_before_the_first_stage_names_none():
    write(RECIPE.replace("if stage 1", "false\nif stage 1", 1))
    done = run()
    assert (done.returncode, done.stderr) == (1, "")


def test_a_step_that_was_interrupted_is_not_called_failed():
    write("exit 130", "interrupted.sh")
    done = run("--step", "bash interrupted.sh")
    assert done.returncode == 130
    assert "run.sh: stage 2 was stopped; go on with: ./run.sh --stage 2" in done.stderr


# ---- signals


def eventually(is_true):
    for _ in range(1000):
        if is_true():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_recipe_reaches_its_step(number):
    write("#!/usr/bin/env bash\ntrap 'echo ended > ended; exit 143' TERM\necho x >> begun\nsleep 600 & wait\n", "step.sh")
    process = subprocess.Popen(["./run.sh", "--step", "./step.sh"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=0)
    assert eventually(lambda: Path("begun").exists())
    process.send_signal(number)
    assert process.wait(timeout=60) == -number
    assert eventually(lambda: Path("ended").exists())
    assert Path("begun").read_text() == "x\n"
    subprocess.run(["pkill", "-g", str(process.pid)])  # the sleep that the step left
    assert process.stderr.read() == "run.sh: stage 2 was stopped; go on with: ./run.sh --stage 2 --step ./step.sh\n"


def test_a_tee_of_the_whole_recipe_outlives_the_end():
    write(RECIPE.replace("\nif stage 1", "\nexec > >(tee whole.log)\nif stage 1", 1))
    done = run()
    assert done.returncode == 0
    assert eventually(lambda: "stage 3 took" in Path("whole.log").read_text())
