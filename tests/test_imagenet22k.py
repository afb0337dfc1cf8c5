"""DINOv3's and DINOv2's own ImageNet22k under the launcher, on the tars of a folder."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
from dinov3_metadata import dump_extra
from helpers import REPOSITORY
from tarring import image, write_tar

# Stand-ins for the interface, with what is wrong in it: the base class takes decoders first, but is
# given a root; there is no get_root; the files must exist; and gzip is expected in some rows alone.
BASE = """
class VisionDataset:
    def __init__(self, root=None, transforms=None, transform=None, target_transform=None):
        self.root = root

class ExtendedVisionDataset(VisionDataset):
    def __init__({decoders}*args, **kwargs):
        super().__init__(*args, **kwargs)
"""
BASES = {
    "dinov3": BASE.format(decoders="self, image_decoder=None, target_decoder=None, "),
    "dinov2": BASE.format(decoders="self, "),
}
CLASS = """
import gzip
import os

import numpy as np

from .extended import ExtendedVisionDataset

class ImageNet22k(ExtendedVisionDataset):
    def __init__(self, *, root, extra, transforms=None, transform=None, target_transform=None):
        super().__init__(root, transforms, transform, target_transform)
        self._extra_root = extra
        self._entries = self._load_extra("entries.npy")
        self._class_ids = self._load_extra("class-ids.npy")
        self._gzipped_indices = {841_545}

    def _load_extra(self, name):
        return np.load(os.path.join(self._extra_root, name), mmap_mode="r")

    def get_image_data(self, index):
        row = self._entries[index]
        with open(os.path.join(self.root, row["class_id"] + ".tar"), "rb") as file:
            file.seek(int(row["start_offset"]) + 512)
            data = file.read(int(row["end_offset"]) - int(row["start_offset"]) - 512)
        if data[:2] == bytes([31, 139]):
            assert index in self._gzipped_indices
            data = gzip.decompress(data)
        return data

    def __len__(self):
        return len(self._entries)

    def dump_extra(self, root=None):
        self.get_root(root)
"""
READ = """
import sys
from {package}.data.datasets.image_net_22k import ImageNet22k
dataset = ImageNet22k(root=sys.argv[1], extra=sys.argv[2])
if sys.argv[3:] == ["dump"]:
    dataset.dump_extra()
data = [dataset.get_image_data(row).rstrip(b"\\0") for row in range(len(dataset))]
print(dataset.root, [len(one) for one in data], {{one[:3] for one in data}})
"""


@pytest.fixture(params=BASES)
def package(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    folder = tmp_path / "code" / request.param / "data/datasets"
    folder.mkdir(parents=True)
    for path in (folder, folder.parent, folder.parent.parent):
        (path / "__init__.py").touch()
    (folder / "extended.py").write_text(BASES[request.param])
    (folder / "image_net_22k.py").write_text(CLASS)
    return request.param


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "数据 a:b=c"
    members = [("1.JPEG", image(600)), ("2.JPEG", gzip.compress(image(5000))), ("3.JPEG", image(9))]
    write_tar(root / "n1.tar", members)
    write_tar(root / "n2.tar", [(f"{'long ' * 30}.JPEG", image(7))])
    return root


def read(package: str, root: Path, *more: str) -> subprocess.CompletedProcess:
    """Read all images of a dataset under the launcher, where the package can be imported."""
    code, extra = root.parent / "code", root.parent / "extra"
    folders = [str(path).replace(":", "%3A").replace("=", "%3D") for path in (root, extra)]
    command = [sys.executable, "-c", READ.format(package=package), *folders, *more]
    return subprocess.run(
        [sys.executable, "-m", "dinov3_metadata.dinov3", "--", *command],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": f"{code}:{REPOSITORY / 'workflow'}"},
    )


def test_the_class_reads_each_image(package: str, root: Path) -> None:
    dump_extra(root, root.parent / "extra")
    done = read(package, root)
    assert done.stdout == f"{root} [600, 5000, 9, 7] {{b'\\xff\\xd8\\xff'}}\n", done.stderr


def test_its_dump_extra_makes_the_files(package: str, root: Path) -> None:
    done = read(package, root)
    assert "Error: There is no metadata of the tars in" in done.stderr
    done = read(package, root, "dump")
    assert done.stdout.endswith("[600, 5000, 9, 7] {b'\\xff\\xd8\\xff'}\n"), done.stderr
    assert (root.parent / "extra/metadata.json").exists()


def test_files_of_another_program_are_read_too(package: str, root: Path) -> None:
    dump_extra(root, root.parent / "extra")
    (root.parent / "extra/metadata.json").unlink()
    assert "[600, 5000, 9, 7]" in read(package, root).stdout


def test_files_of_two_publications_are_not(package: str, root: Path) -> None:
    extra = root.parent / "extra"
    dump_extra(root, extra)
    entries = (extra / "entries.npy").read_bytes()
    write_tar(root / "n3.tar", [("1.JPEG", image(9))])
    dump_extra(root, extra)
    (extra / "entries.npy").write_bytes(entries)
    assert "belong to two publications" in read(package, root).stderr
