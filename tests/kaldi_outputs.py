"""Kaldi's golden outputs as arrays, and a signal like speech, for the tests of features."""

import re
from pathlib import Path

import numpy as np

from pytorch.data.audio import read_audio
from pytorch.features.options import FeatureOptions

GOLDEN = Path(__file__).parent / "kaldi_golden"
UTTS = ("s0-u1", "s2-u0")
MFCC30 = FeatureOptions(feature="mfcc", low_freq=20.0, high_freq=7600.0, num_mel_bins=30, num_ceps=30, snip_edges=False)


def golden_arrays(name):
    """A text archive of matrices -> {utt: (T, dim) float32}"""
    text = (GOLDEN / name).read_text()
    return {utt: np.array([row.split() for row in body.strip().split("\n")], dtype=np.float32) for utt, body in re.findall(r"(\S+)  \[\n(.*?) \]", text, re.S)}


def golden_vad():
    return {utt: np.array(words.split(), dtype=np.float32) for utt, words in re.findall(r"(\S+)  \[ (.*) \]", (GOLDEN / "vad.txt").read_text())}


def golden_wav(utt):
    return read_audio(GOLDEN / f"{utt}.wav", 16000)


def speech_like(samples, rate=16000):
    """Harmonics of a moving pitch that come and go, noise, an offset, and digital silence at the end."""
    time = np.arange(samples) / rate
    phase = 2 * np.pi * np.cumsum(120 + 20 * np.sin(2 * np.pi * 2 * time)) / rate
    voice = sum(np.sin(order * phase) / order for order in range(1, 20)) * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * time))
    wav = 3000 * voice + 50 * np.random.default_rng(samples).standard_normal(samples) + 100
    wav[int(0.9 * samples) :] = 0
    return wav.astype(np.float32)
