"""Extras: say what to install if a feature needs a package that is not there."""

from importlib.util import find_spec

from .errors import MetadataError
from .settings import Settings

PACKAGES = {
    "PIL": "Pillow",
    "yaml": "PyYAML",
    "snakemake_executor_plugin_slurm": "snakemake-executor-plugin-slurm",
    "snakemake_executor_plugin_cluster_generic": "snakemake-executor-plugin-cluster-generic",
}
"""Module -> its package, where the names differ."""


def check_installed(module: str, extra: str, what: str) -> None:
    """Check that a package is installed, without importing it.

    Args:
        module: Its module.
        extra: The extra of this project that installs it, see pyproject.toml; empty if the base
            does.
        what: What needs it, for the message.

    Raises:
        MetadataError: It is not.
    """
    extra = extra and f"[{extra}]"
    if find_spec(module) is None:
        raise MetadataError(
            f"{what} needs {PACKAGES.get(module, module)}, which this Python does not have. "
            f"Install it: pip install 'dinov3-metadata{extra}', or in a checkout: pip install -e "
            f"'.{extra}'"
        )


def check_settings(settings: Settings) -> None:
    """Check that what some settings need is installed, before hours are spent without it.

    Raises:
        MetadataError: See ``check_installed``.
    """
    if settings.engine == "torchvision":
        check_installed("torchvision", "torchvision", "`scan: engine: torchvision`")
    if settings.level == "full":
        check_installed("torchvision", "torchvision", "`verify: level: full`")
    for name, problems in (
        ("audit: fail_on", settings.fail_on),
        ("select: audit", settings.select_audit),
    ):
        if "damaged" in problems:
            check_installed("simplejpeg", "audit", f"`{name}: [damaged]`")
