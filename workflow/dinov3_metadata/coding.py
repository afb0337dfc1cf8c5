"""Coding: find the encodings in which bytes that are not UTF-8 read as text.

Lists of class names are short, and most of their bytes are ASCII. Libraries that guess encodings
need more: they name a wrong one, where it is better to name two and show how each reads, or none.
"""

from __future__ import annotations

import math
import re
import unicodedata
from codecs import BOM_UTF8, BOM_UTF32_BE, BOM_UTF32_LE
from collections.abc import Callable, Iterable
from functools import cache, partial
from itertools import islice

BINARY = {
    b"PK\x03\x04": "a zip file (.xlsx and .npz are zip files, too)",
    b"\x1f\x8b": "a gzip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"MATLAB": "a MATLAB file",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy file",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file",
    b"PAR1": "a Parquet file",
    b"SQLite": "an SQLite database",
    b"%PDF": "a PDF file",
    b"{\\rtf": "an RTF document",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
}
"""How files that are not text start -> what they are."""

TYPOGRAPHY = re.compile(
    rb"[\x91\x93][ -~]{1,60}[\x92\x94](?![@-~\x80-\xff])"  # quotes
    rb"|(?<=[A-Za-z])\x92(?=[a-z]{1,2}\b)| [\x96\x97] |(?<=\w)\x85(?=\s|$)"
)
"""The quotes, apostrophes, dashes and ellipses that Windows adds to Latin-1, where they belong."""

PICKLE = rb"\x80[\x02-\x05][\x00-\x7f\x80-\x8c\x94\x95]"

CODINGS = {
    ("LATIN1", "WINDOWS-1252"): "western",
    ("CP850",): "western",
    ("WINDOWS-1250",): "central",
    ("ISO-8859-2",): "central",
    ("WINDOWS-1254",): "turkish",
    ("WINDOWS-1257",): "baltic",
    ("WINDOWS-1258",): "vietnamese",
    ("WINDOWS-1251",): "cyrillic",
    ("KOI8-R",): "cyrillic",
    ("KOI8-U",): "cyrillic",
    ("CP866",): "cyrillic",
    ("ISO-8859-5",): "cyrillic",
    ("WINDOWS-1253",): "greek",
    ("ISO-8859-7",): "greek",
    ("WINDOWS-1255",): "hebrew",
    ("WINDOWS-1256",): "arabic",
    ("CP874",): "thai",
    ("GBK", "GB18030"): "chinese",
    ("BIG5",): "taiwanese",
    ("SHIFT_JIS", "CP932"): "japanese",
    ("EUC-JP",): "unix japanese",
    ("EUC-KR", "CP949"): "korean",
}
"""Encodings, as iconv and Python call them -> what is written in them.

Of several for the same, each contains those before it. The first that can be decoded is taken.
"""

KINDS = {coding: kind for codings, kind in CODINGS.items() for coding in codings}

LETTERS = {
    "western": (
        "éèàêçùîôûâïëœüÿæ",
        "äöüß",
        "óáéíñúü",
        "ãçáéíóêâàôõú",
        "èàòìùéíî",
        "àèéóòçíïúü",
        "ëéèïöóêäüá",
        "äåöé",
        "øåæéäöòóêô",
        "ðíáþóéæöúý",
        "éíóáäöüñçèàêâôãõåøæëïîìòùûßúýœšžÿð",
    ),
    "central": (
        "łóąęśżćńź",
        "íáéěřčýžšůúťďňó",
        "áíéčýšžúľťňôďäĺŕó",
        "áéőöíóüúű",
        "ăşîţâ",
        "čšžćđ",
        "áéíóčšžřěýůúłąęśżćńźőűöüäťďňľôăşţîâđŕĺß",
    ),
    "turkish": ("ıüşöçğIİâîû",),
    "baltic": ("šžėųąįčūęö", "āīšēņūļķģčžō", "õäüöšž"),
    "vietnamese": ("\u0301àđư\u0323ôơáêâ\u0300\u0309ă\u0303óãíòéúèýìùõĩũ",),
    "cyrillic": (
        "оаеинртсклвпмудьбзяыгчйхшжцюфщэъё",
        "оаинервтсклпумдяьізбгйхцчшїєюфщжґ",
        "аоеинтрслкпвмдуябзгхцчйжшъющф",
        "аоиернтјсвлкупмдзбгчшхцжћњљђф\u045f",
    ),
    "greek": ("αοιτεσρνκςάλμπίόυέηγδήύθφωβχζώξψϊΐϋ",),
    "hebrew": ("ויהלארתבםמנשדקפחטעגכצסןזךףץ׳״־",),
    "arabic": ("اةلريمونبدتسكحقأفطعشجزهخصغثئضىذإؤظآءپچگژ،\u064b\u0651ـ",),
    "thai": ("ากรงนอมเ่ล้ัสดีวตบปิยหทขแู็ุใคไพ์ชืโจถผฟะึซำศษภณญฐธฉฝฎฏฆฒฑฌฮๆํฤฬฯ",),
}
"""What is written -> the letters of its languages that are not ASCII, the frequent ones first."""

LATIN = ("western", "central", "turkish", "baltic", "vietnamese")

BLOCKS = {
    "chinese": ((0xB0A1, 0xD7F9, 4000), (0xD8A1, 0xF7FE, 60_000)),
    "taiwanese": ((0xA440, 0xC67E, 5500), (0xC940, 0xF9FE, 400_000)),
    "japanese": (
        (0x815B, 0x815B, 50),
        (0x829F, 0x8396, 340),
        (0x889F, 0x9872, 6300),
        (0x989F, 0xEAA4, 340_000),
    ),
    "unix japanese": (
        (0xA1BC, 0xA1BC, 50),
        (0xA4A1, 0xA5F6, 340),
        (0xB0A1, 0xCFD3, 6300),
        (0xD0A1, 0xF4A6, 340_000),
    ),
    "korean": ((0xB0A1, 0xC8FE, 2400),),
}
"""What is written -> blocks of its encoding: first and last code, one in how many characters each.

The standards put kana or the few thousand most frequent characters into blocks of their own.
"""

SIGNS = "\u200e\u200f’‘“”„–—…«»·°№´ª\xad\xa0©®™½¼¾±²³"
EAST_ASIAN_SIGNS = "・　、。，：；（）「」『』《》“”’…—～〜々〇"
PLAIN = -3.0  # the logarithm of the chance of an ASCII letter
SECOND = -6.0  # of another ASCII character that may be the second byte of a character
UNLISTED = -10.0  # the logarithm of the chance of a character whose UTF-8 has three bytes
ODD = -14.0  # the logarithm of the chance of a character outside of the blocks
MARGIN = 4.0  # so much less likely, as a logarithm, is still about as likely
CONTRARY = 8.0  # so much likelier, as a logarithm, is another encoding
WORDS = 1000  # how many are enough to judge

NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd\ue000-\uf8ff]")


def binary_kind(content: bytes) -> str:
    """Return what a file is that is not text; empty if it may be text."""
    for start, kind in BINARY.items():
        if content.startswith(start):
            return kind
    return "a Python pickle" if re.match(PICKLE, content) or _is_old_pickle(content) else ""


def _is_old_pickle(content: bytes) -> bool:
    """Return whether this is a pickle of protocol 0 or 1, which may be ASCII."""
    return bool(re.match(rb"\(?[dl]p0\n|[\]}]q\x00", content)) and content.endswith(b".")


def guess_codings(content: bytes) -> list[str]:
    """Return the encodings in which bytes that are not UTF-8 read as text, as iconv calls them.

    The likeliest is first; the others, two at most, are about as likely. Empty if the bytes read as
    text in none of ``CODINGS`` and UTF-16, or if different lines need different ones.

    Each reading is judged by how likely such a text is: by the frequency of its letters, and by
    the letters and capitals side by side in a word.
    """
    if content.startswith(BOM_UTF8):
        return []
    if found := _utf16(content):
        return [found]
    if not content.isascii() and TYPOGRAPHY.sub(b"", content).isascii():
        # In CP850, for one, these bytes are letters.
        return ["WINDOWS-1252"]
    readings: dict[str, tuple[float, str]] = {}  # text -> how likely it is, its encoding
    for codings, kind in CODINGS.items():
        coding, text = _decode(content, codings)
        if coding and (kind in BLOCKS or any(len(word) > 1 for word in _words(text))):
            score = _score(text, kind, coding)  # any byte alone is a letter in some encoding
            if text not in readings or score > readings[text][0]:
                readings[text] = score, coding
    scores = {coding: score for score, coding in readings.values()}
    likely = sorted(scores, key=lambda coding: -scores[coding])
    if not likely or scores[likely[0]] == -math.inf or _is_contrary(content, likely[0]):
        return []
    return [one for one in likely if scores[one] > scores[likely[0]] - MARGIN][:3]


def find_utf8_line(content: bytes) -> tuple[int, list[str]]:
    """Find the first line that is UTF-8 though others are not.

    A line may be UTF-8 by accident. It counts if it reads better so than as the others do.

    Returns:
        The number of the line, 0 if there is none, and the encodings in which the others read.
    """
    lines = content.removeprefix(BOM_UTF8).split(b"\n")
    codings = guess_codings(b"\n".join(line for line in lines if not _is_utf8(line)))
    pairs = any(KINDS.get(coding) in BLOCKS for coding in codings)
    inside = [line for line in lines if _is_utf8(line) and _tells(line.decode(), pairs)]
    if not inside:
        return 0, codings
    text = b"\n".join(inside).decode()
    rare = -math.inf if re.search(r"[\x80-\u07ff]", text) else sum(map(_unlisted, text))
    as_utf8 = max(rare, *(_score(text, kind, coding) for coding, kind in KINDS.items()))
    as_others = [
        _score(b"\n".join(inside).decode(coding, "replace"), KINDS[coding], coding)
        for coding in codings
        if coding in KINDS
    ]
    found = as_utf8 > max(as_others, default=-math.inf) + MARGIN
    return (lines.index(inside[0]) + 1 if found else 0), codings


def _tells(text: str, pairs: bool) -> bool:
    """Return whether a line that is UTF-8 is probably not so by accident.

    Args:
        text: The line.
        pairs: Whether the other lines are in an encoding of two bytes per character. Such a
            character often is a letter in UTF-8, too.
    """
    sure = re.compile(r"[A-Za-z\u0800-\U0010ffff]" if pairs else ".{2}|[\u0800-\U0010ffff]")
    return any(map(sure.search, _words(text)))


def _unlisted(char: str) -> float:
    """Return the logarithm of the chance of a character of any script."""
    return 0.0 if char.isascii() else UNLISTED


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decode(content: bytes, codings: Iterable[str]) -> tuple[str, str]:
    """Return the first encoding in which bytes are text, and the text; two empty ones if none."""
    for coding in codings:
        try:
            text = content.decode(coding)
        except UnicodeDecodeError:
            continue
        if not NO_TEXT.search(text):
            return coding, text
    return "", ""


def _is_contrary(content: bytes, coding: str) -> bool:
    """Return whether a line is not in the encoding that is likeliest for all.

    What two similar encodings make of a line may differ by chance. So Latin-1 is compared with all
    that is not for Latin letters, and nothing else is compared.
    """
    latin = KINDS[coding] in LATIN
    others = {
        codings: kind
        for codings, kind in CODINGS.items()
        if (kind not in LATIN if latin else codings[0] == "LATIN1")
    }
    some = islice((line for line in content.splitlines() if not line.isascii()), WORDS)
    for line in some:
        least = _score(line.decode(coding), KINDS[coding], coding) + CONTRARY
        for codings, kind in others.items():
            other, text = _decode(line, codings)
            if other and _score(text, kind, other) > least:
                return True
    return False


def _score(text: str, kind: str, coding: str) -> float:
    """Return the logarithm of how likely a text is, apart from what is ASCII in it.

    Args:
        text: The text.
        kind: What may be written in it, of ``CODINGS``.
        coding: Its encoding.

    Returns:
        Minus infinity if the text contains something else.
    """
    words = _words(text)
    if kind in BLOCKS:
        return _sum(words, partial(_of_block, kind=kind, coding=coding), kind)
    return max(_sum(words, partial(_of_table, table=one, kind=kind), kind) for one in _tables(kind))


def _words(text: str) -> list[str]:
    """Return the first words of a text that are not ASCII, each once."""
    found = re.findall(r"[@-~\x80-\U0010ffff]+", text)
    return list(islice(dict.fromkeys(word for word in found if not word.isascii()), WORDS))


@cache
def _tables(kind: str) -> list[dict[str, float]]:
    """Return the logarithms of the chances of letters, one table per language."""
    tables = []
    for letters in LETTERS[kind]:
        total = len(letters) * (len(letters) + 3) / 2
        chances = dict.fromkeys(SIGNS, math.log(0.0005))
        for rank, letter in enumerate(letters):
            small = math.log((len(letters) - rank + 1) / total)
            chances[letter.upper()[0]] = small + math.log(0.1)
            chances[letter] = small
        tables.append(chances)
    return tables


def _of_table(char: str, table: dict[str, float], kind: str) -> float:
    """Return the logarithm of the chance of a character in a language."""
    if char in table:
        return table[char]
    of_script = unicodedata.name(char, "").startswith(f"{kind.upper()} ")
    return math.log(0.0002) if of_script else -math.inf


def _of_block(char: str, kind: str, coding: str) -> float:
    """Return the logarithm of the chance of a character in a Chinese, Japanese or Korean text."""
    if not char.isalpha() and char not in EAST_ASIAN_SIGNS:
        return -math.inf
    code = int.from_bytes(char.encode(coding, "replace"), "big")
    for first, last, one_in in BLOCKS[kind]:
        if first <= code <= last:
            return -math.log(one_in)
    return ODD


def _sum(words: Iterable[str], chances: Callable[[str], float], kind: str) -> float:
    """Return the logarithm of how likely some words are, their characters and their order."""
    total = 0.0
    for word in words:
        for before, char in zip(" " + word, word, strict=False):
            if not char.isascii():
                total += chances(char)
            else:
                total += PLAIN if char.isalpha() else SECOND
            total += _log_order(before, char, kind)
    return total


def _log_order(before: str, char: str, kind: str) -> float:
    """Return the logarithm of the chance that a character follows another one, or a blank."""
    score = 0.0
    if kind in LATIN:
        if not char.isascii():
            score = math.log(0.5 if before.isascii() else 0.1)
    elif before.isascii() != char.isascii() and re.search("[A-Za-z]", before + char):
        score = math.log(0.05 if kind in BLOCKS else 0.0002)
    if char.isupper() and before.islower() and not (before + char).isascii():
        score += math.log(0.001)
    return score


def _utf16(content: bytes) -> str:
    """Return which UTF-16 or UTF-32 this is: with a mark, or mostly ASCII in two bytes each."""
    if content.startswith((BOM_UTF32_LE, BOM_UTF32_BE)):
        return "UTF-32" if _decode(content, ["UTF-32"])[0] else ""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "UTF-16" if _decode(content, ["UTF-16"])[0] else ""
    some = content[:2000]
    for coding, zeros in (("UTF-16LE", some[1::2]), ("UTF-16BE", some[::2])):
        others = some[::2] if coding == "UTF-16LE" else some[1::2]
        if (
            zeros.count(0) > len(zeros) / 2
            and not others.count(0)
            and _decode(content, [coding])[0]
        ):
            return coding
    return ""
