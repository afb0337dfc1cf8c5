"""The loop of DINOv3's README makes our files, and says what DINOv3 would say."""

import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from dinov3_metadata import MetadataError, dump_extra
from dinov3_metadata.dinov3 import _patch
from dinov3_metadata.formats import read_description
from dinov3_metadata.loop import SplitMissingError, dump_split, known_settings
from dinov3_metadata.progress import progress, watchers
from helpers import LABELS, REPOSITORY, SPLIT_OF_DINOV3, digests, make_tree

# A stand-in for the interface of ImageNet that dump_extra() uses.
STAND_IN = (
    SPLIT_OF_DINOV3
    + """
class ImageNet:
    Split = _Split

    def __init__(self, *, split, root, extra):
        self.root, self._split, self._extra_root, self._entries = root, split, extra, "old"

    @property
    def split(self):
        return self._split

    def get_image_data(self, index):
        raise NotImplementedError

    def __getitem__(self, index):
        return self.get_image_data(index)

    def dump_extra(self):
        print("theirs", self.split.name)
"""
)

LOOP = """
import logging, sys
from {package}.data.datasets.image_net import ImageNet
logging.basicConfig(level="INFO", format="%(name)s: %(message)s", stream=sys.stdout)
logging.getLogger("dinov3_metadata").setLevel("WARNING")
for split in ImageNet.Split:
    dataset = ImageNet(split=split, root=sys.argv[1], extra=sys.argv[2])
    dataset.dump_extra()
    assert dataset._entries is None
"""

LINES = [
    'loading labels from "labels.txt"',
    *(f"creating entries: {percent}%" for percent in (25, 50, 75, 100)),
    'saving entries to "entries-TRAIN.npy"',
    'saving class IDs to "class-ids-TRAIN.npy"',
    'saving class names to "class-names-TRAIN.npy"',
    'loading labels from "labels.txt"',
    *(f"creating entries: {percent}%" for percent in (33, 66, 100)),
    'saving entries to "entries-VAL.npy"',
    'saving class IDs to "class-ids-VAL.npy"',
    'saving class names to "class-names-VAL.npy"',
    *(f"creating entries: {percent}%" for percent in (50, 100)),
    'saving entries to "entries-TEST.npy"',
]
"""What DINOv3 logs for the images of ``helpers.FILES``."""

LOG = logging.getLogger("dinov3")


def stand_in(code: Path, package: str) -> None:
    folder = code / package / "data/datasets"
    folder.mkdir(parents=True)
    for path in (folder, folder.parent, folder.parent.parent):
        (path / "__init__.py").touch()
    (folder / "image_net.py").write_text(STAND_IN)


def launch(code: Path, script: str, *arguments: Path) -> subprocess.CompletedProcess:
    """Run a script under the launcher."""
    paths = os.pathsep.join([str(code), str(REPOSITORY / "workflow")])
    return subprocess.run(
        [sys.executable, "-m", "dinov3_metadata.dinov3", "--", sys.executable, "-c", script]
        + [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": paths},
    )


def dataset_of(split: str, root: Path, extra: Path) -> SimpleNamespace:
    return SimpleNamespace(split=SimpleNamespace(name=split), root=str(root), _extra_root=extra)


@pytest.mark.parametrize("package", ["dinov2", "dinov3"])
def test_the_pasted_loop_makes_our_files(package: str, tree: Path, tmp_path: Path) -> None:
    stand_in(tmp_path / "code", package)
    script = LOOP.format(package=package)
    done = launch(tmp_path / "code", script, tree, tmp_path / "extra")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{package}: {line}" for line in LINES]
    dump_extra(tree, tmp_path / "other", ["TRAIN", "VAL", "TEST"])
    assert len(digests(tmp_path / "other")) == 7
    assert digests(tmp_path / "extra") == digests(tmp_path / "other")


def test_a_user_s_mistake_gives_a_sentence_and_no_traceback(tree: Path, tmp_path: Path) -> None:
    stand_in(tmp_path / "code", "dinov3")
    (tree / "val").rename(tree / "elsewhere")
    script, extra = LOOP.format(package="dinov3"), tmp_path / "extra"
    done = launch(tmp_path / "code", script, tree, extra)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: The VAL split folder {tree}/val does not exist. If ")
    assert done.stderr.count("\n") == 1
    assert (extra / "metadata-TRAIN.json").exists()
    tried = script.replace("    dataset.dump_extra()", "    try: dataset.dump_extra()\n{}")
    done = launch(
        tmp_path / "code", tried.format("    except FileNotFoundError: continue"), tree, extra
    )
    assert done.returncode == 0, done.stderr
    assert (extra / "metadata-TEST.json").exists()


def test_other_exceptions_keep_their_traceback(tmp_path: Path) -> None:
    done = launch(tmp_path, "raise KeyError('mine')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "KeyError: 'mine'" in done.stderr


def test_on_an_old_python_their_own_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = SimpleNamespace(__name__="dinov2.data.datasets.image_net")
    exec(STAND_IN, vars(module))
    for _ in range(2):  # as if use_metadata_lengths was called twice
        _patch(module, {})
    dataset = module.ImageNet(split=module.ImageNet.Split.TEST, root="", extra="")
    with monkeypatch.context() as old:
        old.setattr(sys, "version_info", (3, 9))
        with pytest.warns(match="dinov2's own dump_extra runs") as said:
            dataset.dump_extra()
    assert len(said) == 1
    assert "it needs Python 3.10 or newer" in str(said[0].message)
    assert capsys.readouterr().out == "theirs TEST\n"


def test_a_fork_may_lack_dump_extra() -> None:
    module = SimpleNamespace(__name__="dinov3.data.datasets.image_net")
    exec(STAND_IN.replace("def dump_extra", "def other"), vars(module))
    _patch(module, {})
    assert not hasattr(module.ImageNet, "dump_extra")


def test_the_percents_follow_the_scan(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"n{i:08d}" for i in range(120)]
    files = [f"train/{name}/{name}_1.JPEG" for name in names]
    root = make_tree(tmp_path / "root", files, "".join(f"{name},x\n" for name in names))
    made: list[bool] = []

    class Look(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            made.append((tmp_path / "extra/entries-TRAIN.npy").exists())

    caplog.set_level("INFO", "dinov3")
    look = Look()
    LOG.addHandler(look)
    for _ in range(2):
        dump_split(dataset_of("TRAIN", root, tmp_path / "extra"), LOG)
    LOG.removeHandler(look)
    assert watchers == []
    lines = [line for name, _, line in caplog.record_tuples if name == "dinov3"]
    assert lines[:105] == lines[105:]  # in the second round, nothing was scanned
    assert lines[1:102] == [f"creating entries: {percent}%" for percent in range(101)]
    assert made[:102] == [False] * 102
    assert all(made[102:])


def test_a_missing_test_folder_is_no_empty_one(tree: Path, tmp_path: Path) -> None:
    (tree / "test").rename(tree / "elsewhere")
    with pytest.raises(SplitMissingError, match="The TEST split folder"):
        dump_split(dataset_of("TEST", tree, tmp_path / "extra"), LOG)
    assert not (tmp_path / "extra").exists()


def test_extra_is_where_dinov3_looks(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dump_split(dataset_of("TRAIN", tree, Path("~/extra")), LOG)  # DINOv3 does not expand it
    assert (tmp_path / "~/extra/entries-TRAIN.npy").exists()


def test_a_layout_that_dinov3_cannot_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root, extra = (
        make_tree(tmp_path / "root", ["train/a cat/1.jpg", "val/a cat/2.jpg"]),
        tmp_path / "e",
    )
    (root / "labels.txt").unlink()
    for split in ("TRAIN", "VAL"):
        dataset = dataset_of(split, root, extra)
        dump_split(dataset, LOG)
        assert dataset.root == f"{extra}/view"
        assert caplog.messages[-1] == (
            f"DINOv3 cannot read the images in {root}, because its layout is folder. It reads them "
            f"through links in a view: train with root={extra}/view"
        )
    caplog.clear()
    before = digests(extra)
    (root / "train/a cat/3.jpg").touch()
    dataset = dataset_of("TRAIN", extra / "view", extra)  # as the message says
    dump_split(dataset, LOG)
    assert dataset.root == f"{extra}/view"
    assert caplog.messages == []
    assert (extra / "view/train/a cat/a cat_3.JPEG").exists()
    assert digests(extra)["entries-TRAIN.npy"] != before["entries-TRAIN.npy"]


def test_a_class_that_train_lacks(tree: Path, tmp_path: Path) -> None:
    extra = tmp_path / "an extra"
    make_tree(tree, ["val/n9/ILSVRC2012_val_00000009.JPEG"], f"{LABELS}n9,nine\n")
    dump_split(dataset_of("TRAIN", tree, extra), LOG)
    with pytest.raises(MetadataError, match="VAL has 1 class that TRAIN lacks") as error:
        dump_split(dataset_of("VAL", tree, extra), LOG)
    before, _, command = str(error.value).rpartition(
        "\nThe loop cannot set `classes`, so run once: "
    )
    assert before
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "dinov3_metadata"]
    done = subprocess.run(
        [sys.executable, *words[1:]],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow")},
        check=False,
    )
    assert done.returncode == 0
    for split in ("TRAIN", "VAL"):  # the loop keeps this setting
        dump_split(dataset_of(split, tree, extra), LOG)
    assert read_description(str(extra), "TRAIN").numbering.classes == "union"


def test_it_is_made_as_before(tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "dinov3")
    extra, labels = tmp_path / "extra", tmp_path / "a\nb.txt"
    (tree / "labels.txt").rename(labels)
    (tree / "train/n01440764/photo.JPEG").touch()
    dump_extra(tree, extra, ["TRAIN"], labels=labels, unaddressable="skip", layout="imagenet")
    before = digests(extra)
    dump_split(dataset_of("TRAIN", tree, extra), LOG)
    assert digests(extra) == before
    assert caplog.messages[-8] == f'loading labels from "{tmp_path}/a\\nb.txt"'
    with pytest.raises(MetadataError, match=r"labels.txt does not exist"):  # in another extra
        dump_split(dataset_of("TRAIN", tree, tmp_path / "other"), LOG)


def test_only_what_cannot_be_detected_is_as_before(tree: Path, tmp_path: Path) -> None:
    known = {"root": str(tree), "layout": "imagenet"}
    extra = str(tmp_path / "extra")
    assert known_settings(str(tree), extra) == {"root": str(tree)}
    dump_extra(tree, extra, ["TRAIN"])
    assert known_settings(str(tree), extra) == known
    assert known_settings("/another", extra) == {"root": "/another"}
    dump_extra(tree, extra, ["TRAIN"], labels="folders")
    assert known_settings(str(tree), extra) == known | {"labels": "folders"}
    photos = make_tree(tmp_path / "photos", ["train/cat/1.jpg", "train/cat/2.jpg"])
    (photos / "labels.txt").unlink()
    dump_extra(photos, tmp_path / "other", ["TRAIN"], view=tmp_path / "links")
    known = {"root": str(photos), "layout": "folder", "view": str(tmp_path / "links")}
    assert known_settings(str(tmp_path / "links"), str(tmp_path / "other")) == known


def test_dinov3_s_environment_may_have_no_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: True))
    assert [*progress("abc", 3, "what")] == ["a", "b", "c"]
