"""Jobs: refuse what would keep the jobs of a run from starting, or their results from arriving.

Snakemake and its plugins would name another reason, none at all, or run something else.
"""

import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from .errors import MetadataError, did_you_mean
from .paths import house, path_of, work_folder

LONGEST_WORD = 130_000  # bytes of an argument, with the path of Python and of the script before it


def check_cluster_paths(paths: Iterable[str]) -> None:
    """Check paths that Snakemake puts into job scripts, between Python's quotes, not a shell's.

    Raises:
        MetadataError: It could not pass on one of them.
    """
    for path in paths:
        if {"'", "\\"} & set(path) or not path.isprintable():
            raise MetadataError(
                f"{path!r} contains a quote, a backslash or an unprintable character, which "
                "Snakemake cannot pass on to the jobs of a cluster. Use a path without these."
            )


def check_seen(extra: str) -> None:
    """Check that the host of a job sees the files of its run.

    Otherwise Snakemake would wait for them (``latency-wait``) and end as if all were well.

    Raises:
        MetadataError: It does not.
    """
    work = work_folder(extra)
    for folder in (os.path.dirname(os.path.abspath(extra)), extra, work):
        with suppress(OSError):  # an NFS client may remember what was there before the run
            os.close(os.open(folder, os.O_RDONLY))
    if not os.path.exists(path_of(extra, "run")):
        raise MetadataError(
            f"Host {os.uname().nodename}, where this job runs, does not see {work}, although its "
            "run is in progress. All hosts must see it at this path."
        )


def check_slurm_extra(extras: Iterable[str], forbidden: Mapping[str, str]) -> None:
    """Check options for sbatch. The Slurm plugin would refuse them in a thread that dies, and the
    run would wait forever.

    Args:
        extras: The values of ``slurm_extra``.
        forbidden: Regular expression of an option -> what the plugin sets by it.

    Raises:
        MetadataError: There is an option that the plugin refuses.
    """
    for extra in extras:
        for option, what in forbidden.items():
            if found := re.search(option, extra):
                raise MetadataError(
                    f"slurm_extra must not contain {found[0]}: the Slurm plugin sets the {what} "
                    "itself. See the top of profiles/slurm/config.yaml."
                )


def check_rules(named: Iterable[str], known: Iterable[str]) -> None:
    """Check the rules for which somebody set something. Snakemake would ignore an unknown one.

    Args:
        named: Their names.
        known: All rules, also those of a workflow around this one.

    Raises:
        MetadataError: There is no such rule, but one that is spelt almost like it.
    """
    for rule in sorted({*named} - {*known}):
        if meant := did_you_mean(rule, known):
            raise MetadataError(
                f"There is no rule {rule!r} for which --set-resources or --set-threads could set "
                f"anything.{meant}"
            )


def check_amount(name: str, value: object, of: str) -> None:
    """Check what somebody set for the jobs of a rule. Snakemake would call it a mistake in ours.

    Args:
        name: ``mem_mb``, ``runtime`` or ``threads``.
        value: The value, or the text that has none.
        of: Whose it is, for the message.

    Raises:
        MetadataError: It is not a number above 0.
    """
    if isinstance(value, int | float) and value > 0:
        return
    examples = {
        "mem_mb": "mem_mb=8000 or mem=8GB",
        "runtime": "runtime=90 (minutes) or runtime=2h",
    }
    raise MetadataError(
        f"{name} of {of} is {str(value)!r}, not a number above 0. Write it on the command line or "
        f"in the profile as in {examples.get(name, '--set-threads scan_split=8')}."
    )


def check_submitting(lacking: Iterable[str]) -> None:
    """Check that each job has the resources that the submit command of a profile contains.

    Args:
        lacking: The resources that some job lacks.

    Raises:
        MetadataError: One is lacking.
    """
    if names := sorted(set(lacking)):
        raise MetadataError(
            f"The profile's submit command needs {', '.join(names)}, which some jobs lack: a "
            "--default-resources on the command line replaces that of the profile. Leave it away, "
            "and use --set-resources scan_split:mem_mb=8000, or change the profile."
        )


def workflow_profile(arguments: Sequence[str]) -> str:
    """Return where the profile is that ``--workflow-profile`` names, if there is one.

    Args:
        arguments: The words of a command line of Snakemake. It looks for a name here, in
            ``profiles`` here, and among ours.

    Raises:
        MetadataError: It is nowhere. Snakemake would run without it.
    """
    moves = any(word.startswith(("--directory", "-d")) for word in arguments)
    for before, word in zip(["", *arguments], arguments, strict=False):
        option, _, name = word.rpartition("=")
        if "--workflow-profile" not in (option, before) or name == "none":
            continue
        ours = house() / "profiles"
        places = [name, f"profiles/{name}", str(ours / name)]
        if found := next(filter(os.path.exists, places), ""):
            return found
        if os.path.isabs(name) or not moves:  # the name was not looked for in another folder
            known = sorted(path.name for path in ours.iterdir())
            raise MetadataError(
                f"There is no profile {name!r}, neither here nor among ours: {', '.join(known)}."
                f"{did_you_mean(os.path.basename(name), known)}"
            )
    return ""


def one_word(call: dict[str, Any]) -> str:
    """Return what a job needs as JSON.

    Raises:
        MetadataError: It is longer than a word of a command may be: see execve(2), MAX_ARG_STRLEN.
    """
    word = json.dumps(call)
    if len(shlex.quote(word)) > LONGEST_WORD:
        raise MetadataError(
            "The paths of root, extra and labels are too long together: a job would need "
            f"{len(word):,} characters to name them, but Linux allows {LONGEST_WORD:,}. Use "
            "shorter paths, for instance by a link."
        )
    return word
