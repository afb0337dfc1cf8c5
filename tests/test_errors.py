from dinov3_metadata.errors import count, listing


def test_listing_shows_ten_and_counts_the_rest() -> None:
    assert listing(["a", "b"], 2) == "  a\n  b"
    lines = listing((str(i) for i in range(1500)), 1500).splitlines()
    assert len(lines) == 11
    assert lines[-1] == "  ... and 1,490 more"


def test_count() -> None:
    assert count(1, "class", "classes") == "1 class"
    assert count(1200, "image") == "1,200 images"
