"""Show a folder as a file server that stumbles would.

    python tests/stumbling.py FOLDER MOUNTPOINT fail|short|hang

Of the files whose number ends with 0, the first two reads fail with EIO or are cut short, or the
first one lasts 20 s. To end it: ``fusermount3 -u MOUNTPOINT``.
"""

import errno
import re
import sys
import time
from collections import Counter
from typing import Any

from mfusepy import FUSE
from remembering import Remembering


class Stumbling(Remembering):
    def __init__(self, folder: str, how: str) -> None:
        super().__init__(folder, is_bucket=False)
        self.how, self.seen = how, Counter[str]()

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        content: Any = super().read(path, size, offset, fh)
        if re.search(r"0\.JPEG$", path) and self.seen[path] < (1 if self.how == "hang" else 2):
            self.seen[path] += 1
            if self.how == "fail":
                raise OSError(errno.EIO, "stumbled", path)
            if self.how == "hang":
                time.sleep(20)
            if self.how == "short":
                return content[:9] if offset == 0 else b""
        return content


if __name__ == "__main__":
    folder, mountpoint, how = sys.argv[1:]
    FUSE(
        Stumbling(folder, how),
        mountpoint,
        fsname="server",
        use_ino=True,
        direct_io=True,
        ro=True,
        nothreads=how != "hang",
    )
