#!/usr/bin/env python3
"""Make one HTML page of an experiment: results, DET curves, score histograms, training curves and what was run.

Reads   <exp>/*/eer*.json                            figures of steps/eer.py, with the scores and trials named in them
        <exp>/{train.tsv,model.json,opts.json,cmd}   the training, as far as it is there
Writes  <exp>/report.html                            self-contained: opens from disk, needs no network and no script; made anew each time
e.g.    steps/report.py --compare baseline=exp/stats/test/eer.json exp/x
"""

import argparse
import sys
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.files import whole_file
from pytorch.program import Fail, Parser, commit, run
from pytorch.report.systems import find_system, own_results, read_facts, read_scores, read_training


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("exp", type=Path, help="experiment directory")
    parser.add_argument("--compare", type=named_json, action="append", metavar="NAME=JSON", help="another system's figures; may stand several times")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page; <exp>/report.html without it")
    args = parser.parse_args()
    args.compare = args.compare or []
    names = [name for name, _ in own_results(args.exp) + args.compare]
    if double := [name for name in names if names.count(name) > 1]:
        parser.error(f"argument --compare: two systems are named '{double[0]}'; give each a name of its own")
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
    own, rows = own_results(args.exp), read_training(args.exp)
    if not own and not rows:
        raise Fail(f"{args.exp}: nothing to report, neither train.tsv nor */eer*.json; train with steps/train.py or score with steps/eer.py")
    systems = [find_system(name, path) for name, path in own + args.compare]
    settings, opts = (read_facts(args.exp / name) for name in ("model.json", "opts.json"))
    cmd = args.exp / "cmd"
    command = cmd.read_text(encoding="utf-8", errors="replace").strip() if cmd.exists() else ""

    from pytorch.report.page import make_page

    date = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z")
    page = make_page(args.exp.resolve().name, date, commit(), systems, read_scores(systems), rows, settings, opts, command)
    with whole_file(out) as file:
        file.write(page)
    counts = [f"{number} {unit}{'' if number == 1 else 's'}" for number, unit in ((len(systems), "system"), (len(rows), "epoch"))]
    print(f"report: {out}: {', '.join(counts)}")


if __name__ == "__main__":
    run(main)
