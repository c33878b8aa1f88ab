#!/usr/bin/env python3
"""Scoring of embeddings and trials in memory: cosine, PLDA and adaptive S-norm, beside the bare operations on the same arrays, and a loop over pairs.

Writes  a table: seconds, least of --repeats turns, and the ratio to what it is compared with
e.g.    tests/bench/bench_backend.py --trials 200000 --embeddings 20000
"""

import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from pytorch.program import Parser, positive_int, run


def main():
    parser = Parser(__doc__)
    parser.add_argument("--embeddings", type=positive_int, default=150_000, help="embeddings that the trials are of")
    parser.add_argument("--trials", type=positive_int, default=1_170_000, help="trials")
    parser.add_argument("--dim", type=positive_int, default=256, help="of the embeddings")
    parser.add_argument("--cohort", type=positive_int, default=6000, help="speakers to normalise by")
    parser.add_argument("--top-n", type=positive_int, default=300, help="of them, for each side")
    parser.add_argument("--sides", type=positive_int, default=16384, help="embeddings normalised, and tests of the PLDA's matrix of scores")
    parser.add_argument("--loop", type=positive_int, default=2000, help="trials of the loop over pairs")
    parser.add_argument("--repeats", type=positive_int, default=5, help="turns")
    args = parser.parse_args()

    import numpy as np

    chance = np.random.default_rng(1)
    vectors = chance.standard_normal((args.embeddings, args.dim), dtype=np.float32)
    cohort = chance.standard_normal((args.cohort, args.dim), dtype=np.float32)
    pairs = chance.integers(args.embeddings, size=(2, args.trials))
    print(f"{args.trials} trials of {args.embeddings} embeddings of {args.dim}, least of {args.repeats} turns")
    measure_cosine(args, vectors, pairs)
    measure_plda(args, vectors, cohort, pairs)
    measure_norm(args, vectors, cohort)
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def measure_cosine(args, vectors, pairs):
    from sklearn.metrics.pairwise import cosine_similarity

    from pytorch.backend.cosine import cosine_scores, unit_length

    names = range(len(vectors))
    first, second = pairs[:, : args.loop].tolist()

    def loop():
        for one, other in zip(first, second, strict=True):
            cosine_similarity(vectors[one : one + 1], vectors[other : other + 1])

    whole, pair = least(args, lambda: cosine_scores(unit_length(vectors, names, "x"), *pairs), loop)
    show("cosine of all trials, lengths included", whole)
    per_pair = pair / args.loop * args.trials
    show(f"scikit-learn's cosine_similarity pair by pair, from {args.loop}", per_pair, per_pair / whole, "of ours")


def measure_plda(args, vectors, cohort, pairs):
    import numpy as np

    from pytorch.backend.cosine import products
    from pytorch.backend.pairs import all_scores, pair_scores
    from pytorch.backend.plda import Plda

    chance = np.random.default_rng(2)
    plda = Plda(np.zeros(args.dim), chance.standard_normal((args.dim, args.dim)), np.linspace(8, 0.01, args.dim))
    one = np.ones(len(vectors), dtype=int)
    models, tests = plda.models(vectors, one), plda.tests(vectors, one)
    ours, bare = least(args, lambda: pair_scores(models, tests, *pairs), lambda: products(models.rows, tests.rows, *pairs))
    show("PLDA of all trials, embeddings projected", ours, ours / bare, "bare products")
    some = vectors[: args.sides]
    ours, bare = least(args, lambda: plda.tests(some, one), lambda: (some - plda.mean) @ plda.transform.T)
    show(f"projection of {len(some)} embeddings", ours, ours / bare, "bare product")
    enrolled, tested = plda.models(cohort, one[: len(cohort)]), plda.tests(some, one)
    ours, bare = least(args, lambda: all_scores(enrolled, tested), lambda: enrolled.rows @ tested.rows.T)
    show(f"PLDA of {len(cohort)} models against {len(some)} tests", ours, ours / bare, "bare product")


def measure_norm(args, vectors, cohort):
    import numpy as np

    from pytorch.backend.normalisation import SCORES, cohort_statistics

    rows, top, number = vectors[: args.sides], args.top_n, SCORES // len(cohort)

    def bare():
        for start in range(0, len(rows), number):
            scores = rows[start : start + number] @ cohort.T
            scores.partition(len(cohort) - top, axis=1)

    ours, bare = least(args, lambda: cohort_statistics(rows, cohort, np.zeros(len(cohort)), top), bare)
    show(f"adaptive statistics of {len(rows)}, {top} of {len(cohort)} speakers", ours, ours / bare, "bare product and partition")


def least(args, *works):
    """Seconds of each, in turns."""
    found = [float("inf")] * len(works)
    for _ in range(args.repeats):
        for place, work in enumerate(works):
            started = time.perf_counter()
            work()
            found[place] = min(found[place], time.perf_counter() - started)
    return found


def show(what, seconds, ratio=None, of=""):
    print(f"{what:62}{seconds:9.3f} s" + (f"{ratio:9.2f} x {of}" if ratio else ""))


if __name__ == "__main__":
    run(main)
