import os
import stat
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.files import rows_at, write_atomically


@pytest.mark.usefixtures("local")
def test_the_name_appears_when_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with write_atomically(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), write_atomically(path) as file:  # noqa: PT012
        file.write(b"new")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("local")
def test_the_bytes_reach_the_disk_before_the_name_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, replace, done = os.fsync, os.replace, []

    def record_fsync(descriptor: int) -> None:
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        done.append("folder" if folder else f"file of {os.fstat(descriptor).st_size} bytes")
        fsync(descriptor)

    def record_replace(*args: str, **options: int) -> None:
        done.append("rename")
        replace(*args, **options)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with write_atomically(path) as file:
        file.write(b"newer")
    assert done == ["file of 5 bytes", "rename", "folder"]


def test_rows_are_read_one_by_one(tmp_path: Path) -> None:
    rows = np.zeros(5000, [("number", "<u4"), ("text", "<U3")])
    rows["number"] = np.arange(5000)
    np.save(tmp_path / "a.npy", rows)
    index = np.arange(0, 5000, 2)[::-1]
    found = list(rows_at(tmp_path / "a.npy", index))
    assert list(map(len, found)) == [1000, 1000, 500]
    assert np.array_equal(np.concatenate(found), rows[index])
    (tmp_path / "a.npy").write_bytes(b"no array")
    with pytest.raises(MetadataError, match="cannot be read back"):
        list(rows_at(tmp_path / "a.npy", index))
