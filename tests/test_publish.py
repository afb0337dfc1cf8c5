import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import LABELS, digests, dump, file_states, make_tree
from dinov3_metadata import publish as publish_module
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.labels import read_labels
from dinov3_metadata.publish import publish, receipt_name
from dinov3_metadata.scan import scan_split
from dinov3_metadata.verify import verify


class Split:
    """A verified split that waits to be published."""

    def __init__(self, root: Path, work: Path, extra: Path) -> None:
        self.root, self.work, self.extra = root, work, extra
        work.mkdir()
        self.verify()

    def verify(self) -> None:
        self.staged = {
            name: str(path) for name, path in dump(self.root, self.work, "TRAIN").items()
        }
        scan, _ = scan_split(self.root, "TRAIN")
        self.scan = self.work / "scan.npz"
        scan.save(self.scan)
        self.report = verify(
            self.root,
            "TRAIN",
            scan,
            read_labels(self.root / "labels.txt"),
            self.staged,
        )

    def name(self) -> str:
        return receipt_name(self.work, self.extra, "TRAIN")

    def due(self) -> bool:
        return not (self.work / f"{self.name()}.json").exists()

    def publish(self) -> list[str]:
        receipt = self.work / f"{self.name()}.json"
        origin = {"root": str(self.root)}
        return publish(self.report, self.staged, origin, self.extra, receipt, self.scan)


@pytest.fixture
def split(tree: Path, tmp_path: Path) -> Split:
    return Split(tree, tmp_path / "work", tmp_path / "extra")


ARRAYS = ["entries-TRAIN.npy", "class-ids-TRAIN.npy", "class-names-TRAIN.npy"]
ALL = [*ARRAYS, "metadata-TRAIN.json"]


def test_what_is_published(split: Split) -> None:
    assert split.due()
    assert split.publish() == ARRAYS
    assert digests(split.extra) == digests(split.work)
    described = json.loads((split.extra / "metadata-TRAIN.json").read_text())
    assert described["root"] == str(split.root)
    assert (described["images"], described["classes"], described["skipped"]) == (4, 3, 0)
    assert {name: file["sha256"] for name, file in described["files"].items()} == digests(
        split.extra
    )
    assert set(described["versions"]) == {"python", "numpy", "dinov3-metadata"}
    assert not split.due()
    assert sorted(path.name for path in split.extra.glob("[!.]*")) == sorted(ALL)


def test_equal_files_are_not_touched(split: Split) -> None:
    split.publish()
    before = file_states(split.extra.glob("[!.]*"))
    split.verify()
    assert split.publish() == []
    assert file_states(split.extra.glob("[!.]*")) == before


@pytest.mark.parametrize("damaged", ALL)
@pytest.mark.parametrize("damage", ["deleted", "overwritten", "replaced"])
def test_a_damaged_file_is_put_back_once(damaged: str, damage: str, split: Split) -> None:
    split.publish()
    path = split.extra / damaged
    good = path.read_bytes()
    if damage == "deleted":
        path.unlink()
    elif damage == "overwritten":
        path.write_bytes(b"\0" * len(good))
    else:
        path.rename(split.extra / "other")
        path.write_bytes(good[::-1])
    assert split.due()
    assert split.publish() == [name for name in ARRAYS if name == damaged]
    assert path.read_bytes() == good
    assert not split.due()


def test_everything_deleted_twice_is_put_back_twice(split: Split) -> None:
    for _ in range(3):
        assert split.due()
        assert split.publish() == ARRAYS
        for path in split.extra.glob("[!.]*"):
            path.unlink()


def test_a_damaged_receipt_is_as_good_as_none(split: Split) -> None:
    split.publish()
    (receipt,) = split.work.glob("receipt-*.json")
    receipt.write_text("{")
    assert split.due()
    assert split.publish() == []


def test_a_reader_keeps_the_old_bytes(split: Split) -> None:
    split.publish()
    rows = np.load(split.extra / "entries-TRAIN.npy", mmap_mode="r")
    old = rows.tolist()
    (split.root / "train/n01440764/n01440764_5.JPEG").touch()
    split.verify()
    split.publish()
    assert rows.tolist() == old
    assert len(np.load(split.extra / "entries-TRAIN.npy")) == len(old) + 1


def test_a_crash_between_two_renames_is_repaired(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    split.publish()
    (split.root / "train/n01440764/n01440764_5.JPEG").touch()
    make_tree(split.root, [], LABELS.replace("tench", "Tinca"))
    split.verify()
    replace, names = os.replace, []

    def crash(source: Path, target: Path) -> None:
        names.append(target.name)
        if len(names) == 2:
            raise SystemExit
        replace(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(SystemExit):
        split.publish()
    monkeypatch.undo()
    assert names == ["class-names-TRAIN.npy", "entries-TRAIN.npy"]
    described = json.loads((split.extra / "metadata-TRAIN.json").read_text())["files"]
    torn = [name for name, digest in digests(split.extra).items()
            if described[name]["sha256"] != digest]  # fmt: skip
    assert torn == ["class-names-TRAIN.npy"]  # so a reader can tell
    assert split.due()
    split.publish()
    assert digests(split.extra) == digests(split.work)
    assert not split.due()


@pytest.mark.parametrize("call", range(1, 5))
def test_a_disk_that_refuses_late_changes_nothing(
    call: int, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    split.publish()
    before = {path.name: path.read_bytes() for path in split.extra.glob("[!.]*")}
    (split.root / "train/n01440764/n01440764_5.JPEG").touch()
    shutil.copytree(split.root / "train/n01440764", split.root / "train/n01440764x")
    for path in (split.root / "train/n01440764x").iterdir():
        path.rename(path.with_name(path.name.replace("n01440764", "n01440764x")))
    make_tree(split.root, [], LABELS + "n01440764x,a class more\n")
    split.verify()
    calls, fsync = iter(range(1, 100)), os.fsync

    def refuse(descriptor: int) -> None:
        if next(calls) == call:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        split.publish()
    assert {path.name: path.read_bytes() for path in split.extra.glob("[!.]*")} == before


def test_a_file_that_is_not_the_verified_one_is_not_published(split: Split) -> None:
    split.publish()
    before = digests(split.extra)
    (split.root / "train/n01440764/n01440764_5.JPEG").touch()
    split.verify()
    Path(split.staged["class-ids-TRAIN.npy"]).write_bytes(b"")
    (split.extra / "class-ids-TRAIN.npy").unlink()
    with pytest.raises(MetadataError, match="is not the file that was verified, and was removed"):
        split.publish()
    del before["class-ids-TRAIN.npy"]
    assert digests(split.extra) == before
    assert not list(split.extra.glob(".*.tmp"))


def test_labels_that_changed_since_they_were_read(split: Split) -> None:
    make_tree(split.root, [], LABELS.replace("tench", "Tinca"))
    with pytest.raises(MetadataError, match=r"labels.txt has changed meanwhile. Run the same"):
        split.publish()
    assert not split.extra.exists()


def test_a_folder_in_the_place_of_a_file(split: Split) -> None:
    (split.extra / "entries-TRAIN.npy").mkdir(parents=True)
    with pytest.raises(MetadataError, match=r"entries-TRAIN.npy is a folder"):
        split.publish()
    assert [path.name for path in split.extra.glob("[!.]*")] == ["entries-TRAIN.npy"]


def test_receipts_do_not_pile_up(split: Split) -> None:
    for _ in range(3):
        split.publish()
        (split.extra / "entries-TRAIN.npy").unlink()
    assert len(list(split.work.glob("receipt-*.json"))) == 1


def test_an_upgrade_publishes_again(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    split.publish()
    monkeypatch.setattr(publish_module, "of_code", lambda *_modules: "new")
    assert split.due()
    assert split.publish() == []
    assert not split.due()
