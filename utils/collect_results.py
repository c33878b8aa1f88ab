#!/usr/bin/env python3
"""Print the figures of steps/eer.py as rows of a Markdown table, and the mean over seeds of each system of which there are several.

Reads   <eer.json>…                                     files of steps/eer.py, all on the same trial list
        <exp>/{final,epoch-NNN.safetensors}             of experiments in whose folders they lie, <exp>/<set>/eer.json: how many parameters they have
e.g.    utils/collect_results.py egs/an4/v1/exp/xvector_seed*/test/eer.json
        utils/collect_results.py --brief true egs/an4/v1/exp/*/test/eer.json

A system is an experiment without the _seedN at the end of its name, and a file name (eer.json, eer_plda.json).
"""

import math
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.experiment import Experiment
from pytorch.files import read_json
from pytorch.program import Fail, Parser, boolean, run

COSTS = (("min", "0.01"), ("min", "0.05"), ("min", "0.001"), ("act", "0.05"))
NEEDED = {"eer", "min_dcf", "act_dcf", "min_cllr", "cllr", "trials_sha256"}
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def main():
    parser = Parser(__doc__)
    parser.add_argument("json", type=Path, nargs="+", help="eer.json of an experiment")
    parser.add_argument("--brief", type=boolean, default=False, help="only figures, in aligned columns, to be read where they are printed")
    args = parser.parse_args()
    results = {path: read_json(path) for path in args.json}
    for path, result in results.items():
        if not isinstance(result, dict) or not result.keys() >= NEEDED:
            raise Fail(f"{path}: not what steps/eer.py writes, or an older one of it wrote; measure the scores anew")
        if result["trials_sha256"] != results[args.json[0]]["trials_sha256"]:
            raise Fail(f"{path}: scored on another trial list than {args.json[0]}; their figures cannot stand in one table")
    costs = [f"{kind}DCF({prior})" for kind, prior in COSTS]
    head = ["system", "parameters", "seed", "EER %", "95 %", *costs, "minCllr", "Cllr", "target", "nontarget", "trials sha256", "commit"]
    rows, systems = [], {}
    for path in results:
        systems.setdefault((re.sub(r"_seed\d+$", "", path.absolute().parent.parent.name), path.stem), []).append(path)
    for (system, kind), paths in systems.items():
        for path in paths:
            rows.append(row(path, results[path]))
        if len(paths) > 1 and None not in [results[path]["seed"] for path in paths]:
            means = [sum(values) / len(paths) for values in zip(*(figures(results[path]) for path in paths), strict=True)]
            rows.append([f"{system} {kind}, mean of {len(paths)}", "", "", *told(means, "-"), "", "", "", ""])
    if args.brief:
        head, *rows = ([cells[0], *cells[3:-4]] for cells in (head, *rows))
    widths = [max(map(len, column)) if args.brief else 0 for column in zip(head, *rows, strict=True)]
    for cells in (head, ["-" * max(3, width) for width in widths], *rows):
        print(f"| {' | '.join(map(str.ljust, cells, widths))} |")


def row(path, result):
    """-> the cells of one file"""
    exp = path.absolute().parent.parent
    seed = "-" if result["seed"] is None else str(result["seed"])
    interval = " to ".join(f"{100 * end:.2f}" for end in result["intervals"]["eer"]) if "intervals" in result else "-"
    facts = [str(result["targets"]), str(result["nontargets"]), result["trials_sha256"][:12], result["commit"]]
    return [f"{exp.name} {path.stem}", size_of(exp), seed, *told(figures(result), interval), *facts]


def size_of(exp):
    """How many parameters the network of an experiment has, without the loss; '-' where there is no trained network"""
    if not (exp / "final").exists():
        return "-"
    from safetensors import safe_open

    experiment = Experiment(exp)
    with safe_open(experiment.weights(experiment.epoch("final")), "numpy") as file:
        names = [name for name in file.keys() if name.startswith("model.") and not name.endswith(BUFFERS)]  # noqa: SIM118  it is no dictionary
        return f"{sum(math.prod(file.get_slice(name).get_shape()) for name in names):,}"


def figures(result):
    return [100 * result["eer"], *(result[f"{kind}_dcf"][prior] for kind, prior in COSTS), result["min_cllr"], result["cllr"]]


def told(values, interval):
    """-> the cells of a row, the interval of the EER behind it"""
    return [f"{values[0]:.2f}", interval, *(f"{value:.4f}" for value in values[1:])]


if __name__ == "__main__":
    run(main)
