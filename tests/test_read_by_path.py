"""DINOv3's own ImageNet reads images by the table of their paths, in this and other processes."""

import os
import pickle
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from dinov3_metadata import MetadataError, dump_extra
from dinov3_metadata.dinov3 import MODULES, use_metadata_lengths
from dinov3_metadata.summary import dataset_path
from test_dinov3 import LAUNCH, STAND_IN, run

WORKERS = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from dinov3.data.datasets.image_net import parse

if __name__ == "__main__":
    dataset, how = parse(sys.argv[1]), multiprocessing.get_context(sys.argv[2])
    {before}
    with ProcessPoolExecutor(2, how) as pool:
        print(*(one.decode() for one in pool.map(dataset.get_image_data, range(len(dataset)))))
"""


def make_images(root: Path, names: list[str]) -> Path:
    """Make files that contain their own path."""
    for name in names:
        path = root / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"train/{name}".replace(" ", "_"))
    return root


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A folder with a stand-in for DINOv3's package."""
    folder = tmp_path / "code/dinov3/data/datasets"
    folder.mkdir(parents=True)
    for path in (folder, folder.parent, folder.parent.parent):
        (path / "__init__.py").touch()
    (folder / "image_net.py").write_text(STAND_IN)
    return tmp_path


@pytest.fixture
def dinov3(code: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of the stand-in, patched in this process."""
    monkeypatch.syspath_prepend(str(code / "code"))
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    known = {name for name in sys.modules if name.startswith("dinov3.") or name == "dinov3"}
    assert not known
    use_metadata_lengths()
    yield import_module(MODULES[0])
    for name in [name for name in sys.modules if name.partition(".")[0] == "dinov3"]:
        del sys.modules[name]


CATS = ["great cat/IMG 2.jpg", "great cat/a b/IMG 10.png", "狗/x.webp"]


@pytest.mark.parametrize("how", ["fork", "spawn"])
@pytest.mark.parametrize("launched", [True, False])
def test_workers_read_the_images_of_a_folder_with_any_name(
    code: Path, how: str, launched: bool
) -> None:
    root = make_images(code / "数据: a=b", CATS)
    extra = code / "extra = x"
    dump_extra(root, extra, ["TRAIN"], view="none")
    script = code / "script.py"
    alone = "from dinov3_metadata.dinov3 import use_metadata_lengths; use_metadata_lengths()"
    script.write_text((f"{alone}\n" if not launched else "") + WORKERS.format(before="pass"))
    name = dataset_path("TRAIN", root, extra)
    assert name.count(":") == name.count("=") == 3
    command = [*LAUNCH] if launched else []
    done = run(code, *command, sys.executable, str(script), name, how)
    images = [f"train/{one}".replace(" ", "_") for one in CATS]
    assert done.stdout.split() == [images[1], images[0], images[2]], done.stderr


def open_one(dinov3: ModuleType, root: Path, extra: Path) -> Any:
    return dinov3.ImageNet(split=dinov3.ImageNet.Split.TRAIN, root=str(root), extra=str(extra))


def test_two_datasets_of_a_split_read_their_own_images(dinov3: ModuleType, tmp_path: Path) -> None:
    roots = [make_images(tmp_path / name, CATS[i:]) for i, name in enumerate(("one", "other"))]
    linked = make_images(tmp_path / "linked", CATS)
    dump_extra(linked, tmp_path / "linked-extra", ["TRAIN"])
    datasets = [open_one(dinov3, tmp_path / "linked-extra/view", tmp_path / "linked-extra")]
    for i, root in enumerate(roots):
        dump_extra(root, tmp_path / f"extra{i}", ["TRAIN"], view="none")
        datasets.append(open_one(dinov3, root, tmp_path / f"extra{i}"))
    assert [*map(len, datasets)] == [3, 3, 2]
    read = [[one.get_image_data(i) for i in range(len(one))] for one in datasets]
    assert read[0] == read[1]
    assert [one.decode() for one in read[2]] == [
        "train/great_cat/a_b/IMG_10.png",
        "train/狗/x.webp",
    ]
    assert datasets[0].split.get_image_relpath(7, "cat") == "train/cat/cat_7.JPEG"


def test_a_training_goes_on_with_the_table_that_it_has_mapped(
    dinov3: ModuleType, tmp_path: Path
) -> None:
    root, extra = make_images(tmp_path / "set", CATS), tmp_path / "extra"
    dump_extra(root, extra, ["TRAIN"], view="none")
    dataset = open_one(dinov3, root, extra)
    before = [dataset.get_image_data(i) for i in range(len(dataset))]
    pickled = pickle.dumps(dataset)
    assert pickle.loads(pickled).get_image_data(0) == before[0]
    make_images(root, ["great cat/IMG 1.jpg", "ape/0.jpg"])
    dump_extra(root, extra, ["TRAIN"], view="none")
    assert [dataset.get_image_data(i) for i in range(len(dataset))] == before
    with pytest.raises(MetadataError, match="was replaced since the dataset was opened"):
        pickle.loads(pickled).get_image_data(0)
    assert len(open_one(dinov3, root, extra)) == 5


def test_rows_that_were_mapped_before_another_publication_are_refused(
    dinov3: ModuleType, tmp_path: Path
) -> None:
    root, extra = make_images(tmp_path / "set", CATS), tmp_path / "extra"
    dump_extra(root, extra, ["TRAIN"], view="none")
    same, other = open_one(dinov3, root, extra), open_one(dinov3, root, extra)
    rows = [np.array(one._get_entries()) for one in (same, other)]
    assert same.get_image_data(0) == b"train/great_cat/a_b/IMG_10.png"
    assert np.array_equal(rows[0], same._get_entries())
    (root / "train" / CATS[2]).rename(root / "train/狗/9.jpg")
    dump_extra(root, extra, ["TRAIN"], view="none")
    with pytest.raises(MetadataError, match="was replaced since the dataset was opened"):
        other.get_image_data(0)


def test_a_table_that_is_gone_is_named(dinov3: ModuleType, tmp_path: Path) -> None:
    root, extra = make_images(tmp_path / "set", CATS), tmp_path / "extra"
    dump_extra(root, extra, ["TRAIN"], view="none")
    os.truncate(extra / "paths-TRAIN.npy", 150)
    with pytest.raises(MetadataError, match=r"paths-TRAIN\.npy is missing or damaged"):
        len(open_one(dinov3, root, extra))
