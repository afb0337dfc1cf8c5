from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata.errors import DamagedError
from dinov3_metadata.stages.classes import write_class_arrays
from helpers import dump


def test_ids_and_names_at_class_index(tree: Path, tmp_path: Path) -> None:
    arrays = dump(tree, tmp_path / "extra", "VAL")
    ids = np.load(arrays["class-ids-VAL.npy"], allow_pickle=False)
    names = np.load(arrays["class-names-VAL.npy"], allow_pickle=False)
    assert ids.dtype == "<U9"
    assert names.dtype == "<U17"
    assert ids.tolist() == ["n01440764", "n01443537", "n01484850"]
    assert names.tolist() == ["tench", "goldfish", "great white shark"]


@pytest.mark.parametrize("rows", [2, 9])
def test_entries_that_are_none_are_damaged(rows: int, tmp_path: Path) -> None:
    entries = tmp_path / "entries-TRAIN.npy"
    np.save(entries, np.arange(rows))
    with pytest.raises(DamagedError, match="cannot be read back") as error:
        write_class_arrays(entries, ["a"], ["A"], [tmp_path / "i", tmp_path / "n"])
    assert error.value.path == entries
    assert list(tmp_path.iterdir()) == [entries]
