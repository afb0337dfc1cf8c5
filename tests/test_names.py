"""Names that look equal and are not, and bytes that are not UTF-8."""

import os
import pickle
import unicodedata
from pathlib import Path

import pytest
from dinov3_metadata.coding import binary_kind, guess_coding
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.names import alike, check_utf8, difference, fold, match_alike
from dinov3_metadata.run import dump_extra
from helpers import make_tree

NFC, NFD = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("name", "other", "said"),
    [
        ("cat", "Cat", "capitals"),
        ("cat", "cat\xa0", "blanks (U+00A0)"),
        ("cat", "cat ", "blanks (U+0020)"),
        ("great cat", "great\xa0cat", "blanks (U+0020, U+00A0)"),
        ("cat", "c\u200bat", "invisible characters (U+200B)"),
        ("cat", "\ufeffcat", "invisible characters (U+FEFF)"),
        (NFC, NFD, "Unicode form (U+00E9, U+0301)"),
        ("007", "7", "leading zeros"),
        ("001.Albatross", "1.Albatross", "leading zeros"),
        ("7", "\uff17", "full-width characters (U+FF17)"),
        ("Cat", "cat\xa0", "blanks and capitals (U+00A0)"),
    ],
)
def test_each_difference_that_nobody_sees_is_spelt_out(name: str, other: str, said: str) -> None:
    assert name != other
    assert fold(name) == fold(other)
    assert difference(name, other) == difference(other, name) == said
    assert alike(name, [other, name, "x"]) == [f"{other}, which differs in {said}"]
    assert match_alike([name], [name], [other, "x"]) == {name: other}


@pytest.mark.parametrize(
    ("name", "other"), [("cat", "cut"), ("1.05", "1.5"), ("10", "1"), ("ab", "a b"), ("0", "00x")]
)
def test_other_names_do_not_look_equal(name: str, other: str) -> None:
    assert fold(name) != fold(other)
    assert alike(name, [other]) == []


def test_what_could_mean_several_is_not_matched() -> None:
    assert match_alike(["cat"], ["cat"], ["Cat", "CAT"]) == {}
    assert match_alike(["cat"], ["cat", "Cat"], ["Cat"]) == {}


TEXTS = {
    "GBK": ["n01,丁鱥\nn02,金鱼\n", "猫", "大白鲨,虎鲨", "鹦鹉"],
    "BIG5": ["n01,丁\nn02,金魚\n", "大白鯊", "狗", "鸚鵡,大白鯊"],
    "SHIFT_JIS": ["n01,金魚\nn02,ホオジロザメ", "ネコ", "さめ", "アイ"],
    "LATIN1": ["n02,café\n", "Ångström", "Åland,Öland", "für,größe", "niño,Köln,créée"],
    "WINDOWS-1252": ["n01,dogs\u2019 café", "n02,\u201cx\u201d"],
    "UTF-16": ["n01,x"],
    "UTF-16LE": ["n01,tench", "n01,丁鱥 tench"],
    "UTF-16BE": ["n01,tench"],
}


@pytest.mark.parametrize(("coding", "text"), [(one, text) for one in TEXTS for text in TEXTS[one]])
def test_the_encoding_in_which_bytes_read_as_text(coding: str, text: str) -> None:
    assert guess_coding(text.encode(coding)) == coding


@pytest.mark.parametrize("content", [b"\x81\x00\xff", b"n01,\x81", bytes(range(256))])
def test_bytes_that_are_no_text_in_any_encoding(content: bytes) -> None:
    assert guess_coding(content) == ""


def test_files_that_are_no_text_are_recognised() -> None:
    for protocol in range(6):
        assert binary_kind(pickle.dumps({"n01": "tench"}, protocol)) == "a Python pickle"
    assert binary_kind(b"MATLAB 5.0 MAT-file") == "a MATLAB file"
    assert binary_kind(b"PK\x03\x04...").startswith("a zip file")
    assert binary_kind("n01,丁鱥".encode()) == binary_kind("丁鱥".encode("gbk")) == ""


def test_class_folders_that_are_not_utf8_are_listed_with_the_command_that_renames_them(
    tmp_path: Path,
) -> None:
    names = [os.fsdecode(name.encode("gbk")) for name in ("狗", "大白鲨")]
    with pytest.raises(MetadataError) as refusal:
        check_utf8(["dog", *names, "丁鱥"], tmp_path / "my train")
    said = str(refusal.value)
    assert said.startswith(f"2 class folders have names in {tmp_path / 'my train'} that DINOv3 ")
    assert "\n  \\udcb9\\udcb7 (狗)\n" in said
    assert said.endswith(f"\n  convmv -f GBK -t UTF-8 -r --notest '{tmp_path / 'my train'}'")
    check_utf8(["dog", "丁鱥"], tmp_path)


@pytest.mark.parametrize("layout", ["imagenet", "folder"])
def test_such_class_folders_are_refused_alike_in_all_layouts(layout: str, tmp_path: Path) -> None:
    some = [os.fsdecode(raw) for raw in (b"caf\xe9", b"th\xe9")]
    root = make_tree(tmp_path / "root", [f"train/{name}/{name}_1.JPEG" for name in some])
    with pytest.raises(MetadataError) as refusal:
        dump_extra(root, tmp_path / "extra", ["TRAIN"], "folders", layout=layout)
    said = str(refusal.value)
    assert f"2 class folders have names in {root / 'train'} that DINOv3 cannot store" in said
    assert "\n  caf\\udce9 (café)\n  th\\udce9 (thé)\n" in said
    assert said.endswith(f"  convmv -f LATIN1 -t UTF-8 -r --notest {root / 'train'}")


@pytest.mark.parametrize("others", [["caf\xe9", "th\xe9"], ["caf\xe9"]])
def test_class_folders_in_several_encodings_get_no_command(
    others: list[str], tmp_path: Path
) -> None:
    raw = ["大白鲨".encode("gbk"), *(name.encode("latin-1") for name in others)]
    with pytest.raises(MetadataError, match="not text in any one encoding") as refusal:
        check_utf8(map(os.fsdecode, raw), tmp_path)
    assert "convmv" not in str(refusal.value)
