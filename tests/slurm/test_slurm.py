"""The workflow on a real Slurm, see cluster.sh: which jobs it submits, and how they end."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dinov3_metadata import dump_extra
from helpers import REPOSITORY, digests, make_tree, scheduler
from test_dinov3 import STAND_IN

if os.geteuid() != 0:
    pytest.skip("only root can start a Slurm", allow_module_level=True)
if not (shutil.which("slurmctld", path="/usr/sbin:/usr/bin") or shutil.which("apt-get")):
    pytest.skip("there is no Slurm, and no apt-get to install it by", allow_module_level=True)

NOTHING = "Nothing to be done"
# Jobs of this size end within seconds, so ask for their state sooner than on a real cluster, where
# jobs wait in a queue.
IMPATIENT = ["--slurm-init-seconds-before-status-checks", "3"]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start a Slurm that runs until the tests have finished; gives its configuration file."""
    with scheduler("slurm", tmp_path_factory) as folder:
        yield folder / "slurm.conf"


class Cluster:
    """A dataset, and runs of the workflow on it that submit jobs to a Slurm."""

    def __init__(self, home: Path, conf: Path, plugin: Path) -> None:
        # If these names reached a shell unquoted, it would do something else.
        self.root = make_tree(home / """a "$HOME"; `x` & 数据""" / "root")
        self.extra, self.workdir = self.root.parent / "extra", home / "workdir"
        self.workdir.mkdir()
        self.environment = os.environ | {
            "SLURM_CONF": str(conf),
            "PYTHONPATH": str(plugin),
            "PATH": f"{conf.parent / 'bin'}:{os.environ['PATH']}",
        }
        self.snakefile = REPOSITORY / "Snakefile"
        self.before = set(self.jobs())

    def start(self, *options: str, splits: str = "[TRAIN]") -> subprocess.Popen:
        # A process that a shell starts in the background ignores SIGINT, and so would its children.
        command = ["env", "--default-signal=INT", sys.executable, "-m", "snakemake"]
        command += ["-s", str(self.snakefile)]
        command += ["--workflow-profile", str(REPOSITORY / "profiles/slurm"), *IMPATIENT]
        command += ["--directory", str(self.workdir), *options, "--config", f"root={self.root}"]
        return subprocess.Popen(
            [*command, f"extra={self.extra}", f"splits={splits}", "log={level: debug}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
        )

    def run(self, *options: str, splits: str = "[TRAIN]") -> tuple[str, list[dict[str, str]]]:
        """Run the workflow; return its output and the jobs that it submitted."""
        return self.end(self.start(*options, splits=splits))

    def end(self, run: subprocess.Popen) -> tuple[str, list[dict[str, str]]]:
        said = run.communicate()[0]
        assert run.returncode == 0, said
        new = {number: job for number, job in self.jobs().items() if number not in self.before}
        self.before.update(new)
        return said, list(new.values())

    def fail(self, *options: str) -> str:
        """Run the workflow, which fails with a last message; return that."""
        run = self.start(*options)
        said = run.communicate(timeout=120)[0]
        assert run.returncode == 1, said
        assert "Traceback" not in said, said
        assert digests(self.extra) == {}
        return said.rpartition("\nError: ")[2].partition("\nComplete log")[0]

    def put(self, program: str, script: str) -> None:
        """Put a script in the place of a program of Slurm, which it finds as ``$real``."""
        folder = self.workdir.parent / "bin"
        folder.mkdir(exist_ok=True)
        real = shutil.which(program)
        (folder / program).write_text(f"#!/bin/sh\nreal={real}\ncd {folder}\n{script}\n")
        (folder / program).chmod(0o755)
        self.environment["PATH"] = f"{folder}:{self.environment['PATH']}"

    def wait_for_jobs(self, run: subprocess.Popen, count: int) -> set[int]:
        """Wait until there are ``count`` more than after the last run; return their numbers."""
        while len(new := self.jobs().keys() - self.before) < count:
            assert run.poll() is None, run.stdout.read()
            time.sleep(0.1)
        return new

    def jobs(self) -> dict[int, dict[str, str]]:
        """Return number -> properties of all jobs, running or not, in the order of submission."""
        said = self.ask("scontrol", "show", "job", "--oneliner")
        records = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in said.splitlines()]
        return {int(job["JobId"]): job for job in records if "JobId" in job}

    def ask(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True
        )
        return done.stdout

    def log_of(self, stage: str) -> str:
        (log,) = (self.extra / ".dinov3-metadata/TRAIN").rglob(f"{stage}.log")
        return log.read_text()

    def is_true(self, snakemake: Callable, splits: str = "[TRAIN]") -> bool:
        """Return whether the published files are those of a local run."""
        local = self.root.parent / "local"
        snakemake(root=self.root, extra=local, splits=splits)
        return digests(local) == digests(self.extra)


@pytest.fixture
def cluster(slurm: Path, plugin: Callable, tmp_path: Path) -> Cluster:
    home = tmp_path / "cluster"
    home.mkdir()
    return Cluster(home, slurm, plugin("slurm"))


def test_a_split_is_a_job_and_an_edit_too(cluster: Cluster, snakemake: Callable) -> None:
    both = "[TRAIN,VAL]"
    _, jobs = cluster.run(splits=both)
    assert [job["JobState"] for job in jobs] == ["COMPLETED"] * 2
    assert {job["MinMemoryNode"] for job in jobs} == {"1000M"}
    assert {job["TimeLimit"] for job in jobs} == {"00:20:00"}  # five minutes a stage
    assert {job["CPUs/Task"] for job in jobs} == {"8"}
    assert "DEBUG listed" in cluster.log_of("scan")  # the level in the settings reaches the job
    assert cluster.is_true(snakemake, both)

    said, jobs = cluster.run(splits=both)
    assert NOTHING in said
    assert jobs == []

    make_tree(cluster.root, ["train/n01440764/n01440764_5.JPEG"])
    said, jobs = cluster.run(splits=both)
    assert "Scan TRAIN: 1 of 4 folders changed: n01440764" in said
    assert [job["JobState"] for job in jobs] == ["COMPLETED"]
    assert "1 of 4 folders listed" in cluster.log_of("scan")
    assert cluster.is_true(snakemake, both)


def test_a_job_that_is_cancelled_is_tried_again_with_more(
    cluster: Cluster, snakemake: Callable
) -> None:
    run = cluster.start()
    (job,) = cluster.wait_for_jobs(run, 1)
    cluster.ask("scancel", str(job))
    _, jobs = cluster.end(run)
    assert [job["JobState"] for job in jobs] == ["CANCELLED", "COMPLETED"]
    assert [job["MinMemoryNode"] for job in jobs] == ["1000M", "4000M"]
    assert [job["TimeLimit"] for job in jobs] == ["00:20:00", "01:20:00"]
    assert cluster.is_true(snakemake)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--default-resources", "slurm_partition=nosuch"], "partition specified: nosuch"),
        (["--default-resources", "slurm_account=nosuch"], "account nosuch appears to be invalid"),
        (["--set-threads", "scan_split=17"], "More processors requested|BadConstraints"),
        (["--set-resources", "scan_split:mem_mb=99000"], "99,?000 MB"),
    ],
)
def test_a_job_that_slurm_refuses(cluster: Cluster, options: list[str], reason: str) -> None:
    cluster.put("sacctmgr", "echo proj")  # the accounts of the user; this Slurm has none
    assert re.search(reason, cluster.fail(*options))


@pytest.mark.long
def test_a_job_that_is_preempted(cluster: Cluster, snakemake: Callable) -> None:
    """Slurm cancels it, and never starts it again."""
    run = cluster.start()
    (job,) = cluster.wait_for_jobs(run, 1)
    while cluster.jobs()[job]["JobState"] != "RUNNING":
        time.sleep(0.1)
    first = cluster.ask(
        "sbatch", "--parsable", "-p", "first", "--exclusive", "-o", "/dev/null", "--wrap", "true"
    )
    cluster.before.add(int(first))
    _, jobs = cluster.end(run)
    assert [job["JobState"] for job in jobs] == ["PREEMPTED", "COMPLETED"]
    assert cluster.is_true(snakemake)


@pytest.mark.long
def test_a_limit_on_submitted_jobs(cluster: Cluster) -> None:
    cluster.put(
        "sbatch",
        '[ -e again ] && exec $real "$@"\ntouch again\n'
        "echo 'sbatch: error: AssocMaxSubmitJobLimit' >&2\nexit 1",
    )
    said, jobs = cluster.run()
    assert "Slurm takes no more jobs of yours at the moment (AssocMaxSubmitJobLimit)" in said
    assert [job["JobState"] for job in jobs] == ["COMPLETED"]


@pytest.mark.long
def test_a_job_that_slurm_has_forgotten(cluster: Cluster) -> None:
    cluster.put("squeue", "exit 0")
    _, jobs = cluster.run()
    assert [job["JobState"] for job in jobs] == ["COMPLETED"]


@pytest.mark.long
def test_a_job_that_had_too_little_memory(cluster: Cluster, snakemake: Callable) -> None:
    """Slurm kills the job, as Python alone takes more than 50 MB; the second job gets enough."""
    rules = ("scan_split", "dump_entries", "dump_class_arrays", "verify")
    little = [f"{rule}:mem_mb=50 * 20 ** (attempt - 1)" for rule in rules]
    _, jobs = cluster.run("--set-resources", *little)
    assert [job["JobState"] for job in jobs] == ["FAILED", "COMPLETED"]
    assert [job["MinMemoryNode"] for job in jobs] == ["50M", "1000M"]
    (log,) = cluster.workdir.glob(f".snakemake/slurm_logs/*/{jobs[0]['JobId']}.log")
    # Which of the two sentences comes last before the kill is a race in Slurm.
    assert re.search("exceeded (job )?memory limit", log.read_text(), re.IGNORECASE)
    assert cluster.is_true(snakemake)
    cluster.extra = cluster.extra.with_name("again")
    little = [f"{rule}:mem_mb=50" for rule in rules]
    said = cluster.fail("--retries", "0", "--set-resources", *little)
    assert re.search(r"OUT_OF_MEMORY on host .* --set-resources scan_split:mem_mb=\d+\n", said)


def test_a_path_that_the_jobs_would_not_get_whole(cluster: Cluster) -> None:
    cluster.root = cluster.root.rename(cluster.root.with_name("it's mine"))
    run = cluster.start()
    said = run.communicate()[0]
    assert run.returncode != 0
    assert "contains a quote, a backslash or an unprintable character" in said
    assert cluster.jobs().keys() == cluster.before


def test_an_option_that_the_plugin_refuses(cluster: Cluster) -> None:
    """Without the check, the run would wait forever and print nothing."""
    run = cluster.start("--default-resources", "slurm_extra='--nice --comment=mine'")
    said = run.communicate(timeout=60)[0]
    assert run.returncode != 0
    assert "Error: slurm_extra must not contain --comment=" in said
    assert cluster.jobs().keys() == cluster.before
    _, (job,) = cluster.run("--default-resources", "slurm_extra='--nice=7'")
    assert (job["JobState"], job["Nice"]) == ("COMPLETED", "7")


@contextmanager
def full(cluster: Cluster) -> Iterator[None]:
    """Let no job start in the block, as if the cluster were full."""
    cluster.ask("scontrol", "update", "partition=test", "state=down")
    try:
        yield
    finally:
        cluster.ask("scontrol", "update", "partition=test", "state=up")


@pytest.mark.long
def test_labels_that_were_edited_while_a_job_waited(cluster: Cluster, snakemake: Callable) -> None:
    with full(cluster):
        run = cluster.start()
        cluster.wait_for_jobs(run, 1)
        labels = (cluster.root / "labels.txt").read_text().replace("tench", "Tinca tinca")
        make_tree(cluster.root, ["train/n01440764/n01440764_5.JPEG"], labels)
    said = run.communicate()[0]
    assert run.returncode != 0
    assert "labels.txt changed while this run was in progress" in said
    assert digests(cluster.extra) == {}
    cluster.before = set(cluster.jobs())
    cluster.run()
    assert cluster.is_true(snakemake)


def test_interrupted_while_a_job_waits(cluster: Cluster) -> None:
    with full(cluster):
        run = cluster.start()
        (job,) = cluster.wait_for_jobs(run, 1)
        run.send_signal(signal.SIGINT)
        said = run.communicate()[0]
    assert run.returncode != 0
    assert "Interrupted. Nothing is lost: run the same command again." in said
    assert "without giving a reason" not in said
    assert cluster.jobs()[job]["JobState"] == "CANCELLED"


@pytest.mark.long
def test_a_job_whose_run_was_killed_leaves_the_work_to_the_next(
    cluster: Cluster, snakemake: Callable
) -> None:
    with full(cluster):
        killed = cluster.start()
        cluster.wait_for_jobs(killed, 1)
        killed.kill()
        killed.communicate()
        run = cluster.start()
        cluster.wait_for_jobs(run, 2)
    _, jobs = cluster.end(run)
    assert [job["JobState"] for job in jobs] == ["FAILED", "COMPLETED"]
    (log,) = cluster.workdir.glob(f".snakemake/slurm_logs/*/{jobs[0]['JobId']}.log")
    assert "The run that this job belongs to has ended" in log.read_text()
    assert cluster.is_true(snakemake)


@pytest.mark.long
def test_a_module_and_a_training_that_waits_for_it(cluster: Cluster) -> None:
    (cluster.workdir / "Snakefile").write_text(f"""
module meta:
    snakefile: {str(REPOSITORY / "Snakefile")!r}
    config: {{"root": {str(cluster.root)!r}, "extra": {str(cluster.extra)!r}, "splits": ["TRAIN"]}}
use rule * from meta as meta_*
rule train:
    input: meta.published()
    output: "model.txt"
    shell: "cat {{input:q}} > {{output}}"
""")
    cluster.snakefile = cluster.workdir / "Snakefile"
    of_split = ("scan_split", "dump_entries", "dump_class_arrays", "verify")
    groups = ["--groups", *(f"meta_{rule}=split" for rule in of_split)]
    said, jobs = cluster.run(*groups)
    assert f"DINOv3 metadata, verified, in {cluster.extra}:" in said
    assert len(jobs) == 2  # the split, and the training
    assert '"images": 4' in (cluster.workdir / "model.txt").read_text()
    said, jobs = cluster.run(*groups)
    assert NOTHING in said
    assert jobs == []


TRAIN = """
import os, sys, time
from dinov3.data.datasets.image_net import parse

name = sys.argv[-1].partition("=")[2]
out = sys.argv[sys.argv.index("--output-dir") + 1]
os.makedirs(out, exist_ok=True)
with open(f"{out}/log", "a") as log:
    print(os.environ.get("SLURM_RESTART_COUNT", "0"), len(parse(name)), file=log)
while not os.path.exists(f"{out}/over"):
    time.sleep(0.1)
"""
SUBMIT = """
import os, sys
os.execvp("srun", ["srun", sys.executable, *sys.argv[1:]])
"""
TORCHRUN = f"""#!{sys.executable}
import os, sys
os.execv(sys.executable, [sys.executable, *sys.argv[sys.argv.index("dinov3/train/train.py"):]])
"""


class Recipe:
    """The recipes for Slurm in docs/recipes.md, with a stand-in for DINOv3 and its training."""

    def __init__(self, cluster: Cluster, plainly: bool) -> None:
        self.cluster, self.home = cluster, cluster.workdir.parent
        if plainly:  # for recipes with a command in quotes
            cluster.root.parent.rename(self.home / "data")
            cluster.root, cluster.extra = self.home / "data/root", self.home / "data/extra"
        self.out = cluster.root.with_name("out")
        for name, text in {
            "dinov3/train/train.py": TRAIN,
            "dinov3/run/submit.py": SUBMIT,
            "dinov3/data/datasets/image_net.py": STAND_IN,
            "bin/torchrun": TORCHRUN,
        }.items():
            path = cluster.workdir / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        python = f"{cluster.workdir / 'bin'}:{Path(sys.executable).parent}"
        cluster.environment["PATH"] = f"{python}:{cluster.environment['PATH']}"
        # The job scripts extend it by DINOv3's folder alone.
        cluster.environment["PYTHONPATH"] = str(REPOSITORY / "workflow")
        self.names = {
            "DINOV3": cluster.workdir,
            "CHECKOUT": REPOSITORY,
            "DATA": cluster.root,
            "EXTRA": cluster.extra,
            "CONFIG": "none.yaml",
            "OUT": self.out,
        }

    def text(self, beginning: str) -> str:
        """Return the block of the recipes that begins so, for the folders of the test."""
        text = (REPOSITORY / "docs/recipes.md").read_text()
        (block,) = re.findall(rf"^```\n({re.escape(beginning)}.*?)^```$", text, re.M | re.S)
        block = re.sub("<([A-Z0-9]+)>", lambda at: shlex.quote(str(self.names[at[1]])), block)
        block = block.replace("export PYTHONPATH=$PWD", "export PYTHONPATH=$PWD:$PYTHONPATH")
        return re.sub(
            "(#SBATCH --requeue) .*", rf"\1 -c 4 -o {self.home}/job.log --open-mode=append", block
        )

    def script(self) -> str:
        """Write the job script of the training, and return its path."""
        path = self.cluster.workdir / "train.sh"
        path.write_text(self.text("#!/bin/bash"))
        return str(path)

    def log(self) -> list[str]:
        """Return what the training has noted: each start, and how many rows it found."""
        path = self.out / "log"
        return path.read_text().splitlines() if path.exists() else []

    def wait(self, job: int, noted: list[str]) -> str:
        """Wait until the training has noted something, or its job has ended; return its state."""
        while (state := self.cluster.jobs()[job]["JobState"]) in BUSY and self.log() != noted:
            time.sleep(0.1)
        return state


BUSY = ("PENDING", "RUNNING", "COMPLETING")


@pytest.mark.long
def test_a_training_that_slurm_starts_again_reads_the_rows_that_it_began_with(
    cluster: Cluster,
) -> None:
    recipe = Recipe(cluster, plainly=False)
    job = int(cluster.ask("sbatch", "--parsable", recipe.script()))
    assert recipe.wait(job, ["0 4"]) == "RUNNING"
    make_tree(cluster.root, ["train/n01440764/n01440764_5.JPEG"])
    cluster.ask("scontrol", "requeue", str(job))
    assert recipe.wait(job, ["0 4", "1 4"]) == "RUNNING"  # with the rows of its beginning
    dump_extra(cluster.root, cluster.extra)
    cluster.ask("scontrol", "requeue", str(job))
    assert recipe.wait(job, ["0 4", "1 4", "2 5"]) == "FAILED"
    said = (recipe.home / "job.log").read_text()
    assert "has changed since this training began:" in said
    assert "now: 5 images of 3 classes" in said


@pytest.mark.long
def test_a_training_waits_for_the_job_that_makes_the_metadata(cluster: Cluster) -> None:
    recipe = Recipe(cluster, plainly=True)
    recipe.script()
    recipe.out.mkdir()
    (recipe.out / "over").touch()
    commands = recipe.text("job=").replace("snakemake", f"snakemake -s {REPOSITORY}/Snakefile")
    call = ["bash", "-euc", f"cd {shlex.quote(str(cluster.workdir))}\n{commands}"]
    (cluster.root / "train").rename(cluster.root / "away")
    for expected in (["FAILED", "CANCELLED"], ["COMPLETED", "COMPLETED"]):
        before = cluster.jobs().keys()
        subprocess.run(call, env=cluster.environment, check=True)
        jobs = sorted(cluster.jobs().keys() - before)
        assert [recipe.wait(job, ["nothing"]) for job in jobs] == expected
        if expected[0] == "FAILED":
            (cluster.root / "away").rename(cluster.root / "train")
    assert recipe.log() == ["0 4"]


@pytest.mark.long
def test_metadata_and_training_in_one_line(cluster: Cluster) -> None:
    recipe = Recipe(cluster, plainly=False)
    recipe.out.mkdir()
    (recipe.out / "over").touch()
    call = ["bash", "-euc", recipe.text("cd ")]
    (cluster.root / "train").rename(cluster.root / "away")
    assert subprocess.run(call, env=cluster.environment, check=False).returncode == 1
    (cluster.root / "away").rename(cluster.root / "train")
    subprocess.run(call, env=cluster.environment, check=True)
    assert recipe.log() == ["0 4"]
