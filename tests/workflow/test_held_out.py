"""A dataset without val/, of which `holdout` takes a part as VAL, end to end."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata.addresses import LABELLED, image_path
from dinov3_metadata.checks.check import check
from dinov3_metadata.guarding import check as check_before_training
from dinov3_metadata.named import Split
from helpers import check_held_out, held_out, is_held_out, make_tree

NOTHING = "Nothing to be done"
SHARE = 0.25
PHOTOS = [f"train/{one}/IMG {i}.jpg" for one in ("great cat", "owl", "狗") for i in range(30)]


def name_in(split: str, class_id: str, start: int = 1000) -> str:
    """The name of an image that is not there, and that would be in a split."""
    names = (f"IMG {i}.jpg" for i in range(start, start + 1000))
    return next(one for one in names if is_held_out(class_id, one, SHARE) == (split == "VAL"))


def rename(root: Path, split: str) -> None:
    """Give an image of VAL a name that is in a split."""
    one = min(file for file in held_out(root, SHARE)["VAL"] if "/owl/" in file)
    os.rename(root / one, root / "train/owl" / name_in(split, "owl", 3000))


def remove(root: Path, split: str) -> None:
    (root / max(file for file in held_out(root, SHARE)[split] if "/狗/" in file)).unlink()


def replace(root: Path) -> None:
    """Exchange an image for another one of the same name."""
    image = root / "train/owl/IMG 3.jpg"
    image.unlink()
    image.write_bytes(b"another")


EDITS: dict[str, Callable[[Path], object]] = {
    "added to TRAIN": lambda root: (root / "train/owl" / name_in("TRAIN", "owl")).touch(),
    "added to VAL": lambda root: (root / "train/owl" / name_in("VAL", "owl")).touch(),
    "removed from TRAIN": lambda root: remove(root, "TRAIN"),
    "removed from VAL": lambda root: remove(root, "VAL"),
    "renamed": lambda root: rename(root, "VAL"),
    "renamed, and so in TRAIN": lambda root: rename(root, "TRAIN"),
    "replaced": replace,
    "a class added": lambda root: make_tree(root, [f"train/elk/{i}.jpg" for i in range(30)]),
    "a class renamed": lambda root: os.rename(root / "train/owl", root / "train/小 owl"),
    "a class removed": lambda root: shutil.rmtree(root / "train/great cat"),
}
"""Each follows on the one before."""


def images(root: Path, extra: Path) -> dict[str, set[str]]:
    """The images behind the rows of each split, by their paths below root."""
    found = {}
    for split in LABELLED:
        rows = np.load(extra / f"entries-{split}.npy").tolist()
        links = [extra / "view" / image_path(split, row[2], row[0]) for row in rows]
        found[split] = {os.path.relpath(os.path.realpath(link), root) for link in links}
    return found


@pytest.mark.long
@pytest.mark.needs("torchvision")
def test_val_is_held_out_of_train(snakemake, tmp_path: Path) -> None:
    root, extra = make_tree(tmp_path / "数据 set", PHOTOS), tmp_path / "ex tra"
    (root / "labels.txt").unlink()
    options = {"root": root, "extra": extra, "holdout": SHARE}
    before = sorted(root.rglob("*"))
    said = snakemake(**options).stdout
    assert sorted(root.rglob("*")) == before
    assert "VAL is about 25 % of the images in train/ (`holdout`, seed 0), and TRAIN is" in said
    check_held_out(root, extra, SHARE, tmp_path / "copy")
    assert NOTHING in snakemake(**options).stdout
    for name, edit in EDITS.items():
        edit(root)
        (root / "labels.txt").unlink(missing_ok=True)
        due, states = held_out(root, SHARE), {}
        for split in LABELLED:
            changed = images(root, extra)[split] != due[split]
            states[split] = None if changed else (extra / f"entries-{split}.npy").stat()
        said = snakemake(**options).stdout
        assert "Link TRAIN" in said, name
        assert "Link VAL" in said, name
        logs = {path.name: path.read_text() for path in extra.rglob("*.log")}
        most = "3" if "class" in name else "1"  # the folder of the split, too
        for split in LABELLED:
            if states[split] and "class" not in name and name != "replaced":
                assert (extra / f"entries-{split}.npy").stat() == states[split], name
        listed = re.findall(r"(\d+) of \d+ folders? listed", logs["scan.log"])
        assert all(int(one) <= int(most) for one in listed), (name, listed)
        assert images(root, extra) == due, name
        check_held_out(root, extra, SHARE, tmp_path / "copy")
    assert NOTHING in snakemake(**options).stdout
    snakemake(**options, verify="{level: full}")
    assert check(root, extra).ok
    check_before_training([Split(split, str(extra / "view"), str(extra)) for split in LABELLED])


@pytest.mark.long
def test_a_thousand_images_move_no_other(snakemake, tmp_path: Path) -> None:
    root = make_tree(tmp_path / "数据 set", PHOTOS)
    (root / "labels.txt").unlink()
    snakemake(root=root, extra=tmp_path / "ex tra", holdout=SHARE)
    before = images(root, tmp_path / "ex tra")
    assert before == held_out(root, SHARE)
    new = [
        f"train/{one}/{word} {i}.jpg" for one in ("owl", "狗") for word in "ab" for i in range(250)
    ]
    make_tree(root, new)
    (root / "labels.txt").unlink()
    for extra in ("ex tra", "fresh 新"):
        snakemake(root=root, extra=tmp_path / extra, holdout=SHARE)
        after = images(root, tmp_path / extra)
        assert after == held_out(root, SHARE)
        assert all(before[split] == after[split] - {*new} for split in LABELLED)
    make_tree(root, ["valid/owl/1.jpg"])
    said = snakemake(root=root, extra=tmp_path / "ex tra", holdout=SHARE, fails=True).stdout
    assert f"holdout: VAL has a folder of its own, {root}/valid" in said


def test_the_command_takes_it(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "数据 set", PHOTOS)
    (root / "labels.txt").unlink()
    words = ["make", "--root", root, "--extra", tmp_path / "ex tra", "--holdout", str(SHARE)]
    subprocess.run([sys.executable, "-m", "dinov3_metadata", *words], check=True)
    assert images(root, tmp_path / "ex tra") == held_out(root, SHARE)
