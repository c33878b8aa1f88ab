"""What every program here shares: its failures, its options, its way to start."""

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036  the programs can be called without path.sh
    sys.exit(f"{sys.argv[0]}: Python {sys.version.split()[0]} is too old, 3.11 or newer is needed; '. path.sh' finds or makes one")

ROOT = Path(__file__).resolve().parents[1]


class Fail(Exception):
    """A mistake of the user's: one line with the file, the line and the remedy. The program prints it and exits with status 1."""


class Terminated(BaseException):
    """SIGTERM or SIGHUP, args[0], arrived; raised in the main thread so that work in progress can be put away."""


_signals = []  # that arrived
_said = []  # lines on stderr, each once
LIKE = 0.7  # difflib's likeness of an option and of the one that is perhaps meant


def run(main):
    """Run main() as a program: Fail becomes one line on stderr and status 1, signals and full disks end cleanly."""
    name = Path(sys.argv[0]).name
    sys.stdout.reconfigure(line_buffering=True)
    threading.excepthook = _thread_failed
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _raise_terminated)
    try:
        status = main()
        sys.stdout.flush()
    except Fail as error:
        status = _say(name, error, 1)
    except ModuleNotFoundError as error:
        if (ROOT / (error.name or "").replace(".", "/")).exists():
            raise
        status = _say(name, f"{sys.executable} has no package {error.name}: run '. {ROOT}/path.sh' first, it finds or makes a Python with all", 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader (head, less) left
        status = 141
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        status = _say(name, _file_trouble(error), 1)
    except KeyboardInterrupt:
        status = _say(name, "interrupted", 130)
    except Terminated:
        status = _say(name, "terminated", 143)
    except Exception as error:
        if _signals:
            status = _say(name, "terminated", 143)  # what the signal interrupted made another error of it
        elif is_out_of_memory(error):
            where = "cuda" if "CUDA" in str(error) else "cpu"
            status = _say(name, f"out of memory on {where}: take less at a time (--help says which options want memory), or a machine with more", 1)
        else:
            raise
    sys.exit(status)


def is_out_of_memory(error):
    """Whether an exception says that memory, of the machine or of a card, is not enough; torch has many ways to."""
    wanted = r"out of memory|allocate (shared )?memory|not enough memory|ALLOC_FAILED|(storage size calculation|integer multiplication) overflow"
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and re.search(wanted, str(error), re.IGNORECASE) is not None)


def _raise_terminated(signum, frame):
    signal.signal(signum, signal.SIG_IGN)
    _signals.append(signum)
    raise Terminated(signum)


def _file_trouble(error):
    return f"{os.fsdecode(error.filename or 'output')}: {error.strerror}"


def _thread_failed(args):
    """A library's own thread (TensorBoard's writer) met a full disk or a lost folder: a line, no traceback; the main thread hears of it and ends."""
    if isinstance(args.exc_value, OSError) and args.exc_value.errno is not None:
        _say(Path(sys.argv[0]).name, _file_trouble(args.exc_value), 1)
    else:
        threading.__excepthook__(args)


def _say(name, message, status):
    line = f"{name}: {''.join(char if char.isprintable() else char.encode('unicode_escape').decode() for char in str(message))}\n"
    if line not in _said:
        _said.append(line)
        sys.stderr.write(line)  # in one piece: other threads write too
    return status


def commit():
    """The commit this code stands at, `-dirty` with uncommitted changes, `unknown` outside git."""
    describe = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


# ---- options


def boolean(text):
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"true or false expected, not '{text}'")
    return text == "true"


def positive_int(text):
    return _number(text, int, lambda x: x > 0, "a whole number above 0")


def count(text):
    return _number(text, int, lambda x: x >= 0, "a whole number, 0 or more")


def positive_float(text):
    return _number(text, float, lambda x: 0 < x < float("inf"), "a number above 0")


def non_negative_float(text):
    return _number(text, float, lambda x: 0 <= x < float("inf"), "a number, 0 or more")


def finite_float(text):
    return _number(text, float, lambda x: abs(x) < float("inf"), "a number")


def fraction(text):
    return _number(text, float, lambda x: 0 <= x <= 1, "a number from 0 to 1")


def _number(text, kind, accept, expected):
    try:
        value = kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{expected} expected, not '{text}'") from None
    if not accept(value):
        raise argparse.ArgumentTypeError(f"{expected} expected, not '{text}'")
    return value


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def _get_help_string(self, action):
        if not action.option_strings or action.default in (None, "", argparse.SUPPRESS) or action.help == argparse.SUPPRESS:
            return action.help
        shown = str(action.default).lower() if isinstance(action.default, bool) else action.default
        return f"{action.help} (default: {shown})"


class Parser(argparse.ArgumentParser):
    """argparse with the rules of the house: the module docstring is the help; `--a=b`, `--a b`, `--a_b` are equal; no abbreviations;
    `--config f` reads Kaldi-style files (one `--name=value` per line, `#` comments) that the command line overrides; files named in one are
    looked for from its folder on; exit status 2."""

    def __init__(self, doc):
        super().__init__(description=doc.strip(), formatter_class=_HelpFormatter, allow_abbrev=False)
        config = "file of options, one --name=value per line; paths in it are seen from its folder; the command line wins"
        self.add_argument("--config", action="append", metavar="FILE", help=config)

    def parse_args(self, argv=None):
        argv = list(sys.argv[1:] if argv is None else argv)
        end = argv.index("--") if "--" in argv else len(argv)
        argv[:end] = map(_hyphens, argv[:end])
        from_files = []
        for place, word in enumerate(argv[:end]):
            if word == "--config" and place + 1 < len(argv):
                from_files += self._read_config(argv[place + 1])
            elif word.startswith("--config="):
                from_files += self._read_config(word.partition("=")[2])
        args, left = self.parse_known_args(from_files + argv)
        if left:
            self.error(self._unknown(left))
        return args

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}; see --help\n")

    def _unknown(self, words):
        """What is said of words that were not understood: the options among them, for what stands behind may be their values."""
        names = [word.partition("=")[0] for word in words if word.startswith("--") and word != "--"]
        if not names:
            return f"unrecognized arguments: {' '.join(words)}"
        return f"unknown option{'s' if len(names) > 1 else ''} {', '.join(name + self._meant(name) for name in names)}"

    def _meant(self, name):
        """The option most like one that is not there, in words; "" where none is much like it."""
        import difflib

        names = [other[2:] for other in self._option_string_actions if other.startswith("--")]
        like = difflib.get_close_matches(name[2:], names, 1, LIKE)
        return f" (is --{like[0]} meant?)" if like else ""

    def _read_config(self, path):
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            self.error(f"--config {path}: {getattr(error, 'strerror', None) or 'not a text file'}")
        words = []
        for number, line in enumerate(lines, 1):
            line = line.partition("#")[0].strip()
            if not line:
                continue
            name, equals, value = line.partition("=")
            name = _hyphens(name.strip())
            if not name.startswith("--") or not equals:
                self.error(f"{path}:{number}: --name=value expected, not '{line}'")
            if name not in self._option_string_actions or name == "--config":
                self.error(f"{path}:{number}: {self.prog} has no option {name}{self._meant(name)}")
            value = value.strip()
            if self._option_string_actions[name].type is Path and value:
                value = Path(path).parent / value
            words.append(f"{name}={value}")
        return words


def _hyphens(word):
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value
