"""Sound files made in place, for tests of what reads them."""

import os
import shlex
import struct
import sys

import numpy as np

RATE = 16000
NOISE = np.random.default_rng(0).integers(-32768, 32768, 800).astype(np.int16)
NOISE[:2] = [-32768, 32767]


def tone(seconds, hz=200, rate=RATE, top=8000):
    """(samples,) int16"""
    return (top * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.int16)


def wav_stream(samples, riff=0xFFFFFFFF, data=0xFFFFFFFF, rate=RATE, tag=1):
    """A WAV file of one channel whose header says what sizes it likes: (num,) int16, or float32 with tag 3."""
    width = samples.itemsize
    form = struct.pack("<IHHIIHH", 16, tag, 1, rate, rate * width, width, 8 * width)
    return b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + form + b"data" + struct.pack("<I", data) + samples.tobytes()


def write_m4a(path, samples, rate=RATE, kind="ipod", codec="aac", **options):
    """(num,) int16 -> a file of PyAV's; kind: ipod (M4A), mp4 or adts."""
    import av

    with av.open(str(path), "w", format=kind, options=options) as file:
        stream = file.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(format="s16p" if codec == "alac" else "fltp", layout="mono", rate=rate, frame_size=1024)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))


def write_program(folder, name, code):
    """A program in Python, for PATH."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S -c {shlex.quote(code)} "$@"\n')
    path.chmod(0o755)
    return path


def put_first(monkeypatch, folder):
    """Look for programs in a folder first."""
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
