"""Hostile names wherever a name can come from: does one move the cursor of a terminal, start a line
of a log, reach a shell, or end a run in a traceback?

Each name is tried at each place, on a dataset that is fine otherwise, and on one that is refused
because of it. Output and log files may contain no control characters except line ends.
"""

import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from helpers import REPOSITORY
from scenes import CLASSES, Said, Scene, as_lines, run

FORGED = "1999-12-31 23:59:59,000 ERROR forged"
NAMES = {
    "colour": "\x1b[31mred\x1b[0m",
    "clear screen": "\x1b[2J\x1b[H",
    "window title": "\x1b]0;title\x07",
    "hyperlink": "\x1b]8;;http:evil\x1b\\here\x1b]8;;\x1b\\",
    "carriage return": f"n\r{FORGED}",
    "line feed": f"n\n{FORGED}",
    "both": f"n\r\n{FORGED}\r\n",
    "bell": "\x07\x07",
    "backspace": "safe\b\b\b\bevil",
    "delete": "\x7f\x7f",
    "vertical tab": f"n\v\f{FORGED}",
    "C1 control": "\x9b31m\x85\x90",
    "right to left": "\u202egpj.exe",
    "isolates": "\u2066\u2067\u2069",
    "line separator": f"n\u2028{FORGED}\u2029",
    "zero width": "a\u200b\u200d\ufeffb",
    "invalid UTF-8": os.fsdecode(b"\xff\xfe\xc3("),
    "half a surrogate": os.fsdecode(b"\xed\xa0\x80"),
    "quotes": "'\"'''\"\"\"",
    "command": "$(touch PWNED)",
    "backticks": "`touch PWNED`;touch PWNED&touch PWNED|touch PWNED",
    "options": "--extra=PWNED",
    "braces": "{}{0}{split}{wildcards}{{",
    "percent": "%s%d%n%(levelname)s",
    "glob": "*?[!a]**",
    "very long": "x" * 200,
}
PLACES = ["class folder", "image", "label", "labels file", "root", "extra", "view"]
CONTROL = {"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"}  # of the Unicode categories


def csv(*fields: str) -> bytes:
    quoted = ('"' + field.replace('"', '""') + '"' for field in fields)
    return os.fsencode(",".join(quoted) + "\n")


class Named(Scene):
    """A scene with a hostile name at a place.

    Args:
        home: The folder for everything that belongs to the scene.
        name: The name.
        place: One of ``PLACES``.
        refused: Whether the program must refuse the dataset, with the name in its message.
    """

    def __init__(self, home: Path, name: str, place: str, refused: bool) -> None:
        options = [] if place in ("label", "root", "extra") or refused else ["--layout=folder"]
        super().__init__(home, *options)
        labels = self.root / "labels.txt"
        if place == "class folder":
            for split in ("train", "val"):
                folder = self.root / split / name
                folder.mkdir()
                (folder / "n_1.JPEG").touch()
            if not refused:
                with labels.open("ab") as file:
                    file.write(csv(name, "hostile"))
        elif place == "image":
            (self.root / "train" / CLASSES[0] / f"{name}.JPEG").touch()
        elif place == "label":
            labels.write_bytes(b"".join(csv(one, name) for one in CLASSES[refused:]))
            if refused:
                with labels.open("ab") as file:
                    file.write(csv(name, name) + csv(name, "other") + csv(name))
        elif place == "labels file":
            if not refused:
                labels.rename(self.root / name)
            self.options += (f"--labels={name}",)
        elif place == "view":
            self.options += (f"--view={self.home / name}", "--layout=folder")
            if refused:
                (self.home / name).mkdir()
                (self.home / name / "train").write_text("in the way")
        elif place == "root":
            shutil.move(self.root, self.home / name)
            self.root = self.home / name
            if refused:
                shutil.rmtree(self.root / "val")
        elif place == "extra":
            self.extra = self.home / name
            if refused:
                self.extra.write_text("in the way")


def escapes(text: str) -> list[str]:
    """Return the lines of a text that have a control character or were started by a name."""
    found = []
    for line in text.split("\n"):
        if any(unicodedata.category(one) in CONTROL for one in line) or line.startswith(FORGED):
            found.append(repr(line[:300]))
    return found


def logs(home: Path) -> str:
    """All that the program and Snakemake have logged below a folder."""
    paths = [path for path in home.rglob("*.log") if path.is_file()]
    return "\n".join(os.fsdecode(path.read_bytes()) for path in paths)


def judge(scene: Scene, said: Said) -> list[str]:
    wrong = [f"escape: {line}" for line in escapes(said.text)]
    wrong += [f"escape in a log: {line}" for line in escapes(logs(scene.home))]
    if said.traceback or said.code is None:
        wrong.append(f"traceback or hang: {said.text[-500:]}")
    if said.code and not re.search("^Error: |^usage: ", said.text, re.MULTILINE):
        wrong.append(f"no sentence: {said.text[-300:]}")
    for above in (scene.home, Path.cwd(), REPOSITORY):
        wrong += [f"a shell ran: {path}" for path in above.glob("PWNED*")]
    wrong += [f"a shell ran: {path}" for path in scene.home.rglob("PWNED*")]
    return wrong


def asked(full: bool) -> list[tuple[str, str, bool]]:
    """List name, place and whether to refuse it: all, or each name once and each place often."""
    every = [
        (name, place, refused) for name in NAMES for place in PLACES for refused in (False, True)
    ]
    return every if full else every[:: len(PLACES) * 2 + 1][: len(NAMES)]


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_hostile_names(
    place: str, refused: bool, full: bool, tmp_path: Path, note: Callable[..., None]
) -> None:
    number = PLACES.index(place) * 2 + refused
    chosen = [*NAMES] if full else [*NAMES][number :: len(PLACES) * 2]
    faults, succeeded = {}, 0
    for name in chosen:
        scene = Named(tmp_path / name.replace(" ", "-"), NAMES[name], place, refused)
        said = scene.run()
        succeeded += said.code == 0
        if wrong := judge(scene, said):
            faults[f"{name} as {place}, {refused=}, exit {said.code}"] = wrong
        shutil.rmtree(scene.home)
    text = str(faults)
    note(
        "names",
        runs=len(chosen),
        successful=succeeded,
        escapes=text.count("'escape"),
        shells=text.count("a shell ran"),
        tracebacks=text.count("traceback or hang"),
        without_a_sentence=text.count("no sentence"),
    )
    assert not faults, as_lines(faults)


# The few cases for the real Snakemake, whose runs take seconds: name, place, refused.
REAL = [
    ("line feed", "class folder", False),
    ("clear screen", "image", True),
    ("command", "root", False),
    ("invalid UTF-8", "class folder", True),
    ("carriage return", "label", False),
    ("braces", "extra", False),
    ("braces", "image", False),
    ("backticks", "labels file", False),
    ("line feed", "labels file", True),
    ("C1 control", "root", True),
    ("right to left", "view", False),
    ("glob", "class folder", False),
    ("quotes", "extra", True),
    ("line separator", "label", True),
]


@pytest.mark.parametrize("case", range(len(REAL)))
def test_hostile_names_in_snakemake(
    case: int, full: bool, tmp_path: Path, note: Callable[..., None]
) -> None:
    name, place, refused = REAL[case]
    if not full and case % 3:
        return
    scene = Named(tmp_path / "home", NAMES[name], place, refused)
    said = run_snakemake(scene)
    wrong = judge(scene, said)
    note(
        "names, by snakemake",
        runs=1,
        successful=int(said.code == 0),
        escapes=str(wrong).count("escape"),
        shells=str(wrong).count("a shell ran"),
        tracebacks=str(wrong).count("traceback or hang"),
        without_a_sentence=str(wrong).count("no sentence"),
    )
    assert not wrong, as_lines({f"{name} as {place}, {refused=}, exit {said.code}": wrong})


def run_snakemake(scene: Scene) -> Said:
    """Run Snakemake with the settings of a scene, from a file: no shell reads them."""
    options = dict(one.removeprefix("--").split("=", 1) for one in scene.options)
    config = {"root": str(scene.root), "extra": str(scene.extra)} | options
    path = scene.home / "settings.json"
    with suppress(UnicodeEncodeError):
        path.write_text(json.dumps(config))
    command = [sys.executable, "-m", "snakemake", "-s", str(REPOSITORY / "Snakefile")]
    command += ["--cores", "2", "--directory", str(scene.home), "--configfile", str(path)]
    return run(command, scene.home)
