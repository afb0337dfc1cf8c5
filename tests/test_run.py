"""The chain without Snakemake makes the same files, and each resumes where the other stopped."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from dinov3_metadata import MetadataError, dump_extra
from dinov3_metadata import __main__ as program
from dinov3_metadata.artefacts import Scan
from dinov3_metadata.errors import DamagedError, logger
from dinov3_metadata.paths import existing, path_of
from dinov3_metadata.run import run_stage
from dinov3_metadata.settings import Settings
from helpers import LABELS, REPOSITORY, digests, exchange, file_states, make_tree
from PIL import Image

SPLITS = ("TRAIN", "VAL", "TEST")
NOTHING = "Nothing to be done"


def command(*options: str | Path) -> subprocess.CompletedProcess:
    """Run ``python -m dinov3_metadata``."""
    return subprocess.run(
        [sys.executable, "-m", "dinov3_metadata", *options],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow")},
    )


def test_snakemake_goes_on_where_dump_extra_stopped(tree: Path, snakemake, tmp_path: Path) -> None:
    extra, other = tmp_path / "数据 extra", tmp_path / "other"
    options = {"root": tree, "splits": "[TRAIN,VAL,TEST]"}
    dump_extra(tree, extra, SPLITS)
    snakemake(**options, extra=other)
    assert digests(extra) == digests(other)
    for split in SPLITS:
        name = f"metadata-{split}.json"
        assert (extra / name).read_bytes() == (other / name).read_bytes()
    assert NOTHING in snakemake(**options, extra=extra).stdout
    before = file_states(other.iterdir())
    dump_extra(tree, other, SPLITS)
    assert file_states(other.iterdir()) == before


def test_only_what_an_edit_made_necessary(tree: Path, tmp_path: Path, caplog) -> None:
    caplog.set_level("INFO", "dinov3_metadata")
    extra = tmp_path / "extra"
    dump_extra(tree, extra, SPLITS)
    before = file_states(extra.glob("*-[!T]*"))
    caplog.clear()
    dump_extra(tree, extra, SPLITS)
    assert caplog.messages == []
    make_tree(tree, ["train/n01440764/n01440764_77.JPEG"])
    dump_extra(tree, extra, SPLITS)
    assert "Scan TRAIN: 1 of 4 folders changed: n01440764" in caplog.messages
    assert any("1 of 4 folders listed" in message for message in caplog.messages)
    assert not any("VAL" in message or "TEST" in message for message in caplog.messages)
    assert file_states(extra.glob("*-[!T]*")) == before
    fresh = tmp_path / "fresh"
    dump_extra(tree, fresh, SPLITS)
    assert digests(extra) == digests(fresh)


LAYOUTS = {
    "imagenet": ("train/n01440764/n01440764_5.JPEG", "train/n01440764"),
    "folder": ("train/cat/5.jpg", "train/cat"),
    "flat": ("photos/5.jpg", "photos"),
    "kaggle": (
        "ILSVRC/Data/CLS-LOC/train/n01440764/n01440764_5.JPEG",
        "ILSVRC/Data/CLS-LOC/train/n01440764",
    ),
    "tiny-imagenet": ("train/n01440764/images/n01440764_5.JPEG", "train/n01440764"),
}


def outcome(root: Path, extra: Path, layout: str, **options) -> dict[str, str] | str:
    """What a run publishes, or the message that it ends with."""
    try:
        dump_extra(root, extra, ["TRAIN"], "folders", layout=layout, level="full", **options)
    except MetadataError as error:
        return str(error).replace(str(extra), "EXTRA")
    return digests(extra)


@pytest.mark.needs("torchvision")
@pytest.mark.parametrize("unaddressable", ["refuse", "skip"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_link_whose_target_changes_is_noticed_in_every_layout(
    layout: str, unaddressable: str, tmp_path: Path
) -> None:
    """No folder of the dataset changes. Each run ends as one with a fresh folder does."""
    link, folder = LAYOUTS[layout]
    others = [str(Path(link).with_stem("n01440764_1")), f"{folder}/deeper/"]
    root = make_tree(tmp_path / "root", others)
    target = tmp_path / "pool/x"
    (root / link).symlink_to(target)
    outcomes = []
    make_tree(tmp_path, ["pool/"])
    for i, kind in enumerate(["file", "folder", "file", "nothing", "file", "FIFO", "file", "FIFO"]):
        exchange(target, kind)
        if kind == "folder":
            make_tree(target, ["n01440764_7.JPEG", "n01440764_8.JPEG"])
        again = outcome(root, tmp_path / "extra", layout, unaddressable=unaddressable)
        fresh = outcome(root, tmp_path / f"fresh{i}", layout, unaddressable=unaddressable)
        assert again == fresh, kind
        outcomes.append(str(again))
    assert len(set(outcomes)) > 1
    assert ("a dangling link to" in outcomes[3]) == (unaddressable == "refuse")


def test_edited_labels_need_no_scan(tree: Path, tmp_path: Path, caplog) -> None:
    dump_extra(tree, tmp_path / "extra")
    (tree / "labels.txt").write_text((tree / "labels.txt").read_text().replace("tench", "carp"))
    caplog.set_level("INFO", "dinov3_metadata")
    dump_extra(tree, tmp_path / "extra")
    assert not any("Scan" in message for message in caplog.messages)
    dump_extra(tree, tmp_path / "fresh")
    assert digests(tmp_path / "extra") == digests(tmp_path / "fresh")


def test_a_view(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "own", ["train/cat/a.jpg", "train/dog/b.png"])
    chain = dump_extra(root, tmp_path / "extra", ["TRAIN"], labels="folders")
    assert (chain.layout, chain.root) == ("folder", f"{tmp_path}/extra/view")
    assert (tmp_path / "extra/view/train/dog/dog_0.JPEG").resolve() == root / "train/dog/b.png"


def test_a_split_that_a_flat_folder_lost(tmp_path: Path) -> None:
    root, extra = make_tree(tmp_path / "photos", ["1.jpg", "val/2.jpg"]), tmp_path / "extra"
    (root / "labels.txt").unlink()
    dump_extra(root, extra)
    (root / "val/2.jpg").unlink()
    (root / "val").rmdir()
    with pytest.raises(MetadataError, match=r"The VAL split folder .* does not exist"):
        dump_extra(root, extra)
    assert dump_extra(root, tmp_path / "other").splits == ("TRAIN",)


def test_a_refusal_keeps_the_last_good_files(tree: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    dump_extra(tree, extra)
    before = file_states(extra.glob("[!.]*"))
    make_tree(tree, ["val/n01440764/photo.png"])
    with pytest.raises(MetadataError, match=r"photo.png \(no number"):
        dump_extra(tree, extra)
    assert file_states(extra.glob("[!.]*")) == before
    with pytest.raises(MetadataError, match="Not a directory"):
        dump_extra(tree, tree / "labels.txt/extra")


@pytest.mark.parametrize(
    ("files", "root", "hint"),
    [
        (["train/a/a_1.JPEG"], "train", "Use the folder that contains train/: <DATA>."),
        (["set/train/a/a_1.JPEG"], "", "<DATA>/set does: use it as `root`."),
        (["cat/1.jpg", "dog/1.jpg"], "", "move them to <DATA>/train/. If they are not"),
        (["notes/1.txt"], "", "Use the folder that contains them."),
    ],
)
def test_a_root_without_splits(files: list[str], root: str, hint: str, tmp_path: Path) -> None:
    data = make_tree(tmp_path / "data", files)
    with pytest.raises(MetadataError, match=r"contains none of train/, val/, test/\.") as error:
        dump_extra(data / root, tmp_path / "extra")
    assert hint.replace("<DATA>", str(data)) in str(error.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"splits": ["train"]}, "splits: 'train' is not one of TRAIN, VAL, TEST"),
        ({"splits": "TRAIN"}, "splits: 'TRAIN' is not a list"),
        ({"splits": []}, "splits: the list is empty"),
        ({"splits": ["VAL", "VAL"]}, "splits: ['VAL', 'VAL'] names something twice"),
        ({"layout": "nonsense"}, "layout: 'nonsense' is not one of auto, imagenet"),
        ({"unaddressable": "Refuse"}, "unaddressable: 'Refuse' is not one of refuse, skip"),
        ({"level": "../x"}, "level: '../x' is not one of sample, full"),
        ({"engine": "x"}, "engine: 'x' is not one of scandir, torchvision"),
        (
            {"trust_timestamps": "false"},
            "trust_timestamps: 'false' is not one of auto, true, false",
        ),
        ({"sample": -1}, "sample: -1 is below 1"),
        ({"labels": None}, "labels: None is not text"),
        ({"extra": ""}, "extra: the text is empty"),
    ],
)
def test_wrong_settings(setting: dict, message: str, tree: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(MetadataError, match=re.escape(message)):
        dump_extra(**{"root": tree, "extra": tmp_path / "extra"} | setting)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command(tree: Path, tmp_path: Path) -> None:
    options = ("--root", tree, "--extra", tmp_path / "extra")
    done = command(*options, "--splits", *SPLITS)
    assert (done.returncode, "Scan TRAIN: 4 folders" in done.stderr) == (0, True)
    assert f"ImageNet:split=VAL:root={tree}:extra={tmp_path}/extra" in done.stdout
    again = command(*options, "--splits", *SPLITS)
    assert (again.returncode, again.stderr) == (0, "")
    assert re.search(r"TRAIN +4 +\+4 +0 +3 +\+3 +0 +[\d,]{3,} +\d", done.stdout)
    assert re.search(r"TRAIN +4 +- +- +3 +- +- +[\d,]{3,} +-", again.stdout)
    (tree / "labels.txt").unlink()
    failed = command(*options)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[0].startswith(f"Error: The labels file {tree}/labels.txt")


def schema_of(key: str) -> dict[str, Any]:
    """What the schema says of a setting, by its key in config.yaml."""
    rule = yaml.safe_load((REPOSITORY / "workflow/schemas/config.schema.yaml").read_text())
    for part in key.split(": "):
        rule = rule["properties"][part]
    return rule


def test_defaults_are_those_of_the_schema() -> None:
    settings = Settings("/root", "/extra")
    for one in fields(Settings):
        rule, value = schema_of(one.metadata["key"]), getattr(settings, one.name)
        if one.name not in ("root", "extra", "view", "folders"):
            plain = list(value) if isinstance(value, tuple) else value
            assert (None if plain == "" else plain) == rule["default"]
        choices = one.metadata["schema"].get("items", one.metadata["schema"]).get("enum")
        assert choices == rule.get("items", rule).get("enum")


SETTINGS: dict[str, Any] = {
    "root": "other root",
    "extra": "other extra",
    "splits": ("VAL",),
    "layout": "imagenet",
    "view": "links",
    "links": "absolute",
    "folders": {"VAL": ["val"]},
    "labels": "folders",
    "classes": "own",
    "empty_classes": "keep",
    "holdout": 0.5,
    "keep": 3.5,
    "engine": "torchvision",
    "unaddressable": "skip",
    "trust_timestamps": False,
    "reuse": "other extra",
    "select_classes": ("n01440764", "n01443537"),
    "select_images": "images.txt",
    "select_exclude": "others.txt",
    "select_audit": ("rotated",),
    "select_fraction": 1.0,
    "select_per_class": 9,
    "select_seed": 1,
    "select_missing": "skip",
    "level": "full",
    "sample": 2,
    "fail_on": ("broken-exif",),
    "duplicates": False,
    "log_level": "warning",
}
"""A value of each setting that is not its default; paths below the folder of the test."""


TORCHVISION = pytest.mark.needs("torchvision")


def test_each_setting_has_a_value_to_try() -> None:
    defaults = vars(Settings("/root", "/extra"))
    assert [*SETTINGS] == [one.name for one in fields(Settings)]
    assert not any(value == defaults[name] for name, value in SETTINGS.items())


KEYS = {one.name: one.metadata["key"].rpartition(": ")[::2] for one in fields(Settings)}
"""Setting -> its section in config.yaml, which may be none, and its key there."""


def as_section(name: str, value: Any) -> dict[str, Any]:
    """A setting as config.yaml has it."""
    section, key = KEYS[name]
    return {section: {key: value}} if section else {key: value}


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=TORCHVISION) if name in ("engine", "level") else name
        for name in SETTINGS
    ],
)
def test_every_setting_is_taken(name: str, flat: bool, tree: Path, tmp_path: Path) -> None:
    make_tree(tmp_path / "other root")
    value = SETTINGS[name]
    if name in ("root", "extra", "view", "reuse", "select_images", "select_exclude"):
        value = str(tmp_path / value)
    if name == "reuse":
        dump_extra(tree, value)
    if name == "holdout":
        shutil.rmtree(tree / "val")
        for folder in (tree / "train").iterdir():  # so that both splits have some of each class
            for i in range(20):
                (folder / f"{folder.name}_{10**5 + i}.JPEG").touch()
    listed = "".join(f"{path.name}\n" for path in tree.rglob("*.JPEG"))
    (tmp_path / "images.txt").write_text(listed)
    (tmp_path / "others.txt").write_text("n01440764_9.JPEG")
    given = {name: value} if flat else as_section(name, value)
    chain = dump_extra(**{"root": tree, "extra": tmp_path / "extra"} | given)
    assert getattr(chain.settings, name) == value
    defaults = Settings(str(tree), str(tmp_path / "extra"))
    others = KEYS.keys() - {name, "view"}  # which is in extra
    assert all(getattr(chain.settings, one) == getattr(defaults, one) for one in others)


@pytest.mark.parametrize("flat", [True, False])
def test_images_are_skipped_if_that_is_set(flat: bool, tree: Path, tmp_path: Path) -> None:
    given = {"unaddressable": "skip"} if flat else as_section("unaddressable", "skip")
    make_tree(tree, ["train/n01440764/photo.png"])
    with pytest.raises(MetadataError, match=r"photo.png \(no number"):
        dump_extra(tree, tmp_path / "extra")
    dump_extra(tree, tmp_path / "extra", **given)
    assert json.loads((tmp_path / "extra/metadata-TRAIN.json").read_text())["skipped"] == 1


@pytest.mark.parametrize("flat", [True, False])
def test_an_audit_refuses_to_publish(flat: bool, tree: Path, tmp_path: Path) -> None:
    given = {"fail_on": ["zero-bytes"]} if flat else as_section("fail_on", ["zero-bytes"])
    extra = tmp_path / "extra"
    for _ in range(2):  # neither does the next run
        with pytest.raises(MetadataError, match=r"zero-bytes"):
            dump_extra(tree, extra, **given)
        assert json.loads((extra / "audit-TRAIN.json").read_text())["problems"] == {"zero-bytes": 4}
        assert not list(extra.glob("entries-*")) + list(extra.glob("metadata-*"))
    for path in (tree / "train").rglob("*.JPEG"):
        Image.new("RGB", (1, 1)).save(path)
    with pytest.raises(MetadataError, match=r"zero-bytes"):
        dump_extra(tree, extra, **given)  # those of VAL
    for path in (tree / "val").rglob("*.JPEG"):
        Image.new("RGB", (1, 1)).save(path)
    dump_extra(tree, extra, **given)
    assert json.loads((extra / "audit-VAL.json").read_text())["ok"] == 3
    assert (extra / "metadata-VAL.json").exists()


@pytest.mark.parametrize("flat", [True, False])
def test_the_log_level_takes_effect(flat: bool, tree: Path, tmp_path: Path, caplog) -> None:
    before, said = logger.level, {}
    for level in ("debug", "info", "warning"):
        caplog.clear()
        given = {"log_level": level} if flat else as_section("log_level", level)
        dump_extra(tree, tmp_path / level, **given)
        assert logger.level == before
        said[level] = {record.levelname for record in caplog.records}
    assert said == {"debug": {"DEBUG", "INFO"}, "info": {"INFO"}, "warning": set()}
    with pytest.raises(MetadataError, match="labels file"):
        dump_extra(tree, tmp_path / "failed", labels="nowhere", log_level="debug")
    assert logger.level == before


@pytest.mark.parametrize(
    ("given", "guess"),
    [
        ({"unadressable": "skip"}, "'unadressable'. Did you mean 'unaddressable'?"),
        ({"scan": {"engin": "x"}}, "'scan: engin'. Did you mean 'scan: engine'?"),
        ({"scan": {"level": "full"}}, "'scan: level'. Did you mean "),
        ({"audits": {"fail_on": []}}, "'audits'."),
        ({"fail_ob": []}, "'fail_ob'. Did you mean 'fail_on'?"),
        ({"log": {"levels": "debug"}}, "'log: levels'. Did you mean 'log: level'?"),
        ({"demo": {}}, "'demo'."),
    ],
)
def test_an_unknown_setting(given: dict, guess: str, tree: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(MetadataError, match=re.escape(f"config: there is no setting {guess}")):
        dump_extra(tree, tmp_path / "extra", **given)
    assert sorted(tmp_path.rglob("*")) == before


def test_help_lists_every_setting() -> None:
    done = command("make", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    options = re.findall(r"^  (--[a-z-]+)", done.stdout, re.MULTILINE)
    assert options == [f"--{one.name.replace('_', '-')}" for one in fields(Settings)]


@pytest.mark.needs("torchvision")
def test_options_of_the_command_take_effect(tree: Path, tmp_path: Path) -> None:
    options = ["--root", tree, "--extra", tmp_path / "extra", "--splits", "TRAIN"]
    done = command(*options, "--fail-on", "truncated", "zero-bytes", "--log-level", "warning")
    assert done.returncode == 1
    assert re.match(r"Error: (?s:.*)zero-bytes", done.stderr)
    assert not (tmp_path / "extra/entries-TRAIN.npy").exists()
    done = command(*options, "--log-level", "debug", "--level", "full", "--no-trust-timestamps")
    assert (done.returncode, "DEBUG: " in done.stderr) == (0, True)
    assert "the whole split against a fresh" in done.stderr


def test_a_layout_may_be_named_as_its_module_is() -> None:
    assert Settings("/root", "/extra", layout="tiny_imagenet").layout == "tiny-imagenet"


def test_a_stage_that_meets_a_damaged_file_has_it_removed(tree: Path, tmp_path: Path) -> None:
    """Reading alone removes nothing."""
    extra = tmp_path / "extra"
    now = dump_extra(tree, extra, ["TRAIN"]).now["TRAIN"]
    scan = Path(path_of(extra, "scan", **now.state))
    scan.write_bytes(b"damaged")
    with pytest.raises(DamagedError, match=r"scan.npz cannot be read back .* to rebuild it"):
        Scan.load(scan)
    assert scan.exists()
    with pytest.raises(DamagedError):
        run_stage("dump_entries", str(extra), now.state, {})
    assert not scan.exists()


def test_entries_of_other_labels_make_room(tree: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    for name in ("tench", "Tinca tinca"):
        (tree / "labels.txt").write_text(LABELS.replace("tench", name))
        chain = dump_extra(tree, extra, ["TRAIN"])
        found = [state["labels"] for _, state in existing(extra, "new_entries")]
        assert found == [chain.now["TRAIN"].state["labels"]]


def test_a_layout_that_there_is_not_ends_the_command_as_any_wrong_option_does(
    tree: Path, tmp_path: Path
) -> None:
    options = [f"--root={tree}", f"--extra={tmp_path / 'extra'}", "--layout=foo"]
    done = subprocess.run(
        [sys.executable, "-m", "dinov3_metadata", *options],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "invalid choice: 'foo'" in done.stderr


def test_an_interrupted_command_says_that_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "dump_extra", interrupt)
    monkeypatch.setattr(sys, "argv", ["dinov3_metadata", "--root=/root", "--extra=/extra"])
    with pytest.raises(SystemExit, match=r"Interrupted\. Nothing is lost"):
        program.main()


WORKER = """
import os, time
from dinov3_metadata.run import _begin_worker
parent = os.getpid()
if not os.fork():
    _begin_worker(parent)
    print("began", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_process_of_an_audit_ends_with_its_run(how: signal.Signals) -> None:
    """It holds the lock: if it went on, no other run could begin."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow")}
    command = [sys.executable, "-c", WORKER]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as run:
        assert run.stdout.readline() == "began\n"
        run.send_signal(how)
        assert run.stdout.read() == ""  # the pipe ends with the last process that has it
