"""Which device the network runs on, and how exactly."""

import contextlib
import functools
import os
import re
import subprocess
from pathlib import Path

from pytorch.program import Fail


def choose_device(name):
    """'auto', 'cpu', 'cuda' or 'cuda:N' -> torch.device. Fails where a card is there, or asked for, but torch cannot use it."""
    import torch

    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise Fail(f"--device {name}: auto, cpu, cuda or cuda:N expected")
    if name == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda" if name == "auto" else name)
        if device.index is not None and device.index >= torch.cuda.device_count():
            raise Fail(f"--device {name}: there are {torch.cuda.device_count()} cards, counted from 0")
        return device
    if name != "auto":
        raise Fail(f"--device {name}: torch {torch.__version__} finds no card it can use; see nvidia-smi, or pass --device cpu")
    if card := hidden_card():
        raise Fail(f"torch {torch.__version__} cannot use the card of this machine ({card}): update its driver, or pass --device cpu")
    return torch.device("cpu")


def hidden_card():
    """The name of an NVIDIA card that nvidia-smi sees; None where there is none, or CUDA_VISIBLE_DEVICES hides them all."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1", "NoDevFiles"):
        return None
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
        if listing.returncode == 0 and listing.stdout.startswith("GPU"):
            return listing.stdout.splitlines()[0].partition(" (UUID")[0]
    return None


def autocast(device, precision):
    """precision: 'bf16', 'fp32', or 'auto': bf16 on a card and on a CPU with instructions for it, which it speeds up; else fp32"""
    import torch

    fast = device.type == "cuda" or multiplies_bf16()
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16" or (precision == "auto" and fast))


@functools.cache
def multiplies_bf16():
    """Whether this CPU multiplies bf16 matrices in hardware."""
    with contextlib.suppress(OSError):
        return any(flag in Path("/proc/cpuinfo").read_text() for flag in (" amx_bf16", " avx512_bf16"))
    return False


def channels_last(model, device, wanted):
    """Whether the weights of 2-D convolutions lie channels last, which speeds up matrix units. wanted: 'auto', 'true' or 'false'

    Not where oneDNN (of torch 2.11 and 2.13) crashes in the backward pass: 1 x 1 convolutions with a stride on few channels, on a CPU with matrix units.
    """
    from torch import nn

    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    crash = device.type == "cpu" and any(conv.in_channels < 16 and max(conv.kernel_size) == 1 and max(conv.stride) > 1 for conv in convolutions)
    if wanted == "true" and crash:
        raise Fail("--channels-last true: narrow convolutions with a stride would crash torch on this CPU; make the network wider, or leave the option out")
    return wanted == "true" or (wanted == "auto" and bool(convolutions) and not crash and (device.type == "cuda" or multiplies_bf16()))


def keep_memory():
    """Have glibc keep large blocks that are freed, for the next step wants them again: giving them back to the system each time costs page faults."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD


def compile_model(model):
    """torch.compile the forward pass, for batches of any length; the first steps take a minute."""
    import shutil

    if not (shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")):
        raise Fail("--compile true: a C++ compiler is needed and there is none (g++, clang++); install one, or leave the option out")
    model.compile(dynamic=True)
