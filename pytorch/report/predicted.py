"""What a page says of predicted classes and numbers: figures, confusion matrices, predicted against true numbers."""

from pytorch.report.markup import counted, esc, figure, section, soft, table, warning

NAMES = {
    "accuracy": "accuracy, %", "uar": "UAR, %", "macro_f1": "macro F1, %", "tolerant_f1": "tolerant F1, %",
    "mae": "MAE", "rmse": "RMSE", "mae_of_mean": "MAE of the mean", "pearson": "Pearson", "spearman": "Spearman", "ccc": "CCC",
}  # fmt: skip
WIDEST = 20  # classes of a matrix that is shown whole
CONFUSIONS = 20  # of a larger one, the most frequent


def predictions(found):
    """found: [Prediction, …] -> the sections of classes and of numbers"""
    kinds = {kind: [one for one in found if one.facts["kind"] == kind] for kind in ("classes", "numbers")}
    return [_classes(kinds["classes"]), _numbers(kinds["numbers"])]


def _figures(found, names):
    names = [name for name in names if any(name in one.facts for one in found)]
    rows = []
    for one in found:
        ends = one.facts.get("intervals") or {}
        cells = [_in_words(name, one.facts[name], ends.get(name)) if name in one.facts else "–" for name in names]
        rows.append([esc(one.name), *cells, f"{one.facts['utts']:,}"])
    has_intervals = any(one.facts.get("intervals") for one in found)
    note = f"<p>{soft('Below a figure: its 95 % interval, were other speakers drawn.')}</p>\n" if has_intervals else ""
    return table(["predictions", *(NAMES[name] for name in names), "utterances"], rows) + note


def _in_words(name, value, ends):
    def told(value):
        return f"{100 * value:.2f}" if NAMES[name].endswith("%") else f"{value:.4g}"

    return told(value) + (f"<small>{'–'.join(map(told, ends))}</small>" if ends else "")


def _classes(found):
    if not found:
        return None
    matrices = "".join(_matrix(one) for one in found)
    return section("Predicted classes", _figures(found, ("accuracy", "uar", "macro_f1", "tolerant_f1")), matrices)


def _matrix(one):
    classes, counts = one.facts["classes"], one.facts["confusion"]
    title = f"<h3>{esc(one.name)}: confusion matrix</h3>\n"
    if len(classes) > WIDEST:
        return f"<h3>{esc(one.name)}: most frequent confusions of {len(classes)} classes</h3>\n{_confusions(classes, counts)}"
    note = "Rows: true classes, columns: predicted ones; the stronger the colour, the larger the share of the row. Recall in per cent."
    return f"{title}{_shaded(classes, counts)}<p>{soft(note)}</p>\n"


def _shaded(classes, counts):
    heads = "".join(f'<th scope="col">{esc(name)}</th>' for name in ["true \\ predicted", *classes, "recall"])
    lines = [f"<tr>{heads}</tr>"]
    for number, (name, row) in enumerate(zip(classes, counts, strict=True)):
        there = max(sum(row), 1)
        strengths = [round(55 * count / there) for count in row]  # per cent; text must stay readable on it
        styles = [f"background: color-mix(in srgb, var(--s0) {part}%, transparent)" for part in strengths]
        cells = [f'<td style="{style}">{count:,}</td>' for style, count in zip(styles, row, strict=True)]
        recall = f"{100 * row[number] / there:.1f}" if sum(row) else "–"
        lines.append(f'<tr><th scope="row">{esc(name)}</th>{"".join(cells)}<td>{recall}</td></tr>')
    inner = "\n".join(lines)
    return f'<div class="scroll" tabindex="0"><table class="confusion">\n{inner}\n</table></div>\n'


def _confusions(classes, counts):
    number = range(len(classes))
    wrong = sorted(((counts[i][j], i, j) for i in number for j in number if i != j and counts[i][j]), key=lambda cell: (-cell[0], cell[1], cell[2]))
    if not wrong:
        return "<p>None: every utterance was found to be of its class.</p>\n"
    rows = [[esc(classes[i]), esc(classes[j]), f"{count:,}", f"{sum(counts[i]):,}"] for count, i, j in wrong[:CONFUSIONS]]
    more = counted(len(wrong) - CONFUSIONS, "further pair") + " of classes in the JSON file."
    left = f"<p>{soft(more)}</p>\n" if len(wrong) > CONFUSIONS else ""
    return table(["true", "predicted", "utterances", "of the class"], rows) + left


def _numbers(found):
    if not found:
        return None
    from pytorch.report.dots import number_scatter

    figures, lost = [], []
    for one in found:
        if one.points is None:
            lost.append(one)
            continue
        drawn = "" if len(one.points) == one.facts["utts"] else f", {len(one.points):,} of {one.facts['utts']:,} utterances, by chance"
        note = soft(f"– {esc(one.facts['wanted'])}{drawn}")
        figures.append(figure(f"{esc(one.name)} {note}", number_scatter(one.points, "Predicted against true numbers")))
    told = ", ".join(f"{esc(one.name)} ({esc(one.facts['wanted'])}, {esc(one.facts['found'])})" for one in lost)
    word = warning(f"<b>Not drawn:</b> a table is not there any more: {told}.") if lost else ""
    drawn = f'<div class="pair">\n{"".join(figures)}</div>\n' if figures else ""
    return section("Predicted numbers", _figures(found, ("mae", "rmse", "mae_of_mean", "pearson", "spearman", "ccc")), word, drawn)
