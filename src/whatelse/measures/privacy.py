"""What differential privacy promises."""


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
    # It loads more of PyTorch than most of who import this need.
    from opacus.accountants.analysis.rdp import compute_rdp, get_privacy_spent

    orders = [1 + step / 10 for step in range(1, 100)] + list(range(12, 64))
    # without sampling the best order of little noise is near 1, of much far above
    orders += [1.001, 1.01, 1.05, *(2**power for power in range(6, 14))]
    orders.sort()
    spent = compute_rdp(q=sampled, noise_multiplier=noise, steps=steps, orders=orders)
    found, _ = get_privacy_spent(orders=orders, rdp=spent, delta=delta)
    # where next to nothing is told, the conversion can fall below zero
    return max(0.0, float(found))
