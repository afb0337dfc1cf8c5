"""labels.txt: which class id has which name."""

import csv
import io
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import MetadataError, count, listing
from .files import reading, write_atomically
from .fingerprint import digest

FORMAT = """\
labels.txt is a CSV file of two columns without a header, one class a line:
  n01440764,tench
  n01443537,"goldfish, Carassius auratus"
For ImageNet-1k it can be made from LOC_synset_mapping.txt, which is part of Kaggle's download \
(imagenet-object-localization-challenge), where an id and a blank stand before the names."""


@dataclass(frozen=True)
class Labels:
    """The names of classes.

    Attributes:
        source: The file they were read from.
        names: Class id -> class name, in the order of the file.
    """

    source: str
    names: dict[str, str]

    def save(self, path: str | os.PathLike) -> None:
        """Write the labels to ``path`` as JSON."""
        with write_atomically(path) as file:
            file.write(json.dumps([vars(self), digest(vars(self))], indent=0).encode())

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Labels":
        """Read what ``save`` wrote.

        Raises:
            MetadataError: The file is not whole; it is removed.
        """
        with reading(path):
            labels, due = json.loads(Path(path).read_bytes())
            if digest(labels) != due:
                raise ValueError("its digest is another")
            return cls(**labels)

    def of(self, class_ids: Sequence[str]) -> list[str]:
        """The name of each class, matched by id; ids without a class folder are passed over.

        Raises:
            MetadataError: Some class folders have no row in the labels file.
        """
        missing = [class_id for class_id in class_ids if class_id not in self.names]
        if missing:
            what = count(len(missing), "class folder has", "class folders have")
            raise MetadataError(
                f"{what} no row in {self.source}:\n{listing(missing, len(missing))}\n"
                "Add a row for each, or move folders that are no classes out of the split."
            )
        return [self.names[class_id] for class_id in class_ids]


def read_labels(path: str | os.PathLike, fingerprint: str | None = None) -> Labels:
    """Read labels.txt.

    UTF-8 with or without a byte order mark, any line ends, blank lines passed over. Ids and names
    stay exactly as the csv module reads them, blanks around them included, because DINOv3 does
    the same (``ImageNet._load_labels``).

    Args:
        path: The labels file.
        fingerprint: What ``fingerprint.of_content`` said of the file, if it must still be that.

    Raises:
        MetadataError: The file is missing or not UTF-8, has no rows, or has a row that is not an id
            and a name, or the same id twice; with file and line number. Or it has changed.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise MetadataError(f"The labels file {path} is not a file.")
    try:
        content = Path(path).read_bytes()
        text = content.decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise MetadataError(
            f"The labels file {path} does not exist.\n{FORMAT}\n"
            "If it lies elsewhere, name it with `labels:` in config.yaml or --config labels=<FILE>."
        ) from None
    except OSError as error:
        raise MetadataError(f"The labels file {path} can not be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise MetadataError(
            f"{path}, line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8. "
            f"Save the file as UTF-8 (for instance `iconv -f LATIN1 -t UTF-8`)."
        ) from None

    if fingerprint not in (None, digest(content)):
        raise MetadataError(f"{path} has changed meanwhile. Run the same command again.")

    names: dict[str, str] = {}
    line_of: dict[str, int] = {}
    # DINOv3 opens the file in text mode, so a line end inside quotes becomes "\n" as well.
    rows = csv.reader(io.StringIO(text, newline=None))
    try:
        start = 1
        for row in rows:
            if "".join(row).strip() or len(row) > 1:
                class_id, class_name = _check_row(row, path, start)
                if class_id in names:
                    raise MetadataError(
                        f"{path}, line {start}: the class id {class_id!r} stands already in line "
                        f"{line_of[class_id]}. Each class has one row: remove one of the two."
                    )
                names[class_id], line_of[class_id] = class_name, start
            start = rows.line_num + 1
    except csv.Error as error:
        raise MetadataError(f"{path}, line {start}: {error}.") from None
    if not names:
        raise MetadataError(f"The labels file {path} has no rows.\n{FORMAT}")
    return Labels(os.fspath(path), names)


def _check_row(row: list[str], path: str | os.PathLike, line: int) -> list[str]:
    where = f"{path}, line {line}"
    if mapping := re.match(r"(n\d{8})[ \t]+(.+)", ",".join(row)):
        name = mapping[2].replace('"', '""')
        raise MetadataError(
            f"{where}: a blank stands between id and name, as in LOC_synset_mapping.txt. "
            "labels.txt has a comma there, and quotes around names with commas:\n"
            f'  {mapping[1]},"{name}"'
        )
    if len(row) > 2:
        quoted = ",".join(row[1:]).replace('"', '""')
        raise MetadataError(
            f"{where}: {len(row)} columns where an id and a name are due. "
            f'A name with a comma needs quotes:\n  {row[0]},"{quoted}"'
        )
    if len(row) < 2:
        raise MetadataError(
            f"{where}: only one column ({row[0][:80]!r}), where an id, a comma and a name are due."
            f"\n{FORMAT}"
        )
    for what, value in zip(("class id", "class name"), row, strict=True):
        if not value:
            raise MetadataError(f"{where}: the {what} is empty. Each class needs an id and a name.")
        if "\0" in value:
            raise MetadataError(f"{where}: the {what} holds a NUL character. Remove it.")
    return row
