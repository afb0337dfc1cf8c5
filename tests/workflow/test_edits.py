"""The edit matrix: after any edit of a published dataset, the same command redoes what is needed.

Each row starts from a published tree, makes one edit, runs, and asserts that the published bytes
are those of a fresh run elsewhere, that exactly the expected jobs ran, that exactly the expected
folders were listed, and that the run after that has nothing to do.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from dinov3_metadata.run import dump_extra
from helpers import FILES, digests, dump, file_states, make_tree

LABELS = (
    "n01440764,tench\nn01443537,goldfish\nn01484850,great white shark\n"
    "n00000001,first\nn09999999,last of all classes\n"
)
STAGES = {
    "Read the labels": "labels",
    "Scan": "scan",
    "Number the classes": "numbering",
    "Write the entries of": "entries",
    "Write the class arrays of": "classes",
    "Verify": "verify",
    "Publish": "publish",
}
JOB = re.compile(rf"^Job \d+: ({'|'.join(STAGES)}) ?(TRAIN|VAL|TEST)?", re.MULTILINE)


def chain(*splits: str, start: str = "scan") -> set[str]:
    """The jobs of some splits, from one stage to the last, and the one that publishes all."""
    *stages, publish = STAGES.values()
    return {publish} | {
        f"{stage} {split}"
        for split in splits
        for stage in stages[stages.index(start) :]
        if (stage, split) != ("classes", "TEST") and stage != "numbering"
    }


TRAIN = chain("TRAIN")
RELABELLED = {"labels"} | chain("TRAIN", "VAL", start="entries")
RENUMBERED = {"numbering"} | chain("VAL", start="entries")
NOTHING: set[str] = set()


@dataclass
class Dataset:
    """A published dataset: its paths, and what a run of the workflow did to it."""

    root: Path
    extra: Path
    snakemake: Callable
    fresh: Path
    log: str = "debug"

    def run(self, *options: str, **settings: object) -> tuple[set[str], set[str]]:
        """Run the workflow; return the jobs that ran and the folders that were listed."""
        logs = {path: path.stat().st_ino for path in self.scan_logs()}
        settings = {"splits": "[TRAIN,VAL,TEST]", "log": f"{{level: {self.log}}}"} | settings
        said = self.snakemake(*options, root=self.root, extra=self.extra, **settings).stdout
        jobs = {" ".join(filter(None, (STAGES[m[1]], m[2]))) for m in JOB.finditer(said)}
        listed = {
            os.path.relpath(line, self.root)
            for path in self.scan_logs()
            if logs.get(path) != path.stat().st_ino
            for line in re.findall(r"DEBUG listed (.*): \d", path.read_text())
        }
        return jobs, listed

    def scan_logs(self) -> list[Path]:
        return list((self.extra / ".dinov3-metadata").rglob("scan.log"))

    def is_true(self) -> bool:
        """Whether the published bytes are those of a fresh run elsewhere."""
        shutil.rmtree(self.fresh, ignore_errors=True)
        classes = sorted(path.name for path in (self.root / "train").iterdir() if path.is_dir())
        for split in ("TRAIN", "VAL", "TEST"):
            dump(self.root, self.fresh, split, numbered=classes if split == "VAL" else ())
        return digests(self.extra) == digests(self.fresh)


@pytest.fixture
def dataset(snakemake, tmp_path: Path) -> Dataset:
    root = make_tree(tmp_path / "root", FILES, LABELS)
    # A class behind a link, and a nested folder without images.
    make_tree(tmp_path, ["elsewhere/n01600000_3.JPEG", "root/train/n01443537/notes/a.txt"], "")
    (root / "train/n01600000").symlink_to(tmp_path / "elsewhere")
    (root / "labels.txt").write_text(LABELS + "n01600000,behind a link\n")
    dump_extra(root, tmp_path / "extra", ["TRAIN", "VAL", "TEST"])  # like the workflow, but faster
    return Dataset(root, tmp_path / "extra", snakemake, tmp_path / "fresh")


Edit = Callable[[Dataset], object]
TENCH = "train/n01440764"


def in_tree(edit: Callable[[Path], object]) -> Edit:
    return lambda dataset: edit(dataset.root)


def shell(command: str) -> Edit:
    """Run a command in root; the folder beside it is ``$aside``."""

    def edit(dataset: Dataset) -> None:
        environment = os.environ | {"aside": str(dataset.root.parent / "aside")}
        subprocess.run(command, shell=True, check=True, cwd=dataset.root, env=environment)

    return edit


def rsync(dataset: Dataset) -> None:
    """``rsync -a --delete`` from a copy of a class folder with one image less and one older."""
    aside = dataset.root.parent / "aside"
    shutil.copytree(dataset.root / TENCH, aside)
    (aside / "n01440764_9.JPEG").unlink()
    (aside / "n01440764_7.JPEG").touch()
    for path in (aside / "n01440764_7.JPEG", aside):
        os.utime(path, (10**9, 10**9))
    if shutil.which("rsync"):
        shell(f"rsync -a --delete $aside/ {TENCH}/")(dataset)
    else:  # the same in steps
        (dataset.root / TENCH / "n01440764_9.JPEG").unlink()
        shutil.copy2(aside / "n01440764_7.JPEG", dataset.root / TENCH / ".7.x")
        shell(f"mv {TENCH}/.7.x {TENCH}/n01440764_7.JPEG")(dataset)
        os.utime(dataset.root / TENCH, (10**9, 10**9))


def deleted_one_by_one(dataset: Dataset) -> None:
    """Delete a published file of each kind, with a run after each."""
    for name in (
        "class-ids-VAL.npy",
        "class-names-TRAIN.npy",
        "entries-TEST.npy",
        "metadata-VAL.json",
    ):
        path = dataset.extra / name
        path.unlink()
        assert dataset.run() == ({"publish"}, set())
        assert path.exists()


def garbage(dataset: Dataset) -> None:
    path = dataset.extra / "entries-TRAIN.npy"
    state = path.stat()
    path.write_bytes(b"x" * state.st_size)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def target_that_becomes_a_folder(dataset: Dataset) -> None:
    """An image is a link; no folder of the dataset changes when it leads to a folder."""
    target = dataset.root.parent / "pool/x"
    make_tree(dataset.root.parent, ["pool/x"], "")
    (dataset.root / TENCH / "n01440764_5.JPEG").symlink_to(target)
    dataset.run()
    target.unlink()
    target.mkdir()


def moved_extra(dataset: Dataset) -> None:
    dataset.extra = dataset.extra.rename(dataset.extra.with_name("moved"))


MATRIX: dict[str, tuple[Edit, set[str], set[str]]] = {
    "no edit": (in_tree(lambda root: None), NOTHING, set()),
    "add an image": (shell(f"touch {TENCH}/n01440764_5.JPEG"), TRAIN, {TENCH}),
    "remove an image": (shell(f"rm {TENCH}/n01440764_9.JPEG"), TRAIN, {TENCH}),
    "rename an image": (
        shell(f"mv {TENCH}/n01440764_9.JPEG {TENCH}/n01440764_8.JPEG"),
        TRAIN,
        {TENCH},
    ),
    "move an image between classes": (
        shell(f"mv {TENCH}/n01440764_9.JPEG train/n01443537/n01443537_9.JPEG"),
        TRAIN,
        {TENCH, "train/n01443537"},
    ),
    "swap the names of two files": (
        shell(
            f"cd {TENCH}; mv n01440764_9.JPEG x;"
            "mv n01440764_10026.JPEG n01440764_9.JPEG; mv x n01440764_10026.JPEG"
        ),
        TRAIN,
        {TENCH},
    ),
    "the target of a link becomes a folder": (
        target_that_becomes_a_folder,
        TRAIN,
        {TENCH, f"{TENCH}/n01440764_5.JPEG"},
    ),
    "add a class": (
        shell("mkdir train/n09999999; touch train/n09999999/n09999999_1.JPEG"),
        TRAIN | RENUMBERED,
        {"train", "train/n09999999"},
    ),
    "remove a class": (
        shell("rm -r train/n01484850 val/n01484850"),
        TRAIN | RENUMBERED | {"scan VAL"},
        {"train", "val"},
    ),
    "rename a class": (
        shell(
            "mv train/n01484850 train/n09999999; mv val/n01484850 val/n09999999;"
            "mv train/n09999999/n01484850_1.JPEG train/n09999999/n09999999_1.JPEG"
        ),
        TRAIN | RENUMBERED | {"scan VAL"},
        {"train", "train/n09999999", "val", "val/n09999999"},
    ),
    "rename the class that sorts first": (
        shell(
            "mv val/n01440764 val/n00000001;"
            "mv train/n01440764 train/n00000001; cd train/n00000001;"
            "mv n01440764_9.JPEG n00000001_9.JPEG; mv n01440764_10026.JPEG n00000001_10026.JPEG"
        ),
        TRAIN | RENUMBERED | {"scan VAL"},
        {"train", "train/n00000001", "val", "val/n00000001"},
    ),
    "a class folder replaced by one with an older mtime and as many files": (
        shell(
            "mkdir -p $aside/n01484850; touch $aside/n01484850/n01484850_2.JPEG;"
            "touch -d 2001-01-01 $aside/n01484850; rm -r train/n01484850;"
            "mv $aside/n01484850 train/; touch -d 2001-01-01 train"
        ),
        TRAIN,
        {"train", "train/n01484850"},
    ),
    "rsync -a --delete from a second tree": (rsync, TRAIN, {TENCH}),
    "tar -x over it": (
        shell(
            f"mkdir -p $aside/{TENCH}; touch -d 2001-01-01 $aside/{TENCH}/n01440764_6.JPEG;"
            f"touch -d 2001-01-01 $aside/{TENCH}; tar -C $aside -cf $aside.tar {TENCH};"
            "tar -xf $aside.tar"
        ),
        TRAIN,
        {TENCH},
    ),
    "mtime put back with touch -d after an edit": (
        shell(
            f'stamp=$(stat -c %y {TENCH}); touch {TENCH}/n01440764_4.JPEG;touch -d "$stamp" {TENCH}'
        ),
        TRAIN,
        {TENCH},
    ),
    "an mtime in the future": (
        shell(f"touch {TENCH}/n01440764_4.JPEG; touch -d 2100-01-01 {TENCH} train"),
        TRAIN,
        {TENCH, "train"},
    ),
    "labels.txt: a class renamed": (
        shell("sed -i s/tench/Tinca/ labels.txt"),
        RELABELLED,
        set(),
    ),
    "labels.txt: reordered": (shell("sort -r labels.txt > x; mv x labels.txt"), RELABELLED, set()),
    "labels.txt: extra rows": (shell("echo n07777777,more >> labels.txt"), RELABELLED, set()),
    "labels.txt: an older file copied over it": (
        shell(
            "sed s/goldfish/fish/ labels.txt > $aside; touch -d 2001-01-01 $aside;"
            "cp -a $aside labels.txt"
        ),
        RELABELLED,
        set(),
    ),
    "labels.txt: touched": (shell("touch labels.txt"), NOTHING, set()),
    "pixels overwritten in place": (
        shell(f"echo x > {TENCH}/n01440764_9.JPEG"),
        NOTHING,
        set(),
    ),
    "chmod of an image": (shell(f"chmod 600 {TENCH}/n01440764_9.JPEG"), NOTHING, set()),
    "chmod of a class folder": (shell(f"chmod 700 {TENCH}"), TRAIN, {TENCH}),
    "a text file added to a class folder": (shell(f"touch {TENCH}/a.txt"), TRAIN, {TENCH}),
    "a nested folder added": (
        shell(f"mkdir {TENCH}/notes"),
        TRAIN,
        {TENCH, f"{TENCH}/notes"},
    ),
    "a file in a nested folder": (
        shell("touch train/n01443537/notes/b.txt"),
        TRAIN,
        {"train/n01443537/notes"},
    ),
    "a linked class folder edited at its target": (
        shell("touch ../elsewhere/n01600000_4.JPEG"),
        TRAIN,
        {"train/n01600000"},
    ),
    "a link to a class whose target is gone": (
        shell("mv ../elsewhere ../nowhere"),
        TRAIN | RENUMBERED,
        {"train"},
    ),
    "an image of TEST": (
        shell("touch test/ILSVRC2012_test_00000003.JPEG"),
        chain("TEST"),
        {"test"},
    ),
    "two edits in different splits": (
        shell(f"rm {TENCH}/n01440764_9.JPEG; touch val/n01440764/ILSVRC2012_val_00000001.JPEG"),
        chain("TRAIN", "VAL"),
        {TENCH, "val/n01440764"},
    ),
    "extra moved to another place": (moved_extra, NOTHING, set()),
    "outputs deleted one by one": (deleted_one_by_one, NOTHING, set()),
    "an output overwritten with garbage of the same size": (garbage, {"publish"}, set()),
    "the work folder deleted": (
        lambda dataset: shutil.rmtree(dataset.extra / ".dinov3-metadata"),
        {"labels", "numbering"} | chain("TRAIN", "VAL", "TEST"),
        {
            "train",
            "train/n01440764",
            "train/n01443537",
            "train/n01443537/notes",
            "train/n01484850",
            "train/n01600000",
            "val",
            "val/n01440764",
            "val/n01443537",
            "val/n01484850",
            "test",
        },
    ),
}


@pytest.mark.parametrize("row", MATRIX)
def test_edit_matrix(row: str, dataset: Dataset) -> None:
    edit, jobs, listed = MATRIX[row]
    edit(dataset)
    assert dataset.run() == (jobs, listed)
    assert dataset.is_true()
    assert dataset.run() == (NOTHING, set())


EXCLUDED = "n01484850", "n01440764_9.JPEG", "test/ILSVRC2012_test_00000002.JPEG"


class Selected(Dataset):
    """A dataset without a class and two images, whose metadata is made without Snakemake."""

    def run(self, *_: str, **__: object) -> tuple[set[str], set[str]]:
        exclude = self.root.parent / "不要 these.txt"
        exclude.write_text("\n".join(EXCLUDED))
        select = {"exclude": exclude, "missing": "skip"}
        dump_extra(self.root, self.extra, ["TRAIN", "VAL", "TEST"], select=select)
        return set(), set()

    def is_true(self) -> bool:
        """Whether the published bytes are those of a copy without what is excluded."""
        copy = self.root.parent / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        left_out = shutil.ignore_patterns(*(name.rpartition("/")[2] for name in EXCLUDED))
        shutil.copytree(self.root, copy, ignore=left_out, ignore_dangling_symlinks=True)
        return Dataset(copy, self.extra, self.snakemake, self.fresh).is_true()


@pytest.mark.parametrize("row", [row for row in MATRIX if "one by one" not in row])
def test_edit_matrix_of_a_selection(row: str, dataset: Dataset) -> None:
    selected = Selected(dataset.root, dataset.extra, dataset.snakemake, dataset.fresh)
    selected.run()
    assert selected.is_true()
    MATRIX[row][0](selected)
    selected.run()
    assert selected.is_true()
    states = file_states(selected.extra.glob("*-*"))
    selected.run()
    assert file_states(selected.extra.glob("*-*")) == states


def test_edits_one_after_the_other(dataset: Dataset) -> None:
    """What Snakemake itself remembers of earlier runs must not cause a job either."""
    for row in ("the work folder deleted", "labels.txt: touched", "add an image", "add a class"):
        edit, jobs, listed = MATRIX[row]
        edit(dataset)
        assert dataset.run() == (jobs, listed)
        assert dataset.is_true()
    assert dataset.run() == (NOTHING, set())


def test_a_setting_reaches_the_stages_it_concerns(dataset: Dataset) -> None:
    verify = chain("TRAIN", "VAL", "TEST", start="verify")
    everything = chain("TRAIN", "VAL", "TEST")
    assert dataset.run(verify="{level: full}") == (verify, set())
    assert dataset.run(verify="{level: full}") == (NOTHING, set())
    dataset.log = "info"
    assert dataset.run(verify="{level: full}") == (NOTHING, set())
    assert dataset.run(scan="{unaddressable: skip}")[0] >= everything
    assert dataset.is_true()


def test_a_later_run_repairs_what_a_failed_one_left(dataset: Dataset) -> None:
    before = digests(dataset.extra)
    (dataset.root / "labels.txt").rename(dataset.root / "away")
    make_tree(dataset.root.parent, ["root/train/n01440764/n01440764_5.JPEG"], "")
    for _ in range(2):
        dataset.snakemake(root=dataset.root, extra=dataset.extra, fails=True)
        assert digests(dataset.extra) == before
    (dataset.root / "away").rename(dataset.root / "labels.txt")
    assert chain("TRAIN", start="entries") <= dataset.run()[0] <= chain("TRAIN")
    assert dataset.is_true()
    assert dataset.run() == (NOTHING, set())


def test_a_dry_run_says_what_changed(dataset: Dataset) -> None:
    settings = {"root": dataset.root, "extra": dataset.extra, "splits": "[TRAIN,VAL,TEST]"}
    make_tree(dataset.root.parent, ["root/train/n01440764/n01440764_5.JPEG"], "")
    said = dataset.snakemake("-n", **settings).stdout
    assert "Scan TRAIN: 1 of 6 folders changed: n01440764\n" in said
    said = dataset.snakemake("-n", "--quiet", "host", **settings).stdout
    assert re.search(
        r"Reason: Missing output files: .*/TRAIN/5-folders-[0-9a-f]{12}/scan.npz", said
    )
    shutil.rmtree(dataset.extra)
    said = dataset.snakemake("-n", **settings).stdout
    assert "Scan TRAIN: 5 folders, none of them scanned before\n" in said


def test_folders_are_listed_at_every_run_where_times_mean_nothing(dataset: Dataset) -> None:
    distrust = {"scan": "{trust_timestamps: false}"}
    dataset.run(**distrust)
    shell(f"touch -d 2001-01-01 {TENCH}; chmod 700 {TENCH}")(dataset)
    assert dataset.run(**distrust) == (NOTHING, set())
    make_tree(dataset.root.parent, ["root/train/n01440764/n01440764_5.JPEG"], "")
    assert dataset.run(**distrust) == (TRAIN, {TENCH})
    assert dataset.is_true()
