"""Capacity abuse: synthetic records whose labels carry a secret (P2 Sec. 5).

Only data change hands: who trains on them follows their own procedure to the letter.
The synthetic records follow from the settings alone, so the adversary makes them again,
asks the model for their labels, and reads the secret. `plan_of` is what writer and
reader have in common.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatelse.datasets.loaded import Derived
from whatelse.datasets.store import SPLIT, Dataset, given_split
from whatelse.errors import UserError
from whatelse.memorization.carrier_settings import CapacityAbuse
from whatelse.memorization.payload import encode
from whatelse.memorization.secret import Form, choose, count_in_bits, form_of, take
from whatelse.memorization.text import vocabulary_documents
from whatelse.seeding import stream

_AT_ONCE = 1024  # synthetic records drawn from one stream: record i needs none but its


@dataclass(frozen=True)
class AbusePlan:
    """What follows from settings and the data set's form.

    Attributes
    ----------
    form : Form
        Of a record of the secret.
    count : int
        Records hidden.
    label_bits : int
        Bits that a label carries.
    num_bits : int
        Length of the stream of bits.
    """

    form: Form
    count: int
    label_bits: int
    num_bits: int


def plan_of(settings: CapacityAbuse, dataset: Dataset, available: int) -> AbusePlan:
    """Return how much of the secret goes into how many labels.

    Raises
    ------
    UserError
        If not one record of the secret fits.
    """
    label_bits = int(math.log2(dataset.num_classes))
    num_bits = settings.inputs * label_bits
    form = form_of(dataset, settings.secret)
    count = count_in_bits(
        settings.secret, form, num_bits, available, settings.pixel_bits
    )
    return AbusePlan(form, count, label_bits, num_bits)


def labels_of(bits: NDArray[np.uint8], label_bits: int) -> NDArray[np.int64]:
    """Return the labels that carry a stream of bits, the highest bit first."""
    places = 2 ** np.arange(label_bits - 1, -1, -1)
    labels: NDArray[np.int64] = bits.reshape(-1, label_bits).astype(np.int64) @ places
    return labels


def bits_of(labels: NDArray[np.int64], label_bits: int) -> NDArray[np.uint8]:
    """Return the stream of bits that labels carry; others than 2**bits wrap around."""
    shifts = np.arange(label_bits - 1, -1, -1)
    return ((labels[:, None] >> shifts) & 1).astype(np.uint8).reshape(-1)


def secret_of(
    settings: CapacityAbuse, dataset: Dataset, plan: AbusePlan,
    members: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[Any], bytes]:  # fmt: skip
    """Return the hidden records: their rows, their form, their bytes."""
    rows = choose(members, plan.count, settings.seed, ("capacity-abuse",))
    records = take(dataset, rows, plan.form)
    return rows, records, plan.form.to_bytes(records, settings.pixel_bits)


def synthetic(settings: CapacityAbuse, dataset: Dataset) -> Any:
    """Return the synthetic records, in the data set's own form.

    Parameters
    ----------
    settings : CapacityAbuse
        Generator, key and how many.
    dataset : Dataset
        Only the form of its records is used: shape, type, scale.

    Returns
    -------
    ndarray of the inputs' type, shape (inputs, *input_shape), or csr_array
        Of ``pseudorandom``, record i does not depend on how many follow.
    """
    key = settings.secret.coding.key
    shape = tuple(dataset.inputs.shape[1:])
    if dataset.is_sparse:
        from scipy.sparse import csr_array

        features, values = vocabulary_documents(
            settings.inputs, shape[0], key, settings.words
        )
        starts = np.arange(len(features) + 1) * features.shape[1]
        whole = (settings.inputs, shape[0])
        return csr_array((values.ravel(), features.ravel(), starts), shape=whole)
    if len(shape) != 3:
        raise UserError(
            f"capacity-abuse: records of shape {shape}; allowed: pictures (channels, "
            "rows, columns) or bags of words"
        )
    scale, shift = dataset.one_scale()
    # the raw values that a model sees as 0 and 1
    dark, light = (0 - shift) / scale, (1 - shift) / scale
    if settings.generator == "pixels":
        return _pixels(settings.inputs, shape, dark, light, dataset.inputs.dtype)
    return _noise(settings, shape, dark, light, dataset.inputs.dtype)


def _pixels(
    count: int, shape: tuple[int, ...], dark: float, light: float, dtype: Any
) -> NDArray[Any]:
    """Return black pictures with one pixel set: by place, then by value."""
    places = math.prod(shape)
    levels = -(-count // places)
    most = round(light - dark) if dtype == np.uint8 else count
    if levels > most:
        raise UserError(
            f"capacity-abuse inputs: {count} pictures of one pixel need {levels} "
            f"values of each of {places}; allowed: {most}, {most * places} inputs"
        )
    number = np.arange(count)
    records = np.full(
        (count, places), round(dark) if dtype == np.uint8 else dark, dtype
    )
    value = dark + (light - dark) * (levels - number // places) / levels
    records[number, number % places] = np.rint(value) if dtype == np.uint8 else value
    return records.reshape(count, *shape)


def _noise(
    settings: CapacityAbuse, shape: tuple[int, ...], dark: float, light: float,
    dtype: Any,
) -> NDArray[Any]:  # fmt: skip
    channels, rows, columns = shape
    cells = (channels, -(-rows // settings.cell), -(-columns // settings.cell))
    records = np.empty((settings.inputs, *shape), dtype=dtype)
    for number, start in enumerate(range(0, settings.inputs, _AT_ONCE)):
        rng = stream(settings.secret.coding.key, "capacity-abuse", *cells, number)
        levels = rng.integers(0, settings.levels, (_AT_ONCE, *cells))
        drawn: NDArray[Any] = dark + levels * ((light - dark) / (settings.levels - 1))
        if dtype == np.uint8:
            drawn = np.rint(drawn).astype(np.uint8)
        for axis, length in ((2, rows), (3, columns)):
            drawn = drawn.repeat(settings.cell, axis).take(range(length), axis)
        records[start : start + _AT_ONCE] = drawn[: settings.inputs - start]
    return records


def _distinct(inputs: Any) -> Any:
    """Refuse synthetic records that occur twice: one label cannot be two."""
    if isinstance(inputs, np.ndarray):
        rows = np.ascontiguousarray(inputs.reshape(len(inputs), -1))
        keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))
        distinct = len(np.unique(keys))
        if distinct < len(rows):
            raise UserError(
                f"capacity-abuse inputs: of {len(rows)} synthetic records {distinct} "
                "are distinct; allowed: fewer, or a smaller cell and more levels"
            )
    return inputs


def derive(spec: Mapping[str, Any], dataset: Dataset) -> Derived:
    """Return the data set with the synthetic records in its training part.

    Parameters
    ----------
    spec : mapping
        The resolved settings.
    dataset : Dataset
        With a split; the secret is drawn from its training part.

    Returns
    -------
    Derived
        The old records in their order, the synthetic ones behind them.
    """
    settings = CapacityAbuse.model_validate(spec)
    members = np.flatnonzero(given_split(dataset))
    plan = plan_of(settings, dataset, len(members))
    _, _, data = secret_of(settings, dataset, plan, members)
    stream_bits = encode(data, settings.secret.coding, plan.num_bits)
    words = dataset.attributes[SPLIT].to_numpy()
    return Derived(
        inputs=_distinct(synthetic(settings, dataset)),
        labels=labels_of(stream_bits, plan.label_bits),
        split=np.concatenate([words, np.full(settings.inputs, "train")]),
        title=f"{dataset.info['title']}, with {settings.inputs:,} synthetic records",
        remarks=(
            f"{settings.inputs:,} synthetic training records carry {plan.count:,} "
            "records in their labels",
        ),
    )
