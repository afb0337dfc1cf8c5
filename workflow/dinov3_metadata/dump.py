"""Dump: the whole chain in one process, for those who do without Snakemake."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .chain import AFTER, Chain
from .classes import dump_class_arrays
from .disk import make_folder, remove_folders
from .entries import dump_entries
from .errors import DamagedError, DatasetChangedError, MetadataError, logger
from .fingerprint import changed_since, read_retired
from .labels import Labels, load_labels
from .layout import StrPath
from .lock import locked
from .log import NO_MEMORY, refused
from .publish import publish
from .scan import Scan, update_scan
from .settings import Settings
from .sweep import sweep
from .verify import verify, write_report
from .view import update_view

ATTEMPTS = 3  # at finding the dataset at rest, and the work folder whole


def dump_extra(
    root: StrPath,
    extra: StrPath,
    splits: Sequence[str] = ("TRAIN", "VAL"),
    labels: StrPath = "auto",
    threads: int | None = None,
    **settings: Any,
) -> Chain:
    """Make or renew the metadata of a dataset, as ``snakemake`` does: the same files, checks and
    messages, and the same work folder, so that either goes on where the other stopped.

    Args:
        root: The dataset's folder.
        extra: The folder for the metadata files; may be the same as root.
        splits: Which of ``TRAIN``, ``VAL``, ``TEST``.
        labels: A file with the class names, by its path or the one below root; ``auto`` or
            ``folders``; see ``labels.find_labels``.
        threads: How many folders may be listed at once; one a core by default.
        settings: More of ``settings.Settings``, for instance ``layout="folder"``.

    Returns:
        What was found out of the dataset: ``base`` is the root to give to DINOv3.

    Raises:
        MetadataError: For everything that the user can mend; the message says how. The published
            files are those of the last run that went through.
    """
    known: dict[str, Any] = {"root": root, "extra": extra, "splits": splits, "labels": labels}
    one = Settings(**known, **settings)
    chain = Chain(one)
    try:
        with locked(chain.work):
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    _run(chain, threads or os.cpu_count() or 1)
                    break
                except (DatasetChangedError, DamagedError) as error:
                    if attempt == ATTEMPTS:
                        raise
                    logger.info("%s", error)
                    chain = Chain(one)
    except OSError as error:
        raise refused(error) from error
    except MemoryError:
        raise MetadataError(NO_MEMORY) from None
    return chain


def _run(chain: Chain, threads: int) -> None:
    for split in chain.splits:
        _Split(chain, split, threads).run()
    receipt = chain.receipt()
    if not os.path.exists(receipt):
        splits = {split: chain.verified(split) for split in chain.splits}
        publish(splits, chain.origin(), chain.settings.extra, receipt, chain.settings.keep)
    else:  # a run that was killed right after its publication may have left them
        states = {split: chain.state(split) for split in chain.splits}
        sweep(chain.settings.extra, chain.origin(), states)


class _Split:
    """The stages of a split, each as the script of its rule runs it."""

    def __init__(self, chain: Chain, split: str, threads: int) -> None:
        self.chain, self.split, self.threads = chain, split, threads
        self.settings, self.files = chain.settings, chain.files(split)
        arrays = self.files["entries"] + self.files["classes"]
        self.arrays = {Path(path).name: path for path in arrays}

    def run(self) -> None:
        """Run the stages whose files are not there, and those that come after them."""
        done: set[str] = set()
        for stage, before in AFTER.items():
            if done.isdisjoint(before) and all(map(os.path.exists, self.files[stage])):
                continue
            for file in self.files[stage]:
                make_folder(os.path.dirname(file))
            getattr(self, stage)(*self.files[stage])
            done.add(stage)

    def labels(self, labels: str) -> None:
        load_labels(self.chain.labels, self.chain.labels_content(), labels)

    def view(self, record: str) -> None:
        logger.info("Link %s as DINOv3 reads it: %s", self.split, self.chain.view(self.split).why)
        update_view(
            self.settings.root,
            self.chain.base,
            self.settings.extra,
            self.split,
            self.chain.layout,
            self.chain.annotations(self.split),
            record,
            self.chain.view_settings(self.split),
            self.chain.published(self.split)["view"],
            self.settings.trust_timestamps,
            self.threads,
        )

    def scan(self, scan: str, record: str) -> None:
        logger.info("Scan %s: %s", self.split, self.chain.tree(self.split).why)
        update_scan(
            self.chain.base,
            self.split,
            scan,
            record,
            self.chain.scan_settings(),
            self.chain.view(self.split).name,
            self.chain.published(self.split)["tree"],
            view="".join(self.files["view"]),
            engine=self.settings.engine,
            unaddressable=self.settings.unaddressable,
            trust_timestamps=self.settings.trust_timestamps,
            threads=self.threads,
            watch_links=self.chain.watch_links(self.split),
        )

    def entries(self, entries: str) -> None:
        rows = Path(entries).parent
        remove_folders(rows.parent, {rows.name})
        dump_entries(*self._known(), entries)

    def classes(self, class_ids: str = "", class_names: str = "") -> None:
        if class_ids:
            dump_class_arrays(self.files["entries"][0], self._known()[0], class_ids, class_names)

    def verify(self, report: str) -> None:
        try:
            found = verify(
                self.chain.base,
                self.split,
                *self._known(),
                self.arrays,
                level=self.settings.level,
                sample=self.settings.sample,
                retired=read_retired(self.files["scan"][1]),
            )
        except MetadataError as error:
            made_from = self.chain.verified(self.split)
            if changed_since(made_from.records, made_from.contents):  # which explains it
                raise DatasetChangedError(error.args) from None
            raise
        write_report(found, report)

    def _known(self) -> tuple[Scan, Labels | None]:
        scan, labels = self.files["scan"][0], self.files["labels"]
        return Scan.load(scan), Labels.load(labels[0]) if labels else None
