"""Each check of ``verify`` fails when the thing it names is broken."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata.artefacts import Report
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.files import sha256
from dinov3_metadata.fingerprint import Record, write_record
from dinov3_metadata.formats import FileDigest
from dinov3_metadata.stages import verify as verify_module
from dinov3_metadata.stages.labels import read_labels
from dinov3_metadata.stages.scan import scan_images
from dinov3_metadata.stages.verify import check_files, verify
from dinov3_metadata.witness import image_folder
from helpers import dump, make_tree

Check = Callable[..., Report]


@pytest.fixture
def check(tree: Path, tmp_path: Path) -> Check:
    """Dump a split, let ``damage(arrays)`` change the files by published name, and verify."""

    def run(split: str = "TRAIN", damage: Callable | None = None, **options) -> Report:
        scan, *_ = scan_images(tree, split, unaddressable="skip")
        labels = None if split == "TEST" else read_labels(tree / "labels.txt")
        files = dump(tree, tmp_path / "extra", split, unaddressable="skip")
        if damage:
            damage({name.split("-TRAIN")[0]: path for name, path in files.items()})
        return check_files(
            {name: str(path) for name, path in files.items()},
            scan,
            labels,
            root=tree,
            split=split,
            **options,
        )

    return run


@pytest.mark.parametrize("level", ["sample", "full"])
@pytest.mark.parametrize("split", ["TRAIN", "VAL", "TEST"])
def test_report(split: str, level: str, check: Check, tmp_path: Path) -> None:
    report = check(split, level=level)
    entries = tmp_path / f"extra/entries-{split}.npy"
    assert report.split == split
    assert report.images == len(np.load(entries))
    assert report.classes == (0 if split == "TEST" else 3)
    assert report.class_id_length == (0 if split == "TEST" else 9)
    assert report.class_name_length == (0 if split == "TEST" else 17)
    assert report.files[entries.name] == FileDigest(entries.stat().st_size, sha256(entries))
    assert ("fresh" in report.checks[-1]) == (level == "full")


@pytest.mark.needs("torchvision")
def test_the_stage_keeps_the_report(check: Check, tree: Path, tmp_path: Path) -> None:
    due = check(level="full")
    scan, folders, _ = scan_images(tree, "TRAIN")
    paths = {name: tmp_path / name for name in ("scan", "folders", "labels", "report")}
    scan.save(paths["scan"])
    make_tree(tree, ["train/n02/n02_1.JPEG"])
    write_record(paths["folders"], Record("", folders, retired=("n02",)))
    read_labels(tree / "labels.txt").save(paths["labels"])
    names = {"new_entries": "entries", "new_class_ids": "class-ids"}
    names["new_class_names"] = "class-names"
    new = {name: tmp_path / f"extra/{file}-TRAIN.npy" for name, file in names.items()}
    verify(**paths, **new, root=str(tree), split="TRAIN", level="full")
    assert replace(Report.load(paths["report"]), verified="") == replace(due, verified="")


def change(name: str, edit: Callable[[np.ndarray], np.ndarray | None]) -> Callable:
    def damage(files: dict[str, Path]) -> None:
        array = np.load(files[name])
        changed = edit(array)
        np.save(files[name], array if changed is None else changed)

    return damage


def put(column: str, row: int, value: object) -> Callable:
    def edit(rows: np.ndarray) -> None:
        rows[column][row] = value

    return change("entries", edit)


DAMAGES = {
    "header": (
        lambda files: files["entries"].write_bytes(b"\x93NUMPY\x01\x00" + b"x" * 200),
        r"entries-TRAIN.npy: the header or the size does not match 4 rows of",
    ),
    "truncated": (
        lambda files: files["entries"].write_bytes(files["entries"].read_bytes()[:-1]),
        r"entries-TRAIN.npy: the header or the size",
    ),
    "garbage after the data": (
        lambda files: files["class-ids"].open("ab").write(b"garbage"),
        r"class-ids-TRAIN.npy: the header or the size",
    ),
    "version 2.0": (
        lambda files: np.lib.format.write_array(
            files["class-ids"].open("rb+"), np.load(files["class-ids"]), version=(2, 0)
        ),
        r"class-ids-TRAIN.npy: the header or the size",
    ),
    "gone": (
        lambda files: files["class-ids"].unlink(),
        r"class-ids-TRAIN.npy cannot be read back",
    ),
    "byte order": (
        change("class-ids", lambda ids: ids.astype(">U9")),
        r"class-ids-TRAIN.npy: the header or the size",
    ),
    "pickled": (
        change("class-ids", lambda ids: ids.astype(object)),
        r"class-ids-TRAIN.npy: the header or the size",
    ),
    "field order": (
        change(
            "entries",
            lambda rows: np.array(rows.tolist(), [rows.dtype.descr[i] for i in (1, 0, 2, 3)]),
        ),
        r"entries-TRAIN.npy: the header or the size",
    ),
    "wider dtype": (
        change("class-names", lambda names: names.astype("<U30")),
        r"class-names-TRAIN.npy: the header or the size",
    ),
    "shape": (
        change("entries", lambda rows: rows.reshape(2, 2)),
        r"entries-TRAIN.npy: the header or the size",
    ),
    "class array shape": (
        change("class-names", lambda names: names[:2]),
        r"class-names-TRAIN.npy: the header or the size",
    ),
    "lost row": (
        change("entries", lambda rows: rows[:-1]),
        r"entries-TRAIN.npy: the header or the size",
    ),
    "row order": (
        change("entries", lambda rows: rows[[1, 0, 2, 3]]),
        r"that differ from the scan(?s:.)*row 0",
    ),
    "actual_index": (
        put("actual_index", 3, 2),
        r"that differ from the scan:\n  row 3: \(2, 2, 'n01484850'",
    ),
    "class_index": (put("class_index", 1, 2), r"that differ from the scan:\n  row 1"),
    "class_index beyond": (put("class_index", 3, 3), r"that differ from the scan:\n  row 3"),
    "class_id": (put("class_id", 0, "n01440765"), r"that differ from the scan:\n  row 0"),
    "class_name": (put("class_name", 2, "goldfisk"), r"that differ from the scan:\n  row 2"),
    "class ids": (
        change("class-ids", lambda ids: ids[::-1]),
        r"class ids differ from those that were numbered",
    ),
    "class names": (
        change("class-names", lambda names: names[[1, 0, 2]]),
        r"that differ from the labels:\n  n01440764: 'goldfish', but 'tench' is expected",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found(
    damage: str, check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_module, "BLOCK", 250)
    edit, message = DAMAGES[damage]
    with pytest.raises(MetadataError, match=message):
        check(damage=edit)
    assert list((tmp_path / "extra").iterdir()) == []  # so that the next run rebuilds them


def test_names_that_are_all_too_wide_are_found(check: Check) -> None:
    def widen(files: dict[str, Path]) -> None:
        rows, names = np.load(files["entries"]), np.load(files["class-names"])
        wide = [(*column[:1], "<U20") if column[0] == "class_name" else column
                for column in rows.dtype.descr]  # fmt: skip
        np.save(files["entries"], rows.astype(wide))
        np.save(files["class-names"], names.astype("<U20"))

    with pytest.raises(MetadataError, match=r"entries-TRAIN.npy: the header or the size"):
        check(damage=widen)


@pytest.mark.parametrize(("level", "rows"), [("sample", 4), ("full", 4)])
def test_an_image_that_vanished_is_found(level: str, rows: int, check: Check, tree: Path) -> None:
    def remove(_files: dict[str, Path]) -> None:
        (tree / "train/n01443537/n01443537_177134.JPEG").unlink()

    message = (
        rf"1 of the {rows} images checked cannot be opened(?s:.)*n01443537_177134.JPEG \(missing"
    )
    with pytest.raises(MetadataError, match=message):
        check(damage=remove, level=level)


def test_the_sample_is_spread_over_the_split(check: Check, tree: Path) -> None:
    def remove(_files: dict[str, Path]) -> None:
        (tree / "train/n01440764/n01440764_9.JPEG").unlink()

    report = check(damage=remove, sample=2)  # rows 0 and 3
    assert "the paths of 2 rows of 4 exist" in report.checks


@pytest.mark.needs("torchvision")
@pytest.mark.parametrize("split", ["TRAIN", "TEST"])
def test_the_witness_finds_an_image_that_the_scan_has_not(
    split: str, check: Check, tree: Path
) -> None:
    new = {
        "TRAIN": "train/n01440764/n01440764_1.JPEG",
        "TEST": "test/ILSVRC2012_test_00000009.JPEG",
    }
    with pytest.raises(MetadataError, match=r"1 of them not in the entries \(0 skipped\)"):
        check(split, level="full", damage=lambda _files: make_tree(tree, [new[split]]))


@pytest.mark.needs("torchvision")
def test_the_witness_allows_for_skipped_images(check: Check, tree: Path) -> None:
    make_tree(tree, ["train/n01440764/n01440764_1.png"])
    report = check(level="full")
    assert report.skipped == 1


def test_a_link_that_leads_nowhere_is_called_one(check: Check, tree: Path) -> None:
    path = tree / "train/n01443537/n01443537_177134.JPEG"

    def exchange(_files: dict[str, Path]) -> None:
        path.unlink()
        path.symlink_to("nowhere")

    with pytest.raises(MetadataError, match=r"_177134.JPEG \(a dangling link to nowhere\)"):
        check(damage=exchange)


@pytest.mark.needs("torchvision")
def test_the_witness_knows_the_classes(check: Check, tree: Path) -> None:
    with pytest.raises(MetadataError, match=r"ImageFolder finds other classes"):
        check(level="full", damage=lambda _files: make_tree(tree, ["train/n02/n02_1.JPEG"]))


@pytest.mark.needs("torchvision")
def test_an_addressable_image_can_not_pass_as_skipped(check: Check, tree: Path) -> None:
    make_tree(tree, ["train/n01440764/photo.png"])

    def exchange(_files: dict[str, Path]) -> None:
        (tree / "train/n01440764/photo.png").rename(tree / "train/n01440764/n01440764_7.JPEG")

    with pytest.raises(MetadataError, match=r"\(1 skipped\):\n  train/n01440764/n01440764_7.JPEG"):
        check(level="full", damage=exchange)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (os.mkdir, "a folder"),
        (os.mkfifo, "a FIFO"),
        (lambda path: os.symlink("/dev/null", path), "a device"),
    ],
)
def test_only_files_are_images(make: Callable, kind: str, check: Check, tree: Path) -> None:
    path = tree / "train/n01440764/n01440764_9.JPEG"

    def exchange(_files: dict[str, Path]) -> None:
        path.unlink()
        make(path)

    with pytest.raises(MetadataError, match=rf"n01440764_9.JPEG \({kind}, not a file\)"):
        check(damage=exchange)


@pytest.mark.needs("torchvision")
@pytest.mark.parametrize("split", ["TRAIN", "TEST"])
def test_special_files_that_were_skipped_are_no_oversight(
    split: str, check: Check, tree: Path
) -> None:
    os.mkfifo(tree / "train/n01440764/n01440764_5.JPEG")
    os.mkfifo(tree / "test/ILSVRC2012_test_00000005.JPEG")
    (tree / "train/n01440764/n01440764_6.JPEG").symlink_to("nowhere")
    (tree / "test/ILSVRC2012_test_00000006.JPEG").symlink_to("nowhere")
    assert check(split, level="full").skipped == 2


@pytest.mark.needs("torchvision")
def test_a_folder_that_image_folder_cannot_read(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path, **options: object) -> None:
        raise OSError(5, "Input/output error", str(folder))

    monkeypatch.setattr("torchvision.datasets.ImageFolder", refuse)
    with pytest.raises(MetadataError, match=r"ImageFolder cannot read .*Input/output error"):
        image_folder(tree / "train")
