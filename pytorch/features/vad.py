"""Kaldi's energy-based voice activity detection."""

import numpy as np


def energy_vad(energy, threshold=5.0, mean_scale=0.5, context=0, proportion=0.6):
    """Which frames are voiced, by the rule of Kaldi's compute-vad.

    energy: (T,) log energies, column 0 of MFCC with energy or C0
    threshold + mean_scale * mean(energy) is the energy that counts as speech; a frame is voiced where at least
    `proportion` of the frames at most `context` away, itself included, are above it.
    Returns (T,) float32 of 0 and 1.
    """
    above = energy > threshold + mean_scale * energy.mean(dtype=np.float64)
    sums = np.concatenate([[0], np.cumsum(above)])
    frames = np.arange(len(energy))
    first, last = np.maximum(frames - context, 0), np.minimum(frames + context + 1, len(energy))
    needed = np.float32(proportion) * (last - first).astype(np.float32)  # single precision, for Kaldi's decision where the share is met exactly
    return (sums[last] - sums[first] >= needed).astype(np.float32)
