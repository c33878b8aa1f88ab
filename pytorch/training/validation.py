"""Validation on held-out speakers: EER on trials, the embedding of each utterance computed once."""

import numpy as np

from pytorch.backend.cosine import cosine_scores, unit_length
from pytorch.data.trials import read_trials
from pytorch.extraction import embed_utterances, plan_batches
from pytorch.files import need_file
from pytorch.metrics import eer
from pytorch.program import Fail


class Validation:
    """The trials of a data directory (its file `trials`), scored with a network by cosine of mean-subtracted embeddings."""

    def __init__(self, data, frames, cmn, settings, least):
        """frames: the Frames of data; settings: of the training features; least: number of frames the network needs"""
        trials = need_file(data / "trials", f"draw it with utils/make_trials.py {data.path}")
        self.frames = frames
        if self.frames.settings != settings:
            raise Fail(f"{data / 'feats.json'}: other feature settings than the training data's; make the features of both alike")
        self.frames.need_length(least)
        enrols, tests, labels = read_trials(trials)
        number = {utt: place for place, utt in enumerate(self.frames.utts)}
        for utt in (*enrols, *tests):
            if utt not in number:
                raise Fail(f"{trials}: '{utt}' is not in {data.path}; draw the trials anew")
        if len(set(labels)) < 2:
            raise Fail(f"{trials}: target and nontarget trials are both needed")
        self.enrols = np.array([number[utt] for utt in enrols])
        self.tests = np.array([number[utt] for utt in tests])
        self.labels = np.array(labels)
        self.cmn = cmn

    def eer(self, model, device):
        """-> EER, 0 to 1; 1 where an embedding is not usable (the training went astray)"""
        training = model.training
        model.eval()
        batches = plan_batches(self.frames.lengths, 20000, model.masks_padding)
        vectors = dict(embed_utterances(model, self.frames, batches, self.cmn, device))
        model.train(training)
        matrix = np.stack([vectors[utt] for utt in self.frames.utts])
        if not np.isfinite(matrix).all() or not matrix.any(axis=1).all():
            return 1.0
        matrix = unit_length(matrix - matrix.mean(0), self.frames.utts, "validation")
        return eer(cosine_scores(matrix, self.enrols, self.tests), self.labels)[0]
