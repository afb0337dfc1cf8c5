"""Labels files that almost fit: what is read all the same, what is noted, and what is advised."""

from pathlib import Path

import pytest
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.readings import Naming
from dinov3_metadata.stages.labels import read_labels

W = ["n01440764", "n01443537"]


def naming(tmp_path: Path, text: str, class_ids: list[str], name: str = "labels.txt") -> Naming:
    path = tmp_path / name
    path.write_text(text)
    return read_labels(path).naming(class_ids)


def refused(tmp_path: Path, text: str, class_ids: list[str]) -> str:
    with pytest.raises(MetadataError) as refusal:
        naming(tmp_path, text, class_ids)
    return str(refusal.value)


@pytest.mark.parametrize("ids", [["a", "q"], ["p", "q"], ["A", "q"]])
def test_a_table_with_semicolons_is_refused_like_one_with_tabs(
    ids: list[str], tmp_path: Path
) -> None:
    said = refused(tmp_path, "a;C\nb;H\n", ids)
    tabs = refused(tmp_path, "a\tC\nb\tH\n", ids)
    assert said.replace("read as semicolon", "read as tab") == tabs
    assert 'quotes:\n  a;"b;c"' in refused(tmp_path, "a;b;c\nd;e\n", ["a", "d"])


def test_numbers_that_csv_has_as_names_are_noted(tmp_path: Path) -> None:
    found = naming(tmp_path, "great cat,0\nbike ride,1\n", ["great cat", "bike ride"])
    assert found.names == {"great cat": "0", "bike ride": "1"}
    assert found.form == "csv"
    assert [note.partition(",")[0] for note in found.notes] == ["The class names are numbers"]
    assert naming(tmp_path, "a,0\nb,x\n", ["a", "b"]).notes == []


@pytest.mark.parametrize(
    "text",
    ["['cat, big', 'dog, small']", '["cat, big", "dog, small"]', "cat, big\ndog, small\n"],
)
def test_names_alone_with_commas_may_be_the_class_folders(text: str, tmp_path: Path) -> None:
    ids = ["cat, big", "dog, small"]
    found = naming(tmp_path, text, ids)
    assert (found.form, [*found.names.values()]) == ("folders", ids)


def test_one_ambiguous_class_does_not_let_others_appear_as_missing(tmp_path: Path) -> None:
    said = refused(tmp_path, "cat,C\ngreat\xa0cat,H\n", ["Cat", "CAT", "great cat"])
    assert said.startswith("2 class folders have no row")
    assert "great" not in said
