"""The images in a tar are those that GNU ``tar -tR`` lists, and each is read where it is."""

import bz2
import gzip
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata.addresses import is_image
from dinov3_metadata.errors import DatasetChangedError, MetadataError
from dinov3_metadata.tar_headers import BLOCK, number, padded, quoted
from dinov3_metadata.tar_windows import follow, plain_files
from dinov3_metadata.tars import LARGEST, Members, check_offsets, list_members
from hypothesis import given, settings
from hypothesis import strategies as st
from tarring import JPEG, gnu_lines, image, pack, write_tar

LONG = "n1/" + "long " * 30 + ".JPEG"
NAMES = [
    "a.JPEG",
    "n1/",
    "猫 b:c.png",
    LONG,
    "n1/._a.JPEG",
    ".DS_Store",
    "back\\slash.jpg",
    "z.JPEG",
]
FORMATS = {"gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT, "ustar": tarfile.USTAR_FORMAT}


def is_shown_image(member: tarfile.TarInfo, data: bytes) -> bool:
    """Return whether a member is an image, and not hidden."""
    parts = member.name.removeprefix("./").split("/")
    if not member.isreg() or any(one.startswith(".") and one not in (".", "..") for one in parts):
        return False
    return is_image(member.name) or data[member.offset_data :][:3] == JPEG[: member.size]


def check(tar: Path) -> Members:
    """Compare the images in a tar with what GNU tar lists and what Python reads."""
    found, lines = list_members(tar), gnu_lines(tar)
    data = tar.read_bytes()
    with tarfile.open(tar, encoding="utf-8", errors="surrogateescape") as file:
        members = [*zip(file, lines, lines[1:], strict=False)]
    assert len(members) == len(lines) - 1
    images = [one for one in members if is_shown_image(one[0], data)]
    for name, start, end, (member, here, after) in zip(*found[:3], images, strict=True):
        assert name == quoted(member.name.encode(errors="surrogateescape"))
        assert start + BLOCK == member.offset_data
        is_long = start != here[0]  # GNU tar names the block of the long name
        assert not is_long or len(member.name.encode(errors="surrogateescape")) > 99
        assert end == after[0]
        assert end >= start + BLOCK + member.size
    return found


@pytest.mark.parametrize("how", FORMATS)
@pytest.mark.parametrize("sizes", [[10] * 8, [0, 0, 511, 512, 513, 3, 9, 70_000], [80_000] * 8])
def test_each_format_and_size(how: str, sizes: list[int], tmp_path: Path) -> None:
    names = [name for name in NAMES if how != "ustar" or len(name) < 100]
    members = [
        (name, b"" if name.endswith("/") else image(size))
        for name, size in zip(names * 5, sizes * 5, strict=False)
    ]
    found = check(write_tar(tmp_path / "n1.tar", members, FORMATS[how]))
    assert len(found.names) > 15
    assert found.left_out["folders"] == 5
    assert found.left_out["hidden files"] == 10


PROGRAMS = [["tar"], ["tar", "--format=v7"], ["tar", "--format=posix"]]
PROGRAMS += [["bsdtar"]] if shutil.which("bsdtar") else []  # Debian: libarchive-tools


@pytest.mark.parametrize("program", PROGRAMS)
def test_tars_of_other_programs(program: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "n1"
    for k, name in enumerate([*NAMES, "below/x.JPEG", "notes.txt", "no suffix"]):
        if name.endswith("/") or (len(name) > 90 and "v7" in program[-1]):
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"text" if name == "notes.txt" else image(100 * k))
    os.symlink("a.JPEG", folder / "link.JPEG")
    found = check(pack(program[0], tmp_path / "n1.tar", folder, *program[1:]))
    assert {"./a.JPEG", "./below/x.JPEG", "./no suffix"} <= {*found.names}
    assert found.left_out["links"] == found.left_out["files that are no images"] == 1


names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=60
)
paths = st.lists(names.filter(lambda name: name not in (".", "..")), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(
    members=st.dictionaries(
        paths.map("/".join).map(lambda name: f"{name}.JPEG"),
        st.sampled_from([0, 3, 511, 512, 513, 1500]),
        max_size=12,
    ),
    how=st.sampled_from([*FORMATS.values()]),
)
def test_invented_tars(
    members: dict[str, int], how: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tar = tmp_path_factory.mktemp("tars") / "n1.tar"
    try:
        write_tar(tar, ((name, image(size)) for name, size in members.items()), how)
    except ValueError:  # ustar has no room for the name
        return
    check(tar)


def write_holes(tar: Path, sizes: list[int], name: str = "{}.JPEG") -> Path:
    """Write members whose data is a hole, so that they can be of any size."""
    with tar.open("wb") as file:
        for k, size in enumerate(sizes):
            member = tarfile.TarInfo(name.format(k))
            member.size = size
            file.write(member.tobuf(tarfile.GNU_FORMAT))
            file.seek(padded(size), os.SEEK_CUR)
        file.write(bytes(2 * BLOCK))
    return tar


@pytest.mark.parametrize(
    "sizes",
    [
        [3 << 20, 1, 5 << 20, 2 << 20, (2 << 20) - 1],  # from 2 MiB on, with more digits
        [70_000] * 600,  # of which each header is read alone
        [70_000] * 300 + [100] * 3000 + [70_000] * 10,
        [9 << 30, 1, 70_000],  # in binary
    ],
)
def test_members_of_any_size(sizes: list[int], tmp_path: Path) -> None:
    tar = write_holes(tmp_path / "n1.tar", sizes)
    found, lines = list_members(tar), gnu_lines(tar)
    assert [*zip(found.starts, found.names, strict=True)] == lines[:-1]
    assert found.ends.tolist() == [start for start, _ in lines[1:]]


def change_header(tar: Path, at: int, field: int, content: bytes) -> None:
    """Overwrite bytes of a header, and mend its checksum."""
    data = bytearray(tar.read_bytes())
    data[at + field : at + field + len(content)] = content
    data[at + 148 : at + 156] = b" " * 8
    data[at + 148 : at + 155] = b"%06o\0" % sum(data[at : at + BLOCK])
    tar.write_bytes(data)


@pytest.mark.parametrize("size", [100, 70_000])
def test_a_name_ends_at_its_zero(size: int, tmp_path: Path) -> None:
    tar = write_holes(tmp_path / "n1.tar", [size] * 300, "long name {}.JPEG")
    change_header(tar, 200 * (BLOCK + padded(size)), 0, b"a.JPEG\0")
    assert list_members(tar).names[200] == "a.JPEG" == gnu_lines(tar)[200][1]


@pytest.mark.parametrize("size", [100, 70_000])
@pytest.mark.parametrize("field", [3, 130, 150, 250, 511])  # name, size, checksum, user, end
def test_a_wrong_checksum_among_many(size: int, field: int, tmp_path: Path) -> None:
    tar = write_holes(tmp_path / "n1.tar", [size] * 400)
    at = 300 * (BLOCK + padded(size))
    with tar.open("r+b") as file:
        file.seek(at + field)
        before = file.read(1)
        file.seek(at + field)
        file.write(bytes([before[0] ^ 1]))
    with pytest.raises(MetadataError, match=f"damaged at byte {at:,}, where the checksum"):
        list_members(tar)


@pytest.mark.parametrize("size", [100, 70_000])
def test_plain_headers_are_read_together(size: int, tmp_path: Path) -> None:
    tar = write_holes(tmp_path / "n1.tar", [size, 9, 3 << 20] * 50)
    with tar.open("rb") as file:
        headers = b"".join(os.pread(file.fileno(), BLOCK, at) for at in list_members(tar).starts)
        assert len(follow(file.fileno(), 0).names) == 150
    names, sizes = plain_files(np.frombuffer(headers, np.uint8).reshape(-1, BLOCK))
    assert sizes.tolist() == [size, 9, 3 << 20] * 50
    assert names.tolist() == [b"%d.JPEG" % k for k in range(150)]


@pytest.mark.parametrize("size", [100, 70_000])
def test_an_empty_file_has_none_of_the_data_that_follows(size: int, tmp_path: Path) -> None:
    members = [("1.JPEG", image(size)), ("empty", b""), ("BM.JPEG", image(size))] * 100
    found = list_members(write_tar(tmp_path / "n1.tar", members))
    assert found.left_out == {"files that are no images": 100}


def test_large_members_without_an_end(tmp_path: Path) -> None:
    tar = write_holes(tmp_path / "n1.tar", [70_000] * 5)
    os.truncate(tar, 5 * (BLOCK + padded(70_000)))
    assert len(list_members(tar).names) == 5


def test_hidden_is_what_begins_with_a_dot(tmp_path: Path) -> None:
    hidden = [".a.JPEG", "..a.JPEG", "n1/.a.JPEG", "n1/...JPEG", ".n1/a.JPEG", "./._a.JPEG"]
    shown = ["./a.JPEG", "../a.JPEG", "n1/./a.JPEG", "a.b.JPEG", "n1./a.JPEG"]
    members = [(name, b"") for name in hidden + shown]
    assert list_members(write_tar(tmp_path / "n1.tar", members)).names.tolist() == shown


def test_a_suffix_is_that_of_one_name(tmp_path: Path) -> None:
    members = [("aaaa.jp", b"text"), ("g", b"text"), ("1.JPG", b"text"), (".png", b"text")]
    found = list_members(write_tar(tmp_path / "n1.tar", members))
    assert found.names.tolist() == ["1.JPG"]
    assert found.left_out == {"files that are no images": 2, "hidden files": 1}


def test_gzip_is_found_by_the_first_bytes(tmp_path: Path) -> None:
    members = [("1.JPEG", image(600)), ("2.JPEG", gzip.compress(image(600))), ("3.JPEG", b"")]
    found = list_members(write_tar(tmp_path / "n1.tar", members))
    assert found.gzipped.tolist() == [False, True, False]


def test_the_image_that_the_reference_leaves_out(tmp_path: Path) -> None:
    members = [(f"n06470073_4724{k}.JPEG", image(10)) for k in (8, 9)]
    found = list_members(write_tar(tmp_path / "n06470073.tar", members))
    assert found.names.tolist() == ["n06470073_47248.JPEG"]
    assert found.left_out == {"images that cannot be decoded": 1}


def whole(tmp_path: Path, many: int = 3, size: int = 700) -> Path:
    return write_tar(tmp_path / "n1.tar", [(f"{k}.JPEG", image(size)) for k in range(many)])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: b"", "n1.tar is empty"),
        (lambda data: data[:700], r"is cut: it has 700 bytes, but 0.JPEG needs 1,536"),
        (lambda data: data[:1700], "is cut: it has 1,700 bytes, but a header needs 2,048"),
        (
            lambda data: data[:1600] + b"!" + data[1601:],
            "damaged at byte 1,536, where the checksum",
        ),
        (gzip.compress, "is compressed by gzip"),
        (bz2.compress, "is compressed by bzip2"),
        (lambda data: b"<html>" * 200, "is not a tar: it begins with b'<html><h'"),
    ],
)
@pytest.mark.parametrize("size", [700, 100_000])
def test_a_file_that_is_no_whole_tar(damage, said: str, size: int, tmp_path: Path) -> None:
    tar = whole(tmp_path)
    tar.write_bytes(damage(tar.read_bytes()))
    with pytest.raises(MetadataError, match=said):
        list_members(tar)


def test_a_tar_without_an_end_may_be_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tar = whole(tmp_path)
    tar.write_bytes(tar.read_bytes()[:4608])
    assert list_members(tar).ends.tolist() == [1536, 3072, 4608]
    assert "lacks the two empty blocks" in caplog.text


def test_members_that_cannot_be_read_in_place(tmp_path: Path) -> None:
    folder = tmp_path / "n1"
    folder.mkdir()
    (folder / "a.JPEG").write_bytes(image(10))
    os.link(folder / "a.JPEG", folder / "b.JPEG")
    with pytest.raises(MetadataError, match=r"\.JPEG is a hard link to another member"):
        list_members(pack("tar", tmp_path / "n1.tar", folder))
    (folder / "b.JPEG").unlink()
    os.truncate(folder / "a.JPEG", 1 << 20)
    for how in ("--format=gnu", "--format=posix"):
        with pytest.raises(MetadataError, match="is a sparse file"):
            list_members(pack("tar", tmp_path / "n1.tar", folder, "--sparse", how))


def test_an_image_beyond_four_gibibytes_is_refused() -> None:
    ends = np.array([10, LARGEST - 1, LARGEST, LARGEST + 9], np.uint64)
    found = Members(np.array(["a", "b", "c", "d"]), ends - np.uint64(9), ends, ends > 0, {})
    with pytest.raises(MetadataError, match=r"c ends beyond 4 GiB, .* and so do 1 more images"):
        check_offsets("n1.tar", found)
    check_offsets("n1.tar", Members(*(part[:2] for part in found[:4]), {}))


def test_a_tar_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar, real = whole(tmp_path), os.preadv

    def edited(*words) -> int:
        got = real(*words)
        with tar.open("ab") as file:
            file.write(b"\0" * 512)
        return got

    monkeypatch.setattr(os, "preadv", edited)
    with pytest.raises(DatasetChangedError, match="changed while it was read"):
        list_members(tar)


def test_numbers_in_both_forms() -> None:
    assert number(b"0000017\0") == number(b"     17 ") == 15
    assert number(b"\x80" + (1 << 40).to_bytes(11, "big")) == 1 << 40
    assert number(b"000008\0\0") == number(b"\xff" * 12) == -1


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (["n01440764.tar", "n01443537.tar"], "contains tars, as ILSVRC2012_img_train.tar does"),
        (["0001.jpg", "0001.cls", "0002.jpg", "0002.cls"], "is a shard of WebDataset"),
    ],
)
def test_tars_that_are_made_for_something_else(
    members: list[str], said: str, tmp_path: Path
) -> None:
    data = b"n01440764" * 99
    tar = write_tar(tmp_path / "n1.tar", [(name, data) for name in members])
    with pytest.raises(MetadataError, match=said):
        list_members(tar)
