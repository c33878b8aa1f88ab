"""Which Python is fit, and the environment the project makes."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def fake_packages(folder, cuda="'13.0'", library=b"", **versions):
    """A site folder in which these packages seem to be installed."""
    for name, version in versions.items():
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (folder / name / "lib").mkdir(parents=True)
    (folder / "torch" / "version.py").write_text(f"cuda: Optional[str] = {cuda}\n")
    (folder / "torchaudio" / "lib" / "_torchaudio.so").write_bytes(library)
    return folder


def check(site, *requirements, **env):
    command = [sys.executable, ROOT / "utils/check_python.py", *requirements]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(site), **env})


@pytest.fixture
def torch_pair(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("# pinned\ntorch==2.11.0\ntorchaudio==2.11.0\n")
    return path


@pytest.mark.parametrize("version", ["2.11.0", "2.12.1", "2.14.1+cu130"])
def test_a_torch_that_fits_is_used_as_it_is(tmp_path, torch_pair, version):
    result = check(fake_packages(tmp_path / "site", torch=version, torchaudio="2.11.0"), torch_pair)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("version", ["2.10.0", "2.15.0", "1.13.1"])
def test_a_torch_that_does_not_fit_is_an_error_that_says_what_to_install(tmp_path, torch_pair, version):
    result = check(fake_packages(tmp_path / "site", torch=version, torchaudio="2.11.0"), torch_pair)
    assert result.returncode == 1
    assert f"torch {version} does not work here" in result.stderr
    assert "pip install torch==2.11.0 torchaudio==2.11.0" in result.stderr


def test_a_torchaudio_of_another_torch_is_an_error(tmp_path, torch_pair):
    result = check(fake_packages(tmp_path / "site", torch="2.11.0", torchaudio="2.9.1"), torch_pair)
    assert result.returncode == 1
    assert "torchaudio 2.9.1 does not fit torch 2.11.0" in result.stderr


def test_a_torchaudio_that_wants_cuda_of_a_torch_without_is_an_error(tmp_path, torch_pair):
    site = fake_packages(tmp_path / "site", cuda="None", library=b"\0libc10_cuda.so\0", torch="2.13.0+cpu", torchaudio="2.11.0")
    result = check(site, torch_pair)
    assert result.returncode == 1
    assert "will not load" in result.stderr


def test_missing_packages_are_named_with_status_3(tmp_path):
    (tmp_path / "r.txt").write_text("no-such-package-anywhere==1.0\nnumpy==2.0\n")
    result = check(tmp_path, tmp_path / "r.txt")
    assert result.returncode == 3
    assert "lacks no-such-package-anywhere;" in result.stderr
    assert f"pip install -r {tmp_path}/r.txt" in result.stderr


@pytest.fixture
def checker():
    spec = importlib.util.spec_from_file_location("check_python", ROOT / "utils/check_python.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_old_driver_is_an_error_unless_the_card_is_hidden(checker, tmp_path, monkeypatch):
    driver = tmp_path / "version"
    driver.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n")
    monkeypatch.setattr(checker, "cuda_of_torch", lambda: "13.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "535 is too old for torch's CUDA 13.0, 580 or newer is needed" in checker.old_driver(driver)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert checker.old_driver(driver) is None
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    driver.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.10  Release Build\n")
    assert "570 is too old" in checker.old_driver(driver)
    driver.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.03  Release Build\n")
    assert checker.old_driver(driver) is None


def source_path_sh(tmp_path, **env):
    """path.sh of a copy of the project's head, sourced."""
    script = f'. "{ROOT}/path.sh" && echo "$PYTHON" && command -v python3'
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, env={**os.environ, **env})


def test_path_sh_takes_the_python_it_is_given(tmp_path):
    result = source_path_sh(tmp_path, PYTHON=sys.executable)
    assert result.returncode == 0
    assert result.stdout.splitlines() == [sys.executable, str(Path(sys.executable).parent / "python3")]


def test_path_sh_refuses_a_given_python_without_the_packages(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    result = source_path_sh(tmp_path, PYTHON=str(tmp_path / "bare/bin/python3"))
    assert result.returncode == 1
    assert "lacks torch" in result.stderr


def test_an_active_environment_without_the_packages_gives_way_to_the_next(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    result = source_path_sh(tmp_path, VIRTUAL_ENV=str(tmp_path / "bare"), CONDA_PREFIX=str(Path(sys.executable).parents[1]), PYTHON="")
    assert result.returncode == 0
    assert Path(result.stdout.splitlines()[0]).parent == Path(sys.executable).parent


def make_venv(venv, *requirements):
    command = [sys.executable, ROOT / "utils/make_venv.py", venv, *requirements]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def no_packages(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("# nothing to fetch\n")
    return path


def test_two_at_a_time_make_one_environment(tmp_path, no_packages):
    both = [make_venv(tmp_path / "venv", no_packages) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("making" in text and "downloads" in text for text in said) == 1
    assert json.loads((tmp_path / "venv/.installed").read_text()).keys() == {"requirements.txt"}


def test_an_interrupted_environment_is_made_anew(tmp_path, no_packages):
    venv = tmp_path / "venv"
    venv.mkdir()
    (venv / ".made-by-embark").touch()
    (venv / "half").touch()
    process = make_venv(venv, no_packages)
    assert process.communicate() and process.returncode == 0
    assert not (venv / "half").exists()
    assert (venv / "bin/python3").exists()


def test_somebody_elses_environment_is_never_touched(tmp_path, no_packages):
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv/theirs").touch()
    process = make_venv(tmp_path / "venv", no_packages)
    assert "was not made by this project" in process.communicate()[1]
    assert process.returncode == 1
    assert (tmp_path / "venv/theirs").exists()


def test_a_failed_installation_says_so_and_is_tried_again(tmp_path):
    bad = tmp_path / "requirements.txt"
    bad.write_text("no-such-package-anywhere-at-all==1.0\n")
    process = make_venv(tmp_path / "venv", bad)
    assert "pip failed" in process.communicate()[1]
    assert process.returncode == 1
    assert not (tmp_path / "venv/.installed").exists()
