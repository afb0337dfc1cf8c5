import os
import re
import threading
from pathlib import Path
from unittest.mock import Mock

import pytest
from dinov3_metadata import disk
from dinov3_metadata.disk import (
    check_work,
    create_anew,
    is_local,
    make_folder,
    open_regular,
    opened_folder,
    read_file,
    read_json,
    remove_file,
    remove_folders,
)
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.paths import WORK

STATE = "3-folders-0123456789ab"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work folder, beside a folder that must not be touched."""
    (tmp_path / "victim" / STATE).mkdir(parents=True)
    (tmp_path / "victim/file").write_text("mine")
    work = tmp_path / WORK
    make_folder(work / "TRAIN" / STATE)
    return work


def link(work: Path, place: str) -> Path:
    """Put a link to the victim into the work folder."""
    path = work / place
    if path.is_dir():
        path.rename(path.with_name("moved"))
    path.symlink_to(work.parent / "victim")
    return path


@pytest.mark.parametrize("place", ["TRAIN", f"TRAIN/{STATE}"])
def test_no_link_is_followed_in_the_work_folder(place: str, work: Path) -> None:
    path = link(work, place)
    named = re.escape(f"{path} is a link. The work folder may")
    for use in (
        lambda: make_folder(path / "x"),
        lambda: create_anew(path / "file"),
        lambda: remove_file(path / "file"),
        lambda: remove_folders(path),
        lambda: check_work(work),
    ):
        with pytest.raises(MetadataError, match=named):
            use()
    assert sorted(os.listdir(work.parent / "victim")) == [STATE, "file"]
    assert (work.parent / "victim/file").read_text() == "mine"


def test_a_work_folder_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / WORK).symlink_to("elsewhere")
    with pytest.raises(MetadataError, match=r"dinov3-metadata is a link"):
        make_folder(tmp_path / WORK / "TRAIN")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_links_above_the_work_folder_are_followed(work: Path) -> None:
    (work.parent / "short").symlink_to(".")
    with opened_folder(work.parent / "short" / WORK / "TRAIN") as descriptor:
        assert os.listdir(descriptor) == [STATE]


def test_only_what_is_ours_is_removed(work: Path) -> None:
    ours = ["labels-0123456789ab-0123456789ab", "4-folders-0123456789ab/sample-9-0123456789ab"]
    files = [
        "scan.npz",
        "scan.log",
        "entries-TRAIN.npy",
        "verify-VAL.json",
        "12-1-of-8",
        "1-of-8.npy",
    ]
    others = ["mine/scan.npz", "0123456789ab-18af/notes.txt", "0123456789ab/mine/scan.npz"]
    made = [f"{folder}/{file}" for folder in ours for file in files]
    for path in [*made, *others, "aaaaaaaaaaaa"]:
        (work / "TRAIN" / path).parent.mkdir(parents=True, exist_ok=True)
        (work / "TRAIN" / path).touch()
    (work / "TRAIN/bbbbbbbbbbbb").symlink_to(work.parent / "victim")
    remove_folders(work / "TRAIN", {STATE})
    left = {path.relative_to(work / "TRAIN").as_posix() for path in (work / "TRAIN").rglob("*")}
    folders = {"mine", "0123456789ab-18af", "0123456789ab", "0123456789ab/mine", STATE}
    assert left == {*others, *folders, "aaaaaaaaaaaa", "bbbbbbbbbbbb"}
    assert sorted(os.listdir(work.parent / "victim")) == [STATE, "file"]


def test_only_what_we_left_unfinished_is_tidied(work: Path) -> None:
    ours, theirs = (f".{mark * 12}-{'0' * 32}.tmp" for mark in "ab")
    names = [ours, theirs, ".my-TRAIN.notes.tmp", f".{'a' * 12}-{'0' * 31}.tmp", "notes.txt"]
    for name in names:
        (work / "TRAIN" / name).touch()
    (work / "mine").mkdir()
    (work / "mine" / names[0]).touch()
    check_work(work, ["a" * 12])
    assert sorted(os.listdir(work / "TRAIN")) == sorted([STATE, *names[1:]])
    assert os.listdir(work / "mine") == names[:1]


@pytest.mark.parametrize("place", ["scan.npz", "TRAIN/scan.npz", f"TRAIN/{STATE}/scan.tsv"])
def test_a_fifo_in_the_work_folder_is_refused(place: str, work: Path) -> None:
    os.mkfifo(work / place)
    with pytest.raises(MetadataError, match=r"scan.\w+ is a FIFO"):
        check_work(work)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for name, kind in (("fifo", "a FIFO"), ("zero", "a device")):
        with pytest.raises(OSError, match=f"This is {kind}, not a regular file") as error:
            open_regular(tmp_path / name)
        assert error.value.filename == str(tmp_path / name)
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path / "folder")


def test_what_is_read_is_bounded(tmp_path: Path) -> None:
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="more than 1,000 bytes"):
        read_file(tmp_path / "huge", 1000)
    assert read_json(tmp_path / "huge") == {}


@pytest.mark.parametrize("text", ["", "{", "null", "[1]", '"x"', "[" * 100_000, '{"a":' * 100_000])
def test_damaged_json_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    assert read_json(tmp_path / "a.json") == {}


def test_a_new_file_takes_the_place_of_a_link(work: Path) -> None:
    path = work / "TRAIN/scan.log"
    path.symlink_to(work.parent / "victim/file")
    with create_anew(path) as file:
        file.write(b"log")
    assert not path.is_symlink()
    assert (work.parent / "victim/file").read_text() == "mine"


def test_descriptors_are_closed(work: Path) -> None:
    path, before = link(work, "TRAIN"), len(os.listdir("/dev/fd"))
    for _ in range(20):
        with pytest.raises(MetadataError):
            make_folder(path)
        check = threading.Thread(target=make_folder, args=[work / "labels"])
        check.start()
        check.join()
    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.parametrize(
    ("kind", "local"),
    [("ext4", True), ("nfs", False), ("nfs4", False), ("fuse.sshfs", False), ("lustre", False)],
)
def test_local_file_systems(
    kind: str, local: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = str(tmp_path / "a b").replace(" ", "\\040")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        f"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 / {place} rw shared:1 - {kind} s rw\n"
    )
    real = open
    monkeypatch.setattr(
        disk,
        "open",
        lambda path, *mode: real(mounts if "mountinfo" in path else path, *mode),
        False,
    )
    assert is_local(tmp_path / "a b/deeper") == local
    assert is_local(tmp_path / "a bc")


def test_json_for_which_there_is_no_memory_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").write_text("{}")
    monkeypatch.setattr(disk.json, "loads", Mock(side_effect=MemoryError))
    assert disk.read_json(tmp_path / "a.json") == {}


def test_no_folder_stays_open_once_it_is_removed(tmp_path: Path) -> None:
    for name in ("1-folders-000000000000", "2-folders-000000000000"):
        (tmp_path / name).mkdir()
    before = len(os.listdir("/dev/fd"))
    disk.remove_folders(tmp_path)
    assert not list(tmp_path.iterdir())
    assert len(os.listdir("/dev/fd")) == before


def test_the_umask_alone_says_who_may_read_a_new_file(work: Path) -> None:
    before = os.umask(0)
    try:
        create_anew(work / "TRAIN/scan.log").close()
    finally:
        os.umask(before)
    assert (work / "TRAIN/scan.log").stat().st_mode & 0o777 == 0o666
