# Settings, and what the rules need to know of the chain (workflow/dinov3_metadata/chain.py): the
# names of its files, and why there is something to do.

import os
import re
import shutil
import sys
import time
from functools import lru_cache
from glob import escape as glob_escape
from glob import glob
from pathlib import Path

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
from dinov3_metadata.disk import remove_shares
from dinov3_metadata.errors import printable
from dinov3_metadata.fingerprint import RECORD, digest, of_code
from dinov3_metadata.layout import LABELLED
from dinov3_metadata.lock import RUN, lock_run
from dinov3_metadata.log import INTERRUPTED, ending_plainly, error_in
from dinov3_metadata.publish import array_names
from dinov3_metadata.settings import explain, prepare, settings_of
from dinov3_metadata.summary import summarise

prepared = prepare(config)
config.clear()
config.update(prepared)
try:
    validate(config, "../workflow/schemas/config.schema.yaml")
except WorkflowError as error:
    sys.exit(f"Error: {printable(explain(error.__context__))}")
with ending_plainly():
    settings = settings_of(config)
    if not config["root"]:
        make_demo(settings.root, f"{PACKAGES}/demo_labels.txt", config["demo"]["images"])
    stages = Chain(settings)

SILENT = (
    "A job ended without a message of ours: what Snakemake says of it stands above. If it was killed "
    "(out of memory?), nothing is lost: run the same command again. If a cluster's scheduler refused "
    "it, docs/cluster.md says how to find out why."
)

WORK = stages.work
LABELS = f"{WORK}/labels/{{labels}}"
VIEWS = f"{WORK}/views/{{split}}/{{view}}"
TREE = f"{WORK}/{{split}}/{{tree}}"
ROWS = f"{TREE}/{{labels}}"
CHECKS = f"{ROWS}/{{checks}}"
AUDITS = f"{WORK}/audit/{{split}}/{{tree}}/{{audit}}"
AUDIT = digest(sorted(config["audit"]["fail_on"]), of_code("audit", "images", "settings"))
NOW = f"{time.time_ns():x}"


wildcard_constraints:
    split="TRAIN|VAL|TEST",
    view="[0-9]+-folders-[0-9a-f]+",
    tree="[0-9]+-folders-[0-9a-f]+",
    labels="labels-([0-9a-f]+|none)-[0-9a-f]+",
    checks="(sample|full)-[0-9]+-[0-9a-f]+",
    receipt="receipt-[0-9a-f]+",
    audit="[0-9a-f]+(-[0-9a-f]+)?",


@lru_cache  # keeps the lock to the end of this process
def lock():
    """Become the one run on the work folder, before the state of anything is read."""
    if not workflow.is_main_process or not workflow.execution_settings or workflow.dryrun:
        return None
    if workflow.non_local_exec:
        check_paths()
    if workflow.executor_plugin.name == "slurm":
        check_slurm_extra()
    with ending_plainly():
        held = lock_run(WORK)
        remove_shares(WORK)
        os.environ.update(DINOV3_METADATA_RUN=Path(WORK, RUN).read_text())
        return held


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


def annotations(wildcards):
    """The fingerprint of the file that tells the classes of images."""
    return stages.annotations(wildcards.split)


def view_settings(wildcards):
    """All that a view depends on besides the folders of the dataset."""
    return stages.view_settings(wildcards.split)


def scan_settings(wildcards):
    """All that a scan depends on besides the split folder."""
    return stages.scan_settings()


def watch_links(wildcards):
    """Whether the scan of a split must notice when the target of a link changes."""
    return stages.watch_links(wildcards.split)


def view_name(wildcards):
    """What the scan of a split comes after; empty without a view."""
    return stages.view(wildcards.split).name


def published_scan(wildcards, output):
    """The scan that stays until the next publication; as a function of the output it is no reason
    for Snakemake to run a job."""
    return stages.published(wildcards.split)["tree"]


def published_view(wildcards, output):
    """The view that stays until the next publication, see ``published_scan``."""
    return stages.published(wildcards.split)["view"]


def view_of(wildcards):
    """The record of the view that a scan looks at, if there is a view."""
    name = view_name(wildcards)
    return f"{WORK}/views/{wildcards.split}/{name}/{RECORD}" if name else []


def why_view(wildcards, output):
    """For the message only: a function of the output is no reason for Snakemake to run a job."""
    return stages.view(wildcards.split).why if workflow.is_main_process else "as it was found"


def why_scan(wildcards, output):
    """For the message only, see ``why_view``; a job on a cluster need not look at each folder."""
    return stages.tree(wildcards.split).why if workflow.is_main_process else "as it was found"


def scan_threads(wildcards):
    """An equal share of the cores for each scan that is due; they wait for a file server together.

    On a cluster no scan knows of the others, and each process of a job must find the same number.
    """
    if not (workflow.local_exec and workflow.is_main_process):
        return 8
    scans = [stages.files(split)["scan"][0] for split in stages.splits]
    due = [scan for scan in scans if not os.path.exists(scan)]
    return max(1, (workflow.resource_settings.cores or 1) // max(1, len(due)))


def staged(wildcards):
    """The new arrays of a split, which wait to be verified and published."""
    return [f"{ROWS}/{name}" for name in array_names(wildcards.split)]


def labels_of(wildcards):
    """The labels, for the splits that have some."""
    return f"{LABELS}/labels.json" if wildcards.split in LABELLED else []


def audited(audit, *splits):
    """The files that say that an audit of some splits is through."""
    file = f"{AUDITS}/audit-{{split}}.json"
    return [one for split in splits for one in expand(file, audit=audit, **stages.state(split))]


def audits_due(wildcards):
    """What must be audited before it is published: nothing, unless a problem shall stop that."""
    return audited(AUDIT, *stages.splits) if config["audit"]["fail_on"] else []


def verified(wildcards):
    """What is published of each split."""
    return {split: stages.verified(split) for split in stages.splits}


def verified_files(wildcards):
    """The files that must be there before anything is published."""
    splits = verified(wildcards).values()
    return [file for one in splits for file in (one.scan, *one.arrays, one.report)]


def audits(wildcards):
    """A new audit of each split, as pixels may have changed without their folder's knowledge."""
    lock()
    return audited(f"{AUDIT}-{NOW}", *stages.splits)


def artefacts(wildcards):
    """Every file of every stage in the present state. Asking for all of them, not only for the
    last, makes a stage that was interrupted run again (snakemake#1978)."""
    lock()
    files = [
        file for split in stages.splits for group in stages.files(split).values() for file in group
    ]
    receipt = stages.receipt()  # if it is there, it is true, whatever its job would be told now
    return [*files, *audits_due(wildcards), *([] if os.path.exists(receipt) else [receipt])]


def pages():
    """What `--report` shows, drawn for it alone; no job makes it, as it shows what is published."""
    if "--report-after-run" in sys.argv:
        sys.exit("Error: --report-after-run: the pages are drawn before a run. Run, then --report.")
    if not any(re.match("--report(=|$)", argument) for argument in sys.argv):
        return []
    from dinov3_metadata.report import draw_report

    with ending_plainly():
        drawn = draw_report(settings.extra, stages.splits)
    files = []
    for page in drawn:
        caption = f"workflow/report/{page['kind']}.rst"
        labels = {"page": page["title"]}
        file = report(page["path"], caption=caption, category=page["category"], labels=labels)
        files.append(file)
    return files


def failures(log):
    """The messages of the stages that failed, for the end of the terminal's last screen.

    ``log`` are the files of Snakemake's own, which alone tells that a run was interrupted while its
    jobs waited.
    """
    logs = [f"{VIEWS}/view.log", f"{LABELS}/labels.log", f"{TREE}/scan.log", f"{ROWS}/entries.log"]
    logs += [f"{ROWS}/classes.log", f"{CHECKS}/verify.log"]
    logs = [log for split in stages.splits for log in expand(logs, **stages.state(split))]
    logs += glob(f"{glob_escape(WORK)}/audit/*/*/*/*.log")
    logs.append(f"{Path(stages.receipt()).with_suffix('.log')}")
    start = os.stat(f"{WORK}/{RUN}").st_mtime  # by the clock that the logs are dated by
    found = [
        error_in(log) for log in logs if os.path.exists(log) and os.stat(log).st_mtime >= start
    ]
    if not any(found):
        if shutil.disk_usage(settings.extra).free < 1 << 16:
            found = [f"{settings.extra}: No space left on device, not even for a log."]
        elif any(
            re.search("on user request|currently running", Path(one).read_text()) for one in log
        ):
            found = [INTERRUPTED]
        else:
            found = [SILENT]
    return "\n".join(dict.fromkeys(f"\nError: {error}" for error in found if error))


def million_images(wildcards):
    """About how many: those of the last scan, or as many to a folder as ImageNet-1k has."""
    scans = [scan.stat().st_size / 4 for scan in Path(WORK, wildcards.split).glob("*/scan.npz")]
    folders = int((wildcards.get("tree") or wildcards.view).split("-")[0])
    return max([*scans, 1300 * folders]) / 1e6


def memory(wildcards, attempt):
    """MB that a job on a cluster asks for: Snakemake twice, and torchvision's list of all images."""
    return int((1000 + 400 * million_images(wildcards)) * 4 ** (attempt - 1))


def minutes(wildcards, attempt):
    """Time that a stage asks for on a cluster, where a file server may be slow."""
    return int((5 + 4 * million_images(wildcards)) * 4 ** (attempt - 1))


def shares(wildcards):
    """The shares of a split that are audited one by one."""
    folder = expand(AUDITS, **wildcards)[0]
    return gather.audit(f"{folder}/{{scatteritem}}.npy")


def audit_minutes(wildcards, attempt):
    """Time for a share of an audit: 20 ms an image, as from a disk that is not fast."""
    of = int(wildcards.scatteritem.split("-of-")[1])
    return int((5 + 350 * million_images(wildcards) / of) * 4 ** (attempt - 1))


def check_paths():
    """Refuse paths that Snakemake would not pass on whole: it puts them into job scripts between
    quotes of Python, not of a shell."""
    paths = [settings.root, settings.extra, settings.view, settings.labels]
    for path in [*paths, workflow.basedir, os.getcwd()]:
        if {"'", "\\"} & set(path) or not path.isprintable():
            sys.exit(
                f"Error: {path!r} has a quote, a backslash or an unprintable character in it, which "
                "Snakemake can not pass on to the jobs of a cluster. Use a path without."
            )


def check_slurm_extra():
    """Refuse options of sbatch that the plugin refuses: it does so in a thread that dies of it, and
    the run waits for ever."""
    extras = {
        one for rule in workflow.rules for one in rule.resources.args if "slurm_extra=" in one
    }
    from snakemake_executor_plugin_slurm.validation import get_forbidden_slurm_options

    for extra in extras:
        for pattern, what in get_forbidden_slurm_options().items():
            if found := re.search(pattern, extra):
                sys.exit(
                    f"Error: slurm_extra: {found[0]} is no option for there: the plugin for Slurm sets "
                    f"the {what} itself, or by a name of its own. See the head of "
                    "profiles/slurm/config.yaml."
                )


def check_run():
    """End a job that waited in a cluster's queue while its run was killed and another one began:
    it would take away what that one works on."""
    run = os.environ.get("DINOV3_METADATA_RUN")
    if not workflow.is_main_process and run and run != Path(WORK, RUN).read_text():
        sys.exit("Error: The run that this job belongs to is over, and another one is at work.")


check_run()
