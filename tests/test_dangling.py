"""An image behind a link whose target vanished is noticed, and taken again when it comes back."""

from pathlib import Path

import pytest
from dinov3_metadata.checks.check import check
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.formats import read_description
from dinov3_metadata.run import dump_extra
from helpers import digests, make_tree

KAGGLE = "ILSVRC/Data/CLS-LOC"
CASES = {
    "imagenet": ("TRAIN", "train/n01440764/n01440764_5.JPEG"),
    "imagenet, flat": ("TEST", "test/ILSVRC2012_test_00000005.JPEG"),
    "folder": ("TRAIN", "train/cat/5.jpg"),
    "folder, nested": ("TRAIN", "train/cat/deep/5.jpg"),
    "folder, flat": ("TEST", "test/5.jpg"),
    "flat": ("TRAIN", "photos/5.jpg"),
    "kaggle": ("TRAIN", f"{KAGGLE}/train/n01440764/n01440764_5.JPEG"),
    "kaggle, annotated": ("VAL", f"{KAGGLE}/val/ILSVRC2012_val_00000005.JPEG"),
    "tiny-imagenet": ("TRAIN", "train/n01440764/images/n01440764_5.JPEG"),
    "tiny-imagenet, annotated": ("VAL", "val/images/val_5.JPEG"),
}
"""Layout -> split, and the image that is a link."""


def make(root: Path, link: str, target: Path) -> Path:
    """Make a dataset of one image beside the link."""
    make_tree(root, [link.replace("5.", "1.")])
    (root / "LOC_val_solution.csv").write_text(
        "ImageId,PredictionString\n"
        + "".join(f"ILSVRC2012_val_0000000{i},n01440764 1 1 1 1\n" for i in (1, 5))
    )
    if link.startswith("val"):
        (root / "val/val_annotations.txt").write_text(
            "".join(f"val_{i}.JPEG\tn01440764\t0\t0\t9\t9\n" for i in (1, 5))
        )
    (root / link).symlink_to(target)
    return root


@pytest.mark.needs("torchvision")
@pytest.mark.parametrize("trust", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_a_target_that_vanishes_and_comes_back(case: str, trust: bool, tmp_path: Path) -> None:
    split, link = CASES[case]
    target, extra = tmp_path / "pool/x", tmp_path / "extra"
    make_tree(tmp_path, ["pool/x"])
    root = make(tmp_path / "set", link, target)
    options = {"layout": case.partition(",")[0], "labels": "folders", "trust_timestamps": trust}
    dump_extra(root, extra, [split], **options)
    whole = digests(extra)
    for engine in ("scandir", "torchvision"):
        target.unlink()
        with pytest.raises(MetadataError) as refusal:
            dump_extra(root, extra, [split], engine=engine, **options)
        said = str(refusal.value)
        assert f"{split}: 1 image in " in said
        assert " cannot be opened:" in said
        assert "view" not in said
        assert f"a dangling link to {target})" in said
        assert Path(link).name in said
        assert digests(extra) == whole
        target.touch()
        dump_extra(root, extra, [split], engine=engine, **options)
        assert digests(extra) == whole
    target.unlink()
    dump_extra(root, extra, [split], unaddressable="skip", level="full", **options)
    assert read_description(extra, split).skipped == 1
    assert digests(extra) != whole
    assert check(root, extra, [split], "folders").ok
    target.touch()
    dump_extra(root, extra, [split], unaddressable="skip", level="full", **options)
    assert read_description(extra, split).skipped == 0
    assert digests(extra) == whole
