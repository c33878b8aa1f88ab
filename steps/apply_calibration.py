#!/usr/bin/env python3
"""Turn scores into natural log-likelihood ratios by a calibration, or fuse those of several systems.

Reads   <json>      a calibration of steps/train_calibration.py
        <trials>    lines of `enrol-utt test-utt target|nontarget`
        <scores>…   lines of `enrol-utt test-utt score` of these trials; of several systems NAME=FILE each, with the names of the training
        <scores>.json    of what kind they are, where it is there: it must be the kind of the training's
        --quality   the measures of quality of the training, of these utterances, in files of the same names
Writes  <llrs>      lines of `enrol-utt test-utt log-likelihood-ratio`
        <llrs>.json that they are such, and of which calibration and scores
e.g.    steps/apply_calibration.py --quality data/test/utt2dur exp/x/calibration.json data/test/trials exp/x/test/scores exp/x/test/scores_cal
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.calibrating import Columns, add_column_files, add_column_options
from pytorch.files import need_file, sha256
from pytorch.marker import Marker
from pytorch.origin import check_kind, ratio_kind
from pytorch.program import Fail, Parser, run
from pytorch.scoring import facts_path, write_scores


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("json", type=Path, help="the calibration")
    add_column_files(parser)
    parser.add_argument("llrs", type=Path, help="file of log-likelihood ratios, made")
    add_column_options(parser)
    return parser.parse_args()


def main():
    args = parse_args()
    need_file(args.json, "make it with steps/train_calibration.py")
    given = Columns(args)
    inputs = {"calibration": sha256(args.json)} | given.inputs()
    marker = Marker(args.llrs.parent / ".done" / f"apply_calibration.{args.llrs.name}.json", {}, inputs)
    marker.lock()
    if marker.is_done(args.overwrite):
        print(f"apply_calibration: {args.llrs} is there")
        return

    from pytorch.backend.calibration import Calibration

    calibration = Calibration.load(args.json)
    if given.systems.keys() != set(calibration.systems):
        raise Fail(f"{args.json}: trained on the scores of {_listed(calibration.systems)}, here are those of {_listed(given.systems)}; give the same systems")
    if given.quality.keys() != set(calibration.quality):
        told = f"trained with {_listed(calibration.quality)} as --quality, here is {_listed(given.quality)}"
        raise Fail(f"{args.json}: {told}; give files of the same names")
    kinds = given.kinds()
    for name, path in given.systems.items():
        check_kind(args.json, calibration.kind(name), path, kinds.get(name))
    given.systems = {name: given.systems[name] for name in calibration.systems}
    given.quality = {name: given.quality[name] for name in calibration.quality}
    pairs, _, columns = given.read()
    llrs = calibration.llrs(columns)
    marker.claim([args.llrs, facts_path(args.llrs)], args.overwrite)
    files = {"calibration": str(args.json.resolve())} | {f"scores of {name}": str(path.resolve()) for name, path in given.systems.items()}
    facts = {"program": "apply_calibration", "files": files, "inputs": inputs, "kind": ratio_kind(inputs["calibration"], args.json)}
    write_scores(args.llrs, *zip(*pairs, strict=True), llrs, marker, facts)
    print(f"apply_calibration: {len(llrs)} trials in {args.llrs}")


def _listed(names):
    return ", ".join(f"'{name}'" for name in names) or "none"


if __name__ == "__main__":
    run(main)
