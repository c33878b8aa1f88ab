"""utils/parse_options.sh: options of a recipe are the lines `name=default  # help` above its sourcing."""

import os
import subprocess
from pathlib import Path

import pytest

UTILS = Path(__file__).resolve().parents[1] / "utils"
RECIPE = f"""#!/usr/bin/env bash
# Train on two words.
#
#   results: RESULTS.md
set -euo pipefail

stage=1  # first stage to run
nj=4     # parallel jobs
rate=1e-3  # learning rate
use_gpu=false  # work on a GPU
data=data  # where the data go
exp=$data/exp  # where the models go
model_args="a=1 b='2' # c"  # arguments of the network
train_cmd=  # runner of jobs
line=1  # named like a variable of a parser
derived=$exp/x
quiet=true
if true; then
  indented=1  # no option, for it is indented
fi

. {UTILS}/parse_options.sh
later=1  # no option, for it stands below
printf '%s\\n' "$stage" "$nj" "$rate" "$use_gpu" "$data" "$exp" "$model_args" "$train_cmd" "$line"
"""
NAMES = ["stage", "nj", "rate", "use_gpu", "data", "exp", "model_args", "train_cmd", "line"]
DEFAULTS = dict(zip(NAMES, ["1", "4", "1e-3", "false", "data", "data/exp", "a=1 b='2' # c", "", "1"], strict=True))


@pytest.fixture(autouse=True)
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "egs" / "words" / "v1"
    folder.mkdir(parents=True)
    path = folder / "run.sh"
    path.write_text(RECIPE)
    path.chmod(0o755)


def run(*words, script="egs/words/v1/run.sh", **options):
    return subprocess.run([script, *words], capture_output=True, text=True, timeout=60, **options)


def changed(*words):
    """The options that differ from their defaults after a good run."""
    done = run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    found = dict(zip(NAMES, done.stdout.split("\n"), strict=False))
    return {name: value for name, value in found.items() if value != DEFAULTS[name]}


def fails(*words):
    """The one line on stderr of a run with wrong options."""
    done = run(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    return done.stderr.rstrip("\n")


# ---- good options


def test_without_options_the_defaults_stand():
    assert changed() == {}


@pytest.mark.parametrize("words", [["--train-cmd", "x y"], ["--train_cmd", "x y"], ["--train-cmd=x y"], ["--train_cmd=x y"]])
def test_all_spellings_of_an_option_are_equal(words):
    assert changed(*words) == {"train_cmd": "x y"}


def test_options_come_in_any_order_and_the_last_of_equals_wins():
    assert changed("--use-gpu", "true", "--nj=2", "--stage", "3", "--nj", "8") == {"use_gpu": "true", "nj": "8", "stage": "3"}


def test_a_number_may_be_given_as_a_whole_number():
    assert changed("--rate", "2") == {"rate": "2"}


def test_a_value_may_be_empty():
    assert changed("--data=", "--model-args", "") == {"data": "", "model_args": ""}


@pytest.mark.parametrize("value", ["$(touch x)", "`touch x`", "a b\"c'", "; touch x", "a=b=c", "*", "~", "\\", "-1", "naïve"])
def test_a_value_arrives_literally(value):
    assert changed("--data", value) == {"data": value}
    assert changed(f"--data={value}") == {"data": value}
    assert not Path("x").exists()


def test_a_value_may_begin_with_hyphens_where_no_option_has_that_name():
    assert changed("--train-cmd", "--gpu 1") == {"train_cmd": "--gpu 1"}


def test_a_value_may_look_like_an_option_after_an_equals_sign():
    assert changed("--train-cmd=--nj=3") == {"train_cmd": "--nj=3"}


def test_an_option_may_be_named_like_a_variable_of_the_parser():
    assert changed("--line", "5") == {"line": "5"}


def test_a_recipe_that_changes_to_its_own_folder_finds_its_options():
    path = Path("egs/words/v1/run.sh")
    path.write_text(RECIPE.replace("set -euo pipefail\n", 'set -euo pipefail\ncd "$(dirname "$0")"\n'))
    assert changed("--nj", "3") == {"nj": "3"}


def test_a_recipe_without_options_works():
    path = Path("plain.sh")
    path.write_text(f"set -euo pipefail\n. {UTILS}/parse_options.sh\necho fine\n")
    done = run("plain.sh", script="bash")
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")


# ---- help


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_is_made_from_the_script(word):
    done = run(word)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "Train on two words.\n\n  results: RESULTS.md\n\n"
        "e.g. egs/words/v1/run.sh --stage 3 --nj 4\n\n"
        "options, with their defaults:\n"
        "  --stage       1                first stage to run\n"
        "  --nj          4                parallel jobs\n"
        "  --rate        1e-3             learning rate\n"
        "  --use-gpu     false            work on a GPU\n"
        "  --data        data             where the data go\n"
        "  --exp         data/exp         where the models go\n"
        "  --model-args  'a=1 b='2' # c'  arguments of the network\n"
        "  --train-cmd   ''               runner of jobs\n"
        "  --line        1                named like a variable of a parser\n"
        "  --config      FILE             file of options, one --name=value per line; the command line wins\n"
        "  --help                         this text\n"
    )


def test_help_is_no_value():
    assert run("--data", "--help").returncode == 2


# ---- wrong options


@pytest.mark.parametrize(
    "words, message",
    [
        (["--njj", "3"], "unknown option --njj (is --nj meant?); --help lists the options"),
        (["--train-cdm=x"], "unknown option --train-cdm (is --train-cmd meant?); --help lists the options"),
        (["--gpu", "true"], "unknown option --gpu (is --use-gpu meant?); --help lists the options"),
        (["--confg", "x"], "unknown option --confg (is --config meant?); --help lists the options"),
        (["--bogus"], "unknown option --bogus; --help lists the options"),
        (["-x"], "unknown option -x; --help lists the options"),
        (["-nj", "3"], "unknown option -nj (is --nj meant?); --help lists the options"),
        (["--derived", "x"], "unknown option --derived; --help lists the options"),
        (["--quiet", "x"], "unknown option --quiet; --help lists the options"),
        (["--indented", "x"], "unknown option --indented; --help lists the options"),
        (["--later", "x"], "unknown option --later; --help lists the options"),
        (["--_names", "x"], "unknown option --_names; --help lists the options"),
        (["--nj"], "--nj: its value is missing"),
        (["--data", "--nj", "3"], "--data: its value is missing"),
        (["--data", "--nj=3"], "--data: its value is missing"),
        (["--config"], "--config: its value is missing"),
        (["--use-gpu", "1"], "--use-gpu: true or false expected, not '1'"),
        (["--use-gpu="], "--use-gpu: true or false expected, not ''"),
        (["--nj", "2.5"], "--nj: a whole number expected, not '2.5'"),
        (["--nj", "a[$(touch x)]"], "--nj: a whole number expected, not 'a[$(touch x)]'"),
        (["--nj", "1\n2"], "--nj: a whole number expected, not '1 2'"),
        (["--rate", "fast"], "--rate: a number expected, not 'fast'"),
        (["--rate", "1.2.3"], "--rate: a number expected, not '1.2.3'"),
        (["data"], "a recipe takes options only, not 'data'; --help lists them"),
        (["--nj", "3", "4"], "a recipe takes options only, not '4'; --help lists them"),
        (["--"], "a recipe takes options only, not '--'; --help lists them"),
        ([""], "a recipe takes options only, not ''; --help lists them"),
        (["--config", "none"], "--config none: no such file"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_status_2(words, message):
    assert fails(*words) == f"run.sh: {message}"
    assert not Path("x").exists()


def test_an_environment_variable_is_no_option():
    assert fails("--home", "x") == "run.sh: unknown option --home; --help lists the options"
    assert fails("--HOME", "x") == "run.sh: unknown option --HOME; --help lists the options"


# ---- --config


def test_a_configuration_file_sets_options_and_the_command_line_wins():
    Path("a.conf").write_text("# for the cluster\n--nj=7\n\n  use-gpu = true  # there is one\r\n--model_args=c=1 d=2\n--data=$(touch x)")
    expected = {"nj": "9", "use_gpu": "true", "model_args": "c=1 d=2", "data": "$(touch x)"}
    assert changed("--nj", "9", "--config", "a.conf") == expected
    assert changed("--config=a.conf", "--nj=9") == expected
    assert not Path("x").exists()


def test_a_later_configuration_file_wins():
    Path("a.conf").write_text("--nj=7\n--rate=1\n")
    Path("b.conf").write_text("--nj=8\n")
    assert changed("--config", "a.conf", "--config", "b.conf") == {"nj": "8", "rate": "1"}


@pytest.mark.parametrize(
    "line, message",
    [
        ("--nj 3", "--name=value expected, not '--nj 3'"),
        ("--nk=3", "unknown option --nk (is --nj meant?); --help lists the options"),
        ("--config=b.conf", "unknown option --config (is --config meant?); --help lists the options"),
        ("--nj=many", "--nj: a whole number expected, not 'many'"),
    ],
)
def test_a_wrong_line_of_a_configuration_file_is_named(line, message):
    Path("a.conf").write_text(f"# comment\n{line}\n")
    assert fails("--config", "a.conf") == f"run.sh: a.conf:2: {message}"


def test_help_shows_the_values_of_a_configuration_file():
    Path("a.conf").write_text("--nj=7\n")
    assert "  --nj          7  " in run("--config", "a.conf", "--help").stdout


def test_a_configuration_file_may_be_a_pipe():
    command = 'egs/words/v1/run.sh --config <(echo "--nj=7")'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, env=dict(os.environ))
    assert done.stdout.split("\n")[1] == "7"
