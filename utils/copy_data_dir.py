#!/usr/bin/env python3
"""Copy a data directory, with prefixes and suffixes to its ids if wished.

Recordings keep their ids, unless they are the utterances (no segments). New utterance ids come with utt2uniq, which maps them to the old ones.
Ids in trials are renamed too.

Reads   <data>/{utt2spk,…}
Writes  <out>                  a whole data directory; feats.scp and vad.scp name the archives where they are
e.g.    utils/copy_data_dir.py --spk-suffix=-noise --utt-suffix=-noise data/train data/train_noise
        utils/copy_data_dir.py --spk-as-prefix true data/mine data/train     # utterance 001 of anna becomes anna-001
        utils/copy_data_dir.py --feats false data/train data/train_fbank     # for features of another kind
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.data.edit import OF_FEATURES, NewDataDir, Part, write_parts
from pytorch.data.rules import speaker_disorder
from pytorch.marker import options_of
from pytorch.program import Fail, Parser, boolean, run


def main():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("out", type=Path, help="data directory to be made")
    parser.add_argument("--utt-prefix", default="", help="goes before utterance ids")
    parser.add_argument("--utt-suffix", default="", help="goes after utterance ids; with a hyphen in front: --utt-suffix=-noise")
    parser.add_argument("--spk-prefix", default="", help="goes before speaker ids")
    parser.add_argument("--spk-suffix", default="", help="goes after speaker ids")
    parser.add_argument("--spk-as-prefix", type=boolean, default=False, help="utterance ids become <spk>-<utt>, where they do not begin so")
    parser.add_argument("--feats", type=boolean, default=True, help="take features, decisions and frame counts along; false: to make others in the copy")
    parser.add_argument("--overwrite", type=boolean, default=False, help="replace a data directory that is there")
    args = parser.parse_args()
    for name in ("utt_prefix", "utt_suffix", "spk_prefix", "spk_suffix"):
        if (value := getattr(args, name)) and value.split() != [value]:
            parser.error(f"argument --{name.replace('_', '-')}: no blanks can stand in an id")

    data = DataDir(args.data)
    options = options_of(args, without=("data", "out", *(["feats"] if args.feats else [])))
    new = NewDataDir(args.out, "copy_data_dir", options, [data], args.overwrite)
    if new.is_done():
        print(f"copy_data_dir: {args.out} is there")
        return
    part = Part(data, utt_id=utt_id(data, args), spk_id=lambda spk: f"{args.spk_prefix}{spk}{args.spk_suffix}")
    check_order(data, part, args.spk_as_prefix)
    with new as folder:
        notes = write_parts(folder, [part], leave_out=set() if args.feats else OF_FEATURES)
    for note in notes:
        print(f"copy_data_dir: {note}")
    print(f"copy_data_dir: {args.out}: {len(data.utt2spk)} utterances of {len(data.spk2utt)} speakers")


def utt_id(data, args):
    """-> the function that gives an utterance its new id"""

    def rename(utt):
        if args.spk_as_prefix and not utt.startswith(f"{data.utt2spk[utt]}-"):
            utt = f"{data.utt2spk[utt]}-{utt}"
        return f"{args.utt_prefix}{utt}{args.utt_suffix}"

    return rename


def check_order(data, part, asked):
    """Utterances that sorted by speaker must do so under their new ids; with `asked`, whose ids were made for it, the others too."""
    wrong = speaker_disorder(dict(sorted(part.table("utt2spk").items())))
    if wrong is None or (speaker_disorder(data.utt2spk) and not asked):
        return
    _, before, after = wrong
    if before.startswith(after):
        raise Fail(f"{data.path}: '{before}' begins as '{after}' does and sorts after it, but its utterances sort before; rename one of these speakers")
    raise Fail(f"{data.path}: under the new ids, utterances of '{before}' stand before those of '{after}'; give --spk-prefix and --utt-prefix alike")


if __name__ == "__main__":
    run(main)
