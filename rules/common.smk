# Start-up: settings, the lock of the run, and how a rule is bound to its stage. Which files a stage
# reads and makes, and what it is given, is in workflow/dinov3_metadata/chain.py and paths.py.

import json
import os
import re
import sys
import time
from functools import lru_cache

from snakemake.utils import validate

# Jobs are processes of their own and must run the code of this checkout, whatever is installed.
PACKAGES = os.path.join(workflow.basedir, "workflow")
if os.pathsep in PACKAGES:
    sys.exit(f"Error: {workflow.basedir} has a {os.pathsep!r} in it. Move this checkout elsewhere.")
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

prepared = with_defaults(prepare(config))
config.clear()
config.update(prepared)
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

NOW = f"{time.time_ns():x}"
CONDA = "conda" in map(str, workflow.deployment_settings.deployment_method)
PYTHON = "python" if CONDA else sys.executable
RUN_STAGE = f"{PACKAGES}/scripts/run_stage.py"


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


def state_of_job(wildcards):
    """The wildcards of all files that a job may read or make."""
    split = wildcards.get("split")
    return (stages.now[split].state if split else {}) | dict(wildcards.items())


def reads(rule):
    """The files that a stage reads, by their names; a function of the wildcards."""

    def files(wildcards):
        lock()
        state, names = state_of_job(wildcards), STAGES[rule].reads
        return {name: path_of(stages.extra, name, **state) for name in names if needs(name, state)}

    return unpack(files)


def makes(rule):
    """The files that a stage makes, by their names."""
    return {name: pattern(stages.extra, name) for name in STAGES[rule].makes}


def log_of(rule):
    """The log of a stage."""
    return pattern(stages.extra, f"{rule}.log")


def times_of(rule):
    """The file with the time and the memory that a stage took."""
    return pattern(stages.extra, f"{rule}.tsv")


def call(rule, **more):
    """All that a stage needs, as one word for the shell: JSON. As a function of the output it is no
    reason for Snakemake to run a job; the names of the files are."""

    def word(wildcards, output, threads):
        state, log_level = state_of_job(wildcards), settings.log_level
        given = STAGES[rule].given(stages, state.get("split", "")) | more
        log = path_of(stages.extra, f"{rule}.log", **state)
        call = {"rule": rule, "extra": stages.extra, "state": state, "given": given}
        return json.dumps(call | {"threads": threads, "log": log, "level": log_level})

    return word


def says(rule):
    """What a run says of a stage, see ``call``; a job on a cluster need not look at each folder."""

    def sentence(wildcards, output):
        if not workflow.is_main_process:
            return rule
        split, share = wildcards.get("split"), wildcards.get("scatteritem", "")
        return stages.now[split].says(rule, share) if split else STAGES[rule].says

    return sentence


def shares(wildcards):
    """The shares of a split that are audited one by one."""
    share = path_of(stages.extra, "share", **wildcards, scatteritem="{scatteritem}")
    return gather.audit(share)


def audited(audit):
    """The files that say that an audit of each split has finished."""
    now = (stages.now[split] for split in stages.splits)
    return [path_of(stages.extra, "audited", audit=audit, **one.state) for one in now]


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
    return [
        path_of(stages.extra, name, **one) for one in states for name in names if needs(name, one)
    ]


def artefacts(wildcards):
    """Every file of every stage in the current state. Asking for all of them, not only for the
    last, makes a stage that was interrupted run again (snakemake#1978)."""
    lock()
    receipt = path_of(stages.extra, "receipt", receipt=stages.receipt)
    # If the receipt exists, it is true, whatever its job would be given now.
    return [
        *verified(wildcards),
        *audits_needed(wildcards),
        *([] if os.path.exists(receipt) else [receipt]),
    ]


def pages():
    """What `--report` shows, drawn for it alone; no job makes it, as it shows what is published."""
    if "--report-after-run" in sys.argv:
        sys.exit("Error: --report-after-run: the pages are drawn before a run. Run, then --report.")
    if not any(re.match("--report(=|$)", argument) for argument in sys.argv):
        return []
    from dinov3_metadata.report.pages import draw_report

    with ending_plainly():
        drawn = draw_report(stages.extra, stages.splits)
    files = []
    for page in drawn:
        caption, labels = f"workflow/report/{page['kind']}.rst", {"page": page["title"]}
        file = report(page["path"], caption=caption, category=page["category"], labels=labels)
        files.append(file)
    return files
