#!/usr/bin/env python3
"""Error rates of scored trials: EER, least and actual detection costs, Cllr; with intervals over speakers and by subset where the data is told.

Reads   <trials>  lines of `enrol-utt test-utt target|nontarget`
        <scores>  lines of `enrol-utt test-utt score`: the same trials in any order, no more and no fewer
        --data    the directory of these utterances: utt2spk for the intervals; spk2gender, utt2dur (or segments) for the subsets, as far as they are there
Writes  <json>    the figures with counts, hash of the trial list, seed and commit; printed as text too, with --brief true as one line
e.g.    steps/eer.py --data data/test data/test/trials exp/x/test/scores exp/x/test/eer.json

EER: the line through neighbouring operating points crossed with p_miss = p_fa; tied scores are one operating point, constant scores give 50 %.
rocch_eer: the same of the ROC's convex hull. minDCF: least cost over all thresholds, divided by the cost of the better blind decision.
actDCF and Cllr take the scores for natural log-likelihood ratios, as of steps/apply_calibration.py; of other scores they say how far these are from it.
Intervals: speakers are drawn with replacement, and a trial counts as often as both its speakers were drawn. By sex: the non-target trials
of one sex, or of two, against all target trials. By duration: of the shorter side.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.data.trials import join_scores, read_trials, utt_durations
from pytorch.files import read_json, sha256, write_json
from pytorch.program import Fail, Parser, boolean, commit, count, positive_float, run

PRIORS = (0.01, 0.05, 0.001)  # of a target, with costs of 1; these are always told


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("trials", type=Path, help="trial list")
    parser.add_argument("scores", type=Path, help="scores of these trials")
    parser.add_argument("json", type=Path, nargs="?", help="file for the figures; printed only without it")
    parser.add_argument("--data", type=Path, metavar="DIR", help="data directory of the utterances, for intervals and subsets")
    parser.add_argument("--costs", type=costs, action="append", metavar="P,MISS,FA", help="prior of a target and both costs, told too; may stand several times")
    parser.add_argument("--resamples", type=count, default=1000, help="drawn for the intervals of 95 %%; 0 for no intervals")
    parser.add_argument("--seed", type=count, default=0, help="of the resamples")
    parser.add_argument("--durations", type=edges, default="2,5,10", metavar="SEC,…", help="seconds where one subset ends and the next begins")
    parser.add_argument("--brief", type=boolean, default=False, help="print one line, the EER with its interval and the costs; <json> has everything")
    return parser.parse_args()


def costs(text):
    words = text.split(",")
    try:
        p_target, c_miss, c_fa = map(float, words)
    except ValueError:
        p_target = c_miss = c_fa = 0.0
    if not (0 < p_target < 1 and 0 < c_miss < float("inf") and 0 < c_fa < float("inf")):
        raise argparse.ArgumentTypeError(f"P,MISS,FA expected, a prior between 0 and 1 and two costs above 0, e.g. 0.01,10,1, not '{text}'")
    return p_target, c_miss, c_fa


def edges(text):
    found = [positive_float(word) for word in text.split(",")]
    if found != sorted(set(found)):
        raise argparse.ArgumentTypeError(f"rising seconds expected, e.g. 2,5,10, not '{text}'")
    return found


def main():
    args = parse_args()
    if args.json and args.json.suffix != ".json":
        raise Fail(f"{args.json}: a name that ends in .json is expected for the figures")
    enrols, tests, labels = read_trials(args.trials)
    if len(set(labels)) < 2:
        raise Fail(f"{args.trials}: {'target' if labels[0] else 'nontarget'} trials only; error rates need both kinds")
    speakers = speakers_of(args.data, args.trials, enrols, tests, labels) if args.data else None
    scores = join_scores(args.trials, list(zip(enrols, tests, strict=True)), args.scores)

    import numpy as np

    from pytorch.metrics import Detection

    points = {f"{p:g}": (p, 1.0, 1.0) for p in PRIORS} | {",".join(f"{x:g}" for x in cost): cost for cost in args.costs or []}
    scores, labels = np.array(scores), np.array(labels)
    detection = Detection(scores, labels)
    figures = told(detection.figures(points.values()), points)
    result = {
        "eer": figures.pop("eer"),
        "eer_threshold": round(detection.eer_threshold(), 6),
        **figures,
        "targets": int(labels.sum()),
        "nontargets": int((~labels).sum()),
        "trials": str(args.trials),
        "trials_sha256": sha256(args.trials),
        "scores": str(args.scores),
        "scores_sha256": sha256(args.scores),
        "seed": training_seed(args.scores),
        "commit": commit(),
    }
    if args.data:
        result |= {"data": str(args.data)} | more_figures(args, scores, labels, enrols, tests, speakers, points)
    if args.json:
        write_json(args.json, result)
    show(result, args.brief)


def speakers_of(path, trials, enrols, tests, labels):
    """-> [speakers of the enrolments, of the tests]; an id is an utterance of the data directory, or a speaker. Fails where labels say otherwise."""
    data = DataDir(path)
    speaker_of = dict.fromkeys(data.spk2utt) | data.utt2spk
    for utt in (*enrols, *tests):
        if utt not in speaker_of:
            raise Fail(f"{trials}: '{utt}' is neither an utterance nor a speaker of {path}; name the directory of these trials with --data")
    sides = [[speaker_of[utt] or utt for utt in side] for side in (enrols, tests)]
    for enrol, test, one, other, label in zip(enrols, tests, *sides, labels, strict=True):
        if (one == other) != label:
            told = f"'{enrol} {test}' is {'target' if label else 'nontarget'}, but the speakers are '{one}' and '{other}' by {data / 'utt2spk'}"
            raise Fail(f"{trials}: {told}; one of the two is wrong")
    return sides


def more_figures(args, scores, labels, enrols, tests, speakers, points):
    """-> {"intervals": …, "subsets": …} of a data directory."""
    import numpy as np

    from pytorch.metrics.intervals import speaker_intervals
    from pytorch.metrics.subsets import by_duration, by_sex

    data, found, subsets = DataDir(args.data), {}, {}
    place = {spk: number for number, spk in enumerate(sorted({*speakers[0], *speakers[1]}))}
    if args.resamples:
        sides = [np.array([place[spk] for spk in side]) for side in speakers]
        ends = told(speaker_intervals(scores, labels, *sides, list(points.values()), args.resamples, args.seed), points)
        found["intervals"] = {"level": 0.95, "speakers": len(place), "resamples": args.resamples, "seed": args.seed, **ends}
    if data.has("spk2gender"):
        sex_of = data.per_spk("spk2gender")
        subsets |= by_sex(labels, *([sex_of[spk] for spk in side] for side in speakers))
    if data.has("utt2dur") or data.segments:
        seconds = utt_durations(data)
        shorter = [min(seconds.get(enrol, float("inf")), seconds.get(test, float("inf"))) for enrol, test in zip(enrols, tests, strict=True)]
        subsets |= by_duration(shorter, args.durations)
    found["subsets"] = {name: subset_figures(scores[chosen], labels[chosen], points) for name, chosen in subsets.items()}
    return found


def subset_figures(scores, labels, points):
    """The figures of a subset; only its counts where it lacks trials of a kind."""
    from pytorch.metrics import Detection

    counts = {"targets": int(labels.sum()), "nontargets": int((~labels).sum())}
    return counts | told(Detection(scores, labels).figures(points.values()), points) if all(counts.values()) else counts


def told(figures, points):
    """Rounded, with figures of several costs by the names of these."""

    def rounded(value):
        return [rounded(inner) for inner in value] if isinstance(value, list) else round(value, 6)

    names = {name: rounded(value) for name, value in figures.items()}
    return names | {name: dict(zip(points, names[name], strict=True)) for name in ("min_dcf", "act_dcf")}


def training_seed(scores):
    """The seed of the network behind the scores, where the embeddings beside them say it; else None."""
    facts = scores.parent / "xvector.json"
    return read_json(facts).get("seed") if facts.exists() else None


def show(result, brief):
    def line(figures, interval=""):
        return f"EER {100 * figures['eer']:.2f} %{interval}, {dcfs('min', figures)} ({figures['targets']} target, {figures['nontargets']} nontarget trials)"

    def dcfs(kind, figures):
        return ", ".join(f"{kind}DCF({p}) {value:.4f}" for p, value in figures[f"{kind}_dcf"].items())

    ends = result.get("intervals")
    if brief:
        low, high = ends["eer"] if ends else (0, 0)
        print(line(result, f" (95 %: {100 * low:.2f} to {100 * high:.2f})" if ends else ""))
        return
    print(line(result))
    print(f"convex hull: EER {100 * result['rocch_eer']:.2f} %, minCllr {result['min_cllr']:.4f}")
    print(f"scores as log-likelihood ratios: {dcfs('act', result)}, Cllr {result['cllr']:.4f}")
    if ends:
        low, high = ends["eer"]
        least = ", ".join(f"minDCF({p}) {low:.4f} to {high:.4f}" for p, (low, high) in ends["min_dcf"].items())
        print(f"95 % over {ends['speakers']} speakers: EER {100 * low:.2f} to {100 * high:.2f} %, {least}")
    for name, figures in result.get("subsets", {}).items():
        counts = f"no figures, {figures['targets']} target and {figures['nontargets']} nontarget trials"
        if figures["targets"] or figures["nontargets"]:
            print(f"{name}: {line(figures) if 'eer' in figures else counts}")


if __name__ == "__main__":
    run(main)
