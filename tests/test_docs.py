"""docs/errors.md shows each message word for word: every message there is produced here."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import yaml
from dinov3_metadata import __version__, walk
from dinov3_metadata.access import refused
from dinov3_metadata.config import settings_of
from dinov3_metadata.demo import make_demo
from dinov3_metadata.disk import make_folder
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.files import read_array_back, write_atomically
from dinov3_metadata.lock import lock_run
from dinov3_metadata.paths import folder_of, path_of
from dinov3_metadata.preflight import check_folders, check_layout
from dinov3_metadata.report.pages import draw_report
from dinov3_metadata.run import dump_extra
from dinov3_metadata.stages.audit import audit_share, audit_split, write_share
from dinov3_metadata.stages.labels import read_labels
from dinov3_metadata.stages.scan import scan_images
from dinov3_metadata.stages.verify import check_files, verify
from dinov3_metadata.stages.view import View
from helpers import FILES, LABELS, REPOSITORY, copy_repository, dump, make_tree

TREE = f"3-folders-{12 * '0'}"
ERRORS = REPOSITORY / "docs/errors.md"

pytestmark = pytest.mark.needs("torchvision")
TWINS = {
    "README.md": "README.zh-CN.md",
    "docs/check.md": "docs/check.zh-CN.md",
    "docs/days.md": "docs/days.zh-CN.md",
    "docs/errors.md": "docs/errors.zh-CN.md",
    "docs/module.md": "docs/module.zh-CN.md",
    "docs/recipes.md": "docs/recipes.zh-CN.md",
    "docs/storage.md": "docs/storage.zh-CN.md",
}


def labels(content: bytes | None) -> Callable[[Path], object]:
    """Read a labels file for the first two classes of the tree."""

    def case(root: Path) -> None:
        (root / "labels.txt").unlink()
        if content is not None:
            (root / "labels.txt").write_bytes(content)
        read_labels(root / "labels.txt").of(["n01440764", "n01443537"])

    return case


def scan(*files: str, split: str = "TRAIN", **options) -> Callable[[Path], object]:
    return lambda root: scan_images(make_tree(root, files), split, **options)


def flat(root: Path) -> None:
    (root / "val").rename(root / "old")
    scan_images(make_tree(root, ["val/ILSVRC2012_val_00000001.JPEG"]), "VAL")


def one_folder(root: Path) -> None:
    """The images of VAL are in a folder that is no class."""
    (root / "val").rename(root / "old")
    make_tree(root, ["val/images/ILSVRC2012_val_00000001.JPEG"])
    dump_extra(root, root / "extra")


def deeper(root: Path) -> None:
    """Archives were unpacked into folders of the same name."""
    for name in ("train", "val"):
        (root / name).rename(root / "old")
        (root / name).mkdir()
        (root / "old").rename(root / name / name)
    dump_extra(root, root / "extra", labels="folders")


def missing(root: Path) -> None:
    (root / "val").rename(root / "validation")
    scan_images(root, "VAL")


def restless(root: Path) -> None:
    real, names = walk.list_folder, iter(range(100, 1000))

    def list_folder(*what: object) -> object:
        found = real(*what)
        (root / f"train/n01440764/n01440764_{next(names)}.JPEG").touch()
        return found

    with patch.object(walk, "list_folder", list_folder):
        scan_images(root, "TRAIN")


def edited_labels(root: Path) -> None:
    read_labels(root / "labels.txt", "fingerprint of another content")


def no_classes(root: Path) -> None:
    (root / "train").rename(root / "old")
    scan_images(make_tree(root, ["train/"]), "TRAIN")


def no_images(root: Path) -> None:
    (root / "test").rename(root / "old")
    scan_images(make_tree(root, ["test/"]), "TEST")


def not_utf8(root: Path) -> None:
    names = [os.fsdecode(name.encode("gbk")) for name in ("狗", "金鱼")]
    scan_images(make_tree(root, [f"train/{name}/{name}_1.JPEG" for name in names]), "TRAIN")


def loop(root: Path) -> None:
    (root / "train/n01440764/again").symlink_to("..")
    scan_images(root, "TRAIN")


def not_addressable(root: Path) -> None:
    names = [
        "n01440764/n01440764_1.jpg",
        "n01440764/n01440764_0002.JPEG",
        "n01440764/n01440764_9.png",
        "n01440764/photo.JPEG",
        "n01440764/images/n01440764_5.JPEG",
        "n01443537/n01443537_4294967296.JPEG",
    ]
    make_tree(root, [f"train/{name}" for name in names])
    os.mkfifo(root / "train/n01440764/n01440764_3.JPEG")
    scan_images(root, "TRAIN")


def unlabelled(root: Path) -> None:
    make_tree(root, ["train/n09999999/n09999999_1.JPEG"])
    dump(root, root / "extra", "TRAIN")


def other_capitals(root: Path) -> None:
    names = ["val/N01440764/ILSVRC2012_val_00000001.JPEG"]
    make_tree(root, [*FILES, *names], LABELS + "N01440764,tench\n")
    dump_extra(root, root / "extra")


def verifying(edit: Callable[[Path], object]) -> Callable[[Path], object]:
    def case(root: Path) -> None:
        paths = {name: str(path) for name, path in dump(root, root / "extra", "TRAIN").items()}
        found, *_ = scan_images(root, "TRAIN")
        edit(root)
        check_files(paths, found, read_labels(root / "labels.txt"), root=root, split="TRAIN")

    return case


def empty_image(root: Path) -> None:
    scan, *_ = scan_images(root, "TRAIN")
    extra, state = (
        root / "extra",
        {
            "split": "TRAIN",
            "tree": TREE,
            "selection": "all",
            "numbered": "own",
            "audit": 12 * "a",
        },
    )
    scan.save(root / "scan.npz")
    rows = audit_share(scan, extra=extra, root=root, split="TRAIN", scatteritem="1-of-1")
    make_folder(folder_of(extra, "share", **state))
    write_share(rows, path_of(extra, "share", scatteritem="1-of-1", **state))
    audit_split(
        **state,
        audited=path_of(extra, "audited", **state),
        scan=root / "scan.npz",
        extra=extra,
        root=str(root),
        standing=12 * "a",
        shares=1,
        fail_on=["zero-bytes"],
    )


def twice(root: Path) -> None:
    """An image of TRAIN is there twice, and another one is nearly in VAL."""

    def hashed(*what: object, split: str, **how: object) -> np.ndarray:
        rows = audit_share(*what, split=split, **how)
        rows["width"] = 1
        for row in rows:
            content = {10026: 9}.get(row["actual_index"], row["actual_index"])
            row["sha256"] = np.void(int(content).to_bytes(32, "little"))
            row["phash"] = {177134: 0b100, 236: 0b111}.get(row["actual_index"], 0)
        return rows

    with patch("dinov3_metadata.stages.audit.audit_share", hashed):
        dump_extra(root, root / "extra", threads=1, audit={"fail_on": ["duplicate", "leak"]})


def folder_in_the_way(root: Path) -> None:
    dump_extra(root, root / "extra", ["TRAIN"])
    (root / "extra/entries-TRAIN.npy").unlink()
    (root / "extra/entries-TRAIN.npy").mkdir()
    dump_extra(root, root / "extra", ["TRAIN"])


def planted_link(root: Path) -> None:
    (root / "extra/.dinov3-metadata").mkdir()
    (root / "extra/.dinov3-metadata/TRAIN").symlink_to(root / "train")
    dump_extra(root, root / "extra")


def moved(root: Path) -> None:
    """An image is moved between the splits after one of them was scanned."""

    def verify_and_move(*what: object, **how: object) -> object:
        (root / f"train/n01440764/n01440764_{next(numbers)}.JPEG").touch()
        return verify(*what, **how)

    numbers = iter(range(100, 1000))
    with patch("dinov3_metadata.stages.verify.verify", verify_and_move):
        dump_extra(root, root / "extra", ["TRAIN"])


def locked(root: Path) -> None:
    with lock_run(root / "extra"):
        lock_run(root / "extra")


def too_large(root: Path) -> None:
    with write_atomically(root / "extra/entries-TRAIN.npy", 10**15):
        pass


def damaged(root: Path) -> None:
    path = root / "extra/.dinov3-metadata/TRAIN/class-ids-TRAIN.npy"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    read_array_back(path)


def refusing(function: str, error: OSError) -> Callable[[Path], object]:
    """The system refuses something while a file is written."""

    def case(root: Path) -> None:
        path = root / "extra/entries-TRAIN.npy"
        with patch(function, side_effect=error, create=True), write_atomically(path) as file:
            file.write(b"x")

    return case


def link(dataset: Path, root: str = "", **how: str) -> None:
    """Make a view of a dataset."""
    how = {"extra": f"{dataset}/extra", "split": "TRAIN", "layout": "folder"} | how
    View(str(dataset), root or f"{dataset}/extra/view", **how).link()


def view(layout: str, split: str, *files: str, **texts: str) -> Callable[[Path], object]:
    """Link a split of a dataset with some more files, and some with a text."""

    def case(root: Path) -> None:
        make_tree(root, files)
        for name, text in texts.items():
            (root / name.replace("__", ".")).write_text(text)
        link(root, split=split, layout=layout)

    return case


def view_with(name: str) -> Callable[[Path], object]:
    """Put a file into a class folder of a view, and then remove the images of the class."""

    def case(root: Path) -> None:
        link(root)
        make_tree(root, [f"extra/view/train/n01440764/{name}"])
        shutil.rmtree(root / "train/n01440764")
        link(root)

    return case


def changed_annotations(root: Path) -> None:
    make_tree(root, [KAGGLE])
    (root / "LOC_val_solution.csv").write_text("a,b\n")
    link(root, split="VAL", layout="kaggle", annotations="another")


def without_val(root: Path) -> None:
    shutil.rmtree(root / "val")
    link(root, split="VAL", layout="tiny-imagenet")


def view_of_tiny(root: Path) -> None:
    for image in (root / "train/n01440764").iterdir():
        image.unlink()
    link(root, layout="tiny-imagenet")


def view_of_another(root: Path) -> None:
    (root / "extra/.dinov3-metadata").mkdir()
    for extra in (root / "extra", root / "other"):
        link(root, f"{root}/links", extra=str(extra))


def planted(name: str, plant: Callable[[Path], object]) -> Callable[[Path], object]:
    """Put something into the place of the view, or of a file that marks it."""

    def case(root: Path) -> None:
        path = root / "extra" / name
        path.parent.mkdir(exist_ok=True)
        plant(path)
        link(root)

    return case


KAGGLE = "ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG"

CASES: dict[str, Callable[[Path], object]] = {
    "labels missing": labels(None),
    "labels empty": labels(b"\n"),
    "labels not UTF-8": labels(b"n01440764,caf\xe9\n"),
    "labels in one of several encodings": labels("n01440764,大白鲨\n".encode("gbk")),
    "labels in two encodings": labels("n01440764,丁鱥\n".encode() + b"n01443537,caf\xe9\n"),
    "labels with a third column": labels(
        b"n01440764,tench\nn01443537,goldfish, Carassius auratus\n"
    ),
    "labels with one column": labels(b"n01440764,tench\nn01443537\n"),
    "labels without a separator": labels(b"n01440764 tench, Tinca tinca\nn01443537\n"),
    "labels that are no JSON": labels(b'{"0": ["n01440764", "tench"]'),
    "labels in JSON of another shape": labels(b'{"n01440764": null}'),
    "labels in Python that is cut off": labels(b"{0: 'tench',\n 1: 'goldfish'\n"),
    "labels without an id": labels(b"n01440764,tench\nn01443537,goldfish\n,x\n"),
    "labels without a name": labels(b"n01440764,tench\nn01443537,\n"),
    "labels with an id twice": labels(b"n01440764,tench\nn01443537,x\nn01440764,goldfish\n"),
    "labels with an open quote": labels(b'n01440764,"tench\nn01443537,goldfish\n'),
    "labels with half a pair": labels(b"n01440764,[tench\nn01443537,goldfish\n"),
    "labels with exchanged columns": labels(b"tench,n01440764\ngoldfish,n01443537\n"),
    "labels of other classes": labels(b"cat,Cat\ndog,Dog\nowl,Owl\nbat,Bat\n"),
    "labels without ids": labels(b'["tench", "goldfish"]'),
    "class folder that is not UTF-8": not_utf8,
    "a class without a label": unlabelled,
    "a class that TRAIN lacks": other_capitals,
    "classes in a deeper folder": deeper,
    "images of VAL in one folder": one_folder,
    "split missing": missing,
    "split flat": flat,
    "not addressable": not_addressable,
    "class without images": scan("train/.ipynb_checkpoints/"),
    "link in circles": loop,
    "no classes": no_classes,
    "split of another layout missing": without_val,
    "annotations missing": view("kaggle", "VAL", KAGGLE),
    "annotations of another shape": view("kaggle", "VAL", KAGGLE, LOC_val_solution__csv="a\nb\n"),
    "image without annotation": view("kaggle", "VAL", KAGGLE, LOC_val_solution__csv="a,b\n"),
    "class name too long": view("folder", "TRAIN", f"train/{'x' * 245}/1.jpg"),
    "view in a split": lambda root: link(root, f"{root}/train/v"),
    "tiny class without images/": view_of_tiny,
    "image in the folder of another class": view(
        "kaggle",
        "VAL",
        KAGGLE.replace("val/", "val/n02/"),
        LOC_val_solution__csv="ILSVRC2012_val_00000001,n01\nILSVRC2012_val_00000002,n02\n",
    ),
    "folder that is no view": view("folder", "TRAIN", "extra/view/train/n01440764/mine.txt"),
    "file in the view": view_with("mine.txt"),
    "file of a class that is gone": view_with(".DS_Store"),
    "view that is a link": planted("view", lambda path: path.symlink_to("elsewhere")),
    "mark that is no file": planted("view/.dinov3-view-TRAIN", os.mkfifo),
    "annotations changed": changed_annotations,
    "view of another extra": view_of_another,
    "class of the view without images": view("folder", "TRAIN", "train/cat/", "train/dog/"),
    "no images": no_images,
    "keeps changing": restless,
    "labels changed": edited_labels,
    "image gone": verifying(lambda root: (root / "train/n01440764/n01440764_9.JPEG").unlink()),
    "image empty": empty_image,
    "images twice": twice,
    "nothing to report": lambda root: draw_report(root / "extra", ["TRAIN"]),
    "file damaged": damaged,
    "folder in the way": folder_in_the_way,
    "another run": locked,
    "no room": too_large,
    "disk full": refusing("os.fsync", OSError(28, "No space left on device")),
    "read-only": refusing("os.replace", PermissionError(13, "Permission denied")),
    "link in the work folder": planted_link,
    "dataset changed": moved,
    "root alone": lambda root: settings_of({"root": str(root), "extra": None}),
    "extra alone": lambda root: settings_of({"root": None, "extra": str(root / "extra")}),
    "root nowhere": lambda root: check_folders(f"{root}/nowhere", f"{root}/extra"),
    "extra in a split": lambda root: check_folders(str(root), f"{root}/train/extra"),
    "extra among the images": lambda root: check_layout(
        "flat", str(make_tree(root / "photos", ["1.jpg"])), str(root / "photos"), {}
    ),
    "extra with braces": lambda root: check_folders(str(root), f"{root}/extra/{{TRAIN}}"),
}


VARIABLE = {
    r"process \d+ on host \S+, since \S+\.": "process <PID> on host <HOST>, since <TIME>.",
    r"[\d,.]+ MB, but only [\d,.]+ MB": "<SIZE> MB, but only <FREE> MB",
    r"read back \(.*?\)": "read back (<WHY>)",
}


def message(case: str, root: Path) -> str:
    """Return the message of a case, with everything that depends on the machine replaced."""
    make_tree(root, labels=LABELS)
    (root / "extra").mkdir()
    with pytest.raises((MetadataError, OSError)) as error:
        CASES[case](root)
    said = str(refused(error.value) if isinstance(error.value, OSError) else error.value)
    said = said.replace(f"{root}/extra", "<EXTRA>").replace(str(root), "<ROOT>")
    for pattern, name in VARIABLE.items():
        said = re.sub(pattern, name, said)
    return said


@pytest.mark.parametrize("case", CASES)
def test_errors_md_has_the_message_word_for_word(case: str, tmp_path: Path) -> None:
    shown = re.findall(r"^```\n(.*?)^```$", ERRORS.read_text(), re.MULTILINE | re.DOTALL)
    assert message(case, tmp_path / "root") + "\n" in shown


def test_errors_md_has_no_message_that_is_not_produced() -> None:
    ours, _, theirs = ERRORS.read_text().partition("## The errors of DINOv3")
    assert ours.count("\n```\n") == 2 * len(CASES)
    assert theirs


def said(path: Path) -> Iterator[str]:
    """Return the longest piece of fixed text in each error message of a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("MetadataError", "sys.exit"):
            pieces = [one for one in ast.walk(node) if isinstance(one, ast.Constant)]
            texts = [one.value.strip() for one in pieces if isinstance(one.value, str)]
            yield max(texts, key=len, default="").partition("\n")[0]


def test_errors_md_leaves_no_message_out() -> None:
    shown = ERRORS.read_text()
    for path in (REPOSITORY / "workflow/dinov3_metadata").rglob("*.py"):
        for text in said(path):
            assert text.removeprefix("Error: ") in shown, (path.name, text)


def blocks(document: str, language: str = "") -> list[str]:
    """The fenced blocks of a document."""
    text = (REPOSITORY / document).read_text()
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for kind, block in found if kind == language]


@pytest.mark.parametrize("document", TWINS)
def test_the_chinese_twin_shows_the_same(document: str) -> None:
    for language in ("", "mermaid", "python"):
        assert blocks(TWINS[document], language) == blocks(document, language)
    texts = [(REPOSITORY / one).read_text() for one in (document, TWINS[document])]
    headings, rows = (
        [len(re.findall(mark, one, re.M)) for one in texts] for mark in ("^#", r"^\|")
    )
    assert headings[0] == headings[1]
    assert rows[0] == rows[1]


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    headings = (REPOSITORY / "CHANGELOG.md").read_text()
    changes = re.findall(r"^## \[(\d\S*)\] - \S+$", headings, re.MULTILINE)
    assert citation["version"] == changes[0] == __version__


def test_each_link_leads_somewhere() -> None:
    for document in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
            assert "://" in target or (document.parent / target).exists(), (document, target)


ELSEWHERE = {
    "python3 -m venv": ".ci/run",
    "ruff check": ".ci/run",
    "pytest ": ".ci/run",
    "pip install": ".ci/run; of an extra, plugin() in tests/conftest.py",
    "snakemake --workflow-profile": "tests/slurm/test_slurm.py",
    "python benchmarks/run.py": "tests/test_benchmarks.py",
    "python benchmarks/mutants.py": "tests/test_mutants.py",
    "python -m build": "tests/test_wheel.py",
}
"""Commands that another test or the CI runs."""


def commands(document: str) -> Iterator[str]:
    """The command lines of a document, those within its sentences included."""
    for block in blocks(document):
        for line in block.splitlines():
            if re.match(
                "snakemake|python|pip|pytest|ruff|dinov3-metadata|PYTHONPATH|<COMMAND>", line
            ):
                yield line
    text = (REPOSITORY / document).read_text()
    yield from re.findall(
        r"`(snakemake --cores[^`]*|snakemake -n|python [^`]*[^-`]|\.ci/run)`", text
    )


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/recipes.md"])
def test_each_command_runs(document: str, tmp_path: Path) -> None:
    house, data, labels = tmp_path / "house", tmp_path / "data", tmp_path / "labels.txt"
    copy_repository(house)
    labels.write_text(LABELS)
    make_demo(data, labels, {"TRAIN": 3, "VAL": 2, "TEST": 1})
    tiny = [f"train/n01440764/images/n01440764_{i}.JPEG" for i in range(3)]
    tiny += ["val/images/val_0.JPEG", "test/images/test_0.JPEG", "wnids.txt"]
    make_tree(data / "tiny-imagenet-200", tiny)
    annotations = data / "tiny-imagenet-200/val/val_annotations.txt"
    annotations.write_text("val_0.JPEG\tn01440764\t0\t0\t1\t1\n")
    (house / "my.yaml").write_text(f"root: {data}\nextra: {tmp_path / 'extra'}\n")
    names = {"ROOT": data, "DATA": data, "EXTRA": tmp_path / "extra", "COMMAND": "python -c pass"}
    names |= {"CHECKOUT": house, "PHOTOS": tmp_path / "photos"}
    make_tree(tmp_path / "photos", [f"train/{one}/{i}.jpg" for one in "ab" for i in range(99)])
    (tmp_path / "photos/labels.txt").unlink()
    (house / "classes.txt").write_text("n01440764 tench\nn01443537\n")
    firsts = [min(one.iterdir()).name for one in (data / "train").iterdir()]
    (house / "1percent.txt").write_text("\n".join(firsts))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": f"{house}/workflow"}
    ran = 0
    for command in commands(document):
        if command == ".ci/run" or any(map(command.startswith, ELSEWHERE)):
            continue
        line = re.sub("<([A-Z ]+)>", lambda found: str(names[found[1]]), command)
        line = line.replace("fraction: 0.01", "fraction: 1")  # there are few images
        done = subprocess.run(
            ["bash", "-c", line], cwd=house, env=environment, capture_output=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout.decode()}{done.stderr.decode()}"
        ran += 1
    assert ran


def test_the_rule_graph_is_that_of_the_rules(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "root", ["train/cat/1.jpg", "val/cat/1.jpg"])
    command = [sys.executable, "-m", "snakemake", "--snakefile", REPOSITORY / "Snakefile"]
    command += ["--directory", tmp_path, "--rulegraph", "mermaid-js", "--config"]
    command += [f"root={root}", f"extra={tmp_path / 'extra'}", "splits=[VAL]", "layout=folder"]
    command += ["select={classes: [cat], audit: [truncated]}"]
    graph = subprocess.check_output([*command, "audit={fail_on: [leak]}"], text=True)
    rules = dict(re.findall(r"(\w+)\[(\w+)\]", graph))
    edges = [(rules[one], rules[other]) for one, other in re.findall(r"(\w+) --> (\w+)", graph)]
    after = {one: {other for first, other in edges if first == one} for one in rules.values()}

    def reach(rule: str) -> set[str]:
        return after[rule].union(*map(reach, after[rule]))

    direct = [edge for edge in edges if not any(edge[1] in reach(one) for one in after[edge[0]])]
    lines = sorted(f"    {one} --> {other}\n" for one, other in direct if other != "all")
    assert blocks("README.md", "mermaid") == ["flowchart LR\n" + "".join(lines)]


def test_the_python_of_the_recipes(tmp_path: Path) -> None:
    root, labels = tmp_path / "root", tmp_path / "labels.txt"
    labels.write_text(LABELS)
    make_demo(root, labels, {"TRAIN": 5, "VAL": 2, "TEST": 1})
    examples = blocks("docs/recipes.md", "python")
    assert len(examples) == 3
    dump_extra(root, tmp_path / "extra")
    for example in examples:
        code = example.replace("<DATA>", str(root)).replace("<EXTRA>", str(tmp_path / "extra"))
        code = code.replace("num_workers=10", "num_workers=2")  # a test has few cores
        subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY / "workflow")
