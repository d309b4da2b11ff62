"""How a server makes one move of the changes of a round, with a defence or without.

Legend for shape suffixes: K changes of a round, P numbers of a change.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whatelse.training.federated_settings import (
    Clip,
    Defence,
    Flame,
    Krum,
    Median,
    Outliers,
    TrimmedMean,
)


def aggregate(
    defence: Defence, changes_KP: Tensor, rng: np.random.Generator
) -> tuple[Tensor, NDArray[np.float64]]:
    """Return one change of many, under a defence; all count the same.

    Parameters
    ----------
    defence : Clip, Median, TrimmedMean, Krum, Outliers or Flame
        What the server does.
    changes_KP : Tensor, shape (K, P)
        What participants sent.
    rng : Generator
        Draws the noise, where there is any.

    Returns
    -------
    Tensor, shape (P,)
        The joint change.
    ndarray, shape (K,)
        How much of each change is in it: 1/K where all are taken whole, 0 where it
        was left out. The share of its weights under `median` and `trimmed-mean`.

    Raises
    ------
    ValueError
        If there are too few changes for the defence.
    """
    count = len(changes_KP)
    defence.refuse(count)
    if isinstance(defence, Clip):
        shares = _cut(changes_KP, defence.norm) / count
    elif isinstance(defence, Outliers):
        shares = _mean_of(_inliers(defence, changes_KP))
    elif isinstance(defence, Krum):
        shares = _mean_of(_nearest(defence, changes_KP))
    elif isinstance(defence, Flame):
        return _flame(defence, changes_KP, rng)
    else:
        return _by_weight(defence, changes_KP)
    return shares.to(changes_KP) @ changes_KP, shares.double().numpy()


def _cut(changes_KP: Tensor, norm: float | Tensor) -> Tensor:
    """Return the factors that make changes no longer than a norm."""
    return (norm / changes_KP.norm(dim=1)).clamp(max=1.0)


def _mean_of(kept_K: Tensor) -> Tensor:
    return kept_K.double() / kept_K.sum()


def _median(values_K: Tensor) -> Tensor:
    """Return the median over the first axis, of an even number the middle two's mean.

    PyTorch's own takes the lower of the two.
    """
    order_K = values_K.sort(0).values
    return (order_K[(len(order_K) - 1) // 2] + order_K[len(order_K) // 2]) / 2


def _inliers(defence: Outliers, changes_KP: Tensor) -> Tensor:
    if defence.by == "norm":
        suspicion_K = changes_KP.norm(dim=1)
    else:
        middle_P = _median(changes_KP)
        suspicion_K = -torch.cosine_similarity(changes_KP, middle_P.unsqueeze(0))
    middle = _median(suspicion_K)
    deviation = _median((suspicion_K - middle).abs())
    return suspicion_K <= middle + defence.deviations * deviation


def _nearest(defence: Krum, changes_KP: Tensor) -> Tensor:
    """Return which changes lie nearest to their K - f - 2 nearest (Krum, Sec. 4)."""
    count = len(changes_KP)
    near = count - defence.attackers - 2
    squares_KK = torch.cdist(changes_KP.double(), changes_KP.double()) ** 2
    # the first is the change itself
    scores_K = squares_KK.sort(1).values[:, 1 : near + 1].sum(1)
    kept_K = torch.zeros(count, dtype=torch.bool)
    kept_K[scores_K.argsort(stable=True)[: defence.kept]] = True
    return kept_K


def _by_weight(
    defence: Median | TrimmedMean, changes_KP: Tensor
) -> tuple[Tensor, NDArray[np.float64]]:
    count = len(changes_KP)
    # the median of an even number is the mean of the middle two
    trim = (count - 1) // 2 if isinstance(defence, Median) else defence.trim
    order_KP = changes_KP.argsort(dim=0, stable=True)[trim : count - trim]
    taken_K = torch.bincount(order_KP.flatten(), minlength=count).double()
    return changes_KP.gather(0, order_KP).mean(0), (taken_K / taken_K.sum()).numpy()


def _flame(
    defence: Flame, changes_KP: Tensor, rng: np.random.Generator
) -> tuple[Tensor, NDArray[np.float64]]:
    from sklearn.cluster import HDBSCAN

    count = len(changes_KP)
    units_KP = torch.nn.functional.normalize(changes_KP.double(), dim=1)
    distance_KK = (1 - units_KP @ units_KP.T).clamp(min=0).numpy()
    np.fill_diagonal(distance_KK, 0)
    clusters = HDBSCAN(
        min_cluster_size=count // 2 + 1, min_samples=1, metric="precomputed",
        allow_single_cluster=True, copy=True,
    ).fit_predict(distance_KK)  # fmt: skip
    # all are noise to it where none is near another: then nothing stands out
    kept_K = torch.from_numpy((clusters == 0) | (clusters.max() < 0))
    norm = _median(changes_KP.norm(dim=1))
    shares_K = _cut(changes_KP, norm) * _mean_of(kept_K)
    moved_P = shares_K.to(changes_KP) @ changes_KP
    noise_P = rng.standard_normal(moved_P.shape, dtype=np.float32)
    moved_P += defence.noise * norm * torch.from_numpy(noise_P)
    return moved_P, shares_K.double().numpy()
