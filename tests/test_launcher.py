"""The launcher looks before a training starts."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dinov3_metadata import MetadataError, dump_extra, published
from dinov3_metadata.checks.adopt import adopt
from dinov3_metadata.guarding import check
from dinov3_metadata.launcher import guard, parse_options
from dinov3_metadata.named import Split, named_by, named_in
from dinov3_metadata.paths import path_of
from dinov3_metadata.ranks import is_first
from dinov3_metadata.summary import dataset_path
from helpers import REPOSITORY, digests, dump, make_tree

LAUNCHER = [sys.executable, "-m", "dinov3_metadata.dinov3"]
SAY_HI = [sys.executable, "-c", "print('hi')"]


def launch(*words: object, **environment: str) -> subprocess.CompletedProcess:
    """Run the launcher with some options, and with a command of Python unless one is given."""
    command = [*map(str, words)]
    if "--" not in command:
        command += ["--", *SAY_HI]
    paths = {"PYTHONPATH": str(REPOSITORY / "workflow")}
    return subprocess.run(
        [*LAUNCHER, *command],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | paths | environment,
    )


def started(done: subprocess.CompletedProcess) -> bool:
    """Whether the command started; if not, exactly one error explains why."""
    assert "Traceback" not in done.stderr
    if done.returncode == 0:
        assert done.stdout == "hi\n"
        return True
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("Error: ") == 1
    return False


@pytest.fixture
def extra(tree: Path, tmp_path: Path) -> Path:
    """The metadata of the dataset."""
    dump_extra(tree, tmp_path / "extra", ["TRAIN", "VAL", "TEST"])
    return tmp_path / "extra"


def test_the_command_starts_if_nothing_changed(tree: Path, extra: Path) -> None:
    strings = [dataset_path(split, tree, extra) for split in ("TRAIN", "VAL", "TEST")]
    done = launch("--check", "--", *SAY_HI, *(f"train.dataset_path={one}" for one in strings))
    assert started(done), done.stderr
    assert done.stderr == ""
    assert started(launch("--check", "--root", tree, "--extra", extra))


def add(tree: Path, extra: Path) -> None:
    (tree / "train/n01440764/n01440764_1.JPEG").touch()


def relabel(tree: Path, extra: Path) -> None:
    (tree / "labels.txt").write_text((tree / "labels.txt").read_text() + "n9,x\n")


def overwrite(tree: Path, extra: Path) -> None:
    (extra / "entries-TRAIN.npy").write_bytes((extra / "entries-TRAIN.npy").read_bytes())


def forget(tree: Path, extra: Path) -> None:
    (extra / ".dinov3-metadata").rename(extra / "old")


def lose(tree: Path, extra: Path) -> None:
    (extra / "metadata-TRAIN.json").unlink()


def mistake(tree: Path, extra: Path) -> None:
    (extra / "metadata-VAL.json").replace(extra / "metadata-TRAIN.json")


def move(tree: Path, extra: Path) -> None:
    (tree / "train").rename(tree / "training")


FIX = "Start with --make in place of --check to bring it up to date.\n"
EDITS = {
    add: "TRAIN: 1 folder or file has changed since the metadata in <EXTRA> was made, for instance "
    f"<ROOT>/train/n01440764. {FIX}",
    relabel: "TRAIN: 1 folder or file has changed since the metadata in <EXTRA> was made, for "
    f"instance <ROOT>/labels.txt. {FIX}",
    overwrite: "The files of TRAIN in <EXTRA> are not those that were published: another program "
    f"wrote or copied them. {FIX}",
    forget: "The files of TRAIN in <EXTRA> were adopted (`check --adopt`) or made elsewhere, or "
    "<EXTRA>/.dinov3-metadata was deleted: there is no record of the dataset that they could be "
    "checked against. Start once with --make in place of --check, which makes the files and such a "
    "record.\n",
    lose: f"There is no metadata of TRAIN in <EXTRA>, or it is damaged. {FIX}",
    mistake: f"There is no metadata of TRAIN in <EXTRA>, or it is damaged. {FIX}",
    move: "There is no folder train/ in <ROOT>.\n",
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_keeps_the_command_from_starting(
    edit: Callable[[Path, Path], None], tree: Path, extra: Path
) -> None:
    edit(tree, extra)
    done = launch("--check", "--", *SAY_HI, dataset_path("TRAIN", tree, extra))
    assert not started(done)
    said = done.stderr.replace(str(extra), "<EXTRA>").replace(str(tree), "<ROOT>")
    assert said == f"Error: {EDITS[edit]}"


def test_adopted_files_have_no_record(tree: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    for split in ("TRAIN", "VAL"):
        dump(tree, extra, split)
    assert adopt(tree, extra).ok
    named = ["--", *SAY_HI, dataset_path("VAL", tree, extra)]
    done = launch("--check", *named)
    assert not started(done)
    assert "The files of VAL in " in done.stderr
    assert "were adopted (`check --adopt`) or made elsewhere" in done.stderr
    assert started(launch("--make", *named))
    assert started(launch("--check", *named))
    done = launch("--check", "--", *SAY_HI, dataset_path("TRAIN", tree, extra))
    assert "were adopted (`check --adopt`) or made elsewhere" in done.stderr


def test_the_root_of_another_dataset(tree: Path, extra: Path, tmp_path: Path) -> None:
    other = make_tree(tmp_path / "other")
    done = launch("--check", "--", *SAY_HI, dataset_path("TRAIN", other, extra))
    assert not started(done)
    assert done.stderr == (
        f"Error: The metadata of TRAIN in {extra} was made from {tree}, not from {other}. Correct "
        "root or extra. Or, to replace the metadata, run snakemake or dinov3_metadata.dump_extra "
        "again.\n"
    )
    tree.rename(tmp_path / "moved")  # the same folders under another name
    (tmp_path / "moved/labels.txt").rename(tmp_path / "labels.txt")
    tree.mkdir()
    (tmp_path / "labels.txt").rename(tree / "labels.txt")
    moved = dataset_path("TRAIN", tmp_path / "moved", extra)
    assert started(launch("--check", "--", *SAY_HI, moved))


def test_only_the_named_splits_count(tree: Path, extra: Path) -> None:
    add(tree, extra)
    assert started(launch("--check", "--", *SAY_HI, dataset_path("VAL", tree, extra)))
    assert started(launch("--check", "--root", tree, "--extra", extra, "--splits", "VAL", "TEST"))
    assert not started(launch("--check", "--root", tree, "--extra", extra))


def test_files_of_two_publications(
    tree: Path, extra: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Path(path_of(extra, "journal", stamp="0123456789abcdef"))
    inode = (extra / "entries-TRAIN.npy").stat().st_ino
    names = [f".{'0' * 12}-{digit * 32}.tmp" for digit in "01"]
    new = f'"entries-TRAIN.npy": ["{names[0]}", {inode}], "metadata-TRAIN.json": ["{names[1]}", 1]'
    journal.write_text(f'{{"stamp": "0123456789abcdef", "new": {{{new}}}}}')
    monkeypatch.setattr(published, "PATIENCE", 0)
    with pytest.raises(MetadataError, match="belong to two publications"):
        check([Split("TRAIN", str(tree), str(extra))])


def test_the_look_imports_nothing_heavy(tree: Path, extra: Path) -> None:
    code = (
        "import os, sys\n"
        "os.execvp = lambda *command: print(*sys.modules)\n"
        "from dinov3_metadata.launcher import main\n"
        "main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "--check", "--", "x", dataset_path("VAL", tree, extra)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow")}
    loaded = subprocess.check_output(command, text=True, env=environment).split()
    assert "dinov3_metadata.published" in loaded
    assert not {"numpy", "torch", "yaml", "argparse", "dinov3_metadata.chain"} & set(loaded)


def test_make_makes_it_first(tree: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    command = [*SAY_HI, *(dataset_path(split, tree, extra) for split in ("TRAIN", "TEST"))]
    done = launch("--make", "--", *command)
    assert started(done), done.stderr
    assert f"DINOv3 metadata, verified, in {extra}:" in done.stderr
    assert sorted(digests(extra)) == [
        "class-ids-TRAIN.npy",
        "class-names-TRAIN.npy",
        "entries-TEST.npy",
        "entries-TRAIN.npy",
    ]
    add(tree, extra)
    assert not started(launch("--check", "--", *command))
    assert started(launch("--make", "--", *command))
    assert started(launch("--check", "--", *command))


def test_what_make_makes_if_the_command_names_nothing(tree: Path, tmp_path: Path) -> None:
    named = ["--root", tree, "--extra", tmp_path / "extra"]
    assert started(launch("--make", *named))
    assert not (tmp_path / "extra/entries-TEST.npy").exists()
    assert started(launch("--make", *named, "--splits=TEST"))
    (tree / "test/ILSVRC2012_test_00000003.JPEG").touch()
    assert not started(launch("--check", *named))
    assert started(launch("--make", *named))  # all that is published
    assert started(launch("--check", *named))


def test_make_stops_at_an_error(tree: Path, tmp_path: Path) -> None:
    (tree / "train/n01440764/photo.JPEG").touch()
    done = launch("--make", "--root", tree, "--extra", tmp_path / "extra")
    assert not started(done)
    assert "Error: TRAIN: DINOv3 cannot address 1 image in" in done.stderr


def test_make_without_numpy(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('not here')")
    paths = os.pathsep.join([str(tmp_path), str(REPOSITORY / "workflow")])
    named = ["--root", tree, "--extra", tmp_path / "extra"]
    done = launch("--make", *named, PYTHONPATH=paths)
    assert not started(done)
    assert "--make needs numpy, which" in done.stderr
    assert "(not here)" in done.stderr


def test_a_dataset_that_needs_a_view(tmp_path: Path) -> None:
    root, extra = make_tree(tmp_path / "root", ["train/cat/1.jpg"]), tmp_path / "extra"
    (root / "labels.txt").unlink()
    by_root, by_view = (dataset_path("TRAIN", one, extra) for one in (root, extra / "view"))
    done = launch("--make", "--", *SAY_HI, by_root)  # it would find no image
    assert not started(done)
    assert f"train with root={extra}/view\n" in done.stderr
    assert started(launch("--check", "--", *SAY_HI, by_view))
    assert started(launch("--check", "--root", root, "--extra", extra))
    assert not started(launch("--check", "--", *SAY_HI, by_root))
    (root / "train/cat/2.jpg").touch()
    assert not started(launch("--check", "--", *SAY_HI, by_view))
    assert started(launch("--make", "--", *SAY_HI, by_view))
    assert (extra / "view/train/cat/cat_2.JPEG").exists()


def test_the_dataset_of_a_view_may_have_no_split_folder(tmp_path: Path) -> None:
    root, extra = make_tree(tmp_path / "photos", ["1.jpg"]), tmp_path / "extra"
    (root / "labels.txt").unlink()
    dump_extra(root, extra, ["TRAIN"])
    check([Split("TRAIN", str(root), str(extra))])


def test_rank_0_alone_looks(tree: Path, extra: Path) -> None:
    add(tree, extra)
    command = ["--check", "--", *SAY_HI, dataset_path("TRAIN", tree, extra)]
    assert not started(launch(*command, SLURM_PROCID="0", SLURM_NTASKS="8"))
    assert started(launch(*command, SLURM_PROCID="5", SLURM_NTASKS="8"))


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ("", True),
        ("SLURM_PROCID=0 SLURM_NTASKS=16", True),  # also the batch script of a job
        ("SLURM_PROCID=3 SLURM_NTASKS=16", False),
        ("RANK=9 WORLD_SIZE=16 LOCAL_RANK=1 LOCAL_WORLD_SIZE=8", False),
        ("RANK=8 WORLD_SIZE=16 LOCAL_RANK=0 LOCAL_WORLD_SIZE=8", False),
        ("RANK=0 WORLD_SIZE=16 LOCAL_RANK=0 LOCAL_WORLD_SIZE=8", True),
        ("RANK=1 WORLD_SIZE=8 SLURM_PROCID=0 SLURM_NTASKS=1", False),  # torchrun in a job
        ("LOCAL_RANK=1 LOCAL_WORLD_SIZE=8", False),
        ("OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2", False),
        ("PMI_RANK=1 PMI_SIZE=2", False),
        ("RANK=1", True),  # left behind in a shell
        ("RANK=1 WORLD_SIZE=1", True),
        ("SLURM_PROCID=x SLURM_NTASKS=8", True),
    ],
)
def test_which_process_is_rank_0(environment: str, first: bool) -> None:
    assert is_first(dict(one.split("=") for one in environment.split())) == first


A, B = Split("TRAIN", "/r", "/e"), Split("VAL", "/a b", "/狗")
STRINGS = [dataset_path(*one) for one in (A, B)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (STRINGS[0], [A]),
        (STRINGS[1], [B]),
        (f"train.dataset_path={STRINGS[1]}", [B]),
        (f"--train-dataset={STRINGS[0]}", [A]),
        (f"train.dataset_path='{STRINGS[1]}'", [B]),
        ("ImageNet:root=/r:split=TRAIN:extra=/e", [A]),
        ("ImageNet:split=VAL:root=/it's:extra=/a,b", [Split("VAL", "/it's", "/a,b")]),
        ("ImageNet:split=TRAIN:root=/r/:extra=/x/../e", [A]),
        (f"torchrun x.py a={STRINGS[0]} b=1", [A]),  # of sh -c
        (f"x 'a={STRINGS[0]}' \"b={STRINGS[0]}\" {STRINGS[0]}", [A, A, A]),
        (f"data=[{STRINGS[0]},{STRINGS[0]}]", [A, A]),
        (f"{STRINGS[0]},{STRINGS[1]}", [A, B]),
        (f"data={STRINGS[1]}, {STRINGS[0]}", [B, A]),
        (f"{STRINGS[1]} {STRINGS[0]}", [B, A]),
        (f"'{STRINGS[0]}+{STRINGS[1]}+{STRINGS[0]}'", [A, B, A]),
        (f"{STRINGS[0]},ImageNet22k:root=/x:extra=/y", [A]),
        (f"{STRINGS[0]},ImageNet22k:root=/x:extra=/y,{STRINGS[1]}", [A, B]),
        ("ImageNet:split=VAL:root=/no:root=/r:extra=/e", [Split("VAL", "/r", "/e")]),
        ("ImageNet:split=VAL:root=/My ImageNet:extra=/e", [Split("VAL", "/My ImageNet", "/e")]),
        (f"echo {STRINGS[0]}; echo done", [A]),
        (f"({STRINGS[0]})", [A]),
        (f"(x {STRINGS[0]}&&y|z {STRINGS[0]}|w;v {STRINGS[0]}&)", [A, A, A]),
        (f"`x {STRINGS[0]}`>y", [A]),
        (f"train:\n  dataset_path: {STRINGS[1]}  # what for\n  n: 1", [B]),
        (f'val:\n- "{STRINGS[1]}"\n- {STRINGS[0]}', [B, A]),
        (f"# dataset_path: {STRINGS[0]}\n  # {STRINGS[0]}", []),
        ("ImageNet:split=TRAIN", []),
        ("ImageNet:split=TRAIN:root=/r", []),
        ("ImageNet:split=TRAIN:root=${oc.env:DATA}:extra=/e", []),
        ("ImageNet:split=TRAIN:root=${data}:extra=/e", []),
        ("ImageNet:split=train:root=/r:extra=/e", []),
        ("ImageNet22k:root=/r:extra=/e", []),
        (f"My{STRINGS[0]} x", []),
    ],
)
def test_how_a_command_names_a_dataset(text: str, found: list[Split]) -> None:
    assert [*named_in(text)] == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{STRINGS[0]}; echo done", [A]),
        (f"D={STRINGS[0]} python x.py && y", [A]),
        (f"cd /x;(python x.py 'a={STRINGS[1]}'|tee y)&", [B]),
        (f"x {STRINGS[0]} # not {STRINGS[1]}\ny a=1#b '{STRINGS[1]}'", [A, B]),
        (f"it's {STRINGS[0]};x", [A]),  # the shell will refuse it
    ],
)
@pytest.mark.parametrize("shell", ["sh -c", "bash -lc", "srun bash -euxc"])
def test_the_commands_of_a_shell(shell: str, text: str, found: list[Split]) -> None:
    assert named_by([*shell.split(), text]) == found


def test_relative_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    found = [*named_in("ImageNet:split=VAL:root=~/r:extra=e")]
    assert found == [Split("VAL", "/home/me/r", f"{tmp_path}/e")]


def test_a_config_file_counts_if_the_command_names_nothing(tmp_path: Path) -> None:
    config = tmp_path / "a.yaml"
    config.write_text(f"train:\n  dataset_path: {STRINGS[0]}\n")
    assert named_by(["x", STRINGS[0], f"a={STRINGS[0]}"]) == [A]
    assert named_by(["x", "--config-file", str(config)]) == [A]
    assert named_by(["x", f"--config-file={config}", "ImageNet:split=TRAIN"]) == [A]
    assert named_by(["x", f"--config-file={config}", f"a={STRINGS[1]}"]) == [B]
    assert named_by(["x", "--config-file", f"{config}.not", "--config-file"]) == []
    with config.open("a") as file:
        file.write("#" * (1 << 20))
    assert named_by(["x", "--config-file", str(config)]) == []


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--chek", "'--chek' is not an option"),
        ("now", "'now' is not an option"),
        ("--check --check", "--check is given twice"),
        ("--check now", "--check has 1 value"),
        ("--check --root --extra /e", "--root has 0 values"),
        ("--check --root /r /s --extra /e", "--root has 2 values"),
        ("--check --root /r", "--root and --extra are given together"),
        ("--check --splits VAL", "--root and --extra are given together, and --splits only with"),
        ("--bad-images skip", "--bad-images: 'skip' is neither stop nor replace"),
        ("--keep-gc-off yes", "--keep-gc-off has 1 value"),
        ("--root /r --extra /e", "the options need either --check or --make"),
        ("--check --make", "the options need either --check or --make"),
        ("--check --root /r --extra /e --splits train", "--splits: 'train' is not one of TRAIN, "),
        ("--check --root /r --extra /e --splits", "--splits has 0 values"),
    ],
)
def test_wrong_options_get_a_sentence_and_an_example(words: str, why: str) -> None:
    with pytest.raises(SystemExit) as error:
        parse_options(words.split())
    said = str(error.value)
    assert said.startswith(f"Error: {why}")
    assert said.endswith(
        "\n  python -m dinov3_metadata.dinov3 --check -- torchrun dinov3/train/train.py ..."
    )


def test_a_command_that_names_no_dataset() -> None:
    done = launch("--check")
    assert not started(done)
    assert "write --root <ROOT> --extra <EXTRA> before the --." in done.stderr


def test_an_old_python(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with monkeypatch.context() as old:
        old.setattr(sys, "version_info", (3, 9, 18))
        with pytest.raises(
            MetadataError, match=r"need Python 3.10 or newer, but this is Python 3.9"
        ):
            guard({"--check": []}, ["x"])
