"""Photographs in archives: decoded and resized by Pillow, the same every time."""

from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image

from whatelse.datasets.loaders.archives import read_members
from whatelse.errors import UserError

Picture = npt.NDArray[np.uint8]


def read_pictures(
    path: Path,
    wanted: Callable[[str], bool],
    fit: Callable[[Image.Image], Image.Image],
) -> dict[str, Picture]:
    """Read pictures of a tar archive.

    Parameters
    ----------
    path : Path
        The archive.
    wanted : callable
        Says of a member's name whether it is a picture that is wanted.
    fit : callable
        Crops and resizes; raises ValueError on a picture that it cannot use.

    Returns
    -------
    dict of str to ndarray of uint8, shape (3, height, width)
        By name of the member, sorted.

    Raises
    ------
    UserError
        If the archive is damaged or holds no such picture, or one cannot be read.
    """

    def read(name: str, file: IO[bytes]) -> Picture:
        try:
            with Image.open(file) as image:
                pixels = np.asarray(fit(image.convert("RGB")))
        except (
            OSError,
            SyntaxError,
            ValueError,
            Image.DecompressionBombError,
        ) as error:
            # The text of an unknown format names the open file object: leave it out.
            reason = str(error).partition("<")[0].strip()
            raise UserError(
                f"{path}: {name}: no image that can be read: {reason}"
            ) from None
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    found = read_members(path, wanted, read)
    if not found:
        raise UserError(f"{path}: no images in this archive")
    return dict(sorted(found.items()))


def resized(image: Image.Image, *, height: int, width: int) -> Image.Image:
    """Return a picture in this size; shrinking averages what it leaves out."""
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.BICUBIC)
