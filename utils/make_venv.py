#!/usr/bin/env python3
"""Make the project's own Python environment, or complete it.

Reads   <requirements.txt>…   pinned packages
Writes  <venv>                the environment; <venv>/.installed says which requirement files are in it
e.g.    python3 utils/make_venv.py .venv requirements.txt

Nothing is done where all is there. A second one waits for the first; one that was interrupted is made anew.
"""

import fcntl
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.files import sha256, write_json
from pytorch.program import Fail, Parser, run


def main():
    parser = Parser(__doc__)
    parser.add_argument("venv", type=Path, help="folder of the environment")
    parser.add_argument("requirements", type=Path, nargs="+", help="requirement files")
    args = parser.parse_args()
    wanted = {path.resolve().name if path.parent.name != "tests" else f"tests/{path.name}": sha256(path) for path in args.requirements}
    installed = args.venv / ".installed"
    if is_complete(installed, wanted):
        return
    with open(args.venv.with_name(args.venv.name + ".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"path.sh: another process is making {args.venv}; waiting for it", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_complete(installed, wanted):
            make(args.venv, args.requirements)
            write_json(installed, {**read(installed), **wanted})
            print(f"path.sh: {args.venv} is ready", file=sys.stderr)


def read(installed):
    return json.loads(installed.read_text()) if installed.exists() else {}


def is_complete(installed, wanted):
    return wanted.items() <= read(installed).items()


def make(venv, requirements):
    """Install into the environment; begin anew one that this program did not finish, never one that somebody else made."""
    ours = venv / ".made-by-embark"
    if venv.exists() and not ours.exists() and any(venv.iterdir()):
        raise Fail(f"{venv} was not made by this project and lacks packages; install them with {venv}/bin/python3 -m pip install -r "
                   f"{' -r '.join(map(str, requirements))}, or remove it")  # fmt: skip
    print(f"path.sh: making {venv} with {sys.executable}: downloads about 3 GB once, takes a minute or more", file=sys.stderr)
    if not (venv / ".installed").exists():
        shutil.rmtree(venv, ignore_errors=True)
        venv.mkdir(parents=True)
        ours.touch()
        call([sys.executable, "-m", "venv", str(venv)], "python3 -m venv failed; on Debian and Ubuntu: apt-get install python3-venv")
    files = [word for path in requirements for word in ("-r", str(path))]
    pip = [str(venv / "bin/python3"), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", *files]
    call(pip, "pip failed: is there a connection, and 8 GB of free disk? Run again")


def call(command, remedy):
    """Run a command; of what it prints, show what is being fetched and installed as progress, and all of it where it fails."""
    said = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as process:
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"(Downloading|Processing) (?:\S*/)?([^/\s]+?-[^-\s]+)-\S+\.whl( \([\d.]+ [kMG]?B\))?", line):
                print(f"  {'downloading' if found[1] == 'Downloading' else 'taking'} {found[2]}{found[3] or ''}", file=sys.stderr)
            elif line.startswith("Installing collected packages"):
                print(f"  installing {line.count(',') + 1} packages", file=sys.stderr)
    if process.returncode != 0:
        sys.stderr.writelines(said[-30:])
        raise Fail(remedy)


if __name__ == "__main__":
    run(main)
