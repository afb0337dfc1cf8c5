"""An upgrade of any module that a stage uses makes the stage run again."""

import ast
import re

import pytest
from conftest import REPOSITORY

PACKAGE = REPOSITORY / "workflow/dinov3_metadata"
SILENT = {"errors", "log", "lock"}  # they say things, and decide no byte


def imported(module: str) -> set[str]:
    """The modules of the package that a module uses, itself and those that they use included."""
    found, due = {module}, [module]
    while due:
        for node in ast.walk(ast.parse((PACKAGE / f"{due.pop()}.py").read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
                due += {node.module} - found - SILENT
                found.add(node.module)
    return found - SILENT


@pytest.mark.parametrize(
    ("stage", "named"),
    [
        ("scan", slice(0, 1)),
        ("labels", slice(1, 2)),
        ("entries", slice(0, 2)),  # the name of their file holds that of the scan too
        ("classes", slice(0, 2)),
        ("verify", slice(0, 3)),
    ],
)
def test_all_modules_of_a_stage_count(stage: str, named: slice) -> None:
    rules = (REPOSITORY / "rules/common.smk").read_text()
    calls = [ast.literal_eval(f"({names},)") for names in re.findall(r"of_code\((.+?)\)", rules)]
    assert len(calls) == 3  # scan, arrays, checks
    assert imported(stage) <= {name for names in calls[named] for name in names}
