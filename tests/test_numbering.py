"""Numbering: a class has the same class_index in TRAIN and in VAL, or somebody says so."""

import errno
import json
import os
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dinov3_metadata import (
    ImageNetMetadata,
    MetadataError,
    check,
    current,
    dump_extra,
    published,
)
from dinov3_metadata.artefacts import Numbering
from dinov3_metadata.errors import DamagedError, DatasetChangedError
from dinov3_metadata.formats import read_description
from dinov3_metadata.loop import known_settings
from dinov3_metadata.paths import WORK, work_folder
from dinov3_metadata.present import Chain
from dinov3_metadata.report.pages import draw_report
from dinov3_metadata.stages import numbering
from dinov3_metadata.summary import summarise
from helpers import digests, dump, make_scan, make_tree

NFC, NFD = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))


def make(root: Path, train: list[str], val: list[str], more: tuple[str, ...] = ()) -> Path:
    """Make a dataset in DINOv3's layout with these classes and an image of each; labels for all."""
    files = [f"train/{one}/{one}_{i}.JPEG" for i, one in enumerate(train)]
    files += [f"val/{one}/ILSVRC2012_val_{i + 1:08d}.JPEG" for i, one in enumerate(val)]
    classes = sorted({*train, *val, *more})
    return make_tree(root, files, "".join(f"{one},name of {one}\n" for one in classes))


def numbers(extra: Path, split: str) -> dict[str, int]:
    """The class_index of each class that a split has images of, from its entries."""
    rows = np.load(extra / f"entries-{split}.npy")
    ids = np.load(extra / f"class-ids-{split}.npy").tolist()
    names = np.load(extra / f"class-names-{split}.npy").tolist()
    assert names == [f"name of {one}" for one in ids]
    assert [ids[i] for i in rows["class_index"]] == rows["class_id"].tolist()
    assert [names[i] for i in rows["class_index"]] == rows["class_name"].tolist()
    return dict(zip(rows["class_id"].tolist(), rows["class_index"].tolist(), strict=True))


def listed(*ids: str) -> dict[str, int]:
    return {one: i for i, one in enumerate(ids)}


MATRIX: dict[str, tuple[list[str], list[str], dict[str, Any]]] = {
    "the same classes": (
        ["a", "b"],
        ["a", "b"],
        {mode: (listed("a", "b"), listed("a", "b")) for mode in ("train", "union", "own")},
    ),
    "VAL lacks one in the middle": (
        ["a", "b", "c"],
        ["a", "c"],
        {
            "train": (listed("a", "b", "c"), {"a": 0, "c": 2}),
            "union": (listed("a", "b", "c"), {"a": 0, "c": 2}),
            "own": (listed("a", "b", "c"), {"a": 0, "c": 1}),
        },
    ),
    "VAL lacks the last one": (
        ["a", "b", "c"],
        ["a", "b"],
        {mode: (listed("a", "b", "c"), {"a": 0, "b": 1}) for mode in ("train", "union", "own")},
    ),
    "VAL has more": (
        ["b", "d"],
        ["a", "b", "d"],
        {
            "train": ["VAL has 1 class that TRAIN lacks", "  a (the most similar one in TRAIN is "],
            "union": ({"b": 1, "d": 2}, listed("a", "b", "d")),
            "own": (listed("b", "d"), listed("a", "b", "d")),
        },
    ),
    "no class in common": (
        ["a", "b"],
        ["x", "y"],
        {
            "train": [
                "VAL has 2 classes that TRAIN lacks",
                "  x (the most similar",
                "  y (the most similar",
            ],
            "union": (listed("a", "b"), {"x": 2, "y": 3}),
            "own": (listed("a", "b"), listed("x", "y")),
        },
    ),
    "as many, but others": (
        ["cat", "cow", "dog"],
        ["cat", "dog", "dogs"],
        {
            "train": ["VAL has 1 class that", "  dogs (the most similar one in TRAIN is dog"],
            "union": ({"cat": 0, "cow": 1, "dog": 2}, {"cat": 0, "dog": 2, "dogs": 3}),
            "own": (listed("cat", "cow", "dog"), listed("cat", "dog", "dogs")),
        },
    ),
    "other capitals": (
        ["cat", "dog"],
        ["Cat", "dog"],
        {
            "train": [
                "VAL has 1 class that TRAIN lacks",
                "  Cat (TRAIN has cat, which differs in capitals)",
            ],
            "union": ({"cat": 1, "dog": 2}, {"Cat": 0, "dog": 2}),
            "own": (listed("cat", "dog"), listed("Cat", "dog")),
        },
    ),
    "another Unicode form": (
        [NFC, "z"],
        [NFD, "z"],
        {
            "train": [
                "VAL has 1 class",
                f"  {NFD} (TRAIN has {NFC}, which differs in Unicode form (U+00E9, U+0301))",
            ],
            "union": ({"z": 1, NFC: 2}, {NFD: 0, "z": 1}),
            "own": (listed("z", NFC), listed(NFD, "z")),
        },
    ),
    "numbers": (
        ["1", "2", "10"],
        ["10", "2"],
        {
            "train": (listed("1", "10", "2"), {"10": 1, "2": 2}),
            "union": (listed("1", "10", "2"), {"10": 1, "2": 2}),
            "own": (listed("1", "10", "2"), listed("10", "2")),
        },
    ),
    "a hidden folder": (
        ["a", "b"],
        [".b", "b"],
        {
            "train": ["VAL has 1 class that", "  .b (the most similar one in TRAIN is b)"],
            "union": ({"a": 1, "b": 2}, {".b": 0, "b": 2}),
            "own": (listed("a", "b"), listed(".b", "b")),
        },
    ),
}
"""What is wrong -> classes of TRAIN, classes of VAL, and for each setting the numbers of both, or
what the error says."""


@pytest.mark.parametrize("classes", ["train", "union", "own"])
@pytest.mark.parametrize("kind", MATRIX)
def test_matrix(kind: str, classes: str, tmp_path: Path) -> None:
    train, val, expected = MATRIX[kind]
    root, extra = make(tmp_path / "root", train, val, ("only in labels",)), tmp_path / "extra"
    if isinstance(expected[classes], list):
        with pytest.raises(MetadataError) as error:
            dump_extra(root, extra, classes=classes)
        said = str(error.value)
        assert all(text in said for text in expected[classes])
        alike = ", which differs in" in said  # then they are no classes of their own
        assert ("Give them the names" in said) == alike
        for advice in ("classes: union", "classes: own", "Correct their names"):
            assert (advice in said) != alike
        assert not list(extra.glob("*.npy"))
        return
    chain = dump_extra(root, extra, classes=classes)
    assert (numbers(extra, "TRAIN"), numbers(extra, "VAL")) == expected[classes]
    said = summarise(chain)
    known = listed(*np.load(extra / "class-ids-TRAIN.npy").tolist())
    aligned = all(known.get(one) == index for one, index in numbers(extra, "VAL").items())
    assert ("number their classes differently" in said) == (not aligned)
    assert aligned or classes == "own"
    digest = {split: read_description(extra, split).numbering.sha256 for split in ("TRAIN", "VAL")}
    assert (digest["TRAIN"] == digest["VAL"]) == (classes != "own" or set(train) == set(val))


def test_what_val_lacks_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = [f"c{i:02d}" for i in range(13)]
    root, extra = make(tmp_path / "root", train, train[:1]), tmp_path / "extra"
    chain = dump_extra(root, extra)
    said = summarise(chain)
    first = ", ".join(train[1:11])
    note = f"VAL lacks 12 of the 13 classes of TRAIN: {first}, .... They are numbered anyway"
    assert note in said
    assert note in caplog.text
    about = read_description(extra, "VAL")
    assert about.classes == 13
    assert about.numbering.splits == ["TRAIN"]


def test_both_lack_classes_of_the_other(tmp_path: Path) -> None:
    root, extra = make(tmp_path / "root", ["a", "b"], ["b", "c"]), tmp_path / "extra"
    dump_extra(root, extra, classes="union")
    notes = [read_description(extra, split).notes for split in ("TRAIN", "VAL")]
    assert notes[0][0].startswith("TRAIN lacks 1 of the 3 classes of TRAIN and VAL: c.")
    assert notes[1][0].startswith("VAL lacks 1 of the 3 classes of TRAIN and VAL: a.")


def test_numbers_as_names_are_told(tmp_path: Path) -> None:
    ten = [str(i) for i in range(12)]
    root, extra = make(tmp_path / "root", ten, ten), tmp_path / "extra"
    dump_extra(root, extra)
    (note,) = read_description(extra, "TRAIN").notes
    assert note.endswith("the order of their text: 10 has 2 and 11 has 3.")
    padded = [f"{i:02d}" for i in range(12)]
    dump_extra(make(tmp_path / "padded", padded, padded), extra)
    assert read_description(extra, "TRAIN").notes == []


def test_train_counts_if_only_val_is_asked_for(tmp_path: Path) -> None:
    root, extra = make(tmp_path / "root", ["a", "b", "c"], ["a", "c"]), tmp_path / "extra"
    dump_extra(root, extra, ["VAL"])
    assert numbers(extra, "VAL") == {"a": 0, "c": 2}
    assert not (extra / "entries-TRAIN.npy").exists()


@pytest.mark.parametrize("empty", [True, False])
def test_without_train_nothing_is_compared(empty: bool, tmp_path: Path) -> None:
    root, extra = make(tmp_path / "root", [], ["a", "c"]), tmp_path / "extra"
    if empty:
        (root / "train").mkdir()
    chain = dump_extra(root, extra, ["VAL"])
    assert numbers(extra, "VAL") == {"a": 0, "c": 1}
    said = summarise(chain)
    assert "VAL is numbered by its own classes: there are no class folders of TRAIN" in said
    assert read_description(extra, "VAL").numbering.splits == ["VAL"]


def test_train_alone_needs_no_val(tmp_path: Path) -> None:
    root, extra = make(tmp_path / "root", ["a", "c"], []), tmp_path / "extra"
    dump_extra(root, extra, ["TRAIN"])
    assert read_description(extra, "TRAIN").notes == []


def test_a_class_of_train_renumbers_val_and_an_image_does_not(tmp_path: Path) -> None:
    root, extra = make(tmp_path / "root", ["b", "c"], ["b", "c"], ("a",)), tmp_path / "extra"
    before = dump_extra(root, extra)
    make_tree(root, ["train/b/b_77.JPEG"], (root / "labels.txt").read_text())
    after = dump_extra(root, extra)
    assert after.now["TRAIN"].state != before.now["TRAIN"].state
    assert after.now["VAL"].state == before.now["VAL"].state
    make_tree(root, ["train/a/a_1.JPEG"], (root / "labels.txt").read_text())
    scan = before.now["VAL"].state["tree"]
    renumbered = dump_extra(root, extra)
    assert renumbered.now["VAL"].state["tree"] == scan
    assert numbers(extra, "VAL") == {"b": 1, "c": 2}
    assert np.load(extra / "class-ids-VAL.npy").tolist() == ["a", "b", "c"]


def test_own_bytes_are_those_of_each_split_alone(tmp_path: Path) -> None:
    root, extra = make(tmp_path / "root", ["a", "b", "c"], ["a", "c"]), tmp_path / "extra"
    dump_extra(root, extra, classes="own")
    for split in ("TRAIN", "VAL"):
        dump(root, tmp_path / "alone", split)
    assert digests(extra) == digests(tmp_path / "alone")


LAYOUTS = {
    "folder": (
        [f"train/{one}/photo of {one}.jpg" for one in "abc"],
        [f"val/{one}/photo.png" for one in "ac"],
        "",
    ),
    "kaggle": (
        [f"ILSVRC/Data/CLS-LOC/train/{one}/{one}_1.JPEG" for one in "abc"],
        [f"ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_0000000{i}.JPEG" for i in (1, 2)],
        "ImageId,PredictionString\n"
        "ILSVRC2012_val_00000001,a 1 2 3 4\nILSVRC2012_val_00000002,c 1 2 3 4\n",
    ),
    "tiny-imagenet": (
        [f"train/{one}/images/{one}_0.JPEG" for one in "abc"],
        [f"val/images/val_{i}.JPEG" for i in (0, 1)],
        "val_0.JPEG\ta\t0\t0\t9\t9\nval_1.JPEG\tc\t0\t0\t9\t9\n",
    ),
}


@pytest.mark.parametrize("classes", ["train", "union", "own"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_through_a_view(layout: str, classes: str, tmp_path: Path) -> None:
    train, val, annotations = LAYOUTS[layout]
    labels = "".join(f"{one},name of {one}\n" for one in "abc")
    root, extra = make_tree(tmp_path / "root", [*train, *val], labels), tmp_path / "extra"
    make_tree(root, ["train/.hidden/x.jpg"] if layout == "folder" else [], labels)
    if layout == "kaggle":
        (root / "LOC_val_solution.csv").write_text(annotations)
    elif layout == "tiny-imagenet":
        (root / "wnids.txt").write_text("a\nb\nc\n")
        (root / "val/val_annotations.txt").write_text(annotations)
    chain = dump_extra(root, extra, classes=classes)
    assert chain.layout == layout
    assert numbers(extra, "TRAIN") == listed("a", "b", "c")
    assert numbers(extra, "VAL") == ({"a": 0, "c": 1} if classes == "own" else {"a": 0, "c": 2})


def test_unlabelled_images_are_not_compared(tmp_path: Path) -> None:
    root, extra = make_tree(tmp_path / "root", ["train/x.jpg", "val/y.jpg"], ""), tmp_path / "extra"
    (root / "labels.txt").unlink()
    chain = dump_extra(root, extra)
    assert chain.layout == "flat"
    for split in ("TRAIN", "VAL"):
        assert np.load(extra / f"entries-{split}.npy")["class_index"].tolist() == [0]
        assert read_description(extra, split).notes == []
    said = summarise(chain)
    assert "number their classes differently" not in said


def test_folders_that_change_before_they_are_numbered(tmp_path: Path) -> None:
    root = make(tmp_path / "root", ["a", "b"], ["a"])
    classes = Chain(dump_extra(root, tmp_path / "extra").settings).numbered_by
    (root / "train/c").mkdir()
    given = {"dataset": str(root), "layout": "imagenet", "classes": classes, "parts": {}}
    with pytest.raises(DatasetChangedError, match="changed during this run"):
        numbering.number_classes(numbering=tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_a_class_that_appears_after_all_were_numbered(tmp_path: Path) -> None:
    path = tmp_path / "numbering"
    Numbering(["a", "b"], ["TRAIN", "VAL"]).save(path)
    scan = make_scan(["a", "c"], [1, 1], [1, 2])
    loaded = Numbering.load(path, scan)
    assert loaded.of(["b", "a"]) == [1, 0]
    with pytest.raises(
        DatasetChangedError, match="1 class appeared during this run, for instance c"
    ):
        loaded.of(scan.class_ids.tolist())


def test_a_damaged_numbering_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "numbering"
    Numbering(["a", "b"], ["TRAIN"]).save(path)
    path.write_bytes(path.read_bytes().replace(b'"b"', b'"c"'))
    with pytest.raises(DamagedError, match="its digest does not match"):
        Numbering.load(path, make_scan(["a"], [1], [1]))


def test_check_stat_notices_a_class_of_train(tmp_path: Path) -> None:
    """VAL alone is opened, but its numbers depend on the class folders of TRAIN."""
    root, extra = make(tmp_path / "root", ["b", "c"], ["b", "c"], ("a",)), tmp_path / "extra"
    dump_extra(root, extra)
    assert len(ImageNetMetadata(root, extra, "VAL", check="stat")) == 2
    make_tree(root, ["train/a/a_1.JPEG"], (root / "labels.txt").read_text())
    with pytest.raises(MetadataError, match="1 folder or file has changed") as error:
        ImageNetMetadata(root, extra, "VAL", check="stat")
    assert str(root / "train") in str(error.value)


@pytest.mark.needs("matplotlib")
def test_report_and_audit_have_the_numbers_of_train(tmp_path: Path) -> None:
    root, extra = make(tmp_path / "root", ["a", "b", "c"], ["a", "c"]), tmp_path / "extra"
    dump_extra(root, extra, fail_on=["truncated"])
    assert np.load(extra / "audit-VAL.npy")["class_index"].tolist() == [0, 2]
    listed_as_bad = json.loads((extra / "audit-VAL.json").read_text())["not_ok"]
    assert [one["image"].split("/")[1] for one in listed_as_bad] == ["a", "c"]
    pages = {one["title"]: Path(one["path"]) for one in draw_report(extra, ["TRAIN", "VAL"])}
    assert "VAL lacks 1 of the 3 classes of TRAIN: b." in pages["Counts per split"].read_text()
    assert "0 to 1 images" in pages["Images per class, VAL"].read_text()
    (root / "labels.txt").write_text("0,zero\n" + (root / "labels.txt").read_text())
    make_tree(root, ["train/0/0_1.JPEG"], (root / "labels.txt").read_text())
    dump_extra(root, extra, fail_on=["truncated"])
    assert np.load(extra / "audit-VAL.npy")["class_index"].tolist() == [1, 3]


@pytest.mark.parametrize("classes", ["train", "union", "own"])
def test_the_loop_and_the_launcher_keep_the_setting(classes: str, tmp_path: Path) -> None:
    root, extra = make(tmp_path / "root", ["a", "b"], ["a"]), tmp_path / "extra"
    dump_extra(root, extra, classes=classes)
    assert known_settings(str(root), str(extra))["classes"] == classes


@pytest.mark.parametrize("classes", ["train", "union"])
def test_val_made_without_train_is_stale_once_train_is_there(classes: str, tmp_path: Path) -> None:
    root, extra = make(tmp_path / "root", ["a", "b", "c"], ["a", "c"]), tmp_path / "extra"
    (root / "train").rename(tmp_path / "away")
    dump_extra(root, extra, ["VAL"], classes=classes)
    ImageNetMetadata(root, extra, "VAL", check="stat")
    (tmp_path / "away").rename(root / "train")
    dump_extra(root, extra, ["TRAIN"], classes=classes)
    with pytest.raises(MetadataError, match=f"VAL: 1 folder or file (?s:.*){root}/train"):
        ImageNetMetadata(root, extra, "VAL", check="stat")
    dump_extra(root, extra, ["VAL"], classes=classes)
    assert numbers(extra, "VAL") == {"a": 0, "c": 2}


def test_a_folder_that_cannot_be_listed_is_not_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, extra = make(tmp_path / "root", ["a", "b", "c"], ["a", "c"]), tmp_path / "extra"
    dump_extra(root, extra)
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path) == f"{root}/train":
            raise OSError(errno.EIO, "Input/output error", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(MetadataError, match="/train cannot be listed: Input/output error"):
        dump_extra(root, extra, ["VAL"])
    assert numbers(extra, "VAL") == {"a": 0, "c": 2}


def test_classes_of_annotations_without_an_image_do_not_count(tmp_path: Path) -> None:
    train, val, annotations = LAYOUTS["tiny-imagenet"]
    labels = "".join(f"{one},name of {one}\n" for one in "abc")
    root, extra = make_tree(tmp_path / "root", [*train, *val], labels), tmp_path / "extra"
    (root / "wnids.txt").write_text("a\nb\nc\n")
    file = root / "val/val_annotations.txt"
    file.write_text(f"{annotations}val_9.JPEG\t0\t0\t0\t9\t9\n")  # no such image, no such class
    before = dump_extra(root, extra, classes="union").now["TRAIN"].state
    assert numbers(extra, "TRAIN") == listed("a", "b", "c")
    make_tree(root, ["val/images/val_2.JPEG"], labels)
    file.write_text(f"{annotations}val_2.JPEG\ta\t0\t0\t9\t9\n")
    after = dump_extra(root, extra, classes="union").now["TRAIN"].state
    assert after == before  # an image of VAL adds no class


def test_a_scan_that_finds_other_classes_than_the_numbering_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, extra = make(tmp_path / "root", ["a", "b"], ["a"]), tmp_path / "extra"
    monkeypatch.setattr(current, "class_ids_of", lambda *_: ["0", "a", "b"])
    monkeypatch.setattr(numbering, "class_ids_of", lambda *_: ["0", "a", "b"])
    monkeypatch.setattr(published, "class_ids_of", lambda *_: ["0", "a", "b"])
    (root / "labels.txt").write_text("0,zero\na,A\nb,B\n")
    with pytest.raises(MetadataError, match="found other classes than those by which VAL"):
        dump_extra(root, extra)
    assert not list(extra.glob("*.npy"))


def test_two_numberings_with_other_ids_have_other_digests() -> None:
    assert Numbering(["a\nb", "c"]).sha256 != Numbering(["a", "b\nc"]).sha256


def test_a_view_that_has_not_seen_a_class_does_not_count_other_numbers(tmp_path: Path) -> None:
    """A folder that was a work folder is a class now, but no timestamp of the others shows it."""
    files = [f"train/{one}/1.jpg" for one in ("a", "m", "z")] + ["val/a/1.jpg", "val/z/1.jpg"]
    root, extra = make_tree(tmp_path / "root", files, ""), tmp_path / "extra"
    (root / "labels.txt").unlink()
    (root / f"train/m/{WORK}").mkdir()
    dump_extra(root, extra)
    before = digests(extra)
    (root / f"train/m/{WORK}").rmdir()
    with pytest.raises(MetadataError, match="found other classes than those by which VAL"):
        dump_extra(root, extra)
    assert digests(extra) == before
    shutil.rmtree(work_folder(extra))
    dump_extra(root, extra)
    assert np.load(extra / "entries-TRAIN.npy")["class_index"].tolist() == [0, 1, 2]
    assert np.load(extra / "entries-VAL.npy")["class_index"].tolist() == [0, 2]


def test_a_check_has_nothing_to_say_about_a_class_that_val_lacks(tmp_path: Path) -> None:
    root, extra = make(tmp_path / "root", ["a", "the longest", "z"], ["a", "z"]), tmp_path / "extra"
    dump_extra(root, extra)
    result = check(root, extra)
    assert result.ok
    assert "room" not in str(result)
