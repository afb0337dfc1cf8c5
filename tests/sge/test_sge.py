"""profiles/sge on a real Grid Engine, see cluster.sh: which jobs it submits, and how they end."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import REPOSITORY, digests, make_tree, scheduler

if os.geteuid() != 0:
    pytest.skip("only root can start a Grid Engine", allow_module_level=True)
if not shutil.which("apt-get"):
    pytest.skip("there is no apt-get to download Grid Engine by", allow_module_level=True)

pytestmark = pytest.mark.long

STAGES = ("scan_split", "dump_entries", "dump_class_arrays", "verify")


@pytest.fixture(scope="module")
def sge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start a Grid Engine that runs until the tests have finished; gives its programs."""
    with scheduler("sge", tmp_path_factory) as folder:
        yield folder / "bin"


class Cluster:
    """A dataset, and runs of the workflow on it that submit jobs to a Grid Engine."""

    def __init__(self, home: Path, programs: Path, plugin: Path) -> None:
        # If these names reached a shell unquoted, it would do something else.
        self.root = make_tree(home / """a "$HOME"; `x` & 数据""" / "root")
        self.extra, self.workdir = self.root.parent / "extra", home / "工作 folder"
        self.workdir.mkdir()
        self.profile = REPOSITORY / "profiles/sge"
        self.environment = os.environ | {
            "PYTHONPATH": str(plugin),
            "PATH": f"{programs}:{os.environ['PATH']}",
        }

    def start(self, *options: str) -> subprocess.Popen:
        # A process that a shell starts in the background ignores SIGINT, and so would its children.
        command = ["env", "--default-signal=INT", sys.executable, "-m", "snakemake"]
        command += ["-s", str(REPOSITORY / "Snakefile"), "--workflow-profile", str(self.profile)]
        command += ["--seconds-between-status-checks", "2", "--directory", str(self.workdir)]
        command += [*options, "--config", f"root={self.root}", f"extra={self.extra}"]
        return subprocess.Popen(
            [*command, "splits=[TRAIN]"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
        )

    def end(self, run: subprocess.Popen, code: int = 0) -> str:
        """Wait until a run has ended; return what it says, or if it fails, its last words."""
        said = run.communicate(timeout=180)[0]
        assert run.returncode == code, said
        assert "Traceback" not in said, said
        if code:
            assert digests(self.extra) == {}
            return said.rpartition("\n\nError: ")[2].partition("\nComplete log")[0]
        return said

    def fail(self, *options: str) -> str:
        """Let a run fail at its first try; return its last words."""
        return self.end(self.start("--retries", "0", *options), 1)

    def wait_for(self, state: str) -> str:
        """Wait until the one job is in some state; return its number."""
        while not (found := re.findall(rf"^ *(\d+) .* {state} ", self.ask("qstat"), re.MULTILINE)):
            time.sleep(0.1)
        return found[0]

    def jobs(self) -> list[str]:
        """Return the logs of all jobs, in the order in which they were submitted."""
        logs = self.workdir.glob(".snakemake/sge_logs/*.log")
        return [log.read_text() for log in sorted(logs, key=lambda log: int(log.stem))]

    def ask(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True
        )
        return done.stdout

    def is_true(self, snakemake: Callable) -> bool:
        """Return whether the published files are those of a local run."""
        local = self.root.parent / "local"
        snakemake(root=self.root, extra=local, splits="[TRAIN]")
        return digests(local) == digests(self.extra)


@pytest.fixture
def cluster(sge: Path, plugin: Callable, tmp_path: Path) -> Iterator[Cluster]:
    home = tmp_path / "cluster"
    home.mkdir()
    made = Cluster(home, sge, plugin("cluster"))
    yield made
    made.ask("qmod", "-e", "batch")


def test_a_split_is_a_job_and_an_edit_too(cluster: Cluster, snakemake: Callable) -> None:
    cluster.end(cluster.start())
    (log,) = cluster.jobs()
    assert "Job on host\nnode\n" in log
    assert cluster.is_true(snakemake)
    assert "Nothing to be done" in cluster.end(cluster.start())
    make_tree(cluster.root, ["train/n01440764/n01440764_5.JPEG"])
    assert "1 of 4 folders changed: n01440764" in cluster.end(cluster.start())
    assert len(cluster.jobs()) == 2
    assert cluster.is_true(snakemake)


def test_memory_is_asked_for_in_parts(cluster: Cluster) -> None:
    """Grid Engine multiplies it by the slots."""
    cluster.ask("qmod", "-d", "batch")
    run = cluster.start()
    asked = cluster.ask("qstat", "-j", cluster.wait_for("qw"))
    assert "h_rt=1200" in asked
    assert "h_vmem=126M" in asked  # 1,000 MB / 8 slots, and one
    assert "smp range: 8" in asked
    run.send_signal(signal.SIGINT)
    assert "Interrupted. Nothing is lost" in cluster.end(run, 1)
    assert cluster.ask("qstat") == ""


def test_a_job_that_is_deleted_while_it_runs_is_tried_again(
    cluster: Cluster, snakemake: Callable
) -> None:
    run = cluster.start()
    cluster.ask("qdel", cluster.wait_for("r"))
    cluster.end(run)
    killed, _ = cluster.jobs()
    assert "failed 100 : assumedly after job; exit_status 137 (Killed)" in killed
    assert cluster.is_true(snakemake)


def test_a_job_that_is_deleted_in_the_queue(cluster: Cluster) -> None:
    """Nothing is left of it, not even in the accounting."""
    cluster.ask("qmod", "-d", "batch")
    run = cluster.start("--retries", "0")
    job = cluster.wait_for("qw")
    cluster.ask("qdel", job)
    assert f"Grid Engine's job {job} is not known any more." in cluster.end(run, 1)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--default-resources", "pe='nosuch'", "qsub_extra=''"], '"nosuch" does not exist'),
        (["--default-resources", "pe='smp'", "qsub_extra='-q nosuch'"], 'unknown queue "nosuch"'),
        (["--set-threads", "scan_split=17"], "no suitable queues"),
        (["--set-resources", "scan_split:mem_mb=99000"], "8 cores, 99000 MB and 20 minutes"),
    ],
)
def test_a_job_that_is_refused(cluster: Cluster, options: list[str], reason: str) -> None:
    assert reason in cluster.fail(*options)


def test_a_job_that_cannot_start(cluster: Cluster) -> None:
    """Grid Engine keeps it in the state Eqw until somebody deletes it."""
    nowhere = ["--default-resources", "pe='smp'", "qsub_extra='-o /nowhere/job.log'"]
    assert 'can\'t open output file "/nowhere/job.log"' in cluster.fail(*nowhere)
    assert cluster.ask("qstat") == ""


def test_a_job_that_had_too_little_memory(cluster: Cluster) -> None:
    said = cluster.fail("--set-resources", *(f"{rule}:mem_mb=60" for rule in STAGES))
    assert "category -l h_rt=1200,h_vmem=8M -pe smp 8" in said
    assert "--set-resources scan_split:mem_mb=120" in said


def test_a_job_that_had_too_little_time(cluster: Cluster) -> None:
    said = cluster.fail("--default-resources", "pe='smp'", "qsub_extra='-l h_rt=1'")
    assert "h_rt=1" in said
    assert "scan_split:runtime=40" in said


def test_a_master_that_is_away_for_a_while(cluster: Cluster, snakemake: Callable) -> None:
    run = cluster.start()
    cluster.wait_for("r")
    cluster.ask("qconf", "-km")
    away = cluster.workdir / ".snakemake/sge_logs/away"
    while not away.exists():
        time.sleep(0.1)
    cluster.ask("sge_qmaster")
    said = cluster.end(run)
    assert said.count("Grid Engine does not answer. The run waits until it does.") == 1
    assert len(cluster.jobs()) == 1
    assert cluster.is_true(snakemake)


def test_the_profile_for_another_scheduler(cluster: Cluster) -> None:
    cluster.profile = REPOSITORY / "profiles/pbs"
    assert "\nError: There is no qmgr on this host" in cluster.end(cluster.start(), 1)
