"""Chain: the table matches the stages, and a start with nothing to do imports little."""

import ast
import inspect
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from dinov3_metadata.addresses import SPLITS, TARS
from dinov3_metadata.chain import COMMON, OF_SPLIT, OF_TARS, SILENT, STAGES, needs
from dinov3_metadata.paths import FILES
from dinov3_metadata.present import Chain
from dinov3_metadata.run import dump_extra
from dinov3_metadata.settings import Settings
from helpers import REPOSITORY, make_tree
from tarring import write_tar

PACKAGE = REPOSITORY / "workflow/dinov3_metadata"
HELPERS = {("publish", "changes"), ("publish", "sweep"), ("sweep", "links"), ("view", "links")}
HELPERS |= {("links", "link_texts")}
HELPERS |= {
    ("source", "annotations"),
    ("source", "left_out"),
    ("source", "refusals"),
    ("source", "sides"),
    ("view", "image_numbers"),
    ("image_numbers", "links"),
    ("scan", "left_out"),
    ("scan", "refusals"),
    ("scan", "table"),
    ("table", "refusals"),
    ("table", "source"),
    ("refusals", "left_out"),
    ("view", "left_out"),
    ("table", "numbered"),
    ("view", "numbered"),
    ("view", "refusals"),
    ("view", "source"),
    ("verify", "left_out"),
    ("verify", "unfit"),
    ("scan", "unfit"),
    ("selection", "unfit"),
    ("sound", "unfit"),
    ("unfit", "refusals"),
    ("labels", "label_forms"),
    ("lists", "label_forms"),
    ("selection", "lists"),
    ("numbering", "lists"),
    ("lists", "list_names"),
}
MORE = {"audit_split": {"shares": 1}}
"""What a rule knows beside the table: how many shares there are."""


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    root = make_tree(tmp_path / "root")
    return Chain(Settings(str(root), str(tmp_path / "extra"), SPLITS))


@pytest.mark.parametrize("rule", STAGES)
@pytest.mark.parametrize("split", SPLITS)
def test_the_table_gives_a_stage_what_it_takes(chain: Chain, rule: str, split: str) -> None:
    stage = STAGES[rule]
    function = getattr(import_module(f"dinov3_metadata.stages.{stage.module}"), rule)
    state = {"split": split, "view": "some view", "numbered": "train-with-others"}
    state |= {"selection": "by-a-list", "sound": "by-an-audit"}
    names = [name for name in (*stage.reads, *stage.makes) if needs(name, state)]
    names += [*stage.wildcards, *(["threads"] if stage.threads else [])]
    given = stage.given(chain, split) | MORE.get(rule, {})
    assert given.keys().isdisjoint(names)
    if split in stage.splits:
        inspect.signature(function).bind(**dict.fromkeys(names), **given)


@pytest.mark.parametrize("rule", OF_TARS)
def test_the_table_gives_a_stage_of_tars_what_it_takes(rule: str, tmp_path: Path) -> None:
    write_tar(tmp_path / "root/n1.tar", [("1.JPEG", b"")])
    chain, stage = Chain(Settings(str(tmp_path / "root"), str(tmp_path / "extra"))), OF_TARS[rule]
    function = getattr(import_module(f"dinov3_metadata.stages.{stage.module}"), rule)
    names = [*stage.reads, *stage.makes, *stage.wildcards, *(["threads"] if stage.threads else [])]
    inspect.signature(function).bind(**dict.fromkeys(names), **stage.given(chain, TARS))
    used = {one for one in in_house(loaded("dinov3_metadata.stages.tars")) if "layouts/" not in one}
    assert used <= {*COMMON, *SILENT, *stage.code, "stages/__init__"}


@pytest.mark.parametrize("rule", STAGES)
def test_each_name_of_the_table_is_that_of_a_file(rule: str) -> None:
    stage = STAGES[rule]
    assert {*stage.reads, *stage.makes, f"{rule}.log"} <= FILES.keys()
    assert {*stage.after} <= STAGES.keys()
    for name in stage.makes:
        assert set(stage.wildcards) - {"extra", "split"} <= set(
            re.findall(r"\{(\w+)\}", FILES[name])
        )


def test_a_stage_comes_after_those_whose_files_it_reads() -> None:
    makers = {name: rule for rule, stage in STAGES.items() for name in stage.makes}
    done: set[str] = set()
    for rule, stage in STAGES.items():
        assert {*stage.after} <= done
        assert {makers[name] for name in stage.reads} <= {
            other for one in stage.after for other in (one, *STAGES[one].after, *_before(one))
        }
        done.add(rule)
    on_demand = ["audit_images", "audit_split", "find_duplicates"]
    assert [*STAGES] == [one for one in STAGES if one in (*OF_SPLIT, *on_demand)] + ["publish"]


def _before(rule: str) -> set[str]:
    return {*STAGES[rule].after}.union(*map(_before, STAGES[rule].after))


def loaded(module: str) -> set[str]:
    """The modules of the package that a process has once it has imported one of them."""
    code = f"import {module}, sys; print(*(name for name in sys.modules))"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow")}
    said = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    return set(said.split())


def in_house(modules: set[str]) -> set[str]:
    """The modules of the package, as ``chain`` names them."""
    names = {one.partition(".")[2] for one in modules if one.startswith("dinov3_metadata")}
    packages = {name for name in names if (PACKAGE / name.replace(".", "/")).is_dir()}
    files = {f"{name}/__init__" if name in packages else name for name in names}
    return {name.replace(".", "/").lstrip("/") for name in files}


@pytest.mark.parametrize("rule", STAGES)
def test_a_new_version_of_any_module_of_a_stage_counts(rule: str) -> None:
    stage = STAGES[rule]
    used = in_house(loaded(f"dinov3_metadata.stages.{stage.module}"))
    silent = {*SILENT, "stages/__init__"}
    silent |= {name for name in used if name.startswith("layouts/")}  # see Present.view_settings
    if rule == "publish":  # these come after the publication
        silent |= {"stages/changes", "stages/link_texts", "stages/links", "stages/sweep"}
        silent |= {"packed", "readdir", "tar_scan", "walk"}
    assert used <= {*COMMON, *stage.code} | silent


def imports(path: Path) -> set[str]:
    """The modules of the package that a module imports, wherever it does so."""
    package = ["dinov3_metadata", *path.relative_to(PACKAGE).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *filter(None, [node.module])])
            found |= {module, *(f"{module}.{name.name}" for name in node.names)}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    files = {one: PACKAGE.parent / one.replace(".", "/") for one in found}
    return {
        one
        for one, file in files.items()
        if one.startswith("dinov3_metadata.")
        and (file.with_suffix(".py").exists() or (file / "__init__.py").exists())
    }


def test_no_stage_imports_another() -> None:
    for path in (PACKAGE / "stages").glob("[a-z]*.py"):
        others = {one for one in imports(path) if one.startswith("dinov3_metadata.stages.")}
        assert {(path.stem, one.rpartition(".")[2]) for one in others} <= HELPERS


def test_no_module_is_part_of_a_circle() -> None:
    after = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        after[name] = imports(path) - {name}
    after.pop("dinov3_metadata")  # it offers names of three modules, lazily
    while free := [one for one, others in after.items() if after.keys().isdisjoint(others)]:
        for one in free:
            del after[one]
    assert not after


def test_no_file_is_too_long() -> None:
    for path in [*PACKAGE.rglob("*.py"), *(REPOSITORY / "rules").iterdir()]:
        most = 150 if path.name == "common.smk" else 450
        assert len(path.read_text().splitlines()) <= most, path


HEAVY = {"numpy", "PIL", "matplotlib", "torch", "torchvision", "pandas", "jsonschema"}

START = """
import sys
from dinov3_metadata import demo, disk, lock, log
from dinov3_metadata.present import Chain
from dinov3_metadata.config import config_yaml, is_good, prepare, settings_of, with_defaults
from dinov3_metadata.summary import failures, summarise
import yaml
folders = dict(zip(("root", "extra"), sys.argv[1:]))
config = with_defaults(prepare(yaml.safe_load(config_yaml()) | folders))
assert is_good(config)
chain = Chain(settings_of(config))
print(chain.receipt, summarise(chain))
print("imported:", *(name for name in sys.modules if "." not in name))
"""
"""What rules/common.smk does in a run that has nothing to do."""


def test_a_run_that_has_nothing_to_do_imports_nothing_heavy(tmp_path: Path) -> None:
    root, extra = make_tree(tmp_path / "root"), tmp_path / "extra"
    chain = dump_extra(root, extra)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow")}
    said = subprocess.check_output(
        [sys.executable, "-c", START, root, extra], env=environment, text=True
    )
    assert said.startswith(f"{Chain(chain.settings).receipt} DINOv3 metadata, verified")
    assert HEAVY.isdisjoint(said.partition("imported:")[2].split())
