"""Shadow data from statistics: each feature from its own marginal (P1 Sec. V-C).

The adversary knows how the values of each feature are distributed over the population,
and nothing of how they go together. What class such a record is of, the target says.
"""

import numpy as np

from whatelse.membership.shadow_data_settings import SynthesisSpec
from whatelse.membership.synthesise import Knowledge, Made
from whatelse.seeding import stream


def make(spec: SynthesisSpec, knowledge: Knowledge) -> Made:
    """Return records of independent features, labelled by the target, a query each."""
    population, ask = knowledge.population, knowledge.ask
    assert population is not None
    assert ask is not None
    people, features = population.shape
    rng = stream(spec.seed, "shadow data", "marginals", spec.replicate)
    drawn = rng.integers(people, size=(spec.records, features))
    inputs = population[drawn, np.arange(features)]
    queries = np.ones(spec.records, dtype=np.int64)
    return Made(inputs, ask(inputs).argmax(1), {"queries": queries.tolist()})
