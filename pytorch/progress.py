"""Progress on everything long: a bar on a terminal, a line every so often in a log."""

import re
import sys
import time

LINE = re.compile(r"^  (\d+) of (\d+) (\w+) \(", re.MULTILINE)  # what track() prints into a log


def track(items, total, what, weight=None):
    """Yield from `items`; shows done, total, rate and time left on stderr.

    total: number of items, or of their summed weight where `weight(item)` is given; what: the unit's name, plural.
    """
    if sys.stderr.isatty():
        yield from _bar(items, total, what, weight)
        return
    start = shown = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += weight(item) if weight else 1
        now = time.monotonic()
        if now - shown > 15 and done < total:
            rate = done / (now - start)
            left = clock((total - done) / rate)
            print(f"  {done} of {total} {what} ({100 * done / total:.0f} %), {rate:.3g}/s, {left} left", file=sys.stderr, flush=True)
            shown = now


def _bar(items, total, what, weight):
    from tqdm import tqdm

    with tqdm(total=total, unit=f" {what}", leave=False, dynamic_ncols=True) as bar:
        for item in items:
            yield item
            bar.update(weight(item) if weight else 1)


def clock(seconds):
    """Seconds as 5 s, 3:20 min or 2:05 h."""
    seconds = round(seconds)
    if seconds < 100:
        return f"{seconds} s"
    if seconds < 6000:
        return f"{seconds // 60}:{seconds % 60:02d} min"
    return f"{seconds // 3600}:{seconds // 60 % 60:02d} h"
