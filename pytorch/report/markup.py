"""The parts a page is made of: text, tables, figures, the style."""

import html
from pathlib import Path

STYLE = Path(__file__).with_name("style.css")


def esc(value):
    """Any value as text of the page."""
    text = str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
    return html.escape(text.encode("utf-8", "replace").decode())


def counted(items, unit):
    """3 epochs; items: things or their number"""
    number = items if isinstance(items, int) else len(items)
    return f"{number:,} {unit}{'' if number == 1 else 's'}"


def section(title, *parts):
    """-> (title, HTML) of a section of the page; None without any part."""
    body = "".join(parts)
    return (title, body) if body else None


def table(heads, rows, kind=""):
    """heads: HTML of each column; rows: [[HTML, …], …], the first of each its head; kind: class of the table"""
    cells = "".join(f'<th scope="col">{head}</th>' for head in heads)
    lines = [f"<tr>{cells}</tr>"]
    for first, *cells in rows:
        lines.append(f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>')
    marked = f' class="{kind}"' if kind else ""
    inner = "\n".join(lines)
    return f'<div class="scroll" tabindex="0"><table{marked}>\n{inner}\n</table></div>\n'


def figure(caption, picture):
    return f"<figure><figcaption>{caption}</figcaption>{picture}</figure>\n"


def soft(text):
    return f'<span class="soft">{text}</span>'


def warning(text):
    return f'<p class="warn">{text}</p>\n'


def sample(number, dashes=None):
    """The line of colour `number` as the plots draw it. dashes: (on, off, …)"""
    from pytorch.report.plots import COLOURS

    gaps = f' stroke-dasharray="{" ".join(map(str, dashes))}"' if dashes else ""
    line = f'<line x1="0" y1="5" x2="34" y2="5" stroke="var(--s{number % COLOURS})" stroke-width="2.5"{gaps}/>'
    return f'<svg class="sample" viewBox="0 0 34 10" aria-hidden="true">{line}</svg>'
