"""Demo: whole or not at all, whoever is faster."""

import json
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata import demo
from dinov3_metadata.config import check_config, settings_of, with_defaults
from dinov3_metadata.damage import STRICT
from dinov3_metadata.demo import make_demo
from dinov3_metadata.faults import FAULTS, ORIENTATION
from dinov3_metadata.run import audit_extra
from helpers import LABELS, REPOSITORY, audit_all
from PIL import Image

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


def faulty(tmp_path: Path, train: int) -> list[Path]:
    """The images of a demo with faults."""
    labels = tmp_path / "labels.txt"
    labels.write_text(LABELS)
    make_demo(tmp_path / "demo", labels, {"TRAIN": train, "VAL": 2, "TEST": 1}, faults=True)
    return sorted((tmp_path / "demo").rglob("*.JPEG"))


def problems(tmp_path: Path) -> list[list[str]]:
    """What an audit finds in TRAIN of a demo, for each image with a problem."""
    audit_all(tmp_path / "demo", tmp_path / "extra")
    audit = json.loads((tmp_path / "extra/audit-TRAIN.json").read_text())
    found = audit["not_ok"] + audit["noted"]
    firsts = [min(folder.iterdir()) for folder in (tmp_path / "demo/train").iterdir()]
    assert not {path.name for path in firsts} & {Path(one["image"]).name for one in found}
    return [one["problems"] for one in found]


def test_a_demo_with_faults_has_each_problem_once(tmp_path: Path) -> None:
    images = faulty(tmp_path, 10)
    locked = [path for path in images if path.stat().st_mode & 0o777 == 0]
    assert len(locked) == 1  # unreadable, for all but root
    contents = {path.read_bytes() for path in images if path not in locked}
    assert len(images) - 1 - len(contents) == 2  # a double in TRAIN, and a leak from TRAIN to VAL
    found = Counter(problem for several in problems(tmp_path) for problem in several)
    alone = {*FAULTS} - {"unreadable", "not-an-image", "other-mode", "wrong-suffix"}
    alone -= {"damaged"} if not STRICT else set()
    assert {problem: found[problem] for problem in alone} == dict.fromkeys(alone, 1)
    assert all(found[problem] for problem in ("not-an-image", "other-mode", "wrong-suffix"))


@pytest.mark.needs("simplejpeg")
def test_the_demo_of_the_workflow_shows_each_problem(tmp_path: Path) -> None:
    used = with_defaults({})["demo"]
    root, labels = tmp_path / "root", REPOSITORY / "workflow/demo_labels.txt"
    make_demo(root, labels, used["images"], faults=True)
    audit_extra(root, tmp_path / "extra", threads=1)
    audit = json.loads((tmp_path / "extra/audit-TRAIN.json").read_text())
    found = {problem for one in audit["not_ok"] + audit["noted"] for problem in one["problems"]}
    assert found >= {*FAULTS} - {"unreadable"}  # root reads it


@pytest.mark.parametrize("faults", [False, True])
def test_only_what_is_planted_is_there_twice(faults: bool, tmp_path: Path) -> None:
    labels, root, extra = (tmp_path / name for name in ("labels.txt", "root", "extra"))
    labels.write_text(LABELS)
    make_demo(root, labels, {"TRAIN": 20, "VAL": 5, "TEST": 3}, faults)
    audit_extra(root, extra, threads=1)
    found = json.loads((extra / "duplicates.json").read_text())
    many = [len(found[kind]) for kind in ("exact", "near", "leaks")]
    assert many == ([1, 1, 1] if faults else [0, 0, 0])


def test_the_examples_of_what_training_cannot_report_are_such() -> None:
    drawn = Image.fromarray(demo._draw(0.5, np.random.default_rng(0)))

    def example(problem: str) -> Image.Image:
        return Image.open(BytesIO(FAULTS[problem](drawn)))

    assert np.ptp(np.asarray(example("clipped"))) > 1000
    assert np.asarray(example("clipped").convert("RGB")).min() == 255
    assert example("transparent").getchannel("A").getextrema() == (0, 255)
    wrong = abs(np.asarray(example("damaged"), int) - np.asarray(drawn, int)).mean((1, 2))
    assert wrong[:8].max() < 9 < 20 < wrong[-16:].min()
    assert example("rotated").getexif()[ORIENTATION] == 6


def test_a_small_demo_has_as_many_faults_as_fit(tmp_path: Path) -> None:
    faulty(tmp_path, 2)
    assert len(problems(tmp_path)) == 3


def test_a_demo_with_faults_is_beside_the_other() -> None:
    config = with_defaults({"demo": {"faults": True}})
    check_config(config)
    settings = settings_of(config)
    assert settings.root.endswith("demo/imagenet-faults")
    assert settings.extra.endswith("demo/extra-faults")
    assert settings_of(with_defaults({})).root.endswith("demo/imagenet")
