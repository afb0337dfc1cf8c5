# What a cluster needs to know about a job, and checks for what a cluster cannot handle. None of
# this matters on a single machine.


@lru_cache  # the old scans may be removed while jobs are submitted
def million_images_in(split, name):
    """Estimate the images of a split in millions: from the old scans, or 1,300 per folder, as in
    ImageNet-1k."""
    known = [os.path.getsize(path) / 4 for path, _ in existing(stages.extra, "scan", split=split)]
    return max([*known, 1300 * folders_in(name)]) / 1e6


def million_images(wildcards):
    """Estimate the images that a job is about, in millions."""
    return million_images_in(wildcards.split, wildcards.get("tree") or wildcards.get("view"))


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
    states = [stages.now[split].state for split in stages.splits]
    scans = [path_of(stages.extra, "scan", **state) for state in states]
    needed = [scan for scan in scans if not os.path.exists(scan)]
    return max(1, (workflow.resource_settings.cores or 1) // max(1, len(needed)))


def check_cluster():
    """Refuse what a cluster cannot handle, before a job is submitted."""
    if workflow.non_local_exec:
        check_paths()
    if workflow.executor_plugin.name == "slurm":
        check_slurm_extra()


def check_paths():
    """Refuse paths that Snakemake would not pass on unchanged.

    It writes them into job scripts with the quoting of Python, not of a shell.
    """
    paths = [settings.root, settings.extra, settings.view, settings.labels]
    for path in [*paths, workflow.basedir, os.getcwd()]:
        if {"'", "\\"} & set(path) or not path.isprintable():
            sys.exit(
                f"Error: {path!r} contains a quote, a backslash or an unprintable character, which "
                "Snakemake cannot pass on to the jobs of a cluster. Use a path without these."
            )


def check_slurm_extra():
    """Refuse the options of sbatch that the Slurm plugin refuses.

    The plugin checks them in a thread, which then dies, and the run would wait forever.
    """
    extras = {
        arg for rule in workflow.rules for arg in rule.resources.args if "slurm_extra=" in arg
    }
    from snakemake_executor_plugin_slurm.validation import get_forbidden_slurm_options

    for extra in extras:
        for option, what in get_forbidden_slurm_options().items():
            if found := re.search(option, extra):
                sys.exit(
                    f"Error: slurm_extra must not contain {found[0]}: the Slurm plugin sets the "
                    f"{what} itself. See the top of profiles/slurm/config.yaml."
                )


def check_run():
    """End a job that waited in a cluster's queue while its run was killed and another one began.

    Otherwise the job would remove files that the other run is using.
    """
    run = os.environ.get("DINOV3_METADATA_RUN")
    if not workflow.is_main_process and run:
        if run != read_file(path_of(stages.extra, "run")).decode():
            sys.exit(
                "Error: The run that this job belongs to has ended, and another one is in progress."
            )


check_run()
