"""What training does not report is found: damage, lost contrast, hidden colours; and no more."""

import hashlib
import json
import logging
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from random import Random
from unittest.mock import patch

import numpy as np
import pytest
from dinov3_metadata import damage, hashes, images
from dinov3_metadata.damage import decode_strictly
from dinov3_metadata.demo import make_demo
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.examine import BIT, Examined, examine
from dinov3_metadata.formats import NOT_STRICT, problem_images, read_audit_summary
from dinov3_metadata.hashes import phash, phash_of
from dinov3_metadata.pixels import is_clipped, is_transparent
from dinov3_metadata.run import audit_extra, dump_extra
from dinov3_metadata.stages import audit
from dinov3_metadata.stages.audit import ROW, recall
from dinov3_metadata.summary import summarise
from helpers import audit_all
from PIL import Image

EOI = b"\xff\xd9"
FATAL = BIT["truncated"] | BIT["not-an-image"] | BIT["unreadable"] | BIT["decompression-bomb"]
WAYS: dict[str, dict[str, object]] = {
    "baseline": {"quality": 85},
    "progressive": {"quality": 85, "progressive": True},
    "optimised": {"quality": 92, "optimize": True, "subsampling": 0},
    "restarts": {"quality": 85, "restart_marker_rows": 1},
}


def picture(seed: int, width: int = 240, height: int = 160) -> Image.Image:
    """Something like a photo: noise at all scales."""
    dice, seen = np.random.default_rng(seed), np.zeros((height, width, 3))
    for side, strength in ((3, 90), (9, 50), (40, 25), (160, 12)):
        noise = dice.normal(0, strength, (side, side, 3)).clip(-127, 127) + 128
        coarse = Image.fromarray(noise.astype("u1")).resize((width, height), Image.BICUBIC)
        seen += np.asarray(coarse).astype(float) - 128
    return Image.fromarray((seen + 128).clip(0, 255).astype("u1"))


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def look(content: bytes, folder: Path) -> Examined:
    path = folder / "1.JPEG"
    path.write_bytes(content)
    return examine(str(path))


def fails(content: bytes) -> bool:
    """Whether training fails at an image."""
    try:
        Image.open(BytesIO(content)).convert("RGB")
    except Exception:
        return True
    return False


def destroyed(content: bytes, dice: Random) -> dict[str, bytes]:
    """Destroy a JPEG in the six ways that decoders pass over."""
    start = content.index(b"\xff\xda") + 20
    at = dice.randrange(start, start + (len(content) - start) * 8 // 10)
    rest = len(content) - at - 2
    return {
        "cut": content[:at] + EOI,
        "zeros": content[:at] + bytes(min(512, rest)) + content[at + 512 : -2] + EOI,
        "zeroed tail": content[:at] + bytes(rest) + EOI,
        "random tail": content[:at] + dice.randbytes(rest) + EOI,
        "another page": content[:at] + content[start : start + 512] + content[at + 512 : -2] + EOI,
        "lost page": content[:at] + content[at + 512 : -2] + EOI,
    }


@pytest.mark.needs("simplejpeg")
@pytest.mark.parametrize("way", WAYS)
def test_a_destroyed_jpeg_is_damaged(way: str, tmp_path: Path) -> None:
    dice, passed, found = Random(way), Counter(), Counter()
    for seed in range(25):
        for kind, content in destroyed(encoded(picture(seed, 480, 320), **WAYS[way]), dice).items():
            if not fails(content):
                passed[kind] += 1
                found[kind] += bool(look(content, tmp_path).problems & BIT["damaged"])
    assert found["cut"] == passed["cut"] == 25
    assert found["zeroed tail"] == passed["zeroed tail"] == 25
    assert found["random tail"] == passed["random tail"]
    for kind in ("zeros", "lost page", "another page"):  # the rest fits in by chance
        assert found[kind] >= 0.8 * passed[kind] > 15
    assert found.total() >= 0.95 * passed.total()


EXIF = b"\xff\xe1\0\x16Exif\0\0II*\0\x08\0\0\0" + bytes(6)
GOOD: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda content: content,
    "text behind the end": lambda content: content + b"SEFT" * 99,
    "zeros behind the end": lambda content: content + bytes(9999),
    "a picture behind the end": lambda content: content + encoded(picture(1)),
    "filled before a marker": lambda content: content[:-2] + b"\xff" * 7 + EOI,
    "a comment": lambda content: content[:2] + b"\xff\xfe\0\4\xff\xd9" + content[2:],
    "two EXIF segments": lambda content: content[:2] + 2 * EXIF + content[2:],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_good_jpeg_is_not_damaged(way: str, tmp_path: Path) -> None:
    for seed in range(5):
        for mode in ("RGB", "L", "CMYK"):
            for width, height in ((240, 160), (33, 7), (1, 1), (9, 300)):
                image = picture(seed, width, height).convert(mode)
                content = encoded(image, **WAYS[way])
                for name, change in GOOD.items():
                    found = look(change(content), tmp_path)
                    assert found.problems & (FATAL | BIT["damaged"]) == 0, (name, mode, width)
                    assert (found.width, found.height) == (width, height)


def test_a_good_mpo_is_not_damaged(tmp_path: Path) -> None:
    content = encoded(picture(0), "MPO", save_all=True, append_images=[picture(1)])
    assert look(content, tmp_path)[:5] == (0, 240, 160, "RGB", "MPO")


FRAMES = {"save_all": True, "append_images": [picture(1)]}
KINDS = {
    "PNG": [{}, {"compress_level": 0}, FRAMES],
    "GIF": [{}, FRAMES],
    "WEBP": [{}, {"lossless": True}, FRAMES],
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_good_images_are_not_damaged(kind: str, tmp_path: Path) -> None:
    for seed in range(10):
        for options in KINDS[kind]:
            content = encoded(picture(seed), kind, **options)
            assert look(content, tmp_path).problems & BIT["damaged"] == 0
            assert look(content + bytes(99), tmp_path).problems & BIT["damaged"] == 0


def png_with(content: bytes, kind: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Change the first chunk of some kind."""
    at = content.index(kind) - 4
    end = at + 12 + int.from_bytes(content[at : at + 4], "big")
    return content[:at] + change(content[at:end]) + content[end:]


def wrong_sum(chunk: bytes) -> bytes:
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


def webp_without_end(content: bytes) -> bytes:
    """A WebP that was cut in the chunk behind the picture."""
    long = content + b"XMP \x10\0\0\0" + b"<a>"
    return long[:4] + struct.pack("<I", len(content) - 8 + 24) + long[8:]


@pytest.mark.parametrize(
    ("kind", "harm"),
    [
        ("PNG", lambda content: png_with(content, b"IDAT", wrong_sum)),
        ("PNG", lambda content: png_with(content, b"IEND", lambda chunk: b"")),
        ("PNG", lambda content: png_with(content, b"IEND", lambda chunk: bytes(4096))),
        ("GIF", lambda content: content[:-1]),
        ("GIF", lambda content: content[:-1] + bytes(4096)),
        ("GIF", lambda content: content[:-1] + b"\x99" * 99 + b";"),
        ("WEBP", webp_without_end),
    ],
)
def test_what_other_formats_tell_of_their_damage(
    kind: str, harm: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    content = harm(encoded(picture(0), kind))
    found = look(content, tmp_path)
    assert fails(content) == bool(found.problems & FATAL)
    assert found.problems & (FATAL | BIT["damaged"])


def png(header: tuple[int, ...], pixels: bytes, parts: int = 1) -> bytes:
    """A PNG of 5 times 5 pixels: depth, type of colours and interlacing, and its pixels."""
    depth, colours, interlaced = header
    packed = zlib.compress(pixels)
    size = -(-len(packed) // parts)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 5, 5, depth, colours, 0, 0, interlaced))]
    chunks += [(b"PLTE", bytes(range(48)))] if colours == 3 else []
    chunks += [(b"IDAT", packed[i : i + size]) for i in range(0, len(packed), size)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (*chunks, (b"IEND", b""))
    )


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize(
    ("header", "rows"),
    [
        *(((8, 0, 0), [6] * 5), ((8, 2, 0), [16] * 5), ((16, 2, 0), [31] * 5)),
        *(((8, 6, 0), [21] * 5), ((1, 0, 0), [2] * 5), ((4, 3, 0), [4] * 5)),
        *(((16, 4, 0), [21] * 5), ((16, 0, 0), [11] * 5)),
        ((8, 0, 1), [2, 2, 3, 2, 2, 4, 3, 3, 3, 6, 6]),
        ((1, 0, 1), [2] * 11),
    ],
)
def test_a_png_with_too_few_rows_is_damaged(
    header: tuple[int, ...], rows: list[int], parts: int, tmp_path: Path
) -> None:
    for missing in range(4):
        content = png(header, bytes(sum(rows[: len(rows) - missing])), parts)
        found = look(content, tmp_path)
        assert fails(content) == bool(found.problems & FATAL) == bool(missing and parts > 1)
        assert bool(found.problems & (FATAL | BIT["damaged"])) == bool(missing)


def test_a_later_frame_that_is_cut_is_damage(tmp_path: Path) -> None:
    content = encoded(picture(0), "GIF", save_all=True, append_images=[picture(1)], duration=9)
    found = look(content[:-500], tmp_path)
    assert found.problems & ~BIT["other-mode"] & ~BIT["wrong-suffix"] == BIT["damaged"]


def mutated(content: bytes, dice: Random) -> bytes:
    data = bytearray(content)
    for _ in range(dice.choice((1, 2, 5))):
        at, what = dice.randrange(len(data)), dice.randrange(4)
        if what == 0:
            data[at] = dice.randrange(256)
        elif what == 1:
            del data[at : at + dice.choice((1, 20, 300))]
        elif what == 2:
            data[at:at] = dice.choice((EOI, b"\xff\xd8", b"\xff\xdc\0\4\0\x20", dice.randbytes(9)))
        else:
            data[at:at] = data[at // 2 : at // 2 + 200]
        if not data:
            break
    return bytes(data)


def test_what_is_called_undecodable_is_what_training_fails_at(tmp_path: Path) -> None:
    """Strict decoding takes the place of Pillow's, so it must not pass what Pillow does not."""
    dice, outcomes = Random(0), set()
    whole = [encoded(picture(i, 70, 50), **way) for i, way in enumerate(WAYS.values())]
    for _ in range(600):
        content = mutated(dice.choice(whole), dice)
        failed = fails(content)
        outcomes.add(failed)
        assert failed == bool(look(content, tmp_path).problems & (FATAL | BIT["zero-bytes"]))
    assert outcomes == {True, False}


@pytest.mark.needs("simplejpeg")
def test_strict_decoding_is_left_to_pillow_where_they_may_differ() -> None:
    content = encoded(picture(0))
    assert decode_strictly(content, (240, 160)).grey is not None
    assert decode_strictly(content, (240, 161)) == (None, (0, 0), False)
    arithmetic = content[:2] + b"\xff\xfe\0\4\xff\xc9" + content[2:]
    assert decode_strictly(arithmetic, (240, 160)) == (None, (0, 0), False)
    with patch.object(damage.simplejpeg, "decode_jpeg", side_effect=RuntimeError):
        assert decode_strictly(content, (240, 160)) == (None, (0, 0), False)


@pytest.mark.needs("simplejpeg")
def test_an_oddity_that_libjpeg_mentions_is_no_damage(tmp_path: Path) -> None:
    content = encoded(picture(0))
    at = content.index(b"JFIF\0") + 5
    odd = content[:at] + b"\x07" + content[at + 1 :]  # an unknown version of JFIF
    assert decode_strictly(odd, (240, 160)) == (None, (0, 0), False)
    assert look(odd, tmp_path)[:5] == (0, 240, 160, "RGB", "JPEG")


RAMP = np.tile(np.linspace(0, 1, 128), (96, 1))


def ramp(top: float, dtype: str) -> Image.Image:
    return Image.fromarray((RAMP * top).astype(dtype))


@pytest.mark.parametrize(
    ("image", "kind", "clipped"),
    [
        (ramp(65535, "u2"), "PNG", True),
        (ramp(4095, "u2"), "PNG", True),
        (ramp(255, "u2"), "PNG", False),
        (ramp(65535, "u2"), "TIFF", True),
        (ramp(255, "u2"), "TIFF", False),
        (ramp(65535, "i4"), "TIFF", True),
        (ramp(-255, "i4"), "TIFF", True),
        (ramp(255, "i4"), "TIFF", False),
        (ramp(1, "f4"), "TIFF", True),
        (ramp(255, "f4"), "TIFF", False),
        (ramp(256.5, "f4"), "TIFF", False),
        (ramp(float("nan"), "f4"), "TIFF", True),
        (Image.new("I", (9, 9), 7), "TIFF", False),
        (Image.new("I", (9, 9), 3000), "TIFF", True),
        (ramp(255, "u1"), "PNG", False),
    ],
)
def test_clipped(image: Image.Image, kind: str, clipped: bool, tmp_path: Path) -> None:
    assert bool(look(encoded(image, kind), tmp_path).problems & BIT["clipped"]) == clipped


def test_clipped_in_the_last_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinov3_metadata.pixels.STRIP", 128)
    values = np.zeros((96, 128), "i4")
    values[-2:] = 999
    assert is_clipped(Image.fromarray(values))
    alpha = Image.new("LA", (128, 96), (9, 255))
    assert not is_transparent(alpha)
    alpha.putpixel((127, 95), (9, 254))
    assert is_transparent(alpha)


def palette(used: int) -> tuple[Image.Image, dict[str, object]]:
    image = Image.new("P", (9, 9), used)
    image.putpalette([9, 9, 9, 200, 200, 200])
    return image, {"transparency": 1}


def test_transparent(tmp_path: Path) -> None:
    grey = Image.new("L", (9, 9), 5)
    cases = [
        (Image.new("RGBA", (9, 9), (1, 2, 3, 255)), {}, False),
        (Image.new("RGBA", (9, 9), (1, 2, 3, 254)), {}, True),
        (Image.new("LA", (9, 9), (1, 0)), {}, True),
        (*palette(0), False),
        (*palette(1), True),
        (palette(1)[0], {"transparency": b"\0\xff"}, False),
        (palette(0)[0], {"transparency": b"\x7f\xff"}, True),
        (grey, {"transparency": 5}, True),
        (grey, {"transparency": 6}, False),
        (grey.convert("RGB"), {"transparency": (5, 5, 5)}, True),
        (grey.convert("RGB"), {}, False),
        (Image.fromarray(np.full((9, 9), 500, "u2")), {"transparency": 500}, True),
        (Image.fromarray(np.full((9, 9), 500, "u2")), {"transparency": 501}, False),
    ]
    for image, options, transparent in cases:
        found = look(encoded(image, "PNG", **options), tmp_path)
        assert bool(found.problems & BIT["transparent"]) == transparent, (image.mode, options)
    for used in (0, 1):
        image, options = palette(used)
        image.putpixel((0, 0), 0)  # so that GIF keeps both colours
        image.putpixel((1, 0), used)
        found = look(encoded(image, "GIF", optimize=False, **options), tmp_path)
        assert bool(found.problems & BIT["transparent"]) == bool(used)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_rotated(kind: str, tmp_path: Path) -> None:
    for orientation in range(10):
        exif = Image.Exif()
        exif[0x0112] = orientation
        found = look(encoded(picture(0, 9, 9), kind, exif=exif.tobytes()), tmp_path)
        rotated = 2 <= orientation <= 8
        assert bool(found.problems & BIT["rotated"]) == rotated, orientation
        assert found.problems & BIT["broken-exif"] == 0
    assert look(encoded(picture(0, 9, 9), kind), tmp_path).problems & BIT["rotated"] == 0


def test_an_orientation_that_is_no_number(tmp_path: Path) -> None:
    exif = (
        b"Exif\0\0II*\0\x08\0\0\0\x01\0"
        + struct.pack("<HHI4s", 0x0112, 2, 2, b"6\0\0\0")
        + bytes(4)
    )
    assert look(encoded(picture(0), exif=exif), tmp_path).problems == 0


def distance(one: int, other: int) -> int:
    return bin(one ^ other).count("1")


def test_hashes_of_what_looks_alike_are_close(tmp_path: Path) -> None:
    first = [look(encoded(picture(seed, 500, 375), quality=92), tmp_path) for seed in range(12)]
    for seed, found in enumerate(first):
        image = picture(seed, 500, 375)
        half = image.resize((250, 188), Image.LANCZOS)
        for content in (
            encoded(image, quality=40, progressive=True),
            encoded(image.convert("L")),
            encoded(half),
            encoded(half, "PNG"),
            encoded(image.quantize(128), "PNG"),
            encoded(image.convert("CMYK")),
            encoded(image.resize((333, 250))),
        ):
            assert distance(look(content, tmp_path).phash, found.phash) <= 6
    far = [distance(a.phash, b.phash) for i, a in enumerate(first) for b in first[:i]]
    assert min(far) >= 14


def test_hashes(tmp_path: Path) -> None:
    content = encoded(picture(0))
    found = look(content, tmp_path)
    assert found.sha256 == hashlib.sha256(content).digest()
    assert found.phash >> 63 == 1
    assert examine(str(tmp_path / "1.JPEG"), hashed=False) == found._replace(sha256=b"", phash=0)
    image = picture(0)
    grey = np.asarray(image.convert("L"))
    assert distance(phash_of(image), phash(grey)) <= 2
    assert distance(phash(np.pad(grey, ((0, 40), (0, 60)), "edge"), (240, 160)), phash(grey)) <= 2
    with patch.object(hashes, "LARGE", 100):
        alpha = image.convert("RGBA")
        assert distance(phash_of(alpha), phash(grey)) <= 6


def test_a_flat_picture_has_no_hash(tmp_path: Path) -> None:
    for quality in (20, 95):
        for colour in ((0, 0, 0), (255, 255, 255), (200, 90, 30)):
            flat = encoded(Image.new("RGB", (300, 200), colour), quality=quality)
            found = look(flat, tmp_path)
            assert (found.problems, found.phash) == (0, 0)
            assert found.sha256
    noise = np.random.default_rng(0).integers(126, 130, (200, 300), "u1")
    assert phash(noise) == 0


def test_a_file_that_is_too_large_to_be_read_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "LARGEST", 1 << 20)
    for kind in ("JPEG", "PNG", "GIF"):
        content = encoded(picture(0), kind) + bytes(1 << 20)
        found = look(content, tmp_path)
        assert found.problems & ~BIT["other-mode"] == 0
        assert found[1:3] + found[4:6] == (240, 160, kind, b"")
        assert found.phash


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python without simplejpeg."""
    monkeypatch.setattr(damage, "STRICT", "")
    monkeypatch.setattr(audit, "STRICT", "")
    monkeypatch.setattr("dinov3_metadata.extras.find_spec", lambda module: None)


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    (tmp_path / "labels.txt").write_text("n01440764,tench\nn01443537,goldfish\n")
    make_demo(tmp_path / "root", tmp_path / "labels.txt", {"TRAIN": 4, "VAL": 2, "TEST": 1})
    return tmp_path / "root"


@pytest.mark.needs("simplejpeg")
def test_without_simplejpeg_the_rest_is_found(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    content = encoded(picture(0))
    with_it, code = look(content, tmp_path), audit._code()
    request.getfixturevalue("plain")
    found = look(content, tmp_path)
    assert found[:6] == with_it[:6]
    assert distance(found.phash, with_it.phash) <= 4
    assert look(content[:-2000] + EOI, tmp_path).problems == 0
    assert look(content[:-2000], tmp_path).problems == BIT["truncated"]
    assert audit._code() != code


@pytest.mark.usefixtures("plain")
def test_without_simplejpeg_an_audit_says_what_it_does_not_find(
    demo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audit_extra(demo, tmp_path / "extra", splits=["TRAIN"])
    said = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert not [text for text in said if "simplejpeg" in text]
    chain = audit_extra(demo, tmp_path / "extra")
    assert summarise(chain).count(f"\n  {NOT_STRICT}") == 1
    assert read_audit_summary(tmp_path / "extra", "TRAIN").simplejpeg == ""
    with pytest.raises(MetadataError, match=r"fail_on: \[damaged\]` needs simplejpeg.*\[audit\]"):
        dump_extra(demo, tmp_path / "extra", fail_on=["damaged"])
    assert not list((tmp_path / "extra").glob("entries-*"))


def test_only_what_lacks_its_hashes_is_opened_for_them(demo: Path, tmp_path: Path) -> None:
    def opened(**settings: object) -> int:
        with patch.object(audit, "examine", side_effect=examine) as calls:
            audit_extra(demo, tmp_path / "extra", threads=1, splits=["TRAIN"], **settings)
        return calls.call_count

    def hashed() -> tuple[int, int]:
        rows = np.load(tmp_path / "extra/audit-TRAIN.npy")
        return sum(any(bytes(row)) for row in rows["sha256"]), np.count_nonzero(rows["phash"])

    first = min((demo / "train/n01440764").iterdir())
    first.write_text("404: Not Found")
    assert (opened(duplicates=False), hashed()) == (8, (0, 0))
    assert (opened(), hashed()) == (7, (7, 7))
    assert (opened(), hashed()) == (0, (7, 7))
    assert (opened(duplicates=False), hashed()) == (0, (7, 7))  # for the next one


def test_too_large_files_are_not_opened_again_for_their_hashes() -> None:
    rows = np.zeros(3, ROW)
    rows["inode"], rows["width"], rows["phash"] = (1, 2, 3), 9, 7
    rows["size"] = (99, images.LARGEST, images.LARGEST + 1)
    again = rows.copy()
    again["phash"] = 0
    assert recall(again, rows).tolist() == [0, 1]
    assert again["phash"].tolist() == [0, 0, 7]


def test_a_note_is_a_fault_only_for_who_refuses_it(demo: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    first = min((demo / "train/n01440764").iterdir())
    Image.open(first).save(first, exif=exif)
    audit_all(demo, tmp_path / "extra", fail_on=["truncated", "leak"])
    summary = read_audit_summary(tmp_path / "extra", "TRAIN")
    assert (summary.ok, summary.problems) == (8, {"rotated": 1})
    audit = json.loads((tmp_path / "extra/audit-TRAIN.json").read_text())
    assert (audit["not_ok"], len(audit["noted"])) == ([], 1)
    with pytest.raises(MetadataError, match=rf"1 image with .*\n.*{first.name} \(rotated\)"):
        audit_all(demo, tmp_path / "extra", fail_on=["rotated"])
    assert [*problem_images(tmp_path / "extra", "TRAIN", 9)] == ["rotated"]
