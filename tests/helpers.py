"""Trees to work on, and the stages as functions of (root, extra), for all tests to import."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dinov3_metadata.addresses import LABELLED, image_path, trailing_number
from dinov3_metadata.artefacts import Labels, Numbering, Scan
from dinov3_metadata.disk import make_folder
from dinov3_metadata.files import sha256
from dinov3_metadata.paths import array_names, folder_of, path_of
from dinov3_metadata.readings import Naming
from dinov3_metadata.stages.audit import audit_images, audit_split
from dinov3_metadata.stages.classes import write_class_arrays
from dinov3_metadata.stages.entries import write_entries
from dinov3_metadata.stages.labels import read_labels
from dinov3_metadata.stages.scan import scan_images
from dinov3_metadata.tables import Table

REPOSITORY = Path(__file__).parent.parent


def project() -> dict[str, Any]:
    """The table ``project`` of pyproject.toml."""
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10, where pytest brings the same as a package
        import tomli as tomllib
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def repository_files() -> list[str]:
    """The files of the repository, new ones too; those of an unpacked sdist have no git to ask."""
    if (REPOSITORY / ".git").exists():
        # The tests that need root run in the clone of an ordinary user, which git would refuse.
        command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
        command += ["--cached", "--others", "--exclude-standard"]
        names = subprocess.check_output(command, cwd=REPOSITORY, text=True).split("\0")
        return [name for name in names if (REPOSITORY / name).is_file()]
    there = (path.relative_to(REPOSITORY) for path in REPOSITORY.rglob("*") if path.is_file())
    ours = (path for path in there if not CACHES & {*path.parts})
    return sorted(map(str, ours))


CACHES = {"__pycache__", ".venv", ".hypothesis", ".pytest_cache", ".snakemake", "demo", "PKG-INFO"}


def copy_repository(clone: Path) -> None:
    """Copy the files of the repository to a folder, and commit them there, with a tag."""
    for name in repository_files():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, clone / name)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x.example"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"], ["tag", "v1"]):
        subprocess.run([*git, *words], cwd=clone, check=True)


LABELS = "n01440764,tench\nn01443537,goldfish\nn01484850,great white shark\n"
FILES = [
    "train/n01440764/n01440764_10026.JPEG",
    "train/n01440764/n01440764_9.JPEG",
    "train/n01443537/n01443537_177134.JPEG",
    "train/n01484850/n01484850_1.JPEG",
    "val/n01440764/ILSVRC2012_val_00000293.JPEG",
    "val/n01443537/ILSVRC2012_val_00000236.JPEG",
    "val/n01484850/ILSVRC2012_val_00002338.JPEG",
    "test/ILSVRC2012_test_00000001.JPEG",
    "test/ILSVRC2012_test_00000002.JPEG",
]


def make_tree(root: Path, files: Iterable[str] = FILES, labels: str = LABELS) -> Path:
    """Make empty files, or empty folders for names that end with a slash, below ``root``."""
    for name in files:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (root / "labels.txt").write_bytes(labels.encode())
    return root


def named(names: dict[str, str]) -> Labels:
    """The labels of a CSV file that is not there."""
    rows = [[class_id, name] for class_id, name in names.items()]
    return Labels("", "csv", [Table("csv", rows, [*range(1, len(rows) + 1)])])


def naming(tmp_path: Path, text: str, class_ids: list[str], name: str = "labels.txt") -> Naming:
    """How a labels file with a text names some classes."""
    (tmp_path / name).write_bytes(text.encode())
    return read_labels(tmp_path / name).naming(class_ids)


def exchange(target: Path, kind: str) -> None:
    """Replace what a link leads to by a folder, a file, a FIFO or nothing."""
    if target.is_dir():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    if kind == "folder":
        make_tree(target, ["n02_7.JPEG", "ILSVRC2012_test_00000007.JPEG"])
    elif kind == "file":
        target.touch()
    elif kind == "FIFO":
        os.mkfifo(target)


def dump(
    root: Path,
    extra: Path,
    split: str,
    unaddressable: str = "refuse",
    numbered: Iterable[str] = (),
) -> dict[str, Path]:
    """Run the stages from labels to classes and return the arrays by their published names.

    The classes are ``numbered``, or if this is empty, those of the split itself.
    """
    extra.mkdir(parents=True, exist_ok=True)
    paths = [extra / name for name in array_names(split)]
    scan, *_ = scan_images(root, split, unaddressable=unaddressable)
    labels = read_labels(root / "labels.txt") if split in LABELLED else None
    ids = [*numbered] or scan.class_ids.tolist()
    write_entries(scan, labels, paths[0], Numbering(ids))
    if labels:
        write_class_arrays(paths[0], ids, labels.of(ids), paths[1:])
    return {path.name: path for path in paths}


def held_out(root: Path, share: float, seed: int = 0) -> dict[str, set[str]]:
    """The images of TRAIN and VAL by the rule of ``holdout``, for a dataset with train/<class>/."""
    files = {str(path.relative_to(root)) for path in root.glob("train/**/*") if path.is_file()}
    val = {one for one in files if is_held_out(one.split("/")[1], Path(one).name, share, seed)}
    return {"TRAIN": files - val, "VAL": val}


def is_held_out(class_id: str, name: str, share: float, seed: int = 0) -> bool:
    """The rule of ``holdout``, written once more."""
    digest = hashlib.sha256(f"{seed}/{class_id}/{name}".encode()).hexdigest()
    return int(digest[:16], 16) / 2**64 < share


def check_held_out(root: Path, extra: Path, share: float, folder: Path) -> None:
    """Compare the published arrays with those of a copy in DINOv3's layout that has, of each
    split, only its images.

    The number at the end of each name must be unique in its class.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for split, files in held_out(root, share).items():
        for file in files:
            number = trailing_number(file)
            assert number is not None
            make_tree(folder, [image_path(split, file.split("/")[1], number)])
    ids = sorted(path.name for path in (root / "train").iterdir() if path.is_dir())
    (folder / "labels.txt").write_text("".join(f"{one},{one}\n" for one in ids))
    for split in LABELLED:
        dump(folder, folder / "extra", split, numbered=ids)
    assert digests(extra) == digests(folder / "extra")


SPLIT_OF_DINOV3 = """
from enum import Enum

class _Split(Enum):
    TRAIN = "train"
    VAL = "val"
    TEST = "test"

    @property
    def length(self):
        return {"TRAIN": 1_281_167, "VAL": 50_000, "TEST": 100_000}[self.name]

    def get_image_relpath(self, actual_index, class_id=None):
        return f"{self.value}/{class_id}/{class_id}_{actual_index}.JPEG"
"""
"""A stand-in for the splits of DINOv3's ImageNet, which know the lengths of ImageNet-1k."""

AUDIT = {
    "tree": f"3-folders-{'0' * 12}",
    "selection": "all",
    "numbered": "own",
    "audit": "0" * 12,
}
"""The wildcards of an audit that no state of a dataset asks for, but for the split."""


def audit_all(root: Path, extra: Path, shares: int = 1, fail_on: Sequence[str] = ()) -> None:
    """Run the stages of an audit of TRAIN on what a scan finds now."""
    extra.mkdir(exist_ok=True)
    scan, state = extra / "scan.npz", {"split": "TRAIN", **AUDIT}
    scan_images(root, "TRAIN")[0].save(scan)
    make_folder(folder_of(extra, "share", **state))
    items = [f"{share}-of-{shares}" for share in range(1, shares + 1)]
    given = {"scan": scan, "extra": extra, "root": str(root)}
    for item in items:
        share = path_of(extra, "share", **state, scatteritem=item)
        audit_images(share=share, split="TRAIN", scatteritem=item, is_view=False, **given)
    audit_split(
        audited=path_of(extra, "audited", **state),
        standing=AUDIT["audit"],
        shares=shares,
        fail_on=fail_on,
        **state,
        **given,
    )


def make_scan(class_ids: list[str], counts: list[int], actual_index: list[int]) -> Scan:
    """A scan that was never made from a folder."""
    return Scan(
        np.array(class_ids),
        np.array(counts, "<i8"),
        np.array(actual_index, "<u4"),
        np.array(["", *filter(None, class_ids)]),
        np.zeros(len(class_ids) + 1, "<i8"),
    )


def open_path(descriptor: int, below: Path) -> Path:
    """Return the path of an open file or folder; ``below`` is a folder that contains it."""
    state = os.fstat(descriptor)
    paths = (path for path in [below, *below.rglob("*")] if os.path.lexists(path))
    return next(path for path in paths if os.path.samestat(path.lstat(), state))


def digests(folder: Path) -> dict[str, str]:
    """The sha256 of each published array."""
    return {path.name: sha256(path) for path in sorted(folder.glob("*.npy"))}


def file_states(paths: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """Return what shows that files were not touched, without st_atime, which reading may change."""
    states = {path.name: path.stat() for path in paths}
    return {
        name: (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        for name, state in states.items()
    }


def browser() -> str | None:
    """The path of a Chromium; None if none is installed."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


BROWSERS = ("chromium", "chromium-browser", "google-chrome")
"""The names that Debian, Ubuntu and Google give to it."""


@contextmanager
def scheduler(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run a scheduler of a cluster by the script in a folder of tests; gives its own folder."""
    folder = tmp_path_factory.mktemp(name)
    with alone(tmp_path_factory):  # apt-get can run only once at a time
        cluster = subprocess.Popen(
            [REPOSITORY / f"tests/{name}/cluster.sh", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        said = cluster.stdout.readline()
    with cluster:
        assert said == "ready\n", said + cluster.stdout.read()
        yield folder
        cluster.stdin.close()


@contextmanager
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Let in one process of pytest-xdist at a time; gives them a common folder."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with open(folder / "alone.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
