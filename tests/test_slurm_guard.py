"""What is added to Snakemake's plugin for Slurm. tests/slurm has it on the plugin itself."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

pytestmark = pytest.mark.needs("snakemake")

RECORD = {"JobId": "7", "JobState": "FAILED", "BatchHost": "n2", "RunTime": "00:01:09"}
RECORD |= {"TimeLimit": "1-00:01:00", "TRES": "cpu=8,mem=1.5G,node=1"}


class Group:
    """A group of jobs, which has no ``rule``."""

    rules, threads = ("verify", "scan_split"), 8

    def __init__(self) -> None:
        self.resources = {"mem_mb": 1002, "runtime": 20}


class Info(SimpleNamespace):
    """A job that was submitted."""

    external_jobid, aux = "7", MappingProxyType({"slurm_logfile": "no.log"})


@pytest.fixture
def guarded() -> Callable[..., Any]:
    """Put the guard on an executor with some methods; ``said`` has what it reports of jobs."""
    from dinov3_metadata.slurm_guard import SlurmGuard
    from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

    def make(**methods: Callable) -> Any:
        said: list[str] = []

        def begin(self: Any) -> None:
            """Look as soon as Snakemake's own class, whose thread can be faster than the rest."""
            assert self._news <= time.monotonic()

        own = {
            "__init__": begin,
            "run_uuid": "the run",
            "cancel_jobs": lambda self, jobs: None,
            "report_job_success": lambda self, info: said.append("success"),
            "report_job_error": lambda self, info, msg=None, **_: said.append(msg),
            "_report_job_error_threadsafe": lambda self, info, msg: said.append(msg),
        }
        plugin = type("Plugin", (RemoteExecutor,), own | methods)
        kind = type("Executor", (SlurmGuard, plugin), {})
        kind.__abstractmethods__ = frozenset()
        executor = kind()
        executor.said = said
        return executor

    return make


def look(executor: Any, *answers: Any) -> list[str]:
    """Let an executor look at a job while Slurm gives some answers, one a look; return what is
    reported of it."""
    info = Info(job=Group())
    with (
        patch("dinov3_metadata.slurm_guard.states_of", side_effect=answers),
        patch("dinov3_metadata.slurm_guard.record_of", return_value={}),
        patch("dinov3_metadata.slurm_guard.PATIENCE", 0),
    ):
        for _ in answers:
            left = asyncio.run(collect(executor.check_active_jobs([info])))
            assert left == ([] if executor.said else [info])
    return executor.said


async def collect(jobs: Any) -> list[Any]:
    return [one async for one in jobs]


async def nothing(self: Any, jobs: list[Any]) -> Any:
    """What the plugin yields if Slurm does not answer."""
    for one in ():
        yield one


def test_the_error_of_a_group_that_cannot_be_submitted_is_reported(guarded: Callable) -> None:
    def run_job(self: Any, job: Any) -> None:
        try:
            raise ValueError("The given account nosuch appears to be invalid.")
        except ValueError:
            print(job.rule.name)

    executor = guarded(run_job=run_job)
    executor.run_job(Group())
    (said,) = executor.said
    assert "The given account nosuch appears to be invalid.\nThe job asks for 8 cores" in said


def test_a_plugin_without_the_fault_reports_its_errors_itself(guarded: Callable) -> None:
    def run_job(self: Any, job: Any) -> None:
        self._report_job_error_threadsafe(Info(job=job), "refused")

    executor = guarded(run_job=run_job)
    executor.run_job(Group())
    assert [said.partition("\n")[0] for said in executor.said] == ["refused"]


def test_what_a_second_try_asks_for_is_not_blamed(guarded: Callable) -> None:
    executor = guarded(
        run_job=lambda self, job: self._report_job_error_threadsafe(Info(job=job), "too long")
    )
    group = Group()
    executor.run_job(group)
    group.resources = {"mem_mb": 4008, "runtime": 80}
    executor.run_job(group)
    assert executor.said[1] == executor.said[0]
    assert "1002 MB and 20 minutes" in executor.said[0]


def test_a_limit_on_submitted_jobs_is_waited_out(
    guarded: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def run_job(self: Any, job: Any) -> None:
        tries.append(job)
        if len(tries) < 3:
            msg = (
                "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed"
            )
            self._report_job_error_threadsafe(Info(job=job), msg)

    executor = guarded(run_job=run_job)
    with patch("dinov3_metadata.slurm_guard.AGAIN", 0):
        executor.run_job(Group())
    assert (len(tries), executor.said) == (3, [])
    (warning,) = caplog.messages
    assert "(AssocMaxSubmitJobLimit). The run waits" in warning


@pytest.mark.parametrize(
    ("limit", "queue", "ends"),
    [
        ("AssocMaxSubmitJobLimit", [" \n", ""], True),
        ("QOSMaxSubmitJobPerUserLimit", ["8 PENDING", "", "8 RUNNING", "", ""], True),
        ("AssocGrpSubmitJobsLimit", ["", ""], False),  # others of the group may have jobs
        ("AssocMaxSubmitJobLimit", [OSError(), OSError(), OSError()], False),
    ],
)
def test_a_limit_that_lets_no_job_in_is_not_waited_out(
    guarded: Callable, limit: str, queue: list[Any], ends: bool
) -> None:
    tries = []

    def run_job(self: Any, job: Any) -> None:
        tries.append(job)
        if len(tries) <= len(queue):
            self._report_job_error_threadsafe(Info(job=job), f"sbatch: error: {limit}")

    executor = guarded(run_job=run_job)
    with (
        patch("dinov3_metadata.slurm_guard.AGAIN", 0),
        patch("dinov3_metadata.slurm_guard.ask", side_effect=queue),
    ):
        executor.run_job(Group())
    assert len(tries) == len(queue) + (not ends)
    assert [said.splitlines()[0] for said in executor.said] == [f"sbatch: error: {limit}"] * ends


def test_a_job_that_waits_for_a_limit_ends_with_the_run(guarded: Callable) -> None:
    executor = guarded(
        run_job=lambda self, job: self._report_job_error_threadsafe(Info(job=job), "MaxSubmitJobs"),
        cancel=lambda self: None,
    )
    executor.cancel()
    executor.run_job(Group())
    assert executor.said == []


@pytest.mark.parametrize("state", ["PREEMPTED", "REVOKED"])
def test_a_final_state_that_the_plugin_does_not_know_is_reported(
    guarded: Callable, state: str
) -> None:
    final = {"7": (state, "None")}
    assert look(guarded(check_active_jobs=nothing), final, final) == [f"Slurm job 7 is {state}."]


@pytest.mark.parametrize(
    "reason", ["PartitionTimeLimit", "launch_failed_requeued_held", "QOSMaxCpuPerJobLimit"]
)
def test_a_job_whose_waiting_is_in_vain_is_reported_and_cancelled(
    guarded: Callable, reason: str
) -> None:
    waits = {"7": ("PENDING", reason)}
    with patch("dinov3_metadata.slurm_guard.ask") as ask:
        (said,) = look(guarded(check_active_jobs=nothing), waits, waits)
    assert said.startswith(f"Slurm job 7 would wait forever: {reason}.\nThe job asks for 8 cores")
    ask.assert_called_once_with("scancel", "7")


def test_a_job_that_slurm_puts_back_into_the_queue_is_waited_for(guarded: Callable) -> None:
    executor = guarded(check_active_jobs=nothing)
    waits, preempted = {"7": ("PENDING", "Priority")}, {"7": ("PREEMPTED", "None")}
    assert look(executor, preempted, waits, preempted) == []


def test_a_job_that_slurm_does_not_know_any_more_is_reported(
    guarded: Callable, tmp_path: Path
) -> None:
    assert look(guarded(check_active_jobs=nothing), {}, {}) == [
        "Slurm job 7 is not known to Slurm any more."
    ]
    log = tmp_path / "7.log"
    log.write_text("4 of 4 steps (100%) done\n")
    with patch.object(Info, "aux", {"slurm_logfile": log}):
        assert look(guarded(check_active_jobs=nothing), {}, {}) == ["success"]


def test_no_job_is_forgotten_while_slurm_does_not_answer(
    guarded: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    assert look(guarded(check_active_jobs=nothing), None, None, None) == []
    assert caplog.messages == [
        "Slurm does not answer. The run waits until it does. Ctrl-C ends it."
    ]


def test_a_run_says_why_its_job_waits(guarded: Callable, caplog: pytest.LogCaptureFixture) -> None:
    waits = {"7": ("PENDING", "AssocGrpCpuLimit")}
    with patch("dinov3_metadata.slurm_guard.SILENCE", 0):
        assert look(guarded(check_active_jobs=nothing), waits, waits) == []
    assert caplog.messages == ["Slurm job 7 waits: AssocGrpCpuLimit. Ctrl-C ends the run."]


def test_a_job_that_somebody_holds_is_named_once(
    guarded: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    held = {"7": ("PENDING", "JobHeldUser")}
    assert look(guarded(check_active_jobs=nothing), held, held) == []
    assert caplog.messages == ["Slurm job 7 is held (JobHeldUser): scontrol release 7"]


def test_nothing_is_waited_for_at_the_end_of_a_run(guarded: Callable) -> None:
    settings = SimpleNamespace(init_seconds_before_status_checks=3600)
    executor = guarded(wait=False, workflow=SimpleNamespace(executor_settings=settings))
    asyncio.run(asyncio.wait_for(executor.sleep(), 60))


def test_one_snakemake_runs_all_stages_of_a_job(guarded: Callable) -> None:
    executor = guarded(
        additional_general_args=lambda self: "--executor slurm-jobstep --jobs 1",
        format_job_exec=lambda self, job: (
            "snakemake --executor slurm-jobstep --jobs 1 --mode remote"
        ),
    )
    assert executor.format_job_exec(Group()) == "snakemake --mode remote"
    of_a_module = SimpleNamespace(rules=["meta_scan_split", "meta_verify"])
    assert executor.format_job_exec(of_a_module) == "snakemake --mode remote"
    of_others = SimpleNamespace(rules=["meta_scan_split", "train"])
    assert "slurm-jobstep" in executor.format_job_exec(of_others)


@pytest.mark.parametrize(
    ("record", "log", "helps"),
    [
        (
            {},
            "exceeded memory limit (97107968 > 52428800)",
            "--set-resources scan_split:mem_mb=3072",
        ),
        ({"TRES": "mem=50M"}, "memory limit (97107968 > 52428800)", "more than 92 MB"),
        ({"JobState": "OUT_OF_MEMORY"}, "", "--set-resources scan_split:mem_mb=3072"),
        ({"JobState": "TIMEOUT"}, "", "--set-resources scan_split:runtime=5764"),
        ({"JobState": "NODE_FAIL"}, "", "slurm_extra=\"'--exclude=n2'\""),
        ({"JobState": "PREEMPTED"}, "", "--slurm-requeue"),
        ({"Reason": "BadConstraints"}, "", "Slurm job 7 ended as FAILED (BadConstraints) on host"),
        ({"Reason": "JobLaunchFailure"}, "", "Slurm job 7 ended as FAILED on host"),
        ({"JobState": "FAILED"}, "", "on host n2, after 00:01:09 of 1-00:01:00, with 1,536 MB."),
        ({"JobState": "CANCELLED", "BatchHost": ""}, "", "Slurm job 7 ended as CANCELLED, after"),
    ],
)
def test_the_last_words_say_what_to_do(record: dict[str, str], log: str, helps: str) -> None:
    from dinov3_metadata.slurm_guard import explain

    assert helps in explain(RECORD | record, log, "scan_split")


def test_a_slurm_that_does_not_answer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dinov3_metadata.errors import MetadataError
    from dinov3_metadata.slurm_guard import check_slurm

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MetadataError, match="There is no sbatch on this host"):
        check_slurm()
    for name in ("sbatch", "squeue", "scontrol"):
        (tmp_path / name).write_text(
            "#!/bin/sh\necho 'Slurmctld(primary) at n1 is '$STATE\nexit 1\n"
        )
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("STATE", "DOWN")
    with pytest.raises(MetadataError, match=r"does not answer(.|\n)*n1 is DOWN\nTry again"):
        check_slurm()
    monkeypatch.setenv("STATE", "UP")
    check_slurm()
