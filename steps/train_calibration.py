#!/usr/bin/env python3
"""Train the map from scores to log-likelihood ratios: calibration of one system, or fusion of several, on scored trials.

Reads   <trials>    lines of `enrol-utt test-utt target|nontarget`, of other speakers than those to be judged
        <scores>…   lines of `enrol-utt test-utt score` of these trials; of several systems NAME=FILE each
        <scores>.json    of what kind they are, where it is there; the calibration is then refused for scores of another kind
        --quality   numbers above 0 by utterance, such as utt2dur, or xvector.scp for the lengths of its embeddings
Writes  <json>      the weights, for steps/apply_calibration.py
e.g.    steps/train_calibration.py --quality data/valid/utt2dur data/valid/trials exp/x/valid/scores exp/x/calibration.json

Logistic regression on the scores and, of each measure of quality, the logarithms of the lower and of the higher side of a trial. Both kinds of
trials are weighted as if targets had the prior --p-target. A measure is known again by the name of its file, a system by its name.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.calibrating import Columns, add_column_files, add_column_options, prior
from pytorch.files import sha256
from pytorch.marker import Marker
from pytorch.program import Fail, Parser, commit, run


def parse_args():
    parser = Parser(__doc__)
    add_column_files(parser)
    parser.add_argument("json", type=Path, help="the calibration, made")
    parser.add_argument("--p-target", type=prior, default=0.05, help="prior of targets at which the ratios are to serve best, for costs of 1")
    add_column_options(parser)
    return parser.parse_args()


def main():
    args = parse_args()
    if args.json.suffix != ".json":
        raise Fail(f"{args.json}: a name that ends in .json is expected for the calibration")
    given = Columns(args)
    marker = Marker(args.json.parent / ".done" / f"train_calibration.{args.json.name}.json", {"p_target": args.p_target}, given.inputs())
    marker.lock()
    if marker.is_done(args.overwrite):
        print(f"train_calibration: {args.json} is there")
        return

    from pytorch.backend.calibration import Calibration, train

    _, labels, columns = given.read()
    targets = int(labels.sum())
    if targets in (0, len(labels)):
        raise Fail(f"{args.trials}: {'target' if targets else 'nontarget'} trials only; calibration needs both kinds")
    names = given.names()
    for name, column in zip(names, columns.T, strict=True):
        if (column == column[0]).all():
            raise Fail(f"{args.trials}: all trials have the same value of '{name}', so nothing can be learnt from it; leave it out")
    weights, offset = train(columns, labels, args.p_target)
    if len(names) == 1 and weights[0] <= 0:
        raise Fail(f"{args.scores[0]}: target trials have the lower scores; turn the sign of scores that are distances")
    facts = {
        "trials": str(args.trials),
        "trials_sha256": sha256(args.trials),
        "scores": {name: str(path) for name, path in given.systems.items()},
        "kinds": given.kinds(),
        "targets": targets,
        "nontargets": len(labels) - targets,
        "commit": commit(),
    }
    made = Calibration(list(given.systems), list(given.quality), weights.tolist(), offset, args.p_target, facts)
    marker.claim([args.json], args.overwrite)
    marker.begin()
    made.save(args.json)
    marker.finish([args.json])
    llrs = made.llrs(columns)
    if llrs[labels].min() > llrs[~labels].max():
        warning = f"no threshold gives an error in {args.trials}, so the scale of the ratios is not learnt, only bounded; take more trials"
        print(f"train_calibration: {warning}", file=sys.stderr)
    shown = " + ".join(f"{weight:.4g} * {name}" for name, weight in zip(names, weights, strict=True))
    print(f"train_calibration: {shown} + {offset:.4g} in {args.json} ({targets} target, {len(labels) - targets} nontarget trials)")


if __name__ == "__main__":
    run(main)
