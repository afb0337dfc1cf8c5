import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from dinov3_metadata import replace
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.files import write_atomically
from dinov3_metadata.paths import folder_of, path_of, work_folder
from dinov3_metadata.replace import is_torn, kept_size, make_room, replaced_files, undo_unfinished
from dinov3_metadata.run import dump_extra
from dinov3_metadata.summary import summarise
from helpers import open_path

DAY = 24 * 60 * 60 * 10**9  # ns
NAMES = ["entries-TRAIN.npy", "class-ids-TRAIN.npy", "metadata-TRAIN.json"]


def place_of(extra: Path) -> Path:
    """The folder of the work folder that publications use."""
    return Path(folder_of(extra, "journal"))


def kept_in(extra: Path) -> Path:
    """The folder with a folder for each time at which files were replaced."""
    return Path(folder_of(extra, "kept", upto="stamp"))


def put(extra: Path, text: str, days: float = 14) -> None:
    """Replace all files, each by its name and a text."""
    writers = {
        name: lambda file, name=name: file.write(f"{name} {text}".encode()) for name in NAMES
    }
    with replaced_files(extra, writers, 100, days):
        assert not is_torn(extra, "TRAIN")


def found(extra: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in extra.glob("[!.]*")}


def due(text: str) -> dict[str, str]:
    return {name: f"{name} {text}" for name in NAMES}


def kept(extra: Path) -> list[str]:
    """The first words of what is kept, the oldest first."""
    folders = sorted(kept_in(extra).iterdir())
    return [(folder / NAMES[0]).read_text().split()[1] for folder in folders]


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder look as if it were on a file server."""
    monkeypatch.setattr(replace, "is_local", lambda _: False)
    return tmp_path


@pytest.mark.usefixtures("local")
def test_nothing_is_kept_on_a_local_file_system(tmp_path: Path) -> None:
    for text in ("one", "two", "three"):
        put(tmp_path, text)
        assert found(tmp_path) == due(text)
    assert kept(tmp_path) == []
    assert kept_size(tmp_path) == (0, 0)
    assert os.listdir(place_of(tmp_path)) == ["kept"]


def test_replaced_files_are_kept_under_a_second_name(served: Path) -> None:
    put(served, "one")
    inode = (served / NAMES[0]).stat().st_ino
    put(served, "two")
    (second,) = kept_in(served).glob(f"*/{NAMES[0]}")
    assert second.stat().st_ino == inode
    put(served, "three")
    assert kept(served) == ["one", "two"]
    assert kept_size(served) == (6, sum(len(f"{name} one") * 2 for name in NAMES))


def test_old_ones_go_after_some_days_but_never_the_last(
    served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_800_000_000 * 10**9
    monkeypatch.setattr(replace, "time", SimpleNamespace(time_ns=lambda: now))
    for text in ("one", "two", "three"):
        put(served, text)
        now += 10 * DAY
    assert kept(served) == ["one", "two"]
    put(served, "four")
    assert kept(served) == ["two", "three"]
    now += 100 * DAY
    put(served, "five")
    assert kept(served) == ["four"]
    now += 1
    put(served, "six", days=0)
    assert kept(served) == ["five"]


def test_the_oldest_go_when_room_is_short(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("one", "two", "three", "four"):
        put(served, text)

    def free(_: object) -> SimpleNamespace:
        return SimpleNamespace(free=10 - len(os.listdir(kept_in(served))))

    monkeypatch.setattr(shutil, "disk_usage", free)
    state = {"tree": "x", "selection": "all", "sound": "all", "labels": "y", "numbered": "own"}
    path = path_of(served, "new_entries", split="TRAIN", **state)
    make_room(path, 8)
    assert kept(served) == ["two", "three"]
    with pytest.raises(MetadataError, match=r"entries-TRAIN.npy needs .* MB"):
        make_room(path, 10)
    assert kept(served) == ["three"]


def test_where_there_are_no_links_files_are_copied(
    served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    put(served, "one")
    monkeypatch.setattr(os, "link", link)
    with pytest.raises(ZeroDivisionError):
        failing(served, "two")
    assert found(served) == due("one")
    put(served, "two")
    assert found(served) == due("two")
    assert kept_size(served) == (0, 0)


def failing(extra: Path, text: str) -> None:
    """Replace all files, and fail when they are in place."""
    writers = {name: lambda file: file.write(text.encode()) for name in NAMES}
    with replaced_files(extra, writers, 100, 14):
        assert found(extra) == dict.fromkeys(NAMES, text)
        raise ZeroDivisionError


def test_an_error_in_the_block_takes_all_back(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        failing(tmp_path, "one")
    assert found(tmp_path) == {}
    put(tmp_path, "one")
    states = {name: os.stat(tmp_path / name).st_ino for name in NAMES}
    with pytest.raises(ZeroDivisionError):
        failing(tmp_path, "two")
    assert found(tmp_path) == due("one")
    assert {name: os.stat(tmp_path / name).st_ino for name in NAMES} == states
    assert not list(place_of(tmp_path).glob("*.*"))


def test_new_files_go_even_if_somebody_removed_what_was_kept(tmp_path: Path) -> None:
    writers = {name: lambda file: file.write(b"x") for name in NAMES}

    def fail() -> None:
        shutil.rmtree(place_of(tmp_path) / "kept")
        raise MetadataError("an error in the block")

    with pytest.raises(MetadataError), replaced_files(tmp_path, writers, 9, 1):
        fail()
    assert found(tmp_path) == {}


@pytest.mark.parametrize("there", [True, False])
def test_a_writer_that_fails_leaves_nothing(
    there: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if there:
        put(tmp_path, "one")
    before = found(tmp_path)

    def refuse(_: object) -> None:
        raise MetadataError("not the verified one")

    with (
        pytest.raises(MetadataError, match="not the verified one"),
        replaced_files(tmp_path, {NAMES[0]: lambda file: file.write(b"x"), NAMES[1]: refuse}, 9, 1),
    ):
        pass
    assert found(tmp_path) == before
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]
    assert "could not be put back" not in caplog.text


def stamped(new: dict) -> str:
    """A journal with a stamp as it should be."""
    return json.dumps({"stamp": "0" * 16, "new": new})


@pytest.mark.parametrize(
    "edit",
    [
        lambda plan: "null",
        lambda plan: "",
        lambda plan: json.dumps(plan)[:-5],
        lambda plan: "[" * 100_000,
        lambda plan: json.dumps({"stamp": "../..", "new": {"../../victim": ["x", 1]}}),
        lambda plan: json.dumps({"new": {"notes.txt": [f".{'0' * 12}-{'0' * 32}.tmp", plan]}}),
        lambda plan: json.dumps({"new": {NAMES[0]: ["../../victim", plan]}}),
        lambda plan: json.dumps({"new": {NAMES[0]: None}}),
        lambda plan: stamped({"notes.txt": [f".{'0' * 12}-{'0' * 32}.tmp", plan]}),
        lambda plan: stamped({NAMES[0]: ["../../victim", plan]}),
        lambda plan: stamped({NAMES[0]: None}),
        lambda plan: stamped({"../../victim": [f".{'0' * 12}-{'0' * 32}.tmp", plan]}),
    ],
)
def test_a_forged_journal_harms_nothing(edit: Callable, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    extra.mkdir()
    put(extra, "one")
    (extra / "notes.txt").write_text("mine")
    (tmp_path / "victim").write_text("mine")
    journal = Path(path_of(extra, "journal", stamp="0" * 16))
    journal.write_text(edit((extra / "notes.txt").stat().st_ino))
    assert not is_torn(extra, "TRAIN")
    undo_unfinished(extra)
    assert not journal.exists()
    assert found(extra) == due("one") | {"notes.txt": "mine"}
    assert (tmp_path / "victim").read_text() == "mine"


def test_the_mode_of_the_old_file_stays(tmp_path: Path) -> None:
    put(tmp_path, "one")
    (tmp_path / NAMES[0]).chmod(0o640)
    put(tmp_path, "two")
    assert (tmp_path / NAMES[0]).stat().st_mode & 0o777 == 0o640


def test_a_link_in_the_place_of_a_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / NAMES[0]).symlink_to("../victim")
    put(tmp_path / "extra", "one")
    assert found(tmp_path / "extra") == due("one")
    assert (tmp_path / "victim").read_text() == "mine"


def test_a_temporary_name_can_not_be_guessed(tmp_path: Path) -> None:
    names = set()
    for _ in range(2):
        with write_atomically(tmp_path / "a"):
            names |= {path.name for path in tmp_path.iterdir() if path.name != "a"}
    assert len(names) == 2
    assert all(len(name) == 50 for name in names)


def test_a_single_file_is_kept_as_well(served: Path) -> None:
    for text in ("one", "two"):
        with write_atomically(served / NAMES[0]) as file:
            file.write(f"{NAMES[0]} {text}".encode())
    assert kept(served) == ["one"]
    work = Path(work_folder(served), "TRAIN")
    work.mkdir()
    for _ in range(2):
        with write_atomically(work / NAMES[0]) as file:
            file.write(b"x")
    assert kept(served) == ["one"]


def test_the_summary_says_how_much_room_they_take(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replace, "is_local", lambda _: False)
    extra = tmp_path / "extra"
    for number in (100, 101):
        (tree / f"train/n01440764/n01440764_{number}.JPEG").touch()
        chain = dump_extra(tree, extra, ["TRAIN"])
    files, size = kept_size(extra)
    assert (files, size > 0) == (2, True)  # the entries and their description
    said = summarise(chain)
    assert f"kept for readers on other hosts, see `keep`: 2 replaced files, {size:,} bytes" in said


def test_all_is_on_the_disk_before_the_first_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut between two renames needs the journal, and the bytes behind each name."""
    put(tmp_path, "one")
    events: list[str] = []
    fsync, rename = os.fsync, os.replace

    def note_sync(descriptor: int) -> None:
        fsync(descriptor)
        events.append(open_path(descriptor, tmp_path).name)

    def note_rename(new: str, old: str, **folders: int) -> None:
        rename(new, old, **folders)
        events.append(f"{new} becomes {old}")

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_rename)
    put(tmp_path, "two")
    renames = [event for event in events if " becomes " in event]
    before = events[: events.index(renames[0])]
    assert [event.split()[-1] for event in renames] == NAMES
    assert {event.split()[0] for event in renames} <= {*before}
    assert [event for event in before if event.startswith("journal-")]
    assert before[-1] == place_of(tmp_path).name
