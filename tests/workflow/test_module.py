"""This workflow as a module of another one, in the real Snakemake."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from dinov3_metadata.demo import make_demo
from helpers import LABELS, REPOSITORY, copy_repository, digests, dump, file_states, make_tree
from tarring import image, write_tar

NOTHING = "Nothing to be done"

MODULE = """
module meta:
    snakefile: {snakefile!r}
    config: {config}
use rule * from meta as meta_*
"""

TRAIN = """
rule train:
    input: meta.published("TRAIN")
    output: "model.txt"
    shell: "echo train >> ran.txt; cat {input:q} > {output}"
rule evaluate:
    input: "model.txt"
    output: "accuracy.txt"
    shell: "echo evaluate >> ran.txt; cat {input} > {output}"
"""


class Importer:
    """A folder with another workflow, and a dataset beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root, self.extra = folder, folder / "root", folder / "extra"
        make_tree(self.root)
        self.environment = os.environ | {"COLUMNS": "200"}

    def write(
        self,
        after: str = "",
        before: str = "",
        snakefile: object = REPOSITORY / "Snakefile",
        **more,
    ) -> None:
        """Write its Snakefile. Settings are added to those that every module needs."""
        config = {"root": "root", "extra": "extra", "splits": ["TRAIN"], **more}
        module = MODULE.format(snakefile=str(snakefile), config=config)
        (self.folder / "Snakefile").write_text(before + module + after)

    def command(self, *options: str) -> list[str]:
        quick = ["--cores", "2", "--max-jobs-per-timespan", "100/0s"]  # see profiles/default
        return [sys.executable, "-m", "snakemake", *quick, *options]

    def run(self, *options: str, fails: bool = False) -> str:
        done = subprocess.run(
            self.command(*options),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stdout
        assert "Traceback" not in done.stdout, done.stdout
        return done.stdout

    def ran(self) -> list[str]:
        """What the rules of ``TRAIN`` noted since this was asked last."""
        note = self.folder / "ran.txt"
        words = note.read_text().split() if note.exists() else []
        note.unlink(missing_ok=True)
        return words


@pytest.fixture
def importer(tmp_path: Path) -> Importer:
    """A workflow in a folder whose name is not plain."""
    folder = tmp_path / "新加卷 my project"
    folder.mkdir()
    return Importer(folder)


def test_the_example_of_the_page(importer: Importer) -> None:
    page = (REPOSITORY / "docs/module.md").read_text()
    fenced = re.findall(r"^```\w*\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    shutil.rmtree(importer.root)
    (importer.folder / "labels.txt").write_text(LABELS)
    make_demo(importer.root, importer.folder / "labels.txt", {"TRAIN": 3, "VAL": 2})
    for name, text in zip(("Snakefile", "config.yaml", "train.py"), fenced, strict=False):
        for word, path in (("CHECKOUT", REPOSITORY), ("ROOT", "root"), ("EXTRA", "extra")):
            text = text.replace(f"<{word}>", str(path))
        (importer.folder / name).write_text(text)
    importer.environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    lint = importer.run("--lint", fails=True)
    assert "evaluate" in lint
    assert str(REPOSITORY) not in lint
    assert re.search(r"meta_publish +1\n(.*\n)*train +1\n", importer.run("-n"))
    said = importer.run()
    assert re.search(r"TRAIN +9 +\+9 ", said)
    accuracy = importer.folder / "results/accuracy.txt"
    assert "9 images of 3 classes" in accuracy.read_text()
    dump(importer.root, importer.folder / "fresh", "TRAIN")
    assert digests(importer.folder / "fresh").items() <= digests(importer.extra).items()
    assert NOTHING in importer.run()


def test_a_training_runs_again_when_and_only_when_the_metadata_changed(importer: Importer) -> None:
    importer.write(f"rule all:\n    input: 'accuracy.txt'\n{TRAIN}")
    importer.run()
    assert importer.ran() == ["train", "evaluate"]
    folder = importer.root / "train/n01440764"
    folder.chmod(0o700)  # the scan sees a change, but the rows are the same
    assert re.search(r"TRAIN +4 +0 +0 ", importer.run())
    assert importer.ran() == []
    make_tree(importer.root, ["train/n01440764/n01440764_77.JPEG"])
    # Neither Snakemake's records nor a target of the module are needed.
    shutil.rmtree(importer.folder / ".snakemake")
    importer.run("--rerun-triggers", "mtime", "--", "model.txt")
    assert importer.ran() == ["train"]
    (importer.extra / "entries-TRAIN.npy").unlink()
    importer.run()
    assert importer.ran() == ["evaluate"]
    assert (importer.extra / "entries-TRAIN.npy").exists()
    assert NOTHING in importer.run()


def test_the_default_target_is_the_importers(importer: Importer) -> None:
    def planned(**text: str) -> str:
        importer.write(**text, splits=["TEST"])
        return importer.run("-n", "--quiet", "rules")

    mine = "rule mine:\n    shell: 'true'\n"
    assert "meta_" not in planned(before=mine)
    assert "meta_" not in planned(after=mine)
    said = planned(snakefile=REPOSITORY / "workflow/Snakefile")
    assert "meta_all" in said


def test_a_dataset_of_tars(importer: Importer) -> None:
    write_tar(importer.folder / "tars/n1.tar", [("1.JPEG", image(9))])
    config = {"root": "tars", "extra": "extra"}
    module = MODULE.format(snakefile=str(REPOSITORY / "Snakefile"), config=config)
    rules = TRAIN.replace('"TRAIN"', "")
    (importer.folder / "Snakefile").write_text(f"{module}{rules}")
    importer.run("accuracy.txt")
    about = json.loads((importer.folder / "accuracy.txt").read_text())
    assert (about["split"], about["images"]) == ("TARS", 1)
    assert importer.ran() == ["train", "evaluate"]
    assert NOTHING in importer.run("accuracy.txt")


def test_a_wrong_dataset_beside_a_right_one(importer: Importer) -> None:
    make_tree(importer.folder / "other", ["train/n01440764/photo.png"])
    other = MODULE.replace("meta", "other").format(
        snakefile=str(REPOSITORY / "Snakefile"),
        config={"root": "other", "extra": "图 other", "splits": ["TRAIN"], "layout": "imagenet"},
    )
    again = "use rule scan_split from other as other_scan_split with:\n    threads: 1\n"
    hooks = "onerror:\n    shell('echo sorry >&2')\nonsuccess:\n    shell('echo fine >&2')\n"
    wait = "rule wait:\n    input: meta.published(), other.published()\n    output: 'both.txt'\n"
    importer.write(other + again + hooks + wait + "    shell: 'cat {input:q} > {output}'\n")
    said = importer.run("--keep-going", fails=True)
    ours = said.partition("sorry\n")[2]
    assert ours.startswith("\nError: TRAIN: DINOv3 cannot address 1 image in ")
    assert "  n01440764/photo.png (no number" in ours
    assert ours.count("Error: ") == 1
    assert f"verified, in {importer.extra}:" in said
    (importer.folder / "other/train/n01440764/photo.png").rename(
        importer.folder / "other/train/n01440764/n01440764_5.JPEG"
    )
    said = importer.run("--cores", "4")
    assert f"verified, in {importer.folder}/图 other:" in said
    assert f"verified, in {importer.extra}:" not in said  # said by the run that published it
    assert "fine\n" in said
    assert NOTHING in importer.run()


@pytest.mark.long
def test_a_run_that_is_killed_while_it_trains(importer: Importer) -> None:
    """The published files stay, and while a training runs, it can use the work folder."""
    make = f"{sys.executable} -m dinov3_metadata --root root --extra extra --splits TRAIN"
    importer.write(
        "rule train:\n"
        "    input: meta.published()\n"
        "    output: 'model.txt'\n"
        f"    shell: 'PYTHONPATH={REPOSITORY}/workflow {make} && touch {{output}} started && "
        "while [ -e hold ]; do sleep 0.1; done'\n"
    )
    (importer.folder / "hold").touch()
    run = subprocess.Popen(
        importer.command("--quiet", "all"),
        cwd=importer.folder,
        env=importer.environment,
        start_new_session=True,
    )
    while run.poll() is None and not (importer.folder / "started").exists():
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    (importer.folder / "hold").unlink()
    before = file_states(importer.extra.glob("[!.]*"))
    make_tree(importer.root, ["train/n01440764/photo.png"])
    importer.run("--nolock", "--rerun-incomplete", "model.txt", fails=True)
    assert file_states(importer.extra.glob("[!.]*")) == before
    (importer.root / "train/n01440764/photo.png").unlink()
    importer.run("--nolock", "--rerun-incomplete", "model.txt")
    assert file_states(importer.extra.glob("[!.]*")) == before


def test_a_module_from_git_runs_the_code_of_its_tag(importer: Importer, tmp_path: Path) -> None:
    clone = tmp_path / "git hub/own/meta"
    copy_repository(clone)
    shutil.rmtree(clone / "workflow")  # only the tag counts
    (tmp_path / "gitconfig").write_text(
        f'[url "file://{tmp_path}/git hub/"]\n    insteadOf = https://github.com/\n'
    )
    importer.environment |= {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"),
    }
    hub = """
module hub:
    snakefile: github("own/meta", path="workflow/Snakefile", tag="v1")
    config: {"root": "root", "extra": "hub", "splits": ["TEST"]}
use rule * from hub as hub_*
rule both:
    input: rules.meta_all.input, rules.hub_all.input
"""
    snakefile = f"git+file://{clone}/Snakefile@v1"
    importer.write(hub, snakefile=snakefile, splits=["TEST"])
    importer.run("both")
    assert digests(importer.extra) == digests(importer.folder / "hub") != {}
    (fetched,) = (tmp_path / "cache").rglob("dinov3-metadata/*/workflow/dinov3_metadata/run.py")
    assert "__pycache__" in os.listdir(fetched.parent)  # the jobs ran this code
    assert NOTHING in importer.run("both")


def test_rules_of_a_wheel_run_no_code_of_another_copy(importer: Importer, tmp_path: Path) -> None:
    house = tmp_path / "site/dinov3_metadata/house"
    for name in ("rules", "workflow", "envs"):
        leave = shutil.ignore_patterns("__pycache__", "dinov3_metadata")
        shutil.copytree(REPOSITORY / name, house / name, ignore=leave)
    for name in ("Snakefile", "config.yaml"):
        shutil.copyfile(REPOSITORY / name, house / name)
    shutil.copytree(
        REPOSITORY / "workflow/dinov3_metadata",
        house.parent,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    importer.write(snakefile=house / "Snakefile", splits=["TEST"])
    importer.environment["PYTHONPATH"] = str(tmp_path / "site")
    assert "verified, in " in importer.run()
    importer.environment["PYTHONPATH"] = str(REPOSITORY / "workflow")
    last = importer.run("-n", fails=True).splitlines()[-1]
    assert last.startswith(f"Error: The rules in {house} need the dinov3_metadata of the same copy")
    assert f" in {REPOSITORY}/workflow/dinov3_metadata. " in last


@pytest.mark.long
def test_local_rules_stay_local_on_a_cluster(importer: Importer, plugin: Callable) -> None:
    submit = importer.folder / "submit"
    submit.write_text('#!/bin/sh\necho "$1" >> submitted.txt\nsh "$2" >&2\necho $$\n')
    submit.chmod(0o755)
    importer.environment["PYTHONPATH"] = str(plugin("cluster"))
    train = "rule train:\n    input: meta.published()\n    output: 'model.txt'\n"
    importer.write(train + "    shell: 'cat {input:q} > {output}'\n", splits=["TEST"])
    options = ["--executor", "cluster-generic", "--seconds-between-status-checks", "1"]
    options += ["--cluster-generic-submit-cmd", "./submit {name}", "--jobs", "4", "train"]
    importer.run(*options)
    submitted = (importer.folder / "submitted.txt").read_text().split()
    of_split = ("scan_split", "dump_entries", "verify")
    assert sorted(submitted) == sorted([*(f"meta_{rule}" for rule in of_split), "train"])
    assert NOTHING in importer.run(*options)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"root": None, "extra": None}, "a module needs `root` (the dataset's folder) and `extra`"),
        ({"extra": None}, "`root` is set, but not `extra`"),
        ({"rot": "x"}, "there is no setting 'rot'. Did you mean 'root'?"),
    ],
)
def test_a_wrong_setting_is_one_plain_sentence(settings, message, importer: Importer) -> None:
    importer.write(**settings)
    last = importer.run(fails=True).splitlines()[-1]
    assert last.startswith("Error: config: ")
    assert message in last
    assert sorted(path.name for path in importer.folder.glob("[!.]*")) == ["Snakefile", "root"]


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (
            MODULE.replace("meta", "two").format(
                snakefile=str(REPOSITORY / "Snakefile"), config={"root": "root", "extra": "extra"}
            ),
            "config: extra: two modules with different settings write to ",
        ),
        ("rule x:\n    input: meta.published('VAL')\n", "published(): this module makes no VAL"),
    ],
)
def test_a_wrong_importer_is_one_plain_sentence(after, message, importer: Importer) -> None:
    importer.write(after)
    assert importer.run("-n", fails=True).splitlines()[-1].startswith(f"Error: {message}")
