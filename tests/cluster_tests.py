"""What submit.py does on a cluster, whichever it is: test_slurm.py and test_sge.py run these with a `site` of theirs."""

import json
import os
import re
import signal
import time

import numpy as np
import pytest
from support import write_feats

from pytorch.data.data_dir import read_table, write_data_dir
from pytorch.program import ROOT

DATE = r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ \d{4}"


def eventually(is_true, seconds=40):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if is_true():
            return True
        time.sleep(0.1)
    return False


def kept(site):
    """What is left in q/ besides scripts and locks."""
    return sorted(path.name for path in (site.folder / "q").iterdir() if path.suffix not in (".sh", ".lock"))


def job_of(site, name):
    """The id under which the engine has the array, once it runs."""
    state = site.folder / f"q/{name}.json"
    assert eventually(lambda: state.exists() and json.loads(state.read_text())["job"])
    return json.loads(state.read_text())["job"]


def write_energies(folder):
    """A data directory with features of which compute_vad.py decides, of six utterances."""
    utt2spk = {f"{spk}-{number}": spk for spk in "abc" for number in (1, 2)}
    write_data_dir(folder, {utt: f"/nowhere/{utt}.wav" for utt in utt2spk}, utt2spk)
    write_feats(folder, {utt: np.random.default_rng(1).normal(8, 4, (30, 3)) for utt in utt2spk})
    return folder


class ClusterTests:
    def is_queued(self, site, job):
        return any(line.split()[:1] == [job] for line in site.run(*self.queue).stdout.splitlines())

    def test_an_array_runs_and_leaves_logs_with_head_and_tail(self, site):
        done = site.submit("JOB=2:3", "log/x.JOB.log", "echo", "a b", "JOB", "$OMP_NUM_THREADS", "[$CUDA_VISIBLE_DEVICES]")
        assert (done.returncode, done.stderr) == (0, "")
        pattern = (
            rf'# echo "a b" 3 \$OMP_NUM_THREADS \[\$CUDA_VISIBLE_DEVICES\] \n# Started at {DATE}\n# Running on \S+ as \d+[._]3\n#\na b 3 1 \[\]\n'
            rf"# Accounting: time=\d+ threads=1\n# Ended \(code 0\) at {DATE}, elapsed time \d+ seconds\n"
        )
        assert re.fullmatch(pattern, (site.folder / "log/x.3.log").read_text())
        assert kept(site) == []

    def test_words_of_a_step_reach_the_program_unchanged(self, site):
        from pytorch.jobs import quote

        nasty = ["a b", "", "a'b", 'a"b', "$HOME", "$(touch x)", "`x`", "a\nb", "-n", "\\", "naïve 声", "*", "a;b|c&d>e", "!x", "#", "\t", "%a"]
        program = site.folder / "print words.py"
        program.write_text("import json, sys; print(json.dumps(sys.argv[1:]))")
        done = site.submit("log/words.log", "python3", *map(quote, [str(program), *nasty]))
        assert done.returncode == 0, done.stderr
        assert json.loads(site.output_of("log/words.log")) == nasty

    def test_failing_tasks_are_named_and_only_they_run_again(self, site):
        done = site.submit("JOB=1:5", "log/x.JOB.log", "test", "JOB", "-ne", "2", "-a", "JOB", "-ne", "5")
        assert done.returncode == 1
        assert "submit.py: 2 / 5 failed, log is in log/x.*.log\nsubmit.py: failed jobs: 2 (code 1), 5 (code 1)\n" in done.stderr
        assert "submit.py: the end of log/x.2.log:\n" in done.stderr
        again = site.submit("--pick", "failed", "JOB=1:5", "log/x.JOB.log", "echo", "again", "JOB")
        assert again.returncode == 0, again.stderr
        assert [site.output_of(f"log/x.{n}.log") for n in range(1, 6)] == ["", "again 2", "", "", "again 5"]

    def test_retries_run_failed_tasks_again_and_keep_their_logs(self, site):
        done = site.submit("--retries", "2", "JOB=1:3", "log/x.JOB.log", "test", "JOB", "-ne", "2", *"|| { mkdir been && exit 7 ; exit 1 ; }".split())
        assert done.returncode == 1  # the second try finds the folder: mkdir fails, and so does the third
        assert "submit.py: 1 / 3 failed and are run again (2 tries left): 2\n" in done.stderr
        assert "submit.py: 1 / 3 failed and are run again (1 try left): 2\n" in done.stderr
        assert "(code 7)" in (site.folder / "log/x.2.log.1").read_text()
        assert "(code 1)" in (site.folder / "log/x.2.log.2").read_text()

    def test_no_more_tasks_run_at_a_time_than_asked_for(self, site):
        script = "mkdir running.JOB; set -- running.*; echo $#; sleep 1.5; rmdir running.JOB"
        (site.folder / "count.sh").write_text(script)
        done = site.submit("--max-jobs-run", "2", "JOB=1:4", "log/x.JOB.log", "sed", "s/JO[B]/JOB/g", "count.sh", "|", "bash")
        assert done.returncode == 0, done.stderr
        assert max(int(site.output_of(f"log/x.{n}.log")) for n in range(1, 5)) <= 2

    def test_more_tasks_than_slots_all_run(self, site):
        assert site.submit("JOB=1:40", "log/x.JOB.log", "echo", "JOB").returncode == 0
        assert [site.output_of(f"log/x.{n}.log") for n in range(1, 41)] == [str(n) for n in range(1, 41)]

    def test_the_first_failure_ends_the_others_when_asked_to(self, site):
        script = "test JOB = 1 && sleep 1 && exit 3; sleep 600"
        (site.folder / "one.sh").write_text(script)
        done = site.submit("--stop-early", "true", "JOB=1:3", "log/x.JOB.log", "sed", "s/JO[B]/JOB/g", "one.sh", "|", "bash")
        assert done.returncode == 1
        assert "submit.py: job 1 failed: ending the others\n" in done.stderr
        assert "failed jobs: 1 (code 3), 2 (ended before it was done), 3 (ended before it was done)\n" in done.stderr
        assert kept(site) == []

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
    def test_a_signal_cancels_what_was_submitted(self, site, number):
        process = site.start("JOB=1:2", "log/x.JOB.log", "sleep", "600")
        job = job_of(site, "x")
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
        assert (process.returncode, said) == (128 + number, f"submit.py: {number.name}: ending {self.name}'s job {job}\n")
        assert eventually(lambda: not self.is_queued(site, job))
        assert kept(site) == []

    def test_a_submitter_that_is_killed_and_started_again_finds_its_jobs(self, site):
        words = ["JOB=1:3", "log/x.JOB.log", "echo", "JOB", ">>", "ran", ";", "sleep", "4", ";", "test", "JOB", "-ne", "2"]
        process = site.start(*words)
        job = job_of(site, "x")
        process.kill()
        process.wait()
        done = site.submit(*words)
        assert f"submit.py: {self.name}'s job {job} of an earlier start is there: waiting for it\n" in done.stderr
        assert "submit.py: failed jobs: 2 (code 1)\n" in done.stderr
        assert sorted((site.folder / "ran").read_text().split()) == ["1", "2", "3"]
        assert kept(site) == []

    def test_a_step_that_is_killed_and_started_again_finds_its_jobs(self, site):
        data = write_energies(site.folder / "data")
        words = [ROOT / "steps/compute_vad.py", "--nj", 3, "--cmd", f"submit.py --engine {site.name}", data]
        step = site.popen(*words)
        state = data / "q/compute_vad.json"
        assert eventually(lambda: state.exists() and json.loads(state.read_text())["job"])
        job = json.loads(state.read_text())["job"]
        os.killpg(step.pid, signal.SIGKILL)
        step.communicate(timeout=60)
        again = site.popen(*words)
        said = again.communicate(timeout=100)[1]
        assert again.returncode == 0, said
        assert f"submit.py: {self.name}'s job {job} of an earlier start " in said
        assert [re.search(r"^# Running on \S+ as (\d+)", (data / f"log/compute_vad.{n}.log").read_text(), re.MULTILINE)[1] for n in (1, 2, 3)] == [job] * 3
        assert list(read_table(data / "vad.scp")) == ["a-1", "a-2", "b-1", "b-2", "c-1", "c-2"]

    def test_a_step_that_loses_its_terminal_leaves_its_jobs_running(self, site):
        data = write_energies(site.folder / "data")
        words = [ROOT / "steps/compute_vad.py", "--nj", 3, "--cmd", f"submit.py --engine {site.name}", data]
        step = site.popen(*words)
        state = data / "q/compute_vad.json"
        assert eventually(lambda: state.exists() and json.loads(state.read_text())["job"])
        job = json.loads(state.read_text())["job"]
        os.killpg(step.pid, signal.SIGHUP)
        step.send_signal(signal.SIGTERM)  # of run.sh, which ends what is below it
        said = step.communicate(timeout=60)[1]
        assert f"submit.py: SIGHUP: {self.name}'s job {job} goes on; started again, this command finds it" in said
        again = site.popen(*words)
        said = again.communicate(timeout=100)[1]
        assert again.returncode == 0, said
        assert f"submit.py: {self.name}'s job {job} of an earlier start " in said

    def test_a_lost_terminal_loses_no_results(self, site):
        words = ["JOB=1:3", "log/x.JOB.log", "echo", "JOB", ">>", "ran", ";", "sleep", "1", ";", "test", "JOB", "-ne", "2"]
        process = site.start(*words)
        job = job_of(site, "x")
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=60) == 129
        assert f"SIGHUP: {self.name}'s job {job} goes on; started again, this command finds it" in process.stderr.read()
        assert eventually(lambda: len(list(site.folder.glob("q/x-*/*.done"))) == 3 and not self.is_queued(site, job))
        done = site.submit(*words)
        assert f"{self.name}'s job {job} of an earlier start has ended meanwhile: its jobs that succeeded are not run again" in done.stderr
        assert sorted((site.folder / "ran").read_text().split()) == ["1", "2", "2", "3"]

    def test_another_command_does_not_write_into_the_logs_of_a_running_one(self, site):
        process = site.start("log/x.log", "sleep", "600")
        job = job_of(site, "x")
        process.kill()
        process.wait()
        done = site.submit("log/x.log", "true")
        assert done.returncode == 1
        assert f"job {job} of an earlier, different command writes this log" in done.stderr
        assert f"'{self.cancel} {job}'" in done.stderr
        site.run(self.cancel, job)
        assert eventually(lambda: not self.is_queued(site, job))
        assert site.submit("log/x.log", "true").returncode == 0

    def test_a_task_that_somebody_cancels_is_a_failure(self, site):
        process = site.start("log/x.log", "sleep", "600")
        job = job_of(site, "x")
        assert eventually(lambda: (site.folder / "log/x.log").exists())
        site.run(self.cancel, job)
        assert process.wait(timeout=100) == 1
        assert "cancelled" in process.stderr.read()

    def test_what_the_engine_refuses_is_one_line(self, site):
        done = site.submit("-q" if self.name == "Grid Engine" else "-p", "nosuch", "log/x.log", "true")
        assert done.returncode == 1
        assert done.stderr.startswith(f"submit.py: {self.name} did not take the job: ")
        assert done.stderr.count("\n") == 1 and "nosuch" in done.stderr
        assert kept(site) == []
