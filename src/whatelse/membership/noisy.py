"""Shadow data from noisy real records, some features flipped (P1 Sec. V-C)."""

import numpy as np

from whatelse.membership.domain import random_words
from whatelse.membership.shadow_data_settings import Noisy, SynthesisSpec
from whatelse.membership.synthesise import Knowledge, Made
from whatelse.seeding import stream


def make(spec: SynthesisSpec, knowledge: Knowledge) -> Made:
    """Return records of the population, as many features of each changed.

    A feature of two values takes the other one, any other a random value. With fewer
    records than are asked for, there are as many as the population has.
    """
    assert isinstance(spec.settings, Noisy)
    population, labels = knowledge.population, knowledge.labels
    assert population is not None
    assert labels is not None
    rng = stream(spec.seed, "shadow data", "noisy", spec.replicate)
    chosen = rng.permutation(len(population))[: spec.records]
    inputs = population[chosen]
    count = round(spec.settings.share * inputs.shape[1])
    words = random_words(rng, *inputs.shape)
    counts = np.full(len(inputs), count)
    changed = knowledge.domain.changed(inputs, counts, words, flip=True)
    remark = f"{count:,} of {inputs.shape[1]:,} features of each record were changed"
    return Made(changed, labels[chosen], remark=remark)
