"""What a participant sees of the others' batches, for property inference (P3 Sec. IV).

The adversary follows the protocol. At every iteration it makes updates from its own
records, with the property and without, at the very model that the others were sent;
where there are more participants than two it adds an honest background to both, as
what it observes is the sum of all others. Only pooled magnitudes are kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from whatelse.datasets.attributes import numbers_of
from whatelse.errors import UserError
from whatelse.measures.association import cramers_v, pearson
from whatelse.properties.adversary_settings import PropertyAdversary
from whatelse.properties.having import has_property
from whatelse.properties.pooling import pooled
from whatelse.seeding import stream
from whatelse.training.adversary import Cast, Stage
from whatelse.training.federated_settings import Averaging
from whatelse.training.observations import AUXILIARY, CONTROLS, OBSERVED
from whatelse.training.participants import Honest, Scene, endless
from whatelse.training.program import Rows, Vectors

TARGET, ADVERSARY = 0, 1

_MOST_KEPT = 10**9  # numbers


def cast(settings: Mapping[str, Any], stage: Stage) -> Cast:
    """Deal out records so that target and adversary alone hold the property.

    Raises
    ------
    UserError
        If there are too few records of a kind for a batch.
    """
    chosen = PropertyAdversary.model_validate(settings)
    lot = stream(stage.seed, *stage.name, "property")
    has = has_property(stage.dataset, chosen.property, lot)
    stage.refuse_own_deal()
    stage.refuse_hidden_sums()
    with_it, without = _dealt(chosen, stage, has)
    _refuse_what_shows_nothing(chosen, stage)
    size = round(chosen.fraction * stage.batch_size)
    some, most = min(map(len, with_it)), min(map(len, without))
    if not 1 <= size <= some or stage.batch_size > most:
        raise UserError(
            f"batch_size: {stage.batch_size}, {size} of a batch with the property; of "
            f"{stage.count} participants two have {some} records with it, and each has "
            f"{most} without; allowed: batches of no more than these, or fewer "
            "participants"
        )
    name = (*stage.name, "participant")
    target = Alternating(
        with_it[0], without[0], chosen, (*name, TARGET), stage.seed,
    )  # fmt: skip
    mine = np.concatenate([with_it[1], without[1]])
    active = _Active(chosen, stage, has, mine) if chosen.alpha else None
    adversary = Honest(mine, (*name, ADVERSARY), stage.seed, active)
    others = [
        Honest(rows, (*name, number), stage.seed)
        for number, rows in enumerate(without[2:], start=2)
    ]
    observer = PropertyObserver(
        chosen, stage, target,
        Alternating(with_it[1], without[1], chosen, (*name, "auxiliary"), stage.seed),
    )  # fmt: skip
    task = np.asarray(stage.labels[stage.rows], dtype=np.float64)
    about = {
        "records_with_property": int(has[stage.rows].sum()),
        "records": len(stage.rows),
        # Cramer's V, which is |Pearson's r| where both have two values
        "task_correlation": cramers_v(task, has[stage.rows]),
        "task_pearson": pearson(task, has[stage.rows]),
        "positive_values": [str(value) for value in chosen.property.values or ()],
        "stretch": chosen.stretch(),
        "tells_runs": chosen.tells_runs(),
        "during": list(chosen.during) if chosen.during else None,
    }
    return Cast([target, adversary, *others], observer, about)


def _dealt(
    chosen: PropertyAdversary, stage: Stage, has: NDArray[np.bool_]
) -> tuple[list[Rows], list[Rows]]:
    """Return records with the property, of two, and without, of all participants."""
    rng = stream(stage.seed, *stage.name, "deal")
    rows = stage.rows
    if chosen.unit is None:
        return (
            np.array_split(rng.permutation(rows[has[rows]]), 2),
            np.array_split(rng.permutation(rows[~has[rows]]), stage.count),
        )
    units = numbers_of(stage.dataset, chosen.unit, "adversary.unit")[1][rows]
    ours = np.unique(units[has[rows]])
    others = np.setdiff1d(units, ours)
    if len(ours) < 2 or len(others) < stage.count:
        raise UserError(
            f"adversary.unit: {chosen.unit!r}: {len(ours)} values with the property, "
            f"{len(others)} without; allowed: at least 2 and {stage.count}"
        )
    seats = np.zeros(units.max() + 1, dtype=np.int64)
    for values, count in ((ours, 2), (others, stage.count)):
        for seat, part in enumerate(np.array_split(rng.permutation(values), count)):
            seats[part] = seat
    order = rng.permutation(len(rows))
    rows, seat_of = rows[order], seats[units[order]]
    return (
        [rows[has[rows] & (seat_of == seat)] for seat in (TARGET, ADVERSARY)],
        [rows[~has[rows] & (seat_of == seat)] for seat in range(stage.count)],
    )


def _refuse_what_shows_nothing(chosen: PropertyAdversary, stage: Stage) -> None:
    """Refuse learning that is too short to tell anything, before it is done."""
    try:
        chosen.refuse_too_short(stage.rounds)
    except ValueError as error:
        raise UserError(str(error)) from None
    kept = sum(_rows_kept(chosen, stage.rounds).values())
    if kept * chosen.max_features > _MOST_KEPT:
        raise UserError(
            f"adversary.max_features: {chosen.max_features} of {kept:,} updates; "
            f"allowed: at most {_MOST_KEPT // kept:,} (4 GB in all)"
        )
    if not stage.averages:
        return
    for field, value, most in (
        ("alpha", chosen.alpha, 0), ("examples", chosen.examples, 1),
    ):  # fmt: skip
        if value > most:
            raise UserError(
                f"adversary.{field}: {value}; allowed with averaging: {most}"
            )


def _rows_kept(chosen: PropertyAdversary, rounds: int) -> dict[str, int]:
    """Return how many updates of each kind are kept."""
    looks, controls = chosen.looks(rounds)
    parts = [f"{control}.{part}" for control in CONTROLS for part in ("fit", "test")]
    return {
        OBSERVED: looks,
        AUXILIARY: 2 * chosen.examples * looks,
        **dict.fromkeys(parts, 2 * controls),
    }


@dataclass(frozen=True)
class Alternating:
    """A participant some of whose batches have the property and the others never.

    Attributes
    ----------
    with_it, without : ndarray of int64
        Its records.
    settings : PropertyAdversary
        How many of a batch, and how often.
    name : tuple
        Names its stream of random numbers.
    seed : int
        The study's.
    """

    with_it: Rows
    without: Rows
    settings: PropertyAdversary
    name: tuple[int | str, ...]
    seed: int
    submit = None

    @property
    def rows(self) -> Rows:
        """All its records."""
        return np.concatenate([self.with_it, self.without])

    def has_it(self, iteration: int) -> bool:
        """Return whether the batch of an iteration has the property."""
        return self.settings.has_it(iteration)

    def batch(self, iteration: int, size: int) -> Rows:
        """Return the records of a batch."""
        kind = iteration // self.settings.every
        if self.has_it(iteration):
            return self.positive(kind, size)
        return self.negative(iteration, size)

    def local(self, number: int) -> Rows:
        """Return the records of a round of averaging."""
        return self.share(has_it=self.has_it(number))

    def share(self, *, has_it: bool) -> Rows:
        """Return as many records with the property among them as without any.

        With it, the records that have it, and so many others that they are the asked
        for part; without, as many others, so there are never more of them than that.
        """
        fraction = self.settings.fraction
        some = min(len(self.with_it), int(fraction * len(self.without)))
        rest = round(some / fraction) - some
        if has_it:
            return np.concatenate([self.with_it[:some], self.without[:rest]])
        return self.without[: some + rest]

    def positive(self, number: int, size: int) -> Rows:
        """Return the batch of a number among those with the property."""
        some = round(self.settings.fraction * size)
        rows = endless(
            self.with_it, number * some, some, self.seed, (*self.name, "with")
        )
        if some == size:
            return rows
        rest = size - some
        beside = endless(
            self.without, number * rest, rest, self.seed, (*self.name, "beside")
        )
        return np.concatenate([rows, beside])

    def negative(self, number: int, size: int) -> Rows:
        """Return the batch of a number among those without."""
        return endless(
            self.without, number * size, size, self.seed, (*self.name, "without")
        )


class _Active:
    """The active attack: the adversary's own copy learns the property as well.

    A head of its own on the last hidden layer tells records with the property from
    others; the gradient of (1 - alpha) task + alpha property is what it uploads (P3
    Sec. IV-E, with alpha as in its code and experiments).
    """

    def __init__(
        self, settings: PropertyAdversary, stage: Stage, has: NDArray[np.bool_],
        rows: Rows,
    ) -> None:  # fmt: skip
        self._settings, self._stage = settings, stage
        self._has = torch.from_numpy(has.astype(np.int64))
        self._honest = Honest(rows, (*stage.name, "participant", ADVERSARY), stage.seed)
        self._head: Tensor | None = None

    def __call__(self, update: Vectors, scene: Scene) -> Vectors:
        """Return the gradient of both losses on its own batch."""
        program, stage = scene.program, self._stage
        if not isinstance(program.module, torch.nn.Sequential):
            raise UserError(
                "adversary.alpha: the active attack needs a net whose last layer is "
                "its own; allowed: mlp, cnn, resnet, text-cnn, gru, lstm, or alpha: 0"
            )
        rows = torch.from_numpy(self._honest.batch(scene.number, stage.batch_size))
        there = rows.to(program.data.device)
        hidden = program.module[:-1](program.features(there))
        if self._head is None:
            self._head = torch.zeros(
                2, hidden.shape[1], device=hidden.device, requires_grad=True
            )
        task = functional.cross_entropy(
            program.module[-1](hidden), program.data.labels[there]
        )
        other = functional.cross_entropy(
            hidden @ self._head.t(), self._has[rows].to(hidden.device)
        )
        alpha = self._settings.alpha
        loss = (1 - alpha) * task + alpha * other
        # the head moves against its own gradient, outside the joint model
        found = torch.autograd.grad(loss, [*program.parameters.values(), self._head])
        with torch.no_grad():
            self._head -= stage.protocol.learning_rate * found[-1]
        sent = dict(zip(program.parameters, found[:-1], strict=True))
        program.add_decay(sent)
        return sent


class PropertyObserver:
    """Keeps pooled updates: those observed, the adversary's own, those of controls."""

    seat = ADVERSARY

    def __init__(
        self, settings: PropertyAdversary, stage: Stage, target: Alternating,
        auxiliary: Alternating,
    ) -> None:  # fmt: skip
        self._settings, self._stage = settings, stage
        self._target, self._auxiliary = target, auxiliary
        # Room is made once: updates that are held in a list would be held twice when
        # they are put together.
        self._room = _rows_kept(settings, stage.rounds)
        self._rows: dict[str, Tensor] = {}
        self._marks: dict[str, list[tuple[int, int]]] = {}

    def look(self, scene: Scene, others: Vectors) -> None:
        """See a round."""
        number, settings = scene.number, self._settings
        if number < settings.first:
            return
        self._keep(OBSERVED, others, number, has_it=self._target.has_it(number))
        background = self._background(scene)
        for example in range(settings.examples):
            pair = self._pair(number * settings.examples + example)
            for has_it, update in enumerate(scene.each(pair)):
                # gradients are of one batch each, changes weigh as many as records
                weights = (len(pair[has_it]), self._weight)
                weights = weights if self._by_records else (1, 1)
                if scene.noise:
                    # privacy lets all count the same, and adds noise to their sum
                    whole = _plus(update, background, 1, 1)
                    whole = _plus(whole, scene.noise(), 1, 1)
                else:
                    whole = _plus(update, background, *weights)
                self._keep(AUXILIARY, whole, number, has_it=has_it)
        if number % settings.control_every == 0:
            self._controls(scene)

    def _pair(self, number: int) -> list[Rows]:
        """Return records of the adversary's own, without the property and with it."""
        if self._stage.averages:
            return [self._auxiliary.share(has_it=has_it) for has_it in (False, True)]
        size = self._stage.batch_size
        return [
            self._auxiliary.negative(number, size),
            self._auxiliary.positive(number, size),
        ]

    def kept(self) -> dict[str, Tensor]:
        """Return features, iterations and whether each had the property, by kind."""
        found: dict[str, Tensor] = {}
        for kind, rows in self._rows.items():
            found[f"{kind}.features"] = rows[: len(self._marks[kind])]
            marks = torch.tensor(self._marks[kind], dtype=torch.int64)
            found[f"{kind}.iteration"] = marks[:, 0].contiguous()
            found[f"{kind}.has_it"] = marks[:, 1].to(torch.uint8)
        return found

    @property
    def _by_records(self) -> bool:
        """Whether changes count by the records that they were made from."""
        protocol = self._stage.protocol
        return isinstance(protocol, Averaging) and protocol.weights == "records"

    @property
    def _weight(self) -> int:
        """Records of an honest participant, which its changes are weighted by."""
        return len(self._auxiliary.without)

    def _background(self, scene: Scene) -> Vectors | None:
        """Return what honest others would add: the adversary's stand-in for them."""
        count = self._stage.count - 2
        if not count:
            return None
        size = self._stage.batch_size
        name = (*self._stage.name, "background")
        rows = self._auxiliary.without
        if self._stage.averages:
            size = len(rows)  # as many as an honest participant has
        return scene.total(
            [
                endless(rows, scene.number * size, size, self._stage.seed, (*name, n))
                for n in range(count)
            ]
        )

    def _controls(self, scene: Scene) -> None:
        """Make updates for which the answer is known.

        "planted": batches of one record, time and again, or of as many. What has no
        use for it does not move: a net that has learned its task, or nothing, shows
        that as well as any. (A class it need not show: of two, magnitudes at the top
        are the same.) "random": two batches by lot, drawn afresh each time. Either is
        made from the adversary's records to fit on, and from records held out to test
        on. Nobody else's updates are added: they test the classifier and what it is
        given, not how well a crowd hides.
        """
        size, number, seed = self._stage.batch_size, scene.number, self._stage.seed
        for part, rows in (
            ("fit", self._auxiliary.rows), ("test", self._stage.held_out),
        ):  # fmt: skip
            name = (*self._stage.name, "control", part)
            many = endless(rows, number * size, size, seed, (*name, 0))
            one = endless(rows, number, 1, seed, (*name, 1)).repeat(size)
            planted = [many, one]
            order = stream(seed, *name, number).permutation(rows)
            half = min(size, len(rows) // 2)
            by_lot = [order[:half], order[half : 2 * half]]
            for control, drawn in zip(CONTROLS, (planted, by_lot), strict=True):
                for has_it, update in enumerate(scene.each(drawn)):
                    self._keep(f"{control}.{part}", update, number, has_it=has_it)

    def _keep(self, kind: str, update: Vectors, number: int, *, has_it: int) -> None:
        row = pooled(update, self._settings.max_features).detach().cpu()
        if kind not in self._rows:
            self._rows[kind] = torch.empty(self._room[kind], len(row))
        marks = self._marks.setdefault(kind, [])
        self._rows[kind][len(marks)] = row
        marks.append((number, int(has_it)))


def _plus(update: Vectors, more: Vectors | None, weight: int, of_more: int) -> Vectors:
    """Add a background, each part by its weight; of the sum only the form matters."""
    if more is None:
        return update
    return {
        place: value + more[place] * (of_more / weight)
        for place, value in update.items()
    }
