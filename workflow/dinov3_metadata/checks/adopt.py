"""Adopt: describe right files that others made, so that our own readers take them."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import BinaryIO

from ..access import refused
from ..addresses import LABELLED
from ..artefacts import Numbering
from ..disk import open_regular
from ..documents import Count, to_json
from ..errors import MetadataError
from ..formats import (
    Description,
    FileDigest,
    LabelsSource,
    NumberedBy,
    entries_dtype,
    npy_header,
    versions,
)
from ..lock import locked
from ..paths import StrPath, array_names, file_name, path_of
from ..published import file_states
from ..readings import Naming
from ..replace import Writer, replaced_files
from ..settings import Settings
from .check import Judged, judge
from .numbering import numbering_for
from .reading import SplitFiles
from .result import CheckResult


def adopt(
    root: StrPath,
    extra: StrPath,
    splits: Sequence[str] | None = None,
    labels: StrPath = "auto",
) -> CheckResult:
    """Check files as ``check`` does. If all are right, write each missing ``metadata-SPLIT.json``.

    Then ``ImageNetMetadata`` and the launcher take the files. Nothing is written if anything is
    wrong.

    Args:
        root, extra, splits, labels: See ``check``.

    Returns:
        What was found out, with a note of each file that was written.

    Raises:
        MetadataError: See ``check``; or the files are right, but in a form that only this
            program's own readers refuse, or they changed meanwhile.
    """
    judged = judge(root, extra, splits, labels)
    result = judged.result
    if not result.ok:
        return result
    pairs = zip(judged.files, judged.labels, strict=True)
    new = [(files, known) for files, known in pairs if files.about is None]
    writers: dict[str, Writer] = {
        file_name("metadata", split=files.split): partial(
            _write, to_json(describe(judged, files, known), indent=1) + b"\n"
        )
        for files, known in new
    }
    if not writers:
        return result
    try:
        for files, _ in new:
            _check_form(result.extra, files)
        with locked(result.extra), replaced_files(result.extra, writers, 0, Settings.keep):
            for files, _ in new:
                _check_states(result.extra, files)
    except OSError as error:
        raise refused(error) from error
    written = {files.split: file_name("metadata", split=files.split) for files, _ in new}
    noted = [
        replace(one, notes=[*one.notes, f"{written[one.split]} was written"])
        if one.split in written
        else one
        for one in result.splits
    ]
    return replace(result, splits=noted)


def describe(judged: Judged, files: SplitFiles, labels: Naming | None) -> Description:
    """Return the description of files that are right."""
    place, labelled = judged.place, files.split in LABELLED
    source = LabelsSource(labels.source, labels.form) if labels else LabelsSource("", "unknown")
    return Description(
        split=files.split,
        root=place.root,
        dataset=place.dataset,
        layout=place.layout,
        images=Count(files.claimed),
        classes=Count(len(files.class_ids or [])),
        skipped=Count(0),
        labels=source if labelled else None,
        class_id_length=Count(files.lengths[0]),
        class_name_length=Count(files.lengths[1]),
        files={
            name: FileDigest(Count(files.digests[name][0]), files.digests[name][1])
            for name in array_names(files.split)
        },
        versions=versions(),
        numbering=_numbered_by(judged, files) if labelled else None,
    )


def _numbered_by(judged: Judged, files: SplitFiles) -> NumberedBy:
    """Return how the classes of a split are numbered, judging by the numbers that fit it."""
    best = numbering_for(judged.place, files.split, judged.numbering)
    classes = "union" if best.is_union else "train"
    if best.by == (files.split,):
        classes = "own"  # the setting makes no difference
    return NumberedBy(classes, [*best.by], Numbering(files.class_ids or []).sha256)


def _check_form(extra: str, files: SplitFiles) -> None:
    """Check that the headers are those that ``ImageNetMetadata`` expects.

    Raises:
        MetadataError: They are not.
    """
    dtype = entries_dtype(*files.lengths)
    types = dtype, dtype["class_id"], dtype["class_name"]
    many = files.claimed, len(files.class_ids or []), len(files.class_names or [])
    for name, expected, rows in zip(array_names(files.split), types, many, strict=False):
        header = npy_header(expected, rows)
        with open_regular(os.path.join(extra, name)) as file:
            if file.read(len(header)) != header:
                raise MetadataError(
                    f"{os.path.join(extra, name)} is right for training, but cannot be adopted: "
                    "its texts have another width than in the entries, or its header is that of "
                    "an old NumPy. Make the files again, with snakemake or "
                    "dinov3_metadata.dump_extra."
                )


def _check_states(extra: str, files: SplitFiles) -> None:
    """Check that the files are still those that were checked.

    Raises:
        MetadataError: They are not.
    """
    now = file_states(extra, files.split)
    if any(now[name] != files.states[name] for name in array_names(files.split)):
        path = path_of(extra, "entries", split=files.split)
        raise MetadataError(
            f"{path} or a file that belongs to it changed while it was being checked. Nothing was "
            "written. Run the same command again."
        )


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)
