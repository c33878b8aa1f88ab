"""steps/validate.py: epochs measured while a training goes on, stopped anywhere, and refused where the training is another."""

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from support import failure, write_feats, write_vad

from pytorch.data.data_dir import DataDir, write_data_dir, write_table
from pytorch.experiment import Experiment, save_tensors
from pytorch.files import read_json, sha256, write_json
from pytorch.losses import build_loss
from pytorch.models import build_model
from pytorch.network_input import NetworkInput
from pytorch.training.validation import find_valid_trials

ROOT = Path(__file__).resolve().parents[1]
STEP = "steps/validate.py"
ARGS = {"frame_dim": 8, "stats_dim": 8, "embed_dim": 6}


def load_step():
    spec = importlib.util.spec_from_file_location("validate_step", ROOT / STEP)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


validate = load_step()


def write_data(folder):
    """Three speakers with four utterances of many lengths, a class of each, some pairs as trials."""
    chance = np.random.default_rng(1)
    utt2spk = {f"{spk}-{number}": spk for spk in "pqr" for number in range(4)}
    label = {utt: "ab"[place % 2] for place, utt in enumerate(utt2spk)}
    write_data_dir(folder, {utt: f"/nowhere/{utt}.wav" for utt in utt2spk}, utt2spk, utt2label=label)
    feats = {utt: 10 + 3 * chance.standard_normal((chance.integers(30, 90), 24)) for utt in utt2spk}
    write_feats(folder, feats)
    write_vad(folder, {utt: chance.random(len(frames)) < 0.8 for utt, frames in feats.items()})
    pairs = [(one, other) for one in utt2spk for other in utt2spk if one < other]
    (folder / "trials").write_text("".join(f"{one} {other} {'' if utt2spk[one] == utt2spk[other] else 'non'}target\n" for one, other in pairs))
    return folder


def begin_training(exp, data, **settings):
    exp.mkdir(parents=True, exist_ok=True)
    about = {"model": "xvector", "args": {name: str(value) for name, value in ARGS.items()}, "feat_dim": 24, "features": read_json(data / "feats.json")}
    learnt = {"loss": {"name": "softmax", "in_dim": 6}, "targets": {"what": "utt2spk", "kind": "classes"}, "classes": ["s", "t"]}
    write_json(exp / "opts.json", {"options": {"seed": 3}})
    write_json(exp / "model.json", {**about, "cmn": "mean", "voiced": True, **learnt, "commit": "1234", **settings})


def write_epoch(exp, epoch, seed=0):
    """As steps/train.py does: train.tsv with the row of the epoch, then the weights."""
    log = exp / "train.tsv"
    text = (log.read_text() if log.exists() else "epoch\tloss\n") + f"{epoch}\t0.5\n"
    log.write_text(text)
    torch.manual_seed(100 * seed + epoch)
    parts = {"model": build_model("xvector", 24, ARGS), "loss": build_loss("softmax", 6, 2, {})}
    save_tensors(exp / f"epoch-{epoch:03d}.safetensors", {f"{part}.{name}": x for part, module in parts.items() for name, x in module.state_dict().items()})


def finish_training(exp, epoch):
    (exp / "final").write_text(f"{epoch}\n")


def make_training(exp, data, epochs=3, **settings):
    begin_training(exp, data, **settings)
    for epoch in range(1, epochs + 1):
        write_epoch(exp, epoch)
    finish_training(exp, epochs)
    return exp


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Only to be read."""
    return write_data(tmp_path_factory.mktemp("data") / "dev")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data):
    """A finished training of three epochs; only to be read."""
    return make_training(tmp_path_factory.mktemp("exp") / "trained", data)


@pytest.fixture(scope="module")
def done(tmp_path_factory, trained, data, program):
    """What validate.py has made of it, and what it said; only to be read."""
    exp = shutil.copytree(trained, tmp_path_factory.mktemp("exp") / "x")
    return exp, program(STEP, exp, data)


@pytest.fixture
def lent(done, tmp_path):
    """A copy of the experiment and its figures that a test may change."""
    return shutil.copytree(done[0], tmp_path / "x")


def table(out):
    header, *lines = (out / "valid.tsv").read_text().splitlines()
    return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]


def files_in(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file() and "tensorboard" not in path.parts}


def assert_refused(found, message):
    assert (found.returncode, found.stdout) == (1, ""), found
    assert found.stderr == f"validate.py: {message}\n"


# ---- what it writes


def test_figures_are_those_of_extraction_and_scoring_by_hand(done, data, tmp_path, program):
    out = done[0] / "validate_dev"
    for words in (
        ["steps/extract.py", "--epoch", 2, done[0], data, tmp_path / "xv"],
        ["steps/score_cosine.py", "--mean", tmp_path / "xv/xvector.scp", data / "trials", tmp_path / "xv/xvector.scp", tmp_path / "xv/scores"],
        ["steps/eer.py", data / "trials", tmp_path / "xv/scores", tmp_path / "xv/eer.json"],
    ):
        by_hand = program(*words)
        assert by_hand.returncode == 0, by_hand.stderr
    figures = read_json(tmp_path / "xv/eer.json")
    row = table(out)[1]
    assert (float(row["valid_eer"]), float(row["valid_min_dcf"])) == pytest.approx((figures["eer"], figures["min_dcf"]["0.01"]), abs=1e-5)
    assert row["weights_sha256"] == read_json(tmp_path / "xv/xvector.json")["weights_sha256"] == sha256(Experiment(done[0]).weights(2))


def test_it_tells_the_figures_of_each_epoch_and_the_best(done, data):
    exp, found = done
    rows = table(exp / "validate_dev")
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    eers = [float(row["valid_eer"]) for row in rows]
    best = max(epoch for epoch, eer in enumerate(eers, 1) if eer == min(eers))
    assert (found.returncode, found.stderr) == (0, "")
    lines = found.stdout.splitlines()
    assert [line.partition(", ")[0] for line in lines[:3]] == [f"epoch {epoch}: valid EER {100 * eer:.2f} %" for epoch, eer in enumerate(eers, 1)]
    assert lines[3] == f"validate: {exp / 'validate_dev'}: 3 epochs (1, 2, 3), best {best} with valid EER {100 * min(eers):.2f} %"
    assert (exp / "validate_dev/best").read_text() == f"{best}\n"
    told = read_json(exp / "validate_dev/validate.json")
    counts = {"utterances": 12, "targets": 18, "nontargets": 48, "epochs": [1, 2, 3], "seed": 3}
    where = {"experiment": str(exp), "data": str(data), "trials": str(data / "trials"), "trials_sha256": sha256(data / "trials")}
    found = {"epoch": best, "valid_eer": min(eers), "select": "eer", "weights_sha256": sha256(Experiment(exp).weights(best))}
    assert {name: told[name] for name in (*counts, *where, *found)} == {**counts, **where, **found}
    assert set(told) == {*counts, *where, *found, "valid_min_dcf", "commit"}


def test_tensorboard_has_the_curve(done):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(done[0] / "validate_dev/tensorboard"))
    events.Reload()
    rows = table(done[0] / "validate_dev")
    for name in ("eer", "min_dcf"):
        assert [event.step for event in events.Scalars(f"valid/{name}")] == [1, 2, 3]
        assert [event.value for event in events.Scalars(f"valid/{name}")] == pytest.approx([float(row[f"valid_{name}"]) for row in rows])


def test_a_second_run_does_nothing_but_say_it_and_may_choose_by_another_figure(lent, data, program):
    before = files_in(lent / "validate_dev")
    again = program(STEP, lent, data)
    assert (again.returncode, again.stderr, again.stdout.count("\n")) == (0, "", 1)
    after = files_in(lent / "validate_dev")
    for name in ("valid.tsv", "best"):
        assert after[name] == before[name]
    assert "with valid minDCF" in program(STEP, "--select", "min_dcf", lent, data).stdout
    assert read_json(lent / "validate_dev/validate.json")["select"] == "min_dcf"


def test_classes_are_measured_with_the_loss_and_trials_beside_them(tmp_path, data, program):
    exp = make_training(tmp_path / "x", data, 2, targets={"what": "utt2label", "kind": "classes"}, classes=["a", "b"])
    found = program(STEP, "--out", tmp_path / "out", exp, data)
    assert found.returncode == 0, found.stderr
    rows = table(tmp_path / "out")
    assert list(rows[0]) == ["epoch", *(f"valid_{name}" for name in ("eer", "min_dcf", "loss", "accuracy", "macro_f1", "uar")), "weights_sha256"]
    uars = [float(row["valid_uar"]) for row in rows]
    assert (tmp_path / "out/best").read_text() == ("2\n" if uars[1] >= uars[0] else "1\n")
    network = Experiment(exp).load_network(1, torch.device("cpu"))
    assert not network.training and set(dict(network.named_children())) == {"model", "loss"}


def test_features_are_computed_where_there_are_recordings_only(tmp_path, program):
    from pytorch.features.options import FeatureOptions

    chance = np.random.default_rng(1)
    utt2spk = {f"{spk}-{number}": spk for spk in "pq" for number in range(2)}
    for utt in utt2spk:
        soundfile.write(tmp_path / f"{utt}.wav", 0.1 * chance.standard_normal(chance.integers(8000, 12000)), 16000)
    folder = tmp_path / "dev"
    write_data_dir(folder, {utt: str(tmp_path / f"{utt}.wav") for utt in utt2spk}, utt2spk)
    (folder / "trials").write_text("p-0 p-1 target\np-0 q-0 nontarget\np-0 q-1 nontarget\nq-0 q-1 target\np-1 q-0 nontarget\n")
    options = FeatureOptions(feature="fbank", num_mel_bins=24, dither=0.0).to_json()
    write_json(tmp_path / "feats.json", options)
    experiment = Experiment(make_training(tmp_path / "x", tmp_path, 1, voiced=False))

    def figures():
        given = NetworkInput(experiment, DataDir(folder), Namespace(channel=None, resample=False, allow_cmd=None))
        args = Namespace(select=None, batch_frames=20000)
        return validate.Validator(args, experiment, given, None, find_valid_trials(given.data), torch.device("cpu")).figures(1)

    computed = figures()
    made = program("steps/make_feats.py", "--feature", "fbank", "--num-mel-bins", 24, "--dither", 0, folder)
    assert made.returncode == 0, made.stderr
    assert figures() == computed


# ---- beside a training


def watcher(exp, data, *words):
    command = [sys.executable, str(ROOT / STEP), "--watch", "true", "--poll-sec", "0.05", *words, str(exp), str(data)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process, is_true):
    for _ in range(6000):
        if is_true():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("it did not come")


def test_a_watcher_may_begin_before_the_training_be_killed_and_go_on(done, data, tmp_path):
    exp, out = tmp_path / "x", tmp_path / "x/validate_dev"
    process = watcher(exp, data)
    waiting = f"validate: waiting for {exp / 'model.json'}, which steps/train.py writes as it begins; Ctrl-C if that is mistyped\n"
    assert process.stderr.readline() == waiting
    begin_training(exp, data)
    assert process.stderr.readline() == f"validate: waiting for epochs of {exp}; stopped and started again, it goes on\n"
    write_epoch(exp, 1)
    wait_for(process, (out / "validate.json").exists)
    assert (out / "best").read_text() == "1\n"
    process.kill()
    assert process.wait() == -9
    first = table(out)
    assert [row["epoch"] for row in first] == ["1"]

    write_epoch(exp, 2)
    process = watcher(exp, data)
    assert process.stdout.readline().startswith("epoch 2: ")
    process.send_signal(signal.SIGTERM)
    said, complaint = process.communicate()
    assert (process.returncode, said) == (143, "")
    assert complaint.splitlines()[-1] == "validate.py: terminated"
    (out / "best").write_text("9\n")  # as if killed between two files

    process = watcher(exp, data)
    write_epoch(exp, 3)
    finish_training(exp, 3)
    said, complaint = process.communicate(timeout=60)
    assert process.returncode == 0, complaint
    assert [line.partition(":")[0] for line in said.splitlines()] == ["epoch 3", "validate"]
    in_peace = files_in(done[0] / "validate_dev")
    assert {name: files_in(out)[name] for name in ("valid.tsv", "best")} == {name: in_peace[name] for name in ("valid.tsv", "best")}
    assert not [path for path in out.iterdir() if path.name.endswith(".tmp")]


def test_a_watcher_does_not_wait_where_no_training_can_begin(data, tmp_path, program):
    exp = tmp_path / "epx/x"
    message = f"{exp}: no such experiment, and no folder {exp.parent} in which it could be begun; if the name is right, make that folder"
    assert_refused(program(STEP, "--watch", "true", exp, data), message)
    (tmp_path / "x.model").write_text("x")
    message = f"{tmp_path}/x.model: a file; where it is a packaged extractor, name the experiment directory that it was made of"
    assert_refused(program(STEP, "--watch", "true", tmp_path / "x.model", data), message)


def test_a_training_begun_anew_under_the_eyes_of_a_watcher_stops_it(lent, data):
    (lent / "final").unlink()
    process = watcher(lent, data)
    assert process.stderr.readline().startswith("validate: waiting for epochs")
    (lent / "train.tsv").unlink()
    assert process.wait(timeout=60) == 1
    what = "the training was begun anew: epoch 3, which was measured, is not there yet"
    assert process.stderr.read() == f"validate.py: {lent}: {what}; pass --overwrite true to measure the new one\n"
    process.stdout.close()


# ---- which epochs


def watch_of(exp, rows=(), first=1, every=1, last=None, watch=False, newest_first=False):
    args = Namespace(exp=exp, first=first, every=every, last=last, watch=watch, newest_first=newest_first, poll_sec=0.01)
    digest = {epoch: sha256(exp / f"epoch-{epoch:03d}.safetensors") for epoch in rows}
    return validate.Watch(args, Experiment(exp), Namespace(rows={epoch: {"epoch": epoch, "weights_sha256": digest[epoch]} for epoch in rows}))


def all_of(watch):
    found = []
    for epoch in watch.epochs():
        found.append(epoch)
        watch.figures.rows[epoch] = {"epoch": epoch, "weights_sha256": sha256(watch.experiment.weights(epoch))}
    return found


@pytest.fixture(scope="module")
def long(tmp_path_factory, data):
    """A finished training of twelve epochs, the weights of the first two gone; only to be read."""
    exp = make_training(tmp_path_factory.mktemp("exp") / "long", data, 1)
    for epoch in range(2, 13):
        shutil.copy(exp / "epoch-001.safetensors", exp / f"epoch-{epoch:03d}.safetensors")
    for epoch in (1, 2):
        (exp / f"epoch-{epoch:03d}.safetensors").unlink()
    (exp / "train.tsv").write_text("epoch\tloss\n" + "".join(f"{epoch}\t1\n" for epoch in range(1, 13)))
    finish_training(exp, 12)
    return exp


@pytest.mark.parametrize(
    ("options", "epochs", "gone"),
    [
        ({}, [3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [1, 2]),
        ({"first": 5, "every": 5}, [5, 10], []),
        ({"first": 2, "every": 4, "last": 9}, [6], [2]),
        ({"first": 9, "newest_first": True}, [12, 11, 10, 9], []),
        ({"first": 9, "last": 10, "watch": True}, [9, 10], []),
        ({"first": 30}, [], []),
        ({"rows": (4, 5, 6), "last": 7}, [3, 7], [1, 2]),
    ],
)
def test_the_epochs_that_are_asked_for_are_measured_each_once(options, epochs, gone, long):
    watch = watch_of(long, **options)
    assert all_of(watch) == epochs
    assert watch.gone() == gone


def test_an_epoch_is_there_when_the_training_has_logged_it(lent):
    (lent / "final").unlink()
    (lent / "train.tsv").write_text("epoch\tloss\n1\t1\n2\t1\n")
    assert all_of(watch_of(lent)) == [1, 2]


def test_weights_that_go_while_they_are_awaited_are_left_out(lent):
    validator = validate.Validator.__new__(validate.Validator)
    validator.experiment, validator._network = Experiment(lent), lambda epoch: (lent / "epoch-002.safetensors").unlink()
    assert validator.figures(2) is None
    assert validator.figures(2) is None


def test_weights_that_are_replaced_while_they_are_read_are_looked_at_anew(lent):
    validator = validate.Validator.__new__(validate.Validator)
    validator.experiment, validator._network = Experiment(lent), lambda epoch: write_epoch(lent, epoch, seed=1)
    assert validator.figures(2) is None


# ---- what it refuses


def anew(watch):
    message = failure(list, watch.epochs())
    start, end = f"{watch.experiment.path}: the training was begun anew: ", "; pass --overwrite true to measure the new one"
    assert message.startswith(start) and message.endswith(end)
    return message.removeprefix(start).removesuffix(end)


def test_a_training_begun_anew_is_noticed(lent):
    watch = watch_of(lent, (1, 2, 3))
    assert all_of(watch) == []
    finish_training(lent, 2)
    assert anew(watch) == "epoch 3, which was measured, is not there yet"
    finish_training(lent, 3)
    write_epoch(lent, 2, seed=1)
    assert anew(watch) == "epoch 2, which was measured, has other weights now"
    write_epoch(lent, 2)
    settings = read_json(lent / "model.json")
    write_json(lent / "model.json", {**settings, "commit": "another"})
    assert all_of(watch) == []
    write_json(lent / "model.json", {**settings, "cmn": "none"})
    assert anew(watch) == "model.json has changed"


def test_other_weights_or_trials_since_are_one_line_until_overwrite_is_passed(lent, tmp_path, data, program):
    write_epoch(lent, 1, seed=1)
    what = "the training was begun anew: epoch 1, which was measured, has other weights now; pass --overwrite true to measure the new one"
    assert_refused(program(STEP, lent, data), f"{lent}: {what}")
    (tmp_path / "some").write_text("p-0 p-1 target\np-0 q-0 nontarget\n")
    otherwise = "validate was begun otherwise: trial list has changed. Pass --overwrite true to do it anew"
    assert_refused(program(STEP, "--valid-trials", tmp_path / "some", lent, data), f"{lent / 'validate_dev'}: {otherwise}")
    before = table(lent / "validate_dev")
    assert program(STEP, "--overwrite", "true", "--every", 2, "--from", 1, lent, data).returncode == 0
    after = table(lent / "validate_dev")
    assert [row["epoch"] for row in after] == ["1", "3"]
    assert after[0]["weights_sha256"] != before[0]["weights_sha256"] and after[1] == before[2]


def test_a_damaged_table_of_figures_is_one_line(lent, data, program):
    path = lent / "validate_dev/valid.tsv"
    whole = path.read_text()
    path.write_text(whole.replace("\t0.", "\tzero", 1))
    assert_refused(program(STEP, lent, data), f"{path}:2: not as this program writes it; pass --overwrite true to make it anew")
    path.write_text(whole.replace("valid_eer", "valid_uar"))
    message = f"{path}:1: other columns than epoch, valid_eer, valid_min_dcf, weights_sha256; pass --overwrite true to make it anew"
    assert_refused(program(STEP, lent, data), message)
    path.write_text("")
    assert_refused(program(STEP, lent, data), message)


@pytest.mark.parametrize("name", ["best", "tensorboard"])
def test_what_somebody_else_made_is_not_replaced(name, trained, tmp_path, data, program):
    (tmp_path / name).mkdir()
    message = f"{tmp_path / name}: is there, but validate did not make it; move it away, or pass --overwrite true to replace it"
    assert_refused(program(STEP, "--out", tmp_path, trained, data), message)


def test_damaged_weights_are_one_line_and_what_was_measured_stays(lent, data, program):
    path = lent / "epoch-002.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    found = program(STEP, "--overwrite", "true", lent, data)
    assert found.returncode == 1 and found.stderr.startswith(f"validate.py: {path}: damaged, or of another network (")
    assert found.stderr.count("\n") == 1
    assert [row["epoch"] for row in table(lent / "validate_dev")] == ["1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--select", "uar"], "--select uar: not measured on {data}, where there are eer, min_dcf"),
        (["--from", 7], "{exp}: no weights of an epoch that is asked for are there yet; pass --watch true to wait for them"),
        (["--channel", 0], "--channel: of recordings, but {data}/feats.scp has features that are computed already; leave it out"),
        (["--valid-trials", "/none"], "/none: no such file"),
    ],
)
def test_what_cannot_be_measured_is_one_line(words, message, trained, data, tmp_path, program):
    found = program(STEP, "--out", tmp_path / "out", *words, trained, data)
    assert_refused(found, message.format(exp=trained, data=data))


def test_a_folder_without_experiment_and_data_without_trials_are_one_line(trained, data, tmp_path, program):
    assert_refused(program(STEP, tmp_path, data), f"{tmp_path}: no experiment (model.json is missing); train one with steps/train.py")
    own = shutil.copytree(data, tmp_path / "own")
    (own / "trials").unlink()
    assert_refused(program(STEP, trained, own), f"{own / 'trials'}: no such file; draw it with utils/make_trials.py {own}")
    write_table(own / "feats.json", {"a": 1})
    assert program(STEP, trained, own).returncode == 1


def test_a_log_that_no_training_wrote_is_one_line(lent):
    (lent / "final").unlink()
    (lent / "train.tsv").write_text("epoch\tloss\nfirst\t1\n")
    assert failure(list, watch_of(lent).epochs()) == f"{lent / 'train.tsv'}: no number of an epoch at the head of each line; steps/train.py writes this file"


def test_weights_that_are_gone_are_listed(tmp_path, long, data, program):
    found = program(STEP, "--out", tmp_path / "out", "--to", 3, long, data)
    assert found.returncode == 0
    gone = "2 epochs (1, 2) are not there any more (--keep-last of the training); not measured"
    assert found.stderr == f"validate: the weights of {gone}\n"
    assert found.stdout.splitlines()[-1].startswith(f"validate: {tmp_path / 'out'}: epoch 3, best 3 with valid EER ")


@pytest.mark.parametrize("words", [["--from", "5", "--to", "4"], ["--every", "0"], ["--select", "wer"], ["--watch"], ["--poll-sec", "0"]])
def test_wrong_options_are_status_2(words, trained, data, program):
    found = program(STEP, *words, trained, data)
    assert found.returncode == 2 and found.stderr.count("\n") == 1
    assert not (trained / "validate_dev").exists()


def test_the_figures_do_not_go_among_the_files_of_the_experiment(trained, data, program):
    found = program(STEP, "--out", f"{trained}/.", trained, data)
    assert found.returncode == 2 and "is the experiment" in found.stderr and not (trained / "best").exists()


def test_figures_that_are_not_finite_are_valid_json_and_never_the_best(tmp_path):
    figures = validate.Figures(tmp_path / "valid.tsv", ["valid_mae"])
    args = Namespace(out=tmp_path)
    figures.add({"epoch": 2, "valid_mae": float("inf"), "weights_sha256": "b"})
    validate.Best(args, figures, "valid_mae", {}).write()
    assert json.loads((tmp_path / "validate.json").read_text(), parse_constant=pytest.fail)["valid_mae"] is None
    figures.add({"epoch": 1, "valid_mae": 7.5, "weights_sha256": "a"})
    assert validate.Figures(tmp_path / "valid.tsv", ["valid_mae"]).rows == figures.rows
    assert validate.Best(args, figures, "valid_mae", {}).epoch == 1
