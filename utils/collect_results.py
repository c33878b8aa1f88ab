#!/usr/bin/env python3
"""Print the figures of steps/eer.py as rows of a Markdown table, and the mean over seeds of one system.

Reads   <eer.json>…    files of steps/eer.py, all on the same trial list
e.g.    utils/collect_results.py egs/an4/v1/exp/xvector_seed*/test/eer.json
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.files import read_json
from pytorch.program import Fail, Parser, run

PRIORS = ("0.01", "0.05", "0.001")


def main():
    parser = Parser(__doc__)
    parser.add_argument("json", type=Path, nargs="+", help="eer.json of an experiment")
    args = parser.parse_args()
    results = [read_json(path) for path in args.json]
    for path, result in zip(args.json, results, strict=True):
        if not isinstance(result, dict) or not {"eer", "min_dcf", "trials_sha256"} <= result.keys():
            raise Fail(f"{path}: no figures of steps/eer.py")
        if result["trials_sha256"] != results[0]["trials_sha256"]:
            raise Fail(f"{path}: scored on another trial list than {args.json[0]}; their figures cannot stand in one table")
    print("| system | seed | EER % | " + " | ".join(f"minDCF({p})" for p in PRIORS) + " | target | nontarget | trials sha256 | commit |")
    print("|---" * (6 + 4) + "|")
    for path, result in zip(args.json, results, strict=True):
        name = f"{path.parent.parent.name} {path.stem}"
        seed = "-" if result["seed"] is None else result["seed"]
        figures = [f"{100 * result['eer']:.2f}", *(f"{result['min_dcf'][p]:.4f}" for p in PRIORS)]
        facts = [str(result["targets"]), str(result["nontargets"]), result["trials_sha256"][:12], result["commit"]]
        print(f"| {name} | {seed} | {' | '.join(figures + facts)} |")
    if len(results) > 1 and len({path.stem for path in args.json}) == 1 and None not in [result["seed"] for result in results]:
        means = [100 * mean(results, "eer"), *(sum(result["min_dcf"][p] for result in results) / len(results) for p in PRIORS)]
        print(f"| mean | | {means[0]:.2f} | " + " | ".join(f"{value:.4f}" for value in means[1:]) + " | | | | |")


def mean(results, name):
    return sum(result[name] for result in results) / len(results)


if __name__ == "__main__":
    run(main)
