"""What a page shows of embeddings: a plane with a point for each, coloured by what is known of it."""

from pytorch.report.markup import counted, esc, section, soft


def embeddings(clouds, left_out):
    parts = [_cloud(number, cloud) for number, cloud in enumerate(clouds)]
    if clouds:
        parts.insert(0, f"<p>{soft('Each point is an utterance, named on hover; the other points of its speaker are marked then.')}</p>\n")
    return section("Embeddings", *parts, *(f"<p>{soft(esc(word))}</p>\n" for word in left_out))


def _cloud(number, cloud):
    from pytorch.report import dots

    coloured = {"speaker": cloud.speakers, **cloud.traits}
    colours, inputs, keys = [], [], []
    for place, (name, values) in enumerate(coloured.items()):
        chosen, legend = dots.colour_of_value(values)
        colours.append(chosen)
        kind, ident = f"c{place}", f"cloud{number}-{place}"
        checked = " checked" if place == 0 else ""
        inputs.append(f'<input type="radio" class="{kind}" name="cloud{number}" id="{ident}"{checked}>\n<label for="{ident}">{esc(name)}</label>')
        keys.append(f'<p class="key k{place}">{_legend(legend, values)}</p>')
    title = f"<h3>{esc(cloud.name)}: {_how_many(cloud)}</h3>\n<p>{soft(esc(cloud.method))}</p>\n"
    picture = dots.cloud(cloud, colours, f"Embeddings of {cloud.name} in two dimensions")
    choice = "\n".join(inputs)
    shown = "\n".join(keys)
    return f'{title}<div class="cloud" role="group" aria-label="Colours">\nColoured by \n{choice}\n{shown}\n<figure>{picture}</figure>\n</div>\n'


def _how_many(cloud):
    speakers = counted(len(set(cloud.speakers)), "speaker")
    if len(cloud.utts) == cloud.there:
        return f"{counted(cloud.there, 'embedding')} of {speakers}"
    return f"{len(cloud.utts):,} of {counted(cloud.there, 'embedding')}, of {speakers} by chance"


def _legend(legend, values):
    if legend is None:
        return f"{len(set(values)):,} values; a point's is told on hover"
    if isinstance(legend, tuple):
        from pytorch.report.dots import ramp

        stops = ", ".join(ramp(step / 6) for step in range(7))
        low, high = (f"{end:g}" for end in legend)
        return f'{low}<span class="scale" style="background: linear-gradient(to right, {stops})"></span>{high}'
    spots = []
    for colour, value in legend:
        name = f"{value:g}" if isinstance(value, float) else value
        spots.append(f'<span class="value"><span class="spot" style="background: {colour}"></span>{esc(name)}</span>')
    return " ".join(spots)
