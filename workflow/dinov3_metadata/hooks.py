"""Hooks: change a module of somebody else right after its import, whenever that is.

``MetaPathFinder`` is not a base of the finder: its import takes longer than all else at the start
of a training.
"""

from __future__ import annotations  # DINOv2's own environment has Python 3.9

import sys
from collections.abc import Callable, Mapping
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Changes = Mapping[str, Callable[[ModuleType], None]]
"""The name of a module -> what to do with it."""


def after_import(changes: Changes) -> None:
    """Call a function with each of some modules after its import, in place of what an earlier call
    asked for."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    sys.meta_path.insert(0, _Finder(changes))


def is_hooked() -> bool:
    """Return whether this process has called ``after_import``."""
    return any(isinstance(finder, _Finder) for finder in sys.meta_path)


class _Finder:
    """An import hook."""

    def __init__(self, changes: Changes) -> None:
        self.changes = changes

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in self.changes:
            return None
        others = [
            finder
            for finder in sys.meta_path
            if finder is not self and hasattr(finder, "find_spec")
        ]
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next(filter(None, specs), None)
        if spec and spec.loader:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                if module.__name__ in self.changes:  # all modules of a zip file share one loader
                    self.changes[module.__name__](module)

            vars(spec.loader)["exec_module"] = exec_module
        return spec
