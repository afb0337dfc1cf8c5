import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata import look
from dinov3_metadata.addresses import image_path
from dinov3_metadata.artefacts import Scan
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.stages.scan import scan_images
from helpers import make_tree
from hypothesis import given, settings
from hypothesis import strategies as st

ENGINES = ["scandir", "torchvision"]


def scan(root: Path, split: str = "TRAIN", **options) -> Scan:
    return scan_images(root, split, **options)[0]


def same(one: Scan, other: Scan) -> bool:
    return all(map(np.array_equal, vars(one).values(), vars(other).values()))


def test_classes_images_and_order(tree: Path) -> None:
    found = scan(tree, "TRAIN")
    assert found.class_ids.tolist() == ["n01440764", "n01443537", "n01484850"]
    assert found.counts.tolist() == [2, 1, 1]
    assert found.actual_index.tolist() == [10026, 9, 177134, 1]  # sorted as text
    assert found.actual_index.dtype == "<u4"
    assert found.class_index().tolist() == [0, 0, 1, 2]
    assert found.class_index(1, 3).tolist() == [0, 1]


def test_test_is_flat_and_ascending(tmp_path: Path) -> None:
    names = [f"test/ILSVRC2012_test_{i:08d}.JPEG" for i in (7, 100_000_000, 99_999_999, 0)]
    root = make_tree(tmp_path, [*names, "test/readme.txt", "test/empty/"])
    assert scan(root, "TEST").actual_index.tolist() == [0, 7, 99_999_999, 100_000_000]


def test_saved_scans_come_back(tree: Path, tmp_path: Path) -> None:
    found = scan(tree, "VAL")
    found.save(tmp_path / "scan.npz")
    assert same(Scan.load(tmp_path / "scan.npz"), found)


@pytest.mark.needs("torchvision")
def test_links_to_files_and_folders_are_followed(tree: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "n09_5.JPEG").touch()
    (tree / "train/n09").symlink_to(elsewhere)
    (tree / "train/n01440764/n01440764_3.JPEG").symlink_to(elsewhere / "n09_5.JPEG")
    found = scan(tree, "TRAIN")
    assert same(found, scan(tree, "TRAIN", engine="torchvision"))
    assert found.counts.tolist() == [3, 1, 1, 1]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("link", "target"),
    [("n01440764/again", ".."), ("n01440764/here", "."), ("loop", "loop"), ("all", ".")],
)
def test_a_link_loop_is_refused(link: str, target: str, engine: str, tree: Path) -> None:
    (tree / "train" / link).symlink_to(target)
    with pytest.raises(MetadataError, match=rf"train/{link} is a symbolic link loop"):
        scan(tree, engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_link_to_itself_among_the_images_is_no_image(engine: str, tree: Path) -> None:
    (tree / "train/n01440764/self").symlink_to("self")
    assert same(scan(tree), scan(tree, engine=engine))


def test_a_folder_below_a_class_is_visited(tree: Path) -> None:
    make_tree(tree, ["train/n01440764/notes/deep/a.txt"])
    assert scan(tree).folders.tolist() == [
        "",
        "n01440764",
        "n01440764/notes",
        "n01440764/notes/deep",
        "n01443537",
        "n01484850",
    ]


NAMES = st.text("n0_aZ ä鱥.", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))
OTHERS = ["README.txt", ".DS_Store", "x.jpeg.txt", "boxes/", "JPEG", "deep/er/notes.txt"]


@pytest.mark.needs("torchvision")
@given(
    classes=st.dictionaries(
        NAMES,
        st.tuples(
            st.sets(st.integers(0, 2**32 - 1), min_size=1, max_size=5),
            st.sets(st.sampled_from(OTHERS)),
        ),
        min_size=1,
        max_size=6,
    ),
    split=st.sampled_from(["TRAIN", "VAL"]),
)
@settings(
    max_examples=150,
)
def test_invented_trees_are_scanned_as_image_folder_does(classes, split, tmp_path_factory) -> None:
    from torchvision.datasets import ImageFolder

    files = [
        name
        for class_id, (numbers, others) in classes.items()
        for name in (
            *(image_path(split, class_id, number) for number in numbers),
            *(f"{split.lower()}/{class_id}/{other}" for other in others),
        )
    ]
    root = make_tree(tmp_path_factory.mktemp("root"), files)
    dataset = ImageFolder(root / split.lower())
    found = scan(root, split)
    assert found.class_ids.tolist() == dataset.classes
    assert found.class_index().tolist() == dataset.targets
    rebuilt = [
        str(root / image_path(split, dataset.classes[c], n))
        for c, n in zip(found.class_index(), found.actual_index.tolist(), strict=True)
    ]
    assert rebuilt == [path for path, _ in dataset.samples]
    assert same(found, scan(root, split, engine="torchvision"))


UNADDRESSABLE = {
    "n01440764_1.jpg": "DINOv3 would open n01440764/n01440764_1.JPEG)",
    "n01440764_9.png": "DINOv3 would open n01440764/n01440764_9.JPEG, another image)",
    "n01440764_0001.JPEG": "DINOv3 would open n01440764/n01440764_1.JPEG)",
    "photo_3.JPEG": "DINOv3 would open n01440764/n01440764_3.JPEG)",
    "n01440764_3.jpeg": "DINOv3 would open n01440764/n01440764_3.JPEG)",
    "photo.JPEG": "no number before the suffix)",
    ".JPEG": "no number before the suffix)",
    "n01440764_4294967296.JPEG": "its number is above 4294967295)",
    "n01440764_-5.JPEG": "its number is below 0)",
    "n01440764_٣.JPEG": "DINOv3 would open n01440764/n01440764_3.JPEG)",
    "images/n01440764_5.JPEG": "DINOv3 would open n01440764/n01440764_5.JPEG)",
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", UNADDRESSABLE)
def test_an_image_that_is_not_addressable_is_refused(name: str, engine: str, tree: Path) -> None:
    make_tree(tree, [f"train/n01440764/{name}"])
    with pytest.raises(MetadataError) as refusal:
        scan(tree, "TRAIN", engine=engine)
    message = str(refusal.value)
    assert f"n01440764/{name} ({UNADDRESSABLE[name]}" in message
    assert f"1 image in {tree / 'train'}" in message
    assert "unaddressable: skip" in message


@pytest.mark.parametrize("engine", ENGINES)
def test_images_that_are_not_addressable_can_be_skipped(engine: str, tree: Path) -> None:
    clean = scan(tree, "TRAIN")
    make_tree(tree, [f"train/n01440764/{name}" for name in UNADDRESSABLE])
    found = scan(tree, "TRAIN", engine=engine, unaddressable="skip")
    assert found.skipped.sum() == len(UNADDRESSABLE)
    assert found.actual_index.tolist() == clean.actual_index.tolist()


def make_special(path: Path, kind: str) -> None:
    """Put a special file, or a link to one, at a path."""
    match kind:
        case "a FIFO":
            os.mkfifo(path)
        case "a socket":
            with socket.socket(socket.AF_UNIX) as one, working_in(path.parent):
                one.bind(path.name)
        case "a device":
            path.symlink_to("/dev/null")
        case "link to a FIFO":
            os.mkfifo(path.parent.parent.parent / "fifo")
            path.symlink_to("../../fifo")


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Work in a folder, whose path may be too long for a socket."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


SPECIAL = ["a FIFO", "a socket", "a device", "link to a FIFO"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", SPECIAL)
def test_a_special_file_is_no_image(kind: str, engine: str, tree: Path) -> None:
    """A training that opened a FIFO would hang; ImageFolder looks at names alone."""
    clean = scan(tree)
    make_special(tree / "train/n01440764/n01440764_5.JPEG", kind)
    reason = kind.removeprefix("link to ")
    with pytest.raises(MetadataError, match=rf"n01440764/n01440764_5.JPEG \({reason}, not a file"):
        scan(tree, engine=engine)
    found = scan(tree, engine=engine, unaddressable="skip")
    assert found.skipped.tolist() == [0, 1, 0, 0]
    assert found.actual_index.tolist() == clean.actual_index.tolist()


def test_a_special_file_in_test_is_no_image(tree: Path) -> None:
    os.mkfifo(tree / "test/ILSVRC2012_test_00000005.JPEG")
    os.mkfifo(tree / "test/notes.txt")
    with pytest.raises(MetadataError, match=r"1 image in .*\n  ILSVRC\S* \(a FIFO, not a file\)"):
        scan(tree, "TEST")
    assert scan(tree, "TEST", unaddressable="skip").skipped.tolist() == [1]


GONE = {
    "nowhere": "a dangling link to nowhere",
    "../labels.txt/x": "a dangling link to ../labels.txt/x",
    "n01440764_9.JPEG/x": "a dangling link to n01440764_9.JPEG/x",
    "n01440764_5.JPEG": "a link loop",
    "gone/.git/annex/objects/x/y/KEY/KEY": "a dangling link to gone/.git/annex/objects/x/y/KEY/KEY;"
    " run `git annex get`",
    "between": "a link to ROOT/train/n01440764/between, which is a dangling link to nowhere/at/all",
}
"""Target of a link -> what the link is called."""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("target", GONE)
def test_a_link_that_leads_to_nothing_is_no_image(target: str, engine: str, tree: Path) -> None:
    clean = scan(tree)
    (tree / "train/n01440764/n01440764_5.JPEG").symlink_to(target)
    if target == "between":
        (tree / "train/n01440764/between").symlink_to("nowhere/at/all")
    with pytest.raises(MetadataError) as refusal:
        scan(tree, engine=engine)
    why = GONE[target].replace("ROOT", str(tree))
    assert f"\n  n01440764/n01440764_5.JPEG ({why})\n" in str(refusal.value)
    found = scan(tree, engine=engine, unaddressable="skip")
    assert found.skipped.sum() == 1
    assert found.actual_index.tolist() == clean.actual_index.tolist()


def test_links_to_nothing_in_a_folder_below_a_class_and_in_test(tree: Path) -> None:
    make_tree(tree, ["train/n01440764/deep/"])
    for name in ("train/n01440764/deep/a.jpg", "test/ILSVRC2012_test_00000005.JPEG"):
        (tree / name).symlink_to("/nowhere/a.jpg")
    with pytest.raises(MetadataError, match=r"deep/a.jpg \(a dangling link to /nowhere/a.jpg\)"):
        scan(tree)
    with pytest.raises(MetadataError, match=r"00000005.JPEG \(a dangling link to /nowhere/a.jpg\)"):
        scan(tree, "TEST")


@pytest.mark.needs("torchvision")
def test_links_to_nothing_beside_the_classes_are_ignored(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tree / "train/a.jpg").symlink_to("nowhere")
    assert same(scan(tree), scan(tree, engine="torchvision"))
    assert "1 image (for instance a.jpg)" in caplog.text
    (tree / "train/b.jpg").symlink_to("b.jpg")  # ImageFolder fails at it
    with pytest.raises(MetadataError, match=r"train/b.jpg is a symbolic link loop"):
        scan(tree)


def test_refused_names_of_val_and_test(tree: Path) -> None:
    make_tree(tree, ["val/n01440764/val_0.JPEG", "test/test_1.JPEG", "test/images/a_1.JPEG"])
    with pytest.raises(MetadataError, match=r"val_0.JPEG \(DINOv3 would open n01440764/ILSVRC"):
        scan(tree, "VAL")
    with pytest.raises(MetadataError, match=r"2 images(?s:.)*another image(?s:.)*images/a_1.JPEG"):
        scan(tree, "TEST")


def test_the_first_ten_offenders_are_shown_and_all_are_counted(tree: Path) -> None:
    make_tree(tree, [f"train/n01443537/{i:02d}.png" for i in range(25)])
    with pytest.raises(MetadataError, match=r"25 images(?s:.)*09.png(?s:.)*and 15 more") as refusal:
        scan(tree, "TRAIN")
    assert "10.png" not in str(refusal.value)


@pytest.mark.parametrize("engine", ENGINES)
def test_class_folders_without_images_are_refused(engine: str, tree: Path) -> None:
    make_tree(tree, ["train/.ipynb_checkpoints/", "train/n02/readme.txt"])
    with pytest.raises(MetadataError, match=r"2 class folders(?s:.)*.ipynb_checkpoints\n  n02"):
        scan(tree, "TRAIN", engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("files", "split", "message"),
    [
        ([], "TRAIN", r"TRAIN split folder .*train does not exist"),
        (["train"], "TRAIN", r"TRAIN split folder .*train is not a folder"),
        (["train/"], "TRAIN", r"train is empty"),
        (["train/readme.txt"], "TRAIN", r"train is empty"),
        (
            [f"val/ILSVRC2012_val_0000000{i}.JPEG" for i in range(3)],
            "VAL",
            r"flat: 3 images .*Sort the images",
        ),
        (["test/"], "TEST", r"TEST split folder .*test contains no images"),
    ],
)
def test_split_folders_that_are_missing_empty_or_flat(
    files: list[str], split: str, message: str, engine: str, tmp_path: Path
) -> None:
    with pytest.raises(MetadataError, match=message):
        scan(make_tree(tmp_path / "root", [*files, "x/"]), split, engine=engine)


def test_threads_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [f"train/c{i}/c{i}_{j}.JPEG" for i in range(40) for j in range(i + 1)]
    root = make_tree(tmp_path, [*files, "train/c7/deep/er/notes.txt", "train/c8/bad_1.JPEG"])
    one, states, _ = scan_images(root, "TRAIN", unaddressable="skip", threads=1)
    monkeypatch.setattr(look, "PAYS", 1)  # ns; so that all threads are worthwhile on a local disk
    many, again, _ = scan_images(root, "TRAIN", unaddressable="skip", threads=16)
    assert same(one, many)
    assert states == again


def test_progress_and_counts_are_logged(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("", "dinov3_metadata.progress"):  # a command of another test may have set this
        caplog.set_level("DEBUG", name)
    make_tree(tree, ["train/stray.JPEG"])
    scan(tree, "TRAIN")
    said = [record.getMessage() for record in caplog.records]
    for percent in (33, 100):
        pattern = rf"scan TRAIN: {percent} %, [\d,]+ a second, 0:00:\d\d left"
        assert any(re.fullmatch(pattern, one) for one in said)
    assert f"listed {tree / 'train/n01440764'}: 2 images" in said
    assert f"{tree / 'train'}: 4 images in 3 classes; 4 of 4 folders listed" in said
    assert any(
        text.endswith(f"in {tree / 'train'}: 1 image (for instance stray.JPEG)") for text in said
    )
