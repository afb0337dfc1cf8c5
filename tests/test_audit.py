"""Each image is opened once, as training opens it, and listed with its problems."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO
from unittest.mock import patch

import numpy as np
import pytest
from dinov3_metadata import images
from dinov3_metadata.addresses import IMG_EXTENSIONS
from dinov3_metadata.demo import make_demo
from dinov3_metadata.disk import make_folder
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.examine import BIT, Examined, examine, wrong_suffix
from dinov3_metadata.files import write_atomically
from dinov3_metadata.formats import NOTES, PROBLEMS, NotOk, problem_images
from dinov3_metadata.images import RASTER, opened_image, raster_formats
from dinov3_metadata.paths import StrPath, existing, folder_of, path_of
from dinov3_metadata.run import dump_extra
from dinov3_metadata.stages import audit
from dinov3_metadata.stages.audit import ROW, audit_share, audit_split, write_share
from dinov3_metadata.stages.scan import scan_images
from dinov3_metadata.stand_ins import MOST, stand_in
from helpers import AUDIT, REPOSITORY, audit_all, file_states, make_scan, make_tree
from PIL import Image

COLOURS = np.random.default_rng(0).integers(0, 255, (40, 60, 3), "u1")
TWO = ["--set-scatter", "audit=2"]  # as many shares as a test needs
BROKEN_EXIF = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0e\x01\x02\0\xff\xff\0\0\xff\xff\0\0"


def draw(path: Path, mode: str = "RGB", as_format: str = "JPEG", **options: object) -> None:
    Image.fromarray(COLOURS).convert(mode).save(path, as_format, **options)


def cut(path: Path) -> None:
    draw(path)
    path.write_bytes(path.read_bytes()[:-500])


def endless(path: Path) -> None:
    """Draw a PNG whose end marker is missing."""
    draw(path, as_format="PNG")
    path.write_bytes(path.read_bytes()[:-12])


def rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    draw(path, exif=exif)


def large(side: int) -> Callable[[Path], None]:
    return lambda path: Image.new("L", (side, side)).save(path, "PNG")


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"

# Imitations of irregular images in ImageNet, which cannot be included here; the names are theirs.
IRREGULAR: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "n02105855_2933.JPEG": (lambda path: draw(path, as_format="PNG"), {"wrong-suffix"}),
    "n01739381_1309.JPEG": (lambda path: draw(path, "CMYK"), {"other-mode"}),
    "n04152593_17460.JPEG": (
        lambda path: draw(path, exif=BROKEN_EXIF, dpi=(72, 72)),
        {"broken-exif"},
    ),
    "n00000001_1.JPEG": (draw, set()),
    "n00000001_2.JPEG": (lambda path: draw(path, "L"), set()),
    "n00000001_3.JPEG": (cut, {"truncated"}),
    "n00000001_11.JPEG": (
        lambda path: path.write_bytes(b"\xff\xd8\xff\xe0\0\x10JF"),
        {"truncated"},
    ),
    "n00000001_12.JPEG": (
        lambda path: draw(path, exif=b"Exif\0\0garbage garbage"),
        {"broken-exif"},
    ),
    "n00000001_13.JPEG": (
        lambda path: draw(path, as_format="PNG") or path.write_bytes(path.read_bytes()[:-500]),
        {"truncated", "wrong-suffix"},
    ),
    "n00000001_4.JPEG": (Path.touch, {"zero-bytes"}),
    "n00000001_5.JPEG": (
        lambda path: path.write_text("404 Not Found\n"),
        {"not-an-image", "text"},
    ),
    "n00000001_14.JPEG": (
        lambda path: path.write_text(LFS),
        {"not-an-image", "git-lfs-pointer"},
    ),
    "n00000001_15.JPEG": (
        lambda path: path.write_text("/annex/objects/MD5E-s9--0123.jpg\n"),
        {"not-an-image", "annex-link"},
    ),
    "n00000001_16.JPEG": (
        lambda path: path.write_text("<!DOCTYPE html><title>404</title>"),
        {"not-an-image", "html-page"},
    ),
    "n00000001_6.JPEG": (
        lambda path: path.write_bytes(b"GIF89a\0\0\0\0\0\0\0,\0\0\0\0\0\0\0\0\0\2\0;"),
        {"not-an-image"},
    ),
    "n00000001_7.JPEG": (large(9_500), {"decompression-bomb", "wrong-suffix"}),
    "n00000001_8.JPEG": (large(13_500), {"decompression-bomb", "wrong-suffix"}),
    "n00000001_10.JPEG": (
        lambda path: draw(path, "P", as_format="PNG"),
        {"other-mode", "wrong-suffix"},
    ),
    "n00000001_17.JPEG": (
        lambda path: Image.fromarray(COLOURS[..., 0] * np.uint16(257)).save(path, "PNG"),
        {"clipped", "other-mode", "wrong-suffix"},
    ),
    "n00000001_18.JPEG": (
        lambda path: Image.new("RGBA", (60, 40), (9, 9, 9, 0)).save(path, "PNG"),
        {"transparent", "other-mode", "wrong-suffix"},
    ),
    "n00000001_19.JPEG": (endless, {"damaged", "wrong-suffix"}),
    "n00000001_20.JPEG": (rotated, {"rotated"}),
}


@pytest.fixture(scope="module")
def irregular(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of all irregular images, with a class per image for those that have one."""
    root = tmp_path_factory.mktemp("irregular")
    for name, (make, _) in IRREGULAR.items():
        path = root / "train" / name.split("_")[0] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
    return root


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """A dataset of images that decode: two classes of ten."""
    (tmp_path / "labels.txt").write_text("n01440764,tench\nn01443537,goldfish\n")
    make_demo(tmp_path / "root", tmp_path / "labels.txt", {"TRAIN": 10, "VAL": 2, "TEST": 3})
    return tmp_path / "root"


def audited(
    root: Path, extra: Path, shares: int = 3, fail_on: Sequence[str] = ()
) -> tuple[dict, int]:
    """Audit TRAIN; gives the summary and how many images were opened."""
    with patch.object(audit, "examine", side_effect=examine) as opened:
        audit_all(root, extra, shares, fail_on)
    return json.loads((extra / "audit-TRAIN.json").read_text()), opened.call_count


def publish_rows(rows: np.ndarray, extra: Path, split: str = "TRAIN", keep: float = 14) -> None:
    """Publish what an audit has found in a single share."""
    state = {"split": split, **AUDIT}
    scan, share = extra / f"{split}.npz", path_of(extra, "share", **state, scatteritem="1-of-1")
    make_scan(["n01440764"], [len(rows)], rows["actual_index"].tolist()).save(scan)
    make_folder(folder_of(extra, "share", **state))
    write_share(rows, share)
    audit_split(
        audited=path_of(extra, "audited", **state),
        scan=scan,
        extra=extra,
        root=str(extra),
        standing=AUDIT["audit"],
        shares=1,
        fail_on=[],
        keep=keep,
        **state,
    )


def test_images_that_a_training_could_not_read_are_opened_first_and_anew(
    irregular: Path, tmp_path: Path
) -> None:
    extra = tmp_path / "extra"
    _, everything = audited(irregular, extra)
    _, unreadable = audited(irregular, extra)
    touched, *_, image = sorted((irregular / "train").rglob("*.JPEG"))
    os.utime(touched, (1, 1))
    bad = {"split": "TRAIN", "image": str(image.relative_to(irregular)), "path": str(image)}
    (extra / "bad-images.jsonl").write_text(json.dumps(bad) + "\n{cut")
    with patch.object(audit, "examine", side_effect=examine) as opened:
        audit_all(irregular, extra, 1)
    assert opened.call_count == unreadable + 2 < everything
    assert Path(opened.call_args_list[0].args[0]).name == image.name


def test_each_irregular_image_is_named_with_what_is_wrong(irregular: Path, tmp_path: Path) -> None:
    before = file_states((irregular / "train").rglob("*_[0-8]*.JPEG"))
    summary, opened = audited(irregular, tmp_path / "extra")
    found = {Path(one["image"]).name: set(one["problems"]) for one in summary["not_ok"]}
    assert found == {
        name: problems for name, (_, problems) in IRREGULAR.items() if problems - {*NOTES}
    }
    assert opened == summary["images"] == len(IRREGULAR)
    assert (summary["ok"], summary["problems"]["rotated"]) == (3, 1)
    assert {*summary["problems"], "unreadable"} == set(PROBLEMS)
    named = [
        NotOk(one["image"], one["problems"], one["mode"], one.get("file", ""))
        for one in summary["not_ok"] + summary["noted"]
    ]
    for many in (1, 3, 99):
        shown = problem_images(tmp_path / "extra", "TRAIN", many)
        assert shown.keys() == summary["problems"].keys()
        for problem, first in shown.items():
            assert first == [one for one in named if problem in one.problems][:many]
    assert file_states((irregular / "train").rglob("*_[0-8]*.JPEG")) == before


def test_the_table_has_a_row_per_entry(irregular: Path, tmp_path: Path) -> None:
    audited(irregular, tmp_path / "extra")
    table = np.load(tmp_path / "extra/audit-TRAIN.npy", allow_pickle=False)
    scan, *_ = scan_images(irregular, "TRAIN")
    assert table.dtype == ROW
    assert table["actual_index"].tolist() == scan.actual_index.tolist()
    cmyk = table[table["actual_index"] == 1309][0]
    assert (cmyk["width"], cmyk["height"], cmyk["mode"], cmyk["format"]) == (
        60,
        40,
        b"CMYK",
        b"JPEG",
    )
    bomb = table[table["actual_index"] == 8][0]
    assert (bomb["width"], bomb["mode"]) == (13_500, b"L")


@pytest.mark.filterwarnings("ignore")
def test_what_is_called_undecodable_is_what_training_fails_at(irregular: Path) -> None:
    fatal = {"zero-bytes", "not-an-image", "truncated", "unreadable"}
    for name, (_, problems) in IRREGULAR.items():
        try:
            Image.open(irregular / "train" / name.split("_")[0] / name).convert("RGB")
            fails = False
        except (OSError, Image.DecompressionBombError):
            fails = True
        assert fails == bool(problems & fatal or name == "n00000001_8.JPEG"), name


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{1 1 add pop} loop\n"
WMF = (
    b"\xd7\xcd\xc6\x9a\0\0"
    + struct.pack("<4hH", 0, 0, 9, 9, 1440)
    + bytes(6)
    + b"\1\0\t\0"
    + bytes(99)
)
FOREIGN = {
    "eps": EPS,
    "pdf": b"%PDF-1.4\n%%EOF\n",
    "wmf": WMF,
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(500),
    "bufr": b"BUFR" + bytes(500),
    "grib": b"GRIB" + bytes(3) + b"\1" + bytes(500),
    "fits": b"SIMPLE  =                    T".ljust(2880) + bytes(2880),
    "blp": b"BLP2" + struct.pack("<IBBBBII", 1, 2, 0, 0, 0, 9400, 9400) + bytes(5000),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_no_program_is_started_for_an_image(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/PWNED\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "1.JPEG").write_bytes(FOREIGN[kind])
    assert examine(str(tmp_path / "1.JPEG"))[:5] == (BIT["not-an-image"], 0, 0, "", "")
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize(("kind", "more"), [("JPEG", 0), ("MPO", 1)])
def test_the_scans_of_a_jpeg_are_counted_whatever_follows_it(
    kind: str, more: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image.new("RGB", (8, 8))
    image.save(tmp_path / "a.JPEG", "MPO", save_all=True, append_images=[image] * more)
    with opened_image(tmp_path / "a.JPEG") as image:
        assert image.format == kind
    monkeypatch.setattr(images, "SCANS", 0)
    with pytest.raises(Image.DecompressionBombError), opened_image(tmp_path / "a.JPEG"):
        pass


def test_formats_that_this_pillow_lacks_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "WEBP" in raster_formats()
    monkeypatch.delitem(Image.OPEN, "WEBP")
    assert "WEBP" not in raster_formats.__wrapped__()


@pytest.mark.parametrize("kind", raster_formats())
def test_each_raster_format_is_opened(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "1.JPEG"
    if kind == "PSD":  # Pillow cannot write PSD
        head = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 2, 2, 8, 3)
        path.write_bytes(head + bytes(12) + bytes(2 + 2 * 2 * 3))
    else:
        Image.new("RGB", (16, 16)).save(path, kind)  # smaller ones are no icons to an older Pillow
    problems, *size, _, found, _, _ = examine(str(path))
    side = 2 if kind == "PSD" else 16
    assert (problems & ~BIT["other-mode"], size, found) == (0, [side, side], kind)


def test_the_formats_have_all_suffixes_of_images() -> None:
    known = Image.registered_extensions()
    assert {known[suffix] for suffix in IMG_EXTENSIONS} <= set(RASTER)


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "gone"])
def test_what_is_no_regular_file_is_unreadable(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "1.JPEG"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    assert examine(str(path))[:5] == (BIT["unreadable"], 0, 0, "", "")


STAND_INS = {
    "git-lfs-pointer": [
        LFS,
        LFS.replace("\n", "\r\n"),
        LFS.replace("git-lfs", "hawser"),
        "version http://git-media.io/v/2\noid sha256:4d7a\nsize 12345\n",
        LFS.replace("oid", "ext-0-foo sha256:9f\noid"),
    ],
    "annex-link": [
        "/annex/objects/SHA256E-s31390--f50d.jpg",
        "/annex/objects/SHA256E-s31390--f50d.jpg\nanother line\n",
        "../../.git/annex/objects/Xk/0z/MD5E-s9--01.jpg/MD5E-s9--01.jpg",
        "..\\..\\.git\\annex\\objects\\Xk\\0z\\MD5E-s9--01.jpg\\MD5E-s9--01.jpg",
        "../.git/modules/photos/annex/objects/Xk/0z/URL-s9--01/URL-s9--01",
    ],
    "html-page": [
        "<!-- a --><html><body>Forbidden</body></html><!-- b -->",
        "\n\n  <!-- a > comment --> <!-- another -->\n<HTML lang=en>",
        '<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN">',
        "<br />\n<b>Warning</b>: fopen() in <b>/www/a.php</b>",
        '<meta http-equiv="refresh" content="0; url=/login">',
        "<!doctype html>" + "x" * 100_000 + "\0",
        "<script>location = '/'</script>",
    ],
    "text": [
        "\n",
        "Image unavailable",
        "../pool/1.jpg",
        '<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>',
        '{"error": {"code": 404}}',
        "#$# git-fat 0123456789 12345\n",
        "data:image/jpeg;base64,/9j/4AAQSkZJRg==",
        "图片不存在",
        "see https://git-lfs.github.com/spec/v1",
        "id,name\r\n1,tench\r\n",
        "x" * 1_000_000,
        "<htmlish>",
    ],
}


@pytest.mark.parametrize("kind", STAND_INS)
def test_what_is_in_the_place_of_an_image_is_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "1.JPEG"
    for text in STAND_INS[kind]:
        for encoding in ("utf-8", "utf-8-sig", "utf-16"):
            path.write_bytes(text.encode(encoding))
            found = [problem for problem, bit in BIT.items() if examine(str(path))[0] & bit]
            assert found == ["not-an-image", kind], text[:99]
    assert BIT[kind] == 1 << [*PROBLEMS].index(kind)


def test_texts_in_older_encodings(tmp_path: Path) -> None:
    path = tmp_path / "1.JPEG"
    for text, encoding in (("图片不存在", "gb18030"), ("image supprimée", "latin-1")):
        path.write_bytes(text.encode(encoding))
        assert examine(str(path))[0] == BIT["not-an-image"] | BIT["text"]


@pytest.mark.parametrize(
    "content",
    [b"\x89PNG\r\n\x1a\n", bytes(9999), b"text and\0more", b"%!PS-Adobe-3.0\n", b"%PDF-1.4\n"],
)
def test_what_is_no_text_is_only_not_an_image(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "1.JPEG").write_bytes(content)
    assert examine(str(tmp_path / "1.JPEG"))[0] == BIT["not-an-image"]


def test_of_a_large_file_only_the_beginning_is_read(tmp_path: Path) -> None:
    path = tmp_path / "1.JPEG"
    path.write_bytes(b"<!-- --><" * 200_000 + b"\0")
    with patch("dinov3_metadata.examine.stand_in", side_effect=stand_in) as looked:
        assert examine(str(path))[0] == BIT["not-an-image"] | BIT["text"]
    assert len(looked.call_args.args[0]) == MOST


def test_a_link_of_git_annex_without_its_content(tmp_path: Path) -> None:
    (tmp_path / "1.JPEG").symlink_to("../.git/annex/objects/x/y/KEY/KEY")
    (tmp_path / "2.JPEG").symlink_to("1.JPEG")  # as in a view
    for name in ("1.JPEG", "2.JPEG"):
        found = examine(str(tmp_path / name))[:5]
        assert found == (BIT["unreadable"] | BIT["annex-link"], 0, 0, "", "")


@pytest.mark.parametrize("fail_on", ["not-an-image", "html-page"])
def test_stand_ins_stop_a_run_that_refuses_them(
    fail_on: str, irregular: Path, tmp_path: Path
) -> None:
    many = {"not-an-image": 5, "html-page": 1}[fail_on]
    with pytest.raises(MetadataError, match=rf"{many} images? with .*(?s:.)*_16.JPEG .*html-page"):
        audited(irregular, tmp_path / "extra", fail_on=[fail_on])


@pytest.mark.parametrize("target", ["n01440764_99999.JPEG", "nowhere"])
def test_a_link_that_dangles_since_the_scan_is_unreadable_and_stops_nothing(
    target: str, drawn: Path, tmp_path: Path
) -> None:
    link = drawn / "train/n01440764/n01440764_99999.JPEG"
    link.touch()
    scan, *_ = scan_images(drawn, "TRAIN")
    link.unlink()
    link.symlink_to(target)
    rows = audit_share(
        scan, extra=tmp_path / "extra", root=drawn, split="TRAIN", scatteritem="1-of-1"
    )
    assert rows["problems"][rows["actual_index"] == 99999].tolist() == [BIT["unreadable"]]
    assert np.count_nonzero(rows["problems"] == 0) == 20 == len(rows) - 1


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def scans(side: int, many: int) -> bytes:
    """A progressive JPEG of one component with ``many`` empty scans."""

    def segment(mark: int, body: bytes) -> bytes:
        return b"\xff" + bytes([mark]) + struct.pack(">H", len(body) + 2) + body

    size = struct.pack(">BHHB", 8, side, side, 1)
    head = segment(0xDB, b"\0" + b"\1" * 64) + segment(0xC2, size + b"\1\x11\0")
    head += segment(0xC4, b"\x10" + b"\1" + bytes(15) + b"\xe0")
    return b"\xff\xd8" + head + (segment(0xDA, b"\1\1\0\1\x3f\0") + b"\x7f") * many + b"\xff\xd9"


def test_work_without_end_is_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = BIT["decompression-bomb"]
    path = tmp_path / "1.JPEG"
    path.write_bytes(scans(9400, 1000))
    assert examine(str(path))[:5] == (bomb, 9400, 9400, "L", "JPEG")
    path.write_bytes(scans(64, 1000))
    assert examine(str(path))[0] & bomb == 0
    monkeypatch.setattr(images, "READS", 1000)
    draw(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:2] + b"\xff" * 2000 + whole[2:])
    assert examine(str(path))[:5] == (bomb, 0, 0, "", "")
    path.write_bytes(whole[:2] + b"\xff\xfe\0\3x" * 2000 + whole[2:])
    assert examine(str(path))[:5] == (bomb, 0, 0, "", "")
    draw(path, as_format="PNG")
    whole = path.read_bytes()
    path.write_bytes(whole[:33] + chunk(b"abCd", b"") * 2000 + whole[33:])
    assert examine(str(path))[:5] == (bomb, 0, 0, "", "")
    path.write_bytes(whole[:33] + chunk(b"eXIf", bytes(100_000)) + whole[33:])
    assert examine(str(path))[0] == BIT["broken-exif"]
    exif = b"Exif\0\0II*\0\x08\0\0\0\0\0" + bytes(60_000)
    draw(path)
    whole = path.read_bytes()
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    path.write_bytes(whole[:2] + segment + whole[2:])
    assert examine(str(path))[0] == 0
    path.write_bytes(whole[:2] + segment + b"junk" + segment * 3 + whole[2:])
    assert examine(str(path))[:5] == (bomb, 0, 0, "", "")
    monkeypatch.setattr(images, "LARGEST", 100)
    draw(path, as_format="WEBP")
    assert examine(str(path))[:5] == (bomb, 0, 0, "", "")


@pytest.mark.parametrize("where", ["open", "Image.load"])
def test_an_image_for_which_there_is_no_memory(where: str, tmp_path: Path) -> None:
    draw(tmp_path / "1.JPEG", "CMYK")  # which is decoded by Pillow, too
    with patch(f"PIL.Image.{where}", side_effect=MemoryError):
        assert examine(str(tmp_path / "1.JPEG"))[0] & BIT["unreadable"]


def test_a_bomb_is_not_decoded(tmp_path: Path) -> None:
    large(13_500)(tmp_path / "1.JPEG")
    most = Image.MAX_IMAGE_PIXELS
    with patch("PIL.ImageFile.ImageFile.load", side_effect=AssertionError):
        found = examine(str(tmp_path / "1.JPEG"))[:5]
    assert found == (BIT["decompression-bomb"], 13_500, 13_500, "L", "PNG")
    assert most == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ("name", "image_format", "wrong"),
    [
        ("1.JPEG", "JPEG", False),
        ("1.jpg", "MPO", False),
        ("1.JPEG", "PNG", True),
        ("1.png", "PNG", False),
        ("1.tif", "TIFF", False),
        ("1.JPEG", "", False),
    ],
)
def test_wrong_suffix(name: str, image_format: str, wrong: bool) -> None:
    assert wrong_suffix(name, image_format) is wrong


def test_a_second_audit_opens_none_and_says_the_same(irregular: Path, tmp_path: Path) -> None:
    regular = tmp_path / "root"
    (regular / "train").mkdir(parents=True)
    for folder in (irregular / "train").iterdir():
        (regular / "train" / folder.name).mkdir()
        for image in folder.iterdir():
            os.link(image, regular / "train" / folder.name / image.name)
    first, opened = audited(regular, tmp_path / "extra")
    assert opened == len(IRREGULAR)
    again, opened = audited(regular, tmp_path / "extra", shares=2)
    assert opened == 0
    assert again | {"audited": ""} == first | {"audited": ""}


def test_one_changed_image_opens_one(drawn: Path, tmp_path: Path) -> None:
    _, opened = audited(drawn, tmp_path / "extra")
    assert opened == 20
    image = min((drawn / "train/n01440764").iterdir())
    image.write_bytes(image.read_bytes()[:-100])
    summary, opened = audited(drawn, tmp_path / "extra")
    assert opened == 1
    assert [one["image"] for one in summary["not_ok"]] == [f"train/n01440764/{image.name}"]


def test_a_renamed_image_is_not_opened_again(drawn: Path, tmp_path: Path) -> None:
    audited(drawn, tmp_path / "extra")
    image = min((drawn / "train/n01440764").iterdir())
    image.rename(image.with_name("n01440764_99999.JPEG"))
    summary, opened = audited(drawn, tmp_path / "extra")
    assert (opened, summary["images"], summary["ok"]) == (0, 20, 20)


KILLED = """
import os, signal, sys
from dinov3_metadata import images
from dinov3_metadata.stages import audit
from dinov3_metadata.stages.scan import scan_images
root, extra, after = sys.argv[1:]
real, opened = audit.examine, []
def examine(path, hashed):
    if len(opened) == int(after):
        os.kill(os.getpid(), signal.SIGKILL)
    opened.append(path)
    return real(path, hashed)
audit.examine = examine
scan, *_ = scan_images(root, "TRAIN")
audit.audit_share(scan, extra=extra, root=root, split="TRAIN", scatteritem="1-of-1")
"""


def test_a_kill_in_the_middle_loses_no_finished_work(drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "extra").mkdir()
    command = [sys.executable, "-c", KILLED, str(drawn), str(tmp_path / "extra"), "7"]
    done = subprocess.run(command, check=False, cwd=REPOSITORY / "workflow")
    assert done.returncode == -signal.SIGKILL
    assert len(list(existing(tmp_path / "extra", "found", split="TRAIN"))) == 1
    summary, opened = audited(drawn, tmp_path / "extra")
    assert (opened, summary["ok"]) == (13, 20)
    kept = Path(folder_of(tmp_path / "extra", "audited", "tree", split="TRAIN")).glob("kept-*")
    assert not list(kept)


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01\x00", b"[]"])
def test_a_damaged_table_is_made_anew(drawn: Path, tmp_path: Path, damage: bytes) -> None:
    audited(drawn, tmp_path / "extra")
    (tmp_path / "extra/audit-TRAIN.npy").write_bytes(damage)
    assert audited(drawn, tmp_path / "extra")[1] == 20


def test_what_could_not_be_read_is_tried_again(drawn: Path, tmp_path: Path) -> None:
    bad = Examined(BIT["unreadable"])
    with patch.object(sys.modules[__name__], "examine", return_value=bad):
        assert audited(drawn, tmp_path / "extra")[0]["ok"] == 0
    summary, opened = audited(drawn, tmp_path / "extra")
    assert (summary["ok"], opened) == (20, 20)


def test_another_pillow_opens_all(drawn: Path, tmp_path: Path) -> None:
    audited(drawn, tmp_path / "extra")
    with patch("PIL.__version__", "99"):
        assert audited(drawn, tmp_path / "extra")[1] == 20


def test_memory_does_not_grow_with_the_images_that_are_not_ok(tmp_path: Path) -> None:
    rows = np.zeros(20_000, ROW)
    rows["problems"], rows["actual_index"] = BIT["other-mode"], np.arange(len(rows))
    tracemalloc.start()
    publish_rows(rows, tmp_path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3 * rows.nbytes
    assert len(json.loads((tmp_path / "audit-TRAIN.json").read_text())["not_ok"]) == len(rows)


def test_fail_on_names_the_images_after_both_files_are_written(
    irregular: Path, tmp_path: Path
) -> None:
    with pytest.raises(MetadataError, match=r"TRAIN: 4 images with .*\n.*n00000001_11.JPEG"):
        audited(irregular, tmp_path / "extra", fail_on=["truncated", "zero-bytes"])
    summary = json.loads((tmp_path / "extra/audit-TRAIN.json").read_text())
    assert summary["problems"]["truncated"] == 3
    assert (tmp_path / "extra/audit-TRAIN.npy").exists()


def opened_in(extra: Path) -> int:
    """How many images the last audit opened, by the logs of its shares."""
    logs = [Path(log).read_text() for log, _ in existing(extra, "audit_images.log")]
    assert logs
    return sum(int(re.search(r"([\d,]+) of them opened", log)[1]) for log in logs)


def test_snakemake_audit(drawn: Path, tmp_path: Path, snakemake: Callable) -> None:
    config = {"root": drawn, "extra": tmp_path / "extra 图", "splits": "[TRAIN,VAL,TEST]"}
    snakemake("audit", *TWO, **config)
    assert opened_in(config["extra"]) == 20 + 4 + 3
    assert not list(config["extra"].glob("entries-*"))
    image = min((drawn / "val/n01440764").iterdir())
    image.write_bytes(b"")
    done = snakemake("audit", *TWO, **config)
    assert opened_in(config["extra"]) == 1
    assert "VAL, audited" in done.stdout
    assert re.search(r"zero-bytes +1  val/n01440764/\S+ +Training stops: ", done.stdout)
    trees = Path(folder_of(config["extra"], "audited", "tree", split="VAL"))
    assert len(list(trees.glob("*/*"))) == 1


def test_fail_on_stops_publishing_until_the_image_is_mended(
    drawn: Path, tmp_path: Path, snakemake: Callable
) -> None:
    config = {"root": drawn, "extra": tmp_path / "extra", "splits": "[TRAIN]"}
    config["audit"] = "{fail_on: [truncated]}"
    image = min((drawn / "train/n01440764").iterdir())
    whole = image.read_bytes()
    image.write_bytes(whole[:-100])
    done = snakemake(*TWO, **config, fails=True)
    assert f"train/n01440764/{image.name} (truncated)" in done.stdout.split("Error: ")[-1]
    assert not list(config["extra"].glob("entries-*"))
    image.write_bytes(whole)
    snakemake(*TWO, **config)
    assert opened_in(config["extra"]) == 1
    assert (config["extra"] / "entries-TRAIN.npy").exists()
    assert "Nothing to be done" in snakemake(*TWO, **config).stdout
    snakemake("audit", *TWO, **config)
    assert "Nothing to be done" in snakemake(*TWO, **config).stdout
    image.write_bytes(whole[:-100])
    snakemake("audit", *TWO, **config, fails=True)
    published = file_states(config["extra"].glob("*.npy"))
    (config["extra"] / "class-ids-TRAIN.npy").unlink()
    snakemake(*TWO, **config, fails=True)
    published.pop("class-ids-TRAIN.npy")
    now = file_states(config["extra"].glob("*.npy"))
    assert {name: now[name] for name in published if "audit" not in name} == {
        name: state for name, state in published.items() if "audit" not in name
    }
    assert "class-ids-TRAIN.npy" not in now


def test_fail_on_stops_a_run_in_one_process_too(drawn: Path, tmp_path: Path) -> None:
    image = min((drawn / "train/n01440764").iterdir())
    whole = image.read_bytes()
    image.write_bytes(whole[:-100])
    given = {"splits": ["TRAIN"], "fail_on": ["truncated"]}
    with pytest.raises(MetadataError, match=f"TRAIN: 1 image with .*\n.*{image.name}"):
        dump_extra(drawn, tmp_path / "extra", **given)
    assert not list((tmp_path / "extra").glob("entries-*"))
    image.write_bytes(whole)
    dump_extra(drawn, tmp_path / "extra", **given)
    assert (tmp_path / "extra/entries-TRAIN.npy").exists()


def test_shares_of_a_run_that_was_killed_are_done_again(
    drawn: Path, tmp_path: Path, snakemake: Callable
) -> None:
    config = {"root": drawn, "extra": tmp_path / "extra", "splits": "[TRAIN]"}
    config["audit"] = "{fail_on: [truncated]}"
    snakemake("--until", "audit_images", "--notemp", *TWO, **config)
    image = min((drawn / "train/n01440764").iterdir())
    image.write_bytes(image.read_bytes()[:-100])
    assert "1 image with a problem" in snakemake(*TWO, **config, fails=True).stdout


def test_of_a_view_the_file_behind_the_link_is_judged(tmp_path: Path, snakemake: Callable) -> None:
    root = make_tree(tmp_path / "root", ["train/cat/"], "cat,cat\n")
    draw(root / "train/cat/a.png", as_format="PNG")
    draw(root / "train/cat/b.png")
    config = {"root": root, "extra": tmp_path / "extra", "splits": "[TRAIN]", "layout": "folder"}
    snakemake("audit", *TWO, **config)
    summary = json.loads((tmp_path / "extra/audit-TRAIN.json").read_text())
    assert [(one["file"], one["problems"]) for one in summary["not_ok"]] == [
        (f"{root}/train/cat/b.png", ["wrong-suffix"])
    ]


def test_audits_of_several_splits_at_once(tmp_path: Path) -> None:
    """Each is a publication of its own; none takes what another keeps to be undone."""
    rows = np.zeros(2, ROW)
    rows["actual_index"] = [1, 2]

    def run(split: str) -> None:
        for _ in range(5):
            publish_rows(rows, tmp_path, split, keep=0)

    away = patch("dinov3_metadata.replace.is_local", return_value=False)
    with away, ThreadPoolExecutor() as pool:
        list(pool.map(run, ("TRAIN", "VAL")))
    for split in ("TRAIN", "VAL"):
        assert np.load(tmp_path / f"audit-{split}.npy").dtype == ROW
        assert json.loads((tmp_path / f"audit-{split}.json").read_text())["images"] == 2
    assert not list(existing(tmp_path, "journal"))
    assert not list(Path(folder_of(tmp_path, "journal")).glob(".*.tmp"))


def test_an_audit_is_replaced_as_one_set(drawn: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    audited(drawn, extra)
    before = file_states(extra.glob("audit-*"))
    noted = path_of(extra, "audit_summary", split="TRAIN")

    def full(path: StrPath, size: int = 0) -> AbstractContextManager[BinaryIO]:
        if path == noted:
            raise OSError(28, "No space left on device")
        return write_atomically(path, size)

    with (
        patch.object(audit, "write_atomically", full),
        pytest.raises(OSError, match="No space"),
    ):
        audited(drawn, extra)
    now = file_states(extra.glob("audit-*"))
    assert {name: state[:3] for name, state in now.items()} == {
        name: state[:3] for name, state in before.items()
    }
