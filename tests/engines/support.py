"""Starting and stopping the engines of tests/engines/*.sh, and submit.py on them."""

import contextlib
import os
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ENGINES = Path(__file__).resolve().parent
SUBMIT = ENGINES.parents[1] / "utils" / "submit.py"


@contextlib.contextmanager
def engine(script, folder, *words):
    """Run tests/engines/<script>.sh as long as the context lasts; skips where what it needs is not on this machine."""
    process = subprocess.Popen(
        ["bash", ENGINES / f"{script}.sh", folder, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        lines = []
        while not lines or lines[-1] != "ready":
            ready, _, _ = select.select([process.stdout], [], [], 60)
            line = process.stdout.readline() if ready else ""
            if not line:
                reason = lines[-1] if lines else "it says nothing"
                if process.wait(timeout=10) == 3:
                    pytest.skip(f"{script}: {reason}")
                pytest.fail(f"{script} did not start: {reason}")
            lines.append(line.strip())
        yield process
    finally:
        process.stdin.close()
        process.wait(timeout=60)


class Site:
    """A cluster as its user sees it: submit.py and the engine's own programs, in a folder."""

    def __init__(self, name, folder, prefix=(), environment=None):
        self.name, self.folder, self.prefix, self.environment = name, folder, list(prefix), {**os.environ, **(environment or {})}

    def words(self, *words):
        return [*self.prefix, "env", "-C", str(self.folder), *map(str, words)]

    def run(self, *words):
        return subprocess.run(self.words(*words), capture_output=True, text=True, timeout=120, env=self.environment)

    def submit(self, *words):
        return self.run(sys.executable, SUBMIT, "--engine", self.name, *words)

    def start(self, *words):
        return self.popen(SUBMIT, "--engine", self.name, *words)

    def popen(self, program, *words):
        """One of ours, in a process group of its own."""
        command = self.words(sys.executable, program, *words)
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment, start_new_session=True)

    def output_of(self, log):
        lines = (self.folder / log).read_text().splitlines()
        return "\n".join(line for line in lines if not line.startswith("#"))


def mini_with(cmd_sh, folder, prefix=(), environment=None):
    """Run egs/mini/v1 small, from a copy of the checkout in which cmd.sh alone differs.

    Returns {name: bytes} of what must not depend on the engine, and the log of the training.
    """
    root = ENGINES.parents[1]
    listed = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True).stdout.split("\n")
    for name in listed:
        if name and not name.startswith("tests/") and (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)
    (folder / "cmd.sh").write_text(cmd_sh)
    recipe = [*prefix, "bash", str(folder / "egs/mini/v1/run.sh"), "--num-speakers", "16", "--epochs", "2", "--nj", "3"]
    more = {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1", **(environment or {})}
    done = subprocess.run(recipe, capture_output=True, text=True, timeout=600, env={**os.environ, **more})
    assert done.returncode == 0, done.stdout + done.stderr
    made = folder / "egs/mini/v1/exp"
    found = {name: (made / name).read_bytes() for name in ("xvector_seed1/test/scores", "stats/test/scores", "xvector_seed1/epoch-002.safetensors")}
    log = next(made.rglob("train.log")).read_text(errors="replace")
    return found, log
