"""Whatever is wrong with metadata files: does ``check`` find each fault, and name it?

Faults of each kind are planted at random places of right files, or of the dataset that they
describe, some at a time. Each must be counted under its own name, and nothing is found when all is
right again.
"""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata import check
from dinov3_metadata.addresses import image_path
from dinov3_metadata.checks.result import CheckResult
from dinov3_metadata.paths import array_names
from helpers import dump, make_tree

CLASSES = [f"n{i:08d}" for i in range(3, 63, 3)]
IMAGES = {"TRAIN": 60, "VAL": 20, "TEST": 300}
ALL = 10_000

Files = dict[str, np.ndarray]
Fault = Callable[["Scene", random.Random, int], int]
"""Plants some faults and returns how many it planted."""


class Scene:
    """A dataset and its files, which are put back after each fault."""

    def __init__(self, home: Path) -> None:
        names = [f"{image} of {i}" for i, image in enumerate(["great cat", "dog"] * 10)]
        files = [
            image_path(split, class_id, 7 * i + 1 + 1000 * CLASSES.index(class_id or CLASSES[0]))
            for split, many in IMAGES.items()
            for class_id in (CLASSES if split != "TEST" else [""])
            for i in range(many)
        ]
        rows = "".join(f"{one},{name}\n" for one, name in zip(CLASSES, names, strict=True))
        self.root, self.extra, self.good = make_tree(home / "root", files, rows), home / "extra", {}
        self.undo: list[tuple[Path, Path]] = []
        for split in IMAGES:
            dump(self.root, self.extra, split)
        for path in self.extra.glob("*.npy"):
            self.good[path] = path.read_bytes()

    def files(self, split: str) -> Files:
        names = [name.removesuffix(f"-{split}.npy") for name in array_names(split)]
        return {name: np.load(self.extra / f"{name}-{split}.npy") for name in names}

    def save(self, split: str, files: Files) -> None:
        for name, array in files.items():
            np.save(self.extra / f"{name}-{split}.npy", array)

    def move(self, path: Path, new: Path) -> None:
        new.parent.mkdir(exist_ok=True)
        path.rename(new)
        self.undo.append((new, path))

    def put_back(self) -> None:
        for new, path in reversed(self.undo):
            new.rename(path)
        self.undo.clear()
        for path, content in self.good.items():
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            path.write_bytes(content)


def in_rows(split: str, change: Callable[[np.ndarray, np.ndarray, random.Random], None]) -> Fault:
    """Change some rows of a split, at most a third of each class."""

    def plant(scene: Scene, dice: random.Random, many: int) -> int:
        files = scene.files(split)
        entries = files["entries"]
        at = np.array(sorted(dice.sample(range(0, len(entries), 3), many)))
        change(entries, at, dice)
        scene.save(split, files)
        return many

    return plant


def renumber(entries: np.ndarray, at: np.ndarray, dice: random.Random) -> None:
    entries["actual_index"][at] = [10**6 + i for i in dice.sample(range(10**6), len(at))]


def to_other_class(entries: np.ndarray, at: np.ndarray, dice: random.Random) -> None:
    for row in at:
        others = [one for one in CLASSES if one != entries["class_id"][row]]
        entries["class_id"][row] = dice.choice(others)


def to_other_number(entries: np.ndarray, at: np.ndarray, dice: random.Random) -> None:
    for row in at:
        others = [i for i in range(len(CLASSES) + 9) if i != entries["class_index"][row]]
        entries["class_index"][row] = dice.choice(others)


def with_class(entries: np.ndarray, at: np.ndarray, dice: random.Random) -> None:
    entries["class_index"][at] = [dice.choice([0, 255, 1001]) for _ in at]


def exchange(entries: np.ndarray, at: np.ndarray, dice: random.Random) -> None:
    at = at[at + 1 < len(entries)]
    entries[at], entries[at + 1] = entries[at + 1], entries[at]


def lose(split: str) -> Fault:
    def plant(scene: Scene, dice: random.Random, many: int) -> int:
        files = scene.files(split)
        gone = dice.sample(range(len(files["entries"])), many)
        files["entries"] = np.delete(files["entries"], gone)
        scene.save(split, files)
        return many

    return plant


def repeat(split: str) -> Fault:
    def plant(scene: Scene, dice: random.Random, many: int) -> int:
        files = scene.files(split)
        at = sorted(dice.sample(range(len(files["entries"])), many))
        files["entries"] = np.insert(files["entries"], at, files["entries"][at])
        scene.save(split, files)
        return many

    return plant


def shift(split: str) -> Fault:
    """Rotate the numbers of some classes, in all files of a split."""

    def plant(scene: Scene, dice: random.Random, many: int) -> int:
        files = scene.files(split)
        some = dice.sample(range(len(CLASSES)), max(2, min(many, len(CLASSES))))
        new = np.arange(len(CLASSES))
        new[some] = some[1:] + some[:1]
        files["entries"]["class_index"] = new[files["entries"]["class_index"]]
        for name in ("class-ids", "class-names"):
            array = files[name].copy()
            array[new] = files[name]
            files[name] = array
        scene.save(split, files)
        return len(some)

    return plant


def rename(split: str, new: Callable[[str, int, Files], str]) -> Fault:
    """Give some classes other names."""

    def plant(scene: Scene, dice: random.Random, many: int) -> int:
        files = scene.files(split)
        some = dice.sample(range(len(CLASSES)), min(many, len(CLASSES)))
        names = files["class-names"].copy()
        for i in some:
            files["class-names"][i] = new(str(names[i]), i, {"names": names})
            of_class = files["entries"]["class_index"] == i
            files["entries"]["class_name"][of_class] = files["class-names"][i]
        scene.save(split, files)
        return len(some)

    return plant


def other_ids(scene: Scene, dice: random.Random, many: int) -> int:
    files = scene.files("VAL")
    some = dice.sample(range(len(CLASSES)), min(many, len(CLASSES)))
    name = dice.choice(["class-ids", "class-names"])
    files[name][some] = [f"x{i}" for i in some]
    scene.save("VAL", files)
    return len(some)


def move(split: str, new: Callable[[Path, random.Random], Path]) -> Fault:
    """Rename some images of a split."""

    def plant(scene: Scene, dice: random.Random, many: int) -> int:
        images = sorted((scene.root / split.lower()).rglob("*.JPEG"))
        for path in dice.sample(images, many):
            scene.move(path, new(path, dice))
        return many

    return plant


def to_other_folder(path: Path, dice: random.Random) -> Path:
    others = [one for one in CLASSES if one != path.parent.name]
    return path.parent.with_name(dice.choice(others)) / path.name


def damage(scene: Scene, dice: random.Random, many: int) -> int:
    """Damage two files, but not the only one of TEST: a split without files is not checked."""
    some = dice.sample(sorted(path for path in scene.good if "TEST" not in path.name), 2)
    for path in some:
        content = scene.good[path]
        kind = dice.choice(["cut", "empty", "missing", "FIFO", "folder", "pickled", "magic"])
        path.unlink()
        if kind == "cut":
            path.write_bytes(content[: dice.randrange(1, len(content))])
        elif kind == "empty":
            path.touch()
        elif kind == "FIFO":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "pickled":
            np.save(path, np.array([{}], object))
        elif kind == "magic":
            path.write_bytes(bytes([content[0] ^ (1 << dice.randrange(8))]) + content[1:])
    return len(some)


FAULTS: dict[str, tuple[str, Fault]] = {
    "number that no image has": ("missing", in_rows("TRAIN", renumber)),
    "number of TEST that no image has": ("missing", in_rows("TEST", renumber)),
    "row of another class": ("wrong-class", in_rows("VAL", to_other_class)),
    "number of another class": ("mixed-numbers", in_rows("TRAIN", to_other_number)),
    "class in TEST": ("test", in_rows("TEST", with_class)),
    "rows exchanged": ("order", in_rows("TRAIN", exchange)),
    "row lost": ("no-row", lose("VAL")),
    "row of TEST lost": ("no-row", lose("TEST")),
    "row twice": ("duplicate", repeat("TRAIN")),
    "numbers of TRAIN": ("class-numbers", shift("TRAIN")),
    "numbers of VAL": ("between-splits", shift("VAL")),
    "name cut": ("name-cut", rename("TRAIN", lambda name, i, files: name[:-2])),
    "name stale": ("name-stale", rename("VAL", lambda name, i, files: f"{name[1:]}!")),
    "name swapped": (
        "name-swapped",
        rename("VAL", lambda name, i, files: files["names"][(i + 7) % len(CLASSES)]),
    ),
    "class arrays": ("class-arrays", other_ids),
    "image gone": ("missing", move("VAL", lambda path, dice: path.parents[3] / "gone" / path.name)),
    "suffix": ("unaddressable", move("TRAIN", lambda path, dice: path.with_suffix(".jpg"))),
    "folder below": (
        "unaddressable",
        move("VAL", lambda path, dice: path.parent / "x" / path.name),
    ),
    "image of VAL moved": ("wrong-class", move("VAL", to_other_folder)),
    "image of TRAIN moved": ("wrong-class", move("TRAIN", to_other_folder)),
    "damaged": ("file", damage),
}


def totals(result: CheckResult) -> Iterator[tuple[str, int]]:
    for split in result.splits:
        for finding in split.findings:
            assert finding.first, finding.kind
            yield finding.kind, finding.total


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(fault: str, full: bool, tmp_path: Path, note) -> None:
    kind, plant = FAULTS[fault]
    scene, dice = Scene(tmp_path), random.Random(fault)
    goal = -(-ALL // len(FAULTS)) if full else 40
    planted = found = 0
    missed = []
    while planted < goal:
        many = plant(scene, dice, dice.randint(1, 20))
        counted = sum(
            total for what, total in totals(check(scene.root, scene.extra)) if what == kind
        )
        if counted != many:
            missed.append(f"{counted} of {many}")
        planted, found = planted + many, found + min(many, counted)
        scene.put_back()
    assert check(scene.root, scene.extra).ok
    note("check", faults_planted=planted, found=found, wrongly_counted=len(missed))
    assert not missed
