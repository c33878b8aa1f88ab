#!/usr/bin/env python3
"""Enrol speakers in a gallery, each by one or several utterances, for steps/identify.py.

Reads   <exp>             an experiment directory, or a file of utils/package_model.py
        <speaker>=<file>… recordings; or a data directory: its speakers, and its recordings, or with --xvectors the embeddings of these
Writes  <gallery>         the mean embedding of each speaker, and of how many utterances; speakers who are there already stay
e.g.    steps/enrol.py exp/x staff.gallery anna=a1.wav anna=a2.wav bert=b.flac
        steps/enrol.py --xvectors exp/x/enrol/xvector.scp exp/x staff.gallery data/enrol
        steps/enrol.py --remove bert exp/x staff.gallery
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.extracting import add_recording_options, embeddings_of, extractor_of, need_recordings, recordings_in
from pytorch.files import need_file
from pytorch.marker import hold
from pytorch.program import Fail, Parser, boolean, run


def parse_args():
    parser = Parser(__doc__)
    add_recording_options(parser)
    parser.add_argument("gallery", type=Path, help="file of the gallery, made or added to")
    parser.add_argument("words", nargs="*", metavar="speaker=file", help="recordings of speakers, or one data directory")
    parser.add_argument("--xvectors", type=Path, metavar="SCP", help="embeddings of the data directory's utterances, by steps/extract.py with this extractor")
    parser.add_argument("--remove", action="append", metavar="SPEAKER", default=[], help="a speaker to forget; may stand several times")
    parser.add_argument("--overwrite", type=boolean, default=False, help="enrol speakers anew who are there already")
    args = parser.parse_args()
    if not args.words and not args.remove:
        parser.error("nobody to enrol, and nobody to remove")
    args.data = Path(args.words[0]) if len(args.words) == 1 and ("=" not in args.words[0] or Path(args.words[0]).is_dir()) else None
    if args.xvectors and not args.data:
        parser.error("argument --xvectors: the embeddings of a data directory; name that in place of recordings")
    args.files = [] if args.data else [named(parser, word) for word in args.words]
    return args


def named(parser, word):
    speaker, equals, path = word.partition("=")
    if not speaker or not equals or not path:
        parser.error(f"argument speaker=file: {word}: SPEAKER=FILE expected, or one data directory")
    return speaker, Path(path)


def main():
    args = parse_args()
    need_recordings(path for _, path in args.files)
    data = DataDir(args.data) if args.data else None
    if args.xvectors:
        need_file(args.xvectors, "make it with steps/extract.py")
    lock = hold(args.gallery.with_name(f".{args.gallery.name}.lock"), "enrol")
    extractor = extractor_of(args)

    from pytorch.gallery import Gallery

    gallery = Gallery.load(args.gallery) if args.gallery.exists() else Gallery.of(extractor)
    gallery.check(extractor, args.gallery)
    found = embedded(args, data, extractor)
    try:
        for speaker in args.remove:
            gallery.remove(speaker)
        for speaker, vectors in found.items():
            gallery.enrol(speaker, vectors, args.overwrite)
    except Fail as error:
        raise Fail(f"{args.gallery}: {error}") from None
    gallery.save(args.gallery)
    lock.close()
    gone = f", {len(args.remove)} removed" if args.remove else ""
    utterances = sum(map(len, found.values()))
    print(f"enrol: {utterances} utterances{gone}; {len(gallery.speakers)} speakers are in {args.gallery}")


def embedded(args, data, extractor):
    """-> {speaker: (n, dim) embeddings}"""
    import numpy as np

    if data is None:
        spks = [speaker for speaker, _ in args.files]
        vectors = extractor.embed_all(path for _, path in args.files) if args.files else np.empty((0, 0))
    elif args.xvectors:
        utts, vectors = embeddings_of(data, args.xvectors, extractor)
        spks = [data.utt2spk[utt] for utt in utts]
    else:
        spks, vectors = list(data.utt2spk.values()), extractor.embed_all(recordings_in(data, extractor, args))
    rows = {}
    for row, spk in enumerate(spks):
        rows.setdefault(spk, []).append(row)
    return {spk: vectors[own] for spk, own in rows.items()}


if __name__ == "__main__":
    run(main)
