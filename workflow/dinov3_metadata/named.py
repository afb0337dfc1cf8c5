"""Named: find the datasets that a command names, for ``launcher``.

DINOv3's form for a dataset is ``ImageNet:split=TRAIN:root=<ROOT>:extra=<EXTRA>``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from .addresses import SPLITS, unescaped
from .disk import read_file
from .paths import absolute

LARGEST = 1 << 20  # most bytes of a config file that is searched; DINOv3's have a few kilobytes

WHOLE = re.compile(
    r"""(?:[^\s:=]*=|\s*(?:-\ )?(?:[^\s:]*:\s+)?)  # KEY= of an argument; "- " or KEY: of YAML
    (["']?)ImageNet((?::(?:split|root|extra)=[^:=]+?)+)\1\s*""",
    re.VERBOSE,
)
INSIDE = re.compile(r"(?<![\w/])ImageNet((?::(?:split|root|extra)=[^\s:=\"',;&|<>()`\]}]+)+)")
"""Match a line that contains nothing but a dataset in DINOv3's form, whose folders may contain
blanks, and a dataset inside another text."""

NEXT = re.compile(r"(?:\s*[,;+|&]\s*|\s+)(\w+)$")
"""Matches what is between two datasets of a list, and the name of the second one."""

COMMENT = re.compile(r"(?:^|(?<=\s))#.*", re.MULTILINE)
SHELL = re.compile(r"-[a-z]*c")
"""Matches the option of a shell before a text with commands."""


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
    words = []
    for before, word in zip(["", *command], command, strict=False):
        words += _shell_words(word) if SHELL.fullmatch(before) else [word]
    splits = [split for word in words for split in named_in(word)]
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
    for line in COMMENT.sub("", text).splitlines():
        whole = WHOLE.fullmatch(line)
        found = [whole[2]] if whole else INSIDE.findall(line)
        for values in (one for tokens in found for one in _datasets(tokens)):
            complete = {"split", "root", "extra"} == values.keys()
            replaced = any("${" in value for value in values.values())
            if complete and not replaced and values["split"] in SPLITS:
                paths = (unescaped(values[name].strip()) for name in ("root", "extra"))
                root, extra = map(absolute, paths)
                yield Split(values["split"], root, extra)


def _datasets(tokens: str) -> Iterator[dict[str, str]]:
    """Yield the values of the datasets with the name ImageNet in a list of datasets.

    Args:
        tokens: ``:KEY=VALUE`` for each value of the first one, and so on. Since a folder may also
            be called "a,ImageNet", the next dataset begins only where a key is repeated.
    """
    name, values, last = "ImageNet", dict[str, str](), ""
    for token in tokens[1:].split(":"):
        key, _, value = token.partition("=")
        begun = NEXT.search(values[last]) if key in values or name != "ImageNet" else None
        if begun:
            values[last] = values[last][: begun.start()]
            if name == "ImageNet":
                yield values
            name, values = begun[1], {}
        values[key], last = value, key
    if name == "ImageNet":
        yield values


def _shell_words(text: str) -> list[str]:
    """Return the words of a text with commands for a shell; if it is damaged, the text itself."""
    words = shlex.shlex(COMMENT.sub("", text), posix=True, punctuation_chars=True)
    words.whitespace_split, words.commenters = True, ""
    try:
        return [*words]
    except ValueError:  # a quote is not closed
        return [text]
