"""Who may read and write this program's files; with several users see workflow/test_shared.py."""

import errno
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dinov3_metadata.access import hiding_umask, refused, what_to_run
from dinov3_metadata.paths import WORK, work_folder
from dinov3_metadata.replace import replaced_files
from dinov3_metadata.run import dump_extra
from dinov3_metadata.stages.links import MARK
from helpers import make_tree


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("shared", [True, False])
def test_work_files_are_for_whom_the_folder_is(shared: bool, tmp_path: Path) -> None:
    root, extra = make_tree(tmp_path / "数据 set", ["train/a/x y.jpg"]), tmp_path / "ex tra"
    extra.mkdir()
    extra.chmod(0o775 if shared else 0o755)
    with umask(0o077):
        dump_extra(root, extra, ["TRAIN"], labels="folders")
    inside = [*(extra / WORK).rglob("*"), *(extra / "view").rglob("*"), extra / "view"]
    assert len(inside) > 20
    for path in inside:
        bits = 0o070 if path.is_dir() else 0o060
        is_copy = path.suffix == ".npy"  # a file to publish, which the umask alone decides on
        if not path.is_symlink() and not is_copy:
            assert path.stat().st_mode & 0o070 == (bits if shared else 0), path
    assert (extra / "entries-TRAIN.npy").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("mask", "mode", "said"),
    [
        (0o077, 0o755, "0077"),
        (0o077, 0o750, "0077"),
        (0o077, 0o700, ""),
        (0o077, 0o710, ""),
        (0o027, 0o755, ""),
        (0o022, 0o775, ""),
    ],
)
def test_a_umask_is_named_if_it_hides_files_from_all_readers(
    mask: int, mode: int, said: str, tmp_path: Path
) -> None:
    tmp_path.chmod(mode)
    with umask(mask):
        assert hiding_umask(tmp_path) == (said if os.path.exists("/proc/self/status") else "")


@pytest.mark.parametrize("refused_at", ["link", "nothing"])
def test_a_file_that_is_put_back_keeps_its_mode(
    refused_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file cannot have a second name, a copy of it is put back."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, refused_at, refuse, raising=False)
    name = "entries-TRAIN.npy"
    (tmp_path / name).write_bytes(b"old")
    (tmp_path / name).chmod(0o640)
    with (
        pytest.raises(ZeroDivisionError),
        replaced_files(tmp_path, {name: lambda file: file.write(b"new")}, 3, 1),
    ):
        raise ZeroDivisionError
    assert (tmp_path / name).read_bytes() == b"old"
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o640


class Foreign:
    """A folder for metadata, with a view, that belongs to somebody else."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.extra = home / "ex tra"
        self.work, self.view = Path(work_folder(self.extra)), self.extra / "view"
        for folder in (self.work / "TRAIN", self.view / "train/猫"):
            folder.mkdir(parents=True)
        for file in (self.work / "run.lock", self.view / MARK, self.extra / "entries-VAL.npy"):
            file.touch()
        monkeypatch.setattr(os, "geteuid", lambda: self.extra.stat().st_uid + 1)
        monkeypatch.setattr(os, "access", lambda path, _: os.stat(path).st_mode & 0o002)

    def said(self, path: Path, number: int = errno.EACCES) -> str:
        return what_to_run(PermissionError(number, os.strerror(number), str(path)))


def test_the_owner_and_a_command_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = Foreign(tmp_path, monkeypatch)
    extra, work, view = map(shlex.quote, map(str, (foreign.extra, foreign.work, foreign.view)))
    shared = f"chmod g+rwxs {extra} && chmod -R g+rwX {work} {view}"
    for path, in_the_way in {
        foreign.work / "run.lock": foreign.work,
        foreign.work / "TRAIN/new/folders.json": foreign.work,
        foreign.extra / "entries-TRAIN.npy": foreign.extra,
        foreign.extra / "duplicates.json": foreign.extra,
    }.items():
        said = foreign.said(path)
        owner = rf" {re.escape(str(in_the_way))} belongs to \S+, who must run this once: "
        assert re.fullmatch(f"{owner}{re.escape(shared)}", said)
    said = foreign.said(foreign.view / "train/猫/猫_1.JPEG")
    assert said.endswith(f": chmod g+rwxs {view} && chmod -R g+rwX {view}")
    foreign.work.chmod(0o777)
    assert f" {foreign.work}/run.lock belongs to " in foreign.said(foreign.work / "run.lock")


def test_what_is_not_of_this_program_is_nobodys_to_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = Foreign(tmp_path, monkeypatch)
    for path in ("train/cat", "labels.txt", "gone/deep/run.lock"):
        assert foreign.said(tmp_path / path) == ""
    monkeypatch.undo()
    error = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "train"))
    assert str(refused(error)).endswith("Permission denied. Check its permissions.")
    error = PermissionError(errno.EACCES, "Permission denied")
    assert str(refused(error)) == "A file: Permission denied. Check its permissions."
