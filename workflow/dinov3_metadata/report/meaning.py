"""Meaning: say what each problem of an image means for training."""

STOP = ("zero-bytes", "not-an-image", "truncated", "unreadable")
"""Problems with which training stops when it reads the image. An image has one of them at most."""

HARM = ("clipped", "transparent", "damaged")
"""Problems with which training gets another picture than the one that was meant."""

MEANING = {
    "zero-bytes": "Training stops: the file is empty.",
    "not-an-image": "Training stops: Pillow does not know the format, or the header is broken.",
    "truncated": "Training stops: the image cannot be decoded to the end.",
    "wrong-suffix": "None: the format is not that of the suffix, but it decodes.",
    "other-mode": "Usually none: neither RGB nor grey, but converted to RGB.",
    "broken-exif": "None: the EXIF cannot be read completely, but the image decodes.",
    "decompression-bomb": "Training warns or stops: more pixels than Pillow thinks safe.",
    "unreadable": "Training stops: the system cannot read the file.",
    "git-lfs-pointer": "Training stops: the content was never downloaded. Run git lfs pull.",
    "annex-link": "Training stops: the content is elsewhere. Run git annex get.",
    "html-page": "Training stops: it is an HTML page, such as an error page of a website.",
    "text": "Training stops: it is a text.",
    "clipped": "Training sees a white or constant area where the original has values.",
    "transparent": "Training sees the colours that are hidden behind transparent pixels.",
    "damaged": "Training sees a picture that is partly destroyed.",
    "rotated": "Training sees the image lying on its side or mirrored: it ignores EXIF.",
}
"""Problem -> what it means for training, in one sentence."""
