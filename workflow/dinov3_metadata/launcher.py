"""Launcher: start a command in which DINOv3 and DINOv2 use the metadata, see ``dinov3``.

    python -m dinov3_metadata.dinov3 --check -- torchrun dinov3/train/train.py ...

With ``--check``, it first looks whether the metadata still is that of the dataset, and does not
start the command if not. With ``--make``, it makes or updates the metadata first. The datasets are
those that the command names, in DINOv3's form ``ImageNet:split=TRAIN:root=<ROOT>:extra=<EXTRA>``,
or those of ``--root`` and ``--extra``.

Where each rank starts the launcher, only rank 0 looks. The others start at once, and wait for rank
0 where they connect to each other, before any of them opens the dataset.

It passes the output folder of the training on to the processes that open the datasets, see
``resume``.

Without ``--check`` and ``--make``, this module uses the standard library alone and runs on Python
3.9, as that is the Python of DINOv2's own environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

from . import reads, resume, workers
from .addresses import SPLITS
from .errors import MetadataError, count, did_you_mean
from .paths import absolute
from .ranks import is_first

STARTUP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "startup")
"""A folder with a ``sitecustomize.py``, which Python runs at its start if the folder is in
PYTHONPATH."""

OPTIONS = {"--check": range(1), "--make": range(1), "--root": range(1, 2), "--extra": range(1, 2)}
OPTIONS["--splits"] = range(1, len(SPLITS) + 1)
OPTIONS |= {"--output-dir": range(1, 2), "--changed": range(1, 2), "--bad-images": range(1, 2)}
OPTIONS["--keep-gc-off"] = range(1)
"""Option -> how many values it takes."""

EXAMPLE = "  python -m dinov3_metadata.dinov3 --check -- torchrun dinov3/train/train.py ..."

USAGE = f"""\
usage: python -m dinov3_metadata.dinov3 [OPTIONS] -- COMMAND, for instance
{EXAMPLE}

`dinov3-metadata train` is the same. With no options, the command is started. With

  --check                starts it only if the metadata still is that of the dataset
  --make                 makes or updates the metadata first
  --root R --extra E     names the dataset, if the command does not
  --splits TRAIN VAL     names its splits; by default, those that are published
  --output-dir OUT       names the output folder, if the command has no --output-dir
  --changed accept       goes on although the metadata changed since the training there began
  --bad-images replace   reads another image of the class in place of one that cannot be decoded
  --keep-gc-off          leaves garbage collection off in the workers, if the training turns it off\
"""


def main(arguments: list[str]) -> None:
    """Run the command after ``--`` with ``use_metadata_lengths`` in each Python that it starts."""
    if arguments[:1] in (["--help"], ["-h"]):
        print(USAGE)
        return
    if not arguments:
        sys.exit(USAGE)
    if "--" not in arguments[:-1]:
        _refuse("there is no -- with a command after it")
    at = arguments.index("--")
    options, command = parse_options(arguments[:at]), arguments[at + 1 :]
    if os.pathsep in STARTUP:
        sys.exit(
            f"Error: {STARTUP} contains a {os.pathsep!r}. Move this package to a path without one."
        )
    try:
        if {"--check", "--make"} & options.keys() and is_first(os.environ):
            guard(options, command)
        output = options.get("--output-dir", [resume.output_of(command)])[0]
        if output:
            os.environ[resume.OUTPUT] = absolute(output)
    except (MetadataError, OSError) as error:
        sys.exit(f"Error: {error}")
    for option, variable in (("--changed", resume.CHANGED), ("--bad-images", reads.BAD_IMAGES)):
        if option in options:
            os.environ[variable] = options[option][0]
    if "--keep-gc-off" in options:
        os.environ[workers.KEEP_GC_OFF] = "1"
    paths = [STARTUP, *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    # exec discards buffered output. If flushing fails, the command's own output will fail, too.
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError):
            stream.flush()
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"Error: {command[0]}: {error.strerror}.")


def parse_options(words: Sequence[str]) -> dict[str, list[str]]:
    """Return the options before ``--`` with their values, or exit with a sentence and an example.

    argparse would take a fifth of the time that the look may take.
    """
    options: dict[str, list[str]] = {}
    values: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("--"):
            if name not in OPTIONS:
                _refuse(f"{name!r} is not an option.{did_you_mean(name, OPTIONS, str)}")
            if name in options:
                _refuse(f"{name} is given twice")
            values = options[name] = [value] if equals else []
        elif options:
            values.append(word)
        else:
            _refuse(f"{word!r} is not an option")
    for name, given in options.items():
        if len(given) not in OPTIONS[name]:
            _refuse(f"{name} has {count(len(given), 'value')}")
    unknown = [split for split in options.get("--splits", ()) if split not in SPLITS]
    if unknown:
        _refuse(f"--splits: {unknown[0]!r} is not one of {', '.join(SPLITS)}")
    named = {"--root", "--extra"} & options.keys()
    if len(named) == 1 or ("--splits" in options and not named):
        _refuse("--root and --extra are given together, and --splits only with them")
    for name, other in (("--changed", "accept"), ("--bad-images", "replace")):
        if options.get(name, ["stop"])[0] not in ("stop", other):
            _refuse(f"{name}: {options[name][0]!r} is neither stop nor {other}")
    looks = {"--check", "--make"} & options.keys()
    if len(looks) == 2 or (named and not looks):
        _refuse("the options need either --check or --make")
    return options


def _refuse(what: str) -> NoReturn:
    end = "" if what.endswith("?") else "."
    sys.exit(f"Error: {what}{end} Write the options before a --, for instance\n{EXAMPLE}")


def guard(options: Mapping[str, Sequence[str]], command: Sequence[str]) -> None:
    """Check or make the metadata before a command starts.

    Raises:
        MetadataError: The command must not start.
    """
    if sys.version_info < (3, 10):  # noqa: UP036
        raise MetadataError(
            "--check and --make need Python 3.10 or newer, but this is Python "
            f"{sys.version_info[0]}.{sys.version_info[1]}. Start the launcher with a newer Python; "
            "the command may use another one."
        )
    from . import guarding
    from .named import Split, named_by

    named = [*named_by(command)]
    if "--root" in options:
        root, extra = (absolute(options[name][0]) for name in ("--root", "--extra"))
        chosen = options.get("--splits") or guarding.published_splits(extra) or ("TRAIN", "VAL")
        splits = [Split(split, root, extra) for split in chosen]
    elif named:
        splits = named
    else:
        raise MetadataError(
            "The command names no dataset in the form ImageNet:split=TRAIN:root=<ROOT>:"
            "extra=<EXTRA>, so name it: write --root <ROOT> --extra <EXTRA> before the --."
        )
    if "--make" in options:
        guarding.make(splits)
    else:
        guarding.check(splits)
    guarding.check_roots(named)
