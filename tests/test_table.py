"""Tables of paths: the same numbers and arrays as with a view, and no link anywhere."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from dinov3_metadata import guarding
from dinov3_metadata.addresses import SPLITS, image_path, trailing_number
from dinov3_metadata.checks.check import check
from dinov3_metadata.dataset import ImageNetMetadata
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.loop import known_settings
from dinov3_metadata.named import Split
from dinov3_metadata.packed import order_of, trailing_numbers
from dinov3_metadata.path_table import PathTable
from dinov3_metadata.paths import file_name
from dinov3_metadata.readdir import behind
from dinov3_metadata.run import dump_extra
from dinov3_metadata.stages.table import Table
from helpers import make_tree
from hypothesis import example, given
from hypothesis import strategies as st

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


def fail(pair: Pair, dice: Random) -> None:
    """Let runs publish nothing, while images come and go: at the links, the scan or the entries."""
    cat, labels = pair.dataset / "train/cat", pair.dataset / "labels.txt"
    skips = "unaddressable" in pair.settings
    for where in dice.sample(["entries", *["links", "scan"] * (not skips)], 1 if skips else 2):
        make_images(cat, came := [f"{dice.choice('amz')} {where}.jpg", f"{where} 1.jpg"])
        broken = {"links": cat.parent / "empty", "scan": cat / "to nothing.jpg", "entries": labels}
        if where == "links":
            broken[where].mkdir()
        elif where == "scan":
            broken[where].symlink_to("nothing")
        else:
            labels.write_text("unknown,unknown\n")
        says = {"links": "no images", "scan": "cannot be opened", "entries": "no row"}
        assert says[where] in pair.run()
        for path in (broken[where], *(cat / name for name in came if dice.random() < 0.7)):
            path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize("way", range(2))
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
        if dice.random() < 0.4:
            fail(both, dice)
        assert both.run() == ""


def test_images_that_return_before_a_publication_have_their_numbers_again(
    pair: Callable[..., Pair],
) -> None:
    names = ["cat/a.jpg", "cat/b.jpg", "dog/x.jpg", "dog/y.jpg", "owl/1.jpg"]
    both = pair(*(f"train/{name}" for name in names), splits=["TRAIN"])
    assert both.run() == ""
    train, labels = both.dataset / "train", both.dataset / "labels.txt"
    for path in ("cat/a.jpg", "dog"):
        (train / path).rename(both.dataset / os.path.basename(path))
    labels.write_text("unknown,unknown\n")
    for more in ("owl/2.jpg", "owl/3.jpg"):  # two runs that publish nothing
        (train / more).touch()
        assert "no row" in both.run()
    labels.unlink()
    for path in ("cat/a.jpg", "dog"):
        (both.dataset / os.path.basename(path)).rename(train / path)
    make_images(train / "cat", ["A.jpg"])
    make_images(train / "dog", ["A.jpg"])
    assert both.run() == ""
    assert np.load(both.extras["none"] / "entries-TRAIN.npy")["actual_index"].tolist() == [
        *(0, 1, 2),
        *(0, 1, 2),
        *(1, 2, 3),
    ]
    assert both.paths("TRAIN")[2] == "train/cat/A.jpg"
    for name in ("A.jpg", "b.jpg"):
        (train / "cat" / name).unlink()
    assert both.run() == ""  # which publishes, so that their numbers are free
    make_images(train / "cat", ["new.jpg"])
    assert both.run() == ""
    assert both.paths("TRAIN")[1] == "train/cat/new.jpg"


def test_a_run_that_publishes_nothing_gives_no_number_away(pair: Callable[..., Pair]) -> None:
    both = pair("train/cat/b.jpg", "train/cat/c.jpg", splits=["TRAIN"])
    cat, gone = both.dataset / "train/cat", both.dataset / "train/cat/gone.jpg"
    for came, numbers in (("a.jpg", [0, 1]), ("d.jpg", [0, 1, 2])):  # the first has published none
        make_images(cat, [came])
        gone.symlink_to("nothing")
        assert "cannot be opened" in both.run()
        gone.unlink()
        (cat / came).unlink()
        make_images(cat, [f"e{came}"] * (came == "d.jpg"))
        assert both.run() == ""
        rows = np.load(both.extras["none"] / "entries-TRAIN.npy")
        assert rows["actual_index"].tolist() == numbers


TINY = [f"train/n0{i}/images/n0{i}_{j}.JPEG" for i in (1, 2) for j in (0, 3, 10)]
TINY += ["val/images/val_0.JPEG", "val/images/val_1.JPEG", "test/images/test_3.JPEG"]
KAGGLE = [f"ILSVRC/Data/CLS-LOC/train/n0{i}/n0{i}_{j}.JPEG" for i in (1, 2) for j in (2, 10, 9)]
KAGGLE += [f"ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_0000000{i}.JPEG" for i in (1, 2, 3)]
KAGGLE += ["ILSVRC/Data/CLS-LOC/test/ILSVRC2012_test_00000001.JPEG"]
OWN = ["train/cat/IMG 2.jpg", "train/cat/b/IMG 2.png", "train/dog/x.jpg", "val/cat/7.jpg"]
ELSEWHERE = ["train.X1/n01/n01_5.JPEG", "train.X2/n01/n01_10.JPEG", "train.X2/n02/n02_1.JPEG"]
LAYOUTS = {
    "folder": (OWN, {}),
    "all": ([*OWN, "val/dog/a.jpg", "test/q.jpg", "test/deep/r 12.png"], {"splits": SPLITS}),
    "empty": ([*OWN, "train/owl/", "val/owl/"], {"empty_classes": "keep"}),
    "images beside classes": ([*OWN, "train/loose.jpg", "train/.hidden/1.jpg"], {}),
    "flat": (["train/a.jpg", "train/b/7.jpg", "val/c.jpg"], {"layout": "flat"}),
    "flat root": (["a.jpg", "b/7.jpg"], {"layout": "flat"}),
    "tiny": (TINY, {"splits": SPLITS}),
    "kaggle": (KAGGLE, {"splits": SPLITS}),
    "shards": (
        [*ELSEWHERE, "train.X1/n02/n02_3.JPEG"],
        {"splits": ["TRAIN"], "folders": {"TRAIN": ["train.X1", "train.X2"]}, "labels": "folders"},
    ),
    "elsewhere": (
        ["lern/n01/n01_5.JPEG", "lern/n01/n01_10.JPEG", "test/ILSVRC2012_test_00000001.JPEG"],
        {"splits": ["TRAIN", "TEST"], "folders": {"TRAIN": "lern"}, "labels": "folders"},
    ),
    "held out": (
        [f"train/n01/n01_{i}.JPEG" for i in range(40)],
        {"holdout": 0.3, "labels": "folders"},
    ),
    "sample": ([*OWN, *(f"train/cat/{i}.webp" for i in range(9))], {"select_per_class": 3}),
}


def annotate(dataset: Path) -> None:
    """Add the files that say which images have which class, if the layout has some."""
    if (dataset / "ILSVRC").exists():
        rows = [f"ILSVRC2012_val_0000000{i},n0{i % 2 + 1} 1 2 3 4\n" for i in (1, 2, 3)]
        (dataset / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(rows))
        (dataset / "LOC_synset_mapping.txt").write_text("n01 cat\nn02 dog\n")
    if (dataset / "val/images").exists():
        (dataset / "val/val_annotations.txt").write_text("val_0.JPEG\tn02\nval_1.JPEG\tn01\n")
        (dataset / "wnids.txt").write_text("n01\nn02\n")
        (dataset / "words.txt").write_text("n01\tcat\nn02\tdog\n")


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout_has_the_same_arrays_as_with_a_view(
    pair: Callable[..., Pair], name: str
) -> None:
    files, settings = LAYOUTS[name]
    both = pair(*files, **settings)
    annotate(both.dataset)
    assert both.run(level="full") == ""
    assert len(list(both.extras["none"].glob("paths-*.npy"))) >= 1
    for split in SPLITS:
        if (both.extras["none"] / file_name("paths", split=split)).exists():
            dataset = ImageNetMetadata(both.dataset, both.extras["none"], split, check="stat")
            paths = [dataset.get_path(i) for i in range(len(dataset))]
            assert paths == [f"{both.dataset}/{path}" for path in both.paths(split)]
            assert all(map(os.path.isfile, paths))
    result = check(both.dataset, both.extras["none"])
    assert result.ok, str(result)
    (both.dataset / files[0]).unlink()
    make_tree(both.dataset, [f"{os.path.dirname(files[1])}/n01_77.JPEG"])
    (both.dataset / "labels.txt").unlink()
    assert both.run() == ""


def test_dinov3_s_own_layout_needs_no_table(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "数据 set")
    chain = dump_extra(root, tmp_path / "extra", SPLITS, view="none")
    assert not chain.tabled
    assert not [*(tmp_path / "extra").glob("paths-*")]


def test_a_number_survives_other_settings_and_the_loss_of_the_work_folder(
    pair: Callable[..., Pair],
) -> None:
    one = pair("train/cat/a.jpg", "train/cat/b.jpg", "train/cat/c.jpg", splits=["TRAIN"])
    assert one.make("none") == ""
    (one.dataset / "train/cat/a.jpg").unlink()
    assert one.make("none", empty_classes="keep") == ""
    entries = one.extras["none"] / "entries-TRAIN.npy"
    assert np.load(entries)["actual_index"].tolist() == [1, 2]
    shutil.rmtree(one.extras["none"] / ".dinov3-metadata")
    assert one.make("none") == ""
    assert np.load(entries)["actual_index"].tolist() == [1, 2]


def test_a_view_in_place_of_a_table_removes_the_table(pair: Callable[..., Pair]) -> None:
    one = pair(*OWN)
    assert one.make("none") == ""
    tables = [*one.extras["none"].glob("paths-*.npy")]
    assert len(tables) == 2
    dump_extra(one.dataset, one.extras["none"])
    assert not any(table.exists() for table in tables)
    assert one.make("none") == ""
    assert all(table.exists() for table in tables)


STEMS = st.text("0123456789a._ 狗\U0001f600\uffee\udcff", min_size=1, max_size=25)


@given(st.lists(STEMS, min_size=1, unique=True))
@example(["0", "00", "7", "4294967295", "4294967296", "0000000000000000000000007", "9" * 30])
def test_numbers_and_order_are_those_of_single_names(stems: list[str]) -> None:
    names = [f"a 5/{stem}{end}" for stem in stems for end in (".jpg", ".JPEG", ".WebP")]
    packed = np.array([os.fsencode(name) for name in names])
    expected = [trailing_number(name) for name in names]
    assert [None if one < 0 else one for one in trailing_numbers(packed).tolist()] == expected
    assert [names[i] for i in order_of(packed).tolist()] == sorted(names)


def test_a_table_that_is_damaged_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "paths-TRAIN.npy")
    np.save(path, np.array([8, 0, 0, 0, 9, 0, 0, 0, 97], "u1"))
    assert [*PathTable(path, 1)] == ["a"]
    for content, rows, why in (
        ([8, 0, 0, 0, 9, 0, 0, 0, 97], 2, "not a table of 2 paths"),
        ([8, 0, 0, 0, 9, 0, 0, 0], 1, "cut off"),
        ([0, 0, 0, 0], 1, "not a table of 1 paths"),
    ):
        np.save(path, np.array(content, "u1"))
        with pytest.raises(ValueError, match=why):
            PathTable(path, rows)
    Path(path).write_text("text")
    with pytest.raises(ValueError, match=r"not an \.npy file"):
        PathTable(path, 1)


def test_full_verification_lists_the_folders_once_more(pair: Callable[..., Pair]) -> None:
    one = pair(*OWN)
    real = Table._list_rest

    def overlook(self: Table, found: Any, changed: set[str]) -> bool:
        for images, special in [self.listed[name] for name in self.listed if name == "cat"]:
            self.listed["cat"] = images[:0], special
        return real(self, found, changed)

    with patch.object(Table, "_list_rest", overlook):
        assert one.make("none", splits=["TRAIN"]) == ""
        (one.dataset / "train/dog/y.jpg").touch()
        said = one.make("none", splits=["TRAIN"], level="full")
    assert "TRAIN: os.scandir finds 4 images in " in said
    assert "1 of them not in the entries (0 skipped):\n  train/cat/IMG 2.jpg\n" in said


def test_check_knows_a_dataset_that_moved(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "top/数据 set", ["train/a b/x.jpg", "train/c/y.jpg", "val/c/z.jpg"])
    (root / "labels.txt").unlink()
    (root / "val/c/gone.jpg").symlink_to("nowhere.jpg")
    dump_extra(root, tmp_path / "top/extra", view="none", unaddressable="skip", layout="folder")
    assert check(root, tmp_path / "top/extra").ok
    (tmp_path / "top").rename(tmp_path / "moved")
    root, extra = tmp_path / "moved/数据 set", tmp_path / "moved/extra"
    assert check(root, extra).ok
    settings = known_settings(str(root), str(extra))
    assert (settings["root"], settings["view"]) == (str(root), "none")
    for path in extra.glob("*-TRAIN.*"):
        path.chmod(0o664)  # as the owner is told to run for a group
    assert check(root, extra).ok
    (root / "train/c/new.jpg").touch()
    result = check(root, extra)
    assert [finding.kind for finding in result.splits[0].findings] == ["stale"]
    (root / "train/c/new.jpg").unlink()
    (root / "train/c/y.jpg").unlink()
    assert not check(root, extra).ok
    os.utime(extra / "entries-TRAIN.npy")
    with pytest.raises(MetadataError, match="not those that were published"):
        guarding.check([Split("TRAIN", str(root), str(extra))])


def test_a_view_and_a_table_take_over_each_others_numbers(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "数据 set", [f"train/c/{name}.jpg" for name in "abe"])
    (root / "labels.txt").unlink()
    always = {view: tmp_path / f"always {view}" for view in ("", "none")}
    turns = tmp_path / "turns"

    def run(view: str) -> list[int]:
        for other, extra in always.items():
            dump_extra(root, extra, splits=["TRAIN"], view=other or f"{extra}/view")
        dump_extra(root, turns, splits=["TRAIN"], view=view or f"{turns}/view")
        rows = [np.load(one / "entries-TRAIN.npy") for one in (turns, *always.values())]
        assert all(one.tobytes() == rows[0].tobytes() for one in rows)
        return rows[0]["actual_index"].tolist()

    assert run("") == [0, 1, 2]
    for i, edit in enumerate(["b g", "e", "+ h", "g k", "+ 3"]):
        for view in ("none", "") if i % 2 else ("", "none"):
            run(view)
        old, _, new = edit.partition(" ")
        path = root / f"train/c/{new or old}.jpg"
        if old == "+":
            path.touch()
        elif new:
            (root / f"train/c/{old}.jpg").rename(path)
        else:
            path.unlink()
        run("none" if i % 3 else "")


def test_links_that_a_table_has_made_obsolete_give_no_numbers(pair: Callable[..., Pair]) -> None:
    both = pair(*(f"train/c/{name}.jpg" for name in "abe"), splits=["TRAIN"])
    folder, turns = both.dataset / "train/c", both.dataset.parent / "turns"
    for view, gone, came in (("", "a", "b"), ("none", "b", "f"), ("none", "z", "a"), ("", "z", "")):
        assert both.run() == ""
        dump_extra(both.dataset, turns, splits=["TRAIN"], view=view or f"{turns}/view")
        rows = ImageNetMetadata(both.dataset, turns)
        paths = [os.path.realpath(rows.get_path(i)) for i in range(len(rows))]
        assert paths == [f"{both.dataset}/{path}" for path in both.paths("TRAIN")]
        (folder / f"{gone}.jpg").unlink(missing_ok=True)
        make_images(folder, [f"{came}.jpg"])


def test_names_that_dinov3_cannot_rebuild_in_kaggles_folders_need_a_table(
    pair: Callable[..., Pair],
) -> None:
    both = pair(*KAGGLE, "ILSVRC/Data/CLS-LOC/train/n01/extra 7.png")
    annotate(both.dataset)
    said = both.make("")
    assert "n01/extra 7.png (no number before the suffix)" in said
    assert said.endswith(" or `view: none` to find all images by a table of their paths.")
    assert both.make("none") == ""
    assert "ILSVRC/Data/CLS-LOC/train/n01/extra 7.png" in both.paths("TRAIN")


@pytest.mark.parametrize("first", ["", "none"])
def test_each_split_is_checked_in_the_way_it_was_made(
    first: str, pair: Callable[..., Pair]
) -> None:
    both = pair(*KAGGLE, splits=[*SPLITS])
    annotate(both.dataset)
    root, extra = both.dataset, both.extras[""]
    dump_extra(root, extra, SPLITS, view=first)
    dump_extra(root, extra, view="" if first else "none")
    for splits in (None, ["TEST"], ["TRAIN", "VAL"]):
        assert check(root, extra, splits).ok
    (extra / "entries-TEST.npy").write_bytes(b"")
    result = check(root, extra)
    assert [one.split for one in result.splits if not one.ok] == ["TEST"]
    cures = [one.cure for one in result.splits[2].findings]
    assert all(("--view none" in cure) == bool(first) for cure in cures)
    assert "--splits TEST --" in cures[0]


@pytest.mark.parametrize("folder", ["train", "ILSVRC/Data/CLS-LOC/train"])
def test_the_image_with_dinov3_s_own_name_has_its_number(
    folder: str, pair: Callable[..., Pair]
) -> None:
    names = ["n01_1.JPEG", "n01_1.jpg", "b/n01_1.JPEG", "n01_2.JPEG", "photo_2.png"]
    names += ["n01_7.jpg", "n01_0007.JPEG"]
    both = pair(*(f"{folder}/n01/{name}" for name in names), splits=["TRAIN"], labels="folders")
    assert folder != "train" or both.run() == ""  # links give the same numbers
    assert both.make("none") == ""
    rows = np.load(both.extras["none"] / "entries-TRAIN.npy")["actual_index"].tolist()
    numbers = dict(zip(both.paths("TRAIN"), rows, strict=True))
    assert [numbers[f"{folder}/n01/n01_{i}.JPEG"] for i in (1, 2)] == [1, 2]
    assert 7 not in rows  # neither name is DINOv3's


def test_a_folder_whose_name_ends_with_a_dot(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "set", ["train/a./b/1.jpg"])
    (root / "train/a./b/gone.jpg").symlink_to("nowhere")
    with pytest.raises(MetadataError, match=r"\n  a\./b/gone.jpg \(a dangling link to nowhere\)"):
        dump_extra(root, tmp_path / "extra", ["TRAIN"], labels="folders", view="none")
