"""Checks for hosts that share files by NFS. inside.sh runs them in the virtual machine, as root.

Host A runs ``dump_extra``, and host B reads. Each has its own mount, ``/mnt/VERSION/A`` or
``/mnt/VERSION/B``, of the folder ``/srv/x`` on the server, which is this machine too. Each check
has its own folder there, with the dataset in ``root`` and the metadata in ``extra``.
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryDirectory

SERVER = Path("/srv/x")
ARRAYS = ("entries-TRAIN.npy", "class-ids-TRAIN.npy", "class-names-TRAIN.npy")
WORK = ".dinov3-metadata"
KEPT = f"{WORK}/published/kept"

# Each row has 8 kB, so that a few images are enough for arrays that are read page by page.
CLASS_NAME = "name " * 400
IMAGES = 2100

READER = """
import hashlib, mmap, os, sys
path, how = sys.argv[1:]
descriptor = os.open(path, os.O_RDONLY)
os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # read no page ahead
if how == "mmap":
    mapped = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
    mapped.madvise(mmap.MADV_RANDOM)
    os.close(descriptor)
for line in sys.stdin:
    start, stop = (int(page) * mmap.PAGESIZE for page in line.split())
    try:
        found = mapped[start:stop] if how == "mmap" else os.pread(descriptor, stop - start, start)
        print(hashlib.sha256(found).hexdigest(), flush=True)
    except OSError as error:
        print(error, flush=True)
"""

# This pauses without starting a process: a child that closes run.lock would sync it to the server.
DUMP = """
import logging, os, sys, time
from dinov3_metadata import MetadataError, dump_extra, run
root, extra, stage, reached, resume = sys.argv[1:]
logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s")
if stage:
    run_stage = run.run_stage
    def after_a_pause(rule, *arguments):
        if rule == stage:
            open(reached, "w").close()
            while not os.path.exists(resume):
                time.sleep(0.1)
        return run_stage(rule, *arguments)
    run.run_stage = after_a_pause
try:
    dump_extra(root, extra, splits=["TRAIN"])
except MetadataError as error:
    sys.exit(f"MetadataError: {error}")
"""


class Checks:
    """Runs checks, prints one line for each result, and counts them.

    Args:
        words: The versions or names of the checks to run; empty to run all of them.
    """

    def __init__(self, words: list[str]) -> None:
        self.words, self.made, self.failed = words, 0, 0

    def run(self, version: str, check: Callable[["Checks", str], None]) -> None:
        if self.words and version not in self.words and check.__name__ not in self.words:
            return
        self.name = f"{version:5} {check.__name__}"
        try:
            check(self, version)
        except Exception as error:
            self.note(False, "runs", "".join(traceback.format_exception(error)))

    def note(self, ok: bool, what: str, found: object = "") -> None:
        self.made += 1
        self.failed += not ok
        if isinstance(found, subprocess.CompletedProcess):
            found = f"exit code {found.returncode}; {found.stdout[-300:]}{found.stderr}"
        text = "" if ok else f": {found}"
        print(f"{'ok  ' if ok else 'FAIL'} {self.name}: {what}{text}", flush=True)


def on(host: str, *command: object) -> list[str]:
    """Return the command line that runs a command on host A or B."""
    enter = ["nsenter", f"--net=/run/netns/{host}", "unshare", "--uts"]
    run = ["sh", "-c", f'hostname host{host}; exec "$@"', "sh"]
    return [*enter, *run, *map(str, command)]


def dump(
    host: str,
    root: Path,
    extra: Path,
    stage: str = "",
    meanwhile: Callable[[int], object] = lambda pid: None,
) -> subprocess.CompletedProcess[str]:
    """Run ``dump_extra`` on a host, and call a function in the middle of the run.

    Args:
        host: A or B.
        root, extra: The folders, below that host's mount.
        stage: The function of the module ``dump`` before which the run pauses; empty for no pause.
        meanwhile: Called during the pause with the id of the process.
    """
    with TemporaryDirectory() as local:
        reached, resume = Path(local, "reached"), Path(local, "resume")
        line = on(host, sys.executable, "-c", DUMP, root, extra, stage, reached, resume)
        with subprocess.Popen(line, stdout=PIPE, stderr=PIPE, text=True) as run:
            while stage and not reached.exists() and run.poll() is None:
                time.sleep(0.1)
            try:
                if stage:
                    meanwhile(run.pid)
            finally:
                resume.touch()
            try:
                out, err = run.communicate(timeout=300)
            except subprocess.TimeoutExpired:
                run.kill()
                raise
    return subprocess.CompletedProcess([], run.returncode, out, err)


def must_dump(host: str, folder: Path) -> None:
    done = dump(host, folder / "root", folder / "extra")
    if done.returncode:
        raise AssertionError(done.stdout + done.stderr)


class Dataset:
    """A dataset of many images in two classes, made on the server.

    Args:
        name: The start of the name of its folder.
        images: How many images to make.
    """

    def __init__(self, name: str, images: int = IMAGES) -> None:
        self.name, self.classes = f"{name}-{time.time_ns()}", 0
        self.root = SERVER / self.name / "root"
        self.root.mkdir(parents=True)
        for count in (images - 1, 1):
            self.add(self.root, count)

    def add(self, root: Path, images: int = 1) -> None:
        """Add a class with a longer name than all others, which changes the bytes of all arrays."""
        self.classes += 1
        class_id = f"n{self.classes:08}"
        folder = root / "train" / class_id
        folder.mkdir(parents=True)
        for number in range(images):
            (folder / f"{class_id}_{number}.JPEG").touch()
        with open(root / "labels.txt", "a") as labels:
            labels.write(f"{class_id},{CLASS_NAME}{'x' * self.classes}\n")

    def touch(self) -> None:
        """Add an image to the first class."""
        folder = self.root / "train/n00000001"
        (folder / f"{folder.name}_{time.time_ns() % 10**9}.JPEG").touch()


class Reader:
    """A process on host B that has an array open or mapped, like a training.

    Args:
        path: The array, below B's mount.
        how: ``mmap`` to map the array, ``pread`` to open it.
    """

    def __init__(self, path: Path, how: str) -> None:
        self.how = how
        self.right = Path(SERVER, *path.parts[4:]).read_bytes()
        self.process = subprocess.Popen(
            on("B", sys.executable, "-c", READER, path, how),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def read(self, start: int, stop: int) -> str:
        """Read some pages; return what is wrong with them, or an empty text."""
        size = os.sysconf("SC_PAGESIZE")
        expected = self.right[start * size : stop * size]
        assert len(expected) == (stop - start) * size, "the array is too small"
        try:
            self.process.stdin.write(f"{start} {stop}\n")
            self.process.stdin.flush()
            found = self.process.stdout.readline().strip()
        except BrokenPipeError:
            found = ""
        if not found:
            return signal.Signals(-self.process.wait(60)).name
        return found if found != hashlib.sha256(expected).hexdigest() else ""

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def digests(extra: Path) -> dict[str, str]:
    return {name: hashlib.sha256((extra / name).read_bytes()).hexdigest() for name in ARRAYS}


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def shell(command: str) -> None:
    subprocess.run(command, shell=True, check=True)


def readers(checks: Checks, version: str) -> None:
    """A training on B keeps its rows, whatever A publishes and even if the server restarts."""
    data = Dataset("readers")
    a, b = (Path("/mnt", version, host, data.name) for host in "AB")
    entries = b / "extra" / ARRAYS[0]
    must_dump("A", a)
    first = [Reader(entries, how) for how in ("mmap", "pread")]
    second: list[Reader] = []
    pages = iter(range(0, len(first[0].right) // 4096 - 10, 10))

    def look(readers: list[Reader], whose: str, when: str) -> None:
        start = next(pages)
        for reader in readers:
            wrong = reader.read(start, start + 10)
            checks.note(not wrong, f"{reader.how} of the {whose} arrays {when}", wrong)

    look(first, "first", "before anything happens")
    old = {name: (a / "extra" / name).stat().st_ino for name in ARRAYS}
    data.add(a / "root")
    must_dump("A", a)
    look(first, "first", "at once after a publication")
    names = {path.stat().st_ino: path.name for path in files_in(a / "extra" / KEPT)}
    lost = [name for name, inode in old.items() if names.get(inode) != name]
    checks.note(not lost, "the replaced arrays have a second name", f"{lost} not in {names}")

    # The old files still exist, so for a minute a client that has cached the folder may resolve a
    # name to the old file. Opening the folder makes it ask the server.
    os.listdir(b / "extra")
    second = [Reader(entries, how) for how in ("mmap", "pread")]
    look(second, "second", "opened after the folder was listed")
    time.sleep(5)
    look(first, "first", "5 s later")
    data.add(a / "root")
    must_dump("A", a)
    look(first, "first", "after one more publication")
    look(second, "second", "after one more publication")
    shell("systemctl restart nfs-server")
    look(first, "first", "after the server started anew")
    look(second, "second", "after the server started anew")
    for reader in first + second:
        reader.end()


def other_host(checks: Checks, version: str) -> None:
    """Right after a run on A, a run on B writes nothing, even if B has cached the old files."""
    data = Dataset("other-host", 30)
    a, b = (Path("/mnt", version, host, data.name) for host in "AB")
    must_dump("A", a)
    must_dump("B", b)
    data.add(a / "root")
    must_dump("A", a)
    published = digests(SERVER / data.name / "extra")
    done = dump("B", b / "root", b / "extra")
    written = re.findall(r".*: written", done.stdout)
    checks.note(not written and not done.returncode, "it writes nothing", done)
    checks.note(digests(SERVER / data.name / "extra") == published, "the arrays stay as they are")
    checks.note(digests(b / "extra") == published, "B then reads the new arrays")


def edits(checks: Checks, version: str) -> None:
    """An edit on B is seen on A at once, and 1 s or 5 s after A has looked at the folders."""
    from dinov3_metadata.fingerprint import changed_folders, folder_states

    data = Dataset("edits", 30)
    a, b = (Path("/mnt", version, host, data.name, "root/train") for host in "AB")
    for wait in (0, 1, 5):
        seen = missed = 0
        for number in range(20):
            class_id = f"n0000000{number % 2 + 1}"
            before, remembered = folder_states(a), (a / class_id).stat().st_mtime_ns
            time.sleep(wait)
            (b / class_id / f"{class_id}_{1000 + 100 * wait + number}.JPEG").touch()
            missed += (a / class_id).stat().st_mtime_ns == remembered
            seen += changed_folders(before, folder_states(a)) == [class_id]
        what = f"{seen} of 20 edits are seen, {wait} s after a look (os.stat misses {missed})"
        checks.note(seen == 20, what)


def runs_after_edits(checks: Checks, version: str) -> None:
    """Whatever B has edited a moment before, a run on A makes what a run on the server makes."""
    data = Dataset("runs", 30)
    a, b = (Path("/mnt", version, host, data.name) for host in "AB")
    labels, folder = b / "root/labels.txt", b / "root/train/n00000001"

    def see(what: str, edit: Callable[[], object]) -> None:
        edit()
        must_dump("A", a)
        reference = SERVER / data.name / "reference"
        dump("A", data.root, reference)
        checks.note(digests(a / "extra") == digests(reference), what)
        shutil.rmtree(reference)

    labels.rename(labels.with_name("away"))
    done = dump("A", a / "root", a / "extra")
    checks.note("labels.txt does not exist" in done.stderr, "a missing labels.txt is missed", done)
    see("a labels.txt that appears", lambda: labels.with_name("away").rename(labels))
    see("an image added", (folder / "n00000001_777777.JPEG").touch)
    see("an image removed", (folder / "n00000001_777777.JPEG").unlink)
    see("a class added", lambda: data.add(b / "root"))
    see("a class removed", lambda: shutil.rmtree(b / "root/train/n00000003"))


def calls(mount: Path) -> int:
    """Return how many calls the client of a mount has made."""
    of_mount = Path("/proc/self/mountstats").read_text().partition(f" mounted on {mount} ")[2]
    per_call = of_mount.partition("\ndevice ")[0].partition("per-op statistics")[2]
    return sum(int(number) for number in re.findall(r"^\s+\w+: (\d+)", per_call, re.MULTILINE))


def round_trips(checks: Checks, version: str) -> None:
    """A run that has nothing to do asks once for each folder, whether it remembers it or not."""
    classes = 1000
    data = Dataset("trips", 2)
    for number in range(classes - 2):
        (data.root / f"train/m{number}").mkdir()
        (data.root / f"train/m{number}/m{number}_1.JPEG").touch()
    with open(data.root / "labels.txt", "a") as file:
        file.writelines(f"m{number},m\n" for number in range(classes - 2))
    mount = Path("/mnt", version, "A")
    a = mount / data.name
    must_dump("A", a)
    for wait in (0, 65):
        time.sleep(wait)
        before = calls(mount)
        must_dump("A", a)
        made = (calls(mount) - before) / (classes + 1)
        checks.note(made <= 1.1, f"{made:.2f} calls a folder, {wait} s after a run")


def stale(checks: Checks, version: str) -> None:
    """A folder that the server has replaced is called a stale handle."""
    folder = SERVER.with_name(f"stale-{time.time_ns()}")  # not in what is exported already
    mount = Path("/mnt", folder.name)
    for one in (folder, mount):
        one.mkdir()
    shell(f"exportfs -o rw,insecure,fsid=77 '*:{folder}'")
    where = f"nsenter --net=/run/netns/A mount -t nfs -o vers={version[1:]},nolock"
    shell(f"{where} 10.9.0.1:{folder} {mount}")
    shell(f"exportfs -u '*:{folder}'; exportfs -o rw,insecure,fsid=78 '*:{folder}'")
    done = dump("A", mount, folder.with_name(f"{folder.name}-extra"))
    checks.note(f"{mount}: stale file handle." in done.stderr, "it is called so", done)
    shell(f"umount -l {mount}; exportfs -u '*:{folder}'")


def locks(checks: Checks, version: str) -> None:
    """A second run stops, and its message names the first run."""
    data = Dataset("locks", 30)
    a, b = (Path("/mnt", version, host, data.name) for host in "AB")
    if version == "v3":  # the NFSv3 mounts of A and B do not share locks
        a, b = (Path("/mnt", version, f"lock{host}", data.name) for host in "AB")

    def second(pid: int) -> None:
        done = dump("B", b / "root", b / "extra")
        named = f"process {pid} on host hostA," in done.stderr
        checks.note(named, "it names the process and host A", done)

    done = dump("A", a / "root", a / "extra", "load_labels", second)
    checks.note(done.returncode == 0, "the first run succeeds", done)
    checks.note("is on NFS mounted with" not in done.stdout, "nothing is said of its locks", done)
    if version == "v3":
        data.touch()
        done = dump("A", *(Path("/mnt/v3/A", data.name, name) for name in ("root", "extra")))
        said = done.stdout.count("is on NFS mounted with nolock, so a run here does not see")
        checks.note(said == 1, "locks of the mount without them are warned of once", done)
    must_dump("B", b)
    checks.note(True, "B's next run succeeds")


def full(checks: Checks, version: str) -> None:
    """If the server's disk is full, the message says where; once there is room, a run succeeds."""
    data = Dataset("full")
    server = Path("/srv/small", data.name, "extra")
    extra = Path("/mnt", version, "small", data.name, "extra")
    for left in (0, 8):  # MB: with 0, not even a scan fits; with 8, half of the arrays fit
        done = dump("A", data.root, extra)
        checks.note(done.returncode == 0, f"a run with room ({left} MB next)", done)
        published = digests(server)
        data.touch()

        def fill(_: int, left: int = left) -> None:
            size = shutil.disk_usage("/srv/small").free - left * 1_000_000
            shell(f"head -c {size} /dev/zero >/srv/small/filler 2>/dev/null; sync")

        done = dump("A", data.root, extra, "scan_split", fill)
        named = f"MetadataError: {extra}/"
        what = f"{left} MB free: names a path"
        checks.note(named in done.stderr, what, done)
        checks.note(digests(server) == published, "the published files stay as they were")
        os.unlink("/srv/small/filler")
        shell("sync")
        done = dump("A", data.root, extra)
        checks.note(done.returncode == 0, "the first run after room was made succeeds", done)
        checks.note(digests(server) != published, "it publishes")
        left_over = [path for path in files_in(server) if path.name.endswith(".tmp")]
        checks.note(not left_over, "nothing is left over", left_over)
    shutil.rmtree(server.parent)


def server_stops(checks: Checks, version: str) -> None:
    """If the server of a soft mount stops, the message names a file, and the next run succeeds."""
    for stage in ("scan_split", "publish"):
        data = Dataset("stops", 300)
        extra = Path("/mnt", version, "soft", data.name, "extra")
        server = SERVER / data.name / "extra"
        done = dump("A", data.root, extra)
        checks.note(done.returncode == 0, "a run on a soft mount", done)
        published = digests(server)
        data.add(data.root)
        try:
            done = dump("A", data.root, extra, stage, lambda _: shell("systemctl stop nfs-server"))
        finally:
            shell("systemctl start nfs-server")
        named = f"MetadataError: {extra}"
        checks.note(named in done.stderr, f"stopped before {stage}: names a path", done)
        checks.note(digests(server) == published, "the published files stay as they were")
        done = dump("A", data.root, extra)
        checks.note(done.returncode == 0, "the next run succeeds", done)
        reference = server.parent / "reference"
        dump("A", data.root, reference)
        checks.note(digests(server) == digests(reference), "its arrays are those of a local run")


LOOKS = (edits, runs_after_edits, round_trips, stale)


def keeps_nothing(checks: Checks, version: str) -> None:
    """On a local disk, no replaced file is kept."""
    data = Dataset("local", 30)
    folder = SERVER / data.name
    must_dump("A", folder)
    published = digests(folder / "extra")
    data.add(data.root)
    must_dump("A", folder)
    checks.note(digests(folder / "extra") != published, "the arrays are replaced")
    kept = files_in(folder / "extra" / KEPT)
    checks.note(not kept, "no replaced file is kept", kept)


def main() -> None:
    with open("/proc/cmdline") as line:
        words = dict(re.findall(r"(\w+)=(\S*)", line.read())).get("checks", "")
    checks = Checks(list(filter(None, [*sys.argv[1:], *words.split(",")])))
    checks.run("local", keeps_nothing)
    for version in ("v3", "v4.2"):
        for check in (*LOOKS, readers, other_host, locks, full, server_stops):
            checks.run(version, check)
    if checks.failed or not checks.made:
        sys.exit(f"{checks.failed} of {checks.made} checks fail")
    print(f"All {checks.made} checks are ok")


if __name__ == "__main__":
    main()
