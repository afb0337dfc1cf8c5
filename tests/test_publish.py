import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata import published as published_module
from dinov3_metadata import replace as replace_module
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.fingerprint import Record, write_record
from dinov3_metadata.lock import lock_run
from dinov3_metadata.paths import existing, folder_of, path_of
from dinov3_metadata.published import receipt_name
from dinov3_metadata.replace import is_torn
from dinov3_metadata.run import dump_extra
from dinov3_metadata.stages.labels import read_labels
from dinov3_metadata.stages.publish import publish
from dinov3_metadata.stages.scan import scan_images
from dinov3_metadata.stages.verify import check_files
from helpers import LABELS, digests, dump, file_states, make_tree


class Split:
    """A verified split that waits to be published.

    Attributes:
        state: The names of the state that its files are of.
        work: The folder with the new files.
    """

    def __init__(self, root: Path, extra: Path) -> None:
        self.root, self.extra, self.states = root, extra, 0
        self.verify()

    def verify(self) -> None:
        """Make the files; they are those of another state than before."""
        self.states += 1
        self.state = {
            "split": "TRAIN",
            "view": "",
            "tree": f"4-folders-{self.states:012x}",
            "selection": "all",
            "sound": "all",
            "labels": f"labels-none-{0:012x}",
            "numbered": "own",
            "checks": f"sample-1000-{0:012x}",
        }
        self.work = Path(folder_of(self.extra, "new_entries", **self.state))
        files = {name: str(path) for name, path in dump(self.root, self.work, "TRAIN").items()}
        scan, folders, _ = scan_images(self.root, "TRAIN")
        scan.save(self.path("scan"))
        write_record(self.path("folders"), Record("", folders))
        labels = read_labels(self.root / "labels.txt")
        report = check_files(files, scan, labels, root=self.root, split="TRAIN")
        os.makedirs(os.path.dirname(self.path("report")))
        report.save(self.path("report"))
        self.contents = {str(self.root / "labels.txt"): labels.content}

    def path(self, name: str) -> str:
        """The path of a work file of the split's state."""
        return path_of(self.extra, name, **self.state)

    def receipt(self) -> Path:
        name = receipt_name(self.extra, {"TRAIN": self.state})
        return Path(path_of(self.extra, "receipt", receipt=name))

    def due(self) -> bool:
        return not self.receipt().exists()

    def publish(self) -> list[str]:
        return publish(
            receipt=self.receipt(),
            extra=self.extra,
            root=str(self.root),
            dataset=str(self.root),
            layout="imagenet",
            states={"TRAIN": self.state},
            contents={"TRAIN": self.contents},
            classes={"TRAIN": {}},
        )

    def arrays(self) -> dict[str, str]:
        """The digests of the files that wait."""
        return {name: one for name, one in digests(self.work).items() if name in ARRAYS}


@pytest.fixture
def split(tree: Path, tmp_path: Path) -> Split:
    return Split(tree, tmp_path / "extra")


ARRAYS = ["entries-TRAIN.npy", "class-ids-TRAIN.npy", "class-names-TRAIN.npy"]
ALL = [*ARRAYS, "metadata-TRAIN.json"]


def test_what_is_published(split: Split) -> None:
    assert split.due()
    assert split.publish() == ARRAYS
    assert digests(split.extra) == split.arrays()
    described = json.loads((split.extra / "metadata-TRAIN.json").read_text())
    assert described["root"] == str(split.root)
    assert (described["images"], described["classes"], described["skipped"]) == (4, 3, 0)
    assert {name: file["sha256"] for name, file in described["files"].items()} == digests(
        split.extra
    )
    assert set(described["versions"]) == {"python", "numpy", "dinov3-metadata"}
    assert not split.due()
    assert sorted(path.name for path in split.extra.glob("[!.]*")) == sorted(ALL)


def test_equal_files_are_not_touched(split: Split) -> None:
    split.publish()
    before = file_states(split.extra.glob("[!.]*"))
    split.verify()
    assert split.publish() == []
    assert file_states(split.extra.glob("[!.]*")) == before


@pytest.mark.parametrize("damaged", ALL)
@pytest.mark.parametrize("damage", ["deleted", "overwritten", "replaced"])
def test_a_damaged_file_is_put_back_once(damaged: str, damage: str, split: Split) -> None:
    split.publish()
    path = split.extra / damaged
    good = path.read_bytes()
    if damage == "deleted":
        path.unlink()
    elif damage == "overwritten":
        path.write_bytes(b"\0" * len(good))
    else:
        path.rename(split.extra / "other")
        path.write_bytes(good[::-1])
    assert split.due()
    assert split.publish() == [name for name in ARRAYS if name == damaged]
    assert path.read_bytes() == good
    assert not split.due()


def test_everything_deleted_twice_is_put_back_twice(split: Split) -> None:
    for _ in range(3):
        assert split.due()
        assert split.publish() == ARRAYS
        for path in split.extra.glob("[!.]*"):
            path.unlink()


def test_a_damaged_receipt_is_as_good_as_none(split: Split) -> None:
    split.publish()
    ((receipt, _),) = existing(split.extra, "receipt")
    Path(receipt).write_text("{")
    assert split.due()
    assert split.publish() == []


def test_a_reader_keeps_the_old_bytes(split: Split) -> None:
    split.publish()
    rows = np.load(split.extra / "entries-TRAIN.npy", mmap_mode="r")
    old = rows.tolist()
    (split.root / "train/n01440764/n01440764_5.JPEG").touch()
    split.verify()
    split.publish()
    assert rows.tolist() == old
    assert len(np.load(split.extra / "entries-TRAIN.npy")) == len(old) + 1


def edit(split: Split) -> dict[str, bytes]:
    """Edit the dataset so that all arrays differ; return what was published before."""
    before = {path.name: path.read_bytes() for path in split.extra.glob("[!.]*")}
    make_tree(split.root, ["train/n01440764x/n01440764x_5.JPEG"], LABELS + "n01440764x,one more\n")
    split.verify()
    return before


class Killed(BaseException):
    """The process ends here: nothing of it runs any more."""


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("rename", range(4))
def test_a_kill_between_two_renames_is_undone_by_the_next_run(
    rename: int, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    split.publish()
    before = edit(split)
    real, renamed = os.replace, []

    def replace(source: str, target: str, **folders: int) -> None:
        if "receipt" not in target and target in ALL:
            if len(renamed) == rename:
                raise Killed
            renamed.append(target)
        real(source, target, **folders)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(replace_module, "_put_back", lambda *_: None)
    with pytest.raises(Killed):
        split.publish()
    monkeypatch.undo()
    assert is_torn(split.extra, "TRAIN") == bool(renamed)
    with lock_run(split.extra):
        assert {path.name: path.read_bytes() for path in split.extra.glob("[!.]*")} == before
        assert not is_torn(split.extra, "TRAIN")
        assert split.due()
        split.publish()
    assert digests(split.extra) == split.arrays()
    assert not split.due()
    assert os.listdir(folder_of(split.extra, "kept", upto="stamp")) == []


@pytest.mark.parametrize("call", ["fsync", "replace", "link", "unlink"])
def test_a_disk_that_refuses_anything_changes_nothing(
    call: str, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    split.publish()
    before = edit(split)
    real, refused = getattr(os, call), 0
    for at in range(1, 100):
        calls = iter(range(1, 1000))

        def refuse(*what: object, calls: Iterator = calls, at: int = at, **how: object) -> None:
            if next(calls) == at:
                raise OSError(5, "Input/output error")
            real(*what, **how)

        monkeypatch.setattr(os, call, refuse)
        try:
            split.publish()
        except OSError:
            refused += 1
            monkeypatch.undo()
            assert {path.name: path.read_bytes() for path in split.extra.glob("[!.]*")} == before
            assert split.due()
        else:
            break
    monkeypatch.undo()
    assert refused or call == "link"  # if links are not possible, the files are copied
    assert digests(split.extra) == split.arrays()
    assert not split.due()


def test_a_file_that_is_not_the_verified_one_is_not_published(split: Split) -> None:
    split.publish()
    before = digests(split.extra)
    (split.root / "train/n01440764/n01440764_5.JPEG").touch()
    split.verify()
    (split.work / "class-ids-TRAIN.npy").write_bytes(b"")
    (split.extra / "class-ids-TRAIN.npy").unlink()
    with pytest.raises(MetadataError, match="changed after it was verified"):
        split.publish()
    del before["class-ids-TRAIN.npy"]
    assert digests(split.extra) == before
    assert not list(split.extra.glob(".*.tmp"))


def test_labels_that_changed_since_they_were_read(split: Split) -> None:
    make_tree(split.root, [], LABELS.replace("tench", "Tinca"))
    with pytest.raises(MetadataError, match=r"labels.txt changed while this run was in progress"):
        split.publish()
    assert not list(split.extra.glob("[!.]*"))


def test_a_folder_in_the_place_of_a_file(split: Split) -> None:
    (split.extra / "entries-TRAIN.npy").mkdir(parents=True)
    with pytest.raises(MetadataError, match=r"entries-TRAIN.npy is a folder"):
        split.publish()
    assert [path.name for path in split.extra.glob("[!.]*")] == ["entries-TRAIN.npy"]


def test_receipts_do_not_pile_up(split: Split) -> None:
    for _ in range(3):
        split.publish()
        (split.extra / "entries-TRAIN.npy").unlink()
    assert len(list(existing(split.extra, "receipt"))) == 1


def test_an_upgrade_publishes_again(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    split.publish()
    monkeypatch.setattr(published_module, "of_code", lambda *_modules: "new")
    assert split.due()
    assert split.publish() == []
    assert not split.due()


def test_a_published_file_that_leads_to_itself_is_replaced(tree: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    dump_extra(tree, extra)
    before = digests(extra)
    for name in ("entries-TRAIN.npy", "metadata-TRAIN.json"):
        (extra / name).unlink()
        (extra / name).symlink_to(name)
        dump_extra(tree, extra)
        assert not (extra / name).is_symlink()
        assert digests(extra) == before
