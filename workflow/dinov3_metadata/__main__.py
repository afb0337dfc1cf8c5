"""``python -m dinov3_metadata --root <ROOT> --extra <EXTRA>``: the metadata without Snakemake."""

import argparse
import logging
import sys
from io import TextIOWrapper

from .dump import dump_extra
from .errors import MetadataError
from .labels import SOURCES
from .layout import SPLITS
from .layouts import names
from .log import INTERRUPTED, progress_logger
from .summary import summarise


def main() -> None:
    """Read the command line, run the chain, and end with a summary or one plain error."""
    parser = argparse.ArgumentParser(
        "python -m dinov3_metadata",
        description="Make or renew the metadata that DINOv3 trains from.",
    )
    add = parser.add_argument
    add("--root", required=True, help="folder of the dataset")
    add("--extra", required=True, help="folder for the metadata files, may be the same")
    add("--splits", nargs="+", default=["TRAIN", "VAL"], choices=SPLITS)
    add("--labels", default="auto", help=f"auto ({', '.join(SOURCES)}), a file, or folders")
    add("--layout", default="auto", choices=["auto", *names()])
    add(
        "--view",
        default="",
        help="folder for links, if root lies otherwise; EXTRA/view if not given",
    )
    options = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(levelname)s: %(message)s")
    progress_logger.setLevel("WARNING")  # a terminal has a bar
    try:
        chain = dump_extra(**vars(options))
    except MetadataError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    print(summarise(chain.settings.extra, chain.splits, chain.layout, chain.base))


if __name__ == "__main__":
    main()
