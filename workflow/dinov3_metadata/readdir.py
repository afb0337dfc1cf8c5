"""Readdir: list one folder and parse its names in bulk, without a Python object per image."""

import ctypes
import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from .access import who_lets_read
from .addresses import ANNEX, IMG_EXTENSIONS, MAX_INDEX, is_image, name_parts
from .disk import KINDS, kind_of, link_target
from .errors import MetadataError
from .fingerprint import UNREAD, State
from .packed import bytes_of
from .paths import StrPath

DIGITS = 10  # of MAX_INDEX
CHUNK = 1 << 16  # bytes of names that are requested at a time
SPARE = 600  # bytes after the last name that may be read: twice 255 for name and prefix, and more

UNKNOWN, FOLDER, FILE, LINK = 0, 4, 8, 10  # file types, as in <dirent.h>
HOPS = 40  # most links that the kernel follows in a row; path_resolution(7)
NOTHING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # what stat(2) says of a dangling link
DANGLING = "a dangling link"
WATCHED = 20  # most folders whose states are noted because the links in one folder lead into them

NO_NAMES = np.empty(0, "S1")
PLACES = np.arange(DIGITS, dtype="u1")
WEIGHTS = 10.0 ** np.arange(DIGITS)[::-1]
SHIFTS = 10 ** np.arange(DIGITS + 1)[::-1]

PARSING = threading.Lock()  # threads can wait for a server together, but hinder each other here

try:
    _getdents64 = ctypes.CDLL(None, use_errno=True).getdents64
    _getdents64.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
    _getdents64.restype = ctypes.c_ssize_t
except AttributeError:  # not Linux
    _getdents64 = None  # type: ignore[assignment]


class Names(NamedTuple):
    """Names as the kernel returns them, one after the other in a buffer.

    Attributes:
        buffer: (bytes,), ``<u1``; a NUL ends each name, and ``SPARE`` bytes follow the last one.
        start: (names,), ``<i8``: where each name starts.
        kind: (names,), ``<u1``: the file types ``FOLDER``, ``FILE``, ``LINK``, ... of <dirent.h>,
            or ``UNKNOWN``.
    """

    buffer: np.ndarray
    start: np.ndarray
    kind: np.ndarray

    def strings(self, at: np.ndarray, length: int) -> np.ndarray:
        """Return the bytes at some positions of the buffer: (positions,), ``S<length>``."""
        shape = (len(self.buffer) - length + 1,)
        return np.ndarray(shape, f"S{length}", self.buffer, strides=(1,))[at]

    def text(self, i: int) -> str:
        """Return one name."""
        start = self.start[i]
        return os.fsdecode(self.buffer[start : start + SPARE].tobytes().partition(b"\0")[0])


class Listing(NamedTuple):
    """What a folder contains.

    Attributes:
        subfolders: The names of the folders in it, unsorted, links followed. A dangling link counts
            as a subfolder, because its target may appear later, unless its name is that of an
            image.
        links: The subfolders that are links.
        files: All other names, except those of addressable images, unsorted.
        actual_index: (images,), ``<u4``: the numbers of the addressable images, in the order of
            their sorted names.
        special: Name -> type in words ("a FIFO") of what is named like an image but is neither a
            file nor a folder, links followed, and of links that lead to nothing ("a dangling
            link"). These names are not in ``files``.
        watched: Path -> state, as ``watch`` returned it, of the folders on the way to the targets
            of links to anything but folders. At most ``WATCHED`` + 1 folders.
        images: (images,), ``S``: the names of the images, unsorted, if they were asked for; those
            of hidden ones and of links stay in ``files``.
    """

    subfolders: list[str]
    links: list[str]
    files: list[str]
    actual_index: np.ndarray
    special: dict[str, str]
    watched: dict[str, State]
    images: np.ndarray = NO_NAMES


Watch = Callable[[str], State]
"""Returns the state to note for a folder; called before links into that folder are followed."""


def list_folder(
    folder: str,
    split: str,
    class_id: str | None,
    watch: Watch | None = None,
    name_images: bool = False,
) -> Listing:
    """List a folder.

    Args:
        folder: The folder.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        class_id: The class whose images DINOv3 would look for directly in this folder; empty for
            TEST, None if DINOv3 would look for no images here.
        watch: Returns the state of a folder that links lead into. Pass it if you must notice when
            the target of a link changes, otherwise None.
        name_images: Whether to return the names of images in ``images``, without a Python object
            for each.

    Raises:
        FileNotFoundError, NotADirectoryError: The folder does not exist, or is not a folder.
        MetadataError: The folder cannot be listed.
    """
    subfolders: list[str] = []
    links: list[str] = []
    files: list[str] = []
    special: dict[str, str] = {}
    watched: dict[str, State] = {}
    keys = [np.empty(0, "<i8")]
    images = [NO_NAMES]
    try:
        for names in read_names(folder):
            with PARSING:
                found, key = image_keys(names, split, class_id)
                good = found & (names.kind == FILE)
                others = ~good
                if name_images:
                    named, some = named_images(names)
                    others &= ~named
                    images.append(some)
                others = np.flatnonzero(others).tolist()
            for i in others:
                name, kind = names.text(i), int(names.kind[i])
                if name in (".", ".."):
                    continue
                path = f"{folder}/{name}"
                if kind == UNKNOWN:
                    kind = stat.S_IFMT(os.lstat(path).st_mode) >> 12
                is_link = kind == LINK
                if is_link:
                    kind = _follow(path, watch, watched) if watch else _kind_behind(path)
                if kind == FOLDER:
                    subfolders.append(name)
                    if is_link:
                        links.append(name)
                elif kind != FILE and is_image(name):
                    known = DANGLING if kind == LINK else KINDS.get(kind << 12)
                    special[name] = known or "neither a file nor a folder"
                elif found[i]:
                    good[i] = True
                else:
                    files.append(name)
            keys.append(key[good])
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise MetadataError(
            f"The folder {folder} cannot be listed: {error.strerror}.{who_lets_read(folder)}"
        ) from None
    index = numbers(np.concatenate(keys))
    listed = Listing(subfolders, links, files, index, special, watched)
    return listed._replace(images=np.concatenate(images)) if name_images else listed


def image_keys(names: Names, split: str, class_id: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Find the names of addressable images, and make keys that sort in the same way as the names.

    Returns:
        (names,), bool: whether each name is addressable. If ``class_id`` is None, none is.
        (names,), ``<i8``: the keys, for ``numbers``. A key consists of the digits, filled up with
        zeros on the right, times 16, plus the number of digits.
    """
    if class_id is None:
        return np.zeros(len(names.start), bool), np.zeros(len(names.start), "<i8")
    text, least = name_parts(split, class_id)
    prefix = os.fsencode(text)
    found, key = number_keys(names, names.start + len(prefix), least)
    return found & (names.strings(names.start, len(prefix)) == prefix), key


def named_images(names: Names) -> tuple[np.ndarray, np.ndarray]:
    """Find the files that torchvision treats as images, except hidden ones.

    Returns:
        (names,), bool: whether each name is that of one.
        (images,), ``S``: their names.
    """
    filled = names.buffer[: int(names.start.max(initial=0)) + SPARE]
    ends = np.flatnonzero(filled == 0)
    length = ends[np.searchsorted(ends, names.start)] - names.start
    tail = names.strings((names.start + length - 4).clip(0), 4).view("<u4")
    lower = tail | np.uint32(0x20202020)  # a dot stays one, and is looked for below
    dot = np.zeros(len(length), "<i8")
    for suffix in IMG_EXTENSIONS:
        end = np.frombuffer(suffix[-4:].encode(), "<u4")[0]
        dot[lower == end] = len(suffix)
    found = (dot > 0) & (length > dot) & (names.buffer[names.start + length - dot] == ord("."))
    found &= (names.kind == FILE) & (names.buffer[names.start] != ord("."))
    length = length[found]
    width = int(length.max(initial=1))
    images = names.strings(names.start[found], width)
    bytes_of(images)[np.arange(width) >= length[:, None]] = 0
    return found, images


def number_keys(names: Names, start: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the numbers of addressable images, and make the keys of ``image_keys`` from them.

    Args:
        names: The names. Only the buffer counts.
        start: (numbers,), where each number starts. The suffix and a NUL must follow it.
        least: The minimum number of digits, see ``addresses.name_parts``.

    Returns:
        (numbers,), bool: whether each is the number of an addressable image.
        (numbers,), ``<i8``: the keys.
    """
    digits = names.strings(start, 16).view("u1").reshape(-1, 16) - np.uint8(ord("0"))
    count = (digits < 10).argmin(1).astype("u1")  # up to the first other byte, such as "."
    value = np.where(count[:, None] > PLACES, digits[:, :DIGITS], 0) @ WEIGHTS
    found = (
        (names.strings(start + count, 6) == b".JPEG")  # the sixth byte is a NUL
        & ((count == least) | ((count > least) & (digits[:, 0] > 0)))
        & ((count < DIGITS) | (value <= MAX_INDEX))
        & (count <= DIGITS)
    )
    return found, value.astype("<i8") * 16 + count


def numbers(keys: np.ndarray) -> np.ndarray:
    """Return the numbers that some keys of ``image_keys`` stand for, sorted by key, as ``<u4``."""
    return numbers_of(np.sort(keys))


def keys_of(actual_index: np.ndarray, least: int) -> np.ndarray:
    """Return the key of each of some numbers, the inverse of ``numbers_of``.

    Args:
        actual_index: (images,), the numbers.
        least: The minimum number of digits, see ``addresses.name_parts``.
    """
    index = actual_index.astype("<i8")
    count = np.searchsorted(SHIFTS[::-1], index, side="right").clip(least)
    return index * SHIFTS[count] * 16 + count


def numbers_of(keys: np.ndarray) -> np.ndarray:
    """Return the number that each of some keys of ``image_keys`` stands for, as ``<u4``."""
    return (keys // 16 // SHIFTS[keys % 16]).astype("<u4")


def special_kind(path: str) -> str:
    """Return what a path leads to, in words ("a FIFO"); ``DANGLING`` for a link to nothing.

    The result is empty for a file, a folder, and if there is nothing at the path.
    """
    try:
        state = os.stat(path)
    except OSError as error:
        return DANGLING if error.errno in NOTHING and os.path.islink(path) else ""
    return "" if stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode) else kind_of(state)


def why_no_image(path: str) -> str:
    """Return the reason why something with the name of an image is none, as a phrase.

    Of several links in a row, the phrase names the last one, because this is the one to repair.

    Args:
        path: A special file, a link to one, or a link to nothing, see ``Listing.special``.

    Example:
        >>> why_no_image("/data/train/cat/cat_1.JPEG")
        'a dangling link to ../../pool/1.jpg'
    """
    kind = special_kind(path)
    if kind != DANGLING:
        return f"{kind}, not a file" if kind else "it exists now"
    link, hops = path, 0
    with suppress(OSError):  # the link may be gone by now
        while (inner := link_target(link)) and os.path.islink(inner):
            link, hops = inner, hops + 1
            if hops == HOPS:
                return "a link loop"
        target = os.readlink(link)
        through = f"a link to {link.replace('/./', '/')}, which is " if hops else ""
        advice = "; run `git annex get`" if ANNEX in target else ""
        return f"{through}{DANGLING} to {target}{advice}"
    return DANGLING


def behind(folder: StrPath, name: str, real_path: Callable[[str], str] = os.path.realpath) -> str:
    """Return the path that the dataset has for an image of a view.

    Args:
        folder: The folder of the view, or of a split in it.
        name: The path of the image below it. The image or its class folder is a link.
        real_path: See ``disk.link_target``.
    """
    parts = name.split("/")
    for depth in range(1, len(parts) + 1):
        path = os.path.join(folder, *parts[:depth])
        if os.path.islink(path):
            target = link_target(path, real_path).replace("/./", "/")
            return "/".join([target, *parts[depth:]])
    return os.path.join(folder, name)


def read_names(folder: str) -> Iterator[Names]:
    """Yield the names in a folder, buffer by buffer. Each buffer is valid until the next one."""
    return _by_getdents(folder) if _getdents64 else _by_scandir(folder)


def _by_getdents(folder: str) -> Iterator[Names]:
    """Yield names with getdents64, which lets other Python threads run.

    Source: struct linux_dirent64 in getdents(2).
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        buffer = np.empty(CHUNK + SPARE, "u1")
        address, lengths = buffer.ctypes.data, memoryview(buffer.data)[:CHUNK].cast("H")
        while filled := _getdents64(descriptor, address, CHUNK):
            if filled < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), folder)
            starts = []
            record, end = 8, filled // 2 + 8  # of the length, at byte 16 of a record
            with PARSING:
                while record < end:
                    starts.append(record)
                    record += lengths[record] // 2
                start = 2 * np.array(starts) + 3
            yield Names(buffer, start, buffer[start - 1])
    finally:
        os.close(descriptor)


def _by_scandir(folder: str) -> Iterator[Names]:
    with os.scandir(folder) as entries:
        kinds = {
            entry.name: LINK
            if entry.is_symlink()
            else FOLDER
            if entry.is_dir(follow_symlinks=False)
            else FILE
            if entry.is_file(follow_symlinks=False)
            else UNKNOWN
            for entry in entries
        }
    yield pack(kinds)


def pack(kinds: dict[str, int]) -> Names:
    """Put names and their file types into a buffer."""
    encoded = [os.fsencode(name) + b"\0" for name in kinds]
    start = np.cumsum([0, *map(len, encoded)])[:-1]
    buffer = np.frombuffer(b"".join(encoded) + bytes(SPARE), "u1")
    return Names(buffer, start, np.fromiter(kinds.values(), "u1"))


def _target(link: str) -> str:
    """Return the path that a link contains, relative to the folder of the link."""
    return os.path.join(os.path.dirname(link), os.readlink(link))


def _follow(link: str, watch: Watch, watched: dict[str, State]) -> int:
    """Do the same as ``_kind_behind``, but add the folders on the way to ``watched``.

    They are not added if the link leads to a folder. Each folder is watched by the path that the
    link itself contains, so that a change of any link in that path is noticed, too.

    Source: path_resolution(7).
    """
    path, kind = link, LINK
    into: list[tuple[str, State]] = []
    try:
        while kind == LINK and len(into) < HOPS:
            path = _target(path)
            above = path.rpartition("/")[0] or "/"
            state = _state_of(above, watch, watched)
            into.append((above, state))
            if state is UNREAD and len(into) == 1 and is_image(link):
                kind = FILE  # assumed, because the caller will list the folder again
            else:
                kind = stat.S_IFMT(os.lstat(path).st_mode) >> 12
    except OSError:  # the kernel may still resolve it, such as links in /proc
        kind = LINK
    if kind == LINK:
        kind = _kind_behind(link)
    if kind != FOLDER:
        for above, state in into:
            if len(watched) <= WATCHED:
                watched.setdefault(above, state)
    return kind


def _state_of(folder: str, watch: Watch, watched: dict[str, State]) -> State:
    if folder in watched:
        return watched[folder]
    return watch(folder) if len(watched) <= WATCHED else UNREAD


def _kind_behind(link: str) -> int:
    """Return the file type of what a link leads to, as in <dirent.h>.

    If there is no target, a link that is named like an image counts as ``LINK``. Any other counts
    as a folder, because the target may appear later, or if it leads to itself, as a file. A target
    that cannot be examined counts as a folder, too.
    """
    try:
        return stat.S_IFMT(os.stat(link).st_mode) >> 12
    except OSError as error:
        if error.errno in NOTHING and is_image(link):
            return LINK
        appeared = error.errno == errno.ENOENT and os.path.lexists(os.path.realpath(link))
        return FILE if appeared or error.errno == errno.ELOOP else FOLDER
