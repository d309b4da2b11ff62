"""What differential privacy promises."""

import functools
import warnings

from whatelse.errors import UserError

_MOST_NOISE = 1e6


def epsilon(noise: float, sampled: float, steps: int, delta: float) -> float:
    """Return epsilon of so many steps of the sampled Gaussian mechanism.

    Counted by Opacus, by Renyi divergences (Mironov et al. 2019).

    Parameters
    ----------
    noise : float
        Standard deviation of the noise, in units of the most that one can add.
    sampled : float
        Chance, in (0, 1], that one takes part in a step.
    steps : int
        How many.
    delta : float
        In (0, 1).
    """
    orders = [1 + step / 10 for step in range(1, 100)] + list(range(12, 64))
    # without sampling the best order of little noise is near 1, of much far above
    orders += [1.001, 1.01, 1.05, *(2**power for power in range(6, 14))]
    return _spent(noise, sampled, steps, delta, sorted(orders))


@functools.cache
def noise_for(target: float, sampled: float, steps: int, delta: float) -> float:
    """Return the noise whose `epsilon` is at most a target, and hardly below.

    Few orders are looked at, mostly whole ones, which are quick: what is spent, by all
    orders, is up to some hundredths less.

    Parameters
    ----------
    target : float
        Epsilon, > 0.
    sampled, steps, delta
        As of `epsilon`.

    Returns
    -------
    float
        Standard deviation of the noise, in units of the most that one can add.

    Raises
    ------
    UserError
        If no noise up to a million is enough.
    """
    orders: list[float] = [1 + step / 10 for step in range(1, 10)]
    orders += [*range(2, 64), *(2**power for power in range(6, 14))]

    def spent(noise: float) -> float:
        return _spent(noise, sampled, steps, delta, orders)

    high = 1.0
    while spent(high) > target:
        high *= 2
        if high > _MOST_NOISE:
            raise UserError(
                f"privacy.epsilon: {target} at delta {delta:g} over {steps} steps "
                "needs more noise than a million times the clip; allowed: more"
            )
    low = high / 2
    while spent(low) <= target and low > 1e-3:
        low /= 2
    # `high` is always enough
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if spent(middle) <= target else (middle, high)
    return high


def _spent(
    noise: float, sampled: float, steps: int, delta: float, orders: list[float]
) -> float:
    """Return epsilon by the best of some orders."""
    # It loads more of PyTorch than most of who import this need.
    from opacus.accountants.analysis.rdp import compute_rdp, get_privacy_spent

    with warnings.catch_warnings():
        # that the best order is the first or last: there are no better ones
        warnings.filterwarnings("ignore", "Optimal order is the")
        spent = compute_rdp(
            q=sampled, noise_multiplier=noise, steps=steps, orders=orders
        )
        found, _ = get_privacy_spent(orders=orders, rdp=spent, delta=delta)
    # where next to nothing is told, the conversion can fall below zero
    return max(0.0, float(found))
