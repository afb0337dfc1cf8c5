"""Scanning again: only what changed is listed, and the result is that of a full scan."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata import fingerprint, walk
from dinov3_metadata.addresses import LABELLED, split_folder
from dinov3_metadata.artefacts import Scan
from dinov3_metadata.disk import remove_folders
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.fingerprint import FolderState, Record, read_record, write_record
from dinov3_metadata.look import Status
from dinov3_metadata.paths import existing, folder_of, path_of
from dinov3_metadata.readdir import WATCHED, Listing
from dinov3_metadata.stages.scan import found_before, last_scan, scan_images, scan_split
from dinov3_metadata.trees import of_tree
from helpers import exchange, make_tree
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule


class Scanner:
    """Scan a split as the workflow does: the last scan is kept, and reused while it is valid."""

    def __init__(self, root: Path, extra: Path, split: str = "TRAIN", trust: bool = True) -> None:
        self.root, self.extra, self.split, self.trust = root, extra, split, trust

    def due(self) -> bool:
        return not self.record().exists()

    def name(self) -> str:
        """The name of the scan of the folders as they are now."""
        records = existing(self.extra, "folders", split=self.split)
        return of_tree(
            self.root / split_folder(self.split),
            ((state["tree"], path) for path, state in records),
            "",
            classes=self.split in LABELLED,
            trust_timestamps=self.trust,
        ).name

    def record(self) -> Path:
        """The record of that scan."""
        return Path(path_of(self.extra, "folders", split=self.split, tree=self.name()))

    def folder(self) -> Path:
        """The folder of the scan that there is, true or not."""
        (folder,) = Path(folder_of(self.extra, "scan", "tree", split=self.split)).iterdir()
        return folder

    def scan(self) -> Scan:
        record = self.record()
        scan = record.with_name("scan.npz")
        if not record.exists():
            record.parent.mkdir(parents=True)
            scan_split(
                scan=scan,
                folders=record,
                extra=self.extra,
                root=str(self.root),
                split=self.split,
                settings="",
                unaddressable="skip",
                trust_timestamps=self.trust,
            )
            remove_folders(record.parent.parent, {record.parent.name})
        return Scan.load(scan)

    def is_true(self) -> bool:
        full, *_ = scan_images(
            self.root, self.split, unaddressable="skip", trust_timestamps=self.trust
        )
        return all(map(np.array_equal, vars(self.scan()).values(), vars(full).values()))


@pytest.fixture
def scanner(tree: Path, tmp_path: Path) -> Scanner:
    scanner = Scanner(tree, tmp_path / "extra")
    scanner.scan()
    return scanner


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the folders that are listed from now on."""
    names: list[str] = []
    real = walk.list_folder

    def list_folder(folder: str, *what: object) -> Listing:
        names.append(Path(folder).name)
        return real(folder, *what)

    monkeypatch.setattr(walk, "list_folder", list_folder)
    return names


def test_one_changed_folder_is_listed_and_the_others_are_not(
    scanner: Scanner, listed: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    make_tree(scanner.root, [f"train/n01440764/n01440764_{i}.JPEG" for i in (5, 6)])
    (scanner.root / "train/n01440764/n01440764_9.JPEG").unlink()
    found = scanner.scan()
    assert listed == ["n01440764"]
    assert found.actual_index.tolist() == [10026, 5, 6, 177134, 1]
    said = [record.getMessage() for record in caplog.records]
    assert "n01440764: +2 \N{MINUS SIGN}1 images" in said
    assert any(text.endswith("5 images in 3 classes; 1 of 4 folders listed") for text in said)


def test_what_new_and_gone_classes_are_called(
    scanner: Scanner, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    make_tree(scanner.root, [f"train/c{i:02d}/c{i:02d}_1.JPEG" for i in range(30)])
    shutil.rmtree(scanner.root / "train/n01484850")
    scanner.scan()
    said = [record.getMessage() for record in caplog.records]
    assert "c00: new, +1 \N{MINUS SIGN}0 images" in said
    assert "c19: new, +1 \N{MINUS SIGN}0 images" in said
    assert not any(text.startswith("c20") for text in said)
    assert "... and 11 more; 31 changed in all" in said


def test_a_scan_that_is_true_is_found_again(scanner: Scanner, listed: list[str]) -> None:
    assert not scanner.due()
    (scanner.root / "train/n01440764/n01440764_9.JPEG").write_text("pixels")
    assert not scanner.due()
    scanner.scan()
    assert listed == []


def test_an_edit_right_after_the_scan_is_seen(scanner: Scanner) -> None:
    """A hundred times, without any pause between the scan and the edit."""
    folder = scanner.root / "train/n01440764"
    for i in range(100):
        path = folder / f"n01440764_{i + 20_000}.JPEG"
        path.touch()
        assert scanner.due()
        found = scanner.scan()
        path.rename(folder / f"n01440764_{i + 30_000}.JPEG")
        assert i + 20_000 in found.actual_index
        assert i + 30_000 in scanner.scan().actual_index
        path = folder / f"n01440764_{i + 30_000}.JPEG"
        path.unlink()
        assert scanner.due()


def interfere(monkeypatch: pytest.MonkeyPatch, edits: list[Callable[[], object]]) -> None:
    """Make one edit after each listing of a folder, as long as there are any."""
    real = walk.list_folder

    def list_folder(folder: str, *what: object) -> Listing:
        found = real(folder, *what)
        if edits:
            edits.pop(0)()
        return found

    monkeypatch.setattr(walk, "list_folder", list_folder)


class Clock:
    """A file system whose timestamps keep to whole ticks."""

    def __init__(self, tick: int, ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.real, self.tick, self.ahead = fingerprint.ask, tick, ahead
        monkeypatch.setattr(fingerprint, "ask", self.ask)

    def ask(self, path: str | os.PathLike) -> Status:
        found = self.real(path)
        mtime, ctime = (
            (time + self.ahead) // self.tick * self.tick for time in (found.mtime, found.ctime)
        )
        return found._replace(mtime=mtime, ctime=ctime)


@pytest.mark.parametrize(
    ("tick", "ahead"),
    [(10**7, 0), (10**7, -8000), (10**7, 8000), (10**9, 0)],
    ids=["10 ms", "10 ms, server behind", "10 ms, server ahead", "1 s"],
)
def test_an_edit_within_a_tick_of_the_listing_is_seen(
    tick: int, ahead: int, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(tick, ahead * 10**9, monkeypatch)
    scanner = Scanner(tree, tmp_path / "extra")
    edits: list[Callable[[], object]] = []
    interfere(monkeypatch, edits)
    for i in range(20 if tick < 10**9 else 2):
        before, after = (f"train/n01440764/n01440764_{i + n}.JPEG" for n in (20_000, 30_000))
        edits.append(lambda name=after: make_tree(tree, [name]))
        make_tree(tree, [before])
        assert i + 30_000 in scanner.scan().actual_index
        assert not scanner.due()


def test_a_folder_that_changes_while_it_is_listed_is_listed_again(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tree / "train/n01440764"
    interfere(
        monkeypatch,
        [
            lambda: None,
            lambda: [(folder / f"n01440764_{i}.JPEG").touch() for i in (1, 2)],
            lambda: shutil.rmtree(tree / "train/n01484850"),
            lambda: make_tree(tree, ["train/n00/n00_1.JPEG"]),
        ],
    )
    found, states, _ = scan_images(tree, "TRAIN")
    assert found.class_ids.tolist() == ["n00", "n01440764", "n01443537"]
    assert found.actual_index.tolist() == [1, 1, 10026, 2, 9, 177134]
    assert states == fingerprint.folder_states(tree / "train")


def test_a_folder_that_will_not_hold_still_ends_the_scan(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (tree / f"train/n01440764/n01440764_{i}.JPEG" for i in range(100, 1100))
    interfere(monkeypatch, [lambda: next(names).touch()] * 1000)
    with pytest.raises(MetadataError, match=r"train keeps changing .*instance .*n01440764\)"):
        scan_images(tree, "TRAIN")


def test_an_mtime_in_the_future_neither_hides_edits_nor_makes_work(scanner: Scanner) -> None:
    folder = scanner.root / "train/n01440764"
    os.utime(folder, (2**32, 2**32))
    scanner.scan()
    assert not scanner.due()
    make_tree(scanner.root, ["train/n01440764/n01440764_5.JPEG"])
    os.utime(folder, (2**32, 2**32))
    assert scanner.due()
    assert 5 in scanner.scan().actual_index
    assert not scanner.due()


@pytest.mark.parametrize("link", ["train/n02", "train/n01440764/notes", "test/more"])
def test_a_link_whose_target_comes_goes_and_changes(link: str, tree: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tree / link).symlink_to(target)
    scanner = Scanner(tree, tmp_path / "extra", link.split("/")[0].upper())
    kinds = ["nothing", "folder", "nothing", "folder", "nothing"]
    for kind in [*kinds, "file", "nothing", "folder"] if link == "train/n02" else kinds:
        exchange(target, kind)
        assert scanner.is_true()
        assert not scanner.due()
    exchange(target, "folder")
    make_tree(target, ["n02_8.JPEG"])
    assert scanner.is_true()
    exchange(target, "file")
    assert scanner.is_true()
    assert not scanner.due()


KINDS = ["file", "folder", "file", "nothing", "FIFO", "folder", "nothing"]
IMAGES = ["train/n01440764/n01440764_5.JPEG", "test/ILSVRC2012_test_00000005.JPEG"]


def link_to(target: Path, path: Path, way: str) -> None:
    """Make a link that leads to a target in one of several ways."""
    home = target.parent.parent
    match way:
        case "relative":
            path.symlink_to(os.path.relpath(target, path.parent))
        case "link to a link":
            (home / "between").mkdir()
            (home / "between/x").symlink_to(target)
            path.symlink_to(home / "between/x")
        case "through a link":
            (home / "between").symlink_to(target.parent)
            path.symlink_to(home / "between" / target.name)
        case _:
            path.symlink_to(target)


WAYS = ["absolute", "relative", "link to a link", "through a link"]


@pytest.mark.parametrize(
    ("image", "way", "trust"),
    [
        *((IMAGES[0], way, True) for way in WAYS),
        (IMAGES[0], "absolute", False),
        (IMAGES[1], "relative", True),
        ("train/n01440764/notes/x.txt", "relative", True),
    ],
)
def test_a_link_in_the_place_of_an_image_whose_target_changes(
    image: str, way: str, trust: bool, tree: Path, tmp_path: Path
) -> None:
    """A scan is needed each time, though no folder of the dataset changes: even if it finds the
    same, the images must be looked up again."""
    target = tmp_path / "pool/x"
    make_tree(tree, [f"{Path(image).parent}/"])
    make_tree(tmp_path, ["pool/"])
    link_to(target, tree / image, way)
    scanner = Scanner(tree, tmp_path / "extra", image.split("/")[0].upper(), trust)
    for kind in KINDS:
        exchange(target, kind)
        assert scanner.due()
        assert scanner.is_true()
        assert not scanner.due()


def test_a_link_in_a_path_that_leads_elsewhere_now(tree: Path, tmp_path: Path) -> None:
    make_tree(tmp_path, ["one/x", "two/x/"])
    (tmp_path / "current").symlink_to("one")
    (tree / IMAGES[0]).symlink_to(tmp_path / "current/x")
    scanner = Scanner(tree, tmp_path / "extra")
    assert 5 in scanner.scan().actual_index
    (tmp_path / "current").unlink()
    (tmp_path / "current").symlink_to("two")
    assert 5 not in scanner.scan().actual_index


@pytest.mark.parametrize("folders", [1, WATCHED, WATCHED + 1])
def test_links_into_many_folders(
    folders: int, tree: Path, tmp_path: Path, listed: list[str]
) -> None:
    folder = tree / "train/n01440764"
    targets = [tmp_path / f"pool/{i % folders}/{i}" for i in range(30)]
    for i, target in enumerate(targets):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
        (folder / f"n01440764_{100 + i}.JPEG").symlink_to(target)
    scanner = Scanner(tree, tmp_path / "extra")
    assert len(scanner.scan().actual_index) == 34
    assert not scanner.due()
    state = read_record(scanner.record()).folders["n01440764"]
    assert bool(state.names) == (folders > WATCHED)
    assert len(state.watched) == (0 if folders > WATCHED else folders)
    for target in targets[3:5]:
        exchange(target, "folder")
        assert scanner.due()
        assert scanner.is_true()
        assert not scanner.due()
    listed.clear()
    (folder / "n01440764_100.JPEG").unlink()
    scanner.scan()
    assert set(listed) == {"n01440764"}


def test_each_folder_that_links_lead_into_is_asked_once(
    tree: Path, tmp_path: Path, listed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tree(tmp_path, [f"pool/{i}" for i in range(300)])
    for i in range(300):
        name = ["n01440764", "n01443537", "n01484850"][i % 3]
        (tree / f"train/{name}/{name}_{100 + i}.JPEG").symlink_to(tmp_path / f"pool/{i}")
    scanner = Scanner(tree, tmp_path / "extra")
    scanner.scan()
    asked: list[str] = []
    real = fingerprint.ask

    def ask(path: str) -> Status:
        asked.append(path)
        return real(path)

    monkeypatch.setattr(fingerprint, "ask", ask)
    assert not scanner.due()
    assert [path for path in asked if "pool" in path] == [str(tmp_path / "pool")]
    monkeypatch.undo()
    make_tree(tmp_path, ["pool/another"])
    assert scanner.due()
    assert scanner.is_true()
    assert not scanner.due()


def test_a_target_that_changes_right_after_the_scan_is_seen(tree: Path, tmp_path: Path) -> None:
    target = tmp_path / "pool/x"
    make_tree(tmp_path, ["pool/x"])
    (tree / IMAGES[0]).symlink_to(target)
    scanner = Scanner(tree, tmp_path / "extra")
    for _ in range(30):
        assert 5 in scanner.scan().actual_index
        target.unlink()
        target.mkdir()
        assert scanner.due()
        assert 5 not in scanner.scan().actual_index
        target.rmdir()
        target.touch()
        assert scanner.due()


@pytest.mark.parametrize("tick", [10**7, 10**9], ids=["10 ms", "1 s"])
def test_a_target_that_changes_within_a_tick_of_the_listing_is_seen(
    tick: int, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(tick, 0, monkeypatch)
    target = tmp_path / "pool/x"
    make_tree(tmp_path, ["pool/x"])
    (tree / IMAGES[0]).symlink_to(target)
    real, turns = walk.list_folder, [0]

    def list_folder(folder: str, *what: object) -> Listing:
        """Edit right before the listing, too, so that the time of the edit after it is the same."""
        edit = bool(turns[0]) and folder.endswith("n01440764")
        turns[0] -= edit
        if edit:
            exchange(target, "file")
        found = real(folder, *what)
        if edit:
            exchange(target, "folder")
        return found

    monkeypatch.setattr(walk, "list_folder", list_folder)
    for i in range(10 if tick < 10**9 else 1):
        scanner = Scanner(tree, tmp_path / f"extra{i}")
        turns[0] = 1 + i % 2
        assert 5 not in scanner.scan().actual_index
        assert not scanner.due()


def other_settings(folder: Path) -> None:
    path = folder / "folders.json"
    write_record(path, read_record(path)._replace(settings="other"))


def with_folders(**folders: FolderState) -> Callable[[Path], None]:
    """Note more folders than were visited."""

    def forge(folder: Path) -> None:
        path = folder / "folders.json"
        record = read_record(path)
        write_record(path, record._replace(folders=record.folders | folders))

    return forge


def of_the_first_version(folder: Path) -> None:
    """States as lists of three numbers."""
    path = folder / "folders.json"
    record = json.loads(path.read_text())
    record["folders"] = {name: state[:3] for name, state in record["folders"].items()}
    path.write_text(json.dumps(record))


def forged(**arrays: np.ndarray) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with np.load(folder / "scan.npz") as good:
            np.savez(folder / "scan.npz", **{**good, **arrays})

    return damage


DAMAGES: dict[str, Callable[[Path], object]] = {
    "scan gone": lambda folder: (folder / "scan.npz").unlink(),
    "scan empty": lambda folder: (folder / "scan.npz").write_bytes(b""),
    "scan truncated": lambda folder: os.truncate(folder / "scan.npz", 700),
    "scan of zeros": lambda folder: (folder / "scan.npz").write_bytes(bytes(5000)),
    "record gone": lambda folder: (folder / "folders.json").unlink(),
    "record empty": lambda folder: (folder / "folders.json").write_bytes(b""),
    "record of another kind": lambda folder: (folder / "folders.json").write_text(
        '{"folders": []}'
    ),
    "record of the first version": of_the_first_version,
    "record of other settings": other_settings,
    "record of other folders": lambda folder: write_record(
        folder / "folders.json", Record("", {"": FolderState(1, 2, 3)})
    ),
    "record of one more folder": with_folders(n07=FolderState(1, 2, 3)),
    "an object array": forged(class_ids=np.array([{}, {}, {}], object)),
    "absurd counts": forged(counts=np.array([2**62, 1, 1])),
    "negative counts": forged(counts=np.array([-1, 4, 1])),
    "counts of another sum": forged(counts=np.array([2, 2, 1])),
    "too few classes": forged(class_ids=np.array(["n01440764"])),
    "an unknown array": forged(other=np.array([1])),
    "no dimension": forged(counts=np.array(3)),
    "counts that wrap around": forged(counts=np.array([2**63 - 1, 2**63 - 1, 6])),
    "counts with a point": forged(counts=np.array([2.0, 1.0, 1.0])),
    "wide numbers": forged(actual_index=np.array([2**40, 1, 1, 1])),
    "skipped as text": forged(skipped=np.array(["a"] * 4)),
    "a record of what can be no path": with_folders(**{"a\0b": FolderState(1, 2, 3)}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_scan_that_can_not_be_used_is_made_anew(damage: str, scanner: Scanner) -> None:
    make_tree(scanner.root, ["train/n01440764/n01440764_5.JPEG"])
    DAMAGES[damage](scanner.folder())
    assert scanner.is_true()


def test_a_record_of_one_more_folder_is_not_of_that_scan(scanner: Scanner) -> None:
    scan, states = scanner.folder() / "scan.npz", read_record(scanner.record()).folders
    assert found_before(scan, states).keys() == states.keys()
    assert found_before(scan, states | {"n07": FolderState(1, 2, 3)}) is None
    del states[""]
    assert found_before(scan, states) is None


def test_names_are_compared_where_times_mean_nothing(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", None)  # nothing to wait for
    scanner = Scanner(tree, tmp_path / "extra", trust=False)
    scanner.scan()
    os.utime(tree / "train/n01440764")
    (tree / "train/n01440764").chmod(0o700)
    assert not scanner.due()
    times = (tree / "train/n01440764").stat()
    make_tree(tree, ["train/n01440764/n01440764_5.JPEG"])
    os.utime(tree / "train/n01440764", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert scanner.due()
    assert scanner.is_true()
    assert not scanner.due()


def test_times_that_are_always_now_end_a_scan(
    scanner: Scanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fingerprint.ask

    def ask(path: str | os.PathLike) -> Status:
        return real(path)._replace(mtime=time.time_ns(), ctime=time.time_ns())

    monkeypatch.setattr(fingerprint, "ask", ask)
    with pytest.raises(MetadataError, match=r"keeps changing(?s:.)*trust_timestamps: false"):
        scan_images(scanner.root, "TRAIN", previous=last_scan(scanner.extra, "TRAIN", ""))


CLASSES = st.sampled_from(["n00", "n01", "n02", "a b", "鱥"])
NUMBERS = st.integers(0, 12)
TARGETS = st.sampled_from(["pool/x", "pool/y", "other/x"])
INSIDE = st.sampled_from(["", "notes/", "notes/deep/"])


def test_images_that_are_links_to_folders_in_several_places(scanner: Scanner) -> None:
    """Whether a link leads to a folder is known only a tick after the folder around it was read."""
    for number, where in ((2, "pool/y"), (0, "other/x"), (3, "third/z")):
        target = scanner.extra / where
        link = scanner.root / f"train/n01440764/n01440764_{number}.JPEG"
        link.symlink_to(target)
        assert scanner.is_true()
        make_tree(target, ["n02_7.JPEG"])
        assert scanner.is_true()
        assert not scanner.due()


class Edits(RuleBasedStateMachine):
    """Random edits; after each, scanning again gives what a full scan gives."""

    @initialize(split=st.sampled_from(["TRAIN", "VAL", "TEST"]), trust=st.booleans())
    def start(self, split: str, trust: bool) -> None:
        self.home = Path(os.environ["PYTEST_TMP"], f"edits{time.time_ns()}")
        self.split, self.train = split, self.home / "root" / split_folder(split)
        first = {"TRAIN": "n00/n00_1", "VAL": "n00/ILSVRC2012_val_00000001",
                 "TEST": "ILSVRC2012_test_00000001"}[split]  # fmt: skip
        make_tree(self.home / "root", [f"{split_folder(split)}/{first}.JPEG"])
        self.kept = self.train / f"{first}.JPEG"
        self.scanner = Scanner(self.home / "root", self.home / "extra", split, trust)

    def image(self, class_id: str, number: int) -> Path:
        if self.split == "TEST":
            return self.train / f"ILSVRC2012_test_{number:08d}.JPEG"
        name = f"{class_id}_{number}" if self.split == "TRAIN" else f"ILSVRC2012_val_{number:08d}"
        return self.train / class_id / f"{name}.JPEG"

    @rule(class_id=CLASSES, number=NUMBERS)
    def add(self, class_id: str, number: int) -> None:
        path = self.image(class_id, number)
        path.parent.mkdir(exist_ok=True)
        if not path.is_symlink():
            path.touch()

    @rule(class_id=CLASSES, inside=INSIDE, name=st.sampled_from(["x.txt", "x_1.png"]))
    def add_other(self, class_id: str, inside: str, name: str) -> None:
        if (self.train / class_id).is_dir():
            make_tree(self.train / class_id, [f"{inside}{name}"])
            (self.train / class_id / "labels.txt").unlink()

    @rule(class_id=CLASSES, number=NUMBERS)
    def remove(self, class_id: str, number: int) -> None:
        path = self.image(class_id, number)
        if path != self.kept and path.exists() and len(list(path.parent.glob("*.JPEG"))) > 1:
            path.unlink()

    @rule(number=NUMBERS, where=TARGETS)
    def add_link(self, number: int, where: str) -> None:
        path = self.image(self.kept.parent.name, number)
        if not os.path.lexists(path):
            path.symlink_to(self.home / where)

    @rule(where=TARGETS, kind=st.sampled_from(["file", "folder", "FIFO", "nothing"]))
    def change_target(self, where: str, kind: str) -> None:
        (self.home / where).parent.mkdir(exist_ok=True)
        exchange(self.home / where, kind)

    @rule(class_id=CLASSES)
    def remove_class(self, class_id: str) -> None:
        if self.split != "TEST" and self.train / class_id != self.kept.parent:
            shutil.rmtree(self.train / class_id, ignore_errors=True)

    @rule(class_id=CLASSES, other=CLASSES)
    def replace_class(self, class_id: str, other: str) -> None:
        """Put a copy of one class in the place of another, with its old times."""
        source, target = self.train / class_id, self.train / other
        if self.split == "VAL" and source.is_dir() and target not in (source, self.kept.parent):
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, symlinks=True)
            os.utime(target, (10**9, 10**9))
            os.utime(self.train, (10**9, 10**9))

    @invariant()
    def scanning_again_gives_what_a_full_scan_gives(self) -> None:
        if hasattr(self, "scanner"):
            assert self.scanner.is_true()
            assert not self.scanner.due()

    def teardown(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)


def test_random_edits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_TMP", str(tmp_path))
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(Edits, settings=settings(max_examples=25, stateful_step_count=15))
