"""Tars for tests: written by Python, GNU tar and bsdtar, and listed by GNU tar."""

import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

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
) -> Path:
    """Write a tar with Python. A name that ends with a slash is that of a folder."""
    tar.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(tar, "w", format=how, encoding=encoding, errors="surrogateescape") as file:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), 1300000000
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
