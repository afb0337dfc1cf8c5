"""A training that resumes is told if it would read other rows than it began with."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, local
from typing import Any
from unittest.mock import MagicMock

import pytest
from dinov3_metadata import ImageNetMetadata, MetadataError, dump_extra, replace, resume
from dinov3_metadata.files import sha256
from dinov3_metadata.launcher import parse_options
from dinov3_metadata.paths import existing
from dinov3_metadata.resume import FOLDER, Rows, check, output_of
from dinov3_metadata.summary import dataset_path
from helpers import make_tree
from test_dinov3 import LAUNCH, STAND_IN, run

TRAIN = """
import sys
from dinov3.data.datasets.image_net import parse
print(*(len(parse(word)) for word in sys.argv[1:] if word.startswith("ImageNet:")))
"""
ROWS = Rows(3, 2, {"entries-TRAIN.npy": "a", "class-ids-TRAIN.npy": "b"})


class Training:
    """A dataset, its metadata, and a training command that opens it by DINOv3's class."""

    def __init__(self, home: Path) -> None:
        self.home, self.out = home, home / "out 输出"
        self.root, self.extra = make_tree(home / "数据 set"), home / "ex tra"
        folder = home / "code/dinov3/data/datasets"
        folder.mkdir(parents=True)
        for path in (folder, folder.parent, folder.parent.parent):
            (path / "__init__.py").touch()
        (folder / "image_net.py").write_text(STAND_IN)
        (home / "train.py").write_text(TRAIN)
        self.make()

    def make(self) -> None:
        dump_extra(self.root, self.extra)

    def edit(self) -> None:
        make_tree(self.root, ["train/n01440764/n01440764_5.JPEG"])
        self.make()

    def start(
        self, *options: str, extra: Path | None = None, splits: Iterable[str] = ("TRAIN", "VAL")
    ) -> subprocess.CompletedProcess:
        names = [dataset_path(one, self.root, extra or self.extra) for one in splits]
        command = [sys.executable, str(self.home / "train.py"), f"--output-dir={self.out}", *names]
        return run(self.home, *LAUNCH[:-1], *options, "--", *command)

    def note(self, split: str = "TRAIN") -> Path:
        (path,) = (self.out / FOLDER).glob(f"{split}-*.json")
        return path


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"


def test_a_training_that_resumes_with_other_rows_is_stopped(training: Training) -> None:
    assert training.start().stdout == "4 3\n"
    assert training.start().stdout == "4 3\n"
    before = training.note().read_text()
    training.edit()
    for _ in range(2):
        done = training.start()
        assert (done.returncode, done.stdout) == (1, "")
        assert training.note().read_text() == before
        said = re.sub(TIME, "<TIME>", done.stderr)
        said = said.replace(str(training.extra), "<EXTRA>").replace(str(training.note()), "<NOTE>")
        assert said == (
            "Error: The metadata of TRAIN in <EXTRA> has changed since this training began:\n"
            "  <TIME>: 4 images of 3 classes, published <TIME>\n"
            "  now: 5 images of 3 classes, published <TIME>\n"
            "  since then, 1 image came and 0 went\n"
            "These files differ: entries-TRAIN.npy.\n"
            "A training that resumes would read other images than those that are left of its "
            "epoch. To go on with the new files all the same, start it with --changed accept "
            "before the --. To begin anew, choose another output folder.\n"
        )


def test_it_says_how_many_images_came_and_went(training: Training) -> None:
    training.start()
    (training.root / "train/n01440764/n01440764_10026.JPEG").unlink()
    make_tree(training.root, [f"train/n01440764/n01440764_{i}.JPEG" for i in (5, 6)])
    training.make()
    assert "  since then, 2 images came and 1 went\n" in training.start("--changed=accept").stderr
    make_tree(training.root, ["train/n01440764/n01440764_7.JPEG"])
    training.make()
    training.note().with_suffix(".npz").write_bytes(b"damaged")
    said = training.start().stderr
    assert "has changed since this training began" in said
    assert "since then, " not in said


def test_it_goes_on_where_that_is_accepted(training: Training) -> None:
    training.start()
    training.edit()
    done = training.start("--changed", "accept")
    assert done.stdout == "5 3\n"
    assert "TRAIN in" in done.stderr
    assert "now: 5 images of 3 classes" in done.stderr
    assert "It goes on with the new ones." in done.stderr
    done = training.start("--changed", "stop")
    assert (done.stdout, done.stderr) == ("5 3\n", "")


def test_files_that_are_published_again_are_no_change(training: Training) -> None:
    training.start()
    (training.extra / "entries-TRAIN.npy").unlink()
    os.utime(training.extra / "metadata-TRAIN.json")
    training.make()
    done = training.start()
    assert (done.stdout, done.stderr) == ("4 3\n", "")


def test_the_kept_files_lead_back_to_the_rows_that_it_began_with(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replace, "is_local", lambda path: False)
    training.edit()  # replaced once before the training begins
    training.start()
    make_tree(training.root, ["train/n01440764/n01440764_6.JPEG"])
    training.make()
    (training.root / "labels.txt").write_text(
        (training.root / "labels.txt").read_text().replace("tench", "a tench")
    )
    training.make()  # replaces the names of the classes, too
    done = training.start()
    assert "class-names-TRAIN.npy, entries-TRAIN.npy" in done.stderr
    *_, sentence, command = done.stderr.splitlines()
    assert "are still kept" in sentence
    subprocess.run(["bash", "-euc", command], check=True)
    folder = Path(sentence.rpartition("extra=")[2].removesuffix(":"))
    began = json.loads(training.note().read_text())["files"]
    about = json.loads((folder / "metadata-TRAIN.json").read_text())["files"]
    assert {name: one["sha256"] for name, one in about.items()} == began
    assert {name: sha256(folder / name) for name in began} == began
    assert training.start(extra=folder, splits=["TRAIN"]).stdout == "5\n"
    for path, _ in existing(training.extra, "kept"):
        os.unlink(path)
    assert "are still kept" not in training.start().stderr


def test_another_dataset_in_the_same_output_folder_is_no_change(training: Training) -> None:
    training.start()
    make_tree(training.root, ["train/n01440764/n01440764_5.JPEG"])
    dump_extra(training.root, training.home / "other")
    assert training.start(extra=training.home / "other").stdout == "5 3\n"
    assert training.start().stdout == "4 3\n"


def test_without_an_output_folder_nothing_is_noted(training: Training) -> None:
    command = [sys.executable, str(training.home / "train.py")]
    name = dataset_path("TRAIN", training.root, training.extra)
    before = {*training.home.rglob("*")}
    for _ in range(2):
        assert run(training.home, *LAUNCH, *command, name).stdout in ("4\n", "5\n")
        training.edit()
    new = {path.name for path in {*training.home.rglob("*")} - before}
    assert not any(name == FOLDER for name in new)


def test_all_ranks_begin_with_the_rows_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of them see another publication, and all of them find no note at first."""
    monkeypatch.setenv(resume.OUTPUT, str(tmp_path / "out"))
    other = ROWS._replace(images=4, files=ROWS.files | {"entries-TRAIN.npy": "c"})
    read, together, waited = resume._read, Barrier(16), local()

    def read_together(path: str) -> dict[str, Any] | None:
        if hasattr(waited, "once"):
            return read(path)
        waited.once = together.wait()
        return None

    def begin(number: int) -> bool:
        try:
            check(tmp_path, "TRAIN", (ROWS, other)[number % 2])
        except MetadataError:
            return False
        return True

    monkeypatch.setattr(resume, "_read", read_together)
    monkeypatch.setattr(resume, "_begun", MagicMock())  # the ranks here share a process
    with ThreadPoolExecutor(16) as pool:
        began = [*pool.map(begin, range(16))]
    assert began in ([True, False] * 8, [False, True] * 8)
    assert len([*(tmp_path / "out" / FOLDER).iterdir()]) == 1


def test_new_metadata_does_not_end_a_training_that_opens_a_dataset_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(resume.OUTPUT, str(tmp_path / "out"))
    check(tmp_path, "TRAIN", ROWS)
    check(tmp_path, "TRAIN", ROWS._replace(files={}))
    assert "has changed since this training began" in caplog.text
    (note,) = (tmp_path / "out" / FOLDER).iterdir()
    assert json.loads(note.read_text())["files"] == ROWS.files


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setenv(resume.OUTPUT, str(tmp_path / "out"))
    monkeypatch.setattr(os, "link", refuse)
    check(tmp_path, "TRAIN", ROWS)
    check(tmp_path, "TRAIN", ROWS)
    resume._begun.clear()
    with pytest.raises(MetadataError, match="has changed since this training began"):
        check(tmp_path, "TRAIN", ROWS._replace(files={}))


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b"[" * 10**5, b'{"files": 5}', b"\xff"])
def test_a_damaged_note_is_named(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(resume.OUTPUT, str(tmp_path / "out"))
    check(tmp_path, "TRAIN", ROWS)
    (note,) = (tmp_path / "out" / FOLDER).iterdir()
    note.write_bytes(content)
    with pytest.raises(MetadataError, match="is damaged") as error:
        check(tmp_path, "TRAIN", ROWS)
    assert str(error.value).startswith(f"{note}, which says")


def test_an_output_folder_that_cannot_be_written_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "out").touch()
    monkeypatch.setenv(resume.OUTPUT, str(tmp_path / "out"))
    check(tmp_path, "TRAIN", ROWS)
    assert "So the next start of this training cannot tell" in caplog.text


def test_a_note_that_cannot_be_read_stops_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(resume.OUTPUT, str(tmp_path))
    check(tmp_path, "TRAIN", ROWS)
    (note,) = (tmp_path / resume.FOLDER).iterdir()
    note.unlink()
    note.mkdir()
    with pytest.raises(MetadataError, match=r"cannot be read \(Is a directory\)"):
        check(tmp_path, "TRAIN", ROWS)


def test_two_names_of_a_folder_have_one_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(resume.OUTPUT, str(tmp_path / "out"))
    (tmp_path / "extra").mkdir()
    (tmp_path / "link").symlink_to("extra")
    check(tmp_path / "extra", "TRAIN", ROWS)
    resume._begun.clear()  # as in another process
    with pytest.raises(MetadataError, match="has changed since this training began"):
        check(tmp_path / "link", "TRAIN", ROWS._replace(files={"entries-TRAIN.npy": "other"}))


REPLACED = """
import sys
from pathlib import Path
from dinov3_metadata import dump_extra
from dinov3.data.datasets.image_net import ImageNet, parse

def replaced_after_it_was_mapped(self, theirs=ImageNet._get_entries):
    entries, image = theirs(self), Path(self.root) / "train/n01440764/n01440764_9.JPEG"
    if image.exists():
        image.rename(image.with_name("n01440764_8.JPEG"))
        dump_extra(self.root, self._extra_root)
    return entries

ImageNet._get_entries = replaced_after_it_was_mapped
dataset = parse(sys.argv[-1])
print(len(dataset), 8 in dataset._get_entries()["actual_index"])
"""


def test_what_is_noted_belongs_to_what_is_read(training: Training) -> None:
    (training.home / "train.py").write_text(REPLACED)
    assert training.start(splits=["TRAIN"]).stdout == "4 True\n"
    noted = json.loads(training.note().read_text())["files"]
    assert noted["entries-TRAIN.npy"] == sha256(training.extra / "entries-TRAIN.npy")


def test_a_plain_pytorch_loop_under_the_launcher_is_told_too(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ImageNetMetadata(training.root, training.extra).digest
    assert ImageNetMetadata(training.root, training.extra).digest == first
    monkeypatch.setenv(resume.OUTPUT, str(training.out))
    ImageNetMetadata(training.root, training.extra)
    resume._begun.clear()
    training.edit()
    with pytest.raises(MetadataError, match="has changed since this training began"):
        ImageNetMetadata(training.root, training.extra)
    monkeypatch.delenv(resume.OUTPUT)
    assert ImageNetMetadata(training.root, training.extra).digest != first


def test_a_training_that_asks_again_is_told_again(training: Training) -> None:
    training.start()
    training.edit()
    (training.home / "train.py").write_text(TWICE)
    assert training.start(splits=["TRAIN"]).stdout == "told\ntold\n"


TWICE = """
import sys
from dinov3.data.datasets.image_net import parse
dataset = parse(sys.argv[-1])
for _ in range(2):
    try:
        len(dataset)
    except Exception as error:
        print("told" if "since this training began" in str(error) else error)
"""


def test_one_line_before_training_names_the_output_folder(training: Training) -> None:
    line = "from dinov3_metadata.dinov3 import use_metadata_lengths\n"
    line += f"use_metadata_lengths(output_dir={str(training.out)!r})\n"
    command = [sys.executable, "-c", line + TRAIN]
    command += [dataset_path("TRAIN", training.root, training.extra)]
    assert run(training.home, *command).stdout == "4\n"
    training.edit()
    assert "has changed since this training began" in run(training.home, *command).stderr


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("train.py --output-dir out x=1", "out"),
        ("train.py --output-dir=a=b", "a=b"),
        ("train.py --output-dir one --output-dir two", "two"),
        ("train.py --output-dir=", ""),
        ("train.py --output-dir", ""),
        ("train.py --output-dir s3://bucket/out", ""),
        ("train.py", ""),
    ],
)
def test_where_a_command_puts_its_output(words: str, found: str) -> None:
    assert output_of(words.split()) == found


def test_the_output_folder_named_before_the_command_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = [sys.executable, "-c", "import os; print(os.environ['DINOV3_METADATA_OUTPUT'])"]
    monkeypatch.chdir(tmp_path)
    command = [*show, "--output-dir", "theirs"]
    assert run(tmp_path, *LAUNCH, *command).stdout == f"{tmp_path}/theirs\n"
    named = ["--output-dir", "mine 输出", "--", *command]
    assert run(tmp_path, *LAUNCH[:-1], *named).stdout == f"{tmp_path}/mine 输出\n"


def test_changed_has_two_values() -> None:
    with pytest.raises(SystemExit, match="--changed: 'yes' is neither stop nor accept"):
        parse_options(["--changed", "yes"])
