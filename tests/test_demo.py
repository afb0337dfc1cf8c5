"""Demo: whole or not at all, whoever is faster."""

from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata import demo
from dinov3_metadata.demo import make_demo
from helpers import LABELS

IMAGES = {"TRAIN": 2, "VAL": 1, "TEST": 1}


def test_the_demo_of_another_run_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text(LABELS)
    rename = Path.rename

    def later(new: Path, target: Path) -> Path:
        """Rename once the other run has done so."""
        (target / "train").mkdir(parents=True)
        return rename(new, target)

    monkeypatch.setattr(Path, "rename", later)
    make_demo(tmp_path / "demo", labels, IMAGES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo", "labels.txt"]
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["train"]


def test_a_demo_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    make_demo(tmp_path / "demo", tmp_path / "no labels", IMAGES)
    assert not list((tmp_path / "demo").iterdir())


def test_a_class_has_a_colour_and_images_without_one_have_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text(LABELS)
    hues: list[float] = []

    def draw(hue: float, rng: np.random.Generator) -> np.ndarray:
        hues.append(hue)
        return np.zeros((2, 2, 3), "u1")

    monkeypatch.setattr(demo, "_draw", draw)
    make_demo(tmp_path / "demo", labels, {"TRAIN": 2, "VAL": 1, "TEST": 20})
    assert hues[:9] == [i / 3 for i in (0, 0, 1, 1, 2, 2, 0, 1, 2)]
    assert {*hues[9:]} == {0, 1 / 3, 2 / 3}
