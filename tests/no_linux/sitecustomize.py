"""Hide what only Linux has, in each Python that starts with this folder in PYTHONPATH.

    PYTHONPATH=$PWD/tests/no_linux pytest tests/test_*.py

Python runs this file at its start. It removes names from Python's modules and functions from the C
library of ``ctypes``, and makes ``/proc`` and ``/sys`` look empty. What other systems have, too,
stays: POSIX with its ``*at`` functions, ``flock`` and ``/dev/fd``. psutil, which Snakemake uses,
still finds ``/proc``, because it has other ways on other systems.
"""

import builtins
import ctypes
import errno
import fcntl
import importlib.util
import io
import os
import resource
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))

ONLY_LINUX = {
    os: (
        *("copy_file_range", "eventfd", "eventfd_read", "eventfd_write", "fdatasync", "getrandom"),
        *("getresgid", "getresuid", "getxattr", "listxattr", "memfd_create", "pidfd_open"),
        *("posix_fadvise", "posix_fallocate", "removexattr", "sched_getaffinity"),
        *("sched_setaffinity", "sendfile", "setns", "setxattr", "splice", "timerfd_create"),
        *("unshare", "process_cpu_count"),
        *("O_DIRECT", "O_LARGEFILE", "O_NOATIME", "O_PATH", "O_RSYNC", "O_TMPFILE", "pipe2"),
    ),
    fcntl: (
        *("F_ADD_SEALS", "F_GETPIPE_SZ", "F_GET_SEALS", "F_GETLEASE", "F_NOTIFY", "F_OFD_GETLK"),
        *("F_OFD_SETLK", "F_OFD_SETLKW", "F_SETLEASE", "F_SETPIPE_SZ", "F_GETSIG", "F_SETSIG"),
    ),
    resource: ("prlimit", "RLIMIT_AS", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_OFILE"),
    select: ("epoll", "EPOLLIN", "EPOLLOUT"),
    signal: ("pidfd_send_signal", "sigtimedwait", "sigwaitinfo", "SIGPWR", "SIGRTMAX", "SIGRTMIN"),
    socket: ("AF_NETLINK", "SO_PEERCRED"),
}
"""Module -> names in it that macOS or the BSDs lack."""

C_FUNCTIONS = (
    *(
        "copy_file_range",
        "fallocate",
        "fallocate64",
        "getdents64",
        "inotify_init",
        "name_to_handle_at",
    ),
    *("inotify_init1", "posix_fallocate", "posix_fallocate64", "renameat2", "statx", "syncfs"),
    *("syscall", "prlimit", "prlimit64", "posix_fadvise", "fanotify_init", "memfd_create"),
)
"""Functions of the C library that macOS or the BSDs lack."""


def hide_names() -> None:
    for module, names in ONLY_LINUX.items():
        for name in names:
            vars(module).pop(name, None)


def hide_functions() -> None:
    known = ctypes.CDLL.__getattr__

    def find(library: ctypes.CDLL, name: str) -> Any:
        if name in C_FUNCTIONS:
            raise AttributeError(f"{library._name}: undefined symbol: {name}")
        return known(library, name)

    ctypes.CDLL.__getattr__ = find  # type: ignore[method-assign]


def hide_folders() -> None:
    def without(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any = ".", *more: Any, **options: Any) -> Any:
            text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
            caller = sys._getframe(1).f_globals.get("__name__", "")
            if f"{text}/".startswith(("/proc/", "/sys/")) and not caller.startswith("psutil"):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), text)
            return function(path, *more, **options)

        for able in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            if function in able:
                able.add(call)
        return call

    builtins.open = io.open = without(open)
    for name in ("open", "stat", "lstat", "listdir", "scandir", "readlink"):
        setattr(os, name, without(getattr(os, name)))


def hide_from_children() -> None:
    """Put this folder into the PYTHONPATH of each process that is started with other variables."""
    begin = subprocess.Popen.__init__

    def start(self: Any, args: Any, *more: Any, **options: Any) -> None:
        if options.get("env") is not None:
            paths = options["env"].get("PYTHONPATH", "").split(os.pathsep)
            if HERE not in paths:
                paths = os.pathsep.join([HERE, *filter(None, paths)])
                options["env"] = {**options["env"], "PYTHONPATH": paths}
        begin(self, args, *more, **options)

    subprocess.Popen.__init__ = start  # type: ignore[method-assign]


hide_names()
hide_functions()
hide_folders()
hide_from_children()

# This file hides a sitecustomize.py of the environment itself, so run that, too.
paths = [os.path.abspath(path) for path in sys.path]
spec = PathFinder.find_spec("sitecustomize", paths[paths.index(HERE) + 1 :])
if spec and spec.loader:
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
