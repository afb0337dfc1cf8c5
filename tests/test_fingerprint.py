"""An upgrade of any module that a stage uses makes the stage run again."""

import ast
import re

import pytest
from dinov3_metadata.chain import COMMON
from helpers import REPOSITORY

PACKAGE = REPOSITORY / "workflow/dinov3_metadata"
SILENT = {"errors", "log", "lock"}  # they say things, and decide no byte


def imported(module: str) -> set[str]:
    """The modules of the package that a module uses, itself and those that they use included."""
    found, due = {module}, [module]
    while due:
        for node in ast.walk(ast.parse((PACKAGE / f"{due.pop()}.py").read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
                name = {"layouts": "layouts/__init__"}.get(node.module, node.module)
                due += {name} - found - SILENT
                found.add(name)
    return found - SILENT


@pytest.mark.parametrize(
    ("stage", "named"),
    [
        ("view", slice(0, 1)),
        ("scan", slice(1, 2)),
        ("labels", slice(2, 3)),
        ("entries", slice(0, 3)),  # the name of their file holds that of the scan too
        ("classes", slice(0, 3)),
        ("verify", slice(0, 4)),
    ],
)
def test_all_modules_of_a_stage_count(stage: str, named: slice) -> None:
    calls = re.findall(r"of_code\((.+?)\)", (PACKAGE / "chain.py").read_text(), re.DOTALL)
    assert len(calls) == 4  # view, scan, arrays, checks
    written = " ".join(calls[named]).replace("*COMMON", " ".join(map(repr, COMMON)))
    assert imported(stage) <= set(re.findall(r"['\"]([\w/]+)['\"]", written))
