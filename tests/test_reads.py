"""Images are read again after a moment, and named or replaced if they are bad."""

import errno
import json
import logging
import multiprocessing
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from dinov3_metadata import ImageNetMetadata, MetadataError, dump_extra, reads
from dinov3_metadata.demo import make_demo
from dinov3_metadata.disk import check_whole
from dinov3_metadata.reads import (
    MOMENTARY,
    PAUSES,
    BadImageError,
    Images,
    again,
    note,
    noted_images,
    read_or_replace,
)
from dinov3_metadata.summary import dataset_path
from helpers import REPOSITORY, make_tree
from test_dinov3 import LAUNCH, STAND_IN, run
from test_read_by_path import code, dinov3  # noqa: F401


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, which take no time."""
    found: list[float] = []
    monkeypatch.setattr("time.sleep", found.append)
    monkeypatch.setattr(reads, "_gone", set())
    return found


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count from zero, as in a new process."""
    monkeypatch.setattr(reads, "_tally", reads.Tally())
    monkeypatch.setattr(reads, "_noted", set())


def failing(times: int, error: OSError) -> Callable[[], str]:
    """A function that fails some times."""
    errors = [error] * times

    def read() -> str:
        if errors:
            raise errors.pop()
        return "content"

    return read


@pytest.mark.parametrize("number", sorted(MOMENTARY))
def test_a_read_that_fails_for_a_moment_is_tried_again(
    number: int, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    error = OSError(number, os.strerror(number))
    assert again(failing(5, error), lambda: "/data/狗/a b.JPEG") == "content"
    assert pauses == [*PAUSES]
    assert len(caplog.messages) == 5
    assert all(f"/data/狗/a b.JPEG: {error.strerror}." in line for line in caplog.messages)
    with pytest.raises(OSError, match=error.strerror):
        again(failing(6, error), lambda: "/data/a.JPEG")


def test_other_errors_are_no_moment(pauses: list[float]) -> None:
    for error in (PermissionError(errno.EACCES, "no"), OSError("image file is truncated")):
        with pytest.raises(OSError, match=r"no|truncated"):
            again(failing(1, error), lambda: "/data/a.JPEG")
    assert pauses == []


def test_a_read_that_fails_slowly_is_tried_for_a_minute(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(range(100, 1000, 25))
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    with pytest.raises(OSError, match="slow"):
        again(failing(9, OSError(errno.ETIMEDOUT, "slow")), lambda: "/data/a.JPEG")
    assert pauses == [0.1, 0.9]


def test_an_image_that_is_gone_is_not_waited_for(pauses: list[float], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        again(partial(open, tmp_path / "gone"), lambda: f"{tmp_path}/gone")
    assert sum(pauses) == 1
    pauses.clear()
    (tmp_path / "link").symlink_to("gone")
    with pytest.raises(FileNotFoundError):
        again(partial(open, tmp_path / "link"), lambda: f"{tmp_path}/link")
    assert sum(pauses) == 1


def test_a_folder_that_is_gone_is_waited_for_once(pauses: list[float], tmp_path: Path) -> None:
    for name, waited in (("one", [*PAUSES]), ("other", [*PAUSES[:2]])):
        path = f"{tmp_path}/away/{name}"
        with pytest.raises(FileNotFoundError):
            again(partial(open, path), lambda path=path: path)
        assert pauses == waited
        pauses.clear()
    (tmp_path / "away").mkdir()
    with pytest.raises(FileNotFoundError):
        again(partial(open, tmp_path / "away/x"), lambda: f"{tmp_path}/away/x")
    assert sum(pauses) == 1


def test_a_read_that_is_cut_short_fails_for_a_moment() -> None:
    check_whole(b"1234", 4, "a")
    check_whole(b"12345", 4, "a")  # the file grew
    for content in (b"123", None):
        with pytest.raises(OSError, match="could be read") as error:
            check_whole(content, 4, "a")
        assert error.value.errno in MOMENTARY


CUT = [0, 1, 7, 9]  # the last two of the first class, and two that follow one another


@pytest.fixture
def demo(tmp_path: Path) -> tuple[Path, Path]:
    """A dataset of 16 images in two classes, of which ``CUT`` are cut; root and extra."""
    (tmp_path / "labels.txt").write_text("n01,tench\nn02,cock\n")
    make_demo(tmp_path / "root", tmp_path / "labels.txt", {"TRAIN": 8, "VAL": 1, "TEST": 3})
    dump_extra(tmp_path / "root", tmp_path / "extra", ["TRAIN", "TEST"])
    dataset = ImageNetMetadata(tmp_path / "root", tmp_path / "extra")
    for row in CUT:
        path = dataset.get_path(row)
        os.truncate(path, os.path.getsize(path) - 200)
    return tmp_path / "root", tmp_path / "extra"


def listed(extra: Path) -> list[dict[str, Any]]:
    return [*map(json.loads, (extra / "bad-images.jsonl").read_text().splitlines())]


def test_the_next_image_of_the_class_takes_the_place_of_a_bad_one(
    demo: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    dataset = ImageNetMetadata(*demo, on_error="replace", transform=lambda image: image.tobytes())
    due = {0: 2, 1: 2, 7: 2, 9: 10}
    for _ in range(2):
        reads._tally = reads.Tally()
        for row in range(len(dataset)):
            image, target = dataset[row]
            assert (image, target) == dataset[due.get(row, row)]
            assert target == row // 8
    assert dataset[-16] == dataset[2]
    assert len([line for line in caplog.messages if "is read in its place" in line]) == len(CUT)
    assert [one["row"] for one in listed(demo[1])] == CUT
    first = listed(demo[1])[0]
    assert first["path"] == dataset.get_path(0) == f"{demo[0]}/{first['image']}"
    assert "truncated" in first["reason"]
    assert first["host"] == os.uname().nodename
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", first["time"])
    assert noted_images(demo[1], "TRAIN") == {one["image"] for one in listed(demo[1])}
    assert noted_images(demo[1], "VAL") == set()


def test_a_bad_image_ends_it_with_its_path_and_row(demo: tuple[Path, Path]) -> None:
    dataset = ImageNetMetadata(*demo)
    with pytest.raises(BadImageError) as error:
        dataset[7]
    assert re.sub(r" \(\d.*?\)", "", str(error.value)) == (
        f"{dataset.get_path(7)} (row 7 of TRAIN) cannot be read: image file is truncated. "
        "`snakemake audit` finds all such images, and `select: audit` leaves them out. "
        '`on_error="replace"` reads others of its class instead.'
    )
    assert isinstance(error.value, OSError)
    with pytest.raises(BadImageError, match=r"\(row 7 of TRAIN\)"):
        dataset[-9]
    assert not (demo[1] / "bad-images.jsonl").exists()


def test_images_without_a_class_replace_each_other(demo: tuple[Path, Path]) -> None:
    dataset = ImageNetMetadata(*demo, "TEST", on_error="replace")
    os.truncate(dataset.get_path(2), 0)
    assert dataset[2].tobytes() == dataset[0].tobytes()
    assert listed(demo[1])[0]["reason"] == "Pillow does not recognise it as an image"


def test_what_is_no_fault_of_an_image_stays_what_it_is(demo: tuple[Path, Path]) -> None:
    dataset = ImageNetMetadata(*demo, on_error="replace")
    for row in (16, -17):
        with pytest.raises(IndexError):
            dataset[row]
    errors = MemoryError(), OSError(errno.EMFILE, "Too many open files")
    for error in errors:

        def loader(path: str, error: Exception = error) -> None:
            raise error

        dataset.loader = loader
        with pytest.raises(type(error)) as raised:
            dataset[0]
        assert raised.value is error
    os.unlink(demo[1] / "entries-TRAIN.npy")
    with pytest.raises(MetadataError, match="was replaced since"):
        ImageNetMetadata.__getitem__(dataset_of_another_process(dataset), 0)
    with pytest.raises(ValueError, match="on_error is 'skip', not 'raise' or 'replace'"):
        ImageNetMetadata(*demo, "TEST", on_error="skip")


def dataset_of_another_process(dataset: ImageNetMetadata) -> ImageNetMetadata:
    other = object.__new__(ImageNetMetadata)
    vars(other).update(dataset.__getstate__())
    return other


def of_rows(tmp_path: Path, classes: str, **changed: Any) -> Images:
    """A dataset of which only the class of each row is known, a letter each."""
    known = Images(
        *(str(tmp_path), str(tmp_path), "TRAIN", len(classes)),
        class_of=lambda row: ord(classes[row]),
        path_of=lambda row: f"{tmp_path}/{row}",
        replaces=True,
        otherwise="",
    )
    return known._replace(**changed)


def test_no_image_of_the_class_is_left(tmp_path: Path) -> None:
    tried = []

    def read(row: int) -> None:
        tried.append(row)
        raise ValueError("bad")

    images = partial(of_rows, tmp_path, "abbbc")
    with pytest.raises(BadImageError, match=r"/2 \(row 2 .* No other image of its class can be"):
        read_or_replace(images, 2, read, lambda error: error)
    assert tried == [2, 3, 1]


@pytest.mark.parametrize(("many", "ends"), [(10_000, 11), (20_000, 21)])
def test_more_than_one_in_a_thousand_ends_the_training(
    many: int, ends: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    images = of_rows(tmp_path, "a" * 100)

    def read(row: int) -> int:
        if row % 2:
            raise ValueError("bad")
        return row

    for _ in range(many - 20):
        read_or_replace(lambda: images, 0, read, lambda error: error)
    for i in range(1, ends):
        assert read_or_replace(lambda: images, 2 * i + 1, read, lambda error: error) == 2 * i + 2
    with pytest.raises(BadImageError, match=f"makes {ends} of .*, more than one in 1,000"):
        read_or_replace(lambda: images, 1, read, lambda error: error)


def write_many(extra: str, start: int) -> None:
    images = of_rows(Path(extra), "a")
    for row in range(start, start + 40):
        note(images, row % 50, "狗" * 50)


def test_sixteen_processes_write_each_image_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    (tmp_path / "bad-images.jsonl").write_text('{"split": "TRAIN", "image": "')  # a full disk
    with ProcessPoolExecutor(16, multiprocessing.get_context("fork")) as pool:
        [*pool.map(partial(write_many, str(tmp_path)), range(0, 160, 10))]
    cut, *lines = (tmp_path / "bad-images.jsonl").read_text().splitlines()
    assert cut == '{"split": "TRAIN", "image": "'
    assert sorted(json.loads(line)["row"] for line in lines) == [*range(50)]
    assert len(noted_images(tmp_path, "TRAIN")) == 50
    assert (tmp_path / "bad-images.jsonl").stat().st_mode & 0o020  # as its folder


@pytest.mark.parametrize("planted", ["link", "FIFO", "folder"])
def test_a_place_that_cannot_be_written_is_a_warning(
    planted: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "bad-images.jsonl"
    if planted == "link":
        file.symlink_to(tmp_path / "elsewhere")
    elif planted == "FIFO":
        os.mkfifo(file)
    else:
        file.mkdir()
    note(of_rows(tmp_path, "a"), 0, "bad")
    assert f"So the next audit is not told of {tmp_path}/0." in caplog.text
    assert not (tmp_path / "elsewhere").exists()
    assert noted_images(tmp_path, "TRAIN") == set()


@pytest.fixture
def theirs(dinov3: ModuleType, tree: Path, tmp_path: Path) -> Any:  # noqa: F811
    """DINOv3's dataset of four images in two classes, the second of which is bad."""
    dump_extra(tree, tmp_path / "extra")
    split = dinov3.ImageNet.Split.TRAIN
    dataset = dinov3.ImageNet(split=split, root=str(tree), extra=str(tmp_path / "extra"))
    for i, path in enumerate(sorted((tree / "train").rglob("*.JPEG"))):
        path.write_text("bad" if i == 1 else path.name)
    return dataset


def test_dinov3_names_the_image_that_ends_it(theirs: Any) -> None:
    rows = [*range(len(theirs))]
    (bad,) = [row for row in rows if theirs.get_image_data(row) == b"bad"]
    with pytest.raises(BadImageError) as error:
        theirs[bad]
    assert re.match(rf"{theirs.root}/train/.*JPEG \(row {bad} of TRAIN\) cannot", str(error.value))
    assert "`--bad-images replace` before the --" in str(error.value)


def test_dinov3_reads_another_image_of_the_class(
    theirs: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(reads.BAD_IMAGES, "replace")
    targets = theirs._get_entries()["class_index"].tolist()
    found = [theirs[row] for row in range(len(theirs))]
    assert [target for _, target in found] == targets
    assert all(image != b"bad" for image, _ in found)
    assert [one["path"] for one in listed(tmp_path / "extra")] == [
        f"{theirs.root}/{one}" for one in noted_images(tmp_path / "extra", "TRAIN")
    ]


def test_dinov3_reads_again_what_fails_for_a_moment(
    theirs: Any, pauses: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sizes, stat = [7, 7], os.stat

    def grown(path: Any, **how: Any) -> Any:
        state = stat(path, **how)
        if str(path).endswith("JPEG") and sizes:
            return os.stat_result((*state[:6], state.st_size + sizes.pop(), *state[7:10]))
        return state

    whole = theirs.get_image_data(0)
    monkeypatch.setattr(os, "stat", grown)
    assert theirs.get_image_data(0) == whole
    assert pauses == [*PAUSES[:2]]


def test_dinov3_s_other_errors_stay_what_they_are(
    theirs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dinov3_metadata.dinov3.PATIENCE", 0)
    about = (tmp_path / "extra/metadata-TRAIN.json").read_bytes()
    os.truncate(tmp_path / "extra/metadata-TRAIN.json", 9)
    with pytest.raises(MetadataError, match="is incomplete or damaged"):
        theirs[0]
    (tmp_path / "extra/metadata-TRAIN.json").write_bytes(about)
    with pytest.raises(RuntimeError, match="can not read image for sample 99"):
        theirs[99]
    theirs._get_entries = lambda: [{}]  # as a fault of their code would
    with pytest.raises(RuntimeError, match="can not read image for sample 0") as error:
        theirs[0]
    assert isinstance(error.value.__cause__, KeyError)


TRAIN = """
import gc, logging, sys
from torch.utils.data import DataLoader
from dinov3.data.datasets.image_net import parse
logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
gc.disable()
dataset = parse(sys.argv[1])

class Images:
    def __len__(self):
        return 6
    def __getitem__(self, i):
        return gc.isenabled() if i < 4 else dataset[i - 4][1]

print(*(one for batch in DataLoader(Images(), num_workers=2) for one in batch.tolist()))
print(gc.isenabled())
"""


@pytest.mark.needs("torchvision")
def test_a_training_under_the_launcher(code: Path, tree: Path) -> None:  # noqa: F811
    dump_extra(tree, code / "extra")
    for path in (tree / "train").rglob("*.JPEG"):
        path.write_text("good")
    name = dataset_path("TRAIN", tree, code / "extra")
    done = run(code, *LAUNCH, sys.executable, "-c", TRAIN, name)
    said, *values = done.stdout.splitlines()
    assert said.startswith("The training has turned garbage collection off. The workers of its Da")
    assert values == ["True True True True 0 0", "False"], done.stderr
    (tree / "train/n01440764/n01440764_10026.JPEG").write_text("bad")
    options = ["--keep-gc-off", "--bad-images", "stop"]
    done = run(code, *LAUNCH[:-1], *options, "--", sys.executable, "-c", TRAIN, name)
    assert done.stdout == ""
    path = re.escape(f"{tree}/train/n01440764/n01440764_10026.JPEG")
    sentence = rf"Error: {path} \(row 0 of TRAIN\) cannot be read: .*\n"
    assert re.fullmatch(sentence, done.stderr)


@pytest.fixture(params=["fail", "short", pytest.param("hang", marks=pytest.mark.long)])
def stumbling(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A dataset on a file server that stumbles, see stumbling.py; its root."""
    (tmp_path / "labels.txt").write_text("n01,tench\nn02,cock\n")
    make_demo(tmp_path / "server", tmp_path / "labels.txt", {"TRAIN": 21, "VAL": 1, "TEST": 1})
    root = tmp_path / "挂 载"
    root.mkdir()
    command = [sys.executable, REPOSITORY / "tests/stumbling.py", tmp_path / "server", root]
    done = subprocess.run([*command, request.param], capture_output=True, text=True, check=False)
    assert os.path.ismount(root), f"cannot mount FUSE: {done.stderr}"
    yield root
    subprocess.run(["fusermount3", "-u", root], check=True)


def test_a_file_server_that_stumbles_ends_no_training(stumbling: Path, tmp_path: Path) -> None:
    dump_extra(stumbling, tmp_path / "extra", ["TRAIN"])
    dataset = ImageNetMetadata(stumbling, tmp_path / "extra")
    whole = ImageNetMetadata(tmp_path / "server", tmp_path / "extra")
    with ProcessPoolExecutor(3, multiprocessing.get_context("fork")) as pool:
        for row, (image, target) in enumerate(pool.map(dataset.__getitem__, range(len(dataset)))):
            assert (image.tobytes(), target) == (whole[row][0].tobytes(), row // 21)


def test_a_dinov3_that_reads_in_another_way_is_left_alone(code: Path, tree: Path) -> None:  # noqa: F811
    path = code / "code/dinov3/data/datasets/image_net.py"
    path.write_text(STAND_IN.replace("ImageNet.get_image_data, ImageNet.__getitem__ = ", "_ = "))
    dump_extra(make_tree(tree), code / "extra")
    script = "import sys; from dinov3.data.datasets.image_net import parse\n"
    script += "print(len(parse(sys.argv[1])))"
    name = dataset_path("TRAIN", tree, code / "extra")
    done = run(code, *LAUNCH, sys.executable, "-c", script, name)
    assert done.stdout == "4\n"
    assert (
        "it has no get_image_data and no __getitem__. So it reads images as it does" in done.stderr
    )
