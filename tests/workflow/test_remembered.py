"""Another host edits a dataset on a file server: whoever looks next sees it, see remembering.py."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from dinov3_metadata import MetadataError, dump_extra
from dinov3_metadata.checks.check import check
from dinov3_metadata.dataset import ImageNetMetadata
from dinov3_metadata.guarding import check as check_before_training
from dinov3_metadata.look import finds, finds_file, finds_folder
from dinov3_metadata.named import Split
from helpers import LABELS, REPOSITORY, digests, make_tree

CANNOT = (
    "This machine cannot mount FUSE, which these tests need. Debian: apt-get install fuse3. In a "
    "container, also pass --device /dev/fuse --cap-add SYS_ADMIN, and make /dev/fuse writable: "
)


class Hosts(NamedTuple):
    """Where a dataset is for the host that edits it, and for this host, which remembers it."""

    edited: Path
    root: Path
    extra: Path

    def make(self, **settings: object) -> dict[str, str]:
        dump_extra(self.root, self.extra, **settings)
        return digests(self.extra)

    def due(self, **settings: object) -> dict[str, str]:
        """What it must make, as the other host would."""
        shutil.rmtree(self.extra.parent / "due", ignore_errors=True)
        dump_extra(self.edited, self.extra.parent / "due", **settings)
        return digests(self.extra.parent / "due")


@contextmanager
def mounted(tmp_path: Path, *name: str) -> Iterator[Hosts]:
    edited, mount = make_tree(tmp_path / "on the server" / "数据"), tmp_path / "挂 载"
    mount.mkdir()
    command = [sys.executable, REPOSITORY / "tests/remembering.py", edited.parent, mount, *name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert os.path.ismount(mount), CANNOT + done.stderr
    try:
        yield Hosts(edited, mount / "数据", tmp_path / "ex tra")
    finally:
        subprocess.run(["fusermount3", "-u", mount], check=True)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with mounted(tmp_path) as hosts:
        yield hosts


def add_class(root: Path) -> None:
    make_tree(root, ["train/n02/n02_1.JPEG", "val/n02/ILSVRC2012_val_00000009.JPEG"])
    (root / "labels.txt").write_text(f"{LABELS}n02,bird\n")


def replace_class(root: Path) -> None:
    """With one that is older, as ``mv`` and ``rsync -a`` do."""
    new = make_tree(root.parent, ["n01440764/n01440764_5.JPEG"]) / "n01440764"
    os.utime(new, (1, 1))
    (root / "train/n01440764").rename(root.parent / "old")
    new.rename(root / "train/n01440764")


EDITS: list[Callable[[Path], object]] = [
    lambda root: make_tree(root, ["train/n01440764/n01440764_5.JPEG"]),
    lambda root: (root / "train/n01440764/n01440764_9.JPEG").unlink(),
    lambda root: [shutil.rmtree(root / split / "n01443537") for split in ("train", "val")],
    lambda root: (root / "labels.txt").write_text(LABELS.replace("tench", "a longer name")),
    add_class,
    replace_class,
]


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_seen_at_once(edit: Callable[[Path], object], hosts: Hosts) -> None:
    """By a run, and by everything that only looks whether the metadata is up to date."""
    hosts.make()
    splits = [Split(split, str(hosts.root), str(hosts.extra)) for split in ("TRAIN", "VAL")]
    check_before_training(splits)
    ImageNetMetadata(hosts.root, hosts.extra, check="stat")
    edit(hosts.edited)
    assert not check(hosts.root, hosts.extra).ok
    with pytest.raises(MetadataError, match=r"changed since the metadata"):
        check_before_training(splits)
    with pytest.raises(MetadataError, match=r"changed since the metadata"):
        ImageNetMetadata(hosts.root, hosts.extra, check="stat")
    assert hosts.make() == hosts.due()


def test_this_host_remembers_what_it_saw(hosts: Hosts) -> None:
    """Otherwise these tests would show nothing."""
    folder = hosts.root / "train/n01440764"
    before = folder.stat(), (hosts.root / "words.txt").exists()
    make_tree(hosts.edited, ["words.txt", "train/n01440764/n01440764_5.JPEG"])
    assert (folder.stat(), (hosts.root / "words.txt").exists()) == before


def test_what_was_missing_is_seen_when_it_appears(hosts: Hosts) -> None:
    for name in ("labels.txt", "val"):
        (hosts.edited / name).rename(hosts.edited.parent / name)
    with pytest.raises(MetadataError, match=r"labels.txt does not exist"):
        hosts.make(splits=["TRAIN"])
    (hosts.edited.parent / "labels.txt").rename(hosts.edited / "labels.txt")
    with pytest.raises(MetadataError, match=r"The VAL split folder .* does not exist"):
        hosts.make()
    (hosts.edited.parent / "val").rename(hosts.edited / "val")
    assert hosts.make() == hosts.due()


@pytest.mark.parametrize("found", [finds, finds_file, finds_folder])
def test_a_folder_is_asked_again_before_a_name_in_it_is_missing(
    found: Callable[[Path], bool], hosts: Hosts
) -> None:
    name = f"{'new/deep/' if found is finds_folder else 'train/'}LOC_val_solution.csv"
    assert not found(hosts.root / name)
    make_tree(hosts.edited, [name + "/" * (found is finds_folder)])
    assert not os.path.lexists(hosts.root / name)
    assert found(hosts.root / name)


def test_snakemake_and_the_launcher(hosts: Hosts, snakemake: Callable) -> None:
    settings = {"root": hosts.root, "extra": hosts.extra}
    launch = [sys.executable, "-m", "dinov3_metadata.dinov3", "--check", "--root", hosts.root]
    launch += ["--extra", hosts.extra, "--", "echo", "started"]
    run = {"capture_output": True, "text": True, "check": False}
    run["env"] = os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow")}
    snakemake(**settings)
    assert "Nothing to be done" in snakemake(**settings).stdout
    assert subprocess.run(launch, **run).stdout == "started\n"
    make_tree(hosts.edited, ["train/n01440764/n01440764_5.JPEG"])
    assert "for instance" in subprocess.run(launch, **run).stderr
    assert re.search(r"TRAIN +5 +\+1 ", snakemake(**settings).stdout)
    assert "Nothing to be done" in snakemake(**settings).stdout


def test_a_folder_that_the_server_no_longer_knows_is_called_so(hosts: Hosts) -> None:
    hosts.edited.parent.rename(f"{hosts.edited.parent}.old")
    hosts.edited.parent.mkdir()
    mount = hosts.root.parent
    with pytest.raises(MetadataError) as error:
        dump_extra(mount, hosts.extra)
    assert str(error.value).startswith(f"{mount}: stale file handle. The file server no longer")


def test_a_bucket_is_listed_and_each_run_says_what_that_costs(
    tmp_path: Path, snakemake: Callable
) -> None:
    with mounted(tmp_path, "rclone") as hosts:
        said = (
            f"{hosts.root}/train is on rclone, which makes up the timestamps of folders. Each run "
            "lists 4 folders of TRAIN to see what changed. rclone remembers folders for 5 minutes, "
            "unless its --dir-cache-time is shorter: until then, no run sees what was changed "
            "elsewhere."
        )
        hosts.make()
        make_tree(hosts.edited, ["train/n01440764/n01440764_5.JPEG"])
        again = snakemake(root=hosts.root, extra=hosts.extra).stdout
        assert again.count(said) == 1
        assert re.search(r"TRAIN +5 +\+1 ", again)
        assert digests(hosts.extra) == hosts.due()
