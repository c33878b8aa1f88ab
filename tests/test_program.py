"""pytorch/program.py: how a program ends, and its files of options."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pytorch.program import Parser


def run_main(root, body):
    code = f"import sys; sys.path.insert(0, {str(root)!r})\nfrom pytorch.program import Fail, run\n{textwrap.dedent(body)}\nrun(main)\n"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_a_file_error_in_a_thread_and_in_the_main_thread_is_one_line(root):
    done = run_main(
        root,
        """
        import threading

        def lose():
            open("/nowhere/x")

        def main():
            thread = threading.Thread(target=lose)
            thread.start()
            thread.join()
            lose()
        """,
    )
    assert (done.returncode, done.stderr) == (1, "-c: /nowhere/x: No such file or directory\n")


def test_a_mistake_of_ours_in_a_thread_keeps_its_traceback(root):
    done = run_main(
        root,
        """
        import threading

        def main():
            thread = threading.Thread(target=lambda: 1 / 0)
            thread.start()
            thread.join()
        """,
    )
    assert "ZeroDivisionError" in done.stderr and "Traceback" in done.stderr


@pytest.mark.parametrize("size", ["10**7, 10**7", "10**12, 10**12"], ids=["more than there is", "more than can be counted"])
def test_memory_that_is_not_enough_is_one_line(root, size):
    done = run_main(
        root,
        f"""
        def main():
            import torch

            torch.empty({size})
        """,
    )
    said = "-c: out of memory on cpu: take less at a time (--help says which options want memory), or a machine with more\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_names_with_odd_letters_stay_in_one_line(root):
    done = run_main(
        root,
        r"""
        def main():
            raise Fail("has no 'a\nb\u2028é\x1b[0m'")
        """,
    )
    assert (done.returncode, done.stderr) == (1, "-c: has no 'a\\nb\\u2028é\\x1b[0m'\n")


def test_a_file_named_in_a_conf_is_looked_for_from_the_folder_of_the_conf_on(tmp_path):
    parser = Parser("Reads.")
    parser.add_argument("--feats", type=Path)
    parser.add_argument("--name")
    (tmp_path / "x.conf").write_text("--feats=fbank.conf\n--name=fbank.conf\n")
    (tmp_path / "y.conf").write_text("--feats=/etc/fbank.conf\n")
    assert vars(parser.parse_args(["--config", f"{tmp_path}/x.conf"])).items() >= {"feats": tmp_path / "fbank.conf", "name": "fbank.conf"}.items()
    assert parser.parse_args(["--config", f"{tmp_path}/y.conf"]).feats == Path("/etc/fbank.conf")
    assert parser.parse_args(["--config", f"{tmp_path}/x.conf", "--feats", "here.conf"]).feats == Path("here.conf")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epoch", "3", "data", "exp"], "unknown option --epoch (is --epochs meant?)"),
        (["--epoch=3", "data", "exp", "--num-thread", "1"], "unknown options --epoch (is --epochs meant?), --num-thread (is --num-threads meant?)"),
        (["--colour", "red", "data", "exp"], "unknown option --colour"),
        (["data", "exp", "more"], "unrecognized arguments: more"),
    ],
)
def test_of_words_that_are_not_understood_the_options_are_named_with_what_is_perhaps_meant(words, message, capsys):
    parser = Parser("Trains.")
    for name in ("data", "exp", "--epochs", "--num-threads"):
        parser.add_argument(name)
    with pytest.raises(SystemExit) as left:
        parser.parse_args(words)
    assert left.value.code == 2
    assert capsys.readouterr().err == f"{parser.prog}: {message}; see --help\n"
