#!/usr/bin/env python3
"""Measure epochs of a training on held-out data, while it goes on or afterwards, and choose the best.

What is measured is what the data have: EER and minDCF of their trials; accuracy, F1 and recall of the classes, or error and correlation of the numbers
that the network was trained on. Run again, it does the epochs that are missing; stopped at any moment, it goes on where it was.

Reads   <exp>/{model.json,epoch-NNN.safetensors,train.tsv,final}   as steps/train.py writes them
        <data>/{utt2spk,feats.scp,feats.json,vad.scp}              or wav.scp, as steps/extract.py does
        <data>/{trials,utt2label,utt2age}                          trials, or the table that the network was trained on, or both
Writes  <out>/valid.tsv, best, validate.json    figures of each epoch; the epoch with the best; how and on what it was found
        <out>/tensorboard/                      a curve of each figure;  <out> is <exp>/validate_<name of data>
e.g.    steps/validate.py --every 5 --watch true exp/xvector data/dev      beside steps/train.py, which need not have begun
"""

import hashlib
import json
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.data.recordings import add_audio_options
from pytorch.experiment import Experiment, best_epoch
from pytorch.extracting import add_batch_option
from pytorch.files import read_json, sha256, whole_file, write_json
from pytorch.marker import Marker
from pytorch.network_input import NetworkInput
from pytorch.program import Fail, Parser, boolean, commit, positive_float, positive_int, run
from pytorch.training.validation import MEASURES, choose_measure, find_valid_trials, measures_of, validation_targets


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("exp", type=Path, help="experiment directory of steps/train.py")
    parser.add_argument("data", type=Path, help="validation data directory, of other utterances than the training's")
    parser.add_argument("--every", type=positive_int, default=1, metavar="N", help="each N-th epoch only, beginning with that of --from")
    parser.add_argument("--from", type=positive_int, dest="first", metavar="EPOCH", help="the first epoch; without it the N-th of --every")
    parser.add_argument("--to", type=positive_int, dest="last", metavar="EPOCH", help="the last epoch; without it the last of the training")
    parser.add_argument("--watch", type=boolean, default=False, help="wait for epochs to come until the training has finished, or --to is reached")
    parser.add_argument("--newest-first", type=boolean, default=False, help="of the epochs that are there the newest first, not the oldest")
    parser.add_argument("--valid-trials", metavar="FILE", help="trials in place of <data>/trials; or CLIENTS,IMPOSTORS: two lists of `enrol test`")
    parser.add_argument("--select", choices=MEASURES, help="the figure that chooses the best epoch; without it uar, mae or eer, the first that is there")
    parser.add_argument("--out", type=Path, help="folder of the figures; <exp>/validate_<name of data> without it")
    add_batch_option(parser)
    add_audio_options(parser)
    parser.add_argument("--poll-sec", type=positive_float, default=5.0, help="how often to look for a new epoch")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--num-threads", type=positive_int, default=1, help="threads on a CPU")
    parser.add_argument("--overwrite", type=boolean, default=False, help="begin anew where other figures are there")
    args = parser.parse_args()
    args.first = args.first or args.every
    args.out = args.out or args.exp / f"validate_{args.data.resolve().name}"
    if args.last and args.last < args.first:
        parser.error(f"argument --to: {args.last} is before the first epoch, {args.first}")
    if args.out.resolve() == args.exp.resolve():
        parser.error(f"argument --out: {args.out} is the experiment, whose own `best` and curves are there; name a folder in it")
    return args


def main():
    args = parse_args()
    data = DataDir(args.data)
    experiment = find_experiment(args)
    given = NetworkInput(experiment, data, args)
    trials = find_valid_trials(data, args.valid_trials)
    targets = validation_targets(data, experiment.settings, trials)
    measures = measures_of(targets, trials)
    select = choose_measure(args.select, measures, data)
    inputs = {"model.json": fingerprint(experiment.settings), **given.inputs}
    inputs |= {"trial list": trials.sha256} if trials else {}
    inputs |= {name: sha256(data / name) for name in targets.what.split(",")} if targets else {}
    marker = Marker(args.out / ".done/validate.json", {"batch_frames": args.batch_frames, **given.options}, inputs, resumable=True)
    marker.lock()
    begin(args, marker)
    figures = Figures(args.out / "valid.tsv", [f"valid_{name}" for name in measures])
    best = Best(args, figures, f"valid_{select}", facts_of(args, experiment, trials, len(data.utt2spk)))
    watch = Watch(args, experiment, figures)
    if watch.look() != ([], True):
        measure_epochs(args, experiment, given, targets, trials, watch, figures, best)
    if gone := watch.gone():
        print(f"validate: the weights of {in_words(gone)} are not there any more (--keep-last of the training); not measured", file=sys.stderr)
    if not figures.rows:
        raise Fail(f"{args.exp}: no weights of an epoch that is asked for are there yet; pass --watch true to wait for them")
    best.write()
    print(f"validate: {args.out}: {in_words(list(figures.rows))}, best {best.in_words()}")


def measure_epochs(args, experiment, given, targets, trials, watch, figures, best):
    import torch

    from pytorch.device import choose_device
    from pytorch.training.log import figure_in_words

    torch.set_num_threads(args.num_threads)
    validator = Validator(args, experiment, given, targets, trials, choose_device(args.device))
    board = Board(args.out / "tensorboard", figures)
    for epoch in watch.epochs():
        row = validator.figures(epoch)
        if row is None:
            continue  # gone, or written anew meanwhile: the watch looks into it
        board.add(row)
        figures.add(row)
        best.write()
        print(f"epoch {epoch}: {', '.join(figure_in_words(name, row[name]) for name in figures.columns)}", flush=True)


def find_experiment(args):
    """The experiment, waited for where a training may be about to begin it."""
    if args.watch and not (args.exp / "model.json").is_file() and not args.exp.is_file():
        if not args.exp.parent.is_dir():
            raise Fail(f"{args.exp}: no such experiment, and no folder {args.exp.parent} in which it could be begun; if the name is right, make that folder")
        what = f"{args.exp / 'model.json'}, which steps/train.py writes as it begins; Ctrl-C if that is mistyped"
        print(f"validate: waiting for {what}", file=sys.stderr, flush=True)
        while not (args.exp / "model.json").is_file():
            time.sleep(args.poll_sec)
    return Experiment(args.exp)


def fingerprint(settings):
    """Hash of model.json without the commit, which a training that is gone on with may change."""
    same = {name: value for name, value in settings.items() if name != "commit"}
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()


def begin(args, marker):
    """Take up what was begun with the same options on the same data, or clear the folder."""
    marker.is_done(args.overwrite)  # fails where it was begun otherwise
    if args.overwrite or not marker.is_begun():
        outputs = [args.out / name for name in ("valid.tsv", "best", "validate.json")]
        marker.claim([*outputs, args.out / "tensorboard"], args.overwrite)
        for path in outputs:
            path.unlink(missing_ok=True)
        marker.begin()


def facts_of(args, experiment, trials, num_utts):
    """What validate.json tells beside the figures."""
    facts = {"experiment": str(args.exp), "data": str(args.data), "utterances": num_utts}
    if trials:
        counts = {"targets": sum(trials.labels), "nontargets": len(trials.labels) - sum(trials.labels)}
        facts |= {"trials": trials.name, "trials_sha256": trials.sha256, **counts}
    return {**facts, "seed": read_json(experiment.path / "opts.json").get("options", {}).get("seed"), "commit": commit()}


def in_words(epochs):
    names = ", ".join(map(str, epochs[:5])) + (", …" if len(epochs) > 5 else "")
    return f"epoch {names}" if len(epochs) == 1 else f"{len(epochs)} epochs ({names})"


class Figures:
    """valid.tsv: a row for each epoch measured, the hash of its weights the last column; written whole with each new one.

    columns: of the figures; rows: {epoch: {column: value}} in the order of the epochs
    """

    def __init__(self, path, columns):
        self.path, self.columns, self.rows = path, columns, {}
        if path.exists():
            header, *lines = path.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
            if header.split("\t") != ["epoch", *columns, "weights_sha256"]:
                raise Fail(f"{path}:1: other columns than epoch, {', '.join(columns)}, weights_sha256; pass --overwrite true to make it anew")
            for number, line in enumerate(lines, 2):
                row = self._row(number, line.split("\t"))
                self.rows[row["epoch"]] = row

    def add(self, row):
        self.rows = dict(sorted({**self.rows, row["epoch"]: row}.items()))
        with whole_file(self.path) as file:
            file.write("\t".join(["epoch", *self.columns, "weights_sha256"]) + "\n")
            for row in self.rows.values():
                file.write("\t".join([str(row["epoch"]), *(f"{row[name]:.6g}" for name in self.columns), row["weights_sha256"]]) + "\n")

    def _row(self, number, words):
        try:
            values = dict(zip(self.columns, map(float, words[1:-1]), strict=True))
            return {"epoch": int(words[0]), **values, "weights_sha256": words[-1]}
        except ValueError:
            raise Fail(f"{self.path}:{number}: not as this program writes it; pass --overwrite true to make it anew") from None


class Best:
    """The files `best` and validate.json, of the epoch whose figure in `column` is the best. facts: what the latter tells of the validation"""

    def __init__(self, args, figures, column, facts):
        self.folder, self.figures, self.column, self.facts = args.out, figures, column, facts

    @property
    def epoch(self):
        return best_epoch(list(self.figures.rows.values()), self.column, MEASURES[self.column.removeprefix("valid_")])

    def write(self):
        with whole_file(self.folder / "best") as file:
            file.write(f"{self.epoch}\n")
        row = {name: None if value in (float("inf"), float("-inf")) else value for name, value in self.figures.rows[self.epoch].items()}
        write_json(self.folder / "validate.json", {**row, "select": self.column.removeprefix("valid_"), **self.facts, "epochs": list(self.figures.rows)})

    def in_words(self):
        from pytorch.training.log import figure_in_words

        return f"{self.epoch} with {figure_in_words(self.column, self.figures.rows[self.epoch][self.column])}"


class Watch:
    """Which epochs are there to be measured, and whether the training is still the one whose epochs were measured before."""

    def __init__(self, args, experiment, figures):
        self.args, self.experiment, self.figures = args, experiment, figures
        self.made_of = fingerprint(experiment.settings)
        self._known = {}  # {epoch: stamp of its weights when their hash was that of the row}

    def epochs(self):
        """Yield epochs to be measured, as long as there are or will be any."""
        told = False
        while True:
            todo, is_all = self.look()
            if todo:
                yield max(todo) if self.args.newest_first else min(todo)
                continue
            if is_all:
                return
            if not told:
                print(f"validate: waiting for epochs of {self.args.exp}; stopped and started again, it goes on", file=sys.stderr, flush=True)
                told = True
            time.sleep(self.args.poll_sec)

    def look(self):
        """-> the epochs that are there to be measured, whether no other is to be waited for"""
        finished, last, there = self._state()
        self._check()
        todo = [epoch for epoch in there if self._is_asked(epoch) and epoch not in self.figures.rows]
        return todo, finished or not self.args.watch or (self.args.last is not None and last >= self.args.last)

    def gone(self):
        """Epochs that are asked for and were trained, but whose weights are not there to be measured."""
        _, last, _ = self._state()
        return [epoch for epoch in range(1, last + 1) if self._is_asked(epoch) and epoch not in self.figures.rows]

    def _is_asked(self, epoch):
        args = self.args
        return epoch >= args.first and (epoch - args.first) % args.every == 0 and epoch <= (args.last or epoch)

    def _state(self):
        """-> whether the training has finished, its last epoch, those epochs up to it whose weights are there

        What comes last is looked at first: what a training writes before it is then there too.
        """
        finished = (self.experiment.path / "final").exists()
        last = self.experiment.epoch("final") if finished else max(self._logged(), default=0)
        return finished, last, [epoch for epoch in self.experiment.epochs() if epoch <= last]

    def _logged(self):
        """The epochs in train.tsv, which has a row for each that is finished."""
        path = self.experiment.path / "train.tsv"
        if not path.exists():
            return []
        try:
            return [int(line.partition("\t")[0]) for line in path.read_text().splitlines()[1:]]
        except ValueError:
            raise Fail(f"{path}: no number of an epoch at the head of each line; steps/train.py writes this file") from None

    def _check(self):
        """Fail where the weights of epochs that were measured have become others: their figures would be those of two trainings."""
        rows = self.figures.rows
        if rows and self._state()[1] < max(rows):
            self._fail(f"epoch {max(rows)}, which was measured, is not there yet")
        for epoch, row in rows.items():
            stamp = stamp_of(self.experiment.weights(epoch))
            if stamp is None or self._known.get(epoch) == stamp:
                continue
            if sha256(self.experiment.weights(epoch)) != row["weights_sha256"]:
                self._fail(f"epoch {epoch}, which was measured, has other weights now")
            self._known[epoch] = stamp
        if fingerprint(Experiment(self.experiment.path).settings) != self.made_of:
            self._fail("model.json has changed")

    def _fail(self, what):
        raise Fail(f"{self.experiment.path}: the training was begun anew: {what}; pass --overwrite true to measure the new one")


class Validator:
    """Figures of an epoch: what takes time to load is loaded once."""

    def __init__(self, args, experiment, given, targets, trials, device):
        from pytorch.models import build_model
        from pytorch.training.validation import Validation

        settings = experiment.settings
        self.experiment, self.device = experiment, device
        source, self.front = given.open()
        least = source.least_of(build_model(settings["model"], settings["feat_dim"], settings["args"]))
        self.validation = Validation(given.data, source, targets, trials, args.select, source.settings, least, args.batch_frames)

    def figures(self, epoch):
        """-> the row of an epoch, None where its weights are not there any more, or were replaced while they were read"""
        path = self.experiment.weights(epoch)
        before = stamp_of(path)
        try:
            digest, network = sha256(path), self._network(epoch)
        except (FileNotFoundError, Fail):
            if before is not None and stamp_of(path) == before:
                raise
            return None
        if stamp_of(path) != before:
            return None
        found = self.validation.measure(network, self.front, self.device)
        return {"epoch": epoch, **{name: float(f"{value:.6g}") for name, value in found.items()}, "weights_sha256": digest}

    def _network(self, epoch):
        from pytorch.network import Network

        if self.validation.targets:
            return self.experiment.load_network(epoch, self.device)
        return Network(self.experiment.load(epoch, self.device), None)


class Board:
    """The curves for TensorBoard: those of the rows that are there, made anew, and then each new row."""

    def __init__(self, folder, figures):
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(folder, ignore_errors=True)
        self.figures, self.writer = figures, SummaryWriter(folder)
        for row in figures.rows.values():
            self.add(row)

    def add(self, row):
        for name in self.figures.columns:
            self.writer.add_scalar(name.replace("valid_", "valid/"), row[name], row["epoch"])
        self.writer.flush()


def stamp_of(path):
    """What tells a file from another of its name without reading it; None where there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


if __name__ == "__main__":
    run(main)
