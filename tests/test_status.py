"""The status commands of profiles/pbs and profiles/sge, with stand-ins that answer as the real
programs do: those of OpenPBS 23.06.06 and Grid Engine 8.1.9."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from helpers import REPOSITORY

DONE = "4 of 4 steps (100%) done\n"

RUNNING = "Job Id: 7.pbs\n    job_state = R\n"
NO_HISTORY = "echo 'PBS is not configured to maintain job history' >&2"
NO_PBS = "echo 'qstat: cannot connect to server pbs (errno=111)' >&2; exit 111"
FORGOTTEN = f"[ $1 = -x ] && {{ {NO_HISTORY}; exit; }}\n"
FORGOTTEN += "echo 'qstat: Unknown Job Id 7.pbs' >&2; exit 153"
KILLED = """Job Id: 7.pbs
    resources_used.mem = 97108kb
    resources_used.walltime = 00:00:09
    job_state = F
    Resource_List.mem = 50mb
    comment = Job run at Wed Nov 25 at 04:36 on (node:ncpus=8:mem=51200kb) and f
\tailed
    Exit_status = -27
"""

NO_JOB = "echo 'Following jobs do not exist: '; echo 7; exit 1"
NO_MASTER = """echo 'error: commlib error: got select error (Connection refused)' >&2
echo 'unable to send message to qmaster using port 6444 on host "node": got send error' >&2
exit 1"""
RECORD = """==============================================================
qname        batch               
jobnumber    7                   
failed       %s
exit_status  %s
ru_wallclock 11s
maxvmem      3.461MB
category     -l h_vmem=129M -pe smp 8
"""  # noqa: W291


class Scheduler:
    """A working folder, and the programs of a scheduler."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.logs = folder / f".snakemake/{name}_logs"
        self.log = self.logs / ("7.pbs.OU" if name == "pbs" else "7.log")
        self.logs.mkdir(parents=True)
        (folder / "bin").mkdir()
        for program in ("qstat", "qacct", "qdel"):
            self.put(program, f'echo "$@" >> {program}.asked; exit 1')

    def put(self, program: str, script: str) -> None:
        path = self.folder / "bin" / program
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def show(self, program: str, said: str) -> None:
        (self.folder / f"{program}.says").write_text(said)
        self.put(program, f"cat {program}.says")

    def asks(self) -> tuple[str, str]:
        """Return the state of the job, and what the user is told."""
        done = subprocess.run(
            ["sh", REPOSITORY / "profiles" / self.name / "status.sh", self.log.stem],
            cwd=self.folder,
            env=os.environ | {"PATH": f"{self.folder}/bin:{os.environ['PATH']}"},
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip(), done.stderr

    def is_forgotten(self) -> str:
        """Let a minute pass after the first look at a job that nobody knows; return its state."""
        assert self.asks() == ("running", "")
        (self.logs / f"gone-{self.log.stem}").write_text(f"{time.time() - 90:.0f}\n")
        return self.asks()[0]


@pytest.fixture
def pbs(tmp_path: Path) -> Scheduler:
    return Scheduler("pbs", tmp_path / "数 据")


@pytest.fixture
def sge(tmp_path: Path) -> Scheduler:
    return Scheduler("sge", tmp_path / "数 据")


def test_a_pbs_job_with_history(pbs: Scheduler) -> None:
    pbs.show("qstat", RUNNING)
    assert pbs.asks() == ("running", "")
    pbs.show("qstat", "Job Id: 7.pbs\n    job_state = F\n    Exit_status = 0\n")
    assert pbs.asks() == ("success", "")
    pbs.show("qstat", KILLED)
    assert pbs.asks() == ("failed", "")
    assert pbs.log.read_text() == (
        "Error: PBS job 7.pbs has failed: resources_used.mem = 97108kb; resources_used.walltime = "
        "00:00:09; Resource_List.mem = 50mb; comment = Job run at Wed Nov 25 at 04:36 on "
        "(node:ncpus=8:mem=51200kb) and failed; Exit_status = -27\n"
    )


def test_a_pbs_job_without_history(pbs: Scheduler) -> None:
    (pbs.folder / "running").write_text(RUNNING)
    pbs.put("qstat", f"[ $1 = -x ] && {NO_HISTORY} || cat running")
    assert pbs.asks() == ("running", "")
    pbs.put("qstat", FORGOTTEN)
    pbs.log.write_text(f"Job on host\n{DONE}Complete log\n")
    assert pbs.asks() == ("success", "")
    pbs.log.write_text("Job on host\n=>> PBS: job killed: mem 97108kb exceeded limit 51200kb\n")
    assert pbs.asks() == ("failed", "")


def test_a_pbs_job_that_left_nothing(pbs: Scheduler) -> None:
    pbs.put("qstat", FORGOTTEN)
    assert pbs.is_forgotten() == "failed"
    assert "7.pbs is not known any more, and has no log" in pbs.log.read_text()


def test_a_pbs_job_that_no_host_can_run_is_deleted(pbs: Scheduler) -> None:
    never = "Can Never Run: Insufficient amount of resource: ncpus (R: 99 A: 8 T: 8)"
    pbs.show("qstat", f"Job Id: 7.pbs\n    job_state = Q\n    comment = {never}\n")
    assert pbs.asks() == ("failed", "")
    assert never in pbs.log.read_text()
    assert (pbs.folder / "qdel.asked").read_text() == "7.pbs\n"


def test_a_pbs_job_that_is_held_is_named_once(pbs: Scheduler) -> None:
    pbs.show("qstat", "Job Id: 7.pbs\n    job_state = H\n    comment = too many failed attempts\n")
    told = "PBS job 7.pbs is held (too many failed attempts). To release it: qrls 7.pbs\n"
    assert pbs.asks() == ("running", told)
    assert pbs.asks() == ("running", "")


@pytest.mark.parametrize(("name", "away"), [("pbs", NO_PBS), ("sge", NO_MASTER)])
def test_a_scheduler_that_is_away_is_named_once_and_asked_once_a_minute(
    name: str, away: str, tmp_path: Path
) -> None:
    scheduler = Scheduler(name, tmp_path / "数 据")
    scheduler.put("qstat", f"echo asked >> asked\n{away}")
    state, told = scheduler.asks()
    assert (state, "does not answer. The run waits until it does." in told) == ("running", True)
    before = (scheduler.folder / "asked").read_text()
    assert scheduler.asks() == ("running", "")
    assert (scheduler.folder / "asked").read_text() == before
    os.utime(scheduler.logs / "away", (time.time() - 61,) * 2)
    assert scheduler.asks() == ("running", "")
    assert (scheduler.folder / "asked").read_text() != before
    os.utime(scheduler.logs / "away", (time.time() - 61,) * 2)
    scheduler.show("qstat", RUNNING)
    assert scheduler.asks() == ("running", "")
    assert not (scheduler.logs / "away").exists()


def test_a_job_whose_accounting_comes_late(sge: Scheduler) -> None:
    sge.put("qstat", NO_JOB)
    assert sge.asks() == ("running", "")
    sge.show("qacct", RECORD % ("0    ", "0                   "))
    assert sge.asks() == ("success", "")


def test_a_job_whose_log_says_that_it_is_done_needs_no_accounting(sge: Scheduler) -> None:
    sge.put("qstat", NO_JOB)
    sge.log.write_text(DONE)
    assert sge.asks() == ("success", "")
    assert not (sge.folder / "qacct.asked").exists()


def test_the_accounting_of_a_job_that_was_killed_goes_to_its_log(sge: Scheduler) -> None:
    """A job that was started twice has two records."""
    sge.put("qstat", NO_JOB)
    first = RECORD % ("0", "0")
    sge.show("qacct", first + RECORD % ("100 : assumedly after job", "137              (Killed)"))
    assert sge.asks() == ("failed", "")
    assert sge.log.read_text() == (
        "Error: Grid Engine's job 7 has failed: failed 100 : assumedly after job; exit_status 137 "
        "(Killed); ru_wallclock 11s; maxvmem 3.461MB; category -l h_vmem=129M -pe smp 8\n"
    )


def test_a_job_that_was_deleted_in_the_queue(sge: Scheduler) -> None:
    sge.put("qstat", NO_JOB)
    assert sge.is_forgotten() == "failed"
    assert "Grid Engine's job 7 is not known any more." in sge.log.read_text()


def test_a_job_in_the_state_eqw_is_deleted(sge: Scheduler) -> None:
    why = "11/30/2026 21:29:29 [0:879]: error: can't open output file"
    sge.show("qstat", f"job_number:  7\nerror reason          1:      {why}\n")
    assert sge.asks() == ("failed", "")
    assert sge.log.read_text() == f"Error: Grid Engine's job 7 could not start: {why}\n"
    assert (sge.folder / "qdel.asked").read_text() == "7\n"


def test_a_job_that_is_held_is_named_once(sge: Scheduler) -> None:
    sge.show("qstat", "job_number:  7\nscheduling info:            Job is in hold state\n")
    assert sge.asks() == ("running", "Grid Engine's job 7 is held. To release it: qrls 7\n")
    assert sge.asks() == ("running", "")
