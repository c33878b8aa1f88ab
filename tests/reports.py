"""What the tests of reports share: programs run in this process, trials with scores, a page taken apart."""

import contextlib
import importlib
import io
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pytorch.program import Fail

VOID = {"meta", "br", "hr", "img", "link", "input"}


def program(name, *words):
    """A program as one runs it, but for the start of a Python each time -> CompletedProcess"""
    module = importlib.import_module(f"steps.{name}")
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", [f"{name}.py", *map(str, words)])
        try:
            status = module.main() or 0
        except Fail as error:
            status = 1
            print(f"{name}.py: {error}", file=sys.stderr)
        except SystemExit as error:
            status = error.code
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())


def make_scores(folder, targets=(2.0, 3.0, 1.0, 4.0), nontargets=(0.0, 1.5, -1.0, 0.5), speaker="a"):
    """Trials, scores and eer.json in one folder; EER 25 % of the default scores."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [(f"{speaker}-{n}", f"{speaker}-{n}x", score, kind) for kind in (True, False) for n, score in enumerate(targets if kind else nontargets)]
    pairs = [(f"{enrol}{'t' if kind else 'n'}", test, score, kind) for enrol, test, score, kind in pairs]
    (folder / "trials").write_text("".join(f"{e} {t} {'target' if kind else 'nontarget'}\n" for e, t, _, kind in pairs))
    (folder / "scores").write_text("".join(f"{e} {t} {score}\n" for e, t, score, _ in reversed(pairs)))
    done = program("eer", folder / "trials", folder / "scores", folder / "eer.json")
    assert done.returncode == 0, done.stderr
    return folder / "eer.json"


class Page(HTMLParser):
    """A page parsed: open tags are counted, addresses, ids, references and text collected."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.path = Path(path).resolve()
        self.open, self.faults, self.addresses, self.ids, self.references, self.tags, self.text = [], [], [], [], [], [], ""
        self.source = Path(path).read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.look(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.look(tag, attrs)

    def look(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "data", "action", "srcset"):
                self.addresses.append(value)
            if name == "id":
                self.ids.append(value)
            self.references += re.findall(r"url\(([^)]*)\)", value or "") + ([value] if name == "href" else [])

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text += data + "\n"
