import fcntl
import json
import os
import signal
import threading
from pathlib import Path

import pytest
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.lock import RUN, lock_job, lock_run, locked
from dinov3_metadata.paths import WORK


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / WORK


def refuse(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_who_holds_the_lock_is_on_the_disk(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An NFS server, and so another host, has only what was synced."""
    synced: list[bytes] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        fsync(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.name == RUN:
            synced.append(path.read_bytes())

    monkeypatch.setattr(os, "fsync", note)
    with locked(work):
        assert json.loads(synced[-1])["pid"] == os.getpid()
        with pytest.raises(MetadataError, match=rf"process {os.getpid()} on host \S+, since 20"):
            lock_run(work)


@pytest.mark.parametrize("where", ["fsync", "ftruncate"])
def test_a_full_disk_takes_no_name_and_the_run_goes_on(
    where: str, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locked(work):
        pass
    monkeypatch.setattr(os, where, refuse)
    with locked(work):
        pass


def test_an_error_while_unlocking_hides_nothing(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def unlock(file: object, how: int) -> None:
        if how == fcntl.LOCK_UN:
            refuse()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", unlock)
    with locked(work):
        pass
    with pytest.raises(ZeroDivisionError), locked(work):
        raise ZeroDivisionError


def test_a_process_forked_meanwhile_does_not_keep_the_lock(work: Path) -> None:
    read, write = os.pipe()
    with locked(work):
        child = os.fork()
        if not child:
            os.close(write)
            os.read(read, 1)  # until the parent is through
            os._exit(0)
    try:
        with locked(work):
            pass
    finally:
        os.close(write)
        os.close(read)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_jobs_of_a_run_that_was_killed_are_waited_for(
    work: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with locked(work):
        job = lock_job(work)
    assert job
    ended = threading.Event()

    def run() -> None:
        with locked(work):
            assert ended.is_set()

    waiting = threading.Thread(target=run)
    waiting.start()
    while "Waiting for the jobs" not in caplog.text:
        assert waiting.is_alive()
    ended.set()
    job.close()
    waiting.join()


@pytest.mark.parametrize("name", ["run.lock", "jobs.lock"])
def test_a_lock_that_is_a_link_or_a_fifo_is_refused(name: str, work: Path) -> None:
    victim = work.parent / "victim"
    victim.write_text("mine")
    work.mkdir()
    (work / name).symlink_to(victim)
    with pytest.raises(MetadataError, match=f"{name} is a link"):
        lock_run(work)
    (work / name).unlink()
    os.mkfifo(work / name)
    with pytest.raises(MetadataError, match=f"{name} is a FIFO"):
        lock_run(work)
    assert victim.read_text() == "mine"
