"""Layouts: datasets as people have them, and what is said of everything that is taken otherwise."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from dinov3_metadata import dump_extra
from dinov3_metadata.addresses import SPLITS
from dinov3_metadata.artefacts import Labels, Scan
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.guarding import check
from dinov3_metadata.layouts import LAYOUTS, SYSTEM, find_folders, recognise, split_of
from dinov3_metadata.layouts.split_folders import WORDS
from dinov3_metadata.named import Split
from dinov3_metadata.paths import array_names, path_of
from dinov3_metadata.settings import Settings
from dinov3_metadata.stages.verify import check_files
from dinov3_metadata.summary import summarise
from helpers import digests, make_tree

DATA = "ILSVRC/Data/CLS-LOC"
KAGGLE = [f"{DATA}/train/n01440764/n01440764_1.JPEG", f"{DATA}/train/n01443537/n01443537_1.JPEG"]
SORTED = [
    f"{DATA}/val/n01440764/ILSVRC2012_val_00000293.JPEG",
    f"{DATA}/val/n01443537/ILSVRC2012_val_00000294.JPEG",
]
SOLUTION = """ImageId,PredictionString
ILSVRC2012_val_00000293,n01440764 85 1 499 272
ILSVRC2012_val_00000294,n01443537 85 1 499 272
"""
TINY = [f"train/n0144076{i}/images/n0144076{i}_0.JPEG" for i in (4, 5)]
TINY_VAL = [f"val/n0144076{4 + i}/val_{i}.JPEG" for i in (0, 1)]
ANNOTATIONS = "".join(f"val_{i}.JPEG\tn0144076{4 + i}\t0\t0\t9\t9\n" for i in (0, 1))


class Made:
    """A dataset without a labels.txt, and what became of it.

    Args:
        folder: Where to make it.
        files: Its empty files.
        texts: Name -> content of further files.
        below: The path of its root below the folder with the files.
        settings: Those of ``dump_extra``.
    """

    def __init__(
        self, folder: Path, files: list[str], texts=None, below: str = "", **settings
    ) -> None:
        self.root, self.extra = make_tree(folder / "图 root", files), folder / "extra"
        (self.root / "labels.txt").unlink()
        for name, text in (texts or {}).items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text)
        self.settings = settings
        self.root = self.root / below
        self.run()

    def run(self) -> None:
        self.chain = dump_extra(self.root, self.extra, **self.settings)
        self.about = {
            split: json.loads((self.extra / f"metadata-{split}.json").read_text())
            for split in self.chain.splits
        }

    def paths(self, split: str) -> list[str]:
        """The images behind the rows, by their paths below root."""
        rows = np.load(self.extra / f"entries-{split}.npy")
        folder = Path(self.chain.root, split.lower())
        name = (
            "{0[class_id]}_{0[actual_index]}.JPEG"
            if split == "TRAIN"
            else (f"ILSVRC2012_{split.lower()}_{{0[actual_index]:08d}}.JPEG")
        )
        links = [folder / row["class_id"] / name.format(row) for row in rows]
        return [str(link.resolve().relative_to(self.root.resolve())) for link in links]

    def classes(self, split: str) -> list[str]:
        return np.load(self.extra / f"class-ids-{split}.npy").tolist()

    def notes(self, split: str) -> str:
        """What metadata-SPLIT.json says; the summary says it, too."""
        summary = summarise(self.chain)
        assert all(note in summary for note in self.about[split]["notes"])
        return " ".join(self.about[split]["notes"])


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(("train", "TRAIN"), ("Training", "TRAIN"), ("TRAIN", "TRAIN"), ("train_images", "TRAIN")),
        *(("imagenet21k_train", "TRAIN"), ("ILSVRC2012_img_train", "TRAIN"), ("train.X3", "TRAIN")),
        *(("train_large", "TRAIN"), ("valid_mini", "VAL")),
        *(("valid", "VAL"), ("Validation", "VAL"), ("dev", "VAL"), ("val.X", "VAL")),
        *(
            ("imagenet21k_val", "VAL"),
            ("val2017", "VAL"),
            ("Testing", "TEST"),
            ("test_set", "TEST"),
        ),
        *(("bullet_train", ""), ("trainer", ""), ("train_val", ""), ("images", ""), ("训练", "")),
        *(("val_annotations", ""), ("validated", ""), ("train_masks", ""), ("Meta", "")),
        *(("val\udce9", ""), ("\udce9val", ""), ("val_\udce9", ""), ("valé", "")),
    ],
)
def test_a_name_tells_the_split(name: str, split: str) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize(
    "train", ["training", "Train", "TRAIN", "train_set", "ILSVRC2012_img_train"]
)
@pytest.mark.parametrize("val", ["valid", "validation", "Val", "dev", "ILSVRC2012_img_val"])
def test_a_split_with_another_name_is_found(train: str, val: str, tmp_path: Path) -> None:
    files = [f"{train}/cat/1.jpg", f"{train}/dog/2.jpg", f"{val}/cat/3.jpg", f"{val}/dog/4.jpg"]
    made = Made(tmp_path, [*files, "Meta/5.png"])
    assert made.paths("TRAIN") == files[:2]
    assert made.paths("VAL") == files[2:]
    assert made.about["VAL"]["folders"] == {"TRAIN": [train], "VAL": [val]}
    assert f"VAL is made from {val}/." in made.notes("VAL")
    state = made.chain.states
    made.run()
    assert made.chain.states == state


def test_a_plain_name_comes_first(tmp_path: Path) -> None:
    made = Made(
        tmp_path, ["train/cat/1.jpg", "training/dog/2.jpg", "val/cat/3.jpg", "valid/x/1.jpg"]
    )
    assert made.paths("TRAIN") == ["train/cat/1.jpg"]
    assert made.paths("VAL") == ["val/cat/3.jpg"]
    assert made.about["TRAIN"]["folders"] == {}


def test_images_with_dinov3_s_names_are_not_linked_one_by_one(tmp_path: Path) -> None:
    files = [f"imagenet21k_train/n0{i}/n0{i}_1.JPEG" for i in range(3)]
    files += [f"imagenet21k_val/n0{i}/ILSVRC2012_val_0000000{i}.JPEG" for i in range(3)]
    made = Made(tmp_path, files, labels="folders")
    assert made.chain.layout == "imagenet"
    assert made.paths("TRAIN") == files[:3]
    assert made.paths("VAL") == files[3:]
    links = [path for path in Path(made.chain.root).rglob("*") if path.is_symlink()]
    assert sorted(path.name for path in links) == ["n00", "n00", "n01", "n01", "n02", "n02"]
    (made.root / "imagenet21k_train/n01/photo.jpg").touch()
    with pytest.raises(MetadataError, match=r"imagenet21k_train\. It opens only") as raised:
        made.run()
    assert "or `view: none` to find all images by a table of their paths" in str(raised.value)


TWO = ["train/cat/1.jpg", "valid/cat/2.jpg", "validation/cat/3.jpg"]
SHARDS = ["train.X1/n02/n02_1.JPEG", "train.X2/n02/n02_1.JPEG", "train.X2/n01/n01_5.JPEG"]


@pytest.mark.parametrize(
    ("files", "shown"),
    [
        (TWO, ["no val/", "valid/, validation/", "`folders: {VAL: valid}`"]),
        (SHARDS, ["no train/", "train.X1/, train.X2/", "`folders: {TRAIN: [train.X1, train.X2]}`"]),
        *(
            ([f"train_{one}/a/1.jpg" for one in pair], [", ".join(f"train_{i}/" for i in pair)])
            for pair in (("large", "small"), ("big", "small"), ("full", "mini"))
        ),
        (["Test/1.jpg", "test_set/2.jpg", "train/a/1.jpg"], ["`folders: {TEST: Test}`"]),
    ],
)
def test_several_folders_are_a_question(files: list[str], shown: list[str], tmp_path: Path) -> None:
    with pytest.raises(MetadataError) as raised:
        Made(tmp_path, files, splits=["TRAIN", "VAL", "TEST"])
    assert all(text in str(raised.value) for text in shown)


def test_a_split_in_several_folders(tmp_path: Path) -> None:
    folders = {"TRAIN": ["train.X1", "train.X2"]}
    made = Made(tmp_path, SHARDS, splits=["TRAIN"], folders=folders, labels="folders")
    assert made.classes("TRAIN") == ["n01", "n02"]
    assert sorted(made.paths("TRAIN")) == sorted(SHARDS)
    assert made.about["TRAIN"]["folders"] == folders
    (made.root / "train.X1/n03").mkdir()
    (made.root / "train.X1/n03/n03_7.JPEG").touch()
    made.run()
    assert made.classes("TRAIN") == ["n01", "n02", "n03"]
    (made.root / "train.X2/n01/n01_5.JPEG").unlink()
    (made.root / "train.X2/n01").rmdir()
    made.run()
    assert made.classes("TRAIN") == ["n02", "n03"]
    (made.root / "train.X2").rename(made.root / "gone")
    with pytest.raises(MetadataError, match=r"train.X2 does not exist"):
        made.run()


def test_the_metadata_may_be_beside_the_parts_of_a_split(tmp_path: Path) -> None:
    """Nothing but an edit of the parts is one, though publishing changes the folder with them."""
    settings = {"folders": {"TRAIN": ["train.X1", "train.X2"]}, "labels": "folders"}
    made = Made(tmp_path, SHARDS, splits=["TRAIN"], **settings)
    made.extra = made.root
    made.run()
    before = made.chain.states
    made.run()
    assert made.chain.states == before


def test_val_is_numbered_by_the_classes_of_all_parts(tmp_path: Path) -> None:
    files = [*SHARDS, "valid/n02/ILSVRC2012_val_00000001.JPEG"]
    folders = {"TRAIN": ["train.X1", "train.X2"]}
    made = Made(tmp_path, files, folders=folders, labels="folders")
    assert np.load(made.extra / "entries-VAL.npy")["class_index"].tolist() == [1]


@pytest.mark.parametrize("path", ["/tmp", "../set", ".", "a/../..", ""])
def test_a_folder_is_below_root(path: str) -> None:
    with pytest.raises(MetadataError, match=r"config: folders: "):
        Settings("/root", "/extra", folders={"VAL": path})


@pytest.mark.parametrize("layout", ["kaggle", "tiny-imagenet"])
def test_a_layout_with_folders_of_its_own(layout: str, tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match="has folders of its own"):
        Made(tmp_path, ["a/b/1.jpg"], layout=layout, folders={"VAL": "a"})


def test_a_second_split_that_is_called_test(tmp_path: Path) -> None:
    files = ["train/a/1.jpg", "test/a/2.jpg"]
    with pytest.raises(MetadataError, match=r"If VAL is in test/, set `folders: {VAL: test}`"):
        Made(tmp_path, files)
    made = Made(tmp_path / "set", files, folders={"VAL": "test"})
    assert made.paths("VAL") == ["test/a/2.jpg"]


@pytest.mark.parametrize(
    ("files", "shown"),
    [
        (["a/1.jpg", "b/2.jpg", "samples.png"], ["(a, b) are classes, move", "`layout: flat`"]),
        ([*(f"{c}/1.jpg" for c in "abcd"), "1.jpg"], ["(a, b, c, ...) are classes", "train/"]),
        (["o/amazon/bike/1.jpg", "o/dslr/mug/2.jpg"], ["below o.", "`folders: {TRAIN: <FOLDER>}`"]),
        (["set/Train/a/1.jpg", "set/Test/a/1.jpg"], ["set does: use it as `root`"]),
    ],
)
def test_folders_that_may_be_classes_are_a_question(
    files: list[str], shown: list[str], tmp_path: Path
) -> None:
    with pytest.raises(MetadataError) as raised:
        Made(tmp_path, files, splits=["TRAIN"])
    assert all(text in str(raised.value) for text in shown)


@pytest.mark.parametrize(
    "files",
    [
        ["1.jpg", "2.jpg"],
        ["1.jpg", "deep/2.jpg"],
        ["1.jpg", ".thumbs/2.jpg", "@eaDir/3.jpg", "deep/4.jpg"],
        ["1.jpg", "test/2.jpg", "val/3.jpg", "deep/4.jpg"],
    ],
)
def test_one_folder_beside_images_is_flat(files: list[str], tmp_path: Path) -> None:
    made = Made(tmp_path, files, splits=["TRAIN"])
    assert made.chain.layout == "flat"
    others = (".thumbs", "@eaDir", "test", "val")
    assert sorted(made.paths("TRAIN")) == [one for one in files if not one.startswith(others)]


@pytest.mark.parametrize("train", ["train", "Training"])
@pytest.mark.parametrize("others", [["bus/2.jpg", "car/3.jpg"], ["masks/1.png"]])
def test_a_class_may_be_called_like_a_split(train: str, others: list[str], tmp_path: Path) -> None:
    files = [*others, f"{train}/1.jpg"]
    with pytest.raises(MetadataError) as raised:
        Made(tmp_path, [*files, "preview.png", "thumbs/x.txt"], splits=["TRAIN"])
    shown = ", ".join(one.partition("/")[0] for one in others)
    assert f"has images in {train}/ and in folders beside it ({shown})." in str(raised.value)
    for i, setting in enumerate(({"layout": "flat"}, {"folders": {"TRAIN": train}})):
        made = Made(tmp_path / str(i), files, splits=["TRAIN"], **setting)
        assert made.paths("TRAIN") == [f"{train}/1.jpg"]
    files = [f"set/{one}" for one in files]
    made = Made(tmp_path / "moved", files, splits=["TRAIN"], folders={"TRAIN": "set"})
    assert made.paths("TRAIN") == sorted(files)


def test_images_in_train_beside_other_splits_are_flat(tmp_path: Path) -> None:
    beside = ["test/2.jpg", "Val/3.jpg", "train_masks/1.png", "@eaDir/x.jpg", "labels/1.txt"]
    made = Made(tmp_path, ["train/1.jpg", *beside], splits=["TRAIN"])
    assert made.paths("TRAIN") == ["train/1.jpg"]


@pytest.mark.parametrize("name", ["test", "val"])
def test_classes_beside_other_splits_are_a_question(name: str, tmp_path: Path) -> None:
    files = ["bed/1.jpg", "bus/2.jpg", f"{name}/3.jpg"]
    with pytest.raises(MetadataError, match=r"no train/, .* \(bed, bus\)\. .*move them"):
        Made(tmp_path, files, splits=["TRAIN"])
    assert Made(tmp_path, [], splits=["TRAIN"], layout="flat").paths("TRAIN") == files[:2]


def test_all_is_one_class_if_the_user_says_so(tmp_path: Path) -> None:
    files = ["a/1.jpg", "b/2.jpg", "samples.png"]
    made = Made(tmp_path, files, splits=["TRAIN"], layout="flat")
    assert sorted(made.paths("TRAIN")) == files


@pytest.mark.parametrize("inside", ["images", "images/all", "train"])
def test_a_folder_between_the_split_and_its_classes(inside: str, tmp_path: Path) -> None:
    files = [f"train/{inside}/back_pack/1.jpg", f"train/{inside}/bike/2.jpg"]
    made = Made(tmp_path, files, splits=["TRAIN"])
    top = inside.partition("/")[0]
    assert made.classes("TRAIN") == [top]
    assert (
        f"only one class, {top}, whose images are in 2 folders in train/{inside}/ (for instance "
        f"back_pack)" in made.notes("TRAIN")
    )
    folders = {"TRAIN": f"train/{inside}"}
    made = Made(tmp_path / "set", files, splits=["TRAIN"], folders=folders)
    assert made.classes("TRAIN") == ["back_pack", "bike"]


@pytest.mark.parametrize(
    "files",
    [
        ["train/cat/1.jpg", "train/cat/a/2.jpg", "train/cat/b/3.jpg"],
        ["train/cat/a/2.jpg"],
        ["train/cat/a/2.jpg", "train/cat/b/3.jpg", "train/dog/4.jpg"],
    ],
)
def test_nested_images_of_a_class_are_no_classes(files: list[str], tmp_path: Path) -> None:
    assert Made(tmp_path, files, splits=["TRAIN"]).about["TRAIN"]["notes"] == []


@pytest.mark.parametrize("below", ["", "ILSVRC", "ILSVRC/Data", DATA])
@pytest.mark.parametrize("mapping", [True, False])
def test_kaggle_with_val_sorted(below: str, mapping: bool, tmp_path: Path) -> None:
    texts = (
        {"LOC_synset_mapping.txt": "n01440764 tench, x\nn01443537 goldfish\n"} if mapping else {}
    )
    labels = "auto" if mapping or below else "folders"
    made = Made(tmp_path, KAGGLE + SORTED, texts, below, labels=labels)
    assert made.paths("VAL") == [str(Path(one).relative_to(below)) for one in SORTED]
    names = np.load(made.extra / "class-names-VAL.npy").tolist()
    assert names == (["tench", "goldfish"] if mapping else ["n01440764", "n01443537"])
    if below != DATA:  # which has DINOv3's layout
        assert "there is no LOC_val_solution.csv" in made.notes("VAL")


@pytest.mark.parametrize("val", [SORTED, [SORTED[0], f"{DATA}/val/ILSVRC2012_val_00000294.JPEG"]])
@pytest.mark.parametrize("below", ["", "ILSVRC"])
def test_kaggle_with_val_sorted_in_part(val: list[str], below: str, tmp_path: Path) -> None:
    texts = {"LOC_val_solution.csv": SOLUTION}
    made = Made(tmp_path, KAGGLE + val, texts, below, labels="folders")
    assert made.paths("VAL") == [str(Path(one).relative_to(below)) for one in val]


def test_kaggle_with_val_sorted_otherwise_than_the_solution_says(tmp_path: Path) -> None:
    swapped = [one.replace("val/n01440764", "val/n01443537") for one in SORTED]
    texts = {"LOC_val_solution.csv": SOLUTION}
    with pytest.raises(MetadataError, match=r"^1 image in .*\n +n01443537/\S+293.JPEG \(n0144076"):
        Made(tmp_path, KAGGLE + swapped, texts, labels="folders")
    made = Made(tmp_path / "set", KAGGLE + swapped, texts, layout="folder")
    assert made.paths("VAL") == sorted(swapped)
    assert f"VAL is made from {DATA}/val/." in made.notes("VAL")


def test_a_flat_val_of_kaggle_names_the_folder_with_its_classes(tmp_path: Path) -> None:
    files = [*KAGGLE, f"{DATA}/val/ILSVRC2012_val_00000293.JPEG"]
    with pytest.raises(
        MetadataError,
        match=r"图 root contains LOC_val_solution.csv.*as `root`, with `layout: auto`",
    ):
        Made(tmp_path, files, {"LOC_val_solution.csv": SOLUTION}, DATA)
    with pytest.raises(MetadataError, match=r"is flat: 1 image .* class folders. Sort the images"):
        Made(tmp_path / "without", files, {}, DATA)


FLAT = [one.replace("/images/", "/") for one in TINY]
LEFT_OVER = [f"{Path(one).parent}/images/" for one in FLAT]


@pytest.mark.parametrize("train", [TINY, FLAT, FLAT + LEFT_OVER, [TINY[0], FLAT[1]]])
@pytest.mark.parametrize(
    ("val", "annotations"),
    [
        (["val/images/val_0.JPEG", "val/images/val_1.JPEG"], True),
        (TINY_VAL, False),
        (TINY_VAL, True),
        ([*TINY_VAL, "val/images/"], False),
        ([*TINY_VAL, "val/images/"], True),
        ([one.replace("/val_", "/images/val_") for one in TINY_VAL], False),
        ([TINY_VAL[0], "val/images/val_1.JPEG"], True),
    ],
)
def test_tiny_imagenet_sorted_in_part(
    train: list[str], val: list[str], annotations: bool, tmp_path: Path
) -> None:
    texts = {"wnids.txt": "n01440764\nn01440765\n", "words.txt": "n01440764\ta\nn01440765\tb\n"}
    texts |= {"val/val_annotations.txt": ANNOTATIONS} if annotations else {}
    made = Made(tmp_path, train + val, texts)
    assert made.chain.layout == "tiny-imagenet"
    images = [one for one in train if not one.endswith("/")]
    assert made.paths("TRAIN") == images
    assert made.paths("VAL") == [one for one in val if not one.endswith("/")]


def test_tiny_imagenet_without_the_classes_of_some_images(tmp_path: Path) -> None:
    files = [*TINY, TINY_VAL[0], "val/images/val_1.JPEG"]
    with pytest.raises(MetadataError, match=r"val_annotations.txt, .* cannot be read"):
        Made(tmp_path, files, {"wnids.txt": "n01440764\n"}, labels="folders")


@pytest.mark.parametrize("lacking", ["train", "wnids"])
def test_a_folder_of_a_class_that_the_annotations_lack(lacking: str, tmp_path: Path) -> None:
    """The ids are too short to be taken for ids by their form alone."""
    files = ["train/n02/images/n02_0.JPEG", "val/n01/val_0.JPEG", "val/n02/val_1.JPEG"]
    files += ["train/n01/images/n01_0.JPEG"] if lacking == "wnids" else []
    texts = {"val/val_annotations.txt": "val_0.JPEG\tn02\nval_1.JPEG\tn02\n"}
    texts["wnids.txt"] = "n02\n" if lacking == "wnids" else "n01\nn02\n"
    with pytest.raises(MetadataError, match=r"^1 image in .*\n +n01/val_0.JPEG \(n02\)"):
        Made(tmp_path, files, texts, labels="folders")


def test_folders_of_val_with_the_names_of_no_classes_are_said(tmp_path: Path) -> None:
    texts = {"wnids.txt": "n01440764\n", "val/val_annotations.txt": ANNOTATIONS}
    val = ["val/one/val_0.JPEG", "val/two/val_1.JPEG"]
    made = Made(tmp_path, [*TINY, *val], texts, labels="folders")
    assert made.notes("VAL") == (
        "VAL: the classes are those in val_annotations.txt, not the 2 folders that the images are "
        "in (for instance one)."
    )


def test_tiny_imagenet_with_dinov3_s_names_needs_no_view(tmp_path: Path) -> None:
    files = [*FLAT, "val/n01440764/ILSVRC2012_val_00000001.JPEG"]
    made = Made(tmp_path, files, {"wnids.txt": "n01440764\n"}, labels="folders")
    assert not made.chain.is_view


def test_suffixes_that_are_passed_over(tmp_path: Path) -> None:
    files = ["train/cat/1.jpg", "train/cat/2.jfif", "train/cat/3.JFIF", "train/cat/4.gif"]
    files += ["train/dog/7.jpg", "train/dog/8.heic", "train/dog/x/9.jpg:large", "train/.DS_Store"]
    files += ["train/dog/readme.txt", "train/dog/._1.gif", "train/dog/Thumbs.db"]
    made = Made(tmp_path, files, splits=["TRAIN"])
    counted = (
        "TRAIN: 5 files not counted, because torchvision does not take their suffixes for those of "
        "images: 2 .jfif (for instance cat/2.jfif), 1 .gif (cat/4.gif), 1 .heic (dog/8.heic), 1 "
        ".jpg:large (dog/x/9.jpg:large)."
    )
    assert made.notes("TRAIN") == counted
    (made.root / "train/dog/10.jpg").touch()  # the other folders are not listed again
    made.run()
    assert made.notes("TRAIN") == counted
    (made.root / "train/dog/8.heic").unlink()
    made.run()
    assert "TRAIN: 4 files" in made.notes("TRAIN")
    assert ".heic" not in made.notes("TRAIN")


@pytest.mark.needs("torchvision")
def test_suffixes_that_are_passed_over_in_dinov3_s_layout(tree: Path, tmp_path: Path) -> None:
    make_tree(tree, ["train/n01440764/1.avif", "train/n01440764/2.avif", "val/3.GIF", "test/4.jxl"])
    for level in ("sample", "full"):  # the second run scans nothing
        dump_extra(tree, tmp_path / "extra", splits=["TRAIN", "VAL", "TEST"], level=level)
        notes = {
            split: json.loads((tmp_path / f"extra/metadata-{split}.json").read_text())["notes"]
            for split in ("TRAIN", "VAL", "TEST")
        }
        assert "2 .avif (for instance n01440764/1.avif)" in notes["TRAIN"][0]
        assert "1 .gif (3.GIF)" in notes["VAL"][0]
        assert "1 .jxl (4.jxl)" in notes["TEST"][0]


@pytest.mark.parametrize("file", ["b/1.gif", "b/deep/1.GIF"])
def test_a_class_with_nothing_but_other_suffixes(file: str, tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=r"\n +b \(1 .gif, which torchvision does not take"):
        Made(tmp_path, ["train/a/1.jpg", f"train/{file}"], splits=["TRAIN"])
    with pytest.raises(MetadataError, match=r"\n +b \(1 .gif, which torchvision does not take"):
        Made(
            tmp_path / "2",
            ["train/a/a_1.JPEG", f"train/{file}"],
            splits=["TRAIN"],
            labels="folders",
        )


@pytest.mark.parametrize("files", [["train/a/1.gif", "train/b/2.heic"], ["1.gif", "2.gif"]])
def test_a_dataset_of_other_suffixes(files: list[str], tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=r".gif, which torchvision does not take for images\)"):
        Made(tmp_path, files, splits=["TRAIN"])


@pytest.mark.parametrize(
    "name", [*(name for name in SYSTEM if name != ".thumbs"), "@eaDir", "$RECYCLE.BIN"]
)
def test_folders_of_a_system_are_left_out(name: str, tmp_path: Path) -> None:
    files = ["train/cat/1.jpg", "train/dog/2.jpg"]
    system = [f"train/{name}/x.jpg", f"train/cat/{name}/1.jpg/y.jpg", f"train/dog/z/{name}/1.jpg"]
    made = Made(tmp_path, [*files, *system], splits=["TRAIN"])
    assert made.paths("TRAIN") == files
    assert made.classes("TRAIN") == ["cat", "dog"]
    assert f"3 {name} (for instance " in made.notes("TRAIN")


def test_folders_of_a_system_need_not_be_readable(tmp_path: Path, monkeypatch) -> None:
    nested = ["train/cat/1.jpg", "train/lost+found/x.jpg", "lost+found/y.jpg"]
    flat = ["1.jpg", "lost+found/y.jpg", "2/lost+found/y.jpg"]
    make_tree(tmp_path / "图 root", nested)
    make_tree(tmp_path / "flat/图 root", flat)

    def refuse(function):
        def refusing(path=".", *arguments, **options):
            if "lost+found" in str(path):
                raise PermissionError(13, "Permission denied", path)
            return function(path, *arguments, **options)

        return refusing

    for name in ("scandir", "listdir", "open"):
        monkeypatch.setattr(os, name, refuse(getattr(os, name)))
    assert Made(tmp_path, [], splits=["TRAIN"]).paths("TRAIN") == nested[:1]
    assert Made(tmp_path / "flat", [], splits=["TRAIN"]).paths("TRAIN") == flat[:1]


def test_what_a_folder_of_a_system_is_is_said_in_dinov3_s_layout(tmp_path: Path) -> None:
    files = ["train/cat/cat_1.JPEG", "train/@eaDir/"]
    with pytest.raises(MetadataError, match=r"\n +@eaDir \(where a Synology NAS keeps its thumb"):
        Made(tmp_path, files, splits=["TRAIN"], labels="folders")


def test_what_is_hidden_in_class_folders_is_said(tmp_path: Path) -> None:
    files = ["train/a/1.jpg", "train/b/2.jpg"]
    hidden = ["train/a/._1.jpg", "train/b/deep/.x.JPEG", "train/b/._notes.txt"]
    folders = ["train/a/.ipynb_checkpoints/1.jpg", "train/b/deep/deeper/.ipynb_checkpoints/3.jpg"]
    made = Made(tmp_path, [*files, *hidden, *folders], splits=["TRAIN"])
    assert made.paths("TRAIN") == files
    for _ in range(2):
        said = made.notes("TRAIN")
        assert "TRAIN: 2 hidden images left out (for instance a/._1.jpg)." in said
        assert (
            "TRAIN: 2 folders left out, because hidden or made by a system: 2 .ipynb_chec" in said
        )
        (made.root / "train/a/3.jpg").touch()
        made.run()
    with pytest.raises(MetadataError, match=r"\n +c \(1 hidden image\)\n"):
        Made(tmp_path, ["train/c/._1.jpg"], splits=["TRAIN"])


@pytest.mark.parametrize("image", ["{}/{}_1.JPEG", "{}/1.jpg"])
@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        ("Cafe\u0301", "Caf\u00e9", "Unicode form (U+00E9, U+0301)"),
        ("cat", "cat\u200b", "invisible characters (U+200B)"),
    ],
)
def test_class_folders_that_look_equal(
    image: str, one: str, other: str, difference: str, tmp_path: Path
) -> None:
    files = [f"train/{image.format(*[name] * 2)}" for name in (one, other, "dog", "Dog")]
    made = Made(tmp_path, files, splits=["TRAIN"], labels="folders")
    assert made.about["TRAIN"]["notes"] == [
        "TRAIN: 1 class folder looks equal to another one, but counts as a class of its own "
        f"({one} and {other}, which differ in {difference})."
    ]
    for name in (other, one):
        shutil.rmtree(made.root / f"train/{name}")
        made.run()
        assert made.about["TRAIN"]["notes"] == []


@pytest.mark.needs("torchvision")
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("engine", ["scandir", "torchvision"])
@pytest.mark.parametrize("classes", ["train", "union", "own"])
def test_classes_without_images_are_kept_if_that_is_set(
    named: bool, engine: str, classes: str, tmp_path: Path
) -> None:
    train, val = ("train/b/b_1.JPEG", "val/b/ILSVRC2012_val_00000001.JPEG")
    if not named:
        train, val = "train/b/1.jpg", "val/b/1.jpg"
    files, settings = [train, val, "train/a/", "val/c/", "train/c/"], {"labels": "folders"}
    with pytest.raises(
        MetadataError, match=r"2 class folders .*\n +a\n +c\n.*`empty_classes: keep`"
    ):
        Made(tmp_path / "refused", files, **settings)
    settings |= {"engine": engine, "classes": classes, "empty_classes": "keep", "level": "full"}
    made = Made(tmp_path, files, **settings)
    assert made.classes("TRAIN") == ["a", "b", "c"]
    assert made.classes("VAL") == (["b", "c"] if classes == "own" else ["a", "b", "c"])
    assert np.load(made.extra / "entries-TRAIN.npy")["class_index"].tolist() == [1]
    assert np.load(made.extra / "entries-VAL.npy")["class_index"].tolist() == [
        int(classes != "own")
    ]
    assert "TRAIN: 2 classes without images: a, c." in made.notes("TRAIN")
    assert made.about["TRAIN"]["empty_classes"] == 2
    state = made.chain.states
    made.run()
    assert made.chain.states == state


def test_a_split_needs_images_even_if_empty_classes_are_kept(tmp_path: Path) -> None:
    files = ["train/a/a_1.JPEG", "val/a/", "val/b/"]
    with pytest.raises(MetadataError, match=r"VAL split folder .* contains no images"):
        Made(tmp_path, files, labels="folders", empty_classes="keep")


def test_messages_name_the_folders_of_the_dataset(tmp_path: Path) -> None:
    val = ["val/1.jpg", "val/2.jpg"]
    with pytest.raises(MetadataError, match=r"root/val is flat: 2 images \(for instance 1.jpg\)"):
        Made(tmp_path, ["train/a/1.jpg", *val])


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def symlink(*_, **__) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "symlink", symlink)
    with pytest.raises(MetadataError, match=r"no symbolic links. Point `view:` at a folder on"):
        Made(tmp_path, ["train/a/1.jpg"], splits=["TRAIN"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_not_recognised_where_there_is_nothing(layout: str, tmp_path: Path) -> None:
    assert not LAYOUTS[layout].recognise(str(tmp_path), {})
    assert recognise(tmp_path) == "imagenet"


def test_all_words_of_the_splits_are_different() -> None:
    words = [word for some in WORDS.values() for word in some]
    assert len(set(words)) == len(words)


def test_a_folder_that_is_given_is_of_no_other_split(tmp_path: Path) -> None:
    make_tree(tmp_path, ["valid/test/1.jpg", "test_set/2.jpg", "train/1.jpg"])
    assert find_folders(str(tmp_path), {"VAL": ["valid/test"]}, SPLITS) == {
        "VAL": ["valid/test"],
        "TEST": ["test_set"],
    }


def test_a_flat_dataset_loses_no_image_to_a_folder_called_like_a_split(tmp_path: Path) -> None:
    files = ["a.jpg", "dev/c.jpg"]
    made = Made(tmp_path, files, splits=["TRAIN"])
    assert sorted(made.paths("TRAIN")) == files
    assert made.about["TRAIN"]["folders"] == {}
    files = [f"{one}/{i}.jpg" for one in ("cat", "dev", "dog", "testing") for i in (1, 2)]
    made = Made(tmp_path / "2", files, splits=["TRAIN"], layout="flat")
    assert sorted(made.paths("TRAIN")) == files


def test_what_a_flat_dataset_leaves_to_other_splits_is_said(tmp_path: Path) -> None:
    made = Made(tmp_path, ["a.jpg", "val/c.jpg"], splits=["TRAIN"])
    assert made.paths("TRAIN") == ["a.jpg"]
    assert "TRAIN is made without val/, which is of other splits." in made.notes("TRAIN")


@pytest.mark.parametrize("kind", ["tiny", "kaggle"])
def test_copies_of_an_image_count_once(kind: str, tmp_path: Path) -> None:
    files = [*TINY, *TINY_VAL, "val/images/val_0.JPEG", "val/images/val_1.JPEG"]
    texts = {"wnids.txt": "n01440764\n", "val/val_annotations.txt": ANNOTATIONS}
    if kind == "kaggle":
        files = [*KAGGLE, *SORTED, f"{DATA}/val/{Path(SORTED[0]).name}"]
        texts = {"LOC_val_solution.csv": SOLUTION}
    made = Made(tmp_path, files, texts, labels="folders")
    assert made.about["VAL"]["images"] == 2
    many = "2 images are" if kind == "tiny" else "1 image is"
    assert f"VAL: {many} there twice, in two folders, and taken once." in made.notes("VAL")


@pytest.mark.parametrize("named", [True, False])
def test_images_beside_the_class_folders_are_noted_in_each_run(named: bool, tmp_path: Path) -> None:
    files = ["train/cat/cat_1.JPEG" if named else "train/cat/1.jpg", "train/b.jpg", "train/c.jpg"]
    made = Made(tmp_path, files, splits=["TRAIN"], labels="folders")
    for image in ("cat_2.JPEG", "cat_3.JPEG") if named else ("2.jpg", "3.jpg"):
        expected = "TRAIN: 2 images left out, because not in a class folder (for instance b.jpg)."
        assert expected in made.notes("TRAIN")
        (made.root / "train/cat" / image).touch()
        made.run()


@pytest.mark.parametrize("val", [SORTED, [f"{DATA}/val/{Path(one).name}" for one in SORTED]])
@pytest.mark.parametrize("solution", [True, False])
def test_images_of_kaggle_with_other_suffixes_are_linked(
    val: list[str], solution: bool, tmp_path: Path
) -> None:
    if not solution:
        val = SORTED
    train, val = ([f"{one[:-5]}.jpeg" for one in some] for some in (KAGGLE, val))
    texts = {"LOC_val_solution.csv": SOLUTION} if solution else {}
    made = Made(tmp_path, train + val, texts, labels="folders")
    assert made.chain.layout == "kaggle"
    assert made.paths("TRAIN") == train
    assert made.paths("VAL") == val


def test_kaggle_s_val_that_is_sorted_in_part_needs_the_solution(tmp_path: Path) -> None:
    files = [*KAGGLE, SORTED[0], f"{DATA}/val/ILSVRC2012_val_00000294.JPEG"]
    with pytest.raises(MetadataError, match=r"LOC_val_solution.csv.* cannot be read: .*Put it"):
        Made(tmp_path, files, labels="folders")


@pytest.mark.parametrize("folder", ["train", "Training"])
@pytest.mark.parametrize("named", [True, False])
def test_a_class_folder_behind_a_vanished_link(named: bool, folder: str, tmp_path: Path) -> None:
    image = "{0}_1.JPEG" if named else "1.jpg"
    make_tree(tmp_path / "disk", [f"elk/{image.format('elk')}"])
    (tmp_path / f"图 root/{folder}").mkdir(parents=True)
    (tmp_path / f"图 root/{folder}/elk").symlink_to(tmp_path / "disk/elk")
    cats = [f"{folder}/{name}/{image.format(name)}" for name in ("cat", "owl")]
    made = Made(tmp_path, cats, splits=["TRAIN"], labels="folders")
    assert made.classes("TRAIN") == ["cat", "elk", "owl"]
    whole = digests(made.extra)
    (tmp_path / "disk/elk").rename(tmp_path / "gone")
    made.run()
    assert made.classes("TRAIN") == ["cat", "owl"]
    assert "1 link beside the class folders left out, because it leads to nothing (elk)" in (
        made.notes("TRAIN")
    )
    (tmp_path / "gone").rename(tmp_path / "disk/elk")
    made.run()
    assert digests(made.extra) == whole
    assert made.classes("TRAIN") == ["cat", "elk", "owl"]
    assert "nothing" not in made.notes("TRAIN")


@pytest.mark.parametrize("image", ["cat_1.JPEG", "1.jpg"])
def test_a_file_of_git_annex_is_no_class(image: str, tmp_path: Path) -> None:
    (tmp_path / "图 root/train").mkdir(parents=True)
    (tmp_path / "图 root/train/readme").symlink_to("../.git/annex/objects/Wx/1/K/K")
    made = Made(tmp_path, [f"train/cat/{image}"], splits=["TRAIN"], labels="folders")
    assert made.classes("TRAIN") == ["cat"]


def test_a_split_behind_a_vanished_link_is_not_replaced_by_another(tmp_path: Path) -> None:
    files = ["train/a/1.jpg", "valid/a/2.jpg"]
    make_tree(tmp_path / "图 root", files)
    (tmp_path / "图 root/val").symlink_to("/nowhere/val")
    with pytest.raises(MetadataError, match=r"val is a link to /nowhere/val, which does not exist"):
        Made(tmp_path, files)


@pytest.mark.parametrize("folders", [["train", "again"], ["train", "train/cat"]])
def test_no_image_of_a_split_counts_twice(folders: list[str], tmp_path: Path) -> None:
    make_tree(tmp_path / "图 root", ["train/cat/1.jpg"])
    (tmp_path / "图 root/again").symlink_to("train")
    with pytest.raises(MetadataError, match=r"would count twice"):
        Made(tmp_path, [], splits=["TRAIN"], folders={"TRAIN": folders})


def test_a_hidden_class_folder_is_said(tmp_path: Path) -> None:
    made = Made(tmp_path, ["train/cat/1.jpg", "train/.NET/2.jpg"], splits=["TRAIN"])
    assert "hidden or made by a system: 1 .NET (.NET)" in made.notes("TRAIN")


@pytest.mark.needs("torchvision")
@pytest.mark.parametrize("level", ["sample", "full"])
@pytest.mark.parametrize(
    "files",
    [
        [*KAGGLE, f"{DATA}/train/n01440764/@eaDir/n01440764_1.JPEG"],
        [*TINY, "train/n01440764/images/@eaDir/x.jpg", "wnids.txt"],
        ["Train/n01/n01_1.JPEG", "Train/@eaDir/x.jpg", "Train/n01/@eaDir/n01_1.JPEG"],
    ],
)
def test_folders_of_a_system_are_left_out_of_whole_class_folders(
    files: list[str], level: str, tmp_path: Path
) -> None:
    for engine in ("scandir", "torchvision"):
        settings = {"labels": "folders", "level": level, "engine": engine}
        made = Made(tmp_path / engine, files, splits=["TRAIN"], **settings)
        expected = [one for one in files if "@eaDir" not in one and one != "wnids.txt"]
        assert sorted(made.paths("TRAIN")) == sorted(expected)
        assert "@eaDir" in made.notes("TRAIN")


def test_images_in_a_folder_of_a_system_are_said_in_dinov3_s_layout(tmp_path: Path) -> None:
    files = ["train/n01/n01_1.JPEG", "train/n01/@eaDir/n01_5.JPEG/SYNO.jpg"]
    with pytest.raises(MetadataError, match=r"@eaDir is where a Synology NAS keeps .*: remove it"):
        Made(tmp_path, files, splits=["TRAIN"], labels="folders")
    with pytest.raises(MetadataError, match=r"layout: folder`, which leaves such folders out"):
        Made(
            tmp_path / "2",
            ["train/a/a_1.JPEG", "train/@eaDir/"],
            splits=["TRAIN"],
            labels="folders",
        )
    made = Made(tmp_path / "3", files, splits=["TRAIN"], layout="folder")
    assert made.paths("TRAIN") == files[:1]


def test_a_flat_val_with_the_folders_for_its_images(tmp_path: Path) -> None:
    files = ["train/cat/1.jpg", "val/cat/", "val/dog/", "val/1.jpg", "val/2.jpg"]
    with pytest.raises(MetadataError, match=r"2 images \(for instance 1.jpg\) beside") as raised:
        Made(tmp_path, files)
    assert "empty_classes" not in str(raised.value)


def test_a_renamed_split_with_other_image_names(tmp_path: Path) -> None:
    files = ["imagenet21k_train/n01/n01_8.JPEG", "imagenet21k_val/n01/n01_9.JPEG"]
    made = Made(tmp_path, files, labels="folders")
    assert made.paths("VAL") == files[1:]
    made.run()


@pytest.mark.parametrize(
    ("files", "shown"),
    [
        (
            ["asl_alphabet_test/t/1.jpg", "asl_alphabet_train/a/b/1.jpg"],
            "{TRAIN: asl_alphabet_train}",
        ),
        (
            ["asl_train/asl_train/a/1.jpg", "asl_train/asl_train/b/1.jpg"],
            "{TRAIN: asl_train/asl_train}",
        ),
        (["train_web/a/1.jpg", "val/a/1.jpg"], "{TRAIN: train_web}"),
        (["data_256/a/1.jpg", "val/a/2.jpg"], "{TRAIN: data_256}"),
        (["train/a/1.jpg", "val/", "valid/a/2.jpg"], "{VAL: valid}"),
    ],
)
def test_the_folder_that_may_be_meant_is_named(
    files: list[str], shown: str, tmp_path: Path
) -> None:
    with pytest.raises(MetadataError) as raised:
        Made(tmp_path, files)
    assert f"`folders: {shown}`" in str(raised.value)


@pytest.mark.parametrize("masks", [["annotations/trimaps/a.png"], []])
def test_a_folder_that_holds_only_folders_is_no_class(masks: list[str], tmp_path: Path) -> None:
    files = ["images/a.jpg", "images/b.jpg"]
    with pytest.raises(MetadataError, match=r"set `folders: {TRAIN: images}`") as raised:
        Made(tmp_path, files + masks, splits=["TRAIN"])
    assert "train/. If" not in str(raised.value)
    assert ("below annotations" in str(raised.value)) == bool(masks)
    made = Made(tmp_path, [], splits=["TRAIN"], folders={"TRAIN": "images"})
    assert made.paths("TRAIN") == files


def test_a_class_that_is_called_like_a_split(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=r"\(cat, dog\) are classes, move them"):
        Made(tmp_path, ["cat/1.jpg", "dog/2.jpg", "dev/3.jpg"])


@pytest.mark.parametrize("path", ["./valid/", "{root}/valid"])
def test_a_path_to_a_folder_may_be_written_in_other_ways(path: str, tmp_path: Path) -> None:
    folders = {"VAL": path.format(root=tmp_path / "图 root")}
    made = Made(tmp_path, ["train/a/1.jpg", "valid/a/2.jpg"], folders=folders)
    assert made.about["VAL"]["folders"] == {"VAL": ["valid"]}


CAT_AND_DOG = [f"{one}/{i}.jpg" for one in ("cat", "dog") for i in (1, 2)]


@pytest.mark.parametrize(
    ("train", "val", "setting"),
    [
        ("train/train", "val/val", "{TRAIN: train/train, VAL: val/val}"),
        ("seg_train/seg_train", "val/val", "{TRAIN: seg_train/seg_train, VAL: val/val}"),
        ("train", "val/val", "{VAL: val/val}"),
        ("Train", "val/val", "{TRAIN: Train, VAL: val/val}"),
        ("train", "val/images/all", "{VAL: val/images/all}"),
        ("train/images", "val", "{TRAIN: train/images}"),
    ],
)
def test_classes_in_deeper_folders_are_said_with_the_setting(
    train: str, val: str, setting: str, tmp_path: Path
) -> None:
    files = [f"{folder}/{one}" for folder in (train, val) for one in CAT_AND_DOG]
    system = ["train/__MACOSX/1.jpg"] if train.startswith("train/") else []
    with pytest.raises(MetadataError) as raised:
        Made(tmp_path, files + system)
    said = str(raised.value)
    assert f"But {train}/ and {val}/ contain 2 folders of the same names (for instance cat)" in said
    assert f"set `folders: {setting}`" in said
    assert not any(text in said for text in ("union", "most similar", "has only one class"))
    made = Made(tmp_path / "set", files + system, folders=yaml.safe_load(setting))
    assert made.classes("TRAIN") == made.classes("VAL") == ["cat", "dog"]
    assert made.paths("VAL") == files[4:]


def test_the_setting_for_deeper_folders_is_that_of_this_run(tmp_path: Path) -> None:
    files = [f"{folder}/{one}" for folder in ("train", "a/a", "b/b") for one in CAT_AND_DOG]
    for folder in "ab":
        with pytest.raises(MetadataError, match=rf"`folders: {{VAL: {folder}/{folder}}}`"):
            Made(tmp_path, files if folder == "a" else [], folders={"VAL": folder})


def test_deeper_folders_of_kaggle_are_not_proposed(tmp_path: Path) -> None:
    files = [one.replace("train/", "train/train/") for one in KAGGLE]
    with pytest.raises(MetadataError, match=r"cannot address 2 images") as raised:
        Made(tmp_path, files, labels="folders", splits=["TRAIN"])
    assert "`folders" not in str(raised.value)


def test_classes_in_several_deeper_folders(tmp_path: Path) -> None:
    files = ["train/a/cat/1.jpg", "train/b/dog/2.jpg", "val/cat/3.jpg", "val/dog/4.jpg"]
    with pytest.raises(MetadataError, match=r"set `folders: {TRAIN: \[train/a, train/b\]}`"):
        Made(tmp_path, files)
    made = Made(tmp_path / "set", files, folders={"TRAIN": ["train/a", "train/b"]})
    assert made.classes("TRAIN") == ["cat", "dog"]


def test_folders_with_the_same_name_in_each_class_are_no_classes(tmp_path: Path) -> None:
    files = ["train/cat/images/1.jpg", "train/dog/images/2.jpg", "val/images/3.jpg"]
    with pytest.raises(MetadataError, match=r"all in one folder, \S+ root/val/images: 1 image "):
        Made(tmp_path, files)


def test_deeper_folders_without_a_common_name_are_named(tmp_path: Path) -> None:
    files = [f"train/train/{one}/1.jpg" for one in "ab"] + [f"val/val/{one}/1.jpg" for one in "cd"]
    with pytest.raises(MetadataError) as raised:
        Made(tmp_path, files)
    for split, folder, name in (("TRAIN", "train/train", "a"), ("VAL", "val/val", "c")):
        assert f"{split} has only one class, " in str(raised.value)
        assert f"2 folders in {folder}/ (for instance {name})" in str(raised.value)
        assert f"`folders: {{{split}: {folder}}}`" in str(raised.value)


@pytest.mark.parametrize("split", ["TRAIN", "VAL"])
def test_deeper_classes_with_dinov3_s_names_for_images(split: str, tmp_path: Path) -> None:
    files = [f"train/n0{i}/n0{i}_1.JPEG" for i in (1, 2)]
    files += [f"val/n0{i}/ILSVRC2012_val_0000000{i}.JPEG" for i in (1, 2)]
    name = split.lower()
    files = [one.replace(f"{name}/", f"{name}/{name}/", 1) for one in files]
    with pytest.raises(MetadataError, match=r"DINOv3 cannot address 2 images") as raised:
        Made(tmp_path, files, labels="folders")
    assert f"set `folders: {{{split}: {name}/{name}}}`" in str(raised.value)
    assert "layout: folder" not in str(raised.value)
    folders = {split: f"{name}/{name}"}
    made = Made(tmp_path / "set", files, labels="folders", folders=folders)
    assert made.classes("TRAIN") == made.classes("VAL") == ["n01", "n02"]


def test_a_split_that_is_left_out_is_said(tmp_path: Path) -> None:
    made = Made(tmp_path, ["train/1.jpg"])
    said = "VAL is left out, because there is no folder val/"
    assert said in summarise(made.chain)
    made = Made(tmp_path / "2", ["train/1.jpg", "val/2.jpg"])
    assert said not in summarise(made.chain)


def test_a_folder_of_two_splits_is_said(tmp_path: Path) -> None:
    made = Made(tmp_path, ["a/cat/1.jpg"], folders={"TRAIN": "a", "VAL": "a"})
    assert made.notes("TRAIN") == "TRAIN is made from a/, as VAL is."
    assert made.notes("VAL") == "VAL is made from a/, as TRAIN is."
    made = Made(tmp_path / "2", ["train/cat/1.jpg"], folders={"VAL": "train"})
    assert made.notes("TRAIN") == "TRAIN is made from train/, as VAL is."


def test_a_folder_without_class_folders_is_not_proposed(tmp_path: Path) -> None:
    files = ["train/n01440764/n01440764_1.JPEG", f"{DATA}/val/ILSVRC2012_val_00000001.JPEG"]
    with pytest.raises(MetadataError, match=r"VAL split folder .* does not exist") as raised:
        Made(tmp_path, files, labels="folders")
    assert "ILSVRC/" not in str(raised.value)


def test_the_folder_proposed_for_val_is_the_one_with_its_classes(tmp_path: Path) -> None:
    names = ("seg_train", "seg_test")
    files = [f"{name}/{name}/{one}" for name in names for one in CAT_AND_DOG]
    with pytest.raises(MetadataError, match=r"set `folders: {VAL: seg_test/seg_test}`"):
        Made(tmp_path, files)
    with pytest.raises(
        MetadataError, match=r"{TRAIN: seg_train/seg_train, VAL: seg_test/seg_test}"
    ):
        Made(tmp_path / "2", files, folders={"VAL": "seg_test/seg_test"})


@pytest.mark.parametrize("folder", ["val/images", "val/images/all"])
def test_a_val_in_one_folder_is_told_the_ways_out(folder: str, tmp_path: Path) -> None:
    files = [*(f"train/{one}" for one in CAT_AND_DOG), f"{folder}/7.jpg", f"{folder}/8.jpg"]
    with pytest.raises(MetadataError) as raised:
        Made(tmp_path, files)
    said = str(raised.value)
    assert f"all in one folder, {tmp_path}/图 root/{folder}: 2 images (for instance 7.jpg)" in said
    assert "one folder per class in val/, as in TRAIN" in said
    assert "union" not in said
    setting = f"`folders: {{TEST: {folder}}}` and `splits: [TRAIN, TEST]`"
    assert setting in said
    made = Made(tmp_path / "set", files, folders={"TEST": folder}, splits=["TRAIN", "TEST"])
    assert made.about["TEST"]["images"] == 2
    with pytest.raises(MetadataError, match=r"all in one folder") as raised:
        Made(tmp_path / "test", [*files, "Test/9.jpg"])
    assert "TEST" not in str(raised.value)


def test_a_val_in_one_folder_beside_images_with_dinov3_s_names(tmp_path: Path) -> None:
    """TEST would need names of DINOv3's."""
    files = [*(f"train/n0{i}/n0{i}_1.JPEG" for i in (1, 2)), "val/x/ILSVRC2012_val_00000001.JPEG"]
    with pytest.raises(MetadataError, match=r"all in one folder") as raised:
        Made(tmp_path, files, labels="folders")
    assert "TEST" not in str(raised.value)


@pytest.mark.parametrize(
    "files",
    [
        ["train/cat/1.jpg", "train/dog/2.jpg", "val/cats/3.jpg"],
        ["train/cat/1.jpg", "val/images/3.jpg"],
        ["train/cat/1.jpg", "train/dog/2.jpg", "val/owl/3.jpg", "val/elk/3.jpg"],
        ["train/cat/1.jpg", "train/dog/2.jpg", "val/owl/3.jpg", "val/cat/3.jpg"],
    ],
)
def test_classes_that_only_val_has_may_be_meant(files: list[str], tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=r"Correct their names .*`classes: union`"):
        Made(tmp_path, files)


def test_a_name_in_another_encoding_is_no_split(tmp_path: Path) -> None:
    files = ["train/cat/1.jpg", "val\udce9/cat/2.jpg"]
    with pytest.raises(MetadataError) as raised:
        Made(tmp_path, files)
    expected = r"If VAL is in val\udce9/, whose name is not UTF-8, rename it to val/."
    assert expected in str(raised.value)
    files = ["train\udce9/cat/1.jpg", "train_web/cat/1.jpg", "val/cat/2.jpg"]
    with pytest.raises(MetadataError, match=r"If TRAIN is in train_web/, set"):
        Made(tmp_path / "2", files)
    with pytest.raises(MetadataError, match=r"set `folders: {TRAIN: <FOLDER>}`"):
        Made(tmp_path / "3", ["train_\udce9/a/cat/1.jpg"])


TESTED = ["test/test_0.JPEG", "test/test_1.JPEG"]


@pytest.mark.parametrize("train", [TINY, FLAT])
@pytest.mark.parametrize("inside", [(), (0,), (0, 1)])
@pytest.mark.parametrize("left_over", [True, False])
def test_tiny_imagenet_with_val_and_test_flattened(
    train: list[str], inside: tuple[int, ...], left_over: bool, tmp_path: Path
) -> None:
    """Some of the images are still in ``images``."""
    images = ["val/val_0.JPEG", "val/val_1.JPEG"], TESTED
    val, test = (
        [one.replace("/", "/images/") if i in inside else one for i, one in enumerate(some)]
        for some in images
    )
    texts = {"wnids.txt": "n01440764\n", "words.txt": "n01440764\ta\nn01440765\tb\n"}
    texts |= {"val/val_annotations.txt": ANNOTATIONS}
    folders = ["val/images/", "test/images/"] if left_over else []
    made = Made(tmp_path, [*train, *val, *test, *folders], texts, splits=SPLITS)
    assert made.chain.layout == "tiny-imagenet"
    assert made.paths("VAL") == val
    assert sorted(made.paths("TEST")) == sorted(test)


@pytest.mark.parametrize("train", [TINY, FLAT])
def test_tiny_imagenet_flattened_needs_the_annotations(train: list[str], tmp_path: Path) -> None:
    files, texts = [*train, "val/val_0.JPEG", "val/val_9.JPEG"], {"wnids.txt": "n01440764\n"}
    with pytest.raises(MetadataError, match=r"val_annotations.txt, .* cannot be read: .*Put it"):
        Made(tmp_path, files, texts, labels="folders")
    texts |= {"val/val_annotations.txt": ANNOTATIONS}
    with pytest.raises(MetadataError, match=r"no class in .*\n +val_9.JPEG\n.*elsewhere\.$"):
        Made(tmp_path / "2", files, texts, labels="folders")


@pytest.mark.parametrize("kind", ["folder", "whole"])
def test_no_line_of_the_log_names_a_path_below_the_view(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    files = ["train/007/1.jpg", "train/007/2.jpg", "train/008/3.jpg"]
    if kind == "whole":
        files = [f"Train/00{i}/00{i}_{i}.JPEG" for i in (7, 8)] + ["Train/007/007_1.JPEG"]
    made = Made(tmp_path, files, splits=["TRAIN"], labels="folders", log_level="debug")
    (made.root / files[0]).unlink()
    made.run()
    (made.root / files[0]).parent.joinpath("9.jpg" if kind == "folder" else "007_9.JPEG").touch()
    made.run()
    if kind == "folder":
        next(Path(made.chain.root, "train/007").iterdir()).unlink()
        with pytest.raises(MetadataError) as raised:
            check([Split("TRAIN", str(made.root), str(made.extra))])
        assert f"for instance the view of {made.root}/train/007" in str(raised.value)
        made.run()
        said = "Link TRAIN as DINOv3 reads it: 1 of 3 folders changed: "
        assert f"{said}007" in caplog.messages
        assert f"{said}the view of 007" in caplog.messages
        next(Path(made.chain.root, "train/007").iterdir()).unlink()
        (made.root / "train/007/10.jpg").touch()  # both changed, which is one folder to the user
        with pytest.raises(MetadataError, match=r": 1 folder .* instance [^ ]+ root/train/007\."):
            check([Split("TRAIN", str(made.root), str(made.extra))])
        caplog.clear()
        made.run()
        assert f"{said}007" in caplog.messages
    assert not [one for one in caplog.messages if f"{made.chain.root}/train" in one]


def test_images_that_only_the_view_has_are_named_without_its_path(tmp_path: Path) -> None:
    made = Made(tmp_path, ["train/cat/1.jpg"], splits=["TRAIN"], labels="folders")
    scan, planted = made.chain.now["TRAIN"], Path(made.chain.root, "train/cat/cat_7.JPEG")
    planted.symlink_to(made.root / "train/cat/1.jpg")
    files = {name: str(made.extra / name) for name in array_names("TRAIN")}
    found = Scan.load(path_of(made.extra, "scan", **scan.state))
    settings = {"root": made.chain.root, "split": "TRAIN", "level": "full", "is_view": True}
    with pytest.raises(MetadataError, match=r"in the view of TRAIN, 1 of them not") as raised:
        check_files(files, found, Labels("", "folders", []), **settings)
    assert f"{made.root}/train/cat/1.jpg" in str(raised.value)
    assert made.chain.root not in str(raised.value)


CLASSES = ["train/cat/1.jpg", "train/dog/2.jpg"]


@pytest.mark.parametrize(
    ("files", "settings", "words", "not_said"),
    [
        (["a/cat/1.jpg"], {"folders": {"TRAIN": ["a", "zzz"]}}, "Correct its path", "set `folders"),
        (["train.X1/cat/1.jpg"], {"folders": {"TRAIN": "train.X*"}}, "X* does not exist", "labels"),
        ([*CLASSES, "val/1.jpg", "valid/cat/1.jpg"], {}, "is in valid/, set `folders", "labels"),
        (
            [*CLASSES, "val/1.jpg", "val/labels/x.txt"],
            {},
            "beside these folders: sort them into one folder per class",
            "sort them into the folders",
        ),
        (
            ["train/images/1.jpg", "train/labels/1.txt"],
            {"splits": ["TRAIN"]},
            "for instance `folders: {TRAIN: train/images}`",
            "labels file",
        ),
        (
            ["train/a/a_1.JPEG", "train/.ipynb_checkpoints/"],
            {"splits": ["TRAIN"], "labels": "folders"},
            "A hidden folder (.ipynb_checkpoints) is also a class.",
            "empty_classes",
        ),
        (["train/n01.tar", "val/n01.tar"], {}, "but 1 file (for instance n01.tar)", "labels file"),
        (
            ["trainval/cat/1.jpg", "test/3.jpg"],
            {},
            "TRAIN is in trainval/, set `folders",
            "labels file",
        ),
    ],
)
def test_advice_is_about_what_lies_there(
    files: list[str], settings: dict[str, object], words: str, not_said: str, tmp_path: Path
) -> None:
    make_tree(tmp_path / "root", files)
    (tmp_path / "root/labels.txt").unlink()
    with pytest.raises(MetadataError) as refusal:
        dump_extra(tmp_path / "root", tmp_path / "e", **{"splits": ["TRAIN", "VAL"], **settings})
    assert words in str(refusal.value)
    assert not_said not in str(refusal.value)
