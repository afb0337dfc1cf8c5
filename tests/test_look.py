"""Looking gives what ``os.stat`` gives, in whichever way; workflow/test_remembered.py has more."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from dinov3_metadata import look
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.look import ask, finds, finds_file, finds_folder, in_threads


@pytest.fixture(params=["disk", "statx", "no statx"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask in each of the ways, wherever the files of the test are."""
    monkeypatch.setattr(look, "_on_disk", request.param == "disk")
    if request.param == "no statx":
        monkeypatch.setattr(look, "_statx", lambda: None)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a folder, a file, a FIFO, and links to each and to nothing."""
    (tmp_path / "文件 夹").mkdir()
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "FIFO")
    for name in ("文件 夹", "file", "nothing"):
        (tmp_path / f"to {name}").symlink_to(name)
    return tmp_path


@pytest.mark.parametrize("follow", [True, False])
def test_a_status_is_that_of_stat(follow: bool, place: Path) -> None:
    for path in [place, *place.iterdir()]:
        if path.name == "to nothing" and follow:
            continue
        found = os.stat(path, follow_symlinks=follow)
        times = found.st_mtime_ns, found.st_ctime_ns
        assert ask(path, follow) == (found.st_mode, found.st_size, *times, found.st_ino)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("none", FileNotFoundError),
        ("to nothing", FileNotFoundError),
        ("file/x", NotADirectoryError),
        ("a\0b", ValueError),
    ],
)
def test_what_is_not_there_is_an_error(name: str, error: type[Exception], place: Path) -> None:
    with pytest.raises(error):
        ask(f"{place}/{name}")
    assert not finds_folder(f"{place}/{name}")
    assert not finds_file(f"{place}/{name}")


def test_what_is_found(place: Path) -> None:
    names = {path.name for path in place.iterdir()}
    assert {name for name in names if finds_folder(place / name)} == {"文件 夹", "to 文件 夹"}
    assert {name for name in names if finds_file(place / name)} == {"file", "to file"}
    assert {name for name in names if finds(place / name)} == names
    assert not finds(place / "none/of/these")


def test_a_stale_handle_is_called_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, follow: bool = True) -> None:
        raise OSError(116, "Stale file handle", path)

    monkeypatch.setattr(look, "ask", refuse)
    monkeypatch.setattr(look.errno, "ESTALE", 116)
    with pytest.raises(MetadataError, match=r"^\S+: stale file handle\. .* Mount it again\.$"):
        finds_folder(place)


def test_only_what_is_slow_is_asked_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(function: Callable[[int], object]) -> set[object]:
        assert [*in_threads(function, range(100), 4)] == [*map(function, range(100))]
        return {*in_threads(lambda _: threading.get_ident(), range(100), 4)}

    assert run(abs) == {threading.get_ident()}
    monkeypatch.setattr(look, "PAYS", 1)
    assert len(run(abs)) > 1


def test_what_is_not_on_a_disk_is_asked_twice_only_once(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def noting(way: str, result: object) -> Callable[..., object]:
        return lambda *_, **__: asked.append(way) or result

    found = os.stat(place)
    of_server = os.stat_result([found.st_mode, 1, 0x31, *range(7)])  # st_dev: major 0, minor 49
    monkeypatch.setattr(look, "_on_disk", True)
    monkeypatch.setattr(look.os, "stat", noting("stat", of_server))
    monkeypatch.setattr(look, "_statx", lambda: noting("statx", (found, False)))
    for _ in range(3):
        ask(place)
    assert asked == ["stat", "statx", "statx", "statx"]
    monkeypatch.setattr(look, "_statx", lambda: noting("statx", (found, True)))
    ask(place)
    monkeypatch.setattr(look.os, "stat", noting("stat", found))
    ask(place)
    assert asked[4:] == ["statx", "stat"]
