"""The type checkers of users see the types of the package, as ``py.typed`` promises."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import REPOSITORY

pytestmark = pytest.mark.needs("mypy")

RIGHT = """
from dinov3_metadata import ImageNetMetadata, MetadataError, check, dump_extra

try:
    root: str = dump_extra("/data", "/extra", labels="folders", threads=2).base
except MetadataError as error:
    raise SystemExit(str(error)) from error
dataset = ImageNetMetadata(root, "/extra", split="VAL")
names: list[str] = dataset.class_names
ok: bool = check(root, "/extra", ["TRAIN"]).splits[0].ok
size: int = len(dataset) + dataset.class_to_idx["n01440764"]
"""
WRONG = {
    "from dinov3_metadata import dump_extra\ndump_extra(1)\n": "call-arg",
    "from dinov3_metadata import dump_extra\ndump_extra(1, '/extra')\n": "arg-type",
    "from dinov3_metadata import ImageNetMetadata\n"
    "names: list[int] = ImageNetMetadata('/data', '/extra').class_names\n": "assignment",
    "from dinov3_metadata import ImageNetMetadata\n"
    "ImageNetMetadata('/data', '/extra', check=True)\n": "arg-type",
    "from dinov3_metadata import dump_extras\n": "attr-defined",
}


def mypy(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Check a script in strict mode. mypy takes what is in ``PYTHONPATH`` for installed packages:
    it believes only those with ``py.typed``, and reports no error within them."""
    (folder / "script.py").write_text(code)
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "script.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow"), "MYPYPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_strict_script_of_a_user(tmp_path: Path) -> None:
    done = mypy(tmp_path, RIGHT)
    assert done.returncode == 0, done.stdout + done.stderr
    for code, kind in WRONG.items():
        done = mypy(tmp_path, code)
        assert done.returncode == 1, code
        assert f"[{kind}]" in done.stdout, done.stdout + done.stderr
