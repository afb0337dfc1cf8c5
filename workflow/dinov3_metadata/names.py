"""Names: find names that look equal and are not, and say in what they differ.

A class folder and its row in a labels file often differ only in what nobody sees: a blank at the
end, a zero-width character, a Cyrillic letter, or an accent that is one character here and two
there.
"""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from .addresses import MAX_INDEX, image_name
from .coding import guess_codings
from .errors import MetadataError, count, listing

LONGEST = 255  # bytes of a file name
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


def _latin(name: str) -> str:
    """Replace Cyrillic and Greek letters that look exactly like Latin ones."""
    return re.sub(r"[^\W\d_]+", lambda word: _latin_word(word[0]), name)


def _latin_word(word: str) -> str:
    """Replace the letters of one word.

    Capitals whose small letters look different are replaced only beside Latin letters and where no
    others are left, because both forms of a Cyrillic or Greek word must stay the same.
    """
    others = {ord(char) for char in word if not char.isascii()}
    if others <= TWINS.keys() | CAPITAL_TWINS.keys() and len(others) < len({*word}):
        word = word.translate(CAPITAL_TWINS)
    return word.translate(TWINS)


TWINS = str.maketrans("аеорсухіјѕАЕОРСУХІЈЅοΟ", "aeopcyxijsAEOPCYXIJSoO")
CAPITAL_TWINS = str.maketrans("ВКМНТΑΒΕΖΗΙΚΜΝΡΤΥΧ", "BKMHTABEZHIKMNPTYX")
"""Cyrillic and Greek letters -> Latin ones, from confusables.txt of Unicode Technical Standard 39.

``TWINS`` look the same as capitals and as small letters, ``CAPITAL_TWINS`` only as capitals.
"""

DASHES = dict.fromkeys([*range(0x2010, 0x2016), 0x2212], "-")
QUOTES = dict.fromkeys(map(ord, "‘’‚‛′"), "'") | dict.fromkeys(map(ord, "“”„‟″"), '"')

STEPS: dict[str, Callable[[str], str]] = {
    "invisible characters": _visible,
    "full-width characters": _narrow,
    "Unicode form": lambda name: unicodedata.normalize("NFC", name),
    "dashes": lambda name: name.translate(DASHES),
    "quotes": lambda name: name.translate(QUOTES),
    "blanks": lambda name: " ".join(name.split()),
    "compatibility characters": lambda name: unicodedata.normalize("NFKC", name),
    "letters of other scripts": _latin,
    "capitals": str.casefold,
    "leading zeros": lambda name: re.sub(r"^0+(?=\d)", "", name),
    "decimals": lambda name: re.sub(r"^(\d+)\.0+$", r"\1", name),  # of a spreadsheet
}
"""What names may differ in and still look equal -> how to remove it. The order matters."""


ASCII_STEPS = ("blanks", "capitals", "leading zeros", "decimals")


def _steps(*names: str) -> list[str]:
    """Return the steps that may change one of some names."""
    return [*ASCII_STEPS] if all(name.isascii() for name in names) else [*STEPS]


def fold(name: str) -> str:
    """Return what is left of a name once everything in ``STEPS`` is removed."""
    for what in _steps(name):
        name = STEPS[what](name)
    return name


def difference(name: str, other: str) -> str:
    """Say in what two names that look equal differ.

    Example:
        >>> difference("cat", "Cat"), difference("cat", "cat\\xa0")
        ('capitals', 'blanks (U+00A0)')
    """
    what, odd = [], _odd(name, other)
    codes = [f"U+{ord(char):04X}" for char in sorted(odd) if char <= " " or not char.isascii()]
    for step in _steps(name, other):
        name, other = STEPS[step](name), STEPS[step](other)
        if len(_odd(name, other)) < len(odd):
            what.append(step)
        odd = _odd(name, other)
    shown = ", ".join(codes[:CODES]) + (", ..." if codes[CODES:] else "")
    said = " and ".join(what) or "characters that look alike"
    return f"{said} ({shown})" if codes else said


def _odd(name: str, other: str) -> set[str]:
    """Return the characters that one of two names has more often."""
    counts = Counter(name), Counter(other)
    return {*(counts[0] - counts[1]), *(counts[1] - counts[0])}


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


def check_length(split: str, class_id: str) -> None:
    """Refuse a class whose name is too long for DINOv3's file names."""
    length = len(image_name(split, class_id, MAX_INDEX).encode())
    if length > LONGEST:
        raise MetadataError(
            f"The class name {class_id[:40]}... is too long: the names of its images would "
            f"have {length} bytes, but file systems allow at most {LONGEST}. Shorten it."
        )
