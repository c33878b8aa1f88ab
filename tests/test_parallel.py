"""steps/train.py by several processes: the same as one, stopped and gone on, and what one that fails does to the others."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import kaldiio
import numpy as np
import pytest
import safetensors.numpy
from narrow import SMALL
from parallel_networks import LOSSES, VARIANTS
from parallel_steps import CASES
from processes import processes_of
from support import write_archive
from train_data import ROOT, SHORT, SPEED, STEP, TINY, assert_refused, eventually, rows_in, train_here, weights_in, write_data, write_labels

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are told of their launcher's end by Linux")
TWO = ["--num-gpus", 2, "--device", "cpu", "--precision", "fp32"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with training and validation data; only to be read."""
    folder = tmp_path_factory.mktemp("parallel")
    write_labels(write_data(folder / "train", [f"t{number}" for number in range(6)], 1))
    write_data(folder / "valid", [f"v{number}" for number in range(4)], 2, trials=True)
    return folder


@pytest.fixture(scope="module")
def steps(home):
    """{number of processes: folder of what parallel_steps.py wrote}"""
    script = ROOT / "tests" / "parallel_steps.py"
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    begun = []
    for world in (1, 2, 3):
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world)] if world > 1 else []
        begun.append(subprocess.Popen([sys.executable, *torchrun, str(script), str(home)], stderr=subprocess.PIPE, text=True, env=environment))
    said = [process.communicate(timeout=200)[1] for process in begun]
    assert [process.returncode for process in begun] == [0, 0, 0], said
    return {world: home / f"world-{world}" for world in (1, 2, 3)}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("world", [2, 3])
def test_gradients_weights_and_figures_are_those_of_one_process(steps, case, world):
    one, several = (safetensors.numpy.load_file(steps[number] / f"{case}.safetensors") for number in (1, world))
    assert one.keys() == several.keys()
    assert np.abs(one["gradient.model.segment6.weight"]).max() > 1e-4
    for name, values in one.items():
        np.testing.assert_allclose(several[name], values, rtol=2e-4, atol=2e-6 * max(1.0, float(np.abs(values).max())), err_msg=name)


@pytest.mark.parametrize("world", [2, 3])
def test_train_tsv_and_validation_are_those_of_one_process(steps, world):
    one, several = (rows_in(steps[number] / "exp", SPEED) for number in (1, world))
    for expected, found in zip(one, several, strict=True):
        for name in expected:
            assert found[name] == expected[name] == "" or float(found[name]) == pytest.approx(float(expected[name]), rel=1e-4), name


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A folder with what parallel_networks.py wrote, and the end of what it said."""
    folder = tmp_path_factory.mktemp("networks")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = ROOT / "tests" / "parallel_networks.py"
    done = subprocess.run([*torchrun, str(script), str(folder)], stderr=subprocess.PIPE, text=True, timeout=300, env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"})
    return folder, done.stderr[-3000:]


@pytest.mark.parametrize("name", [*SMALL, *VARIANTS, *LOSSES])
def test_every_network_and_loss_is_trained_by_two_processes_alike(networks, name):
    folder, said = networks
    found = [folder / f"{name}.{rank}" for rank in (0, 1)]
    assert all(path.exists() for path in found), f"the processes ended before they had trained it: {said}"
    assert [path.read_text() for path in found] == ["same", "same"]


# ---- as a program


def started(*words, **more):
    command = [sys.executable, str(ROOT / STEP), *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **more)


def wait_for_rows(exp, number, process):
    assert eventually(lambda: process.poll() is not None or ((exp / "train.tsv").exists() and len((exp / "train.tsv").read_text().splitlines()) > number))
    assert process.poll() is None, process.communicate()


def ended(process, exp):
    """-> exit status, stderr of a training that ends by itself; nothing of it is left."""
    said = process.communicate(timeout=60)[1]
    assert eventually(lambda: not processes_of(exp)), processes_of(exp)
    return process.returncode, said


LONG = [*TINY, *TWO, "--epochs", 4, "--steps-per-epoch", 40]


@pytest.fixture(scope="module")
def whole(home, tmp_path_factory):
    """A training by two processes in peace, as a job: without cards none is asked for."""
    exp = tmp_path_factory.mktemp("exp") / "whole"
    process = started(*LONG, "--cmd", "submit.py", "--valid", home / "valid", home / "train", exp)
    said = process.communicate(timeout=100)
    assert (process.returncode, said[1]) == (0, "")
    assert "epoch 4 of 4" in said[0]
    return exp


def test_only_the_first_process_writes(whole):
    epochs = [f"epoch-00{epoch}.safetensors" for epoch in range(1, 5)]
    assert sorted(path.name for path in whole.iterdir()) == sorted(
        [".done", "best", "cmd", *epochs, "final", "log", "model.json", "opts.json", "state", "tensorboard", "train.tsv"]
    )
    assert len(list((whole / "tensorboard").iterdir())) == 1
    assert [row["epoch"] for row in rows_in(whole)] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("to", ["the launcher", "all", "one process"])
def test_terminated_and_run_again_it_ends_with_the_same_weights_and_figures(to, whole, home, tmp_path):
    exp = tmp_path / "x"
    words = [*LONG, "--num-workers", int(to == "all"), "--valid", home / "valid", home / "train", exp]
    process = started(*words)
    wait_for_rows(exp, 1, process)
    if to == "one process":
        os.kill(processes_of(exp)[1], signal.SIGTERM)
    else:
        (process.send_signal if to == "the launcher" else lambda number: os.killpg(process.pid, number))(signal.SIGTERM)
    status, said = ended(process, exp)
    assert status == 143
    stopped, last = said.splitlines()
    assert stopped.startswith("stopped in epoch ")
    assert last == "train.py: terminated"

    if to == "the launcher":  # on by one process, and by two again
        other = shutil.copytree(exp, tmp_path / "other")
        assert train_here(*LONG, "--num-gpus", 1, "--valid", home / "valid", home / "train", other) == 0
        assert [row["epoch"] for row in rows_in(other)] == ["1", "2", "3", "4"]
        assert rows_in(other, SPEED)[0] == rows_in(whole, SPEED)[0]
        longer = started(*LONG, "--schedule", "cosine", "--epochs", 5, "--valid", home / "valid", home / "train", other)
        assert ended(longer, other) == (0, "")
        assert [row["skipped"] for row in rows_in(other)] == ["0"] * 5
        assert float(rows_in(other)[4]["loss"]) < float(rows_in(other)[0]["loss"])
    if to == "all":
        assert ended(started(*words), exp) == (0, "")
        for epoch in range(1, 5):
            assert weights_in(exp, epoch) == weights_in(whole, epoch)
        assert rows_in(exp, SPEED) == rows_in(whole, SPEED)


def test_a_process_that_dies_ends_the_training_with_one_line(home, tmp_path):
    exp = tmp_path / "x"
    process = started(*LONG, "--epochs", 5000, "--num-workers", 1, home / "train", exp)
    wait_for_rows(exp, 1, process)
    os.kill(processes_of(exp)[1], signal.SIGKILL)
    status, said = ended(process, exp)
    reason = "process 2 of 2 was ended by SIGKILL: unless somebody did, the machine ran out of memory; started again, it goes on from where it was saved"
    assert (status, said) == (1, f"train.py: {reason}\n")


def test_a_launcher_that_is_killed_takes_its_processes_with_it(home, tmp_path):
    exp = tmp_path / "x"
    process = started(*LONG, "--epochs", 5000, home / "train", exp)
    wait_for_rows(exp, 1, process)
    process.kill()
    said = process.communicate(timeout=60)[1]
    assert said.startswith("stopped in epoch ")
    assert eventually(lambda: not processes_of(exp))
    assert (exp / "state" / "state.safetensors").exists()


def elsewhere(folder, there):
    """An environment in which the second process begins in another folder."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"import os\nif os.environ.get('RANK') == '1':\n    os.chdir({str(there)!r})\n")
    return {**os.environ, "PYTHONPATH": str(folder)}


def test_a_process_that_cannot_see_the_data_is_an_error_of_one_line(home, tmp_path):
    exp = tmp_path / "x"
    process = started(*SHORT, *TWO, "train", exp, cwd=home, env=elsewhere(tmp_path / "python", tmp_path))
    status, said = ended(process, exp)
    assert (status, said) == (1, "train.py: train: no such data directory; it is made by stage 1 of a recipe, or with local/make_X.py\n")


def test_a_process_that_sees_other_data_is_an_error_of_one_line(home, tmp_path):
    exp = tmp_path / "x"
    write_data(tmp_path / "train", [f"t{number}" for number in range(6)], 7)
    process = started(*SHORT, *TWO, "train", exp, cwd=home, env=elsewhere(tmp_path / "python", tmp_path))
    status, said = ended(process, exp)
    assert status == 1
    assert said.startswith("train.py: process 2 of 2 sees something else than the first: training feats.scp has changed")
    assert said.count("\n") == 1
    assert not (exp / "model.json").exists()


def test_a_bad_batch_of_one_process_is_skipped_by_all_and_counted_once(tmp_path):
    data, exp = write_data(tmp_path / "train", [f"t{number}" for number in range(6)], 1), tmp_path / "x"
    feats = kaldiio.load_scp(str(data / "feats.scp"))
    feats = {utt: np.full_like(matrix, 3e38) if utt == "t0-0" else matrix for utt, matrix in feats.items()}  # their mean is too large
    write_archive(data, "feats", feats, json.loads((data / "feats.json").read_text()))
    process = started(*SHORT, *TWO, "--epochs", 2, data, exp)
    status, said = ended(process, exp)
    lines = said.splitlines()
    assert status == 0 and lines
    assert all(re.fullmatch(r"epoch \d, step \d: loss or gradient not finite, step skipped; it held t0-0, .*; kept in .*rank-0.*", line) for line in lines)
    assert sum(int(row["skipped"]) for row in rows_in(exp)) == len(lines)
    assert len(list((exp / "bad").iterdir())) == 2 * len(lines)


def test_a_batch_that_cannot_be_shared_is_refused(home, tmp_path, program):
    done = program(STEP, *SHORT, *TWO, "--num-gpus", 3, home / "train", tmp_path / "x")
    assert_refused(done, "a batch of 8 crops cannot be shared evenly by 3 processes; make it a multiple of 3")
