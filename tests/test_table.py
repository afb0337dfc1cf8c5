"""Tables of paths: the same numbers and arrays as with a view, and no link anywhere."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from dinov3_metadata.addresses import SPLITS, image_path
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.path_table import PathTable
from dinov3_metadata.paths import file_name
from dinov3_metadata.readdir import behind
from dinov3_metadata.run import dump_extra
from helpers import make_tree

NAMES = [
    *("IMG_0012.jpg", "IMG_0013.PNG", "a b/IMG_0012.jpg", "no number.webp", "12.png", "a/b/12.tif"),
    *(
        "0.jpg",
        "1.jpg",
        "2.jpeg",
        "3.BMP",
        "x.jpg",
        "y.jpg",
        "z.JPEG",
        "狗_4294967296.jpeg",
        "ä.jpg",
    ),
    *("\udcff.jpg", "\udcff 7.jpg", "\U0001f600.jpg", "\uffee.jpg", "20200101123456789.jpg"),
    *("00000000000000000000000005.jpg", ".hidden.jpg", "note.txt", "cat_3.JPEG", "cat_12.JPEG"),
]
ALWAYS = ["n 1.jpg", "n 2.jpg", "p.jpg", "q.jpg", "r.jpg", "s.jpg", "t.jpg", "u.jpg"]
CLASSES = ["cat", "狗 und mehr", "owl"]


class Pair:
    """A dataset, and what was made of it with a view and with a table."""

    def __init__(self, tmp_path: Path, **settings: Any) -> None:
        self.dataset, self.settings = tmp_path / "数据 set", settings
        self.extras = {view: tmp_path / f"extra {view}" for view in ("", "none")}

    def make(self, view: str, **settings: Any) -> str:
        """Make the metadata; what was wrong, if anything was."""
        extra = self.extras[view]
        try:
            dump_extra(self.dataset, extra, view=view, **self.settings, **settings)
        except MetadataError as error:
            return str(error).replace(str(extra), "<EXTRA>")
        return ""

    def run(self, **settings: Any) -> str:
        """Make the metadata in both ways, and compare them; what was wrong, if anything was."""
        errors = [self.make(view, **settings) for view in self.extras]
        assert errors[0] == errors[1]
        self.compare()
        return errors[0]

    def compare(self) -> None:
        """Compare what is published: arrays byte for byte, and the image of each row."""
        linked, tabled = self.extras.values()
        arrays = {path.name for path in linked.glob("*.npy")}
        tables = {path.name for path in tabled.glob("*.npy")} - arrays
        same = [one for one in arrays if (linked / one).read_bytes() == (tabled / one).read_bytes()]
        assert {*same} == arrays
        assert tables == {one.replace("entries", "paths") for one in arrays if "entries" in one}
        assert not any(path.is_symlink() for path in tabled.rglob("*"))
        for split in SPLITS:
            if (linked / file_name("entries", split=split)).exists():
                links = [behind(linked / "view", path) for path in self.rebuilt(linked, split)]
                assert links == [f"{self.dataset}/{path}" for path in self.paths(split)]

    def rebuilt(self, extra: Path, split: str) -> list[str]:
        """The paths that DINOv3 rebuilds from the rows of a split."""
        rows = np.load(extra / file_name("entries", split=split))
        ids = rows["class_id"] if split != "TEST" else [""] * len(rows)
        pairs = zip(ids, rows["actual_index"].tolist(), strict=True)
        return [image_path(split, class_id, number) for class_id, number in pairs]

    def paths(self, split: str) -> list[str]:
        """The paths in the published table."""
        extra = self.extras["none"]
        rows = len(np.load(extra / file_name("entries", split=split)))
        return [*PathTable(str(extra / file_name("paths", split=split)), rows)]


@pytest.fixture
def pair(tmp_path: Path) -> Callable[..., Pair]:
    def make(*files: str, **settings: Any) -> Pair:
        pair = Pair(tmp_path, **settings)
        make_tree(pair.dataset, files)
        (pair.dataset / "labels.txt").unlink()
        return pair

    return make


def edit(pair: Pair, dice: Random, links: bool) -> None:
    """Change something in the dataset that leaves each class an image."""
    split, class_id = dice.choice(["train", "train", "val"]), dice.choice(CLASSES)
    if "holdout" in pair.settings:
        split = "train"
    folder, target = pair.dataset / split / class_id, pair.dataset / "target.jpg"
    path, other = (folder / dice.choice(NAMES) for _ in range(2))
    kinds = ["add"] * 6 + ["remove"] * 3 + ["move", "class"] + ["link", "link", "target"] * links
    kind = dice.choice(kinds)
    if kind == "class" and folder.exists() and class_id != CLASSES[0]:
        shutil.rmtree(folder)
    elif kind == "target":  # what links lead to
        target.unlink() if target.exists() else target.touch()
    elif os.path.lexists(path):
        if kind == "remove":
            path.unlink()
        elif kind == "move":
            other.parent.mkdir(parents=True, exist_ok=True)
            path.rename(other)
    elif kind in ("add", "link"):
        path.parent.mkdir(parents=True, exist_ok=True)
        make_images(folder, ALWAYS)
        if kind == "add":
            path.touch()
        else:
            path.symlink_to(target)


def make_images(folder: Path, names: list[str]) -> None:
    """Make empty files in a folder of a class."""
    for name in names:
        (folder / name).touch()


@pytest.mark.parametrize("way", range(4))
@pytest.mark.parametrize(
    "settings",
    [
        {"classes": "union"},
        {"classes": "union", "unaddressable": "skip", "empty_classes": "keep"},
        {"holdout": 0.4},
    ],
    ids=["refuse", "skip", "holdout"],
)
def test_any_edits_give_the_same_numbers_as_with_a_view(
    pair: Callable[..., Pair], settings: dict[str, Any], way: int
) -> None:
    dice = Random(way)
    splits = ["train"] if "holdout" in settings else ["train", "val"]
    names = [*ALWAYS, *NAMES[:3]]
    both = pair(*(f"{one}/{CLASSES[0]}/{name}" for one in splits for name in names), **settings)
    for _ in range(10):
        for _ in range(dice.randrange(1, 6)):
            edit(both, dice, "unaddressable" in settings)
        labels = both.dataset / "labels.txt"
        if dice.random() < 0.3:  # a run that publishes nothing
            labels.write_text("unknown,unknown\n")
            assert "no row" in both.run()
            labels.unlink()
        assert both.run() == ""
