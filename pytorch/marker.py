"""Done-markers: a step is finished with these options on these inputs, or it did not happen.

A marker is a JSON file with the options that can change the result, a fingerprint of each input and the size of each output.
While a program works at a step it holds the marker's lock; a second one waits and then finds the work done.
"""

import fcntl
import os
import socket
import sys
from pathlib import Path

from pytorch.files import read_json, write_json
from pytorch.program import Fail

NEUTRAL = {  # options that cannot change a result
    "config", "nj", "cmd", "job", "device", "overwrite", "num_threads", "num_workers", "num_gpus", "num_nodes", "keep_last", "save_minutes", "max_bad_steps",
    "max_fail", "allow_cmd",
}  # fmt: skip


def options_of(args, without=()):
    """The options of a parsed command line that can change the result; `without` names the positional paths."""
    return {name: value for name, value in sorted(vars(args).items()) if name not in NEUTRAL and name not in without}


class Marker:
    """The marker of one step.

    path: where it lies, e.g. data/train/.done/make_feats.json
    options: {name: value}; inputs: {what it is: fingerprint}, see pytorch/files.py
    resumable: a step under way is worth keeping (a training), so that other options stop there too
    """

    def __init__(self, path, options, inputs, resumable=False):
        self.path, self.resumable = Path(path), resumable
        self.asked = {"options": {name: _plain(value) for name, value in options.items()}, "inputs": dict(inputs)}
        self._lock = None

    def lock(self):
        """Hold the step until this process ends. Waits, and says so, while another process holds it."""
        self._lock = hold(self.path.with_suffix(".lock"), self.path.stem)

    def is_done(self, overwrite=False):
        """True where the step is finished as asked and its outputs are whole. Fail where it was finished otherwise, unless `overwrite`."""
        found = self._found()
        if found is None or (found["outputs"] is None and not self.resumable):
            return False
        changes = differences(found, self.asked)
        if changes and not overwrite:
            what = f"{self.path.stem} was {'begun' if found['outputs'] is None else 'done'} otherwise"
            raise Fail(f"{self.path.parent.parent}: {what}: {'; '.join(changes)}. Pass --overwrite true to do it anew")
        if found["outputs"] is None:
            return False
        sizes = {name: _size(self.path.parent.parent / name) for name in found["outputs"]}
        odd = [name for name, size in found["outputs"].items() if sizes[name] != size]
        for name in odd:
            if sizes[name] != -1 and not overwrite:  # edited by hand, perhaps: not ours to replace
                path = self.path.parent.parent / name
                raise Fail(f"{path}: was changed since {self.path.stem} made it; move it away, or pass --overwrite true to make it anew")
        if odd and not changes:
            print(f"{self.path.stem}: {odd[0]} is missing; made anew", file=sys.stderr)
        return not changes and not odd and not overwrite

    def matches(self):
        """True where the step was finished exactly as asked and its outputs are whole; never fails (for parts of a step)."""
        found = self._found()
        if found is None or found["outputs"] is None or differences(found, self.asked):
            return False
        return all(_size(self.path.parent.parent / name) == size for name, size in found["outputs"].items())

    def outputs(self):
        """The names of the outputs where the step was finished exactly as asked, be they there or not; else none"""
        found = self._found()
        return [] if found is None or found["outputs"] is None or differences(found, self.asked) else list(found["outputs"])

    def differs_only_in(self, names):
        """True where the step was finished with these options, on inputs of which some of these names differ, and its archives are whole."""
        found = self._found()
        if found is None or found["outputs"] is None or found.get("options") != self.asked["options"]:
            return False
        old, new = found.get("inputs", {}), self.asked["inputs"]
        odd = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
        whole = all(_size(self.path.parent.parent / name) == size for name, size in found["outputs"].items() if name.endswith(".ark"))
        return bool(odd) and odd <= set(names) and whole

    def is_whole(self):
        """True where all outputs of the finished step have the sizes they had."""
        return all(_size(self.path.parent.parent / name) == size for name, size in self._found()["outputs"].items())

    def is_under_way(self):
        """True where the step was begun, whatever was asked, and not finished."""
        found = self._found()
        return found is not None and found["outputs"] is None

    def adopt(self):
        """Write the marker for these inputs with the outputs of the earlier ones, which are whole."""
        home = self.path.parent.parent
        self.finish([home / name for name in self._found()["outputs"]])

    def is_begun(self):
        """True where the step was begun as asked and not finished: a long step can be taken up again."""
        found = self._found()
        return found is not None and found["outputs"] is None and not differences(found, self.asked)

    def claim(self, outputs, overwrite=False):
        """Fail where one of the step's outputs is there but was made by somebody else, unless `overwrite`."""
        if self._found() is None and not overwrite:
            for path in outputs:
                if Path(path).exists():
                    raise Fail(f"{path}: is there, but {self.path.stem} did not make it; move it away, or pass --overwrite true to replace it")

    def begin(self):
        """Write the marker of a step under way."""
        write_json(self.path, {**self.asked, "outputs": None})

    def finish(self, outputs):
        """Write the marker. outputs: paths of the files made, all below the folder that holds the marker's folder."""
        home = self.path.parent.parent.resolve()
        names = {str(Path(path).resolve().relative_to(home)): _size(path) for path in outputs}
        assert -1 not in names.values(), f"an output is missing: {names}"
        write_json(self.path, {**self.asked, "outputs": names})

    def _found(self):
        try:
            found = read_json(self.path)
        except Fail:
            return None
        kinds = {"options": dict, "inputs": dict, "outputs": dict | None}
        return found if isinstance(found, dict) and all(isinstance(found.get(key, 0), kind) for key, kind in kinds.items()) else None


def hold(path, what):
    """Lock a file for as long as the file returned stays open. Waits, and says so, while another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = open(path, "ab+", buffering=0)
    try:
        _wait_for(lock, what)
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
    except OSError as error:  # a full disk, or one without locks, does not say which file it was
        lock.close()
        raise OSError(error.errno, error.strerror, str(path)) from None
    return lock


def _wait_for(lock, what):
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().decode(errors="replace").strip() or "another process"
        print(f"{what}: waiting for {holder}, which is at this step already", file=sys.stderr, flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)


def differences(found, asked):
    """What differs between two markers, in words: the first few options by name and value, the inputs by name."""
    words = []
    old, new = found.get("options", {}), asked["options"]
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            words.append(f"--{name.replace('_', '-')} was {_show(old.get(name))}, now {_show(new.get(name))}")
    old, new = found.get("inputs", {}), asked["inputs"]
    words += [f"{name} has changed" for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    return words[:4] + ([f"and {len(words) - 4} more"] if len(words) > 4 else [])


def _show(value):
    return str(value).lower() if isinstance(value, bool) else "unset" if value is None else value


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _size(path):
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
