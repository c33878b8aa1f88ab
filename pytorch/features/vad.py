"""Kaldi's energy-based voice activity detection, and the selection of voiced frames."""

import numpy as np

from pytorch.program import Fail


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


def voiced_frames(vad, frames):
    """The places of the voiced frames, by the rules of Kaldi's select-voiced-frames, which are warnings there and errors here.

    vad: decisions of an utterance with `frames` frames, 0 or 1 each -> (voiced,) int64
    Fails, without naming the utterance, where there are other values, another number of them, or no voiced frame.
    """
    if vad.shape != (frames,):
        raise Fail(f"{' x '.join(map(str, vad.shape))} decisions but {frames} frames; run steps/compute_vad.py --overwrite true anew")
    if not np.isin(vad, (0, 1)).all():
        raise Fail("decisions other than 0 and 1")
    places = np.flatnonzero(vad)
    if len(places) == 0:
        raise Fail(f"none of {frames} frames is voiced")
    return places
