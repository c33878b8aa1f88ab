#!/usr/bin/env python3
"""Enrol speakers in a gallery, each by one or several utterances, for steps/identify.py.

Reads   <exp>             an experiment directory, or a file of utils/package_model.py
        <speaker>=<file>… recordings; or a data directory: its speakers, and its recordings, or with --xvectors the embeddings of these
Writes  <gallery>         the mean embedding of each speaker, and of how many utterances; speakers who are there already stay
e.g.    steps/enrol.py exp/x staff.gallery anna=a1.wav anna=a2.wav bert=b.flac
        steps/enrol.py --xvectors exp/x/enrol/xvector.scp exp/x staff.gallery data/enrol
        steps/enrol.py --remove true exp/x staff.gallery bert
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.extracting import add_recording_options, embed_recordings, embeddings_of, extractor_of, need_recordings
from pytorch.files import need_file
from pytorch.marker import hold
from pytorch.program import Fail, Parser, boolean, run


def parse_args():
    parser = Parser(__doc__)
    add_recording_options(parser)
    parser.add_argument("gallery", type=Path, help="file of the gallery, made or added to")
    parser.add_argument("words", nargs="+", metavar="speaker=file", help="recordings of speakers, or one data directory")
    parser.add_argument("--xvectors", type=Path, metavar="SCP", help="embeddings of the data directory's utterances, by steps/extract.py with this extractor")
    parser.add_argument("--remove", type=boolean, default=False, help="forget speakers: the words are their ids")
    parser.add_argument("--overwrite", type=boolean, default=False, help="enrol speakers anew who are there already")
    args = parser.parse_args()
    args.data, args.files = None, []
    if not args.remove and len(args.words) == 1 and ("=" not in args.words[0] or Path(args.words[0]).is_dir()):
        args.data = Path(args.words[0])
    elif not args.remove:
        args.files = [named(parser, word) for word in args.words]
    if args.xvectors and not args.data:
        parser.error("argument --xvectors: the embeddings of a data directory; name that in place of recordings")
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
    with hold(args.gallery.with_name(f".{args.gallery.name}.lock"), "enrol"):
        print(enrol(args, data))


def enrol(args, data):
    """Write the gallery -> what was done, in words"""
    extractor = extractor_of(args)

    from pytorch.gallery import Gallery

    gallery = Gallery.load(args.gallery) if args.gallery.exists() else Gallery.of(extractor)
    gallery.check(extractor, args.gallery)
    found = {} if args.remove else embedded(args, data, extractor)
    try:
        for speaker in args.words if args.remove else ():
            gallery.remove(speaker)
        for speaker, vectors in found.items():
            gallery.enrol(speaker, vectors, args.overwrite)
    except Fail as error:
        raise Fail(f"{args.gallery}: {error}") from None
    gallery.save(args.gallery)
    done = f"{len(args.words)} speakers removed" if args.remove else f"{sum(map(len, found.values()))} utterances of {len(found)} speakers enrolled"
    return f"enrol: {done}; {len(gallery.speakers)} are in {args.gallery}"


def embedded(args, data, extractor):
    """-> {speaker: (n, dim) embeddings}"""
    if data is None:
        spks = [speaker for speaker, _ in args.files]
        vectors = extractor.embed_all(path for _, path in args.files)
    elif args.xvectors:
        utts, vectors = embeddings_of(data, args.xvectors, extractor)
        spks = [data.utt2spk[utt] for utt in utts]
    else:
        spks, vectors = list(data.utt2spk.values()), embed_recordings(data, extractor, args)
    rows = {}
    for row, spk in enumerate(spks):
        rows.setdefault(spk, []).append(row)
    return {spk: vectors[own] for spk, own in rows.items()}


if __name__ == "__main__":
    run(main)
