# Start-up: settings, lock, and what connects each rule with its stage in chain.STAGES.

import os
import re
import sys
import time
from functools import lru_cache, partial

from snakemake.utils import validate

# Each job is a new process, and must run the code of this checkout, whatever is installed.
PACKAGES = os.path.join(workflow.basedir, "workflow")
if os.pathsep in PACKAGES:
    sys.exit(f"Error: {workflow.basedir} contains a {os.pathsep!r}. Move it to a path without one.")
sys.path.insert(0, PACKAGES)
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH")]))
)

from dinov3_metadata.chain import OF_SPLIT, STAGES, needs
from dinov3_metadata.config import explain, is_good, prepare, settings_of, with_defaults
from dinov3_metadata.demo import make_demo
from dinov3_metadata.disk import read_file
from dinov3_metadata.errors import printable
from dinov3_metadata.lock import lock_run
from dinov3_metadata.log import ending_plainly
from dinov3_metadata.paths import WILDCARDS, path_of, pattern
from dinov3_metadata.preflight import one_word
from dinov3_metadata.present import Chain
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


@lru_cache  # holds the lock until this process ends
def lock():
    """Become the only run on the work folder. Call this before any state is read."""
    if not workflow.is_main_process or not workflow.execution_settings or workflow.dryrun:
        return None
    with ending_plainly():
        check_cluster()
        held = lock_run(stages.extra)
        os.environ.update(DINOV3_METADATA_RUN=read_file(path_of(stages.extra, "run")).decode())
        return held


def state_of_job(rule, wildcards):
    """Return the wildcards of a job's files; a job on a cluster need not look at every folder."""
    lock()
    state = dict(wildcards.items())
    if "view" in STAGES[rule].reads:
        state["view"] = stages.now[state["split"]].view.name
    return state


def states():
    """Return the state of each split, in which no other run changes anything."""
    lock()
    with ending_plainly():
        return [*stages.states.values()]


def files_of(names, state):
    """Return the paths of the files that a split in some state needs, by their names."""
    return {name: path_of(stages.extra, name, **state) for name in names if needs(name, state)}


def reads(rule):
    """Return a function from wildcards to the files that a stage reads, by their names."""
    return unpack(lambda wildcards: files_of(STAGES[rule].reads, state_of_job(rule, wildcards)))


def makes(rule):
    """Return the files that a stage makes, by their names."""
    return {name: where(name) for name in STAGES[rule].makes}


def command(rule, **more):
    """Return a function that returns the words of a stage's shell command. As it depends on the
    output, it is no reason to run a job again: only a changed file name is."""

    def words(wildcards, output, threads):
        state = state_of_job(rule, wildcards)
        given = STAGES[rule].given(stages, state.get("split", "")) | more
        call = {"rule": rule, "extra": stages.extra, "state": state, "given": given}
        call |= {"threads": threads, "level": settings.log_level}
        with ending_plainly():
            return [PYTHON, f"{PACKAGES}/scripts/run_stage.py", one_word(call)]

    return words


def says(rule):
    """Return a function that returns the message for a stage."""
    known = stages.says if workflow.is_main_process else lambda rule, **wildcards: rule
    return lambda wildcards, output: known(rule, **wildcards)


def shares(wildcards):
    """Return the files of the shares of a split, each of which is audited by its own job."""
    return gather.audit(path_of(stages.extra, "share", **wildcards, scatteritem="{scatteritem}"))


def audited(audit):
    """Return the files that show that an audit of each split has finished."""
    return [path_of(stages.extra, "audited", audit=audit, **state) for state in states()]


def audits_needed(wildcards):
    """Return the audits needed before publishing: none, unless `fail_on` names a problem."""
    return audited(stages.audit) if settings.fail_on else []


def audits(wildcards):
    """Return a new audit of each split, as pixels can change while their folders do not."""
    return audited(f"{stages.audit}-{NOW}")


def verified(wildcards):
    """Return the files that must exist before anything is published."""
    names = [name for rule in OF_SPLIT for name in STAGES[rule].makes]
    return [path for state in states() for path in files_of(names, state).values()]


def artefacts(wildcards):
    """Return every file of every stage. If only the last ones were asked for, a stage that was
    interrupted would not run again (snakemake#1978)."""
    files = [*verified(wildcards), *audits_needed(wildcards)]
    receipt = path_of(stages.extra, "receipt", receipt=stages.receipt)
    # If the receipt exists, it is true, whatever arguments its job would get now.
    return files if os.path.exists(receipt) else [*files, receipt]
