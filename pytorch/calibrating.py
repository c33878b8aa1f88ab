"""What the programs that calibrate scores share: their options, and the columns they read."""

import argparse
from pathlib import Path

from pytorch.data.data_dir import read_table
from pytorch.data.rules import number_of
from pytorch.data.trials import join_scores, read_trials
from pytorch.files import need_file, sha256, sha256_of_sizes
from pytorch.program import Fail, boolean
from pytorch.scoring import kind_of_scores


def add_column_options(parser):
    parser.add_argument("--quality", type=Path, action="append", metavar="TABLE", help="a measure of quality by utterance; may stand several times")
    parser.add_argument("--overwrite", type=boolean, default=False, help="do it anew where it was done otherwise")


def add_column_files(parser):
    parser.add_argument("trials", type=Path, help="trial list")
    parser.add_argument("scores", nargs="+", metavar="[NAME=]SCORES", help="scores of these trials by one system, or by several, each with a name")


def prior(text):
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"a number between 0 and 1 expected, not '{text}'")
    return value


class Columns:
    """What a list of trials is calibrated by: scores of systems and measures of quality. Checked, then read.

    systems: {name: file of scores}; quality: {name of the file: table of numbers above 0 by utterance, or an scp of embeddings, whose lengths are taken}
    """

    def __init__(self, args):
        self.trials = need_file(args.trials, "draw a list with utils/make_trials.py")
        self.systems = _named(args.scores)
        self.quality = {path.name: path for path in args.quality or []}
        if len(self.quality) < len(args.quality or []):
            raise Fail("--quality: two tables of one name; they are found again by it, so give each a name of its own")
        for path in self.systems.values():
            need_file(path, "score the trials with steps/score_cosine.py")
        for path in self.quality.values():
            need_file(path, f"make it with utils/get_utt2dur.py {path.parent}" if path.name == "utt2dur" else "it is to hold a measure of quality")

    def inputs(self):
        """Fingerprints for the marker."""
        found = {"trial list": sha256(self.trials)} | {f"scores of {name}": sha256(path) for name, path in self.systems.items()}
        for name, path in self.quality.items():
            found[f"--quality {name}"] = sha256(path)
            if path.suffix == ".scp":
                from pytorch.data.ark import ArkReader

                values = path.with_suffix(".sha256")
                found[f"--quality {name} (archives)"] = sha256(values) if values.exists() else sha256_of_sizes(ArkReader(path).archives())
        return found

    def kinds(self):
        """{name: the kind of the system's scores} of those whose kind is known"""
        found = {name: kind_of_scores(path) for name, path in self.systems.items()}
        return {name: kind for name, kind in found.items() if kind}

    def names(self):
        """Of the columns, for messages."""
        return [*self.systems, *(f"log of the {side} {name}" for name in self.quality for side in ("lower", "higher"))]

    def read(self):
        """-> (pairs [(enrol, test), …], labels, columns (N, systems + 2 quality) float64)

        Of a measure of quality a trial has the logarithms of the lower and of the higher of its two sides, so that it matters not which is which.
        """
        import numpy as np

        enrols, tests, labels = read_trials(self.trials)
        pairs = list(zip(enrols, tests, strict=True))
        columns = [np.array(join_scores(self.trials, pairs, path)) for path in self.systems.values()]
        utts = sorted({*enrols, *tests})
        place = {utt: number for number, utt in enumerate(utts)}
        sides = [np.array([place[utt] for utt in side]) for side in (enrols, tests)]
        for path in self.quality.values():
            values = np.log(self._values(path, utts))
            columns += [np.minimum(*(values[side] for side in sides)), np.maximum(*(values[side] for side in sides))]
        return pairs, np.array(labels), np.stack(columns, axis=1)

    def _values(self, path, utts):
        import numpy as np

        from pytorch.data.ark import ArkReader, read_matrix

        table = ArkReader(path) if path.suffix == ".scp" else read_table(path)
        if missing := [utt for utt in utts if utt not in table]:
            raise Fail(f"{self.trials}: '{missing[0]}' has no value in {path} ({len(missing)} such); make that table for all utterances of the trials")
        if path.suffix == ".scp":
            values = np.linalg.norm(read_matrix(path, utts).astype(np.float64), axis=1)
        else:
            values = np.array([number_of(table[utt]) or 0.0 for utt in utts])
        bad = np.flatnonzero(~((values > 0) & (values < np.inf)))
        if len(bad):
            utt = utts[bad[0]]
            raise Fail(f"{path}: '{utt}': {'an embedding with a length' if path.suffix == '.scp' else 'a number'} above 0 expected ({len(bad)} such)")
        return values


def _named(words):
    """['a=x', 'b=y'] -> {'a': Path('x'), 'b': Path('y')}; a single one needs no name."""
    named = {}
    for word in words:
        if "=" not in word and len(words) > 1:
            raise Fail(f"{word}: of several systems, each needs a name, NAME={word}")
        name, _, path = word.partition("=") if "=" in word else ("scores", "", word)
        if not name or not path:
            raise Fail(f"{word}: NAME=FILE expected")
        if name in named:
            raise Fail(f"{word}: two systems are named '{name}'; give each a name of its own")
        named[name] = Path(path)
    return named
