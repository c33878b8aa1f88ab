#!/usr/bin/env python3
"""Run a command with some of this machine's graphics cards, which nobody else uses: sets CUDA_VISIBLE_DEVICES and locks the cards while it runs.

Waits until as many cards are free. submit.py --gpu does this for jobs on this machine and on Grid Engine; Slurm gives out cards itself.

Reads   nvidia-smi's list of cards and of processes that compute on them; CUDA_VISIBLE_DEVICES, where set, says which of them may be used
Writes  /tmp/embark-cards, locks
e.g.    utils/use_gpus.py 1 python3 train.py
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.program import Fail, positive_int, run


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip(), formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("number", type=positive_int, help="how many cards")
    parser.add_argument("command", help="program to run")
    parser.add_argument("words", nargs=argparse.REMAINDER, help="its words")
    args = parser.parse_args()
    from pytorch.engines.cards import take_cards

    cards = take_cards(args.number)
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # nvidia-smi's order
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(card.index for card in cards)
    try:
        os.execvp(args.command, [args.command, *args.words])
    except OSError as error:
        raise Fail(f"{args.command}: {error.strerror}") from None


if __name__ == "__main__":
    run(main)
