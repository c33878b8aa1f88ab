"""Pictures of many points as inline SVG, each with its name on hover."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from pytorch.report.markup import esc
from pytorch.report.plots import COLOURS

WIDTH, HEIGHT = 560, 420


def cloud(found, colours, label):
    """Embeddings. found: a Cloud; colours: [CSS colours of the points, …] for the variables --c0, --c1, …; --c0 that of their speakers"""
    size = min(WIDTH, HEIGHT) - 16
    # the longer side of the points along the width, so that the picture is filled
    spread = np.ptp(found.points, axis=0)
    points = found.points[:, ::-1] if spread[1] > spread[0] else found.points
    scale = min((WIDTH - 16) / max(np.ptp(points[:, 0]), 1e-9), size / max(np.ptp(points[:, 1]), 1e-9))
    places = np.array([WIDTH, HEIGHT]) / 2 + (points - 0.5) * scale
    by_spk = {}
    for row, spk in enumerate(found.speakers):
        by_spk.setdefault(spk, []).append(row)
    lines = []
    for rows in by_spk.values():
        lines.append(f'<g style="--c0:{colours[0][rows[0]]}">')
        for row in rows:
            x, y = places[row]
            style = ";".join(f"--c{number}:{column[row]}" for number, column in enumerate(colours) if number)
            told = "".join(f"\n{name}: {_plain(values[row])}" for name, values in found.traits.items())
            marked = f' style="{style}"' if style else ""
            name = esc(f"{found.utts[row]}\nspeaker {found.speakers[row]}{told}")
            lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2"{marked}><title>{name}</title></circle>')
        lines.append("</g>")
    inner = "\n".join(lines)
    frame = f'<rect class="frame" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}"/>'
    return f'<svg role="img" aria-label="{esc(label)}" viewBox="0 0 {WIDTH} {HEIGHT}">\n{frame}\n{inner}\n</svg>'


def colour_of_value(values):
    """-> [CSS colour of each], the words of a legend: None where there are too many values, [(colour, value), …], or (low, high) of numbers."""
    kinds = sorted(set(values))
    if len(kinds) > COLOURS and not isinstance(kinds[0], str):
        low, high = kinds[0], kinds[-1]
        return [ramp((value - low) / (high - low)) for value in values], (low, high)
    chosen = {value: f"var(--s{number})" if len(kinds) <= COLOURS else hue(number) for number, value in enumerate(kinds)}
    return [chosen[value] for value in values], [(chosen[value], value) for value in kinds] if len(kinds) <= 24 else None


def hue(number):
    """Colours as far apart as their number allows, seen on light and on dark."""
    return f"hsl({number * 137.508 % 360:.0f} 62% {(50, 60, 42)[number % 3]}%)"


def ramp(share):
    """Colours from blue, 0, to red, 1."""
    return f"hsl({220 - 210 * share:.0f} 80% 55%)"


def number_scatter(points, label):
    """Predicted against true numbers. points: [(utt, wanted, found), …]"""
    size, left, top, bottom = 400, 52, 8, 44
    values = [value for _, *pair in points for value in pair]
    low, high = min(values), max(values)
    room = (high - low) * 0.04 or 1
    low, high = low - room, high + room
    inner = size - top - bottom

    def x(value):
        return left + (value - low) / (high - low) * inner

    def y(value):
        return top + inner - (value - low) / (high - low) * inner

    lines = []
    for tick in MaxNLocator(6).tick_values(low, high):
        if low <= tick <= high:
            name = f"{tick:.6g}"
            lines.append(f'<path class="grid" d="M{x(tick):.1f} {top}V{top + inner}M{left} {y(tick):.1f}H{left + inner}"/>')
            lines.append(f'<text x="{x(tick):.1f}" y="{top + inner + 15}" text-anchor="middle">{name}</text>')
            lines.append(f'<text x="{left - 6}" y="{y(tick) + 3.5:.1f}" text-anchor="end">{name}</text>')
    lines.append(f'<path class="even" d="M{x(low):.1f} {y(low):.1f}L{x(high):.1f} {y(high):.1f}"/>')
    lines.append(f'<rect class="frame" x="{left}" y="{top}" width="{inner}" height="{inner}"/>')
    middle = top + inner / 2
    lines.append(f'<text x="{left + inner / 2:.1f}" y="{top + inner + 34}" text-anchor="middle">true</text>')
    lines.append(f'<text x="12" y="{middle:.1f}" text-anchor="middle" transform="rotate(-90 12 {middle:.1f})">predicted</text>')
    for utt, wanted, found in points:
        told = esc(f"{utt}\ntrue {wanted:g}, predicted {found:g}")
        lines.append(f'<circle cx="{x(wanted):.1f}" cy="{y(found):.1f}" r="3"><title>{told}</title></circle>')
    inner_lines = "\n".join(lines)
    return f'<svg class="dots" role="img" aria-label="{esc(label)}" viewBox="0 0 {left + inner + 12} {size}">\n{inner_lines}\n</svg>'


def _plain(value):
    return f"{value:g}" if isinstance(value, float) else value
