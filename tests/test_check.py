"""Check: files that are right are called right, and each fault is found and named."""

import errno
import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata import ImageNetMetadata, MetadataError, check, dump_extra
from dinov3_metadata.addresses import image_path
from dinov3_metadata.checks import arrays, rows
from dinov3_metadata.checks.adopt import adopt
from dinov3_metadata.checks.result import KINDS, CheckResult
from dinov3_metadata.dinov3 import _length
from dinov3_metadata.formats import entries_dtype, read_description
from dinov3_metadata.paths import WORK, array_names
from helpers import LABELS, REPOSITORY, digests, dump, file_states, make_tree
from hypothesis import given, settings
from hypothesis import strategies as st

SPLITS = ("TRAIN", "VAL", "TEST")
CASES = json.loads(Path(__file__).with_name("golden.json").read_text())

Files = dict[str, np.ndarray]
"""Name of an array without the split -> the array."""


@pytest.fixture
def extra(tree: Path, tmp_path: Path) -> Path:
    """The files of the tree, as DINOv3 would write them: without metadata-SPLIT.json."""
    for split in SPLITS:
        dump(tree, tmp_path / "extra", split)
    return tmp_path / "extra"


def kinds(result: CheckResult, split: str = "") -> dict[str, int]:
    """Return the kinds of findings and their totals, of a split or of all."""
    found = [one for one in result.splits if split in ("", one.split)]
    return {finding.kind: finding.total for one in found for finding in one.findings}


def first(result: CheckResult, kind: str) -> list[str]:
    found = [finding for one in result.splits for finding in one.findings if finding.kind == kind]
    return found[0].first


def edit(extra: Path, split: str, change: Callable[[Files], object]) -> None:
    """Change the arrays of a split."""
    names = {name.removesuffix(f"-{split}.npy"): extra / name for name in array_names(split)}
    files = {name: np.load(path) for name, path in names.items()}
    change(files)
    for name, array in files.items():
        np.save(names[name], array)


def put(column: str, row: int, value: object) -> Callable[[Files], object]:
    def change(files: Files) -> None:
        files["entries"][column][row] = value

    return change


def rows_of(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Files], object]:
    return lambda files: files.update(entries=change(files["entries"]))


def retype(**types: str) -> Callable[[Files], object]:
    """Change the types of some columns."""

    def change(files: Files) -> None:
        descr = [(name, types.get(name, kind)) for name, kind in files["entries"].dtype.descr]
        files["entries"] = files["entries"].astype(descr)

    return change


def in_order(*names: str) -> Callable[[Files], object]:
    """Give the entries other columns, or the same in another order; new ones are empty texts."""

    def change(files: Files) -> None:
        old = files["entries"]
        types = dict(old.dtype.descr) | {"path": "<U50"}
        new = np.zeros(len(old), [(name, types[name]) for name in names])
        for name in names:
            if name in old.dtype.names:
                new[name] = old[name]
        files["entries"] = new

    return change


def renumber(number: Callable[[int], int]) -> Callable[[Files], object]:
    """Give each class another number, in the entries and the class arrays."""

    def change(files: Files) -> None:
        entries = files["entries"]
        entries["class_index"] = [number(old) for old in entries["class_index"].tolist()]
        for column in ("class_id", "class_name"):
            many = int(entries["class_index"].max()) + 1
            array = np.zeros(many, entries.dtype[column])
            array[entries["class_index"]] = entries[column]
            files[{"class_id": "class-ids", "class_name": "class-names"}[column]] = array

    return change


def rename(name: str, new: str) -> Callable[[Files], object]:
    """Give all rows of a class, and the class array, another name."""

    def change(files: Files) -> None:
        width = max(files["class-names"].itemsize // 4, len(new))
        retype(class_name=f"<U{width}")(files)
        files["class-names"] = files["class-names"].astype(f"<U{width}")
        files["entries"]["class_name"][files["entries"]["class_name"] == name] = new
        files["class-names"][files["class-names"] == name] = new

    return change


def cut(width: int) -> Callable[[Files], object]:
    def change(files: Files) -> None:
        retype(class_name=f"<U{width}")(files)
        files["class-names"] = files["class-names"].astype(f"<U{width}")

    return change


def array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Files], object]:
    return lambda files: files.update({name: change(files[name])})


def test_right_files_are_right(tree: Path, extra: Path) -> None:
    before = file_states(extra.iterdir())
    result = check(tree, extra)
    assert result.ok, str(result)
    assert [(one.split, one.rows, one.classes) for one in result.splits] == [
        ("TRAIN", 4, 3),
        ("VAL", 3, 3),
        ("TEST", 2, 0),
    ]
    assert str(result).startswith("TRAIN: right: 4 rows, 3 classes; class numbers compared")
    assert file_states(extra.iterdir()) == before


@pytest.mark.parametrize("case", CASES)
def test_the_files_of_the_reference_are_right(case: str, tmp_path: Path) -> None:
    root = make_tree(tmp_path / "root", CASES[case]["files"], CASES[case]["labels"])
    for split in ("TRAIN", "VAL"):
        if f"entries-{split}.npy" in CASES[case]["sha256"]:
            dump(root, tmp_path / "extra", split)
    result = check(root, tmp_path / "extra")
    assert result.ok, str(result)


FAULTS: dict[str, tuple[str, Callable[[Files], object], dict[str, int], str]] = {
    "row twice": ("TRAIN", rows_of(lambda rows: rows[[0, 0, 1, 2, 3]]), {"duplicate": 1},
                  "row 1: train/n01440764/n01440764_10026.JPEG, as row 0"),
    "row lost": ("TRAIN", rows_of(lambda rows: rows[1:]), {"no-row": 1},
                 "train/n01440764/n01440764_10026.JPEG"),
    "rows exchanged": ("TRAIN", rows_of(lambda rows: rows[[1, 0, 2, 3]]), {"order": 1},
                       "row 1: train/n01440764/n01440764_10026.JPEG"),
    "classes in another order": ("VAL", rows_of(lambda rows: rows[[2, 0, 1]]), {"order": 1},
                                 "row 1: val/n01440764/"),
    "TEST in another order": ("TEST", rows_of(lambda rows: rows[::-1]), {"order": 1}, "row 1: "),
    "wrong number of an image": ("TRAIN", put("actual_index", 3, 2), {"missing": 1, "no-row": 1},
                                 "row 3: train/n01484850/n01484850_2.JPEG"),
    "number below zero": ("TEST", lambda files: (retype(actual_index="<i8")(files),
                                                 put("actual_index", 1, -2)(files)),
                          {"missing": 1, "no-row": 1, "format": 1},
                          "row 1: test/ with a number out of range"),
    "class of another folder": ("VAL", put("class_id", 0, "n01443537"),
                                {"wrong-class": 1, "mixed-numbers": 1, "name-swapped": 1},
                                "row 0: val/n01443537/ILSVRC2012_val_00000293.JPEG, but the image "
                                "is in val/n01440764/ILSVRC2012_val_00000293.JPEG"),
    "class without a folder": ("TRAIN", put("class_id", 2, "n09"),
                               {"wrong-class": 1, "class-numbers": 1, "class-arrays": 1,
                                "name-unknown": 1}, "row 2: train/n09/n09_177134.JPEG"),
    "one number of a row": ("TRAIN", put("class_index", 1, 2), {"mixed-numbers": 1},
                            "row 1: n01440764 with number 2, but the class has 0"),
    "order of labels.txt": ("TRAIN", renumber(lambda old: 2 - old), {"class-numbers": 2},
                            "n01440764: 2, but 0 by the folders in train/"),
    "numbers that begin with 1": ("TRAIN", renumber(lambda old: old + 1),
                                  {"class-numbers": 3, "class-arrays": 1},
                                  "n01440764: 1, but 0 by the folders in train/"),
    "VAL otherwise than TRAIN": ("VAL", renumber(lambda old: 2 - old), {"between-splits": 2},
                                 "n01440764: 2 here, 0 in TRAIN"),
    "name cut": ("TRAIN", cut(8), {"name-cut": 1},
                 "n01484850: 'great wh', but 'great white shark' is expected, in row 3"),
    "name stale": ("TRAIN", rename("tench", "Tinca tinca"), {"name-stale": 1},
                   "n01440764: 'Tinca tinca', but 'tench' is expected, in row 0 and the like"),
    "name of another class": ("TRAIN", rename("tench", "goldfish"), {"name-swapped": 1},
                              "n01440764: 'goldfish', but 'tench' is expected: this is the name of "
                              "n01443537"),
    "class arrays exchanged": ("TRAIN", array("class-ids", lambda ids: ids[::-1]),
                               {"class-arrays": 2},
                               "class-ids: 'n01484850' at 0, but the entries have 'n01440764'"),
    "class names exchanged": ("VAL", array("class-names", lambda names: names[[1, 0, 2]]),
                              {"class-arrays": 2},
                              "class-names: 'goldfish' at 0, but the entries have 'tench'"),
    "class arrays too short": ("TRAIN", array("class-names", lambda names: names[:2]),
                               {"class-arrays": 2}, "class-names has 2 classes, but the entries"),
    "class arrays too long": ("TRAIN", lambda files: [array(name, lambda old: np.append(old, "x"))(
                                files) for name in ("class-ids", "class-names")],
                              {"class-arrays": 1}, "class-ids: 'x' at 3, beyond the folders in"),
    "TEST with class 0": ("TEST", put("class_index", 1, 0), {"test": 1}, "row 1: class_index 0"),
    "TEST with class 255": ("TEST", put("class_index", slice(None), 255), {"test": 2}, "row 0: "),
    "TEST with class 1001": ("TEST", put("class_index", 0, 1001), {"test": 1}, "row 0: "),
    "TEST in <i4": ("TEST", retype(class_index="<i4"), {"format": 1},
                    "entries-TEST.npy: class_index is <i4, not <u4"),
    "TEST with names": ("TEST", lambda files: (retype(class_name="<U5")(files),
                                               put("class_name", 0, "tench")(files)),
                        {"test": 1}, "row 0: class_index 4294967295, '', 'tench'"),
    "extra column": ("TRAIN", in_order("actual_index", "class_index", "class_id", "class_name",
                                       "path"), {"format": 1},
                     "the columns actual_index, class_index, class_id, class_name, path, not"),
    "order of columns": ("VAL", in_order("class_id", "class_index", "actual_index", "class_name"),
                         {"format": 1}, "entries-VAL.npy: the columns class_id, class_index,"),
    "no names": ("VAL", in_order("actual_index", "class_index", "class_id"), {"format": 1},
                 "entries-VAL.npy: the columns actual_index, class_index, class_id, not"),
    "big endian": ("TRAIN", retype(actual_index=">u4", class_id=">U9"), {"format": 2},
                   "entries-TRAIN.npy: actual_index is >u4, not <u4"),
    "bytes for texts": ("TRAIN", retype(class_id="S9", class_name="S17"), {"format": 2},
                        "entries-TRAIN.npy: class_id is |S9, not <U"),
    "numbers as floats": ("TRAIN", retype(actual_index="<f8"), {"format": 1, "file": 1},
                          "entries-TRAIN.npy: actual_index is <f8, not <u4"),
    "class ids of bytes": ("TRAIN", array("class-ids", lambda ids: ids.astype("S9")),
                           {"format": 1, "file": 1}, "class-ids-TRAIN.npy: the type |S9, not <U"),
    "two dimensions": ("TRAIN", rows_of(lambda rows: rows.reshape(2, 2)), {"format": 1, "file": 1},
                       "entries-TRAIN.npy: the shape (2, 2), not one dimension"),
}  # fmt: skip
"""Fault -> the split, how to make it, what is found there, the beginning of a first offender."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_named(fault: str, tree: Path, extra: Path) -> None:
    split, change, due, sentence = FAULTS[fault]
    edit(extra, split, change)
    result = check(tree, extra)
    assert kinds(result, split) == due, str(result)
    assert {*kinds(result)} - {*due} <= {"between-splits"}
    said = [line for one in result.splits for finding in one.findings for line in finding.first]
    assert any(line.find(sentence) >= 0 for line in said), said
    assert not result.ok


@pytest.mark.parametrize("block", [40, 100, 1 << 20])
@pytest.mark.parametrize("fault", ["rows exchanged", "one number of a row", "extra column"])
def test_blocks_of_any_size(
    fault: str, block: int, tree: Path, extra: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "BLOCK", block)
    test_a_fault_is_found_and_named(fault, tree, extra)


DISK: dict[str, tuple[Callable[[Path], object], dict[str, int], str]] = {
    "image removed": (lambda root: (root / "train/n01440764/n01440764_9.JPEG").unlink(),
                      {"missing": 1}, "row 1: train/n01440764/n01440764_9.JPEG"),
    "image added": (lambda root: make_tree(root, ["train/n01440764/n01440764_3.JPEG"]),
                    {"no-row": 1}, "train/n01440764/n01440764_3.JPEG"),
    "image of TEST added": (lambda root: make_tree(root, ["test/ILSVRC2012_test_00000003.JPEG"]),
                            {"no-row": 1}, "test/ILSVRC2012_test_00000003.JPEG"),
    "image moved": (lambda root: (root / "val/n01440764/ILSVRC2012_val_00000293.JPEG").rename(
                        root / "val/n01443537/ILSVRC2012_val_00000293.JPEG"),
                    {"wrong-class": 1}, "row 0: val/n01440764/ILSVRC2012_val_00000293.JPEG, but "),
    "image of TRAIN moved": (lambda root: (root / "train/n01440764/n01440764_9.JPEG").rename(
                                root / "train/n01443537/n01440764_9.JPEG"),
                             {"wrong-class": 1, "left-out": 1},
                             "row 1: train/n01440764/n01440764_9.JPEG, but the image is in "
                             "train/n01443537"),
    "another suffix": (lambda root: (root / "train/n01440764/n01440764_9.JPEG").rename(
                          root / "train/n01440764/n01440764_9.jpg"),
                       {"unaddressable": 1}, "row 1: train/n01440764/n01440764_9.JPEG, but the "
                       "image is train/n01440764/n01440764_9.jpg"),
    "nested": (lambda root: [(root / "train/n01440764/images").mkdir(),
                             (root / "train/n01440764/n01440764_9.JPEG").rename(
                                root / "train/n01440764/images/n01440764_9.JPEG")],
               {"unaddressable": 1}, "but the image is train/n01440764/images/n01440764_9.JPEG"),
    "another image": (lambda root: make_tree(root, ["train/n01440764/photo.png"]),
                      {"left-out": 1}, "train/n01440764/photo.png"),
    "dangling link": (lambda root: [(root / "test/ILSVRC2012_test_00000002.JPEG").unlink(),
                                    (root / "test/ILSVRC2012_test_00000002.JPEG").symlink_to("x")],
                      {"missing": 1}, "row 1: test/ILSVRC2012_test_00000002.JPEG"),
    "FIFO": (lambda root: [(root / "test/ILSVRC2012_test_00000002.JPEG").unlink(),
                           os.mkfifo(root / "test/ILSVRC2012_test_00000002.JPEG")],
             {"missing": 1, "left-out": 1},
             "row 1: test/ILSVRC2012_test_00000002.JPEG (a FIFO, not a file)"),
    "class removed": (lambda root: [shutil.rmtree(root / f"{split}/n01440764")
                                    for split in ("train", "val")],
                      {"missing": 1, "class-numbers": 3},
                      "n01443537: 1, but 0 by the folders in train/"),
    "class added": (lambda root: make_tree(root, ["train/n02/n02_1.JPEG"], LABELS + "n02,x\n"),
                    {"no-row": 1}, "train/n02/n02_1.JPEG"),
    "split removed": (lambda root: shutil.rmtree(root / "test"), {"folder": 1}, "/test"),
    "label edited": (lambda root: make_tree(root, [], LABELS.replace("tench", "Tench")),
                     {"name-stale": 1}, "n01440764: 'tench', but 'Tench' is expected"),
}  # fmt: skip
"""Edit of the dataset -> how to make it, what is found, a part of a first offender."""


@pytest.mark.parametrize("fault", DISK)
def test_an_edit_of_the_dataset_is_found(fault: str, tree: Path, extra: Path) -> None:
    change, due, sentence = DISK[fault]
    change(tree)
    result = check(tree, extra)
    found = [line for one in result.splits for finding in one.findings for line in finding.first]
    assert kinds(result) == due, str(result)
    assert any(sentence in line for line in found), found


def test_an_image_in_two_classes_at_once(tree: Path, extra: Path) -> None:
    """The right row is there, too, so that no image is left over for the wrong one."""

    def change(entries: np.ndarray) -> np.ndarray:
        wrong = entries[1:2].copy()
        wrong["actual_index"] = entries["actual_index"][0]
        return np.concatenate([entries, wrong])

    edit(extra, "VAL", rows_of(change))
    result = check(tree, extra)
    assert kinds(result) == {"wrong-class": 1}
    assert first(result, "wrong-class")[0].endswith(
        "is in val/n01440764/ILSVRC2012_val_00000293.JPEG"
    )


def test_a_number_out_of_range_is_that_of_no_image(tree: Path, extra: Path) -> None:
    """Nor of the last one that the class before can have."""
    make_tree(tree, ["train/n01440764/n01440764_4294967295.JPEG"])
    edit(extra, "TRAIN", retype(actual_index="<i8"))
    edit(extra, "TRAIN", put("actual_index", 2, -1))
    assert kinds(check(tree, extra)) == {"format": 1, "missing": 1, "no-row": 2}


def test_one_row_accounts_for_one_image(tree: Path, extra: Path) -> None:
    make_tree(tree, ["train/n01443537/n01443537_5.JPEG", "train/n01484850/n01484850_5.JPEG"])
    edit(extra, "TRAIN", put("actual_index", 1, 5))
    assert kinds(check(tree, extra)) == {"wrong-class": 1, "no-row": 2}


def test_links_to_images_are_images(tree: Path, extra: Path, tmp_path: Path) -> None:
    for path in list(tree.rglob("*.JPEG")):
        target = tmp_path / "elsewhere" / path.name
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
        path.symlink_to(target)
    assert check(tree, extra).ok
    target.unlink()
    assert list(kinds(check(tree, extra)).values()) == [1]


def test_a_dangling_link_with_a_row_is_missing_and_without_one_left_out(
    tree: Path, extra: Path
) -> None:
    path = tree / "train/n01440764/n01440764_9.JPEG"
    path.unlink()
    path.symlink_to("nowhere")
    assert kinds(check(tree, extra)) == {"missing": 1}
    assert first(check(tree, extra), "missing") == [
        "row 1: train/n01440764/n01440764_9.JPEG (a dangling link)"
    ]
    path.with_stem("n01440764_5").symlink_to("nowhere")
    make_tree(tree, ["train/n01440764/photo.png"])
    result = check(tree, extra)
    assert kinds(result) == {"missing": 1, "left-out": 2}
    assert first(result, "left-out") == [
        "train/n01440764/n01440764_5.JPEG",
        "train/n01440764/photo.png",
    ]


def test_a_link_that_leads_round_in_circles_ends(tree: Path, extra: Path) -> None:
    for path in (tree / "train/n01440764", tree / "test"):
        (path / "again").symlink_to("..")
        (path / "here").symlink_to(".")
        (path / "self").symlink_to("self")
    assert check(tree, extra).ok
    make_tree(tree, ["test/photo.png"])
    assert first(check(tree, extra), "left-out") == ["test/photo.png"]


def test_numbers_of_test_with_nine_digits(tmp_path: Path) -> None:
    """In the order of the names, 100000000 is before 20000000."""
    files = [image_path("TEST", "", number) for number in (20_000_000, 100_000_000)]
    root = make_tree(tmp_path / "root", files)
    dump(root, tmp_path / "extra", "TEST")
    assert check(root, tmp_path / "extra").ok


def test_a_name_that_is_cut_to_that_of_another_class(tree: Path, tmp_path: Path) -> None:
    (tree / "labels.txt").write_text(LABELS.replace("tench", "great wh"))
    dump(tree, tmp_path / "extra", "TRAIN")
    edit(tmp_path / "extra", "TRAIN", cut(8))
    assert kinds(check(tree, tmp_path / "extra")) == {"name-cut": 1}


def test_val_numbered_by_its_own_folders(tmp_path: Path) -> None:
    """As ImageFolder does: VAL has no n01, so that the rest of its classes move up."""
    files = [image_path("TRAIN", name, 1) for name in ("n01", "n02", "n03")]
    files += [image_path("VAL", name, i) for i, name in enumerate(("n02", "n03"), 1)]
    root, extra = make_tree(tmp_path / "root", files, "n01,a\nn02,b\nn03,c\n"), tmp_path / "extra"
    for split in ("TRAIN", "VAL"):
        dump(root, extra, split)
    result = check(root, extra)
    assert kinds(result) == {"between-splits": 2}
    assert first(result, "between-splits")[0] == "n02: 0 here, 1 in TRAIN"
    alone = "n02: 0 here, 1 in TRAIN by the folders in train/"
    assert first(check(root, extra, ["VAL"]), "between-splits")[0] == alone
    for name in array_names("TRAIN"):
        (extra / name).unlink()
    assert (
        "n02: 0 here, 1 in TRAIN by the folders" in first(check(root, extra), "between-splits")[0]
    )


def both(tmp_path: Path, train: str, val: str, numbers: str) -> CheckResult:
    """Check files whose numbers and class arrays are those of some list of classes.

    Args:
        train, val: The classes of each split, a letter each.
        numbers: The list.
    """
    root = make_tree(
        tmp_path / "root",
        [image_path("TRAIN", name, 1) for name in train]
        + [image_path("VAL", name, i) for i, name in enumerate(val)],
        "".join(f"{name},{name}!\n" for name in sorted({*train, *val})),
    )
    (tmp_path / "extra").mkdir()
    for split, names in (("TRAIN", train), ("VAL", val)):
        values = [
            (1 if split == "TRAIN" else i, numbers.index(name), name, f"{name}!")
            for i, name in enumerate(names)
        ]
        np.save(tmp_path / f"extra/entries-{split}.npy", np.array(values, entries_dtype(1, 2)))
        ids = np.array(list(numbers))
        np.save(tmp_path / f"extra/class-ids-{split}.npy", ids)
        np.save(tmp_path / f"extra/class-names-{split}.npy", np.char.add(ids, "!"))
    return check(root, tmp_path / "extra")


@pytest.mark.parametrize(
    ("train", "val", "numbers", "right"),
    [
        ("abc", "bc", "abc", True),  # the numbers of TRAIN
        ("abd", "bcd", "abcd", True),  # those of both
        ("abd", "bd", "abcd", False),  # c is nowhere
        ("abd", "bd", "bda", False),
    ],
)
def test_numberings(train: str, val: str, numbers: str, right: bool, tmp_path: Path) -> None:
    result = both(tmp_path, train, val, numbers)
    assert result.ok == right, str(result)


def test_class_arrays_with_classes_that_nobody_has(tmp_path: Path) -> None:
    result = both(tmp_path, "ab", "ab", "abx")
    assert kinds(result) == {"class-arrays": 1}
    assert first(result, "class-arrays") == ["class-ids: 'x' at 2, beyond the folders in train/"]


def test_a_class_that_the_arrays_leave_empty(tmp_path: Path) -> None:
    """DINOv3 leaves memory as it was for the classes that a split lacks."""
    both(tmp_path, "abc", "bc", "abc")
    path = tmp_path / "extra/class-ids-VAL.npy"
    ids = np.load(path)
    ids.view("<u4")[0] = 0xDEADBEEF
    np.save(path, ids)
    result = check(tmp_path / "root", tmp_path / "extra")
    assert first(result, "class-arrays")[0].startswith("class-ids: '<deadbeef>' at 0, where no")


def test_a_folder_without_images_may_have_a_number_or_not(tmp_path: Path) -> None:
    both(tmp_path, "bc", "bc", "bc")
    (tmp_path / "root/train/.ipynb_checkpoints").mkdir()
    assert check(tmp_path / "root", tmp_path / "extra").ok


def test_val_alone(tree: Path, extra: Path) -> None:
    shutil.rmtree(tree / "train")
    assert check(tree, extra, ["VAL"]).ok
    edit(extra, "VAL", renumber(lambda old: 2 - old))
    assert kinds(check(tree, extra, ["VAL"])) == {"class-numbers": 2}


def test_names_without_a_labels_file(tree: Path, extra: Path, tmp_path: Path) -> None:
    (tree / "labels.txt").rename(tmp_path / "elsewhere.txt")
    result = check(tree, extra)
    assert result.ok
    assert "class names not checked: there is no labels file" in str(result)
    assert check(tree, extra, labels=tmp_path / "elsewhere.txt").ok
    assert kinds(check(tree, extra, labels="folders"), "VAL") == {"name-stale": 3}
    with pytest.raises(MetadataError, match=r"nowhere.txt does not exist"):
        check(tree, extra, labels="nowhere.txt")


def test_labels_as_the_metadata_was_made(tree: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(LABELS.upper().replace("N0", "n0"))
    dump_extra(tree, tmp_path / "one", labels="folders")
    dump_extra(tree, tmp_path / "two", labels=other)
    assert check(tree, tmp_path / "one").ok
    assert check(tree, tmp_path / "two").ok
    other.unlink()
    assert set(kinds(check(tree, tmp_path / "two"))) == {"name-stale"}


def test_our_own_files(tree: Path, tmp_path: Path) -> None:
    make_tree(tree, ["train/n01440764/photo.png"])
    dump_extra(tree, tmp_path / "extra", SPLITS, unaddressable="skip")
    assert check(tree, tmp_path / "extra").ok
    make_tree(tree, ["train/n01440764/photo_2.png"])
    assert kinds(check(tree, tmp_path / "extra")) == {"left-out": 2}


def test_links_that_were_skipped(tree: Path, tmp_path: Path) -> None:
    for name in ("photo.JPEG", "photo_5.png"):
        (tree / "train/n01440764" / name).symlink_to("nowhere")
    make_tree(tree / "more", ["a_1.png", "below/b.png"])
    (tree / "train/n01440764/more").symlink_to(tree / "more")
    dump_extra(tree, tmp_path / "extra", unaddressable="skip")
    assert check(tree, tmp_path / "extra").ok
    make_tree(tree / "more", ["c.png"])
    result = check(tree, tmp_path / "extra")
    assert kinds(result) == {"left-out": 5}
    assert first(result, "left-out") == [
        f"train/n01440764/{name}"
        for name in (
            "photo.JPEG",
            "photo_5.png",
            "more/a_1.png",
            "more/c.png",
            "more/below/b.png",
        )
    ]


def test_files_made_through_a_view(tmp_path: Path) -> None:
    photos = make_tree(tmp_path / "photos", ["train/cat/1.jpg", "train/dog/2.jpg", "val/dog/a.png"])
    (photos / "labels.txt").unlink()
    chain = dump_extra(photos, tmp_path / "extra", ["TRAIN"])
    result = check(photos, tmp_path / "extra")
    assert f"checked against the view {chain.root}, and" in str(result)
    assert result.ok, str(result)
    assert check(chain.root, tmp_path / "extra").ok


def photos(folder: Path, train: str, val: str = "") -> Path:
    """Make a dataset that needs a view: two images in each of some classes."""
    files = [f"train/{name}/photo{i}.jpg" for name in train.split() for i in "01"]
    files += [f"val/{name}/photo{i}.jpg" for name in val.split() for i in "01"]
    root = make_tree(folder / "photos", files)
    (root / "labels.txt").unlink()
    return root


def test_the_dataset_changed_behind_its_view(tmp_path: Path) -> None:
    root, extra = photos(tmp_path, "a b c", "a c"), tmp_path / "extra"
    chain = dump_extra(root, extra)
    result = check(root, extra)
    assert result.ok, str(result)
    assert f"checked against the view {chain.root}, and the view against" in str(result)
    make_tree(root, ["train/a/new.jpg"])
    (root / "labels.txt").unlink()
    for folder in (root, chain.root):
        result = check(folder, extra)
        assert kinds(result) == {"stale": 1}
        assert first(result, "stale") == [f"{root}/train/a"]
        assert [one.ok for one in result.splits] == [False, True]
    dump_extra(root, extra)
    assert check(root, extra).ok
    shutil.rmtree(extra / WORK)
    result = check(root, extra)
    assert result.ok
    assert f"compared only with the view {chain.root}, because" in str(result)


def test_a_dataset_that_is_read_by_a_table_of_paths(tmp_path: Path) -> None:
    root, extra = photos(tmp_path, "a b c", "a c"), tmp_path / "extra"
    dump_extra(root, extra, view="none")
    result = check(root, extra)
    assert result.ok, str(result)
    assert "checked against the table of paths, and the table against the dataset" in str(result)
    (root / "train/a/photo0.jpg").rename(root / "train/b/photo7.jpg")
    result = check(root, extra)
    assert kinds(result) == {"stale": 2, "missing": 1}
    assert first(result, "stale") == [f"{root}/train/a", f"{root}/train/b"]
    assert first(result, "missing") == ["row 0: train/a/photo0.jpg"]
    assert "--view none" in str(result)
    dump_extra(root, extra, view="none")
    assert check(root, extra).ok
    table = extra / "paths-TRAIN.npy"
    content = table.read_bytes()
    table.write_bytes(content.replace(b"train/b/photo0.jpg", b"train/c/photo0.jpg"))
    result = check(root, extra)
    assert first(result, "description") == ["metadata-TRAIN.json describes another paths-TRAIN.npy"]
    assert first(result, "missing") == ["row 1: train/c/photo0.jpg"]  # in the folder of a class
    table.unlink()
    assert "paths-TRAIN.npy cannot be read" in str(check(root, extra))
    table.write_bytes(content)
    shutil.rmtree(extra / WORK)
    result = check(root, extra)
    assert result.ok
    assert "compared only with the table of paths, because" in str(result)


def test_class_numbers_are_those_of_the_dataset_and_not_of_its_view(tmp_path: Path) -> None:
    root, extra = photos(tmp_path, "2 B c", "2"), tmp_path / "extra"
    dump_extra(root, extra)
    (root / "train/10").mkdir()
    (root / "train/10/x.jpg").touch()
    result = check(root, extra, "VAL")
    assert kinds(result) == {"stale": 1, "between-splits": 1, "class-arrays": 2}
    assert first(result, "between-splits") == ["2: 0 here, 1 in TRAIN by the folders in train/"]
    shutil.copytree(extra, tmp_path / "copy", symlinks=True)  # as if nobody knew when it was made
    shutil.rmtree(tmp_path / "copy" / WORK)
    assert kinds(check(root, tmp_path / "copy", "VAL")) == {"between-splits": 1, "class-arrays": 2}
    dump_extra(root, extra, ["VAL"])  # the view of TRAIN is still the old one
    assert check(root, extra, "VAL").ok
    assert kinds(check(root, extra), "TRAIN") == {"stale": 1, "class-numbers": 3}


@pytest.mark.parametrize(
    ("files", "layout"),
    [
        (["1.jpg", "2.jpg", "val/3.jpg"], "flat"),
        (["train/1.jpg", "val/3.jpg", "test/4.jpg"], "flat"),
        (["train/n1/images/n1_0.JPEG", "train/n2/images/n2_0.JPEG", "val/images/v.JPEG"],
         "tiny-imagenet"),
        (["ILSVRC/Data/CLS-LOC/train/n1/n1_1.JPEG",
          "ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG"], "kaggle"),
    ],
)  # fmt: skip
def test_each_layout_that_needs_a_view(files: list[str], layout: str, tmp_path: Path) -> None:
    root, extra = make_tree(tmp_path / "root", files, "n1,one\nn2,two\n"), tmp_path / "extra"
    (root / "LOC_val_solution.csv").write_text(
        "ImageId,PredictionString\nILSVRC2012_val_00000001,n1 1 2 3 4\n"
    )
    if layout == "tiny-imagenet":
        (root / "val/val_annotations.txt").write_text("v.JPEG\tn2\t0\t0\t1\t1\n")
    (root / "labels.txt").rename(root / "words.txt")
    (root / "words.txt").write_text("n1\tone\nn2\ttwo\n")
    chain = dump_extra(root, extra, layout=layout, labels="folders")
    assert chain.layout == layout
    result = check(root, extra)
    assert result.ok, str(result)
    assert check(root, extra, ["VAL"]).ok
    image = root / files[0]
    (image.parent / image.name.replace("_", "_9")).touch()
    (image.parent / "9.jpg").touch()
    assert set(kinds(check(root, extra), "TRAIN")) & {"stale", "no-row"}


def test_val_has_a_class_that_train_lacks(tmp_path: Path) -> None:
    """Its number fits those of both splits, but not what a head of TRAIN can answer."""
    root = make_tree(
        tmp_path / "root",
        [image_path("TRAIN", name, 1) for name in "ab"]
        + [image_path("VAL", name, i) for i, name in enumerate("abc")],
        "a,A\nb,B\nc,C\n",
    )
    dump_extra(root, tmp_path / "own", classes="own")
    shutil.copytree(tmp_path / "own", tmp_path / "copy")
    for path in (tmp_path / "copy").glob("*.json"):
        path.unlink()
    for extra in (tmp_path / "own", tmp_path / "copy"):
        result = check(root, extra)
        assert kinds(result) == {"between-splits": 1}, str(result)
        assert first(result, "between-splits") == ["c: 2 here, but TRAIN has no such class"]
    assert not check(root, tmp_path / "own", ["VAL"]).ok
    dump_extra(root, tmp_path / "union", classes="union")
    result = check(root, tmp_path / "union")
    assert result.ok, str(result)
    assert result.splits[1].notes[-2] == "1 class of VAL has no image in TRAIN"
    assert check(root, tmp_path / "union", ["VAL"]).ok


@pytest.mark.parametrize("name", array_names("TRAIN"))
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (Path.unlink, "does not exist"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"\x93NUM"), "is not an .npy file"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x01"), "has a damaged header"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x09\x00" + b"x" * 200), "has a damaged header"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00\x76\x00" + b"{" * 200), "has a damaged"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * 99),
         "has a header of 4,294,967,295 bytes"),
        (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(100)), "is not an .npy file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "is truncated: its header claims "),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), "has a damaged header"),
        (lambda path: np.save(path, np.array([{}, Bomb()], object)), "holds pickled Python"),
        (lambda path: path.write_bytes(pickle.dumps(Bomb())), "is not an .npy file"),
        (lambda path: path.write_bytes(header(10**15)), "claims 1,000,000,000,000,000 rows, but "),
        (lambda path: path.write_bytes(header(10**40)), "is truncated: its header claims 1"),
        (lambda path: path.write_bytes(header(-5)), "has a damaged header"),
        (lambda path: path.write_bytes(header(10**15, "<U0")), ""),
        (lambda path: [path.unlink(), os.mkfifo(path)], "cannot be read: This is a FIFO"),
        (lambda path: [path.unlink(), path.mkdir()], "cannot be read: Is a directory"),
        (lambda path: [path.unlink(), path.symlink_to(path)], "cannot be read: Too many levels"),
    ],
)  # fmt: skip
def test_damaged_files(
    name: str, damage: Callable[[Path], object], sentence: str, tree: Path, extra: Path
) -> None:
    damage(extra / name)
    result = check(tree, extra)
    assert "file" in kinds(result, "TRAIN")
    assert first(result, "file")[0].startswith(name)
    assert sentence in first(result, "file")[0]
    assert kinds(result, "TEST") == {}
    assert not Path("EXPLODED").exists()


class Bomb:
    """Whoever unpickles it makes a file."""

    def __reduce__(self) -> tuple:
        return (Path("EXPLODED").touch, ())


def header(rows: int, kind: str = "<U9") -> bytes:
    """Return the header of an array of so many rows, and some data."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({rows},), }}"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(72)


def test_a_file_that_is_cut_off_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    np.save(path, np.arange(100_000))  # more than is read ahead
    with arrays.opened(str(path)) as file:
        header = arrays.read_header(file)
        os.truncate(path, path.stat().st_size - 1)
        with pytest.raises(arrays.UnreadableError, match="cut off while it was being read"):
            list(arrays.blocks(file, header))


@pytest.mark.parametrize("version", [(2, 0), (3, 0)])
def test_other_versions_are_read(version: tuple[int, int], tree: Path, extra: Path) -> None:
    path = extra / "entries-TRAIN.npy"
    entries = np.load(path)
    with path.open("wb") as file:
        np.lib.format.write_array(file, entries, version)
    assert kinds(check(tree, extra)) == {"format": 1}
    assert f"version {version[0]}.0 of .npy" in first(check(tree, extra), "format")[0]


def test_bytes_after_the_last_row(tree: Path, extra: Path) -> None:
    with (extra / "entries-TRAIN.npy").open("ab") as file:
        file.write(b"more")
    assert first(check(tree, extra), "format") == ["entries-TRAIN.npy: 4 bytes after the last row"]


def test_gaps_between_the_columns(tree: Path, extra: Path) -> None:
    entries = np.load(extra / "entries-TRAIN.npy")
    types, offsets = zip(*entries.dtype.fields.values(), strict=True)
    spaced = {"names": entries.dtype.names, "formats": types, "offsets": [at + 4 for at in offsets]}
    np.save(extra / "entries-TRAIN.npy", entries.astype(np.dtype(spaced)))
    assert first(check(tree, extra), "format") == ["entries-TRAIN.npy: gaps between the columns"]


def test_garbage_for_rows(tree: Path, extra: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a download whose blocks are in the wrong places."""
    monkeypatch.setattr(rows, "MOST_GROUPS", 2)
    many = np.frombuffer(np.random.default_rng(0).bytes(80 * 500), entries_dtype(9, 9))
    np.save(extra / "entries-TRAIN.npy", many)
    assert "entries-TRAIN.npy has more than 2 different" in first(check(tree, extra), "file")[0]
    monkeypatch.undo()
    result = check(tree, extra)
    assert kinds(result)["missing"] == 500
    str(result).encode()


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "../..", "\x1b[2J"])
def test_a_class_id_that_no_folder_can_have(text: str, tree: Path, extra: Path) -> None:
    edit(extra, "TRAIN", put("class_id", 0, text))
    edit(extra, "TRAIN", put("actual_index", 0, 5))
    result = check(tree, extra)
    assert kinds(result)["missing"] == 1
    assert str(result).replace("\n", "").isprintable()
    json.dumps(result.document()).encode()


def test_more_rows_than_images(tree: Path, extra: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dinov3_metadata.checks import reading

    monkeypatch.setattr(reading, "MOST_ROWS", 1)
    edit(extra, "TRAIN", rows_of(lambda rows: np.repeat(rows, 5)))
    assert first(check(tree, extra), "file") == [
        "entries-TRAIN.npy has 20 rows, far more than there are images"
    ]


def test_the_test_split_of_another_dataset(tree: Path, extra: Path) -> None:
    """NumPy 1 lets DINOv3 write 100,000 rows, whatever is in test/."""
    entries = np.zeros(100_000, entries_dtype(0, 0))
    entries["actual_index"] = np.arange(1, 100_001)
    entries["class_index"] = 2**32 - 1
    np.save(extra / "entries-TEST.npy", entries)
    result = check(tree, extra)
    assert kinds(result) == {"missing": 99_998}
    assert first(result, "missing")[0] == "row 2: test/ILSVRC2012_test_00000003.JPEG"
    assert "  99,998 rows without an image (missing):" in str(result)
    assert "... and 99,988 more" in str(result)


def test_jpg_rows_of_the_reference(tree: Path, extra: Path) -> None:
    """DINOv3 takes the number of any image, and rebuilds another name from it."""
    make_tree(tree, ["train/n01440764/n01440764_1.jpg", "train/n01440764/photo_3.JPEG"])

    def change(entries: np.ndarray) -> np.ndarray:
        more = entries[[0, 1, 0, 1, 2, 3]].copy()
        more["actual_index"][[1, 2, 3]] = 1, 9, 3
        return more

    edit(extra, "TRAIN", rows_of(change))
    result = check(tree, extra)
    assert kinds(result) == {"unaddressable": 2}
    assert "image is train/n01440764/photo_3.JPEG" in first(result, "unaddressable")[1]


def test_a_description_that_does_not_fit(tree: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    dump_extra(tree, extra, SPLITS)
    path = extra / "metadata-TRAIN.json"
    good = path.read_text()
    for old, new in {
        '"images": 4': '"images": 5',
        '"classes": 3': '"classes": 4',
        '"class_id_length": 9': '"class_id_length": 10',
        '"sha256": "': '"sha256": "0',
        '"split": "TRAIN"': '"split": "VAL"',
        '"skipped": 0': '"skipped": 7',
        '],\n  "sha256": "': '],\n  "sha256": "0',
        "{": "",
    }.items():
        assert old in good
        path.write_text(good.replace(old, new, 1))
        assert set(kinds(check(tree, extra))) == {"description"}
    shutil.copyfile(extra / "metadata-VAL.json", path)
    assert first(check(tree, extra), "description") == ["metadata-TRAIN.json describes VAL"]
    path.write_text(good)
    edit(extra, "VAL", lambda files: put("class_index", 0, 0)(files))
    assert check(tree, extra).ok  # the same bytes
    edit(extra, "VAL", lambda files: rename("tench", "Tench")(files))
    assert set(kinds(check(tree, extra))) == {"description", "name-stale"}


def test_class_arrays_alone(tree: Path, extra: Path) -> None:
    (extra / "entries-TRAIN.npy").unlink()
    assert first(check(tree, extra), "file") == ["entries-TRAIN.npy does not exist"]


def test_what_cannot_be_checked(tree: Path, extra: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MetadataError, match=r"contains no entries-SPLIT.npy"):
        check(tree, tmp_path / "empty")
    with pytest.raises(MetadataError, match=r"contains no entries-SPLIT.npy"):
        check(tree, tmp_path / "nowhere")
    with pytest.raises(MetadataError, match=r"contains none of train/, val/, test/"):
        check(tmp_path / "empty", extra)
    with pytest.raises(MetadataError, match=r"nowhere is not a folder"):
        check(tmp_path / "nowhere", extra)
    with pytest.raises(MetadataError, match=r"split is 'train', not one of"):
        check(tree, extra, ["train"])
    (extra / "entries-TEST.npy").unlink()
    with pytest.raises(MetadataError, match=r"contains no entries-TEST.npy"):
        check(tree, extra, ["VAL", "TEST"])
    (tree / "labels.txt").write_text("n01440764,a\nn01440764,b\n")
    with pytest.raises(MetadataError, match=r"the class id 'n01440764' is already in line 1"):
        check(tree, extra)


@pytest.mark.parametrize("why", [errno.EACCES, errno.EIO], ids=["permission", "I/O error"])
@pytest.mark.parametrize(
    ("folder", "splits"),
    [
        ("train", None),
        ("train", "VAL"),  # whose numbers would be compared with nothing
        ("val", "TRAIN"),
        ("test", "TEST"),
        ("train/n01440764", "TRAIN"),
        ("links/images", "TRAIN"),
        ("links/classes", "VAL"),
    ],
)
def test_a_folder_that_cannot_be_read_is_never_right(
    folder: str,
    splits: str | None,
    why: int,
    tree: Path,
    extra: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tree / "links/images").mkdir(parents=True)
    (tree / "links/classes/n9").mkdir(parents=True)
    (tree / "train/n01440764/n01440764_10026.JPEG").rename(tree / "links/images/a.JPEG")
    (tree / "train/n01440764/n01440764_10026.JPEG").symlink_to(tree / "links/images/a.JPEG")
    (tree / "train/n9").symlink_to(tree / "links/classes/n9")
    assert check(tree, extra, splits).ok
    closed = str(tree / folder)

    def refusing(real: Callable[..., object]) -> Callable[..., object]:
        def call(path: object, *more: object, **options: object) -> object:
            text = str(path)
            inside = os.path.dirname(text) == f"{tree}/train" or text.endswith("10026.JPEG")
            target = os.path.realpath(text) if inside else text
            if text == closed or (target.startswith(f"{tree}/links/") and closed in target):
                raise OSError(why, os.strerror(why), text)
            return real(path, *more, **options)

        return call

    for name in ("scandir", "open", "stat"):
        if name != "stat" or folder.startswith("links"):
            monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    with pytest.raises(MetadataError, match=os.strerror(why)):
        check(tree, extra, splits)


def test_the_name_of_a_split_is_a_list_of_one(tree: Path, extra: Path) -> None:
    assert [one.split for one in check(tree, extra, "VAL").splits] == ["VAL"]
    assert [one.split for one in check(tree, extra, []).splits] == [*SPLITS]
    with pytest.raises(MetadataError, match=r"split is 'val', not one of"):
        check(tree, extra, "val")


def test_a_mixed_set_is_never_judged(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VAL is replaced after TRAIN was read: both are read again."""
    from dinov3_metadata.checks import check as module

    extra, read = tmp_path / "extra", []
    dump_extra(tree, extra)
    real = module.read_split

    def read_split(extra: str, split: str, images: int) -> object:
        found = real(extra, split, images)
        if not read:
            for one in ("TRAIN", "VAL"):
                edit(Path(extra), one, lambda files: files)
        read.append(split)
        return found

    monkeypatch.setattr(module, "read_split", read_split)
    assert check(tree, extra).ok
    assert len(read) > 3


def command(*options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dinov3_metadata", "check", *map(str, options)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command(tree: Path, extra: Path, tmp_path: Path) -> None:
    options = ["--root", tree, "--extra", extra]
    done = command(*options)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(r"TRAIN: right: 4 rows.*\nVAL: right: 3 rows.*\nTEST: right: 2 rows\n$",
                    done.stdout)  # fmt: skip
    edit(extra, "TRAIN", put("actual_index", 3, 2))
    done = command(*options, "--json")
    assert (done.returncode, done.stderr) == (1, "")
    said = json.loads(done.stdout)
    assert said == check(tree, extra).document()
    assert [one["ok"] for one in said["splits"]] == [False, True, True]
    done = command(*options, "--splits", "TRAIN")
    assert done.returncode == 1
    assert done.stdout == f"{check(tree, extra, ['TRAIN'])}\n"
    again = f"python -m dinov3_metadata --root {tree} --extra {extra} --splits TRAIN"
    assert f"What to do: Make the files again: {again}\n" in done.stdout
    done = command("--root", tree, "--extra", tmp_path, "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: There is nothing to check: ")
    assert "Traceback" not in done.stderr


def test_making_again_cures(tree: Path, extra: Path) -> None:
    edit(extra, "TRAIN", put("actual_index", 3, 2))
    make_again(check(tree, extra, ["TRAIN"]))
    assert check(tree, extra).ok


def make_again(result: CheckResult) -> list[str]:
    """Run the command that a check proposes; return its options."""
    cures = {finding.cure for one in result.splits for finding in one.findings}
    lines = {cure.partition("python -m dinov3_metadata ")[2] for cure in cures}
    assert len(lines) == 1
    words = shlex.split(lines.pop())
    done = subprocess.run(
        [sys.executable, "-m", "dinov3_metadata", *words],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow")},
        check=False,
    )
    assert done.returncode == 0
    return words


def test_making_again_keeps_the_settings(tree: Path, tmp_path: Path) -> None:
    extra, labels = tmp_path / "an extra", tmp_path / "my labels.txt"
    (tree / "labels.txt").rename(labels)
    make_tree(tree, ["train/n01440764/photo.png", "val/n9/ILSVRC2012_val_00000009.JPEG"])
    (tree / "labels.txt").unlink()
    labels.write_text(LABELS + "n9,nine\n")
    made = {"labels": labels, "unaddressable": "skip", "classes": "union"}
    dump_extra(tree, extra, **made)
    before = digests(extra)
    (extra / "entries-TRAIN.npy").write_bytes(b"")
    words = make_again(check(tree, extra))
    assert words == [
        *("--root", str(tree), "--extra", str(extra), "--splits", "TRAIN", "VAL"),
        *("--layout", "imagenet", "--unaddressable", "skip"),
        *("--labels", str(labels), "--classes", "union"),
    ]
    assert digests(extra) == before


def test_making_again_keeps_the_view(tmp_path: Path) -> None:
    root, extra = photos(tmp_path, "a b", "a"), tmp_path / "extra"
    dump_extra(root, extra, layout="folder", view=tmp_path / "links")
    (root / "train/a/new.jpg").touch()
    words = make_again(check(root, extra))
    assert words[-4:] == ["--layout", "folder", "--view", f"{tmp_path}/links"]
    assert check(tmp_path / "links", extra).ok


def test_making_again_makes_no_fault_again(tmp_path: Path) -> None:
    root = make_tree(
        tmp_path / "root",
        [image_path("TRAIN", name, 1) for name in "acd"]
        + [image_path("VAL", name, i) for i, name in enumerate("cd")],
        "a,A\nb,B\nc,C\nd,D\n",
    )
    extra = tmp_path / "extra"
    dump_extra(root, extra, classes="own")
    assert "--classes" not in make_again(check(root, extra))
    assert check(root, extra).ok
    (root / "val/b").mkdir()
    (root / "val/b/ILSVRC2012_val_00000009.JPEG").touch()
    words = make_again(check(root, extra, ["VAL"]))
    assert words[-2:] == ["--classes", "union"]
    assert words[4:7] == ["--splits", "TRAIN", "VAL"]  # TRAIN has other numbers now, too
    assert check(root, extra).ok


def test_adopted_files_are_taken(tree: Path, extra: Path) -> None:
    before = file_states(extra.iterdir())
    result = adopt(tree, extra)
    assert result.ok
    assert "TEST: right: 2 rows; metadata-TEST.json was written" in str(result)
    for split, images in zip(SPLITS, (4, 3, 2), strict=True):
        assert len(ImageNetMetadata(tree, extra, split)) == images
        assert _length(extra, split) == images
    assert file_states(extra / name for name in before) == before
    assert check(tree, extra).ok
    assert ImageNetMetadata(tree, extra).description["labels"]["form"] == "csv"
    with pytest.raises(MetadataError, match="has no record of the dataset"):
        ImageNetMetadata(tree, extra, check="stat")
    described = file_states(extra.glob("*.json"))
    assert adopt(tree, extra).ok
    assert file_states(extra.glob("*.json")) == described
    assert command("--root", tree, "--extra", extra, "--adopt").returncode == 0


@pytest.mark.parametrize(
    ("train", "val", "numbers", "by"),
    [
        ("ab", "ab", "ab", {"TRAIN": ("own", ["TRAIN"]), "VAL": ("train", ["TRAIN"])}),
        ("abc", "bc", "abc", {"TRAIN": ("own", ["TRAIN"]), "VAL": ("train", ["TRAIN"])}),
        ("abd", "bcd", "abcd", dict.fromkeys(("TRAIN", "VAL"), ("union", ["TRAIN", "VAL"]))),
        ("", "bc", "bc", {"VAL": ("own", ["VAL"])}),
    ],
)
def test_adopted_files_say_how_they_are_numbered(
    train: str, val: str, numbers: str, by: dict[str, tuple[str, list[str]]], tmp_path: Path
) -> None:
    both(tmp_path, train, val, numbers)
    extra, due = tmp_path / "extra", {}
    if not train:
        for name in array_names("TRAIN"):
            (extra / name).unlink()
    assert adopt(tmp_path / "root", extra).ok
    for split in by:
        numbering = read_description(extra, split).numbering
        assert (numbering.classes, numbering.splits) == by[split]
        due[split] = numbering.sha256
    dump_extra(tmp_path / "root", tmp_path / "ours", [*by], classes=by["VAL"][0])
    for split in by:
        numbering = read_description(tmp_path / "ours", split).numbering
        assert (numbering.splits, numbering.sha256) == (by[split][1], due[split])
        assert (numbering.classes == by[split][0]) or not train
    (tmp_path / "root/test").mkdir()
    (tmp_path / "root/test/ILSVRC2012_test_00000001.JPEG").touch()
    dump(tmp_path / "root", extra, "TEST")
    assert adopt(tmp_path / "root", extra).ok
    assert read_description(extra, "TEST").numbering is None


def test_a_split_that_was_made_through_a_view_is_adopted_with_it(tmp_path: Path) -> None:
    root, extra = photos(tmp_path, "a b", "a"), tmp_path / "extra"
    dump_extra(root, extra)
    before = read_description(extra, "VAL")
    (extra / "metadata-VAL.json").unlink()
    assert adopt(root, extra).ok
    after = read_description(extra, "VAL")
    assert (after.root, after.layout) == (before.root, before.layout)
    assert after.numbering == before.numbering


def test_wrong_files_are_not_adopted(tree: Path, extra: Path) -> None:
    edit(extra, "VAL", put("actual_index", 0, 2))
    done = command("--root", tree, "--extra", extra, "--adopt")
    assert done.returncode == 1
    assert not list(extra.glob("*.json"))
    assert not (extra / WORK).exists()


def test_right_files_of_another_form_are_not_adopted(tree: Path, extra: Path) -> None:
    edit(extra, "TRAIN", array("class-ids", lambda ids: ids.astype("<U20")))
    assert check(tree, extra).ok
    with pytest.raises(MetadataError, match=r"class-ids-TRAIN.npy is right for training, but"):
        adopt(tree, extra)
    assert not list(extra.glob("*.json"))


def test_files_that_change_before_they_are_adopted(
    tree: Path, extra: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dinov3_metadata.checks import adopt as module

    real = module.judge

    def judge(*what: object) -> object:
        judged = real(*what)
        edit(extra, "VAL", put("actual_index", 0, 2))
        return judged

    monkeypatch.setattr(module, "judge", judge)
    with pytest.raises(
        MetadataError, match=r"entries-VAL.npy or a file that belongs to it changed"
    ):
        adopt(tree, extra)
    assert not list(extra.glob("*.json"))


def test_each_kind_is_explained_in_the_documents() -> None:
    for document in ("docs/check.md", "docs/check.zh-CN.md"):
        text = (REPOSITORY / document).read_text()
        assert set(re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)) == {*KINDS}


def test_the_document_shows_what_the_command_prints(tmp_path: Path) -> None:
    root, extra = make_tree(tmp_path / "root"), tmp_path / "extra"
    shutil.rmtree(root / "val/n01440764")
    for split in SPLITS:
        dump(root, extra, split)
    (root / "train/n01440764/n01440764_9.JPEG").unlink()
    said = str(check(root, extra)).replace(str(root), "<ROOT>").replace(str(extra), "<EXTRA>")
    assert f"```\n{said}\n```\n" in (REPOSITORY / "docs/check.md").read_text()


def test_the_package_offers_it_without_a_heavy_import() -> None:
    code = "import sys, dinov3_metadata.__main__; print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow")}
    said = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert {"numpy", "torch"}.isdisjoint(said.split())


RANDOM = {
    "number": st.tuples(st.integers(0, 29), st.integers(50, 2**32 - 1)),
    "class_index": st.tuples(st.integers(0, 29), st.integers(3, 2**32 - 1)),
    "class_id": st.tuples(st.integers(0, 29), st.sampled_from(["n0", "n3", "x", ""])),
    "class_name": st.tuples(st.integers(0, 29), st.text(max_size=3)),
    "lost": st.integers(0, 29),
    "twice": st.integers(0, 29),
    "exchanged": st.tuples(st.integers(0, 29), st.integers(0, 29)),
}
EXPECTED = {
    "number": {"missing"},
    "class_index": {"mixed-numbers", "class-numbers"},
    "class_id": {"missing", "wrong-class", "duplicate"},
    "class_name": {"name-stale", "name-cut", "name-swapped"},
    "lost": {"no-row"},
    "twice": {"duplicate"},
    "exchanged": {"order"},
}


@pytest.fixture(scope="module")
def thirty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A split of three classes with ten images each; root and extra."""
    folder = tmp_path_factory.mktemp("thirty")
    files = [image_path("TRAIN", f"n{i}", number) for i in range(3) for number in range(10)]
    root = make_tree(folder / "root", files, "n0,zero\nn1,one\nn2,two\n")
    dump(root, folder / "extra", "TRAIN")
    return root, folder / "extra"


@given(data=st.data(), kind=st.sampled_from([*RANDOM]))
@settings(max_examples=150)
def test_random_faults(data: st.DataObject, kind: str, thirty: tuple[Path, Path]) -> None:
    root, extra = thirty
    path = extra / "entries-TRAIN.npy"
    good, entries = path.read_bytes(), np.load(path)
    what = data.draw(RANDOM[kind])
    new = entries.copy()
    if kind == "lost":
        new = np.delete(entries, what)
    elif kind == "twice":
        new = np.insert(entries, data.draw(st.integers(0, 30)), entries[what])
    elif kind == "exchanged":
        new[list(what)] = new[list(what)[::-1]]
    else:
        column = {"number": "actual_index"}.get(kind, kind)
        new[column][what[0]] = what[1]
    try:
        np.save(path, new)
        found = set(kinds(check(root, extra)))
    finally:
        path.write_bytes(good)
    if np.array_equal(new, entries):
        assert not found
    else:
        assert found & EXPECTED[kind], found
    assert check(root, extra).ok


@pytest.mark.parametrize("name", ["root", "dataset"])
def test_a_path_that_no_file_system_can_have_is_damage(name: str, tree: Path, extra: Path) -> None:
    path = extra / "metadata-TRAIN.json"
    dump_extra(tree, extra)
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: "/\ud800"}))
    assert "description" in kinds(check(tree, extra))
