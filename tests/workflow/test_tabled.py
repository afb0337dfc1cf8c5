"""Datasets that are read by a table of paths, without any link, end to end."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata.dataset import ImageNetMetadata
from dinov3_metadata.path_table import PathTable
from helpers import digests, make_tree
from PIL import Image

NOTHING = "Nothing to be done"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A dataset of real images in class folders, whose names DINOv3 cannot rebuild."""
    root = tmp_path / "我的 photos"
    names = [f"train/great cat/{(i % 2 and 'a b/') or ''}IMG {i}.png" for i in range(6)]
    names += [*(f"train/狗/x{i}x.png" for i in range(4)), "val/狗/7.png", "val/great cat/:=.png"]
    for i, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (i * 20, 255 - i * 20, i)).save(path)
    return root


def links(folder: Path) -> list[Path]:
    """The links in a folder."""
    return [path for path in folder.rglob("*") if path.is_symlink()]


def test_edits_are_followed_without_a_link(
    snakemake: Callable, photos: Path, tmp_path: Path
) -> None:
    extra, other = tmp_path / "e x", tmp_path / "view x"
    given = {"root": photos, "extra": extra, "view": "none"}
    said = snakemake(**given).stdout
    assert "which only the launcher understands: dinov3-metadata train" in said
    assert f"root for DINOv3: {photos}" in said
    assert NOTHING in snakemake(**given).stdout
    snakemake(root=photos, extra=other)
    (photos / "train/great cat/IMG 2.png").rename(photos / "train/狗/IMG 2.png")
    (photos / "train/狗/x0x.png").unlink()
    make_tree(photos, ["train/great cat/neu.jpg"])
    (photos / "labels.txt").unlink()
    said = snakemake(**given).stdout
    assert "Scan TRAIN: 2 of 4 folders changed: great cat, 狗" in said
    assert "Scan VAL" not in said
    snakemake(root=photos, extra=other)
    arrays = {name: one for name, one in digests(other).items() if name.endswith(".npy")}
    assert arrays == {name: digests(extra)[name] for name in arrays}
    assert NOTHING in snakemake(**given).stdout
    assert not links(extra)
    assert links(other)
    os.truncate(extra / "paths-TRAIN.npy", 200)  # a damaged table is published again
    snakemake(**given)
    rows = len(np.load(extra / "entries-TRAIN.npy"))
    paths = [*PathTable(str(extra / "paths-TRAIN.npy"), rows)]
    assert sorted(paths) == sorted(
        str(path.relative_to(photos)) for path in photos.glob("train/**/*") if path.is_file()
    )


def test_everything_names_the_images_by_their_own_paths(
    snakemake: Callable, photos: Path, tmp_path: Path
) -> None:
    extra, cat = tmp_path / "e x", photos / "train/great cat"
    (photos / "train/狗/broken 8.png").write_bytes((cat / "IMG 0.png").read_bytes()[:60])
    (photos / "val/狗/again.png").write_bytes((cat / "IMG 4.png").read_bytes())
    (tmp_path / "not these.txt").write_text("train/great cat/a b/IMG 1.png\nval/狗/7.png\n")
    select = f"{{exclude: {tmp_path}/not these.txt, audit: [truncated, leak]}}"
    given = {"root": photos, "extra": extra, "view": "none", "select": select}
    snakemake(**given)
    left_out = json.loads((extra / "left-out-TRAIN.json").read_text())["left_out"]
    assert {one["image"]: one["reason"] for one in left_out} == {
        "train/great cat/IMG 4.png": "also in VAL",
        "train/great cat/a b/IMG 1.png": "excluded",
        "train/狗/broken 8.png": "truncated",
    }
    dataset = ImageNetMetadata(photos, extra, "TRAIN", check="stat")
    assert sorted(os.path.relpath(path, photos) for path, _ in dataset.samples) == sorted(
        {str(one.relative_to(photos)) for one in photos.glob("train/**/*.png")}
        - {one["image"] for one in left_out}
    )
    assert [image.size for image, _ in dataset] == [(40, 30)] * 8
    snakemake("audit", **given)
    audit = json.loads((extra / "audit-TRAIN.json").read_text())
    assert [one["image"] for one in audit["not_ok"]] == ["train/狗/broken 8.png"]
    doubles = json.loads((extra / "duplicates.json").read_text())
    named = [{image["image"] for image in pair["images"]} for pair in doubles["leaks"]]
    assert {"train/great cat/IMG 4.png", "val/狗/again.png"} in named
    snakemake("--report", str(tmp_path / "report.html"), **given)
    assert (tmp_path / "report.html").exists()
    assert not links(extra)
