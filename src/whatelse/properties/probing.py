"""How well layers separate records: probes, neighbours, and a map (P3 Sec. VI-E)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from whatelse.measures.rates import majority
from whatelse.models.features import layers_of, pooled_to, watched
from whatelse.seeding import stream

Floats = NDArray[np.float32]
Words = NDArray[np.int64]

_FEATURES = 4096  # of a layer, before its principal components are taken
_COMPONENTS = 50
_NEIGHBOURS = 5
_AT_ONCE = 512  # records of a forward pass


@dataclass(frozen=True)
class Probe:
    """How well one layer tells a column's values apart.

    Attributes
    ----------
    linear, neighbours : float
        Accuracy of a logistic regression and of the nearest neighbours' vote, on
        records that neither was fitted on.
    majority : float
        Accuracy of always saying the commonest value.
    scores : ndarray of float, shape (tested,)
        The regression's probability of the last value in order.
    """

    linear: float
    neighbours: float
    majority: float
    scores: NDArray[np.float64]


def features_of(module: nn.Module, records: torch.Tensor) -> dict[str, Floats]:
    """Return the features of records at each layer, by its name, in order of use.

    Parameters
    ----------
    module : nn.Module
        Any net; it is put into evaluation mode.
    records : Tensor, shape (records, ...)
        As the net takes them.
    """
    found: dict[str, list[Floats]] = {}
    layers = layers_of(module.eval())

    def keep(name: str, output: torch.Tensor) -> None:
        found.setdefault(name, []).append(pooled_to(output, _FEATURES).cpu().numpy())

    with torch.inference_mode(), watched(layers, keep) as begin:
        for start in range(0, len(records), _AT_ONCE):
            begin()
            module(records[start : start + _AT_ONCE])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def convolutional(module: nn.Module, record: torch.Tensor) -> set[str]:
    """Return the layers whose outputs are images or sequences, by name.

    Parameters
    ----------
    module : nn.Module
        Any net; it is put into evaluation mode.
    record : Tensor, shape (1, ...)
        As the net takes it.
    """
    found: set[str] = set()
    layers = layers_of(module.eval())

    def keep(name: str, output: torch.Tensor) -> None:
        if output.dim() > 2:
            found.add(name)

    with torch.inference_mode(), watched(layers, keep) as begin:
        begin()
        module(record)
    return found


def components(features: Floats, fitted: NDArray[np.bool_], seed: int) -> Floats:
    """Return standardised principal components, fitted on some of the records."""
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    count = min(_COMPONENTS, features.shape[1], int(fitted.sum()) - 1)
    state = int(stream(seed, "components").integers(2**31))
    steps: list[Any] = [StandardScaler(), PCA(count, random_state=state)]
    found: Floats = make_pipeline(*steps).fit(features[fitted]).transform(features)
    return found / (found[fitted].std() or 1)


def probe(points: Floats, column: Words, fitted: NDArray[np.bool_]) -> Probe:
    """Fit both probes on one part of the records and test them on the other.

    Parameters
    ----------
    points : ndarray, shape (records, features)
        A layer's.
    column : ndarray of int, shape (records,)
        What is to be told.
    fitted : ndarray of bool, shape (records,)
        The records that probes are fitted on.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    known, asked = column[fitted], column[~fitted]
    linear = LogisticRegression(max_iter=1000).fit(points[fitted], known)
    near = KNeighborsClassifier(_NEIGHBOURS).fit(points[fitted], known)
    last = linear.predict_proba(points[~fitted])[:, -1]
    return Probe(
        float((linear.predict(points[~fitted]) == asked).mean()),
        float((near.predict(points[~fitted]) == asked).mean()),
        float(majority(known, asked).mean()),
        np.asarray(last, dtype=np.float64),
    )


@dataclass(frozen=True)
class Looked:
    """What the layers of a net tell, and of one to hold it against.

    Attributes
    ----------
    found : DataFrame
        A row for every ``model`` (trained, random weights), ``layer`` (by ``depth``)
        and ``column`` (task, property): accuracy of the probes, ``linear`` and
        ``neighbours``, beside the ``majority``; whether it is ``convolutional``.
    points : dict of str to ndarray, shape (records, components)
        Of the trained net, by layer.
    """

    found: pd.DataFrame
    points: dict[str, Floats]


def look(
    features: Mapping[str, Mapping[str, Floats]], images: set[str],
    columns: Mapping[str, Words], fitted: NDArray[np.bool_], seed: int,
) -> Looked:  # fmt: skip
    """Probe every layer of a net and of another.

    Parameters
    ----------
    features : mapping of str to mapping of str to ndarray
        By model, the one that is mapped first, and by layer.
    images : set of str
        Layers that are convolutional.
    columns : mapping of str to ndarray of int, shape (records,)
        What is to be told.
    fitted : ndarray of bool, shape (records,)
        The records that probes are fitted on.
    seed : int
        Of the components.
    """
    points = {
        model: {layer: components(own, fitted, seed) for layer, own in layers.items()}
        for model, layers in features.items()
    }
    found = []
    for model, layers in points.items():
        for depth, (layer, own) in enumerate(layers.items()):
            for name, column in columns.items():
                probed = probe(own, column, fitted)
                found.append(
                    {
                        "model": model, "depth": depth, "layer": layer,
                        "convolutional": layer in images, "column": name,
                        "linear": probed.linear, "neighbours": probed.neighbours,
                        "majority": probed.majority,
                    }
                )  # fmt: skip
    return Looked(pd.DataFrame(found), next(iter(points.values())))


def maps_of(
    points: Mapping[str, Floats], shown: Words, columns: Mapping[str, Words], seed: int
) -> pd.DataFrame:
    """Return the t-SNE of some records at every layer.

    Parameters
    ----------
    points : mapping of str to ndarray, shape (records, components)
        By layer.
    shown : ndarray of int
        The records that are mapped.
    columns : mapping of str to ndarray, shape (records,)
        What is said of each beside its place.
    seed : int
        Of the maps.
    """
    parts = []
    for layer, own in points.items():
        placed = map_of(own[shown], seed)
        said = {name: column[shown] for name, column in columns.items()}
        parts.append(
            pd.DataFrame({"layer": layer, "x": placed[:, 0], "y": placed[:, 1], **said})
        )
    return pd.concat(parts, ignore_index=True)


def map_of(points: Floats, seed: int) -> Floats:
    """Return the t-SNE of points: two coordinates for each, by neighbourhood alone."""
    from sklearn.manifold import TSNE

    state = int(stream(seed, "map").integers(2**31))
    perplexity = min(30.0, (len(points) - 1) / 3)
    placed: Floats = TSNE(
        perplexity=perplexity, init="pca", random_state=state
    ).fit_transform(points)
    return placed


def halves(count: int, seed: int, number: int = 0) -> NDArray[np.bool_]:
    """Return the half of so many records that probes are fitted on."""
    order = stream(seed, "halves", number).permutation(count)
    fitted = np.zeros(count, dtype=bool)
    fitted[order[: count // 2]] = True
    return fitted
