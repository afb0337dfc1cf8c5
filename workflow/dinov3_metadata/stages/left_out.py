"""Left out: what a split contains beside its images, and what a user should know about it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ..addresses import ANNEX, is_image, other_suffix
from ..errors import count, logger
from ..fingerprint import Others, Record
from ..layouts import SYSTEM
from ..names import difference, fold
from ..paths import StrPath

if TYPE_CHECKING:
    from ..walk import Folder

MOST = 60  # suffixes or names that a note shows; each has an example

BESIDE, GONE, HIDDEN = "*", "->", "~"
"""What ``Others`` calls images beside the class folders, links there that lead to nothing, and
hidden images that a view leaves out."""


def left_out(files: Iterable[str], folders: Iterable[str] = ()) -> Others:
    """Return what is left out of a folder.

    Args:
        files: The names of the files in it.
        folders: The names of the folders in it that a system made, if they are left out.
    """
    found: dict[str, tuple[int, str]] = {}
    for what, name in (
        *((other_suffix(name), name) for name in files),
        *((f"{name}/", name) for name in folders),
    ):
        if what:
            many, example = found.get(what, (0, name))
            found[what] = (many + 1, min(example, name))
    return found


def beside_classes(path: StrPath, images: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Return what is left out because it is beside the class folders in a folder; warn of it.

    Args:
        path: The folder.
        images: The names of the images in it.
    """
    if not images:
        return {}
    logger.warning(
        "Ignored, because they are beside the class folders in %s: %s (for instance %s)",
        path,
        count(len(images), "image"),
        min(images),
    )
    return {BESIDE: (len(images), min(images))}


def tell_left_out(
    path: str,
    folders: Iterable[str],
    files: Iterable[str],
    *,
    classes: bool,
    holds_classes: bool,
) -> Others:
    """Return what a view leaves out of a folder; log it, and warn if it is images.

    Args:
        path: The folder.
        folders, files: The names of the folders and files in it.
        classes: Whether there are class folders in the split.
        holds_classes: Whether the folder contains them.
    """
    own = [*folders]
    system = [name for name in own if name.lower() in SYSTEM]
    for name in system:
        logger.info("left out: %s, %s", f"{path}/{name}", SYSTEM[name.lower()])
    hidden = [name for name in own if name.startswith(".") and name not in system]
    if hidden:
        logger.info("ignored, because it is hidden: %s", f"{path}/{min(hidden)}")
    names = [*files]
    images = [name for name in names if is_image(name) and name[0] != "."]
    others = {**left_out(names, [*system, *(hidden if classes else ())])}
    dotted = [name for name in names if is_image(name) and name[0] == "."]
    if dotted:
        others[HIDDEN] = (len(dotted), min(dotted))
    return others | (beside_classes(path, images) if holds_classes and own else {})


def note_gone(found: Mapping[str, Folder], top: str, folder: StrPath) -> None:
    """Note which links beside the class folders in ``top`` are no classes, as they lead to nothing.

    The time of ``top`` does not change with their targets.

    Args:
        found: What was found in the split folder.
        top: The path of a folder with class folders below it.
        folder: The split folder.
    """
    others = {what: some for what, some in found[top].others.items() if what != GONE}
    below = [name for name in found[top].below if name in found and found[name].state is None]
    found[top].others = {**others, **gone_links(f"{folder}/{top}", below)}


def gone_links(folder: StrPath, names: Iterable[str]) -> Others:
    """Return what is left out because it leads to nothing.

    Args:
        folder: A folder with class folders.
        names: The names of links in it to nothing. A link of git-annex leads to a file, never to a
            folder, so it is no class.
    """
    gone = []
    for name in (name.rpartition("/")[2] for name in names):
        with suppress(OSError):  # it may have gone by now
            if not is_image(name) and ANNEX not in os.readlink(f"{folder}/{name}"):
                gone.append(name)
    return {GONE: (len(gone), min(gone))} if gone else {}


def note_alike(split: str, class_ids: Iterable[str]) -> list[str]:
    """Return a note if class folders look equal and are not, such as two forms of an accent.

    Two names in ASCII differ visibly, so they are not compared.
    """
    ids = [*class_ids]
    if all(map(str.isascii, ids)):
        return []
    forms: dict[str, list[str]] = {}
    for name in ids:
        forms.setdefault(fold(name), []).append(name)
    pairs = [
        (some[0], other)
        for some in forms.values()
        for other in some[1:]
        if not (some[0].isascii() and other.isascii())
    ]
    if not pairs:
        return []
    what = count(len(pairs), "class folder looks", "class folders look")
    one, other = pairs[0]
    return [
        f"{split}: {what} equal to another one, but {'counts' if len(pairs) == 1 else 'count'} as "
        f"{'a class of its' if len(pairs) == 1 else 'classes of their'} own "
        f"({'for instance ' if len(pairs) > 1 else ''}{one} and {other}, which differ in "
        f"{difference(one, other)})."
    ]


def is_suffix(what: str) -> bool:
    """Return whether ``Others`` means the suffix of files."""
    return what[0] == "." and what[-1] != "/"


def why_empty(others: Iterable[Others]) -> str:
    """Return why a class or a split has no images, in brackets, from what was left out of its
    folders; empty if nothing was."""
    found = _total(others)
    files = [f"{many:,} {what}" for what, (many, _) in found.items() if is_suffix(what)]
    if not files and HIDDEN in found:
        return f" ({count(found[HIDDEN][0], 'hidden image')})"
    if not files and GONE in found:
        return f" (but {count(found[GONE][0], 'link')} to nothing: is a disk not mounted?)"
    return f" ({', '.join(files)}, which torchvision does not take for images)" if files else ""


def notes_on(split: str, records: Iterable[Record]) -> list[str]:
    """Return what a user should know about a split, one sentence each.

    Args:
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        records: The record of its scan; if it has a view, also that of the view.
    """
    notes, left = list[str](), list[Others]()
    for record in records:
        notes += record.notes
        for folder, others in record.others.items():
            below = f"{folder}/" if folder else ""
            left.append({what: (many, below + one) for what, (many, one) in others.items()})
    found = _total(left)
    if beside := found.pop(BESIDE, None):
        notes.append(
            f"{split}: {count(beside[0], 'image')} left out, because not in a class folder "
            f"({'for instance ' if beside[0] > 1 else ''}{beside[1]})."
        )
    if hidden := found.pop(HIDDEN, None):
        notes.append(
            f"{split}: {count(hidden[0], 'hidden image')} left out "
            f"({'for instance ' if hidden[0] > 1 else ''}{hidden[1]}). ImageFolder would count "
            f"{'it' if hidden[0] == 1 else 'them'}."
        )
    if gone := found.pop(GONE, None):
        notes.append(
            f"{split}: {count(gone[0], 'link')} beside the class folders left out, because "
            f"{'it leads' if gone[0] == 1 else 'they lead'} to nothing "
            f"({'for instance ' if gone[0] > 1 else ''}{gone[1]}). Is a disk not mounted?"
        )
    files = {what: some for what, some in found.items() if what[-1] != "/"}
    folders = {what: some for what, some in found.items() if what[-1] == "/"}
    if files:
        total = sum(many for many, _ in files.values())
        notes.append(
            f"{split}: {count(total, 'file')} not counted, because torchvision does not take "
            f"{'its suffix' if total == 1 else 'their suffixes'} for {_an_image(total)}: "
            f"{_shown(files)}."
        )
    if folders:
        total = sum(many for many, _ in folders.values())
        notes.append(
            f"{split}: {count(total, 'folder')} left out, because hidden or made by a system: "
            f"{_shown(folders)}."
        )
    return notes


def _an_image(total: int) -> str:
    return "that of an image" if total == 1 else "those of images"


def _total(several: Iterable[Others]) -> dict[str, tuple[int, str]]:
    """Add up what was left out of some folders, the most frequent first."""
    totals, examples = Counter[str](), dict[str, str]()
    for others in several:
        for what, (many, example) in others.items():
            totals[what] += many
            examples[what] = min(examples.get(what, example), example)
    return {what: (many, examples[what]) for what, many in totals.most_common()}


def _shown(found: dict[str, tuple[int, str]]) -> str:
    """Return the first of what was left out, each with its number and an example."""
    shown = [
        f"{many:,} {what.rstrip('/')} ({'for instance ' if many > 1 else ''}{one})"
        for what, (many, one) in found.items()
    ]
    return ", ".join(shown[:MOST]) + (", ..." if shown[MOST:] else "")
