"""Images as a secret: grey levels, and fewer bits a pixel.

A batch of pictures is one uint8 array, shape (num_images, height, width), of grey
levels 0..255. P2, Song et al. 2017.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Pictures = NDArray[np.uint8]

# ITU-R BT.601, as in the authors' code.
_RGB = np.array([0.299, 0.587, 0.114])


def grey(inputs: ArrayLike, scale: float, shift: float = 0.0) -> Pictures:
    """Return the grey levels of records.

    Parameters
    ----------
    inputs : array_like, shape (num_images, channels, height, width)
        Raw values. Three channels are red, green and blue and weighed as the eye
        does; of any other number the mean is taken.
    scale, shift : float
        ``raw * scale + shift`` is 0 for black and 1 for white; what lies outside is
        clipped.

    Returns
    -------
    ndarray of uint8, shape (num_images, height, width)
        Rounded to the nearest level.
    """
    raw = np.asarray(inputs)
    if raw.ndim != 4:
        raise ValueError(
            "inputs: shape must be (num_images, channels, height, width), is "
            f"{raw.shape}"
        )
    values = np.clip(raw * np.float64(scale) + shift, 0, 1)
    channels = values.shape[1]
    weights = _RGB if channels == len(_RGB) else np.full(channels, 1 / channels)
    levels = np.einsum("kcyx,c->kyx", values, weights)
    return np.rint(255 * levels).astype(np.uint8)


def truncate(pixels: Pictures, bits: int) -> NDArray[np.uint8]:
    """Return the highest bits of each pixel, as codes.

    Parameters
    ----------
    pixels : ndarray of uint8
        Grey levels.
    bits : int
        How many, 1..8.

    Returns
    -------
    ndarray of uint8
        Codes below ``2**bits``, of the same shape.
    """
    return pixels >> np.uint8(_dropped(bits))


def restore(codes: NDArray[np.uint8], bits: int) -> Pictures:
    """Return the grey levels that codes stand for.

    Parameters
    ----------
    codes : ndarray of uint8
        From `truncate`.
    bits : int
        As given to `truncate`, 1..8.

    Returns
    -------
    ndarray of uint8
        The middle of the levels that have the code, the brighter one of two.
    """
    dropped = _dropped(bits)
    middle = 1 << (dropped - 1) if dropped else 0
    return codes << np.uint8(dropped) | np.uint8(middle)


def pixels_to_bytes(pixels: Pictures, bits: int) -> bytes:
    """Return the codes of pictures, packed without gaps.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (num_images, height, width)
        Grey levels.
    bits : int
        Of each pixel, 1..8.

    Returns
    -------
    bytes
        `bits` a pixel, the highest first; zeros fill the last byte.
    """
    # The highest bits of a pixel are the first ones of its byte.
    planes = np.unpackbits(np.ravel(pixels)[:, None], axis=1, count=8 - _dropped(bits))
    return np.packbits(planes).tobytes()


def bytes_to_pixels(data: bytes, shape: tuple[int, ...], bits: int) -> Pictures:
    """Return the pictures that some bytes stand for.

    Parameters
    ----------
    data : bytes
        As from `pixels_to_bytes`, perhaps with errors, cut short or too long.
    shape : tuple of int
        Of the pictures.
    bits : int
        Of each pixel, 1..8.

    Returns
    -------
    ndarray of uint8
        Grey levels. Where data is missing, code 0.
    """
    kept = 8 - _dropped(bits)
    num_pixels = int(np.prod(shape))
    stream = np.unpackbits(np.frombuffer(data, np.uint8)[: -(-num_pixels * kept // 8)])
    planes = np.zeros(num_pixels * kept, np.uint8)
    there = min(len(stream), len(planes))
    planes[:there] = stream[:there]
    # Packed to the left: whole bytes, of which the lowest bits are 0.
    cut = np.packbits(planes.reshape(num_pixels, kept), axis=1).reshape(shape)
    return restore(truncate(cut, bits), bits)


def _dropped(bits: int) -> int:
    """Return how many of the 8 bits go.

    Raises
    ------
    ValueError
        If not 1 to 8 are kept.
    """
    if not 1 <= bits <= 8:
        raise ValueError(f"bits: must be in 1..8, is {bits}")
    return 8 - bits
