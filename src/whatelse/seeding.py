"""One seed in, every stream of random numbers derived from it.

A stream is named by integers and words, e.g. ``stream(seed, "batches", model,
epoch)``. Streams are independent of one another and of how many of them are
drawn, so a model's random numbers do not depend on which others are trained
beside it. Nothing here, or in any caller, touches a global generator.
"""

import hashlib

import numpy as np


def stream(seed: int, *name: int | str) -> np.random.Generator:
    """Return the generator of the stream with this name.

    Parameters
    ----------
    seed : int
        The study's seed, >= 0.
    *name : int or str
        What the numbers are for and for which object, e.g. ``"init", 3``.

    Returns
    -------
    numpy.random.Generator
        A counter-based (Philox) generator keyed by the digest of the name.
    """
    text = "\x1f".join([str(int(seed)), *(f"{type(p).__name__}:{p}" for p in name)])
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
