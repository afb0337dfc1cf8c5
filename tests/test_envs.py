"""envs/: what a stage needs in a conda environment is what pyproject.toml says."""

import re

import yaml
from helpers import REPOSITORY, project

PROJECT = project()
EXTRAS = PROJECT["optional-dependencies"]


def requirements(lines: list[str]) -> dict[str, str]:
    """Name -> range of versions; pip and conda write them alike, but for blanks."""
    others = [line for line in lines if not line.startswith(PROJECT["name"])]
    pairs = (re.fullmatch(r"([\w.-]+) *(.*)", line).groups() for line in others)
    return {name.lower().replace("_", "-"): versions for name, versions in pairs}


def test_the_conda_environment_has_the_requirements_of_the_project() -> None:
    environment = yaml.safe_load((REPOSITORY / "envs/dinov3-metadata.yaml").read_text())
    found = requirements(environment["dependencies"])
    assert found.pop("python") == PROJECT["requires-python"]
    assert found == requirements([*PROJECT["dependencies"], *EXTRAS["audit"]])


def test_each_requirement_has_a_version_known_to_work() -> None:
    lines = (REPOSITORY / "envs/constraints.txt").read_text().splitlines()
    pins = requirements([line for line in lines if not line.startswith("#")])
    extras = (line for lines in EXTRAS.values() for line in lines)
    due = requirements([*PROJECT["dependencies"], *extras])
    assert due.keys() <= pins.keys()
