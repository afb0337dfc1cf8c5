"""Sides: find the images of one split, where VAL may be a part of TRAIN."""

from collections.abc import Iterable, Iterator
from contextlib import suppress

from ..addresses import is_image
from ..errors import MetadataError
from ..holdout import Holdout
from ..readdir import list_folder


class Side:
    """The images of a split among those in some folders.

    Args:
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        source: The folder of the dataset that contains the folders.
        holdout: Which images are VAL, if the folders contain those of TRAIN and VAL; None if all
            images belong to the split.
        keep_empty: Whether a class without images is a class.

    Attributes:
        owner: The split that the folders belong to, for messages about them.
        may_lack: Whether the split need not have an image of each class.
        others: How many of the images that were found belong to the other split.
        what: What a class without images of the split lacks, for messages.
    """

    def __init__(self, split: str, source: str, holdout: Holdout | None, keep_empty: bool) -> None:
        self.split, self.source, self.holdout = split, source, holdout
        self.owner = "TRAIN" if holdout else split
        self.may_lack = bool(holdout) and split == "VAL" and not keep_empty
        self.others = 0
        self.what = "images besides those held out" if holdout else "images"

    def images_in(self, folders: Iterable[str], class_id: str = "") -> Iterator[str]:
        """Yield the paths of the split's images directly in some folders.

        Args:
            folders: The paths of the folders below ``source``.
            class_id: The class of their images, if all have the same.
        """
        for name in folders:
            folder = f"{self.source}/{name}" if name else self.source
            with suppress(FileNotFoundError, NotADirectoryError):  # the next look notices it
                listed = list_folder(folder, self.split, None)
                images = [*filter(is_image, listed.files), *listed.special]
                for image in self.own(class_id, [one for one in images if one[0] != "."]):
                    # The target of a link to a special file or a dangling link is spelled
                    # differently. So if a regular file takes its place, the link is replaced, too,
                    # and its folder is scanned again.
                    yield f"{folder}/./{image}" if image in listed.special else f"{folder}/{image}"

    def own(self, class_id: str, images: list[str]) -> list[str]:
        """Return those of some images of a class that belong to the split."""
        if not self.holdout:
            return images
        held = self.holdout.taken(class_id, images)
        if self.split == "TRAIN":
            known = set(held)
            own = [image for image in images if image not in known]
        else:
            own = held
        self.others += len(images) - len(own)
        return own

    def nothing(self) -> MetadataError:
        """Return the error for a split without images, because the other one has all of them."""
        share = self.holdout.share if self.holdout else 0
        if self.split == "VAL":
            what, cure = "takes no image in", "Set a larger share, or leave VAL out of `splits`."
        else:
            what, cure = "takes all images in", "Set a smaller share."
        return MetadataError(
            f"{self.split} has no images, because `holdout: {share}` {what} {self.source}. {cure}"
        )
