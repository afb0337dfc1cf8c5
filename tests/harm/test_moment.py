"""Runs while an editor keeps moving images between ``train`` and ``val``: is every
image in exactly one of the two splits after a run that succeeds?

A rename moves an image, so at each moment it is in one of the two. A run that finds no moment for
both splits ends with one sentence, and nothing is published.
"""

import multiprocessing
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.run import dump_extra
from helpers import make_tree
from scenes import CLASSES, published

IMAGES = 60  # that are moved; some others stay, so that no class is ever empty
RUNS = {"imagenet": 200, "folder": 60}  # in full


def path_of(split: str, number: int) -> str:
    class_id = CLASSES[number % 2]
    name = f"{class_id}_{number}" if split == "train" else f"ILSVRC2012_val_{number:08d}"
    return f"{split}/{class_id}/{name}.JPEG"


def keep_moving(root: Path, seed: int, moves: Any, stop: Any) -> None:
    """Move images in bursts, with pauses in which a run may succeed, until ``stop`` is set."""
    chance = random.Random(seed)
    where = dict.fromkeys(range(IMAGES), "train")
    while not stop.is_set():
        for number in chance.sample(range(IMAGES), chance.choice([1, 2, 5, 30])):
            old, new = where[number], "val" if where[number] == "train" else "train"
            os.rename(root / path_of(old, number), root / path_of(new, number))
            where[number] = new
            moves.value += 1
            stop.wait(chance.choice([0, 0, 0.001, 0.005]))
        stop.wait(chance.choice([0, 0.01, 0.05, 0.2, 0.5]))


def rows_of(extra: Path, layout: str) -> Counter[int]:
    """How often each image occurs in the entries of both splits, by its number in the dataset."""
    found: Counter[int] = Counter()
    for split in ("TRAIN", "VAL"):
        for row in np.load(extra / f"entries-{split}.npy"):
            number = int(row["actual_index"])
            if layout == "folder":  # a view has numbers of its own
                path = extra / "view" / path_in_view(split, str(row["class_id"]), number)
                number = int(os.readlink(path).rpartition("_")[2].partition(".")[0])
            found[number] += 1
    return found


def path_in_view(split: str, class_id: str, number: int) -> str:
    name = f"{class_id}_{number}" if split == "TRAIN" else f"ILSVRC2012_val_{number:08d}"
    return f"{split.lower()}/{class_id}/{name}.JPEG"


@pytest.mark.parametrize("layout", RUNS)
def test_runs_beside_an_editor(
    layout: str, full: bool, tmp_path: Path, note: Callable[..., None]
) -> None:
    root, extra = tmp_path / "root", tmp_path / "extra"
    stay = [path_of(split, 100 + i) for split, i in (("train", 0), ("train", 1))]
    stay += [path_of(split, 200 + i) for split, i in (("val", 0), ("val", 1))]
    labels = "".join(f"{one},name of {one}\n" for one in CLASSES)
    make_tree(root, [path_of("train", i) for i in range(IMAGES)] + stay, labels)
    dump_extra(root, extra, layout=layout)
    due = {*range(IMAGES), 100, 101, 200, 201}
    context = multiprocessing.get_context("fork")
    moves, stop = context.Value("q", 0), context.Event()
    editor = context.Process(target=keep_moving, args=(root, 18, moves, stop))
    editor.start()
    good, both, neither, changed, ended = 0, 0, 0, 0, Counter()
    try:
        for _ in range(RUNS[layout] if full else 12):
            before = published(extra)
            try:
                dump_extra(root, extra, layout=layout)
            except MetadataError as error:
                first = str(error).partition("\n")[0].replace(str(tmp_path), "")
                ended[re.sub(r"\d+", "N", first)] += 1
                changed += published(extra) != before
                continue
            good += 1
            rows = rows_of(extra, layout)
            both += sum(many > 1 for many in rows.values())
            neither += len(due - rows.keys())
            wait_for_a_move(moves)
    finally:
        stop.set()
        editor.join()
    note(
        f"moment, {layout}",
        runs=good + ended.total(),
        successful=good,
        images_in_both=both,
        images_in_neither=neither,
        published_by_runs_that_failed=changed,
        moves=moves.value,
        ended="; ".join(f"{many} x {text!r}" for text, many in ended.most_common()) or "none ended",
    )
    assert (both, neither, changed) == (0, 0, 0)
    assert good > 0
    dump_extra(root, extra, layout=layout)
    assert rows_of(extra, layout) == Counter(due)


def wait_for_a_move(moves: Any) -> None:
    before, end = moves.value, time.monotonic() + 60
    while moves.value == before:
        assert time.monotonic() < end, "the editor does not get on"
        time.sleep(0.001)
