"""What a language model's answers say of users: how it ranks the words they wrote.

Song & Shmatikov, KDD 2019: a model ranks the words of those it learned from higher,
their rare words above all.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from whatelse.models.settings import Ranks


def ranks_of(answers_xC: Tensor, words_x: Tensor) -> Tensor:
    """Return how many words are likelier than the one that follows, shape x."""
    ours_x1 = answers_xC.gather(-1, words_x.unsqueeze(-1))
    return (answers_xC > ours_x1).sum(-1)


def edges_of(asked: Ranks, num_words: int) -> NDArray[np.float64]:
    """Return the first rank of each bin but the first, shape (bins - 1,).

    Linear bins are of one width. Logarithmic ones begin with rank 0 alone.
    """
    inner = np.arange(1, asked.bins, dtype=np.float64)
    if asked.scale == "linear":
        return inner * (num_words / asked.bins)
    edges: NDArray[np.float64] = num_words ** ((inner - 1) / (asked.bins - 1))
    return edges


def count_ranks(
    ranks_x: Tensor, users_x: NDArray[np.int64], edges: NDArray[np.float64],
    num_users: int,
) -> NDArray[np.int64]:  # fmt: skip
    """Return how often each bin occurs with each user, shape (users, bins)."""
    bins = len(edges) + 1
    place = np.searchsorted(edges, ranks_x.cpu().numpy(), side="right")
    flat = np.bincount(users_x * bins + place, minlength=num_users * bins)
    return flat.reshape(num_users, bins)


def shares(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return each user's counts as shares of 1, zeros where there are none."""
    totals = np.maximum(counts.sum(1, keepdims=True), 1)
    return (counts / totals).astype(np.float32)


def right_of(
    ranks_x: Tensor, users_x: NDArray[np.int64], num_users: int
) -> NDArray[np.int64]:
    """Return how many words of each user the model ranks first, shape (users,)."""
    first: NDArray[np.bool_] = (ranks_x == 0).cpu().numpy()
    return np.bincount(users_x[first], minlength=num_users)
