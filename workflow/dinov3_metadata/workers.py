"""Workers: let the workers of a DataLoader collect garbage, although the trainer does not.

DINOv3's trainer turns Python's garbage collection off before its DataLoader forks, and collects at
fixed steps, on all ranks at once. The workers inherit that, but nobody collects for them, and
torchvision's transforms leave reference cycles. So each worker grows until the node is out of
memory.

Source: ``gc.disable()`` in ``train/train.py`` of facebookresearch/dinov3; ``_worker_loop`` in
``torch/utils/data/_utils/worker.py``, the main function of each worker, whichever way it starts.
"""

from __future__ import annotations  # DINOv2's own environment has Python 3.9

import gc
import mmap
import os
from functools import wraps
from types import ModuleType
from typing import Any

from .errors import MetadataError, logger
from .ranks import is_first

MODULE = "torch.utils.data._utils.worker"
KEEP_GC_OFF = "DINOV3_METADATA_KEEP_GC_OFF"
"""The variable that leaves all as the trainer sets it, unless it is empty."""

_threshold = gc.get_threshold()  # as Python starts


def collect_in_workers(module: ModuleType) -> None:
    """Turn garbage collection on in each worker that inherits that it is off.

    What the trainer has at the fork is not looked at again: a worker would copy the memory that it
    shares with the trainer.

    Args:
        module: ``MODULE``.

    Raises:
        MetadataError: It is not a known version.
    """
    loop = getattr(module, "_worker_loop", None)
    if loop is None:
        raise MetadataError(
            f"{MODULE} is not the version that this program knows: it has no _worker_loop. So the "
            "workers of a DataLoader collect garbage only if the training does."
        )
    theirs = getattr(loop, "theirs", loop)
    said = mmap.mmap(-1, 1)  # forked workers share it

    @wraps(theirs)
    def _worker_loop(*args: Any, **given: Any) -> None:
        is_off = not gc.isenabled() or not gc.get_threshold()[0]
        if is_off and not os.environ.get(KEEP_GC_OFF):
            if not gc.get_threshold()[0]:
                gc.set_threshold(*_threshold)
            gc.freeze()
            gc.enable()
            _say(said)
        theirs(*args, **given)

    vars(_worker_loop)["theirs"] = theirs
    module._worker_loop = _worker_loop  # type: ignore[attr-defined]


def _say(said: mmap.mmap) -> None:
    """Say it in one line of the whole training."""
    if not said[0] and is_first(os.environ):
        said[0] = 1
        logger.info(
            "The training has turned garbage collection off. The workers of its DataLoaders "
            "collect all the same, so that they do not grow. To leave it off, write --keep-gc-off "
            "before the --."
        )
