"""Audit: open every image as training will, and note which ones are not as they should be.

No image is ever written to. The table of one audit is the memory of the next: an image whose size,
mtime and inode are the same is not opened again.
"""

import json
import os
import shutil
import struct
import time
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL
from PIL import Image
from PIL.JpegImagePlugin import MARKER

from .disk import create_anew, make_folder, open_regular, remove_file, remove_folders
from .entries import npy_header
from .errors import MetadataError, count, listing, logger
from .files import open_array, write_atomically
from .fingerprint import digest, of_code
from .images import raster_formats
from .layout import WORK, StrPath, image_path
from .log import progress
from .publish import audit_file, audit_names, read_summary
from .replace import Writer, replaced_files
from .scan import Scan
from .settings import PROBLEMS

ROW = np.dtype(
    [
        ("actual_index", "<u4"),
        ("class_index", "<u4"),
        ("problems", "<u2"),
        ("width", "<u4"),
        ("height", "<u4"),
        ("mode", "S8"),
        ("format", "S8"),
        ("size", "<u8"),
        ("mtime_ns", "<i8"),
        ("inode", "<u8"),
    ]
)
"""What is noted of an image, in the order of the entries. ``problems`` has bit ``i`` set for
``PROBLEMS[i]``; ``mode`` and ``format`` are Pillow's."""

BIT = {problem: 1 << place for place, problem in enumerate(PROBLEMS)}
GOOD_MODES = ("RGB", "L")
FORMATS = {"MPO": "JPEG"}  # a JPEG with more pictures behind it
LONGEST_EXIF = 1 << 16  # bytes; an entry of it can ask for all of them, and so can each
SAFE_PIXELS = Image.MAX_IMAGE_PIXELS or 1 << 27
BLOCK = 1 << 14  # rows that are copied at a time
DESCRIBED = 256  # bytes of an image in audit-SPLIT.json, about
SUMMARY_LINES = 1000  # of audit-SPLIT.json before the images; there are a few dozen
LONGEST_LINE = 1 << 16  # bytes of a line of it; two paths and some words
JPEG = b"\xff\xd8\xff"  # how one begins, even if no more of its header is there


READS = 1_000_000
"""Calls of ``read`` that one image may take. Pillow reads headers piece by piece, in Python: a
million chunks, or bytes of padding, take seconds, and a file may have any number of them."""

LARGEST = 1 << 30  # bytes of an image that some formats want as a whole
SCANS = 100  # of a JPEG with as many pixels as Pillow finds safe: each goes over all of them


class EndlessError(Image.DecompressionBombError):
    """An image has more pieces, or larger ones, than any that is meant to be looked at."""


class _Bounded(BufferedReader):
    """A file that can be read only so often, and only so much at a time."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > READS:
            raise EndlessError(f"more than {READS:,} pieces")
        if size is not None and 0 <= size <= LARGEST:
            return super().read(size)
        content = super().read(LARGEST + 1)
        if len(content) > LARGEST:
            raise EndlessError(f"more than {LARGEST:,} bytes")
        return content


@contextmanager
def opened_image(path: StrPath) -> Iterator[Image.Image]:
    """Open an image for the block, by one of ``images.RASTER``; nothing of it is decoded yet.

    Raises:
        Image.DecompressionBombError: To decode it would take too much memory or time.
        UnidentifiedImageError: It is not an image.
        OSError: It cannot be opened, or is no regular file. Pillow raises other errors, too.
    """
    with _Bounded(open_regular(path).detach()) as file:
        _check_exif(file)
        with Image.open(file, formats=raster_formats()) as image:
            if FORMATS.get(image.format or "", image.format) == "JPEG":
                _check_scans(file, image.width * image.height)
            yield image


def _check_exif(file: _Bounded) -> None:
    """Refuse a JPEG whose EXIF fills many segments: Pillow reads it at once when it opens the file,
    and each of its entries can ask for the memory of all of it."""
    if file.read(len(JPEG)) != JPEG:
        return
    file.seek(2)
    size, marker = 0, _next_marker(file)
    while marker and marker != b"\xff\xda":
        name, _, handler = MARKER.get(marker[0] << 8 | marker[1], ("", "", None))
        if handler:
            body = file.read(max(0, int.from_bytes(file.read(2), "big") - 2))
            size += len(body) * (name == "APP1" and body.startswith(b"Exif\0\0"))
            if size > 2 * LONGEST_EXIF:
                raise EndlessError(f"{size:,} bytes of EXIF")
        marker = _next_marker(file)


def _next_marker(file: _Bounded) -> bytes:
    """The two bytes of the next marker of a JPEG, found as Pillow finds it; nothing at its end."""
    byte = file.read(1)
    while byte and byte != b"\xff":
        byte = file.read(1)
    while byte == b"\xff":
        byte = file.read(1)
    return b"\xff" + byte if byte else b""


def _check_scans(file: _Bounded, pixels: int) -> None:
    """Refuse a JPEG that goes over its pixels again and again: a kilobyte can ask for a minute."""
    file.seek(0)
    scans, last = 0, b""
    while block := file.read(1 << 20):
        scans += (last + block).count(b"\xff\xda")
        last = block[-1:]
    if scans * pixels > SCANS * SAFE_PIXELS:
        raise Image.DecompressionBombError(f"{scans:,} scans of {pixels:,} pixels")
    file.seek(0)


def examine(path: str) -> tuple[int, int, int, str, str]:
    """Open an image as training does, and find out what is wrong with it.

    Source of "as training does": ``ImageDataDecoder`` in facebookresearch/dinov3, ``pil_loader``
    in torchvision: ``Image.open(file).convert("RGB")``.

    An image above Pillow's error limit is not decoded, as in training. One above the limit of its
    warning is: training decodes it as well, and must know if it fails. It takes four bytes a pixel,
    which are at most 720 MB, and what its decoder needs.

    Args:
        path: The image.

    Returns:
        Problems as bits, width, height, Pillow's mode and format. The suffix is not looked at.
    """
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            with opened_image(path) as image:
                what = (*image.size, image.mode, image.format or "")
                problems = BIT["other-mode"] * (image.mode not in GOOD_MODES)
                problems |= _decode(image) | _read_exif(image)
        except EndlessError:
            return BIT["decompression-bomb"], 0, 0, "", ""
        except Image.DecompressionBombError:
            return BIT["decompression-bomb"], *_header(path)
        except Exception as error:  # Pillow's plugins raise what they like on broken headers
            problem = "unreadable" if _is_ours(error) else _unidentified(path)
            return BIT[problem], 0, 0, "", ""
    for warning in heard:
        problems |= BIT["broken-exif"] * ("EXIF" in str(warning.message))
        bomb = issubclass(warning.category, Image.DecompressionBombWarning)
        problems |= BIT["decompression-bomb"] * bomb
    return problems, *what


def _decode(image: Image.Image) -> int:
    """Decode an image, and convert a pixel of it: all of them would need the memory twice."""
    try:
        image.load()
        image.crop((0, 0, 1, 1)).convert("RGB")
    except Image.DecompressionBombError:
        return BIT["decompression-bomb"]
    except Exception as error:
        return BIT["unreadable" if _is_ours(error) else "truncated"]
    return 0


def _read_exif(image: Image.Image) -> int:
    """Read EXIF anew: what Pillow did in opening the file, it did without a word."""
    exif = image.info.get("exif", b"")
    if len(exif) > LONGEST_EXIF:
        return BIT["broken-exif"]
    try:
        Image.Exif().load(exif)
    except Exception:
        return BIT["broken-exif"]
    return 0


def _is_ours(error: Exception) -> bool:
    """Whether the system refused something, and not the image's bytes."""
    return isinstance(error, MemoryError) or getattr(error, "errno", None) is not None


def _unidentified(path: str) -> str:
    """What is wrong with a file that Pillow does not take for an image."""
    try:
        with open_regular(path) as file:
            start = file.read(len(JPEG))
    except OSError:
        return "unreadable"
    return "truncated" if start == JPEG else "not-an-image" if start else "zero-bytes"


def _header(path: str) -> tuple[int, int, str, str]:
    """Width, height, mode and format of an image that is too large to be opened, as far as its
    header can be read. ``Image.MAX_IMAGE_PIXELS`` is not touched: it is that of all threads."""
    with suppress(Exception), _Bounded(open_regular(path).detach()) as bounded:
        prefix = bounded.read(16)
        for name in raster_formats():
            factory, accepts = Image.OPEN[name]
            with suppress(SyntaxError, IndexError, TypeError, struct.error):
                if not accepts or accepts(prefix) is True:
                    bounded.seek(0)
                    image = factory(bounded, "")
                    return (*image.size, image.mode, image.format or "")
    return 0, 0, "", ""


def wrong_suffix(name: str, image_format: str) -> bool:
    """Whether an image's suffix says another format than the one that it has."""
    if not image_format:
        return False
    suffix = os.path.splitext(name)[1].lower()
    return Image.registered_extensions().get(suffix) != FORMATS.get(image_format, image_format)


def audit_images(
    root: StrPath,
    extra: StrPath,
    split: str,
    scan: Scan,
    shard: str,
    is_view: bool = False,
) -> np.ndarray:
    """Audit one of several shares of a split's images.

    Every image is looked at (one ``stat``); those that are not known as they are now are opened.
    What was found is kept in the work folder at once, so that a kill costs one image.

    Args:
        root: What DINOv3 takes for root: the dataset, or a view of it.
        extra: Holds the table of the last audit, and the work folder.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        scan: The split's images.
        shard: Which share, as Snakemake's ``scatteritem`` says it: ``3-of-8``.
        is_view: Whether the suffix that counts is that of the file which a link names.

    Returns:
        (images of the share,) of ``ROW``; the shares follow each other in the order of the entries.
    """
    number, of = map(int, shard.split("-of-"))
    images, class_ids = len(scan.actual_index), scan.class_ids.tolist()
    start, stop = images * (number - 1) // of, images * number // of
    rows = np.zeros(stop - start, ROW)
    rows["actual_index"] = scan.actual_index[start:stop]
    rows["class_index"] = scan.class_index(start, stop)

    def path(i: int) -> str:
        class_id = class_ids[rows["class_index"][i]]
        return f"{root}/{image_path(split, class_id, int(rows['actual_index'][i]))}"

    states = rows[["size", "mtime_ns", "inode"]]
    for i in range(len(rows)):
        with suppress(OSError):  # it is opened, and found to be unreadable
            state = os.stat(path(i))
            states[i] = state.st_size, state.st_mtime_ns, state.st_ino
    due = recall(rows, _known(extra, split, rows["inode"]))
    results = rows[["problems", "width", "height", "mode", "format"]]
    folder = _kept(extra, split)
    with create_anew(folder / f"{time.time_ns()}-{shard}") as kept:
        for i in progress(due.tolist(), len(due), f"audit {split} {shard}"):
            results[i] = examine(path(i))
            kept.write(rows[i].tobytes())
            kept.flush()
    rows["problems"] &= np.uint16(0xFFFF ^ BIT["wrong-suffix"])  # of a name that it had
    for i in range(len(rows)):
        name = path(i)
        if is_view and os.path.islink(name):
            name = os.readlink(name)
        if wrong_suffix(name, rows["format"][i].decode(errors="replace")):
            rows["problems"][i] |= BIT["wrong-suffix"]
    what = count(len(rows), "image")
    logger.info("%s %s: %s, %s of them opened", split, shard, what, f"{len(due):,}")
    return rows


def save(rows: np.ndarray, path: StrPath) -> None:
    """Write rows of ``ROW`` to ``path``."""
    with write_atomically(path) as file:
        file.write(npy_header(rows.dtype, len(rows)))
        file.write(rows.data)  # np.save would not say why it failed


def recall(rows: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Fill in what is known of images that are still as they were, told by size, mtime and inode.

    Args:
        rows: (images,) of ``ROW``; changed in place.
        known: (images,) of ``ROW``, from earlier audits, oldest first.

    Returns:
        (images to be opened,) ``<i8``: positions in ``rows``.
    """
    if not len(known):
        return np.arange(len(rows))
    order = np.argsort(known["inode"], kind="stable")  # of equal inodes the newest last
    at = np.searchsorted(known["inode"], rows["inode"], side="right", sorter=order) - 1
    found = known[order[at.clip(0)]]
    same = (at >= 0) & (rows["inode"] > 0) & (found["problems"] & BIT["unreadable"] == 0)
    for column in ("inode", "size", "mtime_ns"):
        same &= found[column] == rows[column]
    for column in ("problems", "width", "height", "mode", "format"):
        rows[column][same] = found[column][same]
    return np.flatnonzero(~same)


def _known(extra: StrPath, split: str, inodes: np.ndarray) -> np.ndarray:
    """What the last audit, and later ones that were not finished, noted of some inodes."""
    tables: list[np.ndarray] = []
    if read_summary(extra, split).get("code") == _code():
        with suppress(MetadataError):  # damaged, and removed
            tables.append(open_array(Path(extra, audit_names(split)[0])))
    kept = _kept(extra, split)
    tables += [np.fromfile(path, ROW) for path in sorted(kept.iterdir())] if kept.exists() else []
    known = [rows[np.isin(rows["inode"], inodes)] for rows in tables if rows.dtype == ROW]
    return np.concatenate([np.empty(0, ROW), *known])


def _kept(extra: StrPath, split: str) -> Path:
    """Where an audit keeps what it found so far, for one by the same code to go on from."""
    return Path(extra, WORK, "audit", split, f"kept-{_code()}")


def _code() -> str:
    """What opens the images, and tells what is wrong with them."""
    return digest(of_code("audit", "images", "settings"), PIL.__version__)


def publish_audit(
    shares: Sequence[StrPath],
    root: StrPath,
    extra: StrPath,
    split: str,
    scan: Scan,
    fail_on: Collection[str],
    out: StrPath,
    keep: float = 14,
) -> None:
    """Put the shares together to ``audit-SPLIT.npy``, and name in ``audit-SPLIT.json`` each image
    that is not plain ok. Both are replaced as one set, with what the work folder notes of them.

    Args:
        shares: The files of the shares, in their order.
        root, extra, split, scan: See ``audit_images``.
        fail_on: Which of ``PROBLEMS`` no image may have.
        out: Where to note that none has: ``<WORK>/audit/SPLIT/<tree>/<settings>/...``, where for
            an audit that was asked for a time follows the settings. What else lies there is old,
            and removed.
        keep: Days that replaced files are kept for readers on other hosts.

    Raises:
        MetadataError: Images have a problem of ``fail_on``; both files are written before, and what
            noted that there are none is removed.
    """
    with _joined(shares, Path(out).with_suffix(".joined")) as joined:
        table, described = audit_names(split)
        rows = open_array(joined)
        bad = np.flatnonzero(rows["problems"])
        opened = rows["width"] > 0
        found = {name: int((rows["problems"][bad] & bit > 0).sum()) for name, bit in BIT.items()}
        summary = {
            "split": split,
            "root": os.fspath(root),
            "audited": datetime.now(UTC).isoformat(timespec="seconds"),
            "images": len(rows),
            "ok": len(rows) - len(bad),
            "problems": {name: many for name, many in found.items() if many},
            "modes": _counts(rows["mode"][opened]),
            "formats": _counts(rows["format"][opened]),
            **{side: _spread(rows[side][opened]) for side in ("width", "height") if opened.any()},
            "pillow": PIL.__version__,
            "code": _code(),
        }

        def describe(file: BinaryIO) -> None:  # an image a line: there may be a million
            file.write(json.dumps(summary, indent=1)[:-2].encode() + b',\n "not_ok": [')
            for place, i in enumerate(bad):
                image = json.dumps(_describe(rows[i], root, split, scan.class_ids))
                file.write((",\n  " if place else "\n  ").encode() + image.encode())
            file.write(b"\n ]\n}\n")

        wrong = bad[(rows["problems"][bad] & sum(BIT[name] for name in fail_on)) > 0]
        noted = audit_file(Path(extra, WORK), split)
        make_folder(noted.parent)
        writers: dict[str, Writer] = {table: partial(_copy, joined), described: describe}
        size = joined.stat().st_size + DESCRIBED * (1 + len(bad))
        with replaced_files(extra, writers, size, keep):
            for path in (noted,) if len(wrong) else (noted, out):
                with write_atomically(path) as file:
                    file.write(json.dumps(summary, indent=1).encode())
        tree, settings = Path(out).parts[-3:-1]
        own = Path(extra, WORK, "audit", split, tree, settings)
        make_folder(own)
        remove_folders(own.parent.parent, {tree})  # what was kept, too: it is in the table
        remove_folders(own.parent, {settings, *([] if len(wrong) else settings.split("-")[:1])})
        if len(wrong):
            some = (_describe(rows[i], root, split, scan.class_ids) for i in wrong)
            shown = (
                f"{one.get('file', one['image'])} ({', '.join(one['problems'])})" for one in some
            )
            raise MetadataError(
                f"{split}: {count(len(wrong), 'image')} with a problem that `audit: fail_on` "
                "names:",
                listing(shown, len(wrong)),
                f"{extra}/{described} names all. Mend or remove them, and run the same command "
                "again.",
            )


def _copy(path: Path, file: BinaryIO) -> None:
    with open_regular(path) as source:
        shutil.copyfileobj(source, file, 1 << 20)


@contextmanager
def _joined(shares: Iterable[StrPath], table: Path) -> Iterator[Path]:
    """Write the shares one behind the other to one ``.npy`` file, which is there in the block."""
    parts = [open_array(share) for share in shares]
    images = sum(map(len, parts))
    with write_atomically(table, images * ROW.itemsize) as file:
        file.write(npy_header(ROW, images))
        for part in parts:
            for start in range(0, len(part), BLOCK):
                file.write(part[start : start + BLOCK].tobytes())
    try:
        yield table
    finally:
        remove_file(table)


def _describe(row: np.void, root: StrPath, split: str, class_ids: np.ndarray) -> dict[str, Any]:
    """An image that is not plain ok, as ``audit-SPLIT.json`` names it; in a view with its file."""
    path = image_path(split, str(class_ids[row["class_index"]]), int(row["actual_index"]))
    linked = os.path.join(root, path)
    return {
        "image": path,
        **({"file": _target(linked)} if os.path.islink(linked) else {}),
        "problems": [name for name, bit in BIT.items() if row["problems"] & bit],
        **{what: int(row[what]) for what in ("width", "height")},
        **{what: row[what].decode(errors="replace") for what in ("mode", "format")},
    }


def _target(link: str) -> str:
    return os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link)))


def first_not_ok(extra: StrPath, split: str, many: int) -> list[dict[str, Any]]:
    """Some images of ``audit-SPLIT.json`` that are not plain ok, without reading all of them; none
    if the file is damaged."""
    with (
        suppress(OSError, ValueError, RecursionError),
        open_regular(Path(extra, audit_names(split)[1])) as file,
    ):
        for _ in range(SUMMARY_LINES):
            line = file.readline(LONGEST_LINE)
            if line.startswith(b' "not_ok"'):
                lines = iter(partial(file.readline, LONGEST_LINE), b"")
                found = [
                    json.loads(line.rstrip(b",\n"))
                    for line in islice(lines, many)
                    if line.startswith(b"  {")
                ]
                return found if all(map(_is_described, found)) else []
    return []


def _is_described(image: Any) -> bool:
    """Whether something is what ``_describe`` returned, as far as a reader needs it."""
    return (
        isinstance(image, dict)
        and all(isinstance(image.get(name), str) for name in ("image", "mode"))
        and isinstance(image.get("file", ""), str)
        and isinstance(image.get("problems"), list)
        and all(isinstance(problem, str) for problem in image["problems"])
    )


def _spread(pixels: np.ndarray) -> dict[str, float]:
    least, median, most = np.quantile(pixels, (0, 0.5, 1)).tolist()
    return {"least": least, "median": median, "most": most}


def _counts(names: np.ndarray) -> dict[str, int]:
    """How often each name occurs, the most frequent first."""
    found, many = np.unique(names, return_counts=True)
    order = np.argsort(-many, kind="stable")
    return {found[i].decode(errors="replace"): int(many[i]) for i in order}
