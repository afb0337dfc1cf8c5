"""The workers of a DataLoader collect garbage, although the trainer does not."""

import gc
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from dinov3_metadata import MetadataError
from dinov3_metadata.dinov3 import use_metadata_lengths
from dinov3_metadata.workers import KEEP_GC_OFF, MODULE, collect_in_workers


def _worker_loop(found: list[object]) -> None:
    found.append((gc.isenabled(), gc.get_threshold()))


@pytest.fixture
def module() -> Iterator[ModuleType]:
    """A stand-in for PyTorch's module; garbage collection is as before in the end."""
    module, before = ModuleType(MODULE), gc.get_threshold()
    module._worker_loop = _worker_loop
    yield module
    gc.unfreeze()
    gc.set_threshold(*before)
    gc.enable()


def started(module: ModuleType) -> object:
    found: list[object] = []
    module._worker_loop(found)
    return found[0]


def test_a_worker_collects_garbage(
    module: ModuleType, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    default = gc.get_threshold()
    collect_in_workers(module)
    collect_in_workers(module)  # as two calls of use_metadata_lengths do
    assert module._worker_loop.theirs is _worker_loop
    gc.set_threshold(50_000, 5, 5)
    assert started(module) == (True, (50_000, 5, 5))
    assert caplog.messages == []
    gc.disable()
    with monkeypatch.context() as first:
        first.setenv("RANK", "1")
        first.setenv("WORLD_SIZE", "2")
        assert started(module) == (True, (50_000, 5, 5))
    assert caplog.messages == []
    for _ in range(2):
        gc.disable()
        assert started(module) == (True, (50_000, 5, 5))
    gc.set_threshold(0)
    assert started(module) == (True, default)
    assert len(caplog.messages) == 1


def test_it_can_be_left_off(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    collect_in_workers(module)
    monkeypatch.setenv(KEEP_GC_OFF, "1")
    gc.disable()
    assert started(module)[0] is False


def test_another_pytorch_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MetadataError, match="it has no _worker_loop"):
        collect_in_workers(ModuleType(MODULE))
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.setitem(sys.modules, MODULE, ModuleType(MODULE))
    with pytest.warns(UserWarning, match="it has no _worker_loop"):
        use_metadata_lengths()


def test_one_line_before_training_sets_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.setenv(KEEP_GC_OFF, "")
    monkeypatch.setenv("DINOV3_METADATA_BAD_IMAGES", "")
    use_metadata_lengths(bad_images="replace", keep_gc_off=True)
    import os

    assert os.environ[KEEP_GC_OFF] == "1"
    assert os.environ["DINOV3_METADATA_BAD_IMAGES"] == "replace"
