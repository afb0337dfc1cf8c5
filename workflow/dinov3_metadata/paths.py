"""Paths: where every file is, in ``<EXTRA>`` and in the work folder below it.

``FILES`` is the one table. ``pattern`` makes it a pattern for Snakemake, ``path_of`` a path,
``WILDCARDS`` holds the constraints of its wildcards, and ``state_of`` goes from a path back to its
name and its wildcards. No other module puts such a path together or takes one apart.

The path of a work file contains the fingerprints of what it was made from, see ``fingerprint``.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from typing import NamedTuple, Union

from .addresses import LABELLED, SPLITS

StrPath = Union[str, "os.PathLike[str]"]  # evaluated on Python 3.9, too

WORK = ".dinov3-metadata"
"""The work folder: all that is not published, below ``<EXTRA>``."""

WILDCARDS = {
    "split": "|".join(SPLITS),
    "view": "[0-9]+-folders-[0-9a-f]{12}",
    "tree": "[0-9]+-folders-[0-9a-f]{12}",
    "labels": "labels-(?:[0-9a-f]{12}|none)-[0-9a-f]{12}",
    "checks": "(?:sample|full)-[0-9]+-[0-9a-f]{12}",
    "audit": "[0-9a-f]{12}(?:-[0-9a-f]+)?",  # with the time, if somebody asked for it
    "scatteritem": "[0-9]+-of-[0-9]+",
    "code": "[0-9a-f]{12}",
    "time": "[0-9]+",
    "receipt": "receipt-[0-9a-f]{12}",
    "stamp": "[0-9a-f]{16}",
    "file": "[a-z-]+-[A-Z]+[.](?:npy|json)",
    "page": "[a-z-]+[.](?:svg|html)",
}
"""Wildcard -> the regular expression that its values match."""

LABELS = f"{WORK}/labels/{{labels}}"
VIEW = f"{WORK}/views/{{split}}/{{view}}"
TREE = f"{WORK}/{{split}}/{{tree}}"
ROWS = f"{TREE}/{{labels}}"
CHECKS = f"{ROWS}/{{checks}}"
AUDIT = f"{WORK}/audit/{{split}}/{{tree}}/{{audit}}"
AUDITED = f"{WORK}/audit/{{split}}/kept-{{code}}"
PUBLISHED = f"{WORK}/published"

FILES = {
    # In <EXTRA>, for DINOv3 and other readers.
    "entries": "entries-{split}.npy",
    "class_ids": "class-ids-{split}.npy",
    "class_names": "class-names-{split}.npy",
    "metadata": "metadata-{split}.json",
    "audit_table": "audit-{split}.npy",
    "audit_list": "audit-{split}.json",
    # In the work folder: what the stages make.
    "labels": f"{LABELS}/labels.json",
    "view": f"{VIEW}/folders.json",
    "scan": f"{TREE}/scan.npz",
    "folders": f"{TREE}/folders.json",
    "new_entries": f"{ROWS}/entries-{{split}}.npy",
    "new_class_ids": f"{ROWS}/class-ids-{{split}}.npy",
    "new_class_names": f"{ROWS}/class-names-{{split}}.npy",
    "report": f"{CHECKS}/verify-{{split}}.json",
    "share": f"{AUDIT}/{{scatteritem}}.npy",
    "joined": f"{AUDIT}/audit-{{split}}.joined",
    "audited": f"{AUDIT}/audit-{{split}}.json",
    "receipt": f"{PUBLISHED}/{{receipt}}.json",
    # What they say, and how long they take.
    "load_labels.log": f"{LABELS}/labels.log",
    "link_view.log": f"{VIEW}/view.log",
    "link_view.tsv": f"{VIEW}/view.tsv",
    "scan_split.log": f"{TREE}/scan.log",
    "scan_split.tsv": f"{TREE}/scan.tsv",
    "dump_entries.log": f"{ROWS}/entries.log",
    "dump_entries.tsv": f"{ROWS}/entries.tsv",
    "dump_class_arrays.log": f"{ROWS}/classes.log",
    "dump_class_arrays.tsv": f"{ROWS}/classes.tsv",
    "verify.log": f"{CHECKS}/verify.log",
    "verify.tsv": f"{CHECKS}/verify.tsv",
    "audit_images.log": f"{AUDIT}/{{scatteritem}}.log",
    "audit_split.log": f"{AUDIT}/audit.log",
    "publish.log": f"{PUBLISHED}/{{receipt}}.log",
    # What one run leaves for the next.
    "found": f"{AUDITED}/{{time}}-{{scatteritem}}",
    "audit_summary": f"{PUBLISHED}/audit-{{split}}.json",
    "changes": f"{PUBLISHED}/{{split}}.json",
    "last_scan": f"{PUBLISHED}/{{split}}.npz",
    "journal": f"{PUBLISHED}/journal-{{stamp}}.json",
    "kept": f"{PUBLISHED}/kept/{{stamp}}/{{file}}",
    "page": f"{WORK}/report/{{page}}",
    "run": f"{WORK}/run.lock",
    "jobs": f"{WORK}/jobs.lock",
}
"""Name of a file -> its path below ``<EXTRA>``."""

LABEL_FILES = ("labels.txt", "LOC_synset_mapping.txt", "words.txt", "imagenet_class_index.json")
"""Where ``labels: auto`` looks for class names, in this order."""

ARRAYS = ("entries", "class_ids", "class_names")
"""The published arrays of a labelled split; TEST has the first one only."""


class Place(NamedTuple):
    """What a path says.

    Attributes:
        extra: The folder for the metadata.
        name: The name of the file in ``FILES``.
        state: Wildcard -> value.
    """

    extra: str
    name: str
    state: dict[str, str]


def pattern(extra: StrPath, name: str) -> str:
    """The path of a file with the wildcards left in, as Snakemake takes it."""
    return f"{os.fspath(extra).rstrip('/')}/{FILES[name]}"


def path_of(extra: StrPath, name: str, **state: str) -> str:
    """The path of a file.

    Args:
        extra: The folder for the metadata.
        name: The name of the file in ``FILES``.
        state: Its wildcards; others are ignored.

    Example:
        >>> path_of("/extra", "changes", split="VAL")
        '/extra/.dinov3-metadata/published/VAL.json'
    """
    return f"{os.fspath(extra).rstrip('/')}/{FILES[name].format_map(state)}"


def folder_of(extra: StrPath, name: str, upto: str = "", **state: str) -> str:
    """The folder in which a file is, or that in which the folders of one of its wildcards are.

    Example:
        >>> folder_of("/extra", "scan", upto="tree", split="VAL")
        '/extra/.dinov3-metadata/VAL'
    """
    parts = FILES[name].split("/")
    depth = parts.index(f"{{{upto}}}") if upto else len(parts) - 1
    return f"{os.fspath(extra).rstrip('/')}/{'/'.join(parts[:depth]).format_map(state)}"


def file_name(name: str, **state: str) -> str:
    """The last part of a path, for instance ``entries-TRAIN.npy``."""
    return FILES[name].rpartition("/")[2].format_map(state)


def array_names(split: str) -> list[str]:
    """The published arrays of a split: entries and, for labelled splits, class ids and names."""
    names = ARRAYS if split in LABELLED else ARRAYS[:1]
    return [file_name(name, split=split) for name in names]


def published_names(split: str) -> list[str]:
    """What readers of a split need together: its arrays, and the file that describes them."""
    return [*array_names(split), file_name("metadata", split=split)]


def work_folder(extra: StrPath) -> str:
    """The work folder."""
    return f"{os.fspath(extra).rstrip('/')}/{WORK}"


def extra_of(path: StrPath) -> str:
    """The folder for the metadata that a file of ours is in."""
    above, work, _ = f"{os.path.abspath(path)}/".partition(f"/{WORK}/")
    return (above if work else os.path.dirname(above.rstrip("/"))) or "/"


def _regex(text: str, file_only: bool = False) -> str:
    """The regular expression for a path with wildcards."""
    known: set[str] = set()
    parts = []
    for i, part in enumerate(re.split(r"\{(\w+)\}", text)):
        if i % 2 == 0:
            parts.append(re.escape(part))
        elif file_only:
            parts.append(f"(?:{WILDCARDS[part]})")
        elif part in known:
            parts.append(f"(?P={part})")
        else:
            known.add(part)
            parts.append(f"(?P<{part}>{WILDCARDS[part]})")
    return "".join(parts)


def state_of(path: StrPath) -> Place | None:
    """What the path of a file of ours says; None for any other path. The inverse of ``path_of``."""
    extra = extra_of(path)
    below = os.path.relpath(path, extra) if os.path.isabs(path) else os.fspath(path)
    for name, relative in FILES.items():
        if found := re.fullmatch(_regex(relative), below):
            return Place(extra, name, found.groupdict())
    return None


def existing(extra: StrPath, name: str, **known: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The files of a name that exist, sorted: their paths and their wildcards.

    Args:
        extra: The folder for the metadata.
        name: The name of the files in ``FILES``.
        known: The wildcards that are given; all others may have any value.
    """
    start = os.fspath(extra).rstrip("/")
    values = {
        wildcard: glob.escape(known[wildcard]) if wildcard in known else "*"
        for wildcard in re.findall(r"\{(\w+)\}", FILES[name])
    }
    regex = re.compile(_regex(FILES[name]))
    for path in sorted(glob.glob(f"{glob.escape(start)}/{FILES[name].format_map(values)}")):
        if found := regex.fullmatch(path[len(start) + 1 :]):
            yield path, found.groupdict()


PARTS = {part for path in FILES.values() for part in path.split("/")[1:-1]}
KEPT = {"kept", "{stamp}"}  # the names in there are those of files of <EXTRA>, whatever these are

STATE = re.compile(
    "|".join(
        sorted(_regex(one, file_only=True) for one in PARTS - KEPT - {"{split}"} if "{" in one)
    )
)
"""The names of the folders in the work folder that each hold one state of something."""

ROOMS = {*SPLITS, *(one for one in PARTS - KEPT if "{" not in one)}
"""The names of the other folders in the work folder."""

TEMPORARY = re.compile(r"[.][0-9a-f]{12}-[0-9a-f]{32}[.]tmp")
"""The name of a file of ours before it is renamed: the mark of its run and a random number."""

OWN = re.compile(
    "|".join(
        {_regex(path.rpartition("/")[2], file_only=True) for path in FILES.values() if "/" in path}
        | {TEMPORARY.pattern}
    )
)
"""The names of files of ours in the work folder."""

PUBLIC = re.compile(
    "|".join(_regex(path, file_only=True) for path in FILES.values() if "/" not in path)
)
"""The names of the files that are published."""
