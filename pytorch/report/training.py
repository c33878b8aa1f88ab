"""The figures of a training by epoch, as steps/train.py and steps/validate.py wrote them."""

from dataclasses import dataclass, field

from pytorch.experiment import best_epoch
from pytorch.files import need_file
from pytorch.program import Fail
from pytorch.report.sources import read_opts
from pytorch.training.validation import FIRST_CHOICE, MEASURES


@dataclass
class Training:
    """The figures of a training by epoch; best: the number of the epoch that counts as the best; chosen_by: the column by which it is, or None"""

    rows: list
    best: int | None = None
    chosen_by: str | None = None

    def __len__(self):
        return len(self.rows)


@dataclass
class Validation:
    """The figures of a validation beside a training or after it. name: of its folder; rows: as in Training; best: its best epoch, or None"""

    name: str
    rows: list = field(repr=False)
    best: int | None = None


def read_training(exp):
    """-> Training of train.tsv, rows {column: number or None}; none without the file. Best is what the file `best` says, before it is there the best so far."""
    path = exp / "train.tsv"
    if not path.exists():
        return Training([])
    rows, columns = _read_rows(path, {"epoch", "loss", "lr"}, "train anew with steps/train.py --overwrite true")
    return Training(rows, *_best(exp, rows, columns)) if rows else Training([])


def read_validations(exp):
    """-> [Validation] of exp/*/valid.tsv"""
    remedy = "make it anew with steps/validate.py --overwrite true"
    found = []
    for path in sorted(exp.glob("*/valid.tsv")):
        rows, _ = _read_rows(path, {"epoch"}, remedy, words={"weights_sha256"})
        best = _named_epoch(path.parent / "best", rows, path, remedy) if (path.parent / "best").exists() else None
        found.append(Validation(path.parent.name, rows, best))
    return found


def _read_rows(path, needed, remedy, words=()):
    """-> rows {column: number or None}, the columns; those named in `words` are no numbers and left out."""
    text = need_file(path, remedy).read_text(encoding="utf-8", errors="replace")
    header, *lines = text.splitlines() or [""]
    columns = header.split("\t")
    if missing := needed - set(columns):
        raise Fail(f"{path}:1: no column {min(missing)}; {remedy}")
    rows = []
    for number, line in enumerate(lines, 2):
        try:
            cells = dict(zip(columns, line.split("\t"), strict=True))
            rows.append({name: float(cell) if cell else None for name, cell in cells.items() if name not in words})
        except ValueError:
            raise Fail(f"{path}:{number}: {len(columns)} numbers expected, not '{line[:80]}'; {remedy}") from None
        epoch = rows[-1]["epoch"] or 0
        if not 1 <= epoch < float("inf"):  # not a number, too
            raise Fail(f"{path}:{number}: the number of the epoch is missing; {remedy}")
    return rows, columns


def _best(exp, rows, columns):
    """-> the number of the best epoch, the column that chose it"""
    asked = read_opts(exp).get("options", {}).get("select")
    name = next((name for name in (asked, *FIRST_CHOICE) if f"valid_{name}" in columns and name in MEASURES), None)
    column = f"valid_{name}" if name else None
    best = best_epoch(rows, column, MEASURES.get(name))
    if (exp / "best").exists():
        best = _named_epoch(exp / "best", rows, exp / "train.tsv", "train anew with steps/train.py --overwrite true")
    return best, column


def _named_epoch(path, rows, table, remedy):
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    if text not in (f"{row['epoch']:.0f}" for row in rows):
        raise Fail(f"{path}: '{text[:40]}' is no epoch of {table}; {remedy}")
    return int(text)
