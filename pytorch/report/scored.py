"""What a page says of systems that score trials: figures, subsets, DET curves, histograms, Bayes errors, calibration, the worst trials."""

from pytorch.report import plots
from pytorch.report.markup import esc, figure, sample, section, soft, table, warning
from pytorch.report.systems import PRIORS, same_trials


def results(systems):
    if not systems:
        return section("Results", "<p>No trials are scored yet: steps/eer.py writes the figures that stand here.</p>\n")
    heads = ["system", "EER, %", *(f"{kind}DCF<br>{prior}" for kind in ("min", "act") for prior in PRIORS), "Cllr", "minCllr", "trials"]
    rows = [[mark(number) + esc(system.name), *_figures(system)] for number, system in enumerate(systems)]
    notes = []
    if any(system.facts.get("intervals") for system in systems):
        notes.append("Below a figure: its 95 % interval, were other speakers drawn.")
    if any(system.facts.get("cllr") is not None and not system.are_llrs for system in systems):
        notes.append("Grey actDCF and Cllr: of scores that are not meant as log-likelihood ratios; calibrate them first.")
    note = f"<p>{soft(' '.join(notes))}</p>\n" if notes else ""
    return section("Results", _list_warning(systems), table(heads, rows), note, _subsets(systems))


def _figures(system):
    facts, ends = system.facts, system.facts.get("intervals") or {}

    def cell(value, interval=None, is_soft=False, form=".4f", ends_form=".3f", unit=1):
        if value is None:
            return "–"
        between = "–".join(format(unit * end, ends_form) for end in interval or [])
        told = format(unit * value, form)
        return (soft(told) if is_soft else told) + (f"<small>{between}</small>" if between else "")

    def of_prior(kind, prior):
        return cell((facts.get(kind) or {}).get(prior), ends.get(kind, {}).get(prior), kind == "act_dcf" and not system.are_llrs)

    eer = cell(facts["eer"], ends.get("eer"), form=".2f", ends_form=".2f", unit=100)
    costs = [of_prior(kind, prior) for kind in ("min_dcf", "act_dcf") for prior in PRIORS]
    cllrs = [cell(facts.get(name), ends.get(name), name == "cllr" and not system.are_llrs) for name in ("cllr", "min_cllr")]
    trials = f"{facts['targets'] + facts['nontargets']:,}<small>{facts['targets']:,} targets</small>"
    return [f"<b>{eer}</b>", *costs, *cllrs, trials]


def _list_warning(systems):
    groups = same_trials(systems)
    if len(groups) < 2:
        return ""
    told = "; ".join(f"{esc(', '.join(names))} on {esc(digest[:12])}" for digest, names in groups.items())
    return warning(f"<b>Different trial lists:</b> figures of different lists cannot be compared. {told}.")


def _subsets(systems):
    """The EER and minDCF of each system on each subset; the rest is in the JSON files."""
    parts = []
    for number, system in enumerate(systems):
        rows = []
        for name, figures in (system.facts.get("subsets") or {}).items():
            told = ["–", "–"]
            if "eer" in figures:
                told = [f"{100 * figures['eer']:.2f}", f"{figures['min_dcf']['0.01']:.4f}"]
            rows.append([esc(name), *told, f"{figures['targets']:,}", f"{figures['nontargets']:,}"])
        if rows:
            heads = ["trials", "EER, %", "minDCF 0.01", "targets", "non-targets"]
            parts.append(f"<div><h3>{mark(number)}{esc(system.name)}</h3>\n{table(heads, rows)}</div>\n")
    return f'<h3>By subset</h3>\n<div class="pair">\n{"".join(parts)}</div>\n' if parts else ""


def mark(number):
    """The line of a system as the plots draw it."""
    return sample(number, plots.dashes(number))


def pictures(systems, scored):
    """-> the sections with pictures of those systems whose scores are there, and a word on the others"""
    lost = [system for system, trials in zip(systems, scored, strict=True) if trials is None]
    there = [(number, system, trials) for number, (system, trials) in enumerate(zip(systems, scored, strict=True)) if trials]
    told = ", ".join(f"{esc(system.name)} ({esc(system.facts['scores'])} of {esc(system.facts['trials'])})" for system in lost)
    word = warning(f"<b>Not drawn:</b> the scores or trials are not there any more: {told}.") if lost else ""
    if not there:
        return [section("Detection error trade-off", word)]
    return [_det(there, word), _histograms(there), _bayes(there), _calibration(there)]


def _det(there, word):
    names = "\n".join(f"<li>{mark(number)}{esc(system.name)}, {_rate(system.facts['eer'])}</li>" for number, system, _ in there)
    note = "Each curve runs through all thresholds; the dot on the diagonal is the EER. Lower left is better."
    legend = f'<ul class="legend">\n{names}\n<li class="soft">{note}</li>\n</ul>'
    picture = plots.det_curves([(number, trials.scores, trials.labels) for number, _, trials in there])
    return section("Detection error trade-off", word, f'<div class="det"><figure>{picture}</figure>\n{legend}</div>\n')


def _rate(eer):
    return f"EER {100 * eer:.2f} %" + (" (its curve lies beyond the frame)" if eer in (0, 1) else "")


def _histograms(there):
    from pytorch.metrics import eer

    figures = []
    for number, system, trials in there:
        thresholds = [(eer(trials.scores, trials.labels)[1], (3, 2)), (plots.least_cost_threshold(trials.scores, trials.labels, 0.01), (1, 2))]
        picture = plots.score_histograms(trials.scores, trials.labels, thresholds, f"scores{number}")
        values = ", ".join(f"{name} {_score(value)}" for name, (value, _) in zip(("EER", "minDCF(0.01)"), thresholds, strict=True))
        figures.append(figure(f"{esc(system.name)} {soft(f'– thresholds: {values}')}", picture))
    kinds = f"{mark(0)}target &emsp; {mark(1)}non-target &emsp; {soft('upright lines: thresholds, dashed of the EER, dotted of minDCF(0.01)')}"
    return section("Scores", f'<p class="kinds">{kinds}</p>\n<div class="pair">\n{"".join(figures)}</div>\n')


def _score(threshold):
    return f"{threshold:.4g}" if abs(threshold) < float("inf") else "below all scores"


def _bayes(there):
    names = "\n".join(f"<li>{mark(number)}{esc(system.name)}{'' if system.are_llrs else ' (least only)'}</li>" for number, system, _ in there)
    note = """Error rate of the Bayes decision for each prior of a target, divided by that of deciding blindly. Fine lines: with the best threshold for each
prior. Bold lines, of log-likelihood ratios: with the threshold the prior gives; where the two are near, the scores are calibrated.
Upright: priors 0.001, 0.01 and 0.05."""
    legend = f'<ul class="legend">\n{names}\n<li class="soft">{note}</li>\n</ul>'
    picture = plots.bayes_errors([(number, trials.scores, trials.labels, system.are_llrs) for number, system, trials in there])
    return section("Bayes error", f'<div class="det"><figure>{picture}</figure>\n{legend}</div>\n')


def _calibration(there):
    drawn = [(number, system, trials) for number, system, trials in there if system.are_llrs]
    if not drawn:
        told = "Not drawn: no scores are meant as log-likelihood ratios. steps/apply_calibration.py makes such; --llrs names those made elsewhere."
        return section("Calibration", f"<p>{told}</p>\n")
    names = "\n".join(f"<li>{mark(number)}{esc(system.name)}</li>" for number, system, _ in drawn)
    note = """Trials in 15 bins by their score, targets and non-targets weighing alike. On the diagonal, the score says what is found; below it, targets
are promised too often. Bins without a trial of one kind stand at the edge."""
    legend = f'<ul class="legend">\n{names}\n<li class="soft">{note}</li>\n</ul>'
    picture = plots.calibration([(number, trials.scores, trials.labels) for number, _, trials in drawn])
    return section("Calibration", f'<div class="det"><figure>{picture}</figure>\n{legend}</div>\n')


def worst(found):
    """found: as pytorch.report.worst gives it"""
    parts = []
    for number, (system, kinds) in enumerate(found):
        tables = []
        for kind, trials in kinds.items():
            rows = [[f"{score:.4g}", *map(_side, sides)] for score, *sides in trials]
            which = "lowest" if kind == "targets" else "highest"
            tables.append(f"<div><h3>{kind.capitalize()} with the {which} scores</h3>\n{table(['score', 'enrolment', 'test'], rows, 'words')}</div>\n")
        opened = "" if number else " open"
        parts.append(f'<details{opened}><summary>{esc(system.name)}</summary>\n<div class="pair">\n{"".join(tables)}</div>\n</details>\n')
    return section("Worst trials", *parts)


def _side(side):
    name = f'<a href="{esc(side.href)}">{esc(side.name)}</a>' if side.href else esc(side.name)
    return name + (f"<small>{esc(side.what)}</small>" if side.what else "")


def sources(systems):
    """Where the results come from."""
    if not systems:
        return ""
    heads = ["system", "figures", "scores", "trials", "trial list", "epoch", "seed", "commit"]
    rows = []
    for system in systems:
        facts = system.facts
        cells = [system.json, facts["scores"], facts["trials"], facts["trials_sha256"][:12], system.epoch, facts.get("seed"), facts.get("commit")]
        rows.append([esc(system.name), *("–" if cell is None else esc(cell) for cell in cells)])
    return f"<h3>Where the results come from</h3>\n{table(heads, rows, 'words')}"
