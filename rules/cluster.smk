# What a cluster needs to know about a job, and checks for what a cluster cannot handle. None of
# this matters on a single machine.

from dinov3_metadata.preflight import check_cluster_paths, check_slurm_extra, estimate_images


def million_images(wildcards):
    """Estimate the images that a job is about, in millions."""
    name = wildcards.get("tree") or wildcards.get("view")
    return estimate_images(stages.extra, wildcards.split, name) / 1e6


def memory(wildcards, attempt):
    """Return MB for a job: enough for Snakemake twice, and for torchvision's list of all images."""
    return int((1000 + 400 * million_images(wildcards)) * 4 ** (attempt - 1))


def minutes(wildcards, attempt):
    """Return minutes for a stage, enough for a slow file server."""
    return int((5 + 4 * million_images(wildcards)) * 4 ** (attempt - 1))


def audit_minutes(wildcards, attempt):
    """Return minutes for a share of an audit: 20 ms per image, as on a slow disk."""
    shares = len(gather.audit("{scatteritem}"))
    return int((5 + 350 * million_images(wildcards) / shares) * 4 ** (attempt - 1))


def scan_threads(wildcards):
    """Return an equal share of the cores for each scan that is needed.

    The scans run at the same time, so that they wait for a file server together. On a cluster, no
    scan knows about the others, and each process of a job must get the same number.
    """
    if not (workflow.local_exec and workflow.is_main_process):
        return 8
    scans = [path_of(stages.extra, "scan", **state) for state in states()]
    needed = [scan for scan in scans if not os.path.exists(scan)]
    return max(1, (workflow.resource_settings.cores or 1) // max(1, len(needed)))


def check_cluster():
    """Refuse what a cluster cannot handle, before any job is submitted."""
    paths = [settings.root, settings.extra, settings.view, settings.labels]
    if workflow.non_local_exec:
        check_cluster_paths([*paths, workflow.basedir, os.getcwd()])
    if workflow.executor_plugin.name == "slurm":
        from snakemake_executor_plugin_slurm.validation import get_forbidden_slurm_options

        options = (one for rule in workflow.rules for one in rule.resources.args)
        check_slurm_extra(
            {one for one in options if "slurm_extra=" in one}, get_forbidden_slurm_options()
        )


def check_run():
    """End a job that waited in a cluster's queue while its run was killed and another one began."""
    run = os.environ.get("DINOV3_METADATA_RUN")
    if not workflow.is_main_process and run:
        if run != read_file(path_of(stages.extra, "run")).decode():
            sys.exit(
                "Error: The run that this job belongs to has ended, and another one is in progress."
            )


check_run()
