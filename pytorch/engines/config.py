"""How submit.py's options become those of a cluster's own programs: files in the grammar of Kaldi's conf/queue.conf and conf/slurm.conf.

    command sbatch --export=PATH          # the program, and what every job gets
    option mem=* --mem=$0                 # --mem 4G adds --mem=4G
    option mem=0                          # --mem 0 adds nothing; a line for one value wins over that for any
    default gpu=0                         # what holds where --gpu is not given
    option gpu=0 -p cpu
    option gpu=* -p gpu --gres=gpu:$0
    option long=true --qos=long           # an option of the site's own: submit.py --long true

Words are split and quoted as in a shell, but nothing expands.
"""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from pytorch.program import ROOT, Fail

NOTHING = {("num_threads", "1"), ("gpu", "0"), ("mem", "0"), ("nodes", "1")}  # asks for nothing, so that no line is needed


class Settings(NamedTuple):
    source: str  # what messages call it
    command: list
    options: dict  # {(name, value or *): words}
    defaults: dict  # {name: value}


def find_settings(named, usual, builtin):
    """Settings of `named`, the file of --config; else of `usual`, e.g. conf/slurm.conf, in the working folder or the checkout; else of the text `builtin`."""
    if named:
        return read_settings(named)
    for folder in (Path(), ROOT):
        if (folder / usual).exists():
            return read_settings(folder / usual)
    return parse_settings(builtin, f"{usual} (there is none; the built-in lines hold)")


def read_settings(path):
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Fail(f"{path}: not a text file") from None
    except OSError as error:
        raise Fail(f"{path}: {error.strerror}") from None
    return parse_settings(text, str(path))


def parse_settings(text, source):
    command, options, defaults = [], {}, {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise Fail(f"{source}:{number}: {str(error).lower()}") from None
        if not words:
            continue
        pair = re.fullmatch(r"(\w+)=(\S+)", words[1], re.ASCII) if len(words) > 1 else None
        if words[0] == "command" and len(words) > 1:
            command = words[1:]
        elif words[0] == "option" and pair:
            options[pair[1], pair[2]] = words[2:]
        elif words[0] == "default" and pair and len(words) == 2:
            defaults[pair[1]] = pair[2]
        else:
            raise Fail(f"{source}:{number}: 'command PROGRAM …', 'option name=value …' or 'default name=value' expected, not '{line.strip()}'")
    if not command:
        raise Fail(f"{source}: no line 'command PROGRAM …'")
    return Settings(source, command, options, defaults)


def words_for(settings, asked):
    """The command line of the submitting program for {option: value as text}; defaults fill in what was not asked for."""
    words = list(settings.command)
    unasked = {name: value for name, value in settings.defaults.items() if name not in asked}
    for name, value in {**asked, **unasked}.items():
        found = settings.options.get((name, value), settings.options.get((name, "*")))
        if found is None and (name, value) not in NOTHING:
            option = f"--{name.replace('_', '-')} {value}"
            raise Fail(f"{option}: no line for it in {settings.source}: 'option {name}=* …' says what it adds to {settings.command[0]}")
        words += [word.replace("$0", value) for word in found or ()]
    return words
