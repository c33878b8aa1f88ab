"""utils/submit.py --engine slurm, and a training on two nodes, on a Slurm of one machine (tests/engines/slurm.sh)."""

import json
import os
import signal
import tempfile

import pytest
from cluster_tests import ClusterTests, eventually, job_of
from engines.support import Site, engine
from processes import processes_of
from train_data import ROOT, SPEED, STEP, TINY, rows_in, weights_in, write_data

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def slurm():
    with tempfile.TemporaryDirectory(prefix="slurm.") as folder, engine("slurm", folder, "2"):  # a short path: sockets lie there
        yield {"SLURM_CONF": f"{folder}/slurm.conf"}


@pytest.fixture
def site(slurm, tmp_path):
    return Site("slurm", tmp_path, environment=slurm)


@pytest.fixture(scope="module", autouse=True)
def out_of_time(slurm, tmp_path_factory):
    """(site, submit.py) of a job that meets its limit while other tests run: Slurm counts in minutes."""
    site = Site("slurm", tmp_path_factory.mktemp("time"), environment=slurm)
    (site.folder / "save.py").write_text("import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(143)))\nsignal.pause()\n")
    process = site.start("--time", "1", "log/x.log", "python3", "save.py")
    yield site, process
    process.terminate()
    process.communicate(timeout=60)


class TestSlurm(ClusterTests):
    name, queue, cancel = "Slurm", ("squeue", "-h", "-o", "%F"), "scancel"

    def test_a_task_killed_for_memory_says_so(self, site):
        done = site.submit("--mem", "100M", "log/x.log", "python3", "-c", "import time; x = bytearray(400 << 20); time.sleep(60)")
        assert done.returncode == 1
        assert "job failed, log is in log/x.log (out of memory: raise --mem, now 100M)\n" in done.stderr
        assert "# out of memory: raise --mem, now 100M\n" in (site.folder / "log/x.log").read_text()

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
        (site.folder / "conf/slurm.conf").write_text(
            "command sbatch --export=PATH,NCCL_SOCKET_IFNAME=ib0  # of all jobs\noption mem=* --mem-per-cpu $0\noption quick=true --nice=5\n"
        )
        done = site.submit("--mem", "100M", "--quick", "true", "log/x.log", "echo", "$SLURM_MEM_PER_CPU", "$NCCL_SOCKET_IFNAME")
        assert done.returncode == 0, done.stderr
        assert site.output_of("log/x.log") == "100 ib0"
        refused = site.submit("--time", "1:00:00", "log/x.log", "true")
        assert refused.stderr.startswith("submit.py: --time 1:00:00: no line for it in conf/slurm.conf: 'option time=* …' says what it adds to sbatch")

    def test_an_array_submitted_right_before_its_submitter_was_killed_is_found_by_its_name(self, site):
        process = site.start("log/x.log", "sleep", "3")
        job = job_of(site, "x")
        process.kill()
        process.wait()
        state = site.folder / "q/x.json"
        state.write_text(json.dumps({**json.loads(state.read_text()), "job": None}))
        done = site.submit("log/x.log", "sleep", "3")
        assert done.returncode == 0
        assert f"Slurm's job {job} of an earlier start is there" in done.stderr

    def test_a_training_on_two_nodes_is_stopped_goes_on_and_gives_the_bytes_of_two_processes_on_one(self, site):
        words = [*TINY, "--epochs", 4, "--steps-per-epoch", 60, "--device", "cpu", "--precision", "fp32", write_data(site.folder / "data", "abcdef", 1)]
        whole, exp = site.folder / "whole", site.folder / "exp"
        here = site.popen(ROOT / STEP, *words, whole, "--num-gpus", 2)

        nodes = ["--num-nodes", 2, "--num-gpus", 1, "--cmd", "submit.py --engine slurm --mem 3G"]
        process = site.popen(ROOT / STEP, *words, exp, *nodes)
        assert eventually(lambda: process.poll() is not None or ((exp / "train.tsv").exists() and rows_in(exp)))
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)
        assert process.returncode == 143, said
        log = (exp / "log/train.log").read_text()
        assert log.count("stopped in epoch ") == 1, log
        assert (exp / "state/state.safetensors").exists()
        assert not list((exp / "q").glob("train*.json"))

        again = site.popen(ROOT / STEP, *words, exp, *nodes)
        said = again.communicate(timeout=100)
        assert (again.returncode, said[1]) == (0, ""), said
        assert "going on after epoch " in said[0]
        assert here.communicate(timeout=100)[1] == ""
        for epoch in range(1, 5):
            assert weights_in(exp, epoch) == weights_in(whole, epoch)
        assert rows_in(exp, SPEED) == rows_in(whole, SPEED)

    def test_a_training_on_two_nodes_of_which_one_dies_ends(self, site):
        data, exp = write_data(site.folder / "data", "abcdef", 1), site.folder / "exp"
        nodes = ["--num-nodes", 2, "--num-gpus", 1, "--cmd", "submit.py --engine slurm --mem 3G"]
        process = site.popen(ROOT / STEP, *TINY, "--epochs", 1000, "--steps-per-epoch", 60, "--device", "cpu", data, exp, *nodes)
        assert eventually(lambda: process.poll() is not None or ((exp / "train.tsv").exists() and rows_in(exp)))
        os.kill(processes_of(exp)[1], signal.SIGKILL)
        said = process.communicate(timeout=100)[1]
        assert process.returncode == 1
        assert "process 2 of 2 was ended by SIGKILL" in said, said
        assert said.endswith(f"train.py: the job failed, see {exp}/log/train.log; started again, it goes on from where it was saved\n")

    def test_a_task_killed_for_time_is_told_before_and_says_so(self, out_of_time):
        site, process = out_of_time
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 1
        assert "(out of time: raise --time, now 0:01:00)\n" in said
        assert site.output_of("log/x.log") == "saved"

    def test_a_controller_that_is_away_for_a_while_loses_nothing(self, site, slurm):
        folder = os.path.dirname(slurm["SLURM_CONF"])
        process = site.start("log/x.log", "sleep", "4")
        assert eventually(lambda: (site.folder / "log/x.log").exists())
        with open(f"{folder}/run/slurmctld.pid") as file:
            os.kill(int(file.read()), 15)
        assert process.wait(timeout=60) == 0
        site.run("env", "PATH=" + os.environ["PATH"] + ":/usr/sbin", "slurmctld")
        assert eventually(lambda: site.run("squeue", "-h").returncode == 0)
