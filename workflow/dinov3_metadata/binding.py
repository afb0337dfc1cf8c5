"""Binding: connect Snakemake's rules with the stages in ``chain.STAGES``.

A rule takes its files, command, message and resources from one ``Binding``. These functions are not
in rules/common.smk, because Snakemake would parse them anew at every start.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from snakemake.io import unpack

from .addresses import LABELLED
from .chain import OF_SPLIT, STAGES, TABLES, needs
from .class_ids import class_ids_of
from .disk import read_file
from .errors import MetadataError, logger
from .extras import check_settings
from .fingerprint import digest
from .growth import images_of, memory, minutes, shares
from .jobs import (
    check_amount,
    check_cluster_paths,
    check_rules,
    check_seen,
    check_slurm_extra,
    check_submitting,
    one_word,
)
from .lock import lock_run
from .log import ending_plainly
from .paths import folder_count, house, path_of, pattern
from .present import Chain
from .workdir import check_workdir

RUN = "DINOV3_METADATA_RUN"
"""The start of the name of the environment variable that tells a job to which run it belongs."""

AMOUNTS = {"mem_mb", "runtime"}
"""The resources that each job of ours has, whatever the scheduler."""

SCRIPT = house() / "workflow/scripts/run_stage.py"
PACKAGES = Path(__file__).parents[1]


class Binding:
    """The chain as the rules see it. Snakemake calls the methods that take ``wildcards``.

    Args:
        workflow: Snakemake's ``workflow``.
        chain: The dataset with its settings.
    """

    def __init__(self, workflow: Any, chain: Chain) -> None:
        self.workflow, self.chain, self.extra = workflow, chain, chain.extra
        in_conda = "conda" in map(str, workflow.deployment_settings.deployment_method)
        self.python = "python" if in_conda else sys.executable
        if not in_conda:
            check_settings(chain.settings)
        if self._run:
            check_seen(self.extra)
        if workflow.is_main_process:
            self._check_amounts()

    def complete(self) -> None:
        """Let `all` be the default target. Each Snakefile asks for this at its end, because a
        Snakefile that includes another one keeps its own default target."""
        self.workflow.default_target = "all"

    @property
    def shares_of_an_audit(self) -> Callable[..., list[str]]:
        """Snakemake's ``gather.audit``."""
        return self.workflow.globals["gather"].audit

    def where(self, name: str) -> str:
        """Return the path of a file with its wildcards."""
        return pattern(self.extra, name)

    def reads(self, rule: str) -> Any:
        """Return a function from wildcards to the files that a stage reads, by their names."""
        return unpack(
            lambda wildcards: self._files(STAGES[rule].reads, self._state_of_job(rule, wildcards))
        )

    def makes(self, rule: str) -> dict[str, str]:
        """Return the files that a stage makes, by their names."""
        names = STAGES[rule].makes
        return {name: self.where(name) for name in names if self.chain.tabled or name not in TABLES}

    def command(self, rule: str) -> Callable[..., list[str]]:
        """Return a function that returns the words of a stage's shell command. As it depends on the
        output, it is no reason to run a job again: only a changed file name is."""

        def words(wildcards: Any, output: Any, threads: int) -> list[str]:
            state = self._state_of_job(rule, wildcards)
            given = STAGES[rule].given(self.chain, state.get("split", ""))
            if rule == "audit_split":
                given["shares"] = self._shares(wildcards)
            call = {
                "rule": rule,
                "extra": self.extra,
                "state": state,
                "given": given,
                "threads": threads,
                "level": self.chain.settings.log_level,
            }
            with ending_plainly():
                return [self.python, str(SCRIPT), str(PACKAGES), one_word(call)]

        return words

    def says(self, rule: str) -> Callable[..., str]:
        """Return a function that returns the message for a stage."""
        known = self.chain.says if self.workflow.is_main_process else lambda rule, **_: rule
        return lambda wildcards, output: known(rule, **wildcards)

    def shares(self, wildcards: Any) -> list[str]:
        """Return the files of the shares of a split, each of which is audited by its own job."""
        count = self._shares(wildcards)
        items = (f"{number}-of-{count}" for number in range(1, count + 1))
        return [path_of(self.extra, "share", **wildcards, scatteritem=item) for item in items]

    def audits_needed(self, wildcards: Any) -> list[str]:
        """Return the audits needed before publishing: none, unless `fail_on` names a problem; and a
        search for duplicates, if it names these."""
        if not self.chain.settings.fail_on:
            return []
        audits = self._audited()
        return [*audits, self._compared()] if self.chain.groups_refused else audits

    def audits(self, wildcards: Any) -> list[str]:
        """Return a new audit of each split, as pixels can change while their folders do not; and a
        search for duplicates after it, unless the user wants none."""
        audits = self._audited(self._now)
        new = [self._compared(f"-{self._now}")] if self.chain.settings.duplicates else []
        return [*audits, *new]

    def audits_compared(self, wildcards: Any) -> list[str]:
        """Return the audits before a search for duplicates, which are from the same time."""
        return self._audited(wildcards.search.partition("-")[2])

    def scans_beside(self, wildcards: Any) -> list[str]:
        """Return the files of the scans of other splits that the selection of a split reads."""
        self._states()
        beside = self.chain.now[wildcards.split].beside
        return [path for one in beside.values() for name, path in one.items() if name != "source"]

    def audits_before(self, wildcards: Any) -> list[str]:
        """Return the audits by which images of a split are left out."""
        self._states()
        return [*self.chain.now[wildcards.split].audits_before.values()]

    def verified(self, wildcards: Any) -> list[str]:
        """Return the files that must exist before anything is published."""
        names = [name for rule in OF_SPLIT for name in STAGES[rule].makes]
        return [path for state in self._states() for path in self._files(names, state).values()]

    def artefacts(self, wildcards: Any) -> list[str]:
        """Return every file of every stage. If only the last ones were asked for, a stage that was
        interrupted would not run again (snakemake#1978)."""
        files = [*self.verified(wildcards), *self.audits_needed(wildcards)]
        receipt = path_of(self.extra, "receipt", receipt=self.chain.receipt)
        # If the receipt exists, it is true, whatever arguments its job would get now.
        return files if os.path.exists(receipt) else [*files, receipt]

    def memory(self, rule: str) -> Callable[..., int]:
        """Return a function that returns the MB for the job of a stage."""
        objects = rule == "verify" and self.chain.settings.level == "full"
        names = self.chain.tabled or rule == "select_images"

        def asked(wildcards: Any, attempt: int) -> int:
            size = self._size(wildcards)
            return memory(*size, names=names, objects=objects) * 4 ** (attempt - 1)

        return asked

    def minutes(self, rule: str) -> Callable[..., int]:
        """Return a function that returns the minutes for the job of a stage."""
        full = rule == "verify" and self.chain.settings.level == "full"

        def asked(wildcards: Any, attempt: int) -> int:
            images, folders = self._size(wildcards)
            jobs = int(wildcards.get("scatteritem", "-of-1").partition("-of-")[2])
            stage = f"{rule} full" if full else rule
            return minutes(stage, images // jobs, folders) * 4 ** (attempt - 1)

        return asked

    def scan_threads(self, wildcards: Any) -> int:
        """Return an equal share of the cores for each scan that is needed.

        The scans run at the same time, so that they wait for a file server together. On a cluster,
        no scan knows about the others, and each process of a job must get the same number.
        """
        if not (self.workflow.local_exec and self.workflow.is_main_process):
            return 8
        scans = [path_of(self.extra, "scan", **state) for state in self._states()]
        needed = [scan for scan in scans if not os.path.exists(scan)]
        return max(1, (self.workflow.resource_settings.cores or 1) // max(1, len(needed)))

    def _check_amounts(self) -> None:
        """Refuse memory, minutes and threads that are no numbers."""
        used = self.workflow.resource_settings
        for rule, threads in used.overwrite_threads.items():
            check_amount("threads", evaluated(threads), rule)
        given = {**used.overwrite_resources, "default-resources": used.default_resources or {}}
        for of, resources in given.items():
            for name in AMOUNTS & {*resources}:
                check_amount(name, evaluated(resources[name]), of)

    def check_cluster(self) -> None:
        """Refuse what a cluster cannot handle, before any job is submitted, and listen to it."""
        workflow, used = self.workflow, self.chain.settings
        if not workflow.non_local_exec:
            return
        paths = [used.root, used.extra, self.chain.root, used.labels, workflow.basedir]
        paths += [os.getcwd(), SCRIPT, PACKAGES]
        check_cluster_paths(map(str, paths))
        from .remote import hear, hear_command

        if workflow.executor_plugin.name != "slurm":
            command = getattr(workflow.executor_settings, "submit_cmd", None) or ""
            names = {*re.findall(r"{resources\.(\w+)}", command)}
            remote = (rule for rule in workflow.rules if not workflow.is_local(rule))
            check_submitting(name for rule in remote for name in names - {*rule.resources})
            hear_command(workflow.executor_settings)
            hear(workflow.executor_plugin)
            return
        from snakemake_executor_plugin_slurm.validation import get_forbidden_slurm_options

        from .slurm_guard import SlurmGuard, check_slurm

        options = (one for rule in workflow.rules for one in rule.resources.args)
        check_slurm_extra(
            {one for one in options if "slurm_extra=" in one}, get_forbidden_slurm_options()
        )
        check_slurm()
        hear(workflow.executor_plugin, SlurmGuard)

    def check_run(self) -> None:
        """End a job that waited in a cluster's queue while its run was killed and another began."""
        if self._run and self._run != self._run_in_progress():
            sys.exit(
                "Error: The run that this job belongs to has ended, and another one is in progress."
            )

    @property
    def _runs(self) -> bool:
        """Whether this process is to run anything, and is not a job."""
        workflow = self.workflow
        settings = workflow.execution_settings
        return bool(workflow.is_main_process and settings and not workflow.dryrun)

    @property
    def _run(self) -> str:
        """The run that this process is a job of, on a cluster; otherwise empty."""
        return "" if self.workflow.is_main_process else os.environ.get(self._variable, "")

    @property
    def _variable(self) -> str:
        """``RUN`` for this work folder: a workflow may have several, each with a run of its own."""
        return f"{RUN}_{digest(self.extra)}"

    def _run_in_progress(self) -> str:
        return read_file(path_of(self.extra, "run")).decode()

    @cached_property  # holds the lock until this process ends
    def _lock(self) -> BinaryIO | None:
        """The lock of the only run on the work folder. Ask for it before any state is read."""
        return self.become_only_run()

    def become_only_run(self) -> BinaryIO | None:
        """Lock the work folder, if this process is to run anything."""
        if self.workflow.is_main_process and self.workflow.execution_settings:
            used = self.workflow.resource_settings
            named = {*used.overwrite_threads, *used.overwrite_resources}
            with ending_plainly():
                check_workdir(Path.cwd(), writes=True)
                check_rules(named, [rule.name for rule in self.workflow.rules])
        if not self._runs:
            return None
        with ending_plainly():
            self.check_cluster()
            held = lock_run(self.extra)
            os.environ[self._variable] = self._run_in_progress()
            return held

    @cached_property
    def _now(self) -> str:
        return f"{time.time_ns():x}"

    def _state_of_job(self, rule: str, wildcards: Any) -> dict[str, str]:
        """Return the wildcards of a job's files. A job on a cluster need not see every folder."""
        _ = self._lock
        self.check_run()
        state = dict(wildcards.items())
        if "view" in STAGES[rule].reads:
            state["view"] = self.chain.now[state["split"]].view.name
        return state

    def _states(self) -> list[dict[str, str]]:
        """Return the state of each split, in which no other run changes anything."""
        _ = self._lock
        with ending_plainly():
            states = [*self.chain.states.values()]
            _ = self._doubted, self._forgotten, self._parted
        return states

    @cached_property  # so that it is said once
    def _doubted(self) -> None:
        """Say what to know of the dataset's file system, and if changes may go unnoticed. Each job
        of a cluster would say it again."""
        if self.workflow.is_main_process:
            for said in filter(None, (self.chain.remark, self.chain.doubt)):
                logger.warning("%s", said)

    @cached_property  # once, before Snakemake looks for the records
    def _forgotten(self) -> None:
        """Forget audits that are out of date, if this process is to run anything."""
        if self._runs:
            for split in self.chain.splits:
                self.chain.now[split].forget_audit()

    @cached_property  # Snakemake knows the groups only after it has read the rules
    def _parted(self) -> None:
        """If images are left out by an audit, let what comes after it be a job of its own on a
        cluster. The audit is not in the group, which would have to run before and after it."""
        groups = self.workflow.group_settings.overwrite_groups
        for rule in ("dump_entries", "dump_class_arrays", "verify"):
            if self.chain.settings.select_audit and rule in groups:
                groups[rule] = f"{groups[rule].removesuffix('-rows')}-rows"

    def _files(self, names: Iterable[str], state: dict[str, str]) -> dict[str, str]:
        """Return the paths of the files that a split in some state needs, by their names."""
        return {name: path_of(self.extra, name, **state) for name in names if needs(name, state)}

    def _audited(self, time_of_audit: str = "") -> list[str]:
        """Return the files that show that an audit of each split has finished: one that was asked
        for at some time, or one that a publication needs."""
        self._states()
        audit = "-".join(filter(None, [self.chain.audit, time_of_audit]))
        return [
            path_of(self.extra, "audited", audit=audit, **self.chain.now[split].place_of_audit)
            for split in self.chain.splits
        ]

    def _compared(self, time_of_audit: str = "") -> str:
        """Return the file that shows that a search for duplicates has finished."""
        return path_of(self.extra, "compared", search=f"{self.chain.search}{time_of_audit}")

    def _shares(self, wildcards: Mapping[str, str]) -> int:
        """Return how many jobs audit a split: as many as `--set-scatter` says, otherwise eight on
        this host; on a cluster, as many as its images are worth."""
        workflow = self.workflow
        if workflow.non_local_exec and "audit" not in workflow.resource_settings.overwrite_scatter:
            return shares(self._size(wildcards)[0])
        return len(self.shares_of_an_audit("{scatteritem}"))

    def _size(self, wildcards: Mapping[str, str]) -> tuple[int, int]:
        """Estimate the images, and return the folders, of the split that a job is about."""
        name, split = wildcards.get("tree") or wildcards["view"], wildcards["split"]
        folders = max(folder_count(name), self._classes.get(split, 0))
        return images_of(self.extra, split, name, folders), folders

    @cached_property
    def _classes(self) -> dict[str, int]:
        """Split -> the number of its classes, where it is not in DINOv3's layout: before the first
        scan, the name of its scan counts only the folders above them."""
        chain, found = self.chain, dict[str, int]()
        for split in LABELLED if chain.tabled or chain.is_view else ():
            with suppress(MetadataError, OSError):  # the scan will say so
                ids = class_ids_of(chain.dataset, chain.layout, split, chain.folders)
                found[split] = len(ids)
        return found


def evaluated(amount: Any) -> object:
    """Return the number of a resource of Snakemake, which may be an expression such as
    ``attempt * 1000``; the text of one that has none.

    One that asks for the files of a job counts as 1, because they are not known yet.
    """
    if not hasattr(amount, "evaluate"):
        return amount
    if re.search("input|wildcards", str(amount.raw)):
        return 1
    known = {"input": (), "attempt": 1, "threads": 1, "rulename": "", "async_run": None}
    try:
        return amount.evaluate({}, **known).value
    except Exception as error:
        if amount.raw is None:  # for instance, of the defaults of Snakemake itself
            return 1 if "input" in str(error) else str(error)
        return amount.raw
