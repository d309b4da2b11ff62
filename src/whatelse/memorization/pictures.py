"""Images as a secret: grey levels, fewer bits a pixel, and how close a decoded one is.

A batch of pictures is one uint8 array, shape (num_images, height, width), of grey
levels 0..255. P2, Song et al. 2017.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from whatelse.errors import UserError

Pictures = NDArray[np.uint8]
_Item = TypeVar("_Item", bound=np.generic)

# ITU-R BT.601, as in the authors' code.
_RGB = np.array([0.299, 0.587, 0.114])
_SSIM_WINDOW = 7
_LEAST_SSIM_WINDOW = 3


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


def restore(
    codes: NDArray[np.uint8], bits: int, *, lower_end: bool = False
) -> Pictures:
    """Return the grey levels that codes stand for.

    Parameters
    ----------
    codes : ndarray of uint8
        From `truncate`.
    bits : int
        As given to `truncate`, 1..8.
    lower_end : bool, optional
        True gives the darkest level that has the code, as the authors' code does. Of
        uniform pixels cut to 4 bits that is off by 7.5 levels on average, the middle
        by 4.

    Returns
    -------
    ndarray of uint8
        The middle of the levels that have the code, the brighter one of two.
    """
    dropped = _dropped(bits)
    middle = 0 if lower_end or not dropped else 1 << (dropped - 1)
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


def bytes_to_pixels(
    data: bytes, shape: tuple[int, ...], bits: int, *, lower_end: bool = False
) -> Pictures:
    """Return the pictures that some bytes stand for.

    Parameters
    ----------
    data : bytes
        As from `pixels_to_bytes`, perhaps with errors, cut short or too long.
    shape : tuple of int
        Of the pictures.
    bits : int
        Of each pixel, 1..8.
    lower_end : bool, optional
        As in `restore`.

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
    return restore(truncate(cut, bits), bits, lower_end=lower_end)


def mape(truth: Pictures, decoded: Pictures) -> NDArray[np.float64]:
    """Return the mean absolute pixel error: grey levels, not a percentage.

    Parameters
    ----------
    truth, decoded : ndarray of uint8, shape (num_images, height, width)
        What is to be compared.

    Returns
    -------
    ndarray of float64, shape (num_images,)
        In 0..255.
    """
    _same_shape(truth, decoded)
    errors = np.abs(truth.astype(np.int16) - decoded)
    return errors.reshape(len(truth), -1).mean(axis=1)


def ssim(truth: Pictures, decoded: Pictures) -> NDArray[np.float64]:
    """Return the structural similarity (Wang et al., IEEE TIP 2004).

    Parameters
    ----------
    truth, decoded : ndarray of uint8, shape (num_images, height, width)
        What is to be compared.

    Returns
    -------
    ndarray of float64, shape (num_images,)
        At most 1, for equal pictures. In uniform windows of 7 x 7 pixels, or of the
        largest odd size that fits into a smaller picture.

    Raises
    ------
    UserError
        If the pictures are smaller than 3 x 3.
    """
    # A second to import.
    from skimage.metrics import structural_similarity

    _same_shape(truth, decoded)
    smaller = min(truth.shape[1:])
    if smaller < _LEAST_SSIM_WINDOW:
        raise UserError(
            f"pictures: {truth.shape[1]} x {truth.shape[2]} pixels; allowed for ssim: "
            f"at least {_LEAST_SSIM_WINDOW} x {_LEAST_SSIM_WINDOW}"
        )
    window = min(_SSIM_WINDOW, smaller - (smaller + 1) % 2)
    found = [
        structural_similarity(
            ours, theirs, win_size=window, data_range=255, gaussian_weights=False
        )
        for ours, theirs in zip(truth, decoded, strict=True)
    ]
    return np.asarray(found, np.float64)


def matched_scores(
    decoded: NDArray[_Item],
    truth: NDArray[_Item],
    distance: Callable[[NDArray[_Item], NDArray[_Item]], ArrayLike],
    *,
    shift: int = 1,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return how close decoded items are to their own truth and to another's.

    The control of any fidelity measure: a decoder that gives the average picture has
    a small error too, yet is no closer to the picture it should give.

    Parameters
    ----------
    decoded, truth : ndarray, shape (num_items, ...)
        Pictures or documents, at least two.
    distance : callable
        ``distance(truth, decoded)`` gives one number an item, smaller for closer ones,
        e.g. `mape`; of a similarity hand over the negative. NaN counts as infinitely
        far.
    shift : int, optional
        How many items on the other truth lies, around the end.

    Returns
    -------
    scores : ndarray of float64, shape (2 * num_items,)
        Negative distances: first of each item to its own truth, then to the other
        item's. Fit for ``measures.roc.auc`` and
        ``measures.controls.exchange_test``.
    is_matched : ndarray of bool, shape (2 * num_items,)
        True in the first half.

    Raises
    ------
    UserError
        If there are fewer than two items.
    ValueError
        If the shapes differ.
    """
    if len(truth) < 2:
        raise UserError(
            f"secret: {len(truth)} items; allowed for the matching control: at least 2"
        )
    if len(truth) != len(decoded):
        raise ValueError(f"truth: {len(truth)} items, decoded: {len(decoded)}")
    # np.roll by -1 puts item k + 1 where item k was.
    others = np.roll(truth, -shift, axis=0)
    halves = [distance(truth, decoded), distance(others, decoded)]
    distances = np.concatenate([np.asarray(half, np.float64) for half in halves])
    scores = np.where(np.isnan(distances), -np.inf, -distances)
    return scores, np.arange(len(scores)) < len(truth)


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


def _same_shape(truth: Pictures, decoded: Pictures) -> None:
    """Refuse pictures that cannot be compared.

    Raises
    ------
    ValueError
        If the shapes differ, or are not those of a batch of grey pictures.
    """
    if truth.shape != decoded.shape or truth.ndim != 3:
        raise ValueError(f"truth: has shape {truth.shape}, decoded: {decoded.shape}")
