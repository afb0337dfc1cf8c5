"""Datasets in layouts that DINOv3 cannot read, end to end."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata.addresses import image_path
from helpers import make_tree
from PIL import Image

NOTHING = "Nothing to be done"
DATA = "ILSVRC/Data/CLS-LOC"
WORDS = "n01440764\ttench, Tinca tinca\r\nn01443537\tgoldfish\r\nn07777777\tmore\r\n\r\n"

DATASETS = {
    "folder": [
        "train/great cat/IMG_0012.jpg",
        "train/great cat/a b/IMG_0012.png",
        "train/狗/x.webp",
        "val/狗/IMG_1.jpg",
        "test/photo.jpg",
        "train/.DS_Store",
        "train/狗/.DS_Store",
    ],
    "flat": ["a.jpg", "b 7.png", "c/d.bmp"],
    "kaggle": [
        f"{DATA}/train/n01440764/n01440764_10026.JPEG",
        f"{DATA}/train/n01443537/n01443537_3.JPEG",
        f"{DATA}/val/ILSVRC2012_val_00000001.JPEG",
        f"{DATA}/val/ILSVRC2012_val_00000002.JPEG",
        f"{DATA}/test/ILSVRC2012_test_00000001.JPEG",
        f"{DATA}/val/.DS_Store",
    ],
    "tiny-imagenet": [
        "train/n01440764/images/n01440764_0.JPEG",
        "train/n01443537/images/n01443537_0.JPEG",
        "train/n01443537/n01443537_boxes.txt",
        "val/images/val_0.JPEG",
        "val/images/val_1.JPEG",
        "test/images/test_0.JPEG",
        "wnids.txt",
        ".DS_Store",
        "val/.DS_Store",
    ],
}
OTHERS = {
    "kaggle": {
        "LOC_synset_mapping.txt": WORDS.replace("\t", " "),
        "LOC_val_solution.csv": "ImageId,PredictionString\n"
        "ILSVRC2012_val_00000002,n01440764 1 2 3 4\n"
        "ILSVRC2012_val_00000001,n01443537 1 2 3 4 \n",
    },
    "tiny-imagenet": {
        "words.txt": WORDS,
        "val/val_annotations.txt": "val_0.JPEG\tn01443537\t0\t0\t9\t9\n"
        "val_1.JPEG\tn01440764\t0\t0\t9\t9",
    },
}


def make_dataset(root: Path, layout: str) -> Path:
    """A dataset of decodable images, without labels.txt."""
    for i, name in enumerate(DATASETS[layout]):
        make_tree(root, [name])
        if Path(name).suffix.lower() in (".jpg", ".jpeg", ".png", ".webp", ".bmp"):
            form = {".png": "PNG", ".webp": "WEBP", ".bmp": "BMP"}.get(Path(name).suffix, "JPEG")
            Image.new("RGB", (i + 1, 1)).save(root / name, form)
    (root / "labels.txt").unlink()
    for name, text in OTHERS.get(layout, {}).items():
        (root / name).write_text(text)
    return root


def widths(view: str, extra: Path, splits: list[str]) -> list[int]:
    """The widths of the images behind all rows, opened as DINOv3 does; each image has its own."""
    found = []
    for split in splits:
        for actual_index, _, class_id, _ in np.load(extra / f"entries-{split}.npy").tolist():
            with Image.open(f"{view}/{image_path(split, class_id, actual_index)}") as image:
                found.append(image.convert("RGB").width)
    return found


@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(one, marks=[pytest.mark.long] if one in ("kaggle", "tiny-imagenet") else [])
        for one in DATASETS
    ],
)
def test_each_image_opens_through_the_view(layout: str, snakemake, tmp_path: Path) -> None:
    root, extra = make_dataset(tmp_path / "数据 set", layout), tmp_path / "ex tra"
    splits = ["TRAIN"] if layout == "flat" else ["TRAIN", "VAL", "TEST"]
    options = {"root": root, "extra": extra}
    if layout == "folder":
        options["verify"] = "{level: full}"
    if layout != "flat":  # "flat" uses only the splits that exist
        options["splits"] = f"[{','.join(splits)}]"
    before = sorted(root.rglob("*"))
    said = snakemake(**options).stdout
    assert sorted(root.rglob("*")) == before
    view = re.search(r"root for DINOv3: (.+)$", said, re.MULTILINE)[1]
    assert view == f"{extra}/view"
    suffixes = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
    images = [i + 1 for i, name in enumerate(DATASETS[layout]) if name.lower().endswith(suffixes)]
    assert sorted(widths(view, extra, splits)) == images
    names = set(np.load(extra / "class-names-TRAIN.npy").tolist())
    assert names == {
        "folder": {"great cat", "狗"},
        "flat": {"数据 set"},
    }.get(layout, {"tench", "goldfish"})
    assert NOTHING in snakemake(**options).stdout


def image(name: str) -> Callable[[Path], object]:
    return lambda root: make_tree(root, [name])


EDITS: dict[str, Callable[[Path], object]] = {
    "add": image("train/狗/new.jpg"),
    "add below a folder": image("train/great cat/a b/new.jpg"),
    "remove": lambda root: (root / "train/great cat/IMG_0012.jpg").unlink(),
    "rename": lambda root: os.rename(root / "train/狗/x.webp", root / "train/狗/y.webp"),
    "move": lambda root: (
        os.rename(root / "train/狗/y.webp", root / "train/great cat/x.webp")
        or make_tree(root, ["train/狗/z.jpg"])
    ),
    "a class added": image("train/owl/1.jpg"),
    "a class renamed": lambda root: os.rename(root / "train/great cat", root / "train/lion"),
    "a class removed": lambda root: shutil.rmtree(root / "train/lion"),
}
"""Each follows on the one before."""


@pytest.mark.long
def test_edits_of_the_dataset_reach_the_view(snakemake, tmp_path: Path) -> None:
    root, extra = make_dataset(tmp_path / "set", "folder"), tmp_path / "extra"
    settings = {"root": root, "extra": extra}
    snakemake(**settings)
    for name, edit in EDITS.items():
        val = (extra / "entries-VAL.npy").stat()
        edit(root)
        (root / "labels.txt").unlink(missing_ok=True)
        said = snakemake(**settings).stdout
        assert "Link TRAIN" in said, name
        assert "Link VAL" not in said, name
        assert ((extra / "entries-VAL.npy").stat() == val) == ("class" not in name), name
        ids = np.load(extra / "class-ids-TRAIN.npy")
        assert np.array_equal(np.load(extra / "class-ids-VAL.npy"), ids), name
        assert ids[np.load(extra / "entries-VAL.npy")["class_index"]].tolist() == ["狗"], name
        due = sorted(
            str(path)
            for path in (root / "train").rglob("*")
            if path.is_file() and path.name != ".DS_Store"
        )
        entries = np.load(extra / "entries-TRAIN.npy").tolist()
        paths = [extra / "view" / image_path("TRAIN", row[2], row[0]) for row in entries]
        assert sorted(map(os.path.realpath, paths)) == due, name
    assert NOTHING in snakemake(**settings).stdout


def test_one_class_edited_one_folder_looked_at(snakemake, tmp_path: Path) -> None:
    files = [f"train/c{i}/{j}.jpg" for i in range(9) for j in range(3)]
    root, extra = make_tree(tmp_path / "set", files), tmp_path / "extra"
    (root / "labels.txt").unlink()
    snakemake(root=root, extra=extra, splits="[TRAIN]")
    make_tree(root, ["train/c4/new.jpg"])
    (root / "labels.txt").unlink()
    snakemake(root=root, extra=extra, splits="[TRAIN]")
    logs = {path.name: path.read_text() for path in extra.rglob("*.log")}
    assert "1 of 10 folders listed" in logs["scan.log"]
    assert "1 link more, 0 less" in logs["view.log"]


@pytest.mark.parametrize("layout", ["flat", "folder"])
def test_extra_inside_the_dataset(layout: str, snakemake, tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "set", layout)
    options = {"root": root, "extra": root / "deep/extra", "splits": "[TRAIN]"}
    snakemake(**options)
    before = (root / "deep/extra/entries-TRAIN.npy").read_bytes()
    assert NOTHING in snakemake(**options).stdout
    snakemake(**options | {"extra": root / "other"})
    assert (root / "other/entries-TRAIN.npy").read_bytes() == before


def test_a_view_that_was_damaged_is_mended(snakemake, tmp_path: Path) -> None:
    root, extra = make_dataset(tmp_path / "set", "folder"), tmp_path / "extra"
    snakemake(root=root, extra=extra, view=tmp_path / "elsewhere")
    before = (extra / "entries-TRAIN.npy").read_bytes()
    shutil.rmtree(tmp_path / "elsewhere/train/狗")
    snakemake(root=root, extra=extra, view=tmp_path / "elsewhere")
    assert (extra / "entries-TRAIN.npy").read_bytes() == before
    assert (tmp_path / "elsewhere/train/狗/狗_0.JPEG").exists()


def test_a_lost_labels_file_never_turns_names_into_ids(snakemake, tree: Path, tmp_path) -> None:
    snakemake(root=tree, extra=tmp_path / "extra")
    (tree / "labels.txt").unlink()
    said = snakemake(root=tree, extra=tmp_path / "extra", fails=True).stdout
    assert "labels.txt does not exist" in said
    assert "`labels: folders`" in said
    snakemake(root=tree, extra=tmp_path / "extra", labels="folders")
    names = np.load(tmp_path / "extra/class-names-TRAIN.npy").tolist()
    assert names == ["n01440764", "n01443537", "n01484850"]
