#!/usr/bin/env python3
"""Error rates of scored trials: EER, and minDCF at target priors of 0.01, 0.05 and 0.001.

Reads   <trials>  lines of `enrol-utt test-utt target|nontarget`
        <scores>  lines of `enrol-utt test-utt score`: the same trials in any order, no more and no fewer
Writes  <json>    the figures with counts, hash of the trial list, seed and commit; printed as text too
e.g.    steps/eer.py data/test/trials exp/x/test/scores exp/x/test/eer.json

EER: the line through neighbouring operating points crossed with p_miss = p_fa; tied scores are one operating point, constant scores give 50 %.
minDCF: least cost over all thresholds for c_miss = c_fa = 1, divided by the cost of the better blind decision.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.trials import join_scores, read_trials
from pytorch.files import read_json, sha256, write_json
from pytorch.program import Fail, Parser, commit, run


def main():
    parser = Parser(__doc__)
    parser.add_argument("trials", type=Path, help="trial list")
    parser.add_argument("scores", type=Path, help="scores of these trials")
    parser.add_argument("json", type=Path, nargs="?", help="file for the figures; printed only without it")
    args = parser.parse_args()
    if args.json and args.json.suffix != ".json":
        raise Fail(f"{args.json}: a name that ends in .json is expected for the figures")
    enrols, tests, labels = read_trials(args.trials)
    if len(set(labels)) < 2:
        raise Fail(f"{args.trials}: {'target' if labels[0] else 'nontarget'} trials only; error rates need both kinds")
    scores = join_scores(args.trials, list(zip(enrols, tests, strict=True)), args.scores)

    from pytorch.metrics import eer, min_dcf

    rate, threshold = eer(scores, labels)
    result = {
        "eer": round(rate, 6),
        "eer_threshold": round(threshold, 6),
        "min_dcf": {str(p): round(min_dcf(scores, labels, p), 6) for p in (0.01, 0.05, 0.001)},
        "targets": sum(labels),
        "nontargets": len(labels) - sum(labels),
        "trials": str(args.trials),
        "trials_sha256": sha256(args.trials),
        "scores": str(args.scores),
        "scores_sha256": sha256(args.scores),
        "seed": training_seed(args.scores),
        "commit": commit(),
    }
    if args.json:
        write_json(args.json, result)
    dcf = ", ".join(f"minDCF({p}) {value:.4f}" for p, value in result["min_dcf"].items())
    print(f"EER {100 * rate:.2f} %, {dcf} ({result['targets']} target, {result['nontargets']} nontarget trials)")


def training_seed(scores):
    """The seed of the network behind the scores, where the embeddings beside them say it; else None."""
    facts = scores.parent / "xvector.json"
    return read_json(facts).get("seed") if facts.exists() else None


if __name__ == "__main__":
    run(main)
