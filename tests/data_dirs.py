"""Small data directories, and the tools of utils/ run on them inside the test's process: a tenth of the time a process of their own takes."""

import contextlib
import importlib.util
import io
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from pytorch.program import ROOT, Fail


@cache
def module(name):
    """The module that utils/<name>.py is."""
    spec = importlib.util.spec_from_file_location(f"utils_{name}", ROOT / f"utils/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(name, *words, stdin=""):
    """Run utils/<name>.py as a program would -> status, out and err (text)"""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    argv, source = sys.argv, sys.stdin
    sys.argv, sys.stdin = [str(ROOT / f"utils/{name}.py"), *map(str, words)], io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = module(name).main() or 0
            except Fail as error:
                assert "\n" not in str(error)
                err.write(f"{name}.py: {error}\n")
                status = 1
            except SystemExit as left:
                status = left.code
    finally:
        sys.argv, sys.stdin = argv, source
    return SimpleNamespace(status=status, out=out.buffer.getvalue().decode(), err=err.buffer.getvalue().decode())


def succeed(name, *words, stdin=""):
    """call(), which must succeed -> what was printed"""
    done = call(name, *words, stdin=stdin)
    assert done.status == 0, done.err
    return done.out


def refuse(name, *words, stdin=""):
    """call(), which must fail with status 1 and print nothing but one line on stderr -> that line without the program's name"""
    done = call(name, *words, stdin=stdin)
    assert (done.status, done.out) == (1, ""), done
    assert done.err.count("\n") == 1
    assert done.err.startswith(f"{name}.py: ")
    return done.err.removeprefix(f"{name}.py: ").rstrip("\n")


def write(folder, **tables):
    """Files of a data directory by their name, a dot in it written as __ (wav__scp="…")."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, content in tables.items():
        path = Path(folder) / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Path(folder)


def files(folder):
    """{name: content} of the files of a folder, hidden ones left out"""
    return {path.name: path.read_text() for path in sorted(Path(folder).iterdir()) if path.is_file() and not path.name.startswith(".")}


def small(folder, **more):
    """Four utterances of two speakers, their recordings being one empty file."""
    wav = folder.parent / "silence.wav"
    wav.parent.mkdir(parents=True, exist_ok=True)
    wav.touch()
    utts = ("a-1", "a-2", "b-1", "b-2")
    return write(
        folder,
        wav__scp="".join(f"{utt} {wav}\n" for utt in utts),
        utt2spk="".join(f"{utt} {utt[0]}\n" for utt in utts),
        spk2utt="a a-1 a-2\nb b-1 b-2\n",
        **more,
    )


def with_segments(folder, **more):
    """Four utterances in two recordings."""
    tables = {"wav__scp": "r1 /r1.wav\nr2 /r2.wav\n", "segments": "a-1 r1 0 1.5\na-2 r1 2 3\nb-1 r1 3 4\nb-2 r2 0.25 1\n"}
    return write(small(folder), **{**tables, **more})
