"""Photographs of Labeled Faces in the Wild, by file name."""

import re
from collections.abc import Collection
from pathlib import Path

from PIL import Image

from whatelse.datasets.loaders.pictures import Picture, read_pictures, resized
from whatelse.errors import UserError

HEIGHT, WIDTH = 62, 47
NUM_IMAGES = 13_233

ORIGINAL = 250
# scikit-learn's crop of the original, which it then halves: left, top, right, bottom.
CROP = (78, 70, 172, 195)

_IMAGE = re.compile(r"(?:[^/]+/)*([^/]+)/(\1_\d{4}\.jpg)")


def photographs(
    path: Path, names: Collection[str], described: Path, size: int | None
) -> dict[str, Picture]:
    """Return the named images (3, 62, 47) or (3, size, size), by file name.

    The original archive's images are cropped and halved as scikit-learn does.

    Raises
    ------
    UserError
        If the archive lacks one that the file `described` names.
    """

    def wanted(name: str) -> bool:
        match = _IMAGE.fullmatch(name)
        return match is not None and match[2] in names

    def fit(image: Image.Image) -> Image.Image:
        if image.size == (ORIGINAL, ORIGINAL):
            image = resized(image.crop(CROP), height=HEIGHT, width=WIDTH)
        if image.size != (WIDTH, HEIGHT):
            raise ValueError(
                f"{image.width}x{image.height} pixels; allowed: {WIDTH}x{HEIGHT} or "
                f"{ORIGINAL}x{ORIGINAL}"
            )
        return image if size is None else resized(image, height=size, width=size)

    members = read_pictures(path, wanted, fit)
    images = {name.rpartition("/")[2]: picture for name, picture in members.items()}
    if missing := [name for name in names if name not in images]:
        raise UserError(
            f"{path}: no image {missing[0]!r}, which {described.name} describes"
        )
    return images
