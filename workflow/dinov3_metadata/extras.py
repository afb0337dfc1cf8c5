"""Extras: say what to install if a feature needs a package that is not there."""

from importlib.util import find_spec

from .errors import MetadataError
from .settings import Settings


def check_installed(module: str, extra: str, what: str) -> None:
    """Check that a package is installed, without importing it.

    Args:
        module: Its module.
        extra: The extra of this project that installs it, see pyproject.toml.
        what: What needs it, for the message.

    Raises:
        MetadataError: It is not.
    """
    if find_spec(module) is None:
        raise MetadataError(
            f"{what} needs {module}, which this Python does not have. Install it: "
            f"pip install 'dinov3-metadata[{extra}]'"
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
