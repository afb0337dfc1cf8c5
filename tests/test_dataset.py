"""ImageNetMetadata gives the same as ImageFolder, but reads only the metadata."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata import ImageNetMetadata, MetadataError, dump_extra
from dinov3_metadata.demo import make_demo
from dinov3_metadata.paths import work_folder
from helpers import make_tree
from PIL import Image

SPLITS = ["TRAIN", "VAL", "TEST"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dataset of images that decode, and its metadata; root and extra."""
    folder = tmp_path_factory.mktemp("数据 set")
    labels = folder / "labels.txt"
    labels.write_text("n01,tench\nn02,great white shark\nn03,cock\n")
    make_demo(folder / "root", labels, {"TRAIN": 8, "VAL": 3, "TEST": 5})
    dump_extra(folder / "root", folder / "extra", SPLITS)
    return folder / "root", folder / "extra"


@pytest.mark.needs("torchvision")
def test_what_image_folder_gives(demo) -> None:
    from torchvision.datasets import ImageFolder

    root, extra = demo
    for split in ("TRAIN", "VAL"):
        ours, theirs = ImageNetMetadata(root, extra, split), ImageFolder(root / split.lower())
        assert len(ours) == len(theirs)
        assert list(ours.samples) == list(ours.imgs) == theirs.samples
        assert ours.samples[-3:] == theirs.samples[-3:]
        assert (ours.classes, ours.class_to_idx) == (theirs.classes, theirs.class_to_idx)
        assert ours.targets.tolist() == theirs.targets
        for (image, target), (due, due_target) in zip(ours, theirs, strict=True):
            assert (image.tobytes(), target) == (due.tobytes(), due_target)
        assert type(ours[0][1]) is int


def test_classes_of_a_sample(demo) -> None:
    dataset = ImageNetMetadata(*demo)
    assert (dataset.get_class_id(-1), dataset.get_class_name(-1)) == ("n03", "cock")
    assert dataset.get_class_name(8) == dataset.class_names[1] == "great white shark"
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_test_has_images_alone(demo) -> None:
    dataset = ImageNetMetadata(*demo, "TEST", transform=lambda image: image.size)
    assert list(dataset) == [(96, 96)] * 5
    assert (dataset.targets, dataset.classes, dataset.class_to_idx) == (None, [], {})
    assert dataset.class_names == []
    assert dataset.get_target(0) is dataset.get_class_id(0) is dataset.get_class_name(0) is None
    assert isinstance(ImageNetMetadata(*demo, "TEST")[0], Image.Image)


def test_transforms_and_loader(demo) -> None:
    def loader(path: str) -> str:
        return os.path.basename(path)

    split = ImageNetMetadata(*demo, "VAL", str.lower, lambda target: -target, loader)
    assert split[-1] == ("ilsvrc2012_val_00000009.jpeg", -2)
    both = ImageNetMetadata(*demo, "VAL", loader=loader, transforms=lambda *pair: pair[::-1])
    assert both[0] == (0, "ILSVRC2012_val_00000001.JPEG")


@pytest.mark.needs("torchvision")
def test_transforms_that_are_set_later_count(demo) -> None:
    from torchvision.datasets import ImageFolder

    ours, theirs = ImageNetMetadata(*demo), ImageFolder(demo[0] / "train")
    for dataset in (ours, theirs):
        dataset.transform, dataset.target_transform = lambda image: image.size, str
    assert ours[3] == theirs[3] == ((96, 96), "0")
    test = ImageNetMetadata(*demo, "TEST", target_transform=str)
    assert test[0].size == (96, 96)
    assert ImageNetMetadata(*demo, "TEST", transforms=lambda one, none: (one.size, none))[0] == (
        96,
        96,
    )


def test_a_relative_extra_after_a_change_of_folder(demo, monkeypatch) -> None:
    monkeypatch.chdir(demo[1].parent)
    sent = pickle.dumps(ImageNetMetadata("root", "extra", "TEST"))
    monkeypatch.chdir("/")
    assert len(pickle.loads(sent).entries) == 5


@pytest.mark.needs("torchvision")
@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.long)])
def test_four_workers_give_the_sequence_of_image_folder(start: str, demo) -> None:
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    root, extra = demo
    to_tensor = v2.PILToTensor()
    loaders = [
        DataLoader(dataset, batch_size=4, num_workers=4, multiprocessing_context=start)
        for dataset in (
            ImageNetMetadata(root, extra, transform=to_tensor),
            ImageFolder(root / "train", to_tensor),
        )
    ]
    for ours, theirs in zip(*loaders, strict=True):
        assert all(map(np.array_equal, ours, theirs))


def test_arrays_are_mapped_read_only_and_stay_at_home(demo) -> None:
    dataset = ImageNetMetadata(*demo)
    assert dataset.targets.base is not None
    with pytest.raises(ValueError, match="read-only"):
        dataset.targets[0] = 1
    pickled = pickle.dumps(dataset)
    assert b"great white shark" not in pickled
    assert b"g\0\0\0r\0\0\0e\0\0\0a\0\0\0t" not in pickled
    assert list(pickle.loads(pickled).samples) == list(dataset.samples)


def test_a_view_opens_by_the_root_of_the_dataset(tmp_path: Path) -> None:
    for name in ("cat/b c.png", "dog/1.jpg"):
        path = tmp_path / "own/train" / name
        path.parent.mkdir(parents=True)
        Image.new("RGB", (len(name), 1)).save(path)
    chain = dump_extra(tmp_path / "own", tmp_path / "extra", ["TRAIN"])
    for root in (tmp_path / "own", f"{tmp_path}/own/", chain.root):
        dataset = ImageNetMetadata(root, tmp_path / "extra")
        assert [image.width for image, _ in dataset] == [len("cat/b c.png"), len("dog/1.jpg")]
    assert ImageNetMetadata(tmp_path / "own", tmp_path / "extra", check="stat")
    (tmp_path / "own/train/dog/2.jpg").touch()
    with pytest.raises(MetadataError, match=r"1 folder or file has (?s:.*)own/train/dog"):
        ImageNetMetadata(tmp_path / "own", tmp_path / "extra", check="stat")


def test_check_names_the_folders_that_changed(tree: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    dump_extra(tree, extra, SPLITS)
    for split in SPLITS:
        ImageNetMetadata(tree, extra, split, check="stat")
    make_tree(tree, ["train/n01440764/n01440764_2.JPEG", "train/n01443537/x.txt"])
    make_tree(tree, ["val/n02/ILSVRC2012_val_00000009.JPEG"])
    with pytest.raises(MetadataError, match="TRAIN: 2 folders and files have changed") as error:
        ImageNetMetadata(tree, extra, check="stat")
    assert f"{tree}/train/n01440764\n  {tree}/train/n01443537\n" in str(error.value)
    with pytest.raises(MetadataError, match=rf"VAL: 1 folder or file (?s:.*){tree}/val"):
        ImageNetMetadata(tree, extra, "VAL", check="stat")
    ImageNetMetadata(tree, extra)
    with pytest.raises(MetadataError, match="VAL has 1 class that TRAIN lacks"):
        dump_extra(tree, extra, ["TRAIN", "VAL"])  # both are scanned, and none is published
    for split, changed in (("TRAIN", 2), ("VAL", 1)):
        with pytest.raises(MetadataError, match=f"{split}: {changed} folder"):
            ImageNetMetadata(tree, extra, split, check="stat")
    shutil.rmtree(work_folder(extra))
    with pytest.raises(MetadataError, match="has no record of the dataset from which"):
        ImageNetMetadata(tree, extra, "VAL", check="stat")
    with pytest.raises(ValueError, match="'full', not 'stat'"):
        ImageNetMetadata(tree, extra, check="full")


def test_check_sees_other_labels_and_annotations(tmp_path: Path) -> None:
    files = [f"train/{one}/images/{one}_0.JPEG" for one in ("n01", "n02")]
    files += ["val/images/val_0.JPEG", "val/images/val_1.JPEG", "wnids.txt"]
    root = make_tree(tmp_path / "tiny", files, "n01,one\nn02,two\n")
    annotations, extra = root / "val/val_annotations.txt", tmp_path / "extra"
    rows = "val_0.JPEG\tn01\t0\nval_1.JPEG\tn02\t0\n"
    annotations.write_text(rows)
    dump_extra(root, extra)
    ImageNetMetadata(root, extra, "VAL", check="stat")
    annotations.write_text(rows.replace("n02", "n01"))
    with pytest.raises(MetadataError, match=rf"VAL: 1 folder or file (?s:.*){annotations}"):
        ImageNetMetadata(root, extra, "VAL", check="stat")
    (root / "labels.txt").write_text("n01,one\nn02,2\n")
    with pytest.raises(MetadataError, match=rf"TRAIN: 1 folder or file (?s:.*){root}/labels.txt"):
        ImageNetMetadata(root, extra, check="stat")


def test_what_is_not_there(demo, tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match="split is 'train', not one of TRAIN, VAL, TEST"):
        ImageNetMetadata(*demo, "train")
    with pytest.raises(MetadataError, match="There is no folder train/ in /nowhere"):
        ImageNetMetadata("/nowhere", demo[1])
    with pytest.raises(MetadataError, match=r"metadata-TRAIN.json cannot be read \(Not a direct"):
        ImageNetMetadata(demo[0], demo[1] / "metadata-TRAIN.json")
    (tmp_path / "metadata-TRAIN.json").write_bytes((demo[1] / "metadata-VAL.json").read_bytes())
    with pytest.raises(MetadataError, match=r"metadata-TRAIN.json describes VAL"):
        ImageNetMetadata(demo[0], tmp_path)


def test_a_damaged_number_is_seen_by_check(tree: Path, tmp_path: Path) -> None:
    dump_extra(tree, tmp_path)
    row = np.load(tmp_path / "entries-TRAIN.npy").itemsize
    with open(tmp_path / "entries-TRAIN.npy", "r+b") as file:
        file.seek(-row, os.SEEK_END)
        file.write(b"\7")
    ImageNetMetadata(tree, tmp_path)
    with pytest.raises(MetadataError, match="do not belong together"):
        ImageNetMetadata(tree, tmp_path, check="stat")


@pytest.mark.parametrize("damage", ["gone", "cut", "of another state", "other names", "pickled"])
@pytest.mark.parametrize("name", ["entries-TRAIN.npy", "class-names-TRAIN.npy"])
def test_files_that_do_not_belong_together(
    damage: str, name: str, tree: Path, tmp_path: Path
) -> None:
    extra = tmp_path / "extra"
    dump_extra(tree, extra)
    path = extra / name
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        os.truncate(path, path.stat().st_size - 4)
    elif damage == "other names":
        path.write_bytes(path.read_bytes().replace(b"t\0\0\0e\0\0\0n", b"T\0\0\0e\0\0\0n"))
    elif damage == "pickled":
        np.save(path, np.array([{}], object))
    else:
        make_tree(tree, ["train/n02/n02_1.JPEG"], (tree / "labels.txt").read_text() + "n02,x\n")
        dump_extra(tree, tmp_path / "other")
        path.write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(MetadataError, match=r"do not belong together: entries-TRAIN.npy, class"):
        ImageNetMetadata(tree, extra)
    assert path.exists() == (damage != "gone")


def test_missing_and_damaged_descriptions(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=r"metadata-TRAIN.json does not exist"):
        ImageNetMetadata(tree, tmp_path)
    for text, message in {
        "{}": "is incomplete or damaged",
        "{": "is incomplete or damaged",
        "[]": "is incomplete or damaged",
        '{"files": []}': "is incomplete or damaged",
    }.items():
        (tmp_path / "metadata-TRAIN.json").write_text(text)
        with pytest.raises(MetadataError, match=message):
            ImageNetMetadata(tree, tmp_path)


@pytest.mark.parametrize("lost", ["bytes", "sha256", None])
def test_a_description_that_does_not_describe_a_file(
    lost: str | None, tree: Path, tmp_path: Path
) -> None:
    dump_extra(tree, tmp_path)
    path = tmp_path / "metadata-TRAIN.json"
    about = json.loads(path.read_text())
    described = about["files"]["class-ids-TRAIN.npy"]
    for key in [lost] if lost else [*described]:
        del described[key]
    path.write_text(json.dumps(about))
    with pytest.raises(MetadataError, match=r"metadata-TRAIN.json is incomplete or damaged"):
        ImageNetMetadata(tree, tmp_path)


def test_metadata_that_is_replaced_meanwhile(tree: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    dump_extra(tree, extra)
    dataset = ImageNetMetadata(tree, extra)
    before, sent = list(dataset.samples), pickle.dumps(dataset)
    make_tree(tree, ["train/n01440764/n01440764_2.JPEG"])
    dump_extra(tree, extra)
    assert list(dataset.samples) == before
    with pytest.raises(MetadataError, match="was replaced since the dataset was opened"):
        pickle.loads(sent).samples[0]


def test_entries_that_become_shorter_before_the_first_access(tree: Path, tmp_path: Path) -> None:
    dump_extra(tree, tmp_path / "extra")
    dataset = pickle.loads(pickle.dumps(ImageNetMetadata(tree, tmp_path / "extra")))
    entries = tmp_path / "extra/entries-TRAIN.npy"
    entries.write_bytes(entries.read_bytes()[:200])
    with pytest.raises(MetadataError, match="was replaced since the dataset was opened"):
        dataset.get_path(0)


def test_the_package_is_imported_in_no_time() -> None:
    code = "import dinov3_metadata, sys; assert not {'numpy', 'torch'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("kind", ["PostScript", "FIFO", "device"])
def test_what_is_no_image_neither_starts_a_program_nor_hangs(
    kind: str, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump_extra(tree, tmp_path / "extra")
    ghostscript = tmp_path / "bin/gs"
    ghostscript.parent.mkdir()
    ghostscript.write_text(f"#!/bin/sh\ntouch '{tmp_path}/started'\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ghostscript.parent}:{os.environ['PATH']}")
    dataset = ImageNetMetadata(tree, tmp_path / "extra")
    path = Path(dataset.get_path(0))
    path.unlink()
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n")
    with pytest.raises(OSError, match=r"not a regular file|does not recognise it"):
        dataset[0]
    assert not (tmp_path / "started").exists()
