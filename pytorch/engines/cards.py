"""The graphics cards of this machine: which there are, which are free, and a lock for each, so that two jobs never take the same one.

A card is free where no process computes on it (nvidia-smi) and nobody holds its lock. Locks are files in /tmp, one for each card, that all users of the
machine share; the processes of a job hold them open, so that they are free again with the last of them, however it ends.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from pytorch.program import Fail

LOCKS = Path("/tmp/embark-cards")
SAY_SEC = 60  # between two lines about cards that are waited for


class Card(NamedTuple):
    index: str
    uuid: str


def visible_cards():
    """The cards that nvidia-smi lists, of those that CUDA_VISIBLE_DEVICES allows where it is set."""
    cards = [Card(*row) for row in _ask("--query-gpu=index,uuid") if len(row) == 2]
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return cards
    names = [name.strip() for name in allowed.split(",") if name.strip()]
    return [card for card in cards if any(name == card.index or (name.startswith("GPU-") and card.uuid.startswith(name)) for name in names)]


def take_cards(number):
    """Wait until `number` cards are free and take them: returns them; their locks stay open, in programs started by exec too."""
    cards = visible_cards()
    if len(cards) < number:
        raise Fail(f"{number} cards asked for, {len(cards)} on {os.uname().nodename} (as nvidia-smi and CUDA_VISIBLE_DEVICES say)")
    said_at = None
    while True:
        with _lock_file("choice") as choice:  # one process chooses at a time: none holds half of what it needs
            fcntl.flock(choice, fcntl.LOCK_EX)
            busy = {row[0] for row in _ask("--query-compute-apps=gpu_uuid,pid")}
            taken = [(card, lock) for card in cards if card.uuid not in busy and (lock := _lock(card))]
            for _, lock in taken[number:] if len(taken) >= number else taken:
                lock.close()
        if len(taken) >= number:
            for _, lock in taken[:number]:
                os.set_inheritable(os.dup(lock.fileno()), True)
            return [card for card, _ in taken[:number]]
        if said_at is None or time.monotonic() - said_at > SAY_SEC:
            print(f"waiting for {number} free cards of {len(cards)}; nvidia-smi shows who computes on them", file=sys.stderr, flush=True)
            said_at = time.monotonic()
        time.sleep(1)


def _ask(query):
    """Rows of fields that nvidia-smi answers; none where there is no nvidia-smi or no driver."""
    try:
        answer = subprocess.run(["nvidia-smi", query, "--format=csv,noheader"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        return []
    return [[field.strip() for field in line.split(",")] for line in answer.stdout.splitlines()] if answer.returncode == 0 else []


def _lock(card):
    """The card's lock file, locked, or None where another job holds it."""
    lock = _lock_file(card.uuid)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _lock_file(name):
    with contextlib.suppress(FileExistsError):
        LOCKS.mkdir()
        LOCKS.chmod(0o1777)
    path = LOCKS / f"{name}.lock"
    with contextlib.suppress(FileExistsError):
        new = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        os.fchmod(new, 0o644)  # whatever the umask: other users have to open it
        os.close(new)
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")  # to lock a file it needs to be read only: another user's will do
