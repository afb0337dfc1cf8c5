"""The metadata of a folder of tars: bytes of the reference, edits, refusals."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata import dump_extra
from dinov3_metadata.addresses import TARS
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.formats import read_changes, read_description
from dinov3_metadata.stages import tars as stage
from dinov3_metadata.summary import summarise
from hypothesis import given, settings
from hypothesis import strategies as st
from tarring import CASES, GOLDEN, build, image, write_tar


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str, tmp_path: Path) -> None:
    root, extra = build(case, tmp_path / "数据 set"), tmp_path / "ex tra"
    dump_extra(root, extra)
    for name, digest in GOLDEN[case].items():
        assert hashlib.sha256((extra / name).read_bytes()).hexdigest() == digest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(1, 5):
        members = [(f"n{number}_{k}.JPEG", image(100 * k + 1)) for k in range(number + 2)]
        write_tar(tmp_path / f"root/n{number}.tar", members)
    return tmp_path / "root"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tars that were read."""
    names, real = [], stage.list_members

    def noted(tar: str) -> object:
        names.append(os.path.basename(tar))
        return real(tar)

    monkeypatch.setattr(stage, "list_members", noted)
    return names


def rows(extra: Path) -> list[tuple]:
    return np.load(extra / "entries.npy").tolist()


def is_fresh(root: Path, extra: Path) -> bool:
    """Return whether the files are those that a first run makes."""
    fresh = extra.with_name("fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    dump_extra(root, fresh)
    names = ("entries.npy", "class-ids.npy")
    return all((fresh / name).read_bytes() == (extra / name).read_bytes() for name in names)


def replaced(root: Path) -> None:
    write_tar(root / "n2.tar", [("other.JPEG", image(9))])


def appended(root: Path) -> None:
    os.system(f"cd '{root}' && echo > new.JPEG && tar --append -f n2.tar new.JPEG && rm new.JPEG")


def by_an_older_one(root: Path) -> None:
    """Of the same size, with the times of the one that it replaces."""
    before = os.stat(root / "n2.tar")
    write_tar(root / "new", [(f"n2_{k + 5}.JPEG", image(100 * k + 1)) for k in range(4)])
    os.utime(root / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(root / "new", root / "n2.tar")
    assert os.stat(root / "n2.tar").st_size == before.st_size


def touched(root: Path) -> None:
    os.utime(root / "n2.tar")


def renamed(root: Path) -> None:
    (root / "n2.tar").rename(root / "n9.tar")


def added(root: Path) -> None:
    write_tar(root / "n0.tar", [("猫 : 1.JPEG", image(9))])


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (replaced, ["n2.tar"]),
        (appended, ["n2.tar"]),
        (by_an_older_one, ["n2.tar"]),
        (touched, ["n2.tar"]),
        (renamed, ["n9.tar"]),
        (added, ["n0.tar"]),
        (lambda root: (root / "n1.tar").unlink(), []),
        (lambda root: None, []),
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_only_what_changed_is_read_again(
    edit: Callable, expected: list[str], inside: bool, root: Path, read: list[str]
) -> None:
    extra = root if inside else root.with_name("extra")
    dump_extra(root, extra)
    assert len(read) == 4
    read.clear()
    edit(root)
    dump_extra(root, extra)
    assert read == expected
    assert is_fresh(root, extra)


@settings(max_examples=15, deadline=None)
@given(states=st.lists(st.dictionaries(st.text("ab猫", min_size=1), st.integers(0, 3)), max_size=4))
def test_any_row_of_edits_ends_as_a_first_run(
    states: list[dict[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root, extra = (tmp_path_factory.mktemp("tars") / name for name in ("root", "extra"))
    for state in [*states, {"last": 2}]:
        for tar in root.glob("*.tar"):
            if tar.stem not in state:
                tar.unlink()
        for name, many in state.items():
            write_tar(root / f"{name}.tar", [(f"{k}.JPEG", image(9)) for k in range(many)])
        if state:
            dump_extra(root, extra, empty_classes="keep")
    assert [row[1] for row in rows(extra)] == ["last"] * 2


def test_the_description_says_what_a_reader_needs(root: Path) -> None:
    import gzip

    write_tar(root / "n0.tar", [("1.JPEG", image(9)), ("2.JPEG", gzip.compress(image(99)))])
    write_tar(root / "n5.tar", [("._1.JPEG", b""), ("b/", b""), ("1.jpg", image(9))])
    extra = root.with_name("extra")
    chain = dump_extra(root, extra)
    about = read_description(extra, TARS)
    assert about
    assert (about.images, about.classes, about.layout, about.gzipped) == (21, 6, "tars", [1])
    assert about.notes == [
        "1 folders in 1 tar were left out, for instance in n5.tar.",
        "1 hidden files in 1 tar were left out, for instance in n5.tar.",
    ]
    said = summarise(chain)
    assert f"dataset_path for DINOv3: ImageNet22k:root={root}:extra={extra}" in said
    assert "files: entries.npy, class-ids.npy, metadata.json" in said
    replaced(root)
    dump_extra(root, extra)
    changes = read_changes(extra, TARS)
    assert changes
    assert (changes.added, changes.removed, [*changes.classes]) == (1, 4, ["n2"])


@pytest.mark.parametrize(
    ("setting", "value"),
    [("splits", ["TRAIN"]), ("labels", "folders"), ("view", "none"), ("holdout", 0.5)],
)
def test_settings_that_tars_cannot_have(setting: str, value: object, root: Path) -> None:
    with pytest.raises(MetadataError, match=f"config: {setting}: a dataset of tars has no such"):
        dump_extra(root, root.with_name("extra"), **{setting: value})


def test_broken_tars_are_named_and_the_published_files_stay(root: Path) -> None:
    extra = root.with_name("extra")
    dump_extra(root, extra)
    before = (extra / "entries.npy").read_bytes()
    os.truncate(root / "n1.tar", 700)
    with pytest.raises(MetadataError, match=r"n1\.tar is cut: it has 700 bytes"):
        dump_extra(root, extra)
    (root / "n3.tar").write_text("<html>" * 99)
    with pytest.raises(MetadataError, match=r"2 tars cannot be used:\n.*n1.tar is cut.*\n.*n3.tar"):
        dump_extra(root, extra)
    (root / "n3.tar").unlink()
    write_tar(root / "n1.tar", [("read me.txt", b"text")])
    with pytest.raises(MetadataError, match=r"n1\.tar has no images, but 1 files that are no"):
        dump_extra(root, extra)
    assert (extra / "entries.npy").read_bytes() == before


def test_wrong_entries_are_never_published(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = stage.entries_of
    extra = root.with_name("extra")

    def shifted(rows: np.ndarray, index: int, *rest: object) -> np.ndarray:
        monkeypatch.setattr(stage, "entries_of", real)
        rows = rows.copy()
        rows["start"] += 512
        return real(rows, index, *rest)

    monkeypatch.setattr(stage, "entries_of", shifted)
    with pytest.raises(MetadataError, match="do not agree with the tars"):
        dump_extra(root, extra)
    assert not (extra / "entries.npy").exists()
    dump_extra(root, extra)
    assert is_fresh(root, extra)


def test_an_edit_during_the_run_is_not_published(root: Path, read: list[str]) -> None:
    extra, real = root.with_name("extra"), stage.verify

    def edited(**words: object) -> None:
        real(**words)
        stage.verify = real
        replaced(root)

    stage.verify = edited
    try:
        dump_extra(root, extra)
    finally:
        stage.verify = real
    assert is_fresh(root, extra)
