"""Labels files that almost fit: what is read all the same, what is noted, and what is advised."""

from pathlib import Path

import pytest
from dinov3_metadata.coding import guess_codings
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.stages.labels import read_labels
from helpers import naming

W = ["n01440764", "n01443537"]


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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n", "`git lfs pull`"),
        ("\n<!DOCTYPE html>\n<html>", "is an HTML page"),
    ],
)
def test_a_download_that_is_not_the_file_is_recognised(
    text: str, words: str, tmp_path: Path
) -> None:
    assert words in refused(tmp_path, text, W)


def test_the_converted_file_never_replaces_another(tmp_path: Path) -> None:
    (tmp_path / "labels.utf8.txt").touch()
    (tmp_path / "labels.txt").write_bytes(b"n01,caf\xe9\n")
    with pytest.raises(MetadataError) as refusal:
        read_labels(tmp_path / "labels.txt")
    assert str(refusal.value).endswith(f"> {tmp_path / 'labels.utf82.txt'}")


@pytest.mark.parametrize(
    "text",
    [
        "# imagenet classes\nn01440764,tench\nn01443537,carp\n",
        "n01440764,tench\n,\nn01443537,carp\n , \n",
        "n01440764,tench,\nn01443537,carp,\n",
        "n01440764;tench\nn01443537;carp\n;;\n",
    ],
)
def test_comments_empty_rows_and_empty_columns_are_left_out_and_noted(
    text: str, tmp_path: Path
) -> None:
    found = naming(tmp_path, text, W)
    assert found.names == dict(zip(W, ["tench", "carp"], strict=True))
    assert len(found.notes) == 1


def test_the_advice_for_a_blank_before_quotes_leaves_the_name_whole(tmp_path: Path) -> None:
    said = refused(tmp_path, 'n01440764, "tench, x"\nn01443537,carp\n', W)
    assert said.endswith('\n  n01440764,"tench, x"')


def test_names_alone_are_matched_to_folders_with_underscores(tmp_path: Path) -> None:
    text, ids = "Apple pie\nBaby back ribs\nBaklava\n", ["apple_pie", "baby_back_ribs", "baklava"]
    found = naming(tmp_path, text, ids)
    assert [found.names[one] for one in ids] == text.splitlines()
    assert found.notes[0].endswith("for instance Apple pie to apple_pie.")
    refused(tmp_path, "Apple pie\napple PIE\nBaklava\n", ["apple_pie", "baklava"])
    refused(tmp_path, text, ["apple_pie", "apple pie"])


THREE = [*W, "n01484850"]
NAMES = ["tench", "carp", "great shark"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("# fish\nn01440764 tench\nn01443537 carp\n#\nn01484850 great shark\n", NAMES),
        ("# id\tname\nn01440764\ttench\nn01443537\tcarp\nn01484850\tgreat shark\n", NAMES),
        ("n01440764 - tench\nn01443537 \u2013 carp, x\nn01484850 - great shark\n", NAMES),
        ("n01440764 -> tench\nn01443537 => carp\nn01484850 -> great shark\n", NAMES),
        ("n01440764 = tench\nn01443537 = carp\nn01484850=great shark\n", NAMES),
        ('"n01440764" => "tench",\n"n01443537" => "carp",\n"n01484850" => "great shark"', NAMES),
        ("- n01440764: tench\n- n01443537: carp\n- n01484850: great shark\n", NAMES),
        ("names:\n  n01440764: &a tench\n  n01443537: *a\n  n01484850: x\n", ["tench"] * 2 + ["x"]),
        (
            "n01440764 tench (fish, big)\nn01443537 carp, b (c, d)\nn01484850 [x, y] z, a\n",
            ["tench (fish, big)", "carp", "[x, y] z"],
        ),
        (
            '{"n01440764": "a, b",\n"n01443537": "[c,] d",\n"n01484850": "e",}',
            ["a, b", "[c,] d", "e"],
        ),
        ('{"n01440764": ["tench", "x"], "n01443537": ["carp"], "n01484850": ["y", "z"]}', None),
        ('{"tench": "n01440764", "carp": "n01443537", "great shark": "n01484850"}', NAMES),
        ('[{"n01440764": "tench"}, {"n01443537": "carp"}, {"n01484850": "great shark"}]', NAMES),
        (
            "from collections import OrderedDict\n\nIMAGENET2012_CLASSES = OrderedDict(\n    {\n"
            '"n01440764": "tench, Tinca tinca",\n"n01443537": "carp",\n"n01484850": "great shark",'
            "\n    }\n)\n",
            NAMES,
        ),
        ('names = dict(n01440764="tench", n01443537="carp", n01484850="great shark")', NAMES),
        ('X: dict[str, str] = {"n01440764": "tench", "n01443537": "carp", "n01484850": "s"}', None),
    ],
)
def test_forms_that_people_write_are_read(
    text: str, names: list[str] | None, tmp_path: Path
) -> None:
    found = naming(tmp_path, text, THREE).names
    if names is None:
        assert [found[one] for one in W] == ["tench", "carp"]
    else:
        assert [found[one] for one in THREE] == names


@pytest.mark.parametrize("text", ["1. cat\n2. dog\n", "1) cat\n2) dog\n"])
def test_an_enumerated_list_has_names_alone_or_names_of_numbers(text: str, tmp_path: Path) -> None:
    assert naming(tmp_path, text, ["cat", "dog"]).form == "folders"
    assert naming(tmp_path, text, ["1", "2"]).names == {"1": "cat", "2": "dog"}


def test_names_with_blanks_that_do_not_match_are_not_taken_for_ids(tmp_path: Path) -> None:
    said = refused(tmp_path, "Apple pie\nBaby back ribs\nBaklava\n", ["apple_pie", "donuts"])
    assert "It has 3 names without ids" in said
    assert "class folders: apple_pie, donuts" in said


def test_a_comment_does_not_shift_names_that_are_numbered(tmp_path: Path) -> None:
    assert naming(tmp_path, "# classes\ncat\ndog\n", ["0", "1"]).names == {"0": "cat", "1": "dog"}


def test_a_second_entry_of_json_is_called_an_entry(tmp_path: Path) -> None:
    said = refused(tmp_path, '{"n01440764": "a",\n"n01443537": "b", "n01440764": "c"}', W)
    assert "entry 3: the class id 'n01440764' is already in entry 1" in said


def test_a_single_class_may_be_the_folder_of_the_classes(tmp_path: Path) -> None:
    said = refused(tmp_path, "n01440764,tench\nn01443537,carp\n", ["train"])
    assert "set `folders`, for instance `folders: {TRAIN: train/train}`." in said


COCO = '{"categories": [{"id": 1, "name": "tench", "supercategory": "fish"}]}'


@pytest.mark.parametrize(
    ("text", "ids", "names"),
    [
        (COCO, ["tench"], ["tench"]),
        (COCO, ["1"], ["tench"]),
        ("1.0,apple\n2.0,pear\n", ["1", "2"], ["apple", "pear"]),
        ("id,name\n1.0,apple\n2.0,pear\n", ["1", "2"], ["apple", "pear"]),
        ('// names\n{"a": "x", // first\n"b": /* , */ "y // z",}', ["a", "b"], ["x", "y // z"]),
        ("sep=\\t\na\tx\nb\ty\n", ["a", "b"], ["x", "y"]),
    ],
)
def test_exports_of_other_programs_are_read(
    text: str, ids: list[str], names: list[str], tmp_path: Path
) -> None:
    found = naming(tmp_path, text, ids).names
    assert [found[one] for one in ids] == names


@pytest.mark.parametrize(
    ("text", "ids", "words"),
    [
        (
            "0 a\n1 b\n2 c\n",
            ["1", "2", "3"],
            "ids are numbered from 0, but the class folders from 1",
        ),
        (
            "1,a\n2,b\n3,c\n",
            ["0", "1", "2"],
            "ids are numbered from 1, but the class folders from 0",
        ),
        ("0,a\n2,b\n3,c\n", ["0", "1", "2"], "Add a row for each"),
        ("1.5,a\n2.5,b\n", ["1", "2"], "read: 1.5, 2.5"),
        ("kit fox\nred fox\n", W, "If its lines are names alone, write the id"),
        ('n01440764,tench,fish\nn01443537,carp,"small, red"\n', W, "It is not clear which"),
        ("{\\rtf1\\ansi\nn01440764,tench\n}", W, "but an RTF document"),
    ],
)
def test_advice_is_about_what_is_wrong(
    text: str, ids: list[str], words: str, tmp_path: Path
) -> None:
    assert words in refused(tmp_path, text, ids)


@pytest.mark.parametrize(
    ("content", "coding"),
    [
        ("a,tench “x”\nb,g’s\nc,s – t…\n".encode("cp1252"), "WINDOWS-1252"),
        ("a,it’s ‘one’\n".encode("cp1252"), "WINDOWS-1252"),
        ("a,tench\n".encode("utf-32"), "UTF-32"),
        ("a,天\nb,熱\n".encode("shift_jis"), "SHIFT_JIS"),
    ],
)
def test_typographic_quotes_are_those_of_windows(content: bytes, coding: str) -> None:
    assert guess_codings(content)[0] == coding
