"""Damaged files of ours: made anew where they are ours to make, one sentence elsewhere."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from dinov3_metadata import ImageNetMetadata, dinov3, report
from dinov3_metadata.artefacts import Scan
from dinov3_metadata.demo import make_demo
from dinov3_metadata.errors import DamagedError, MetadataError
from dinov3_metadata.formats import npy_header
from dinov3_metadata.paths import WORK
from dinov3_metadata.report.pages import draw_report
from dinov3_metadata.run import dump_extra
from dinov3_metadata.stages.audit import audit_images, publish_audit, save
from dinov3_metadata.stages.scan import scan_images
from dinov3_metadata.summary import summarise
from helpers import digests, make_scan

SPLITS = ["TRAIN"]

FILES = [
    f"{WORK}/labels/*/labels.json",
    f"{WORK}/views/TRAIN/*/folders.json",
    f"{WORK}/TRAIN/*/folders.json",
    f"{WORK}/TRAIN/*/scan.npz",
    f"{WORK}/TRAIN/*/*/entries-TRAIN.npy",
    f"{WORK}/TRAIN/*/*/class-names-TRAIN.npy",
    f"{WORK}/TRAIN/*/*/*/verify-TRAIN.json",
    f"{WORK}/published/receipt-*.json",
    f"{WORK}/published/TRAIN.json",
    f"{WORK}/published/TRAIN.npz",
    f"{WORK}/published/audit-TRAIN.json",
    f"{WORK}/published/journal-0123456789abcdef.json",
    "view/.dinov3-view-TRAIN",
    "metadata-TRAIN.json",
    "audit-TRAIN.json",
    "audit-TRAIN.npy",
]
"""What a run and an audit leave behind, in EXTRA and below; a journal only if it was killed."""


def deep(path: Path) -> None:
    path.write_text('{"a":' * 100_000)


def wrong_types(path: Path) -> None:
    """The same names with other types."""
    if path.suffix in (".npz", ".npy"):
        np.save(path.with_suffix(".npy"), np.float32(1))
        os.replace(path.with_suffix(".npy"), path)
        return
    found = json.loads(path.read_bytes())
    path.write_text(json.dumps({name: [{}] for name in found} if type(found) is dict else [5, {}]))


def wrong_inner_types(path: Path) -> None:
    """The same names, and the names in them, with other types."""
    if path.suffix in (".npz", ".npy"):
        np.savez(path.with_suffix(".npz"), np.arange(3))
        os.replace(path.with_suffix(".npz"), path)
        return
    found = json.loads(path.read_bytes())
    wrong = {
        name: {inner: {"a": None} for inner in value}
        if isinstance(value, dict)
        else [None, *value]
        if isinstance(value, list)
        else -(10**400)
        if isinstance(value, int)
        else value
        for name, value in (found.items() if type(found) is dict else [])
    }
    path.write_text(json.dumps(wrong or [None, *found]))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: os.truncate(path, path.stat().st_size * 2 // 3),
    "null": lambda path: path.write_text("null"),
    "list": lambda path: path.write_text("[[], 1]"),
    "object": lambda path: path.write_text("{}"),
    "deep": deep,
    "wrong types": wrong_types,
    "wrong inner types": wrong_inner_types,
    "not text": lambda path: path.write_bytes(b'{"a": "\xff\xfe"}'),
}


def one_audit(root: Path, extra: Path) -> None:
    scan, _ = scan_images(root, "TRAIN")
    save(audit_images(root, extra, "TRAIN", scan, "1-of-1"), extra / "share.npy")
    out = extra / WORK / f"audit/TRAIN/tree/{'0' * 12}/audit-TRAIN.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    publish_audit([extra / "share.npy"], root, extra, "TRAIN", scan, [], out)
    (extra / "share.npy").unlink()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that is seen through a view, what a good run and an audit made of it, and the
    digests of the arrays."""
    place = tmp_path_factory.mktemp("good")
    (place / "labels.txt").write_text("n01,tench\nn02,cock\n")
    make_demo(place / "root", place / "labels.txt", {"TRAIN": 2, "VAL": 0, "TEST": 0})
    image = min((place / "root/train/n01").iterdir())
    image.write_bytes(b"no image")
    image.rename(image.with_name("a.jpg"))
    chain = dump_extra(place / "root", place / "extra", SPLITS, layout="folder")
    one_audit(Path(chain.base), place / "extra")
    return place


WHOLE: dict[str, bytes] = {}
"""Name -> what a file held before it was damaged for the first time."""


def planted(place: Path, name: str, plant: Callable[[Path], object]) -> None:
    """Damage one file of a run."""
    paths = list((place / "extra").glob(name))
    if "journal" in name:
        paths = [place / "extra" / name]
        new = {"entries-TRAIN.npy": [f".{'0' * 12}-{'0' * 32}.tmp", 5]}
        paths[0].write_text(json.dumps({"stamp": "0123456789abcdef", "new": new}))
    assert paths, name
    for path in paths:
        if path.name in WHOLE:
            path.write_bytes(WHOLE[path.name])
        WHOLE[path.name] = path.read_bytes()
        plant(path)


def readers_of(place: Path, name: str) -> list[Callable[[], object]]:
    """Everything that reads what is published, and what the work folder says of it."""
    root, extra = place / "root", place / "extra"
    readers = [
        lambda: summarise(extra, SPLITS, "folder", root),
        lambda: ImageNetMetadata(root, extra, check="stat"),
        lambda: dinov3._length(extra, "TRAIN"),
    ]
    drawn = ("published/", "audit-", "metadata-", "verify-")
    return readers + [lambda: draw_report(extra, SPLITS)] * any(one in name for one in drawn)


@pytest.mark.parametrize("name", FILES)
def test_damaged_files(name: str, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_svg", lambda _: b"<?xml")  # which takes most of the time
    extra, arrays = good / "extra", name.endswith(("npy", "npz"))
    due = {one: sha for one, sha in digests(extra).items() if "audit" not in one}
    readers = readers_of(good, name)
    for kind, plant in DAMAGES.items():
        if arrays and kind in ("object", "list", "deep", "not text"):
            continue
        planted(good, name, plant)
        try:
            for read in readers:
                with suppress(MetadataError):
                    read()
            # Each file of the work folder is read again where there is no receipt and no entries.
            others = ["published/receipt-*.json", "TRAIN/*/*/entries-TRAIN.npy"]
            for path in (path for one in others for path in (extra / WORK).glob(one)):
                if path.name.partition("-")[0] not in name:
                    path.unlink()
            dump_extra(good / "root", extra, SPLITS, layout="folder")
            assert digests(extra).items() >= due.items()
        except Exception as error:
            raise AssertionError(kind) from error
        if "audit" in name:
            one_audit(extra / "view", extra)
    for read in readers:
        read()
    assert dinov3._length(extra, "TRAIN") == 4


def test_an_archive_that_unpacks_to_more_than_it_is(tmp_path: Path) -> None:
    arrays = vars(make_scan(["a"], [3], [1, 2, 3]))
    np.savez_compressed(tmp_path / "scan.npz", **arrays)
    with pytest.raises(DamagedError, match="compressed, or larger"):
        Scan.load(tmp_path / "scan.npz")
    assert not (tmp_path / "scan.npz").exists()
    huge = npy_header(np.dtype("<u4"), 1 << 45)
    with ZipFile(tmp_path / "scan.npz", "w") as members:
        members.writestr("actual_index.npy", huge + bytes(16))
    with pytest.raises(DamagedError, match="is cut off"):
        Scan.load(tmp_path / "scan.npz")
