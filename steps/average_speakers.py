#!/usr/bin/env python3
"""The mean embedding of each speaker, and of how many utterances it is the mean: as Kaldi's extract_xvectors.sh leaves them.

Reads   <data>/utt2spk   the utterances, and their speakers
        <xvector.scp>    their embeddings, others are not used
Writes  <out>/spk_xvector.ark, spk_xvector.scp    the plain mean of each speaker
        <out>/spk_xvector.json                    of which network, as far as <xvector.json> tells
        <out>/num_utts.ark                        lines of `speaker number`, for steps/score_plda.py --num-utts
e.g.    steps/average_speakers.py data/enrol exp/x/enrol/xvector.scp exp/x/enrol
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir, write_table
from pytorch.files import need_file, sha256, write_json
from pytorch.marker import Marker
from pytorch.origin import network_of
from pytorch.program import Parser, boolean, run
from pytorch.scoring import fingerprints


def main():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory with the speakers of the utterances")
    parser.add_argument("xvectors", type=Path, metavar="xvector.scp", help="embeddings of steps/extract.py")
    parser.add_argument("out", type=Path, help="folder of the means, made")
    parser.add_argument("--overwrite", type=boolean, default=False, help="make them anew where others are there")
    args = parser.parse_args()
    data = DataDir(args.data)
    need_file(args.xvectors, "make it with steps/extract.py")
    inputs = {"utt2spk": sha256(need_file(data / "utt2spk")), **fingerprints(args.xvectors, args.xvectors.name), "folder": str(args.out.resolve())}
    marker = Marker(args.out / ".done/average_speakers.json", {}, inputs)
    marker.lock()
    if marker.is_done(args.overwrite):
        print(f"average_speakers: the means in {args.out} are there")
        return
    from pytorch.backend.folder import read_labelled
    from pytorch.backend.speakers import speaker_means
    from pytorch.data.ark import ArkWriter

    vectors, labels, utts, spks = read_labelled(data, args.xvectors)
    means, counts = speaker_means(vectors, labels)
    outputs = [args.out / name for name in ("spk_xvector.ark", "spk_xvector.scp", "num_utts.ark", "spk_xvector.json")]
    marker.claim(outputs, args.overwrite)
    marker.begin()
    with ArkWriter(*outputs[:2]) as ark:
        for spk, mean in zip(spks, means, strict=True):
            ark.write(spk, mean)
    write_table(outputs[2], dict(zip(spks, counts.tolist(), strict=True)))
    write_json(outputs[3], {"data": str(args.data), "xvectors": str(args.xvectors), **network_of(args.xvectors)})
    marker.finish(outputs)
    print(f"average_speakers: means of {len(spks)} speakers, of {len(utts)} embeddings, in {args.out}")


if __name__ == "__main__":
    run(main)
