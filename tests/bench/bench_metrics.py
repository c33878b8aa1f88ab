#!/usr/bin/env python3
"""Figures of 10 million scores against one sort of them.

Reads   nothing: scores are drawn at random, a tenth of them, or half, of target trials
e.g.    tests/bench/bench_metrics.py --scores 1000000
"""

import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from pytorch.program import Parser, positive_int, run

COSTS = ((0.01, 1.0, 1.0), (0.05, 1.0, 1.0), (0.001, 1.0, 1.0))


def main():
    parser = Parser(__doc__)
    parser.add_argument("--scores", type=positive_int, default=10_000_000, help="how many")
    parser.add_argument("--repeat", type=positive_int, default=5, help="the least of so many times is told")
    args = parser.parse_args()

    import numpy as np
    import sklearn.isotonic  # noqa: F401  not part of what is measured

    from pytorch.metrics import Detection
    from pytorch.metrics.intervals import speaker_intervals

    def least(*works):
        """The least time of each, done in turn so that a busy machine slows all alike."""
        times = []
        for _ in range(args.repeat):
            times.append([])
            for work in works:
                start = time.perf_counter()
                work()
                times[-1].append(time.perf_counter() - start)
        return np.min(times, axis=0)

    chance = np.random.default_rng(0)
    for share in (0.1, 0.5):
        labels = chance.random(args.scores) < share
        scores = chance.normal(size=args.scores) + 2 * labels

        def all_figures(scores=scores, labels=labels):
            found = Detection(scores, labels)
            found.eer_threshold()
            return found.figures(COSTS)

        sort, figures = least(lambda scores=scores: np.sort(scores), all_figures)
        told = f"{args.scores:,} scores, {share:.0%} targets: one sort {sort:.2f} s"
        print(f"{told}; EER, threshold, hull, minDCF, actDCF, Cllr, minCllr {figures:.2f} s, {figures / sort:.2f} times as long")
    print(f"memory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
    few = slice(args.scores // 10)
    sides = chance.integers(0, 1000, (2, args.scores // 10))
    sides[1] = np.where(labels[few], sides[0], sides[1])
    one = least(lambda: speaker_intervals(scores[few], labels[few], *sides, COSTS, resamples=10))[0] / 10
    print(f"{args.scores // 10:,} scores of 1,000 speakers: a resample of the intervals {one:.3f} s")


if __name__ == "__main__":
    run(main)
