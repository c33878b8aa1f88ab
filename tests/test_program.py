"""pytorch/program.py: how a program ends."""

import subprocess
import sys
import textwrap


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
