"""Whether a joint model had learned its task before somebody attacked it.

A replacement takes for granted that the others' changes cancel, as they do where a
model has converged (P4 Sec. 4.2). At P4's eta of 1 the server moves by a tenth of the
mean change, and nothing is learned from nothing: attacked all the same, such a model
shows a backdoor that means little.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatelse.training import observations as names

LEAST = 0.05  # of what naming one class leaves to learn
UNFINISHED = 0.2  # of what was learned, in the second half of all benign rounds


def benign_accuracy(
    seen: dict[str, NDArray[Any]], before: list[dict[str, NDArray[Any]]]
) -> NDArray[np.float64]:
    """Return the main accuracy round by round, up to the first attack.

    Parameters
    ----------
    seen : dict of str to ndarray
        Observations of the joint model that was attacked.
    before : list of dict
        Of those that it goes back to, the latest first; as far as anybody looked.

    Returns
    -------
    ndarray, shape (benign rounds + 1,)
        The first is that of the model to start from.
    """
    first = int(seen[names.ATTACK].argmax())
    whole = seen[names.MAIN][: first + 1].astype(np.float64)
    for one in before:
        if names.MAIN not in one:
            break
        rounds = np.flatnonzero(one[names.ATTACK])
        start = int(rounds[-1]) + 1 if len(rounds) else 0
        # the last model of one is the first of the next
        whole = np.concatenate([one[names.MAIN][start:-1], whole])
        if start:
            break
    return whole


def not_converged(
    main: NDArray[np.float64], *, majority: float, tested: int, server_rate: float
) -> str | None:
    """Say that a model had not converged before the attack, and why; None if it had.

    Parameters
    ----------
    main : ndarray, shape (rounds + 1,)
        Accuracy round by round, without an attack.
    majority : float
        Accuracy of naming one class.
    tested : int
        Records that accuracy was measured on.
    server_rate : float
        Of the rounds in which it was to learn.
    """
    rounds = len(main) - 1
    width = max(1, rounds // 10)
    means = np.convolve(main, np.full(width, 1 / width), "valid")
    end, best = float(means[-1]), float(means.max())
    noise = math.sqrt(end * (1 - end) / tested)
    learned = end - majority
    if learned <= max(LEAST * (1 - majority), 2 * noise):
        if best - end > max(learned, 3 * noise):
            return _fell(best, end)
        return (
            f"the joint model was hardly better than naming one class ({end:.2f}, "
            f"{majority:.2f}) when it was attacked: {_cause(rounds, server_rate)}"
        )
    if best - end > max(UNFINISHED * (best - majority), 3 * noise):
        return _fell(best, end)
    # a straight line or the foot of a curve; of one that flattens, less is left
    half = float(means[(len(means) - 1) // 2])
    if end - half > max(UNFINISHED * learned, 3 * noise):
        return (
            "the joint model had not converged when it was attacked: the second half "
            f"of {rounds} benign rounds took it from {half:.2f} to {end:.2f}; "
            f"{_cause(rounds, server_rate)}"
        )
    return None


def never_learned(learning: Mapping[str, Any], first: int) -> str | None:
    """Say that a model from nothing is attacked before it can have learned anything.

    Parameters
    ----------
    learning : mapping
        A protocol of averaging: ``server_rate``.
    first : int
        Benign rounds before the attack.

    Returns
    -------
    str or None
        Why, where the server moves by less than one mean change in all of them.
    """
    rate = learning["server_rate"]
    if first * rate >= 1:
        return None
    return (
        f"a model that starts from nothing is attacked after {first} benign rounds at "
        f"server_rate {rate:g}: {_cause(first, rate)}"
    )


def _fell(best: float, end: float) -> str:
    return (
        f"the joint model had been better before the attack ({best:.2f}, then "
        f"{end:.2f}): what it learned does not last; lower learning_rate"
    )


def _cause(rounds: int, server_rate: float) -> str:
    """Return what to do about it (P4's code, issues 13 and 15)."""
    converged = "start from one that has converged (from:)"
    if not rounds:
        return f"no benign round came before; {converged}"
    if server_rate < 1:
        return (
            f"server_rate {server_rate:g} moves it by no more of the mean change a "
            "round; learn at server_rate 1 and lower it for the attack (P4's eta of 1 "
            f"is selected / participants), or {converged}"
        )
    return f"raise rounds or change learning_rate, or {converged}"
