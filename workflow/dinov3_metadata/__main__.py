"""Make or update the metadata from the command line, without Snakemake.

Usage: ``python -m dinov3_metadata --root <ROOT> --extra <EXTRA>``
"""

import argparse
import logging
import sys
from dataclasses import MISSING, fields
from io import TextIOWrapper

from .errors import MetadataError
from .log import INTERRUPTED
from .progress import progress_logger
from .run import dump_extra
from .settings import Settings
from .summary import summarise


def main() -> None:
    """Run the chain with the given options; print a summary, or exit with one error message."""
    options = vars(_parser().parse_args())
    level = options.get("log_level", "info").upper()
    logging.basicConfig(level=level, format="%(levelname)s: %(message)s")
    progress_logger.setLevel("WARNING")  # the terminal shows a bar instead
    try:
        chain = dump_extra(**options)
    except MetadataError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    print(summarise(chain))


def _parser() -> argparse.ArgumentParser:
    """Return a parser with one option for each field of ``Settings``.

    The parser has no defaults: if an option is missing, the default of ``Settings`` applies.
    """
    parser = argparse.ArgumentParser(
        "python -m dinov3_metadata",
        description="Make or update the metadata that DINOv3 trains from.",
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
        elif kind == "boolean":
            parser.add_argument(option, action=argparse.BooleanOptionalAction, help=text)
        else:
            number = {"integer": int, "number": float}.get(kind, str)
            choices = setting.metadata["choices"]
            parser.add_argument(option, type=number, choices=choices, required=required, help=text)
    return parser


if __name__ == "__main__":
    main()
