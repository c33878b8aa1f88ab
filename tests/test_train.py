"""steps/train.py: what a training writes, that it can be stopped anywhere, and what it refuses."""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.numpy
from support import write_vad
from train_data import ROOT, SHORT, SPEED, STEP, TINY, assert_refused, eventually, rows_in, weights_in, write_data

from pytorch.data.data_dir import DataDir
from pytorch.files import sha256

XVECTOR_ARGS = "frame_dim=512, stats_dim=1500, embed_dim=512, segment7=true, segment7_norm=true, output=segment6, norm_eps=0.001, std_eps=0.0, unbiased=false"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Training data of six speakers; only to be read."""
    return write_data(tmp_path_factory.mktemp("data") / "train", [f"t{number}" for number in range(6)], 1)


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    """Validation data of four other speakers, with trials; only to be read."""
    return write_data(tmp_path_factory.mktemp("data") / "valid", [f"v{number}" for number in range(4)], 2, trials=True)


@pytest.fixture
def own(tmp_path):
    """Training data that a test may spoil."""
    return write_data(tmp_path / "own", ["t0", "t1", "t2"], 3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data, valid, program):
    """A finished experiment with validation; only to be read."""
    exp = tmp_path_factory.mktemp("exp") / "x"
    done = program(STEP, "--valid", valid, *SHORT, data, exp)
    assert done.returncode == 0, done.stderr
    return exp


@pytest.fixture
def lent(trained, tmp_path):
    """A copy of the finished experiment that a test may change."""
    return shutil.copytree(trained, tmp_path / "x")


# ---- what it writes


def test_it_writes_everything_an_experiment_has_and_nothing_else(trained):
    names = sorted(path.name for path in trained.iterdir())
    epochs = [f"epoch-00{epoch}.safetensors" for epoch in (1, 2, 3)]
    assert names == sorted([".done", "best", "cmd", *epochs, "final", "model.json", "opts.json", "state", "tensorboard", "train.tsv"])
    assert sorted(path.name for path in (trained / ".done").iterdir()) == ["train.json", "train.lock"]


def test_model_json_says_what_an_extractor_needs_to_know(trained, data):
    settings = json.loads((trained / "model.json").read_text())
    assert settings["model"] == "xvector"
    assert settings["args"] == {"frame_dim": "8", "stats_dim": "8", "embed_dim": "8"}
    assert settings["feat_dim"] == 24
    assert settings["features"] == json.loads((data / "feats.json").read_text())
    assert (settings["cmn"], settings["voiced"]) == ("mean", True)
    assert settings["vad"] == json.loads((data / "vad.json").read_text())
    assert settings["loss"] == {"name": "aam", "in_dim": 8}
    assert settings["targets"] == {"what": "utt2spk", "kind": "classes"}
    assert settings["classes"] == [f"t{number}" for number in range(6)]


def test_cmd_and_opts_json_say_how_to_do_it_again(trained, data, valid):
    words = ["--valid", valid, *SHORT, data, trained]
    assert (trained / "cmd").read_text().split(" ", 1)[1] == subprocess.list2cmdline(map(str, words)).replace('"', "'") + "\n"
    options = json.loads((trained / "opts.json").read_text())
    assert options["options"]["lr"] == 0.001
    assert options["options"]["epochs"] == 3
    assert sha256(data / "feats.scp") in options["inputs"].values()
    assert sha256(valid / "trials") in options["inputs"].values()


def test_train_tsv_and_tensorboard_hold_the_figures_of_each_epoch(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = rows_in(trained)
    assert [(row["epoch"], row["step"], row["skipped"]) for row in rows] == [("1", "4", "0"), ("2", "4", "0"), ("3", "4", "0")]
    columns = "epoch step loss accuracy lr margin_share skipped utts_per_sec times_real_time data_wait gpu_gb seconds valid_eer valid_min_dcf"
    assert list(rows[0]) == columns.split()
    assert [float(row["lr"]) for row in rows] == pytest.approx([4 / 50e3, 8 / 50e3, 12 / 50e3], rel=1e-5)  # warm-up over 50 steps
    events = EventAccumulator(str(trained / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3]
    assert [event.value for event in events.Scalars("valid/eer")] == pytest.approx([float(row["valid_eer"]) for row in rows])


def test_weights_are_those_of_the_network(trained):
    from pytorch.models import build_model

    model = build_model("xvector", 24, {"frame_dim": 8, "stats_dim": 8, "embed_dim": 8})
    tensors = safetensors.numpy.load_file(trained / "epoch-003.safetensors")
    shapes = {f"model.{name}": tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert {name: tensor.shape for name, tensor in tensors.items()} == {**shapes, "loss.weight": (6, 8)}


def test_best_names_the_epoch_with_the_lowest_validation_eer(trained):
    eers = [float(row["valid_eer"]) for row in rows_in(trained)]
    best = max(epoch for epoch, eer in enumerate(eers, 1) if eer == min(eers))
    assert (trained / "best").read_text() == f"{best}\n"
    assert (trained / "final").read_text() == "3\n"


@pytest.mark.parametrize(
    ("eers", "best"),
    [([0.3, 0.1, 0.2], 2), ([0.1, 0.1, 0.2], 2), ([0.0, 0.1, 0.2], 1), ([None, None, None], 3), ([1.0, 1.0, 1.0], 3), ([0.2, None, 0.3], 1)],
)
def test_the_best_epoch_has_the_lowest_eer_the_latest_of_equals(eers, best):
    from pytorch.experiment import best_epoch

    rows = [{"epoch": epoch, "valid_eer": eer} for epoch, eer in enumerate(eers, 1)]
    assert best_epoch(rows, "valid_eer") == best
    assert best_epoch(rows) == 3
    turned = [{"epoch": row["epoch"], "valid_uar": row["valid_eer"] and -row["valid_eer"]} for row in rows]
    assert best_epoch(turned, "valid_uar", "higher") == best


def test_the_eer_of_the_log_is_that_of_the_weights(trained, valid):
    import torch

    from pytorch.data.frames import stored_frames
    from pytorch.experiment import Experiment
    from pytorch.features.front import Front
    from pytorch.training.validation import Validation, find_valid_trials

    experiment, valid = Experiment(trained), DataDir(valid)
    validation = Validation(valid, stored_frames(valid, True), None, find_valid_trials(valid), None, experiment.settings["features"], 15)
    cpu = torch.device("cpu")
    for row in rows_in(trained):
        found = validation.measure(experiment.load_network(int(row["epoch"]), cpu), Front("mean"), cpu)
        assert found == pytest.approx({name: float(row[name]) for name in ("valid_eer", "valid_min_dcf")}, abs=1e-5)


def test_no_file_of_an_experiment_needs_pickle(trained):
    import safetensors

    for path in (path for path in trained.rglob("*") if path.is_file()):
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, "numpy") as file:
                assert file.keys()
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.parent.name == "tensorboard":
            assert path.name.startswith("events.out.tfevents.")
        else:
            assert path.read_bytes().decode().isprintable() or path.suffix in (".tsv", ".lock", "")
            assert b"\0" not in path.read_bytes()
            assert path.name in ("best", "final", "cmd", "train.tsv", "train.lock")


# ---- the same again, and others


def test_the_same_seed_gives_the_same_weights_with_readers_too(trained, data, valid, tmp_path, program):
    exp = tmp_path / "x"
    assert program(STEP, "--valid", valid, *SHORT, "--num-workers", 2, data, exp).returncode == 0
    for epoch in (1, 2, 3):
        assert weights_in(exp, epoch) == weights_in(trained, epoch)
    assert rows_in(exp, SPEED) == rows_in(trained, SPEED)


def test_a_second_run_does_nothing(lent, data, valid, program):
    before = {path: path.stat().st_mtime_ns for path in lent.rglob("*") if path.suffix != ".lock"}
    for words in ([], ["--cmd", "submit.py"], ["--device", "cpu"], ["--num-workers", 1]):
        done = program(STEP, "--valid", valid, *SHORT, *words, data, lent)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"train: {lent} is trained already\n", "")
    assert {path: path.stat().st_mtime_ns for path in lent.rglob("*") if path.suffix != ".lock"} == before


@pytest.mark.parametrize("words", [[], ["--cmd", "submit.py"]], ids=["in place", "as a job"])
def test_a_changed_option_stops_with_its_name_and_both_values(words, lent, data, valid, program):
    done = program(STEP, "--valid", valid, *SHORT, "--lr", 0.1, "--seed", 2, *words, data, lent)
    assert_refused(done, f"{lent}: train was done otherwise: --lr was 0.001, now 0.1; --seed was 1, now 2. Pass --overwrite true to do it anew")
    assert (lent / "final").exists()


def test_overwrite_begins_anew_and_another_seed_gives_other_weights(lent, trained, data, valid, program):
    (lent / "epoch-099.safetensors").write_bytes(b"of an earlier training")
    assert program(STEP, "--valid", valid, *SHORT, "--seed", 2, "--overwrite", "true", data, lent).returncode == 0
    assert [path.name for path in sorted(lent.glob("epoch-*"))] == [f"epoch-00{epoch}.safetensors" for epoch in (1, 2, 3)]
    assert len(list((lent / "tensorboard").iterdir())) == 1
    old, new = (safetensors.numpy.load_file(exp / "epoch-001.safetensors") for exp in (trained, lent))
    assert not np.allclose(old["model.segment6.weight"], new["model.segment6.weight"], atol=1e-3)


def test_as_a_job_it_shows_its_log_and_trains_the_same(trained, data, valid, tmp_path, program):
    exp = tmp_path / "x y"
    done = program(STEP, "--valid", valid, *SHORT, "--cmd", "submit.py", data, exp)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    log = exp / "log" / "train.log"
    assert lines[0] == f"train: log in {log}"
    assert lines[1:] == [line for line in log.read_text().splitlines() if not line.startswith("#")]
    assert [line.split(":")[0] for line in lines[1:]] == ["train"] * 4 + ["epoch 1 of 3", "epoch 2 of 3", "epoch 3 of 3", "train"]
    assert weights_in(exp, 3) == weights_in(trained, 3)


# ---- stopped, and gone on


@pytest.fixture(scope="module")
def long(tmp_path_factory, data, program):
    """A training without validation long enough to be stopped in the middle, run in peace; and its options."""
    exp = tmp_path_factory.mktemp("exp") / "long"
    options = [*TINY, "--epochs", 8, "--steps-per-epoch", 30]
    assert program(STEP, *options, data, exp).returncode == 0
    return exp, options


def test_without_validation_best_is_final(long):
    assert [(long[0] / name).read_text() for name in ("best", "final")] == ["8\n", "8\n"]
    assert not [name for name in rows_in(long[0])[0] if name.startswith("valid")]


def stopped(number, exp, options, data):
    """Start a training and send it a signal once it has written two rows."""
    process = subprocess.Popen([sys.executable, str(ROOT / STEP), *map(str, options), str(data), str(exp)], stderr=subprocess.PIPE, text=True)
    assert eventually(lambda: (exp / "train.tsv").exists() and len((exp / "train.tsv").read_text().splitlines()) > 2)
    process.send_signal(number)
    said = process.communicate()[1]
    assert not (exp / "final").exists(), "it was too quick to be stopped"
    return process.returncode, said


def assert_goes_on_to_the_same_end(exp, long, data, program):
    done = program(STEP, *long[1], data, exp)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[2].startswith("going on after epoch ")
    for epoch in range(1, 9):
        assert weights_in(exp, epoch) == weights_in(long[0], epoch)
    assert rows_in(exp, SPEED) == rows_in(long[0], SPEED)
    assert [(exp / name).read_text() for name in ("best", "final")] == ["8\n", "8\n"]


def test_terminated_and_run_again_it_ends_with_the_same_weights_and_figures(long, data, tmp_path, program):
    exp = tmp_path / "x"
    status, said = stopped(signal.SIGTERM, exp, long[1], data)
    assert status == 143
    assert said.splitlines()[-2:] == [said.splitlines()[-2], "train.py: terminated"]
    assert said.splitlines()[-2].startswith("stopped in epoch ")
    assert_goes_on_to_the_same_end(exp, long, data, program)


def test_killed_and_run_again_it_ends_with_the_same_weights_and_figures(long, data, tmp_path, program):
    exp = tmp_path / "x"
    assert stopped(signal.SIGKILL, exp, long[1], data)[0] == -9

    done = program(STEP, *long[1], "--lr", 0.1, data, exp)
    assert_refused(done, f"{exp}: train was begun otherwise: --lr was 0.001, now 0.1. Pass --overwrite true to do it anew")

    state = exp / "state" / "state.safetensors"
    whole = state.read_bytes()
    state.write_bytes(whole[:-100])
    done = program(STEP, *long[1], data, exp)
    assert done.returncode == 1
    assert done.stderr.startswith(f"train.py: {state}: damaged (")
    assert done.stderr.endswith("; remove it to go on from the beginning\n")
    assert done.stderr.count("\n") == 1

    state.write_bytes(whole)
    assert_goes_on_to_the_same_end(exp, long, data, program)


def test_a_training_of_a_job_is_stopped_with_it_and_its_readers_and_saves_its_state(data, long, tmp_path):
    exp = tmp_path / "x"
    status, said = stopped(signal.SIGTERM, exp, [*long[1], "--num-workers", 2, "--cmd", "submit.py"], data)
    assert status == 143
    lines = [line for line in (exp / "log" / "train.log").read_text().splitlines() if not line.startswith("#")]
    assert lines[-2].startswith("stopped in epoch ")
    assert lines[-1] == "train.py: terminated"
    assert (exp / "state" / "state.safetensors").exists()


def test_a_signal_to_the_readers_too_finds_the_state_saved_while_the_loop_waits_for_data(data, tmp_path):
    exp = tmp_path / "x"
    tiny = ["--model-args", "frame_dim=1 stats_dim=1 embed_dim=1", "--min-frames", 2000, "--max-frames", 2000, "--batch-size", 64, "--num-threads", 1]
    words = [*tiny, "--epochs", 1, "--steps-per-epoch", 2000, "--warmup-steps", 0, "--num-workers", 1, data, exp]
    process = subprocess.Popen([sys.executable, str(ROOT / STEP), *map(str, words)], stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert eventually(lambda: list(exp.glob("tensorboard/*")))
    time.sleep(0.5)  # the reader has begun
    os.killpg(process.pid, signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 143
    assert re.fullmatch(r"stopped in epoch 1 after step \d+; started again, it goes on from there\ntrain.py: terminated\n", said), said
    assert (exp / "state" / "state.safetensors").exists()


def test_a_training_whose_folder_is_gone_fails_and_its_readers_end(data, tmp_path):
    exp = tmp_path / "x"
    words = [*TINY, "--epochs", 500, "--steps-per-epoch", 20, "--num-workers", 1, data, exp]
    process = subprocess.Popen([sys.executable, str(ROOT / STEP), *map(str, words)], stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert eventually(lambda: (exp / "train.tsv").exists())
    exp.rename(tmp_path / "y")
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "No such file or directory\n" in said
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


# ---- the loop by itself


class Told(argparse.Namespace):
    """The options of the loop."""

    def __init__(self, **changes):
        defaults = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-2, "momentum": 0.9, "epochs": 3, "num_workers": 0, "seed": 1, "freeze": []}
        more = {"schedule": "cosine", "warmup_steps": 2, "final_lr_share": 0.01, "margin_warmup_epochs": 2.0, "precision": "fp32", "clip_grad": 5.0}
        more |= {"margin_start_epoch": 0.0, "margin_shape": "linear", "accumulate": 1, "ema": 0.0, "average_last": 0, "early_stop": 0, "validate_every": 1}
        more |= {"save_minutes": 0.0, "patience": 1, "lr_factor": 0.5, "max_bad_steps": 3, "keep_last": 0}
        super().__init__(**{**defaults, **more, **changes})


def run_loop(folder, data, at=None, do=None, validation=None, steps=2, **changes):
    """Train on `data` in this process; do(x) is called on the batch of (epoch, step) `at`, or on every one."""
    import torch

    from pytorch.data.frames import stored_frames
    from pytorch.features.front import Front
    from pytorch.losses import build_loss
    from pytorch.models import build_model
    from pytorch.network import Network
    from pytorch.training.assemble import update_of
    from pytorch.training.batches import Batches
    from pytorch.training.loop import train
    from pytorch.training.parallel import Processes
    from pytorch.training.sampler import build_sampler

    class Watched(Batches):
        def __getitem__(self, place):
            x, targets, utts = super().__getitem__(place)
            if do and at in (None, place):
                do(x)
            return x, targets, utts

    frames, options = stored_frames(DataDir(data), True), Told(**changes)
    torch.manual_seed(1)
    model = build_model("xvector", frames.dim, {"frame_dim": 8, "stats_dim": 8, "embed_dim": 8})
    spks = sorted({utt[:2] for utt in frames.utts})
    batches = Watched(frames, [spks.index(utt[:2]) for utt in frames.utts], build_sampler("utterance", frames, 8, 20, 30, 1, steps_per_epoch=steps))
    training = argparse.Namespace(network=Network(model, build_loss("aam", 8, len(spks), {"scale": 30.0, "margin": 0.2})), front=Front("mean"))
    keep = signal.getsignal(signal.SIGTERM)
    try:
        update = update_of(training, options, torch.device("cpu"), Processes())
        return training.network, train(folder, update, batches, validation, options)
    finally:
        signal.signal(signal.SIGTERM, keep)


def terminate(x):
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "rmsprop"])
def test_stopped_after_any_step_it_ends_with_the_same_weights_and_figures(optimizer, own, tmp_path, capsys):
    from pytorch.program import Terminated

    _, whole = run_loop(tmp_path / "whole", own, optimizer=optimizer)
    for place in [(epoch, step) for epoch in (1, 2, 3) for step in (0, 1)]:
        exp = tmp_path / f"stopped-{place[0]}-{place[1]}"
        with pytest.raises(Terminated):
            run_loop(exp, own, at=place, do=terminate, optimizer=optimizer)
        _, rows = run_loop(exp, own, optimizer=optimizer)
        for epoch in (1, 2, 3):
            assert weights_in(exp, epoch) == weights_in(tmp_path / "whole", epoch), place
        assert [[value for name, value in row.items() if name not in SPEED] for row in rows] == [
            [value for name, value in row.items() if name not in SPEED] for row in whole
        ], place  # to the last bit, of which the table shows the first six digits
        assert rows_in(exp, SPEED) == rows_in(tmp_path / "whole", SPEED), place


def test_stopped_at_every_step_it_ends_with_the_same_weights(own, tmp_path):
    from pytorch.program import Terminated

    run_loop(tmp_path / "whole", own)
    for _ in range(6):
        with pytest.raises(Terminated):
            run_loop(tmp_path / "x", own, do=terminate)
    run_loop(tmp_path / "x", own, do=terminate)
    assert weights_in(tmp_path / "x", 3) == weights_in(tmp_path / "whole", 3)


def test_a_bad_batch_is_skipped_counted_and_leaves_no_trace_in_the_network(own, tmp_path):
    import torch

    def spoil(x):
        x[0, 3, 5] = float("inf")

    network, rows = run_loop(tmp_path / "x", own, at=(2, 1), do=spoil)
    assert [row["skipped"] for row in rows] == [0, 1, 0]
    assert [row["step"] for row in rows] == [2, 2, 2]
    assert all(torch.isfinite(tensor).all() for tensor in network.state_dict().values())
    seen = network.state_dict()["model.frames.0.2.num_batches_tracked"]
    assert int(seen) == 5


def test_bad_batches_in_a_row_end_the_training_with_names(own, tmp_path):
    from pytorch.program import Fail

    with pytest.raises(Fail) as failure:
        run_loop(tmp_path / "x", own, do=lambda x: x.fill_(float("nan")), max_bad_steps=2)
    message = str(failure.value)
    assert message.startswith("2 steps in a row with a loss or gradient that is not finite (first such gradient: model.frames.0.0.weight)")
    assert re.search("; the last batch held t[0-2]-[0-3], ", message)


def test_an_epoch_without_one_good_step_ends_the_training(own, tmp_path):
    from pytorch.program import Fail

    with pytest.raises(Fail, match="^epoch 1: none of its 2 steps had a finite loss and gradient: lower --lr, or look at the features"):
        run_loop(tmp_path / "x", own, do=lambda x: x.fill_(float("nan")), max_bad_steps=10)
    assert not list((tmp_path / "x").glob("epoch-*"))


class Chosen:
    """A validation whose EERs are known."""

    columns, select = ["valid_eer"], "eer"

    def __init__(self, eers):
        self.eers = list(eers)

    def measure(self, network, front, device):
        return {"valid_eer": self.eers.pop(0)}


def test_keep_last_keeps_the_best_and_the_last(own, tmp_path):
    run_loop(tmp_path / "x", own, validation=Chosen([0.3, 0.1, 0.2, 0.4, 0.3]), epochs=5, keep_last=1)
    assert [path.name for path in sorted((tmp_path / "x").glob("epoch-*"))] == ["epoch-002.safetensors", "epoch-005.safetensors"]
    assert [(tmp_path / "x" / name).read_text() for name in ("best", "final")] == ["2\n", "5\n"]


@pytest.mark.parametrize(
    "spoil",
    [lambda data: b"", lambda data: data[:50], lambda data: data[:-1], lambda data: b"\xff" * len(data)],
    ids=["empty", "only a header", "one byte short", "noise"],
)
def test_a_damaged_state_says_what_to_do(spoil, own, tmp_path):
    from pytorch.program import Fail, Terminated

    with pytest.raises(Terminated):
        run_loop(tmp_path / "x", own, at=(2, 0), do=terminate)
    state = tmp_path / "x" / "state" / "state.safetensors"
    state.write_bytes(spoil(state.read_bytes()))
    with pytest.raises(Fail, match=f"^{state}: damaged .*; remove it to go on from the beginning$"):
        run_loop(tmp_path / "x", own)
    state.unlink()
    run_loop(tmp_path / "x", own)
    run_loop(tmp_path / "whole", own)
    assert weights_in(tmp_path / "x", 3) == weights_in(tmp_path / "whole", 3)


def test_the_state_of_something_else_says_what_to_do(own, tmp_path):
    from pytorch.program import Fail

    state = tmp_path / "x" / "state" / "state.safetensors"
    state.parent.mkdir(parents=True)
    for tensors in ({}, {"network.model.frames.0.0.weight": np.zeros(3, dtype=np.float32)}):
        safetensors.numpy.save_file(tensors, state)
        with pytest.raises(Fail, match=f"^{state}: the state of another network or program .*; remove it to go on from the beginning$"):
            run_loop(tmp_path / "x", own)


# ---- what it refuses


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lr", "0"], "argument --lr: a number above 0 expected, not '0'"),
        (["--epochs", "1.5"], "argument --epochs: a whole number above 0 expected, not '1.5'"),
        (["--model", "resnot"], "argument --model: invalid choice: 'resnot'"),
        (["--voiced", "no"], "argument --voiced: true or false expected, not 'no'"),
        (["--learning-rate", "1"], "unknown option --learning-rate"),
    ],
)
def test_a_wrong_option_ends_with_status_2(words, message, data, tmp_path, program):
    done = program(STEP, data, tmp_path / "x", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "x").exists()


def test_crops_longer_than_the_longest_are_refused(data, tmp_path, program):
    done = program(STEP, "--min-frames", 300, "--max-frames", 200, data, tmp_path / "x")
    assert_refused(done, "--min-frames 300: more than --max-frames 200")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch-size", 1], "--batch-size 1: 2 or more are needed for each process, a batch is normalised by its own statistics"),
        (["--batch-size", 6, "--num-gpus", 4], "--batch-size 6: 2 or more are needed for each process, a batch is normalised by its own statistics"),
        (["--keep-last", 2, "--average-last", 3], "--keep-last 2: --average-last 3 needs as many"),
        (["--early-stop", 3], "--early-stop: only with --valid"),
        (["--select", "eer"], "--select: only with --valid"),
        (["--resample", "true"], "--resample: only with --online-feats, or a network on waveforms; stored features have been computed already"),
        (["--seed", 2**32], "--seed 4294967296: less than 2^32 is needed"),
    ],
)
def test_values_no_training_can_work_with_are_refused(words, message, data, tmp_path, program):
    assert_refused(program(STEP, *SHORT, *words, data, tmp_path / "x"), message)
    assert not (tmp_path / "x").exists()


def test_feature_settings_without_names_are_refused(own):
    from pytorch.data.frames import stored_frames
    from pytorch.program import Fail

    (own / "feats.json").write_text("[]")
    with pytest.raises(Fail, match=f"^{own}/feats.json: the settings of features as name and value were expected; make the features anew$"):
        stored_frames(DataDir(own), True)


def test_validation_speakers_among_the_training_speakers_are_refused(data, tmp_path, program):
    valid = write_data(tmp_path / "valid", ["t4", "t5", "v0"], 5, trials=True)
    done = program(STEP, "--valid", valid, *SHORT, data, tmp_path / "x")
    assert_refused(done, f"{valid}: the speaker 't4' is also in {data} (2 such); validation needs speakers of its own")


def test_one_speaker_only_is_refused(tmp_path, program):
    data = write_data(tmp_path / "one", ["t0"], 5)
    done = program(STEP, *SHORT, data, tmp_path / "x")
    assert_refused(done, f"{data}/utt2spk: one speaker only, 't0'; two or more are needed to tell apart")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("trials", "draw it with utils/make_trials.py {0}"),
        ("feats.scp", "make it with steps/make_feats.py {0}"),
        ("vad.scp", "only voiced frames are read unless --voiced false; for those make it with steps/compute_vad.py {0}"),
    ],
)
def test_a_missing_table_is_refused_with_the_remedy(name, remedy, data, tmp_path, program):
    valid = write_data(tmp_path / "valid", ["v0", "v1"], 5, trials=True)
    (valid / name).unlink()
    done = program(STEP, "--valid", valid, *SHORT, data, tmp_path / "x")
    assert_refused(done, f"{valid}/{name}: no such file; {remedy.format(valid)}")


def test_mistakes_only_a_network_can_know_begin_nothing(own, tmp_path, program):
    """One after the other in one folder: a refused training must not stand in the way of the corrected one."""
    exp = tmp_path / "x"
    done = program(STEP, *SHORT, "--model-args", "width=8", own, exp)
    assert_refused(done, f"--model-args: xvector has no argument 'width'; it has {XVECTOR_ARGS}")

    done = program(STEP, *SHORT, "--min-frames", 14, own, exp)
    assert_refused(done, "--min-frames 14: xvector needs 15 or more")

    decisions = {utt: np.full(len(vad), utt != "t1-2") for utt, vad in vads_of(own).items()}
    write_vad(own, decisions)
    done = program(STEP, *SHORT, own, exp)
    remedy = "leave them out with utils/subset_data_dir.py --min-voiced-frames 15"
    assert_refused(done, f"{own}/feats.scp: 1 utterances have fewer than 15 voiced frames, the least the network takes: t1-2; {remedy}")

    write_vad(own, {utt: np.ones(len(vad)) for utt, vad in decisions.items()})
    assert not (exp / "opts.json").exists()
    done = program(STEP, *SHORT, "--device", "cuda", own, exp, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 1
    assert done.stderr.startswith("train.py: --device cuda: torch ")
    assert done.stderr.endswith(" finds no card it can use; see nvidia-smi, or pass --device cpu\n")

    done = program(STEP, *SHORT, "--lr", 1e30, "--warmup-steps", 0, "--max-bad-steps", 2, "--cmd", "submit.py", own, exp)
    assert done.returncode == 1
    message = "2 steps in a row with a loss or gradient that is not finite (first such gradient: model.frames.0.0.weight); the last batch held t0-"
    assert f"train.py: {message}" in done.stdout  # the log as it grew
    assert done.stderr.endswith(f"train.py: the job failed, see {exp}/log/train.log; started again, it goes on from where it was saved\n")


def vads_of(folder):
    from pytorch.data.ark import ArkReader

    reader = ArkReader(folder / "vad.scp")
    return {utt: reader[utt] for utt in reader}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frame_dim", "--model-args: name=value expected, not 'frame_dim'"),
        ("frame_dim=", "--model-args: name=value expected, not 'frame_dim='"),
        ("frame_dim = 8", "--model-args: name=value expected, not 'frame_dim'"),
    ],
)
def test_malformed_arguments_of_a_network_are_refused(text, message, data, tmp_path, program):
    assert_refused(program(STEP, "--model-args", text, data, tmp_path / "x"), message)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"width": "8"}, f"xvector has no argument 'width'; it has {XVECTOR_ARGS}"),
        ({"frame_dim": "many"}, f"frame_dim=many: int expected; xvector has {XVECTOR_ARGS}"),
        ({"frame_dim": "0"}, "frame_dim=0: 1 or more expected"),
        ({"segment7": "no"}, f"segment7=no: bool expected; xvector has {XVECTOR_ARGS}"),
    ],
)
def test_a_wrong_argument_of_a_network_lists_them_all(args, message):
    from pytorch.models import build_model
    from pytorch.program import Fail

    with pytest.raises(Fail) as failure:
        build_model("xvector", 24, args)
    assert str(failure.value) == f"--model-args: {message}"


@pytest.mark.parametrize(
    ("name", "message"),
    [("cuda", "finds no card it can use; see nvidia-smi, or pass --device cpu"), ("gpu", "--device gpu: auto, cpu, cuda or cuda:N expected")],
)
def test_a_device_that_is_not_there_is_refused(name, message, monkeypatch):
    import torch

    from pytorch.device import choose_device
    from pytorch.program import Fail

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Fail, match=message):
        choose_device(name)


# ---- losses, optimisers and schedules


@pytest.mark.parametrize(
    "loss", [["softmax", ""], ["am", "margin=0.3"], ["aam", "scale=15 subcentres=2"], ["coco", ""], ["centre", ""]], ids=lambda loss: loss[0]
)
def test_every_loss_over_speakers_trains(loss, data, tmp_path, program):
    name, words = loss
    done = program(STEP, *SHORT, "--loss", name, *(["--loss-args", words] if words else []), data, tmp_path / "x")
    assert done.returncode == 0, done.stderr
    losses = [float(row["loss"]) for row in rows_in(tmp_path / "x")]
    assert len(losses) == 3 and np.isfinite(losses).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("size=3", "--loss-args: aam has no argument 'size'; it has scale=30.0, margin=0.2"),
        ("scale=big", "--loss-args: scale=big: float expected; aam has scale=30.0"),
        ("scale", "--loss-args: name=value expected, not 'scale'"),
        ("margin=20", "--loss-args: margin=20 rad: more than a right angle; for degrees say margin_unit=deg"),
    ],
)
def test_a_wrong_argument_of_the_loss_is_refused(words, message, data, tmp_path, program):
    done = program(STEP, *SHORT, "--loss-args", words, data, tmp_path / "x")
    assert done.returncode == 1
    assert done.stderr.startswith(f"train.py: {message}")


def test_one_cycle_rises_and_falls_by_the_update(data, tmp_path, program):
    words = ["--schedule", "one-cycle", "--lr", "2e-3", "--epochs", 2, "--steps-per-epoch", 10]
    done = program(STEP, *SHORT, *words, data, tmp_path / "x")
    assert done.returncode == 0, done.stderr
    last = float(rows_in(tmp_path / "x")[-1]["lr"])
    assert last == pytest.approx(2e-3 / 5 / 1000)
