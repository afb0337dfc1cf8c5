"""Fixtures, and the options and the summary of pytest; what tests import is in helpers.py."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from unittest.mock import patch

import hypothesis
import pytest
from helpers import REPOSITORY, alone, browser, make_tree, project

# A busy machine is no reason to fail.
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy")


@pytest.fixture(autouse=True)
def unmeasured(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure no coverage in the processes that run the whole program: each start of Snakemake
    would take half as long again, and a full disk would have no room for the result."""
    learning = request.config.pluginmanager.has_plugin("mutants")  # see benchmarks/mutants.py
    if request.path.parent.name != "tests" and not learning:
        monkeypatch.delenv("COVERAGE_PROCESS_START", raising=False)


@pytest.fixture
def local() -> Iterator[None]:
    """Take the file system of the test for a local one. Only Linux tells which one it is."""
    with patch("dinov3_metadata.replace.is_local", lambda path: True):
        yield


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A dataset of three classes with all three splits."""
    return make_tree(tmp_path / "root")


@pytest.fixture(scope="session")
def start_snakemake() -> Iterator[Callable[..., int]]:
    """Run ``snakemake`` with some words in a file's folder, and return its exit code; what it says
    is in that file. See snakemakes.py."""
    path = os.environ.get("PYTHONPATH")
    command = [sys.executable, Path(__file__).with_name("snakemakes.py")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:

        def start(words: list[str], out: Path) -> int:
            environment = os.environ | {"COLUMNS": "200"}
            if os.environ.get("PYTHONPATH") != path:  # Python reads it at its start
                plain = [sys.executable, "-m", "snakemake", *words]
                with out.open("w") as file:
                    said = {"stdout": file, "stderr": subprocess.STDOUT}
                    return subprocess.run(plain, check=False, env=environment, **said).returncode
            out.touch()
            run = {"words": words, "environment": environment, "folder": os.getcwd()}
            print(json.dumps(run | {"out": str(out)}), file=starter.stdin, flush=True)
            return int(starter.stdout.readline())

        yield start
        starter.stdin.close()


@pytest.fixture
def snakemake(
    tmp_path: Path, start_snakemake: Callable[..., int]
) -> Callable[..., subprocess.CompletedProcess]:
    """Run the real ``snakemake --cores 2`` of this checkout in a working folder of the test."""
    workdir, out = tmp_path / "workdir", tmp_path / "said"
    workdir.mkdir()

    def run(*options: str, fails: bool = False, **config: object) -> subprocess.CompletedProcess:
        words = ["-s", str(REPOSITORY / "Snakefile"), "--cores", "2"]
        words += ["--directory", str(workdir), *options]
        if config:
            words += ["--config", *(f"{key}={value}" for key, value in config.items())]
        out.write_text("")
        code = start_snakemake(words, out)
        said = out.read_text(errors="replace")
        assert (code != 0) == fails, said
        assert "Traceback" not in said, said
        return subprocess.CompletedProcess(words, code, said)

    return run


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Install an extra of pyproject.toml with an executor of Snakemake; gives ``PYTHONPATH``.

    If the one for Slurm were always installed, each start of Snakemake would need a Slurm.
    """

    def install(extra: str) -> Path:
        with alone(tmp_path_factory) as common:
            folder = common / f"plugin-{extra}"
            if not folder.exists():
                command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder]
                command += ["--constraint", REPOSITORY / "envs/constraints.txt"]
                wanted = project()["optional-dependencies"][extra]
                command += [one for one in wanted if not one.startswith(project()["name"])]
                subprocess.run(command, check=True)
        return folder

    return install


PROGRAMS = {
    "strace": ("harm/test_publication.py", shutil.which("strace")),
    "a browser": ("test_browser.py", browser()),
}
"""Program -> the tests that are left out where it is not installed, and where it is."""

collect_ignore = [tests for tests, found in PROGRAMS.values() if not found]
if os.geteuid():  # only root can give a file to another user
    collect_ignore.append("workflow/test_shared.py")


def pytest_report_header() -> list[str]:
    """Say what is left out. Where the packages of ``.[test]`` are installed, nothing is."""
    missing = [name for name in MAY_BE_MISSING if not is_installed(name)]
    hidden = NO_LINUX in os.environ.get("PYTHONPATH", "").split(os.pathsep)
    programs = " or ".join(PROGRAMS)
    return [
        f"left out, as {programs} is not installed, or as only root can run it: "
        f"{', '.join(collect_ignore) or 'nothing'}",
        f"hidden: {'what only Linux has' if hidden else 'nothing'}",
        f"left out, as a package is not installed: tests of {', '.join(missing) or 'nothing'}",
    ]


NO_LINUX = str(REPOSITORY / "tests/no_linux")
"""A folder; see there."""

MAY_BE_MISSING = (
    "torchvision",
    "snakemake",
    "matplotlib",
    "simplejpeg",
    "mypy",
    "build",
    "coverage",
    "rust-just",
    "playwright",
)
"""The packages that a test can name in the mark ``needs``, so that it is left out without them."""


def is_installed(package: str) -> bool:
    """Return whether a package is installed, without importing it."""
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that need a package which is not installed, see .ci/pythons."""
    out = []
    for item in items:
        needed = {name for mark in item.iter_markers("needs") for name in mark.args}
        assert needed <= {*MAY_BE_MISSING}
        if isinstance(item, pytest.Function):
            needed |= {"snakemake"} & {*item.fixturenames}
            given = item.callspec.params if hasattr(item, "callspec") else {}
            if given.get("engine") == "torchvision" or given.get("level") == "full":
                needed.add("torchvision")
        if not all(map(is_installed, needed)):
            out.append(item)
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full", action="store_true", help="ask the questions of tests/harm in full, not in part"
    )


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Return whether to run all cases of a question, and not just some of them."""
    return bool(request.config.getoption("--full"))


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Note figures of a question for the table: ``note("planted", runs=1, harm=0)``.

    Numbers are added up over all tests and processes; texts are shown as they are.
    """

    def note(question: str, **figures: int | str) -> None:
        record_property("figures", [question, figures])

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line of a table for each question of tests/harm."""
    table: dict[str, dict[str, int | str]] = {}
    reports = [one for kind in ("passed", "failed") for one in terminalreporter.getreports(kind)]
    for name, value in (noted for report in reports for noted in report.user_properties):
        if name == "figures":
            question, figures = value
            line = table.setdefault(question, {})
            for what, figure in figures.items():
                known = line.get(what, 0)
                added = isinstance(figure, int) and isinstance(known, int)
                line[what] = known + figure if added else figure
    for question, line in sorted(table.items()):
        shown = ", ".join(
            figure if isinstance(figure, str) else f"{figure:,} {what.replace('_', ' ')}"
            for what, figure in line.items()
        )
        terminalreporter.line(f"| {question} | {shown} |")
