#!/usr/bin/env python3
"""Extract the embedding of each utterance with a trained network.

Reads   <exp>/{model.json,epoch-NNN.safetensors}    <data>/{utt2spk,feats.scp,feats.json,vad.scp}
        <data>/{utt2spk,wav.scp,segments,vad.scp}   where the network takes waveforms, or there is no feats.scp: features are computed as in training
Writes  <out>/xvector.ark (xvector.JOB.ark with --nj), xvector.scp, xvector.json (network, epoch, hash of its weights, layer; data, hashes of its tables)
        <out>/xvector.npy                           with --npy true: a row for each line of xvector.scp
        <out>/log/extract.failed                    the utterances that have no embedding, where the step fails for them
e.g.    steps/extract.py --nj 4 exp/xvector data/test exp/xvector/test
        steps/extract.py --layer segment7 --chunk-size 10000 --min-chunk-size 25 exp/xvector data/test exp/xvector/test_segment7

Utterances are embedded whole, or with --chunk-size in pieces, as Kaldi does: the mean of the pieces' embeddings, weighted by their lengths.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.extracting import Extraction, add_extraction_options, add_extractor_options
from pytorch.files import whole_file, write_json
from pytorch.jobs import Shards
from pytorch.marker import Marker
from pytorch.network_input import NetworkInput
from pytorch.package import open_experiment
from pytorch.program import Parser, boolean, positive_int, run


def parse_args():
    parser = Parser(__doc__)
    add_extractor_options(parser)
    parser.add_argument("data", type=Path, help="data directory with the features the network was trained on, or with recordings")
    parser.add_argument("out", type=Path, help="folder of the embeddings, made")
    parser.add_argument("--chunk-size", type=positive_int, metavar="N", help="cut utterances into pieces of N frames, of 10 ms; whole without it")
    parser.add_argument("--min-chunk-size", type=positive_int, metavar="N", help="pad shorter pieces with their first and last frame; the network's least")
    parser.add_argument("--text", type=boolean, default=False, help="write the archive in Kaldi's text form")
    parser.add_argument("--npy", type=boolean, default=False, help="write xvector.npy too, one matrix in the order of xvector.scp")
    add_extraction_options(parser)
    args = parser.parse_args()
    if args.chunk_size and args.min_chunk_size and args.min_chunk_size > args.chunk_size:
        parser.error(f"argument --min-chunk-size: {args.min_chunk_size} is more than --chunk-size {args.chunk_size}")
    return args


def main():
    args = parse_args()
    experiment = open_experiment(args.exp)
    data = DataDir(args.data)
    given = NetworkInput(experiment, data, args)
    extraction = Extraction("extract", experiment, data, given, args)
    changes = {"chunk_size": args.chunk_size, "min_chunk_size": args.min_chunk_size, "text": args.text or None}
    marker = Marker(args.out / ".done/extract.json", extraction.options() | changes, {**extraction.identity, **given.inputs})
    shards = Shards(args, marker, args.out, "xvector", list(data.utt2spk), writer=text_writer if args.text else None)
    if shards.is_done():
        write_matrix(args)
        print(f"extract: the embeddings in {args.out} are there")
        return
    if not shards.is_worker:
        extraction.prepare()
        (args.out / "xvector.npy").unlink(missing_ok=True)
    shards.work(extraction.vectors, log_folder=args.out / "log", items=extraction.batches, what="batches")
    if shards.is_worker:
        return
    write_json(args.out / "xvector.json", extraction.facts() | {name: changes[name] for name in ("chunk_size", "min_chunk_size") if changes[name]})
    shards.finish([args.out / "xvector.json"])
    write_matrix(args)
    print(f"extract: {len(data.utt2spk)} embeddings of {data.path} in {args.out}, by epoch {extraction.epoch} of {args.exp}")


def text_writer(path, scp):
    from pytorch.data.ark import ArkWriter

    return ArkWriter(path, scp, text=True)


def write_matrix(args):
    """xvector.npy, where it is asked for and not there; an old one is removed before the embeddings are made anew."""
    path = args.out / "xvector.npy"
    if not args.npy or path.exists():
        return
    import numpy as np

    from pytorch.data.ark import ArkReader, read_matrix

    scp = args.out / "xvector.scp"
    matrix = read_matrix(scp, list(ArkReader(scp)))
    with whole_file(path, "wb") as file:
        np.save(file, matrix, allow_pickle=False)


if __name__ == "__main__":
    run(main)
