"""Input that is hostile or odd: our own exception or the right result, and nothing is executed."""

import os
from contextlib import suppress
from pathlib import Path

import pytest
from dinov3_metadata import readdir
from dinov3_metadata.addresses import image_path
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.stages.entries import write_entries
from dinov3_metadata.stages.labels import read_labels
from dinov3_metadata.stages.scan import scan_images
from dinov3_metadata.trees import of_tree
from helpers import digests, dump, make_scan, make_tree, named
from hypothesis import given, settings
from hypothesis import strategies as st

ODD = [
    "-rf",
    "; touch PWNED",
    "$(touch PWNED)",
    "`touch PWNED`",
    "'\"'",
    "tab\tand\\backslash",
    "{split}",
    "%s%d",
    "*?[a]",
    "~",
    " blank ",
    "x" * 240,
    "鱥" * 80,
]


def odd_tree(root: Path) -> Path:
    files = [image_path(split, name, 1) for split in ("TRAIN", "VAL") for name in ODD]
    rows = [f'"{name}","{name}"\n' for name in (text.replace('"', '""') for text in ODD)]
    return make_tree(root, files, "".join(rows))


@pytest.mark.needs("torchvision")
def test_odd_names_are_names_like_any_other(tmp_path: Path, snakemake) -> None:
    root, extra = odd_tree(tmp_path / "root"), tmp_path / "extra"
    snakemake(root=root, extra=extra, verify="{level: full}")
    for split in ("TRAIN", "VAL"):
        dump(root, tmp_path / "fresh", split)
    assert digests(extra) == digests(tmp_path / "fresh")
    assert list(tmp_path.rglob("PWNED*")) == []


def test_names_that_are_no_text_are_refused_in_print(tree: Path, tmp_path: Path, snakemake) -> None:
    folder = os.fsencode(tree / "train") + b"/n\xff\nx"
    os.mkdir(folder)
    Path(os.fsdecode(folder + b"/n\xff\nx_1.JPEG")).touch()
    said = snakemake(root=tree, extra=tmp_path / "extra", fails=True).stdout
    assert "1 class folder has a name in" in said
    assert "\n  n\\udcff\\nx (LATIN1: nÿ\\nx, " in said
    os.rename(folder + b"/n\xff\nx_1.JPEG", os.fsencode(tree / "train/n01440764") + b"/\xfe.png")
    os.rmdir(folder)
    said = snakemake(root=tree, extra=tmp_path / "extra", fails=True).stdout
    assert "n01440764/\\udcfe.png (no number before the suffix)" in said


def test_yaml_tags_construct_nothing(tmp_path: Path, snakemake) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f'root: !!python/object/apply:os.system ["touch {tmp_path}/PWNED"]\n')
    assert "not valid JSON or YAML" in snakemake("--configfile", str(config), fails=True).stdout
    assert not (tmp_path / "PWNED").exists()


def test_long_paths(tmp_path: Path, snakemake) -> None:
    deep = "/".join(["d" * 200] * 18)
    root = make_tree(tmp_path / deep / "root")
    extra = tmp_path / deep / "extra"
    assert "the path is too long: 3," in snakemake(root=root, extra=extra, fails=True).stdout
    extra = tmp_path / "/".join(["d" * 200] * 11)
    snakemake(root=root, extra=extra)
    dump(root, tmp_path / "fresh", "TRAIN")
    dump(root, tmp_path / "fresh", "VAL")
    assert digests(extra) == digests(tmp_path / "fresh")


def test_a_folder_of_a_million_images(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = readdir.pack({f"n01440764_{i}.JPEG": readdir.FILE for i in range(1_000_000)})
    real = readdir.read_names
    monkeypatch.setattr(
        readdir, "read_names", lambda path: [names] if path.endswith("n01440764") else real(path)
    )
    found, *_ = scan_images(tree, "TRAIN")
    assert found.counts.tolist() == [1_000_000, 1, 1]


def test_a_name_of_a_hundred_thousand_characters(tmp_path: Path) -> None:
    name = "x" * 100_000
    write_entries(make_scan(["a"], [30], range(30)), named({"a": name}), tmp_path / "e.npy")
    assert (tmp_path / "e.npy").stat().st_size > 30 * 400_000


def test_a_new_fingerprint_for_a_folder_that_can_not_be_looked_at(tree: Path) -> None:
    """An entry that fails hides none of the others."""
    (tree / "train/loop").symlink_to("loop")
    before = of_tree(tree / "train", [], "").name
    make_tree(tree, ["train/n01440764/n01440764_5.JPEG"])
    assert of_tree(tree / "train", [], "").name != before
    assert before.startswith("4-folders-")


@given(content=st.binary() | st.text('n01,"\n\r ä', max_size=60).map(str.encode))
@settings(max_examples=500)
def test_any_bytes_as_labels(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "labels.txt"
    path.write_bytes(content)
    with suppress(MetadataError):
        read_labels(path).of(["n", "n01"])


PART = st.binary(min_size=1, max_size=12).filter(lambda name: not {0, 47} & {*name})
NAME = st.sampled_from([b"n_1.JPEG", b"n_01.JPEG", b"x.png", b"n"]) | PART


@given(paths=st.sets(st.lists(NAME, min_size=1, max_size=4).map(b"/".join), max_size=8))
@settings(max_examples=100)
def test_any_tree_as_a_split(paths: set[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("root")
    for path in paths:
        full = os.fsencode(root) + b"/train/" + path
        try:
            os.makedirs(os.path.dirname(full), exist_ok=True)
            os.close(os.open(full, os.O_CREAT))
        except OSError:
            continue  # a file in the place of a folder, "." or ".."
    for skip in ("refuse", "skip"):
        with suppress(MetadataError):
            found, *_ = scan_images(root, "TRAIN", unaddressable=skip)
            assert found.counts.sum() == len(found.actual_index) > 0
