#!/usr/bin/env python3
"""Make one HTML page of an experiment: results, curves, embeddings, the worst trials, and what was run.

Reads   <exp>/*/eer*.json                            figures of steps/eer.py, with the scores and trials named in them
        <exp>/*/measure*.json                        figures of steps/measure.py, with the tables named in them
        <exp>/*/xvector.scp                          embeddings, where the data directory of their utterances is known
        <exp>/*/valid.tsv                            epochs measured by steps/validate.py
        <exp>/{train.tsv,model.json,opts.json,cmd}   the training, as far as it is there
        --data                                       data directories of trials and embeddings: speakers, spk2gender, utt2X, spk2X, recordings
Writes  <exp>/report.html                            self-contained: opens from disk, needs no network and no script; made anew each time
e.g.    steps/report.py --data data/test --compare baseline=exp/stats/test/eer.json exp/x

The page has, as far as there is what they need: the figures with their 95 % intervals and subsets, DET curves, histograms of scores, normalised
Bayes error rates and calibration, confusion matrices, predicted against true numbers, the worst trials with links to their recordings, embeddings
coloured by speaker and by each table of the data directory, training curves. What cannot be drawn is said. Without --data, the directories are
those that the figures name (eer.py --data) and where the trials lie.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.files import read_json, whole_file
from pytorch.program import Fail, Parser, commit, count, positive_int, run
from pytorch.report.embeddings import own_clouds
from pytorch.report.predictions import find_prediction
from pytorch.report.sources import read_model, read_opts
from pytorch.report.systems import find_system, named_results, own_results, read_scores
from pytorch.report.training import read_training, read_validations
from pytorch.report.worst import worst_trials


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("exp", type=Path, help="experiment directory")
    parser.add_argument("--compare", type=named_json, action="append", metavar="NAME=JSON", help="other figures to show; may stand several times")
    parser.add_argument("--data", type=Path, action="append", metavar="DIR", help="data directory of trials or embeddings; may stand several times")
    parser.add_argument("--llrs", action="append", metavar="NAME", help="a system whose scores are log-likelihood ratios made elsewhere")
    parser.add_argument("--embeddings", choices=("tsne", "pca", "none"), default="tsne", help="how they are drawn in two dimensions")
    parser.add_argument("--points", type=positive_int, default=1000, help="embeddings of a folder drawn at most")
    parser.add_argument("--worst", type=count, default=10, help="worst trials of each kind that are listed")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page; <exp>/report.html without it")
    args = parser.parse_args()
    args.compare, args.data, args.llrs = args.compare or [], args.data or [], args.llrs or []
    names = [name for name, _ in own_results(args.exp) + args.compare]
    if double := [name for name in names if names.count(name) > 1]:
        parser.error(f"argument --compare: two systems are named '{double[0]}'; give each a name of its own")
    if unknown := [name for name in args.llrs if name not in names]:
        parser.error(f"argument --llrs: no system is named '{unknown[0]}'; there are {', '.join(names) or 'none'}")
    return args


def named_json(text):
    name, _, path = text.partition("=")
    if not name.strip() or not path:
        raise argparse.ArgumentTypeError(f"NAME=JSON expected, e.g. baseline=exp/stats/test/eer.json, not '{text}'")
    return name.strip(), Path(path)


def main():
    args = parse_args()
    out = args.out or args.exp / "report.html"
    if out.suffix != ".html":
        raise Fail(f"--out {out}: a name that ends in .html is expected")
    if not args.exp.is_dir():
        raise Fail(f"{args.exp}: no such folder; name an experiment directory, as steps/train.py makes it")
    named = [DataDir(path) for path in args.data]
    measured, scored = named_results(args.exp, "measure"), own_results(args.exp)
    training, validations = read_training(args.exp), read_validations(args.exp)
    if not scored and not measured and not training and not any(one.rows for one in validations) and not any(args.exp.glob("*/xvector.scp")):
        what = "neither train.tsv nor */eer*.json, */measure*.json or */xvector.scp"
        raise Fail(f"{args.exp}: nothing to report, {what}; train with steps/train.py or score with steps/eer.py")
    measured_too = [other for other in args.compare if is_of_measure(other[1])]
    systems = [find_system(name, path, True, args.llrs) for name, path in scored]
    systems += [find_system(*other, False, args.llrs) for other in args.compare if other not in measured_too]
    predictions = [find_prediction(name, path) for name, path in measured + measured_too]
    settings, opts = read_model(args.exp), read_opts(args.exp)
    cmd = args.exp / "cmd"
    command = cmd.read_text(encoding="utf-8", errors="replace").strip() if cmd.exists() else ""

    trials = read_scores(systems)
    worst = worst_trials(systems, trials, named, args.worst, out.parent)
    clouds, left_out = own_clouds(args.exp, named, args.embeddings, args.points) if args.embeddings != "none" else ([], [])

    from pytorch.report.page import Report, make_page

    name = args.exp.resolve().name
    page = make_page(Report(name, commit(), systems, trials, worst, predictions, clouds, left_out, training, validations, settings, opts, command))
    with whole_file(out) as file:
        file.write(page)
    say(out, systems, trials, predictions, clouds, left_out, training)


def is_of_measure(path):
    """Whether a JSON is of steps/measure.py, not of steps/eer.py."""
    facts = read_json(path)
    return isinstance(facts, dict) and "kind" in facts


def say(out, systems, trials, predictions, clouds, left_out, training):
    for system, there in zip(systems, trials, strict=True):
        if there is None:
            print(f"report: {system.json}: its scores or trials are not there any more, so they are not drawn", file=sys.stderr)
    for prediction in predictions:
        if prediction.facts["kind"] == "numbers" and prediction.points is None:
            print(f"report: {prediction.json}: its tables are not there any more, so they are not drawn", file=sys.stderr)
    for word in left_out:
        print(f"report: {word}", file=sys.stderr)
    numbers = ((len(systems), "system"), (len(predictions), "prediction"), (sum(len(cloud.utts) for cloud in clouds), "embedding"), (len(training), "epoch"))
    told = [f"{number} {unit}{'' if number == 1 else 's'}" for number, unit in numbers if number or unit in ("system", "epoch")]
    print(f"report: {out}: {', '.join(told)}")


if __name__ == "__main__":
    run(main)
