"""What an attack on reference models found, with its controls.

Targets and reference models are trained on halves of the same records; the records that
nobody was trained on are the population (``split: halves``).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from whatelse.errors import UserError
from whatelse.findings import AttackSpec, Findings, Inputs, replicates_of
from whatelse.measures.controls import Control, control_of
from whatelse.membership.compared import Compared, Floats
from whatelse.membership.reports import (
    Attacked,
    Target,
    findings,
    halves,
    module_of,
    promised,
)
from whatelse.membership.settings import settings_of
from whatelse.models.signals import Signals, load_signals

# Of the way that a planted leak moves answers. From two thirds on, no member is less
# sure than a non-member even of two classes, whatever the record.
_SHARE = np.float32(0.75)


def find(spec: AttackSpec, inputs: Inputs) -> Findings:
    """Run a reference attack on the signals of each replicate's target."""
    settings = settings_of(spec)
    module = module_of(settings)
    shared = inputs.get("references", ())
    return evaluate(
        module,
        settings,
        [load_signals(own, module.SIGNAL) for own in replicates_of(inputs, "signals")],
        load_signals(shared, module.SIGNAL) if shared else None,
        seed=spec.seed,
    )


def evaluate(
    module: Any, settings: Any, targets: Sequence[Signals],
    references: Signals | None, *, seed: int,
) -> Findings:  # fmt: skip
    """Run an attack on some targets, with both controls.

    Parameters
    ----------
    module : module
        The attack's: ``SIGNAL``, ``score(settings, compared)`` and
        ``decide(settings, scores, compared)``.
    settings : MembershipAttack
        The attack's.
    targets : sequence of Signals
        One a replicate, each of a single model.
    references : Signals or None
        Of the reference models, in pairs that complement each other.
    seed : int
        The study's seed.

    Returns
    -------
    Findings

    Raises
    ------
    UserError
        If there are too few reference models, or no population where one is needed.
    """
    references = _asked_for(settings, targets[0], references)
    if settings.needs_population and targets[0].pool.all():
        raise UserError(
            f"models.members: {targets[0].pool.sum() // 2} leave no record that nobody "
            f"is trained on, and {settings.kind} compares with such; allowed: fewer"
        )
    attacked = [
        _attack(module, settings, number, targets, references, seed)
        for number in range(len(targets))
    ]
    return findings(targets[0].about, settings.false_positive_rates, attacked)


def _attack(
    module: Any, settings: Any, number: int, targets: Sequence[Signals],
    references: Signals, seed: int,
) -> Attacked:  # fmt: skip
    signals = targets[number]
    pool = np.flatnonzero(signals.pool)
    compared = compare(signals, references, pool)
    score = module.score(settings, compared)
    return Attacked(
        Target(
            pool, signals.label[pool], signals.train[0, pool], signals.correct[0, pool]
        ),
        score, module.decide(settings, score, compared),
        controls={
            "negative": _negative(module, settings, targets, references, seed, number),
            "positive": _positive(module, settings, signals, references, seed, number),
        },
        queries=float(compared.observed.shape[-1]),
        more=promised(signals.about),
    )  # fmt: skip


def _asked_for(settings: Any, target: Signals, references: Signals | None) -> Signals:
    """Return the reference models that the attack uses; none, as an empty stack."""
    there = target.of(slice(0)) if references is None else references
    if not np.array_equal(there.pool, target.pool):
        raise UserError(
            "signals: the reference models are about other records than the target; "
            "allowed: those of one entry"
        )
    wanted = len(there.model) if settings.references is None else settings.references
    least = max(wanted, settings.least_references)
    if len(there.model) < least:
        raise UserError(
            f"attack references: {settings.kind} asks for {least} reference models, "
            f"there are {len(there.model)}; allowed: more shadows"
        )
    return there.of(slice(wanted))


def compare(
    signals: Signals, references: Signals, chosen: NDArray[np.int64]
) -> Compared:
    """Return what an attack compares.

    Parameters
    ----------
    signals : Signals
        Of the model under attack alone.
    references : Signals
        Of the reference models.
    chosen : ndarray of int64, shape (rows,)
        The records in question.
    """
    others = np.flatnonzero(~signals.pool)
    return Compared(
        observed=signals.values[0, chosen],
        references=references.values[:, chosen],
        inside=references.train[:, chosen],
        others=signals.values[0, others],
        references_on_others=references.values[:, others],
    )


def _negative(
    module: Any, settings: Any, targets: Sequence[Signals], references: Signals,
    seed: int, number: int,
) -> Control:  # fmt: skip
    """Send records that a model never saw through the attack as "members".

    The model is another target, and the "members" are those of this one: drawn like
    members, yet unseen. If signals told more of the target's half than they may, this
    fails. A single target has a reference model in the other's place, which no longer
    serves as one, nor its complement. Where too few would be left, random halves of
    the target's non-members stand against each other.
    """
    signals, left = targets[number], references
    kind = "{} that saw neither, on the target's members and non-members"
    if len(targets) > 1:
        kind, asked = kind.format("another target"), targets[number - 1]
    elif len(references.model) - 2 >= max(2, settings.least_references):
        kind, asked = kind.format("a reference model"), references.of(slice(1))
        left = references.of(slice(2, None))
    else:
        kind, asked = "random halves of the target's non-members", signals
    chosen = np.flatnonzero(signals.pool & ~asked.train[0])
    member = signals.train[0, chosen]
    if asked is signals:
        member = halves(seed, number, signals.label[chosen])
    score = module.score(settings, compare(asked, left, chosen))
    return control_of(kind, score, member)


def _positive(
    module: Any, settings: Any, signals: Signals, references: Signals, seed: int,
    number: int,
) -> Control:  # fmt: skip
    """Plant a leak in answers that have none; the attack must find it.

    Of the target's non-members, a random half is called members, and the target's
    answers are moved by `_SHARE` of the way to the true class, those to others to
    uniform; so are those of each reference model, by what it was trained on.
    """
    chosen = np.flatnonzero(signals.pool & ~signals.train[0])
    member = halves(seed, number, signals.label[chosen])
    compared = compare(signals, references, chosen)
    classes = len(signals.about["class_names"])

    def told(values: Floats, inside: NDArray[np.bool_]) -> Floats:
        return plant(module.SIGNAL, values, inside[..., None], classes)

    def nobody(values: Floats) -> NDArray[np.bool_]:
        return np.zeros(values.shape[:-1], dtype=bool)

    planted = Compared(
        observed=told(compared.observed, member),
        references=told(compared.references, compared.inside),
        inside=compared.inside,
        others=told(compared.others, nobody(compared.others)),
        references_on_others=told(
            compared.references_on_others, nobody(compared.references_on_others)
        ),
    )
    what = "a leak planted in the signals of non-members"
    return control_of(what, module.score(settings.for_control(), planted), member)


def plant(
    signal: str, values: Floats, inside: NDArray[np.bool_], classes: int
) -> Floats:
    """Return a signal of answers that are moved: a leak of a known size.

    Those to records inside by `_SHARE` of the way to the true class, others to uniform;
    what is no probability, to its largest or its smallest value.

    Parameters
    ----------
    signal : Signal
        What `values` are.
    values : ndarray of float
        Any shape.
    inside : ndarray of bool
        Whose go to the true class; broadcast to `values`.
    classes : int
        How many.

    Returns
    -------
    ndarray of float32
        In the shape of `values`.
    """
    if signal == "margin":
        # the rest by itself: one minus a probability near one is nothing
        ours, rest = expit(values), expit(-values)
    else:
        ours = rest = np.exp(values)
    left, uniform = np.float32(1 - _SHARE), np.float32(1 / classes)
    if signal not in ("margin", "log_probability"):
        ends = values.min(initial=np.inf), values.max(initial=-np.inf)
        if signal == "right":
            ends = 0.0, 1.0
        toward = np.where(inside, np.float32(ends[1]), np.float32(ends[0]))
        return left * values + _SHARE * toward
    ours = left * ours + _SHARE * np.where(inside, np.float32(1), uniform)
    if signal != "margin":
        return np.log(ours)
    rest = left * rest + _SHARE * np.where(inside, np.float32(0), 1 - uniform)
    tiny = np.finfo(np.float32).tiny
    return np.log(ours) - np.log(np.maximum(rest, tiny))
