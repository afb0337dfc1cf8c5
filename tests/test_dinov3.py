"""DINOv3's own ImageNet with datasets of any size, in this and in other processes."""

import ast
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from dinov3_metadata import MetadataError, dump_extra
from dinov3_metadata.addresses import unescaped
from dinov3_metadata.dinov3 import use_metadata_lengths
from dinov3_metadata.named import Split, named_in
from dinov3_metadata.summary import dataset_path
from helpers import REPOSITORY, SPLIT_OF_DINOV3

# A stand-in for the interface: an ImageNet with an enum of splits that know the lengths of
# the splits of ImageNet-1k, and a length that must be one of these.
CLASS = """
import numpy as np

class ImageNet:
    Split = _Split

    def __init__(self, *, split, root, extra):
        self.split, self.root, self._extra_root, self._entries = split, root, extra, None

    def _get_entries(self):
        if self._entries is None:
            self._entries = np.load(f"{self._extra_root}/entries-{self.split.name}.npy", "r")
        return self._entries

    def __len__(self):
        assert len(self._get_entries()) == self.split.length
        return len(self._get_entries())

def parse(dataset):
    name, *tokens = dataset.split(":")
    options = dict(token.split("=") for token in tokens)
    return ImageNet(**options | {"split": ImageNet.Split[options["split"]]})
"""
# What it does to read an image.
READING = """
def get_image_data(self, index):
    row = self._get_entries()[index]
    path = self.split.get_image_relpath(row["actual_index"], str(row["class_id"]))
    with open(f"{self.root}/{path}", "rb") as file:
        return file.read()

def __getitem__(self, index):
    try:
        image = self.get_image_data(index)
        if image.startswith(b"bad"):
            raise ValueError("cannot be decoded")
    except Exception as error:
        raise RuntimeError(f"can not read image for sample {index}") from error
    return image, int(self._get_entries()[index]["class_index"])

ImageNet.get_image_data, ImageNet.__getitem__ = get_image_data, __getitem__
"""
STAND_IN = SPLIT_OF_DINOV3 + CLASS + READING

LENGTH = """
from {package}.data.datasets.image_net import parse
import sys
print([len(parse(dataset)) for dataset in sys.argv[1:]], parse(sys.argv[1]).split.length)
"""


@pytest.fixture
def place(tree: Path, tmp_path: Path) -> Path:
    """A folder with both packages, scripts that use them, and metadata in ``extra``."""
    for package in ("dinov2", "dinov3"):
        folder = tmp_path / "code" / package / "data/datasets"
        folder.mkdir(parents=True)
        for path in (folder, folder.parent, folder.parent.parent):
            (path / "__init__.py").touch()
        (folder / "image_net.py").write_text(STAND_IN)
        (tmp_path / f"code/{package}.py.txt").write_text(LENGTH.format(package=package))
    dump_extra(tree, tmp_path / "extra", ["TRAIN", "VAL", "TEST"])
    return tmp_path


def run(place: Path, *command: str, installed: bool = True) -> subprocess.CompletedProcess:
    """Run a command where both packages can be imported."""
    paths = [str(place / "code")] + [str(REPOSITORY / "workflow")] * installed
    return subprocess.run(
        [*command],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )


LAUNCH = [sys.executable, "-m", "dinov3_metadata.dinov3", "--"]


@pytest.mark.parametrize("package", ["dinov2", "dinov3"])
def test_the_launcher_reaches_each_process(package: str, place: Path, tree: Path) -> None:
    split = [dataset_path(split, tree, place / "extra") for split in ("TRAIN", "VAL", "TEST")]
    script = [sys.executable, str(place / f"code/{package}.py.txt"), *split]
    assert "AssertionError" in run(place, *script).stderr
    assert run(place, *LAUNCH, *script).stdout == "[4, 3, 2] 1281167\n"
    shell = ["sh", "-c", 'exec "$@"', "sh", *script]  # a process that another process starts
    assert run(place, *LAUNCH, *shell).stdout == "[4, 3, 2] 1281167\n"


def test_the_environment_s_own_sitecustomize_runs_too(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # it hides that the launcher loses output
    (place / "code/sitecustomize.py").write_text("print('mine')")
    done = run(place, *LAUNCH, sys.executable, "-c", "import dinov3_metadata; print('ours')")
    assert done.stdout == "mine\nmine\nours\n"  # in the launcher and in the command


def test_the_package_need_not_be_installed_where_the_command_runs(place: Path, tree: Path) -> None:
    startup = REPOSITORY / "workflow/dinov3_metadata/startup"
    dataset = dataset_path("VAL", tree, place / "extra")
    code = f"import sys; sys.path[:0] = [{str(place / 'code')!r}]; sys.argv[1:] = [{dataset!r}]\n"
    code += LENGTH.format(package="dinov3")
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(startup)},
    )
    assert done.stdout == "[3] 50000\n", done.stderr


def test_one_line_before_training(place: Path, tree: Path) -> None:
    lines = f"""
from dinov3_metadata.addresses import unescaped
from dinov3_metadata.dinov3 import use_metadata_lengths
from dinov3_metadata.named import Split, named_in
use_metadata_lengths({str(place / "extra")!r})
import sys
from dinov3.data.datasets.image_net import ImageNet, parse
dataset = parse({dataset_path("TRAIN", tree, place / "extra")!r})
print(len(dataset), [split.length for split in ImageNet.Split])
use_metadata_lengths()  # of the datasets alone
print(len(dataset), [split.length for split in ImageNet.Split])
use_metadata_lengths({str(place / "extra")!r})
print([split.length for split in ImageNet.Split])
"""
    done = run(place, sys.executable, "-c", lines)
    assert done.stdout.splitlines() == [
        "4 [4, 3, 2]",
        "4 [1281167, 50000, 100000]",
        "[4, 3, 2]",
    ], done.stderr


def test_entries_that_are_not_of_the_metadata(place: Path, tree: Path) -> None:
    (place / "extra/entries-TRAIN.npy").write_bytes((place / "extra/entries-VAL.npy").read_bytes())
    script = [sys.executable, str(place / "code/dinov3.py.txt")]
    done = run(place, *LAUNCH, *script, dataset_path("TRAIN", tree, place / "extra"))
    assert "has 3 rows, but 4 are expected from metadata-TRAIN.json" in done.stderr
    (place / "extra/metadata-TRAIN.json").unlink()
    done = run(place, *LAUNCH, *script, dataset_path("TRAIN", tree, place / "extra"))
    assert "has 3 rows, but 1,281,167 are expected" in done.stderr


LATER = """
import json, os, sys, time
from dinov3_metadata import dinov3, dump_extra
from dinov3_metadata.addresses import unescaped
from dinov3_metadata.dinov3 import use_metadata_lengths
from dinov3_metadata.named import Split, named_in
from dinov3_metadata.paths import path_of
use_metadata_lengths()
from dinov3.data.datasets.image_net import parse
root, extra, name = sys.argv[1:]
other = parse(name)
dataset = parse(name)
print(len(dataset), len(other))
open(f"{root}/train/n01440764/n01440764_2.JPEG", "w")
dump_extra(root, extra, ["TRAIN", "VAL", "TEST"])
print(len(dataset), len(parse(name)))
journal = path_of(extra, "journal", stamp="0123456789abcdef")
os.makedirs(os.path.dirname(journal), exist_ok=True)
inode = os.stat(f"{extra}/entries-TRAIN.npy").st_ino
new = {"entries-TRAIN.npy": ["." + "0" * 12 + "-" + "0" * 32 + ".tmp", inode]}
new["metadata-TRAIN.json"] = ["." + "0" * 12 + "-" + "1" * 32 + ".tmp", 1]
with open(journal, "w") as file:
    json.dump({"stamp": "0123456789abcdef", "new": new}, file)
print(len(dataset))  # as it was found whole
dinov3.PATIENCE = 0.1
for damage in (None, "null", "[" * 100_000, '{"images": "5"}', '{"images": 7}', "fifo"):
    if damage == "fifo":
        os.unlink(f"{extra}/metadata-TRAIN.json")
        os.mkfifo(f"{extra}/metadata-TRAIN.json")
    elif damage:
        open(f"{extra}/metadata-TRAIN.json", "w").write(damage)
    try:
        print(len(parse(name)))
    except dinov3.MetadataError as error:
        print(str(error).replace(extra, "<EXTRA>"))
    print(len(dataset))
old = other._entries
other._entries = None
os.unlink(journal)
os.unlink(f"{extra}/metadata-TRAIN.json")
dump_extra(root, extra, ["TRAIN", "VAL", "TEST"])
other._entries = old[:-1]  # another object, of too few rows: it is mapped anew
print(len(other))
"""


def test_no_publication_ends_a_training(place: Path, tree: Path) -> None:
    extra = place / "extra"
    name = dataset_path("TRAIN", tree, extra)
    done = run(place, sys.executable, "-c", LATER, str(tree), str(extra), name)
    again = "Run snakemake or dinov3_metadata.dump_extra again."
    torn = "The files of TRAIN in <EXTRA> belong to two publications, because one was interrupted."
    torn = f"{torn} {again}"
    cut = f"<EXTRA>/metadata-TRAIN.json is incomplete or damaged. {again}"
    rows = "entries-TRAIN.npy in <EXTRA> has 5 rows, but 7 are expected from metadata-TRAIN.json"
    fifo = "<EXTRA>/metadata-TRAIN.json: This is a FIFO, not a regular file."
    first, second, third, *said = done.stdout.splitlines()
    assert (first, second, third) == ("4 4", "4 5", "4"), done.stderr
    assert said[1:12:2] == ["4"] * 6, done.stderr
    assert [said[i] for i in (0, 2, 4, 6, 10)] == [torn, cut, cut, cut, fifo]
    assert said[8].startswith(rows)
    assert said[12:] == ["5"], done.stderr


def test_it_runs_in_python_3_9() -> None:
    """Checked without Python 3.9: the grammar, and uses of what is known to be newer."""
    folder = REPOSITORY / "workflow/dinov3_metadata"
    names = [
        "__init__",
        "access",
        "addresses",
        "dinov3",
        "disk",
        "errors",
        "hooks",
        "path_table",
        "paths",
        "ranks",
        "read_images",
        "reads",
        "resume",
        "workers",
    ]
    code = "import sys; had = {*sys.modules}; import dinov3_metadata.dinov3; "
    code += "print(*sorted({*sys.modules} - had))"
    done = run(REPOSITORY, sys.executable, "-c", code)
    loaded = [name for name in done.stdout.split() if name.startswith("dinov3_metadata.")]
    assert loaded == [f"dinov3_metadata.{name}" for name in names[1:]], done.stderr
    for slow in ("importlib.abc", "pathlib", "dataclasses", "tempfile"):  # each start pays for it
        assert slow not in done.stdout.split()
    for name in [*names, "documents", "replace", "launcher", "startup/sitecustomize"]:
        tree = ast.parse((folder / f"{name}.py").read_text(), feature_version=(3, 9))
        for node in ast.walk(tree):
            assert not isinstance(node, ast.Match)
            if isinstance(node, ast.Call):
                call = ast.unparse(node)
                assert "strict=" not in call, call
                assert not re.match(r"isinstance\(.* \| ", call), call
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [one.name for one in node.names]
                if isinstance(node, ast.ImportFrom):
                    modules = [] if node.level else [node.module]
                ours = {"dinov3_metadata"} | sys.stdlib_module_names
                assert {one.partition(".")[0] for one in modules} <= ours


def test_another_shape_of_their_code(place: Path) -> None:
    path = place / "code/dinov3/data/datasets/image_net.py"
    path.write_text(STAND_IN.replace("def length", "def size"))
    code = "import dinov3.data.datasets.image_net; print('goes on')"
    done = run(place, *LAUNCH, sys.executable, "-c", code)
    assert (
        "dinov3.data.datasets.image_net is not the version that this program knows" in done.stderr
    )
    assert done.stdout == "goes on\n"


def test_no_metadata_in_extra(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=r"no metadata-SPLIT.json in"):
        use_metadata_lengths(tmp_path)
    (tmp_path / "metadata-VAL.json").write_text("{}")
    with pytest.raises(MetadataError, match=r"metadata-VAL.json is incomplete or damaged"):
        use_metadata_lengths(tmp_path)


def test_the_launcher_says_what_it_wants(place: Path) -> None:
    assert (
        "usage: python -m dinov3_metadata.dinov3 [OPTIONS] -- COMMAND"
        in run(place, *LAUNCH[:-1]).stderr
    )
    assert "Error: no-such-program: No such file" in run(place, *LAUNCH, "no-such-program").stderr


@pytest.mark.parametrize("folder", ["/a:b", "/a=b", "/a #b", "/a${b}", "/a\nb", "/a%3Ab:c"])
def test_a_path_that_dinov3_can_not_take_is_escaped(folder: str) -> None:
    name = dataset_path("TRAIN", "/root", folder)
    assert not re.search(r"[=\n]|\s#|\$\{|:(?!split|root|extra)", name.replace("=", "", 3))
    assert unescaped(name.rpartition("=")[2]) == folder
    assert [*named_in(f"dataset_path={name}")] == [Split("TRAIN", "/root", folder)]


def test_a_path_that_dinov3_can_take_stays(tmp_path: Path) -> None:
    (tmp_path / "a%3Ab").mkdir()  # which exists as it is written
    assert unescaped(f"{tmp_path}/a%3Ab") == f"{tmp_path}/a%3Ab"
    assert dataset_path("TRAIN", "/100%", "/b") == "ImageNet:split=TRAIN:root=/100%:extra=/b"
    assert dataset_path("TRAIN", "/a b", "/狗") == "ImageNet:split=TRAIN:root=/a b:extra=/狗"


def test_a_dinov3_without_its_module_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version whose module has another name is not found, as without this program."""
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    use_metadata_lengths()
    monkeypatch.setitem(sys.modules, "dinov3", ModuleType("dinov3"))
    for name in ("dinov3.data", "dinov3.data.datasets"):
        package = ModuleType(name)
        package.__path__ = []
        monkeypatch.setitem(sys.modules, name, package)
    with pytest.raises(ModuleNotFoundError, match="image_net"):
        import_module("dinov3.data.datasets.image_net")
