"""Remote: what a scheduler said about jobs that failed, for the last lines of a run on a cluster.

Only the main process of such a run, and one that has failed, import this module.
"""

import os
import re
import shlex
import shutil
from glob import escape, iglob
from typing import Any

from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from .chain import STAGES
from .disk import read_file
from .errors import MetadataError, printable
from .paths import house

PROGRAMS = {
    r"\bsbatch\b": "sbatch",
    r"\bqsub\b": "qsub",
    r"\bqsub -terse\b": "qacct",  # with this option it is Grid Engine's, not that of PBS
    r"\bqsub\b.* -l select=": "qmgr",  # the other way round
    r"\bbsub\b": "bsub",
    r"\bcondor_submit\b": "condor_submit",
}
"""How a submit command is written -> a program that its scheduler has."""

HOST = "Job on host"  # in the log of a job, before the name of its host

NOT_OURS = r"\n *sbatch call:|For further error details see|Detailed failure reason unavailable"
"""Where the plugins' messages begin to say nothing about the reason."""

MEMORY = r"MemoryError|[Cc]annot allocate|[Mm]emory allocation|map segment|start new thread"
"""What programs say that get no memory, as Grid Engine limits it: Python, the linker, OpenBLAS."""

REASONS = re.compile(
    r"^(?:Error: .*(?:\n  .*)*|[\w.-]+: (?:error|fatal): .*|\w*(?:Error|Exception): .*|=>> PBS: .*"
    r"|.*(?:[Nn]ot found|No such file|[Pp]ermission denied|cannot open|can't (?:cd|open)).*"
    rf"|.*(?:{MEMORY}).*)$",
    re.MULTILINE,
)
"""The lines in the log of a job that say why it failed."""

UNSEEN = re.compile(r"config: root|[Nn]ot found|No such file|Permission denied|can't (?:cd|open)")
"""Part of them if a host lacks a folder that the host of the run has."""

KILLED = {
    "mem_mb": re.compile(rf"job killed: \w*mem\b|exit_status 137|SystemError|{MEMORY}"),
    "runtime": re.compile(r"job killed: walltime|exit_status 137"),
}
"""What a job had too little of -> what is in its log then."""

TOLD: list[tuple[str, str, Any]] = []
"""What was said of each job that failed, the path of its log, where it is known, and the job."""

ASKED: dict[Any, str] = {}
"""What a refused job asked for at its first try: later ones ask for more, which nobody set."""

SUBMITTED = ".snakemake/submit_logs"
"""The folder for what the last submit command of a profile said beside the number of the job."""


class Telling(RemoteExecutor):  # type: ignore[misc]
    """An executor that keeps why a job failed. Snakemake itself forgets it of a group of jobs."""

    def print_job_error(self, job_info: Any, msg: str | None = None, **kwargs: Any) -> None:
        logs = list(filter(None, kwargs.get("aux_logs") or []))
        if number := job_info.external_jobid:
            logs += iglob(f".snakemake/*_logs/{escape(number)}.*")
        elif os.path.exists(f"{SUBMITTED}/last"):
            logs.append(f"{SUBMITTED}/last")
            asked(job_info.job)
        TOLD.append((told(msg or ""), next(iter(logs), ""), job_info.job))
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
    """Check that the scheduler is there for which the submit command of a profile is written, and
    let the command keep what it says: Snakemake forgets why a job was refused. Let the status
    command be found in each working folder, and if there are blanks in its path."""
    command = getattr(settings, "submit_cmd", None) or ""
    for written, program in PROGRAMS.items():
        if re.search(written, command):
            check_program(program)
    keeping = f"exec 2>{SUBMITTED}/last; "
    if command and not command.startswith(keeping):
        os.makedirs(SUBMITTED, exist_ok=True)
        settings.submit_cmd = keeping + command
    path = house() / (getattr(settings, "status_cmd", None) or "")
    if path.is_file():
        settings.status_cmd = shlex.quote(str(path))


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
    said, log, job = TOLD[-1] if TOLD else ("", "", None)
    paths = [path for path in iglob(".snakemake/*_logs/**", recursive=True) if os.path.isfile(path)]
    paths = [log] if log else [path for path in paths if not path.startswith(SUBMITTED)]
    new = [path for path in paths if os.path.exists(path) and os.path.getmtime(path) >= start]
    lines = _reasons(max(new, key=os.path.getmtime)) if new else []
    if log.startswith(SUBMITTED):
        lines.append(f"{asked(job)} the top of your profile's config.yaml.")
    lines += _more(job, "\n".join(lines))
    return "\n".join(map(printable, [*said.splitlines(), *lines]))


def asked(job: Any) -> str:
    """Return what a refused job asks for, as the beginning of a sentence."""
    memory, limit = (job.resources.get(name) for name in KILLED)
    said = f"The job asks for {job.threads} cores, {memory} MB and {limit} minutes: see"
    return ASKED.setdefault(job, said)


def stage_of(job: Any) -> str:
    """Return a rule of a job whose memory and time the user may set for the whole job."""
    return next((rule for rule in STAGES if rule in job.rules), min(job.rules))


def _more(job: Any, said: str) -> list[str]:
    """Return how to give a job more of what it had too little of, by what its log says."""
    lacked = [name for name, words in KILLED.items() if words.search(said)]
    if not lacked:
        return []
    had = {name: job.resources.get(name) for name in KILLED}
    more = " ".join(f"{stage_of(job)}:{name}={2 * had[name]}" for name in lacked)
    return [
        f"It had {had['mem_mb']:,} MB and {had['runtime']:,} minutes. If that was too little, and "
        f"nobody deleted the job: --set-resources {more}"
    ]


def _reasons(path: str) -> list[str]:
    """Return the lines of a job's log that say why it failed, and on which host."""
    text = read_file(path).decode(errors="replace")
    if path.startswith(SUBMITTED):
        return [line for line in text.splitlines() if line][-3:]
    found = [*dict.fromkeys(REASONS.findall(text))][-3:]
    host = "".join(re.findall(rf"^{HOST}\n(.+)$", text, re.MULTILINE)[:1])
    lines = [line for one in found for line in one.splitlines()]
    if any(map(UNSEEN.search, found)):
        what = f"host {host}" if host else "its host"
        lines.append(
            f"If it exists here, {what} does not see it: root, extra, the working folder and "
            "this program must have the same paths on all hosts."
        )
    ran = f", which ran on host {host}" if host else ""
    return [f"The log of the job{ran}, {os.path.abspath(path)}:", *lines] if lines else []
