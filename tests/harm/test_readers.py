"""Readers at full speed while the set is published again and again: does one see files of two
versions, or an exception?

Each version of the dataset has other class ids and class names, of the same lengths, so that each
array shows its version by itself. How many of the plain looks are mixed depends on how
many of them there are for each publication: at least ``LOOKS``.
"""

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dinov3_metadata.dataset import ImageNetMetadata
from dinov3_metadata.run import dump_extra
from helpers import make_tree
from scenes import ARRAYS

LOOKS = 1000  # by the plain reader, for each publication
OPENED = 3  # by ImageNetMetadata
BOUND = 60  # seconds for these

processes = multiprocessing.get_context("fork")  # torchvision takes seconds to import


def version_tree(root: Path, version: int, images: int = 50) -> None:
    """Bring the dataset into a version: its two classes and their names carry the number."""
    classes = [f"n{version:06d}{last}" for last in (1, 2)]
    for split in ("train", "val"):
        for old in list(root.glob(f"{split}/*")):
            new = classes[int(old.name[-1]) - 1]
            for path in list(old.iterdir()) if split == "train" else []:
                path.rename(old / path.name.replace(old.name, new))
            old.rename(old.parent / new)
    files = [f"train/{one}/{one}_{i}.JPEG" for one in classes for i in range(images)]
    files += [f"val/{one}/ILSVRC2012_val_{i:08d}.JPEG" for one in classes for i in range(images)]
    make_tree(root, [] if root.exists() else files, "")
    new = root / "labels.new"
    new.write_text("".join(f"{one},name {version:06d}\n" for one in classes))
    new.replace(root / "labels.txt")


def versions(entries: Any, classes: Any, names: Any) -> set[str]:
    """Return the versions of three arrays; a look that is not mixed has only one."""
    return {
        *(one[1:7] for one in {*entries["class_id"][:60:20].tolist()}),
        *(one[5:] for one in {*entries["class_name"][:60:20].tolist()}),
        *(one[1:7] for one in classes),
        *(one[5:] for one in names),
    }


def look_plainly(root: Path, extra: Path) -> set[str]:
    kinds = ("entries", "class-ids", "class-names")
    return versions(*(np.load(extra / f"{kind}-TRAIN.npy") for kind in kinds))


def look_by_dataset(root: Path, extra: Path) -> set[str]:
    dataset = ImageNetMetadata(root, extra, "TRAIN")
    rows = len(dataset)
    assert dataset.get_class_id(rows - 1) == dataset.classes[-1]
    return versions(dataset.entries, dataset.classes, dataset.class_names)


def keep_looking(
    look: Callable[[Path, Path], set[str]], root: Path, extra: Path, done: Any, stop: Any, out: Any
) -> None:
    """Look until ``stop`` is set; ``out`` gets the counts of looks that were mixed or raised."""
    mixed, raised, first = 0, 0, ""
    while not stop.is_set():
        try:
            mixed += len(look(root, extra)) != 1
        except Exception as error:
            raised += 1
            first = first or f"{type(error).__name__}: {error}"
        done.value += 1
    out.put((look.__name__, mixed, raised, first))


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < end, "the readers do not get on"
        time.sleep(0.001)


@contextmanager
def timed_renames(extra: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Return when each array was renamed into extra, in ns."""
    times: list[int] = []
    paths = {os.path.realpath(extra / name) for name in ARRAYS}
    replace = os.replace

    def timed(source: Any, target: Any, **folders: Any) -> None:
        replace(source, target, **folders)
        now, folder = time.perf_counter_ns(), folders.get("dst_dir_fd")
        path = os.path.join(os.readlink(f"/proc/self/fd/{folder}") if folder else "", target)
        if path in paths:
            times.append(now)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", timed)
        yield times


def test_readers_during_publications(
    full: bool, tmp_path: Path, note: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, extra = tmp_path / "root", tmp_path / "extra"
    version_tree(root, 0)
    dump_extra(root, extra)
    stop, out = processes.Event(), processes.Queue()
    looks = {look_plainly: LOOKS, look_by_dataset: OPENED}
    done = {look: processes.Value("q", 0) for look in looks}
    readers = [
        processes.Process(target=keep_looking, args=(look, root, extra, done[look], stop, out))
        for look in looks
    ]
    for reader in readers:
        reader.start()
    publications, windows = 80 if full else 10, []
    try:
        for version in range(1, publications + 1):
            version_tree(root, version)
            before = {look: done[look].value for look in looks}
            with timed_renames(extra, monkeypatch) as times:
                dump_extra(root, extra)
            assert len(times) == len(ARRAYS)
            windows.append((times[-1] - times[0]) / 1e6)
            wait_for(lambda: all(done[one].value >= before[one] + looks[one] for one in looks))  # noqa: B023
    finally:
        stop.set()
        found = {name: counts for name, *counts in (out.get(timeout=BOUND) for _ in readers)}
        for reader in readers:
            reader.join()
    plain, many = found["look_plainly"], done[look_plainly].value
    opened = found["look_by_dataset"]
    note(
        "readers",
        publications=publications,
        plain=f"plain np.load: {plain[0]} of {many:,} looks mixed ({plain[0] / many:.3%}), "
        f"{plain[1]} raised",
        dataset=f"ImageNetMetadata: {opened[0]} of {done[look_by_dataset].value:,} mixed, "
        f"{opened[1]} raised",
        window=f"first to last rename of six arrays: median {statistics.median(windows):.2f} ms, "
        f"longest {max(windows):.2f} ms",
    )
    assert plain[1] == 0, plain[2]
    assert opened[:2] == [0, 0], opened
    if full:
        assert plain[0] <= 0.002 * many
