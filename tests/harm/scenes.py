"""What the questions of this folder share: a dataset with something beside it that must stay as it
is, runs of the program that are ended when they hang, and pictures of folders to compare."""

import os
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from dinov3_metadata.paths import FILES, WORK, array_names, file_name
from dinov3_metadata.run import dump_extra
from helpers import REPOSITORY, make_tree

LIMIT = 60  # seconds; a run takes half of one
MEMORY = 4 << 30  # bytes of address space; a run that reads a huge file whole needs more

CLASSES = ("n00000001", "n00000002")
PUBLISHED = [
    name
    for split in ("TRAIN", "VAL")
    for name in (*array_names(split), file_name("metadata", split=split))
]
ARRAYS = [name for name in PUBLISHED if name.endswith(".npy")]


class Said(NamedTuple):
    """How a run of the program ended.

    Attributes:
        code: Its exit code; None if it had to be ended.
        text: What it wrote to stdout and stderr; bytes that are not text are decoded as by
            ``os.fsdecode``, and line ends are kept.
    """

    code: int | None
    text: str

    @property
    def traceback(self) -> bool:
        return "Traceback (most recent call last)" in self.text or "MemoryError" in self.text

    @property
    def end(self) -> str:
        """The error that it ended with."""
        return self.text[max(0, self.text.rfind("Error")) :][-300:]


class Scene:
    """A dataset, a folder for its metadata, and a folder of somebody else, in ``home``.

    Attributes:
        root: The dataset: two classes of three images, in ``train`` and ``val``.
        extra: The folder for the metadata, not made yet.
        victim: A folder that the program has nothing to do with.
        options: Further command line options, for instance ``--layout folder``.
    """

    def __init__(self, home: Path, *options: str) -> None:
        self.home, self.options = home, options
        self.root, self.extra, self.victim = home / "root", home / "extra", home / "victim"
        files = [
            f"{split}/{class_id}/{name}"
            for split, pattern in (("train", "{}_{}.JPEG"), ("val", "ILSVRC2012_val_{1:08d}.JPEG"))
            for class_id in CLASSES
            for name in (pattern.format(class_id, number) for number in (1, 2, 3))
        ]
        make_tree(self.root, files, "".join(f"{one},name of {one}\n" for one in CLASSES))
        make_tree(self.victim, ["photos/2020/a.jpg", "n00000001/keep.txt", "train/keep.txt"])
        (self.victim / "empty").mkdir()
        (self.victim / "keep.txt").write_text("to be kept\n")
        (self.victim / "run").symlink_to("photos/2020")

    def edit(self) -> None:
        """Add an image, so that the next run has something to do."""
        (self.root / "train/n00000001/n00000001_77.JPEG").touch()

    def run(self, *more: str, prefix: Sequence[str] = (), extra: Path | None = None) -> Said:
        """Run ``python -m dinov3_metadata`` in a process of its own."""
        command = [*prefix, sys.executable, "-m", "dinov3_metadata", f"--root={self.root}"]
        return run([*command, f"--extra={extra or self.extra}", *self.options, *more], self.home)

    def snakemake(self, *more: str, **config: object) -> Said:
        """Run the real Snakemake on the dataset."""
        command = [sys.executable, "-m", "snakemake", "-s", str(REPOSITORY / "Snakefile")]
        command += ["--cores", "2", "--directory", str(self.home), *more, "--config"]
        config = {"root": self.root, "extra": self.extra, "splits": "[TRAIN,VAL]"} | config
        return run([*command, *(f"{key}={value}" for key, value in config.items())], self.home)

    def fresh(self, **settings: str) -> dict[str, bytes]:
        """The published arrays as a first run makes them in another, empty folder."""
        fresh = self.home / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        dump_extra(self.root, fresh, **settings)
        return published(fresh, ARRAYS)


def run(command: Sequence[str | bytes], folder: Path) -> Said:
    """Run a command in ``folder``; it is ended after ``LIMIT`` seconds, with all its processes."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"COLUMNS": "200"},
        start_new_session=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )
    try:
        said, code = process.communicate(timeout=LIMIT)[0], process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        said, code = process.communicate()[0], None
    return Said(code, os.fsdecode(said))


def published(extra: Path, names: Iterable[str] = PUBLISHED) -> dict[str, bytes]:
    """Read the published files, without links: name -> content."""
    paths = [extra / name for name in names]
    return {path.name: path.read_bytes() for path in paths if is_regular(path)}


def is_regular(path: Path) -> bool:
    return not path.is_symlink() and path.is_file()


def picture(folder: Path, but: Iterable[Path] = ()) -> dict[str, object]:
    """All that is in a folder, at any depth: path -> mode, owner, time, and content or target.

    Links are not followed; contents larger than a megabyte are left out.

    Args:
        folder: The folder.
        but: Paths to leave out, with everything below them.
    """
    skipped = {os.fspath(path) for path in but}
    found: dict[str, object] = {}
    for above, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = os.path.join(above, name)
            if path in skipped:
                continue
            state = os.lstat(path)
            content: object = None
            if stat.S_ISLNK(state.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(state.st_mode) and state.st_size < 1 << 20:
                content = Path(path).read_bytes()
            changed = 0 if stat.S_ISDIR(state.st_mode) else state.st_mtime_ns
            found[path] = state.st_mode, state.st_uid, state.st_ino, changed, content
        folders[:] = [name for name in folders if os.path.join(above, name) not in skipped]
    return found


def left_over(extra: Path) -> list[str]:
    """What a run must not leave behind: unfinished files, journals, replaced files."""
    paths = [str(path.relative_to(extra)) for path in extra.rglob("*")]
    begins = tuple(FILES[name].partition("{")[0] for name in ("journal", "kept"))
    return [
        path
        for path in paths
        if path.endswith(".tmp")
        or path.startswith(begins)
        or ("/" not in path and path not in (*PUBLISHED, WORK, "view"))
    ]


def as_lines(faults: dict[str, list[str]]) -> str:
    """Format what went wrong, and where, for the message of a failing test."""
    return "\n".join(f"{where}\n    {'; '.join(wrong)}" for where, wrong in faults.items())
