"""Tars for tests: written by Python, GNU tar and bsdtar, and listed by GNU tar."""

import gzip
import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path
from zlib import crc32

from dinov3_metadata.tar_headers import BLOCK

JPEG = b"\xff\xd8\xff"


def image(size: int) -> bytes:
    """Data that begins as a JPEG does."""
    return (JPEG + b"ustar" * size)[:size]


def write_tar(
    tar: Path,
    members: Iterable[tuple[str, bytes]],
    how: int = tarfile.GNU_FORMAT,
    encoding: str = "utf-8",
    owner: str = "",
) -> Path:
    """Write a tar with Python. A name that ends with a slash is that of a folder."""
    tar.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(tar, "w", format=how, encoding=encoding, errors="surrogateescape") as file:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), 1300000000
            member.uname = member.gname = owner
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            file.addfile(member, io.BytesIO(data))
    return tar


def pack(program: str, tar: Path, folder: Path, *options: str) -> Path:
    """Pack a folder with GNU tar or bsdtar."""
    subprocess.run([program, *options, "-cf", tar, "-C", folder, "."], check=True)
    return tar


def gnu_lines(tar: Path) -> list[tuple[int, str]]:
    """Return the byte and the name in each line of GNU ``tar -tR``; the last is the end."""
    assert "GNU" in subprocess.check_output(["tar", "--version"], text=True)
    command = ["tar", "-tRf", tar]
    said = subprocess.run(
        command, check=True, capture_output=True, env={"LC_ALL": "C.UTF-8", "PATH": PATH}
    ).stdout.decode(errors="surrogateescape")
    found = re.findall(r"^block (\d+): (.*)$", said, re.MULTILINE)
    return [(BLOCK * int(block), name) for block, name in found]


PATH = str(Path(shutil.which("tar") or "/bin/tar").parent)


def payload(tag: str, size: int) -> bytes:
    """The data of an image in ``CASES``."""
    out, number = bytearray(JPEG + tag.encode()), 0
    while len(out) < size:
        out += crc32(f"{tag}{number}".encode()).to_bytes(4, "big")
        number += 1
    return bytes(out[:size])


SKIPPED = [(f"n06470073_{number}.JPEG", 900) for number in (47248, 47249, 47250)]
CASES: dict[str, dict[str, list[tuple[str, int]]]] = {
    "plain": {
        "n00004475": [(f"n00004475_{i}.JPEG", 700 + 311 * i) for i in (6590, 15899, 32312)],
        "n00005787": [(f"n00005787_{i}.JPEG", 512 * (i % 5) + i % 2) for i in (13, 27, 31, 32)],
        "n00006024": [("n00006024_1.JPEG", 1)],
    },
    "skipped-image": {"n06470073": SKIPPED},
    "gzip-member": {
        "n02084071": [(f"n02084071_{i}.JPEG", s) for i, s in ((1, 600), (2, 5000), (3, 600))]
    },
    "long-name-filename-width": {
        "n00000001": [("n00000001_1.JPEG", 10), (f"n00000001_{'9' * 40}.JPEG", 10)]
    },
    "empty-file": {"n00000002": [("n00000002_1.JPEG", 0), ("n00000002_2.JPEG", 20)]},
}
"""Case -> class -> its images and their sizes."""

GOLDEN: dict[str, dict[str, str]] = json.loads(
    Path(__file__).with_name("golden-22k.json").read_text()
)
"""Case -> file -> the sha256 of what the reference writes from the logs of GNU tar 1.34."""


def build(case: str, folder: Path) -> Path:
    """Write the tars of a case, the same bytes as those that the reference was given."""
    for class_id, images in CASES[case].items():
        members = []
        for name, size in images:
            data = payload(name, size) if size else b""
            if (case, size) == ("gzip-member", 5000):
                data = gzip.compress(data, mtime=0, compresslevel=6)
            members.append((name, data))
        write_tar(folder / f"{class_id}.tar", members, owner="img")
    return folder
