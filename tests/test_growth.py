import doctest
from pathlib import Path

import pytest
from dinov3_metadata import dump_extra, growth
from dinov3_metadata.growth import images_of, memory, minutes
from dinov3_metadata.paths import existing
from helpers import make_tree

PARTITION = 7 * 24 * 60  # minutes; Slurm's sites rarely allow more
NODE = 64_000  # MB


def test_the_examples_are_true() -> None:
    assert doctest.testmod(growth).failed == 0


@pytest.mark.parametrize(
    ("images", "folders", "measured"),
    [(1_281_167, 1_001, 63), (14_197_122, 21_842, 266)],
)
def test_a_job_asks_for_several_times_the_memory_that_was_measured(
    images: int, folders: int, measured: int
) -> None:
    assert 3 * measured < memory(images, folders)


def test_a_billion_images_fit_on_an_ordinary_node_in_an_ordinary_time() -> None:
    images, folders = 10**9, 10**6
    assert memory(images, folders) < NODE
    for stage in ("scan_split", "dump_entries", "dump_class_arrays", "verify"):
        assert minutes(stage, images, folders) < PARTITION


def test_a_million_folders_of_one_image_count_as_folders() -> None:
    few, many = (memory(10**6, folders) for folders in (10**3, 10**6))
    assert many > 5 * few
    assert minutes("scan_split", 10**6, 10**6) > 10 * minutes("scan_split", 10**6, 10**3)
    assert minutes("dump_entries", 10**6, 10**6) == minutes("dump_entries", 10**6, 10**3)


def test_images_are_those_of_the_scan_or_of_old_scans_or_a_mean(tmp_path: Path) -> None:
    extra = str(tmp_path / "extra")
    assert images_of(extra, "TRAIN", "21-folders-0123456789ab", 21) == 21 * 1300
    images = [f"train/n01440764/n01440764_{i}.JPEG" for i in range(500)]
    root = make_tree(tmp_path / "root", images, "n01440764,tench\n")
    dump_extra(root, extra, splits=["TRAIN"])
    ((_, state),) = existing(extra, "scan", split="TRAIN")
    assert 500 <= images_of(extra, "TRAIN", state["tree"], 1) < 1300
    assert 500 <= images_of(extra, "TRAIN", "1-folders-0123456789ab", 0) < 1300
