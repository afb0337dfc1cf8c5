"""Sound: leave out the images in which an audit found certain problems."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..addresses import SPLITS
from ..choice import Choice, check_left, write_choice
from ..documents import Count, load, to_json
from ..doubles import Images, exact_groups, leaks_of, near_groups, number_files, open_table
from ..errors import DamagedError, MetadataError
from ..examine import BIT
from ..files import write_atomically
from ..fingerprint import read_record
from ..formats import GROUPS, PROBLEMS, read_audit_summary
from ..image_paths import Places
from ..paths import StrPath
from ..selection import Rule, Selection
from ..watched import MOST, Watched, image_states
from .unfit import Leftover


def select_sound(
    *,
    sound: StrPath,
    sound_selection: StrPath,
    watched: StrPath,
    sound_left_out: StrPath,
    scan: StrPath,
    folders: StrPath,
    table: StrPath = "",
    selection: StrPath = "",
    choice: StrPath = "",
    extra: StrPath,
    root: str,
    split: str,
    source: str,
    unaddressable: str,
    problems: Sequence[str],
    made_for: str,
    audits: Mapping[str, str],
    files: Mapping[str, dict[str, str]],
    empty_classes: str = "refuse",
) -> None:
    """Leave out the images of a split in which its audit found a problem.

    Args:
        sound: Where to write the images that are left, see ``artefacts.Scan``.
        sound_selection, sound_left_out: See ``choice.write_choice``.
        watched: Where to note what this was made from, see ``watched.Watched``.
        scan, folders, table: See ``selection.select_images``.
        selection, choice: What that made, if there are lists or a sample.
        extra: The folder with the tables of the audits.
        root, split, source, unaddressable, empty_classes: See ``selection.select_images``.
        problems: Those of ``formats.PROBLEMS`` and ``GROUPS`` with which an image is left out. Of
            ``duplicate``, all but the first image of each group are. Of ``leak``, those that are in
            a later split, too.
        made_for: See ``watched.Watched``.
        audits: Split -> the record of its audit: for this split and, for leaks, the later ones of
            this run.
        files: Split -> its files, see ``duplicates.find_duplicates``: for these, and the later ones
            that are not of this run; empty for one that no audit has seen as it is now.

    Raises:
        DamagedError: The table of a split is missing, or is not that of its current state.
        MetadataError: A later split cannot be compared; no image is left of the split, or of a
            class; or see ``unfit.Leftover.refuse``.
    """
    tables = {}
    for one, some in files.items():
        audited = open_table(extra, one, root=root, **some) if some else None
        if not audited and one in audits:
            raise DamagedError(audits[one], "does not match the table of the audit")
        if not audited:
            raise MetadataError(
                f"{split} cannot be compared with {one}, as `select: audit` lists `leak`: no audit "
                f"has seen what is there now. Add {one} to `splits`, or remove `leak`."
            )
        tables[one] = audited
    places = Places.load(split, scan, table=table)
    is_view = bool(source) and not places.tabled
    found = places.scan
    before = load(Selection, selection) if selection else None
    made = Choice.load(choice, found, before.rules) if before else Choice.of(found)
    left = np.flatnonzero(made.reason == 0)  # the images of the table
    rows = tables[split][0]
    rule = Rule("audit", Count(0), value=", ".join(problems))

    def leave_out(images: np.ndarray, reason: str) -> None:
        mask = np.zeros(len(made.reason), bool)
        mask[left[images]] = True
        rule.images = Count(rule.images + made.leave_out(mask, reason))

    wrong = rows["problems"] & np.uint16(sum(BIT.get(name, 0) for name in problems))
    for bits in np.unique(wrong[wrong > 0]).tolist():
        names = [name for name in PROBLEMS if BIT[name] & bits]
        leave_out(np.flatnonzero(wrong == bits), ", ".join(names))
    if not {*GROUPS}.isdisjoint(problems):
        images = {one.split: one for one in number_files(tables, root, is_view)}
        own = _without(images[split], wrong > 0)
        if "leak" in problems:
            for later in [one for one in SPLITS if one in images and one != split]:
                gone = own.at[np.unique(leaks_of(images[later], own).others)]
                leave_out(gone, f"also in {later}")
                own = _without(own, np.isin(np.arange(len(rows)), gone))
        if "duplicate" in problems:
            for groups, reason in (
                (exact_groups(own), "equal to an image before it"),
                (near_groups(own), "nearly equal to an image before it"),
            ):
                others = np.delete(groups.members, groups.starts)
                leave_out(own.at[others], reason)
    unfit = Leftover(
        places,
        read_record(folders),
        root=root,
        source=source,
        unaddressable=unaddressable,
        empty_classes=empty_classes,
        choice=made,
    )
    if "unreadable" in problems:
        gone = unfit.leave_out([one for one in unfit.left() if one.special], "unreadable")
        rule.images = Count(rule.images + gone)
    unfit.refuse()
    made.rules.append(rule)
    check_left(made, split, empty_classes)
    made.scan_of_rest(unaddressable).save(sound)
    write_choice(
        made,
        sound_selection,
        sound_left_out,
        root=root,
        split=split,
        is_view=is_view,
        places=places,
    )
    _note(made, left, watched, made_for, [*files], extra, root, places)


def _without(images: Images, gone: np.ndarray) -> Images:
    """Return images without some: (rows of the table,) ``bool``."""
    kept = ~gone[images.at]
    return replace(images, at=images.at[kept], phash=images.phash[kept], file=images.file[kept])


def _note(
    made: Choice,
    left: np.ndarray,
    path: StrPath,
    made_for: str,
    audited: Sequence[str],
    extra: StrPath,
    root: str,
    places: Places,
) -> None:
    """Note what the selection was made from, with the first images that were left out by it."""
    gone = left[made.reason[left] > 0][:MOST]
    paths = [f"{root}/{places[i]}" for i in gone.tolist()]
    summaries = {one: read_audit_summary(extra, one) for one in audited}
    findings = {one: about.findings if about else "" for one, about in summaries.items()}
    with write_atomically(path) as file:
        file.write(to_json(Watched(made_for, findings, image_states(paths))))
