"""Tars: the stages of a dataset of tars, from the scan of each tar to the checks.

The files are those that DINOv2's and DINOv3's ``ImageNet22k`` reads, see ``tars``.
"""

import os
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from functools import partial

import numpy as np

from ..artefacts import Report
from ..disk import open_regular
from ..documents import Count
from ..errors import DatasetChangedError, MetadataError, count, listing, logger
from ..files import read_array_back, sha256, write_atomically
from ..fingerprint import Others, Record, last_records, read_record, tar_states, write_record
from ..formats import FileDigest, npy_header
from ..look import in_threads, waiting_ns
from ..paths import StrPath, existing, path_of
from ..progress import progress
from ..tar_headers import BLOCK, HeaderError, read_header
from ..tar_scan import TarScan, entries_dtype, rows_of, write_scan
from ..tars import Members, check_offsets, list_members

SUFFIX = ".tar"


def scan_split(
    *,
    scan: StrPath,
    folders: StrPath,
    extra: StrPath,
    root: str,
    split: str,
    settings: str,
    empty_classes: str = "refuse",
    threads: int = 4,
) -> None:
    """Find the images in the tars in a folder. Only tars that changed since the last scan are read.

    Args:
        scan: Where to write what was found, see ``tar_scan.TarScan``.
        folders: Where to write the states of the tars, see ``fingerprint.tar_states``.
        extra: The folder for the metadata, with the earlier scans in its work folder.
        root: The folder of the tars.
        split: ``TARS``.
        settings: The fingerprint of everything else that the scan depends on.
        empty_classes: What to do with a tar without images: ``refuse`` or ``keep``.
        threads: How many tars may be read at once, if it takes long to read one.

    Raises:
        MetadataError: Some tars are damaged, have no images, or cannot be read in place.
        DatasetChangedError: A tar changed while it was read.
    """
    states = tar_states(root)
    names = [name for name in states if name]
    known, before = _last_scan(extra, split, settings)
    fresh = [name for name in names if not known or known.folders.get(name) != states[name]]
    read = partial(_read, root)
    found = in_threads(read, fresh, threads, waiting_ns)
    broken: list[MetadataError] = []
    others: dict[str, Others] = {}
    logger.info("%s read, %d as before", count(len(fresh), "tar"), len(names) - len(fresh))

    def rows() -> Iterator[np.ndarray]:
        new = {*fresh}
        for name in progress(names, len(names), "tars"):
            if name not in new and before is not None and known:
                others[name] = known.others.get(name, {})
                yield before[name.removesuffix(SUFFIX)]
                continue
            try:
                members = next(found)
                if isinstance(members, MetadataError):
                    raise members
                check_offsets(f"{root}/{name}", members)
                if not len(members.names) and empty_classes == "refuse":
                    raise no_images(f"{root}/{name}", members)
            except MetadataError as error:
                broken.append(error)
                yield rows_of(NONE)
                continue
            others[name] = {what: (many, "") for what, many in members.left_out.items()}
            yield rows_of(members)

    write_scan(scan, [name.removesuffix(SUFFIX) for name in names], rows())
    if broken:
        os.unlink(scan)
        raise _together(broken)
    write_record(folders, Record(settings, states, others=others))


NONE = Members(np.zeros(0, "<U1"), *(np.zeros(0, np.uint64),) * 2, np.zeros(0, bool), {})


def _read(root: str, name: str) -> Members | MetadataError:
    """Return the images of a tar, or why there are none, which must not end the others."""
    try:
        return list_members(f"{root}/{name}")
    except DatasetChangedError:
        raise
    except MetadataError as error:
        return error
    except OSError as error:
        return MetadataError(f"{root}/{name} cannot be read: {error.strerror}.")


def _together(broken: Sequence[MetadataError]) -> MetadataError:
    """Return one error for several tars."""
    if len(broken) == 1:
        return broken[0]
    lines = (str(error).splitlines()[0] for error in broken)
    return MetadataError(f"{len(broken):,} tars cannot be used:", listing(lines, len(broken)))


def no_images(tar: StrPath, members: Members) -> MetadataError:
    """Return the refusal of a tar without images, with what is in it instead."""
    beside = ", ".join(f"{many:,} {what}" for what, many in members.left_out.items())
    return MetadataError(
        f"{tar} has no images{f', but {beside}' if beside else ''}. Move it elsewhere, or set "
        "`empty_classes: keep`."
    )


def _last_scan(
    extra: StrPath, split: str, settings: str
) -> tuple[Record, TarScan] | tuple[None, None]:
    """Return the newest scan with the same settings that can be read."""
    places = dict(existing(extra, "folders", split=split))
    for path, record in last_records(places, settings):
        try:
            return record, TarScan(path_of(extra, "scan", **places[path]))
        except MetadataError:
            continue
    return None, None


def dump_entries(*, scan: StrPath, new_entries: StrPath) -> None:
    """Write the entries of all tars, byte for byte as ``ImageNet22k._dump_entries`` would.

    Only one class is in memory at a time.

    Args:
        scan: The file with the images, see ``tar_scan.TarScan``.
        new_entries: Where to write the entries.

    Raises:
        DamagedError: The scan is damaged.
    """
    found = TarScan(scan)
    images, width = 0, 0
    for rows in found.values():
        images += len(rows)
        width = max(width, names_of(rows).itemsize // 4)
    dtype = entries_dtype(max(map(len, found), default=0), width)
    with write_atomically(new_entries, images * dtype.itemsize) as file:
        file.write(npy_header(dtype, images))
        for index, class_id in enumerate(progress(found, len(found), "entries")):
            file.write(entries_of(found[class_id], index, class_id, dtype).data)
    logger.info("%s: %d rows of %s", new_entries, images, dtype)


def entries_of(rows: np.ndarray, index: int, class_id: str, dtype: np.dtype) -> np.ndarray:
    """Return the entries of a class, (images,) of ``tar_scan.entries_dtype``."""
    entries = np.zeros(len(rows), dtype)
    entries["class_index"], entries["class_id"] = index, class_id
    entries["start_offset"], entries["end_offset"] = rows["start"], rows["end"]
    entries["filename"] = names_of(rows)
    return entries


def names_of(rows: np.ndarray) -> np.ndarray:
    """Return the names of the images of a class, (images,) ``<U``, as wide as the longest."""
    if not len(rows):
        return np.zeros(0, "<U1")
    names = rows["name"]
    letters = np.ascontiguousarray(names).view(np.uint8).reshape(len(names), -1)
    if letters.max() < 128:
        width = int(np.flatnonzero(letters.any(axis=0))[-1]) + 1
        return letters[:, :width].astype("<u4").view(f"<U{width}")[:, 0]
    return np.char.decode(names, "utf-8")


def dump_class_arrays(*, scan: StrPath, new_class_ids: StrPath) -> None:
    """Write the ids of all classes, (classes,) ``<Uk``.

    Args:
        scan: The file with the images, see ``tar_scan.TarScan``.
        new_class_ids: Where to write.
    """
    ids = np.array([*TarScan(scan)])
    with write_atomically(new_class_ids) as file:
        file.write(npy_header(ids.dtype, len(ids)))
        file.write(ids.data)
    logger.info("%s: %d x %s", new_class_ids, len(ids), ids.dtype)


def verify(
    *,
    scan: StrPath,
    folders: StrPath,
    new_entries: StrPath,
    new_class_ids: StrPath,
    report: StrPath,
    root: str,
    split: str,
    level: str = "sample",
    sample: int = 1000,
) -> None:
    """Check the new files against the scan and the tars, and write a report.

    Args:
        scan, folders: See ``scan_split``.
        new_entries, new_class_ids: The new files.
        report: Where to write the report, see ``artefacts.Report``.
        root: The folder of the tars.
        split: ``TARS``.
        level, sample: ``sample`` looks at the headers of some images, spread evenly over all;
            ``full`` at those of all.

    Raises:
        MetadataError: A check failed. The new files have been removed.
    """
    found, record = TarScan(scan), read_record(folders)
    entries, ids = read_array_back(new_entries), read_array_back(new_class_ids)
    start, gzipped, wrong = 0, list[int](), list[str]()
    step = max(1, len(entries) // sample) if level == "sample" else 1
    if ids.tolist() != [*found]:
        wrong.append("the class ids differ from the names of the tars")
    with open_regular(new_entries) as file:  # mapped pages would stay in memory
        file.seek(entries.offset)
        for index, class_id in enumerate(progress(found, len(found), "verify")):
            rows = found[class_id]
            expected = entries_of(rows, index, class_id, entries.dtype).tobytes()
            if file.read(len(expected)) != expected:
                wrong.append(f"the entries of {class_id} differ from its scan")
            gzipped += (np.flatnonzero(rows["gzipped"]) + start).tolist()
            looked_at = rows[(-start) % step :: step]
            wrong += _wrong_headers(f"{root}/{class_id}{SUFFIX}", looked_at)
            start += len(rows)
    if start != len(entries):
        wrong.append(f"there are {len(entries):,} entries of {start:,} images")
    if wrong:
        for path in (new_entries, new_class_ids):
            os.unlink(path)
        raise MetadataError(
            "The new files do not agree with the tars. Nothing was published. Run the same "
            "command again:",
            listing(wrong, len(wrong)),
        )
    digests = {
        os.path.basename(path_of("", name, split=split)): FileDigest(
            Count(os.path.getsize(path)), sha256(path)
        )
        for name, path in (("entries", new_entries), ("class_ids", new_class_ids))
    }
    width = entries.dtype["class_id"].itemsize // 4
    Report(
        split=split,
        images=Count(len(entries)),
        classes=Count(len(found)),
        skipped=Count(0),
        labels=None,
        labels_content=None,
        class_id_length=Count(width),
        class_name_length=Count(0),
        files=digests,
        checks=["every row agrees with the headers in the tars"],
        verified=f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}",
        notes=_notes(record),
        empty_classes=Count(sum(not len(rows) for rows in found.values())),
        gzipped=[Count(row) for row in gzipped],
    ).save(report)


def _wrong_headers(tar: str, rows: np.ndarray) -> list[str]:
    """Return what is wrong with the headers of some images in a tar."""
    wrong = []
    if len(rows):
        with open_regular(tar) as file:
            for start, end in zip(rows["start"].tolist(), rows["end"].tolist(), strict=True):
                try:
                    header = read_header(os.pread(file.fileno(), BLOCK, start).ljust(BLOCK))
                except HeaderError as error:
                    wrong.append(f"{tar}: {error} at byte {start:,} is wrong")
                else:
                    if start + BLOCK + header.size > end:
                        wrong.append(f"{tar}: the image at byte {start:,} is longer than its row")
    return wrong


def _notes(record: Record | None) -> list[str]:
    """Return what was left out of the tars, one sentence each."""
    left: dict[str, list[str]] = {}
    many: dict[str, int] = {}
    for name, some in (record.others if record else {}).items():
        for what, (number, _) in some.items():
            left.setdefault(what, []).append(name)
            many[what] = many.get(what, 0) + number
    return [
        f"{many[what]:,} {what} in {count(len(names), 'tar')} were left out, for instance in "
        f"{names[0]}."
        for what, names in sorted(left.items())
    ]
