"""A folder of tars through the real Snakemake."""

import os
from collections.abc import Callable
from pathlib import Path

from dinov3_metadata import dump_extra
from helpers import digests
from tarring import image, write_tar

NOTHING = "Nothing to be done"


def test_tars_are_read_in_place_and_only_if_they_changed(
    snakemake: Callable, tmp_path: Path
) -> None:
    root, extra = tmp_path / "数据 22k", tmp_path / "ex tra"
    for name in ("n1", "猫 cat", "n3"):
        write_tar(root / f"{name}.tar", [(f"{name}_{k}.JPEG", image(900)) for k in range(5)])
    said = snakemake(root=root, extra=extra).stdout
    assert f"dataset_path for DINOv3: 'ImageNet22k:root={root}:extra={extra}'" in said
    assert NOTHING in snakemake(root=root, extra=extra).stdout

    write_tar(root / "n3.tar", [("n3_9.JPEG", image(9))])
    said = snakemake(root=root, extra=extra).stdout
    assert "Read the tars: 1 of 3 tars changed: n3.tar" in said
    local = tmp_path / "local"
    dump_extra(root, local)
    assert {*digests(local)} == {"entries.npy", "class-ids.npy"}
    assert digests(local) == digests(extra)

    before = digests(extra)
    os.truncate(root / "n1.tar", 1000)
    said = snakemake(root=root, extra=extra, fails=True).stdout
    assert f"{root}/n1.tar is cut: it has 1,000 bytes" in said
    assert digests(extra) == before
    said = snakemake(root=root, extra=extra, splits="[TRAIN]", fails=True).stdout
    assert "Error: config: splits: a dataset of tars has no such setting" in said


def test_there_is_no_audit_of_tars(snakemake: Callable, tmp_path: Path) -> None:
    write_tar(tmp_path / "root/n1.tar", [("1.JPEG", image(9))])
    said = snakemake("audit", fails=True, root=tmp_path / "root", extra=tmp_path / "extra").stdout
    assert "Error: The images in tars cannot be audited in place" in said
