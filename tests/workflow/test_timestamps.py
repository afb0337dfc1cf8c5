"""A run of ``snakemake`` says once that timestamps say nothing, whatever it has to do."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import REPOSITORY, make_tree

FIXED = """
import os, stat
from dinov3_metadata import fingerprint
real = fingerprint.ask
def fixed(path):
    found = real(path)
    inside = str(path).startswith(os.environ["FIXED"])
    return found._replace(mtime=10**18, ctime=10**18) if inside else found
fingerprint.ask = fixed
"""
"""Python runs this at its start: all folders of the dataset have the same timestamps."""


@pytest.mark.long
def test_one_warning_a_run(
    tree: Path, tmp_path: Path, snakemake: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "start").mkdir()
    (tmp_path / "start/sitecustomize.py").write_text(FIXED)
    paths = f"{tmp_path / 'start'}{os.pathsep}{REPOSITORY / 'workflow'}"
    monkeypatch.setenv("PYTHONPATH", paths)
    monkeypatch.setenv("FIXED", str(tree))
    settings = {"root": tree, "extra": tmp_path / "extra", "splits": "[TRAIN,VAL,TEST]"}
    same = f"All folder timestamps in {tree}/train are the same"
    trusting = {**settings, "scan": "{trust_timestamps: true}"}
    for options in ((), (), ("-n",)):
        said = snakemake(*options, **trusting).stdout
        assert said.count("scan: trust_timestamps: false") == said.count(same) == 1
    assert "Nothing to be done" in said
    make_tree(tree, ["train/n01440764/n01440764_5.JPEG"])
    said = snakemake(**trusting).stdout
    assert "Nothing to be done" in said
    assert same in said
    for changed in ("+1", "Nothing to be done"):
        said = snakemake(**settings).stdout
        assert said.count(f"{same}. Each run lists 4 folders of TRAIN") == 1
        assert changed in said
