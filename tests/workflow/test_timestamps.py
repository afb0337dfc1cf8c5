"""A run of ``snakemake`` warns once of timestamps that say nothing, whatever it has to do."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import make_tree

WARNING = "All folder timestamps in {}/train are the same, so changes cannot be detected from them"

FIXED = """
import os, stat
real = os.stat
def fixed(path, **options):
    found = real(path, **options)
    inside = isinstance(path, str) and path.startswith(os.environ["FIXED"])
    if not (inside and stat.S_ISDIR(found.st_mode)):
        return found
    fields, others = found.__reduce__()[1]
    return os.stat_result(fields, others | {"st_mtime_ns": 10**18, "st_ctime_ns": 10**18})
os.stat = fixed
"""
"""Python runs this at its start: all folders of the dataset have the same timestamps."""


@pytest.mark.long
def test_one_warning_a_run(
    tree: Path, tmp_path: Path, snakemake: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "start").mkdir()
    (tmp_path / "start/sitecustomize.py").write_text(FIXED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "start"))
    monkeypatch.setenv("FIXED", str(tree))
    settings = {"root": tree, "extra": tmp_path / "extra", "splits": "[TRAIN,VAL,TEST]"}
    warning = WARNING.format(tree)
    for options in ((), (), ("-n",)):
        said = snakemake(*options, **settings).stdout
        assert said.count("scan: trust_timestamps: false") == said.count(warning) == 1
    assert "Nothing to be done" in said
    make_tree(tree, ["train/n01440764/n01440764_5.JPEG"])
    said = snakemake(**settings).stdout
    assert "Nothing to be done" in said
    assert warning in said
    said = snakemake(**settings, scan="{trust_timestamps: false}").stdout
    assert "timestamps" not in said
    assert "+1" in said
