"""Lists of classes and images: which forms are read, what a line names, and what is refused."""

import gzip
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata import texts
from dinov3_metadata.addresses import image_name, image_path
from dinov3_metadata.artefacts import Scan
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.stages.lists import Matched, match_images, read_classes
from hypothesis import given, settings
from hypothesis import strategies as st

IDS = ["n01440764", "n01443537", "n01484850"]
OWN = ["great white shark", "great", "crane, bird", "0"]


def scan_of(images: dict[str, list[int]]) -> Scan:
    """The scan of a split with these numbers in each class."""
    ids = sorted(images)
    numbers = [number for class_id in ids for number in images[class_id]]
    counts = np.array([len(images[class_id]) for class_id in ids], "<i8")
    folders, skipped = np.array([""]), np.array([0], "<i8")
    return Scan(np.array(ids), counts, np.array(numbers, "<u4"), folders, skipped)


TRAIN = scan_of({"n01440764": [10026, 9], "n01443537": [177134], "n01484850": [1, 4294967295]})
VAL = scan_of({"n01440764": [293], "n01751748": [1, 123456789], "n01443537": [236]})
TEST = scan_of({"": [1, 2]})
SCANS = {"TRAIN": TRAIN, "VAL": VAL, "TEST": TEST}


def match(
    tmp_path: Path,
    content: str | bytes,
    split: str = "TRAIN",
    *,
    scan: Scan | None = None,
    own: bool = True,
    paths: Sequence[str] | None = None,
    classes: bool = False,
) -> Matched:
    """What a list with this content names."""
    path = tmp_path / "list.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return match_images(
        str(path),
        scan or SCANS[split],
        split,
        setting="select: images",
        own=own,
        paths=paths,
        classes=classes,
    )


def positions(matched: Matched) -> list[int]:
    return np.flatnonzero(matched.images).tolist()


@pytest.mark.parametrize(
    "content",
    [
        "n01440764\nn01484850\n",
        "n01484850\r\nn01440764\r\nn01484850",
        "\ufeffn01440764\n\n# the sharks\nn01484850\n",
        "n01440764 tench, Tinca tinca\nn01484850 great white shark, white shark\n",
        "n01440764 tench\nn01484850\n",
        "n01440764,tench\nn01484850,great white shark\n",
        'n01440764,tench\nn01484850,"shark, great white"\n',
        "wnid,name\nn01440764,tench\nn01484850,shark\n",
        "class_id\nn01440764\nn01484850\n",
        "n01440764\ttench\nn01484850\tshark\n",
        "n01440764: tench\nn01484850: shark\n",
        "n01440764;tench\nn01484850;shark\n",
        '"n01440764"\n"n01484850"\n',
        "0 n01440764 tench\n1 n01484850 shark\n",
        ",wnid\n0,n01440764\n1,n01484850\n",
        "tench,n01440764\nshark,n01484850\n",
        "train/n01440764/\ntrain/n01484850/\n",
        '["n01440764", "n01484850"]',
        '[\n  "n01440764",\n  "n01484850"\n]\n',
        '{"n01440764": "tench", "n01484850": "shark"}',
        '{"0": ["n01440764", "tench"], "1": ["n01484850", "great_white_shark"]}',
        '{"classes": ["n01440764", "n01484850"]}',
        "CLASSES = [\n    'n01440764',\n    'n01484850',\n]\n",
        "- n01440764\n- n01484850\n",
    ],
)
def test_a_list_of_classes_in_the_forms_that_people_have(content: str, tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(content.encode())
    assert read_classes(str(path), IDS, "select: classes") == ["n01440764", "n01484850"]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("great white shark\n", ["great white shark"]),
        ("great\n", ["great"]),
        ("great white shark\ngreat\ncrane, bird\n", ["crane, bird", "great", "great white shark"]),
        ("great white shark,7\n", ["great white shark"]),
        ('"crane, bird",2\n0,3\n', ["0", "crane, bird"]),
        ("crane, bird\n", ["crane, bird"]),
        ("[0]", ["0"]),
    ],
)
def test_the_whole_line_counts_before_its_first_column(
    content: str, found: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "classes.txt"
    path.write_text(content)
    assert read_classes(str(path), OWN, "select: classes") == found


def test_json_with_ids_in_several_places_is_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "classes.json"
    path.write_text('{"some": ["n01440764", "n01443537"]}')
    with pytest.raises(MetadataError, match=r"has class ids in several places\. Write one class"):
        read_classes(str(path), IDS, "select: classes")


def test_classes_named_in_the_settings() -> None:
    assert read_classes(["n01484850", "n01440764", "n01484850"], IDS, "x") == [IDS[0], IDS[2]]
    with pytest.raises(MetadataError, match=r"^select: classes: the list is empty\.$"):
        read_classes([], IDS, "select: classes")
    with pytest.raises(MetadataError) as refusal:
        read_classes(["n01484850", "shark"], IDS, "select: classes")
    assert str(refusal.value) == (
        "select: classes names 1 class that the dataset does not have:\n"
        "  entry 2: 'shark'\n"
        "Correct or remove them."
    )


def test_unknown_classes_are_named_with_the_nearest_known_one(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("n01440764\n\nn01443538\n" + "".join(f"x{i}\n" for i in range(11)))
    with pytest.raises(MetadataError) as refusal:
        read_classes(str(path), IDS, "select: classes")
    said = str(refusal.value).splitlines()
    assert said[0] == (f"select: classes: {path} names 12 classes that the dataset does not have:")
    assert said[1] == "  line 3: 'n01443538'. Did you mean 'n01443537'?"
    assert said[2] == "  line 4: 'x0'"
    assert said[11:] == ["  ... and 2 more", "Correct or remove them."]


def test_an_id_that_only_looks_equal_is_that_class(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("Cafe\u0301\n", encoding="utf-8")
    assert read_classes(str(path), ["Caf\xe9", "dog"], "select: classes") == ["Caf\xe9"]
    with pytest.raises(MetadataError, match="names 1 class that"):
        read_classes(str(path), ["Caf\xe9", "caf\xe9"], "select: classes")


NO_LISTS = {
    "empty": (b"", r"has no entries\.$"),
    "blank": (b"\n \r\n\n", r"has no entries\.$"),
    "only comments": (b"# nothing\n#\n", r"has no entries\.$"),
    "empty JSON": (b"[]", r"has no entries\.$"),
    "gzip": (gzip.compress(b"n01440764\n"), r"is not a text file, but a gzip file\.$"),
    "pickle": (b"\x80\x04\x95\x00\x00", r"is not a text file, but a Python pickle\.$"),
    "UTF-16": ("n01440764\n".encode("utf-16"), r"line 1: byte 0xff is not UTF-8.*iconv -f UTF-16"),
    "UTF-16 without a mark": ("n01440764\n".encode("utf-16le"), r"iconv -f UTF-16LE"),
    "Latin-1": (b"n01440764\ncaf\xe9\nth\xe9\n", r"line 2: byte 0xe9 is not UTF-8"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid x\n", r"a pointer of Git LFS"),
    "HTML": (b"<!DOCTYPE html>\n<html></html>\n", r"is an HTML page"),
    "cut JSON": (b'["n01440764", "n014', r"JSON"),
    "nested JSON": (b"[" * 100_000, r"JSON"),
}


@pytest.mark.parametrize("kind", NO_LISTS)
def test_what_is_no_list_is_refused_in_one_sentence(kind: str, tmp_path: Path) -> None:
    content, said = NO_LISTS[kind]
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    for read in (
        lambda: read_classes(str(path), IDS, "select: images"),
        lambda: match(tmp_path, content),
    ):
        with pytest.raises(MetadataError, match=f"(?s){said}") as refusal:
            read()
        assert str(refusal.value).startswith(f"select: images: {path}")
        assert "labels" not in str(refusal.value)
        assert "iconv" in str(refusal.value) or "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", ["folder", "FIFO", "device", "missing", "below a file"])
def test_what_is_no_file_does_not_hang(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    if kind == "folder":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "below a file":
        path.touch()
        path = path / "list.txt"
    for read in (
        lambda: read_classes(str(path), IDS, "select: images"),
        lambda: match_images(str(path), TRAIN, "TRAIN", setting="select: images", own=True),
    ):
        with pytest.raises(MetadataError, match=r"is not a regular file|does not exist") as refusal:
            read()
        assert str(refusal.value).startswith(f"select: images: {path} ")


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(texts, "open_regular", refuse)
    monkeypatch.setattr(texts, "read_file", refuse)
    said = r"^select: images: \S+ cannot be read: Permission denied\.$"
    with pytest.raises(MetadataError, match=said):
        match(tmp_path, "x")
    with pytest.raises(MetadataError, match=said):
        read_classes(str(tmp_path / "list.txt"), IDS, "select: images")


def test_nuls_and_endless_lines_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MetadataError, match=r"line 2: the line contains a NUL"):
        match(tmp_path, b"n01440764_9.JPEG\nn01440764\0_9.JPEG\n")
    monkeypatch.setattr(texts, "LONGEST", 50)
    monkeypatch.setattr(texts, "BLOCK", 10)
    with pytest.raises(MetadataError, match=r"line 2: the line is longer than 50 bytes"):
        match(tmp_path, "n01440764_9.JPEG\n" + "x" * 100)


BEFORE = {
    "TRAIN": ["", "n01440764/", "train/n01440764/", "./train/n01440764/", "x/n01440764/"],
    "VAL": ["", "val/", "n01440764/", "val/n01440764/", "validation/n01440764/", "x/val/"],
    "TEST": ["", "test/", "ILSVRC2012_img_test/", "./test/", "x/test/"],
}
ROOTS = ["", "/data/ILSVRC/Data/CLS-LOC/", "C:\\data\\", "../"]
AFTER = ["", " 0", ",0", "\t0", ";0", " n01440764", "  ", "\r", ", tench, fish"]


@pytest.mark.parametrize("split", SCANS)
@pytest.mark.parametrize("after", AFTER)
def test_the_forms_of_a_line(split: str, after: str, tmp_path: Path) -> None:
    class_id = {"TEST": ""}.get(split, "n01440764")
    number = int(SCANS[split].actual_index[0])
    for before in BEFORE[split]:
        for root in ROOTS if "/" in before and not before.startswith(".") else [""]:
            line = f"{root}{before}{image_name(split, class_id, number)}{after}\n"
            for text in (line, line.replace("/", "\\"), f"  {line}", f'"{line.strip()}"'):
                found = match(tmp_path, text, split)
                assert (positions(found), found.unmatched, found.lines) == ([0], 0, 1), text
                assert bool(found.notes) == (bool(root) or before.startswith("x")), text


@pytest.mark.parametrize(
    ("split", "line"),
    [
        ("TRAIN", "n01443537/n01440764_10026.JPEG"),
        ("TRAIN", "train/n01443537/n01440764_10026.JPEG"),
        ("TRAIN", "n09999999/n01440764_10026.JPEG"),
        ("TRAIN", "n01440764/sub/n01440764_10026.JPEG"),
        ("TRAIN", "val/n01440764/n01440764_10026.JPEG"),
        ("TRAIN", "n01440764_010026.JPEG"),
        ("TRAIN", "n01440764_10026.jpg"),
        ("TRAIN", "n01440764_10026.JPEGs"),
        ("TRAIN", "n01440764_10027.JPEG"),
        ("TRAIN", "n01440764_4294977322.JPEG"),  # 10026 more than fits
        ("TRAIN", "xn01440764_10026.JPEG"),
        ("TRAIN", "n01440764-10026.JPEG"),
        ("TRAIN", "n01440764_.JPEG"),
        ("TRAIN", "10026.JPEG"),
        ("TRAIN", "n01440764"),
        ("TRAIN", "ILSVRC2012_val_00000293.JPEG"),
        ("VAL", "ILSVRC2012_val_293.JPEG"),
        ("VAL", "ILSVRC2012_val_000000293.JPEG"),
        ("VAL", "ILSVRC2012_val_0123456789.JPEG"),
        ("VAL", "n01443537/ILSVRC2012_val_00000293.JPEG"),
        ("VAL", "val/n09999999/ILSVRC2012_val_00000293.JPEG"),
        ("VAL", "train/n01440764/ILSVRC2012_val_00000293.JPEG"),
        ("VAL", "ILSVRC2012_test_00000293.JPEG"),
        ("VAL", "n01440764_293.JPEG"),
        ("TEST", "val/ILSVRC2012_test_00000001.JPEG"),
        ("TEST", "n01440764/ILSVRC2012_test_00000001.JPEG"),
        ("TEST", "ILSVRC2012_val_00000001.JPEG"),
    ],
)
def test_lines_that_match_nothing(split: str, line: str, tmp_path: Path) -> None:
    found = match(tmp_path, f"# c\n\n{line}\n", split)
    assert positions(found) == []
    assert (found.lines, found.unmatched, found.numbers.tolist()) == (1, 1, [3])
    assert found.examples == [f"line 3: {line!r}"]


OF_ANOTHER = {
    "TRAIN": [
        "val/n01440764/n01440764_10026.JPEG",
        "valid/n01440764/ILSVRC2012_val_00000293.JPEG",
        "/data/val/ILSVRC2012_val_00000293.JPEG",
        "ILSVRC2012_val_00000293.JPEG",
        "n01440764/ILSVRC2012_val_00000293.JPEG",
        "test/ILSVRC2012_test_00000001.JPEG 7",
    ],
    "VAL": [
        "n01440764_293.JPEG",
        "n01440764/n01440764_293.JPEG",
        "/data/imagenet/train/n01440764/n01440764_293.JPEG",
        "train/n01440764/ILSVRC2012_val_00000293.JPEG",
        "ILSVRC2012_test_00000001.JPEG",
        "test/ILSVRC2012_test_00000001.JPEG",
    ],
    "TEST": ["val/ILSVRC2012_val_00000001.JPEG", "n01440764_1.JPEG", "x/train/n9/n9_1.JPEG"],
}


@pytest.mark.parametrize("split", OF_ANOTHER)
def test_lines_of_another_split(split: str, tmp_path: Path) -> None:
    for line in OF_ANOTHER[split]:
        for own in (True, False):
            found = match(tmp_path, line, split, own=own)
            assert (positions(found), found.unmatched, found.lines) == ([], own, 1), line


def test_a_line_that_says_two_splits_is_missed_by_one_of_them(tmp_path: Path) -> None:
    line = "val/n01440764/n01440764_10026.JPEG\n"
    assert [match(tmp_path, line, split, own=False).unmatched for split in SCANS] == [0, 1, 0]


def test_classes_that_are_called_as_splits_are(tmp_path: Path) -> None:
    scan = scan_of({"train": [1], "test": [2]})
    for line, image in {
        "train/train_1.JPEG": 1,
        "test/test_2.JPEG": 0,
        "train/test/test_2.JPEG 0": 0,
        "/x/train/train/train_1.JPEG": 1,
    }.items():
        assert positions(match(tmp_path, line, scan=scan, own=False)) == [image], line


def test_own_classes_with_blanks_commas_and_underscores(tmp_path: Path) -> None:
    ids = ["great white shark", "crane, bird", "a_1", "丁鱥"]
    scan = scan_of({one: [7] for one in ids})
    order = scan.class_ids.tolist()
    for one in ids:
        for line in (f"{one}_7.JPEG", f"{one}/{one}_7.JPEG 0", f"train/{one}/{one}_7.JPEG,0"):
            assert positions(match(tmp_path, line, scan=scan)) == [order.index(one)], line


def test_duplicates_and_paths_of_another_machine_are_noted(tmp_path: Path) -> None:
    found = match(
        tmp_path,
        "n01440764_9.JPEG\n/a/n01440764/n01440764_9.JPEG\nn01440764_9.JPEG\nn01443537_177134.JPEG",
    )
    assert (positions(found), found.lines, found.unmatched) == ([1, 2], 4, 0)
    path = tmp_path / "list.txt"
    assert found.notes == [
        f"select: images: {path} names images again in 2 entries.",
        f"select: images: {path} has 1 path from elsewhere, matched by the last parts (for "
        "instance line 2: '/a/n01440764/n01440764_9.JPEG').",
    ]


@pytest.mark.parametrize("header", ["path,label", "filename", "image_id\tclass", "# path label"])
def test_a_header_is_no_entry(header: str, tmp_path: Path) -> None:
    found = match(tmp_path, f"\ufeff{header}\r\n\r\nn01440764_9.JPEG,0\r\n{header}\r\n")
    assert positions(found) == [1]
    assert found.unmatched == (not header.startswith("#"))


@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_in_json(indent: int | None, tmp_path: Path) -> None:
    entries = ["n01440764_9.JPEG", "x\ny", "train/n01484850/n01484850_1.JPEG"]
    for some in (entries, [[one, 5] for one in entries]):
        found = match(tmp_path, json.dumps(some, indent=indent))
        assert (positions(found), found.lines) == ([1, 3], 3)
        assert found.examples == ["entry 2: 'x y'"]
    with pytest.raises(MetadataError, match="begins like JSON, but is not a list of paths"):
        match(tmp_path, '{"train": ["n01440764_9.JPEG"]}')


def test_only_ten_lines_are_shown(tmp_path: Path) -> None:
    found = match(tmp_path, "".join(f"{i}\n" for i in range(1000)))
    assert found.unmatched == found.lines == 1000
    assert found.examples == [f"line {i + 1}: '{i}'" for i in range(10)]
    assert found.numbers.tolist() == [*range(1, 1001)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 7, 50])
def test_a_list_is_read_alike_in_blocks_of_any_size(
    end: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["path", "n01440764_9.JPEG", "", "# é", "x", "train/n01484850/n01484850_1.JPEG 0", "丁"]
    monkeypatch.setattr(texts, "BLOCK", size)
    found = match(tmp_path, "\ufeff" * (size > 2) + end.join(lines))
    assert positions(found) == [1, 3]
    assert found.examples == ["line 5: 'x'", "line 7: '丁'"]
    assert found.lines == 4


def test_a_name_that_several_classes_have_is_refused(tmp_path: Path) -> None:
    scan = scan_of({"a": [1], "b": [1, 2]})
    with pytest.raises(MetadataError) as refusal:
        match(
            tmp_path, "ILSVRC2012_val_00000002.JPEG\nILSVRC2012_val_00000001.JPEG", "VAL", scan=scan
        )
    assert str(refusal.value) == (
        f"select: images: {tmp_path / 'list.txt'}, line 2: 'ILSVRC2012_val_00000001.JPEG' may be "
        "val/a/ILSVRC2012_val_00000001.JPEG or val/b/ILSVRC2012_val_00000001.JPEG. Write the "
        "folder before the name."
    )
    assert positions(match(tmp_path, "b/ILSVRC2012_val_00000001.JPEG", "VAL", scan=scan)) == [1]


PATHS = [
    "cats/001.jpg",
    "cats/my cat, 2.jpg",
    "cats/sub/001.jpg",
    "dogs/001.jpg",
    "dogs/sub/001.jpg",
]
PETS = scan_of({"cats": [1, 2, 3], "dogs": [1, 2]})


@pytest.mark.parametrize("prefix", ["", "train/"])
@pytest.mark.parametrize(
    ("line", "images"),
    [
        ("cats/001.jpg", [0]),
        ("cats/001.jpg 0", [0]),
        ("cats/001.jpg,0,x", [0]),
        ('"cats/001.jpg"', [0]),
        ("cats\\001.jpg", [0]),
        ("my cat, 2.jpg", [1]),
        ("cats/my cat, 2.jpg", [1]),
        ("cats/my cat, 2.jpg\t0", [1]),
        ('"cats/my cat, 2.jpg",0', [1]),
        ("/home/me/pets/cats/001.jpg", [0]),
        ("C:\\pets\\train\\dogs\\sub\\001.jpg", [4]),
        ("train/dogs/001.jpg", [3]),
        ("x/train/dogs/001.jpg", [3]),
        ("sub/001.jpg", [2, 4]),
        ("dogs/my cat, 2.jpg", []),
        ("birds/001.jpg", []),
        ("/home/birds/001.jpg", []),
        ("/home/me/train/birds/sub/001.jpg", []),
        ("cats/1.jpg", []),
        ("CATS/001.jpg", []),
        ("val/cats/001.jpg", []),
        ("/x/y/val/cats/001.jpg", []),
    ],
)
def test_the_images_of_a_view(prefix: str, line: str, images: list[int], tmp_path: Path) -> None:
    paths = [f"{prefix}{path}" for path in PATHS]
    found = match(tmp_path, f"{line}\n", scan=PETS, paths=paths)
    assert (positions(found), found.unmatched) == (images, not images)


def test_lines_of_another_split_of_a_view(tmp_path: Path) -> None:
    for line in ("val/cats/001.jpg", "/x/valid/cats/009.jpg 0", "test/001.jpg"):
        assert match(tmp_path, line, scan=PETS, paths=PATHS, own=False).unmatched == 0
        assert match(tmp_path, line, scan=PETS, paths=PATHS, own=True).unmatched == 1
    assert match(tmp_path, "cats/009.jpg", scan=PETS, paths=PATHS, own=False).unmatched == 1


def test_a_bare_name_in_a_view_must_be_the_only_one(tmp_path: Path) -> None:
    with pytest.raises(
        MetadataError, match=r"line 2: '001.jpg 0' may be cats/001.jpg or cats/sub/"
    ):
        match(tmp_path, "cats/001.jpg\n001.jpg 0\n", scan=PETS, paths=PATHS)


def test_classes_in_a_list_of_what_to_leave_out(tmp_path: Path) -> None:
    text = "n01443537\nn01440764_9.JPEG\ntrain/n01484850/\nval/n01440764\nn09\n"
    found = match(tmp_path, text, own=False, classes=True)
    assert (found.classes, positions(found)) == (["n01443537", "n01484850"], [1])
    assert (found.unmatched, found.examples) == (1, ["line 5: 'n09'"])
    assert match(tmp_path, text, own=True, classes=True).unmatched == 2
    assert match(tmp_path, text, own=True).unmatched == 4
    found = match(tmp_path, "great white shark x\n", scan=scan_of({"great": [1]}), classes=True)
    assert found.classes == ["great"]


@pytest.mark.parametrize("above", ["/data/all", "D:\\\\all", "/mnt/x y"])
def test_a_name_is_enough_in_a_folder_of_another_machine(above: str, tmp_path: Path) -> None:
    for split, name in (("TRAIN", "n01440764_9.JPEG"), ("VAL", "ILSVRC2012_val_00000236.JPEG")):
        found = match(tmp_path, f"{above}/{name}\n", split)
        assert (len(positions(found)), found.unmatched) == (1, 0)
        assert "1 path from elsewhere" in found.notes[0]
        assert match(tmp_path, f"all/{name}\n", split).unmatched == 1  # it may be a wrong class
    assert match(tmp_path, f"{above}/n01443537/n01440764_9.JPEG\n").unmatched == 1


def test_an_empty_split(tmp_path: Path) -> None:
    for split in SCANS:
        found = match(tmp_path, "n01440764_9.JPEG\nn\n", split, scan=scan_of({"n": []}))
        assert (positions(found), found.unmatched) == ([], 2)


PIECE = st.sampled_from(
    [
        "n1",
        "n2",
        "n1_1.JPEG",
        "n2_01.JPEG",
        "n1_2.JPEG",
        "train",
        "val",
        "/",
        "/",
        "\\",
        "x",
        "_",
        " ",
    ]
)
SMALL = scan_of({"n1": [1, 2], "n2": [1], "train": [1]})


def named_plainly(line: str, split: str, scan: Scan) -> list[int]:
    """The images that a line names, found by trying each of them."""
    parts = line.strip().replace("\\", "/").removeprefix("./").split("/")
    images = []
    for i, number in enumerate(scan.actual_index.tolist()):
        class_id = scan.class_ids[scan.class_index(i, i + 1)[0]]
        own = image_path(split, class_id, number).split("/")
        if parts[-1] != own[-1]:
            continue
        inside = parts[-2:-1] == [class_id]
        above = parts[-3:-2] if inside else parts[-2:-1]
        elsewhere = not parts[0] and not inside and above[0] not in ("n1", "n2", "train", "val")
        if elsewhere:
            above = []
        if above not in ([], ["train"]) and not (inside and above != ["val"]):
            continue
        images.append(i)
    return images


@given(lines=st.lists(st.lists(PIECE, max_size=7).map("".join), min_size=1, max_size=6))
@settings(max_examples=400, deadline=None)
def test_lines_are_matched_as_by_a_plain_search(
    lines: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = [line for line in lines if line.strip() and " " not in line.strip()]
    wanted = [named_plainly(line, "TRAIN", SMALL) for line in lines]
    if lines:
        found = match(tmp_path_factory.getbasetemp(), "\n".join(lines), scan=SMALL)
        assert positions(found) == sorted({i for images in wanted for i in images})
        assert found.unmatched == sum(not images for images in wanted)


@given(content=st.binary() | st.text('n1/_1.JPEG,"\n\r []{}:ä\\', max_size=60).map(str.encode))
@settings(max_examples=500, deadline=None)
def test_any_bytes_as_a_list(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    path = folder / "list.txt"
    path.write_bytes(content)
    known = ["n1", "ä", "1"]
    said = f"select: classes: {path}"
    try:
        found = read_classes(str(path), known, "select: classes")
    except MetadataError as error:
        found, said = [], str(error)
    assert {*found} <= {*known}
    assert said.startswith(f"select: classes: {path}")
    for paths in (None, ["n1/1.jpg", "n1/2.jpg", "n2/1.jpg", "n2/n1"]):
        with suppress(MetadataError):
            match(folder, content, scan=SMALL, paths=paths, classes=True, own=False)


def test_what_is_no_list_of_classes(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(bytes(range(9)) * 9)
    with pytest.raises(MetadataError, match="line 1: the line contains a NUL"):
        read_classes(str(tmp_path / "list"), ["n01440764"], "select: classes")
    (tmp_path / "list").write_text("n01440764_9.JPEG\n")
    wanted = "line 1: 'n01440764_9.JPEG'\nCorrect or remove them. A list of images is set with"
    with pytest.raises(MetadataError, match=wanted):
        read_classes(str(tmp_path / "list"), ["n01440764"], "select: classes")
