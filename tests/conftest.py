"""What the tests share: the root, one torch thread, the golden data, the optional corpora."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["LC_ALL"] = "C"
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:  # started by nohup or with &: what tests start would ignore them too
        signal.signal(number, usual)


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def golden():
    """Kaldi's own outputs; README.txt there tells the flags."""
    return ROOT / "tests" / "kaldi_golden"


@pytest.fixture(scope="session")
def corpora():
    """Folder of real corpora, named by $CORPORA; tests that need it are skipped without it."""
    folder = Path(os.environ.get("CORPORA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no corpora: name their folder with CORPORA=/path")
    return folder


PROGRESS = re.compile(r"^submit\.py: \d+ of \d+ jobs done\n|^  \d+ of \d+ \w+ \(.*left\n", re.MULTILINE)


@pytest.fixture(scope="session")
def program():
    """program("steps/eer.py", arg, …, cwd=…, env=…) runs one of ours -> CompletedProcess with text output"""

    def run(name, *args, **more):
        command = [sys.executable, str(ROOT / name), *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, **more)
        done.stderr = PROGRESS.sub("", done.stderr)  # which a busy machine brings forth
        return done

    return run
