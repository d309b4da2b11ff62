"""Scrubs: what a receiver may do to a model file before using it.

They need no data and no training. Each takes the tensors of one model by name and
returns new ones: the same names, order, shapes and types, finite, and a function of
its input and the generator alone. Tensors that are not float32 (counters of batch
norms) are copied.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from whatelse.errors import UserError
from whatelse.memorization.scrub_settings import (
    FileScrub,
    Noise,
    Prune,
    RandomBits,
    Round,
    ZeroBits,
)

Tensors = Mapping[str, Tensor]


def apply(
    scrub: FileScrub, tensors: Tensors, rng: np.random.Generator
) -> dict[str, Tensor]:
    """Scrub a model.

    Parameters
    ----------
    scrub : FileScrub
        What to do.
    tensors : mapping of str to Tensor
        Parameters and buffers of one model, on the CPU.
    rng : numpy.random.Generator
        Read by ``random-bits`` and ``noise`` only.

    Returns
    -------
    dict of str to Tensor
        New tensors.

    Raises
    ------
    UserError
        If a tensor holds NaN or infinity.
    """
    if isinstance(scrub, ZeroBits):
        return zero_bits(tensors, scrub.bits)
    if isinstance(scrub, RandomBits):
        return random_bits(tensors, scrub.bits, rng)
    if isinstance(scrub, Round):
        return round_to(tensors, scrub.to)
    if isinstance(scrub, Prune):
        return prune(tensors, scrub.share)
    if isinstance(scrub, Noise):
        return noise(tensors, scrub.scale, rng)
    return clip(tensors, scrub.percentile)


def zero_bits(tensors: Tensors, bits: int) -> dict[str, Tensor]:
    """Set the lowest `bits` mantissa bits of every float32 to zero."""
    keep = -(1 << bits)
    return _each(
        tensors, lambda x: (x.view(torch.int32) & keep).view(torch.float32), every=True
    )


def random_bits(
    tensors: Tensors, bits: int, rng: np.random.Generator
) -> dict[str, Tensor]:
    """Draw the lowest `bits` mantissa bits of every float32 anew.

    Sign and exponent stay, so nothing becomes infinite or changes its sign.
    """
    keep = -(1 << bits)

    def redraw(x: Tensor) -> Tensor:
        drawn = rng.integers(1 << bits, size=tuple(x.shape), dtype=np.int32)
        words = (x.view(torch.int32) & keep) | torch.from_numpy(np.asarray(drawn))
        return words.view(torch.float32)

    return _each(tensors, redraw, every=True)


def round_to(tensors: Tensors, to: str) -> dict[str, Tensor]:
    """Round to "bf16", "fp16" or "int8" and back to float32.

    int8: weight / s is rounded to -127..127, s = largest magnitude of the tensor /
    127. Tensors of one dimension go to fp16 then, as where int8 is used in earnest:
    with one scale for all, small running variances would become zero.
    """
    if to == "bf16":
        return _each(tensors, lambda x: _through(x, torch.bfloat16), every=True)
    if to not in ("fp16", "int8"):
        raise ValueError(f"to: must be bf16, fp16 or int8, is {to}")
    return _each(
        tensors,
        lambda x: (
            _int8(x) if to == "int8" and x.ndim > 1 else _through(x, torch.float16)
        ),
        every=True,
    )


def prune(tensors: Tensors, share: float) -> dict[str, Tensor]:
    """Set the smallest weights of each tensor with more than one dimension to zero.

    Of n weights, round(share * n) go; among equal magnitudes the first ones.
    """

    def drop(x: Tensor) -> Tensor:
        pruned = x.flatten().clone()
        order = torch.argsort(pruned.abs(), stable=True)
        pruned[order[: round(share * len(pruned))]] = 0
        return pruned.view(x.shape)

    return _each(tensors, drop)


def noise(
    tensors: Tensors, scale: float, rng: np.random.Generator
) -> dict[str, Tensor]:
    """Add Gaussian noise of `scale` standard deviations to each tensor's weights.

    Tensors with one dimension keep their values: a running variance must not fall
    below zero.
    """
    largest = torch.finfo(torch.float32).max

    def shake(x: Tensor) -> Tensor:
        drawn = torch.from_numpy(rng.standard_normal(tuple(x.shape)))
        std = x.double().std(correction=0) if x.numel() else 0.0
        moved = x.double() + scale * std * drawn
        return moved.clamp(-largest, largest).float()

    return _each(tensors, shake)


def clip(tensors: Tensors, percentile: float) -> dict[str, Tensor]:
    """Clip each tensor with more than one dimension to its central percentiles.

    99 clips to the percentiles .5 and 99.5.
    """
    tail = (100 - percentile) / 2

    def pull(x: Tensor) -> Tensor:
        if not x.numel():
            return x.clone()
        low, high = np.percentile(x.double().numpy(), [tail, 100 - tail])
        return x.clamp(float(low), float(high))

    return _each(tensors, pull)


def _each(
    tensors: Tensors, change: Callable[[Tensor], Tensor], *, every: bool = False
) -> dict[str, Tensor]:
    """Change float32 tensors, with more than one dimension or all; copy the rest."""
    scrubbed = {}
    for name, tensor in tensors.items():
        x = tensor.detach()
        if x.dtype != torch.float32:
            scrubbed[name] = x.clone()
            continue
        if not torch.isfinite(x).all():
            raise UserError(f"{name}: holds NaN or infinity; allowed: finite numbers")
        scrubbed[name] = change(x) if every or x.ndim > 1 else x.clone()
    return scrubbed


def _through(x: Tensor, narrow: torch.dtype) -> Tensor:
    largest = torch.finfo(narrow).max
    return x.clamp(-largest, largest).to(narrow).float()


def _int8(x: Tensor) -> Tensor:
    largest = x.abs().amax().double() if x.numel() else torch.tensor(0.0)
    if not largest:
        return x.clone()
    step = largest / 127
    return ((x.double() / step).round() * step).float()
