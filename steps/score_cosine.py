#!/usr/bin/env python3
"""Score trials by the cosine of two embeddings.

Reads   <trials>       lines of `enrol-utt test-utt target|nontarget`; with --enrol-spk2utt, of `speaker test-utt target|nontarget`
        <xvector.scp>  embeddings; --mean: embeddings whose mean is first subtracted from both sides, e.g. those of the training data
        --backend      folder of steps/train_backend.py: its mean is subtracted, its LDA applied
Writes  <scores>       lines of `enrol-utt test-utt score`; beside it <scores>.json: of what, for steps/normalise_scores.py
e.g.    steps/score_cosine.py --mean exp/x/train/xvector.scp data/test/trials exp/x/test/xvector.scp exp/x/test/scores
        steps/score_cosine.py --backend exp/x/backend --enrol-spk2utt data/enrol/spk2utt --enrol exp/x/enrol/xvector.scp \\
          data/test/trials exp/x/test/xvector.scp exp/x/test/scores_lda
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.jobs import add_job_options
from pytorch.program import Parser, boolean, run
from pytorch.scoring import Scoring, add_scoring_files, add_scoring_options, score_trials


def main():
    parser = Parser(__doc__)
    add_scoring_files(parser)
    parser.add_argument("--backend", type=Path, metavar="DIR", help="subtract the mean of this back-end and apply its LDA; without it, and --mean, nothing")
    add_scoring_options(parser)
    parser.add_argument("--overwrite", type=boolean, default=False, help="score anew where it was done otherwise")
    add_job_options(parser)
    args = parser.parse_args()
    score_trials(Scoring("score_cosine", args), args)


if __name__ == "__main__":
    run(main)
