import fcntl
import json
import os
import signal
import threading
from pathlib import Path

import pytest
from dinov3_metadata import lock
from dinov3_metadata.disk import Mount
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.lock import lock_job, lock_run, locked
from dinov3_metadata.paths import path_of, work_folder
from helpers import open_path


@pytest.fixture
def extra(tmp_path: Path) -> Path:
    return tmp_path / "extra"


def refuse(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_who_holds_the_lock_is_on_the_disk(extra: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An NFS server, and so another host, has only what was synced."""
    synced: list[bytes] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        fsync(descriptor)
        path = Path(path_of(extra, "run"))
        if open_path(descriptor, extra.parent) == path:
            synced.append(path.read_bytes())

    monkeypatch.setattr(os, "fsync", note)
    with locked(extra):
        assert json.loads(synced[-1])["pid"] == os.getpid()
        with pytest.raises(MetadataError, match=rf"process {os.getpid()} on host \S+, since 20"):
            lock_run(extra)


@pytest.mark.parametrize("where", ["fsync", "ftruncate"])
def test_a_full_disk_takes_no_name_and_the_run_goes_on(
    where: str, extra: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locked(extra):
        pass
    monkeypatch.setattr(os, where, refuse)
    with locked(extra):
        pass


def test_an_error_while_unlocking_hides_nothing(
    extra: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def unlock(file: object, how: int) -> None:
        if how == fcntl.LOCK_UN:
            refuse()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", unlock)
    with locked(extra):
        pass
    with pytest.raises(ZeroDivisionError), locked(extra):
        raise ZeroDivisionError


def test_a_process_forked_meanwhile_does_not_keep_the_lock(extra: Path) -> None:
    read, write = os.pipe()
    with locked(extra):
        child = os.fork()
        if not child:
            os.close(write)
            os.read(read, 1)  # until the parent has finished
            os._exit(0)
    try:
        with locked(extra):
            pass
    finally:
        os.close(write)
        os.close(read)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_jobs_of_a_run_that_was_killed_are_waited_for(
    extra: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with locked(extra):
        job = lock_job(extra)
    assert job
    ended = threading.Event()

    def run() -> None:
        with locked(extra):
            assert ended.is_set()

    waiting = threading.Thread(target=run)
    waiting.start()
    while "Waiting for the jobs" not in caplog.text:
        assert waiting.is_alive()
    ended.set()
    job.close()
    waiting.join()


@pytest.mark.parametrize("name", ["run", "jobs"])
def test_a_lock_that_is_a_link_or_a_fifo_is_refused(name: str, extra: Path) -> None:
    victim = extra.parent / "victim"
    victim.write_text("mine")
    os.makedirs(work_folder(extra))
    path = Path(path_of(extra, name))
    path.symlink_to(victim)
    with pytest.raises(MetadataError, match=f"{path} is a link"):
        lock_run(extra)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(MetadataError, match=f"{path} is a FIFO"):
        lock_run(extra)
    assert victim.read_text() == "mine"


def test_a_run_that_took_the_lock_and_has_not_said_so_yet(extra: Path) -> None:
    with locked(extra):
        os.truncate(path_of(extra, "run"), 0)
        with pytest.raises(MetadataError, match=r"process \? on host \?, since \?"):
            lock_run(extra)


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        ("nfs", "rw,vers=3,nolock,local_lock=all", "nolock"),
        ("nfs", "rw,vers=3,local_lock=flock", "local_lock=flock"),
        ("nfs4", "rw,vers=4.2,local_lock=none", ""),
        ("nfs", "rw,vers=3,local_lock=posix", ""),
        ("ext4", "rw,nolock", ""),
    ],
)
def test_locks_that_only_one_host_sees_bring_one_warning(
    kind: str,
    options: str,
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mount = Mount(kind, "server:/export", options.split(","))
    monkeypatch.setattr(lock, "mounted", lambda path: mount)
    with locked(tmp_path):
        pass
    assert caplog.messages == [
        f"{tmp_path}/.dinov3-metadata is on NFS mounted with {one}, so a run here does not see a "
        "run on another host: make sure that only one at a time works there, or mount it without "
        "this option."
        for one in filter(None, [named])
    ]
