#!/usr/bin/env python3
"""Train a predictor of classes or numbers on embeddings: support vectors, ridge or logistic regression, chosen on development data.

Reads   <data>/{utt2spk,utt2label}        the utterances to learn from and, as --targets names it, what is learnt of each
        <xvector.scp>                     their embeddings, others are not used
        <dev>/…, <dev-xvectors>           the same of other speakers: of all values of --c-grid and --gamma-grid, the best here is taken
Writes  <predictor>/predictor.json        what it is, how every value did, what it was trained on
        <predictor>/predictor.safetensors its arrays
e.g.    steps/train_predictor.py --kind numbers --targets utt2age --dev data/valid --dev-xvectors exp/x/valid/xvector.scp \\
            data/train exp/x/train/xvector.scp exp/x/age

Embeddings get mean 0 and deviation 1 in each dimension, by the training data. Without --dev, --c-grid has one value. With --refit true, the predictor
is fitted once more, with what was chosen, to training and development data together, their mean and deviation too.
Numbers: svm is nu-SVR. --map true scales and shifts what is predicted so that on the development data, before they are learnt from, it has the mean and
the deviation of the training targets: it ranks as before and spreads as they do, where a small C draws all predictions to the middle.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir, read_table
from pytorch.data.rules import number_of
from pytorch.files import need_file, sha256
from pytorch.marker import Marker, options_of
from pytorch.program import Fail, Parser, boolean, commit, positive_float, run
from pytorch.scoring import fingerprints

PATHS = ("data", "xvectors", "predictor", "dev", "dev_xvectors", "classes")
GRIDS = {"linear": "1e-6,1e-5,1e-4,1e-3,1e-2,1e-1", "rbf": "1e-2,1e-1,1,10,100"}
MODELS = {"numbers": ("svm", "ridge"), "classes": ("svm", "logistic")}
SELECT = {"numbers": ("spearman", "mae"), "classes": ("uar", "macro_f1")}  # the first is the default
NAMES = {"spearman": "Spearman", "mae": "MAE", "uar": "UAR", "macro_f1": "macro F1"}


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory with the targets of the utterances")
    parser.add_argument("xvectors", type=Path, metavar="xvector.scp", help="embeddings of steps/extract.py")
    parser.add_argument("predictor", type=Path, help="folder of the predictor, made")
    parser.add_argument("--targets", default="utt2label", metavar="TABLE", help="table of the data directories: utt2label, utt2age, utt2spk or another utt2X")
    parser.add_argument("--kind", choices=("classes", "numbers"), default="classes", help="what the targets are")
    parser.add_argument("--classes", type=Path, metavar="FILE", help="the classes in their order, one a line")
    parser.add_argument("--dev", type=Path, metavar="DIR", help="data directory to choose on")
    parser.add_argument("--dev-xvectors", type=Path, metavar="SCP", help="its embeddings")
    parser.add_argument("--select", choices=tuple(NAMES), help="figure to choose by; spearman for numbers, uar for classes unless said")
    parser.add_argument("--model", choices=("svm", "ridge", "logistic"), default="svm", help="ridge is for numbers, logistic for classes, svm for both")
    parser.add_argument("--kernel", choices=("linear", "rbf"), default="linear", help="of svm")
    parser.add_argument("--c-grid", type=numbers, metavar="C,…", help=f"weights of the errors; unless said {GRIDS['linear']}, for rbf {GRIDS['rbf']}")
    parser.add_argument("--gamma-grid", type=numbers, default="1", metavar="G,…", help="widths of the rbf kernel, gamma, in units of 1 / dimension")
    parser.add_argument("--nu", type=share, default=0.5, help="svm of numbers: least share of the utterances that become support vectors")
    parser.add_argument("--balance", type=boolean, default=True, help="classes: weigh them as if all had as many utterances")
    parser.add_argument("--refit", type=boolean, default=True, help="fit what was chosen once more, to training and development data")
    parser.add_argument("--map", type=boolean, default=False, help="numbers: give them the mean and the deviation of the training targets")
    parser.add_argument("--round", type=boolean, default=False, help="numbers: predict whole ones")
    parser.add_argument("--clip", type=boolean, default=True, help="numbers: keep them within the range of those learnt")
    parser.add_argument("--overwrite", type=boolean, default=False, help="train anew where it was done otherwise")
    args = parser.parse_args()
    check_options(parser, args)
    return args


def numbers(text):
    found = sorted({positive_float(word) for word in text.split(",")})
    if len(found) < len(text.split(",")):
        raise argparse.ArgumentTypeError(f"numbers that differ expected, not '{text}'")
    return found


def share(text):
    value = positive_float(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"a number above 0 and at most 1 expected, not '{text}'")
    return value


def check_options(parser, args):
    """Refuse what does not go together; set what depends on other options."""
    if args.model not in MODELS[args.kind]:
        parser.error(f"argument --model: {args.model} does not predict {args.kind}; choose one of {', '.join(MODELS[args.kind])}")
    if args.kernel == "rbf" and args.model != "svm":
        parser.error(f"argument --kernel: {args.model} is linear")
    if args.kernel == "linear" and len(args.gamma_grid) > 1:
        parser.error("argument --gamma-grid: goes with --kernel rbf")
    args.select = args.select or SELECT[args.kind][0]
    if args.select not in SELECT[args.kind]:
        parser.error(f"argument --select: {args.select} is not of {args.kind}; choose one of {', '.join(SELECT[args.kind])}")
    args.c_grid = args.c_grid or numbers(GRIDS[args.kernel])
    if bool(args.dev) != bool(args.dev_xvectors):
        parser.error("--dev and --dev-xvectors go together")
    if not args.dev and len(args.c_grid) * len(args.gamma_grid) > 1:
        parser.error("several values to choose from need --dev and --dev-xvectors, on which the best is chosen; without, say one: --c-grid C")
    if args.map and not args.dev:
        parser.error("argument --map: needs --dev and --dev-xvectors, whose predictions tell the mean and the deviation")
    if args.kind == "classes":
        for name in ("map", "round"):
            if getattr(args, name):
                parser.error(f"argument --{name}: classes are not numbers")
    elif args.classes:
        parser.error("argument --classes: numbers have no classes")


def main():
    args = parse_args()
    sets = [Labelled(args.data, args.xvectors, args.targets)] + ([Labelled(args.dev, args.dev_xvectors, args.targets)] if args.dev else [])
    inputs = {f"{name}{what}": value for name, one in zip(("", "--dev "), sets, strict=False) for what, value in one.inputs().items()}
    if args.classes:
        inputs["--classes"] = sha256(need_file(args.classes))
    marker = Marker(args.predictor / ".done/train_predictor.json", options_of(args, PATHS), inputs)
    marker.lock()
    if marker.is_done(args.overwrite):
        print(f"train_predictor: {args.predictor} is there")
        return
    marker.claim([args.predictor / name for name in ("predictor.safetensors", "predictor.json")], args.overwrite)
    if args.dev:
        check_apart(*sets)

    classes = sets[0].read(args.kind, args.classes)
    for one in sets[1:]:
        one.read(args.kind, classes)
    check_fit(args, sets)
    predictor, tried = choose(args, sets, classes)
    if args.dev and args.refit:
        predictor = refit(args, predictor, tried[-1], sets)
    marker.begin()
    predictor = dataclasses.replace(predictor, facts={**facts(args, sets, tried), "inputs": inputs, "commit": commit()})
    marker.finish(predictor.save(args.predictor))
    told = f"{tell(tried[-1])}, chosen by {NAMES[args.select]} on {args.dev}" if args.dev else tell(tried[-1])
    print(f"train_predictor: {args.model} of {args.targets}, {told}, in {args.predictor}")


class Labelled:
    """The utterances of a data directory with embeddings and targets; after read(): vectors (N, dim) and wanted (N,)"""

    def __init__(self, path, scp, targets):
        self.data, self.scp, self.name = DataDir(path), scp, targets
        self.table = need_file(self.data / targets, "--targets names the table of what is learnt")
        need_file(scp, "make it with steps/extract.py")

    def inputs(self):
        return {"utt2spk": sha256(need_file(self.data / "utt2spk")), self.name: sha256(self.table), **fingerprints(self.scp, self.scp.name)}

    def read(self, kind, classes):
        """-> the names of the classes. classes: see read_targets"""
        from pytorch.backend.folder import read_labelled
        from pytorch.data.targets import read_targets

        try:
            targets = read_targets(self.data, self.name, kind, classes)
        except Fail as error:
            if kind == "classes" and self._has_new_numbers(classes):
                raise Fail(f"{error}; if the values are numbers, pass --kind numbers") from None
            raise
        self.vectors, _, _, _ = read_labelled(self.data, self.scp)
        self.wanted = targets.values if kind == "classes" else targets.values.astype(float)
        return targets.classes

    def _has_new_numbers(self, classes):
        """Whether all values are numbers, and some of them none of the classes that were learnt."""
        values = set(read_table(self.table).values())
        return isinstance(classes, list) and not values <= set(classes) and all(number_of(value) is not None for value in values)

    def facts(self):
        return {"data": str(self.data.path), "embeddings": str(self.scp), "utterances": len(self.data.utt2spk), "speakers": len(self.data.spk2utt)}


def check_apart(train, dev):
    """Fail where an utterance is trained on and chosen on; warn where a speaker is."""
    if both := [utt for utt in dev.data.utt2spk if utt in train.data.utt2spk]:
        raise Fail(f"{dev.data / 'utt2spk'}: '{both[0]}' is in {train.data.path} too ({len(both)} such); choose on other utterances than are learnt from")
    if both := [spk for spk in dev.data.spk2utt if spk in train.data.spk2utt]:
        what = f"'{both[0]}' is a speaker of {train.data.path} too ({len(both)} such): what is chosen may know voices only"
        print(f"train_predictor: warning: {dev.data / 'utt2spk'}: {what}", file=sys.stderr)


def check_fit(args, sets):
    """Fail where the two sets do not fit together, or there is nothing to choose by."""
    from pytorch.origin import check_network, network_of

    train, *dev = sets
    for one in dev:
        check_network(one.scp, network_of(train.scp), train.scp)
        if one.vectors.shape[1] != train.vectors.shape[1]:
            what = f"embeddings of {one.vectors.shape[1]} dimensions, but {train.scp} has {train.vectors.shape[1]}"
            raise Fail(f"{one.scp}: {what}; both must come from one network")
        if args.kind == "numbers" and len(set(one.wanted.tolist())) == 1:
            raise Fail(f"{one.table}: one number only, {one.wanted[0]:g}, so how numbers are ranked cannot be seen; choose on other data")


def choose(args, sets, classes):
    """-> the best Predictor, fitted to the training set; a list of {C, gamma, figures}, one for each that was tried, and last that of the best"""
    from pytorch.backend.predictors import FIGURES, Design, fits

    train, *dev = sets
    design = Design(args.kind, args.model, args.kernel, args.nu, args.balance)
    sign = FIGURES[args.select][1]
    best, tried = None, []
    gammas = [gamma / train.vectors.shape[1] for gamma in args.gamma_grid]
    for cost, gamma, predictor in fits(design, train.vectors, train.wanted, classes, args.c_grid, gammas):
        settings = {"C": cost} | ({"gamma": gamma} if gamma else {})
        warn_unless_converged(predictor, settings)
        predictor = finished(args, predictor, train.wanted, *dev)
        for one in dev:
            settings |= {name: round(value, 6) for name, value in predictor.figures(one.vectors, one.wanted).items()}
            print(f"train_predictor: {tell(settings)}", flush=True)
        tried.append(settings)
        if best is None or sign * settings[args.select] > sign * best[0][args.select]:
            best = settings, predictor
    if len(args.c_grid) > 1 and best[0]["C"] in (args.c_grid[0], args.c_grid[-1]):
        print(f"train_predictor: C {best[0]['C']:g} is at an end of --c-grid; a wider one may have a better")
    return best[1], [*tried, best[0]]


def facts(args, sets, tried):
    """How the predictor was made."""
    from pytorch.origin import network_of

    names = ["training", "development"][: len(sets)]
    return {
        "targets": args.targets,
        "chosen": tried[-1],
        "select": args.select if args.dev else None,
        "tried": tried[:-1],
        "fitted_to": names if args.refit else names[:1],
        "sets": {name: one.facts() for name, one in zip(names, sets, strict=True)},
        "network": network_of(args.xvectors),
    }


def warn_unless_converged(predictor, settings):
    if not predictor.converged:
        print(f"train_predictor: warning: C {settings['C']:g}: the solver gave up before its end; a smaller C would help", file=sys.stderr)


def finished(args, predictor, wanted, dev=None):
    """The predictor with what is done to its numbers. wanted: of the training set"""
    from pytorch.backend.predictors import Finish, mapping

    if args.kind == "classes":
        return predictor
    scale, shift = mapping(predictor.outputs(dev.vectors), wanted) if args.map else (1.0, 0.0)
    ends = (float(wanted.min()), float(wanted.max())) if args.clip else ()
    return dataclasses.replace(predictor, finish=Finish(scale, shift, args.round, *ends))


def refit(args, predictor, chosen, sets):
    """The same kind of predictor, fitted to all sets, with the range of all their numbers.

    A mapping is carried over: on all data together, the new one's numbers have the mean and the deviation that the old one's have. What the old one's own
    numbers were scaled by would not do, for with a small C they are nearly alike, and the least shift between the two would be scaled up too.
    """
    import numpy as np

    from pytorch.backend.predictors import fits, mapping

    vectors, wanted = (np.concatenate([getattr(one, name) for one in sets]) for name in ("vectors", "wanted"))
    _, _, found = next(fits(predictor.design, vectors, wanted, predictor.classes, [chosen["C"]], [predictor.gamma]))
    warn_unless_converged(found, chosen)
    finish = predictor.finish
    if args.map:
        scale, shift = mapping(found.outputs(vectors), predictor.outputs(vectors))
        finish = dataclasses.replace(finish, scale=scale, shift=shift)
    if args.kind == "numbers" and args.clip:
        finish = dataclasses.replace(finish, low=float(wanted.min()), high=float(wanted.max()))
    return dataclasses.replace(found, finish=finish)


def tell(settings):
    """{C, gamma, figures} in words"""
    shares = ("uar", "macro_f1")
    values = (f"{100 * value:.2f} %" if name in shares else f"{value:.4f}" if name == "spearman" else f"{value:.4g}" for name, value in settings.items())
    return ", ".join(f"{NAMES.get(name, name)} {value}" for name, value in zip(settings, values, strict=True))


if __name__ == "__main__":
    run(main)
