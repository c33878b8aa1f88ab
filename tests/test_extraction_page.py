"""The examples of docs/extraction.md."""

import os
import re
import shlex
import subprocess
import sys

import numpy as np
import soundfile
from experiments import call, write_experiment

from pytorch.data.data_dir import write_data_dir
from pytorch.features.options import FeatureOptions


def test_the_examples_of_the_documentation_run(root, tmp_path, monkeypatch):
    chance = np.random.default_rng(0)
    for name in ("a", "a2", "b"):
        soundfile.write(tmp_path / f"{name}.wav", (chance.standard_normal(26000) * 3000).astype(np.int16), 16000)
    write_data_dir(tmp_path / "data/test", {f"c-{name}": tmp_path / f"{name}.wav" for name in ("a", "a2", "b")}, dict.fromkeys(["c-a", "c-a2", "c-b"], "c"))
    write_experiment(tmp_path / "exp/x", FeatureOptions(num_mel_bins=24).to_json(), voiced=False)
    blocks = re.findall(r"```(\w+)\n(.*?)```", (root / "docs/extraction.md").read_text(), re.DOTALL)
    assert [kind for kind, _ in blocks].count("bash") == 4
    monkeypatch.chdir(tmp_path)
    for kind, code in blocks:
        if kind == "python":
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(root)})
            assert (done.returncode, done.stderr) == (0, ""), code
        else:
            for line in code.splitlines():
                program, *words = shlex.split(line)
                assert call(f"../{program.removesuffix('.py')}", *words), line
    assert (tmp_path / "exp/x/test/num_utts.ark").read_text() == "c 3\n"
    assert np.load(tmp_path / "vectors.npy", allow_pickle=False).shape == (2, 6)
