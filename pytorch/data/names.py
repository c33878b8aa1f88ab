"""Lists of names, one a line: the speakers to hold out, for instance."""

from pytorch.data.lines import read_lines
from pytorch.program import Fail


def read_names(path):
    """The names in a file, in its order; blanks around them and what follows a # do not count. Fails where there is none, and where one stands twice."""
    names = {}
    for number, line in read_lines(path):
        if name := line.partition("#")[0].strip():
            if name in names:
                raise Fail(f"{path}:{number}: '{name}' stands twice, in line {names[name]} too; keep one of them")
            names[name] = number
    if not names:
        raise Fail(f"{path}: no name in it")
    return list(names)
