"""How close decoded records come to the true ones, and the control of that."""

from collections.abc import Callable
from itertools import permutations
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from whatelse.errors import UserError
from whatelse.memorization.pictures import Pictures
from whatelse.memorization.text import EMPTY
from whatelse.seeding import stream

_Item = TypeVar("_Item", bound=np.generic)
_SSIM_WINDOW = 7
_LEAST_SSIM_WINDOW = 3
_ORDERS = 200  # random ones that a matching is compared with
_ALL_ORDERS = 6  # items of which every order is looked at
_ROUNDING = 1e-9


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


def matching_test(
    decoded: NDArray[_Item],
    truth: NDArray[_Item],
    distance: Callable[[NDArray[_Item], NDArray[_Item]], ArrayLike],
) -> float:
    """Test whether decoded items are nearer to their own truth than in another order.

    The null hypothesis of the negative control: the order of the truth says nothing.
    Items and truths stay the same, so what all have in common plays no part.

    Parameters
    ----------
    decoded, truth : ndarray, shape (num_items, ...)
        As for `matched_scores`.
    distance : callable
        As for `matched_scores`.

    Returns
    -------
    float
        Two-sided p-value. Of up to 6 items over all their orders, exactly, so that it
        cannot be small of a few; else by the normal approximation to the mean distance
        over 200 random orders, the same ones each time. 1 where the order changes
        nothing.
    """
    # scipy.stats takes longer to import than this test to run
    from scipy.special import ndtr

    count = len(truth)
    if count <= _ALL_ORDERS:
        orders = [np.array(order) for order in permutations(range(count))]
    else:
        orders = [np.arange(count), *_orders(stream(0, "matching-test", count), count)]
    means = np.array(
        [
            np.nanmean(np.asarray(distance(truth[order], decoded), np.float64))
            for order in orders
        ]
    )
    if count <= _ALL_ORDERS:
        far = np.abs(means - means.mean())
        return float((far >= far[0] * (1 - _ROUNDING)).mean())
    others = means[1:]
    spread = others.std(ddof=1)
    if not spread > 0:
        return 1.0
    return float(2 * ndtr(-abs(means[0] - others.mean()) / spread))


def _orders(rng: np.random.Generator, count: int) -> list[NDArray[np.int64]]:
    return [rng.permutation(count) for _ in range(_ORDERS)]


def _same_shape(truth: Pictures, decoded: Pictures) -> None:
    """Refuse pictures that cannot be compared.

    Raises
    ------
    ValueError
        If the shapes differ, or are not those of a batch of grey pictures.
    """
    if truth.shape != decoded.shape or truth.ndim != 3:
        raise ValueError(f"truth: has shape {truth.shape}, decoded: {decoded.shape}")


def token_precision(truth: ArrayLike, decoded: ArrayLike) -> NDArray[np.float64]:
    """Return the share of decoded tokens that are right.

    Parameters
    ----------
    truth, decoded : array_like of int, shape (num_documents, length)
        -1 is an empty slot. A token is right if the same one stands in its place.

    Returns
    -------
    ndarray of float64, shape (num_documents,)
        NaN where nothing was decoded.
    """
    right, _, found = _compared(truth, decoded)
    return _share(right, found)


def token_recall(truth: ArrayLike, decoded: ArrayLike) -> NDArray[np.float64]:
    """Return the share of true tokens that were decoded in their place.

    Parameters
    ----------
    truth, decoded : array_like of int, shape (num_documents, length)
        -1 is an empty slot.

    Returns
    -------
    ndarray of float64, shape (num_documents,)
        NaN where the true document is empty.
    """
    right, there, _ = _compared(truth, decoded)
    return _share(right, there)


def token_distance(truth: ArrayLike, decoded: ArrayLike) -> NDArray[np.float64]:
    """Return how far documents are: minus their recall, 0 of empty ones.

    Parameters
    ----------
    truth, decoded : array_like of int, shape (num_documents, length)
        -1 is an empty slot.

    Returns
    -------
    ndarray of float64, shape (num_documents,)
        -1 for equal documents.
    """
    return -np.nan_to_num(token_recall(truth, decoded))


def cosine_similarity(truth: ArrayLike, decoded: ArrayLike) -> NDArray[np.float64]:
    """Return the cosine of the bag-of-words vectors of documents, whatever the order.

    Parameters
    ----------
    truth, decoded : array_like of int, shape (num_documents, length)
        -1 is an empty slot. The lengths may differ.

    Returns
    -------
    ndarray of float64, shape (num_documents,)
        NaN where either document is empty.
    """
    ours, theirs = np.asarray(truth, np.int64), np.asarray(decoded, np.int64)
    if len(ours) != len(theirs):
        raise ValueError(f"truth: {len(ours)} documents, decoded: {len(theirs)}")
    base = max(ours.max(initial=0), theirs.max(initial=0)) + 1
    our_words, our_counts = _bags(ours, base)
    their_words, their_counts = _bags(theirs, base)
    both, left, right = np.intersect1d(
        our_words, their_words, assume_unique=True, return_indices=True
    )

    def sums(
        words: NDArray[np.int64], products: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        weights = products.astype(np.float64)
        found = np.bincount(words // base, weights, minlength=len(ours))
        return found.astype(np.float64)

    dots = sums(both, our_counts[left] * their_counts[right])
    squares = sums(our_words, our_counts**2) * sums(their_words, their_counts**2)
    return _share(dots, np.sqrt(squares))


def _compared(
    truth: ArrayLike, decoded: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return, for each document, how many tokens are right, true and decoded."""
    ours, theirs = np.asarray(truth), np.asarray(decoded)
    if ours.shape != theirs.shape or ours.ndim != 2:
        raise ValueError(f"truth: has shape {ours.shape}, decoded: {theirs.shape}")
    there, found = ours != EMPTY, theirs != EMPTY
    right = there & (ours == theirs)
    return right.sum(axis=1), there.sum(axis=1), found.sum(axis=1)


def _bags(
    documents: NDArray[np.int64], base: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each document's words, as row x base + token, and how often they occur."""
    rows, places = np.nonzero(documents != EMPTY)
    return np.unique(rows * base + documents[rows, places], return_counts=True)


def _share(part: ArrayLike, whole: ArrayLike) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        return np.divide(part, whole, dtype=np.float64)
