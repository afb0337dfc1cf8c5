from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.stages import entries
from dinov3_metadata.stages.entries import write_entries
from helpers import dump, make_scan, named


def test_rows(tree: Path, tmp_path: Path) -> None:
    path = dump(tree, tmp_path / "extra", "TRAIN")["entries-TRAIN.npy"]
    rows = np.load(path, allow_pickle=False)
    assert rows.dtype.descr == [
        ("actual_index", "<u4"),
        ("class_index", "<u4"),
        ("class_id", "<U9"),
        ("class_name", "<U17"),
    ]
    assert rows[2].item() == (177134, 1, "n01443537", "goldfish")


def test_rows_of_test(tree: Path, tmp_path: Path) -> None:
    path = dump(tree, tmp_path / "extra", "TEST")["entries-TEST.npy"]
    rows = np.load(path, allow_pickle=False)
    assert rows.tolist() == [(1, 4294967295, "", ""), (2, 4294967295, "", "")]
    assert rows.dtype["class_id"] == rows.dtype["class_name"] == "<U0"


@pytest.mark.parametrize("block", [1, 600, 10**6])
def test_bytes_are_those_of_np_save(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "BLOCK", block)
    scan = make_scan(["a", "丁鱥"], [4, 3], range(7))
    write_entries(scan, named({"丁鱥": "x", "a": "y" * 40, "b": "z" * 90}), tmp_path / "a.npy")
    rows = [(i, i // 4, ("a", "丁鱥")[i // 4], ("y" * 40, "x")[i // 4]) for i in range(7)]
    np.save(tmp_path / "b.npy", np.array(rows, entries.entries_dtype(2, 40)))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_names_are_matched_by_id_and_never_cut(tree: Path, tmp_path: Path) -> None:
    """The reference takes the width from row ``class_index`` of labels.txt and cuts names."""
    (tree / "labels.txt").write_text(
        "n00000001,x\nn01484850,great white shark\nn01443537,goldfish\nn01440764,tench\n"
    )
    path = dump(tree, tmp_path / "extra", "TRAIN")["class-names-TRAIN.npy"]
    assert np.load(path).tolist() == ["tench", "goldfish", "great white shark"]


def test_a_class_without_a_label_writes_nothing(tree: Path, tmp_path: Path) -> None:
    (tree / "labels.txt").write_text("n01440764,tench\n")
    with pytest.raises(MetadataError, match=r"2 class folders have no row"):
        dump(tree, tmp_path / "extra", "TRAIN")
    assert list((tmp_path / "extra").iterdir()) == []
