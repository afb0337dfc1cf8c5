"""Access: let others read and write this program's files as before, and as their folders allow.

A group can share a folder for metadata. By itself, a new file would have the group of its writer,
and no permission that the umask takes away.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import stat
from collections.abc import Iterable
from contextlib import suppress
from typing import BinaryIO

from .errors import MetadataError, logger
from .paths import MARK, PUBLIC, WORK, StrPath, is_work_file, work_folder

ACL = "system.posix_acl_access"  # source: acl(5)
DEFAULT_ACL = "system.posix_acl_default"
OTHERS = stat.S_IRGRP | stat.S_IROTH

HINTS = dict.fromkeys([errno.ENOSPC, errno.EDQUOT], " Make room and run the same command again.")
HINTS |= dict.fromkeys([errno.EACCES, errno.EPERM, errno.EROFS], " Check its permissions.")


def refused(error: OSError, reads: bool = False) -> MetadataError:
    """Turn an error from the system into a MetadataError of one sentence.

    Args:
        error: The error.
        reads: Whether nothing was to be written.
    """
    hint = HINTS.get(error.errno or 0, "")
    path = os.fsdecode(error.filename or "A file")
    if isinstance(error, PermissionError):
        hint = ("" if reads else what_to_run(error)) or who_lets_read(path) or hint
    return MetadataError(f"{path}: {error.strerror or error}.{hint}")


def check_readable(paths: Iterable[StrPath], reads: bool = True) -> None:
    """Refuse what this user may not read, which would otherwise look damaged or missing.

    Args:
        paths: Files and folders, which may be missing.
        reads: See ``refused``.

    Raises:
        MetadataError: It names the first of them.
    """
    for path in paths:
        if not os.access(path, os.R_OK | os.X_OK) and unreadable(path):
            error = PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
            raise refused(error, reads)


def keep_access(path: StrPath, folder: int, file: BinaryIO) -> None:
    """Give a new file the group, the ACL and the mode of the file that it will replace.

    Args:
        path: The file that it will replace, if that exists.
        folder: The descriptor of the folder that contains that file.
        file: The new file.
    """
    lost = copy_access(folder, os.path.basename(path), file)
    if lost and not is_work_file(path):
        logger.warning(
            "%s no longer belongs to the group %s, because you are not a member of it. If the "
            "group must read the file, let its owner or root run: chgrp %s %s",
            *(path, lost, lost, shlex.quote(os.fspath(path))),
        )


def copy_access(folder: int, name: str, file: BinaryIO) -> str:
    """Give an open file the group, the ACL and the mode of another one, if that exists.

    Args:
        folder: The descriptor of the folder that contains the other file.
        name: The name of the other file.
        file: The open file.

    Returns:
        The group, if this user may not give it to a file.
    """
    with suppress(FileNotFoundError):
        state = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISREG(state.st_mode):
            good = _has_group(file.fileno(), state.st_gid)
            _set_acl(file.fileno(), ACL, _acl(f"/proc/self/fd/{folder}/{name}", ACL))
            os.fchmod(file.fileno(), stat.S_IMODE(state.st_mode))
            return "" if good else _name_of_group(state.st_gid)
    return ""


def share(outer: int, inner: int) -> None:
    """Let whoever may write in a folder also write a work file or a work folder in it.

    Nothing happens if that belongs to somebody else.

    Args:
        outer: The descriptor of the folder.
        inner: The descriptor of the file or folder in it.
    """
    around, own = os.fstat(outer), os.fstat(inner)
    if own.st_uid != os.geteuid():
        return
    is_folder, bits = stat.S_ISDIR(own.st_mode), 0
    if default := _acl(outer, DEFAULT_ACL):  # it gave a new file its permissions
        if is_folder and default != _acl(inner, DEFAULT_ACL):
            _set_acl(inner, DEFAULT_ACL, default)
            _set_acl(inner, ACL, default)
    elif around.st_mode & stat.S_IWGRP and not _acl(outer, ACL):  # else it shows only its mask
        bits = stat.S_IRWXG if is_folder else stat.S_IRGRP | stat.S_IWGRP
    bits = around.st_mode & (bits | (stat.S_ISGID if is_folder else 0))
    if bits and _has_group(inner, around.st_gid):
        mode = os.fstat(inner).st_mode
        if bits & ~mode:
            os.fchmod(inner, stat.S_IMODE(mode | bits))


def hiding_umask(folder: StrPath) -> str:
    """Return the umask if it hides new files from everyone else, although others can read the
    folder; empty if not, or if the system does not say.

    Source: proc_pid_status(5).
    """
    mode = os.stat(folder).st_mode
    if any(mode & bits == bits for bits in (0o050, 0o005)) and not _acl(folder, DEFAULT_ACL):
        with suppress(OSError), open("/proc/self/status") as facts:
            found = re.search(r"^Umask:\s*(\d+)$", facts.read(), re.MULTILINE)
            if found and int(found[1], 8) & OTHERS == OTHERS:
                return found[1]
    return ""


def what_to_run(error: PermissionError) -> str:
    """Say who must run what, so that this user can write a file of this program.

    Args:
        error: The error, which names what could not be written, replaced or entered.

    Returns:
        A sentence after a blank; empty if the path is not one of this program, or if nothing of
        another user is in the way.
    """
    path = os.fsdecode(error.filename or "")
    view = _view_of(path)
    above, work, _ = f"{path}/".rpartition(f"/{WORK}/")
    is_public = re.fullmatch(PUBLIC, os.path.basename(path))
    top = view or (above if work else os.path.dirname(path) if is_public else "")
    if not os.path.isdir(top):
        return ""
    while not os.path.lexists(path):  # or a folder in its path cannot be entered
        path = os.path.dirname(path)
    places = [one for one in (os.path.dirname(path), path) if f"{one}/".startswith(f"{top}/")]
    sticky = error.errno == errno.EPERM and os.stat(places[0]).st_mode & stat.S_ISVTX
    in_the_way = places[:1] if sticky else [one for one in places if not os.access(one, os.W_OK)]
    if not in_the_way or os.stat(in_the_way[0]).st_uid == os.geteuid():
        return ""
    state = os.stat(in_the_way[0])
    command = _opening(top, bool(view), state.st_gid)
    if is_public and stat.S_ISREG(state.st_mode):  # it is kept for readers, see `replace`
        names = [one.name for one in os.scandir(top) if re.fullmatch(PUBLIC, one.name)]
        command = f"chmod g+rw {shlex.join(f'{top}/{name}' for name in sorted(names))}"
    if sticky:  # only the owner of a file can replace it there
        command = f"chmod -t {shlex.quote(in_the_way[0])}"
    return _asked(in_the_way[0], command)


def _asked(place: str, command: str) -> str:
    """Return a sentence that asks the owner of a file or folder to run a command."""
    owner = _name_of_user(os.stat(place).st_uid)
    return f" {place} belongs to {owner}, who must run this once: {command}"


def who_lets_read(path: StrPath) -> str:
    """Say who must run what, so that this user can read a file or list a folder, links followed.

    Returns:
        A sentence after a blank; empty if this user can, or owns what is in the way.
    """
    place = unreadable(path)
    if not place or os.stat(place).st_uid == os.geteuid():
        return ""
    state = os.stat(place)
    names = [place]
    if re.fullmatch(PUBLIC, os.path.basename(place)):  # the others are like it
        folder = os.path.dirname(place)
        near = (one.path for one in os.scandir(folder) if re.fullmatch(PUBLIC, one.name))
        names = sorted(filter(unreadable, near))
    is_ours = state.st_gid in {os.getegid(), *os.getgroups()}
    change = "chmod g+rX" if is_ours else f"setfacl -m u:{_name_of_user(os.geteuid())}:rX"
    return _asked(place, f"{change} {shlex.join(names)}")


def unreadable(path: StrPath) -> str:
    """Return the file or folder that keeps this user from reading a path, links followed: the path
    itself or a folder above it; empty if there is none."""
    path, place = os.path.realpath(path), "/"
    for name in path.split("/")[1:]:
        if not os.access(place, os.X_OK):
            break
        place = os.path.join(place, name)
    wanted = os.X_OK * os.path.isdir(place) | os.R_OK * (place == path)
    return place if os.path.exists(place) and not os.access(place, wanted) else ""


def _opening(top: str, is_view: bool, group: int) -> str:
    """Return the command that lets this user write in a view, or in a folder for metadata, whose
    images and other files it leaves alone.

    Args:
        top: The folder.
        is_view: Whether it is a view.
        group: The group of what is in the way.
    """
    view = f"{top}/view"
    ours = [work_folder(top), *([view] if os.path.lexists(f"{view}/{MARK}") else [])]
    one, below = shlex.quote(top), shlex.join([top] if is_view else ours)
    shared = os.stat(top).st_gid
    if shared not in {os.getegid(), *os.getgroups()}:
        entry = f"u:{_name_of_user(os.geteuid())}:rwX"
        return f"setfacl -m {entry} {one} && setfacl -R -m {entry},d:{entry} {below}"
    command = f"chmod g+rwxs {one} && chmod -R g+rwX {below}"
    return command if group == shared else f"chgrp -R {_name_of_group(shared)} {below} && {command}"


def _view_of(path: str) -> str:
    """Return the folder of the view that contains a path; empty if none does."""
    while path != os.path.dirname(path):
        if os.path.lexists(f"{path}/{MARK}"):
            return path
        path = os.path.dirname(path)
    return ""


def _has_group(descriptor: int, group: int) -> bool:
    """Give an open file a group; return whether it has it now."""
    if os.fstat(descriptor).st_gid != group:
        try:
            os.fchown(descriptor, -1, group)
        except OSError:
            return False
    return True


def _name_of_group(group: int) -> str:
    with suppress(KeyError):
        import grp  # few runs need it

        return grp.getgrgid(group).gr_name
    return str(group)


def _name_of_user(user: int) -> str:
    with suppress(KeyError):
        import pwd

        return pwd.getpwuid(user).pw_name
    return str(user)


def _acl(file: int | StrPath, name: str) -> bytes:
    """Return an ACL of a file; empty if it has none, or if the system has no ACLs."""
    if hasattr(os, "getxattr"):
        with suppress(OSError):
            return os.getxattr(file, name)
    return b""


def _set_acl(file: int, name: str, acl: bytes) -> None:
    """Give an open file an ACL, or none if it is empty."""
    if acl != _acl(file, name):
        with suppress(OSError):
            if acl:
                os.setxattr(file, name, acl)
            else:
                os.removexattr(file, name)
