"""The command ``dinov3-metadata``, which is ``python -m dinov3_metadata``, too.

``make``, ``check``, ``audit`` and ``train`` need no Snakemake. The commands in ``commands`` use the
workflow.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036
    from .launcher import main as launch

    if sys.argv[1:2] != ["train"]:
        sys.exit("Error: dinov3_metadata needs Python 3.10 or newer, but for the command train.")
    launch(sys.argv[2:])

import json
import logging
import os
from collections.abc import Callable
from typing import Any

from . import __version__
from .addresses import SPLITS
from .errors import MetadataError, did_you_mean
from .extras import check_installed
from .log import INTERRUPTED, ending_plainly, escape, now_and_then, open_streams
from .options import NOT_CHECKED, Parser, refuse, settings_parser, split_files, split_folders
from .progress import progress_logger
from .run import audit_extra, dump_extra
from .summary import summarise

Command = Callable[[list[str]], None]
"""A command: takes the rest of the command line."""

RIGHT, WRONG = 0, 1
"""Exit codes of ``check``, besides ``NOT_CHECKED``."""

USAGE = """\
usage: dinov3-metadata COMMAND ..., for instance

  dinov3-metadata make --root /data/imagenet --extra /data/extra   make or update the metadata
  dinov3-metadata check --root /data/imagenet --extra /data/extra  check any metadata files
  dinov3-metadata audit --root /data/imagenet --extra /data/extra  open every image
  dinov3-metadata train --check -- torchrun dinov3/train/train.py  train if the metadata is right
  dinov3-metadata snakemake --cores 4                              run the workflow in this folder
  dinov3-metadata report report.html                               write a report about the metadata
  dinov3-metadata init                                             write a config.yaml to edit
  dinov3-metadata snakefile                                        print where the Snakefile is

Each command explains its options with --help. --version prints the version.\
"""


def main() -> None:
    """Run the command that the first argument names; with options alone, make the metadata."""
    if sys.getfilesystemencoding() != "utf-8":  # class names must be the same on every host
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    open_streams()
    try:
        with ending_plainly():
            _run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        _say("", end="")  # what the command printed itself


def _say(text: object, end: str = "\n") -> None:
    """Print a text; if that fails, say why, and exit as if nothing was found out."""
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python tries it again
        refuse(f"The output cannot be written: {error.strerror}.")


def _run(arguments: list[str]) -> None:
    escape(sys.stdout)
    name = arguments[0] if arguments else ""
    if name in ("--help", "-h", "help"):
        _say(USAGE)
        return
    if name == "--version":
        _say(f"dinov3-metadata {__version__}")
        return
    if name in COMMANDS:
        del arguments[0]
    elif name.startswith("-"):
        name = "make"
    elif name:
        known, guess = ", ".join(COMMANDS), did_you_mean(name, COMMANDS, str)
        refuse(f"there is no command {name!r}.{guess} There is {known}.")
    else:
        refuse(f"no command. There is {', '.join(COMMANDS)}; see dinov3-metadata --help.")
    COMMANDS[name](arguments)


def make(arguments: list[str]) -> None:
    """Run the chain with the given options; print a summary, or exit with one error message."""
    description = "Make or update the metadata that DINOv3 trains from."
    options = _settings(settings_parser("make", description), arguments)
    check_installed("numpy", "", "This command")
    progress_logger.setLevel("WARNING")  # the terminal shows a bar instead
    _say(summarise(dump_extra(**options)))


def audit(arguments: list[str]) -> None:
    """Open every image that is new or changed; print a summary."""
    description = "Open every image as training will, and list those with a problem."
    options = _settings(settings_parser("audit", description), arguments)
    for module in ("numpy", "PIL"):
        check_installed(module, "", "This command")
    sparsely = now_and_then()
    progress_logger.addFilter(sparsely)
    try:
        _say(summarise(audit_extra(**options)))
    finally:
        progress_logger.removeFilter(sparsely)


def train(arguments: list[str]) -> None:
    """Start a training command in which DINOv3 and DINOv2 use the metadata, see ``launcher``."""
    from .launcher import main as launch

    launch(arguments)


def _settings(parser: Parser, arguments: list[str]) -> dict[str, Any]:
    """Return the settings of a command line, and show log messages as they say."""
    options = vars(parser.parse(arguments))
    if "folders" in options:
        options["folders"] = split_folders(options["folders"])
    if len(options.get("select_classes", "")) == 1:
        options["select_classes"] = options["select_classes"][0]
    if "select_images" in options:
        options["select_images"] = split_files(options["select_images"])
    level = options.get("log_level", "info").upper()
    logging.basicConfig(level=level, format="%(levelname)s: %(message)s")
    return options


def check(arguments: list[str]) -> None:
    """Check metadata files, print what was found out, and exit with one of the codes above."""
    options = _check_parser().parse(arguments)
    check_installed("numpy", "", "This command")
    if options.adopt:  # numpy is imported only here: other commands need it later or not at all
        from .checks.adopt import adopt as how
    else:
        from .checks.check import check as how
    try:
        result = how(options.root, options.extra, options.splits, options.labels)
    except MetadataError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(NOT_CHECKED)
    _say(json.dumps(result.document(), indent=1) if options.json else result)
    sys.exit(RIGHT if result.ok else WRONG)


def _check_parser() -> Parser:
    parser = Parser(
        "dinov3-metadata check",
        description="Check whether metadata files, whoever made them, are right for a dataset.",
        epilog="The exit code is 0 if they are right, 1 if they are wrong, and 2 if they could not "
        "be checked.",
    )
    parser.add_argument("--root", required=True, help="folder with train/, val/, test/")
    parser.add_argument("--extra", required=True, help="folder with the metadata files")
    parser.add_argument(
        "--splits", nargs="+", choices=SPLITS, metavar="X", help="which splits; default: all there"
    )
    parser.add_argument(
        "--labels", default="auto", help="class names: auto, a file, or folders; as for making"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument(
        "--adopt", action="store_true", help="if all is right, write metadata-SPLIT.json, too"
    )
    return parser


def _in_workflow(name: str) -> Command:
    """Return a command of ``commands``, which is imported only when it runs."""

    def run(arguments: list[str]) -> None:
        from . import commands

        getattr(commands, name)(arguments)

    return run


COMMANDS: dict[str, Command] = {
    "make": make,
    "check": check,
    "audit": audit,
    "train": train,
    **{name: _in_workflow(name) for name in ("snakemake", "report", "init", "snakefile")},
}
"""Name of a command -> its function."""


if __name__ == "__main__":
    main()
