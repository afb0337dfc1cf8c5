import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest
from dinov3_metadata.artefacts import Labels
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.fingerprint import of_content
from dinov3_metadata.paths import LABEL_FILES
from dinov3_metadata.preflight import find_labels
from dinov3_metadata.stages.label_forms import LINES, form_of
from dinov3_metadata.stages.labels import read_labels
from dinov3_metadata.tables import Table
from hypothesis import example, given, settings
from hypothesis import strategies as st


def read(tmp_path: Path, content: bytes, class_ids: Iterable[str] = ()) -> dict[str, str]:
    """The names of some classes, and of all others that have a row."""
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    return read_labels(path).naming([*class_ids]).names


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"n01,tench\nn02,goldfish\n", {"n01": "tench", "n02": "goldfish"}),
        (b"n02,goldfish\nn01,tench", {"n02": "goldfish", "n01": "tench"}),
        (b"\xef\xbb\xbfn01,tench\r\n", {"n01": "tench"}),
        (b"\n  \nn01,tench\r\n\r\n", {"n01": "tench"}),
        (b"n01, tench \n", {"n01": " tench "}),
        (b'n01,"tench, Tinca ""tinca"""\n', {"n01": 'tench, Tinca "tinca"'}),
        ("n01,丁鱥\nn02,a\u2028b\x85c\n".encode(), {"n01": "丁鱥", "n02": "a\u2028b\x85c"}),
        (b"n01,crane\nn02,crane\n", {"n01": "crane", "n02": "crane"}),
    ],
)
def test_rows_as_the_csv_module_reads_them(
    content: bytes, names: dict[str, str], tmp_path: Path
) -> None:
    found = read(tmp_path, content, names)
    assert found == names
    assert list(found) == list(names)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"n01,a\n\nn02\n", r"line 3: only one column \('n02'\)"),
        (b'n01,tench, Tinca "x"\n', r'line 1: 3 columns(?s:.)*n01,"tench, Tinca ""x"""'),
        (b"n01 tench\n\nn02\n", r"line 3: 'n02' is not an id, a space and a name(?s:.)*CSV"),
        (b"n01\ttench\r\nn02,carp\r\n", r"line 2: 'n02,carp' is not an id, a tab and a name"),
        (b"n01: tench\nn02 carp\n", r"line 2: 'n02 carp' is not an id, a colon and a name"),
        (b"great cat,Great Cat\na,b,c\n", r"line 2: 3 columns"),
        (b"n01440764,tench\nn02 x\n", r"line 2: only one column"),
        (b'{"0": ' + b"[" * 100_000, r"this is not JSON"),
        (rb'{"0": ["n01", "\ud800"]}', r"contains a character that is not text"),
        (b"n01 a\nn01 b\n", r"line 2: the class id 'n01' is already in line 1"),
        (b"n01440764 ,\n", r"line 1: the class name is empty"),
        (b'{"0": ["n01", "tench"]', r"line 1: this is not JSON"),
        (b'{"0": ["n01", "tench"], "1": "goldfish"}', r"the entry '1' is goldfish, not an id"),
        (b'{"0": ["n01", "a"], "1": ["n01", "b"]}', r"'n01' is already"),
        (b"n01,a\n,b\n", r"line 2: the class id is empty"),
        (b"n01,\n", r"line 1: the class name is empty"),
        (b"n00,z\nn01,a\nn02,b\nn01,c\n", r"line 4: the class id 'n01' is already in line 2"),
        (b"n01,a\nn02,caf\xe9\n", r"line 2: byte 0xe9 is not UTF-8"),
        (b"n01,a\0\n", r"line 1: .*contains (a character that is not text|NUL)"),
        (b"n01," + b"x" * 200_000, r"line 1: field larger than"),
        (b"n02119789: 1: kit_fox", r"line 1: .* is not an id, a colon and a name"),
        (b'{"0": ["n01", "a"], "0": ["n01", "b"]}', r"entry 2: the class id 'n01' is already"),
        ("n01440764,x".encode("utf-16"), r"iconv -f UTF-16"),
        (b'n01,"a\nb"\nn02,x,y\n', r"line 1: the quote in '\"a' is not closed in its line"),
        (b'n01,a\nn02,x"y,"b\n', r"line 2: 3 columns"),
        (b'["n01", null]', r"the entry 2 is None, not an id and a name"),
        (b"{0: 'tench',\n 1: 'goldfish'\n", r"line 1: this is not a Python dict or list"),
        (b"x = [\n 'tench',\n 'gold'fish'\n]", r"line 3: this is not a Python dict or list"),
        (b"", r"has no rows"),
        (b"\n\r\n", r"has no rows"),
    ],
)
def test_refusals_name_file_and_line(content: bytes, message: str, tmp_path: Path) -> None:
    class_ids = {one.decode() for one in re.findall(rb"n\d+", content)} or {"n01"}
    with pytest.raises(MetadataError, match=message) as refusal:
        read(tmp_path, content, sorted(class_ids))
    assert str(tmp_path / "labels.txt") in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "form", "names"),
    [
        (b"n01440764 tench, Tinca tinca\n", "blanks", {"n01440764": "tench"}),
        (b"cat  house cat, Felis\r\ndog dog\r\n\r\n", "blanks", {"cat": "house cat", "dog": "dog"}),
        (b"n02\tLo/Ovral\nn01\t20/20, x", "tab", {"n02": "Lo/Ovral", "n01": "20/20"}),
        (b"n01: tench\nn02:goldfish , carp\n", "colon", {"n01": "tench", "n02": "goldfish"}),
        (b"n01 : crane_bird\n", "colon", {"n01": "crane_bird"}),
        (
            b"great cat,Great Cat\n  \ngreat,Great\n",
            "csv",
            {"great cat": "Great Cat", "great": "Great"},
        ),
        (b"Alien: Covenant,Alien\n", "csv", {"Alien: Covenant": "Alien"}),
        (b"{cat},Cat\n", "csv", {"{cat}": "Cat"}),
        (b"great cat\tBig Cat\ngreat\tG", "tab", {"great cat": "Big Cat", "great": "G"}),
        (b"great cat: Big Cat, x\nA: B", "colon", {"great cat": "Big Cat", "A": "B"}),
        (b'n01440764\t"tench, x"\n', "tab", {"n01440764": "tench, x"}),
        (b'"n01 x",y\n', "csv", {"n01 x": "y"}),
        (b"n01440764,tench\tfish\n", "csv", {"n01440764": "tench\tfish"}),
        (b"n01440764: 'tench, x'\n", "colon", {"n01440764": "tench, x"}),
        (b'n01440764 "3 wheelers"\n', "blanks", {"n01440764": "3 wheelers"}),
        (
            b'{"0": ["n02", "kit_fox"], "1": ["n01", "b, c"]}',
            "json",
            {"n02": "kit_fox", "n01": "b, c"},
        ),
    ],
)
def test_forms(content: bytes, form: str, names: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    labels = read_labels(path)
    naming = labels.naming([*names])
    assert (naming.form, naming.names, labels.content) == (form, names, of_content(path))
    assert naming.notes == []


def test_auto_takes_the_first_that_there_is(tmp_path: Path) -> None:
    assert find_labels(tmp_path, "auto") == str(tmp_path / "labels.txt")
    for name in reversed(LABEL_FILES):
        (tmp_path / name).touch()
        assert find_labels(tmp_path, "auto") == str(tmp_path / name)
    assert find_labels(tmp_path, "mine.csv") == str(tmp_path / "mine.csv")
    assert find_labels(tmp_path, "/etc/mine.csv") == "/etc/mine.csv"


def test_a_link_that_leads_nowhere_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").symlink_to("gone")
    (tmp_path / "words.txt").write_text("n01\tx")
    with pytest.raises(MetadataError, match=r"labels.txt does not exist"):
        read_labels(find_labels(tmp_path, "auto"))


def test_names_of_the_folders(tmp_path: Path) -> None:
    labels = read_labels(find_labels(tmp_path, "folders"))
    assert labels.of(["丁鱥", "a b"]) == ["丁鱥", "a b"]
    labels.save(tmp_path / "labels.json")
    assert Labels.load(tmp_path / "labels.json") == labels


def test_a_missing_file_says_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(
        MetadataError, match=r"does not exist(?s:.)*words.txt(?s:.)*`labels: folders`"
    ):
        read_labels(tmp_path / "labels.txt")


def test_a_file_that_changed_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("n01,a")
    before = of_content(path)
    assert read_labels(path, before).of(["n01"]) == ["a"]
    path.write_text("n01,b")
    with pytest.raises(MetadataError, match="changed during this run"):
        read_labels(path, before)


def test_a_row_that_was_added_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("n01,a")
    labels = read_labels(path)
    with pytest.raises(MetadataError, match="1 class folder has no row"):
        labels.of(["n02"])
    path.write_text("n01,a\nn02,b")
    with pytest.raises(MetadataError, match="changed during this run"):
        labels.of(["n02"])


def test_a_folder_is_no_labels_file(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=r"labels file .* is not a regular file"):
        read_labels(tmp_path)


def test_saved_labels_come_back(tmp_path: Path) -> None:
    rows = [["n01", "丁鱥"], ["n02", '"']]
    labels = Labels("labels.txt", "csv", [Table("csv", rows, [1, 3])], ["why", "not"], "abc")
    labels.save(tmp_path / "labels.json")
    assert Labels.load(tmp_path / "labels.json") == labels


def test_class_folders_without_a_row_are_listed(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("n00,x\nn77,y\n")
    labels = read_labels(tmp_path / "labels.txt")
    with pytest.raises(MetadataError) as refusal:
        labels.of(["n00", *(f"n{i:02d}" for i in range(1, 13))])
    said = str(refusal.value)
    assert f"12 class folders have no row in {tmp_path / 'labels.txt'}, read as csv" in said
    assert "... and 2 more\n  read: n77\n  class folders: n01, n02, n03\n" in said


# Earlier patterns of the forms: clearer, but quadratic in the length of a line.
PLAIN = {
    "blanks": r"(\S+)(?!\s+\d+\s+\S)\s+(.+)",
    "tab": r"([^\t]+?) *\t\s*([^\t]+)",
    "colon": r"([^:]+?)\s*:(?!\s*\d+\s*:)\s*(.+)",
}


@pytest.mark.parametrize("form", LINES)
@given(line=st.text(" \t:a1٣,'\"\u3000\xa0\x1c", max_size=12) | st.text(max_size=8))
@example(line="a \t 1\t b")
@example(line="a : 12 :b")
@settings(max_examples=1000)
def test_lines_are_read_as_by_the_plain_expressions(form: str, line: str) -> None:
    for row in line.splitlines():
        found, due = (re.fullmatch(one, row.strip()) for one in (LINES[form][0], PLAIN[form]))
        assert (found and found.groups()) == (due and due.groups())


LONG = 30_000  # characters
STARTS = ("n01440764", "a", "", "n01440764:", "n01440764\t", "a:", "a\t", '"', "a,", "n01440764 1 ")
FILLS = (
    " ",
    "\t",
    ":",
    '"',
    "'",
    "1",
    "x",
    " \t",
    " :",
    "\t:",
    "1 ",
    "a ",
    ": 1",
    "\u3000",
    " ,",
    '",',
)


@pytest.mark.parametrize(("start", "fill"), list(product(STARTS, FILLS)))
def test_a_long_line_takes_no_time(start: str, fill: str, tmp_path: Path) -> None:
    """Linear means milliseconds here; quadratic, a minute."""
    line = start + fill * (LONG // len(fill))
    begin = time.process_time()
    form_of(line + "x\ty\n")
    for row, (pattern, _) in product((line.strip(), line + "x", line + "x\ty"), LINES.values()):
        if found := re.fullmatch(pattern, row):
            re.fullmatch(r"""(["'])(.*)\1""", found[2])
    (tmp_path / "labels.txt").write_text(line + "x\n")
    with suppress(MetadataError):
        read_labels(tmp_path / "labels.txt").of(["n01"])
    assert time.process_time() - begin < 5


@pytest.mark.parametrize("kind", ["fifo", "device", "large"])
def test_what_is_no_labels_file_is_one_sentence(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "labels.txt"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_text("n01,x\n")
        os.truncate(path, 1 << 40)
    with pytest.raises(
        MetadataError, match=r"labels file .*labels.txt (is not a|can ?not be)"
    ) as it:
        read_labels(path)
    assert "\n" not in str(it.value)


@pytest.mark.parametrize("deep", ['{"a": ' * 100_000, "[" * 900 + "]" * 900, '[["a", "b"], null]'])
def test_json_of_any_shape_is_refused(deep: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text('["n01", ' + deep + "]")
    with pytest.raises(MetadataError, match=r"not JSON|not an id and a name"):
        read_labels(tmp_path / "labels.txt")


def test_labels_for_which_there_is_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    (tmp_path / "labels.txt").write_text("n01,x\n")
    monkeypatch.setattr("dinov3_metadata.stages.labels.tables_of", fail)
    with pytest.raises(MetadataError, match=r"labels.txt is too large: there is not enough memory"):
        read_labels(tmp_path / "labels.txt")
