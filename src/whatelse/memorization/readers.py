"""Reading secrets back, one reader for each carrier (P2 Secs. 4 and 5).

A reader is told what the adversary knows: how the secret was written, and its form. It
works on the tensors of a saved file or on answers to queries. The true records are
there to measure against and for the planted control; no decoder sees them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from whatelse.datasets.store import Dataset, given_split
from whatelse.errors import UserError
from whatelse.memorization import (
    analog,
    analog_read,
    capacity_abuse,
    fidelity,
    payload,
    payload_read,
    secret,
)
from whatelse.memorization.carrier_settings import (
    CapacityAbuse,
    Correlated,
    Lsb,
    Secret,
    Sign,
)
from whatelse.memorization.low_bits import read_low_bits, write_low_bits
from whatelse.memorization.payload import Coding
from whatelse.memorization.secret import Form
from whatelse.memorization.suspect import Suspect
from whatelse.training.device import resident
from whatelse.training.ensemble import TrainingData

Bits = NDArray[np.uint8]
Records = NDArray[Any]
Name = tuple[int | str, ...]

_FEWEST_IN_ORDER = 7  # records whose order can tell anything at this level
_LEVEL = 0.001


@dataclass(frozen=True)
class Written:
    """What was hidden, and the room for it.

    Attributes
    ----------
    form : Form
        Of a record.
    rows : ndarray of int64, shape (K,)
        The hidden records of the data set.
    records : ndarray, shape (K, ...)
        The same in the secret's form.
    used, room : int
        Bits that carry something, and that the carrier has; values for the correlated
        encoding.
    """

    form: Form
    rows: NDArray[np.int64]
    records: Records
    used: int
    room: int

    @property
    def distance(self) -> Callable[[Records, Records], NDArray[np.float64]]:
        """How far decoded records are from the true ones, one number each."""
        return fidelity.token_distance if self.form.is_text else fidelity.mape


class Reader(Protocol):
    """Reads one kind of carrier."""

    written: Written
    queries: int

    def bits(self, suspect: Suspect, key: int) -> Bits | None:
        """Return the stream that a model carries; None where it carries values."""

    def errors(self, bits: Bits) -> float:
        """Return the share of wrong bits in a stream."""

    def agreement(self, bits: Bits) -> float:
        """Return Pearson's r of a stream and the one that was written."""

    def decode(
        self, suspect: Suspect, bits: Bits | None, key: int, *, check: bool
    ) -> dict[str, Records]:
        """Return the records that each decoder makes of a model, by its name."""

    def check_truth(self, bits: Bits | None, decoded: Mapping[str, Records]) -> None:
        """Refuse what was read if the truth is another one: the seed is wrong."""

    def planted(self, suspect: Suspect) -> Suspect:
        """Return the model with the secret written without an error."""


class _Digital:
    """What carriers of bits have in common."""

    def __init__(self, written: Written, data: bytes, coding: Coding) -> None:
        self.written, self._data, self._coding = written, data, coding
        self.queries = 0

    pixel_bits = 8

    def errors(self, bits: Bits) -> float:
        """Return the share of wrong bits in a stream."""
        return payload_read.channel_errors(bits, self._data, self._coding, len(bits))

    def agreement(self, bits: Bits) -> float:
        """Return Pearson's r of a stream and the one that was written.

        A stream that tells nothing has 0, constant ones too. The share of wrong bits
        is no measure of that: most bits of dark pictures are zeros.
        """
        used = self.written.used
        found, told = bits[:used], self._stream(len(bits))[:used]
        return float(np.corrcoef(found, told)[0, 1]) if found.std() else 0.0

    def decode(
        self, suspect: Suspect, bits: Bits | None, key: int, *, check: bool
    ) -> dict[str, Records]:
        """Return the records that each decoder makes of a model."""
        assert bits is not None
        coding = self._coding.model_copy(update={"key": key})
        data = payload_read.decode(bits, coding, check=check, size=len(self._data))
        form, count = self.written.form, len(self.written.rows)
        return {"bits": form.from_bytes(data, count, self.pixel_bits)}

    def check_truth(self, bits: Bits | None, decoded: Mapping[str, Records]) -> None:
        """Refuse a stream whose checksum is not that of the truth."""
        assert bits is not None
        payload_read.check_data(bits, self._data, self._coding)

    def _stream(self, num_bits: int) -> Bits:
        return payload.encode(self._data, self._coding, num_bits)


class LowBitsReader(_Digital):
    """Low bits of all parameters."""

    def __init__(
        self, low: int, hidden: Secret, dataset: Dataset, members: NDArray[np.int64],
        example: Suspect, seed: int, name: Name,
    ) -> None:  # fmt: skip
        room = len(example.parameters) * low
        written, data = _drawn(hidden, dataset, members, room, seed, name)
        super().__init__(written, data, hidden.coding)
        self._low = low

    def bits(self, suspect: Suspect, key: int) -> Bits:
        """Return the stream that a model carries."""
        return read_low_bits(suspect.parameters, self._low)

    def planted(self, suspect: Suspect) -> Suspect:
        """Return the model with the secret written without an error."""
        values = suspect.parameters
        stream = self._stream(len(values) * self._low)
        return suspect.with_parameters(write_low_bits(values, stream, self._low))


class SignReader(_Digital):
    """Signs of the weights."""

    def __init__(
        self, settings: Sign, dataset: Dataset, members: NDArray[np.int64],
        example: Suspect, seed: int, name: Name,
    ) -> None:  # fmt: skip
        room = len(example.weights)
        written, data = _drawn(settings.secret, dataset, members, room, seed, name)
        super().__init__(written, data, settings.secret.coding)

    def bits(self, suspect: Suspect, key: int) -> Bits:
        """Return the stream that a model carries."""
        return (suspect.weights > 0).astype(np.uint8)

    def planted(self, suspect: Suspect) -> Suspect:
        """Return the model with the secret written without an error."""
        values = np.abs(suspect.weights) + np.float32(1e-6)
        sides = self._stream(len(values)).astype(np.float32) * 2 - 1
        return suspect.with_weights(values * sides)


class CorrelatedReader:
    """Weights that vary as the secret does."""

    def __init__(
        self, settings: Correlated, dataset: Dataset, members: NDArray[np.int64],
        example: Suspect, seed: int, name: Name,
    ) -> None:  # fmt: skip
        room = len(example.weights)
        form = secret.form_of(dataset, settings.secret)
        count = analog.count_in_values(settings.secret, form, room, len(members))
        rows = secret.choose(members, count, seed, name)
        records = secret.take(dataset, rows, form)
        used = analog.PREAMBLE + count * form.values
        self.written = Written(form, rows, records, used, room)
        self.queries = 0
        self._coding = settings.secret.coding
        self._values = analog.to_values(records, form, self._coding)

    def bits(self, suspect: Suspect, key: int) -> None:
        """Return None: it carries values."""

    def errors(self, bits: Bits) -> float:
        """Return the share of wrong bits in a stream."""
        raise TypeError("values, no bits")

    def agreement(self, bits: Bits) -> float:
        """Return Pearson's r of a stream and the one that was written."""
        raise TypeError("values, no bits")

    def correlation(self, suspect: Suspect) -> float:
        """Return Pearson's r of weights and secret, its sign left out."""
        found = suspect.weights[: len(self._values)].astype(np.float64)
        return abs(float(np.corrcoef(found, self._values)[0, 1])) if found.std() else 0

    def decode(
        self, suspect: Suspect, bits: Bits | None, key: int, *, check: bool
    ) -> dict[str, Records]:
        """Return the records that each decoder makes of a model."""
        form, count = self.written.form, len(self.written.rows)
        coding = self._coding.model_copy(update={"key": key})
        decoders = {"robust": False, "published": True}
        if form.is_text:
            decoders.pop("robust")
        return {
            decoder: analog_read.from_values(
                suspect.weights, form, count, coding, published=published, check=check
            )
            for decoder, published in decoders.items()
        }

    def check_truth(self, bits: Bits | None, decoded: Mapping[str, Records]) -> None:
        """Refuse records that are no nearer to the truth than to it in another order.

        Values have no checksum. The order of a few says too little to refuse any.
        """
        truth = self.written.records
        if len(truth) < _FEWEST_IN_ORDER:
            return
        own = next(iter(decoded.values()))
        p_value = fidelity.matching_test(own, truth, self.written.distance)
        if p_value > _LEVEL:
            raise UserError(
                "wrong seed: what was read is no nearer to the records that this seed "
                f"draws than to the same in another order (p = {p_value:.2g}); "
                f"allowed: at most {_LEVEL}"
            )

    def planted(self, suspect: Suspect) -> Suspect:
        """Return the model with the secret written without an error."""
        return suspect.with_weights(self._values * np.float32(0.05))


class AbuseReader(_Digital):
    """Labels that a model gives synthetic records, asked one query each."""

    def __init__(self, settings: CapacityAbuse, dataset: Dataset) -> None:
        members = np.flatnonzero(given_split(dataset))
        # the data set has the synthetic records behind its own
        own = members[members < dataset.num_records - settings.inputs]
        plan = capacity_abuse.plan_of(settings, dataset, len(own))
        rows, records, data = capacity_abuse.secret_of(settings, dataset, plan, own)
        used = payload.needed_bits(data, settings.secret.coding)
        written = Written(plan.form, rows, records, used, plan.num_bits)
        super().__init__(written, data, settings.secret.coding)
        self.pixel_bits = settings.pixel_bits
        self._label_bits = plan.label_bits
        self._settings, self._dataset = settings, dataset
        self._asked: dict[int, TrainingData] = {}

    def bits(self, suspect: Suspect, key: int) -> Bits:
        """Return the stream that a model carries."""
        if key not in self._asked:
            coding = self._coding.model_copy(update={"key": key})
            hidden = self._settings.secret.model_copy(update={"coding": coding})
            asked = self._settings.model_copy(update={"secret": hidden})
            inputs = capacity_abuse.synthetic(asked, self._dataset)
            self._asked[key] = resident(
                self._dataset, torch.device("cpu"), unlabelled=inputs
            )
        labels = suspect.labels(self._asked[key])
        self.queries = len(labels)
        return capacity_abuse.bits_of(labels, self._label_bits)

    def planted(self, suspect: Suspect) -> Suspect:
        """Return the model with the secret written without an error."""
        labels = capacity_abuse.labels_of(
            self._stream(self.written.room), self._label_bits
        )
        return _Answering(suspect.architecture, suspect.tensors, labels)


@dataclass(frozen=True)
class _Answering(Suspect):
    """A model that gives the labels it is told: the planted case of a black box."""

    told: NDArray[np.int64]

    def labels(self, data: TrainingData) -> NDArray[np.int64]:
        """Return the labels that were told."""
        return self.told


def _drawn(
    settings: Any, dataset: Dataset, members: NDArray[np.int64], room: int, seed: int,
    name: Name,
) -> tuple[Written, bytes]:  # fmt: skip
    form, rows, records, data = secret.draw_bits(
        settings, dataset, members, room, seed, name
    )
    used = payload.needed_bits(data, settings.coding)
    return Written(form, rows, records, used, room), data


def reader_of(
    carrier: Mapping[str, Any] | None, dataset: Dataset, members: NDArray[np.int64],
    example: Suspect, *, seed: int, name: Name,
) -> Reader:  # fmt: skip
    """Return the reader for a way of writing.

    Parameters
    ----------
    carrier : mapping or None
        Settings of the tampering, or of the step that made the data set.
    dataset : Dataset
        That the model was trained on.
    members : ndarray of int64
        Its training records.
    example : Suspect
        A model of the architecture.
    seed : int
        The study's.
    name : tuple
        Replicate and number of the model.

    Raises
    ------
    UserError
        If nothing was written.
    """
    kind = carrier and carrier["kind"]
    if kind == "capacity-abuse":
        return AbuseReader(CapacityAbuse.model_validate(carrier), dataset)
    where = (dataset, members, example, seed, name)
    if kind == "lsb":
        settings = Lsb.model_validate(carrier)
        return LowBitsReader(settings.bits, settings.secret, *where)
    if kind == "sign":
        return SignReader(Sign.model_validate(carrier), *where)
    if kind == "correlated":
        return CorrelatedReader(Correlated.model_validate(carrier), *where)
    raise UserError(
        "models: neither they nor their data set carry a secret; allowed: an entry "
        "with tampering lsb, sign or correlated, or a data set by capacity-abuse"
    )


def key_of_carrier(carrier: Mapping[str, Any]) -> int:
    """Return the key that a secret was written with."""
    key: int = carrier["secret"]["coding"]["key"]
    return key
