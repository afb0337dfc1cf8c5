"""The arrays equal those of the reference byte for byte, by digests made with the reference.

``golden.json`` was made with ``ImageNet.dump_extra()`` of facebookresearch/dinov3, NumPy 2.4.6 and
torchvision 0.29.2; the digest of TEST with NumPy 1.26, as the reference fails on NumPy 2.
"""

import json
from pathlib import Path

import pytest
from dinov3_metadata.files import sha256
from dinov3_metadata.stages.entries import write_entries
from helpers import digests, dump, make_scan, make_tree

CASES = json.loads(Path(__file__).with_name("golden.json").read_text())
FULL_TEST = "91d543be19b75a091d9c373779fb5d2be2605148df728d910df779480dede145"


@pytest.mark.parametrize("case", CASES)
def test_bytes_of_the_reference(case: str, tmp_path: Path) -> None:
    due = CASES[case]["sha256"]
    root = make_tree(tmp_path / "root", CASES[case]["files"], CASES[case]["labels"])
    for split in ("TRAIN", "VAL"):
        if f"entries-{split}.npy" in due:
            dump(root, tmp_path / "extra", split)
    assert digests(tmp_path / "extra") == due


def test_bytes_of_the_full_test_split(tmp_path: Path) -> None:
    scan = make_scan([""], [100_000], range(1, 100_001))
    write_entries(scan, None, tmp_path / "entries-TEST.npy")
    assert sha256(tmp_path / "entries-TEST.npy") == FULL_TEST
