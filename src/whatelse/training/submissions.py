"""What is sent of an update, by the rules of either protocol."""

import functools
from collections.abc import Callable, Sequence

import torch

from whatelse.seeding import stream
from whatelse.training.device import generator_of
from whatelse.training.federated_settings import Averaging, Gradients
from whatelse.training.participants import Participant, Scene
from whatelse.training.program import Rows, Vectors, add


def submitted(participant: Participant, update: Vectors, scene: Scene) -> Vectors:
    """Return what a participant sends in the place of its honest update."""
    return participant.submit(update, scene) if participant.submit else update


def sendable(update: Vectors, settings: Gradients | Averaging) -> Vectors:
    """Return what is sent of an update: its largest values, no longer than allowed.

    The former is P3's Sec. VIII (Shokri & Shmatikov, CCS 2015).
    """
    if isinstance(settings, Gradients) and settings.shared < 1:
        update = _largest(update, settings.shared)
    if not settings.privacy:
        return update
    factor = left_of(update, settings.privacy.clip)
    return {place: value * factor for place, value in update.items()}


def left_of(update: Vectors, clip: float) -> torch.Tensor:
    """Return how much clipping to a length leaves of an update: 1 where it is short."""
    squares = torch.stack([value.square().sum() for value in update.values()])
    return (clip / squares.sum().sqrt()).clamp(max=1.0)


def _largest(update: Vectors, share: float) -> Vectors:
    """Return a share of an update's values, by size; of equals the first ones.

    The others are zero.
    """
    whole = torch.cat([value.flatten() for value in update.values()])
    sizes = whole.abs()
    kept = max(1, round(share * len(whole)))
    least = sizes.kthvalue(len(whole) - kept + 1).values
    sent = sizes > least
    equals = (sizes == least).nonzero().flatten()
    sent[equals[: kept - int(sent.sum())]] = True
    parts = torch.where(sent, whole, 0.0).split([v.numel() for v in update.values()])
    return {
        place: part.view(value.shape)
        for (place, value), part in zip(update.items(), parts, strict=True)
    }


def noise_of(
    settings: Gradients | Averaging, shapes: Vectors, device: torch.device, seed: int,
    name: tuple[int | str, ...],
) -> tuple[Callable[[], Vectors], Callable[[], Vectors]] | None:  # fmt: skip
    """Return how noise is drawn, by the server and by who emulates it."""
    if not settings.privacy:
        return None
    deviation = settings.privacy.noise * settings.privacy.clip

    def drawn(generator: torch.Generator) -> Vectors:
        return {
            place: deviation
            * torch.randn(value.shape, generator=generator, device=device)
            for place, value in shapes.items()
        }

    server, emulated = (
        functools.partial(drawn, generator_of(stream(seed, *name, who), device))
        for who in ("noise", "emulated noise")
    )
    return server, emulated


def sum_of(
    each: Callable[[Sequence[Rows]], list[Vectors]], rows: Sequence[Rows]
) -> Vectors:
    """Return the sum of what each of several would submit."""
    total: Vectors = {}
    for own in each(rows):
        add(total, own)
    return total
