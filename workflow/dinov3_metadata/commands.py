"""Commands: use the workflow's own files from the command line, wherever they are installed."""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from .errors import MetadataError
from .extras import check_installed
from .jobs import workflow_profile
from .options import Parser
from .paths import absolute, house
from .paths import snakefile as path_of_snakefile

MODULE = """\
from dinov3_metadata import snakefile

configfile: "config.yaml"

module meta:
    snakefile: snakefile()
    config: config

use rule * from meta as meta_*
"""
"""A workflow to extend: it uses ours as a module."""


EXECUTORS = {
    "slurm": ("snakemake_executor_plugin_slurm", "slurm"),
    **dict.fromkeys(("pbs", "sge"), ("snakemake_executor_plugin_cluster_generic", "cluster")),
}
"""Profile -> the module that it needs, and the extra that installs it."""


def snakemake(arguments: list[str]) -> NoReturn:
    """Run our Snakefile with Snakemake's own options, in the current folder.

    A ``config.yaml`` there counts, unless the options name another.

    Raises:
        MetadataError: Snakemake or the executor of a profile is not installed, there is no such
            profile, or the config.yaml cannot be read.
    """
    check_installed("snakemake", "workflow", "This command")
    from .config import check_file

    absolute(".")  # where it was deleted, Snakemake ends in a traceback
    profile = Path(workflow_profile(arguments))
    if profile.parent == house() / "profiles" and profile.name in EXECUTORS:
        check_installed(*EXECUTORS[profile.name], f"The profile {profile.name}")
    words = ["--snakefile", path_of_snakefile(), *arguments]
    own = Path("config.yaml")
    named = any(word.split("=")[0] in ("--configfile", "--configfiles") for word in arguments)
    if os.path.lexists(own) and not named:
        check_file(own)
        if not own.samefile(house() / "config.yaml"):
            words.insert(0, f"--configfile={own}")
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError):
            stream.flush()
    os.execv(sys.executable, [sys.executable, "-m", "snakemake", *words])


def report(arguments: list[str]) -> NoReturn:
    """Write the report about the published metadata: one file of HTML.

    Raises:
        MetadataError: Snakemake is not installed, or there can be no such file.
    """
    parser = Parser(
        "dinov3-metadata report", description="Write a report about the published metadata."
    )
    parser.add_argument("file", nargs="?", default="report.html", help="default: report.html")
    for name, text in (("root", "folder with train/, val/, test/"), ("extra", "its metadata")):
        parser.add_argument(f"--{name}", help=f"{text}; default: that of ./config.yaml")
    options = vars(parser.parse(arguments))
    file = options.pop("file")
    folder = os.path.dirname(absolute(file))
    if not file.endswith((".html", ".zip")):
        raise MetadataError(f"{file} is neither an .html nor a .zip file, as a report is.")
    if not os.path.isdir(folder):
        raise MetadataError(f"There is no folder {folder} for the report. Make it first.")
    given = [
        f"{key}={json.dumps(absolute(at), ensure_ascii=False)}" for key, at in options.items() if at
    ]
    snakemake(["--report", file, *(["--config", *given] if given else [])])


def init(arguments: list[str]) -> None:
    """Write a config.yaml with all settings, and with ``--workflow`` a Snakefile that uses ours.

    The Snakefile uses a config.yaml that is there.

    Raises:
        MetadataError: A file exists, or cannot be written.
    """
    parser = Parser(
        "dinov3-metadata init", description="Write a config.yaml with a comment for each setting."
    )
    parser.add_argument("folder", nargs="?", default=".", help="default: the current folder")
    parser.add_argument(
        "--workflow", action="store_true", help="also write a Snakefile that uses ours as a module"
    )
    options = parser.parse(arguments)
    check_installed("yaml", "", "This command")
    from .config import config_yaml

    absolute(options.folder)
    folder = Path(options.folder)
    files = {folder / "config.yaml": config_yaml()}
    if options.workflow:
        files[folder / "Snakefile"] = MODULE
        if os.path.lexists(folder / "config.yaml"):
            files.pop(folder / "config.yaml")
    for path in files:
        if os.path.lexists(path):
            raise MetadataError(f"{path} exists. Remove it first, or choose another folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            path.write_text(text)
            print(f"Written: {path}")
    except OSError as error:
        raise MetadataError(f"{folder} cannot be written: {error.strerror}.") from None


def snakefile(arguments: list[str]) -> None:
    """Print the path of our Snakefile, for other workflows."""
    description = "Print the path of the Snakefile."
    Parser("dinov3-metadata snakefile", description=description).parse(arguments)
    print(path_of_snakefile())
