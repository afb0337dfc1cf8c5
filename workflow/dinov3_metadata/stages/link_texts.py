"""Link texts: what the links of a view contain.

Links are relative if the view and the dataset are on one mount, so that both can be moved, copied
or mounted elsewhere together.
"""

import os
from collections.abc import Iterable
from contextlib import suppress

from ..disk import on_one_mount


class LinkTexts:
    """The texts of the links in a view that lead into one dataset.

    Args:
        root: The folder of the view, which must exist.
        dataset: The dataset's folder.
        links: ``relative``, ``absolute``; or ``auto`` for relative links if the dataset is on the
            same mount.
        earlier: Earlier paths of the dataset, absolute or from the view.

    Attributes:
        current: The path of the dataset, absolute and from the view.
        known: ``current`` and the earlier paths, the longest first.

    Example:
        >>> texts = LinkTexts("/data/extra/view", "/data/photos", "relative", [])
        >>> texts.of("train/cat/cat_0.JPEG", "/data/photos/cat/a.jpg")
        '../../../../photos/cat/a.jpg'
    """

    def __init__(self, root: str, dataset: str, links: str, earlier: Iterable[str]) -> None:
        self.dataset = dataset
        # A relative link leads up from the real folder that contains it.
        way = os.path.relpath(os.path.realpath(dataset), os.path.realpath(root))
        self.current = [dataset, way]
        self.known = sorted({*self.current, *earlier}, key=len, reverse=True)
        self._start = dataset
        with suppress(OSError):
            wanted = links == "relative" or (links == "auto" and on_one_mount(root, dataset))
            if wanted and os.path.samefile(f"{root}/{way}", dataset):
                self._start = way

    def of(self, below: str, target: str) -> str:
        """Return the text of a link.

        Args:
            below: The path of the link below the view.
            target: The path that it shall lead to, below ``dataset``.
        """
        return f"{_up(below, self._start)}{self._start}{target.removeprefix(self.dataset)}"

    def target(self, below: str, text: str) -> str:
        """Return the path below ``dataset`` that a text stands for, even if the text names an
        earlier path of the dataset; empty if it leads into none of its paths."""
        for path in self.known:
            start = f"{_up(below, path)}{path}"
            if text.startswith(f"{start}/") and not text.startswith(f"{start}/../"):
                return self.dataset + text.removeprefix(start)
        return ""


def _up(below: str, start: str) -> str:
    """Return what comes before a path from the view in a link; nothing before an absolute one."""
    return "" if start.startswith("/") else "../" * below.count("/")
