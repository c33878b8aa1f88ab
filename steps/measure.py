#!/usr/bin/env python3
"""Say how good predicted classes or numbers are: accuracy, UAR, F1 and confusion matrix, or errors and correlations; with intervals over speakers.

Reads   <wanted>  lines of `utt value`, e.g. utt2age of a data directory
        <found>   lines of `utt value`: predictions for the same utterances, no more and no fewer
        --data    the directory of these utterances, whose utt2spk tells the speakers for the intervals
Writes  <json>    the figures with counts, hashes of both tables and commit; printed as text too
e.g.    steps/measure.py --kind numbers --data data/test data/test/utt2age exp/x/test/utt2age_found exp/x/test/measure.json

Classes: accuracy; UAR, the mean recall of the classes; macro F1; for classes in an order (numbers, or --classes) tolerant F1 too, where a class
beside the one wanted counts as right. Numbers: mean absolute and root mean squared error, correlations of Pearson and Spearman, concordance (CCC);
mae_of_mean is what one would get by always saying the mean of those wanted. Intervals: speakers are drawn with replacement, and the utterances
of one count as often as it was drawn.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir, read_table
from pytorch.data.rules import number_of
from pytorch.data.targets import read_classes
from pytorch.files import sha256, write_json
from pytorch.program import Fail, Parser, commit, count, run

WIDEST = 20  # classes of a confusion matrix that is printed; a larger one is in the JSON only
SHARES = {"accuracy": "accuracy", "uar": "UAR", "macro_f1": "macro F1", "tolerant_f1": "tolerant F1"}
CORRELATIONS = {"pearson": "Pearson", "spearman": "Spearman", "ccc": "CCC"}


def main():
    parser = Parser(__doc__)
    parser.add_argument("wanted", type=Path, help="table of true values")
    parser.add_argument("found", type=Path, help="table of predicted ones")
    parser.add_argument("json", type=Path, nargs="?", help="file for the figures; printed only without it")
    parser.add_argument("--kind", choices=("classes", "numbers"), default="classes", help="what the values are")
    parser.add_argument("--classes", type=Path, metavar="FILE", help="the classes in their order, one a line")
    parser.add_argument("--data", type=Path, metavar="DIR", help="data directory of the utterances, for intervals")
    parser.add_argument("--resamples", type=count, default=1000, help="drawn for the intervals of 95 %%; 0 for no intervals")
    parser.add_argument("--seed", type=count, default=0, help="of the resamples")
    args = parser.parse_args()
    if args.kind == "numbers" and args.classes:
        parser.error("argument --classes: numbers have no classes")
    if args.json and args.json.suffix != ".json":
        raise Fail(f"{args.json}: a name that ends in .json is expected for the figures")
    utts, pairs = joined(args.wanted, args.found)
    spks = speakers_of(args.data, args.wanted, utts) if args.data and args.resamples else None
    figures = (of_classes if args.kind == "classes" else of_numbers)(args, pairs, spks)
    figures |= {"data": str(args.data)} if args.data else {}
    tables = {name: value for what in ("wanted", "found") for name, value in ((what, str(vars(args)[what])), (f"{what}_sha256", sha256(vars(args)[what])))}
    result = {"kind": args.kind, "utts": len(pairs), **figures, **tables, "commit": commit()}
    if args.json:
        write_json(args.json, result)
    show(result)


def joined(wanted, found):
    """-> utterances, [(value wanted, value found), …] joined by them. Fails where one of the two has an utterance the other lacks."""
    tables = {wanted: read_table(wanted), found: read_table(found)}
    for path, other in ((found, wanted), (wanted, found)):
        if missing := [utt for utt in tables[other] if utt not in tables[path]]:
            raise Fail(f"{path}: no value for '{missing[0]}' of {other} ({len(missing)} such); both tables must be of the same utterances")
    return list(tables[wanted]), [(value, tables[found][utt]) for utt, value in tables[wanted].items()]


def speakers_of(path, wanted, utts):
    """-> the number of each utterance's speaker, from 0 on"""
    data, place = DataDir(path), {}
    if strange := [utt for utt in utts if utt not in data.utt2spk]:
        raise Fail(f"{wanted}: '{strange[0]}' is no utterance of {path} ({len(strange)} such); name the directory of these utterances with --data")
    spks = [place.setdefault(data.utt2spk[utt], len(place)) for utt in utts]
    if len(place) < 2:
        raise Fail(f"{data / 'utt2spk'}: all utterances are of '{next(iter(place))}', and intervals are over speakers; pass --resamples 0")
    return spks


def intervals(args, spks, figures):
    """{"intervals": …}; figures: a function of weights, see pytorch/metrics/intervals.py"""
    from pytorch.metrics.intervals import utterance_intervals

    ends = utterance_intervals(figures, spks, args.resamples, args.seed)
    rounded = {name: [round(end, 6) for end in pair] for name, pair in ends.items()}
    return {"intervals": {"level": 0.95, "speakers": 1 + max(spks), "resamples": args.resamples, "seed": args.seed, **rounded}}


def of_classes(args, pairs, spks):
    import numpy as np

    from pytorch.metrics import accuracy, confusion_matrix, macro_f1, tolerant_f1, uar
    from pytorch.metrics.intervals import class_figures

    there = {value for pair in pairs for value in pair}
    if args.classes:
        classes = read_classes(args.classes)
        if strange := sorted(there - set(classes)):
            raise Fail(f"{args.classes}: the class '{strange[0]}' of the tables is not there ({len(strange)} such); name all classes")
    ordered = bool(args.classes) or all(number_of(value) is not None for value in there)
    if not args.classes:
        check_kind(args.found, pairs)
        classes = sorted(there, key=lambda value: (number_of(value), value)) if ordered else sorted(there)
        check_spelling(args.found, classes, ordered)
    place = {name: number for number, name in enumerate(classes)}
    wanted, found = (np.array([place[pair[side]] for pair in pairs]) for side in (0, 1))
    counts, occurring = confusion_matrix(found, wanted)
    figures = {"accuracy": accuracy(found, wanted), "uar": uar(found, wanted), "macro_f1": macro_f1(found, wanted)}
    if ordered:
        figures["tolerant_f1"] = tolerant_f1(found, wanted)
    told = {name: round(value, 6) for name, value in figures.items()}
    if spks:
        told |= intervals(args, spks, lambda weights: class_figures(weights, found, wanted, 1 if ordered else None))
    return told | {"classes": [classes[number] for number in occurring], "confusion": counts.tolist()}


def check_kind(found, pairs):
    """Fail where a prediction is a number that no class of the wanted table is, and not a whole one: it was predicted as a number, not as a class.

    A whole one may be a class that was learnt and that none of these utterances has.
    """
    known = {number_of(value) for value, _ in pairs}
    for line, (_, value) in enumerate(pairs, 1):
        number = number_of(value)
        if number is not None and number not in known and number % 1:
            remedy = "numbers are measured with --kind numbers, classes not all wanted here with --classes FILE"
            raise Fail(f"{found}:{line}: '{value}' is no class of the wanted table; {remedy}")


def check_spelling(found, classes, ordered):
    """Fail where one number is spelt in two ways, as 30 and 30.0: they would be two classes."""
    if ordered:
        for one, other in zip(classes, classes[1:], strict=False):
            if number_of(one) == number_of(other):
                raise Fail(f"{found}: the classes '{one}' and '{other}' are one number; write it alike in both tables")


def of_numbers(args, pairs, spks):
    import numpy as np

    from pytorch.metrics import ccc, mae, pearson, rmse, spearman
    from pytorch.metrics.intervals import number_figures

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
    told = {name: round(value, 6) for name, value in figures.items()}
    return told | (intervals(args, spks, lambda weights: number_figures(weights, found, wanted)) if spks else {})


def show(result):
    ends = result.get("intervals", {})

    def between(names, form, unit=1, sign=""):
        told = [f"{name} {unit * ends[key][0]:{form}} to {unit * ends[key][1]:{form}}{sign}" for key, name in names.items() if key in ends]
        return ", ".join(told)

    if result["kind"] == "numbers":
        told = f"MAE {result['mae']:.4g} (of the mean {result['mae_of_mean']:.4g}), RMSE {result['rmse']:.4g}"
        correlations = ", ".join(f"{name} {result[key]:.4f}" for key, name in CORRELATIONS.items())
        print(f"{told}, {correlations} ({result['utts']} utterances)")
        if ends:
            print(f"95 % over {ends['speakers']} speakers: {between({'mae': 'MAE', 'rmse': 'RMSE'}, '.4g')}, {between(CORRELATIONS, '.4f')}")
        return
    told = ", ".join(f"{name} {100 * result[key]:.2f} %" for key, name in SHARES.items() if key in result)
    print(f"{told} ({result['utts']} utterances, {len(result['classes'])} classes)")
    if ends:
        print(f"95 % over {ends['speakers']} speakers: {between(SHARES, '.2f', 100, ' %')}")
    if len(result["classes"]) > WIDEST:
        return
    rows = [["wanted \\ found", *result["classes"]]]
    rows += [[name, *map(str, counts)] for name, counts in zip(result["classes"], result["confusion"], strict=True)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for head, *cells in rows:
        print("  ".join([head.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))]))


if __name__ == "__main__":
    run(main)
