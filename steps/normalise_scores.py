#!/usr/bin/env python3
"""Normalise scores by those of their two sides against a cohort of other speakers: each side's mean is subtracted, and the rest divided by its deviation.

    s    the mean of what both sides make of the score (S-norm; adaptive with --top-n)
    z    the enrolled side alone
    t    the tested side alone
The cohort are the means of each speaker's embeddings, or the embeddings, prepared and scored as the trials were; each counts as one utterance.
A PLDA expects single utterances to vary more than such means do, so that with it --cohort utterances is the better choice.

Reads   <scores>, <scores>.json    of steps/score_cosine.py or steps/score_plda.py
        <data>/utt2spk             the utterances of the cohort: speakers who are not in the trials
        <xvector.scp>              their embeddings
Writes  <normalised>               lines of `enrol-utt test-utt score`, and <normalised>.json
e.g.    steps/normalise_scores.py exp/x/test/scores data/train exp/x/train/xvector.scp exp/x/test/scores_asnorm
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.files import need_file, sha256
from pytorch.jobs import add_job_options
from pytorch.origin import check_network, network_of
from pytorch.program import Fail, Parser, boolean, count, run
from pytorch.scoring import Scoring, fingerprint_of, fingerprints, range_scores, read_facts, score_marker, score_pieces, write_scores


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("scores", type=Path, help="scores to normalise")
    parser.add_argument("data", type=Path, help="data directory with the speakers of the cohort")
    parser.add_argument("xvectors", type=Path, metavar="xvector.scp", help="embeddings of the cohort's utterances")
    parser.add_argument("normalised", type=Path, help="file of normalised scores, made")
    parser.add_argument("--norm", choices=("s", "z", "t"), default="s", help="which side's statistics count: both, enrolled, tested")
    parser.add_argument("--cohort", choices=("speakers", "utterances"), default="speakers", help="means of the speakers' embeddings, or all of these")
    parser.add_argument("--top-n", type=count, default=300, help="adaptive: only so many of the cohort, those most alike; 0: all of them")
    parser.add_argument("--overwrite", type=boolean, default=False, help="normalise anew where it was done otherwise")
    add_job_options(parser)
    args = parser.parse_args()
    if args.top_n == 1:
        parser.error("--top-n 1: one score has no deviation; choose more, or 0 for the whole cohort")
    return args


def main():
    args = parse_args()
    facts = read_facts(args.scores)
    data = DataDir(args.data)
    need_file(args.xvectors, "make it with steps/extract.py")
    scored = facts["files"]["xvectors"]
    check_network(args.xvectors, network_of(scored), scored)
    inputs = {"scores": facts["scores_sha256"], **facts["inputs"], "the cohort's utt2spk": sha256(need_file(data / "utt2spk"))}
    inputs |= fingerprints(args.xvectors, f"the cohort's {args.xvectors.name}")
    marker = score_marker("normalise_scores", args.normalised, {"norm": args.norm, "cohort": args.cohort, "top_n": args.top_n}, inputs)
    pieces, statistics = score_pieces(args, args.normalised, marker), partial(range_statistics, top_n=args.top_n)
    if pieces.is_worker:
        pieces.work(statistics)
        return
    if pieces.is_done([args.normalised]):
        print(f"normalise_scores: {args.normalised} is there")
        return
    trials = Scoring.of_scores(args.scores).read()
    cohort = read_cohort(data, args, trials)
    arrays, blocks = cohort_arrays(trials, cohort, args.norm)
    values = normalised_scores(trials, arrays, pieces.values(arrays, blocks, statistics), args)
    made = {"program": "normalise_scores", "norm": args.norm, "top_n": args.top_n, "cohort": args.cohort, "size": len(cohort), "embeddings": str(args.xvectors)}
    made |= {"of": str(args.scores), "inputs": inputs, "kind": kind_of(facts, inputs, args)}
    write_scores(args.normalised, trials.enrols, trials.tests, values, marker, made)
    pieces.clear()
    which = f"{args.top_n} of {len(cohort)}" if args.top_n else f"all {len(cohort)}"
    print(f"normalise_scores: {len(values)} trials in {args.normalised}, {args.norm}-norm by {which} {args.cohort}")


def kind_of(facts, inputs, args):
    """Of the normalised scores, see score_kind(); None where that of the scores is not known."""
    if not isinstance(facts.get("kind"), dict):
        return None
    cohort = {"utterances": inputs["the cohort's utt2spk"], "embeddings": fingerprint_of(inputs, f"the cohort's {args.xvectors.name}")}
    return facts["kind"] | {"normalisation": {"norm": args.norm, "cohort": args.cohort, "top_n": args.top_n, **cohort}}


def read_cohort(data, args, trials):
    """-> (cohort, dim), prepared"""
    from pytorch.backend.folder import read_labelled
    from pytorch.backend.speakers import speaker_means

    if both := ({*trials.enrolled, *trials.tested} & {*data.utt2spk, *data.spk2utt}):
        raise Fail(f"{data / 'utt2spk'}: '{min(both)}' is in the trials too ({len(both)} such); the cohort must be of others")
    size = len(data.spk2utt if args.cohort == "speakers" else data.utt2spk)
    if size < max(2, args.top_n):
        raise Fail(f"{data.path}: a cohort of {size} {args.cohort}, --top-n {args.top_n} of them were asked for; choose fewer, or 0 for all of two or more")
    vectors, labels, utts, spks = read_labelled(data, args.xvectors)
    vectors, names = (speaker_means(vectors, labels)[0], spks) if args.cohort == "speakers" else (vectors, utts)
    cohort = trials.prepare(vectors, names, args.xvectors)
    if cohort.shape[1] != trials.models.shape[1]:
        what = f"dimension {cohort.shape[1]}, but the trials' embeddings have {trials.models.shape[1]}"
        raise Fail(f"{args.xvectors}: {what}; both must come from one network")
    return cohort


def cohort_arrays(trials, cohort, norm):
    """-> ({name: array}, number of blocks): the sides whose statistics count, in blocks of rows: first the models', ordered by kind, then the tests'.

    A block is what is scored against the cohort at a time, so that no value depends on which job has it
    """
    import numpy as np

    from pytorch.backend.normalisation import rows_at_once

    scorer, one, arrays = trials.scorer, np.ones(len(cohort), dtype=int), {}
    step = rows_at_once(len(cohort))
    if norm in "sz":
        side, others = scorer.models(trials.models, trials.counts), scorer.tests(cohort, trials.counts)
        order = np.argsort(side.kinds, kind="stable")
        kinds = side.kinds[order]
        first = np.flatnonzero(np.diff(kinds, prepend=-1))  # row of each kind
        starts = [row for begin, end in zip(first, [*first[1:], len(kinds)], strict=True) for row in range(begin, end, step)]
        arrays |= {"models": side.rows[order], "models_offsets": side.offsets[:, order], "kinds": kinds, "order": order}
        arrays |= {"models_blocks": np.array([*starts, len(kinds)]), "cohort_tests": others.rows, "cohort_tests_offsets": others.offsets}
    if norm in "st":
        side, others = scorer.tests(trials.others, one[:1]), scorer.models(cohort, one)
        arrays |= {"tests": side.rows, "tests_offsets": side.offsets, "tests_blocks": np.array([*range(0, len(side.rows), step), len(side.rows)])}
        arrays |= {"cohort_models": others.rows, "cohort_models_offsets": others.offsets}
    return arrays, sum(len(array) - 1 for name, array in arrays.items() if name.endswith("_blocks"))


def range_statistics(arrays, start, stop, top_n):
    """Mean and deviation of the scores of the rows in blocks `start` to `stop` against the cohort -> (2, rows) float64"""
    import numpy as np

    from pytorch.backend.normalisation import statistics_of_models, statistics_of_tests
    from pytorch.backend.pairs import Side

    found, before = [np.empty((2, 0))], 0
    for own, others, statistics in (("models", "cohort_tests", statistics_of_models), ("tests", "cohort_models", statistics_of_tests)):
        if own not in arrays:
            continue
        blocks = arrays[f"{own}_blocks"]
        first, last = (blocks[min(max(block - before, 0), len(blocks) - 1)] for block in (start, stop))
        before += len(blocks) - 1
        if first < last:
            side = Side(arrays[own][first:last], arrays[f"{own}_offsets"][:, first:last], arrays["kinds"][first:last] if own == "models" else None)
            found.append(statistics(side, Side(arrays[others], arrays[f"{others}_offsets"]), top_n or len(arrays[others])))
    return np.concatenate(found, axis=1)


def normalised_scores(trials, arrays, statistics, args):
    """statistics: (2, rows) of both sides, as range_statistics() has them -> (M,) float64, in the order of the trials"""
    import numpy as np

    from pytorch.backend.normalisation import check_deviations

    scored = trials.arrays()
    scores = range_scores(scored, 0, len(trials.enrols))
    sides = []
    if "order" in arrays:
        number = len(trials.enrolled)
        mean, deviation = np.empty((2, number))
        mean[arrays["order"]], deviation[arrays["order"]] = statistics[:, :number]
        check_deviations(deviation, trials.enrolled, args.xvectors)
        sides.append((scores - mean[scored["first"]]) / deviation[scored["first"]])
    if "tests" in arrays:
        mean, deviation = statistics[:, -len(trials.tested) :]
        check_deviations(deviation, trials.tested, args.xvectors)
        sides.append((scores - mean[scored["second"]]) / deviation[scored["second"]])
    return sum(sides) / len(sides)


if __name__ == "__main__":
    run(main)
