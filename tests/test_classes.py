from pathlib import Path

import numpy as np
from conftest import dump


def test_ids_and_names_at_class_index(tree: Path, tmp_path: Path) -> None:
    arrays = dump(tree, tmp_path / "extra", "VAL")
    ids = np.load(arrays["class-ids-VAL.npy"], allow_pickle=False)
    names = np.load(arrays["class-names-VAL.npy"], allow_pickle=False)
    assert ids.dtype == "<U9"
    assert names.dtype == "<U17"
    assert ids.tolist() == ["n01440764", "n01443537", "n01484850"]
    assert names.tolist() == ["tench", "goldfish", "great white shark"]
