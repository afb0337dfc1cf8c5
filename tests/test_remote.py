"""The last words about a job of a cluster."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from dinov3_metadata.errors import MetadataError

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


def words(said: str, log: str = ".snakemake/slurm_logs/数 据/7.log", aux_log: str = "") -> str:
    """Return the last words about a job that wrote something into its log."""
    from dinov3_metadata.remote import TOLD, last_words

    Path(log).parent.mkdir(parents=True, exist_ok=True)
    Path(log).write_text(LOG.format(said))
    if aux_log:
        TOLD.append(("Slurm job 7 ended.", aux_log))
    return last_words(0)


def test_the_error_in_the_log_of_a_job_is_shown_with_its_host() -> None:
    said = words("Error: TRAIN: 2 images cannot be opened:\n  a.JPEG\n  b.JPEG")
    assert said.splitlines() == [
        "The log of the job, which ran on host n2, .snakemake/slurm_logs/数 据/7.log:",
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


def test_a_submit_command_keeps_what_it_says() -> None:
    from dinov3_metadata.remote import SUBMITTED, hear_command, last_words

    settings = SimpleNamespace(submit_cmd="echo 'Unknown queue' >&2; echo 7")
    hear_command(settings)
    hear_command(settings)  # a workflow may have several modules
    assert subprocess.check_output(settings.submit_cmd, shell=True) == b"7\n"
    assert Path(f"{SUBMITTED}/last").read_text() == "Unknown queue\n"
    assert last_words(0) == ""  # no job was refused


def test_a_scheduler_that_is_not_here_is_named() -> None:
    from dinov3_metadata.remote import hear_command

    with (
        patch("shutil.which", return_value=None),
        pytest.raises(MetadataError, match="There is no qsub on this host"),
    ):
        hear_command(SimpleNamespace(submit_cmd="mkdir -p logs && qsub -V"))
    hear_command(SimpleNamespace(submit_cmd="./my-own-submit"))
    hear_command(SimpleNamespace())


def test_no_program_of_a_scheduler_is_looked_for_without_one() -> None:
    """Nor is the plugin for Slurm imported, which asks Slurm."""
    code = "import dinov3_metadata.binding, dinov3_metadata.summary, sys; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {one for one in loaded if "slurm" in one or one.endswith(".remote")}
