"""utils/submit.py --engine slurm, on a Slurm of one machine (tests/engines/slurm.sh)."""

import os

import pytest
from cluster_tests import ClusterTests, eventually
from engines.support import Site, engine

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slurm")
    with engine("slurm", folder, "2"):
        yield {"SLURM_CONF": str(folder / "slurm.conf")}


@pytest.fixture
def site(slurm, tmp_path):
    return Site("slurm", tmp_path, environment=slurm)


class TestSlurm(ClusterTests):
    name, queue, cancel = "Slurm", ("squeue", "-h", "-o", "%F"), "scancel"

    def test_a_task_killed_for_memory_says_so(self, site):
        done = site.submit("--mem", "100M", "log/x.log", "python3", "-c", "import time; x = bytearray(400 << 20); time.sleep(60)")
        assert done.returncode == 1
        assert "job failed, log is in log/x.log (out of memory: raise --mem, now 100M)\n" in done.stderr
        assert "# out of memory: raise --mem, now 100M\n" in (site.folder / "log/x.log").read_text()

    def test_a_task_killed_for_time_says_so(self, site):
        done = site.submit("--time", "1", "log/x.log", "sleep", "600")  # Slurm counts in minutes
        assert done.returncode == 1
        assert "(out of time: raise --time, now 0:01:00)\n" in done.stderr

    def test_cards_are_given_out_and_not_twice(self, site):
        done = site.submit("--gpu", "1", "JOB=1:5", "log/x.JOB.log", "echo", "$SLURMD_NODENAME/$CUDA_VISIBLE_DEVICES", ";", "sleep", "2")
        assert done.returncode == 0, done.stderr
        seen = {site.output_of(f"log/x.{n}.log") for n in range(1, 6)}
        assert seen <= {f"node{node}/{card}" for node in (1, 2) for card in (0, 1)} and len(seen) >= 2
        assert "Requested node configuration is not available" in site.submit("--gpu", "3", "log/y.log", "true").stderr

    def test_threads_and_memory_are_asked_for(self, site):
        done = site.submit("--num-threads", "3", "--mem", "1.5G", "log/x.log", "echo", "$OMP_NUM_THREADS", "$SLURM_CPUS_PER_TASK", "$SLURM_MEM_PER_NODE")
        assert done.returncode == 0, done.stderr
        assert site.output_of("log/x.log") == "3 3 1536"

    def test_a_job_of_two_machines_runs_on_each_with_what_torchrun_needs(self, site):
        variables = "$PET_NNODES $PET_RDZV_BACKEND $PET_RDZV_ENDPOINT".split()
        done = site.submit("--nodes", "2", "log/x.log", "echo", "$SLURMD_NODENAME", *variables)
        assert done.returncode == 0, done.stderr
        lines = sorted(site.output_of("log/x.log").splitlines())
        assert [line.split()[:3] for line in lines] == [["node1", "2", "c10d"], ["node2", "2", "c10d"]]
        assert len({line.split()[3] for line in lines}) == 1

    def test_a_site_says_in_a_file_what_options_become(self, site):
        (site.folder / "conf").mkdir()
        (site.folder / "conf/slurm.conf").write_text("command sbatch --export=PATH  # as it was\noption mem=* --mem-per-cpu $0\noption quick=true --nice=5\n")
        done = site.submit("--mem", "100M", "--quick", "true", "log/x.log", "echo", "$SLURM_MEM_PER_CPU")
        assert done.returncode == 0, done.stderr
        assert site.output_of("log/x.log") == "100"
        refused = site.submit("--time", "1:00:00", "log/x.log", "true")
        assert refused.stderr.startswith("submit.py: --time 1:00:00: no line for it in conf/slurm.conf: 'option time=* …' says what it adds to sbatch")

    def test_an_array_submitted_right_before_its_submitter_was_killed_is_found_by_its_name(self, site):
        import json

        from cluster_tests import job_of

        process = site.start("log/x.log", "sleep", "3")
        job = job_of(site, "x")
        process.kill()
        process.wait()
        state = site.folder / "q/x.json"
        state.write_text(json.dumps({**json.loads(state.read_text()), "job": None}))
        done = site.submit("log/x.log", "sleep", "3")
        assert done.returncode == 0
        assert f"Slurm's job {job} of an earlier start is there" in done.stderr

    def test_a_controller_that_is_away_for_a_while_loses_nothing(self, site, slurm):
        folder = os.path.dirname(slurm["SLURM_CONF"])
        process = site.start("log/x.log", "sleep", "4")
        assert eventually(lambda: (site.folder / "log/x.log").exists())
        with open(f"{folder}/run/slurmctld.pid") as file:
            os.kill(int(file.read()), 15)
        assert process.wait(timeout=60) == 0
        site.run("env", "PATH=" + os.environ["PATH"] + ":/usr/sbin", "slurmctld")
        assert eventually(lambda: site.run("sinfo", "-h", "-t", "idle", "-o", "%D").stdout.strip() == "2")
