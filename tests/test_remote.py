"""The last words about a job of a cluster."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import yaml
from dinov3_metadata.errors import MetadataError
from helpers import REPOSITORY

pytestmark = pytest.mark.needs("snakemake")

LOG = """Job on host
n2
host: n2
Building DAG of jobs...
{}
Removing output files of failed job
"""


@pytest.fixture(autouse=True)
def forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin each test in a folder of its own, and with nothing that was said before."""
    from dinov3_metadata import remote

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(remote, "TOLD", [])


JOB = SimpleNamespace(
    rules=["verify", "scan_split"], threads=8, resources={"mem_mb": 1002, "runtime": 20}
)


def words(said: str, log: str = ".snakemake/slurm_logs/数 据/7.log", aux_log: str = "") -> str:
    """Return the last words about a job that wrote something into its log."""
    from dinov3_metadata.remote import TOLD, last_words

    Path(log).parent.mkdir(parents=True, exist_ok=True)
    Path(log).write_text(LOG.format(said))
    if aux_log:
        TOLD.append(("Slurm job 7 ended.", aux_log, JOB))
    return last_words(0)


def test_the_error_in_the_log_of_a_job_is_shown_with_its_host() -> None:
    said = words("Error: TRAIN: 2 images cannot be opened:\n  a.JPEG\n  b.JPEG")
    assert said.splitlines() == [
        "The log of the job, which ran on host n2, "
        f"{os.getcwd()}/.snakemake/slurm_logs/数 据/7.log:",
        "Error: TRAIN: 2 images cannot be opened:",
        "  a.JPEG",
        "  b.JPEG",
    ]


@pytest.mark.parametrize(
    "error",
    [
        "slurmstepd-n2: error: StepId=7.batch exceeded memory limit (97 > 50), being killed",
        "slurmstepd: error: *** JOB 7 ON n2 CANCELLED AT 2026-11-30T19:00:00 DUE TO TIME LIMIT ***",
        "PermissionError: [Errno 13] Permission denied: 'x'",
        "qsub: error: no such queue",
    ],
)
def test_what_a_scheduler_writes_into_the_log_of_a_job_is_shown(error: str) -> None:
    assert error in words(error).splitlines()


@pytest.mark.parametrize(
    "error",
    [
        "Error: config: root: /data is not a folder.",
        'Error: Snakefile "/data/Snakefile" not found.',
        "/bin/sh: 2: /data/venv/bin/python: not found",
    ],
)
def test_a_host_that_does_not_see_a_folder_is_named(error: str) -> None:
    assert "If it exists here, host n2 does not see it" in words(error)


def test_a_job_that_never_began_has_no_host() -> None:
    from dinov3_metadata.remote import TOLD, last_words

    Path("own.log").write_text("Error: job 7 could not start: No such file\n")
    TOLD.append(("", "own.log", JOB))
    assert last_words(0).splitlines()[0] == f"The log of the job, {os.getcwd()}/own.log:"
    assert "If it exists here, its host does not see it" in last_words(0)


def test_a_log_without_a_reason_and_one_of_another_run_are_not_shown() -> None:
    from dinov3_metadata.remote import last_words

    assert words("all is well") == ""
    words("Error: x")
    (log,) = Path().rglob("7.log")
    assert last_words(os.path.getmtime(log) + 1) == ""


def test_the_log_that_the_executor_names_counts() -> None:
    words("Error: mine", "own.log")
    assert words("Error: other", aux_log="own.log").splitlines()[::2] == [
        "Slurm job 7 ended.",
        "Error: mine",
    ]


@pytest.mark.parametrize(
    ("error", "more"),
    [
        ("=>> PBS: job killed: mem 97108kb exceeded limit 51200kb", "mem_mb=2004"),
        ("=>> PBS: job killed: walltime 1216 exceeded limit 1200", "runtime=40"),
        ("  MemoryError: ", "mem_mb=2004"),
        ("OpenBLAS error: Memory allocation still failed after 10 retries", "mem_mb=2004"),
        ("Error: Job 7: exit_status 137 (Killed)", "mem_mb=2004 scan_split:runtime=40"),
    ],
)
def test_a_job_that_was_killed_is_told_what_to_give_it(error: str, more: str) -> None:
    last = words(error, "own.log", "own.log").splitlines()[-2:]
    assert last == [
        error,
        "It had 1,002 MB and 20 minutes. If that was too little, and nobody deleted the job: "
        f"--set-resources scan_split:{more}",
    ]


def test_the_log_of_the_job_that_failed_counts_by_its_number() -> None:
    from dinov3_metadata.remote import Telling, last_words

    for number in ("7[1].server", "8.server"):
        words(f"Error: {number}", f".snakemake/pbs_logs/{number}.OU")
    kind = type("Executor", (Telling,), {})
    kind.__abstractmethods__ = frozenset()
    with patch.object(Telling.__base__, "print_job_error"):
        info = SimpleNamespace(external_jobid="7[1].server", job=JOB)
        object.__new__(kind).print_job_error(info, "failed")
    assert last_words(0).splitlines()[-1] == "Error: 7[1].server"


def test_a_submit_command_keeps_what_it_says() -> None:
    from dinov3_metadata.remote import SUBMITTED, hear_command, last_words

    settings = SimpleNamespace(submit_cmd="echo 'Unknown queue' >&2; echo 7")
    hear_command(settings)
    hear_command(settings)  # a workflow may have several modules
    assert subprocess.check_output(settings.submit_cmd, shell=True) == b"7\n"
    assert Path(f"{SUBMITTED}/last").read_text() == "Unknown queue\n"
    assert last_words(0) == ""  # no job was refused


@pytest.mark.parametrize(
    ("profile", "program"),
    [("pbs", "qsub"), ("pbs", "qmgr"), ("sge", "qsub"), ("sge", "qacct")],
)
def test_a_scheduler_that_is_not_here_is_named(profile: str, program: str) -> None:
    """The programs of PBS and Grid Engine have the same names, but for some."""
    from dinov3_metadata.remote import hear_command

    text = (REPOSITORY / "profiles" / profile / "config.yaml").read_text()
    command = yaml.safe_load(text)["cluster-generic-submit-cmd"]
    with (
        patch("shutil.which", lambda name: name != program),
        pytest.raises(MetadataError, match=f"There is no {program} on this host"),
    ):
        hear_command(SimpleNamespace(submit_cmd=command))
    with patch("shutil.which", lambda name: True):
        hear_command(SimpleNamespace(submit_cmd=command))
    hear_command(SimpleNamespace(submit_cmd="./my-own-submit"))
    hear_command(SimpleNamespace())


def test_the_status_command_of_a_profile_is_found_in_each_working_folder(tmp_path: Path) -> None:
    from dinov3_metadata import remote

    script = tmp_path / "with blanks/profiles/pbs/status.sh"
    script.parent.mkdir(parents=True)
    script.write_text("echo running")
    for written in ("profiles/pbs/status.sh", script):
        settings = SimpleNamespace(status_cmd=str(written))
        with patch.object(remote, "house", lambda: tmp_path / "with blanks"):
            remote.hear_command(settings)
            remote.hear_command(settings)  # a workflow may have several modules
        assert subprocess.check_output(f"sh {settings.status_cmd}", shell=True) == b"running\n"


def test_no_program_of_a_scheduler_is_looked_for_without_one() -> None:
    """Nor is the plugin for Slurm imported, which asks Slurm."""
    code = "import dinov3_metadata.binding, dinov3_metadata.summary, sys; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {one for one in loaded if "slurm" in one or one.endswith(".remote")}
