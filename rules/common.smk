# Settings, and the names of all files. A file's name holds the fingerprint of what it is made from
# (see workflow/dinov3_metadata/fingerprint.py):
#
#   <EXTRA>/.dinov3-metadata/labels/<labels>/labels.json
#   <EXTRA>/.dinov3-metadata/<split>/<tree>/scan.npz, folders.json
#   <EXTRA>/.dinov3-metadata/<split>/<tree>/<labels>/entries-<split>.npy, ...
#   <EXTRA>/.dinov3-metadata/<split>/<tree>/<labels>/<checks>/verify-<split>.json, <receipt>.json

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

from dinov3_metadata import fingerprint, layout
from dinov3_metadata.demo import make_demo
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.labels import find_labels
from dinov3_metadata.layout import LABELLED, split_folder
from dinov3_metadata.layouts import layout_of, recognise
from dinov3_metadata.lock import RUN, lock_run
from dinov3_metadata.log import error_in, refused
from dinov3_metadata.publish import array_names, receipt_name
from dinov3_metadata.settings import (
    check_folders,
    check_layout,
    explain,
    folders,
    prepare,
    view_folder,
)
from dinov3_metadata.summary import summarise

prepared = prepare(config)
config.clear()
config.update(prepared)
try:
    validate(config, "../workflow/schemas/config.schema.yaml")
    ROOT, EXTRA, SPLITS = folders(config)
    if not config["root"]:
        make_demo(ROOT, f"{PACKAGES}/demo_labels.txt", config["demo"]["images"])
    check_folders(ROOT, EXTRA)
    LAYOUT = config["layout"] if config["layout"] != "auto" else recognise(ROOT)
    check_layout(LAYOUT, ROOT, EXTRA)
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


@lru_cache
def part(split):
    """Where the images of a split lie."""
    return layout_of(LAYOUT).list_part(ROOT, split)


if LAYOUT == "flat":  # which seldom has more than TRAIN
    SPLITS = [
        split for split in SPLITS if os.path.isdir(os.path.join(ROOT, part(split).folder))
    ] or SPLITS

# The dataset as DINOv3 reads it: root itself, or a view of it.
BASE = ROOT if LAYOUT == "imagenet" else view_folder(config, EXTRA)

WORK = f"{EXTRA}/{layout.WORK}"
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
    return BASE


def dataset(wildcards):
    """The dataset's folder."""
    return ROOT


def extra(wildcards):
    """The folder for the published files."""
    return EXTRA


def labels_file(wildcards):
    """Where the labels come from; empty for the names of the class folders."""
    return find_labels(ROOT, config["labels"], LAYOUT)


@lru_cache
def scan_settings(wildcards=None):
    """All that a scan depends on besides the split folder."""
    code = fingerprint.of_code("files", "fingerprint", "folder", "layout", "scan")
    return fingerprint.digest(BASE, sorted(config["scan"].items()), code)


@lru_cache
def view(split):
    """The name of the view that is true of a split now, and why it is to be made; empty without a
    view."""
    if BASE == ROOT:
        return fingerprint.Tree("", "")
    return fingerprint.of_tree(
        f"{WORK}/views/{split}",
        os.path.join(ROOT, part(split).folder),
        view_settings(split),
        classes=False,
        trust_timestamps=config["scan"]["trust_timestamps"],
    )


@lru_cache
def view_settings(split):
    """All that a view depends on besides the folders of the dataset."""
    annotations = part(split).annotations
    annotations = annotations and fingerprint.of_content(f"{ROOT}/{annotations}")
    own = f"layouts/{LAYOUT.replace('-', '_')}"
    code = fingerprint.of_code(
        "files", "fingerprint", "folder", "layout", "layouts/__init__", own, "scan", "view"
    )
    return fingerprint.digest(ROOT, BASE, LAYOUT, annotations, code)


def view_name(wildcards):
    """What the scan of a split comes after; empty without a view."""
    return view(wildcards.split).name


def why_view(wildcards, output):
    """For the message only, see ``why_scan``."""
    return view(wildcards.split).why


def view_of(wildcards):
    """The record of the view that a scan looks at."""
    name = view_name(wildcards)
    return expand(f"{VIEWS}/{fingerprint.RECORD}", split=wildcards.split, view=name) if name else []


@lru_cache
def tree(split):
    """The name of the scan that is true of a split folder now, and why it is to be made."""
    return fingerprint.of_tree(
        f"{WORK}/{split}",
        os.path.join(BASE, split_folder(split)),
        scan_settings(),
        split in LABELLED,
        config["scan"]["trust_timestamps"],
        view(split).name,
    )


def scan_threads(wildcards):
    """An equal share of the cores for each scan that is due; they wait for a file server together."""
    due = [
        split
        for split in SPLITS
        if not os.path.exists(f"{WORK}/{split}/{tree(split).name}/scan.npz")
    ]
    return max(1, (workflow.resource_settings.cores or 1) // max(1, len(due)))


def why_scan(wildcards, output):
    """For the message only: a function of the output is no reason for Snakemake to run a job."""
    return tree(wildcards.split).why


@lru_cache
def state(split):
    """The wildcards that name the present state of a split, from the dataset to the receipt."""
    verify = config["verify"]
    arrays = fingerprint.of_code("files", "fingerprint", "labels", "entries", "classes")
    labels = labels_file(None) if split in LABELLED else ""
    source = fingerprint.of_content(labels) if labels else "none"
    names = {
        "split": split,
        "view": view(split).name,
        "tree": tree(split).name,
        "labels": f"labels-{source}-{fingerprint.digest(labels, arrays)}",
        "checks": f"{verify['level']}-{int(verify['sample'])}-{fingerprint.of_code('folder', 'verify')}",
    }
    return names | {"receipt": receipt_name(expand(CHECKS, **names)[0], EXTRA, split)}


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
    names = []
    for split in SPLITS:
        patterns = [
            f"{TREE}/scan.npz",
            f"{TREE}/{fingerprint.RECORD}",
            f"{CHECKS}/verify-{split}.json",
            f"{CHECKS}/{{receipt}}.json",
        ]
        patterns += [f"{ROWS}/{name}" for name in array_names(split)]
        patterns += [f"{LABELS}/labels.json"] if split in LABELLED else []
        patterns += [f"{VIEWS}/{fingerprint.RECORD}"] if BASE != ROOT else []
        names += expand(patterns, **state(split))
    return names


def failures():
    """The messages of the stages that failed, for the end of the terminal's last screen."""
    logs = [f"{VIEWS}/view.log", f"{LABELS}/labels.log", f"{TREE}/scan.log", f"{ROWS}/entries.log"]
    logs += [f"{ROWS}/classes.log", f"{CHECKS}/verify.log", f"{CHECKS}/{{receipt}}.log"]
    logs = [log for split in SPLITS for log in expand(logs, **state(split))]
    start = os.stat(f"{WORK}/{RUN}").st_mtime  # by the clock that the logs are dated by
    found = [
        error_in(log) for log in logs if os.path.exists(log) and os.stat(log).st_mtime >= start
    ]
    if not any(found):
        full = shutil.disk_usage(EXTRA).free < 1 << 16
        found = [f"{EXTRA}: No space left on device, not even for a log." if full else SILENT]
    return "\n".join(dict.fromkeys(f"\nError: {error}" for error in found if error))
