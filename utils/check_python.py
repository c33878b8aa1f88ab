#!/usr/bin/env python3
"""Say whether this Python has what the requirement files name, without importing any of it.

Reads   <requirements.txt>…    lines of `name==version`; other versions than the pinned ones are taken as they are, but torch and torchaudio must fit
e.g.    python3 utils/check_python.py requirements.txt

Exit status 0: fit; 3: packages are missing (said on stderr); 1: a version that cannot work, or a card that torch cannot use.
Kept to old syntax, so that an old Python can say that it is too old.
"""

import os
import re
import sys

TORCH = ((2, 11), (2, 15))  # from, below: what torchaudio 2.11, the newest there is, works with
DRIVERS = {"13": 580, "12": 525}  # CUDA -> least NVIDIA driver


def main(files):
    if not files or "--help" in files or "-h" in files:
        print(__doc__.strip())
        return 0
    if sys.version_info < (3, 11):
        return say("version %d.%d is too old, 3.11 or newer is needed" % sys.version_info[:2], 3)
    from importlib.metadata import PackageNotFoundError, version

    versions, missing = {}, []
    for name in [name for path in files for name in names_in(path)]:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            missing.append(name)
    fault = unfit(versions) or old_driver()
    if fault:
        return say(fault, 1)
    if missing:
        return say(f"lacks {', '.join(missing)}; install with: {sys.executable} -m pip install -r {' -r '.join(files)}", 3)
    return 0


def names_in(path):
    with open(path, encoding="utf-8") as file:
        return [re.split(r"[=<>~! ]", line, maxsplit=1)[0] for line in map(str.strip, file) if line and not line.startswith("#")]


def unfit(versions):
    """What is wrong with the versions of torch and torchaudio; None where they fit."""
    if "torch" not in versions:
        return None
    torch, audio = versions["torch"], versions.get("torchaudio")
    remedy = f"install the pair that is known to work: {sys.executable} -m pip install torch==2.11.0 torchaudio==2.11.0"
    if not TORCH[0] <= numbers(torch) < TORCH[1]:
        return f"torch {torch} does not work here, 2.11 to 2.14 do; {remedy}"
    if audio and numbers(audio) != (2, 11):
        return f"torchaudio {audio} does not fit torch {torch}, 2.11 does; {remedy}"
    if audio and cuda_of_torch() is None and links_cuda("torchaudio"):
        return f"torch {torch} has no CUDA in it but torchaudio {audio} wants it and will not load; {remedy}"
    return None


def numbers(version):
    return tuple(int(number) for number in version.split(".")[:2])


def cuda_of_torch():
    """The CUDA version torch was built for, '13.0', or None: read from its version.py."""
    path = os.path.join(folder_of("torch") or "", "version.py")
    if not os.path.exists(path):
        return "unknown"
    with open(path, encoding="utf-8") as file:
        match = re.search(r"^cuda\b[^=]*= *'([^']*)'", file.read(), re.MULTILINE)
    return match[1] if match else None


def links_cuda(package):
    folder = os.path.join(folder_of(package) or "", "lib")
    libraries = [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".so")] if os.path.isdir(folder) else []
    return any(b"libc10_cuda" in open(path, "rb").read() for path in libraries)


def folder_of(package):
    return next((path for path in (os.path.join(entry, package) for entry in sys.path) if os.path.isdir(path)), None)


def old_driver(path="/proc/driver/nvidia/version"):
    """What is wrong with the driver of an NVIDIA card; None where there is none, it is hidden, or new enough."""
    cuda = cuda_of_torch()
    if not os.path.exists(path) or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or cuda in (None, "unknown"):
        return None
    with open(path, encoding="utf-8") as file:
        match = re.search(r"Kernel Module.*?\s(\d+)\.\d", file.read())
    least = DRIVERS.get(cuda.split(".")[0])
    if match and least and int(match[1]) < least:
        return (
            f"the NVIDIA driver {match[1]} is too old for torch's CUDA {cuda}, {least} or newer is needed; update it, "
            "or hide the card and work on the CPU: export CUDA_VISIBLE_DEVICES="
        )
    return None


def say(fault, status):
    sys.stderr.write("path.sh: %s: %s\n" % (sys.executable, fault))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
