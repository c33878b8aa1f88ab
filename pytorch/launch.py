"""Several processes that train together, by torchrun: those of this machine, or those of the nodes of a Slurm job.

torchrun starts the processes, introduces them to one another and ends all when one ends badly. It runs in this process, so that what it has to say of
failures, pages of it, becomes the one line of the process that failed first.
"""

import atexit
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

from pytorch.program import Fail, Terminated

UNDER_TORCHRUN = "TORCHELASTIC_RUN_ID"  # in the environment of the processes
LAUNCHED = "EMBARK_LAUNCHED"  # in that of processes that launch() started: it has locked what they work on, and tells what they fail with
ERROR_FILE = "TORCHELASTIC_ERROR_FILE"  # of each process, where torchrun looks for what it failed with
LOST = 75  # exit status of a process that lost the others: they know the cause
PATIENCE = 5  # seconds that it waits to be ended before it says so
STOPS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def launch(num_processes, num_nodes, num_threads):
    """Run this very command line as num_processes processes on each of num_nodes nodes and wait; -> its exit status. Fails with what one of them failed with.

    On several nodes it must be in a Slurm job of so many: one of submit.py --nodes, where it runs on each; or any other, where srun starts it on each.
    num_threads: of each process, 0: OMP_NUM_THREADS or else the cores are shared out
    """
    if num_nodes > 1 and "PET_NNODES" not in os.environ:
        return _launch_on_nodes(num_nodes)
    if int(os.environ.get("PET_NNODES", 1)) != num_nodes:
        raise Fail(f"--num-nodes {num_nodes}: this is a job of {os.environ['PET_NNODES']} machines; both must be alike")
    threads = num_threads or max(1, int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))) // num_processes)
    os.environ.update({"OMP_NUM_THREADS": str(threads), LAUNCHED: "1"})

    import logging

    level = os.environ.get("TORCH_CPP_LOG_LEVEL")
    os.environ["TORCH_CPP_LOG_LEVEL"] = level or "ERROR"  # as torch begins: where another node has gone, its warnings would be pages

    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous.api import RendezvousError

    if level is None:
        del os.environ["TORCH_CPP_LOG_LEVEL"]

    logging.disable(logging.CRITICAL)  # torchrun's

    def stop(number, _):
        for other in STOPS:
            signal.signal(other, signal.SIG_IGN)  # a second one would leave the processes alone while they save their state
        raise SignalException("stopped", signal.Signals(number))

    words = ["--nproc-per-node", str(num_processes), "--max-restarts", "0", "--monitor-interval", "0.1", "--signals-to-handle", "SIGUSR2"]
    if num_nodes == 1:
        words += ["--standalone", "--local-addr", "127.0.0.1"]
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    for number in STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, stop)
    with tempfile.TemporaryDirectory(prefix="embark-") as folder:
        try:
            torchrun.run(torchrun.parse_args([*words, "--log-dir", folder, *sys.argv]))
        except ChildFailedError as error:
            return _tell(error.failures, num_processes * num_nodes)
        except SignalException as stopped:
            raise (KeyboardInterrupt if stopped.sigval == signal.SIGINT else Terminated(stopped.sigval)) from None
        except (RendezvousError, RuntimeError) as error:
            if num_nodes == 1:
                raise
            what = f"the nodes did not meet at {os.environ.get('PET_RDZV_ENDPOINT')}, or have lost one another"
            raise Fail(f"--num-nodes {num_nodes}: {what} ({_first_line(error)})") from None
    return 0


def _launch_on_nodes(num_nodes):
    """The same on each node of the Slurm job that this is in, with what torchrun has to know to find the others."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or os.environ.get("SLURM_JOB_NUM_NODES") != str(num_nodes) or not shutil.which("srun"):
        raise Fail(f"--num-nodes {num_nodes}: this is not a Slurm job of so many nodes; submit it: --cmd 'submit.py --engine slurm'")
    meeting = f"{socket.gethostname()}:{20000 + int(job) % 20000}"  # another port for each job of a node
    variables = {"PET_NNODES": str(num_nodes), "PET_RDZV_BACKEND": "c10d", "PET_RDZV_ID": job, "PET_RDZV_ENDPOINT": meeting, LAUNCHED: "1"}
    words = ["srun", "--nodes", str(num_nodes), "--ntasks", str(num_nodes), "--ntasks-per-node", "1", "--kill-on-bad-exit=1"]
    process = subprocess.Popen([*words, sys.executable, *sys.argv], env={**os.environ, **variables})
    try:
        status = process.wait()
    except (KeyboardInterrupt, Terminated):
        process.terminate()  # srun passes it on
        process.wait()
        raise
    if status:
        raise Fail(f"--num-nodes {num_nodes}: srun ended with status {status}; see above")
    return 0


def locks():
    """Whether this process locks what it works on: not where launch() or the first process or node does."""
    if LAUNCHED in os.environ:
        return False
    return int(os.environ.get("RANK") or ("PET_NNODES" in os.environ and os.environ.get("SLURM_PROCID")) or 0) == 0


def is_part():
    """Whether torchrun started this process."""
    return UNDER_TORCHRUN in os.environ


def _tell(failures, world):
    """failures: {rank: torchrun's ProcessFailure} of this machine -> exit status; fails with what the first said that was the cause."""
    ranks = sorted(failures, key=lambda rank: (_kind(failures[rank].exitcode), failures[rank].timestamp))
    failure = failures[ranks[0]]
    if _kind(failure.exitcode) == 1:
        raise Terminated
    said = failure.message.get("message") if isinstance(failure.message, dict) else None
    who = f"process {ranks[0] + 1} of {world}"
    if said and "\n" in said:
        sys.stderr.write(f"{who}:\n{said}")
        return 1
    if said:
        raise Fail(said)
    if failure.exitcode < 0:
        hint = ": unless somebody did, the machine ran out of memory" if failure.exitcode == -signal.SIGKILL else ""
        raise Fail(f"{who} was ended by {failure.signal_name()}{hint}; started again, it goes on from where it was saved")
    raise Fail(f"{who} ended with status {failure.exitcode}; see above")


def _kind(status):
    """0: a cause; 1: stopped by a signal, as asked; 2: went with the others"""
    return {143: 1, 130: 1, LOST: 2, -signal.SIGTERM: 2}.get(status, 0)


def one_of_many(main):
    """main() as a process that launch() started: what it fails with is said by the launcher, once. Elsewhere main() itself."""
    return (lambda: _part(main)) if LAUNCHED in os.environ and is_part() else main


def _part(main):
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: were the launcher killed, it would go on alone
    status = [0]
    atexit.register(lambda: os._exit(status[0]))  # the last thing Python does: C++ taking down torch's threads aborts the process now and then
    try:
        status[0] = main()
        return status[0]
    except (Terminated, KeyboardInterrupt):
        status[0] = 143
        return 143
    except Fail as error:
        failed, said = 1, str(error)
    except Exception as error:
        failed, said = _cause(error)
    moment = {"extraInfo": {"py_callstack": said, "timestamp": str(int(time.time()))}}
    with open(os.environ[ERROR_FILE], "w") as file:
        json.dump({"message": {"message": said, **moment}}, file)
    sys.stdout.flush()
    os._exit(failed)  # nothing of the others is waited for


def _cause(error):
    """-> exit status, what to say of an error that is not a Fail"""
    if isinstance(error, OSError) and error.strerror:
        return 1, f"{os.fsdecode(error.filename or 'output')}: {error.strerror}"
    said = traceback.format_exc()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(PATIENCE)  # where another one has died, torchrun ends this one
    if "peer" in str(error) or type(error).__name__.startswith("Dist"):
        return LOST, f"a process on another machine ended, or the network failed ({_first_line(error)})"
    return 1, said


def _first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0]
