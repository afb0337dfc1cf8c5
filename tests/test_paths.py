"""Paths: one table goes from a name to a path and back."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from dinov3_metadata.addresses import SPLITS, TARS
from dinov3_metadata.paths import (
    FILES,
    OWN,
    PUBLIC,
    ROOMS,
    STATE,
    WILDCARDS,
    WORK,
    existing,
    extra_of,
    folder_of,
    path_of,
    pattern,
    state_of,
)
from helpers import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st

EXTRAS = st.sampled_from(["/data/extra", "/a b/元数据", "/l\nine", f"/a/{WORK}/b", "/"])


def states(name: str) -> st.SearchStrategy[dict[str, str]]:
    """Values for the wildcards of a file."""
    wildcards = dict.fromkeys(re.findall(r"\{(\w+)\}", FILES[name]))
    return st.fixed_dictionaries(
        {
            one: st.from_regex(re.compile(WILDCARDS[one], re.ASCII), fullmatch=True)
            for one in wildcards
        }
    )


@given(
    st.sampled_from(sorted(FILES)).flatmap(lambda name: st.tuples(st.just(name), states(name))),
    EXTRAS,
)
def test_a_path_leads_back_to_its_state(named: tuple[str, dict[str, str]], extra: str) -> None:
    name, state = named
    assert state_of(path_of(extra, name, **state)) == (extra, name, state)


@pytest.mark.parametrize("name", FILES)
def test_the_pattern_is_the_path_with_wildcards(name: str) -> None:
    wildcards = re.findall(r"\{(\w+)\}", FILES[name])
    braces = {wildcard: f"{{{wildcard}}}" for wildcard in wildcards}
    assert pattern("/extra", name) == path_of("/extra", name, **braces)


@pytest.mark.parametrize(
    "path",
    [
        "/extra/mine.npy",
        "/extra/entries-TEST2.npy",
        f"/extra/{WORK}/TRAIN/scan.npz",
        f"/extra/{WORK}/TRAIN/x/scan.npz",
        f"/extra/{WORK}/published/VAL.json.bak",
        # The split of the folder and that of the file differ.
        path_of(
            "/extra",
            "audited",
            split="TRAIN",
            tree=f"1-folders-{'0' * 12}",
            selection="all",
            numbered="own",
            audit="1" * 12,
        ).replace("audit-TRAIN", "audit-VAL"),
    ],
)
def test_the_path_of_another_file_has_no_state(path: str) -> None:
    assert state_of(path) is None


def test_folders() -> None:
    tree = f"3-folders-{'a' * 12}"
    assert folder_of("/extra", "scan", split="VAL", tree=tree) == f"/extra/{WORK}/VAL/{tree}"
    assert folder_of("/extra", "scan", "tree", split="VAL") == f"/extra/{WORK}/VAL"
    assert extra_of(path_of("/extra", "scan", split="VAL", tree=tree)) == "/extra"
    assert extra_of("/extra/entries-VAL.npy") == "/extra"


def test_existing_files_are_those_whose_path_is_in_the_table(tmp_path: Path) -> None:
    extra = tmp_path / "a [b]*"  # what glob would take for a pattern
    trees = [f"{count}-folders-{'0123456789ab'}" for count in (2, 10)]
    for split in ("TRAIN", "VAL"):
        for tree in [*trees, "mine", "1-folders-0"]:
            path = Path(path_of(extra, "scan", split=split, tree=tree))
            path.parent.mkdir(parents=True)
            path.touch()
    found = list(existing(extra, "scan", split="VAL"))
    assert [state["tree"] for _, state in found] == sorted(trees)
    assert [path for path, _ in found] == [path_of(extra, "scan", **state) for _, state in found]
    assert len(list(existing(extra, "scan"))) == 4


def test_what_is_ours_in_the_work_folder_follows_from_the_table() -> None:
    rooms = {*SPLITS, TARS, "labels", "numbering", "views", "audit", "duplicates"}
    rooms |= {"published", "report"}
    assert rooms == ROOMS
    for name in (f"2-folders-{'0' * 12}", f"labels-none-{'0' * 12}", f"kept-{'0' * 12}"):
        assert re.fullmatch(STATE, name)
    assert not any(re.fullmatch(STATE, name) for name in ("mine", "TRAIN", "kept", "2-folders"))
    for name in ("scan.npz", "scan.log", "verify-VAL.json", "1-of-8.npy"):
        assert re.fullmatch(OWN, name)
    assert not any(re.fullmatch(OWN, name) for name in ("mine.npy", "scan.npz.bak"))
    assert re.fullmatch(PUBLIC, "entries-TRAIN.npy")
    assert not re.fullmatch(PUBLIC, "scan.npz")


def test_no_other_module_spells_the_path_of_a_work_file() -> None:
    """No string in the code has a fixed part of the table, or the name of the work folder."""
    parts = {part for path in FILES.values() if "/" in path for part in path.split("/")[1:]}
    names = {part for part in parts if "{" not in part and "." in part} | {WORK, "receipt-"}
    for path in (REPOSITORY / "workflow").rglob("*.py"):
        tree = ast.parse(path.read_text())
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docs
        ]
        used = {name for name in names for text in texts if name in text}
        assert path.name == "paths.py" or used <= ALLOWED.get(path.name, set()), path


ALLOWED = {"published.py": {"receipt-"}}
"""The receipt is named there, as a scan is in fingerprint.py."""


def test_the_table_needs_the_standard_library_alone() -> None:
    code = "import dinov3_metadata.paths, sys; print('numpy' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow")}
    said = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert said.strip() == "False"
