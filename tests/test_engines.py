"""egs/mini/v1 whole on Slurm and on Grid Engine, by editing cmd.sh alone: the same scores and weights as on this machine. A runner of a site's own."""

import tempfile
from pathlib import Path

import pytest
from cluster_tests import write_energies
from engines.support import engine, mini_with

pytestmark = pytest.mark.long

OWN_RUNNER = """#!/usr/bin/env bash
# The command line of Kaldi's queue.pl, its quoting, its logs.
while [[ $1 == --* ]]; do
  asked+=("$1" "$2")
  shift 2
done
name=${1%%=*} range=${1#*=} log=$2
shift 2
for word in "$@"; do
  if [[ $word =~ [[:space:]] ]]; then command+="\\"$word\\" "; else command+="$word "; fi
done
for ((n = ${range%:*}; n <= ${range#*:}; n++)); do
  file=${log//$name/$n}
  { echo "# asked for ${asked[*]}"; bash -c "( ${command//$name/$n} )"; echo "# Finished at $(date) with status $?"; } > "$file" 2>&1
done
! grep -L "with status 0" ${log//$name/*} | grep -q .
"""


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return mini_with('export train_cmd="submit.py" cuda_cmd="submit.py"\n', tmp_path_factory.mktemp("local"))[0]


def test_mini_on_slurm_equals_mini_on_this_machine(local, tmp_path):
    cmd_sh = 'export train_cmd="submit.py --engine slurm --mem 1G" cuda_cmd="submit.py --engine slurm --mem 2G"\n'
    with tempfile.TemporaryDirectory(prefix="slurm.") as folder, engine("slurm", folder):  # a short path: sockets lie there
        found, log = mini_with(cmd_sh, tmp_path / "checkout", environment={"SLURM_CONF": f"{folder}/slurm.conf"})
    assert "# Running on " in log
    assert found == local


def test_mini_on_grid_engine_equals_mini_on_this_machine(local, tmp_path):
    cmd_sh = 'export train_cmd="submit.py --engine sge --mem 1G" cuda_cmd="submit.py --engine sge --mem 2G"\n'
    with tempfile.TemporaryDirectory(prefix="sge.") as folder, engine("sge", folder):
        pid = (Path(folder) / "pid").read_text().strip()
        found, log = mini_with(cmd_sh, tmp_path / "checkout", prefix=["nsenter", "-t", pid, "-n", "-m", "-p"])
    assert "# Running on " in log
    assert found == local


def test_a_sites_own_runner_stands_in_for_submit_py(tmp_path, program):
    data, with_ours = write_energies(tmp_path / "data"), write_energies(tmp_path / "with ours")
    runner = tmp_path / "queue.pl"
    runner.write_text(OWN_RUNNER)
    runner.chmod(0o755)
    done = program("steps/compute_vad.py", "--nj", 2, "--cmd", f"{runner} --mem 4G", data)
    assert (done.returncode, done.stderr) == (0, "")
    assert (data / "log/compute_vad.2.log").read_text().startswith("# asked for --mem 4G\n")
    assert program("steps/compute_vad.py", "--nj", 2, with_ours).returncode == 0
    assert [path.read_bytes() for path in sorted(data.glob("vad*.ark"))] == [path.read_bytes() for path in sorted(with_ours.glob("vad*.ark"))]
    assert (data / "vad.sha256").read_text() == (with_ours / "vad.sha256").read_text()
