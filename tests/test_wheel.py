"""The wheel has the workflow, the sdist has the tests, and a build leaves nothing behind."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path

import pytest
from helpers import alone, copy_repository, repository_files

Run = Callable[..., str]

pytestmark = pytest.mark.needs("build")


def run(command: list[str | Path], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, the wheel made of it, and the clone that they were built from."""
    with alone(tmp_path_factory) as common:
        folder = common / "built"
        if not folder.exists():
            copy_repository(folder / "clone")
            command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder]
            run([*command, folder / "clone"], folder, {})
            command = ["git", "status", "--porcelain", "--ignored"]
            assert not subprocess.check_output(command, cwd=folder / "clone")
    return folder


def test_the_wheel_has_each_file_of_the_workflow(built: Path) -> None:
    with zipfile.ZipFile(*built.glob("*.whl")) as wheel:
        there = {*wheel.namelist()}
    house = {name for name in there if name.startswith("dinov3_metadata/house/")}
    folders = ("rules/", "profiles/", "envs/", "workflow/")
    for name in repository_files():
        if name.startswith("workflow/dinov3_metadata/"):
            assert name.removeprefix("workflow/") in there
        elif name.startswith(folders) or name in ("Snakefile", "config.yaml"):
            assert f"dinov3_metadata/house/{name}" in there
            house.remove(f"dinov3_metadata/house/{name}")
    assert not house


def test_the_sdist_has_what_the_tests_need(built: Path) -> None:
    with tarfile.open(*built.glob("*.tar.gz")) as sdist:
        there = {name.partition("/")[2] for name in sdist.getnames()}
    assert {*repository_files()} <= there


def test_an_index_can_show_the_project(built: Path) -> None:
    files = [*built.glob("*.whl"), *built.glob("*.tar.gz")]
    run([sys.executable, "-m", "twine", "check", "--strict", *files], built, {})
    with zipfile.ZipFile(files[0]) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        about = message_from_bytes(wheel.read(name))
    page = about.get_payload()
    links = re.findall(r"\]\(([^)]*)\)", page)
    assert len(links) > 5
    assert all(link.startswith("https://") for link in links)
    assert "mermaid" not in page
    assert {"Source", "Changelog"} <= {
        url.partition(",")[0] for url in about.get_all("Project-URL")
    }


def test_the_wheel_alone_runs_the_workflow_in_an_empty_folder(built: Path, tmp_path: Path) -> None:
    installed, folder = tmp_path / "installed", tmp_path / "an empty 文件夹"
    folder.mkdir()
    with zipfile.ZipFile(*built.glob("*.whl")) as wheel:
        wheel.extractall(installed)
    program = [sys.executable, "-m", "dinov3_metadata"]
    environment = {"PYTHONPATH": str(installed), "COLUMNS": "200"}
    assert run([*program, "snakefile"], folder, environment).startswith(str(installed))
    run([*program, "snakemake", "--cores", "2"], folder, environment)
    assert len([*(folder / "demo/extra").glob("*.npy")]) == 7
    again = run([*program, "snakemake", "--cores", "2"], folder, environment)
    assert "Nothing to be done" in again
    places = ["--root", folder / "demo/imagenet", "--extra", folder / "demo/extra"]
    run([*program, "report", "a report.html", *places], folder, environment)
    assert "mosaic" in (folder / "a report.html").read_text()
    run([*program, "init", "other", "--workflow"], folder, environment)
    config = ["--config", "root=../demo/imagenet", "extra=../extra"]
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *config]
    run(command, folder / "other", environment)
    assert len([*(folder / "extra").glob("*.npy")]) == 6
