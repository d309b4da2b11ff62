"""Which ways to make shadow data there are: apart, as `tamperings` is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """Where a way is found, and what its adversary has.

    Attributes
    ----------
    module : str
        With a function ``make`` like ``whatelse.membership.synthesise.Make``.
    asks : bool
        The target, through its release.
    population : bool
        Real records that the target was not trained or tested on.
    """

    module: str
    asks: bool
    population: bool


SHADOW_DATA = {
    "model-based": Kind("whatelse.membership.model_based", True, False),
    "marginals": Kind("whatelse.membership.marginals", True, True),
    "noisy": Kind("whatelse.membership.noisy", False, True),
}
