"""Make, update or check the metadata from the command line, without Snakemake.

Usage: ``python -m dinov3_metadata --root <ROOT> --extra <EXTRA>`` makes it, and
``python -m dinov3_metadata check --root <ROOT> --extra <EXTRA>`` checks it.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from io import TextIOWrapper

from .addresses import SPLITS
from .errors import MetadataError
from .log import INTERRUPTED
from .progress import progress_logger
from .run import dump_extra
from .settings import Settings
from .summary import summarise

Command = Callable[[list[str]], None]
"""A sub-command: takes the rest of the command line."""

RIGHT, WRONG, NOT_CHECKED = 0, 1, 2
"""Exit codes of ``check``."""


def main() -> None:
    """Run the sub-command that the first argument names; without one, make the metadata."""
    arguments = sys.argv[1:]
    command: Command = make
    if arguments and arguments[0] in COMMANDS:
        command = COMMANDS[arguments.pop(0)]
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        command(arguments)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def make(arguments: list[str]) -> None:
    """Run the chain with the given options; print a summary, or exit with one error message."""
    options = vars(_make_parser().parse_args(arguments))
    if "folders" in options:
        options["folders"] = _folders(options["folders"])
    level = options.get("log_level", "info").upper()
    logging.basicConfig(level=level, format="%(levelname)s: %(message)s")
    progress_logger.setLevel("WARNING")  # the terminal shows a bar instead
    try:
        chain = dump_extra(**options)
    except MetadataError as error:
        sys.exit(f"Error: {error}")
    print(summarise(chain))


def _folders(words: list[str]) -> dict[str, list[str]]:
    """Return the setting ``folders`` from words such as ``VAL=valid``."""
    folders: dict[str, list[str]] = {}
    for word in words:
        split, equals, folder = word.partition("=")
        if not equals:
            sys.exit(f"Error: --folders: {word!r} is not a split, an equals sign and a folder.")
        folders.setdefault(split, []).append(folder)
    return folders


def check(arguments: list[str]) -> None:
    """Check metadata files, print what was found out, and exit with one of the codes above."""
    options = _check_parser().parse_args(arguments)
    if options.adopt:  # numpy is imported only here: other commands need it later or not at all
        from .checks.adopt import adopt as how
    else:
        from .checks.check import check as how
    try:
        result = how(options.root, options.extra, options.splits, options.labels)
    except MetadataError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(NOT_CHECKED)
    print(json.dumps(result.document(), indent=1) if options.json else result)
    sys.exit(RIGHT if result.ok else WRONG)


COMMANDS: dict[str, Command] = {"check": check}
"""Name of a sub-command -> its function."""


def _check_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m dinov3_metadata check",
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


def _make_parser() -> argparse.ArgumentParser:
    """Return a parser with one option for each field of ``Settings``.

    The parser has no defaults: if an option is missing, the default of ``Settings`` applies.
    """
    parser = argparse.ArgumentParser(
        "python -m dinov3_metadata",
        description="Make or update the metadata that DINOv3 trains from.",
        epilog=f"Other commands, each with --help: {', '.join(COMMANDS)}.",
        argument_default=argparse.SUPPRESS,
    )
    for setting in fields(Settings):
        schema, text = setting.metadata["schema"], setting.metadata["short"]
        option = "--" + setting.name.replace("_", "-")
        required = setting.default is MISSING
        kind = schema.get("type")
        if kind == "array":
            choices = schema["items"]["enum"]
            parser.add_argument(option, nargs="+", choices=choices, metavar="X", help=text)
        elif kind == "object":
            parser.add_argument(option, nargs="+", metavar="SPLIT=FOLDER", help=text)
        elif kind == "boolean":
            parser.add_argument(option, action=argparse.BooleanOptionalAction, help=text)
        else:
            number = {"integer": int, "number": float}.get(kind, str)
            choices = setting.metadata["choices"]
            parser.add_argument(option, type=number, choices=choices, required=required, help=text)
    return parser


if __name__ == "__main__":
    main()
