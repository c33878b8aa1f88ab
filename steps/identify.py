#!/usr/bin/env python3
"""Say who of a gallery speaks in recordings, or that it is nobody of them.

Reads   <exp>      an experiment directory, or a file of utils/package_model.py
        <gallery>  a gallery of steps/enrol.py, made with the same extractor
        <file>…    recordings; or a data directory, with --xvectors the embeddings of its utterances
Writes  nothing but lines of `file speaker score`, with a calibration also the probability at its prior; with --out a file of them. The speaker is
        `unknown` where no score reaches the threshold; with --top N the N best of each recording follow one another, best first
e.g.    steps/identify.py --threshold 0.45 exp/x staff.gallery who.wav
        steps/identify.py --out found --xvectors exp/x/test/xvector.scp extractor.safetensors staff.gallery data/test
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.extracting import add_decision_options, add_recording_options, embed_recordings, embeddings_of, extractor_of, need_recordings
from pytorch.files import need_file, whole_file
from pytorch.program import Fail, Parser, boolean, positive_int, run


def main():
    parser = Parser(__doc__)
    add_recording_options(parser)
    parser.add_argument("gallery", type=Path, help="gallery of steps/enrol.py")
    parser.add_argument("files", type=Path, nargs="+", metavar="file", help="recordings, or one data directory")
    add_decision_options(parser)
    parser.add_argument("--closed-set", type=boolean, default=False, help="the speaker is one of the gallery: no threshold, nobody is unknown")
    parser.add_argument("--top", type=positive_int, default=1, help="how many speakers to name for a recording, those below the threshold too if above 1")
    parser.add_argument("--xvectors", type=Path, metavar="SCP", help="embeddings of the data directory's utterances, by steps/extract.py with this extractor")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file of the lines, made or replaced")
    args = parser.parse_args()
    data = DataDir(args.files[0]) if len(args.files) == 1 and args.files[0].is_dir() else None
    if args.xvectors and not data:
        parser.error("argument --xvectors: the embeddings of a data directory; name that in place of recordings")
    if args.closed_set and args.threshold is not None:
        parser.error("argument --closed-set: there is no threshold in it; leave one of the two out")
    need_file(args.gallery, "make it with steps/enrol.py")
    need_recordings([] if data else args.files)
    extractor = extractor_of(args)

    from pytorch.gallery import Gallery

    if args.closed_set:
        extractor.threshold = None
    elif extractor.threshold is None:
        raise Fail("no threshold: say one with --threshold or --calibration, or that the speaker is one of the gallery with --closed-set true")
    gallery = Gallery.load(args.gallery)
    gallery.check(extractor, args.gallery)
    if data is None:
        names, vectors = list(map(str, args.files)), extractor.embed_all(args.files)
    elif args.xvectors:
        names, vectors = embeddings_of(data, args.xvectors, extractor)
    else:
        names, vectors = list(data.utt2spk), embed_recordings(data, extractor, args)
    found = extractor.identify_vectors(gallery, vectors, args.top, names)
    lines = [line(name, *entry, args.top) for name, entries in zip(names, found, strict=True) for entry in entries]
    unknown = sum(entries[0][1].accepted is False for entries in found)
    if extractor.calibration:
        print(f"identify: probabilities of one speaker are told for the calibration's own prior (prior {extractor.calibration.p_target:g})", file=sys.stderr)
    if args.out is None:
        print("\n".join(lines))
        return
    with whole_file(args.out) as file:
        file.writelines(f"{text}\n" for text in lines)
    print(f"identify: {len(names)} recordings, {unknown} of them of unknown speakers, in {args.out}")


def line(name, speaker, decision, top):
    """With --top 1 a speaker who is not accepted is not named; in a longer list that is said behind the score."""
    shown = "unknown" if top == 1 and decision.accepted is False else speaker
    words = [name, shown, f"{decision.score:.6f}"]
    if decision.probability is not None:
        words.append(f"{decision.probability:.6f}")
    return " ".join(words + (["below"] if top > 1 and decision.accepted is False else []))


if __name__ == "__main__":
    run(main)
