"""The real ``snakemake``, end to end."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata.paths import WORK
from helpers import REPOSITORY, digests, dump, file_states, make_tree
from PIL import Image

NOTHING = "Nothing to be done"


def fresh(root: Path, extra: Path, splits: tuple[str, ...] = ("TRAIN", "VAL")) -> dict[str, str]:
    """What a published folder must hold: the arrays that the functions write elsewhere."""
    classes = sorted(path.name for path in (root / "train").iterdir() if path.is_dir())
    for split in splits:
        dump(root, extra, split, numbered=classes if split == "VAL" else ())
    return digests(extra)


def test_without_any_setting_a_demo_is_made_and_used(snakemake, tmp_path: Path) -> None:
    said = snakemake().stdout
    demo = tmp_path / "workdir/demo"
    images = list((demo / "imagenet").rglob("*.JPEG"))
    assert len(images) == 300
    for image in images:
        Image.open(image).convert("RGB")
    assert len((demo / "imagenet/labels.txt").read_text().splitlines()) == 10
    splits = ("TRAIN", "VAL", "TEST")
    assert digests(demo / "extra") == fresh(demo / "imagenet", tmp_path / "fresh", splits)
    assert re.search(r"TRAIN +200 +\+200 +0 +10 +\+10 +0 ", said)
    assert f"in {demo / 'extra'}:" in said
    born = (demo / "imagenet").stat().st_ino
    assert NOTHING in snakemake().stdout
    assert (demo / "imagenet").stat().st_ino == born


@pytest.mark.parametrize(
    "name", ["新加卷/tiny imagenet", """it's "quoted" $HOME; `x` & %d""", "a*[b]?"]
)
@pytest.mark.parametrize("where", ["extra", "the same folder"])
def test_odd_paths(name: str, where: str, snakemake, tmp_path: Path) -> None:
    root = make_tree(tmp_path / name)
    extra = root if where == "the same folder" else tmp_path / f"{name} extra"
    settings = {"root": root, "extra": extra, "splits": "[TRAIN,VAL,TEST]"}
    snakemake(**settings)
    assert digests(extra) == fresh(root, tmp_path / "fresh", ("TRAIN", "VAL", "TEST"))
    assert json.loads((extra / "metadata-VAL.json").read_text())["root"] == str(root)
    assert NOTHING in snakemake(**settings).stdout


def test_commands_without_cores(tree: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "snakemake", "-s", REPOSITORY / "Snakefile", "--summary"]
    command += ["--config", f"root={tree}", f"extra={tmp_path / 'extra'}"]
    said = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert "verify-VAL.json" in said


def test_the_scans_share_the_cores(tree: Path, snakemake, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    snakemake("--cores", "9", "--benchmark-extended", root=tree, extra=extra)
    threads = []
    for measured in extra.glob(".dinov3-metadata/*/*/scan.tsv"):
        names, values = (line.split("\t") for line in measured.read_text().splitlines())
        threads.append(values[names.index("threads")])
    assert threads == ["4", "4"]


def test_what_lies_in_extra(tree: Path, snakemake, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    before = sorted(tree.rglob("*"))
    snakemake(root=tree, extra=extra)
    assert sorted(path.name for path in extra.iterdir()) == [
        ".dinov3-metadata",
        *(f"class-ids-{split}.npy" for split in ("TRAIN", "VAL")),
        *(f"class-names-{split}.npy" for split in ("TRAIN", "VAL")),
        *(f"entries-{split}.npy" for split in ("TRAIN", "VAL")),
        *(f"metadata-{split}.json" for split in ("TRAIN", "VAL")),
    ]
    assert sorted(tree.rglob("*")) == before


def test_test_alone_needs_no_labels(tree: Path, snakemake, tmp_path: Path) -> None:
    (tree / "labels.txt").unlink()
    said = snakemake(root=tree, extra=tmp_path / "extra", splits="[TEST]").stdout
    assert [path.name for path in (tmp_path / "extra").glob("*.npy")] == ["entries-TEST.npy"]
    assert re.search(r"TEST +2 +\+2 +0 ", said)


def test_names_from_other_files(tree: Path, snakemake, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    settings = {"root": tree, "extra": extra, "splits": "[TRAIN]"}
    snakemake(**settings)
    (tree / "labels.txt").unlink()
    said = snakemake(**settings, fails=True).stdout  # never turns names into ids by itself
    assert "labels.txt does not exist" in said
    assert "`labels: folders`" in said
    words = "n01484850\tshark, man-eater\r\nn01440764\ttench\r\nn01443537\tcarp\r\nn07\tmore\r\n"
    (tree / "words.txt").write_text(words)
    for names, labels, form in [
        (["tench", "carp", "shark"], "auto", "tab"),
        (["n01440764", "n01443537", "n01484850"], "folders", "folders"),
    ]:
        snakemake(**settings, labels=labels)
        assert np.load(extra / "class-names-TRAIN.npy").tolist() == names
        assert json.loads((extra / "metadata-TRAIN.json").read_text())["labels"]["form"] == form
        assert NOTHING in snakemake(**settings, labels=labels).stdout


def test_settings_of_a_configfile(tree: Path, snakemake, tmp_path: Path) -> None:
    make_tree(tree, ["train/n01440764/photo.JPEG"])
    (tree / "labels.txt").rename(tmp_path / "names.csv")
    (tmp_path / "mine.yaml").write_text(
        f"root: {tree}\nextra: {tmp_path}/extra\nsplits: [TRAIN]\nlabels: {tmp_path}/names.csv\n"
        "scan: {engine: torchvision, unaddressable: skip}\n"
        "verify: {level: full}\nlog: {level: debug}\n"
    )
    said = snakemake("--configfile", str(tmp_path / "mine.yaml")).stdout
    assert "1 image skipped" in said
    assert "n01440764/photo.JPEG (no number before the suffix)" in said
    work = tmp_path / "extra/.dinov3-metadata"
    (report,) = work.rglob("verify-TRAIN.json")
    described = json.loads(report.read_text())
    assert described["skipped"] == 1
    assert "the whole split against a fresh torchvision.datasets.ImageFolder" in described["checks"]
    (log,) = work.rglob("scan.log")
    assert "DEBUG listed " in log.read_text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rot": "/x"}, "there is no setting 'rot'. Did you mean 'root'?"),
        ({"scan": "{engin: x}"}, "scan: there is no setting 'engin'. Did you mean 'engine'?"),
        ({"splits": "[TRIAN]"}, "splits: 'TRIAN' is not one of TRAIN, VAL, TEST."),
        ({"splits": "TRAIN"}, "splits: 'TRAIN' is not a list, for instance '[TRAIN]'."),
        ({"splits": "[TRAIN,TRAIN]"}, "splits: ['TRAIN', 'TRAIN'] names something twice."),
        ({"splits": "[]"}, "splits: the list is empty."),
        ({"verify": "{sample: 0}"}, "verify: sample: 0 is below 1."),
        ({"verify": "{sample: many}"}, "verify: sample: 'many' is not a whole number."),
        (
            {"root": "/tmp", "extra": "/x", "layout": "flt"},
            "layout: 'flt' is not one of auto, imag",
        ),
        ({"log": "debug"}, "log: 'debug' is not a section, for instance '{level: debug}'."),
        ({"scan": "skip"}, "scan: 'skip' is not a section, for instance '{unaddressable: skip}'."),
        ({"engine": "scandir"}, "It belongs in a section: scan='{engine: ...}'."),
        ({"root": "[x]", "extra": "/x"}, "is not text."),
        ({"root": "/nowhere", "extra": "/x"}, "root: /nowhere is not a folder."),
        ({"root": "/tmp"}, "`root` is set, but not `extra`"),
        ({"extra": "/tmp"}, "`extra` is set, but not `root`"),
        ({"root": "2024", "extra": "/tmp"}, "root: '2024' is not text; put it in quotes."),
        ({"root": "/tmp", "extra": "/tmp/train/x"}, "/tmp/train/x is in the split folder"),
        ({"root": "/tmp", "extra": "/tmp/{split}"}, "has braces"),
    ],
)
def test_a_wrong_setting_is_one_plain_sentence(settings, message: str, snakemake) -> None:
    said = snakemake("-n", fails=True, **settings).stdout.splitlines()
    assert said[-1].startswith("Error: config: ")
    assert message in said[-1]


def test_a_refusal_stands_on_the_last_screen(tree: Path, snakemake, tmp_path: Path) -> None:
    make_tree(tree, ["val/n01440764/val_0.JPEG"], "n01440764,tench\nn01443537\n")
    said = snakemake("--keep-going", root=tree, extra=tmp_path / "extra", fails=True).stdout
    screen = "\n".join(said.splitlines()[-24:])
    assert f"Error: {tree}/labels.txt, line 2: only one column ('n01443537')" in screen
    assert "Error: VAL: DINOv3 cannot address 1 image" in screen
    assert "n01440764/val_0.JPEG (DINOv3 would open" in screen
    assert digests(tmp_path / "extra") == {}


def test_a_failure_leaves_the_last_good_files(tree: Path, snakemake, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    snakemake(root=tree, extra=extra)
    before = file_states(extra.glob("[!.]*"))
    make_tree(tree, ["train/n02/n02_1.JPEG", "val/n01440764/photo.png"])
    said = snakemake("--keep-going", root=tree, extra=extra, fails=True).stdout
    assert "1 class folder has no row" in said
    assert file_states(extra.glob("[!.]*")) == before
    (tree / "val/n01440764/photo.png").unlink()
    make_tree(tree, labels=(tree / "labels.txt").read_text() + "n02,new\n")
    snakemake(root=tree, extra=extra)
    assert digests(extra) == fresh(tree, tmp_path / "fresh")
    assert NOTHING in snakemake(root=tree, extra=extra).stdout


@pytest.mark.parametrize("lost", ["the records of Snakemake", "a working folder"])
def test_an_edit_is_seen_without_snakemakes_records(
    lost: str, tree: Path, snakemake, tmp_path: Path
) -> None:
    extra = tmp_path / "extra"
    snakemake(root=tree, extra=extra)
    make_tree(tree, ["train/n01440764/n01440764_77.JPEG"])
    if lost == "a working folder":
        snakemake("--directory", str(tmp_path / "other"), root=tree, extra=extra)
    else:
        shutil.rmtree(tmp_path / "workdir/.snakemake")
        snakemake("--rerun-triggers", "mtime", root=tree, extra=extra)
    assert 77 in np.load(extra / "entries-TRAIN.npy")["actual_index"]
    assert digests(extra) == fresh(tree, tmp_path / "fresh")


def test_a_part_of_the_splits_and_other_days_are_no_reason_to_publish(
    tree: Path, snakemake, tmp_path: Path
) -> None:
    extra = tmp_path / "extra"
    config = {"root": tree, "extra": extra}
    snakemake(splits="[TRAIN,VAL,TEST]", **config)
    before = file_states((extra / WORK / "published").rglob("*.json"))
    for settings in ({"splits": "[TRAIN]"}, {"splits": "[TRAIN,VAL,TEST]"}, {"keep": 7}):
        assert NOTHING in snakemake(**config, **settings).stdout
    assert file_states((extra / WORK / "published").rglob("*.json")) == before
