"""Packed: work on many names at once, as arrays of bytes, without a Python object for each.

numpy compares such texts by their bytes. A name never contains the NUL with which it is filled up.
"""

import os

import numpy as np

from .addresses import MAX_INDEX, trailing_number

LONG = 16  # digits of a number that are looked at without Python objects
PLACES = 10.0 ** np.arange(LONG)


def bytes_of(texts: np.ndarray) -> np.ndarray:
    """View some texts, (texts,) ``S<width>``, as (texts, width) ``u1``."""
    return texts.view("u1").reshape(len(texts), texts.itemsize)


def trailing_numbers(paths: np.ndarray) -> np.ndarray:
    """Return what ``addresses.trailing_number`` returns for some images, -1 for None.

    Args:
        paths: (images,), ``S``.

    Returns:
        (images,), ``<i8``.
    """
    letters, at = bytes_of(paths), np.arange(LONG)
    size = (letters > 0).sum(1)
    stem = np.where(letters[np.arange(len(paths)), size - 4] == ord("."), size - 4, size - 5)
    flat = np.concatenate([np.zeros(LONG, "u1"), letters.ravel()])
    windows = np.ndarray((len(flat) - LONG + 1,), f"V{LONG}", flat, strides=(1,))
    before = windows[np.arange(len(paths)) * paths.itemsize + stem]  # the bytes before the suffix
    digits = before.view("u1").reshape(-1, LONG)[:, ::-1] - np.uint8(ord("0"))
    is_digit = (digits < 10) & (at < stem[:, None])
    many = np.where(is_digit.all(1), LONG, is_digit.argmin(1))
    value = np.where(at < many[:, None], digits, 0) @ PLACES
    numbers = np.where((many > 0) & (value <= MAX_INDEX), value, -1).astype("<i8")
    for i in np.flatnonzero(many == LONG).tolist():
        number = trailing_number(os.fsdecode(paths[i]))
        numbers[i] = -1 if number is None else number
    return numbers


def order_of(paths: np.ndarray) -> np.ndarray:
    """Return the order of some paths as texts, which is that of their bytes if these are UTF-8."""
    try:
        paths.tobytes().decode()
    except UnicodeDecodeError:
        texts = [*map(os.fsdecode, paths.tolist())]
        return np.array(sorted(range(len(texts)), key=texts.__getitem__), int)
    return np.argsort(paths)


def below(prefix: bytes, names: np.ndarray) -> np.ndarray:
    """Return some paths, (images,) ``S``, that begin with a prefix."""
    if not prefix:
        return names
    start = np.broadcast_to(np.frombuffer(prefix, "u1"), (len(names), len(prefix)))
    paths = np.concatenate([start, bytes_of(names)], axis=1)
    return paths.view(f"S{paths.shape[1]}")[:, 0]
