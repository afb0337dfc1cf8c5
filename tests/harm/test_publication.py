"""SIGKILL, EIO and ENOSPC at each call of a publication that reaches the disk: is there ever a set
of files of which some are old and some new, that nobody notices?

``strace`` lets the Nth call of a kind fail, or kills the process at it, for each N until a run ends
untouched. Two states of a dataset alternate, which differ in all six arrays and both descriptions.
"""

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dinov3_metadata.dataset import ImageNetMetadata
from dinov3_metadata.errors import MetadataError
from helpers import make_tree
from scenes import PUBLISHED, Said, Scene, as_lines, left_over, published

pytestmark = pytest.mark.long

CALLS = ("fsync", "fdatasync", "rename", "renameat", "renameat2", "link", "linkat", "symlinkat")
CALLS += ("unlink", "unlinkat", "mkdirat", "ftruncate", "fchmod")
FAULTS = {
    "kill": "signal=KILL:when={}",
    "EIO": "error=EIO:when={}",
    "ENOSPC": "error=ENOSPC:when={}",
    "EIO from there on": "error=EIO:when={}+",
}


class Alternating(Scene):
    """A dataset that is in state A or B; ``publish`` brings the other one into extra.

    Args:
        home: The folder for everything that belongs to it.
        alike: Whether the files of both states have the same sizes.
    """

    def __init__(self, home: Path, alike: bool) -> None:
        super().__init__(home)
        self.alike, self.state, self.sets = alike, "B", {}
        for _ in range(2):
            self.change()
            self.fresh()
            self.sets[self.state] = published(home / "fresh")
        assert all(self.sets["A"][name] != self.sets["B"][name] for name in PUBLISHED)
        assert self.run().code == 0
        assert published(self.extra) == self.sets[self.state]

    def change(self) -> None:
        """Bring the dataset into the other state."""
        self.state = "A" if self.state == "B" else "B"
        shutil.rmtree(self.root)
        more = self.state == "B" and not self.alike
        classes = [f"n0000000{1 + (self.state == 'B')}", "n00000005", *["n000000077"] * more]
        files = [
            name
            for one in classes
            for number in range(1, 4 + more)
            for name in (
                f"train/{one}/{one}_{number}.JPEG",
                f"val/{one}/ILSVRC2012_val_{number:08d}.JPEG",
            )
        ]
        name = f"{'long ' * more}name {self.state}"
        make_tree(self.root, files, "".join(f"{one},{name} {one[-1]}\n" for one in classes))

    def traced(self, *options: str) -> Said:
        trace = self.home / "trace"
        prefix = ["strace", "-f", "-y", f"-o{trace}", f"-etrace={','.join(CALLS)}"]
        return self.run(prefix=[*prefix, *options])

    def calls(self) -> list[tuple[str, int, str]]:
        """The calls of the last traced run below extra: name, number with that name, line."""
        counts: Counter[str] = Counter()
        found = []
        for line in (self.home / "trace").read_text().splitlines():
            if call := re.match(r"\d+ +(\w+)\(", line):
                counts[call[1]] += 1
                if f"{self.extra}" in line and "EEXIST" not in line:
                    found.append((call[1], counts[call[1]], line))
        return found


def is_whole(scene: Alternating, states: str) -> bool:
    """Whether the files in extra are all those of one of these states."""
    return published(scene.extra) in [scene.sets[state] for state in states]


def seen(scene: Alternating, split: str) -> str:
    """What a training sees of a split: ``A``, ``B``, ``torn`` if told so, ``mixed`` if not."""
    try:
        dataset = ImageNetMetadata(scene.root, scene.extra, split)
        entries, classes, names = dataset.entries, dataset.classes, dataset.class_names
    except MetadataError:
        return "torn"
    for state, files in scene.sets.items():
        due = {name: _load(files[f"{name}-{split}.npy"]) for name in KINDS}
        if (
            np.array_equal(entries, due["entries"])
            and classes == due["class-ids"].tolist()
            and names == due["class-names"].tolist()
        ):
            return state
    return "mixed"


KINDS = ("entries", "class-ids", "class-names")


def _load(content: bytes) -> np.ndarray:
    from io import BytesIO

    return np.load(BytesIO(content), allow_pickle=False)


def ask(scene: Alternating, fault: str, call: str, number: int) -> tuple[bool, list[str], int]:
    """Publish the other state with one fault.

    Returns:
        Whether the fault occurred, what went wrong, and how often a reader was told of a torn set.
    """
    old = scene.state
    scene.change()
    new = scene.state
    said = scene.traced(f"-einject={call}:{FAULTS[fault].format(number)}")
    trace = (scene.home / "trace").read_text()
    hit = "(INJECTED)" in trace or "killed by SIGKILL" in trace
    wrong = []
    readers = [seen(scene, split) for split in ("TRAIN", "VAL")]
    if "mixed" in readers:
        wrong.append("a reader sees a mixed set")
    if said.traceback or said.code is None:
        wrong.append("traceback or hang")
    if fault == "kill" and hit:
        if said.code != -9 and said.code != 137:
            wrong.append("it was not killed")
    elif said.code == 0:
        if not is_whole(scene, new):
            wrong.append("exit code 0 without the new set")
    elif fault != "EIO from there on" and not is_whole(scene, old):
        wrong.append("an exit code that is not 0 without the old set")
    if said.code and not is_whole(scene, old + new) and readers == [new, new]:
        wrong.append("readers notice nothing of a mixed set")
    if said.code and fault != "kill" and f"Error: {scene.home}" not in said.text:
        wrong.append("no sentence that names the path")
    again = scene.run()
    if again.code != 0 or not is_whole(scene, new):
        wrong.append("one further run does not publish the new set")
        shutil.rmtree(scene.extra)
        scene.run()
    elif left := left_over(scene.extra):
        wrong.append(f"left over: {left}")
    if wrong:
        wrong.append(f"exit {said.code}: {said.end}")
        wrong.append(f"then exit {again.code}: {again.end if again.code else ''}")
    return hit, wrong, readers.count("torn")


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_a_publication(
    fault: str, alike: bool, full: bool, tmp_path: Path, note: Callable[..., None], monkeypatch
) -> None:
    # Nobody will finish it meanwhile.
    monkeypatch.setattr("dinov3_metadata.published.PATIENCE", 0.1)
    scene = Alternating(tmp_path, alike)
    scene.change()
    assert scene.traced().code == 0
    assert is_whole(scene, scene.state)
    calls = scene.calls()
    assert len([one for one in calls if one[0].startswith("rename")]) >= 8
    if not full:
        calls = some(calls, fault, alike)
    elif not alike:  # calls before it are tested only with ``alike``
        calls = [one for one in calls if "/published" in one[2] or f"{scene.extra}>" in one[2]]
    faults, met, missed, torn = {}, 0, 0, 0
    for call, number, line in calls + (beyond(calls) if full else []):
        hit, wrong, told = ask(scene, fault, call, number)
        met += hit
        missed += not hit and line != ""
        torn += told
        if wrong:
            faults[f"{call} {number}: {line.replace(str(scene.home), '')[:200]}"] = wrong
    mixed = sum("mixed" in str(wrong) for wrong in faults.values())
    wrong = len(faults) - mixed
    note("publication", faults=met, mixed=mixed, torn_and_told=torn, otherwise_wrong=wrong)
    assert not faults, as_lines(faults)
    assert missed <= max(len(calls) // 3, 8)  # the number of calls depends on what is cleaned up


def beyond(calls: list[tuple[str, int, str]]) -> list[tuple[str, int, str]]:
    """The next call of each kind: there is none, unless a run has more calls than the first had."""
    last = {call: number for call, number, _ in calls}
    return [(call, last[call] + more, "") for call in last for more in (1, 2, 3)]


def some(calls: list[tuple[str, int, str]], fault: str, alike: bool) -> list[tuple[str, int, str]]:
    """Select a few calls: mostly those around the renames into extra, the others evenly spaced."""
    renames = [
        i for i, (name, _, line) in enumerate(calls) if name == "renameat" and is_final(line)
    ]
    start, end = renames[0], renames[-1]
    near = calls[start - 2 : end + 5]
    offset = list(FAULTS).index(fault) + 4 * alike
    return near[offset % 5 :: 5] + calls[offset::40]


def is_final(line: str) -> bool:
    """Whether a rename brings a published file into extra."""
    return any(f'"{name}") = ' in line and "/published>" in line for name in PUBLISHED)


def test_strace_is_really_there(tmp_path: Path) -> None:
    """The questions above prove nothing where faults are not injected."""
    done = subprocess.run(
        ["strace", "-einject=unlink,unlinkat:error=EIO", "rm", "-f", os.fspath(tmp_path / "x")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "INJECTED" in done.stderr, done.stderr
