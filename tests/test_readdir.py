"""Reading the names in a folder in bulk gives the same as asking for them one by one."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata import readdir
from dinov3_metadata.addresses import IMG_EXTENSIONS, MAX_INDEX, image_name, is_image
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.readdir import (
    FILE,
    LINK,
    UNKNOWN,
    Listing,
    Names,
    list_folder,
    named_images,
    pack,
)
from dinov3_metadata.stages.scan import scan_images
from helpers import make_tree
from hypothesis import example, given
from hypothesis import strategies as st

Read = Callable[[str], Iterator[Names]]

NUMBERS = st.integers(0, 10**11).map(str)
STEMS = st.one_of(NUMBERS, NUMBERS.map("0{}".format), st.text("0129 _-+٣ä", max_size=18))
IMAGES = st.sets(st.tuples(STEMS, st.sampled_from([".JPEG", ".JPEG", ".jpeg", ".JPEGs", ""])))


@pytest.mark.needs("torchvision")
def test_an_image_is_what_torchvision_says() -> None:
    from torchvision.datasets import folder

    assert IMG_EXTENSIONS == folder.IMG_EXTENSIONS


READS = [readdir._by_scandir, *([readdir._by_getdents] if readdir._getdents64 else [])]
"""The ways to list a folder that this system has."""


def unknown_kinds(path: str) -> Iterator[Names]:
    """As on file systems that do not note the kinds of names."""
    for names in READS[-1](path):
        yield Names(names.buffer, names.start, np.full_like(names.kind, UNKNOWN))


@pytest.mark.parametrize("read", [*READS, unknown_kinds])
@pytest.mark.parametrize("chunk", [1 << 16, 1 << 10])
def test_kinds_of_names(
    read: Read, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = range(8, 108)
    images = [f"c/c_{i}.JPEG" for i in numbers]
    make_tree(tmp_path, [*images, "c/c_01.JPEG", "c/a.txt", "c/sub/", "c/c_1.JPEG/", "other/"])
    for name, target in {
        "c_2.JPEG": "a.txt",
        "c_3.JPEG": "nowhere",
        "c_4.JPEG": "../other",
        "to": "../other",
        "coming": "nowhere",
        "self": "self",
    }.items():
        (tmp_path / "c" / name).symlink_to(target)
    monkeypatch.setattr(readdir, "read_names", read)
    monkeypatch.setattr(readdir, "CHUNK", chunk)
    found = list_folder(str(tmp_path / "c"), "TRAIN", "c")
    assert sorted(found.subfolders) == ["c_1.JPEG", "c_4.JPEG", "coming", "sub", "to"]
    assert sorted(found.links) == ["c_4.JPEG", "coming", "to"]
    assert sorted(found.files) == ["a.txt", "c_01.JPEG", "self"]
    assert found.special == {"c_3.JPEG": "a dangling link"}
    names = sorted(f"c_{i}.JPEG" for i in (2, *numbers))
    assert found.actual_index.tolist() == [int(name[2:-5]) for name in names]


@given(images=IMAGES, split=st.sampled_from(["TRAIN", "VAL", "TEST"]), empty=st.booleans())
def test_invented_names_are_taken_or_left_as_one_by_one(
    images: set, split: str, empty: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("root")
    before = {"TRAIN": "c_"}.get(split, f"ILSVRC2012_{split.lower()}_") * (not empty)
    names = {f"{before}{stem}{suffix}" for stem, suffix in images} - {"", ".", ".."}
    for name in names:
        (root / name).touch()
    numbers = {
        name: int(stem)
        for stem, suffix in images
        if stem.isascii() and stem.isdecimal() and int(stem) <= MAX_INDEX
        for name in [f"{before}{stem}{suffix}"]
        if name == image_name(split, "c", int(stem))
    }
    found = list_folder(str(root), split, "c")
    assert found.actual_index.tolist() == [numbers[name] for name in sorted(numbers)]
    assert sorted(found.files) == sorted(names - numbers.keys())


def test_names_of_any_length(tmp_path: Path) -> None:
    names = ["c_1.JPEG", *("x" * length for length in range(1, 256))]
    make_tree(tmp_path, names)
    found = list_folder(str(tmp_path), "TRAIN", "c")
    assert found == Listing([], [], found.files, found.actual_index, {}, {})
    assert sorted(found.files) == sorted([*names[1:], "labels.txt"])
    assert list_folder(str(tmp_path), "TRAIN", "x" * 255).actual_index.size == 0


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        list_folder(str(tmp_path / "file"), "TRAIN", "c")
    with pytest.raises(FileNotFoundError):
        list_folder(str(tmp_path / "nowhere"), "TRAIN", "c")


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO], ids=["permission", "I/O error"])
def test_a_folder_that_cannot_be_listed(
    error: int, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> Iterator[Names]:
        if path == str(tree / "train/n01443537"):
            raise OSError(error, os.strerror(error), path)
        return read(path)

    read = readdir.read_names
    monkeypatch.setattr(readdir, "read_names", refuse)
    message = rf"n01443537 cannot be listed: {os.strerror(error)}"
    with pytest.raises(MetadataError, match=message):
        scan_images(tree, "TRAIN")


def test_what_the_kernel_refuses_while_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_what: int) -> int:
        readdir.ctypes.set_errno(errno.EIO)
        return -1

    monkeypatch.setattr(readdir, "_getdents64", refuse)
    with pytest.raises(MetadataError, match=r"cannot be listed: Input/output error"):
        list_folder(str(tmp_path), "TRAIN", "c")


NAMES_OF_IMAGES = st.text("aJpPgGtTiIfF.\x0eK狗", min_size=1, max_size=6)


@given(st.lists(NAMES_OF_IMAGES, min_size=1, max_size=9))
@example(["a", "b", "\x0e"])
def test_images_are_found_among_many_names_as_one_by_one(stems: list[str]) -> None:
    ends = [
        "",
        ".jpg",
        ".JPeG",
        "\x0ejpg",
        ".tif",
        ".TIFF",
        "tiff",
        ".WebP",
        ".gif",
        ".jpgx",
        "jpeg",
    ]
    names = sorted({f"{stem}{end}" for stem in stems for end in ends} - {".", ".."})
    found, images = named_images(pack(dict.fromkeys(names, FILE)))
    expected = [name for name in names if is_image(name) and name[0] != "."]
    assert [*map(os.fsdecode, images.tolist())] == expected
    assert [name for name, good in zip(names, found, strict=True) if good] == expected
    assert not named_images(pack(dict.fromkeys(names, LINK)))[0].any()
