"""The report shows what is published, in one file whose pictures a browser can draw."""

import json
import re
import shutil
from base64 import b64decode
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata.demo import make_demo
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.faults import FAULTS
from dinov3_metadata.formats import PROBLEMS
from dinov3_metadata.paths import folder_of, path_of
from dinov3_metadata.published import published_state
from dinov3_metadata.report import data, html
from dinov3_metadata.report.doubles import ALIKE
from dinov3_metadata.report.overview import HARM, STOP, TITLE
from dinov3_metadata.report.pages import FIRST, TILES, draw_report
from dinov3_metadata.report.plots import EXTREMES
from dinov3_metadata.report.tiles import below, meant, tile
from dinov3_metadata.run import audit_extra, dump_extra
from dinov3_metadata.summary import summarise
from helpers import audit_all, make_tree
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
    whole = (tmp_path / "workdir/report.html").read_text()
    found = dict(re.findall(r"filename=([\w-]+\.\w+);base64,([\w+/=]+)", whole))
    pages = {name: b64decode(content).decode() for name, content in found.items()}
    titles = (
        "Counts per split|Verification|Since the last publication|Where it comes from|Audit, TRAIN"
    )
    titles += "|Images per class, TRAIN|Images per class, VAL|Mosaic, TRAIN|Mosaic, VAL|Sizes, TEST"
    for title in titles.split("|"):
        assert f'"{title}"' in whole
    assert "金鱼 &amp; &lt;gold&gt;" in pages["mosaic-train.html"]
    assert len(PICTURE.findall(pages["mosaic-train.html"])) == 2  # the next image of the class
    assert f"train/n01443537/{image.name}" in pages["audit-train.html"]
    assert "all 4 rows" in pages["verification.html"]
    assert "This is the first publication: 4 images." in pages["since-the-last-publication.html"]
    for page in pages.values():
        for picture in PICTURE.findall(page):
            Image.open(BytesIO(b64decode(picture))).convert("RGB")
    assert "金鱼" in pages["images-per-class-train.html"]
    assert f'"{TITLE}"' in whole
    described = json.loads(re.search(r"var workflow_desc = (.*);\n", whole)[1])
    assert "training stops at 1 image" in described
    assert "金鱼" not in described  # each class has as many images
    assert not re.search(r'(src|href)="http', whole.split("<body")[1])


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
    assert len(named) == 2 * EXTREMES
    assert "<img class=plot" in bars
    assert len(bars) < 200_000
    assert pages["Mosaic, TRAIN"].count("<figure>") == TILES
    assert "1 to 7 images in a class; n00000006 has 7.0 times as many" in re.sub(
        r"\$", "", pages[TITLE]
    )
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
    assert "1 class," in pages["Images per class, TRAIN"]
    assert "unknown" in pages[TITLE]


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
    assert not any("<script>alert" in page for page in pages.values())
    first = Path(path_of(tmp_path / "extra", "page", page=FIRST)).read_text()
    assert "<script" not in first


def picture(tile: str) -> Image.Image:
    """The picture that a tile shows."""
    return Image.open(BytesIO(b64decode(PICTURE.findall(tile)[0]))).convert("RGB")


def colour(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB").resize((1, 1), Image.Resampling.BOX), int)[0, 0]


def transparent_palette() -> Image.Image:
    image = Image.new("P", (300, 200), 1)
    image.putpalette([255, 255, 255, 200, 30, 90])
    image.info["transparency"] = 1
    return image


@pytest.mark.parametrize(
    ("image", "form"),
    [
        (Image.new("CMYK", (300, 200), (20, 200, 90, 10)), "JPEG"),
        (Image.fromarray(np.full((200, 300), 20_000, "u2")), "PNG"),
        (transparent_palette(), "PNG"),
        (Image.new("RGBA", (300, 200), (10, 200, 90, 0)), "PNG"),
        (Image.new("LA", (300, 200), (77, 0)), "PNG"),
    ],
    ids=["CMYK", "16 bit", "transparent palette", "alpha", "grey and alpha"],
)
def test_a_tile_shows_what_training_sees(image: Image.Image, form: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    image.save(path, form)
    with Image.open(path) as opened:
        seen = opened.convert("RGB")
    shown = tile(path, 'an "image"')
    assert 'width="128" height="85" alt="an &quot;image&quot;"' in shown
    assert abs(colour(picture(shown)) - colour(seen)).max() < 4


@pytest.mark.parametrize("problem", ["clipped", "transparent", "rotated"])
def test_beside_it_is_what_a_viewer_shows(problem: str, tmp_path: Path) -> None:
    drawn = np.zeros((96, 96, 3), "u1")
    drawn[:32] = 200
    (tmp_path / "image").write_bytes(FAULTS[problem](Image.fromarray(drawn)))
    seen, shown = (np.asarray(picture(one(tmp_path / "image", ""))) for one in (tile, meant))
    if problem == "clipped":
        assert seen.min() == 255
        assert (shown[8, 48].min(), shown[80, 48].max()) == (255, 0)
    elif problem == "transparent":
        assert abs(seen[2, 2] - np.array([200, 0, 200], int)).max() < 9
        assert shown[2, 2].min() > 250
        assert abs(seen[48, 48].astype(int) - shown[48, 48]).max() < 9
    else:
        assert abs(np.rot90(shown).astype(int) - seen).max() < 9
        assert shown[8, 48].min() > 190 > 9 > shown[80, 48].max()


def test_what_cannot_be_shown_is_said(tmp_path: Path) -> None:
    for problem in ("truncated", "decompression-bomb", "text"):
        content = FAULTS[problem]
        image = Image.new("RGB", (96, 96))
        path = tmp_path / problem
        path.write_bytes(content if isinstance(content, bytes) else content(image))
        assert tile(path, "", "not <decoded>") == "<div class=none>not &lt;decoded&gt;</div>"
    assert below("/root", "train/a/../b.JPEG") == Path("/root/train/b.JPEG")
    for path in ("../b.JPEG", "/b.JPEG", "train/../../b.JPEG"):
        assert below("/root", path) is None


@pytest.fixture
def audited(tmp_path: Path) -> Path:
    """EXTRA of a dataset of two classes whose images are good but for those of a class."""
    root = dataset(tmp_path / "root", "n1,one\nn2,two\n")
    dump_extra(root, tmp_path / "extra")
    for path in (root / "train/n2").iterdir():
        Image.open(path).convert("CMYK").save(path, "JPEG")
    audit_all(root, tmp_path / "extra")
    return tmp_path / "extra"


@pytest.mark.needs("matplotlib")
def test_each_problem_shows_its_images_up_to_a_number(
    audited: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def page() -> str:
        return drawn(audited)["Audit, TRAIN"]

    section = page().split('<h2 id="other-mode">')[1]
    assert len(PICTURE.findall(section)) == 2
    assert all(path.name in section for path in (audited.parent / "root/train/n2").iterdir())
    assert "more image" not in section
    assert '<a href="#other-mode">other-mode</a></td><td class=n>2</td>' in page()
    monkeypatch.setattr(data, "EACH", 1)
    monkeypatch.setattr("dinov3_metadata.report.problems.EACH", 1)
    section = page().split('<h2 id="other-mode">')[1]
    assert len(PICTURE.findall(section)) == 1
    assert "... and 1 more image. audit-TRAIN.json has all." in section


@pytest.mark.needs("matplotlib")
def test_what_is_too_much_for_a_page_goes_to_others(
    audited: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "LIMIT", html.ROOM + 100)
    pages = drawn(audited)
    assert "other-mode <small>(page 2)</small></td><td class=n>2</td>" in pages["Audit, TRAIN"]
    for number in (2, 3):
        more = pages[f"Audit, TRAIN, page {number}"]
        assert len(PICTURE.findall(more)) == 1
        assert '<h2 id="other-mode">other-mode</h2>' in more
        assert f"<h1>Audit, TRAIN, page {number}</h1>" in more
    assert all(len(PICTURE.findall(pages[f"Mosaic, TRAIN, page {i}"])) == 1 for i in (2, 3))


@pytest.mark.needs("matplotlib")
def test_small_images_are_counted(audited: Path) -> None:
    table = np.load(audited / "audit-TRAIN.npy")
    table["width"], table["height"] = [0, 230, 600, 224], [0, 600, 511, 224]
    np.save(audited / "audit-TRAIN.npy", table)
    pages = drawn(audited)
    assert "TRAIN: 0 below 224, 2 below 256, 3 below 512 pixels" in pages[TITLE]
    row = "<td class=n>256</td><td class=n>2</td><td class=n>66.7</td>"
    assert row in pages["Sizes, TRAIN"]


def duplicates(extra: Path, **groups: list) -> None:
    """Write duplicates.json as ``stages.duplicates`` does."""
    lists = {"exact": [], "near": [], "leaks": []} | groups
    some = {f"{name}_groups": len(lists[name]) for name in ("exact", "near")}
    some |= {f"{name}_images": sum(len(one["images"]) for one in lists[name]) for name in lists}
    head = {"root": "/root", "audited": "2026-11-30", "images": 4, "threshold": 4}
    head |= {"splits": {"TRAIN": {"images": 4, **some}}}
    head |= {"pairs": {"TRAIN-VAL": {"exact": len(lists["leaks"]), "near": 0}}}
    text = json.dumps(head, indent=1).removesuffix("\n}")
    for name, several in lists.items():
        text += f',\n "{name}": [\n  ' + ",\n  ".join(map(json.dumps, several)) + "\n ]"
    (extra / "duplicates.json").write_text(f"{text}\n}}\n")


@pytest.mark.needs("matplotlib")
def test_doubles_and_leaks_are_shown_side_by_side(
    audited: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = audited.parent / "root"
    train, val = (
        [str(path.relative_to(root)) for path in sorted((root / split).rglob("*.JPEG"))]
        for split in ("train", "val")
    )
    exact = {"split": "TRAIN", "images": [{"image": path} for path in train * 2]}
    near = {"split": "TRAIN", "distance": 3, "images": [{"image": path} for path in train[:2]]}
    leak = [{"split": "TRAIN", "image": train[0]}, {"split": "VAL", "image": val[0]}]
    leaks = [{"distance": 0, "images": leak}, {"distance": 0, "images": leak}]
    duplicates(audited, exact=[exact], near=[near], leaks=leaks)
    monkeypatch.setattr("dinov3_metadata.report.doubles.EACH", 1)
    pages = drawn(audited)
    page = pages["Doubles and leaks"]
    sections = dict(re.findall(r'<h2 id="(\w+)">(.*?)(?=<h2|</main)', page))
    assert [*sections] == ["leaks", "exact", "near"]
    shown = {name: len(PICTURE.findall(section)) for name, section in sections.items()}
    assert shown == {"leaks": 2, "exact": ALIKE, "near": 2}
    assert "... and 2 more images" in sections["exact"]
    assert "... and 1 more group. duplicates.json has all." in sections["leaks"]
    assert val[0] in sections["leaks"]
    assert "distance 3" in sections["near"]
    assert "Look at this first:</span> 2 images in two splits" in pages[TITLE]


@pytest.mark.needs("matplotlib")
@pytest.mark.parametrize("damage", [None, "", "[1]", '{"exact": 3}', '{"exact": [], "near": []}'])
def test_without_what_was_found_of_doubles_their_page_is_left_out(
    damage: str | None, audited: Path
) -> None:
    if damage is not None:
        (audited / "duplicates.json").write_text(damage)
    pages = drawn(audited)
    assert "Doubles and leaks" not in pages
    assert "<code>snakemake audit</code> looks for them" in pages[TITLE]


@pytest.mark.needs("matplotlib")
def test_a_path_of_doubles_outside_root_is_not_opened(audited: Path) -> None:
    Image.new("RGB", (9, 9)).save(audited.parent / "secret.JPEG")
    images = [{"image": "../secret.JPEG"}, {"image": str(audited.parent / "secret.JPEG")}]
    duplicates(audited, exact=[{"split": "TRAIN", "images": images}])
    page = drawn(audited)["Doubles and leaks"]
    assert page.count("<div class=none>not decoded</div>") == 2
    assert not PICTURE.findall(page)


@pytest.mark.needs("matplotlib")
def test_the_first_page_says_whether_the_dataset_is_right(audited: Path) -> None:
    def verdict() -> str:
        return re.search(r"</h1><p>(.*?)</p>", drawn(audited)[TITLE])[1]

    summary = Path(path_of(audited, "audit_summary", split="TRAIN"))
    whole = json.loads(summary.read_text())
    state = published_state(audited, "TRAIN").state
    places = ("tree", "selection", "numbered")
    whole |= {name: state[name] for name in places}
    summary.write_text(json.dumps(whole))
    assert "Nobody has looked at the images of VAL as they are now: run" in verdict()
    (audited / "audit-VAL.json").write_text("{}")
    state = published_state(audited, "VAL").state
    of_val = whole | {name: state[name] for name in places}
    Path(path_of(audited, "audit_summary", split="VAL")).write_text(json.dumps(of_val))
    assert verdict() == "<span class=good>Yes:</span> nothing is known against it."
    summary.write_text(json.dumps(whole | {"problems": {"clipped": 2, "damaged": 1}}))
    assert "Look at this first:</span> 3 times an image is not" in verdict()
    summary.write_text(json.dumps(whole | {"problems": {"clipped": 2, "zero-bytes": 1}}))
    assert verdict() == "<span class=bad>No:</span> training stops at 1 image."


@pytest.mark.needs("matplotlib")
def test_an_audit_that_is_older_than_the_split_is_no_reason_to_say_yes(tmp_path: Path) -> None:
    root, extra = dataset(tmp_path / "root", "n1,one\nn2,two\n"), tmp_path / "extra"
    splits = ["TRAIN", "VAL"]
    dump_extra(root, extra, splits)
    audit_extra(root, extra, threads=1, splits=splits)
    first = min((root / "val/n1").iterdir())
    first.rename(first.with_name("ILSVRC2012_val_00000099.JPEG"))
    chain = dump_extra(root, extra, splits)
    assert "VAL has changed since its audit of" in summarise(chain)
    pages = drawn(extra)
    assert "Nobody has looked at the images of VAL as they are now" in pages[TITLE] or (
        "No:</span> training stops" in pages[TITLE]
    )
    assert ", changed since" in pages[TITLE]
    assert "Since then the split has changed" in pages["Audit, VAL"]
    assert "Since then the split has changed" not in pages["Audit, TRAIN"]


@pytest.mark.needs("matplotlib")
def test_the_first_page_warns_of_classes_with_two_numbers(tmp_path: Path) -> None:
    root = dataset(tmp_path / "root", "n1,one\nn2,two\n")
    shutil.rmtree(root / "val/n1")
    for classes, warned in (("own", True), ("train", False)):
        dump_extra(root, tmp_path / "extra", ["TRAIN", "VAL"], classes=classes)
        page = drawn(tmp_path / "extra")[TITLE]
        assert ("TRAIN and VAL number their classes differently" in page) == warned


def test_each_problem_has_a_meaning() -> None:
    assert [*PROBLEMS] == [*FAULTS]
    assert {*STOP, *HARM} < {*PROBLEMS}


def test_after_a_run_is_too_late(tmp_path: Path, snakemake: Callable) -> None:
    done = snakemake("--report", "r.html", "--report-after-run", fails=True)
    assert "Run first, then use --report" in done.stdout
