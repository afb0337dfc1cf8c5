"""Whatever somebody has planted where the program keeps its files: does a run harm what belongs to
others, hang, end in a traceback, or publish wrong bytes?

Each kind of file or link is planted at each place, before the first run and instead of what a run
made there. Afterwards nothing outside the program's own files may have changed, and the run ends
with the right bytes, or with a sentence that names the path. When what was planted is removed, the
same command succeeds.
"""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.paths import WORK
from dinov3_metadata.run import dump_extra
from helpers import make_tree
from scenes import ARRAYS, CLASSES, Said, Scene, as_lines, is_regular, picture, published

DEEP = 100_000
HUGE = 10 << 30

FOLDERS = [
    WORK,
    f"{WORK}/TRAIN",
    f"{WORK}/VAL",
    f"{WORK}/labels",
    f"{WORK}/views",
    f"{WORK}/views/TRAIN",
    f"{WORK}/audit",
    f"{WORK}/audit/TRAIN",
    f"{WORK}/published",
    f"{WORK}/published/kept",
    f"{WORK}/published/kept/18eb4ceb21444eed",
    f"{WORK}/labels/labels-*",
    f"{WORK}/views/TRAIN/*-folders-*",
    f"{WORK}/TRAIN/*-folders-*",
    f"{WORK}/TRAIN/*-folders-*/labels-*",
    f"{WORK}/TRAIN/*-folders-*/labels-*/sample-*",
    "view",
    "view/train",
    "view/train/n00000001",
]
FILES = [
    f"{WORK}/run.lock",
    f"{WORK}/jobs.lock",
    f"{WORK}/labels/labels-*/labels.json",
    f"{WORK}/views/TRAIN/*-folders-*/folders.json",
    f"{WORK}/TRAIN/*-folders-*/folders.json",
    f"{WORK}/TRAIN/*-folders-*/scan.npz",
    f"{WORK}/TRAIN/*-folders-*/labels-*/entries-TRAIN.npy",
    f"{WORK}/TRAIN/*-folders-*/labels-*/class-ids-TRAIN.npy",
    f"{WORK}/TRAIN/*-folders-*/labels-*/sample-*/verify-TRAIN.json",
    f"{WORK}/published/receipt-*.json",
    f"{WORK}/published/receipt-0123456789ab.json",
    f"{WORK}/published/TRAIN.json",
    f"{WORK}/published/TRAIN.npz",
    f"{WORK}/published/audit-TRAIN.json",
    f"{WORK}/published/journal-18eb4ceb21444eed.json",
    "view/.dinov3-view",
    "view/.dinov3-view-TRAIN",
    "view/train/n00000001/n00000001_1.JPEG",
    "entries-TRAIN.npy",
    "class-names-VAL.npy",
    "metadata-TRAIN.json",
    "audit-TRAIN.json",
]
"""Where the program keeps its files below extra; what a ``*`` stands for, a first run tells."""

DATASET = [
    "labels.txt",
    "train/n00000001/n00000001_1.JPEG",
    "train/n00000001",
    "val",
    "LOC_val_solution.csv",
]
"""What the program reads of a dataset."""

KINDS = [
    "link to a folder",
    "link to an empty folder",
    "link to a file",
    "link to nothing",
    "link to the dataset",
    "link to itself",
    "FIFO",
    "device",
    "socket",
    "folder of another user",
    "null",
]
CONTENTS = ["a list", "deep JSON", "deep objects", "not text", "empty", "cut in half", "huge"]
FOREIGN = [".my-TRAIN.notes.tmp", "notes.txt", "kept by me/a.txt", "3-folders-of-mine/a.txt"]


class Planted:
    """Something planted where the program keeps a file of its own or reads one of the dataset."""

    def __init__(self, scene: Scene, kind: str, path: Path) -> None:
        self.scene, self.kind, self.path = scene, kind, path
        below = scene.extra if path.is_relative_to(scene.extra) else scene.root
        missing = [one for one in path.parents if below in one.parents and not one.exists()]
        self.top = missing[-1] if missing else path  # the topmost path that is made here
        self.names = [str(one) for one in (path, path.relative_to(below), *missing)]
        before = path.read_bytes() if is_regular(path) and kind in CONTENTS else b""
        if kind != "foreign names":
            remove(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        links = {
            "link to a folder": scene.victim,
            "link to an empty folder": scene.victim / "empty",
            "link to a file": scene.victim / "keep.txt",
            "link to nothing": scene.victim / "missing",
            "link to the dataset": scene.root,
            "link to itself": path,
        }
        if kind in links:
            path.symlink_to(links[kind])
        elif kind == "FIFO":
            os.mkfifo(path)
        elif kind == "socket":
            os.mknod(path, stat.S_IFSOCK | 0o666)
        elif kind == "device":
            try:
                os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
            except PermissionError:  # which only root may make
                path.symlink_to("/dev/zero")
        elif kind == "folder of another user":
            path.mkdir()
            (path / "theirs.txt").write_text("theirs")
            path.chmod(0o700)
            if os.geteuid() == 0:
                os.chown(path, 12345, 12345)
            else:
                path.chmod(0)
        elif kind == "foreign names":
            make = [path / name for name in FOREIGN]
            for one in make:
                one.parent.mkdir(parents=True, exist_ok=True)
                one.write_text("mine")
        elif kind == "huge":
            path.touch()
            os.truncate(path, HUGE)
        else:
            contents = {
                "null": b"null",
                "a list": b"[1, 2]",
                "deep JSON": b"[" * DEEP + b"]" * DEEP,
                "deep objects": b'{"new":' * DEEP + b"1" + b"}" * DEEP,
                "not text": b"\xff\xfe\0\x80" * 100,
                "empty": b"",
                "cut in half": before[: len(before) // 2] or b'{"cu',
            }
            path.write_bytes(contents[kind])

    def others(self) -> dict[str, object]:
        """All that a run must not change: the victim, the dataset, planted files of others."""
        if self.kind == "folder of another user" and os.geteuid():
            self.path.chmod(0o700)
        found = picture(self.scene.victim) | picture(self.scene.root)
        if self.kind == "foreign names":
            found |= {str(self.path / name): _content(self.path / name) for name in FOREIGN}
        if self.kind == "folder of another user":
            found["theirs"] = _content(self.path / "theirs.txt")
            if os.geteuid():
                self.path.chmod(0)
        return found

    def remove(self) -> None:
        foreign = [self.path / name.partition("/")[0] for name in FOREIGN]
        for path in foreign if self.kind == "foreign names" else [self.top]:
            remove(path)
        if self.path.name == ".dinov3-view-TRAIN":  # its message asks for both to be removed
            remove(self.path.with_name("train"))


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if is_regular(path) else None


def remove(path: Path) -> None:
    """Remove whatever is there."""
    if path.is_dir() and not path.is_symlink():
        path.chmod(0o700)
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def places_of(scene: Scene, pattern: str) -> Path:
    """The path that a pattern stands for after a run."""
    found = sorted(scene.extra.glob(pattern))
    return found[0] if found else scene.extra / pattern.replace("*", "0123456789ab")


def judge(planted: Planted, before: dict[str, object], said: Said, right: object) -> list[str]:
    """What is wrong after a run: ``harm``, ``hang``, ``traceback``, ``bytes``, ``sentence``."""
    wrong = []
    if planted.others() != before:
        wrong.append("harm")
    if said.code is None:
        wrong.append("hang")
    if said.traceback:
        wrong.append("traceback")
    if said.code == 0 and published(planted.scene.extra, ARRAYS) != right:
        wrong.append("bytes")
    sentence = said.text.rpartition("Error: ")[2] if "Error: " in said.text else ""
    below = str(planted.scene.root) in sentence and f"{planted.path.name}" in sentence
    if said.code and not below and not any(name in sentence for name in planted.names):
        wrong.append("sentence")
    return wrong


def note_planted(note: Callable[..., None], wrong: list[str]) -> None:
    """Count something planted, and what went wrong with it."""
    kinds = ("harm", "hang", "traceback")
    figures = {kind: int(kind in wrong) for kind in kinds}
    note(
        "planted",
        planted=1,
        **figures,
        otherwise_wrong=int(bool(wrong) and not any(figures.values())),
    )


def ask(home: Path, kind: str, pattern: str, first: bool, edited: bool) -> list[str]:
    """Plant something below extra and run the program; gives what went wrong.

    Args:
        home: The folder for everything that belongs to the run.
        kind, pattern: What is planted, and where.
        first: Whether that is before the first run.
        edited: Whether the dataset changes afterwards, so that a run has something to do.
    """
    scene = Scene(home, "--layout=folder")
    right = scene.fresh(layout="folder")
    dump_extra(scene.root, scene.extra, layout="folder")
    path = places_of(scene, pattern)
    if first:
        shutil.rmtree(scene.extra)
    if edited:
        scene.edit()
        right = scene.fresh(layout="folder")
    planted = Planted(scene, kind, path)
    before = planted.others()
    said = scene.run()
    wrong = judge(planted, before, said, right)
    if said.code:
        planted.remove()
        try:
            dump_extra(scene.root, scene.extra, layout="folder")
        except MetadataError as error:
            wrong.append(f"removal: {error}")
        if published(scene.extra, ARRAYS) != right:
            wrong.append("removal: other bytes")
    return [*wrong, f"exit {said.code}: {said.end}"] if wrong else []


def kinds_of(pattern: str) -> list[str]:
    return [*KINDS, *CONTENTS] if pattern in FILES else [*KINDS, "foreign names"]


EXTRA = [(pattern, first) for pattern in FOLDERS + FILES for first in (True, False)]


@pytest.mark.parametrize(("pattern", "first"), EXTRA)
def test_planted_in_extra(pattern: str, first: bool, full: bool, tmp_path: Path, note) -> None:
    kinds = kinds_of(pattern)
    number = EXTRA.index((pattern, first))
    faults = {}
    for kind in kinds[number % 3 :: 3] if full else [kinds[number * 5 % len(kinds)]]:
        home = tmp_path / kind
        edited = first or number % 4 != 1  # otherwise the run has nothing to do
        if wrong := ask(home, kind, pattern, first, edited):
            faults[f"{kind}, {edited=}"] = wrong
        note_planted(note, wrong)
        shutil.rmtree(home, ignore_errors=True)
    assert not faults, as_lines(faults)


def make_kaggle(scene: Scene) -> None:
    """Make the dataset one of Kaggle's, whose classes of VAL are in a CSV file."""
    shutil.rmtree(scene.root)
    below = "ILSVRC/Data/CLS-LOC"
    files = [f"{below}/train/{one}/{one}_1.JPEG" for one in CLASSES]
    files += [f"{below}/val/ILSVRC2012_val_{i:08d}.JPEG" for i in (1, 2)]
    make_tree(scene.root, files, "".join(f"{one},name of {one}\n" for one in CLASSES))
    rows = [f"ILSVRC2012_val_{i:08d},{one} 1 1 2 2\n" for i, one in enumerate(CLASSES, 1)]
    (scene.root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(rows))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("place", DATASET)
def test_planted_in_the_dataset(place: str, first: bool, full: bool, tmp_path: Path, note) -> None:
    """A run on a folder with earlier results ends as the first run on an empty one does."""
    kinds = [*KINDS, *CONTENTS]
    chosen = kinds if full else kinds[DATASET.index(place) * 2 + first :: len(kinds) // 2]
    faults = {}
    for kind in chosen:
        scene = Scene(tmp_path / kind)
        if place == "LOC_val_solution.csv":
            make_kaggle(scene)
        if not first:
            assert scene.run().code == 0
        planted = Planted(scene, kind, scene.root / place)
        before = planted.others()
        said = scene.run()
        due = said if first else scene.run(extra=scene.home / "fresh")
        right = published(scene.extra if first else scene.home / "fresh", ARRAYS)
        wrong = judge(planted, before, said, right)
        if said.code != due.code:
            wrong.append("bytes")
        if wrong:
            faults[kind] = [*wrong, f"exit {said.code}: {said.end}"]
        note_planted(note, wrong)
    assert not faults, as_lines(faults)
