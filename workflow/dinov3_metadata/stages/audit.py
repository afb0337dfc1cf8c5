"""Audit: open every image as training will, and list those that have problems.

The audit never writes to an image. It does not open an image again if its size, mtime and inode are
those in the table of the previous audit.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime, timezone
from functools import partial
from typing import Any, BinaryIO

import numpy as np
import PIL

from ..artefacts import Numbering, Scan
from ..damage import STRICT
from ..disk import create_anew, make_folder, open_regular, remove_file, remove_folders
from ..documents import Count, write_lists
from ..errors import MetadataError, count, listing, logger
from ..examine import BIT, examine, wrong_suffix
from ..files import open_array, read_array_back, write_atomically
from ..fingerprint import digest, of_code
from ..formats import (
    AUDIT_ROW,
    NOT_STRICT,
    NOTES,
    AuditSummary,
    npy_header,
    read_audit_summary,
)
from ..image_paths import Places, name_image
from ..images import LARGEST
from ..paths import StrPath, existing, file_name, folder_of, path_of
from ..progress import progress
from ..reads import noted_images
from ..replace import Writer, replaced_files

ROW = np.dtype(AUDIT_ROW)
BLOCK = 1 << 14  # rows copied at a time
DESCRIBED = 256  # approximate bytes per image in audit-SPLIT.json
CODE = (
    *("damage", "examine", "formats", "hashes", "images", "pixels", "stages/audit", "stand_ins"),
)
"""The modules that open images and find their problems."""

FOUND = ["problems", "width", "height", "mode", "format"]
HASHES = ["sha256", "phash"]


def audit_images(
    *,
    share: StrPath,
    scan: StrPath,
    selected: StrPath = "",
    numbering: StrPath = "",
    table: StrPath = "",
    extra: StrPath,
    root: str,
    split: str,
    scatteritem: str,
    is_view: bool,
    hashed: bool = True,
    reuse: str = "",
) -> None:
    """Audit one of several shares of a split's images, and write the result to a file.

    Args:
        share: Where to write the result, see ``write_share``.
        scan: The file with the split's images, see ``artefacts.Scan``.
        selected: The file with those that the lists and the sample leave; empty if they leave all.
        numbering: The file with the numbers of its classes, see ``artefacts.Numbering``; empty if
            they are numbered by the scan.
        table: The file with the paths of its images, see ``image_paths.Places``.
        extra, root, split, scatteritem, is_view, hashed, reuse: See ``audit_share``.
    """
    places = Places.load(split, scan, selected, table)
    found = places.scan
    rows = audit_share(
        found,
        places=places,
        numbering=Numbering.load(numbering, found),
        extra=extra,
        root=root,
        split=split,
        scatteritem=scatteritem,
        is_view=is_view,
        hashed=hashed,
        reuse=reuse,
    )
    write_share(rows, share)


def write_share(rows: np.ndarray, out: StrPath) -> None:
    """Write the result of a share, (images,) of ``ROW``, to ``out`` as ``.npy``."""
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
    numbering: Numbering | None = None,
    places: Places | None = None,
    hashed: bool = True,
    reuse: StrPath = "",
) -> np.ndarray:
    """Audit one of several shares of a split's images.

    Each image costs one ``stat``. Only images that are new or changed since earlier audits are
    opened, and before them those that ``bad-images.jsonl`` lists. Each result is written to the
    work folder immediately, so a killed run loses one image.

    Args:
        scan: The split's images.
        extra: The folder with the table of the last audit, and the work folder.
        root: The folder that DINOv3 uses as root: the dataset, or a view of it.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        scatteritem: Which share to audit, as Snakemake names it: ``3-of-8``.
        is_view: Whether to check the suffix of the file behind a link, and not that of the link.
        numbering: The numbers of the classes; None if they are numbered by the scan.
        places: The paths of the images; None if DINOv3 rebuilds them.
        hashed: Whether to find the hashes of the images, which ``stages.duplicates`` compares.
        reuse: Another folder for metadata, whose audits count, too; may be empty.

    Returns:
        (images of the share,) of ``ROW``. All shares, one after another, have the order of the
        entries.
    """
    number, of = map(int, scatteritem.split("-of-"))
    numbering = numbering or Numbering.load("", scan)
    images, paths = len(scan.actual_index), places or Places(split, scan)
    start, stop = images * (number - 1) // of, images * number // of
    rows = np.zeros(stop - start, ROW)
    rows["actual_index"] = scan.actual_index[start:stop]
    index = np.array(numbering.of(scan.class_ids.tolist()), "<u4")
    rows["class_index"] = index[scan.class_index(start, stop)]

    def path(i: int) -> str:
        return f"{root}/{paths[start + i]}"

    states = rows[["size", "mtime_ns", "inode"]]
    for i in range(len(rows)):
        with suppress(OSError):  # the image is opened below and found to be unreadable
            state = os.stat(path(i))
            states[i] = state.st_size, state.st_mtime_ns, state.st_ino
    extras = [os.fspath(place) for place in (reuse, extra) if place]
    known = [_known(place, split, rows["inode"]) for place in extras]
    new = recall(rows, np.concatenate(known), hashed)
    if noted := noted_images(extra, split):  # a training could not read these: first, and anew
        bad = [i for i in range(len(rows)) if paths[start + i] in noted]
        new = np.array([*bad, *np.setdiff1d(new, bad)], np.intp)
    results = rows[[*FOUND, *HASHES]]
    place = {"split": split, "code": _code(), "scatteritem": scatteritem}
    with create_anew(path_of(extra, "found", time=f"{time.time_ns()}", **place)) as found:
        for i in progress(new.tolist(), len(new), f"audit {split} {scatteritem}"):
            results[i] = examine(path(i), hashed)
            found.write(rows[i].tobytes())
            found.flush()
    rows["problems"] &= np.uint16(0xFFFF ^ BIT["wrong-suffix"])  # the name may have changed
    for i in range(len(rows)):
        name = path(i)
        if is_view and os.path.islink(name):
            name = os.readlink(name)
        if wrong_suffix(name, rows["format"][i].decode(errors="replace")):
            rows["problems"][i] |= BIT["wrong-suffix"]
    what = count(len(rows), "image")
    logger.info("%s %s: %s, %s of them opened", split, scatteritem, what, f"{len(new):,}")
    return rows


def recall(rows: np.ndarray, known: np.ndarray, hashed: bool = True) -> np.ndarray:
    """Copy earlier results for images whose size, mtime and inode have not changed.

    Images that were unreadable are not copied, so that they are opened again. Neither are those
    whose hashes are missing, but wanted.

    Args:
        rows: (images,) of ``ROW`` with size, mtime and inode filled in; changed in place.
        known: (images,) of ``ROW``, from earlier audits, oldest first.
        hashed: Whether images without hashes must be opened.

    Returns:
        (images to open,) ``<i8``: positions in ``rows``.
    """
    if not len(known):
        return np.arange(len(rows))
    order = np.argsort(known["inode"], kind="stable")  # the newest of equal inodes comes last
    at = np.searchsorted(known["inode"], rows["inode"], side="right", sorter=order) - 1
    found = known[order[at.clip(0)]]
    same = (at >= 0) & (rows["inode"] > 0) & (found["problems"] & BIT["unreadable"] == 0)
    for column in ("inode", "size", "mtime_ns"):
        same &= found[column] == rows[column]
    if hashed:
        same &= _has_hashes(found)
    for column in FOUND + HASHES:
        rows[column][same] = found[column][same]
    return np.flatnonzero(~same)


def _has_hashes(rows: np.ndarray) -> np.ndarray:
    """Return for each row whether it has all hashes that its image can have.

    Hashes are only for images whose header could be read, and that are not too large.
    """
    sha256 = np.ascontiguousarray(rows["sha256"]).view("<u8").reshape(-1, 4)
    return sha256.any(axis=1) | (rows["width"] == 0) | (rows["size"] > LARGEST)


def _known(extra: StrPath, split: str, inodes: np.ndarray) -> np.ndarray:
    """Return the results for some inodes from the last audit, and from unfinished ones after it."""
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
    """Return the fingerprint of the code that opens images and finds problems.

    Pillow is included, and so is simplejpeg or its absence.
    """
    return digest(of_code(*CODE), PIL.__version__, STRICT)


def audit_split(
    *,
    audited: StrPath,
    scan: StrPath,
    selected: StrPath = "",
    numbering: StrPath = "",
    table: StrPath = "",
    extra: StrPath,
    root: str,
    split: str,
    tree: str,
    selection: str = "all",
    numbered: str,
    audit: str,
    standing: str,
    shares: int,
    fail_on: Collection[str],
    spared: Collection[str] = (),
    is_view: bool = False,
    keep: float = 14,
) -> None:
    """Join the shares into ``audit-SPLIT.npy``, and list bad images in ``audit-SPLIT.json``.

    Both files, and the summary in the work folder, are replaced as one set.

    Args:
        audited: Where to record that no image has a problem of ``fail_on``. Files that other audits
            of the split left in the work folder are outdated and are removed.
        scan, selected, numbering, table: See ``audit_images``.
        extra, root, split: See ``audit_share``.
        tree, selection, numbered, audit: The other wildcards of ``audited``.
        standing: The name of the audit with these settings that was not requested explicitly. Its
            record is kept, unless an image has a problem of ``fail_on``.
        shares: How many there are.
        fail_on: Which of ``formats.PROBLEMS`` no image may have; others are ignored.
        spared: Problems of images that will be left out, so that they may have any.
        is_view: Whether to name the file behind a link.
        keep: How many days replaced files are kept for readers on other hosts.

    Raises:
        MetadataError: Images have a problem of ``fail_on``. Both files have been written anyway.
    """
    place = {"tree": tree, "selection": selection, "numbered": numbered}
    state = {"split": split, "audit": audit, **place}
    places = Places.load(split, scan, selected, table)
    if not STRICT:
        logger.info("%s: %s", split, NOT_STRICT)
    items = [f"{number}-of-{shares}" for number in range(1, shares + 1)]
    paths = [path_of(extra, "share", **state, scatteritem=item) for item in items]
    with _joined(paths, path_of(extra, "joined", **state)) as joined:
        rows = read_array_back(joined)
        refused = sum(BIT.get(name, 0) for name in fail_on)
        notes = sum(BIT[name] for name in NOTES) & ~refused
        is_bad = rows["problems"] & np.uint16(0xFFFF ^ notes) > 0
        bad, noted = np.flatnonzero(is_bad), np.flatnonzero((rows["problems"] > 0) & ~is_bad)
        opened = rows["width"] > 0
        found = {name: int((rows["problems"] & bit > 0).sum()) for name, bit in BIT.items()}

        def first(problem: str) -> str:
            at = int(np.argmax(rows["problems"] & BIT[problem] > 0))
            image = _describe(rows[at], root, places[at], is_view)
            return str(image.get("file", image["image"]))

        summary = AuditSummary(
            split=split,
            root=root,
            audited=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            images=Count(len(rows)),
            ok=Count(len(rows) - len(bad)),
            problems={name: Count(many) for name, many in found.items() if many},
            first={name: first(name) for name in found if found[name]},
            modes=_counts(rows["mode"][opened]),
            formats=_counts(rows["format"][opened]),
            width=_spread(rows["width"][opened]) if opened.any() else None,
            height=_spread(rows["height"][opened]) if opened.any() else None,
            pillow=PIL.__version__,
            simplejpeg=STRICT,
            **place,
            findings=_findings(rows),
            code=_code(),
        )
        known = {name: value for name, value in asdict(summary).items() if value is not None}
        text = json.dumps(known, indent=1).encode()

        def described(some: np.ndarray) -> Iterator[dict[str, Any]]:
            return (_describe(rows[i], root, places[i], is_view) for i in some.tolist())

        lists = {"not_ok": described(bad), "noted": described(noted)}
        leaving = np.uint16(sum(BIT.get(name, 0) for name in spared))
        found_bad = rows["problems"][bad]
        wrong = bad[(found_bad & np.uint16(refused) > 0) & (found_bad & leaving == 0)]
        counts = path_of(extra, "audit_summary", split=split)
        make_folder(os.path.dirname(counts))
        listed = file_name("audit_list", split=split)
        writers: dict[str, Writer] = {
            file_name("audit_table", split=split): partial(_copy, joined),
            listed: partial(write_lists, text, lists),
        }
        size = os.path.getsize(joined) + DESCRIBED * (1 + len(bad) + len(noted))
        with replaced_files(extra, writers, size, keep):
            for path in (counts,) if len(wrong) else (counts, audited):
                with write_atomically(path) as file:
                    file.write(text)
        make_folder(folder_of(extra, "audited", **state))
        # The results of the shares are removed too, because they are in the table.
        for wildcard in place:
            remove_folders(folder_of(extra, "audited", wildcard, **state), {state[wildcard]})
        holding = {state["audit"]} if len(wrong) else {state["audit"], standing}
        remove_folders(folder_of(extra, "audited", "audit", **state), holding)
        if len(wrong):
            shown = (
                f"{image.get('file', image['image'])} ({', '.join(image['problems'])})"
                for image in described(wrong)
            )
            raise MetadataError(
                f"{split}: {count(len(wrong), 'image')} with a problem that `audit: fail_on` "
                "lists:",
                listing(shown, len(wrong)),
                f"{extra}/{listed} lists them all. Repair or remove them, and run the same "
                "command again.",
            )


def _findings(rows: np.ndarray) -> str:
    """Return the fingerprint of what was found in the images."""
    hasher = hashlib.sha256()
    for start in range(0, len(rows), BLOCK):
        for name in ("problems", *HASHES):
            hasher.update(rows[name][start : start + BLOCK].tobytes())
    return hasher.hexdigest()[:12]


def _copy(path: str, file: BinaryIO) -> None:
    with open_regular(path) as source:
        shutil.copyfileobj(source, file, 1 << 20)


@contextmanager
def _joined(shares: Iterable[StrPath], table: str) -> Iterator[str]:
    """Join the shares into one ``.npy`` file, which exists only inside the block.

    Args:
        shares: The files of the shares, in order.
        table: Where to write the joined file.
    """
    parts = [read_array_back(share) for share in shares]
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


def _describe(row: np.void, root: StrPath, path: str, is_view: bool) -> dict[str, Any]:
    """Describe an image with problems for ``audit-SPLIT.json``; in a view, with the file behind the
    link."""
    return {
        **name_image(root, path, is_view),
        "problems": [name for name, bit in BIT.items() if row["problems"] & bit],
        **{what: int(row[what]) for what in ("width", "height")},
        **{what: row[what].decode(errors="replace") for what in ("mode", "format")},
    }


def _spread(pixels: np.ndarray) -> dict[str, float]:
    least, median, most = np.quantile(pixels, (0, 0.5, 1)).tolist()
    return {"least": least, "median": median, "most": most}


def _counts(names: np.ndarray) -> dict[str, Count]:
    """Count how often each name occurs, the most frequent first."""
    found, many = np.unique(names, return_counts=True)
    order = np.argsort(-many, kind="stable")
    return {found[i].decode(errors="replace"): Count(int(many[i])) for i in order}
