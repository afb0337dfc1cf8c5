"""Names that look equal and are not, and bytes that are not UTF-8."""

import os
import pickle
import unicodedata
from pathlib import Path

import pytest
from dinov3_metadata.coding import binary_kind, find_utf8_line, guess_codings
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
        ("cat", "\u0441\u0430t", "letters of other scripts (U+0430, U+0441)"),
        ("собака", "собакa", "letters of other scripts (U+0430)"),
        ("Tiger", "\u0422iger", "letters of other scripts (U+0422)"),
        ("тигр", "Тигp", "letters of other scripts and capitals (U+0422, U+0440, U+0442)"),
        ("Owl", "\u039fwl", "letters of other scripts (U+039F)"),
        ("fish", "\ufb01sh", "compatibility characters (U+FB01)"),
        ("m2", "m\xb2", "compatibility characters (U+00B2)"),
        ("T-shirt", "T\u2010shirt", "dashes (U+2010)"),
        ("T-shirt", "T\u2015shirt", "dashes (U+2015)"),
        ("T-shirt", "T\u2212shirt", "dashes (U+2212)"),
        ("dog's", "dog\u2019s", "quotes (U+2019)"),
        ('"x"', "\u201cx\u201d", "quotes (U+201C, U+201D)"),
        ("КОТ", "кот", "capitals (U+041A, U+041E, U+0422, U+043A, ...)"),
        ("ΟΧΙ", "οχι", "capitals (U+0399, U+039F, U+03A7, U+03B9, ...)"),
        ("BMW-ТРАК", "bmw-трак", "capitals (U+0410, U+041A, U+0420, U+0422, ...)"),
    ],
)
def test_each_difference_that_nobody_sees_is_spelt_out(name: str, other: str, said: str) -> None:
    assert name != other
    assert fold(name) == fold(other)
    assert difference(name, other) == difference(other, name) == said
    assert alike(name, [other, name, "x"]) == [f"{other}, which differs in {said}"]
    assert match_alike([name], [name], [other, "x"]) == {name: other}


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("cat", "cut"),
        ("1.05", "1.5"),
        ("10", "1"),
        ("ab", "a b"),
        ("0", "00x"),
        ("кот", "kot"),
        ("нос", "hoc"),
        ("ВОЛК", "BOAK"),
        ("νους", "vous"),
        ("a-b", "a_b"),
    ],
)
def test_other_names_do_not_look_equal(name: str, other: str) -> None:
    assert fold(name) != fold(other)
    assert alike(name, [other]) == []


def test_what_could_mean_several_is_not_matched() -> None:
    assert match_alike(["cat"], ["cat"], ["Cat", "CAT"]) == {}
    assert match_alike(["cat"], ["cat", "Cat"], ["Cat"]) == {}


NAMES = {
    "GBK": "丁鱥 金鱼 大白鲨 虎鲨 锤头鲨 公鸡 鸵鸟 苍头燕雀 喜鹊",
    "BIG5": "鯉魚 金魚 大白鯊 虎鯊 雙髻鯊 公雞 鴕鳥 鸚鵡 喜鵲 寶寶",
    "SHIFT_JIS": "金魚 ホオジロザメ イタチザメ おんどり ダチョウ 犬 猫",
    "CP932": "髙橋 ホオジロザメ イタチザメ おんどり ダチョウ 犬 猫",
    "EUC-JP": "金魚 ホオジロザメ イタチザメ おんどり ダチョウ 犬 猫",
    "EUC-KR": "개 고양이 말 호랑이 사자 코끼리 기린 원숭이 너구리 금붕어",
    "CP949": "똠방각하 고양이 말 호랑이 사자 코끼리 기린 원숭이 너구리",
    "WINDOWS-1251": "собака Кошка лошадь корова овца медведь слон",
    "KOI8-R": "собака Кошка лошадь корова овца медведь слон",
    "KOI8-U": "собака кіт їжак ведмідь слон віслюк кінь",
    "CP866": "собака Кошка лошадь корова овца медведь слон",
    "ISO-8859-5": "собака Кошка лошадь корова овца медведь слон",
    "LATIN1": "chèvre léopard éléphant zèbre écureuil forêt",
    "WINDOWS-1252": "bœuf œillet forêt île août dogs\u2019 chèvre léopard éléphant",
    "CP850": "Bär Löwe Käfer Möwe Größe Küken",
    "WINDOWS-1250": "koń świnia gęś królik niedźwiedź żyrafa wiewiórka mrówka",
    "ISO-8859-2": "kočka kůň kráva králík medvěd žirafa veverka včela",
    "WINDOWS-1254": "köpek ördek tavşan ayı zürafa balık şemsiye şişe",
    "WINDOWS-1257": "šuo katė žąsis višta vėžlys voverė lūšis žuvėdra",
    "WINDOWS-1258": "gâ\u0301u hô\u0309 tho\u0309 vi\u0323t ngư\u0323a sư tư\u0309 khi\u0309",
    "WINDOWS-1253": "σκύλος γάτα άλογο αγελάδα πρόβατο ελέφαντας",
    "ISO-8859-7": "σκύλος Άλογο γάτα αγελάδα πρόβατο ελέφαντας",
    "WINDOWS-1255": "כלב חתול סוס פרה כבשה אריה פיל",
    "WINDOWS-1256": "كلب قطة حصان بقرة خروف أسد فيل",
    "CP874": "สุนัข แมว ม้า ไก่ เป็ด กระต่าย ช้าง โต๊ะ",
}
FORMS = {
    "names": "{name}",
    "CSV": "n{number:08},{name}",
    "mostly ASCII": "{number},{name},the class number {number} of some",
}


def lines_of(coding: str, form: str) -> list[str]:
    """The lines of a labels file."""
    names = enumerate(NAMES[coding].split())
    return [FORMS[form].format(number=number, name=name) for number, name in names]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("coding", NAMES)
def test_the_encoding_in_which_a_few_names_read_as_text(coding: str, form: str) -> None:
    text = "\n".join(lines_of(coding, form))
    raw = text.encode(coding)
    assert [raw.decode(one) for one in guess_codings(raw)] == [text]


@pytest.mark.parametrize(
    ("coding", "text"),
    [
        ("GBK", "猫"),
        ("GBK", "鹦鹉"),
        ("BIG5", "狗"),
        ("SHIFT_JIS", "ネコ"),
        ("EUC-JP", "ネコ"),
        ("EUC-KR", "고양이"),
        ("WINDOWS-1251", "кот"),
        ("LATIN1", "niño,Köln,créée"),
        ("LATIN1", "Åland"),
        ("WINDOWS-1250", "gęś"),
    ],
)
def test_several_encodings_are_named_if_one_name_reads_in_several(coding: str, text: str) -> None:
    raw = f"n01,{text}\n".encode(coding)
    guesses = guess_codings(raw)
    assert coding in guesses
    assert len({raw.decode(one) for one in guesses}) == len(guesses) <= 3


@pytest.mark.parametrize(
    ("coding", "text"),
    [
        ("UTF-16", "n01,x"),
        ("UTF-16LE", "n01,tench"),
        ("UTF-16LE", "n01,丁鱥 tench"),
        ("UTF-16BE", "n01,tench"),
    ],
)
def test_utf_16_is_recognised(coding: str, text: str) -> None:
    assert guess_codings(text.encode(coding)) == [coding]


@pytest.mark.parametrize(
    "content", [b"\x81\x00\xff", b"n01,\x81", bytes(range(256)), b"\xef\xbb\xbfn01,caf\xe9"]
)
def test_bytes_that_are_no_text_in_any_encoding(content: bytes) -> None:
    assert guess_codings(content) == []


@pytest.mark.parametrize("latin", [b"n99,gr\xf6\xdfe", b"n99,caf\xe9,x"])
@pytest.mark.parametrize("coding", ["GBK", "EUC-KR", "WINDOWS-1251"])
def test_lines_in_different_encodings_read_in_none(coding: str, latin: bytes) -> None:
    others = "\n".join(lines_of(coding, "CSV")).encode(coding)
    assert guess_codings(others + b"\n" + latin + b"\n") == []


def test_a_line_in_cyrillic_among_latin_ones_reads_in_none() -> None:
    others = "\n".join(lines_of("LATIN1", "CSV")).encode("latin-1")
    assert guess_codings(others + "\nn99,собака".encode("cp1251")) == []


@pytest.mark.parametrize("at", [0, 3, 5])
@pytest.mark.parametrize("coding", NAMES)
def test_a_line_that_is_utf8_among_others_is_found(coding: str, at: int) -> None:
    lines = lines_of(coding, "CSV")
    raw = [line.encode(coding) for line in lines]
    assert find_utf8_line(b"\n".join(raw))[0] == 0
    raw[at] = lines[at].encode()
    number, others = find_utf8_line(b"\n".join(raw))
    assert number == at + 1
    assert raw[1].decode(others[0]) == lines[1]


@pytest.mark.parametrize(
    ("coding", "text"),
    [
        ("GBK", "n01,帽\nn02,金鱼\n"),
        ("GBK", "n01,小\nn02,鹦鹉\nn03,金鱼"),
        ("CP866", "n01,улитка\nn02,собака\nn03,корова"),
        ("CP874", "n01,รถ\nn02,แมว\nn03,สุนัข"),
    ],
)
def test_a_line_that_is_utf8_by_accident_is_not_taken_for_it(coding: str, text: str) -> None:
    raw = text.encode(coding)
    raw.splitlines()[0].decode()
    assert find_utf8_line(raw)[0] == 0


@pytest.mark.parametrize("utf8", ["n01,हाथी\n", "n01,丁鱥\n", "\ufeffn01,café\n"])
def test_utf8_of_any_script_is_found_beside_another_encoding(utf8: str) -> None:
    assert find_utf8_line(utf8.encode() + b"n02,caf\xe9\n") == (1, ["LATIN1"])


def test_files_that_are_no_text_are_recognised() -> None:
    for protocol in range(6):
        assert binary_kind(pickle.dumps({"n01": "tench"}, protocol)) == "a Python pickle"
    assert binary_kind(b"MATLAB 5.0 MAT-file") == "a MATLAB file"
    assert binary_kind(b"PK\x03\x04...").startswith("a zip file")
    assert binary_kind("n01,丁鱥".encode()) == binary_kind("丁鱥".encode("gbk")) == ""


def test_class_folders_that_are_not_utf8_are_listed_with_the_command_that_renames_them(
    tmp_path: Path,
) -> None:
    names = [os.fsdecode(name.encode("gbk")) for name in ("狗", "大白鲨", "金鱼")]
    with pytest.raises(MetadataError) as refusal:
        check_utf8(["dog", *names, "丁鱥"], tmp_path / "my train")
    said = str(refusal.value)
    assert said.startswith(f"3 class folders have names in {tmp_path / 'my train'} that DINOv3 ")
    assert "\n  \\udcb9\\udcb7 (狗)\n" in said
    assert said.endswith(f"\n  convmv -f GBK -t UTF-8 -r --notest '{tmp_path / 'my train'}'")
    check_utf8(["dog", "丁鱥"], tmp_path)


def test_a_name_that_reads_in_several_encodings_is_shown_in_each(tmp_path: Path) -> None:
    with pytest.raises(MetadataError) as refusal:
        check_utf8([os.fsdecode("大白鲨".encode("gbk"))], tmp_path)
    said = str(refusal.value)
    assert "(GBK: 大白鲨, EUC-KR: " in said
    for coding in ("GBK", "EUC-KR"):
        assert f"\n  convmv -f {coding} -t UTF-8 -r --notest {tmp_path}" in said


@pytest.mark.parametrize("coding", ["GB18030", "UTF-16"])
def test_no_encoding_is_named_that_convmv_does_not_know(coding: str, tmp_path: Path) -> None:
    raw = ["金鱼", "大白鲨", "\u4c9f鱼"] if coding == "GB18030" else ["文"]
    with pytest.raises(MetadataError, match="not text in any one encoding") as refusal:
        check_utf8([os.fsdecode(name.encode(coding)) for name in raw], tmp_path)
    assert "convmv" not in str(refusal.value)


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
