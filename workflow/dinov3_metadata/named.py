"""Named: find the datasets that a command names, for ``launcher``.

DINOv3's form for a dataset is ``ImageNet:split=TRAIN:root=<ROOT>:extra=<EXTRA>``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from .addresses import SPLITS
from .disk import read_file

LARGEST = 1 << 20  # most bytes of a config file that is searched; DINOv3's have a few kilobytes

WHOLE = re.compile(
    r"""(?:[^\s:=]*=|\s*(?:-\ )?(?:[^\s:]*:\s+)?)  # KEY= of an argument; "- " or KEY: of YAML
    (["']?)ImageNet((?::(?:split|root|extra)=[^:=]+?)+)\1\s*""",
    re.VERBOSE,
)
INSIDE = re.compile(r"(?<![\w/])ImageNet((?::(?:split|root|extra)=[^\s:=\"',\]]+)+)")
"""Match a line that contains nothing but a dataset in DINOv3's form, whose folders may contain
blanks, and a dataset inside another text, for instance of ``sh -c``."""


class Split(NamedTuple):
    """A split of a dataset.

    Attributes:
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        root: The folder that DINOv3 takes as root.
        extra: The folder for the metadata.
    """

    split: str
    root: str
    extra: str


def named_by(command: Sequence[str]) -> list[Split]:
    """Return the splits that a command names, or, if it names none, those that its config files do.

    Those that lack root or extra are left out, as are those with a ``${...}`` that the command will
    replace.
    """
    splits = [split for argument in command for split in named_in(argument)]
    if not splits:
        files = [word.partition("=")[2] for word in command if word.startswith("--config-file=")]
        files += [command[i] for i in range(1, len(command)) if command[i - 1] == "--config-file"]
        for file in files:
            with suppress(OSError):  # the command will say what is wrong with it
                text = read_file(file, LARGEST).decode(errors="replace")
                splits += named_in(text)
    return list(dict.fromkeys(splits))


def named_in(text: str) -> Iterator[Split]:
    """Yield the splits that a text names in DINOv3's form, except in comments.

    Source: ``_parse_dataset_str`` in facebookresearch/dinov3, ``dinov3/data/loaders.py``.

    Example:
        >>> next(named_in("train.dataset_path=ImageNet:split=VAL:root=/data:extra=/extra"))
        Split(split='VAL', root='/data', extra='/extra')
    """
    for line in text.splitlines():
        line = line.partition(" #")[0]
        if line.lstrip().startswith("#"):
            continue
        whole = WHOLE.fullmatch(line)
        for tokens in [whole[2]] if whole else INSIDE.findall(line):
            values = dict(token.split("=") for token in tokens[1:].split(":"))
            complete = {"split", "root", "extra"} == values.keys() and "${" not in tokens
            if complete and values["split"] in SPLITS:
                root, extra = (absolute(values[name].strip()) for name in ("root", "extra"))
                yield Split(values["split"], root, extra)


def absolute(path: str) -> str:
    """Return the path that a user means, from the folder in which the command will start."""
    return os.path.abspath(os.path.expanduser(path))
