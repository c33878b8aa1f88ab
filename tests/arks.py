"""Archives for tests: small arrays, archives made of bytes, those that Kaldi made."""

import contextlib
import re
import tracemalloc

import numpy as np

from pytorch.data.ark import ArkReader, ArkWriter

RNG = np.random.default_rng(0)
MATRIX = RNG.standard_normal((7, 5)).astype(np.float32)
VECTOR = RNG.standard_normal(9).astype(np.float32)
INTEGERS = np.array([0, 5, -7, 2**31 - 1, -(2**31)], dtype=np.int32)


def write_ark(folder, arrays, **options):
    with ArkWriter(folder / "x.ark", folder / "x.scp", **options) as ark:
        for key, array in arrays.items():
            ark.write(key, array)
    return folder / "x.scp"


def write_scp(path, entry, key="a"):
    path.write_text(f"{key} {entry}\n")
    return path


def ark_of_bytes(folder, content, **options):
    """A reader of the one object `content`, whose key is a."""
    (folder / "x.ark").write_bytes(b"a " + content)
    return ArkReader(write_scp(folder / "x.scp", f"{folder}/x.ark:2"), **options)


def scp_of(archive, folder):
    """An scp of a binary archive of Kaldi's: the place after each key and its blank."""
    data = archive.read_bytes()
    places = {match[1].decode(): match.end(2) for match in re.finditer(rb"(s\d-u\d)( )\0B", data)}
    scp = folder / "golden.scp"
    scp.write_text("".join(f"{utt} {archive}:{place}\n" for utt, place in sorted(places.items())))
    return scp


@contextlib.contextmanager
def memory_below(limit):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()
