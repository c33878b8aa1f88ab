"""Other people's lists as text: whole, or refused."""

import re
from pathlib import Path

from pytorch.program import Fail


def read_lines(path):
    """The lines of a list that hold something -> [(number, line), …]."""
    return [(number, line.strip()) for number, line in enumerate(read_text(path).split("\n"), 1) if line.strip()]


def read_text(path, cut_is_seen=False):
    """A list as text, without a byte order mark and Windows line endings. Fails where it is empty, or may be cut off.

    cut_is_seen: the format tells where it ends, and needs no newline there
    """
    path = Path(path)
    if not path.is_file():
        raise Fail(f"{path}: no such file")
    try:
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise Fail(f"{path}: not a text file (byte {error.start} is not UTF-8)") from None
    if odd := re.search("[\x00-\x08\x0b-\x1f\x7f]", text):
        line = text.count("\n", 0, odd.start()) + 1
        raise Fail(f"{path}:{line}: the control character U+{ord(odd[0]):04X}; remove it, the list may be damaged")
    if not text.strip():
        raise Fail(f"{path}: no entry in it")
    if not text.endswith("\n") and not cut_is_seen:
        last = text.count("\n") + 1
        raise Fail(f"{path}:{last}: the last line lacks its newline, the list may be cut off; if it is whole, add one with: echo >> {path}")
    return text
