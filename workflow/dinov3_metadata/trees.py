"""Trees: find the scan or view that matches a folder's current state, or say why it must be made.

This module is imported at every start.
"""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from .errors import count, printable
from .fingerprint import (
    State,
    changed_folders,
    digest,
    folder_state,
    folder_states,
    read_record,
    states_as_noted,
    view_in,
)
from .paths import StrPath


class Tree(NamedTuple):
    """The scan (or view) that matches the current state of a folder.

    Attributes:
        name: Its name.
        why: Why it must be made, if it must.
        states: The states of the folders that were compared, see ``of_tree``.
        all_changed: Whether each folder has changed since the last scan.
    """

    name: str = ""
    why: str = ""
    states: Mapping[str, State] = {}
    all_changed: bool = False


def of_tree(
    folder: StrPath,
    records: Iterable[tuple[str, StrPath]],
    settings: str,
    *,
    classes: bool = True,
    trust_timestamps: bool = True,
    after: str = "",
    published: str = "",
    tops: Sequence[str] = ("",),
    end: str = "",
) -> Tree:
    """Find the scan that matches a split folder's current state, or a name for a new scan.

    A scan matches if all of this is true:

    - It was made with the same settings and from the same view.
    - The folders that it visited, those that its links lead into, and the links that might have led
      to a folder are in the state that it noted.
    - There is no other folder, except those that it left out (see ``Record``).

    A new name also hashes the outdated records, so it can never equal the name of an outdated scan.

    Args:
        folder: The split folder.
        records: The name of each existing scan, and the path of its record.
        settings: The fingerprint of everything else that a scan depends on.
        classes: Whether there are class folders in the split folder.
        trust_timestamps: See ``folder_state``.
        after: See ``Record``.
        published: The name of the scan that was published last. A new name differs from it even if
            its record is missing, so that what was published does not count as current.
        tops: See ``folder_states``.
        end: The end of a new name.
    """
    now = folder_states(folder, classes, trust_timestamps, tops)
    why = f"{count(len(now), 'folder')}, none of them scanned before"
    outdated = []
    states, all_changed = now, False
    state_of = lru_cache(maxsize=None)(folder_state)
    for name, path in records:
        record = read_record(path)
        outdated.append((name, record))
        if record is None or record.settings != settings:
            why = f"{count(len(now), 'folder')}, scanned before with other settings or code"
            continue
        retired = set(record.retired)
        states = {below: state for below, state in now.items() if below not in retired}
        special = {
            below: noted
            for below, noted in record.folders.items()
            if below not in now or (trust_timestamps and noted and (noted.watched or noted.names))
        }
        states |= states_as_noted(folder, special, trust_timestamps, state_of)
        changed = changed_folders(states, record.folders)
        if not changed and record.after != after:
            why = "the view of the dataset changed"
            continue
        if not changed:
            return Tree(name, "nothing changed", states)
        all_changed = {below for below in record.folders if not os.path.isabs(below)} <= {*changed}
        why = _why(view_in(record.folders), changed, states)
    new = digest(settings, after, sorted(now.items()), outdated, published)
    return Tree(f"{len(now)}-folders-{new}{end}", why, states, all_changed)


def _why(view: str, changed: Collection[str], folders: Collection[str]) -> str:
    """Say which of some folders changed. A folder of the view is named by that of the dataset, and
    only if that did not change.

    Args:
        view: The split folder of the view, which the names of its folders start with.
        changed: The names of those that changed.
        folders: The names of all of them.
    """
    inside = {name: name[len(view) + 1 :] for name in {*changed, *folders} if os.path.isabs(name)}
    shown = {
        inside[name]: f"the view of {inside[name] or 'the split folder'}"
        for name in changed
        if name in inside
    }
    shown |= {name: name or "the split folder" for name in changed if name not in inside}
    some = ", ".join(printable(text) for _, text in sorted(shown.items())[:3])
    total = len({inside.get(name, name) for name in folders})
    more = ", ..." if len(shown) > 3 else ""
    return f"{len(shown):,} of {count(total, 'folder')} changed: {some}{more}"
