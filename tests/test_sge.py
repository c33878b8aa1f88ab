"""utils/submit.py --engine sge, on a Grid Engine of one machine (tests/engines/sge.sh)."""

import sys

import pytest
from cluster_tests import ClusterTests
from engines.support import Site, engine

pytestmark = pytest.mark.long

LIMITS = "command qsub -v PATH -cwd -S /bin/bash -j y\noption mem=* -l h_vmem=$0\noption time=* -l h_rt=$0\n"


@pytest.fixture(scope="module")
def sge(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sge")
    with engine("sge", folder):
        yield ["nsenter", "-t", (folder / "pid").read_text().strip(), "-n", "-m"]


@pytest.fixture
def site(sge, tmp_path):
    return Site("sge", tmp_path, prefix=sge)


class TestGridEngine(ClusterTests):
    name, queue, cancel = "Grid Engine", ("qstat",), "qdel"

    def test_a_task_out_of_memory_says_so(self, site):
        (site.folder / "limits.conf").write_text(LIMITS)
        program = "import time; x = bytearray(400 << 20); time.sleep(60)"
        done = site.submit("--config", "limits.conf", "--mem", "200M", "log/x.log", "python3", "-c", program)
        assert done.returncode == 1
        assert "(out of memory: raise --mem, now 200M)\n" in done.stderr

    def test_a_program_too_large_to_be_loaded_says_so(self, site):
        (site.folder / "limits.conf").write_text(LIMITS)
        done = site.submit("--config", "limits.conf", "--mem", "300M", "log/x.log", sys.executable, "-c", "import torch")
        assert done.returncode == 1
        assert "failed to map segment" in site.output_of("log/x.log")
        assert "(out of memory: raise --mem, now 300M)\n" in done.stderr

    def test_a_task_killed_for_time_says_so(self, site):
        (site.folder / "limits.conf").write_text(LIMITS)
        done = site.submit("--config", "limits.conf", "--time", "0:02", "log/x.log", "sleep", "600")
        assert done.returncode == 1
        assert "(out of time: raise --time, now 0:00:02)\n" in done.stderr

    def test_cards_are_picked_and_not_twice(self, site):
        program = site.folder / "bin/nvidia-smi"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\ncase "$*" in *query-gpu*) echo "0, GPU-{id(site)}-0"; echo "1, GPU-{id(site)}-1";; esac\n')
        program.chmod(0o755)
        site.environment["PATH"] = f"{program.parent}:{site.environment['PATH']}"
        command = "mkdir card$CUDA_VISIBLE_DEVICES && sleep 2 && rmdir card$CUDA_VISIBLE_DEVICES"
        done = site.submit("--gpu", "1", "JOB=1:4", "log/x.JOB.log", *command.split())
        assert done.returncode == 0, done.stderr
        assert not list(site.folder.glob("card*"))

    def test_a_machine_without_cards_is_an_error(self, site):
        done = site.submit("--gpu", "1", "log/x.log", "true")
        assert done.returncode == 1
        assert "use_gpus.py: 1 cards asked for, 0 on " in done.stderr

    def test_threads_are_slots(self, site):
        done = site.submit("--num-threads", "3", "log/x.log", "echo", "$OMP_NUM_THREADS", "$NSLOTS")
        assert done.returncode == 0, done.stderr
        assert site.output_of("log/x.log") == "3 3"

    def test_several_machines_are_refused(self, site):
        done = site.submit("--nodes", "2", "log/x.log", "true")
        assert done.returncode == 1
        assert done.stderr == "submit.py: --nodes 2: Grid Engine runs each job on one machine here; --gpu n takes n cards of one\n"
