"""Trees to work on, and the stages and the workflow as functions of (root, extra)."""

import fcntl
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from dinov3_metadata.classes import dump_class_arrays
from dinov3_metadata.entries import dump_entries
from dinov3_metadata.files import sha256
from dinov3_metadata.labels import read_labels
from dinov3_metadata.layout import LABELLED
from dinov3_metadata.publish import array_names
from dinov3_metadata.scan import Scan, scan_split

# A busy machine is no reason to fail.
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy")

REPOSITORY = Path(__file__).parent.parent

LABELS = "n01440764,tench\nn01443537,goldfish\nn01484850,great white shark\n"
FILES = [
    "train/n01440764/n01440764_10026.JPEG",
    "train/n01440764/n01440764_9.JPEG",
    "train/n01443537/n01443537_177134.JPEG",
    "train/n01484850/n01484850_1.JPEG",
    "val/n01440764/ILSVRC2012_val_00000293.JPEG",
    "val/n01443537/ILSVRC2012_val_00000236.JPEG",
    "val/n01484850/ILSVRC2012_val_00002338.JPEG",
    "test/ILSVRC2012_test_00000001.JPEG",
    "test/ILSVRC2012_test_00000002.JPEG",
]


def make_tree(root: Path, files: Iterable[str] = FILES, labels: str = LABELS) -> Path:
    """Lay empty files, or empty folders for names that end with a slash, below ``root``."""
    for name in files:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (root / "labels.txt").write_bytes(labels.encode())
    return root


def exchange(target: Path, kind: str) -> None:
    """Put a folder, a file, a FIFO or nothing in the place of what a link leads to."""
    if target.is_dir():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    if kind == "folder":
        make_tree(target, ["n02_7.JPEG", "ILSVRC2012_test_00000007.JPEG"])
    elif kind == "file":
        target.touch()
    elif kind == "FIFO":
        os.mkfifo(target)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A dataset of three classes with all three splits."""
    return make_tree(tmp_path / "root")


def dump(root: Path, extra: Path, split: str, unaddressable: str = "refuse") -> dict[str, Path]:
    """Run the stages from labels to classes and return the arrays by their published names."""
    extra.mkdir(parents=True, exist_ok=True)
    paths = [extra / name for name in array_names(split)]
    scan, _ = scan_split(root, split, unaddressable=unaddressable)
    labels = read_labels(root / "labels.txt") if split in LABELLED else None
    dump_entries(scan, labels, paths[0])
    if split in LABELLED:
        dump_class_arrays(paths[0], scan, *paths[1:])
    return {path.name: path for path in paths}


def make_scan(class_ids: list[str], counts: list[int], actual_index: list[int]) -> Scan:
    """A scan that was never made from a folder."""
    return Scan(
        np.array(class_ids),
        np.array(counts, "<i8"),
        np.array(actual_index, "<u4"),
        np.array(["", *filter(None, class_ids)]),
        np.zeros(len(class_ids) + 1, "<i8"),
    )


def digests(folder: Path) -> dict[str, str]:
    """The sha256 of each published array."""
    return {path.name: sha256(path) for path in sorted(folder.glob("*.npy"))}


def file_states(paths: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """What tells that files were not touched; reading them may change st_atime."""
    states = {path.name: path.stat() for path in paths}
    return {
        name: (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        for name, state in states.items()
    }


@pytest.fixture
def snakemake(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run the real ``snakemake --cores 2`` of this checkout in a working folder of the test."""
    workdir = tmp_path / "workdir"
    workdir.mkdir()

    def run(*options: str, fails: bool = False, **config: object) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "snakemake", "-s", str(REPOSITORY / "Snakefile")]
        command += ["--cores", "2", "--directory", str(workdir), *options]
        if config:
            command += ["--config", *(f"{key}={value}" for key, value in config.items())]
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=os.environ | {"COLUMNS": "200"},
        )
        assert (done.returncode != 0) == fails, done.stdout
        assert "Traceback" not in done.stdout, done.stdout
        return done

    return run


@contextmanager
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One of the processes of pytest-xdist at a time; gives them a folder in common."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with open(folder / "alone.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Install an extra of pyproject.toml with an executor of Snakemake; gives ``PYTHONPATH``.

    Where that for Slurm is installed for good, each start of Snakemake asks for a Slurm.
    """

    def install(extra: str) -> Path:
        with alone(tmp_path_factory) as common:
            folder = common / f"plugin-{extra}"
            if not folder.exists():
                project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
                command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder]
                command += ["--constraint", REPOSITORY / "envs/constraints.txt"]
                command += project["optional-dependencies"][extra]
                subprocess.run(command, check=True)
        return folder

    return install


collect_ignore = [] if shutil.which("strace") else ["harm/test_publication.py"]


def pytest_report_header() -> str:
    return f"left out, as strace is not installed: {', '.join(collect_ignore) or 'nothing'}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full", action="store_true", help="ask the questions of tests/harm in full, not in part"
    )


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether to ask the whole of a question."""
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
