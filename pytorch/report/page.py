"""The page of a report: HTML with everything in it, nothing asked of any other place, no script."""

import importlib.metadata
import math
import os
import platform
import re
from dataclasses import dataclass, field

from pytorch.progress import clock
from pytorch.report import plots, scored
from pytorch.report.embedded import embeddings
from pytorch.report.markup import STYLE, counted, esc, figure, section, table, warning
from pytorch.report.predicted import predictions
from pytorch.report.sources import is_count
from pytorch.report.training import Training

CURVES = (  # column of train.tsv, what the picture is called, its unit in the column
    ("loss", "Loss", 1),
    ("accuracy", "Accuracy, %", 100),
    ("error", "Mean absolute error", 1),
    ("lr", "Learning rate", 1),
)
VALID = {  # measure: what it is called, its unit in its column valid_…
    "eer": ("EER", 100), "min_dcf": ("minDCF(0.01)", 1), "loss": ("loss", 1), "accuracy": ("accuracy", 100), "macro_f1": ("macro F1", 100),
    "uar": ("UAR", 100), "mae": ("mean absolute error", 1), "spearman": ("Spearman correlation", 1),
}  # fmt: skip


@dataclass
class Report:
    """What a page tells of an experiment; all but its name may be missing.

    name: of the experiment; commit: of the code that makes the page; systems: [System, …], scored: a Scored or None for each;
    worst: of pytorch.report.worst; predictions: [Prediction, …]; clouds: [Cloud, …], left_out: words on embeddings that are not drawn;
    validations: [Validation, …]; settings: model.json, opts: opts.json, command: cmd
    """

    name: str
    commit: str = ""
    systems: list = field(default_factory=list)
    scored: list = field(default_factory=list)
    worst: list = field(default_factory=list)
    predictions: list = field(default_factory=list)
    clouds: list = field(default_factory=list)
    left_out: list = field(default_factory=list)
    training: Training = field(default_factory=lambda: Training([]))
    validations: list = field(default_factory=list)
    settings: dict = field(default_factory=dict)
    opts: dict = field(default_factory=dict)
    command: str = ""


def make_page(report):
    """-> the text of the page, the same for the same Report on the same machine"""
    sections = [
        scored.results(report.systems) if report.systems or not report.predictions else None,
        *(scored.pictures(report.systems, report.scored) if report.systems else []),
        scored.worst(report.worst),
        *predictions(report.predictions),
        embeddings(report.clouds, report.left_out),
        _training(report.training, report.validations, report.opts),
        _what_was_run(report),
    ]
    there = [(re.sub(r"\W+", "-", title.lower()), title, body) for title, body in filter(None, sections)]
    links = "\n".join(f'<a href="#{ident}">{title}</a>' for ident, title, _ in there)
    main = "".join(f'<section aria-labelledby="{ident}">\n<h2 id="{ident}">{title}</h2>\n{body}</section>\n' for ident, title, body in there)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{esc(report.name)} – report</title>
<style>
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<header>
<h1>{esc(report.name)}</h1>
<p class="soft">{", ".join(_summary(report.training, report.settings))}</p>
<nav aria-label="Sections">
{links}
</nav>
</header>
<main>
{main}</main>
</body>
</html>
"""


def _summary(training, settings):
    if settings:
        yield f"{esc(settings.get('model'))} on {esc(settings.get('features', {}).get('feature'))}, {_learnt(settings)}"
    yield f"{counted(training, 'epoch')}, best {training.best}" if training else "no training here"


def _learnt(settings):
    """What the network was trained to tell, in words."""
    what, classes = settings.get("targets", {}).get("what", "utt2spk"), settings.get("classes", [])
    if what == "utt2spk":
        return f"{len(classes)} speakers"
    return f"{len(classes)} classes of {esc(what)}" if classes else esc(what)


def _training(training, validations, opts):
    if not training and not any(one.rows for one in validations):
        return None
    columns = list(dict.fromkeys(name for rows in (training.rows, *(one.rows for one in validations)) for name in (rows[0] if rows else ())))
    valid = [(column, *_valid(column)) for column in columns if column.startswith("valid_")]
    curves = [*CURVES, *((column, f"Validation {name}{', %' if unit == 100 else ''}", unit) for column, name, unit in valid)]
    figures, drawn = [], set()
    for number, (column, label, unit) in enumerate(curves):
        lines = _lines(training, validations, column, unit)
        if lines:
            drawn |= {line[0] for line in lines}
            key = column if number < len(CURVES) else f"valid{number}"
            figures.append(figure(esc(label), plots.training_curve(lines, training.best, key, f"{esc(label)} over the epochs")))
    return section("Training", *_training_in_words(training, opts), _names_of_lines(validations, drawn), f'<div class="pair">\n{"".join(figures)}</div>\n')


def _lines(training, validations, column, unit):
    """-> [(number of the colour, {epoch: value}, best epoch), …] of the training and of the validations that have the column"""
    sources = [(0, training.rows, training.best), *((number, one.rows, one.best) for number, one in enumerate(validations, 1))]
    lines = []
    for number, rows, best in sources:
        values = {int(row["epoch"]): row.get(column) for row in rows}
        there = {epoch: unit * value for epoch, value in values.items() if value is not None and math.isfinite(value)}  # epochs need not all be validated
        if there:
            lines.append((number, dict(sorted(there.items())), best))
    return lines


def _names_of_lines(validations, drawn):
    """Which line is whose, where there is more than the training's own."""
    if not drawn - {0}:
        return ""
    names = {0: "train.tsv", **{number: f"{one.name}, best epoch {one.best}" if one.best else one.name for number, one in enumerate(validations, 1)}}
    return f'<p class="kinds">{" &emsp; ".join(scored.mark(number) + esc(names[number]) for number in sorted(drawn))}</p>\n'


def _training_in_words(training, opts):
    if not training:
        yield "<p>No train.tsv here; the curves are of validations.</p>\n"
        return
    rows = training.rows
    told = [f"{counted(rows, 'epoch')} in {clock(sum(row.get('seconds') or 0 for row in rows))}", _best_in_words(training)]
    yield f"<p>{'; '.join(told)}. The upright line marks the best epoch.</p>\n"
    asked = opts.get("options", {}).get("epochs")
    if is_count(asked) and asked > len(rows):
        yield warning(f"<b>Not finished:</b> {len(rows)} of {asked} epochs.")
    if skipped := int(sum(row.get("skipped") or 0 for row in rows)):
        yield warning(f"<b>Skipped:</b> {counted(skipped, 'step')} whose loss or gradient was not finite.")


def _best_in_words(training):
    value = next(row for row in training.rows if row["epoch"] == training.best).get(training.chosen_by)
    if value is None:
        return "no validation, so the last epoch counts as the best"
    name, unit = _valid(training.chosen_by)
    return f"best epoch {training.best} with a validation {name} of {f'{100 * value:.2f} %' if unit == 100 else f'{value:.4g}'}"


def _valid(column):
    """What the figure in a column valid_… is called, and its unit."""
    name = column.removeprefix("valid_")
    return VALID.get(name, (name, 1))


def _what_was_run(report):
    settings, opts, parts = report.settings, report.opts, []
    if report.command:
        parts.append(f"<p>The training:</p>\n<pre>{esc(report.command)}</pre>\n")
    rows = report.training.rows
    trained = {"commit": opts.get("commit"), "python": opts.get("python"), "torch": opts.get("torch")} if opts else {}
    if rows:
        trained |= {"time": clock(sum(row.get("seconds") or 0 for row in rows))}
    machine = {
        "commit": report.commit,
        "platform": platform.platform(),
        "CPUs": os.cpu_count(),
        "python": platform.python_version(),
        "torch": _version("torch"),
    }
    cards = [
        _card("Training", trained),
        _card("Network", _network(settings)),
        _card("Features", settings.get("features", {})),
        _card("Options", opts.get("options", {})),
        _card("This report", machine),
    ]
    parts.append(f'<div class="cards" style="margin-top: 1.2rem">\n{"".join(cards)}</div>\n')
    parts.append(scored.sources(report.systems))
    if measured := [[esc(one.name), *map(esc, (one.json, one.facts["found"], one.facts["wanted"], one.facts.get("commit")))] for one in report.predictions]:
        parts.append(f"<h3>Where the predictions come from</h3>\n{table(['predictions', 'figures', 'predicted', 'true', 'commit'], measured, 'words')}")
    if inputs := opts.get("inputs"):
        hashes = [[esc(name), f"<code>{esc(digest)}</code>"] for name, digest in inputs.items()]
        parts.append(f"<h3>Data of the training</h3>\n{table(['table', 'SHA-256'], hashes, 'words')}")
    return section("What was run", *parts)


def _network(settings):
    if not settings:
        return {}
    loss = " ".join(f"{key}={value}" if key != "name" else str(value) for key, value in settings.get("loss", {}).items())
    first = {"model": settings.get("model"), **settings.get("args", {})}
    return {**first, "feat_dim": settings.get("feat_dim"), "cmn": settings.get("cmn"), "voiced": settings.get("voiced"), "loss": loss}


def _card(title, facts):
    if not facts:
        return ""
    lines = "\n".join(f"<dt>{esc(name)}</dt><dd>{esc(value)}</dd>" for name, value in facts.items())
    return f'<section class="card"><h3>{title}</h3>\n<dl>\n{lines}\n</dl></section>\n'


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
