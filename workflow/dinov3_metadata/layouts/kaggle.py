"""The layout ``kaggle``: Kaggle's ImageNet-1k (imagenet-object-localization-challenge)."""

from ..addresses import LABELLED, SPLITS, split_folder
from ..look import finds, finds_folder
from .part import Part, class_folders_of, count_names, holds_images
from .split_folders import Folders

DATA = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC")
"""Where the split folders are. In all but the first, root is as many folders below Kaggle's."""

SOLUTION = "LOC_val_solution.csv"


def recognise(dataset: str, folders: Folders) -> bool:
    """Return whether root contains Kaggle's folders, and no others of TRAIN and VAL are known."""
    return folders.keys().isdisjoint(LABELLED) and bool(data_of_kaggle(dataset))


def list_part(dataset: str, split: str, folders: Folders) -> Part:
    """Return where the images are.

    ``val`` is flat, and a CSV file lists the classes. Without this file, ``val`` may have been
    sorted into class folders.
    """
    data = data_of_kaggle(dataset) or DATA[0]
    folder, own_names = f"{data}/{split_folder(split)}", data != DATA[0]
    solution = "../" * DATA.index(data) + SOLUTION
    if split == "TEST":
        return Part(folder, classes=False, whole=True, own_names=own_names)
    path, note = f"{dataset}/{folder}", ""
    if split == "VAL":
        is_sorted = class_folders_of(path) and not holds_images(path)
        if not is_sorted or finds(f"{dataset}/{solution}"):
            return Part(
                folder, classes=False, annotations=solution, read=read_solution, own_names=own_names
            )
        note = f"The classes of VAL are the folders in {folder}/, because there is no {SOLUTION}."
    named, others = count_names(path, split)
    return Part(folder, whole=named >= others, own_names=own_names, note=note)


def explain() -> str:
    """Describe the layout in one line."""
    return f"{DATA[0]}/train/<wnid>/, {DATA[0]}/val and test flat, {SOLUTION}"


def read_solution(line: str) -> tuple[str, str]:
    """Return image and class id, from ``ILSVRC2012_val_00048981,n03995372 85 1 499 272``."""
    image, boxes = line.split(",")
    return f"{image}.JPEG", boxes.split()[0]


def top_of_kaggle(dataset: str) -> str:
    """Return the folder that contains Kaggle's ``ILSVRC``, for a dataset that is this folder, the
    folder with the split folders, or between them; empty if it is none of these."""
    parts = DATA[0].split("/")
    for depth in range(1, len(parts) + 1):
        if dataset.endswith("/" + "/".join(parts[:depth])):
            return "/".join(dataset.split("/")[:-depth])
    return ""


def data_of_kaggle(dataset: str) -> str:
    """Return which of ``DATA`` contains a split folder; empty if none does."""
    for data in DATA:
        folder = f"{dataset}/{data}"
        if finds_folder(folder) and any(
            finds_folder(f"{folder}/{split_folder(one)}") for one in SPLITS
        ):
            return data
    return ""
