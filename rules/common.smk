# Settings, and what the rules need to know of the chain (workflow/dinov3_metadata/chain.py): the
# names of its files, and why there is something to do.

import os
import shutil
import sys
from functools import lru_cache

from snakemake.utils import validate

# Jobs are processes of their own and shall run the code of this checkout, whatever is installed.
PACKAGES = os.path.join(workflow.basedir, "workflow")
if os.pathsep in PACKAGES:
    sys.exit(f"Error: {workflow.basedir} has a {os.pathsep!r} in it. Move this checkout elsewhere.")
sys.path.insert(0, PACKAGES)
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH")]))
)

from dinov3_metadata.chain import Chain
from dinov3_metadata.demo import make_demo
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.fingerprint import RECORD
from dinov3_metadata.layout import LABELLED
from dinov3_metadata.lock import RUN, lock_run
from dinov3_metadata.log import error_in, refused
from dinov3_metadata.publish import array_names
from dinov3_metadata.settings import explain, prepare, settings_of
from dinov3_metadata.summary import summarise

prepared = prepare(config)
config.clear()
config.update(prepared)
try:
    validate(config, "../workflow/schemas/config.schema.yaml")
    settings = settings_of(config)
    if not config["root"]:
        make_demo(settings.root, f"{PACKAGES}/demo_labels.txt", config["demo"]["images"])
    stages = Chain(settings)
except WorkflowError as error:
    sys.exit(f"Error: {explain(error.__context__)}")
except MetadataError as error:
    sys.exit(f"Error: {error}")
except OSError as error:
    sys.exit(f"Error: {refused(error)}")

SILENT = (
    "A job ended without a message of ours: what Snakemake says of it stands above. If it was killed "
    "(out of memory?), nothing is lost: run the same command again."
)

WORK = stages.work
LABELS = f"{WORK}/labels/{{labels}}"
VIEWS = f"{WORK}/views/{{split}}/{{view}}"
TREE = f"{WORK}/{{split}}/{{tree}}"
ROWS = f"{TREE}/{{labels}}"
CHECKS = f"{ROWS}/{{checks}}"


wildcard_constraints:
    split="TRAIN|VAL|TEST",
    view="[0-9]+-folders-[0-9a-f]+",
    tree="[0-9]+-folders-[0-9a-f]+",
    labels="labels-([0-9a-f]+|none)-[0-9a-f]+",
    checks="(sample|full)-[0-9]+-[0-9a-f]+",
    receipt="receipt-[0-9a-f]+",


@lru_cache  # keeps the lock to the end of this process
def lock():
    """Become the one run on the work folder, before the state of anything is read."""
    if not workflow.is_main_process or not workflow.execution_settings or workflow.dryrun:
        return None
    try:
        return lock_run(WORK)
    except MetadataError as error:
        sys.exit(f"Error: {error}")
    except OSError as error:
        sys.exit(f"Error: {refused(error)}")


def root(wildcards):
    """What DINOv3 takes for root, as a function: Snakemake looks for wildcards in plain text."""
    lock()
    return stages.base


def dataset(wildcards):
    """The dataset's folder."""
    return settings.root


def extra(wildcards):
    """The folder for the published files."""
    return settings.extra


def origin(wildcards):
    """Where the metadata comes from."""
    return stages.origin()


def labels_file(wildcards):
    """Where the labels come from; empty for the names of the class folders."""
    return stages.labels


def labels_content(wildcards):
    """The fingerprint of the labels file."""
    return stages.labels_content()


def view_settings(wildcards):
    """All that a view depends on besides the folders of the dataset."""
    return stages.view_settings(wildcards.split)


def scan_settings(wildcards):
    """All that a scan depends on besides the split folder."""
    return stages.scan_settings()


def view_name(wildcards):
    """What the scan of a split comes after; empty without a view."""
    return stages.view(wildcards.split).name


def view_of(wildcards):
    """The record of the view that a scan looks at, if there is a view."""
    return stages.files(wildcards.split)["view"]


def why_view(wildcards, output):
    """For the message only: a function of the output is no reason for Snakemake to run a job."""
    return stages.view(wildcards.split).why


def why_scan(wildcards, output):
    """For the message only, see ``why_view``."""
    return stages.tree(wildcards.split).why


def scan_threads(wildcards):
    """An equal share of the cores for each scan that is due; they wait for a file server together."""
    scans = [stages.files(split)["scan"][0] for split in stages.splits]
    due = [scan for scan in scans if not os.path.exists(scan)]
    return max(1, (workflow.resource_settings.cores or 1) // max(1, len(due)))


def staged(wildcards):
    """The new arrays of a split, which wait to be verified and published."""
    return [f"{ROWS}/{name}" for name in array_names(wildcards.split)]


def labels_of(wildcards):
    """The labels, for the splits that have some."""
    return f"{LABELS}/labels.json" if wildcards.split in LABELLED else []


def artefacts(wildcards):
    """Every file of every stage in the present state. Asking for all of them, not only for the
    last, makes a stage that was interrupted run again (snakemake#1978)."""
    lock()
    return [
        file for split in stages.splits for files in stages.files(split).values() for file in files
    ]


def failures():
    """The messages of the stages that failed, for the end of the terminal's last screen."""
    logs = [f"{VIEWS}/view.log", f"{LABELS}/labels.log", f"{TREE}/scan.log", f"{ROWS}/entries.log"]
    logs += [f"{ROWS}/classes.log", f"{CHECKS}/verify.log", f"{CHECKS}/{{receipt}}.log"]
    logs = [log for split in stages.splits for log in expand(logs, **stages.state(split))]
    start = os.stat(f"{WORK}/{RUN}").st_mtime  # by the clock that the logs are dated by
    found = [
        error_in(log) for log in logs if os.path.exists(log) and os.stat(log).st_mtime >= start
    ]
    if not any(found):
        full = shutil.disk_usage(settings.extra).free < 1 << 16
        found = [
            f"{settings.extra}: No space left on device, not even for a log." if full else SILENT
        ]
    return "\n".join(dict.fromkeys(f"\nError: {error}" for error in found if error))
