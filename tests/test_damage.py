"""Damaged files: work files are rebuilt, and for all others there is a one-sentence error."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from dinov3_metadata import ImageNetMetadata, dinov3
from dinov3_metadata.artefacts import Scan
from dinov3_metadata.demo import make_demo
from dinov3_metadata.errors import DamagedError, MetadataError
from dinov3_metadata.formats import npy_header
from dinov3_metadata.paths import FILES, existing, path_of
from dinov3_metadata.present import Chain
from dinov3_metadata.report import plots
from dinov3_metadata.report.pages import draw_report
from dinov3_metadata.run import dump_extra
from dinov3_metadata.settings import Settings
from dinov3_metadata.summary import summarise
from helpers import audit_all, digests, make_scan

SPLITS = ["TRAIN"]

MARK = "view/.dinov3-view-TRAIN"  # below EXTRA
STAMP = "0123456789abcdef"

DRAWN = (
    *("report", "receipt", "changes", "last_scan", "audit_summary", "journal"),
    *("metadata", "audit_list", "audit_table"),
)
"""The names of what is published, and of what the work folder says of it."""

DAMAGED = (
    *("labels", "view", "folders", "scan", "new_entries", "new_class_names", MARK),
    *DRAWN,
)
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
    audit_all(Path(chain.root), place / "extra")
    return place


WHOLE: dict[tuple[str, str], bytes] = {}
"""One of ``DAMAGED``, and file name -> what it held before it was damaged for the first time."""


def planted(place: Path, name: str, plant: Callable[[Path], object]) -> None:
    """Damage one file of a run."""
    extra = place / "extra"
    if name == "journal":
        new = {"entries-TRAIN.npy": [f".{'0' * 12}-{'0' * 32}.tmp", 5]}
        text = json.dumps({"stamp": STAMP, "new": new})
        Path(path_of(extra, name, stamp=STAMP)).write_text(text)
    paths = [extra / MARK] if name == MARK else [Path(path) for path, _ in existing(extra, name)]
    assert paths, name
    for path in paths:
        if (name, path.name) in WHOLE:
            path.write_bytes(WHOLE[name, path.name])
        WHOLE[name, path.name] = path.read_bytes()
        plant(path)


def readers_of(place: Path, name: str) -> list[Callable[[], object]]:
    """Everything that reads what is published, and what the work folder says of it."""
    root, extra = place / "root", place / "extra"
    readers = [
        lambda: summarise(Chain(Settings(str(root), str(extra), SPLITS))),
        lambda: ImageNetMetadata(root, extra, check="stat"),
        lambda: dinov3._length(extra, "TRAIN"),
    ]
    return readers + [lambda: draw_report(extra, SPLITS)] * (name in DRAWN)


@pytest.mark.needs("matplotlib")
@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files(name: str, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "_svg", lambda _: b"<svg/>")  # which takes most of the time
    extra, arrays = good / "extra", FILES.get(name, "").endswith(("npy", "npz"))
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
            for other in {"receipt", "new_entries"} - {name}:
                for path, _ in existing(extra, other):
                    os.unlink(path)
            dump_extra(good / "root", extra, SPLITS, layout="folder")
            assert digests(extra).items() >= due.items()
        except Exception as error:
            raise AssertionError(kind) from error
        if name.startswith("audit"):
            audit_all(extra / "view", extra)
    for read in readers:
        read()
    assert dinov3._length(extra, "TRAIN") == 4


def test_an_archive_that_unpacks_to_more_than_it_is(tmp_path: Path) -> None:
    arrays = vars(make_scan(["a"], [3], [1, 2, 3]))
    np.savez_compressed(tmp_path / "scan.npz", **arrays)
    with pytest.raises(DamagedError, match="compressed, or larger"):
        Scan.load(tmp_path / "scan.npz")
    huge = npy_header(np.dtype("<u4"), 1 << 45)
    with ZipFile(tmp_path / "scan.npz", "w") as members:
        members.writestr("actual_index.npy", huge + bytes(16))
    with pytest.raises(DamagedError, match="is cut off"):
        Scan.load(tmp_path / "scan.npz")
