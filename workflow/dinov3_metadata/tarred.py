"""Tarred: the current state of a dataset of tars, which has no splits.

This module is imported at every start.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from .addresses import TARS
from .chain import code_of
from .current import Present
from .errors import MetadataError, count, printable
from .fingerprint import changed_folders, digest, read_record, tar_states
from .paths import existing
from .settings import Settings
from .trees import Tree

KNOWN = {"root", "extra", "layout", "empty_classes", "level", "sample", "keep", "log_level"}
"""The settings that a dataset of tars can have."""


def check_tar_settings(settings: Settings) -> None:
    """Refuse settings that a dataset of tars cannot have.

    Raises:
        MetadataError: One is set.
    """
    plain = Settings(settings.root, settings.extra)
    for name in Settings.__dataclass_fields__.keys() - KNOWN:
        if getattr(settings, name) != getattr(plain, name):
            key = Settings.__dataclass_fields__[name].metadata["key"]
            raise MetadataError(
                f"config: {key}: a dataset of tars has no such setting, because DINOv3's "
                "ImageNet22k has neither splits nor labels. Remove it, or unpack the tars into "
                "folders."
            )


def check_no_tars(layout: str) -> None:
    """Refuse what is not there for tars: audits and searches for duplicates.

    Args:
        layout: The layout of the dataset.

    Raises:
        MetadataError: It is that of tars.
    """
    if layout == "tars":
        raise MetadataError(
            "The images in tars cannot be audited in place. Unpack the tars into folders, and "
            "audit those."
        )


class PresentTars(Present):
    """The current state of the tars in a folder."""

    def __init__(self, chain: Any) -> None:
        super().__init__(chain, TARS)

    remark = doubt = ""  # the size and the times of a file are known wherever there are files

    @cached_property
    def scan_settings(self) -> str:
        """The fingerprint of everything that a scan depends on besides the tars."""
        chain = self.chain
        return digest(chain.root, chain.settings.empty_classes, code_of("scan_split", split=TARS))

    @cached_property
    def tree(self) -> Tree:
        """The scan that matches the tars now."""
        states = tar_states(self.source)
        many, outdated = count(len(states) - 1, "tar"), []
        why = f"{many}, none of them read before"
        for path, place in existing(self.chain.extra, "folders", split=TARS):
            record = read_record(path)
            outdated.append((place["tree"], record))
            if record is None or record.settings != self.scan_settings:
                why = f"{many}, read before with other settings or code"
                continue
            changed = changed_folders(states, record.folders)
            if not changed:
                return Tree(place["tree"], "nothing changed", states)
            names = [printable(name) for name in changed if name]
            more = ", ..." if names[3:] else ""
            why = f"{len(names):,} of {many} changed: {', '.join(names[:3])}{more}"
        new = digest(self.scan_settings, sorted(states.items()), outdated, self.tree_published)
        return Tree(f"{len(states) - 1}-folders-{new}", why, states)

    @cached_property
    def state(self) -> dict[str, str]:
        """The values of the wildcards in the paths of the files."""
        used = self.chain.settings
        made = code_of("dump_entries", "dump_class_arrays", split=TARS)
        return {
            "split": TARS,
            "view": "",
            "tree": self.tree.name,
            "selection": "all",
            "sound": "all",
            "labels": f"labels-none-{made}",
            "numbered": "own",
            "checks": f"{used.level}-{used.sample}-{code_of('verify', split=TARS)}",
        }
