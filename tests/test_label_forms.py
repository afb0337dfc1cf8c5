"""Label files as people have them: what each gives, by the class folders beside it."""

from pathlib import Path
from typing import NamedTuple

import pytest
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.formats import read_description
from dinov3_metadata.run import dump_extra
from dinov3_metadata.stages.labels import read_labels
from dinov3_metadata.summary import summarise
from helpers import make_tree, naming

W = {"n01440764": "tench", "n01443537": "goldfish"}
N = {"0": "tench", "1": "goldfish"}
TWO = '{"0": "tench", "1": "goldfish"}'


class File(NamedTuple):
    """A labels file: its text, the form it must be read in, and the names by class folder."""

    text: str
    form: str
    names: dict[str, str]
    name: str = "labels.txt"


FILES = {
    # Python
    "imagenet1000_clsidx_to_labels.txt": File(
        "{0: 'tench, Tinca tinca',\n 1: 'goldfish, Carassius auratus',\n"
        ' 986: "yellow lady\'s slipper, yellow lady-slipper"}\n',
        "python",
        {"1": "goldfish", "986": "yellow lady's slipper"},
    ),
    "a dict with a name": File(
        "# classes\nIMAGENET = {\n  'n01440764': 'tench',\n  'n01443537': 'goldfish',\n}\n",
        "python",
        W,
    ),
    "a dict on the line after its name": File(
        "names = \\\n{'n01440764': 'tench', 'n01443537': 'goldfish'}", "python", W
    ),
    "a module with a tuple": File(
        'import os\nCLASSES = ("tench", "goldfish")\nPALETTE = [[1, 2], [3, 4]]\n', "python", N
    ),
    "a list of pairs in Python": File(
        "[('n01440764', 'tench'), ('n01443537', 'goldfish')]", "python", W
    ),
    "lines of a dict without its braces": File("0: 'tench',\n1: \"goldfish\",\n", "colon", N),
    # JSON
    "cat_to_name.json": File('{"21": "fire, lily", "3": "x"}', "json", {"21": "fire, lily"}),
    "Keras' JSON, by id": File(
        '{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}', "json", W
    ),
    "Keras' JSON, by number": File(
        '{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}', "json", N
    ),
    "config.json of Hugging Face": File(
        f'{{"architectures": ["ViT", "x"], "id2label": {TWO}, "label2id": {{"tench": 0}}}}',
        "json",
        N,
    ),
    "class_to_idx, by number": File('{"tench": 0, "goldfish": 1}', "json", N),
    "class_to_idx, by name": File(
        '{"tench": 0, "goldfish": 1}', "folders", {"goldfish": "goldfish", "tench": "tench"}
    ),
    "a list of pairs in JSON": File(
        '[["n01440764", "tench"], ["n01443537", "goldfish"]]', "json", W
    ),
    "class_names.json, by number": File('["tench", "goldfish"]', "json", N),
    "class_names.json, by number from 1": File(
        '["tench", "goldfish"]', "json", {"1": "tench", "2": "goldfish"}
    ),
    "class_names.json, with more names than folders": File('["tench", "goldfish", "x"]', "json", N),
    "class_names.json, by name": File('["cat", "dog"]', "folders", {"cat": "cat", "dog": "dog"}),
    "categories of COCO": File(
        '{"categories": [{"supercategory": "fish", "id": 0, "name": "tench"},'
        ' {"supercategory": "fish", "id": 1, "name": "goldfish"}]}',
        "json",
        N,
    ),
    "categories of iNaturalist": File(
        '[{"id": 0, "name": "Lumbricus", "image_dir_name": "00000_Animalia", "kingdom": "A"}]',
        "json",
        {"00000_Animalia": "Lumbricus"},
    ),
    "an object for each class": File(
        '{"n01440764": {"name": "tench", "count": 3}, "n01443537": {"name": "goldfish", '
        '"count": 4}}',
        "json",
        W,
    ),
    "JSON in lines": File(
        '{"id": "n01440764", "name": "tench"}\n{"id": "n01443537", "name": "goldfish"}\n', "json", W
    ),
    # YAML
    "data.yaml of Ultralytics": File(
        "path: ../data\ntrain: images\nnames:\n  0: tench\n  1: goldfish\n", "yaml", N, "data.yaml"
    ),
    "data.yaml with a list": File("nc: 2\nnames: [tench, goldfish]\n", "yaml", N, "data.yaml"),
    "YAML in a .txt": File("nc: 2\nnames:\n- tench\n- goldfish\n", "yaml", N),
    "ids that YAML would take for numbers": File(
        "007: bond\n1e3: big\nno: Norway\n",
        "yaml",
        {"007": "bond", "1e3": "big", "no": "Norway"},
        "x.yml",
    ),
    "a YAML list that equals the folders": File("- cat\n- a dog\n", "folders", {"a dog": "a dog"}),
    # tables
    "Excel's sep=": File('sep=;\r\nn01440764;"tench"\r\nn01443537;goldfish\r\n', "semicolon", W),
    "sep=, is CSV": File("sep=,\nn01440764,tench\nn01443537,goldfish\n", "csv", W),
    "sep= with a tab": File("sep=\t\nn01440764\ttench\nn01443537\tgoldfish\n", "tab", W),
    "Excel's semicolons with a mark and a header": File(
        '\ufeffid;name\r\nn01440764;tench\r\nn01443537;"goldfish"\r\n', "semicolon", W
    ),
    "semicolons and commas": File(
        "n01;tench, Tinca\nn02;carp", "semicolon", {"n01": "tench, Tinca", "n02": "carp"}
    ),
    "to_csv of pandas": File(",id,name\n0,n01440764,tench\n1,n01443537,goldfish\n", "csv", W),
    "to_csv of pandas, by number": File(",id,name\n0,n01,tench\n1,n02,goldfish\n", "csv", N),
    "CSV with titles": File("name,wnid\ntench,n01440764\ngoldfish,n01443537\n", "csv", W),
    "to_string of pandas": File(
        "          id      name\n0  n01440764     tench\n1  n01443537  goldfish\n", "table", W
    ),
    "psql": File(
        "    id     |   name\n-----------+----------\n n01440764 | tench\n n01443537 | goldfish\n"
        "(2 rows)\n",
        "table",
        W,
    ),
    "Markdown": File(
        "| id | name |\n|----|:-----|\n| n01440764 | tench |\n| n01443537 | goldfish |\n",
        "table",
        W,
    ),
    "CSV padded with blanks": File("n01440764 , tench\nn01443537 , goldfish\n", "padded", W),
    "columns of blanks, ids with a blank": File(
        "great cat     Great Cat\nsmall dog     Small Dog\n",
        "table",
        {"great cat": "Great Cat", "small dog": "Small Dog"},
    ),
    # lines
    "map_clsloc.txt": File("n01440764 1 tench\nn01443537 2 goldfish\n", "blanks", W),
    "three columns with tabs": File("n01440764\t1\ttench\nn01443537\t2\tgoldfish", "tab", W),
    "a number before the id": File("0 n01440764 tench\n1 n01443537 goldfish\n", "blanks", W),
    "imagenet_synset_to_lemma.txt": File(
        "n01440764\ttench, Tinca tinca\nn01443537\tgoldfish, Carassius auratus\n", "tab", W
    ),
    "LOC_synset_mapping.txt": File(
        "n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\n", "blanks", W
    ),
    "imagenet_synsets.txt": File(
        "n01440764\nn01443537\nn01484850\n", "folders", {one: one for one in W}
    ),
    "classes.txt of CUB": File(
        "1 001.Black_footed\n2 002.Laysan\n", "folders", {"001.Black_footed": "001.Black_footed"}
    ),
    "classes.txt of CUB, by number": File(
        "1 001.Black_footed\n2 002.Laysan\n", "blanks", {"1": "001.Black_footed"}
    ),
    "Places365, by number": File("/a/airfield 0\n/a/alley 1\n", "blanks", {"1": "/a/alley"}),
    "number after the name, by name": File("airfield 0\nalley 1\n", "folders", {"alley": "alley"}),
    "names alone, by number": File("tench, Tinca\ngoldfish\n", "list", N),
    "classes.txt of Food-101": File("apple_pie\nramen\n", "folders", {"ramen": "ramen"}),
    "names of several words": File(
        "great cat\nsmall dog\n", "folders", {"great cat": "great cat", "small dog": "small dog"}
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_what_each_file_gives(case: str, tmp_path: Path) -> None:
    file = FILES[case]
    found = naming(tmp_path, file.text, [*file.names], file.name)
    assert {one: found.names[one] for one in file.names} == file.names
    assert found.form == file.form


NOTES = {
    "id,name\nn01,x\n": "Line 1 of {} is a header and was skipped: id, name",
    "n01\nn02\n": "{} has no names besides those of the class folders, so these are the class "
    "names, as with `labels: folders`.",
    "n01\t7\tx\n": "{} has 3 columns: the ids were read from column 1 and the names from column 3.",
    "n01;x\n": "{} was read as a table with semicolons.",
    "N01,x\n": "1 class folder differs from the id in {} and got its name all the same: n01 (in "
    "the file N01, which differs in capitals).",
    "n01 \xa0,x\n": "1 class folder differs from the id in {} and got its name all the same: n01 "
    "(in the file n01 \xa0, which differs in blanks (U+0020, U+00A0)).",
}


@pytest.mark.parametrize("text", NOTES)
def test_what_is_read_otherwise_than_it_appears_is_noted(text: str, tmp_path: Path) -> None:
    notes = naming(tmp_path, text, ["n01"]).notes
    assert notes[0] == NOTES[text].format(tmp_path / "labels.txt")


def test_a_table_is_chosen_by_the_class_folders_not_by_its_first_line(tmp_path: Path) -> None:
    text = "great cat: Big Cat\ngreat: G\n"
    assert naming(tmp_path, text, ["great cat", "great"]).names["great cat"] == "Big Cat"
    text = "alien: covenant,Alien\nx,y\n"
    assert naming(tmp_path, text, ["alien: covenant"]).form == "csv"
    text = "cat Felis, x\ngreat cat Panthera\n"
    assert naming(tmp_path, text, ["cat"]).names["cat"] == "Felis"


def test_what_dinov3_reads_comes_first(tmp_path: Path) -> None:
    for name in ('5" floppy', "rock 'n' roll", "Men's", " tench ", "a (b)", "(a) b", "'n' b"):
        assert naming(tmp_path, f"n01,{name}\n", ["n01"]).names == {"n01": name}
    assert naming(tmp_path, "n01,7\nn02,8\n", ["n01", "n02"]).names == {"n01": "7", "n02": "8"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("[tench", "begins with ["),
        ("(a", "begins with ("),
        ("»a", "begins with »"),
        ("'tench", "begins with '"),
        ("tench}", "ends with }"),
        ("dogs'", "ends with '"),
        ('5"', 'ends with "'),
        ("tench (", "ends with ("),
        ("(a) (", "ends with ("),
    ],
)
@pytest.mark.parametrize("form", ["n01,{}\n", "n01;{}\n", "n01\t{}\n", "n01: {}\n"])
def test_no_name_has_half_a_pair_at_an_end(name: str, said: str, form: str, tmp_path: Path) -> None:
    with pytest.raises(MetadataError) as refusal:
        naming(tmp_path, form.format(name), ["n01"])
    assert f"labels.txt, line 1: the class name {name!r} {said}" in str(refusal.value)


def test_no_name_of_a_list_has_half_a_pair_at_an_end(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=r"entry 2: the class name 'b\]' ends with \]"):
        naming(tmp_path, '["a", "b]"]', ["0", "1"])


@pytest.mark.parametrize("name", ["'a' b", "(a) (b)", "{a}", "say “x”", "x [y]", "'tis men' x"])
def test_whole_pairs_are_fine_at_the_ends(name: str, tmp_path: Path) -> None:
    assert naming(tmp_path, f"n01,{name}\n", ["n01"]).names["n01"] == name


MISFITS = {
    "tench,n01\ngoldfish,n02\n": [
        "line 1: the class folders are in column 2, but an id is expected before its name.",
        "\n  n01,tench",
    ],
    "fish,carp,n01,x\nfish,b,n02,y\n": [
        "class folders are in column 3",
        "\n  n01,fish\n  n01,carp",
    ],
    "0,n01,a, b\n1,n02,c\n": ["line 1: 4 columns", "folders are in column 2", "\n  n01,a"],
    "n01,a, b\nn02,c, d\n": ["line 1: 3 columns", 'needs quotes:\n  n01,"a, b"'],
    "x,a, b\ny,c\n": [
        "3 columns",
        "No column has a class folder.\n  read: x, y\n  class folders: n01, n02",
    ],
    "a1,x\na2,y\na3,z\na4,z\n": [
        "2 class folders have no row in",
        "\n  read: a1, a2, a3\n  class folders: n01, n02\n",
        "If this is the file of another dataset",
    ],
    "N01,x\nn01\u200b,y\nn02,z\n": [
        "\n  n01 (it has N01, which differs in capitals; n01\\u200b, which differs in invisible",
        "so none was chosen",
    ],
    '["tench", "goldfish"]': [
        "\n  read: tench, goldfish\n  class folders: n01, n02\n",
        "It has 2 names without ids",
    ],
}


@pytest.mark.parametrize("text", MISFITS)
def test_a_file_that_does_not_fit_is_compared_with_the_folders(text: str, tmp_path: Path) -> None:
    with pytest.raises(MetadataError) as refusal:
        naming(tmp_path, text, ["n01", "n02"])
    for words in MISFITS[text]:
        assert words in str(refusal.value)


def test_names_alone_are_numbered_only_where_that_is_certain(tmp_path: Path) -> None:
    for ids in (["1", "2"], ["0", "3"], ["0", "00"], ["0", "x"]):
        with pytest.raises(MetadataError, match="nothing says which belongs to which"):
            naming(tmp_path, '["a", "b", "c"]', ids)
    with pytest.raises(MetadataError, match="2 class folders have no row"):
        naming(tmp_path, "n01440764 tench\nn01443537 goldfish\n", ["0", "1"])
    with pytest.raises(MetadataError, match="3 columns"):
        naming(tmp_path, "n01440764,tench, x\nn01443537,carp\n", ["0", "1"])


def test_an_alias_in_yaml_is_not_followed(tmp_path: Path) -> None:
    text = "loop: &a [*a]\nnames: {n01: x}\n"
    assert naming(tmp_path, text, ["n01"], "x.yaml").names["n01"] == "x"


def test_files_that_are_not_text_or_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "my labels.txt"
    path.write_bytes("n01,tench\nn02,丁鱥\nn03,金鱼\n".encode("gbk"))
    with pytest.raises(MetadataError) as refusal:
        read_labels(path)
    said = str(refusal.value)
    assert "The file reads as text in GBK, where this line is 'n02,丁鱥'." in said
    command = f"iconv -f GBK -t UTF-8 '{path}' > '{tmp_path / 'my labels.utf8.txt'}'"
    assert said.endswith(f"\n  {command}")
    path.write_bytes(b"n01,\x81\n")
    with pytest.raises(MetadataError, match="not text in any other encoding") as refusal:
        read_labels(path)
    assert "iconv" not in str(refusal.value)
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(MetadataError, match="is not a text file, but a zip file"):
        read_labels(path)


def test_a_file_that_reads_in_several_encodings_is_shown_in_each(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(b"n01,tench\nn02,\xe9t\xe9,caf\xe9\nn03,chat\nn04,ch\xe8vre\n")
    with pytest.raises(MetadataError) as refusal:
        read_labels(path)
    lines = str(refusal.value).splitlines()
    assert "line 2: byte 0xe9 is not UTF-8. The file reads as text in several" in lines[0]
    assert "the one in which line 4 is right" in lines[0]
    new = tmp_path / "labels.utf8.txt"
    assert lines[1:5] == [
        "  line 4 in LATIN1: 'n04,chèvre'",
        f"  iconv -f LATIN1 -t UTF-8 {path} > {new}",
        "  line 4 in WINDOWS-1250: 'n04,chčvre'",
        f"  iconv -f WINDOWS-1250 -t UTF-8 {path} > {new}",
    ]


def test_a_file_of_which_some_lines_are_utf8_is_not_to_be_converted(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("n01,tench\nn02,金鱼\n".encode() + b"n03,caf\xe9\nn04,th\xe9\n")
    with pytest.raises(MetadataError) as refusal:
        read_labels(path)
    assert str(refusal.value) == (
        f"{path}, line 3: byte 0xe9 is not UTF-8. Line 2 is UTF-8, so no one command converts the "
        "file. Write all lines in UTF-8:\n"
        "  line 2 in UTF-8: 'n02,金鱼'\n"
        "  line 3 in LATIN1: 'n03,café'"
    )


def test_a_missing_file_names_those_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").touch()
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(MetadataError, match=r"There is classes\.txt\.\n"):
        read_labels(tmp_path / "labels.txt")


def test_notes_are_published_once_and_the_form_is_that_which_was_used(tmp_path: Path) -> None:
    files = ["train/Cat/Cat_1.JPEG", "val/Cat/ILSVRC2012_val_00000001.JPEG"]
    root = make_tree(tmp_path / "root", files, "{'cat': 'house cat, Felis'}")
    chain = dump_extra(root, tmp_path / "extra")
    for split in ("TRAIN", "VAL"):
        about = read_description(chain.extra, split)
        assert about
        assert about.labels
        assert about.labels.form == "python"
        assert [note.partition(" ")[0] for note in about.notes] == ["1", str(root / "labels.txt")]
    assert summarise(chain).count("which differs in capitals") == 1


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_class_without_a_row_is_said_alike_for_each_separator(
    separator: str, tmp_path: Path
) -> None:
    file = tmp_path / "labels.txt"
    file.write_text(f"a{separator}C\nb{separator}H\n")
    with pytest.raises(MetadataError, match=r"1 class folder has no row(?s:.)*Add a row for each"):
        read_labels(file).of(["a", "q"])
    with pytest.raises(MetadataError, match=r"read: a, b\n(?s:.)*the file of another dataset"):
        read_labels(file).of(["p", "q"])
