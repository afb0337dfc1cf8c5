import logging
import pickle

import pytest
from dinov3_metadata.errors import LONGEST_LINE, MetadataError, count, listing, logger, printable

EVIL = "a\n2026-01-01 00:00:00,000 ERROR forged\r\x1b[2J\x07\udcff\u202e\u2028 b"


def test_listing_shows_ten_and_counts_the_rest() -> None:
    assert listing(["a", "b"], 2) == ["  a", "  b"]
    lines = listing((str(i) for i in range(1500)), 1500)
    assert len(lines) == 11
    assert lines[-1] == "  ... and 1,490 more"


def test_count() -> None:
    assert count(1, "class", "classes") == "1 class"
    assert count(1200, "image") == "1,200 images"


def test_no_name_gets_a_line_of_its_own_or_moves_the_cursor(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = MetadataError(f"{EVIL} is wrong:", listing([EVIL], 1), "Remove it.")
    with caplog.at_level(logging.INFO):
        logger.info("%s: %d", EVIL, 1)
        logger.error("%s", error)
    for text, lines in ((str(error), 3), (caplog.messages[0], 1), (caplog.messages[1], 3)):
        assert text.count("\n") == lines - 1
        assert all(line.isprintable() for line in text.split("\n"))
        assert r"a\n2026-01-01 00:00:00,000 ERROR forged\r\x1b[2J" in text


def test_a_message_has_an_upper_length() -> None:
    text = printable("start" + "x" * 10**7 + "end")
    assert text.startswith("start")
    assert text.endswith("end")
    assert len(text) < LONGEST_LINE + 10


def test_an_error_is_the_same_after_pickling() -> None:
    error = MetadataError("one", ["two", "three"])
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "one\ntwo\nthree"
