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
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any, BinaryIO

import numpy as np
import PIL
from PIL import Image

from ..addresses import image_path
from ..artefacts import Scan
from ..disk import create_anew, make_folder, open_regular, remove_file, remove_folders
from ..documents import Count
from ..errors import MetadataError, count, listing, logger
from ..files import open_array, open_or_remove_array, write_atomically
from ..fingerprint import digest, of_code
from ..formats import AUDIT_ROW, PROBLEMS, AuditSummary, npy_header, read_audit_summary
from ..images import (
    FORMATS,
    JPEG,
    LONGEST_EXIF,
    Bounded,
    EndlessError,
    opened_image,
    raster_formats,
)
from ..paths import StrPath, existing, file_name, folder_of, path_of
from ..progress import progress
from ..replace import Writer, replaced_files

ROW = np.dtype(AUDIT_ROW)
BIT = {problem: 1 << place for place, problem in enumerate(PROBLEMS)}
GOOD_MODES = ("RGB", "L")
BLOCK = 1 << 14  # rows that are copied at a time
DESCRIBED = 256  # bytes of an image in audit-SPLIT.json, about
CODE = ("formats", "images", "stages/audit")
"""The modules that open images, and tell what is wrong with them."""


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
    with suppress(Exception), Bounded(open_regular(path).detach()) as bounded:
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
    *,
    share: StrPath,
    scan: StrPath,
    extra: StrPath,
    root: str,
    split: str,
    scatteritem: str,
    is_view: bool,
) -> None:
    """Audit one of several shares of a split's images.

    Args:
        share: Where to write what was found.
        scan: The file with the split's images, see ``artefacts.Scan``.
        extra, root, split, scatteritem, is_view: See ``audit_share``.
    """
    rows = audit_share(
        Scan.load(scan),
        extra=extra,
        root=root,
        split=split,
        scatteritem=scatteritem,
        is_view=is_view,
    )
    write_share(rows, share)


def write_share(rows: np.ndarray, out: StrPath) -> None:
    """Write what was found in a share, (images,) of ``ROW``."""
    with write_atomically(out) as file:
        file.write(npy_header(rows.dtype, len(rows)))
        file.write(rows.data)  # np.save would not say why it failed


def audit_share(
    scan: Scan,
    *,
    extra: StrPath,
    root: StrPath,
    split: str,
    scatteritem: str,
    is_view: bool = False,
) -> np.ndarray:
    """Audit one of several shares of a split's images.

    Every image is looked at (one ``stat``); those that are not known as they are now are opened.
    What was found is kept in the work folder at once, so that a kill costs one image.

    Args:
        scan: The split's images.
        extra: The folder with the table of the last audit, and the work folder.
        root: The folder that DINOv3 takes for root: the dataset, or a view of it.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        scatteritem: Which share, as Snakemake names it: ``3-of-8``.
        is_view: Whether the suffix that counts is that of the file behind a link.

    Returns:
        (images of the share,) of ``ROW``; the shares follow each other in the order of the entries.
    """
    number, of = map(int, scatteritem.split("-of-"))
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
    new = recall(rows, _known(extra, split, rows["inode"]))
    results = rows[["problems", "width", "height", "mode", "format"]]
    place = {"split": split, "code": _code(), "scatteritem": scatteritem}
    with create_anew(path_of(extra, "found", time=f"{time.time_ns()}", **place)) as found:
        for i in progress(new.tolist(), len(new), f"audit {split} {scatteritem}"):
            results[i] = examine(path(i))
            found.write(rows[i].tobytes())
            found.flush()
    rows["problems"] &= np.uint16(0xFFFF ^ BIT["wrong-suffix"])  # of a name that it had
    for i in range(len(rows)):
        name = path(i)
        if is_view and os.path.islink(name):
            name = os.readlink(name)
        if wrong_suffix(name, rows["format"][i].decode(errors="replace")):
            rows["problems"][i] |= BIT["wrong-suffix"]
    what = count(len(rows), "image")
    logger.info("%s %s: %s, %s of them opened", split, scatteritem, what, f"{len(new):,}")
    return rows


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
    summary = read_audit_summary(extra, split)
    if summary and summary.code == _code():
        with suppress(MetadataError):  # damaged
            tables.append(open_array(path_of(extra, "audit_table", split=split)))
    for path, _ in existing(extra, "found", split=split, code=_code()):
        tables.append(np.fromfile(path, ROW))
    known = [rows[np.isin(rows["inode"], inodes)] for rows in tables if rows.dtype == ROW]
    return np.concatenate([np.empty(0, ROW), *known])


def _code() -> str:
    """The fingerprint of what opens the images, and tells what is wrong with them."""
    return digest(of_code(*CODE), PIL.__version__)


def audit_split(
    *,
    audited: StrPath,
    scan: StrPath,
    extra: StrPath,
    root: str,
    split: str,
    tree: str,
    audit: str,
    standing: str,
    scatteritems: Sequence[str],
    fail_on: Collection[str],
    keep: float = 14,
) -> None:
    """Put the shares together to ``audit-SPLIT.npy``, and name in ``audit-SPLIT.json`` each image
    that is not plain ok. Both are replaced as one set, with what the work folder notes of them.

    Args:
        audited: Where to note that no image has a problem of ``fail_on``. What other audits of the
            split left in the work folder is old, and removed.
        scan: The file with the split's images, see ``artefacts.Scan``.
        extra, root, split: See ``audit_share``.
        tree, audit: The other wildcards of ``audited``.
        standing: The name of an audit with these settings that nobody asked for: if an image has a
            problem of ``fail_on``, that audit no longer holds either.
        scatteritems: The shares, in their order.
        fail_on: Which of ``formats.PROBLEMS`` no image may have.
        keep: Days that replaced files are kept for readers on other hosts.

    Raises:
        MetadataError: Images have a problem of ``fail_on``. Both files have been written.
    """
    state = {"split": split, "tree": tree, "audit": audit}
    class_ids = Scan.load(scan).class_ids
    shares = [path_of(extra, "share", **state, scatteritem=item) for item in scatteritems]
    with _joined(shares, path_of(extra, "joined", **state)) as joined:
        rows = open_or_remove_array(joined)
        bad = np.flatnonzero(rows["problems"])
        opened = rows["width"] > 0
        found = {name: int((rows["problems"][bad] & bit > 0).sum()) for name, bit in BIT.items()}
        summary = AuditSummary(
            split=split,
            root=root,
            audited=datetime.now(UTC).isoformat(timespec="seconds"),
            images=Count(len(rows)),
            ok=Count(len(rows) - len(bad)),
            problems={name: Count(many) for name, many in found.items() if many},
            modes=_counts(rows["mode"][opened]),
            formats=_counts(rows["format"][opened]),
            width=_spread(rows["width"][opened]) if opened.any() else None,
            height=_spread(rows["height"][opened]) if opened.any() else None,
            pillow=PIL.__version__,
            code=_code(),
        )
        known = {name: value for name, value in asdict(summary).items() if value is not None}
        text = json.dumps(known, indent=1).encode()

        def describe(file: BinaryIO) -> None:  # an image a line: there may be a million
            file.write(text[:-2] + b',\n "not_ok": [')
            for place, i in enumerate(bad):
                image = json.dumps(_describe(rows[i], root, split, class_ids))
                file.write((",\n  " if place else "\n  ").encode() + image.encode())
            file.write(b"\n ]\n}\n")

        wrong = bad[(rows["problems"][bad] & sum(BIT[name] for name in fail_on)) > 0]
        noted = path_of(extra, "audit_summary", split=split)
        make_folder(os.path.dirname(noted))
        listed = file_name("audit_list", split=split)
        writers: dict[str, Writer] = {
            file_name("audit_table", split=split): partial(_copy, joined),
            listed: describe,
        }
        size = os.path.getsize(joined) + DESCRIBED * (1 + len(bad))
        with replaced_files(extra, writers, size, keep):
            for path in (noted,) if len(wrong) else (noted, audited):
                with write_atomically(path) as file:
                    file.write(text)
        make_folder(folder_of(extra, "audited", **state))
        # What the shares found goes, too: it is in the table.
        remove_folders(folder_of(extra, "audited", "tree", **state), {state["tree"]})
        holding = {state["audit"]} if len(wrong) else {state["audit"], standing}
        remove_folders(folder_of(extra, "audited", "audit", **state), holding)
        if len(wrong):
            some = (_describe(rows[i], root, split, class_ids) for i in wrong)
            shown = (
                f"{one.get('file', one['image'])} ({', '.join(one['problems'])})" for one in some
            )
            raise MetadataError(
                f"{split}: {count(len(wrong), 'image')} with a problem that `audit: fail_on` "
                "lists:",
                listing(shown, len(wrong)),
                f"{extra}/{listed} lists them all. Repair or remove them, and run the same "
                "command again.",
            )


def _copy(path: str, file: BinaryIO) -> None:
    with open_regular(path) as source:
        shutil.copyfileobj(source, file, 1 << 20)


@contextmanager
def _joined(shares: Iterable[StrPath], table: str) -> Iterator[str]:
    """Write the shares one behind the other to one ``.npy`` file, which is there in the block."""
    parts = [open_or_remove_array(share) for share in shares]
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


def _spread(pixels: np.ndarray) -> dict[str, float]:
    least, median, most = np.quantile(pixels, (0, 0.5, 1)).tolist()
    return {"least": least, "median": median, "most": most}


def _counts(names: np.ndarray) -> dict[str, Count]:
    """How often each name occurs, the most frequent first."""
    found, many = np.unique(names, return_counts=True)
    order = np.argsort(-many, kind="stable")
    return {found[i].decode(errors="replace"): Count(int(many[i])) for i in order}
