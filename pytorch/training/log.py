"""What a training tells: lines, train.tsv, TensorBoard, the files `best` and `final`."""

import time
from pathlib import Path

import torch

from pytorch.files import whole_file
from pytorch.progress import clock
from pytorch.training.step import FIGURE, LOSS, SEEN, SKIPPED

IN_PERCENT = {"accuracy", "valid_eer", "valid_accuracy", "valid_macro_f1", "valid_uar"}


class Log:
    """folder: the experiment; measure: of the loss (accuracy, error or None); epochs: how many there are; first: the epoch it begins with"""

    def __init__(self, folder, measure, epochs, first):
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.measure, self.epochs = Path(folder), measure, epochs
        board = self.folder / "tensorboard"
        while list(board.glob(f"events.out.tfevents.{int(time.time())}.*")):  # TensorBoard reads files by name, that is by the second they were begun in
            time.sleep(0.05)
        self.board = SummaryWriter(board, purge_step=first)

    def line(self, progress, totals, steps, left):
        """A line while an epoch is under way. totals: of all processes"""
        seen = max(1.0, totals[SEEN])
        figure = f", {figure_in_words(self.measure, totals[FIGURE] / seen)}" if self.measure else ""
        print(
            f"  epoch {progress.epoch}, step {progress.step} of {steps}: loss {totals[LOSS] / seen:.3f}{figure}, lr {progress.lr:.2e}, "
            f"{rates_in_words(rates_of(progress, totals))}, {clock(left)} left",
            flush=True,
        )

    def epoch(self, rows, left):
        """The end of an epoch, whose row is the last."""
        row = rows[-1]
        figure = f", {figure_in_words(self.measure, row[self.measure])}" if self.measure else ""
        valid = "".join(f", {figure_in_words(name, value)}" for name, value in row.items() if name.startswith("valid_") and value is not None)
        skipped = f", {row['skipped']} steps skipped" if row["skipped"] else ""
        margin = f", margin at {100 * row['margin_share']:.0f} %" if 0 < row["margin_share"] < 1 else ""
        print(
            f"epoch {row['epoch']} of {self.epochs}: loss {row['loss']:.4f}{figure}, lr {row['lr']:.2e}{margin}{valid}{skipped}, {rates_in_words(row)}, "
            f"{clock(left)} left",
            flush=True,
        )
        for name, value in row.items():
            if value is not None and name not in ("epoch", "step"):
                self.board.add_scalar(name.replace("valid_", "valid/") if name.startswith("valid_") else f"train/{name}", value, row["epoch"])
        self.board.flush()
        with whole_file(self.folder / "train.tsv") as file:
            file.write("\t".join(row) + "\n")
            for row in rows:
                file.write("\t".join(_cell(value) for value in row.values()) + "\n")

    def number(self, name, value):
        with whole_file(self.folder / name) as file:
            file.write(f"{value}\n")

    def close(self):
        self.board.close()


def figures_of(progress, totals, measure, device):
    """The columns of train.tsv that the training itself fills. totals: of all processes"""
    seen = totals[SEEN]
    figure = totals[FIGURE] / seen if measure else None
    columns = {"loss": totals[LOSS] / seen, measure or "accuracy": figure, "lr": progress.lr, "margin_share": progress.margin_share}
    gpu_gb = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    return {**columns, "skipped": int(totals[SKIPPED]), **rates_of(progress, totals), "gpu_gb": gpu_gb, "seconds": progress.seconds}


def rates_of(progress, totals):
    seconds = max(1e-9, progress.seconds)
    return {"utts_per_sec": totals[SEEN] / seconds, "times_real_time": progress.audio_sec / seconds, "data_wait": progress.waited / seconds}


def rates_in_words(rates):
    memory = f", GPU {rates['gpu_gb']:.1f} GB" if rates.get("gpu_gb") else ""
    wait = f"data wait {100 * rates['data_wait']:.0f} %"
    return f"{rates['utts_per_sec']:.0f} utts/s, {rates['times_real_time']:.0f} times real time, {wait}{memory}"


def figure_in_words(name, value):
    words = name
    for short, long in (("valid_", "valid "), ("eer", "EER"), ("uar", "UAR"), ("_f1", " F1"), ("min_dcf", "minDCF"), ("mae", "MAE")):
        words = words.replace(short, long)
    if name in IN_PERCENT:
        return f"{words} {100 * value:.{2 if name == 'valid_eer' else 1}f} %"
    return f"{words} {value:.4g}"


def _cell(value):
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
