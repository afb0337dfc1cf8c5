"""The justfile has the recipes that the documents and the CI name, each with a line that says what
it does."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import REPOSITORY

JUST = Path(sys.executable).with_name("just")

pytestmark = pytest.mark.needs("rust-just")


def test_the_recipes() -> None:
    command = [JUST, "--dump", "--dump-format=json"]
    recipes = json.loads(subprocess.check_output(command, cwd=REPOSITORY, text=True))["recipes"]
    public = {name for name, recipe in recipes.items() if not recipe["private"]}
    assert all(recipes[name]["doc"] for name in public)
    for document in ("CONTRIBUTING.md", ".ci/run"):
        text = (REPOSITORY / document).read_text()
        named = set(re.findall(r"(?:^ *|[`}])just ([a-z]+)", text, re.MULTILINE))
        assert named, document
        assert named <= public, document
