"""egs/mini/v1 whole on Slurm and on Grid Engine, by editing cmd.sh alone: the same scores and weights as on this machine."""

import pytest
from engines.support import engine, mini_with

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return mini_with('export train_cmd="submit.py" cuda_cmd="submit.py"\n', tmp_path_factory.mktemp("local"))[0]


def test_mini_on_slurm_equals_mini_on_this_machine(local, tmp_path):
    cmd_sh = 'export train_cmd="submit.py --engine slurm --mem 1G" cuda_cmd="submit.py --engine slurm --mem 2G"\n'
    with engine("slurm", tmp_path / "engine"):
        found, log = mini_with(cmd_sh, tmp_path / "checkout", environment={"SLURM_CONF": str(tmp_path / "engine/slurm.conf")})
    assert "# Running on " in log
    assert found == local


def test_mini_on_grid_engine_equals_mini_on_this_machine(local, tmp_path):
    cmd_sh = 'export train_cmd="submit.py --engine sge --mem 1G" cuda_cmd="submit.py --engine sge --mem 2G"\n'
    with engine("sge", tmp_path / "engine"):
        found, log = mini_with(cmd_sh, tmp_path / "checkout", prefix=["nsenter", "-t", (tmp_path / "engine/pid").read_text().strip(), "-n", "-m", "-p"])
    assert "# Running on " in log
    assert found == local
