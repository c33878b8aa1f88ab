#!/usr/bin/env python3
"""Is the last recording of the speaker of the others?

Reads   <exp>     an experiment directory, or a file of utils/package_model.py
        <file>…   recordings: one or several of the speaker who is claimed, then the one in question
Writes  nothing but a line: the score, the threshold and the decision where there is a threshold, the calibrated log-likelihood ratio and probability
        where there is a calibration
e.g.    steps/verify.py --epoch final --backend exp/x/backend --calibration exp/x/calibration_plda.json exp/x anna1.wav anna2.wav who.wav
        steps/verify.py --json true extractor.safetensors a.wav b.wav
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.extracting import add_decision_options, add_recording_options, extractor_of, need_recordings
from pytorch.program import Parser, boolean, run


def main():
    parser = Parser(__doc__)
    add_recording_options(parser)
    parser.add_argument("files", type=Path, nargs="+", metavar="file", help="recordings, two or more; the last one is in question")
    add_decision_options(parser)
    parser.add_argument("--json", type=boolean, default=False, help="print a JSON object in place of words")
    args = parser.parse_args()
    if len(args.files) < 2:
        parser.error("two recordings or more are needed")
    need_recordings(args.files)
    decision = extractor_of(args).verify(args.files[:-1], args.files[-1])
    if args.json:
        print(json.dumps(asdict(decision)))
        return
    words = [f"score {decision.score:.6g}"]
    if decision.threshold is not None:
        side, means = ("at or above", "the same speaker") if decision.accepted else ("below", "another speaker")
        words.append(f"{side} the threshold {decision.threshold:.6g}: {means}")
    if decision.llr is not None:
        words.append(f"log-likelihood ratio {decision.llr:.4g}, probability of one speaker {decision.probability:.4g} (prior {decision.prior:g})")
    print("; ".join(words))


if __name__ == "__main__":
    run(main)
