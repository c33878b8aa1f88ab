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

COSTS = (("min", "0.01"), ("min", "0.05"), ("min", "0.001"), ("act", "0.05"))
NEEDED = {"eer", "min_dcf", "act_dcf", "min_cllr", "cllr", "trials_sha256"}


def main():
    parser = Parser(__doc__)
    parser.add_argument("json", type=Path, nargs="+", help="eer.json of an experiment")
    args = parser.parse_args()
    results = [read_json(path) for path in args.json]
    for path, result in zip(args.json, results, strict=True):
        if not isinstance(result, dict) or not result.keys() >= NEEDED:
            raise Fail(f"{path}: not what steps/eer.py writes, or an older one of it wrote; measure the scores anew")
        if result["trials_sha256"] != results[0]["trials_sha256"]:
            raise Fail(f"{path}: scored on another trial list than {args.json[0]}; their figures cannot stand in one table")
    costs = " | ".join(f"{kind}DCF({prior})" for kind, prior in COSTS)
    print(f"| system | seed | EER % | 95 % | {costs} | minCllr | Cllr | target | nontarget | trials sha256 | commit |")
    print("|---" * (6 + len(COSTS) + 4) + "|")
    for path, result in zip(args.json, results, strict=True):
        name = f"{path.parent.parent.name} {path.stem}"
        seed = "-" if result["seed"] is None else result["seed"]
        interval = " to ".join(f"{100 * end:.2f}" for end in result["intervals"]["eer"]) if "intervals" in result else "-"
        facts = [str(result["targets"]), str(result["nontargets"]), result["trials_sha256"][:12], result["commit"]]
        print(f"| {name} | {seed} | {' | '.join(told(figures(result), interval) + facts)} |")
    if len(results) > 1 and len({path.stem for path in args.json}) == 1 and None not in [result["seed"] for result in results]:
        means = [sum(values) / len(results) for values in zip(*map(figures, results), strict=True)]
        print(f"| mean | | {' | '.join(told(means, '-'))} | | | | |")


def figures(result):
    return [100 * result["eer"], *(result[f"{kind}_dcf"][prior] for kind, prior in COSTS), result["min_cllr"], result["cllr"]]


def told(values, interval):
    """-> the cells of a row, the interval of the EER behind it"""
    return [f"{values[0]:.2f}", interval, *(f"{value:.4f}" for value in values[1:])]


if __name__ == "__main__":
    run(main)
