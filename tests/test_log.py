import os
import subprocess
import sys
from pathlib import Path

import pytest
from dinov3_metadata.log import NO_MEMORY, error_in
from dinov3_metadata.paths import WORK
from dinov3_metadata.progress import progress
from helpers import REPOSITORY

STAGE = """
import errno, logging, sys
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.log import stage
with stage({log!r}, {level!r}):
    logging.getLogger("dinov3_metadata").info("an info")
    logging.getLogger("dinov3_metadata").warning("a warning")
    {action}
"""


def run(log: Path, action: str = "pass", level: str = "info") -> subprocess.CompletedProcess:
    log.parent.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [sys.executable, "-c", STAGE.format(log=str(log), level=level, action=action)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / f"an ERROR in the path/{WORK}/TRAIN/scan.log"


def test_warnings_go_to_the_terminal_and_the_rest_to_the_log(log: Path) -> None:
    done = run(log)
    assert done.stderr == "WARNING: a warning\n"
    assert "INFO an info" in log.read_text()
    assert error_in(log) is None
    run(log, level="warning")
    assert "an info" not in log.read_text()


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("raise MetadataError('one ERROR', ['two'])", "one ERROR\ntwo"),
        ("open('/nowhere/x')", "/nowhere/x: No such file or directory."),
        (
            "raise OSError(errno.ENOSPC, 'No space left on device', 'f')",
            "f: No space left on device. Make room and run the same command again.",
        ),
        ("raise MemoryError", NO_MEMORY),
    ],
)
def test_an_error_is_one_message_and_exit_code_1(action: str, message: str, log: Path) -> None:
    done = run(log, action)
    assert done.returncode == 1
    assert done.stderr == f"WARNING: a warning\nERROR: {message}\n"
    assert error_in(log) == message


def test_a_defect_of_ours_keeps_its_traceback(log: Path) -> None:
    done = run(log, "1 / 0")
    assert "ZeroDivisionError" in done.stderr
    assert error_in(log).startswith("Unexpected error, please report it\nTraceback")


def test_nothing_heavy_is_imported_on_the_default_path() -> None:
    stages = ["scan", "entries", "classes", "verify", "publish", "labels", "view"]
    modules = ["run", "summary", *(f"stages.{name}" for name in stages)]
    code = f"import sys, {', '.join(f'dinov3_metadata.{name}' for name in modules)}\n"
    code += "heavy = {'torch', 'torchvision', 'pandas', 'PIL', 'tqdm', 'matplotlib'}\n"
    code += "print(sorted(heavy & set(sys.modules)))"
    environment = {"PYTHONPATH": str(REPOSITORY / "workflow")}
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, env=environment, text=True) == "[]\n"


def test_progress_is_logged_at_every_fifth_percent(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "dinov3_metadata.progress")  # a command in another test silences it
    clock = (i / 10 for i in range(1000))
    monkeypatch.setattr("dinov3_metadata.progress.time.monotonic", clock.__next__)
    assert list(progress(range(200), 200, "scan")) == list(range(200))
    shown = [int(line.split()[1]) for line in caplog.messages]
    assert shown == [*range(5, 101, 5)]
    assert caplog.messages[0] == "scan: 5 %, 10 a second, 0:00:19 left"  # 10 of 200 in a second
    assert caplog.messages[-1] == "scan: 100 %, 10 a second, 0:00:00 left"


def test_a_stage_that_takes_long_shows_how_far_it_has_come(log: Path) -> None:
    """Eight items of eight seconds each, by a clock that goes on by four whenever it is read."""
    action = """import itertools, time; from dinov3_metadata.progress import progress
    clock = itertools.count(time.monotonic(), 4); time.monotonic = lambda: next(clock)
    list(progress("abcdefgh", 8, "scan"))"""
    shown = run(log, action).stderr.splitlines()[1:]
    assert [line.split(",")[0] for line in shown] == [f"scan: {i} %" for i in (25, 50, 75, 100)]
    assert shown[1] == "scan: 50 %, 0.1 a second, 0:00:28 left"
    assert log.read_text().count("INFO scan: ") == 8
