"""Views that travel: a dataset is moved, copied or mounted elsewhere, with its view or alone."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dinov3_metadata import guarding
from dinov3_metadata.dataset import ImageNetMetadata
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.named import Split
from dinov3_metadata.run import dump_extra
from helpers import digests, make_tree
from test_views import DATASETS, make_dataset, widths

SPLITS = ["TRAIN", "VAL", "TEST"]
JOURNEYS = {"moved": ["mv"], "copied": ["cp", "-a"]}


class Place:
    """A folder that contains a dataset, its metadata and its view."""

    def __init__(self, home: Path) -> None:
        self.root, self.extra, self.view = home / "数据 set", home / "ex tra", home / "链 接/view"

    @property
    def settings(self) -> dict[str, Path]:
        return {"root": self.root, "extra": self.extra, "view": self.view}

    def found(self) -> tuple[dict[str, str], dict[str, str], list[int]]:
        """The digests of the arrays, the texts of the links, and the widths of all images."""
        links = {str(path.relative_to(self.view)): path for path in self.view.rglob("*")}
        texts = {name: os.readlink(path) for name, path in links.items() if path.is_symlink()}
        splits = [split for split in SPLITS if (self.extra / f"entries-{split}.npy").exists()]
        return digests(self.extra), texts, widths(str(self.view), self.extra, splits)


@pytest.mark.parametrize("how", JOURNEYS)
def test_a_dataset_that_travels_with_its_view_is_whole_at_once(
    how: str, snakemake: Callable[..., object], tmp_path: Path
) -> None:
    here, there = Place(tmp_path / "这里 here"), Place(tmp_path / "that is/elsewhere")
    make_dataset(here.root, "folder")
    snakemake(**here.settings, splits="[TRAIN,VAL,TEST]")
    before = here.found()
    assert len(before[1]) == 5
    there.root.parents[1].mkdir()
    subprocess.run([*JOURNEYS[how], here.root.parent, there.root.parent], check=True)
    assert there.found() == before
    for path in there.view.rglob("*.JPEG"):
        assert path.resolve().is_relative_to(there.root)
    snakemake(**there.settings, splits="[TRAIN,VAL,TEST]")
    assert there.found() == before
    assert "Nothing to be done" in snakemake(**there.settings, splits="[TRAIN,VAL,TEST]").stdout


@pytest.mark.parametrize("view", ["", "view", "none", "absolute"])
def test_a_dataset_that_moved_with_its_metadata_is_the_same_at_once(
    view: str, tmp_path: Path
) -> None:
    here, there = Place(tmp_path / "这里 here"), Place(tmp_path / "elsewhere")
    names = ["train/n01/n01_1.JPEG", "train/n02/n02_1.JPEG"]
    root = make_tree(here.root, [name.replace("_", " ") for name in names] if view else names)
    (root / "labels.txt").write_text("n01,猫\nn02,owl\n")
    settings = {"view": "none"} if view == "none" else {}
    if view == "absolute":
        settings = {"links": "absolute"}
    dump_extra(root, here.extra, ["TRAIN"], **settings)
    here.root.parent.rename(there.root.parent)

    at = [Split("TRAIN", str(there.root), str(there.extra))]

    def look() -> str:
        try:
            ImageNetMetadata(os.path.relpath(there.root), there.extra, check="stat")
        except MetadataError as error:
            with pytest.raises(MetadataError):
                guarding.check(at)
            return str(error)
        guarding.check(at)
        return ""

    if view == "absolute":  # which are dead now
        assert f"\n  {there.extra}/view/train/n01\n" in look()
        return
    assert look() == ""
    for path in ("labels.txt", "train/n02"):  # others in the same place
        (there.root / path).rename(tmp_path / "kept")
        subprocess.run(["cp", "-a", tmp_path / "kept", there.root / path], check=True)
        (tmp_path / "kept").rename(tmp_path / f"no longer {path[0]}")
        assert (look() == "") == (path == "labels.txt")  # which has the same content
    (there.root / "labels.txt").write_text("n01,another\nn02,owl\n")
    assert f"{there.root}/labels.txt" in look()


@pytest.mark.parametrize("layout", DATASETS)
def test_a_dataset_that_moved_without_its_view_keeps_its_numbers(
    layout: str, snakemake: Callable[..., object], tmp_path: Path
) -> None:
    place = Place(tmp_path / "这里 here")
    make_dataset(place.root, layout)
    snakemake(**place.settings)
    before = place.found()
    moved = tmp_path / "an other/mount" / place.root.name
    moved.parent.mkdir(parents=True)
    place.root.rename(moved)
    place.root = moved
    snakemake(**place.settings)
    arrays, texts, images = place.found()
    assert (arrays, texts.keys(), images) == (before[0], before[1].keys(), before[2])
    assert all(os.path.realpath(place.view / name).startswith(f"{moved}/") for name in texts)


@pytest.fixture
def bound() -> Iterator[Callable[[Path, Path], Path]]:
    """Let a folder appear at another path too, and not at its own; return how to reach that path.

    It is mounted in a namespace of its own. Where that is not allowed, the folder is moved.
    """
    holders = []

    def bind(folder: Path, to: Path) -> Path:
        to.mkdir(parents=True)
        script = 'mount --bind "$0" "$1" && mount -t tmpfs tmpfs "$0" && echo mounted && exec cat'
        command = ["env", "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
        holder = subprocess.Popen(
            [*command, folder, to],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        holders.append(holder)
        if holder.stdout.readline() == b"mounted\n":
            return Path(f"/proc/{holder.pid}/root{to}")
        folder.rename(to)
        return to

    yield bind
    for holder in holders:
        holder.communicate()


def test_a_dataset_that_is_bound_into_a_container_is_whole_there(
    bound: Callable[[Path, Path], Path], tmp_path: Path
) -> None:
    here = Place(tmp_path / "这里 here")
    make_dataset(here.root, "folder")
    dump_extra(**here.settings, splits=SPLITS)
    before = here.found()
    there = Place(bound(here.root.parent, tmp_path / "a container/deep"))
    assert there.found() == before
    code = "import sys; from dinov3_metadata import dump_extra; dump_extra(*sys.argv[1:3], "
    code += f"{SPLITS}, view=sys.argv[3])"
    subprocess.run([sys.executable, "-c", code, *there.settings.values()], check=True)
    assert there.found() == before
