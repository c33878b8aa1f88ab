"""RTTM (who speaks when) and UEM (what of a recording counts): read, cut to each other, written from data directories."""

from dataclasses import dataclass

from pytorch.data.entries import Entry
from pytorch.data.lines import read_lines
from pytorch.program import Fail

# Types of RTTM lines beside SPEAKER (NIST, RT-09 evaluation plan); they tell nothing of who speaks when
OTHER_TYPES = set("SEGMENT NOSCORE NO_RT_METADATA LEXEME NON-LEX NON-SPEECH FILLER EDIT SU IP CB A/P SPKR-INFO".split())


@dataclass(slots=True)
class Turn:
    """A stretch of one speaker's speech: start and end in seconds."""

    place: str
    uri: str
    start: float
    end: float
    speaker: str


def read_rttm(path):
    """-> [Turn, …] of the SPEAKER lines: `SPEAKER uri 1 start duration <NA> <NA> speaker <NA> <NA>`; `;;` begins a comment."""
    turns, channels = [], set()
    for number, line in read_lines(path):
        place, words = f"{path}:{number}", line.split()
        if line.startswith(";;") or words[0] in OTHER_TYPES:
            continue
        if words[0] != "SPEAKER" or not 8 <= len(words) <= 10:
            raise Fail(f"{place}: `SPEAKER recording 1 start duration <NA> <NA> speaker <NA> <NA>` expected, not '{line[:80]}'")
        _check_channel(channels, words[2], place)
        start, duration = _times(words[3:5], place)
        if words[7] == "<NA>":
            raise Fail(f"{place}: no speaker")
        turns.append(Turn(place, words[1], start, start + duration, words[7]))
    if not turns:
        raise Fail(f"{path}: no SPEAKER line in it")
    return turns


def read_uem(path):
    """-> [Turn, …], the speaker empty, of lines `uri channel start end`."""
    regions, channels = [], set()
    for number, line in read_lines(path):
        place, words = f"{path}:{number}", line.split()
        if line.startswith(";;"):
            continue
        if len(words) != 4:
            raise Fail(f"{place}: `recording channel start end` expected, not '{line[:80]}'")
        _check_channel(channels, words[1], place)
        start, end = _times(words[2:], place)
        if end < start:
            raise Fail(f"{place}: the end {words[3]} is before the start {words[2]}")
        regions.append(Turn(place, words[0], start, end, ""))
    if not regions:
        raise Fail(f"{path}: no region in it")
    return regions


def cut(turns, regions):
    """What of the turns lies in the regions. A turn that reaches from one region into the next gives two, regions that touch are one."""
    merged = {}
    for region in sorted(regions, key=lambda region: (region.uri, region.start)):
        of_uri = merged.setdefault(region.uri, [])
        if of_uri and region.start <= of_uri[-1][1]:
            of_uri[-1][1] = max(of_uri[-1][1], region.end)
        else:
            of_uri.append([region.start, region.end])
    pieces = []
    for turn in turns:
        for start, end in merged.get(turn.uri, ()):
            first, last = max(start, turn.start), min(end, turn.end)
            if first < last:
                pieces.append(Turn(turn.place, turn.uri, first, last, turn.speaker))
    return pieces


def turn_entries(turns, rules, template="{uri}"):
    """Turns as entries of a data directory. A region, which has no speaker, is its recording's.

    template: path of a recording with {uri} in it, for rules.locate
    """
    audio = {uri: rules.locate(template.replace("{uri}", uri), place)[1] for uri, place in {turn.uri: turn.place for turn in turns}.items()}
    return [Entry(turn.place, turn.uri, audio[turn.uri], turn.speaker or turn.uri, None, turn.start, turn.end) for turn in turns]


def rttm_line(uri, start, end, speaker):
    first, last = round(start * 1000), round(end * 1000)
    return f"SPEAKER {uri} 1 {first / 1000:.3f} {(last - first) / 1000:.3f} <NA> <NA> {speaker} <NA> <NA>\n"


def uem_line(uri, start, end):
    return f"{uri} 1 {start:.3f} {end:.3f}\n"


def _check_channel(channels, text, place):
    channels.add(text)
    if text not in ("1", "0", "NA", "<NA>", "A") or len(channels) > 1:
        raise Fail(f"{place}: channel '{text}'; recordings of one channel are understood here alone: split the list and the recordings by channel")


def _times(words, place):
    try:
        start, second = map(float, words)
    except ValueError:
        raise Fail(f"{place}: times in seconds expected, not '{' '.join(words)[:60]}'") from None
    if not (0 <= start < float("inf") and 0 <= second < float("inf")):
        raise Fail(f"{place}: times of 0 s or more expected, not '{' '.join(words)[:60]}'")
    return start, second
