from pathlib import Path

import pytest
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.fingerprint import of_content
from dinov3_metadata.labels import Labels, read_labels


def read(tmp_path: Path, content: bytes) -> dict[str, str]:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    return read_labels(path).names


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"n01,tench\nn02,goldfish\n", {"n01": "tench", "n02": "goldfish"}),
        (b"n02,goldfish\nn01,tench", {"n02": "goldfish", "n01": "tench"}),
        (b"\xef\xbb\xbfn01,tench\r\n", {"n01": "tench"}),
        (b"\n  \nn01,tench\r\n\r\n", {"n01": "tench"}),
        (b"n01, tench \n", {"n01": " tench "}),
        (b'n01,"tench, Tinca ""tinca"""\n', {"n01": 'tench, Tinca "tinca"'}),
        (b'n01,"two\r\nlines"\nn02,x\n', {"n01": "two\nlines", "n02": "x"}),
        ("n01,丁鱥\nn02,a\u2028b\x85c\n".encode(), {"n01": "丁鱥", "n02": "a\u2028b\x85c"}),
        (b"n01,crane\nn02,crane\n", {"n01": "crane", "n02": "crane"}),
    ],
)
def test_rows_as_the_csv_module_reads_them(
    content: bytes, names: dict[str, str], tmp_path: Path
) -> None:
    found = read(tmp_path, content)
    assert found == names
    assert list(found) == list(names)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"n01,a\n\nn02\n", r"line 3: only one column \('n02'\)"),
        (b'n01,tench, Tinca "x"\n', r'line 1: 3 columns(?s:.)*n01,"tench, Tinca ""x"""'),
        (b'n01,"a\nb"\nn02,x,y\n', r"line 3: 3 columns"),
        (
            b"n01440764 tench, Tinca tinca\n",
            r"line 1: a blank .*LOC_synset_mapping(?s:.)*n01440764,\"tench, Tinca tinca\"",
        ),
        (b"n01440764\ttench\n", r"line 1: a blank .*LOC_synset_mapping"),
        (b"n01,a\n,b\n", r"line 2: the class id is empty"),
        (b"n01,\n", r"line 1: the class name is empty"),
        (b"n00,z\nn01,a\nn02,b\nn01,c\n", r"line 4: the class id 'n01' stands already in line 2"),
        (b"n01,a\nn02,caf\xe9\n", r"line 2: byte 0xe9 is not UTF-8"),
        (b"n01,a\0\n", r"line 1: .*NUL"),
        (b"n01," + b"x" * 200_000, r"line 1: field larger than"),
        (b"", r"has no rows"),
        (b"\n\r\n", r"has no rows"),
    ],
)
def test_refusals_name_file_and_line(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=message) as refusal:
        read(tmp_path, content)
    assert str(tmp_path / "labels.txt") in str(refusal.value)


def test_a_missing_file_says_where_such_a_file_comes_from(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=r"does not exist(?s:.)*LOC_synset_mapping.txt"):
        read_labels(tmp_path / "labels.txt")


def test_a_file_that_changed_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("n01,a")
    before = of_content(path)
    assert read_labels(path, before).names == {"n01": "a"}
    path.write_text("n01,b")
    with pytest.raises(MetadataError, match="has changed meanwhile"):
        read_labels(path, before)


def test_a_folder_is_no_labels_file(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=r"labels file .* is not a file"):
        read_labels(tmp_path)


def test_saved_labels_come_back(tmp_path: Path) -> None:
    labels = Labels("labels.txt", {"n01": "丁鱥\n", "n02": '"'})
    labels.save(tmp_path / "labels.json")
    assert Labels.load(tmp_path / "labels.json") == labels


def test_class_folders_without_a_row_are_listed() -> None:
    labels = Labels("/data/labels.txt", {"n00": "x"})
    with pytest.raises(
        MetadataError, match=r"12 class folders have no row in /data/labels.txt(?s:.)*and 2 more"
    ):
        labels.of(["n00", *(f"n{i:02d}" for i in range(1, 13))])
