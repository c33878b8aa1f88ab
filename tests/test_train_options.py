"""steps/train.py: every option does what its help says. Run in this process; that the program as such works is shown in test_train.py."""

import argparse
import contextlib
import errno
import fcntl
import io
import json
import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from data_dirs import succeed
from sounds import RATE, tone, wav_stream
from support import failure
from train_data import ROOT, SHORT, SPEED, TINY, eventually, rows_in, train_here, weights_in, write_data, write_labels

from pytorch.data.data_dir import DataDir, write_data_dir, write_table
from pytorch.losses import build_loss
from pytorch.program import Terminated


@pytest.fixture(scope="module", autouse=True)
def threads():
    keep = torch.get_num_threads()
    yield
    torch.set_num_threads(keep)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Training data of six speakers with labels and ages; only to be read."""
    return write_labels(write_data(tmp_path_factory.mktemp("data") / "train", [f"t{number}" for number in range(6)], 1))


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    """Validation data of four other speakers, with trials, labels and ages; only to be read."""
    return write_labels(write_data(tmp_path_factory.mktemp("data") / "valid", [f"v{number}" for number in range(4)], 2, trials=True))


@pytest.fixture(scope="module")
def plain(tmp_path_factory, data):
    """A finished experiment without validation, three epochs of four steps; only to be read."""
    exp = tmp_path_factory.mktemp("exp") / "plain"
    train_here(*SHORT, data, exp)
    return exp


def tensors_in(exp, epoch):
    return safetensors.torch.load_file(exp / (f"{epoch}.safetensors" if isinstance(epoch, str) else f"epoch-{epoch:03d}.safetensors"))


def model_json(exp):
    return json.loads((exp / "model.json").read_text())


def said_by(*words):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        train_here(*words)
    return out.getvalue().splitlines()


# ---- what is learnt


@pytest.mark.parametrize("more", [(), ("--freeze", "frames")], ids=["all", "frozen"])
@pytest.mark.parametrize(
    ("loss", "args"),
    [
        ("aam", "adacos=dynamic"),
        ("am", "adacos=dynamic sampled_classes=4"),
        ("aam", "adacos=fixed topk=2"),
        ("aam", "margin_unit=deg margin=12 subcentres=2"),
        ("am", "anneal=true"),
        ("coco", "sampled_classes=3"),
    ],
)
def test_the_options_of_margin_losses_train(loss, args, more, data, tmp_path):
    train_here(*SHORT, *more, "--loss", loss, "--loss-args", args, data, tmp_path / "x")
    assert all(math.isfinite(float(row["loss"])) for row in rows_in(tmp_path / "x"))
    scales = {epoch: tensors_in(tmp_path / "x", epoch).get("loss.scale") for epoch in (1, 2)}
    assert ("dynamic" in args) == (scales[1] is not None)
    assert scales[1] is None or scales[1] != scales[2]


@pytest.mark.parametrize(
    ("targets", "loss", "args", "classes"),
    [
        ("utt2label", "softmax", "", 3),
        ("utt2label", "softmax", "class_weights=complement focus=2", 3),
        ("utt2degree", "cumulative", "class_weights=inverse", 5),
        ("utt2degree", "distance", "share=0.5", 5),
        ("utterance", "aam", "scale=10", 24),
        ("utt2age", "regression", "kind=mse", 0),
        ("utt2age", "regression", "kind=l1", 0),
        ("utt2age", "regression", "kind=ccc", 0),
        ("utt2label,utt2age", "joint", "classes=aam classes.scale=10 numbers.kind=l1 share=0.7", 3),
    ],
)
def test_targets_of_any_kind_are_learnt_with_their_losses(targets, loss, args, classes, data, tmp_path):
    train_here(*SHORT, "--targets", targets, "--loss", loss, "--loss-args", args, data, tmp_path / "x")
    rows = rows_in(tmp_path / "x")
    assert all(math.isfinite(float(row["loss"])) for row in rows)
    assert ("error" in rows[0]) == (loss == "regression")
    assert len(model_json(tmp_path / "x")["classes"]) == classes
    assert model_json(tmp_path / "x")["targets"]["what"] == targets


def test_the_order_of_classes_is_that_of_the_file(data, tmp_path):
    (tmp_path / "classes").write_text("c\na\nb\n")
    train_here(*SHORT, "--targets", "utt2label", "--loss", "softmax", "--classes", tmp_path / "classes", data, tmp_path / "x")
    assert model_json(tmp_path / "x")["classes"] == ["c", "a", "b"]
    (tmp_path / "classes").write_text("c\nb\na\n")
    message = failure(train_here, *SHORT, "--targets", "utt2label", "--loss", "softmax", "--classes", tmp_path / "classes", data, tmp_path / "x")
    assert message == f"{tmp_path}/x: train was done otherwise: the list of classes has changed. Pass --overwrite true to do it anew"


@pytest.mark.parametrize("loss", ["contrastive", "triplet"])
def test_losses_over_pairs_learn_from_batches_by_speaker_and_refuse_others(loss, data, valid, tmp_path):
    pairs = ["--loss", loss, "--sampler", "speaker"]
    train_here(*SHORT, *pairs, "--utts-per-spk", 2, "--valid", valid, data, tmp_path / "x")
    rows = rows_in(tmp_path / "x")
    assert [row["accuracy"] for row in rows] == ["", "", ""]
    assert all(0 <= float(row["valid_eer"]) <= 1 for row in rows)
    message = f"--loss {loss}: learns from pairs of one class in a batch; add --sampler speaker --utts-per-spk 2, or more"
    assert failure(train_here, *SHORT, *pairs, data, tmp_path / "y") == message
    assert failure(train_here, *SHORT, "--loss", loss, data, tmp_path / "y") == message
    message = f"--accumulate 2: --loss {loss} learns from all pairs of a batch, which its parts do not have; leave it at 1"
    assert failure(train_here, *SHORT, *pairs, "--utts-per-spk", 2, "--accumulate", 2, data, tmp_path / "y") == message


# ---- what is seen


def test_samplers_and_short_utterances_are_as_asked_and_said(data, tmp_path):
    lines = said_by(*SHORT, "--sampler", "class", "--targets", "utt2label", "--loss", "softmax", data, tmp_path / "class")
    assert "; 24 utterances of 3 classes" in lines[0]
    lines = said_by(
        *SHORT, "--sampler", "speaker", "--utts-per-spk", 2, "--chunks-per-utt", 2, "--max-frames", 40, "--short", "pad", data, tmp_path / "speaker"
    )
    assert "; 24 utterances of 6 speakers, " in lines[0]
    assert "shorter than 40 frames (padded where a crop is longer)" in lines[0]
    lines = said_by(*SHORT, "--max-frames", 40, "--short", "drop", data, tmp_path / "drop")
    assert "; left out: " in lines[0]
    assert "utterances shorter than 40 frames" in lines[0]


def test_windows_are_drawn_where_utt2window_says(data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    utts = list(DataDir(data).utt2spk)
    write_table(tmp_path / "data/utt2window", dict.fromkeys(utts, 0))
    words = ["--sampler", "windows", "--voiced", "false"]
    train_here(*SHORT, *words, tmp_path / "data", tmp_path / "x")
    write_table(tmp_path / "data/utt2window", dict.fromkeys(utts, -1))
    message = failure(train_here, *SHORT, *words, tmp_path / "data", tmp_path / "x")
    assert message == f"{tmp_path}/x: train was done otherwise: training utt2window has changed. Pass --overwrite true to do it anew"


def test_chunks_of_an_utterance_are_averaged_before_the_loss():
    from pytorch.losses.base import Stage
    from pytorch.network import Network

    torch.manual_seed(0)
    network = Network(torch.nn.Linear(5, 4), build_loss("softmax", 4, 3, {}))
    x, targets = torch.randn(6, 5), torch.tensor([0, 2, 1])
    loss, _ = network(x, targets, Stage(), chunks=2)
    means = torch.stack([network.model(x[place : place + 2]).mean(0) for place in (0, 2, 4)])
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(network.loss.scores(means), targets))


@pytest.mark.parametrize(
    ("words", "steps"),
    [(["--passes-per-epoch", 2], 6), (["--passes-per-epoch", 0.5], 2), (["--days-per-epoch", 10 / 86400], 5), ([], 3)],
    ids=["two passes", "half a pass", "ten seconds", "one pass"],
)
def test_an_epoch_is_as_long_as_asked(words, steps, data, tmp_path):
    train_here(*TINY, "--epochs", 1, *words, data, tmp_path / "x")
    assert rows_in(tmp_path / "x")[0]["step"] == str(steps)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """A data directory of short recordings of four speakers: tones of their own among noise; only to be read."""
    folder = tmp_path_factory.mktemp("sounds") / "train"
    chance = np.random.default_rng(0)
    wavs, utt2spk = {}, {}
    for spk in range(4):
        for number in range(3):
            utt = f"s{spk}-{number}"
            samples = tone(0.8 + 0.1 * number, 200 + 100 * spk) + chance.integers(-500, 500, round((0.8 + 0.1 * number) * RATE)).astype(np.int16)
            folder.mkdir(exist_ok=True)
            (folder / f"{utt}.wav").write_bytes(wav_stream(samples, 36 + 2 * len(samples), 2 * len(samples)))
            wavs[utt], utt2spk[utt] = folder / f"{utt}.wav", f"s{spk}"
    write_data_dir(folder, wavs, utt2spk)
    (folder / "fbank.conf").write_text("--feature=fbank\n--num-mel-bins=24\n")
    return folder


def test_features_can_be_computed_while_training(sounds, tmp_path):
    words = [*SHORT, "--online-feats", sounds / "fbank.conf"]
    train_here(*words, sounds, tmp_path / "x")
    assert model_json(tmp_path / "x")["features"]["num_mel_bins"] == 24
    assert model_json(tmp_path / "x")["voiced"] is False
    (tmp_path / "other.conf").write_text("--feature=fbank\n--num-mel-bins=20\n")
    message = failure(train_here, *SHORT, "--online-feats", tmp_path / "other.conf", sounds, tmp_path / "x")
    assert message.startswith(f"{tmp_path}/x: train was done otherwise: --features was {{")


def test_a_training_list_of_windows_is_trained_on_as_it_stands(sounds, tmp_path):
    from pytorch.training.sampler import WindowSampler

    words = [(number, wav, window) for number, wav in enumerate(sorted(sounds.glob("*.wav"))) for window in ((0, 1) if number % 3 == 2 else (-1,))]
    (tmp_path / "train.lst").write_text("".join(f"{wav} {number // 3} {window}\n" for number, wav, window in words))
    succeed("import_list", "--from", "labels", "--label-as", "spk", "--window-as", "utt2window", "--root", sounds, tmp_path / "train.lst", tmp_path / "data")
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        draw = WindowSampler.draw
        patch.setattr(WindowSampler, "draw", lambda self, *place: seen.append(draw(self, *place)) or seen[-1])
        more = ["--online-feats", sounds / "fbank.conf", "--sampler", "windows", "--min-frames", 40, "--max-frames", 40]
        train_here(*SHORT, *more, tmp_path / "data", tmp_path / "x")
    windows = [int(window) for window in DataDir(tmp_path / "data").per_utt("utt2window").values()]
    assert windows == [-1, -1, 0, 1] * 4
    starts = {(windows[index], int(start)) for indices, starts, _ in seen for index, start in zip(indices, starts, strict=True)}
    assert {start for window, start in starts if window >= 0} == {0, RATE // 2}
    assert len({start for window, start in starts if window < 0}) > 10


def test_recordings_that_cannot_be_packed_are_told_of_with_what_leaves_them_out(sounds, tmp_path, capfd):
    data = shutil.copytree(sounds, tmp_path / "train", ignore=shutil.ignore_patterns("packed"))
    write_table(data / "wav.scp", {utt: "/nowhere/x.wav" if utt == "s0-1" else data / f"{utt}.wav" for utt in DataDir(data).utt2spk})
    command = f"steps/pack_wavs.py --sample-frequency 16000 --max-fail N {data} {data}_packed"
    message = f"{data}: its recordings were not packed, see above; mend them, or leave up to N out with `{command}` and take that directory"
    assert failure(train_here, *SHORT, "--online-feats", sounds / "fbank.conf", data, tmp_path / "x") == message
    assert "s0-1" in capfd.readouterr().err
    assert subprocess.run([sys.executable, *command.replace(" N ", " 1 ").split()], cwd=ROOT, capture_output=True).returncode == 0
    train_here(*SHORT, "--online-feats", sounds / "fbank.conf", f"{data}_packed", tmp_path / "x")
    assert not (data / "packed/16000/wav.scp").exists()


def test_what_only_the_network_knows_is_told_before_recordings_are_packed(sounds, tmp_path, capsys):
    data = shutil.copytree(sounds, tmp_path / "train", ignore=shutil.ignore_patterns("packed"))
    words = [*SHORT, "--online-feats", sounds / "fbank.conf"]
    assert failure(train_here, *words, "--freeze", "frames,head", data, tmp_path / "x").startswith("--freeze: the network has no part 'head'; it has frames, ")
    message = failure(train_here, *words, "--model-args", "width=8", data, tmp_path / "x")
    assert message.startswith("--model-args: xvector has no argument 'width'; it has frame_dim=512, ")
    assert not (data / "packed").exists()
    assert [path.name for path in (tmp_path / "x").rglob("*")] == [".done", "train.lock"]
    assert capsys.readouterr().out == ""


def test_a_network_on_waveforms_trains_on_recordings(sounds, tmp_path):
    narrow = "stride=10 sinc_dim=8 conv_dim=8 frame_dim=8 stats_dim=12 embed_dim=8"
    words = ["--model", "sinctdnn", "--model-args", narrow, "--min-frames", 40, "--max-frames", 50, "--batch-size", 4, "--epochs", 1, "--num-threads", 1]
    train_here(*words, sounds, tmp_path / "x")
    assert model_json(tmp_path / "x")["features"] == {"input": "wave", "sample_frequency": 16000.0}
    message = failure(train_here, *words, "--online-feats", sounds / "fbank.conf", sounds, tmp_path / "y")
    assert message == "--online-feats: sinctdnn takes waveforms, not features; leave it out"


# ---- how long, how fast


ONE_STEP = [*TINY, "--steps-per-epoch", 1]


@pytest.mark.parametrize(
    ("words", "lrs"),
    [
        (["--schedule", "constant", "--warmup-steps", 2], [0.5, 1, 1, 1, 1, 1]),
        (["--schedule", "cosine", "--warmup-steps", 0, "--final-lr-share", 0], [0.5 + 0.5 * math.cos(math.pi * n / 5) for n in range(6)]),
        (["--schedule", "exponential", "--warmup-steps", 0, "--final-lr-share", 1 / 32], [0.5**n for n in range(6)]),
        (["--schedule", "one-cycle", "--pct-start", 0.5, "--div-factor", 4, "--final-div-factor", 10], [0.25, 0.625, 1, None, None, 0.025]),
        (["--schedule", "cyclic", "--warmup-steps", 0, "--cycle-epochs", 4, "--cycle-decay", 0.5, "--final-lr-share", 0.2], [0.2, 0.6, 1, 0.6, 0.2, 0.4]),
    ],
    ids=lambda value: value[1] if isinstance(value[0], str) else None,
)
def test_the_learning_rate_follows_the_schedule_step_by_step(words, lrs, data, tmp_path):
    train_here(*ONE_STEP, "--epochs", 6, "--lr", 0.01, *words, data, tmp_path / "x")
    for row, lr in zip(rows_in(tmp_path / "x"), lrs, strict=True):
        assert lr is None or float(row["lr"]) == pytest.approx(0.01 * lr, rel=1e-4, abs=1e-9)


def test_margins_grow_when_and_as_asked(data, tmp_path):
    words = [*ONE_STEP, "--epochs", 5, "--margin-start-epoch", 1, "--margin-warmup-epochs", 2]
    train_here(*words, data, tmp_path / "line")
    assert [float(row["margin_share"]) for row in rows_in(tmp_path / "line")] == [0, 0, 0.5, 1, 1]
    train_here(*words, "--margin-shape", "exponential", data, tmp_path / "curve")
    assert [float(row["margin_share"]) for row in rows_in(tmp_path / "curve")] == pytest.approx([0, 0, 1 - 1e-3**0.5, 1, 1], abs=1e-5)


@pytest.mark.parametrize(
    "words, told",
    [
        ([], "--margin-warmup-epochs 5 of 2 epochs"),
        (["--margin-start-epoch", 1.5, "--margin-warmup-epochs", 1], "--margin-start-epoch 1.5 --margin-warmup-epochs 1 of 2 epochs"),
        (["--margin-warmup-epochs", 2], None),
        (["--loss", "softmax"], None),
        (["--loss-args", "margin=0"], None),
    ],
)
def test_a_margin_that_will_not_be_reached_is_told(words, told, data, tmp_path, capsys):
    train_here(*ONE_STEP, "--warmup-steps", 0, "--epochs", 2, *words, data, tmp_path / "x")
    said = [line for line in capsys.readouterr().out.splitlines() if "will not" in line]
    assert said == ([f"train: {told}: the margin will not be reached; lower it"] if told else [])


@pytest.mark.parametrize("chunks", [1, 2])
def test_parts_of_a_batch_give_the_gradients_of_the_whole(chunks):
    """But for batch normalisation, which sees each part by itself; here it is in evaluation mode."""
    from pytorch.losses.base import Stage
    from pytorch.models import build_model
    from pytorch.network import Network
    from pytorch.training.parallel import Processes
    from pytorch.training.step import Update

    torch.manual_seed(0)
    network = Network(build_model("xvector", 6, {"frame_dim": 8, "stats_dim": 8, "embed_dim": 8}), build_loss("aam", 8, 5, {})).double().eval()
    x, targets = torch.randn(8 * chunks, 20, 6).double(), torch.arange(8) % 5
    expected = None
    for parts in (1, 3, 4, 100):
        options = argparse.Namespace(accumulate=parts, precision="fp32", clip_grad=0)
        update = Update(network, lambda x: (x, None), torch.optim.SGD(network.parameters()), options, torch.device("cpu"), Processes())
        found, figure = update.backward(x, targets, 8, Stage())
        gradients = [weight.grad.clone() for weight in network.parameters()]
        expected = expected or (found.item(), figure.item(), gradients)
        assert (found.item(), figure.item()) == pytest.approx(expected[:2], rel=1e-6)
        torch.testing.assert_close(gradients, expected[2], rtol=1e-9, atol=1e-12)


def test_the_weights_kept_are_the_running_average_and_training_is_the_same(data, tmp_path):
    words = [*ONE_STEP, "--epochs", 4, "--schedule", "constant", "--warmup-steps", 0, "--lr", 0.01]
    train_here(*words, data, tmp_path / "raw")
    train_here(*words, "--ema", 0.3, data, tmp_path / "ema")
    assert rows_in(tmp_path / "raw", SPEED) == rows_in(tmp_path / "ema", SPEED)
    average = tensors_in(tmp_path / "ema", 1)
    for epoch in (2, 3, 4):
        decay = min(0.3, epoch / (9 + epoch))
        raw = tensors_in(tmp_path / "raw", epoch)
        for name, tensor in tensors_in(tmp_path / "ema", epoch).items():
            if not tensor.is_floating_point():
                assert torch.equal(tensor, raw[name])
            else:
                average[name] = decay * average[name] + (1 - decay) * raw[name]
                torch.testing.assert_close(tensor, average[name], rtol=1e-5, atol=1e-6)


def test_the_last_epochs_are_averaged_and_extracted_with(data, tmp_path, program):
    train_here(*SHORT, "--average-last", 2, "--keep-last", 2, data, tmp_path / "x")
    assert [path.name for path in sorted((tmp_path / "x").glob("epoch-*"))] == ["epoch-002.safetensors", "epoch-003.safetensors"]
    second, third = (tensors_in(tmp_path / "x", epoch) for epoch in (2, 3))
    for name, tensor in tensors_in(tmp_path / "x", "average").items():
        mean = (second[name].double() + third[name].double()) / 2
        assert torch.equal(tensor, mean.to(tensor.dtype) if tensor.is_floating_point() else third[name])
    done = program("steps/extract.py", "--epoch", "average", tmp_path / "x", data, tmp_path / "vectors")
    assert done.returncode == 0, done.stderr


def test_frozen_parts_stand_still_with_their_statistics_also_after_validation(data, valid, plain, tmp_path):
    train_here(*SHORT, "--init", plain, "--freeze", "frames,segment6", "--valid", valid, "--validate-every", 2, "--loss", "softmax", data, tmp_path / "x")
    before = tensors_in(plain, 3)
    for epoch in (1, 2, 3):
        after = tensors_in(tmp_path / "x", epoch)
        moved = {name for name in before if name.startswith("model.") and not torch.equal(before[name], after[name])}
        assert not {name for name in moved if name.startswith(("model.frames.", "model.segment6."))}
        assert moved


def test_parts_that_are_not_there_cannot_be_frozen(data, tmp_path):
    message = failure(train_here, *SHORT, "--freeze", "frames,head", data, tmp_path / "x")
    assert message.startswith("--freeze: the network has no part 'head'; it has frames, ")
    assert not (tmp_path / "x" / "model.json").exists()


# ---- beginning with another experiment's weights


def test_weights_of_another_experiment_are_taken_over_with_the_head_of_the_same_classes(data, plain, tmp_path):
    almost_none = ["--lr", 1e-30, "--weight-decay", 0, "--warmup-steps", 0]
    large_margin = ["--loss-args", "margin=0.5", "--margin-warmup-epochs", 0, "--min-frames", 40, "--max-frames", 40]
    said = said_by(*SHORT, *almost_none, *large_margin, "--init", plain, data, tmp_path / "lm")
    assert said[0] == f"train: begins with epoch 3 of {plain}, with its loss"
    assert rows_in(tmp_path / "lm")[0]["margin_share"] == "1"
    before, after = tensors_in(plain, 3), tensors_in(tmp_path / "lm", 1)
    assert all(torch.equal(before[name], after[name]) for name in before if "running" not in name and "num_batches" not in name)

    said = said_by(*SHORT, *almost_none, "--init", plain, "--init-epoch", 1, "--targets", "utt2label", data, tmp_path / "labels")
    assert said[0] == f"train: begins with epoch 1 of {plain}, the loss begins anew"
    before, after = tensors_in(plain, 1), tensors_in(tmp_path / "labels", 1)
    assert torch.equal(before["model.segment6.weight"], after["model.segment6.weight"])
    assert after["loss.weight"].shape == (3, 8)


def test_arguments_of_a_network_may_be_spelled_otherwise_than_in_the_other_experiment(data, plain, tmp_path):
    same = "embed_dim=8 stats_dim=08 frame_dim=8 segment7=true norm_eps=1e-3 std_eps=0"
    assert said_by(*SHORT, "--model-args", same, "--init", plain, data, tmp_path / "x")[0] == f"train: begins with epoch 3 of {plain}, with its loss"


def test_weights_of_another_network_or_other_features_are_refused(data, plain, tmp_path):
    exp = tmp_path / "x"
    words = [word if word != TINY[1] else "frame_dim=9 stats_dim=8 embed_dim=8" for word in SHORT]
    message = failure(train_here, *words, "--init", plain, data, exp)
    assert message == f"--init {plain}: its --model-args have frame_dim=8, here it is frame_dim=9; both must be alike: pass --model-args frame_dim=8"
    message = failure(train_here, *SHORT, "--cmn", "none", "--init", plain, data, exp)
    assert message == f"--init {plain}: its cmn is mean, here it is none; both must be alike: pass --cmn mean"
    message = failure(train_here, *SHORT, "--model-args", f"{TINY[1]} segment7=false", "--init", plain, data, exp)
    assert message == f"--init {plain}: its --model-args have segment7=true, here it is segment7=false; both must be alike: pass --model-args segment7=true"
    message = f"--init {exp}: is what is trained here; train into another folder"
    assert failure(train_here, *SHORT, "--init", exp, data, exp) == message
    assert failure(train_here, *SHORT, "--init", tmp_path, data, exp) == f"{tmp_path}: no experiment (model.json is missing); train one with steps/train.py"
    message = failure(train_here, *SHORT, "--init", plain, "--init-epoch", 7, data, exp)
    assert message == f"{plain}: no weights of epoch 7; there are 1, 2, 3"
    assert not (exp / "model.json").exists()


# ---- validation


def known(monkeypatch, values, column="valid_eer"):
    """Validations find these figures, epoch by epoch."""
    from pytorch.training.validation import Validation

    values = list(values)

    def measure(self, network, front, device):
        return dict.fromkeys(self.columns, 0.5) | {column: values.pop(0)}

    monkeypatch.setattr(Validation, "measure", measure)
    return values


def test_a_plateau_lowers_the_learning_rate_when_validations_bring_nothing(data, valid, tmp_path, monkeypatch):
    known(monkeypatch, [0.5, 0.4, 0.4, 0.45, 0.3, 0.3, 0.3, 0.3])
    words = [*ONE_STEP, "--epochs", 8, "--lr", 0.01, "--warmup-steps", 0, "--schedule", "plateau", "--patience", 2, "--lr-factor", 0.1]
    train_here(*words, "--valid", valid, data, tmp_path / "x")
    assert [float(row["lr"]) for row in rows_in(tmp_path / "x")] == pytest.approx([1e-2] * 4 + [1e-3] * 3 + [1e-4])


@pytest.mark.parametrize("when", ["best", "final", "train.json"])
def test_it_ends_early_and_alike_when_killed_before_it_could_say_so(when, data, valid, tmp_path, monkeypatch):
    exp = tmp_path / "x"
    words = [*ONE_STEP, "--epochs", 9, "--early-stop", 2, "--valid", valid, "--average-last", 2, data, exp]
    known(monkeypatch, [0.5, 0.3, 0.4, 0.3])
    replace = os.replace

    def killed(source, target):
        if target.name == when and (exp / "epoch-004.safetensors").exists():
            raise Terminated
        replace(source, target)

    with monkeypatch.context() as context:
        context.setattr(os, "replace", killed)
        with pytest.raises(Terminated):
            train_here(*words)
    said = said_by(*words)
    assert "2 validations without a better eer: the training ends after epoch 4" in said
    assert [(exp / name).read_text() for name in ("best", "final")] == ["4\n", "4\n"]
    assert len(rows_in(exp)) == 4
    assert (exp / "average.safetensors").exists()
    assert said_by(*words) == [f"train: {exp} is trained already"]


def test_validation_is_every_so_many_epochs_and_at_the_last(data, valid, tmp_path):
    train_here(*ONE_STEP, "--epochs", 5, "--valid", valid, "--validate-every", 2, data, tmp_path / "x")
    assert [bool(row["valid_eer"]) for row in rows_in(tmp_path / "x")] == [False, True, False, True, True]
    assert (tmp_path / "x/best").read_text() in ("2\n", "4\n", "5\n")


@pytest.mark.parametrize(("select", "best"), [("min_dcf", "1\n"), ("eer", "3\n")])
def test_the_best_epoch_is_chosen_by_the_measure_asked_for(select, best, data, valid, tmp_path, monkeypatch):
    known(monkeypatch, [0.1, 0.2, 0.3] if select == "min_dcf" else [0.3, 0.2, 0.1], f"valid_{select}")
    train_here(*SHORT, "--valid", valid, "--select", select, data, tmp_path / "x")
    assert (tmp_path / "x/best").read_text() == best


@pytest.mark.parametrize(
    ("targets", "loss", "columns", "default"),
    [
        ("utt2label", "softmax", ["eer", "min_dcf", "loss", "accuracy", "macro_f1", "uar"], "uar"),
        ("utt2age", "regression", ["eer", "min_dcf", "loss", "mae", "spearman"], "mae"),
        ("utt2label,utt2age", "joint", ["eer", "min_dcf", "loss", "accuracy", "macro_f1", "uar", "mae", "spearman"], "uar"),
    ],
)
def test_validation_measures_what_is_learnt(targets, loss, columns, default, data, valid, tmp_path):
    said = said_by(*SHORT, "--targets", targets, "--loss", loss, "--valid", valid, data, tmp_path / "x")
    assert [name.removeprefix("valid_") for name in rows_in(tmp_path / "x")[0] if name.startswith("valid_")] == columns
    assert f", valid {default.upper()} " in said[-1]
    message = failure(train_here, *SHORT, "--targets", targets, "--loss", loss, "--valid", valid, "--select", "bleu", data, tmp_path / "y")
    assert "bleu" in message


# ---- the optimiser and the machine


def test_sgd_without_momentum_trains_and_resumes(data, tmp_path, monkeypatch):
    words = [*SHORT, "--optimizer", "sgd", "--momentum", 0, "--lr", 0.1]
    train_here(*words, data, tmp_path / "whole")
    stop_at_rename(monkeypatch, "epoch-002.safetensors", *words, data, tmp_path / "x")
    train_here(*words, data, tmp_path / "x")
    assert weights_in(tmp_path / "x", 3) == weights_in(tmp_path / "whole", 3)


def stop_at_rename(monkeypatch, name, *words):
    """Train until the file of this name is to appear."""
    replace = os.replace

    def stop(source, target):
        if target.name == name:
            raise Terminated
        replace(source, target)

    with monkeypatch.context() as context:
        context.setattr(os, "replace", stop)
        with pytest.raises(Terminated):
            train_here(*words)


def test_the_range_test_suggests_and_trains_nothing(data, plain):
    def files():
        return {path: path.stat().st_mtime_ns for path in plain.rglob("*") if path.is_file() and path.suffix != ".lock"}

    before = files()
    said = said_by(*SHORT, "--optimizer", "sgd", "--range-test", "true", data, plain)
    assert said[-1].startswith("train: the range test suggests --lr ")
    curve = plain / "range_test.tsv"
    lrs = [float(line.split("\t")[0]) for line in curve.read_text().splitlines()[1:]]
    curve.unlink()
    assert lrs[0] == 1e-6
    assert all(one < other for one, other in zip(lrs, lrs[1:], strict=False))
    assert files() == before


def test_channels_last_changes_the_layout_only(data, tmp_path):
    words = ["--model", "resnet", "--model-args", "depth=18 width=16 embed_dim=8", "--min-frames", 20, "--max-frames", 20, "--batch-size", 4]
    words += ["--num-threads", 1, "--epochs", 1, "--steps-per-epoch", 2, "--precision", "fp32", "--optimizer", "sgd"]
    for last in ("false", "true"):
        train_here(*words, "--channels-last", last, data, tmp_path / last)
    one, other = (tensors_in(tmp_path / last, 1) for last in ("false", "true"))
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
def test_a_compiled_network_learns_the_same(data, tmp_path):
    words = [*TINY, "--epochs", 1, "--steps-per-epoch", 3, "--precision", "fp32", "--ema", 0.5]
    for compiled in ("false", "true"):
        train_here(*words, "--compile", compiled, data, tmp_path / compiled)
    for name, tensor in tensors_in(tmp_path / "false", 1).items():
        torch.testing.assert_close(tensors_in(tmp_path / "true", 1)[name], tensor, rtol=1e-3, atol=1e-4)


def test_a_compiler_that_is_not_there_is_asked_for(data, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    message = failure(train_here, *SHORT, "--compile", "true", data, tmp_path / "x")
    assert message == "--compile true: a C++ compiler is needed and there is none (g++, clang++); install one, or leave the option out"


# ---- more epochs, other options


def test_more_epochs_of_a_constant_schedule_are_one_long_training(data, tmp_path, monkeypatch):
    words = [*TINY, "--steps-per-epoch", 3, "--schedule", "constant", "--ema", 0.9, "--accumulate", 2, "--optimizer", "adamw"]
    train_here(*words, "--epochs", 4, data, tmp_path / "long")
    train_here(*words, "--epochs", 2, data, tmp_path / "x")
    with monkeypatch.context() as patch:
        stop_at_rename(patch, "epoch-003.safetensors", *words, "--epochs", 4, data, tmp_path / "x")
        assert not (tmp_path / "x" / "final").exists()  # under way again, for who follows it
    train_here(*words, "--epochs", 4, data, tmp_path / "x")
    for epoch in (1, 2, 3, 4):
        assert weights_in(tmp_path / "x", epoch) == weights_in(tmp_path / "long", epoch)
    assert rows_in(tmp_path / "x", SPEED) == rows_in(tmp_path / "long", SPEED)
    message = failure(train_here, *words, "--epochs", 3, data, tmp_path / "x")
    assert message == f"{tmp_path}/x: --epochs was 4, now 3; a training can only be made longer. Pass --overwrite true to begin anew"


@pytest.mark.parametrize(
    "words", [["--schedule", "plateau", "--patience", 2, "--lr-factor", 0.1], ["--schedule", "constant", "--early-stop", 2]], ids=["plateau", "early stop"]
)
def test_a_training_made_longer_goes_on_as_one_that_was_long_from_the_start(words, data, valid, tmp_path, monkeypatch):
    """The validation of the epoch that was the last of the shorter one was not of its turn."""
    eers = {2: 0.5, 3: 0.1, 4: 0.45, 5: 0.1, 6: 0.4, 8: 0.4, 10: 0.4, 12: 0.3}
    words = [*ONE_STEP, "--lr", 0.01, "--warmup-steps", 0, *words, "--validate-every", 2, "--valid", valid]
    of_turn = [eers[epoch] for epoch in range(2, 13, 2)]
    known(monkeypatch, of_turn)
    train_here(*words, "--epochs", 12, data, tmp_path / "long")
    known(monkeypatch, [eers[epoch] for epoch in (2, 3, 4, 5, 6, 8, 10, 12)])
    for epochs in (3, 5, 12):
        train_here(*words, "--epochs", epochs, data, tmp_path / "x")
    long, lengthened = (rows_in(tmp_path / name, SPEED) for name in ("long", "x"))
    assert len(long) == (10 if "constant" in words else 12)
    assert [{**row, "valid_eer": "", "valid_min_dcf": ""} if row["epoch"] in "35" else row for row in lengthened] == long
    assert len({row["lr"] for row in long}) == (1 if "constant" in words else 2)
    for row in long:
        assert weights_in(tmp_path / "x", int(row["epoch"])) == weights_in(tmp_path / "long", int(row["epoch"]))
    assert [(tmp_path / name / "best").read_text() for name in ("long", "x")] == ["10\n" if "constant" in words else "12\n", "5\n"]
    assert " --epochs 12 " in (tmp_path / "x/cmd").read_text()


def test_an_average_of_fewer_epochs_is_gone_when_there_will_be_more(data, tmp_path, monkeypatch):
    words = [*SHORT, "--schedule", "constant", "--average-last", 2]
    train_here(*words, data, tmp_path / "x")
    with monkeypatch.context() as patch:
        stop_at_rename(patch, "epoch-004.safetensors", *words, "--epochs", 5, data, tmp_path / "x")
    assert not (tmp_path / "x/average.safetensors").exists()


def test_without_its_state_a_training_is_not_made_longer(data, plain, tmp_path):
    exp = shutil.copytree(plain, tmp_path / "x")
    shutil.rmtree(exp / "state")
    message = f"{exp}/state/state.safetensors: no such file; it is what a longer training would go on from; put it back, or pass --overwrite true to begin anew"
    assert failure(train_here, *SHORT, "--epochs", 4, data, exp) == message
    assert rows_in(exp) == rows_in(plain)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--voiced", "true", "--online-feats", "CONF"], "--voiced true: only of stored features; recordings are read with all their frames"),
        (["--num-gpus", 2, "--device", "cuda:0"], "--device cuda:0: with --num-gpus 2 each process takes a card of its own; pass --device cuda"),
        (["--ema", 1], "--ema 1: would never learn anything; less than 1 is needed"),
        (["--momentum", 1], "--momentum 1: would never learn anything; less than 1 is needed"),
        (["--loss", "softmax", "--loss-args", "focus=2 smoothing=0.1"], "--loss-args: focus and smoothing exclude each other: a smoothed target has no one "),
    ],
)
def test_options_that_do_not_go_together_are_refused(words, message, sounds, data, tmp_path):
    words = [sounds / "fbank.conf" if word == "CONF" else word for word in words]
    assert failure(train_here, *SHORT, *words, data, tmp_path / "x").startswith(message)
    assert not (tmp_path / "x" / "model.json").exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "out of memory on cpu: lower --batch-size (now 8) or --max-frames (now 30), or the widths in --model-args; or raise --accumulate"),
        (RuntimeError("CUDA out of memory. Tried"), "out of memory on cpu: lower --batch-size (now 8) or --max-frames (now 30), or the widths"),
        (RuntimeError("DataLoader worker (pid 7) is killed\nby"), "a process that read data died (DataLoader worker (pid 7) is killed): "),
    ],
)
def test_memory_that_runs_out_is_told_with_what_to_lower(error, message, data, tmp_path, monkeypatch):
    def fail(*args):
        raise error

    monkeypatch.setattr("pytorch.training.step.Update.forward", fail)
    assert failure(train_here, *SHORT, data, tmp_path / "x").startswith(message)
    assert not (tmp_path / "x" / "model.json").exists()


def test_other_errors_of_torch_are_not_taken_for_memory(data, tmp_path, monkeypatch):
    def fail(*args):
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr("pytorch.training.step.Update.forward", fail)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        train_here(*SHORT, data, tmp_path / "x")


def test_weights_that_are_not_finite_are_not_kept():
    from pytorch.training.loop import Progress, check_sound

    network = torch.nn.Linear(2, 2)
    check_sound(network, Progress(epoch=3, step=4), 8)
    with torch.no_grad():
        network.bias[1] = math.inf
    message = "epoch 3: the values of bias are not finite any more: lower --lr, or look at the features; the epochs before are kept"
    assert failure(check_sound, network, Progress(epoch=3, step=4), 8) == message


# ---- what is lost of a finished training


@pytest.mark.parametrize("lost", [["best"], ["final"], ["best", "final"]])
def test_best_and_final_of_a_finished_training_are_written_anew_where_they_are_lost(lost, data, plain, tmp_path):
    exp = shutil.copytree(plain, tmp_path / "x")
    for name in lost:
        (exp / name).unlink()
    times = {path: path.stat().st_mtime_ns for path in exp.glob("epoch-*")}
    said = said_by(*SHORT, data, exp)
    assert sorted(said[:-1]) == [f"train: {exp}/{name} was missing, it names epoch 3 again" for name in lost]
    assert said[-1] == f"train: {exp} is trained already"
    assert [(exp / name).read_text() for name in ("best", "final")] == ["3\n", "3\n"]
    assert {path: path.stat().st_mtime_ns for path in exp.glob("epoch-*")} == times


def test_the_best_of_many_epochs_is_found_again_and_more_of_them_are_trained(data, valid, tmp_path, monkeypatch):
    known(monkeypatch, [0.3, 0.2, 0.4, 0.4, 0.1])
    words = [*ONE_STEP, "--schedule", "constant", "--valid", valid]
    train_here(*words, "--epochs", 4, data, tmp_path / "x")
    (tmp_path / "x/best").unlink()
    train_here(*words, "--epochs", 4, data, tmp_path / "x")
    assert (tmp_path / "x/best").read_text() == "2\n"
    (tmp_path / "x/final").unlink()
    first = weights_in(tmp_path / "x", 1)
    train_here(*words, "--epochs", 5, data, tmp_path / "x")
    assert [(tmp_path / "x" / name).read_text() for name in ("best", "final")] == ["5\n", "5\n"]
    assert weights_in(tmp_path / "x", 1) == first


@pytest.mark.parametrize("lost", ["model.json", "epoch-003.safetensors"])
def test_what_only_a_new_training_brings_back_is_told_and_nothing_else_is_lost(lost, data, plain, tmp_path):
    exp = shutil.copytree(plain, tmp_path / "x")
    (exp / lost).unlink()
    message = f"{exp}/{lost}: is missing, though the training was finished; put it back, or pass --overwrite true to train anew"
    assert failure(train_here, *SHORT, data, exp) == message
    assert failure(train_here, *SHORT, "--epochs", 4, data, exp) == message
    assert rows_in(exp) == rows_in(plain)
    train_here(*SHORT, "--overwrite", "true", data, exp)
    assert (exp / lost).exists()


def test_final_is_not_guessed_without_the_table_of_epochs(data, plain, tmp_path):
    exp = shutil.copytree(plain, tmp_path / "x")
    (exp / "final").unlink()
    (exp / "train.tsv").unlink()
    remedy = "`final` cannot be written anew without it; put it back, or pass --overwrite true to train anew"
    assert failure(train_here, *SHORT, data, exp) == f"{exp}/train.tsv: no such file; {remedy}"


def test_overwrite_goes_on_with_what_was_interrupted_and_begins_anew_otherwise(data, plain, tmp_path, monkeypatch):
    exp = tmp_path / "x"
    stop_at_rename(monkeypatch, "epoch-003.safetensors", *SHORT, data, exp)
    assert "going on after epoch 2, step 0" in said_by(*SHORT, "--overwrite", "true", data, exp)
    assert weights_in(exp, 3) == weights_in(plain, 3)
    for words in ([], ["--seed", 2]):
        assert not [line for line in said_by(*SHORT, *words, "--overwrite", "true", data, exp) if line.startswith("going on")]


def test_fewer_epochs_begin_anew_where_that_is_asked_for_also_in_the_middle(data, tmp_path, monkeypatch):
    words = [*SHORT, "--epochs", 6]
    stop_at_rename(monkeypatch, "epoch-005.safetensors", *words, data, tmp_path / "x")
    words[-1] = 2
    assert "a training can only be made longer" in failure(train_here, *words, data, tmp_path / "x")
    train_here(*words, "--overwrite", "true", data, tmp_path / "x")
    assert len(rows_in(tmp_path / "x")) == 2
    assert (tmp_path / "x/final").read_text() == "2\n"


def test_longer_schedules_are_said(data, tmp_path):
    train_here(*SHORT, data, tmp_path / "x")
    said = said_by(*SHORT, "--epochs", 4, data, tmp_path / "x")
    assert "train: 4 epochs in place of 3: from here on the cosine schedule is that of 4 epochs" in said


# ---- stopped at any place


STRESSED = [*TINY, "--epochs", 4, "--steps-per-epoch", 2, "--ema", 0.9, "--accumulate", 2, "--schedule", "plateau", "--patience", 1, "--keep-last", 2]


def test_killed_at_the_writing_of_any_file_it_ends_with_the_same(data, valid, tmp_path, monkeypatch):
    """Before a file appears, and after it: training, validation and the end, each time from where the last one was killed."""
    words = [*STRESSED, "--average-last", 2, "--valid", valid, "--seed", 3]
    train_here(*words, data, tmp_path / "whole")
    replace, kills = os.replace, 0

    for start in range(60):
        calls = iter(range(1000))

        def killed(source, target, calls=calls, start=start):
            number = next(calls)
            if number == start % 7 and start % 2:
                raise Terminated
            replace(source, target)
            if number == start % 7:
                raise Terminated

        with monkeypatch.context() as context:
            context.setattr(os, "replace", killed)
            try:
                train_here(*words, data, tmp_path / "x")
                break
            except Terminated:
                kills += 1
    train_here(*words, data, tmp_path / "x")
    assert kills > 10
    assert_alike(tmp_path / "x", tmp_path / "whole")


def assert_alike(exp, whole):
    """The same weights, figures and state, bit for bit, but for the time it took; and each figure once in TensorBoard."""
    assert sorted(path.name for path in exp.glob("*")) == sorted(path.name for path in whole.glob("*"))
    for path in exp.glob("*.safetensors"):
        assert path.read_bytes() == (whole / path.name).read_bytes(), path.name
    assert rows_in(exp, SPEED) == rows_in(whole, SPEED)
    assert [(exp / name).read_text() for name in ("best", "final")] == [(whole / name).read_text() for name in ("best", "final")]
    one, other = (safetensors.torch.load_file(folder / "state/state.safetensors") for folder in (exp, whole))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(exp / "tensorboard"))
    events.Reload()
    for name in ("train/loss", "train/lr"):
        assert [event.step for event in events.Scalars(name)] == [int(row["epoch"]) for row in rows_in(exp)]


def test_killed_within_an_epoch_it_goes_on_from_the_state_saved_there(data, tmp_path, monkeypatch):
    words = [*TINY, "--epochs", 2, "--steps-per-epoch", 6, "--ema", 0.5]
    train_here(*words, data, tmp_path / "whole")

    import pytorch.training.loop as loop

    class Clock:
        """Hours between one step and the next."""

        now = 0.0

        def monotonic(self):
            Clock.now += 3600.0
            return Clock.now

    stop = iter(range(4))

    def killed(*args, save=loop.save_state, **more):
        if next(stop, None) is None:
            raise Terminated
        save(*args, **more)

    with monkeypatch.context() as context:
        context.setattr(loop, "time", Clock())
        context.setattr(loop, "save_state", killed)
        with pytest.raises(Terminated):
            train_here(*words, data, tmp_path / "x")
    said = said_by(*words, "--save-minutes", 0, data, tmp_path / "x")
    assert "going on after epoch 0, step 4" in said
    assert_alike(tmp_path / "x", tmp_path / "whole")


# ---- batches that are not finite


@pytest.mark.parametrize("words", [["--optimizer", "sgd", "--ema", 0.9], ["--optimizer", "adamw", "--accumulate", 2]], ids=["sgd", "parts"])
def test_a_bad_batch_leaves_no_trace_and_is_kept_and_told(words, data, tmp_path, monkeypatch, capsys):
    """The first of all, and another: weights, statistics, running average and optimiser are what they would be had the others been all."""
    from pytorch.training.batches import Batches
    from pytorch.training.step import Update

    options = [*TINY, "--epochs", 2, "--steps-per-epoch", 3, "--schedule", "constant", "--warmup-steps", 0, *words]
    bad = [(1, 0), (2, 1)]
    read, call = Batches.read, Update.__call__

    def spoilt(self, place, memory=None):
        x, *rest = read(self, place, memory)
        if place in bad and spoilt.on:
            x[1, 3, 5] = np.nan
        return x, *rest

    def skipping(self, x, targets, total, lr, stage, asked=(0, 0)):
        if divmod(stage.step, 3) in [(epoch - 1, step) for epoch, step in bad]:
            return torch.zeros(1, dtype=torch.float64)
        return call(self, x, targets, total, lr, stage, asked)

    with monkeypatch.context() as context:
        context.setattr(Batches, "read", spoilt)
        spoilt.on = False
        rehearse = __import__("pytorch.training.rehearsal", fromlist=["rehearse"])
        begin = rehearse.rehearse

        def first(update, batches):
            start = begin(update, batches)
            spoilt.on = True
            return start

        context.setattr(rehearse, "rehearse", first)
        train_here(*options, data, tmp_path / "spoilt")
    said = capsys.readouterr()
    told = [line for line in said.err.splitlines() if line.startswith("epoch ")]
    with monkeypatch.context() as context:
        context.setattr(Update, "__call__", skipping)
        train_here(*options, data, tmp_path / "without")
    for epoch in (1, 2):
        assert weights_in(tmp_path / "spoilt", epoch) == weights_in(tmp_path / "without", epoch)
    assert [row["skipped"] for row in rows_in(tmp_path / "spoilt")] == ["1", "1"]
    assert [row["loss"] for row in rows_in(tmp_path / "spoilt")] == [row["loss"] for row in rows_in(tmp_path / "without")]
    kept = sorted((tmp_path / "spoilt/bad").iterdir())
    assert [path.name for path in kept] == ["epoch-001-step-00001.rank-0.safetensors", "epoch-002-step-00002.rank-0.safetensors"]
    assert told[0].startswith("epoch 1, step 1: loss or gradient not finite, step skipped; it held t")
    assert told[0].endswith(f"; kept in {kept[0]}")
    assert len(told) == 2
    last = said.out.splitlines()[-1]
    assert " done, " in last and last.endswith(f"; 2 of 6 steps were skipped, see {tmp_path}/spoilt/bad; lower --lr if they were many")
    assert "skipped" not in capsys.readouterr().out


def test_parts_of_a_batch_that_would_be_one_crop_are_refused(data, tmp_path):
    message = failure(train_here, *SHORT, "--accumulate", 5, data, tmp_path / "x")
    assert message == "--accumulate 5: some of the parts would be one crop alone, of 8 for each process; 2 or more are needed in each"
    message = failure(train_here, *SHORT, "--sampler", "speaker", "--spk-per-batch", 1, data, tmp_path / "x")
    assert message == "--accumulate 1: some of the parts would be one crop alone, of 1 for each process; 2 or more are needed in each"
    assert not (tmp_path / "x/model.json").exists()


# ---- what cannot change the result


def test_options_that_cannot_change_the_result_may_change_in_the_middle(data, tmp_path, monkeypatch):
    words = [*TINY, "--epochs", 3, "--steps-per-epoch", 3]
    train_here(*words, data, tmp_path / "whole")
    stop_at_rename(monkeypatch, "epoch-002.safetensors", *words, data, tmp_path / "x")
    neutral = ["--num-workers", 2, "--device", "cpu", "--save-minutes", 0.01, "--keep-last", 1, "--max-bad-steps", 3]
    train_here(*words, *neutral, data, tmp_path / "x")
    assert weights_in(tmp_path / "x", 3) == weights_in(tmp_path / "whole", 3)
    for option, value, before in (("--ema", 0.5, 0.0), ("--accumulate", 2, 1), ("--sampler", "class", "utterance"), ("--early-stop", 0, None)):
        if before is not None:
            message = failure(train_here, *words, option, value, data, tmp_path / "x")
            assert message == f"{tmp_path}/x: train was done otherwise: {option} was {before}, now {value}. Pass --overwrite true to do it anew"


def test_a_full_disk_loses_nothing_that_was_saved(data, tmp_path, monkeypatch):
    words = [*TINY, "--epochs", 2, "--steps-per-epoch", 2]
    train_here(*words, data, tmp_path / "whole")
    sync, syncs = os.fsync, 0
    while not (tmp_path / "x/final").exists():
        syncs += 1
        left = iter(range(syncs % 6 + 6))

        def full(descriptor, left=left):
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")
            sync(descriptor)

        with monkeypatch.context() as context, contextlib.suppress(OSError):
            context.setattr(os, "fsync", full)
            train_here(*words, data, tmp_path / "x")
    train_here(*words, data, tmp_path / "x")
    assert syncs > 2
    assert_alike(tmp_path / "x", tmp_path / "whole")
    assert not list((tmp_path / "x").rglob(".*.tmp"))


def test_memory_and_open_files_stay_what_they_were(data, valid, tmp_path, monkeypatch):
    from pytorch.training.log import Log

    seen, epoch = [], Log.epoch

    def watched(self, rows, left):
        epoch(self, rows, left)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        seen.append((pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd"))))

    monkeypatch.setattr(Log, "epoch", watched)
    train_here(*ONE_STEP, "--epochs", 30, "--ema", 0.9, "--valid", valid, data, tmp_path / "x")
    assert seen[-1][0] - seen[1][0] < 4 << 20
    assert len({files for _, files in seen}) == 1


def killed_as_its_readers_begin(words):
    """In a process of its own: the training is killed when it has forked its reader, which is slow to begin."""
    from pytorch.training import batches

    begin = batches._begin_reader

    def late(parent, worker):
        os.kill(parent, signal.SIGKILL)
        while os.getppid() == parent:
            time.sleep(0.01)
        begin(parent, worker)

    batches._begin_reader = late
    train_here(*words)


def test_readers_of_a_training_that_was_killed_do_not_keep_its_lock(data, tmp_path):
    words = [*SHORT, "--num-workers", 1, data, tmp_path / "x"]
    process = multiprocessing.get_context("fork").Process(target=killed_as_its_readers_begin, args=(words,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL

    def is_free():
        with open(tmp_path / "x/.done/train.lock") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    assert eventually(is_free)
    train_here(*words)
