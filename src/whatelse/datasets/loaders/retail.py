"""Real shopping baskets under the recipe of P1's Purchase data.

P1 (Sec. VI-A) has one record a customer, one bit a product, and k-means clusters as
classes. Here a record is one basket of a Belgian supermarket (Brijs et al. 1999).
"""

import gzip
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from whatelse.datasets.loaded import Loaded
from whatelse.datasets.settings import Retail
from whatelse.errors import UserError

NUM_ITEMS = 600
MIN_ITEMS = 5
MIN_CLASS_RECORDS = 200


def load(settings: Retail, files: Mapping[str, Path]) -> Loaded:
    """Return baskets as bits over the 600 most frequent items, clusters as labels.

    Baskets are deduplicated and have at least 5 of these items. Clusters under 200
    baskets are merged into the one with the nearest centre.
    """
    items = _read(files["retail.dat.gz"])
    inputs, item_names = binary(items)
    labels = cluster(inputs, settings.classes, seed=settings.seed)
    num_classes = int(labels.max()) + 1
    counts = np.bincount(labels)
    fewer = (
        ""
        if num_classes == settings.classes
        else f", {settings.classes - num_classes} fewer than asked for: clusters of "
        f"fewer than {MIN_CLASS_RECORDS} baskets were merged into their nearest"
    )
    return Loaded(
        inputs=inputs,
        labels=labels,
        class_names=tuple(map(str, range(num_classes))),
        feature_names=tuple(f"item {name}" for name in item_names),
        title=f"Retail ({settings.classes} classes)",
        remarks=(
            f"a stand-in for Purchase-{settings.classes}: {len(inputs)} real baskets, "
            f"{num_classes} classes of {counts.min()} to {counts.max()}{fewer}",
        ),
    )


def binary(
    baskets: list[npt.NDArray[np.int64]],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Turn baskets into distinct rows of bits over the most frequent items.

    Parameters
    ----------
    baskets : list of ndarray of int64
        Item numbers of each basket.

    Returns
    -------
    bits : ndarray of uint8, shape (records, 600)
        Distinct baskets with at least 5 of the items, in order of first occurrence.
    items : ndarray of int64, shape (600,)
        Item numbers, most frequent first; ties by number.
    """
    everything = np.concatenate([np.unique(basket) for basket in baskets])
    numbers, counts = np.unique(everything, return_counts=True)
    items = numbers[np.lexsort((numbers, -counts))][:NUM_ITEMS]
    column = np.full(numbers.max() + 1, -1)
    column[items] = np.arange(len(items))
    bits = np.zeros((len(baskets), len(items)), dtype=np.uint8)
    for row, basket in enumerate(baskets):
        found = column[basket]
        bits[row, found[found >= 0]] = 1
    bits = bits[bits.sum(axis=1) >= MIN_ITEMS]
    _, first = np.unique(np.packbits(bits, axis=1), axis=0, return_index=True)
    return bits[np.sort(first)], items


def cluster(
    bits: npt.NDArray[np.uint8], num_clusters: int, *, seed: int
) -> npt.NDArray[np.int64]:
    """Return k-means labels, clusters under 200 records merged into their nearest.

    Parameters
    ----------
    bits : ndarray of uint8, shape (records, features)
        What is clustered.
    num_clusters : int
        Clusters asked for.
    seed : int
        Of k-means.

    Returns
    -------
    ndarray of int64, shape (records,)
        0 to the number of clusters left - 1, largest cluster first.

    Raises
    ------
    UserError
        If fewer than two clusters are left.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    kmeans = KMeans(num_clusters, n_init=1, max_iter=100, random_state=seed)
    # Several threads add up in an order that changes from run to run.
    with threadpool_limits(1):
        fitted = kmeans.fit(bits.astype(np.float32))
    labels = merge_small(fitted.labels_.astype(np.int64), fitted.cluster_centers_)
    left, labels, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(left) < 2:
        raise UserError(
            f"retail: classes: {num_clusters} asked for, {len(left)} of at least "
            f"{MIN_CLASS_RECORDS} records left; allowed: at least 2"
        )
    rank = np.empty(len(left), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(left))
    return rank[labels]


def merge_small(
    labels: npt.NDArray[np.int64],
    centres: npt.NDArray[np.floating],
    *,
    min_records: int = MIN_CLASS_RECORDS,
) -> npt.NDArray[np.int64]:
    """Merge the smallest cluster into its nearest until none is too small.

    Parameters
    ----------
    labels : ndarray of int64, shape (records,)
        Cluster of each record.
    centres : ndarray of float, shape (clusters, features)
        Centre of each cluster; a merged one moves to the mean of its records.
    min_records : int, optional
        Smallest allowed cluster.

    Returns
    -------
    ndarray of int64, shape (records,)
        Labels, with gaps where clusters went.
    """
    labels, centres = labels.copy(), centres.astype(np.float64)
    counts = np.bincount(labels, minlength=len(centres))
    alive = counts > 0
    while alive.sum() > 1:
        smallest = int(np.where(alive, counts, np.iinfo(np.int64).max).argmin())
        if counts[smallest] >= min_records:
            break
        distance = ((centres - centres[smallest]) ** 2).sum(axis=1)
        distance[~alive] = np.inf
        distance[smallest] = np.inf
        nearest = int(distance.argmin())
        pair = [smallest, nearest]
        centres[nearest] = np.average(centres[pair], axis=0, weights=counts[pair])
        counts[nearest] += counts[smallest]
        labels[labels == smallest] = nearest
        alive[smallest] = False
    return labels


def _read(path: Path) -> list[npt.NDArray[np.int64]]:
    raw = path.read_bytes()
    text = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    baskets = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            basket = np.array(line.split(), dtype=np.int64)
        except ValueError:
            basket = np.array([-1])
        if (basket < 0).any():
            raise UserError(
                f"{path}: line {number}: {line[:40].decode(errors='replace')!r}; "
                "allowed: item numbers of at least 0"
            )
        baskets.append(basket)
    return baskets
