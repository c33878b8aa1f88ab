#!/usr/bin/env python3
"""Score trials by PLDA: the log-likelihood ratio of one speaker to two, given the embeddings of both sides.

Reads   <backend>      folder of steps/train_backend.py (or Kaldi's mean.vec, transform.mat and plda): the mean is subtracted, LDA applied, lengths normalised
        <trials>       lines of `enrol-utt test-utt target|nontarget`; with --enrol-spk2utt, of `speaker test-utt target|nontarget`
        <xvector.scp>  embeddings
Writes  <scores>       lines of `enrol-utt test-utt score`; beside it <scores>.json: of what, for steps/normalise_scores.py
e.g.    steps/score_plda.py exp/x/backend data/test/trials exp/x/test/xvector.scp exp/x/test/scores_plda
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.jobs import add_job_options
from pytorch.program import Parser, boolean, fraction, run
from pytorch.scoring import Scoring, add_scoring_files, add_scoring_options, score_trials


def main():
    parser = Parser(__doc__)
    parser.add_argument("backend", type=Path, help="back-end with a PLDA")
    add_scoring_files(parser)
    add_scoring_options(parser)
    parser.add_argument("--num-utts", type=Path, metavar="FILE", help="lines of `speaker number`: of how many utterances the vectors of --enrol are means")
    parser.add_argument("--smoothing", type=fraction, default=0.0, help="add so much of the covariance between speakers to that within")
    parser.add_argument("--overwrite", type=boolean, default=False, help="score anew where it was done otherwise")
    add_job_options(parser)
    args = parser.parse_args()
    if args.num_utts and (args.enrol_spk2utt or not args.enrol):
        parser.error("--num-utts goes with --enrol and means of utterances there; with --enrol-spk2utt they are counted")
    score_trials(Scoring("score_plda", args), args)


if __name__ == "__main__":
    run(main)
