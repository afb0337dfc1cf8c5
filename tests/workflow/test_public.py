"""Datasets from public bug reports: what comes out, or what is said."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import make_tree


@dataclass(frozen=True)
class Case:
    """A dataset, and what is right.

    Attributes:
        source: Where people met it.
        files: Its empty files.
        texts: Name -> content of further files.
        config: Settings besides root and extra.
        rows: Split -> rows of its entries; nothing if the run must fail.
        names: Split -> class names, in the order of class_index.
        says, not_says: What the output must contain, and what it must not.
    """

    source: str
    files: list[str]
    rows: dict[str, int]
    texts: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    says: tuple[str, ...] = ()
    not_says: tuple[str, ...] = ()


FISH = ["tench", "goldfish", "great white shark", "tiger shark"]
IDS = ["n01440764", "n01443537", "n01484850", "n01491361"]
THUMBS = "@eaDir/IMG_{}.jpg/SYNOPHOTO_THUMB_{}.jpg"

CASES = {
    "VAL lacks a class": Case(
        "ultralytics/ultralytics#13936, huggingface/pytorch-image-models#957",
        [
            *(f"train/{class_id}/{class_id}_2.JPEG" for class_id in IDS),
            *(f"val/{IDS[i]}/ILSVRC2012_val_0000029{i}.JPEG" for i in (0, 2, 3)),
        ],
        {"TRAIN": 4, "VAL": 3},
        texts={"labels.txt": "".join(map("{},{}\n".format, IDS, FISH))},
        names={"TRAIN": FISH, "VAL": FISH},
        says=("n01443537",),
    ),
    "a picture beside the class folders": Case(
        "pytorch/vision#613, open-edge-platform/datumaro#1178",
        [*(f"{name}/{name}1.jpg" for name in ("cardboard", "glass", "metal")), "samples.png"],
        {},
        config={"splits": "[TRAIN]"},
        says=("layout: flat", "train/", "cardboard"),
    ),
    "one folder too deep": Case(
        "easezyc/deep-transfer-learning#4",
        [f"{s}/images/{c}/frame_1.jpg" for s in ("train", "val") for c in ("back_pack", "mug")],
        {"TRAIN": 2, "VAL": 2},
        names={"TRAIN": ["images"], "VAL": ["images"]},
        says=("TRAIN has only one class, images", "VAL has only one class, images", "back_pack"),
    ),
    "labels as a Python dict": Case(
        "fastai/imagenette#46, KamitaniLab/GenericObjectDecoding#4",
        [f"train/{one}/{one}_4.JPEG" for one in (1, 6, 986)],
        {"TRAIN": 3},
        texts={
            "clsidx_to_labels.txt": "{0: 'tench, Tinca tinca',\n 1: 'goldfish, Carassius',\n 6: "
            "'stingray',\n 986: \"yellow lady's slipper, Cypripedium\"}\n"
        },
        config={"labels": "clsidx_to_labels.txt", "splits": "[TRAIN]"},
        names={"TRAIN": ["goldfish", "stingray", "yellow lady's slipper"]},
    ),
    "labels as JSON of folder and name": Case(
        "chenshunpeng/Flower-recognition-model-based-on-pytorch#1",
        [f"train/{one}/image_0673{one}.jpg" for one in (1, 10, 21)],
        {"TRAIN": 3},
        texts={"cat.json": '{"21": "fire lily", "3": "x", "1": "pink primrose", "10": "a, b"}'},
        config={"labels": "cat.json", "splits": "[TRAIN]"},
        names={"TRAIN": ["pink primrose", "a, b", "fire lily"]},
    ),
    "thumbnails of a NAS": Case(
        "immich-app/immich#30690, ShaneIsrael/fireshare#571",
        [
            *("train/cat/IMG_0001.jpg", "train/cat/IMG_0002.jpg", "train/dog/IMG_0007.jpg"),
            *(f"train/cat/{THUMBS.format(i, size)}" for i in (1, 2) for size in ("M", "XL")),
            *(f"train/dog/{THUMBS.format(7, 'M')}", "train/@eaDir/cat@SynoEAStream"),
        ],
        {"TRAIN": 3},
        config={"splits": "[TRAIN]"},
        names={"TRAIN": ["cat", "dog"]},
        not_says=("Error:",),
    ),
    "suffixes that torchvision does not know": Case(
        "thumbsup/thumbsup#368, apple/turicreate#641",
        [
            *("train/cat/1.jpg", "train/cat/2.jfif", "train/cat/3.JFIF", "train/cat/4.gif"),
            *("train/dog/7.jpg", "train/dog/8.heic", "train/dog/9.jpeg_large", "train/dog/10.avif"),
            *("train/cat/.DS_Store", "train/cat/Thumbs.db", "train/cat/readme.txt"),
        ],
        {"TRAIN": 2},
        config={"splits": "[TRAIN]"},
        says=("2 .jfif", "1 .gif", "1 .heic", "1 .avif", "1 .jpeg_large"),
        not_says=(".DS_Store", "Thumbs.db", "readme.txt"),
    ),
    "a flat val": Case(
        "facebookresearch/mae#72, facebookresearch/dinov2#496",
        ["train/class_0000/1.jpg", "train/class_0001/2.jpg", "val/image_0.jpg", "val/image_1.jpg"],
        {},
        says=("root/val is flat: 2 images (for instance image_0.jpg)", "splits"),
        not_says=("view/val",),
    ),
    "a quote in the labels that is not closed": Case(
        "p2irc/deepplantphenomics#41, BodenmillerGroup/steinbock#28",
        ["train/n01440764/n01440764_18.JPEG", "train/n01484850/n01484850_2.JPEG"],
        {},
        texts={"labels.txt": 'n01440764,tench\nn01484850,"great white shark\nn01491361,tiger\n'},
        config={"splits": "[TRAIN]"},
        says=("labels.txt, line 2", "quote"),
    ),
    "valid in place of val": Case(
        "roboflow/roboflow-python#153, ultralytics/ultralytics#21311",
        [
            *("train/daisy/1.jpg", "train/rose/2.jpg", "valid/daisy/3.jpg", "valid/rose/4.jpg"),
            "test/daisy/5.jpg",
        ],
        {"TRAIN": 2, "VAL": 2},
        names={"VAL": ["daisy", "rose"]},
        says=("VAL is made from valid/.",),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_public_case(name: str, snakemake: Callable, tmp_path: Path) -> None:
    case = CASES[name]
    root, extra = make_tree(tmp_path / "图 root", case.files), tmp_path / "图 extra"
    (root / "labels.txt").unlink()
    for path, text in case.texts.items():
        (root / path).write_text(text)
    said = snakemake(root=root, extra=extra, fails=not case.rows, **case.config).stdout
    rows = {path.stem[8:]: len(np.load(path)) for path in extra.glob("entries-*.npy")}
    assert rows == case.rows
    for split, names in case.names.items():
        assert np.load(extra / f"class-names-{split}.npy").tolist() == names
    assert [text for text in case.says if text not in said] == []
    assert [text for text in case.not_says if text in said] == []
