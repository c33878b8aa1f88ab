"""The pictures of a report as inline SVG.

Colours are CSS variables of the page, so one picture serves light, dark and paper; no word of the user's stands in a picture.
"""

import io
import re

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from scipy.special import ndtri

from pytorch.metrics import eer, error_rates

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


def det_curves(measured):
    """DET curves of several systems, axes in per cent on the normal deviate scale, the EER of each marked.

    measured: [(scores, labels), …], one for each system, drawn in the colours 0, 1, …
    """
    rates = [eer(scores, labels)[0] for scores, labels in measured]
    most = [max(np.count_nonzero(np.asarray(labels) == kind) for _, labels in measured) for kind in (False, True)]
    lows = [ndtri(max(1e-6, 0.7 / count)) for count in most]
    high = ndtri(max(0.8, *(min(0.995, rate + 0.03) for rate in rates)))

    def draw(axes):
        axes.axline((0, 0), slope=1, color=INK, alpha=0.35, linewidth=0.8)
        for number, ((scores, labels), rate) in enumerate(zip(measured, rates, strict=True)):
            p_fa, p_miss = det_points(scores, labels, rate)
            axes.plot(ndtri(p_fa), ndtri(p_miss), color=colour(number), linestyle=(0, dashes(number)) if dashes(number) else "-")
            at = ndtri(np.clip(rate, 1e-7, 1 - 1e-7))
            axes.plot(at, at, "o", color=colour(number), markersize=6, zorder=3)
        for axis, low in zip((axes.xaxis, axes.yaxis), lows, strict=True):
            ticks = [tick for tick in TICKS if low <= ndtri(tick / 100) <= high]
            axis.set_ticks(ndtri(np.array(ticks) / 100), [f"{tick:g}" for tick in ticks])
        axes.set(xlabel="false alarms, % of non-target trials", ylabel="misses, % of target trials")
        axes.set(xlim=(lows[0], high), ylim=(lows[1], high), aspect="equal")

    return _picture(draw, (6.4, 6.4), "det", "Detection error trade-off: misses against false alarms")


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


def score_histograms(scores, labels, threshold, key):
    """Densities of target (colour 0) and non-target scores (colour 1) with the EER threshold."""
    scores, labels = np.asarray(scores), np.asarray(labels)

    def draw(axes):
        edges = np.histogram_bin_edges(scores, bins=40)
        for number, kind in enumerate((True, False)):
            density, _ = np.histogram(scores[labels == kind], bins=edges, density=True)
            axes.stairs(density, edges, fill=True, color=colour(number), alpha=0.3, linewidth=0)
            axes.stairs(density, edges, color=colour(number), linewidth=1.4, **({"linestyle": (0, (5, 2))} if number else {}))
        axes.axvline(threshold, color=INK, linewidth=1.2, dashes=(3, 2))
        axes.set(xlabel="score", ylabel="density", ylim=(0, None))

    return _picture(draw, (5.2, 3.0), key, "Histograms of target and non-target scores")


def training_curve(epochs, values, best, key, label):
    """One figure of the training over the epochs, best epoch marked. values: may hold None; a wide range of a loss is drawn on a log scale."""
    values = np.array([np.nan if value is None else value for value in values], dtype=float)

    def draw(axes):
        axes.axvline(best, color=INK, linewidth=1, dashes=(3, 2), alpha=0.6)
        axes.plot(epochs, values, color=colour(0), marker="o" if len(epochs) < 3 else None)
        there = values[np.isfinite(values)]
        if key == "loss" and len(there) and there.min() > 0 and there.max() > 30 * there.min():
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
        elif len(there):
            axes.set_ylim(0, 1.05 * max(there.max(), 1e-12))
        axes.plot(best, values[list(epochs).index(best)], "o", color=colour(0), markersize=6)
        axes.set(xlabel="epoch", xlim=(min(epochs) - 0.5, max(epochs) + 0.5))
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
