#!/usr/bin/env python3
"""Copy an archive, whole or some keys of it: from text to binary and back, compressed or not, in single or double precision.

Vectors, matrices (compressed ones too) and vectors of integers tell what they are; for numbers by themselves, say it with --kind.
Archives of words are tables: utils/filter_table.py copies them.

Reads   <in>     an archive; or what ends in .scp: one, or several with commas between
Writes  <out>    an archive x.ark, with x.scp beside it; or - for text on standard output
e.g.    utils/copy_ark.py data/train/feats.scp - | head
        utils/copy_ark.py --compress 3 data/train/feats.scp small/feats.ark
"""

import sys
from itertools import chain
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.files import need_file
from pytorch.program import Fail, Parser, boolean, run
from pytorch.progress import track


def main():
    args = parse_args()
    sources = [Path(name) for name in args.source.split(",")] if args.source.endswith(".scp") else [Path(args.source)]
    for path in sources:
        need_regular_file(path)
    wanted = read_keys(args.keys) if args.keys else None
    reader = read_scps(sources, args.kind) if args.source.endswith(".scp") else None
    if args.target != "-":
        check_target(args.target, sources + [Path(path) for path in (reader.archives() if reader else ())], args.overwrite)
    objects = objects_of(args, reader, wanted)
    copied = print_text(objects) if args.target == "-" else write_archive(objects, args)
    print(f"copy_ark: {copied} objects copied to {'standard output' if args.target == '-' else args.target}", file=sys.stderr)


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("source", metavar="in", help="archive, or scp files with commas between")
    parser.add_argument("target", metavar="out", help="archive to write, or - for text on standard output")
    parser.add_argument("--compress", type=int, choices=range(1, 8), help="compress matrices by Kaldi's method of that number; 3 keeps two bytes a value")
    parser.add_argument("--text", type=boolean, default=False, help="write text, of 7 digits as Kaldi does")
    parser.add_argument("--double", type=boolean, default=False, help="write double precision")
    parser.add_argument("--kind", choices=("array", "int", "float"), default="array", help="int or float: the archive holds numbers by themselves")
    parser.add_argument("--keys", type=Path, help="copy only the keys that come first in the lines of this file")
    parser.add_argument("--in-order", type=boolean, default=True, help="the keys of an archive must be in byte order, each once")
    parser.add_argument("--overwrite", type=boolean, default=False, help="replace an archive of that name, and its scp")
    args = parser.parse_args()
    if args.compress and (args.text or args.double or args.kind != "array" or args.target == "-"):
        parser.error("--compress is for matrices in a binary archive, not for text, double precision or numbers by themselves")
    return args


def need_regular_file(path):
    """Fail on what is there but cannot be mapped into memory, such as a fifo, and on what is missing or empty."""
    if path.exists() and not path.is_file():
        raise Fail(f"{path}: not a regular file")
    need_file(path)


def read_keys(path):
    """The first words of the lines of a file, in their order."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Fail(f"{path}: {getattr(error, 'strerror', None) or 'not a text file'}") from None
    keys = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise Fail(f"{path}:{number}: blank line; remove it")
        keys[line.split(None, 1)[0]] = None
    if not keys:
        raise Fail(f"{path}: empty")
    return keys


def read_scps(sources, kind):
    from pytorch.data.ark import ArkReader

    return ArkReader(sources, kind, exact=True)


def check_target(target, read, overwrite):
    """What is read must not be what is written, and what is there is replaced only where told so."""
    if not target.endswith(".ark"):
        raise Fail(f"{target}: the name of an archive to write must end in .ark; its scp is named after it")
    made = [Path(target), Path(target).with_suffix(".scp")]
    places = {path.resolve() for path in made}
    for path in read:
        if path.resolve() in places:
            raise Fail(f"{path}: is read, and would be replaced; write to another folder")
    for path in made:
        if path.exists() and not overwrite:
            raise Fail(f"{path}: is there; move it away, or pass --overwrite true to replace it")


def objects_of(args, reader, wanted):
    """Yield (key, array) of what shall be copied. Fails where a key of --keys is not there."""
    from pytorch.data.ark import read_ark

    if reader:
        keys = [key for key in sorted(reader) if wanted is None or key in wanted]
        objects = ((key, reader[key]) for key in (keys if args.target == "-" else track(keys, len(keys), "objects")))
    else:
        objects = read_ark(args.source, args.kind, args.in_order)
    found = set()
    for key, value in objects:
        if wanted is None or key in wanted:
            found.add(key)
            yield key, value
    if lost := [key for key in wanted or () if key not in found]:
        raise Fail(f"{args.keys}: {len(lost)} of {len(wanted)} keys are not in {args.source}: {', '.join(lost[:5])}{', …' if len(lost) > 5 else ''}")


def print_text(objects):
    from pytorch.data.ark_text import text_of

    copied = 0
    for key, value in objects:
        sys.stdout.buffer.write(f"{key} {text_of(value)}".encode())
        copied += 1
    sys.stdout.buffer.flush()
    return copied


def write_archive(objects, args):
    import numpy as np

    from pytorch.data.ark import ArkWriter

    first = next(objects)
    integers = first[1].dtype.kind == "i"
    if integers and (args.compress or args.double):
        raise Fail(f"{args.source}: '{first[0]}' is of integers, which --compress and --double are not for")
    dtype = np.int32 if integers else np.float64 if args.double else np.float32
    copied = 0
    with ArkWriter(args.target, Path(args.target).with_suffix(".scp"), args.compress, args.text, dtype) as ark:
        for key, value in chain([first], objects):
            if (value.dtype.kind == "i") != integers:
                raise Fail(f"{args.source}: of '{first[0]}' and '{key}' one is of integers, the other is not; copy them by themselves, with --keys")
            ark.write(key, value)
            copied += 1
    return copied


if __name__ == "__main__":
    run(main)
