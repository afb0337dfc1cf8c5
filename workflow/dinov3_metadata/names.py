"""Names: find names that look equal and are not, and say in what they differ.

A class folder and its row in a labels file often differ only in what nobody sees: a blank at the
end, a zero-width character, or an accent that is one character here and two there.
"""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from .coding import guess_codings
from .errors import MetadataError, count, listing

CODES = 4  # most characters that a difference spells out


def _visible(name: str) -> str:
    """Remove the characters that have no width, such as U+200B."""
    return "".join(char for char in name if unicodedata.category(char) != "Cf")


def _narrow(name: str) -> str:
    """Replace full-width and half-width characters by the usual ones."""
    return "".join(
        unicodedata.normalize("NFKC", char) if unicodedata.east_asian_width(char) in "FH" else char
        for char in name
    )


STEPS: dict[str, Callable[[str], str]] = {
    "invisible characters": _visible,
    "full-width characters": _narrow,
    "blanks": lambda name: " ".join(name.split()),
    "capitals": str.casefold,
    "Unicode form": lambda name: unicodedata.normalize("NFC", name),
    "leading zeros": lambda name: re.sub(r"^0+(?=\d)", "", name),
}
"""What names may differ in and still look equal -> how to remove it. The order matters."""


NOT_ASCII = ("invisible characters", "full-width characters", "Unicode form")


def fold(name: str, without: str = "") -> str:
    """Return what is left of a name once everything in ``STEPS`` is removed.

    Args:
        name: The name.
        without: One of ``STEPS`` to leave as it is.
    """
    for what, step in STEPS.items():
        if what != without and not (name.isascii() and what in NOT_ASCII):
            name = step(name)
    return name


def difference(name: str, other: str) -> str:
    """Say in what two names that look equal differ.

    Example:
        >>> difference("cat", "Cat"), difference("cat", "cat\\xa0")
        ('capitals', 'blanks (U+00A0)')
    """
    what = [step for step in STEPS if fold(name, step) != fold(other, step)]
    counts = Counter(name), Counter(other)
    odd = {*(counts[0] - counts[1]), *(counts[1] - counts[0])}
    codes = [f"U+{ord(char):04X}" for char in sorted(odd) if char == " " or not char.isascii()]
    shown = ", ".join(codes[:CODES]) + (", ..." if codes[CODES:] else "")
    said = " and ".join(what) or "characters that look alike"
    return f"{said} ({shown})" if codes else said


def match_alike(missing: Iterable[str], ids: Sequence[str], there: Iterable[str]) -> dict[str, str]:
    """Match names to others that look equal, where only one can be meant.

    Args:
        missing: The names to match.
        ids: All names that may lay claim to one of the others, those in ``missing`` included.
        there: The other names.

    Returns:
        Name -> other name, without those that have no match or several.
    """
    claims = Counter(map(fold, ids))
    found: dict[str, set[str]] = {}
    for other in there:
        found.setdefault(fold(other), set()).add(other)
    folded = {name: fold(name) for name in missing}
    return {
        name: next(iter(found[form]))
        for name, form in folded.items()
        if claims[form] == 1 and len(found.get(form, ())) == 1
    }


def alike(name: str, there: Iterable[str]) -> list[str]:
    """Return the names that look equal to a name, but are not, each with its difference.

    Example:
        >>> alike("Cat", ["cat", "dog"])
        ['cat, which differs in capitals']
    """
    form = fold(name)
    return [
        f"{other}, which differs in {difference(name, other)}"
        for other in there
        if other != name and fold(other) == form
    ]


def check_utf8(names: Iterable[str], folder: str | os.PathLike[str]) -> None:
    """Check that the names of class folders are UTF-8, because DINOv3's arrays store them as text.

    Args:
        names: The names.
        folder: The folder that contains the class folders.

    Raises:
        MetadataError: Some are not. The message has the command that renames them, if there is one
            encoding for all of them.
    """
    wrong = {name: os.fsencode(name) for name in names if not _is_utf8(name)}
    if not wrong:
        return
    codings = [one for one in guess_codings(b"\n".join(wrong.values())) if one not in NO_CONVMV]
    commands = [
        f"  convmv -f {coding} -t UTF-8 -r --notest {shlex.quote(os.fspath(folder))}"
        for coding in codings
    ]
    if len(codings) > 1:
        cure = (
            "In several encodings, the names read as in parentheses. Rename the folders with the "
            "command for the one that is right:"
        )
    elif codings:
        cure = (
            f"Read as {codings[0]}, the names are those in parentheses. This command renames the "
            "folders:"
        )
    else:
        cure = "Rename them. They are not text in any one encoding that was tried."
    raise MetadataError(
        f"{count(len(wrong), 'class folder has a name', 'class folders have names')} in {folder} "
        "that DINOv3 cannot store, because not all of it is UTF-8:",
        listing((f"{one}{_as_read(raw, codings)}" for one, raw in wrong.items()), len(wrong)),
        cure,
        commands,
    )


NO_CONVMV = ("GB18030", "UTF-16", "UTF-16LE", "UTF-16BE")
"""Encodings that convmv does not know, or that no file name can have."""


def _as_read(raw: bytes, codings: Sequence[str]) -> str:
    """Return, in parentheses, how a name reads in each of some encodings."""
    if not codings:
        return ""
    if len(codings) == 1:
        return f" ({raw.decode(codings[0])})"
    return f" ({', '.join(f'{coding}: {raw.decode(coding)}' for coding in codings)})"


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
