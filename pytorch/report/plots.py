"""The pictures of a report as inline SVG.

Colours are CSS variables of the page, so one picture serves light, dark and paper; no word of the user's stands in a picture.
"""

import io
import re

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from scipy.special import ndtri

from pytorch.metrics import Detection, error_rates
from pytorch.metrics.detection import convex_hull

COLOURS = 6  # --s0 … --s5 of the page
DASHES = (None, (7, 2), (2, 2), (9, 2, 2, 2))  # line styles, so that paper without colour can be read too
INK = "#010101"  # stands for the colour of the text around
TICKS = (0.001, 0.01, 0.1, 0.5, 2, 5, 10, 20, 40, 60, 80, 90, 95, 99)  # per cent
STYLE = {
    "svg.fonttype": "none",
    "font.size": 10,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
    "lines.scale_dashes": False,
    "lines.dash_capstyle": "butt",
    "axes.formatter.use_mathtext": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), INK),
}


def colour(number):
    """Stands for the CSS variable --s0, --s1, … in a picture."""
    return f"#0200{number % COLOURS:02x}"


def dashes(number):
    """The line style beside it, drawn with a gap where not None; colour and dashes together tell 24 systems apart."""
    return DASHES[(number + number // COLOURS) % len(DASHES)]


def line_style(number):
    return (0, dashes(number)) if dashes(number) else "-"


def det_curves(measured):
    """DET curves of several systems, axes in per cent on the normal deviate scale, the EER of each marked.

    measured: [(number, scores, labels), …] of the systems; number: of the colour
    """
    rates = [Detection(scores, labels).eer() for _, scores, labels in measured]
    most = [max(np.count_nonzero(labels == kind) for *_, labels in measured) for kind in (False, True)]
    lows = [ndtri(max(1e-6, 0.7 / count)) for count in most]
    high = ndtri(max(0.8, *(min(0.995, rate + 0.03) for rate in rates)))

    def draw(axes):
        axes.axline((0, 0), slope=1, color=INK, alpha=0.35, linewidth=0.8)
        for (number, scores, labels), rate in zip(measured, rates, strict=True):
            p_fa, p_miss = det_points(scores, labels, rate)
            axes.plot(ndtri(p_fa), ndtri(p_miss), color=colour(number), linestyle=line_style(number))
            at = ndtri(np.clip(rate, 1e-7, 1 - 1e-7))
            axes.plot(at, at, "o", color=colour(number), markersize=6, zorder=3)
        for axis, low in zip((axes.xaxis, axes.yaxis), lows, strict=True):
            ticks = [tick for tick in TICKS if low <= ndtri(tick / 100) <= high]
            axis.set_ticks(ndtri(np.array(ticks) / 100), [f"{tick:g}" for tick in ticks])
        axes.set(xlabel="false alarms, % of non-target trials", ylabel="misses, % of target trials")
        axes.set(xlim=(lows[0], high), ylim=(lows[1], high), aspect="equal")

    return _picture(draw, (5.6, 5.6), "det", "Detection error trade-off: misses against false alarms")


def det_points(scores, labels, rate, cells=600):
    """-> (p_fa, p_miss) of a DET curve, its points thinned to what a picture can show, the EER point exact.

    rate: the EER. A rate of 0 or 1, at infinity on this scale, becomes 1e-7 or 1 - 1e-7: beyond the frame of the picture.
    """
    p_miss, p_fa, _ = error_rates(scores, labels)
    place = int(np.argmax(p_miss >= p_fa))
    points = np.insert(np.stack([p_fa, p_miss]), place, rate, axis=1)
    points = np.clip(points, 1e-7, 1 - 1e-7)
    cell = np.floor(ndtri(points) * (cells / 10)).astype(int)  # the scale is 10.4 wide
    keep = np.ones(points.shape[1], dtype=bool)
    keep[1:-1] = (cell[:, 1:-1] != cell[:, :-2]).any(0) | (cell[:, 1:-1] != cell[:, 2:]).any(0)
    keep[place] = True
    return points[:, keep]


def score_histograms(scores, labels, thresholds, key):
    """Densities of target (colour 0) and non-target scores (colour 1).

    thresholds: [(score, dashes), …] of upright lines; those beyond the scores are not drawn
    """

    def draw(axes):
        edges = np.histogram_bin_edges(scores, bins=40)
        for number, kind in enumerate((True, False)):
            density, _ = np.histogram(scores[labels == kind], bins=edges, density=True)
            axes.stairs(density, edges, fill=True, color=colour(number), alpha=0.3, linewidth=0)
            axes.stairs(density, edges, color=colour(number), linewidth=1.4, **({"linestyle": (0, (5, 2))} if number else {}))
        for threshold, gaps in thresholds:
            if edges[0] <= threshold <= edges[-1]:
                axes.axvline(threshold, color=INK, linewidth=1.2, dashes=gaps)
        axes.set(xlabel="score", ylabel="density", ylim=(0, None))

    return _picture(draw, (5.2, 3.0), key, "Histograms of target and non-target scores")


def least_cost_threshold(scores, labels, p_target):
    """The threshold, of the fewest acceptances, above which scores are accepted at the least detection cost with costs of 1."""
    p_miss, p_fa, thresholds = error_rates(scores, labels)
    costs = p_target * p_miss + (1 - p_target) * p_fa
    return float(thresholds[len(costs) - 1 - int(np.argmin(costs[::-1]))])


def bayes_errors(measured):
    """Bayes error rates over the prior, divided by that of the better blind decision.

    Brümmer and de Villiers, "The BOSARIS toolkit", arXiv 1304.2865. measured: [(number, scores, labels, are_llrs), …]. Fine lines: the least of all
    thresholds; bold ones, of log-likelihood ratios only: that of the threshold that the prior gives.
    """
    log_odds = np.linspace(-8, 4, 121)
    priors = 1 / (1 + np.exp(-log_odds))

    def draw(axes):
        highest = 1.0
        for number, scores, labels, are_llrs in measured:
            least = least_bayes_errors(scores, labels, priors)
            axes.plot(log_odds, least, color=colour(number), linewidth=1, linestyle=line_style(number))
            if are_llrs:
                detection = Detection(scores, labels)
                actual = np.array([detection.act_dcf(prior) for prior in priors])
                axes.plot(log_odds, actual, color=colour(number), linewidth=2.4, linestyle=line_style(number))
                highest = max(highest, actual.max())
        axes.axhline(1, color=INK, linewidth=0.8, alpha=0.4)
        for prior in (0.001, 0.01, 0.05):
            axes.axvline(np.log(prior / (1 - prior)), color=INK, linewidth=0.8, alpha=0.4, dashes=(2, 3))
        axes.set(xlabel="prior log-odds of a target", ylabel="normalised error rate", xlim=(-8, 4), ylim=(0, 1.05 * min(highest, 2)))

    return _picture(draw, (5.2, 3.6), "bayes", "Normalised Bayes error rates over the prior log-odds of a target")


def least_bayes_errors(scores, labels, priors):
    """(P,) priors of a target -> (P,) least normalised error rates: those of the convex hull."""
    p_miss, p_fa, _ = error_rates(scores, labels)
    targets = np.count_nonzero(labels)
    nontargets = len(labels) - targets
    missed, rejected = convex_hull(np.rint(p_miss * targets), np.rint((1 - p_fa) * nontargets))
    p_miss, p_fa = missed / targets, 1 - rejected / nontargets
    return np.array([(prior * p_miss + (1 - prior) * p_fa).min() / min(prior, 1 - prior) for prior in priors])


def calibration(measured):
    """How often trials of a like log-likelihood ratio are targets, were half of all targets, against what the ratio says.

    measured: [(number, llrs, labels), …]
    """
    ticks = np.array([0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999])
    end = np.log(0.9995 / 0.0005)

    def draw(axes):
        axes.axline((0, 0), slope=1, color=INK, alpha=0.5, linewidth=0.8)
        for number, llrs, labels in measured:
            said, found = reliability(llrs, labels)
            said, found = np.clip(said, -end, end), np.clip(found, -end, end)
            axes.plot(said, found, color=colour(number), linestyle=line_style(number), marker="o", markersize=4, clip_on=False)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(np.log(ticks / (1 - ticks)), [f"{tick:g}" for tick in ticks])
        axes.set(xlabel="probability of a target that the score says", ylabel="share of targets", xlim=(-end, end), ylim=(-end, end), aspect="equal")

    return _picture(draw, (5.2, 4.4), "calibration", "Calibration: share of targets among trials of like score against what the score says")


def reliability(llrs, labels, bins=15):
    """Trials in bins of equal weight, both kinds weighing alike.

    -> (mean log-likelihood ratio of each bin, log-odds of a target found in it: infinite where it has trials of one kind only)
    """
    order = np.argsort(llrs, kind="stable")
    llrs, labels = llrs[order], labels[order]
    weights = np.where(labels, 0.5 / labels.sum(), 0.5 / (~labels).sum())
    middles = np.cumsum(weights) - weights / 2
    place = np.minimum((middles * bins).astype(int), bins - 1)
    _, place = np.unique(place, return_inverse=True)
    sums = [np.bincount(place, weights * values) for values in (llrs, labels, ~labels, np.ones(len(llrs)))]
    with np.errstate(divide="ignore"):
        return sums[0] / sums[3], np.log(sums[1]) - np.log(sums[2])


def training_curve(lines, best, key, label):
    """One figure of a training over the epochs, in several lines; a wide range of a loss is drawn on a log scale.

    lines: [(number of the colour, {epoch: value}, its best epoch or None), …]; best: epoch of an upright line, or None
    """
    epochs = sorted({epoch for _, values, _ in lines for epoch in values} | ({best} if best else set()))
    there = [value for _, values, _ in lines for value in values.values()]

    def draw(axes):
        if best:
            axes.axvline(best, color=INK, linewidth=1, dashes=(3, 2), alpha=0.6)
        for number, values, own_best in lines:
            axes.plot(list(values), list(values.values()), color=colour(number), linestyle=line_style(number), marker="o" if len(values) < 3 else None)
            if own_best in values:
                axes.plot(own_best, values[own_best], "o", color=colour(number), markersize=6)
        if key == "loss" and min(there) > 0 and max(there) > 30 * min(there):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
        else:
            axes.set_ylim(min(0, 1.05 * min(there)), 1.05 * max(*there, 1e-12))
        axes.set(xlabel="epoch", xlim=(epochs[0] - 0.5, epochs[-1] + 0.5))
        axes.xaxis.get_major_locator().set_params(integer=True)

    return _picture(draw, (5.2, 2.8), key, label)


def _picture(draw, size, key, label):
    """Draw on new axes -> SVG to stand inside HTML. key: makes the ids in it unique on the page."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        file = io.StringIO()
        with matplotlib.rc_context({"svg.hashsalt": key}):
            figure.savefig(file, format="svg")
    return _inline(file.getvalue(), key, label)


def _inline(svg, key, label):
    view = re.search(r'viewBox="[^"]*"', svg)[0]
    svg = svg[svg.index("</metadata>") + len("</metadata>") :]
    svg = re.sub(r"<style.*?</style>|<!--.*?-->", "", svg, flags=re.S)  # that style would hold for the whole page
    svg = re.sub(r' id="(?:figure|axes|patch|line2d|text|xtick|ytick|matplotlib)[^"]*"', "", svg)
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{key}-", svg.replace("xlink:href", "href"))
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), svg)
    svg = re.sub(r"#0200(\d\d)", lambda found: f"var(--s{int(found[1])})", svg).replace(INK, "currentColor")
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    return f'<svg role="img" aria-label="{label}" {view}>{svg}'
