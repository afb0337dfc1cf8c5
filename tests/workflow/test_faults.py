"""Faults for real: whatever fails or is killed, the published files stay whole, and the next plain
run of the same command makes them correct."""

import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from dinov3_metadata.lock import lock_run
from dinov3_metadata.paths import WORK
from dinov3_metadata.run import dump_extra
from helpers import REPOSITORY, digests, dump, make_tree

# Root may do everything; without these capabilities it is refused like anybody else.
WITHOUT = "--bounding-set=-dac_override,-dac_read_search"
MERE_MORTAL = [] if os.geteuid() else ["setpriv", WITHOUT]


class Victim:
    """A dataset and runs of the workflow on it that may be disturbed."""

    def __init__(self, home: Path, extra: Path | None = None) -> None:
        self.home, self.root, self.extra = home, make_tree(home / "root"), extra or home / "extra"
        self.edits = 0

    def command(self, workdir: str = "workdir") -> list[str]:
        command = [sys.executable, "-m", "snakemake", "-s", str(REPOSITORY / "Snakefile")]
        command += ["--cores", "2", "--directory", str(self.home / workdir), "--config"]
        return [*command, f"root={self.root}", f"extra={self.extra}", "splits=[TRAIN,VAL]"]

    def start(self, workdir: str = "workdir") -> subprocess.Popen:
        return subprocess.Popen(
            self.command(workdir),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *prefix: str, fails: bool = False, limit: int | None = None) -> str:
        """Run all; return the output. ``limit`` is the largest size of a written file, in bytes."""
        done = subprocess.run(
            [*prefix, *self.command()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            preexec_fn=limit
            and (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))),
        )
        assert (done.returncode != 0) == fails, done.stdout
        assert "Traceback" not in done.stdout, done.stdout
        return done.stdout

    def edit(self) -> None:
        """Change all files of both splits."""
        self.edits += 1
        new = f"n0{self.edits:07d}"
        labels = (self.root / "labels.txt").read_text() + f"{new},{'x' * (20 + self.edits)}\n"
        files = [f"train/{new}/{new}_1.JPEG", f"val/{new}/ILSVRC2012_val_{self.edits:08d}.JPEG"]
        make_tree(self.root, files, labels)

    def fresh(self) -> dict[str, str]:
        """The digests that the published files must have."""
        shutil.rmtree(self.home / "fresh", ignore_errors=True)
        for split in ("TRAIN", "VAL"):
            dump(self.root, self.home / "fresh", split)
        return digests(self.home / "fresh")

    def left_over(self) -> list[Path]:
        return [path for path in self.extra.rglob("*") if path.name.endswith(".tmp")]


@pytest.fixture
def victim(tmp_path: Path) -> Victim:
    victim = Victim(tmp_path)
    dump_extra(victim.root, victim.extra)
    return victim


def jobs_of(pid: int) -> list[int]:
    """The processes of a run's jobs, from /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent in (pid, *found) or os.getsid(int(entry.name)) == pid:
                    command = (entry / "cmdline").read_bytes()
                    if b"run_stage.py" in command:
                        found.append(int(entry.name))
            except (OSError, IndexError, ValueError):
                continue
    return found


def kill_jobs(pids: list[int]) -> None:
    """Kill jobs, but for those that have ended by now."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_somewhere(run: subprocess.Popen, chance: random.Random) -> str:
    """Kill a job, the run without its jobs, or both, at a random moment of the run."""
    what = chance.choice(["job", "run", "run and jobs"])
    time.sleep(chance.uniform(0.2, 3.2))
    if what == "run":
        run.kill()
    elif what == "run and jobs":
        os.killpg(run.pid, signal.SIGKILL)
    else:
        kill_jobs(jobs_of(run.pid))
    run.communicate()
    return what


def test_kill_anywhere(victim: Victim) -> None:
    """tests/harm kills at each call of a publication."""
    chance = random.Random(0)
    new = victim.fresh()
    for _ in range(5):
        old = new
        victim.edit()
        new = victim.fresh()
        kill_somewhere(victim.start(), chance)
        published = digests(victim.extra)
        assert published.keys() == old.keys()
        for name, digest in published.items():
            assert digest in (old[name], new[name])
        victim.run()
        assert digests(victim.extra) == new
        assert victim.left_over() == []
    assert "Nothing to be done" in victim.run()
    splits = list((victim.extra / WORK).glob("*/*-folders-*"))
    assert len(splits) == 2  # earlier states were removed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A file system of 4 MB, or None where mounting is not allowed.

    It is mounted in a namespace of its own, which most systems allow an ordinary user too. Other
    processes reach it through the one that holds it, and it is gone when that one ends.
    """
    disk = tmp_path / "disk"
    disk.mkdir()
    hold = 'mount -t tmpfs -o size=4m tmpfs "$0" && echo mounted && exec cat'
    command = ["env", "unshare", "--user", "--map-root-user", "--mount"]  # env: it may be missing
    command += ["sh", "-c", hold, str(disk)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as holder:
        mounted = holder.stdout.readline() == b"mounted\n"
        yield Path(f"/proc/{holder.pid}/root{disk}") if mounted else None


def widen(victim: Victim) -> None:
    """An edit that makes labels of 60 kB and rows of 80 kB, 2 MB in all."""
    names = "".join(f"{line},{'x' * 20_000}\n" for line in ("n01440764", "n01443537", "n01484850"))
    make_tree(victim.root, [f"train/n01440764/n01440764_{i}.JPEG" for i in range(25)], names)


# Where mounting is not allowed, no file may grow beyond a limit instead. That limit holds for
# Snakemake too, which copies each rule file (up to 15 kB) to its cache before any job runs: the
# least limit is above that, and below the size of our first file, the labels.
LEAST = 30_000


@pytest.mark.parametrize(
    ("mount", "room"),
    [
        pytest.param(True, 0, marks=pytest.mark.long),  # not even a log
        pytest.param(True, 200_000, marks=pytest.mark.long),  # not the entries
        pytest.param(True, 2_500_000, marks=pytest.mark.long),  # not the class arrays
        pytest.param(True, 3_000_000, marks=pytest.mark.long),  # not the published files
        (False, LEAST),  # not the labels
        pytest.param(False, 1_000_000, marks=pytest.mark.long),  # not the entries
    ],
)
def test_full_disk(mount: bool, room: int, small_disk: Path | None, tmp_path: Path) -> None:
    small_disk = small_disk if mount else None
    victim = Victim(tmp_path, small_disk and small_disk / "extra")
    victim.run()
    before = digests(victim.extra)
    widen(victim)
    if small_disk:
        filler = small_disk / "filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(small_disk).free - room or 1)
        said = victim.run(fails=True)
        filler.unlink()
    else:
        said = victim.run(fails=True, limit=min(max(room, LEAST), 1_000_000))
    assert "Error: " in said
    assert any(text in said for text in ("MB are free", "No space left", "File too large"))
    assert digests(victim.extra) == before
    assert victim.left_over() == []
    (victim.root / "labels.txt").write_text("n01440764,a\nn01443537,b\nn01484850,c\n")
    victim.run()
    assert digests(victim.extra) == victim.fresh()


def test_extra_that_is_read_only(victim: Victim) -> None:
    before = digests(victim.extra)
    victim.edit()
    victim.extra.chmod(0o555)
    said = victim.run(*MERE_MORTAL, fails=True)
    denied = "Permission denied. Check its permissions."
    assert re.search(rf"Error: {victim.extra}/entries-(TRAIN|VAL).npy: {denied}", said)
    (victim.extra / WORK / "run.lock").unlink()
    (victim.extra / WORK).chmod(0o555)
    said = victim.run(*MERE_MORTAL, fails=True)
    assert f"Error: {victim.extra}/{WORK}/run.lock: {denied}" in said
    assert digests(victim.extra) == before
    for folder in (victim.extra, victim.extra / WORK):
        folder.chmod(0o755)
    victim.run()
    assert digests(victim.extra) == victim.fresh()


def test_extra_that_is_a_file(tmp_path: Path) -> None:
    victim = Victim(tmp_path)
    victim.extra.write_text("")
    assert f"Error: config: extra: {victim.extra} is a file, but must be a folder." in victim.run(
        fails=True
    )


def test_root_that_is_read_only(victim: Victim) -> None:
    victim.edit()
    for folder in [victim.root, *victim.root.rglob("*")]:
        folder.chmod(0o555)
    victim.run(*MERE_MORTAL)
    assert digests(victim.extra) == victim.fresh()


@pytest.mark.parametrize(
    "mode", [0o000, *(pytest.param(one, marks=pytest.mark.long) for one in (0o444, 0o111))]
)
def test_a_class_folder_without_permission(mode: int, victim: Victim) -> None:
    before = digests(victim.extra)
    folder = victim.root / "train/n01440764"
    victim.edit()
    folder.chmod(mode)
    said = victim.run(*MERE_MORTAL, fails=True)
    message = said.partition("\nError: ")[2]
    assert "train/n01440764" in message
    assert "Permission denied" in message
    after = digests(victim.extra)
    assert [name for name in before if "TRAIN" in name and after[name] != before[name]] == []
    folder.chmod(0o755)
    victim.run()
    assert digests(victim.extra) == victim.fresh()


def test_a_run_that_finds_another_at_work_says_which(victim: Victim) -> None:
    victim.edit()
    before = digests(victim.extra)
    lock = lock_run(victim.extra)
    said = victim.run(fails=True)
    assert (
        f"Another run is in progress in {victim.extra / WORK}: process {os.getpid()} on host"
        in said
    )
    assert f"since {time.strftime('%Y-%m-')}" in said
    assert digests(victim.extra) == before
    lock.close()
    victim.run()
    assert digests(victim.extra) == victim.fresh()


def test_two_runs_at_once(victim: Victim) -> None:
    for _ in range(3):
        victim.edit()
        both = [victim.start("workdir"), victim.start("other workdir")]
        said = [run.communicate()[0] for run in both]
        assert 0 in [run.returncode for run in both], said
        for run, text in zip(both, said, strict=True):
            assert run.returncode == 0 or "Another run is in progress in" in text, text
            assert "Traceback" not in text
        assert digests(victim.extra) == victim.fresh()


def test_a_single_file_can_not_be_asked_for_past_the_lock(victim: Victim) -> None:
    victim.edit()
    with lock_run(victim.extra):
        (receipt,) = (victim.extra / WORK).rglob("receipt-*.json")
        command = [*victim.command(), "-F", "--", str(receipt)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode
    assert "Another run is in progress in" in done.stderr


def test_a_job_that_is_killed_has_the_last_word_said_for_it(victim: Victim) -> None:
    victim.edit()
    run = victim.start()
    while run.poll() is None and not (jobs := jobs_of(run.pid)):
        pass
    kill_jobs(jobs)
    assert "Error: A job failed without giving a reason" in run.communicate()[0]


def test_a_dry_run_needs_no_lock(victim: Victim) -> None:
    with lock_run(victim.extra):
        victim.edit()
        command = [*victim.command(), "-n"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Scan TRAIN: 2 of 5 folders changed" in done.stderr + done.stdout


# A work file, what damages it, and one that is removed so that the damaged one is read.
DAMAGED = [
    ("labels.json", b"", "entries-TRAIN.npy"),
    ("scan.npz", b"\0" * 300, "entries-TRAIN.npy"),
    ("folders.json", b"{}", "entries-TRAIN.npy"),
    ("entries-TRAIN.npy", b"", "class-ids-TRAIN.npy"),
    ("class-ids-TRAIN.npy", b"\0" * 300, "verify-TRAIN.json"),
    ("verify-TRAIN.json", b"{}", "receipt-*.json"),
]


@pytest.mark.long
def test_damaged_work_files_are_made_anew(victim: Victim) -> None:
    """A run that cannot do without a damaged file removes it and says so; the next one succeeds."""
    before = digests(victim.extra)
    for name, damage, removed in DAMAGED:
        for path in (victim.extra / WORK).rglob(removed):
            path.unlink()
        for path in (victim.extra / WORK).rglob(name):
            path.write_bytes(damage)
        first = subprocess.run(victim.command(), capture_output=True, text=True, check=False)
        assert "Traceback" not in first.stderr
        assert first.returncode == 0 or "Error: " in first.stderr
        victim.run()
        assert digests(victim.extra) == before
