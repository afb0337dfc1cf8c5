"""Links of a view are relative where that helps, and lead to the dataset in any case."""

import os
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from dinov3_metadata import ImageNetMetadata, check
from dinov3_metadata.disk import link_target, on_one_mount
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.guarding import Split, check_roots
from dinov3_metadata.loop import known_settings
from dinov3_metadata.readdir import behind
from dinov3_metadata.run import dump_extra
from dinov3_metadata.stages.link_texts import LinkTexts
from dinov3_metadata.summary import summarise
from helpers import digests, make_tree

FILES = ["train/猫 cat/IMG_0012.jpg", "train/猫 cat/no number.png", "train/dog/deep/7.jpg"]


class Linked:
    """A dataset with its metadata and a view of it."""

    def __init__(self, home: Path) -> None:
        self.root, self.extra = home / "数据 set", home / "ex tra"

    def link(self, **settings: Any) -> dict[str, str]:
        """Make the metadata; return the texts of all links by their names."""
        dump_extra(self.root, self.extra, ["TRAIN"], labels="folders", **settings)
        view = self.extra / "view/train"
        links = {path.name: path for path in view.rglob("*") if path.is_symlink()}
        assert all(path.is_file() for path in links.values())
        return {name: os.readlink(path) for name, path in links.items()}


@pytest.fixture
def linked(tmp_path: Path) -> Linked:
    linked = Linked(tmp_path)
    make_tree(linked.root, FILES)
    (linked.root / "labels.txt").unlink()
    return linked


def test_links_are_absolute_if_the_dataset_is_on_another_mount(linked: Linked) -> None:
    with patch("dinov3_metadata.stages.link_texts.on_one_mount", lambda *_: False):
        texts = linked.link()
        assert texts["猫 cat_12.JPEG"] == f"{linked.root}/train/猫 cat/IMG_0012.jpg"
        texts = linked.link(links="relative")
        assert texts["猫 cat_12.JPEG"] == "../../../../数据 set/train/猫 cat/IMG_0012.jpg"


def test_links_of_the_other_kind_are_replaced_and_keep_their_numbers(linked: Linked) -> None:
    absolute = linked.link(links="absolute")
    before = digests(linked.extra)
    assert set(absolute.values()) == {str(linked.root / name) for name in FILES}
    relative = linked.link()
    assert {name: text[len("../../../..") :] for name, text in relative.items()} == {
        name: text[len(str(linked.root.parent)) :] for name, text in absolute.items()
    }
    assert linked.link(links="absolute") == absolute
    assert digests(linked.extra) == before


def test_a_view_and_a_dataset_that_moved_apart_are_brought_together(
    linked: Linked, tmp_path: Path
) -> None:
    names, before = linked.link().keys(), digests(linked.extra)
    for path in (linked.root, linked.extra):
        new = tmp_path / path.name.replace(" ", "/")
        new.parent.mkdir()
        path.rename(new)
    linked.root, linked.extra = tmp_path / "数据/set", tmp_path / "ex/tra"
    texts = linked.link()
    assert texts.keys() == names
    assert texts["dog_7.JPEG"] == "../../../../../数据/set/train/dog/deep/7.jpg"
    assert digests(linked.extra) == before


@pytest.mark.parametrize("links", ["auto", "relative", "absolute"])
def test_folders_behind_links_are_found_and_named(
    links: str, linked: Linked, tmp_path: Path
) -> None:
    real, deep = linked.root, tmp_path / "very/deep"
    deep.mkdir(parents=True)
    linked.extra = tmp_path / "short"
    linked.extra.symlink_to(deep)
    linked.root = tmp_path / "very/other name"
    linked.root.symlink_to(real)
    list_of_images = tmp_path / "list.txt"
    list_of_images.write_text("train/猫 cat/IMG_0012.jpg\n")
    texts = linked.link(links=links, select={"exclude": str(list_of_images)})
    start = linked.root if links == "absolute" else Path("../../../../..", real.name)
    assert texts["dog_7.JPEG"] == f"{start}/train/dog/deep/7.jpg"
    assert len(np.load(linked.extra / "entries-TRAIN.npy")) == 2
    image = behind(linked.extra / "view", "train/dog/dog_7.JPEG")
    assert os.path.samefile(image, real / "train/dog/deep/7.jpg")
    assert ".." not in image


@pytest.mark.parametrize(
    "text",
    [
        "../../../../other set/dog/deep/7.jpg",  # as long as a link of ours
        "../../../数据 set/train/dog/deep/7.jpg",  # too few steps up
        "7.jpg",
        "../../../../数据 set/../other.jpg",
        "/etc/passwd",
    ],
)
def test_a_link_that_leads_elsewhere_is_refused(text: str, linked: Linked) -> None:
    linked.link()
    link = linked.extra / "view/train/dog/dog_8.JPEG"
    link.symlink_to(text)
    with pytest.raises(MetadataError, match="is not a link into"):
        linked.link()
    assert os.readlink(link) == text


def test_a_dataset_around_its_view() -> None:
    texts = LinkTexts("/data/extra/view", "/data", "relative", ["../..", "/old"])
    assert texts.current == ["/data", "../.."]
    assert texts.target("train/cat/cat_0.JPEG", "../../../../cat/a.jpg") == "/data/cat/a.jpg"
    assert texts.target("train/cat/cat_0.JPEG", "../../../../../cat/a.jpg") == ""
    assert texts.target("train", "../../cat") == "/data/cat"
    assert texts.target("train", "/old/cat") == "/data/cat"


def test_mounts_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    assert on_one_mount(tmp_path, tmp_path / "a/b")
    assert not on_one_mount(tmp_path, "/dev")
    assert not on_one_mount(tmp_path, tmp_path / "missing")


def test_the_target_of_a_link_is_where_the_system_goes(tmp_path: Path) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/target").touch()
    (tmp_path / "short").symlink_to("a/b/c")
    (tmp_path / "a/b/c/link").symlink_to("../../target")
    assert link_target(tmp_path / "short/link") == str(tmp_path / "a/target")
    assert link_target(tmp_path / "short") == str(tmp_path / "a/b/c")


def test_a_dataset_that_moved_with_its_view_is_known_before_the_next_run(
    linked: Linked, tmp_path: Path
) -> None:
    linked.link()
    home = tmp_path / "elsewhere/deep"
    home.mkdir(parents=True)
    for path in (linked.root, linked.extra):
        path.rename(home / path.name)
    moved = Linked(home)
    for root in (moved.root, moved.extra / "view"):
        assert check(root, moved.extra, ["TRAIN"]).splits[0].ok
        dataset = ImageNetMetadata(root, moved.extra)
        assert all(os.path.isfile(dataset.get_path(i)) for i in range(len(dataset)))
    at = Split("TRAIN", str(moved.root), str(moved.extra))
    with pytest.raises(MetadataError, match=f"train with root={moved.extra}/view"):
        check_roots([at])
    check_roots([at._replace(root=f"{moved.extra}/view")])


def test_another_dataset_beside_the_first_is_not_taken_for_it(linked: Linked) -> None:
    linked.link()
    other = make_tree(linked.root.with_name("other"), ["train/dog/dog_1.JPEG"])
    check_roots([Split("TRAIN", str(other), str(linked.extra))])
    assert ImageNetMetadata(other, linked.extra).root == str(other)


def test_a_view_that_moved_is_made_again_by_its_own_path(linked: Linked, tmp_path: Path) -> None:
    linked.link()
    before = digests(linked.extra)
    copied = tmp_path / "copied"
    for path in (linked.root, linked.extra):
        shutil.copytree(path, copied / path.name, symlinks=True)
    settings = known_settings(str(copied / "ex tra/view"), str(copied / "ex tra"))
    assert settings["root"] == str(copied / "数据 set")
    assert settings["view"] == str(copied / "ex tra/view")
    dump_extra(**settings, extra=copied / "ex tra", splits=["TRAIN"])
    assert digests(copied / "ex tra") == before
    assert known_settings(str(tmp_path / "nowhere"), str(copied / "ex tra")) == {
        "root": str(tmp_path / "nowhere")
    }


def test_a_view_that_is_no_longer_used_is_named(linked: Linked) -> None:
    linked.link()
    chain = dump_extra(linked.root, linked.extra, ["TRAIN"], labels="folders", view="none")
    assert f"{linked.extra}/view is no longer used: delete it when" in summarise(chain)
    shutil.rmtree(linked.extra / "view")
    assert "no longer used" not in summarise(chain)
