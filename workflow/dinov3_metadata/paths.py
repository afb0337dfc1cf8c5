"""Paths: the path of every file in ``<EXTRA>`` and in the work folder below it.

``FILES`` is the only table of paths, and ``WILDCARDS`` contains the values that its wildcards can
have. ``pattern`` turns an entry of the table into a pattern for Snakemake, and ``path_of`` turns it
into a path. ``state_of`` finds the name and the wildcards of a path. No other module builds or
parses such a path.

The path of a work file contains the fingerprints of its inputs, see ``fingerprint``.
"""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Union

from .addresses import LABELLED, SPLITS
from .errors import MetadataError

if TYPE_CHECKING:
    from pathlib import Path

StrPath = Union[str, "os.PathLike[str]"]  # Python 3.9 evaluates this, too

WORK = ".dinov3-metadata"
"""The name of the work folder in ``<EXTRA>``. It contains everything that is not published."""

TABLED = "-paths"
"""The end of the name of a scan whose images are found by a table of their paths."""

MARK = ".dinov3-view"
"""The name of a file in the folder of a view, which shows that its links are not a dataset."""

WILDCARDS = {
    "split": "|".join(SPLITS),
    "view": "[0-9]+-folders-[0-9a-f]{12}",
    "tree": f"[0-9]+-folders-[0-9a-f]{{12}}(?:{TABLED})?",
    "selection": "all|select-[0-9a-f]{12}",
    "sound": "all|sound-[0-9a-f]{12}",
    "labels": "labels-(?:[0-9a-f]{12}|none)-[0-9a-f]{12}",
    "numbered": "own|(?:train|union)(?:-[0-9a-f]{12})?",
    "checks": "(?:sample|full)-[0-9]+-[0-9a-f]{12}",
    "audit": "[0-9a-f]{12}(?:-[0-9a-f]+)?",  # with the time, if the user asked for an audit
    "scatteritem": "[0-9]+-of-[0-9]+",
    "search": "[0-9a-f]{12}(?:-[0-9a-f]+)?",  # with the time, as for audit
    "code": "[0-9a-f]{12}",
    "time": "[0-9]+",
    "receipt": "receipt-[0-9a-f]{12}",
    "stamp": "[0-9a-f]{16}",
    "file": "[a-z-]+-[A-Z]+[.](?:npy|json)|duplicates[.]json",
    "page": "[a-z0-9-]+[.](?:html|rst)",
}
"""Wildcard -> the regular expression that its values match."""

LABELS = f"{WORK}/labels/{{labels}}"
VIEW = f"{WORK}/views/{{split}}/{{view}}"
TREE = f"{WORK}/{{split}}/{{tree}}"
SELECTION = f"{TREE}/{{selection}}"
SOUND = f"{SELECTION}/{{sound}}"
NUMBERING = f"{WORK}/numbering/{{numbered}}"
ROWS = f"{SOUND}/{{labels}}/{{numbered}}"
CHECKS = f"{ROWS}/{{checks}}"
AUDIT = f"{WORK}/audit/{{split}}/{{tree}}/{{selection}}/{{numbered}}/{{audit}}"
AUDITED = f"{WORK}/audit/{{split}}/kept-{{code}}"
COMPARED = f"{WORK}/duplicates/{{search}}"
PUBLISHED = f"{WORK}/published"

FILES = {
    # In <EXTRA>, for DINOv3 and other readers.
    "entries": "entries-{split}.npy",
    "class_ids": "class-ids-{split}.npy",
    "class_names": "class-names-{split}.npy",
    "paths": "paths-{split}.npy",
    "metadata": "metadata-{split}.json",
    "left_out": "left-out-{split}.json",
    "audit_table": "audit-{split}.npy",
    "audit_list": "audit-{split}.json",
    "duplicates": "duplicates.json",
    "bad_images": "bad-images.jsonl",  # appended to by trainings, see ``reads``
    # In the work folder: what the stages make.
    "labels": f"{LABELS}/labels.json",
    "view": f"{VIEW}/folders.json",
    "scan": f"{TREE}/scan.npz",
    "folders": f"{TREE}/folders.json",
    "table": f"{TREE}/table.npz",
    "selected": f"{SELECTION}/selected.npz",
    "selection": f"{SELECTION}/selection.json",
    "choice": f"{SELECTION}/choice.npz",
    "new_left_out": f"{SELECTION}/left-out-{{split}}.json",
    "sound": f"{SOUND}/sound.npz",
    "sound_selection": f"{SOUND}/selection.json",
    "watched": f"{SOUND}/watched.json",
    "sound_left_out": f"{SOUND}/left-out-{{split}}.json",
    "numbering": f"{NUMBERING}/numbering.json",
    "new_entries": f"{ROWS}/entries-{{split}}.npy",
    "new_class_ids": f"{ROWS}/class-ids-{{split}}.npy",
    "new_class_names": f"{ROWS}/class-names-{{split}}.npy",
    "new_paths": f"{ROWS}/paths-{{split}}.npy",
    "report": f"{CHECKS}/verify-{{split}}.json",
    "share": f"{AUDIT}/{{scatteritem}}.npy",
    "joined": f"{AUDIT}/audit-{{split}}.joined",
    "audited": f"{AUDIT}/audit-{{split}}.json",
    "compared": f"{COMPARED}/duplicates.json",
    "receipt": f"{PUBLISHED}/{{receipt}}.json",
    # The logs of the stages, and how long they took.
    "load_labels.log": f"{LABELS}/labels.log",
    "link_view.log": f"{VIEW}/view.log",
    "link_view.tsv": f"{VIEW}/view.tsv",
    "scan_split.log": f"{TREE}/scan.log",
    "scan_split.tsv": f"{TREE}/scan.tsv",
    "select_images.log": f"{SELECTION}/selection.log",
    "select_sound.log": f"{SOUND}/sound.log",
    "number_classes.log": f"{NUMBERING}/numbering.log",
    "dump_entries.log": f"{ROWS}/entries.log",
    "dump_entries.tsv": f"{ROWS}/entries.tsv",
    "dump_class_arrays.log": f"{ROWS}/classes.log",
    "dump_class_arrays.tsv": f"{ROWS}/classes.tsv",
    "verify.log": f"{CHECKS}/verify.log",
    "verify.tsv": f"{CHECKS}/verify.tsv",
    "audit_images.log": f"{AUDIT}/{{scatteritem}}.log",
    "audit_split.log": f"{AUDIT}/audit.log",
    "find_duplicates.log": f"{COMPARED}/duplicates.log",
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
"""The files in which ``labels: auto`` looks for class names, in this order."""

ARRAYS = ("entries", "class_ids", "class_names")
"""The published arrays of a labelled split. TEST has only the first one."""


class Place(NamedTuple):
    """The parts of a path.

    Attributes:
        extra: The folder for the metadata.
        name: The name of the file in ``FILES``.
        state: Wildcard -> value.
    """

    extra: str
    name: str
    state: dict[str, str]


def pattern(extra: StrPath, name: str) -> str:
    """Return the path of a file with the wildcards left in, as Snakemake needs it."""
    return f"{os.fspath(extra).rstrip('/')}/{FILES[name]}"


def path_of(extra: StrPath, name: str, **state: str) -> str:
    """Return the path of a file.

    Args:
        extra: The folder for the metadata.
        name: The name of the file in ``FILES``.
        state: The values of its wildcards. Other wildcards are ignored.

    Example:
        >>> path_of("/extra", "changes", split="VAL")
        '/extra/.dinov3-metadata/published/VAL.json'
    """
    return f"{os.fspath(extra).rstrip('/')}/{FILES[name].format_map(state)}"


def folder_of(extra: StrPath, name: str, upto: str = "", **state: str) -> str:
    """Return the folder that contains a file.

    Args:
        extra: The folder for the metadata.
        name: The name of the file in ``FILES``.
        upto: A wildcard of its path. Then the result is the folder that contains one subfolder for
            each value of this wildcard.
        state: The values of the wildcards.

    Example:
        >>> folder_of("/extra", "scan", upto="tree", split="VAL")
        '/extra/.dinov3-metadata/VAL'
    """
    parts = FILES[name].split("/")
    depth = parts.index(f"{{{upto}}}") if upto else len(parts) - 1
    return f"{os.fspath(extra).rstrip('/')}/{'/'.join(parts[:depth]).format_map(state)}"


def file_name(name: str, **state: str) -> str:
    """Return the last component of a file's path, for instance ``entries-TRAIN.npy``."""
    return FILES[name].rpartition("/")[2].format_map(state)


def array_names(split: str) -> list[str]:
    """Return the file names of a split's arrays: entries; if labelled, class ids and names, too."""
    names = ARRAYS if split in LABELLED else ARRAYS[:1]
    return [file_name(name, split=split) for name in names]


def described_names(split: str, files: Collection[str]) -> list[str]:
    """Return the names of ``array_names``, and that of the table of paths if it is among some files
    that are described."""
    table = file_name("paths", split=split)
    return [*array_names(split), *([table] if table in files else [])]


def published_names(split: str) -> list[str]:
    """Return the names of files that belong together: a split's arrays, the table of its paths if
    it has one, their description, and the images that were left out, if there is a selection."""
    return [
        *array_names(split),
        *(file_name(name, split=split) for name in ("paths", "metadata", "left_out")),
    ]


def published_paths(extra: StrPath, *splits: str) -> list[str]:
    """Return the paths of the published files of some splits, which need not exist."""
    return [os.path.join(extra, name) for split in splits for name in published_names(split)]


def chosen_name(state: Mapping[str, str], what: str = "images") -> str:
    """Return the name of the file with the images of a split that are published, or with what was
    left out.

    Args:
        state: The names of the split's state.
        what: ``images``; or ``selection`` or ``left_out``, for which the result is empty if there
            is no selection.
    """
    names = {
        "images": ("scan", "selected", "sound"),
        "selection": ("", "selection", "sound_selection"),
        "left_out": ("", "new_left_out", "sound_left_out"),
    }[what]
    return names[2 if state["sound"] != "all" else state["selection"] != "all"]


def house() -> Path:
    """Return the folder with the Snakefile, rules/, profiles/ and workflow/ of this package.

    The wheel has it inside the package. In a checkout, it is the checkout.
    """
    from pathlib import Path  # its import would be a tenth of the start of a training

    inside = Path(__file__).with_name("house")
    return inside if inside.is_dir() else Path(__file__).parents[2]


def snakefile() -> str:
    """Return the path of the Snakefile, for ``module`` in other workflows."""
    return str(house() / "Snakefile")


def check_encoding() -> None:
    """Check that Python takes file names for UTF-8, because they become the class ids and names of
    arrays, which must be the same on every host.

    Raises:
        MetadataError: It does not, because of an old locale.
    """
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8":
        raise MetadataError(
            f"Python reads the names of files as {encoding} here, not as UTF-8. Set PYTHONUTF8=1 "
            "in the environment, and run the same command again."
        )


def absolute(path: StrPath) -> str:
    """Return the path that a user means, from the current folder.

    Raises:
        MetadataError: The current folder was deleted, and the path is relative to it.
    """
    try:
        return os.path.abspath(os.path.expanduser(os.fspath(path)))
    except FileNotFoundError:
        raise MetadataError(
            f"The current folder was deleted, so {os.fspath(path)!r} cannot be found. Change to a "
            "folder that exists, and run the same command again."
        ) from None


def work_folder(extra: StrPath) -> str:
    """Return the path of the work folder."""
    return f"{os.fspath(extra).rstrip('/')}/{WORK}"


def extra_of(path: StrPath) -> str:
    """Return the folder for the metadata that a file of this program is in."""
    above, _, below = os.path.abspath(path).rpartition(f"/{WORK}/")
    return (above or "/") if _in_a_room(below) else os.path.dirname(os.path.abspath(path))


def _in_a_room(below: str) -> bool:
    """Return whether a path below a work folder is that of a work file. Otherwise the work folder
    that it is below only contains the folder for the metadata, or does not exist."""
    first, _, rest = below.partition("/")
    return first in ROOMS if rest else bool(re.fullmatch(OWN, first))


def is_work_file(path: StrPath) -> bool:
    """Return whether a path is that of a file in a work folder."""
    return _in_a_room(os.path.abspath(path).rpartition(f"/{WORK}/")[2])


def work_parts(path: str) -> tuple[str, list[str]]:
    """Split the path of a folder where the first work folder in it begins.

    Returns:
        The path above the work folder, and the names of the work folder and of those below it; for
        a path without a work folder, the path itself and no names.
    """
    above, work, below = f"{path}/".partition(f"/{WORK}/")
    return above, [WORK, *filter(None, below.split("/"))] if work else []


def folder_count(tree: str) -> int:
    """Return the number of folders, with which the name of a scan or a view begins."""
    return int(tree.partition("-")[0])


@lru_cache
def _regex(text: str, file_only: bool = False) -> str:
    """Return the regular expression for a path, with named groups unless ``file_only``."""
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
    """Return what a path says. This is the inverse of ``path_of``.

    Args:
        path: Any path. A relative one is taken from the working folder.

    Returns:
        None if this program makes no such file.
    """
    extra = extra_of(path)
    below = os.path.relpath(path, extra)
    for name, relative in FILES.items():
        if found := re.fullmatch(_regex(relative), below):
            return Place(extra, name, found.groupdict())
    return None


def existing(extra: StrPath, name: str, **known: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the path and the wildcards of each existing file with a name, sorted by path.

    Args:
        extra: The folder for the metadata.
        name: The name of the files in ``FILES``.
        known: Wildcards with known values. All others may have any value.
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
KEPT = {"kept", "{stamp}"}  # contains former files of <EXTRA>, which may even be links

STATE = "|".join(
    sorted(_regex(part, file_only=True) for part in PARTS - KEPT - {"{split}"} if "{" in part)
)
"""The regular expression for the names of the folders in the work folder that each hold one state's
files. These expressions are compiled by the few runs that need them."""

ROOMS = {*SPLITS, *(part for part in PARTS - KEPT if "{" not in part)}
"""The names of the other folders in the work folder."""

TEMPORARY = r"[.][0-9a-f]{12}-[0-9a-f]{32}[.]tmp"
"""The same for temporary files: the mark of the run and a random number."""

OWN = "|".join(
    {_regex(path.rpartition("/")[2], file_only=True) for path in FILES.values() if "/" in path}
    | {TEMPORARY}
)
"""The same for this program's files in the work folder."""

PUBLIC = "|".join(_regex(path, file_only=True) for path in FILES.values() if "/" not in path)
"""The same for the published files."""
