"""The workflow with a selection: only what a changed list makes necessary runs again."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata.run import dump_extra
from helpers import FILES, digests, make_tree
from PIL import Image

TENCH, FISH, SHARK = "n01440764", "n01443537", "n01484850"


def jobs(said: str) -> set[str]:
    """What ran, without the numbers of the jobs."""
    return {re.sub(r", \d+-of-\d+", "", one) for one in re.findall(r"^Job \d+: (.*)", said, re.M)}


AFTER = {
    f"{what} {split}"
    for split in ("TRAIN", "VAL")
    for what in (
        "Select the images of",
        "Write the entries of",
        "Write the class arrays of",
        "Verify",
    )
} | {"Publish", "Everything is in place"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = make_tree(tmp_path / "数据 set", FILES)
    rng = np.random.default_rng(0)
    for name in FILES:
        pixels = rng.integers(0, 256, (8, 8, 3), "u1").repeat(8, 0).repeat(8, 1)
        Image.fromarray(pixels).save(root / name)
    return root


def test_a_changed_list_lists_no_folder(snakemake, root: Path, tmp_path: Path) -> None:
    file, extra = tmp_path / "类 classes.txt", tmp_path / "extra of a list"
    file.write_text(f"{TENCH} tench\n{FISH} goldfish\n")
    given = {"root": root, "extra": extra, "select": f"{{classes: '{file}'}}"}
    snakemake(**given)
    assert "Nothing to be done" in snakemake(**given).stdout
    file.write_text(f"{TENCH}\n{SHARK}\n")
    assert jobs(snakemake(**given).stdout) == AFTER | {"Number the classes"}
    copy = shutil.copytree(root, tmp_path / "copy", ignore=shutil.ignore_patterns(FISH))
    dump_extra(copy, tmp_path / "copied")
    assert digests(extra) == digests(tmp_path / "copied")
    assert "Nothing to be done" in snakemake(**given).stdout
    file.write_text(f"{TENCH}\nn01484851\n")
    said = snakemake(**given, fails=True)
    assert "'n01484851'. Did you mean 'n01484850'?" in said.stdout


def test_broken_images_are_left_out(snakemake, root: Path, tmp_path: Path) -> None:
    extra, broken = tmp_path / "extra", root / FILES[1]
    whole = broken.read_bytes()
    broken.write_bytes(whole[:300])
    given = {"root": root, "extra": extra, "select": "{audit: [truncated, zero-bytes]}"}
    snakemake(**given)
    found = json.loads((extra / "left-out-TRAIN.json").read_text())
    assert found["left_out"] == [{"image": FILES[1], "reason": "truncated"}]
    assert "Nothing to be done" in snakemake(**given).stdout
    broken.write_bytes(whole)  # no folder changes
    ran = jobs(snakemake(**given).stdout)
    assert "Leave out the images of TRAIN with a problem" in ran
    assert not any("VAL" in one or "Scan" in one for one in ran)
    assert json.loads((extra / "left-out-TRAIN.json").read_text())["left_out"] == []
    assert "Nothing to be done" in snakemake(**given).stdout


def test_audits_and_scans_of_another_run_are_reused(snakemake, root: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    snakemake("audit", root=root, extra=one)
    select = f"{{classes: [{TENCH}, {FISH}], audit: [truncated]}}"
    said = snakemake(root=root, extra=other, reuse=one, select=select).stdout
    assert said.count("nothing changed (scans in ") == 2
    logs = [path.read_text() for path in (other / ".dinov3-metadata").rglob("*-of-8.log")]
    assert logs
    assert all(", 0 of them opened" in one for one in logs)
    assert digests(other).keys() >= {"entries-TRAIN.npy", "class-names-VAL.npy"}
