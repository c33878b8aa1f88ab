"""pytorch/jobs.py: how work is dealt out to jobs, and what runners are handed. What jobs make is tested with the steps."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cluster_tests import write_energies
from experiments import write_experiment
from hypothesis import given
from hypothesis import strategies as st
from train_data import write_data

from pytorch.data.ark import ArkWriter
from pytorch.data.data_dir import write_data_dir
from pytorch.features.options import FeatureOptions
from pytorch.jobs import deal, reason_of
from pytorch.program import ROOT

STEPS = {  # every step that takes --cmd, with words that bring it to submitting
    "compute_vad": "--nj 2 energies",
    "extract": "--nj 2 exp feats out/extract",
    "extract_stats": "--nj 2 feats out/stats",
    "extract_windows": "--nj 2 --window 0.3 exp feats out/windows",
    "make_feats": "--nj 2 wavs",
    "normalise_scores": "--nj 2 --top-n 2 scores others others/xvector.scp out/normalised",
    "pack_wavs": "--nj 2 wavs out/packed",
    "prepare_feats": "--nj 2 feats out/prepared",
    "score_cosine": "--nj 2 feats/trials feats/xvector.scp out/scores",
    "score_plda": "--nj 2 backend feats/trials feats/xvector.scp out/plda",
    "train": "--epochs 1 feats out/train",
}
ITEMS = st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 5)), max_size=60)


@given(ITEMS, st.integers(1, 8))
def test_every_item_is_dealt_once_and_in_order(items, nj):
    numbered = list(enumerate(items))
    shares = [deal(numbered, nj, job, weight_of=lambda item: item[1][0]) for job in range(1, nj + 1)]
    assert sorted(item for share in shares for item in share) == numbered
    assert all(share == sorted(share) for share in shares)


@given(ITEMS, st.integers(1, 8))
def test_a_group_stays_with_one_job(items, nj):
    shares = [deal(items, nj, job, group_of=lambda item: item[1]) for job in range(1, nj + 1)]
    groups = [{group for _, group in share} for share in shares]
    assert all(not (one & other) for place, one in enumerate(groups) for other in groups[place + 1 :])


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=200), st.integers(2, 8))
def test_no_job_has_more_than_the_heaviest_item_above_another(weights, nj):
    loads = [sum(deal(weights, nj, job, weight_of=int)) for job in range(1, nj + 1)]
    assert max(loads) - min(loads) <= max(weights)


@pytest.mark.parametrize("nj", [1, 3])
def test_nothing_is_dealt_of_nothing(nj):
    assert deal([], nj, 1) == []


# ---- what runners are handed


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Something for every step; a runner that writes down its words, and an sbatch and a qsub that refuse."""
    from pytorch.backend.folder import Backend
    from pytorch.backend.plda import Plda

    folder = tmp_path_factory.mktemp("steps")
    write_data(folder / "feats", "abcd", 1, trials=True)
    write_energies(folder / "energies")
    write_experiment(folder / "exp", FeatureOptions(use_energy=True).to_json())
    write_data_dir(folder / "wavs", {utt: folder / f"{utt}.wav" for utt in "ab"}, {utt: utt for utt in "ab"})
    for utt in "ab":
        soundfile.write(folder / f"{utt}.wav", np.zeros(8000, dtype=np.int16), 16000)
    write_data_dir(folder / "others", dict.fromkeys("vwxyz", "/nowhere"), {utt: utt for utt in "vwxyz"})
    for name, utts in (("feats", [f"{spk}-{number}" for spk in "abcd" for number in range(4)]), ("others", "vwxyz")):
        with ArkWriter(folder / name / "xvector.ark", folder / name / "xvector.scp") as ark:
            for place, utt in enumerate(utts):
                ark.write(utt, np.array([1, place, place**2], dtype=np.float32))
    Backend(np.zeros(3), None, True, Plda(np.zeros(3), np.eye(3), np.ones(3))).save(folder / "backend", {})
    subprocess.run([sys.executable, ROOT / "steps/score_cosine.py", "feats/trials", "feats/xvector.scp", "scores"], cwd=folder, check=True)
    (folder / "bin").mkdir()
    for name, lines in {"runner": 'printf "%s\\n" "$@" > words', "sbatch": "", "qsub": ""}.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{lines}\nexit 1\n")
        (folder / "bin" / name).chmod(0o755)
    return folder


def test_the_steps_of_these_tests_are_all_that_take_a_runner():
    taking = [path.stem for path in (ROOT / "steps").glob("*.py") if re.search(r'add_job_options|add_extraction_options|"--cmd"', path.read_text())]
    assert sorted(taking) == sorted(STEPS)


@pytest.mark.parametrize("name", STEPS)
def test_a_submitted_command_names_log_interpreter_and_program_absolutely(name, folder):
    """In what the runner gets, and in the script that submit.py hands to each cluster; the step itself is found by a relative path and by PATH."""
    environment = {**os.environ, "PATH": f"{folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    step = os.path.relpath(ROOT / f"steps/{name}.py", folder)
    done = subprocess.run([step, *STEPS[name].split(), "--cmd", "runner"], cwd=folder, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, f"{name}.py: no job was started, see above; mend --cmd or what it asks for, and run again\n")
    words = (folder / "words").read_text().splitlines()
    log = next(place for place, word in enumerate(words) if word.endswith(".log"))
    assert words[log].startswith(f"{folder}/")
    interpreter, program = words[log + 1 : log + 3]
    assert (os.path.dirname(interpreter), program) == (os.path.dirname(sys.executable), str(ROOT / f"steps/{name}.py"))
    for engine in ("slurm", "sge"):
        done = subprocess.run(
            [sys.executable, ROOT / "utils/submit.py", "--engine", engine, *words], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert "did not take the job" in done.stderr
        script = Path(re.sub(r"(?:/log)?/([\w.]+?)(?:\.JOB)?\.log$", r"/q/\1.sh", words[log])).read_text()
        command = next(line for line in script.splitlines() if line.startswith("command="))
        assert shlex.split(command)[0].startswith(f"command={interpreter} {program} ")


def test_a_job_on_this_machine_needs_no_path_and_no_folder(folder):
    """The log's head has the command, which runs as it stands from anywhere."""
    done = subprocess.run([sys.executable, ROOT / "steps/compute_vad.py", "--nj", "2", "energies"], cwd=folder, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode == 0
    head = (folder / "energies/log/compute_vad.2.log").read_text().splitlines()[0]
    assert head.startswith(f"# {sys.executable} {ROOT}/steps/compute_vad.py --job 2 --nj 2 ")


@pytest.mark.parametrize("options, said", [("--engine slurm", "sbatch"), ("--memm 4G", "--memm")])
@pytest.mark.parametrize("name", ["make_feats", "train"])
def test_where_a_runner_refuses_no_log_is_named_that_is_not_there(name, options, said, folder):
    words = [sys.executable, ROOT / f"steps/{name}.py", *STEPS[name].split(), "--cmd", f"submit.py {options}"]
    done = subprocess.run(words, cwd=folder, env={**os.environ, "PATH": "/nowhere"}, capture_output=True, text=True)
    *before, last = done.stderr.splitlines()
    assert done.returncode == 1 and said in "".join(before), done.stderr
    assert last == f"{name}.py: no job was started, see above; mend --cmd or what it asks for, and run again"


@given(st.text("/: 'ab", min_size=1).filter(lambda text: ": " not in text), st.sampled_from(["8000 Hz, 16000 Hz expected", "cut off, 3 of 5 samples"]))
def test_the_reason_of_a_failure_is_told_from_its_place(name, reason):
    assert reason_of(f"/data/wav.scp:3: 'a-1': /wav/{name}.wav: {reason}") == reason
    assert reason_of(f"/data/segments:3: 'a-1': {reason}") == reason


def test_overwrite_takes_what_jobs_made_that_submit_py_finds_again(tmp_path, program):
    data, runner = write_energies(tmp_path / "data"), tmp_path / "run.sh"
    words = ("steps/compute_vad.py", "--nj", 2, "--overwrite", "true", "--cmd", runner, data)
    runner.touch(0o755)
    for number, status in ((1, 1), (2, 0)):
        runner.write_text(f'#!/usr/bin/env bash\nshift 2\nbash -c "${{*//JOB/{number}}}" || exit\nexit {status}\n')
        done = program(*words)
        assert done.returncode == status, done.stderr
        (data / "q").mkdir(exist_ok=True)
        (data / "q/compute_vad.json").write_text("{}\n")
    assert len((data / "vad.scp").read_text().splitlines()) == 6
