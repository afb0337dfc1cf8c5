"""Mutants change one thing each, where it is, and nothing that is text."""

from types import ModuleType

import pytest
from helpers import REPOSITORY

pytestmark = pytest.mark.needs("coverage")

SOURCE = b'''"""At least 1 > 0 words: not changed."""
def first(words: "list[1]", start: int = 1) -> "None | 2":  # \xc3\xa9
    """Return True, or raise."""
    if not words and start < (3):
        raise ValueError(f"\xc3\xa9 {start + 1}" + "x")
    return words[start]
'''
AFTER = [
    ("start: int = 1 → start: int = 2", b"start: int = 2)"),
    ("start: int = 1 → start: int = 0", b"start: int = 0)"),
    ("not words and start < (3) → False", b"if False:"),
    ("not words and start < (3) → True", b"if True:"),
    ("not words and start < (3) → not words or start < (3)", b"if not words or start < (3):"),
    ("not words → words", b"if  words and"),
    ("start < (3) → start <= (3)", b"start <= (3):"),
    ("start < (3) → start < (4)", b"(4):"),
    ("start < (3) → start < (2)", b"(2):"),
    ('raise ValueError(f"é {start + 1}" + "x") → pass', b":\n        pass\n"),
    ("return words[start] → return None", b"    return None\n"),
]


@pytest.fixture
def mutations(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that finds what can be changed."""
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    import mutations

    return mutations


def test_each_change_is_made_where_it_is(mutations: ModuleType) -> None:
    found = {one.change: one for one in mutations.find_mutants(SOURCE)}
    assert found.keys() == dict(AFTER).keys()
    for change, text in AFTER:
        mutant = found[change]
        after = mutant.apply(SOURCE)
        compile(after, "changed", "exec")
        assert (SOURCE.count(text), after.count(text)) == (0, 1), change
        assert len(after) == len(SOURCE) - (mutant.end - mutant.start) + len(mutant.text)
        assert SOURCE.startswith(after[: mutant.start])
        assert SOURCE.endswith(after[mutant.start + len(mutant.text) :])
        assert mutant.within == "first"


@pytest.mark.parametrize(
    ("statement", "changes"),
    [
        ("x -= 1", {"x -= 1 → x += 1", "x -= 1 → x -= 2", "x -= 1 → x -= 0"}),
        ("a is not b", {"a is not b → a is b"}),
        ("a + 'text'", set()),
        ("[a for a in b if a]", {"a → True", "a → False"}),
        ("while a:\n    break", {"a → False", "break → continue"}),
        ("for a in b:\n    continue", {"continue → break"}),
        ("f(g())", {"f(g()) → pass"}),
        (
            "try:\n    x\nexcept (OSError, KeyError):\n    y",
            {
                "(OSError, KeyError) → ()",
                "OSError → FileNotFoundError",
                "OSError → ()",
                "KeyError → ()",
            },
        ),
        (
            "with suppress(OSError):\n    x",
            {"suppress(OSError) → suppress(FileNotFoundError)", "suppress(OSError) → suppress()"},
        ),
        ("if TYPE_CHECKING:\n    x = 1", set()),
        (
            "class A:\n    x: int = 1\n    def __repr__(self):\n        return 1 + 1",
            {"x: int = 1 → x: int = 2", "x: int = 1 → x: int = 0"},
        ),
    ],
)
def test_what_is_changed(mutations: ModuleType, statement: str, changes: set[str]) -> None:
    found = mutations.find_mutants(statement.encode())
    assert {one.change for one in found} == changes
    after = {one.apply(statement.encode()) for one in found}
    assert len(after) == len(found)
    for source in after:
        compile(source, "changed", "exec")


def test_lines_that_a_test_must_run(mutations: ModuleType) -> None:
    source = b"LIMIT = 1\ndef f(a=2):\n    if a:\n        return 3\n"
    source += b"\n\ndef g():\n    return (\n        4)\n"
    lines = {one.change: sorted(one.runs) for one in mutations.find_mutants(source)}
    assert lines["LIMIT = 1 → LIMIT = 2"] == [1, 3, 4, 8, 9]
    assert lines["a=2 → a=3"] == [3, 4]
    assert lines["a → True"] == [3]
    assert lines["return 3 → return None"] == [4]
    assert lines["4 → 5"] == [8, 9]


def test_a_sample_has_some_of_each_module(mutations: ModuleType) -> None:
    import mutants

    found = {
        name: mutations.find_mutants(b"x = 1\n" * many, name)
        for name, many in (("small", 1), ("middle", 20), ("large", 80))
    }
    drawn = mutants.sample(found, 20, seed=1)
    assert [one.path for one in drawn] == ["small"] * 2 + ["middle"] * 4 + ["large"] * 14
    assert drawn == mutants.sample(found, 20, seed=1) != mutants.sample(found, 20, seed=2)
