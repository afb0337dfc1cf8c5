"""profiles/pbs, with stand-ins for the commands of PBS."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import REPOSITORY, digests

# As little of PBS as the profile uses: the folder $PBS has a file per job for what is known of it.
# No job goes on while the file "hold" is there. As by default, PBS forgets a job that has ended,
# unless the file "history" is there.
COMMANDS = {
    "qsub": """
        [ ! -e "$PBS/refuse" ] || { echo "qsub: Unknown queue" >&2; exit 170; }
        job=$(($(ls "$PBS" | grep -c command) + 1)).server
        for script; do :; done
        echo "$@" > "$PBS/$job.command"
        (setsid sh -c '
            echo $$ > "$1.pid"
            while [ -e "$PBS/hold" ]; do sleep 0.1; done
            exec sh "$2"
         ' - "$PBS/$job" "$script" > "$PBS/$job.log" 2>&1
         code=$?
         [ ! -e "$PBS/killed" ] || cat "$PBS/killed" >> "$PBS/$job.log"
         cp "$PBS/$job.log" ".snakemake/pbs_logs/$job.OU"
         echo $code > "$PBS/$job.exit") > "$PBS/errors" 2>&1 &
        echo $job
    """,
    "qstat": """
        for job; do :; done
        touch "$PBS/asked"
        if [ "$1" = -x ] && [ ! -e "$PBS/history" ]; then
            echo "PBS is not configured to maintain job history" >&2
        elif [ ! -s "$PBS/$job.exit" ]; then
            echo "Job Id: $job"
            echo "    job_state = R"
        elif [ "$1" = -x ]; then
            echo "Job Id: $job"
            echo "    job_state = F"
            echo "    Exit_status = $(cat "$PBS/$job.exit")"
        else
            echo "qstat: Unknown Job Id $job" >&2
            exit 153
        fi
    """,
    "qdel": 'for job; do kill -- "-$(cat "$PBS/$job.pid")"; done',
    "qmgr": "",
}


class Pbs:
    """Runs of the workflow with the profile, and the jobs that they submit."""

    def __init__(self, home: Path, root: Path, plugin: Path) -> None:
        self.home, self.jobs = home, home / "jobs"
        for folder in (home / "bin", self.jobs):
            folder.mkdir(parents=True)
        for name, text in COMMANDS.items():
            (home / "bin" / name).write_text(f"#!/bin/sh\n{text}")
            (home / "bin" / name).chmod(0o755)
        # What a shell starts in the background ignores SIGINT, and so would this.
        self.command = ["env", "--default-signal=INT", sys.executable, "-m", "snakemake"]
        self.command += ["-s", f"{REPOSITORY}/Snakefile"]
        self.command += ["--workflow-profile", f"{REPOSITORY}/profiles/pbs"]
        self.command += ["--seconds-between-status-checks", "1", "--directory", f"{home}/workdir"]
        self.config = ["--config", f"root={root}", f"extra={home}/extra"]
        self.environment = os.environ | {
            "PBS": str(self.jobs),
            "PATH": f"{home}/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(plugin),
        }

    def start(self, *settings: str, target: str = "all") -> subprocess.Popen:
        return subprocess.Popen(
            [*self.command[:5], target, *self.command[5:], *self.config, *settings],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
        )

    def run(self, *settings: str, target: str = "all") -> str:
        run = self.start(*settings, target=target)
        said = run.communicate()[0]
        assert run.returncode == 0, said
        return said

    def fails(self, run: subprocess.Popen | None = None) -> str:
        """Return the last words of a run that fails."""
        run = run or self.start()
        said = run.communicate(timeout=60)[0]
        assert run.returncode == 1, said
        return said.rpartition("\n\nError: ")[2].partition("\nComplete log")[0]

    def asked(self) -> list[str]:
        """What each job asked for, in the order in which they came."""
        paths = sorted(self.jobs.glob("*.command"), key=lambda path: int(path.name.split(".")[0]))
        return [path.read_text() for path in paths]

    def pid(self) -> int:
        """The process group of the one job."""
        while not (pids := [path.read_text() for path in self.jobs.glob("*.pid")]) or not pids[0]:
            time.sleep(0.1)
        return int(pids[0])


def test_a_split_is_a_job(tree: Path, plugin: Callable, snakemake, tmp_path: Path) -> None:
    pbs = Pbs(tmp_path / "集群 pbs", tree, plugin("cluster"))
    pbs.run()
    for asked in (both := pbs.asked()):
        assert "-l select=1:ncpus=8:mem=1000mb -l walltime=1200 " in asked
    assert len(both) == 2
    snakemake(root=tree, extra=tmp_path / "local")
    assert digests(pbs.home / "extra") == digests(tmp_path / "local")
    assert "Nothing to be done" in pbs.run()
    assert pbs.asked() == both


def test_a_job_that_is_refused(tree: Path, plugin: Callable, tmp_path: Path) -> None:
    pbs = Pbs(tmp_path / "集群 pbs", tree, plugin("cluster"))
    (pbs.jobs / "refuse").touch()
    assert pbs.fails().splitlines() == [
        "Error submitting jobscript (exit code 170):",
        "qsub: Unknown queue",
        "The job asks for 8 cores, 1000 MB and 20 minutes: see the top of your profile's "
        "config.yaml.",
    ]
    said = pbs.fails(pbs.start("--default-resources", "mem_mb=2000"))
    assert "The profile's submit command needs qsub_extra, which some jobs lack" in said
    (pbs.home / "bin/qsub").unlink()
    assert "\nError: There is no qsub on this host" in pbs.fails()


@pytest.mark.parametrize("history", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_job_that_had_too_little_memory(
    history: bool, tree: Path, plugin: Callable, tmp_path: Path
) -> None:
    pbs = Pbs(tmp_path / "pbs", tree, plugin("cluster"))
    for name in ["hold", *["history"] * history]:
        (pbs.jobs / name).touch()
    killed = "=>> PBS: job killed: mem 97108kb exceeded limit 51200kb"
    (pbs.jobs / "killed").write_text(f"{killed}\n")
    pbs.command += ["--retries", "0"]
    run = pbs.start("splits=[TRAIN]")
    os.killpg(pbs.pid(), signal.SIGKILL)
    said = pbs.fails(run)
    assert killed in said.splitlines()
    assert ("Exit_status = 137" in said) == history
    assert said.endswith(
        "It had 1,000 MB and 20 minutes. If that was too little, and nobody deleted the job: "
        "--set-resources scan_split:mem_mb=2000"
    )


def test_an_audit_has_a_job_for_some_thousand_images(
    tree: Path, plugin: Callable, tmp_path: Path
) -> None:
    pbs = Pbs(tmp_path / "pbs", tree, plugin("cluster"))
    pbs.run("splits=[TRAIN]", target="audit")
    names = [asked.split("-N dinov3-")[1].split()[0] for asked in pbs.asked()]
    assert names == ["split_scan_split", "audit_images"]


def test_each_share_of_an_audit_is_a_job(tree: Path, plugin: Callable, tmp_path: Path) -> None:
    pbs = Pbs(tmp_path / "pbs", tree, plugin("cluster"))
    pbs.command += ["--set-scatter", "audit=2"]
    pbs.run("splits=[TRAIN]", target="audit")
    names = [asked.split("-N dinov3-")[1].split()[0] for asked in pbs.asked()]
    assert names == ["split_scan_split", "audit_images", "audit_images"]
    assert '"zero-bytes": 4' in (tmp_path / "pbs/extra/audit-TRAIN.json").read_text()


def test_a_selection_by_an_audit_is_between_two_jobs(
    tree: Path, plugin: Callable, tmp_path: Path
) -> None:
    pbs = Pbs(tmp_path / "pbs", tree, plugin("cluster"))
    pbs.command += ["--set-scatter", "audit=1"]
    exclude = tmp_path / "exclude.txt"
    exclude.write_text("n01484850\n")
    pbs.run("splits=[TRAIN]", f"select={{audit: [rotated], exclude: '{exclude}'}}")
    names = [asked.split("-N dinov3-")[1].split()[0] for asked in pbs.asked()]
    assert [name.partition("_")[0] for name in names] == ["split", "audit", "split-rows"]
    assert (tmp_path / "pbs/extra/left-out-TRAIN.json").exists()


def test_a_job_that_is_killed_is_tried_again_with_more(
    tree: Path, plugin: Callable, tmp_path: Path
) -> None:
    pbs = Pbs(tmp_path / "pbs", tree, plugin("cluster"))
    (pbs.jobs / "hold").touch()
    run = pbs.start("splits=[TRAIN]")
    os.killpg(pbs.pid(), signal.SIGKILL)
    (pbs.jobs / "hold").unlink()
    said = run.communicate()[0]
    assert run.returncode == 0, said
    first, second = pbs.asked()
    assert "mem=1000mb -l walltime=1200 " in first
    assert "mem=4000mb -l walltime=4800 " in second


@pytest.mark.long
def test_jobs_are_deleted_with_their_run(tree: Path, plugin: Callable, tmp_path: Path) -> None:
    pbs = Pbs(tmp_path / "pbs", tree, plugin("cluster"))
    pbs.command += ["--seconds-between-status-checks", "10"]
    (pbs.jobs / "hold").touch()
    run = pbs.start("splits=[TRAIN]")
    pbs.pid()
    # While Snakemake asks for the state of a job, it does not delete it.
    asked = pbs.jobs / "asked"
    while not (asked.exists() and time.time() - asked.stat().st_mtime > 2):
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    assert "Terminating processes on user request" in run.communicate()[0]
    while not (exits := list(pbs.jobs.glob("*.exit"))):
        time.sleep(0.1)
    assert exits[0].read_text() != "0\n"
