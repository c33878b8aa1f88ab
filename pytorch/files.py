"""Files that are there whole or not at all, and their fingerprints."""

import contextlib
import hashlib
import json
import os
import socket
from pathlib import Path

from pytorch.program import Fail


@contextlib.contextmanager
def whole_file(path, mode="w"):
    """Open a temporary file beside `path` for writing; on success it is flushed to disk and renamed to `path`, on any failure removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    encoding = None if "b" in mode else "utf-8"
    try:
        with open(temporary, mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:  # a full disk does not say which file it was
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


def sync_folder(path):
    """Make renames in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path, value):
    with whole_file(path) as file:
        json.dump(value, file, indent=1, sort_keys=False)
        file.write("\n")


def read_json(path):
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Fail(f"{path}: no such file") from None
    except ValueError as error:
        raise Fail(f"{path}: not JSON ({error})") from None


def need_file(path, remedy=""):
    """Fail in one line unless `path` is a file with something in it."""
    path = Path(path)
    if not path.is_file():
        raise Fail(f"{path}: no such file{'; ' + remedy if remedy else ''}")
    if path.stat().st_size == 0:
        raise Fail(f"{path}: empty{'; ' + remedy if remedy else ''}")
    return path


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_sizes(paths):
    """One hash over the names and sizes of many files (audio, arks): cheap enough to ask at each start."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            size = os.stat(path).st_size
        except OSError:
            size = -1
        digest.update(f"{path} {size}\n".encode())
    return digest.hexdigest()
