"""Questions to a cluster's own programs."""

import os
import subprocess
from typing import NamedTuple

LIMIT_SEC = 60  # a controller under load may take long; one that is away is asked again later


class Answer(NamedTuple):
    ok: bool
    out: str
    err: str


def answer(words):
    """Run a program of the cluster to its end, out of reach of the terminal's Ctrl-C."""
    environment = dict(os.environ, LC_ALL="C")
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=LIMIT_SEC, process_group=0, env=environment
        )
    except FileNotFoundError:
        return Answer(False, "", f"no program '{words[0]}' here")
    except subprocess.TimeoutExpired:
        return Answer(False, "", f"{words[0]}: no answer within {LIMIT_SEC} s")
    return Answer(done.returncode == 0, done.stdout, done.stderr)
