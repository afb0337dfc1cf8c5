"""The command ``dinov3-metadata``: what each of its commands starts, and what it refuses."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from dinov3_metadata import MetadataError, __version__, commands, dump_extra, snakefile
from dinov3_metadata import __main__ as program
from dinov3_metadata.config import is_good, with_defaults
from dinov3_metadata.extras import check_installed
from helpers import REPOSITORY, make_tree
from PIL import Image

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process; gives its exit code, its output and its errors."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dinov3-metadata", *map(str, words)])
        code: object = 0
        try:
            program.main()
        except SystemExit as end:
            code = end.code
        shown = capsys.readouterr()
        if isinstance(code, str):
            return 1, shown.out, shown.err + code
        return int(code or 0), shown.out, shown.err

    return run


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words after ``python -m snakemake`` of a command that would start it."""
    words: list[str] = []
    monkeypatch.setattr(os, "execv", lambda path, command: words.extend(command[3:]))
    return words


def test_the_usage_shows_an_example_of_each_command(run: Run) -> None:
    code, shown, _ = run("--help")
    assert code == 0
    for name in program.COMMANDS:
        assert f"\n  dinov3-metadata {name} " in shown
    assert run("--version") == (0, f"dinov3-metadata {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Error: no command. There is make, check,"),
        (["chek"], "there is no command 'chek'. Did you mean check?"),
        (["make", "--rot", "x", "--root", "x", "--extra", "y"], "no option --rot. Did you mean"),
        (["make", "--splits", "TRIAN"], "invalid choice: 'TRIAN'"),
        (["make"], "the following arguments are required: --root, --extra"),
        (["audit", "--root", "x"], "required: --extra. See dinov3-metadata audit --help"),
        (
            ["check", "--rooot=x"],
            "no option --rooot. Did you mean --root? See dinov3-metadata check",
        ),
        (["report", "a", "b"], "no use for b. See dinov3-metadata report --help."),
        (["init", "--workfow"], "no option --workfow. Did you mean --workflow? See"),
        (["snakefile", "x"], "no use for x. See dinov3-metadata snakefile --help."),
        (["--hlep"], "no option --hlep. Did you mean --help?"),
        (["-v"], "no option -v. See dinov3-metadata make"),
        (["train"], "usage: python -m dinov3_metadata.dinov3"),
    ],
)
def test_a_wrong_command_line_gets_one_sentence(words: list[str], said: str, run: Run) -> None:
    code, shown, error = run(*words)
    assert (code, shown) == (1 if words == ["train"] else 2, "")
    assert said in error
    assert words == ["train"] or len(error.splitlines()) == 1


def test_a_command_line_with_options_alone_makes(tree: Path, tmp_path: Path, run: Run) -> None:
    options = ("--root", tree, "--extra", tmp_path / "e")
    assert run(*options)[0] == 0
    assert (tmp_path / "e/entries-VAL.npy").exists()
    assert "DINOv3 metadata, verified" in run("make", *options)[1]


def test_init_writes_a_config_that_is_good_and_never_overwrites(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "新 folder"
    assert run("init", folder)[0] == 0
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert is_good(with_defaults(config))
    (folder / "config.yaml").write_text("mine")
    code, shown, error = run("init", folder)
    assert (code, shown) == (1, "")
    assert error.startswith(f"Error: {folder}/config.yaml exists.")
    assert run("init", folder, "--workflow") == (0, f"Written: {folder}/Snakefile\n", "")
    assert (folder / "config.yaml").read_text() == "mine"
    assert "exists" in run("init", folder, "--workflow")[2]
    code, _, error = run("init", tmp_path / "新 folder/config.yaml/x")
    assert (code, "cannot be written: Not a directory" in error) == (1, True)


@pytest.mark.needs("snakemake")
def test_snakemake_gets_its_options_our_snakefile_and_the_config_of_the_folder(
    tmp_path: Path, run: Run, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("snakemake", "--cores", "4", "-n", "audit")
    assert started == ["--snakefile", snakefile(), "--cores", "4", "-n", "audit"]
    started.clear()
    (tmp_path / "config.yaml").write_text("root: x")
    run("snakemake", "audit")
    assert started == ["--configfile=config.yaml", "--snakefile", snakefile(), "audit"]
    started.clear()
    run("snakemake", "--configfile", "other.yaml")
    assert started == ["--snakefile", snakefile(), "--configfile", "other.yaml"]


@pytest.mark.needs("snakemake")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "config.yaml has no settings."),
        (b"- a", "config.yaml has no settings."),
        (b"a: 1\nb: ]", "config.yaml, line 2: this is not YAML: "),
        (b"a: \x00", "config.yaml: this is not YAML: it has characters"),
        (b"\x00\xff", "config.yaml is not a text in UTF-8"),
        ("a folder", "config.yaml cannot be read: Is a directory."),
        ("a link to nothing", "config.yaml cannot be read: No such file or directory."),
    ],
)
def test_a_config_that_cannot_be_read_is_never_passed_over(
    content: bytes | str,
    said: str,
    tmp_path: Path,
    run: Run,
    started: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if content == "a folder":
        Path("config.yaml").mkdir()
    elif content == "a link to nothing":
        Path("config.yaml").symlink_to("/nowhere/config.yaml")
    else:
        Path("config.yaml").write_bytes(content)
    for name in ("snakemake", "report"):
        code, shown, error = run(name)
        assert (code, shown, started) == (1, "", [])
        assert error.startswith(f"Error: {said}")


@pytest.mark.needs("snakemake")
def test_a_profile_of_ours_is_found_by_its_name(
    tmp_path: Path, run: Run, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("snakemake", "--workflow-profile", "default")
    assert started[2:] == ["--workflow-profile", "default"]  # where Snakemake looks, too
    started.clear()
    generic = "cluster-generic"
    for name, plugin, extra in (
        ("slurm", "slurm", "slurm"),
        ("pbs", generic, "cluster"),
        ("sge", generic, "cluster"),
    ):
        with monkeypatch.context() as without:
            without.setattr(
                "dinov3_metadata.extras.find_spec", lambda name: "plug" not in name or None
            )
            error = run("snakemake", "--workflow-profile", name)[2]
        assert f"The profile {name} needs snakemake-executor-plugin-{plugin}, " in error
        assert f"dinov3-metadata[{extra}]'" in error
    assert not started
    code, _, error = run("snakemake", "--workflow-profile", "slrm")
    assert (code, "no profile 'slrm'" in error, "Did you mean 'slurm'?" in error) == (1, True, True)
    assert not started
    run("snakemake", "--workflow-profile", "none")
    assert started.pop() == "none"
    started.clear()
    (tmp_path / "slurm").mkdir()
    run("snakemake", "--workflow-profile", "slurm")
    assert started[2:] == ["--workflow-profile", "slurm"]


@pytest.mark.needs("snakemake")
def test_report_passes_paths_as_they_are(
    tmp_path: Path, run: Run, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("report", "r.html", "--root", "a: b #c", "--extra", "数据")
    assert started[2:5] == ["--report", "r.html", "--config"]
    values = [yaml.safe_load(word.partition("=")[2]) for word in started[5:]]
    assert values == [str(tmp_path / "a: b #c"), str(tmp_path / "数据")]
    started.clear()
    run("report")
    assert started[2:] == ["--report", "report.html"]
    started.clear()
    assert "neither an .html nor a .zip" in run("report", "r.pdf")[2]
    assert f"no folder {tmp_path}/none " in run("report", "none/r.html")[2]
    assert not started


def test_audit_opens_each_image_in_processes(tree: Path, tmp_path: Path, run: Run) -> None:
    image = tree / "train/n01440764/n01440764_9.JPEG"
    Image.new("RGB", (8, 8)).save(image)
    options = ("--root", tree, "--extra", tmp_path / "e", "--splits", "TRAIN")
    code, shown, _ = run("audit", *options)
    assert code == 0
    assert "4 images, 1 ok" in shown
    assert re.search(r"\n  zero-bytes +3  train/n01440764/\S+_10026.JPEG +Training stops", shown)
    audit = json.loads((tmp_path / "e/audit-TRAIN.json").read_text())
    assert (audit["images"], audit["ok"]) == (4, 1)
    assert not (tmp_path / "e/entries-TRAIN.npy").exists()
    image.write_bytes(b"x")  # an audit looks at every image anew
    assert "not-an-image" in run("audit", *options)[1]
    code, _, error = run("audit", *options, "--fail-on", "zero-bytes")
    assert (code, "3 images with a problem" in error) == (1, True)


@pytest.mark.parametrize("view", ["none", "my 链接"])
def test_an_audit_finds_the_images_as_the_metadata_does(
    view: str, tmp_path: Path, run: Run
) -> None:
    root, extra = make_tree(tmp_path / "my 图像", ["train/cat/a.jpg"]), tmp_path / "e"
    options = ("--root", root, "--extra", extra, "--splits", "TRAIN")
    own = view if view == "none" else tmp_path / view
    assert run("make", *options, "--labels", "folders", "--view", own)[0] == 0
    assert run("audit", *options)[0] == 0
    assert not (extra / "view").exists()


def test_what_is_missing_is_said_with_the_extra_that_brings_it(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_installed("yaml", "", "It")
    with pytest.raises(MetadataError, match=r"install 'dinov3-metadata', .*: pip install -e '\.'"):
        check_installed("absent_", "", "It")
    with pytest.raises(MetadataError, match=r"It needs absent_.*'dinov3-metadata\[workflow\]'"):
        check_installed("absent_", "workflow", "It")
    monkeypatch.setattr("dinov3_metadata.extras.find_spec", lambda name: None)
    for settings in ({"engine": "torchvision"}, {"level": "full"}):
        with pytest.raises(MetadataError, match=r"needs torchvision, .*\[torchvision\]"):
            dump_extra(tree, tmp_path / "e", **settings)
    assert not (tmp_path / "e").exists()
    with pytest.raises(MetadataError, match="This command needs snakemake"):
        commands.snakemake([])


WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Hidden(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""


def python_without(names: set[str], code: str, *arguments: str | Path) -> str:
    """Run code in a Python in which some packages cannot be imported."""
    hidden = WITHOUT.replace("{names!r}", repr(names))
    done = subprocess.run(
        [sys.executable, "-c", hidden + code, *arguments],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow")},
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


HEAVY = {"torch", "torchvision", "snakemake", "matplotlib", "pygments", "jsonschema"}


def test_the_base_is_enough_to_make_check_audit_and_read(tree: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tree / "train/n01440764/n01440764_9.JPEG")
    code = """
from dinov3_metadata import ImageNetMetadata, check, dump_extra
from dinov3_metadata.run import audit_extra
root, extra = sys.argv[1:]
dump_extra(root, extra)
assert check(root, extra).ok
audit_extra(root, extra, threads=1)
dataset = ImageNetMetadata(root, extra, transform=lambda image: image.size)
print(dataset[1], dataset.get_path(1), dataset.targets, dataset.classes)
try:
    ImageNetMetadata(root, extra, transform=len, transforms=len)
except ValueError as error:
    print(error)
"""
    shown = python_without(HEAVY, code, tree, tmp_path / "e")
    assert f"(8, 8), 0) {tree}/train/n01440764/n01440764_9.JPEG [0 0 1 2]" in shown, shown
    assert "transforms excludes transform" in shown


def test_the_command_starts_without_what_only_some_need() -> None:
    code = "sys.argv[1:] = ['--version']\nfrom dinov3_metadata.__main__ import main\nmain()"
    assert (
        python_without(HEAVY | {"numpy", "yaml", "PIL", "tqdm"}, code)
        == f"dinov3-metadata {__version__}\n"
    )


@pytest.mark.parametrize(
    ("words", "package"),
    [(["make"], "numpy"), (["check"], "numpy"), (["audit"], "PIL"), (["init"], "yaml")],
)
def test_a_package_of_the_base_that_is_missing(
    words: list[str],
    package: str,
    tree: Path,
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dinov3_metadata.extras.find_spec", lambda name: name != package or None)
    options = ["--root", tree, "--extra", tmp_path / "e"] if words != ["init"] else [tmp_path / "e"]
    code, _, error = run(*words, *options)
    name = {"PIL": "Pillow", "yaml": "PyYAML"}.get(package, package)
    assert code
    assert error.startswith(f"Error: This command needs {name}, which this Python does not have.")
    assert not (tmp_path / "e").exists()
