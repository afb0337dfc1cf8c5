from dinov3_metadata.formats import Changes
from dinov3_metadata.stages.changes import compare
from helpers import make_scan

BEFORE = make_scan(["a", "b", "c"], [3, 1, 2], [1, 10, 2, 7, 5, 6])


def test_nothing_changed() -> None:
    assert compare(BEFORE, BEFORE) == Changes(
        first=False, added=0, removed=0, new=[], gone=[], classes={}
    )


def test_images_and_classes_come_and_go() -> None:
    after = make_scan(["a", "c", "d"], [3, 2, 1], [10, 2, 3, 5, 6, 7])
    found = compare(BEFORE, after)
    assert (found.added, found.removed) == (2, 2)
    assert (found.new, found.gone) == (["d"], ["b"])
    assert found.classes == {"a": (1, 1), "b": (0, 1), "d": (1, 0)}


def test_the_first_time_all_is_new() -> None:
    found = compare(None, BEFORE)
    assert (found.first, found.added, found.new) == (True, 6, ["a", "b", "c"])


def test_no_class_for_a_flat_split() -> None:
    found = compare(make_scan([""], [2], [1, 2]), make_scan([""], [2], [2, 3]))
    assert found.classes == {"": (1, 1)}
