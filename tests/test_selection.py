"""A selection: which images count, what is said of the others, and that the choice is stable."""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata import ImageNetMetadata, check
from dinov3_metadata.artefacts import Scan
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.faults import FAULTS
from dinov3_metadata.formats import read_description
from dinov3_metadata.loop import known_settings, make_command
from dinov3_metadata.run import audit_extra, dump_extra
from dinov3_metadata.stages.selection import draws
from dinov3_metadata.summary import summarise
from helpers import LABELS, digests, file_states, make_tree
from PIL import Image

TENCH, FISH, SHARK = "n01440764", "n01443537", "n01484850"


def train(class_id: str, number: int) -> str:
    return f"train/{class_id}/{class_id}_{number}.JPEG"


def val(class_id: str, number: int) -> str:
    return f"val/{class_id}/ILSVRC2012_val_{number:08d}.JPEG"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three classes, with 40 images in TRAIN and 4 in VAL each."""
    images = [train(one, 7 * i) for one in (TENCH, FISH, SHARK) for i in range(40)]
    images += [val(one, 3 * i + k) for k, one in enumerate((TENCH, FISH, SHARK)) for i in range(4)]
    images += [f"test/ILSVRC2012_test_{i:08d}.JPEG" for i in range(9)]
    return make_tree(tmp_path / "数据 set", images)


def entries(extra: Path, split: str = "TRAIN") -> set[tuple[str, int]]:
    rows = np.load(extra / f"entries-{split}.npy")
    return {*map(tuple, rows[["class_id", "actual_index"]].tolist())}


def left_out(extra: Path, split: str = "TRAIN") -> dict[str, str]:
    """Image -> the reason why it was left out."""
    found = json.loads((extra / f"left-out-{split}.json").read_text())
    return {one["image"]: one["reason"] for one in found["left_out"]}


def reference(root: Path, place: Path, gone: Iterable[str], **settings: object) -> dict[str, str]:
    """The digests of what is published for a copy of a dataset without some images or folders."""
    copy = shutil.copytree(root, place / "copy", symlinks=True)
    for name in gone:
        path = copy / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    dump_extra(copy, place / "copied", **settings)
    return digests(place / "copied")


def test_classes(root: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    chain = dump_extra(root, extra, select={"classes": [SHARK, TENCH]})
    gone = [f"train/{FISH}", f"val/{FISH}"]
    assert digests(extra) == reference(root, tmp_path, gone)
    assert left_out(extra) == {}
    said = summarise(chain)
    assert "TRAIN: 80 of 120 images are selected" in said
    assert "TRAIN: 40 images and 1 class left out by select: classes" in said
    assert check(root, extra).ok
    states = file_states(extra.iterdir())
    dump_extra(root, extra, select={"classes": [SHARK, TENCH]})
    assert file_states(extra.iterdir()) == states
    dump_extra(root, extra)
    assert not (extra / "left-out-TRAIN.json").exists()
    assert len(entries(extra)) == 120


def test_no_folder_is_listed_for_another_list(root: Path, tmp_path: Path) -> None:
    extra, file = tmp_path / "extra", tmp_path / "classes.txt"
    file.write_text(f"{TENCH} tench\n{FISH}\n")
    first = dump_extra(root, extra, select={"classes": file}, log_level="debug")
    file.write_text(f"{TENCH}\n")
    second = dump_extra(root, extra, select={"classes": file}, log_level="debug")
    trees = [chain.now["TRAIN"].state["tree"] for chain in (first, second)]
    assert trees[0] == trees[1]
    assert {class_id for class_id, _ in entries(extra)} == {TENCH}
    about = read_description(extra, "TRAIN")
    assert about.selection.rules[0].file == str(file)
    assert about.selection.rules[0].classes == 2


def test_images_of_one_split_leave_the_others_whole(root: Path, tmp_path: Path) -> None:
    extra, file = tmp_path / "extra", tmp_path / "1percent.txt"
    chosen = [train(one, number) for one in (TENCH, FISH, SHARK) for number in (0, 70)]
    file.write_text("".join(f"{os.path.basename(one)}\n" for one in chosen))
    dump_extra(root, extra, select={"images": {"TRAIN": file}})
    others = {str(path.relative_to(root)) for path in root.glob("train/*/*")}.difference(chosen)
    assert {*left_out(extra)} == others
    assert digests(extra) == reference(root, tmp_path, others)
    assert not (extra / "left-out-VAL.json").exists()
    assert check(root, extra).ok


def test_lines_that_match_nothing(root: Path, tmp_path: Path) -> None:
    extra, file = tmp_path / "extra", tmp_path / "list.txt"
    lines = [os.path.basename(train(one, 7)) for one in (TENCH, FISH, SHARK)]
    file.write_text("\n".join([*lines, "n01440764_8.JPEG"]))
    with pytest.raises(MetadataError, match=r"1 line matches no image of TRAIN:\n.*line 4: .*_8"):
        dump_extra(root, extra, select={"images": {"TRAIN": file}})
    dump_extra(root, extra, select={"images": {"TRAIN": file}, "missing": "skip"})
    assert read_description(extra, "TRAIN").selection.rules[0].unmatched == 1


def test_a_list_that_leaves_a_class_or_a_split_empty_is_refused(root: Path, tmp_path: Path) -> None:
    extra, file = tmp_path / "extra", tmp_path / "list.txt"
    file.write_text(f"{TENCH}_7.JPEG\n")
    with pytest.raises(MetadataError, match=rf"leaves 2 classes without images:\n  {FISH}"):
        dump_extra(root, extra, select={"images": {"TRAIN": file}})
    with pytest.raises(MetadataError, match="VAL: the selection leaves no image"):
        dump_extra(root, extra, ["VAL"], select={"images": file})
    settings = {"images": {"TRAIN": file}}
    chain = dump_extra(root, extra, select=settings, empty_classes="keep")
    assert len(entries(extra)) == 1
    assert np.load(extra / "class-ids-TRAIN.npy").tolist() == [TENCH, FISH, SHARK]
    assert chain.now["VAL"].state["selection"] == "all"


def test_exclude_takes_images_and_classes(root: Path, tmp_path: Path) -> None:
    extra, file = tmp_path / "extra", tmp_path / "bad.txt"
    gone = [train(TENCH, 14), val(SHARK, 2)]
    file.write_text("\n".join([*gone, FISH]))
    dump_extra(root, extra, select={"exclude": file})
    assert left_out(extra) == {gone[0]: "excluded"}
    assert left_out(extra, "VAL") == {gone[1]: "excluded"}
    everything = [*gone, f"train/{FISH}", f"val/{FISH}"]
    assert digests(extra) == reference(root, tmp_path, everything)
    assert check(root, extra).ok


def test_a_sample_stays_when_images_come_and_go(root: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    dump_extra(root, extra, select={"fraction": 0.4})
    before = entries(extra)
    assert 25 < len(before) < 75
    assert digests(extra) == reference(root, tmp_path, left_out(extra))
    make_tree(root, [train(FISH, 7 * i + 1) for i in range(1000)], LABELS)
    gone = root / train(TENCH, 7)
    gone.unlink()
    dump_extra(root, extra, select={"fraction": 0.4})
    after = entries(extra)
    old = {(one, number) for one, number in after if number % 7 == 0 or one != FISH}
    assert old == before - {(TENCH, 7)}
    dump_extra(root, extra, select={"fraction": 0.4, "seed": 1})
    assert entries(extra) != after


def test_so_many_of_each_class(root: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    dump_extra(root, extra, select={"per_class": 10})
    counts = np.load(extra / "entries-TRAIN.npy")["class_index"]
    assert np.bincount(counts).tolist() == [10, 10, 10]
    assert len(entries(extra, "VAL")) == 12
    assert digests(extra) == reference(root, tmp_path, left_out(extra))


def test_draws_are_even_and_differ_between_classes() -> None:
    numbers = np.arange(10_000, dtype="<u4")
    scan = Scan(
        np.array(["a", "b"]),
        np.array([10_000, 10_000], "<i8"),
        np.tile(numbers, 2),
        np.array([""]),
        np.zeros(1, "<i8"),
    )
    drawn = draws(scan, 0) / 2**64
    for part in np.split(drawn, 2):
        shares = np.histogram(part, 10, (0, 1))[0] / 10_000
        assert (abs(shares - 0.1) < 0.015).all()
    assert abs(np.corrcoef(*np.split(drawn, 2))[0, 1]) < 0.05


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A dataset of pictures: 8 of each class in TRAIN, 2 in VAL."""
    rng = np.random.default_rng(0)
    root = make_tree(tmp_path / "图 pictures", ["train/"])
    for one in (TENCH, FISH, SHARK):
        for path in (*(train(one, i) for i in range(8)), *(val(one, i) for i in range(2))):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (8, 8, 3), "u1").repeat(8, 0).repeat(8, 1)
            Image.fromarray(pixels).save(root / path, quality=90)
    return root


def spoil(path: Path, problem: str) -> None:
    content = FAULTS[problem]
    with Image.open(path) as image:
        image.load()
        path.write_bytes(content if isinstance(content, bytes) else content(image))


BROKEN = ["truncated", "not-an-image", "zero-bytes"]


def test_what_the_audit_finds_is_left_out(pictures: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    broken = dict(zip([train(TENCH, 3), train(FISH, 0), val(SHARK, 1)], BROKEN, strict=True))
    for path, problem in broken.items():
        spoil(pictures / path, problem)
    before = digests(pictures)
    chain = dump_extra(pictures, extra, select={"audit": BROKEN}, fail_on=BROKEN)
    assert left_out(extra) | left_out(extra, "VAL") == broken
    assert digests(extra) == reference(pictures, tmp_path, broken) | {
        name: digest for name, digest in digests(extra).items() if name.startswith("audit-")
    }
    assert digests(pictures) == before
    assert "1 image left out by select: audit (truncated, not-an-image, zero-bytes)" in summarise(
        chain
    )
    assert check(pictures, extra).ok
    states = file_states(extra.iterdir())
    again = dump_extra(pictures, extra, select={"audit": BROKEN}, fail_on=BROKEN)
    assert file_states(extra.iterdir()) == states
    assert again.now["TRAIN"].state == chain.now["TRAIN"].state | {
        "sound": again.now["TRAIN"].state["sound"]
    }


def test_an_image_that_was_repaired_in_place_comes_back(pictures: Path, tmp_path: Path) -> None:
    extra, path = tmp_path / "extra", pictures / train(TENCH, 3)
    good = path.read_bytes()
    spoil(path, "truncated")
    dump_extra(pictures, extra, select={"audit": BROKEN})
    assert (TENCH, 3) not in entries(extra)
    path.write_bytes(good)
    dump_extra(pictures, extra, select={"audit": BROKEN})
    assert (TENCH, 3) in entries(extra)
    states = file_states(extra.iterdir())
    dump_extra(pictures, extra, select={"audit": BROKEN})
    assert file_states(extra.iterdir()) == states


def test_what_a_later_audit_finds_is_left_out_by_the_next_run(
    pictures: Path, tmp_path: Path
) -> None:
    extra, path = tmp_path / "extra", pictures / train(TENCH, 3)
    dump_extra(pictures, extra, select={"audit": BROKEN})
    with path.open("r+b") as file:  # no folder changes
        file.truncate(300)
    dump_extra(pictures, extra, select={"audit": BROKEN})
    assert (TENCH, 3) in entries(extra)
    audit_extra(pictures, extra, select={"audit": BROKEN})
    dump_extra(pictures, extra, select={"audit": BROKEN})
    assert (TENCH, 3) not in entries(extra)


def test_doubles_and_leaks_are_left_out(pictures: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    shutil.copy(pictures / train(TENCH, 2), pictures / train(FISH, 5))
    shutil.copy(pictures / train(SHARK, 1), pictures / val(SHARK, 0))
    dump_extra(pictures, extra, select={"audit": ["duplicate", "leak"]})
    assert left_out(extra) == {
        train(FISH, 5): "equal to an image before it",
        train(SHARK, 1): "also in VAL",
    }
    assert left_out(extra, "VAL") == {}
    dump_extra(pictures, extra, select={"audit": ["duplicate", "leak"]}, fail_on=["leak"])
    (pictures / val(SHARK, 0)).unlink()
    dump_extra(pictures, extra, select={"audit": ["duplicate", "leak"]})
    assert [*left_out(extra)] == [train(FISH, 5)]


def test_scans_and_audits_of_another_run_are_reused(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    audit_extra(pictures, one)
    select = {"classes": [TENCH, FISH], "audit": BROKEN}
    with caplog.at_level("INFO", "dinov3_metadata"):
        chain = dump_extra(pictures, other, reuse=one, select=select, threads=1)
    assert chain.says("scan_split", "TRAIN").startswith("Scan TRAIN: nothing changed (scans in ")
    said = " ".join(caplog.messages)
    assert said.count("; 0 of 4 folders listed") == 2
    assert "TRAIN 1-of-1: 16 images, 0 of them opened" in said
    assert len(entries(other)) == 16


def test_the_settings_of_a_selection_are_known_again(root: Path, tmp_path: Path) -> None:
    extra, file = tmp_path / "extra", tmp_path / "list.txt"
    file.write_text("".join(f"{train(one, 7)}\n" for one in (TENCH, FISH)))
    select = {"classes": [TENCH, FISH], "images": {"TRAIN": str(file)}}
    dump_extra(root, extra, select=select)
    settings = known_settings(str(root), str(extra))
    assert settings["select_classes"] == [TENCH, FISH]
    assert settings["select_images"] == {"TRAIN": str(file)}
    words = make_command(str(extra), settings)
    assert f"--select-classes {TENCH} {FISH}" in words
    assert f"--select-images 'TRAIN={file}'" in words or f"TRAIN={file}" in words
    states = file_states(extra.iterdir())
    dump_extra(extra=extra, **settings)
    assert file_states(extra.iterdir()) == states


def owned(tmp_path: Path) -> Path:
    """A dataset with its owner's own names: 6 images of each of two classes, and 2 in VAL."""
    files = [f"train/{one}/{i}.jpg" for one in ("cats", "big dogs") for i in range(6)]
    files += [f"val/{one}/{i}.jpg" for one in ("cats", "big dogs") for i in range(10, 12)]
    root = make_tree(tmp_path / "mine", files)
    (root / "labels.txt").unlink()
    return root


def test_images_behind_a_view_are_named_as_their_owner_does(tmp_path: Path) -> None:
    root, extra, file = owned(tmp_path), tmp_path / "extra", tmp_path / "list.txt"
    file.write_text("cats/3.jpg\nbig dogs/0.jpg\n/mnt/old/mine/val/cats/10.jpg\n")
    chain = dump_extra(root, extra, select={"exclude": file})
    files = {
        split: {
            one["file"]
            for one in json.loads((extra / f"left-out-{split}.json").read_text())["left_out"]
        }
        for split in ("TRAIN", "VAL")
    }
    assert files["TRAIN"] == {f"{root}/train/cats/3.jpg", f"{root}/train/big dogs/0.jpg"}
    assert files["VAL"] == {f"{root}/val/cats/10.jpg"}
    shown = {os.path.realpath(f"{chain.root}/{train(*one)}") for one in entries(extra)}
    assert shown == {str(one) for one in root.glob("train/*/*")} - files["TRAIN"]
    assert check(root, extra).ok
    file.write_text("cats/3.jpg\ncats/77.jpg\n")
    with pytest.raises(MetadataError, match=r"1 line matches no image of TRAIN or VAL:\n  line 2"):
        dump_extra(root, extra, select={"exclude": file})


def test_classes_behind_a_view(tmp_path: Path) -> None:
    root, extra = owned(tmp_path), tmp_path / "extra"
    dump_extra(root, extra, select={"classes": ["big dogs"]})
    assert {one for one, _ in entries(extra)} == {"big dogs"}
    assert np.load(extra / "class-ids-VAL.npy").tolist() == ["big dogs"]
    with pytest.raises(MetadataError, match=r"'big dog'. Did you mean 'big dogs'\?"):
        dump_extra(root, extra, select={"classes": ["big dog"]})


@pytest.mark.needs("torchvision")
def test_verify_in_full_knows_the_selection(root: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    select = {"classes": [TENCH], "fraction": 0.5}
    dump_extra(root, extra, ["TRAIN", "VAL", "TEST"], select=select, level="full")
    (root / train(FISH, 9)).touch()
    dump_extra(root, extra, select=select, level="full")
    assert check(root, extra).ok
    (root / train(TENCH, 9)).touch()
    assert not check(root, extra).ok


def test_a_list_of_both_sides_of_a_holdout(tmp_path: Path) -> None:
    root, extra, file = owned(tmp_path), tmp_path / "extra", tmp_path / "list.txt"
    shutil.rmtree(root / "val")
    make_tree(root, [f"train/{one}/{i}.jpg" for one in ("cats", "big dogs") for i in range(40)])
    (root / "labels.txt").unlink()
    gone = ["cats/7.jpg", "cats/8.jpg", "big dogs/9.jpg", "big dogs/11.jpg"]
    file.write_text("\n".join(gone))
    dump_extra(root, extra, holdout=0.4, select={"exclude": file})
    left = [
        one["file"]
        for split in ("TRAIN", "VAL")
        for one in json.loads((extra / f"left-out-{split}.json").read_text())["left_out"]
    ]
    assert sorted(left) == sorted(f"{root}/train/{one}" for one in gone)
    assert check(root, extra).ok


def test_a_class_and_a_name_are_enough_wherever_in_the_class_an_image_is(tmp_path: Path) -> None:
    files = [f"train/{one}/images/{one}_{i}.jpg" for one in ("n01", "n02") for i in range(4)]
    root, extra, file = make_tree(tmp_path / "r", files), tmp_path / "e", tmp_path / "l.txt"
    (root / "labels.txt").unlink()
    file.write_text("n01/n01_2.jpg\n/old/train/n02/n02_0.jpg\n")
    dump_extra(root, extra, ["TRAIN"], select={"exclude": file})
    found = json.loads((extra / "left-out-TRAIN.json").read_text())["left_out"]
    assert [one["file"] for one in found] == [f"{root}/{files[2]}", f"{root}/{files[4]}"]


def test_check_knows_a_selection_of_images_without_classes(tmp_path: Path) -> None:
    root, extra = tmp_path / "flat", tmp_path / "extra"
    make_tree(root, [f"q{i}.jpg" for i in range(6)])
    (root / "labels.txt").unlink()
    (tmp_path / "l.txt").write_text("q1.jpg")
    dump_extra(root, extra, ["TRAIN"], select={"exclude": tmp_path / "l.txt"})
    assert len(entries(extra)) == 5
    assert check(root, extra).ok


def test_check_says_that_a_list_changed(root: Path, tmp_path: Path) -> None:
    extra, file = tmp_path / "extra", tmp_path / "list.txt"
    file.write_text(f"{TENCH}\n{FISH}\n")
    dump_extra(root, extra, select={"classes": file})
    for text in (f"{TENCH}\n", f"{TENCH}\n{FISH}\n{SHARK}\n", None):
        file.unlink() if text is None else file.write_text(text)
        for split in check(root, extra).splits:
            assert [(one.kind, one.first) for one in split.findings] == [("selection", [str(file)])]


def test_a_repaired_image_is_a_change(pictures: Path, tmp_path: Path) -> None:
    extra, path = tmp_path / "extra", pictures / train(TENCH, 3)
    good = path.read_bytes()
    spoil(path, "truncated")
    dump_extra(pictures, extra, select={"audit": BROKEN})
    ImageNetMetadata(pictures, extra, check="stat")
    path.write_bytes(good)
    with pytest.raises(MetadataError, match=rf"changed since .*:\n  .*{train(TENCH, 3)}"):
        ImageNetMetadata(pictures, extra, check="stat")
    assert [one.kind for one in check(pictures, extra).splits[0].findings] == ["selection"]


def test_leaks_stay_out_if_train_alone_is_made_again(pictures: Path, tmp_path: Path) -> None:
    extra, select = tmp_path / "extra", {"audit": ["leak"]}
    shutil.copy(pictures / train(SHARK, 1), pictures / val(SHARK, 0))
    with pytest.raises(MetadataError, match="TRAIN cannot be compared with VAL, as"):
        dump_extra(pictures, extra, ["TRAIN"], select=select)
    dump_extra(pictures, extra, select=select)
    states = file_states(extra.iterdir())
    dump_extra(pictures, extra, ["TRAIN"], select=select)
    dump_extra(pictures, extra, select=select)
    assert file_states(extra.iterdir()) == states
    shutil.copy(pictures / train(TENCH, 1), pictures / val(TENCH, 9))
    with pytest.raises(MetadataError, match="no audit has seen what is there now"):
        dump_extra(pictures, extra, ["TRAIN"], select=select)
    said = summarise(dump_extra(pictures, extra, ["VAL"], select=select))
    assert "TRAIN: not compared with VAL as it is now. Make all of them in one run." in said
    dump_extra(pictures, extra, select=select)
    assert {*left_out(extra)} == {train(SHARK, 1), train(TENCH, 1)}


def test_a_folder_to_reuse_must_have_metadata(root: Path, tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match="has no metadata that this program made"):
        dump_extra(root, tmp_path / "extra", reuse=tmp_path / "nothing")


@pytest.fixture
def odd(root: Path) -> Path:
    """The dataset with what a scan refuses: a wrong name, a link to nothing, and no images."""
    (root / f"train/{FISH}/a fish.png").touch()
    (root / train(FISH, 9999)).symlink_to("gone.jpg")
    (root / "train/n09999999").mkdir()
    with (root / "labels.txt").open("a") as labels:
        labels.write("n09999999,nothing\n")
    return root


def test_what_is_not_selected_may_be_what_a_scan_refuses(odd: Path, tmp_path: Path) -> None:
    extra, plain = tmp_path / "extra", tmp_path / "plain"
    dump_extra(odd, extra, select={"classes": [TENCH, SHARK]})
    gone = [f"{split}/{FISH}" for split in ("train", "val")] + ["train/n09999999"]
    assert digests(extra) == reference(odd, plain, gone)
    assert left_out(extra) == {}
    assert check(odd, extra).ok
    states = file_states(extra.iterdir())
    dump_extra(odd, extra, select={"classes": [TENCH, SHARK]})
    assert file_states(extra.iterdir()) == states
    with pytest.raises(MetadataError, match=r"cannot address 2 images(.|\n)*/a fish.png \("):
        dump_extra(odd, extra)
    make_tree(odd, [train(TENCH, 555), train(FISH, 555)])
    with pytest.raises(MetadataError, match=r"_9999.JPEG \(a dangling link to gone.jpg\)\n"):
        dump_extra(odd, extra, labels="folders")  # though its folder was listed before
    with pytest.raises(MetadataError, match=r"cannot address 1 image (.|\n)*/a fish.png \("):
        dump_extra(odd, extra, select={"fraction": 0.5})
    with pytest.raises(MetadataError, match=r"1 class folder .* no images:\n  n09999999"):
        dump_extra(odd, extra, unaddressable="skip", select={"fraction": 0.5})


def test_lists_may_leave_out_what_a_scan_refuses(odd: Path, tmp_path: Path) -> None:
    extra, file = tmp_path / "extra", tmp_path / "list.txt"
    file.write_text(f"n09999999\na fish.png\n{train(FISH, 9999)}\n{train(FISH, 7)}\n")
    chain = dump_extra(odd, extra, select={"exclude": file})
    gone = [train(FISH, 7), f"train/{FISH}/a fish.png", train(FISH, 9999)]
    assert left_out(extra) == dict.fromkeys(gone, "excluded")
    assert f"3 images and 1 class left out by select: exclude ({file})" in summarise(chain)
    assert digests(extra) == reference(odd, tmp_path, [*gone, "train/n09999999"])
    assert check(odd, extra).ok
    (odd / "train/n09999999").rmdir()
    file.write_text("".join(f"{train(one, 7)}\n" for one in (TENCH, FISH, SHARK)))
    dump_extra(odd, extra, select={"images": {"TRAIN": file}})
    assert entries(extra) == {(one, 7) for one in (TENCH, FISH, SHARK)}
    with file.open("a") as more:
        more.write("a fish.png\n")
    with pytest.raises(MetadataError, match=r"cannot address 1 image (.|\n)*/a fish.png \("):
        dump_extra(odd, extra, select={"images": {"TRAIN": file}})


def test_a_link_to_nothing_is_unreadable(pictures: Path, tmp_path: Path) -> None:
    extra, link = tmp_path / "extra", pictures / train(TENCH, 77)
    link.symlink_to("../later.jpg")
    select = {"audit": ["unreadable"]}
    with pytest.raises(MetadataError, match=r"1 image in .* cannot be opened"):
        dump_extra(pictures, extra, select={"audit": BROKEN})
    dump_extra(pictures, extra, select=select)
    assert left_out(extra) == {train(TENCH, 77): "unreadable"}
    assert (TENCH, 77) not in entries(extra)
    assert check(pictures, extra).ok
    shutil.copy(pictures / train(TENCH, 1), pictures / "train/later.jpg")
    dump_extra(pictures, extra, select=select)
    assert (TENCH, 77) in entries(extra)
    assert left_out(extra) == {}


def test_behind_a_view_too(tmp_path: Path) -> None:
    root, extra, file = owned(tmp_path), tmp_path / "extra", tmp_path / "list.txt"
    (root / "train/cats/9.jpg").symlink_to("nowhere.jpg")
    (root / "train/owls").mkdir()
    dump_extra(root, extra, select={"classes": ["big dogs"]})
    assert {one for one, _ in entries(extra)} == {"big dogs"}
    file.write_text("owls\ncats/9.jpg\n")
    dump_extra(root, extra, select={"exclude": file})
    found = json.loads((extra / "left-out-TRAIN.json").read_text())["left_out"]
    assert [one["file"] for one in found] == [f"{root}/train/cats/9.jpg"]
    assert len(entries(extra)) == 12
    assert check(root, extra).ok
    with pytest.raises(MetadataError, match=r"1 image in .*/train cannot be opened:\n  cats/9.jpg"):
        dump_extra(root, extra)
    (root / "train/cats/9.jpg").unlink()
    with pytest.raises(MetadataError, match=r"1 class folder in .* with no images:\n  owls"):
        dump_extra(root, extra)


def test_a_script_can_insist_on_its_part_of_the_dataset(root: Path, tmp_path: Path) -> None:
    extra, part = tmp_path / "extra", tmp_path / "part"
    select = {"classes": [TENCH, FISH], "fraction": 0.5, "seed": 3}
    dump_extra(root, extra)
    dump_extra(root, part, select=select, reuse=extra)
    dataset = ImageNetMetadata(root, part, select=select)
    assert dataset.classes == [TENCH, FISH]
    assert len(ImageNetMetadata(root, part, "VAL", select=select)) == 8
    assert len(ImageNetMetadata(root, extra, select={})) == 120
    wrong = r"another part of the dataset:\n  seed: 3, not 4\nRun"
    with pytest.raises(MetadataError, match=wrong):
        ImageNetMetadata(root, part, select={**select, "seed": 4})
    with pytest.raises(MetadataError, match=r"\n  fraction: None, not 0.5\n  seed: None, not 3"):
        ImageNetMetadata(root, extra, select={"fraction": 0.5, "seed": 3})
    with pytest.raises(MetadataError, match=r"\n  holdout: None, not 0.1\n"):
        ImageNetMetadata(root, extra, holdout=0.1)
    with pytest.raises(MetadataError, match="there is no setting 'select: fractoin'"):
        ImageNetMetadata(root, extra, select={"fractoin": 0.5})


def test_what_was_not_selected_is_not_skipped_by_a_setting(odd: Path, tmp_path: Path) -> None:
    extra, select = tmp_path / "extra", {"classes": [TENCH, SHARK]}
    chain = dump_extra(odd, extra, select=select)
    about = read_description(str(extra), "TRAIN")
    assert about.skipped == 0
    assert (about.selection.images, about.selection.unfit, about.selection.chosen) == (122, 2, 80)
    assert "42 images and 2 classes left out by select: classes" in summarise(chain)
    assert "unaddressable" not in known_settings(str(odd), str(extra))
    (odd / f"train/{TENCH}/new.JPEG").touch()
    with pytest.raises(MetadataError, match=r"cannot address 1 image (.|\n)*/new.JPEG \("):
        dump_extra(**known_settings(str(odd), str(extra)), extra=extra)
    (odd / f"train/{TENCH}/new.JPEG").unlink()
    (odd / f"train/{FISH}/another.png").touch()
    dump_extra(odd, extra, select=select)
    assert check(odd, extra).ok
    dump_extra(odd, extra, select=select, unaddressable="skip")
    assert read_description(str(extra), "TRAIN").skipped == 0
    dump_extra(odd, extra, select={"fraction": 0.5}, unaddressable="skip", empty_classes="keep")
    assert read_description(str(extra), "TRAIN").skipped == 3
    assert check(odd, extra).ok


@pytest.mark.parametrize(
    "line",
    [
        f"{TENCH}_5.JPEG",
        f"{TENCH}/{TENCH}_5.JPEG",
        train(TENCH, 5),
        "ILSVRC2012_val_00000999.JPEG",
        "n09000000_7.JPEG",
        f"{FISH}/{TENCH}_7.JPEG",
    ],
)
def test_a_line_of_a_shared_list_that_no_split_has(line: str, root: Path, tmp_path: Path) -> None:
    extra, file = tmp_path / "extra", tmp_path / "list.txt"
    good = [train(one, 7) for one in (TENCH, FISH, SHARK)]
    good += [val(one, k) for k, one in enumerate((TENCH, FISH, SHARK))]
    file.write_text("\n".join([*good, line]))
    for rule in ("exclude", "images"):
        with pytest.raises(MetadataError, match=rf"1 line matches no image .*\n  line 7: '{line}'"):
            dump_extra(root, extra, select={rule: file})
        dump_extra(root, extra, select={rule: file, "missing": "skip"})
        found = [read_description(str(extra), split).selection for split in ("TRAIN", "VAL")]
        assert max(one.rules[0].unmatched for one in found) == 1
    file.write_text("\n".join(good))
    dump_extra(root, extra, select={"images": file})
    assert len(entries(extra)) == len(entries(extra, "VAL")) == 3


def test_a_link_to_nothing_is_drawn_as_if_it_were_whole(root: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    for rule in ({"per_class": 6}, {"fraction": 0.2}):
        for seed in (1, 2):
            select = {**rule, "seed": seed}
            dump_extra(root, extra, select=select)
            chosen = sorted(entries(extra))
            gone = next(one for one in chosen if one[0] == FISH)
            other = next((FISH, 7 * i) for i in range(40) if (FISH, 7 * i) not in chosen)
            for one, is_chosen in ((gone, True), (other, False)):
                path = root / train(*one)
                path.rename(tmp_path / "away")
                path.symlink_to("nothing")
                if is_chosen:
                    with pytest.raises(MetadataError, match=r"1 image in .* cannot be opened"):
                        dump_extra(root, extra, select=select)
                else:
                    dump_extra(root, extra, select=select)
                    assert sorted(entries(extra)) == chosen
                    assert left_out(extra)[train(*one)] == "not in the sample"
                path.unlink()
                (tmp_path / "away").rename(path)


def test_a_list_may_name_what_is_skipped(odd: Path, tmp_path: Path) -> None:
    extra, file = tmp_path / "extra", tmp_path / "list.txt"
    file.write_text("a fish.png\nn09999999\n")
    dump_extra(odd, extra, select={"exclude": file}, unaddressable="skip")
    assert read_description(str(extra), "TRAIN").skipped == 2
    assert len(entries(extra)) == 120
