"""Views: DINOv3 finds each image by the path it rebuilds, whatever the layout of the dataset."""

import os
import shutil
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from random import Random
from unittest.mock import patch

import pytest
from dinov3_metadata.addresses import trailing_number
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.fingerprint import Record, folder_state, read_record, write_record
from dinov3_metadata.layouts import LAYOUTS, imagenet, recognise
from dinov3_metadata.paths import path_of, work_folder
from dinov3_metadata.readdir import Listing, list_folder
from dinov3_metadata.run import dump_extra
from dinov3_metadata.stages import sides, source
from dinov3_metadata.stages.links import MARK
from dinov3_metadata.stages.sweep import sweep
from dinov3_metadata.stages.view import View
from dinov3_metadata.walk import visit
from helpers import digests, exchange, make_tree, open_path

FOLDER = [
    "train/cat/IMG_0012.jpg",
    "train/cat/IMG_0013.PNG",
    "train/cat/a b/IMG_0012.jpg",
    "train/cat/no number.webp",
    "train/cat/.DS_Store",
    "train/狗 und mehr/狗_4294967296.jpeg",
    "train/狗 und mehr/狗_7.bmp",
    "train/.DS_Store",
    "train/.thumbnails/1.jpg",
]


class Linker:
    """A dataset and the view of one split of it."""

    def __init__(self, tmp_path: Path, files: Iterable[str], layout: str, split: str) -> None:
        self.dataset, self.root = make_tree(tmp_path / "数据 set", files), tmp_path / "view"
        self.extra = tmp_path / "extra"
        self.layout, self.split, self.noted, self.retired = layout, split, None, []
        self.link()

    def link_only(self) -> View:
        """Bring the view up to date, as a run does that publishes nothing."""
        view = View(
            str(self.dataset),
            str(self.root),
            extra=str(self.extra),
            split=self.split,
            layout=self.layout,
        )
        self.noted = view.link(self.noted, retired=self.retired)
        self.retired = view.numbers.retired
        return view

    def link(self) -> tuple[int, int]:
        """Bring the view up to date, as a run does that publishes; how many links came and went."""
        before = self.all_links()
        added = self.link_only().numbers.added
        self.sweep()
        return added, len(before - self.all_links())

    def sweep(self) -> None:
        """Remove the retired links, as a run does that publishes."""
        state = {"split": self.split, "view": "view", "tree": "tree"}
        for name in ("view", "folders"):
            path = Path(path_of(self.extra, name, **state))
            path.parent.mkdir(parents=True, exist_ok=True)
            write_record(path, Record("", self.noted, retired=tuple(self.retired)))
        sweep(self.extra, str(self.root), str(self.dataset), {self.split: state})
        record = read_record(path_of(self.extra, "view", **state))
        self.noted, self.retired = record.folders, record.retired
        shutil.rmtree(work_folder(self.extra))

    def all_links(self) -> set[str]:
        """The paths of all links in the view."""
        return {str(path) for path in self.root.rglob("*") if path.is_symlink()}

    def links(self) -> dict[str, str]:
        """Path in the view -> path in the dataset, of each image of the split."""
        return {
            str(path.relative_to(self.root)): os.path.relpath(os.path.realpath(path), self.dataset)
            for path in sorted((self.root / self.split.lower()).rglob("*"))
            if path.is_file()
        }


def link(dataset: Path, root: Path, split: str, layout: str) -> None:
    """Make or update a view that belongs to no metadata."""
    View(str(dataset), str(root), extra="", split=split, layout=layout).link()


@pytest.fixture
def folder(tmp_path: Path) -> Linker:
    return Linker(tmp_path, FOLDER, "folder", "TRAIN")


def test_own_numbers_are_kept_where_they_are_unique(folder: Linker) -> None:
    links = folder.links()
    assert links["train/cat/cat_13.JPEG"] == "train/cat/IMG_0013.PNG"
    assert links["train/狗 und mehr/狗 und mehr_7.JPEG"] == "train/狗 und mehr/狗_7.bmp"
    assert sorted(links.values()) == sorted(
        name for name in FOLDER if ".DS_Store" not in name and "thumbnails" not in name
    )
    assert len(links) == 6


def test_an_image_keeps_its_number(folder: Linker) -> None:
    before = folder.links()
    assert folder.link() == (0, 0)
    make_tree(folder.dataset, ["train/cat/0.jpg", "train/cat/again 13.jpg", "train/owl/1.jpg"])
    assert folder.link() == (3, 0)
    after = folder.links()
    assert before.items() <= after.items()
    assert after["train/owl/owl_1.JPEG"] == "train/owl/1.jpg"
    (folder.dataset / "train/cat/IMG_0013.PNG").unlink()
    (folder.dataset / "train/cat/no number.webp").rename(
        folder.dataset / "train/owl/no number.webp"
    )
    assert folder.link() == (1, 2)
    kept = {
        path for path, image in after.items() if "IMG_0013" not in image and "no nu" not in image
    }
    assert kept <= folder.links().keys()
    assert set(folder.links().values()) == {
        str(path.relative_to(folder.dataset))
        for path in (folder.dataset / "train").rglob("*.*")
        if path.is_file() and "/." not in str(path)
    }


@pytest.mark.parametrize("seed", range(3))
def test_random_edits(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    linker = Linker(tmp_path, ["train/cat/1.jpg", "train/owl/x.png"], "folder", "TRAIN")
    train = linker.dataset / "train"
    names = ["1.jpg", "01.png", "IMG_7.JPG", "x.webp", "cat_3.JPEG", "7.bmp", "狗_2.jpg"]
    for _ in range(40):
        before = {image: path for path, image in linker.links().items()}
        images = sorted(path for path in train.rglob("*.*") if path.is_file())
        to = train / random.choice(["cat", "owl/deep", "狗 x", "狗 x/a.b"]) / random.choice(names)
        one = random.choice(images)
        to.parent.mkdir(parents=True, exist_ok=True)
        match random.choice(["add", "add", "move", "remove", "replace"]):
            case "add":
                to.touch()
            case "move":
                os.rename(one, to)
            case "remove":
                one.unlink()
            case "replace":
                shutil.copytree(one.parent, tmp_path / "copy")
                shutil.rmtree(one.parent)
                os.rename(tmp_path / "copy", one.parent)
                os.utime(one.parent, (1, 1))
        for folder in list(train.iterdir()):
            if not any(path.is_file() for path in folder.rglob("*")):
                shutil.rmtree(folder)
        make_tree(linker.dataset, ["train/owl/stays.jpg"])
        linker.link()
        images = {str(path.relative_to(linker.dataset)) for path in train.rglob("*.*")}
        after = {image: path for path, image in linker.links().items()}
        assert after.keys() == {image for image in images if (linker.dataset / image).is_file()}
        assert {image: after[image] for image in after if image in before} == {
            image: before[image] for image in after if image in before
        }


def test_folders_that_go(folder: Linker) -> None:
    os.rename(folder.dataset / "train/cat/a b", folder.dataset / "train/cat/c")
    assert folder.link() == (1, 1)
    for path in sorted((folder.dataset / "train/cat").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (folder.dataset / "train/cat").rmdir()
    assert folder.link() == (0, 4)
    assert [path.name for path in (folder.root / "train").iterdir()] == ["狗 und mehr"]


def test_links_that_were_tampered_with_are_put_back(folder: Linker) -> None:
    before = folder.links()
    (folder.root / "train/cat/cat_13.JPEG").unlink()
    (folder.root / "train/cat/cat_99.JPEG").symlink_to(folder.dataset / "nowhere")
    assert folder.link() == (1, 1)
    assert folder.links() == before


def test_a_file_in_the_view_that_is_no_link_is_left_alone(folder: Linker) -> None:
    (folder.root / "train/cat/mine.txt").write_text("mine")
    with pytest.raises(MetadataError, match=r"mine.txt is not a link into"):
        folder.link()


def test_nothing_of_others_is_removed(folder: Linker) -> None:
    link = folder.root / "train/owl/owl_1.JPEG"
    link.parent.mkdir()
    link.symlink_to("/elsewhere/owl.jpg")
    with pytest.raises(MetadataError, match=r"owl_1.JPEG is not a link into"):
        folder.link()
    assert os.readlink(link) == "/elsewhere/owl.jpg"


@pytest.mark.parametrize(
    "where", [".", "train", "train/cat", "val/v", "alias", "alias/train/x", ".."]
)
def test_a_view_over_the_dataset_is_refused(where: str, tmp_path: Path) -> None:
    dataset = make_tree(tmp_path / "a/set", FOLDER)
    (dataset / "alias").symlink_to(dataset)
    before = sorted(dataset.rglob("*"))
    with pytest.raises(MetadataError, match=r"The view .* is inside .*, or .* is inside the view"):
        link(dataset, Path(os.path.normpath(f"{dataset}/{where}")), "TRAIN", "folder")
    assert sorted(dataset.rglob("*")) == before


def test_numbers_do_not_depend_on_the_order_of_folders(tmp_path: Path) -> None:
    files = ["train/c/a/photo.jpg", "train/c/b/0.jpg", "train/c/d/5.jpg", "train/c/e/6.jpg"]
    linker = Linker(tmp_path, files, "folder", "TRAIN")
    assert linker.links() == {
        "train/c/c_0.JPEG": "train/c/b/0.jpg",
        "train/c/c_1.JPEG": "train/c/a/photo.jpg",
        "train/c/c_5.JPEG": "train/c/d/5.jpg",
        "train/c/c_6.JPEG": "train/c/e/6.jpg",
    }
    os.rename(linker.dataset / "train/c/d", linker.dataset / "train/c/f")
    linker.link()
    assert linker.links()["train/c/c_5.JPEG"] == "train/c/f/5.jpg"
    os.rename(linker.dataset / "train/c/f/5.jpg", linker.dataset / "train/c/a/5.jpg")
    linker.link()
    assert linker.links()["train/c/c_5.JPEG"] == "train/c/a/5.jpg"


def test_a_dataset_that_moves_keeps_its_numbers(folder: Linker, tmp_path: Path) -> None:
    make_tree(folder.dataset, ["train/cat/0.jpg"])
    folder.link()
    before = folder.links()
    folder.dataset.rename(tmp_path / "moved")
    folder.dataset = tmp_path / "moved"
    folder.noted = None
    assert folder.link()[1] == 0
    assert folder.links() == before
    assert all(os.path.exists(path) for path in folder.root.rglob("*.JPEG"))


def test_a_link_to_a_class_that_goes_dead(tmp_path: Path) -> None:
    make_tree(tmp_path / "elsewhere", ["dog/1.jpg"])
    linker = Linker(tmp_path, ["train/cat/1.jpg"], "folder", "TRAIN")
    (linker.dataset / "train/dog").symlink_to(tmp_path / "elsewhere/dog")
    linker.link()
    assert (linker.root / "train/dog/dog_1.JPEG").exists()
    (tmp_path / "elsewhere/dog").rename(tmp_path / "elsewhere/gone")
    linker.link()
    assert os.listdir(linker.root / "train") == ["cat"]


def test_empty_classes_are_named_as_in_the_dataset(tmp_path: Path) -> None:
    files = ["train/cat/1.jpg", "train/dog/.DS_Store", "train/owl/deep/"]
    with pytest.raises(
        MetadataError, match=r"2 class folders in .*set/train with no images(?s:.*)dog\n"
    ):
        Linker(tmp_path, files, "folder", "TRAIN")
    with pytest.raises(MetadataError, match=r"TEST split folder .*set/test contains no"):
        Linker(tmp_path, ["test/1.txt"], "folder", "TEST")


def test_a_view_belongs_to_one_extra(folder: Linker, tmp_path: Path) -> None:
    Path(work_folder(folder.extra)).mkdir(parents=True)
    folder.extra = tmp_path / "other"
    with pytest.raises(MetadataError, match=r"belongs to the metadata in .*extra\."):
        folder.link()
    Path(work_folder(tmp_path / "extra")).rmdir()
    assert folder.link() == (0, 0)


def test_a_folder_that_is_no_view_is_left_alone(tmp_path: Path) -> None:
    dataset = make_tree(tmp_path / "set", ["train/cat/1.jpg"])
    for mine in ("view/train/picks/best.png", "other/train"):
        path = tmp_path / mine
        path.parent.mkdir(parents=True)
        path.symlink_to(dataset / "train/cat")
        root = tmp_path / mine.partition("/")[0]
        with pytest.raises(
            MetadataError, match="already exists and is not a view made by this program"
        ):
            link(dataset, root, "TRAIN", "folder")
        assert path.is_symlink()


def test_a_dataset_that_moves_up_a_folder_keeps_its_numbers(tmp_path: Path) -> None:
    linker = Linker(tmp_path / "up", ["train/cat/a.jpg", "train/cat/b.jpg"], "folder", "TRAIN")
    (linker.dataset / "train/cat/a.jpg").unlink()
    linker.link()
    (linker.dataset / "train").rename(linker.dataset.parent / "train")
    linker.dataset, linker.noted = linker.dataset.parent, None
    assert linker.link()[1] == 0
    assert linker.links() == {"train/cat/cat_1.JPEG": "train/cat/b.jpg"}


def test_a_class_of_a_hidden_folder(tmp_path: Path) -> None:
    make_tree(tmp_path / ".photos", ["1.jpg"])
    link(tmp_path / ".photos", tmp_path / "view", "TRAIN", "flat")
    assert (tmp_path / "view/train/photos/photos_1.JPEG").exists()


def test_another_layout_leaves_no_classes_behind(tmp_path: Path) -> None:
    linker = Linker(tmp_path, ["train/cat/1.jpg", "train/dog/1.jpg"], "folder", "TRAIN")
    linker.layout, linker.noted = "flat", None
    linker.link()
    assert os.listdir(linker.root / "train") == ["train"]


def test_a_flat_root_holds_neither_views_nor_other_splits(tmp_path: Path) -> None:
    linker = Linker(tmp_path, ["a.jpg", "b/1.jpg", "val/2.jpg", "test/3.jpg"], "flat", "TRAIN")
    for root in (linker.dataset / "extra/view", linker.dataset / "view"):
        for _ in range(2):
            link(linker.dataset, root, "TRAIN", "flat")
        assert len(list((root / "train" / linker.dataset.name).iterdir())) == 2


def test_a_tiny_class_without_its_images_folder(tmp_path: Path) -> None:
    files = ["train/n01/images/n01_0.JPEG", "train/n02/n02_boxes.txt"]
    with pytest.raises(MetadataError, match=r"n02 contains no images/"):
        Linker(tmp_path, files, "tiny-imagenet", "TRAIN")


def test_a_tiny_class_that_loses_its_images_folder(snakemake, tmp_path: Path) -> None:
    files = [f"train/n0{i}/images/n0{i}_0.JPEG" for i in (1, 2)] + ["val/images/", "wnids.txt"]
    dataset = make_tree(tmp_path / "set", files, "n01,one\nn02,two\n")
    options = {"root": dataset, "extra": tmp_path / "extra", "splits": "[TRAIN]"}
    snakemake(**options)
    os.rename(dataset / "train/n02/images", dataset / "train/n02/pictures")
    assert "n02 contains no images/" in snakemake(**options, fails=True).stdout


@pytest.mark.parametrize(
    "row", ["val_0.JPEG\t", "val_0.JPEG\t.", "val_0.JPEG\ta/b", "val_0.JPEG\ta\0b"]
)
def test_annotations_that_tell_no_class(row: str, tmp_path: Path) -> None:
    dataset = make_tree(tmp_path / "set", ["val/images/val_0.JPEG"])
    for text, message in {
        f"val_0.JPEG\tn01\n\n{row}\tx": "line 3: .* does not name an image and its class",
        "val_0.JPEG\tn01\t1\nval_0.JPEG\tn02\t1": "line 2: .* gives val_0.JPEG another class",
    }.items():
        (dataset / "val/val_annotations.txt").write_text(text)
        with pytest.raises(MetadataError, match=message):
            link(dataset, tmp_path / "view", "VAL", "tiny-imagenet")


def test_a_class_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=r"too long: the names of its images would have 256"):
        Linker(tmp_path, [f"train/{'x' * 240}/1.jpg"], "folder", "TRAIN")


def test_all_images_of_a_flat_folder_are_one_class(tmp_path: Path) -> None:
    flat = Linker(tmp_path, ["a.jpg", "b/c 3.png", "d/e/f.gif"], "flat", "TRAIN")
    name = flat.dataset.name
    assert flat.links() == {
        f"train/{name}/{name}_0.JPEG": "a.jpg",
        f"train/{name}/{name}_3.JPEG": "b/c 3.png",
    }


def test_kaggle(tmp_path: Path) -> None:
    data = "ILSVRC/Data/CLS-LOC"
    files = [f"{data}/train/n01/n01_{i}.JPEG" for i in (3, 10)]
    files += [f"{data}/val/ILSVRC2012_val_0000000{i}.JPEG" for i in (1, 2)]
    files += [f"{data}/test/ILSVRC2012_test_00000001.JPEG"]
    train = Linker(tmp_path, files, "kaggle", "TRAIN")
    assert train.links().keys() == set()  # links to folders are not followed by rglob
    assert os.listdir(train.root / "train/n01") == os.listdir(train.dataset / data / "train/n01")
    solution = "ImageId,PredictionString\nILSVRC2012_val_00000001,n02 1 2 3 4\n"
    (train.dataset / "LOC_val_solution.csv").write_text(solution)
    with pytest.raises(MetadataError, match=r"1 image .* with no class(?s:.)*val_00000002"):
        Linker(tmp_path, files, "kaggle", "VAL")
    (train.dataset / "LOC_val_solution.csv").write_text(
        f"{solution}ILSVRC2012_val_00000002,n01 5 6 7 8 n01 1 1 1 1\n"
    )
    val = Linker(tmp_path, files, "kaggle", "VAL")
    assert val.links() == {
        "val/n01/ILSVRC2012_val_00000002.JPEG": f"{data}/val/ILSVRC2012_val_00000002.JPEG",
        "val/n02/ILSVRC2012_val_00000001.JPEG": f"{data}/val/ILSVRC2012_val_00000001.JPEG",
    }
    test = Linker(tmp_path, files, "kaggle", "TEST")
    assert os.listdir(test.root / "test") == ["ILSVRC2012_test_00000001.JPEG"]


def test_tiny_imagenet(tmp_path: Path) -> None:
    files = ["train/n01/images/n01_0.JPEG", "train/n01/n01_boxes.txt", "val/images/val_0.JPEG"]
    files += ["val/images/val_1.JPEG", "test/images/test_7.JPEG", "train/.DS_Store", "wnids.txt"]
    train = Linker(tmp_path, files, "tiny-imagenet", "TRAIN")
    assert os.listdir(train.root / "train/n01") == ["n01_0.JPEG"]
    rows = "val_0.JPEG\tn01\t0\t0\t1\t1\nval_1.JPEG\tn02\t0\t0\t1\t1\n"
    (train.dataset / "val/val_annotations.txt").write_text(rows)
    val = Linker(tmp_path, files, "tiny-imagenet", "VAL")
    assert val.links() == {
        "val/n01/ILSVRC2012_val_00000000.JPEG": "val/images/val_0.JPEG",
        "val/n02/ILSVRC2012_val_00000001.JPEG": "val/images/val_1.JPEG",
    }
    assert recognise(train.dataset) == "tiny-imagenet"
    test = Linker(tmp_path, files, "tiny-imagenet", "TEST")
    assert test.links() == {"test/ILSVRC2012_test_00000007.JPEG": "test/images/test_7.JPEG"}


@pytest.mark.parametrize(
    ("files", "layout"),
    [
        (["train/n01/n01_1.JPEG", "train/n02/x.jpg"], "imagenet"),
        (["val/n01/ILSVRC2012_val_00000001.JPEG"], "imagenet"),
        (["ILSVRC/Data/CLS-LOC/train/n01/n01_1.JPEG"], "kaggle"),
        (["ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG"], "kaggle"),
        (["train/n01/images/n01_1.JPEG", "val/images/val_0.JPEG", "wnids.txt"], "tiny-imagenet"),
        (["train/cat/1.jpg", "val/images/1.jpg"], "folder"),
        (["train/cat/1.jpg", "val/cat/1.jpg", "wnids.txt"], "folder"),
        (["train/n01/1.jpg"], "folder"),
        (["train/cat/cat_7.JPEG", "train/cat/1.jpg", "train/cat/2.jpg"], "folder"),
        (["train/n01/deep/er/1.jpg"], "folder"),
        (["1.jpg"], "flat"),
        (["train/1.jpg", "train/b/1.jpg"], "folder"),
        (["train/1.jpg"], "flat"),
        (["1.jpg", "deep/2.jpg"], "flat"),
        (["imagenet/train/n01/n01_1.JPEG"], "imagenet"),
        (["readme.txt"], "imagenet"),
        (["train/n01/"], "imagenet"),
        (["train/a000x/1.jpg", *(f"train/a{i:03}.txt" for i in range(100))], "folder"),
        (["train/a/x.jpg", "train/b/b_1.JPEG", "train/b/b_2.JPEG"], "imagenet"),
    ],
)
def test_layouts_are_recognised(files: list[str], layout: str, tmp_path: Path) -> None:
    assert recognise(make_tree(tmp_path, files)) == layout


def test_a_few_images_show_that_a_folder_is_imagenet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagenet, "ENOUGH", 2)
    named = [f"train/a/a_{i}.JPEG" for i in range(4)]
    make_tree(tmp_path, [*named, *(f"train/b/{i}.jpg" for i in range(9))])
    assert imagenet.recognise(str(tmp_path), {})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_explains_itself(layout: str) -> None:
    assert LAYOUTS[layout].explain()


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("a/IMG_0012.jpg", 12),
        ("12.jpg", 12),
        ("x-9.tar.png", None),
        ("4294967295.png", 2**32 - 1),
        ("4294967296.png", None),
        ("n01_٣.JPEG", None),
        ("none.jpg", None),
    ],
)
def test_own_number(name: str, number: int | None) -> None:
    assert trailing_number(name) == number


def test_a_part_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(
        MetadataError, match=r"The VAL split folder .*val does not exist. The layout folder is"
    ):
        link(tmp_path, tmp_path / "view", "VAL", "folder")


def test_a_link_is_replaced_when_a_special_file_comes_or_goes(tmp_path: Path) -> None:
    """The folder of the view must change, as the scan lists no other."""
    linker = Linker(tmp_path, ["train/cat/1.jpg", "train/cat/2.jpg"], "folder", "TRAIN")
    folder, image = linker.root / "train/cat", linker.dataset / "train/cat/2.jpg"
    for kind in ("FIFO", "file", "FIFO"):
        before = folder_state(folder)
        exchange(image, kind)
        assert linker.link() == (1, 0)
        assert folder_state(folder) != before
        assert os.path.samefile(folder / "cat_2.JPEG", image)
    assert linker.link() == (0, 0)


@pytest.mark.parametrize("layout", ["kaggle", "tiny-imagenet"])
def test_a_class_behind_a_link_that_comes_and_goes(layout: str, tmp_path: Path) -> None:
    """In a view of whole class folders, though no folder of the dataset changes."""
    train, inside = {
        "kaggle": ("ILSVRC/Data/CLS-LOC/train", ""),
        "tiny-imagenet": ("train", "images/"),
    }[layout]
    dataset = make_tree(tmp_path / "set", [f"{train}/n01/{inside}n01_1.JPEG"])
    (dataset / train / "n02").symlink_to(tmp_path / "n02")
    for kind in ("file", "folder", "file", "folder", "nothing"):
        exchange(tmp_path / "n02", kind)
        if kind == "folder" and inside:
            make_tree(tmp_path / "n02", ["images/n02_7.JPEG"])
        for extra in ("extra", f"fresh {kind}"):
            if extra != "extra":
                shutil.rmtree(tmp_path / extra, ignore_errors=True)
            options = {"layout": layout, "unaddressable": "skip"}
            dump_extra(dataset, tmp_path / extra, ["TRAIN"], "folders", **options)
        assert digests(tmp_path / "extra") == digests(tmp_path / f"fresh {kind}")


DAMAGED = [b"null", b'[1, {"a": 2}]', b"[" * 100_000, b"\xff", b"[]", b'{"roots": 3}', b" " * 2**21]


@pytest.mark.parametrize("mark", DAMAGED)
def test_a_damaged_mark_says_nothing(mark: bytes, folder: Linker) -> None:
    before = folder.links()
    (folder.root / ".dinov3-view-TRAIN").write_bytes(mark)
    assert folder.link() == (0, 0)
    assert folder.links() == before


@pytest.mark.parametrize("name", [MARK, f"{MARK}-TRAIN"])
@pytest.mark.parametrize("kind", ["link", "dead link", "FIFO", "folder"])
def test_a_mark_that_is_not_a_file_is_refused(
    name: str, kind: str, folder: Linker, tmp_path: Path
) -> None:
    path, victim = folder.root / name, tmp_path / "victim"
    path.unlink()
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(victim)
    if kind == "link":
        victim.write_text("mine")
    with pytest.raises(MetadataError, match=rf"{name} is a .*Remove it"):
        folder.link_only()
    assert victim.exists() == (kind == "link")
    assert kind != "link" or victim.read_text() == "mine"


@pytest.mark.parametrize("place", ["", "train", "train/cat"])
@pytest.mark.parametrize("first", [True, False])
def test_links_that_others_planted_are_refused(place: str, first: bool, tmp_path: Path) -> None:
    linker = Linker(tmp_path, FOLDER, "folder", "TRAIN")
    victim = make_tree(tmp_path / "victim", ["keep.txt", "cat/keep.txt", "train/keep.txt"])
    path = linker.root / place
    shutil.rmtree(path)
    path.symlink_to(victim)
    if first:
        linker.noted, linker.retired = None, []
    before = sorted(victim.rglob("*"))
    with pytest.raises(MetadataError, match=path.name):
        linker.link_only()
    assert sorted(victim.rglob("*")) == before
    assert path.is_symlink()


def test_only_the_temporary_link_of_a_killed_run_is_removed(folder: Linker) -> None:
    others = [folder.root / "train/cat/.7.tmp", folder.root / f".{'a' * 32}.tmp"]
    for path in others:
        path.symlink_to("mine")

    def kill(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    folder.dataset.rename(folder.dataset.parent / "moved")
    folder.dataset, folder.noted = folder.dataset.parent / "moved", None
    with patch("dinov3_metadata.stages.links.os.replace", kill), pytest.raises(KeyboardInterrupt):
        folder.link_only()
    assert len(list(folder.root.glob(".*.tmp"))) == 2
    folder.link()
    assert list(folder.root.glob(".*.tmp")) == others[1:]
    assert all(path.is_symlink() for path in others)


def test_links_are_on_the_disk_before_the_record(tmp_path: Path) -> None:
    synced: list[Path] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(open_path(descriptor, tmp_path))
        real(descriptor)

    with patch("os.fsync", fsync):
        linker = Linker(tmp_path, FOLDER, "folder", "TRAIN")
    first = [os.path.relpath(path, linker.root) for path in synced]
    for place in (".", "train", "train/cat", "train/狗 und mehr", f"{MARK}-TRAIN", ".."):
        assert place in first


def test_a_dataset_that_will_not_hold_still_ends_the_view(folder: Linker) -> None:
    numbers = count(100)

    def visit_and_edit(*what: object) -> Listing | None:
        make_tree(folder.dataset, [f"train/cat/{next(numbers)}.jpg"])
        return visit(*what)

    make_tree(folder.dataset, ["train/cat/99.jpg"])
    with (
        patch("dinov3_metadata.stages.source.visit", visit_and_edit),
        pytest.raises(MetadataError, match=r"set/train keeps changing while its images"),
    ):
        folder.link_only()


def test_images_beside_the_class_folders_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    linker = Linker(tmp_path, ["train/stray.jpg", "train/cat/1.jpg"], "folder", "TRAIN")
    assert linker.links() == {"train/cat/cat_1.JPEG": "train/cat/1.jpg"}
    folder = linker.dataset / "train"
    message = (
        f"Ignored, because they are beside the class folders in {folder}: 1 image (for instance "
    )
    assert f"{message}stray.jpg)" in caplog.text


def test_links_to_where_the_dataset_was_are_retired_as_they_are(
    folder: Linker, tmp_path: Path
) -> None:
    before = {path: os.readlink(path) for path in folder.all_links()}
    shutil.copytree(folder.dataset, tmp_path / "copy")
    (tmp_path / "copy/train/cat/IMG_0013.PNG").unlink()
    folder.dataset, folder.noted = tmp_path / "copy", None
    folder.link_only()
    path = str(folder.root / "train/cat/cat_13.JPEG")
    assert os.readlink(path) == before[path]
    assert folder.link_only().numbers.retired == ["cat/cat_13.JPEG"]
    folder.link()
    assert not os.path.lexists(path)


def test_a_folder_that_others_change_while_links_are_removed_is_looked_at_again(
    folder: Linker,
) -> None:
    (folder.dataset / "train/cat/IMG_0013.PNG").unlink()
    stranger = folder.root / "train/cat/cat_99.JPEG"
    with patch(
        "dinov3_metadata.stages.sweep.wait_for_a_tick", lambda _: stranger.symlink_to("mine")
    ):
        folder.link()
    with pytest.raises(MetadataError, match=r"cat_99.JPEG is not a link into"):
        folder.link_only()
    stranger.unlink()
    assert folder.link() == (0, 0)


def test_the_umask_alone_says_who_may_read_the_mark(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Linker(tmp_path, ["train/cat/1.jpg"], "folder", "TRAIN")
    finally:
        os.umask(before)
    assert (tmp_path / f"view/{MARK}-TRAIN").stat().st_mode & 0o777 == 0o666


def test_a_folder_of_the_view_that_somebody_removed_stops_no_sweep(tmp_path: Path) -> None:
    files = [f"train/{name}/{name}_{i}.jpg" for name in ("cat", "dog") for i in (1, 2)]
    folder = Linker(tmp_path, files, "folder", "TRAIN")
    for name in ("cat", "dog"):
        (folder.dataset / f"train/{name}/{name}_1.jpg").unlink()
    assert folder.link_only().numbers.retired == ["cat/cat_1.JPEG", "dog/dog_1.JPEG"]
    shutil.rmtree(folder.root / "train/cat")
    folder.sweep()
    assert os.listdir(folder.root / "train/dog") == ["dog_2.JPEG"]


def test_a_link_of_a_flat_split_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    folder = Linker(tmp_path, ["test/a.jpg", "test/b.jpg"], "folder", "TEST")
    before = folder.links()
    Path(min(folder.all_links())).unlink()
    folder.link()
    assert folder.links() == before


def test_a_folder_that_vanishes_before_its_images_are_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Linker(tmp_path, ["train/cat/1.jpg", "train/dog/1.jpg"], "folder", "TRAIN")
    make_tree(folder.dataset, ["train/cat/2.jpg", "train/dog/2.jpg", "train/dog/deep/3.jpg"])

    def later(path: str, *others: object) -> Listing:
        shutil.rmtree(folder.dataset / "train/dog/deep", ignore_errors=True)
        return list_folder(path, *others)

    monkeypatch.setattr(sides, "list_folder", later)
    folder.link()
    assert sorted(folder.links().values()) == sorted(
        str(path.relative_to(folder.dataset)) for path in folder.dataset.rglob("*.jpg")
    )


def test_a_view_starts_from_what_the_last_one_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_tree(tmp_path / "root", [f"train/{name}/1.jpg" for name in ("cat", "dog", "owl")])
    (root / "labels.txt").unlink()
    listed: list[str] = []

    def note(folder: Path, split: str, name: str, *others: object) -> Listing | None:
        listed.append(name)
        return visit(folder, split, name, *others)

    monkeypatch.setattr(source, "visit", note)
    dump_extra(root, tmp_path / "extra", ["TRAIN"])
    assert sorted(listed) == ["", "cat", "dog", "owl"]
    listed.clear()
    (root / "train/dog/2.jpg").touch()
    dump_extra(root, tmp_path / "extra", ["TRAIN"])
    assert listed == ["dog"]
