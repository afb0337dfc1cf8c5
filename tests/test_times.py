"""Timestamps that say nothing bring one warning in each run, also in one that has nothing to do."""

import json
import logging
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from dinov3_metadata import current, fingerprint, times, walk
from dinov3_metadata.disk import Mount
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.fingerprint import A_FILE, UNREAD, FolderState
from dinov3_metadata.look import Status
from dinov3_metadata.run import dump_extra
from dinov3_metadata.summary import summarise
from dinov3_metadata.times import UNTRUSTED, Trust, doubt, find_trust
from helpers import FILES, make_tree

NAMED = "scan: trust_timestamps: false"
T, NS = 1_600_000_000 * 10**9, 123_456_789
ALIKE = [FolderState(T, T, i) for i in range(3)]
COPIED = [FolderState(T, T + NS, i) for i in range(3)]
ONE_TICK = [FolderState(T + NS, T + NS, i) for i in range(3)]
ZERO = [FolderState(0, 0, 1)]


@pytest.mark.parametrize(
    ("states", "mount", "what"),
    [
        (ALIKE, "squashfs", "the same"),
        (ALIKE, "ext4", "the same"),
        (ALIKE, "overlay", "the same"),
        (ALIKE, "fuse.squashfuse", "the same"),
        ([*ALIKE, None, A_FILE, UNREAD], "", "the same"),
        (ALIKE, "lustre", ""),
        (ALIKE, "fuse.sshfs", ""),
        (ALIKE[:2], "squashfs", ""),
        ([*ALIKE[:2], None, A_FILE, UNREAD], "squashfs", ""),
        ([*ALIKE, FolderState(T, T + 10**9, 9)], "squashfs", ""),
        ([*ALIKE, FolderState(T - 10**9, T, 9)], "squashfs", ""),
        (COPIED, "ext4", ""),
        (ONE_TICK, "ext4", ""),
        (ONE_TICK, "fuse.juicefs", ""),
        (ONE_TICK, "erofs", "the same"),
        (ZERO, "ext4", "zero"),
        (ZERO, "lustre", "zero"),
        ([*ZERO, *ALIKE], "ext4", ""),
        ([FolderState(names="0123456789ab")] * 3, "squashfs", ""),
        ([FolderState(names="0123456789ab")] * 3, "fuse.s3fs", ""),
        ([], "fuse.s3fs", ""),
    ],
)
def test_what_is_doubted(
    states: list, mount: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(times, "mounted", lambda path: Mount(mount, "source"))
    said = doubt("/set/train", states)
    assert said == (
        f"All folder timestamps in /set/train are {what}, so changes cannot be detected from them. "
        f"If the file system does not keep real ones, set `{NAMED}`."
        if what
        else ""
    )


ON = [(Mount("fuse", name), name) for name in UNTRUSTED]
ON += [(Mount(f"fuse.{name}", "my-bucket"), name) for name in UNTRUSTED]
NOT_ON = [Mount("fuse.juicefs", "JuiceFS:s3fs"), Mount("fuse", "elsewhere"), Mount("ext4", "s3fs")]


@pytest.mark.parametrize(("mount", "name"), [*ON, *((one, "") for one in NOT_ON)])
def test_file_systems_that_are_known(
    mount: Mount, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(times, "mounted", lambda path: mount)
    said = doubt("/set/train", COPIED[:1])
    assert said == (
        f"/set/train is on {name}, {UNTRUSTED[name]}, so changes cannot be detected from them. "
        f"Set `{NAMED}`."
        if name
        else ""
    )
    trust = find_trust("auto", ["/set/train"], COPIED)
    assert (trust.timestamps, bool(trust.why)) == (not name, bool(name))
    for setting in (True, False):
        assert find_trust(setting, ["/set/train"], []) == Trust(setting)


def test_each_folder_of_a_split_must_be_on_a_known_file_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds = {"/set/a": "ext4", "/set/b": "fuse.rclone"}
    monkeypatch.setattr(times, "mounted", lambda path: Mount(kinds[path]))
    assert find_trust("auto", ["/set/a"], COPIED) == Trust(True)
    assert find_trust("auto", ["/set/a", "/set/b"], COPIED) == Trust(
        False,
        "/set/b is on rclone, which makes up the timestamps of folders.",
        "rclone remembers folders for 5 minutes, unless its --dir-cache-time is shorter: until "
        "then, no run sees what was changed elsewhere.",
    )


def test_states_that_differ_cost_no_look_at_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = times.has_times
    monkeypatch.setattr(times, "has_times", lambda state: seen.append(state) or real(state))
    states = [FolderState(T + i, T + i, i) for i in range(10_000)]
    assert doubt("/set/train", states) == ""
    assert len(seen) < 10
    seen.clear()
    assert find_trust("auto", ["/set/train"], iter(states)) == Trust(True)
    assert len(seen) < 10


def set_times(root: Path, at: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all folders below ``root`` have the timestamps that ``at`` returns."""
    real = fingerprint.ask

    def ask(path: str | os.PathLike[str]) -> Status:
        found = real(path)
        inside = os.path.realpath(path).startswith(str(root))
        if not stat.S_ISDIR(found.mode) or not inside:
            return found
        return found._replace(mtime=at(), ctime=at())

    monkeypatch.setattr(fingerprint, "ask", ask)


LAYOUTS = {
    "imagenet": FILES,
    "folder": [f"{split}/{name}/1.jpg" for split in ("train", "val") for name in ("a", "b")],
    "kaggle": [
        f"ILSVRC/Data/CLS-LOC/train/{name}/{name}_1.JPEG" for name in ("n01440764", "n01443537")
    ],
    "tiny-imagenet": [f"train/{name}/images/{name}_1.JPEG" for name in ("n01440764", "n01443537")],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("at", [0, T])
def test_each_run_warns_once(
    layout: str,
    at: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is true of each split, and of a run that has nothing to do, in which edits are missed."""
    root, extra = make_tree(tmp_path / "set", LAYOUTS[layout]), tmp_path / "extra"
    splits = ["TRAIN", "VAL"] if layout in ("imagenet", "folder") else ["TRAIN"]
    options = {"labels": "folders", "layout": layout}
    options["trust_timestamps"] = True
    set_times(root, lambda: at, monkeypatch)
    monkeypatch.setattr(walk, "wait_for_a_tick", lambda *_, **__: None)  # it would be in seconds
    caplog.set_level(logging.WARNING, "dinov3_metadata")
    for _ in range(3):
        caplog.clear()
        chain = dump_extra(root, extra, splits, **options)
        (warning,) = caplog.messages
        assert warning.startswith(f"All folder timestamps in {chain.now['TRAIN'].source} are ")
        assert NAMED in warning
        assert "may go unnoticed: see the warning about timestamps" in summarise(chain)
    caplog.clear()
    chain = dump_extra(root, extra, splits, **options | {"trust_timestamps": False})
    assert caplog.messages == []
    assert "unnoticed" not in summarise(chain)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("at", [0, T])
def test_folders_are_listed_where_timestamps_say_nothing(
    layout: str,
    at: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """So an edit is seen all the same, and each run says once what that costs."""
    root, extra = make_tree(tmp_path / "set", LAYOUTS[layout]), tmp_path / "extra"
    set_times(root, lambda: at, monkeypatch)
    caplog.set_level(logging.WARNING, "dinov3_metadata")
    for images in (2, 3):
        first = root / LAYOUTS[layout][0]
        if images == 3:
            first.with_name(first.name.replace("_10026", "_7").replace("1.", "2.")).touch()
        caplog.clear()
        for _ in range(2):
            chain = dump_extra(root, extra, ["TRAIN"], "folders", layout=layout)
        source = chain.now["TRAIN"].source
        assert len(caplog.messages) == 2
        for said in caplog.messages:
            assert said.startswith(f"All folder timestamps in {source} are ")
            assert re.search(r"\. Each run lists \d folders of TRAIN to see what changed\.$", said)
        assert "unnoticed" not in summarise(chain)
        described = json.loads((extra / "metadata-TRAIN.json").read_text())
        assert described["images"] == images + 2 * (layout == "imagenet")


def test_what_was_made_with_trusted_timestamps_stays(tree: Path) -> None:
    """The setting was `true` before it was `auto`: on a usual file system, both are the same."""
    before = dump_extra(tree, tree / "extra", trust_timestamps=True)
    after = dump_extra(tree, tree / "extra")
    assert after.states == before.states
    assert after.settings.trust_timestamps == "auto"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_folder_is_looked_at_for_the_warning_alone(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, extra = make_tree(tmp_path / "set", LAYOUTS[layout]), tmp_path / "extra"
    dump_extra(root, extra, ["TRAIN"], "folders", layout=layout)
    monkeypatch.setattr(current, "folder_states", None)
    dump_extra(root, extra, ["TRAIN"], "folders", layout=layout)


def test_one_split_is_enough(
    tree: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_times(tree / "val", lambda: T, monkeypatch)
    dump_extra(tree, tree / "extra", trust_timestamps=True)
    assert [text for text in caplog.messages if NAMED in text] == [
        f"All folder timestamps in {tree}/val are the same, so changes cannot be detected from "
        f"them. If the file system does not keep real ones, set `{NAMED}`."
    ]


def test_one_class_is_not_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_tree(tmp_path / "set", ["train/n01440764/n01440764_1.JPEG"])
    set_times(root, lambda: T, monkeypatch)
    dump_extra(root, tmp_path / "extra", ["TRAIN"])
    assert not any(NAMED in text for text in caplog.messages)


def test_new_folders_and_a_view_of_them_bring_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for layout, files in LAYOUTS.items():
        root = make_tree(tmp_path / layout, files)
        for _ in range(2):
            dump_extra(root, tmp_path / f"{layout} extra", ["TRAIN"], "folders", layout=layout)
    assert not any("timestamps" in text for text in caplog.messages)


def test_times_that_are_always_now(
    tree: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dump_extra(tree, tree / "extra", ["TRAIN"])
    assert not any(NAMED in text for text in caplog.messages)
    monkeypatch.setattr(times, "mounted", lambda path: Mount("fuse.unheard-of"))
    set_times(tree / "train", times.time.time_ns, monkeypatch)
    with pytest.raises(MetadataError, match=r"keeps changing(?s:.)*trust_timestamps: false"):
        dump_extra(tree, tree / "extra", ["TRAIN"])
    assert sum("are those of this moment" in text for text in caplog.messages) == 1


@pytest.mark.parametrize("kind", ["ext4", "nfs4", "fuse.juicefs", "fuse.unheard-of"])
def test_folders_that_all_changed_just_now_say_nothing_against_a_known_file_system(
    kind: str, tree: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(times, "mounted", lambda path: Mount(kind))
    dump_extra(tree, tree / "extra", ["TRAIN"])
    for folder in (tree / "train", *(tree / "train").iterdir()):
        folder.chmod(0o700)
    dump_extra(tree, tree / "extra", ["TRAIN"])
    assert ("those of this moment" in caplog.text) == (kind == "fuse.unheard-of")
