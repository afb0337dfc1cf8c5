"""Links that a running training may still need stay until the new rows are published."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata.addresses import LABELLED, image_path
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.paths import work_folder
from dinov3_metadata.run import dump_extra
from helpers import REPOSITORY, file_states, make_tree

NOTHING = "Nothing to be done"
DATA = "ILSVRC/Data/CLS-LOC"
FOLDER = [f"train/{name}/IMG_{i}.jpg" for name in ("cat", "dog", "owl") for i in range(3)]
TINY = [f"train/n0{c}/images/n0{c}_{i}.JPEG" for c in (1, 2, 3) for i in range(2)]
TINY += [f"val/images/val_{i}.JPEG" for i in range(6)] + ["test/images/test_0.JPEG"]
TINY += ["test/images/test_1.JPEG", "wnids.txt"]


class Published:
    """A dataset with a view, and what a training that has begun needs of the view."""

    def __init__(self, home: Path, layout: str = "folder", **settings: object) -> None:
        self.home, self.dataset, self.extra = home, home / "root", home / "extra"
        self.settings = {"layout": layout, "labels": "folders", "splits": ["TRAIN"]} | settings
        make_tree(self.dataset, FOLDER if layout == "folder" else TINY)
        (self.dataset / "labels.txt").unlink()
        if layout == "tiny-imagenet":
            self.annotate({i: f"n0{1 + i % 3}" for i in range(6)})
        self.run()

    def annotate(self, class_of: dict[int, str]) -> None:
        rows = "".join(f"val_{i}.JPEG\t{one}\t0\t0\t1\t1\n" for i, one in class_of.items())
        (self.dataset / "val/val_annotations.txt").write_text(rows)

    def run(self, extra: Path | None = None, **settings: object) -> None:
        dump_extra(self.dataset, extra or self.extra, **self.settings | settings)

    def needed(self, extra: Path | None = None) -> dict[str, str]:
        """Path of each published row below the view -> what is behind it."""
        extra = extra or self.extra
        rows = {}
        for split in self.settings["splits"]:
            for row in np.load(extra / f"entries-{split}.npy").tolist():
                path = image_path(split, row[2] if split in LABELLED else "", row[0])
                rows[path] = os.path.realpath(extra / "view" / path)
        return rows

    def behind(self) -> dict[str, str]:
        """Path of each published row below the view -> the link that leads to it."""
        links = {}
        for path in self.needed():
            link = self.extra / "view" / path
            links[path] = os.readlink(link if link.is_symlink() else link.parent)
        return links

    def links(self) -> set[str]:
        """All paths of images that the view offers."""
        found = set()
        for above, _, names in os.walk(self.extra / "view", followlinks=True):
            below = os.path.relpath(above, self.extra / "view")
            found |= {f"{below}/{name}" for name in names if name.endswith(".JPEG")}
        return found

    def refused(self, **settings: object) -> None:
        """A run that is refused, after which every row is as it was."""
        before, arrays = self.behind(), (self.extra / "entries-TRAIN.npy").read_bytes()
        with pytest.raises(MetadataError):
            self.run(**settings)
        assert self.behind() == before
        assert (self.extra / "entries-TRAIN.npy").read_bytes() == arrays

    def is_whole(self) -> None:
        """The rows are right, and the view offers what they need and nothing more."""
        assert set(self.needed()) == self.links()
        assert all(map(os.path.exists, self.needed().values()))
        fresh = self.home / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        self.run(fresh)
        assert sorted(self.needed(fresh).values()) == sorted(self.needed().values())

    def is_at_rest(self) -> None:
        """Another run has nothing to do."""
        before = self.states()
        self.run()
        assert self.states() == before

    def states(self) -> dict[str, tuple[int, ...]]:
        """Return what shows that nothing in the work folder was made again."""
        paths = [
            path
            for path in Path(work_folder(self.extra)).rglob("*")
            if path.suffix in (".json", ".npz", ".npy")
        ]
        return file_states(paths)


def empty_class(one: Published) -> Callable[[], object]:
    make_tree(one.dataset, ["train/empty/"])
    return lambda: (one.dataset / "train/empty").rmdir()


def missing_label(one: Published) -> Callable[[], object]:
    labels = "".join(f"{name.name},{name.name}\n" for name in (one.dataset / "train").iterdir())
    one.settings["labels"] = "labels.txt"
    (one.dataset / "labels.txt").write_text("".join(labels.splitlines(True)[1:]))
    return lambda: (one.dataset / "labels.txt").write_text(labels)


REFUSALS = {"another class is empty": empty_class, "a label is missing": missing_label}


EDITS: dict[str, Callable[[Published], object]] = {
    "an image is removed": lambda one: (one.dataset / "train/cat/IMG_1.jpg").unlink(),
    "an image is moved": lambda one: (one.dataset / "train/cat/IMG_1.jpg").rename(
        one.dataset / "train/dog/IMG_7.jpg"
    ),
    "a class is removed": lambda one: shutil.rmtree(one.dataset / "train/dog"),
    "a class is renamed": lambda one: (one.dataset / "train/dog").rename(
        one.dataset / "train/wolf"
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("engine", ["scandir", "torchvision"])
def test_a_refused_run_takes_no_link(edit: str, refusal: str, engine: str, tmp_path: Path) -> None:
    one = Published(tmp_path, engine=engine, level="full")
    rows = {path: os.readlink(one.extra / "view" / path) for path in one.needed()}
    EDITS[edit](one)
    mend = REFUSALS[refusal](one)
    for _ in range(2):
        with pytest.raises(MetadataError):
            one.run()
        assert {path: os.readlink(one.extra / "view" / path) for path in rows} == rows
    mend()
    one.run()
    one.is_whole()
    one.is_at_rest()


@pytest.mark.parametrize("trust_timestamps", [True, False])
def test_a_dataset_that_is_not_mounted(trust_timestamps: bool, tmp_path: Path) -> None:
    one = Published(tmp_path, trust_timestamps=trust_timestamps)
    before = one.needed()
    (one.dataset / "train").rename(one.dataset / "away")
    (one.dataset / "train").mkdir()
    one.refused()
    make_tree(one.dataset, ["train/cat/", "train/dog/"])
    (one.dataset / "labels.txt").unlink()
    one.refused()
    shutil.rmtree(one.dataset / "train")
    (one.dataset / "away").rename(one.dataset / "train")
    one.run()
    assert one.needed() == before
    one.is_whole()
    one.is_at_rest()


def test_an_image_that_comes_back_keeps_its_number(tmp_path: Path) -> None:
    one = Published(tmp_path)
    before = one.needed()
    (one.dataset / "train/cat/IMG_1.jpg").rename(tmp_path / "away.jpg")
    mend = empty_class(one)
    one.refused()
    mend()
    (tmp_path / "away.jpg").rename(one.dataset / "train/cat/IMG_1.jpg")
    one.run()
    assert one.needed() == before
    one.is_whole()


def test_retired_numbers_are_taken_by_none_but_their_own(tmp_path: Path) -> None:
    one = Published(tmp_path)
    (one.dataset / "train/cat/IMG_1.jpg").unlink()
    make_tree(one.dataset, ["train/cat/none.jpg", "train/dog/photo 2.png", "train/cat/photo 0.png"])
    (one.dataset / "labels.txt").unlink()
    (one.dataset / "train/dog/IMG_2.jpg").unlink()
    mend = empty_class(one)
    with pytest.raises(MetadataError):
        one.run()
    links = {path: os.path.basename(image) for path, image in one.needed().items()}
    assert links["train/cat/cat_1.JPEG"] == "IMG_1.jpg"
    assert links["train/dog/dog_2.JPEG"] == "photo 2.png"
    mend()
    one.run()
    one.is_whole()


@pytest.mark.parametrize("edit", ["annotations", "class folder", "test image", "another class"])
def test_other_layouts(edit: str, tmp_path: Path) -> None:
    one = Published(tmp_path, "tiny-imagenet", splits=["TRAIN", "VAL", "TEST"], level="full")
    if edit == "annotations":
        one.annotate({i: f"n0{1 + (i + 1) % 3}" if i == 4 else f"n0{1 + i % 3}" for i in range(6)})
    elif edit == "class folder":
        shutil.rmtree(one.dataset / "train/n03")
        one.annotate({i: f"n0{1 + i % 2}" for i in range(6)})
    elif edit == "test image":
        (one.dataset / "test/images/test_1.JPEG").unlink()
    else:
        make_tree(one.dataset, ["train/n04/images/n04_1.JPEG"])
        (one.dataset / "labels.txt").unlink()
        one.annotate({i: f"n0{1 + i % 4}" for i in range(6)})
    make_tree(one.dataset, ["train/n09/pictures/"])
    (one.dataset / "labels.txt").unlink()
    one.refused()
    shutil.rmtree(one.dataset / "train/n09")
    one.run()
    one.is_whole()
    one.is_at_rest()


POINTS = {
    "between publication and sweep": "dinov3_metadata.stages.sweep.sweep",
    "before a link is removed": "dinov3_metadata.stages.sweep._remove",
    "before the records are written": "dinov3_metadata.stages.sweep._note",
    "before the first rename": "dinov3_metadata.replace.give_second_name",
}
KILLED = """
import os, sys
from unittest.mock import patch
from dinov3_metadata.run import dump_extra
with patch(sys.argv[1], lambda *_, **__: os.kill(os.getpid(), 9)):
    dump_extra(sys.argv[2], sys.argv[3], ["TRAIN"], "folders", layout="folder")
"""


@pytest.mark.parametrize("point", POINTS)
def test_a_run_that_is_killed(point: str, tmp_path: Path) -> None:
    one = Published(tmp_path)
    (one.dataset / "train/cat/IMG_1.jpg").unlink()
    shutil.rmtree(one.dataset / "train/dog")
    command = [sys.executable, "-c", KILLED, POINTS[point], one.dataset, one.extra]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow")}
    done = subprocess.run(command, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert set(one.needed()) <= one.links()
    one.run()
    one.is_whole()
    one.is_at_rest()


@pytest.mark.long
def test_nothing_to_do_after_links_were_removed(snakemake, tmp_path: Path) -> None:
    one = Published(tmp_path)
    settings = {"root": one.dataset, "extra": one.extra, "splits": "[TRAIN]", "labels": "folders"}
    snakemake(**settings)
    (one.dataset / "train/cat/IMG_1.jpg").unlink()
    shutil.rmtree(one.dataset / "train/dog")
    make_tree(one.dataset, ["train/empty/"])
    (one.dataset / "labels.txt").unlink()
    before = one.needed()
    snakemake(fails=True, **settings)
    assert one.needed() == before
    assert set(before) <= one.links()
    (one.dataset / "train/empty").rmdir()
    assert "1 class folder" not in snakemake(**settings).stdout
    one.is_whole()
    assert NOTHING in snakemake(**settings).stdout
    make_tree(one.dataset, ["train/owl/new.jpg"])
    (one.dataset / "labels.txt").unlink()
    snakemake(**settings)
    logs = {path.name: path.read_text() for path in one.extra.rglob("*.log")}
    assert "1 of 3 folders listed" in logs["scan.log"]
    one.is_whole()


def test_what_is_not_ours_stays_and_is_named(tmp_path: Path, caplog) -> None:
    one = Published(tmp_path)
    shutil.rmtree(one.dataset / "train/dog")
    mend = empty_class(one)
    one.refused()
    mend()
    (one.extra / "view/train/dog/.DS_Store").touch()
    with pytest.raises(MetadataError, match=r"dog/\.DS_Store is in the way"):
        one.run()
    (one.extra / "view/train/dog/.DS_Store").unlink()
    one.run()
    one.is_whole()
