#!/usr/bin/env python3
"""Say how good predicted classes or numbers are: accuracy, UAR, F1 and confusion matrix, or errors and correlations.

Reads   <wanted>  lines of `utt value`, e.g. utt2age of a data directory
        <found>   lines of `utt value`: predictions for the same utterances, no more and no fewer
Writes  <json>    the figures with counts, hashes of both tables and commit; printed as text too
e.g.    steps/measure.py --kind numbers data/test/utt2age exp/x/test/utt2age_found exp/x/test/measure.json

Classes: accuracy; UAR, the mean recall of the classes; macro F1; for classes in an order (numbers, or --classes) tolerant F1 too, where a class
beside the one wanted counts as right. Numbers: mean absolute and root mean squared error, correlations of Pearson and Spearman, concordance (CCC);
mae_of_mean is what one would get by always saying the mean of those wanted.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import read_table
from pytorch.data.rules import number_of
from pytorch.data.targets import read_classes
from pytorch.files import sha256, write_json
from pytorch.program import Fail, Parser, commit, run

WIDEST = 20  # classes of a confusion matrix that is printed; a larger one is in the JSON only


def main():
    parser = Parser(__doc__)
    parser.add_argument("wanted", type=Path, help="table of true values")
    parser.add_argument("found", type=Path, help="table of predicted ones")
    parser.add_argument("json", type=Path, nargs="?", help="file for the figures; printed only without it")
    parser.add_argument("--kind", choices=("classes", "numbers"), default="classes", help="what the values are")
    parser.add_argument("--classes", type=Path, metavar="FILE", help="the classes in their order, one a line")
    args = parser.parse_args()
    if args.kind == "numbers" and args.classes:
        parser.error("argument --classes: numbers have no classes")
    if args.json and args.json.suffix != ".json":
        raise Fail(f"{args.json}: a name that ends in .json is expected for the figures")
    pairs = joined(args.wanted, args.found)
    figures = of_classes(args, pairs) if args.kind == "classes" else of_numbers(args, pairs)
    tables = {name: value for what in ("wanted", "found") for name, value in ((what, str(vars(args)[what])), (f"{what}_sha256", sha256(vars(args)[what])))}
    result = {"kind": args.kind, "utts": len(pairs), **figures, **tables, "commit": commit()}
    if args.json:
        write_json(args.json, result)
    show(result)


def joined(wanted, found):
    """-> [(value wanted, value found), …], joined by utterance. Fails where one of the two has an utterance the other lacks."""
    tables = {wanted: read_table(wanted), found: read_table(found)}
    for path, other in ((found, wanted), (wanted, found)):
        if missing := [utt for utt in tables[other] if utt not in tables[path]]:
            raise Fail(f"{path}: no value for '{missing[0]}' of {other} ({len(missing)} such); both tables must be of the same utterances")
    return [(value, tables[found][utt]) for utt, value in tables[wanted].items()]


def of_classes(args, pairs):
    import numpy as np

    from pytorch.metrics import accuracy, confusion_matrix, macro_f1, tolerant_f1, uar

    there = {value for pair in pairs for value in pair}
    if args.classes:
        classes = read_classes(args.classes)
        if strange := sorted(there - set(classes)):
            raise Fail(f"{args.classes}: the class '{strange[0]}' of the tables is not there ({len(strange)} such); name all classes")
    ordered = bool(args.classes) or all(number_of(value) is not None for value in there)
    if not args.classes:
        classes = sorted(there, key=lambda value: (number_of(value), value)) if ordered else sorted(there)
        check_spelling(args.found, classes, ordered)
    place = {name: number for number, name in enumerate(classes)}
    wanted, found = (np.array([place[pair[side]] for pair in pairs]) for side in (0, 1))
    counts, occurring = confusion_matrix(found, wanted)
    figures = {"accuracy": accuracy(found, wanted), "uar": uar(found, wanted), "macro_f1": macro_f1(found, wanted)}
    if ordered:
        figures["tolerant_f1"] = tolerant_f1(found, wanted)
    rounded = {name: round(value, 6) for name, value in figures.items()}
    return rounded | {"classes": [classes[number] for number in occurring], "confusion": counts.tolist()}


def check_spelling(found, classes, ordered):
    """Fail where one number is spelt in two ways, as 30 and 30.0: they would be two classes."""
    if ordered:
        for one, other in zip(classes, classes[1:], strict=False):
            if number_of(one) == number_of(other):
                raise Fail(f"{found}: the classes '{one}' and '{other}' are one number; write it alike in both tables")


def of_numbers(args, pairs):
    import numpy as np

    from pytorch.metrics import ccc, mae, pearson, rmse, spearman

    columns = []
    for side, path in ((0, args.wanted), (1, args.found)):
        values = [number_of(pair[side]) for pair in pairs]
        if None in values:
            raise Fail(f"{path}:{values.index(None) + 1}: a number expected, not '{pairs[values.index(None)][side][:40]}'")
        columns.append(np.array(values))
    wanted, found = columns
    figures = {"mae": mae(found, wanted), "rmse": rmse(found, wanted), "mae_of_mean": mae(np.full(len(wanted), wanted.mean()), wanted)}
    if np.ptp(wanted) == 0:
        raise Fail(f"{args.wanted}: all values are {wanted[0]:g}, so nothing can rise and fall with them; measure utterances that differ")
    figures |= {"pearson": pearson(found, wanted), "spearman": spearman(found, wanted), "ccc": ccc(found, wanted)}
    return {name: round(value, 6) for name, value in figures.items()}


def show(result):
    if result["kind"] == "numbers":
        told = f"MAE {result['mae']:.4g} (of the mean {result['mae_of_mean']:.4g}), RMSE {result['rmse']:.4g}"
        correlations = ", ".join(f"{name} {result[key]:.4f}" for key, name in (("pearson", "Pearson"), ("spearman", "Spearman"), ("ccc", "CCC")))
        print(f"{told}, {correlations} ({result['utts']} utterances)")
        return
    names = {"accuracy": "accuracy", "uar": "UAR", "macro_f1": "macro F1", "tolerant_f1": "tolerant F1"}
    told = ", ".join(f"{name} {100 * result[key]:.2f} %" for key, name in names.items() if key in result)
    print(f"{told} ({result['utts']} utterances, {len(result['classes'])} classes)")
    if len(result["classes"]) > WIDEST:
        return
    rows = [["wanted \\ found", *result["classes"]]]
    rows += [[name, *map(str, counts)] for name, counts in zip(result["classes"], result["confusion"], strict=True)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for head, *cells in rows:
        print("  ".join([head.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))]))


if __name__ == "__main__":
    run(main)
