"""Images are read from their tars by ImageNetMetadata, and nothing else is taken for one."""

import gzip
import os
import pickle
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata import ImageNetMetadata, MetadataError, dump_extra, tar_images
from helpers import make_tree
from PIL import Image
from tarring import image, write_tar

LONG = f"{'long ' * 20}/{'x' * 20}.JPEG"
ITEMS = [(1, 0), (2, 1), (3, 1), (4, 2), (1, 2)]
"""The width and the class_index of each image in ``make_place``."""

KINDS = {"gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT, "ustar": tarfile.USTAR_FORMAT}


def picture(width: int) -> bytes:
    """A JPEG as wide as said, by which it is recognised."""
    file = BytesIO()
    Image.new("RGB", (width, 2)).save(file, "JPEG")
    return file.getvalue()


PICTURES = {name: picture(i + 1) for i, name in enumerate(["n1_1.JPEG", "猫 1.JPEG", LONG, "gz"])}
"""The last one is compressed by gzip in its tar."""


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    """Tars of pictures, and their metadata; root and extra."""
    return make_place(tmp_path, "gnu")


def make_place(folder: Path, kind: str) -> tuple[Path, Path]:
    root, extra, how = folder / "数据: set", folder / "extra", KINDS[kind]
    first, cat, long, packed = PICTURES.items()
    write_tar(root / "n1.tar", [first, ("n1/", b"")], how)
    write_tar(root / "n2.tar", [("._x.JPEG", b""), cat, long], how)
    write_tar(root / "n3.tar", [("n3_1.JPEG", gzip.compress(packed[1])), first], how)
    dump_extra(root, extra)
    return root, extra


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_of_each_image(kind: str, tmp_path: Path) -> None:
    dataset, names = ImageNetMetadata(*make_place(tmp_path, kind)), [*PICTURES]
    expected = [PICTURES[names[i]] for i in (0, 1, 2, 3, 0)]
    assert [dataset.get_image_data(i) for i in range(len(dataset))] == expected


def test_what_image_folder_gives(place: tuple[Path, Path]) -> None:
    dataset = ImageNetMetadata(*place)
    assert [(one.width, target) for one, target in dataset] == ITEMS
    assert isinstance(dataset.targets, np.ndarray)
    assert dataset.targets.tolist() == [0, 1, 1, 2, 2]
    assert (dataset.classes, dataset.class_names) == (["n1", "n2", "n3"], [])
    assert (dataset.get_class_id(3), dataset.get_class_name(3)) == ("n3", None)
    assert dataset.samples[2] == (f"{place[0]}/n2.tar/{LONG}", 1)
    assert (dataset.split, len(dataset.digest)) == ("TARS", 64)
    assert b"n1_1" not in pickle.dumps(dataset)
    widths = ImageNetMetadata(*place, transform=lambda one: one.width, target_transform=str)
    assert pickle.loads(pickle.dumps(dataset))[4][0].width == widths[4][0] == 1
    assert widths[-2] == (4, "2")


@pytest.mark.needs("torchvision")
def test_two_workers_share_the_arrays_and_keep_no_tar_open(place: tuple[Path, Path]) -> None:
    from torch.utils.data import DataLoader
    from torchvision.transforms import v2

    dataset = ImageNetMetadata(*place, transform=v2.PILToTensor())
    loader = DataLoader(dataset, None, num_workers=2)
    assert [(one.shape[2], target) for one, target in loader] == ITEMS
    assert [*dataset][4][1] == 2
    held = {os.path.realpath(f"/proc/self/fd/{one}") for one in os.listdir("/proc/self/fd")}
    assert not [one for one in held if one.endswith(".tar")]


def test_which_of_two_datasets_in_one_folder(place: tuple[Path, Path]) -> None:
    root, extra = place
    dump_extra(make_tree(root.with_name("tree")), extra, ["TRAIN"])
    assert ImageNetMetadata(root.with_name("tree"), extra).split == "TRAIN"
    dataset = ImageNetMetadata(root, extra, "TARS", check="stat")
    assert len(dataset) == 5
    train = ImageNetMetadata(root.with_name("tree"), extra)
    Path(train.get_path(0)).write_bytes(b"its bytes")
    assert train.get_image_data(0) == b"its bytes"
    with pytest.raises(MetadataError, match=r"metadata-VAL.json does not exist"):
        ImageNetMetadata(root, extra, "VAL")


def test_another_part_of_tars_is_refused(place: tuple[Path, Path]) -> None:
    assert len(ImageNetMetadata(*place, select={})) == 5
    for part in ({"select": {"classes": ["n1"]}}, {"select": {"fraction": 0.5}}, {"holdout": 0.5}):
        with pytest.raises(MetadataError, match=r"TARS in .* was made of another part of the"):
            ImageNetMetadata(*place, **part)


def longer(tar: Path) -> None:
    write_tar(tar, [("n1_1.JPEG", image(5000))])


def another(tar: Path) -> None:
    write_tar(tar, [("n1_2.JPEG", picture(1))])


def empty(tar: Path) -> None:
    tar.write_bytes(b"")


def shifted(tar: Path) -> None:
    write_tar(tar, [("n1_0.JPEG", image(100)), ("n1_1.JPEG", picture(1))])


@pytest.mark.parametrize("edit", [longer, another, empty, shifted])
def test_a_tar_that_was_replaced_is_named(
    edit: Callable[[Path], None], place: tuple[Path, Path]
) -> None:
    root, extra = place
    dataset = ImageNetMetadata(root, extra)
    dataset.get_image_data(0)
    edit(root / "n1.tar")
    with pytest.raises(MetadataError, match=r"n1\.tar: n1_1\.JPEG is not at byte 0, so the tar"):
        dataset[0]
    assert dataset[1][0].width == 2
    with pytest.raises(MetadataError, match=r"1 folder or file has (?s:.*)n1\.tar"):
        ImageNetMetadata(root, extra, check="stat")


def test_what_cannot_be_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, extra, good = tmp_path / "root", tmp_path / "extra", gzip.compress(b"x" * 5000)
    write_tar(root / "n1.tar", [("1.JPEG", good[:-9]), ("2.JPEG", good[:9] + b"??" + good[11:])])
    write_tar(root / "n2.tar", [("1.JPEG", good)])
    dump_extra(root, extra)
    dataset = ImageNetMetadata(root, extra)
    for index in (0, 1):
        with pytest.raises(OSError, match=rf"n1.tar: {index + 1}.JPEG cannot be unpacked: "):
            dataset.get_image_data(index)
    assert dataset.get_image_data(2) == b"x" * 5000
    monkeypatch.setattr(tar_images, "LARGEST", 4999)
    with pytest.raises(OSError, match="has more than 4,999 bytes when it is unpacked"):
        dataset.get_image_data(2)


@pytest.mark.parametrize("damage", ["gone", "cut", "other names", "another dtype", "pickled"])
def test_entries_that_do_not_belong_to_the_rest(damage: str, place: tuple[Path, Path]) -> None:
    path = place[1] / "entries.npy"
    rows = np.load(path)
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        os.truncate(path, path.stat().st_size - 4)
    elif damage == "other names":
        rows["class_id"] = "n1"
        np.save(path, rows)
    elif damage == "another dtype":
        np.save(path, rows["class_id"])
    else:
        np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(MetadataError, match=r"do not belong together: entries.npy, class-ids.npy"):
        ImageNetMetadata(*place)
