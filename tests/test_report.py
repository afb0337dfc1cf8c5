"""The report shows what is published, in one file whose pictures a browser can draw."""

import re
import shutil
from base64 import b64decode
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from dinov3_metadata.demo import make_demo
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.paths import folder_of, path_of
from dinov3_metadata.report.pages import TILES, draw_report
from dinov3_metadata.report.plots import BARS
from dinov3_metadata.run import dump_extra
from helpers import make_tree
from PIL import Image

SPLITS = ("TRAIN", "VAL", "TEST")
PICTURE = re.compile(r"data:image/jpeg;base64,([\w+/=]+)")


def drawn(extra: Path, splits: tuple[str, ...] = SPLITS) -> dict[str, str]:
    """Title -> what its page says."""
    return {page["title"]: Path(page["path"]).read_text() for page in draw_report(extra, splits)}


def dataset(root: Path, labels: str) -> Path:
    """A drawn dataset, with two images to a class of train/."""
    labels_file = root.with_name("labels.txt")
    labels_file.write_text(labels)
    make_demo(root, labels_file, {"TRAIN": 2, "VAL": 1, "TEST": 3})
    return root


def test_the_report_of_a_real_run_has_each_section_and_its_images_decode(
    tmp_path: Path, snakemake: Callable
) -> None:
    root = dataset(tmp_path / "数据 root", "n01440764,tench\nn01443537,金鱼 & <gold>\n")
    image = min((root / "train/n01443537").iterdir())
    image.write_bytes(b"not an image")
    config = {"root": root, "extra": tmp_path / "extra", "splits": "[TRAIN,VAL,TEST]"}
    snakemake(**config)
    snakemake("audit", **config)
    snakemake("--report", "report.html", **config)
    html = (tmp_path / "workdir/report.html").read_text()
    found = dict(re.findall(r"filename=([\w-]+\.\w+);base64,([\w+/=]+)", html))
    pages = {name: b64decode(content).decode() for name, content in found.items()}
    titles = (
        "Counts per split|Verification|Since the last publication|Where it comes from|Audit, TRAIN"
    )
    titles += "|Images per class, TRAIN|Images per class, VAL|Mosaic, TRAIN|Mosaic, VAL|Sizes, TEST"
    for title in titles.split("|"):
        assert f'"{title}"' in html
    assert "金鱼 &amp; &lt;gold&gt;" in pages["mosaic-train.html"]
    assert len(PICTURE.findall(pages["mosaic-train.html"])) == 2  # the next image of the class
    assert f"train/n01443537/{image.name}" in pages["audit-train.html"]
    assert "all 4 rows" in pages["verification.html"]
    assert "This is the first publication: 4 images." in pages["since-the-last-publication.html"]
    for name, page in pages.items():
        if name.endswith(".svg"):
            assert ElementTree.fromstring(page).tag.endswith("svg"), name
        for picture in PICTURE.findall(page):
            Image.open(BytesIO(b64decode(picture))).convert("RGB")
    assert "金鱼" in pages["images-per-class-train.svg"]
    assert not re.search(r'(src|href)="http', html.split("<body")[1])


@pytest.mark.needs("matplotlib")
def test_classes_and_images_that_came_and_went(tmp_path: Path) -> None:
    root = dataset(tmp_path / "root", "n1,one\nn2,two\nn3,three\n")
    dump_extra(root, tmp_path / "extra")
    for split in ("train", "val"):
        shutil.rmtree(root / split / "n1")
    make_tree(root, ["train/n4/n4_7.JPEG"], "n2,two\nn3,three\nn4,four\nn1,one\n")
    dump_extra(root, tmp_path / "extra")
    page = drawn(tmp_path / "extra")["Since the last publication"]
    text = re.sub(r"<[^>]*>", " ", page)
    assert "1 image added, 2 removed, in 2 classes" in text
    assert re.search(r"n1 +class removed +0 +2", text)
    assert re.search(r"n4 +four +new class +1 +0", text)


@pytest.mark.needs("matplotlib")
def test_a_thousand_classes_name_only_the_ends(tmp_path: Path) -> None:
    ids = [f"n{number:08d}" for number in range(1000)]
    labels = "".join(f"{class_id},${class_id}$\n" for class_id in ids)
    files = [f"train/{one}/{one}_{i}.JPEG" for n, one in enumerate(ids) for i in range(1 + n % 7)]
    root = make_tree(tmp_path / "root", [*files, f"train/{ids[0]}/{ids[0]}_99.JPEG"], labels)
    dump_extra(root, tmp_path / "extra", ["TRAIN"])
    pages = drawn(tmp_path / "extra")
    bars = pages["Images per class, TRAIN"]
    assert "1,000 classes, 1 to 7 images, median 4" in bars
    named = [one for one in ids if one in bars]
    assert len(named) == 10 < BARS
    assert len(bars) < 100_000
    assert pages["Mosaic, TRAIN"].count("<figure>") == TILES
    assert "Verification" in pages
    assert "Audit, TRAIN" not in pages


def test_nothing_published_is_said_in_one_sentence(tmp_path: Path, snakemake: Callable) -> None:
    root = dataset(tmp_path / "root", "n1,one\n")
    done = snakemake("--report", "r.html", root=root, extra=tmp_path / "extra", fails=True)
    assert "Error: Nothing is published in" in done.stdout
    with pytest.raises(MetadataError, match="Make the metadata first"):
        draw_report(tmp_path, SPLITS)


@pytest.mark.needs("matplotlib")
def test_without_the_work_folders_checks_the_rest_is_shown(tmp_path: Path) -> None:
    dump_extra(dataset(tmp_path / "root", "n1,one\n"), tmp_path / "extra", ["TRAIN"])
    shutil.rmtree(folder_of(tmp_path / "extra", "receipt"))
    pages = drawn(tmp_path / "extra", ("TRAIN",))
    assert "went with the work folder" in pages["Verification"]
    assert "went with the work folder" in pages["Since the last publication"]
    assert "1 classes" in pages["Images per class, TRAIN"]


def test_a_published_file_that_is_damaged_is_named_and_stays(tmp_path: Path) -> None:
    dump_extra(dataset(tmp_path / "root", "n1,one\n"), tmp_path / "extra", ["TRAIN"])
    entries = tmp_path / "extra/entries-TRAIN.npy"
    entries.write_bytes(b"damaged")
    with pytest.raises(MetadataError, match=r"entries-TRAIN.npy cannot be read \(.*run snakemake"):
        drawn(tmp_path / "extra")
    assert entries.read_bytes() == b"damaged"


@pytest.mark.parametrize("damage", ["", "[1]", '{"audited": "today"}', ' "not_ok": [\n  {x\n'])
def test_a_damaged_audit_is_left_out(damage: str, tmp_path: Path, snakemake: Callable) -> None:
    root = dataset(tmp_path / "root", "n1,one\n")
    config = {"root": root, "extra": tmp_path / "extra", "splits": "[TRAIN]"}
    min((root / "train/n1").iterdir()).write_bytes(b"no image")
    dump_extra(root, tmp_path / "extra", ["TRAIN"])
    snakemake("audit", "--set-scatter", "audit=1", **config)
    (tmp_path / "extra/audit-TRAIN.json").write_text(damage)
    drawn(tmp_path / "extra")
    Path(path_of(tmp_path / "extra", "audit_summary", split="TRAIN")).write_text(damage)
    assert "Audit, TRAIN" not in drawn(tmp_path / "extra")
    assert "audited" not in snakemake(**config).stdout


@pytest.mark.needs("matplotlib")
def test_a_name_is_never_html(tmp_path: Path) -> None:
    root = dataset(tmp_path / "root", "n1,<script>alert(1)</script>\n")
    dump_extra(root, tmp_path / "extra", ["TRAIN"])
    min((root / "train/n1").iterdir()).unlink()
    dump_extra(root, tmp_path / "extra", ["TRAIN"])
    pages = drawn(tmp_path / "extra")
    assert "&lt;script&gt;" in pages["Since the last publication"]
    assert not any("<script" in page for page in pages.values())


def test_after_a_run_is_too_late(tmp_path: Path, snakemake: Callable) -> None:
    done = snakemake("--report", "r.html", "--report-after-run", fails=True)
    assert "Run first, then use --report" in done.stdout
