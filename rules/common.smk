# Start-up: settings, the lock of the run, and how a rule is bound to its stage. Which files a stage
# reads and makes, and what it is given, is in workflow/dinov3_metadata/chain.py and paths.py.

import json
import os
import re
import sys
import time
from functools import lru_cache, partial

from snakemake.utils import validate

# Jobs are processes of their own and must run the code of this checkout, whatever is installed.
PACKAGES = os.path.join(workflow.basedir, "workflow")
if os.pathsep in PACKAGES:
    sys.exit(f"Error: {workflow.basedir} contains a {os.pathsep!r}. Move it to a path without one.")
sys.path.insert(0, PACKAGES)
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH")]))
)

from dinov3_metadata.chain import OF_SPLIT, STAGES, Chain, needs
from dinov3_metadata.config import explain, is_good, prepare, settings_of, with_defaults
from dinov3_metadata.demo import make_demo
from dinov3_metadata.disk import read_file, remove_shares
from dinov3_metadata.errors import printable
from dinov3_metadata.fingerprint import folders_in
from dinov3_metadata.lock import lock_run
from dinov3_metadata.log import ending_plainly
from dinov3_metadata.paths import WILDCARDS, existing, path_of, pattern
from dinov3_metadata.summary import failures, summarise

config |= with_defaults(prepare(config))
try:
    if not is_good(config):
        validate(config, "../workflow/schemas/config.schema.yaml")
except WorkflowError as error:
    sys.exit(f"Error: {printable(explain(error.__context__))}")
with ending_plainly():
    settings = settings_of(config)
    if not config["root"]:
        make_demo(settings.root, f"{PACKAGES}/demo_labels.txt", config["demo"]["images"])
    stages = Chain(settings)

where = partial(pattern, stages.extra)
NOW = f"{time.time_ns():x}"
IN_CONDA = "conda" in map(str, workflow.deployment_settings.deployment_method)
PYTHON = "python" if IN_CONDA else sys.executable


wildcard_constraints:
    **WILDCARDS,


@lru_cache  # keeps the lock to the end of this process
def lock():
    """Become the only run on the work folder, before the state of anything is read."""
    if not workflow.is_main_process or not workflow.execution_settings or workflow.dryrun:
        return None
    check_cluster()
    with ending_plainly():
        held = lock_run(stages.extra)
        remove_shares(stages.extra)
        os.environ.update(DINOV3_METADATA_RUN=read_file(path_of(stages.extra, "run")).decode())
        return held


def state_of_job(rule, wildcards):
    """The wildcards of all files that a job reads or makes; a job on a cluster need not look at
    each folder of the dataset to know them."""
    state = dict(wildcards.items())
    if "view" in STAGES[rule].reads:
        state["view"] = stages.now[state["split"]].view.name
    return state


def files_of(names, state):
    """Name -> path of those files that the state of a split needs."""
    lock()
    return {name: path_of(stages.extra, name, **state) for name in names if needs(name, state)}


def reads(rule):
    """The files that a stage reads, by their names; a function of the wildcards."""
    return unpack(lambda wildcards: files_of(STAGES[rule].reads, state_of_job(rule, wildcards)))


def makes(rule):
    """The files that a stage makes, by their names."""
    return {name: where(name) for name in STAGES[rule].makes}


def command(rule, **more):
    """The words of the shell command of a stage. The last one is JSON and has all that it needs. As
    a function of the output it is no reason for Snakemake to run a job; the names of files are."""

    def words(wildcards, output, threads):
        lock()
        state = state_of_job(rule, wildcards)
        given = STAGES[rule].given(stages, state.get("split", "")) | more
        call = {"rule": rule, "extra": stages.extra, "state": state, "given": given}
        call |= {"threads": threads, "level": settings.log_level}
        return [PYTHON, f"{PACKAGES}/scripts/run_stage.py", json.dumps(call)]

    return words


def says(rule):
    """What a run says of a stage."""
    return lambda wildcards, output: (
        stages.says(rule, **wildcards) if workflow.is_main_process else rule
    )


def shares(wildcards):
    """The shares of a split that are audited one by one."""
    return gather.audit(path_of(stages.extra, "share", **wildcards, scatteritem="{scatteritem}"))


def audited(audit):
    """The files that say that an audit of each split has finished."""
    states = (stages.now[split].state for split in stages.splits)
    return [path_of(stages.extra, "audited", audit=audit, **state) for state in states]


def audits_needed(wildcards):
    """What must be audited before it is published: nothing, unless a problem is to stop that."""
    return audited(stages.audit) if settings.fail_on else []


def audits(wildcards):
    """A new audit of each split, as pixels may have changed while their folders stayed the same."""
    lock()
    return audited(f"{stages.audit}-{NOW}")


def verified(wildcards):
    """The files that must exist before anything is published."""
    names = [name for rule in OF_SPLIT for name in STAGES[rule].makes]
    states = [stages.now[split].state for split in stages.splits]
    return [path for state in states for path in files_of(names, state).values()]


def artefacts(wildcards):
    """Every file of every stage in the current state. Asking for all of them, not only for the
    last, makes a stage that was interrupted run again (snakemake#1978)."""
    files = [*verified(wildcards), *audits_needed(wildcards)]
    receipt = path_of(stages.extra, "receipt", receipt=stages.receipt)
    # If the receipt exists, it is true, whatever its job would be given now.
    return files if os.path.exists(receipt) else [*files, receipt]
