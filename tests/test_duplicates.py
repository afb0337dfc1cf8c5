"""Images that are there twice, or in two splits, are found, listed and, if wanted, refused."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from dinov3_metadata import doubles
from dinov3_metadata.addresses import image_path
from dinov3_metadata.artefacts import Numbering, Scan
from dinov3_metadata.errors import DamagedError, MetadataError
from dinov3_metadata.formats import AUDIT_ROW, Doubles, Leaks, read_duplicates_summary
from dinov3_metadata.paths import existing, path_of
from dinov3_metadata.run import audit_extra, dump_extra
from dinov3_metadata.stages import audit, duplicates
from dinov3_metadata.summary import summarise
from helpers import file_states, make_tree
from PIL import Image

CLASSES = {"n01440764": "tench", "n01443537": "goldfish"}
SCENES = np.random.default_rng(0).integers(0, 2, (100, 64), "u1")
"""Pictures of eight times eight squares, each black or white."""


def draw(path: Path, scene: int, flips: int = 0, quality: int = 90) -> None:
    """Draw a picture whose hash differs in some bits from that of a scene."""
    squares = SCENES[scene].copy()
    squares[:flips] ^= 1
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.kron(squares.reshape(8, 8) * 255, np.ones((8, 8), "u1"))
    Image.fromarray(pixels).save(path, "JPEG", quality=quality)


def phash(path: str) -> int:
    """The squares of a picture as bits."""
    with Image.open(path) as image:
        squares = np.asarray(image.convert("L")).reshape(8, 8, 8, 8).mean(axis=(1, 3)) > 127
    return int(np.packbits(squares).view(">u8")[0])


def fill(rows: np.ndarray, root: str, split: str, class_ids: list[str]) -> None:
    """Fill in the hashes, that of the picture if it can be opened."""
    for row in rows:
        path = image_path(split, class_ids[row["class_index"]], int(row["actual_index"]))
        content = Path(root, path).read_bytes()
        row["sha256"] = np.void(hashlib.sha256(content).digest())
        row["phash"] = phash(f"{root}/{path}") if row["width"] else 0


@pytest.fixture(autouse=True)
def hashed() -> Iterator[None]:
    """Let each audit of this process hash the pictures by their squares."""
    real = audit.audit_share

    def audit_share(scan: Scan, *, numbering: Numbering, **how: str) -> np.ndarray:
        rows = real(scan, numbering=numbering, **how)
        fill(rows, how["root"], how["split"], numbering.ids)
        return rows

    with patch.object(audit, "audit_share", audit_share):
        yield


def train(number: int, class_id: str = "n01440764") -> str:
    return f"train/{class_id}/{class_id}_{number}.JPEG"


def val(number: int, class_id: str = "n01440764") -> str:
    return f"val/{class_id}/ILSVRC2012_val_{number:08d}.JPEG"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset in which all pictures differ: scenes 0 to 9 in TRAIN, 10 to 13 in VAL."""
    labels = "".join(f"{one},{name}\n" for one, name in CLASSES.items())
    root = make_tree(tmp_path / "root", ["train/", "val/"], labels)
    for i in range(10):
        draw(root / train(i, [*CLASSES][i % 2]), i)
    for i in range(4):
        draw(root / val(i, [*CLASSES][i % 2]), 10 + i)
    return root


def found(root: Path, extra: Path, **settings: object) -> dict:
    """Audit a dataset; gives the content of ``duplicates.json``."""
    audit_extra(root, extra, threads=1, **settings)
    return json.loads((extra / "duplicates.json").read_text())


def planted(root: Path) -> None:
    """Plant doubles and leaks of both kinds."""
    for copy in (20, 21):
        (root / train(copy)).write_bytes((root / train(0)).read_bytes())
    draw(root / train(22, "n01443537"), 2, flips=3)
    draw(root / train(23), 4, quality=50)
    draw(root / train(24), 6, flips=5)  # too far
    (root / val(30)).write_bytes((root / train(1, "n01443537")).read_bytes())
    draw(root / val(31), 8, flips=4)
    draw(root / val(32), 11, flips=1)
    draw(root / "test/ILSVRC2012_test_00000001.JPEG", 9, flips=2)
    (root / "test/ILSVRC2012_test_00000002.JPEG").write_bytes((root / val(30)).read_bytes())


def test_planted_doubles_and_leaks_are_found(root: Path, tmp_path: Path) -> None:
    planted(root)
    report = found(root, tmp_path / "extra", splits=["TRAIN", "VAL", "TEST"])

    def group(split: str, distance: int, *images: str, exact: bool = False) -> dict:
        named = [{"image": image} for image in images]
        about = {"split": split, "distance": distance, "exact": exact}
        return {**about, "count": len(images), "images": named}

    def pair(distance: int, *images: str, exact: bool = False) -> dict:
        named = [{"split": one.split("/")[0].upper(), "image": one} for one in images]
        return {"distance": distance, "exact": exact, "images": named}

    test = "test/ILSVRC2012_test_0000000"
    assert report["exact"] == [group("TRAIN", 0, train(0), train(20), train(21), exact=True)]
    assert report["near"] == [
        group("TRAIN", 3, train(2), train(22, "n01443537")),
        group("TRAIN", 0, train(23), train(4)),
        group("VAL", 1, val(32), val(1, "n01443537")),
    ]
    assert report["leaks"] == [
        pair(0, train(1, "n01443537"), val(30), exact=True),
        pair(4, train(8), val(31)),
        pair(2, train(9, "n01443537"), f"{test}1.JPEG"),
        pair(0, train(1, "n01443537"), f"{test}2.JPEG", exact=True),
        pair(0, val(30), f"{test}2.JPEG", exact=True),
    ]
    summary = read_duplicates_summary(tmp_path / "extra")
    assert summary
    assert (summary.root, summary.images, summary.threshold) == (str(root), 24, 4)
    assert summary.splits == {
        "TRAIN": Doubles(15, 1, 3, 2, 4),
        "VAL": Doubles(7, 0, 0, 1, 2),
        "TEST": Doubles(2, 0, 0, 0, 0),
    }
    assert summary.pairs == {
        "TRAIN-VAL": Leaks(1, 1),
        "TRAIN-TEST": Leaks(1, 1),
        "VAL-TEST": Leaks(1, 0),
    }


def test_nothing_is_found_among_different_images(root: Path, tmp_path: Path) -> None:
    report = found(root, tmp_path / "extra")
    assert (report["exact"], report["near"], report["leaks"]) == ([], [], [])
    assert report["images"] == 14


def test_what_cannot_be_compared_is_left_out(root: Path, tmp_path: Path) -> None:
    """Empty files have the same sha256, and a picture of one colour has no perceptual hash."""
    for number in (30, 31):
        (root / train(number)).touch()
        (root / val(number)).touch()
        Image.new("L", (64, 64), number).save(root / train(number + 10), "JPEG")
    report = found(root, tmp_path / "extra")
    assert (report["exact"], report["near"], report["leaks"]) == ([], [], [])
    assert report["images"] == 16


def test_a_chain_of_near_images_is_one_group(root: Path, tmp_path: Path) -> None:
    for flips in (3, 6, 9):
        draw(root / train(20 + flips), 0, flips)
    (group,) = found(root, tmp_path / "extra")["near"]
    assert [one["image"] for one in group["images"]] == [*map(train, (0, 23, 26, 29))]
    assert group["distance"] == 9


def test_of_a_huge_group_some_are_listed_and_all_are_counted(root: Path, tmp_path: Path) -> None:
    for number in range(20, 27):
        (root / train(number)).write_bytes((root / train(0)).read_bytes())
    with patch.object(doubles, "LISTED", 3):
        (group,) = found(root, tmp_path / "extra")["exact"]
    assert group["count"] == 8
    assert [one["image"] for one in group["images"]] == [*map(train, (0, 20, 21))]


def test_there_is_one_group_or_pair_per_line(root: Path, tmp_path: Path) -> None:
    planted(root)
    report = found(root, tmp_path / "extra")
    text = (tmp_path / "extra/duplicates.json").read_text()
    lines = [json.loads(line.rstrip(",")) for line in text.splitlines() if line.startswith('  {"')]
    assert lines == [*report["exact"], *report["near"], *report["leaks"]]


@pytest.mark.parametrize("damage", [b"", b"{", b'{\n "root": 1,\n "exact": [', None])
def test_a_damaged_file_has_no_summary(tmp_path: Path, damage: bytes | None) -> None:
    if damage is not None:
        (tmp_path / "duplicates.json").write_bytes(damage)
    assert read_duplicates_summary(tmp_path) is None


def test_of_a_view_the_file_behind_the_link_is_named(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for split, name in (("train", "a"), ("train", "b"), ("val", "c")):
        draw(root / split / "cat" / f"{name}.jpg", 0, quality=ord(name))
    report = found(root, tmp_path / "extra", labels="folders")
    named = [one["file"] for one in report["near"][0]["images"]]
    assert named == [f"{root}/train/cat/{name}.jpg" for name in "ab"]
    assert report["leaks"][0]["images"][1]["file"] == f"{root}/val/cat/c.jpg"
    with pytest.raises(MetadataError, match=f"{root}/train/cat/a.jpg and {root}/val/cat/c.jpg"):
        dump_extra(root, tmp_path / "extra", labels="folders", fail_on=["leak"])


@pytest.mark.parametrize(
    ("name", "image", "other"),
    [("leak", val(30), train(0)), ("duplicate", train(30), train(0))],
)
def test_fail_on_stops_publishing_until_the_image_is_removed(
    name: str, image: str, other: str, root: Path, tmp_path: Path
) -> None:
    extra, given = tmp_path / "extra", {"fail_on": [name], "threads": 1}
    draw(root / image, 0, flips=2)
    with pytest.raises(MetadataError) as error:
        dump_extra(root, extra, **given)
    said = str(error.value)
    assert f"`audit: fail_on` lists `{name}`):" in said
    assert f"\n  {other} and {image} (distance 2)\n" in said
    assert f"{extra}/duplicates.json lists them." in said
    assert not list(extra.glob("entries-*"))
    (root / image).unlink()
    dump_extra(root, extra, **given)
    assert (extra / "entries-TRAIN.npy").exists()
    assert read_duplicates_summary(extra).images == 14
    before = file_states(extra.glob("*"))
    dump_extra(root, extra, **given)
    assert file_states(extra.glob("*")) == before


def test_the_message_names_ten_pairs(root: Path, tmp_path: Path) -> None:
    for i in range(10):
        draw(root / train(50 + i), i, quality=50)
        draw(root / val(50 + i), i, quality=60)
    for number in (90, 91):
        draw(root / val(number), 3, quality=number)
    with pytest.raises(MetadataError) as error:
        dump_extra(root, tmp_path / "extra", fail_on=["leak", "duplicate"], threads=1)
    said = str(error.value)
    assert "11 groups of images that" in said
    assert "12 images that are" in said
    assert said.count("  train/") == 20
    assert "... and 1 more\n" in said
    assert "... and 2 more\n" in said


def test_fail_on_a_leak_ignores_doubles(root: Path, tmp_path: Path) -> None:
    draw(root / train(20), 0, flips=1)
    dump_extra(root, tmp_path / "extra", fail_on=["leak"], threads=1)
    with pytest.raises(MetadataError, match="1 group of images"):
        dump_extra(root, tmp_path / "extra", fail_on=["leak", "duplicate"], threads=1)


def test_an_image_that_is_repaired_in_place_is_audited_again(root: Path, tmp_path: Path) -> None:
    draw(root / val(0), 0, quality=50)
    given = {"fail_on": ["leak"], "threads": 1}
    for _ in range(2):
        with pytest.raises(MetadataError, match="1 image that is"):
            dump_extra(root, tmp_path / "extra", **given)
    draw(root / val(0), 50)
    dump_extra(root, tmp_path / "extra", **given)


def test_an_audit_that_finds_a_leak_stops_the_next_publication(root: Path, tmp_path: Path) -> None:
    extra, given = tmp_path / "extra", {"fail_on": ["leak"], "threads": 1}
    dump_extra(root, extra, **given)
    draw(root / val(0), 0, quality=50)  # in place, which only an audit sees
    dump_extra(root, extra, **given)
    for run in (audit_extra, dump_extra):
        with pytest.raises(MetadataError, match="1 image that is"):
            run(root, extra, **given)


def test_after_an_audit_there_is_nothing_to_do(root: Path, tmp_path: Path) -> None:
    extra, given = tmp_path / "extra", {"fail_on": ["leak"], "threads": 1}
    dump_extra(root, extra, **given)
    audit_extra(root, extra, **given)
    before = file_states(extra.glob("*"))
    dump_extra(root, extra, **given)
    assert file_states(extra.glob("*")) == before
    assert len(list(existing(extra, "compared"))) == 2
    draw(root / train(99), 99)
    dump_extra(root, extra, **given)
    assert len(list(existing(extra, "compared"))) == 1


def test_without_the_setting_nothing_is_compared(root: Path, tmp_path: Path) -> None:
    audit_extra(root, tmp_path / "extra", threads=1, duplicates=False)
    assert not (tmp_path / "extra/duplicates.json").exists()
    with pytest.raises(MetadataError, match="'leak' needs `duplicates: true`"):
        dump_extra(root, tmp_path / "extra", fail_on=["truncated", "leak"], duplicates=False)
    dump_extra(root, tmp_path / "extra", fail_on=["truncated"], duplicates=False, threads=1)


def test_a_split_of_another_run_is_compared_while_it_is_unchanged(
    root: Path, tmp_path: Path
) -> None:
    extra = tmp_path / "extra"
    draw(root / val(30), 0, quality=50)
    found(root, extra, splits=["VAL"])
    with pytest.raises(MetadataError, match="1 image that is"):
        dump_extra(root, extra, ["TRAIN"], fail_on=["leak"], threads=1)
    (root / val(30)).rename(root / val(31))
    with pytest.raises(MetadataError, match="VAL cannot be compared"):
        dump_extra(root, extra, ["TRAIN"], fail_on=["leak"], threads=1)
    dump_extra(root, extra, ["VAL"], threads=1)  # scans it, but does not audit it
    with pytest.raises(MetadataError, match="VAL cannot be compared"):
        dump_extra(root, extra, ["TRAIN"], fail_on=["leak"], threads=1)
    assert not (extra / "entries-TRAIN.npy").exists()
    chain = audit_extra(root, extra, threads=1, splits=["TRAIN"])
    assert read_duplicates_summary(extra).left_out == ["VAL"]
    assert "VAL was not compared, because no audit has seen it as it is now" in summarise(chain)


def test_leaks_from_a_split_that_was_never_audited_are_not_passed_over(
    root: Path, tmp_path: Path
) -> None:
    extra = tmp_path / "extra"
    dump_extra(root, extra, threads=1)
    draw(root / val(30), 0)
    with pytest.raises(MetadataError, match="TRAIN cannot be compared"):
        dump_extra(root, extra, ["VAL"], fail_on=["leak"], threads=1)
    chain = audit_extra(root, extra, threads=1, splits=["VAL"])
    assert "TRAIN was not compared, because no audit has seen it" in summarise(chain)
    with pytest.raises(MetadataError, match="1 image that is"):
        dump_extra(root, extra, fail_on=["leak"], threads=1)


def test_an_image_of_another_size_is_not_said_to_be_the_same_file(
    root: Path, tmp_path: Path
) -> None:
    draw(root / train(20), 0, quality=50)
    with pytest.raises(MetadataError, match=rf"{train(20)} \(distance 0\)\n"):
        dump_extra(root, tmp_path / "extra", fail_on=["duplicate"], threads=1)


def test_a_link_of_the_dataset_is_named_and_not_what_it_leads_to(
    root: Path, tmp_path: Path
) -> None:
    (root / val(30)).symlink_to(root / train(0))
    with pytest.raises(MetadataError, match=rf"\n  {train(0)} and {val(30)}\n"):
        dump_extra(root, tmp_path / "extra", fail_on=["leak"], threads=1)


@pytest.mark.parametrize("damage", ["remove", "cut", "another"])
def test_a_table_that_is_not_that_of_the_audit_is_made_again(
    damage: str, root: Path, tmp_path: Path
) -> None:
    extra, given = tmp_path / "extra", {"fail_on": ["leak"], "threads": 1}
    dump_extra(root, extra, **given)
    draw(root / val(30), 50)
    table = extra / "audit-TRAIN.npy"
    if damage == "remove":
        table.unlink()
    elif damage == "cut":
        table.write_bytes(table.read_bytes()[:-1])
    else:
        np.save(table, np.zeros(10, AUDIT_ROW))
    with patch("dinov3_metadata.run.ATTEMPTS", 1), pytest.raises(DamagedError, match="does not"):
        dump_extra(root, extra, **given)
    dump_extra(root, extra, **given)
    assert read_duplicates_summary(extra).images == 15


def test_a_run_that_fails_leaves_the_old_file(root: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    found(root, extra)
    before = file_states(extra.glob("duplicates.json"))
    planted(root)
    full = OSError(28, "No space left on device")
    with (
        patch.object(duplicates, "write_atomically", side_effect=full),
        pytest.raises(MetadataError, match="No space"),
    ):
        audit_extra(root, extra, threads=1)
    now = file_states(extra.glob("duplicates.json"))
    assert [state[:3] for state in now.values()] == [state[:3] for state in before.values()]
    assert not list(extra.rglob("*.tmp"))


def test_nothing_else_is_written(root: Path, tmp_path: Path) -> None:
    before = file_states(root.rglob("*"))
    extra = tmp_path / "extra"
    planted(root)
    dump_extra(root, extra, threads=1)
    published = file_states(extra.glob("*"))
    found(root, extra)
    now = file_states(extra.glob("*"))
    assert {name: now[name] for name in published if name != ".dinov3-metadata"} == {
        name: state for name, state in published.items() if name != ".dinov3-metadata"
    }
    new = {"duplicates.json", *(f"audit-{one}" for one in ("TRAIN.npy", "TRAIN.json"))}
    assert now.keys() - published.keys() == {*new, "audit-VAL.npy", "audit-VAL.json"}
    assert before.keys() <= file_states(root.rglob("*")).keys()


def test_the_summary_of_a_run_counts_them(root: Path, tmp_path: Path) -> None:
    planted(root)
    chain = audit_extra(root, tmp_path / "extra", threads=1)
    said = summarise(chain)
    assert "TRAIN: 1 group of equal images, 2 groups of near ones" in said
    assert "TRAIN-VAL: 2 images are in both, 1 of them equal" in said
    assert "duplicates.json" in said


def test_snakemake_stops_at_a_leak_and_goes_on_without_it(
    root: Path, tmp_path: Path, snakemake: Callable
) -> None:
    extra = tmp_path / "extra"
    config = {"root": root, "extra": extra, "audit": "{fail_on: [leak]}"}
    two = ["--set-scatter", "audit=2"]
    snakemake(*two, **config)
    assert "Nothing to be done" in snakemake(*two, **config).stdout
    published = file_states(extra.glob("entries-*"))
    for split, number in (("TRAIN", 0), ("VAL", 3)):
        table = np.load(extra / f"audit-{split}.npy", mmap_mode="r+")
        table["sha256"][table["actual_index"] == number] = np.void(b"\1" * 32)
        table.flush()
    for path, _ in existing(extra, "compared"):
        os.unlink(path)
    done = snakemake(*two, **config, fails=True)
    leak = val(3, "n01443537")
    assert f"\n  {train(0)} and {leak}\n" in done.stdout.split("Error: ")[-1]
    assert file_states(extra.glob("entries-*")) == published
    (root / leak).unlink()
    snakemake(*two, **config)
    assert file_states(extra.glob("entries-*")) != published
    assert json.loads((extra / "duplicates.json").read_text())["leaks"] == []
    assert "Nothing to be done" in snakemake(*two, **config).stdout
    snakemake("audit", *two, **config)
    assert "Nothing to be done" in snakemake(*two, **config).stdout
    names = [state["search"] for _, state in existing(extra, "compared")]
    assert sorted(bool(re.search("-", name)) for name in names) == [False, True]


def test_the_record_has_its_own_folder(root: Path, tmp_path: Path) -> None:
    found(root, tmp_path / "extra")
    ((path, state),) = existing(tmp_path / "extra", "compared")
    assert path == path_of(tmp_path / "extra", "compared", **state)
