"""The page of a report: HTML with everything in it, nothing asked of any other place, no script."""

import html
import importlib.metadata
import os
import platform

from pytorch.experiment import best_epoch
from pytorch.progress import clock
from pytorch.report import plots
from pytorch.report.systems import PRIORS, same_trials

CURVES = (  # column of train.tsv, what the picture is called, its unit in the column
    ("loss", "Loss", 1),
    ("accuracy", "Accuracy, %", 100),
    ("lr", "Learning rate", 1),
    ("valid_eer", "Validation EER, %", 100),
)
STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5d656d; --paper: #fff; --line: #d5d9dd; --card: #f5f6f8; --warn: #fff3d6; --warn-ink: #6b4500;
  --s0: #0068b3; --s1: #d1510a; --s2: #00875f; --s3: #b0478d; --s4: #8a6d00; --s5: #5b5fc7 }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --soft: #a0a8b0; --paper: #15181b; --line: #3a4047; --card: #1e2226;
  --warn: #3d2f0d; --warn-ink: #ffd98a; --s0: #5fb2f2; --s1: #ff9457; --s2: #3fcf9f; --s3: #e58cc6; --s4: #dcbc45; --s5: #a3a6ff } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 68rem; padding: 1.5rem 1.25rem 4rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif }
h1 { margin: 0; font-size: 1.9rem; overflow-wrap: anywhere }
h2 { margin: 2.4rem 0 .7rem; padding-bottom: .25rem; font-size: 1.25rem; border-bottom: 1px solid var(--line) }
h3 { margin: 1.5rem 0 .4rem; font-size: 1rem }
p { margin: .5rem 0 }
.soft { color: var(--soft) }
.warn { padding: .6rem .9rem; border-radius: 6px; color: var(--warn-ink); background: var(--warn); overflow-wrap: anywhere }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
th { color: var(--soft); font-size: .88rem; font-weight: 600; vertical-align: bottom }
th:first-child, td:first-child, .words th, .words td { text-align: left }
th:first-child, td:first-child { padding-left: 0 }
code, pre { font: .88em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace }
pre { margin: 0; padding: .8rem 1rem; border-radius: 6px; background: var(--card); white-space: pre-wrap; overflow-wrap: anywhere }
figure { margin: 0 }
figure > svg { display: block; width: 100%; height: auto }
figcaption { font-weight: 600; overflow-wrap: anywhere }
figcaption .soft { font-weight: 400 }
svg * { stroke-linejoin: round }
svg text { fill: currentColor }
.det { display: flex; flex-wrap: wrap; gap: 1rem 2rem; align-items: center }
.det figure { flex: 1 1 22rem; max-width: 36rem }
.legend { flex: 1 1 12rem; margin: 0; padding: 0; list-style: none; overflow-wrap: anywhere }
.legend li { margin: .3rem 0 }
.kinds { margin-bottom: .8rem }
.sample { width: 34px; height: 10px; margin-right: .6rem; vertical-align: middle }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.5rem 2rem }
.cards { columns: 22rem; column-gap: 1.5rem }
.card { display: inline-block; width: 100%; margin: 0 0 1.2rem; padding: .8rem 1rem; border-radius: 6px; background: var(--card); break-inside: avoid }
.card h3 { margin-top: 0 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 0; font-size: .92em }
dt { color: var(--soft) }
dd { margin: 0; overflow-wrap: anywhere }
@media print { @page { margin: 14mm }
  body { max-width: none; padding: 0; font-size: 10.5pt } figure, tr, .warn { break-inside: avoid } h2, h3, .kinds { break-after: avoid }
  .scroll { overflow: visible } th, td { padding: .25rem .4rem; font-size: 9pt; white-space: normal } td:first-child { min-width: 3.4cm }
  .det figure { max-width: 12cm } .pair { grid-template-columns: 1fr 1fr } .cards { columns: 2; font-size: 9pt }
  * { print-color-adjust: exact } }
"""


def esc(value):
    """Any value as text of the page."""
    text = str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
    return html.escape(text.encode("utf-8", "replace").decode())


def make_page(name, date, commit, systems, measured, rows, settings, opts, command):
    """-> the text of the page.

    name: of the experiment; date, commit: of the report; systems: [System, …]; measured: their [(scores, labels), …];
    rows: of train.tsv; settings: model.json, opts: opts.json, command: cmd, each empty where it is not there
    """
    sections = [
        _results(systems),
        _det(systems, measured),
        _histograms(systems, measured),
        _training(rows, opts),
        _what_was_run(date, commit, systems, settings, opts, command),
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{esc(name)} – report</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{esc(name)}</h1>
<p class="soft">{", ".join(_summary(rows, settings))}; report of {esc(date)}</p>
{"".join(sections)}</body>
</html>
"""


def _summary(rows, settings):
    if settings:
        yield f"{esc(settings.get('model'))} on {esc(settings.get('features', {}).get('feature'))}, {len(settings.get('classes', []))} speakers"
    yield f"{_number(rows, 'epoch')}, best {best_epoch(rows)}" if rows else "no training here"


def _number(items, unit):
    return f"{len(items)} {unit}{'' if len(items) == 1 else 's'}"


def _results(systems):
    if not systems:
        return "<h2>Results</h2>\n<p>Nothing is scored yet: steps/eer.py writes the figures that stand here.</p>\n"
    heads = ["system", "EER, %", *(f"minDCF<br>{prior}" for prior in PRIORS), "targets", "non-<br>targets", "epoch", "seed", "trial list"]
    lines = [f"<tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>"]
    for number, system in enumerate(systems):
        facts = system.facts
        cells = [
            _sample(number) + esc(system.name),
            f"<b>{100 * facts['eer']:.2f}</b>",
            *(f"{facts['min_dcf'][prior]:.4f}" for prior in PRIORS),
            f"{facts['targets']:,}",
            f"{facts['nontargets']:,}",
            "–" if system.epoch is None else esc(system.epoch),
            "–" if facts.get("seed") is None else esc(facts["seed"]),
            f"<code>{esc(facts['trials_sha256'][:12])}</code>",
        ]
        lines.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    table = "\n".join(lines)
    return f'<h2>Results</h2>\n{_warning(systems)}<div class="scroll"><table>\n{table}\n</table></div>\n'


def _warning(systems):
    groups = same_trials(systems)
    if len(groups) < 2:
        return ""
    told = "; ".join(f"{esc(', '.join(names))} on {esc(digest[:12])}" for digest, names in groups.items())
    return f'<p class="warn"><b>Different trial lists:</b> figures of different lists cannot be compared. {told}.</p>\n'


def _sample(number):
    """The line of a system as the plots draw it."""
    gaps = f' stroke-dasharray="{" ".join(map(str, plots.dashes(number)))}"' if plots.dashes(number) else ""
    line = f'<line x1="0" y1="5" x2="34" y2="5" stroke="var(--s{number % plots.COLOURS})" stroke-width="2.5"{gaps}/>'
    return f'<svg class="sample" viewBox="0 0 34 10" aria-hidden="true">{line}</svg>'


def _det(systems, measured):
    if not systems:
        return ""
    names = "\n".join(f"<li>{_sample(number)}{esc(s.name)}, {_rate(s.facts['eer'])}</li>" for number, s in enumerate(systems))
    note = "Each curve runs through all thresholds; the dot on the diagonal is the EER. Lower left is better."
    legend = f'<ul class="legend">\n{names}\n<li class="soft">{note}</li>\n</ul>'
    return f'<h2>Detection error trade-off</h2>\n<div class="det"><figure>{plots.det_curves(measured)}</figure>\n{legend}</div>\n'


def _rate(eer):
    return f"EER {100 * eer:.2f} %" + (" (its curve lies beyond the frame)" if eer in (0, 1) else "")


def _histograms(systems, measured):
    if not systems:
        return ""
    from pytorch.metrics import eer

    figures = []
    for number, (system, (scores, labels)) in enumerate(zip(systems, measured, strict=True)):
        threshold = eer(scores, labels)[1]
        picture = plots.score_histograms(scores, labels, threshold, f"scores{number}")
        caption = f'{esc(system.name)} <span class="soft">– EER threshold {threshold:.4g}</span>'
        figures.append(f"<figure><figcaption>{caption}</figcaption>{picture}</figure>\n")
    kinds = f"{_sample(0)}target &emsp; {_sample(1)}non-target &emsp; <span class='soft'>upright line: threshold of the EER</span>"
    return f'<h2>Scores</h2>\n<p class="kinds">{kinds}</p>\n<div class="pair">\n{"".join(figures)}</div>\n'


def _training(rows, opts):
    if not rows:
        return ""
    best, epochs = best_epoch(rows), [int(row["epoch"]) for row in rows]
    figures = []
    for column, label, unit in CURVES:
        values = [None if row[column] is None else unit * row[column] for row in rows]
        if any(value is not None for value in values):
            picture = plots.training_curve(epochs, values, best, column, f"{label} over the epochs")
            figures.append(f"<figure><figcaption>{label}</figcaption>{picture}</figure>\n")
    eer = rows[epochs.index(best)]["valid_eer"]
    told = [f"{_number(rows, 'epoch')} in {clock(sum(row['seconds'] or 0 for row in rows))}"]
    told.append(f"best epoch {best} with a validation EER of {100 * eer:.2f} %" if eer is not None else "no validation, so the last epoch counts as the best")
    warnings = []
    if (asked := opts.get("options", {}).get("epochs", 0)) > len(rows):
        warnings.append(f"<b>Not finished:</b> {len(rows)} of {asked} epochs.")
    if skipped := int(sum(row["skipped"] or 0 for row in rows)):
        warnings.append(f"<b>Skipped:</b> {_number(range(skipped), 'step')} whose loss or gradient was not finite.")
    warned = "".join(f'<p class="warn">{text}</p>\n' for text in warnings)
    head = f"<h2>Training</h2>\n<p>{'; '.join(told)}. The upright line marks the best epoch.</p>\n{warned}"
    return f'{head}<div class="pair">\n{"".join(figures)}</div>\n'


def _what_was_run(date, commit, systems, settings, opts, command):
    parts = ["<h2>What was run</h2>\n"]
    if command:
        parts.append(f"<p>The training:</p>\n<pre>{esc(command)}</pre>\n")
    machine = {
        "date": date,
        "commit": commit,
        "platform": platform.platform(),
        "CPUs": os.cpu_count(),
        "python": platform.python_version(),
        "torch": _version("torch"),
    }
    cards = [
        _card("Training", {"commit": opts.get("commit"), "python": opts.get("python")} if opts else {}),
        _card("Network", _network(settings)),
        _card("Features", settings.get("features", {})),
        _card("Options", opts.get("options", {})),
        _card("This report", machine),
    ]
    parts.append(f'<div class="cards" style="margin-top: 1.2rem">\n{"".join(cards)}</div>\n')
    if systems:
        parts.append(_sources(systems))
    if inputs := opts.get("inputs"):
        hashes = "\n".join(f"<tr><td>{esc(name)}</td><td><code>{esc(digest)}</code></td></tr>" for name, digest in inputs.items())
        parts.append(f'<h3>Data of the training, SHA-256</h3>\n<div class="scroll"><table class="words">\n{hashes}\n</table></div>\n')
    return "".join(parts)


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


def _sources(systems):
    cells = [(s.name, s.json, s.facts["scores"], s.facts["trials"], s.facts.get("commit")) for s in systems]
    rows = "\n".join(f"<tr>{''.join(f'<td>{esc(cell)}</td>' for cell in row)}</tr>" for row in cells)
    heads = "".join(f"<th>{head}</th>" for head in ("system", "figures", "scores", "trials", "commit"))
    return f'<h3>Where the results come from</h3>\n<div class="scroll"><table class="words">\n<tr>{heads}</tr>\n{rows}\n</table></div>\n'


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
