"""Embeddings of whole utterances, batched by length."""

from dataclasses import dataclass

import numpy as np
import torch

from pytorch.device import autocast
from pytorch.models import check_layer
from pytorch.models.inference import fused
from pytorch.program import Fail

PADDING = 0.2  # of a batch, at most
CLASSES = "classes"  # in place of a layer: what the loss says of each class


class Embedder:
    """What embeddings come from: a layer of a network, or what its loss says of each class (cosines without margin and scale, or logits).

    layer: one of the network's; None: the one it gives by itself; loss: in place of a layer; precision: fp32, or bf16 for products and convolutions
    The rest as of a network, see pytorch/models/__init__.py
    """

    def __init__(self, model, layer=None, loss=None, precision="fp32"):
        self.model, self.layer, self.loss, self.precision = model, layer, loss, precision
        self.min_frames, self.masks_padding = model.min_frames, model.masks_padding

    @classmethod
    def of(cls, model, layer=None, loss=None, precision="fp32"):
        """Of a network in evaluation mode, which is made as fast as it can be and serves for nothing else afterwards"""
        return cls(fused(model).to(memory_format=torch.channels_last), layer, loss, precision)

    @classmethod
    def load(cls, experiment, epoch, device, layer=None, precision="fp32"):
        """experiment: an Experiment; device: a torch.device; layer: of the network, None, or CLASSES"""
        if layer != CLASSES:
            model = experiment.load(epoch, device)
            check_layer(model, layer)
            return cls.of(model, layer, precision=precision)
        network = experiment.load_network(epoch, device)
        if not experiment.settings["classes"] or not hasattr(network.loss, "_scores"):
            raise Fail(f"--layer {CLASSES}: {experiment.path} was not trained to tell classes; name a layer of its network")
        return cls.of(network.model, loss=network.loss, precision=precision)

    def embed(self, x, lengths=None):
        """x, lengths: as of a network -> (B, dim)"""
        with autocast(x.device, self.precision):
            if self.loss is not None:
                return self.loss.scores(self.model(x, lengths))
            return self.model.embed(x, lengths) if self.layer is None else self.model.embed(x, lengths, self.layer)


@dataclass(frozen=True)
class Chunks:
    """How utterances are cut before the network sees them, as Kaldi's nnet3-xvector-compute does: pieces of `size` one behind the other, the last one
    shorter; a piece shorter than `least` is padded with its first and its last row; the embedding is the mean of the pieces', weighted by their lengths.

    All in what the network is given, frames or samples. size: None: utterances stay whole; most: in a batch of pieces
    """

    size: int | None
    least: int
    most: int

    def pieces(self, lengths):
        """lengths: of utterances -> [(number of the utterance, first, length), …]"""
        return [(row, first, min(self.size or total, total - first)) for row, total in enumerate(lengths) for first in range(0, total, self.size or total)]

    def padded(self, piece):
        """(T, dim) -> (T or least, dim): the first row is repeated for half of what is missing, rounded down, the last one for the rest"""
        missing = max(0, self.least - len(piece))
        before = missing // 2
        return torch.cat([piece[:1].expand(before, -1), piece, piece[-1:].expand(missing - before, -1)]) if missing else piece


def frames_at_once(asked, device):
    """Frames of a batch: `asked`, or where that is None as many as fill a card, or as few as the caches of a CPU hold."""
    return asked or (20000 if device.type == "cuda" else 500)


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


def plan_source(source, front, max_frames, masks_padding=True):
    """plan_batches() by the lengths of what the network is given of a source (Frames or Waves) through a Front. max_frames: where it is samples, of 10 ms"""
    return plan_batches(front.lengths(source), units(source, front, max_frames), masks_padding)


def units(source, front, num_frames):
    """So many frames, in what the network is given of a source through a Front: frames, or samples, 10 ms to a frame."""
    return source.units(num_frames) if not source.row_shape and front.options is None else num_frames


@torch.inference_mode()
def embed_batch(model, utterances, front, device, chunks=None):
    """utterances: list of arrays, (T, dim) float32 or (samples,) int16; model: a network or an Embedder; front: a Front; chunks: Chunks, None: uncut
    -> (B, embed_dim) float32 array"""
    first, lengths = utterances[0], [len(rows) for rows in utterances]
    x = np.zeros((len(utterances), max(lengths), *first.shape[1:]), dtype=first.dtype)
    for row, rows in zip(x, utterances, strict=True):
        row[: len(rows)] = rows
    x = torch.from_numpy(x).to(device)
    if min(lengths) == max(lengths):
        x, _ = front(x, dither=False)
        if chunks:
            return _embed_chunks(model, x, [x.shape[1]] * len(x), chunks)
        return model.embed(x).float().cpu().numpy()
    x, lengths = front(x, torch.tensor(lengths, device=device), dither=False)
    if chunks:
        return _embed_chunks(model, x, lengths.tolist(), chunks)
    is_padded = bool((lengths < x.shape[1]).any())  # waveforms that differ by less than a frame may give as many frames
    return model.embed(x, lengths if is_padded else None).float().cpu().numpy()


def _embed_chunks(model, x, lengths, chunks):
    """x: (B, T, dim), whose rows have these lengths, all above 0 -> (B, embed_dim) float32 array"""
    pieces = chunks.pieces(lengths)
    found = None
    for batch in plan_batches(np.array([max(length, chunks.least) for _, _, length in pieces]), chunks.most, model.masks_padding):
        rows = [chunks.padded(x[row, first : first + length]) for row, first, length in (pieces[index] for index in batch)]
        totals = torch.tensor([len(piece) for piece in rows], device=x.device)
        is_padded = bool((totals < totals.max()).any())
        vectors = model.embed(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), totals if is_padded else None).double().cpu().numpy()
        if found is None:
            found = np.zeros((len(x), vectors.shape[1]))
        for index, vector in zip(batch, vectors, strict=True):
            row, _, length = pieces[index]
            found[row] += vector * (length / lengths[row])
    return found.astype(np.float32)


def embed_utterances(model, source, batches, front, device, chunks=None):
    """Yield (utt, (embed_dim,) array) for each utterance of the batches, which index `source`, a Frames or Waves."""
    for batch in batches:
        vectors = embed_batch(model, [source.whole(index) for index in batch], front, device, chunks)
        yield from zip([source.utts[index] for index in batch], vectors, strict=True)
