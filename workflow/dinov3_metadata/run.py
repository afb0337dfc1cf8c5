"""Run: run one stage for its rule, or all stages in one process. Only this module calls them."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

from . import progress
from .access import refused
from .chain import OF_SPLIT, STAGES, needs, stages_of
from .disk import make_folder, remove_file, remove_folders
from .errors import DamagedError, DatasetChangedError, MetadataError, logger
from .extras import check_settings
from .fingerprint import changed_since
from .formats import read_description
from .lock import locked
from .log import NO_MEMORY
from .paths import StrPath, absolute, check_encoding, existing, folder_of, path_of
from .preflight import view_of
from .present import Chain
from .published import published_state
from .settings import NO_VIEW, Settings, flatten
from .tarred import check_no_tars

ATTEMPTS = 3  # to find a dataset that stays the same, and an undamaged work folder


def run_stage(
    rule: str, extra: str, state: dict[str, str], given: dict[str, Any], threads: int = 1
) -> None:
    """Run one stage, then remove the work files that it replaces.

    Args:
        rule: The name of its rule, see ``chain.STAGES``.
        extra: The folder for the metadata.
        state: The wildcards of its files.
        given: The other arguments of its function.
        threads: How many threads it may use.

    Raises:
        MetadataError: See the function of the stage.
    """
    stage = stages_of(state.get("split", ""))[rule]
    for wildcard in stage.clears:
        others = folder_of(extra, stage.makes[0], wildcard, **state)
        remove_folders(others, {state[wildcard]})
    arguments = dict(given)
    for name in (*stage.reads, *stage.makes):
        if needs(name, state):
            arguments[name] = path_of(extra, name, **state)
    known = {**state, "extra": extra}
    arguments |= {name: known[name] for name in stage.wildcards}
    if stage.threads:
        arguments["threads"] = threads
    for name in stage.makes:
        make_folder(folder_of(extra, name, **state))
    try:
        getattr(import_module(f".stages.{stage.module}", __package__), rule)(**arguments)
    except DamagedError as error:
        with suppress(OSError):
            remove_file(error.path)
        raise
    if stage.replaces:
        kept = {state[stage.replaces], *_still_used(stage.replaces, extra, state)}
        remove_folders(folder_of(extra, stage.makes[0], stage.replaces, **state), kept)


def _still_used(wildcard: str, extra: str, state: dict[str, str]) -> list[str]:
    """Return the values of a wildcard that are published, or that some split's entries have."""
    if wildcard in ("labels", "numbered"):
        return [rows[wildcard] for _, rows in existing(extra, "new_entries")]
    published = published_state(extra, state["split"])
    return [published.state[wildcard]] if published else []


def dump_extra(
    root: StrPath,
    extra: StrPath,
    splits: Sequence[str] = ("TRAIN", "VAL"),
    labels: StrPath = "auto",
    threads: int | None = None,
    **settings: Any,
) -> Chain:
    """Make or update the metadata of a dataset, as ``snakemake`` does.

    The files, checks and messages are the same, and so is the work folder. Therefore each of the
    two can resume where the other stopped.

    Args:
        root: The dataset's folder.
        extra: The folder for the metadata files; may be the same as root.
        splits: Which of ``TRAIN``, ``VAL``, ``TEST``.
        labels: A file with the class names, relative to root or absolute; ``auto`` for the first
            of ``paths.LABEL_FILES`` that is in root; ``folders`` for the class folders' own names.
        threads: How many folders may be listed at once; by default one per core.
        settings: Any other setting of config.yaml, by its name in ``settings.Settings`` or in its
            section, as in config.yaml.

    Returns:
        The state of the dataset. Its ``root`` is the root to give to DINOv3.

    Raises:
        MetadataError: Something is wrong that the user can fix; the message says how. The published
            files remain those of the last run that succeeded.

    Example:
        >>> chain = dump_extra("/data/imagenet", "/data/extra", level="full")
        >>> chain = dump_extra("/data/photos", "/data/extra", scan={"unaddressable": "skip"})
    """
    known = {"root": root, "extra": extra, "splits": splits, "labels": labels}
    return _lasting(_run, known | settings, threads)


def audit_extra(
    root: StrPath, extra: StrPath, threads: int | None = None, **settings: Any
) -> Chain:
    """Open every image that is new or changed since the last audit, as ``snakemake audit`` does.

    Nothing is published but the lists of the audit. Without the setting ``view``, the images are
    found as the published metadata says, so that no view is made in place of a table of paths.

    Args:
        root, extra: See ``dump_extra``.
        settings: See ``dump_extra``; ``splits`` and ``labels`` are among them.
        threads: How many processes may open images at once; by default one per core.

    Raises:
        MetadataError: Something is wrong that the user can fix, or an image has a problem that
            the setting ``fail_on`` names.
    """
    if "view" not in settings:
        splits = settings.get("splits", Settings.splits)
        settings["view"] = _published_view(absolute(root), absolute(extra), splits)
    return _lasting(_run_audit, {"root": root, "extra": extra} | settings, threads)


def _published_view(dataset: str, extra: str, splits: Iterable[str]) -> str:
    """Return the setting ``view`` with which splits were published; empty if they have no view.

    If one of them has a table of paths, no links are to be made for the others.
    """
    described = [*filter(None, (read_description(extra, split) for split in splits))]
    if any(about.table for about in described):
        return NO_VIEW
    return next(filter(None, (view_of(dataset, about) for about in described)), "")


def _lasting(
    run: Callable[[Chain, int], None], settings: dict[str, Any], threads: int | None
) -> Chain:
    """Run stages on a dataset that may change meanwhile, and return its state."""
    given = flatten(settings)
    check_encoding()
    used = Settings(**given)
    check_settings(used)
    level = logger.level
    if "log_level" in given:
        logger.setLevel(used.log_level.upper())
    try:
        chain = Chain(used)
        with locked(chain.extra):
            for said in filter(None, (chain.remark, chain.doubt)):
                logger.warning("%s", said)
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    run(chain, threads or os.cpu_count() or 1)
                    break
                except (DatasetChangedError, DamagedError) as error:
                    if attempt == ATTEMPTS:
                        raise
                    logger.info("%s", error)
                    chain = Chain(used)
    except OSError as error:
        raise refused(error) from error
    except MemoryError:
        raise MetadataError(NO_MEMORY) from None
    finally:
        logger.setLevel(level)
    return chain


BEFORE_AUDIT = ("link_view", "scan_split", "select_images", "number_classes")
"""The rules whose files an audit reads, and those before them."""


def _run(chain: Chain, threads: int) -> None:
    """Run the stages whose files do not exist, and the stages that come after them."""
    if any(now.beside for now in chain.now.values()):
        for split in chain.splits:
            _run_needed(chain, split, ("link_view", "scan_split"), threads)
    if chain.settings.select_audit:  # a split may be compared with later ones
        for split in chain.splits:
            _run_needed(chain, split, BEFORE_AUDIT, threads)
        for split in chain.splits:
            chain.now[split].forget_audit()
            _audit(chain, split, chain.audit, threads)
    for split in chain.splits:
        _run_needed(chain, split, OF_SPLIT, threads)
        if chain.settings.fail_on:
            _audit(chain, split, chain.audit)
    if chain.groups_refused:
        _find_duplicates(chain)
    receipt = path_of(chain.extra, "receipt", receipt=chain.receipt)
    if not os.path.exists(receipt):
        given = STAGES["publish"].given(chain, "")
        run_stage("publish", chain.extra, {"receipt": chain.receipt}, given)
    else:  # a run that was killed right after its publication may have left old links
        from .stages.sweep import sweep  # with numpy, which not every job needs

        sweep(chain.extra, chain.root, chain.dataset, chain.states)


def _run_audit(chain: Chain, threads: int) -> None:
    """Audit each split anew, as pixels can change while their folders do not."""
    check_no_tars(chain.layout)
    now = f"-{time.time_ns():x}"
    for split in chain.splits:
        _run_needed(chain, split, BEFORE_AUDIT, threads)
        _audit(chain, split, f"{chain.audit}{now}", threads)
    if chain.settings.duplicates:
        _find_duplicates(chain, now)


def _run_needed(chain: Chain, split: str, rules: Iterable[str], threads: int) -> None:
    """Run those of some stages whose files do not exist, and those that come after them."""
    state, ran = chain.now[split].state, set[str]()
    for rule in rules:
        stage = stages_of(split)[rule]
        names = [name for name in stage.makes if needs(name, state)]
        files = [path_of(chain.extra, name, **state) for name in names]
        missing = not all(map(os.path.exists, files))
        if files and (missing or not ran.isdisjoint(stage.after)):
            _run_one(chain, split, rule, threads)
            ran.add(rule)


def _run_one(chain: Chain, split: str, rule: str, threads: int) -> None:
    now = chain.now[split]
    stage = stages_of(split)[rule]
    if "{why}" in stage.says:  # the others have nothing to say but that they run
        logger.info("%s", chain.says(rule, split))
    try:
        run_stage(rule, chain.extra, now.state, stage.given(chain, split), threads)
    except MetadataError as error:
        if rule == "verify" and changed_since(now.records, now.contents):  # this explains the error
            raise DatasetChangedError(error.args) from None
        raise


def _audit(chain: Chain, split: str, audit: str, shares: int = 1) -> None:
    """Audit a split, if that is not done yet, in shares that are processes of their own.

    Threads would not do, because Pillow's warnings are those of the whole process.
    """
    state = {**chain.now[split].state, "audit": audit}
    if os.path.exists(path_of(chain.extra, "audited", **state)):
        return
    given = STAGES["audit_images"].given(chain, split)
    each = [state | {"scatteritem": f"{number}-of-{shares}"} for number in range(1, shares + 1)]
    if shares == 1:
        run_stage("audit_images", chain.extra, each[0], given)
    else:
        from concurrent.futures import ProcessPoolExecutor  # jobs of Snakemake do without
        from multiprocessing import get_context

        with ProcessPoolExecutor(
            shares, get_context("fork"), _begin_worker, (os.getpid(),)
        ) as pool:
            jobs = [pool.submit(run_stage, "audit_images", chain.extra, one, given) for one in each]
            for job in jobs:
                job.result()
    given = STAGES["audit_split"].given(chain, split) | {"shares": shares}
    run_stage("audit_split", chain.extra, state, given)


def _begin_worker(parent: int) -> None:
    """Let a process of an audit end without a word when its run does, because it holds the lock."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    progress.without_bars()
    signal.signal(signal.SIGINT, lambda *_: os._exit(1))
    threading.Thread(target=watch, daemon=True).start()


def _find_duplicates(chain: Chain, time_of_audit: str = "") -> None:
    """Look for duplicates, if that is not done yet."""
    state = {"search": f"{chain.search}{time_of_audit}"}
    if not os.path.exists(path_of(chain.extra, "compared", **state)):
        given = STAGES["find_duplicates"].given(chain, "")
        run_stage("find_duplicates", chain.extra, state, given)
