"""Scan: find the classes and images in a split folder, in ImageFolder's order.

Only folders that changed since the previous scan are listed, see ``walk``.
"""

import os
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..addresses import LABELLED, is_image, split_folder
from ..artefacts import Scan
from ..errors import SHOWN, MetadataError, count, logger
from ..fingerprint import (
    UNREAD,
    Others,
    Record,
    State,
    last_records,
    read_retired,
    was_folder,
    write_record,
)
from ..layouts import SYSTEM
from ..look import finds_folder
from ..paths import WORK, StrPath, existing, path_of
from ..readdir import (
    FILE,
    Listing,
    Watch,
    image_keys,
    numbers,
    pack,
    special_kind,
)
from ..walk import (
    LOOKS,
    Folder,
    Found,
    Targets,
    folders_below,
    look,
    path_below,
    visit,
)
from ..witness import image_folder
from .left_out import beside_classes, left_out, note_alike, note_gone
from .refusals import check_found, missing_split, naming_the_dataset
from .table import scan_paths
from .unfit import unfit_in

CHANGES_SHOWN = 20  # changed classes named in the log


def scan_split(
    *,
    scan: StrPath,
    folders: StrPath,
    extra: StrPath,
    root: str,
    split: str,
    settings: str,
    view: str = "",
    view_name: str = "",
    engine: str = "scandir",
    unaddressable: str = "refuse",
    trust_timestamps: bool = True,
    watch_links: bool = True,
    empty_classes: str = "refuse",
    source: str = "",
    reuse: str = "",
    deferred: bool = False,
    table: StrPath = "",
    by_path: Mapping[str, Any] | None = None,
    threads: int = 4,
) -> None:
    """Scan a split folder, and list only folders that changed since the last scan.

    Args:
        scan: Where to write the scan, see ``artefacts.Scan``.
        folders: Where to write the states of the folders, see ``fingerprint.Record``.
        extra: The folder for the metadata, with the earlier scans in its work folder.
        root, split: See ``scan_images``.
        settings: The fingerprint of everything else that the scan depends on.
        view: If the folder is that of a view, its record, which lists the retired links; otherwise
            empty.
        view_name: The name of that view; otherwise empty.
        engine, unaddressable, trust_timestamps, watch_links, empty_classes, source: See
            ``scan_images``.
        deferred, threads: See ``scan_images``.
        reuse: Another folder for metadata, whose scans count if ``extra`` has none; may be empty.
        table: Where to write the paths of the images, see ``image_paths.ImagePaths``; empty if
            DINOv3 rebuilds them.
        by_path: The arguments for ``table.scan_paths``, if there is such a table.

    Raises:
        MetadataError: See ``scan_images`` and ``table.scan_paths``.
    """
    if by_path is not None:
        found, paths, record = scan_paths(
            extra,
            split,
            settings,
            empty_classes=empty_classes,
            unaddressable=unaddressable,
            deferred=deferred,
            trust_timestamps=trust_timestamps,
            threads=threads,
            **by_path,
        )
        found.save(scan)
        paths.save(table)
        notes = (*record.notes, *note_alike(split, found.class_ids.tolist()))
        write_record(folders, record._replace(notes=notes))
        return
    retired = read_retired(view)
    places = [extra, *filter(None, [reuse])]
    known = (last_scan(place, split, settings, retired) for place in places)
    with naming_the_dataset(os.path.join(root, split_folder(split)), source):
        found, states, others = scan_images(
            root,
            split,
            engine=engine,
            unaddressable=unaddressable,
            trust_timestamps=trust_timestamps,
            previous=next(filter(None, known), None),
            threads=threads,
            watch_links=watch_links,
            retired=retired,
            empty_classes=empty_classes,
            source=source,
            deferred=deferred,
        )
    found.save(scan)
    names = tuple(sorted(retired))
    notes = tuple(note_alike(split, found.class_ids.tolist()))
    write_record(folders, Record(settings, states, view_name, names, others, notes))


def scan_images(
    root: StrPath,
    split: str,
    *,
    engine: str = "scandir",
    unaddressable: str = "refuse",
    trust_timestamps: bool = True,
    previous: Found | None = None,
    threads: int = 4,
    watch_links: bool = True,
    retired: Collection[str] = (),
    empty_classes: str = "refuse",
    source: str = "",
    deferred: bool = False,
) -> tuple[Scan, dict[str, State], dict[str, Others]]:
    """Find the classes and images of a split.

    Classes, images and their order are those of ``torchvision.datasets.ImageFolder``. TEST is flat
    and in ascending order of ``actual_index``.

    Args:
        root: The folder that DINOv3 uses as root.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        engine: ``scandir`` lists folders with the program's own code. ``torchvision`` uses
            ImageFolder, which is many times slower, to check that code; the result is the same.
            TEST is always listed by ``scandir``.
        unaddressable: What to do with images that DINOv3 could not open by the path that it
            rebuilds: ``refuse`` raises an error; ``skip`` leaves them out and counts them.
        trust_timestamps: Whether to skip a folder if its timestamps have not changed. Use False on
            file systems with unreliable timestamps, to compare the names in each folder instead.
        previous: The result of an earlier scan of the same folder, see ``last_scan``. Only folders
            that changed since then are listed.
        threads: How many folders may be listed at the same time; more than one is used only if
            listing a folder is slow.
        watch_links: Whether the next scan must notice if an image is a link and its target changes.
            Use False for a view with one link per image: there, making the view notices the change
            and replaces the link.
        retired: The links and class folders of a view to leave out, by their path below the split
            folder. They will be removed after the next publication.
        empty_classes: What to do with a class folder without images: ``refuse`` raises an error;
            ``keep`` makes it a class without images.
        source: If the folder belongs to a view, the folder of the dataset behind it, for messages.
        deferred: Whether to accept images that are not addressable and classes without images,
            because a selection follows, which may leave them out: see ``unfit``.

    Returns:
        The scan, the state of every folder that was visited, and what is beside the images in some
        of them. All of them were in these states at one moment of the scan.

    Raises:
        MetadataError: The split folder is missing, is empty or has another layout, a class has no
            images, images are not addressable, or folders keep changing.

    Example:
        >>> scan, states, others = scan_images("/data/imagenet", "TRAIN")
        >>> len(scan.class_ids), len(scan.actual_index)
        (1000, 1281167)
    """
    folder = Path(root, split_folder(split))
    if not finds_folder(folder):
        raise missing_split(os.fspath(root), split_folder(split), split, "imagenet")
    found = dict(previous or {})
    unwanted: dict[str, set[str]] = {}
    for path in retired:
        above, _, name = path.rpartition("/")
        unwanted.setdefault(above, set()).add(name)
    targets, listed = Targets(), set[str]()
    for _ in range(LOOKS):
        changed = look(
            folder,
            found,
            targets,
            what=f"scan {split}",
            look_at=partial(_visit, folder, split, unwanted),
            take=partial(_take, folder, split, source),
            trust_timestamps=trust_timestamps,
            threads=threads,
            links_are_classes=split in LABELLED,
            watch_links=watch_links,
            left_out=unwanted.get("", set()),
        )
        if not changed:
            break
        listed.update(changed)
        if engine == "torchvision" and split in LABELLED:
            _ask_image_folder(folder, split, found, unwanted)
    else:
        raise MetadataError(
            f"{folder} keeps changing while it is being scanned (for instance "
            f"{folder / min(changed)}). Wait until copying has finished and run the same command "
            "again. If nothing is writing there, this file system's timestamps are unreliable: set "
            "`scan: trust_timestamps: false`."
        )
    classes = [""]
    if split in LABELLED:
        note_gone(found, "", folder)
        classes = sorted(name for name in found[""].below if was_folder(found[name].state))
    if unaddressable == "refuse" and not deferred:
        _name_offenders(folder, split, unwanted, source, found)
    check_found(
        Path(source or folder),
        split,
        found,
        classes,
        unaddressable=unaddressable,
        empty_classes=empty_classes,
        in_view=bool(source),
        deferred=deferred,
    )
    visited = sorted(name for name in found if was_folder(found[name].state))
    indices = [found[name].actual_index for name in classes]
    if split not in LABELLED:
        indices = [np.sort(indices[0])]
    scan = Scan(
        np.array(classes),
        np.array(list(map(len, indices)), "<i8"),
        np.concatenate(indices),
        np.array(visited),
        np.array([found[name].skipped for name in visited], "<i8"),
    )
    _log_changes(previous, found, listed)
    logger.info(
        "%s: %s in %s; %d of %s listed",
        source or folder,
        count(len(scan.actual_index), "image"),
        count(len(classes), "class", "classes"),
        len(listed.intersection(visited)),
        count(len(visited), "folder"),
    )
    states = {name: found[name].state for name in sorted(found)}
    return scan, states, {name: found[name].others for name in visited if found[name].others}


def last_scan(
    extra: StrPath, split: str, settings: str, retired: Collection[str] = ()
) -> Found | None:
    """Load the last scan with the same settings.

    If other links of a folder are retired now than at that time, the folder must be listed again,
    because its state does not show this.

    Args:
        extra: The folder for the metadata.
        split, retired: See ``scan_images``.
        settings: See ``scan_split``.

    Returns:
        What the scan found, for ``scan_images`` to start from; None if there is no readable scan.
    """
    state_of = dict(existing(extra, "folders", split=split))
    for path, record in last_records(state_of, settings):
        scan = path_of(extra, "scan", **state_of[path])
        found = found_before(scan, record.folders, record.others)
        if found is not None:
            for link in set(record.retired).symmetric_difference(retired):
                if (above := link.rpartition("/")[0]) in found:
                    found[above].state = UNREAD
            return found
    return None


def found_before(
    scan: StrPath, folders: Mapping[str, State], others: Mapping[str, Others] | None = None
) -> Found | None:
    """Load an earlier scan, for ``scan_images`` to start from.

    Args:
        scan: The file with the scan.
        folders, others: The same in the record of that scan, see ``fingerprint.Record``.

    Returns:
        What the scan found. None if the file cannot be read or does not fit the states, so that
        every folder must be listed.
    """
    try:
        before = Scan.load(scan)
    except MetadataError:
        return None
    visited = sorted(name for name, state in folders.items() if was_folder(state))
    if visited != before.folders.tolist() or "" not in visited:
        return None
    skipped = dict(zip(before.folders.tolist(), before.skipped.tolist(), strict=True))
    indices = np.split(before.actual_index, np.cumsum(before.counts)[:-1])
    images = dict(zip(before.class_ids.tolist(), indices, strict=True))
    below = folders_below(folders)
    found = {}
    for name, state in folders.items():
        index = images.get(name, np.empty(0, "<u4"))  # the images of TEST are in ""
        found[name] = Folder(state, below[name], index, len(index) + skipped.get(name, 0))
        found[name].others = (others or {}).get(name, {})
    return found


def _visit(
    folder: Path, split: str, unwanted: dict[str, set[str]], name: str, watch: Watch | None
) -> Listing | None:
    """List a folder without the names to leave out; None if the folder is missing."""
    if split in LABELLED:
        class_id = name if name and "/" not in name else None
    else:
        class_id = None if name else ""
    listed = visit(folder, split, name, watch, class_id, not name and split in LABELLED)
    if listed and WORK in listed.subfolders:
        raise MetadataError(
            f"{folder / name} contains the work folder {WORK}, so it cannot be a class."
        )
    if listed and (names := unwanted.get(name)):
        good, key = image_keys(pack(dict.fromkeys(names, FILE)), split, class_id)
        others = ~np.isin(listed.actual_index, numbers(key[good]))
        subfolders, links, files = (
            [entry for entry in entries if entry not in names]
            for entries in (listed.subfolders, listed.links, listed.files)
        )
        return listed._replace(
            subfolders=subfolders,
            links=links,
            files=files,
            actual_index=listed.actual_index[others],
            special={name: kind for name, kind in listed.special.items() if name not in names},
        )
    return listed


def _take(
    folder: Path, split: str, source: str, name: str, listed: Listing, state: State
) -> Folder:
    """Turn the listing of a folder into what the scan needs to know of it."""
    system = [one for one in listed.subfolders if source and one.lower() in SYSTEM]
    subfolders = [one for one in listed.subfolders if one not in system]
    below = [f"{name}/{subfolder}" if name else subfolder for subfolder in subfolders]
    images = sorted([*filter(is_image, listed.files), *listed.special])
    others = left_out(listed.files, system)
    special = len(images) == len(listed.special)
    logger.debug(
        "listed %s: %d images",
        path_below(Path(source or folder), name),
        len(images) + len(listed.actual_index),
    )
    if split in LABELLED and not name:  # images next to the class folders belong to no class
        if below:
            others = {**others, **beside_classes(source or folder, images)}
        return Folder(state, below, listed.actual_index, 0, others=others)
    unfit = unfit_in(folder, split, source, name, listed, images[:SHOWN])
    offenders = [f"{one.path} ({one.why})" for one in unfit]
    total = len(listed.actual_index) + len(images)
    return Folder(state, below, listed.actual_index, total, offenders, others, special)


def _name_offenders(
    folder: Path, split: str, unwanted: dict[str, set[str]], source: str, found: Found
) -> None:
    """List again the folders that have not changed and have images that will be refused."""
    for name, known in found.items():
        if known.skipped and not known.offenders:
            listed = _visit(folder, split, unwanted, name, None)
            if listed:
                now = _take(folder, split, source, name, listed, known.state)
                known.offenders, known.special = now.offenders, now.special


def _ask_image_folder(
    folder: Path, split: str, found: Found, unwanted: dict[str, set[str]]
) -> None:
    """Replace the images in ``found`` by those that torchvision's ImageFolder finds."""
    images: dict[str, list[str]] = {name: [] for name in found}
    if found[""].below:
        for path, _ in image_folder(folder).samples:
            below, _, name = os.path.relpath(path, folder).rpartition("/")
            if name in unwanted.get(below, ()):
                continue
            images.setdefault(below, []).append(name)
    for name in found.keys() - {""}:
        class_id = None if "/" in name else name
        before, special = found[name], {}
        if before.skipped:  # ImageFolder checks only names, and would return special files too
            paths = {image: f"{path_below(folder, name)}/{image}" for image in images[name]}
            kinds = {image: special_kind(path) for image, path in paths.items()}
            special = {image: kind for image, kind in kinds.items() if kind}
        files = [image for image in images[name] if image not in special]
        good, key = image_keys(pack(dict.fromkeys(files, FILE)), split, class_id)
        others = [image for image, found in zip(files, good, strict=True) if not found]
        listed = Listing([], [], others, numbers(key[good]), special, {})
        found[name] = _take(folder, split, "", name, listed, before.state)
        found[name].below, found[name].others = before.below, before.others


def _log_changes(previous: Found | None, found: Found, listed: set[str]) -> None:
    """Log how many images each changed class gained and lost since the previous scan."""
    if previous is None:
        return
    nothing = np.empty(0, "<u4")
    classes = sorted({name.partition("/")[0] for name in listed if name})
    changes = []
    if listed and not classes:
        classes = [""]  # TEST
    for name in classes:
        before = previous[name].actual_index if name in previous else nothing
        after = found[name].actual_index if name in found else nothing
        more, less = (len(np.setdiff1d(*pair)) for pair in ((after, before), (before, after)))
        new = "" if name in previous else "new, "
        gone = "" if name in found else "gone, "
        changes.append((name, f"{new}{gone}+{more:,} \N{MINUS SIGN}{less:,} images"))
    for name, change in changes[:CHANGES_SHOWN]:
        logger.info("%s: %s", name or "the split folder", change)
    if len(changes) > CHANGES_SHOWN:
        logger.info(
            "... and %d more; %d changed in all", len(changes) - CHANGES_SHOWN, len(changes)
        )
