"""Slurm guard: make up for what Snakemake's plugin for Slurm lacks, so that no run waits in vain.

docs/upstream.md describes the faults, which are those of snakemake-executor-plugin-slurm 2.8.0.
Only the main process of a run on Slurm imports this module.
"""

import asyncio
import re
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from .chain import STAGES
from .disk import read_file
from .errors import MetadataError, logger
from .paths import StrPath
from .remote import Telling, asked, check_program, stage_of, told

ANSWERS = 10  # s that Slurm may take to answer

FULL = re.compile(r"\w*(?:Max|Grp)Submit\w*")
"""The limits of Slurm that are no longer reached once another job has ended."""

AGAIN = 10  # s until a job is submitted again that did not pass such a limit

SLOWEST = 30  # s between two looks at the jobs, at most

SILENCE = 60  # s until a run says why a job of it waits

PATIENCE = 30  # s until a state counts from which no job comes back by itself

FINAL = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
)

NEVER = re.compile(
    r"launch.failed|Requeue|BadConstraints|Invalid(?:Account|QOS)|NotAllowed|NeverSatisfied|"
    r"Partition(?:Time|Node)Limit|PartitionConfig|PerJob|PerNode|MaxMemPer|MaxWall",
    re.IGNORECASE,
)
"""Why a job waits, if no waiting helps."""

DONE = "(100%) done"  # what Snakemake writes last into the log of a job

MEMORY = re.compile(r"memory limit \((\d+) > \d+\)|oom.kill|out of memory", re.IGNORECASE)
"""What Slurm writes into the log of a job that had too little memory; the bytes that it took."""

HELP = {
    "BOOT_FAIL": "Leave this host out: slurm_extra=\"'--exclude={host}'\"",
    "CANCELLED": "Somebody cancelled it.",
    "NODE_FAIL": "Leave this host out: slurm_extra=\"'--exclude={host}'\"",
    "OUT_OF_MEMORY": "It needed more than {taken} MB. Give it more: --set-resources "
    "{rule}:mem_mb={memory}",
    "PREEMPTED": "A job of higher priority took its place. Run the same command again, or with "
    "--slurm-requeue, or in a partition or QoS whose jobs are not preempted.",
    "TIMEOUT": "Give it more time: --set-resources {rule}:runtime={minutes}",
}
"""The final state of a job -> what to do."""


class SlurmGuard(Telling):
    """The plugin's executor, with what it takes not to wait in vain."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._ends = threading.Event()
        self._full: set[Any] = set()  # the jobs that Slurm does not take now
        self._alone: set[Any] = set()  # those of them that wait for no other job of the user's
        self._reported: set[str] = set()  # the numbers of the jobs that have ended
        self._stuck: dict[str, float] = {}  # number -> since when its state is a dead end
        self._said: set[str] = set()  # warnings
        self._asked = self._news = time.monotonic()
        super().__init__(*args, **kwargs)  # it starts a thread that reads these

    def run_job(self, job: Any) -> None:
        """Submit a job, in a thread whose errors nobody would hear of."""
        while True:
            self._full.discard(job)
            try:
                super().run_job(job)
            except Exception as error:  # the plugin's own handler fails if the job is a group
                said = f"Job submission failed with exception: {error.__context__ or error}"
                self._report_job_error_threadsafe(SubmittedJobInfo(job), said)
            if job not in self._full or self._ends.wait(AGAIN):
                return

    def _report_job_error_threadsafe(self, job_info: Any, msg: str) -> None:
        """Report a job that could not be submitted, unless it is to be submitted again."""
        found = FULL.search(msg)
        if not found or self._waits_for_none(job_info.job, found[0]):
            msg = refusal(job_info.job, told(msg))
            super()._report_job_error_threadsafe(job_info, msg)
            return
        self._full.add(job_info.job)
        self._say_once(
            f"Slurm takes no more jobs of yours at the moment ({found[0]}). The run waits until "
            "one of them has ended. Ctrl-C ends it."
        )

    def _waits_for_none(self, job: Any, limit: str) -> bool:
        """Return whether the user has had no job in the queue at two tries in a row, so that a
        limit on the user's own jobs lets none in: there is no end to wait for."""
        with suppress(OSError, subprocess.SubprocessError):
            if "Max" in limit and not ask("squeue", "--me", "--noheader").strip():
                was_alone = job in self._alone
                self._alone.add(job)
                return was_alone
        self._alone.discard(job)
        return False

    def cancel(self) -> None:
        self._ends.set()
        super().cancel()

    def format_job_exec(self, job: Any) -> str:
        """Let one Snakemake run all stages of a job. The plugin starts another one for each."""
        words: str = super().format_job_exec(job)
        if all(rule.endswith(tuple(STAGES)) for rule in job.rules):
            return words.replace(f" {self.additional_general_args()}", "")
        return words

    async def sleep(self) -> None:
        """Wait until the next look at the jobs: longer for long jobs, and not after the run."""
        first = self.workflow.executor_settings.init_seconds_before_status_checks
        start = time.monotonic()
        end = start + max(first, min((start - self._news) / 10, SLOWEST))
        while self.wait and time.monotonic() < end:
            await asyncio.sleep(0.2)

    async def check_active_jobs(self, active_jobs: list[Any]) -> AsyncIterator[Any]:
        """Look at the jobs; yield those that have not ended."""
        async for _ in super().check_active_jobs(active_jobs):
            pass  # it yields none at all if Slurm does not answer
        left = [job for job in active_jobs if job.external_jobid not in self._reported]
        if left and time.monotonic() > self._asked + PATIENCE / 3:
            self._asked = time.monotonic()
            states = await asyncio.to_thread(states_of, self.run_uuid)
            if states is None:
                self._say_once(
                    "Slurm does not answer. The run waits until it does. Ctrl-C ends it."
                )
            else:
                for job in left:
                    self._end_stuck(job, *states.get(job.external_jobid, ("", "")))
        for job in left:
            if job.external_jobid not in self._reported:
                yield job

    def _end_stuck(self, job: Any, state: str, reason: str) -> None:
        """Report a job if it would be waited for in vain."""
        number = job.external_jobid
        if state and state not in FINAL and not NEVER.search(reason):
            self._stuck.pop(number, None)
            if "Held" in reason:
                self._say_once(f"Slurm job {number} is held ({reason}): scontrol release {number}")
            elif state == "PENDING" and time.monotonic() > self._news + SILENCE:
                self._say_once(f"Slurm job {number} waits: {reason}. Ctrl-C ends the run.")
        elif time.monotonic() > self._stuck.setdefault(number, time.monotonic()) + PATIENCE:
            if state == "COMPLETED" or (not state and DONE in text_of(job.aux["slurm_logfile"])):
                self.report_job_success(job)
            elif state == "PENDING":
                why = f"Slurm job {number} would wait forever: {reason}."
                self.report_job_error(job, refusal(job.job, why))
                with suppress(OSError, subprocess.SubprocessError):
                    ask("scancel", number)
            else:
                what = f"is {state}" if state else "is not known to Slurm any more"
                self.report_job_error(job, f"Slurm job {number} {what}.")

    def report_job_success(self, job_info: Any) -> None:
        self._ended(job_info)
        super().report_job_success(job_info)

    def report_job_error(self, job_info: Any, msg: str | None = None, **kwargs: Any) -> None:
        if self._ended(job_info):
            log = str(job_info.aux["slurm_logfile"])
            kwargs["aux_logs"], rule = [log], stage_of(job_info.job)
            msg = explain(record_of(job_info.external_jobid), text_of(log), rule) or msg
        super().report_job_error(job_info, msg=msg, **kwargs)

    def _say_once(self, warning: str) -> None:
        if warning not in self._said:
            self._said.add(warning)
            logger.warning("%s", warning)

    def _ended(self, job_info: Any) -> bool:
        """Note that a job has ended; return whether Slurm took it at all."""
        self._news = time.monotonic()
        self._reported.add(job_info.external_jobid)
        return bool(job_info.external_jobid)


def refusal(job: Any, why: str) -> str:
    """Return why Slurm does not run a job, with what it asks for."""
    return f"{why}\n{asked(job)} the top of profiles/slurm/config.yaml."


def check_slurm() -> None:
    """Check that Slurm can be asked.

    Raises:
        MetadataError: A program of Slurm is missing, or its controller does not answer.
    """
    for program in ("sbatch", "squeue", "scontrol"):
        check_program(program)
    try:
        said = ask("scontrol", "ping")
    except (OSError, subprocess.SubprocessError) as error:
        said = str(error)
    if " UP" not in said:
        raise MetadataError(
            "Slurm does not answer on this host, so no job can be submitted:",
            [f"  {line}" for line in said.splitlines() if line[:1] != "*"],
            "Try again when `scontrol ping` says UP.",
        )


def states_of(name: str) -> dict[str, tuple[str, str]] | None:
    """Return number -> state and reason of the jobs of some name; None if Slurm does not answer."""
    try:
        fields = ("--noheader", "--states=all", "--format=%i|%T|%r")
        rows = [row.split("|") for row in ask("squeue", *fields, "--name", name).splitlines()]
    except (OSError, subprocess.SubprocessError):
        return None
    return {number: (state, reason) for number, state, reason in rows}


def record_of(number: str) -> dict[str, str]:
    """Return what Slurm knows of a job: empty if it knows nothing."""
    with suppress(OSError, subprocess.SubprocessError):
        return dict(re.findall(r"(\S+?)=(\S*)", ask("scontrol", "show", "job", "-o", number)))
    return {}


def text_of(log: StrPath) -> str:
    """Return the log of a job: an empty text if it never began."""
    with suppress(OSError):
        return read_file(log).decode(errors="replace")
    return ""


def explain(record: Mapping[str, str], log: str, rule: str) -> str:
    """Return how a job ended, and what to do.

    Args:
        record: What Slurm knows of it. If it has not ended by that, the answer is empty.
        log: Its log.
        rule: A rule of it, whose memory and time the user may set.

    Example:
        >>> record = {"JobId": "7", "JobState": "TIMEOUT", "BatchHost": "n2", "RunTime": "00:01:09"}
        >>> record |= {"TimeLimit": "00:01:00", "TRES": "cpu=8,mem=1002M,node=1"}
        >>> explain(record, "", "verify")  # doctest: +NORMALIZE_WHITESPACE
        'Slurm job 7 ended as TIMEOUT on host n2, after 00:01:09 of 00:01:00, with 1,002 MB.
         Give it more time: --set-resources verify:runtime=4'
    """
    if record.get("JobState") not in FINAL:
        return ""
    state, host = record["JobState"], record.get("BatchHost") or record.get("NodeList", "")
    had = megabytes(record.get("TRES", ""))
    taken = had
    if found := MEMORY.search(log):
        state = "OUT_OF_MEMORY"
        taken = int(found[1] or 0) >> 20 or had
    limit = record.get("TimeLimit", "")
    values = {"host": host, "rule": rule, "taken": f"{taken:,}", "minutes": 4 * minutes(limit)}
    said = f"Slurm job {record['JobId']} ended as {state}"
    said += " (BadConstraints)" if record.get("Reason") == "BadConstraints" else ""
    said += f" on host {host}" if host else ""
    said += f", after {record.get('RunTime')} of {limit}, with {had:,} MB."
    return " ".join(
        [said, HELP.get(state, "").format(**values, memory=2 * max(had, taken))]
    ).strip()


def megabytes(tres: str) -> int:
    """Return the memory of a job, as Slurm writes it: ``cpu=8,mem=1.5G,node=1``."""
    found = re.search(r"\bmem=([\d.]+)([KMGT]?)", tres)
    return int(float(found[1]) * 1024 ** ("KMGT".index(found[2] or "M") - 1)) if found else 0


def minutes(time: str) -> int:
    """Return minutes, rounded up, of a time as Slurm writes it: ``1-02:30:00``; 0 if unlimited."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", time)
    days, hours, rest, seconds = (int(one or 0) for one in found.groups()) if found else (0,) * 4
    return (days * 24 + hours) * 60 + rest + (seconds > 0)


def ask(*command: str) -> str:
    """Return what a program of Slurm says."""
    how: dict[str, Any] = {"capture_output": True, "text": True, "timeout": ANSWERS}
    done = subprocess.run(command, check=command[1] != "ping", **how)
    return done.stdout or done.stderr
