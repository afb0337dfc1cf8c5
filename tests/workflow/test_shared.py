"""A folder for metadata that a group shares. These tests need root, see .ci/run.

The second person is root without its privileges: everything that the first one made belongs to
another user.
"""

import os
import shlex
import struct
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from dinov3_metadata import dump_extra
from dinov3_metadata.paths import WORK
from helpers import REPOSITORY, copy_repository, digests, make_tree

FIRST, LAB, OTHERS = 12345, 54321, 54322  # a user and two groups
PRIVILEGES = "-dac_override,-dac_read_search,-fowner,-chown,-fsetid"
FILES = ["train/猫 cat/IMG_1.jpg", "train/dog/a b.png", "val/dog/x.jpg", "val/猫 cat/1.jpg"]
ACL = "system.posix_acl_access"


class Group:
    """A dataset and a folder for its metadata that several people use."""

    def __init__(self, home: Path, mode: int) -> None:
        self.root, self.extra, self.home = (
            make_tree(home / "数据 set", FILES),
            home / "ex tra",
            home,
        )
        self.extra.mkdir(parents=True)
        os.chown(self.extra, -1, LAB)
        self.extra.chmod(mode)

    def run(self, umask: int = 0o022, group: int = LAB, fails: bool = False) -> str:
        """Run the workflow as a person of a group."""
        command = ["setpriv", f"--bounding-set={PRIVILEGES}", "--regid=0", f"--groups={group}"]
        command += [
            sys.executable,
            "-m",
            "snakemake",
            "-s",
            REPOSITORY / "Snakefile",
            "--cores",
            "2",
        ]
        command += ["--directory", self.home / f"workdir {group}", "--config"]
        command += [f"root={self.root}", f"extra={self.extra}", "labels=folders"]
        said = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(command, check=False, text=True, umask=umask, **said)
        assert (done.returncode != 0) == fails, done.stdout
        assert "Traceback" not in done.stdout, done.stdout
        return done.stdout

    def person(self, group: int = LAB) -> list[str]:
        """The start of a command that a person of a group gives."""
        return ["setpriv", f"--bounding-set={PRIVILEGES}", "--regid=0", f"--groups={group}"]

    def paths(self) -> Iterable[Path]:
        return [self.extra, *self.extra.rglob("*")]

    def give_to_first(self) -> None:
        """Let everything in the folder belong to the first person."""
        for path in self.paths():
            os.chown(path, FIRST, -1, follow_symlinks=False)

    def edit(self, number: int) -> None:
        make_tree(self.root, [f"train/dog/{number}.jpg", f"val/dog/{number}.jpg"])

    def is_whole(self) -> bool:
        fresh = Group(self.home / "fresh", 0o755)
        subprocess.run(["cp", "-a", f"{self.root}/.", fresh.root], check=True)
        fresh.run()
        same = digests(fresh.extra) == digests(self.extra)
        subprocess.run(["rm", "-r", fresh.home], check=True)
        return same


@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_a_second_person_of_the_group_runs_in_a_shared_folder(umask: int, tmp_path: Path) -> None:
    group = Group(tmp_path, 0o2775)
    group.run(umask)
    for number in (5, 6):
        group.give_to_first()
        group.edit(number)
        said = group.run(umask)
        assert "WARNING" not in said
        assert group.is_whole()
    work = [path for path in group.paths() if f"/{WORK}" in str(path) or "/view" in str(path)]
    ours = [path for path in work if not path.is_symlink() and path.suffix not in (".tsv", ".npy")]
    assert [str(path) for path in ours if path.stat().st_gid != LAB] == []
    folders = [path for path in ours if path.is_dir()]
    assert [str(path) for path in folders if not path.stat().st_mode & 0o020] == []


def test_replaced_files_keep_their_group_their_mode_and_their_acl(tmp_path: Path) -> None:
    group = Group(tmp_path, 0o2775)
    group.run()
    entries, ids = (group.extra / f"{name}-TRAIN.npy" for name in ("entries", "class-ids"))
    entries.chmod(0o640)
    os.chown(entries, -1, LAB)
    acl = acl_for(OTHERS, 4)
    os.setxattr(ids, ACL, acl)
    group.give_to_first()
    make_tree(group.root, ["train/an owl of another width/1.jpg"])
    group.run()
    assert (entries.stat().st_uid, ids.stat().st_uid) == (0, 0)
    assert (entries.stat().st_gid, entries.stat().st_mode & 0o7777) == (LAB, 0o640)
    assert os.getxattr(ids, ACL) == acl


def test_new_files_follow_the_folder(tmp_path: Path) -> None:
    group = Group(tmp_path, 0o755)
    group.run()
    assert (group.extra / "entries-TRAIN.npy").stat().st_gid == 0
    group.extra.chmod(0o2775)  # from now on, a group shares it
    os.setxattr(group.extra, "system.posix_acl_default", acl_for(OTHERS, 7))
    (group.extra / "entries-TRAIN.npy").unlink()
    group.run()
    new = group.extra / "entries-TRAIN.npy"
    assert new.stat().st_gid == LAB
    like = group.extra / "like this"
    like.touch()
    assert os.getxattr(new, "system.posix_acl_access") == os.getxattr(
        like, "system.posix_acl_access"
    )


def test_the_first_person_is_told_what_to_run_for_the_second(tmp_path: Path) -> None:
    group = Group(tmp_path, 0o755)
    group.run()
    group.give_to_first()
    group.edit(5)
    before = digests(group.extra)
    said = group.run(fails=True)
    error = next(line for line in said.splitlines() if line.startswith("Error: "))
    work = group.extra / WORK
    said = f"Error: {work}/run.lock: Permission denied. {work} belongs to {FIRST}, who must run "
    assert error.startswith(f"{said}this once: ")
    assert digests(group.extra) == before
    command = error.rpartition(" once: ")[2]
    assert shlex.split(command)[-1] == f"{group.extra}/view"
    subprocess.run(["bash", "-euc", command], check=True)
    group.run()
    assert group.is_whole()


def test_who_is_not_in_the_group_is_told_of_an_acl(tmp_path: Path) -> None:
    group = Group(tmp_path, 0o775)
    group.run()
    group.give_to_first()
    group.edit(5)
    said = group.run(group=OTHERS, fails=True)
    rights = "u:root:rwX"
    assert f"who must run this once: setfacl -m {rights} '{group.extra}' && setfacl -R " in said


def test_a_folder_where_only_owners_replace_files_is_named(tmp_path: Path) -> None:
    group = Group(tmp_path, 0o3777)
    group.run()
    group.give_to_first()
    group.edit(5)
    said = group.run(fails=True)
    assert f"{FIRST}, who must run this once: chmod -t '{group.extra}'" in said, said


def test_the_owner_of_a_file_that_others_may_have_mapped_is_named(tmp_path: Path) -> None:
    """On a file server, a file must get a second name before it is replaced; see proc_sys_fs(5)."""
    group = Group(tmp_path, 0o2775)
    group.run()
    group.give_to_first()
    group.edit(5)
    before = digests(group.extra)
    code = "import sys; from dinov3_metadata import dump_extra, replace\n"
    code += "replace.is_local = lambda path: False\n"
    code += "dump_extra(*sys.argv[1:], labels='folders')"
    call = [*group.person(), sys.executable, "-c", code, group.root, group.extra]
    done = subprocess.run(call, check=False, text=True, stderr=subprocess.PIPE)
    said = done.stderr.splitlines()[-1]
    assert f"-TRAIN.npy belongs to {FIRST}, who must run this once: chmod g+rw " in said
    assert digests(group.extra) == before
    subprocess.run(["bash", "-euc", said.rpartition(" once: ")[2]], check=True)
    subprocess.run(call, check=True)
    assert group.is_whole()
    assert len([*(group.extra / WORK / "published/kept").rglob("*.npy")]) == 2


@pytest.mark.parametrize("view", ["", "none"])
def test_a_check_names_what_this_person_may_not_read(view: str, tmp_path: Path) -> None:
    group = Group(tmp_path, 0o2775)
    dump_extra(group.root, group.extra, labels="folders", view=view)
    group.give_to_first()
    array = "paths" if view else "entries"
    for place in (group.extra / f"{array}-VAL.npy", group.root, group.root / "train/猫 cat"):
        os.chown(place, FIRST, LAB)
        place.chmod(0o700)
        words = ["-m", "dinov3_metadata", "check", "--root", group.root, "--extra", group.extra]
        command = [*group.person(), sys.executable, *words]
        done = subprocess.run(command, check=False, text=True, capture_output=True)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("Error: ")
        once = f" {place} belongs to {FIRST}, who must run this once: chmod g+rX "
        assert once in done.stderr
        subprocess.run(["bash", "-euc", done.stderr.rpartition(" once: ")[2]], check=True)
    done = subprocess.run(command, check=False, text=True, capture_output=True)
    assert "stale" in done.stdout  # chown and chmod change the ctime, as a hidden edit would
    place.chmod(0o744)
    done = subprocess.run(command, check=False, text=True, capture_output=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert f" {place} belongs to {FIRST}, who must run this once: " in done.stderr


def test_a_class_folder_that_can_be_listed_but_not_entered_is_named(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "数据 set", ["train/猫 cat/猫 cat_1.JPEG"])
    dump_extra(root, tmp_path, ["TRAIN"], labels="folders")
    place = root / "train/猫 cat"
    os.chown(place, FIRST, -1)
    place.chmod(0o744)
    words = ["-m", "dinov3_metadata", "check", "--root", root, "--extra", tmp_path]
    command = [*Group(tmp_path / "other", 0o755).person(), sys.executable, *words]
    done = subprocess.run(command, check=False, text=True, capture_output=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert f" {place} belongs to {FIRST}, who must run this once: " in done.stderr


def test_whoever_may_not_read_what_is_published_is_told_so(tmp_path: Path) -> None:
    group = Group(tmp_path, 0o2775)
    for before in (lambda: os.umask(0o077), group.give_to_first):
        before()
        try:
            dump_extra(group.root, group.extra, labels="folders")
        finally:
            os.umask(0o022)
    said = group.run(fails=True)
    once = f"{group.extra}/entries-TRAIN.npy belongs to {FIRST}, who must run this once: chmod g+rw"
    assert said.splitlines()[-1].count(once) == 1, said
    opening = "from dinov3_metadata import ImageNetMetadata; import sys"
    opening += "\nImageNetMetadata(*sys.argv[1:])"
    folders = ["--root", group.root, "--extra", group.extra]
    commands = {
        "make": ["-m", "dinov3_metadata", "make", *folders],
        "audit": ["-m", "dinov3_metadata", "audit", *folders],
        "train": ["-m", "dinov3_metadata", "train", "--check", *folders, "--", "true"],
        "open": ["-c", opening, group.root, group.extra],
    }
    for place in (group.extra / "entries-TRAIN.npy", group.extra):
        for name, words in commands.items():
            command = [*group.person(), sys.executable, *words]
            done = subprocess.run(command, check=False, text=True, capture_output=True)
            once = f" {place} belongs to {FIRST}, who must run this once: chmod g+r"
            assert done.returncode == 1, name
            assert once in done.stderr.splitlines()[-1], (name, done.stderr)
        group.extra.chmod(0o700)


@pytest.mark.parametrize("umask", [0o077, 0o027])
def test_a_umask_that_hides_new_files_is_a_warning_once(umask: int, tmp_path: Path) -> None:
    group = Group(tmp_path, 0o755)
    warning = f"umask 0077 hides new files in {group.extra} from everyone else"
    assert group.run(umask).count(warning) == (umask == 0o077)
    group.extra.chmod(0o700)
    group.edit(5)
    assert warning not in group.run(umask)


def test_two_people_use_a_checkout_that_neither_can_write_in_at_once(tmp_path: Path) -> None:
    group, house = Group(tmp_path, 0o2775), tmp_path / "check out 检出"
    copy_repository(house)
    for path in (house, *house.rglob("*")):
        os.chown(path, FIRST, -1)
    before = {*house.rglob("*")}

    def start(person: int, *options: str, root: str, extra: str) -> subprocess.Popen:
        command = [*group.person(person), sys.executable, "-m", "snakemake", "--cores", "2"]
        command += [*options, "--config", f"root={root}", f"extra={extra}", *settings]
        said = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, text=True, cwd=house, env=environment, **said)

    settings = ["labels=folders", "splits=[TRAIN]"]
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("PYTHON")}
    refused = start(LAB, root=str(group.root), extra=str(group.extra))
    assert refused.communicate()[0].splitlines()[-1] == (
        f"Error: You cannot write in {house}, where Snakemake keeps its state. Use a working "
        "folder of your own: run the same command with --directory <FOLDER>. Relative paths then "
        "begin there."
    )
    people = {LAB: tmp_path / "one 甲/work", OTHERS: tmp_path / "other 乙/work"}
    runs = [
        start(person, "--directory", str(own), root="../../数据 set", extra="../ex tra")
        for person, own in people.items()
    ]
    for run in runs:
        said = run.communicate()[0]
        assert run.returncode == 0, said
    assert {*house.rglob("*")} == before
    dump_extra(group.root, group.extra, ["TRAIN"], labels="folders")
    for own in people.values():
        assert digests(own.with_name("ex tra")) == digests(group.extra)


def test_the_state_of_another_persons_runs_is_not_written(tmp_path: Path) -> None:
    group, state = Group(tmp_path, 0o2775), tmp_path / f"workdir {LAB}/.snakemake"
    (state / "incomplete").mkdir(parents=True)
    os.chown(state / "incomplete", FIRST, -1)
    said = group.run(fails=True).splitlines()[-1]
    assert said.startswith(f"Error: You cannot write in {state}/incomplete, where Snakemake keeps ")
    (state / "incomplete").rmdir()
    os.chown(state, FIRST, -1)  # without the folders that Snakemake would make in it
    said = group.run(fails=True).splitlines()[-1]
    assert said.startswith(f"Error: You cannot write in {state}, where Snakemake keeps ")


def acl_for(group: int, rights: int) -> bytes:
    """An ACL that gives a group some rights. Source: posix_acl_xattr_header in the kernel."""
    anyone = 0xFFFFFFFF
    entries = [(1, 7, anyone), (4, 5, anyone), (8, rights, group), (16, 7, anyone), (32, 5, anyone)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one) for one in entries)
