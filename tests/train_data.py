"""Tiny data and tiny trainings, for the tests of steps/train.py."""

import csv
import importlib.util
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np
from support import write_feats, write_vad

from pytorch.data.data_dir import DataDir, write_data_dir, write_table
from pytorch.data.trials import draw_trials, write_trials

ROOT = Path(__file__).resolve().parents[1]
STEP = "steps/train.py"
TINY = ["--model-args", "frame_dim=8 stats_dim=8 embed_dim=8", "--min-frames", 20, "--max-frames", 30, "--batch-size", 8, "--num-threads", 1]
SHORT = [*TINY, "--epochs", 3, "--steps-per-epoch", 4]
SPEED = {"utts_per_sec", "times_real_time", "data_wait", "seconds"}


def write_data(folder, speakers, seed, trials=False):
    """A data directory of features and decisions, 4 utterances of each speaker, 40 to 60 frames of which most are voiced."""
    chance = np.random.default_rng(seed)
    utt2spk = {f"{spk}-{number}": spk for spk in speakers for number in range(4)}
    write_data_dir(folder, {utt: f"/nowhere/{utt}.wav" for utt in utt2spk}, utt2spk)
    voice = {spk: chance.standard_normal(24) for spk in speakers}
    feats = {utt: 10 + voice[spk] + chance.standard_normal((chance.integers(40, 60), 24)) * 2 for utt, spk in utt2spk.items()}
    write_feats(folder, feats)
    write_vad(folder, {utt: chance.random(len(matrix)) < 0.8 for utt, matrix in feats.items()})
    if trials:
        write_trials(folder / "trials", draw_trials(DataDir(folder), 0))
    return folder


def write_labels(folder):
    """To a directory of write_data: utt2label of three classes, utt2degree of five numbers that are classes, utt2age of numbers."""
    utts = list(DataDir(folder).utt2spk)
    write_table(folder / "utt2label", {utt: "abc"[place % 3] for place, utt in enumerate(utts)})
    write_table(folder / "utt2degree", {utt: str(1 + place % 5) for place, utt in enumerate(utts)})
    write_table(folder / "utt2age", {utt: f"{20 + 1.5 * place}" for place, utt in enumerate(utts)})
    return folder


def weights_in(exp, epoch):
    return (exp / f"epoch-{epoch:03d}.safetensors").read_bytes()


def rows_in(exp, without=()):
    with open(exp / "train.tsv") as file:
        return [{name: value for name, value in row.items() if name not in without} for row in csv.DictReader(file, delimiter="\t")]


def assert_refused(done, message, status=1):
    """It failed with this one line, whatever it said on stdout of its work."""
    assert (done.returncode, done.stderr) == (status, f"train.py: {message}\n")


def eventually(is_true):
    for _ in range(12000):
        if is_true():
            return True
        time.sleep(0.005)
    return False


def train_here(*words):
    """steps/train.py in this process, which spares importing torch again; Fail and Terminated reach the caller."""
    spec = importlib.util.spec_from_file_location("train_step", ROOT / STEP)
    step = importlib.util.module_from_spec(spec)
    argv, sys.argv = sys.argv, [str(ROOT / STEP), *map(str, words)]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    path = list(sys.path)
    try:
        spec.loader.exec_module(step)
        return step.main()
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # they hold the lock of the experiment
        raise
    finally:
        sys.argv, sys.path[:] = argv, path
        for number, handler in handlers.items():
            signal.signal(number, handler)
