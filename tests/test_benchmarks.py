"""The contenders of the benchmarks make the same files, and say how long it took."""

import subprocess
import sys
from pathlib import Path

import pytest
from dinov3_metadata import dump_extra
from helpers import REPOSITORY, digests

BENCHMARKS = REPOSITORY / "benchmarks"

pytestmark = pytest.mark.needs("torchvision")


def python(program: str, *arguments: object) -> float:
    """Run a program of the benchmarks and return the seconds that it prints."""
    command = [sys.executable, BENCHMARKS / program, *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.long
def test_the_contenders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "workflow"))
    root, ours, theirs = (tmp_path / name for name in ("root", "ours", "theirs"))
    monkeypatch.syspath_prepend(BENCHMARKS)
    import trees

    monkeypatch.setattr(trees, "LINKS", 7)
    trees.build(root, 3, {"TRAIN": 50, "VAL": 9, "TEST": 20})
    for folder in (ours, theirs):
        folder.mkdir()
    seconds = [
        python("library.py", root, ours, "TRAIN"),
        python("baseline.py", root, theirs, "TRAIN"),
        python("slow.py", root, 2),
    ]
    assert all(0 < one < 60 for one in seconds)
    assert seconds[2] > 2 * 0.005
    assert len(digests(ours)) == 3
    assert digests(ours) == digests(theirs)
    dump_extra(root, tmp_path / "extra", ["TRAIN", "VAL", "TEST"])
    for what in ("check", "scan"):
        assert python("checking.py", what, root, tmp_path / "extra") > 0
    for who, what in (("ours", "workers"), ("ours", "access"), ("ImageFolder", "first")):
        python("open.py", who, root, tmp_path / "extra", what)
    trees.build_tars(tmp_path / "tars", 3, 50)
    for program in ("tar_library.py", "tar_baseline.py"):
        folder = tmp_path / program
        folder.mkdir()
        assert python(program, tmp_path / "tars", folder) > 0
        assert len([*folder.glob("*.npy")]) == 2
    assert digests(tmp_path / "tar_library.py") == digests(tmp_path / "tar_baseline.py")
    assert python("tar_library.py", tmp_path / "tars", 2, "slow") > 3 * 4 * 0.005 / 2
    assert max(path.stat().st_nlink for path in root.rglob("*.JPEG")) <= 8
