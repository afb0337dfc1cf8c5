"""Labels: read a labels file in each form in which it can be read.

Which form counts is known only when the class folders are, see ``readings``.
"""

import os

from ..artefacts import Labels
from ..errors import MetadataError, count, logger
from ..fingerprint import check_content, digest
from ..look import finds
from ..paths import LABEL_FILES, StrPath
from ..tables import FORMS
from ..texts import TextFile, decode, read_content
from .label_forms import LINES, form_of, is_even, line_refusal, tables_of

MISSING = (
    f" `labels: auto` takes the first of {', '.join(LABEL_FILES)} in root, `labels: <FILE>` any "
    "other, and `labels: folders` the names of the class folders."
)


def load_labels(*, labels: StrPath, source: str, content: str, instead: str = "") -> None:
    """Read a labels file and write its labels to a work file.

    Args:
        labels: Where to write the labels, see ``artefacts.Labels``.
        source, content: ``path`` and ``fingerprint`` of ``read_labels``.
        instead: What to say if the file is missing; empty to say that it is.

    Raises:
        MetadataError: See ``read_labels``.
    """
    if instead and not finds(source):
        raise MetadataError(instead.splitlines())
    read_labels(source, content).save(labels)


def read_labels(path: StrPath, fingerprint: str | None = None) -> Labels:
    """Read a labels file in each form in which it can be read.

    The file is UTF-8 with or without a byte order mark and with any line ends; blank lines are
    skipped. In CSV, ids and names are exactly what the csv module returns, surrounding blanks
    included, because DINOv3 does the same (``ImageNet._load_labels``).

    Args:
        path: The file; empty to use the names of the class folders.
        fingerprint: The fingerprint that the file must still have, see ``fingerprint.of_content``;
            None to accept any.

    Raises:
        MetadataError: The file is missing, is not UTF-8 or has no rows, or cannot be read in any
            form. The message gives the file and the line number.
        DatasetChangedError: The file no longer has this fingerprint.

    Example:
        >>> read_labels("/data/imagenet/labels.txt").of(["n01440764"])
        ['tench']
    """
    if not path:
        logger.info("class names: the names of the class folders")
        return Labels("", "folders", [])
    try:
        return _read_tables(os.fspath(path), fingerprint)
    except MemoryError:
        raise MetadataError(
            f"The labels file {path} is too large: there is not enough memory."
        ) from None


def _read_tables(path: str, fingerprint: str | None) -> Labels:
    text, content = _read(path, fingerprint)
    tables = tables_of(text, path)
    if not tables or not tables[0].rows:
        raise MetadataError(f"The labels file {path} has no rows.", FORMS)
    form = form_of(text) if tables[0].form == "csv" else tables[0].form
    refusal = line_refusal(text, path, form) if form in LINES else []
    logger.info("%s: %s, %s", path, form, count(len(tables[0].rows), "row"))
    if form != "csv" and len(tables) > 1 and not is_even(tables[0]):
        del tables[0]  # it is no CSV; only a message about CSV would show it
    return Labels(path, form, tables, refusal, content)


def _read(path: str, fingerprint: str | None) -> tuple[str, str]:
    file = TextFile(path, "labels", f"The labels file {path}", path, MISSING, FORMS)
    content = read_content(file)
    now = digest(content)
    check_content(path, now, fingerprint)
    return decode(file, content), now
