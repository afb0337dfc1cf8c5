"""Summary: the last lines of a run, which say what was published where, or what failed."""

import os
import re
import shlex
import shutil
from collections.abc import Collection, Iterable, Sequence

from .addresses import LABELLED, SPLITS, TARS, escaped, split_folder
from .chain import STAGES
from .disk import read_file
from .errors import count, printable
from .formats import (
    JPEGS,
    NOT_STRICT,
    PROBLEMS,
    AuditSummary,
    differently_held_out,
    read_audit_summary,
    read_changes,
    read_class_ids,
    read_description,
    read_duplicates_summary,
)
from .layouts import part_of
from .log import INTERRUPTED, error_in
from .paths import MARK, StrPath, array_names, existing, file_name, path_of
from .present import Chain
from .replace import kept_size
from .settings import Settings

SILENT = (
    "A job failed without giving a reason. See Snakemake's output above. If it was killed (out of "
    "memory?), nothing is lost: run the same command again."
)

LAUNCHER = "dinov3-metadata train -- <COMMAND>"

SHORT = 45  # characters of a path in a table

COLUMNS = ("split", "images", "new", "removed", "classes", "new", "removed", "bytes", "seconds")


def summarise(chain: Chain) -> str:
    """Return the last lines of a run that succeeded.

    They describe each split, from its ``metadata-SPLIT.json``, and what this run changed in it.
    They also name the layout of the dataset, and what to give to DINOv3. The seconds are the time
    from the start of the run until the split was published.
    """
    extra, splits, root = chain.extra, chain.splits, chain.root
    rows: list[tuple[str, ...]] = [COLUMNS]
    notes = []
    if chain.doubt:
        notes.append("  changes of the dataset may go unnoticed: see the warning about timestamps")
    notes += [
        f"  {split} is left out, because there is no folder {split_folder(split)}/"
        for split in chain.without
    ]
    audits = {split: read_audit_summary(extra, split) for split in splits}
    for split, audited in audits.items():
        notes += _audit(chain, split, audited) if audited else []
        about = read_description(extra, split)
        if not about:
            continue  # a run up to an earlier stage does not replace what is missing or damaged
        size = sum(file.bytes for file in about.files.values())
        images, classes, seconds = _changes(extra, split)
        row: tuple[str, ...] = (split, f"{about.images:,}", *images)
        row += (f"{about.classes:,}", *classes) if about.classes else ("", "", "")
        rows.append((*row, f"{size:,}", seconds))
        notes += [line for note in about.notes if (line := f"  {note}") not in notes]
        if about.selection:
            notes += [f"  {split}: {said}" for said in about.selection.says()]
            notes.append(f"  {split}: details in {path_of(extra, 'left_out', split=split)}")
        if about.skipped:
            notes.append(f"  {split}: {count(about.skipped, 'image')} skipped")
    notes += _duplicates(extra) if chain.settings.duplicates else []
    found = [*filter(None, audits.values())]
    if any(not (one.simplejpeg or JPEGS.isdisjoint(one.formats)) for one in found):
        notes.append(f"  {NOT_STRICT}")
    if len(rows) == 1:
        what = "Audited, but not published yet" if found else "Nothing is published yet"
        lines = [f"{what}, in {extra}:" if notes else f"{what}, in {extra}.", *notes]
        return "\n".join(map(printable, lines))
    if chain.tabled and os.path.lexists(f"{extra}/view/{MARK}"):
        notes.append(f"  {extra}/view is no longer used: delete it when no training reads it")
    table = ",paths" if chain.tabled else ""
    files = f"{{entries,class-ids,class-names{table}}}-SPLIT.npy, metadata-SPLIT.json"
    if splits == (TARS,):
        files = ", ".join([*array_names(TARS), file_name("metadata", split=TARS)])
    notes += [*_numbering(extra), *_holdout(extra), *_leaks(chain)]
    kept, room = kept_size(extra)
    if kept:
        what = f"{count(kept, 'replaced file')}, {room:,} bytes"
        notes.append(f"  kept for readers on other hosts, see `keep`: {what}")
    lines = [f"DINOv3 metadata, verified, in {extra}:", *_table(rows), *notes, f"  files: {files}"]
    lines += [f"  verified: {_verified(chain.settings)}"]
    lines += [f"  layout: {chain.layout}", f"  root for DINOv3: {root}"]
    lines += [  # for a shell
        f"  dataset_path for DINOv3: {shlex.quote(dataset_path(split, root, extra))}"
        for split in splits
    ]
    if chain.tabled or escaped(root) != root or escaped(extra) != extra:
        lines.append(f"  which only the launcher understands: {LAUNCHER}")
    return "\n".join(map(printable, lines))


def _verified(settings: Settings) -> str:
    """Return what the word "verified" means."""
    looked_up = f"the images of up to {settings.sample:,} rows a split exist"
    if settings.level == "full":
        looked_up = "all images exist, and each split is what a fresh ImageFolder finds"
    return f"every row agrees with the folders, the labels and the class numbers; {looked_up}"


def _audit(chain: Chain, split: str, audited: AuditSummary) -> list[str]:
    """Return what the last audit of a split found: in the run that made it, as a table."""
    extra, state = chain.extra, chain.now[split].state
    if not audited.is_of(state):
        return [f"  {split} has changed since its audit of {audited.audited}"]
    found = ", ".join(f"{many:,} {what}" for what, many in audited.problems.items())
    what = f"  {split}, audited {audited.audited}: {count(audited.images, 'image')}, "
    if not (found and _is_new(extra, "audit_summary", split)):
        return [what + (found or "all ok")]
    rows = [("problem", "images", "first", "what it means for training")]
    rows += [
        (name, f"{many:,}", _short(printable(audited.first.get(name, ""))), PROBLEMS.get(name, ""))
        for name, many in audited.problems.items()
    ]
    listed = path_of(extra, "audit_list", split=split)
    return [what + f"{audited.ok:,} ok", *_table(rows, (0, 2, 3)), f"  all of them: {listed}"]


def _short(path: str) -> str:
    """Return the end of a path, which says more than its beginning."""
    return path if len(path) <= SHORT else f"...{path[3 - SHORT :]}"


def _is_new(extra: StrPath, name: str, split: str) -> bool:
    """Return whether a file of a split was made by this run."""
    path, run = path_of(extra, name, split=split), path_of(extra, "run")
    return os.path.exists(run) and os.path.getmtime(path) >= os.path.getmtime(run)


def _duplicates(extra: StrPath) -> list[str]:
    """Return what the last search for duplicates found."""
    summary = read_duplicates_summary(extra)
    if not summary:
        return []
    found = [
        f"  {split}: {count(one.exact_groups, 'group')} of equal images, "
        f"{count(one.near_groups, 'group')} of near ones"
        for split, one in summary.splits.items()
        if one.exact_groups or one.near_groups
    ]
    for splits, both in summary.pairs.items():
        if several := both.exact + both.near:
            are = count(several, "image is", "images are")
            found.append(f"  {splits}: {are} in both, {both.exact:,} of them equal")
    for split in summary.left_out:
        found.append(f"  {split} was not compared, because no audit has seen it as it is now")
    if found:
        found.append(f"  {path_of(extra, 'duplicates')}, from {summary.audited}, lists them")
    return found


def _numbering(extra: StrPath) -> list[str]:
    """Return a warning if a class has another number in TRAIN than in VAL, as far as published."""
    described = []
    for split in LABELLED:
        about = read_description(extra, split)
        if not about or part_of(about.dataset, about.layout, split, about.folders).class_id:
            return []  # nothing is published, or the images have no labels
        described.append(about)
    digests = [about.numbering.sha256 if about.numbering else about.split for about in described]
    if len({*digests}) < len(digests):
        return []
    train, val = (read_class_ids(extra, about.split, about) for about in described)
    numbers = {class_id: index for index, class_id in enumerate(train)}
    if all(numbers.get(class_id) == index for index, class_id in enumerate(val)):
        return []
    return [
        "  TRAIN and VAL number their classes differently, so DINOv3's evaluations compare wrong "
        "labels. Make both with the setting `classes: train` or `classes: union`."
    ]


def _leaks(chain: Chain) -> list[str]:
    """Return a warning if earlier splits were not compared with those of this run."""
    if "leak" not in chain.settings.select_audit:
        return []
    others = [
        one
        for one in SPLITS[: SPLITS.index(chain.splits[-1])]
        if one not in chain.splits and read_description(chain.extra, one)
    ]
    if not others:
        return []
    now, names = " and ".join(chain.splits), " and ".join(others)
    return [f"  {names}: not compared with {now} as it is now. Make all of them in one run."]


def _holdout(extra: StrPath) -> list[str]:
    """Return a warning if TRAIN and VAL were taken from the same images by different rules."""
    found = differently_held_out(extra)
    return [f"  {found} Make both in one run."] if found else []


def _changes(extra: StrPath, split: str) -> tuple[tuple[str, str], tuple[str, str], str]:
    """Return new and removed images and classes, and seconds; dashes if nothing was published."""
    changes = read_changes(extra, split)
    if not changes or not _is_new(extra, "changes", split):
        return ("-", "-"), ("-", "-"), "-"
    noted, run = path_of(extra, "changes", split=split), path_of(extra, "run")
    seconds = os.path.getmtime(noted) - os.path.getmtime(run)
    counts = (changes.added, -changes.removed, len(changes.new), -len(changes.gone))
    added, removed, new, gone = (f"{number:+,}" if number else "0" for number in counts)
    return (added, removed), (new, gone), f"{seconds:,.1f}"


def _table(rows: Sequence[tuple[str, ...]], left: Collection[int] = (0,)) -> list[str]:
    """Return lines with aligned columns: to the left those of ``left``, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    align = [str.ljust if i in left else str.rjust for i in range(len(widths))]
    lines = (
        [to(cell, width) for to, cell, width in zip(align, row, widths, strict=True)]
        for row in rows
    )
    return ["  ".join(["", *line]).rstrip() for line in lines]


def dataset_path(split: str, root: StrPath, extra: StrPath) -> str:
    """Return the string that names a split for DINOv3 and DINOv2.

    Source: ``_parse_dataset_str`` in facebookresearch/dinov3, ``dinov3/data/loaders.py``, which
    splits it at each ``:`` and ``=``, and OmegaConf, which reads it as YAML from the command line.
    Folders that cannot be named in such a string are escaped, which only the launcher understands.

    Example:
        >>> dataset_path("VAL", "/data/imagenet", "/data/extra")
        'ImageNet:split=VAL:root=/data/imagenet:extra=/data/extra'
    """
    folders = (escaped(os.fspath(path)) for path in (root, extra))
    name = "ImageNet22k" if split == TARS else f"ImageNet:split={split}"
    return "{}:root={}:extra={}".format(name, *folders)


def failures(extra: StrPath, logs: Iterable[str]) -> str:
    """Return the messages of the stages that failed, as the last lines of a run.

    Args:
        extra: The folder for the metadata.
        logs: The files of Snakemake's own log. Only they show that a run was interrupted while its
            jobs waited.
    """
    if not os.path.exists(run := path_of(extra, "run")):
        return show(
            [
                f"{run} is gone: during the run, the folder was removed, or its file system was "
                "unmounted. Bring it back, and run the same command again."
            ]
        )
    found = errors(extra)
    if not found:
        said = "".join(read_file(path).decode(errors="replace") for path in logs)
        if shutil.disk_usage(extra).free < 1 << 16:
            found = [f"{extra}: No space left on device, not even for a log."]
        elif re.search("on user request|currently running", said):
            found = [INTERRUPTED]
        else:
            from .remote import last_words  # only a failure needs it

            found = [last_words(os.path.getmtime(run)) or SILENT]
    return show(found)


def errors(extra: StrPath) -> list[str]:
    """Return the messages of the stages that failed in the last run, from their logs."""
    start = os.path.getmtime(path_of(extra, "run"))  # from the same clock as the times of the logs
    own = (path for rule in STAGES for path, _ in existing(extra, f"{rule}.log"))
    found = (error_in(path) for path in own if os.path.getmtime(path) >= start)
    return [error for error in found if error]


def show(found: Iterable[str]) -> str:
    """Return messages as the last lines of a run."""
    return "\n".join(dict.fromkeys(f"\nError: {error}" for error in found))
