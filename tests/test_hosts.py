"""Odd hosts: closed or full streams, a folder that is gone, no home, and an old locale."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from dinov3_metadata import dump_extra
from dinov3_metadata.summary import dataset_path
from helpers import REPOSITORY, digests, make_tree

PROGRAM = [sys.executable, "-m", "dinov3_metadata"]
FULL = [">/dev/full", "2>/dev/full"] if os.path.exists("/dev/full") else []


def shell(words: list, after: str = "", before: str = "", **environment: str) -> tuple[int, str]:
    """Run a command in a shell; gives its exit code, and all that it printed."""
    done = subprocess.run(
        ["bash", "-c", f"{before} exec {shlex.join(map(str, words))} {after}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow")} | environment,
    )
    said = done.stdout.decode(errors="replace")
    assert "Traceback" not in said, said
    assert "Exception ignored" not in said, said
    return done.returncode, said


@pytest.fixture
def places(tmp_path: Path) -> list[str | Path]:
    """The options for a dataset, whose name has a blank and is not ASCII, and its metadata."""
    root = make_tree(tmp_path / "数据 root")
    return ["--root", root, "--extra", tmp_path / "ex tra"]


@pytest.mark.parametrize("after", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", *FULL])
def test_whatever_the_streams_are_the_files_are_right(after: str, places: list) -> None:
    code, said = shell([*PROGRAM, "make", *places], after)
    codes = {">/dev/full": {2}, "2>/dev/full": {0, 120}}  # Python's own, for lost messages
    assert code in codes.get(after, {0}), said
    assert ("The output cannot be written: No space left" in said) == (after == ">/dev/full")
    dump_extra(places[1], places[3].parent / "expected")
    assert digests(places[3]) == digests(places[3].parent / "expected")


@pytest.mark.parametrize("after", FULL[:1])
def test_what_could_not_be_printed_is_no_answer(after: str, places: list) -> None:
    dump_extra(places[1], places[3])
    for unbuffered in ("", "1"):
        command = [*PROGRAM, "check", "--json", *places]
        code, said = shell(command, after, PYTHONUNBUFFERED=unbuffered)
        assert code == 2, said
        assert said == "Error: The output cannot be written: No space left on device.\n"


@pytest.mark.parametrize("after", FULL[1:])
def test_a_training_starts_although_its_summary_is_lost(after: str, places: list) -> None:
    command = [*PROGRAM, "train", "--make", *places, "--", "echo", "started"]
    assert shell(command, after) == (0, "started\n")


def test_no_file_gets_the_number_of_a_stream(tmp_path: Path) -> None:
    code = "import os, sys\nfrom dinov3_metadata.log import open_streams\nopen_streams()\n"
    code += "os.write(2, b'lost')\nsys.exit(os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY))"
    for after in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        assert shell([sys.executable, "-c", code, tmp_path / "file"], after)[0] == 3
    assert not (tmp_path / "file").read_bytes()


@pytest.mark.parametrize(
    ("words", "fails"),
    [
        (["make", "--root", "r", "--extra", "e"], 1),
        (["check", "--root", "r", "--extra", "e"], 2),
        (["train", "--check", "--root", "r", "--extra", "e", "--", "true"], 1),
        (["report", "--root", "r", "--extra", "e"], 1),
        pytest.param(["snakemake", "--cores", "1"], 1, marks=pytest.mark.needs("snakemake")),
        (["train", "--", "true"], 0),
    ],
)
def test_a_current_folder_that_was_deleted(words: list[str], fails: int, tmp_path: Path) -> None:
    gone = shlex.quote(str(tmp_path / "gone"))
    code, said = shell([*PROGRAM, *words], before=f"mkdir {gone}; cd {gone}; rmdir {gone};")
    assert code == fails, said
    assert said.startswith("Error: The current folder was deleted, so '" if fails else ""), said
    assert said.count("\n") == bool(fails)


def test_whole_paths_need_no_current_folder_and_no_home(places: list, tmp_path: Path) -> None:
    gone = shlex.quote(str(tmp_path / "gone"))
    go = f"mkdir -p {gone}; cd {gone}; rmdir {gone}; unset USER LOGNAME;"
    for name in ("make", "audit", "check"):
        code, said = shell([*PROGRAM, name, *places], "", go, HOME="/dev/null", TMPDIR="/nowhere")
        assert code == 0, said


@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_names_are_not_ascii_but_the_locale_is(locale: str, places: list) -> None:
    old = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code, said = shell([*PROGRAM, "make", *places], **old)
    assert code == 0, said
    assert (places[3] / "entries-VAL.npy").exists()
    code, said = shell([*PROGRAM, "check", *places], **old)
    assert code == 0, said
    code = (
        "import dinov3_metadata as d\ntry:\n d.dump_extra('root', 'extra')\nexcept d.MetadataError"
    )
    code += " as error:\n print(error)"
    assert "Set PYTHONUTF8=1 in the environment" in shell([sys.executable, "-c", code], **old)[1]


def test_the_dataset_path_can_be_pasted_into_a_shell(places: list) -> None:
    said = shell([*PROGRAM, "make", *places])[1]
    line = next(line for line in said.splitlines() if "split=VAL" in line)
    pasted = shlex.split(line.partition("DINOv3: ")[2])
    assert pasted == [dataset_path("VAL", places[1], places[3])]


@pytest.mark.needs("snakemake")
def test_snakemake_without_a_home_or_streams(places: list, tmp_path: Path) -> None:
    """With the cure that docs/errors.md has for it."""
    config = ["--config", f"root={places[1]}", f"extra={places[3]}"]
    command = [*PROGRAM, "snakemake", "--cores", "2", "--directory", tmp_path, *config]
    code, said = shell(command, ">&-", HOME="/dev/null", XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert code == 0, said
    assert len(digests(places[3])) == 6
