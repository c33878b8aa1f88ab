#!/usr/bin/env python3
"""Embed recordings: audio files in, embeddings out.

Reads   <exp>    an experiment directory, or a file of utils/package_model.py
        <file>…  recordings, in any format that steps/make_feats.py reads
Writes  nothing but lines of `file  [ numbers ]`, or with --out a file, whose form its name tells:
        x.npy    a matrix, a row for each file in their order
        x.ark    Kaldi's archive, and x.scp beside it; x.txt: the same as text. Ids are the names of the files, without folder and extension
e.g.    steps/embed.py exp/xvector a.wav b.flac
        steps/embed.py --out vectors.npy extractor.safetensors recordings/*.wav
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.ids import utt_id
from pytorch.extracting import add_recording_options, extractor_of, need_recordings
from pytorch.files import whole_file
from pytorch.program import Fail, Parser, run


def main():
    parser = Parser(__doc__)
    add_recording_options(parser)
    parser.add_argument("files", type=Path, nargs="+", metavar="file", help="recordings")
    parser.add_argument("--out", type=Path, metavar="FILE", help="x.npy, x.ark or x.txt, made or replaced; without it embeddings are printed")
    args = parser.parse_args()
    if args.out and args.out.suffix not in (".npy", ".ark", ".txt"):
        parser.error(f"argument --out: {args.out}: a name that ends in .npy, .ark or .txt expected")
    need_recordings(args.files)
    names = ids_of(args.files) if args.out and args.out.suffix != ".npy" else None
    vectors = extractor_of(args).embed_all(args.files)
    if args.out is None:
        for path, vector in zip(args.files, vectors, strict=True):
            print(f"{path}  [ {' '.join(format(value, '.7g') for value in vector.tolist())} ]")
        return
    write(args.out, names, vectors)
    print(f"embed: {len(vectors)} embeddings of {vectors.shape[1]} dimensions in {args.out}")


def ids_of(paths):
    """The ids of files, all different."""
    found = {}
    for path in paths:
        name = utt_id(path.name)
        if name in found:
            raise Fail(f"{path}: has the id '{name}', as {found[name]} has; write a .npy, or make a data directory with utils/import_list.py")
        found[name] = path
    return list(found)


def write(path, names, vectors):
    if path.suffix == ".npy":
        import numpy as np

        with whole_file(path, "wb") as file:
            np.save(file, vectors, allow_pickle=False)
        return
    from pytorch.data.ark import ArkWriter

    with ArkWriter(path, path.with_suffix(".scp"), text=path.suffix == ".txt") as ark:
        for name, vector in sorted(zip(names, vectors, strict=True), key=lambda entry: entry[0]):
            ark.write(name, vector)


if __name__ == "__main__":
    run(main)
