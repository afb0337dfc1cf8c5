"""Remote: what a scheduler said about jobs that failed, for the last lines of a run on a cluster.

Only the main process of such a run, and one that has failed, import this module.
"""

import os
import re
import shutil
from glob import iglob
from typing import Any

from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from .disk import read_file
from .errors import MetadataError, printable

SUBMITTERS = ("sbatch", "qsub", "bsub", "condor_submit", "oarsub", "msub")
"""The programs by which schedulers take jobs."""

HOST = "Job on host"  # in the log of a job, before the name of its host

NOT_OURS = r"\n *sbatch call:|For further error details see|Detailed failure reason unavailable"
"""Where the plugins' messages begin to say nothing about the reason."""

REASONS = re.compile(
    r"^(?:Error: .*(?:\n  .*)*|[\w.-]+: (?:error|fatal): .*|\w*(?:Error|Exception): .*"
    r"|.*(?:[Nn]ot found|No such file|[Pp]ermission denied|cannot open|can't (?:cd|open)).*)$",
    re.MULTILINE,
)
"""The lines in the log of a job that say why it failed."""

UNSEEN = re.compile(r"config: root|[Nn]ot found|No such file|Permission denied|can't (?:cd|open)")
"""Part of them if a host lacks a folder that the host of the run has."""

TOLD: list[tuple[str, str]] = []
"""What was said of each job that failed, and the path of its log, where it is known."""


SUBMITTED = ".snakemake/submit_logs"
"""The folder for what the last submit command of a profile said beside the number of the job."""


class Telling(RemoteExecutor):  # type: ignore[misc]
    """An executor that keeps why a job failed. Snakemake itself forgets it of a group of jobs."""

    def print_job_error(self, job_info: Any, msg: str | None = None, **kwargs: Any) -> None:
        log = next(filter(None, kwargs.get("aux_logs") or []), "")
        if not (job_info.external_jobid or log) and os.path.exists(f"{SUBMITTED}/last"):
            log = f"{SUBMITTED}/last"
        TOLD.append((told(msg or ""), log))
        super().print_job_error(job_info, msg=msg, **kwargs)

    def get_job_exec_prefix(self, job: Any) -> str:
        """Return what a job does first: it writes the name of its host into its log."""
        words = super().get_job_exec_prefix(job)
        return " && ".join(filter(None, [f"echo '{HOST}' && uname -n", words]))


def told(msg: str) -> str:
    """Return the part of an executor's message that says why a job failed."""
    return re.split(NOT_OURS, msg)[0].strip()


def hear(plugin: Any, kind: type[RemoteExecutor] = Telling) -> None:
    """Let an executor plugin of Snakemake be one of a kind, too."""
    if not issubclass(plugin.executor, kind):
        plugin.executor = type("Executor", (kind, plugin.executor), {})


def hear_command(settings: Any) -> None:
    """Check that the scheduler is there whose program the submit command of a profile names, and
    let the command keep what it says: Snakemake forgets why a job was refused."""
    command = getattr(settings, "submit_cmd", None) or ""
    for name in SUBMITTERS:
        if re.search(rf"\b{name}\b", command):
            check_program(name)
    keeping = f"exec 2>{SUBMITTED}/last; "
    if command and not command.startswith(keeping):
        os.makedirs(SUBMITTED, exist_ok=True)
        settings.submit_cmd = keeping + command


def check_program(name: str) -> None:
    """Check that a program of a scheduler is there.

    Raises:
        MetadataError: It is not.
    """
    if not shutil.which(name):
        raise MetadataError(
            f"There is no {name} on this host, so no job can be submitted. Run on a host that has "
            "it, such as a login node (perhaps after `module load`), or with the profile for your "
            "scheduler, see docs/cluster.md."
        )


def last_words(start: float) -> str:
    """Return why the last job failed: what its scheduler said, and its own log.

    Args:
        start: When the run started. Older logs are those of other runs.
    """
    said, log = TOLD[-1] if TOLD else ("", "")
    paths = [path for path in iglob(".snakemake/*_logs/**", recursive=True) if os.path.isfile(path)]
    paths = [log] if log else [path for path in paths if not path.startswith(SUBMITTED)]
    new = [path for path in paths if os.path.exists(path) and os.path.getmtime(path) >= start]
    lines = _reasons(max(new, key=os.path.getmtime)) if new else []
    return "\n".join(map(printable, [*said.splitlines(), *lines]))


def _reasons(path: str) -> list[str]:
    """Return the lines of a job's log that say why it failed, and on which host."""
    text = read_file(path).decode(errors="replace")
    if path.startswith(SUBMITTED):
        return [line for line in text.splitlines() if line][-3:]
    found = [*dict.fromkeys(REASONS.findall(text))][-3:]
    host = "".join(re.findall(rf"^{HOST}\n(.+)$", text, re.MULTILINE)[:1]) or "?"
    lines = [line for one in found for line in one.splitlines()]
    if any(map(UNSEEN.search, found)):
        lines.append(
            f"If it exists here, host {host} does not see it: root, extra, the working folder and "
            "this program must have the same paths on all hosts."
        )
    return [f"The log of the job, which ran on host {host}, {path}:", *lines] if lines else []
