"""Audit: open every image as training will, and note which ones are not as they should be.

No image is ever written to. The table of one audit is the memory of the next: an image whose size,
mtime and inode are the same is not opened again.
"""

import json
import os
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, UnidentifiedImageError

from .errors import MetadataError, count, listing
from .files import open_array, write_atomically
from .fingerprint import of_code
from .layout import WORK, image_path
from .log import logger
from .publish import audit_names
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
KEEP_AFTER = 20  # s of work that a kill may cost
TELL_AFTER = 10  # s between two lines in the log


def examine(path: str) -> tuple[int, int, int, str, str]:
    """Open an image as training does, and find out what is wrong with it.

    Source of "as training does": ``ImageDataDecoder`` in facebookresearch/dinov3, ``pil_loader``
    in torchvision: ``Image.open(file).convert("RGB")``.

    Args:
        path: The image.

    Returns:
        Problems as bits, width, height, Pillow's mode and format. The suffix is not looked at.
    """
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            image = Image.open(path)
        except Image.DecompressionBombError:
            return BIT["decompression-bomb"], *_header(path)
        except UnidentifiedImageError:
            empty = os.path.getsize(path) == 0
            return BIT["zero-bytes" if empty else "not-an-image"], 0, 0, "", ""
        except OSError as error:
            unreadable = error.errno is not None
            return BIT["unreadable" if unreadable else "not-an-image"], 0, 0, "", ""
        except Exception:  # Pillow's plugins raise what they like on broken headers
            return BIT["not-an-image"], 0, 0, "", ""
        with image:
            what = (*image.size, image.mode, image.format or "")
            problems = BIT["other-mode"] * (image.mode not in GOOD_MODES)
            if 0 in image.size:
                return problems | BIT["not-an-image"], *what
            try:
                image.convert("RGB")
            except Exception as error:
                broken = getattr(error, "errno", None) is None
                problems |= BIT["truncated" if broken else "unreadable"]
            try:
                image.getexif()
            except Exception:
                problems |= BIT["broken-exif"]
    for warning in heard:
        problems |= BIT["broken-exif"] * ("EXIF" in str(warning.message))
        bomb = issubclass(warning.category, Image.DecompressionBombWarning)
        problems |= BIT["decompression-bomb"] * bomb
    return problems, *what


def _header(path: str) -> tuple[int, int, str, str]:
    """Width, height, mode and format of an image that is too large to be opened."""
    most, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path) as image:
            return (*image.size, image.mode, image.format or "")
    finally:
        Image.MAX_IMAGE_PIXELS = most


def wrong_suffix(name: str, image_format: str) -> bool:
    """Whether an image's suffix says another format than the one that it has."""
    if not image_format:
        return False
    suffix = os.path.splitext(name)[1].lower()
    return Image.registered_extensions().get(suffix) != FORMATS.get(image_format, image_format)


def audit_images(
    root: str | os.PathLike,
    extra: str | os.PathLike,
    split: str,
    scan: Scan,
    shard: str,
    is_view: bool = False,
) -> np.ndarray:
    """Audit one of several shares of a split's images.

    Every image is looked at (one ``stat``); those that are not known as they are now are opened.
    What was found is kept in the work folder at intervals, so that a kill costs seconds.

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
    due = recall(rows, _known(extra, split))
    results = rows[["problems", "width", "height", "mode", "format"]]
    folder = _kept(extra, split)
    folder.mkdir(parents=True, exist_ok=True)
    kept, last = 0, time.monotonic()
    for done, i in enumerate(_telling(due, f"audit {split} {shard}"), 1):
        results[i] = examine(path(i))
        if time.monotonic() > last + KEEP_AFTER or done == len(due):
            save(rows[due[kept:done]], folder / f"{time.time_ns()}-{shard}.npy")
            kept, last = done, time.monotonic()
    rows["problems"] &= np.uint16(0xFFFF ^ BIT["wrong-suffix"])  # of a name that it had
    for i in range(len(rows)):
        name = path(i)
        if is_view and os.path.islink(name):
            name = os.readlink(name)
        if wrong_suffix(name, rows["format"][i].decode()):
            rows["problems"][i] |= BIT["wrong-suffix"]
    what = count(len(rows), "image")
    logger.info("%s %s: %s, %s of them opened", split, shard, what, f"{len(due):,}")
    return rows


def save(rows: np.ndarray, path: str | os.PathLike) -> None:
    """Write rows of ``ROW`` to ``path``."""
    with write_atomically(path) as file:
        np.save(file, rows)


def recall(rows: np.ndarray, known: list[np.ndarray]) -> np.ndarray:
    """Fill in what is known of images that are still as they were, told by size, mtime and inode.

    Args:
        rows: (images,) of ``ROW``; changed in place.
        known: Tables of earlier audits, oldest first.

    Returns:
        (images to be opened,) ``<i8``: positions in ``rows``.
    """
    before = np.concatenate([np.empty(0, ROW), *known])
    order = np.argsort(before["inode"], kind="stable")  # of equal inodes the newest last
    at = np.searchsorted(before["inode"], rows["inode"], side="right", sorter=order) - 1
    if not len(before):
        return np.arange(len(rows))
    found = before[order[at.clip(0)]]
    same = (at >= 0) & (rows["inode"] > 0)
    for column in ("inode", "size", "mtime_ns"):
        same &= found[column] == rows[column]
    for column in ("problems", "width", "height", "mode", "format"):
        rows[column][same] = found[column][same]
    return np.flatnonzero(~same)


def _known(extra: str | os.PathLike, split: str) -> list[np.ndarray]:
    """The table of the last audit, and what later ones kept that were not finished."""
    table, summary = (Path(extra, name) for name in audit_names(split))
    paths = sorted(_kept(extra, split).glob("*.npy"))
    with suppress(OSError, ValueError, KeyError, TypeError):
        paths = [table] * (json.loads(summary.read_bytes())["code"] == of_code("audit")) + paths
    known = []
    for path in filter(Path.exists, paths):
        with suppress(MetadataError):  # damaged, and removed
            rows = open_array(path)
            known += [rows] if rows.dtype == ROW else []
    return known


def _kept(extra: str | os.PathLike, split: str) -> Path:
    """Where an audit keeps what it found so far, for one by the same code to go on from."""
    return Path(extra, WORK, "audit", split, of_code("audit"))


def _telling(due: np.ndarray, what: str) -> Iterator[int]:
    """Pass positions on, with a bar on a terminal, and rate and time left in the log."""
    from tqdm import tqdm

    start = last = time.monotonic()
    for done, i in enumerate(tqdm(due.tolist(), what, disable=None, leave=False, unit="image"), 1):
        yield i
        now = time.monotonic()
        if now > last + TELL_AFTER:
            rate, last = done / (now - start), now
            left = (len(due) - done) / rate / 60
            logger.info(
                "%s: %s of %s opened, %.0f a second, %.0f min left",
                what,
                f"{done:,}",
                f"{len(due):,}",
                rate,
                left,
            )


def publish_audit(
    shares: Iterable[str | os.PathLike],
    root: str | os.PathLike,
    extra: str | os.PathLike,
    split: str,
    scan: Scan,
    fail_on: Collection[str] = (),
) -> dict:
    """Put the shares together to ``audit-SPLIT.npy``, and name in ``audit-SPLIT.json`` each image
    that is not plain ok.

    Args:
        shares: The files of the shares, in their order.
        root, extra, split, scan: See ``audit_images``.
        fail_on: Which of ``PROBLEMS`` no image may have.

    Returns:
        What the summary says.

    Raises:
        MetadataError: Images have a problem of ``fail_on``; both files are written before.
    """
    rows = np.concatenate([np.load(share, allow_pickle=False) for share in shares])
    class_ids = scan.class_ids.tolist()
    bad = rows[rows["problems"] > 0]
    images = [
        {
            "image": image_path(split, class_ids[row["class_index"]], int(row["actual_index"])),
            "problems": names_of(row["problems"]),
            **{what: int(row[what]) for what in ("width", "height")},
            **{what: row[what].decode() for what in ("mode", "format")},
        }
        for row in bad
    ]
    opened = rows[rows["width"] > 0]
    summary = {
        "split": split,
        "root": os.fspath(root),
        "audited": datetime.now(UTC).isoformat(timespec="seconds"),
        "images": len(rows),
        "ok": len(rows) - len(bad),
        "problems": _counts(name for image in images for name in image["problems"]),
        "modes": _counts(opened["mode"].astype("U").tolist()),
        "formats": _counts(opened["format"].astype("U").tolist()),
        **{side: _spread(opened[side]) for side in ("width", "height") if len(opened)},
        "pillow": PIL.__version__,
        "code": of_code("audit"),
        "not_ok": images,
    }
    table, described = (Path(extra, name) for name in audit_names(split))
    save(rows, table)
    write_summary(summary, described)
    shutil.rmtree(_kept(extra, split).parent, ignore_errors=True)
    wrong = [one for one in images if not set(fail_on).isdisjoint(one["problems"])]
    if wrong:
        shown = (f"{one['image']} ({', '.join(one['problems'])})" for one in wrong)
        raise MetadataError(
            f"{split}: {count(len(wrong), 'image')} with a problem that `audit: fail_on` names:\n"
            f"{listing(shown, len(wrong))}\n"
            f"{described} names all. Mend or remove them, and run the same command again."
        )
    return summary


def write_summary(summary: dict, path: str | os.PathLike) -> None:
    """Keep what ``publish_audit`` returned as JSON."""
    with write_atomically(path) as file:
        file.write((json.dumps(summary, indent=1) + "\n").encode())


def names_of(problems: int) -> list[str]:
    """The problems that some bits stand for."""
    return [name for name, bit in BIT.items() if problems & bit]


def _spread(pixels: np.ndarray) -> dict[str, float]:
    least, median, most = np.quantile(pixels, (0, 0.5, 1)).tolist()
    return {"least": least, "median": median, "most": most}


def _counts(items: Iterable[str]) -> dict[str, int]:
    return dict(Counter(items).most_common())
