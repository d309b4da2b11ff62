"""Photographs in archives: decoded and resized by Pillow, the same every time."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image

from whatelse.datasets.loaders.archives import read_members
from whatelse.errors import UserError

Picture = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]


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
    return read_parts(path, wanted, lambda name, _: {name: None}, fit)


def read_parts(
    path: Path,
    wanted: Callable[[str], bool],
    parts: Callable[[str, bytes], Mapping[str, Box | None]],
    fit: Callable[[Image.Image], Image.Image],
) -> dict[str, Picture]:
    """Read parts of pictures of a tar archive.

    Parameters
    ----------
    path, wanted, fit
        As of `read_pictures`; `fit` is given each part.
    parts : callable
        Says of a member's name and content which parts are wanted: by the name that
        each gets, its left, upper, right and lower edge in pixels, or None for all.

    Returns
    -------
    dict of str to ndarray of uint8, shape (3, height, width)
        By name of the part, sorted.

    Raises
    ------
    UserError
        As `read_pictures`, and if a part is not inside its picture.
    """

    def read(name: str, file: IO[bytes]) -> dict[str, Picture]:
        content = file.read()
        asked = parts(name, content)
        if not asked:
            return {}
        try:
            with Image.open(io.BytesIO(content)) as image:
                whole = image.convert("RGB")
                found = {own: fit(_part(whole, box)) for own, box in asked.items()}
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
        return {
            own: np.ascontiguousarray(np.asarray(part).transpose(2, 0, 1))
            for own, part in found.items()
        }

    found: dict[str, Picture] = {}
    for pictures in read_members(path, wanted, read).values():
        found |= pictures
    if not found:
        raise UserError(f"{path}: no images in this archive")
    return dict(sorted(found.items()))


def _part(image: Image.Image, box: Box | None) -> Image.Image:
    """Return what lies in a box.

    Raises
    ------
    ValueError
        If it is empty, or not inside the picture.
    """
    if box is None:
        return image
    left, upper, right, lower = box
    if not (0 <= left < right <= image.width and 0 <= upper < lower <= image.height):
        raise ValueError(
            f"box {left},{upper},{right},{lower}; allowed: inside its "
            f"{image.width}x{image.height} pixels"
        )
    return image.crop(box)


def resized(image: Image.Image, *, height: int, width: int) -> Image.Image:
    """Return a picture in this size; shrinking averages what it leaves out."""
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.BICUBIC)
