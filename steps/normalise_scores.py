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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.files import need_file, sha256
from pytorch.program import Fail, Parser, boolean, count, run
from pytorch.scoring import Scoring, fingerprints, read_facts, score_marker, write_scores


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
    args = parser.parse_args()
    if args.top_n == 1:
        parser.error("--top-n 1: one score has no deviation; choose more, or 0 for the whole cohort")
    return args


def main():
    args = parse_args()
    facts = read_facts(args.scores)
    data = DataDir(args.data)
    need_file(args.xvectors, "make it with steps/extract.py")
    inputs = {"scores": facts["scores_sha256"], **facts["inputs"], "the cohort's utt2spk": sha256(need_file(data / "utt2spk"))}
    inputs |= fingerprints(args.xvectors, f"the cohort's {args.xvectors.name}")
    marker = score_marker("normalise_scores", args.normalised, {"norm": args.norm, "cohort": args.cohort, "top_n": args.top_n}, inputs)
    marker.lock()
    if marker.is_done(args.overwrite):
        print(f"normalise_scores: {args.normalised} is there")
        return
    trials = Scoring.of_scores(args.scores).read()
    cohort = read_cohort(data, args, trials)
    values = normalised_scores(trials, cohort, args)
    made = {"program": "normalise_scores", "norm": args.norm, "top_n": args.top_n, "cohort": args.cohort, "size": len(cohort), "embeddings": str(args.xvectors)}
    write_scores(args.normalised, trials.enrols, trials.tests, values, marker, {**made, "of": str(args.scores), "inputs": inputs}, args.overwrite)
    which = f"{args.top_n} of {len(cohort)}" if args.top_n else f"all {len(cohort)}"
    print(f"normalise_scores: {len(values)} trials in {args.normalised}, {args.norm}-norm by {which} {args.cohort}")


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


def normalised_scores(trials, cohort, args):
    """-> (M,) float64, in the order of the trials"""
    import numpy as np

    from pytorch.backend.normalisation import check_deviations, statistics_of_models, statistics_of_tests
    from pytorch.backend.pairs import pair_scores

    models, tests = trials.sides()
    first, second = trials.rows()
    scores = pair_scores(models, tests, first, second)
    top_n, one = args.top_n or len(cohort), np.ones(len(cohort), dtype=int)
    sides = []
    if args.norm in "sz":
        mean, deviation = statistics_of_models(models, trials.scorer.tests(cohort, trials.counts), top_n)
        check_deviations(deviation, trials.enrolled, args.xvectors)
        sides.append((scores - mean[first]) / deviation[first])
    if args.norm in "st":
        alone = trials.scorer.tests(trials.others, one[:1])
        mean, deviation = statistics_of_tests(alone, trials.scorer.models(cohort, one), top_n)
        check_deviations(deviation, trials.tested, args.xvectors)
        sides.append((scores - mean[second]) / deviation[second])
    return sum(sides) / len(sides)


if __name__ == "__main__":
    run(main)
