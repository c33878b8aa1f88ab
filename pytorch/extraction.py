"""Embeddings of whole utterances, batched by length."""

import numpy as np
import torch

from pytorch.features.cmvn import subtract_mean

PADDING = 0.2  # of a batch, at most


def plan_batches(lengths, max_frames, masks_padding=True):
    """Cut utterances into batches of like length: lists of indices, longest utterances first.

    masks_padding: the network leaves padding out; where it cannot, a batch holds utterances of one length

    A batch holds at most max_frames frames, padding included, unless one utterance alone is longer. The plan depends on the lengths
    alone, so jobs that share out its batches compute the same values however many they are.
    """
    shortest = 1 - PADDING if masks_padding else 1.0  # of a batch's longest
    batches = []
    for index in np.argsort(-lengths, kind="stable"):
        batch = batches[-1] if batches else []
        longest = lengths[batch[0]] if batch else 0
        if batch and (len(batch) + 1) * longest <= max_frames and lengths[index] >= shortest * longest:
            batch.append(int(index))
        else:
            batches.append([int(index)])
    return batches


@torch.inference_mode()
def embed_batch(model, features, cmn, device):
    """features: list of (T, dim) float32 arrays -> (B, embed_dim) float32 array"""
    lengths = torch.tensor([len(frames) for frames in features])
    x = torch.zeros(len(features), int(lengths.max()), features[0].shape[1])
    for row, frames in enumerate(features):
        x[row, : len(frames)] = torch.from_numpy(frames)
    x, lengths = x.to(device), lengths.to(device) if lengths.min() < lengths.max() else None
    if cmn == "mean":
        x = subtract_mean(x, lengths)
    return model.embed(x, lengths).float().cpu().numpy()


def embed_utterances(model, frames, batches, cmn, device):
    """Yield (utt, (embed_dim,) array) for each utterance of the batches, which index `frames` (a Frames)."""
    for batch in batches:
        yield from zip([frames.utts[index] for index in batch], embed_batch(model, [frames.whole(index) for index in batch], cmn, device), strict=True)
