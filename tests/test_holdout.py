"""Holdout: where a dataset has no VAL of its own, names decide which images of TRAIN are VAL."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dinov3_metadata import ImageNetMetadata
from dinov3_metadata.addresses import LABELLED, image_path
from dinov3_metadata.checks.check import check
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.formats import read_description
from dinov3_metadata.holdout import Holdout
from dinov3_metadata.layouts import part_of
from dinov3_metadata.loop import known_settings, make_command
from dinov3_metadata.present import Chain
from dinov3_metadata.run import dump_extra
from dinov3_metadata.settings import Settings
from dinov3_metadata.stages import publish, sides
from dinov3_metadata.stages.view import View
from dinov3_metadata.summary import summarise
from helpers import check_held_out, digests, file_states, held_out, is_held_out, make_tree

SHARE = 0.25
CLASSES = ("great cat", "owl", "狗")
PHOTOS = [f"train/{one}/IMG {number}.jpg" for one in CLASSES for number in range(40)]
WNIDS = ("n01440764", "n01443537")
NAMED = [f"train/{one}/{one}_{number}.JPEG" for one in WNIDS for number in range(3, 300, 7)]


class Dataset:
    """A dataset without labels.txt, and what its metadata says."""

    def __init__(self, folder: Path, files: Iterable[str] = PHOTOS, **settings: object) -> None:
        self.root, self.extra = make_tree(folder / "数据 set", files), folder / "ex tra"
        (self.root / "labels.txt").unlink()
        self.settings = {"holdout": SHARE, "labels": "folders", **settings}
        self.run()

    def run(self, **settings: object) -> Chain:
        self.settings |= settings
        self.chain = dump_extra(self.root, self.extra, threads=1, **self.settings)
        return self.chain

    def images(self, split: str) -> set[str]:
        """The images behind the rows, by their paths below root."""
        rows = np.load(self.extra / f"entries-{split}.npy").tolist()
        links = [f"{self.chain.root}/{image_path(split, row[2], row[0])}" for row in rows]
        assert all(map(os.path.isfile, links))
        return {os.path.relpath(os.path.realpath(link), self.root) for link in links}

    def both(self) -> dict[str, set[str]]:
        return {split: self.images(split) for split in LABELLED}

    def expected(self, seed: int = 0) -> dict[str, set[str]]:
        return held_out(self.root, self.settings["holdout"], seed)


def test_the_rule_is_a_hash_of_seed_class_and_name() -> None:
    names = [f"狗 {number}.jpg" for number in range(2000)]
    for share, seed in ((0.05, 0), (0.5, 7), (1e-9, 0), (1 - 1e-9, 0)):
        taken = Holdout(share, seed).taken("猫", names)
        assert taken == [name for name in names if is_held_out("猫", name, share, seed)]
        assert abs(len(taken) - 2000 * share) < 100
    some = {share: {*Holdout(share, 0).taken("猫", names)} for share in (0.05, 0.1, 0.5)}
    assert some[0.05] < some[0.1] < some[0.5]
    assert (
        {*Holdout(0.5, 1).taken("猫", names)} != some[0.5] != {*Holdout(0.5, 0).taken("狗", names)}
    )


def test_a_name_that_is_not_utf8_is_hashed_as_it_is_on_the_disk() -> None:
    names = [os.fsdecode(b"\xb9\xb7 %d.jpg" % number) for number in range(50)]
    found = Holdout(0.5, 0).taken("cat", names)
    due = [
        name
        for name in names
        if hashlib.sha256(b"0/cat/" + os.fsencode(name)).digest()[:8] < b"\x80" + bytes(7)
    ]
    assert found == due != []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "config: holdout: 0 is not above 0."),
        (1, "config: holdout: 1 is not below 1."),
        (5, "config: holdout: 5 is not below 1."),
        (float("nan"), "config: holdout: nan is not a number."),
        ("5%", "config: holdout: '5%' is not a number."),
        (True, "config: holdout: True is not a number."),
    ],
)
def test_a_share_is_between_0_and_1(value: object, said: str) -> None:
    with pytest.raises(MetadataError) as error:
        Settings("/root", "/extra", holdout=value)
    assert str(error.value) == said


LAYOUTS = {
    "folder": (PHOTOS, {}),
    "nested": ([one.replace("IMG", "a b/IMG") for one in PHOTOS], {}),
    "imagenet": (NAMED, {}),
    "imagenet as folder": (NAMED, {"layout": "folder"}),
    "another name": ([one.replace("train/", "Training/") for one in PHOTOS], {}),
    "named as DINOv3 does, elsewhere": ([one.replace("train/", "my/x/") for one in NAMED],
        {"folders": {"TRAIN": "my/x"}}),
    "two folders": ([*PHOTOS, *(f"more/{one}/new {i}.png" for one in CLASSES for i in range(9))],
        {"folders": {"TRAIN": ["train", "more"]}}),
    "flat in root": ([f"{i}.jpg" for i in range(40)] + ["deep/41.jpg", "test/1.jpg"], {}),
    "flat in train": ([f"train/{i}.jpg" for i in range(40)], {}),
    "beside test": ([*PHOTOS, "test/1.jpg"], {"splits": ["TRAIN", "VAL", "TEST"]}),
}  # fmt: skip


@pytest.mark.needs("torchvision")
@pytest.mark.parametrize("case", LAYOUTS)
def test_each_layout(case: str, tmp_path: Path) -> None:
    files, settings = LAYOUTS[case]
    made = Dataset(tmp_path, files, level="full", **settings)
    due: dict[str, set[str]] = {"TRAIN": set(), "VAL": set()}
    for file in files:
        above, name = os.path.split(file)
        parts = [part for part in above.split("/") if part not in ("a b", "my", "x")]
        class_id = parts[1] if len(parts) > 1 else parts[0] if parts == ["train"] else "数据 set"
        class_id = class_id if case != "named as DINOv3 does, elsewhere" else parts[0]
        if not file.startswith("test/"):
            due["VAL" if is_held_out(class_id, name, SHARE) else "TRAIN"].add(file)
    assert made.both() == due
    assert all(due.values())
    for split in LABELLED:
        about = read_description(made.extra, split)
        assert about.holdout == Holdout(SHARE, 0)
        assert about.notes[0].startswith("VAL is about 25 % of the images in ")
        assert about.notes[0].endswith(" (`holdout`, seed 0), and TRAIN is the rest.")
        if case == "flat in root":
            assert about.notes[1:] == [f"{split} is made without test/, which is of other splits."]
    assert summarise(made.chain).count("VAL is about") == 1
    before = file_states(made.extra.glob("*"))
    known = known_settings(str(made.root), str(made.extra))
    assert known.pop("root") == str(made.root)
    made.run(**known)
    assert file_states(made.extra.glob("*")) == before


@pytest.mark.needs("torchvision")
def test_all_others_take_it_as_any_view(tmp_path: Path) -> None:
    made = Dataset(tmp_path)
    result = check(made.root, made.extra)
    assert result.ok, result
    assert "VAL is held out of TRAIN (`holdout: 0.25`, seed 0)" in str(result)
    for split in LABELLED:
        dataset = ImageNetMetadata(made.root, made.extra, split=split, check="stat")
        assert len(dataset) == len(made.expected()[split])
    command = make_command(str(made.extra), known_settings(str(made.root), str(made.extra)))
    assert "--holdout 0.25" in command
    assert "--folders" not in command
    make_tree(made.root, ["train/owl/new.jpg"])
    assert not check(made.root, made.extra).ok


@pytest.mark.parametrize("files", [NAMED, PHOTOS])
def test_the_arrays_are_those_of_a_reduced_copy(files: list[str], tmp_path: Path) -> None:
    made = Dataset(tmp_path, files)
    check_held_out(made.root, made.extra, SHARE, tmp_path / "reference")


def test_a_thousand_images_move_no_other(tmp_path: Path) -> None:
    made = Dataset(tmp_path)
    before = made.both()
    new = [f"train/{one}/{kind} {i}.jpg" for one in CLASSES for i in range(167) for kind in "ab"]
    make_tree(made.root, [*new, "train/new class/1.jpg", "train/new class/2.jpg"])
    (made.root / "labels.txt").unlink()
    made.run()
    after = made.both()
    assert after == made.expected()
    assert all(before[split] <= after[split] for split in LABELLED)
    for file in new:
        (made.root / file).unlink()
    shutil.rmtree(made.root / "train/new class")
    made.run()
    assert made.both() == before


def test_names_decide_and_no_numbers(tmp_path: Path) -> None:
    """Without numbers in their names, images get those that are free when they come."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    made = Dataset(tmp_path, [f"train/{one}/{x}.jpg" for one in CLASSES for x in letters[5:]])
    make_tree(made.root, [f"train/{one}/{x}.jpg" for one in CLASSES for x in letters[:5]])
    (made.root / "labels.txt").unlink()
    made.run()
    fresh = made.extra.with_name("fresh")
    grown, made.extra = made.extra, fresh
    made.run()
    assert made.both() == made.expected()
    rows = [np.load(extra / "entries-TRAIN.npy").tolist() for extra in (grown, fresh)]
    links = [
        {os.readlink(f"{extra}/view/{image_path('TRAIN', row[2], row[0])}"): row[0] for row in some}
        for extra, some in zip((grown, fresh), rows, strict=True)
    ]
    assert links[0].keys() == links[1].keys()
    assert links[0] != links[1]


@pytest.mark.parametrize("change", [{"holdout": 0.5}, {"select_seed": 3}])
def test_another_share_or_seed_moves_images(change: dict[str, Any], tmp_path: Path) -> None:
    made = Dataset(tmp_path)
    before = digests(made.extra)
    made.run(**change)
    assert made.both() == made.expected(change.get("select_seed", 0))
    settings = known_settings(str(made.root), str(made.extra))
    assert {name: settings[name] for name in change} == change
    made.run(holdout=SHARE, select_seed=0)
    assert made.both() == made.expected()
    assert digests(made.extra) == before
    assert not [path for path in made.extra.glob("view/*/*/*") if not path.exists()]


def test_a_split_made_by_another_rule_is_said(tmp_path: Path) -> None:
    made = Dataset(tmp_path)
    assert "different settings" not in summarise(made.chain)
    made.run(holdout=0.1, splits=["TRAIN"])
    assert "TRAIN and VAL were made with different settings of `holdout`" in summarise(made.chain)
    made.run(splits=["TRAIN", "VAL"])
    assert "different settings" not in summarise(made.chain)


LISTED = {
    "added": (["great cat/IMG 99.jpg"], "great cat"),
    "removed": ([], "great cat"),
    "a class added": (["elk/1.jpg", "elk/2.jpg", "elk/3.jpg", "elk/4.jpg"], "elk"),
}


@pytest.mark.parametrize("edit", LISTED)
@pytest.mark.parametrize("share", [SHARE, 0.01])  # with the small one, classes lack in VAL
def test_only_what_changed_is_listed(
    edit: str, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Dataset(tmp_path, holdout=share)
    listed = set[str]()

    def note(folder: str, *others: object) -> object:
        listed.add(os.path.basename(folder))
        return real(folder, *others)

    real = sides.list_folder
    monkeypatch.setattr(sides, "list_folder", note)
    files, folder = LISTED[edit]
    make_tree(made.root, [f"train/{file}" for file in files])
    (made.root / "labels.txt").unlink()
    if not files:
        (made.root / "train/great cat/IMG 7.jpg").unlink()
    made.run()
    assert listed == {folder}
    assert made.both() == made.expected()


def val_of(made: Dataset, class_id: str) -> list[Path]:
    return [made.root / one for one in made.expected()["VAL"] if f"/{class_id}/" in one]


def test_a_class_that_loses_its_images_of_val(tmp_path: Path) -> None:
    made = Dataset(tmp_path)
    gone = val_of(made, "owl")
    for path in gone:
        path.unlink()
    made.run()
    assert made.both() == made.expected()
    assert sorted(os.listdir(made.extra / "view/val")) == ["great cat", "狗"]
    notes = " ".join(read_description(made.extra, "VAL").notes)
    assert "VAL lacks 1 of the 3 classes of TRAIN: owl." in notes
    check_held_out(made.root, made.extra, SHARE, tmp_path / "reference")
    for path in gone:
        path.touch()
    made.run()
    assert made.both() == made.expected()
    assert sorted(os.listdir(made.extra / "view/val")) == ["great cat", "owl", "狗"]


@pytest.mark.needs("torchvision")
def test_a_class_stays_retired_after_a_run_that_failed(tmp_path: Path, monkeypatch) -> None:
    made = Dataset(tmp_path)
    for path in val_of(made, "owl"):
        path.unlink()

    run_without_publishing(made, monkeypatch)
    assert (made.extra / "view/val/owl").exists()  # the rows that are published may be read
    make_tree(made.root, ["train/狗/IMG 99.jpg"])
    (made.root / "labels.txt").unlink()
    made.run(level="full")
    assert made.both() == made.expected()
    assert not (made.extra / "view/val/owl").exists()


@pytest.mark.needs("torchvision")
def test_a_run_that_failed_with_another_share_leaves_no_images(tmp_path: Path, monkeypatch) -> None:
    made = Dataset(tmp_path, holdout=0.01)
    before = sorted(os.listdir(made.extra / "view/val"))
    assert before != sorted(CLASSES)
    run_without_publishing(made, monkeypatch, holdout=0.5)
    assert sorted(os.listdir(made.extra / "view/val")) == sorted(CLASSES)
    made.run(holdout=0.01, level="full")
    assert made.both() == made.expected()
    assert sorted(os.listdir(made.extra / "view/val")) == before


def run_without_publishing(made: Dataset, monkeypatch, **settings: object) -> None:
    def fail(*what: object, **how: object) -> None:
        raise MetadataError("no")

    with monkeypatch.context() as patch:
        patch.setattr(publish, "publish", fail)
        with pytest.raises(MetadataError, match="no"):
            made.run(**settings)


def test_a_class_whose_images_are_all_held_out(tmp_path: Path) -> None:
    made = Dataset(tmp_path)
    before = digests(made.extra)
    for path in (made.root / "train/owl").iterdir():
        if path not in val_of(made, "owl"):
            path.unlink()
    with pytest.raises(MetadataError) as error:
        made.run()
    said = (
        f"TRAIN: 1 class folder in {made.root}/train with no images besides those held out:\n  owl"
    )
    assert said in str(error.value)
    assert "`empty_classes: keep`" in str(error.value)
    assert digests(made.extra) == before
    made.run(empty_classes="keep")
    assert made.both() == made.expected()
    assert "TRAIN: 1 class without images: owl." in read_description(made.extra, "TRAIN").notes
    for split in LABELLED:
        assert np.load(made.extra / f"class-ids-{split}.npy").tolist() == sorted(CLASSES)


def test_classes_without_images_are_kept_in_val(tmp_path: Path) -> None:
    made = Dataset(tmp_path, [*PHOTOS, "train/bare/", "train/x/a.jpg"], empty_classes="keep")
    assert made.both() == made.expected()
    for split in LABELLED:
        ids = np.load(made.extra / f"class-ids-{split}.npy").tolist()
        assert ids == sorted([*CLASSES, "bare", "x"])


@pytest.mark.parametrize("files", [PHOTOS, [f"{i}.jpg" for i in range(40)]])
@pytest.mark.parametrize(
    ("share", "said"),
    [
        (1e-6, "VAL has no images, because `holdout: 1e-06` takes no image in "),
        (0.999999, "TRAIN has no images, because `holdout: 0.999999` takes all images in "),
    ],
)
def test_a_split_without_images_is_refused(
    share: float, said: str, files: list[str], tmp_path: Path
) -> None:
    for empty_classes in ("refuse", "keep"):
        with pytest.raises(MetadataError) as error:
            Dataset(tmp_path, files, holdout=share, empty_classes=empty_classes)
        assert str(error.value).startswith(said)
        assert not list(tmp_path.glob("ex tra/*.npy"))


REFUSED = {
    "val": (["val/owl/x.jpg"], {}, "{root}/val. Remove `holdout`, or move that folder out of r"),
    "an empty val": (["val/"], {}, "{root}/val. Remove `holdout`, or move"),
    "valid": (["valid/owl/x.jpg"], {}, "{root}/valid. Remove `holdout`, or move"),
    "only TRAIN": (["val/owl/x.jpg"], {"splits": ["TRAIN"]}, "{root}/val. Remove `holdout`"),
    "own classes": (["valid/owl/x.jpg"], {"classes": "own", "splits": ["TRAIN"]}, "{root}/valid."),
    "folders": (["a/owl/x.jpg"], {"folders": {"VAL": "a"}},
        "{root}/a. Remove `holdout`, or remove VAL from `folders`."),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_folder_of_val_is_refused(case: str, tmp_path: Path) -> None:
    files, settings, said = REFUSED[case]
    with pytest.raises(MetadataError) as error:
        Dataset(tmp_path, [*PHOTOS, *files], **settings)
    start = "config: holdout: VAL has a folder of its own, "
    assert str(error.value).startswith(start + said.format(root=tmp_path / "数据 set"))
    assert not (tmp_path / "ex tra").exists()


@pytest.mark.parametrize("layout", ["kaggle", "tiny-imagenet"])
def test_a_layout_with_a_val_of_its_own_is_refused(layout: str, tmp_path: Path) -> None:
    with pytest.raises(
        MetadataError, match=rf"holdout: the layout {layout} has a folder of VAL, .*val/"
    ):
        Dataset(tmp_path, layout=layout)


def test_the_train_of_kaggle_alone(tmp_path: Path) -> None:
    files = [one.replace("train/", "ILSVRC/Data/CLS-LOC/train/") for one in NAMED]
    made = Dataset(tmp_path, files, layout="folder")
    assert made.images("TRAIN") | made.images("VAL") == {*files}
    make_tree(made.root, ["ILSVRC/Data/CLS-LOC/val/x.JPEG"])
    with pytest.raises(MetadataError, match=r"VAL has a folder of its own, .*CLS-LOC/val"):
        made.run()


def test_a_train_that_is_missing_is_called_train(tmp_path: Path) -> None:
    made = Dataset(tmp_path, splits=["VAL"])
    (made.root / "train").rename(made.root / "elsewhere")
    with pytest.raises(MetadataError, match=r"The TRAIN split folder .*/train does not exist"):
        made.run(layout="folder")


def test_a_hidden_class_folder_is_left_out(tmp_path: Path) -> None:
    made = Dataset(tmp_path, [*NAMED, "train/.ipynb_checkpoints/x-checkpoint.JPEG"])
    assert made.both().keys() == {*LABELLED}
    assert np.load(made.extra / "class-ids-TRAIN.npy").tolist() == [*WNIDS]
    assert "1 .ipynb_checkpoints" in " ".join(read_description(made.extra, "TRAIN").notes)
    assert check(made.root, made.extra, labels="folders").ok
    assert read_description(made.extra, "TRAIN").folders == {"VAL": ["train"]}


def test_both_splits_describe_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that comes after TRAIN was linked, and before VAL was, is in one of them."""
    made = Dataset(tmp_path)
    name = next(
        f"late {i}.jpg" for i in range(99) if not is_held_out("owl", f"late {i}.jpg", SHARE)
    )

    def link(self: View, *what: object, **how: object) -> object:
        if self.split == "VAL":
            make_tree(made.root, [f"train/owl/{name}"])
            (made.root / "labels.txt").unlink()
        return real(self, *what, **how)

    real = View.link
    monkeypatch.setattr(View, "link", link)
    make_tree(made.root, ["train/great cat/new.jpg"])
    (made.root / "labels.txt").unlink()
    made.run()
    assert made.both() == made.expected()
    assert f"train/owl/{name}" in made.images("TRAIN")


def test_parts_are_linked_image_by_image(tmp_path: Path) -> None:
    root = make_tree(tmp_path, NAMED)
    rule, folders = Holdout(0.1, 4), {"VAL": ["train"]}
    for split in LABELLED:
        part = part_of(str(root), "imagenet", split, folders, rule)
        assert (part.whole, part.paths) == (False, ["train"])
        assert part.notes == [
            "VAL is about 10 % of the images in train/ (`holdout`, seed 4), and TRAIN is the rest."
        ]
    assert not part_of(str(root), "imagenet", "TEST", folders, rule).held


def test_the_description_says_it(tmp_path: Path) -> None:
    made = Dataset(tmp_path)
    about = json.loads((made.extra / "metadata-VAL.json").read_text())
    assert about["holdout"] == {"share": SHARE, "seed": 0}
    assert about["folders"] == {"VAL": ["train"]}
    plain = make_tree(tmp_path / "plain", ["train/owl/1.jpg", "val/owl/1.jpg"], "owl,owl\n")
    dump_extra(plain, tmp_path / "other", threads=1)
    assert json.loads((tmp_path / "other/metadata-VAL.json").read_text())["holdout"] is None
