"""Imported: connect the rules with the stages where another workflow uses this one as a module.

Snakemake runs the hooks and the default target only of the importing workflow, and knows nothing of
the published files, which are no outputs. docs/module.md shows the use.
"""

import fcntl
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, BinaryIO

from snakemake.checkpoints import Checkpoint

from .binding import Binding
from .errors import MetadataError
from .log import ending_plainly, escape
from .paths import path_of
from .preflight import is_same
from .present import Chain
from .settings import Settings
from .summary import errors, show, summarise

NEEDED = ("numpy", "PIL", "tqdm")
"""What the jobs import. Who takes a module by path or by git may not have installed it."""

_known: "list[Imported]" = []


def bind(workflow: Any, settings: Settings) -> "Imported":
    """Return what connects the rules of a module with the stages.

    Snakemake reads the Snakefile of a module again for each `use rule`. All of these see one state
    of the dataset.

    Args:
        workflow: Snakemake's ``workflow``.
        settings: Those of the module.

    Raises:
        MetadataError: Another module has the same ``extra``, or a package is missing.
    """
    for known in _known:
        if known.workflow is workflow and known.chain.settings == settings:
            known.target = workflow.default_target
            return known
        if known.workflow is workflow and is_same(known.extra, settings.extra):
            raise MetadataError(
                f"config: extra: two modules with different settings write to {settings.extra}. "
                "Give each a folder of its own."
            )
    _known.append(Imported(workflow, Chain(settings)))
    return _known[-1]


class Offered(str):
    """The name of a default target that Snakemake replaces by the first rule that comes after."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False


class Imported(Binding):
    """The chain as the rules of a module see it."""

    def __init__(self, workflow: Any, chain: Chain) -> None:
        super().__init__(workflow, chain)
        self.target = workflow.default_target
        self.publication: Checkpoint | None = None
        self.said = self.released = False
        missing = [name for name in NEEDED if self.python != "python" and not find_spec(name)]
        if missing:
            raise MetadataError(
                f"The Python that runs Snakemake, {sys.executable}, lacks {', '.join(missing)}, "
                "which the jobs import. Install dinov3-metadata for this Python."
            )

    def complete(self) -> None:
        """Give the importing workflow its default target back, and offer `all` if it has none. Let
        Snakemake look again at the rules that need the published files, once they are there."""
        workflow = self.workflow
        name = workflow.modifier.avail_rulename("all")
        workflow.default_target = self.target
        if self.target is None and name:
            workflow.default_target = Offered(workflow.modifier.modify_rulename("all"))
        if workflow.modifier.avail_rulename("publish"):
            rule = workflow.get_rule(workflow.modifier.modify_rulename("publish"))
            rule.is_checkpoint = True
            self.publication = Checkpoint(rule, workflow.checkpoints)

    def published(self, *splits: str) -> Callable[[Any], list[str]]:
        """Return an input function for a rule that reads published files.

        Its files are ``metadata-SPLIT.json``, which contain the sha256 of the arrays. So the rule
        runs after the publication, and again when, and only when, the metadata has changed. They
        cannot be named as plain paths, because no rule may have them as outputs.

        Args:
            splits: The splits that the rule reads; by default all splits of the module.
        """
        unknown = sorted({*splits} - {*self.chain.splits})
        if unknown:
            sys.exit(
                f"Error: published(): this module makes no {unknown[0]}, only "
                f"{', '.join(self.chain.splits)}. Add it to its setting `splits`."
            )
        chosen = splits or self.chain.splits
        files = [path_of(self.extra, "metadata", split=split) for split in chosen]

        def wait(wildcards: Any) -> list[str]:
            if self.workflow.is_main_process:
                self._wait()
            return files

        return wait

    def audits(self, wildcards: Any) -> list[str]:
        """See ``Binding``. An audit that is asked for runs under the lock."""
        if self.released:
            self.released = False
            del self._lock
        return super().audits(wildcards)

    def become_only_run(self) -> BinaryIO | None:
        """See ``Binding``. This is the first moment at which the importer's hooks are known."""
        file = super().become_only_run()
        if self._runs:
            self._add_hook("onsuccess", self._say_what_is_published)
            self._add_hook("onerror", self._say_what_failed)
        return file

    def _wait(self) -> None:
        """Make Snakemake wait for the publication, unless the current state is published.

        Raises:
            IncompleteCheckpointException: It is not. Snakemake asks again after the publication.
        """
        _ = self._states()
        receipt = path_of(self.extra, "receipt", receipt=self.chain.receipt)
        if not all(map(os.path.exists, [receipt, *self.audits_needed({})])):
            if not self.publication:
                sys.exit("Error: published() needs the rule publish: `use rule * from` the module.")
            # A missing file that only other jobs need is ignored if these have their outputs
            # (snakemake#1978).
            self.workflow.dag.forcefiles.add(receipt)
            self.publication.get(receipt=self.chain.receipt)
        self._reconsider(receipt)
        self._say_what_is_published()
        self._release()

    def _reconsider(self, receipt: str) -> None:
        """Drop the plan to run all jobs that wait for the publication. Snakemake keeps it for those
        that come after a job which, as it turns out, needs not run."""
        dag = self.workflow.dag
        done = [job for job in dag.finished_jobs if receipt in job.output]
        for job in dag.bfs(dag.depending, *done):
            if job not in done and not job.rule.norun:
                dag.reason(job).clear()

    def _release(self) -> None:
        """Let other runs use the work folder while the importer's rules run, maybe for days."""
        forced = self.workflow.dag_settings.forceall or self.workflow.dag_settings.forcerun
        audited = "_now" in vars(self)
        if not (forced or audited) and all(map(os.path.exists, self.verified({}))):
            self.released = True
            if self._lock and not self._lock.closed:
                with suppress(OSError):
                    fcntl.flock(self._lock, fcntl.LOCK_UN)
                self._lock.close()

    def _add_hook(self, name: str, ours: Callable[[], None]) -> None:
        """Let Snakemake call a function at the end of the run, after the importer's own."""
        theirs = self.workflow.globals.get(name)

        def both(log: Any) -> None:
            if theirs:
                theirs()
            ours()

        getattr(self.workflow, name)(both)

    def _say_what_is_published(self) -> None:
        """Print the summary, once, if this run has published something."""
        receipt = path_of(self.extra, "receipt", receipt=self.chain.receipt)
        started = path_of(self.extra, "run")
        if self.said or not self._runs or not os.path.exists(receipt):
            return
        self.said = True
        if os.path.getmtime(receipt) >= os.path.getmtime(started):
            escape(sys.stdout)
            with ending_plainly():
                print(summarise(self.chain), flush=True)

    def _say_what_failed(self) -> None:
        if said := show(errors(self.extra)):
            print(said, file=sys.stderr)
